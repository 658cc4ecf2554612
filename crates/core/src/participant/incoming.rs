//! Messages that come in: decrypted, claimed, told, acknowledged; in batches and in order.
//!
//! Who tells a message has claimed it for a short while (its lease), and acknowledges it after:
//! one commit holds the lines of the audit trail and a claim that says, for a week, that the
//! message was handled. A process that is killed in between leaves the lease to run out, and the
//! message is told again; otherwise it is told once among all that share the store. The mark up
//! to which a room was read never passes a message that was not acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::host::{Claim, Failure, Result};
use super::messages::{is_encrypted, text};
use super::serving::iso;
use super::store::parse;
use super::{Shared, millis_of};
use crate::error::Code;

/// Messages that are claimed, told and acknowledged at once, at most.
const BATCH: usize = 100;
/// How long a message may take from its claim to its acknowledgement, in milliseconds.
const LEASE: u64 = 60_000;
/// How long a message is known to be handled, in milliseconds.
const HANDLED: u64 = 7 * DAY;
const DAY: u64 = 24 * 60 * 60 * 1000;
/// How long looking whether a message was handled holds it, in milliseconds: as short as can be.
const LOOK: u64 = 1;
/// How long after a failure of the store or the server a room is read again, in milliseconds.
const AFTER_FAILURE: u64 = 60_000;
/// How often an acknowledgement is tried, within its lease.
const ATTEMPTS: u32 = 4;
/// Messages of one room that wait to be read, at most; more are fetched when there is room.
const MAX_QUEUED: usize = 10_000;
/// Messages that are remembered as told, at most, in all rooms; claims know the others.
const MAX_KNOWN: usize = 32_768;
/// Messages of a page.
const PAGE: usize = 200;
/// Messages of a page at most, where many were changed in the same millisecond.
const MAX_PAGE: usize = 100_000;
/// How far before the mark reading begins, in milliseconds: what a server dates earlier can become
/// visible later, and clocks of one server's processes differ.
pub(super) const OVERLAP: u64 = 10_000;
/// The longest id that is believed; real ones have 17 characters, or 36.
const MAX_ID: usize = 256;

/// What comes in to one room.
#[derive(Default)]
pub(super) struct Incoming {
    queue: VecDeque<Value>,
    /// Whether a flow reads the queue.
    reading: bool,
    /// Whether others had leases when the room was last read.
    leased: bool,
    /// Whether a flow waits to fetch what could not be read.
    waiting: bool,
    /// Whether the store failed: until it works again, the server keeps what comes.
    failed: bool,
    /// Up to when the room was read, in milliseconds since 1970 by the server's clock.
    mark: Option<u64>,
}

/// The messages that this process has told, the oldest first to be forgotten.
#[derive(Default)]
pub(super) struct Known {
    /// Whether each is acknowledged.
    told: BTreeMap<String, bool>,
    order: VecDeque<String>,
}

impl Known {
    fn insert(&mut self, key: String, acknowledged: bool) {
        if self.told.insert(key.clone(), acknowledged).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
    }
}

/// A message that can be told.
struct Readable {
    /// Its place in the batch.
    place: usize,
    key: String,
    message_id: String,
    /// What is told; nothing where that has happened.
    decrypted: Option<Value>,
}

impl Shared {
    /// Takes a message that the workspace tells of, where it concerns us: what others wrote,
    /// encrypted, in an authorised room.
    pub(super) fn receive(self: &Arc<Self>, id: &str, message: Value) {
        if !self.concerns(id, &message) {
            return;
        }
        {
            let mut state = self.state();
            let room = state.rooms.entry(id.to_owned()).or_default();
            if room.incoming.failed || room.incoming.queue.len() >= MAX_QUEUED {
                // The server keeps it, and the mark stays before it.
                room.stale = true;
                return;
            }
            room.incoming.queue.push_back(message);
            if std::mem::replace(&mut room.incoming.reading, true) {
                return;
            }
        }
        let (shared, id) = (Arc::clone(self), id.to_owned());
        self.host.spawn(async move { shared.read_queue(&id).await });
    }

    /// Takes a message that the application brings, in place of the workspace; ends when it was told
    /// and acknowledged, or is nobody's to tell.
    pub(super) async fn receive_brought(
        self: &Arc<Self>,
        message: Value,
        key_id: Option<&str>,
    ) -> Result<Value> {
        self.identity()?;
        let id = text(&message, "rid").unwrap_or_default().to_owned();
        if !self.concerns(&id, &message) {
            return Ok(Value::Null);
        }
        let known = self.key_id_of(&id);
        let waits = |failure: Failure| failure.is(Code::NoRoomKey);
        // The room's key is another one than we know of, or has come since the last round.
        if key_id.is_some_and(|told| known.as_deref() != Some(told))
            || self.decrypt(&message).is_err_and(waits)
        {
            self.refresh_room(&id).await?;
            self.settle_room(&id).await?;
        }
        self.take(&id, vec![message]).await?;
        Ok(Value::Null)
    }

