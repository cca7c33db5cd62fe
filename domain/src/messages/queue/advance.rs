//! What providers tell of messages that have left: delivered, read, failed. A status only moves forward; repeated,
//! missing and overtaking ones are normal.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    finish::{Batch, messages, outbox_rows},
    pause::{lock, notify, refresh},
    record::{Change, Message, apply},
};
use crate::{
    Db,
    error::Result,
    ids::{InstanceId, MessageId},
    messages::{MessageStatus, StatusUpdate},
    time::Time,
};

/// Statuses of the sandbox that one call hands out.
const SANDBOX_AT_ONCE: i64 = 500;
/// How long a status of a message that is not ours is kept, in case it turns out to be.
const EARLY_FOR: TimeDelta = TimeDelta::hours(1);

/// What became of a provider's statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advanced {
    /// They told of messages we know, whether or not they told anything new.
    pub known: usize,
    /// They told of messages we do not know: sent from the telephone, or by somebody else.
    pub unknown: usize,
}

/// Takes note of what the provider of an instance said, all in one transaction.
///
/// # Errors
/// As the database; then nothing was noted, and the provider should be told so.
pub async fn advance(db: &Db, instance: InstanceId, updates: &[StatusUpdate], now: Time) -> Result<Advanced> {
    let mut tx = db.system().begin().await?;
    let advanced = advance_in(&mut tx, instance, updates, now).await?;
    tx.commit().await?;
    Ok(advanced)
}

/// As [`advance`], in the caller's transaction, which runs as the owner of the tables.
///
/// # Errors
/// As the database.
pub async fn advance_in(
    conn: &mut PgConnection,
    instance: InstanceId,
    updates: &[StatusUpdate],
    now: Time,
) -> Result<Advanced> {
    if updates.is_empty() {
        return Ok(Advanced::default());
    }
    // Asked before the search: an attempt that ends in between has written down the id that the search then finds.
    let busy = is_busy(conn, instance).await?;
    let mut found = Found::find(conn, instance, updates).await?;
    let waiting = waiting(conn, &found).await?;
    let strangers = updates.iter().filter(|update| found.of(update).is_none()).count();
    // Whoever sends for this instance right now may be about to write down the id that these are about.
    let early = strangers > 0 && busy;
    if waiting || early {
        lock(conn, &[instance]).await?;
        found = Found::find(conn, instance, updates).await?;
    }
    let (known, strangers): (Vec<_>, Vec<_>) = updates.iter().partition(|update| found.of(update).is_some());
    if early {
        keep_early(conn, instance, &strangers).await?;
    }
    let advanced = Advanced { known: known.len(), unknown: strangers.len() };
    let mut by_message: BTreeMap<Uuid, Vec<Change>> = BTreeMap::new();
    for update in known {
        let Some(message) = found.of(update) else { continue };
        by_message.entry(message).or_default().push(change(update, now));
    }
    let ids: Vec<Uuid> = by_message.keys().copied().collect();
    if waiting {
        settle(conn, &by_message, now).await?;
    }
    let mut rows = messages(conn, &ids).await?;
    let mut changes: Vec<(Message, Vec<Change>)> =
        by_message.into_iter().filter_map(|(id, changes)| Some((rows.remove(&id)?, changes))).collect();
    apply(conn, &mut changes, false).await?;
    if waiting {
        refresh(conn, &[instance], now).await?;
        notify(conn, &[instance]).await?;
    }
    Ok(advanced)
}

fn change(update: &StatusUpdate, now: Time) -> Change {
    // A provider's clock may be ahead; nothing has happened in the future.
    let mut change = Change::new(update.status, update.at.min(now));
    change.provider_message_id.clone_from(&update.provider_message_id);
    change.pricing.clone_from(&update.pricing);
    if let Some((code, message)) = &update.error {
        change = Change {
            provider_message_id: change.provider_message_id,
            pricing: change.pricing,
            ..Change::failed(update.status, change.at, code, message)
        };
    }
    change
}

/// Which of our messages the updates are about.
struct Found {
    by_provider_id: HashMap<String, Uuid>,
    ours: Vec<Uuid>,
}

impl Found {
    async fn find(conn: &mut PgConnection, instance: InstanceId, updates: &[StatusUpdate]) -> Result<Self> {
        let provider_ids: Vec<&str> = updates.iter().filter_map(|u| u.provider_message_id.as_deref()).collect();
        let ours: Vec<Uuid> = updates.iter().filter_map(|u| u.message.map(|id| id.0)).collect();
        let by_provider_id: Vec<(String, Uuid)> = if provider_ids.is_empty() {
            Vec::new()
        } else {
            sqlx::query_as(
                "select provider_message_id, id from messages
                 where instance_id = $1 and provider_message_id = any($2) and provider_message_id is not null",
            )
            .bind(instance.0)
            .bind(provider_ids)
            .fetch_all(&mut *conn)
            .await?
        };
        let ours: Vec<Uuid> = if ours.is_empty() {
            Vec::new()
        } else {
            sqlx::query_scalar("select id from messages where id = any($1) and instance_id = $2")
                .bind(ours)
                .bind(instance.0)
                .fetch_all(conn)
                .await?
        };
        Ok(Self { by_provider_id: by_provider_id.into_iter().collect(), ours })
    }

