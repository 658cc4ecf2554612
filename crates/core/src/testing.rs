//! What the tests of several modules share.

use std::path::{Path, PathBuf};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::Value;

/// The operating system's randomness.
pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A file that `__test__/webcrypto-client/record.js` recorded with a browser's WebCrypto.
pub(crate) fn recorded(name: &str) -> Value {
    read(&root().join("__test__/fixtures/recorded").join(name)).expect("a recorded fixture")
}

/// Examples of our own formats, in `__test__/fixtures/vectors`.
pub(crate) fn vectors(name: &str) -> Value {
    read(&root().join("__test__/fixtures/vectors").join(name)).expect("test vectors")
}

/// A capture from a real Rocket.Chat client; `None` in a checkout that has none beside it.
pub(crate) fn captured(name: &str) -> Option<Value> {
    read(&root().join("../shared/captured").join(name))
}

/// The members of a JSON object that are texts, by name.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text {pointer}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Option<Value> {
    let json = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&json).expect("valid JSON"))
}
