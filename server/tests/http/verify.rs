//! `POST /keys/verify`.

use domain::keys::store;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Key, World};

async fn ask(world: &World, verifier: &Key, body: Value) -> Value {
    let answer = world.post_json("/api/v1/keys/verify", verifier, body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_good_key_is_described(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let verifier = world.key("verifier", &["key:verify"]).await;
    let shop = world.key("shop", &["message:send"]).await;
    world.me(&shop).await;
    let answer =
        ask(&world, &verifier, json!({ "key": shop.text, "scopes": ["message:send"], "ip": "203.0.113.9" })).await;
    insta::assert_json_snapshot!(answer, { ".keyId" => "KEY", ".resetsAt" => "TIME" }, @r#"
    {
      "code": "valid",
      "environment": "live",
      "expiresAt": null,
      "keyId": "KEY",
      "missingScope": null,
      "name": "shop",
      "remaining": 999,
      "requestsPerHour": 1000,
      "resetsAt": "TIME",
      "scopes": [
        "message:send"
      ],
      "valid": true
    }
    "#);
    assert_eq!(answer["keyId"], shop.id.to_string());
    // Asking costs the asked key nothing, and the asker one call.
    let again = ask(&world, &verifier, json!({ "key": shop.text })).await;
    assert_eq!(again["remaining"], 999);
    let own = ask(&world, &verifier, json!({ "key": verifier.text })).await;
    assert_eq!(own["remaining"], 997);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn each_reason_has_its_code(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let verifier = world.key("verifier", &["key:verify"]).await;
    let code = async |body: Value| {
        let answer = ask(&world, &verifier, body).await;
        assert_eq!(answer["valid"], answer["code"] == "valid");
        answer["code"].as_str().unwrap().to_owned()
    };
    let shop = world
        .key_with(world.acme, "shop", &["message:send"], |form| {
            form.allowed_ips = "198.51.100.0/24".into();
            form.rate_limit = "1".into();
        })
        .await;
    assert_eq!(code(json!({ "key": shop.text })).await, "valid", "without an address the list is not looked at");
    assert_eq!(code(json!({ "key": shop.text, "ip": "::ffff:198.51.100.1" })).await, "valid");
    assert_eq!(code(json!({ "key": shop.text, "ip": "203.0.113.9" })).await, "ip_not_allowed");
    let missing = ask(&world, &verifier, json!({ "key": shop.text, "scopes": ["message:send", "usage:read"] })).await;
    assert_eq!((&missing["code"], &missing["missingScope"]), (&json!("insufficient_scope"), &json!("usage:read")));
    let entry = world.state.keys.find(&domain::keys::KeyHash::of(&shop.text)).await.unwrap().unwrap();
    entry.window().record(1, chrono::Utc::now().timestamp_millis());
    assert_eq!(code(json!({ "key": shop.text })).await, "rate_limited");
    assert_eq!(
        code(json!({ "key": shop.text, "scopes": ["usage:read"] })).await,
        "insufficient_scope",
        "as for a call: the scope comes first"
    );

    store::revoke(&world.db, &world.actor(), &[shop.id]).await.unwrap();
    world.state.keys.invalidate_all();
    let revoked = ask(&world, &verifier, json!({ "key": shop.text })).await;
    assert_eq!((&revoked["code"], &revoked["name"]), (&json!("revoked"), &json!("shop")));
    assert_eq!(code(json!({ "key": "nonsense" })).await, "malformed");
    assert_eq!(code(json!({ "key": "x".repeat(10_000) })).await, "malformed");
    assert_eq!(code(json!({ "key": "bnc_live_0123456789ABCDEFGHIJKLMNOPQRSTUV000000" })).await, "bad_checksum");
}

/// Another organization's key is as unknown as one that was never made.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn foreign_keys_are_unknown(_: PgPoolOptions, options: PgConnectOptions) {
    use domain::{
        keys::{Environment, token},
        secret::ExposeSecret,
    };
    let world = World::new(options).await;
    let verifier = world.key("verifier", &["key:verify"]).await;
    let evil = world.foreign().await;
    let foreign = world.key_with(evil, "theirs", &["message:send"], |_| {}).await;
    let theirs = ask(&world, &verifier, json!({ "key": foreign.text })).await;
    let nobodys =
        ask(&world, &verifier, json!({ "key": token::example("bnc", Environment::Live).expose_secret() })).await;
    assert_eq!(theirs, nobodys);
    insta::assert_json_snapshot!(theirs, @r#"
    {
      "code": "unknown_key",
      "environment": null,
      "expiresAt": null,
      "keyId": null,
      "missingScope": null,
      "name": null,
      "remaining": null,
      "requestsPerHour": null,
      "resetsAt": null,
      "scopes": null,
      "valid": false
    }
    "#);
}
