//! Templates in the database.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Listed, ParameterFormat, Template};
use crate::{
    Db, Error,
    audit::{self, Change},
    error::{OnConstraint, Result},
    ids::{InstanceId, OrgId, TemplateId},
    keys::Environment,
    people::Actor,
    text::{without_nul, without_nul_json},
    time::Time,
    webhooks::events::{self, NewEvent},
};

struct Row {
    id: Uuid,
    instance_id: Uuid,
    provider_id: Option<String>,
    name: String,
    language: String,
    category: String,
    previous_category: Option<String>,
    status: String,
    parameter_format: String,
    components: Value,
    synced_at: Time,
}

impl From<Row> for Template {
    fn from(row: Row) -> Self {
        Self {
            id: TemplateId(row.id),
            instance_id: InstanceId(row.instance_id),
            provider_id: row.provider_id,
            name: row.name,
            language: row.language,
            category: row.category,
            previous_category: row.previous_category,
            status: row.status,
            parameter_format: ParameterFormat::parse(&row.parameter_format).unwrap_or(ParameterFormat::Positional),
            components: row.components,
            synced_at: row.synced_at,
        }
    }
}

/// Which templates a list holds. Words are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub instance: Option<InstanceId>,
    /// The whole name.
    pub name: Option<String>,
    pub language: Option<String>,
    pub category: Option<String>,
    pub status: Option<String>,
    /// Instances that may be seen at all; `None`: every one.
    pub allowed: Option<Vec<InstanceId>>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub templates: Vec<Template>,
    /// The id to go on after; `None`: this was the last page.
    pub next: Option<TemplateId>,
}

/// One page of the templates that there are; those that vanished at the provider are not.
pub async fn list(
    db: &Db,
    organization: OrgId,
    filter: &Filter,
    limit: u32,
    after: Option<TemplateId>,
) -> Result<Page> {
    let allowed = filter.allowed.as_deref().map(uuids);
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        "select t.id, t.instance_id, t.provider_id, t.name, t.language, t.category, t.previous_category, t.status,
                t.parameter_format, t.components, t.synced_at
         from templates t join instances i on i.organization_id = t.organization_id and i.id = t.instance_id
         where t.organization_id = $1 and t.deleted_at is null and i.deleted_at is null
           and ($2::uuid is null or t.instance_id = $2)
           and ($3::text is null or lower(t.name) = lower($3))
           and ($4::text is null or lower(t.language) = lower($4))
           and ($5::text is null or upper(t.category) = upper($5))
           and ($6::text is null or upper(t.status) = upper($6))
           and ($7::uuid[] is null or t.instance_id = any($7))
           and ($8::uuid is null or t.id < $8)
         order by t.id desc limit $9",
        organization.0,
        filter.instance.map(|id| id.0),
        filter.name,
        filter.language,
        filter.category,
        filter.status,
        allowed.as_deref() as _,
        after.map(|id| id.0),
        i64::from(limit) + 1,
    )
    .fetch_all(&mut *tx)
    .await?;
    let more = rows.len() > limit as usize;
    let templates: Vec<Template> = rows.into_iter().take(limit as usize).map(Into::into).collect();
    let next = templates.last().filter(|_| more).map(|template| template.id);
    Ok(Page { templates, next })
}

/// One template. `allowed`: as in [`Filter`].
///
/// # Errors
/// `NotFound` also when it belongs to somebody else or to an instance that may not be seen.
pub async fn get(db: &Db, organization: OrgId, id: TemplateId, allowed: Option<&[InstanceId]>) -> Result<Template> {
    let mut tx = db.tenant(organization).await?;
    load(&mut tx, organization, id, allowed).await.map(|(template, _)| template)
}

/// The template, locked, and its instance's provider.
async fn load(
    tx: &mut PgConnection,
    organization: OrgId,
    id: TemplateId,
    allowed: Option<&[InstanceId]>,
) -> Result<(Template, String)> {
    let allowed = allowed.map(uuids);
    let row = sqlx::query!(
        "select t.id, t.instance_id, t.provider_id, t.name, t.language, t.category, t.previous_category, t.status,
                t.parameter_format, t.components, t.synced_at, i.provider
         from templates t join instances i on i.organization_id = t.organization_id and i.id = t.instance_id
         where t.organization_id = $1 and t.id = $2 and t.deleted_at is null and i.deleted_at is null
           and ($3::uuid[] is null or t.instance_id = any($3))
         for update of t",
        organization.0,
        id.0,
        allowed.as_deref() as _,
    )
    .fetch_optional(tx)
    .await?
    .ok_or(Error::NotFound)?;
    let template = Row {
        id: row.id,
        instance_id: row.instance_id,
        provider_id: row.provider_id,
        name: row.name,
        language: row.language,
        category: row.category,
        previous_category: row.previous_category,
        status: row.status,
        parameter_format: row.parameter_format,
        components: row.components,
        synced_at: row.synced_at,
    };
    Ok((template.into(), row.provider))
}

