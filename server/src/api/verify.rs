//! `POST /keys/verify`: lets a service of the organization ask about a key that was shown to it.

use std::{net::IpAddr, time::Instant};

use axum::extract::State;
use chrono::DateTime;
use domain::{
    gate::{Decision, Facts, GateKey, Instance, Presented, Queue, Rate, decide},
    ids::KeyId,
    keys::{Environment, SCOPES, Scope, ScopeSet},
    time::Time,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::{Authorized, Fields, Json, Object, Shown, VerifyKeys},
    me::EnvironmentName,
    problem::Result,
    signature,
};
use crate::state::AppState;

/// Longer texts are no keys; they are answered, not refused, since they are what somebody showed.
const KEY_MAX: usize = 16 * 1024;
/// Longest API secret that is looked at.
const SECRET_MAX: usize = 200;

/// What to verify.
#[derive(ToSchema)]
pub(super) struct VerifyKey {
    /// The key as it was shown to you.
    #[schema(min_length = 1, max_length = 16384, example = "bnc_live_0123456789ABCDEFGHIJKLMNOPQRSTUV000000")]
    key: String,
    /// Scopes that the key must have, all of them.
    #[schema(value_type = Option<Vec<String>>, max_items = 39, example = json!(["message:send"]))]
    scopes: Vec<Scope>,
    /// The address your caller came from. Without it, the key's list of addresses is not looked at.
    #[schema(value_type = Option<String>, example = "203.0.113.9")]
    ip: Option<IpAddr>,
    /// The API secret that was shown with it. A key that has one is valid only together with it.
    #[schema(max_length = 200)]
    secret: Option<String>,
}

impl Fields for VerifyKey {
    fn take(object: &mut Object) -> Self {
        let key = object.text("key");
        if key.len() > KEY_MAX {
            object.complain("key", format!("At most {KEY_MAX} bytes."));
        }
        let mut scopes = Vec::new();
        for (index, text) in object.optional_texts("scopes", SCOPES.len()).into_iter().enumerate() {
            match Scope::parse(&text) {
                Some(scope) => scopes.push(scope),
                None => object.complain(format!("scopes[{index}]"), "There is no such scope."),
            }
        }
        let ip = object.optional_text("ip").and_then(|text| {
            let ip = text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
            if ip.is_none() {
                object.complain("ip", "Write an address, such as 203.0.113.9.");
            }
            ip
        });
        let secret = object.optional_text("secret");
        if secret.as_ref().is_some_and(|secret| secret.len() > SECRET_MAX) {
            object.complain("secret", format!("At most {SECRET_MAX} bytes."));
        }
        Self { key, scopes, ip, secret }
    }
}

/// What is true of the key. Everything but `valid` and `code` is null when your organization has no such key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verification {
    /// Would a call with this key, these scopes and this address pass?
    valid: bool,
    /// `valid`, or why not.
    #[schema(value_type = VerificationCode)]
    code: &'static str,
    #[schema(value_type = Option<String>, example = "key_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    key_id: Option<KeyId>,
    #[schema(example = "Shop plugin")]
    name: Option<String>,
    #[schema(value_type = Option<EnvironmentName>)]
    environment: Option<Environment>,
    /// All scopes of the key.
    #[schema(value_type = Option<Vec<String>>, example = json!(["message:send", "instance:read"]))]
    scopes: Option<ScopeSet>,
    /// The first of the asked scopes that the key lacks; only with `insufficient_scope`.
    #[schema(value_type = Option<String>)]
    missing_scope: Option<Scope>,
    /// Calls in any sixty minutes; null: no limit.
    #[schema(value_type = Option<u32>, example = 1000)]
    requests_per_hour: Option<u32>,
    /// Calls left in this hour; null without a limit. Verifying uses none up.
    #[schema(value_type = Option<u32>, example = 998)]
    remaining: Option<u32>,
    /// When the next call leaves the sliding hour and its place is free again; null while none is counted.
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Time>,
    /// When the key stops working; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::gate::Denial, which knows nothing of this document")]
pub(super) enum VerificationCode {
    Valid,
    Malformed,
    BadChecksum,
    UnknownKey,
    Revoked,
    Disabled,
    Expired,
    SecretRetired,
    WrongSecret,
    IpNotAllowed,
    InsufficientScope,
    RateLimited,
}

