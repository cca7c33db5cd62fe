//! Writing, reading and checking the audit log.
//!
//! Each row's hash is SHA-256 over the previous row's hash (32 zero bytes before the first) and the row as JSON:
//! whoever changes, removes or inserts a row breaks the chain from there on. `audit_heads` holds where the chain ends, so
//! that rows missing at its end are seen. Who may write everything in the database could forge all of it; that shows only
//! to those who have kept the end that [`verify`] told them earlier.

use std::net::IpAddr;

use chrono::{DateTime, SubsecRound, Utc};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{AuditRow, Change};
use crate::{
    Db,
    error::Result,
    ids::{OrgId, PersonId},
    people::Actor,
    text::without_nul,
};

/// What is written down.
pub struct Entry<'a> {
    pub action: &'static str,
    pub subject: String,
    pub subject_name: &'a str,
    pub changes: Vec<Change>,
}

/// Appends a row within the transaction of the change itself: either both happen or none.
pub async fn append(tx: &mut PgConnection, actor: &Actor, entry: Entry<'_>) -> Result<()> {
    append_as(tx, actor.organization_id, actor.person_id, &actor.name, actor.ip, entry).await
}

pub(crate) async fn append_as(
    tx: &mut PgConnection,
    organization: OrgId,
    person: Option<PersonId>,
    name: &str,
    ip: Option<IpAddr>,
    entry: Entry<'_>,
) -> Result<()> {
    // One writer at a time and organization, or two rows would get the same number and predecessor.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("audit {}", organization.0))
        .execute(&mut *tx)
        .await?;
    let last = sqlx::query!("select seq, hash from audit_heads where organization_id = $1", organization.0)
        .fetch_optional(&mut *tx)
        .await?;
    let (seq, previous) = last.map_or((1, vec![0; 32]), |row| (row.seq + 1, row.hash));
    // Postgres keeps microseconds; the hash must be over what is kept.
    let at = Utc::now().trunc_subsecs(6);
    let changes = serde_json::to_value(&entry.changes).map_err(crate::Error::internal)?;
    let hash = link(
        &previous,
        &Link {
            organization,
            seq,
            at,
            person: person.map(|p| p.0),
            name,
            action: entry.action,
            subject: &entry.subject,
            subject_name: entry.subject_name,
            changes: &changes,
            ip,
        },
    );
    sqlx::query!(
        "insert into audit_log (organization_id, seq, at, actor_id, actor, action, subject, subject_name, changes, ip, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        organization.0,
        seq,
        at,
        person.map(|p| p.0),
        name,
        entry.action,
        entry.subject,
        entry.subject_name,
        changes,
        ip.map(IpNet::from),
        &hash,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into audit_heads (organization_id, seq, hash) values ($1, $2, $3)
         on conflict (organization_id) do update set seq = excluded.seq, hash = excluded.hash",
        organization.0,
        seq,
        hash,
    )
    .execute(tx)
    .await?;
    Ok(())
}

struct Link<'a> {
    organization: OrgId,
    seq: i64,
    at: DateTime<Utc>,
    person: Option<Uuid>,
    name: &'a str,
    action: &'a str,
    subject: &'a str,
    subject_name: &'a str,
    changes: &'a serde_json::Value,
    ip: Option<IpAddr>,
}

fn link(previous: &[u8], row: &Link<'_>) -> Vec<u8> {
    // An array keeps the order and quotes every text: no two different rows read the same.
    let text = serde_json::json!([
        row.organization,
        row.seq,
        row.at.timestamp_micros(),
        row.person,
        row.name,
        row.action,
        row.subject,
        row.subject_name,
        row.changes,
        row.ip
    ])
    .to_string();
    Sha256::new().chain_update(previous).chain_update(text).finalize().to_vec()
}

struct Row {
    seq: i64,
    at: DateTime<Utc>,
    actor_id: Option<Uuid>,
    actor: String,
    action: String,
    subject: String,
    subject_name: String,
    changes: Json<Vec<Change>>,
    ip: Option<IpNet>,
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            actor: row.actor,
            actor_id: row.actor_id.map(PersonId),
            action: row.action,
            subject: row.subject,
            subject_name: row.subject_name,
            changes: row.changes.0,
            ip: row.ip.map(|net| net.addr()),
        }
    }
}

