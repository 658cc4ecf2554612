use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::{Code, Error};
use crate::testing::{captured, recorded, rng, text};

const USER: &str = "annUserId00000001";

/// One identity for all tests that need just any: making them is slow.
fn identity() -> &'static Identity {
    static IDENTITY: std::sync::LazyLock<Identity> =
        std::sync::LazyLock::new(|| Identity::generate(&mut rng()).unwrap());
    &IDENTITY
}

fn code<T: std::fmt::Debug>(result: Result<T, IdentityError>) -> Code {
    Error::from(result.unwrap_err()).code()
}

fn envelope(change: impl FnOnce(&mut Value)) -> String {
    static LOCKED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| identity().lock(&mut rng(), "correct horse", USER).unwrap());
    let mut envelope = serde_json::from_str(&LOCKED).unwrap();
    change(&mut envelope);
    envelope.to_string()
}

#[test]
fn a_locked_identity_unlocks_and_stays_the_same() {
    let locked = envelope(|_| {});
    let unlocked = Identity::unlock(&locked, "correct horse", USER).unwrap();
    assert_eq!(unlocked.public_key().to_jwk(), identity().public_key().to_jwk());
    assert_eq!(*unlocked.to_private_jwk().unwrap(), *identity().to_private_jwk().unwrap());
}

#[test]
fn an_envelope_has_the_form_that_web_clients_write() {
    let envelope: Value = serde_json::from_str(&envelope(|_| {})).unwrap();
    assert_eq!(
        envelope.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["ciphertext", "iterations", "iv", "salt"]
    );
    assert_eq!(envelope["iterations"], 100_000);
    assert_eq!(text(&envelope, "/iv").len(), 16);
    let uuid = text(&envelope, "/salt").strip_prefix("v2:annUserId00000001:").unwrap();
    assert_eq!(uuid::Uuid::parse_str(uuid).unwrap().get_version_num(), 4);
}

#[test]
fn each_envelope_has_a_salt_and_an_iv_of_its_own() {
    let lock = || {
        let locked = identity().lock(&mut rng(), "correct horse", USER).unwrap();
        serde_json::from_str::<Value>(&locked).unwrap()
    };
    let (first, second) = (lock(), lock());
    for member in ["salt", "iv", "ciphertext"] {
        assert_ne!(first[member], second[member], "{member}");
    }
}

#[test]
fn private_jwks_have_the_larger_prime_first() {
    for _ in 0..4 {
        let identity = Identity::generate(&mut rng()).unwrap();
        assert!(identity.private.primes()[0] > identity.private.primes()[1]);
    }
}

