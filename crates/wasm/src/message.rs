//! `message` of the core. Content and envelopes cross as text.

use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Failure;
use crate::random::HostRandom;
use crate::room_key::RoomKey;

#[wasm_bindgen]
impl RoomKey {
    /// Encrypts a message that is only text; returns the envelope's
    /// [`EncryptedContent::to_compact_text`].
    #[wasm_bindgen(js_name = encryptText)]
    pub fn encrypt_text(&self, msg: &str) -> Result<String, Failure> {
        let content = MessageContent::text(msg);
        Ok(self.core.encrypt(&mut HostRandom, &content)?.to_compact_text())
    }

    /// As [`RoomKey::encrypt_text`], for EJSON text of any content.
    pub fn encrypt(&self, content: &str) -> Result<String, Failure> {
        let content = MessageContent::parse(content)?;
        Ok(self.core.encrypt(&mut HostRandom, &content)?.to_compact_text())
    }

    /// Decrypts a v2 envelope, from base64 of iv and of ciphertext. A message that is only text
    /// comes as a quotation mark and its text, any other as EJSON text of an object.
    #[wasm_bindgen(js_name = decryptV2)]
    pub fn decrypt_v2(&self, iv: &str, ciphertext: &str) -> Result<String, Failure> {
        let content = self.core.decrypt(&EncryptedContent::v2(iv, ciphertext))?;
        Ok(if content.is_text() { ["\"", &content.msg].concat() } else { content.to_text() })
    }

    /// JSON text of an envelope, or a v1 text, in; EJSON text of the content out.
    pub fn decrypt(&self, content: &str) -> Result<String, Failure> {
        Ok(self.core.decrypt(&EncryptedContent::parse(content)?)?.to_text())
    }

    /// See `RoomKey::decrypt_many` of the core.
    #[wasm_bindgen(js_name = decryptMany)]
    pub fn decrypt_many(&self, parts: &str, lengths: &[u32]) -> String {
        self.core.decrypt_many(parts, lengths)
    }
}

/// EJSON text of a message document in; JSON text of its envelope out, if it is encrypted.
#[wasm_bindgen(js_name = encryptedContentOf)]
pub fn encrypted_content_of(document: &str) -> Result<Option<String>, Failure> {
    Ok(message::encrypted_content_in(document)?)
}
