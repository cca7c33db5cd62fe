//! `/conversations` and `/organization` over HTTP.

use axum::body::Body;
use chrono::{DateTime, Duration, Utc};
use domain::{
    conversations::{NewInbound, store},
    ids::{InstanceId, OrgId},
};
use http::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, Key, World, request};

const LIST: &str = "/api/v1/conversations";

/// An instance, written as it lies in the database: how it got there is no matter of these tests.
pub async fn instance(world: &World, organization: OrgId, provider: &str) -> InstanceId {
    let id = InstanceId::new();
    sqlx::query(
        "insert into instances (id, organization_id, name, provider, settings, created_by_name)
         values ($1, $2, $3, $4, $5, 'test')",
    )
    .bind(id.0)
    .bind(organization.0)
    .bind(format!("{provider} {id}"))
    .bind(provider)
    .bind(match provider {
        "waha" => json!({ "provider": "waha", "baseUrl": "http://127.0.0.1:9", "session": "default" }),
        "cloud_api" => json!({ "provider": "cloud_api", "baseUrl": "http://127.0.0.1:9", "version": "v24.0", "phoneNumberId": "1", "businessAccountId": "2" }),
        _ => json!({ "provider": "sandbox" }),
    })
    .execute(world.db.system())
    .await
    .unwrap();
    id
}

/// Limits a key to these instances.
pub async fn restrict(world: &World, key: &Key, instances: &[InstanceId]) {
    let ids: Vec<uuid::Uuid> = instances.iter().map(|id| id.0).collect();
    sqlx::query("update api_keys set allowed_instances = $2, version = version + 1 where id = $1")
        .bind(key.id.0)
        .bind(ids)
        .execute(world.db.system())
        .await
        .unwrap();
    // Without workers nobody hears of the change.
    world.state.keys.invalidate_key(key.id);
}

pub async fn call(world: &World, key: &Key, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut call = request(method, path).header("x-api-key", &key.text);
    if body.is_some() {
        call = call.header("content-type", "application/json");
    }
    world.send(call.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap()).await
}

