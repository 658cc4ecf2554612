//! Errors on their way to JavaScript, where `code` carries the core's stable code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::JsError;
use napi::bindgen_prelude::Env;
use rocketchat_e2ee::{Code, Error};

/// What a synchronous function throws: the status becomes the `code` of the JavaScript error.
pub(crate) type Failure = napi::Error<&'static str>;

/// Runs `work`; neither its errors nor its panics pass without a code.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(error.code().as_str(), error.to_string())),
        Err(_panic) => Err(Failure::new(
            Code::Internal.as_str(),
            "a bug in rocketchat-e2ee stopped this call; please report it",
        )),
    }
}

/// A failure as what a task rejects with: a JavaScript error made here, since a task's own error
/// type has no room for the code.
pub(crate) fn rejection(env: Env, failure: Failure) -> napi::Error {
    JsError::from(failure).into_unknown(env).into()
}
