//! An organization as its own programs see it.

use crate::{Db, error::Result, ids::OrgId, time::Time};

/// An organization, and how much it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    pub id: OrgId,
    pub name: String,
    pub created_at: Time,
    pub members: i64,
    /// Keys that are not revoked.
    pub keys: i64,
    /// Instances that are not deleted.
    pub instances: i64,
}

/// The organization.
///
/// # Errors
/// `NotFound` when there is none.
pub async fn overview(db: &Db, organization: OrgId) -> Result<Overview> {
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query!(
        r#"select name, created_at,
                  (select count(*) from memberships where organization_id = $1) as "members!",
                  (select count(*) from api_keys where organization_id = $1 and revoked_at is null) as "keys!",
                  (select count(*) from instances where organization_id = $1 and deleted_at is null) as "instances!"
           from organizations where id = $1"#,
        organization.0,
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(Overview {
        id: organization,
        name: row.name,
        created_at: row.created_at,
        members: row.members,
        keys: row.keys,
        instances: row.instances,
    })
}
