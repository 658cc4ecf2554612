//! Text across the boundary, by the cheapest way that changes nothing of it.

use std::cell::RefCell;

use napi::bindgen_prelude::Env;
use napi::sys;
use napi::{JsString, JsValue, Result, check_status};

/// Most UTF-16 units of a text that [`read_public`] puts into memory of its own.
const SHORT: usize = 16 * 1024;

thread_local! {
    static UNITS: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Reads text; lone surrogates become U+FFFD. UTF-16 is what V8 writes out at memory speed whatever
/// the text is. Its UTF-8, or only the length of that, takes longer than decrypting does.
pub(crate) fn read(text: JsString<'_>) -> Result<String> {
    let text = text.into_utf16()?;
    // Node-API ends it with a zero.
    Ok(from_units(text.as_slice().split_last().map_or(&[][..], |(_, units)| units)))
}

/// As [`read`], for what is no secret: the units of short ones stay in memory until the next. Memory
/// for each, filled with zeros, takes a tenth of the time of decrypting 4 KB.
pub(crate) fn read_public(text: JsString<'_>) -> Result<String> {
    let length = text.utf16_len()?;
    if length > SHORT {
        return read(text);
    }
    UNITS.with_borrow_mut(|units| {
        units.resize(SHORT + 1, 0);
        write_units(&text, units)?;
        Ok(from_units(units.get(..length).unwrap_or_default()))
    })
}

/// Has V8 write the text, or what fits of it, and a zero.
#[allow(unsafe_code, reason = "napi reads into memory that it asks the system for each time")]
fn write_units(text: &JsString<'_>, units: &mut [u16]) -> Result<()> {
    let text = text.value();
    let mut written = 0;
    // SAFETY: the handle is alive while `text` is borrowed, and Node-API writes at most `units.len()`
    // units to where that many are.
    check_status!(unsafe {
        sys::napi_get_value_string_utf16(
            text.env,
            text.value,
            units.as_mut_ptr(),
            units.len(),
            &mut written,
        )
    })
}

fn from_units(units: &[u16]) -> String {
    read_ascii(units).unwrap_or_else(|| String::from_utf16_lossy(units))
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
pub(crate) fn write<'env>(env: &'env Env, text: &str) -> Result<JsString<'env>> {
    if text.is_ascii() { env.create_string_latin1(text) } else { env.create_string(text) }
}
