//! Texts of strangers on their way into the database.

#[cfg(feature = "postgres")]
use serde_json::Value;

/// What is wrong with a text of several lines and at most so many characters, if anything is.
pub(crate) fn complaint(text: &str, most: usize) -> Option<String> {
    match text.chars().count() {
        count if count > most => Some(format!("Keep it to {most} characters; this is {count}.")),
        _ if text.contains('\0') => Some("Leave out the character NUL.".into()),
        _ => None,
    }
}

/// Postgres takes no NUL in a text.
#[cfg(feature = "postgres")]
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// The same for every text and name in a value.
#[cfg(feature = "postgres")]
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

    #[test]
    fn texts_are_complained_about() {
        assert_eq!(complaint("ää\n", 3), None);
        assert_eq!(complaint("ääää", 3).unwrap(), "Keep it to 3 characters; this is 4.");
        assert_eq!(complaint("a\0", 3).unwrap(), "Leave out the character NUL.");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn leaves_everything_but_nul() {
        use serde_json::json;
        let value = json!({ "a\0b": ["x\0", 1, null, { "c": "\0" }], "d": "e" });
        assert_eq!(without_nul_json(value), json!({ "ab": ["x", 1, null, { "c": "" }], "d": "e" }));
    }
}
