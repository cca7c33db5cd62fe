//! Bodies that are not what they should be: each gets an answer that says what is wrong, and nothing happens.

use axum::body::Body;
use http::Request;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::World;

const PATH: &str = "/api/v1/keys/verify";

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn every_wrong_field_is_named_at_once(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("verifier", &["key:verify"]).await;
    let body =
        json!({ "scopes": ["message:send", "message:fly", 3], "ip": "999.1.1.1", "kee": "x", "😀": 1 }).to_string();
    let answer = world.post_json(PATH, &key, body).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"));
    insta::assert_json_snapshot!(answer.json()["errors"], @r#"
    [
      {
        "field": "key",
        "message": "This is required."
      },
      {
        "field": "scopes[2]",
        "message": "This must be a text."
      },
      {
        "field": "scopes[1]",
        "message": "There is no such scope."
      },
      {
        "field": "ip",
        "message": "Write an address, such as 203.0.113.9."
      },
      {
        "field": "kee",
        "message": "There is no such field."
      },
      {
        "field": "😀",
        "message": "There is no such field."
      }
    ]
    "#);
    for (body, field) in [
        (json!({ "key": "" }), "key"),
        (json!({ "key": 1 }), "key"),
        (json!({ "key": null }), "key"),
        (json!({ "key": "x\0" }), "key"),
        (json!({ "key": "x".repeat(17_000) }), "key"),
        (json!({ "key": "x", "scopes": "message:send" }), "scopes"),
        (json!({ "key": "x", "scopes": vec!["message:send"; 40] }), "scopes"),
        (json!({ "key": "x", "ip": 7 }), "ip"),
        (json!({ "key": "x", "Key": "x" }), "Key"),
    ] {
        let answer = world.post_json(PATH, &key, body.to_string()).await;
        assert_eq!(answer.problem(), "validation_failed", "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_is_no_json_object_is_told_apart(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("verifier", &["key:verify"]).await;
    for body in ["", "{", "nonsense", "[]", "null", "\"text\"", "{\"key\":\"x\",}", "{\"key\":\"\u{0}\"}"] {
        let answer = world.post_json(PATH, &key, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "unreadable_body"), "{body:?}");
    }
    let not_utf8 = world.post_json(PATH, &key, vec![b'{', 0xff, b'}']).await;
    assert_eq!(not_utf8.problem(), "unreadable_body");
    let deep = "[".repeat(60_000);
    assert_eq!(world.post_json(PATH, &key, deep).await.problem(), "unreadable_body", "too deep to be meant");
    for (body, says) in [
        (r#"{"key":"x","key":"y"}"#, "The field key stands in the body twice."),
        (r#"{"key":"x","scopes":[{"a":1,"a":2}]}"#, "The field scopes[0].a stands in the body twice."),
        (&*format!(r#"{{"key":{}1{}}}"#, "[".repeat(64), "]".repeat(64)), "The body is more than 64 levels deep."),
    ] {
        let answer = world.post_json(PATH, &key, body.to_owned()).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "unreadable_body"), "{body}");
        assert_eq!(answer.json()["message"], says);
    }
    // JSON all right, but what it says cannot be kept as it was said.
    for (body, field) in [
        (r#"{"key":9223372036854775808}"#, "key"),
        (r#"{"key":"x","scopes":[1e400000000000]}"#, ""),
        (r#"{"key":"x","scopes":[-9223372036854775809]}"#, "scopes[0]"),
        (r#"{"key":"x\u0000y"}"#, "key"),
    ] {
        let answer = world.post_json(PATH, &key, body).await;
        if field.is_empty() {
            assert_eq!(answer.problem(), "unreadable_body", "no number at all");
            continue;
        }
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }

    let request = |kind: Option<&str>| {
        let mut request = Request::post(PATH).header("x-api-key", &key.text);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(Body::from("{\"key\":\"x\"}")).unwrap()
    };
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data; boundary=x")]
    {
        let answer = world.send(request(kind)).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (415, "unsupported_media_type"), "{kind:?}");
    }
    assert_eq!(world.send(request(Some("application/json; charset=utf-8"))).await.status, 200);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_body_has_a_greatest_size(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("verifier", &["key:verify"]).await;
    let padded = |size: usize| {
        let body = json!({ "key": "x" }).to_string();
        format!("{body}{}", " ".repeat(size - body.len()))
    };
    assert_eq!(world.post_json(PATH, &key, padded(1024 * 1024)).await.status, 200);
    let answer = world.post_json(PATH, &key, padded(1024 * 1024 + 1)).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (413, "payload_too_large"));
    // Also when it does not say how large it is.
    let pieces = (0..1_100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let answer = world.post_json(PATH, &key, Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!(answer.problem(), "payload_too_large");
    // Whoever may not call at all is told so first.
    let request = Request::post(PATH).body(Body::from(padded(2_000_000))).unwrap();
    assert_eq!(world.send(request).await.status, 401);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn unknown_paths_and_methods_are_problems_too(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("any", &["message:send"]).await;
    for path in ["/api/v1", "/api/v1/nothing", "/api/v1/me/more", "/api/v1/ME"] {
        let answer = world.get(path, Some(&key)).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"), "{path}");
    }
    let answer = world.send(Request::delete("/api/v1/me").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (405, "method_not_allowed"));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}
