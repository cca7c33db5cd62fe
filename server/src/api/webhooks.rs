//! `/webhooks`: endpoints that hear of events. Deliveries are in [`deliveries`].
//!
//! A test key sees and makes endpoints for test events only, so that it never hears of what is live.

pub(super) mod deliveries;

use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    FieldError,
    gate::GateKey,
    ids::{DeliveryId, EndpointId, EventId, KeyId},
    keys::Environment,
    secret::{ExposeSecret, SecretString},
    time::Time,
    webhooks::{self, Endpoint, EndpointDraft, NewEndpoint, form, store},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    body::{Fields, Json, NoFields, Object},
    extract::{Authorized, ManageWebhooks, ReadWebhooks},
    idempotency::Once,
    list::{List, Paging, Query},
    problem::{Code, Problem, Result},
};
use crate::{net::Client, state::AppState};

/// More events than this in a list are repetitions.
const EVENTS_MAX: usize = 50;

/// What a key may see of endpoints and events: a test key only those of tests.
fn only(key: &GateKey) -> Option<Environment> {
    (key.environment == Environment::Test).then_some(Environment::Test)
}

/// An id of a path; what is no id is nothing that is there.
fn id<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Problem::new(Code::NotFound))
}

/// Which events an endpoint hears of.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes an Option<Environment>")]
enum WebhookEnvironment {
    Live,
    Test,
    Both,
}

fn environment_word(environment: Option<Environment>) -> &'static str {
    environment.map_or("both", Environment::as_str)
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(rename_all = "camelCase")]
enum WebhookStatus {
    Enabled,
    Disabled,
}

/// An endpoint of yours that hears of events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    #[schema(value_type = String, pattern = "^whk_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: EndpointId,
    #[schema(max_length = 2000, example = "https://shop.example/hooks/bouncer")]
    url: String,
    #[schema(max_length = 500)]
    description: String,
    /// Types of events, `message.*` and its like, or `*` for all.
    #[schema(min_items = 1, example = json!(["message.*"]))]
    events: Vec<String>,
    #[schema(value_type = WebhookEnvironment)]
    environment: &'static str,
    /// Names of the headers that are sent along; their values are never shown.
    #[schema(max_items = 10, example = json!(["Authorization"]))]
    headers: Vec<String>,
    /// Requests at once, at most.
    #[schema(minimum = 1, maximum = 100)]
    concurrency: u32,
    /// Requests a second, at most; null: no limit.
    #[schema(required, minimum = 1, maximum = 10000)]
    rate_limit: Option<u32>,
    status: WebhookStatus,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Time>,
    /// Why it was disabled: by somebody, because it answered 410 Gone, or after five days of only failures.
    #[schema(required, value_type = Option<WebhookDisabledReason>)]
    disabled_reason: Option<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// The person or the key that made it.
    created_by: String,
    /// The secret before the current one signs too until then; null: only the current one signs.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    old_secret_ends_at: Option<Time>,
    /// Since when every attempt has failed; null: the last one succeeded, or there was none.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    failing_since: Option<Time>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Time>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Time>,
    /// Why the last attempt failed; null when it succeeded.
    #[schema(required)]
    last_error: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes domain::webhooks::DisabledBy")]
enum WebhookDisabledReason {
    Person,
    Gone,
    Failures,
}

impl From<Endpoint> for Webhook {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url,
            description: endpoint.description,
            events: endpoint.events,
            environment: environment_word(endpoint.environment),
            headers: endpoint.header_names,
            concurrency: endpoint.concurrency,
            rate_limit: endpoint.rate_limit,
            status: if endpoint.disabled.is_some() { WebhookStatus::Disabled } else { WebhookStatus::Enabled },
            disabled_at: endpoint.disabled.map(|disabled| disabled.at),
            disabled_reason: endpoint.disabled.map(|disabled| disabled.by.as_str()),
            created_at: endpoint.created_at,
            created_by: endpoint.created_by,
            old_secret_ends_at: endpoint.old_secret_ends_at,
            failing_since: endpoint.failing_since,
            last_success_at: endpoint.last_success_at,
            last_attempt_at: endpoint.last_attempt_at,
            last_error: Some(endpoint.last_error).filter(|error| !error.is_empty()),
        }
    }
}

