//! API secrets: calls that must carry one or be signed with it.

use axum::body::Body;
use chrono::Utc;
use domain::{
    Db,
    keys::{KeyForm, signing::Signature, store},
    secret::{ExposeSecret, SecretString},
};
use http::{Method, Request};
use serde_json::json;
use server::state::AppState;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, Key, World, from, request, send, settings, within_a_second};

const ME: &str = "/api/v1/me";
const VERIFY: &str = "/api/v1/keys/verify";

struct Signed {
    key: Key,
    secret: SecretString,
}

/// A key with an API secret.
async fn signed(world: &World, name: &str, change: impl FnOnce(&mut KeyForm)) -> Signed {
    let mut form = KeyForm {
        name: name.into(),
        scopes: vec!["key:verify".into()],
        scope_group: String::new(),
        issue_secret: "on".into(),
        ..KeyForm::default()
    };
    change(&mut form);
    let new = form.parse(Utc::now(), None).unwrap();
    let issued =
        store::create_with_secret(&world.db, &world.state.sealer, &world.actor(), new, None, "bnc").await.unwrap();
    let key = Key { id: issued.id, text: issued.text.expose_secret().to_owned() };
    Signed { key, secret: issued.api_secret.unwrap() }
}

fn now() -> i64 {
    Utc::now().timestamp()
}

/// A call with these headers beside the key.
fn call(key: &Key, method: Method, path: &str, body: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut call = request(method, path).header("x-api-key", &key.text);
    if !body.is_empty() {
        call = call.header("content-type", "application/json");
    }
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    call.body(Body::from(body.to_owned())).unwrap()
}

async fn get(world: &World, key: &Key, headers: &[(&str, &str)]) -> Answer {
    world.send(call(key, Method::GET, ME, "", headers)).await
}

impl Signed {
    fn sign(&self, at: i64, nonce: Option<&str>, method: &str, path: &str, body: &str) -> String {
        Signature::sign(&self.secret, at, nonce, method, path, body.as_bytes()).to_string()
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_secret_is_demanded_and_found_out_without_telling(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let Signed { key, secret } = signed(&world, "shop", |_| {}).await;
    let text = secret.expose_secret();
    assert!(text.starts_with("bnc_secret_") && text.len() == 49);
    assert_eq!(get(&world, &key, &[("x-api-secret", text)]).await.status, 200);
    let nobody = world.get(ME, None).await;
    for headers in [
        vec![],
        vec![("x-api-secret", "")],
        vec![("x-api-secret", "bnc_secret_wrong")],
        vec![("x-api-secret", &text[..48])],
        vec![("x-api-secret", text), ("x-api-secret", text)],
        vec![("x-api-secret", text), ("x-signature", "t=1,v1=00")],
        vec![("x-signature", "nonsense")],
    ] {
        let answer = get(&world, &key, &headers).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "unauthenticated"), "{headers:?}");
        // Not to be told from a call without a key.
        assert_eq!(answer.json()["message"], nobody.json()["message"]);
        assert_eq!(answer.header("x-ratelimit-limit"), "");
    }
    // The hour was not touched by any of them.
    let answer = get(&world, &key, &[("x-api-secret", text)]).await;
    assert_eq!(answer.header("x-ratelimit-remaining"), "998");
    // A key without a secret needs none, and a stray one does no harm.
    let plain = world.key("plain", &["key:verify"]).await;
    assert_eq!(get(&world, &plain, &[("x-api-secret", "whatever"), ("x-signature", "whatever")]).await.status, 200);
    world.finish().await;
    let outcomes: Vec<String> = world.logged().await.into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "wrong_secret").count(), 7, "{outcomes:?}");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_signature_covers_the_whole_call_and_works_once(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let shop = signed(&world, "shop", |_| {}).await;
    let body = json!({ "key": "x" }).to_string();
    let good = shop.sign(now(), None, "POST", VERIFY, &body);
    let post = async |path: &str, body: &str, signature: &str| {
        world.send(call(&shop.key, Method::POST, path, body, &[("x-signature", signature)])).await.status.as_u16()
    };
    assert_eq!(post(VERIFY, &json!({ "key": "y" }).to_string(), &good).await, 401, "another body");
    assert_eq!(post(VERIFY, &format!("{body} "), &good).await, 401, "one space more");
    assert_eq!(post(&format!("{VERIFY}?x=1"), &body, &good).await, 401, "another query");
    assert_eq!(get(&world, &shop.key, &[("x-signature", &good)]).await.status, 401, "another method and path");
    assert_eq!(post(VERIFY, &body, &good).await, 200);
    assert_eq!(post(VERIFY, &body, &good).await, 401, "a second time");

    // Two equal calls within a second differ by a nonce.
    for (nonce, status) in [("1", 200), ("2", 200), ("1", 401)] {
        assert_eq!(post(VERIFY, &body, &shop.sign(1, Some(nonce), "POST", VERIFY, &body)).await, 401, "long ago");
        let at = now() - 1;
        let signature = shop.sign(at - at % 100, Some(nonce), "POST", VERIFY, &body);
        assert_eq!(post(VERIFY, &body, &signature).await, status, "{nonce}");
    }
    for (offset, status) in [(-290, 200), (290, 200), (-310, 401), (310, 401)] {
        let signature = shop.sign(now() + offset, None, "GET", ME, "");
        assert_eq!(get(&world, &shop.key, &[("x-signature", &signature)]).await.status, status, "{offset}");
    }
    // Secret and signature together: both must be right.
    let with = |secret: &str| {
        vec![
            ("x-api-secret".to_owned(), secret.to_owned()),
            ("x-signature".to_owned(), shop.sign(now(), Some("both"), "GET", ME, "")),
        ]
    };
    for (secret, status) in [("wrong", 401), (shop.secret.expose_secret(), 200)] {
        let headers = with(secret);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            get(&world, &shop.key, &headers).await.status,
            status,
            "a wrong secret does not use the signature up"
        );
    }
    // Another key's signature is none.
    let other = signed(&world, "other", |_| {}).await;
    let theirs = other.sign(now(), None, "GET", ME, "");
    assert_eq!(get(&world, &shop.key, &[("x-signature", &theirs)]).await.status, 401);
}

