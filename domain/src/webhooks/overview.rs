//! What the list of endpoints shows of each, for all of them in one question; and finding endpoints and deliveries.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    Db, Result,
    ids::{DeliveryId, EndpointId, EventId, MessageId, OrgId},
    text::without_nul,
};

/// Where counting deliveries ends.
const COUNTED: i64 = 10_000;

/// An endpoint at a glance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Attempts of the last 24 hours, to the hour.
    pub succeeded: i64,
    pub failed: i64,
    /// Deliveries that wait, be it for their first or for another attempt; counted up to 10,000.
    pub pending: i64,
}

/// # Errors
/// As the database.
pub async fn glances(db: &Db, organization: OrgId, ids: &[EndpointId]) -> Result<HashMap<EndpointId, Glance>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        r#"select w.id as "id!", coalesce(h.succeeded, 0) as "succeeded!", coalesce(h.failed, 0) as "failed!",
                  p.pending as "pending!"
           from unnest($2::uuid[]) as w (id)
           cross join lateral (
               select (sum(count) filter (where succeeded))::bigint as succeeded,
                      (sum(count) filter (where not succeeded))::bigint as failed
               from webhook_hours
               where organization_id = $1 and endpoint_id = w.id and hour > now() - interval '24 hours') h
           cross join lateral (
               select count(*) as pending from (
                   select from deliveries
                   where organization_id = $1 and endpoint_id = w.id and status in ('pending', 'sending') limit $3) d) p"#,
        organization.0,
        &ids,
        COUNTED,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (EndpointId(row.id), Glance { succeeded: row.succeeded, failed: row.failed, pending: row.pending }))
        .collect())
}

/// For the command palette: endpoints whose URL contains the text, in any case, the newest first.
///
/// # Errors
/// As the database.
pub async fn with_url(db: &Db, organization: OrgId, q: &str, limit: i64) -> Result<Vec<(EndpointId, String)>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        "select id, url from webhook_endpoints
         where organization_id = $1 and deleted_at is null and strpos(lower(url), lower($2)) > 0
         order by id desc limit $3",
        organization.0,
        without_nul(q),
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(|row| (EndpointId(row.id), row.url)).collect())
}

/// What deliveries tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Event(EventId),
    Message(MessageId),
}

/// A delivery, as it is found by what it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: DeliveryId,
    /// `message.delivered`
    pub kind: String,
    /// Of its endpoint.
    pub url: String,
}

/// For the command palette: the deliveries that tell of an event or a message, the newest first.
///
/// # Errors
/// As the database.
pub async fn deliveries_of(db: &Db, organization: OrgId, subject: Subject, limit: i64) -> Result<Vec<Found>> {
    let id = match subject {
        Subject::Event(id) => id.0,
        Subject::Message(id) => id.0,
    };
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        "select d.id, d.kind, w.url from deliveries d
         join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
         where d.organization_id = $1
           and d.event_id in (select id from events where organization_id = $1 and (id = $2 or message_id = $2))
         order by d.id desc limit $3",
        organization.0,
        id,
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(|row| Found { id: DeliveryId(row.id), kind: row.kind, url: row.url }).collect())
}
