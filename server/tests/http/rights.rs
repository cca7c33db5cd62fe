//! No operation is reachable without its right: this table, the document and the server must agree.

use axum::body::Body;
use http::Method;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{World, request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// No key needed.
    Public,
    /// Any valid key.
    AnyKey,
    Scope(&'static str),
}

/// Every operation of the API.
const OPERATIONS: &[(&str, &str, Right)] = &[
    ("get", "/api/v1/me", Right::AnyKey),
    ("get", "/api/v1/openapi.json", Right::Public),
    ("get", "/api/v1/problems", Right::Public),
    ("get", "/api/v1/problems/{code}", Right::Public),
    ("post", "/api/v1/keys/verify", Right::Scope("key:verify")),
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
        let path = template.replace("{code}", "not_found");
        let call = async |key: Option<&str>| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let mut request = request(method, &path).header("content-type", "application/json");
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let answer = world.send(request.body(Body::from("{}")).unwrap()).await;
            let status = answer.status.as_u16().to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{template} answers {status}, which the document does not know"
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
            let key = world.key(&format!("any {template}"), &["message:send"]).await;
            assert_eq!(call(Some(&key.text)).await, "200", "{template} with any key");
            continue;
        };
        let resource = scope.split(':').next().unwrap();
        let others: Vec<&str> = all.iter().copied().filter(|other| other.split(':').next() != Some(resource)).collect();
        for organization in [world.acme, foreign] {
            let without = world.key_with(organization, &format!("without {template}"), &others, |_| {}).await;
            assert_eq!(call(Some(&without.text)).await, "403", "{template} without {scope}");
            let with = world.key_with(organization, &format!("with {template}"), &[scope], |_| {}).await;
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
                assert!(answer["content"].is_object(), "{status}");
            }
        }
    }
    ids.sort_unstable();
    insta::assert_snapshot!(ids.join(" "), @"getMe getOpenApi getProblem listProblems verifyKey");
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
