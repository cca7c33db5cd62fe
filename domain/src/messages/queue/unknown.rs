//! What may have left: finding out. And what waited too long: giving up.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    Claimed, EXPIRES_AFTER,
    claim::Row,
    finish::{Batch, Waiting, messages, outbox_rows},
    pause::{lock, notify, refresh},
    record::{Change, apply},
};
use crate::{
    Db,
    error::Result,
    ids::{InstanceId, MessageId},
    messages::MessageStatus,
    time::Time,
};

/// Rows that one look takes at most.
const AT_MOST: i64 = 500;
/// Who asks about a message has this long for the answer before another server asks.
const ASKING: TimeDelta = TimeDelta::seconds(45);
/// Between two questions that could not be put: at first, and at most.
const PAUSES: (TimeDelta, TimeDelta) = (TimeDelta::seconds(10), TimeDelta::minutes(5));

/// What was found out about a message that may have left.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    Sent {
        provider_message_id: String,
    },
    /// It never arrived there: sending it again doubles nothing.
    NotThere,
    /// The provider cannot be asked about this at all.
    CannotTell,
    /// The provider could not be asked just now.
    NotNow,
}

/// Claims whose server fell silent become `unknown`. Returns how many.
///
/// # Errors
/// As the database.
pub async fn reap(db: &Db, now: Time) -> Result<usize> {
    let lost: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select message_id, instance_id from outbox where state = 'sending' and lease_until < $1
         order by lease_until limit $2",
    )
    .bind(now)
    .bind(AT_MOST)
    .fetch_all(db.system())
    .await?;
    change_waiting(db, lost, now, |batch, row| {
        // Renewed, finished or given back while we waited for the queue.
        if row.state == "sending" && row.lease_until.is_some_and(|until| until < now) {
            batch.unknown(row, now, "the server that was sending it fell silent".into(), now);
            // It may have left at any moment until now.
            batch.uses(row, now);
        }
    })
    .await
}

/// Takes `unknown` messages that are to be asked about now, but for those that this server is still sending (`held`).
///
/// # Errors
/// As the database.
pub async fn doubtful(db: &Db, server: Uuid, held: &[MessageId], limit: i64, now: Time) -> Result<Vec<Claimed>> {
    let rows: Vec<Row> = sqlx::query_as(
        "with old as materialized (
             select message_id from outbox where state = 'unknown' and lease_until <= $1 and message_id <> all($5)
             order by lease_until limit $4 for update skip locked),
         taken as (
             update outbox o set server_id = $2, lease_until = $3 from old where o.message_id = old.message_id
             returning o.message_id, o.organization_id, o.instance_id, o.key_id, o.environment, o.recipient, o.attempt,
                       o.due, o.lane)
         select taken.*, m.body from taken left join messages m on m.id = taken.message_id",
    )
    .bind(now)
    .bind(server)
    .bind(now + ASKING)
    .bind(limit)
    .bind(held.iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(db.system())
    .await?;
    rows.into_iter().map(Row::into_claimed).collect()
}

/// Writes down what was found out. Messages that an acknowledgement settled meanwhile are left alone.
///
/// # Errors
/// As the database; then they are asked about again.
pub async fn resolve(db: &Db, findings: &[(Claimed, Finding)], now: Time) -> Result<()> {
    let by_id: HashMap<Uuid, (i32, &Finding)> =
        findings.iter().map(|(claim, finding)| (claim.id.0, (claim.attempt, finding))).collect();
    let rows = findings.iter().map(|(claim, _)| (claim.id.0, claim.instance.0)).collect();
    let mut later = Vec::new();
    change_waiting(db, rows, now, |batch, row| {
        // Begun anew meanwhile: what was found out is about an attempt that is over.
        let asked = by_id.get(&row.message_id).filter(|(attempt, _)| row.state == "unknown" && row.attempt == *attempt);
        let Some((_, finding)) = asked else { return };
        match finding {
            Finding::Sent { provider_message_id } => batch.sent(row, provider_message_id.clone(), now),
            Finding::NotThere => batch.not_there(row, now),
            Finding::CannotTell => batch.left_open(row, now),
            Finding::NotNow if row.expires_at <= now => batch.left_open(row, now),
            Finding::NotNow => {
                let waited = row.unknown_at.map_or(TimeDelta::zero(), |since| now - since);
                later.push((row.message_id, now + waited.clamp(PAUSES.0, PAUSES.1)));
            }
        }
    })
    .await?;
    ask_later(db, &later).await
}

