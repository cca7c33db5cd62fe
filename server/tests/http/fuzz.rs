//! Calls made up from the API's own document: whatever comes, the answer is one that the document knows, says what the
//! document says it says, and is never our failure. Works on every operation that the document has.

use axum::body::Body;
use domain::throttle::{Random, SplitMix};
use http::{Method, Request};
use serde_json::{Map, Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    rights::{Things, all_scopes},
    world::{Answer, Key, World},
};

/// Calls of each operation with each seed. `BOUNCER_FUZZ_CALLS` and `BOUNCER_FUZZ_SEED` make a longer or another run.
const CALLS: u32 = 30;

/// An operation that has not succeeded by then is called again, at most this many times as often.
const PATIENCE: u64 = 30;
/// Operations that may never succeed here, and why. Any other must.
const MAY_NEVER_SUCCEED: [(&str, &str); 2] = [
    ("getInstanceQr", "the sandbox has no QR code to scan"),
    ("syncTemplates", "the sandbox has no listing to take over"),
];

/// How often an operation answered with a status.
type Statuses = std::collections::BTreeMap<(String, u16), u32>;

struct Fuzzer<'a> {
    document: &'a Value,
    things: &'a Things,
    random: SplitMix,
}

impl Fuzzer<'_> {
    fn upto(&mut self, most: u32) -> u32 {
        self.random.draw(0, most)
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.upto(n - 1) == 0
    }

    fn pick<'v, T>(&mut self, from: &'v [T]) -> &'v T {
        &from[self.upto(u32::try_from(from.len() - 1).unwrap()) as usize]
    }

    /// A value as the schema wants it, as far as a schema can say.
    fn valid(&mut self, schema: &Value, name: &str, depth: u32) -> Value {
        let schema = resolve(self.document, schema);
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(words) = schema["enum"].as_array() {
            return self.pick(words).clone();
        }
        if let Some(example) = schema.get("example").filter(|example| !example.is_string())
            && !self.once_in(3)
        {
            return example.clone();
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(all) = schema[choice].as_array() {
                let one = self.pick(all).clone();
                return self.valid(&one, name, depth);
            }
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in all {
                if let Value::Object(part) = self.valid(part, name, depth) {
                    whole.extend(part);
                }
            }
            return Value::Object(whole);
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => vec!["string"],
        };
        // Null is allowed for many, but says little.
        let real: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "null").collect();
        if real.is_empty() || (kinds.len() > real.len() && self.once_in(8)) {
            return Value::Null;
        }
        match *self.pick(&real) {
            "object" => self.object(schema, depth),
            "array" => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let count =
                    least + u64::from(self.upto(2)).min(schema["maxItems"].as_u64().unwrap_or(3).saturating_sub(least));
                (0..count).map(|_| self.valid(&schema["items"], name, depth + 1)).collect()
            }
            "integer" => {
                let low = schema["minimum"].as_i64().unwrap_or(-5);
                let high = schema["maximum"].as_i64().unwrap_or(low.saturating_add(1_000));
                json!(
                    low.saturating_add(i64::from(
                        self.upto(u32::try_from(high.saturating_sub(low)).unwrap_or(u32::MAX))
                    ))
                )
            }
            "number" => {
                let low = schema["minimum"].as_f64().unwrap_or(-5.0);
                json!(
                    low + f64::from(self.upto(100)) / 100.0 * (schema["maximum"].as_f64().unwrap_or(low + 10.0) - low)
                )
            }
            "boolean" => json!(self.once_in(2)),
            _ => json!(self.text(schema, name)),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        // From nothing but what must be, to a bit of everything.
        let density = *self.pick(&[u32::MAX, 8, 3]);
        for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&field.as_str()) || (depth < 6 && density != u32::MAX && self.once_in(density)) {
                object.insert(field.clone(), self.valid(inner, field, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn text(&mut self, schema: &Value, name: &str) -> String {
        if let Some(id) = self.id(name) {
            return id;
        }
        if name == "to" || name == "contact" {
            return format!("+6012345{:04}", self.upto(9_999));
        }
        if let Some(example) = schema["example"].as_str()
            && !self.once_in(3)
        {
            return example.to_owned();
        }
        match schema["format"].as_str() {
            Some("date-time") => return "2026-05-03T12:00:00Z".into(),
            Some("date") => return "2026-05-03".into(),
            Some("uri") => return "https://shop.example/x".into(),
            _ => {}
        }
        let least = u32::try_from(schema["minLength"].as_u64().unwrap_or(0)).unwrap();
        let most = u32::try_from(schema["maxLength"].as_u64().unwrap_or(20)).unwrap().min(least + 20);
        let length = least + self.upto(most - least);
        (0..length).map(|_| *self.pick(&['a', 'B', '0', ' ', '-', 'ä', '😀', '"', '\\', '%', '\'', '\n'])).collect()
    }

    /// Something that is there, mostly.
    fn id(&mut self, name: &str) -> Option<String> {
        let all = [&self.things.instance, &self.things.message, &self.things.webhook, &self.things.template];
        let mine = match name {
            "instanceId" => all[0],
            "cursor" | "id" => *self.pick(&all),
            _ => return None,
        };
        Some(if self.once_in(8) { format!("{}x", &mine[..mine.len() - 1]) } else { mine.clone() })
    }

    fn junk(&mut self) -> Value {
        let all = [
            Value::Null,
            json!(true),
            json!(-1),
            json!(0),
            json!(i64::MAX),
            json!(1.5),
            json!(1e17),
            json!(""),
            json!(" "),
            json!("x".repeat(5_000)),
            json!("😀\u{202e}\u{7f}"),
            json!("%00' or 1=1 --"),
            json!([]),
            json!([[[1]]]),
            json!({}),
            json!({ "a": { "b": null } }),
            json!(vec!["x"; 300]),
            json!("2026-13-45T99:99:99Z"),
            json!("0001-01-01T00:00:00Z"),
            json!("9999-12-31T23:59:59Z"),
        ];
        self.pick(&all).clone()
    }

    /// Changes something somewhere.
    fn spoil(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) if !map.is_empty() && !self.once_in(4) => {
                let names: Vec<String> = map.keys().cloned().collect();
                let name = self.pick(&names).clone();
                match self.upto(5) {
                    0 => _ = map.remove(&name),
                    1 => _ = map.insert("unheardOf".into(), self.junk()),
                    2 => {
                        let taken = map.remove(&name).unwrap_or_default();
                        map.insert(name.to_uppercase(), taken);
                    }
                    _ => self.spoil(map.get_mut(&name).unwrap()),
                }
            }
            Value::Array(items) if !items.is_empty() && !self.once_in(3) => {
                let place = self.upto(u32::try_from(items.len() - 1).unwrap()) as usize;
                self.spoil(&mut items[place]);
            }
            other => *other = self.junk(),
        }
    }

    /// Bytes that are nearly that body.
    fn bytes(&mut self, value: &Value) -> Vec<u8> {
        let text = value.to_string();
        let mut bytes = text.clone().into_bytes();
        match self.upto(30) {
            0 => bytes.truncate(self.upto(u32::try_from(bytes.len()).unwrap()) as usize),
            1 => {
                let place = self.upto(u32::try_from(bytes.len() - 1).unwrap()) as usize;
                bytes[place] = 0xff;
            }
            2 => bytes = text.replacen('{', "{\"twice\":1,\"twice\":2,", 1).into_bytes(),
            3 => bytes = text.replacen('{', "{\"large\":99999999999999999999,", 1).into_bytes(),
            4 => bytes = text.replacen('{', "{\"nul\":\"\\u0000\",", 1).into_bytes(),
            5 => bytes = format!("[{text}]").into_bytes(),
            6 => bytes = vec![b'['; 300],
            7 => bytes.clear(),
            _ => {}
        }
        bytes
    }

    /// A call of the operation, more or less right.
    fn call(&mut self, method: &str, template: &str, operation: &Value, key: &Key) -> (Request<Body>, String) {
        let mut path = if self.once_in(6) { template.to_owned() } else { self.things.path(template) };
        for part in ["{id}", "{code}"] {
            let junk =
                *self.pick(&["none", "%F0%9F%98%80", "msg_01jd3qz5k8e9rb1w0c5m2n6x7y", "a%00b", "..", "%2e%2e%2f"]);
            path = path.replace(part, junk);
        }
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(self.document, parameter);
            if parameter["in"] == "query" && self.once_in(2) {
                let name = parameter["name"].as_str().unwrap();
                let mut value = self.valid(&parameter["schema"], name, 0);
                if self.once_in(4) {
                    value = self.junk();
                }
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                query.push(format!("{name}={}", escape(&value.chars().take(300).collect::<String>())));
            }
        }
        if self.once_in(10) {
            query.push((*self.pick(&["unheardOf=1", "limit=1&limit=2", "a=%FF", "&&=", "limit"])).to_owned());
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let mut request = Request::builder().method(&method).uri(&path).header("x-api-key", &key.text);
        if method == Method::POST && self.once_in(3) {
            let once = *self.pick(&["a", "b", "\"c\"", "", "\"", "d e f"]);
            request = request.header("idempotency-key", once);
        }
        let mut shown = format!("{method} {path}");
        let body = match operation["requestBody"]["content"]["application/json"].get("schema") {
            None => Vec::new(),
            Some(schema) => {
                let mut value = self.valid(schema, "", 0);
                // A text is the simplest of messages, and no schema can say that one thing must be there.
                if template.ends_with("/messages/send") && self.once_in(2) {
                    value = json!({ "instanceId": value["instanceId"], "to": value["to"], "message": "Hi" });
                }
                for _ in 0..self.upto(3).saturating_sub(1) {
                    self.spoil(&mut value);
                }
                self.bytes(&value)
            }
        };
        if !body.is_empty() {
            let kind = if self.once_in(20) { "text/plain" } else { "application/json" };
            request = request.header("content-type", kind);
            shown = format!("{shown} {}", String::from_utf8_lossy(&body).chars().take(2_000).collect::<String>());
        }
        (request.body(Body::from(body)).unwrap(), shown)
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What a schema, parameter or answer refers to.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let there = document.pointer(reference.strip_prefix('#').unwrap());
            resolve(document, there.unwrap_or_else(|| panic!("{reference}")))
        }
        None => value,
    }
}

