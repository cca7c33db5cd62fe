//! Loads what the dialogs and sheets show. Server only.

use domain::{
    ids::{InstanceId, KeyId},
    keys::{ApiKeyRow, KeyForm, form::NAME_MAX, store},
};

use super::{
    data::{FormPage, PanelPage, Used},
    plain,
    query::Panel,
};
use crate::{
    error::AppError,
    session::{Current, no_store, now},
};

/// Instances that the form offers beside those that are chosen; more than fit on a page serve nobody.
const INSTANCES: u32 = 500;

pub async fn usage(me: &Current, id: KeyId) -> Result<PanelPage, AppError> {
    let (db, organization, now) = (me.db(), me.organization(), now());
    Ok(PanelPage::Usage {
        row: Box::new(store::get(db, organization, id, now).await?),
        stats: store::stats(db, organization, id, now).await?,
        old_callers: store::old_secret_callers(db, organization, id, now).await?,
        now,
        may_manage: me.viewer.role.may_manage_keys(),
    })
}

pub async fn history(me: &Current, id: KeyId) -> Result<PanelPage, AppError> {
    let (db, organization, now) = (me.db(), me.organization(), now());
    Ok(PanelPage::History {
        row: Box::new(store::get(db, organization, id, now).await?),
        events: store::history(db, organization, id).await?,
        now,
    })
}

/// The dialogs that lead to a change; the caller has the right to make it.
pub async fn for_change(me: &Current, panel: Panel) -> Result<PanelPage, AppError> {
    match panel {
        Panel::New(from) => new(me, from).await,
        Panel::Edit(id) => edit(me, id).await,
        Panel::Regenerate(id) => Ok(PanelPage::Regenerate(Box::new(used(me, changeable(me, id).await?).await?), now())),
        Panel::Revoke(ids) => revoke(me, ids).await,
        Panel::Created(id) => {
            no_store();
            Ok(PanelPage::Created(plain::take_revealed(me, id).await?, Box::new(row(me, id).await?)))
        }
        Panel::Closed | Panel::Usage(_) | Panel::History(_) => Err(AppError::NotFound.answered()),
    }
}

async fn new(me: &Current, from: Option<KeyId>) -> Result<PanelPage, AppError> {
    let mut form = KeyForm::default();
    let mut original = None;
    if let Some(id) = from {
        let key = row(me, id).await?.key;
        form = KeyForm { version: String::new(), name: name_of_copy(&key.name), ..KeyForm::of(&key) };
        if key.expires_at.is_some_and(|at| at <= now()) {
            form.expires = "never".into();
            form.expires_on.clear();
        }
        original = Some(key.name);
    }
    let mut page = form_page(me, form, plain::take_form(None).await?).await?;
    // The id of this drawing of the form: whatever is sent twice from it makes one key.
    page.form.submission = KeyId::new().0.to_string();
    Ok(PanelPage::New(Box::new(page), original))
}

async fn edit(me: &Current, id: KeyId) -> Result<PanelPage, AppError> {
    let row = changeable(me, id).await?;
    let page = form_page(me, KeyForm::of(&row.key), plain::take_form(Some(id)).await?).await?;
    Ok(PanelPage::Edit(Box::new(page), Box::new(used(me, row).await?)))
}

async fn revoke(me: &Current, ids: Vec<KeyId>) -> Result<PanelPage, AppError> {
    let mut keys = vec![];
    let one = ids.len() == 1;
    for id in ids {
        // A single key that is gone is worth an explanation; among many it is left out.
        let row = if one { changeable(me, id).await? } else { row(me, id).await? };
        if row.key.revoked_at.is_none() {
            keys.push(used(me, row).await?);
        }
    }
    Ok(PanelPage::Revoke(keys, now()))
}

async fn form_page(me: &Current, form: KeyForm, sent: Option<plain::SentForm>) -> Result<FormPage, AppError> {
    let (form, errors, message) = match sent {
        Some(sent) => (sent.form, sent.errors, sent.message),
        None => (form, vec![], None),
    };
    let list = domain::instances::store::list;
    let mut rows = list(me.db(), me.organization(), None, None, INSTANCES).await?;
    let chosen: Vec<InstanceId> = form.instances.iter().filter_map(|id| id.parse().ok()).collect();
    let older: Vec<InstanceId> =
        chosen.iter().copied().filter(|id| rows.iter().all(|row| row.instance.id != *id)).collect();
    if !older.is_empty() {
        let count = u32::try_from(older.len()).unwrap_or(u32::MAX);
        rows.extend(list(me.db(), me.organization(), None, Some(&older), count).await?);
    }
    let instances: Vec<_> = rows.into_iter().map(|row| (row.instance.id, row.instance.name)).collect();
    // What was deleted meanwhile cannot be chosen any more.
    let there = |id: &InstanceId| instances.iter().any(|(known, _)| known == id);
    let form = KeyForm { instances: chosen.iter().filter(|id| there(id)).map(ToString::to_string).collect(), ..form };
    Ok(FormPage { form, errors, message, now: now(), own_ip: me.ip, instances })
}

async fn row(me: &Current, id: KeyId) -> Result<ApiKeyRow, AppError> {
    Ok(store::get(me.db(), me.organization(), id, now()).await?)
}

/// A key that can still be changed: not revoked.
async fn changeable(me: &Current, id: KeyId) -> Result<ApiKeyRow, AppError> {
    let row = row(me, id).await?;
    if row.key.revoked_at.is_some() {
        let message = format!("“{}”: {} Create a new key instead.", row.key.name, row.status.reason);
        return Err(AppError::Conflict { message }.answered());
    }
    Ok(row)
}

async fn used(me: &Current, row: ApiKeyRow) -> Result<Used, AppError> {
    let in_use = store::in_use(me.db(), me.organization(), row.key.id, now()).await?;
    Ok(Used { row, in_use })
}

/// "Shop plugin copy", within the length that names may have.
fn name_of_copy(name: &str) -> String {
    const COPY: &str = " copy";
    let kept: String = name.chars().take(NAME_MAX - COPY.len()).collect();
    format!("{}{COPY}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_a_name_that_may_be_used() {
        assert_eq!(name_of_copy("Shop plugin"), "Shop plugin copy");
        assert_eq!(name_of_copy(&"ü".repeat(80)).chars().count(), NAME_MAX);
    }
}
