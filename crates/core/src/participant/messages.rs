//! Messages out, the outbox, and what the workspace tells (design §7: never in clear, once, in
//! order).

use std::sync::Arc;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::host::{Failure, Outcome, Result};
use super::rooms::{Document, Room};
use crate::ejson;
use crate::error::Code;
use crate::key_ring::KeyRing;
use crate::message::{EncryptedContent, MessageContent, encrypted_content_of, overlay};
use crate::room_key::RoomKey;

/// Messages that wait to be sent, at most, for each room.
const MAX_WAITING: usize = 1000;
/// How long a message waits for its key or a connection, in milliseconds, unless told otherwise.
const DEADLINE: u64 = 10 * 60 * 1000;
/// From this version on, an upload's encrypted metadata comes with `rooms.mediaConfirm`.
const METADATA_WHEN_CONFIRMED: (u32, u32) = (8, 5);
/// The alphabet of Rocket.Chat's ids, whose characters people do not mistake for each other.
const ID_ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";

/// A message to send.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct OutgoingMessage {
    /// The text.
    pub msg: String,
    /// The message whose thread this belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Attachments, as EJSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Value>>,
    /// Names to notify, sigils included (`@bob`, `@all`). They travel in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Channels to link, sigils included (`#general`). They travel in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_mentions: Vec<String>,
    /// How long it may wait, in milliseconds; ten minutes unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
}

impl std::fmt::Debug for OutgoingMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingMessage").finish_non_exhaustive()
    }
}

/// A file that was encrypted and uploaded, and is not yet announced.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UploadedFile {
    /// What the upload is called by the server.
    pub id: String,
    /// Where the server keeps it.
    pub url: String,
    /// The real name.
    pub name: String,
    /// The real media type.
    pub mime_type: String,
    /// Bytes.
    pub size: u64,
    /// Key and iv.
    pub encryption: Value,
    /// SHA-256 of the plain bytes, in hexadecimal.
    pub sha256: String,
    /// Of an image, in pixels.
    #[serde(default)]
    pub dimensions: Option<Dimensions>,
    /// A text to go with it.
    #[serde(default)]
    pub msg: String,
    /// The message whose thread this belongs to.
    #[serde(default)]
    pub thread_id: Option<String>,
}

/// The size of an image, in pixels.
#[derive(Clone, Copy, Debug, Deserialize)]
#[allow(missing_docs, reason = "they are what they are called")]
pub struct Dimensions {
    pub width: u32,
    pub height: u32,
}

/// What the list of a room's files shows of one, which the server has encrypted beside it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UploadMetadata {
    /// The real name.
    pub name: String,
    /// The real media type.
    pub mime_type: String,
    /// Key and iv.
    pub encryption: Value,
    /// SHA-256 of the plain bytes, in hexadecimal, where it is known before they are sent.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl UploadMetadata {
    fn plaintext(&self) -> Value {
        let mut plaintext = json!({
            "type": self.mime_type,
            "typeGroup": self.mime_type.split('/').next(),
            "name": self.name,
            "encryption": self.encryption,
        });
        if let (Some(sha256), Some(members)) = (&self.sha256, plaintext.as_object_mut()) {
            members.insert("hashes".to_owned(), json!({ "sha256": sha256 }));
        }
        plaintext
    }
}

impl std::fmt::Debug for UploadMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadMetadata").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UploadedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadedFile").finish_non_exhaustive()
    }
}

/// A message in the outbox, as it is kept: `outbox/<room>/<time>-<id>`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    message: OutgoingMessage,
    /// Milliseconds since 1970, after which it is not sent any more.
    expires: u64,
}

/// A message in the outbox.
pub(super) struct Waiting {
    name: String,
    record: Record,
    /// Whether a command waits for the outcome; otherwise an event tells it.
    attended: bool,
    outcome: Option<Outcome>,
}

impl Waiting {
    /// The time in the record's name.
    fn time(&self) -> Option<u64> {
        self.name.rsplit('/').next()?.split('-').next()?.parse().ok()
    }
}

