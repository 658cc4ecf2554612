//! EJSON: JSON with dates, bytes and infinities, as Meteor writes it (protocol §6).
//!
//! | value | in JSON |
//! | --- | --- |
//! | date | `{"$date": <milliseconds since 1970>}` |
//! | bytes | `{"$binary": "<base64>"}` |
//! | NaN, infinity, −infinity | `{"$InfNaN": 0}`, `1`, `-1` |
//! | an object that looks like one of these | `{"$escape": {…}}` |
//!
//! Regular expressions (`$regexp`) and custom types (`$type`) are never built: a message has no
//! use for them, and the sender may be hostile. They are read as plain objects, and such objects
//! are escaped when written. JSON nested more than 128 deep is refused.

use std::collections::BTreeMap;
use std::fmt;

use base64_simd::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// An object, in the order of its members' names. A member that comes twice has its last value.
pub type Object = BTreeMap<String, Value>;

/// A value of EJSON. Its `Debug` form names its kind and never shows what it holds.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(serde_json::Number),
    /// A number that JSON cannot write.
    NotFinite(NotFinite),
    /// A text.
    String(String),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Date(i64),
    /// Bytes.
    Binary(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// An object that is none of the above.
    Object(Object),
}

/// The numbers that JSON cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// Not a number.
    NaN,
    /// +∞.
    Infinity,
    /// −∞.
    NegativeInfinity,
}

impl Value {
    /// Reads EJSON. Lone surrogates (`"\ud800"`), which JavaScript writes and Rust cannot hold,
    /// become U+FFFD.
    ///
    /// # Errors
    /// What `serde_json` says of text that is not JSON or nests too deep.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        from_str(text)
    }

    /// Writes EJSON.
    pub fn to_text(&self) -> String {
        // Writing to memory fails for maps with other keys than strings only: there are none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// JSON to be taken literally: what looks like a date or bytes stays an object, and is escaped
    /// when it is written.
    pub(crate) fn literal(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Number(number.clone()),
            serde_json::Value::String(text) => Self::String(text.clone()),
            serde_json::Value::Array(items) => {
                Self::Array(items.iter().map(Self::literal).collect())
            }
            serde_json::Value::Object(members) => Self::Object(
                members.iter().map(|(key, value)| (key.clone(), Self::literal(value))).collect(),
            ),
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool(..)",
            Self::Number(_) => "Number(..)",
            Self::NotFinite(_) => "NotFinite(..)",
            Self::String(_) => "String(..)",
            Self::Date(_) => "Date(..)",
            Self::Binary(_) => "Binary(..)",
            Self::Array(_) => "Array(..)",
            Self::Object(_) => "Object(..)",
        })
    }
}

/// Reads any type from JSON text that JavaScript may have written, lone surrogates included.
pub(crate) fn from_str<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match replace_lone_surrogates(text) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
}

/// Replaces escapes of lone surrogates by that of U+FFFD; `None` where there are none.
fn replace_lone_surrogates(text: &str) -> Option<String> {
    let mut repaired = String::new();
    let mut copied = 0;
    let mut position = 0;
    while let Some(found) = text.get(position..)?.find('\\') {
        let escape = position + found;
        position = match surrogate_at(text, escape) {
            Some(0xD800..=0xDBFF)
                if matches!(surrogate_at(text, escape + 6), Some(0xDC00..=0xDFFF)) =>
            {
                escape + 12
            }
            Some(_) => {
                repaired.push_str(text.get(copied..escape)?);
                repaired.push_str("\\ufffd");
                copied = escape + 6;
                copied
            }
            // Another escape: one character follows the backslash, and matters no more.
            None => escape + 1 + text.get(escape + 1..)?.chars().next().map_or(0, char::len_utf8),
        };
    }
    if copied == 0 {
        return None;
    }
    repaired.push_str(text.get(copied..)?);
    Some(repaired)
}

/// The surrogate that is escaped (`\udXXX`) at this place of the text.
fn surrogate_at(text: &str, position: usize) -> Option<u16> {
    let digits = text.get(position..position + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xD800..=0xDFFF).contains(unit))
}

/// Whether an object of these keys would be read as something else than an object.
fn looks_special(object: &Object) -> bool {
    let mut keys = object.keys().map(String::as_str);
    match (keys.next(), keys.next(), keys.next()) {
        (Some("$date" | "$binary" | "$InfNaN" | "$escape"), None, None) => true,
        (Some(first), Some(second), None) => matches!(
            (first.min(second), first.max(second)),
            ("$flags", "$regexp") | ("$type", "$value")
        ),
        _ => false,
    }
}

/// Turns plain JSON into EJSON, from the outside in: what is escaped must not be interpreted.
fn interpret(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(interpret).collect()),
        Value::Object(mut object) if object.len() == 1 => {
            if let Some(Value::Object(escaped)) = object.get_mut("$escape") {
                return members(std::mem::take(escaped));
            }
            tagged_value(&object).unwrap_or_else(|| members(object))
        }
        Value::Object(object) => members(object),
        scalar => scalar,
    }
}

fn members(object: Object) -> Value {
    Value::Object(object.into_iter().map(|(key, value)| (key, interpret(value))).collect())
}

/// What `{"$date": …}` and its like stand for; `None` where the object is just an object.
fn tagged_value(object: &Object) -> Option<Value> {
    match object.first_key_value().map(|(key, value)| (key.as_str(), value))? {
        ("$date", Value::Number(number)) => whole(number).map(Value::Date),
        ("$binary", Value::String(text)) => STANDARD.decode_to_vec(text).ok().map(Value::Binary),
        ("$InfNaN", Value::Number(number)) => match number.as_i64()? {
            0 => Some(Value::NotFinite(NotFinite::NaN)),
            1 => Some(Value::NotFinite(NotFinite::Infinity)),
            -1 => Some(Value::NotFinite(NotFinite::NegativeInfinity)),
            _ => None,
        },
        _ => None,
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?.trunc();
        // Dates in JavaScript reach 8.64e15 milliseconds either way.
        (float.abs() <= 8.64e15).then_some(float as i64)
    })
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::deserialize(deserializer).map(|Json(value)| interpret(value))
    }
}

/// Plain JSON, not yet interpreted.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // JSON has finite numbers only.
        Ok(serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((key, Json(value))) = map.next_entry()? {
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => items.serialize(serializer),
            Self::Date(milliseconds) => tagged(serializer, "$date", milliseconds),
            Self::Binary(bytes) => tagged(serializer, "$binary", &STANDARD.encode_to_string(bytes)),
            Self::NotFinite(value) => {
                let code = match value {
                    NotFinite::NaN => 0,
                    NotFinite::Infinity => 1,
                    NotFinite::NegativeInfinity => -1,
                };
                tagged(serializer, "$InfNaN", &code)
            }
            Self::Object(object) if looks_special(object) => tagged(serializer, "$escape", object),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

fn tagged<S: Serializer, T: Serialize + ?Sized>(
    serializer: S,
    tag: &str,
    value: &T,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, value)?;
    map.end()
}

#[cfg(test)]
mod tests;
