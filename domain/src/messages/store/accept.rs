//! Accepting: one transaction for many messages, after whose commit none of them is lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Db,
    error::Result,
    idempotency::{self, Answer, Claim, Claimed},
    ids::{InstanceId, KeyId, MessageId, OrgId, RequestId},
    instances::Provider,
    keys::Environment,
    messages::{Body, MessageStatus, Recipient, queue},
    throttle::{MAX_QUEUE, Pace, Random, Throttle, ThrottleMode},
    time::Time,
    webhooks::events::{self, NewEvent},
};

/// What people send from the console is spaced out as the dialog recommends for keys.
const CONSOLE: Throttle =
    Throttle { mode: ThrottleMode::Random { min_ms: 3_000, max_ms: 8_000 }, max_queue: MAX_QUEUE };
/// When to ask again about a full queue that stands still: nobody knows when it goes on.
const PAUSED_RETRY_S: u64 = 60;
/// No caller is told to wait longer than this.
const LONGEST_RETRY_S: i64 = 3_600;

/// A message that shall be sent; what can be checked without the database has been.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub organization: OrgId,
    pub instance: InstanceId,
    /// `None`: a person sends it from the console.
    pub key: Option<KeyId>,
    pub environment: Environment,
    pub to: Recipient,
    pub body: Body,
    /// The call that asks for it.
    pub request: Option<RequestId>,
    pub idempotency: Option<Claim>,
}

/// The answer to an accepted message, as the API gives it and as it is kept for repeated calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Missing in an estimate: there is no message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    pub status: MessageStatus,
    pub instance_id: InstanceId,
    /// With plus.
    pub to: String,
    pub environment: Environment,
    /// In the instance's queue; 1: nothing waits before it.
    pub position: i64,
    /// Not before this time; `None` while the queue stands still.
    pub expected_send_at: Option<Time>,
    /// `None`: no price is known.
    pub estimated_cost: Option<Cost>,
}

/// What a provider will charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Millionths of the currency.
    pub amount_micros: i64,
    /// ISO 4217; `None` when it is nothing in any currency.
    pub currency: Option<String>,
}

/// How accepting ended well.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Accepted(Accepted),
    /// The same call was answered before, with this.
    Replayed(Answer),
}

/// Why a message was not accepted. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The organization has no such instance (any more).
    NoInstance,
    /// As many of the key's messages wait on the instance as may, or the line is so long that this one would expire
    /// before its turn.
    QueueFull { retry_after_s: u64 },
    /// A person talks to the recipient.
    WithHuman { assignee: Option<String>, until: Option<Time> },
    /// The `Idempotency-Key` was used for something else.
    Mismatch,
    /// The first call with this `Idempotency-Key` is still running.
    InFlight { retry_after_s: u64 },
}

/// Accepts messages, durably: each that is answered with [`Reply::Accepted`] is in the queue when this returns. The
/// others of the batch are not affected by one that is refused.
///
/// Two calls with the same `Idempotency-Key` belong into different batches; the second would be told to wait.
///
/// # Errors
/// As the database; then nothing was accepted.
pub async fn accept(
    db: &Db,
    batch: &[NewMessage],
    now: Time,
    random: &mut (impl Random + Send),
) -> Result<Vec<Result<Reply, Refusal>>> {
    let mut tx = db.system().begin().await?;
    let answers = accept_in(&mut tx, batch, now, random).await?;
    tx.commit().await?;
    Ok(answers)
}

/// What accepting this message now would say. Nothing is written, and an `Idempotency-Key` counts for nothing.
///
/// # Errors
/// As the database.
pub async fn estimate(
    db: &Db,
    message: &NewMessage,
    now: Time,
    random: &mut (impl Random + Send),
) -> Result<Result<Accepted, Refusal>> {
    let mut tx = db.system().begin().await?;
    let batch = std::slice::from_ref(message);
    let mut desk = Desk::open(&mut tx, batch, &[0], now).await?;
    let decided = desk.decide(message, now, random);
    tx.rollback().await?;
    Ok(decided.map(|taken| Accepted { id: None, ..taken.accepted }))
}

