//! `/messages` over HTTP: sending, and what can be seen of it.

use axum::body::Body;
use domain::{ids::InstanceId, keys::KeyForm};
use futures::future::join_all;
use http::{Method, Request};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, Key, World, request};

const SEND: &str = "/api/v1/messages/send";

/// An instance and its queue, as they lie in the database.
async fn instance(world: &World, organization: domain::ids::OrgId, provider: &str) -> InstanceId {
    let id = InstanceId::new();
    sqlx::query(
        "with made as (
             insert into instances (id, organization_id, name, provider, settings, status, created_by_name)
             values ($1, $2, $1::text, $3, $4, 'connected', 'test'))
         insert into queues (instance_id, organization_id) values ($1, $2)",
    )
    .bind(id.0)
    .bind(organization.0)
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

async fn sender(world: &World, name: &str, change: impl FnOnce(&mut KeyForm)) -> Key {
    world.key_with(world.acme, name, &["message:send"], change).await
}

async fn send(world: &World, key: &Key, body: &Value) -> Answer {
    world.post_json(SEND, key, body.to_string()).await
}

async fn send_once(world: &World, key: &Key, once: &str, body: &Value) -> Answer {
    let request = Request::post(SEND)
        .header("x-api-key", &key.text)
        .header("content-type", "application/json")
        .header("idempotency-key", once)
        .body(Body::from(body.to_string()))
        .unwrap();
    world.send(request).await
}

async fn call(world: &World, key: &Key, method: Method, path: &str) -> Answer {
    world.send(request(method, path).header("x-api-key", &key.text).body(Body::empty()).unwrap()).await
}

fn left(answer: &Answer) -> u32 {
    answer.header("x-ratelimit-remaining").parse().unwrap()
}

