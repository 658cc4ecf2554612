use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::message::MessageContent;
use crate::room_key::RoomKey;
use crate::testing::rng;
use crate::vault::Vault;

fn archive(keys: &[(&str, &RoomKey)]) -> KeyArchive {
    let vault = Vault::generate(&mut rng());
    let records: Vec<Value> = keys
        .iter()
        .map(|(id, key)| {
            let name = format!("room/{id}");
            let held = json!({
                "id": key.id().as_str(), "recordedId": key.id().as_str(), "jwk": key.jwk(),
                "since": 1, "source": "accepted",
            });
            let record = json!({ "authorized": true, "current": null, "keys": [held] });
            let sealed = vault.seal(&mut rng(), &name, 1, record.to_string().as_bytes()).unwrap();
            json!({ "name": name, "version": 1, "data": BASE64_STANDARD.encode(sealed) })
        })
        .collect();
    KeyArchive::from_records(&vault, &json!(records).to_string()).unwrap()
}

fn says(key: &RoomKey, msg: &str) -> Value {
    let content = key.encrypt(&mut rng(), &MessageContent::text(msg)).unwrap();
    serde_json::from_str(&content.to_text()).unwrap()
}

fn outcomes(archive: &KeyArchive, messages: &Value, room_id: Option<&str>) -> Vec<Value> {
    let text = archive.decrypt_text(&messages.to_string(), room_id).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn each_message_has_its_own_outcome() {
    let (held, missing) =
        (RoomKey::generate(&mut rng()).unwrap(), RoomKey::generate_cbc(&mut rng()).unwrap());
    let archive = archive(&[("here", &held)]);
    let messages = json!([
        { "_id": "1", "rid": "here", "t": "e2e", "content": says(&held, "hello") },
        { "_id": "2", "rid": "here", "t": "e2e", "content": says(&missing, "lost") },
        { "_id": "3", "rid": "there", "t": "e2e", "content": says(&held, "elsewhere") },
        { "_id": "4", "rid": "here", "t": "uj", "msg": "ann" },
        { "_id": "5", "rid": "here", "t": "e2e", "msg": "" },
        7,
    ]);
    let outcomes = outcomes(&archive, &messages, None);
    assert_eq!(outcomes[0][0]["document"]["msg"], "hello");
    assert_eq!(outcomes[0][0]["keyId"], held.id().as_str());
    assert_eq!(outcomes[1][0], "ERR_E2EE_NO_ROOM_KEY");
    assert_eq!(outcomes[1][2], missing.id().as_str());
    assert_eq!(outcomes[2][0], "ERR_E2EE_NO_ROOM_KEY");
    assert_eq!(outcomes[3], json!([]));
    assert_eq!(outcomes[4][0], "ERR_E2EE_MALFORMED_ENVELOPE");
    assert_eq!(outcomes[5][0], "ERR_E2EE_MALFORMED_ENVELOPE");
}

#[test]
fn exports_of_a_room_name_neither_type_nor_room_as_the_server_does() {
    let key = RoomKey::generate_cbc(&mut rng()).unwrap();
    let archive = archive(&[("here", &key)]);
    let text = says(&key, "from before content")["ciphertext"].clone();
    let message = json!([{ "msg": text, "username": "ann", "ts": "2024-01-01", "type": "e2e" }]);
    assert_eq!(
        outcomes(&archive, &message, Some("here"))[0][0]["document"]["msg"],
        "from before content"
    );
    assert_eq!(outcomes(&archive, &message, None)[0][0], "ERR_E2EE_INVALID_ARGUMENT");
}

#[test]
fn a_message_nested_too_deep_fails_alone() {
    let key = RoomKey::generate(&mut rng()).unwrap();
    let archive = archive(&[("here", &key)]);
    let good = json!({ "rid": "here", "t": "e2e", "content": says(&key, "hello") });
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let messages = format!(r#"[{{"rid":"here","t":"e2e","x":{deep}}},{good}]"#);
    let text = archive.decrypt_text(&messages, None).unwrap();
    let outcomes: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(outcomes[0][0], "ERR_E2EE_MALFORMED_ENVELOPE");
    assert_eq!(outcomes[1][0]["document"]["msg"], "hello");
}

#[test]
fn its_description_counts_keys() {
    let key = RoomKey::generate(&mut rng()).unwrap();
    let archive = archive(&[("here", &key)]);
    let described: Value = serde_json::from_str(&archive.describe()).unwrap();
    assert_eq!(described, json!({ "account": null, "rooms": { "here": 1 } }));
}

#[test]
fn what_is_no_bundle_is_told() {
    for bundle in ["", "{}", r#"{"format":"x","key":"!","sealed":""}"#] {
        let error = KeyArchive::from_bundle(bundle, "passphrase").unwrap_err();
        assert_eq!(error.code(), Code::MalformedEnvelope, "{bundle}");
    }
}
