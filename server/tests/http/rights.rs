//! No operation is reachable without its right: this table, the document and the server must agree.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Key, World, request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// No key needed.
    Public,
    /// Any valid key.
    AnyKey,
    Scope(&'static str),
}

/// Every operation of the API, sorted as strings are.
pub const OPERATIONS: &[(&str, &str, Right)] = &[
    ("delete", "/api/v1/instances/{id}", Right::Scope("instance:manage")),
    ("delete", "/api/v1/messages/{id}", Right::Scope("message:send")),
    ("delete", "/api/v1/templates/{id}", Right::Scope("template:delete")),
    ("delete", "/api/v1/webhook-jobs/{id}", Right::Scope("webhooks:manage")),
    ("delete", "/api/v1/webhooks/{id}", Right::Scope("webhooks:manage")),
    ("get", "/api/v1/conversations", Right::Scope("conversation:manage")),
    ("get", "/api/v1/conversations/{id}", Right::Scope("conversation:manage")),
    ("get", "/api/v1/instances", Right::Scope("instance:read")),
    ("get", "/api/v1/instances/{id}", Right::Scope("instance:read")),
    ("get", "/api/v1/instances/{id}/qr", Right::Scope("instance:manage")),
    ("get", "/api/v1/me", Right::AnyKey),
    ("get", "/api/v1/messages", Right::Scope("message:send")),
    ("get", "/api/v1/messages/{id}", Right::Scope("message:send")),
    ("get", "/api/v1/openapi.json", Right::Public),
    ("get", "/api/v1/organization", Right::Scope("organization:read")),
    ("get", "/api/v1/problems", Right::Public),
    ("get", "/api/v1/problems/{code}", Right::Public),
    ("get", "/api/v1/templates", Right::Scope("template:read")),
    ("get", "/api/v1/templates/{id}", Right::Scope("template:read")),
    ("get", "/api/v1/usage", Right::Scope("usage:read")),
    ("get", "/api/v1/webhook-deliveries/{id}", Right::Scope("webhooks:read")),
    ("get", "/api/v1/webhook-jobs/{id}", Right::Scope("webhooks:read")),
    ("get", "/api/v1/webhooks", Right::Scope("webhooks:read")),
    ("get", "/api/v1/webhooks/{id}", Right::Scope("webhooks:read")),
    ("get", "/api/v1/webhooks/{id}/deliveries", Right::Scope("webhooks:read")),
    ("patch", "/api/v1/instances/{id}", Right::Scope("instance:manage")),
    ("patch", "/api/v1/templates/{id}", Right::Scope("template:update")),
    ("patch", "/api/v1/webhooks/{id}", Right::Scope("webhooks:manage")),
    ("post", "/api/v1/instances", Right::Scope("instance:manage")),
    ("post", "/api/v1/instances/{id}/connect", Right::Scope("instance:manage")),
    ("post", "/api/v1/instances/{id}/disconnect", Right::Scope("instance:manage")),
    ("post", "/api/v1/instances/{id}/pause", Right::Scope("instance:manage")),
    ("post", "/api/v1/instances/{id}/resume", Right::Scope("instance:manage")),
    ("post", "/api/v1/keys/verify", Right::Scope("key:verify")),
    ("post", "/api/v1/messages/send", Right::Scope("message:send")),
    ("post", "/api/v1/templates", Right::Scope("template:create")),
    ("post", "/api/v1/templates/sync", Right::Scope("template:update")),
    ("post", "/api/v1/webhook-deliveries/resend", Right::Scope("webhooks:manage")),
    ("post", "/api/v1/webhook-deliveries/{id}/resend", Right::Scope("webhooks:manage")),
    ("post", "/api/v1/webhooks", Right::Scope("webhooks:manage")),
    ("post", "/api/v1/webhooks/{id}/rotate-secret", Right::Scope("webhooks:manage")),
    ("post", "/api/v1/webhooks/{id}/test", Right::Scope("webhooks:manage")),
    ("put", "/api/v1/conversations/{id}", Right::Scope("conversation:manage")),
];

