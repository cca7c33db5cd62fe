//! What the deliverer asks of the database, and tells it.
//!
//! A server owns an endpoint ([`own`], [`renew`], [`release`]) for as long as it delivers for it, and only the owner
//! claims its deliveries ([`claim`]). The lease of a server that died runs out; whoever owns the endpoint next puts
//! back what it had claimed. A delivery may therefore be sent twice, with the same id, but is never lost.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta};
use uuid::Uuid;

use super::{DeliveryStatus, DisabledBy, durations, events, store};
use crate::{
    Db, Result,
    ids::{AttemptId, DeliveryId, EndpointId, EventId, OrgId},
    seal::Sealer,
    secret::SecretString,
    time::Time,
};

/// When an attempt that could not be written down is made again.
const UNWRITTEN_AGAIN: TimeDelta = TimeDelta::minutes(5);
/// How long a server is believed to live without a word of it.
pub const LEASE: TimeDelta = TimeDelta::seconds(30);
/// An endpoint that has done nothing but fail for this long is disabled by its next failure.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(5);
/// How long the counts behind an endpoint's health are kept.
const KEEP_HOURS: TimeDelta = TimeDelta::days(8);

/// Where to deliver to, and how.
pub struct Target {
    pub id: EndpointId,
    pub organization: OrgId,
    pub url: String,
    /// The current secret, and the one before it with the time until which it signs too.
    pub secret: SecretString,
    pub old_secret: Option<(SecretString, Time)>,
    pub headers: Vec<(String, SecretString)>,
    pub concurrency: u32,
    pub rate_limit: Option<u32>,
    pub version: i32,
    /// The secrets were sealed with another `BOUNCER_SECRET`: nothing can be signed.
    pub broken: bool,
}

/// A delivery to be attempted.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub id: DeliveryId,
    pub event: EventId,
    /// 1 for the first attempt.
    pub number: u32,
    /// Attempts before it was last resent; they do not count for the schedule.
    pub before: u32,
    pub created_at: Time,
    pub body: String,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Done {
    pub delivery: DeliveryId,
    pub organization: OrgId,
    pub endpoint: EndpointId,
    pub number: u32,
    pub at: Time,
    /// `None`: no answer.
    pub code: Option<u16>,
    /// A sentence; empty when it succeeded.
    pub error: String,
    pub duration_ms: u32,
    pub address: Option<String>,
    pub request_headers: Vec<(String, String)>,
    pub response_headers: Option<Vec<(String, String)>>,
    pub response_body: Option<String>,
    /// `Pending` with the time of the next attempt, `Succeeded` or `Failed`.
    pub status: DeliveryStatus,
    pub due: Option<Time>,
}

/// Endpoints for which something is due, be they owned or not: first attempts, further attempts, and what a dead
/// server left behind. The cost grows with the number of endpoints that wait, not with what waits for them.
pub async fn candidates(db: &Db) -> Result<Vec<EndpointId>> {
    // A loose index scan: from each endpoint straight to the next one
    // (https://wiki.postgresql.org/wiki/Loose_indexscan).
    let ids = sqlx::query_scalar!(
        r#"with recursive first as (
               (select endpoint_id from deliveries where status = 'pending' and attempt = 0 order by endpoint_id limit 1)
               union all
               select (select d.endpoint_id from deliveries d
                       where d.status = 'pending' and d.attempt = 0 and d.endpoint_id > first.endpoint_id
                       order by d.endpoint_id limit 1)
               from first where first.endpoint_id is not null
           ), retry as (
               (select endpoint_id, due from deliveries where status = 'pending' and attempt > 0
                order by endpoint_id, due, id limit 1)
               union all
               select next.endpoint_id, next.due
               from retry, lateral (
                   select d.endpoint_id, d.due from deliveries d
                   where d.status = 'pending' and d.attempt > 0 and d.endpoint_id > retry.endpoint_id
                   order by d.endpoint_id, d.due, d.id limit 1) next
           )
           select endpoint_id as "id!" from first where endpoint_id is not null
           union select endpoint_id from retry where due <= now()
           union select id from webhook_endpoints where owner_id is not null and owner_until < now()"#
    )
    .fetch_all(db.system())
    .await?;
    Ok(ids.into_iter().map(EndpointId).collect())
}

struct Row {
    id: Uuid,
    organization_id: Uuid,
    url: String,
    secret: String,
    old_secret: Option<String>,
    old_secret_ends_at: Option<Time>,
    headers: Option<String>,
    concurrency: i32,
    rate_limit: Option<i32>,
    version: i32,
}

