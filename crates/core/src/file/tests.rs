use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::{Code, Error};
use crate::testing::{recorded, rng, text};

fn code<T: fmt::Debug>(result: Result<T, FileError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

fn decrypt(encryption: &str, sha256: &str, data: &mut [u8]) -> Result<(), FileError> {
    let mut decryptor = FileDecryptor::new(&FileEncryption::parse(encryption)?, sha256)?;
    decryptor.update(data);
    decryptor.finish()
}

#[test]
fn recorded_files_open() {
    let file = recorded("files.json");
    let files = file["files"].as_array().unwrap();
    assert!(!files.is_empty());
    for recorded in files {
        let mut data = BASE64_STANDARD.decode(text(recorded, "/data")).unwrap();
        let encryption = recorded["encryption"].to_string();
        decrypt(&encryption, text(recorded, "/hashes/sha256"), &mut data).unwrap();
        assert_eq!(data, BASE64_STANDARD.decode(text(recorded, "/plain")).unwrap());
        assert_eq!(encrypted_file_name(text(recorded, "/name")), text(recorded, "/hashedName"));
    }
}

#[test]
fn the_counter_wraps_in_its_low_64_bits_alone() {
    // Eight bytes 7, then a counter whose next value is zero: the eight must stay 7.
    let iv = [[7; 8], [0xFF; 8]].concat();
    let wrapped = [[7; 8], [0; 8]].concat();
    let key = json!({ "kty": "oct", "alg": "A256CTR", "k": "A".repeat(43) });
    let parse = |iv: &[u8]| {
        let json = json!({ "key": key, "iv": BASE64_STANDARD.encode(iv) }).to_string();
        FileEncryption::parse(&json).unwrap().cipher()
    };
    let mut stream = [0; 32];
    parse(&iv).apply_keystream(&mut stream);
    let mut second = [0; 16];
    parse(&wrapped).apply_keystream(&mut second);
    assert_eq!(stream[16..], second);
}

#[test]
fn a_changed_file_or_a_wrong_key_is_told() {
    let mut encryptor = FileEncryptor::new(&mut rng());
    let encryption = encryptor.encryption().to_json();
    let mut data = b"a file".to_vec();
    encryptor.update(&mut data);
    let sha256 = encryptor.finish();

    let mut changed = data.clone();
    changed[0] ^= 1;
    assert_eq!(code(decrypt(&encryption, &sha256, &mut changed)), Code::DecryptionFailed);
    let mut truncated = data[..5].to_vec();
    assert_eq!(code(decrypt(&encryption, &sha256, &mut truncated)), Code::DecryptionFailed);
    let another = FileEncryptor::new(&mut rng()).encryption().to_json();
    assert_eq!(code(decrypt(&another, &sha256, &mut data.clone())), Code::DecryptionFailed);
    assert!(decrypt(&encryption, &sha256.to_uppercase(), &mut data).is_ok());
    assert_eq!(data, b"a file");
}

#[test]
fn malformed_descriptions_are_told() {
    let sha256 = "0".repeat(64);
    let good = json!({
        "key": { "kty": "oct", "alg": "A256CTR", "k": "A".repeat(43) },
        "iv": "AAAAAAAAAAAAAAAAAAAAAA==",
    });
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut encryption = good.clone();
        *encryption.pointer_mut(pointer).unwrap() = value;
        code(decrypt(&encryption.to_string(), &sha256, &mut []))
    };
    assert_eq!(code(decrypt(&good.to_string(), &sha256, &mut [])), Code::DecryptionFailed);
    assert_eq!(changed("/iv", json!("AAAA")), Code::MalformedEnvelope);
    assert_eq!(changed("/iv", json!(5)), Code::MalformedEnvelope);
    assert_eq!(changed("", json!({})), Code::MalformedEnvelope);
    assert_eq!(changed("/key", json!("A".repeat(43))), Code::MalformedKey);
    assert_eq!(changed("/key/k", json!("AAAA")), Code::MalformedKey);
    assert_eq!(changed("/key/k", json!(null)), Code::MalformedKey);
    assert_eq!(changed("/key/kty", json!("RSA")), Code::MalformedKey);
    assert_eq!(changed("/key/alg", json!("A128CTR")), Code::UnsupportedAlgorithm);
    for sha256 in ["", "0", &"0".repeat(63), &"g".repeat(64)] {
        assert_eq!(code(decrypt(&good.to_string(), sha256, &mut [])), Code::MalformedEnvelope);
    }
}

#[test]
fn debug_shows_no_key() {
    let encryptor = FileEncryptor::new(&mut rng());
    assert_eq!(format!("{:?}", encryptor.encryption()), "FileEncryption { .. }");
    assert_eq!(format!("{encryptor:?}"), "FileEncryptor { .. }");
}

proptest! {
    #[test]
    fn pieces_of_any_size_make_the_same_file(
        data: Vec<u8>,
        sizes in prop::collection::vec(1..50usize, 1..20),
    ) {
        let mut encryptor = FileEncryptor::new(&mut rng());
        let encryption = encryptor.encryption().to_json();
        let mut encrypted = data.clone();
        let mut rest = encrypted.as_mut_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, left) = rest.split_at_mut((*size).min(rest.len()));
            encryptor.update(piece);
            rest = left;
        }
        let sha256 = encryptor.finish();
        decrypt(&encryption, &sha256, &mut encrypted).unwrap();
        prop_assert_eq!(encrypted, data);
    }

    #[test]
    fn no_text_makes_a_reader_panic(json: String, sha256: String) {
        prop_assert!(decrypt(&json, &sha256, &mut []).is_err());
    }
}
