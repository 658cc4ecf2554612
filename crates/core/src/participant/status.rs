//! What an operator wants to see of an account: reads, and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Shared;
use super::host::Result;
use super::rooms::{Document, Room};

impl Shared {
    /// The account, and every room that it is in or was authorised for, as the server has them
    /// now. Accepts, creates, serves and sends nothing.
    pub(super) async fn status(self: &Arc<Self>) -> Result<Value> {
        let fingerprint = self.identity()?.public_key().fingerprint()?.to_string();
        self.alone("sync".to_owned(), self.fetch_lists()).await?;
        let state = self.state();
        let known = |room: &Room| room.subscription.is_some() || room.record.authorized;
        let rooms = state.rooms.iter().filter(|(_, room)| known(room));
        Ok(json!({
            "userId": self.options.user_id,
            "fingerprint": fingerprint,
            "rooms": rooms.map(|(id, room)| room.status(id)).collect::<Value>(),
        }))
    }
}

impl Room {
    fn status(&self, id: &str) -> Value {
        let document = self.document.as_ref();
        let named = document.and_then(|document| document.e2e_key_id.as_deref());
        let waiting = document.and_then(|document| document.waiting.as_deref());
        let waiting: Vec<&str> =
            waiting.unwrap_or_default().iter().map(|user| user.user_id.as_str()).collect();
        json!({
            "roomId": id,
            "member": self.subscription.is_some(),
            "encrypted": document.is_some_and(Document::is_encrypted),
            "authorized": self.record.authorized,
            "keyId": named,
            "key": self.key_status(named),
            "keysHeld": self.record.keys.len(),
            "keysMissing": self.missing(named),
            "waiting": waiting,
            "outbox": self.outbox.len(),
        })
    }

    fn holds_id(&self, id: &str) -> bool {
        self.record.keys.iter().any(|held| held.id == id || held.recorded_id == id)
    }

    fn key_status(&self, named: Option<&str>) -> &'static str {
        let offered = self.subscription.as_ref().is_some_and(|subscription| {
            named.is_some_and(|named| {
                let ours = subscription.key.iter().chain(&subscription.suggested);
                ours.into_iter().any(|wrapped| wrapped.starts_with(named))
            })
        });
        match named {
            None => "none",
            Some(named) if self.holds_id(named) => "held",
            Some(_) if offered => "offered",
            Some(_) => "missing",
        }
    }

    /// The ids under which the server names keys of this room that are not held here.
    fn missing(&self, named: Option<&str>) -> BTreeSet<String> {
        let old = self.subscription.as_ref().and_then(|known| known.old_room_keys.as_deref());
        let old = old.unwrap_or_default().iter().map(|key| key.id.as_str());
        named.into_iter().chain(old).filter(|id| !self.holds_id(id)).map(str::to_owned).collect()
    }
}
