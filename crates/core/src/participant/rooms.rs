//! Room keys: suggested, accepted, created, reset, waited for (protocol §3).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::account::Unwrapped;
use super::host::{Failure, Flow, Result};
use super::incoming::OVERLAP;
use super::serving::iso;
use super::store::parse;
use super::{ParticipantError, Rooms, Shared, millis_of, time_of};
use crate::error::{Code, Error};
use crate::identity::Identity;
use crate::key_ring::KeyRing;
use crate::room_key::{KeyId, RoomKey, RoomKeyError};
use crate::vault::{Secret, Vault, VaultError};

/// What an exported bundle calls itself.
const EXPORT: &str = "rocketchat-e2ee/keys/1";
/// Messages that wait for their key, at most, for each room.
const MAX_PENDING: usize = 500;
/// How long a request for keys is not repeated, in milliseconds.
const REQUEST_PAUSE: u64 = 60_000;
/// How long a server of before 8.7 may take between seeing that a room has no key and writing that
/// it has one, in milliseconds.
const OVERWRITING: u64 = 100;

/// One room, as far as it is known.
#[derive(Default)]
pub(super) struct Room {
    pub(super) record: Record,
    pub(super) ring: KeyRing,
    pub(super) document: Option<Document>,
    pub(super) subscription: Option<Subscription>,
    /// Messages that came before their key.
    pub(super) pending: Vec<Value>,
    pub(super) outbox: Vec<super::messages::Waiting>,
    pub(super) incoming: super::incoming::Incoming,
    /// Whether there may be messages that were not read yet.
    pub(super) stale: bool,
    /// When the room was last changed, as the server's list has it.
    updated: Option<String>,
    asked: u64,
    /// The room's key id when old keys were last asked for.
    old_keys_of: Option<Option<String>>,
    /// The wrapped key that was opened last: opening is slow, and rounds are many.
    opened: Option<Opened>,
    /// The subscription with which the account left the room; empty where it is not known.
    left: Option<String>,
    /// The room's key id for which the server is known to keep another key of ours.
    stuck: Option<String>,
    /// The id of the key for which the server was asked who lacks it.
    pub(super) served: Option<String>,
}

/// The account's own wrapped key, as it was opened.
struct Opened {
    wrapped: String,
    /// Whether the account's present pair opens it.
    by_present: bool,
    /// When it was first tried, and when the server had last told its pair as it was last tried;
    /// in milliseconds since 1970.
    since: u64,
    settled: Option<u64>,
}

impl Opened {
    /// Whether it is known what becomes of it: a key that does not open may have been wrapped for
    /// a pair that the server has got since.
    fn is_final(&self, wrapped: &str) -> bool {
        self.wrapped == wrapped && (self.by_present || self.settled > Some(self.since))
    }
}

/// What is kept of a room: `room/<id>`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) authorized: bool,
    /// Whether the application gave the room up: `all` does not mean it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    given_up: bool,
    /// The id of the key that messages are sent under.
    current: Option<String>,
    pub(super) keys: Vec<Held>,
}

/// A key that is kept. Keys are kept for good.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held {
    pub(super) id: String,
    /// The id under which `oldRoomKeys` has it.
    pub(super) recorded_id: String,
    jwk: Zeroizing<String>,
    /// Milliseconds since 1970, when it was first held here.
    pub(super) since: u64,
    /// How it came: `created`, `accepted`, `subscription`, `old`, `reset`, `imported`; `offered`
    /// where it was made here and the room took another one, as far as is known.
    pub(super) source: String,
}

/// The fields of a room document that matter.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) t: String,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    pub(super) e2e_key_id: Option<String>,
    #[serde(default, rename = "usersWaitingForE2EKeys")]
    pub(super) waiting: Option<Vec<WaitingUser>>,
    /// When the server changed it last; as text, which compares.
    #[serde(skip)]
    updated: Option<String>,
}

/// Somebody in a room's queue.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaitingUser {
    pub(super) user_id: String,
}

/// The fields of a subscription that matter.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    #[serde(default, rename = "_id")]
    id: String,
    /// When the server changed it last; as text, which compares.
    #[serde(skip)]
    updated: Option<String>,
    #[serde(default, rename = "E2EKey")]
    pub(super) key: Option<String>,
    #[serde(default, rename = "E2ESuggestedKey")]
    pub(super) suggested: Option<String>,
    #[serde(default)]
    pub(super) old_room_keys: Option<Vec<OldKey>>,
    /// Offered together with a suggestion. Only `subscriptions.getOne` has them.
    #[serde(default)]
    suggested_old_room_keys: Option<Vec<OldKey>>,
}

#[derive(Clone, PartialEq, Deserialize)]
pub(super) struct OldKey {
    #[serde(rename = "e2eKeyId")]
    pub(super) id: String,
    #[serde(rename = "E2EKey")]
    key: String,
}

/// Up to where the workspace's lists were read: the largest `_updatedAt` seen.
#[derive(Default)]
pub(super) struct Cursors {
    subscriptions: Option<String>,
    rooms: Option<String>,
}

impl Document {
    /// Whether messages in this room are to be encrypted. Other types are never encrypted,
    /// whatever the flag says (protocol §1).
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted && matches!(self.t.as_str(), "p" | "d")
    }
}

impl Room {
    /// Whether the current key may be used and given away: it is the one that the room names.
    pub(super) fn usable_key(&self) -> Option<Arc<RoomKey>> {
        let key = self.ring.current()?;
        // Not before it is known which one that is now: it may have been reset meanwhile.
        let named = self.document.as_ref()?.e2e_key_id.as_deref();
        named.is_none_or(|named| named == key.id().as_str()).then(|| Arc::clone(key))
    }

    /// Whether the server was asked who lacks the current key.
    pub(super) fn asked_for_all(&self) -> bool {
        let current = self.ring.current().map(|key| key.id().as_str());
        current.is_some() && self.served.as_deref() == current
    }

    /// Whether a subscription document says other things of keys than are known here.
    pub(super) fn differs(&self, document: &Value) -> bool {
        let Ok(told) = serde_json::from_value::<Subscription>(document.clone()) else {
            return false;
        };
        self.subscription.as_ref().is_none_or(|known| {
            told.key != known.key
                || told.suggested != known.suggested
                || (told.old_room_keys.is_some() && told.old_room_keys != known.old_room_keys)
        })
    }

