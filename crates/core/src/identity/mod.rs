//! A user's RSA key pair: what Rocket.Chat keeps as `e2e.public_key` and `e2e.private_key`.
//!
//! RSA-OAEP with 2048 bits, exponent 65537, SHA-256 for hash and mask, empty label (protocol
//! §7.1). The private key is stored with the server, encrypted by a passphrase (§7.3).

mod envelope;
mod passphrase;

use std::fmt;
use std::sync::Arc;

use rand_core::CryptoRng;
use rsa::BoxedUint;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::{self, EXPONENT, OaepPrivateKey as _, OaepPublicKey as _, RSA_BYTES, Refused};
use crate::jwk::{JwkError, RsaJwk, RsaPrivateJwk, RsaPrivateParts, RsaPublicJwk};
use crate::room_key::{RoomKey, RoomKeyError, WrappedRoomKey};

pub use envelope::{KeyDerivation, Locking, MAX_ITERATIONS, MIN_ITERATIONS, Unlocking};
pub use passphrase::generate_passphrase;

const MODULUS_BITS: u32 = 2048;

/// What can go wrong with an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The passphrase does not open the envelope, or somebody changed the envelope: with an
    /// authenticated cipher the two look alike.
    #[error("the passphrase does not open this private key, or the stored key was changed")]
    WrongPassphrase,
    /// The passphrase has characters that web and mobile clients turn into different bytes.
    #[error(
        "the passphrase has characters outside ASCII, which Rocket.Chat's web and mobile clients \
         read differently"
    )]
    AmbiguousPassphrase,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// A user id goes into the salt, where clients agree only on printable ASCII.
    #[error("the user id is empty, too long or not printable ASCII")]
    InvalidUserId,
    /// The stored private key has no known form.
    #[error("malformed private-key envelope: {0}")]
    MalformedEnvelope(&'static str),
    /// The envelope asks for fewer than [`MIN_ITERATIONS`] or more than [`MAX_ITERATIONS`].
    #[error(
        "the envelope's PBKDF2 iterations are outside {MIN_ITERATIONS} to {MAX_ITERATIONS}, so \
         no work was done"
    )]
    IterationsOutOfRange,
    /// The key is not an RSA-2048 key with exponent 65537, or its parts do not fit each other.
    #[error("malformed RSA key: {0}")]
    MalformedKey(&'static str),
    /// The JWK is for another algorithm than RSA-OAEP-256.
    #[error("the JWK is not for RSA-OAEP-256")]
    UnsupportedAlgorithm,
    /// The library could not make a key pair.
    #[error("the key pair could not be generated")]
    Generation,
}

impl From<JwkError> for IdentityError {
    fn from(error: JwkError) -> Self {
        match error {
            JwkError::Malformed(reason) => Self::MalformedKey(reason),
            JwkError::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
        }
    }
}

/// SHA-256 over the SubjectPublicKeyInfo (RFC 5280 §4.1) of a public key.
///
/// Displayed as 64 lower-case hexadecimal digits in 16 groups of four, for people to compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// A fingerprint of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks(2).enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&hex::encode(pair))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Somebody's public key: room keys are wrapped for it.
pub struct PublicKey {
    modulus: Box<[u8]>,
    oaep: crypto::OaepPublic,
}

impl PublicKey {
    /// Reads a public JWK, as Rocket.Chat stores it in `e2e.public_key`. A private JWK does too:
    /// only its public members are looked at.
    ///
    /// # Errors
    /// [`IdentityError::MalformedKey`], [`IdentityError::UnsupportedAlgorithm`].
    pub fn from_jwk(json: &str) -> Result<Self, IdentityError> {
        let jwk = RsaJwk::parse(json)?;
        Self::new(&jwk.n()?, &jwk.e()?)
    }

    fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, IdentityError> {
        check_public(modulus, exponent)?;
        let oaep = crypto::OaepPublic::new(modulus)
            .map_err(|Refused| IdentityError::MalformedKey("the modulus is not usable"))?;
        Ok(Self { modulus: modulus.into(), oaep })
    }

    /// The JWK in the form that WebCrypto exports.
    pub fn to_jwk(&self) -> String {
        RsaPublicJwk::to_json(&self.modulus, &EXPONENT)
    }

