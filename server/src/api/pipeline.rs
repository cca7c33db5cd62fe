//! What happens to every call, before and after its handler.

use std::{
    borrow::Cow,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Query, Request},
    response::{IntoResponse, Response},
    routing::{Route, future::RouteFuture},
};
use chrono::Utc;
use domain::{
    gate::cache::Entry,
    ids::RequestId,
    keys::{KeyHash, Scope, token},
    time::Time,
    usage::{ALLOWED, RequestRow},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower::{Layer, Service};

use super::{
    ascii::Values,
    extract::credential,
    problem::{Code, Problem},
    signature,
};
use crate::{address, state::AppState, telemetry::COUNTERS};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Names under which keys are put into addresses by mistake.
const KEY_PARAMETERS: &[&str] =
    &["api_key", "apikey", "api-key", "x-api-key", "key", "access_token", "token", "api_secret", "x-api-secret"];

/// One call, from its arrival to its row in the request log.
pub struct Call {
    pub id: RequestId,
    pub at: Time,
    pub ip: std::net::IpAddr,
    pub(super) started: Instant,
    verdict: OnceLock<Verdict>,
    amended: OnceLock<&'static str>,
}

/// What the gate decided about a call.
pub(super) struct Verdict {
    /// `None` when nobody's key was shown.
    pub entry: Option<Arc<Entry>>,
    pub outcome: &'static str,
    pub scope: Option<Scope>,
    /// The key's hour after this call, unless the key has no limit or its holder must not learn about it.
    pub rate: Option<RateNow>,
}

/// A key's sliding hour as it is told to its holder.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateNow {
    pub limit: u32,
    pub remaining: u32,
    /// Milliseconds until the oldest call of the hour leaves it.
    pub frees_in_ms: i64,
}

impl Call {
    /// Notes what was decided; the first decision stands.
    pub(super) fn decided(&self, verdict: Verdict) {
        _ = self.verdict.set(verdict);
    }

    /// Notes a refusal that came to light after the gate had let the call through, such as `queue_full`.
    pub(super) fn amended(&self, outcome: &'static str) {
        _ = self.amended.set(outcome);
    }

    pub(super) fn rate(&self) -> Option<RateNow> {
        self.verdict.get().and_then(|verdict| verdict.rate)
    }
}

/// The layer around every route. Written by hand because it is in the way of every call: it takes no memory of its own
/// beside the call itself.
#[derive(Clone)]
pub(super) struct Pipeline(pub AppState);

impl Layer<Route> for Pipeline {
    type Service = Piped;

    fn layer(&self, route: Route) -> Piped {
        Piped { state: self.0.clone(), route }
    }
}

#[derive(Clone)]
pub(super) struct Piped {
    state: AppState,
    route: Route,
}

impl Service<Request> for Piped {
    type Response = Response;
    type Error = Infallible;
    type Future = Running;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, context)
    }

    fn call(&mut self, mut request: Request) -> Running {
        let (started, at) = (Instant::now(), Utc::now());
        let state = self.state.clone();
        let call = Arc::new(Call {
            id: RequestId::at(at),
            at,
            ip: address::client(request.extensions(), request.headers(), &state.trusted_proxies),
            started,
            verdict: OnceLock::new(),
            amended: OnceLock::new(),
        });
        let method = method_name(request.method());
        let endpoint = endpoint(request.extensions().get::<MatchedPath>());
        // Cheap: the value shares the request's buffer.
        let user_agent = request.headers().get(header::USER_AGENT).cloned();
        let answer = match request.uri().query() {
            Some(query) if has_key(request.uri(), query, &state.key_prefix) => {
                let (state, call) = (state.clone(), call.clone());
                let (uri, headers) = (request.uri().clone(), request.headers().clone());
                Answer::Other(Box::pin(
                    async move { refuse_leaked(&state, &call, &uri, &headers).await.into_response() },
                ))
            }
            _ if request.headers().contains_key(signature::SIGNATURE) => {
                let (state, mut route) = (state.clone(), self.route.clone());
                request.extensions_mut().insert(call.clone());
                Answer::Other(Box::pin(async move {
                    let request = signature::hold(&state, request).await;
                    route.call(request).await.unwrap_or_else(|never| match never {})
                }))
            }
            _ => {
                request.extensions_mut().insert(call.clone());
                Answer::Handler(self.route.call(request))
            }
        };
        Running { answer, state, call, method, endpoint, user_agent }
    }
}

