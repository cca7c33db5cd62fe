//! Calls of keys that have an API secret: the secret itself in `X-API-Secret`, or a signature made with it.
//!
//! `X-Signature: t=<Unix seconds>,v1=<hexadecimal HMAC-SHA-256>`, optionally with `n=<nonce>`. What is signed are the
//! parts joined by full stops, the body as the bytes that are sent:
//!
//! ```text
//! t.METHOD./path?query.body          without a nonce
//! t.nonce.METHOD./path?query.body    with one
//! ```
//!
//! Path and query are those of the request line, percent-encoding untouched; without a body the text ends with the
//! full stop. The key of the HMAC are the bytes of the whole secret, `bnc_secret_` included. A signature is good for
//! five minutes around `t` and for one call: two equal calls within a second differ by a nonce only, 1 to 64 letters,
//! digits, `-` or `_`. The two forms cannot be taken for each other, since a path begins with `/` and no nonce does.
//! The test below has vectors.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ids::KeyId;

/// Seconds that the signer's clock may differ, in both directions.
pub const TOLERANCE_S: i64 = 300;
const NONCE_MAX: usize = 64;

/// The context under which the secret of a key is sealed ([`crate::seal`]).
pub fn context(key: KeyId) -> String {
    format!("api_key/{key}/secret")
}

/// Is this the secret? Takes as long for a near miss as for a far one.
pub fn is_secret(secret: &SecretString, shown: &[u8]) -> bool {
    // Digests have one length, whatever was shown.
    let (mine, theirs) = (Sha256::digest(secret.expose_secret().as_bytes()), Sha256::digest(shown));
    mine.ct_eq(&theirs).into()
}

/// A signature as it stands in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Unix seconds.
    pub at: i64,
    pub nonce: Option<String>,
    mac: [u8; 32],
}

