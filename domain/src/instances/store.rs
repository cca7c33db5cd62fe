//! Instances in the database: every change is one transaction of row, queue, audit row, event and notification.

use rand::RngExt;
use serde_json::json;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Credential, Credentials, Instance, InstanceRow, NewInstance, Paused, PausedBy, Provider, QueueState, Session,
    Settings, Status,
};
use crate::{
    Db, Error,
    audit::{self, Change},
    error::{OnConstraint, Result, constraint},
    ids::{InstanceId, OrgId},
    keys::Environment,
    messages::queue,
    people::Actor,
    seal::Sealer,
    text::without_nul,
    time::Time,
    webhooks::events::{self, NewEvent},
};

/// The provider's own words are kept to this length.
const DETAIL_MAX: usize = 500;

struct Row {
    id: Uuid,
    organization_id: Uuid,
    name: String,
    settings: Json<Settings>,
    credential_names: Vec<String>,
    status: String,
    status_detail: String,
    status_at: Time,
    phone: Option<String>,
    created_at: Time,
    created_by_name: String,
    version: i32,
}

impl From<Row> for Instance {
    fn from(row: Row) -> Self {
        Self {
            id: InstanceId(row.id),
            organization_id: OrgId(row.organization_id),
            name: row.name,
            settings: row.settings.0,
            credentials: row.credential_names.iter().filter_map(|name| Credential::parse(name)).collect(),
            // The column has a check constraint.
            status: Status::parse(&row.status).unwrap_or(Status::Disconnected),
            status_detail: row.status_detail,
            status_at: row.status_at,
            phone: row.phone,
            created_at: row.created_at,
            created_by_name: row.created_by_name,
            version: row.version,
        }
    }
}

/// What the credentials of an instance are sealed for.
pub(crate) fn context(id: InstanceId) -> String {
    format!("instance/{id}")
}

fn seal(sealer: &Sealer, id: InstanceId, credentials: &Credentials) -> Result<Option<String>> {
    if credentials.is_empty() {
        return Ok(None);
    }
    sealer.seal(&context(id), credentials.to_plain().as_bytes()).map(Some)
}

pub(super) fn open(sealer: &Sealer, id: InstanceId, sealed: &str) -> Result<Credentials> {
    Credentials::from_plain(&sealer.open(&context(id), sealed)?)
}

fn names(credentials: &Credentials) -> Vec<String> {
    credentials.names().into_iter().map(|which| which.as_str().to_owned()).collect()
}

/// Whoever changes instances: developers and above, keys with the scope, and the command line.
fn may_manage(actor: &Actor) -> Result<()> {
    match actor.role {
        Some(role) if !role.may_manage_keys() => {
            Err(Error::Forbidden("Only developers, admins and owners may change instances.".into()))
        }
        _ => Ok(()),
    }
}

fn name_taken(name: &str) -> impl FnOnce() -> Error + '_ {
    move || Error::field("name", format!("There is an instance “{name}” already. Choose another name."))
}

