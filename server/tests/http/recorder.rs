//! What is written about calls, and how soon.

use axum::Router;
use chrono::Utc;
use domain::{
    ids::{KeyId, OrgId, RequestId, SecretId},
    keys::store,
    usage::{Place, RequestRow},
};
use http::Request;
use server::{serve, telemetry};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{World, eventually, send, within_a_second};

/// A call of this owner.
fn row(owner: (OrgId, KeyId, SecretId)) -> RequestRow<'static> {
    RequestRow {
        id: RequestId::new(),
        at: Utc::now(),
        owner: Some(owner),
        method: "GET",
        endpoint: "/api/v1/me",
        status: 200,
        outcome: "allowed",
        scope: None,
        ip: "203.0.113.9".parse().unwrap(),
        user_agent: "".into(),
        latency_us: 1,
    }
}

/// What is served beside the rest. It must begin before anything counts, and only one in a process can: nextest gives
/// each test its own.
fn metrics() -> Router {
    serve::metrics_router(telemetry::metrics().unwrap())
}

/// A count as Prometheus reads it.
async fn metric(metrics: &Router, name: &str) -> u64 {
    let answer = send(metrics, Request::get("/metrics").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

const DROPPED_FULL: &str = "bouncer_request_rows_dropped_total{reason=\"buffer_full\"}";
const DROPPED_REFUSED: &str = "bouncer_request_rows_dropped_total{reason=\"refused\"}";
const WRITTEN: &str = "bouncer_request_rows_written_total";

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn calls_are_written_soon_and_once(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let request = Request::get("/api/v1/me")
        .header("x-api-key", &key.text)
        .header("user-agent", "x".repeat(1_000))
        .body(axum::body::Body::empty())
        .unwrap();
    world.send(request).await;
    world.post_json("/api/v1/keys/verify", &key, "{}").await;
    world.get("/api/v1/me", None).await;
    within_a_second("two rows", async || world.logged().await.len() == 2).await;
    assert_eq!(
        world.logged().await,
        [
            ("/api/v1/me".into(), 200, "allowed".into()),
            ("/api/v1/keys/verify".into(), 403, "insufficient_scope".into())
        ]
    );
    let row = store::get(&world.db, world.acme, key.id, Utc::now()).await.unwrap();
    let used = row.key.last_use.unwrap();
    assert_eq!(used.ip.unwrap().to_string(), "203.0.113.9");
    assert_eq!(used.user_agent.len(), 300);
    let last = row.hours.last().unwrap();
    assert_eq!((last.allowed, last.denied), (1, 1));
    let (calls, grains): (i64, i64) =
        sqlx::query_as("select sum(calls)::bigint, count(distinct grain) from usage_rollups")
            .fetch_one(world.db.system())
            .await
            .unwrap();
    assert_eq!((calls, grains), (6, 3), "each call in minute, hour and day");
    world.finish().await;
    assert_eq!(world.logged().await.len(), 2);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nothing_is_lost_when_the_server_stops(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key_with(world.acme, "shop", &["message:send"], |form| form.rate_limit = String::new()).await;
    for _ in 0..300 {
        assert_eq!(world.me(&key).await.status, 200);
    }
    world.finish().await;
    assert_eq!(world.logged().await.len(), 300);
}

/// More rows than the buffer holds are dropped, and counted; the rest is written in batches. The figures miss nothing.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_buffer_has_a_limit(_: PgPoolOptions, options: PgConnectOptions) {
    let metrics = metrics();
    let world = World::new(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let entry = world.state.keys.find(&domain::keys::KeyHash::of(&key.text)).await.unwrap().unwrap();
    let owner = (entry.key.organization_id, entry.key.id, entry.key.secret_id);
    for _ in 0..100_100 {
        world.state.recorder.push(&row(owner), &Place::default(), false);
    }
    assert_eq!(world.state.recorder.len(), 100_000);
    assert_eq!(metric(&metrics, DROPPED_FULL).await, 100);
    let mut workers = server::workers::start(&world.state);
    eventually("all rows are written, batch by batch", async || world.state.recorder.is_empty()).await;
    world.state.drain();
    world.state.stop();
    while workers.join_next().await.is_some() {}
    assert_eq!(world.logged().await.len(), 100_000);
    assert_eq!(metric(&metrics, WRITTEN).await, 100_000);
    assert_eq!(metric(&metrics, DROPPED_REFUSED).await, 0);
    for figure in ["select calls from usage_rollups where grain = 'day'", "select sum(calls)::bigint from rate_windows"]
    {
        let calls: i64 = sqlx::query_scalar(figure).fetch_one(world.db.system()).await.unwrap();
        assert_eq!(calls, 100_100, "{figure}");
    }
}

/// Rows that the database refuses again and again must not block the ones after them: they are dropped, and counted.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_the_database_refuses_is_dropped_and_counted(_: PgPoolOptions, options: PgConnectOptions) {
    const ROWS: u64 = 3;
    let metrics = metrics();
    let mut world = World::new(options).await;
    let refuse = "alter table request_log add constraint refuses check (false)";
    sqlx::query(refuse).execute(world.db.system()).await.unwrap();
    world.work().await;
    for _ in 0..ROWS {
        world.state.recorder.push(&row((world.acme, KeyId::new(), SecretId::new())), &Place::default(), false);
    }
    // Who stops tries more often.
    world.finish().await;
    assert!(world.state.recorder.is_empty());
    assert_eq!(metric(&metrics, DROPPED_REFUSED).await, ROWS);
    assert_eq!((metric(&metrics, WRITTEN).await, metric(&metrics, DROPPED_FULL).await), (0, 0));
    let calls: i64 = sqlx::query_scalar("select sum(calls)::bigint from usage_rollups where grain = 'day'")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(calls.unsigned_abs(), ROWS, "the figures do not depend on the rows");
}

/// Nobody waits at the radar because many other keys are in use.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn first_calls_do_not_wait_for_the_figures_of_many(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let (organization, others) = (world.acme, 300);
    for _ in 0..others {
        let owner = (organization, KeyId::new(), SecretId::new());
        world.state.recorder.push(&row(owner), &Place::default(), false);
    }
    assert_eq!(world.me(&key).await.status, 200);
    within_a_second("the first use is noted", async || {
        store::get(&world.db, organization, key.id, Utc::now()).await.unwrap().key.last_use.is_some()
    })
    .await;
    world.finish().await;
    let calls: i64 = sqlx::query_scalar("select sum(calls)::bigint from usage_rollups where grain = 'day'")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(calls, others + 1, "nothing is lost at the end");
}
