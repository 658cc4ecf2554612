//! A model of the workspace: the rules of protocol §2.3, §3, §4.1 and §5.1, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use rocketchat_e2ee::participant::{Failure, Outcome, Request};
use serde_json::{Map, Value, json};

/// What a refused or lost request is answered with.
pub(crate) fn failure(status: Option<u16>, error_type: Option<&str>) -> Failure {
    Failure {
        code: "ERR_E2EE_WORKSPACE".to_owned(),
        message: "the workspace did not do it".to_owned(),
        status,
        error_type: error_type.map(str::to_owned),
    }
}

/// What came of a request.
pub(crate) enum Reply {
    Done(Outcome),
    /// The server has begun; the rest is done by [`Server::go_on`], and others come in between.
    Half(Half),
}

/// The second half of what a server does in two steps.
pub(crate) enum Half {
    /// Before 8.7, `setRoomKeyID` reads, then writes.
    SetRoomKeyId { room: String, key_id: String },
    /// Steps 4 and 5 of `resetRoomKey`.
    Reset { room: String, user: String, key: String, key_id: String, affected: Vec<String> },
}

#[derive(Default)]
pub(crate) struct User {
    pub(crate) public_key: Option<String>,
    pub(crate) private_key: Option<String>,
    /// Every envelope that was ever stored.
    pub(crate) envelopes: Vec<String>,
    /// Whether the account was told to make a new pair.
    pub(crate) rotates: bool,
}

/// What a process knew when it asked for something.
#[derive(Clone, Default)]
pub(crate) struct Basis {
    /// When the server last told it the room, asked by itself, as the room was then.
    pub(crate) read: Option<u64>,
    /// The key ids of the room that it was ever told, in this life.
    pub(crate) seen: BTreeSet<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Subscription {
    id: String,
    updated: u64,
    pub(crate) key: Option<String>,
    pub(crate) suggested: Option<String>,
    suggested_old: Option<Value>,
    suggested_at: u64,
    pub(crate) old_keys: Option<Vec<Value>>,
}

#[derive(Default)]
pub(crate) struct Room {
    updated: u64,
    pub(crate) owner: String,
    pub(crate) key_id: Option<String>,
    waiting: Option<Vec<String>>,
    pub(crate) members: BTreeMap<String, Subscription>,
    pub(crate) messages: Vec<Value>,
    /// Somebody is resetting the room's key.
    locked: bool,
}

pub(crate) struct Server {
    /// Milliseconds since 1970. Each write takes one of its own.
    pub(crate) now: u64,
    /// Whether `setRoomKeyID` is one conditional update.
    pub(crate) atomic: bool,
    pub(crate) version: &'static str,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) rooms: BTreeMap<String, Room>,
    removed: Vec<(String, String, u64)>,
    ids: BTreeSet<String>,
    /// Events, each for one account.
    pub(crate) told: Vec<(String, Value)>,
    /// What must never happen.
    pub(crate) violations: Vec<String>,
    subscriptions: u64,
    /// The most old keys that somebody had before they were cut to ten, and the most members who
    /// were without a key when they were listed.
    pub(crate) longest: usize,
    pub(crate) most_waiting: usize,
    /// Members for whom the server keeps another key than the room's, without a fault of theirs:
    /// it was the room's when it was written, or the room's key changed while the request was
    /// under way. The server has no conditional update, and serves nobody who has any key.
    pub(crate) spoiled: BTreeSet<(String, String)>,
}

type Answer = Result<Value, Failure>;

fn refuse<T>(error_type: &str) -> Result<T, Failure> {
    Err(failure(Some(400), Some(error_type)))
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// The server's form of a time: always three decimals.
pub(crate) fn iso(milliseconds: u64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp((milliseconds / 1000).cast_signed());
    let time = time.expect("a time of this century");
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second) = clock.as_hms();
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        milliseconds % 1000
    )
}

/// Any RFC 3339 time of the forms that clients write, in the form that compares as text.
fn normal(time: &str) -> String {
    let (seconds, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<3}Z")
}

