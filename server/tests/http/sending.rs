//! From the call to the last status: what the sender does with what providers answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use domain::{
    ids::InstanceId,
    instances::{
        CloudApiSettings, Credential, Credentials, NewInstance, Session, Settings, Status, WahaSettings, store,
        store::Connecting,
    },
    keys::KeyForm,
};
use http::Method;
use serde_json::{Value, json};
use server::workers;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{io::AsyncReadExt, sync::mpsc};

use crate::{
    mocks::{self, Graph, Waha, faulty, read_request},
    world::{Key, World, request},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Without its background work.
async fn idle(options: PgConnectOptions) -> World {
    World::with(options, &["--public-url", "http://bouncer.example", "--allow-private-providers", "127.0.0.0/8"]).await
}

async fn working(options: PgConnectOptions) -> World {
    let mut world = idle(options).await;
    world.work().await;
    world
}

async fn instance(world: &World, settings: Settings) -> InstanceId {
    create(world, &format!("{:?}", settings.provider()), settings, Credentials::default()).await
}

async fn create(world: &World, name: &str, settings: Settings, credentials: Credentials) -> InstanceId {
    let new = NewInstance { name: name.into(), settings, credentials };
    store::create(&world.db, &world.state.sealer, &world.actor(), new, None).await.unwrap()
}

/// A number of the Cloud API that nobody has connected yet.
async fn cloud(world: &World, graph: &Graph, name: &str) -> InstanceId {
    let settings = CloudApiSettings {
        base_url: graph.url(),
        version: "v24.0".into(),
        phone_number_id: mocks::NUMBER.into(),
        business_account_id: mocks::ACCOUNT.into(),
    };
    let mut credentials = Credentials::default();
    credentials.set(Credential::AccessToken, mocks::TOKEN.into());
    create(world, name, Settings::CloudApi(settings), credentials).await
}

async fn connected_waha(world: &World, waha: &Waha) -> InstanceId {
    waha.session("default", "WORKING", json!({}));
    let settings = Settings::Waha(WahaSettings { base_url: waha.url(), session: "default".into() });
    let id = instance(world, settings).await;
    connect(world, id).await;
    id
}

async fn connect(world: &World, id: InstanceId) {
    let session = Session { status: Status::Connected, detail: "WORKING".into(), phone: None };
    store::tell(&world.db, world.acme, id, &session, chrono::Utc::now()).await.unwrap();
}

async fn lose(world: &World, id: InstanceId) {
    let lost = Session { status: Status::Disconnected, detail: "STOPPED".into(), phone: None };
    store::tell(&world.db, world.acme, id, &lost, chrono::Utc::now()).await.unwrap();
}

async fn key(world: &World, environment: &str, change: impl FnOnce(&mut KeyForm)) -> Key {
    let scopes = ["message:send", "instance:read"];
    world
        .key_with(world.acme, environment, &scopes, |form| {
            form.environment = environment.into();
            change(form);
        })
        .await
}

async fn send(world: &World, key: &Key, instance: InstanceId, to: &str) -> String {
    let body = json!({ "instanceId": instance, "to": to, "message": "Hello from Bouncer!" });
    let answer = world.post_json("/api/v1/messages/send", key, body.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn get(world: &World, key: &Key, path: &str) -> Value {
    let answer =
        world.send(request(Method::GET, path).header("x-api-key", &key.text).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The message as the API shows it, once it has this status.
async fn until(world: &World, key: &Key, id: &str, status: &str) -> Value {
    let begun = Instant::now();
    loop {
        let message = get(world, key, &format!("/api/v1/messages/{id}")).await;
        if message["status"] == status {
            return message;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not become {status}: {message:#}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The instance as the API shows it, once its connection is lost.
async fn until_disconnected(world: &World, key: &Key, instance: InstanceId) -> Value {
    let begun = Instant::now();
    loop {
        let shown = get(world, key, &format!("/api/v1/instances/{instance}")).await;
        if shown["status"] == "disconnected" {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown:#}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn steps(message: &Value) -> Vec<&str> {
    message["timeline"].as_array().unwrap().iter().map(|step| step["status"].as_str().unwrap()).collect()
}

async fn events(world: &World, id: &str) -> Vec<String> {
    let id: domain::ids::MessageId = id.parse().unwrap();
    sqlx::query_scalar("select kind from events where message_id = $1 order by id")
        .bind(id.0)
        .fetch_all(world.db.system())
        .await
        .unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_sandbox_plays_every_ending(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let sandbox = instance(&world, Settings::Sandbox).await;
    let live = key(&world, "live", |_| {}).await;
    let mut ids = vec![];
    for ending in 0..=4 {
        ids.push(send(&world, &live, sandbox, &format!("+6012345000{ending}")).await);
    }
    let read = until(&world, &live, &ids[1], "read").await;
    assert_eq!(steps(&read), ["queued", "sending", "sent", "delivered", "read"]);
    let all = ["message.queued", "message.sent", "message.delivered", "message.read"];
    assert_eq!(events(&world, &ids[1]).await, all);
    let failed = until(&world, &live, &ids[2], "failed").await;
    assert_eq!(steps(&failed), ["queued", "sending", "sent", "failed"]);
    assert_eq!(failed["error"]["code"], "131026");
    let throttled = until(&world, &live, &ids[4], "delivered").await;
    let expected = ["queued", "sending", "queued", "sending", "queued", "sending", "sent", "delivered"];
    assert_eq!(steps(&throttled), expected);
    until(&world, &live, &ids[0], "delivered").await;
    let slow = until(&world, &live, &ids[3], "sent").await;
    let took = |step: &str| -> chrono::DateTime<chrono::Utc> {
        let steps = slow["timeline"].as_array().unwrap();
        steps.iter().find(|s| s["status"] == step).unwrap()["at"].as_str().unwrap().parse().unwrap()
    };
    assert!(took("sent") - took("sending") >= chrono::TimeDelta::seconds(3));
    world.finish().await;
}

/// The rest of what the sandbox has in store comes after a restart.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_sandbox_remembers_over_a_restart(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let sandbox = instance(&world, Settings::Sandbox).await;
    let live = key(&world, "live", |_| {}).await;
    let id = send(&world, &live, sandbox, "+60123450001").await;
    until(&world, &live, &id, "sent").await;
    world.finish().await;
    let state = server::state::AppState::new(world.db.clone(), &crate::world::settings(&[])).unwrap();
    let mut again = workers::start(&state);
    until(&world, &live, &id, "read").await;
    state.drain();
    state.stop();
    while again.join_next().await.is_some() {}
}

/// Test keys reach nobody, whatever the instance and however it stands.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn test_keys_never_reach_the_provider(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let connected = connected_waha(&world, &waha).await;
    let test = key(&world, "test", |form| {
        form.throttle_mode = "fixed".into();
        form.delay = "600".into();
    })
    .await;
    for _ in 0..2 {
        let id = send(&world, &test, connected, "+60123450001").await;
        until(&world, &test, &id, "read").await;
    }
    lose(&world, connected).await;
    let id = send(&world, &test, connected, "+60123450001").await;
    until(&world, &test, &id, "read").await;
    assert!(waha.calls().is_empty());
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_lost_session_keeps_messages_until_it_is_back(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let live = key(&world, "live", |_| {}).await;
    waha.plan(401, &[], r#"{"statusCode":401,"message":"Unauthorized"}"#);
    let id = send(&world, &live, instance, "+60123456789").await;
    until_disconnected(&world, &live, instance).await;
    let waiting = until(&world, &live, &id, "queued").await;
    assert_eq!(steps(&waiting), ["queued", "sending", "queued"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let tries = waha.calls().iter().filter(|call| call.path == "/api/sendText").count();
    assert_eq!(tries, 1, "the queue waits");
    connect(&world, instance).await;
    until(&world, &live, &id, "sent").await;
    assert!(events(&world, &id).await.contains(&"message.sent".to_owned()));
    world.finish().await;
}

/// As the one before, at Meta: its token has run out.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_refused_token_keeps_messages_until_it_works(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let graph = Graph::new().await;
    let instance = cloud(&world, &graph, "Support").await;
    connect(&world, instance).await;
    let live = key(&world, "live", |_| {}).await;
    let expired = "Error validating access token: Session has expired.";
    let error = json!({ "error": { "message": expired, "type": "OAuthException", "code": 190, "fbtrace_id": "A1" } });
    graph.plan(401, &[], &error.to_string());
    let id = send(&world, &live, instance, "+60123456789").await;
    let shown = until_disconnected(&world, &live, instance).await;
    assert_eq!((&shown["statusDetail"], &shown["queue"]["paused"]["by"]), (&json!(expired), &json!("session")));
    assert_eq!(shown["queue"]["waiting"], 1);
    let waiting = until(&world, &live, &id, "queued").await;
    assert_eq!(steps(&waiting), ["queued", "sending", "queued"]);
    let told: Value =
        sqlx::query_scalar("select data from events where kind = 'instance.status' order by id desc limit 1")
            .fetch_one(world.db.system())
            .await
            .unwrap();
    assert_eq!((&told["previousStatus"], &told["status"]), (&json!("connected"), &json!("disconnected")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(graph.calls().iter().filter(|call| call.path.ends_with("/messages")).count(), 1, "the queue waits");
    connect(&world, instance).await;
    until(&world, &live, &id, "sent").await;
    world.finish().await;
}

/// Numbers that have been away for a while are asked about, and all say that they are connected.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn only_a_lost_session_comes_back_by_itself(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = idle(options).await;
    let graph = Graph::new().await;
    let created = cloud(&world, &graph, "Created").await;
    let ended = cloud(&world, &graph, "Ended").await;
    connect(&world, ended).await;
    let stopped = Session { status: Status::Disconnected, detail: "stopped".into(), phone: None };
    let now = chrono::Utc::now();
    store::told_by(&world.db, &world.actor(), ended, Connecting::Disconnect, &stopped, now).await.unwrap();
    let sandbox = instance(&world, Settings::Sandbox).await;
    store::told_by(&world.db, &world.actor(), sandbox, Connecting::Disconnect, &stopped, now).await.unwrap();
    let lost = cloud(&world, &graph, "Lost").await;
    connect(&world, lost).await;
    lose(&world, lost).await;

    let live = key(&world, "live", |_| {}).await;
    let mut held = vec![];
    for id in [created, ended, sandbox] {
        held.push((id, send(&world, &live, id, "+60123456789").await));
    }
    let id = send(&world, &live, lost, "+60123456789").await;
    sqlx::query("update queues set paused_at = now() - interval '1 hour'").execute(world.db.system()).await.unwrap();
    world.work().await;
    until(&world, &live, &id, "sent").await;
    // All are asked about in the same round.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (instance, message) in held {
        let shown = get(&world, &live, &format!("/api/v1/instances/{instance}")).await;
        assert_eq!((&shown["status"], &shown["queue"]["paused"]["by"]), (&json!("disconnected"), &json!("session")));
        until(&world, &live, &message, "queued").await;
        // Nor does it leave when somebody lets the queue go on.
        store::pause(&world.db, &world.actor(), instance, chrono::Utc::now()).await.unwrap();
        store::resume(&world.db, &world.actor(), instance, chrono::Utc::now()).await.unwrap();
        until(&world, &live, &message, "queued").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let calls = graph.calls();
    assert_eq!(calls.iter().filter(|call| call.path.ends_with("/messages")).count(), 1, "{calls:#?}");
    // Apart from the templates of a number that is connected again.
    let asked = |path: &str| !path.contains("/message_templates");
    let asked: Vec<_> = calls.iter().filter(|call| call.method == Method::GET && asked(&call.path)).collect();
    assert_eq!(asked.len(), 1, "only the lost one is asked about: {asked:#?}");
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_throttled_message_waits_as_long_as_the_provider_says(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let live = key(&world, "live", |_| {}).await;
    waha.plan(429, &[("retry-after", "1")], "{}");
    let begun = Instant::now();
    let id = send(&world, &live, instance, "+60123456789").await;
    let second = send(&world, &live, instance, "+60123456789").await;
    until(&world, &live, &id, "sent").await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    until(&world, &live, &second, "sent").await;
    let order: Vec<String> = waha
        .calls()
        .into_iter()
        .filter(|call| call.path == "/api/sendText")
        .map(|call| call.body["id"].as_str().unwrap().to_owned())
        .collect();
    let ids: Vec<String> =
        [&id, &id, &second].iter().map(|id| server::providers::waha::chosen_id(id.parse().unwrap())).collect();
    assert_eq!(order, ids, "the second to the same person stays behind the first");
    world.finish().await;
}

/// The provider has it, its answer was lost: it is asked, and sends nothing twice.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_lost_answer_is_found_out(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let live = key(&world, "live", |_| {}).await;
    waha.lose_answers(502);
    let id = send(&world, &live, instance, "+60123456789").await;
    let message = until(&world, &live, &id, "sent").await;
    assert_eq!(steps(&message), ["queued", "sending", "unknown", "sent"]);
    assert_eq!(waha.calls().iter().filter(|call| call.path == "/api/sendText").count(), 1);
    world.finish().await;
}

/// An engine may fail before and after it has handed a message over: it is asked, and what it does not have is sent again.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_engine_that_failed_is_asked_first(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let live = key(&world, "live", |_| {}).await;
    waha.plan(500, &[], r#"{"statusCode":500,"exception":{"message":"Timed Out"}}"#);
    let before = send(&world, &live, instance, "+60123456789").await;
    let message = until(&world, &live, &before, "sent").await;
    assert_eq!(steps(&message), ["queued", "sending", "unknown", "queued", "sending", "sent"]);
    waha.calls();
    waha.lose_answers(500);
    let after = send(&world, &live, instance, "+60123456789").await;
    let message = until(&world, &live, &after, "sent").await;
    assert_eq!(steps(&message), ["queued", "sending", "unknown", "sent"]);
    assert_eq!(waha.calls().iter().filter(|call| call.path == "/api/sendText").count(), 1);
    world.finish().await;
}

/// Another server took this one for lost: what is still being sent is broken off at once, not when the provider answers.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_attempt_whose_claim_is_lost_is_broken_off(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let silent = faulty(move |mut stream| {
        let tell = tell.clone();
        async move {
            let request = String::from_utf8_lossy(&read_request(&mut stream).await).into_owned();
            _ = tell.send(request.lines().next().unwrap_or_default().to_owned());
            // Nothing is answered; the read ends when the other side hangs up.
            _ = stream.read(&mut [0]).await;
            _ = tell.send("hung up".into());
        }
    })
    .await;
    let base_url = format!("http://{}", silent.address);
    let instance = instance(&world, Settings::Waha(WahaSettings { base_url, session: "default".into() })).await;
    connect(&world, instance).await;
    let live = key(&world, "live", |_| {}).await;
    let id = send(&world, &live, instance, "+60123456789").await;
    assert_eq!(told.recv().await.unwrap(), "POST /api/sendText HTTP/1.1");
    let begun = Instant::now();
    let taken = sqlx::query(
        "update outbox set state = 'unknown', unknown_at = now(), server_id = gen_random_uuid(),
                           lease_until = now() + interval '1 hour'
         where state = 'sending'",
    )
    .execute(world.db.system())
    .await
    .unwrap();
    assert_eq!(taken.rows_affected(), 1);
    assert_eq!(told.recv().await.unwrap(), "hung up");
    // A round of renewals, and as long again until the attempt looks; a provider may take 30 s and more.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let message = until(&world, &live, &id, "unknown").await;
    assert_eq!(steps(&message), ["queued", "sending", "unknown"]);
    assert!(told.try_recv().is_err(), "it is not sent again");
    world.finish().await;
}

/// What no database takes as an id holds up neither the writer nor the other messages.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_nonsense_id_holds_nobody_up(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let live = key(&world, "live", |_| {}).await;
    for (n, nonsense) in [r"a\u0000b".to_owned(), "x".repeat(10_000)].into_iter().enumerate() {
        waha.plan(201, &[], &format!(r#"{{"id":"{nonsense}"}}"#));
        let odd = send(&world, &live, instance, &format!("+6012345000{n}")).await;
        let message = until(&world, &live, &odd, "unknown").await;
        assert_eq!(steps(&message), ["queued", "sending", "unknown"]);
        let next = send(&world, &live, instance, &format!("+6012345001{n}")).await;
        until(&world, &live, &next, "sent").await;
    }
    world.finish().await;
}

/// Gaps as they arrive at the provider.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn paced_messages_keep_their_distance(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = working(options).await;
    let waha = Waha::new(None).await;
    let instance = connected_waha(&world, &waha).await;
    let careful = key(&world, "live", |form| {
        form.throttle_mode = "random".into();
        form.min_delay = "0.2".into();
        form.max_delay = "0.4".into();
    })
    .await;
    let mut ids = vec![];
    for n in 0..8 {
        ids.push(send(&world, &careful, instance, &format!("+6012345678{n}")).await);
    }
    let mut at: Vec<chrono::DateTime<chrono::Utc>> = vec![];
    for id in &ids {
        let message = until(&world, &careful, id, "sent").await;
        let steps = message["timeline"].as_array().unwrap();
        at.push(
            steps.iter().find(|step| step["status"] == "sending").unwrap()["at"].as_str().unwrap().parse().unwrap(),
        );
    }
    for pair in at.windows(2) {
        let gap = (pair[1] - pair[0]).num_milliseconds();
        assert!((200..2_000).contains(&gap), "{gap} ms");
    }
    world.finish().await;
}