/// What a submission has made already.
///
/// # Errors
/// As the database.
pub async fn made_by(db: &Db, organization: OrgId, submission: Uuid) -> Result<Option<InstanceId>> {
    let mut tx = db.tenant(organization).await?;
    let made = sqlx::query_scalar!(
        "select id from instances where organization_id = $1 and submission = $2 and deleted_at is null",
        organization.0,
        submission,
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(made.map(InstanceId))
}

/// Makes an instance and its queue. The sandbox is connected at once; of the others the queue waits until they are.
///
/// # Errors
/// `Invalid` when the name is taken, `Conflict` when this submission made one already, `Forbidden` by role.
pub async fn create(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    new: NewInstance,
    submission: Option<Uuid>,
) -> Result<InstanceId> {
    may_manage(actor)?;
    let id = InstanceId::new();
    let provider = new.settings.provider();
    let mut credentials = new.credentials;
    if provider == Provider::Waha {
        credentials.set(Credential::HookSecret, hook_secret().into());
    }
    let connected = provider == Provider::Sandbox;
    let mut tx = db.tenant(actor.organization_id).await?;
    // Before the insert: a second submission also violates the unique name, and that would be a puzzling answer.
    if let Some(submission) = submission {
        let made = sqlx::query_scalar!(
            "select name from instances where organization_id = $1 and submission = $2",
            actor.organization_id.0,
            submission,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(name) = made {
            return Err(already_made(&name));
        }
    }
    sqlx::query!(
        "insert into instances (id, organization_id, name, provider, settings, credentials, credential_names, status,
                                created_by_name, submission, wanted)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8 = 'connected')",
        id.0,
        actor.organization_id.0,
        new.name,
        provider.as_str(),
        Json(&new.settings) as _,
        seal(sealer, id, &credentials)?,
        &names(&credentials),
        if connected { Status::Connected } else { Status::Disconnected }.as_str(),
        actor.name,
        submission,
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| match constraint(&error) {
        Some("instances_submission_key") => already_made(&new.name),
        Some("instances_name_key") => name_taken(&new.name)(),
        _ => error.into(),
    })?;
    sqlx::query!(
        "insert into queues (instance_id, organization_id, paused_at, paused_by, paused_reason)
         values ($1, $2, case when $3 then null else now() end, case when $3 then null else 'session' end, $4)",
        id.0,
        actor.organization_id.0,
        connected,
        if connected { "" } else { NOT_CONNECTED },
    )
    .execute(&mut *tx)
    .await?;
    note(&mut tx, actor, "instance.created", id, &new.name, changes(None, &new.name, &new.settings, &credentials))
        .await?;
    tx.commit().await?;
    Ok(id)
}

const NOT_CONNECTED: &str = "The number is not connected.";

fn already_made(name: &str) -> Error {
    Error::Conflict(format!("“{name}” was created already; this was the same form a second time."))
}

/// 64 characters of base62: 381 bits.
fn hook_secret() -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(64).map(char::from).collect()
}

