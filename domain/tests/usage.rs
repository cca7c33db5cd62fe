//! The request log and what is made of it, against a real Postgres.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use chrono::{Duration, TimeZone, Utc};
use common::World;
use domain::{
    gate::cache::KeyCache,
    ids::RequestId,
    keys::{KeyHash, Scope, StatusKind, store},
    secret::ExposeSecret,
    time::Time,
    usage::{ALLOWED, Place, Rows, Tally, store as usage},
};
use sqlx::{PgPool, postgres::PgListener};
use uuid::Uuid;

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_batch_becomes_rows_rollups_and_last_use(pool: PgPool) {
    let world = World::new(&pool).await;
    usage::housekeeping(&world.db, Utc::now()).await.unwrap();
    let issued = world.key("Shop").await;
    let mut rows = vec![];
    for _ in 0..3 {
        rows.push(world.call(&issued, ALLOWED, 200).await);
    }
    rows.push(world.call(&issued, "ip_not_allowed", 403).await);
    let mut nobody = rows[0].clone();
    nobody.owner = None;
    rows.push(nobody);
    rows[2].user_agent = "weird\0agent".into();
    usage::write(&world.db, world.server, &rows).await.unwrap();
    usage::write(&world.db, world.server, &rows[..1]).await.unwrap();

    let count: i64 = sqlx::query_scalar("select count(*) from request_log").fetch_one(&pool).await.unwrap();
    assert_eq!(count, 5);
    let rest: i64 = sqlx::query_scalar("select count(*) from request_log_rest").fetch_one(&pool).await.unwrap();
    assert_eq!(rest, 0, "today has its own partition");
    for grain in ["minute", "hour", "day"] {
        let calls: i64 =
            sqlx::query_scalar("select sum(calls)::bigint from usage_rollups where grain = $1 and outcome = 'allowed'")
                .bind(grain)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(calls, 4, "{grain}");
    }
    let row = store::get(&world.db, world.org(), issued.id, Utc::now()).await.unwrap();
    let used = row.key.last_use.unwrap();
    assert_eq!(used.ip.unwrap().to_string(), "198.51.100.7");
    assert_eq!((row.hours[23].allowed + row.hours[22].allowed, row.hours[23].denied + row.hours[22].denied), (4, 1));
    let stats = store::stats(&world.db, world.org(), issued.id, Utc::now()).await.unwrap();
    assert_eq!((stats.requests, stats.errors, stats.denied, stats.messages), (5, 1, 1, 0));
    assert_eq!(stats.top_endpoints, [("/api/v1/me".to_owned(), 5)]);
    let in_use = store::in_use(&world.db, world.org(), issued.id, Utc::now()).await.unwrap();
    assert_eq!(in_use.callers.iter().map(|c| c.calls).sum::<i64>(), 4);
}

