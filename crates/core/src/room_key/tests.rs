use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::{Code, Error};
use crate::identity::Identity;
use crate::testing::{captured, recorded, rng, text};

const UUID: &str = "a0617a42-4732-4765-b04e-54d8475c10b2";
const GCM_K: &str = "GUurjlB9DjKCmXk_k_-vI5u084TtvmNdDLnzUkmRW3U";
const CBC_K: &str = "U5RO5k0m3F0qvPT_9g9GFg";

fn jwk(alg: &str, k: &str) -> String {
    json!({ "kty": "oct", "alg": alg, "k": k, "ext": true, "key_ops": ["encrypt"] }).to_string()
}

fn read(jwk: &str, id: &str) -> Result<RoomKey, RoomKeyError> {
    RoomKey::from_jwk(jwk, id.parse()?)
}

fn code<T: fmt::Debug>(result: Result<T, RoomKeyError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

#[test]
fn a_new_key_is_gcm_with_a_uuid_and_never_the_same() {
    let first = RoomKey::generate(&mut rng()).unwrap();
    let second = RoomKey::generate(&mut rng()).unwrap();
    assert_eq!(first.algorithm(), Algorithm::A256Gcm);
    assert_eq!(uuid::Uuid::parse_str(first.id().as_str()).unwrap().get_version_num(), 4);
    assert_ne!(first.id(), second.id());
    assert!(!first.same_secret(&second));
    assert!(first.same_secret(&first));
}

#[test]
fn a_new_cbc_key_is_named_by_the_hash_of_its_jwk() {
    let key = RoomKey::generate_cbc(&mut rng()).unwrap();
    assert_eq!(key.algorithm(), Algorithm::A128Cbc);
    assert_eq!(key.id().as_str(), &hex::encode(Sha256::digest(key.jwk.as_bytes()))[..12]);
}

#[test]
fn the_captured_cbc_key_has_the_id_that_its_jwk_hashes_to() {
    let Some(file) = captured("message-v1-web.json") else { return };
    let alphabetical = OctJwk::parse(&file["roomKeyJwk"].to_string()).unwrap().to_json();
    let hash = hex::encode(Sha256::digest(alphabetical.as_bytes()));
    assert_eq!(&hash[..12], text(&file, "/kid"));
}

#[test]
fn recorded_keys_of_every_client_unwrap() {
    let identities = recorded("identities.json");
    let identity = Identity::from_private_jwk(text(&identities, "/privateKey")).unwrap();
    let file = recorded("room-keys.json");
    let keys = file["roomKeys"].as_array().unwrap();
    assert!(keys.len() >= 6);
    for recorded in keys {
        let key = identity.unwrap_room_key(&mut rng(), text(recorded, "/wrapped")).unwrap();
        assert_eq!(key.id().as_str(), text(recorded, "/keyId"));
        assert_eq!(key.algorithm().as_str(), text(recorded, "/algorithm"));
        assert_eq!(*key.jwk, text(recorded, "/jwk"), "handed on as its maker wrote it");
    }
}

#[test]
fn a_wrapped_key_opens_for_its_member_alone() {
    let [ann, bob] = [(); 2].map(|()| Identity::generate(&mut rng()).unwrap());
    for key in [RoomKey::generate(&mut rng()).unwrap(), RoomKey::generate_cbc(&mut rng()).unwrap()]
    {
        let wrapped = key.wrap_for(&mut rng(), ann.public_key()).unwrap();
        assert_eq!(wrapped.len(), key.id().as_str().len() + 344);
        let unwrapped = ann.unwrap_room_key(&mut rng(), &wrapped).unwrap();
        assert_eq!(unwrapped.id(), key.id());
        assert!(unwrapped.same_secret(&key));
        assert_eq!(code(bob.unwrap_room_key(&mut rng(), &wrapped)), Code::DecryptionFailed);
    }
}

#[test]
fn malformed_wrapped_keys_are_refused() {
    let ann = Identity::generate(&mut rng()).unwrap();
    let wrapped =
        RoomKey::generate(&mut rng()).unwrap().wrap_for(&mut rng(), ann.public_key()).unwrap();
    let block = wrapped[36..].to_owned();
    for bad in [
        String::new(),
        "short".to_owned(),
        block.clone(),
        format!("thirteen-char{block}"),
        format!("äöüäöü{block}"),
        format!("{UUID}{}", "A".repeat(344)),
        format!("{UUID}{}!", &block[..343]),
        format!("{UUID}{}", "é".repeat(172)),
        format!("{wrapped}{wrapped}"),
    ] {
        assert_eq!(code(ann.unwrap_room_key(&mut rng(), &bad)), Code::MalformedKey, "{bad:.40}");
    }
    // Something else than a room key's JWK, wrapped well.
    for plaintext in ["", "hello", "{}", "\u{0}", &jwk("A256GCM", "AAAA")] {
        let block = ann.public_key().encrypt(&mut rng(), plaintext.as_bytes()).unwrap();
        let bad = format!("{UUID}{}", BASE64_STANDARD.encode(block));
        assert_eq!(code(ann.unwrap_room_key(&mut rng(), &bad)), Code::MalformedKey, "{plaintext}");
    }
    let mut flipped = wrapped.into_bytes();
    flipped[100] = if flipped[100] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    assert_eq!(code(ann.unwrap_room_key(&mut rng(), &flipped)), Code::DecryptionFailed);
}

#[test]
fn malformed_jwks_and_ids_are_refused() {
    let gcm = jwk("A256GCM", GCM_K);
    let cbc = jwk("A128CBC", CBC_K);
    assert!(read(&gcm, UUID).is_ok());
    assert!(read(&gcm, "eyJhbGciOiJB").is_ok());
    assert!(read(&cbc, "fdda0f066173").is_ok());
    for id in ["", "short", "thirteen-char", "with a space", "äöüäöü", &"a".repeat(37)] {
        assert_eq!(code(read(&gcm, id)), Code::MalformedKey, "{id}");
    }
    assert_eq!(code(read(&cbc, UUID)), Code::MalformedKey);
    for bad in
        ["", "null", "{}", "[]", "\"A256GCM\"", &jwk("A256GCM", CBC_K), &jwk("A128CBC", GCM_K)]
    {
        assert_eq!(code(read(bad, "fdda0f066173")), Code::MalformedKey, "{bad}");
    }
    assert_eq!(code(read(&jwk("A256GCM", "not base64url!"), UUID)), Code::MalformedKey);
    assert_eq!(code(read(&gcm.replace("oct", "RSA"), UUID)), Code::MalformedKey);
    assert_eq!(code(read(&jwk("A128GCM", CBC_K), UUID)), Code::UnsupportedAlgorithm);
    assert_eq!(code(read(&jwk("A256CTR", GCM_K), UUID)), Code::UnsupportedAlgorithm);
}

#[test]
fn a_jwk_too_long_to_wrap_is_wrapped_in_its_shortest_form() {
    let ann = Identity::generate(&mut rng()).unwrap();
    let mut long: Value = serde_json::from_str(&jwk("A256GCM", GCM_K)).unwrap();
    long["comment"] = json!("a member that no client knows".repeat(10));
    let key = read(&long.to_string(), UUID).unwrap();
    let wrapped = key.wrap_for(&mut rng(), ann.public_key()).unwrap();
    assert!(ann.unwrap_room_key(&mut rng(), &wrapped).unwrap().same_secret(&key));
}

#[test]
fn debug_shows_no_key() {
    let key = read(&jwk("A256GCM", GCM_K), UUID).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("RoomKey {{ id: KeyId(\"{UUID}\"), algorithm: A256Gcm, .. }}")
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text: String, id in "[!-~]{12}") {
        prop_assert!(read(&text, &id).is_err());
        let _ = text.parse::<WrappedRoomKey>();
        let wrapped = format!("{id}{}==", "A".repeat(342)).parse::<WrappedRoomKey>();
        prop_assert!(wrapped.unwrap().open(Some(text.as_bytes())).is_err());
    }
}
