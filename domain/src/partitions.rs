//! Tables that are partitioned by month: partitions ahead, and what is too old.
//!
//! They are partitioned by their ids, which are UUIDv7 (RFC 9562, section 5.7): the first 48 bits are milliseconds since
//! the epoch. So a row is found by its id alone, and its month is known from it.

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Db, error::Result, time::Time};

/// A table, the column that it is partitioned by, and how long rows are kept.
struct Table {
    name: &'static str,
    column: &'static str,
    keep: Keep,
}

#[derive(Clone, Copy)]
enum Keep {
    Months(u32),
    Days(i64),
}

/// Of events, and of what else happened that is told by them.
const EVENTS: Keep = Keep::Months(13);

const TABLES: [Table; 5] = [
    Table { name: "messages", column: "id", keep: Keep::Months(13) },
    Table { name: "message_steps", column: "message_id", keep: Keep::Months(13) },
    Table { name: "events", column: "id", keep: EVENTS },
    Table { name: "deliveries", column: "id", keep: Keep::Days(90) },
    Table { name: "delivery_attempts", column: "id", keep: Keep::Days(90) },
];
/// Partitions that are made ahead of the current one.
const AHEAD: u32 = 2;

impl Keep {
    /// What is older than this goes.
    fn before(self, now: Time) -> Time {
        match self {
            Self::Months(months) => now.checked_sub_months(Months::new(months)).unwrap_or(now),
            Self::Days(days) => now - TimeDelta::days(days),
        }
    }
}

/// What happened before this is not kept any more.
pub fn events_kept_since(now: Time) -> Time {
    EVENTS.before(now)
}

/// The smallest UUIDv7 of a moment.
pub fn lowest_id(at: Time) -> Uuid {
    let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u64_pair(milliseconds << 16, 0)
}

fn start_of(month: NaiveDate) -> Time {
    DateTime::from_naive_utc_and_offset(month.and_hms_opt(0, 0, 0).unwrap_or_default(), chrono::Utc)
}

/// Makes partitions for this month and the next ones, and drops those that are too old. To be called at start and now
/// and then; servers take turns.
///
/// # Errors
/// As the database, also when the tables are so busy that the few milliseconds it takes do not come: then it is to be
/// tried again.
pub async fn keep(db: &Db, now: Time) -> Result<()> {
    let today = now.date_naive();
    let month = today.with_day(1).unwrap_or(today);
    for table in &TABLES {
        let mut tx = db.system().begin().await?;
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('partitions', 0))").execute(&mut *tx).await?;
        // Rather later than making everybody wait behind us.
        sqlx::query("set local lock_timeout = '3s'").execute(&mut *tx).await?;
        for ahead in 0..=AHEAD {
            if let Some(month) = month.checked_add_months(Months::new(ahead)) {
                make(&mut tx, table, month).await?;
            }
        }
        drop_old(&mut tx, table, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn make(tx: &mut PgConnection, table: &Table, month: NaiveDate) -> Result<()> {
    let Table { name, column, .. } = table;
    let partition = format!("{name}_{}", month.format("%Y%m"));
    let there: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(&partition).fetch_one(&mut *tx).await?;
    let Some(next) = month.checked_add_months(Months::new(1)).filter(|_| !there) else { return Ok(()) };
    let (from, to) = (lowest_id(start_of(month)), lowest_id(start_of(next)));
    // Who reads or writes chooses partitions first and waits for their locks then. So everybody must wait for the table
    // itself: or a row would go where it does not fit any more, and one that moves would be looked for where it was.
    //
    // Rows of a month whose partition was late are in the default one; they move, or it could not be attached.
    // Room in each page, because most rows of a message change a few times in its first minutes.
    for statement in [
        format!("lock table {name} in access exclusive mode"),
        format!("create table {partition} (like {name} including defaults) with (fillfactor = 80)"),
        format!("revoke all on {partition} from bouncer_app"),
        format!(
            "with moved as (delete from {name}_rest where {column} >= '{from}' and {column} < '{to}' returning *)
             insert into {partition} select * from moved"
        ),
        format!("alter table {name} attach partition {partition} for values from ('{from}') to ('{to}')"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn drop_old(tx: &mut PgConnection, table: &Table, now: Time) -> Result<()> {
    let Table { name, column, keep } = table;
    let before = keep.before(now);
    // The month of `before` itself is still needed.
    let oldest = format!("{name}_{}", before.format("%Y%m"));
    let old: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = $1::regclass and c.relname < $2 and c.relname ~ $3 order by 1",
    )
    .bind(name)
    .bind(&oldest)
    .bind(format!("^{name}_[0-9]{{6}}$"))
    .fetch_all(&mut *tx)
    .await?;
    for partition in old {
        sqlx::query(sqlx::AssertSqlSafe(format!("drop table {partition}"))).execute(&mut *tx).await?;
    }
    let sql = format!("delete from {name}_rest where {column} < $1");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(lowest_id(before)).execute(&mut *tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_moment_begin_with_it() {
        let now = chrono::Utc::now();
        let (low, id, high) =
            (lowest_id(now - TimeDelta::seconds(5)), Uuid::now_v7(), lowest_id(now + TimeDelta::seconds(5)));
        assert!(low < id && id < high, "{low} {id} {high}");
        let month = DateTime::parse_from_rfc3339("2026-11-01T00:00:00Z").map(|t| t.to_utc()).unwrap_or_default();
        assert_eq!(lowest_id(month).to_string(), "01a19467-e800-0000-0000-000000000000");
    }
}
