//! Rocket.Chat end-to-end encryption, without I/O.
//!
//! This crate holds the cryptography, the wire formats and the protocol decisions of
//! `rocketchat-e2ee`. It has no clock, no network, no files and no async runtime: callers hand
//! in what happened, and randomness as a [`rand_core::CryptoRng`], and get values back. The Node
//! addon and the WebAssembly build are thin shells around it.
//!
//! | module | holds |
//! | --- | --- |
//! | [`identity`] | RSA key pairs, private-key envelopes, passphrases, fingerprints |
//! | [`room_key`] | one room key, and how it travels wrapped to a member |
//! | [`key_ring`] | every key of one room, and which to try for a message |
//! | [`message`] | encrypted message content and what is inside |
//! | [`ejson`] | the JSON dialect inside an envelope |
//! | [`mod@file`] | encrypted files, in pieces |
//! | [`otr`] | off-the-record sessions of two: keys that live in memory alone |
//! | [`participant`] | the state machine: identity, room keys, serving, messages, outbox |
//! | [`vault`] | sealed records, and the data key that a secret opens |
//! | [`store`] | what record stores have in common |
//! | [`error`] | one error over all of them, with stable codes |
//!
//! Section numbers in the documentation refer to `docs/protocol.md`.

#![forbid(unsafe_code)]

mod crypto;
pub mod ejson;
pub mod error;
pub mod file;
pub mod identity;
mod jwk;
pub mod key_ring;
pub mod message;
pub mod otr;
pub mod participant;
pub mod room_key;
pub mod store;
#[cfg(test)]
mod testing;
pub mod vault;

pub use error::{Code, Error};
pub use file::{FileDecryptor, FileEncryption, FileEncryptor};
pub use identity::{Fingerprint, Identity, PublicKey};
pub use key_ring::KeyRing;
pub use message::{EncryptedContent, MessageContent};
pub use participant::Participant;
pub use room_key::{Algorithm, KeyId, RoomKey};
pub use vault::Vault;
