//! What handlers ask for: the right to be called, and a body that is what it should be.

use std::{
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use domain::{
    error::FieldError,
    gate::{Decision, Denial, Facts, GateKey, Instance, Presented, Queue, Rate, cache::Entry, decide},
    keys::{KeyHash, NotAKey, Scope, token},
};
use http::{HeaderMap, HeaderName, header, request::Parts};
use serde_json::{Map, Value};

use super::{
    pipeline::{Call, RateNow, Verdict},
    problem::{Code, Problem, Result},
};
use crate::state::AppState;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Largest body.
const BODY_MAX: usize = 64 * 1024;
/// A body that trickles in more slowly holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operation demands of a key.
pub trait Requirement: Send + Sync + 'static {
    /// `None`: any valid key.
    const SCOPE: Option<Scope>;
}

macro_rules! requirements {
    ($($(#[$doc:meta])* $name:ident = $scope:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Requirement for $name {
            const SCOPE: Option<Scope> = $scope;
        }
    )*};
}

requirements! {
    /// Any valid key.
    AnyKey = None;
    /// A key that may verify others.
    VerifyKeys = Some(Scope::KeyVerify);
}

/// Proof that the gate let the call through: a handler that takes it cannot be reached without the right.
pub struct Authorized<R: Requirement> {
    entry: Arc<Entry>,
    call: Arc<Call>,
    requirement: PhantomData<R>,
}

impl<R: Requirement> Authorized<R> {
    pub fn key(&self) -> &GateKey {
        &self.entry.key
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }
}

impl<R: Requirement> FromRequestParts<AppState> for Authorized<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        // The pipeline wraps every route; without it nothing may pass.
        let call = parts.extensions.get::<Arc<Call>>().cloned().ok_or_else(|| Problem::new(Code::Internal))?;
        let entry = authorize(state, &call, &parts.headers, R::SCOPE).await?;
        Ok(Self { entry, call, requirement: PhantomData })
    }
}

/// What was shown, after the look-up.
pub(super) enum Shown {
    Nothing,
    NotAKey(NotAKey),
    Unknown,
    Key(Arc<Entry>),
}

impl Shown {
    /// Looks a text up: in memory when the key is known, with one query when not.
    pub async fn look_up(state: &AppState, text: Option<&str>, now: Instant) -> Result<Self, domain::Error> {
        let Some(text) = text else { return Ok(Self::Nothing) };
        if let Err(not_a_key) = token::check(&state.key_prefix, text) {
            return Ok(Self::NotAKey(not_a_key));
        }
        let hash = KeyHash::of(text);
        let entry = match state.keys.peek_at(&hash, now) {
            Some(entry) => Some(entry),
            None => state.keys.find(&hash).await?,
        };
        Ok(entry.map_or(Self::Unknown, Self::Key))
    }

    pub fn presented(&self) -> Presented<'_> {
        match self {
            Self::Nothing => Presented::Nothing,
            Self::NotAKey(why) => Presented::NotAKey(*why),
            Self::Unknown => Presented::Unknown,
            Self::Key(entry) => Presented::Key(&entry.key),
        }
    }
}

/// Asks the gate, counts the call when it may pass, and notes the verdict either way.
async fn authorize(state: &AppState, call: &Call, headers: &HeaderMap, scope: Option<Scope>) -> Result<Arc<Entry>> {
    let text = match credential(headers) {
        Ok(text) => text,
        Err(problem) => {
            call.decided(Verdict { entry: None, outcome: "conflicting_credentials", scope, rate: None });
            return Err(problem);
        }
    };
    let shown = match Shown::look_up(state, text, call.started).await {
        Ok(shown) => shown,
        Err(error) => {
            call.decided(Verdict { entry: None, outcome: "unavailable", scope, rate: None });
            return Err(error.into());
        }
    };
    let now_ms = call.at.timestamp_millis();
    let mut facts =
        Facts { now_ms, ip: call.ip, scope, instance: Instance::None, rate: Rate::default(), queue: Queue::NotAsked };
    let Shown::Key(entry) = &shown else {
        let denial = match decide(shown.presented(), &facts) {
            Decision::Deny(denial) => denial,
            // The gate lets nothing but keys pass.
            Decision::Allow => Denial::UnknownKey,
        };
        call.decided(Verdict { entry: None, outcome: denial.as_str(), scope, rate: None });
        return Err(denial.into());
    };
    // Asking and counting under one lock: of two calls that race for the last place, one gets it.
    let (decision, rate) = {
        let mut window = entry.window();
        let counted = entry.key.rate_limit.unwrap_or(u32::MAX);
        facts.rate = window.rate(counted, now_ms);
        let decision = decide(shown.presented(), &facts);
        let mut used = facts.rate.used;
        let mut frees_in_ms = facts.rate.frees_in_ms;
        if decision == Decision::Allow {
            window.record(counted, now_ms);
            used += 1;
            if frees_in_ms == 0 {
                frees_in_ms = domain::gate::limiter::WINDOW_MS;
            }
        }
        let rate =
            entry.key.rate_limit.map(|limit| RateNow { limit, remaining: limit.saturating_sub(used), frees_in_ms });
        (decision, rate)
    };
    match decision {
        Decision::Allow => {
            call.decided(Verdict { entry: Some(entry.clone()), outcome: "allowed", scope, rate });
            Ok(entry.clone())
        }
        Decision::Deny(denial) => {
            let problem = Problem::from(denial);
            // Whoever is not let in learns nothing about the key.
            let rate = rate.filter(|_| problem.code() != Code::Unauthenticated);
            call.decided(Verdict { entry: Some(entry.clone()), outcome: denial.as_str(), scope, rate });
            Err(problem)
        }
    }
}