    /// Whether a room document says other things of encryption than are known here.
    pub(super) fn differs_in_room(&self, document: &Value) -> bool {
        let Ok(told) = serde_json::from_value::<Document>(document.clone()) else {
            return false;
        };
        self.document.as_ref().is_none_or(|known| {
            let updated = known.updated.clone();
            Document { updated, ..told } != *known
        })
    }

    fn give_up(&mut self) {
        self.record = Record { given_up: true, ..Record::default() };
        self.ring = KeyRing::new();
        self.pending.clear();
        self.opened = None;
    }

    /// Takes the record as it is in the store; returns the event that tells of it, if any.
    fn take_record(&mut self, theirs: Record) -> Result<Option<&'static str>> {
        let was = self.record.authorized;
        if !theirs.authorized {
            self.give_up();
            self.record.given_up = theirs.given_up;
            return Ok(was.then_some("roomDeauthorized"));
        }
        let ours = std::mem::take(&mut self.record);
        self.record = Record {
            current: ours.current.or(theirs.current),
            keys: merge(theirs.keys, ours.keys.clone()),
            ..theirs
        };
        if self.record.keys.len() != ours.keys.len() || !was {
            self.ring = ring_of(&self.record)?;
        }
        if !was {
            self.stale = true;
        }
        Ok((!was).then_some("roomAuthorized"))
    }

    fn holds(&self, key: &RoomKey) -> bool {
        self.ring.contains(key)
    }

    /// A key with other bytes than the one that is held under its id: somebody forged it. Ids from
    /// before 7.0 do not identify a key; there, another key may come once ours was taken back.
    fn contradicts(&self, key: &RoomKey) -> bool {
        let ours =
            self.subscription.as_ref().is_some_and(|subscription| subscription.key.is_some());
        self.ring.has_own_id(key.id()) && !self.holds(key) && (key.id().identifies() || ours)
    }

    fn made_here(&self, key: &RoomKey) -> bool {
        let made = |held: &Held| matches!(held.source.as_str(), "created" | "reset" | "offered");
        self.record.keys.iter().any(|held| made(held) && *held.jwk == key.jwk())
    }

    fn leave_if(&mut self, gone: impl FnOnce(&Subscription) -> bool) {
        if let Some(subscription) = self.subscription.take_if(|known| gone(known)) {
            self.left = Some(subscription.id);
        }
    }
}

impl Shared {
    pub(super) async fn load_rooms(&self) -> Result<()> {
        let records = self.load::<Record>("room/").await?;
        let mut state = self.state();
        for (name, record) in records {
            let Some(id) = name.strip_prefix("room/") else { continue };
            let room = state.rooms.entry(id.to_owned()).or_default();
            room.ring = ring_of(&record)?;
            room.record = record;
        }
        Ok(())
    }

    /// Takes what other processes on the same store have written: the account, the pins, and the
    /// records of one room or of all.
    pub(super) async fn catch_up(self: &Arc<Self>, id: Option<&str>) -> Result<()> {
        self.catch_up_account().await?;
        if id.is_none() {
            self.load_pins().await?;
        }
        let prefix = format!("room/{}", id.unwrap_or_default());
        let records = self.load_newer::<Record>(&prefix).await?;
        let mut state = self.state();
        for (name, theirs) in records {
            let Some(id) = name.strip_prefix("room/") else { continue };
            let room = state.rooms.entry(id.to_owned()).or_default();
            if let Some(event) = room.take_record(theirs)? {
                self.host.emit(event, json!({ "roomId": id }));
            }
        }
        Ok(())
    }

