//! What every answer carries.

use axum::body::Body;
use domain::ids::RequestId;
use http::Request;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::World;

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_key_is_told_who_it_is(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world
        .key_with(world.acme, "Shop 🛒 متجر", &["message:send", "key:verify"], |form| {
            form.environment = "test".into();
            form.rate_limit = "3".into();
            form.allowed_ips = "203.0.113.77/24".into();
            form.throttle_mode = "random".into();
            form.max_queue = "50".into();
        })
        .await;
    let answer = world.me(&key).await;
    assert_eq!(answer.status, 200);
    insta::assert_json_snapshot!(answer.json(), { ".id" => "KEY", ".organization.id" => "ORG" }, @r#"
    {
      "environment": "test",
      "expiresAt": null,
      "id": "KEY",
      "limits": {
        "allowedInstances": null,
        "allowedIps": [
          "203.0.113.0/24"
        ],
        "maxQueue": 50,
        "requestsPerHour": 3,
        "requestsRemaining": 2,
        "throttle": {
          "maxMs": 8000,
          "minMs": 3000,
          "mode": "random"
        }
      },
      "name": "Shop 🛒 متجر",
      "organization": {
        "id": "ORG",
        "name": "Acme"
      },
      "scopes": [
        "message:send",
        "key:verify"
      ],
      "secretEndsAt": null
    }
    "#);
    assert_eq!(answer.json()["id"], key.id.to_string());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let head = Request::head("/api/v1/me").header("x-api-key", &key.text).body(Body::empty()).unwrap();
    let head = world.send(head).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("x-ratelimit-remaining"), "1");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn rates_are_told_in_both_forms(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key_with(world.acme, "shop", &["message:send"], |form| form.rate_limit = "2".into()).await;
    let first = world.me(&key).await;
    let shown = |answer: &crate::world::Answer| {
        ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit", "ratelimit-policy", "retry-after"]
            .map(|name| answer.header(name).to_owned())
    };
    assert_eq!(shown(&first), ["2", "1", "\"hour\";r=1;t=3600", "\"hour\";q=2;w=3600", ""]);
    let reset: i64 = first.header("x-ratelimit-reset").parse().unwrap();
    assert!((3_598..=3_601).contains(&(reset - chrono::Utc::now().timestamp())));
    world.me(&key).await;
    let refused = world.me(&key).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3_590..=3_600).contains(&wait), "{wait}");

    let endless =
        world.key_with(world.acme, "endless", &["message:send"], |form| form.rate_limit = String::new()).await;
    let answer = world.me(&endless).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.keys().all(|name| !name.as_str().contains("ratelimit")));
    assert!(answer.json()["limits"]["requestsPerHour"].is_null());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn request_ids_are_ours_and_unique(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let mut seen = std::collections::HashSet::new();
    for path in ["/api/v1/me", "/api/v1/nothing", "/api/v1/openapi.json", "/sign-in", "/favicon.svg"] {
        let request = Request::get(path).header("x-request-id", "req_mine").body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        let id: RequestId = answer.header("x-request-id").parse().unwrap_or_else(|_| panic!("{path}"));
        assert!(seen.insert(id));
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn health_and_readiness(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    assert_eq!(world.get("/healthz", None).await.status, 200);
    assert_eq!(world.get("/readyz", None).await.status, 200);
    world.state.set_ready(false);
    assert_eq!(world.get("/readyz", None).await.status, 503, "while stopping");
    assert_eq!(world.get("/healthz", None).await.status, 200);
}
