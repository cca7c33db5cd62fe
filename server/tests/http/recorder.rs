//! What is written about calls, and how soon.

use chrono::Utc;
use domain::{keys::store, usage::RequestRow};
use http::Request;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{World, eventually, within_a_second};

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
    let world = World::new(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let entry = world.state.keys.find(&domain::keys::KeyHash::of(&key.text)).await.unwrap().unwrap();
    let row = || RequestRow {
        id: domain::ids::RequestId::new(),
        at: Utc::now(),
        owner: Some((entry.key.organization_id, entry.key.id, entry.key.secret_id)),
        method: "GET",
        endpoint: "/api/v1/me",
        status: 200,
        outcome: "allowed",
        scope: None,
        ip: "203.0.113.9".parse().unwrap(),
        user_agent: "".into(),
        latency_us: 1,
    };
    for _ in 0..100_100 {
        world.state.recorder.push(&row(), false);
    }
    assert_eq!(world.state.recorder.len(), 100_000);
    let mut workers = server::workers::start(&world.state);
    eventually("all rows are written, batch by batch", async || world.state.recorder.is_empty()).await;
    world.state.drain();
    world.state.stop();
    while workers.join_next().await.is_some() {}
    assert_eq!(world.logged().await.len(), 100_000);
    for figure in ["select calls from usage_rollups where grain = 'day'", "select sum(calls)::bigint from rate_windows"]
    {
        let calls: i64 = sqlx::query_scalar(figure).fetch_one(world.db.system()).await.unwrap();
        assert_eq!(calls, 100_100, "{figure}");
    }
}

/// Nobody waits at the radar because many other keys are in use.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn first_calls_do_not_wait_for_the_figures_of_many(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let (organization, others) = (world.acme, 300);
    for _ in 0..others {
        let row = RequestRow {
            id: domain::ids::RequestId::new(),
            at: Utc::now(),
            owner: Some((organization, domain::ids::KeyId::new(), domain::ids::SecretId::new())),
            method: "GET",
            endpoint: "/api/v1/me",
            status: 200,
            outcome: "allowed",
            scope: None,
            ip: "203.0.113.9".parse().unwrap(),
            user_agent: "".into(),
            latency_us: 1,
        };
        world.state.recorder.push(&row, false);
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
