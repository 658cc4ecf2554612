//! `identity` of the core.

use rocketchat_e2ee::identity::{self, Identity as Core};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::random::HostRandom;
use crate::room_key::RoomKey;

/// An RSA key pair.
#[wasm_bindgen]
pub struct Identity {
    core: Core,
}

impl From<Core> for Identity {
    fn from(core: Core) -> Self {
        Self { core }
    }
}

#[wasm_bindgen]
impl Identity {
    /// Makes a key pair.
    pub fn generate() -> Result<Self, Failure> {
        Ok(Core::generate(&mut HostRandom)?.into())
    }

    /// Opens a stored private key.
    pub fn unlock(stored: &str, passphrase: String, user_id: &str) -> Result<Self, Failure> {
        let passphrase = Zeroizing::new(passphrase);
        Ok(Core::unlock(stored, &passphrase, user_id)?.into())
    }

    /// Reads a private JWK.
    #[wasm_bindgen(js_name = fromPrivateJwk)]
    pub fn from_private_jwk(jwk: String) -> Result<Self, Failure> {
        let jwk = Zeroizing::new(jwk);
        Ok(Core::from_private_jwk(&jwk)?.into())
    }

    /// The public JWK.
    #[wasm_bindgen(getter, js_name = publicKey)]
    pub fn public_key(&self) -> String {
        self.core.public_key().to_jwk()
    }

    /// The fingerprint, in groups.
    #[wasm_bindgen(getter)]
    pub fn fingerprint(&self) -> Result<String, Failure> {
        Ok(self.core.public_key().fingerprint()?.to_string())
    }

    /// Seals the private key as a v2 envelope.
    pub fn lock(&self, passphrase: String, user_id: &str) -> Result<String, Failure> {
        let passphrase = Zeroizing::new(passphrase);
        Ok(self.core.lock(&mut HostRandom, &passphrase, user_id)?)
    }

    /// Opens a wrapped room key.
    #[wasm_bindgen(js_name = unwrapRoomKey)]
    pub fn unwrap_room_key(&self, wrapped: &str) -> Result<RoomKey, Failure> {
        Ok(self.core.unwrap_room_key(&mut HostRandom, wrapped)?.into())
    }
}

/// Makes a passphrase of 12 words.
#[wasm_bindgen(js_name = generatePassphrase)]
pub fn generate_passphrase() -> String {
    identity::generate_passphrase(&mut HostRandom).to_string()
}