/// A call on its way.
pub(super) struct Running {
    answer: Answer,
    state: AppState,
    call: Arc<Call>,
    method: &'static str,
    endpoint: &'static str,
    user_agent: Option<HeaderValue>,
}

#[expect(clippy::large_enum_variant, reason = "the large one is nearly every call, and a box would cost each of them")]
enum Answer {
    Handler(RouteFuture<Infallible>),
    /// The handler is not asked, or not at once.
    Other(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Future for Running {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut this.answer {
            Answer::Handler(answer) => Pin::new(answer).poll(context).map(|Ok(response)| response),
            Answer::Other(answer) => answer.as_mut().poll(context),
        }));
        let response = match polled {
            Ok(Poll::Ready(response)) => response,
            Ok(Poll::Pending) => return Poll::Pending,
            Err(panic) => {
                // The panic hook has logged where; here it gets its request id.
                let what = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                tracing::error!(request_id = %this.call.id, endpoint = this.endpoint, what, "an API call panicked");
                Problem::new(Code::Internal).into_response()
            }
        };
        let response = finish(&this.state, &this.call, response);
        log(&this.state, &this.call, this.method, this.endpoint, response.status().as_u16(), this.user_agent.as_ref());
        Poll::Ready(Ok(response))
    }
}

/// Headers of an answer, so that room for them is made at once.
pub(super) const HEADERS: usize = 12;

