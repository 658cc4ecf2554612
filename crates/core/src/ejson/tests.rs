use proptest::prelude::*;

use super::*;

fn round_trip(text: &str) -> String {
    Value::parse(text).unwrap().to_text()
}

#[test]
fn each_kind_is_read_and_written() {
    for (text, value) in [
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("-1.5", Value::Number(serde_json::Number::from_f64(-1.5).unwrap())),
        (r#""a\"b""#, Value::String("a\"b".to_owned())),
        (r#"{"$date":1790000000000}"#, Value::Date(1_790_000_000_000)),
        (r#"{"$date":-1}"#, Value::Date(-1)),
        (r#"{"$binary":"AQID"}"#, Value::Binary(vec![1, 2, 3])),
        (r#"{"$binary":""}"#, Value::Binary(vec![])),
        (r#"{"$InfNaN":0}"#, Value::NotFinite(NotFinite::NaN)),
        (r#"{"$InfNaN":1}"#, Value::NotFinite(NotFinite::Infinity)),
        (r#"{"$InfNaN":-1}"#, Value::NotFinite(NotFinite::NegativeInfinity)),
    ] {
        assert_eq!(Value::parse(text).unwrap(), value, "{text}");
        assert_eq!(value.to_text(), text);
    }
}

#[test]
fn what_is_escaped_is_not_interpreted() {
    let escaped = r#"{"$escape":{"$date":5}}"#;
    let value = Value::parse(escaped).unwrap();
    assert_eq!(value.as_object().unwrap().get("$date"), Some(&Value::Number(5.into())));
    assert_eq!(value.to_text(), escaped);
    // But what is inside the escaped object's members is.
    let nested = Value::parse(r#"{"$escape":{"$date":{"$date":5}}}"#).unwrap();
    assert_eq!(nested.as_object().unwrap().get("$date"), Some(&Value::Date(5)));
    assert_eq!(
        round_trip(r#"{"$escape":{"$escape":{"a":1}}}"#),
        r#"{"$escape":{"$escape":{"a":1}}}"#
    );
    // An escape of something that needs none is dropped.
    assert_eq!(round_trip(r#"{"$escape":{"a":1}}"#), r#"{"a":1}"#);
}

#[test]
fn objects_that_only_resemble_a_form_stay_objects() {
    for text in [
        r#"{"$date":5,"a":1}"#,
        r#"{"$type":"x"}"#,
        r#"{"$escape":{"a":1},"b":2}"#,
        r#"{"$":1}"#,
        "{}",
    ] {
        assert!(Value::parse(text).unwrap().as_object().is_some(), "{text}");
        assert_eq!(round_trip(text), text);
    }
    // What is malformed stays an object too, and is escaped so that every reader sees one.
    for text in [
        r#"{"$date":"2026-11-20"}"#,
        r#"{"$date":1e300}"#,
        r#"{"$binary":"not base64"}"#,
        r#"{"$InfNaN":2}"#,
        r#"{"$escape":5}"#,
        r#"{"$regexp":"(a+)+$","$flags":"g"}"#,
        r#"{"$type":"oid","$value":"1"}"#,
    ] {
        let value = Value::parse(text).unwrap();
        assert!(value.as_object().is_some(), "{text}");
        assert_eq!(Value::parse(&value.to_text()).unwrap(), value, "{text}");
        assert!(value.to_text().starts_with(r#"{"$escape":{"$"#), "{text}");
    }
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    for (text, expected) in [
        (r#""\ud800""#, "\u{FFFD}"),
        (r#""\udc00""#, "\u{FFFD}"),
        (r#""a\uD83Db""#, "a\u{FFFD}b"),
        (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
        (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\ud83d\\ude00""#, "\u{FFFD}\\ude00"),
        (r#""\ud83dude00""#, "\u{FFFD}ude00"),
        (r#""\\ud800""#, "\\ud800"),
        (r#""\\\ud800""#, "\\\u{FFFD}"),
        (r#""\ud800é""#, "\u{FFFD}é"),
    ] {
        assert_eq!(Value::parse(text).unwrap(), Value::String(expected.to_owned()), "{text}");
    }
    let key = Value::parse(r#"{"\ud800":1}"#).unwrap();
    assert_eq!(key.to_text(), "{\"\u{FFFD}\":1}");
}

#[test]
fn repeated_members_have_their_last_value() {
    assert_eq!(round_trip(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
}

#[test]
fn nesting_is_bounded() {
    assert!(Value::parse(&format!("{}{}", "[".repeat(120), "]".repeat(120))).is_ok());
    assert!(Value::parse(&format!("{}{}", "[".repeat(200), "]".repeat(200))).is_err());
    assert!(Value::parse(&"[".repeat(1 << 20)).is_err());
    assert!(Value::parse(&"{\"$escape\":".repeat(1 << 18)).is_err());
}

#[test]
fn debug_shows_no_plaintext() {
    let value = Value::parse(r#"{"msg":"secret","list":["secret",1]}"#).unwrap();
    assert_eq!(format!("{value:?}"), "Object(..)");
    assert_eq!(format!("{:?}", value.as_object().unwrap().get("list")), "Some(Array(..))");
}

fn any_value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "$date", "$binary", "$InfNaN", "$escape", "$type", "$value", "$regexp", "$flags"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Number(number.into())),
        any::<f64>()
            .prop_filter_map("finite", serde_json::Number::from_f64)
            .prop_map(Value::Number),
        Just(Value::NotFinite(NotFinite::Infinity)),
        any::<String>().prop_map(Value::String),
        any::<i64>().prop_map(Value::Date),
        any::<Vec<u8>>().prop_map(Value::Binary),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip(value in any_value()) {
        prop_assert_eq!(Value::parse(&value.to_text()).unwrap(), value);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text: String, surrogates in "(\\\\u[dD][89a-fA-F][0-9]{2}|[a-z\\\\\"é]){0,8}") {
        let _ = Value::parse(&text);
        let _ = Value::parse(&surrogates);
        let _ = Value::parse(&format!("\"{surrogates}\""));
    }

    #[test]
    fn any_utf16_survives_but_for_lone_surrogates(units: Vec<u16>) {
        let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let expected = String::from_utf16_lossy(&units);
        prop_assert_eq!(Value::parse(&format!("\"{escaped}\"")).unwrap(), Value::String(expected));
    }
}