    fn of(&self, update: &StatusUpdate) -> Option<Uuid> {
        let ours = update.message.map(|id| id.0).filter(|id| self.ours.contains(id));
        ours.or_else(|| self.by_provider_id.get(update.provider_message_id.as_deref()?).copied())
    }

    fn ids(&self) -> Vec<Uuid> {
        self.ours.iter().chain(self.by_provider_id.values()).copied().collect()
    }
}

async fn waiting(conn: &mut PgConnection, found: &Found) -> Result<bool> {
    Ok(sqlx::query_scalar("select exists (select from outbox where message_id = any($1))")
        .bind(found.ids())
        .fetch_one(conn)
        .await?)
}

async fn is_busy(conn: &mut PgConnection, instance: InstanceId) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "select exists (select from outbox where instance_id = $1 and state = 'sending')
             or exists (select from outbox where instance_id = $1 and state = 'unknown')",
    )
    .bind(instance.0)
    .fetch_one(conn)
    .await?)
}

/// Kept until the answer of the attempt is written down, which looks here; what is not ours is tidied away later.
async fn keep_early(conn: &mut PgConnection, instance: InstanceId, updates: &[&StatusUpdate]) -> Result<()> {
    let updates: Vec<_> =
        updates.iter().filter_map(|update| Some((update.provider_message_id.clone()?, Json(*update)))).collect();
    let (ids, updates): (Vec<String>, Vec<Json<&StatusUpdate>>) = updates.into_iter().unzip();
    sqlx::query(
        "insert into early_statuses (instance_id, provider_message_id, update)
         select $1, * from unnest($2::text[], $3::jsonb[])",
    )
    .bind(instance.0)
    .bind(ids)
    .bind(updates)
    .execute(conn)
    .await?;
    Ok(())
}

/// A message that the provider knows has left, whatever we thought: it leaves the outbox, so that it is not sent
/// again. One that is just being sent is left to whoever sends it.
async fn settle(conn: &mut PgConnection, by_message: &BTreeMap<Uuid, Vec<Change>>, now: Time) -> Result<()> {
    let rows = outbox_rows(conn, by_message.keys().copied().collect()).await?;
    let mut gone = Batch::default();
    for row in rows.values().filter(|row| row.state != "sending") {
        let Some(changes) = by_message.get(&row.message_id) else { continue };
        if let Some(change) = changes.iter().find(|change| change.status.rank() >= MessageStatus::Sent.rank()) {
            gone.over(row, change.clone());
            gone.uses(row, now);
        }
    }
    gone.write(conn, now).await?;
    Ok(())
}

/// Hands out what the sandbox has to say by now. Returns how much it was; at most 500 at once.
///
/// # Errors
/// As the database; then it stays where it was.
pub async fn advance_sandbox(db: &Db, now: Time) -> Result<usize> {
    type Row = (Uuid, Uuid, String, Time, Option<String>, Option<String>);
    let mut tx = db.system().begin().await?;
    let due: Vec<Row> = sqlx::query_as(
        "with due as materialized (
             select message_id, status from sandbox_statuses where due <= $1 order by due limit $2 for update skip locked)
         delete from sandbox_statuses s using due where s.message_id = due.message_id and s.status = due.status
         returning s.instance_id, s.message_id, s.status, s.due, s.error_code, s.error_message",
    )
    .bind(now)
    .bind(SANDBOX_AT_ONCE)
    .fetch_all(&mut *tx)
    .await?;
    let count = due.len();
    let mut by_instance: BTreeMap<Uuid, Vec<StatusUpdate>> = BTreeMap::new();
    for (instance, message, status, at, code, text) in due {
        let Some(status) = MessageStatus::parse(&status) else { continue };
        by_instance.entry(instance).or_default().push(StatusUpdate {
            provider_message_id: None,
            message: Some(MessageId(message)),
            status,
            at,
            error: code.zip(text),
            pricing: None,
        });
    }
    for (instance, mut updates) in by_instance {
        updates.sort_by_key(|update| update.at);
        advance_in(&mut tx, InstanceId(instance), &updates, now).await?;
    }
    tx.commit().await?;
    Ok(count)
}

/// Tidies away what providers said of messages that turned out not to be ours.
///
/// # Errors
/// As the database.
pub async fn forget_early(db: &Db, now: Time) -> Result<()> {
    sqlx::query("delete from early_statuses where at < $1").bind(now - EARLY_FOR).execute(db.system()).await?;
    Ok(())
}
