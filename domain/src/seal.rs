//! Sealing of secrets at rest: XChaCha20-Poly1305 with keys derived from `BOUNCER_SECRET`.
//!
//! Text form: `v1.` + base64url(24-byte nonce ‖ ciphertext ‖ tag). The context (what the secret is and whose) is
//! authenticated with it, so that a sealed value cannot be moved to another row.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::error::{Error, Result};

const VERSION: &str = "v1.";
const NONCE: usize = 24;

#[derive(Clone)]
pub struct Sealer {
    secret: SecretString,
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// `secret` should have at least 32 random characters.
    pub fn new(secret: &SecretString) -> Self {
        Self { secret: secret.clone(), cipher: XChaCha20Poly1305::new(&derive(secret, "seal.v1").into()) }
    }

    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<String> {
        let nonce: [u8; NONCE] = rand::random();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context.as_bytes() })
            .map_err(|_| Error::Internal("sealing failed".into()))?;
        Ok(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// # Errors
    /// `Internal` when the text is damaged, was sealed with another secret or for another context.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        let fail = || Error::Internal("a sealed value cannot be opened".into());
        let bytes = sealed
            .strip_prefix(VERSION)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .filter(|bytes| bytes.len() > NONCE)
            .ok_or_else(fail)?;
        let (nonce, body) = bytes.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| fail())?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: body, aad: context.as_bytes() }).map_err(|_| fail())
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
}
