//! AES-GCM and RSA-OAEP by RustCrypto.

use std::sync::Arc;

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use rand_core::CryptoRng;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{AesGcm, OaepPrivateKey, OaepPublicKey, Refused};

pub(crate) struct RustCryptoGcm(Box<Aes256Gcm>);

impl AesGcm for RustCryptoGcm {
    fn new(key: &[u8; 32]) -> Result<Self, Refused> {
        Ok(Self(Box::new(Aes256Gcm::new(key.into()))))
    }

    fn seal(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused> {
        self.0.encrypt_in_place(iv.into(), b"", buffer).map_err(|_| Refused)
    }

    fn open(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused> {
        self.0.decrypt_in_place(iv.into(), b"", buffer).map_err(|_| Refused)
    }
}

pub(crate) struct RustCryptoOaepPrivate(Arc<RsaPrivateKey>);

impl OaepPrivateKey for RustCryptoOaepPrivate {
    fn new(key: Arc<RsaPrivateKey>) -> Result<Self, Refused> {
        Ok(Self(key))
    }

    fn decrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        // Blinded on purpose: the plain `decrypt` is not, without the crate's own randomness.
        self.0
            .decrypt_blinded(rng, Oaep::<Sha256>::new(), ciphertext)
            .map(Zeroizing::new)
            .map_err(|_| Refused)
    }
}

pub(crate) struct RustCryptoOaepPublic(RsaPublicKey);

impl OaepPublicKey for RustCryptoOaepPublic {
    fn new(modulus: &[u8]) -> Result<Self, Refused> {
        super::public_key(modulus).map(Self)
    }

    fn encrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        self.0.encrypt(rng, Oaep::<Sha256>::new(), plaintext).map_err(|_| Refused)
    }
}
