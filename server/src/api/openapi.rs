//! The API's document, OpenAPI 3.1. Handlers describe their success; what all of them share (errors, headers, how to
//! authenticate) is added here, so that it is said once and is true everywhere.

use std::{collections::HashSet, sync::LazyLock};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{
    BASE,
    problem::{CODES, FieldProblem, ProblemDocument},
};
use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemDocument, FieldProblem)))]
struct Shared;

/// What the operations are added to.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Shared::openapi()
}

/// The finished document, but for the address of the server.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(super::operations().document()).unwrap_or_default();
    complete(&mut document);
    document
});

/// The paths of all operations, from the root of the server.
static PATHS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let paths = DOCUMENT["paths"].as_object();
    // A handful of texts that live as long as the process.
    paths.into_iter().flatten().map(|(path, _)| &*Box::leak(path.clone().into_boxed_str())).collect()
});

pub(super) fn paths() -> &'static HashSet<&'static str> {
    &PATHS
}

/// The document for a server with this address.
pub fn document_for(public_url: &str) -> Value {
    let mut document = DOCUMENT.clone();
    document["servers"] = json!([{ "url": public_url }]);
    document
}

/// The same as text, for people too.
pub fn text(public_url: &str) -> String {
    let mut text = serde_json::to_string_pretty(&document_for(public_url)).unwrap_or_default();
    text.push('\n');
    text
}

/// This document
///
/// The description of the API in OpenAPI 3.1. Needs no key.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Documentation",
    operation_id = "getOpenApi",
    security(()),
    responses((status = 200, description = "The document", body = Object, content_type = "application/json")),
)]
pub(super) async fn document(State(state): State<AppState>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
        // Documentation pages and generators elsewhere may read it.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, state.openapi.clone()).into_response()
}

fn complete(document: &mut Value) {
    document["info"] = json!({
        "title": "Bouncer API",
        "version": env!("CARGO_PKG_VERSION"),
        "description": format!("{}\n\n{}", "Authenticate with a key from the console, in `Authorization: Bearer KEY` or `X-API-Key: KEY`. \
            Both with different keys, or a key in the address, is refused. Every answer carries `X-Request-Id`. \
            Errors are problem documents (RFC 9457) with a stable `code`. Unknown fields in a body are refused by name. \
            The rate limit is a sliding hour: it is exact on one server; several servers learn of each other's calls \
            within about two seconds, and may together let through that much more.", super::signature::DOCS),
    });
    document["tags"] = json!([
        { "name": "Messages", "description": "Sending, and what became of it" },
        { "name": "Instances", "description": "Connected WhatsApp numbers and their queues. \
            A test key sees them all and changes sandboxes only (403 `live_key_required`)." },
        { "name": "Webhooks", "description": "Endpoints of yours that hear of events, and what was delivered to them. \
            They hear of all instances: for a key that is restricted to certain instances there are none (404)." },
        { "name": "Conversations", "description": "Who answers a contact: the bot or a person. \
            A test key hands over conversations on sandboxes only (403 `live_key_required`)." },
        { "name": "Templates", "description": "Approved message patterns" },
        { "name": "Usage", "description": "Your calls over time" },
        { "name": "Organization", "description": "What your keys belong to" },
        { "name": "Keys", "description": "The calling key, and keys shown to services of your own" },
        { "name": "Documentation", "description": "The API about itself; needs no key" },
    ]);
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "bearerAuth": { "type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`; scopes named with an operation are scopes that the key needs" },
        "apiKeyAuth": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
    });
    components["headers"] = headers();
    components["responses"] = responses();
    components["parameters"] = parameters();
    super::events::describe(document);
    close_bodies(document);

    let Some(paths) = document["paths"].as_object_mut() else { return };
    // Operations are described relative to where the API stands.
    let relative = std::mem::take(paths);
    for (path, mut item) in relative {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            share(method, operation);
        }
        paths.insert(format!("{BASE}{path}"), item);
    }
}

/// Bodies are read by hand (`domain::fields`), which refuses what it does not know: so no object that may stand in a
/// body has other fields than those it names.
fn close_bodies(document: &mut Value) {
    let mut open = Vec::new();
    for item in document["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        for operation in item.as_object().into_iter().flat_map(|item| item.values()) {
            references(&operation["requestBody"], &mut open);
        }
    }
    let mut closed = HashSet::new();
    while let Some(name) = open.pop() {
        let schema = &mut document["components"]["schemas"][&name];
        references(schema, &mut open);
        if schema.get("properties").is_some() {
            schema["additionalProperties"] = false.into();
        }
        closed.insert(name);
        open.retain(|name| !closed.contains(name));
    }
}

/// Names of the schemas that a value refers to.
fn references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/components/schemas/"));
            names.extend(name.map(str::to_owned));
            map.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// A call that changes nothing needs no promise to happen once.
const HARMLESS_POSTS: [&str; 1] = ["verifyKey"];

fn parameters() -> Value {
    json!({
        "Idempotency-Key": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Repeat a call with the same value when its answer was lost: it happens once. For 24 hours \
                the same call gets the first one's answer, with `Idempotent-Replayed: true`; another call with the same \
                value is refused with 422 `idempotency_mismatch`. At most 255 visible ASCII characters, bare or in \
                quotation marks.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 257 },
            "example": "order-1017",
        },
    })
}

