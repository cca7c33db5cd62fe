//! `/templates` over HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, routing::get};
use domain::{
    ids::InstanceId,
    instances::{self, CloudApiSettings, Credential, Credentials, NewInstance, Settings},
};
use http::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    conversations::{call, instance, restrict},
    instances::{make, near},
    mocks,
    world::{Answer, Key, World, eventually},
};

const LIST: &str = "/api/v1/templates";
const ALL: &[&str] = &["template:all"];

fn order_update(instance: InstanceId) -> Value {
    json!({
        "instanceId": instance, "name": "order_update", "language": "en_US", "category": "utility",
        "components": [
            { "type": "body", "text": "Hi {{1}}, your order {{2}} is on its way." },
            { "type": "buttons", "buttons": [{ "type": "url", "text": "Track", "url": "https://shop.example/t/{{1}}" }] },
        ],
    })
}

async fn post(world: &World, key: &Key, path: &str, body: &Value) -> Answer {
    call(world, key, Method::POST, path, Some(body.clone())).await
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_sandbox_template_lives_here(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("builder", ALL).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let made = post(&world, &key, LIST, &order_update(sandbox)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let path = format!("{LIST}/{}", made["id"].as_str().unwrap());
    assert_eq!(world.get(&path, Some(&key)).await.json(), made);
    assert_eq!(made["instanceId"], json!(sandbox));
    let mut shown = made.clone();
    for moving in ["id", "instanceId", "syncedAt"] {
        shown[moving] = json!("…");
    }
    insta::assert_json_snapshot!(shown, @r#"
    {
      "category": "UTILITY",
      "components": [
        {
          "text": "Hi {{1}}, your order {{2}} is on its way.",
          "type": "BODY"
        },
        {
          "buttons": [
            {
              "text": "Track",
              "type": "URL",
              "url": "https://shop.example/t/{{1}}"
            }
          ],
          "type": "BUTTONS"
        }
      ],
      "id": "…",
      "instanceId": "…",
      "language": "en_US",
      "name": "order_update",
      "parameterFormat": "POSITIONAL",
      "previousCategory": null,
      "providerId": null,
      "status": "APPROVED",
      "syncedAt": "…"
    }
    "#);
    let twice = post(&world, &key, LIST, &order_update(sandbox)).await;
    assert_eq!((twice.status.as_u16(), twice.problem().as_str()), (409, "conflict"));
    assert!(twice.json()["message"].as_str().unwrap().contains("order_update"));

    let patch = async |body: Value| call(&world, &key, Method::PATCH, &path, Some(body)).await;
    let changed = patch(json!({ "category": "MARKETING", "status": "paused" })).await.json();
    assert_eq!((&changed["category"], &changed["previousCategory"]), (&json!("MARKETING"), &json!("UTILITY")));
    assert_eq!((&changed["status"], &changed["components"]), (&json!("PAUSED"), &made["components"]));
    let changed =
        patch(json!({ "components": [{ "type": "BODY", "text": "Hi {{name}}" }], "parameterFormat": "NAMED" }))
            .await
            .json();
    assert_eq!(
        (&changed["parameterFormat"], &changed["components"][0]["text"]),
        (&json!("NAMED"), &json!("Hi {{name}}"))
    );
    assert_eq!(patch(json!({})).await.status, 200);
    for (body, field) in [
        (json!({ "category": "SPAM" }), "category"),
        (json!({ "category": "AUTHENTICATION" }), "components"),
        (json!({ "status": "DELETED" }), "status"),
        (json!({ "components": [] }), "components"),
        (json!({ "components": [{ "type": "BODY", "text": 1 }] }), "components[0].text"),
        (json!({ "parameterFormat": "POSITIONAL" }), "components"),
        (json!({ "name": "other" }), "name"),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }

    let gone = call(&world, &key, Method::DELETE, &path, None).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&world, &key, method, &path, None).await.problem(), "not_found");
    }
    assert_eq!(world.get(LIST, Some(&key)).await.json(), json!({ "data": [], "nextCursor": null }));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn wrong_templates_are_named_field_by_field(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("builder", ALL).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let with = |field: &str, value: Value| {
        let mut body = order_update(sandbox);
        body[field] = value;
        body
    };
    for (body, fields) in [
        (json!({}), vec!["instanceId", "name", "language", "category", "components"]),
        (with("instanceId", json!("ins_1")), vec!["instanceId"]),
        (with("name", json!("Order Update")), vec!["name"]),
        (with("name", json!(7)), vec!["name"]),
        (with("language", json!("english!")), vec!["language"]),
        (with("category", json!("SPAM")), vec!["category"]),
        (with("parameterFormat", json!("RANDOM")), vec!["parameterFormat"]),
        (with("parameterFormat", json!("named")), vec!["components"]),
        (with("components", json!("x")), vec!["components"]),
        (
            with("components", json!([{ "type": "BODY", "text": "x", "txet": 1 }, { "type": "FOOTER" }])),
            vec!["components[0].txet", "components[1].text"],
        ),
        (with("status", json!("APPROVED")), vec!["status"]),
    ] {
        let answer = post(&world, &key, LIST, &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{body}");
        let errors = answer.json();
        let named: Vec<&str> =
            errors["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{body}");
    }
}

/// The same call with the same key makes one template.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn creating_twice_by_mistake_makes_one(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let key = world.key("builder", ALL).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let create = async || {
        let call = crate::world::request(Method::POST, LIST)
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .header("idempotency-key", "order-template-1")
            .body(order_update(sandbox).to_string().into())
            .unwrap();
        world.send(call).await
    };
    let (first, second) = (create().await, create().await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.json(), second.json());
    assert_eq!(second.header("idempotent-replayed"), "true");
}

