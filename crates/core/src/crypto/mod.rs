//! The boundary to the cryptographic libraries.
//!
//! AES-256-GCM and RSA-OAEP have two implementations behind the traits below: RustCrypto, which
//! builds everywhere, and AWS-LC (feature `aws-lc`), which is the native default because its RSA
//! private operation is five times faster and free of RUSTSEC-2023-0071. Both are held to the
//! same tests, and to each other, in `tests.rs`. Everything else has one implementation.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(any(test, not(feature = "aws-lc")))]
mod rustcrypto;
#[cfg(test)]
mod tests;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
    KeyInit, block_padding::Pkcs7,
};
use rand_core::CryptoRng;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use zeroize::{Zeroizing, optimization_barrier};

#[cfg(feature = "aws-lc")]
pub(crate) use aws_lc::{
    AwsLcGcm as Gcm, AwsLcOaepPrivate as OaepPrivate, AwsLcOaepPublic as OaepPublic,
};
#[cfg(not(feature = "aws-lc"))]
pub(crate) use rustcrypto::{
    RustCryptoGcm as Gcm, RustCryptoOaepPrivate as OaepPrivate, RustCryptoOaepPublic as OaepPublic,
};

/// Length of an RSA-2048 block, in bytes.
pub(crate) const RSA_BYTES: usize = 256;
/// The public exponent of every key of Rocket.Chat's, 65537, big-endian.
pub(crate) const EXPONENT: [u8; 3] = [1, 0, 1];
/// Length of the AES-GCM authentication tag, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// A library refused to do its work. It says no more, on purpose: which check failed must not
/// be told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// AES-256-GCM with a 12-byte iv, a 16-byte tag and no associated data.
pub(crate) trait AesGcm: Sized {
    /// Expands the key once, for many messages.
    fn new(key: &[u8; 32]) -> Result<Self, Refused>;
    /// Encrypts in place and appends the tag.
    fn seal(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused>;
    /// Checks the tag, decrypts in place and cuts the tag off.
    fn open(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused>;
}

/// The private half of RSA-OAEP with SHA-256 for hash and mask, and an empty label.
pub(crate) trait OaepPrivateKey: Sized {
    fn new(key: Arc<RsaPrivateKey>) -> Result<Self, Refused>;
    fn decrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refused>;
}

/// The public half of [`OaepPrivateKey`].
pub(crate) trait OaepPublicKey: Sized {
    /// Takes the modulus, big-endian; the exponent is [`EXPONENT`].
    fn new(modulus: &[u8]) -> Result<Self, Refused>;
    fn encrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Refused>;
}

/// The public key of a modulus, with what `rsa` computes ahead: for more than encrypting.
pub(crate) fn public_key(modulus: &[u8]) -> Result<RsaPublicKey, Refused> {
    let integer = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
    RsaPublicKey::new(integer(modulus), integer(&EXPONENT)).map_err(|_| Refused)
}

/// Plaintext of a message, wiped when it is dropped. [`Zeroizing`] writes byte by byte, which takes
/// longer than decrypting did.
pub(crate) struct Plaintext(Vec<u8>);

impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Plaintext {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Plaintext {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        optimization_barrier(self.0.as_slice());
    }
}

/// AES-CBC with PKCS#7 padding (NIST SP 800-38A, RFC 5652 §6.3), generic over the key size.
pub(crate) struct Cbc<C>(C);

impl<C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + Clone> Cbc<C> {
    pub(crate) fn new(key: &[u8]) -> Result<Self, Refused> {
        C::new_from_slice(key).map(Self).map_err(|_| Refused)
    }

    pub(crate) fn encrypt(&self, iv: &[u8; 16], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        let mode = cbc::Encryptor::inner_iv_slice_init(self.0.clone(), iv).map_err(|_| Refused)?;
        Ok(mode.encrypt_padded_vec::<Pkcs7>(plaintext))
    }

    pub(crate) fn decrypt(&self, iv: &[u8; 16], ciphertext: &[u8]) -> Result<Plaintext, Refused> {
        let mode = cbc::Decryptor::inner_iv_slice_init(self.0.clone(), iv).map_err(|_| Refused)?;
        mode.decrypt_padded_vec::<Pkcs7>(ciphertext).map(Plaintext::from).map_err(|_| Refused)
    }
}
