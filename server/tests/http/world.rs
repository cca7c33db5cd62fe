//! A server without a socket: the router, a database, two organizations.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use clap::Parser;
use domain::{
    Db,
    ids::{KeyId, OrgId, PersonId},
    keys::{KeyForm, store},
    people::{Actor, sign_in},
    secret::{ExposeSecret, SecretString},
};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use server::{config::Settings, state::AppState, workers};
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use tower::ServiceExt;

pub const PASSWORD: &str = "correct horse battery staple";
/// Where calls come from unless a test says otherwise.
pub const HERE: &str = "203.0.113.9:40000";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

pub struct World {
    pub state: AppState,
    pub router: Router,
    pub db: Db,
    pub acme: OrgId,
    pub ada: PersonId,
    pub workers: JoinSet<()>,
}

/// A key and its only copy.
#[derive(Clone)]
pub struct Key {
    pub id: KeyId,
    pub text: String,
}

/// The settings of a server that trusts one network of proxies.
pub fn settings(more: &[&str]) -> Settings {
    let fixed = [
        "bouncer",
        "--secret",
        "a secret for tests, long enough to be one",
        "--trusted-proxies",
        "10.0.0.0/8",
        "--cheap-passwords",
    ];
    let usual = ["--public-url", "http://bouncer.example"];
    let more = if more.is_empty() { &usual } else { more };
    Line::parse_from(fixed.iter().chain(more)).settings
}

impl World {
    pub async fn new(options: PgConnectOptions) -> Self {
        Self::with(options, &[]).await
    }

    pub async fn with(options: PgConnectOptions, more: &[&str]) -> Self {
        let db = Db::open(options, 10);
        let state = AppState::new(db.clone(), &settings(more)).unwrap();
        let (ada, acme) = sign_in::create_organization(
            &db,
            &state.hasher,
            "Acme",
            "Ada",
            "ada@acme.example",
            &SecretString::from(PASSWORD),
            None,
        )
        .await
        .unwrap();
        state.set_ready(true);
        Self { router: server::serve::router(&state), state, db, acme, ada, workers: JoinSet::new() }
    }

    /// With the background work.
    pub async fn working(options: PgConnectOptions) -> Self {
        let mut world = Self::new(options).await;
        world.work().await;
        world
    }

    /// Begins the background work. Partitions first, as a server does before it serves: rows that move into a new one are
    /// out of sight for a moment.
    pub async fn work(&mut self) {
        domain::partitions::keep(&self.db, chrono::Utc::now()).await.unwrap();
        self.workers = workers::start(&self.state);
    }

    /// Writes what is held and ends the background work.
    pub async fn finish(&mut self) {
        self.state.drain();
        self.state.stop();
        while self.workers.join_next().await.is_some() {}
    }

    pub fn actor(&self) -> Actor {
        actor(self.acme)
    }

    /// Another organization.
    pub async fn foreign(&self) -> OrgId {
        let password = SecretString::from(PASSWORD);
        sign_in::create_organization(&self.db, &self.state.hasher, "Evil", "Eve", "eve@evil.example", &password, None)
            .await
            .unwrap()
            .1
    }

    /// A key with these scopes.
    pub async fn key(&self, name: &str, scopes: &[&str]) -> Key {
        self.key_with(self.acme, name, scopes, |_| {}).await
    }

    pub async fn key_with(
        &self,
        organization: OrgId,
        name: &str,
        scopes: &[&str],
        change: impl FnOnce(&mut KeyForm),
    ) -> Key {
        let mut form = KeyForm {
            name: name.into(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            scope_group: String::new(),
            ..KeyForm::default()
        };
        change(&mut form);
        let new = form.parse(chrono::Utc::now(), None).unwrap();
        let issued = store::create(&self.db, &actor(organization), new, None, "bnc").await.unwrap();
        Key { id: issued.id, text: issued.text.expose_secret().to_owned() }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    pub async fn get(&self, path: &str, key: Option<&Key>) -> Answer {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {}", key.text));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn me(&self, key: &Key) -> Answer {
        self.get("/api/v1/me", Some(key)).await
    }

    pub async fn post_json(&self, path: &str, key: &Key, body: impl Into<Body>) -> Answer {
        let request = Request::post(path)
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        self.send(request).await
    }

    /// As if each server had died after it did what a call asked for, a minute ago, and before it kept the answer.
    pub async fn lose_answers(&self) {
        let sql = "update idempotency_keys set status = null, answer = null, locked_until = now()";
        sqlx::query(sql).execute(self.db.system()).await.unwrap();
    }

    /// Rows of the request log, oldest first: endpoint, status, outcome.
    pub async fn logged(&self) -> Vec<(String, i16, String)> {
        sqlx::query_as("select endpoint, status, outcome from request_log order by at, id")
            .fetch_all(self.db.system())
            .await
            .unwrap()
    }
}

pub fn actor(organization: OrgId) -> Actor {
    Actor { organization_id: organization, person_id: None, name: "test".into(), ip: None, role: None }
}

pub async fn send(router: &Router, mut request: Request<Body>) -> Answer {
    if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
        request.extensions_mut().insert(ConnectInfo(HERE.parse::<SocketAddr>().unwrap()));
    }
    let response = router.clone().oneshot(request).await.unwrap();
    Answer::of(response).await
}

/// Comes from this address.
pub fn from(peer: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    request
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 10_000_000).await.unwrap().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of a problem; also checks what all problems have in common.
    pub fn problem(&self) -> String {
        let body = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{body}");
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        assert_eq!(body["requestId"], self.header("x-request-id"), "{body}");
        assert_eq!(
            body["docs"],
            format!("http://bouncer.example/api/v1/problems/{}", body["code"].as_str().unwrap()),
            "{body}"
        );
        for field in ["type", "title", "message"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
        }
        body["code"].as_str().unwrap().to_owned()
    }
}

/// Waits until something holds; a second is what the product promises.
pub async fn within_a_second(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{what}: not within a second");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Waits longer, for what has no promise.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{what}: never");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

pub fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}
