//! AES-GCM and RSA-OAEP by AWS-LC.
//!
//! AWS-LC draws the seed of OAEP, and the values that blind its private operation, from its own
//! generator, which the operating system seeds; the caller's `rng` is left alone.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use rand_core::CryptoRng;
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use zeroize::{Zeroize, Zeroizing};

use super::{AesGcm, EXPONENT, OaepPrivateKey, OaepPublicKey, Refused};

pub(crate) struct AwsLcGcm(LessSafeKey);

impl AesGcm for AwsLcGcm {
    fn new(key: &[u8; 32]) -> Result<Self, Refused> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Refused)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn seal(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused> {
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(*iv), Aad::empty(), buffer)
            .map_err(|_| Refused)
    }

    fn open(&self, iv: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Refused> {
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*iv), Aad::empty(), buffer)
            .map_err(|_| Refused)?
            .len();
        buffer.truncate(length);
        Ok(())
    }
}

pub(crate) struct AwsLcOaepPrivate(OaepPrivateDecryptingKey);

impl OaepPrivateKey for AwsLcOaepPrivate {
    fn new(key: Arc<RsaPrivateKey>) -> Result<Self, Refused> {
        let der = key.to_pkcs8_der().map_err(|_| Refused)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_bytes()).map_err(|_| Refused)?;
        OaepPrivateDecryptingKey::new(key).map(Self).map_err(|_| Refused)
    }

    fn decrypt<R: CryptoRng + ?Sized>(
        &self,
        _rng: &mut R,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let mut output = Zeroizing::new(vec![0; self.0.min_output_size()]);
        let length = self
            .0
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut output, None)
            .map_err(|_| Refused)?
            .len();
        if let Some(rest) = output.get_mut(length..) {
            rest.zeroize();
        }
        output.truncate(length);
        Ok(output)
    }
}

pub(crate) struct AwsLcOaepPublic(OaepPublicEncryptingKey);

impl OaepPublicKey for AwsLcOaepPublic {
    fn new(modulus: &[u8]) -> Result<Self, Refused> {
        let components = PublicKeyComponents { n: modulus, e: &EXPONENT };
        let key: PublicEncryptingKey = components.try_into().map_err(|_| Refused)?;
        OaepPublicEncryptingKey::new(key).map(Self).map_err(|_| Refused)
    }

    fn encrypt<R: CryptoRng + ?Sized>(
        &self,
        _rng: &mut R,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let mut output = vec![0; self.0.ciphertext_size()];
        self.0
            .encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut output, None)
            .map_err(|_| Refused)?;
        Ok(output)
    }
}