    /// The id of the room's key, as the server told it last.
    fn key_id_of(&self, id: &str) -> Option<String> {
        let state = self.state();
        state.rooms.get(id)?.document.as_ref()?.e2e_key_id.clone()
    }

    fn concerns(&self, id: &str, message: &Value) -> bool {
        self.expect_authorized(id).is_ok()
            && is_encrypted(message)
            && message.pointer("/u/_id").and_then(Value::as_str) != Some(&self.options.user_id)
    }

    async fn read_queue(self: &Arc<Self>, id: &str) {
        while let Some(batch) = self.next_batch(id) {
            if let Err(failure) = self.take(id, batch).await {
                {
                    let mut state = self.state();
                    let room = state.rooms.entry(id.to_owned()).or_default();
                    room.incoming.queue.clear();
                    room.incoming.failed = true;
                    room.stale = true;
                }
                self.trouble(id, &failure);
                self.fetch_again(id, AFTER_FAILURE);
            }
        }
    }

    fn next_batch(&self, id: &str) -> Option<Vec<Value>> {
        let mut state = self.state();
        let incoming = &mut state.rooms.get_mut(id)?.incoming;
        let length = incoming.queue.len().min(BATCH);
        incoming.reading = length > 0;
        incoming.reading.then(|| incoming.queue.drain(..length).collect())
    }

    /// Tells a batch of messages of one room. Returns which of them are settled: acknowledged, by
    /// whomever, or never to be read.
    async fn take(self: &Arc<Self>, id: &str, messages: Vec<Value>) -> Result<Vec<bool>> {
        self.alone(format!("receive/{id}"), self.take_alone(id, messages)).await
    }

    async fn take_alone(self: &Arc<Self>, id: &str, messages: Vec<Value>) -> Result<Vec<bool>> {
        // Another process may have given up the room or the account, or brought a key.
        self.catch_up(Some(id)).await?;
        let mut settled = vec![true; messages.len()];
        let (mut told, new) = self.sort_out(id, messages, &mut settled);
        let asked = self.host.now();
        let leases = new.iter().map(|message| format!("lease/{}", message.key)).collect();
        let leased = self.host.claim(leases, LEASE).await?;
        let mut ours = Vec::new();
        for (message, leased) in new.into_iter().zip(leased) {
            match leased {
                true => ours.push(message),
                // Somebody tells it now, or has just told it, or was killed meanwhile.
                false => {
                    unsettle(&mut settled, message.place);
                    if let Some(room) = self.state().rooms.get_mut(id) {
                        room.incoming.leased = true;
                    }
                }
            }
        }
        // Only who has the lease looks, so nobody else's look is taken for an acknowledgement.
        let unhandled = self.host.claim(ours.iter().map(Readable::handled).collect(), LOOK).await?;
        if self.host.now() >= asked.saturating_add(LEASE) {
            return Err(Failure::new(
                Code::StoreLocked,
                "the store took so long to answer that another process may tell these messages",
            ));
        }
        for (mut message, unhandled) in ours.into_iter().zip(unhandled) {
            if unhandled {
                if let Some(decrypted) = message.decrypted.take() {
                    self.host.emit("message", decrypted);
                }
                self.state().known.insert(message.key.clone(), false);
                told.push(message);
            } else {
                self.state().known.insert(message.key, true);
            }
        }
        if let Err(failure) = self.acknowledge(id, &told).await {
            told.iter().for_each(|message| unsettle(&mut settled, message.place));
            if let Some(room) = self.state().rooms.get_mut(id) {
                room.stale = true;
            }
            self.trouble(id, &failure);
        }
        Ok(settled)
    }

