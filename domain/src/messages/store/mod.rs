//! Accepting messages, looking at them, cancelling them.

mod accept;

use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

pub use accept::{Accepted, Cost, NewMessage, Refusal, Reply, accept, estimate};

use super::{Body, Message, MessageError, MessageFilter, MessagePage, MessageStatus, Recipient, Step, queue};
use crate::{
    Db, Error, audit,
    error::Result,
    ids::{InstanceId, KeyId, MessageId, OrgId, RequestId},
    keys::Environment,
    partitions,
    people::Actor,
    time::{self, Time},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    instance_id: Uuid,
    key_id: Option<Uuid>,
    environment: String,
    recipient: Option<String>,
    kind: String,
    template_name: Option<String>,
    template_language: Option<String>,
    body: Option<Value>,
    status: String,
    status_at: Time,
    accepted_at: Time,
    slot_at: Time,
    sent_at: Option<Time>,
    provider_message_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    pricing: Option<Value>,
    request_id: Option<Uuid>,
}

const COLUMNS: &str = "id, instance_id, key_id, environment, recipient, kind, template_name, template_language, body, \
     status, status_at, accepted_at, slot_at, sent_at, provider_message_id, error_code, error_message, pricing, request_id";

impl TryFrom<Row> for Message {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let broken = |what: &str| Error::Internal(format!("message {}: {what}", MessageId(row.id)));
        Ok(Self {
            id: MessageId(row.id),
            instance: InstanceId(row.instance_id),
            key: row.key_id.map(KeyId),
            environment: Environment::parse(&row.environment).ok_or_else(|| broken("environment"))?,
            to: row.recipient.as_deref().map(Recipient::from_digits).transpose().map_err(|_| broken("recipient"))?,
            body: row
                .body
                .map(serde_json::from_value::<Body>)
                .transpose()
                .map_err(|error| Error::Internal(format!("message {}: body: {error}", MessageId(row.id))))?,
            status: MessageStatus::parse(&row.status).ok_or_else(|| broken("status"))?,
            kind: row.kind,
            template_name: row.template_name,
            template_language: row.template_language,
            status_at: row.status_at,
            accepted_at: row.accepted_at,
            slot_at: row.slot_at,
            sent_at: row.sent_at,
            provider_message_id: row.provider_message_id,
            error: row.error_code.map(|code| MessageError { code, message: row.error_message.unwrap_or_default() }),
            pricing: row.pricing,
            request: row.request_id.map(RequestId),
        })
    }
}

/// One message with its timeline, oldest step first. With `key` only a message of that key is found.
///
/// # Errors
/// `NotFound` when there is none.
pub async fn get(db: &Db, organization: OrgId, key: Option<KeyId>, id: MessageId) -> Result<(Message, Vec<Step>)> {
    let mut tx = db.tenant(organization).await?;
    let message = load(&mut tx, organization, key, id).await?;
    Ok((message, steps(&mut tx, organization, id).await?))
}

async fn load(tx: &mut PgConnection, organization: OrgId, key: Option<KeyId>, id: MessageId) -> Result<Message> {
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from messages where organization_id = $1 and id = $2 and ($3::uuid is null or key_id = $3)"
    )))
    .bind(organization.0)
    .bind(id.0)
    .bind(key.map(|key| key.0))
    .fetch_optional(tx)
    .await?;
    row.ok_or(Error::NotFound)?.try_into()
}

async fn steps(tx: &mut PgConnection, organization: OrgId, id: MessageId) -> Result<Vec<Step>> {
    let rows = sqlx::query!(
        "select at, status, detail from message_steps where organization_id = $1 and message_id = $2 order by at",
        organization.0,
        id.0,
    )
    .fetch_all(tx)
    .await?;
    let mut steps: Vec<Step> = rows
        .into_iter()
        .filter_map(|row| Some(Step { at: row.at, status: MessageStatus::parse(&row.status)?, detail: row.detail }))
        .collect();
    // Steps of one moment: the order in which a message goes through them.
    steps.sort_by_key(|step| (step.at, step.status.rank()));
    Ok(steps)
}

