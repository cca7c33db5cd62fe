//! Answers kept for 24 hours, so that a repeated call gets the first one's answer.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Db,
    error::Result,
    ids::{KeyId, OrgId},
    keys::Environment,
    time::Time,
};

/// What a call with an `Idempotency-Key` claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    pub organization: OrgId,
    pub environment: Environment,
    /// As the caller wrote it, without quotes; at most 255 characters.
    pub key: String,
    pub fingerprint: Fingerprint,
}

impl Claim {
    /// What a create writes beside what it makes. If its server dies before the answer is kept, the repeated call
    /// finds by it what is there already.
    pub fn submission(&self) -> Uuid {
        let mut hash = Sha256::new();
        for part in [self.environment.as_str().as_bytes(), &self.fingerprint.0, self.key.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        uuid::Builder::from_custom_bytes(hash.finalize().first_chunk().copied().unwrap_or_default()).into_uuid()
    }

    fn place(&self) -> (OrgId, &'static str, &str) {
        (self.organization, self.environment.as_str(), &self.key)
    }
}

/// SHA-256 of what a call is: repeated with the same `Idempotency-Key`, it must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn of(method: &str, path: &str, key: KeyId, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), key.0.as_bytes(), body] {
            // Lengths keep the parts apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// The answer of the first call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The body as it was sent, or sealed.
    pub text: String,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody did this before: the caller does it now.
    First,
    /// It was done before.
    Done(Answer),
    /// The first call is still running.
    Running { retry_after_s: u64 },
    /// The key was used for something else.
    Mismatch,
}

/// How long an answer is kept.
pub const KEPT_FOR: TimeDelta = TimeDelta::hours(24);
/// A call that has not ended after this is believed dead, and may be made again.
pub const LOCKED_FOR: TimeDelta = TimeDelta::seconds(60);

/// Claims the keys of calls, in the caller's transaction: no two of one `(organization, environment, key)`. What is
/// answered with [`Claimed::First`] belongs to the caller until it calls [`finish`] or [`abandon`].
///
/// Waits for a transaction that claims the same key right now. Keys are taken in their order, whatever the order of
/// `claims`, so that two batches never wait for each other.
///
/// # Errors
/// As the database.
pub async fn claim(tx: &mut PgConnection, claims: &[&Claim], now: Time) -> Result<Vec<Claimed>> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let mut order: Vec<&Claim> = claims.to_vec();
    order.sort_unstable_by_key(|claim| claim.place());
    let columns = Columns::of(&order);
    let fingerprints: Vec<&[u8]> = order.iter().map(|claim| &claim.fingerprint.0[..]).collect();
    let mine: HashSet<_> = sqlx::query!(
        r#"insert into idempotency_keys as k (organization_id, environment, idempotency_key, fingerprint, created_at, locked_until)
           select organization_id, environment, idempotency_key, fingerprint, $5, $6
           from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
                with ordinality as n (organization_id, environment, idempotency_key, fingerprint, place)
           order by place
           on conflict (organization_id, environment, idempotency_key) do update
               set fingerprint = excluded.fingerprint, status = null, answer = null, created_at = excluded.created_at,
                   locked_until = excluded.locked_until
               where k.created_at <= $7
                  or (k.status is null and k.locked_until <= $5 and k.fingerprint = excluded.fingerprint)
           returning organization_id, environment, idempotency_key"#,
        &columns.organizations,
        &columns.environments as &[&str],
        &columns.keys as &[&str],
        &fingerprints as &[&[u8]],
        now,
        now + LOCKED_FOR,
        now - KEPT_FOR,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|row| (row.organization_id, row.environment, row.idempotency_key))
    .collect();
    let place = |claim: &Claim| (claim.organization.0, claim.environment.as_str().to_owned(), claim.key.clone());
    if mine.len() == claims.len() {
        return Ok(vec![Claimed::First; claims.len()]);
    }
    let others: Vec<&Claim> = order.into_iter().filter(|claim| !mine.contains(&place(claim))).collect();
    let columns = Columns::of(&others);
    let mut known: HashMap<_, _> = sqlx::query!(
        r#"select k.organization_id, k.environment, k.idempotency_key, k.fingerprint, k.status, k.answer, k.locked_until
           from unnest($1::uuid[], $2::text[], $3::text[]) as n (organization_id, environment, idempotency_key)
           join idempotency_keys k using (organization_id, environment, idempotency_key)"#,
        &columns.organizations,
        &columns.environments as &[&str],
        &columns.keys as &[&str],
    )
    .fetch_all(tx)
    .await?
    .into_iter()
    .map(|row| ((row.organization_id, row.environment.clone(), row.idempotency_key.clone()), row))
    .collect();
    Ok(claims
        .iter()
        .map(|claim| {
            if mine.contains(&place(claim)) {
                return Claimed::First;
            }
            // It was there a moment ago; if it is gone, its call has just been given up.
            let Some(row) = known.remove(&place(claim)) else { return Claimed::Running { retry_after_s: 1 } };
            match (row.status, row.answer) {
                _ if row.fingerprint != claim.fingerprint.0 => Claimed::Mismatch,
                (Some(status), Some(text)) => Claimed::Done(Answer { status: status.unsigned_abs(), text }),
                _ => {
                    let ms = (row.locked_until - now).num_milliseconds().clamp(1_000, LOCKED_FOR.num_milliseconds());
                    Claimed::Running { retry_after_s: ms.unsigned_abs().div_ceil(1_000).min(RETRY_S) }
                }
            }
        })
        .collect())
}

