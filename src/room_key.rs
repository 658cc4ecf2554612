//! `room_key` of the core.

use std::sync::Arc;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::{PublicKey, RoomKey as Core};
use zeroize::Zeroizing;

use crate::error::{Failure, guard};
use crate::job::{Job, Outcomes, spawn_each};
use crate::random::OsRandom;

/// The key of one room.
#[napi]
pub struct RoomKey {
    pub(crate) core: Arc<Core>,
}

impl From<Core> for RoomKey {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

#[napi]
impl RoomKey {
    /// Makes an AES-256-GCM key with a UUID.
    #[napi(factory)]
    pub fn generate() -> Result<Self, Failure> {
        guard(|| Ok(Core::generate(&mut OsRandom)?.into()))
    }

    /// Reads a JWK.
    #[napi(factory)]
    pub fn from_jwk(jwk: String, key_id: String) -> Result<Self, Failure> {
        let jwk = Zeroizing::new(jwk);
        guard(|| Ok(Core::from_jwk(&jwk, key_id.parse()?)?.into()))
    }

    /// The key's id.
    #[napi(getter)]
    pub fn key_id(&self) -> String {
        self.core.id().to_string()
    }

    /// The `alg` of the key's JWK.
    #[napi(getter)]
    pub fn algorithm(&self) -> &'static str {
        self.core.algorithm().as_str()
    }

    /// Wraps the key for the owners of public JWKs; for each comes the wrapped key, or code and
    /// message.
    #[napi(ts_return_type = "Promise<(string | string[])[]>")]
    pub fn wrap_for_many(&self, public_keys: Vec<String>) -> AsyncTask<Job<Outcomes<String>>> {
        let core = Arc::clone(&self.core);
        spawn_each(public_keys, move |public_key| {
            let member = PublicKey::from_jwk(public_key)?;
            Ok(core.wrap_for(&mut OsRandom, &member)?)
        })
    }
}
