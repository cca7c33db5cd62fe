//! Taking what is due, so that no other server takes it.

use std::collections::HashMap;

use chrono::TimeDelta;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    AT_ONCE, AT_ONCE_SANDBOX, CLOUD_API_A_SECOND, LEASE, millis,
    pause::{lock, refresh},
    record::{Step, insert_steps},
};
use crate::{
    Db,
    error::Result,
    ids::{InstanceId, KeyId, MessageId, OrgId},
    keys::Environment,
    messages::{Body, MessageStatus, Recipient},
    time::Time,
};

/// Messages that one claim takes.
const BATCH: usize = 64;
/// Queues that one claim looks at and holds until its commit. A queue costs a claim more than a message does
/// (`benches/README.md`), so a claim takes many messages out of few queues.
const QUEUES: usize = 16;
/// Rows of each lane that one claim looks at in all its queues: what it may need, and some that wait for others.
const LOOK: usize = 128;
/// A message that waits for an earlier one to the same recipient is put out of the way for this long; the end of the
/// earlier one calls it back sooner.
const ASIDE: TimeDelta = TimeDelta::seconds(2);
/// A message that leaves this late (the server was down, the provider slow) has others behind it whose promised times
/// are wrong by now.
const LATE: TimeDelta = TimeDelta::seconds(10);
/// For which [`CLOUD_API_A_SECOND`] holds.
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A message that this server has, and no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub id: MessageId,
    pub organization: OrgId,
    pub instance: InstanceId,
    /// `None`: sent from the console.
    pub key: Option<KeyId>,
    /// `Test` goes to the sandbox, whatever the instance.
    pub environment: Environment,
    pub to: Recipient,
    /// `None` when it was erased meanwhile.
    pub body: Option<Body>,
    /// How often it was begun, this time included. With the id it names this claim.
    pub attempt: i32,
    /// When it was to leave.
    pub due: Time,
    /// It is one of a paced line.
    pub paced: bool,
}

impl Claimed {
    /// The promises made to those behind it are to be worked out anew ([`super::catch_up`]).
    pub fn is_late(&self, now: Time) -> bool {
        self.paced && now - self.due > LATE
    }
}

#[derive(sqlx::FromRow)]
struct Due {
    instance_id: Uuid,
    last_sent_at: Option<Time>,
    paused_by: Option<String>,
    sandbox: bool,
    cloud_api: bool,
    begun: Vec<Time>,
}

impl Due {
    /// How many live messages may be begun at `now`, while so many unpaced ones are being sent.
    fn places(&self, busy_free: i64, now: Time) -> i64 {
        let at_once = if self.sandbox { AT_ONCE_SANDBOX } else { AT_ONCE };
        let places = at_once - busy_free;
        if !self.cloud_api {
            return places;
        }
        let begun = self.begun.iter().filter(|at| **at > now - SECOND).count();
        places.min(i64::try_from(CLOUD_API_A_SECOND.saturating_sub(begun)).unwrap_or(i64::MAX))
    }
}

#[derive(sqlx::FromRow)]
struct Candidate {
    instance_id: Uuid,
    message_id: Uuid,
    lane: i16,
    due: Time,
    seq: i64,
    gap_ms: i32,
    /// An earlier message to the same recipient has not left yet.
    blocked: bool,
    /// What is being sent of the same queue, lane by lane.
    busy_paced: i64,
    busy_free: i64,
    busy_test: i64,
}

/// Takes up to `free` messages, and no more than 64, that are due at `now`, for `server`. They are durably its own when
/// this returns, until [`LEASE`] later or [`renew`].
///
/// # Errors
/// As the database; then nothing is claimed.
pub async fn claim(db: &Db, server: Uuid, free: usize, now: Time) -> Result<Vec<Claimed>> {
    let free = free.min(BATCH);
    let mut tx = db.system().begin().await?;
    let due = due_queues(&mut tx, free.min(QUEUES), now).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let candidates = candidates(&mut tx, &due, now).await?;
    let mut by_queue: HashMap<Uuid, Vec<Candidate>> = HashMap::new();
    for candidate in candidates {
        by_queue.entry(candidate.instance_id).or_default().push(candidate);
    }
    let mut choice = Choice { room: free, ..Choice::default() };
    for queue in &due {
        choice.choose(queue, by_queue.remove(&queue.instance_id).unwrap_or_default(), now);
    }
    set_aside(&mut tx, &choice.aside, now).await?;
    note_begun(&mut tx, &choice.begun, now).await?;
    let claimed = take(&mut tx, server, &choice.taken, now).await?;
    refresh(&mut tx, &due.iter().map(|queue| InstanceId(queue.instance_id)).collect::<Vec<_>>(), now).await?;
    tx.commit().await?;
    Ok(claimed)
}

/// When the next queue must be looked at; `None` while nothing waits anywhere.
///
/// # Errors
/// As the database.
pub async fn next_due(db: &Db) -> Result<Option<Time>> {
    Ok(sqlx::query_scalar("select next_due from queues where next_due is not null order by next_due limit 1")
        .fetch_optional(db.system())
        .await?)
}