async fn accept_in(
    tx: &mut PgConnection,
    batch: &[NewMessage],
    now: Time,
    random: &mut (impl Random + Send),
) -> Result<Vec<Result<Reply, Refusal>>> {
    let mut answers: Vec<Option<Result<Reply, Refusal>>> = vec![None; batch.len()];
    // Repeated calls first: they need nothing else. All transactions take these locks before those of queues.
    let mut first_calls = HashSet::new();
    let mut claims = Vec::new();
    for (index, message) in batch.iter().enumerate() {
        let Some(claim) = &message.idempotency else { continue };
        if first_calls.insert((claim.organization, claim.environment, claim.key.as_str())) {
            claims.push((index, claim));
        } else {
            answers[index] = Some(Err(Refusal::InFlight { retry_after_s: 1 }));
        }
    }
    let claimed = idempotency::claim(tx, &claims.iter().map(|(_, claim)| *claim).collect::<Vec<_>>(), now).await?;
    for ((index, _), claimed) in claims.iter().zip(claimed) {
        answers[*index] = match claimed {
            Claimed::First => None,
            Claimed::Done(answer) => Some(Ok(Reply::Replayed(answer))),
            Claimed::Running { retry_after_s } => Some(Err(Refusal::InFlight { retry_after_s })),
            Claimed::Mismatch => Some(Err(Refusal::Mismatch)),
        };
    }
    let open: Vec<usize> = (0..batch.len()).filter(|index| answers[*index].is_none()).collect();
    if open.is_empty() {
        return Ok(answers.into_iter().flatten().collect());
    }

    let mut desk = Desk::open(tx, batch, &open, now).await?;
    let mut rows = Rows::default();
    let mut done: Vec<(&Claim, Answer)> = Vec::new();
    let mut given_up: Vec<&Claim> = Vec::new();
    for index in open {
        let message = &batch[index];
        answers[index] = Some(match desk.decide(message, now, random) {
            Ok(taken) => {
                rows.push(message, &taken, now)?;
                if let Some(claim) = &message.idempotency {
                    let text = serde_json::to_string(&taken.accepted).map_err(crate::Error::internal)?;
                    done.push((claim, Answer { status: 202, text }));
                }
                Ok(Reply::Accepted(taken.accepted))
            }
            Err(refusal) => {
                given_up.extend(&message.idempotency);
                Err(refusal)
            }
        });
    }
    rows.insert(tx).await?;
    desk.close(tx).await?;
    idempotency::finish(tx, &done).await?;
    idempotency::abandon(tx, &given_up).await?;
    Ok(answers.into_iter().flatten().collect())
}

/// An accepted message with what the queue needs to know of it.
struct Taken {
    id: MessageId,
    accepted: Accepted,
    slot: Time,
    gap_ms: i32,
}

/// A queue while it is held.
struct Queue {
    organization: OrgId,
    provider: Provider,
    pace: Pace,
    paused_by: Option<String>,
    waiting: i64,
    /// The earliest slot that was given away now.
    earliest: Option<Time>,
    touched: bool,
}

impl Queue {
    /// Test messages rehearse: a lost session does not hold them up.
    fn stands_still(&self, environment: Environment) -> bool {
        match self.paused_by.as_deref() {
            None => false,
            Some("person") => true,
            Some(_) => environment == Environment::Live,
        }
    }
}

/// A key's messages on one instance: all that wait where the instance is crowded, and else those of this batch.
#[derive(Default)]
struct Share {
    waiting: u32,
    earliest_due: Option<Time>,
}

/// Everything that decides about a batch, read at once and held until the commit.
struct Desk {
    queues: BTreeMap<InstanceId, Queue>,
    throttles: HashMap<KeyId, Throttle>,
    shares: HashMap<(KeyId, InstanceId), Share>,
    with_human: HashMap<(InstanceId, String), (Option<String>, Option<Time>)>,
}