/// The template of this name and language on an instance, for a message that uses it. As the system: the caller knows
/// that the instance is the organization's.
pub async fn find(
    db: &Db,
    organization: OrgId,
    instance: InstanceId,
    name: &str,
    language: &str,
) -> Result<Option<Template>> {
    let row = sqlx::query_as!(
        Row,
        "select id, instance_id, provider_id, name, language, category, previous_category, status, parameter_format,
                components, synced_at
         from templates
         where organization_id = $1 and instance_id = $2 and name = $3 and language = $4 and deleted_at is null",
        organization.0,
        instance.0,
        name,
        language,
    )
    .fetch_optional(db.system())
    .await?;
    Ok(row.map(Into::into))
}

/// The languages in which an instance has a template of this name: what to say when [`find`] finds none.
pub async fn languages(db: &Db, organization: OrgId, instance: InstanceId, name: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select language from templates
         where organization_id = $1 and instance_id = $2 and name = $3 and deleted_at is null order by 1 limit 20",
        organization.0,
        instance.0,
        name,
    )
    .fetch_all(db.system())
    .await?)
}

/// What a synchronisation found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// Templates that the provider lists now.
    pub listed: usize,
    /// Of these, how many were not known.
    pub added: usize,
    /// Templates that were known and are listed no more.
    pub removed: usize,
    /// Templates whose category the provider changed.
    pub recategorised: usize,
}

/// Connected Cloud API numbers whose templates were last asked for a day before `now` or earlier, the longest ago first,
/// at most `limit`. They count as asked for now: servers take turns, and a number that fails waits for the next day.
///
/// # Errors
/// When the database cannot be asked.
pub async fn take_stale(db: &Db, limit: i64, now: Time) -> Result<Vec<(OrgId, InstanceId)>> {
    let rows = sqlx::query!(
        "with stale as materialized (
             select id from instances
             where provider = 'cloud_api' and deleted_at is null and status = 'connected'
               and (templates_asked_at is null or templates_asked_at <= $2)
             order by templates_asked_at nulls first, id limit $3
             for update skip locked)
         update instances i set templates_asked_at = $1 from stale where i.id = stale.id
         returning i.organization_id, i.id",
        now,
        now - TimeDelta::days(1),
        limit,
    )
    .fetch_all(db.system())
    .await?;
    Ok(rows.into_iter().map(|row| (OrgId(row.organization_id), InstanceId(row.id))).collect())
}

