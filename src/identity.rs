//! `identity` of the core.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::identity::{self, Identity as Core};
use zeroize::Zeroizing;

use crate::error::{Failure, guard};
use crate::job::{Job, Outcomes, spawn, spawn_each};
use crate::random::OsRandom;
use crate::room_key::RoomKey;

/// An RSA key pair.
#[napi]
pub struct Identity {
    core: Arc<Core>,
}

impl From<Core> for Identity {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

#[napi]
impl Identity {
    /// Makes a key pair.
    #[napi(ts_return_type = "Promise<Identity>")]
    pub fn generate() -> AsyncTask<Job<Identity>> {
        spawn(|| Ok(Core::generate(&mut OsRandom)?.into()))
    }

    /// Opens a stored private key.
    #[napi(ts_return_type = "Promise<Identity>")]
    pub fn unlock(stored: String, passphrase: String, user_id: String) -> AsyncTask<Job<Identity>> {
        let passphrase = Zeroizing::new(passphrase);
        spawn(move || Ok(Core::unlock(&stored, &passphrase, &user_id)?.into()))
    }

    /// Reads a private JWK.
    #[napi(factory)]
    pub fn from_private_jwk(jwk: String) -> Result<Self, Failure> {
        let jwk = Zeroizing::new(jwk);
        guard(|| Ok(Core::from_private_jwk(&jwk)?.into()))
    }

    /// The public JWK.
    #[napi(getter)]
    pub fn public_key(&self) -> Result<String, Failure> {
        guard(|| Ok(self.core.public_key().to_jwk()))
    }

    /// The fingerprint, in groups.
    #[napi(getter)]
    pub fn fingerprint(&self) -> Result<String, Failure> {
        guard(|| Ok(self.core.public_key().fingerprint()?.to_string()))
    }

    /// Seals the private key as a v2 envelope.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn lock(&self, passphrase: String, user_id: String) -> AsyncTask<Job<String>> {
        let core = Arc::clone(&self.core);
        let passphrase = Zeroizing::new(passphrase);
        spawn(move || Ok(core.lock(&mut OsRandom, &passphrase, &user_id)?))
    }

    /// Opens wrapped room keys; for each comes the key, or code and message.
    #[napi(ts_return_type = "Promise<(RoomKey | string[])[]>")]
    pub fn unwrap_room_keys(&self, wrapped: Vec<String>) -> AsyncTask<Job<Outcomes<RoomKey>>> {
        let core = Arc::clone(&self.core);
        spawn_each(wrapped, move |wrapped| Ok(core.unwrap_room_key(&mut OsRandom, wrapped)?.into()))
    }
}

/// Makes a passphrase of 12 words.
#[napi]
pub fn generate_passphrase() -> Result<String, Failure> {
    guard(|| Ok(identity::generate_passphrase(&mut OsRandom).to_string()))
}
