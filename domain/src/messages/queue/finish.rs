//! Writing down how attempts to send ended.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    ASK_AFTER, Claimed, FAILURES_TO_PAUSE, LONGEST_RETRY, PausedBy, RETRY_AFTER, UNCONFIRMED_AFTER, millis,
    pause::{lock, pause, refresh},
    record::{COLUMNS, Change, Message, apply},
};
use crate::{
    Db, conversations,
    error::Result,
    ids::{InstanceId, MessageId, OrgId},
    messages::{MessageStatus, StatusUpdate},
    time::{self, Time},
};

/// Begun more often than this, a message is given up: something about it keeps ending the attempt.
const MOST_ATTEMPTS: i32 = 10;

/// It has left.
const SENT: [MessageStatus; 3] = [MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Read];

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The provider took it.
    Sent {
        provider_message_id: String,
        /// What the sandbox will say later.
        then: Vec<ScheduledStatus>,
    },
    /// It certainly did not leave; later it may.
    Retry {
        code: String,
        message: String,
        /// As the provider asked.
        after: Option<Duration>,
        /// The provider works and only wants less of us: this does not count as its failure.
        throttled: bool,
    },
    /// It will never leave like this.
    Failed { code: String, message: String },
    /// It may have left: the answer was lost.
    Unknown { message: String },
    /// It did not leave because the number is not connected.
    Disconnected { code: String, message: String },
}

/// A status that the sandbox has in store.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledStatus {
    pub status: MessageStatus,
    pub after: Duration,
    /// Code and sentence, when it fails.
    pub error: Option<(String, String)>,
}

/// A claim whose attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub id: MessageId,
    pub instance: InstanceId,
    /// As [`Claimed::attempt`].
    pub attempt: i32,
    pub outcome: Outcome,
    pub at: Time,
}

impl Finished {
    pub fn new(claim: &Claimed, outcome: Outcome, at: Time) -> Self {
        Self { id: claim.id, instance: claim.instance, attempt: claim.attempt, outcome, at }
    }
}

/// An instance whose number is not connected: its queue was paused.
#[derive(Debug, Clone, PartialEq)]
pub struct LostConnection {
    pub organization: OrgId,
    pub instance: InstanceId,
    /// What the provider said.
    pub message: String,
}

/// Writes the ends of attempts in one transaction, and says which numbers turned out not to be connected.
///
/// An end counts as long as the message still stands where the attempt left it, even if another server has meanwhile
/// taken this one for lost. What was sent is written down wherever it stands: it must not be sent again.
///
/// # Errors
/// As the database; then nothing was written, and it may be tried again.
pub async fn finish(db: &Db, finished: &[Finished], now: Time) -> Result<Vec<LostConnection>> {
    if finished.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.system().begin().await?;
    let instances: Vec<InstanceId> = finished.iter().map(|end| end.instance).collect();
    lock(&mut tx, &instances).await?;
    let rows = outbox_rows(&mut tx, finished.iter().map(|end| end.id.0).collect()).await?;
    let mut batch = Batch::default();
    let mut without_row = Vec::new();
    for end in finished {
        match rows.get(&end.id.0) {
            Some(row) => batch.decide(row, end, now),
            None => without_row.push(end),
        }
    }
    let lost = batch.write(&mut tx, now).await?;
    told_late(&mut tx, &without_row, now).await?;
    refresh(&mut tx, &instances, now).await?;
    tx.commit().await?;
    Ok(lost)
}

/// Ends of attempts whose messages have left the outbox: an acknowledgement was faster, or they were given up as
/// `unknown`. A status only moves forward.
async fn told_late(conn: &mut PgConnection, ends: &[&Finished], now: Time) -> Result<()> {
    let mut changes: HashMap<Uuid, Change> = HashMap::new();
    for end in ends {
        let change = match &end.outcome {
            Outcome::Sent { provider_message_id, .. } => {
                let mut change = Change::new(MessageStatus::Sent, end.at);
                change.provider_message_id = Some(provider_message_id.clone());
                change
            }
            Outcome::Failed { code, message } => Change::failed(MessageStatus::Failed, end.at, code, message),
            // Nothing that would be worth more than what is known already.
            Outcome::Retry { .. } | Outcome::Unknown { .. } | Outcome::Disconnected { .. } => continue,
        };
        changes.insert(end.id.0, change);
    }
    if changes.is_empty() {
        return Ok(());
    }
    let rows = messages(conn, &changes.keys().copied().collect::<Vec<_>>()).await?;
    let mut told: Vec<(Message, Vec<Change>)> = rows
        .into_iter()
        .filter_map(|(id, message)| Some((message, vec![changes.remove(&id)?])))
        // What failed for an attempt that was given up says nothing about a message that left with another one.
        .filter(|(message, changes)| {
            changes.iter().all(|change| change.status == MessageStatus::Sent)
                || message.status_rank <= MessageStatus::Unknown.rank()
        })
        .collect();
    apply(conn, &mut told, false).await?;
    overtaken(conn, &told, now).await
}

