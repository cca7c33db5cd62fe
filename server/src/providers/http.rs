//! One call to a provider: JSON out, JSON back, whatever comes.

use std::time::Duration;

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;

use super::{ProviderError, SendOutcome};
use crate::net::{Client, Limits, NetError};

/// A provider may have to fetch a medium before it answers.
pub(super) const SENDING: Limits = Limits { total: Duration::from_secs(60), body: 256 * 1024 };
/// For what a person waits for.
pub(super) const ASKING: Limits = Limits { total: Duration::from_secs(20), body: 4 * 1024 * 1024 };
/// Excerpts of foreign words are kept to this length.
const EXCERPT: usize = 300;

/// An answer, whatever its status.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// `None`: empty, cut, or no JSON.
    pub json: Option<Value>,
    /// The body's beginning, for sentences.
    pub text: String,
}

/// A header whose value is secret.
pub(super) fn secret_header(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), NetError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| NetError::NotSent("The stored key has characters that no header may carry.".into()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

pub(super) async fn call(
    client: &Client,
    method: Method,
    url: &str,
    credential: Option<(HeaderName, HeaderValue)>,
    body: Option<&Value>,
    limits: Limits,
) -> Result<Reply, NetError> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(url)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("Bouncer/", env!("CARGO_PKG_VERSION")));
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    let bytes = match body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    let request =
        request.body(bytes).map_err(|error| NetError::NotSent(format!("The request cannot be built: {error}.")))?;
    let answer = client.send(request, limits).await?;
    let json = if answer.truncated { None } else { serde_json::from_slice(&answer.body).ok() };
    let text: String = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * EXCERPT)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(EXCERPT)
        .collect();
    Ok(Reply { status: answer.status, headers: answer.headers, json, text: text.trim().to_owned() })
}

impl Reply {
    /// What the provider said, in a few of its own words.
    pub fn words(&self) -> String {
        let json = self.json.as_ref();
        let text = |pointer: &str| json.and_then(|json| json.pointer(pointer)).and_then(Value::as_str);
        let words = text("/error/error_data/details")
            .or_else(|| text("/error/message"))
            .or_else(|| text("/exception/message"))
            .or_else(|| text("/message"))
            .or_else(|| text("/error"));
        match words {
            Some(words) => words.chars().filter(|c| !c.is_control()).take(EXCERPT).collect(),
            None if self.text.is_empty() => format!("status {}", self.status),
            None => self.text.clone(),
        }
    }

    /// `Retry-After` in seconds; both of its forms (RFC 9110, section 10.2.3).
    pub fn retry_after_s(&self) -> Option<u64> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(seconds);
        }
        let at = DateTime::parse_from_rfc2822(text).ok()?;
        u64::try_from((at.with_timezone(&Utc) - Utc::now()).num_seconds()).ok().or(Some(0))
    }
}

/// What a send without an answer means.
pub(super) fn outcome_of(error: NetError) -> SendOutcome {
    match error {
        NetError::Refused(message) => {
            SendOutcome::Retry { code: "address_refused".into(), message, after_s: None, throttled: false }
        }
        NetError::NotSent(message) => {
            SendOutcome::Retry { code: "unreachable".into(), message, after_s: None, throttled: false }
        }
        NetError::Lost(message) => SendOutcome::Unknown { message },
    }
}

impl From<NetError> for ProviderError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Refused(message) | NetError::NotSent(message) | NetError::Lost(message) => {
                Self::Unreachable(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(json: Option<Value>, headers: &[(&'static str, &str)]) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Reply { status: 500, headers: map, json, text: String::new() }
    }

    #[test]
    fn finds_the_words_of_every_provider() {
        let graph = json!({ "error": { "message": "short", "error_data": { "details": "long" } } });
        assert_eq!(reply(Some(graph), &[]).words(), "long");
        let nest = json!({ "statusCode": 422, "message": "no session", "error": "Unprocessable" });
        assert_eq!(reply(Some(nest), &[]).words(), "no session");
        assert_eq!(reply(Some(json!({ "error": "plain" })), &[]).words(), "plain");
        assert_eq!(reply(None, &[]).words(), "status 500");
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        assert_eq!(reply(None, &[("retry-after", "17")]).retry_after_s(), Some(17));
        let at = (Utc::now() + chrono::TimeDelta::seconds(90)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert!((85..=90).contains(&reply(None, &[("retry-after", &at)]).retry_after_s().unwrap()));
        assert_eq!(reply(None, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]).retry_after_s(), Some(0));
        assert_eq!(reply(None, &[("retry-after", "soon")]).retry_after_s(), None);
        assert_eq!(reply(None, &[]).retry_after_s(), None);
    }
}