#[test]
fn a_key_pair_of_the_host_is_taken_as_pkcs8() {
    let der = identity().to_pkcs8().unwrap();
    let same = Identity::from_pkcs8(&der).unwrap();
    assert_eq!(*same.to_private_jwk().unwrap(), *identity().to_private_jwk().unwrap());
    assert_eq!(*same.to_pkcs8().unwrap(), *der);
    let key = RoomKey::generate(&mut rng()).unwrap();
    let wrapped = key.wrap_for(&mut rng(), identity().public_key()).unwrap();
    assert!(same.unwrap_room_key(&mut rng(), &wrapped).unwrap().same_secret(&key));
    // Some hosts write the smaller prime first.
    let [p, q] = identity().private.primes() else { panic!("two primes") };
    let private = &identity().private;
    let turned = RsaPrivateKey::from_components(
        private.n().as_ref().clone(),
        private.e().clone(),
        private.d().clone(),
        vec![q.as_ref().clone(), p.as_ref().clone()],
    )
    .unwrap();
    let turned = Identity::from_pkcs8(turned.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    assert_eq!(*turned.to_private_jwk().unwrap(), *identity().to_private_jwk().unwrap());
}

#[test]
fn pkcs8_of_another_key_is_refused() {
    let der = |key: RsaPrivateKey| key.to_pkcs8_der().unwrap().to_bytes();
    let short = der(RsaPrivateKey::new(&mut rng(), 1024).unwrap());
    let exponent = BoxedUint::from_be_slice(&[3], 32).unwrap();
    let exponent = der(RsaPrivateKey::new_with_exp(&mut rng(), 2048, exponent).unwrap());
    let der = identity().to_pkcs8().unwrap();
    let mut changed = der.clone();
    // Within the private exponent.
    changed[400] ^= 1;
    for bad in [&short, &exponent, &changed, &der[..1000].to_vec(), &Vec::new()].map(|b| &b[..]) {
        assert_eq!(code(Identity::from_pkcs8(bad)), Code::MalformedKey);
    }
}

#[test]
fn unlocking_asks_for_the_keys_that_clients_make() {
    let locked = envelope(|_| {});
    let mut unlocking = Unlocking::new(&locked, "correct horse", USER).unwrap();
    assert_eq!(unlocking.derivation().passphrase(), b"correct horse");
    assert_eq!(unlocking.derivation().iterations(), 100_000);
    assert!(unlocking.derivation().salt().starts_with(b"v2:annUserId00000001:"));
    assert_eq!(code(unlocking.open(&[0; 32])), Code::WrongPassphrase);
    // Once more: nothing else is left to try.
    assert_eq!(code(unlocking.open(&[0; 32])), Code::WrongPassphrase);
    assert!(unlocking.open(&unlocking.derivation().run()).unwrap().is_some());

    let v1 = json!({ "$binary": "A".repeat(128) }).to_string();
    let mut unlocking = Unlocking::new(&v1, "caf\u{e9}", "\u{fc}").unwrap();
    let steps = [(&b"caf\xe9"[..], &b"\xfc"[..]), (b"caf\xc3\xa9", b"\xc3\xbc")];
    for (step, (passphrase, salt)) in steps.into_iter().enumerate() {
        let derivation = unlocking.derivation();
        assert_eq!((derivation.passphrase(), derivation.salt()), (passphrase, salt));
        assert_eq!(derivation.iterations(), 1_000);
        match unlocking.open(&[0; 32]) {
            Ok(opened) => assert!(step == 0 && opened.is_none()),
            failed => assert!(step == 1 && code(failed) == Code::WrongPassphrase),
        }
    }
}

#[test]
fn recorded_envelopes_of_every_client_unlock() {
    let file = recorded("identities.json");
    let envelopes = file["envelopes"].as_array().unwrap();
    assert!(envelopes.len() >= 6);
    for envelope in envelopes {
        let (stored, passphrase) = (text(envelope, "/stored"), text(envelope, "/passphrase"));
        let identity = Identity::unlock(stored, passphrase, text(&file, "/userId")).unwrap();
        assert_eq!(identity.public_key().to_jwk(), text(&file, "/publicKey"));
        assert_eq!(*identity.to_private_jwk().unwrap(), text(&file, "/privateKey"));
    }
}

#[test]
fn the_captured_private_key_unlocks_byte_for_byte() {
    let Some(file) = captured("keychain-v2-web.json") else { return };
    let identity = Identity::unlock(
        text(&file, "/persisted"),
        text(&file, "/passphrase"),
        text(&file, "/userId"),
    )
    .unwrap();
    assert_eq!(*identity.to_private_jwk().unwrap(), text(&file, "/private_key"));
}

#[test]
fn a_wrong_passphrase_is_told() {
    let locked = envelope(|_| {});
    for wrong in ["correct horsf", "", "correct horse ", "é", "🐎"] {
        assert_eq!(code(Identity::unlock(&locked, wrong, USER)), Code::WrongPassphrase, "{wrong}");
    }
}

#[test]
fn a_changed_envelope_does_not_unlock() {
    let swapped_salt = envelope(|envelope| envelope["salt"] = json!("v2:annUserId00000001:mobile"));
    let more_work = envelope(|envelope| envelope["iterations"] = json!(100_001));
    for changed in [swapped_salt, more_work] {
        let result = Identity::unlock(&changed, "correct horse", USER);
        assert_eq!(code(result), Code::WrongPassphrase);
    }
}

#[test]
fn iterations_outside_the_range_are_refused_before_any_work() {
    let started = std::time::Instant::now();
    for iterations in [json!(0), json!(-1), json!(999), json!(2_000_001), json!(1e18), json!(-0.0)]
    {
        let changed = envelope(|envelope| envelope["iterations"] = iterations.clone());
        let result = Identity::unlock(&changed, "correct horse", USER);
        assert_eq!(code(result), Code::IterationsOutOfRange, "{iterations}");
    }
    // One of them alone would take longer than the age of this project.
    assert!(started.elapsed().as_secs() < 5);
    // The ends of the range are within it.
    for iterations in [1_000, 2_000_000] {
        let changed = envelope(|envelope| envelope["iterations"] = json!(iterations));
        let result = Identity::unlock(&changed, "correct horse", USER);
        assert_eq!(code(result), Code::WrongPassphrase, "{iterations}");
    }
}

#[test]
fn malformed_envelopes_are_told_from_wrong_passphrases() {
    let malformed = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\"text\"".to_owned(),
        r#"{"$binary": 5}"#.to_owned(),
        r#"{"$binary": ""}"#.to_owned(),
        r#"{"$binary": "AAAA"}"#.to_owned(),
        r#"{"$binary": "&&&&"}"#.to_owned(),
        format!("{{\"$binary\": \"{}\"}}", "A".repeat(70_000)),
        envelope(|envelope| envelope["iv"] = json!("AAAA")),
        envelope(|envelope| envelope["iv"] = json!("not base64")),
        envelope(|envelope| envelope["iv"] = json!(null)),
        envelope(|envelope| envelope["ciphertext"] = json!("AAAA")),
        envelope(|envelope| envelope["ciphertext"] = json!("*")),
        envelope(|envelope| envelope["iterations"] = json!("100000")),
        envelope(|envelope| envelope["iterations"] = json!(100_000.5)),
        envelope(|envelope| drop(envelope.as_object_mut().unwrap().remove("salt"))),
    ];
    for stored in malformed {
        let result = Identity::unlock(&stored, "correct horse", USER);
        assert_eq!(code(result), Code::MalformedEnvelope, "{stored:.60}");
    }
}