async fn ask_later(db: &Db, later: &[(Uuid, Time)]) -> Result<()> {
    if later.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update outbox o set lease_until = n.at, server_id = null
         from unnest($1::uuid[], $2::timestamptz[]) as n (message_id, at)
         where o.message_id = n.message_id and o.state = 'unknown'",
    )
    .bind(later.iter().map(|(message, _)| *message).collect::<Vec<_>>())
    .bind(later.iter().map(|(_, at)| *at).collect::<Vec<_>>())
    .execute(db.system())
    .await?;
    Ok(())
}

/// Messages about which nobody could tell for a day count as failed. Returns how many were looked at; at most 500 at once.
///
/// # Errors
/// As the database.
pub async fn give_up(db: &Db, now: Time) -> Result<usize> {
    let mut tx = db.system().begin().await?;
    let old: Vec<Uuid> = sqlx::query_scalar(
        "with old as materialized (
             select message_id from unconfirmed where until <= $1 order by until limit $2 for update skip locked)
         delete from unconfirmed u using old where u.message_id = old.message_id
         returning u.message_id",
    )
    .bind(now)
    .bind(AT_MOST)
    .fetch_all(&mut *tx)
    .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let sentence = "Nobody confirmed within 24 hours that it was sent. It may have arrived.";
    let change = Change::failed(MessageStatus::Failed, now, "unconfirmed", sentence);
    let rows = messages(&mut tx, &old).await?;
    let mut changes: Vec<_> = rows
        .into_values()
        .filter(|message| message.status_rank == MessageStatus::Unknown.rank())
        .map(|message| (message, vec![change.clone()]))
        .collect();
    apply(&mut tx, &mut changes, false).await?;
    tx.commit().await?;
    // Also those that were confirmed meanwhile: there may be more of them.
    Ok(old.len())
}

/// Messages that have waited for a day expire. Returns how many; at most 500 at once.
///
/// # Errors
/// As the database.
pub async fn expire(db: &Db, now: Time) -> Result<usize> {
    let old: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select message_id, instance_id from outbox where state = 'queued' and expires_at <= $1
         order by expires_at limit $2",
    )
    .bind(now)
    .bind(AT_MOST)
    .fetch_all(db.system())
    .await?;
    change_waiting(db, old, now, |batch, row| {
        if row.state == "queued" && row.expires_at <= now {
            let hours = EXPIRES_AFTER.as_secs() / 3_600;
            let sentence = format!("It was not sent within {hours} hours.");
            batch.over(row, Change::failed(MessageStatus::Expired, now, "expired", &sentence));
        }
    })
    .await
}

/// Holds the queues and rows of messages (with their instances), lets `decide` look at each row, and writes
/// what it decided. Returns how many rows there were.
async fn change_waiting(
    db: &Db,
    rows: Vec<(Uuid, Uuid)>,
    now: Time,
    mut decide: impl FnMut(&mut Batch, &Waiting),
) -> Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut tx = db.system().begin().await?;
    let instances: Vec<InstanceId> = rows.iter().map(|(_, instance)| InstanceId(*instance)).collect();
    lock(&mut tx, &instances).await?;
    let mut batch = Batch::default();
    let held = outbox_rows(&mut tx, rows.into_iter().map(|(message, _)| message).collect()).await?;
    for row in held.values() {
        decide(&mut batch, row);
    }
    batch.write(&mut tx, now).await?;
    if refresh(&mut tx, &instances, now).await? {
        notify(&mut tx, &instances).await?;
    }
    tx.commit().await?;
    Ok(held.len())
}