impl Desk {
    async fn open(tx: &mut PgConnection, batch: &[NewMessage], open: &[usize], now: Time) -> Result<Self> {
        let messages = || open.iter().map(|index| &batch[*index]);
        let mut keys: Vec<Uuid> = messages().filter_map(|message| message.key).map(|key| key.0).collect();
        keys.sort_unstable();
        keys.dedup();
        let throttles = sqlx::query!("select id, throttle from api_keys where id = any($1)", &keys)
            .fetch_all(&mut *tx)
            .await?
            .into_iter()
            .map(|row| Ok((KeyId(row.id), serde_json::from_value(row.throttle).map_err(crate::Error::internal)?)))
            .collect::<Result<_>>()?;
        // What the conversations say is asked before the queues are held: it may change at any moment anyway.
        let with_human = with_human(tx, messages().filter(|message| message.key.is_some()), now).await?;
        let mut instances: Vec<Uuid> = messages().map(|message| message.instance.0).collect();
        instances.sort_unstable();
        instances.dedup();
        let queues = sqlx::query!(
            r#"select q.instance_id, q.organization_id, i.provider, q.last_slot_at, q.in_batch, q.paused_by, q.waiting
               from queues q join instances i on i.id = q.instance_id
               where q.instance_id = any($1) and i.deleted_at is null
               order by q.instance_id for update of q"#,
            &instances,
        )
        .fetch_all(&mut *tx)
        .await?
        .into_iter()
        .map(|row| {
            let queue = Queue {
                organization: OrgId(row.organization_id),
                provider: Provider::parse(&row.provider)
                    .ok_or_else(|| crate::Error::Internal(format!("provider {}", row.provider)))?,
                pace: Pace {
                    last_slot_ms: row.last_slot_at.map(|at| at.timestamp_millis()),
                    in_batch: row.in_batch.unsigned_abs(),
                },
                paused_by: row.paused_by,
                waiting: row.waiting,
                earliest: None,
                touched: false,
            };
            Ok((InstanceId(row.instance_id), queue))
        })
        .collect::<Result<_>>()?;
        let mut desk = Self { queues, throttles, shares: HashMap::new(), with_human };
        // Statements of their own, after the lock: they see what others accepted meanwhile.
        desk.shares = shares(tx, desk.crowded(messages())).await?;
        desk.forget_freed_slots(tx, now).await?;
        Ok(desk)
    }

