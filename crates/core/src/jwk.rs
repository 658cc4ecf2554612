//! JSON Web Keys (RFC 7517, RFC 7518 §6) as WebCrypto writes and reads them.

use base64_simd::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest JWK that is looked at, in bytes. A private RSA-2048 key takes about 1,800.
const MAX_BYTES: usize = 16 * 1024;

/// What is wrong with a JWK, without quoting it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JwkError {
    Malformed(&'static str),
    UnsupportedAlgorithm,
}

impl From<&'static str> for JwkError {
    fn from(reason: &'static str) -> Self {
        Self::Malformed(reason)
    }
}

/// A symmetric key (`kty: oct`). Written in alphabetical order, as web clients do: key ids of
/// the years 7.0 to 7.12 are a hash over exactly this text. Read in any order.
#[derive(Serialize, Deserialize)]
pub(crate) struct OctJwk {
    alg: String,
    #[serde(default)]
    ext: bool,
    k: Zeroizing<String>,
    #[serde(default)]
    key_ops: Vec<String>,
    kty: String,
}

impl OctJwk {
    pub(crate) fn new(alg: &str, key: &[u8]) -> Self {
        Self {
            alg: alg.to_owned(),
            ext: true,
            k: encode(key),
            key_ops: vec!["encrypt".to_owned(), "decrypt".to_owned()],
            kty: "oct".to_owned(),
        }
    }

    pub(crate) fn parse(json: &str) -> Result<Self, JwkError> {
        parse(json)
    }

    pub(crate) fn to_json(&self) -> Zeroizing<String> {
        to_json(self)
    }

    /// The `alg` member and the key bytes, once `kty` is seen to be `oct`.
    pub(crate) fn key(&self) -> Result<(&str, Zeroizing<Vec<u8>>), JwkError> {
        if self.kty != "oct" {
            return Err(JwkError::Malformed("the JWK is not a symmetric key"));
        }
        Ok((&self.alg, decode(&self.k, "k is not base64url")?))
    }
}

/// The length of a coordinate on P-256, in bytes.
const COORDINATE_BYTES: usize = 32;

/// A public key on P-256 (`kty: EC`), members as WebCrypto's `exportKey` gives them for ECDH.
#[derive(Serialize, Deserialize)]
pub(crate) struct EcPublicJwk {
    crv: String,
    #[serde(default)]
    ext: bool,
    #[serde(default)]
    key_ops: Vec<String>,
    kty: String,
    x: String,
    y: String,
}

impl EcPublicJwk {
    /// Takes the two coordinates.
    pub(crate) fn to_json(x: &[u8], y: &[u8]) -> String {
        let jwk = Self {
            crv: "P-256".to_owned(),
            ext: true,
            key_ops: Vec::new(),
            kty: "EC".to_owned(),
            x: encode(x).to_string(),
            y: encode(y).to_string(),
        };
        to_json(&jwk).to_string()
    }

    /// The two coordinates, each of full length (RFC 7518 §6.2.1.2). Whether they are a point of
    /// the curve is not looked at.
    pub(crate) fn parse(
        json: &str,
    ) -> Result<([u8; COORDINATE_BYTES], [u8; COORDINATE_BYTES]), JwkError> {
        let jwk: Self = parse(json)?;
        if jwk.kty != "EC" {
            return Err(JwkError::Malformed("the JWK is not a key on an elliptic curve"));
        }
        if jwk.crv != "P-256" {
            return Err(JwkError::UnsupportedAlgorithm);
        }
        let coordinate = |text: &str| {
            let bytes = decode(text, "a coordinate is not base64url")?;
            <[u8; COORDINATE_BYTES]>::try_from(bytes.as_slice())
                .map_err(|_| JwkError::Malformed("a coordinate does not have 32 bytes"))
        };
        Ok((coordinate(&jwk.x)?, coordinate(&jwk.y)?))
    }
}

/// An RSA key, public or private.
#[derive(Deserialize)]
pub(crate) struct RsaJwk {
    alg: Option<String>,
    kty: String,
    n: Option<Zeroizing<String>>,
    e: Option<Zeroizing<String>>,
    d: Option<Zeroizing<String>>,
    p: Option<Zeroizing<String>>,
    q: Option<Zeroizing<String>>,
}

