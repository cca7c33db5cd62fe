//! Reading a JSON object field by field, so that everything that is wrong with it is named at once, by its path
//! (`template.components[0].type`), and nothing that is not known is passed over.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{error::FieldError, ids::BadId, time::Time};

/// More than this many complaints help nobody, and would make an endless answer.
const MOST_ERRORS: usize = 100;
const MOST_UNKNOWN: usize = 20;
const LONGEST_NAME: usize = 100;

const REQUIRED: &str = "This is required.";
const EMPTY: &str = "This must not be empty.";
const TEXT: &str = "This must be a text.";

/// A JSON object being read: each field is taken once, and complaints are collected.
pub struct Object {
    /// Where it stands in the body; empty for the body itself.
    path: String,
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Object {
    pub fn new(map: Map<String, Value>) -> Self {
        Self { path: String::new(), map, errors: Vec::new() }
    }

    /// Notes what is wrong with a field of this object.
    pub fn complain(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.errors.len() < MOST_ERRORS {
            let field = field.into();
            let field = if self.path.is_empty() { field } else { format!("{}.{field}", self.path) };
            self.errors.push(FieldError::new(field, message));
        }
    }

    /// Is it there, and not null?
    pub fn has(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    /// Is it there, and null?
    pub fn is_null(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(Value::is_null)
    }

    /// The field as it came, unless it is missing or null.
    pub fn value(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// Fields that are known but not wanted here may still be null.
    pub fn forget_nulls(&mut self, fields: &[&str]) {
        for field in fields {
            if !self.has(field) {
                self.map.remove(*field);
            }
        }
    }

    /// All fields that are left, as they came.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.map)
    }

    /// A text that must be there; empty after a complaint.
    pub fn text(&mut self, field: &'static str) -> String {
        match self.map.remove(field) {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::String(_)) => self.wrong(field, EMPTY),
            Some(_) => self.wrong(field, TEXT),
            None => self.wrong(field, REQUIRED),
        }
    }

    /// The same with a greatest number of characters.
    pub fn text_up_to(&mut self, field: &'static str, most: usize) -> String {
        let text = self.text(field);
        self.measure(field, &text, most);
        text
    }

    fn measure(&mut self, field: &'static str, text: &str, most: usize) {
        // Characters are at least a byte: most texts need not be counted.
        if text.len() > most && text.chars().count() > most {
            self.complain(field, format!("At most {most} characters; these are {}.", text.chars().count()));
        }
    }

    fn wrong(&mut self, field: &'static str, message: &str) -> String {
        self.complain(field, message);
        String::new()
    }

    /// A text that may be missing or null.
    pub fn optional_text(&mut self, field: &'static str) -> Option<String> {
        match self.value(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.complain(field, TEXT);
                None
            }
        }
    }

    /// The same with a greatest number of characters.
    pub fn optional_text_up_to(&mut self, field: &'static str, most: usize) -> Option<String> {
        let text = self.optional_text(field)?;
        self.measure(field, &text, most);
        Some(text)
    }

