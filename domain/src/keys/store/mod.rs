//! Keys in the database: every change is one transaction of row, audit row and notification.

mod list;

use chrono::{TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{PgConnection, QueryBuilder, types::Json};
use uuid::Uuid;

pub use list::{ROWS_AT_ONCE, find_named, list, matching, rows};

use super::{
    ApiKey, ApiKeyRow, Caller, Environment, FreshKey, InUse, KeyStats, LastUse, NewApiKey, Overlap, Scope, signing,
    token,
};
use crate::{
    Db, Error,
    audit::{self, AuditRow, Change},
    error::{OnConstraint, Result, constraint},
    ids::{InstanceId, KeyId, OrgId, PersonId, SecretId},
    messages,
    people::Actor,
    seal::Sealer,
    throttle::Throttle,
    time::{self, Time},
    webhooks::events::{self, NewEvent},
};

/// Days that "in use" looks back.
const IN_USE_DAYS: i64 = 7;

/// A key that was just made or regenerated, with the only copy of its text.
pub struct Issued {
    pub id: KeyId,
    pub name: String,
    pub hint: String,
    pub environment: Environment,
    pub text: SecretString,
    /// The only copy of its API secret, when one was issued with it.
    pub api_secret: Option<SecretString>,
}

const COLUMNS: &str =
    "k.id, k.organization_id, k.name, k.description, k.environment, k.hint, k.scope_group, k.scopes, k.throttle,
    k.allowed_ips, k.allowed_instances, k.rate_limit, k.expires_at, k.disabled_at, k.revoked_at, k.revoked_by, k.created_at, k.created_by,
    k.created_by_name, k.version, k.last_used_at, k.last_used_ip, k.last_used_user_agent, k.first_used_at,
    k.signing_secret_hint";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    organization_id: Uuid,
    name: String,
    description: String,
    environment: String,
    hint: String,
    scope_group: Option<String>,
    scopes: Vec<String>,
    throttle: Json<Throttle>,
    allowed_ips: Vec<ipnet::IpNet>,
    allowed_instances: Option<Vec<Uuid>>,
    rate_limit: Option<i32>,
    expires_at: Option<Time>,
    disabled_at: Option<Time>,
    revoked_at: Option<Time>,
    revoked_by: Option<String>,
    created_at: Time,
    created_by: Option<Uuid>,
    created_by_name: String,
    version: i32,
    last_used_at: Option<Time>,
    last_used_ip: Option<ipnet::IpNet>,
    last_used_user_agent: String,
    signing_secret_hint: Option<String>,
}

impl Row {
    fn into_key(self) -> ApiKey {
        ApiKey {
            id: KeyId(self.id),
            organization_id: OrgId(self.organization_id),
            name: self.name,
            description: self.description,
            // The column has a check constraint; anything else would be a test key at worst.
            environment: Environment::parse(&self.environment).unwrap_or(Environment::Test),
            hint: self.hint,
            scope_group: self.scope_group,
            scopes: self.scopes.iter().filter_map(|s| Scope::parse(s)).collect(),
            throttle: self.throttle.0,
            allowed_ips: self.allowed_ips,
            allowed_instances: self.allowed_instances.map(|ids| ids.into_iter().map(InstanceId).collect()),
            rate_limit: self.rate_limit.map(i32::unsigned_abs),
            expires_at: self.expires_at,
            disabled_at: self.disabled_at,
            revoked_at: self.revoked_at,
            revoked_by: self.revoked_by,
            created_at: self.created_at,
            created_by: self.created_by.map(PersonId),
            created_by_name: self.created_by_name,
            version: self.version,
            last_use: self.last_used_at.map(|at| LastUse {
                at,
                ip: self.last_used_ip.map(|net| net.addr()),
                user_agent: self.last_used_user_agent,
            }),
            old_secret: None,
            api_secret_hint: self.signing_secret_hint,
        }
    }
}

/// One key, revoked or not.
pub async fn get(db: &Db, organization: OrgId, id: KeyId, now: Time) -> Result<ApiKeyRow> {
    let mut tx = db.tenant(organization).await?;
    let key = load(&mut tx, organization, id, "").await?;
    list::complete(&mut tx, organization, vec![key], now).await?.pop().ok_or(Error::NotFound)
}