/// Templates of others, and of instances that the key may not use, are not there; nor can any be made for them.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn foreign_templates_are_not_there(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let key = world.key("builder", ALL).await;
    let evil = world.foreign().await;
    let theirs = world.key_with(evil, "theirs", ALL, |_| {}).await;
    let (one, two) = (instance(&world, world.acme, "sandbox").await, instance(&world, world.acme, "sandbox").await);
    let foreign = instance(&world, evil, "sandbox").await;
    let make = async |key: &Key, instance| {
        let made = post(&world, key, LIST, &order_update(instance)).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let (_, of_two, of_foreign) = (make(&key, one).await, make(&key, two).await, make(&theirs, foreign).await);
    restrict(&world, &key, &[one]).await;
    crate::world::within_a_second("the restriction holds", async || {
        world.get(LIST, Some(&key)).await.json()["data"].as_array().unwrap().len() == 1
    })
    .await;
    for id in [of_two.as_str(), &of_foreign, "tpl_01jd3qz5k8e9rb1w0c5m2n6x7y", "nonsense"] {
        for (method, body) in [(Method::GET, None), (Method::PATCH, Some(json!({}))), (Method::DELETE, None)] {
            let answer = call(&world, &key, method, &format!("{LIST}/{id}"), body).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"), "{id}");
        }
    }
    for instance in [two, foreign, InstanceId::new()] {
        assert_eq!(world.get(&format!("{LIST}?instanceId={instance}"), Some(&key)).await.problem(), "not_found");
        assert_eq!(post(&world, &key, LIST, &order_update(instance)).await.problem(), "not_found");
        assert_eq!(
            post(&world, &key, "/api/v1/templates/sync", &json!({ "instanceId": instance })).await.problem(),
            "not_found"
        );
    }
    assert_eq!(world.get(&format!("{LIST}/{of_foreign}"), Some(&theirs)).await.status, 200);
    world.finish().await;
    let refused = world.logged().await.into_iter().filter(|(_, _, outcome)| outcome == "instance_not_allowed").count();
    assert_eq!(refused, 9);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn each_right_is_its_own(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let sandbox = instance(&world, world.acme, "sandbox").await;
    let all = world.key("all", ALL).await;
    let id = post(&world, &all, LIST, &order_update(sandbox)).await.json()["id"].as_str().unwrap().to_owned();
    let one = format!("{LIST}/{id}");
    for (scope, passes) in [
        ("template:read", [200, 200, 403, 403, 403, 403]),
        ("template:create", [403, 403, 409, 403, 403, 403]),
        ("template:update", [403, 403, 403, 200, 409, 403]),
        ("template:delete", [403, 403, 403, 403, 403, 204]),
    ] {
        let key = world.key(scope, &[scope]).await;
        let sync = json!({ "instanceId": sandbox });
        let mut found =
            vec![world.get(LIST, Some(&key)).await.status.as_u16(), world.get(&one, Some(&key)).await.status.as_u16()];
        found.push(post(&world, &key, LIST, &order_update(sandbox)).await.status.as_u16());
        found.push(call(&world, &key, Method::PATCH, &one, Some(json!({}))).await.status.as_u16());
        found.push(post(&world, &key, "/api/v1/templates/sync", &sync).await.status.as_u16());
        found.push(call(&world, &key, Method::DELETE, &one, None).await.status.as_u16());
        assert_eq!(found, passes, "{scope}");
    }
}

/// A Graph API that lists templates on two pages.
async fn graph(pages: Arc<Mutex<[Value; 2]>>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let list = move |State(pages): State<Arc<Mutex<[Value; 2]>>>, uri: http::Uri| async move {
        let pages = pages.lock().unwrap();
        let query = uri.query().unwrap_or_default();
        if query.contains("after=second") {
            return axum::Json(json!({ "data": pages[1], "paging": { "cursors": { "before": "x", "after": "y" } } }));
        }
        let next = format!("http://{address}/v24.0/2/message_templates?limit=100&after=second");
        axum::Json(
            json!({ "data": pages[0], "paging": { "cursors": { "before": "a", "after": "second" }, "next": next } }),
        )
    };
    let router = Router::new().route("/v24.0/{account}/message_templates", get(list)).with_state(pages);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A Cloud API instance whose Graph API stands at this address.
async fn cloud(world: &World, address: SocketAddr) -> InstanceId {
    let settings = CloudApiSettings {
        base_url: format!("http://{address}"),
        version: "v24.0".into(),
        phone_number_id: "1".into(),
        business_account_id: "2".into(),
    };
    let mut credentials = Credentials::default();
    credentials.set(Credential::AccessToken, "token".to_owned().into());
    let new = NewInstance { name: "Meta".into(), settings: Settings::CloudApi(settings), credentials };
    instances::store::create(&world.db, &world.state.sealer, &world.actor(), new, None).await.unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_synchronisation_takes_the_providers_list_over(_: PgPoolOptions, options: PgConnectOptions) {
    let more = ["--allow-private-providers", "127.0.0.0/8", "--public-url", "http://bouncer.example"];
    let world = World::with(options, &more).await;
    let key = world.key("builder", ALL).await;
    let entry = |name: &str, category: &str| {
        json!({ "id": "7", "name": name, "language": "en_US", "status": "APPROVED", "category": category,
                "components": [{ "type": "BODY", "text": "Hi {{1}}" }], "quality_score": { "score": "GREEN" } })
    };
    let nameless = json!({ "id": "8", "language": "en_US" });
    let pages = Arc::new(Mutex::new([json!([entry("one", "UTILITY"), nameless]), json!([entry("two", "MARKETING")])]));
    let instance = cloud(&world, graph(pages.clone()).await).await;
    let sync = async || {
        let answer = post(&world, &key, "/api/v1/templates/sync", &json!({ "instanceId": instance })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    assert_eq!(sync().await, json!({ "listed": 2, "added": 2, "removed": 0, "recategorised": 0 }));
    *pages.lock().unwrap() = [json!([entry("one", "MARKETING")]), json!([])];
    assert_eq!(sync().await, json!({ "listed": 1, "added": 0, "removed": 1, "recategorised": 1 }));
    let list = world.get(&format!("{LIST}?instanceId={instance}"), Some(&key)).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!((&list["data"][0]["name"], &list["data"][0]["previousCategory"]), (&json!("one"), &json!("UTILITY")));
    let told: Vec<String> = sqlx::query_scalar("select kind from events where kind like 'template%'")
        .fetch_all(world.db.system())
        .await
        .unwrap();
    assert_eq!(told, ["template.category_changed"]);

    // Theirs cannot be changed here, and the sandbox has nothing to synchronise.
    let one = format!("{LIST}/{}", list["data"][0]["id"].as_str().unwrap());
    let patched = call(&world, &key, Method::PATCH, &one, Some(json!({ "status": "PAUSED" }))).await;
    assert_eq!(patched.problem(), "conflict");
    assert!(patched.json()["message"].as_str().unwrap().contains("WhatsApp Manager"));
    let sandbox = crate::conversations::instance(&world, world.acme, "sandbox").await;
    for other in [sandbox, crate::conversations::instance(&world, world.acme, "waha").await] {
        let answer = post(&world, &key, "/api/v1/templates/sync", &json!({ "instanceId": other })).await;
        assert_eq!(answer.problem(), "conflict");
    }
}

/// A provider that is away changes nothing.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn without_the_provider_the_list_stays(_: PgPoolOptions, options: PgConnectOptions) {
    let more = ["--allow-private-providers", "127.0.0.0/8", "--public-url", "http://bouncer.example"];
    let world = World::with(options, &more).await;
    let key = world.key("builder", ALL).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let instance = cloud(&world, closed).await;
    domain::templates::store::sync(
        &world.db,
        None,
        world.acme,
        instance,
        &[domain::templates::Listed::parse(&json!({ "name": "one", "language": "en", "status": "APPROVED" })).unwrap()],
    )
    .await
    .unwrap();
    let answer = post(&world, &key, "/api/v1/templates/sync", &json!({ "instanceId": instance })).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (424, "provider_unreachable"), "{}", answer.text());
    assert_eq!(world.get(LIST, Some(&key)).await.json()["data"].as_array().unwrap().len(), 1);
}

fn approved(name: &str) -> Value {
    json!({ "id": "7", "name": name, "language": "en_US", "status": "APPROVED", "category": "UTILITY",
            "components": [{ "type": "BODY", "text": "Hi" }] })
}

async fn names(world: &World, instance: InstanceId) -> Vec<String> {
    sqlx::query_scalar("select name from templates where instance_id = $1 and deleted_at is null order by 1")
        .bind(instance.0)
        .fetch_all(world.db.system())
        .await
        .unwrap()
}

/// Whoever connects a number has its templates; when Meta does not list them, it is connected all the same.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_number_is_connected_with_its_templates(_: PgPoolOptions, options: PgConnectOptions) {
    let world = near(options).await;
    let key = world.key("manager", &["instance:manage"]).await;
    let graph = mocks::Graph::new().await;
    graph.templates(vec![approved("one"), approved("two")]);
    let number = make(&world, world.acme, crate::instances::cloud("Cloud", &graph.url())).await;
    let connect = async || {
        let answer = call(&world, &key, Method::POST, &format!("/api/v1/instances/{number}/connect"), None).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("connected")), "{}", answer.text());
    };
    graph.refuse_templates(true);
    connect().await;
    assert!(names(&world, number).await.is_empty());
    graph.refuse_templates(false);
    connect().await;
    assert_eq!(names(&world, number).await, ["one", "two"]);
}

/// A number that cannot be asked does not keep the others from being asked.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn templates_are_fetched_once_a_day(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = near(options).await;
    let (graph, deaf) = (mocks::Graph::new().await, mocks::Graph::new().await);
    graph.templates(vec![approved("one")]);
    deaf.refuse_templates(true);
    let mut numbers = Vec::new();
    for (name, url) in [("Deaf", deaf.url()), ("Good", graph.url()), ("Fresh", graph.url())] {
        numbers.push(make(&world, world.acme, crate::instances::cloud(name, &url)).await);
    }
    sqlx::query(
        "update instances set status = 'connected',
                templates_asked_at = now() - case when name = 'Fresh' then interval '23 hours' else interval '25 hours' end",
    )
    .execute(world.db.system())
    .await
    .unwrap();
    world.work().await;
    eventually("the templates are there", async || names(&world, numbers[1]).await == ["one"]).await;
    eventually("the other was asked, too", async || !deaf.calls().is_empty()).await;
    assert!(names(&world, numbers[2]).await.is_empty(), "not yet");
    world.finish().await;
    assert_eq!(graph.calls().len(), 1);
    let told: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'template.synced'")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    assert_eq!(told, 0, "nobody did it");
}
