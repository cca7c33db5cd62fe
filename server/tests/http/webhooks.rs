//! Webhook endpoints from the first call to the last attempt: the API, and deliveries to a server of the test's own.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::Utc;
use domain::{
    conversations::{self, NewInbound},
    ids::{EndpointId, OrgId},
    instances::{self, InstanceForm, Session, Status},
    keys::Environment,
    webhooks::{
        self,
        events::{self, NewEvent},
    },
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use server::workers::{
    self,
    deliverer::{self, Patience},
    listener,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use standardwebhooks::Webhook;

use crate::world::{Answer, Key, World, eventually, request};

const ALL: &[&str] = &["webhooks:manage"];

/// A customer's server: remembers what it was sent, and answers as it is told.
#[derive(Clone, Default)]
struct Sink(Arc<Inner>);

#[derive(Default)]
struct Inner {
    got: Mutex<Vec<Got>>,
    /// Answers of the next requests; 204 when there are no more.
    answers: Mutex<VecDeque<Response>>,
    /// How long each answer takes.
    pause: Mutex<Duration>,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Clone)]
struct Got {
    at: Instant,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

impl Sink {
    async fn start() -> (Self, SocketAddr) {
        let sink = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(Self::take).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (sink, address)
    }

    async fn take(State(sink): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let inner = sink.0;
        let now = inner.now.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(now, Ordering::SeqCst);
        inner.got.lock().unwrap().push(Got { at: Instant::now(), headers, body });
        let pause = *inner.pause.lock().unwrap();
        tokio::time::sleep(pause).await;
        inner.now.fetch_sub(1, Ordering::SeqCst);
        let answer = inner.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
    }

    fn answer(&self, answer: impl IntoResponse) {
        self.0.answers.lock().unwrap().push_back(answer.into_response());
    }

    fn pause(&self, pause: Duration) {
        *self.0.pause.lock().unwrap() = pause;
    }

    fn got(&self) -> Vec<Got> {
        self.0.got.lock().unwrap().clone()
    }

    async fn gets(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} requests"), async || self.got().len() >= count).await;
        self.got()
    }
}

/// A server with its workers that may deliver to this machine.
async fn world(options: PgConnectOptions) -> World {
    let mut world = quiet(options).await;
    world.workers = workers::start(&world.state);
    world
}

/// The same without workers.
async fn quiet(options: PgConnectOptions) -> World {
    let more = ["--public-url", "http://bouncer.example", "--allow-private-webhooks", "127.0.0.0/8"];
    let world = World::with(options, &more).await;
    // As a server does before it serves: rows that move into a new partition are out of sight for a moment.
    domain::partitions::keep(&world.db, Utc::now()).await.unwrap();
    world
}

impl World {
    async fn call(&self, method: Method, path: &str, key: &Key, body: Value) -> Answer {
        let request = request(method, path)
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .unwrap();
        self.send(request).await
    }

    /// An endpoint for this address: its id and secret.
    async fn hook(&self, key: &Key, address: SocketAddr, more: Value) -> (EndpointId, String) {
        let mut body = json!({"url": format!("http://{address}/hook"), "events": ["*"], "environment": "both"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call(Method::POST, "/api/v1/webhooks", key, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let made = answer.json();
        (made["id"].as_str().unwrap().parse().unwrap(), made["secret"].as_str().unwrap().to_owned())
    }

    async fn emit(&self, kind: &'static str, count: usize) {
        self.emit_for(self.acme, kind, count).await;
    }

    async fn emit_for(&self, organization: OrgId, kind: &'static str, count: usize) {
        let event = |n| NewEvent {
            organization,
            environment: Environment::Live,
            kind,
            at: Utc::now(),
            data: json!({ "n": n }),
            message: None,
            key: None,
        };
        let events: Vec<_> = (0..count).map(event).collect();
        let mut tx = self.db.system().begin().await.unwrap();
        events::emit(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn deliveries(&self, key: &Key, id: EndpointId) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/webhooks/{id}/deliveries?limit=100"), Some(key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].as_array().unwrap().clone()
    }

    /// Waits until the newest delivery has this status; with its attempts.
    async fn delivered(&self, key: &Key, id: EndpointId, status: &str) -> Value {
        eventually(&format!("a delivery that is {status}"), async || {
            self.deliveries(key, id).await.first().is_some_and(|delivery| delivery["status"] == status)
        })
        .await;
        let delivery = self.deliveries(key, id).await[0]["id"].as_str().unwrap().to_owned();
        self.get(&format!("/api/v1/webhook-deliveries/{delivery}"), Some(key)).await.json()
    }

    async fn webhook(&self, key: &Key, id: EndpointId) -> Value {
        self.get(&format!("/api/v1/webhooks/{id}"), Some(key)).await.json()
    }
}

fn errors(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.problem(), "validation_failed", "{}", answer.text());
    let body = answer.json();
    let text = |error: &Value| format!("{}: {}", error["field"].as_str().unwrap(), error["message"].as_str().unwrap());
    body["errors"].as_array().unwrap().iter().map(text).collect()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_endpoint_lives_and_ends(_: PgPoolOptions, options: PgConnectOptions) {
    let world = quiet(options).await;
    let key = world.key("hooks", ALL).await;
    // Both names of both fields.
    let body = json!({"target_url": "https://hooks.example/a", "event": "message.*", "headers": {"X-Token": "abc"}});
    let answer = world.call(Method::POST, "/api/v1/webhooks", &key, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!(made["headers"], json!(["X-Token"]));
    assert_eq!(made["environment"], "live", "that of the key");
    assert_eq!(made["createdBy"], "API key hooks");
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());

    let read = world.get(&path, Some(&key)).await;
    assert_eq!(read.json()["url"], "https://hooks.example/a");
    assert_eq!(read.json()["events"], json!(["message.*"]));
    assert_eq!(read.json()["health"]["pending"], 0);
    let list = world.get("/api/v1/webhooks", Some(&key)).await;
    for text in [read.text(), list.text()] {
        assert!(!text.contains("whsec_") && !text.contains("abc"), "{text}");
    }
    assert_eq!(list.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(list.json()["nextCursor"], Value::Null);

    let patch =
        json!({"description": "Shop", "rateLimit": 50, "disabled": true, "headers": {"X-Token": null, "X-New": "1"}});
    let patched = world.call(Method::PATCH, &path, &key, patch).await.json();
    assert_eq!(patched["status"], "disabled");
    assert_eq!(patched["disabledReason"], "person");
    assert_eq!(patched["headers"], json!(["X-New", "X-Token"]));
    assert_eq!(patched["rateLimit"], 50);
    assert_eq!(patched["events"], json!(["message.*"]), "what is left out stays");
    let patched = world.call(Method::PATCH, &path, &key, json!({"rateLimit": null, "disabled": false})).await.json();
    assert_eq!((&patched["rateLimit"], &patched["status"]), (&Value::Null, &json!("enabled")));

    let rotated = world.call(Method::POST, &format!("{path}/rotate-secret"), &key, json!({})).await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    assert!(rotated["oldSecretEndsAt"].is_string());

    let deleted = world.call(Method::DELETE, &path, &key, json!({})).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.len()), (204, 0));
    assert_eq!(world.get(&path, Some(&key)).await.problem(), "not_found");
    assert_eq!(world.call(Method::DELETE, &path, &key, json!({})).await.problem(), "not_found");
}

/// Values of headers are never shown, and cannot be had by having them sent elsewhere either.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn another_server_needs_the_headers_again(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let ((shop, address), (evil, elsewhere)) = (Sink::start().await, Sink::start().await);
    let (id, _) = world.hook(&key, address, json!({"headers": {"X-Token": "hush", "X-Shop": "graz"}})).await;
    let path = format!("/api/v1/webhooks/{id}");
    let patch = async |body: Value| world.call(Method::PATCH, &path, &key, body).await;
    let evil_url = format!("http://{elsewhere}/hook");
    let again = |name: &str| format!("headers.{name}: The address has changed: give the value again.");
    for url in ["url", "target_url"] {
        let refused = patch(json!({ url: evil_url })).await;
        assert_eq!((refused.status.as_u16(), errors(&refused)), (422, vec![again("X-Shop"), again("X-Token")]));
    }
    let refused = patch(json!({"url": evil_url, "headers": {"X-Shop": "wien", "X-Token": null}})).await;
    assert_eq!(errors(&refused), [again("X-Token")]);
    world.emit("message.sent", 1).await;
    assert_eq!(shop.gets(1).await[0].headers["x-token"], "hush");

    // Another path is the same server; another server gets what is given for it.
    assert_eq!(patch(json!({"url": format!("http://{address}/other")})).await.status, 200);
    let moved = patch(json!({"url": evil_url, "headers": {"X-Token": "other"}})).await;
    assert_eq!((moved.status.as_u16(), &moved.json()["headers"]), (200, &json!(["X-Token"])), "{}", moved.text());
    eventually("the other server hears", async || {
        world.emit("message.sent", 1).await;
        !evil.got().is_empty()
    })
    .await;
    for got in evil.got() {
        assert_eq!((&got.headers["x-token"], got.headers.get("x-shop")), (&"other".parse().unwrap(), None));
    }
    world.finish().await;
}

/// Two calls that change different fields at the same moment: what is answered with 200 holds.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn no_change_is_lost_to_another(_: PgPoolOptions, options: PgConnectOptions) {
    let world = quiet(options).await;
    let key = world.key("hooks", ALL).await;
    let (id, _) = world.hook(&key, "127.0.0.1:9".parse().unwrap(), json!({})).await;
    let path = format!("/api/v1/webhooks/{id}");
    let patch = async |body: Value| world.call(Method::PATCH, &path, &key, body).await;
    // Both have read the endpoint before either may write.
    let mut tx = world.db.system().begin().await.unwrap();
    sqlx::query("select from webhook_endpoints for update").execute(&mut *tx).await.unwrap();
    let release = async {
        eventually("both wait for the row", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(world.db.system())
            .await
            .unwrap();
            waiting == 2
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (shop, slow, ()) =
        tokio::join!(patch(json!({"description": "Shop"})), patch(json!({"concurrency": 3})), release);
    let (done, refused) = if shop.status == 200 { (shop, slow) } else { (slow, shop) };
    assert_eq!((done.status.as_u16(), refused.problem()), (200, "conflict".to_owned()), "{}", done.text());
    let answered = done.json();
    let now = world.webhook(&key, id).await;
    for field in ["description", "concurrency"] {
        assert_eq!(now[field], answered[field], "{field}");
    }
    // Asked for again, both hold.
    assert_eq!(patch(json!({"description": "Shop"})).await.status, 200);
    let both = patch(json!({"concurrency": 3})).await.json();
    assert_eq!((&both["description"], &both["concurrency"]), (&json!("Shop"), &json!(3)));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_is_wrong_is_named(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("hooks", ALL).await;
    let wrong = async |body: Value| errors(&world.call(Method::POST, "/api/v1/webhooks", &key, body).await);
    insta::assert_snapshot!(
        [
            wrong(json!({})).await,
            wrong(json!({"url": "http://example.com", "events": ["message.snt"], "headers": {"Host": "x", "Y": null}})).await,
            wrong(json!({"url": "https://a.example", "events": ["*"], "evnts": 1})).await,
            wrong(json!({"url": "https://10.0.0.1", "events": []})).await,
            wrong(json!({"url": "https://a.example", "target_url": "https://b.example", "events": ["*"], "event": "*"})).await,
            wrong(json!({"url": 7, "events": "message.sent", "headers": {"X": 1}})).await,
            wrong(json!({"url": "https://a.example", "events": ["*"], "concurrency": 0, "rateLimit": 10001, "environment": "prod"})).await,
            wrong(json!({"url": "https://a.example\u{0}", "events": ["*"]})).await,
        ]
        .map(|errors| errors.join("\n"))
        .join("\n\n"),
        @r"
    url: This is required.
    events: Choose at least one event, or * for all.

    events[0]: There is no event “message.snt”.
    headers.Host: This header cannot be chosen.
    headers.Y: This needs a value.
    url: The address must begin with https://.

    evnts: There is no such field.

    events: Choose at least one event, or * for all.
    url: 10.0.0.1 is not an address of the public internet.

    target_url: Send url or target_url, not both.
    event: Send events or event, not both.

    events: This must be a list of texts.
    url: This must be a text.
    headers.X: This must be a text.

    environment: This must be live, test or both.
    concurrency: This must be a whole number from 1 to 100.
    rateLimit: This must be a whole number from 1 to 10000.

    url: This must not contain the character NUL (\u0000).
    "
    );
    // Every spelling that the client would refuse is refused here, too.
    for url in ["http://169.254.169.254/", "https://[::ffff:10.0.0.1]/", "https://0x0a.1/", "https://localhost./x"] {
        let errors = wrong(json!({"url": url, "events": ["*"]})).await;
        assert!(errors.len() == 1 && errors[0].starts_with("url: "), "{url}: {errors:?}");
    }
}

/// An endpoint that names a time is heard, whatever it calls its failure.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn every_failed_answer_may_ask_for_time(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    for status in [302, 404, 429, 500, 503] {
        let (sink, address) = Sink::start().await;
        sink.answer((StatusCode::from_u16(status).unwrap(), [("retry-after", "3600")]));
        let (id, _) = world.hook(&key, address, json!({})).await;
        world.emit("message.sent", 1).await;
        sink.gets(1).await;
        let wait = async || {
            sqlx::query_scalar::<_, f64>(
                "select extract(epoch from due - last_attempt_at)::float8 from deliveries
                 where endpoint_id = $1 and status = 'pending' and attempt = 1",
            )
            .bind(id.0)
            .fetch_optional(world.db.system())
            .await
            .unwrap()
        };
        eventually("the next attempt is planned", async || wait().await.is_some()).await;
        let seconds = wait().await.unwrap();
        assert!((3_590.0..3_620.0).contains(&seconds), "{status}: {seconds} s");
        let path = format!("/api/v1/webhooks/{id}");
        assert_eq!(world.call(Method::DELETE, &path, &key, json!({})).await.status, 204);
    }
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_test_key_hears_of_tests_only(_: PgPoolOptions, options: PgConnectOptions) {
    let world = quiet(options).await;
    let live = world.key("live", ALL).await;
    let test = world.key_with(world.acme, "test", ALL, |form| form.environment = "test".into()).await;
    let make = async |key: &Key, environment: Value| {
        let body = json!({"url": "https://a.example", "events": ["*"], "environment": environment});
        world.call(Method::POST, "/api/v1/webhooks", key, body).await
    };
    for environment in ["live", "both"] {
        let errors = errors(&make(&test, environment.into()).await);
        assert_eq!(errors, ["environment: A test key makes endpoints for test events only."]);
    }
    let theirs = make(&test, Value::Null).await.json();
    assert_eq!(theirs["environment"], "test");
    let others = make(&live, "both".into()).await.json();
    let path = format!("/api/v1/webhooks/{}", others["id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/test")),
        (Method::POST, format!("{path}/rotate-secret")),
        (Method::GET, format!("{path}/deliveries")),
    ] {
        assert_eq!(world.call(method, &path, &test, json!({})).await.problem(), "not_found", "{path}");
    }
    let list = world.get("/api/v1/webhooks", Some(&test)).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let own = format!("/api/v1/webhooks/{}", theirs["id"].as_str().unwrap());
    let widened = world.call(Method::PATCH, &own, &test, json!({"environment": "both"})).await;
    assert_eq!(errors(&widened).len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_test_event_arrives_signed(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    sink.answer((StatusCode::OK, [("x-answer", "yes")], "thank you\0"));
    let more = json!({"events": ["message.sent"], "headers": {"Authorization": "Bearer hush-hush"}});
    let (id, secret) = world.hook(&key, address, more).await;
    let sent = world.call(Method::POST, &format!("/api/v1/webhooks/{id}/test"), &key, json!({})).await;
    assert_eq!(sent.status, 202, "{}", sent.text());

    let got = sink.gets(1).await.remove(0);
    Webhook::new(&secret).unwrap().verify(&got.body, &got.headers).unwrap();
    assert_eq!(got.headers["webhook-id"], sent.json()["eventId"].as_str().unwrap());
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.headers["user-agent"], format!("Bouncer/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(got.headers["authorization"], "Bearer hush-hush");
    assert_eq!(got.kind(), "test.ping");
    assert_eq!(got.json()["data"]["webhookId"], id.to_string());
    assert!(got.json()["timestamp"].as_str().unwrap().ends_with('Z'));

    let delivery = world.delivered(&key, id, "succeeded").await;
    assert_eq!(delivery["id"], sent.json()["deliveryId"]);
    assert_eq!(delivery["payload"], got.json());
    let attempt = &delivery["attemptLog"][0];
    assert_eq!((&attempt["status"], &attempt["error"], &attempt["number"]), (&json!(200), &Value::Null, &json!(1)));
    assert_eq!(attempt["address"], address.to_string());
    assert_eq!(attempt["responseBody"], "thank you\u{fffd}");
    let shown = |list: &str, name: &str| {
        let list = attempt[list].as_array().unwrap();
        list.iter().find(|header| header["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown("responseHeaders", "x-answer"), "yes");
    assert_eq!(shown("requestHeaders", "authorization"), "(hidden)");
    assert_eq!(shown("requestHeaders", "webhook-id"), got.headers["webhook-id"].to_str().unwrap());
    assert_eq!(world.webhook(&key, id).await["health"]["succeeded"], 1);

    // While the secret is replaced, both sign.
    let rotated =
        world.call(Method::POST, &format!("/api/v1/webhooks/{id}/rotate-secret"), &key, json!({})).await.json();
    let newer = rotated["secret"].as_str().unwrap();
    eventually("a request with both signatures", async || {
        world.call(Method::POST, &format!("/api/v1/webhooks/{id}/test"), &key, json!({})).await;
        let seen = sink.got().len();
        let got = sink.gets(seen.max(2)).await.pop().unwrap();
        Webhook::new(&secret).unwrap().verify(&got.body, &got.headers).unwrap();
        Webhook::new(newer).unwrap().verify(&got.body, &got.headers).is_ok()
    })
    .await;
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_fails_is_tried_again_with_the_same_id(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    let (id, secret) = world.hook(&key, address, json!({})).await;
    // A redirect is a failure, wherever it leads.
    let (elsewhere, other) = Sink::start().await;
    sink.answer((StatusCode::FOUND, [("location", format!("http://{other}/"))]));
    world.emit("message.sent", 1).await;
    let delivery = world.delivered(&key, id, "pending").await;
    eventually("the first attempt is written down", async || {
        world.webhook(&key, id).await["lastError"] == "The endpoint answered 302 Found; redirects are not followed."
    })
    .await;
    assert!(world.webhook(&key, id).await["failingSince"].is_string());

    let got = sink.gets(2).await;
    let pause = got[1].at - got[0].at;
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&pause), "{pause:?}");
    assert_eq!(got[0].headers["webhook-id"], got[1].headers["webhook-id"]);
    assert_ne!(got[0].headers["webhook-timestamp"], got[1].headers["webhook-timestamp"]);
    assert_eq!(got[0].body, got[1].body);
    for got in &got {
        Webhook::new(&secret).unwrap().verify(&got.body, &got.headers).unwrap();
    }
    let again = world.delivered(&key, id, "succeeded").await;
    assert_eq!((&again["id"], &again["attempts"]), (&delivery["id"], &json!(2)));
    assert_eq!(again["attemptLog"].as_array().unwrap().len(), 2);
    assert_eq!(world.webhook(&key, id).await["failingSince"], Value::Null);
    assert!(elsewhere.got().is_empty());
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn gone_is_gone(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    let (watching, watcher) = Sink::start().await;
    let (id, _) = world.hook(&key, address, json!({"events": ["message.*"]})).await;
    world.hook(&key, watcher, json!({"events": ["webhook.disabled"]})).await;
    sink.answer(StatusCode::GONE);
    world.emit("message.sent", 1).await;
    let told = watching.gets(1).await.remove(0).json();
    assert_eq!(told["type"], "webhook.disabled");
    assert_eq!(told["data"]["webhookId"], id.to_string());
    assert_eq!(told["data"]["reason"], "gone");
    let webhook = world.webhook(&key, id).await;
    assert_eq!((&webhook["status"], &webhook["disabledReason"]), (&json!("disabled"), &json!("gone")));
    let delivery = world.delivered(&key, id, "failed").await;
    assert_eq!(delivery["lastError"], "The endpoint answered 410 Gone; it was disabled.");

    // What happens meanwhile was never attempted, and can be sent once the endpoint is back.
    world.emit("message.read", 3).await;
    let delivery = world.delivered(&key, id, "cancelled").await;
    assert_eq!((&delivery["attempts"], &delivery["lastError"]), (&json!(0), &json!("The endpoint was disabled.")));
    assert_eq!(world.webhook(&key, id).await["health"]["neverAttempted"], 3);
    let resend = format!("/api/v1/webhook-deliveries/{}/resend", delivery["id"].as_str().unwrap());
    assert_eq!(world.call(Method::POST, &resend, &key, json!({})).await.problem(), "conflict");
    world.call(Method::PATCH, &format!("/api/v1/webhooks/{id}"), &key, json!({"disabled": false})).await;
    let body = json!({"webhookId": id, "neverAttempted": true});
    // Counted first: nothing is begun by that, with an Idempotency-Key or without.
    let mut asked = body.clone();
    asked["dryRun"] = true.into();
    for _ in 0..2 {
        let request = request(Method::POST, "/api/v1/webhook-deliveries/resend")
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .header("idempotency-key", "counted")
            .body(asked.to_string().into())
            .unwrap();
        let counted = world.send(request).await;
        assert_eq!((counted.status.as_u16(), counted.json()), (200, json!({"count": 3})), "{}", counted.text());
        assert_eq!(counted.header("idempotent-replayed"), "");
    }
    let jobs: i64 = sqlx::query_scalar("select count(*) from resend_jobs").fetch_one(world.db.system()).await.unwrap();
    assert_eq!((jobs, world.webhook(&key, id).await["health"]["neverAttempted"].clone()), (0, json!(3)));
    let job = world.call(Method::POST, "/api/v1/webhook-deliveries/resend", &key, body).await;
    assert_eq!((job.status.as_u16(), &job.json()["total"]), (202, &json!(3)), "{}", job.text());
    let got = sink.gets(4).await;
    assert_eq!(
        got.iter().map(Got::kind).collect::<Vec<_>>(),
        ["message.sent", "message.read", "message.read", "message.read"]
    );
    let path = format!("/api/v1/webhook-jobs/{}", job.json()["id"].as_str().unwrap());
    eventually("the job ends", async || world.get(&path, Some(&key)).await.json()["status"] == "finished").await;
    assert_eq!(world.get(&path, Some(&key)).await.json()["done"], 3);
    // Cancelling what has ended changes nothing.
    assert_eq!(world.call(Method::DELETE, &path, &key, json!({})).await.json()["status"], "finished");
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn one_that_hangs_delays_nobody(_: PgPoolOptions, options: PgConnectOptions) {
    let world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (hanging, hangs) = Sink::start().await;
    hanging.pause(Duration::from_secs(60));
    let (quick, answers) = Sink::start().await;
    world.hook(&key, hangs, json!({})).await;
    world.hook(&key, answers, json!({})).await;
    world.emit("message.sent", 100).await;
    let begun = Instant::now();
    hanging.gets(10).await;
    for _ in 0..5 {
        world.emit("message.sent", 40).await;
    }
    quick.gets(300).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hanging.0.most.load(Ordering::SeqCst), 10, "no more than its own places");
    // The workers are not waited for: they would wait for the hanging attempts.
}

/// An endpoint that never answers: the attempt ends, is written down and made again later; the endpoint gets half as
/// many requests at once, and nobody else notices.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn silence_ends_an_attempt(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = quiet(options).await;
    let patience = Patience { answer: Duration::from_secs(1), slow: Duration::from_millis(500) };
    world.workers.spawn(listener::run(world.state.clone()));
    world.workers.spawn(deliverer::run(world.state.clone(), patience));
    let key = world.key("hooks", ALL).await;
    let ((silent, says_nothing), (quick, answers)) = (Sink::start().await, Sink::start().await);
    silent.pause(Duration::from_secs(60));
    let (id, _) = world.hook(&key, says_nothing, json!({"events": ["message.*"], "concurrency": 8})).await;
    world.hook(&key, answers, json!({})).await;
    world.emit("message.sent", 1).await;
    silent.gets(1).await;
    eventually("the attempt is written down", async || {
        world.webhook(&key, id).await["lastError"] == "There was no whole answer within 1 s."
    })
    .await;
    let delivery = world.delivered(&key, id, "pending").await;
    let attempt = &delivery["attemptLog"][0];
    assert_eq!(
        (&attempt["status"], &attempt["error"]),
        (&Value::Null, &json!("There was no whole answer within 1 s."))
    );
    assert!((1_000..2_000).contains(&attempt["durationMs"].as_u64().unwrap()), "{attempt}");
    let time = |name: &str| delivery[name].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap();
    // The time-out, then 5 s, give or take a fifth.
    let wait = (time("nextAttemptAt") - time("lastAttemptAt")).num_milliseconds();
    assert!((5_000..8_000).contains(&wait), "{wait} ms");

    // Four of the eight, and the fifth when one of them has ended.
    world.emit("message.read", 5).await;
    quick.gets(6).await;
    let got = silent.gets(6).await;
    assert!(got[5].at - got[1].at >= Duration::from_millis(900), "{:?}", got[5].at - got[1].at);
    assert!(got[4].at - got[1].at < Duration::from_millis(900), "{:?}", got[4].at - got[1].at);
    assert!(quick.got()[5].at < got[5].at, "the other one was not kept waiting");

    // Once it speaks again it gets everything.
    silent.pause(Duration::ZERO);
    eventually("all are delivered", async || {
        sqlx::query("update deliveries set due = now() where status = 'pending' and attempt > 0")
            .execute(world.db.system())
            .await
            .unwrap();
        world.deliveries(&key, id).await.iter().all(|delivery| delivery["status"] == "succeeded")
    })
    .await;
    world.finish().await;
}

/// However many endpoints an organization has that hang: it takes no more than its share of the places.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_organization_that_hangs_delays_no_other(_: PgPoolOptions, options: PgConnectOptions) {
    let world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (hanging, hangs) = Sink::start().await;
    hanging.pause(Duration::from_secs(60));
    for n in 0..16 {
        world.hook(&key, hangs, json!({ "description": format!("Number {n}") })).await;
    }
    let evil = world.foreign().await;
    let other = world.key_with(evil, "other", ALL, |_| {}).await;
    let (quick, answers) = Sink::start().await;
    world.hook(&other, answers, json!({})).await;
    world.emit("message.sent", 20).await;
    hanging.gets(128).await;
    let begun = Instant::now();
    for _ in 0..5 {
        world.emit_for(evil, "message.sent", 40).await;
    }
    quick.gets(200).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hanging.0.most.load(Ordering::SeqCst), 128, "a quarter of 512, although 160 may at once");
    // The workers are not waited for: they would wait for the hanging attempts.
}

impl World {
    /// An organization with so many retries due as can be under way, 200: the first attempts of four endpoints have
    /// failed. Its other endpoint hears of `instance.status` and has nothing to do.
    async fn with_retries(&self, name: &str, hanging: SocketAddr, other: SocketAddr) -> OrgId {
        let organization = OrgId::new();
        sqlx::query("insert into organizations (id, name) values ($1, $2)")
            .bind(organization.0)
            .bind(name)
            .execute(self.db.system())
            .await
            .unwrap();
        let key = self.key_with(organization, name, ALL, |_| {}).await;
        for _ in 0..4 {
            self.hook(&key, hanging, json!({"events": ["message.*"], "concurrency": 100})).await;
        }
        self.hook(&key, other, json!({"events": ["instance.status"]})).await;
        self.emit_for(organization, "message.sent", 60).await;
        sqlx::query("update deliveries set attempt = 1 where organization_id = $1")
            .bind(organization.0)
            .execute(self.db.system())
            .await
            .unwrap();
        organization
    }
}

/// However many retries of an organization hang: half of its places is left for first attempts.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn retries_that_hang_delay_no_first_attempt(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = quiet(options).await;
    let ((hanging, hangs), (quick, answers)) = (Sink::start().await, Sink::start().await);
    hanging.pause(Duration::from_secs(60));
    let organization = world.with_retries("Acme Too", hangs, answers).await;
    world.workers = workers::start(&world.state);
    hanging.gets(64).await;
    let begun = Instant::now();
    for _ in 0..5 {
        world.emit_for(organization, "instance.status", 40).await;
    }
    quick.gets(200).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hanging.0.most.load(Ordering::SeqCst), 64, "half of 128, although 200 may at once");
    // The workers are not waited for: they would wait for the hanging attempts.
}

/// Nor do those of many organizations together.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn retries_of_all_delay_no_first_attempt(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = quiet(options).await;
    let ((hanging, hangs), (quick, answers)) = (Sink::start().await, Sink::start().await);
    hanging.pause(Duration::from_secs(60));
    let mut organizations = Vec::new();
    for n in 0..6 {
        organizations.push(world.with_retries(&format!("Number {n}"), hangs, answers).await);
    }
    world.workers = workers::start(&world.state);
    hanging.gets(256).await;
    let begun = Instant::now();
    for organization in organizations {
        world.emit_for(organization, "instance.status", 40).await;
    }
    quick.gets(240).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hanging.0.most.load(Ordering::SeqCst), 256, "half of 512, although 384 may at once");
    // The workers are not waited for: they would wait for the hanging attempts.
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn its_own_limits_hold(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    sink.pause(Duration::from_millis(30));
    world.hook(&key, address, json!({"concurrency": 3, "rateLimit": 20})).await;
    world.emit("message.sent", 50).await;
    let got = sink.gets(50).await;
    assert_eq!(sink.0.most.load(Ordering::SeqCst), 3);
    // Of the first twenty and the next ones at least a second lies between; the network may bring them 50 ms closer.
    for pair in got.windows(21) {
        assert!(pair[20].at - pair[0].at > Duration::from_millis(950), "{:?}", pair[20].at - pair[0].at);
    }
    world.finish().await;
}

/// An address that became forbidden after it was saved is not connected to.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_address_is_judged_at_each_attempt(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (_, address) = Sink::start().await;
    let (id, _) = world.hook(&key, address, json!({})).await;
    sqlx::query("update webhook_endpoints set url = 'http://169.254.169.254/latest/meta-data'")
        .execute(world.db.system())
        .await
        .unwrap();
    world.emit("message.sent", 1).await;
    eventually("the attempt is refused", async || {
        world.webhook(&key, id).await["lastError"] == "http:// is not allowed for 169.254.169.254; use https://."
    })
    .await;
    let delivery = world.delivered(&key, id, "pending").await;
    assert_eq!(delivery["attemptLog"][0]["status"], Value::Null);
    assert_eq!(delivery["attemptLog"][0]["address"], Value::Null);
    world.finish().await;
}

/// A server that died in the middle: its deliveries are another server's after the lease.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_a_dead_server_left_behind_is_delivered(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = quiet(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    let (id, _) = world.hook(&key, address, json!({})).await;
    world.emit("message.sent", 5).await;
    let dead = uuid::Uuid::new_v4();
    domain::webhooks::queue::own(&world.db, &world.state.sealer, dead, &[id]).await.unwrap();
    let (claimed, _) = domain::webhooks::queue::claim(&world.db, dead, id, 3, 0).await.unwrap();
    assert_eq!(claimed.len(), 3);
    world.workers = workers::start(&world.state);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(sink.got().is_empty(), "the lease holds");
    sqlx::query("update webhook_endpoints set owner_until = now()").execute(world.db.system()).await.unwrap();
    assert_eq!(sink.gets(5).await.len(), 5);
    world.delivered(&key, id, "succeeded").await;

    // Two servers at once: each delivery is one server's.
    let settings =
        crate::world::settings(&["--public-url", "http://bouncer.example", "--allow-private-webhooks", "127.0.0.0/8"]);
    let other = server::state::AppState::new(world.db.clone(), &settings).unwrap();
    let mut others = workers::start(&other);
    for _ in 0..20 {
        world.emit("message.read", 10).await;
    }
    sink.gets(205).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sink.got().len(), 205, "nothing twice");

    // Stopping gives endpoints up at once: nobody waits for a lease.
    world.finish().await;
    let left: i64 = sqlx::query_scalar("select count(*) from deliveries where status <> 'succeeded'")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(left, 0);
    world.emit("message.failed", 1).await;
    sink.gets(206).await;
    other.drain();
    other.stop();
    while others.join_next().await.is_some() {}
    let owned: i64 = sqlx::query_scalar("select count(*) from webhook_endpoints where owner_id is not null")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(owned, 0);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn deliveries_are_listed_filtered_and_resent(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = world(options).await;
    let key = world.key("hooks", ALL).await;
    let (sink, address) = Sink::start().await;
    let (id, _) = world.hook(&key, address, json!({})).await;
    world.emit("message.sent", 3).await;
    world.emit("instance.status", 1).await;
    sink.gets(4).await;
    eventually("all are written down", async || {
        world.deliveries(&key, id).await.iter().all(|delivery| delivery["status"] == "succeeded")
    })
    .await;
    let path = format!("/api/v1/webhooks/{id}/deliveries");
    let page = async |query: &str| {
        let answer = world.get(&format!("{path}?{query}"), Some(&key)).await.json();
        let kinds: Vec<_> =
            answer["data"].as_array().unwrap().iter().map(|d| d["event"].as_str().unwrap().to_owned()).collect();
        (kinds, answer["nextCursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page("limit=3").await;
    assert_eq!(first, ["instance.status", "message.sent", "message.sent"]);
    let (rest, end) = page(&format!("limit=3&cursor={}", cursor.unwrap())).await;
    assert_eq!((rest.len(), end), (1, None));
    assert_eq!(page("event=message.*&codeClass=2&status=succeeded").await.0.len(), 3);
    assert_eq!(page("event=message.*&codeClass=5").await.0.len(), 0);
    let wrong = world.get(&format!("{path}?event=nothing&status=done&codeClass=9&sorted=yes"), Some(&key)).await;
    let fields: Vec<_> = errors(&wrong).into_iter().map(|e| e.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(fields.len(), 4, "{fields:?}");

    let newest = world.deliveries(&key, id).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/webhook-deliveries/{newest}/resend");
    assert_eq!(world.call(Method::POST, &path, &key, json!({})).await.status, 202);
    let got = sink.gets(5).await;
    assert_eq!(got[4].headers["webhook-id"], got[3].headers["webhook-id"]);
    assert_eq!(errors(&world.call(Method::POST, "/api/v1/webhook-deliveries/resend", &key, json!({})).await).len(), 1);

    // Another organization sees nothing of it.
    let foreign = world.foreign().await;
    let eve = world.key_with(foreign, "eve", ALL, |_| {}).await;
    for (method, path) in [
        (Method::GET, format!("/api/v1/webhook-deliveries/{newest}")),
        (Method::POST, path),
        (Method::GET, format!("/api/v1/webhooks/{id}/deliveries")),
        (Method::GET, format!("/api/v1/webhooks/{id}")),
    ] {
        assert_eq!(world.call(method, &path, &eve, json!({})).await.problem(), "not_found", "{path}");
    }
    for dry_run in [false, true] {
        let body = json!({"webhookId": id, "dryRun": dry_run});
        let refused = world.call(Method::POST, "/api/v1/webhook-deliveries/resend", &eve, body).await;
        assert_eq!(refused.problem(), "not_found");
    }
    let all = json!({"event": "*", "dryRun": true});
    let counted = world.call(Method::POST, "/api/v1/webhook-deliveries/resend", &eve, all).await;
    assert_eq!(counted.json(), json!({"count": 0}));
    world.finish().await;
}

/// Every type of event happens here, and each is what the document says.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn events_are_what_the_document_says(_: PgPoolOptions, options: PgConnectOptions) {
    let world = world(options).await;
    let key = world.key("all", &crate::rights::all_scopes()).await;
    let actor = crate::world::actor(world.acme);
    let (_sink, address) = Sink::start().await;
    let (hook, _) = world.hook(&key, address, json!({})).await;
    let post = async |path: &str, body: Value| {
        let answer = world.call(Method::POST, &format!("/api/v1{path}"), &key, body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    };
    let try_out = InstanceForm { name: "Try".into(), ..InstanceForm::default() };
    let sandbox = crate::instances::make(&world, world.acme, try_out).await;
    let number =
        crate::instances::make(&world, world.acme, crate::instances::waha("Number", "http://127.0.0.1:9")).await;

    let send = |to: &str| json!({ "instanceId": sandbox, "to": to, "message": "Hi" });
    post("/messages/send", send("+60123450001")).await;
    post("/messages/send", send("+60123450002")).await;
    post(&format!("/instances/{sandbox}/pause"), json!({})).await;
    let waits = post("/messages/send", send("+60123450005")).await;
    let path = format!("/api/v1/messages/{}", waits["id"].as_str().unwrap());
    assert_eq!(world.call(Method::DELETE, &path, &key, Value::Null).await.status, 200);
    post(&format!("/instances/{sandbox}/resume"), json!({})).await;

    let mut tx = world.db.system().begin().await.unwrap();
    let hello = NewInbound {
        provider_message_id: "wamid.1".into(),
        from: "60123456789".into(),
        name: "Aisyah".into(),
        kind: "text".into(),
        body: json!({ "body": "Hello" }),
        at: Utc::now(),
    };
    conversations::store::receive(&mut tx, world.acme, number, &[hello]).await.unwrap();
    tx.commit().await.unwrap();
    let scan = Session { status: Status::ScanQr, detail: "SCAN_QR_CODE".into(), phone: None };
    instances::store::tell(&world.db, world.acme, number, &scan, Utc::now()).await.unwrap();

    let template = json!({
        "instanceId": sandbox, "name": "order_update", "language": "en_US", "category": "UTILITY",
        "components": [{ "type": "BODY", "text": "Your order is on its way." }],
    });
    let template = post("/templates", template).await;
    let path = format!("/api/v1/templates/{}", template["id"].as_str().unwrap());
    let moved = world.call(Method::PATCH, &path, &key, json!({ "category": "MARKETING" })).await;
    assert_eq!(moved.status, 200, "{}", moved.text());

    let (ends, revoked) = (world.key("ends", &["message:send"]).await, world.key("revoked", &["message:send"]).await);
    sqlx::query("update api_keys set expires_at = now() + interval '2 days' where id = $1")
        .bind(ends.id.0)
        .execute(world.db.system())
        .await
        .unwrap();
    domain::usage::store::housekeeping(&world.db, Utc::now()).await.unwrap();
    domain::keys::store::revoke(&world.db, &actor, &[revoked.id]).await.unwrap();
    post(&format!("/webhooks/{hook}/test"), json!({})).await;
    webhooks::queue::disable(&world.db, hook, webhooks::DisabledBy::Gone).await.unwrap();

    let mut all: Vec<&str> = webhooks::KINDS.iter().map(|kind| kind.name).collect();
    all.sort_unstable();
    let happened = async || -> Vec<String> {
        sqlx::query_scalar("select distinct kind from events order by kind").fetch_all(world.db.system()).await.unwrap()
    };
    eventually("every type of event", async || happened().await == all).await;

    let document = world.get("/api/v1/openapi.json", None).await.json();
    assert_eq!(document["webhooks"].as_object().unwrap().len(), all.len());
    let told: Vec<(String, Value)> =
        sqlx::query_as("select kind, data from events").fetch_all(world.db.system()).await.unwrap();
    for (kind, data) in told {
        let content = &document["webhooks"][&kind]["post"]["requestBody"]["content"]["application/json"];
        let name = content["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let schema = &document["components"]["schemas"][name]["properties"]["data"];
        assert_eq!(crate::fuzz::lie(&document, schema, &data, &kind), None);
        for field in data.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{kind}: {field} is not in the document");
        }
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_repeated_creation_makes_one_endpoint(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("Manager", ALL).await;
    let create = async |url: &str| {
        let request = request(Method::POST, "/api/v1/webhooks")
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .body(json!({ "url": url, "events": ["*"] }).to_string().into())
            .unwrap();
        world.send(request).await
    };
    let endpoints = async || {
        let sql = "select count(*) from webhook_endpoints where deleted_at is null";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(world.db.system()).await.unwrap()
    };
    let url = "https://shop.example/hooks";
    let (first, second) = (create(url).await, create(url).await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED), "{}", first.text());
    assert_eq!((first.json(), second.header("idempotent-replayed")), (second.json(), "true"));
    // A server died before it kept the answer: the endpoint and its secret are told again.
    world.lose_answers().await;
    let third = create(url).await;
    assert_eq!(third.status, StatusCode::CREATED);
    for field in ["id", "secret", "url"] {
        assert_eq!(third.json()[field], first.json()[field], "{field}");
    }
    assert_eq!(endpoints().await, 1);
    // Another call with that key is another call.
    world.lose_answers().await;
    assert_eq!(create("https://other.example/hooks").await.problem(), "idempotency_mismatch");
    // A day later the key is free.
    domain::idempotency::forget_old(&world.db, Utc::now() + chrono::TimeDelta::hours(25)).await.unwrap();
    assert_eq!(create(url).await.status, StatusCode::CREATED);
    assert_eq!(endpoints().await, 2);
}
