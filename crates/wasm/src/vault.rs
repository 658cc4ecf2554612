//! `vault` of the core.

use std::sync::Arc;

use rocketchat_e2ee::vault::{Secret, Vault as Core};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::random::HostRandom;

/// What wraps a data key, without a key management service.
#[wasm_bindgen]
pub struct StoreSecret {
    core: Secret,
}

#[wasm_bindgen]
impl StoreSecret {
    /// A secret string.
    pub fn text(secret: String) -> Result<Self, Failure> {
        Ok(Self { core: Secret::text(Zeroizing::new(secret))? })
    }

    /// 32 bytes.
    pub fn key(secret: Vec<u8>) -> Result<Self, Failure> {
        Ok(Self { core: Secret::key(&Zeroizing::new(secret))? })
    }
}

/// The data key of a store.
#[wasm_bindgen]
pub struct Vault {
    pub(crate) core: Arc<Core>,
}

impl From<Core> for Vault {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

#[wasm_bindgen]
impl Vault {
    /// Draws a data key.
    pub fn generate() -> Self {
        Core::generate(&mut HostRandom).into()
    }

    /// Opens a key record.
    pub fn unwrap(record: &[u8], secret: &StoreSecret) -> Result<Self, Failure> {
        Ok(Core::unwrap(record, &secret.core)?.into())
    }

    /// Makes the key record.
    pub fn wrap(&self, secret: &StoreSecret) -> Result<Vec<u8>, Failure> {
        Ok(self.core.wrap(&mut HostRandom, &secret.core)?)
    }

    /// The data key, for a key management service to wrap.
    #[wasm_bindgen(js_name = revealDataKey)]
    pub fn reveal_data_key(&self) -> Vec<u8> {
        self.core.reveal_data_key().to_vec()
    }

    /// Makes the key record of what a key management service wrapped.
    #[wasm_bindgen(js_name = recordKmsWrapped)]
    pub fn record_kms_wrapped(&self, wrapped: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.core.record_kms_wrapped(&mut HostRandom, wrapped)?)
    }

    /// What a key management service has to unwrap.
    #[wasm_bindgen(js_name = kmsWrapped)]
    pub fn kms_wrapped(record: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(Core::kms_wrapped(record)?.to_vec())
    }

    /// Opens a key record with what a key management service unwrapped.
    #[wasm_bindgen(js_name = fromKms)]
    pub fn from_kms(record: &[u8], data_key: Vec<u8>) -> Result<Self, Failure> {
        Ok(Core::from_kms(record, &Zeroizing::new(data_key))?.into())
    }

    /// Seals a record under its name and version.
    pub fn seal(&self, name: &str, version: f64, plaintext: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let plaintext = Zeroizing::new(plaintext);
        Ok(self.core.seal(&mut HostRandom, name, version as u64, &plaintext)?)
    }

    /// Opens a sealed record.
    pub fn open(&self, name: &str, version: f64, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.core.open(name, version as u64, sealed)?.to_vec())
    }

    /// Fails unless the sealed record opens.
    pub fn check(&self, name: &str, version: f64, sealed: &[u8]) -> Result<(), Failure> {
        self.core.open(name, version as u64, sealed)?;
        Ok(())
    }
}
