//! Encrypted files (protocol §5.5): AES-256-CTR whose low 64 bits count, a fresh key for each
//! file, and SHA-256 of the plain bytes as the only integrity there is.
//!
//! Files are worked on in place and in pieces of any size, so that a file of any size takes
//! constant memory.

use std::fmt;

use aes::cipher::{KeyIvInit, StreamCipher};
use base64_simd::STANDARD;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::jwk::{JwkError, OctJwk};

type Ctr = ctr::Ctr64BE<aes::Aes256>;

const ALGORITHM: &str = "A256CTR";

/// What can go wrong with an encrypted file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The `encryption` or `hashes` of the file have no known form.
    #[error("malformed description of an encrypted file: {0}")]
    MalformedEnvelope(&'static str),
    /// The file's key has no known form.
    #[error("malformed file key: {0}")]
    MalformedKey(&'static str),
    /// The file's key is for another algorithm than A256CTR.
    #[error("the file key is not for A256CTR")]
    UnsupportedAlgorithm,
    /// The plain bytes do not have the promised hash: wrong key, or a changed file.
    #[error("the file does not decrypt to what its sender hashed")]
    DecryptionFailed,
}

impl From<JwkError> for FileError {
    fn from(error: JwkError) -> Self {
        match error {
            JwkError::Malformed(reason) => Self::MalformedKey(reason),
            JwkError::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
        }
    }
}

/// The `encryption` member of an attachment: the file's key, a JWK, and its iv, base64 of the
/// 16-byte initial counter block.
pub struct FileEncryption {
    key: Zeroizing<[u8; 32]>,
    iv: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct Members<K> {
    key: K,
    iv: String,
}

impl FileEncryption {
    /// Reads the JSON text of an `encryption` member.
    ///
    /// # Errors
    /// [`FileError::MalformedEnvelope`], [`FileError::MalformedKey`],
    /// [`FileError::UnsupportedAlgorithm`].
    pub fn parse(json: &str) -> Result<Self, FileError> {
        let members: Members<Box<RawValue>> = serde_json::from_str(json)
            .map_err(|_| FileError::MalformedEnvelope("`encryption` has no key or no iv"))?;
        let jwk = OctJwk::parse(members.key.get())?;
        let (alg, key) = jwk.key()?;
        if alg != ALGORITHM {
            return Err(FileError::UnsupportedAlgorithm);
        }
        let key = <[u8; 32]>::try_from(key.as_slice())
            .map_err(|_| FileError::MalformedKey("k is not 32 bytes long"))?;
        let iv = STANDARD
            .decode_to_vec(&members.iv)
            .ok()
            .and_then(|iv| iv.try_into().ok())
            .ok_or(FileError::MalformedEnvelope("the iv is not base64 of 16 bytes"))?;
        Ok(Self { key: Zeroizing::new(key), iv })
    }

    /// The JSON text of an `encryption` member. It holds the key.
    pub fn to_json(&self) -> Zeroizing<String> {
        let members = Members {
            key: OctJwk::new(ALGORITHM, self.key.as_ref()),
            iv: STANDARD.encode_to_string(self.iv),
        };
        // Writing texts to memory cannot fail.
        Zeroizing::new(serde_json::to_string(&members).unwrap_or_default())
    }

    fn cipher(&self) -> Ctr {
        Ctr::new((&*self.key).into(), (&self.iv).into())
    }
}

impl fmt::Debug for FileEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEncryption").finish_non_exhaustive()
    }
}

/// The name under which an encrypted file is uploaded: SHA-256 of its real name, in hexadecimal.
pub fn encrypted_file_name(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()))
}

/// Encrypts one file, piece by piece.
pub struct FileEncryptor {
    encryption: FileEncryption,
    cipher: Ctr,
    plain: Sha256,
}

impl FileEncryptor {
    /// Draws a key and an iv for a new file.
    pub fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut encryption = FileEncryption { key: Zeroizing::new([0; 32]), iv: [0; 16] };
        rng.fill_bytes(encryption.key.as_mut());
        rng.fill_bytes(&mut encryption.iv);
        let cipher = encryption.cipher();
        Self { encryption, cipher, plain: Sha256::new() }
    }

    /// Key and iv, for the message that announces the file.
    pub fn encryption(&self) -> &FileEncryption {
        &self.encryption
    }

    /// Encrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) {
        self.plain.update(&*piece);
        self.cipher.apply_keystream(piece);
    }

    /// Ends the file; returns SHA-256 of the plain bytes, in hexadecimal, for `hashes.sha256`.
    pub fn finish(self) -> String {
        hex::encode(self.plain.finalize())
    }
}

impl fmt::Debug for FileEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEncryptor").finish_non_exhaustive()
    }
}

/// Decrypts one file, piece by piece. What it gives is to be trusted only after
/// [`FileDecryptor::finish`] has agreed.
pub struct FileDecryptor {
    cipher: Ctr,
    plain: Sha256,
    expected: [u8; 32],
}

impl FileDecryptor {
    /// Takes the `encryption` member of an attachment and its `hashes.sha256`.
    ///
    /// # Errors
    /// [`FileError::MalformedEnvelope`] when that is not 64 hexadecimal digits.
    pub fn new(encryption: &FileEncryption, sha256: &str) -> Result<Self, FileError> {
        let mut expected = [0; 32];
        hex::decode_to_slice(sha256, &mut expected).map_err(|_| {
            FileError::MalformedEnvelope("`hashes.sha256` is not 64 hexadecimal digits")
        })?;
        Ok(Self { cipher: encryption.cipher(), plain: Sha256::new(), expected })
    }

    /// Decrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) {
        self.cipher.apply_keystream(piece);
        self.plain.update(&*piece);
    }

    /// Ends the file and checks its hash.
    ///
    /// # Errors
    /// [`FileError::DecryptionFailed`]: all that was decrypted is worthless.
    pub fn finish(self) -> Result<(), FileError> {
        if self.plain.finalize().as_slice().ct_eq(&self.expected).into() {
            Ok(())
        } else {
            Err(FileError::DecryptionFailed)
        }
    }
}

impl fmt::Debug for FileDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDecryptor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
