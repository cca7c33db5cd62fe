//! Endpoints and their secrets.
//!
//! `only` narrows to the endpoints of one environment: a test key neither sees nor makes endpoints that hear of live
//! events. Every change tells the servers that deliver for the endpoint.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Disabled, DisabledBy, Durations, Endpoint, Health, NewEndpoint, events, events::NewEvent};
use crate::{
    Db, Error, Result,
    audit::{self, Change},
    error::constraint,
    ids::{DeliveryId, EndpointId, EventId, KeyId, OrgId},
    keys::Environment,
    people::Actor,
    seal::Sealer,
    secret::{ExposeSecret, SecretString},
    time::Time,
};

/// How long the secret before the current one signs too.
pub const OVERLAP: TimeDelta = TimeDelta::hours(24);
/// Endpoints an organization may have.
pub const ENDPOINTS_MAX: i64 = 1_000;
/// Where counting deliveries ends.
const COUNTED: i64 = 10_000;

/// What a secret or header is sealed for.
pub(crate) fn secret_context(id: EndpointId) -> String {
    format!("webhook/{}", id.0)
}

pub(crate) fn headers_context(id: EndpointId) -> String {
    format!("webhook/{}/headers", id.0)
}

/// 32 random bytes, as Standard Webhooks writes them.
fn fresh_secret() -> SecretString {
    let bytes: [u8; 32] = rand::random();
    SecretString::from(format!("whsec_{}", STANDARD.encode(bytes)))
}

pub(super) fn open_secret(sealer: &Sealer, id: EndpointId, sealed: &str) -> Result<SecretString> {
    let bytes = sealer.open(&secret_context(id), sealed)?;
    String::from_utf8(bytes).map(SecretString::from).map_err(Error::internal)
}