async fn note(
    tx: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    id: InstanceId,
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

/// What differs, in words for the audit log. Of credentials only that they were set.
fn changes(before: Option<&Instance>, name: &str, settings: &Settings, typed: &Credentials) -> Vec<Change> {
    let mut changes = vec![];
    let mut field = |field: &str, old: Option<String>, new: Option<String>| {
        if old != new {
            changes.push(Change::new(field, old, new));
        }
    };
    field("name", before.map(|i| i.name.clone()), Some(name.to_owned()));
    let old = before.map(|i| fields(&i.settings)).unwrap_or_default();
    for (index, (label, value)) in fields(settings).into_iter().enumerate() {
        field(label, old.get(index).map(|(_, value)| value.clone()), Some(value));
    }
    for which in typed.names() {
        let was_set = before.is_some_and(|i| i.credentials.contains(&which));
        changes.push(Change::new(
            &which.label().to_lowercase(),
            was_set.then(|| "set".into()),
            Some(if was_set { "replaced" } else { "set" }.into()),
        ));
    }
    changes
}

fn fields(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut fields = vec![("provider", settings.provider().label().to_owned())];
    match settings {
        Settings::Sandbox => {}
        Settings::Waha(waha) => {
            fields.extend([("address", waha.base_url.clone()), ("session", waha.session.clone())]);
        }
        Settings::CloudApi(cloud) => fields.extend([
            ("address", cloud.base_url.clone()),
            ("version", cloud.version.clone()),
            ("phone number id", cloud.phone_number_id.clone()),
            ("business account id", cloud.business_account_id.clone()),
        ]),
    }
    fields
}

/// Instances from the newest on, older than `before` if given; only the `allowed` ones if the caller is restricted.
pub async fn list(
    db: &Db,
    organization: OrgId,
    before: Option<InstanceId>,
    allowed: Option<&[InstanceId]>,
    limit: u32,
) -> Result<Vec<InstanceRow>> {
    let mut tx = db.tenant(organization).await?;
    rows(&mut tx, organization, None, before, allowed, i64::from(limit)).await
}

/// One instance with its queue.
///
/// # Errors
/// `NotFound` when the organization has none such.
pub async fn get(db: &Db, organization: OrgId, id: InstanceId) -> Result<InstanceRow> {
    let mut tx = db.tenant(organization).await?;
    rows(&mut tx, organization, Some(id), None, None, 1).await?.pop().ok_or(Error::NotFound)
}

async fn rows(
    tx: &mut PgConnection,
    organization: OrgId,
    id: Option<InstanceId>,
    before: Option<InstanceId>,
    allowed: Option<&[InstanceId]>,
    limit: i64,
) -> Result<Vec<InstanceRow>> {
    let allowed: Option<Vec<Uuid>> = allowed.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query!(
        r#"select i.id, i.organization_id, i.name, i.settings as "settings: Json<Settings>", i.credential_names, i.status,
                  i.status_detail, i.status_at, i.phone, i.created_at, i.created_by_name, i.version,
                  q.next_due as "next_due?", q.paused_at as "paused_at?", q.paused_by as "paused_by?",
                  q.paused_reason as "paused_reason?", q.failures_in_a_row as "failures_in_a_row?",
                  (select count(*) from outbox o where o.instance_id = i.id) as "waiting!"
           from instances i
           left join queues q on q.instance_id = i.id
           where i.organization_id = $1
             and i.deleted_at is null
             and ($2::uuid is null or i.id = $2)
             and ($3::uuid is null or i.id < $3)
             and ($4::uuid[] is null or i.id = any($4))
           order by i.id desc
           limit $5"#,
        organization.0,
        id.map(|id| id.0),
        before.map(|id| id.0),
        allowed.as_deref() as _,
        limit,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| InstanceRow {
            queue: QueueState {
                waiting: row.waiting.unsigned_abs(),
                next_due: row.next_due,
                paused: row.paused_at.map(|at| Paused {
                    at,
                    by: row.paused_by.as_deref().and_then(PausedBy::parse).unwrap_or(PausedBy::Person),
                    reason: row.paused_reason.unwrap_or_default(),
                }),
                failures_in_a_row: row.failures_in_a_row.unwrap_or_default().unsigned_abs(),
            },
            instance: Row {
                id: row.id,
                organization_id: row.organization_id,
                name: row.name,
                settings: row.settings,
                credential_names: row.credential_names,
                status: row.status,
                status_detail: row.status_detail,
                status_at: row.status_at,
                phone: row.phone,
                created_at: row.created_at,
                created_by_name: row.created_by_name,
                version: row.version,
            }
            .into(),
        })
        .collect())
}

/// Whoever's instance with its sealed credentials, for the cache.
pub(super) async fn with_credentials(db: &Db, id: InstanceId) -> Result<Option<(Instance, Option<String>)>> {
    let row = sqlx::query!(
        r#"select id, organization_id, name, settings as "settings: Json<Settings>", credential_names, credentials, status,
                  status_detail, status_at, phone, created_at, created_by_name, version
           from instances where id = $1 and deleted_at is null"#,
        id.0,
    )
    .fetch_optional(db.system())
    .await?;
    Ok(row.map(|row| {
        let instance = Row {
            id: row.id,
            organization_id: row.organization_id,
            name: row.name,
            settings: row.settings,
            credential_names: row.credential_names,
            status: row.status,
            status_detail: row.status_detail,
            status_at: row.status_at,
            phone: row.phone,
            created_at: row.created_at,
            created_by_name: row.created_by_name,
            version: row.version,
        };
        (instance.into(), row.credentials)
    }))
}

/// The instance of a number of the Cloud API; the newest when several have it.
pub async fn find_number(db: &Db, organization: OrgId, phone_number_id: &str) -> Result<Option<InstanceId>> {
    let id = sqlx::query_scalar!(
        "select id from instances
         where organization_id = $1 and provider = 'cloud_api' and settings ->> 'phoneNumberId' = $2
           and deleted_at is null
         order by id desc limit 1",
        organization.0,
        phone_number_id,
    )
    .fetch_optional(db.system())
    .await?;
    Ok(id.map(InstanceId))
}