/// Messages, newest first.
///
/// # Errors
/// As the database.
pub async fn list(db: &Db, organization: OrgId, filter: &MessageFilter) -> Result<MessagePage> {
    let mut query = QueryBuilder::<Postgres>::new(format!("select {COLUMNS} from messages where organization_id = "));
    query.push_bind(organization.0);
    if let Some(key) = filter.key {
        query.push(" and key_id = ").push_bind(key.0);
    }
    if let Some(instance) = filter.instance {
        query.push(" and instance_id = ").push_bind(instance.0);
    }
    if let Some(instances) = &filter.instances {
        let instances: Vec<Uuid> = instances.iter().map(|instance| instance.0).collect();
        query.push(" and instance_id = any(").push_bind(instances).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" and status = ").push_bind(status.as_str());
    }
    if let Some(environment) = filter.environment {
        query.push(" and environment = ").push_bind(environment.as_str());
    }
    if let Some(to) = &filter.to {
        query.push(" and recipient = ").push_bind(to.digits().to_owned());
    }
    if let Some(before) = filter.before {
        query.push(" and id < ").push_bind(before.0);
    }
    let limit = filter.limit.max(1);
    // One more than asked for tells whether there is a next page.
    query.push(" order by id desc limit ").push_bind(i64::from(limit) + 1);
    let mut tx = db.tenant(organization).await?;
    let mut rows: Vec<Row> = query.build_query_as().fetch_all(&mut *tx).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let messages = rows.into_iter().map(Message::try_from).collect::<Result<Vec<_>>>()?;
    let next = messages.last().filter(|_| more).map(|message| message.id);
    Ok(MessagePage { messages, next })
}

/// Takes a message that waits out of the queue. `by` says who did it, for the timeline.
///
/// # Errors
/// `NotFound` as in [`get`]; `Conflict` with a sentence when it does not wait any more.
pub async fn cancel(
    db: &Db,
    organization: OrgId,
    key: Option<KeyId>,
    id: MessageId,
    by: &str,
    now: Time,
) -> Result<(Message, Vec<Step>)> {
    let (mut tx, message) = take_out(db.tenant(organization).await?, organization, key, id, by, now).await?;
    let steps = steps(&mut tx, organization, id).await?;
    tx.commit().await?;
    Ok((message, steps))
}

/// As [`cancel`], by a person: it goes into the audit log.
///
/// # Errors
/// As [`cancel`].
pub async fn cancel_by(db: &Db, actor: &Actor, id: MessageId, now: Time) -> Result<()> {
    let organization = actor.organization_id;
    let by = format!("Cancelled by {}.", actor.name);
    let (mut tx, _) = take_out(db.tenant(organization).await?, organization, None, id, &by, now).await?;
    note(&mut tx, actor, "message.cancelled", id).await?;
    tx.commit().await?;
    Ok(())
}

async fn note(tx: &mut PgConnection, actor: &Actor, action: &'static str, id: MessageId) -> Result<()> {
    let id = id.to_string();
    // Named by its id only: the audit log is for ever, and who it was for can be erased.
    let entry = audit::store::Entry { action, subject: id.clone(), subject_name: &id, changes: vec![] };
    audit::store::append(tx, actor, entry).await
}