    /// The messages whose key may have as many on the instance as it may have: there are that many, of all keys.
    fn crowded<'a>(
        &self,
        messages: impl Iterator<Item = &'a NewMessage> + Clone,
    ) -> impl Iterator<Item = &'a NewMessage> {
        let mut coming: HashMap<InstanceId, i64> = HashMap::new();
        for message in messages.clone() {
            *coming.entry(message.instance).or_default() += 1;
        }
        messages.filter(move |message| {
            let waiting = self.queues.get(&message.instance).map_or(0, |queue| queue.waiting);
            let coming = coming.get(&message.instance).copied().unwrap_or_default();
            message.key.is_some_and(|key| waiting + coming > i64::from(self.throttle(key).max_queue))
        })
    }

    /// Its key was there when the gate looked; without it the least that a key can have holds.
    fn throttle(&self, key: KeyId) -> Throttle {
        self.throttles.get(&key).copied().unwrap_or_default()
    }

    /// Slots that were given away and are free again (cancelled, expired, sent earlier) hold nobody up.
    async fn forget_freed_slots(&mut self, tx: &mut PgConnection, now: Time) -> Result<()> {
        let paced: Vec<Uuid> =
            self.queues.iter().filter(|(_, queue)| queue.provider.is_paced()).map(|(id, _)| id.0).collect();
        if paced.is_empty() {
            return Ok(());
        }
        let lines = sqlx::query!(
            r#"select q.instance_id, q.last_sent_at,
                      (select max(due) from outbox o
                       where o.instance_id = q.instance_id and o.lane = 0 and o.state = 'queued') as last_due,
                      exists (select from outbox o where o.instance_id = q.instance_id and o.state = 'sending') as "sending!"
               from queues q where q.instance_id = any($1)"#,
            &paced,
        )
        .fetch_all(tx)
        .await?;
        for line in lines {
            let Some(queue) = self.queues.get_mut(&InstanceId(line.instance_id)) else { continue };
            let last = [line.last_sent_at, line.last_due, line.sending.then_some(now)].into_iter().flatten().max();
            let last_ms = last.map(|at| at.timestamp_millis());
            // Never later than what was given away: a message that is tried again has no slot of its own.
            queue.pace.last_slot_ms = queue.pace.last_slot_ms.and_then(|slot| last_ms.map(|last| slot.min(last)));
        }
        Ok(())
    }

    fn decide(&mut self, message: &NewMessage, now: Time, random: &mut impl Random) -> Result<Taken, Refusal> {
        let throttle = message.key.map_or(CONSOLE, |key| self.throttle(key));
        let queue = self
            .queues
            .get_mut(&message.instance)
            .filter(|queue| queue.organization == message.organization)
            .ok_or(Refusal::NoInstance)?;
        let stands_still = queue.stands_still(message.environment);
        let share = message.key.map(|key| self.shares.entry((key, message.instance)).or_default());
        if let Some(share) = &share
            && share.waiting >= throttle.max_queue
        {
            let frees = share.earliest_due.unwrap_or(now);
            let retry_after_s = match stands_still {
                true => PAUSED_RETRY_S,
                false => seconds_until(frees, now),
            };
            return Err(Refusal::QueueFull { retry_after_s });
        }
        if message.key.is_some()
            && let Some((assignee, until)) = self.with_human.get(&(message.instance, message.to.digits().to_owned()))
        {
            return Err(Refusal::WithHuman { assignee: assignee.clone(), until: *until });
        }

        let paced = queue.provider.is_paced() && message.environment == Environment::Live;
        let (slot, gap_ms) = if paced {
            let rested = queue.pace.last_slot_ms.is_none();
            let before = queue.pace;
            let slot = queue.pace.take_slot(throttle.mode, now.timestamp_millis(), random);
            // A slot in milliseconds must not fall before the moment of acceptance.
            let at = DateTime::<Utc>::from_timestamp_millis(slot.at_ms).unwrap_or(now).max(now);
            let expires_after = TimeDelta::from_std(queue::EXPIRES_AFTER).unwrap_or(TimeDelta::MAX);
            if at - now >= expires_after {
                // It would expire before its turn.
                queue.pace = before;
                return Err(Refusal::QueueFull { retry_after_s: seconds_until(at - expires_after, now) });
            }
            // The first message of a rested instance leaves at once; but if another is sent before it (`send_now`), it
            // must keep its distance, too.
            let gap_ms = if rested { gap(throttle.mode, random) } else { slot.gap_ms };
            // A gap of nothing says that the message is not paced.
            let least = if throttle.mode == ThrottleMode::Off { 0 } else { 1 };
            (at, i32::try_from(gap_ms).unwrap_or(i32::MAX).max(least))
        } else {
            (now, 0)
        };
        queue.touched = true;
        queue.waiting += 1;
        if !stands_still {
            queue.earliest = Some(queue.earliest.map_or(slot, |earliest| earliest.min(slot)));
        }
        if let Some(share) = share {
            share.waiting += 1;
            share.earliest_due = Some(share.earliest_due.map_or(slot, |earliest| earliest.min(slot)));
        }
        let id = MessageId::new();
        let accepted = Accepted {
            id: Some(id),
            status: MessageStatus::Queued,
            instance_id: message.instance,
            to: message.to.to_string(),
            environment: message.environment,
            position: queue.waiting,
            expected_send_at: (!stands_still).then_some(slot),
            estimated_cost: cost(queue.provider, message.environment),
        };
        Ok(Taken { id, accepted, slot, gap_ms })
    }

    /// Writes what became of the queues, and wakes the senders.
    async fn close(self, tx: &mut PgConnection) -> Result<()> {
        let (mut ids, mut slots, mut batches, mut dues) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, queue) in self.queues.into_iter().filter(|(_, queue)| queue.touched) {
            ids.push(id.0);
            slots.push(queue.pace.last_slot_ms.and_then(DateTime::<Utc>::from_timestamp_millis));
            batches.push(i32::try_from(queue.pace.in_batch).unwrap_or(i32::MAX));
            dues.push(queue.earliest);
        }
        if ids.is_empty() {
            return Ok(());
        }
        // Only those are woken who would otherwise look later.
        let woken = sqlx::query_scalar!(
            r#"with before as (select instance_id, next_due from queues where instance_id = any($1)),
                    changed as (
                        update queues q set last_slot_at = n.last_slot_at, in_batch = n.in_batch, next_due = least(q.next_due, n.due)
                        from unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::timestamptz[]) as n (instance_id, last_slot_at, in_batch, due)
                        where q.instance_id = n.instance_id
                        returning q.instance_id, q.next_due)
               select c.instance_id from changed c join before b using (instance_id)
               where c.next_due is not null and c.next_due is distinct from b.next_due"#,
            &ids,
            &slots as &[Option<Time>],
            &batches,
            &dues as &[Option<Time>],
        )
        .fetch_all(&mut *tx)
        .await?;
        if !woken.is_empty() {
            sqlx::query!("select pg_notify($1, id::text) from unnest($2::uuid[]) as n (id)", queue::CHANNEL, &woken)
                .execute(tx)
                .await?;
        }
        Ok(())
    }
}

