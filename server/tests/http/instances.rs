//! `/instances`: their life over the API, and what nobody may see or do.

use domain::{
    ids::{InstanceId, OrgId},
    instances::{InstanceForm, store},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{
    mocks,
    world::{self, Answer, Key, World, request},
};

/// A server that may call providers on this machine.
pub async fn near(options: PgConnectOptions) -> World {
    World::with(options, &["--public-url", "http://bouncer.example", "--allow-private-providers", "127.0.0.0/8"]).await
}

pub fn options(pool: &PgPool) -> PgConnectOptions {
    pool.connect_options().as_ref().clone()
}

pub async fn make(world: &World, organization: OrgId, form: InstanceForm) -> InstanceId {
    let new = form.parse(None).unwrap();
    store::create(&world.db, &world.state.sealer, &world::actor(organization), new, None).await.unwrap()
}

pub fn waha(name: &str, url: &str) -> InstanceForm {
    InstanceForm {
        name: name.into(),
        provider: "waha".into(),
        base_url: url.into(),
        api_key: "key".into(),
        ..InstanceForm::default()
    }
}

pub fn cloud(name: &str, url: &str) -> InstanceForm {
    InstanceForm {
        name: name.into(),
        provider: "cloud_api".into(),
        base_url: url.into(),
        phone_number_id: mocks::NUMBER.into(),
        business_account_id: mocks::ACCOUNT.into(),
        access_token: mocks::TOKEN.into(),
        app_secret: "dev-app-secret".into(),
        verify_token: "verify-me-please".into(),
        ..InstanceForm::default()
    }
}

async fn call(world: &World, method: Method, path: &str, key: &Key, body: Option<Value>) -> Answer {
    let mut request = request(method, &format!("/api/v1{path}")).header("x-api-key", &key.text);
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            axum::body::Body::from(body.to_string())
        }
        None => axum::body::Body::empty(),
    };
    world.send(request.body(body).unwrap()).await
}

async fn manager(world: &World) -> Key {
    world.key("Manager", &["instance:manage"]).await
}