    /// Decrypts a batch. Returns the messages that were told and not acknowledged, and those that
    /// were not told yet.
    fn sort_out(
        &self,
        id: &str,
        messages: Vec<Value>,
        settled: &mut [bool],
    ) -> (Vec<Readable>, Vec<Readable>) {
        let (mut told, mut new) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (place, message) in messages.into_iter().enumerate() {
            if !self.concerns(id, &message) {
                // Perhaps it did when it came: then it is read when the room is authorised again.
                if self.expect_authorized(id).is_err() {
                    unsettle(settled, place);
                }
                continue;
            }
            let message_id = text(&message, "_id").unwrap_or_default().to_owned();
            // An edited message is another one; the time of the edit tells them apart.
            let edited = millis_of(message.get("editedAt"));
            let key = format!("{message_id}/{}", edited.map(|t| t.to_string()).unwrap_or_default());
            if !seen.insert(key.clone()) || self.is_old(id, &message, edited) {
                continue;
            }
            let known = self.state().known.told.get(&key).copied();
            match known {
                Some(true) => continue,
                Some(false) => {
                    told.push(Readable { place, key, message_id, decrypted: None });
                    continue;
                }
                None => {}
            }
            let decrypted = match message_id.len() {
                1..=MAX_ID => self.decrypt(&message),
                _ => Err(Failure::new(Code::MalformedEnvelope, "the message has no usable id")),
            };
            match decrypted {
                Ok(decrypted) => {
                    new.push(Readable { place, key, message_id, decrypted: Some(decrypted) });
                }
                Err(failure) => {
                    let waits = failure.is(Code::NoRoomKey);
                    // A message that waits for its key is told once, however often it is seen.
                    if waits {
                        unsettle(settled, place);
                    } else {
                        self.state().known.insert(key, true);
                    }
                    if !waits || self.remember(id, message) {
                        let data =
                            json!({ "roomId": id, "messageId": message_id, "error": failure });
                        self.host.emit("undecryptable", data);
                    }
                }
            }
        }
        (told, new)
    }

    /// Whether a message was there long before the mark: it was handled, or came before us, and
    /// was touched since (by a reaction, by a new name of its sender).
    fn is_old(&self, id: &str, message: &Value, edited: Option<u64>) -> bool {
        let mark = self.state().rooms.get(id).and_then(|room| room.incoming.mark);
        let written = edited.or_else(|| millis_of(message.get("ts")));
        mark.zip(written).is_some_and(|(mark, written)| written.saturating_add(DAY) < mark)
    }

