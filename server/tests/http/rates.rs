//! The hour's limit across calls at once, restarts and servers.

use domain::Db;
use server::{state::AppState, workers};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{World, eventually, send, settings};

/// Of many calls at once, exactly as many pass as the limit says.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_race_for_the_last_places(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key_with(world.acme, "shop", &["message:send"], |form| form.rate_limit = "50".into()).await;
    let calls = (0..200).map(|_| {
        let (router, text) = (world.router.clone(), key.text.clone());
        tokio::spawn(async move {
            let request =
                http::Request::get("/api/v1/me").header("x-api-key", text).body(axum::body::Body::empty()).unwrap();
            send(&router, request).await.status.as_u16()
        })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert_eq!(passed, 50);
}

/// What was used up stays used up after a restart, and counts on another server.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_hour_survives_a_restart_and_is_shared(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options.clone()).await;
    let key = world.key_with(world.acme, "shop", &["message:send"], |form| form.rate_limit = "5".into()).await;

    let beside = AppState::new(Db::open(options.clone(), 6), &settings(&[])).unwrap();
    let mut beside_workers = workers::start(&beside);
    let beside_router = server::serve::router(&beside);
    let call = async |router: &axum::Router| {
        let request =
            http::Request::get("/api/v1/me").header("x-api-key", &key.text).body(axum::body::Body::empty()).unwrap();
        let answer = send(router, request).await;
        (answer.status.as_u16(), answer.header("x-ratelimit-remaining").to_owned())
    };
    assert_eq!(call(&beside_router).await, (200, "4".into()));
    for _ in 0..3 {
        assert_eq!(world.me(&key).await.status, 200);
    }
    // Learned without being asked: the refusal below is the first call there since.
    let hash = domain::keys::KeyHash::of(&key.text);
    eventually("the other server knows of three more calls", async || {
        let entry = beside.keys.find(&hash).await.unwrap().unwrap();
        entry.window().rate(5, chrono::Utc::now().timestamp_millis()).used == 4
    })
    .await;
    assert_eq!(call(&beside_router).await, (200, "0".into()));
    assert_eq!(call(&beside_router).await.0, 429);

    world.finish().await;
    beside.drain();
    beside.stop();
    while beside_workers.join_next().await.is_some() {}
    let restarted = AppState::new(Db::open(options, 6), &settings(&[])).unwrap();
    assert_eq!(call(&server::serve::router(&restarted)).await.0, 429, "the hour is still used up after a restart");
}