/// Verify a key
///
/// Answers whether a call with this key would pass, for services of your own that accept the organization's keys.
/// The same rules decide as for calls to this API. Keys of other organizations are unknown to you: `unknown_key`.
/// Verifying costs one call of *your* key's hour and none of the verified key's; it is no use of that key and does
/// not move its “last used”.
#[utoipa::path(
    post,
    path = "/keys/verify",
    tag = "Keys",
    operation_id = "verifyKey",
    security(("bearerAuth" = ["key:verify"]), ("apiKeyAuth" = ["key:verify"])),
    request_body = VerifyKey,
    responses((status = 200, description = "What is true of the key, valid or not", body = Verification)),
)]
pub(super) async fn verify(
    caller: Authorized<VerifyKeys>,
    State(state): State<AppState>,
    Json(asked): Json<VerifyKey>,
) -> Result<axum::Json<Verification>> {
    let mut shown = Shown::look_up(&state, Some(&asked.key), Instant::now()).await?;
    if let Shown::Key(entry) = &shown
        && entry.key.organization_id != caller.key().organization_id
    {
        shown = Shown::Unknown;
    }
    let now = caller.call().at;
    let Shown::Key(entry) = &shown else {
        return Ok(axum::Json(answer(
            None,
            judge(shown.presented(), &asked, caller.call().ip, Rate::default(), now),
            Rate::default(),
            now,
        )));
    };
    let rate = entry.window().rate(entry.key.rate_limit.unwrap_or(u32::MAX), now.timestamp_millis());
    let proven = signature::is_shown(&state, &entry.key, asked.secret.as_deref())?;
    let present = |key| if proven { Presented::Key(key) } else { Presented::WrongSecret(key) };
    let verdict = match asked.ip {
        Some(ip) => judge(present(&entry.key), &asked, ip, rate, now),
        None if entry.key.allowed_ips.is_empty() => judge(present(&entry.key), &asked, caller.call().ip, rate, now),
        // Nobody asked about the address.
        None => {
            let anywhere = GateKey { allowed_ips: Vec::new(), ..entry.key.clone() };
            judge(present(&anywhere), &asked, caller.call().ip, rate, now)
        }
    };
    Ok(axum::Json(answer(Some(&entry.key), verdict, rate, now)))
}

/// The gate's decision on each of the asked scopes: the first refusal counts.
fn judge(presented: Presented<'_>, asked: &VerifyKey, ip: IpAddr, rate: Rate, now: Time) -> Decision {
    let facts = Facts {
        now_ms: now.timestamp_millis(),
        ip,
        scope: None,
        instance: Instance::None,
        rate,
        queue: Queue::NotAsked,
    };
    // A missing scope is told before a used-up hour, as for a call: so all scopes are asked before the answer counts.
    let mut denied = decide(presented, &facts);
    for scope in &asked.scopes {
        let decision = decide(presented, &Facts { scope: Some(*scope), ..facts });
        if let Decision::Deny(domain::gate::Denial::InsufficientScope { .. }) = decision {
            return decision;
        }
        if denied == Decision::Allow {
            denied = decision;
        }
    }
    denied
}

fn answer(key: Option<&GateKey>, decision: Decision, rate: Rate, now: Time) -> Verification {
    let limit = key.and_then(|key| key.rate_limit);
    Verification {
        valid: decision == Decision::Allow,
        code: match decision {
            Decision::Allow => "valid",
            Decision::Deny(denial) => denial.as_str(),
        },
        key_id: key.map(|key| key.id),
        name: key.map(|key| key.name.clone()),
        environment: key.map(|key| key.environment),
        scopes: key.map(|key| key.scopes),
        missing_scope: match decision {
            Decision::Deny(domain::gate::Denial::InsufficientScope { scope }) => Some(scope),
            _ => None,
        },
        requests_per_hour: limit,
        remaining: limit.map(|limit| limit.saturating_sub(rate.used)),
        resets_at: limit
            .filter(|_| rate.used > 0)
            .and_then(|_| DateTime::from_timestamp_millis(now.timestamp_millis() + rate.frees_in_ms)),
        expires_at: key.and_then(|key| key.expires_ms).and_then(DateTime::from_timestamp_millis),
    }
}