fn target(sealer: &Sealer, row: Row) -> Target {
    let id = EndpointId(row.id);
    let secret = store::open_secret(sealer, id, &row.secret);
    let old_secret = row
        .old_secret
        .zip(row.old_secret_ends_at)
        .and_then(|(sealed, end)| Some((store::open_secret(sealer, id, &sealed).ok()?, end)));
    let headers = store::open_headers(sealer, id, row.headers.as_deref());
    let broken = secret.is_err() || headers.is_err();
    Target {
        id,
        organization: OrgId(row.organization_id),
        url: row.url,
        secret: secret.unwrap_or_default(),
        old_secret,
        headers: headers.unwrap_or_default(),
        concurrency: row.concurrency.unsigned_abs(),
        rate_limit: row.rate_limit.map(i32::unsigned_abs),
        version: row.version,
        broken,
    }
}

/// Becomes the owner of those endpoints that nobody owns, and puts back what their last owner left behind.
pub async fn own(db: &Db, sealer: &Sealer, server: Uuid, ids: &[EndpointId]) -> Result<Vec<Target>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut tx = db.system().begin().await?;
    let rows = sqlx::query_as!(
        Row,
        "with free as (
             select id from webhook_endpoints
             where id = any($1) and disabled_at is null and deleted_at is null
               and (owner_id is null or owner_until < now())
             order by id
             for update skip locked
         )
         update webhook_endpoints w set owner_id = $2, owner_until = now() + $3
         from free where w.id = free.id
         returning w.id, w.organization_id, w.url, w.secret, w.old_secret, w.old_secret_ends_at, w.headers,
                   w.concurrency, w.rate_limit, w.version",
        &ids,
        server,
        LEASE as TimeDelta,
    )
    .fetch_all(&mut *tx)
    .await?;
    if !rows.is_empty() {
        let owned: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        sqlx::query!(
            "update deliveries
             set status = 'pending', attempt = greatest(attempt - 1, 0), due = now(), server_id = null
             where endpoint_id = any($1) and status = 'sending'",
            &owned
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(rows.into_iter().map(|row| target(sealer, row)).collect())
}

/// Says that this server still delivers for these endpoints, and returns what they are by now; those that are missing
/// are not its any more.
pub async fn renew(db: &Db, sealer: &Sealer, server: Uuid, ids: &[EndpointId]) -> Result<Vec<Target>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "update webhook_endpoints set owner_until = now() + $2
         where owner_id = $1 and id = any($3) and disabled_at is null and deleted_at is null
         returning id, organization_id, url, secret, old_secret, old_secret_ends_at, headers, concurrency, rate_limit,
                   version",
        server,
        LEASE as TimeDelta,
        &ids,
    )
    .fetch_all(db.system())
    .await?;
    Ok(rows.into_iter().map(|row| target(sealer, row)).collect())
}

/// Gives an endpoint up. Attempts of this server that could not be written down are made again, after a while: what
/// kept them from being written may still be so.
///
/// The caller has nothing of it under way any more, and nothing that is still to be written.
pub async fn release(db: &Db, server: Uuid, id: EndpointId) -> Result<()> {
    let mut tx = db.system().begin().await?;
    sqlx::query!(
        "update deliveries set status = 'pending', due = now() + $3, server_id = null
         where endpoint_id = $1 and status = 'sending' and server_id = $2",
        id.0,
        server,
        UNWRITTEN_AGAIN as TimeDelta,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update webhook_endpoints set owner_id = null, owner_until = null where id = $1 and owner_id = $2",
        id.0,
        server,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Takes deliveries of an endpoint that this server owns, oldest first: so many first attempts, and so many others.
pub async fn claim(
    db: &Db,
    server: Uuid,
    endpoint: EndpointId,
    first: u32,
    retries: u32,
) -> Result<(Vec<Claimed>, Vec<Claimed>)> {
    let rows = sqlx::query!(
        r#"with first as (
               select id from deliveries
               where endpoint_id = $1 and status = 'pending' and attempt = 0
               order by due, id limit $3
               for update skip locked
           ), retry as (
               select id from deliveries
               where endpoint_id = $1 and status = 'pending' and attempt > 0 and due <= now()
               order by due, id limit $4
               for update skip locked
           ), picked as (
               select id from first union all select id from retry
           )
           update deliveries d
           set status = 'sending', attempt = d.attempt + 1, server_id = $2
           from picked, events e
           where d.id = picked.id and e.id = d.event_id
             and exists (select from webhook_endpoints w where w.id = $1 and w.owner_id = $2 and w.disabled_at is null)
           returning d.id, d.event_id, d.attempt, d.attempts_before, d.created_at, e.kind, e.at, e.data"#,
        endpoint.0,
        server,
        i64::from(first),
        i64::from(retries),
    )
    .fetch_all(db.system())
    .await?;
    let mut claimed: Vec<Claimed> = rows
        .into_iter()
        .map(|row| Claimed {
            id: DeliveryId(row.id),
            event: EventId(row.event_id),
            number: row.attempt.unsigned_abs(),
            before: row.attempts_before.unsigned_abs(),
            created_at: row.created_at,
            body: events::payload(&row.kind, row.at, &row.data).to_string(),
        })
        .collect();
    // An update returns in whatever order it likes; ids sort as the events happened.
    claimed.sort_unstable_by_key(|delivery| delivery.id);
    Ok(claimed.into_iter().partition(|delivery| delivery.number == 1))
}

/// Puts back what was claimed but not begun.
pub async fn unclaim(db: &Db, server: Uuid, ids: &[DeliveryId]) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update deliveries set status = 'pending', attempt = greatest(attempt - 1, 0), due = now(), server_id = null
         where id = any($1) and server_id = $2 and status = 'sending'",
        &ids,
        server,
    )
    .execute(db.system())
    .await?;
    Ok(())
}

