//! Bytes on their way to JavaScript, where they can be wiped.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// A `Uint8Array` of its own. A `Vec<u8>` would be copied as well, and freed without wiping.
    #[wasm_bindgen(js_name = Uint8Array)]
    pub type Bytes;
    #[wasm_bindgen(constructor, js_class = "Uint8Array")]
    pub(crate) fn new(bytes: &[u8]) -> Bytes;
}