async fn due_queues(tx: &mut PgConnection, limit: usize, now: Time) -> Result<Vec<Due>> {
    Ok(sqlx::query_as(
        "with due as materialized (
             select * from queues where next_due <= $1 order by next_due limit $2 for update skip locked)
         select q.instance_id, q.last_sent_at, q.paused_by, q.begun, i.provider = 'sandbox' as sandbox,
                i.provider = 'cloud_api' as cloud_api
         from due q join instances i on i.id = q.instance_id
         order by q.next_due",
    )
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(tx)
    .await?)
}

/// The first rows of each lane, with the question answered whether an earlier message to the recipient is in the way.
/// A statement of its own: it sees what those did who held the queues before.
async fn candidates(tx: &mut PgConnection, due: &[Due], now: Time) -> Result<Vec<Candidate>> {
    let share = LOOK / due.len();
    Ok(sqlx::query_as(
        "select o.*, busy.*
         from unnest($1::uuid[]) as q (instance_id)
         cross join lateral (select count(*) filter (where b.lane = 0) as busy_paced,
                                    count(*) filter (where b.lane = 1) as busy_free,
                                    count(*) filter (where b.lane = 2) as busy_test
                             from outbox b where b.instance_id = q.instance_id and b.state = 'sending') busy
         cross join (values (0), (1), (2)) as lanes (lane)
         cross join lateral (
             select o.instance_id, o.message_id, o.lane, o.due, o.seq, o.gap_ms,
                    exists (select from outbox e
                            where e.instance_id = o.instance_id and e.recipient = o.recipient and e.seq < o.seq) as blocked
             from outbox o
             where o.instance_id = q.instance_id and o.lane = lanes.lane and o.state = 'queued' and o.due <= $2
             order by o.due, o.seq limit $3) o",
    )
    .bind(due.iter().map(|queue| queue.instance_id).collect::<Vec<_>>())
    .bind(now)
    .bind(i64::try_from(share).unwrap_or(i64::MAX))
    .fetch_all(tx)
    .await?)
}

#[derive(Default)]
struct Choice {
    room: usize,
    taken: Vec<Uuid>,
    /// They wait for another message to the same recipient.
    aside: Vec<Uuid>,
    /// Live messages that are begun now, by Cloud API number.
    begun: Vec<(Uuid, usize)>,
}

impl Choice {
    fn choose(&mut self, queue: &Due, mut candidates: Vec<Candidate>, now: Time) {
        candidates.sort_unstable_by_key(|c| (c.due, c.seq));
        self.aside.extend(candidates.iter().filter(|c| c.blocked).map(|c| c.message_id));
        let (test, live): (Vec<_>, Vec<_>) = candidates.into_iter().filter(|c| !c.blocked).partition(|c| c.lane == 2);
        if queue.paused_by.is_none() {
            let before = self.taken.len();
            self.choose_live(queue, live, now);
            if queue.cloud_api && self.taken.len() > before {
                self.begun.push((queue.instance_id, self.taken.len() - before));
            }
        }
        if queue.paused_by.as_deref() != Some("person") {
            let places = test.first().map_or(0, |first| AT_ONCE_SANDBOX - first.busy_test);
            for candidate in test.into_iter().take(usize::try_from(places).unwrap_or(0)) {
                self.take(candidate.message_id);
            }
        }
    }

    /// In the order of due times: a paced message waits for its distance and for all others, and what is behind it
    /// waits for it.
    fn choose_live(&mut self, queue: &Due, live: Vec<Candidate>, now: Time) {
        let Some(first) = live.first() else { return };
        let mut places = queue.places(first.busy_free, now);
        let mut alone = first.busy_paced + first.busy_free == 0;
        for candidate in live {
            if candidate.lane == 0 {
                let gap = TimeDelta::milliseconds(candidate.gap_ms.into());
                if alone && queue.last_sent_at.is_none_or(|last| last + gap <= now) {
                    self.take(candidate.message_id);
                }
                return;
            }
            if places <= 0 || !self.take(candidate.message_id) {
                return;
            }
            places -= 1;
            alone = false;
        }
    }

    fn take(&mut self, message: Uuid) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.taken.push(message);
        true
    }
}

async fn set_aside(tx: &mut PgConnection, messages: &[Uuid], now: Time) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    sqlx::query("update outbox set due = $2 where message_id = any($1) and state = 'queued'")
        .bind(messages)
        .bind(now + ASIDE)
        .execute(tx)
        .await?;
    Ok(())
}

/// Remembers what is begun, for as long as it counts. What is given back before it was sent counts too: that is rare,
/// and fewer than Meta takes never hurts.
async fn note_begun(tx: &mut PgConnection, begun: &[(Uuid, usize)], now: Time) -> Result<()> {
    if begun.is_empty() {
        return Ok(());
    }
    let (instances, counts): (Vec<Uuid>, Vec<i32>) =
        begun.iter().map(|(instance, count)| (*instance, i32::try_from(*count).unwrap_or(i32::MAX))).unzip();
    // Sorted, because the clocks of two servers may differ a little.
    sqlx::query(
        "update queues q
         set begun = array(select b.at from unnest(q.begun || array_fill($3::timestamptz, array[n.count])) as b (at)
                           where b.at > $4 order by b.at)
         from unnest($1::uuid[], $2::integer[]) as n (instance_id, count)
         where q.instance_id = n.instance_id",
    )
    .bind(instances)
    .bind(counts)
    .bind(now)
    .bind(now - SECOND)
    .execute(tx)
    .await?;
    Ok(())
}