impl Server {
    pub(crate) fn new(atomic: bool, version: &'static str) -> Self {
        Self {
            now: 1_790_000_000_000,
            atomic,
            version,
            users: BTreeMap::new(),
            rooms: BTreeMap::new(),
            removed: Vec::new(),
            ids: BTreeSet::new(),
            told: Vec::new(),
            violations: Vec::new(),
            subscriptions: 0,
            longest: 0,
            most_waiting: 0,
            spoiled: BTreeSet::new(),
        }
    }

    pub(crate) fn add_room(&mut self, id: &str, owner: &str) {
        self.now += 1;
        let room = Room { updated: self.now, owner: owner.to_owned(), ..Room::default() };
        self.rooms.insert(id.to_owned(), room);
        self.add_member(id, owner);
    }

    pub(crate) fn add_member(&mut self, room_id: &str, user: &str) {
        self.now += 1;
        self.subscriptions += 1;
        let has_key = self.users.get(user).is_some_and(|user| user.public_key.is_some());
        let room = self.rooms.get_mut(room_id).expect("a room");
        let subscription = Subscription {
            id: format!("sub{}", self.subscriptions),
            updated: self.now,
            ..Subscription::default()
        };
        room.members.insert(user.to_owned(), subscription);
        if has_key {
            room.queue(user);
        }
        self.tell_subscription(room_id, user, "inserted");
        self.touch(room_id);
    }

    pub(crate) fn remove_member(&mut self, room_id: &str, user: &str) {
        self.now += 1;
        let room = self.rooms.get_mut(room_id).expect("a room");
        let Some(gone) = room.members.remove(user) else { return };
        room.unqueue(user);
        self.spoiled.remove(&(room_id.to_owned(), user.to_owned()));
        let document = json!({ "_id": gone.id, "rid": room_id, "u": { "_id": user }, "t": "p" });
        self.removed.push((user.to_owned(), gone.id, self.now));
        self.tell(
            user,
            json!({
                "type": "subscription", "action": "removed", "subscription": document,
            }),
        );
        self.touch(room_id);
    }

    fn tell(&mut self, user: &str, event: Value) {
        self.told.push((user.to_owned(), event));
    }

    fn tell_subscription(&mut self, room_id: &str, user: &str, action: &str) {
        let document = self.subscription(room_id, user, false);
        self.tell(
            user,
            json!({ "type": "subscription", "action": action, "subscription": document }),
        );
    }

    /// A room was written: its members hear of it.
    fn touch(&mut self, room_id: &str) {
        self.now += 1;
        let now = self.now;
        let room = self.rooms.get_mut(room_id).expect("a room");
        room.updated = now;
        let members: Vec<String> = room.members.keys().cloned().collect();
        let event =
            json!({ "type": "room", "action": "updated", "room": self.room_document(room_id) });
        for member in members {
            self.tell(&member, event.clone());
        }
    }

    /// A subscription was written by itself.
    fn write(&mut self, room_id: &str, user: &str, change: impl FnOnce(&mut Subscription)) {
        self.now += 1;
        let now = self.now;
        let room = self.rooms.get_mut(room_id).expect("a room");
        if let Some(subscription) = room.members.get_mut(user) {
            subscription.updated = now;
            change(subscription);
            self.tell_subscription(room_id, user, "updated");
        }
    }

    fn room_document(&self, id: &str) -> Value {
        let room = &self.rooms[id];
        let mut document =
            json!({ "_id": id, "t": "p", "encrypted": true, "_updatedAt": iso(room.updated) });
        if let Some(key_id) = &room.key_id {
            document["e2eKeyId"] = json!(key_id);
        }
        if let Some(waiting) = &room.waiting {
            let waiting = waiting.iter().map(|user| json!({ "userId": user, "ts": iso(self.now) }));
            document["usersWaitingForE2EKeys"] = waiting.collect();
        }
        document
    }