/// Takes over a provider's whole listing: what is new is added, what differs is changed, what is missing is marked as
/// deleted. A change of category is kept and told (`template.category_changed`). It is written down when somebody asked
/// for it (`actor`), not when Bouncer did by itself.
///
/// # Errors
/// `NotFound` without such an instance; when the database cannot be asked.
pub async fn sync(
    db: &Db,
    actor: Option<&Actor>,
    organization: OrgId,
    instance: InstanceId,
    listed: &[Listed],
) -> Result<Synced> {
    // Whoever lists a template twice means the last one.
    let listed: BTreeMap<(String, String), &Listed> =
        listed.iter().map(|one| ((without_nul(&one.name), without_nul(&one.language)), one)).collect();
    let mut tx = db.system().begin().await?;
    // Two listings at once would each take the other's news for vanished.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("templates of {instance}"))
        .execute(&mut *tx)
        .await?;
    let now = Utc::now();
    let name = sqlx::query_scalar!(
        "update instances set templates_asked_at = $3
         where organization_id = $1 and id = $2 and deleted_at is null
         returning name",
        organization.0,
        instance.0,
        now,
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    let before: BTreeMap<(String, String), String> = sqlx::query!(
        "select name, language, category from templates
         where organization_id = $1 and instance_id = $2 and deleted_at is null",
        organization.0,
        instance.0,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|row| ((row.name, row.language), row.category))
    .collect();

    let mut rows = Columns::default();
    for one in listed.into_values() {
        rows.push(one);
    }
    let kept = sqlx::query!(
        "insert into templates as t (id, organization_id, instance_id, provider_id, name, language, category, status,
                                     parameter_format, components, synced_at)
         select n.id, $1, $2, n.provider_id, n.name, n.language, n.category, n.status, n.parameter_format, n.components, $3
         from unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[])
              as n (id, provider_id, name, language, category, status, parameter_format, components)
         on conflict on constraint templates_name_key do update
         set provider_id = excluded.provider_id, status = excluded.status, parameter_format = excluded.parameter_format,
             components = excluded.components, category = excluded.category, synced_at = excluded.synced_at,
             previous_category = case when t.deleted_at is not null then null
                                      when t.category <> excluded.category then t.category
                                      else t.previous_category end,
             deleted_at = null
         returning id, name, language, category",
        organization.0,
        instance.0,
        now,
        &rows.ids,
        &rows.provider_ids as _,
        &rows.names,
        &rows.languages,
        &rows.categories,
        &rows.statuses,
        &rows.formats,
        &rows.components,
    )
    .fetch_all(&mut *tx)
    .await?;
    let removed = sqlx::query!(
        "update templates set deleted_at = $3
         where organization_id = $1 and instance_id = $2 and deleted_at is null and id <> all($4)",
        organization.0,
        instance.0,
        now,
        &kept.iter().map(|row| row.id).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();

    let mut synced = Synced { listed: kept.len(), removed: removed as usize, ..Synced::default() };
    let mut told = Vec::new();
    for row in kept {
        match before.get(&(row.name.clone(), row.language.clone())) {
            None => synced.added += 1,
            Some(category) if *category != row.category => told.push(category_changed(
                organization,
                instance,
                TemplateId(row.id),
                &row.name,
                &row.language,
                category,
                &row.category,
                now,
            )),
            Some(_) => {}
        }
    }
    synced.recategorised = told.len();
    events::emit(&mut tx, &told).await?;
    if let Some(actor) = actor {
        let counts = [
            ("listed", synced.listed),
            ("added", synced.added),
            ("removed", synced.removed),
            ("category changed", synced.recategorised),
        ];
        let changes = counts.map(|(field, count)| Change::new(field, None, Some(count.to_string())));
        note(&mut tx, actor, "template.synced", instance.to_string(), &name, changes.into()).await?;
    }
    tx.commit().await?;
    Ok(synced)
}

#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    provider_ids: Vec<Option<String>>,
    names: Vec<String>,
    languages: Vec<String>,
    categories: Vec<String>,
    statuses: Vec<String>,
    formats: Vec<String>,
    components: Vec<Value>,
}

