//! Everything that keeps a call out.

use axum::body::Body;
use chrono::Utc;
use domain::{
    keys::{Overlap, store},
    secret::ExposeSecret,
};
use http::Request;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, Key, World, from, within_a_second};

fn me(key: &str) -> Request<Body> {
    Request::get("/api/v1/me").header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap()
}

/// The body without its request id.
fn anonymous(answer: &Answer) -> String {
    answer.text().replace(answer.header("x-request-id"), "ID")
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn whoever_is_not_let_in_learns_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let revoked = world.key("revoked", &["message:send"]).await;
    store::revoke(&world.db, &world.actor(), &[revoked.id]).await.unwrap();
    let disabled = world.key("disabled", &["message:send"]).await;
    store::set_disabled(&world.db, &world.actor(), &[disabled.id], true).await.unwrap();
    let expired = world.key("expired", &["message:send"]).await;
    sqlx::query("update api_keys set expires_at = now() - interval '1 second', version = version + 1 where id = $1")
        .bind(expired.id.0)
        .execute(world.db.system())
        .await
        .unwrap();
    let retired = world.key("retired", &["message:send"]).await;
    let fresh = store::regenerate(&world.db, &world.actor(), retired.id, 1, Overlap::None, "bnc").await.unwrap();
    let mut mistyped = retired.text.clone();
    mistyped.replace_range(20..21, if &mistyped[20..21] == "x" { "y" } else { "x" });
    let unknown = domain::keys::token::example("bnc", domain::keys::Environment::Live);

    let huge = format!("bnc_live_{}", "x".repeat(10_000));
    let spaced = format!("{} {}", &retired.text[..20], &retired.text[20..]);
    let other_prefix = retired.text.replacen("bnc", "abc", 1);
    let shown = [
        (revoked.text.as_str(), "revoked"),
        (&disabled.text, "disabled"),
        (&expired.text, "expired"),
        (&retired.text, "secret_retired"),
        (&mistyped, ""),
        (unknown.expose_secret(), ""),
        (&huge, ""),
        (&spaced, ""),
        (&other_prefix, ""),
        ("", ""),
    ];
    let reference = world.get("/api/v1/me", None).await;
    assert_eq!(reference.status, 401);
    assert_eq!(reference.json()["message"], "Unauthenticated.");
    assert_eq!(reference.header("www-authenticate"), "Bearer");
    for (key, why) in shown {
        let answer = world.send(me(key)).await;
        assert_eq!(answer.status, 401, "{why}");
        answer.problem();
        assert_eq!(anonymous(&answer), anonymous(&reference), "{why}");
        let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&answer), names(&reference), "{why}: the headers tell something");
    }
    assert_eq!(world.send(me(fresh.text.expose_secret())).await.status, 200);
    world.finish().await;
    let outcomes: Vec<String> = world.logged().await.into_iter().map(|(.., outcome)| outcome).collect();
    assert_eq!(
        outcomes,
        ["revoked", "disabled", "expired", "secret_retired", "allowed"],
        "the organization sees the true reasons"
    );
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn both_headers_work_and_must_agree(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let (one, other) = (world.key("one", &["message:send"]).await, world.key("other", &["message:send"]).await);
    let call = async |bearer: &Key, api_key: &Key| {
        let request = Request::get("/api/v1/me")
            .header("authorization", format!("Bearer {}", bearer.text))
            .header("x-api-key", &api_key.text)
            .body(Body::empty())
            .unwrap();
        world.send(request).await
    };
    assert_eq!(call(&one, &one).await.status, 200);
    let conflict = call(&one, &other).await;
    assert_eq!((conflict.status.as_u16(), conflict.problem().as_str()), (400, "conflicting_credentials"));
    let alone = Request::get("/api/v1/me").header("X-API-Key", &other.text).body(Body::empty()).unwrap();
    assert_eq!(world.send(alone).await.json()["name"], "other");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_in_the_address_is_refused_and_told(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("leaked", &["key:verify"]).await;
    for path in [
        format!("/api/v1/me?api_key={}", key.text),
        format!("/api/v1/me?anything={}", key.text),
        format!("/api/v1/nowhere?token={}", key.text),
        format!("/api/v1/openapi.json?key={}", key.text),
    ] {
        let answer = world.get(&path, None).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "key_in_query"), "{path}");
        assert!(!answer.text().contains(&key.text));
    }
    // Also when a good key stands in the header.
    assert_eq!(world.get("/api/v1/me?access_token=abc", Some(&key)).await.problem(), "key_in_query");
    world.finish().await;
    let logged = world.logged().await;
    assert_eq!(logged.len(), 5);
    assert!(logged.iter().all(|(_, status, outcome)| *status == 400 && outcome == "leaked_in_query"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_list_of_addresses_is_kept_to(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world
        .key_with(world.acme, "shop", &["message:send"], |form| {
            form.allowed_ips = "198.51.100.0/24\n2001:db8::1".into()
        })
        .await;
    let call = async |peer: &str, forwarded: Option<&str>| {
        let mut request = me(&key.text);
        if let Some(list) = forwarded {
            request.headers_mut().insert("x-forwarded-for", list.parse().unwrap());
        }
        world.send(from(peer, request)).await
    };
    assert_eq!(call("198.51.100.7:1", None).await.status, 200);
    assert_eq!(call("[::ffff:198.51.100.7]:1", None).await.status, 200, "the same address in its IPv6 form");
    assert_eq!(call("[2001:db8::1]:1", None).await.status, 200);
    let refused = call("203.0.113.9:1", None).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (403, "ip_not_allowed"));
    assert_eq!(refused.header("x-ratelimit-remaining"), "997", "a refusal costs nothing");
    // 10.0.0.0/8 are this server's proxies.
    assert_eq!(call("10.0.0.1:1", Some("198.51.100.7")).await.status, 200);
    assert_eq!(
        call("10.0.0.1:1", Some("198.51.100.7, 203.0.113.9")).await.status,
        403,
        "what the caller wrote does not count"
    );
    assert_eq!(call("203.0.113.9:1", Some("198.51.100.7")).await.status, 403, "anybody can write the header");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_missing_scope_is_named(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("shop", &["message:send"]).await;
    let answer = world.post_json("/api/v1/keys/verify", &key, "{}").await;
    assert_eq!(answer.problem(), "insufficient_scope");
    assert_eq!(answer.header("x-required-scopes"), "key:verify");
    insta::assert_json_snapshot!(answer.json(), { ".requestId" => "ID" }, @r#"
    {
      "code": "insufficient_scope",
      "docs": "http://bouncer.example/api/v1/problems/insufficient_scope",
      "message": "This key lacks a scope that the call needs.",
      "requestId": "ID",
      "requiredScopes": [
        "key:verify"
      ],
      "status": 403,
      "title": "Scope missing",
      "type": "http://bouncer.example/api/v1/problems/insufficient_scope"
    }
    "#);
}

/// A change is effective at once on the server that made it and within a second on all others.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_change_is_effective_everywhere_within_a_second(_: PgPoolOptions, options: PgConnectOptions) {
    let mut one = World::working(options.clone()).await;
    let other = server::state::AppState::new(domain::Db::open(options, 6), &crate::world::settings(&[])).unwrap();
    let mut other_workers = server::workers::start(&other);
    let other_router = server::serve::router(&other);
    let elsewhere = async |key: &Key| crate::world::send(&other_router, me(&key.text)).await.status.as_u16();

    let key = one.key("shop", &["message:send"]).await;
    assert_eq!(elsewhere(&key).await, 200);
    assert_eq!(one.me(&key).await.status, 200);
    store::set_disabled(&one.db, &one.actor(), &[key.id], true).await.unwrap();
    within_a_second("disabled elsewhere", async || elsewhere(&key).await == 401).await;
    within_a_second("disabled here", async || one.me(&key).await.status == 401).await;
    store::set_disabled(&one.db, &one.actor(), &[key.id], false).await.unwrap();
    within_a_second("enabled elsewhere", async || elsewhere(&key).await == 200).await;

    let version = store::get(&one.db, one.acme, key.id, chrono::Utc::now()).await.unwrap().key.version;
    let fresh = store::regenerate(&one.db, &one.actor(), key.id, version, Overlap::Hour, "bnc").await.unwrap();
    let fresh = Key { id: fresh.id, text: fresh.text.expose_secret().to_owned() };
    assert_eq!((elsewhere(&key).await, elsewhere(&fresh).await), (200, 200), "both work while they overlap");
    assert!(one.me(&fresh).await.json()["secretEndsAt"].is_null());
    within_a_second("the old secret knows its end", async || !one.me(&key).await.json()["secretEndsAt"].is_null())
        .await;
    store::retire_old_secret(&one.db, &one.actor(), key.id).await.unwrap();
    within_a_second("retired elsewhere", async || elsewhere(&key).await == 401).await;

    store::revoke(&one.db, &one.actor(), &[key.id]).await.unwrap();
    within_a_second("revoked elsewhere", async || elsewhere(&fresh).await == 401).await;
    let row = store::get(&one.db, one.acme, key.id, Utc::now()).await.unwrap();
    assert_eq!(row.status.label, "Revoked");
    one.finish().await;
    other.drain();
    other.stop();
    while other_workers.join_next().await.is_some() {}
}
