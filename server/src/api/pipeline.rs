//! What happens to every call, before and after its handler.

use std::{
    borrow::Cow,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, LazyLock, OnceLock},
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
    ascii::Ascii,
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
    caller: OnceLock<Arc<Entry>>,
    verdict: OnceLock<Verdict>,
    amended: OnceLock<&'static str>,
}

/// What the gate decided about a call.
pub(super) struct Verdict {
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
    /// Notes whose key was shown. Nobody's calls have no caller.
    pub(super) fn came_from(&self, caller: Arc<Entry>) {
        _ = self.caller.set(caller);
    }

    pub(super) fn caller(&self) -> Option<&Entry> {
        self.caller.get().map(|caller| &**caller)
    }

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
            caller: OnceLock::new(),
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
        let mut response = match polled {
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
        finish(&this.state, &this.call, &mut response);
        log(&this.state, &this.call, this.method, this.endpoint, response.status().as_u16(), this.user_agent.as_ref());
        Poll::Ready(Ok(response))
    }
}

/// The headers that every answer has, in this order; those of `own` are still empty. A copy of a map costs much less
/// than putting one together.
fn frame(own: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(own.len() + 2);
    headers.extend(own.iter().map(|name| (name.clone(), HeaderValue::from_static(""))));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

static FRAME: LazyLock<HeaderMap> = LazyLock::new(|| frame(&[REQUEST_ID]));
static FRAME_WITH_RATE: LazyLock<HeaderMap> =
    LazyLock::new(|| frame(&[REQUEST_ID, LIMIT, REMAINING, RESET, RATE_LIMIT_POLICY, RATE_LIMIT]));

/// Adds the request id, the rate and the error's document.
fn finish(state: &AppState, call: &Call, response: &mut Response) {
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| {
        let status = response.status();
        (status.is_client_error() || status.is_server_error()).then(|| Problem::of_status(status))
    });
    if let Some(problem) = problem {
        let failed = matches!(problem.code(), Code::Internal);
        *response = problem.write(std::mem::take(response), call.id, &state.public_url);
        if failed {
            tracing::error!(request_id = %call.id, "an API call ended with our error");
        }
    }
    let id = Ascii::<32>::new().bytes(&call.id.to_ascii()).header();
    let headers = match call.rate() {
        Some(rate) => fill(&FRAME_WITH_RATE, rate_values(id, rate, call.at.timestamp())),
        None => fill(&FRAME, [id]),
    };
    // How long an answer may be kept is the handler's to say, the rest of the frame is not.
    let own = std::mem::replace(response.headers_mut(), headers);
    debug_assert!(
        own.keys().all(|name| *name == header::CACHE_CONTROL || !response.headers().contains_key(name)),
        "an answer brought a header that every answer has"
    );
    response.headers_mut().extend(own);
}

/// A copy of the frame with the values of its first headers.
fn fill<const N: usize>(frame: &HeaderMap, values: [HeaderValue; N]) -> HeaderMap {
    let mut headers = frame.clone();
    for (place, value) in headers.values_mut().zip(values) {
        *place = value;
    }
    headers
}

/// The rate both by the customary headers and by those of draft-ietf-httpapi-ratelimit-headers-11, as in
/// [`FRAME_WITH_RATE`].
fn rate_values(id: HeaderValue, rate: RateNow, now_s: i64) -> [HeaderValue; 6] {
    let seconds = u64::try_from(rate.frees_in_ms).unwrap_or(0).div_ceil(1000);
    let (limit, remaining) = (u64::from(rate.limit), u64::from(rate.remaining));
    [
        id,
        Ascii::<10>::new().number(limit).header(),
        Ascii::<10>::new().number(remaining).header(),
        Ascii::<20>::new().number(now_s.unsigned_abs() + seconds).header(),
        Ascii::<32>::new().text("\"hour\";q=").number(limit).text(";w=3600").header(),
        // The longest: 9 + 10 + 3 + 20 characters.
        Ascii::<48>::new().text("\"hour\";r=").number(remaining).text(";t=").number(seconds).header(),
    ]
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
    let Some(entry) = call.caller() else { return };
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
    state.recorder.push(&row, &entry.place, entry.may_be_first(verdict.outcome == ALLOWED));
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
    if let Some(entry) = entry {
        call.came_from(entry);
    }
    call.decided(Verdict { outcome: "leaked_in_query", scope: None, rate: None });
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
