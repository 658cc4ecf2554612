//! One room key, and how it travels wrapped to a member (protocol §7.2, §7.5).

use std::fmt;
use std::str::FromStr;

use base64_simd::STANDARD;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{AesGcm as _, Cbc, Gcm, Plaintext, RSA_BYTES, Refused};
use crate::identity::PublicKey;
use crate::jwk::{JwkError, OctJwk};

/// Length of a wrapped key's base64: one RSA-2048 block.
const WRAPPED_CHARS: usize = RSA_BYTES.div_ceil(3) * 4;
/// Most bytes that fit one block of RSA-2048 with OAEP and SHA-256 (RFC 8017 §7.1.1).
const MAX_WRAPPED_BYTES: usize = RSA_BYTES - 2 * 32 - 2;
/// Length of a key id before server 7.13.
pub(crate) const SHORT_ID_CHARS: usize = 12;
/// Length of a UUID, the key id since server 7.13.
const UUID_CHARS: usize = 36;

/// What can go wrong with a room key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomKeyError {
    /// The JWK, the wrapped key or the key id has no known form.
    #[error("malformed room key: {0}")]
    MalformedKey(&'static str),
    /// The JWK's `alg` is neither `A256GCM` nor `A128CBC`.
    #[error("the room key is for an algorithm that Rocket.Chat does not use")]
    UnsupportedAlgorithm,
    /// The wrapped key does not open with this identity.
    #[error("the room key was wrapped for another identity, or changed")]
    DecryptionFailed,
    /// The library refused to encrypt.
    #[error("the room key could not be wrapped")]
    Encryption,
}

impl From<JwkError> for RoomKeyError {
    fn from(error: JwkError) -> Self {
        match error {
            JwkError::Malformed(reason) => Self::MalformedKey(reason),
            JwkError::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
        }
    }
}

