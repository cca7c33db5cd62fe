//! `GET /organization`: the organization that the calling key belongs to.

use axum::extract::State;
use domain::{ids::OrgId, people::organization, time::Time};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::{Authorized, ReadOrganization},
    list::Query,
    problem::Result,
};
use crate::state::AppState;

/// Your organization.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrganizationInfo {
    #[schema(value_type = String, pattern = "^org_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "org_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: OrgId,
    #[schema(example = "Acme")]
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    counts: Counts,
}

/// How much there is of it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationCounts)]
struct Counts {
    #[schema(minimum = 0, example = 4)]
    members: i64,
    /// Keys that are not revoked.
    #[schema(minimum = 0, example = 7)]
    keys: i64,
    /// Instances that are not deleted.
    #[schema(minimum = 0, example = 2)]
    instances: i64,
}

/// Your organization
///
/// Name, age and size of the organization that the key belongs to.
#[utoipa::path(
    get,
    path = "/organization",
    tag = "Organization",
    operation_id = "getOrganization",
    security(("bearerAuth" = ["organization:read"]), ("apiKeyAuth" = ["organization:read"])),
    responses(
        (status = 200, description = "The organization", body = OrganizationInfo),
        (status = 422, description = "There is no such query parameter"),
    ),
)]
pub(super) async fn get(
    caller: Authorized<ReadOrganization>,
    State(state): State<AppState>,
    query: Query,
) -> Result<axum::Json<OrganizationInfo>> {
    query.finish()?;
    let organization::Overview { id, name, created_at, members, keys, instances } =
        organization::overview(&state.db, caller.key().organization_id).await?;
    Ok(axum::Json(OrganizationInfo { id, name, created_at, counts: Counts { members, keys, instances } }))
}
