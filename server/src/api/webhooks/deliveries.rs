//! `/webhook-deliveries` and `/webhook-jobs`: what was delivered, and sending it again.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use domain::{
    ids::{AttemptId, DeliveryId, EndpointId, EventId, JobId, KeyId, MessageId, OrgId},
    keys::Environment,
    time::Time,
    webhooks::{self, DeliveryFilter, DeliveryRow, DeliveryStatus, deliveries, resend, store},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{id, only};
use crate::{
    api::{
        body::{Fields, NoFields, Object},
        extract::{Authorized, ManageWebhooks, ReadWebhooks},
        idempotency::Once,
        list::{List, Paging, Query},
        me::EnvironmentName,
        problem::Result,
    },
    state::AppState,
};

const STATUSES: [&str; 5] = ["pending", "sending", "succeeded", "failed", "cancelled"];

/// `pending` waits for its first or another attempt, `sending` is under way, `failed` is given up after the last
/// attempt, `cancelled` belongs to an endpoint that was disabled or deleted.
#[derive(ToSchema)]
#[schema(as = DeliveryStatus, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes domain::webhooks::DeliveryStatus, which knows nothing of this document")]
pub(in crate::api) enum StatusName {
    Pending,
    Sending,
    Succeeded,
    Failed,
    Cancelled,
}

/// One event for one endpoint.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Delivery {
    #[schema(value_type = String, pattern = "^dlv_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "dlv_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: DeliveryId,
    #[schema(value_type = String, pattern = "^whk_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    webhook_id: EndpointId,
    /// The endpoint's address as it is now.
    #[schema(example = "https://shop.example/hooks/bouncer")]
    url: String,
    /// The `webhook-id` of every attempt.
    #[schema(value_type = String, pattern = "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "evt_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    event_id: EventId,
    #[schema(example = "message.delivered")]
    event: String,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    #[schema(value_type = StatusName)]
    status: DeliveryStatus,
    /// Attempts so far; a running one counts.
    #[schema(minimum = 0)]
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it is attempted next; null: not any more, or right now.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Time>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Time>,
    /// The HTTP status of the last answer; null: there was none.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last attempt failed; null when it succeeded.
    #[schema(required)]
    last_error: Option<String>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Time>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            webhook_id: row.endpoint_id,
            url: row.endpoint_url,
            event_id: row.event_id,
            event: row.kind,
            environment: row.environment,
            status: row.status,
            attempts: row.attempts,
            created_at: row.created_at,
            next_attempt_at: row.next_attempt_at,
            last_attempt_at: row.last_attempt_at,
            last_status: row.last_status,
            last_error: row.last_error,
            finished_at: row.finished_at,
        }
    }
}

/// A header of a request or an answer.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Header {
    #[schema(example = "content-type")]
    name: String,
    #[schema(example = "application/json")]
    value: String,
}

/// One HTTP try.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct DeliveryAttempt {
    #[schema(value_type = String, pattern = "^att_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "att_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: AttemptId,
    #[schema(minimum = 1)]
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// The HTTP status of the answer; null: there was none.
    #[schema(required)]
    status: Option<u16>,
    /// Why it failed; null when it succeeded.
    #[schema(required)]
    error: Option<String>,
    duration_ms: u32,
    /// Where the connection went; null: it never stood, or broke.
    #[schema(required, example = "203.0.113.9:443")]
    address: Option<String>,
    /// Values of your own headers are hidden.
    request_headers: Vec<Header>,
    response_headers: Vec<Header>,
    /// At most 64 KiB.
    #[schema(required)]
    response_body: Option<String>,
}

/// A delivery with its payload and its attempts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct DeliveryDetail {
    #[serde(flatten)]
    delivery: Delivery,
    #[schema(required, value_type = Option<String>, example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    message_id: Option<MessageId>,
    #[schema(required, value_type = Option<String>, example = "key_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    key_id: Option<KeyId>,
    /// The body that is sent: `type`, `timestamp` and `data`.
    #[schema(value_type = Object)]
    payload: Value,
    /// Oldest first.
    attempt_log: Vec<DeliveryAttempt>,
}

