//! What every change of a message leaves behind: its row, a step in its timeline, an event.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::Result,
    ids::{InstanceId, KeyId, MessageId, OrgId},
    keys::Environment,
    messages::MessageStatus,
    time::Time,
    webhooks::events::NewEvent,
};

/// One line of a timeline.
pub(super) struct Step {
    pub message: MessageId,
    pub organization: OrgId,
    pub at: Time,
    pub status: MessageStatus,
    pub detail: String,
}

pub(super) async fn insert_steps(conn: &mut PgConnection, steps: impl Iterator<Item = Step>) -> Result<()> {
    let (mut messages, mut organizations, mut times, mut statuses, mut details) =
        (Vec::<Uuid>::new(), Vec::<Uuid>::new(), Vec::<Time>::new(), Vec::<&'static str>::new(), Vec::<String>::new());
    for step in steps {
        messages.push(step.message.0);
        organizations.push(step.organization.0);
        times.push(step.at);
        statuses.push(step.status.as_str());
        details.push(step.detail.replace('\0', ""));
    }
    if messages.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into message_steps (message_id, organization_id, at, status, detail)
         select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[])",
    )
    .bind(messages)
    .bind(organizations)
    .bind(times)
    .bind(statuses)
    .bind(details)
    .execute(conn)
    .await?;
    Ok(())
}

/// A message as events tell of it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Message {
    pub id: Uuid,
    pub organization_id: Uuid,
    pub instance_id: Uuid,
    pub key_id: Option<Uuid>,
    pub environment: String,
    pub recipient: Option<String>,
    pub status_rank: i16,
    pub provider_message_id: Option<String>,
}

/// Its columns, of a row `m`.
pub(super) const COLUMNS: &str = "m.id, m.organization_id, m.instance_id, m.key_id, m.environment, m.recipient, m.status_rank, m.provider_message_id";

/// Something new about a message.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub status: MessageStatus,
    pub at: Time,
    /// For the timeline.
    pub detail: String,
    pub provider_message_id: Option<String>,
    /// Code and sentence.
    pub error: Option<(String, String)>,
    pub pricing: Option<Value>,
    /// It is new even when the status is further on already: `delivered` may overtake the answer that says `sent`.
    pub told_late: bool,
}

impl Change {
    pub fn new(status: MessageStatus, at: Time) -> Self {
        Self {
            status,
            at,
            detail: String::new(),
            provider_message_id: None,
            error: None,
            pricing: None,
            told_late: false,
        }
    }

    pub fn failed(status: MessageStatus, at: Time, code: &str, message: &str) -> Self {
        let detail = if code.is_empty() { message.to_owned() } else { format!("{code}: {message}") };
        Self { error: Some((code.to_owned(), message.to_owned())), detail, ..Self::new(status, at) }
    }
}

/// The event that tells of a status, if there is one.
fn event_kind(status: MessageStatus) -> Option<&'static str> {
    match status {
        MessageStatus::Sent => Some("message.sent"),
        MessageStatus::Delivered => Some("message.delivered"),
        MessageStatus::Read => Some("message.read"),
        // For whoever waits for the message, one that expired or was cancelled has failed, too; `status` tells them
        // apart.
        MessageStatus::Failed | MessageStatus::Expired | MessageStatus::Cancelled => Some("message.failed"),
        MessageStatus::Queued | MessageStatus::Sending | MessageStatus::Unknown => None,
    }
}

fn event(message: &Message, change: &Change) -> Option<NewEvent> {
    let kind = event_kind(change.status)?;
    let environment = Environment::parse(&message.environment).unwrap_or(Environment::Test);
    let mut data = json!({
        "id": MessageId(message.id),
        "instanceId": InstanceId(message.instance_id),
        "to": message.recipient.as_ref().map(|digits| format!("+{digits}")),
        "status": change.status,
        "environment": environment,
        "keyId": message.key_id.map(KeyId),
        "at": change.at,
    });
    if let Some((code, text)) = &change.error {
        data["error"] = json!({ "code": code, "message": text });
    }
    if let Some(pricing) = &change.pricing {
        data["pricing"] = pricing.clone();
    }
    Some(NewEvent {
        organization: OrgId(message.organization_id),
        environment,
        kind,
        at: change.at,
        data,
        message: Some(MessageId(message.id)),
        key: message.key_id.map(KeyId),
    })
}

