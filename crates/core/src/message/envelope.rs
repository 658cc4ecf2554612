//! Encrypted content as it stands in a message (protocol §7.4).

use std::borrow::Cow;

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::MessageError;
use crate::crypto::TAG_BYTES;
use crate::ejson::{Object, Value};
use crate::room_key::{KeyId, SHORT_ID_CHARS, Sealed};

const V1: &str = "rc.v1.aes-sha2";
const V2: &str = "rc.v2.aes-sha2";

/// Longest ciphertext that is looked at, in base64 characters: what MongoDB, and with it
/// Rocket.Chat, can store in one message.
const MAX_CIPHERTEXT_CHARS: usize = 16 * 1024 * 1024;

/// The encrypted content of a message, an upload or a pinned message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncryptedContent<'a> {
    /// `rc.v1.aes-sha2`: key id (12 characters) and base64 of iv and ciphertext in one text.
    V1 {
        /// Key id, then base64 of iv (16 bytes) and AES-CBC ciphertext.
        ciphertext: Cow<'a, str>,
    },
    /// `rc.v2.aes-sha2`: AES-GCM with a 12-byte iv, or AES-CBC with a 16-byte one.
    V2 {
        /// The key's id.
        kid: Cow<'a, str>,
        /// Base64 of the iv.
        iv: Cow<'a, str>,
        /// Base64 of the ciphertext, for AES-GCM with the tag at its end.
        ciphertext: Cow<'a, str>,
    },
    /// Another algorithm, such as `m.megolm.v1.aes-sha2` of federated rooms.
    Other {
        /// What the envelope calls it.
        algorithm: Cow<'a, str>,
    },
}

/// The members of an envelope, all of them optional, so that what is wrong can be told.
#[derive(Deserialize, Serialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    algorithm: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    iv: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ciphertext: Option<Cow<'a, str>>,
}

impl<'a> EncryptedContent<'a> {
    /// Reads the JSON text of an envelope, or the v1 text that older messages have in `msg`.
    ///
    /// # Errors
    /// [`MessageError::MalformedEnvelope`].
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        // A v1 text begins with a key id of the base64 or hexadecimal alphabet, never a brace.
        if !text.trim_ascii_start().starts_with('{') {
            return Ok(Self::V1 { ciphertext: text.into() });
        }
        let members: Members<'a> = serde_json::from_str(text).map_err(|_| {
            MessageError::MalformedEnvelope("its members are not those of encrypted content")
        })?;
        let missing = MessageError::MalformedEnvelope("a member is missing");
        match (members.algorithm, members.kid, members.iv, members.ciphertext) {
            (Some(algorithm), _, _, Some(ciphertext)) if algorithm == V1 => {
                Ok(Self::V1 { ciphertext })
            }
            (Some(algorithm), Some(kid), Some(iv), Some(ciphertext)) if algorithm == V2 => {
                Ok(Self::V2 { kid, iv, ciphertext })
            }
            (Some(algorithm), ..) if algorithm != V1 && algorithm != V2 => {
                Ok(Self::Other { algorithm })
            }
            _ => Err(missing),
        }
    }

    /// The envelope as JSON text.
    pub fn to_text(&self) -> String {
        let members = match self {
            Self::V1 { ciphertext } => Members {
                algorithm: Some(V1.into()),
                kid: None,
                iv: None,
                ciphertext: Some(Cow::Borrowed(ciphertext)),
            },
            Self::V2 { kid, iv, ciphertext } => Members {
                algorithm: Some(V2.into()),
                kid: Some(Cow::Borrowed(kid)),
                iv: Some(Cow::Borrowed(iv)),
                ciphertext: Some(Cow::Borrowed(ciphertext)),
            },
            Self::Other { algorithm } => Members {
                algorithm: Some(Cow::Borrowed(algorithm)),
                kid: None,
                iv: None,
                ciphertext: None,
            },
        };
        // Writing texts to memory cannot fail.
        serde_json::to_string(&members).unwrap_or_default()
    }

    /// A v2 envelope of these base64 texts, for a key that is known already: its key id is empty.
    pub fn v2(iv: &'a str, ciphertext: &'a str) -> Self {
        Self::V2 { kid: "".into(), iv: iv.into(), ciphertext: ciphertext.into() }
    }

    /// What an envelope holds beside its key's id, for bindings that take JSON texts apart slower
    /// than texts: for v2 base64 of the iv, a space and base64 of the ciphertext, else the
    /// ciphertext.
    pub fn to_compact_text(&self) -> String {
        match self {
            Self::V1 { ciphertext } => ciphertext.to_string(),
            Self::V2 { iv, ciphertext, .. } => [iv, " ", ciphertext].concat(),
            Self::Other { .. } => String::new(),
        }
    }

    /// The id of the key that the sender used.
    ///
    /// # Errors
    /// [`MessageError::MalformedEnvelope`] for a v1 text too short to have one,
    /// [`MessageError::UnsupportedAlgorithm`] for another algorithm.
    pub fn key_id(&self) -> Result<&str, MessageError> {
        match self {
            Self::V1 { ciphertext } => Ok(split_v1(ciphertext)?.0),
            Self::V2 { kid, .. } => Ok(kid),
            Self::Other { .. } => Err(MessageError::UnsupportedAlgorithm),
        }
    }

    pub(super) fn from_sealed(id: &'a KeyId, sealed: &Sealed) -> Self {
        match sealed {
            Sealed::Gcm { iv, ciphertext } => EncryptedContent::V2 {
                kid: id.as_str().into(),
                iv: STANDARD.encode_to_string(iv).into(),
                ciphertext: STANDARD.encode_to_string(ciphertext).into(),
            },
            Sealed::Cbc { iv, ciphertext } => {
                let bytes = [iv.as_slice(), ciphertext].concat();
                let mut text = id.to_string();
                STANDARD.encode_append(bytes, &mut text);
                EncryptedContent::V1 { ciphertext: text.into() }
            }
        }
    }

    pub(super) fn to_sealed(&self) -> Result<Sealed, MessageError> {
        match self {
            Self::V1 { ciphertext } => {
                let bytes = decode(split_v1(ciphertext)?.1)?;
                let (iv, ciphertext) = bytes.split_first_chunk().ok_or(TRUNCATED)?;
                cbc(*iv, ciphertext.to_vec())
            }
            Self::V2 { iv, ciphertext, .. } => {
                let iv = decode(iv)?;
                let ciphertext = decode(ciphertext)?;
                if let Ok(iv) = <[u8; 12]>::try_from(iv.as_slice()) {
                    if ciphertext.len() < TAG_BYTES {
                        return Err(TRUNCATED);
                    }
                    Ok(Sealed::Gcm { iv, ciphertext })
                } else if let Ok(iv) = <[u8; 16]>::try_from(iv.as_slice()) {
                    cbc(iv, ciphertext)
                } else {
                    Err(MessageError::MalformedEnvelope("its iv is not 12 or 16 bytes long"))
                }
            }
            Self::Other { .. } => Err(MessageError::UnsupportedAlgorithm),
        }
    }
}

