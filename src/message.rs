//! `message` of the core. Content and envelopes cross as JSON text, which V8 parses faster than
//! Node-API builds objects.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent};

use crate::error::{Failure, guard};
use crate::job::{Job, spawn};
use crate::random::OsRandom;
use crate::room_key::RoomKey;

#[napi]
impl RoomKey {
    /// EJSON text of the content in, JSON text of the envelope out.
    #[napi]
    pub fn encrypt(&self, content: String) -> Result<String, Failure> {
        guard(|| {
            let content = MessageContent::parse(&content)?;
            Ok(self.core.encrypt(&mut OsRandom, &content)?.to_text())
        })
    }

    /// JSON text of the envelope, or a v1 text, in; EJSON text of the content out.
    #[napi]
    pub fn decrypt(&self, content: String) -> Result<String, Failure> {
        guard(|| Ok(self.core.decrypt(&EncryptedContent::parse(&content)?)?.to_text()))
    }

    /// JSON text of a list of envelopes and v1 texts in; out comes EJSON text of a list that has
    /// for each either `[content]` or `[code, message]`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn decrypt_many(&self, contents: String) -> AsyncTask<Job<String>> {
        let core = Arc::clone(&self.core);
        spawn(move || Ok(core.decrypt_list(&contents)?))
    }
}

/// EJSON text of a message document in; JSON text of its envelope out, if it is encrypted.
#[napi]
pub fn encrypted_content_of(document: String) -> Result<Option<String>, Failure> {
    guard(|| Ok(message::encrypted_content_in(&document)?))
}
