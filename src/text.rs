//! Text across the boundary, by the cheapest way that changes nothing of it.

use napi::bindgen_prelude::Env;
use napi::sys::napi_value;
use napi::{JsString, JsValue, Result};

/// Reads text; lone surrogates become U+FFFD. UTF-16 is what V8 writes out at memory speed whatever
/// the text is. Its UTF-8, or only the length of that, takes longer than decrypting does.
pub(crate) fn read(text: JsString<'_>) -> Result<String> {
    let text = text.into_utf16()?;
    // Node-API ends it with a zero.
    let units = text.as_slice().split_last().map_or(&[][..], |(_, units)| units);
    Ok(read_ascii(units).unwrap_or_else(|| String::from_utf16_lossy(units)))
}

/// With SIMD, as the compiler makes it of this.
fn read_ascii(units: &[u16]) -> Option<String> {
    let mut bits = 0;
    let narrow = |unit: &u16| {
        bits |= unit;
        *unit as u8
    };
    let bytes = units.iter().map(narrow).collect();
    if bits < 0x80 { String::from_utf8(bytes).ok() } else { None }
}

/// Makes a JavaScript string.
pub(crate) fn write(env: &Env, text: &str) -> Result<napi_value> {
    let text =
        if text.is_ascii() { env.create_string_latin1(text)? } else { env.create_string(text)? };
    Ok(text.raw())
}
