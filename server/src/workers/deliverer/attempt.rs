//! One attempt: sign, send, and say what the answer means.

use std::time::Duration;

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use domain::{
    secret::ExposeSecret,
    webhooks::{
        DeliveryStatus,
        queue::{Claimed, Done, Target},
        schedule,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use super::Patience;
use crate::net::{Answer, Client, Limits, NetError};

/// Bytes of an answer's body that are kept.
const BODY_KEPT: usize = 64 * 1024;
/// Headers of an answer that are kept.
const HEADERS_KEPT: usize = 100;
const HEADER_KEPT: usize = 4 * 1024;
const USER_AGENT: &str = concat!("Bouncer/", env!("CARGO_PKG_VERSION"));
/// In place of the values of an endpoint's own headers.
const HIDDEN: &str = "(hidden)";

/// What an attempt means for its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Succeeded,
    Failed,
    /// As [`Effect::Failed`], after a long silence.
    Hung,
    /// 429 or 503: nothing at all for this long.
    Overloaded(Duration),
    /// 410: never again.
    Gone,
    /// It was not attempted.
    None,
}

/// Attempts a delivery once.
pub(super) async fn attempt(
    client: &Client,
    patience: Patience,
    target: &Target,
    delivery: &Claimed,
) -> (Done, Effect) {
    let at = Utc::now();
    let mut done = Done {
        delivery: delivery.id,
        organization: target.organization,
        endpoint: target.id,
        number: delivery.number,
        at,
        code: None,
        error: String::new(),
        duration_ms: 0,
        address: None,
        request_headers: vec![],
        response_headers: None,
        response_body: None,
        status: DeliveryStatus::Succeeded,
        due: None,
    };
    let started = std::time::Instant::now();
    let answer = match request(target, delivery, at) {
        Ok(request) => {
            done.request_headers = shown(request.headers(), target);
            client.send(request, Limits { total: patience.answer, body: BODY_KEPT }).await
        }
        Err(sentence) => Err(NetError::NotSent(sentence)),
    };
    done.duration_ms = millis(started.elapsed());
    let mut asked_s = None;
    let effect = match answer {
        Ok(answer) => {
            done.duration_ms = millis(answer.took);
            let effect = judge(&answer);
            if effect != Effect::Succeeded {
                done.error = sentence(answer.status);
                asked_s = retry_after(&answer.headers, Utc::now())
                    .map(|pause| u32::try_from(pause.as_secs()).unwrap_or(u32::MAX));
            }
            keep(&mut done, &answer);
            effect
        }
        Err(error) => {
            done.error = error.to_string();
            if started.elapsed() >= patience.slow { Effect::Hung } else { Effect::Failed }
        }
    };
    if effect != Effect::Succeeded {
        let tried = delivery.number.saturating_sub(delivery.before);
        let pause_ms = schedule::pause_ms(tried, rand::random(), asked_s).filter(|_| effect != Effect::Gone);
        done.due = pause_ms.map(|ms| Utc::now() + chrono::TimeDelta::milliseconds(ms));
        done.status = if done.due.is_some() { DeliveryStatus::Pending } else { DeliveryStatus::Failed };
    }
    (done, effect)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The signed request, or why there is none.
fn request(target: &Target, delivery: &Claimed, at: DateTime<Utc>) -> Result<http::Request<Bytes>, String> {
    if target.broken {
        return Err(
            "The secrets of this endpoint cannot be opened any more. Rotate its secret and set its headers again."
                .into(),
        );
    }
    let id = delivery.event.to_string();
    let signature = sign(target, &id, at, delivery.body.as_bytes())
        .map_err(|_| "The secret of this endpoint cannot be used. Rotate it.".to_owned())?;
    let mut request = http::Request::post(&target.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header(HEADER_WEBHOOK_ID, id)
        .header(HEADER_WEBHOOK_TIMESTAMP, at.timestamp())
        .header(HEADER_WEBHOOK_SIGNATURE, signature);
    for (name, value) in &target.headers {
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| format!("The value of the header {name} cannot be sent."))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request
        .body(Bytes::from(delivery.body.clone()))
        .map_err(|_| "The address of this endpoint cannot be used.".to_owned())
}

/// The signatures of all secrets that sign now, newest first.
fn sign(target: &Target, id: &str, at: DateTime<Utc>, body: &[u8]) -> Result<String, standardwebhooks::WebhookError> {
    let old = target.old_secret.iter().filter(|(_, end)| *end > at).map(|(secret, _)| secret);
    let mut signatures = Vec::new();
    for secret in std::iter::once(&target.secret).chain(old) {
        signatures.push(Webhook::new(secret.expose_secret())?.sign(id, at.timestamp(), body)?);
    }
    Ok(signatures.join(" "))
}

/// A request's headers as they may be shown.
fn shown(headers: &HeaderMap, target: &Target) -> Vec<(String, String)> {
    let own = |name: &HeaderName| target.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_str()));
    headers
        .iter()
        .map(|(name, value)| {
            let value = if own(name) { HIDDEN.into() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
            (name.as_str().to_owned(), value)
        })
        .collect()
}

fn judge(answer: &Answer) -> Effect {
    match answer.status {
        200..=299 => Effect::Succeeded,
        410 => Effect::Gone,
        429 | 503 => Effect::Overloaded(retry_after(&answer.headers, Utc::now()).unwrap_or_default()),
        _ => Effect::Failed,
    }
}

/// Both forms of RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - now).to_std().ok()
}

/// "The endpoint answered 500 Internal Server Error."
fn sentence(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let answered = format!("The endpoint answered {status} {reason}");
    let answered = answered.trim_end();
    match status {
        300..=399 => format!("{answered}; redirects are not followed."),
        410 => format!("{answered}; it was disabled."),
        _ => format!("{answered}."),
    }
}

/// Keeps of an answer what is shown. Postgres takes no NUL.
fn keep(done: &mut Done, answer: &Answer) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    done.code = Some(answer.status);
    done.address = answer.address.map(|address| address.to_string());
    done.response_headers = Some(
        answer
            .headers
            .iter()
            .take(HEADERS_KEPT)
            .map(|(name, value)| {
                let bytes = value.as_bytes();
                (name.as_str().to_owned(), text(&bytes[..bytes.len().min(HEADER_KEPT)]))
            })
            .collect(),
    );
    let mut body = text(&answer.body);
    if answer.truncated {
        body.push_str("\n… (the rest was not read)");
    }
    done.response_body = Some(body);
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use domain::{
        ids::{DeliveryId, EndpointId, EventId, OrgId},
        secret::SecretString,
    };

    use super::*;

    fn target(secret: &str, old: Option<&str>) -> Target {
        Target {
            id: EndpointId::new(),
            organization: OrgId::new(),
            url: "https://a.example/hook".into(),
            secret: SecretString::from(secret),
            old_secret: old.map(|old| (SecretString::from(old), Utc::now() + chrono::TimeDelta::hours(1))),
            headers: vec![("X-Token".into(), SecretString::from("very secret"))],
            concurrency: 1,
            rate_limit: None,
            version: 1,
            broken: false,
        }
    }

    /// The published vectors: libraries/go and libraries/rust of standard-webhooks/standard-webhooks.
    #[test]
    fn signs_as_the_published_vectors_do() {
        for (secret, id, seconds, body, signature) in [
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
        ] {
            let at = Utc.timestamp_opt(seconds, 0).unwrap();
            assert_eq!(sign(&target(secret, None), id, at, body.as_bytes()).unwrap(), signature);
        }
    }

    #[test]
    fn both_secrets_sign_while_one_replaces_the_other() {
        let (new, old) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let delivery = Claimed {
            id: DeliveryId::new(),
            event: EventId::new(),
            number: 1,
            before: 0,
            created_at: Utc::now(),
            body: r#"{"type":"test.ping"}"#.into(),
        };
        let mut target = target(new, Some(old));
        let both = request(&target, &delivery, Utc::now()).unwrap();
        for secret in [new, old] {
            Webhook::new(secret).unwrap().verify(both.body(), both.headers()).unwrap();
        }
        assert_eq!(both.headers()[HEADER_WEBHOOK_ID], delivery.event.to_string());
        target.old_secret = target.old_secret.map(|(secret, _)| (secret, Utc::now() - chrono::TimeDelta::seconds(1)));
        let one = request(&target, &delivery, Utc::now()).unwrap();
        Webhook::new(new).unwrap().verify(one.body(), one.headers()).unwrap();
        assert!(Webhook::new(old).unwrap().verify(one.body(), one.headers()).is_err());
        let text = format!("{:?} {:?}", shown(one.headers(), &target), one.headers());
        assert!(!text.contains("very secret"), "{text}");
        assert_eq!(one.headers()["x-token"], "very secret");
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = Utc.with_ymd_and_hms(2026, 5, 3, 12, 0, 0).unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|pause| pause.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 03 May 2026 12:01:30 GMT"), Some(90));
        assert_eq!(read("Sun, 03 May 2026 11:00:00 GMT"), None);
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }

    #[test]
    fn only_2xx_is_success() {
        let effect = |status| {
            judge(&Answer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                truncated: false,
                address: None,
                took: Duration::ZERO,
            })
        };
        for good in [200, 201, 202, 204, 299] {
            assert_eq!(effect(good), Effect::Succeeded);
        }
        for bad in [300, 301, 302, 304, 307, 400, 401, 404, 500, 502, 504] {
            assert_eq!(effect(bad), Effect::Failed, "{bad}");
        }
        assert_eq!(effect(410), Effect::Gone);
        for busy in [429, 503] {
            assert_eq!(effect(busy), Effect::Overloaded(Duration::ZERO));
        }
        assert_eq!(sentence(302), "The endpoint answered 302 Found; redirects are not followed.");
        assert_eq!(sentence(599), "The endpoint answered 599.");
    }
}
