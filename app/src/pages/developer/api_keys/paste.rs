//! A key pasted into the search field: recognised here, hashed, and never sent or kept as it is.

use domain::keys::{KeyHash, NotAKey, token};
use leptos::wasm_split::wasm_split;

use crate::error::AppError;

/// A text with the shape of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pasted {
    pub hash: KeyHash,
    /// The checksum fits. If not, it was mistyped or cut, and nobody has it.
    pub whole: bool,
}

/// Finds a key in what was pasted: alone, or inside a header, a line of a `.env` file or a piece of code.
pub fn find(text: &str) -> Option<Pasted> {
    words(text).find_map(|word| match token::check(prefix(word)?, word) {
        Ok(_) => Some(Pasted { hash: KeyHash::of(word), whole: true }),
        Err(NotAKey::BadChecksum) => Some(Pasted { hash: KeyHash::of(word), whole: false }),
        Err(NotAKey::Malformed) => None,
    })
}

/// The same for the browser, which loads the hash and the checksum only for a text that [looks so](is_part_of_a_key).
#[wasm_split(aids, wasm_split_path = leptos::wasm_split, preload(preload_paste), fallible)]
pub fn find_here(text: String) -> Result<Option<Pasted>, AppError> {
    Ok(find(&text))
}

/// So much of a key that it may not stand in an address, though not all of it (yet).
pub fn is_part_of_a_key(text: &str) -> bool {
    const TELLING: usize = 12;
    words(text).any(|word| {
        prefix(word).is_some_and(|prefix| {
            let rest = word[prefix.len()..].trim_start_matches('_');
            rest.strip_prefix("live_").or(rest.strip_prefix("test_")).is_some_and(|secret| secret.len() >= TELLING)
        })
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What stands before the first underscore. The prefix is a setting, so any valid one counts.
fn prefix(word: &str) -> Option<&str> {
    let (prefix, _) = word.split_once('_')?;
    token::valid_prefix(prefix).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{keys::Environment, secret::ExposeSecret};

    fn example() -> String {
        token::example("acme", Environment::Test).expose_secret().to_owned()
    }

    #[test]
    fn finds_a_key_in_what_people_copy() {
        let key = example();
        for text in [
            key.clone(),
            format!("  {key}\n"),
            format!("Authorization: Bearer {key}"),
            format!("BOUNCER_API_KEY=\"{key}\""),
        ] {
            assert_eq!(find(&text), Some(Pasted { hash: KeyHash::of(&key), whole: true }), "{text}");
        }
    }

    #[test]
    fn a_mistyped_key_is_recognised_too() {
        let wrong = example().replace("0123", "0124");
        assert_eq!(find(&wrong).map(|pasted| pasted.whole), Some(false));
    }

    #[test]
    fn names_hints_and_ids_are_no_keys() {
        for text in
            ["Shop plugin", "bnc_live_7f9a…a3f1", "bnc_live_7f9a", "key_01h455vb4pex5vsknk084sn02q", "", "message:send"]
        {
            assert_eq!(find(text), None, "{text}");
            assert!(!is_part_of_a_key(text), "{text}");
        }
        assert!(is_part_of_a_key(&example()[..30]));
    }
}