    /// One commit says that messages were told: nobody tells them again.
    async fn acknowledge(&self, id: &str, told: &[Readable]) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            let lines: Vec<_> = told
                .iter()
                .map(|message| {
                    let details = json!({ "roomId": id, "messageId": message.message_id });
                    self.audit_line("read", details)
                })
                .collect();
            let claim = |message: &Readable| Claim { id: message.handled(), ttl: HANDLED };
            match self.append(&lines, told.iter().map(claim).collect()).await {
                Ok(()) => break,
                Err(failure) if attempt == ATTEMPTS => return Err(failure),
                Err(_) => self.host.sleep(1000 << attempt).await?,
            }
            attempt += 1;
        }
        let mut state = self.state();
        for message in told {
            state.known.insert(message.key.clone(), true);
        }
        Ok(())
    }

    /// Tries the messages that came before their key, and lets the outbox go on.
    pub(super) async fn retry_pending(self: &Arc<Self>, id: &str) {
        let pending = match self.state().rooms.get_mut(id) {
            Some(room) => {
                // Those that were too many to be remembered are fetched again.
                room.stale |= !room.pending.is_empty();
                std::mem::take(&mut room.pending)
            }
            None => return,
        };
        for message in pending {
            self.receive(id, message);
        }
        let (shared, id) = (Arc::clone(self), id.to_owned());
        self.host.spawn(async move { shared.flush(&id).await });
    }

    /// Reads the messages of a room that came since the last round, page by page (protocol §4.1).
    pub(super) async fn fetch_messages(self: &Arc<Self>, id: &str) -> Result<()> {
        self.alone(format!("fetch/{id}"), async {
            self.set_stale(id, false);
            let fetched = self.fetch_pages(id).await;
            let failed = fetched.is_err();
            {
                let mut state = self.state();
                let room = state.rooms.entry(id.to_owned()).or_default();
                room.stale |= failed;
                room.incoming.failed &= failed;
            }
            if failed {
                self.fetch_again(id, AFTER_FAILURE);
            }
            fetched
        })
        .await
    }

    fn set_stale(&self, id: &str, stale: bool) {
        if let Some(room) = self.state().rooms.get_mut(id) {
            room.stale = stale;
        }
    }

    async fn fetch_pages(self: &Arc<Self>, id: &str) -> Result<()> {
        let name = format!("seen/{id}");
        let seen = self.load::<Value>(&name).await?;
        let seen = seen.into_iter().find(|(found, _)| *found == name);
        let Some(mut mark) = seen.and_then(|(_, seen)| millis_of(seen.get("lastUpdate"))) else {
            // History is the application's to ask for: from now on it is told.
            let now = self.server_time().unwrap_or_else(|| self.host.now());
            return self.save_mark(id, now).await;
        };
        {
            let mut state = self.state();
            let incoming = &mut state.rooms.entry(id.to_owned()).or_default().incoming;
            incoming.mark = Some(mark);
            incoming.leased = false;
        }
        let (mut from, mut count, mut blocked) = (mark.saturating_sub(OVERLAP), PAGE, false);
        loop {
            let page = self.fetch_page(id, from, count).await?;
            let read = self.take_page(id, page.updated).await?;
            if !blocked {
                let unsettled = read.iter().filter(|(_, settled)| !settled).map(|(at, _)| *at);
                let end = unsettled.min();
                blocked = end.is_some();
                let before = |at: &u64| end.is_none_or(|end| *at < end);
                let settled = read.iter().map(|(at, _)| *at).filter(before).max();
                if let Some(settled) = settled.filter(|settled| *settled > mark) {
                    mark = settled;
                    self.save_mark(id, mark).await?;
                }
            }
            let last = read.iter().map(|(at, _)| *at).max();
            let Some(last) = last.filter(|_| page.more) else { break };
            // Others may have the same time as the last of a page: they are on the next one.
            if last.saturating_sub(1) > from {
                (from, count) = (last.saturating_sub(1), PAGE);
            } else if count < MAX_PAGE {
                count = count.saturating_mul(4).min(MAX_PAGE);
            } else {
                (from, count) = (last.max(from.saturating_add(1)), PAGE);
            }
        }
        if self.state().rooms.get(id).is_some_and(|room| room.incoming.leased) {
            self.fetch_again(id, LEASE + 1000);
        }
        Ok(())
    }

    /// The messages changed after `from`; servers before 7.1 give all of them at once.
    async fn fetch_page(&self, id: &str, from: u64, count: usize) -> Result<Page> {
        let paged = self.server_version().await? >= (7, 1);
        let query = match paged {
            // A cursor of 0 would be none.
            true => json!({
                "roomId": id, "type": "UPDATED",
                "next": from.max(1).to_string(), "count": count.to_string(),
            }),
            false => json!({ "roomId": id, "lastUpdate": iso(from) }),
        };
        let body = self.host.get("chat.syncMessages", query).await?;
        let updated = body.pointer("/result/updated").cloned().map(parse).transpose()?;
        let more = body.pointer("/result/cursor/next").is_some_and(|next| !next.is_null());
        Ok(Page { updated: updated.unwrap_or_default(), more: paged && more })
    }

    /// Tells the messages of a page, in the order in which they were written. Returns of each when
    /// it was changed last, and whether it is settled.
    async fn take_page(
        self: &Arc<Self>,
        id: &str,
        mut page: Vec<Value>,
    ) -> Result<Vec<(u64, bool)>> {
        page.sort_by_cached_key(|message| {
            millis_of(message.get("editedAt")).or_else(|| millis_of(message.get("ts")))
        });
        let mut read = Vec::with_capacity(page.len());
        let mut page = page.into_iter();
        loop {
            let batch: Vec<Value> = page.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(read);
            }
            let changed = |message: &Value| millis_of(message.get("_updatedAt")).unwrap_or(0);
            let times: Vec<u64> = batch.iter().map(changed).collect();
            read.extend(times.into_iter().zip(self.take(id, batch).await?));
        }
    }

    /// Reads the room again after a while: when the store may work again, or the leases of others,
    /// who may have been killed, have run out.
    fn fetch_again(self: &Arc<Self>, id: &str, after: u64) {
        {
            let mut state = self.state();
            let Some(room) = state.rooms.get_mut(id) else { return };
            if std::mem::replace(&mut room.incoming.waiting, true) {
                return;
            }
        }
        let (shared, id) = (Arc::clone(self), id.to_owned());
        self.host.spawn(async move {
            let _closed = shared.host.sleep(after).await;
            if let Some(room) = shared.state().rooms.get_mut(&id) {
                room.incoming.waiting = false;
            }
            if shared.expect_authorized(&id).is_ok()
                && let Err(failure) = shared.fetch_messages(&id).await
            {
                shared.trouble(&id, &failure);
            }
        });
    }

    fn set_mark(&self, id: &str, mark: u64) {
        self.state().rooms.entry(id.to_owned()).or_default().incoming.mark = Some(mark);
    }

    async fn save_mark(&self, id: &str, mark: u64) -> Result<()> {
        let ours = json!({ "lastUpdate": iso(mark) });
        self.write(&format!("seen/{id}"), ours, |theirs: Value, ours| {
            match text(&theirs, "lastUpdate") > text(&ours, "lastUpdate") {
                true => theirs,
                false => ours,
            }
        })
        .await?;
        self.set_mark(id, mark);
        Ok(())
    }
}

impl Readable {
    /// The claim that says that it was handled.
    fn handled(&self) -> String {
        format!("message/{}", self.key)
    }
}

/// A page of messages.
struct Page {
    updated: Vec<Value>,
    /// Whether there are more.
    more: bool,
}

fn unsettle(settled: &mut [bool], place: usize) {
    if let Some(settled) = settled.get_mut(place) {
        *settled = false;
    }
}