pub(super) fn open_headers(
    sealer: &Sealer,
    id: EndpointId,
    sealed: Option<&str>,
) -> Result<Vec<(String, SecretString)>> {
    let Some(sealed) = sealed else { return Ok(vec![]) };
    let bytes = sealer.open(&headers_context(id), sealed)?;
    let map: BTreeMap<String, String> = serde_json::from_slice(&bytes).map_err(Error::internal)?;
    Ok(map.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

/// The sealed form of headers, and their names.
fn seal_headers(
    sealer: &Sealer,
    id: EndpointId,
    headers: &[(String, Option<SecretString>)],
    current: &[(String, SecretString)],
) -> Result<(Option<String>, Vec<String>)> {
    let mut map = BTreeMap::new();
    for (name, value) in headers {
        let kept = || current.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        if let Some(value) = value.as_ref().or_else(kept) {
            map.insert(name.as_str(), value.expose_secret());
        }
    }
    let names = map.keys().map(|name| (*name).to_owned()).collect();
    if map.is_empty() {
        return Ok((None, names));
    }
    let text = serde_json::to_vec(&map).map_err(Error::internal)?;
    Ok((Some(sealer.seal(&headers_context(id), &text)?), names))
}

fn may_manage(actor: &Actor) -> Result<()> {
    if actor.may_manage_keys() {
        Ok(())
    } else {
        Err(Error::Forbidden("Your role is Viewer. Ask an admin to make you a developer to manage webhooks.".into()))
    }
}

struct Row {
    id: Uuid,
    url: String,
    description: String,
    events: Vec<String>,
    environment: Option<String>,
    header_names: Vec<String>,
    concurrency: i32,
    rate_limit: Option<i32>,
    created_at: Time,
    created_by_name: String,
    created_by_key: Option<Uuid>,
    version: i32,
    disabled_at: Option<Time>,
    disabled_by: Option<String>,
    old_secret_ends_at: Option<Time>,
    failing_since: Option<Time>,
    last_success_at: Option<Time>,
    last_attempt_at: Option<Time>,
    last_error: String,
}

impl Row {
    fn endpoint(self, now: Time) -> Endpoint {
        Endpoint {
            id: EndpointId(self.id),
            url: self.url,
            description: self.description,
            events: self.events,
            environment: self.environment.as_deref().and_then(Environment::parse),
            header_names: self.header_names,
            concurrency: self.concurrency.unsigned_abs(),
            rate_limit: self.rate_limit.map(i32::unsigned_abs),
            created_at: self.created_at,
            created_by: self.created_by_name,
            created_by_key: self.created_by_key.map(KeyId),
            version: self.version,
            disabled: self.disabled_at.map(|at| Disabled {
                at,
                by: self.disabled_by.as_deref().and_then(DisabledBy::parse).unwrap_or(DisabledBy::Person),
            }),
            old_secret_ends_at: self.old_secret_ends_at.filter(|end| *end > now),
            failing_since: self.failing_since,
            last_success_at: self.last_success_at,
            last_attempt_at: self.last_attempt_at,
            last_error: self.last_error,
        }
    }
}

/// The endpoint, locked until the end of the transaction.
async fn lock(
    tx: &mut PgConnection,
    organization: OrgId,
    only: Option<Environment>,
    id: EndpointId,
) -> Result<Endpoint> {
    let row = sqlx::query_as!(
        Row,
        "select id, url, description, events, environment, header_names, concurrency, rate_limit, created_at,
                created_by_name, created_by_key, version, disabled_at, disabled_by, old_secret_ends_at, failing_since,
                last_success_at, last_attempt_at, last_error
         from webhook_endpoints
         where organization_id = $1 and id = $2 and deleted_at is null and ($3::text is null or environment = $3)
         for update",
        organization.0,
        id.0,
        only.map(Environment::as_str),
    )
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.endpoint(Utc::now())).ok_or(Error::NotFound)
}

/// Tells the servers that an endpoint is not what it was.
async fn tell(tx: &mut PgConnection, id: EndpointId) -> Result<()> {
    sqlx::query("select pg_notify('bouncer_deliveries', '!' || $1)").bind(id.0.to_string()).execute(tx).await?;
    Ok(())
}

/// Endpoints from the newest on, older than `before` if given.
pub async fn list(
    db: &Db,
    organization: OrgId,
    only: Option<Environment>,
    before: Option<EndpointId>,
    limit: i64,
) -> Result<Vec<Endpoint>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, url, description, events, environment, header_names, concurrency, rate_limit, created_at,
                created_by_name, created_by_key, version, disabled_at, disabled_by, old_secret_ends_at, failing_since,
                last_success_at, last_attempt_at, last_error
         from webhook_endpoints
         where organization_id = $1 and deleted_at is null and ($2::text is null or environment = $2)
           and ($3::uuid is null or id < $3)
         order by id desc
         limit $4",
        organization.0,
        only.map(Environment::as_str),
        before.map(|id| id.0),
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    let now = Utc::now();
    Ok(rows.into_iter().map(|row| row.endpoint(now)).collect())
}

/// # Errors
/// `NotFound`.
pub async fn get(db: &Db, organization: OrgId, only: Option<Environment>, id: EndpointId) -> Result<Endpoint> {
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query_as!(
        Row,
        "select id, url, description, events, environment, header_names, concurrency, rate_limit, created_at,
                created_by_name, created_by_key, version, disabled_at, disabled_by, old_secret_ends_at, failing_since,
                last_success_at, last_attempt_at, last_error
         from webhook_endpoints
         where organization_id = $1 and id = $2 and deleted_at is null and ($3::text is null or environment = $3)",
        organization.0,
        id.0,
        only.map(Environment::as_str),
    )
    .fetch_optional(&mut *tx)
    .await?;
    row.map(|row| row.endpoint(Utc::now())).ok_or(Error::NotFound)
}

