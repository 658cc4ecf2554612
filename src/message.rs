//! `message` of the core. Content and envelopes cross as text, which costs less than objects of
//! Node-API. What is called for each message is a function and not a method, whose receiver would
//! have to be checked: that takes longer than decrypting a short message.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, Env, Function, FunctionCallContext};
use napi::sys::napi_value;
use napi::{JsString, JsValue as _};
use napi_derive::napi;
use rocketchat_e2ee::Error;
use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent};

use crate::error::{Failure, guard, rejection};
use crate::job::{TextJob, spawn_text};
use crate::random::OsRandom;
use crate::room_key::RoomKey;
use crate::text;

#[napi]
impl RoomKey {
    /// A function that encrypts a message that is only text; it returns the envelope's
    /// [`EncryptedContent::to_compact_text`].
    #[napi(ts_return_type = "(msg: string) => string")]
    pub fn text_encryptor<'env>(
        &self,
        env: &'env Env,
    ) -> napi::Result<Function<'env, (), napi_value>> {
        let key = Arc::clone(&self.core);
        env.create_function_from_closure("encrypt", move |call| {
            let content = MessageContent::text(text::read(call.get(0)?)?);
            let sealed =
                checked(&call, || Ok(key.encrypt(&mut OsRandom, &content)?.to_compact_text()))?;
            Ok(text::write(call.env, &sealed)?.raw())
        })
    }

    /// As [`RoomKey::text_encryptor`], for EJSON text of any content.
    #[napi]
    pub fn encrypt(&self, content: String) -> Result<String, Failure> {
        guard(|| {
            let content = MessageContent::parse(&content)?;
            Ok(self.core.encrypt(&mut OsRandom, &content)?.to_compact_text())
        })
    }

    /// A function that decrypts a v2 envelope, from base64 of iv and of ciphertext. What it returns is
    /// the text of a message that is only text, and a list of EJSON text for any other.
    #[napi(ts_return_type = "(iv: string, ciphertext: string) => string | [string]")]
    pub fn v2_decryptor<'env>(
        &self,
        env: &'env Env,
    ) -> napi::Result<Function<'env, (), napi_value>> {
        let key = Arc::clone(&self.core);
        env.create_function_from_closure("decrypt", move |call| {
            let iv = text::read_public(call.get(0)?)?;
            let ciphertext = text::read_public(call.get(1)?)?;
            let content =
                checked(&call, || Ok(key.decrypt(&EncryptedContent::v2(&iv, &ciphertext))?))?;
            if content.is_text() {
                return Ok(text::write(call.env, &content.msg)?.raw());
            }
            let mut list = call.env.create_array(1)?;
            list.set(0, content.to_text())?;
            Ok(list.raw())
        })
    }

    /// JSON text of an envelope, or a v1 text, in; EJSON text of the content out.
    #[napi]
    pub fn decrypt(&self, content: String) -> Result<String, Failure> {
        guard(|| Ok(self.core.decrypt(&EncryptedContent::parse(&content)?)?.to_text()))
    }

    /// See `RoomKey::decrypt_many` of the core.
    #[napi(
        ts_args_type = "parts: string, lengths: Uint32Array",
        ts_return_type = "Promise<string>"
    )]
    pub fn decrypt_many(
        &self,
        parts: JsString<'_>,
        lengths: &[u32],
    ) -> napi::Result<AsyncTask<TextJob>> {
        let core = Arc::clone(&self.core);
        let parts = text::read(parts)?;
        let lengths = lengths.to_vec();
        Ok(spawn_text(move || Ok(core.decrypt_many(&parts, &lengths))))
    }
}

/// EJSON text of a message document in; JSON text of its envelope out, if it is encrypted.
#[napi]
pub fn encrypted_content_of(document: String) -> Result<Option<String>, Failure> {
    guard(|| Ok(message::encrypted_content_in(&document)?))
}

/// As [`guard`], for functions made of closures.
fn checked<T>(
    call: &FunctionCallContext<'_>,
    work: impl FnOnce() -> Result<T, Error>,
) -> napi::Result<T> {
    guard(work).map_err(|failure| rejection(*call.env, failure))
}
