//! Keeps the planner's idea of how many rows a table has near the truth.
//!
//! A queue is empty one moment and holds a hundred thousand messages the next. A statement that was planned while it was
//! empty, when any index seemed as good as another, keeps its plan and then reads the whole line for each message.
//! Planning each execution anew costs more than the statements themselves, and autovacuum looks once a minute. So this
//! looks each second, and analyzes what has grown: that also makes every connection of every server plan anew
//! (<https://www.postgresql.org/docs/current/sql-prepare.html>, "Notes").

use crate::{Db, error::Result};

/// Tables with fewer rows than this are read fast whatever the plan.
const FEW: i64 = 1_000;

/// Analyzes the tables that have more than twice as many rows as the planner believes. Returns their names.
///
/// # Errors
/// As the database.
pub async fn keep(db: &Db) -> Result<Vec<String>> {
    // Of the request log nothing is looked up while it grows.
    let grown: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname not like 'request\\_log%'
           and pg_stat_get_live_tuples(c.oid) > 2 * greatest(c.reltuples, 0) + $1",
    )
    .bind(FEW)
    .fetch_all(db.system())
    .await?;
    for table in &grown {
        // Quoted by `regclass` where it must be. Who vacuums or analyzes it already does the same work.
        sqlx::query(sqlx::AssertSqlSafe(format!("analyze (skip_locked) {table}"))).execute(db.system()).await?;
    }
    Ok(grown)
}
