use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::error::{Code, Error};
use crate::testing::{rng, text, vectors};

const WORDS: &str = "correct horse battery staple";

fn text_secret(secret: &str) -> Secret {
    Secret::text(Zeroizing::new(secret.to_owned())).unwrap()
}

fn code<T: fmt::Debug>(result: Result<T, VaultError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

fn bytes(value: &Value, pointer: &str) -> Vec<u8> {
    hex::decode(text(value, pointer)).unwrap()
}

#[test]
fn the_vectors_open() {
    let file = vectors("vault.json");
    let data_key = bytes(&file, "/dataKey");
    let vault = Vault { key: boxed(&data_key).unwrap() };
    let records = file["records"].as_array().unwrap();
    assert!(records.len() >= 4);
    for record in records {
        let (name, version) = (text(record, "/name"), record["version"].as_u64().unwrap());
        let plaintext = vault.open(name, version, &bytes(record, "/sealed")).unwrap();
        assert_eq!(*plaintext, bytes(record, "/plaintext"), "{name}");
    }

    let keys = &file["keyRecords"];
    for by_text in keys["text"].as_array().unwrap() {
        let secret = text_secret(text(by_text, "/secret"));
        assert!(Vault::unwrap(&bytes(by_text, "/record"), &secret).unwrap().same_key(&vault));
    }
    let secret = Secret::key(&bytes(keys, "/key/secret")).unwrap();
    assert!(Vault::unwrap(&bytes(keys, "/key/record"), &secret).unwrap().same_key(&vault));
    let by_kms = bytes(keys, "/kms/record");
    assert_eq!(Vault::kms_wrapped(&by_kms).unwrap(), bytes(keys, "/kms/wrapped"));
    assert!(Vault::from_kms(&by_kms, &data_key).unwrap().same_key(&vault));
}

#[test]
fn a_record_is_sealed_anew_each_time_and_as_long_as_documented() {
    let vault = Vault::generate(&mut rng());
    let [first, second] = [(); 2].map(|()| vault.seal(&mut rng(), "a", 1, b"hello").unwrap());
    assert_ne!(first, second);
    assert_eq!(first.len(), 5 + SEALED_OVERHEAD);
    assert_eq!(first[0], FORMAT);
    assert!(!first.windows(5).any(|window| window == b"hello"));
}

#[test]
fn a_record_opens_under_its_name_version_and_key_alone() {
    let vault = Vault::generate(&mut rng());
    let sealed = vault.seal(&mut rng(), "room/a", 7, b"hello").unwrap();
    assert_eq!(*vault.open("room/a", 7, &sealed).unwrap(), b"hello");
    for (name, version) in
        [("room/b", 7), ("room/a", 6), ("room/a", 8), ("", 7), ("room/a\0", 7), ("room/", 7)]
    {
        assert_eq!(code(vault.open(name, version, &sealed)), Code::StoreMismatch, "{name}");
    }
    let other = Vault::generate(&mut rng());
    assert_eq!(code(other.open("room/a", 7, &sealed)), Code::StoreMismatch);
}

#[test]
fn a_changed_record_does_not_open() {
    let vault = Vault::generate(&mut rng());
    let sealed = vault.seal(&mut rng(), "a", 1, b"hello").unwrap();
    for length in 0..sealed.len() {
        let expected =
            if length < SEALED_OVERHEAD { Code::StoreCorrupt } else { Code::StoreMismatch };
        assert_eq!(code(vault.open("a", 1, &sealed[..length])), expected, "{length} bytes");
    }
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let expected = match changed[0] {
            0 => Code::StoreCorrupt,
            FORMAT => Code::StoreMismatch,
            _ => Code::StoreTooNew,
        };
        assert_eq!(code(vault.open("a", 1, &changed)), expected, "bit {bit}");
    }
}

#[test]
fn each_kind_of_secret_unwraps_what_it_wrapped_and_nothing_else() {
    let vault = Vault::generate(&mut rng());
    let key_bytes = [7; KEY_BYTES];
    let (words, key) = (text_secret(WORDS), Secret::key(&key_bytes).unwrap());
    let by_text = vault.wrap(&mut rng(), &words).unwrap();
    let by_key = vault.wrap(&mut rng(), &key).unwrap();
    let by_kms = vault.record_kms_wrapped(&mut rng(), b"what a KMS answered").unwrap();
    assert!(Vault::unwrap(&by_text, &words).unwrap().same_key(&vault));
    assert!(Vault::unwrap(&by_key, &key).unwrap().same_key(&vault));
    assert_eq!(Vault::kms_wrapped(&by_kms).unwrap(), b"what a KMS answered");
    let data_key = vault.reveal_data_key();
    assert!(Vault::from_kms(&by_kms, data_key.as_slice()).unwrap().same_key(&vault));

    let wrong = Code::WrongStoreSecret;
    assert_eq!(code(Vault::unwrap(&by_text, &text_secret("wrong"))), wrong);
    assert_eq!(code(Vault::unwrap(&by_text, &text_secret(&WORDS.to_uppercase()))), wrong);
    assert_eq!(code(Vault::unwrap(&by_text, &key)), wrong);
    assert_eq!(code(Vault::unwrap(&by_key, &Secret::key(&[8; KEY_BYTES]).unwrap())), wrong);
    assert_eq!(code(Vault::unwrap(&by_key, &words)), wrong);
    assert_eq!(code(Vault::unwrap(&by_kms, &words)), wrong);
    assert_eq!(code(Vault::kms_wrapped(&by_text)), wrong);
    assert_eq!(code(Vault::from_kms(&by_key, data_key.as_slice())), wrong);
    assert_eq!(code(Vault::from_kms(&by_kms, &key_bytes)), wrong);
    assert_eq!(code(Vault::from_kms(&by_kms, b"short")), wrong);
}