/// What the document says, in the table's form.
fn documented(document: &Value) -> Vec<(String, String, Vec<String>)> {
    let mut all = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let mut rights: Vec<String> = security
                .iter()
                .flat_map(|one| one.as_object().unwrap().iter())
                .map(|(scheme, scopes)| format!("{scheme} {scopes}"))
                .collect();
            rights.sort();
            all.push((method.clone(), path.clone(), rights));
        }
    }
    all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    all
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_table_is_the_document(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let document = world.get("/api/v1/openapi.json", None).await.json();
    let expected: Vec<_> = OPERATIONS
        .iter()
        .map(|(method, path, right)| {
            let scopes = match right {
                Right::Public => return ((*method).to_owned(), (*path).to_owned(), vec![]),
                Right::AnyKey => "[]".to_owned(),
                Right::Scope(scope) => format!("[\"{scope}\"]"),
            };
            (
                (*method).to_owned(),
                (*path).to_owned(),
                vec![format!("apiKeyAuth {scopes}"), format!("bearerAuth {scopes}")],
            )
        })
        .collect();
    assert_eq!(documented(&document), expected);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nothing_is_reachable_without_its_right(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let document = world.get("/api/v1/openapi.json", None).await.json();
    // Everything but the scope in question.
    let all: Vec<&str> = domain::keys::SCOPES.iter().map(|s| s.text).collect();
    let foreign = world.foreign().await;
    for (method, template, right) in OPERATIONS {
        let operation = &document["paths"][template][method];
        // Ids that nobody has.
        let path = template.replace("{code}", "not_found").replace("{id}", "none");
        let call = async |key: Option<&str>| {
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let mut request = request(verb, &path).header("content-type", "application/json");
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let answer = world.send(request.body(Body::from("{}")).unwrap()).await;
            let status = answer.status.as_u16().to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{method} {template} answers {status}, which the document does not know"
            );
            assert!(answer.header("x-request-id").starts_with("req_"), "{template}");
            status
        };
        if *right == Right::Public {
            assert_eq!(call(None).await, "200", "{template}");
            continue;
        }
        assert_eq!(call(None).await, "401", "{template} without a key");
        assert_eq!(call(Some("nonsense")).await, "401", "{template} with nonsense");
        let Right::Scope(scope) = right else {
            let key = world.key(&format!("any {method} {template}"), &["message:send"]).await;
            assert_eq!(call(Some(&key.text)).await, "200", "{template} with any key");
            continue;
        };
        let resource = scope.split(':').next().unwrap();
        let others: Vec<&str> = all.iter().copied().filter(|other| other.split(':').next() != Some(resource)).collect();
        for organization in [world.acme, foreign] {
            let without = world.key_with(organization, &format!("without {method} {template}"), &others, |_| {}).await;
            assert_eq!(call(Some(&without.text)).await, "403", "{template} without {scope}");
            let with = world.key_with(organization, &format!("with {method} {template}"), &[scope], |_| {}).await;
            assert!(!["401", "403"].contains(&&*call(Some(&with.text)).await), "{template} with {scope}");
        }
    }
}

/// Each reference leads somewhere, each operation has an id, and success and errors say which headers they carry.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_document_is_whole(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let document = world.get("/api/v1/openapi.json", None).await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["servers"][0]["url"], "http://bouncer.example");

    let mut references = vec![];
    collect_references(&document, &mut references);
    assert!(references.len() > 30);
    for reference in references {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference} leads nowhere");
    }
    let mut ids = vec![];
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            ids.push(operation["operationId"].as_str().unwrap());
            assert!(operation["summary"].is_string() && operation["description"].is_string());
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let answer = match answer["$ref"].as_str() {
                    Some(reference) => document.pointer(&reference[1..]).unwrap(),
                    None => answer,
                };
                assert!(answer["headers"]["X-Request-Id"].is_object(), "{status}");
                assert!(status == "204" || answer["content"].is_object(), "{status}");
            }
        }
    }
    let names = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), names), (OPERATIONS.len(), OPERATIONS.len()), "each operation has an id of its own");
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| collect_references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| collect_references(v, into)),
        _ => {}
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn every_error_is_explained_where_it_links_to(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let all = world.get("/api/v1/problems", None).await.json();
    for about in all.as_array().unwrap() {
        let code = about["code"].as_str().unwrap();
        assert_eq!(&world.get(&format!("/api/v1/problems/{code}"), None).await.json(), about);
    }
    assert_eq!(world.get("/api/v1/problems/nothing", None).await.problem(), "not_found");
}

/// Things of an organization: the path of an operation with its `{id}` filled in.
pub struct Things {
    pub instance: String,
    pub message: String,
    pub conversation: String,
    pub template: String,
    pub webhook: String,
    pub delivery: String,
    pub job: String,
}

