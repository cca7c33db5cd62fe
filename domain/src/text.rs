//! Texts of strangers on their way into the database.

use serde_json::Value;

/// Postgres takes no NUL in a text.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// The same for every text and name in a value.
pub(crate) fn without_nul_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(&text)),
        Value::Array(items) => items.into_iter().map(without_nul_json).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (without_nul(&name), without_nul_json(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_everything_but_nul() {
        let value = json!({ "a\0b": ["x\0", 1, null, { "c": "\0" }], "d": "e" });
        assert_eq!(without_nul_json(value), json!({ "ab": ["x", 1, null, { "c": "" }], "d": "e" }));
    }
}