/// What a batch of attempts says of one endpoint.
#[derive(Default)]
struct Sum {
    last_success: Option<Time>,
    last: Option<Time>,
    last_error: String,
    /// The first failure after the last success of the batch.
    failing_since: Option<Time>,
}

/// Writes attempts down and moves their deliveries on. Returns the endpoints that have failed for too long.
pub async fn write(db: &Db, server: Uuid, done: &[Done]) -> Result<Vec<EndpointId>> {
    let mut tx = db.system().begin().await?;
    // An attempt that is lost with the server's power is made again: that is what the receivers expect.
    sqlx::query("set local synchronous_commit = off").execute(&mut *tx).await?;
    insert_attempts(&mut tx, done).await?;
    move_on(&mut tx, server, done).await?;
    count_hours(&mut tx, done).await?;
    let failing = endpoints_health(&mut tx, done).await?;
    tx.commit().await?;
    Ok(failing)
}

/// One value of each attempt.
fn column<T>(done: &[Done], value: impl Fn(&Done) -> T) -> Vec<T> {
    done.iter().map(value).collect()
}

async fn insert_attempts(tx: &mut sqlx::PgConnection, done: &[Done]) -> Result<()> {
    let json = |headers: &Vec<(String, String)>| serde_json::json!(headers);
    sqlx::query!(
        "insert into delivery_attempts (id, organization_id, delivery_id, endpoint_id, number, at, status, error, duration_ms,
                                        address, request_headers, response_headers, response_body)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::integer[], $6::timestamptz[],
                              $7::integer[], $8::text[], $9::integer[], $10::text[], $11::jsonb[], $12::jsonb[], $13::text[])",
        &column(done, |_| AttemptId::new().0),
        &column(done, |d| d.organization.0),
        &column(done, |d| d.delivery.0),
        &column(done, |d| d.endpoint.0),
        &column(done, |d| d.number.cast_signed()),
        &column(done, |d| d.at),
        &column(done, |d| d.code.map(i32::from)) as &[Option<i32>],
        &column(done, |d| d.error.clone()),
        &column(done, |d| i32::try_from(d.duration_ms).unwrap_or(i32::MAX)),
        &column(done, |d| d.address.clone()) as &[Option<String>],
        &column(done, |d| json(&d.request_headers)),
        &column(done, |d| d.response_headers.as_ref().map(json)) as &[Option<serde_json::Value>],
        &column(done, |d| d.response_body.clone()) as &[Option<String>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn move_on(tx: &mut sqlx::PgConnection, server: Uuid, done: &[Done]) -> Result<()> {
    sqlx::query!(
        "update deliveries d
         set status = r.status, due = r.due, server_id = null, last_status = r.code, last_error = nullif(r.error, ''),
             last_attempt_at = r.at, finished_at = case when r.status <> 'pending' then now() end
         from unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::integer[], $6::text[], $7::timestamptz[])
              as r (id, status, due, code, error, at)
         where d.id = r.id and d.server_id = $1 and d.status = 'sending'",
        server,
        &column(done, |d| d.delivery.0),
        &column(done, |d| d.status.as_str()) as &[&str],
        &column(done, |d| d.due) as &[Option<Time>],
        &column(done, |d| d.code.map(i32::from)) as &[Option<i32>],
        &column(done, |d| d.error.clone()),
        &column(done, |d| d.at),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn count_hours(tx: &mut sqlx::PgConnection, done: &[Done]) -> Result<()> {
    // In the order of the key: two servers that count at once wait for each other instead of for ever.
    let mut counts: BTreeMap<(Uuid, Time, bool, i16), (Uuid, i64)> = BTreeMap::new();
    for done in done {
        let hour = done.at.duration_trunc(TimeDelta::hours(1)).unwrap_or(done.at);
        let key = (done.endpoint.0, hour, done.error.is_empty(), durations::bucket(done.duration_ms));
        counts.entry(key).or_insert((done.organization.0, 0)).1 += 1;
    }
    let (keys, values): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
    sqlx::query!(
        "insert into webhook_hours (endpoint_id, organization_id, hour, succeeded, bucket, count)
         select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::boolean[], $5::smallint[], $6::bigint[])
         on conflict (endpoint_id, hour, succeeded, bucket) do update set count = webhook_hours.count + excluded.count",
        &keys.iter().map(|key| key.0).collect::<Vec<_>>(),
        &values.iter().map(|value| value.0).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.1).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.2).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.3).collect::<Vec<_>>(),
        &values.iter().map(|value| value.1).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn endpoints_health(tx: &mut sqlx::PgConnection, done: &[Done]) -> Result<Vec<EndpointId>> {
    let mut in_order: Vec<&Done> = done.iter().collect();
    in_order.sort_by_key(|done| done.at + TimeDelta::milliseconds(done.duration_ms.into()));
    let mut sums: BTreeMap<Uuid, Sum> = BTreeMap::new();
    for done in in_order {
        let sum = sums.entry(done.endpoint.0).or_default();
        sum.last = sum.last.max(Some(done.at));
        sum.last_error.clone_from(&done.error);
        if done.error.is_empty() {
            *sum = Sum { last_success: Some(done.at), last: sum.last, ..Sum::default() };
        } else {
            sum.failing_since.get_or_insert(done.at);
        }
    }
    let (ids, sums): (Vec<Uuid>, Vec<Sum>) = sums.into_iter().unzip();
    let failing = sqlx::query_scalar!(
        r#"update webhook_endpoints w
           set last_attempt_at = greatest(w.last_attempt_at, s.last),
               last_success_at = greatest(w.last_success_at, s.last_success),
               last_error = s.last_error,
               failing_since = case when s.last_success is null then coalesce(w.failing_since, s.failing_since)
                                    else s.failing_since end
           from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::timestamptz[])
                as s (id, last, last_success, last_error, failing_since)
           where w.id = s.id
           returning case when w.disabled_at is null and w.deleted_at is null
                               and w.failing_since <= now() - $6::interval then w.id end as id"#,
        &ids,
        &sums.iter().map(|s| s.last).collect::<Vec<_>>() as &[Option<Time>],
        &sums.iter().map(|s| s.last_success).collect::<Vec<_>>() as &[Option<Time>],
        &sums.iter().map(|s| s.last_error.clone()).collect::<Vec<_>>(),
        &sums.iter().map(|s| s.failing_since).collect::<Vec<_>>() as &[Option<Time>],
        GIVE_UP_AFTER as TimeDelta,
    )
    .fetch_all(tx)
    .await?;
    Ok(failing.into_iter().flatten().map(EndpointId).collect())
}