/// An endpoint with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// Verifies the signatures (Standard Webhooks). Keep it: it is never shown again.
    #[schema(pattern = "^whsec_[A-Za-z0-9+/]{43}=$", example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: String,
}

impl WebhookWithSecret {
    fn new(endpoint: Endpoint, secret: &SecretString) -> Self {
        Self { webhook: endpoint.into(), secret: secret.expose_secret().to_owned() }
    }
}

/// How an endpoint fares.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookHealth {
    /// Attempts of the last 24 hours that succeeded.
    #[schema(minimum = 0)]
    succeeded: u64,
    /// Attempts of the last 24 hours that failed.
    #[schema(minimum = 0)]
    failed: u64,
    /// Milliseconds within which half of these attempts ended, give or take an eighth; null without attempts.
    #[schema(required, minimum = 0)]
    p50_ms: Option<u32>,
    /// The same for 95 of 100.
    #[schema(required, minimum = 0)]
    p95_ms: Option<u32>,
    /// Deliveries that wait for an attempt; counted up to 10,000.
    #[schema(maximum = 10000)]
    pending: u32,
    /// Deliveries that were never attempted because the endpoint was disabled; counted up to 10,000.
    #[schema(maximum = 10000)]
    never_attempted: u32,
}

/// An endpoint and how it fares.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookDetail {
    #[serde(flatten)]
    webhook: Webhook,
    health: WebhookHealth,
}

impl From<webhooks::Health> for WebhookHealth {
    fn from(health: webhooks::Health) -> Self {
        Self {
            succeeded: health.succeeded,
            failed: health.failed,
            p50_ms: health.p50_ms,
            p95_ms: health.p95_ms,
            pending: health.pending,
            never_attempted: health.never_attempted,
        }
    }
}

/// An endpoint to be made. The address as `url` or `target_url`, the events as `events` or `event`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what NewWebhook::take reads")]
pub(super) struct CreateWebhook {
    /// https; required, unless `target_url` is there.
    #[schema(min_length = 1, max_length = 2000, example = "https://shop.example/hooks/bouncer")]
    url: Option<String>,
    /// Another name for `url`.
    #[schema(rename = "target_url", min_length = 1, max_length = 2000)]
    target_url: Option<String>,
    /// Types of events, `message.*` and its like, or `*`; required, unless `event` is there.
    #[schema(min_items = 1, max_items = 50, example = json!(["message.delivered", "message.failed"]))]
    events: Option<Vec<String>>,
    /// One type of event, instead of `events`.
    event: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Without it, that of the key. A test key makes endpoints for test events only.
    environment: Option<WebhookEnvironment>,
    /// Headers to send along: names and values.
    #[schema(value_type = Option<Object>, additional_properties, example = json!({"Authorization": "Bearer abc"}))]
    headers: Option<Value>,
    #[schema(minimum = 1, maximum = 100, default = 10)]
    concurrency: Option<u32>,
    /// Requests a second; null or nothing: no limit.
    #[schema(minimum = 1, maximum = 10000)]
    rate_limit: Option<u32>,
}

/// Changes of an endpoint; what is left out stays.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what WebhookPatch::take reads")]
pub(super) struct UpdateWebhook {
    #[schema(min_length = 1, max_length = 2000)]
    url: Option<String>,
    #[schema(rename = "target_url", min_length = 1, max_length = 2000)]
    target_url: Option<String>,
    #[schema(min_items = 1, max_items = 50)]
    events: Option<Vec<String>>,
    event: Option<String>,
    #[schema(max_length = 500)]
    description: Option<String>,
    environment: Option<WebhookEnvironment>,
    /// All headers to send along, in place of the present ones; a value of null stays as it is, unless the address
    /// leads to another server.
    #[schema(value_type = Option<Object>, additional_properties)]
    headers: Option<Value>,
    #[schema(minimum = 1, maximum = 100)]
    concurrency: Option<u32>,
    /// null: no limit.
    #[schema(minimum = 1, maximum = 10000)]
    rate_limit: Option<u32>,
    /// Disable the endpoint, or enable it again. What waits when it is disabled is cancelled and can be resent.
    disabled: Option<bool>,
}