/// A row of the outbox, held.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Waiting {
    pub message_id: Uuid,
    pub organization_id: Uuid,
    pub instance_id: Uuid,
    pub recipient: String,
    pub seq: i64,
    pub lane: i16,
    pub state: String,
    pub attempt: i32,
    pub retries: i32,
    pub lease_until: Option<Time>,
    pub unknown_at: Option<Time>,
    pub expires_at: Time,
    /// Its instance is a sandbox.
    pub sandbox: bool,
    /// Its instance was deleted: it has no queue to wait in.
    pub homeless: bool,
}

impl Waiting {
    /// It goes to WhatsApp, not to the sandbox.
    fn is_real(&self) -> bool {
        self.lane != 2 && !self.sandbox
    }
}

/// Holds rows of the outbox; those of messages that have left are not there.
pub(super) async fn outbox_rows(conn: &mut PgConnection, messages: Vec<Uuid>) -> Result<HashMap<Uuid, Waiting>> {
    let rows: Vec<Waiting> = sqlx::query_as(
        "select o.message_id, o.organization_id, o.instance_id, o.recipient, o.seq, o.lane, o.state, o.attempt,
                o.retries, o.lease_until, o.unknown_at, o.expires_at, i.provider = 'sandbox' as sandbox,
                i.deleted_at is not null as homeless
         from outbox o join instances i on i.id = o.instance_id
         where o.message_id = any($1) order by o.message_id for update of o",
    )
    .bind(messages)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.message_id, row)).collect())
}

/// What is to be written about rows of the outbox.
#[derive(Default)]
pub(super) struct Batch {
    /// They leave the outbox.
    gone: Vec<(Waiting, Change)>,
    /// They stay in it.
    back: Vec<(Waiting, Change, Stay)>,
    /// Of them: nobody knows whether they arrived, since then.
    open: Vec<(Uuid, Uuid, Time)>,
    scheduled: Vec<(Waiting, ScheduledStatus, Time)>,
    /// For each instance in order: did the provider fail (`Some(sentence)`) or work (`None`)?
    health: Vec<(InstanceId, OrgId, Option<String>)>,
    /// Instances whose number was used, and when.
    used: Vec<(InstanceId, Time)>,
    lost: Vec<LostConnection>,
}

#[derive(Debug, Clone, Copy)]
enum Stay {
    /// It waits, from then on.
    Queued { due: Option<Time>, retries: i32 },
    /// It may have left; to be asked about at that time.
    Unknown { ask_at: Time },
}

impl Batch {
    fn decide(&mut self, row: &Waiting, end: &Finished, now: Time) {
        let ours = row.attempt == end.attempt && row.state != "queued";
        if !ours && !matches!(end.outcome, Outcome::Sent { .. }) {
            tracing::warn!(message = %end.id, attempt = end.attempt, "an attempt ended after it was given up for lost");
            return;
        }
        let instance = InstanceId(row.instance_id);
        let organization = OrgId(row.organization_id);
        let real = row.is_real();
        let mut used = real;
        match &end.outcome {
            Outcome::Sent { provider_message_id, then } => {
                self.sent(row, provider_message_id.clone(), end.at);
                self.scheduled.extend(then.iter().map(|status| (row.clone(), status.clone(), end.at)));
                if real {
                    self.health.push((instance, organization, None));
                }
            }
            Outcome::Failed { code, message } => {
                self.gone.push((row.clone(), Change::failed(MessageStatus::Failed, end.at, code, message)));
                if real {
                    self.health.push((instance, organization, None));
                }
            }
            Outcome::Retry { code, message, after, throttled } => {
                used = false;
                if real && !throttled {
                    self.health.push((instance, organization, Some(message.clone())));
                }
                self.retry(row, end.at, code, message, *after);
            }
            Outcome::Unknown { message } => {
                if real {
                    self.health.push((instance, organization, Some(message.clone())));
                }
                self.unknown(row, end.at, message.clone(), now);
            }
            Outcome::Disconnected { .. } if row.homeless => {
                used = false;
                self.orphaned(row, end.at);
            }
            Outcome::Disconnected { code, message } => {
                used = false;
                let mut change = Change::failed(MessageStatus::Queued, end.at, code, message);
                change.error = None;
                change.detail = format!("the number is not connected: {message}");
                self.back.push((row.clone(), change, Stay::Queued { due: None, retries: row.retries }));
                self.lost.push(LostConnection { organization, instance, message: message.clone() });
            }
        }
        if used {
            self.used.push((instance, end.at));
        }
    }

