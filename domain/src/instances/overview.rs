//! What the list of instances shows beside the instances themselves, for all of them in one question; and finding them
//! by name.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    Db,
    error::Result,
    ids::{InstanceId, MessageId, OrgId},
    text::without_nul,
    time::Time,
};

/// Failures are looked for among so many of the organization's latest messages: what is older is no news.
const LATEST: i64 = 2_000;

/// A message that failed or expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub message: MessageId,
    pub at: Time,
    /// The provider's code or ours; empty without one.
    pub code: String,
    /// A sentence.
    pub text: String,
}

/// The last message of each instance that failed, among the organization's latest ones.
///
/// # Errors
/// As the database.
pub async fn last_failures(
    db: &Db,
    organization: OrgId,
    ids: &[InstanceId],
) -> Result<HashMap<InstanceId, LastFailure>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        r#"select distinct on (m.instance_id) m.instance_id as "instance_id!", m.id as "id!", m.status_at as "at!",
                  coalesce(m.error_code, '') as "code!", coalesce(m.error_message, '') as "text!"
           from (select instance_id, id, status, status_at, error_code, error_message from messages
                 where organization_id = $1 order by id desc limit $3) m
           where m.status in ('failed', 'expired') and m.instance_id = any($2)
           order by m.instance_id, m.id desc"#,
        organization.0,
        &ids,
        LATEST,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let failure = LastFailure { message: MessageId(row.id), at: row.at, code: row.code, text: row.text };
            (InstanceId(row.instance_id), failure)
        })
        .collect())
}

/// For the command palette: instances whose name contains the text, in any case, by name.
///
/// # Errors
/// As the database.
pub async fn named(db: &Db, organization: OrgId, q: &str, limit: i64) -> Result<Vec<(InstanceId, String)>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        "select id, name from instances
         where organization_id = $1 and deleted_at is null and strpos(lower(name), lower($2)) > 0
         order by lower(name) limit $3",
        organization.0,
        without_nul(q),
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(|row| (InstanceId(row.id), row.name)).collect())
}