#[test]
fn only_passphrases_that_all_clients_read_alike_lock() {
    let lock = |passphrase: &str, user: &str| identity().lock(&mut rng(), passphrase, user);
    assert_eq!(code(lock("café", USER)), Code::AmbiguousPassphrase);
    assert_eq!(code(lock("密码", USER)), Code::AmbiguousPassphrase);
    assert_eq!(code(lock("", USER)), Code::InvalidArgument);
    for user in ["", "ann with a space", "änn", "a\u{0}b", &"a".repeat(129)] {
        assert_eq!(code(lock("correct horse", user)), Code::InvalidArgument, "{user}");
    }
}

#[test]
fn public_keys_other_than_rsa_2048_with_65537_are_refused() {
    let good: Value = serde_json::from_str(&identity().public_key().to_jwk()).unwrap();
    let change = |member: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[member] = value;
        code(PublicKey::from_jwk(&jwk.to_string()))
    };
    assert_eq!(change("kty", json!("EC")), Code::MalformedKey);
    assert_eq!(change("alg", json!("RSA-OAEP")), Code::UnsupportedAlgorithm);
    assert_eq!(change("e", json!("Aw")), Code::MalformedKey);
    assert_eq!(change("e", json!("AQ")), Code::MalformedKey);
    assert_eq!(change("e", json!(null)), Code::MalformedKey);
    assert_eq!(change("n", json!("not base64url!")), Code::MalformedKey);
    assert_eq!(change("n", json!("")), Code::MalformedKey);
    let n = text(&good, "/n");
    assert_eq!(change("n", json!(&n[..n.len() / 2])), Code::MalformedKey);
    assert_eq!(change("n", json!(format!("{n}{n}"))), Code::MalformedKey);
    // An even modulus: the last character of 342 holds the lowest bits.
    assert_eq!(change("n", json!(format!("{}A", &n[..341]))), Code::MalformedKey);
    assert_eq!(code(PublicKey::from_jwk("")), Code::MalformedKey);
    assert_eq!(code(PublicKey::from_jwk(&"[".repeat(10_000))), Code::MalformedKey);
    assert_eq!(code(PublicKey::from_jwk(&" ".repeat(1 << 20))), Code::MalformedKey);
}

