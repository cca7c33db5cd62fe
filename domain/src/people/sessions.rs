//! Cookies' sessions in the database. The cookie's id is a bearer secret: only its SHA-256 is kept. The data may hold
//! what somebody typed: NUL, which Postgres does not take, is left out.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Actor, SignedIn};
use crate::{
    Db, Error,
    audit::{self, store::Entry},
    error::Result,
    ids::PersonId,
    text::without_nul_json,
    time::Time,
};

fn hash(id: &str) -> Vec<u8> {
    Sha256::digest(id.as_bytes()).to_vec()
}

/// What the session list shows, kept in the session's data by whoever signs in: `person_id`, `ip`, `user_agent`.
struct Shown {
    person: Option<Uuid>,
    ip: Option<IpNet>,
    user_agent: String,
}

impl Shown {
    fn of(data: &Value) -> Self {
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        Self {
            person: text("person_id").and_then(|id| id.parse::<PersonId>().ok()).map(|id| id.0),
            ip: text("ip").and_then(|ip| ip.parse::<IpAddr>().ok()).map(IpNet::from),
            user_agent: text("user_agent").unwrap_or_default().chars().take(300).collect(),
        }
    }
}

/// The data and end of a session that has not ended.
pub async fn load(db: &Db, id: &str) -> Result<Option<(Value, Time)>> {
    // Seen at most once a minute: a page view should not be a write.
    let row = sqlx::query!(
        "with seen as (
             update sessions set last_seen_at = now()
             where id_hash = $1 and expires_at > now() and last_seen_at < now() - interval '1 minute')
         select data, expires_at from sessions where id_hash = $1 and expires_at > now()",
        hash(id),
    )
    .fetch_optional(db.system())
    .await?;
    Ok(row.map(|row| (row.data, row.expires_at)))
}

/// `false`: the id is taken, choose another.
pub async fn insert(db: &Db, id: &str, data: &Value, expires_at: Time) -> Result<bool> {
    let data = without_nul_json(data.clone());
    let shown = Shown::of(&data);
    let made = sqlx::query!(
        "insert into sessions (id_hash, person_id, data, ip, user_agent, expires_at) values ($1, $2, $3, $4, $5, $6)
         on conflict (id_hash) do nothing",
        hash(id),
        shown.person,
        data,
        shown.ip,
        shown.user_agent,
        expires_at,
    )
    .execute(db.system())
    .await?;
    Ok(made.rows_affected() == 1)
}

/// Changes a session that has not ended. One that has stays ended: whoever saves it read it before.
pub async fn save(db: &Db, id: &str, data: &Value, expires_at: Time) -> Result<()> {
    let data = without_nul_json(data.clone());
    let shown = Shown::of(&data);
    sqlx::query!(
        "update sessions set person_id = $2, data = $3, ip = $4, user_agent = $5, expires_at = $6
         where id_hash = $1 and expires_at > now()",
        hash(id),
        shown.person,
        data,
        shown.ip,
        shown.user_agent,
        expires_at,
    )
    .execute(db.system())
    .await?;
    Ok(())
}

pub async fn delete(db: &Db, id: &str) -> Result<()> {
    sqlx::query!("delete from sessions where id_hash = $1", hash(id)).execute(db.system()).await?;
    Ok(())
}

/// Where the person is signed in, the latest first.
pub async fn list(db: &Db, person: PersonId, current: &str) -> Result<Vec<SignedIn>> {
    let rows = sqlx::query!(
        r#"select handle, ip, user_agent, created_at, last_seen_at, (id_hash = $2) as "this_one!"
           from sessions where person_id = $1 and expires_at > now() order by last_seen_at desc limit 100"#,
        person.0,
        hash(current),
    )
    .fetch_all(db.system())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SignedIn {
            handle: row.handle.to_string(),
            ip: row.ip.map(|net| net.addr()),
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            this_one: row.this_one,
        })
        .collect())
}

/// Ends one of the person's own sessions.
pub async fn end(db: &Db, actor: &Actor, handle: &str) -> Result<()> {
    let (Some(person), Ok(handle)) = (actor.person_id, handle.parse::<Uuid>()) else { return Err(Error::NotFound) };
    let mut tx = db.system().begin().await?;
    let ended = sqlx::query!("delete from sessions where person_id = $1 and handle = $2", person.0, handle)
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::NotFound);
    }
    note(&mut tx, actor, person, "person.sessions_ended").await?;
    tx.commit().await?;
    Ok(())
}

/// Writes down that a person signed out; ending the session is for whoever holds it.
pub async fn signed_out(db: &Db, actor: &Actor) -> Result<()> {
    let person = actor.person_id.ok_or(Error::NotFound)?;
    let mut tx = db.system().begin().await?;
    note(&mut tx, actor, person, "person.signed_out").await?;
    tx.commit().await?;
    Ok(())
}

/// Ends all of the person's sessions but the current one; returns how many.
pub async fn end_others(db: &Db, actor: &Actor, current: &str) -> Result<u64> {
    let person = actor.person_id.ok_or(Error::NotFound)?;
    let mut tx = db.system().begin().await?;
    let ended = sqlx::query!("delete from sessions where person_id = $1 and id_hash <> $2", person.0, hash(current))
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() > 0 {
        note(&mut tx, actor, person, "person.sessions_ended").await?;
    }
    tx.commit().await?;
    Ok(ended.rows_affected())
}

async fn note(tx: &mut sqlx::PgConnection, actor: &Actor, person: PersonId, action: &'static str) -> Result<()> {
    let entry = Entry { action, subject: person.to_string(), subject_name: &actor.name, changes: vec![] };
    audit::store::append(tx, actor, entry).await
}
