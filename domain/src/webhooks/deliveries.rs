//! What was delivered to endpoints, and what waits.

use serde_json::Value;
use uuid::Uuid;

use super::{Attempt, Delivery, DeliveryFilter, DeliveryRow, DeliveryStatus, events};
use crate::{
    Db, Error, Result,
    ids::{AttemptId, DeliveryId, EndpointId, EventId, KeyId, MessageId, OrgId},
    keys::Environment,
    time::Time,
};

struct Row {
    id: Uuid,
    endpoint_id: Uuid,
    url: String,
    event_id: Uuid,
    kind: String,
    environment: String,
    status: String,
    attempt: i32,
    created_at: Time,
    due: Option<Time>,
    last_attempt_at: Option<Time>,
    last_status: Option<i32>,
    last_error: Option<String>,
    finished_at: Option<Time>,
}

fn status_code(status: Option<i32>) -> Option<u16> {
    status.and_then(|status| u16::try_from(status).ok())
}

impl From<Row> for DeliveryRow {
    fn from(row: Row) -> Self {
        let status = DeliveryStatus::parse(&row.status).unwrap_or(DeliveryStatus::Failed);
        Self {
            id: DeliveryId(row.id),
            endpoint_id: EndpointId(row.endpoint_id),
            endpoint_url: row.url,
            event_id: EventId(row.event_id),
            kind: row.kind,
            environment: Environment::parse(&row.environment).unwrap_or(Environment::Live),
            status,
            attempts: row.attempt.unsigned_abs(),
            created_at: row.created_at,
            next_attempt_at: row.due.filter(|_| status == DeliveryStatus::Pending),
            last_attempt_at: row.last_attempt_at,
            last_status: status_code(row.last_status),
            last_error: row.last_error,
            finished_at: row.finished_at,
        }
    }
}

/// The filter's parts as the statements take them.
pub(super) struct Parts<'a> {
    pub endpoint: Option<Uuid>,
    pub status: Option<&'a str>,
    /// Exactly this type.
    pub kind: Option<&'a str>,
    /// Types that begin with this.
    pub family: Option<String>,
    pub class: Option<i32>,
    pub environment: Option<&'a str>,
    pub message: Option<Uuid>,
    pub key: Option<Uuid>,
}

impl<'a> From<&'a DeliveryFilter> for Parts<'a> {
    fn from(filter: &'a DeliveryFilter) -> Self {
        let event = filter.event.as_deref().filter(|event| *event != "*");
        let family = event.and_then(|event| event.strip_suffix('*'));
        Self {
            endpoint: filter.endpoint.map(|id| id.0),
            status: filter.status.map(DeliveryStatus::as_str),
            kind: event.filter(|_| family.is_none()),
            family: family.map(str::to_owned),
            class: filter.code_class.map(i32::from),
            environment: filter.environment.map(Environment::as_str),
            message: filter.message.map(|id| id.0),
            key: filter.key.map(|id| id.0),
        }
    }
}

/// Deliveries from the newest on, older than `before` if given.
pub async fn page(
    db: &Db,
    organization: OrgId,
    filter: &DeliveryFilter,
    before: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<DeliveryRow>> {
    let parts = Parts::from(filter);
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        "select d.id, d.endpoint_id, w.url, d.event_id, d.kind, e.environment, d.status, d.attempt, d.created_at, d.due,
                d.last_attempt_at, d.last_status, d.last_error, d.finished_at
         from deliveries d
         join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
         join events e on e.organization_id = d.organization_id and e.id = d.event_id
         where d.organization_id = $1
           and ($2::uuid is null or d.id < $2)
           and ($3::uuid is null or d.endpoint_id = $3)
           and ($4::text is null or d.status = $4)
           and ($5::text is null or d.kind = $5)
           and ($6::text is null or starts_with(d.kind, $6))
           and ($7::integer is null or coalesce(d.last_status / 100, 0) = $7 and d.last_attempt_at is not null)
           and ($8::text is null or e.environment = $8)
           and ($9::uuid is null or e.message_id = $9)
           and ($10::uuid is null or e.key_id = $10)
           and ($11::timestamptz is null or d.created_at >= $11)
           and ($12::timestamptz is null or d.created_at < $12)
           and (not $13 or d.attempt = 0)
         order by d.id desc
         limit $14",
        organization.0,
        before.map(|id| id.0),
        parts.endpoint,
        parts.status,
        parts.kind,
        parts.family,
        parts.class,
        parts.environment,
        parts.message,
        parts.key,
        filter.from,
        filter.to,
        filter.never_attempted,
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(DeliveryRow::from).collect())
}

/// One delivery with its payload and attempts.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: &Db, organization: OrgId, only: Option<Environment>, id: DeliveryId) -> Result<Delivery> {
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query_as!(
        Row,
        "select d.id, d.endpoint_id, w.url, d.event_id, d.kind, e.environment, d.status, d.attempt, d.created_at, d.due,
                d.last_attempt_at, d.last_status, d.last_error, d.finished_at
         from deliveries d
         join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
         join events e on e.organization_id = d.organization_id and e.id = d.event_id
         where d.organization_id = $1 and d.id = $2 and ($3::text is null or e.environment = $3)",
        organization.0,
        id.0,
        only.map(Environment::as_str),
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    let event = sqlx::query!(
        "select kind, at, data, message_id, key_id from events where organization_id = $1 and id = $2",
        organization.0,
        row.event_id,
    )
    .fetch_one(&mut *tx)
    .await?;
    let attempts = sqlx::query!(
        "select id, number, at, status, error, duration_ms, address, request_headers, response_headers, response_body
         from delivery_attempts
         where organization_id = $1 and delivery_id = $2
         order by number, at, id
         limit 100",
        organization.0,
        id.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(Delivery {
        row: row.into(),
        message_id: event.message_id.map(MessageId),
        key_id: event.key_id.map(KeyId),
        payload: events::payload(&event.kind, event.at, &event.data),
        attempts: attempts
            .into_iter()
            .map(|row| Attempt {
                id: AttemptId(row.id),
                number: row.number.unsigned_abs(),
                at: row.at,
                status: status_code(row.status),
                error: row.error,
                duration_ms: row.duration_ms.unsigned_abs(),
                address: row.address,
                request_headers: pairs(row.request_headers),
                response_headers: row.response_headers.map(pairs).unwrap_or_default(),
                response_body: row.response_body,
            })
            .collect(),
    })
}

/// `[["name", "value"], …]`: headers may come twice, and their order may matter to somebody.
fn pairs(value: Value) -> Vec<(String, String)> {
    serde_json::from_value(value).unwrap_or_default()
}
