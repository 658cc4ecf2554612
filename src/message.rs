//! `message` of the core. Content and envelopes cross as text, which costs less than objects of
//! Node-API. What is called for each message is a function and not a method, whose receiver would
//! have to be checked: that takes longer than decrypting a short message.

use std::borrow::Cow;
use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, Env, Function, FunctionCallContext};
use napi::sys::napi_value;
use napi::{JsString, JsValue as _};
use napi_derive::napi;
use rocketchat_e2ee::ejson::Value;
use rocketchat_e2ee::message::{self, EncryptedContent, MessageContent, MessageError};
use rocketchat_e2ee::{Error, RoomKey as Core};

use crate::error::{Failure, guard, rejection};
use crate::job::{Job, spawn};
use crate::random::OsRandom;
use crate::room_key::RoomKey;
use crate::text;

/// In place of a second length: the part is not iv and ciphertext, but all there is.
const WHOLE: u32 = u32::MAX;

#[napi]
impl RoomKey {
    /// A function that encrypts a message that is only text. What it returns is base64 of the iv,
    /// a space and base64 of the ciphertext for a v2 envelope, and the `ciphertext` of a v1 one.
    #[napi(ts_return_type = "(msg: string) => string")]
    pub fn text_encryptor<'env>(
        &self,
        env: &'env Env,
    ) -> napi::Result<Function<'env, (), napi_value>> {
        let key = Arc::clone(&self.core);
        env.create_function_from_closure("encrypt", move |call| {
            let content = MessageContent::text(text::read(call.get(0)?)?);
            let sealed = checked(&call, || encrypt(&key, &content))?;
            text::write(call.env, &sealed)
        })
    }

    /// As [`RoomKey::text_encryptor`], for EJSON text of any content.
    #[napi]
    pub fn encrypt(&self, content: String) -> Result<String, Failure> {
        guard(|| encrypt(&self.core, &MessageContent::parse(&content)?))
    }

    /// A function that decrypts a v2 envelope, from base64 of iv and of ciphertext. What it
    /// returns is the text of a message that is only text, and a list of EJSON text for any other.
    #[napi(ts_return_type = "(iv: string, ciphertext: string) => string | [string]")]
    pub fn v2_decryptor<'env>(
        &self,
        env: &'env Env,
    ) -> napi::Result<Function<'env, (), napi_value>> {
        let key = Arc::clone(&self.core);
        env.create_function_from_closure("decrypt", move |call| {
            let (iv, ciphertext) = (text::read(call.get(0)?)?, text::read(call.get(1)?)?);
            let content = checked(&call, || Ok(key.decrypt(&v2(&iv, &ciphertext))?))?;
            if content.is_text() {
                return text::write(call.env, &content.msg);
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

    /// Decrypts many. `parts` is everything in one text; `lengths` has two numbers for each
    /// message, which count UTF-16 units: those of base64 of iv and of ciphertext of a v2 envelope,
    /// or those of what [`RoomKey::decrypt`] takes and 2³² − 1.
    ///
    /// Out comes EJSON text of a list that has for each message its text, where it is only text,
    /// its content, or `[code, message]`.
    #[napi(
        ts_args_type = "parts: string, lengths: Uint32Array",
        ts_return_type = "Promise<string>"
    )]
    pub fn decrypt_many(
        &self,
        parts: JsString<'_>,
        lengths: &[u32],
    ) -> napi::Result<AsyncTask<Job<String>>> {
        let core = Arc::clone(&self.core);
        let parts = text::read(parts)?;
        let lengths = lengths.to_vec();
        Ok(spawn(move || Ok(decrypt_many(&core, &parts, &lengths))))
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

fn encrypt(key: &Core, content: &MessageContent) -> Result<String, Error> {
    Ok(match key.encrypt(&mut OsRandom, content)? {
        EncryptedContent::V2 { iv, ciphertext, .. } => [&iv, " ", &ciphertext].concat(),
        EncryptedContent::V1 { ciphertext } => ciphertext.into_owned(),
        _ => return Err(MessageError::Encryption.into()),
    })
}

/// The key's own id does not matter.
fn v2<'a>(iv: &'a str, ciphertext: &'a str) -> EncryptedContent<'a> {
    EncryptedContent::V2 { kid: "".into(), iv: iv.into(), ciphertext: ciphertext.into() }
}

fn decrypt_many(key: &Core, parts: &str, lengths: &[u32]) -> String {
    let mut parts = Parts::new(parts);
    let mut results = String::from("[");
    for [first, second] in lengths.as_chunks().0 {
        if results.len() > 1 {
            results.push(',');
        }
        let first = parts.next(*first);
        let outcome = match *second {
            WHOLE => EncryptedContent::parse(&first).and_then(|content| key.decrypt(&content)),
            second => key.decrypt(&v2(&first, &parts.next(second))),
        };
        let value = match outcome {
            Ok(content) if content.is_text() => Value::String(content.msg).to_text(),
            Ok(content) => content.to_text(),
            Err(error) => {
                let error = Error::from(error);
                let code = Value::String(error.code().as_str().to_owned());
                Value::Array(vec![code, Value::String(error.to_string())]).to_text()
            }
        };
        results.push_str(&value);
    }
    results.push(']');
    results
}

/// A text that is cut by numbers of UTF-16 units.
enum Parts<'a> {
    Ascii(&'a str),
    Other(Vec<u16>),
}

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        if text.is_ascii() { Self::Ascii(text) } else { Self::Other(text.encode_utf16().collect()) }
    }

    /// Cuts the next part off; what a surrogate pair lost by that becomes U+FFFD.
    fn next(&mut self, length: u32) -> Cow<'a, str> {
        let length = length as usize;
        match self {
            Self::Ascii(text) => {
                let (part, rest) = text.split_at_checked(length).unwrap_or((text, ""));
                *text = rest;
                part.into()
            }
            Self::Other(units) => {
                let rest = units.split_off(length.min(units.len()));
                String::from_utf16_lossy(&std::mem::replace(units, rest)).into()
            }
        }
    }
}

/// As [`guard`], for functions made of closures.
fn checked<T>(
    call: &FunctionCallContext<'_>,
    work: impl FnOnce() -> Result<T, Error>,
) -> napi::Result<T> {
    guard(work).map_err(|failure| rejection(*call.env, failure))
}
