//! Changing `BOUNCER_SECRET`: everything that is sealed at rest is sealed anew with the current secret.
//!
//! Servers run on meanwhile: with both secrets they read what either sealed, and seal with the new one. It may be ended
//! and begun again at any time. What lives for minutes only, such as a session's notes, is left to end by itself.

use sqlx::{AssertSqlSafe, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Db,
    error::Result,
    ids::{EndpointId, InstanceId, KeyId},
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

/// Seals everything anew.
///
/// # Errors
/// As the database; what was done until then stays done.
pub async fn all(db: &Db, sealer: &Sealer) -> Result<Resealed> {
    let mut resealed = Resealed::default();
    for place in &PLACES {
        one_place(db, sealer, place, &mut resealed).await?;
    }
    Ok(resealed)
}

async fn one_place(db: &Db, sealer: &Sealer, place: &Place, resealed: &mut Resealed) -> Result<()> {
    let Place { table, column, context } = place;
    let select =
        format!("select id, {column} from {table} where {column} is not null and id > $1 order by id limit {PAGE}");
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
                .await?;
            resealed.done += done.rows_affected();
        }
    }
}
