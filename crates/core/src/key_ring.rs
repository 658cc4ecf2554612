//! Every key of one room, and which of them to try for a message (protocol §7.6).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::{EncryptedContent, MessageContent, MessageError};
use crate::room_key::{KeyId, RoomKey};

/// What can go wrong when a room's keys are tried on a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// No key with the message's id is held, and the current key does not open it.
    #[error("no room key with the message's key id is held")]
    NoRoomKey,
    /// A key with the message's id is held but does not open it, or the envelope is malformed.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// The keys of one room: the current one and all that came before.
///
/// Several old keys may share one id, since ids from before server 7.0 do not identify a key.
#[derive(Debug, Default)]
pub struct KeyRing {
    current: Option<Arc<RoomKey>>,
    /// By every id under which a key is known, the newest first.
    by_id: BTreeMap<KeyId, Vec<Arc<RoomKey>>>,
}

impl KeyRing {
    /// A ring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key that new messages are encrypted with.
    pub fn current(&self) -> Option<&Arc<RoomKey>> {
        self.current.as_ref()
    }

    /// Makes `key` the current one. The one before stays as an old key.
    pub fn set_current(&mut self, key: Arc<RoomKey>) {
        self.insert(key.id().clone(), Arc::clone(&key));
        self.current = Some(key);
    }

    /// Drops the current key's role, as after a room key reset; the key itself stays.
    pub fn retire_current(&mut self) {
        self.current = None;
    }

    /// Keeps an old key, also under the id that its record in `oldRoomKeys` states.
    pub fn insert_old(&mut self, recorded_id: KeyId, key: Arc<RoomKey>) {
        self.insert(key.id().clone(), Arc::clone(&key));
        self.insert(recorded_id, key);
    }

    /// Whether a key with these bytes and this id is held.
    pub fn contains(&self, key: &RoomKey) -> bool {
        self.by_id.get(key.id()).is_some_and(|keys| keys.iter().any(|held| held.same_secret(key)))
    }

    /// Whether any key whose own id this is is held, whatever others are recorded under it.
    pub fn has_own_id(&self, id: &KeyId) -> bool {
        self.newest(id).is_some()
    }

    /// The key whose own id this is, and that was inserted last. The id under which a server or
    /// another member recorded a key does not make it this one.
    pub fn newest(&self, id: &KeyId) -> Option<Arc<RoomKey>> {
        self.by_id.get(id)?.iter().find(|key| key.id() == id).cloned()
    }

    /// Tries the keys that may have encrypted `content`: all with a matching id, then the
    /// current one whatever its id, as web clients do. A key is accepted only where GCM
    /// authenticates, or CBC unpads to a JSON object.
    ///
    /// # Errors
    /// [`KeyRingError::NoRoomKey`] when only a foreign key could be tried, otherwise what the
    /// last attempt said.
    pub fn decrypt(&self, content: &EncryptedContent<'_>) -> Result<MessageContent, KeyRingError> {
        let mut outcome = KeyRingError::NoRoomKey;
        let id = content.key_id()?.parse::<KeyId>().ok();
        let matching =
            id.as_ref().and_then(|id| self.by_id.get(id)).map(Vec::as_slice).unwrap_or_default();
        for key in matching {
            match key.decrypt(content) {
                Ok(message) => return Ok(message),
                // The server may record a member's stale key under an id that is not its own: the
                // key that the message wants may yet come.
                Err(MessageError::DecryptionFailed) if id.as_ref() != Some(key.id()) => {}
                Err(error) => outcome = error.into(),
            }
        }
        if let Some(current) = &self.current
            && !matching.iter().any(|key| Arc::ptr_eq(key, current))
        {
            match current.decrypt(content) {
                Ok(message) => return Ok(message),
                // A key with another id was not expected to fit.
                Err(MessageError::DecryptionFailed) => {}
                Err(error) => outcome = error.into(),
            }
        }
        Err(outcome)
    }

    fn insert(&mut self, id: KeyId, key: Arc<RoomKey>) {
        let keys = self.by_id.entry(id).or_default();
        keys.retain(|held| !(held.id() == key.id() && held.same_secret(&key)));
        keys.insert(0, key);
    }
}

#[cfg(test)]
mod tests;
