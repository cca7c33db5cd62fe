//! Reading JSON more strictly than most: what two readers could understand differently is not guessed at.
//!
//! Fields that stand twice, more than 64 levels, and bytes that are not UTF-8 make a body unreadable. Numbers that no
//! 64-bit integer holds and texts with NUL are named as fields, since only their value is wrong.

use std::{cell::RefCell, fmt};

use domain::FieldError;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Objects and lists inside each other.
const DEPTH_MAX: usize = 64;
/// 2⁶³: the first number beyond what a signed 64-bit integer holds.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;
const MOST_ERRORS: usize = 20;
const LONGEST_NAME: usize = 100;

/// Why a body is not taken.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    /// It is no JSON, or JSON that could mean two things. A sentence.
    Malformed(String),
    /// Values that cannot be kept as they were sent, each named by its path.
    Values(Vec<FieldError>),
}

/// Reads one JSON value.
///
/// # Errors
/// See [`Unreadable`].
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Unreadable::Malformed(format!("The body is not UTF-8: byte {} begins no character.", error.valid_up_to() + 1))
    })?;
    let found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed { found: &found, path: &Path::Root, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(value) => match found.values.into_inner() {
            errors if errors.is_empty() => Ok(value),
            errors => Err(Unreadable::Values(errors)),
        },
        Err(error) => Err(Unreadable::Malformed(found.ambiguous.into_inner().unwrap_or_else(|| {
            format!("The body is not JSON: reading stopped at line {}, column {}.", error.line(), error.column())
        }))),
    }
}

/// What was found on the way.
#[derive(Default)]
struct Found {
    values: RefCell<Vec<FieldError>>,
    ambiguous: RefCell<Option<String>>,
}

/// Where a value stands, written out only when something is wrong there.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(&shown(name)),
            Self::Field(outer, name) => write!(f, "{outer}.{}", shown(name)),
            Self::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

/// Names come from strangers.
fn shown(name: &str) -> String {
    name.chars().take(LONGEST_NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    found: &'a Found,
    path: &'a Path<'a>,
    depth: usize,
}

impl Seed<'_> {
    fn wrong(&self, message: &str) {
        let mut values = self.found.values.borrow_mut();
        if values.len() < MOST_ERRORS {
            values.push(FieldError::new(self.path.to_string(), message));
        }
    }

    fn ambiguous<T, E: de::Error>(&self, sentence: String) -> Result<T, E> {
        self.found.ambiguous.replace(Some(sentence));
        Err(E::custom("ambiguous"))
    }

    fn deeper<E: de::Error>(&self) -> Result<(), E> {
        if self.depth < DEPTH_MAX {
            return Ok(());
        }
        self.ambiguous(format!("The body is more than {DEPTH_MAX} levels deep."))
    }

    fn text(&self, text: &str) {
        if text.contains('\0') {
            self.wrong("This must not contain the character NUL (\\u0000).");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        if i64::try_from(number).is_err() {
            self.wrong("This number is beyond what 64 bits hold. Send it as a text if it is an id.");
        }
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        // serde_json reads integers of more than 64 bits as floating point, which would round them.
        // The smallest of 64 bits itself comes as an integer.
        if number.abs() >= BEYOND {
            self.wrong("This number is beyond what 64 bits hold. Send it as a text if it is an id.");
        }
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        self.text(text);
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        self.text(&text);
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut list = Vec::new();
        loop {
            let path = Path::Item(self.path, list.len());
            match items.next_element_seed(Seed { found: self.found, path: &path, depth: self.depth + 1 })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            if map.contains_key(&name) {
                return self.ambiguous(format!("The field {path} stands in the body twice."));
            }
            let inner = Seed { found: self.found, path: &path, depth: self.depth + 1 };
            if name.contains('\0') {
                inner.wrong("A field's name must not contain the character NUL (\\u0000).");
            }
            let value = fields.next_value_seed(inner)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn malformed(bytes: &[u8]) -> String {
        match parse(bytes) {
            Err(Unreadable::Malformed(sentence)) => sentence,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn values(text: &str) -> Vec<String> {
        match parse(text.as_bytes()) {
            Err(Unreadable::Values(errors)) => errors.into_iter().map(|error| error.field).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_what_serde_json_reads() {
        for text in [
            r#"{"a":[1,-2,3.5,"x",true,false,null,{"b":{}}],"ä":"\ud83d\ude00","":""}"#,
            "[]",
            "1",
            " \n{} ",
            r#"{"max":9223372036854775807,"min":-9223372036854775808,"small":1e-9,"large":9.2e18}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        assert_eq!(malformed(br#"{"a":1,"a":1}"#), "The field a stands in the body twice.");
        assert_eq!(
            malformed(br#"{"a":[{"b":1},{"c":{"d":1,"d":2}}]}"#),
            "The field a[1].c.d stands in the body twice."
        );
        assert_eq!(malformed(br#"{"a":1,"\u0061":1}"#), "The field a stands in the body twice.");
        assert_eq!(malformed(b"{\"a\":\"\xff\"}"), "The body is not UTF-8: byte 7 begins no character.");
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(64).as_bytes()).is_ok());
        assert_eq!(malformed(deep(65).as_bytes()), "The body is more than 64 levels deep.");
        assert_eq!(malformed(deep(100_000).as_bytes()), "The body is more than 64 levels deep.");
        let objects = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
        assert_eq!(malformed(objects.as_bytes()), "The body is more than 64 levels deep.");
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (text, place) in [
            ("", "line 1, column 0"),
            ("{", "line 1, column 1"),
            ("{\"a\":1,}", "line 1, column 8"),
            ("{} {}", "line 1, column 4"),
            ("{\n\"a\":nil}", "line 2"),
            (r#"{"a":"\ud800"}"#, "line 1"),
            ("{\"a\":01}", "line 1"),
            ("{\"a\":1e999}", "line 1"),
        ] {
            assert!(malformed(text.as_bytes()).contains(place), "{text}: {}", malformed(text.as_bytes()));
        }
    }

    #[test]
    fn numbers_are_never_rounded_nor_texts_cut() {
        assert_eq!(values(r#"{"a":9223372036854775808}"#), ["a"]);
        assert_eq!(values(r#"{"a":{"b":[1,-9223372036854775809]}}"#), ["a.b[1]"]);
        assert_eq!(
            values(r#"{"a":18446744073709551616,"b":1e30,"c":"x\u0000y","d\u0000":1}"#),
            ["a", "b", "c", "d\u{fffd}"]
        );
        let many = format!("[{}]", vec!["1e30"; 500].join(","));
        assert_eq!(values(&many).len(), MOST_ERRORS);
        assert_eq!(parse(b"-9223372036854775808").unwrap(), json!(i64::MIN));
    }
}