/// What the workspace tells by itself.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are documents as the streams of protocol §4.2 have them"
)]
pub enum WorkspaceEvent {
    /// A message was sent or changed.
    Message { message: Value },
    /// One of the account's subscriptions changed.
    Subscription { action: String, subscription: Value },
    /// One of the account's rooms changed.
    Room { action: String, room: Value },
    /// Somebody asks for a room's key.
    KeyRequest { room_id: String, key_id: Option<String> },
    /// A control event of off-the-record sessions: `handshake`, `acknowledge`, `deny`, `end`.
    /// Anybody can send it.
    Otr { event: String, data: Value },
    /// A message was deleted.
    MessageDeleted { room_id: String, message_id: String },
    /// The connection is there, perhaps again: what was missed is fetched.
    Connected,
    /// The connection is gone.
    Disconnected { reason: String },
}

impl std::fmt::Debug for WorkspaceEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkspaceEvent").finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes what the workspace tells. What goes wrong is told by an event, and ends nothing.
    pub(super) async fn handle(self: &Arc<Self>, event: WorkspaceEvent) {
        if self.identity().is_err() {
            return;
        }
        let (room_id, outcome) = match event {
            WorkspaceEvent::Message { message } => {
                let id = text(&message, "rid").unwrap_or_default().to_owned();
                let outcome = match text(&message, "t") {
                    Some("otr") => self.otr_receive(&id, &message),
                    Some("room_e2e_enabled" | "room_e2e_disabled") => {
                        self.encryption_switched(&id).await
                    }
                    _ => {
                        self.receive(&id, message);
                        Ok(())
                    }
                };
                (id, outcome)
            }
            // Any user can send these two to anybody, so they are hints: what is not as it is known
            // here is read from the server.
            WorkspaceEvent::Subscription { action, subscription } => {
                let id = text(&subscription, "rid").unwrap_or_default();
                let news = |room: &Room| action == "removed" || room.differs(&subscription);
                (id.to_owned(), self.look_again(id, news).await)
            }
            WorkspaceEvent::Room { action, .. } if action == "removed" => return,
            WorkspaceEvent::Room { room, .. } => {
                let id = text(&room, "_id").unwrap_or_default();
                let news = |known: &Room| known.differs_in_room(&room);
                (id.to_owned(), self.look_again(id, news).await)
            }
            WorkspaceEvent::KeyRequest { room_id, key_id } => {
                let outcome = self.requested(&room_id, key_id.as_deref()).await;
                (room_id, outcome)
            }
            WorkspaceEvent::Otr { event, data } => {
                let id = text(&data, "roomId").unwrap_or_default().to_owned();
                (id.clone(), self.otr_hear(&id, &event, &data).await)
            }
            WorkspaceEvent::MessageDeleted { room_id, message_id } => {
                if let Some(room) = self.state().rooms.get_mut(&room_id) {
                    room.pending.retain(|message| text(message, "_id") != Some(&message_id));
                }
                (room_id, Ok(()))
            }
            WorkspaceEvent::Connected => (String::new(), self.sync().await.map(drop)),
            WorkspaceEvent::Disconnected { reason } => {
                self.host.emit("disconnected", json!({ "reason": reason }));
                (String::new(), Ok(()))
            }
        };
        if let Err(failure) = outcome {
            self.trouble(&room_id, &failure);
        }
    }

    /// Reads a room of which an event told something new, and brings it in order.
    pub(super) async fn look_again(
        self: &Arc<Self>,
        id: &str,
        news: impl Fn(&Room) -> bool,
    ) -> Result<()> {
        {
            let state = self.state();
            let room = state.rooms.get(id);
            let ours = room.is_some_and(|room| room.record.authorized) || self.takes_all();
            if !ours || room.is_some_and(|room| !news(room)) {
                return Ok(());
            }
        }
        // However many events come, one reading is under way and one waits.
        self.alone_once(format!("look/{id}"), async {
            match self.refresh_room(id).await {
                // Not a room of ours, or not any more.
                Err(failure) if matches!(failure.status, Some(400 | 403 | 404)) => {
                    self.see_gone(id);
                    return Ok(());
                }
                outcome => outcome?,
            }
            self.authorize_all().await?;
            if self.expect_authorized(id).is_err() || !self.enabled() {
                return Ok(());
            }
            self.settle_room(id).await?;
            if self.options.distribute_keys && self.waits(id) {
                self.distribute(Some(id)).await?;
            }
            Ok(())
        })
        .await
    }

    fn waits(&self, id: &str) -> bool {
        self.state().rooms.get(id).is_some_and(|room| {
            let waiting = room.document.as_ref().and_then(|document| document.waiting.as_ref());
            room.usable_key().is_some() && waiting.is_some_and(|waiting| !waiting.is_empty())
        })
    }

    /// Serves a request, where the asked key is the room's and ours (design §7).
    async fn requested(self: &Arc<Self>, id: &str, key_id: Option<&str>) -> Result<()> {
        let (Ok(()), Ok(key)) = (self.expect_authorized(id), self.expect_usable(id)) else {
            return Ok(());
        };
        match key_id {
            Some(asked) if asked != key.id().as_str() => Ok(()),
            _ => self.alone_once(format!("serve/{id}"), self.serve_newcomers(id)).await,
        }
    }

    /// Decrypts messages that the application brings; each has an outcome of its own.
    pub(super) async fn decrypt_all(self: &Arc<Self>, messages: Vec<Value>) -> Result<Value> {
        self.identity()?;
        let outcomes = || messages.iter().map(|message| self.decrypt(message));
        let mut opened: Vec<_> = outcomes().collect();
        let missing = |outcome: &Result<Value>| match outcome {
            Err(failure) => failure.is(Code::NoRoomKey) || failure.is(Code::RoomNotAuthorized),
            Ok(_) => false,
        };
        // Another process may have brought what is missing.
        if opened.iter().any(missing) {
            self.catch_up(None).await?;
            opened = outcomes().collect();
        }
        let told = opened.into_iter().map(|outcome| match outcome {
            Ok(decrypted) => json!([decrypted]),
            Err(failure) => json!([failure.code, failure.message]),
        });
        Ok(told.collect())
    }

    pub(super) fn decrypt(&self, message: &Value) -> Result<Value> {
        let id = text(message, "rid").unwrap_or_default();
        self.expect_authorized(id)?;
        decrypt_with(self.state().rooms.get(id).map(|room| &room.ring), message)
    }

    /// Sends a message through the outbox; ends when it is sent, or cannot be.
    pub(super) async fn send(
        self: &Arc<Self>,
        id: &str,
        message: OutgoingMessage,
    ) -> Result<Value> {
        // What cannot be encrypted is told now, not when its turn comes.
        content_of(&message)?;
        let message_id = self.new_message_id();
        let wait = message.deadline.unwrap_or(DEADLINE);
        // One after the other, or the answers of server and store would decide the order.
        let enqueue = self.enqueue(id, &message_id, message, wait);
        let expires = self.alone(format!("enqueue/{id}"), enqueue).await?;
        self.expire_later(id, expires);
        self.flush(id).await;
        let outcome = self.host.until(|| self.take_outcome(id, &message_id)).await;
        match outcome {
            Outcome::Ok(sent) => Ok(sent),
            Outcome::Error(failure) => Err(failure),
        }
    }

    /// Puts a message at the end of the room's outbox, and into the store. Returns when its time is
    /// over, in milliseconds since 1970.
    async fn enqueue(
        self: &Arc<Self>,
        id: &str,
        message_id: &str,
        message: OutgoingMessage,
        wait: u64,
    ) -> Result<u64> {
        self.catch_up(Some(id)).await?;
        self.expect_authorized(id)?;
        self.expect_encrypted(id).await?;
        let now = self.host.now();
        let expires = now.saturating_add(wait);
        let record = Record { id: message_id.to_owned(), message, expires };
        let time = {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            if room.outbox.len() >= MAX_WAITING {
                return Err(Failure::new(Code::OutboxFull, "too many messages wait in this room"));
            }
            // Names sort as messages were sent, also those of one millisecond.
            let last = room.outbox.iter().filter_map(|waiting| waiting.time()).max();
            last.map_or(now, |last| now.max(last + 1))
        };
        let name = format!("outbox/{id}/{time:015}-{message_id}");
        self.write(&name, record.clone(), |_, ours| ours).await?;
        if let Some(room) = self.state().rooms.get_mut(id) {
            room.outbox.push(Waiting { name, record, attended: true, outcome: None });
        }
        Ok(expires)
    }

    fn take_outcome(&self, id: &str, message_id: &str) -> Option<Outcome> {
        let mut state = self.state();
        let outbox = &mut state.rooms.get_mut(id)?.outbox;
        let place = outbox
            .iter()
            .position(|waiting| waiting.record.id == message_id && waiting.outcome.is_some())?;
        outbox.remove(place).outcome
    }

    /// Looks at the room's outbox again when a message's time is over.
    fn expire_later(self: &Arc<Self>, id: &str, expires: u64) {
        let (shared, id) = (Arc::clone(self), id.to_owned());
        self.host.spawn(async move {
            // Timers can be early: their clock may have been read before a long piece of work.
            while let left @ 1.. = expires.saturating_add(1).saturating_sub(shared.host.now()) {
                if shared.host.sleep(left).await.is_err() {
                    break;
                }
            }
            shared.flush(&id).await;
        });
    }

    pub(super) async fn load_outbox(self: &Arc<Self>) -> Result<()> {
        let records = self.load::<Record>("outbox/").await?;
        let mut waits = Vec::new();
        {
            let mut state = self.state();
            for (name, record) in records {
                let Some(id) = name.split('/').nth(1).map(str::to_owned) else { continue };
                waits.push((id.clone(), record.expires));
                let waiting = Waiting { name, record, attended: false, outcome: None };
                state.rooms.entry(id).or_default().outbox.push(waiting);
            }
            for room in state.rooms.values_mut() {
                room.outbox.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        for (id, expires) in waits {
            self.expire_later(&id, expires);
        }
        Ok(())
    }

    /// Sends what waits in a room, in order, as far as that goes.
    pub(super) async fn flush(self: &Arc<Self>, id: &str) {
        self.alone(format!("outbox/{id}"), async {
            while let Some((name, record)) = self.first_waiting(id) {
                let Some(outcome) = self.attempt(id, &record).await else { return };
                if self.remove(&name).await.is_err() {
                    // Sent, but not taken from the store: the next turn finds it sent already.
                    return;
                }
                self.settle_outgoing(id, &record.id, outcome);
            }
        })
        .await;
    }

    fn first_waiting(&self, id: &str) -> Option<(String, Record)> {
        let state = self.state();
        let waiting =
            state.rooms.get(id)?.outbox.iter().find(|waiting| waiting.outcome.is_none())?;
        Some((waiting.name.clone(), waiting.record.clone()))
    }

    fn settle_outgoing(&self, id: &str, message_id: &str, outcome: Outcome) {
        let mut state = self.state();
        let Some(room) = state.rooms.get_mut(id) else { return };
        let Some(place) = room.outbox.iter().position(|waiting| waiting.record.id == message_id)
        else {
            return;
        };
        if let Some(waiting) = room.outbox.get_mut(place)
            && waiting.attended
        {
            waiting.outcome = Some(outcome);
            return;
        }
        room.outbox.remove(place);
        drop(state);
        if let Outcome::Error(failure) = outcome {
            self.trouble(id, &failure);
        }
    }

    /// Refuses what is to be sent to a room that is not authorised, that the account has left, or
    /// whose encryption is switched off.
    fn expect_open(&self, id: &str) -> Result<()> {
        self.expect_authorized(id)?;
        self.expect_member(id)?;
        self.expect_switched_on(id)
    }

    /// One attempt. `None`: it stays in the outbox.
    async fn attempt(self: &Arc<Self>, id: &str, record: &Record) -> Option<Outcome> {
        if self.host.now() > record.expires {
            let failure =
                Failure::new(Code::Expired, "the message waited too long and was not sent");
            return Some(Outcome::Error(failure));
        }
        if let Err(failure) = self.expect_open(id) {
            return Some(Outcome::Error(failure));
        }
        let key = self.expect_usable(id).ok()?;
        match self.spend(id, &key).await {
            Err(failure) if failure.is(Code::KeyBudget) => return Some(Outcome::Error(failure)),
            // The store does not count now.
            Err(_) => return None,
            Ok(()) => {}
        }
        // The room may have been given up, left or switched off while the store counted.
        if let Err(failure) = self.expect_open(id) {
            return Some(Outcome::Error(failure));
        }
        let body = match self.envelope(id, &key, record) {
            Ok(body) => body,
            Err(failure) => return Some(Outcome::Error(failure)),
        };
        let answered = self.host.post("chat.sendMessage", body).await;
        let confirmed = answered.as_ref().ok().and_then(|answer| answer.get("message"));
        let sent = match confirmed.filter(|message| text(message, "_id") == Some(&record.id)) {
            Some(message) => message.clone(),
            None => match answered {
                // No answer, or none for now: its turn comes again, with the same id.
                Err(failure) if !failure.is_refusal() => return None,
                // A refusal may mean that an earlier attempt was taken (protocol §5.1).
                unclear => match (self.sent_before(id, &record.id).await, unclear) {
                    (Ok(Some(message)), _) => message,
                    (Ok(None), Err(failure)) => return Some(Outcome::Error(failure)),
                    // Nobody knows yet.
                    (Ok(None), Ok(_)) | (Err(_), _) => return None,
                },
            },
        };
        let details = json!({ "roomId": id, "messageId": record.id });
        if let Err(failure) = self.audit("sent", details).await {
            self.trouble(id, &failure);
        }
        Some(Outcome::Ok(json!({
            "roomId": id,
            "messageId": record.id,
            "ts": sent.get("ts"),
            "keyId": key.id().as_str(),
        })))
    }

    /// The message as the server has it, if it has; an error where that cannot be told now.
    async fn sent_before(&self, id: &str, message_id: &str) -> Result<Option<Value>> {
        let asked = self.host.get("chat.getMessage", json!({ "msgId": message_id })).await;
        let body = match asked {
            Err(failure) if !failure.is_refusal() => return Err(failure),
            asked => asked.unwrap_or_default(),
        };
        let message = body.get("message").filter(|message| {
            message.pointer("/u/_id").and_then(Value::as_str) == Some(&self.options.user_id)
                && text(message, "rid") == Some(id)
        });
        Ok(message.cloned())
    }

    /// The body for `chat.sendMessage`.
    fn envelope(&self, id: &str, key: &RoomKey, record: &Record) -> Result<Value> {
        let mut message = self.sealed_message(key, &record.message)?;
        if let Some(members) = message.as_object_mut() {
            members.insert("_id".to_owned(), json!(record.id));
            members.insert("rid".to_owned(), json!(id));
        }
        Ok(json!({ "message": message }))
    }

    /// A message for somebody else to post: the application, by a way of its own.
    pub(super) async fn encrypt(
        self: &Arc<Self>,
        id: &str,
        message: OutgoingMessage,
    ) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_encrypted(id).await?;
        let key = self.expect_usable(id)?;
        self.spend(id, &key).await?;
        let sealed = self.sealed_message(&key, &message)?;
        self.audit("encrypted", json!({ "roomId": id, "keyId": key.id().as_str() })).await?;
        Ok(sealed)
    }

    /// Nothing of the message but its ciphertext, its thread and the mentions that were asked for.
    fn sealed_message(&self, key: &RoomKey, message: &OutgoingMessage) -> Result<Value> {
        let mut sealed = json!({
            "t": "e2e", "e2e": "pending",
            "content": self.seal(key, message)?,
            "e2eMentions": self.mentions(message),
        });
        if let (Some(thread), Some(members)) = (&message.thread_id, sealed.as_object_mut()) {
            members.insert("tmid".to_owned(), json!(thread));
        }
        Ok(sealed)
    }

    fn seal(&self, key: &RoomKey, message: &OutgoingMessage) -> Result<Value> {
        json_of(&key.encrypt(&mut **self.rng(), &content_of(message)?)?)
    }

    pub(super) async fn edit(
        self: &Arc<Self>,
        id: &str,
        message_id: &str,
        message: OutgoingMessage,
    ) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_encrypted(id).await?;
        let key = self.expect_usable(id)?;
        self.spend(id, &key).await?;
        let mut body = json!({
            "roomId": id, "msgId": message_id, "content": self.seal(&key, &message)?,
        });
        if let Some(members) = body.as_object_mut()
            && !(message.mentions.is_empty() && message.channel_mentions.is_empty())
        {
            members.insert("e2eMentions".to_owned(), self.mentions(&message));
        }
        self.host.post("chat.update", body).await?;
        self.audit("edited", json!({ "roomId": id, "messageId": message_id })).await?;
        Ok(Value::Null)
    }

    /// Before a file is uploaded: whether it could be announced, and the field `content` that goes
    /// with it. Servers from 8.5 on take the metadata with the announcement (protocol §5.5).
    pub(super) async fn prepare_upload(
        self: &Arc<Self>,
        id: &str,
        file: &UploadMetadata,
    ) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_encrypted(id).await?;
        self.check_settings().await;
        if !self.state().settings.files {
            return Err(Failure::new(
                Code::Disabled,
                "the workspace has encrypted files switched off (E2E_Enable_Encrypt_Files)",
            ));
        }
        let key = self.expect_usable(id)?;
        if self.server_version().await? >= METADATA_WHEN_CONFIRMED {
            return Ok(json!({}));
        }
        let content = self.seal_metadata(id, &key, file).await?;
        Ok(json!({ "content": content.to_string() }))
    }

    async fn seal_metadata(
        self: &Arc<Self>,
        id: &str,
        key: &RoomKey,
        file: &UploadMetadata,
    ) -> Result<Value> {
        self.spend(id, key).await?;
        let text = file.plaintext().to_string();
        let sealed = key.encrypt_text(&mut **self.rng(), &text)?;
        json_of(&sealed)
    }

    /// Announces a file that was uploaded encrypted (protocol §5.5, step 2). Confirming twice would
    /// post twice, so what came of a lost answer is looked up.
    pub(super) async fn announce(self: &Arc<Self>, id: &str, file: UploadedFile) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_encrypted(id).await?;
        let key = self.expect_usable(id)?;
        let before = || self.host.now().saturating_sub(60_000);
        let since = super::serving::iso(self.server_time().unwrap_or_else(before));
        self.spend(id, &key).await?;
        let content = key.encrypt(&mut **self.rng(), &file.content()?)?;
        let mut body = json!({ "t": "e2e", "msg": "", "content": json_of(&content)? });
        if let (Some(thread), Some(members)) = (&file.thread_id, body.as_object_mut()) {
            members.insert("tmid".to_owned(), json!(thread));
        }
        if self.server_version().await? >= METADATA_WHEN_CONFIRMED {
            let metadata = self.seal_metadata(id, &key, &file.metadata()).await?;
            if let Some(members) = body.as_object_mut() {
                members.insert("fileContent".to_owned(), metadata);
            }
        }
        let path = format!("rooms.mediaConfirm/{id}/{}", file.id);
        let message = match self.host.post_once(&path, body).await {
            Ok(answer) => answer.get("message").cloned().unwrap_or_default(),
            Err(failure) => match self.announced(id, &file.id, &since).await {
                Some(message) => message,
                None => return Err(failure),
            },
        };
        let message_id = message.get("_id");
        self.audit("fileSent", json!({ "roomId": id, "messageId": message_id })).await?;
        Ok(json!({ "roomId": id, "messageId": message_id, "keyId": key.id().as_str() }))
    }

    async fn announced(&self, id: &str, file_id: &str, since: &str) -> Option<Value> {
        let query = json!({ "roomId": id, "lastUpdate": since });
        let body = self.host.get("chat.syncMessages", query).await.ok()?;
        let updated = body.pointer("/result/updated")?.as_array()?;
        let ours = |message: &&Value| {
            message.pointer("/file/_id").and_then(Value::as_str) == Some(file_id)
        };
        updated.iter().find(ours).cloned()
    }

    /// The mentions that were asked for, which travel in clear; none where the workspace does not
    /// want them.
    fn mentions(&self, message: &OutgoingMessage) -> Value {
        match self.state().settings.mentions {
            true => json!({
                "e2eUserMentions": message.mentions,
                "e2eChannelMentions": message.channel_mentions,
            }),
            false => json!({ "e2eUserMentions": [], "e2eChannelMentions": [] }),
        }
    }

    async fn expect_encrypted(self: &Arc<Self>, id: &str) -> Result<()> {
        self.expect_member(id)?;
        let known = self.state().rooms.get(id).and_then(|room| room.document.clone());
        if known.is_none() {
            self.refresh_room(id).await?;
            self.settle_room(id).await?;
        }
        let state = self.state();
        match state.rooms.get(id).and_then(|room| room.document.as_ref()) {
            Some(document) if Document::is_encrypted(document) => Ok(()),
            _ => Err(Failure::new(Code::RoomNotEncrypted, "the room is not encrypted")),
        }
    }

    /// 17 characters, as the server and its clients make them.
    pub(super) fn new_message_id(&self) -> String {
        let mut rng = self.rng();
        let mut id = String::with_capacity(17);
        while id.len() < 17 {
            let draw = usize::from((rng.next_u32() & 0x3F) as u8);
            // Draws beyond the alphabet are thrown away, so that each character is as likely.
            if let Some(character) = ID_ALPHABET.get(draw) {
                id.push(char::from(*character));
            }
        }
        id
    }
}

