//! Signatures of hooks: over the bytes as they came, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Sha256, Sha512};

/// WAHA: `X-Webhook-Hmac`, HMAC-SHA512 in hexadecimal.
pub fn waha(secret: Option<&str>, headers: &HeaderMap, body: &[u8]) -> bool {
    let Some(given) = headers.get("x-webhook-hmac").and_then(|value| value.to_str().ok()) else { return false };
    verify::<Hmac<Sha512>>(secret, body, given)
}

/// Meta: `X-Hub-Signature-256: sha256=…`, HMAC-SHA256 in hexadecimal.
pub fn meta(secret: Option<&str>, headers: &HeaderMap, body: &[u8]) -> bool {
    let Some(given) = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok()) else { return false };
    given.strip_prefix("sha256=").is_some_and(|given| verify::<Hmac<Sha256>>(secret, body, given))
}

fn verify<M: Mac + KeyInit>(secret: Option<&str>, body: &[u8], given: &str) -> bool {
    // Without a secret everybody could compute the signature.
    let Some(secret) = secret.filter(|secret| !secret.is_empty()) else { return false };
    let Some(given) = bytes_of(given.trim()) else { return false };
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&given).is_ok()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The published vectors: devlikeapro/waha-docs how-to/events; Meta's scheme over a body of its shape.
    const WAHA_BODY: &[u8] = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
    const WAHA: &str = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";
    const META_BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;
    const META: &str = "sha256=bb44c42e097da122b65af00b26fd8c0a9080c18f1a44af50ff59d2001195117e";

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_published_vectors_hold() {
        assert!(waha(Some("my-secret-key"), &headers("x-webhook-hmac", WAHA), WAHA_BODY));
        assert!(waha(Some("my-secret-key"), &headers("x-webhook-hmac", &WAHA.to_uppercase()), WAHA_BODY));
        assert!(meta(Some("dev-app-secret"), &headers("x-hub-signature-256", META), META_BODY));
    }

    #[test]
    fn everything_else_is_refused() {
        let good = headers("x-webhook-hmac", WAHA);
        assert!(!waha(Some("another-key"), &good, WAHA_BODY));
        assert!(!waha(None, &good, WAHA_BODY));
        assert!(!waha(Some(""), &good, WAHA_BODY));
        assert!(!waha(Some("my-secret-key"), &HeaderMap::new(), WAHA_BODY));
        assert!(!waha(Some("my-secret-key"), &good, &WAHA_BODY[1..]));
        assert!(!waha(Some("my-secret-key"), &good, &[WAHA_BODY, b" "].concat()));
        for wrong in ["", "00", &WAHA[..126], &format!("{WAHA}00"), &WAHA.replace('2', "3"), "zz", "sha512=ab", "é"] {
            let Ok(value) = http::HeaderValue::from_bytes(wrong.as_bytes()) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert("x-webhook-hmac", value);
            assert!(!waha(Some("my-secret-key"), &headers, WAHA_BODY), "{wrong}");
        }
        // Without its prefix it is some other scheme.
        assert!(!meta(Some("dev-app-secret"), &headers("x-hub-signature-256", &META[7..]), META_BODY));
        assert!(!meta(Some("dev-app-secret"), &headers("x-hub-signature-256", "sha1=00"), META_BODY));
    }
}