    fn subscription(&self, room_id: &str, user: &str, whole: bool) -> Value {
        let subscription = &self.rooms[room_id].members[user];
        let mut document = json!({
            "_id": subscription.id, "rid": room_id, "u": { "_id": user },
            "_updatedAt": iso(subscription.updated),
        });
        if let Some(key) = &subscription.key {
            document["E2EKey"] = json!(key);
        }
        if let Some(key) = &subscription.suggested {
            document["E2ESuggestedKey"] = json!(key);
        }
        // Before 8.0, lists and streams leave them out.
        if let Some(keys) = subscription.old_keys.as_ref().filter(|_| whole || self.is_8()) {
            document["oldRoomKeys"] = json!(keys);
        }
        if let Some(keys) = subscription.suggested_old.as_ref().filter(|_| whole) {
            document["suggestedOldRoomKeys"] = keys.clone();
        }
        document
    }

    fn is_8(&self) -> bool {
        self.version.starts_with('8')
    }

    pub(crate) fn request(&mut self, user: &str, request: &Request, basis: &Basis) -> Reply {
        let query = request.query.clone().unwrap_or_default();
        let body = request.body.clone().unwrap_or_default();
        let half = match request.path.as_str() {
            "e2e.setRoomKeyID" if !self.atomic => self.begin_key_id(user, &body),
            "e2e.resetRoomKey" => self.begin_reset(user, &body),
            path => {
                return Reply::Done(match self.answer(user, path, &query, &body, basis) {
                    Ok(mut answer) => {
                        answer["success"] = json!(true);
                        Outcome::Ok(answer)
                    }
                    Err(failure) => Outcome::Error(failure),
                });
            }
        };
        match half {
            Ok(half) => Reply::Half(half),
            Err(failure) => Reply::Done(Outcome::Error(failure)),
        }
    }