/// The instance of the actor's organization, locked until the end of the transaction.
async fn lock(tx: &mut PgConnection, organization: OrgId, id: InstanceId) -> Result<(Instance, Option<String>)> {
    let row = sqlx::query!(
        r#"select id, organization_id, name, settings as "settings: Json<Settings>", credential_names, credentials, status,
                  status_detail, status_at, phone, created_at, created_by_name, version
           from instances where organization_id = $1 and id = $2 and deleted_at is null
           for update"#,
        organization.0,
        id.0,
    )
    .fetch_optional(tx)
    .await?
    .ok_or(Error::NotFound)?;
    let instance = Row {
        id: row.id,
        organization_id: row.organization_id,
        name: row.name,
        settings: row.settings,
        credential_names: row.credential_names,
        status: row.status,
        status_detail: row.status_detail,
        status_at: row.status_at,
        phone: row.phone,
        created_at: row.created_at,
        created_by_name: row.created_by_name,
        version: row.version,
    };
    Ok((instance.into(), row.credentials))
}

/// Changes name, settings and credentials; credentials that are not given stay. With other settings or credentials
/// the connection has to be made again.
///
/// # Errors
/// `NotFound`, `Conflict` when it changed meanwhile (`version`: the one that the edit started from), `Invalid` when
/// the name is taken, `Forbidden` by role.
pub async fn edit(
    db: &Db,
    sealer: &Sealer,
    actor: &Actor,
    id: InstanceId,
    version: i32,
    new: NewInstance,
) -> Result<()> {
    may_manage(actor)?;
    let mut tx = db.tenant(actor.organization_id).await?;
    let (before, sealed) = lock(&mut tx, actor.organization_id, id).await?;
    if before.version != version {
        return Err(Error::Conflict(
            "Somebody else changed this instance while you were editing it. Reload to see their change, then make yours."
                .into(),
        ));
    }
    if before.provider() != new.settings.provider() {
        return Err(Error::field("provider", "The provider cannot be changed. Make a new instance for another one."));
    }
    let changes = changes(Some(&before), &new.name, &new.settings, &new.credentials);
    if changes.is_empty() {
        return Ok(());
    }
    let stored = match sealed {
        Some(sealed) => open(sealer, id, &sealed)?,
        None => Credentials::default(),
    };
    let mut credentials = new.credentials.over(&stored);
    if before.provider() == Provider::Waha && before.settings.base_url() != new.settings.base_url() {
        // The server at the old address knows it, and could go on telling us things.
        credentials.set(Credential::HookSecret, hook_secret().into());
    }
    sqlx::query!(
        "update instances set name = $3, settings = $4, credentials = $5, credential_names = $6, version = version + 1
         where organization_id = $1 and id = $2",
        actor.organization_id.0,
        id.0,
        new.name,
        Json(&new.settings) as _,
        seal(sealer, id, &credentials)?,
        &names(&credentials),
    )
    .execute(&mut *tx)
    .await
    .on_constraint("instances_name_key", name_taken(&new.name))?;
    note(&mut tx, actor, "instance.edited", id, &new.name, changes).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes an instance: what waits is cancelled, its credentials are removed. What is on its way at this moment ends
/// as the provider says. Returns how many messages were cancelled.
///
/// # Errors
/// `NotFound`, `Forbidden` by role.
pub async fn delete(db: &Db, actor: &Actor, id: InstanceId) -> Result<u64> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    // A long queue takes its time.
    sqlx::query("set local statement_timeout = 0").execute(&mut *tx).await?;
    // The queue first, as everybody who accepts or claims does. Without its row nothing is accepted any more.
    sqlx::query!("delete from queues where organization_id = $1 and instance_id = $2", organization.0, id.0)
        .execute(&mut *tx)
        .await?;
    let (before, _) = lock(&mut tx, organization, id).await?;
    let gone = sqlx::query!(
        "delete from outbox where organization_id = $1 and instance_id = $2 and state <> 'sending'
         returning message_id, state",
        organization.0,
        id.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    // What may have left stays `unknown` until it is given up.
    let now = chrono::Utc::now();
    let (cancelled, open): (Vec<_>, Vec<_>) = gone.into_iter().partition(|row| row.state == "queued");
    let cancelled: Vec<Uuid> = cancelled.into_iter().map(|row| row.message_id).collect();
    let open: Vec<_> = open.into_iter().map(|row| (row.message_id, organization.0, now)).collect();
    queue::left_open(&mut tx, &open).await?;
    queue::cancelled(&mut tx, &cancelled, "The instance was deleted.", now).await?;
    let cancelled = cancelled.len() as u64;
    sqlx::query!(
        "update instances set deleted_at = now(), credentials = null, credential_names = '{}', status = 'disconnected',
                status_at = now(), version = version + 1, submission = null
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?;
    let changes = vec![Change::new("messages cancelled", None, Some(cancelled.to_string()))];
    note(&mut tx, actor, "instance.deleted", id, &before.name, changes).await?;
    tx.commit().await?;
    Ok(cancelled)
}

/// Has a person hold the queue up. Returns whether that changed anything.
///
/// # Errors
/// `NotFound`, `Forbidden` by role.
pub async fn pause(db: &Db, actor: &Actor, id: InstanceId, now: Time) -> Result<bool> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    queue::lock(&mut tx, &[id]).await?;
    let (instance, _) = lock(&mut tx, organization, id).await?;
    let reason = format!("Paused by {}.", actor.name);
    let changed = queue::pause(&mut tx, organization, id, PausedBy::Person, &reason, now).await?;
    if changed {
        note(&mut tx, actor, "instance.paused", id, &instance.name, vec![]).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

/// What became of a queue that a person let go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// Nothing held it up.
    Nothing,
    GoesOn,
    /// It waits until the number is connected.
    NotConnected,
}

/// Has a person let the queue go on, whatever held it up; without a connection it then waits for that.
///
/// # Errors
/// `NotFound`, `Forbidden` by role.
pub async fn resume(db: &Db, actor: &Actor, id: InstanceId, now: Time) -> Result<Resumed> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    queue::lock(&mut tx, &[id]).await?;
    let (instance, _) = lock(&mut tx, organization, id).await?;
    let connected = instance.status == Status::Connected;
    let changed = if connected {
        queue::resume(&mut tx, organization, id, PausedBy::Person, now).await?
    } else {
        queue::leave_to_session(&mut tx, organization, id, reason(instance.status), now).await?
    };
    if changed {
        note(&mut tx, actor, "instance.resumed", id, &instance.name, vec![]).await?;
    }
    tx.commit().await?;
    Ok(match (connected, changed) {
        (false, _) => Resumed::NotConnected,
        (true, true) => Resumed::GoesOn,
        (true, false) => Resumed::Nothing,
    })
}

/// Writes down that somebody connected or disconnected an instance, with what became of it.
///
/// # Errors
/// `NotFound`, `Forbidden` by role.
pub async fn told_by(
    db: &Db,
    actor: &Actor,
    id: InstanceId,
    action: Connecting,
    session: &Session,
    now: Time,
) -> Result<()> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    set_status(&mut tx, organization, id, session, None, now).await?;
    // WAHA reports to us from the first attempt on; a number of the Cloud API only once it is connected.
    sqlx::query(
        "update instances set wanted = $3 and (wanted or provider = 'waha') where organization_id = $1 and id = $2",
    )
    .bind(organization.0)
    .bind(id.0)
    .bind(action == Connecting::Connect)
    .execute(&mut *tx)
    .await?;
    let (instance, _) = lock(&mut tx, organization, id).await?;
    let action = match action {
        Connecting::Connect => "instance.connected",
        Connecting::Disconnect => "instance.disconnected",
    };
    note(&mut tx, actor, action, id, &instance.name, vec![]).await?;
    tx.commit().await?;
    Ok(())
}

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connecting {
    Connect,
    Disconnect,
}

