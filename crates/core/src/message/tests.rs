use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ejson::Value;
use crate::error::{Code, Error};
use crate::room_key::Sealed;
use crate::testing::{captured, recorded, rng, text};

fn keys() -> [RoomKey; 2] {
    [RoomKey::generate(&mut rng()).unwrap(), RoomKey::generate_cbc(&mut rng()).unwrap()]
}

fn key(file: &serde_json::Value) -> RoomKey {
    RoomKey::from_jwk(text(file, "/jwk"), text(file, "/keyId").parse().unwrap()).unwrap()
}

fn decrypt(key: &RoomKey, content: &str) -> Result<MessageContent, MessageError> {
    key.decrypt(&EncryptedContent::parse(content)?)
}

fn code<T: std::fmt::Debug>(result: Result<T, MessageError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

/// Encrypts any payload, as a client with ideas of its own would.
fn seal<'a>(key: &'a RoomKey, payload: &[u8]) -> EncryptedContent<'a> {
    EncryptedContent::from_sealed(key.id(), &key.seal(&mut rng(), payload.to_vec()).unwrap())
}

fn payload(payload: &str) -> Result<MessageContent, MessageError> {
    let [key, _] = keys();
    key.decrypt(&seal(&key, payload.as_bytes()))
}

#[test]
fn recorded_messages_of_every_form_open() {
    let file = recorded("messages.json");
    let messages = file["messages"].as_array().unwrap();
    let mut forms = std::collections::BTreeSet::new();
    for recorded in messages {
        let form = text(recorded, "/form");
        forms.insert(form);
        let document = Value::parse(&recorded["message"].to_string()).unwrap();
        let content = encrypted_content_of(&document).unwrap();
        let key = key(&recorded["roomKey"]);
        if form == "f" {
            assert_eq!(code(decrypt(&key, &content)), Code::UnsupportedAlgorithm);
        } else {
            let opened = decrypt(&key, &content).unwrap();
            assert_eq!(opened.msg, text(recorded, "/msg"), "{}", recorded["name"]);
        }
    }
    assert!(forms.is_superset(&["a", "b", "c", "d", "e", "f"].into()), "{forms:?}");
}

#[test]
fn captured_messages_open_byte_for_byte() {
    for name in ["message-v1-web.json", "message-v2-web.json"] {
        let Some(file) = captured(name) else { return };
        let id = text(&file, "/kid").parse().unwrap();
        let key = RoomKey::from_jwk(&file["roomKeyJwk"].to_string(), id).unwrap();
        let document = Value::parse(&file["message"].to_string()).unwrap();
        let content = encrypted_content_of(&document).unwrap();
        let content = EncryptedContent::parse(&content).unwrap();
        assert_eq!(content.key_id().unwrap(), text(&file, "/kid"));
        assert_eq!(key.decrypt(&content).unwrap().to_text(), text(&file, "/plaintext"));
    }
}

#[test]
fn messages_follow_the_algorithm_of_the_key() {
    let [gcm, cbc] = keys();
    let content = MessageContent::text("hello");
    let v2: serde_json::Value =
        serde_json::from_str(&gcm.encrypt(&mut rng(), &content).unwrap().to_text()).unwrap();
    assert_eq!(v2["algorithm"], "rc.v2.aes-sha2");
    assert_eq!(v2["kid"], gcm.id().as_str());
    assert_eq!(text(&v2, "/iv").len(), 16);
    let v1: serde_json::Value =
        serde_json::from_str(&cbc.encrypt(&mut rng(), &content).unwrap().to_text()).unwrap();
    assert_eq!(v1["algorithm"], "rc.v1.aes-sha2");
    assert!(text(&v1, "/ciphertext").starts_with(cbc.id().as_str()));
    assert_eq!(v1.as_object().unwrap().len(), 2);
}

#[test]
fn a_key_of_the_other_algorithm_does_not_fit() {
    let [gcm, cbc] = keys();
    let content = MessageContent::text("hello");
    let of_gcm = gcm.encrypt(&mut rng(), &content).unwrap();
    let of_cbc = cbc.encrypt(&mut rng(), &content).unwrap();
    assert_eq!(code(cbc.decrypt(&of_gcm)), Code::DecryptionFailed);
    assert_eq!(code(gcm.decrypt(&of_cbc)), Code::DecryptionFailed);
}