    pub fn sent(&mut self, row: &Waiting, provider_message_id: String, at: Time) {
        let mut change = Change::new(MessageStatus::Sent, at);
        change.provider_message_id = Some(provider_message_id);
        change.told_late = true;
        self.gone.push((row.clone(), change));
    }

    /// It did not leave, and its instance is gone.
    fn orphaned(&mut self, row: &Waiting, at: Time) {
        let sentence = "The instance was deleted before it left.";
        self.gone.push((row.clone(), Change::failed(MessageStatus::Failed, at, "instance_deleted", sentence)));
    }

    fn retry(&mut self, row: &Waiting, at: Time, code: &str, message: &str, after: Option<Duration>) {
        if row.homeless {
            return self.orphaned(row, at);
        }
        let tried = usize::try_from(row.retries).unwrap_or(usize::MAX);
        let Some(wait) = RETRY_AFTER.get(tried) else {
            self.gone.push((row.clone(), Change::failed(MessageStatus::Failed, at, code, message)));
            return;
        };
        // The provider knows best when it wants to hear of us again; "at once" says nothing.
        let wait = after.filter(|after| !after.is_zero()).map_or(*wait, |after| after.min(LONGEST_RETRY));
        let mut change = Change::new(MessageStatus::Queued, at);
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        change.detail = format!("{message} Next attempt in {}.", time::duration_ms(milliseconds));
        let stay = Stay::Queued { due: Some(at + millis(wait)), retries: row.retries + 1 };
        self.back.push((row.clone(), change, stay));
    }

    pub fn unknown(&mut self, row: &Waiting, at: Time, why: String, now: Time) {
        let mut change = Change::new(MessageStatus::Unknown, at);
        change.detail = why;
        self.back.push((row.clone(), change, Stay::Unknown { ask_at: now + millis(ASK_AFTER) }));
    }

    /// It never arrived there: it waits again, at the head of what waits.
    pub fn not_there(&mut self, row: &Waiting, at: Time) {
        if row.homeless {
            return self.orphaned(row, at);
        }
        if row.attempt >= MOST_ATTEMPTS {
            let sentence = format!("Given up after {MOST_ATTEMPTS} attempts that ended without an answer.");
            self.gone.push((row.clone(), Change::failed(MessageStatus::Failed, at, "gave_up", &sentence)));
            return;
        }
        let mut change = Change::new(MessageStatus::Queued, at);
        change.detail = "the provider does not have it: it is sent again".into();
        self.back.push((row.clone(), change, Stay::Queued { due: Some(at), retries: row.retries }));
    }

    /// Nobody can tell; the provider's acknowledgement will, or nothing.
    pub fn left_open(&mut self, row: &Waiting, at: Time) {
        let mut change = Change::new(MessageStatus::Unknown, at);
        change.detail = "the provider cannot tell whether it has it; it is not sent again".into();
        change.told_late = true;
        self.gone.push((row.clone(), change));
        self.open.push((row.message_id, row.organization_id, at));
    }

    pub fn over(&mut self, row: &Waiting, change: Change) {
        self.gone.push((row.clone(), change));
    }

    pub fn uses(&mut self, row: &Waiting, at: Time) {
        if row.is_real() {
            self.used.push((InstanceId(row.instance_id), at));
        }
    }

