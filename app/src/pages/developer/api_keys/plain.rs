//! Forms that were sent without script: they are answered by a redirect, and what must survive it waits in the session.
//! Server only. With script these functions hand the result straight back.

use domain::{
    error::FieldError,
    ids::KeyId,
    keys::{ApiKey, KeyForm, store::Issued},
    secret::{ExposeSecret, SecretString},
};
use serde::{Deserialize, Serialize};

use super::{
    data::Revealed,
    query::{KeysQuery, Panel},
};
use crate::{
    error::AppError,
    flash,
    session::{Current, go, internal, is_plain_form, no_store, now},
};

const FORM: &str = "key_form";
const ISSUED: &str = "key_issued";
const PROBLEM: &str = "key_problem";

/// A form that came back.
#[derive(Serialize, Deserialize)]
pub struct SentForm {
    /// The key that was edited; `None`: a new one.
    key: Option<KeyId>,
    pub form: KeyForm,
    pub errors: Vec<FieldError>,
    pub message: Option<String>,
}

/// The page to go back to. Read and written anew, so that no form can send anybody elsewhere.
fn page(back: &str) -> KeysQuery {
    KeysQuery::parse(back).closed()
}

/// It was done: back to the list, with one sentence.
pub async fn done(sentence: &str, back: &str) -> Result<(), AppError> {
    if is_plain_form() {
        flash::note(sentence).await?;
        go(&page(back).href());
    }
    Ok(())
}

/// It was not done: back to the list, with the reason.
pub async fn problem(error: AppError, back: &str) -> Result<(), AppError> {
    if !is_plain_form() {
        return Err(error);
    }
    flash::put(PROBLEM, &error.to_string()).await?;
    go(&page(back).href());
    Ok(())
}

pub async fn take_problem() -> Result<Option<String>, AppError> {
    flash::take(PROBLEM).await
}

/// The form again, with everything that was typed and what is wrong with it.
pub async fn form_again<T>(
    key: Option<KeyId>,
    form: KeyForm,
    error: AppError,
    back: &str,
) -> Result<Option<T>, AppError> {
    if !is_plain_form() {
        return Err(error);
    }
    let sent = SentForm { key, form, errors: error.fields().to_vec(), message: error.above_form() };
    flash::put(FORM, &sent).await?;
    go(&page(back).with(key.map_or(Panel::New(None), Panel::Edit)).href());
    Ok(None)
}

pub async fn take_form(key: Option<KeyId>) -> Result<Option<SentForm>, AppError> {
    let sent: Option<SentForm> = flash::take(FORM).await?;
    Ok(sent.filter(|sent| sent.key == key))
}

/// To the dialog that asks whether the selected keys shall be revoked.
pub async fn ask_revoke(ids: Vec<KeyId>, back: &str) -> Result<(), AppError> {
    if ids.is_empty() {
        let message = "Select the keys first: tick the boxes at the left of the rows.".to_owned();
        return problem(AppError::Conflict { message }.answered(), back).await;
    }
    go(&page(back).with(Panel::Revoke(ids)).href());
    Ok(())
}

/// The new key: with script in the answer; without, sealed in the session until the next page shows it.
pub async fn reveal(me: &Current, issued: Issued, regenerated: bool, back: &str) -> Result<Option<Revealed>, AppError> {
    let revealed = Revealed {
        id: issued.id,
        name: issued.name,
        environment: issued.environment,
        key: Some(issued.text.expose_secret().to_owned()),
        api_secret: issued.api_secret.map(|secret| secret.expose_secret().to_owned()),
        regenerated,
        calls_since: None,
        public_url: me.state.settings.public_url.clone(),
    };
    reveal_once(me, revealed, back).await
}

/// A new API secret: the same way as a new key.
pub async fn reveal_secret(
    me: &Current,
    key: &ApiKey,
    secret: &SecretString,
    back: &str,
) -> Result<Option<Revealed>, AppError> {
    let revealed = Revealed {
        id: key.id,
        name: key.name.clone(),
        environment: key.environment,
        key: None,
        api_secret: Some(secret.expose_secret().to_owned()),
        regenerated: false,
        calls_since: Some(now()),
        public_url: me.state.settings.public_url.clone(),
    };
    reveal_once(me, revealed, back).await
}

async fn reveal_once(me: &Current, revealed: Revealed, back: &str) -> Result<Option<Revealed>, AppError> {
    no_store();
    if !is_plain_form() {
        return Ok(Some(revealed));
    }
    let text = serde_json::to_vec(&revealed).map_err(internal)?;
    let sealed = me.state.sealer.seal(&context(me, revealed.id), &text)?;
    flash::put(ISSUED, &sealed).await?;
    go(&page(back).with(Panel::Created(revealed.id)).href());
    Ok(None)
}

/// Takes the sealed key out of the session. Afterwards it is nowhere.
pub async fn take_revealed(me: &Current, id: KeyId) -> Result<Option<Revealed>, AppError> {
    let sealed: Option<String> = flash::take(ISSUED).await?;
    // A seal that does not open was made for another key or person, or before the server's secret changed: nothing to show.
    Ok(sealed
        .and_then(|sealed| me.state.sealer.open(&context(me, id), &sealed).ok())
        .and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Binds the seal to the person and the key.
fn context(me: &Current, id: KeyId) -> String {
    format!("issued key {id} for {}", me.viewer.person_id)
}