/// Where a value is not what the schema says, if it is not.
pub fn lie(document: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    let schema = resolve(document, schema);
    let wrong = |what: &str| Some(format!("{path}: {what}: {value} is not {schema}"));
    if schema.get("const").is_some_and(|constant| constant != value) {
        return wrong("const");
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("enum");
    }
    if let Some(all) = schema["allOf"].as_array()
        && let Some(found) = all.iter().find_map(|part| lie(document, part, value, path))
    {
        return Some(found);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(all) = schema[choice].as_array() {
            let fits = all.iter().filter(|one| lie(document, one, value, path).is_none()).count();
            if fits == 0 || (choice == "oneOf" && fits > 1) {
                return wrong(choice);
            }
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |name: &Value| name == kind || (name == "number" && kind == "integer");
    match &schema["type"] {
        Value::String(_) if !fits(&schema["type"]) => return wrong("type"),
        Value::Array(kinds) if !kinds.iter().any(fits) => return wrong("type"),
        _ => {}
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            let below = schema["minimum"].as_f64().is_some_and(|least| number < least);
            if below || schema["maximum"].as_f64().is_some_and(|most| number > most) {
                return wrong("range");
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            let short = schema["minLength"].as_u64().is_some_and(|least| length < least);
            if short || schema["maxLength"].as_u64().is_some_and(|most| length > most) {
                return wrong("length");
            }
            if schema["format"] == "date-time" && chrono::DateTime::parse_from_rfc3339(text).is_err() {
                return wrong("format");
            }
        }
        Value::Array(items) => {
            let place = |index: usize| format!("{path}[{index}]");
            return items.iter().enumerate().find_map(|(at, item)| lie(document, &schema["items"], item, &place(at)));
        }
        Value::Object(map) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(name) {
                    return Some(format!("{path}.{name} is missing"));
                }
            }
            for (name, inner) in map {
                let path = format!("{path}.{name}");
                let found = match schema["properties"].get(name) {
                    Some(known) => lie(document, known, inner, &path),
                    None => match &schema["additionalProperties"] {
                        Value::Bool(false) => Some(format!("{path} is not in the document")),
                        known @ Value::Object(_) => lie(document, known, inner, &path),
                        _ => None,
                    },
                };
                if found.is_some() {
                    return found;
                }
            }
        }
        _ => {}
    }
    None
}