/// Percent-encoding and query are signed as they are sent.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_path_is_signed_as_it_is_sent(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let shop = signed(&world, "shop", |form| form.scopes = vec!["conversation:manage".into()]).await;
    for path in
        ["/api/v1/conversations?contact=%2B60123456789&limit=1", "/api/v1/conversations?limit=1&contact=%2b60123456789"]
    {
        let signature = shop.sign(now(), None, "GET", path, "");
        let answer = world.send(call(&shop.key, Method::GET, path, "", &[("x-signature", &signature)])).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// What comes before the secret in the gate's order is the reason, and uses no signature up.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_order_of_the_gate_holds(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let elsewhere = signed(&world, "elsewhere", |form| form.allowed_ips = "198.51.100.0/24".into()).await;
    // A wrong secret is told before a wrong address; the right one leads to the address.
    assert_eq!(get(&world, &elsewhere.key, &[]).await.status, 401);
    assert_eq!(
        get(&world, &elsewhere.key, &[("x-api-secret", elsewhere.secret.expose_secret())]).await.problem(),
        "ip_not_allowed"
    );
    let there = from(
        "198.51.100.7:1",
        call(&elsewhere.key, Method::GET, ME, "", &[("x-api-secret", elsewhere.secret.expose_secret())]),
    );
    assert_eq!(world.send(there).await.status, 200);

    let shop = signed(&world, "shop", |_| {}).await;
    let signature = shop.sign(now(), None, "GET", ME, "");
    store::set_disabled(&world.db, &world.actor(), &[shop.key.id], true).await.unwrap();
    within_a_second("the key is disabled", async || {
        get(&world, &shop.key, &[("x-signature", "t=1,v1=00")]).await.status == 401
    })
    .await;
    assert_eq!(get(&world, &shop.key, &[("x-signature", &signature)]).await.status, 401);
    store::set_disabled(&world.db, &world.actor(), &[shop.key.id], false).await.unwrap();
    within_a_second("the signature is still good", async || {
        get(&world, &shop.key, &[("x-signature", &signature)]).await.status == 200
    })
    .await;
    world.finish().await;
}