async fn take(tx: &mut PgConnection, server: Uuid, messages: &[Uuid], now: Time) -> Result<Vec<Claimed>> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(
        "with taken as (
             update outbox set state = 'sending', server_id = $2, lease_until = $3, attempt = attempt + 1
             where message_id = any($1) and state = 'queued'
             returning message_id, organization_id, instance_id, key_id, environment, recipient, attempt, due, lane),
         bodies as (
             update messages m set status = 'sending', status_rank = 1, status_at = $4
             from taken where m.id = taken.message_id and m.id = any($1)
             returning m.id, m.body),
         steps as (
             insert into message_steps (message_id, organization_id, at, status, detail)
             select message_id, organization_id, $4, 'sending', case when attempt > 1 then 'attempt ' || attempt else '' end
             from taken)
         select taken.*, bodies.body from taken left join bodies on bodies.id = taken.message_id",
    )
    .bind(messages)
    .bind(server)
    .bind(now + millis(LEASE))
    .bind(now)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Row::into_claimed).collect()
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    message_id: Uuid,
    organization_id: Uuid,
    instance_id: Uuid,
    key_id: Option<Uuid>,
    environment: String,
    recipient: String,
    attempt: i32,
    due: Time,
    lane: i16,
    body: Option<Json<Body>>,
}

impl Row {
    pub(super) fn into_claimed(self) -> Result<Claimed> {
        Ok(Claimed {
            id: MessageId(self.message_id),
            organization: OrgId(self.organization_id),
            instance: InstanceId(self.instance_id),
            key: self.key_id.map(KeyId),
            // The column has a check constraint; anything else goes nowhere real.
            environment: Environment::parse(&self.environment).unwrap_or(Environment::Test),
            to: Recipient::from_digits(&self.recipient).map_err(crate::Error::Internal)?,
            body: self.body.map(|body| body.0),
            attempt: self.attempt,
            due: self.due,
            paced: self.lane == 0,
        })
    }
}

/// Claims that this server still works on stay its own for another [`LEASE`]. Returns those of which that is true: the
/// others were taken for lost by another server, or are written down already.
///
/// # Errors
/// As the database.
pub async fn renew(db: &Db, server: Uuid, messages: &[MessageId], now: Time) -> Result<Vec<MessageId>> {
    let renewed: Vec<Uuid> = sqlx::query_scalar(
        "update outbox o set lease_until = $3
         from (select message_id from outbox
               where message_id = any($1) and server_id = $2 and state = 'sending'
               order by message_id for update) held
         where o.message_id = held.message_id
         returning o.message_id",
    )
    .bind(messages.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(server)
    .bind(now + millis(LEASE))
    .fetch_all(db.system())
    .await?;
    Ok(renewed.into_iter().map(MessageId).collect())
}

/// Gives back claims whose sending has not begun: when the server stops, or when its turn came too late. That holds
/// also for those that another server has taken for lost meanwhile.
///
/// # Errors
/// As the database; then the lease runs out, and they are asked about.
pub async fn release(db: &Db, server: Uuid, claims: &[Claimed], now: Time) -> Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    let instances: Vec<InstanceId> = claims.iter().map(|claim| claim.instance).collect();
    let mut tx = db.system().begin().await?;
    lock(&mut tx, &instances).await?;
    let back: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "update outbox o set state = 'queued', server_id = null, lease_until = null, unknown_at = null,
                             attempt = o.attempt - 1
         from unnest($1::uuid[], $2::integer[]) as n (message_id, attempt)
         where o.message_id = n.message_id and o.attempt = n.attempt
           and (o.state = 'sending' and o.server_id = $3 or o.state = 'unknown')
           -- Of a deleted instance: found out about, which ends it.
           and exists (select from queues q where q.instance_id = o.instance_id)
         returning o.message_id, o.organization_id",
    )
    .bind(claims.iter().map(|claim| claim.id.0).collect::<Vec<_>>())
    .bind(claims.iter().map(|claim| claim.attempt).collect::<Vec<_>>())
    .bind(server)
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query("update messages set status = 'queued', status_rank = 0, status_at = $2 where id = any($1) and status_rank <= 2")
        .bind(back.iter().map(|(message, _)| *message).collect::<Vec<_>>())
        .bind(now)
        .execute(&mut *tx)
        .await?;
    insert_steps(
        &mut tx,
        back.iter().map(|(message, organization)| Step {
            message: MessageId(*message),
            organization: OrgId(*organization),
            at: now,
            status: MessageStatus::Queued,
            detail: "given back before it was begun".into(),
        }),
    )
    .await?;
    refresh(&mut tx, &instances, now).await?;
    super::pause::notify(&mut tx, &instances).await?;
    tx.commit().await?;
    Ok(())
}
