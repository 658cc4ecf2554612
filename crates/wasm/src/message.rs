//! `message` of the core. Content and envelopes cross as JSON text.

use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Failure;
use crate::random::HostRandom;
use crate::room_key::RoomKey;

#[wasm_bindgen]
impl RoomKey {
    /// EJSON text of the content in, JSON text of the envelope out.
    pub fn encrypt(&self, content: &str) -> Result<String, Failure> {
        let content = MessageContent::parse(content)?;
        Ok(self.core.encrypt(&mut HostRandom, &content)?.to_text())
    }

    /// JSON text of the envelope, or a v1 text, in; EJSON text of the content out.
    pub fn decrypt(&self, content: &str) -> Result<String, Failure> {
        Ok(self.core.decrypt(&EncryptedContent::parse(content)?)?.to_text())
    }

    /// JSON text of a list of envelopes and v1 texts in; out comes EJSON text of a list that has
    /// for each either `[content]` or `[code, message]`.
    #[wasm_bindgen(js_name = decryptMany)]
    pub fn decrypt_many(&self, contents: &str) -> Result<String, Failure> {
        Ok(self.core.decrypt_list(contents)?)
    }
}

/// EJSON text of a message document in; JSON text of its envelope out, if it is encrypted.
#[wasm_bindgen(js_name = encryptedContentOf)]
pub fn encrypted_content_of(document: &str) -> Result<Option<String>, Failure> {
    Ok(message::encrypted_content_in(document)?)
}
