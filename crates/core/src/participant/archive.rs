//! Messages of the past, read with the keys of a store or of an exported bundle: without an
//! account, without a server. For auditors and archivists.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::ParticipantError;
use super::account;
use super::host::{Failure, Result};
use super::messages::decrypt_with;
use super::rooms::{self, open_bundle, ring_of};
use super::store;
use crate::ejson;
use crate::error::{Code, Error};
use crate::key_ring::KeyRing;
use crate::message::{EncryptedContent, encrypted_content_of};
use crate::room_key::KeyId;
use crate::vault::Vault;

/// Room keys, by room.
pub struct KeyArchive {
    account: Option<Value>,
    rooms: BTreeMap<String, Room>,
}

struct Room {
    ring: KeyRing,
    keys: usize,
}

impl fmt::Debug for KeyArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyArchive").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

impl KeyArchive {
    /// The keys of a bundle that a participant exported.
    ///
    /// # Errors
    /// [`ParticipantError::Bundle`], [`ParticipantError::BundlePassphrase`], or of a key in it.
    pub fn from_bundle(bundle: &str, passphrase: &str) -> std::result::Result<Self, Error> {
        Ok(Self { account: None, rooms: rings(open_bundle(bundle, passphrase)?)? })
    }

    /// The keys in a store's records.
    ///
    /// # Arguments
    /// `records`: JSON text of a list of `{name, version, data}`, the data in base64; those of an
    /// identity and of rooms matter.
    ///
    /// # Errors
    /// Of the vault, [`ParticipantError::Inputs`], or of a key in it.
    pub fn from_records(vault: &Vault, records: &str) -> std::result::Result<Self, Error> {
        let records: Vec<store::Record> =
            serde_json::from_str(records).map_err(|_| ParticipantError::Inputs)?;
        let (mut account, mut held) = (None, BTreeMap::new());
        for record in &records {
            if record.name == account::RECORD {
                account = Some(record.open::<account::Record>(vault)?.describe()?);
            } else if let Some(id) = record.name.strip_prefix("room/") {
                held.insert(id.to_owned(), record.open(vault)?);
            }
        }
        Ok(Self { account, rooms: rings(held)? })
    }

    /// JSON text of `{account, rooms}`: whose keys these are, as far as it is known, and how many
    /// are held of each room.
    pub fn describe(&self) -> String {
        let rooms: Map<String, Value> =
            self.rooms.iter().map(|(id, room)| (id.clone(), json!(room.keys))).collect();
        json!({ "account": self.account, "rooms": rooms }).to_string()
    }

    /// Decrypts messages as REST, DDP, the database, and Rocket.Chat's exports have them.
    ///
    /// # Arguments
    /// `messages`: JSON text of a list of documents. `room_id`: the room of those that name none,
    /// as in exports of a room.
    ///
    /// # Returns
    /// JSON text of a list with an outcome for each, in order: `[]` where the message is not
    /// encrypted, `[message]`, or `[code, why, key id or null]`.
    ///
    /// # Errors
    /// [`ParticipantError::Inputs`] when `messages` is no list.
    pub fn decrypt_text(
        &self,
        messages: &str,
        room_id: Option<&str>,
    ) -> std::result::Result<String, Error> {
        let messages: Vec<&RawValue> =
            serde_json::from_str(messages).map_err(|_| ParticipantError::Inputs)?;
        let outcomes = messages.iter().map(|text| self.outcome(text.get(), room_id));
        Ok(outcomes.collect::<Value>().to_string())
    }

    fn outcome(&self, text: &str, room_id: Option<&str>) -> Value {
        let mut message: Map<String, Value> = match ejson::from_str(text) {
            Ok(message) => message,
            Err(_) => return json!([Code::MalformedEnvelope.as_str(), "this is not a message"]),
        };
        // Exports of a room say `type`, and leave the room out.
        let kind = message.get("t").or_else(|| message.get("type")).and_then(Value::as_str);
        let Some(kind @ ("e2e" | "message_pinned_e2e")) = kind else { return json!([]) };
        let kind = json!(kind);
        message.insert("t".to_owned(), kind);
        if let (None, Some(id)) = (message.get("rid"), room_id) {
            message.insert("rid".to_owned(), json!(id));
        }
        let message = Value::Object(message);
        match self.decrypt(&message) {
            Ok(decrypted) => json!([decrypted]),
            Err(failure) => json!([failure.code, failure.message, key_id(&message)]),
        }
    }

    fn decrypt(&self, message: &Value) -> Result<Value> {
        let id = message.get("rid").and_then(Value::as_str).ok_or_else(|| {
            Failure::new(Code::InvalidArgument, "the message does not say which room it is of")
        })?;
        if message.get("content").is_none() && message.get("msg") == Some(&json!("")) {
            return Err(Failure::new(
                Code::MalformedEnvelope,
                "the message has no ciphertext: Rocket.Chat's own export of a room leaves it out",
            ));
        }
        decrypt_with(self.rooms.get(id).map(|room| &room.ring), message)
    }
}

fn rings(
    held: BTreeMap<String, rooms::Record>,
) -> std::result::Result<BTreeMap<String, Room>, Error> {
    let held = held.into_iter().filter(|(_, record)| !record.keys.is_empty());
    held.map(|(id, record)| Ok((id, Room { ring: ring_of(&record)?, keys: record.keys.len() })))
        .collect()
}

fn key_id(message: &Value) -> Option<String> {
    let document = ejson::Value::parse(&message.to_string()).ok()?;
    let content = encrypted_content_of(&document)?;
    // Only what can be the id of a key: an export may have anything there, of any length.
    let id: KeyId = EncryptedContent::parse(&content).ok()?.key_id().ok()?.parse().ok()?;
    Some(id.to_string())
}

#[cfg(test)]
mod tests;