/// Rows go to the database as bytes that we put together: each column must read back as what it was.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn rows_read_back_as_they_were(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let plain = world.call(&issued, ALLOWED, 200).await;
    let at = |micros| Utc.timestamp_micros(micros).unwrap();
    let mut odd = plain.clone();
    odd.id = RequestId::new();
    odd.at = at(1_799_999_999_999_999);
    (odd.method, odd.endpoint, odd.status, odd.outcome) = ("DELETE", "/api/v1/messages/{id}", 599, "queue_full");
    odd.scope = Some(Scope::KeyVerify);
    odd.ip = "2001:db8::7".parse().unwrap();
    odd.user_agent = "Bücher/1 \u{1f4da}".into();
    odd.latency_us = u32::MAX;
    let mut early = plain.clone();
    early.id = RequestId::new();
    early.at = at(-1);
    early.user_agent = "".into();
    let mut rows = Rows::default();
    for row in [&plain, &odd, &early] {
        rows.push(row);
    }
    assert_eq!(rows.len(), 3);
    usage::write_rows(&world.db, &rows).await.unwrap();
    rows.clear();
    usage::write_rows(&world.db, &rows).await.unwrap();
    rows.push(&plain);
    usage::write_rows(&world.db, &rows).await.unwrap();
    assert_eq!(sqlx::query("select from request_log").fetch_all(&pool).await.unwrap().len(), 4);

    #[derive(Debug, PartialEq, sqlx::FromRow)]
    struct Read {
        id: Uuid,
        at: Time,
        organization_id: Uuid,
        key_id: Uuid,
        secret_id: Uuid,
        method: String,
        endpoint: String,
        status: i16,
        outcome: String,
        scope: Option<String>,
        address: String,
        user_agent: String,
        latency_us: i32,
    }
    for row in [&odd, &early] {
        let read: Read = sqlx::query_as(
            "select id, at, organization_id, key_id, secret_id, method, endpoint, status, outcome, scope, ip::text as address,
                    user_agent, latency_us
             from request_log where id = $1",
        )
        .bind(row.id.0)
        .fetch_one(&pool)
        .await
        .unwrap();
        let (organization, key, secret) = row.owner.unwrap();
        let written = Read {
            id: row.id.0,
            at: row.at,
            organization_id: organization.0,
            key_id: key.0,
            secret_id: secret.0,
            method: row.method.into(),
            endpoint: row.endpoint.into(),
            status: row.status.cast_signed(),
            outcome: row.outcome.into(),
            scope: row.scope.map(|scope| scope.as_str().into()),
            address: format!("{}/{}", row.ip, if row.ip.is_ipv4() { 32 } else { 128 }),
            user_agent: row.user_agent.clone().into_owned(),
            // As much as the column holds.
            latency_us: i32::try_from(row.latency_us).unwrap_or(i32::MAX),
        };
        assert_eq!(read, written);
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn figures_add_up_over_minutes_and_kinds(pool: PgPool) {
    let world = World::new(&pool).await;
    let (shop, app) = (world.key("Shop").await, world.key("App").await);
    let noon = Utc.with_ymd_and_hms(2026, 11, 20, 12, 58, 59).unwrap();
    let mut tally = Tally::default();
    for second in 0..240 {
        for (issued, outcome, status) in [(&shop, ALLOWED, 200), (&app, ALLOWED, 200), (&app, "rate_limited", 429)] {
            let mut row = world.call(issued, outcome, status).await;
            row.at = noon + Duration::seconds(second);
            assert!(tally.count(&row, &Place::default()));
        }
        if second % 100 == 99 {
            usage::write_tally(&world.db, &std::mem::take(&mut tally)).await.unwrap();
        }
    }
    usage::write_tally(&world.db, &tally).await.unwrap();
    let sums: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select grain, count(*), sum(calls)::bigint, sum(latency_us)::bigint from usage_rollups group by grain order by grain",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    // 12:58:59 to 13:02:58: five minutes, two hours, one day, of three kinds.
    assert_eq!(
        sums,
        [("day".into(), 3, 720, 86_400), ("hour".into(), 6, 720, 86_400), ("minute".into(), 15, 720, 86_400)]
    );
    let hour: i64 = sqlx::query_scalar(
        "select calls from usage_rollups where key_id = $1 and grain = 'hour' and bucket = '2026-11-20T12:00:00Z'",
    )
    .bind(shop.id.0)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(hour, 61);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_radar_hears_the_first_call_only(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("bouncer_calls").await.unwrap();
    let heard = async |listener: &mut PgListener| {
        tokio::time::timeout(std::time::Duration::from_millis(300), listener.recv()).await.is_ok()
    };
    let denied = world.call(&issued, "insufficient_scope", 403).await;
    usage::write(&world.db, world.server, &[denied]).await.unwrap();
    assert!(heard(&mut listener).await);
    let seen = usage::first_calls(&world.db, world.org(), issued.id, None).await.unwrap();
    assert_eq!((seen.len(), seen[0].allowed, seen[0].status), (1, false, 403));
    assert_eq!(seen[0].reason.as_deref(), Some("The key lacks the scope that this call needs."));
    world.use_key(&issued).await;
    assert!(heard(&mut listener).await);
    let seen = usage::first_calls(&world.db, world.org(), issued.id, None).await.unwrap();
    assert_eq!((seen.len(), seen[0].allowed), (1, true));
    world.use_key(&issued).await;
    assert!(!heard(&mut listener).await, "only until the key was used");
    let other = world.other_organization().await;
    assert!(usage::first_calls(&world.db, other.organization_id, issued.id, None).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn limits_reach_across_servers_and_restarts(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let hash = KeyHash::of(issued.text.expose_secret());
    let rows = [world.call(&issued, ALLOWED, 200).await, world.call(&issued, ALLOWED, 200).await];
    usage::write(&world.db, world.server, &rows).await.unwrap();
    let now = Utc::now().timestamp_millis();
    // Another server, or this one after a restart, begins with what was used.
    let cache = KeyCache::new(world.db.clone(), Uuid::now_v7(), 10);
    let entry = cache.find(&hash).await.unwrap().unwrap();
    assert_eq!(entry.window().rate(1_000, now).used, 2);
    entry.window().record(1_000, now);
    usage::write(&world.db, world.server, &rows[..1]).await.unwrap();
    assert!(usage::sync_windows(&world.db, &cache).await.unwrap(), "it is not alone");
    assert_eq!(entry.window().rate(1_000, now).used, 4);
    // Its own rows do not come back to it.
    let own = KeyCache::new(world.db.clone(), world.server, 10);
    assert_eq!(own.find(&hash).await.unwrap().unwrap().window().rate(1_000, now).used, 0);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn servers_know_of_each_other_before_they_let_anything_through(pool: PgPool) {
    let world = World::new(&pool).await;
    let first = KeyCache::new(world.db.clone(), Uuid::now_v7(), 10);
    let second = KeyCache::new(world.db.clone(), Uuid::now_v7(), 10);
    let sync = async |cache: &KeyCache| usage::sync_windows(&world.db, cache).await.unwrap();
    assert!(!sync(&first).await, "alone, and its own word does not count");
    assert!(!sync(&first).await);
    assert!(sync(&second).await);
    assert!(sync(&first).await);
    // The first one has stopped.
    sqlx::query("update rate_windows set changed_at = changed_at - interval '1 minute'").execute(&pool).await.unwrap();
    assert!(!sync(&second).await);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn traffic_shows_in_the_status(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let limited: Vec<_> = vec![world.call(&issued, "rate_limited", 429).await; 3];
    usage::write(&world.db, world.server, &limited).await.unwrap();
    let status = store::get(&world.db, world.org(), issued.id, Utc::now()).await.unwrap().status;
    assert_eq!(status.kind, StatusKind::RateLimited);
    assert!(status.reason.starts_with("3 calls were refused"));
    let later = Utc::now() + Duration::minutes(4);
    assert_eq!(store::get(&world.db, world.org(), issued.id, later).await.unwrap().status.kind, StatusKind::Active);
    let denied: Vec<_> = vec![world.call(&issued, "ip_not_allowed", 403).await; 100];
    usage::write(&world.db, world.server, &denied).await.unwrap();
    assert_eq!(
        store::get(&world.db, world.org(), issued.id, later).await.unwrap().status.kind,
        StatusKind::ElevatedDenials
    );
    usage::housekeeping(&world.db, Utc::now()).await.unwrap();
    usage::housekeeping(&world.db, Utc::now()).await.unwrap();
    let spikes = store::history(&world.db, world.org(), issued.id).await.unwrap();
    assert_eq!(spikes.iter().filter(|row| row.action == "api_key.denial_spike").count(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn housekeeping_keeps_what_it_should(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    sqlx::query("update api_keys set expires_at = now() + interval '13 days'").execute(&pool).await.unwrap();
    let now = Utc::now();
    // A row that arrived before its partition moves into it.
    world.use_key(&issued).await;
    for day in [0, 0, 10, 11, 12, 13] {
        usage::housekeeping(&world.db, now + Duration::days(day)).await.unwrap();
    }
    let warnings = store::history(&world.db, world.org(), issued.id).await.unwrap();
    assert_eq!(warnings.iter().filter(|row| row.action == "api_key.expiring").count(), 3, "14, 3 and 1 days before");
    let rows: i64 = sqlx::query_scalar("select count(*) from request_log").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 1);
    usage::housekeeping(&world.db, now + Duration::days(32)).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from request_log").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 0);
    let mut tx = world.db.tenant(world.org()).await.unwrap();
    let name = format!("select * from request_log_{}", (now + Duration::days(32)).format("%Y%m%d"));
    assert!(
        sqlx::query(sqlx::AssertSqlSafe(name)).fetch_all(&mut *tx).await.is_err(),
        "partitions are closed to the tenant role"
    );
}