#[test]
fn malformed_envelopes_are_told() {
    let [gcm, cbc] = keys();
    let good = json!({
        "algorithm": "rc.v2.aes-sha2", "kid": gcm.id().as_str(),
        "iv": "AAAAAAAAAAAAAAAA", "ciphertext": "AAAAAAAAAAAAAAAAAAAAAA==",
    });
    assert_eq!(code(decrypt(&gcm, &good.to_string())), Code::DecryptionFailed);
    let changed = |member: &str, value: serde_json::Value| {
        let mut envelope = good.clone();
        envelope[member] = value;
        envelope.to_string()
    };
    for envelope in [
        "{}".to_owned(),
        "{".to_owned(),
        changed("algorithm", json!(null)),
        changed("algorithm", json!(5)),
        changed("kid", json!(null)),
        changed("kid", json!(5)),
        changed("iv", json!(null)),
        changed("iv", json!("")),
        changed("iv", json!("AAAA")),
        changed("iv", json!("not base64")),
        changed("ciphertext", json!(null)),
        changed("ciphertext", json!({})),
        changed("ciphertext", json!("")),
        changed("ciphertext", json!("AAAA")),
        changed("ciphertext", json!("AAAAAAAAAAAAAAAAAAAAAB==")),
        changed("ciphertext", json!("A".repeat(MAX + 4))),
        "".to_owned(),
        "short".to_owned(),
        "elevenchars".to_owned(),
        "twelve-chars".to_owned(),
        "twelve-charsAAAA".to_owned(),
        "ééééééAAAAAAA".to_owned(),
        format!("fdda0f066173{}", "AAAA".repeat(4)),
        format!("fdda0f066173{}", "!".repeat(64)),
    ] {
        for key in [&gcm, &cbc] {
            assert_eq!(code(decrypt(key, &envelope)), Code::MalformedEnvelope, "{envelope:.80}");
        }
    }
}

const MAX: usize = 16 * 1024 * 1024;

#[test]
fn unknown_algorithms_are_told() {
    let [gcm, _] = keys();
    for algorithm in ["m.megolm.v1.aes-sha2", "rc.v3.aes-sha2", ""] {
        let envelope = json!({ "algorithm": algorithm, "ciphertext": "AAAA" }).to_string();
        assert_eq!(code(decrypt(&gcm, &envelope)), Code::UnsupportedAlgorithm, "{algorithm}");
    }
}