/// A field's value, if it was given: `Some(None)` for null.
type Given<T> = Option<Option<T>>;

/// The fields that both bodies have.
struct Taken {
    url: Option<String>,
    events: Option<Vec<String>>,
    description: Option<String>,
    environment: Given<Environment>,
    headers: Option<Vec<(String, Option<String>)>>,
    concurrency: Option<i64>,
    rate_limit: Given<i64>,
}

impl Taken {
    fn take(object: &mut Object) -> Self {
        if object.has("url") && object.has("target_url") {
            object.complain("target_url", "Send url or target_url, not both.");
        }
        if object.has("events") && object.has("event") {
            object.complain("event", "Send events or event, not both.");
        }
        let listed = object.has("events");
        let events = object.optional_texts("events", EVENTS_MAX);
        let event = object.optional_text("event");
        let environment = object.optional_choice("environment", &["live", "test", "both"], |text| match text {
            "both" => Some(None),
            text => Environment::parse(text).map(Some),
        });
        let rate_limit = if object.is_null("rateLimit") { Some(None) } else { None };
        let whole = 1..=i64::from(form::RATE_MAX);
        Self {
            // Both are taken, so that neither is unknown.
            url: [object.optional_text("url"), object.optional_text("target_url")].into_iter().flatten().next(),
            events: if listed { Some(events) } else { event.map(|event| vec![event]) },
            description: object.optional_text("description"),
            environment,
            headers: headers(object),
            concurrency: object.optional_int("concurrency", 1..=i64::from(form::CONCURRENCY_MAX)),
            rate_limit: object.optional_int("rateLimit", whole).map(Some).or(rate_limit),
        }
    }

    /// What `draft` becomes with these fields.
    fn onto(self, draft: &mut EndpointDraft) {
        let Self { url, events, description, environment, headers, concurrency, rate_limit } = self;
        draft.headers = headers.or(draft.headers.take());
        if let Some(url) = url {
            draft.url = url;
        }
        if let Some(events) = events {
            draft.events = events;
        }
        if let Some(description) = description {
            draft.description = description;
        }
        if let Some(environment) = environment {
            draft.environment = environment;
        }
        if let Some(concurrency) = concurrency {
            draft.concurrency = concurrency;
        }
        if let Some(rate_limit) = rate_limit {
            draft.rate_limit = rate_limit;
        }
    }
}

/// An object of names and texts; null keeps what is there.
fn headers(object: &mut Object) -> Option<Vec<(String, Option<String>)>> {
    let map = match object.value("headers")? {
        Value::Object(map) => map,
        _ => {
            object.complain("headers", "This must be an object of names and values.");
            return None;
        }
    };
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map {
        match value {
            Value::String(text) => headers.push((name, Some(text))),
            Value::Null => headers.push((name, None)),
            _ => {
                let shown: String = name.chars().take(100).collect();
                object.complain(format!("headers.{shown}"), "This must be a text.");
            }
        }
    }
    Some(headers)
}

pub(super) struct NewWebhook(Taken);

impl Fields for NewWebhook {
    const SECRET_ANSWER: bool = true;

    fn take(object: &mut Object) -> Self {
        Self(Taken::take(object))
    }
}

pub(super) struct WebhookPatch {
    taken: Taken,
    disabled: Option<bool>,
}

impl Fields for WebhookPatch {
    fn take(object: &mut Object) -> Self {
        Self { taken: Taken::take(object), disabled: object.optional_bool("disabled") }
    }
}

