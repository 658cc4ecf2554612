//! The decrypted payload of a message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::Serialize;

use super::MessageError;
use crate::ejson::{self, Value};

/// What a message says: the only members of a decrypted payload that are believed.
///
/// Nothing binds a payload to its message, sender or room, so members such as `_id` or `u` are
/// dropped. Its `Debug` form shows no text.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MessageContent {
    /// The text; empty in a message that is only a file.
    pub msg: String,
    /// Attachments, files among them with their keys.
    pub attachments: Option<Vec<Value>>,
    /// Descriptions of the files, as the server would write them.
    pub files: Option<Vec<Value>>,
    /// The first of `files`.
    pub file: Option<Value>,
}

impl MessageContent {
    /// A message of text alone.
    pub fn text(msg: impl Into<String>) -> Self {
        Self { msg: msg.into(), ..Self::default() }
    }

    /// Reads content that a caller wants encrypted, as EJSON text.
    ///
    /// # Errors
    /// [`MessageError::InvalidContent`].
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let payload: Payload = ejson::from_str(text).map_err(|_| {
            MessageError::InvalidContent("it needs a text `msg`, and lists or objects beside it")
        })?;
        if payload.msg.is_none() {
            return Err(MessageError::InvalidContent("`msg` is missing"));
        }
        Ok(payload.into())
    }

    /// Reads a decrypted payload.
    pub(super) fn from_plaintext(plaintext: &[u8]) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(plaintext).map_err(|_| MessageError::DecryptionFailed)?;
        let payload: Payload = ejson::from_str(text).map_err(|_| MessageError::DecryptionFailed)?;
        Ok(payload.into())
    }

    /// Whether there is nothing but text.
    pub fn is_text(&self) -> bool {
        self.attachments.is_none() && self.files.is_none() && self.file.is_none()
    }

    /// Writes the payload as EJSON, members in a fixed order.
    pub fn to_text(&self) -> String {
        // JSON text is UTF-8.
        String::from_utf8(self.to_plaintext()).unwrap_or_default()
    }

    /// The text alone, as JSON.
    pub(super) fn msg_text(&self) -> String {
        json_escape_simd::escape(&self.msg)
    }

    /// The payload that is encrypted: [`MessageContent::to_text`] in bytes, with room for a tag.
    pub(super) fn to_plaintext(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.msg.len() + 256);
        payload.extend_from_slice(b"{\"msg\":");
        json_escape_simd::escape_into(&self.msg, &mut payload);
        write_member(&mut payload, "attachments", self.attachments.as_ref());
        write_member(&mut payload, "files", self.files.as_ref());
        write_member(&mut payload, "file", self.file.as_ref());
        payload.push(b'}');
        payload
    }
}

impl fmt::Debug for MessageContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageContent").finish_non_exhaustive()
    }
}

fn write_member<T: Serialize>(payload: &mut Vec<u8>, name: &str, value: Option<&T>) {
    if let Some(value) = value {
        payload.extend_from_slice(format!(",\"{name}\":").as_bytes());
        // Writing to memory fails for maps with other keys than strings only: there are none.
        let _infallible = serde_json::to_writer(payload, value);
    }
}

/// A payload as it was written: `text` is what old clients call `msg`.
#[derive(Default)]
struct Payload {
    msg: Option<String>,
    text: Option<String>,
    attachments: Option<Vec<Value>>,
    files: Option<Vec<Value>>,
    file: Option<Value>,
}

impl From<Payload> for MessageContent {
    fn from(payload: Payload) -> Self {
        Self {
            msg: payload.msg.or(payload.text).unwrap_or_default(),
            attachments: payload.attachments,
            files: payload.files,
            file: payload.file,
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message payload")
    }

    /// Unlike a derived implementation, takes the last of repeated members, as JavaScript does.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::default();
        while let Some(key) = map.next_key::<Member>()? {
            match key {
                Member::Msg => payload.msg = map.next_value()?,
                Member::Text => payload.text = map.next_value()?,
                Member::Attachments => payload.attachments = map.next_value()?,
                Member::Files => payload.files = map.next_value()?,
                Member::File => payload.file = map.next_value()?,
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(payload)
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Member {
    Msg,
    Text,
    Attachments,
    Files,
    File,
    #[serde(other)]
    Other,
}