    /// See [`Fingerprint`].
    ///
    /// # Errors
    /// [`IdentityError::MalformedKey`] where the key has no DER form.
    pub fn fingerprint(&self) -> Result<Fingerprint, IdentityError> {
        let der = crypto::public_key(&self.modulus)
            .and_then(|key| key.to_public_key_der().map_err(|_| Refused))
            .map_err(|Refused| IdentityError::MalformedKey("the key has no DER form"))?;
        Ok(Fingerprint(Sha256::digest(der.as_bytes()).into()))
    }

    pub(crate) fn encrypt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        self.oaep.encrypt(rng, plaintext)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

/// A key pair. The private half leaves it only inside an envelope, or for the host's own
/// cryptography.
pub struct Identity {
    private: Arc<RsaPrivateKey>,
    oaep: crypto::OaepPrivate,
    public: PublicKey,
}

impl Identity {
    /// Makes a key pair: about 50 ms of work, more when the primes are slow to come.
    ///
    /// # Errors
    /// [`IdentityError::Generation`], which does not happen with a working `rng`.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Result<Self, IdentityError> {
        let key = RsaPrivateKey::new(rng, MODULUS_BITS as usize)
            .map_err(|_| IdentityError::Generation)?;
        Self::from_generated(key)
    }

    fn from_generated(mut key: RsaPrivateKey) -> Result<Self, IdentityError> {
        // OpenSSL and BoringSSL write the larger prime as p; so do we.
        if let [p, q] = key.primes()
            && p < q
        {
            let primes = vec![q.as_ref().clone(), p.as_ref().clone()];
            let (n, e) = (key.n().as_ref().clone(), key.e().clone());
            key = RsaPrivateKey::from_components(n, e, key.d().clone(), primes)
                .map_err(|_| IdentityError::Generation)?;
        }
        Self::new(key)
    }