#[test]
fn what_does_not_hold_a_message_looks_like_a_wrong_key() {
    let [gcm, cbc] = keys();
    let deep = format!(r#"{{"attachments":[{}]}}"#, "[".repeat(200) + &"]".repeat(200));
    for bad in [
        "",
        "x",
        "5",
        "null",
        "[]",
        "\"text\"",
        "{",
        "{\"msg\":5}",
        "{\"attachments\":{}}",
        "{\"files\":\"x\"}",
        &deep,
    ] {
        for key in [&gcm, &cbc] {
            let content = seal(key, bad.as_bytes());
            assert_eq!(code(key.decrypt(&content)), Code::DecryptionFailed, "{bad:.40}");
        }
    }
    assert_eq!(code(gcm.decrypt(&seal(&gcm, b"{\"msg\":\"\xFF\"}"))), Code::DecryptionFailed);
}

#[test]
fn payloads_of_every_client_become_content() {
    assert_eq!(payload("{}").unwrap(), MessageContent::default());
    assert_eq!(payload(r#"{"msg":"a"}"#).unwrap().msg, "a");
    assert_eq!(payload(r#"{"text":"a"}"#).unwrap().msg, "a");
    assert_eq!(payload(r#"{"text":"a","msg":"b"}"#).unwrap().msg, "b");
    assert_eq!(payload(r#"{"text":"a","msg":""}"#).unwrap().msg, "");
    assert_eq!(payload(r#"{"msg":"a","msg":"b"}"#).unwrap().msg, "b");
    assert_eq!(payload(r#"{"msg":null,"attachments":null}"#).unwrap(), MessageContent::default());
    assert_eq!(payload(r#"{"msg":"\ud800"}"#).unwrap().msg, "\u{FFFD}");
    let file = payload(r#"{"attachments":[{"ts":{"$date":5}}],"files":[{}],"file":{}}"#).unwrap();
    assert_eq!(
        file.to_text(),
        r#"{"msg":"","attachments":[{"ts":{"$date":5}}],"files":[{}],"file":{}}"#
    );
}

#[test]
fn members_that_belong_to_the_server_are_not_believed() {
    let hostile = r#"{"_id":"x","rid":"x","u":{"_id":"x"},"t":"x","ts":{"$date":1},"msg":"hello"}"#;
    assert_eq!(payload(hostile).unwrap().to_text(), r#"{"msg":"hello"}"#);
}

#[test]
fn content_to_encrypt_needs_a_text() {
    for bad in ["", "{}", "[]", "5", r#"{"msg":5}"#, r#"{"msg":null}"#, r#"{"msg":"a","files":5}"#]
    {
        assert_eq!(code(MessageContent::parse(bad)), Code::InvalidArgument, "{bad}");
    }
    assert_eq!(MessageContent::parse(r#"{"msg":"\udfff"}"#).unwrap().msg, "\u{FFFD}");
}

#[test]
fn encrypted_content_is_found_where_it_is() {
    let of = |document: serde_json::Value| {
        encrypted_content_of(&Value::parse(&document.to_string()).unwrap())
            .map(|content| serde_json::from_str::<serde_json::Value>(&content).unwrap())
    };
    let v1 = json!({ "algorithm": "rc.v1.aes-sha2", "ciphertext": "c" });
    let other = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "c" });
    let v1_of_msg = json!({ "algorithm": "rc.v1.aes-sha2", "ciphertext": "m" });

    assert_eq!(of(json!({ "t": "e2e", "content": v1, "msg": "" })), Some(v1.clone()));
    assert_eq!(of(json!({ "t": "e2e", "content": v1, "msg": "m" })), Some(v1.clone()));
    assert_eq!(of(json!({ "t": "e2e", "msg": "m" })), Some(v1_of_msg.clone()));
    assert_eq!(of(json!({ "t": "e2e", "content": {}, "msg": "m" })), Some(v1_of_msg.clone()));
    assert_eq!(of(json!({ "t": "e2e", "content": other, "msg": "m" })), Some(v1_of_msg));
    assert_eq!(of(json!({ "t": "e2e", "content": other, "msg": "" })), Some(other));
    let pinned = json!({ "t": "message_pinned_e2e", "attachments": [{ "content": v1 }] });
    assert_eq!(of(pinned), Some(v1.clone()));

    assert_eq!(of(json!({ "content": v1, "msg": "m", "e2e": "pending" })), None);
    assert_eq!(of(json!({ "t": "uj", "content": v1 })), None);
    assert_eq!(of(json!({ "t": 5, "content": v1 })), None);
    assert_eq!(of(json!({ "t": "e2e" })), None);
    assert_eq!(of(json!({ "t": "e2e", "content": "c", "msg": 5 })), None);
    assert_eq!(of(json!({ "t": "message_pinned_e2e", "attachments": [] })), None);
    assert_eq!(of(json!([])), None);
}

#[test]
fn a_payload_overlays_four_members_and_no_removed_file() {
    let document = |text: &str| match Value::parse(text).unwrap() {
        Value::Object(object) => object,
        _ => panic!("unexpected form"),
    };
    let content = payload(
        r#"{"msg":"look","_id":"forged","attachments":[{"fileId":"A"},{"fileId":"B"}],
            "files":[{"_id":"A"},{"_id":"B"}],"file":{"_id":"A"}}"#,
    )
    .unwrap();

    let mut message = document(r#"{"_id":"1","msg":"","attachments":[{"type":"file"}],"t":"e2e"}"#);
    overlay(&mut message, content.clone());
    assert_eq!(
        Value::Object(message).to_text(),
        r#"{"_id":"1","attachments":[{"fileId":"A"},{"fileId":"B"}],"file":{"_id":"A"},"files":[{"_id":"A"},{"_id":"B"}],"msg":"look","t":"e2e"}"#
    );

    let mut removed =
        document(r#"{"msg":"","attachments":[{"type":"removed-file"}],"files":[],"t":"e2e"}"#);
    overlay(&mut removed, content);
    assert_eq!(
        Value::Object(removed).to_text(),
        r#"{"attachments":[{"type":"removed-file"},{"fileId":"B"}],"files":[{"_id":"B"}],"msg":"look","t":"e2e"}"#
    );

    let mut text_only = document(r#"{"msg":"","attachments":[{"type":"removed-file"}]}"#);
    overlay(&mut text_only, MessageContent::text("hello"));
    assert_eq!(
        Value::Object(text_only).to_text(),
        r#"{"attachments":[{"type":"removed-file"}],"msg":"hello"}"#
    );
}

#[test]
fn debug_shows_no_plaintext() {
    assert_eq!(format!("{:?}", MessageContent::text("secret")), "MessageContent { .. }");
}

proptest! {
    #[test]
    fn messages_round_trip(msg: String) {
        for key in keys() {
            let content = MessageContent::text(msg.clone());
            let encrypted = key.encrypt(&mut rng(), &content).unwrap();
            let text = encrypted.to_text();
            prop_assert_eq!(decrypt(&key, &text).unwrap(), content);
        }
    }

    #[test]
    fn the_payload_is_the_json_that_serde_writes(msg: String, title: String) {
        let mut content = MessageContent::text(msg.clone());
        prop_assert_eq!(content.to_text(), json!({ "msg": msg }).to_string());
        content.attachments = Some(vec![Value::String(title.clone())]);
        content.file = Some(Value::Null);
        let expected = format!(r#"{{"msg":{},"attachments":[{}],"file":null}}"#, json!(msg), json!(title));
        prop_assert_eq!(content.to_text(), expected);
    }

    #[test]
    fn any_byte_flipped_under_gcm_fails(msg: String, position: prop::sample::Index, bit in 0..8u32) {
        let [key, _] = keys();
        let Sealed::Gcm { iv, mut ciphertext } =
            key.seal(&mut rng(), MessageContent::text(msg).to_plaintext()).unwrap()
        else { panic!("unexpected form") };
        let position = position.index(ciphertext.len());
        ciphertext[position] ^= 1 << bit;
        let content = EncryptedContent::from_sealed(key.id(), &Sealed::Gcm { iv, ciphertext });
        prop_assert_eq!(code(key.decrypt(&content)), Code::DecryptionFailed);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text: String) {
        for key in keys() {
            let _ = decrypt(&key, &text);
            let _ = key.decrypt(&seal(&key, text.as_bytes()));
        }
        let _ = MessageContent::parse(&text);
    }
}
