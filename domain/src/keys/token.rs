//! The text of a key: `{prefix}_{live|test}_` + 32 random base62 characters + 6 base62 characters of CRC-32
//! (ISO-HDLC, as in zip and PNG) over everything before them, most significant digit first.
//!
//! The checksum lets a secret scanner tell a real key from a look-alike without asking anyone.

#[cfg(feature = "postgres")]
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Environment;

/// Prefix of all keys unless `BOUNCER_KEY_PREFIX` says otherwise.
pub const DEFAULT_PREFIX: &str = "bnc";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM: usize = 32;
const CHECKSUM: usize = 6;

/// SHA-256 of a full key: all that is stored of it. A key has 190 random bits, so a fast hash is right
/// (OWASP ASVS 5.0, 6.5.2); a slow one would only invite floods.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

/// Bits of SHA-256 are as good as any: a map needs no more than eight bytes of them.
impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first)));
    }
}

impl KeyHash {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// 64 lower-case hexadecimal digits, as the browser sends it when a key is pasted into the search field.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAKey {
    /// Wrong prefix, length or characters.
    Malformed,
    /// The right shape, but mistyped or invented.
    BadChecksum,
}

/// Checks format and checksum without any look-up. The work does not depend on how much of the text is right.
pub fn check(prefix: &str, text: &str) -> Result<Environment, NotAKey> {
    let rest = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(NotAKey::Malformed)?;
    let (environment, body) = if let Some(body) = rest.strip_prefix("live_") {
        (Environment::Live, body)
    } else if let Some(body) = rest.strip_prefix("test_") {
        (Environment::Test, body)
    } else {
        return Err(NotAKey::Malformed);
    };
    if body.len() != RANDOM + CHECKSUM || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(NotAKey::Malformed);
    }
    let (signed, sum) = text.split_at(text.len() - CHECKSUM);
    if checksum(signed) == sum.as_bytes() { Ok(environment) } else { Err(NotAKey::BadChecksum) }
}

/// CRC-32 of the text as six base62 digits (62⁶ > 2³²), zero-padded on the left.
pub fn checksum(text: &str) -> [u8; CHECKSUM] {
    let mut crc = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(crc % 62) as usize];
        crc /= 62;
    }
    digits
}

/// What may be shown of a key for ever: `bnc_live_7f9a…a3f1`.
pub fn hint(key: &str) -> String {
    let head = key.len() - RANDOM - CHECKSUM;
    format!("{}…{}", &key[..head + 4], &key[key.len() - 4..])
}

/// What stands in an API secret where a key names its environment.
pub const SECRET_WORD: &str = "secret";

/// Puts a key together from its random part. Separate from [`generate`] so that vectors can be published.
fn assemble(prefix: &str, environment: Environment, random: &str) -> String {
    assemble_with(prefix, environment.as_str(), random)
}

fn assemble_with(prefix: &str, word: &str, random: &str) -> String {
    let mut key = format!("{prefix}_{word}_{random}");
    let sum = checksum(&key);
    key.extend(sum.map(char::from));
    key
}

/// A key that was just made: the only moment at which its text exists on our side.
pub struct FreshKey {
    pub text: SecretString,
    pub hash: KeyHash,
    pub hint: String,
}

/// A new key from the operating system's randomness, 32 base62 characters (190 bits) without modulo bias.
#[cfg(feature = "postgres")]
pub fn generate(prefix: &str, environment: Environment) -> FreshKey {
    let text = SecretString::from(assemble(prefix, environment, &random()));
    FreshKey { hash: KeyHash::of(text.expose_secret()), hint: hint(text.expose_secret()), text }
}

/// A new API secret: the form of a key, with `secret` where a key names its environment.
#[cfg(feature = "postgres")]
pub fn generate_secret(prefix: &str) -> SecretString {
    SecretString::from(assemble_with(prefix, SECRET_WORD, &random()))
}