/// What a submission has made already, with its secret.
///
/// # Errors
/// As the database.
pub async fn made_by(
    db: &Db,
    sealer: &Sealer,
    organization: OrgId,
    submission: Uuid,
) -> Result<Option<(Endpoint, SecretString)>> {
    let mut tx = db.tenant(organization).await?;
    let made = sqlx::query!(
        "select id, secret from webhook_endpoints
         where organization_id = $1 and submission = $2 and deleted_at is null",
        organization.0,
        submission,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(made) = made else { return Ok(None) };
    let id = EndpointId(made.id);
    Ok(Some((lock(&mut tx, organization, None, id).await?, open_secret(sealer, id, &made.secret)?)))
}

/// Makes an endpoint; its secret is shown this once. `key`: the key whose call this is. `submission`: the call itself,
/// which makes one endpoint ([`made_by`]).
///
/// # Errors
/// `Forbidden` to viewers; `Conflict` when there are too many, or the submission made one a moment ago.
pub async fn create(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    key: Option<KeyId>,
    new: NewEndpoint,
    submission: Option<Uuid>,
) -> Result<(Endpoint, SecretString)> {
    may_manage(actor)?;
    let id = EndpointId::new();
    let secret = fresh_secret();
    let sealed = sealer.seal(&secret_context(id), secret.expose_secret().as_bytes())?;
    let (headers, header_names) = seal_headers(sealer, id, new.headers.as_deref().unwrap_or_default(), &[])?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let there = sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhook_endpoints where organization_id = $1 and deleted_at is null"#,
        organization.0
    )
    .fetch_one(&mut *tx)
    .await?;
    if there >= ENDPOINTS_MAX {
        return Err(Error::Conflict(format!("There are {ENDPOINTS_MAX} endpoints already. Delete one first.")));
    }
    sqlx::query!(
        "insert into webhook_endpoints (id, organization_id, url, description, events, environment, secret, headers,
                                        header_names, concurrency, rate_limit, created_by_name, created_by_key, submission)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        id.0,
        organization.0,
        new.url,
        new.description,
        &new.events,
        new.environment.map(Environment::as_str),
        sealed,
        headers,
        &header_names,
        new.concurrency.cast_signed(),
        new.rate_limit.map(u32::cast_signed),
        actor.name,
        key.map(|key| key.0),
        submission,
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| match constraint(&error) {
        Some("webhook_endpoints_submission_key") => Error::Conflict("This call made an endpoint a moment ago.".into()),
        _ => error.into(),
    })?;
    let changes =
        vec![Change::new("url", None, Some(new.url.clone())), Change::new("events", None, Some(new.events.join(", ")))];
    note(&mut tx, actor, "webhook.created", id, &new.url, changes).await?;
    let endpoint = lock(&mut tx, organization, None, id).await?;
    tx.commit().await?;
    Ok((endpoint, secret))
}

async fn note(
    tx: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    id: EndpointId,
    url: &str,
    changes: Vec<Change>,
) -> Result<()> {
    audit::store::append(tx, actor, audit::store::Entry { action, subject: id.to_string(), subject_name: url, changes })
        .await
}

/// Makes an endpoint what `new` says. Headers that `new` leaves out stay. `version`: the one the edit started from.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers; `Conflict` when it changed since `version`.
pub async fn edit(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    only: Option<Environment>,
    id: EndpointId,
    version: i32,
    new: NewEndpoint,
) -> Result<Endpoint> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let old = lock(&mut tx, organization, only, id).await?;
    if version != old.version {
        return Err(Error::Conflict("Somebody else changed this endpoint meanwhile. Look at it again.".into()));
    }
    let stored =
        sqlx::query_scalar!("select headers from webhook_endpoints where id = $1", id.0).fetch_one(&mut *tx).await?;
    let (headers, header_names) = match &new.headers {
        Some(headers) => {
            let current = open_headers(sealer, id, stored.as_deref())?;
            seal_headers(sealer, id, headers, &current)?
        }
        None => (stored, old.header_names.clone()),
    };
    let values_changed = new.headers.iter().flatten().any(|(_, value)| value.is_some());
    let changes = changes(&old, &new, &header_names, values_changed);
    if !changes.is_empty() {
        sqlx::query!(
            // Another URL is another server: it has not failed yet.
            "update webhook_endpoints
             set url = $3, description = $4, events = $5, environment = $6, headers = $7, header_names = $8,
                 concurrency = $9, rate_limit = $10, version = version + 1,
                 failing_since = case when url = $3 then failing_since end
             where organization_id = $1 and id = $2",
            organization.0,
            id.0,
            new.url,
            new.description,
            &new.events,
            new.environment.map(Environment::as_str),
            headers,
            &header_names,
            new.concurrency.cast_signed(),
            new.rate_limit.map(u32::cast_signed),
        )
        .execute(&mut *tx)
        .await?;
        note(&mut tx, actor, "webhook.edited", id, &new.url, changes).await?;
        tell(&mut tx, id).await?;
    }
    let endpoint = lock(&mut tx, organization, None, id).await?;
    tx.commit().await?;
    Ok(endpoint)
}