    /// Reads a key pair that the host's own cryptography made, as PKCS#8 in DER (RFC 5958). What
    /// [`Identity::from_private_jwk`] expects of a key is expected here.
    ///
    /// # Errors
    /// [`IdentityError::MalformedKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let key = RsaPrivateKey::from_pkcs8_der(der)
            .map_err(|_| IdentityError::MalformedKey("it is not PKCS#8 of an RSA key"))?;
        check_public(&key.n_bytes(), &key.e_bytes())?;
        Self::from_generated(key)
    }

    /// The key pair for the host's own cryptography, as PKCS#8 in DER (RFC 5958).
    ///
    /// # Errors
    /// [`IdentityError::MalformedKey`] where the key has no DER form.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let der = self
            .private
            .to_pkcs8_der()
            .map_err(|_| IdentityError::MalformedKey("the key has no DER form"))?;
        Ok(der.to_bytes())
    }

    /// Reads a private JWK. All of `n`, `e`, `d`, `p` and `q` must be there and fit each other;
    /// `dp`, `dq` and `qi` are computed anew.
    ///
    /// # Errors
    /// [`IdentityError::MalformedKey`], [`IdentityError::UnsupportedAlgorithm`].
    pub fn from_private_jwk(json: &str) -> Result<Self, IdentityError> {
        let jwk = RsaJwk::parse(json)?;
        let n = jwk.n()?;
        check_public(&n, &jwk.e()?)?;
        let public = crypto::public_key(&n)
            .map_err(|Refused| IdentityError::MalformedKey("the modulus is not usable"))?;
        let (d, p, q) = (jwk.d()?, jwk.p()?, jwk.q()?);
        let secret = |bytes: &[u8], bits: u32| {
            BoxedUint::from_be_slice(bytes, bits)
                .map_err(|_| IdentityError::MalformedKey("a private member is too long"))
        };
        let primes = vec![secret(&p, MODULUS_BITS / 2)?, secret(&q, MODULUS_BITS / 2)?];
        let key = RsaPrivateKey::from_components(
            public.n().as_ref().clone(),
            public.e().clone(),
            secret(&d, MODULUS_BITS)?,
            primes,
        )
        .map_err(|_| IdentityError::MalformedKey("the members do not fit each other"))?;
        Self::new(key)
    }

    fn new(key: RsaPrivateKey) -> Result<Self, IdentityError> {
        let public = PublicKey::new(&key.n_bytes(), &key.e_bytes())?;
        let private = Arc::new(key);
        let oaep = crypto::OaepPrivate::new(Arc::clone(&private))
            .map_err(|Refused| IdentityError::MalformedKey("the key is not usable"))?;
        Ok(Self { private, oaep, public })
    }

    /// Opens a stored private key: the value of `e2e.private_key`, a JSON text.
    ///
    /// Forms v1 and v2 are read, with the passphrase as Latin-1 (web clients) and as UTF-8
    /// (mobile clients). `user_id` is the salt of form v1; form v2 carries its own.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassphrase`], [`IdentityError::MalformedEnvelope`],
    /// [`IdentityError::IterationsOutOfRange`], and [`IdentityError::MalformedKey`] when what
    /// was sealed is not a private key.
    pub fn unlock(stored: &str, passphrase: &str, user_id: &str) -> Result<Self, IdentityError> {
        let mut unlocking = Unlocking::new(stored, passphrase, user_id)?;
        loop {
            let key = unlocking.derivation().run();
            if let Some(identity) = unlocking.open(&key)? {
                return Ok(identity);
            }
        }
    }

    /// Seals the private key in form v2, as the web client does: AES-256-GCM with a key from
    /// PBKDF2-HMAC-SHA256, 100,000 iterations, salt `v2:<user id>:<uuid>`. Returns the JSON text
    /// for `e2e.private_key`.
    ///
    /// # Errors
    /// [`IdentityError::AmbiguousPassphrase`], [`IdentityError::EmptyPassphrase`],
    /// [`IdentityError::InvalidUserId`].
    pub fn lock<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        passphrase: &str,
        user_id: &str,
    ) -> Result<String, IdentityError> {
        let locking = Locking::new(rng, passphrase, user_id)?;
        let key = locking.derivation().run();
        locking.seal(rng, self, &key)
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Opens a wrapped room key: an `E2EKey`, `E2ESuggestedKey` or `oldRoomKeys[].E2EKey`
    /// (protocol §7.2).
    ///
    /// # Errors
    /// [`RoomKeyError::DecryptionFailed`] when it was wrapped for somebody else or changed,
    /// [`RoomKeyError::MalformedKey`], [`RoomKeyError::UnsupportedAlgorithm`].
    pub fn unwrap_room_key<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        wrapped: &str,
    ) -> Result<RoomKey, RoomKeyError> {
        let wrapped: WrappedRoomKey = wrapped.parse()?;
        let jwk = self.oaep.decrypt(rng, wrapped.ciphertext());
        wrapped.open(jwk.as_ref().ok().map(|jwk| jwk.as_slice()))
    }

    pub(crate) fn to_private_jwk(&self) -> Result<Zeroizing<String>, IdentityError> {
        let key = &*self.private;
        let missing = || IdentityError::MalformedKey("the key is incomplete");
        let bytes = |integer: &BoxedUint| Zeroizing::new(integer.to_be_bytes());
        let [p, q] = key.primes() else {
            return Err(missing());
        };
        let (p, q, d) = (bytes(p), bytes(q), bytes(key.d()));
        let dp = bytes(key.dp().ok_or_else(missing)?);
        let dq = bytes(key.dq().ok_or_else(missing)?);
        let qi = bytes(&key.crt_coefficient().ok_or_else(missing)?);
        Ok(RsaPrivateJwk::to_json(&RsaPrivateParts {
            n: &key.n_bytes(),
            e: &key.e_bytes(),
            d: &d,
            p: &p,
            q: &q,
            dp: &dp,
            dq: &dq,
            qi: &qi,
        }))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Big-endian integers of a key, held to what Rocket.Chat's clients make. A small exponent or an
/// odd size would let a wrapped room key be read, or not fit the wrapped form.
fn check_public(modulus: &[u8], exponent: &[u8]) -> Result<(), IdentityError> {
    if exponent != EXPONENT {
        return Err(IdentityError::MalformedKey("the exponent is not 65537"));
    }
    match modulus {
        [0x80..=0xFF, .., last] if modulus.len() == RSA_BYTES => {
            if last.is_multiple_of(2) {
                return Err(IdentityError::MalformedKey("the modulus is not usable"));
            }
            Ok(())
        }
        _ => Err(IdentityError::MalformedKey("the modulus is not 2048 bits long")),
    }
}

#[cfg(test)]
mod tests;
