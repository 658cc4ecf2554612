//! `vault` of the core.

use std::sync::Arc;

use napi::bindgen_prelude::{AsyncTask, Buffer};
use napi_derive::napi;
use rocketchat_e2ee::vault::{Secret, Vault as Core};
use zeroize::Zeroizing;

use crate::error::{Failure, guard};
use crate::job::{Job, spawn};
use crate::random::OsRandom;

/// What wraps a data key, without a key management service.
#[napi]
pub struct StoreSecret {
    core: Arc<Secret>,
}

#[napi]
impl StoreSecret {
    /// A secret string.
    #[napi(factory)]
    pub fn text(secret: String) -> Result<Self, Failure> {
        let secret = Zeroizing::new(secret);
        guard(|| Ok(Self { core: Arc::new(Secret::text(secret)?) }))
    }

    /// 32 bytes.
    #[napi(factory)]
    pub fn key(secret: &[u8]) -> Result<Self, Failure> {
        guard(|| Ok(Self { core: Arc::new(Secret::key(secret)?) }))
    }
}

/// The data key of a store.
#[napi]
pub struct Vault {
    pub(crate) core: Arc<Core>,
}

impl From<Core> for Vault {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

#[napi]
impl Vault {
    /// Draws a data key.
    #[napi(factory)]
    pub fn generate() -> Result<Self, Failure> {
        guard(|| Ok(Core::generate(&mut OsRandom).into()))
    }

    /// Opens a key record.
    #[napi(ts_return_type = "Promise<Vault>")]
    pub fn unwrap(record: &[u8], secret: &StoreSecret) -> AsyncTask<Job<Vault>> {
        let record = record.to_vec();
        let secret = Arc::clone(&secret.core);
        spawn(move || Ok(Core::unwrap(&record, &secret)?.into()))
    }

    /// Makes the key record.
    #[napi(ts_return_type = "Promise<Buffer>")]
    pub fn wrap(&self, secret: &StoreSecret) -> AsyncTask<Job<Buffer>> {
        let core = Arc::clone(&self.core);
        let secret = Arc::clone(&secret.core);
        spawn(move || Ok(core.wrap(&mut OsRandom, &secret)?.into()))
    }

    /// The data key, for a key management service to wrap.
    #[napi]
    pub fn reveal_data_key(&self) -> Result<Buffer, Failure> {
        guard(|| Ok(self.core.reveal_data_key().to_vec().into()))
    }

    /// Makes the key record of what a key management service wrapped.
    #[napi]
    pub fn record_kms_wrapped(&self, wrapped: &[u8]) -> Result<Buffer, Failure> {
        guard(|| Ok(self.core.record_kms_wrapped(&mut OsRandom, wrapped)?.into()))
    }

    /// What a key management service has to unwrap.
    #[napi]
    pub fn kms_wrapped(record: &[u8]) -> Result<Buffer, Failure> {
        guard(|| Ok(Core::kms_wrapped(record)?.into()))
    }

    /// Opens a key record with what a key management service unwrapped.
    #[napi(factory)]
    pub fn from_kms(record: &[u8], data_key: &[u8]) -> Result<Self, Failure> {
        guard(|| Ok(Core::from_kms(record, data_key)?.into()))
    }

    /// Seals a record under its name and version.
    #[napi]
    pub fn seal(&self, name: String, version: i64, plaintext: &[u8]) -> Result<Buffer, Failure> {
        guard(|| {
            Ok(self.core.seal(&mut OsRandom, &name, version.cast_unsigned(), plaintext)?.into())
        })
    }

    /// Opens a sealed record.
    #[napi]
    pub fn open(&self, name: String, version: i64, sealed: &[u8]) -> Result<Buffer, Failure> {
        guard(|| Ok(self.core.open(&name, version.cast_unsigned(), sealed)?.to_vec().into()))
    }

    /// Fails unless the sealed record opens.
    #[napi]
    pub fn check(&self, name: String, version: i64, sealed: &[u8]) -> Result<(), Failure> {
        guard(|| Ok(self.core.open(&name, version.cast_unsigned(), sealed).map(drop)?))
    }
}