/// Rows of an organization from the newest on, before `before` if given.
pub async fn page(
    db: &Db,
    organization: OrgId,
    before: Option<i64>,
    action: Option<&str>,
    actor: Option<&str>,
    limit: i64,
) -> Result<Vec<AuditRow>> {
    let (action, actor) = (action.map(without_nul), actor.map(without_nul));
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, at, actor_id, actor, action, subject, subject_name, changes as "changes: Json<Vec<Change>>", ip
           from audit_log
           where organization_id = $1
             and ($2::bigint is null or seq < $2)
             and ($3::text is null or action = $3)
             and ($4::text is null or actor = $4)
           order by seq desc
           limit $5"#,
        organization.0,
        before,
        action,
        actor,
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(AuditRow::from).collect())
}

/// Everything that was done to one thing, newest first.
pub async fn of_subject(db: &Db, organization: OrgId, subject: &str) -> Result<Vec<AuditRow>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, at, actor_id, actor, action, subject, subject_name, changes as "changes: Json<Vec<Change>>", ip
           from audit_log where organization_id = $1 and subject = $2 order by seq desc limit 200"#,
        organization.0,
        subject,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(AuditRow::from).collect())
}

/// Who has rows in the log, for the filter of the page.
pub async fn actors(db: &Db, organization: OrgId) -> Result<Vec<String>> {
    let mut tx = db.tenant(organization).await?;
    Ok(sqlx::query_scalar!(
        "select distinct actor from audit_log where organization_id = $1 order by 1 limit 200",
        organization.0
    )
    .fetch_all(&mut *tx)
    .await?)
}

/// What checking a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All rows are as they were written. `end` is the hash of the last one, in hexadecimal.
    Whole { rows: i64, end: String },
    /// The first row that is missing, out of place or changed.
    Broken { at_seq: i64 },
}

/// Checks every organization's chain.
pub async fn verify(db: &Db) -> Result<Vec<(OrgId, Verdict)>> {
    let organizations = sqlx::query_scalar!("select id from organizations order by id").fetch_all(db.system()).await?;
    let mut verdicts = vec![];
    for organization in organizations.into_iter().map(OrgId) {
        verdicts.push((organization, verify_one(db, organization).await?));
    }
    Ok(verdicts)
}

async fn verify_one(db: &Db, organization: OrgId) -> Result<Verdict> {
    // Before the rows: more may be written meanwhile.
    let head = sqlx::query!("select seq, hash from audit_heads where organization_id = $1", organization.0)
        .fetch_optional(db.system())
        .await?;
    // Each organization has at least the row of its making.
    let Some(head) = head else { return Ok(Verdict::Broken { at_seq: 1 }) };
    let (mut previous, mut seq) = (vec![0; 32], 0);
    loop {
        // Pages keep the memory flat for logs of any length.
        let rows = sqlx::query!(
            "select seq, at, actor_id, actor, action, subject, subject_name, changes, ip, hash
             from audit_log where organization_id = $1 and seq > $2 order by seq limit 1000",
            organization.0,
            seq,
        )
        .fetch_all(db.system())
        .await?;
        if rows.is_empty() {
            return Ok(if seq < head.seq {
                Verdict::Broken { at_seq: seq + 1 }
            } else {
                Verdict::Whole { rows: seq, end: previous.iter().map(|byte| format!("{byte:02x}")).collect() }
            });
        }
        for row in rows {
            let expected = link(
                &previous,
                &Link {
                    organization,
                    seq: seq + 1,
                    at: row.at,
                    person: row.actor_id,
                    name: &row.actor,
                    action: &row.action,
                    subject: &row.subject,
                    subject_name: &row.subject_name,
                    changes: &row.changes,
                    ip: row.ip.map(|net| net.addr()),
                },
            );
            let ends_elsewhere = row.seq == head.seq && row.hash != head.hash;
            if row.seq != seq + 1 || row.hash != expected || ends_elsewhere {
                return Ok(Verdict::Broken { at_seq: seq + 1 });
            }
            (previous, seq) = (row.hash, row.seq);
        }
    }
}