    /// Authorises what the options list.
    pub(super) async fn authorize_listed(&self) -> Result<()> {
        if let Rooms::Listed(rooms) = &self.options.rooms {
            for id in rooms {
                self.set_authorized(id, true).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn authorize(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.identity()?;
        self.set_authorized(id, true).await?;
        self.refresh_room(id).await?;
        self.settle_room(id).await?;
        Ok(Value::Null)
    }

    /// A room that is not authorised is neither read nor sent to nor given keys, and its keys are
    /// forgotten. What waits to be sent there is told as failed.
    pub(super) async fn deauthorize(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.identity()?;
        self.set_authorized(id, false).await?;
        self.flush(id).await;
        Ok(Value::Null)
    }

    pub(super) async fn set_authorized(&self, id: &str, authorized: bool) -> Result<()> {
        {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            if room.record.authorized == authorized && room.record.given_up != authorized {
                return Ok(());
            }
            if authorized {
                room.record.authorized = true;
                room.record.given_up = false;
                room.stale = true;
            } else {
                room.give_up();
            }
            room.opened = None;
            room.old_keys_of = None;
        }
        if let Err(failure) = self.write_room(id, Some(authorized)).await {
            // Authorised again, it is written again. What is given up stays so.
            if let (true, Some(room)) = (authorized, self.state().rooms.get_mut(id)) {
                room.record.authorized = false;
            }
            return Err(failure);
        }
        let event = if authorized { "roomAuthorized" } else { "roomDeauthorized" };
        self.host.emit(event, json!({ "roomId": id }));
        self.audit(event, json!({ "roomId": id })).await
    }

    pub(super) fn authorized_rooms(&self) -> Vec<String> {
        let state = self.state();
        let rooms = state.rooms.iter().filter(|(_, room)| room.record.authorized);
        rooms.map(|(id, _)| id.clone()).collect()
    }

    fn rooms_with_waiting(&self) -> Vec<String> {
        let state = self.state();
        let rooms = state.rooms.iter().filter(|(_, room)| !room.outbox.is_empty());
        rooms.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn expect_authorized(&self, id: &str) -> Result<()> {
        self.identity()?;
        match self.state().rooms.get(id) {
            Some(room) if room.record.authorized => Ok(()),
            _ => Err(Failure::new(Code::RoomNotAuthorized, "the room is not authorised")),
        }
    }

    /// Writes what is kept of the room. In turn, so that the last to write is right.
    async fn save_room(&self, id: &str) -> Result<()> {
        self.write_room(id, None).await
    }

    /// Whether a room is authorised is for who has `decided` it now; anybody else keeps what another
    /// process has decided meanwhile. In turn, so that the last to write is right.
    async fn write_room(&self, id: &str, decided: Option<bool>) -> Result<()> {
        self.alone(format!("save/{id}"), self.write_room_alone(id, decided)).await
    }

    async fn write_room_alone(&self, id: &str, decided: Option<bool>) -> Result<()> {
        let Some(mut record) = self.state().rooms.get(id).map(|room| room.record.clone()) else {
            return Ok(());
        };
        // What was decided may be undone in memory, where a record of before was read meanwhile.
        match decided {
            Some(true) => (record.authorized, record.given_up) = (true, false),
            Some(false) => record = Record { given_up: true, ..Record::default() },
            None => {}
        }
        let authorized = record.authorized;
        let merged = self
            .write(&format!("room/{id}"), record, |theirs: Record, ours: Record| {
                let kept = if decided.is_some() { &ours } else { &theirs };
                Record {
                    authorized: kept.authorized,
                    given_up: kept.given_up,
                    // A room that was given up forgets its keys, whoever still had them.
                    keys: match kept.authorized {
                        true => merge(theirs.keys, ours.keys),
                        false => Vec::new(),
                    },
                    current: ours.current,
                }
            })
            .await?;
        let mut state = self.state();
        let room = state.rooms.entry(id.to_owned()).or_default();
        if decided.is_some() {
            room.take_record(merged)?;
        // Where it was decided anew meanwhile, that is written next.
        } else if room.record.authorized == authorized
            && let Some(event) = room.take_record(merged)?
        {
            self.host.emit(event, json!({ "roomId": id }));
        }
        Ok(())
    }

    /// One full round: keys, rooms, suggestions, waiting members, outbox, messages.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<Value> {
        self.state().account.expect_not_revoked()?;
        self.alone("sync".to_owned(), async {
            self.catch_up(None).await?;
            if !self.check_settings().await {
                return Ok(Value::Null);
            }
            self.check_unsettled().await?;
            self.identity()?;
            self.fetch_lists().await?;
            self.settle_rooms().await;
            if self.options.distribute_keys
                && let Err(failure) = self.distribute(None).await
            {
                self.trouble("", &failure);
            }
            // Also what waits for rooms that are not authorised any more: it is told as failed.
            for id in self.rooms_with_waiting() {
                self.flush(&id).await;
            }
            for id in self.authorized_rooms() {
                let unread = |room: &Room| room.stale && room.subscription.is_some();
                if self.state().rooms.get(&id).is_some_and(unread)
                    && let Err(failure) = self.fetch_messages(&id).await
                {
                    self.trouble(&id, &failure);
                }
            }
            Ok(Value::Null)
        })
        .await
    }

    /// Tells of something that went wrong by itself, without a caller to tell.
    pub(super) fn trouble(&self, room_id: &str, failure: &Failure) {
        self.host.emit("error", json!({ "roomId": room_id, "error": failure }));
    }

    /// Reads what changed in the account's subscriptions and rooms.
    pub(super) async fn fetch_lists(&self) -> Result<()> {
        let (subscriptions, rooms) = {
            let state = self.state();
            (state.cursors.subscriptions.clone(), state.cursors.rooms.clone())
        };
        // What was changed in the same moment as the latest that was listed may not have been there.
        let since = |cursor: &Option<String>| match millis_of(Some(&json!(cursor))) {
            Some(at) => json!({ "updatedSince": iso(at.saturating_sub(OVERLAP)) }),
            None => json!({}),
        };
        let lists: Lists = parse(self.host.get("subscriptions.get", since(&subscriptions)).await?)?;
        let latest = latest(&lists.update);
        if subscriptions.is_none() {
            self.see_all(&lists.update);
        }
        for document in lists.update {
            self.see_subscription(&document);
        }
        self.see_removed(&lists.remove);
        if latest.is_some() {
            self.state().cursors.subscriptions = latest;
        }
        let lists: Lists = parse(self.host.get("rooms.get", since(&rooms)).await?)?;
        let latest = self::latest(&lists.update);
        for document in lists.update {
            self.see_room(&document);
            let id = document.get("_id").and_then(Value::as_str).unwrap_or_default();
            let updated = time_of(document.get("_updatedAt"));
            if let Some(room) = self.state().rooms.get_mut(id)
                && (updated.is_none() || room.updated != updated)
            {
                room.updated = updated;
                room.stale = true;
            }
        }
        if latest.is_some() {
            self.state().cursors.rooms = latest;
        }
        self.authorize_all().await
    }

    pub(super) fn takes_all(&self) -> bool {
        matches!(&self.options.rooms, Rooms::All(_))
    }

    pub(super) async fn authorize_all(&self) -> Result<()> {
        if !self.takes_all() {
            return Ok(());
        }
        let found: Vec<String> = {
            let state = self.state();
            let encrypted = state.rooms.iter().filter(|(_, room)| {
                room.subscription.is_some()
                    && !room.record.given_up
                    && room.document.as_ref().is_some_and(Document::is_encrypted)
            });
            encrypted.map(|(id, _)| id.clone()).collect()
        };
        for id in found {
            // It may have been given up meanwhile.
            let given_up = self.state().rooms.get(&id).is_some_and(|room| room.record.given_up);
            if !given_up {
                self.set_authorized(&id, true).await?;
            }
        }
        Ok(())
    }

    /// Takes a subscription document; an absent field means that the server has none.
    pub(super) fn see_subscription(&self, document: &Value) {
        let id = document.get("rid").and_then(Value::as_str);
        let subscription = serde_json::from_value::<Subscription>(document.clone());
        if let (Some(id), Ok(mut subscription)) = (id, subscription) {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            subscription.updated = time_of(document.get("_updatedAt"));
            let known = room.subscription.as_ref();
            // Streams and answers overtake each other. A reset changes a subscription without a
            // new time, so of two with the same time the later counts.
            let late = known.is_some_and(|known| is_before(&subscription.updated, &known.updated))
                || room.left.as_ref().is_some_and(|left| *left == subscription.id);
            if late {
                return;
            }
            // Servers before 7.13 leave old keys out of lists; `getOne` has them.
            if subscription.old_room_keys.is_none() {
                subscription.old_room_keys =
                    room.subscription.take().and_then(|known| known.old_room_keys);
            }
            room.subscription = Some(subscription);
            room.left = None;
        }
    }

    /// The server has no subscription to the room for the account: it has left.
    pub(super) fn see_gone(&self, id: &str) {
        if let Some(room) = self.state().rooms.get_mut(id) {
            room.leave_if(|_| true);
        }
    }

    /// Takes the list of all subscriptions: the account is in no other room.
    fn see_all(&self, documents: &[Value]) {
        let listed: BTreeSet<&str> = documents
            .iter()
            .filter_map(|document| document.get("rid").and_then(Value::as_str))
            .collect();
        for (id, room) in &mut self.state().rooms {
            if !listed.contains(id.as_str()) {
                room.subscription = None;
                room.left.get_or_insert_default();
            }
        }
    }

    /// Refuses what needs a member, where the account has left the room.
    pub(super) fn expect_member(&self, id: &str) -> Result<()> {
        match self.state().rooms.get(id) {
            Some(room) if room.left.is_some() => {
                Err(Failure::new(Code::NotAMember, "the account is not in the room any more"))
            }
            _ => Ok(()),
        }
    }

    /// Takes a room document.
    pub(super) fn see_room(&self, document: &Value) {
        let id = document.get("_id").and_then(Value::as_str);
        let seen = serde_json::from_value::<Document>(document.clone());
        if let (Some(id), Ok(mut seen)) = (id, seen) {
            seen.updated = time_of(document.get("_updatedAt"));
            let before = self.switched_on(id);
            {
                let mut state = self.state();
                let known = &mut state.rooms.entry(id.to_owned()).or_default().document;
                // Streams and answers overtake each other.
                if !known.as_ref().is_some_and(|known| is_before(&seen.updated, &known.updated)) {
                    *known = Some(seen);
                }
            }
            self.tell_encryption(id, before);
        }
    }

    /// The server's time when the lists were last read, as far as their documents tell, in
    /// milliseconds since 1970: nothing that came later has been seen. Our own clock may be wrong
    /// by hours.
    pub(super) fn server_time(&self) -> Option<u64> {
        let state = self.state();
        let Cursors { subscriptions, rooms } = &state.cursors;
        let latest = subscriptions.iter().chain(rooms).max()?;
        millis_of(Some(&json!(latest)))
    }

    /// Forgets subscriptions that are gone: the account has left these rooms.
    fn see_removed(&self, removed: &[Value]) {
        let removed: BTreeSet<&str> = removed
            .iter()
            .filter_map(|document| document.get("_id").and_then(Value::as_str))
            .collect();
        for room in self.state().rooms.values_mut() {
            room.leave_if(|subscription| removed.contains(subscription.id.as_str()));
        }
    }

    /// Reads one room and its subscription in full.
    pub(super) async fn refresh_room(&self, id: &str) -> Result<()> {
        let named = |document: &&Value, member: &str| {
            document.get(member).and_then(Value::as_str) == Some(id)
        };
        let body = self.host.get("rooms.info", json!({ "roomId": id })).await?;
        if let Some(document) = body.get("room").filter(|document| named(document, "_id")) {
            self.see_room(document);
        }
        let body = self.host.get("subscriptions.getOne", json!({ "roomId": id })).await?;
        match body.get("subscription") {
            Some(Value::Null) => self.see_gone(id),
            Some(document) if named(&document, "rid") => self.see_subscription(document),
            _ => {}
        }
        Ok(())
    }

    /// After the identity changed: what the server has is wrapped for the one before.
    pub(super) fn forget_opened(&self) {
        for room in self.state().rooms.values_mut() {
            room.opened = None;
            room.asked = 0;
        }
    }

    /// Brings the keys of every authorised room in order.
    pub(super) async fn settle_rooms(self: &Arc<Self>) {
        for id in self.authorized_rooms() {
            if let Err(failure) = self.settle_room(&id).await {
                self.trouble(&id, &failure);
            }
        }
    }

    /// [`Shared::settle_rooms`] as a flow of its own. Boxed: it is begun from within itself.
    pub(super) fn settle_rooms_later(self: Arc<Self>) -> Flow {
        Box::pin(async move { self.settle_rooms().await })
    }

    /// Reads what the server has for the authorised rooms, and takes all keys that are in it.
    pub(super) async fn read_rooms(self: &Arc<Self>) -> Result<()> {
        self.alone("sync".to_owned(), self.fetch_lists()).await?;
        for id in self.authorized_rooms() {
            match self.settle_room(&id).await {
                // Nothing was read: later, perhaps.
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => self.trouble(&id, &failure),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Seals every room key that is held with a passphrase, to be kept or carried elsewhere.
    pub(super) fn export_keys(&self, passphrase: &str) -> Result<Value> {
        self.identity()?;
        let rooms: BTreeMap<String, Record> = {
            let state = self.state();
            let held = state.rooms.iter().filter(|(_, room)| !room.record.keys.is_empty());
            held.map(|(id, room)| (id.clone(), room.record.clone())).collect()
        };
        let payload =
            Zeroizing::new(serde_json::to_vec(&rooms).map_err(|_| {
                Failure::new(Code::Internal, "the keys could not be written as JSON")
            })?);
        let secret = Secret::text(Zeroizing::new(passphrase.to_owned()))?;
        let mut rng = self.rng();
        let vault = Vault::generate(&mut **rng);
        let key = vault.wrap(&mut **rng, &secret)?;
        let sealed = vault.seal(&mut **rng, EXPORT, 1, &payload)?;
        let bundle = Bundle {
            format: EXPORT.to_owned(),
            key: STANDARD.encode_to_string(key),
            sealed: STANDARD.encode_to_string(sealed),
        };
        Ok(json!(serde_json::to_string(&bundle).unwrap_or_default()))
    }

    /// Takes the keys of authorised rooms from such a bundle.
    pub(super) async fn import_keys(
        self: &Arc<Self>,
        bundle: &str,
        passphrase: &str,
    ) -> Result<Value> {
        self.identity()?;
        let rooms = open_bundle(bundle, passphrase)?;
        let (mut taken, mut skipped) = (0, 0);
        for (id, record) in rooms {
            if self.expect_authorized(&id).is_err() {
                skipped += 1;
                continue;
            }
            for held in &record.keys {
                let key = Arc::new(RoomKey::from_jwk(&held.jwk, held.id.parse()?)?);
                if !self.state().rooms.get(&id).is_some_and(|room| room.holds(&key)) {
                    self.hold(&id, &key, held.recorded_id.parse()?, "imported");
                    taken += 1;
                }
            }
            self.save_room(&id).await?;
            self.retry_pending(&id).await;
        }
        self.audit("keysImported", json!({ "keys": taken })).await?;
        Ok(json!({ "keys": taken, "skippedRooms": skipped }))
    }

    /// Brings one room's keys in order: suggestion, own key, old keys; then creates or asks.
    pub(super) async fn settle_room(self: &Arc<Self>, id: &str) -> Result<()> {
        self.alone(format!("room/{id}"), self.settle_room_alone(id)).await
    }

    async fn settle_room_alone(self: &Arc<Self>, id: &str) -> Result<()> {
        let identity = self.identity()?;
        if self.expect_member(id).and_then(|()| self.expect_switched_on(id)).is_err() {
            // What waits to be sent there is told as failed.
            let (shared, id) = (Arc::clone(self), id.to_owned());
            self.host.spawn(async move { shared.flush(&id).await });
            return Ok(());
        }
        let Some((document, subscription)) = self.known(id) else { return Ok(()) };
        let before = self.key_ids(id);
        let last = self.state().rooms.get(id).and_then(|room| room.record.current.clone());
        self.fetch_old_keys(id, &document).await?;
        if subscription.suggested.is_some() {
            // What was told may be old by now, and a key that was reset meanwhile, once accepted,
            // would keep the new one from us: the server serves nobody who has any key.
            self.refresh_room(id).await?;
            if let Some((document, subscription)) = self.known(id)
                && let Some(suggested) = &subscription.suggested
            {
                let old = subscription.suggested_old_room_keys.as_deref().unwrap_or_default();
                self.consider(id, suggested, old, &document).await?;
            }
        }
        let Some((document, subscription)) = self.known(id) else { return Ok(()) };
        if let Some(wrapped) = &subscription.key {
            self.take_own(id, wrapped, &document).await?;
        }
        self.take_old(id, subscription.old_room_keys.as_deref().unwrap_or_default());
        self.state().rooms.entry(id.to_owned()).or_default().settle_current(&document);
        let after = self.key_ids(id);
        if after != before {
            self.save_room(id).await?;
            self.tell_current(id, last.as_deref(), after.1.as_deref());
            self.retry_pending(id).await;
        }
        let usable = self.state().rooms.get(id).and_then(Room::usable_key);
        match usable {
            Some(key) => self.hand_in(id, &identity, &key).await,
            None if document.e2e_key_id.is_none() => self.create(id).await,
            None => self.ask(id).await,
        }
    }

    fn tell_current(&self, id: &str, before: Option<&str>, after: Option<&str>) {
        if let Some(key_id) = after.filter(|after| before != Some(*after)) {
            let event = if before.is_some() { "roomKeyRotated" } else { "roomKey" };
            self.host.emit(event, json!({ "roomId": id, "keyId": key_id }));
        }
    }

    /// Gives the server our own wrapped key where it lacks it, as after a crash while the key was
    /// created, or has one that the account's present pair does not open, or a stale one: so that
    /// another replica finds it.
    async fn hand_in(&self, id: &str, identity: &Identity, key: &RoomKey) -> Result<()> {
        if !self.is_wanting(id, key) {
            return Ok(());
        }
        self.refresh_room(id).await?;
        if !self.names(id, key) || self.retired(id, key) || !self.is_wanting(id, key) {
            return Ok(());
        }
        let wrapped = key.wrap_for(&mut **self.rng(), identity.public_key())?;
        let body = json!({ "uid": self.options.user_id, "rid": id, "key": wrapped });
        self.host.post("e2e.updateGroupKey", body).await?;
        if let Some(room) = self.state().rooms.get_mut(id) {
            if let Some(subscription) = &mut room.subscription {
                subscription.key = Some(wrapped.clone());
            }
            room.opened = Some(Opened { wrapped, by_present: true, since: 0, settled: None });
        }
        Ok(())
    }

    /// Whether the server is to be given our wrapped key.
    fn is_wanting(&self, id: &str, key: &RoomKey) -> bool {
        let state = self.state();
        let Some(room) = state.rooms.get(id) else { return false };
        match room.subscription.as_ref().and_then(|subscription| subscription.key.as_deref()) {
            // Only what was made here can be unknown to the server: a key that it gave and lacks
            // now was retired by a reset, and handed in again would keep the new one from us for
            // good.
            None => room.made_here(key),
            Some(stored) => room.opened.as_ref().is_some_and(|opened| {
                let fits = opened.by_present && stored.starts_with(key.id().as_str());
                opened.wrapped == stored && !fits
            }),
        }
    }

    /// Servers of 7.x leave old keys out of their lists: they are read once for each key id.
    async fn fetch_old_keys(&self, id: &str, document: &Document) -> Result<()> {
        let of = Some(document.e2e_key_id.clone());
        if self.state().rooms.get(id).is_some_and(|room| room.old_keys_of == of) {
            return Ok(());
        }
        if document.e2e_key_id.is_some() && self.server_version().await? < (8, 0) {
            self.refresh_room(id).await?;
        }
        self.state().rooms.entry(id.to_owned()).or_default().old_keys_of = of;
        Ok(())
    }

    /// Whether a reset has put the key among the old ones already: for a moment the room still
    /// names it (protocol §3.5).
    fn retired(&self, id: &str, key: &RoomKey) -> bool {
        self.known(id).is_some_and(|(_, subscription)| {
            let mut old = subscription.old_room_keys.iter().flatten();
            old.any(|old| old.id == key.id().as_str())
        })
    }

    fn known(&self, id: &str) -> Option<(Document, Subscription)> {
        let state = self.state();
        let room = state.rooms.get(id)?;
        Some((room.document.clone()?, room.subscription.clone()?))
    }

    fn key_ids(&self, id: &str) -> (usize, Option<String>) {
        let state = self.state();
        let room = state.rooms.get(id);
        let current = room.and_then(|room| room.ring.current()).map(|key| key.id().to_string());
        (room.map_or(0, |room| room.record.keys.len()), current)
    }

    /// Decrypts and checks a suggestion before it is accepted (design §7): its id must be the
    /// room's, and where that id is held already, the bytes must be equal.
    async fn consider(
        self: &Arc<Self>,
        id: &str,
        suggested: &str,
        old: &[OldKey],
        document: &Document,
    ) -> Result<()> {
        let key = match self.unwrap(suggested) {
            Ok(unwrapped) => Some(unwrapped.key),
            // Perhaps it was wrapped for a pair that another replica has made.
            Err(_) if !self.check_identity().await? => return Ok(()),
            Err(_) => self.unwrap(suggested).ok().map(|unwrapped| unwrapped.key),
        };
        let key = key.map(Arc::new).filter(|key| {
            let named = document.e2e_key_id.as_deref();
            named.is_none_or(|named| named == key.id().as_str())
                && !self.state().rooms.get(id).is_some_and(|room| room.contradicts(key))
        });
        let route = match &key {
            Some(key) => {
                self.hold(id, key, key.id().clone(), "accepted");
                // The server drops them where the subscription has old keys already (protocol
                // §2.3), so they are taken, and kept, before it is told.
                self.take_old(id, old);
                self.save_room(id).await?;
                "e2e.acceptSuggestedGroupKey"
            }
            None => "e2e.rejectSuggestedGroupKey",
        };
        match self.host.post(route, json!({ "rid": id })).await {
            // Somebody else, or an earlier attempt whose answer was lost, has answered it.
            Err(failure) if !failure.is_workspace("error-no-suggested-key-available") => {
                return Err(failure);
            }
            _ => {}
        }
        if let Some(subscription) =
            self.state().rooms.get_mut(id).and_then(|r| r.subscription.as_mut())
        {
            subscription.suggested = None;
        }
        match key {
            Some(key) => {
                self.audit("keyAccepted", json!({ "roomId": id, "keyId": key.id().as_str() }))
                    .await?;
                self.refresh_room(id).await
            }
            None => self.audit("keyRejected", json!({ "roomId": id })).await,
        }
    }

    /// Opens the account's own wrapped key. One that does not open was made for a pair that is
    /// lost, and is as good as none.
    async fn take_own(
        self: &Arc<Self>,
        id: &str,
        wrapped: &str,
        document: &Document,
    ) -> Result<()> {
        let is_final = |room: &Room| room.opened.as_ref().is_some_and(|o| o.is_final(wrapped));
        if self.state().rooms.get(id).is_some_and(is_final) {
            return Ok(());
        }
        let mut unwrapped = self.unwrap(wrapped);
        if !unwrapped.as_ref().is_ok_and(|unwrapped| unwrapped.by_present) {
            // Perhaps it was wrapped for a pair that another replica has made.
            if !self.check_identity().await? {
                return Ok(());
            }
            unwrapped = self.unwrap(wrapped);
        }
        let by_present = unwrapped.as_ref().is_ok_and(|unwrapped| unwrapped.by_present);
        {
            let (now, mut state) = (self.host.now(), self.state());
            let settled = state.account.settled();
            if let Some(room) = state.rooms.get_mut(id) {
                let before = room.opened.take().filter(|opened| opened.wrapped == wrapped);
                let since = before.map_or(now, |before| before.since);
                let wrapped = wrapped.to_owned();
                room.opened = Some(Opened { wrapped, by_present, since, settled });
            }
        }
        let Ok(Unwrapped { key, .. }) = unwrapped else { return Ok(()) };
        let named = document.e2e_key_id.as_deref();
        let source = match named.is_none_or(|named| named == key.id().as_str()) {
            true => "subscription",
            false => "old",
        };
        let forged = self.state().rooms.get(id).is_some_and(|room| room.contradicts(&key));
        if !forged {
            let recorded_id = key.id().clone();
            self.hold(id, &Arc::new(key), recorded_id, source);
        }
        Ok(())
    }

    /// Takes old keys, as far as they open: nobody vouches for them.
    fn take_old(&self, id: &str, old: &[OldKey]) {
        for OldKey { id: recorded_id, key } in old {
            let known = self.state().rooms.get(id).is_some_and(|room| {
                let held =
                    |held: &Held| held.recorded_id == *recorded_id && key.starts_with(&held.id);
                recorded_id.len() == 36 && room.record.keys.iter().any(held)
            });
            if known {
                continue;
            }
            let Ok(recorded_id) = KeyId::from_str(recorded_id) else { continue };
            let Ok(Unwrapped { key, .. }) = self.unwrap(key) else { continue };
            // Another key of an id that identifies one was made up by somebody.
            let forged = self.state().rooms.get(id).is_some_and(|room| {
                key.id().identifies() && room.ring.has_own_id(key.id()) && !room.holds(&key)
            });
            if !forged {
                self.hold(id, &Arc::new(key), recorded_id, "old");
            }
        }
    }

    /// Keeps a key in memory; the caller saves the room.
    fn hold(&self, id: &str, key: &Arc<RoomKey>, recorded_id: KeyId, source: &str) {
        let since = self.host.now();
        let mut state = self.state();
        let room = state.rooms.entry(id.to_owned()).or_default();
        // Given up meanwhile: its keys are forgotten.
        if room.record.authorized && !room.holds(key) {
            room.record.keys.push(Held {
                id: key.id().to_string(),
                recorded_id: recorded_id.to_string(),
                jwk: Zeroizing::new(key.jwk().to_owned()),
                since,
                source: source.to_owned(),
            });
            room.ring.insert_old(recorded_id, Arc::clone(key));
        }
    }

    /// Creates the room's first key (protocol §3.4), or offers one again that was made here.
    async fn create(self: &Arc<Self>, id: &str) -> Result<()> {
        let identity = self.identity()?;
        let made = self.state().rooms.get(id).and_then(Room::newest_made);
        let key = match made {
            Some(key) => key,
            None => self.new_key().await?,
        };
        let wrapped = key.wrap_for(&mut **self.rng(), identity.public_key())?;
        // Kept before it is published, or a lost answer would lose the room's key.
        self.hold(id, &key, key.id().clone(), "created");
        self.save_room(id).await?;
        let body = json!({ "rid": id, "keyID": key.id().as_str() });
        match self.host.post("e2e.setRoomKeyID", body).await {
            Err(failure) if !failure.is_workspace("error-room-e2e-key-already-exists") => {
                return Err(failure);
            }
            _ => {}
        }
        // Whoever the room names has won, whatever the answer was: it may belong to an earlier
        // attempt of ours. Servers before 8.7 let two creators overwrite each other, and whoever
        // hands in a key and is overwritten then is served by nobody: so what is under way gets
        // the time to arrive.
        if self.server_version().await? < (8, 7) {
            self.host.sleep(OVERWRITING).await?;
        }
        self.refresh_room(id).await?;
        if self.names(id, &key) {
            let body = json!({ "uid": self.options.user_id, "rid": id, "key": wrapped });
            self.host.post("e2e.updateGroupKey", body).await?;
            self.refresh_room(id).await?;
        }
        if !self.names(id, &key) {
            self.yield_to_another(id, &key);
            self.save_room(id).await?;
            return self.ask(id).await;
        }
        self.adopt_current(id, &key).await?;
        self.tell_current(id, None, Some(key.id().as_str()));
        self.audit("keyCreated", json!({ "roomId": id, "keyId": key.id().as_str() })).await?;
        self.serve_newcomers(id).await
    }

    /// Marks a key of ours that lost the race. It is not thrown away: servers before 8.7 may yet
    /// name it, from an earlier attempt that was under way for long. Nobody else is given it.
    fn yield_to_another(&self, id: &str, key: &RoomKey) {
        let mut state = self.state();
        let room = state.rooms.entry(id.to_owned()).or_default();
        if let Some(held) = room.record.keys.iter_mut().find(|held| *held.jwk == key.jwk()) {
            held.source = "offered".to_owned();
        }
    }

    fn names(&self, id: &str, key: &RoomKey) -> bool {
        self.known(id)
            .is_some_and(|(document, _)| document.e2e_key_id.as_deref() == Some(key.id().as_str()))
    }

    async fn adopt_current(self: &Arc<Self>, id: &str, key: &Arc<RoomKey>) -> Result<()> {
        {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            room.make_current(Arc::clone(key));
        }
        self.save_room(id).await?;
        self.retry_pending(id).await;
        Ok(())
    }

    /// A key as the server's clients make it: AES-GCM since 7.13, AES-CBC before (design §7).
    async fn new_key(&self) -> Result<Arc<RoomKey>> {
        let modern = self.server_version().await? >= (7, 13);
        let mut rng = self.rng();
        let key = if modern {
            RoomKey::generate(&mut **rng)?
        } else {
            RoomKey::generate_cbc(&mut **rng)?
        };
        Ok(Arc::new(key))
    }

    /// Major and minor version of the server; asked once. One that hides it is taken as current.
    pub(super) async fn server_version(&self) -> Result<(u32, u32)> {
        if let Some(version) = self.state().version {
            return Ok(version);
        }
        let info = self.host.get("info", json!({})).await?;
        let version = info.pointer("/info/version").or_else(|| info.get("version"));
        let version = version.and_then(Value::as_str).map_or((u32::MAX, 0), |version| {
            let mut parts = version.split('.').map(|part| part.parse().unwrap_or_default());
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        });
        self.state().version = Some(version);
        Ok(version)
    }

    /// Asks the holders for a key, by every way the server has; not more often than once a
    /// minute. The queue on the server works by itself.
    async fn ask(&self, id: &str) -> Result<()> {
        let now = self.host.now();
        let due = {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            // A clock that was set back must not silence it.
            let due = room.asked == 0 || now.abs_diff(room.asked) >= REQUEST_PAUSE;
            if due {
                room.asked = now.max(1);
            }
            due
        };
        if due {
            self.send_request(id).await;
            self.queue_up(id).await?;
        }
        Ok(())
    }

    /// The server serves nobody who has any key, also where that is not the room's any more or
    /// does not open (protocol §2.3), and it has no way to give a key back. It queues whoever
    /// rejects a suggestion: so one is made and rejected, once for each key of the room, and
    /// holders that have seen our public key serve us from the queue. For others, only a reset of
    /// the room's key helps; the application is told.
    async fn queue_up(&self, id: &str) -> Result<()> {
        let Some(named) = self.stuck_at(id) else { return Ok(()) };
        self.refresh_room(id).await?;
        let stored = self.known(id).and_then(|(_, subscription)| subscription.key);
        let Some(stored) = stored.filter(|_| self.stuck_at(id).as_ref() == Some(&named)) else {
            return Ok(());
        };
        let ours = json!([{ "_id": self.options.user_id, "key": stored }]);
        let body = json!({ "usersSuggestedGroupKeys": { id: ours } });
        self.host.post("e2e.provideUsersSuggestedGroupKeys", body).await?;
        match self.host.post("e2e.rejectSuggestedGroupKey", json!({ "rid": id })).await {
            Err(failure) if !failure.is_workspace("error-no-suggested-key-available") => {
                return Err(failure);
            }
            _ => {}
        }
        if let Some(room) = self.state().rooms.get_mut(id) {
            room.stuck = Some(named);
        }
        let failure = Failure::new(
            Code::NoRoomKey,
            "the server has a key of this room for the account that is not the present one, or does \
             not open: until somebody serves it from the queue or resets the room's key, nothing \
             can be sent",
        );
        self.trouble(id, &failure);
        Ok(())
    }

    /// The id of the room's key, where the server has a key for the account that is of no use and
    /// that was not yet made known.
    fn stuck_at(&self, id: &str) -> Option<String> {
        let state = self.state();
        let room = state.rooms.get(id)?;
        let named = room.document.as_ref()?.e2e_key_id.clone()?;
        let stored = room.subscription.as_ref()?.key.as_ref()?;
        let examined = room.opened.as_ref().is_some_and(|opened| opened.is_final(stored));
        let stuck = examined && room.usable_key().is_none() && room.stuck.as_ref() != Some(&named);
        stuck.then_some(named)
    }

    /// Neither way is there on every server, and none is needed where the queue works.
    async fn send_request(&self, id: &str) {
        let named = self.known(id).and_then(|(document, _)| document.e2e_key_id);
        if self.host.post("e2e.requestSubscriptionKeys", json!({})).await.is_err()
            && let Some(key_id) = named
        {
            let params = json!([format!("{id}/e2ekeyRequest"), id, key_id]);
            let _without = self.host.call("stream-notify-room-users", params).await;
        }
        self.host.emit("keyRequested", json!({ "roomId": id }));
    }

    pub(super) async fn request_room_key(&self, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.send_request(id).await;
        Ok(Value::Null)
    }

    pub(super) async fn create_room_key(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.refresh_room(id).await?;
        self.settle_room(id).await?;
        self.expect_usable(id).map(|key| json!({ "keyId": key.id().as_str() }))
    }

    /// Makes a new key for the room and lets the server retire the old one (protocol §3.5).
    pub(super) async fn reset_room_key(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.alone(format!("room/{id}"), async {
            let identity = self.identity()?;
            let key = self.new_key().await?;
            let wrapped = key.wrap_for(&mut **self.rng(), identity.public_key())?;
            self.hold(id, &key, key.id().clone(), "reset");
            self.save_room(id).await?;
            let body = json!({ "rid": id, "e2eKey": wrapped, "e2eKeyId": key.id().as_str() });
            // Repeated, it would put the new key among the old ones: without an answer, what the
            // room names tells what came of it.
            let answered = self.host.post_once("e2e.resetRoomKey", body).await;
            self.refresh_room(id).await?;
            if !self.names(id, &key) {
                return match answered {
                    Err(failure) => Err(failure),
                    // Somebody reset it again at once: theirs is the key.
                    Ok(_) => self.ask(id).await.map(|()| Value::Null),
                };
            }
            self.adopt_current(id, &key).await?;
            let details = json!({ "roomId": id, "keyId": key.id().as_str() });
            self.host.emit("roomKeyRotated", details.clone());
            self.audit("keyReset", details.clone()).await?;
            self.serve_newcomers(id).await?;
            Ok(details)
        })
        .await
    }

    pub(super) fn expect_usable(&self, id: &str) -> Result<Arc<RoomKey>> {
        self.state()
            .rooms
            .get(id)
            .and_then(Room::usable_key)
            .ok_or_else(|| Failure::new(Code::NoRoomKey, "the room's current key is not held"))
    }

    /// Every key of a room that is held, the current one marked, without the keys themselves.
    pub(super) fn room_key_history(&self, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        let state = self.state();
        let Some(room) = state.rooms.get(id) else { return Ok(json!([])) };
        let current = room.usable_key();
        let history = room.record.keys.iter().map(|held| {
            json!({
                "keyId": held.id,
                "source": held.source,
                "since": held.since,
                "messages": super::budget::spent(&state, id, &held.id),
                "current": current.as_ref().is_some_and(|key| key.id().as_str() == held.id),
            })
        });
        Ok(history.collect())
    }

    /// A key of a room, wrapped for this account's own identity.
    pub(super) fn encrypted_room_key(&self, id: &str, key_id: Option<&str>) -> Result<Value> {
        self.expect_authorized(id)?;
        let identity = self.identity()?;
        let key = match key_id {
            None => self.expect_usable(id)?,
            Some(key_id) => {
                let state = self.state();
                let room = state.rooms.get(id);
                let held = room
                    .and_then(|room| room.record.keys.iter().rev().find(|held| held.id == key_id))
                    .ok_or_else(|| Failure::new(Code::NoRoomKey, "no key of this id is held"))?;
                Arc::new(RoomKey::from_jwk(&held.jwk, held.id.parse()?)?)
            }
        };
        let wrapped = key.wrap_for(&mut **self.rng(), identity.public_key())?;
        Ok(json!({ "roomId": id, "keyId": key.id().as_str(), "key": wrapped }))
    }

    /// Remembers a message until its key comes; the oldest gives way. Returns whether it is new.
    pub(super) fn remember(&self, id: &str, message: Value) -> bool {
        let mut state = self.state();
        let room = state.rooms.entry(id.to_owned()).or_default();
        let same = |known: &Value| known.get("_id") == message.get("_id");
        let known = room.pending.len();
        room.pending.retain(|known| !same(known));
        let new = room.pending.len() == known;
        if room.pending.len() == MAX_PENDING {
            room.pending.remove(0);
        }
        room.pending.push(message);
        new
    }
}

impl Room {
    /// All keys but the current one: the id they are recorded under, since when, the key.
    pub(super) fn old_keys(&self, current: &RoomKey) -> Result<Vec<(String, u64, Arc<RoomKey>)>> {
        let known = |held: &&Held| *held.jwk != current.jwk() && held.source != "offered";
        let old = self.record.keys.iter().filter(known);
        old.map(|held| {
            let key = RoomKey::from_jwk(&held.jwk, held.id.parse()?)?;
            Ok((held.recorded_id.clone(), held.since, Arc::new(key)))
        })
        .collect()
    }

    fn make_current(&mut self, key: Arc<RoomKey>) {
        // Where it is not held any more, the room was given up meanwhile.
        let held = self.record.keys.iter_mut().find(|held| *held.jwk == key.jwk());
        let Some(held) = held else { return };
        if held.source == "offered" {
            held.source = "created".to_owned();
        }
        self.record.current = Some(key.id().to_string());
        self.ring.set_current(key);
    }

    /// The last key that was created here, for a room that still has none.
    fn newest_made(&self) -> Option<Arc<RoomKey>> {
        let made = |held: &&Held| matches!(held.source.as_str(), "created" | "offered");
        self.ring.newest(&self.record.keys.iter().rev().find(made)?.id.parse().ok()?)
    }

    /// The key that the room names becomes the current one; without one, none is.
    fn settle_current(&mut self, document: &Document) {
        let named = document.e2e_key_id.as_deref().or(self.record.current.as_deref());
        let held = named.and_then(|named| named.parse().ok()).and_then(|id| self.ring.newest(&id));
        match held {
            Some(key) => self.make_current(key),
            None => self.ring.retire_current(),
        }
    }
}

/// Exported keys: a vault of their own, and what it sealed.
#[derive(Serialize, Deserialize)]
struct Bundle {
    format: String,
    key: String,
    sealed: String,
}

/// What such a bundle holds, by room.
pub(super) fn open_bundle(
    bundle: &str,
    passphrase: &str,
) -> std::result::Result<BTreeMap<String, Record>, Error> {
    let malformed = |_| ParticipantError::Bundle;
    let bundle: Bundle = serde_json::from_str(bundle).map_err(malformed)?;
    let decode = |text: &str| STANDARD.decode_to_vec(text).map_err(|_| ParticipantError::Bundle);
    let secret = Secret::text(Zeroizing::new(passphrase.to_owned()))?;
    let vault = Vault::unwrap(&decode(&bundle.key)?, &secret).map_err(|error| match error {
        VaultError::WrongSecret => ParticipantError::BundlePassphrase,
        _ => ParticipantError::Bundle,
    })?;
    let payload =
        vault.open(EXPORT, 1, &decode(&bundle.sealed)?).map_err(|_| ParticipantError::Bundle)?;
    Ok(serde_json::from_slice(&payload).map_err(malformed)?)
}

#[derive(Deserialize)]
struct Lists {
    update: Vec<Value>,
    #[serde(default)]
    remove: Vec<Value>,
}

/// Whether a document is older than another one; nobody can tell without both times.
fn is_before(time: &Option<String>, other: &Option<String>) -> bool {
    time.as_ref().zip(other.as_ref()).is_some_and(|(time, other)| time < other)
}

/// The largest `_updatedAt`, which ISO texts of one form compare by.
fn latest(documents: &[Value]) -> Option<String> {
    documents.iter().filter_map(|document| time_of(document.get("_updatedAt"))).max()
}

fn merge(theirs: Vec<Held>, ours: Vec<Held>) -> Vec<Held> {
    let mut merged = theirs;
    for held in ours {
        if !merged.iter().any(|known| known.id == held.id && known.jwk == held.jwk) {
            merged.push(held);
        }
    }
    merged
}

pub(super) fn ring_of(record: &Record) -> std::result::Result<KeyRing, RoomKeyError> {
    let mut ring = KeyRing::new();
    for held in &record.keys {
        let key = RoomKey::from_jwk(&held.jwk, held.id.parse()?)?;
        ring.insert_old(held.recorded_id.parse()?, Arc::new(key));
    }
    if let Some(current) = &record.current
        && let Some(key) = ring.newest(&current.parse()?)
    {
        ring.set_current(key);
    }
    Ok(ring)
}