impl Columns {
    fn push(&mut self, one: &Listed) {
        self.ids.push(TemplateId::new().0);
        self.provider_ids.push(one.provider_id.as_deref().map(without_nul));
        self.names.push(without_nul(&one.name));
        self.languages.push(without_nul(&one.language));
        self.categories.push(without_nul(&one.category));
        self.statuses.push(without_nul(&one.status));
        self.formats.push(one.parameter_format.as_str().to_owned());
        self.components.push(without_nul_json(one.components.clone()));
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of one event")]
fn category_changed(
    organization: OrgId,
    instance: InstanceId,
    id: TemplateId,
    name: &str,
    language: &str,
    previous: &str,
    category: &str,
    at: Time,
) -> NewEvent {
    NewEvent {
        organization,
        // Prices depend on the category, and only live messages have any.
        environment: Environment::Live,
        kind: "template.category_changed",
        at,
        data: json!({
            "id": id,
            "instanceId": instance,
            "name": name,
            "language": language,
            "previousCategory": previous,
            "category": category,
        }),
        message: None,
        key: None,
    }
}

/// A category as the provider told it on its own, in the caller's transaction (as the system). Numbers of one WhatsApp
/// Business account (`account`: Meta's id of it) share its templates: the news is about that of each. Returns whether it
/// was news; a template that is not known is none.
///
/// # Errors
/// When the database cannot be asked.
pub async fn set_category(
    tx: &mut PgConnection,
    organization: OrgId,
    account: &str,
    name: &str,
    language: &str,
    category: &str,
) -> Result<bool> {
    let changed = sqlx::query!(
        r#"update templates t set category = $5, previous_category = t.category
           from (select t.id, t.category from templates t join instances i on i.id = t.instance_id
                 where i.organization_id = $1 and i.provider = 'cloud_api' and i.settings ->> 'businessAccountId' = $2
                   and i.deleted_at is null and t.name = $3 and t.language = $4 and t.deleted_at is null
                 order by t.id for update of t) before
           where t.id = before.id and before.category <> $5
           returning t.id, t.instance_id, before.category as "previous!""#,
        organization.0,
        without_nul(account),
        without_nul(name),
        without_nul(language),
        without_nul(category),
    )
    .fetch_all(&mut *tx)
    .await?;
    let category = without_nul(category);
    let events: Vec<_> = changed
        .iter()
        .map(|row| {
            let (instance, template) = (InstanceId(row.instance_id), TemplateId(row.id));
            category_changed(organization, instance, template, name, language, &row.previous, &category, Utc::now())
        })
        .collect();
    events::emit(tx, &events).await?;
    Ok(!events.is_empty())
}

/// A status as the provider told it on its own, in the caller's transaction (as the system), for all numbers of an
/// account as in [`set_category`]. Returns whether it was news. A template that the provider deleted is gone here too.
///
/// # Errors
/// When the database cannot be asked.
pub async fn set_status(
    tx: &mut PgConnection,
    organization: OrgId,
    account: &str,
    name: &str,
    language: &str,
    status: &str,
) -> Result<bool> {
    let changed = sqlx::query!(
        "update templates t set status = $5, deleted_at = case when $5 = 'DELETED' then now() end
         from (select t.id from templates t join instances i on i.id = t.instance_id
               where i.organization_id = $1 and i.provider = 'cloud_api' and i.settings ->> 'businessAccountId' = $2
                 and i.deleted_at is null and t.name = $3 and t.language = $4 and t.deleted_at is null
                 and t.status <> $5
               order by t.id for update of t) changed
         where t.id = changed.id",
        organization.0,
        without_nul(account),
        without_nul(name),
        without_nul(language),
        without_nul(status).to_uppercase(),
    )
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Where templates are made through Bouncer: only on the sandbox so far.
fn may_change(provider: &str) -> Result<()> {
    match provider {
        "sandbox" => Ok(()),
        "cloud_api" => Err(Error::Conflict(
            "Templates of this instance are managed at Meta. Change them in WhatsApp Manager, then synchronise.".into(),
        )),
        _ => Err(Error::Conflict(
            "This instance has no templates: they belong to Meta's Cloud API. The sandbox has them for trying out."
                .into(),
        )),
    }
}

/// The provider of an instance that may be seen.
async fn provider(
    tx: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    allowed: Option<&[InstanceId]>,
) -> Result<String> {
    let allowed = allowed.map(uuids);
    let provider = sqlx::query_scalar!(
        "select provider from instances
         where organization_id = $1 and id = $2 and deleted_at is null and ($3::uuid[] is null or id = any($3))",
        organization.0,
        instance.0,
        allowed.as_deref() as _,
    )
    .fetch_optional(tx)
    .await?;
    provider.ok_or(Error::NotFound)
}

/// "order_update (en_US)": a name alone may stand for several.
fn title(name: &str, language: &str) -> String {
    format!("{name} ({language})")
}

async fn note(
    tx: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    subject: String,
    name: &str,
    changes: Vec<Change>,
) -> Result<()> {
    audit::store::append(tx, actor, audit::store::Entry { action, subject, subject_name: name, changes }).await
}

/// Makes a template on a sandbox instance.
///
/// # Errors
/// `NotFound` without such an instance; `Conflict` when its templates are not made here, or there is one of this name
/// and language.
pub async fn create(
    db: &Db,
    actor: &Actor,
    instance: InstanceId,
    allowed: Option<&[InstanceId]>,
    new: &Listed,
) -> Result<Template> {
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    may_change(&provider(&mut tx, organization, instance, allowed).await?)?;
    let taken =
        || Error::Conflict(format!("There is already a template “{}” in the language {}.", new.name, new.language));
    // The name of a deleted one is free again.
    sqlx::query!(
        "delete from templates
         where organization_id = $1 and instance_id = $2 and name = $3 and language = $4 and deleted_at is not null",
        organization.0,
        instance.0,
        new.name,
        new.language,
    )
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query_as!(
        Row,
        "insert into templates (id, organization_id, instance_id, provider_id, name, language, category, status,
                                parameter_format, components)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         returning id, instance_id, provider_id, name, language, category, previous_category, status, parameter_format,
                   components, synced_at",
        TemplateId::new().0,
        organization.0,
        instance.0,
        new.provider_id,
        new.name,
        new.language,
        new.category,
        new.status,
        new.parameter_format.as_str(),
        new.components,
    )
    .fetch_one(&mut *tx)
    .await
    .on_constraint("templates_name_key", taken)?;
    let template = Template::from(row);
    let changes = vec![
        Change::new("category", None, Some(template.category.clone())),
        Change::new("status", None, Some(template.status.clone())),
    ];
    let name = title(&template.name, &template.language);
    note(&mut tx, actor, "template.created", template.id.to_string(), &name, changes).await?;
    tx.commit().await?;
    Ok(template)
}

/// What of a sandbox template is to change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TemplatePatch {
    pub category: Option<String>,
    pub status: Option<String>,
    pub parameter_format: Option<ParameterFormat>,
    pub components: Option<Value>,
}

/// Changes a template of a sandbox instance. A new category is told as the provider's own would be.
///
/// # Errors
/// `NotFound` as [`get`]; `Conflict` when its templates are not made here.
pub async fn edit(
    db: &Db,
    actor: &Actor,
    id: TemplateId,
    allowed: Option<&[InstanceId]>,
    patch: TemplatePatch,
) -> Result<Template> {
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let (before, provider) = load(&mut tx, organization, id, allowed).await?;
    may_change(&provider)?;
    let row = sqlx::query_as!(
        Row,
        "update templates
         set category = coalesce($3, category), status = coalesce($4, status),
             parameter_format = coalesce($5, parameter_format), components = coalesce($6, components),
             previous_category = case when category <> $3 then category else previous_category end
         where organization_id = $1 and id = $2
         returning id, instance_id, provider_id, name, language, category, previous_category, status, parameter_format,
                   components, synced_at",
        organization.0,
        id.0,
        patch.category,
        patch.status,
        patch.parameter_format.map(ParameterFormat::as_str),
        patch.components,
    )
    .fetch_one(&mut *tx)
    .await?;
    let after = Template::from(row);
    if before.category != after.category {
        let (name, language) = (&after.name, &after.language);
        let event = category_changed(
            organization,
            after.instance_id,
            id,
            name,
            language,
            &before.category,
            &after.category,
            Utc::now(),
        );
        events::emit(&mut tx, &[event]).await?;
    }
    let changes = changes(&before, &after);
    if !changes.is_empty() {
        let name = title(&after.name, &after.language);
        note(&mut tx, actor, "template.edited", id.to_string(), &name, changes).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// What differs, for the audit log. Of components only that they do: they may be long.
fn changes(before: &Template, after: &Template) -> Vec<Change> {
    let texts = [
        ("category", &before.category[..], &after.category[..]),
        ("status", &before.status, &after.status),
        ("parameter format", before.parameter_format.as_str(), after.parameter_format.as_str()),
    ];
    let differ = texts.into_iter().filter(|(_, before, after)| before != after);
    let mut changes: Vec<Change> = differ
        .map(|(field, before, after)| Change::new(field, Some(before.to_owned()), Some(after.to_owned())))
        .collect();
    if before.components != after.components {
        changes.push(Change::new("components", None, Some("changed".into())));
    }
    changes
}

/// Deletes a template of a sandbox instance.
///
/// # Errors
/// `NotFound` as [`get`]; `Conflict` when its templates are not made here.
pub async fn delete(db: &Db, actor: &Actor, id: TemplateId, allowed: Option<&[InstanceId]>) -> Result<()> {
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let (template, provider) = load(&mut tx, organization, id, allowed).await?;
    may_change(&provider)?;
    sqlx::query!(
        "update templates set deleted_at = now() where organization_id = $1 and id = $2",
        organization.0,
        id.0
    )
    .execute(&mut *tx)
    .await?;
    let name = title(&template.name, &template.language);
    note(&mut tx, actor, "template.deleted", id.to_string(), &name, vec![]).await?;
    tx.commit().await?;
    Ok(())
}

fn uuids(ids: &[InstanceId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
