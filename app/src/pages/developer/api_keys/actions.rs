//! The page's server functions. Each asks who is calling and whether they may, then makes one call into `domain`.
//!
//! With script they answer with a value. A form sent without script is answered by a redirect back to the page;
//! [`plain`] keeps what must survive it.

use domain::{
    ids::KeyId,
    keys::{KeyFilter, KeyForm},
};
use leptos::{prelude::*, server_fn::codec::Json};

#[cfg(feature = "ssr")]
use super::plain;
use super::{
    data::{Change, ListPage, PanelPage, Revealed},
    query::Panel,
};
#[cfg(feature = "ssr")]
use crate::session::{current, now};
use crate::{error::AppError, later::Later};

/// One page of the list.
#[server(endpoint = "api_keys/list", input = Json)]
pub async fn list_keys(filter: KeyFilter) -> Result<ListPage, AppError> {
    let me = current().await?;
    let now = now();
    let list = domain::keys::store::list(me.db(), me.organization(), &filter, now).await?;
    Ok(ListPage {
        may_manage: me.viewer.role.may_manage_keys(),
        public_url: me.state.settings.public_url.clone(),
        problem: plain::take_problem().await?,
        ..super::words::list_page(list, now)
    })
}

/// What an open dialog or sheet shows.
#[server(endpoint = "api_keys/panel", input = Json)]
pub async fn load_panel(panel: Panel) -> Result<Later<PanelPage>, AppError> {
    let me = current().await?;
    let page = match panel {
        Panel::Usage(id) => super::panels::usage(&me, id).await,
        Panel::History(id) => super::panels::history(&me, id).await,
        changing => super::panels::for_change(&me.manages_keys()?, changing).await,
    }?;
    Later::new(&page)
}

/// Makes a key. The answer is the only time that it is shown; `None` when the browser is sent to the card instead.
#[server(endpoint = "api_keys/create")]
pub async fn create_key(
    form: KeyForm,
    // Beside the form: with no scope ticked a form sends none, which must not mean "as it opened".
    #[server(default)] scopes: Vec<String>,
    #[server(default)] back: String,
) -> Result<Option<Revealed>, AppError> {
    let me = current().await?.manages_keys()?;
    let form = KeyForm { scopes, ..form };
    let made = match form.parse(now(), None) {
        Ok(new) => {
            let prefix = &me.state.settings.key_prefix;
            let submission = form.submission.parse().ok();
            domain::keys::store::create_with_secret(me.db(), &me.state.sealer, &me.actor(), new, submission, prefix)
                .await
                .map_err(AppError::from)
        }
        Err(fields) => Err(AppError::Invalid { fields }.answered()),
    };
    match made {
        Ok(issued) => plain::reveal(&me, issued, false, &back).await,
        Err(error) => plain::form_again(None, form, error, &back).await,
    }
}

/// Changes everything of a key but its secret and environment.
#[server(endpoint = "api_keys/edit")]
pub async fn edit_key(
    id: KeyId,
    form: KeyForm,
    #[server(default)] scopes: Vec<String>,
    #[server(default)] back: String,
) -> Result<(), AppError> {
    let me = current().await?.manages_keys()?;
    let row = domain::keys::store::get(me.db(), me.organization(), id, now()).await?;
    let environment = row.key.environment.as_str().to_owned();
    let form = KeyForm { scopes, environment, ..form };
    let version = form.version.parse().unwrap_or_default();
    let saved = match form.parse(now(), Some(&row.key)) {
        Ok(new) => domain::keys::store::edit(me.db(), &me.actor(), id, version, new).await.map_err(AppError::from),
        Err(fields) => Err(AppError::Invalid { fields }.answered()),
    };
    match saved {
        Ok(()) => plain::done("Key saved", &back).await,
        Err(error) => plain::form_again::<()>(Some(id), form, error, &back).await.map(|_| ()),
    }
}

/// Enables, disables or revokes one key or the selected ones. Answers with a sentence about what was done.
#[server(endpoint = "api_keys/change")]
pub async fn change_keys(
    #[server(default)] ids: Vec<KeyId>,
    what: Change,
    #[server(default)] back: String,
) -> Result<String, AppError> {
    let me = current().await?.manages_keys()?;
    let (db, actor) = (me.db(), me.actor());
    if ids.is_empty() || what == Change::AskRevoke {
        return plain::ask_revoke(ids, &back).await.map(|()| String::new());
    }
    let changed = match what {
        Change::Enable => domain::keys::store::set_disabled(db, &actor, &ids, false).await,
        Change::Disable => domain::keys::store::set_disabled(db, &actor, &ids, true).await,
        Change::Revoke | Change::AskRevoke => domain::keys::store::revoke(db, &actor, &ids).await,
    };
    match changed.map_err(AppError::from) {
        Ok(count) => {
            let sentence = what.done(count);
            plain::done(&sentence, &back).await.map(|()| sentence)
        }
        Err(error) => plain::problem(error, &back).await.map(|()| String::new()),
    }
}

/// A new secret for a key.
#[server(endpoint = "api_keys/regenerate")]
pub async fn regenerate_key(
    id: KeyId,
    version: i32,
    overlap: String,
    #[server(default)] back: String,
) -> Result<Option<Revealed>, AppError> {
    let me = current().await?.manages_keys()?;
    let made = match domain::keys::Overlap::parse(&overlap) {
        Some(overlap) => {
            let prefix = &me.state.settings.key_prefix;
            domain::keys::store::regenerate(me.db(), &me.actor(), id, version, overlap, prefix).await
        }
        None => Err(domain::Error::field("overlap", "Choose when the old key stops working.")),
    };
    match made.map_err(AppError::from) {
        Ok(issued) => plain::reveal(&me, issued, true, &back).await,
        Err(error) => plain::problem(error, &back).await.map(|()| None),
    }
}

/// Ends the replaced secret of a key now.
#[server(endpoint = "api_keys/retire_old_secret")]
pub async fn retire_old_secret(id: KeyId, #[server(default)] back: String) -> Result<(), AppError> {
    let me = current().await?.manages_keys()?;
    match domain::keys::store::retire_old_secret(me.db(), &me.actor(), id).await.map_err(AppError::from) {
        Ok(()) => plain::done("Old secret retired", &back).await,
        Err(error) => plain::problem(error, &back).await,
    }
}

/// A new API secret for a key, in place of the one that it may have. The answer is the only time that it is shown.
#[server(endpoint = "api_keys/issue_secret")]
pub async fn issue_secret(id: KeyId, #[server(default)] back: String) -> Result<Option<Revealed>, AppError> {
    let me = current().await?.manages_keys()?;
    let row = domain::keys::store::get(me.db(), me.organization(), id, now()).await?;
    let prefix = &me.state.settings.key_prefix;
    match domain::keys::store::issue_api_secret(me.db(), &me.state.sealer, &me.actor(), id, prefix).await {
        Ok((secret, _)) => plain::reveal_secret(&me, &row.key, &secret, &back).await,
        Err(error) => plain::problem(error.into(), &back).await.map(|()| None),
    }
}

/// Takes the API secret of a key away: the key alone suffices again.
#[server(endpoint = "api_keys/remove_secret")]
pub async fn remove_secret(id: KeyId, #[server(default)] back: String) -> Result<(), AppError> {
    let me = current().await?.manages_keys()?;
    match domain::keys::store::remove_api_secret(me.db(), &me.actor(), id).await.map_err(AppError::from) {
        Ok(()) => plain::done("API secret removed", &back).await,
        Err(error) => plain::problem(error, &back).await,
    }
}
