//! What the list of endpoints shows of each, for all of them in one question.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    Db, Result,
    ids::{EndpointId, OrgId},
};

/// Where counting deliveries ends.
const COUNTED: i64 = 10_000;

/// An endpoint at a glance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Attempts of the last 24 hours, to the hour.
    pub succeeded: i64,
    pub failed: i64,
    /// Deliveries that wait, be it for their first or for another attempt; counted up to 10,000.
    pub pending: i64,
}

/// # Errors
/// As the database.
pub async fn glances(db: &Db, organization: OrgId, ids: &[EndpointId]) -> Result<HashMap<EndpointId, Glance>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        r#"select w.id as "id!", coalesce(h.succeeded, 0) as "succeeded!", coalesce(h.failed, 0) as "failed!",
                  p.pending as "pending!"
           from unnest($2::uuid[]) as w (id)
           cross join lateral (
               select (sum(count) filter (where succeeded))::bigint as succeeded,
                      (sum(count) filter (where not succeeded))::bigint as failed
               from webhook_hours
               where organization_id = $1 and endpoint_id = w.id and hour > now() - interval '24 hours') h
           cross join lateral (
               select count(*) as pending from (
                   select from deliveries
                   where organization_id = $1 and endpoint_id = w.id and status in ('pending', 'sending') limit $3) d) p"#,
        organization.0,
        &ids,
        COUNTED,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (EndpointId(row.id), Glance { succeeded: row.succeeded, failed: row.failed, pending: row.pending }))
        .collect())
}
