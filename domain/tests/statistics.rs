//! What the planner knows of tables that grow fast, against a real Postgres.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

use std::time::{Duration, Instant};

use domain::{Db, statistics};
use sqlx::PgPool;

/// Rows as the planner believes.
async fn believed(db: &Db) -> f32 {
    sqlx::query_scalar("select reltuples from pg_class where relname = 'unconfirmed'")
        .fetch_one(db.system())
        .await
        .unwrap()
}

/// Looks each moment until something has grown.
async fn keep(db: &Db) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let grown = statistics::keep(db).await.unwrap();
        if !grown.is_empty() || begun.elapsed() > Duration::from_secs(20) {
            return grown;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_has_grown_is_known_soon(pool: PgPool) {
    let db = Db::open(pool.connect_options().as_ref().clone(), 4);
    let mut connection = pool.acquire().await.unwrap();
    // Each change is counted at once; else it takes up to ten seconds.
    let mut run = async |statement: &str| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut *connection).await.unwrap();
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    };
    let fill = |rows: i32| {
        format!(
            "insert into unconfirmed (message_id, organization_id, until)
             select gen_random_uuid(), gen_random_uuid(), now() from generate_series(1, {rows})"
        )
    };
    run("vacuum analyze unconfirmed").await;
    run(&fill(500)).await;
    assert_eq!(statistics::keep(&db).await.unwrap(), [""; 0], "few rows are read fast anyway");
    run(&fill(5_000)).await;
    assert_eq!(keep(&db).await, ["unconfirmed"]);
    assert_eq!(believed(&db).await, 5_500.0);
    assert_eq!(statistics::keep(&db).await.unwrap(), [""; 0], "known now");
    // A queue that ran empty and fills again takes no more room than before.
    run("delete from unconfirmed").await;
    run("vacuum (analyze, truncate off) unconfirmed").await;
    assert_eq!(believed(&db).await, 0.0);
    run(&fill(3_000)).await;
    assert_eq!(keep(&db).await, ["unconfirmed"]);
    assert_eq!(believed(&db).await, 3_000.0);
}
