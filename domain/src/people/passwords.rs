//! Passwords: argon2id with 46 MiB, one pass, one lane (OWASP Password Storage Cheat Sheet, first choice).
//!
//! Hashing takes tens of milliseconds and 46 MiB: at most as many run at once as the server has room for, off the
//! async threads. For an unknown address a dummy hash is verified, so that the time does not tell who exists.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::form;
use crate::error::{Error, FieldError, Result};

/// Passwords that are tried first by whoever guesses. Compared in lower case; only those of 12 characters and more
/// matter, since shorter ones are refused anyway.
const COMMON: &str = include_str!("common_passwords.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    Production,
    /// A few microseconds, for tests only.
    Test,
}

#[derive(Clone)]
pub struct Hasher {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
    dummy: Arc<String>,
}

impl Hasher {
    /// # Errors
    /// Never with the two known costs; argon2 checks them all the same.
    pub fn new(cost: Cost, concurrency: usize) -> Result<Self> {
        let (memory_kib, passes) = match cost {
            Cost::Production => (47_104, 1),
            Cost::Test => (8, 1),
        };
        let params = Params::new(memory_kib, passes, 1, None).map_err(Error::internal)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, "nobody has this password")?;
        Ok(Self { argon2, permits: Arc::new(Semaphore::new(concurrency.max(1))), dummy: Arc::new(dummy) })
    }

    pub async fn hash(&self, password: &SecretString) -> Result<String> {
        let password = password.clone();
        self.run(move |argon2| hash(argon2, password.expose_secret())).await
    }

    /// Does the password belong to this hash? `None`: there is no such person; takes as long.
    pub async fn verify(&self, password: &SecretString, known: Option<String>) -> Result<bool> {
        let (password, exists) = (password.clone(), known.is_some());
        let stored = known.unwrap_or_else(|| self.dummy.as_ref().clone());
        self.run(move |argon2| {
            let stored = PasswordHash::new(&stored).map_err(Error::internal)?;
            Ok(argon2.verify_password(password.expose_secret().as_bytes(), &stored).is_ok() && exists)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _permit = self.permits.acquire().await.map_err(Error::internal)?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || work(&argon2)).await.map_err(Error::internal)?
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String> {
    Ok(argon2.hash_password(password.as_bytes()).map_err(Error::internal)?.to_string())
}

/// Length, and not one of the common ones, nor the person's own address.
pub fn check(field: &str, password: &SecretString, email: &str) -> Result<(), FieldError> {
    let text = password.expose_secret();
    form::password_length(field, text)?;
    let lower = text.to_lowercase();
    let squeezed = lower.chars().next().is_some_and(|first| lower.chars().all(|c| c == first));
    if squeezed || lower == email || COMMON.lines().any(|common| common == lower) {
        return Err(FieldError::new(
            field,
            "This password is among the first that are guessed. Choose another, such as four unrelated words.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_ones_are_refused() {
        for bad in ["passwordpassword", "123456789012", "QwertyUiop123", "aaaaaaaaaaaaaa", "ada@acme.example"] {
            assert!(check("password", &SecretString::from(bad), "ada@acme.example").is_err(), "{bad}");
        }
        assert!(check("password", &SecretString::from("correct horse battery"), "ada@acme.example").is_ok());
    }

    #[tokio::test]
    async fn verifies_and_never_for_nobody() {
        let hasher = Hasher::new(Cost::Test, 1).unwrap();
        let password = SecretString::from("correct horse battery");
        let stored = hasher.hash(&password).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert!(hasher.verify(&password, Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify(&SecretString::from("wrong"), Some(stored)).await.unwrap());
        assert!(!hasher.verify(&SecretString::from("nobody has this password"), None).await.unwrap());
    }
}