/// The transaction is not committed; after a `Conflict` it is rolled back.
async fn take_out(
    mut tx: Transaction<'static, Postgres>,
    organization: OrgId,
    key: Option<KeyId>,
    id: MessageId,
    by: &str,
    now: Time,
) -> Result<(Transaction<'static, Postgres>, Message)> {
    let instance = load(&mut tx, organization, key, id).await?.instance;
    queue::lock(&mut tx, &[instance]).await?;
    let removed = sqlx::query!(
        "delete from outbox where organization_id = $1 and message_id = $2 and state = 'queued' returning recipient",
        organization.0,
        id.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(removed) = removed else {
        let message = load(&mut tx, organization, key, id).await?;
        // Not left to the drop, which would hold the queue a moment longer.
        tx.rollback().await?;
        return Err(Error::Conflict(too_late(&message)));
    };
    queue::cancelled(&mut tx, &[id.0], by, now).await?;
    // It may have been one that is tried again, and held up what else waits for the recipient.
    queue::call_next(&mut tx, &[(instance.0, &removed.recipient)], now).await?;
    queue::refresh(&mut tx, &[instance], now).await?;
    let message = load(&mut tx, organization, key, id).await?;
    Ok((tx, message))
}

/// Why a message can be neither cancelled nor hurried.
fn too_late(message: &Message) -> String {
    let when = time::exact(message.status_at);
    match message.status {
        MessageStatus::Queued | MessageStatus::Sending => "This message is being sent right now.".into(),
        MessageStatus::Unknown => "This message may have left already; Bouncer is finding out.".into(),
        MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read => {
            let left = message.sent_at.map_or(when, time::exact);
            format!("This message was sent on {left}.")
        }
        MessageStatus::Failed => format!("This message failed on {when}."),
        MessageStatus::Cancelled => format!("This message was cancelled on {when}."),
        MessageStatus::Expired => format!("This message expired on {when}."),
    }
}

/// Lets a message that waits leave as soon as the pace allows. Earlier messages to the same recipient come along and
/// leave before it. It goes into the audit log.
///
/// # Errors
/// `NotFound`; `Conflict` with a sentence when it does not wait any more.
pub async fn send_now(db: &Db, actor: &Actor, id: MessageId, now: Time) -> Result<()> {
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let instance = load(&mut tx, organization, None, id).await?.instance;
    queue::lock(&mut tx, &[instance]).await?;
    // Before all that is due already, so that it is next also behind a backlog. Its gap stays: the pace is kept.
    let moved = sqlx::query_scalar!(
        r#"with this as (
               select instance_id, recipient, seq from outbox
               where organization_id = $1 and message_id = $2 and state = 'queued'),
           soonest as (
               select least($3::timestamptz, min(o.due)) as due from outbox o join this using (instance_id)
               where o.state = 'queued'),
           moved as (
               update outbox o set due = soonest.due - interval '1 millisecond'
               from this, soonest
               where o.instance_id = this.instance_id and o.recipient = this.recipient and o.seq <= this.seq
                 and o.state = 'queued'
               returning o.message_id),
           shown as (
               update messages m set slot_at = $3 from moved where m.id = moved.message_id and m.organization_id = $1)
           select count(*) as "count!" from moved"#,
        organization.0,
        id.0,
        now,
    )
    .fetch_one(&mut *tx)
    .await?;
    if moved == 0 {
        let message = load(&mut tx, organization, None, id).await?;
        tx.rollback().await?;
        return Err(Error::Conflict(too_late(&message)));
    }
    queue::refresh(&mut tx, &[instance], now).await?;
    note(&mut tx, actor, "message.hurried", id).await?;
    sqlx::query!("select pg_notify($1, $2)", queue::CHANNEL, instance.0.to_string()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// How the messages of a key fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyCounts {
    pub total: i64,
    /// Reached WhatsApp, whatever came after.
    pub sent: i64,
    /// Delivered and not (yet) read.
    pub delivered: i64,
    pub read: i64,
    /// Failed or expired.
    pub failed: i64,
    pub last_at: Option<Time>,
}

/// Counts the messages of a key, in the caller's transaction.
///
/// # Errors
/// As the database.
pub async fn count_of_key(tx: &mut PgConnection, organization: OrgId, key: KeyId) -> Result<KeyCounts> {
    Ok(sqlx::query_as!(
        KeyCounts,
        r#"select count(*) as "total!", count(sent_at) as "sent!",
                  count(*) filter (where status = 'delivered') as "delivered!",
                  count(*) filter (where status = 'read') as "read!",
                  count(*) filter (where status in ('failed', 'expired')) as "failed!",
                  max(accepted_at) as last_at
           from messages where organization_id = $1 and key_id = $2"#,
        organization.0,
        key.0,
    )
    .fetch_one(tx)
    .await?)
}

/// Messages of a key that have not left yet, in the caller's transaction.
///
/// # Errors
/// As the database.
pub async fn waiting_of_key(tx: &mut PgConnection, organization: OrgId, key: KeyId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from outbox where organization_id = $1 and key_id = $2"#,
        organization.0,
        key.0,
    )
    .fetch_one(tx)
    .await?)
}

/// Messages of a key that were accepted since a moment, by instance, in the caller's transaction; the most first.
/// Deleted instances are left out.
///
/// # Errors
/// As the database.
pub async fn accepted_of_key(
    tx: &mut PgConnection,
    organization: OrgId,
    key: KeyId,
    since: Time,
) -> Result<Vec<(InstanceId, i64)>> {
    let rows = sqlx::query!(
        r#"select m.instance_id, count(*) as "count!" from messages m
           join instances i on i.organization_id = m.organization_id and i.id = m.instance_id and i.deleted_at is null
           where m.organization_id = $1 and m.key_id = $2 and m.id >= $3
           group by 1 order by 2 desc"#,
        organization.0,
        key.0,
        partitions::lowest_id(since),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (InstanceId(row.instance_id), row.count)).collect())
}
