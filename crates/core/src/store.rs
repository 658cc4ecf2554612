//! What record stores have in common: the shape of records and changes, and how a store fails.
//!
//! A store keeps sealed records (see [`crate::vault`]) by name, each with a version that counts
//! its writes from 1. `docs/store-format.md` writes down what is stored.

use crate::vault::VaultError;

/// Name of the record that holds the wrapped data key. Its version counts data keys: it stays
/// when the secret changes, and rises when the store is rekeyed.
pub const KEY_RECORD: &str = "vault";

/// A record as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// The record's name, which is not secret.
    pub name: String,
    /// How often it was written; 1 for a new one.
    pub version: u64,
    /// What [`crate::Vault::seal`] made under this name and version.
    pub data: Vec<u8>,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The record's name.
    pub name: String,
    /// The version that the record must have, 0 where it must not exist. The change gives it the
    /// next one.
    pub expected: u64,
    /// The sealed record; `None` removes it.
    pub data: Option<Vec<u8>>,
}

/// The right to do something once among all that share a store, for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is claimed; not secret.
    pub id: String,
    /// For how long, in milliseconds.
    pub ttl: u64,
}

/// How a store fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(&'static str),
    /// There is something else where the store should be.
    #[error("this is not a key store of rocketchat-e2ee: {0}")]
    Foreign(&'static str),
    /// A newer version of this library wrote the store.
    #[error("a newer version of rocketchat-e2ee wrote this store; this one cannot read it")]
    TooNew,
    /// A record has another version than expected. Nothing of the batch was written.
    #[error("a record has another version than expected; nothing was written")]
    Conflict,
    /// Another process kept the store locked for too long.
    #[error("another process keeps the store locked")]
    Locked,
    /// The store got a new data key since it was opened.
    #[error("the store got a new data key from elsewhere; open it again")]
    Rekeyed,
    /// The store was closed before.
    #[error("the store is closed")]
    Closed,
    /// The operating system or the database refused to work.
    #[error("the store cannot be read or written: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
