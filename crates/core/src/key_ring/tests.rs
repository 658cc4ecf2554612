use super::*;
use crate::error::{Code, Error};
use crate::testing::rng;

fn gcm() -> Arc<RoomKey> {
    Arc::new(RoomKey::generate(&mut rng()).unwrap())
}

/// A key of the time before 7.0, when nearly all keys had the same id.
fn oldest(byte: u8) -> Arc<RoomKey> {
    use base64::Engine as _;
    let k = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode([byte; 16]);
    let jwk = format!(r#"{{"alg":"A128CBC","ext":true,"k":"{k}","kty":"oct"}}"#);
    Arc::new(RoomKey::from_jwk(&jwk, "eyJhbGciOiJB".parse().unwrap()).unwrap())
}

fn says<'a>(key: &'a RoomKey, msg: &str) -> EncryptedContent<'a> {
    key.encrypt(&mut rng(), &MessageContent::text(msg)).unwrap()
}

fn code(result: Result<MessageContent, KeyRingError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

#[test]
fn old_keys_open_old_messages_after_a_reset() {
    let (old, new) = (gcm(), gcm());
    let mut ring = KeyRing::new();
    ring.set_current(Arc::clone(&old));
    ring.retire_current();
    assert!(ring.current().is_none());
    ring.set_current(Arc::clone(&new));
    assert_eq!(ring.current().unwrap().id(), new.id());
    assert_eq!(ring.decrypt(&says(&old, "before")).unwrap().msg, "before");
    assert_eq!(ring.decrypt(&says(&new, "after")).unwrap().msg, "after");
}

#[test]
fn several_old_keys_may_share_one_id() {
    let keys: Vec<_> = (0..20).map(oldest).collect();
    let mut ring = KeyRing::new();
    ring.set_current(gcm());
    for key in &keys {
        ring.insert_old(key.id().clone(), Arc::clone(key));
    }
    for (index, key) in keys.iter().enumerate() {
        let msg = format!("message {index}");
        assert_eq!(ring.decrypt(&says(key, &msg)).unwrap().msg, msg);
    }
}

#[test]
fn an_old_key_is_found_by_its_recorded_id_too() {
    let old = gcm();
    let mut ring = KeyRing::new();
    ring.insert_old("recorded-id!".parse().unwrap(), Arc::clone(&old));
    let EncryptedContent::V2 { iv, ciphertext, .. } = says(&old, "hello") else {
        panic!("unexpected form")
    };
    let content = EncryptedContent::V2 { kid: "recorded-id!".into(), iv, ciphertext };
    assert_eq!(ring.decrypt(&content).unwrap().msg, "hello");
}

#[test]
fn the_current_key_is_tried_whatever_the_id() {
    let current = gcm();
    let mut ring = KeyRing::new();
    ring.set_current(Arc::clone(&current));
    let EncryptedContent::V2 { iv, ciphertext, .. } = says(&current, "hello") else {
        panic!("unexpected form")
    };
    for kid in ["another id", "", "a0617a42-4732-4765-b04e-54d8475c10b2"] {
        let content = EncryptedContent::V2 {
            kid: kid.into(),
            iv: iv.clone(),
            ciphertext: ciphertext.clone(),
        };
        assert_eq!(ring.decrypt(&content).unwrap().msg, "hello");
    }
}

#[test]
fn a_missing_key_is_told_from_a_changed_message() {
    let (held, missing) = (gcm(), gcm());
    let mut ring = KeyRing::new();
    assert_eq!(code(ring.decrypt(&says(&missing, "hello"))), Code::NoRoomKey);
    ring.set_current(Arc::clone(&held));
    assert_eq!(code(ring.decrypt(&says(&missing, "hello"))), Code::NoRoomKey);

    let EncryptedContent::V2 { kid, ciphertext, .. } = says(&held, "hello") else {
        panic!("unexpected form")
    };
    let changed = EncryptedContent::V2 { kid, iv: "AAAAAAAAAAAAAAAA".into(), ciphertext };
    assert_eq!(code(ring.decrypt(&changed)), Code::DecryptionFailed);
    let malformed = EncryptedContent::V1 { ciphertext: "short".into() };
    assert_eq!(code(ring.decrypt(&malformed)), Code::MalformedEnvelope);
    let foreign = EncryptedContent::Other { algorithm: "m.megolm.v1.aes-sha2".into() };
    assert_eq!(code(ring.decrypt(&foreign)), Code::UnsupportedAlgorithm);
}

#[test]
fn a_key_is_kept_once() {
    let key = oldest(1);
    let mut ring = KeyRing::new();
    for _ in 0..3 {
        ring.insert_old(key.id().clone(), oldest(1));
        ring.set_current(Arc::clone(&key));
    }
    assert_eq!(ring.by_id[key.id()].len(), 1);
}

#[test]
fn a_key_recorded_under_a_foreign_id_does_not_pass_for_the_missing_one() {
    let (wanted, stale) = (gcm(), gcm());
    let mut ring = KeyRing::new();
    ring.insert_old(wanted.id().clone(), stale);
    assert_eq!(code(ring.decrypt(&says(&wanted, "hello"))), Code::NoRoomKey);
    ring.set_current(Arc::clone(&wanted));
    assert_eq!(ring.decrypt(&says(&wanted, "hello")).unwrap().msg, "hello");
}