#[test]
fn the_order_of_members_and_unknown_ones_do_not_matter() {
    let jwk: Value = serde_json::from_str(&identity().public_key().to_jwk()).unwrap();
    let (n, e) = (text(&jwk, "/n"), text(&jwk, "/e"));
    let other = format!(r#"{{"use":"enc","n":"{n}","kty":"RSA","x5c":[1],"e":"{e}"}}"#);
    let other = PublicKey::from_jwk(&other).unwrap();
    assert_eq!(other.to_jwk(), identity().public_key().to_jwk());
    assert_eq!(other.fingerprint().unwrap(), identity().public_key().fingerprint().unwrap());
}

#[test]
fn private_keys_whose_members_do_not_fit_are_refused() {
    let good: Value = serde_json::from_str(&identity().to_private_jwk().unwrap()).unwrap();
    let another = Identity::generate(&mut rng()).unwrap();
    let another: Value = serde_json::from_str(&another.to_private_jwk().unwrap()).unwrap();
    for member in ["n", "d", "p", "q"] {
        let mut mixed = good.clone();
        mixed[member] = another[member].clone();
        let result = Identity::from_private_jwk(&mixed.to_string());
        assert_eq!(code(result), Code::MalformedKey, "{member} of another key");
        mixed.as_object_mut().unwrap().remove(member);
        let result = Identity::from_private_jwk(&mixed.to_string());
        assert_eq!(code(result), Code::MalformedKey, "without {member}");
    }
    assert_eq!(
        code(Identity::from_private_jwk(&identity().public_key().to_jwk())),
        Code::MalformedKey
    );
}

#[test]
fn fingerprints_are_shown_in_sixteen_groups_of_four() {
    let fingerprint = identity().public_key().fingerprint().unwrap();
    let shown = fingerprint.to_string();
    let groups: Vec<&str> = shown.split(' ').collect();
    assert_eq!(groups.len(), 16);
    assert!(groups.iter().all(|group| group.len() == 4));
    assert_eq!(groups.concat(), hex::encode(fingerprint.as_bytes()));
}

#[test]
fn passphrases_are_twelve_words_and_never_the_same() {
    let words = bip39::Language::English.word_list();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let passphrase = generate_passphrase(&mut rng());
        let drawn: Vec<&str> = passphrase.split(' ').collect();
        assert_eq!(drawn.len(), 12);
        assert!(drawn.iter().all(|word| words.contains(word)));
        assert!(seen.insert(passphrase.to_string()));
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", identity()), "Identity { .. }");
    assert_eq!(format!("{:?}", identity().public_key()), "PublicKey { .. }");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(stored: String, passphrase: String, user: String) {
        prop_assert!(Identity::unlock(&stored, &passphrase, &user).is_err());
        prop_assert!(Identity::from_private_jwk(&stored).is_err());
        prop_assert!(PublicKey::from_jwk(&stored).is_err());
    }

    #[test]
    fn no_v1_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        passphrase: String,
    ) {
        use base64::Engine as _;
        let binary = base64::prelude::BASE64_STANDARD.encode(bytes);
        let stored = json!({ "$binary": binary }).to_string();
        prop_assert!(Identity::unlock(&stored, &passphrase, USER).is_err());
    }
}
