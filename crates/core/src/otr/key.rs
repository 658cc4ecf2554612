//! The keys of a session: ephemeral pairs on P-256, and what they agree on.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use p256::ecdh::diffie_hellman;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::OtrError;
use crate::ejson;
use crate::jwk::EcPublicJwk;

/// Length of an iv, in bytes.
const IV_BYTES: usize = 12;
/// Length of the authentication tag, in bytes.
const TAG_BYTES: usize = 16;
/// Longest message that is looked at, in characters of its EJSON text.
const MAX_CHARS: usize = 16 * 1024 * 1024;

/// One's own half of an agreement: drawn for one handshake, wiped with it.
pub(super) struct KeyPair(SecretKey);

impl KeyPair {
    pub(super) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(SecretKey::generate_from_rng(rng))
    }

    /// The public half as a JWK.
    pub(super) fn public_jwk(&self) -> String {
        let point = self.0.public_key().to_sec1_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| bytes.copied().unwrap_or_default();
        EcPublicJwk::to_json(&coordinate(point.x()), &coordinate(point.y()))
    }

    /// The first 16 bytes of SHA-256 over the shared x coordinate.
    pub(super) fn agree(&self, peer: &PeerKey) -> Result<SessionKey, OtrError> {
        let shared = diffie_hellman(self.0.to_nonzero_scalar(), peer.0.as_affine());
        let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(shared.raw_secret_bytes())));
        let (key, _) = digest.split_at(16);
        Aes128Gcm::new_from_slice(key).map(|cipher| SessionKey(Box::new(cipher))).map_err(refused)
    }

    #[cfg(test)]
    pub(super) fn from_scalar(scalar: &[u8]) -> Option<Self> {
        SecretKey::from_slice(scalar).ok().map(Self)
    }
}

/// The peer's half: a point that was checked to be on the curve.
#[derive(Clone, PartialEq)]
pub(super) struct PeerKey(PublicKey);

impl PeerKey {
    /// Reads a public JWK.
    pub(super) fn from_jwk(jwk: &str) -> Result<Self, OtrError> {
        let (x, y) = EcPublicJwk::parse(jwk)?;
        let point = [&[4][..], &x[..], &y[..]].concat();
        PublicKey::from_sec1_bytes(&point)
            .map(Self)
            .map_err(|_| OtrError::MalformedKey("the point is not on the curve"))
    }
}

/// The key of a session: AES-128-GCM. Wiped when dropped.
pub(super) struct SessionKey(Box<Aes128Gcm>);

impl SessionKey {
    /// Encrypts a text to `{"$binary": base64(iv ‖ ciphertext ‖ tag)}`, as EJSON text.
    pub(super) fn seal<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        plaintext: &str,
    ) -> Result<String, OtrError> {
        let mut iv = [0; IV_BYTES];
        rng.fill_bytes(&mut iv);
        let mut buffer = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        buffer.extend_from_slice(plaintext.as_bytes());
        self.0.encrypt_in_place(&Nonce::from(iv), b"", &mut buffer).map_err(refused)?;
        Ok(ejson::Value::Binary([&iv[..], &buffer].concat()).to_text())
    }

    /// Opens what [`SessionKey::seal`] and the other client's counterpart write.
    pub(super) fn open(&self, sealed: &str) -> Result<Zeroizing<String>, OtrError> {
        let malformed = || OtrError::MalformedEnvelope("it is not the EJSON of bytes");
        if sealed.len() > MAX_CHARS {
            return Err(OtrError::MalformedEnvelope("it is too long"));
        }
        let Ok(ejson::Value::Binary(bytes)) = ejson::Value::parse(sealed) else {
            return Err(malformed());
        };
        let (iv, ciphertext) = bytes.split_first_chunk::<IV_BYTES>().ok_or_else(malformed)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        self.0
            .decrypt_in_place(&Nonce::from(*iv), b"", &mut *buffer)
            .map_err(|_| OtrError::DecryptionFailed)?;
        std::str::from_utf8(&buffer)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| OtrError::DecryptionFailed)
    }
}

#[cfg(test)]
impl SessionKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Box::new(Aes128Gcm::new_from_slice(bytes).unwrap()))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").finish_non_exhaustive()
    }
}

fn refused<E>(_: E) -> OtrError {
    OtrError::Encryption
}