/// A replay on another server is one, too; and of many at once exactly one passes.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_signature_works_once_over_all_servers(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options.clone()).await;
    let beside = AppState::new(Db::open(options, 6), &settings(&[])).unwrap();
    let beside = server::serve::router(&beside);
    let shop = signed(&world, "shop", |_| {}).await;
    let signature = shop.sign(now(), None, "GET", ME, "");
    let calls = (0..40).map(|n| {
        let router = if n % 2 == 0 { world.router.clone() } else { beside.clone() };
        let call = call(&shop.key, Method::GET, ME, "", &[("x-signature", &signature)]);
        tokio::spawn(async move { send(&router, call).await.status.as_u16() })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            200 => passed += 1,
            status => assert_eq!(status, 401),
        }
    }
    assert_eq!(passed, 1);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from used_signatures").fetch_one(world.db.system()).await.unwrap();
    assert_eq!(rows, 1);
    assert_eq!(store::forget_signatures(&world.db, Utc::now()).await.unwrap(), 0);
    assert_eq!(store::forget_signatures(&world.db, Utc::now() + chrono::Duration::minutes(20)).await.unwrap(), 1);
}

/// A signed body that is too large or ends early cannot be checked; whoever has no key learns nothing of that.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_signed_body_has_a_greatest_size(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let shop = signed(&world, "shop", |_| {}).await;
    let plain = world.key("plain", &["key:verify"]).await;
    let fits = format!("{}{}", json!({ "key": "x" }), " ".repeat(900_000));
    let signature = shop.sign(now(), None, "POST", VERIFY, &fits);
    let answer = world.send(call(&shop.key, Method::POST, VERIFY, &fits, &[("x-signature", &signature)])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let large = format!("{fits}{}", " ".repeat(200_000));
    let signature = shop.sign(now(), None, "POST", VERIFY, &large);
    let signed = [("x-signature", signature.as_str())];
    let answer = world.send(call(&shop.key, Method::POST, VERIFY, &large, &signed)).await;
    assert_eq!(answer.problem(), "payload_too_large");
    assert_eq!(world.send(call(&plain, Method::POST, VERIFY, &large, &signed)).await.problem(), "payload_too_large");
    let unknown = Key { id: plain.id, text: plain.text.replace("bnc_live_", "bnc_test_") };
    assert_eq!(world.send(call(&unknown, Method::POST, VERIFY, &large, &signed)).await.status, 401);
}

