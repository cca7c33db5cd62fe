//! Sealing of secrets at rest: XChaCha20-Poly1305 with keys derived from `BOUNCER_SECRET`.
//!
//! Text form: `v1.` + 8 hex digits that name the key + `.` + base64url(24-byte nonce ‖ ciphertext ‖ tag). The context
//! (what the secret is and whose) is authenticated with it, so that a sealed value cannot be moved to another row.
//! The key's name lets two secrets be read while one replaces the other; it tells nothing about either.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::error::{Error, Result};

const VERSION: &str = "v1";
const NONCE: usize = 24;

#[derive(Clone)]
pub struct Sealer {
    secret: SecretString,
    /// The first seals; all open.
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    name: String,
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(secret: &SecretString) -> Self {
        let name = derive(secret, "seal.v1 name").iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { name, cipher: XChaCha20Poly1305::new(&derive(secret, "seal.v1").into()) }
    }
}

impl Sealer {
    /// `secret` should have at least 32 random characters.
    pub fn new(secret: &SecretString) -> Self {
        Self { secret: secret.clone(), keys: vec![Key::new(secret)] }
    }

    /// Opens what was sealed with `old`, too, while everything is being sealed anew.
    #[must_use]
    pub fn and_old(mut self, old: &SecretString) -> Self {
        self.keys.push(Key::new(old));
        self
    }

    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<String> {
        let key = self.keys.first().ok_or_else(|| Error::Internal("no key to seal with".into()))?;
        let nonce: [u8; NONCE] = rand::random();
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context.as_bytes() })
            .map_err(|_| Error::Internal("sealing failed".into()))?;
        Ok(format!("{VERSION}.{}.{}", key.name, URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// # Errors
    /// `Internal` when the text is damaged, was sealed with another secret or for another context.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        let fail = || Error::Internal("a sealed value cannot be opened".into());
        let mut parts = sealed.splitn(3, '.');
        let (Some(VERSION), Some(name), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fail());
        };
        let key = self
            .keys
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| Error::Internal("a value was sealed with another BOUNCER_SECRET".into()))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() > NONCE).ok_or_else(fail)?;
        let (nonce, body) = bytes.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| fail())?;
        key.cipher.decrypt(&XNonce::from(nonce), Payload { msg: body, aad: context.as_bytes() }).map_err(|_| fail())
    }

    /// Whether the text is sealed with the current secret.
    pub fn is_current(&self, sealed: &str) -> bool {
        let name = sealed.split('.').nth(1);
        self.keys.first().is_some_and(|key| name == Some(&key.name))
    }

    /// The same value, sealed with the current secret.
    ///
    /// # Errors
    /// As [`Sealer::open`].
    pub fn reseal(&self, context: &str, sealed: &str) -> Result<String> {
        let plain = secrecy::zeroize::Zeroizing::new(self.open(context, sealed)?);
        self.seal(context, &plain)
    }

    /// A key of its own for one purpose: HMAC-SHA-256 of the label.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        derive(&self.secret, label)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

fn derive(secret: &SecretString, label: &str) -> [u8; 32] {
    // HMAC takes keys of every length.
    #[expect(clippy::expect_used, reason = "HMAC accepts keys of any length")]
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
    mac.update(label.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_it_sealed_for_this_context() {
        let sealer = Sealer::new(&SecretString::from("a secret of sufficient length, 32+"));
        let sealed = sealer.seal("session/1", b"bnc_live_x").unwrap();
        assert_eq!(sealer.open("session/1", &sealed).unwrap(), b"bnc_live_x");
        assert!(sealer.open("session/2", &sealed).is_err());
        assert!(Sealer::new(&SecretString::from("another")).open("session/1", &sealed).is_err());
        let mut damaged = sealed.into_bytes();
        damaged[20] ^= 1;
        assert!(sealer.open("session/1", &String::from_utf8(damaged).unwrap()).is_err());
    }

    #[test]
    fn two_secrets_are_read_while_one_replaces_the_other() {
        let (old, new) = (SecretString::from("the old secret"), SecretString::from("the new secret"));
        let before = Sealer::new(&old).seal("instance/1", b"token").unwrap();
        let both = Sealer::new(&new).and_old(&old);
        assert_eq!(both.open("instance/1", &before).unwrap(), b"token");
        assert!(!both.is_current(&before));

        let after = both.reseal("instance/1", &before).unwrap();
        assert!(both.is_current(&after));
        assert_eq!(Sealer::new(&new).open("instance/1", &after).unwrap(), b"token");
        assert!(Sealer::new(&old).open("instance/1", &after).is_err());
        assert!(both.reseal("instance/2", &before).is_err(), "the context is checked on the way");
    }

    #[test]
    fn what_is_no_sealed_text_is_refused() {
        let sealer = Sealer::new(&SecretString::from("a secret of sufficient length, 32+"));
        let sealed = sealer.seal("c", b"x").unwrap();
        let name = sealed.split('.').nth(1).unwrap();
        for text in [
            "",
            "v1",
            "v1.",
            "v1..",
            &format!("v1.{name}."),
            &format!("v1.{name}.AAAA"),
            &sealed.replace("v1", "v2"),
            "plain",
        ] {
            assert!(sealer.open("c", text).is_err(), "{text}");
            assert!(sealer.reseal("c", text).is_err(), "{text}");
        }
    }
}
