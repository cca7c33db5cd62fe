//! Partitions by month, against a real Postgres.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use chrono::{DateTime, Duration, Months, Utc};
use domain::{Db, ids::EventId, partitions};
use sqlx::PgPool;
use uuid::Uuid;

fn db(pool: &PgPool) -> Db {
    Db::open(pool.connect_options().as_ref().clone(), 12)
}

/// An id of that moment.
fn id_of(at: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(partitions::lowest_id(at).as_u128() | 0x7000_8000_0000_0000_0001)
}

async fn event(db: &Db, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("insert into events (id, organization_id, environment, kind, at, data) values ($1, $2, 'live', 'test.ping', now(), '{}')")
        .bind(id)
        .bind(Uuid::now_v7())
        .execute(db.system())
        .await
        .map(|_| ())
}

async fn tables(db: &Db) -> Vec<String> {
    sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'events'::regclass order by 1",
    )
    .fetch_all(db.system())
    .await
    .unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn are_made_ahead_and_dropped_when_old(pool: PgPool) {
    let db = db(&pool);
    let now: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
    // Their partition was late.
    let early = id_of(now - Duration::days(3));
    event(&db, early).await.unwrap();
    partitions::keep(&db, now).await.unwrap();
    partitions::keep(&db, now).await.unwrap();
    assert_eq!(tables(&db).await, ["events_202611", "events_202612", "events_202701", "events_rest"]);
    for (at, table) in [(now, "events_202611"), ("2026-12-01T00:00:00Z".parse().unwrap(), "events_202612")] {
        let id = id_of(at);
        event(&db, id).await.unwrap();
        let found: String = sqlx::query_scalar("select tableoid::regclass::text from events where id = $1")
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(found, table);
    }
    let moved: String = sqlx::query_scalar("select tableoid::regclass::text from events where id = $1")
        .bind(early)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(moved, "events_202611");

    // Thirteen months later November is still needed, a month on it is not.
    partitions::keep(&db, now + Months::new(13)).await.unwrap();
    assert!(tables(&db).await.contains(&"events_202611".to_owned()));
    partitions::keep(&db, now + Months::new(14)).await.unwrap();
    assert!(!tables(&db).await.contains(&"events_202611".to_owned()));
    let left: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 1, "that of December");
}

/// The application's role reads the table, where it sees its own organization's rows, never a partition by its name.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn are_closed_to_the_role_of_pages(pool: PgPool) {
    let db = db(&pool);
    partitions::keep(&db, Utc::now()).await.unwrap();
    let open: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where has_table_privilege('bouncer_app', c.oid, 'select')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(open.is_empty(), "{open:?}");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn writers_do_not_notice(pool: PgPool) {
    let db = db(&pool);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let (db, stop) = (db.clone(), stop.clone());
            tokio::spawn(async move {
                let mut written = 0;
                while !stop.load(Relaxed) {
                    event(&db, EventId::new().0).await.unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    partitions::keep(&db, Utc::now()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    stop.store(true, Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let there: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.unwrap();
    assert_eq!(there, written);
    let rest: i64 = sqlx::query_scalar("select count(*) from events_rest").fetch_one(&pool).await.unwrap();
    assert_eq!(rest, 0);
}
