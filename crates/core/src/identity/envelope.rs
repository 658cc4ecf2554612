//! The private key as it is stored with the server (protocol §7.3).

use std::collections::BTreeMap;
use std::fmt;

use base64_simd::STANDARD;
use pbkdf2::pbkdf2_hmac_array;
use rand_core::CryptoRng;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Identity, IdentityError};
use crate::crypto::{AesGcm as _, Cbc, Gcm, Plaintext, Refused, TAG_BYTES};

/// Fewest PBKDF2 iterations that are accepted: what form v1 has, the least any client wrote.
pub const MIN_ITERATIONS: u32 = 1_000;
/// Most PBKDF2 iterations that are accepted: twenty times what clients write, so that a hostile
/// server cannot keep a core busy for more than a moment.
pub const MAX_ITERATIONS: u32 = 2_000_000;

const V1_ITERATIONS: u32 = 1_000;
const V2_ITERATIONS: u32 = 100_000;
/// Longest stored key that is looked at, in bytes; a real one takes about 2,600.
const MAX_STORED_BYTES: usize = 64 * 1024;
/// Rocket.Chat's ids have 17 characters, or 24 on servers with Mongo's own.
const MAX_USER_ID_BYTES: usize = 128;

const NOT_AN_ENVELOPE: IdentityError = IdentityError::MalformedEnvelope(
    "it is neither {\"$binary\"} nor {\"iv\", \"ciphertext\", \"salt\", \"iterations\"}",
);

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    V1 {
        #[serde(rename = "$binary")]
        binary: String,
    },
    V2 {
        iv: String,
        ciphertext: String,
        salt: String,
        iterations: f64,
    },
}

#[derive(Serialize)]
struct StoredV2<'a> {
    iv: &'a str,
    ciphertext: &'a str,
    salt: &'a str,
    iterations: u32,
}

/// An envelope whose every part has a possible length.
enum Envelope {
    V1 { iv: [u8; 16], ciphertext: Vec<u8> },
    V2 { iv: [u8; 12], ciphertext: Vec<u8>, salt: String, iterations: u32 },
}

impl Envelope {
    fn parse(stored: &str) -> Result<Self, IdentityError> {
        if stored.len() > MAX_STORED_BYTES {
            return Err(IdentityError::MalformedEnvelope("it is too long"));
        }
        match serde_json::from_str(stored).map_err(|_| NOT_AN_ENVELOPE)? {
            Stored::V1 { binary } => {
                let bytes = decode(&binary)?;
                let (iv, ciphertext) = bytes
                    .split_first_chunk()
                    .ok_or(IdentityError::MalformedEnvelope("it is truncated"))?;
                if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(16) {
                    return Err(IdentityError::MalformedEnvelope("it is truncated"));
                }
                Ok(Self::V1 { iv: *iv, ciphertext: ciphertext.to_vec() })
            }
            Stored::V2 { iv, ciphertext, salt, iterations } => {
                let ciphertext = decode(&ciphertext)?;
                if ciphertext.len() < TAG_BYTES {
                    return Err(IdentityError::MalformedEnvelope("it is truncated"));
                }
                let iv = decode(&iv)?
                    .try_into()
                    .map_err(|_| IdentityError::MalformedEnvelope("its iv is not 12 bytes long"))?;
                Ok(Self::V2 { iv, ciphertext, salt, iterations: checked_iterations(iterations)? })
            }
        }
    }

    /// Opens with a key that PBKDF2 made. `None` where it does not fit.
    fn open(&self, key: &[u8; 32]) -> Option<Plaintext> {
        match self {
            Self::V1 { iv, ciphertext } => {
                let plaintext = Cbc::<aes::Aes256>::new(key).ok()?.decrypt(iv, ciphertext).ok()?;
                // CBC has no tag: a wrong key unpads once in 256 times, but not to an object.
                serde_json::from_slice::<BTreeMap<&str, IgnoredAny>>(&plaintext).ok()?;
                Some(plaintext)
            }
            Self::V2 { iv, ciphertext, .. } => {
                let mut buffer = Plaintext::from(ciphertext.clone());
                Gcm::new(key).ok()?.open(iv, &mut buffer).ok()?;
                Some(buffer)
            }
        }
    }
}

/// What PBKDF2-HMAC-SHA256 (RFC 8018 §5.2) makes a key of 32 bytes from. It takes nearly all of the
/// time that unlocking and locking take, so that a host may do it elsewhere.
#[derive(Clone)]
pub struct KeyDerivation {
    passphrase: Zeroizing<Vec<u8>>,
    salt: Vec<u8>,
    iterations: u32,
}

impl KeyDerivation {
    /// The passphrase, in bytes.
    pub fn passphrase(&self) -> &[u8] {
        &self.passphrase
    }

    /// The salt, in bytes.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How often: [`MIN_ITERATIONS`] to [`MAX_ITERATIONS`].
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Makes the key here.
    pub fn run(&self) -> Zeroizing<[u8; 32]> {
        let Self { passphrase, salt, iterations } = self;
        Zeroizing::new(pbkdf2_hmac_array::<Sha256, 32>(passphrase, salt, *iterations))
    }
}

impl fmt::Debug for KeyDerivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyDerivation").finish_non_exhaustive()
    }
}

/// An identity that is being unlocked: the steps of [`Identity::unlock`], for hosts that derive
/// the keys themselves.
pub struct Unlocking {
    envelope: Envelope,
    derivation: KeyDerivation,
    /// What is tried after it.
    other: Option<KeyDerivation>,
}

