//! Encrypted message content, and what is inside (protocol §6, §7.4).

mod batch;
mod content;
mod envelope;
mod overlay;

use rand_core::CryptoRng;

use crate::crypto::Refused;
use crate::ejson::Value;
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
    ) -> Result<EncryptedContent<'_>, MessageError> {
        self.encrypt_payload(rng, content.to_plaintext())
    }

    /// Encrypts other JSON text than a message's, as the metadata of an upload.
    pub(crate) fn encrypt_text<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        text: &str,
    ) -> Result<EncryptedContent<'_>, MessageError> {
        self.encrypt_payload(rng, text.as_bytes().to_vec())
    }

    fn encrypt_payload<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        payload: Vec<u8>,
    ) -> Result<EncryptedContent<'_>, MessageError> {
        let sealed = self.seal(rng, payload).map_err(|Refused| MessageError::Encryption)?;
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
