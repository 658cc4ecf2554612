//! `crates/sqlite`: the embedded record store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use napi::Result;
use napi::bindgen_prelude::{Buffer, Env, PromiseRaw};
use napi_derive::napi;
use rocketchat_e2ee::store;
use rocketchat_e2ee_sqlite::Store;

use crate::job::wait;
use crate::random::OsRandom;
use crate::vault::Vault;

/// A record as the store keeps it.
#[napi(object)]
pub struct SealedRecord {
    /// The record's name.
    pub name: String,
    /// How often it was written.
    pub version: i64,
    /// The sealed bytes.
    pub data: Buffer,
}

impl From<store::SealedRecord> for SealedRecord {
    fn from(store::SealedRecord { name, version, data }: store::SealedRecord) -> Self {
        Self { name, version: version.cast_signed(), data: data.into() }
    }
}

impl From<SealedRecord> for store::SealedRecord {
    fn from(SealedRecord { name, version, data }: SealedRecord) -> Self {
        Self { name, version: version.cast_unsigned(), data: data.to_vec() }
    }
}

/// One change of a batch.
#[napi(object, object_to_js = false)]
pub struct RecordChange {
    /// The record's name.
    pub name: String,
    /// The version that it must have; 0 where it must not exist.
    pub expected: i64,
    /// The sealed bytes; nothing removes the record.
    pub data: Option<Buffer>,
}

impl From<RecordChange> for store::RecordChange {
    fn from(RecordChange { name, expected, data }: RecordChange) -> Self {
        // The bytes are copied: JavaScript may change them while the work waits.
        Self { name, expected: expected.cast_unsigned(), data: data.map(|data| data.to_vec()) }
    }
}

/// A claim to make or to lengthen.
#[napi(object, object_to_js = false)]
pub struct Claim {
    /// What is claimed.
    pub id: String,
    /// For how many milliseconds.
    pub ttl: i64,
}

impl From<Claim> for store::Claim {
    fn from(Claim { id, ttl }: Claim) -> Self {
        Self { id, ttl: ttl.cast_unsigned() }
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A store's file. Everything waits on other threads.
#[napi]
pub struct SqliteFile {
    store: Arc<Store>,
}

#[napi]
impl SqliteFile {
    /// Makes a store with this key record, unless something is there.
    #[napi]
    pub fn create<'env>(
        env: &'env Env,
        path: String,
        key_record: &[u8],
    ) -> Result<PromiseRaw<'env, bool>> {
        let key_record = key_record.to_vec();
        wait(env, move || Ok(Store::create(&PathBuf::from(path), &key_record)?))
    }

    /// Opens a store, if there is one; `timeout` in milliseconds.
    #[napi]
    pub fn open(
        env: &Env,
        path: String,
        timeout: u32,
    ) -> Result<PromiseRaw<'_, Option<SqliteFile>>> {
        let timeout = Duration::from_millis(timeout.into());
        wait(env, move || {
            let store = Store::open(&PathBuf::from(path), timeout)?;
            Ok(store.map(|store| Self { store: Arc::new(store) }))
        })
    }

    /// The record that holds the wrapped data key.
    #[napi]
    pub fn key_record<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, SealedRecord>> {
        let store = Arc::clone(&self.store);
        wait(env, move || Ok(store.key_record()?.into()))
    }

    /// The records whose names begin with `prefix`; `key` is the version of the key record.
    #[napi]
    pub fn load<'env>(
        &self,
        env: &'env Env,
        key: i64,
        prefix: String,
    ) -> Result<PromiseRaw<'env, Vec<SealedRecord>>> {
        let store = Arc::clone(&self.store);
        wait(env, move || {
            let records = store.load(key.cast_unsigned(), &prefix)?;
            Ok(records.into_iter().map(SealedRecord::from).collect())
        })
    }

    /// Writes all changes and makes or lengthens all claims, or none; what this vault could not
    /// open is not written.
    #[napi]
    pub fn commit<'env>(
        &self,
        env: &'env Env,
        vault: &Vault,
        key: i64,
        batch: Vec<RecordChange>,
        claims: Vec<Claim>,
    ) -> Result<PromiseRaw<'env, ()>> {
        let store = Arc::clone(&self.store);
        let vault = Arc::clone(&vault.core);
        let batch: Vec<store::RecordChange> = batch.into_iter().map(Into::into).collect();
        let claims: Vec<store::Claim> = claims.into_iter().map(Into::into).collect();
        wait(env, move || {
            for store::RecordChange { name, expected, data } in &batch {
                if let Some(data) = data {
                    vault.open(name, expected.saturating_add(1), data)?;
                }
            }
            Ok(store.commit(key.cast_unsigned(), &batch, &claims, now())?)
        })
    }

    /// Makes claims; returns of each whether nobody held it.
    #[napi]
    pub fn claim<'env>(
        &self,
        env: &'env Env,
        claims: Vec<Claim>,
    ) -> Result<PromiseRaw<'env, Vec<bool>>> {
        let store = Arc::clone(&self.store);
        let claims: Vec<store::Claim> = claims.into_iter().map(Into::into).collect();
        wait(env, move || Ok(store.claim(&claims, now())?))
    }

    /// Puts another key record for the same data key in place of `current`.
    #[napi]
    pub fn replace_key_record<'env>(
        &self,
        env: &'env Env,
        current: SealedRecord,
        data: &[u8],
    ) -> Result<PromiseRaw<'env, ()>> {
        let store = Arc::clone(&self.store);
        let (current, data) = (current.into(), data.to_vec());
        wait(env, move || Ok(store.replace_key_record(&current, &data)?))
    }

    /// Reseals every record, and puts the other data key's record in place of `current`.
    #[napi]
    pub fn rekey<'env>(
        &self,
        env: &'env Env,
        current: SealedRecord,
        data: &[u8],
        from: &Vault,
        to: &Vault,
    ) -> Result<PromiseRaw<'env, ()>> {
        let store = Arc::clone(&self.store);
        let (current, data) = (current.into(), data.to_vec());
        let (from, to) = (Arc::clone(&from.core), Arc::clone(&to.core));
        wait(env, move || {
            Ok(store.rekey(&current, &data, |record| {
                let plaintext = from.open(&record.name, record.version, &record.data)?;
                to.seal(&mut OsRandom, &record.name, record.version, &plaintext)
            })?)
        })
    }

    /// Closes the file.
    #[napi]
    pub fn close<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, ()>> {
        let store = Arc::clone(&self.store);
        wait(env, move || Ok(store.close()?))
    }
}