async fn load(tx: &mut PgConnection, organization: OrgId, id: KeyId, lock: &str) -> Result<ApiKey> {
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS).push(" from api_keys k where k.organization_id = ").push_bind(organization.0);
    query.push(" and k.id = ").push_bind(id.0).push(lock);
    let row: Row = query.build_query_as().fetch_optional(tx).await?.ok_or(Error::NotFound)?;
    Ok(row.into_key())
}

/// The key for a change: locked, and not revoked.
async fn load_for_change(tx: &mut PgConnection, actor: &Actor, id: KeyId) -> Result<ApiKey> {
    may_manage(actor)?;
    let key = load(tx, actor.organization_id, id, " for update").await?;
    match key.revoked_at {
        Some(at) => {
            let by = key.revoked_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            Err(Error::Conflict(format!(
                "The key “{}” was revoked on {}{by}. Create a new one.",
                key.name,
                time::date(at, Utc::now())
            )))
        }
        None => Ok(key),
    }
}

fn may_manage(actor: &Actor) -> Result<()> {
    if actor.may_manage_keys() {
        Ok(())
    } else {
        Err(Error::Forbidden("Your role is Viewer. Ask an admin to make you a developer to manage keys.".into()))
    }
}

fn name_taken(name: &str) -> impl FnOnce() -> Error + '_ {
    move || Error::field("name", format!("There is already a key named “{name}”. Choose another name."))
}

/// Makes a key without an API secret.
///
/// # Errors
/// `Invalid` when the name is taken; `Conflict` when the same submission made a key already; `Internal` when an API
/// secret is asked for: that is sealed, see [`create_with_secret`].
pub async fn create(db: &Db, actor: &Actor, new: NewApiKey, submission: Option<Uuid>, prefix: &str) -> Result<Issued> {
    if new.issue_secret {
        return Err(Error::Internal("an API secret cannot be issued without a sealer".into()));
    }
    make(db, None, actor, new, submission, prefix).await
}

/// Makes a key, with an API secret when the form asks for one.
///
/// # Errors
/// As [`create`].
pub async fn create_with_secret(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    new: NewApiKey,
    submission: Option<Uuid>,
    prefix: &str,
) -> Result<Issued> {
    make(db, Some(sealer), actor, new, submission, prefix).await
}

async fn make(
    db: &Db,
    sealer: Option<&Sealer>,
    actor: &Actor,
    new: NewApiKey,
    submission: Option<Uuid>,
    prefix: &str,
) -> Result<Issued> {
    may_manage(actor)?;
    let id = KeyId::new();
    let fresh = token::generate(prefix, new.environment);
    let mut tx = db.tenant(actor.organization_id).await?;
    // Before the insert: a second submission also violates the unique name, and that would be a puzzling answer.
    if let Some(submission) = submission {
        let made = sqlx::query_scalar!(
            "select name from api_keys where organization_id = $1 and submission = $2",
            actor.organization_id.0,
            submission
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(name) = made {
            return Err(already_made(&name));
        }
    }
    let instances = known_instances(&mut tx, actor.organization_id, new.allowed_instances.as_deref()).await?;
    sqlx::query!(
        "insert into api_keys (id, organization_id, name, description, environment, hint, scope_group, scopes, throttle,
                               allowed_ips, rate_limit, expires_at, created_by, created_by_name, submission,
                               allowed_instances)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        id.0,
        actor.organization_id.0,
        new.name,
        new.description,
        new.environment.as_str(),
        fresh.hint,
        new.scope_group,
        &scope_texts(&new),
        Json(new.throttle) as _,
        &new.allowed_ips,
        new.rate_limit.map(u32::cast_signed),
        new.expires_at,
        actor.person_id.map(|p| p.0),
        actor.name,
        submission,
        instances.as_deref(),
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| match constraint(&error) {
        Some("api_keys_submission_key") => already_made(&new.name),
        Some("api_keys_name_key") => name_taken(&new.name)(),
        _ => error.into(),
    })?;
    insert_secret(&mut tx, actor.organization_id, id, &fresh).await?;
    let mut changes = changes(None, &new);
    let mut api_secret = None;
    if let (true, Some(sealer)) = (new.issue_secret, sealer) {
        let (secret, hint) = set_api_secret(&mut tx, sealer, actor, id, prefix).await?;
        changes.push(Change::new("API secret", None, Some(hint)));
        api_secret = Some(secret);
    }
    note(&mut tx, actor, "api_key.created", id, &new.name, changes).await?;
    tx.commit().await?;
    Ok(Issued { id, name: new.name, hint: fresh.hint, environment: new.environment, text: fresh.text, api_secret })
}