/// A gap as the mode draws it between two messages.
fn gap(mode: ThrottleMode, random: &mut impl Random) -> u32 {
    Pace { last_slot_ms: Some(0), in_batch: 0 }.take_slot(mode, 0, random).gap_ms
}

/// Whole seconds until then, at least one.
fn seconds_until(then: Time, now: Time) -> u64 {
    let ms = (then - now).num_milliseconds().clamp(0, LONGEST_RETRY_S * 1_000);
    ms.unsigned_abs().div_ceil(1_000).max(1)
}

/// Meta's prices need a rate card; the sandbox and a WAHA account cost nothing for each message.
fn cost(provider: Provider, environment: Environment) -> Option<Cost> {
    match (provider, environment) {
        (Provider::CloudApi, Environment::Live) => None,
        _ => Some(Cost { amount_micros: 0, currency: None }),
    }
}

type Humans = HashMap<(InstanceId, String), (Option<String>, Option<Time>)>;

/// Conversations that a person has taken over.
async fn with_human<'a>(
    tx: &mut PgConnection,
    messages: impl Iterator<Item = &'a NewMessage>,
    now: Time,
) -> Result<Humans> {
    let (mut organizations, mut instances, mut contacts) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages {
        organizations.push(message.organization.0);
        instances.push(message.instance.0);
        contacts.push(message.to.digits());
    }
    if instances.is_empty() {
        return Ok(Humans::new());
    }
    Ok(sqlx::query!(
        "select c.instance_id, c.contact, c.assignee, c.until
         from unnest($1::uuid[], $2::uuid[], $3::text[]) as n (organization_id, instance_id, contact)
         join conversations c using (organization_id, instance_id, contact)
         where c.state = 'human' and (c.until is null or c.until > $4)",
        &organizations,
        &instances,
        &contacts as &[&str],
        now,
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(|row| ((InstanceId(row.instance_id), row.contact), (row.assignee, row.until)))
    .collect())
}

/// What waits of the messages' keys on their instances. Counting takes as long as the line is.
async fn shares<'a>(
    tx: &mut PgConnection,
    messages: impl Iterator<Item = &'a NewMessage>,
) -> Result<HashMap<(KeyId, InstanceId), Share>> {
    let pairs: HashSet<(Uuid, Uuid)> =
        messages.filter_map(|message| Some((message.key?.0, message.instance.0))).collect();
    let (keys, instances): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().unzip();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(sqlx::query!(
        r#"select n.key_id as "key_id!", n.instance_id as "instance_id!", o.waiting as "waiting!", o.earliest_due
           from unnest($1::uuid[], $2::uuid[]) as n (key_id, instance_id)
           cross join lateral (
               select count(*) as waiting, min(due) filter (where state = 'queued') as earliest_due
               from outbox o where o.key_id = n.key_id and o.instance_id = n.instance_id) o"#,
        &keys,
        &instances,
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(|row| {
        let share = Share { waiting: u32::try_from(row.waiting).unwrap_or(u32::MAX), earliest_due: row.earliest_due };
        ((KeyId(row.key_id), InstanceId(row.instance_id)), share)
    })
    .collect())
}

/// The accepted messages of a batch, column by column.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    organizations: Vec<Uuid>,
    instances: Vec<Uuid>,
    keys: Vec<Option<Uuid>>,
    environments: Vec<&'static str>,
    recipients: Vec<String>,
    kinds: Vec<&'static str>,
    template_names: Vec<Option<String>>,
    template_languages: Vec<Option<String>>,
    bodies: Vec<Value>,
    requests: Vec<Option<Uuid>>,
    slots: Vec<Time>,
    gaps: Vec<i32>,
    now: Time,
    events: Vec<NewEvent>,
}

