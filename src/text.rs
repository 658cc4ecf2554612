//! Text across the boundary, by the cheapest way that changes nothing of it.

use napi::bindgen_prelude::Env;
use napi::sys::napi_value;
use napi::{JsString, JsValue, Result};

/// Reads text. V8 writes one-byte strings out at once, but UTF-8 byte by byte.
pub(crate) fn read(text: JsString<'_>) -> Result<String> {
    // As many bytes of UTF-8 as characters: it is ASCII.
    if text.utf8_len()? == text.latin1_len()? {
        return read_ascii(text);
    }
    text.into_utf8()?.into_owned()
}

/// Reads text that JavaScript has found to be ASCII: `Buffer.byteLength` tells it ten times as
/// fast as Node-API.
pub(crate) fn read_ascii(text: JsString<'_>) -> Result<String> {
    match String::from_utf8(text.into_latin1()?.take()) {
        Ok(text) => Ok(text),
        Err(_) => text.into_utf8()?.into_owned(),
    }
}

/// Makes a JavaScript string.
pub(crate) fn write(env: &Env, text: &str) -> Result<napi_value> {
    let text =
        if text.is_ascii() { env.create_string_latin1(text)? } else { env.create_string(text)? };
    Ok(text.raw())
}