    fn answer(
        &mut self,
        user: &str,
        path: &str,
        query: &Value,
        body: &Value,
        basis: &Basis,
    ) -> Answer {
        match path {
            "info" => Ok(json!({ "info": { "version": self.version } })),
            "e2e.fetchMyKeys" => {
                let user = &self.users[user];
                let mut answer = json!({});
                if let (Some(public), Some(private)) = (&user.public_key, &user.private_key) {
                    answer = json!({ "public_key": public, "private_key": private });
                }
                Ok(answer)
            }
            "e2e.setUserPublicAndPrivateKeys" => self.set_user_keys(user, body),
            "e2e.getUsersOfRoomWithoutKey" => {
                let room = self.accessible(user, text(query, "rid"))?;
                let without = room.members.iter().filter(|(_, member)| member.key.is_none());
                let users: Vec<Value> = without
                    .filter_map(|(id, _)| {
                        let public_key = self.users[id].public_key.as_ref()?;
                        Some(json!({ "_id": id, "e2e": { "public_key": public_key } }))
                    })
                    .collect();
                Ok(json!({ "users": users }))
            }
            "e2e.setRoomKeyID" => {
                let Half::SetRoomKeyId { room, key_id } = self.begin_key_id(user, body)? else {
                    return refuse("error-invalid-room");
                };
                self.set_key_id(&room, key_id);
                Ok(json!({}))
            }
            "e2e.updateGroupKey" => self.update_group_key(user, body, basis),
            "e2e.acceptSuggestedGroupKey" => self.answer_suggestion(user, body, true, basis),
            "e2e.rejectSuggestedGroupKey" => self.answer_suggestion(user, body, false, basis),
            "e2e.fetchUsersWaitingForGroupKey" => Ok(self.waiting(user, query)),
            "e2e.provideUsersSuggestedGroupKeys" => Ok(self.provide(user, body)),
            "e2e.requestSubscriptionKeys" => Ok(self.request_keys(user)),
            "subscriptions.get" => {
                let since = query.get("updatedSince").and_then(Value::as_str).map(normal);
                let ids: Vec<String> =
                    self.rooms_of(user, |room| room.members[user].updated, &since);
                let update: Vec<Value> =
                    ids.iter().map(|id| self.subscription(id, user, false)).collect();
                let removed = self.removed.iter().filter(|(who, _, at)| {
                    who == user && since.as_ref().is_some_and(|since| iso(*at) > *since)
                });
                let remove: Vec<Value> = removed
                    .map(|(_, id, at)| json!({ "_id": id, "_deletedAt": iso(*at) }))
                    .collect();
                Ok(json!({ "update": update, "remove": remove }))
            }
            "rooms.get" => {
                let since = query.get("updatedSince").and_then(Value::as_str).map(normal);
                let ids = self.rooms_of(user, |room| room.updated, &since);
                let update: Vec<Value> = ids.iter().map(|id| self.room_document(id)).collect();
                Ok(json!({ "update": update, "remove": [] }))
            }
            "subscriptions.getOne" => {
                let id = text(query, "roomId");
                let member = self.rooms.get(id).is_some_and(|room| room.members.contains_key(user));
                let subscription = member.then(|| self.subscription(id, user, true));
                Ok(json!({ "subscription": subscription }))
            }
            "rooms.info" => {
                let id = text(query, "roomId");
                self.accessible(user, id)?;
                Ok(json!({ "room": self.room_document(id) }))
            }
            "chat.sendMessage" => self.send(user, &body["message"]),
            "chat.update" => self.edit(user, body),
            "chat.getMessage" => {
                let id = text(query, "msgId");
                let mut all = self.rooms.values().flat_map(|room| &room.messages);
                match all.find(|message| text(message, "_id") == id) {
                    Some(message) => {
                        self.accessible(user, text(message, "rid"))?;
                        Ok(json!({ "message": message }))
                    }
                    None => Err(failure(Some(400), None)),
                }
            }
            "chat.syncMessages" => {
                let room = self.accessible(user, text(query, "roomId"))?;
                let since = match text(query, "next").parse() {
                    Ok(cursor) => iso(cursor),
                    Err(_) => normal(text(query, "lastUpdate")),
                };
                let updated: Vec<&Value> = room
                    .messages
                    .iter()
                    .filter(|message| text(message, "_updatedAt") > since.as_str())
                    .collect();
                Ok(json!({ "result": { "updated": updated, "deleted": [] } }))
            }
            "settings.public" => Ok(json!({ "settings": [] })),
            other => {
                self.violations.push(format!("an unknown route: {other}"));
                Err(failure(Some(404), None))
            }
        }
    }

    fn rooms_of(
        &self,
        user: &str,
        at: impl Fn(&Room) -> u64,
        since: &Option<String>,
    ) -> Vec<String> {
        let mine = self.rooms.iter().filter(|(_, room)| {
            room.members.contains_key(user)
                && since.as_ref().is_none_or(|since| iso(at(room)) > *since)
        });
        mine.map(|(id, _)| id.clone()).collect()
    }

    fn accessible(&self, user: &str, room: &str) -> Result<&Room, Failure> {
        match self.rooms.get(room).filter(|room| room.members.contains_key(user)) {
            Some(room) => Ok(room),
            None => refuse("error-room-not-found"),
        }
    }

    fn set_user_keys(&mut self, id: &str, body: &Value) -> Answer {
        let forced = body.get("force") == Some(&json!(true));
        let user = self.users.get_mut(id).expect("a user");
        if user.public_key.is_some() && !forced {
            return refuse("error-keys-already-set");
        }
        let public_key = text(body, "public_key").to_owned();
        if user.public_key.as_ref().is_some_and(|known| *known != public_key) && !user.rotates {
            self.violations.push(format!("the key pair of {id} was replaced"));
        }
        user.public_key = Some(public_key);
        user.private_key = Some(text(body, "private_key").to_owned());
        user.envelopes.push(text(body, "private_key").to_owned());
        let mut changed = Vec::new();
        for (room_id, room) in &mut self.rooms {
            if room.members.get(id).is_some_and(|member| member.key.is_none()) {
                room.queue(id);
                changed.push(room_id.clone());
            }
        }
        for room in changed {
            self.touch(&room);
        }
        Ok(json!({}))
    }