fn fields(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.problem(), "validation_failed", "{}", answer.text());
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_instance_lives_and_ends_over_the_api(pool: PgPool) {
    let world = near(options(&pool)).await;
    let mock = mocks::Waha::new(Some("the-key")).await;
    let key = manager(&world).await;
    let body = json!({
        "name": "Support", "provider": "waha",
        "settings": { "baseUrl": mock.url(), "session": "support" }, "credentials": { "apiKey": "the-key" },
    });
    let made = call(&world, Method::POST, "/instances", &key, Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["provider"], "waha");
    assert_eq!(made["settings"], json!({ "baseUrl": mock.url(), "session": "support" }));
    assert_eq!(made["credentials"], json!(["apiKey", "hookSecret"]));
    assert_eq!(made["status"], "disconnected");
    assert_eq!(made["hookUrl"], format!("http://bouncer.example/hooks/waha/{id}"));
    assert_eq!(made["queue"]["paused"]["by"], "session");
    assert_eq!(made["phone"], Value::Null);

    let path = format!("/instances/{id}");
    let connected = call(&world, Method::POST, &format!("{path}/connect"), &key, None).await;
    assert_eq!(
        (connected.status, &connected.json()["status"]),
        (StatusCode::OK, &json!("connecting")),
        "{}",
        connected.text()
    );
    mock.set_status("support", "SCAN_QR_CODE");
    let qr = call(&world, Method::GET, &format!("{path}/qr"), &key, None).await;
    assert_eq!(qr.json(), json!({ "qr": "2@abc,def,ghi==" }));
    let picture = request(Method::GET, &format!("/api/v1{path}/qr"))
        .header("x-api-key", &key.text)
        .header("accept", "text/html, image/svg+xml;q=0.9")
        .body(axum::body::Body::empty())
        .unwrap();
    let picture = world.send(picture).await;
    assert_eq!(picture.header("content-type"), "image/svg+xml");
    assert!(picture.text().contains("<svg"), "{}", picture.text());

    mock.scanned("support", "60123456789");
    let connected = call(&world, Method::POST, &format!("{path}/connect"), &key, None).await.json();
    assert_eq!((&connected["status"], &connected["phone"]), (&json!("connected"), &json!("+60123456789")));
    assert_eq!(connected["queue"]["paused"], Value::Null);
    let nothing = call(&world, Method::GET, &format!("{path}/qr"), &key, None).await;
    assert_eq!((nothing.status, nothing.problem().as_str()), (StatusCode::CONFLICT, "conflict"));

    let paused = call(&world, Method::POST, &format!("{path}/pause"), &key, None).await.json();
    assert_eq!(paused["queue"]["paused"]["by"], "person");
    assert_eq!(paused["queue"]["paused"]["reason"], "Paused by API key Manager.");
    let resumed = call(&world, Method::POST, &format!("{path}/resume"), &key, None).await.json();
    assert_eq!(resumed["queue"]["paused"], Value::Null);

    let stopped = call(&world, Method::POST, &format!("{path}/disconnect"), &key, None).await.json();
    assert_eq!((&stopped["status"], &stopped["queue"]["paused"]["by"]), (&json!("disconnected"), &json!("session")));
    assert_eq!(mock.get_session("support").unwrap()["me"]["id"], "60123456789@c.us", "still linked");
    let out = Some(json!({ "logOut": true }));
    let out = call(&world, Method::POST, &format!("{path}/disconnect"), &key, out).await;
    assert_eq!(out.status, StatusCode::OK);
    assert_eq!(mock.get_session("support").unwrap()["me"], Value::Null);

    let changed = call(&world, Method::PATCH, &path, &key, Some(json!({ "name": "Sales" }))).await;
    assert_eq!((changed.status, &changed.json()["name"]), (StatusCode::OK, &json!("Sales")));
    assert_eq!(call(&world, Method::GET, &path, &key, None).await.json()["name"], "Sales");
    assert_eq!(call(&world, Method::DELETE, &path, &key, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(call(&world, Method::GET, &path, &key, None).await.problem(), "not_found");
    assert_eq!(call(&world, Method::DELETE, &path, &key, None).await.problem(), "not_found");
    assert_eq!(call(&world, Method::GET, "/instances", &key, None).await.json()["data"], json!([]));
    mock.calls();
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_sandbox_is_connected_at_once(pool: PgPool) {
    let world = near(options(&pool)).await;
    let key = manager(&world).await;
    let made =
        call(&world, Method::POST, "/instances", &key, Some(json!({ "name": "Try", "provider": "sandbox" }))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["status"], &made["queue"]["paused"]), (&json!("connected"), &Value::Null));
    assert_eq!((&made["settings"], &made["credentials"], &made["hookUrl"]), (&json!({}), &json!([]), &Value::Null));
    let path = format!("/instances/{}", made["id"].as_str().unwrap());
    let stopped = call(&world, Method::POST, &format!("{path}/disconnect"), &key, None).await.json();
    assert_eq!(stopped["queue"]["paused"]["by"], "session");
    let again = call(&world, Method::POST, &format!("{path}/connect"), &key, None).await.json();
    assert_eq!((&again["status"], &again["queue"]["paused"]), (&json!("connected"), &Value::Null));
    assert_eq!(call(&world, Method::GET, &format!("{path}/qr"), &key, None).await.problem(), "conflict");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn secrets_go_in_and_never_come_out(pool: PgPool) {
    let world = near(options(&pool)).await;
    let graph = mocks::Graph::new().await;
    let key = manager(&world).await;
    let body = json!({
        "name": "Cloud", "provider": "cloud_api",
        "settings": { "baseUrl": graph.url(), "phoneNumberId": mocks::NUMBER, "businessAccountId": mocks::ACCOUNT },
        "credentials": { "accessToken": mocks::TOKEN, "appSecret": "dev-app-secret", "verifyToken": "verify-me-please" },
    });
    let made = call(&world, Method::POST, "/instances", &key, Some(body)).await;
    let path = format!("/instances/{}", made.json()["id"].as_str().unwrap());
    let mut answers = vec![made];
    for (method, path, body) in [
        (Method::GET, path.clone(), None),
        (Method::GET, "/instances".into(), None),
        (Method::PATCH, path.clone(), Some(json!({ "credentials": { "verifyToken": "another-verify-token" } }))),
        (Method::POST, format!("{path}/connect"), None),
        // Meta refuses: its words must not carry ours.
        (Method::PATCH, path.clone(), Some(json!({ "credentials": { "accessToken": "EAA-wrong-token" } }))),
        (Method::POST, format!("{path}/connect"), None),
        (Method::PATCH, path.clone(), Some(json!({ "settings": { "baseUrl": "http://127.0.0.1:9" } }))),
        (Method::POST, format!("{path}/disconnect"), None),
        (Method::DELETE, path.clone(), None),
    ] {
        answers.push(call(&world, method, &path, &key, body).await);
    }
    for answer in &answers {
        for secret in [mocks::TOKEN, "dev-app-secret", "verify-me-please", "another-verify-token", "EAA-wrong-token"] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [201, 200, 200, 200, 200, 200, 409, 422, 200, 204]);
    // The token was meant for the old address.
    assert_eq!(fields(&answers[7]), ["credentials.accessToken", "credentials.appSecret", "credentials.verifyToken"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_is_wrong_is_named_by_its_path(pool: PgPool) {
    // Without networks of its own: no private address may be called.
    let world = World::new(options(&pool)).await;
    let key = manager(&world).await;
    let post = async |body: Value| call(&world, Method::POST, "/instances", &key, Some(body)).await;
    let waha = |url: &str| json!({ "name": "x", "provider": "waha", "settings": { "baseUrl": url } });
    for (body, wrong) in [
        (json!({}), vec!["name", "provider"]),
        (json!({ "name": "", "provider": "smtp" }), vec!["name", "provider"]),
        (
            json!({ "name": 7, "provider": 7, "settings": 7, "credentials": [] }),
            vec!["name", "provider", "settings", "credentials"],
        ),
        (json!({ "name": "x", "provider": "waha" }), vec!["settings.baseUrl"]),
        (
            json!({ "name": "x", "provider": "cloud_api" }),
            vec![
                "credentials.accessToken",
                "credentials.appSecret",
                "credentials.verifyToken",
                "settings.phoneNumberId",
                "settings.businessAccountId",
            ],
        ),
        (
            json!({ "name": "x", "provider": "sandbox", "settings": { "session": "a", "url": "b" }, "credentials": { "apiKey": "c", "token": "d" } }),
            vec!["settings.url", "credentials.token", "credentials.apiKey", "settings.session"],
        ),
        (json!({ "name": "x", "provider": "sandbox", "status": "connected" }), vec!["status"]),
        (waha("http://127.0.0.1:3000"), vec!["settings.baseUrl"]),
        (waha("http://waha.acme.example"), vec!["settings.baseUrl"]),
        (waha("https://[::ffff:10.0.0.1]"), vec!["settings.baseUrl"]),
        (waha("https://169.254.169.254"), vec!["settings.baseUrl"]),
        (waha("https://user:pass@waha.acme.example"), vec!["settings.baseUrl"]),
    ] {
        let answer = post(body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text());
        assert_eq!(fields(&answer), wrong, "{body}");
    }
    let name = "x".repeat(81);
    assert_eq!(fields(&post(json!({ "name": name, "provider": "sandbox" })).await), ["name"]);
    assert_eq!(post(json!({ "name": "Try", "provider": "sandbox" })).await.status, StatusCode::CREATED);
    assert_eq!(fields(&post(json!({ "name": "TRY", "provider": "sandbox" })).await), ["name"]);
    let all = call(&world, Method::GET, "/instances?limt=1", &key, None).await;
    assert_eq!(fields(&all), ["limt"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_provider_that_cannot_be_reached_is_not_our_error(pool: PgPool) {
    let world = near(options(&pool)).await;
    let key = manager(&world).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let id = make(&world, world.acme, waha("Gone", &url)).await;
    for path in ["connect", "disconnect"] {
        let answer = call(&world, Method::POST, &format!("/instances/{id}/{path}"), &key, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (424, "provider_unreachable"),
            "{}",
            answer.text()
        );
    }
    let answer = call(&world, Method::GET, &format!("/instances/{id}/qr"), &key, None).await;
    assert_eq!(answer.status.as_u16(), 424);
    // A refusal has another key's words, and changes nothing here.
    let mock = mocks::Waha::new(Some("another")).await;
    let id = make(&world, world.acme, waha("Locked", &mock.url())).await;
    let answer = call(&world, Method::POST, &format!("/instances/{id}/connect"), &key, None).await;
    assert_eq!(answer.problem(), "conflict");
    assert!(answer.json()["message"].as_str().unwrap().contains("API key"), "{}", answer.text());
    assert_eq!(store::get(&world.db, world.acme, id).await.unwrap().instance.status.as_str(), "disconnected");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn foreign_and_forbidden_instances_are_not_there(pool: PgPool) {
    let world = near(options(&pool)).await;
    let evil = world.foreign().await;
    let sandbox = |name: &str| InstanceForm { name: name.into(), ..InstanceForm::default() };
    let foreign = make(&world, evil, sandbox("Theirs")).await;
    let (mine, other) =
        (make(&world, world.acme, sandbox("Mine")).await, make(&world, world.acme, sandbox("Other")).await);
    let key = manager(&world).await;
    let restricted = world.key("Restricted", &["instance:manage"]).await;
    sqlx::query("update api_keys set allowed_instances = $2 where id = $1")
        .bind(restricted.id.0)
        .bind(vec![mine.0])
        .execute(world.db.system())
        .await
        .unwrap();
    let unreachable = |id: &str| {
        [
            (Method::GET, format!("/instances/{id}"), None),
            (Method::PATCH, format!("/instances/{id}"), Some(json!({ "name": "Stolen" }))),
            (Method::DELETE, format!("/instances/{id}"), None),
            (Method::POST, format!("/instances/{id}/connect"), None),
            (Method::POST, format!("/instances/{id}/disconnect"), None),
            (Method::POST, format!("/instances/{id}/pause"), None),
            (Method::POST, format!("/instances/{id}/resume"), None),
            (Method::GET, format!("/instances/{id}/qr"), None),
        ]
    };
    let unknown = InstanceId::new().to_string();
    for (key, id) in [
        (&key, foreign.to_string()),
        (&key, unknown),
        (&key, "nonsense".into()),
        (&key, "key_01jd3qz5k8e9rb1w0c5m2n6x7y".into()),
        (&restricted, other.to_string()),
        (&restricted, foreign.to_string()),
    ] {
        for (method, path, body) in unreachable(&id) {
            let answer = call(&world, method.clone(), &path, key, body).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::NOT_FOUND, "not_found"),
                "{method} {path}"
            );
        }
    }
    let list = async |key: &Key| -> Vec<String> {
        let list = call(&world, Method::GET, "/instances", key, None).await.json();
        list["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(&key).await, [other.to_string(), mine.to_string()]);
    assert_eq!(list(&restricted).await, [mine.to_string()]);
    let paused = call(&world, Method::POST, &format!("/instances/{mine}/pause"), &restricted, None).await;
    assert_eq!(paused.status, StatusCode::OK);
    let new =
        call(&world, Method::POST, "/instances", &restricted, Some(json!({ "name": "New", "provider": "sandbox" })))
            .await;
    assert_eq!(new.problem(), "conflict");
    for id in [foreign, other] {
        let organization = if id == foreign { evil } else { world.acme };
        let row = store::get(&world.db, organization, id).await.unwrap();
        assert_eq!((row.instance.version, row.queue.paused), (1, None));
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn reading_is_not_managing(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, InstanceForm { name: "Try".into(), ..InstanceForm::default() }).await;
    let reader = world.key("Reader", &["instance:read"]).await;
    assert_eq!(call(&world, Method::GET, &format!("/instances/{id}"), &reader, None).await.status, StatusCode::OK);
    for (method, path) in [
        (Method::POST, "/instances".to_owned()),
        (Method::PATCH, format!("/instances/{id}")),
        (Method::DELETE, format!("/instances/{id}")),
        (Method::POST, format!("/instances/{id}/connect")),
        (Method::POST, format!("/instances/{id}/disconnect")),
        (Method::POST, format!("/instances/{id}/pause")),
        (Method::POST, format!("/instances/{id}/resume")),
        (Method::GET, format!("/instances/{id}/qr")),
    ] {
        let answer = call(&world, method.clone(), &path, &reader, None).await;
        assert_eq!(answer.problem(), "insufficient_scope", "{method} {path}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_have_pages(pool: PgPool) {
    let world = near(options(&pool)).await;
    let key = manager(&world).await;
    let mut ids = vec![];
    for number in 0..5 {
        ids.push(
            make(&world, world.acme, InstanceForm { name: format!("No {number}"), ..InstanceForm::default() })
                .await
                .to_string(),
        );
    }
    ids.reverse();
    let (mut seen, mut cursor): (Vec<String>, String) = (vec![], String::new());
    loop {
        let page = call(&world, Method::GET, &format!("/instances?limit=2{cursor}"), &key, None).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_repeated_creation_makes_one_instance(pool: PgPool) {
    let world = near(options(&pool)).await;
    let key = manager(&world).await;
    let create = async || {
        let request = request(Method::POST, "/api/v1/instances")
            .header("x-api-key", &key.text)
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .body(json!({ "name": "Try", "provider": "sandbox" }).to_string().into())
            .unwrap();
        world.send(request).await
    };
    let (first, second) = (create().await, create().await);
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(store::list(&world.db, world.acme, None, None, 10).await.unwrap().len(), 1);
    // A server died before it kept the answer.
    world.lose_answers().await;
    let third = create().await;
    assert_eq!((third.status, &third.json()["id"]), (StatusCode::CREATED, &first.json()["id"]));
    assert_eq!(store::list(&world.db, world.acme, None, None, 10).await.unwrap().len(), 1);
}

/// Test keys never reach WhatsApp: they read all instances and change sandboxes.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_test_key_changes_sandboxes_only(pool: PgPool) {
    let world = near(options(&pool)).await;
    let mock = mocks::Waha::new(Some("the-key")).await;
    let test =
        world.key_with(world.acme, "Tester", &["instance:manage"], |form| form.environment = "test".into()).await;
    let number = make(&world, world.acme, waha("Number", &mock.url())).await;
    let cloud = make(&world, world.acme, cloud("Cloud", &mock.url())).await;
    let actions = |id: InstanceId| {
        [
            (Method::PATCH, format!("/instances/{id}"), Some(json!({ "name": "Renamed" }))),
            (Method::POST, format!("/instances/{id}/pause"), None),
            (Method::POST, format!("/instances/{id}/resume"), None),
            (Method::POST, format!("/instances/{id}/disconnect"), Some(json!({ "logOut": true }))),
            (Method::POST, format!("/instances/{id}/connect"), None),
            (Method::DELETE, format!("/instances/{id}"), None),
        ]
    };
    for id in [number, cloud] {
        let qr = (Method::GET, format!("/instances/{id}/qr"), None);
        for (method, path, body) in actions(id).into_iter().chain([qr]) {
            let answer = call(&world, method.clone(), &path, &test, body).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::FORBIDDEN, "live_key_required".into()),
                "{path}"
            );
        }
        let shown = call(&world, Method::GET, &format!("/instances/{id}"), &test, None).await;
        assert_eq!((shown.status, &shown.json()["queue"]["paused"]["by"]), (StatusCode::OK, &json!("session")));
        assert_eq!(store::get(&world.db, world.acme, id).await.unwrap().instance.version, 1);
    }
    let new = json!({ "name": "Another", "provider": "waha", "settings": { "baseUrl": mock.url() } });
    assert_eq!(call(&world, Method::POST, "/instances", &test, Some(new)).await.problem(), "live_key_required");
    assert!(mock.calls().is_empty());

    let new = json!({ "name": "Sandbox", "provider": "sandbox" });
    let made = call(&world, Method::POST, "/instances", &test, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().parse().unwrap();
    for (method, path, body) in actions(id) {
        let answer = call(&world, method.clone(), &path, &test, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
    }
    let unknown = InstanceId::new();
    assert_eq!(
        call(&world, Method::DELETE, &format!("/instances/{unknown}"), &test, None).await.problem(),
        "not_found"
    );
}