/// Decrypts a message with the keys of its room.
pub(super) fn decrypt_with(ring: Option<&KeyRing>, message: &Value) -> Result<Value> {
    let not_encrypted =
        || Failure::new(Code::InvalidArgument, "the message is not an encrypted one");
    let document = ejson::Value::parse(&message.to_string()).map_err(|_| not_encrypted())?;
    let content = encrypted_content_of(&document).ok_or_else(not_encrypted)?;
    let content = EncryptedContent::parse(&content)?;
    let ring = ring.ok_or_else(|| Failure::new(Code::NoRoomKey, "no key of this room is held"))?;
    let plain = ring.decrypt(&content)?;
    let ejson::Value::Object(mut document) = document else { return Err(not_encrypted()) };
    overlay(&mut document, plain);
    let document = ejson::Value::Object(document).to_text();
    Ok(json!({
        "roomId": message.get("rid"),
        "messageId": message.get("_id"),
        "userId": message.pointer("/u/_id"),
        "username": message.pointer("/u/username"),
        "threadId": message.get("tmid"),
        "keyId": content.key_id()?,
        "document": serde_json::from_str::<Value>(&document).map_err(|_| not_encrypted())?,
    }))
}

impl UploadedFile {
    fn metadata(&self) -> UploadMetadata {
        UploadMetadata {
            name: self.name.clone(),
            mime_type: self.mime_type.clone(),
            encryption: self.encryption.clone(),
            sha256: Some(self.sha256.clone()),
        }
    }