/// Checks what the fields make together, and the address.
fn parse(net: &Client, key: Environment, draft: EndpointDraft, current: Option<&Endpoint>) -> Result<NewEndpoint> {
    let mut errors = Vec::new();
    let url = draft.url.clone();
    let environment = draft.environment;
    let new = draft.parse(current).unwrap_or_else(|more| {
        errors.extend(more);
        // Never used: there are errors.
        NewEndpoint {
            url: url.clone(),
            description: String::new(),
            events: vec![],
            environment,
            headers: None,
            concurrency: 1,
            rate_limit: None,
        }
    });
    // An address that is not touched may have been allowed by other settings, and stays.
    let touched = current.is_none_or(|current| current.url != url);
    if touched
        && !url.is_empty()
        && let Err(sentence) = net.check(&url)
    {
        errors.push(FieldError::new("url", sentence));
    }
    if key == Environment::Test && environment != Some(Environment::Test) {
        errors.push(FieldError::new("environment", "A test key makes endpoints for test events only."));
    }
    if errors.is_empty() { Ok(new) } else { Err(Problem::invalid(errors)) }
}

/// Webhook endpoints
///
/// Newest first. A test key sees those for test events.
#[utoipa::path(
    get,
    path = "/webhooks",
    tag = "Webhooks",
    operation_id = "listWebhooks",
    security(("bearerAuth" = ["webhooks:read"]), ("apiKeyAuth" = ["webhooks:read"])),
    params(Paging),
    responses((status = 200, description = "A page of endpoints", body = List<Webhook>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Authorized<ReadWebhooks>,
    mut query: Query,
) -> Result<axum::Json<List<Webhook>>> {
    let page = query.page();
    query.finish()?;
    let key = caller.key();
    // One more than asked for tells whether there is a next page.
    let mut all = store::list(&state.db, key.organization_id, only(key), page.after, i64::from(page.limit) + 1).await?;
    let more = all.len() > page.limit as usize;
    all.truncate(page.limit as usize);
    let next_cursor = all.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(axum::Json(List { data: all.into_iter().map(Webhook::from).collect(), next_cursor }))
}

/// Make a webhook endpoint
///
/// The answer holds the secret with which its deliveries are signed (Standard Webhooks), this once. There are at most
/// 1,000 endpoints; beyond that it is 409.
#[utoipa::path(
    post,
    path = "/webhooks",
    tag = "Webhooks",
    operation_id = "createWebhook",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    request_body = CreateWebhook,
    responses((status = 201, description = "The endpoint and its secret", body = WebhookWithSecret)),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    once: Once<NewWebhook>,
) -> Result<Response> {
    let (actor, environment, key) = (caller.actor(), caller.key().environment, caller.key().id);
    let (run, submission) = (state.clone(), once.submission());
    once.run(&state, StatusCode::CREATED, move |NewWebhook(taken)| async move {
        let made = match submission {
            Some(submission) => store::made_by(&run.db, &run.sealer, actor.organization_id, submission).await?,
            None => None,
        };
        if let Some((endpoint, secret)) = made {
            return Ok(WebhookWithSecret::new(endpoint, &secret));
        }
        let mut draft = EndpointDraft { environment: Some(environment), ..EndpointDraft::default() };
        taken.onto(&mut draft);
        let new = parse(&run.net.webhooks, environment, draft, None)?;
        let (endpoint, secret) = store::create(&run.db, &run.sealer, &actor, Some(key), new, submission).await?;
        Ok(WebhookWithSecret::new(endpoint, &secret))
    })
    .await
}