    /// A list of texts that may be missing or null.
    pub fn optional_texts(&mut self, field: &'static str, most: usize) -> Vec<String> {
        let items = match self.value(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.complain(field, "This must be a list of texts.");
                return Vec::new();
            }
        };
        if items.len() > most {
            self.complain(field, format!("At most {most}; these are {}.", items.len()));
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                _ => self.complain(format!("{field}[{index}]"), TEXT),
            }
        }
        texts
    }

    /// `true` or `false`; may be missing or null.
    pub fn optional_bool(&mut self, field: &'static str) -> Option<bool> {
        match self.value(field)? {
            Value::Bool(is) => Some(is),
            _ => {
                self.complain(field, "This must be true or false.");
                None
            }
        }
    }

    /// A whole number that must be there.
    pub fn int(&mut self, field: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        if !self.has(field) {
            self.complain(field, REQUIRED);
        }
        self.optional_int(field, range)
    }

    /// A whole number that may be missing or null.
    pub fn optional_int(&mut self, field: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.value(field)?.as_i64();
        if let Some(number) = number
            && range.contains(&number)
        {
            return Some(number);
        }
        self.complain(field, format!("This must be a whole number from {} to {}.", range.start(), range.end()));
        None
    }

    /// A number that must be there, as a number or as a text that is one.
    pub fn number(&mut self, field: &'static str, range: RangeInclusive<f64>) -> f64 {
        let number = match self.value(field) {
            None => {
                self.complain(field, REQUIRED);
                return *range.start();
            }
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_f64(),
        };
        match number {
            Some(number) if range.contains(&number) => number,
            _ => {
                self.complain(field, format!("This must be a number from {} to {}.", range.start(), range.end()));
                *range.start()
            }
        }
    }

    /// An id that must be there.
    pub fn id<T: FromStr<Err = BadId>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field);
        if text.is_empty() { None } else { self.parsed(field, &text) }
    }

    /// An id that may be missing or null.
    pub fn optional_id<T: FromStr<Err = BadId>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.optional_text(field)?;
        self.parsed(field, &text)
    }

    fn parsed<T: FromStr<Err = BadId>>(&mut self, field: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(id) => Some(id),
            Err(BadId(prefix)) => {
                self.complain(
                    field,
                    format!("This is no such id: it starts with {prefix}_ and has 26 more characters."),
                );
                None
            }
        }
    }

    /// One of some words; may be missing or null.
    pub fn optional_choice<T>(
        &mut self,
        field: &'static str,
        words: &[impl Display],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.optional_text(field)?;
        let found = parse(&text);
        if found.is_none() {
            self.complain(field, format!("This must be {}.", or(words)));
        }
        found
    }

    /// One of some words; must be there.
    pub fn choice<T>(
        &mut self,
        field: &'static str,
        words: &[impl Display],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if !self.has(field) {
            self.complain(field, REQUIRED);
        }
        self.optional_choice(field, words, parse)
    }

    /// A time in RFC 3339; may be missing or null.
    pub fn optional_time(&mut self, field: &'static str) -> Option<Time> {
        let text = self.optional_text(field)?;
        let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.with_timezone(&Utc));
        if time.is_none() {
            self.complain(field, "Write a time like 2026-05-03T12:00:00Z.");
        }
        time
    }

    /// An object that must be there, read by `read`. What `read` leaves in it is unknown.
    pub fn object<T>(&mut self, field: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if !self.has(field) {
            self.complain(field, REQUIRED);
        }
        self.optional_object(field, read)
    }

    /// The same for one that may be missing or null.
    pub fn optional_object<T>(&mut self, field: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let value = self.value(field)?;
        self.inner(field.to_owned(), value, read)
    }

    /// A list of objects that must be there, each read by `read`.
    pub fn objects<T>(
        &mut self,
        field: &'static str,
        count: RangeInclusive<usize>,
        read: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        if !self.has(field) {
            self.complain(field, REQUIRED);
            return Vec::new();
        }
        self.optional_objects(field, count, read)
    }

    /// The same for a list that may be missing or null.
    pub fn optional_objects<T>(
        &mut self,
        field: &'static str,
        count: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let items = match self.value(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.complain(field, "This must be a list of objects.");
                return Vec::new();
            }
        };
        if items.len() < *count.start() {
            self.complain(field, format!("At least {}.", count.start()));
            return Vec::new();
        }
        if items.len() > *count.end() {
            self.complain(field, format!("At most {}; these are {}.", count.end(), items.len()));
            return Vec::new();
        }
        let mut read_items = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            read_items.extend(self.inner(format!("{field}[{index}]"), item, &mut read));
        }
        read_items
    }

    fn inner<T>(&mut self, field: String, value: Value, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let Value::Object(map) = value else {
            self.complain(field, "This must be an object.");
            return None;
        };
        let path = if self.path.is_empty() { field } else { format!("{}.{field}", self.path) };
        // The complaints travel along, so that they stay in order and their number is limited.
        let mut inner = Self { path, map, errors: std::mem::take(&mut self.errors) };
        let value = read(&mut inner);
        self.errors = inner.into_errors();
        Some(value)
    }

    fn into_errors(mut self) -> Vec<FieldError> {
        let unknown: Vec<String> =
            self.map.keys().take(MOST_UNKNOWN).map(|name| name.chars().take(LONGEST_NAME).collect()).collect();
        for name in unknown {
            self.complain(name, "There is no such field.");
        }
        self.errors
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Everything that was wrong, unknown fields included.
    pub fn finish(self) -> Result<(), Vec<FieldError>> {
        let errors = self.into_errors();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// "a", "a or b", "a, b or c".
fn or(words: &[impl Display]) -> String {
    let mut sentence = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            sentence.push_str(if index + 1 == words.len() { " or " } else { ", " });
        }
        sentence.push_str(&word.to_string());
    }
    sentence
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::MessageId;

    fn read<T>(value: Value, read: impl FnOnce(&mut Object) -> T) -> (T, Vec<String>) {
        let Value::Object(map) = value else { panic!("an object") };
        let mut object = Object::new(map);
        let read = read(&mut object);
        let errors = object.finish().err().unwrap_or_default();
        (read, errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect())
    }

    #[test]
    fn names_what_is_wrong_by_its_path() {
        let body = json!({
            "a": { "b": [{ "c": 1 }, 2, { "c": "x", "d": 3 }] },
            "n": 11, "f": 1.5, "lat": "91", "id": "key_01", "when": "today", "mode": "fast", "yes": 1
        });
        let (_, errors) = read(body, |object| {
            object.object("a", |a| a.objects("b", 1..=3, |b| b.text("c")));
            object.int("n", 1..=10);
            object.optional_int("f", 1..=10);
            object.number("lat", -90.0..=90.0);
            object.id::<MessageId>("id");
            object.optional_time("when");
            object.optional_choice("mode", &["slow", "slower", "off"], |_| None::<()>);
            object.optional_bool("yes");
            object.text("gone");
        });
        assert_eq!(
            errors,
            [
                "a.b[0].c: This must be a text.",
                "a.b[1]: This must be an object.",
                "a.b[2].d: There is no such field.",
                "n: This must be a whole number from 1 to 10.",
                "f: This must be a whole number from 1 to 10.",
                "lat: This must be a number from -90 to 90.",
                "id: This is no such id: it starts with msg_ and has 26 more characters.",
                "when: Write a time like 2026-05-03T12:00:00Z.",
                "mode: This must be slow, slower or off.",
                "yes: This must be true or false.",
                "gone: This is required.",
            ]
        );
    }

    #[test]
    fn takes_what_is_right() {
        let body = json!({
            "t": "ä".repeat(10), "n": 10, "lat": "37.48", "lon": -122, "list": ["a"], "none": null, "o": { "x": true }
        });
        let (_, errors) = read(body, |object| {
            assert_eq!(object.text_up_to("t", 10).chars().count(), 10);
            assert_eq!(object.int("n", 0..=10), Some(10));
            assert_eq!(object.number("lat", -90.0..=90.0), 37.48);
            assert_eq!(object.number("lon", -180.0..=180.0), -122.0);
            assert_eq!(object.optional_texts("list", 1), ["a"]);
            assert_eq!(object.optional_text("none"), None);
            assert_eq!(object.optional_object("o", |o| o.optional_bool("x")), Some(Some(true)));
        });
        assert_eq!(errors, [] as [String; 0]);
    }

    #[test]
    fn complaints_have_an_end() {
        let many: Vec<Value> = (0..5_000).map(|_| json!(1)).collect();
        let (_, errors) = read(json!({ "list": many }), |object| object.objects("list", 0..=10_000, |_| ()));
        assert_eq!(errors.len(), MOST_ERRORS);
        let unknown: Map<String, Value> = (0..500).map(|n| (format!("{n}{}", "x".repeat(500)), json!(1))).collect();
        let (_, errors) = read(Value::Object(unknown), |_| ());
        assert_eq!(errors.len(), MOST_UNKNOWN);
        assert!(errors.iter().all(|error| error.len() < 150));
    }
}