/// What the document does not say about this answer.
fn undocumented(document: &Value, operation: &Value, answer: &Answer) -> Option<String> {
    let status = answer.status.as_u16();
    let Some(described) = operation["responses"].get(status.to_string()) else {
        return Some(format!("{status} is not in the document"));
    };
    let described = resolve(document, described);
    let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
    if answer.body.is_empty() {
        return described.get("content").map(|_| format!("{status} has no body"));
    }
    let Some(content) = described["content"].get(&kind) else { return Some(format!("{status} as {kind}")) };
    if !kind.ends_with("json") {
        return None;
    }
    for name in answer.headers.keys() {
        let usual = [
            "content-type",
            "content-length",
            "cache-control",
            "x-content-type-options",
            "access-control-allow-origin",
        ];
        let known = described["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .any(|(known, _)| known.eq_ignore_ascii_case(name.as_str()));
        if !known && !usual.contains(&name.as_str()) && !name.as_str().starts_with("x-") {
            return Some(format!("{status}: the header {name} is not in the document"));
        }
    }
    lie(document, &content["schema"], &answer.json(), "").or_else(|| denied(operation, &answer.json()))
}

/// A parameter that the document names, and the answer does not know.
fn denied(operation: &Value, answer: &Value) -> Option<String> {
    let unknown = answer["errors"].as_array()?.iter().filter(|error| error["message"] == "There is no such field.");
    let parameters = operation["parameters"].as_array()?;
    let mut named = unknown.filter_map(|error| {
        parameters.iter().find(|parameter| parameter["in"] == "query" && parameter["name"] == error["field"])
    });
    named.next().map(|parameter| format!("there is no {}", parameter["name"]))
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn whatever_comes_the_answer_is_in_the_document(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let owner = world
        .key_with(world.acme, "fuzzer", &all_scopes(), |form| {
            form.rate_limit = String::new();
            form.max_queue = "10000".into();
        })
        .await;
    let document = world.get("/api/v1/openapi.json", None).await.json();
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let calls = setting("BOUNCER_FUZZ_CALLS").unwrap_or(CALLS.into());
    let first = setting("BOUNCER_FUZZ_SEED").unwrap_or(1);
    // One call for each lie of each operation.
    let mut lies = std::collections::BTreeMap::<(String, String), String>::new();
    let mut statuses = Statuses::new();
    for seed in [first, first + 1] {
        let things = Things::make(&world, &owner, seed).await;
        let mut fuzzer = Fuzzer { document: &document, things: &things, random: SplitMix(seed) };
        let items = document["paths"].as_object().unwrap().iter();
        let mut operations: Vec<(&str, &str, &Value)> = items
            .flat_map(|(path, item)| {
                item.as_object().unwrap().iter().map(|(method, operation)| (path.as_str(), method.as_str(), operation))
            })
            .collect();
        // What is changed may be disabled, and what is deleted is gone, for all the others.
        operations
            .sort_by_key(|(path, method, _)| (*method == "delete", *method == "patch", path.contains("/instances/")));
        for (path, method, operation) in operations {
            let id = operation["operationId"].as_str().unwrap();
            let may_fail = MAY_NEVER_SUCCEED.iter().any(|(name, _)| *name == id);
            for call in 0..calls * PATIENCE {
                if call >= calls && (may_fail || reached(&statuses, id)) {
                    break;
                }
                let (request, shown) = fuzzer.call(method, path, operation, &owner);
                let answer = world.send(request).await;
                *statuses.entry((id.to_owned(), answer.status.as_u16())).or_default() += 1;
                let text = String::from_utf8_lossy(&answer.body).chars().take(500).collect::<String>();
                // `..` leads to another path than that of the operation.
                let elsewhere = shown.contains("/..");
                let lie = if answer.status.is_server_error() {
                    Some(format!("our failure: {}", answer.status))
                } else if elsewhere {
                    None
                } else {
                    undocumented(&document, operation, &answer)
                };
                if let Some(lie) = lie {
                    let kind = lie.split(':').take(2).collect();
                    lies.entry((id.to_owned(), kind))
                        .or_insert_with(|| format!("seed {seed}: {shown}\n  {} {text}\n  {lie}", answer.status));
                }
            }
        }
    }
    let told: Vec<&str> = lies.values().map(String::as_str).collect();
    assert!(told.is_empty(), "{} kinds of answers were not as documented:\n{}", told.len(), told.join("\n"));
    // The calls were not all refused: operations were reached with something they take.
    let ids: std::collections::BTreeSet<&str> = statuses.keys().map(|(id, _)| id.as_str()).collect();
    let excused = MAY_NEVER_SUCCEED.map(|(id, _)| id);
    let missed: Vec<&&str> = ids.iter().filter(|id| !reached(&statuses, id) && !excused.contains(id)).collect();
    assert!(missed.is_empty(), "never answered with success: {missed:?}\n{statuses:?}");
    assert!(excused.iter().all(|id| ids.contains(id)), "there is no such operation any more: {excused:?}");
}

/// Has it ever succeeded?
fn reached(statuses: &Statuses, id: &str) -> bool {
    statuses.keys().any(|(other, status)| other == id && *status < 300)
}

/// The judge itself notices what is not as said.
#[test]
fn the_judge_notices_lies() {
    let document = json!({ "components": { "schemas": { "A": { "type": "object", "required": ["n"], "properties": {
        "n": { "type": ["integer", "null"], "minimum": 1 }, "s": { "type": "string", "maxLength": 2 },
        "t": { "type": "string", "format": "date-time" }, "l": { "type": "array", "items": { "enum": ["a"] } } },
        "additionalProperties": false } } } });
    let schema = json!({ "$ref": "#/components/schemas/A" });
    for right in [json!({ "n": 1 }), json!({ "n": null, "s": "äö", "t": "2026-05-03T12:00:00Z", "l": ["a"] })] {
        assert_eq!(lie(&document, &schema, &right, ""), None);
    }
    for wrong in [
        json!({}),
        json!({ "n": 0 }),
        json!({ "n": "1" }),
        json!({ "n": 1.5 }),
        json!({ "n": 1, "s": "abc" }),
        json!({ "n": 1, "t": "today" }),
        json!({ "n": 1, "l": ["b"] }),
        json!({ "n": 1, "m": 1 }),
        json!([]),
    ] {
        assert!(lie(&document, &schema, &wrong, "").is_some(), "{wrong}");
    }
    let operation = json!({ "parameters": [{ "name": "key_id", "in": "query" }] });
    let refused = |field: &str, message: &str| json!({ "errors": [{ "field": field, "message": message }] });
    assert!(denied(&operation, &refused("key_id", "There is no such field.")).is_some());
    assert_eq!(denied(&operation, &refused("key_id", "This is no id.")), None);
    assert_eq!(denied(&operation, &refused("other", "There is no such field.")), None);
}
