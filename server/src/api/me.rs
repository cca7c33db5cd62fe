//! `GET /me`: what the key that calls is.

use axum::{body::Body, response::Response};
use chrono::DateTime;
use domain::{
    gate::{GateKey, cache::Prepared},
    ids::{InstanceId, KeyId, OrgId},
    keys::{Environment, ScopeSet},
    throttle::{Throttle, ThrottleMode},
    time::Time,
};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ascii::Ascii,
    extract::{AnyKey, Authorized},
    problem::{Code, Problem, Result},
};

/// The key that made the call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    #[schema(value_type = String, pattern = "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "key_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: KeyId,
    #[schema(example = "Shop plugin")]
    name: String,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    #[schema(value_type = Vec<String>, example = json!(["message:send", "instance:read"]))]
    scopes: ScopeSet,
    organization: Organization,
    limits: Limits,
    /// When the key stops working; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// The key was regenerated, and this secret of it stops working then; null for the current secret.
    #[schema(value_type = Option<String>, format = DateTime)]
    secret_ends_at: Option<Time>,
}

/// Live keys reach WhatsApp, test keys never do.
#[derive(ToSchema)]
#[schema(as = Environment, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes domain::keys::Environment, which knows nothing of this document")]
pub(super) enum EnvironmentName {
    Live,
    Test,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Organization {
    #[schema(value_type = String, pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "org_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: OrgId,
    #[schema(example = "Acme")]
    name: String,
}

/// What holds for the key right now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Limits {
    /// Calls in any sixty minutes; null: no limit.
    #[schema(value_type = Option<u32>, minimum = 1, example = 1000)]
    requests_per_hour: Option<u32>,
    /// Calls left, this one already counted; null without a limit.
    #[schema(value_type = Option<u32>, example = 998)]
    requests_remaining: Option<u32>,
    /// Addresses and networks the key works from; empty: any.
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24"]))]
    allowed_ips: Vec<ipnet::IpNet>,
    /// Instances the key may use; null: all.
    #[schema(value_type = Option<Vec<String>>)]
    allowed_instances: Option<Vec<InstanceId>>,
    /// Messages of the key that may wait on one instance.
    #[schema(minimum = 1, maximum = 10000, example = 20)]
    max_queue: u32,
    throttle: ThrottleInfo,
}

/// How far apart the key's messages leave on WAHA instances. Which fields are there depends on the mode; times are
/// milliseconds.
#[derive(Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
#[schema(as = Throttle)]
pub(super) struct ThrottleInfo {
    #[schema(value_type = ThrottleModeName)]
    mode: &'static str,
    /// `fixed`: from one message to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 600000, example = 5000)]
    delay_ms: Option<u32>,
    /// `random`, `smart`: the shortest time from one message to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 600000, example = 3000)]
    min_ms: Option<u32>,
    /// `random`, `smart`: the longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 600000, example = 8000)]
    max_ms: Option<u32>,
    /// `smart`: messages before a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, example = 10)]
    batch_size: Option<u32>,
    /// `smart`: the pause, on top of the time to the next message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 600000, example = 60000)]
    cooldown_ms: Option<u32>,
}

#[derive(ToSchema)]
#[schema(as = ThrottleMode, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::throttle::ThrottleMode, which knows nothing of this document")]
pub(super) enum ThrottleModeName {
    Off,
    Fixed,
    Random,
    Smart,
}

impl From<ThrottleMode> for ThrottleInfo {
    fn from(mode: ThrottleMode) -> Self {
        let info = Self { mode: mode.as_str(), ..Self::default() };
        match mode {
            ThrottleMode::Off => info,
            ThrottleMode::Fixed { delay_ms } => Self { delay_ms: Some(delay_ms), ..info },
            ThrottleMode::Random { min_ms, max_ms } => Self { min_ms: Some(min_ms), max_ms: Some(max_ms), ..info },
            ThrottleMode::Smart { min_ms, max_ms, batch_size, cooldown_ms } => Self {
                min_ms: Some(min_ms),
                max_ms: Some(max_ms),
                batch_size: Some(batch_size),
                cooldown_ms: Some(cooldown_ms),
                ..info
            },
        }
    }
}