/// What the call was answered with before, if it was; nothing is claimed.
///
/// # Errors
/// As the database.
pub async fn kept(db: &Db, claim: &Claim, now: Time) -> Result<Option<Answer>> {
    let row: Option<(i16, String)> = sqlx::query_as(
        "select status, answer from idempotency_keys
         where organization_id = $1 and environment = $2 and idempotency_key = $3 and fingerprint = $4
           and created_at > $5 and status is not null and answer is not null",
    )
    .bind(claim.organization.0)
    .bind(claim.environment.as_str())
    .bind(&claim.key)
    .bind(&claim.fingerprint.0[..])
    .bind(now - KEPT_FOR)
    .fetch_optional(db.system())
    .await?;
    Ok(row.map(|(status, text)| Answer { status: status.unsigned_abs(), text }))
}

/// Most calls end soon: asking again after this many seconds is early enough.
const RETRY_S: u64 = 2;

/// Keeps the answers of claimed calls.
///
/// # Errors
/// As the database.
pub async fn finish(tx: &mut PgConnection, done: &[(&Claim, Answer)]) -> Result<()> {
    if done.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(&done.iter().map(|(claim, _)| *claim).collect::<Vec<_>>());
    let statuses: Vec<i16> = done.iter().map(|(_, answer)| i16::try_from(answer.status).unwrap_or(200)).collect();
    let texts: Vec<&str> = done.iter().map(|(_, answer)| answer.text.as_str()).collect();
    sqlx::query!(
        "update idempotency_keys k set status = n.status, answer = n.answer
         from unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[])
              as n (organization_id, environment, idempotency_key, status, answer)
         where k.organization_id = n.organization_id and k.environment = n.environment
           and k.idempotency_key = n.idempotency_key",
        &columns.organizations,
        &columns.environments as &[&str],
        &columns.keys as &[&str],
        &statuses,
        &texts as &[&str],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives claims back: their calls did nothing, and may be made again with the same key.
///
/// # Errors
/// As the database.
pub async fn abandon(tx: &mut PgConnection, claims: &[&Claim]) -> Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(claims);
    sqlx::query!(
        "delete from idempotency_keys k
         using unnest($1::uuid[], $2::text[], $3::text[]) as n (organization_id, environment, idempotency_key)
         where k.organization_id = n.organization_id and k.environment = n.environment
           and k.idempotency_key = n.idempotency_key and k.status is null",
        &columns.organizations,
        &columns.environments as &[&str],
        &columns.keys as &[&str],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets answers older than [`KEPT_FOR`], and what creates of that time wrote ([`Claim::submission`]); returns how
/// many answers.
///
/// # Errors
/// As the database.
pub async fn forget_old(db: &Db, now: Time) -> Result<u64> {
    let before = now - KEPT_FOR;
    let mut tx = db.system().begin().await?;
    sqlx::query!(
        "update webhook_endpoints set submission = null where submission is not null and created_at <= $1",
        before
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("update instances set submission = null where submission is not null and created_at <= $1", before)
        .execute(&mut *tx)
        .await?;
    let forgotten =
        sqlx::query!("delete from idempotency_keys where created_at <= $1", before).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(forgotten.rows_affected())
}

/// Claims column by column.
struct Columns<'a> {
    organizations: Vec<Uuid>,
    environments: Vec<&'static str>,
    keys: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(claims: &[&'a Claim]) -> Self {
        Self {
            organizations: claims.iter().map(|claim| claim.organization.0).collect(),
            environments: claims.iter().map(|claim| claim.environment.as_str()).collect(),
            keys: claims.iter().map(|claim| claim.key.as_str()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_calls_apart() {
        let key = KeyId(Uuid::from_u128(1));
        let of = Fingerprint::of("POST", "/api/v1/messages/send", key, b"{}");
        assert_eq!(of, Fingerprint::of("POST", "/api/v1/messages/send", key, b"{}"));
        let claim = |fingerprint, key: &str| Claim {
            organization: OrgId(Uuid::nil()),
            environment: Environment::Live,
            key: key.into(),
            fingerprint,
        };
        let submission = claim(of, "once").submission();
        assert_eq!((submission, submission.get_version_num()), (claim(of, "once").submission(), 8));
        assert_ne!(submission, claim(of, "twice").submission());
        for other in [
            Fingerprint::of("PUT", "/api/v1/messages/send", key, b"{}"),
            Fingerprint::of("POST", "/api/v1/messages/sen", key, b"d{}"),
            Fingerprint::of("POST", "/api/v1/messages/send", KeyId(Uuid::from_u128(2)), b"{}"),
            Fingerprint::of("POST", "/api/v1/messages/send", key, b"{ }"),
        ] {
            assert_ne!(of, other);
            assert_ne!(submission, claim(other, "once").submission());
        }
    }
}