/// What somebody said of a connection, and what it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    /// It was told late, or is nothing new.
    Nothing,
    /// The words or the number.
    Detail,
    Status,
}

/// As [`set_status`], in a transaction of its own.
///
/// # Errors
/// As [`set_status`].
pub async fn tell(db: &Db, organization: OrgId, id: InstanceId, session: &Session, now: Time) -> Result<StatusChange> {
    let mut tx = db.system().begin().await?;
    let change = set_status(&mut tx, organization, id, session, None, now).await?;
    tx.commit().await?;
    Ok(change)
}

/// As [`tell`], of a connection that was asked about without anybody's wish to connect it: what somebody ended, or never
/// began, stays as it is. Returns whether it was taken over.
///
/// # Errors
/// As [`set_status`].
pub async fn tell_if_wanted(
    db: &Db,
    organization: OrgId,
    id: InstanceId,
    session: &Session,
    now: Time,
) -> Result<bool> {
    let mut tx = db.system().begin().await?;
    // The queue before the instance, as everywhere.
    queue::lock(&mut tx, &[id]).await?;
    let wanted: Option<bool> = sqlx::query_scalar(
        "select wanted from instances where organization_id = $1 and id = $2 and deleted_at is null for update",
    )
    .bind(organization.0)
    .bind(id.0)
    .fetch_optional(&mut *tx)
    .await?;
    let wanted = wanted.ok_or(Error::NotFound)?;
    if wanted {
        set_status(&mut tx, organization, id, session, None, now).await?;
    }
    tx.commit().await?;
    Ok(wanted)
}

