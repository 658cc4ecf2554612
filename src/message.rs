//! `message` of the core. Content and envelopes cross as JSON text, which V8 parses faster than
//! Node-API builds objects.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::ejson::Value;
use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent, MessageError};
use rocketchat_e2ee::{Error, RoomKey as Core};
use serde_json::value::RawValue;

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
        guard(|| decrypt(&self.core, &content))
    }

    /// JSON text of a list of envelopes and v1 texts in; out comes EJSON text of a list that has
    /// for each either `[content]` or `[code, message]`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn decrypt_many(&self, contents: String) -> AsyncTask<Job<String>> {
        let core = Arc::clone(&self.core);
        spawn(move || decrypt_many(&core, &contents))
    }
}

/// EJSON text of a message document in; JSON text of its envelope out, if it is encrypted.
#[napi]
pub fn encrypted_content_of(document: String) -> Result<Option<String>, Failure> {
    guard(|| {
        let document = Value::parse(&document)
            .map_err(|_| MessageError::MalformedEnvelope("the message is not JSON"))?;
        Ok(message::encrypted_content_of(&document))
    })
}

fn decrypt(key: &Core, content: &str) -> Result<String, Error> {
    Ok(key.decrypt(&EncryptedContent::parse(content)?)?.to_text())
}

fn decrypt_many(key: &Core, contents: &str) -> Result<String, Error> {
    let contents: Vec<&RawValue> = serde_json::from_str(contents)
        .map_err(|_| MessageError::MalformedEnvelope("the list is not JSON"))?;
    let mut results = String::from("[");
    for content in contents {
        if results.len() > 1 {
            results.push(',');
        }
        // A v1 text stands in the list as a JSON string, an envelope as an object.
        let outcome = match serde_json::from_str::<String>(content.get()) {
            Ok(text) => decrypt(key, &text),
            Err(_) => decrypt(key, content.get()),
        };
        results.push('[');
        match outcome {
            Ok(content) => results.push_str(&content),
            Err(error) => {
                let code = error.code().as_str();
                results.push_str(&format!(
                    "\"{code}\",{}",
                    Value::String(error.to_string()).to_text()
                ));
            }
        }
        results.push(']');
    }
    results.push(']');
    Ok(results)
}