/// What an edit changes; of headers only the names.
fn changes(old: &Endpoint, new: &NewEndpoint, header_names: &[String], values_changed: bool) -> Vec<Change> {
    let mut changes = vec![];
    let mut compare = |field: &str, before: String, after: String| {
        if before != after {
            let some = |text: String| Some(text).filter(|text| !text.is_empty());
            changes.push(Change::new(field, some(before), some(after)));
        }
    };
    let environment = |e: Option<Environment>| e.map_or("live and test", Environment::as_str).to_owned();
    let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    compare("url", old.url.clone(), new.url.clone());
    compare("description", old.description.clone(), new.description.clone());
    compare("events", old.events.join(", "), new.events.join(", "));
    compare("environment", environment(old.environment), environment(new.environment));
    compare("headers", old.header_names.join(", "), header_names.join(", "));
    compare("concurrency", old.concurrency.to_string(), new.concurrency.to_string());
    compare("rate_limit", number(old.rate_limit), number(new.rate_limit));
    if values_changed && !changes.iter().any(|change| change.field == "headers") {
        changes.push(Change::new("headers", None, Some("new values".into())));
    }
    changes
}

/// Disables or enables an endpoint. Deliveries that wait are cancelled when it is disabled; they can be resent.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers.
pub async fn set_enabled(
    db: &Db,
    actor: &Actor,
    only: Option<Environment>,
    id: EndpointId,
    enabled: bool,
) -> Result<Endpoint> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let old = lock(&mut tx, organization, only, id).await?;
    if old.disabled.is_none() == enabled {
        return Ok(old);
    }
    sqlx::query!(
        "update webhook_endpoints
         set disabled_at = case when $3 then null else now() end,
             disabled_by = case when $3 then null else 'person' end,
             failing_since = null, version = version + 1
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
        enabled,
    )
    .execute(&mut *tx)
    .await?;
    let action = if enabled { "webhook.enabled" } else { "webhook.disabled" };
    note(&mut tx, actor, action, id, &old.url, vec![]).await?;
    tell(&mut tx, id).await?;
    let endpoint = lock(&mut tx, organization, None, id).await?;
    tx.commit().await?;
    Ok(endpoint)
}

/// Deletes an endpoint and its secrets; what was delivered stays visible.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers.
pub async fn delete(db: &Db, actor: &Actor, only: Option<Environment>, id: EndpointId) -> Result<()> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let old = lock(&mut tx, organization, only, id).await?;
    sqlx::query!(
        "update webhook_endpoints
         set deleted_at = now(), secret = '', old_secret = null, old_secret_ends_at = null, headers = null, submission = null
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?;
    note(&mut tx, actor, "webhook.deleted", id, &old.url, vec![]).await?;
    tell(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}

/// Gives an endpoint a new secret, shown this once. The one before it signs too for [`OVERLAP`].
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers.
pub async fn rotate_secret(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    only: Option<Environment>,
    id: EndpointId,
) -> Result<(Endpoint, SecretString)> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let secret = fresh_secret();
    let sealed = sealer.seal(&secret_context(id), secret.expose_secret().as_bytes())?;
    let mut tx = db.tenant(organization).await?;
    let old = lock(&mut tx, organization, only, id).await?;
    sqlx::query!(
        "update webhook_endpoints
         set secret = $3, old_secret = secret, old_secret_ends_at = $4, version = version + 1
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
        sealed,
        Utc::now() + OVERLAP,
    )
    .execute(&mut *tx)
    .await?;
    note(&mut tx, actor, "webhook.secret_rotated", id, &old.url, vec![]).await?;
    tell(&mut tx, id).await?;
    let endpoint = lock(&mut tx, organization, None, id).await?;
    tx.commit().await?;
    Ok((endpoint, secret))
}