/// Takes over what the provider said of the connection: the queue waits while the number is not connected and goes on
/// when it is, and endpoints hear of a new status (`instance.status`).
///
/// `told_at` is the provider's own time of it, if it gave one: what is older than the last one told changes nothing.
///
/// # Errors
/// `NotFound` when there is no such instance (any more).
pub async fn set_status(
    tx: &mut PgConnection,
    organization: OrgId,
    id: InstanceId,
    session: &Session,
    told_at: Option<Time>,
    now: Time,
) -> Result<StatusChange> {
    // The queue before the instance, as everywhere.
    queue::lock(tx, &[id]).await?;
    let row = sqlx::query!(
        "select name, provider, status, status_detail, phone, told_at from instances
         where organization_id = $1 and id = $2 and deleted_at is null for update",
        organization.0,
        id.0,
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    if told_at.is_some_and(|told| row.told_at.is_some_and(|last| told < last)) {
        return Ok(StatusChange::Nothing);
    }
    // Also when it is nothing new: a send may have found the number lost meanwhile.
    if session.status == Status::Connected {
        queue::resume(tx, organization, id, PausedBy::Session, now).await?;
    } else if row.status != session.status.as_str() {
        queue::pause(tx, organization, id, PausedBy::Session, reason(session.status), now).await?;
    }
    let detail: String = without_nul(&session.detail).chars().take(DETAIL_MAX).collect();
    let phone = session.phone.clone().or(row.phone.clone());
    let same_status = row.status == session.status.as_str();
    if same_status && row.status_detail == detail && row.phone == phone {
        // What happened before this and is told later changes nothing either.
        if let Some(told) = told_at.filter(|told| row.told_at.is_none_or(|last| last < *told)) {
            sqlx::query!(
                "update instances set told_at = $3 where organization_id = $1 and id = $2",
                organization.0,
                id.0,
                told,
            )
            .execute(&mut *tx)
            .await?;
        }
        return Ok(StatusChange::Nothing);
    }
    sqlx::query!(
        "update instances
         set status = $3, status_detail = $4, phone = $5, told_at = coalesce($6, told_at),
             status_at = case when $7 then status_at else $8 end, wanted = wanted or $3 = 'connected'
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
        session.status.as_str(),
        detail,
        phone,
        told_at,
        same_status,
        now,
    )
    .execute(&mut *tx)
    .await?;
    if same_status {
        return Ok(StatusChange::Detail);
    }
    let event = NewEvent {
        organization,
        environment: Environment::Live,
        kind: "instance.status",
        at: now,
        data: json!({
            "instanceId": id,
            "name": row.name,
            "provider": row.provider,
            "status": session.status,
            "previousStatus": row.status,
            "detail": detail,
            "phone": phone,
            "at": now,
        }),
        message: None,
        key: None,
    };
    events::emit(tx, &[event]).await?;
    Ok(StatusChange::Status)
}

/// Why the queue waits, in a sentence.
fn reason(status: Status) -> &'static str {
    match status {
        Status::ScanQr => "The number is not connected: the QR code waits to be scanned.",
        Status::Connecting => "The number is being connected.",
        _ => NOT_CONNECTED,
    }
}