/// The key in the headers: `Authorization: Bearer …` or `X-API-Key: …`. An unreadable value reads as a text that is
/// no key.
///
/// # Errors
/// When two different ones are sent.
pub(super) fn credential(headers: &HeaderMap) -> Result<Option<&str>> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(' ') {
            // Another scheme is no key either.
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        }
    });
    let mut all = bearer.chain(headers.get_all(API_KEY).iter().map(|value| value.to_str().unwrap_or_default().trim()));
    let Some(first) = all.next() else { return Ok(None) };
    if all.any(|other| other != first) {
        return Err(Problem::new(Code::ConflictingCredentials));
    }
    Ok(Some(first))
}

/// A JSON body, read and checked. Errors name every wrong field at once.
pub struct Json<T>(pub T);

/// A body that can be read from an object's fields.
pub trait Fields: Sized {
    /// Takes its fields out of the object; what is left over is unknown.
    fn take(object: &mut Object) -> Self;
}

impl<T: Fields> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        let bytes = read(request.into_body()).await?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(Code::UnreadableBody).saying(format!(
                "The body is not JSON: reading stopped at line {}, column {}.",
                error.line(),
                error.column()
            ))
        })?;
        let Value::Object(map) = value else {
            return Err(Problem::new(Code::UnreadableBody).saying("The body must be a JSON object."));
        };
        let mut object = Object { map, errors: Vec::new() };
        let body = T::take(&mut object);
        object.finish().map(|()| Self(body))
    }
}

/// `application/json`, with or without parameters, and `application/…+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

async fn read(body: Body) -> Result<axum::body::Bytes> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(Problem::new(Code::PayloadTooLarge)),
        // The connection broke; nobody will read this.
        Ok(Err(_)) => Err(Problem::new(Code::UnreadableBody).saying("The body ended before it was complete.")),
        Err(_) => Err(Problem::new(Code::RequestTimeout)),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    use std::error::Error;
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        // http-body-util's LengthLimitError, which axum does not name.
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A JSON object being read: each field is taken once, and complaints are collected.
pub struct Object {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Object {
    pub fn complain(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// A text that must be there; empty after a complaint.
    pub fn text(&mut self, field: &'static str) -> String {
        match self.map.remove(field) {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::String(_)) => self.wrong(field, "This must not be empty."),
            Some(_) => self.wrong(field, "This must be a text."),
            None => self.wrong(field, "This is required."),
        }
    }

    fn wrong(&mut self, field: &'static str, message: &str) -> String {
        self.complain(field, message);
        String::new()
    }

    /// A text that may be missing or null.
    pub fn optional_text(&mut self, field: &'static str) -> Option<String> {
        match self.map.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.complain(field, "This must be a text.");
                None
            }
        }
    }

    /// A list of texts that may be missing or null.
    pub fn optional_texts(&mut self, field: &'static str, most: usize) -> Vec<String> {
        let items = match self.map.remove(field) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.complain(field, "This must be a list of texts.");
                return Vec::new();
            }
        };
        if items.len() > most {
            self.complain(field, format!("At most {most}; these are {}.", items.len()));
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                _ => self.complain(format!("{field}[{index}]"), "This must be a text."),
            }
        }
        texts
    }

    fn finish(mut self) -> Result<()> {
        // A body of nothing but unknown fields must not make an endless answer.
        for field in self.map.keys().take(20) {
            let shown: String = field.chars().take(100).collect();
            self.errors.push(FieldError::new(shown, "There is no such field."));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn finds_the_key_in_either_header() {
        let find = |pairs: &[(&'static str, &str)]| {
            credential(&headers(pairs)).map(|k| k.map(str::to_owned)).map_err(|p| p.code())
        };
        assert_eq!(find(&[]), Ok(None));
        assert_eq!(find(&[("authorization", "Bearer abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "bearer  abc ")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("x-api-key", "abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "Bearer abc"), ("x-api-key", "abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "Bearer abc"), ("x-api-key", "abd")]), Err(Code::ConflictingCredentials));
        assert_eq!(
            find(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            Err(Code::ConflictingCredentials)
        );
        assert_eq!(find(&[("authorization", "Basic YTpi")]), Ok(Some(String::new())));
        assert_eq!(find(&[("authorization", "abc")]), Ok(Some(String::new())));
    }

    #[test]
    fn knows_json_by_its_type() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(is_json(&headers(&[("content-type", json)])), "{json}");
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "text/json", ""] {
            assert!(!is_json(&headers(&[("content-type", other)])), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
