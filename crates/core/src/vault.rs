//! Sealed records: what every store writes, and the data key that opens them.
//!
//! A [`Vault`] is one random data key. It seals records with XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03), each bound to its name and version, so that a backend neither
//! reads a record nor puts it in another's place. The data key itself is stored in a key record,
//! wrapped by a [`Secret`] or by a key management service. `docs/store-format.md` has both formats
//! to the byte.
//!
//! The vault cannot see what is missing: a backend that removes a record, or puts back an old one
//! together with its old version, is not noticed.

use std::fmt;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use pbkdf2::pbkdf2_hmac;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::TAG_BYTES;

/// Length of the data key, and of a secret key, in bytes.
pub const KEY_BYTES: usize = 32;
/// How much longer a sealed record is than its plaintext, in bytes: format, nonce and tag.
pub const SEALED_OVERHEAD: usize = 1 + NONCE_BYTES + TAG_BYTES;
/// PBKDF2 iterations that are written, and the fewest that are read (OWASP, 2023).
pub const MIN_ITERATIONS: u32 = 600_000;
/// Most PBKDF2 iterations that are read, so that a changed key record cannot keep a core busy for
/// more than a few seconds.
pub const MAX_ITERATIONS: u32 = 10_000_000;
/// Longest wrapped data key that a key management service may give, in bytes.
pub const MAX_KMS_BYTES: usize = 64 * 1024;

/// The format of sealed records and of key records that is written here.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;
const SALT_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 8;
const RECORD_TAG: &[u8] = b"rocketchat-e2ee record 1";
const KEY_TAG: &[u8] = b"rocketchat-e2ee data key 1";

/// Boxed, so that a move leaves no copy behind.
type KeyBytes = Box<Zeroizing<[u8; KEY_BYTES]>>;

/// How a key record is wrapped: its second byte.
const BY_TEXT: u8 = 1;
const BY_KEY: u8 = 2;
const BY_KMS: u8 = 3;

const TRUNCATED_RECORD: VaultError = VaultError::Corrupt("a sealed record is too short");
const TRUNCATED_KEY: VaultError = VaultError::Corrupt("the key record is too short");