/// Adds the request id, the rate and the error's document.
fn finish(state: &AppState, call: &Call, mut response: Response) -> Response {
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| {
        let status = response.status();
        (status.is_client_error() || status.is_server_error()).then(|| Problem::of_status(status))
    });
    let failed = problem.as_ref().is_some_and(|problem| matches!(problem.code(), Code::Internal));
    if let Some(problem) = problem {
        response = problem.write(response, call.id, &state.public_url);
    }
    if failed {
        tracing::error!(request_id = %call.id, "an API call ended with our error");
    }
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(rate) = call.rate() {
        id_and_rate(headers, call.id, rate, call.at.timestamp());
    } else if let Ok(id) = HeaderValue::from_bytes(&call.id.to_ascii()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The rate both by the customary headers and by those of draft-ietf-httpapi-ratelimit-headers-11.
fn id_and_rate(headers: &mut HeaderMap, id: RequestId, rate: RateNow, now_s: i64) {
    let seconds = u64::try_from(rate.frees_in_ms).unwrap_or(0).div_ceil(1000);
    let (limit, remaining) = (u64::from(rate.limit), u64::from(rate.remaining));
    // At most 30 + 10 + 10 + 20 + 26 + 43 characters.
    let values = Values::<160, 6>::new()
        .value(|text| text.bytes(&id.to_ascii()))
        .value(|text| text.number(limit))
        .value(|text| text.number(remaining))
        .value(|text| text.number(now_s.unsigned_abs() + seconds))
        .value(|text| text.text("\"hour\";q=").number(limit).text(";w=3600"))
        .value(|text| text.text("\"hour\";r=").number(remaining).text(";t=").number(seconds))
        .headers();
    for (name, value) in [REQUEST_ID, LIMIT, REMAINING, RESET, RATE_LIMIT_POLICY, RATE_LIMIT].into_iter().zip(values) {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

fn log(
    state: &AppState,
    call: &Call,
    method: &'static str,
    endpoint: &'static str,
    status: u16,
    agent: Option<&HeaderValue>,
) {
    let took = call.started.elapsed();
    let Some(verdict) = call.verdict.get() else {
        COUNTERS.call(if status == 404 || status == 405 { "not_found" } else { "public" }, took);
        return;
    };
    let outcome = call.amended.get().copied().unwrap_or(verdict.outcome);
    COUNTERS.call(outcome, took);
    // A call with nobody's key belongs to no organization's log.
    let Some(entry) = &verdict.entry else { return };
    let row = RequestRow {
        id: call.id,
        at: call.at,
        owner: Some((entry.key.organization_id, entry.key.id, entry.key.secret_id)),
        method,
        endpoint,
        status,
        outcome,
        scope: verdict.scope,
        ip: call.ip,
        user_agent: agent.map(readable).unwrap_or_default(),
        latency_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
    };
    state.recorder.push(&row, entry.may_be_first(verdict.outcome == ALLOWED));
}

/// At most 300 characters; Postgres takes no NUL, and header values cannot hold one.
fn readable(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) if text.len() <= 300 => text.into(),
        _ => String::from_utf8_lossy(value.as_bytes()).chars().take(300).collect(),
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// The route as the document names it. A path that is no route has no name of its own: anybody could invent them.
fn endpoint(matched: Option<&MatchedPath>) -> &'static str {
    let Some(matched) = matched else { return "(no route)" };
    super::openapi::paths().get(matched.as_str()).copied().unwrap_or("(no route)")
}

/// Is something in the query string that is, or is called, a key?
fn has_key(uri: &Uri, query: &str, prefix: &str) -> bool {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return shape(query, prefix);
    };
    pairs.iter().any(|(name, value)| {
        shape(value, prefix)
            || shape(name, prefix)
            || (!value.is_empty() && KEY_PARAMETERS.iter().any(|wrong| name.eq_ignore_ascii_case(wrong)))
    })
}

/// Does a text contain the beginning of a key?
fn shape(text: &str, prefix: &str) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let rest = &text[at + prefix.len()..];
        rest.starts_with("_live_") || rest.starts_with("_test_") || rest.starts_with("_secret_")
    })
}

/// Refuses a call with a key in its address, whatever else it carries, and tells the key's owner about the leak.
async fn refuse_leaked(state: &AppState, call: &Call, uri: &Uri, headers: &HeaderMap) -> Problem {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let mut entry = None;
    for text in pairs.iter().flat_map(|(name, value)| [value, name]) {
        let text = text.trim();
        if token::check(&state.key_prefix, text).is_ok()
            && let Ok(found @ Some(_)) = state.keys.find(&KeyHash::of(text)).await
        {
            entry = found;
            break;
        }
    }
    if entry.is_none()
        && let Ok(Some(text)) = credential(headers)
        && token::check(&state.key_prefix, text).is_ok()
        && let Ok(found) = state.keys.find(&KeyHash::of(text)).await
    {
        // Something else called a key stands in the address: still worth a line in the caller's own log.
        entry = found;
    }
    call.decided(Verdict { entry, outcome: "leaked_in_query", scope: None, rate: None });
    Problem::new(Code::KeyInQuery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_keys_in_addresses() {
        let has = |query: &str| {
            let uri: Uri = format!("/api/v1/me?{query}").parse().unwrap();
            has_key(&uri, uri.query().unwrap(), "bnc")
        };
        for leaked in [
            "api_key=x",
            "Token=abc",
            "key=1",
            "x=bnc_live_abc",
            "q=%62nc_test_abc",
            "bnc_live_abc",
            "next=/a%3Fk%3Dbnc_live_x",
            "x=bnc_secret_abc",
            "api_secret=x",
        ] {
            assert!(has(leaked), "{leaked}");
        }
        for fine in ["", "limit=10", "key=", "q=bnc", "q=bnc_other_x", "tokens=3"] {
            assert!(!has(fine), "{fine}");
        }
    }
}
