//! `GET /me`: what the key that calls is.

use chrono::DateTime;
use domain::{
    ids::{InstanceId, KeyId, OrgId},
    keys::{Environment, ScopeSet},
    time::Time,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{AnyKey, Authorized};

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
pub(super) async fn me(caller: Authorized<AnyKey>) -> axum::Json<Me> {
    let key = caller.key();
    let at = |ms: Option<i64>| ms.and_then(DateTime::from_timestamp_millis);
    axum::Json(Me {
        id: key.id,
        name: key.name.clone(),
        environment: key.environment,
        scopes: key.scopes,
        organization: Organization { id: key.organization_id, name: key.organization_name.clone() },
        limits: Limits {
            requests_per_hour: key.rate_limit,
            requests_remaining: caller.call().rate().map(|rate| rate.remaining),
            allowed_ips: key.allowed_ips.clone(),
            allowed_instances: key.allowed_instances.clone(),
        },
        expires_at: at(key.expires_ms),
        secret_ends_at: at(key.secret_ends_ms),
    })
}