/// What can go wrong with a vault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The secret does not unwrap the data key, or the key record is wrapped by another kind of
    /// secret.
    #[error("the secret does not open this store")]
    WrongSecret,
    /// A key record or a sealed record has no possible form.
    #[error("the store is damaged: {0}")]
    Corrupt(&'static str),
    /// The record was changed, belongs to another name or version, or was sealed under another
    /// data key; which of these cannot be told.
    #[error("a record was changed, or put in another's place")]
    Mismatch,
    /// A newer version of this library wrote the record.
    #[error("a newer version of rocketchat-e2ee wrote this store; this one cannot read it")]
    TooNew,
    /// The secret cannot be used to wrap a data key.
    #[error("the secret cannot be used: {0}")]
    InvalidSecret(&'static str),
    /// The library refused to encrypt.
    #[error("the record could not be sealed")]
    Encryption,
}

/// What the operator supplies to open a vault.
pub struct Secret(Kind);

enum Kind {
    Text(Zeroizing<String>),
    Key(KeyBytes),
}

impl Secret {
    /// A secret string of any length, which is stretched by PBKDF2-HMAC-SHA256. Its UTF-8 bytes
    /// count, without normalisation.
    ///
    /// # Errors
    /// [`VaultError::InvalidSecret`] when it is empty.
    pub fn text(secret: Zeroizing<String>) -> Result<Self, VaultError> {
        if secret.is_empty() {
            return Err(VaultError::InvalidSecret("it is empty"));
        }
        Ok(Self(Kind::Text(secret)))
    }

    /// A secret key of 32 random bytes, which is used as it is.
    ///
    /// # Errors
    /// [`VaultError::InvalidSecret`] when it has another length.
    pub fn key(secret: &[u8]) -> Result<Self, VaultError> {
        Ok(Self(Kind::Key(boxed(secret).ok_or(VaultError::InvalidSecret("a key has 32 bytes"))?)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// The data key of one store.
pub struct Vault {
    key: KeyBytes,
}

impl Vault {
    /// Draws a data key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut key = Box::new(Zeroizing::new([0; KEY_BYTES]));
        rng.fill_bytes(key.as_mut_slice());
        Self { key }
    }

    /// Seals a record under its name and the version that it will have: format, nonce, ciphertext
    /// and tag, [`SEALED_OVERHEAD`] bytes more than `plaintext`.
    ///
    /// # Errors
    /// [`VaultError::Encryption`] when the cipher refuses, which it does for more than 256 GB.
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        name: &str,
        version: u64,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let mut sealed = Vec::with_capacity(SEALED_OVERHEAD + plaintext.len());
        sealed.push(FORMAT);
        encrypt(rng, &self.key, &record_binding(name, version), plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what [`Vault::seal`] made for the same name and version.
    ///
    /// # Errors
    /// [`VaultError::Mismatch`], [`VaultError::TooNew`], [`VaultError::Corrupt`].
    pub fn open(
        &self,
        name: &str,
        version: u64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let body = body(sealed, TRUNCATED_RECORD)?;
        if body.len() < NONCE_BYTES + TAG_BYTES {
            return Err(TRUNCATED_RECORD);
        }
        decrypt(&self.key, &record_binding(name, version), body).ok_or(VaultError::Mismatch)
    }

    /// Wraps the data key by a secret; returns the key record. A secret string takes
    /// [`MIN_ITERATIONS`] iterations of PBKDF2, about 0.2 s.
    ///
    /// # Errors
    /// [`VaultError::Encryption`] when the cipher refuses, which it does not.
    pub fn wrap<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        secret: &Secret,
    ) -> Result<Vec<u8>, VaultError> {
        let mut record = vec![FORMAT];
        match &secret.0 {
            Kind::Text(text) => {
                let mut salt = [0; SALT_BYTES];
                rng.fill_bytes(&mut salt);
                record.push(BY_TEXT);
                record.extend_from_slice(&MIN_ITERATIONS.to_be_bytes());
                record.extend_from_slice(&salt);
                let key = stretch(text, &salt, MIN_ITERATIONS);
                let binding = key_binding(&record);
                encrypt(rng, &key, &binding, self.key.as_slice(), &mut record)?;
            }
            Kind::Key(key) => {
                record.push(BY_KEY);
                let binding = key_binding(&record);
                encrypt(rng, key, &binding, self.key.as_slice(), &mut record)?;
            }
        }
        Ok(with_checksum(record))
    }

    /// Opens a key record that [`Vault::wrap`] made with the same secret.
    ///
    /// # Errors
    /// [`VaultError::WrongSecret`], [`VaultError::Corrupt`], [`VaultError::TooNew`].
    pub fn unwrap(record: &[u8], secret: &Secret) -> Result<Self, VaultError> {
        let KeyRecord { header, wrapping } = KeyRecord::parse(record)?;
        let opened = match (wrapping, &secret.0) {
            (Wrapping::ByText { iterations, salt, sealed }, Kind::Text(text)) => {
                decrypt(&stretch(text, salt, iterations), &key_binding(header), sealed)
            }
            (Wrapping::ByKey { sealed }, Kind::Key(key)) => {
                decrypt(key, &key_binding(header), sealed)
            }
            _ => return Err(VaultError::WrongSecret),
        };
        let key = boxed(&opened.ok_or(VaultError::WrongSecret)?)
            .ok_or(VaultError::Corrupt("the data key has another length"))?;
        Ok(Self { key })
    }

    /// The data key itself, for a key management service to wrap; for nothing else.
    pub fn reveal_data_key(&self) -> Box<Zeroizing<[u8; KEY_BYTES]>> {
        self.key.clone()
    }

    /// Makes the key record of a data key that a key management service wrapped. `wrapped` is what
    /// it answered, 1 to [`MAX_KMS_BYTES`] bytes; it is stored as it is.
    ///
    /// # Errors
    /// [`VaultError::InvalidSecret`] when `wrapped` is empty or too long.
    pub fn record_kms_wrapped<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        wrapped: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        if wrapped.is_empty() || wrapped.len() > MAX_KMS_BYTES {
            return Err(VaultError::InvalidSecret("a wrapped data key has 1 to 65,536 bytes"));
        }
        let length = u32::try_from(wrapped.len()).map_err(|_| VaultError::Encryption)?;
        let mut record = vec![FORMAT, BY_KMS];
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(wrapped);
        // Nothing is sealed here but the proof that whoever unwraps got the right key.
        let binding = key_binding(&record);
        encrypt(rng, &self.key, &binding, b"", &mut record)?;
        Ok(with_checksum(record))
    }

    /// What a key management service has to unwrap to open this key record; the data key that it
    /// answers goes to [`Vault::from_kms`].
    ///
    /// # Errors
    /// [`VaultError::WrongSecret`] when a secret wrapped the data key; [`VaultError::Corrupt`],
    /// [`VaultError::TooNew`].
    pub fn kms_wrapped(record: &[u8]) -> Result<&[u8], VaultError> {
        match KeyRecord::parse(record)?.wrapping {
            Wrapping::ByKms { wrapped, .. } => Ok(wrapped),
            _ => Err(VaultError::WrongSecret),
        }
    }

    /// Opens a key record with the data key that a key management service unwrapped.
    ///
    /// # Errors
    /// [`VaultError::WrongSecret`] when it is not this record's data key; as
    /// [`Vault::kms_wrapped`].
    pub fn from_kms(record: &[u8], data_key: &[u8]) -> Result<Self, VaultError> {
        let KeyRecord { header, wrapping } = KeyRecord::parse(record)?;
        let Wrapping::ByKms { check, .. } = wrapping else {
            return Err(VaultError::WrongSecret);
        };
        let key = boxed(data_key).ok_or(VaultError::WrongSecret)?;
        decrypt(&key, &key_binding(header), check).ok_or(VaultError::WrongSecret)?;
        Ok(Self { key })
    }

    /// Whether two vaults have the same data key; in constant time.
    pub fn same_key(&self, other: &Self) -> bool {
        self.key.as_slice().ct_eq(other.key.as_slice()).into()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// A key record whose every part has a possible length.
struct KeyRecord<'a> {
    /// Everything before the nonce, to which the wrapped key is bound.
    header: &'a [u8],
    wrapping: Wrapping<'a>,
}

enum Wrapping<'a> {
    ByText { iterations: u32, salt: &'a [u8; SALT_BYTES], sealed: &'a [u8] },
    ByKey { sealed: &'a [u8] },
    ByKms { wrapped: &'a [u8], check: &'a [u8] },
}

impl<'a> KeyRecord<'a> {
    fn parse(record: &'a [u8]) -> Result<Self, VaultError> {
        // The format first: a newer one need not end in this checksum.
        body(record, TRUNCATED_KEY)?;
        let (content, checksum) =
            record.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TRUNCATED_KEY)?;
        if checksum_of(content) != *checksum {
            return Err(VaultError::Corrupt("the key record's checksum does not fit"));
        }
        let ([_format, kind], rest) = content.split_first_chunk().ok_or(TRUNCATED_KEY)?;
        let (wrapping, sealed, plain_bytes) = match *kind {
            BY_TEXT => {
                let (iterations, rest) = rest.split_first_chunk().ok_or(TRUNCATED_KEY)?;
                let iterations = u32::from_be_bytes(*iterations);
                if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
                    return Err(VaultError::Corrupt("the key record's iterations are impossible"));
                }
                let (salt, sealed) = rest.split_first_chunk().ok_or(TRUNCATED_KEY)?;
                (Wrapping::ByText { iterations, salt, sealed }, sealed, KEY_BYTES)
            }
            BY_KEY => (Wrapping::ByKey { sealed: rest }, rest, KEY_BYTES),
            BY_KMS => {
                let (length, rest) = rest.split_first_chunk().ok_or(TRUNCATED_KEY)?;
                let length =
                    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| TRUNCATED_KEY)?;
                let (wrapped, check) = rest.split_at_checked(length).ok_or(TRUNCATED_KEY)?;
                (Wrapping::ByKms { wrapped, check }, check, 0)
            }
            _ => return Err(VaultError::Corrupt("the key record is of no known kind")),
        };
        if sealed.len() != NONCE_BYTES + plain_bytes + TAG_BYTES {
            return Err(VaultError::Corrupt("the key record has another length"));
        }
        let header = content
            .len()
            .checked_sub(sealed.len())
            .and_then(|end| content.get(..end))
            .ok_or(TRUNCATED_KEY)?;
        Ok(Self { header, wrapping })
    }
}

/// What follows the format byte.
fn body(bytes: &[u8], truncated: VaultError) -> Result<&[u8], VaultError> {
    match bytes.split_first().ok_or(truncated)? {
        (&FORMAT, body) => Ok(body),
        (0, _) => Err(VaultError::Corrupt("a record has no format")),
        _ => Err(VaultError::TooNew),
    }
}

/// Appends nonce, ciphertext and tag to `output`.
fn encrypt<R: CryptoRng + ?Sized>(
    rng: &mut R,
    key: &[u8; KEY_BYTES],
    binding: &[u8],
    plaintext: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_BYTES));
    buffer.extend_from_slice(plaintext);
    XChaCha20Poly1305::new(key.into())
        .encrypt_in_place(&XNonce::from(nonce), binding, &mut *buffer)
        .map_err(|_| VaultError::Encryption)?;
    output.extend_from_slice(&nonce);
    output.extend_from_slice(&buffer);
    Ok(())
}