fn fields(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"));
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap();
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

async fn count(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from messages").fetch_one(world.db.system()).await.unwrap()
}

/// The outcomes in the request log, oldest first.
async fn outcomes(world: &mut World) -> Vec<String> {
    world.work().await;
    world.finish().await;
    world.logged().await.into_iter().map(|(_, _, outcome)| outcome).collect()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_message_from_acceptance_to_its_end(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let (sandbox, key) = (instance(&world, world.acme, "sandbox").await, sender(&world, "Shop", |_| {}).await);
    let answer = send(&world, &key, &json!({ "instanceId": sandbox, "to": "+60 12-345 6789", "message": "Hi" })).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let sent = answer.json();
    let id = sent["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("msg_"));
    assert_eq!(
        (&sent["status"], &sent["instanceId"], &sent["to"], &sent["environment"], &sent["position"]),
        (&json!("queued"), &json!(sandbox), &json!("+60123456789"), &json!("live"), &json!(1))
    );
    assert!(sent["expectedSendAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(sent["estimatedCost"], json!({ "amountMicros": 0, "currency": null }));
    assert_eq!(sent.as_object().unwrap().len(), 8);

    let path = format!("/api/v1/messages/{id}");
    let got = call(&world, &key, Method::GET, &path).await.json();
    assert_eq!(
        (&got["id"], &got["type"], &got["content"]),
        (&json!(id), &json!("text"), &json!({ "text": { "body": "Hi", "preview_url": false } }))
    );
    assert_eq!((&got["keyId"], &got["requestId"]), (&json!(key.id), &json!(answer.header("x-request-id"))));
    assert_eq!(got["timeline"].as_array().unwrap().len(), 1);
    assert_eq!(call(&world, &key, Method::GET, "/api/v1/messages").await.json()["data"][0]["id"], json!(id));

    let cancelled = call(&world, &key, Method::DELETE, &path).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json()["timeline"][1]["detail"], "cancelled with the key Shop");
    let again = call(&world, &key, Method::DELETE, &path).await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (409, "conflict"));
    assert!(again.json()["message"].as_str().unwrap().starts_with("This message was cancelled on"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_instance_that_may_not_be_used_is_not_there(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::new(options).await;
    let foreign = world.foreign().await;
    let theirs = instance(&world, foreign, "sandbox").await;
    let (mine, other) = (instance(&world, world.acme, "sandbox").await, instance(&world, world.acme, "sandbox").await);
    let key = sender(&world, "Shop", |_| {}).await;
    sqlx::query("update api_keys set allowed_instances = array[$1] where id = $2")
        .bind(mine.0)
        .bind(key.id.0)
        .execute(world.db.system())
        .await
        .unwrap();
    let body = |instance| json!({ "instanceId": instance, "to": "+60123456789", "message": "Hi" });
    let first = send(&world, &key, &body(mine)).await;
    assert_eq!(first.status, 202);
    let mut texts = Vec::new();
    for hidden in [theirs, other, InstanceId::new()] {
        let answer = send(&world, &key, &body(hidden)).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"));
        assert_eq!(left(&answer), left(&first), "a call refused before the rate costs nothing");
        texts.push(answer.text().replace(answer.header("x-request-id"), "ID"));
        // The list, too.
        let answer = call(&world, &key, Method::GET, &format!("/api/v1/messages?instanceId={hidden}")).await;
        assert_eq!(answer.status, 404);
        assert_eq!(left(&answer), left(&first));
    }
    assert_eq!(texts[0], texts[1], "nobody learns what exists");
    assert_eq!(texts[1], texts[2]);
    // What was sent before the restriction is hidden with its instance.
    sqlx::query("update messages set instance_id = $1").bind(other.0).execute(world.db.system()).await.unwrap();
    let id = first.json()["id"].as_str().unwrap().to_owned();
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&world, &key, method, &format!("/api/v1/messages/{id}")).await.status, 404);
    }
    assert_eq!(call(&world, &key, Method::GET, "/api/v1/messages").await.json()["data"], json!([]));
    let log = outcomes(&mut world).await;
    assert_eq!(log.iter().filter(|outcome| *outcome == "instance_not_allowed").count(), 6, "{log:?}");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_gate_speaks_in_its_order(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::new(options).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let good = json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Hi" });
    // The scope is asked before the body is looked at.
    let other = world.key("other", &["webhooks:read"]).await;
    assert_eq!(world.post_json(SEND, &other, "{").await.problem(), "insufficient_scope");
    let key = sender(&world, "Few", |form| form.rate_limit = "4".into()).await;
    // A body that is wrong was a call.
    assert_eq!(left(&world.post_json(SEND, &key, "{").await), 3);
    assert_eq!(left(&send(&world, &key, &json!({ "instanceId": sandbox })).await), 2);
    assert_eq!(left(&send(&world, &key, &json!({ "instanceId": InstanceId::new(), "to": "x" })).await), 2);
    assert_eq!(left(&send(&world, &key, &json!({ "to": "x" })).await), 1);
    assert_eq!(send(&world, &key, &good).await.status, 202);
    // The hour is used up: that comes before what is wrong with the body, and after the instance.
    for body in [good.to_string(), "{".into(), json!({ "instanceId": sandbox }).to_string()] {
        let answer = world.post_json(SEND, &key, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (429, "rate_limited"));
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    assert_eq!(send(&world, &key, &json!({ "instanceId": InstanceId::new() })).await.status, 404);
    assert_eq!(count(&world).await, 1);

    let small = sender(&world, "Small", |form| form.max_queue = "2".into()).await;
    for _ in 0..2 {
        assert_eq!(send(&world, &small, &good).await.status, 202);
    }
    let full = send(&world, &small, &good).await;
    assert_eq!((full.status.as_u16(), full.problem().as_str(), full.header("retry-after")), (429, "queue_full", "1"));
    let log = outcomes(&mut world).await;
    assert_eq!(log.iter().filter(|outcome| *outcome == "rate_limited").count(), 3);
    assert_eq!(log.last().unwrap(), "queue_full");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn every_wrong_field_is_named(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let (sandbox, key) = (instance(&world, world.acme, "sandbox").await, sender(&world, "Shop", |_| {}).await);
    let answer = send(
        &world,
        &key,
        &json!({ "instanceId": "ins_1", "to": "12", "type": "image", "image": { "url": "x" }, "dryrun": true }),
    )
    .await;
    assert_eq!(fields(&answer), ["instanceId", "to", "image.link", "image.url", "dryrun"]);
    for (change, field) in [
        (json!({ "to": "call me" }), "to"),
        (json!({ "to": 60123456789i64 }), "to"),
        (json!({ "to": "123" }), "to"),
        (json!({ "to": "12345678901234567890" }), "to"),
        (json!({ "message": "x".repeat(4_097) }), "message"),
        (json!({ "message": null }), "message"),
        (json!({ "dryRun": "yes" }), "dryRun"),
        (json!({ "messages": "Hi" }), "messages"),
        (json!({ "instanceId": null }), "instanceId"),
    ] {
        let mut body = json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Hi" });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(fields(&send(&world, &key, &body).await), [field], "{change}");
    }
    assert_eq!(count(&world).await, 0);
    for to in ["+60 12-345 6789", "0060 12 345 6789", "60123456789@c.us"] {
        let answer = send(&world, &key, &json!({ "instanceId": sandbox, "to": to, "message": "Hi" })).await;
        assert_eq!(answer.json()["to"], "+60123456789", "{to}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_repeated_call_gets_the_first_answer(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let key = sender(&world, "Shop", |form| form.max_queue = "1000".into()).await;
    let body = json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Hi" });
    let first = send_once(&world, &key, "order-17", &body).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (202, ""));
    for once in ["order-17", "\"order-17\""] {
        let again = send_once(&world, &key, once, &body).await;
        assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (202, "true"));
        assert_eq!(again.body, first.body);
    }
    let other = json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Ho" });
    let mismatch = send_once(&world, &key, "order-17", &other).await;
    assert_eq!((mismatch.status.as_u16(), mismatch.problem().as_str()), (422, "idempotency_mismatch"));
    let second = sender(&world, "Another", |_| {}).await;
    assert_eq!(send_once(&world, &second, "order-17", &body).await.problem(), "idempotency_mismatch");
    assert_eq!(fields(&send_once(&world, &key, &"x".repeat(256), &body).await), ["Idempotency-Key"]);
    assert_eq!(count(&world).await, 1);

    // Twenty at once: one message.
    let all = join_all((0..20).map(|_| send_once(&world, &key, "order-18", &body))).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 202).count(), 20);
    assert_eq!(all.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count(), 1);
    assert!(all.iter().all(|answer| answer.body == all[0].body));
    assert_eq!(count(&world).await, 2);

    // A call that was refused may be made again.
    let wrong = json!({ "instanceId": sandbox, "to": "x", "message": "Hi" });
    assert_eq!(send_once(&world, &key, "order-19", &wrong).await.status, 422);
    assert_eq!(send_once(&world, &key, "order-19", &body).await.status, 202);
    // Without the header every call is a message.
    assert_ne!(send(&world, &key, &body).await.json()["id"], send(&world, &key, &body).await.json()["id"]);
}

/// Its answer was lost, and meanwhile much has changed: the message was accepted all the same.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_repeated_call_gets_the_first_answer_whatever_has_changed(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let key = sender(&world, "Shop", |form| form.rate_limit = "6".into()).await;
    sqlx::query(
        "insert into templates (id, organization_id, instance_id, name, language, category, status, components)
         values (gen_random_uuid(), $1, $2, 'order', 'en_US', 'UTILITY', 'APPROVED', $3)",
    )
    .bind(world.acme.0)
    .bind(sandbox.0)
    .bind(json!([{ "type": "BODY", "text": "Your order is on its way." }]))
    .execute(world.db.system())
    .await
    .unwrap();
    let body = json!({ "instanceId": sandbox, "to": "+60123456789", "type": "template",
                       "template": { "name": "order", "language": { "code": "en_US" } } });
    let first = send_once(&world, &key, "order-17", &body).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let repeated = async || {
        let again = send_once(&world, &key, "order-17", &body).await;
        assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (202, "true"), "{}", again.text());
        assert_eq!(again.body, first.body);
        left(&again)
    };
    let execute = async |sql: &'static str| sqlx::query(sql).execute(world.db.system()).await.unwrap();

    execute("update templates set status = 'PAUSED'").await;
    assert_eq!(repeated().await, 4);
    assert_eq!(fields(&send_once(&world, &key, "order-18", &body).await), ["template.name"]);
    let other = json!({ "instanceId": sandbox, "to": "+60123456780", "type": "template",
                        "template": { "name": "order", "language": { "code": "en_US" } } });
    assert_eq!(fields(&send_once(&world, &key, "order-17", &other).await), ["template.name"]);

    domain::instances::store::delete(&world.db, &world.actor(), sandbox).await.unwrap();
    world.state.instances.invalidate(sandbox);
    // A repetition is a call like any other; one that is refused costs nothing.
    assert_eq!(repeated().await, 1);
    assert_eq!(send_once(&world, &key, "order-19", &body).await.problem(), "not_found");
    assert_eq!(send(&world, &key, &body).await.problem(), "not_found");
    assert_eq!(repeated().await, 0);
    assert_eq!(send_once(&world, &key, "order-17", &body).await.problem(), "rate_limited");
    execute("update idempotency_keys set created_at = created_at - interval '25 hours'").await;
    assert_eq!(send_once(&world, &key, "order-17", &body).await.problem(), "not_found");
    assert_eq!(count(&world).await, 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn many_callers_at_once_are_all_served(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let sandboxes = [instance(&world, world.acme, "sandbox").await, instance(&world, world.acme, "sandbox").await];
    let key = sender(&world, "Shop", |form| {
        form.max_queue = "1000".into();
        form.rate_limit = String::new();
    });
    let key = key.await;
    let answers = join_all((0..300).map(|n| {
        let body = json!({ "instanceId": sandboxes[n % 2], "to": format!("+6012345{n:04}"), "message": n.to_string() });
        let (world, key) = (&world, &key);
        async move { send(world, key, &body).await }
    }))
    .await;
    let mut positions: Vec<i64> = answers.iter().map(|answer| answer.json()["position"].as_i64().unwrap()).collect();
    positions.sort_unstable();
    // Each place of both queues was given away once.
    assert_eq!(positions, (1..=150).flat_map(|n| [n, n]).collect::<Vec<i64>>());
    assert_eq!(count(&world).await, 300);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_dry_run_writes_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let (sandbox, key) = (instance(&world, world.acme, "sandbox").await, sender(&world, "Shop", |_| {}).await);
    let body = json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Hi", "dryRun": true });
    let answer = send_once(&world, &key, "once", &body).await;
    assert_eq!(answer.status, 200);
    let told = answer.json();
    assert!(told.get("id").is_none());
    assert_eq!((&told["status"], &told["position"]), (&json!("queued"), &json!(1)));
    assert_eq!(count(&world).await, 0);
    let kept: i64 =
        sqlx::query_scalar("select count(*) from idempotency_keys").fetch_one(world.db.system()).await.unwrap();
    assert_eq!(kept, 0);
    assert_eq!(
        fields(
            &send(&world, &key, &json!({ "instanceId": sandbox, "to": "x", "message": "Hi", "dryRun": true })).await
        ),
        ["to"]
    );
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_person_is_not_interrupted(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let (sandbox, key) = (instance(&world, world.acme, "sandbox").await, sender(&world, "Bot", |_| {}).await);
    sqlx::query(
        "insert into conversations (id, organization_id, instance_id, contact, state, assignee, until)
         values (gen_random_uuid(), $1, $2, '60123456789', 'human', 'Ada', '2099-01-02T03:04:05Z')",
    )
    .bind(world.acme.0)
    .bind(sandbox.0)
    .execute(world.db.system())
    .await
    .unwrap();
    let answer = send(&world, &key, &json!({ "instanceId": sandbox, "to": "+60123456789", "message": "Hi" })).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (409, "conversation_with_human"));
    assert_eq!(
        answer.json()["message"],
        "This conversation is in the state human: Ada has it until 2099-01-02 03:04:05 UTC."
    );
    assert_eq!(count(&world).await, 0);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn templates_are_checked_before_they_are_accepted(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = sender(&world, "Shop", |_| {}).await;
    for provider in ["sandbox", "cloud_api"] {
        let instance = instance(&world, world.acme, provider).await;
        sqlx::query(
            "insert into templates (id, organization_id, instance_id, name, language, category, status, components)
             values (gen_random_uuid(), $1, $2, 'order', 'en_US', 'UTILITY', 'APPROVED', $3)",
        )
        .bind(world.acme.0)
        .bind(instance.0)
        .bind(json!([{ "type": "BODY", "text": "Hi {{1}}, your order {{2}} is on its way." }]))
        .execute(world.db.system())
        .await
        .unwrap();
        let body = |name: &str, language: &str, texts: &[&str]| {
            let parameters: Vec<_> = texts.iter().map(|text| json!({ "type": "text", "text": text })).collect();
            json!({ "instanceId": instance, "to": "+60123456789", "type": "template", "template": {
                "name": name, "language": { "code": language },
                "components": [{ "type": "body", "parameters": parameters }] } })
        };
        let answer = send(&world, &key, &body("order", "en_US", &["Ada", "17"])).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let stored: (String, String) = sqlx::query_as(
            "select template_name, template_language from messages where kind = 'template' order by id desc limit 1",
        )
        .fetch_one(world.db.system())
        .await
        .unwrap();
        assert_eq!(stored, ("order".into(), "en_US".into()));
        let cost = &answer.json()["estimatedCost"];
        assert_eq!(cost.is_null(), provider == "cloud_api", "only Meta's price is not known: {cost}");
        assert_eq!(fields(&send(&world, &key, &body("nothing", "en_US", &[])).await), ["template.name"]);
        assert_eq!(fields(&send(&world, &key, &body("order", "de", &["Ada", "17"])).await), ["template.language.code"]);
        let missing = fields(&send(&world, &key, &body("order", "en_US", &["Ada"])).await);
        assert!(missing.iter().all(|field| field.starts_with("template.components")), "{missing:?}");
    }
    let waha = instance(&world, world.acme, "waha").await;
    let template = json!({ "instanceId": waha, "to": "+60123456789", "type": "template",
                           "template": { "name": "order", "language": { "code": "en_US" } } });
    assert_eq!(fields(&send(&world, &key, &template).await), ["type"]);
    let upload = json!({ "instanceId": waha, "to": "+60123456789", "type": "image", "image": { "id": "17" } });
    assert_eq!(fields(&send(&world, &key, &upload).await), ["image.id"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_sees_its_own_messages_page_by_page(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let (key, other) = (sender(&world, "One", |_| {}).await, sender(&world, "Two", |_| {}).await);
    let mut ids = Vec::new();
    for n in 0..5 {
        let body = json!({ "instanceId": sandbox, "to": format!("+6012345678{}", n % 2), "message": "Hi" });
        ids.insert(0, send(&world, &key, &body).await.json()["id"].as_str().unwrap().to_owned());
    }
    let theirs = send(&world, &other, &json!({ "instanceId": sandbox, "to": "+60123456780", "message": "Hi" })).await;
    let theirs = theirs.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(call(&world, &key, Method::GET, &format!("/api/v1/messages/{theirs}")).await.status, 404);
    assert_eq!(call(&world, &key, Method::DELETE, &format!("/api/v1/messages/{theirs}")).await.status, 404);
    for nonsense in ["x", "msg_", "key_01jd3qz5k8e9rb1w0c5m2n6x7y", "%00", "msg_01jd3qz5k8e9rb1w0c5m2n6x7y"] {
        assert_eq!(call(&world, &key, Method::GET, &format!("/api/v1/messages/{nonsense}")).await.status, 404);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = call(&world, &key, Method::GET, &format!("/api/v1/messages?limit=2{cursor}")).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let list = async |query: &str| -> usize {
        let answer = call(&world, &key, Method::GET, &format!("/api/v1/messages?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["data"].as_array().unwrap().len()
    };
    assert_eq!(list("to=%2B60123456781").await, 2);
    assert_eq!(list(&format!("status=queued&environment=live&instanceId={sandbox}")).await, 5);
    assert_eq!(list("environment=test").await, 0);
    assert_eq!(list("status=read").await, 0);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("cursor=abc", "cursor"),
        ("status=lost", "status"),
        ("to=me", "to"),
        ("state=queued", "state"),
        ("limit=1&limit=2", "limit"),
        ("environment=prod", "environment"),
        ("instanceId=x", "instanceId"),
    ] {
        assert_eq!(fields(&call(&world, &key, Method::GET, &format!("/api/v1/messages?{query}")).await), [field]);
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn test_keys_rehearse(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let waha = instance(&world, world.acme, "waha").await;
    let key = sender(&world, "Rehearsal", |form| {
        form.environment = "test".into();
        form.throttle_mode = "random".into();
    });
    let key = key.await;
    for n in 0..3 {
        let body = json!({ "instanceId": waha, "to": format!("+6012345678{n}"), "message": "Hi" });
        let sent = send(&world, &key, &body).await.json();
        assert_eq!((&sent["environment"], &sent["position"]), (&json!("test"), &json!(n + 1)));
    }
    // Not paced: all of them are due at once.
    let paced: i64 = sqlx::query_scalar("select count(*) from outbox where gap_ms > 0 or due > now()")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(paced, 0);
}