    /// Writes it all. The queues are held by the caller, who refreshes them afterwards.
    pub async fn write(mut self, conn: &mut PgConnection, now: Time) -> Result<Vec<LostConnection>> {
        let ids: Vec<Uuid> = self
            .gone
            .iter()
            .map(|(row, _)| row)
            .chain(self.back.iter().map(|(row, ..)| row))
            .map(|row| row.message_id)
            .collect();
        let mut messages = messages(conn, &ids).await?;
        // An acknowledgement overtook the answer: the message has left, whatever its attempt thinks.
        let (left, back): (Vec<_>, Vec<_>) = std::mem::take(&mut self.back).into_iter().partition(|(row, ..)| {
            messages.get(&row.message_id).is_some_and(|message| message.status_rank >= MessageStatus::Sent.rank())
        });
        self.back = back;
        for (row, change, _) in &left {
            self.uses(row, change.at);
        }
        let out = self.gone.iter().map(|(row, _)| row).chain(left.iter().map(|(row, ..)| row));
        remove(conn, &out.collect::<Vec<_>>(), now).await?;
        keep(conn, &self.back).await?;
        let mut changes = |rows: Vec<(Uuid, Change)>| -> Vec<(Message, Vec<Change>)> {
            rows.into_iter().filter_map(|(id, change)| Some((messages.remove(&id)?, vec![change]))).collect()
        };
        let mut gone = changes(self.gone.iter().map(|(row, change)| (row.message_id, change.clone())).collect());
        let mut back = changes(self.back.iter().map(|(row, change, _)| (row.message_id, change.clone())).collect());
        apply(conn, &mut gone, false).await?;
        apply(conn, &mut back, true).await?;
        schedule(conn, &self.scheduled).await?;
        left_open(conn, &self.open).await?;
        let sent: Vec<_> = self
            .gone
            .iter()
            .filter(|(_, change)| SENT.contains(&change.status))
            .map(|(row, change)| {
                (OrgId(row.organization_id), InstanceId(row.instance_id), row.recipient.clone(), change.at)
            })
            .collect();
        conversations::store::note_sent(conn, &sent).await?;
        let left: HashSet<Uuid> = self
            .gone
            .iter()
            .filter(|(row, change)| row.is_real() && SENT.contains(&change.status))
            .map(|(row, _)| row.instance_id)
            .collect();
        note_use(conn, &self.used, &left).await?;
        note_health(conn, &self.health, now).await?;
        for lost in &self.lost {
            let reason = format!("The number is not connected: {}", lost.message);
            if pause(conn, lost.organization, lost.instance, PausedBy::Session, &reason, now).await? {
                note_loss(conn, lost.instance).await?;
            }
        }
        overtaken(conn, &gone, now).await?;
        let mut lost: Vec<LostConnection> = Vec::new();
        for one in self.lost {
            if !lost.iter().any(|known| known.instance == one.instance) {
                lost.push(one);
            }
        }
        Ok(lost)
    }
}