fn headers(pairs: Vec<(String, String)>) -> Vec<Header> {
    pairs.into_iter().map(|(name, value)| Header { name, value }).collect()
}

impl From<webhooks::Delivery> for DeliveryDetail {
    fn from(delivery: webhooks::Delivery) -> Self {
        let attempt = |attempt: webhooks::Attempt| DeliveryAttempt {
            id: attempt.id,
            number: attempt.number,
            at: attempt.at,
            status: attempt.status,
            error: Some(attempt.error).filter(|error| !error.is_empty()),
            duration_ms: attempt.duration_ms,
            address: attempt.address,
            request_headers: headers(attempt.request_headers),
            response_headers: headers(attempt.response_headers),
            response_body: attempt.response_body,
        };
        Self {
            delivery: delivery.row.into(),
            message_id: delivery.message_id,
            key_id: delivery.key_id,
            payload: delivery.payload,
            attempt_log: delivery.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// The filter's fields that a body and a query string have in the same form.
fn filter(object: &mut Object) -> DeliveryFilter {
    let event = object.optional_text("event");
    if event.as_deref().is_some_and(|event| !webhooks::KINDS.iter().any(|kind| webhooks::wants(event, kind.name))) {
        object.complain("event", "There is no such event. Write one, message.* and its like, or *.");
    }
    DeliveryFilter {
        status: object.optional_choice("status", &STATUSES, DeliveryStatus::parse),
        event,
        message: object.optional_id("messageId"),
        key: object.optional_id("keyId"),
        from: object.optional_time("from"),
        to: object.optional_time("to"),
        ..DeliveryFilter::default()
    }
}

fn class(class: Option<i64>) -> Option<u8> {
    class.and_then(|class| u8::try_from(class).ok())
}

/// Describes [`filter`] in a query string.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes filter()")]
pub(in crate::api) struct FilterParams {
    #[param(inline)]
    status: Option<StatusName>,
    /// A type of event, `message.*` and its like, or `*`.
    #[param(example = "message.*")]
    event: Option<String>,
    /// Of the last answer: 2 for 200 to 299, and so on; 0 for no answer.
    #[param(minimum = 0, maximum = 5)]
    code_class: Option<u8>,
    /// Only events about this message.
    #[param(pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    message_id: Option<String>,
    /// Only events about what this key did.
    #[param(pattern = "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "key_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    key_id: Option<String>,
    /// Made at or after this time.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Made before this time.
    #[param(format = DateTime)]
    to: Option<String>,
    /// Only those of which no attempt was ever made.
    never_attempted: Option<bool>,
}

/// Deliveries of a webhook endpoint
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/webhooks/{id}/deliveries",
    tag = "Webhooks",
    operation_id = "listWebhookDeliveries",
    security(("bearerAuth" = ["webhooks:read"]), ("apiKeyAuth" = ["webhooks:read"])),
    params(("id" = String, Path, description = "The endpoint's id", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y"), FilterParams, Paging),
    responses((status = 200, description = "A page of deliveries", body = List<Delivery>)),
)]
pub(in crate::api) async fn list(
    State(state): State<AppState>,
    caller: Authorized<ReadWebhooks>,
    Path(path): Path<String>,
    mut query: Query,
) -> Result<axum::Json<List<Delivery>>> {
    let key = caller.key();
    let endpoint: EndpointId = id(&path)?;
    let page = query.page();
    let filter = DeliveryFilter {
        endpoint: Some(endpoint),
        environment: only(key),
        code_class: class(query.whole("codeClass", 0..=5)),
        never_attempted: query.yes("neverAttempted").unwrap_or_default(),
        ..filter(&mut query)
    };
    query.finish()?;
    store::get(&state.db, key.organization_id, only(key), endpoint).await?;
    let mut all =
        deliveries::page(&state.db, key.organization_id, &filter, page.after, i64::from(page.limit) + 1).await?;
    let more = all.len() > page.limit as usize;
    all.truncate(page.limit as usize);
    let next_cursor = all.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(axum::Json(List { data: all.into_iter().map(Delivery::from).collect(), next_cursor }))
}

/// A delivery
///
/// With its payload and every attempt: request, answer, timing.
#[utoipa::path(
    get,
    path = "/webhook-deliveries/{id}",
    tag = "Webhooks",
    operation_id = "getWebhookDelivery",
    security(("bearerAuth" = ["webhooks:read"]), ("apiKeyAuth" = ["webhooks:read"])),
    params(("id" = String, Path, description = "The delivery's id", example = "dlv_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The delivery", body = DeliveryDetail)),
)]
pub(in crate::api) async fn get(
    State(state): State<AppState>,
    caller: Authorized<ReadWebhooks>,
    Path(path): Path<String>,
) -> Result<axum::Json<DeliveryDetail>> {
    let key = caller.key();
    let delivery = deliveries::get(&state.db, key.organization_id, only(key), id(&path)?).await?;
    Ok(axum::Json(delivery.into()))
}

/// Resend a delivery
///
/// Sends it again, with the same event id and, should it fail, the whole schedule of attempts. One that waits for its
/// next attempt is attempted now. Answers 409 while it is being sent, and when its endpoint is disabled or deleted.
#[utoipa::path(
    post,
    path = "/webhook-deliveries/{id}/resend",
    tag = "Webhooks",
    operation_id = "resendWebhookDelivery",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The delivery's id", example = "dlv_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 202, description = "It is on its way", body = DeliveryDetail)),
)]
pub(in crate::api) async fn resend_one(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
    once: Once<NoFields>,
) -> Result<Response> {
    let delivery: DeliveryId = id(&path)?;
    let (actor, only) = (caller.actor(), only(caller.key()));
    let run = state.clone();
    once.run(&state, StatusCode::ACCEPTED, move |_| async move {
        resend::one(&run.db, &actor, only, delivery).await?;
        let delivery = deliveries::get(&run.db, actor.organization_id, only, delivery).await?;
        Ok(DeliveryDetail::from(delivery))
    })
    .await
}