/// Names a room key: 12 characters before server 7.13, a UUID of 36 since (protocol §7.5).
///
/// An id is a name, not a digest to be checked: before 7.0 it was the same for nearly every key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether ids of this form differ for different keys: UUIDs and hashes do; those from before
    /// 7.0, the start of the JWK in base64, do not.
    pub(crate) fn identifies(&self) -> bool {
        self.0.len() == UUID_CHARS || self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl FromStr for KeyId {
    type Err = RoomKeyError;

    fn from_str(id: &str) -> Result<Self, RoomKeyError> {
        if !matches!(id.len(), SHORT_ID_CHARS | UUID_CHARS)
            || !id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(RoomKeyError::MalformedKey("a key id has 12 or 36 printable characters"));
        }
        Ok(Self(id.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cipher of a room key, by the `alg` member of its JWK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// AES-256-GCM with a 12-byte iv and a 16-byte tag: keys since server 7.13.
    A256Gcm,
    /// AES-128-CBC with a 16-byte iv and PKCS#7 padding, without authentication: older keys.
    A128Cbc,
}

impl Algorithm {
    /// The `alg` member of the JWK (RFC 7518 §7.1 and WebCrypto).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A256Gcm => "A256GCM",
            Self::A128Cbc => "A128CBC",
        }
    }
}

enum Cipher {
    Gcm(Gcm),
    Cbc(Box<Cbc<aes::Aes128>>),
}

/// A wrapped room key that was taken apart: the steps of [`Identity::unwrap_room_key`], for hosts
/// that do the private RSA operation themselves.
///
/// [`Identity::unwrap_room_key`]: crate::Identity::unwrap_room_key
#[derive(Debug)]
pub struct WrappedRoomKey {
    id: KeyId,
    block: Vec<u8>,
}

impl FromStr for WrappedRoomKey {
    type Err = RoomKeyError;

    fn from_str(wrapped: &str) -> Result<Self, RoomKeyError> {
        // The id is everything before the RSA block: its own length has changed over the years.
        let (id, block) = wrapped
            .len()
            .checked_sub(WRAPPED_CHARS)
            .and_then(|end| wrapped.split_at_checked(end))
            .ok_or(RoomKeyError::MalformedKey("the wrapped key is truncated"))?;
        let id = id.parse()?;
        let block = STANDARD
            .decode_to_vec(block)
            .ok()
            .filter(|block| block.len() == RSA_BYTES)
            .ok_or(RoomKeyError::MalformedKey("the wrapped key is not base64 of 256 bytes"))?;
        Ok(Self { id, block })
    }
}

impl WrappedRoomKey {
    /// What RSA-OAEP is to decrypt: 256 bytes.
    pub fn ciphertext(&self) -> &[u8] {
        &self.block
    }

    /// Reads what was decrypted; `None` where the private key does not fit, or somebody changed
    /// the ciphertext.
    ///
    /// # Errors
    /// As [`Identity::unwrap_room_key`](crate::Identity::unwrap_room_key).
    pub fn open(self, decrypted: Option<&[u8]>) -> Result<RoomKey, RoomKeyError> {
        let jwk = decrypted.ok_or(RoomKeyError::DecryptionFailed)?;
        let jwk = std::str::from_utf8(jwk)
            .map_err(|_| RoomKeyError::MalformedKey("what was wrapped is not text"))?;
        RoomKey::from_jwk(jwk, self.id)
    }
}

/// The key of one room. Whoever holds it reads and writes everything encrypted under it.
pub struct RoomKey {
    id: KeyId,
    /// The JWK as its maker wrote it: clients of 7.0 to 7.12 take the key id from a hash of this
    /// very text, so it is handed on unchanged.
    jwk: Zeroizing<String>,
    secret: Zeroizing<Box<[u8]>>,
    cipher: Cipher,
}

impl RoomKey {
    /// Makes a key as clients do since server 7.13: AES-256-GCM, a random UUID for its id.
    ///
    /// # Errors
    /// [`RoomKeyError::Encryption`] when the cipher refuses the key, which it does not.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Result<Self, RoomKeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        let mut uuid = [0; 16];
        rng.fill_bytes(&mut uuid);
        let uuid = uuid::Builder::from_random_bytes(uuid).into_uuid();
        let jwk = OctJwk::new(Algorithm::A256Gcm.as_str(), secret.as_ref()).to_json();
        Self::from_jwk(&jwk, uuid.to_string().parse()?)
    }

    /// Makes a key as clients did before server 7.13, for servers whose clients know no other:
    /// AES-128-CBC, the first 12 hexadecimal digits of SHA-256 over the JWK for its id.
    ///
    /// # Errors
    /// As [`RoomKey::generate`].
    pub fn generate_cbc<R: CryptoRng + ?Sized>(rng: &mut R) -> Result<Self, RoomKeyError> {
        let mut secret = Zeroizing::new([0; 16]);
        rng.fill_bytes(secret.as_mut());
        let jwk = OctJwk::new(Algorithm::A128Cbc.as_str(), secret.as_ref()).to_json();
        let mut id = hex::encode(Sha256::digest(jwk.as_bytes()));
        id.truncate(SHORT_ID_CHARS);
        Self::from_jwk(&jwk, id.parse()?)
    }

    /// Reads a room key's JWK: `kty` is `oct`, `alg` is `A256GCM` or `A128CBC`. The order of
    /// members does not matter.
    ///
    /// # Errors
    /// [`RoomKeyError::MalformedKey`], [`RoomKeyError::UnsupportedAlgorithm`].
    pub fn from_jwk(json: &str, id: KeyId) -> Result<Self, RoomKeyError> {
        let jwk = OctJwk::parse(json)?;
        let (alg, secret) = jwk.key()?;
        let algorithm = [Algorithm::A256Gcm, Algorithm::A128Cbc]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == alg)
            .ok_or(RoomKeyError::UnsupportedAlgorithm)?;
        let secret = secret.as_slice();
        let wrong_length = RoomKeyError::MalformedKey("k has the wrong length for its algorithm");
        let cipher = match algorithm {
            Algorithm::A256Gcm => {
                let key = secret.try_into().map_err(|_| wrong_length)?;
                Cipher::Gcm(Gcm::new(key).map_err(|Refused| RoomKeyError::Encryption)?)
            }
            Algorithm::A128Cbc => {
                if id.as_str().len() != SHORT_ID_CHARS {
                    return Err(RoomKeyError::MalformedKey(
                        "the id of an AES-CBC key has 12 characters",
                    ));
                }
                Cipher::Cbc(Box::new(Cbc::new(secret).map_err(|Refused| wrong_length)?))
            }
        };
        let jwk = if json.len() <= MAX_WRAPPED_BYTES {
            Zeroizing::new(json.to_owned())
        } else {
            jwk.to_json()
        };
        Ok(Self { id, jwk, secret: Zeroizing::new(secret.into()), cipher })
    }

    /// Wraps this key for a member: the key id, then 344 characters of base64.
    ///
    /// # Errors
    /// [`RoomKeyError::Encryption`] when the RSA library refuses the key.
    pub fn wrap_for<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        member: &PublicKey,
    ) -> Result<String, RoomKeyError> {
        let block =
            member.encrypt(rng, self.jwk.as_bytes()).map_err(|Refused| RoomKeyError::Encryption)?;
        let mut wrapped = String::with_capacity(UUID_CHARS + WRAPPED_CHARS);
        wrapped.push_str(self.id.as_str());
        STANDARD.encode_append(&block, &mut wrapped);
        Ok(wrapped)
    }

    /// The JWK, as its maker wrote it. It is the key.
    pub(crate) fn jwk(&self) -> &str {
        &self.jwk
    }

    /// The name of this key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The cipher of this key.
    pub fn algorithm(&self) -> Algorithm {
        match self.cipher {
            Cipher::Gcm(_) => Algorithm::A256Gcm,
            Cipher::Cbc(_) => Algorithm::A128Cbc,
        }
    }

    /// Whether two keys have the same bytes, whatever their ids; in constant time.
    pub fn same_secret(&self, other: &Self) -> bool {
        self.secret.ct_eq(&other.secret).into()
    }

    /// Encrypts bytes; returns the iv and the ciphertext (with the tag, for GCM).
    pub(crate) fn seal<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        plaintext: Vec<u8>,
    ) -> Result<Sealed, Refused> {
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let mut iv = [0; 12];
                rng.fill_bytes(&mut iv);
                let mut buffer = Plaintext::from(plaintext);
                cipher.seal(&iv, &mut buffer)?;
                Ok(Sealed::Gcm { iv, ciphertext: std::mem::take(&mut *buffer) })
            }
            Cipher::Cbc(cipher) => {
                let mut iv = [0; 16];
                rng.fill_bytes(&mut iv);
                let plaintext = Plaintext::from(plaintext);
                Ok(Sealed::Cbc { iv, ciphertext: cipher.encrypt(&iv, &plaintext)? })
            }
        }
    }

    /// Decrypts what [`RoomKey::seal`] or a client made. The key's own algorithm decides; where
    /// the ciphertext was made for the other one, the key does not fit.
    pub(crate) fn open(&self, sealed: Sealed) -> Result<Plaintext, Refused> {
        match (&self.cipher, sealed) {
            (Cipher::Gcm(cipher), Sealed::Gcm { iv, ciphertext }) => {
                let mut buffer = Plaintext::from(ciphertext);
                cipher.open(&iv, &mut buffer)?;
                Ok(buffer)
            }
            (Cipher::Cbc(cipher), Sealed::Cbc { iv, ciphertext }) => {
                cipher.decrypt(&iv, &ciphertext)
            }
            _ => Err(Refused),
        }
    }
}

/// Ciphertext and iv, in the shape of the cipher that made it.
pub(crate) enum Sealed {
    Gcm { iv: [u8; 12], ciphertext: Vec<u8> },
    Cbc { iv: [u8; 16], ciphertext: Vec<u8> },
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
