//! The WebAssembly binding of `rocketchat-e2ee`.
//!
//! Classes and methods are those of the Node binding, so that one `lib/` runs over either, but
//! where the host's WebCrypto does the slow part of the work: there are steps, which
//! `lib/wasm-identity.ts` puts together. There is one thread, so everything here is synchronous. A
//! panic traps: `lib/wasm.ts` makes an error of the trap, and a new instance for the next call.

// What `#[wasm_bindgen]` marks is reached from JavaScript, and printed there, not by other crates.
#![allow(unreachable_pub, missing_debug_implementations)]

mod bytes;
mod error;
mod file;
mod identity;
mod message;
mod participant;
mod random;
mod room_key;
mod vault;
