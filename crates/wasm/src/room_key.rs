//! `room_key` of the core.

use rocketchat_e2ee::room_key::WrappedRoomKey as CoreWrapped;
use rocketchat_e2ee::{PublicKey, RoomKey as Core};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use crate::bytes::Bytes;
use crate::error::Failure;
use crate::random::HostRandom;

/// The key of one room.
#[wasm_bindgen]
pub struct RoomKey {
    pub(crate) core: Core,
}

impl From<Core> for RoomKey {
    fn from(core: Core) -> Self {
        Self { core }
    }
}

#[wasm_bindgen]
impl RoomKey {
    /// Makes an AES-256-GCM key with a UUID.
    pub fn generate() -> Result<Self, Failure> {
        Ok(Core::generate(&mut HostRandom)?.into())
    }

    /// Reads a JWK.
    #[wasm_bindgen(js_name = fromJwk)]
    pub fn from_jwk(jwk: String, key_id: &str) -> Result<Self, Failure> {
        let jwk = Zeroizing::new(jwk);
        Ok(Core::from_jwk(&jwk, key_id.parse()?)?.into())
    }

    /// The key's id.
    #[wasm_bindgen(getter, js_name = keyId)]
    pub fn key_id(&self) -> String {
        self.core.id().to_string()
    }

    /// The `alg` of the key's JWK.
    #[wasm_bindgen(getter)]
    pub fn algorithm(&self) -> String {
        self.core.algorithm().as_str().to_owned()
    }

    /// Wraps the key for the owner of a public JWK.
    #[wasm_bindgen(js_name = wrapFor)]
    pub fn wrap_for(&self, public_key: &str) -> Result<String, Failure> {
        Ok(self.core.wrap_for(&mut HostRandom, &PublicKey::from_jwk(public_key)?)?)
    }
}

/// A wrapped room key that was taken apart.
#[wasm_bindgen]
pub struct WrappedRoomKey {
    core: CoreWrapped,
}

#[wasm_bindgen]
impl WrappedRoomKey {
    /// Takes one apart.
    #[wasm_bindgen(constructor)]
    pub fn new(wrapped: &str) -> Result<Self, Failure> {
        Ok(Self { core: wrapped.parse::<CoreWrapped>()? })
    }

    /// What RSA-OAEP is to decrypt.
    #[wasm_bindgen(getter)]
    pub fn ciphertext(&self) -> Bytes {
        Bytes::new(self.core.ciphertext())
    }

    /// Reads what was decrypted; nothing where that failed.
    pub fn open(self, decrypted: Option<Vec<u8>>) -> Result<RoomKey, Failure> {
        let decrypted = decrypted.map(Zeroizing::new);
        Ok(self.core.open(decrypted.as_ref().map(|bytes| bytes.as_slice()))?.into())
    }
}