#[test]
fn unusable_secrets_are_refused() {
    let vault = Vault::generate(&mut rng());
    assert_eq!(code(Secret::text(Zeroizing::default())), Code::InvalidArgument);
    for length in [0, 16, 31, 33, 64] {
        assert_eq!(code(Secret::key(&vec![0; length])), Code::InvalidArgument, "{length}");
    }
    for length in [0, MAX_KMS_BYTES + 1] {
        let record = vault.record_kms_wrapped(&mut rng(), &vec![0; length]);
        assert_eq!(code(record), Code::InvalidArgument, "{length}");
    }
    assert!(vault.record_kms_wrapped(&mut rng(), &vec![0; MAX_KMS_BYTES]).is_ok());
}

#[test]
fn a_damaged_key_record_is_told_from_a_wrong_secret() {
    let vault = Vault::generate(&mut rng());
    let key = Secret::key(&[7; KEY_BYTES]).unwrap();
    let records = [
        vault.wrap(&mut rng(), &text_secret(WORDS)).unwrap(),
        vault.wrap(&mut rng(), &key).unwrap(),
        vault.record_kms_wrapped(&mut rng(), b"wrapped").unwrap(),
    ];
    for record in &records {
        for length in 0..record.len() {
            let cut = Vault::unwrap(&record[..length], &key);
            assert_eq!(code(cut), Code::StoreCorrupt, "{length} bytes");
        }
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if matches!(changed[0], 0 | FORMAT) {
                Code::StoreCorrupt
            } else {
                Code::StoreTooNew
            };
            assert_eq!(code(Vault::unwrap(&changed, &key)), expected, "bit {bit}");
            assert_eq!(code(Vault::kms_wrapped(&changed)), expected, "bit {bit}");
        }
    }
}

/// Whoever can write the file can also write its checksum.
#[test]
fn a_forged_key_record_does_not_open() {
    let vault = Vault::generate(&mut rng());
    let words = text_secret(WORDS);
    let record = vault.wrap(&mut rng(), &words).unwrap();
    let content = &record[..record.len() - CHECKSUM_BYTES];
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forged = content.to_vec();
        change(&mut forged);
        code(Vault::unwrap(&with_checksum(forged), &words))
    };
    for position in [6, 37, 38, 62, content.len() - 1] {
        assert_eq!(forge(&|record| record[position] ^= 1), Code::WrongStoreSecret, "{position}");
    }
    for iterations in [0, 1, MIN_ITERATIONS - 1, MAX_ITERATIONS + 1, u32::MAX] {
        let forged = forge(&|record| record[2..6].copy_from_slice(&iterations.to_be_bytes()));
        assert_eq!(forged, Code::StoreCorrupt, "{iterations} iterations");
    }
    assert_eq!(forge(&|record| record[1] = 0), Code::StoreCorrupt);
    assert_eq!(forge(&|record| record[1] = BY_KEY), Code::StoreCorrupt);
    assert_eq!(forge(&|record| record[1] = BY_KMS), Code::StoreCorrupt);
    assert_eq!(forge(&|record| record[1] = 4), Code::StoreCorrupt);
    assert_eq!(forge(&|record| record[0] = 2), Code::StoreTooNew);
    assert_eq!(forge(&|record| record.push(0)), Code::StoreCorrupt);
    assert_eq!(forge(&|record| record.truncate(2)), Code::StoreCorrupt);
    // A record is no key record, even under its key.
    let sealed = vault.seal(&mut rng(), "vault", 1, vault.key.as_slice()).unwrap();
    let secret = Secret::key(vault.key.as_slice()).unwrap();
    let forged = with_checksum([&[FORMAT, BY_KEY], &sealed[1..]].concat());
    assert_eq!(code(Vault::unwrap(&forged, &secret)), Code::WrongStoreSecret);
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", Vault::generate(&mut rng())), "Vault { .. }");
    assert_eq!(format!("{:?}", text_secret(WORDS)), "Secret { .. }");
    assert_eq!(format!("{:?}", Secret::key(&[7; 32]).unwrap()), "Secret { .. }");
}

proptest! {
    #[test]
    fn what_is_sealed_opens(name in ".*", version: u64, plaintext: Vec<u8>) {
        let vault = Vault::generate(&mut rng());
        let sealed = vault.seal(&mut rng(), &name, version, &plaintext).unwrap();
        prop_assert_eq!(&*vault.open(&name, version, &sealed).unwrap(), &plaintext);
    }

    #[test]
    fn names_and_versions_do_not_run_into_each_other(
        first: (String, u64), second: (String, u64),
    ) {
        prop_assume!(first != second);
        prop_assert_ne!(record_binding(&first.0, first.1), record_binding(&second.0, second.1));
    }

    #[test]
    fn no_bytes_make_it_panic(sealed: Vec<u8>) {
        let vault = Vault::generate(&mut rng());
        prop_assert!(vault.open("a", 1, &sealed).is_err());
        prop_assert!(Vault::unwrap(&with_checksum(sealed.clone()), &Secret::key(&[7; 32]).unwrap()).is_err());
        prop_assert!(Vault::kms_wrapped(&sealed).is_err());
    }
}