/// Adds to one operation what all have.
fn share(method: &str, operation: &mut Value) {
    let needs_key = operation["security"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.as_object().is_some_and(|o| !o.is_empty())));
    let needs_scope = needs_key && operation["security"].to_string().contains(':');
    let has_body = operation.get("requestBody").is_some();
    let has_parameter = |place: &str| {
        operation["parameters"].as_array().is_some_and(|all| all.iter().any(|parameter| parameter["in"] == place))
    };
    let (in_path, in_query) = (has_parameter("path"), has_parameter("query"));
    let once = method == "post" && needs_key && !HARMLESS_POSTS.iter().any(|id| operation["operationId"] == *id);

    let mut codes = vec!["400", "500"];
    if needs_key {
        // 422 everywhere: parameters that are not known are refused by name.
        codes.extend(["401", "403", "422", "429", "503"]);
    }
    if in_path {
        codes.push("404");
    }
    // Of webhooks a key that is restricted to certain instances sees none.
    if in_query || operation["security"].to_string().contains("webhooks:") {
        codes.push("404");
    }
    if has_body || once {
        codes.extend(["408", "413", "415"]);
    }
    if once {
        codes.push("409");
        let parameters = &mut operation["parameters"];
        if !parameters.is_array() {
            *parameters = json!([]);
        }
        if let Some(parameters) = parameters.as_array_mut() {
            parameters.push(json!({ "$ref": "#/components/parameters/Idempotency-Key" }));
        }
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, answer) in responses.iter_mut() {
        if status.starts_with('2') {
            answer["headers"] = answer_headers(needs_key);
            if once {
                answer["headers"]["Idempotent-Replayed"] = header_ref("Idempotent-Replayed");
            }
        } else {
            // Errors are the same everywhere; an operation may only say why it has one.
            let about = answer["description"].take();
            *answer = error_ref(status, needs_scope);
            answer["description"] = about;
        }
    }
    for status in codes {
        responses.entry(status).or_insert_with(|| error_ref(status, needs_scope));
    }
}

fn error_ref(status: &str, needs_scope: bool) -> Value {
    let name = match (status, needs_scope) {
        // A key without any scope demand can still come from the wrong address.
        ("403", false) => "403-address",
        _ => status,
    };
    json!({ "$ref": format!("#/components/responses/{name}") })
}

fn header_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn answer_headers(with_key: bool) -> Value {
    let mut headers = json!({ "X-Request-Id": header_ref("X-Request-Id") });
    if with_key {
        for name in ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"]
        {
            headers[name] = header_ref(name);
        }
    }
    headers
}

fn headers() -> Value {
    let integer =
        |description: &str| json!({ "description": description, "schema": { "type": "integer", "minimum": 0 } });
    let text = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    json!({
        "X-Request-Id": {
            "description": "The call's id in the request log", "required": true,
            "schema": { "type": "string", "pattern": "^req_[0-7][0-9a-hjkmnp-tv-z]{25}$" },
        },
        "X-RateLimit-Limit": integer("Calls that the key may make in any sixty minutes. The rate headers are missing when it has no limit."),
        "X-RateLimit-Remaining": integer("Calls left right now"),
        "X-RateLimit-Reset": integer("When the next place frees, as Unix time in seconds"),
        "RateLimit": text("What is left (draft-ietf-httpapi-ratelimit-headers-11): `r` calls, the next place frees in `t` seconds", "\"hour\";r=998;t=1200"),
        "RateLimit-Policy": text("The limit (same draft): `q` calls in `w` seconds", "\"hour\";q=1000;w=3600"),
        "Retry-After": integer("Seconds to wait"),
        "Idempotent-Replayed": text("The answer is that of an earlier call with the same `Idempotency-Key`", "true"),
        "WWW-Authenticate": text("How to authenticate", "Bearer"),
        "X-Required-Scopes": text("Scopes of which the key needs one", "message:send"),
    })
}

/// One shared answer for each status, with the codes it can have.
fn responses() -> Value {
    let mut all = json!({});
    let mut statuses: Vec<u16> = CODES.iter().map(|(_, about)| about.status).collect();
    statuses.dedup();
    for status in statuses {
        let abouts: Vec<_> = CODES.iter().map(|(_, about)| about).filter(|about| about.status == status).collect();
        all[status.to_string()] = answer(status, &abouts);
        if status == 403 {
            let address: Vec<_> = abouts.into_iter().filter(|about| about.code == "ip_not_allowed").collect();
            all["403-address"] = answer(status, &address);
        }
    }
    all
}

fn answer(status: u16, abouts: &[&super::problem::About]) -> Value {
    let lines: Vec<String> = abouts.iter().map(|about| format!("`{}`: {}", about.code, about.message)).collect();
    let codes: Vec<&str> = abouts.iter().map(|about| about.code).collect();
    let mut headers = answer_headers(matches!(status, 403 | 404 | 409 | 413 | 415 | 422 | 424 | 429));
    let extra: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        403 if codes.contains(&"insufficient_scope") => &["X-Required-Scopes"],
        409 | 429 | 503 => &["Retry-After"],
        _ => &[],
    };
    for name in extra {
        headers[name] = header_ref(name);
    }
    json!({
        "description": lines.join("\n\n"),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [
                        { "$ref": "#/components/schemas/Problem" },
                        { "type": "object", "properties": { "status": { "const": status }, "code": { "enum": codes } } },
                    ]
                }
            }
        }
    })
}
