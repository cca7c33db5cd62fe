//! The first-call radar.

use std::time::{Duration, Instant};

use axum::body::Body;
use chrono::Utc;
use domain::{
    keys::{Overlap, store},
    people::{Actor, Role, invitations, members},
    secret::{ExposeSecret, SecretString},
};
use futures::StreamExt;
use http::Request;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tower::ServiceExt;

use crate::world::{Key, PASSWORD, World, eventually};

/// An open stream of events.
struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Events {
    async fn open(world: &World, cookie: &str, key: &Key) -> Result<Self, u16> {
        Self::open_at(world, cookie, &format!("/dashboard/live/keys/{}/calls", key.id)).await
    }

    async fn open_at(world: &World, cookie: &str, address: &str) -> Result<Self, u16> {
        let request = Request::get(address)
            .header("cookie", cookie)
            .header("accept", "text/event-stream")
            .body(Body::empty())
            .unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self { body: response.into_body().into_data_stream(), text: String::new() })
    }

    /// The next call that is told, or `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                if event.lines().any(|line| line == "event: call") {
                    let data: String = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                    return Some(serde_json::from_str(&data).unwrap());
                }
                continue;
            }
            let piece =
                tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("an event in time")?;
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_card_sees_refusals_and_the_first_call(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let key = world.key("shop", &["message:send"]).await;
    let mut events = Events::open(&world, &cookie, &key).await.unwrap_or_else(|status| panic!("{status}"));
    world.post_json("/api/v1/keys/verify", &key, "{}").await;
    let refused = events.next().await.unwrap();
    assert_eq!((&refused["allowed"], &refused["outcome"]), (&false.into(), &"insufficient_scope".into()));
    assert_eq!(refused["reason"], "The key lacks the scope that this call needs.");
    let request = Request::get("/api/v1/me")
        .header("x-api-key", &key.text)
        .header("user-agent", "curl/8.5")
        .body(Body::empty())
        .unwrap();
    world.send(request).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["allowed"], true);
    assert_eq!(
        (&first["method"], &first["endpoint"], &first["user_agent"]),
        (&"GET".into(), &"/api/v1/me".into(), &"curl/8.5".into())
    );
    assert_eq!(first["ip"], "203.0.113.9");
    assert!(events.next().await.is_none(), "nothing more to wait for");

    // Opened after the call: it is told at once.
    let mut late = Events::open(&world, &cookie, &key).await.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(late.next().await.unwrap()["allowed"], true);
    assert!(late.next().await.is_none());
    world.finish().await;
}

/// A key that is in use: neither its old secret's calls nor those before its API secret say that the new one works.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn only_calls_with_what_the_card_shows_count(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let old = world.key("shop", &["message:send"]).await;
    let call = async |key: &Key, secret: Option<&SecretString>, agent: &str| {
        let mut request = Request::get("/api/v1/me").header("x-api-key", &key.text).header("user-agent", agent);
        if let Some(secret) = secret {
            request = request.header("x-api-secret", secret.expose_secret());
        }
        assert_eq!(world.send(request.body(Body::empty()).unwrap()).await.status, 200, "{agent}");
    };
    call(&old, None, "before").await;
    let fresh = store::regenerate(&world.db, &world.actor(), old.id, 1, Overlap::Day, "bnc").await.unwrap();
    let fresh = Key { id: fresh.id, text: fresh.text.expose_secret().to_owned() };
    let mut events = Events::open(&world, &cookie, &fresh).await.unwrap_or_else(|status| panic!("{status}"));
    call(&old, None, "the old key").await;
    eventually("the calls are in the log", async || world.logged().await.len() == 2).await;
    call(&fresh, None, "the new key").await;
    let called = Instant::now();
    assert_eq!(events.next().await.unwrap()["user_agent"], "the new key");
    assert!(called.elapsed() < Duration::from_secs(6), "nobody announces it: found by a look, one each two seconds");
    assert!(events.next().await.is_none());

    eventually("the calls are in the log", async || world.logged().await.len() == 3).await;
    let (secret, _) =
        store::issue_api_secret(&world.db, &world.state.sealer, &world.actor(), old.id, "bnc").await.unwrap();
    let address = format!("/dashboard/live/keys/{}/calls?since={}", old.id, Utc::now().timestamp_millis());
    let mut events = Events::open_at(&world, &cookie, &address).await.unwrap_or_else(|status| panic!("{status}"));
    call(&fresh, Some(&secret), "with its secret").await;
    assert_eq!(events.next().await.unwrap()["user_agent"], "with its secret");
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nobody_else_may_look(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("shop", &["message:send"]).await;
    world.foreign().await;
    let eve = world.sign_in("eve@evil.example").await;
    assert_eq!(Events::open(&world, "", &key).await.err(), Some(401));
    assert_eq!(Events::open(&world, &eve, &key).await.err(), Some(404), "as if it did not exist");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn who_is_out_hears_no_more(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let owner = Actor { person_id: Some(world.ada), role: Some(Role::Owner), ..world.actor() };
    let (_, token) = invitations::create(&world.db, &owner, "bob@acme.example", Role::Developer).await.unwrap();
    let password = SecretString::from(PASSWORD);
    let (bob, _) = invitations::accept(&world.db, &world.state.hasher, token.expose_secret(), "Bob", &password, None)
        .await
        .unwrap();
    let key = world.key("shop", &["message:send"]).await;
    let open =
        async |cookie: &str| Events::open(&world, cookie, &key).await.unwrap_or_else(|status| panic!("{status}"));
    let (bobs, here) = (world.sign_in("bob@acme.example").await, world.sign_in("ada@acme.example").await);
    let elsewhere = world.sign_in("ada@acme.example").await;
    let (mut removed, mut signed_out, mut stays) = (open(&bobs).await, open(&here).await, open(&elsewhere).await);

    members::remove(&world.db, &owner, bob).await.unwrap();
    world.submit("/_fn/session/sign_out", &here, &[]).await;
    world.post_json("/api/v1/keys/verify", &key, "{}").await;
    assert_eq!(stays.next().await.unwrap()["allowed"], false);
    assert_eq!((removed.next().await, signed_out.next().await), (None, None));
    world.finish().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_stopping_server_ends_its_streams(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let key = world.key("shop", &["message:send"]).await;
    let mut events = Events::open(&world, &cookie, &key).await.unwrap_or_else(|status| panic!("{status}"));
    world.state.drain();
    assert!(events.next().await.is_none());
    world.finish().await;
}
