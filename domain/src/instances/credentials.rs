//! What a provider demands before it believes us, and what it signs with. Sealed at rest as one JSON object; the
//! console and the API can set them and say which are set, nothing more.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// One of the secrets of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credential {
    /// WAHA: what goes into `X-Api-Key`.
    ApiKey,
    /// WAHA: the key of `X-Webhook-Hmac`. Made by Bouncer, told to WAHA only.
    HookSecret,
    /// Cloud API: the bearer token.
    AccessToken,
    /// Cloud API: the key of `X-Hub-Signature-256`.
    AppSecret,
    /// Cloud API: what Meta repeats when it asks for the first time.
    VerifyToken,
}

impl Credential {
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::HookSecret, Self::AccessToken, Self::AppSecret, Self::VerifyToken];

    /// Its name in the API, and in the sealed object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::HookSecret => "hookSecret",
            Self::AccessToken => "accessToken",
            Self::AppSecret => "appSecret",
            Self::VerifyToken => "verifyToken",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|credential| credential.as_str() == text)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::HookSecret => "Webhook secret",
            Self::AccessToken => "Access token",
            Self::AppSecret => "App secret",
            Self::VerifyToken => "Verify token",
        }
    }
}

/// The secrets of an instance. No Debug, no Serialize.
#[derive(Clone, Default)]
pub struct Credentials(Vec<(Credential, SecretString)>);

impl Credentials {
    pub fn get(&self, credential: Credential) -> Option<&str> {
        self.0.iter().find(|(which, _)| *which == credential).map(|(_, secret)| secret.expose_secret())
    }

    pub fn set(&mut self, credential: Credential, secret: SecretString) {
        self.0.retain(|(which, _)| *which != credential);
        self.0.push((credential, secret));
    }

    pub fn remove(&mut self, credential: Credential) {
        self.0.retain(|(which, _)| *which != credential);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which are set, in the order of [`Credential::ALL`].
    pub fn names(&self) -> Vec<Credential> {
        Credential::ALL.into_iter().filter(|which| self.get(*which).is_some()).collect()
    }

    /// These, and those of `older` that these do not replace.
    #[must_use]
    pub fn over(&self, older: &Self) -> Self {
        let mut all = older.clone();
        for (which, secret) in &self.0 {
            all.set(*which, secret.clone());
        }
        all
    }

    /// The plain form that is sealed: `{"apiKey":"…"}`.
    #[cfg(feature = "postgres")]
    pub(super) fn to_plain(&self) -> secrecy::zeroize::Zeroizing<String> {
        let object: std::collections::BTreeMap<&str, &str> =
            self.0.iter().map(|(which, secret)| (which.as_str(), secret.expose_secret())).collect();
        // A map of texts always serializes.
        serde_json::to_string(&object).unwrap_or_default().into()
    }

    /// Reads the plain form. Names of a later version are left out.
    #[cfg(feature = "postgres")]
    pub(super) fn from_plain(bytes: &[u8]) -> crate::Result<Self> {
        let object: std::collections::BTreeMap<String, String> = serde_json::from_slice(bytes)
            // The error would quote the text.
            .map_err(|_| crate::Error::Internal("sealed credentials are no JSON object of texts".into()))?;
        Ok(Self(object.into_iter().filter_map(|(name, text)| Some((Credential::parse(&name)?, text.into()))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_replaces_the_old_one_and_the_rest_stays() {
        let mut old = Credentials::default();
        old.set(Credential::AccessToken, "a".to_owned().into());
        old.set(Credential::AppSecret, "b".to_owned().into());
        let mut new = Credentials::default();
        new.set(Credential::AccessToken, "c".to_owned().into());
        let all = new.over(&old);
        assert_eq!(all.get(Credential::AccessToken), Some("c"));
        assert_eq!(all.get(Credential::AppSecret), Some("b"));
        assert_eq!(all.names(), [Credential::AccessToken, Credential::AppSecret]);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn the_plain_form_comes_back_and_tolerates_later_names() {
        let mut credentials = Credentials::default();
        credentials.set(Credential::ApiKey, "k\"ö".to_owned().into());
        let plain = credentials.to_plain();
        assert_eq!(
            Credentials::from_plain(plain.as_bytes()).ok().and_then(|c| c.get(Credential::ApiKey).map(str::to_owned)),
            Some("k\"ö".into())
        );
        let later = Credentials::from_plain(br#"{"apiKey":"x","ofALaterVersion":"y"}"#).ok().map(|c| c.names());
        assert_eq!(later, Some(vec![Credential::ApiKey]));
        assert!(Credentials::from_plain(b"[]").is_err());
    }
}