/// Sends `test.ping` to this endpoint alone, whatever it is subscribed to.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers; `Conflict` when it is disabled.
pub async fn send_test(
    db: &Db,
    actor: &Actor,
    only: Option<Environment>,
    key: Option<KeyId>,
    id: EndpointId,
) -> Result<(DeliveryId, EventId)> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let endpoint = lock(&mut tx, organization, only, id).await?;
    if endpoint.disabled.is_some() {
        return Err(Error::Conflict("This endpoint is disabled. Enable it first.".into()));
    }
    let event = NewEvent {
        organization,
        environment: endpoint.environment.unwrap_or(Environment::Test),
        kind: "test.ping",
        at: Utc::now(),
        data: json!({ "webhookId": id, "requestedBy": actor.name }),
        message: None,
        key,
    };
    let made = events::emit_to(&mut tx, &event, id).await?;
    tx.commit().await?;
    Ok(made)
}

/// How an endpoint fares.
///
/// # Errors
/// `NotFound`.
pub async fn health(db: &Db, organization: OrgId, only: Option<Environment>, id: EndpointId) -> Result<Health> {
    let endpoint = get(db, organization, only, id).await?;
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        r#"select succeeded, bucket, sum(count)::bigint as "count!"
           from webhook_hours
           where organization_id = $1 and endpoint_id = $2 and hour > now() - interval '24 hours'
           group by succeeded, bucket"#,
        organization.0,
        id.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    let counts = sqlx::query!(
        r#"select (select count(*) from (
                       select from deliveries
                       where endpoint_id = $2 and organization_id = $1 and status in ('pending', 'sending') limit $3) p) as "pending!",
                  (select count(*) from (
                       select from deliveries
                       where endpoint_id = $2 and organization_id = $1 and status = 'cancelled' and attempt = 0 limit $3) n) as "never!""#,
        organization.0,
        id.0,
        COUNTED,
    )
    .fetch_one(&mut *tx)
    .await?;
    let (mut succeeded, mut failed, mut durations) = (0, 0, Durations::default());
    for row in rows {
        let count = row.count.unsigned_abs();
        *(if row.succeeded { &mut succeeded } else { &mut failed }) += count;
        durations.add(row.bucket, count);
    }
    let bounded = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Health {
        succeeded,
        failed,
        p50_ms: durations.percentile(0.5),
        p95_ms: durations.percentile(0.95),
        pending: bounded(counts.pending),
        never_attempted: bounded(counts.never),
        failing_since: endpoint.failing_since,
    })
}

/// Disables an endpoint because of what it answers, and says so in the audit log and by `webhook.disabled`. Nothing
/// happens when it is disabled already.
pub(super) async fn disable_by(db: &Db, id: EndpointId, by: DisabledBy) -> Result<bool> {
    let mut tx = db.system().begin().await?;
    let row = sqlx::query!(
        "update webhook_endpoints set disabled_at = now(), disabled_by = $2, version = version + 1
         where id = $1 and disabled_at is null and deleted_at is null
         returning organization_id, url, environment, failing_since",
        id.0,
        by.as_str(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let organization = OrgId(row.organization_id);
    let entry = audit::store::Entry {
        action: "webhook.disabled",
        subject: id.to_string(),
        subject_name: &row.url,
        changes: vec![Change::new("reason", None, Some(by.sentence().into()))],
    };
    audit::store::append_as(&mut tx, organization, None, "Bouncer", None, entry).await?;
    let at = Utc::now();
    let since: Option<DateTime<Utc>> = row.failing_since;
    let event = NewEvent {
        organization,
        environment: row.environment.as_deref().and_then(Environment::parse).unwrap_or(Environment::Live),
        kind: "webhook.disabled",
        at,
        data: json!({
            "webhookId": id,
            "url": row.url,
            "reason": by.as_str(),
            "disabledAt": at,
            "failingSince": since,
        }),
        message: None,
        key: None,
    };
    events::emit(&mut tx, &[event]).await?;
    tell(&mut tx, id).await?;
    tx.commit().await?;
    Ok(true)
}
