//! Errors on their way to JavaScript, where `code` carries the core's stable code.

use rocketchat_e2ee::Error;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = Error)]
    type JsError;
    #[wasm_bindgen(constructor, js_class = "Error")]
    fn new(message: &str) -> JsError;
    #[wasm_bindgen(method, setter)]
    fn set_code(this: &JsError, code: &str);
}

/// What a function throws.
pub struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for JsValue {
    fn from(Failure(error): Failure) -> Self {
        let thrown = JsError::new(&error.to_string());
        thrown.set_code(error.code().as_str());
        thrown.into()
    }
}