/// Writes changes: the newest state of each message, a step and an event for each change. A status that is no step
/// forward changes no status (but its price, its provider's id and its time of sending are kept), and leaves neither
/// step nor event; `backward` ones do, for what was `sending` and is `queued` again.
///
/// The messages' rows must be locked by the caller.
pub(super) async fn apply(
    conn: &mut PgConnection,
    messages: &mut [(Message, Vec<Change>)],
    backward: bool,
) -> Result<()> {
    let (mut steps, mut events) = (Vec::new(), Vec::new());
    let mut rows = Rows::default();
    for (message, changes) in messages.iter_mut() {
        for change in changes.iter() {
            let rank = change.status.rank();
            let forward = rank > message.status_rank || backward && rank < message.status_rank;
            rows.push(message, change, forward);
            if let Some(id) = &change.provider_message_id {
                message.provider_message_id.get_or_insert_with(|| id.clone());
            }
            if forward {
                message.status_rank = rank;
            }
            if forward || change.told_late {
                steps.push(Step {
                    message: MessageId(message.id),
                    organization: OrgId(message.organization_id),
                    at: change.at,
                    status: change.status,
                    detail: change.detail.clone(),
                });
                events.extend(event(message, change));
            }
        }
    }
    rows.write(conn).await?;
    insert_steps(conn, steps.into_iter()).await?;
    crate::webhooks::events::emit(conn, &events).await
}

/// The newest state of each message, as columns.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    statuses: Vec<Option<&'static str>>,
    ranks: Vec<Option<i16>>,
    at: Vec<Option<Time>>,
    sent_at: Vec<Option<Time>>,
    provider_ids: Vec<Option<String>>,
    codes: Vec<Option<String>>,
    sentences: Vec<Option<String>>,
    prices: Vec<Option<Value>>,
}

impl Rows {
    fn push(&mut self, message: &Message, change: &Change, forward: bool) {
        // Changes of one message follow each other: the last row is its own, or it has none yet.
        if self.ids.last() != Some(&message.id) {
            self.ids.push(message.id);
            self.statuses.push(None);
            self.ranks.push(None);
            self.at.push(None);
            self.sent_at.push(None);
            self.provider_ids.push(None);
            self.codes.push(None);
            self.sentences.push(None);
            self.prices.push(None);
        }
        fn set<T>(column: &mut [Option<T>], value: T) {
            if let Some(last) = column.last_mut() {
                *last = Some(value);
            }
        }
        if forward {
            set(&mut self.statuses, change.status.as_str());
            set(&mut self.ranks, change.status.rank());
            set(&mut self.at, change.at);
            if let Some((code, sentence)) = &change.error {
                set(&mut self.codes, code.replace('\0', ""));
                set(&mut self.sentences, sentence.replace('\0', ""));
            }
        }
        if matches!(change.status, MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read)
            && self.sent_at.last().is_some_and(Option::is_none)
        {
            set(&mut self.sent_at, change.at);
        }
        if let Some(id) = &change.provider_message_id {
            set(&mut self.provider_ids, id.replace('\0', ""));
        }
        if let Some(pricing) = &change.pricing
            && self.prices.last().is_some_and(Option::is_none)
        {
            set(&mut self.prices, pricing.clone());
        }
    }

    async fn write(self, conn: &mut PgConnection) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        // Price and provider's id are kept once: a provider repeats itself.
        sqlx::query(
            "update messages m
             set status = coalesce(n.status, m.status), status_rank = coalesce(n.rank, m.status_rank),
                 status_at = coalesce(n.at, m.status_at), sent_at = coalesce(m.sent_at, n.sent_at),
                 provider_message_id = coalesce(m.provider_message_id, n.provider_id),
                 error_code = case when n.status in ('sent', 'delivered', 'read') then null else coalesce(n.code, m.error_code) end,
                 error_message = case when n.status in ('sent', 'delivered', 'read') then null else coalesce(n.sentence, m.error_message) end,
                 pricing = coalesce(m.pricing, n.pricing)
             from unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::text[],
                         $7::text[], $8::text[], $9::jsonb[])
                  as n (id, status, rank, at, sent_at, provider_id, code, sentence, pricing)
             where m.id = n.id and m.id = any($1)",
        )
        .bind(self.ids)
        .bind(self.statuses)
        .bind(self.ranks)
        .bind(self.at)
        .bind(self.sent_at)
        .bind(self.provider_ids)
        .bind(self.codes)
        .bind(self.sentences)
        .bind(self.prices)
        .execute(conn)
        .await?;
        Ok(())
    }
}