const TRUNCATED: MessageError = MessageError::MalformedEnvelope("it is truncated");

fn cbc(iv: [u8; 16], ciphertext: Vec<u8>) -> Result<Sealed, MessageError> {
    // Padding makes a whole number of blocks, and at least one.
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(16) {
        return Err(TRUNCATED);
    }
    Ok(Sealed::Cbc { iv, ciphertext })
}

fn split_v1(text: &str) -> Result<(&str, &str), MessageError> {
    text.split_at_checked(SHORT_ID_CHARS).ok_or(TRUNCATED)
}

fn decode(text: &str) -> Result<Vec<u8>, MessageError> {
    if text.len() > MAX_CIPHERTEXT_CHARS {
        return Err(MessageError::MalformedEnvelope("it is too long"));
    }
    STANDARD
        .decode_to_vec(text)
        .map_err(|_| MessageError::MalformedEnvelope("it holds something that is not base64"))
}

/// The encrypted content of a message document, as EJSON text; `None` where the message is not
/// encrypted.
///
/// `t` alone tells whether a message is encrypted (protocol §4.1): `e2e`, or `message_pinned_e2e`
/// whose first attachment has the content. Content of a known algorithm wins over `msg`; a
/// malformed one is handed on, so that decrypting it says what is wrong.
pub fn encrypted_content_of(document: &Value) -> Option<String> {
    let document = document.as_object()?;
    match document.get("t")?.as_str()? {
        "e2e" => {
            let content = document.get("content").and_then(algorithm_of);
            let msg = document.get("msg").and_then(Value::as_str).filter(|msg| !msg.is_empty());
            match (content, msg) {
                (Some((content, V1 | V2)), _) | (Some((content, _)), None) => {
                    Some(Value::Object(content.clone()).to_text())
                }
                (_, Some(msg)) => Some(EncryptedContent::V1 { ciphertext: msg.into() }.to_text()),
                (None, None) => None,
            }
        }
        "message_pinned_e2e" => {
            let pinned = document.get("attachments")?.as_array()?.first()?.as_object()?;
            let (content, _) = algorithm_of(pinned.get("content")?)?;
            Some(Value::Object(content.clone()).to_text())
        }
        _ => None,
    }
}

fn algorithm_of(content: &Value) -> Option<(&Object, &str)> {
    let content = content.as_object()?;
    Some((content, content.get("algorithm")?.as_str()?))
}