impl Rows {
    fn push(&mut self, message: &NewMessage, taken: &Taken, now: Time) -> Result<()> {
        let template = message.body.template();
        self.ids.push(taken.id.0);
        self.organizations.push(message.organization.0);
        self.instances.push(message.instance.0);
        self.keys.push(message.key.map(|key| key.0));
        self.environments.push(message.environment.as_str());
        self.recipients.push(message.to.digits().to_owned());
        self.kinds.push(message.body.kind());
        self.template_names.push(template.map(|template| template.name.clone()));
        self.template_languages.push(template.map(|template| template.language.code.clone()));
        self.bodies.push(serde_json::to_value(&message.body).map_err(crate::Error::internal)?);
        self.requests.push(message.request.map(|request| request.0));
        self.slots.push(taken.slot);
        self.gaps.push(taken.gap_ms);
        self.now = now;
        self.events.push(NewEvent {
            organization: message.organization,
            environment: message.environment,
            kind: "message.queued",
            at: now,
            data: json!({
                "id": taken.id,
                "instanceId": message.instance,
                "to": message.to.to_string(),
                "status": MessageStatus::Queued,
                "environment": message.environment,
                "keyId": message.key,
                "at": now,
            }),
            message: Some(taken.id),
            key: message.key,
        });
        Ok(())
    }

    async fn insert(self, tx: &mut PgConnection) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "with n as (
                 select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                                      $8::text[], $9::text[], $10::jsonb[], $11::uuid[], $12::timestamptz[], $13::int[])
                     with ordinality
                     as n (id, organization_id, instance_id, key_id, environment, recipient, kind, template_name,
                           template_language, body, request_id, slot_at, gap_ms, place)),
             kept as (
                 insert into messages (id, organization_id, instance_id, key_id, environment, recipient, kind, template_name,
                                       template_language, body, status, status_rank, status_at, accepted_at, slot_at, request_id)
                 select id, organization_id, instance_id, key_id, environment, recipient, kind, template_name,
                        template_language, body, 'queued', 0, $14, $14, slot_at, request_id from n),
             begun as (
                 insert into message_steps (message_id, organization_id, at, status)
                 select id, organization_id, $14, 'queued' from n)
             insert into outbox (message_id, organization_id, instance_id, key_id, environment, recipient, due, gap_ms, expires_at)
             select id, organization_id, instance_id, key_id, environment, recipient, slot_at, gap_ms, $15 from n order by place",
            &self.ids,
            &self.organizations,
            &self.instances,
            &self.keys as &[Option<Uuid>],
            &self.environments as &[&str],
            &self.recipients,
            &self.kinds as &[&str],
            &self.template_names as &[Option<String>],
            &self.template_languages as &[Option<String>],
            &self.bodies,
            &self.requests as &[Option<Uuid>],
            &self.slots,
            &self.gaps,
            self.now,
            self.now + TimeDelta::from_std(queue::EXPIRES_AFTER).unwrap_or(TimeDelta::MAX),
        )
        .execute(&mut *tx)
        .await?;
        events::emit(tx, &self.events).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_whole_seconds() {
        let now = Utc::now();
        let after = |ms| seconds_until(now + TimeDelta::milliseconds(ms), now);
        assert_eq!(after(-5_000), 1);
        assert_eq!(after(0), 1);
        assert_eq!(after(1_000), 1);
        assert_eq!(after(1_001), 2);
        assert_eq!(after(90_000_000), 3_600);
    }

    #[test]
    fn only_meta_has_prices() {
        assert_eq!(cost(Provider::CloudApi, Environment::Live), None);
        for (provider, environment) in [
            (Provider::CloudApi, Environment::Test),
            (Provider::Sandbox, Environment::Live),
            (Provider::Waha, Environment::Live),
        ] {
            assert_eq!(cost(provider, environment), Some(Cost { amount_micros: 0, currency: None }));
        }
    }
}