/// Which deliveries to send again; at least one of the fields must be there.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what Resend::take reads")]
pub(in crate::api) struct ResendDeliveries {
    /// Only those of this endpoint.
    #[schema(pattern = "^whk_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "whk_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    webhook_id: Option<String>,
    status: Option<StatusName>,
    /// A type of event, `message.*` and its like, or `*`.
    #[schema(example = "message.*")]
    event: Option<String>,
    /// Of the last answer: 2 for 200 to 299, and so on; 0 for no answer.
    #[schema(minimum = 0, maximum = 5)]
    code_class: Option<u8>,
    #[schema(pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    message_id: Option<String>,
    #[schema(pattern = "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    key_id: Option<String>,
    /// Made at or after this time.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Made before this time.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Only those of which no attempt was ever made.
    never_attempted: Option<bool>,
    /// Only count them.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

pub(in crate::api) struct Resend {
    /// Without what the key narrows it to.
    filter: DeliveryFilter,
    dry_run: bool,
}

impl Fields for Resend {
    fn take(object: &mut Object) -> Self {
        let fields =
            ["webhookId", "status", "event", "codeClass", "messageId", "keyId", "from", "to", "neverAttempted"];
        if !fields.iter().any(|field| object.has(field)) {
            object.complain("webhookId", "Say which deliveries: give at least one of the fields.");
        }
        Self {
            filter: DeliveryFilter {
                endpoint: object.optional_id("webhookId"),
                code_class: class(object.optional_int("codeClass", 0..=5)),
                never_attempted: object.optional_bool("neverAttempted").unwrap_or_default(),
                ..filter(object)
            },
            dry_run: object.optional_bool("dryRun").unwrap_or_default(),
        }
    }
}

/// How many deliveries a filter matches.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ResendCount {
    /// Deliveries that would be sent again if it were asked for now.
    #[schema(minimum = 0, example = 42)]
    count: u64,
}

/// A background job that sends deliveries again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct ResendJob {
    #[schema(value_type = String, pattern = "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "job_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: JobId,
    #[schema(value_type = JobStatus)]
    status: &'static str,
    /// Deliveries that matched when it was asked for.
    total: u64,
    /// Those that were put back into the queue.
    done: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// The person or the key that asked for it.
    created_by: String,
    /// When it ended or was cancelled; null while it runs.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Time>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes ResendJob::status")]