    /// The message's plaintext: attachment kinds differ by the prefix of some members.
    fn content(&self) -> Result<MessageContent> {
        let format = extension(&self.name);
        let mut attachment = json!({
            "title": self.name,
            "type": "file",
            "title_link": self.url,
            "title_link_download": true,
            "fileId": self.id,
            "encryption": self.encryption,
            "hashes": { "sha256": self.sha256 },
        });
        let kind = self.mime_type.split('/').next().unwrap_or_default();
        let mut members = match kind {
            "image" | "audio" | "video" => json!({
                format!("{kind}_url"): self.url,
                format!("{kind}_type"): self.mime_type,
                format!("{kind}_size"): self.size,
            }),
            _ => json!({ "size": self.size, "format": format }),
        };
        if let (Some(Dimensions { width, height }), "image", Some(members)) =
            (&self.dimensions, kind, members.as_object_mut())
        {
            let dimensions = json!({ "width": width, "height": height });
            members.insert("image_dimensions".to_owned(), dimensions);
        }
        if let (Some(attachment), Value::Object(members)) = (attachment.as_object_mut(), members) {
            attachment.extend(members);
        }
        let file = json!({
            "_id": self.id, "name": self.name, "type": self.mime_type, "size": self.size,
            "format": format,
        });
        let payload = json!({
            "msg": self.msg, "attachments": [attachment], "files": [file], "file": file,
        });
        Ok(MessageContent::parse(&payload.to_string())?)
    }
}

/// As Rocket.Chat's web client tells it.
fn extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => extension,
        _ => "file",
    }
}

fn json_of(content: &EncryptedContent<'_>) -> Result<Value> {
    serde_json::from_str(&content.to_text())
        .map_err(|_| Failure::new(Code::Internal, "the envelope is not JSON"))
}

fn content_of(message: &OutgoingMessage) -> Result<MessageContent> {
    let payload = json!({ "msg": message.msg, "attachments": message.attachments });
    Ok(MessageContent::parse(&payload.to_string())?)
}

/// `t` alone tells (protocol §4.1).
pub(super) fn is_encrypted(message: &Value) -> bool {
    matches!(text(message, "t"), Some("e2e" | "message_pinned_e2e"))
}

pub(super) fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member)?.as_str()
}