    fn begin_key_id(&mut self, user: &str, body: &Value) -> Result<Half, Failure> {
        let (room_id, key_id) = (text(body, "rid").to_owned(), text(body, "keyID").to_owned());
        match self.rooms.get(&room_id).filter(|room| room.members.contains_key(user)) {
            None => refuse("error-invalid-room"),
            Some(room) if room.key_id.is_some() => refuse("error-room-e2e-key-already-exists"),
            Some(_) => Ok(Half::SetRoomKeyId { room: room_id, key_id }),
        }
    }

    fn set_key_id(&mut self, room_id: &str, key_id: String) {
        self.name_key(room_id, key_id);
        self.touch(room_id);
    }

    /// The room's key changes: whoever has another one now, which was the room's when it was
    /// written, keeps it. On servers before 8.7, two creators do this to each other; a reset does
    /// it to those who got a key between its two halves.
    fn name_key(&mut self, room_id: &str, key_id: String) {
        let room = self.rooms.get_mut(room_id).expect("a room");
        for (member, subscription) in &room.members {
            if subscription.key.as_ref().is_some_and(|key| !key.starts_with(&key_id)) {
                self.spoiled.insert((room_id.to_owned(), member.clone()));
            }
        }
        room.key_id = Some(key_id);
    }

    /// A member's key was written. The server takes any, and serves this member no more.
    fn written(&mut self, room_id: &str, user: &str, key: &str, suggested: u64, basis: &Basis) {
        let place = (room_id.to_owned(), user.to_owned());
        let Some(named) = self.rooms[room_id].key_id.clone() else { return };
        if key.starts_with(&named) {
            self.spoiled.remove(&place);
            return;
        }
        let Some(read) = basis.read else {
            self.violations.push(format!("{user} wrote a key of {room_id} without a look at it"));
            return;
        };
        if suggested > read {
            // It accepted what took the place of what it had looked at, and can hand in the right
            // one: no excuse for the end.
        } else if basis.seen.contains(&named) {
            self.violations.push(format!("{user} wrote a stale key of {room_id} and knew better"));
        } else {
            self.spoiled.insert(place);
        }
    }

    fn update_group_key(&mut self, user: &str, body: &Value, basis: &Basis) -> Answer {
        let (target, room_id) = (text(body, "uid").to_owned(), text(body, "rid").to_owned());
        let key = text(body, "key").to_owned();
        if self.accessible(user, &room_id).is_err() {
            return Ok(json!({}));
        }
        if target == user {
            self.written(&room_id, user, &key, 0, basis);
            self.write(&room_id, user, |subscription| subscription.key = Some(key));
            if self.rooms.get_mut(&room_id).is_some_and(|room| room.unqueue(user)) {
                self.touch(&room_id);
            }
        } else {
            let now = self.now + 1;
            self.write(&room_id, &target, |subscription| {
                subscription.suggested = Some(key);
                subscription.suggested_at = now;
            });
        }
        Ok(json!({}))
    }