/// A webhook endpoint
///
/// With figures of the last 24 hours.
#[utoipa::path(
    get,
    path = "/webhooks/{id}",
    tag = "Webhooks",
    operation_id = "getWebhook",
    security(("bearerAuth" = ["webhooks:read"]), ("apiKeyAuth" = ["webhooks:read"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The endpoint", body = WebhookDetail)),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    caller: Authorized<ReadWebhooks>,
    Path(path): Path<String>,
) -> Result<axum::Json<WebhookDetail>> {
    let (key, id) = (caller.key(), id(&path)?);
    let endpoint = store::get(&state.db, key.organization_id, only(key), id).await?;
    let health = store::health(&state.db, key.organization_id, only(key), id).await?;
    Ok(axum::Json(WebhookDetail { webhook: endpoint.into(), health: health.into() }))
}

/// Change a webhook endpoint
///
/// What is left out stays. `disabled` disables it or enables it again.
///
/// With another scheme, host or port in the address the values of all headers must be given again: they were meant for
/// the old server.
#[utoipa::path(
    patch,
    path = "/webhooks/{id}",
    tag = "Webhooks",
    operation_id = "updateWebhook",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    request_body = UpdateWebhook,
    responses(
        (status = 200, description = "The endpoint as it is now", body = Webhook),
        (status = 409, description = "Somebody else changed the endpoint at the same moment"),
    ),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
    Json(patch): Json<WebhookPatch>,
) -> Result<axum::Json<Webhook>> {
    let (key, id) = (caller.key(), id(&path)?);
    let (actor, only) = (caller.actor(), only(key));
    let current = store::get(&state.db, key.organization_id, only, id).await?;
    let mut draft = EndpointDraft::of(&current);
    patch.taken.onto(&mut draft);
    let new = parse(&state.net.webhooks, key.environment, draft, Some(&current))?;
    let mut endpoint = store::edit(&state.db, &state.sealer, &actor, only, id, current.version, new).await?;
    if let Some(disabled) = patch.disabled {
        endpoint = store::set_enabled(&state.db, &actor, only, id, !disabled).await?;
    }
    Ok(axum::Json(endpoint.into()))
}

/// Delete a webhook endpoint
///
/// Nothing is delivered to it any more. What was delivered stays visible.
#[utoipa::path(
    delete,
    path = "/webhooks/{id}",
    tag = "Webhooks",
    operation_id = "deleteWebhook",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
) -> Result<StatusCode> {
    store::delete(&state.db, &caller.actor(), only(caller.key()), id(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The event that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestSent {
    #[schema(value_type = String, example = "dlv_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    delivery_id: DeliveryId,
    /// The `webhook-id` of the request.
    #[schema(value_type = String, example = "evt_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    event_id: EventId,
}

/// Send a test event
///
/// Sends `test.ping` to this endpoint alone, whatever it is subscribed to. The delivery tells what came of it. Answers
/// 409 when the endpoint is disabled.
#[utoipa::path(
    post,
    path = "/webhooks/{id}/test",
    tag = "Webhooks",
    operation_id = "testWebhook",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 202, description = "It is on its way", body = TestSent)),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
    once: Once<NoFields>,
) -> Result<Response> {
    let id: EndpointId = id(&path)?;
    let (actor, only, key): (_, _, KeyId) = (caller.actor(), only(caller.key()), caller.key().id);
    let run = state.clone();
    once.run(&state, StatusCode::ACCEPTED, move |_| async move {
        let (delivery_id, event_id) = store::send_test(&run.db, &actor, only, Some(key), id).await?;
        Ok(TestSent { delivery_id, event_id })
    })
    .await
}

/// A body without fields whose answer holds a secret.
pub(super) struct NoFieldsForSecret;

impl Fields for NoFieldsForSecret {
    const MAY_BE_EMPTY: bool = true;
    const SECRET_ANSWER: bool = true;

    fn take(_: &mut Object) -> Self {
        Self
    }
}

/// Replace the secret of a webhook endpoint
///
/// The answer holds the new secret, this once. For 24 hours deliveries carry the signatures of both.
#[utoipa::path(
    post,
    path = "/webhooks/{id}/rotate-secret",
    tag = "Webhooks",
    operation_id = "rotateWebhookSecret",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The endpoint and its new secret", body = WebhookWithSecret)),
)]
pub(super) async fn rotate_secret(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
    once: Once<NoFieldsForSecret>,
) -> Result<Response> {
    let id: EndpointId = id(&path)?;
    let (actor, only) = (caller.actor(), only(caller.key()));
    let run = state.clone();
    once.run(&state, StatusCode::OK, move |_| async move {
        let (endpoint, secret) = store::rotate_secret(&run.db, &run.sealer, &actor, only, id).await?;
        Ok(WebhookWithSecret::new(endpoint, &secret))
    })
    .await
}
