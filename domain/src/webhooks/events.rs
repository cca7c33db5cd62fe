//! What happened, and who hears of it: written in the transaction of the change itself.

use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    error::Result,
    ids::{DeliveryId, EndpointId, EventId, KeyId, MessageId, OrgId},
    keys::Environment,
    time::Time,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub organization: OrgId,
    pub environment: Environment,
    /// One of [`super::KINDS`], such as `message.sent`.
    pub kind: &'static str,
    pub at: Time,
    /// The payload's `data`.
    pub data: Value,
    pub message: Option<MessageId>,
    pub key: Option<KeyId>,
}

/// Writes events and a delivery for each endpoint that wants them, in the caller's transaction, which may be a
/// tenant's. One round trip, whatever the number of events; locks nothing that others wait for.
///
/// A disabled endpoint's deliveries are written as cancelled: they were never attempted, and can be sent later.
pub async fn emit(tx: &mut PgConnection, events: &[NewEvent]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut ids = Vec::with_capacity(events.len());
    let mut organizations = Vec::with_capacity(events.len());
    let mut environments = Vec::with_capacity(events.len());
    let mut kinds = Vec::with_capacity(events.len());
    let mut times = Vec::with_capacity(events.len());
    let mut data = Vec::with_capacity(events.len());
    let mut messages = Vec::with_capacity(events.len());
    let mut keys = Vec::with_capacity(events.len());
    for event in events {
        ids.push(EventId::new().0);
        organizations.push(event.organization.0);
        environments.push(event.environment.as_str());
        kinds.push(event.kind);
        times.push(event.at);
        data.push(&event.data);
        messages.push(event.message.map(|id| id.0));
        keys.push(event.key.map(|id| id.0));
    }
    // A delivery's id begins as its event's does, so that deliveries sort as the events happened: time and counter of the
    // UUIDv7 are in its first twelve bytes. A number follows that tells the deliveries of one event apart.
    // The notification carries the endpoints, unless they are too many for its 8,000 bytes.
    sqlx::query!(
        r#"with happened as (
               insert into events (id, organization_id, environment, kind, at, data, message_id, key_id)
               select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::jsonb[], $7::uuid[], $8::uuid[])
               returning id, organization_id, environment, kind
           ), made as (
               insert into deliveries (id, organization_id, endpoint_id, event_id, kind, status, due, last_error, created_at, finished_at)
               select encode(substring(uuid_send(e.id) for 12)
                              || substring(int4send((row_number() over (partition by e.id))::integer) from 3)
                              || substring(uuid_send(gen_random_uuid()) from 15), 'hex')::uuid,
                      e.organization_id, w.id, e.id, e.kind,
                      case when w.disabled_at is null then 'pending' else 'cancelled' end,
                      case when w.disabled_at is null then now() end,
                      case when w.disabled_at is not null then 'The endpoint was disabled.' end,
                      now(),
                      case when w.disabled_at is not null then now() end
               from happened e
               join webhook_endpoints w on w.organization_id = e.organization_id
               where w.deleted_at is null
                 and (w.environment is null or w.environment = e.environment)
                 and w.events && array['*', e.kind, split_part(e.kind, '.', 1) || '.*']
               returning endpoint_id, status
           ), woken as (
               select string_agg(distinct endpoint_id::text, ' ') as ids from made where status = 'pending'
           )
           select pg_notify('bouncer_deliveries', case when length(ids) < 7900 then ids else '' end)::text as told
           from woken where ids is not null"#,
        &ids,
        &organizations,
        &environments as &[&str],
        &kinds as &[&str],
        &times,
        &data as &[&Value],
        &messages as &[Option<uuid::Uuid>],
        &keys as &[Option<uuid::Uuid>],
    )
    .fetch_optional(tx)
    .await?;
    Ok(())
}

/// Writes an event and its one delivery, to this endpoint alone.
pub(super) async fn emit_to(
    tx: &mut PgConnection,
    event: &NewEvent,
    endpoint: EndpointId,
) -> Result<(DeliveryId, EventId)> {
    let (id, delivery) = (EventId::new(), DeliveryId::new());
    sqlx::query!(
        "with happened as (
             insert into events (id, organization_id, environment, kind, at, data, message_id, key_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
         ), made as (
             insert into deliveries (id, organization_id, endpoint_id, event_id, kind, status, due, created_at)
             values ($9, $2, $10, $1, $4, 'pending', now(), now())
         )
         select pg_notify('bouncer_deliveries', $10::uuid::text)::text as told",
        id.0,
        event.organization.0,
        event.environment.as_str(),
        event.kind,
        event.at,
        event.data,
        event.message.map(|id| id.0),
        event.key.map(|id| id.0),
        delivery.0,
        endpoint.0,
    )
    .fetch_one(tx)
    .await?;
    Ok((delivery, id))
}

/// The body of a delivery, as Standard Webhooks has it. The same event always gives the same bytes.
pub(super) fn payload(kind: &str, at: Time, data: &Value) -> Value {
    serde_json::json!({ "type": kind, "timestamp": at, "data": data })
}