impl Signature {
    /// Reads the header. Spaces around the parts are forgiven; unknown and repeated parts are not.
    pub fn parse(header: &str) -> Option<Self> {
        let (mut at, mut nonce, mut mac) = (None, None, None);
        for part in header.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let repeated = match name {
                "t" => at.replace(seconds(value)?).is_some(),
                "n" => nonce.replace(is_nonce(value).then(|| value.to_owned())?).is_some(),
                "v1" => mac.replace(unhex(value)?).is_some(),
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(Self { at: at?, nonce, mac: mac? })
    }

    /// Signs, as a caller would.
    pub fn sign(
        secret: &SecretString,
        at: i64,
        nonce: Option<&str>,
        method: &str,
        path_and_query: &str,
        body: &[u8],
    ) -> Self {
        let mac = mac(secret, at, nonce, method, path_and_query, body).finalize().into_bytes().into();
        Self { at, nonce: nonce.map(str::to_owned), mac }
    }

    /// Was this made with the secret, for this call, at this time? Whether it was used before is another question.
    pub fn verifies(&self, secret: &SecretString, now_s: i64, method: &str, path_and_query: &str, body: &[u8]) -> bool {
        let mac = mac(secret, self.at, self.nonce.as_deref(), method, path_and_query, body);
        let made_with_it = mac.verify_slice(&self.mac).is_ok();
        made_with_it && now_s.abs_diff(self.at) <= TOLERANCE_S.unsigned_abs()
    }

    /// What is remembered of a used signature: it tells nothing about the secret or the call.
    pub fn digest(&self, key: KeyId) -> [u8; 32] {
        Sha256::new().chain_update(key.0.as_bytes()).chain_update(self.mac).finalize().into()
    }

    /// Unix seconds after which it is too old anyway.
    pub fn useless_after(&self) -> i64 {
        self.at.saturating_add(TOLERANCE_S)
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t={},", self.at)?;
        if let Some(nonce) = &self.nonce {
            write!(f, "n={nonce},")?;
        }
        f.write_str("v1=")?;
        self.mac.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn mac(
    secret: &SecretString,
    at: i64,
    nonce: Option<&str>,
    method: &str,
    path_and_query: &str,
    body: &[u8],
) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC accepts keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
    mac.update(at.to_string().as_bytes());
    for part in nonce.into_iter().chain([method, path_and_query]) {
        mac.update(b".");
        mac.update(part.as_bytes());
    }
    mac.update(b".");
    mac.update(body);
    mac
}

/// Digits only: every time has one way to be written, as it is signed.
fn seconds(text: &str) -> Option<i64> {
    let plain = (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn is_nonce(text: &str) -> bool {
    (1..=NONCE_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// 64 hexadecimal digits of either case.
fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    /// The published vectors, computed with `openssl dgst -sha256 -hmac SECRET` over texts such as `1800000000.GET./api/v1/me.`.
    #[test]
    fn published_vectors() {
        let secret = crate::keys::token::example_secret("bnc");
        for (method, nonce, path, body, expected) in VECTORS {
            let signature = Signature::sign(&secret, 1_800_000_000, nonce, method, path, body);
            assert_eq!(signature.to_string(), expected, "{method} {path}");
            assert_eq!(Signature::parse(expected), Some(signature));
        }
    }

    /// Method, nonce, path, body and the header they give.
    type Vector = (&'static str, Option<&'static str>, &'static str, &'static [u8], &'static str);

    const VECTORS: [Vector; 3] = [
        (
            "GET",
            None,
            "/api/v1/me",
            b"",
            "t=1800000000,v1=23091ebad7b4cc2be40ea5153d2c96d21c547d42ae842ae3683381551f7a6630",
        ),
        (
            "POST",
            None,
            "/api/v1/messages/send",
            br#"{"instanceId":"ins_01jd3qz5k8e9rb1w0c5m2n6x7y","to":"60123456789","message":"Hi"}"#,
            "t=1800000000,v1=3905940ee693131e316ee267cd87c29ce68d57e8aed320e95b08d8b84a02a09c",
        ),
        (
            "GET",
            Some("a-1"),
            "/api/v1/messages?limit=10&to=%2B60123456789",
            b"",
            "t=1800000000,n=a-1,v1=8a24256b92903ec6d2d719033383bd39fd930669c03fdced16d2fe980b2551b7",
        ),
    ];

    #[test]
    fn only_exact_headers_are_read() {
        let mac = "ab".repeat(32);
        let reads = |header: &str| Signature::parse(header).is_some();
        assert!(reads(&format!("t=1,v1={mac}")));
        assert!(reads(&format!("v1={}, t=1 , n=x-Y_9", mac.to_uppercase())));
        for wrong in [
            String::new(),
            format!("v1={mac}"),
            "t=1".into(),
            format!("t=1,v1={mac},"),
            format!("t=1,v1={mac},v1={mac}"),
            format!("t=1,t=1,v1={mac}"),
            format!("t=1,v1={mac},v0=1"),
            format!("t=-1,v1={mac}"),
            format!("t=+1,v1={mac}"),
            format!("t=01,v1={mac}"),
            format!("t=1.5,v1={mac}"),
            format!("t=99999999999999999999,v1={mac}"),
            format!("t=1,v1={}", &mac[1..]),
            format!("t=1,v1={}g", &mac[1..]),
            format!("t=1,v1={}+", &mac[1..]),
            format!("t=1,n=,v1={mac}"),
            format!("t=1,n=a.b,v1={mac}"),
            format!("t=1,n=é,v1={mac}"),
            format!("t=1,n={},v1={mac}", "x".repeat(65)),
        ] {
            assert!(!reads(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_around_its_time() {
        let secret = SecretString::from("secret");
        let signature = Signature::sign(&secret, 1_000, None, "GET", "/", b"");
        for (now, good) in [(1_000, true), (1_300, true), (1_301, false), (700, true), (699, false)] {
            assert_eq!(signature.verifies(&secret, now, "GET", "/", b""), good, "{now}");
        }
        let never = Signature::sign(&secret, 999_999_999_999_999, None, "GET", "/", b"");
        assert!(!never.verifies(&secret, i64::MIN, "GET", "/", b""));
    }

    #[test]
    fn a_secret_is_compared_whole() {
        let secret = SecretString::from("bnc_secret_x");
        assert!(is_secret(&secret, b"bnc_secret_x"));
        for wrong in [&b""[..], b"bnc_secret_", b"bnc_secret_x ", b"BNC_SECRET_X", b"bnc_secret_xx"] {
            assert!(!is_secret(&secret, wrong));
        }
    }

    proptest! {
        #[test]
        fn whatever_differs_does_not_verify(
            at in 0i64..4_000_000_000, nonce in proptest::option::of("[A-Za-z0-9_-]{1,64}"), method in "GET|POST|PUT|DELETE",
            path in "/[a-z0-9/?&=%.]{0,40}", body: Vec<u8>, other: Vec<u8>,
        ) {
            let secret = SecretString::from("bnc_secret_x");
            let signature = Signature::sign(&secret, at, nonce.as_deref(), &method, &path, &body);
            prop_assert!(signature.verifies(&secret, at, &method, &path, &body));
            prop_assert_eq!(Signature::parse(&signature.to_string()), Some(signature.clone()));
            prop_assert!(!signature.verifies(&SecretString::from("bnc_secret_y"), at, &method, &path, &body));
            prop_assert!(!signature.verifies(&secret, at, "PATCH", &path, &body));
            let longer = format!("{path}x");
            prop_assert!(!signature.verifies(&secret, at, &method, &longer, &body));
            prop_assert_eq!(signature.verifies(&secret, at, &method, &path, &other), body == other);
            for changed in [
                Signature { at: at + 1, ..signature.clone() },
                Signature { nonce: Some("elsewise".into()), ..signature.clone() },
            ] {
                prop_assert!(!changed.verifies(&secret, at, &method, &path, &body));
            }
            let (one, two) = (KeyId(Uuid::nil()), KeyId(Uuid::max()));
            prop_assert!(signature.digest(one) != signature.digest(two));
        }

        #[test]
        fn nothing_panics(header in "\\PC{0,200}", near in "[tnv1=,0-9a-f]{0,90}") {
            Signature::parse(&header);
            Signature::parse(&near);
        }
    }
}
