//! Encrypted message content, and what is inside (protocol §6, §7.4).

mod content;
mod envelope;
mod overlay;

use rand_core::CryptoRng;
use serde_json::value::RawValue;

use crate::crypto::Refused;
use crate::ejson::Value;
use crate::error::Error;
use crate::room_key::RoomKey;

pub use content::MessageContent;
pub use envelope::{EncryptedContent, encrypted_content_of};
pub use overlay::overlay;

/// What can go wrong with a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The envelope has no known form.
    #[error("malformed message envelope: {0}")]
    MalformedEnvelope(&'static str),
    /// The envelope names an algorithm that is not Rocket.Chat's own, such as Matrix'.
    #[error("the message is encrypted with an algorithm that room keys do not open")]
    UnsupportedAlgorithm,
    /// The key does not fit or the message was changed. Bad tag, bad padding and bad JSON look
    /// alike, on purpose.
    #[error("the message does not decrypt with this key")]
    DecryptionFailed,
    /// What was to be encrypted is not a message.
    #[error("this cannot be encrypted as a message: {0}")]
    InvalidContent(&'static str),
    /// The library refused to encrypt.
    #[error("the message could not be encrypted")]
    Encryption,
}

impl RoomKey {
    /// Encrypts a message as the key's clients do: `rc.v2.aes-sha2` under AES-GCM,
    /// `rc.v1.aes-sha2` under AES-CBC.
    ///
    /// # Errors
    /// [`MessageError::Encryption`] when the cipher refuses, as it does beyond 64 GB.
    pub fn encrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        content: &MessageContent,
    ) -> Result<EncryptedContent<'static>, MessageError> {
        self.encrypt_text(rng, &content.to_text())
    }

    /// Encrypts other JSON text than a message's, as the metadata of an upload.
    pub(crate) fn encrypt_text<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        text: &str,
    ) -> Result<EncryptedContent<'static>, MessageError> {
        let sealed = self.seal(rng, text.as_bytes()).map_err(|Refused| MessageError::Encryption)?;
        Ok(EncryptedContent::from_sealed(self.id(), &sealed))
    }

    /// Decrypts a message of any form that room keys open (a to e of protocol §7.4). The key's
    /// own algorithm is used; the envelope's key id is not compared.
    ///
    /// # Errors
    /// [`MessageError::MalformedEnvelope`], [`MessageError::UnsupportedAlgorithm`],
    /// [`MessageError::DecryptionFailed`].
    pub fn decrypt(&self, content: &EncryptedContent<'_>) -> Result<MessageContent, MessageError> {
        let plaintext =
            self.open(content.to_sealed()?).map_err(|Refused| MessageError::DecryptionFailed)?;
        MessageContent::from_plaintext(&plaintext)
    }

    /// Decrypts many messages: for bindings, where one text in and one out cost least.
    ///
    /// `contents` is JSON text of a list of envelopes and v1 texts. The EJSON text of a list comes
    /// back that has for each of them, in order, either `[content]` or `[code, message]`.
    ///
    /// # Errors
    /// [`MessageError::MalformedEnvelope`] when `contents` is not a list in JSON.
    pub fn decrypt_list(&self, contents: &str) -> Result<String, MessageError> {
        let contents: Vec<&RawValue> = serde_json::from_str(contents)
            .map_err(|_| MessageError::MalformedEnvelope("the list is not JSON"))?;
        let mut results = String::from("[");
        for content in contents {
            if results.len() > 1 {
                results.push(',');
            }
            match self.decrypt_text(content.get()) {
                Ok(content) => results.push_str(&format!("[{content}]")),
                Err(error) => {
                    let error = Error::from(error);
                    let message = Value::String(error.to_string()).to_text();
                    results.push_str(&format!("[\"{}\",{message}]", error.code().as_str()));
                }
            }
        }
        results.push(']');
        Ok(results)
    }

    /// A v1 text stands in a list as a JSON string, an envelope as an object.
    fn decrypt_text(&self, content: &str) -> Result<String, MessageError> {
        let content = match serde_json::from_str::<String>(content) {
            Ok(text) => self.decrypt(&EncryptedContent::parse(&text)?),
            Err(_) => self.decrypt(&EncryptedContent::parse(content)?),
        };
        Ok(content?.to_text())
    }
}

/// As [`encrypted_content_of`], of the EJSON text of a message document.
///
/// # Errors
/// [`MessageError::MalformedEnvelope`] when it is not JSON.
pub fn encrypted_content_in(document: &str) -> Result<Option<String>, MessageError> {
    let document = Value::parse(document)
        .map_err(|_| MessageError::MalformedEnvelope("the message is not JSON"))?;
    Ok(encrypted_content_of(&document))
}

#[cfg(test)]
mod tests;