/// The key that makes the call
///
/// Name, environment, scopes, limits, expiry and organization. Any valid key may ask.
#[utoipa::path(
    get,
    path = "/me",
    tag = "Keys",
    operation_id = "getMe",
    security(("bearerAuth" = []), ("apiKeyAuth" = [])),
    responses((status = 200, description = "The key", body = Me)),
)]
pub(super) async fn me(caller: Authorized<AnyKey>) -> Result<Response> {
    let entry = caller.entry();
    let prepared = match entry.prepared.get() {
        Some(prepared) => prepared,
        None => {
            let prepared = prepare(&entry.key).ok_or_else(|| Problem::new(Code::Internal))?;
            entry.prepared.get_or_init(|| prepared)
        }
    };
    let (before, after) = prepared.text.split_at(prepared.gap);
    let mut body = Vec::with_capacity(before.len() + 10 + after.len());
    body.extend_from_slice(before);
    match caller.call().rate() {
        Some(rate) => body.extend_from_slice(Ascii::<10>::new().number(rate.remaining.into()).as_bytes()),
        None => body.extend_from_slice(b"null"),
    }
    body.extend_from_slice(after);
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// All of the answer but the number of calls that are left, which is the only thing that differs from call to call.
fn prepare(key: &GateKey) -> Option<Prepared> {
    const CHANGING: &[u8] = b"\"requestsRemaining\":null";
    let at = |ms: Option<i64>| ms.and_then(DateTime::from_timestamp_millis);
    let Throttle { mode, max_queue } = key.throttle;
    let mut text = serde_json::to_vec(&Me {
        id: key.id,
        name: key.name.clone(),
        environment: key.environment,
        scopes: key.scopes,
        organization: Organization { id: key.organization_id, name: key.organization_name.clone() },
        limits: Limits {
            requests_per_hour: key.rate_limit,
            requests_remaining: None,
            allowed_ips: key.allowed_ips.clone(),
            allowed_instances: key.allowed_instances.clone(),
            max_queue,
            throttle: mode.into(),
        },
        expires_at: at(key.expires_ms),
        secret_ends_at: at(key.secret_ends_ms),
    })
    .ok()?;
    // In a name the quotation marks would be written with a backslash: this is found in one place only.
    let place = text.windows(CHANGING.len()).position(|part| part == CHANGING)?;
    let end = place + CHANGING.len();
    let gap = end - b"null".len();
    text.drain(gap..end);
    Some(Prepared { text: text.into(), gap })
}

#[cfg(test)]
mod tests {
    use domain::{ids::SecretId, keys::Scope};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_the_calls_left_differ() {
        let key = GateKey {
            id: KeyId(Uuid::nil()),
            secret_id: SecretId(Uuid::nil()),
            organization_id: OrgId(Uuid::nil()),
            organization_name: "Acme".into(),
            // A name that looks like the place.
            name: r#"x","requestsRemaining":null,"y":"é"#.into(),
            environment: Environment::Live,
            scopes: ScopeSet::from_iter([Scope::MessageSend]),
            allowed_ips: vec!["203.0.113.0/24".parse().unwrap()],
            rate_limit: Some(1_000),
            throttle: Throttle {
                mode: ThrottleMode::Smart { min_ms: 3_000, max_ms: 8_000, batch_size: 10, cooldown_ms: 60_000 },
                max_queue: 50,
            },
            expires_ms: Some(1_800_000_000_000),
            secret_ends_ms: None,
            disabled: false,
            revoked: false,
            allowed_instances: None,
            api_secret: None,
        };
        let prepared = prepare(&key).unwrap();
        let (before, after) = prepared.text.split_at(prepared.gap);
        let text = [before, b"998", after].concat();
        assert_eq!(
            serde_json::from_slice::<Value>(&text).unwrap(),
            json!({
                "id": "key_00000000000000000000000000",
                "name": key.name,
                "environment": "live",
                "scopes": ["message:send"],
                "organization": { "id": "org_00000000000000000000000000", "name": "Acme" },
                "limits": {
                    "requestsPerHour": 1_000, "requestsRemaining": 998,
                    "allowedIps": ["203.0.113.0/24"], "allowedInstances": null, "maxQueue": 50,
                    "throttle": {
                        "mode": "smart", "minMs": 3_000, "maxMs": 8_000, "batchSize": 10, "cooldownMs": 60_000,
                    },
                },
                "expiresAt": "2027-01-15T08:00:00Z",
                "secretEndsAt": null,
            })
        );
    }
}
