//! What must survive the redirect after a form was sent without script: what was typed, what was wrong with it, or
//! one sentence of success. Kept in the session, read once. Never passwords; secrets only sealed. Of somebody who is not
//! signed in only a little is kept, for minutes: anybody can send us forms.

use domain::error::FieldError;
use serde::{Deserialize, Serialize};

/// A form that came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormFlash {
    /// Names and values as they were typed.
    pub values: Vec<(String, String)>,
    pub errors: Vec<FieldError>,
    /// A sentence above the form.
    pub message: Option<String>,
}

impl FormFlash {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn error(&self, name: &str) -> Option<&str> {
        self.errors.iter().find(|e| e.field == name).map(|e| e.message.as_str())
    }

    /// As much of it as is kept for a stranger.
    #[cfg(feature = "ssr")]
    fn of_stranger(self) -> Self {
        let short = |text: String| text.chars().take(STRANGERS_MAX).collect();
        Self { values: self.values.into_iter().map(|(name, value)| (name, short(value))).collect(), ..self }
    }
}

/// The longest value that somebody can rightly type who is not signed in, an e-mail address.
#[cfg(feature = "ssr")]
const STRANGERS_MAX: usize = domain::people::form::EMAIL_MAX;

#[cfg(feature = "ssr")]
mod server {
    use serde::{Serialize, de::DeserializeOwned};

    use super::FormFlash;
    use crate::{
        error::AppError,
        session::{Current, PERSON, go, internal, is_plain_form, session, store_error},
    };

    fn key(name: &str) -> String {
        format!("flash:{name}")
    }

    /// Puts something into the session until it is [taken](take).
    pub async fn put<T: Serialize + Send + Sync>(name: &str, value: &T) -> Result<(), AppError> {
        session()?.insert(&key(name), value).await.map_err(store_error)
    }

    /// Takes it out again; it is gone afterwards.
    pub async fn take<T: DeserializeOwned>(name: &str) -> Result<Option<T>, AppError> {
        let session = session()?;
        let key = key(name);
        // Looked at first, so that a page without a flash does not write its session.
        let Some(value) = session.get_value(&key).await.map_err(store_error)? else { return Ok(None) };
        session.remove_value(&key).await.map_err(store_error)?;
        Ok(serde_json::from_value(value).ok())
    }

    /// Ends a server function that failed. With script the error goes back as it is, and the page shows it beside the
    /// fields. Without, form and errors are kept for the page at `back`, and the browser is sent there. Of one attempt
    /// too many only the sentence is kept.
    pub async fn refuse<T>(
        form: &str,
        back: &str,
        values: Vec<(String, String)>,
        error: AppError,
    ) -> Result<T, AppError> {
        if is_plain_form() {
            let values = if matches!(error, AppError::Limited { .. }) { Vec::new() } else { values };
            let flash = FormFlash { values, errors: error.fields().to_vec(), message: error.above_form() };
            let stranger = session()?.get_value(PERSON).await.map_err(store_error)?.is_none();
            put(form, &if stranger { flash.of_stranger() } else { flash }).await?;
            go(back);
        }
        Err(error)
    }

    /// Ends a server function without a form of its own that failed. With script the error goes back as it is; without,
    /// the page at `back` says it once.
    pub async fn problem<T>(back: &str, error: AppError) -> Result<T, AppError> {
        if is_plain_form() {
            put("problem", &error.to_string()).await?;
            go(back);
        }
        Err(error)
    }

    /// One sentence of success for the next page.
    pub async fn note(text: &str) -> Result<(), AppError> {
        put("note", &text).await
    }

    /// Keeps a secret for the next page, sealed for this person, when the form was sent without script; the browser
    /// then goes to `path`. With script nothing is kept: the secret is in the answer.
    pub async fn keep_for_plain_form<T: Serialize>(
        me: &Current,
        name: &str,
        secret: &T,
        path: &str,
    ) -> Result<(), AppError> {
        if !is_plain_form() {
            return Ok(());
        }
        let text = serde_json::to_vec(secret).map_err(internal)?;
        put(name, &me.state.sealer.seal(&context(me, name), &text)?).await?;
        go(path);
        Ok(())
    }

    /// Takes the secret out again; afterwards it is nowhere.
    pub async fn take_sealed<T: DeserializeOwned>(me: &Current, name: &str) -> Result<Option<T>, AppError> {
        let sealed: Option<String> = take(name).await?;
        Ok(sealed
            .and_then(|sealed| me.state.sealer.open(&context(me, name), &sealed).ok())
            .and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Binds a seal to the person and the use.
    fn context(me: &Current, name: &str) -> String {
        format!("{name} for {}", me.viewer.person_id)
    }

    /// Ends a server function that worked. Without script: back to the page at `back`, which says `text` once.
    /// With script nothing: the page closes its dialog and says it as a toast.
    pub async fn done(back: &str, text: &str) -> Result<(), AppError> {
        if is_plain_form() {
            note(text).await?;
            go(back);
        }
        Ok(())
    }
}

#[cfg(feature = "ssr")]
pub use server::{done, keep_for_plain_form, note, problem, put, refuse, take, take_sealed};

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept_of_strangers() {
        let values = vec![("name".to_owned(), "ä".repeat(100_000)), ("email".into(), "ada@acme.example".into())];
        let flash = FormFlash { values, errors: Vec::new(), message: None }.of_stranger();
        assert_eq!(flash.value("name"), Some("ä".repeat(254).as_str()));
        assert_eq!(flash.value("email"), Some("ada@acme.example"));
    }
}
