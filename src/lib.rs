//! The Node-API binding of `rocketchat-e2ee`.
//!
//! One file per module of the core, and nothing of the protocol: text and bytes in, text and
//! bytes out. `lib/` makes the public TypeScript surface of it. Work of more than about 50 µs
//! goes to libuv's threads, and work that waits for disks and other processes to tokio's; a panic becomes an error with code `ERR_E2EE_INTERNAL`.

// What `#[napi]` marks is reached from JavaScript, and printed there, not by other crates.
#![allow(unreachable_pub, missing_debug_implementations)]

mod archive;
mod error;
mod file;
mod identity;
mod job;
mod message;
mod participant;
mod random;
mod room_key;
mod store;
mod text;
mod vault;