async fn write(world: &World, organization: OrgId, instance: InstanceId, numbers: &[&str]) {
    let mut tx = world.db.system().begin().await.unwrap();
    for number in numbers {
        let message = NewInbound {
            provider_message_id: format!("from {number}"),
            from: (*number).into(),
            name: "Mark".into(),
            kind: "text".into(),
            body: json!({ "body": "Hi" }),
            at: Utc::now(),
        };
        store::receive(&mut tx, organization, instance, &[message]).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn contacts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().unwrap().iter().map(|one| one["contact"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_conversation_is_taken_over_and_given_back(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("desk", &["conversation:manage"]).await;
    let instance = instance(&world, world.acme, "waha").await;
    write(&world, world.acme, instance, &["60123456789"]).await;
    let list = world.get(LIST, Some(&key)).await.json();
    assert_eq!(list["nextCursor"], Value::Null);
    let mut one = list["data"][0].clone();
    let id = one["id"].as_str().unwrap().to_owned();
    let path = format!("{LIST}/{id}");
    assert_eq!(world.get(&path, Some(&key)).await.json(), one);
    assert_eq!(one["instanceId"], json!(instance));
    for moving in ["id", "instanceId", "lastInboundAt", "changedAt"] {
        assert!(one[moving].is_string(), "{moving}");
        one[moving] = json!("…");
    }
    insta::assert_json_snapshot!(one, @r#"
    {
      "assignee": null,
      "changedAt": "…",
      "contact": "+60123456789",
      "contactName": "Mark",
      "id": "…",
      "instanceId": "…",
      "lastInboundAt": "…",
      "lastOutboundAt": null,
      "state": "bot",
      "until": null
    }
    "#);

    let until = Utc::now() + Duration::hours(1);
    let put = async |body: Value| call(&world, &key, Method::PUT, &path, Some(body)).await;
    let taken = put(json!({ "state": "human", "assignee": "Ada", "until": until })).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let taken = taken.json();
    assert_eq!((&taken["state"], &taken["assignee"]), (&json!("human"), &json!("Ada")));
    let shown: DateTime<Utc> = taken["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(shown.timestamp_micros(), until.timestamp_micros());
    let count = async |state: &str| contacts(&world.get(&format!("{LIST}?state={state}"), Some(&key)).await).len();
    assert_eq!((count("human").await, count("bot").await), (1, 0));
    // Its time passes: nothing runs, and it is the bot's.
    sqlx::query("update conversations set until = now() - interval '1 second'")
        .execute(world.db.system())
        .await
        .unwrap();
    let back = world.get(&path, Some(&key)).await.json();
    assert_eq!((&back["state"], &back["assignee"], &back["until"]), (&json!("bot"), &Value::Null, &Value::Null));
    assert_eq!((count("human").await, count("bot").await), (0, 1));
    // What the body leaves out is gone.
    assert_eq!(put(json!({ "state": "human" })).await.json()["assignee"], Value::Null);
    assert_eq!(put(json!({ "state": "bot" })).await.json()["state"], "bot");
}

/// What a test key says must not keep live messages from anybody.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_test_key_hands_over_conversations_of_the_sandbox_only(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let scopes = ["conversation:manage"];
    let test = world.key_with(world.acme, "test", &scopes, |form| form.environment = "test".into()).await;
    for (provider, status, state) in [("waha", 403, "bot"), ("cloud_api", 403, "bot"), ("sandbox", 200, "human")] {
        let instance = instance(&world, world.acme, provider).await;
        write(&world, world.acme, instance, &["60123456789"]).await;
        let list = world.get(&format!("{LIST}?instanceId={instance}"), Some(&test)).await.json();
        let path = format!("{LIST}/{}", list["data"][0]["id"].as_str().unwrap());
        let answer = call(&world, &test, Method::PUT, &path, Some(json!({ "state": "human" }))).await;
        assert_eq!(answer.status, status, "{provider}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.problem(), "live_key_required");
        }
        assert_eq!(world.get(&path, Some(&test)).await.json()["state"], state, "{provider}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_are_filtered_and_paged(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("desk", &["conversation:manage"]).await;
    let (one, two) = (instance(&world, world.acme, "waha").await, instance(&world, world.acme, "cloud_api").await);
    let numbers = ["60123456781", "60123456782", "60123456783"];
    write(&world, world.acme, one, &numbers[..1]).await;
    write(&world, world.acme, one, &numbers[1..2]).await;
    write(&world, world.acme, one, &numbers[2..]).await;
    write(&world, world.acme, two, &numbers[..1]).await;
    let get = async |query: &str| world.get(&format!("{LIST}?{query}"), Some(&key)).await;
    assert_eq!(contacts(&get("").await).len(), 4);
    assert_eq!(contacts(&get(&format!("instanceId={one}")).await), ["+60123456783", "+60123456782", "+60123456781"]);
    // However the number is written.
    for contact in ["60123456781", "%2B60%2012-345%206781", "60123456781%40c.us"] {
        assert_eq!(contacts(&get(&format!("contact={contact}")).await).len(), 2, "{contact}");
    }
    let mut seen = vec![];
    let mut query = "limit=3".to_owned();
    loop {
        let answer = get(&query).await;
        seen.extend(contacts(&answer));
        match answer.json()["nextCursor"].as_str() {
            Some(cursor) => query = format!("limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["+60123456781", "+60123456783", "+60123456782", "+60123456781"]);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("cursor=x", "cursor"),
        ("state=robot", "state"),
        ("instanceId=ins_1", "instanceId"),
        ("contact=abc", "contact"),
        ("contct=1", "contct"),
    ] {
        let answer = get(query).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn wrong_bodies_are_named(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("desk", &["conversation:manage"]).await;
    let instance = instance(&world, world.acme, "waha").await;
    write(&world, world.acme, instance, &["60123456789"]).await;
    let id = world.get(LIST, Some(&key)).await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let far = Utc::now() + Duration::days(367);
    for (body, field) in [
        (json!({}), "state"),
        (json!({ "state": "robot" }), "state"),
        (json!({ "state": 1 }), "state"),
        (json!({ "state": "human", "assignee": "" }), "assignee"),
        (json!({ "state": "human", "assignee": "a\nb" }), "assignee"),
        (json!({ "state": "human", "assignee": "x".repeat(121) }), "assignee"),
        (json!({ "state": "human", "until": "tomorrow" }), "until"),
        (json!({ "state": "human", "until": "2020-01-01T00:00:00Z" }), "until"),
        (json!({ "state": "human", "until": far }), "until"),
        (json!({ "state": "bot", "assignee": "Ada" }), "assignee"),
        (json!({ "state": "bot", "until": Utc::now() + Duration::hours(1) }), "until"),
        (json!({ "state": "bot", "version": 1 }), "version"),
    ] {
        let answer = call(&world, &key, Method::PUT, &format!("{LIST}/{id}"), Some(body.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
    let unchanged = world.get(&format!("{LIST}/{id}"), Some(&key)).await.json();
    assert_eq!(unchanged["state"], "bot");
}

/// What belongs to others, or to instances that the key may not use, is not there, however it is asked for.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn foreign_conversations_are_not_there(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("desk", &["conversation:manage"]).await;
    let evil = world.foreign().await;
    let theirs = world.key_with(evil, "theirs", &["conversation:manage"], |_| {}).await;
    let (one, two) = (instance(&world, world.acme, "waha").await, instance(&world, world.acme, "waha").await);
    let foreign = instance(&world, evil, "waha").await;
    write(&world, world.acme, one, &["60123456781"]).await;
    write(&world, world.acme, two, &["60123456782"]).await;
    write(&world, evil, foreign, &["60123456783"]).await;
    assert_eq!(contacts(&world.get(LIST, Some(&theirs)).await), ["+60123456783"]);
    let id = |list: &Answer, at: usize| list.json()["data"][at]["id"].as_str().unwrap().to_owned();
    let of_foreign = id(&world.get(LIST, Some(&theirs)).await, 0);
    let list = world.get(LIST, Some(&key)).await;
    let (of_two, of_one) = (id(&list, 0), id(&list, 1));
    restrict(&world, &key, &[one]).await;
    crate::world::within_a_second("the restriction holds", async || {
        contacts(&world.get(LIST, Some(&key)).await) == ["+60123456781"]
    })
    .await;
    for path in
        [of_foreign.as_str(), &of_two, "cnv_01jd3qz5k8e9rb1w0c5m2n6x7y", "nonsense", "msg_01jd3qz5k8e9rb1w0c5m2n6x7y"]
    {
        for (method, body) in [(Method::GET, None), (Method::PUT, Some(json!({ "state": "human" })))] {
            let answer = call(&world, &key, method, &format!("{LIST}/{path}"), body).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"), "{path}");
        }
    }
    let before = world.me(&key).await.header("x-ratelimit-remaining").parse::<u32>().unwrap();
    for instance in [two, foreign, InstanceId::new()] {
        let answer = world.get(&format!("{LIST}?instanceId={instance}"), Some(&key)).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"));
    }
    let after = world.me(&key).await.header("x-ratelimit-remaining").parse::<u32>().unwrap();
    assert_eq!(before - after, 1, "refused before the rate, so they cost nothing");
    assert_eq!(world.get(&format!("{LIST}/{of_one}"), Some(&key)).await.status, 200);
    assert_eq!(world.get(&format!("{LIST}/{of_foreign}"), Some(&theirs)).await.json()["state"], "bot", "untouched");
    world.finish().await;
    let refused = world.logged().await.into_iter().filter(|(_, _, outcome)| outcome == "instance_not_allowed").count();
    assert_eq!(refused, 3);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_organization_tells_its_size(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("reader", &["organization:read"]).await;
    let revoked = world.key("revoked", &["organization:read"]).await;
    domain::keys::store::revoke(&world.db, &world.actor(), &[revoked.id]).await.unwrap();
    let evil = world.foreign().await;
    world.key_with(evil, "theirs", &["organization:read"], |_| {}).await;
    instance(&world, evil, "waha").await;
    instance(&world, world.acme, "waha").await;
    let gone = instance(&world, world.acme, "waha").await;
    sqlx::query("update instances set deleted_at = now() where id = $1")
        .bind(gone.0)
        .execute(world.db.system())
        .await
        .unwrap();
    let mut answer = world.get("/api/v1/organization", Some(&key)).await.json();
    assert_eq!(answer["id"], json!(world.acme));
    assert!(answer["createdAt"].as_str().unwrap().parse::<DateTime<Utc>>().is_ok());
    answer["id"] = json!("…");
    answer["createdAt"] = json!("…");
    insta::assert_json_snapshot!(answer, @r#"
    {
      "counts": {
        "instances": 1,
        "keys": 1,
        "members": 1
      },
      "createdAt": "…",
      "id": "…",
      "name": "Acme"
    }
    "#);
    assert_eq!(world.get("/api/v1/organization?x=1", Some(&key)).await.problem(), "validation_failed");
}