impl RsaJwk {
    /// Reads a JWK for RSA-OAEP with SHA-256.
    pub(crate) fn parse(json: &str) -> Result<Self, JwkError> {
        let jwk: Self = parse(json)?;
        if jwk.kty != "RSA" {
            return Err(JwkError::Malformed("the JWK is not an RSA key"));
        }
        match jwk.alg.as_deref() {
            None | Some("RSA-OAEP-256") => Ok(jwk),
            Some(_) => Err(JwkError::UnsupportedAlgorithm),
        }
    }

    pub(crate) fn n(&self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        integer(self.n.as_ref(), "n is missing or not base64url")
    }

    pub(crate) fn e(&self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        integer(self.e.as_ref(), "e is missing or not base64url")
    }

    pub(crate) fn d(&self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        integer(self.d.as_ref(), "d is missing or not base64url")
    }

    pub(crate) fn p(&self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        integer(self.p.as_ref(), "p is missing or not base64url")
    }

    pub(crate) fn q(&self) -> Result<Zeroizing<Vec<u8>>, JwkError> {
        integer(self.q.as_ref(), "q is missing or not base64url")
    }
}

/// A public RSA key, members as WebCrypto's `exportKey` gives them.
#[derive(Serialize)]
pub(crate) struct RsaPublicJwk {
    alg: &'static str,
    pub(crate) e: Zeroizing<String>,
    ext: bool,
    key_ops: [&'static str; 1],
    kty: &'static str,
    pub(crate) n: Zeroizing<String>,
}

impl RsaPublicJwk {
    pub(crate) fn to_json(n: &[u8], e: &[u8]) -> String {
        let jwk = Self {
            alg: "RSA-OAEP-256",
            e: encode_integer(e),
            ext: true,
            key_ops: ["encrypt"],
            kty: "RSA",
            n: encode_integer(n),
        };
        to_json(&jwk).to_string()
    }
}

/// A private RSA key, members as WebCrypto's `exportKey` gives them, in alphabetical order.
#[derive(Serialize)]
pub(crate) struct RsaPrivateJwk {
    alg: &'static str,
    d: Zeroizing<String>,
    dp: Zeroizing<String>,
    dq: Zeroizing<String>,
    e: Zeroizing<String>,
    ext: bool,
    key_ops: [&'static str; 1],
    kty: &'static str,
    n: Zeroizing<String>,
    p: Zeroizing<String>,
    q: Zeroizing<String>,
    qi: Zeroizing<String>,
}

/// Big-endian integers of a private key.
pub(crate) struct RsaPrivateParts<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) dp: &'a [u8],
    pub(crate) dq: &'a [u8],
    pub(crate) qi: &'a [u8],
}

impl RsaPrivateJwk {
    pub(crate) fn to_json(parts: &RsaPrivateParts<'_>) -> Zeroizing<String> {
        to_json(&Self {
            alg: "RSA-OAEP-256",
            d: encode_integer(parts.d),
            dp: encode_integer(parts.dp),
            dq: encode_integer(parts.dq),
            e: encode_integer(parts.e),
            ext: true,
            key_ops: ["decrypt"],
            kty: "RSA",
            n: encode_integer(parts.n),
            p: encode_integer(parts.p),
            q: encode_integer(parts.q),
            qi: encode_integer(parts.qi),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, JwkError> {
    if json.len() > MAX_BYTES {
        return Err(JwkError::Malformed("the JWK is too long"));
    }
    serde_json::from_str(json).map_err(|_| JwkError::Malformed("the JWK is not valid JSON"))
}

fn to_json<T: Serialize>(jwk: &T) -> Zeroizing<String> {
    // Room for any key of ours, so that no reallocation leaves a copy behind.
    let mut json = Vec::with_capacity(4 * 1024);
    // Writing strings, booleans and lists of strings to memory cannot fail.
    let _infallible = serde_json::to_writer(&mut json, jwk);
    Zeroizing::new(String::from_utf8(json).unwrap_or_default())
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(bytes))
}

/// Base64urlUInt (RFC 7518 §2): no leading zero bytes.
fn encode_integer(bytes: &[u8]) -> Zeroizing<String> {
    encode(trim(bytes))
}

fn decode(text: &str, reason: &'static str) -> Result<Zeroizing<Vec<u8>>, JwkError> {
    URL_SAFE_NO_PAD.decode_to_vec(text).map(Zeroizing::new).map_err(|_| reason.into())
}

fn integer(
    text: Option<&Zeroizing<String>>,
    reason: &'static str,
) -> Result<Zeroizing<Vec<u8>>, JwkError> {
    let bytes = decode(text.ok_or(reason)?, reason)?;
    Ok(Zeroizing::new(trim(&bytes).to_vec()))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