pub(in crate::api) enum JobStatus {
    Running,
    Finished,
    Cancelled,
}

impl From<webhooks::ResendJob> for ResendJob {
    fn from(job: webhooks::ResendJob) -> Self {
        Self {
            id: job.id,
            status: match (job.finished_at, job.cancelled_at) {
                (_, Some(_)) => "cancelled",
                (Some(_), None) => "finished",
                (None, None) => "running",
            },
            total: job.total,
            done: job.done,
            created_at: job.created_at,
            created_by: job.created_by,
            finished_at: job.cancelled_at.or(job.finished_at),
        }
    }
}

/// Resend deliveries
///
/// Sends again everything that matches, in the background. Deliveries to disabled and deleted endpoints, and those
/// that are being sent right now, are passed over. One such job runs at a time; meanwhile another one is 409.
///
/// With `dryRun` nothing is sent or written: the answer says, with status 200, how many deliveries it would be now.
#[utoipa::path(
    post,
    path = "/webhook-deliveries/resend",
    tag = "Webhooks",
    operation_id = "resendWebhookDeliveries",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    request_body = ResendDeliveries,
    responses(
        (status = 202, description = "The job", body = ResendJob),
        (status = 200, description = "How many it would be; only with `dryRun`", body = ResendCount),
        (status = 404, description = "There is no such endpoint"),
    ),
)]
pub(in crate::api) async fn resend_many(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    once: Once<Resend>,
) -> Result<Response> {
    let (actor, only) = (caller.actor(), only(caller.key()));
    let Resend { filter, dry_run } = once.body();
    let filter = DeliveryFilter { environment: only, ..filter.clone() };
    if *dry_run {
        seen(&state, actor.organization_id, &filter).await?;
        let count = resend::count(&state.db, actor.organization_id, &filter).await?;
        return Ok(axum::Json(ResendCount { count }).into_response());
    }
    let run = state.clone();
    once.run(&state, StatusCode::ACCEPTED, move |_| async move {
        seen(&run, actor.organization_id, &filter).await?;
        Ok(ResendJob::from(resend::start(&run.db, &actor, &filter).await?))
    })
    .await
}

/// Is the endpoint there that a filter asks for?
async fn seen(state: &AppState, organization: OrgId, filter: &DeliveryFilter) -> Result<()> {
    if let Some(endpoint) = filter.endpoint {
        store::get(&state.db, organization, filter.environment, endpoint).await?;
    }
    Ok(())
}

/// A resend job
///
/// How far it has come.
#[utoipa::path(
    get,
    path = "/webhook-jobs/{id}",
    tag = "Webhooks",
    operation_id = "getWebhookJob",
    security(("bearerAuth" = ["webhooks:read"]), ("apiKeyAuth" = ["webhooks:read"])),
    params(("id" = String, Path, description = "The job's id", example = "job_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The job", body = ResendJob)),
)]
pub(in crate::api) async fn job(
    State(state): State<AppState>,
    caller: Authorized<ReadWebhooks>,
    Path(path): Path<String>,
) -> Result<axum::Json<ResendJob>> {
    let key = caller.key();
    Ok(axum::Json(resend::job(&state.db, key.organization_id, only(key), id(&path)?).await?.into()))
}

/// Cancel a resend job
///
/// What it has put back already will be sent. Nothing happens when it has ended.
#[utoipa::path(
    delete,
    path = "/webhook-jobs/{id}",
    tag = "Webhooks",
    operation_id = "cancelWebhookJob",
    security(("bearerAuth" = ["webhooks:manage"]), ("apiKeyAuth" = ["webhooks:manage"])),
    params(("id" = String, Path, description = "The job's id", example = "job_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The job as it is now", body = ResendJob)),
)]
pub(in crate::api) async fn cancel_job(
    State(state): State<AppState>,
    caller: Authorized<ManageWebhooks>,
    Path(path): Path<String>,
) -> Result<axum::Json<ResendJob>> {
    let job = resend::cancel(&state.db, &caller.actor(), only(caller.key()), id(&path)?).await?;
    Ok(axum::Json(job.into()))
}
