//! Looking at a queue, holding it up, letting it go on.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{AT_ONCE, AT_ONCE_SANDBOX, CHANNEL, CLOUD_API_A_SECOND, LONGEST_PROBE, PROBE_AFTER, PausedBy, millis};
use crate::{
    Db, Error,
    error::Result,
    ids::{InstanceId, MessageId, OrgId},
    time::Time,
};

/// The queue of one instance, as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Messages that wait, being sent or being found out about.
    pub waiting: i64,
    pub sending: i64,
    pub unknown: i64,
    /// When the next one leaves; `None` while nothing waits or the queue is paused.
    pub next_at: Option<Time>,
    /// When the last one of those that wait is to leave.
    pub last_at: Option<Time>,
    pub paused_at: Option<Time>,
    pub paused_by: Option<PausedBy>,
    /// A sentence.
    pub paused_reason: String,
    pub failures_in_a_row: i32,
    /// The first ones that wait, in order; at most ten.
    pub head: Vec<QueueHead>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueHead {
    pub id: MessageId,
    /// Digits of E.164.
    pub to: String,
    pub due: Time,
    /// How often it was begun.
    pub attempt: i32,
}

/// Holds the rows of queues for the rest of the transaction, in the one order that all use.
///
/// # Errors
/// As the database.
pub async fn lock(conn: &mut PgConnection, instances: &[InstanceId]) -> Result<()> {
    sqlx::query("select from queues where instance_id = any($1) order by instance_id for update")
        .bind(ids(instances))
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) fn ids(instances: &[InstanceId]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = instances.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Works out anew when each of these queues must be looked at next. To be called at the end of whatever changed what
/// waits there, while [`lock`] holds. Returns whether something is due already.
///
/// # Errors
/// As the database.
pub async fn refresh(conn: &mut PgConnection, instances: &[InstanceId], now: Time) -> Result<bool> {
    // Live messages leave in the order of their due times: what is not paced waits behind a paced one that is due
    // earlier, or else a stream of it would hold up the paced one for ever. A Cloud API number that has begun all that a
    // second may hold waits until the first of them is a second old. What is due already counts as due now, so
    // that instances take turns.
    let soonest: Vec<Option<Time>> = sqlx::query_scalar(
        "update queues q set next_due = n.next_due
         from (
             select q.instance_id,
                    nullif(greatest(coalesce(n.at, 'infinity'), $2), 'infinity') as next_due
             from queues q
             join instances i on i.id = q.instance_id
             left join lateral (select due, seq, gap_ms from outbox o
                                where o.instance_id = q.instance_id and o.lane = 0 and o.state = 'queued'
                                order by due, seq limit 1) paced on true
             left join lateral (select due, seq from outbox o
                                where o.instance_id = q.instance_id and o.lane = 1 and o.state = 'queued'
                                order by due, seq limit 1) free on true
             left join lateral (select due from outbox o
                                where o.instance_id = q.instance_id and o.lane = 2 and o.state = 'queued'
                                order by due, seq limit 1) test on true
             cross join lateral (select count(*) filter (where o.lane = 0) as paced, count(*) filter (where o.lane = 1) as free,
                                        count(*) filter (where o.lane = 2) as test
                                 from outbox o where o.instance_id = q.instance_id and o.state = 'sending') busy
             cross join lateral (select least(
                 case when q.paused_at is null and busy.paced + busy.free = 0
                      then greatest(paced.due, q.last_sent_at + paced.gap_ms * interval '1 millisecond') end,
                 case when q.paused_at is null and busy.free < case i.provider when 'sandbox' then $4 else $3 end
                       and (paced.due is null or (free.due, free.seq) < (paced.due, paced.seq)) and free.due is not null
                      then greatest(free.due,
                                    case when cardinality(q.begun) >= $5 then q.begun[1] + interval '1 second' end) end,
                 case when q.paused_by is distinct from 'person' and busy.test < $4 then test.due end) as at) n
             where q.instance_id = any($1)) n
         where q.instance_id = n.instance_id
         returning n.next_due",
    )
    .bind(ids(instances))
    .bind(now)
    .bind(AT_ONCE)
    .bind(AT_ONCE_SANDBOX)
    .bind(i32::try_from(CLOUD_API_A_SECOND).unwrap_or(i32::MAX))
    .fetch_all(conn)
    .await?;
    Ok(soonest.into_iter().flatten().any(|at| at <= now))
}

/// Holds a queue up. A person's pause outranks the others. Test messages wait for a person's pause only.
/// Returns whether it changed anything.
///
/// # Errors
/// As the database.
pub async fn pause(
    conn: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    by: PausedBy,
    reason: &str,
    now: Time,
) -> Result<bool> {
    lock(conn, &[instance]).await?;
    let changed = sqlx::query(
        "update queues set paused_at = $4, paused_by = $3, paused_reason = $5
         where organization_id = $1 and instance_id = $2
           and (paused_by is null or paused_by <> $3 and paused_by <> 'person')",
    )
    .bind(organization.0)
    .bind(instance.0)
    .bind(by.as_str())
    .bind(now)
    .bind(reason)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    if changed {
        refresh(conn, &[instance], now).await?;
    }
    Ok(changed)
}

/// Lets a queue go on: `by` a person whatever held it up, by `Session` or `Failures` everything but a person's pause.
/// What waited is given new slots, each as far from the one before as its pace asks, so that nothing bursts.
/// Returns whether it changed anything.
///
/// # Errors
/// As the database.
pub async fn resume(
    conn: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    by: PausedBy,
    now: Time,
) -> Result<bool> {
    lock(conn, &[instance]).await?;
    let changed = sqlx::query(
        "update queues set paused_at = null, paused_by = null, paused_reason = '', failures_in_a_row = 0
         where organization_id = $1 and instance_id = $2 and paused_at is not null
           and ($3 = 'person' or paused_by <> 'person')",
    )
    .bind(organization.0)
    .bind(instance.0)
    .bind(by.as_str())
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    if changed {
        repace(conn, instance, now).await?;
        refresh(conn, &[instance], now).await?;
        notify(conn, &[instance]).await?;
    }
    Ok(changed)
}

/// As [`resume`] by a person while the number is not connected: from now on only that holds the queue up.
/// Returns whether it changed anything.
///
/// # Errors
/// As the database.
pub async fn leave_to_session(
    conn: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    reason: &str,
    now: Time,
) -> Result<bool> {
    lock(conn, &[instance]).await?;
    let changed = sqlx::query(
        "update queues set paused_at = $4, paused_by = 'session', paused_reason = $3, failures_in_a_row = 0
         where organization_id = $1 and instance_id = $2 and paused_by is distinct from 'session'",
    )
    .bind(organization.0)
    .bind(instance.0)
    .bind(reason)
    .bind(now)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    if changed {
        // Test messages waited for the person only.
        refresh(conn, &[instance], now).await?;
        notify(conn, &[instance]).await?;
    }
    Ok(changed)
}

/// New slots for the paced messages that wait, from now on, in their order and with the gaps that were drawn for them.
async fn repace(conn: &mut PgConnection, instance: InstanceId, now: Time) -> Result<()> {
    sqlx::query(
        "with line as materialized (
             select o.message_id,
                    greatest($2, q.last_sent_at + first_value(o.gap_ms) over (order by o.due, o.seq) * interval '1 millisecond')
                    + (sum(o.gap_ms) over (order by o.due, o.seq) - first_value(o.gap_ms) over (order by o.due, o.seq))
                      * interval '1 millisecond' as due
             from outbox o join queues q on q.instance_id = o.instance_id
             where o.instance_id = $1 and o.lane = 0 and o.state = 'queued'),
         moved as (
             update outbox o set due = greatest(o.due, line.due) from line where o.message_id = line.message_id
             returning o.message_id, o.due),
         shown as (update messages m set slot_at = moved.due from moved where m.id = moved.message_id)
         update queues q set last_slot_at = greatest(q.last_slot_at, (select max(due) from moved))
         where q.instance_id = $1",
    )
    .bind(instance.0)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Works the promised times of a paced line out anew, after its head left late. It takes as long as the line is long;
/// nobody claims from it meanwhile.
///
/// # Errors
/// As the database.
pub async fn catch_up(db: &Db, instance: InstanceId, now: Time) -> Result<()> {
    let mut tx = db.system().begin().await?;
    lock(&mut tx, &[instance]).await?;
    repace(&mut tx, instance, now).await?;
    refresh(&mut tx, &[instance], now).await?;
    tx.commit().await?;
    Ok(())
}

/// Wakes the senders of all servers when the transaction commits.
pub(super) async fn notify(conn: &mut PgConnection, instances: &[InstanceId]) -> Result<()> {
    sqlx::query("select pg_notify($1, id::text) from unnest($2::uuid[]) as n (id)")
        .bind(CHANNEL)
        .bind(ids(instances))
        .execute(conn)
        .await?;
    Ok(())
}

/// The queue of an instance, in the caller's transaction.
///
/// # Errors
/// `NotFound` when the organization has no such instance.
pub async fn queue(conn: &mut PgConnection, organization: OrgId, instance: InstanceId) -> Result<Queue> {
    #[derive(sqlx::FromRow)]
    struct Row {
        waiting: i64,
        sending: i64,
        unknown: i64,
        last_at: Option<Time>,
        next_due: Option<Time>,
        paused_at: Option<Time>,
        paused_by: Option<String>,
        paused_reason: String,
        failures_in_a_row: i32,
    }
    let row: Row = sqlx::query_as(
        "select o.waiting, o.sending, o.unknown, o.last_at, q.next_due, q.paused_at, q.paused_by, q.paused_reason,
                q.failures_in_a_row
         from queues q
         cross join lateral (
             select count(*) as waiting, count(*) filter (where state = 'sending') as sending,
                    count(*) filter (where state = 'unknown') as unknown,
                    max(due) filter (where state = 'queued') as last_at
             from outbox o where o.instance_id = q.instance_id) o
         where q.organization_id = $1 and q.instance_id = $2",
    )
    .bind(organization.0)
    .bind(instance.0)
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::NotFound)?;
    let head: Vec<(Uuid, String, Time, i32)> = sqlx::query_as(
        "select message_id, recipient, due, attempt from outbox
         where organization_id = $1 and instance_id = $2 and state = 'queued' order by due, seq limit 10",
    )
    .bind(organization.0)
    .bind(instance.0)
    .fetch_all(conn)
    .await?;
    Ok(Queue {
        waiting: row.waiting,
        sending: row.sending,
        unknown: row.unknown,
        next_at: row.next_due.filter(|_| row.paused_at.is_none()),
        last_at: row.last_at,
        paused_at: row.paused_at,
        paused_by: row.paused_by.as_deref().and_then(PausedBy::parse),
        paused_reason: row.paused_reason,
        failures_in_a_row: row.failures_in_a_row,
        head: head
            .into_iter()
            .map(|(id, to, due, attempt)| QueueHead { id: MessageId(id), to, due, attempt })
            .collect(),
    })
}

/// Queues whose providers may be asked whether they are connected again: failures or a lost session hold them up, for
/// a while that is the longer the more often sending found the session lost. What somebody disconnected or never
/// connected is not among them. At most 50, and not always the same ones.
///
/// # Errors
/// As the database.
pub async fn to_probe(db: &Db, now: Time) -> Result<Vec<(OrgId, InstanceId)>> {
    // A session that is lost for good is asked about while something waits for it.
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select q.organization_id, q.instance_id from queues q join instances i on i.id = q.instance_id
         where (q.paused_by = 'failures' or q.paused_by = 'session' and q.waiting > 0)
           and q.paused_at + least($2::interval * power(2, least(greatest(q.losses - 1, 0), 16)), $3::interval) <= $1
           and i.wanted and i.deleted_at is null
         order by random() limit 50",
    )
    .bind(now)
    .bind(millis(PROBE_AFTER))
    .bind(millis(LONGEST_PROBE))
    .fetch_all(db.system())
    .await?;
    Ok(rows.into_iter().map(|(organization, instance)| (OrgId(organization), InstanceId(instance))).collect())
}