#[cfg(feature = "postgres")]
fn random() -> String {
    use rand::RngExt;
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(RANDOM).map(char::from).collect()
}

/// A prefix is 2 to 12 lower-case letters or digits.
pub fn valid_prefix(prefix: &str) -> bool {
    (2..=12).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// A published example for scanners: never issued, since its random part is a counting sequence.
pub fn example(prefix: &str, environment: Environment) -> SecretString {
    SecretString::from(assemble(prefix, environment, "0123456789ABCDEFGHIJKLMNOPQRSTUV"))
}

/// The API secret of the published signatures: never issued either.
pub fn example_secret(prefix: &str) -> SecretString {
    SecretString::from(assemble_with(prefix, SECRET_WORD, "0123456789ABCDEFGHIJKLMNOPQRSTUV"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use proptest::prelude::*;

    /// CRC-32/ISO-HDLC check value of the catalogue of parametrised CRC algorithms: "123456789" → cbf43926.
    #[test]
    fn the_checksum_is_the_standard_crc() {
        let sum = checksum("123456789");
        let value = sum.iter().fold(0u64, |n, c| n * 62 + BASE62.iter().position(|b| b == c).unwrap() as u64);
        assert_eq!(value, 0xcbf4_3926);
    }

    #[test]
    fn published_vectors() {
        insta::assert_snapshot!(example("bnc", Environment::Live).expose_secret(), @"bnc_live_0123456789ABCDEFGHIJKLMNOPQRSTUV0NrDrU");
        insta::assert_snapshot!(example("bnc", Environment::Test).expose_secret(), @"bnc_test_0123456789ABCDEFGHIJKLMNOPQRSTUV31jncr");
        insta::assert_snapshot!(example_secret("bnc").expose_secret(), @"bnc_secret_0123456789ABCDEFGHIJKLMNOPQRSTUV1OhxLO");
    }

    proptest! {
        #[test]
        fn every_made_key_is_recognised(random in "[0-9A-Za-z]{32}", live: bool, prefix in "[a-z0-9]{2,12}") {
            let environment = if live { Environment::Live } else { Environment::Test };
            let key = assemble(&prefix, environment, &random);
            prop_assert_eq!(check(&prefix, &key), Ok(environment));
            prop_assert_eq!(key.len(), prefix.len() + 6 + 38);
            prop_assert!(hint(&key).chars().count() == prefix.len() + 6 + 4 + 1 + 4);
        }

        /// A secret shown as a key is not one.
        #[test]
        fn a_secret_is_no_key(random in "[0-9A-Za-z]{32}") {
            prop_assert_eq!(check("bnc", &assemble_with("bnc", SECRET_WORD, &random)), Err(NotAKey::Malformed));
        }

        #[test]
        fn one_changed_character_is_noticed(random in "[0-9A-Za-z]{32}", at in 9usize..47, to in "[0-9A-Za-z]") {
            let key = assemble("bnc", Environment::Live, &random);
            let mut changed = key.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != key);
            prop_assert_eq!(check("bnc", &changed), Err(NotAKey::BadChecksum));
        }

        #[test]
        fn nothing_else_is_a_key_and_nothing_panics(text in "\\PC{0,120}") {
            prop_assert!(check("bnc", &text).is_err());
        }

        #[test]
        fn white_space_and_case_are_not_forgiven(random in "[0-9A-Za-z]{32}") {
            let key = assemble("bnc", Environment::Test, &random);
            for wrong in [format!(" {key}"), format!("{key} "), format!("{key}\n"), key.replacen("bnc", "BNC", 1)] {
                prop_assert_eq!(check("bnc", &wrong), Err(NotAKey::Malformed));
            }
        }

        #[test]
        fn hashes_survive_hex(bytes: [u8; 32]) {
            prop_assert_eq!(KeyHash::from_hex(&KeyHash(bytes).to_hex()), Some(KeyHash(bytes)));
        }
    }
}
