//! `identity` of the core.

use rocketchat_e2ee::identity::{
    self, Identity as Core, IdentityError, KeyDerivation as CoreDerivation, Locking as CoreLocking,
    Unlocking as CoreUnlocking,
};
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

use crate::bytes::Bytes;
use crate::error::Failure;
use crate::random::HostRandom;
use crate::room_key::RoomKey;

/// An RSA key pair.
#[wasm_bindgen]
pub struct Identity {
    pub(crate) core: Core,
}

impl From<Core> for Identity {
    fn from(core: Core) -> Self {
        Self { core }
    }
}

#[wasm_bindgen]
impl Identity {
    /// Makes a key pair, where the host does not.
    #[wasm_bindgen(js_name = generateHere)]
    pub fn generate_here() -> Result<Self, Failure> {
        Ok(Core::generate(&mut HostRandom)?.into())
    }

    /// Reads a key pair that the host made.
    #[wasm_bindgen(js_name = fromPkcs8)]
    pub fn from_pkcs8(der: Vec<u8>) -> Result<Self, Failure> {
        Ok(Core::from_pkcs8(&Zeroizing::new(der))?.into())
    }

    /// The key pair for the host.
    #[wasm_bindgen(js_name = toPkcs8)]
    pub fn to_pkcs8(&self) -> Result<Bytes, Failure> {
        Ok(Bytes::new(&self.core.to_pkcs8()?))
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

    /// Opens a wrapped room key, where the host does not.
    #[wasm_bindgen(js_name = unwrapHere)]
    pub fn unwrap_here(&self, wrapped: &str) -> Result<RoomKey, Failure> {
        Ok(self.core.unwrap_room_key(&mut HostRandom, wrapped)?.into())
    }
}

/// What PBKDF2 makes a key from.
#[wasm_bindgen]
pub struct KeyDerivation {
    core: CoreDerivation,
}

#[wasm_bindgen]
impl KeyDerivation {
    /// The passphrase, in bytes.
    #[wasm_bindgen(getter)]
    pub fn passphrase(&self) -> Bytes {
        Bytes::new(self.core.passphrase())
    }

    /// The salt, in bytes.
    #[wasm_bindgen(getter)]
    pub fn salt(&self) -> Bytes {
        Bytes::new(self.core.salt())
    }

    /// How often.
    #[wasm_bindgen(getter)]
    pub fn iterations(&self) -> u32 {
        self.core.iterations()
    }

    /// Makes the key, where the host does not.
    #[wasm_bindgen(js_name = runHere)]
    pub fn run_here(&self) -> Bytes {
        Bytes::new(self.core.run().as_ref())
    }
}

/// An identity that is being unlocked.
#[wasm_bindgen]
pub struct Unlocking {
    core: CoreUnlocking,
}

#[wasm_bindgen]
impl Unlocking {
    /// Reads a stored private key.
    #[wasm_bindgen(constructor)]
    pub fn new(stored: &str, passphrase: String, user_id: &str) -> Result<Self, Failure> {
        let passphrase = Zeroizing::new(passphrase);
        Ok(Self { core: CoreUnlocking::new(stored, &passphrase, user_id)? })
    }

    /// What to make the next key from.
    pub fn derivation(&self) -> KeyDerivation {
        KeyDerivation { core: self.core.derivation().clone() }
    }

    /// Opens the envelope; nothing where another derivation is to be tried.
    pub fn open(&mut self, key: Vec<u8>) -> Result<Option<Identity>, Failure> {
        Ok(self.core.open(&*key_of(key)?)?.map(Into::into))
    }
}

/// An identity that is being locked.
#[wasm_bindgen]
pub struct Locking {
    core: CoreLocking,
}

#[wasm_bindgen]
impl Locking {
    /// Draws a salt.
    #[wasm_bindgen(constructor)]
    pub fn new(passphrase: String, user_id: &str) -> Result<Self, Failure> {
        let passphrase = Zeroizing::new(passphrase);
        Ok(Self { core: CoreLocking::new(&mut HostRandom, &passphrase, user_id)? })
    }

    /// What to make the key from.
    pub fn derivation(&self) -> KeyDerivation {
        KeyDerivation { core: self.core.derivation().clone() }
    }

    /// Seals the private key as a v2 envelope.
    pub fn seal(self, identity: &Identity, key: Vec<u8>) -> Result<String, Failure> {
        Ok(self.core.seal(&mut HostRandom, &identity.core, &*key_of(key)?)?)
    }
}

/// A key that PBKDF2 made.
fn key_of(bytes: Vec<u8>) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let bytes = Zeroizing::new(bytes);
    // One of another length opens nothing.
    let key = bytes.as_slice().try_into().map_err(|_| IdentityError::WrongPassphrase)?;
    Ok(Zeroizing::new(key))
}

/// Makes a passphrase of 12 words.
#[wasm_bindgen(js_name = generatePassphrase)]
pub fn generate_passphrase() -> String {
    identity::generate_passphrase(&mut HostRandom).to_string()
}