/// Notes messages that left the outbox without anybody knowing whether they arrived: id, organization, and since when.
///
/// # Errors
/// As the database.
pub async fn left_open(conn: &mut PgConnection, open: &[(Uuid, Uuid, Time)]) -> Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into unconfirmed (message_id, organization_id, until)
         select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
         on conflict (message_id) do nothing",
    )
    .bind(open.iter().map(|(message, ..)| *message).collect::<Vec<_>>())
    .bind(open.iter().map(|(_, organization, _)| *organization).collect::<Vec<_>>())
    .bind(open.iter().map(|(.., at)| *at + millis(UNCONFIRMED_AFTER)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down that messages were cancelled which the caller, who holds their queues, took out of the outbox.
///
/// # Errors
/// As the database.
pub async fn cancelled(conn: &mut PgConnection, ids: &[Uuid], detail: &str, now: Time) -> Result<()> {
    for ids in ids.chunks(1_000) {
        let mut change = Change::new(MessageStatus::Cancelled, now);
        change.detail = detail.into();
        let rows = messages(conn, ids).await?;
        let mut changes: Vec<_> = rows.into_values().map(|message| (message, vec![change.clone()])).collect();
        apply(conn, &mut changes, false).await?;
    }
    Ok(())
}

pub(super) async fn messages(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Message>> {
    let sql = format!("select {COLUMNS} from messages m where m.id = any($1) order by m.id for update");
    let rows: Vec<Message> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(ids).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|message| (message.id, message)).collect())
}

/// Takes rows out of the outbox, and calls the next message to each recipient back.
async fn remove(conn: &mut PgConnection, gone: &[&Waiting], now: Time) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from outbox where message_id = any($1)")
        .bind(gone.iter().map(|row| row.message_id).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
    let lines: Vec<_> = gone.iter().map(|row| (row.instance_id, row.recipient.as_str())).collect();
    call_next(conn, &lines, now).await
}

/// Calls the next message to each of these recipients (of these instances) back from where it was set aside.
pub(in crate::messages) async fn call_next(conn: &mut PgConnection, lines: &[(Uuid, &str)], now: Time) -> Result<()> {
    // Its own slot counts again; one that is being retried keeps its time.
    sqlx::query(
        "update outbox o set due = least(o.due, greatest(m.slot_at, $3))
         from (select distinct next.message_id
               from unnest($1::uuid[], $2::text[]) as n (instance_id, recipient)
               cross join lateral (select message_id from outbox e
                                   where e.instance_id = n.instance_id and e.recipient = n.recipient
                                   order by e.seq limit 1) next) next
         join messages m on m.id = next.message_id
         where o.message_id = next.message_id and o.state = 'queued' and o.retries = 0 and o.due > $3",
    )
    .bind(lines.iter().map(|(instance, _)| *instance).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, recipient)| *recipient).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts rows back, and what else waits for the same recipients behind them.
async fn keep(conn: &mut PgConnection, back: &[(Waiting, Change, Stay)]) -> Result<()> {
    if back.is_empty() {
        return Ok(());
    }
    type Back = (Waiting, Change, Stay);
    let column = |f: &dyn Fn(&Back) -> Option<Time>| back.iter().map(f).collect::<Vec<_>>();
    let due = column(&|(_, _, stay)| match stay {
        Stay::Queued { due, .. } => *due,
        Stay::Unknown { .. } => None,
    });
    let ask_at = column(&|(_, _, stay)| match stay {
        Stay::Queued { .. } => None,
        Stay::Unknown { ask_at } => Some(*ask_at),
    });
    sqlx::query(
        "update outbox o
         set state = case when n.ask_at is null then 'queued' else 'unknown' end,
             due = coalesce(n.due, o.due), retries = coalesce(n.retries, o.retries), server_id = null,
             lease_until = n.ask_at,
             unknown_at = case when n.ask_at is not null then coalesce(o.unknown_at, n.at) end
         from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::integer[], $5::timestamptz[])
              as n (message_id, due, ask_at, retries, at)
         where o.message_id = n.message_id",
    )
    .bind(back.iter().map(|(row, ..)| row.message_id).collect::<Vec<_>>())
    .bind(&due)
    .bind(&ask_at)
    .bind(
        back.iter()
            .map(|(_, _, stay)| match stay {
                Stay::Queued { retries, .. } => Some(*retries),
                Stay::Unknown { .. } => None,
            })
            .collect::<Vec<_>>(),
    )
    .bind(back.iter().map(|(_, change, _)| change.at).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "update outbox o set due = greatest(o.due, n.until)
         from unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[]) as n (instance_id, recipient, seq, until)
         where o.instance_id = n.instance_id and o.recipient = n.recipient and o.seq > n.seq and o.state = 'queued'
           and o.due < n.until",
    )
    .bind(back.iter().map(|(row, ..)| row.instance_id).collect::<Vec<_>>())
    .bind(back.iter().map(|(row, ..)| row.recipient.as_str()).collect::<Vec<_>>())
    .bind(back.iter().map(|(row, ..)| row.seq).collect::<Vec<_>>())
    .bind(due.iter().zip(&ask_at).map(|(due, ask_at)| due.or(*ask_at)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn schedule(conn: &mut PgConnection, scheduled: &[(Waiting, ScheduledStatus, Time)]) -> Result<()> {
    if scheduled.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into sandbox_statuses (message_id, instance_id, status, due, error_code, error_message)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
         on conflict (message_id, status) do nothing",
    )
    .bind(scheduled.iter().map(|(row, ..)| row.message_id).collect::<Vec<_>>())
    .bind(scheduled.iter().map(|(row, ..)| row.instance_id).collect::<Vec<_>>())
    .bind(scheduled.iter().map(|(_, status, _)| status.status.as_str()).collect::<Vec<_>>())
    .bind(scheduled.iter().map(|(_, status, at)| *at + millis(status.after)).collect::<Vec<_>>())
    .bind(
        scheduled.iter().map(|(_, status, _)| status.error.as_ref().map(|(code, _)| code.clone())).collect::<Vec<_>>(),
    )
    .bind(
        scheduled.iter().map(|(_, status, _)| status.error.as_ref().map(|(_, text)| text.clone())).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// From then on the distance to the next message counts. From the instances in `left` a message really left: they can.
async fn note_use(conn: &mut PgConnection, used: &[(InstanceId, Time)], left: &HashSet<Uuid>) -> Result<()> {
    let mut last: HashMap<Uuid, Time> = HashMap::new();
    for (instance, at) in used {
        let newest = last.entry(instance.0).or_insert(*at);
        *newest = (*newest).max(*at);
    }
    if last.is_empty() {
        return Ok(());
    }
    let (instances, times): (Vec<Uuid>, Vec<Time>) = last.into_iter().unzip();
    let sent: Vec<bool> = instances.iter().map(|instance| left.contains(instance)).collect();
    sqlx::query(
        "update queues q
         set last_sent_at = greatest(q.last_sent_at, n.at), losses = case when n.sent then 0 else q.losses end
         from unnest($1::uuid[], $2::timestamptz[], $3::boolean[]) as n (instance_id, at, sent)
         where q.instance_id = n.instance_id",
    )
    .bind(instances)
    .bind(times)
    .bind(sent)
    .execute(conn)
    .await?;
    Ok(())
}

/// Sending found the number lost once more; the session may say something else.
async fn note_loss(conn: &mut PgConnection, instance: InstanceId) -> Result<()> {
    sqlx::query("update queues set losses = losses + 1 where instance_id = $1").bind(instance.0).execute(conn).await?;
    Ok(())
}

/// Counts failures in a row, and pauses a queue after three.
async fn note_health(conn: &mut PgConnection, health: &[(InstanceId, OrgId, Option<String>)], now: Time) -> Result<()> {
    let mut counted: HashMap<InstanceId, (OrgId, bool, i32, String)> = HashMap::new();
    for (instance, organization, failure) in health {
        // (organization, a success came first, failures since, the last failure)
        let entry = counted.entry(*instance).or_insert((*organization, false, 0, String::new()));
        match failure {
            None => (entry.1, entry.2) = (true, 0),
            Some(message) => {
                entry.2 += 1;
                entry.3.clone_from(message);
            }
        }
    }
    if counted.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, i32)> = sqlx::query_as(
        "update queues q set failures_in_a_row = case when n.success then 0 else q.failures_in_a_row end + n.failures
         from unnest($1::uuid[], $2::boolean[], $3::integer[]) as n (instance_id, success, failures)
         where q.instance_id = n.instance_id and (n.failures > 0 or q.failures_in_a_row > 0)
         returning q.instance_id, q.failures_in_a_row",
    )
    .bind(counted.keys().map(|instance| instance.0).collect::<Vec<_>>())
    .bind(counted.values().map(|(_, success, ..)| *success).collect::<Vec<_>>())
    .bind(counted.values().map(|(_, _, failures, _)| *failures).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    for (instance, in_a_row) in rows {
        let instance = InstanceId(instance);
        let Some((organization, _, failures, message)) = counted.get(&instance) else { continue };
        if *failures > 0 && in_a_row >= FAILURES_TO_PAUSE {
            let reason = format!("{in_a_row} messages in a row could not be sent: {message}");
            pause(conn, *organization, instance, PausedBy::Failures, &reason, now).await?;
        }
    }
    Ok(())
}

/// Statuses that overtook the provider's own answer wait in `early_statuses`: now they are known to be ours.
async fn overtaken(conn: &mut PgConnection, gone: &[(Message, Vec<Change>)], now: Time) -> Result<()> {
    let (instances, ids): (Vec<Uuid>, Vec<&str>) = gone
        .iter()
        .flat_map(|(message, changes)| changes.iter().map(move |change| (message, change)))
        .filter_map(|(message, change)| Some((message.instance_id, change.provider_message_id.as_deref()?)))
        .unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let early: Vec<(Uuid, sqlx::types::Json<StatusUpdate>)> = sqlx::query_as(
        "delete from early_statuses e using unnest($1::uuid[], $2::text[]) as n (instance_id, provider_message_id)
         where e.instance_id = n.instance_id and e.provider_message_id = n.provider_message_id
         returning e.instance_id, e.update",
    )
    .bind(instances)
    .bind(ids)
    .fetch_all(&mut *conn)
    .await?;
    let mut by_instance: HashMap<Uuid, Vec<StatusUpdate>> = HashMap::new();
    for (instance, update) in early {
        by_instance.entry(instance).or_default().push(update.0);
    }
    for (instance, mut updates) in by_instance {
        updates.sort_by_key(|update| update.status.rank());
        Box::pin(super::advance_in(conn, InstanceId(instance), &updates, now)).await?;
    }
    Ok(())
}