    fn answer_suggestion(
        &mut self,
        user: &str,
        body: &Value,
        accept: bool,
        basis: &Basis,
    ) -> Answer {
        let room_id = text(body, "rid").to_owned();
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return refuse("error-subscription-not-found");
        };
        let Some(subscription) = room.members.get(user) else {
            return refuse("error-subscription-not-found");
        };
        if subscription.suggested.is_none() {
            return refuse("error-no-suggested-key-available");
        }
        let suggested = subscription.suggested.clone().unwrap_or_default();
        let at = subscription.suggested_at;
        let queued = if accept { room.unqueue(user) } else { room.queue(user) };
        self.write(&room_id, user, |subscription| {
            let suggested = subscription.suggested.take();
            let old = subscription.suggested_old.take();
            if accept {
                subscription.key = suggested;
                if let (None, Some(Value::Array(old))) = (&subscription.old_keys, old) {
                    subscription.old_keys = Some(old);
                }
            }
        });
        if accept {
            self.written(&room_id, user, &suggested, at, basis);
        }
        if queued {
            self.touch(&room_id);
        }
        Ok(json!({}))
    }

    fn waiting(&mut self, user: &str, query: &Value) -> Value {
        let mut lists = Map::new();
        for id in query["roomIds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Ok(room) = self.accessible(user, id) else { continue };
            let waiting = room.members.iter().filter(|(member, subscription)| {
                *member != user && subscription.key.is_none() && subscription.suggested.is_none()
            });
            let mut users: Vec<Value> = waiting
                .filter_map(|(member, _)| {
                    let public_key = self.users[member].public_key.as_ref()?;
                    Some(json!({ "_id": member, "public_key": public_key }))
                })
                .collect();
            self.most_waiting = self.most_waiting.max(users.len());
            users.truncate(50);
            if !users.is_empty() {
                lists.insert(id.to_owned(), Value::Array(users));
            }
        }
        json!({ "usersWaitingForE2EKeys": lists })
    }

    fn provide(&mut self, user: &str, body: &Value) -> Value {
        let rooms = body["usersSuggestedGroupKeys"].as_object().cloned().unwrap_or_default();
        for (room_id, users) in rooms {
            if self.accessible(user, &room_id).is_err() {
                continue;
            }
            let mut queued = false;
            for given in users.as_array().into_iter().flatten() {
                let member = text(given, "_id").to_owned();
                let now = self.now + 1;
                self.write(&room_id, &member, |subscription| {
                    subscription.suggested_at = now;
                    subscription.suggested = Some(text(given, "key").to_owned());
                    if let Some(old) = given.get("oldKeys") {
                        subscription.suggested_old = Some(old.clone());
                    }
                });
                queued |= self.rooms.get_mut(&room_id).is_some_and(|room| room.unqueue(&member));
            }
            if queued {
                self.touch(&room_id);
            }
        }
        json!({})
    }

    fn request_keys(&mut self, user: &str) -> Value {
        let mut asked = Vec::new();
        for (id, room) in &self.rooms {
            let lacks = room.members.get(user).is_some_and(|member| member.key.is_none());
            if let (true, Some(key_id)) = (lacks, &room.key_id) {
                let others = room.members.keys().filter(|member| *member != user);
                asked.extend(others.map(|other| (other.clone(), id.clone(), key_id.clone())));
            }
        }
        for (other, room, key_id) in asked {
            self.tell(&other, json!({ "type": "keyRequest", "roomId": room, "keyId": key_id }));
        }
        json!({})
    }

    fn begin_reset(&mut self, user: &str, body: &Value) -> Result<Half, Failure> {
        let room_id = text(body, "rid").to_owned();
        let now = iso(self.now);
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return refuse("error-not-allowed");
        };
        if room.owner != user {
            return Err(failure(Some(403), None));
        }
        if room.locked {
            return refuse("error-e2e-key-reset-in-progress");
        }
        let Some(previous) = room.key_id.clone() else {
            return refuse("error-e2e-key-reset-failed");
        };
        if text(body, "e2eKeyId") == previous {
            self.violations.push(format!("the reset of {room_id} was repeated"));
        }
        room.locked = true;
        let mut affected = Vec::new();
        for (member, subscription) in &mut room.members {
            if subscription.key.is_none() && subscription.suggested.is_none() {
                continue;
            }
            subscription.suggested = None;
            subscription.suggested_old = None;
            // A bulk write past the model layer: `_updatedAt` stays, so lists do not show it.
            if let Some(key) = subscription.key.take() {
                self.longest =
                    self.longest.max(subscription.old_keys.as_ref().map_or(0, Vec::len) + 1);
                let old = subscription.old_keys.get_or_insert_default();
                old.insert(0, json!({ "e2eKeyId": previous, "ts": now, "E2EKey": key }));
                old.truncate(10);
            }
            if member != user {
                affected.push(member.clone());
            }
            // Whoever had a stale key is well again.
            self.spoiled.remove(&(room_id.clone(), member.clone()));
        }
        for member in &affected {
            self.tell_subscription(&room_id, member, "updated");
        }
        Ok(Half::Reset {
            room: room_id,
            user: user.to_owned(),
            key: text(body, "e2eKey").to_owned(),
            key_id: text(body, "e2eKeyId").to_owned(),
            affected,
        })
    }

    /// Does what [`Server::request`] has begun.
    pub(crate) fn go_on(&mut self, half: Half) -> Outcome {
        match half {
            Half::SetRoomKeyId { room, key_id } => self.set_key_id(&room, key_id),
            Half::Reset { room: id, user, key, key_id, affected } => {
                self.name_key(&id, key_id);
                let room = self.rooms.get_mut(&id).expect("a room");
                room.waiting = Some(affected.into_iter().take(50).collect());
                room.locked = false;
                self.spoiled.remove(&(id.clone(), user.clone()));
                self.write(&id, &user, |subscription| subscription.key = Some(key));
                self.touch(&id);
            }
        }
        Outcome::Ok(json!({ "success": true }))
    }

    fn send(&mut self, user: &str, message: &Value) -> Answer {
        let (id, room_id) = (text(message, "_id").to_owned(), text(message, "rid").to_owned());
        if self.accessible(user, &room_id).is_err() {
            return refuse("error-not-allowed");
        }
        if text(message, "t") != "e2e" || message.get("msg").is_some() {
            self.violations.push("a message in clear".to_owned());
        }
        if !self.ids.insert(id) {
            // What a repeated id is answered with is not specified: here every form of it.
            return match self.now % 3 {
                0 => Err(failure(Some(400), None)),
                1 => Ok(json!({})),
                _ => Ok(json!({ "message": null })),
            };
        }
        self.now += 1;
        let mut message = message.clone();
        message["msg"] = json!("");
        message["ts"] = json!(iso(self.now));
        message["_updatedAt"] = json!(iso(self.now));
        message["u"] = json!({ "_id": user, "username": user });
        let room = self.rooms.get_mut(&room_id).expect("a room");
        room.messages.push(message.clone());
        self.tell_message(&room_id, &message);
        Ok(json!({ "message": message }))
    }

    fn edit(&mut self, user: &str, body: &Value) -> Answer {
        let room_id = text(body, "roomId").to_owned();
        self.accessible(user, &room_id)?;
        if body.get("text").is_some() || !body["content"].is_object() {
            self.violations.push("an edit in clear".to_owned());
        }
        self.now += 1;
        let now = json!(iso(self.now));
        let room = self.rooms.get_mut(&room_id).expect("a room");
        let mut messages = room.messages.iter_mut();
        let Some(message) = messages.find(|known| known["_id"] == body["msgId"]) else {
            return Err(failure(Some(400), None));
        };
        if text(&message["u"], "_id") != user {
            return refuse("error-action-not-allowed");
        }
        message["content"] = body["content"].clone();
        message["editedAt"] = now.clone();
        message["_updatedAt"] = now;
        let message = message.clone();
        self.tell_message(&room_id, &message);
        Ok(json!({ "message": message }))
    }

    fn tell_message(&mut self, room_id: &str, message: &Value) {
        let members: Vec<String> = self.rooms[room_id].members.keys().cloned().collect();
        for member in members {
            self.tell(&member, json!({ "type": "message", "message": message }));
        }
        self.touch(room_id);
    }
}

impl Room {
    fn queue(&mut self, user: &str) -> bool {
        let waiting = self.waiting.get_or_insert_default();
        if waiting.iter().any(|known| known == user) {
            return false;
        }
        waiting.push(user.to_owned());
        if waiting.len() > 50 {
            waiting.remove(0);
        }
        true
    }

    fn unqueue(&mut self, user: &str) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let before = waiting.len();
        waiting.retain(|known| known != user);
        let changed = waiting.len() != before;
        if changed && waiting.is_empty() {
            self.waiting = None;
        }
        changed
    }
}