/// Opens nonce, ciphertext and tag. `None` when they do not fit.
fn decrypt(key: &[u8; KEY_BYTES], binding: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place(&XNonce::from(*nonce), binding, &mut *buffer)
        .ok()?;
    Some(buffer)
}

/// The associated data of a record: where each part ends is beyond doubt.
fn record_binding(name: &str, version: u64) -> Vec<u8> {
    let mut binding = Vec::with_capacity(24 + RECORD_TAG.len() + name.len());
    push_field(&mut binding, RECORD_TAG);
    push_field(&mut binding, name.as_bytes());
    binding.extend_from_slice(&version.to_be_bytes());
    binding
}

/// The associated data of a wrapped data key.
fn key_binding(header: &[u8]) -> Vec<u8> {
    let mut binding = Vec::with_capacity(16 + KEY_TAG.len() + header.len());
    push_field(&mut binding, KEY_TAG);
    push_field(&mut binding, header);
    binding
}

fn push_field(binding: &mut Vec<u8>, field: &[u8]) {
    binding.extend_from_slice(&(field.len() as u64).to_be_bytes());
    binding.extend_from_slice(field);
}

fn stretch(secret: &str, salt: &[u8], iterations: u32) -> KeyBytes {
    let mut key = Box::new(Zeroizing::new([0; KEY_BYTES]));
    pbkdf2_hmac::<Sha256>(secret.as_bytes(), salt, iterations, key.as_mut_slice());
    key
}

/// Tells damage from a wrong secret; against malice there is the tag before it.
fn checksum_of(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    for (byte, digest) in checksum.iter_mut().zip(Sha256::digest(content)) {
        *byte = digest;
    }
    checksum
}

fn with_checksum(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = checksum_of(&content);
    content.extend_from_slice(&checksum);
    content
}

fn boxed(bytes: &[u8]) -> Option<KeyBytes> {
    let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
    let mut key = Box::new(Zeroizing::new([0; KEY_BYTES]));
    key.copy_from_slice(bytes);
    Some(key)
}

#[cfg(test)]
mod tests;
