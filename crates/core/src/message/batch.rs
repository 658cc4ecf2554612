//! Many messages in one text, for bindings whose boundary costs more than a short message.

use std::borrow::Cow;

use super::{EncryptedContent, MessageError};
use crate::ejson::Value;
use crate::error::Error;
use crate::room_key::RoomKey;

/// In place of a second length: the message is one part.
const WHOLE: u32 = u32::MAX;

impl RoomKey {
    /// Decrypts many. `parts` is everything in one text, and `lengths` has two numbers for each
    /// message, which count UTF-16 units: those of base64 of iv and of ciphertext of a v2 envelope,
    /// or those of what [`EncryptedContent::parse`] takes and 2³² − 1.
    ///
    /// Returns EJSON text of a list that has for each message its text, where it is only text, its
    /// content as an object, or `[code, message]` where it could not be read.
    pub fn decrypt_many(&self, parts: &str, lengths: &[u32]) -> String {
        let mut parts = Parts::new(parts);
        let mut results = String::from("[");
        for [first, second] in lengths.as_chunks().0 {
            if results.len() > 1 {
                results.push(',');
            }
            let first = parts.next(*first);
            let outcome = match *second {
                WHOLE => EncryptedContent::parse(&first).and_then(|content| self.decrypt(&content)),
                second => self.decrypt(&EncryptedContent::v2(&first, &parts.next(second))),
            };
            match outcome {
                Ok(content) if content.is_text() => results.push_str(&content.msg_text()),
                Ok(content) => results.push_str(&content.to_text()),
                Err(error) => results.push_str(&failure(error)),
            }
        }
        results.push(']');
        results
    }
}

fn failure(error: MessageError) -> String {
    let error = Error::from(error);
    let code = Value::String(error.code().as_str().to_owned());
    Value::Array(vec![code, Value::String(error.to_string())]).to_text()
}

/// A text that is cut by numbers of UTF-16 units.
enum Parts<'a> {
    Ascii(&'a str),
    Other { units: Vec<u16>, position: usize },
}

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        if text.is_ascii() {
            Self::Ascii(text)
        } else {
            Self::Other { units: text.encode_utf16().collect(), position: 0 }
        }
    }

    /// The next part; where a cut parts a surrogate pair, its halves become U+FFFD.
    fn next(&mut self, length: u32) -> Cow<'a, str> {
        let length = length as usize;
        match self {
            Self::Ascii(text) => {
                let (part, rest) = text.split_at_checked(length).unwrap_or((text, ""));
                *text = rest;
                part.into()
            }
            Self::Other { units, position } => {
                let end = position.saturating_add(length).min(units.len());
                let part = units.get(*position..end).unwrap_or_default();
                *position = end;
                String::from_utf16_lossy(part).into()
            }
        }
    }
}