fn already_made(name: &str) -> Error {
    Error::Conflict(format!(
        "The key “{name}” was already created by this form. If you did not copy it, regenerate it from its menu."
    ))
}

fn scope_texts(new: &NewApiKey) -> Vec<String> {
    new.scopes.iter().map(|s| s.as_str().to_owned()).collect()
}

async fn insert_secret(tx: &mut PgConnection, organization: OrgId, key: KeyId, fresh: &FreshKey) -> Result<()> {
    sqlx::query!(
        "insert into api_key_secrets (id, organization_id, key_id, hash, hint) values ($1, $2, $3, $4, $5)",
        SecretId::new().0,
        organization.0,
        key.0,
        &fresh.hash.0[..],
        fresh.hint,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn note(
    tx: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    id: KeyId,
    name: &str,
    changes: Vec<Change>,
) -> Result<()> {
    audit::store::append(
        tx,
        actor,
        audit::store::Entry { action, subject: id.to_string(), subject_name: name, changes },
    )
    .await
}

/// The instances as they are stored, when all of them are the organization's.
async fn known_instances(
    tx: &mut PgConnection,
    organization: OrgId,
    chosen: Option<&[InstanceId]>,
) -> Result<Option<Vec<Uuid>>> {
    let Some(chosen) = chosen else { return Ok(None) };
    let ids: Vec<Uuid> = chosen.iter().map(|id| id.0).collect();
    let known = sqlx::query_scalar!(
        r#"select count(*) as "count!" from instances where organization_id = $1 and id = any($2) and deleted_at is null"#,
        organization.0,
        &ids,
    )
    .fetch_one(tx)
    .await?;
    if usize::try_from(known) == Ok(ids.len()) {
        Ok(Some(ids))
    } else {
        Err(Error::field("instances", "One of these instances is not there any more. Choose again."))
    }
}

/// The fields that differ, in words. Without `before`, what a new key has.
fn changes(before: Option<&ApiKey>, after: &NewApiKey) -> Vec<Change> {
    let limit = |n: Option<u32>| n.map_or("none".to_owned(), |n| format!("{n} an hour"));
    let expiry = |at: Option<Time>| at.map_or("never".to_owned(), time::exact);
    let ips = |list: &[ipnet::IpNet]| match list.len() {
        0 => "any".to_owned(),
        n if n > 20 => format!(
            "{} and {} more",
            list[..20].iter().map(super::form::show_net).collect::<Vec<_>>().join(", "),
            n - 20
        ),
        _ => list.iter().map(super::form::show_net).collect::<Vec<_>>().join(", "),
    };
    let instances = |list: Option<&[InstanceId]>| match list {
        None => "all".to_owned(),
        Some(ids) => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let scopes = |set: super::ScopeSet| set.iter().map(Scope::as_str).collect::<Vec<_>>().join(", ");
    let pairs = [
        ("name", before.map(|k| k.name.clone()), after.name.clone()),
        ("description", before.map(|k| k.description.clone()), after.description.clone()),
        ("environment", before.map(|k| k.environment.as_str().to_owned()), after.environment.as_str().to_owned()),
        ("throttle", before.map(|k| k.throttle.mode.sentence()), after.throttle.mode.sentence()),
        ("max queue", before.map(|k| k.throttle.max_queue.to_string()), after.throttle.max_queue.to_string()),
        ("scopes", before.map(|k| scopes(k.scopes)), scopes(after.scopes)),
        ("allowed IP addresses", before.map(|k| ips(&k.allowed_ips)), ips(&after.allowed_ips)),
        (
            "allowed instances",
            before.map(|k| instances(k.allowed_instances.as_deref())),
            instances(after.allowed_instances.as_deref()),
        ),
        ("rate limit", before.map(|k| limit(k.rate_limit)), limit(after.rate_limit)),
        ("expires", before.map(|k| expiry(k.expires_at)), expiry(after.expires_at)),
    ];
    pairs
        .into_iter()
        .filter(|(_, before, after)| before.as_ref() != Some(after) && !(before.is_none() && after.is_empty()))
        .map(|(field, before, after)| Change::new(field, before, Some(after)))
        .collect()
}

/// Changes everything but the secret and the environment.
///
/// # Errors
/// `Conflict` when somebody else changed the key after `version`.
pub async fn edit(db: &Db, actor: &Actor, id: KeyId, version: i32, new: NewApiKey) -> Result<()> {
    let mut tx = db.tenant(actor.organization_id).await?;
    let before = load_for_change(&mut tx, actor, id).await?;
    if before.version != version {
        return Err(Error::Conflict(
            "Somebody else changed this key while you were editing it. Reload to see their change, then make yours."
                .into(),
        ));
    }
    let new = NewApiKey { environment: before.environment, ..new };
    let changes = changes(Some(&before), &new);
    if changes.is_empty() && before.scope_group == new.scope_group {
        return Ok(());
    }
    let instances = known_instances(&mut tx, actor.organization_id, new.allowed_instances.as_deref()).await?;
    sqlx::query!(
        "update api_keys set name = $3, description = $4, scope_group = $5, scopes = $6, throttle = $7, allowed_ips = $8,
                rate_limit = $9, expires_at = $10, allowed_instances = $11, version = version + 1,
                expiry_warned = case when expires_at is distinct from $10 then null else expiry_warned end
         where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0,
        new.name,
        new.description,
        new.scope_group,
        &scope_texts(&new),
        Json(new.throttle) as _,
        &new.allowed_ips,
        new.rate_limit.map(u32::cast_signed),
        new.expires_at,
        instances.as_deref(),
    )
    .execute(&mut *tx)
    .await
    .on_constraint("api_keys_name_key", name_taken(&new.name))?;
    note(&mut tx, actor, "api_key.edited", id, &new.name, changes).await?;
    tx.commit().await?;
    Ok(())
}

/// Disables or enables keys; those that already are, and revoked ones, stay as they are. Returns how many changed.
pub async fn set_disabled(db: &Db, actor: &Actor, ids: &[KeyId], disabled: bool) -> Result<u64> {
    may_manage(actor)?;
    let mut tx = db.tenant(actor.organization_id).await?;
    if let [id] = ids {
        load_for_change(&mut tx, actor, *id).await?;
    }
    let changed = sqlx::query!(
        "update api_keys k set disabled_at = case when $3 then now() end, version = version + 1
         from (select id from api_keys where organization_id = $1 and id = any($2) order by id for update) due
         where k.id = due.id and k.revoked_at is null and (k.disabled_at is null) = $3
         returning k.id, k.name",
        actor.organization_id.0,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        disabled,
    )
    .fetch_all(&mut *tx)
    .await?;
    let action = if disabled { "api_key.disabled" } else { "api_key.enabled" };
    for key in &changed {
        note(&mut tx, actor, action, KeyId(key.id), &key.name, vec![]).await?;
    }
    tx.commit().await?;
    Ok(changed.len() as u64)
}

/// Revokes keys for ever; already revoked ones stay as they are. Returns how many changed.
pub async fn revoke(db: &Db, actor: &Actor, ids: &[KeyId]) -> Result<u64> {
    may_manage(actor)?;
    let mut tx = db.tenant(actor.organization_id).await?;
    if let [id] = ids {
        load_for_change(&mut tx, actor, *id).await?;
    }
    let changed = sqlx::query!(
        "update api_keys k set revoked_at = now(), revoked_by = $3, version = version + 1
         from (select id from api_keys where organization_id = $1 and id = any($2) order by id for update) due
         where k.id = due.id and k.revoked_at is null
         returning k.id, k.name, k.environment, k.revoked_at as \"revoked_at!\"",
        actor.organization_id.0,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        actor.name,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut happened = Vec::with_capacity(changed.len());
    for key in &changed {
        note(&mut tx, actor, "api_key.revoked", KeyId(key.id), &key.name, vec![]).await?;
        happened.push(NewEvent {
            organization: actor.organization_id,
            environment: Environment::parse(&key.environment).unwrap_or(Environment::Live),
            kind: "api_key.revoked",
            at: key.revoked_at,
            data: serde_json::json!({
                "keyId": KeyId(key.id),
                "name": key.name,
                "revokedAt": key.revoked_at,
                "revokedBy": actor.name,
            }),
            message: None,
            key: Some(KeyId(key.id)),
        });
    }
    events::emit(&mut tx, &happened).await?;
    tx.commit().await?;
    Ok(changed.len() as u64)
}

/// A new secret for the same key. The replaced one goes on working for `overlap`, but never beyond the key's own end;
/// secrets replaced earlier end now: so who asks names the key's `version` that they have seen.
///
/// # Errors
/// `Conflict` when the key is revoked, or was changed since: a second regeneration would end the secret that was just
/// promised its overlap.
pub async fn regenerate(
    db: &Db,
    actor: &Actor,
    id: KeyId,
    version: i32,
    overlap: Overlap,
    prefix: &str,
) -> Result<Issued> {
    let mut tx = db.tenant(actor.organization_id).await?;
    let key = load_for_change(&mut tx, actor, id).await?;
    if key.version != version {
        return Err(Error::Conflict(format!(
            "“{}” was changed or regenerated since this was opened; its key ends in {} now. Look at it again before you regenerate it.",
            key.name,
            key.hint.rsplit('…').next().unwrap_or_default()
        )));
    }
    let fresh = token::generate(prefix, key.environment);
    sqlx::query!(
        "update api_key_secrets
         set ends_at = case when ends_at is null then now() + make_interval(secs => $3) else least(ends_at, now()) end
         where organization_id = $1 and key_id = $2 and (ends_at is null or ends_at > now())",
        actor.organization_id.0,
        id.0,
        overlap.seconds() as f64,
    )
    .execute(&mut *tx)
    .await?;
    insert_secret(&mut tx, actor.organization_id, id, &fresh).await?;
    sqlx::query!(
        "update api_keys set hint = $3, version = version + 1 where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0,
        fresh.hint,
    )
    .execute(&mut *tx)
    .await?;
    let changes = vec![
        Change::new("key", Some(key.hint.clone()), Some(fresh.hint.clone())),
        Change::new("old key stops", None, Some(overlap.label().to_lowercase())),
    ];
    note(&mut tx, actor, "api_key.regenerated", id, &key.name, changes).await?;
    tx.commit().await?;
    let environment = key.environment;
    Ok(Issued { id, name: key.name, hint: fresh.hint, environment, text: fresh.text, api_secret: None })
}

/// A new API secret for a key. From now on its calls must carry it or sign with it; one it had before ends at once.
/// The answer is its only copy, with its hint.
///
/// # Errors
/// `Conflict` when the key is revoked.
pub async fn issue_api_secret(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    id: KeyId,
    prefix: &str,
) -> Result<(SecretString, String)> {
    let mut tx = db.tenant(actor.organization_id).await?;
    let key = load_for_change(&mut tx, actor, id).await?;
    let issued = set_api_secret(&mut tx, sealer, actor, id, prefix).await?;
    let changes = vec![Change::new("API secret", key.api_secret_hint, Some(issued.1.clone()))];
    note(&mut tx, actor, "api_key.secret_issued", id, &key.name, changes).await?;
    tx.commit().await?;
    Ok(issued)
}

/// Takes the API secret away: the key alone suffices again.
///
/// # Errors
/// `Conflict` when the key is revoked or has none.
pub async fn remove_api_secret(db: &Db, actor: &Actor, id: KeyId) -> Result<()> {
    let mut tx = db.tenant(actor.organization_id).await?;
    let key = load_for_change(&mut tx, actor, id).await?;
    let Some(hint) = key.api_secret_hint else {
        return Err(Error::Conflict(format!("The key “{}” has no API secret.", key.name)));
    };
    sqlx::query!(
        "update api_keys set signing_secret = null, signing_secret_hint = null, version = version + 1
         where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?;
    let changes = vec![Change::new("API secret", Some(hint), None)];
    note(&mut tx, actor, "api_key.secret_removed", id, &key.name, changes).await?;
    tx.commit().await?;
    Ok(())
}

/// Writes a fresh API secret, sealed; returns it with its hint.
async fn set_api_secret(
    tx: &mut PgConnection,
    sealer: &Sealer,
    actor: &Actor,
    id: KeyId,
    prefix: &str,
) -> Result<(SecretString, String)> {
    let secret = token::generate_secret(prefix);
    let hint = token::hint(secret.expose_secret());
    sqlx::query!(
        "update api_keys set signing_secret = $3, signing_secret_hint = $4, version = version + 1
         where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0,
        sealer.seal(&signing::context(id), secret.expose_secret().as_bytes())?,
        hint,
    )
    .execute(tx)
    .await?;
    Ok((secret, hint))
}

/// Uses a signature up, for all servers: `true` for the first who asks, `false` for everybody after. `digest` as by
/// [`signing::Signature::digest`], `useless_after` in Unix seconds.
///
/// A signature counts as used when its row is on disk, so that not even a crash of the database lets it be used again.
/// A signed call therefore waits for the disk once, at the same time as other commits do; calls that are not signed pay
/// nothing.
pub async fn use_signature(db: &Db, digest: &[u8; 32], useless_after: i64) -> Result<bool> {
    let ends = chrono::DateTime::from_timestamp(useless_after, 0).ok_or_else(|| Error::Internal("time".into()))?;
    let first = sqlx::query!(
        "insert into used_signatures (digest, expires_at) values ($1, $2) on conflict do nothing",
        &digest[..],
        ends,
    )
    .execute(db.system())
    .await?
    .rows_affected();
    Ok(first > 0)
}

/// Forgets signatures that are too old to be used anyway. For housekeeping.
pub async fn forget_signatures(db: &Db, now: Time) -> Result<u64> {
    // A server whose clock is behind may still accept them for a while.
    let before = now - TimeDelta::minutes(10);
    let forgotten = sqlx::query!("delete from used_signatures where expires_at < $1", before).execute(db.system());
    Ok(forgotten.await?.rows_affected())
}

/// Ends the replaced secret now.
pub async fn retire_old_secret(db: &Db, actor: &Actor, id: KeyId) -> Result<()> {
    let mut tx = db.tenant(actor.organization_id).await?;
    let key = load_for_change(&mut tx, actor, id).await?;
    let retired = sqlx::query_scalar!(
        "update api_key_secrets set ends_at = now() where organization_id = $1 and key_id = $2 and ends_at > now() returning hint",
        actor.organization_id.0,
        id.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(hint) = retired else {
        return Err(Error::Conflict(format!("The old secret of “{}” has already ended.", key.name)));
    };
    sqlx::query!(
        "update api_keys set version = version + 1 where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0
    )
    .execute(&mut *tx)
    .await?;
    note(&mut tx, actor, "api_key.old_secret_retired", id, &key.name, vec![Change::new("old key", Some(hint), None)])
        .await?;
    tx.commit().await?;
    Ok(())
}

/// The figures of one key: all its messages, and its calls of the last 30 days.
pub async fn stats(db: &Db, organization: OrgId, id: KeyId, now: Time) -> Result<KeyStats> {
    let mut tx = db.tenant(organization).await?;
    load(&mut tx, organization, id, "").await?;
    let since = now - TimeDelta::days(30);
    let sums = sqlx::query!(
        r#"select coalesce(sum(calls), 0)::bigint as "requests!",
                  coalesce(sum(calls) filter (where status >= 400), 0)::bigint as "errors!",
                  coalesce(sum(calls) filter (where outcome <> 'allowed'), 0)::bigint as "denied!"
           from usage_rollups where organization_id = $1 and key_id = $2 and grain = 'day' and bucket > $3"#,
        organization.0,
        id.0,
        since,
    )
    .fetch_one(&mut *tx)
    .await?;
    let top = sqlx::query!(
        r#"select endpoint, sum(calls)::bigint as "calls!" from usage_rollups
           where organization_id = $1 and key_id = $2 and grain = 'day' and bucket > $3
           group by endpoint order by 2 desc, 1 limit 5"#,
        organization.0,
        id.0,
        since,
    )
    .fetch_all(&mut *tx)
    .await?;
    let messages = messages::store::count_of_key(&mut tx, organization, id).await?;
    Ok(KeyStats {
        messages: messages.total,
        sent: messages.sent,
        delivered: messages.delivered,
        read: messages.read,
        failed: messages.failed,
        last_message_at: messages.last_at,
        requests: sums.requests,
        errors: sums.errors,
        denied: sums.denied,
        top_endpoints: top.into_iter().map(|row| (row.endpoint, row.calls)).collect(),
    })
}

/// Who and what uses the key: before a revocation or the removal of a scope.
pub async fn in_use(db: &Db, organization: OrgId, id: KeyId, now: Time) -> Result<InUse> {
    let mut tx = db.tenant(organization).await?;
    load(&mut tx, organization, id, "").await?;
    let since = now - TimeDelta::days(IN_USE_DAYS);
    let scopes = sqlx::query!(
        r#"select scope as "scope!", count(*) as "calls!" from request_log
           where organization_id = $1 and key_id = $2 and at > $3 and outcome = 'allowed' and scope is not null
           group by scope order by 2 desc"#,
        organization.0,
        id.0,
        since,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(InUse {
        callers: callers(&mut tx, organization, id, None, now).await?,
        scopes: scopes.into_iter().filter_map(|row| Some((Scope::parse(&row.scope)?, row.calls))).collect(),
        instances: messages::store::accepted_of_key(&mut tx, organization, id, since).await?,
        queued_messages: messages::store::waiting_of_key(&mut tx, organization, id).await?,
    })
}

/// Who still calls with the replaced secret.
pub async fn old_secret_callers(db: &Db, organization: OrgId, id: KeyId, now: Time) -> Result<Vec<Caller>> {
    let mut tx = db.tenant(organization).await?;
    let old = sqlx::query!(
        "select id, ends_at from api_key_secrets where organization_id = $1 and key_id = $2 and ends_at > $3 order by ends_at desc limit 1",
        organization.0,
        id.0,
        now,
    )
    .fetch_optional(&mut *tx)
    .await?;
    match old {
        // Calls from before the rotation say nothing about who has not changed over yet.
        Some(old) => {
            let since = sqlx::query_scalar!(
                "select max(created_at) from api_key_secrets where organization_id = $1 and key_id = $2",
                organization.0,
                id.0
            )
            .fetch_one(&mut *tx)
            .await?;
            callers(&mut tx, organization, id, Some((SecretId(old.id), since.unwrap_or(now))), now).await
        }
        None => Ok(vec![]),
    }
}

async fn callers(
    tx: &mut PgConnection,
    organization: OrgId,
    id: KeyId,
    secret: Option<(SecretId, Time)>,
    now: Time,
) -> Result<Vec<Caller>> {
    let since = secret.map_or(now - TimeDelta::days(IN_USE_DAYS), |(_, since)| since);
    let rows = sqlx::query!(
        r#"select ip, user_agent, count(*) as "calls!", max(at) as "last_at!" from request_log
           where organization_id = $1 and key_id = $2 and at > $3 and ($4::uuid is null or secret_id = $4) and outcome = 'allowed'
           group by ip, user_agent order by 4 desc limit 20"#,
        organization.0,
        id.0,
        since,
        secret.map(|(secret, _)| secret.0),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Caller {
            ip: Some(row.ip.addr()),
            user_agent: row.user_agent,
            calls: row.calls,
            last_at: row.last_at,
        })
        .collect())
}

/// For the command line: whose keys these are, by organization, and which are revoked already. Unknown ids are left out.
pub async fn owners(db: &Db, ids: &[KeyId]) -> Result<Vec<(KeyId, OrgId, bool)>> {
    let rows = sqlx::query!(
        r#"select id, organization_id, revoked_at is not null as "revoked!" from api_keys
           where id = any($1) order by organization_id"#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(db.system())
    .await?;
    Ok(rows.into_iter().map(|row| (KeyId(row.id), OrgId(row.organization_id), row.revoked)).collect())
}

/// What happened to the key, newest first.
pub async fn history(db: &Db, organization: OrgId, id: KeyId) -> Result<Vec<AuditRow>> {
    audit::store::of_subject(db, organization, &id.to_string()).await
}
