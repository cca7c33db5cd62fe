//! Changing `BOUNCER_SECRET`: everything that is sealed at rest is sealed anew with the current secret.
//!
//! Servers run on meanwhile: with both secrets they read what either sealed, and seal with the new one. It may be ended
//! and begun again at any time. What lives for minutes only, such as a session's notes, is left to end by itself.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Db,
    audit::{self, Change},
    error::Result,
    ids::{EndpointId, InstanceId, KeyId, OrgId},
    instances, keys,
    seal::Sealer,
    webhooks,
};

/// Rows that are read at once.
const PAGE: i64 = 500;

/// A column of sealed texts, in a table whose key is `id`.
struct Place {
    table: &'static str,
    column: &'static str,
    context: fn(Uuid) -> String,
}

const PLACES: [Place; 5] = [
    Place { table: "instances", column: "credentials", context: |id| instances::store::context(InstanceId(id)) },
    Place {
        table: "webhook_endpoints",
        column: "secret",
        context: |id| webhooks::store::secret_context(EndpointId(id)),
    },
    Place {
        table: "webhook_endpoints",
        column: "old_secret",
        context: |id| webhooks::store::secret_context(EndpointId(id)),
    },
    Place {
        table: "webhook_endpoints",
        column: "headers",
        context: |id| webhooks::store::headers_context(EndpointId(id)),
    },
    Place { table: "api_keys", column: "signing_secret", context: |id| keys::signing::context(KeyId(id)) },
];

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that are sealed with the current secret now and were not before.
    pub done: u64,
    /// Values that were already.
    pub current: u64,
    /// What neither secret opens: table, column and id.
    pub unreadable: Vec<String>,
}

/// Seals everything anew. The audit log of each organization that had something sealed anew says so; `by` is who did it.
///
/// # Errors
/// As the database; what was done until then stays done.
pub async fn all(db: &Db, sealer: &Sealer, by: &str) -> Result<Resealed> {
    let mut resealed = Resealed::default();
    let mut of = BTreeMap::new();
    let ended = every_place(db, sealer, &mut resealed, &mut of).await;
    // Also when it was cut short.
    for (organization, count) in of {
        let mut tx = db.system().begin().await?;
        let entry = audit::store::Entry {
            action: "organization.secrets_resealed",
            subject: organization.to_string(),
            subject_name: "",
            changes: vec![Change::new("secrets", None, Some(count.to_string()))],
        };
        audit::store::append_as(&mut tx, organization, None, by, None, entry).await?;
        tx.commit().await?;
    }
    ended.map(|()| resealed)
}

/// How many values were sealed anew, by organization.
type Counts = BTreeMap<OrgId, u64>;

async fn every_place(db: &Db, sealer: &Sealer, resealed: &mut Resealed, of: &mut Counts) -> Result<()> {
    for place in &PLACES {
        one_place(db, sealer, place, resealed, of).await?;
    }
    Ok(())
}

async fn one_place(db: &Db, sealer: &Sealer, place: &Place, resealed: &mut Resealed, of: &mut Counts) -> Result<()> {
    let Place { table, column, context } = place;
    let select = format!(
        "select id, {column}, organization_id from {table}
         where {column} is not null and id > $1 order by id limit {PAGE}"
    );
    // Only what is still as it was read: somebody may have replaced it meanwhile.
    let update = format!("update {table} set {column} = $3 where id = $1 and {column} = $2");
    let mut after = Uuid::nil();
    loop {
        let rows: Vec<PgRow> = sqlx::query(AssertSqlSafe(select.clone())).bind(after).fetch_all(db.system()).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get(0)?;
        for row in &rows {
            let (id, sealed): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
            if sealer.is_current(&sealed) {
                resealed.current += 1;
                continue;
            }
            let Ok(anew) = sealer.reseal(&context(id), &sealed) else {
                resealed.unreadable.push(format!("{table}.{column} {id}"));
                continue;
            };
            let done = sqlx::query(AssertSqlSafe(update.clone()))
                .bind(id)
                .bind(sealed)
                .bind(anew)
                .execute(db.system())
                .await?
                .rows_affected();
            resealed.done += done;
            if done > 0 {
                *of.entry(OrgId(row.try_get(2)?)).or_default() += done;
            }
        }
    }
}
