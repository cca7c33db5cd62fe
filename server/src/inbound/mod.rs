//! What providers tell us: `POST /hooks/waha/{instance}`, `GET` and `POST /hooks/cloud-api/{instance}`.
//!
//! From the outside in: is there such an instance; the whole body, at most [`BODY_MAX`]; its signature over the bytes as
//! they came; what of it matters ([`waha::parse`], [`cloud_api::parse`]); one transaction that writes it down; 200. A
//! provider repeats what was not answered with 200, and repeats some of the rest: all that is written down is so
//! written that a second time changes nothing. What is not known is left out and counted, never an error.

pub mod cloud_api;
pub mod signature;
pub mod waha;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use domain::{
    Error,
    conversations::{NewInbound, store as conversations},
    ids::{InstanceId, OrgId},
    instances::{Credential, Provider, Session, Settings, cache::Known, store},
    messages::{StatusUpdate, queue},
    templates::store as templates,
    time::Time,
};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::state::AppState;

/// A batch of 1,000 statuses has about half a megabyte.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// A body that trickles in more slowly holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What of a delivery matters.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    pub statuses: Vec<StatusUpdate>,
    pub messages: Vec<NewInbound>,
    /// The connection, and when that was by the provider's clock; the last one counts.
    pub session: Option<(Session, Option<Time>)>,
    pub categories: Vec<TemplateNews>,
    pub template_statuses: Vec<TemplateNews>,
    /// Why parts were left out, one for each.
    pub ignored: Vec<&'static str>,
}

/// A template whose category or status is a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateNews {
    /// Meta's id of the WhatsApp Business account that it belongs to.
    pub account: String,
    pub name: String,
    pub language: String,
    pub word: String,
}

impl Told {
    fn ignore(&mut self, why: &'static str) {
        self.ignored.push(why);
    }

    fn is_empty(&self) -> bool {
        self.statuses.is_empty()
            && self.messages.is_empty()
            && self.session.is_none()
            && self.categories.is_empty()
            && self.template_statuses.is_empty()
    }
}

/// The hooks, to be merged into the server's routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/hooks/waha/{instance}", post(from_waha))
        .route("/hooks/cloud-api/{instance}", get(handshake).post(from_cloud_api))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

/// Why a hook was not answered with 200.
enum Refusal {
    NotFound,
    /// No signature, or a wrong one.
    Unsigned,
    Unreadable,
    TooLarge,
    TooSlow,
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "no such hook\n").into_response(),
            Self::Unsigned => (StatusCode::UNAUTHORIZED, "the signature is missing or wrong\n").into_response(),
            Self::Unreadable => (StatusCode::BAD_REQUEST, "the body is not the expected JSON\n").into_response(),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "at most 4 MiB\n").into_response(),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body took too long\n").into_response(),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "try again\n").into_response()
            }
        }
    }
}

async fn from_waha(
    State(state): State<AppState>,
    Path(instance): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<&'static str, Refusal> {
    let known = known(&state, &instance, Provider::Waha).await?;
    let body = read(request).await?;
    let secret = known.credentials.get(Credential::HookSecret);
    if !signature::waha(secret, &headers, &body) {
        return Err(refused(Provider::Waha, &known));
    }
    let Settings::Waha(settings) = &known.instance.settings else { return Err(Refusal::NotFound) };
    let delivery: Value = serde_json::from_slice(&body).map_err(|_| Refusal::Unreadable)?;
    let told = waha::parse(&delivery, &settings.session);
    take(&state, &known, told).await?;
    Ok("ok\n")
}

/// Meta asks once whether this address is ours, before it sends anything.
async fn handshake(
    State(state): State<AppState>,
    Path(instance): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<String, Refusal> {
    let known = known(&state, &instance, Provider::CloudApi).await?;
    let token = known.credentials.get(Credential::VerifyToken);
    cloud_api::challenge(&query, token).ok_or_else(|| refused(Provider::CloudApi, &known))
}

async fn from_cloud_api(
    State(state): State<AppState>,
    Path(instance): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<&'static str, Refusal> {
    let known = known(&state, &instance, Provider::CloudApi).await?;
    let body = read(request).await?;
    let secret = known.credentials.get(Credential::AppSecret);
    if !signature::meta(secret, &headers, &body) {
        return Err(refused(Provider::CloudApi, &known));
    }
    let delivery: Value = serde_json::from_slice(&body).map_err(|_| Refusal::Unreadable)?;
    for (part, instance) in owners(&state, &known, cloud_api::parse(&delivery)).await? {
        take(&state, &instance, part).await?;
    }
    Ok("ok\n")
}

/// The instance of a hook, if it is connected through this provider.
async fn known(state: &AppState, instance: &str, provider: Provider) -> Result<Arc<Known>, Refusal> {
    let id: InstanceId = instance.parse().map_err(|_| Refusal::NotFound)?;
    match state.instances.known(id).await {
        Ok(Some(known)) if known.instance.provider() == provider => Ok(known),
        Ok(_) => Err(Refusal::NotFound),
        Err(error) => Err(unavailable(&error, id)),
    }
}

fn unavailable(error: &Error, instance: InstanceId) -> Refusal {
    if !matches!(error, Error::Unavailable) {
        tracing::error!(%error, %instance, "a hook failed");
    }
    Refusal::Unavailable
}

fn refused(provider: Provider, known: &Known) -> Refusal {
    metrics::counter!("bouncer_hook_refused_total", "provider" => provider.as_str()).increment(1);
    tracing::warn!(instance = %known.instance.id, "a hook with a missing or wrong signature was refused");
    Refusal::Unsigned
}

async fn read(request: Request) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refusal::TooLarge),
        Ok(Err(_)) => Err(Refusal::Unreadable),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// Numbers of one account may share a hook: each part goes to the organization's instance of its number.