/// Disables an endpoint for what it answers; see [`DisabledBy`]. `false`: it was already.
pub async fn disable(db: &Db, id: EndpointId, by: DisabledBy) -> Result<bool> {
    store::disable_by(db, id, by).await
}

/// Cancels what waits for disabled and deleted endpoints, of those given; at most a thousand deliveries each.
/// Returns how many.
pub async fn cancel_waiting(db: &Db, ids: &[EndpointId]) -> Result<u64> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let done = sqlx::query!(
        "update deliveries d
         set status = 'cancelled', due = null, server_id = null, finished_at = now(), last_error = p.why
         from (
             select waiting.id,
                    case when w.deleted_at is null then 'The endpoint was disabled.' else 'The endpoint was deleted.' end as why
             from webhook_endpoints w, lateral (
                 select id from deliveries
                 where endpoint_id = w.id
                   and (status = 'pending'
                        or status = 'sending' and (w.owner_id is null or w.owner_until < now()))
                 limit 1000
                 for update skip locked) waiting
             where w.id = any($1) and (w.disabled_at is not null or w.deleted_at is not null)
         ) p
         where d.id = p.id",
        &ids
    )
    .execute(db.system())
    .await?;
    // Nobody renews them any more.
    sqlx::query!(
        "update webhook_endpoints set owner_id = null, owner_until = null
         where id = any($1) and (disabled_at is not null or deleted_at is not null) and owner_until < now()",
        &ids
    )
    .execute(db.system())
    .await?;
    Ok(done.rows_affected())
}

/// Forgets what is too old to be told.
pub async fn tidy(db: &Db, now: DateTime<chrono::Utc>) -> Result<()> {
    sqlx::query!("delete from webhook_hours where hour < $1", now - KEEP_HOURS).execute(db.system()).await?;
    sqlx::query!(
        "update webhook_endpoints set old_secret = null, old_secret_ends_at = null where old_secret_ends_at < $1",
        now
    )
    .execute(db.system())
    .await?;
    Ok(())
}