/// Issuing, replacing and removing: each counts at once, is in the history, and regenerating the key keeps the secret.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_secret_is_issued_replaced_and_removed(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("shop", &["key:verify"]).await;
    let (db, actor) = (&world.db, world.actor());
    let status = async |key: &Key, secret: Option<&SecretString>| {
        let headers: Vec<_> = secret.iter().map(|secret| ("x-api-secret", secret.expose_secret())).collect();
        get(&world, key, &headers).await.status.as_u16()
    };
    assert_eq!(status(&key, None).await, 200);
    let (first, hint) = store::issue_api_secret(db, &world.state.sealer, &actor, key.id, "bnc").await.unwrap();
    assert_eq!(hint.len(), "bnc_secret_7f9a…a3f1".len());
    within_a_second("the key alone suffices no more", async || status(&key, None).await == 401).await;
    assert_eq!(status(&key, Some(&first)).await, 200);
    let row = store::get(db, world.acme, key.id, Utc::now()).await.unwrap();
    assert_eq!(row.key.api_secret_hint.as_deref(), Some(hint.as_str()));

    let (second, _) = store::issue_api_secret(db, &world.state.sealer, &actor, key.id, "bnc").await.unwrap();
    within_a_second("the first secret ended", async || status(&key, Some(&first)).await == 401).await;
    assert_eq!(status(&key, Some(&second)).await, 200);

    let version = store::get(db, world.acme, key.id, chrono::Utc::now()).await.unwrap().key.version;
    let fresh = store::regenerate(db, &actor, key.id, version, domain::keys::Overlap::None, "bnc").await.unwrap();
    let fresh = Key { id: fresh.id, text: fresh.text.expose_secret().to_owned() };
    within_a_second("the old key ended", async || status(&key, Some(&second)).await == 401).await;
    assert_eq!((status(&fresh, Some(&second)).await, status(&fresh, None).await), (200, 401));

    store::remove_api_secret(db, &actor, key.id).await.unwrap();
    within_a_second("the key alone suffices again", async || status(&fresh, None).await == 200).await;
    assert!(matches!(store::remove_api_secret(db, &actor, key.id).await, Err(domain::Error::Conflict(_))));
    let history = store::history(db, world.acme, key.id).await.unwrap();
    let actions: Vec<&str> = history.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "api_key.secret_removed",
            "api_key.regenerated",
            "api_key.secret_issued",
            "api_key.secret_issued",
            "api_key.created"
        ]
    );
    let told = serde_json::to_string(&history).unwrap();
    assert!(!told.contains(first.expose_secret()) && !told.contains(second.expose_secret()));
    // At rest it is sealed.
    let stored: Option<String> = sqlx::query_scalar("select signing_secret from api_keys where id = $1")
        .bind(key.id.0)
        .fetch_one(db.system())
        .await
        .unwrap();
    assert_eq!(stored, None);
    let shop = signed(&world, "another", |_| {}).await;
    let stored: String = sqlx::query_scalar("select signing_secret from api_keys where id = $1")
        .bind(shop.key.id.0)
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert!(stored.starts_with("v1.") && !stored.contains(shop.secret.expose_secret()));
    world.finish().await;
}

/// Nobody else's key can be given a secret, and nothing is issued when it could not be sealed.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn foreign_keys_get_no_secret(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("shop", &["key:verify"]).await;
    let evil = crate::world::actor(world.foreign().await);
    assert!(matches!(
        store::issue_api_secret(&world.db, &world.state.sealer, &evil, key.id, "bnc").await,
        Err(domain::Error::NotFound)
    ));
    assert!(matches!(store::remove_api_secret(&world.db, &evil, key.id).await, Err(domain::Error::NotFound)));
    assert_eq!(world.me(&key).await.status, 200);
    let form = KeyForm { name: "unsealed".into(), issue_secret: "on".into(), ..KeyForm::default() };
    let new = form.parse(Utc::now(), None).unwrap();
    assert!(store::create(&world.db, &world.actor(), new, None, "bnc").await.is_err());
}

/// A key with a secret is valid for others only together with it.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn verifying_asks_for_the_secret_too(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let verifier = world.key("verifier", &["key:verify"]).await;
    let shop = signed(&world, "shop", |_| {}).await;
    let ask = async |body: serde_json::Value| world.post_json(VERIFY, &verifier, body.to_string()).await.json();
    let text = &shop.key.text;
    assert_eq!(ask(json!({ "key": text })).await["code"], "wrong_secret");
    assert_eq!(ask(json!({ "key": text, "secret": "wrong" })).await["code"], "wrong_secret");
    assert_eq!(ask(json!({ "key": text, "secret": shop.secret.expose_secret() })).await["valid"], true);
    assert_eq!(ask(json!({ "key": verifier.text, "secret": "whatever" })).await["valid"], true);
    let long = world.post_json(VERIFY, &verifier, json!({ "key": text, "secret": "x".repeat(201) }).to_string()).await;
    assert_eq!(long.problem(), "validation_failed");
}

/// A secret in an address is treated as a leaked key is.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_secret_does_not_belong_into_an_address(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let shop = signed(&world, "shop", |_| {}).await;
    for query in [format!("x={}", shop.secret.expose_secret()), "api_secret=x".to_owned()] {
        let path = format!("{ME}?{query}");
        let call = call(&shop.key, Method::GET, &path, "", &[("x-api-secret", shop.secret.expose_secret())]);
        assert_eq!(world.send(call).await.problem(), "key_in_query", "{query}");
    }
}