async fn owners(
    state: &AppState,
    known: &Arc<Known>,
    parts: BTreeMap<Option<String>, Told>,
) -> Result<Vec<(Told, Arc<Known>)>, Refusal> {
    let organization = known.instance.organization_id;
    let Settings::CloudApi(own) = &known.instance.settings else { return Err(Refusal::NotFound) };
    let mut owned = Vec::with_capacity(parts.len());
    for (number, told) in parts {
        let instance = match number {
            Some(number) if number != own.phone_number_id => {
                let found = store::find_number(&state.db, organization, &number).await;
                match found.map_err(|error| unavailable(&error, known.instance.id))? {
                    Some(id) => state.instances.known(id).await.map_err(|error| unavailable(&error, id))?,
                    None => None,
                }
            }
            // News of templates and the account name no number; they say themselves which account they are about.
            _ => Some(known.clone()),
        };
        match instance {
            Some(instance) => owned.push((told, instance)),
            None => ignored(Provider::CloudApi, "foreign_number", 1),
        }
    }
    Ok(owned)
}

fn ignored(provider: Provider, why: &'static str, count: u64) {
    metrics::counter!("bouncer_hook_ignored_total", "provider" => provider.as_str(), "reason" => why).increment(count);
}

/// Writes down what a delivery told, all or nothing.
async fn take(state: &AppState, known: &Known, told: Told) -> Result<(), Refusal> {
    let instance = &known.instance;
    for why in &told.ignored {
        ignored(instance.provider(), why, 1);
    }
    if told.is_empty() {
        return Ok(());
    }
    let done = write(state, instance.organization_id, instance.id, &told).await;
    match done {
        Ok(unknown) => {
            ignored(instance.provider(), "unknown_message", unknown as u64);
            Ok(())
        }
        // It was deleted while we read.
        Err(Error::NotFound) => Err(Refusal::NotFound),
        Err(error) => Err(unavailable(&error, instance.id)),
    }
}

/// Returns how many statuses were about messages that nobody knows.
async fn write(state: &AppState, organization: OrgId, instance: InstanceId, told: &Told) -> Result<usize, Error> {
    let now = Utc::now();
    let mut tx = state.db.system().begin().await?;
    // First what holds the queue: that is the order of locks.
    if let Some((session, told_at)) = &told.session {
        store::set_status(&mut tx, organization, instance, session, *told_at, now).await?;
    }
    let advanced = queue::advance_in(&mut tx, instance, &told.statuses, now).await?;
    if !told.messages.is_empty() {
        conversations::receive(&mut tx, organization, instance, &told.messages).await?;
    }
    for news in &told.template_statuses {
        templates::set_status(&mut tx, organization, &news.account, &news.name, &news.language, &news.word).await?;
    }
    for news in &told.categories {
        templates::set_category(&mut tx, organization, &news.account, &news.name, &news.language, &news.word).await?;
    }
    tx.commit().await?;
    Ok(advanced.unknown)
}

/// Seconds or milliseconds since 1970, as a number or a text: providers write all four.
fn time_of(value: &Value) -> Option<Time> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // Seconds reach this number in the year 5138, milliseconds had it in 1973.
    let milliseconds = if number.abs() < 1e11 { number * 1000.0 } else { number };
    // Within what a timestamp may be; `as` would bend the rest.
    if !(0.0..1e14).contains(&milliseconds) {
        return None;
    }
    DateTime::from_timestamp_millis(milliseconds as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_in_all_their_forms() {
        let at = DateTime::from_timestamp(1_750_030_073, 0);
        for form in [
            json!(1_750_030_073),
            json!("1750030073"),
            json!(1_750_030_073_000u64),
            json!("1750030073000"),
            json!(1_750_030_073.0),
        ] {
            assert_eq!(time_of(&form), at, "{form}");
        }
        for nonsense in
            [json!(null), json!("soon"), json!(-5), json!(1e300), json!([]), json!(""), json!("NaN"), json!("inf")]
        {
            assert_eq!(time_of(&nonsense), None, "{nonsense}");
        }
    }
}