impl Unlocking {
    /// Reads a stored private key; see [`Identity::unlock`].
    ///
    /// # Errors
    /// [`IdentityError::MalformedEnvelope`], [`IdentityError::IterationsOutOfRange`].
    pub fn new(stored: &str, passphrase: &str, user_id: &str) -> Result<Self, IdentityError> {
        let envelope = Envelope::parse(stored)?;
        let (salt, iterations) = match &envelope {
            Envelope::V1 { .. } => (user_id, V1_ITERATIONS),
            Envelope::V2 { salt, iterations, .. } => (salt.as_str(), *iterations),
        };
        let from = |passphrase, salt| KeyDerivation { passphrase, salt, iterations };
        let utf8 = from(Zeroizing::new(passphrase.into()), salt.into());
        // Web clients take one byte per character, mobile clients UTF-8: alike in ASCII only.
        let (derivation, other) = match (latin1(passphrase), latin1(salt)) {
            (Some(web_passphrase), Some(web_salt))
                if !(passphrase.is_ascii() && salt.is_ascii()) =>
            {
                (from(web_passphrase, web_salt.to_vec()), Some(utf8))
            }
            _ => (utf8, None),
        };
        Ok(Self { envelope, derivation, other })
    }

    /// What to make the next key from.
    pub fn derivation(&self) -> &KeyDerivation {
        &self.derivation
    }

    /// Opens the envelope with the key that was made. `None` where another derivation is to be
    /// tried.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassphrase`] where there is none, and
    /// [`IdentityError::MalformedKey`] or [`IdentityError::UnsupportedAlgorithm`] when what was
    /// sealed is not a private key.
    pub fn open(&mut self, key: &[u8; 32]) -> Result<Option<Identity>, IdentityError> {
        let Some(sealed) = self.envelope.open(key) else {
            self.derivation = self.other.take().ok_or(IdentityError::WrongPassphrase)?;
            return Ok(None);
        };
        let jwk = std::str::from_utf8(&sealed)
            .map_err(|_| IdentityError::MalformedKey("what was sealed is not text"))?;
        Identity::from_private_jwk(jwk).map(Some)
    }
}

impl fmt::Debug for Unlocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlocking").finish_non_exhaustive()
    }
}

/// An identity that is being locked: the steps of [`Identity::lock`], for hosts that derive the
/// key themselves.
pub struct Locking {
    salt: String,
    derivation: KeyDerivation,
}

impl Locking {
    /// Draws a salt; see [`Identity::lock`].
    ///
    /// # Errors
    /// [`IdentityError::AmbiguousPassphrase`], [`IdentityError::EmptyPassphrase`],
    /// [`IdentityError::InvalidUserId`].
    pub fn new<R: CryptoRng + ?Sized>(
        rng: &mut R,
        passphrase: &str,
        user_id: &str,
    ) -> Result<Self, IdentityError> {
        if passphrase.is_empty() {
            return Err(IdentityError::EmptyPassphrase);
        }
        if !passphrase.is_ascii() {
            return Err(IdentityError::AmbiguousPassphrase);
        }
        if user_id.is_empty()
            || user_id.len() > MAX_USER_ID_BYTES
            || !user_id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(IdentityError::InvalidUserId);
        }
        let mut uuid = [0; 16];
        rng.fill_bytes(&mut uuid);
        let uuid = uuid::Builder::from_random_bytes(uuid).into_uuid();
        let salt = format!("v2:{user_id}:{uuid}");
        let derivation = KeyDerivation {
            passphrase: Zeroizing::new(passphrase.into()),
            salt: salt.clone().into(),
            iterations: V2_ITERATIONS,
        };
        Ok(Self { salt, derivation })
    }

    /// What to make the key from.
    pub fn derivation(&self) -> &KeyDerivation {
        &self.derivation
    }

    /// Seals with the key that was made; returns the JSON text for `e2e.private_key`.
    ///
    /// # Errors
    /// [`IdentityError::Generation`], which does not happen with a key pair of ours.
    pub fn seal<R: CryptoRng + ?Sized>(
        self,
        rng: &mut R,
        identity: &Identity,
        key: &[u8; 32],
    ) -> Result<String, IdentityError> {
        let jwk = identity.to_private_jwk()?;
        let mut iv = [0; 12];
        rng.fill_bytes(&mut iv);
        let mut buffer = Vec::with_capacity(jwk.len() + TAG_BYTES);
        buffer.extend_from_slice(jwk.as_bytes());
        Gcm::new(key)
            .and_then(|cipher| cipher.seal(&iv, &mut buffer))
            .map_err(|Refused| IdentityError::Generation)?;
        serde_json::to_string(&StoredV2 {
            iv: &STANDARD.encode_to_string(iv),
            ciphertext: &STANDARD.encode_to_string(&buffer),
            salt: &self.salt,
            iterations: V2_ITERATIONS,
        })
        .map_err(|_| IdentityError::Generation)
    }
}

impl fmt::Debug for Locking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking").finish_non_exhaustive()
    }
}

fn checked_iterations(iterations: f64) -> Result<u32, IdentityError> {
    if iterations.fract() != 0.0 {
        return Err(IdentityError::MalformedEnvelope("its iterations are not a whole number"));
    }
    if !(f64::from(MIN_ITERATIONS)..=f64::from(MAX_ITERATIONS)).contains(&iterations) {
        return Err(IdentityError::IterationsOutOfRange);
    }
    Ok(iterations as u32)
}

fn decode(text: &str) -> Result<Vec<u8>, IdentityError> {
    STANDARD
        .decode_to_vec(text)
        .map_err(|_| IdentityError::MalformedEnvelope("it holds something that is not base64"))
}

/// One byte per character, as web clients do; `None` where a character does not fit.
fn latin1(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}