impl Things {
    /// One of each, made by the API itself where it makes them.
    pub async fn make(world: &World, key: &Key, number: u64) -> Self {
        let post = async |path: &str, body: Value| -> Value {
            let answer = world.post_json(&format!("/api/v1{path}"), key, body.to_string()).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text());
            if answer.body.is_empty() { Value::Null } else { answer.json() }
        };
        let id = |value: &Value| value["id"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        let instance =
            id(&post("/instances", json!({ "name": format!("Sandbox {number}"), "provider": "sandbox" })).await);
        let message =
            id(&post("/messages/send", json!({ "instanceId": instance, "to": "+60123456789", "message": "Hi" })).await);
        let template = id(&post(
            "/templates",
            json!({
                "instanceId": instance, "name": "order", "language": "en_US", "category": "UTILITY",
                "components": [{ "type": "BODY", "text": "Hi." }],
            }),
        )
        .await);
        let webhook = id(&post("/webhooks", json!({ "url": "https://hooks.example/x", "events": ["*"] })).await);
        post(&format!("/webhooks/{webhook}/test"), json!({})).await;
        let deliveries = world.get(&format!("/api/v1/webhooks/{webhook}/deliveries"), Some(key)).await.json();
        let delivery = id(&deliveries["data"][0]);
        let job = id(&post("/webhook-deliveries/resend", json!({ "webhookId": webhook })).await);
        let conversation = domain::ids::ConversationId::new();
        let instance_id: domain::ids::InstanceId = instance.parse().unwrap();
        sqlx::query("insert into conversations (id, organization_id, instance_id, contact) select $1, organization_id, id, '60123456789' from instances where id = $2")
            .bind(conversation.0)
            .bind(instance_id.0)
            .execute(world.db.system())
            .await
            .unwrap();
        Self { instance, message, conversation: conversation.to_string(), template, webhook, delivery, job }
    }

    pub fn path(&self, template: &str) -> String {
        let id = match template.split('/').nth(3).unwrap_or_default() {
            "instances" => &self.instance,
            "messages" => &self.message,
            "conversations" => &self.conversation,
            "templates" => &self.template,
            "webhooks" => &self.webhook,
            "webhook-deliveries" => &self.delivery,
            "webhook-jobs" => &self.job,
            _ => return template.replace("{code}", "not_found"),
        };
        template.replace("{id}", id)
    }
}

/// A body that the operation takes.
pub fn body_for(method: &str, template: &str) -> Option<Value> {
    match (method, template.trim_start_matches("/api/v1")) {
        ("put", "/conversations/{id}") => Some(json!({ "state": "bot" })),
        ("patch", "/instances/{id}") => Some(json!({ "name": "Another name" })),
        ("patch", "/templates/{id}") => Some(json!({ "category": "MARKETING" })),
        ("patch", "/webhooks/{id}") => Some(json!({ "description": "Another" })),
        ("post", _) => Some(json!({})),
        _ => None,
    }
}

pub fn all_scopes() -> Vec<&'static str> {
    domain::keys::SCOPES.iter().map(|scope| scope.text).collect()
}

/// With every scope there is, what belongs to another organization is not there, for any operation with an id; and
/// neither for a key that is limited to other instances.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_belongs_to_others_is_not_there(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let owner = world.key("owner", &all_scopes()).await;
    let things = Things::make(&world, &owner, 1).await;
    let foreign = world.foreign().await;
    let stranger = world.key_with(foreign, "stranger", &all_scopes(), |_| {}).await;
    let call = async |key: &Key, method: &str, template: &str| {
        let method_name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let body = body_for(method, template);
        let mut call = request(method_name, &things.path(template)).header("x-api-key", &key.text);
        if body.is_some() {
            call = call.header("content-type", "application/json");
        }
        world.send(call.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap()).await
    };
    // Deleting comes last: the others need what is deleted.
    let mut with_id: Vec<_> = OPERATIONS.iter().filter(|(_, template, _)| template.contains("{id}")).collect();
    with_id.sort_by_key(|(method, template, _)| (*method == "delete", template.contains("/instances/")));
    assert!(with_id.len() > 20);
    for (method, template, _) in &with_id {
        let answer = call(&stranger, method, template).await;
        assert_eq!(answer.status, 404, "{method} {template}: {}", answer.text());
        assert_eq!(answer.problem(), "not_found");
    }
    let restricted = world.key("restricted", &all_scopes()).await;
    sqlx::query("update api_keys set allowed_instances = array[$2::uuid], version = version + 1 where id = $1")
        .bind(restricted.id.0)
        .bind(domain::ids::InstanceId::new().0)
        .execute(world.db.system())
        .await
        .unwrap();
    for (method, template, _) in &with_id {
        let answer = call(&restricted, method, template).await;
        assert_eq!(answer.status, 404, "restricted: {method} {template}: {}", answer.text());
    }
    // Nor does it make an endpoint that would hear of the others.
    for (method, path) in
        [("get", "/api/v1/webhooks"), ("post", "/api/v1/webhooks"), ("post", "/api/v1/webhook-deliveries/resend")]
    {
        assert_eq!(call(&restricted, method, path).await.status, 404, "{method} {path}");
    }
    for (method, template, _) in &with_id {
        let answer = call(&owner, method, template).await;
        assert_ne!(answer.status, 404, "{method} {template}: {}", answer.text());
        assert!(answer.status.as_u16() < 500, "{method} {template}: {}", answer.text());
    }
}
