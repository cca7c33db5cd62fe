//! The first organization, signing in, and what people change about themselves.

use std::net::IpAddr;

use chrono::{TimeDelta, Utc};
use secrecy::SecretString;

use super::{Actor, Organization, Role, Viewer, form, passwords, passwords::Hasher};
use crate::{
    Db, Error,
    audit::{self, Change, store::Entry},
    error::{FieldError, OnConstraint, Result},
    ids::{OrgId, PersonId},
    time::Time,
};

/// Failed attempts allowed in [`WINDOW_MINUTES`], by account and by address.
const PER_ACCOUNT: i64 = 10;
const PER_ADDRESS: i64 = 50;
const WINDOW_MINUTES: i64 = 15;

/// Is there any organization, or is this a first run?
pub async fn any_organization(db: &Db) -> Result<bool> {
    Ok(sqlx::query_scalar!(r#"select exists(select from organizations) as "any!""#).fetch_one(db.system()).await?)
}

/// The first organization and its owner.
///
/// # Errors
/// `Conflict` when there is an organization already: then people come by invitation. Whatever the form says, it is
/// answered before anything of it is looked at, so that nobody learns here who exists or what their password is.
pub async fn setup(
    db: &Db,
    hasher: &Hasher,
    organization: &str,
    name: &str,
    email: &str,
    password: &SecretString,
    ip: Option<IpAddr>,
) -> Result<(PersonId, OrgId)> {
    if any_organization(db).await? {
        return Err(already_set_up());
    }
    make(db, hasher, organization, name, email, password, ip, true).await
}

/// A further organization and its owner, for the command line. A known address must come with its password.
pub async fn create_organization(
    db: &Db,
    hasher: &Hasher,
    organization: &str,
    name: &str,
    email: &str,
    password: &SecretString,
    ip: Option<IpAddr>,
) -> Result<(PersonId, OrgId)> {
    make(db, hasher, organization, name, email, password, ip, false).await
}

fn already_set_up() -> Error {
    Error::Conflict("This Bouncer is already set up. Sign in, or ask an admin for an invitation.".into())
}

#[expect(clippy::too_many_arguments, reason = "the fields of one form, and where they come from")]
async fn make(
    db: &Db,
    hasher: &Hasher,
    organization: &str,
    name: &str,
    email: &str,
    password: &SecretString,
    ip: Option<IpAddr>,
    first: bool,
) -> Result<(PersonId, OrgId)> {
    let (organization, name, email) = {
        let mut errors = vec![];
        let mut keep = |checked: Result<String, FieldError>| checked.map_err(|e| errors.push(e)).unwrap_or_default();
        let organization = keep(form::name("organization", organization));
        let name = keep(form::name("name", name));
        let email = keep(form::email(email));
        if let Err(error) = passwords::check("password", password, &email) {
            errors.push(error);
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors));
        }
        (organization, name, email)
    };
    let known = sqlx::query!("select id, password_hash from people where email = $1", email)
        .fetch_optional(db.system())
        .await?;
    let person = match known {
        Some(person) if hasher.verify(password, Some(person.password_hash.clone())).await? => Some(PersonId(person.id)),
        Some(_) => {
            return Err(Error::field(
                "password",
                "This address belongs to somebody already, and the password is not theirs.",
            ));
        }
        None => None,
    };
    let hash = hasher.hash(password).await?;
    let mut tx = db.system().begin().await?;
    // Two people may be looking at the form of the first run at once.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('setup', 0))").execute(&mut *tx).await?;
    if first && sqlx::query_scalar!(r#"select exists(select from organizations) as "any!""#).fetch_one(&mut *tx).await?
    {
        return Err(already_set_up());
    }
    let id = OrgId::new();
    sqlx::query!("insert into organizations (id, name) values ($1, $2)", id.0, organization).execute(&mut *tx).await?;
    let person = match person {
        Some(person) => person,
        None => insert_person(&mut tx, &email, &name, &hash).await?,
    };
    sqlx::query!("insert into memberships (organization_id, person_id, role) values ($1, $2, 'owner')", id.0, person.0)
        .execute(&mut *tx)
        .await?;
    let actor = Actor { organization_id: id, person_id: Some(person), name: email, ip, role: Some(Role::Owner) };
    let entry =
        Entry { action: "organization.created", subject: id.to_string(), subject_name: &organization, changes: vec![] };
    audit::store::append(&mut tx, &actor, entry).await?;
    tx.commit().await?;
    Ok((person, id))
}

pub(super) async fn insert_person(
    tx: &mut sqlx::PgConnection,
    email: &str,
    name: &str,
    hash: &str,
) -> Result<PersonId> {
    let person = PersonId::new();
    sqlx::query!(
        "insert into people (id, email, name, password_hash) values ($1, $2, $3, $4)",
        person.0,
        email,
        name,
        hash
    )
    .execute(tx)
    .await
    .on_constraint("people_email_key", || {
        Error::field("email", "Somebody with this address was added just now. Sign in instead.")
    })?;
    Ok(person)
}

/// Checks address and password.
///
/// # Errors
/// `Invalid` with the same sentence for an unknown address and a wrong password; `Limited` after too many failures of
/// this account or address.
pub async fn sign_in(
    db: &Db,
    hasher: &Hasher,
    email: &str,
    password: &SecretString,
    ip: Option<IpAddr>,
) -> Result<(PersonId, OrgId)> {
    let email = form::email(email).map_err(|e| Error::Invalid(vec![e]))?;
    // Somebody who belongs to no organization any more cannot sign in, and is nobody here.
    let member = sqlx::query!(
        "select p.id, p.password_hash, m.organization_id from people p join memberships m on m.person_id = p.id
         where p.email = $1 order by m.joined_at limit 1",
        email
    )
    .fetch_optional(db.system())
    .await?;
    let known = member.as_ref().map(|member| member.password_hash.clone());
    let right = password_is_right(db, hasher, &email, ip, password, known).await?;
    let Some(member) = member.filter(|_| right) else {
        return Err(Error::field("password", "The e-mail address or the password is not right."));
    };
    let (person, organization) = (PersonId(member.id), OrgId(member.organization_id));
    let mut tx = db.system().begin().await?;
    let actor = Actor { organization_id: organization, person_id: Some(person), name: email.clone(), ip, role: None };
    let entry =
        Entry { action: "person.signed_in", subject: person.to_string(), subject_name: &email, changes: vec![] };
    audit::store::append(&mut tx, &actor, entry).await?;
    tx.commit().await?;
    Ok((person, organization))
}

/// Is this the password of the account with this hash? `None`: nobody has one. The one door for whoever gives a
/// password, so that nobody can guess without being counted: an attempt counts as a failure before it is checked, and
/// is taken back when it was right.
///
/// # Errors
/// `Limited` after too many failures of this account or address; attempts that are just being checked count as such.
pub(super) async fn password_is_right(
    db: &Db,
    hasher: &Hasher,
    email: &str,
    ip: Option<IpAddr>,
    password: &SecretString,
    hash: Option<String>,
) -> Result<bool> {
    let (account, address) = (account_subject(email), address_subject(ip));
    let at = count_attempt(db, &account, &address).await?;
    let right = hasher.verify(password, hash).await?;
    if right {
        sqlx::query!(
            "delete from sign_in_failures where subject = $1 or (subject = $2 and at = $3)",
            account,
            address,
            at,
        )
        .execute(db.system())
        .await?;
    }
    Ok(right)
}

/// Writes an attempt down, unless there were too many. Returns when it was: no other attempt of the same account or
/// address has that moment.
async fn count_attempt(db: &Db, account: &str, address: &str) -> Result<Time> {
    let subjects = [account.to_owned(), address.to_owned()];
    let mut tx = db.system().begin().await?;
    // Attempts of one account or address take turns, those of an account before those of an address: who looks sees all
    // that were written down before.
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('sign-in ' || subject, 0)) from unnest($1::text[]) as subject",
    )
    .bind(&subjects)
    .execute(&mut *tx)
    .await?;
    limited(&mut tx, account, PER_ACCOUNT).await?;
    limited(&mut tx, address, PER_ADDRESS).await?;
    let at = sqlx::query_scalar!(
        r#"with moment as materialized (select clock_timestamp() as at)
           insert into sign_in_failures (subject, at) select unnest($1::text[]), at from moment returning at as "at!""#,
        &subjects,
    )
    .fetch_all(&mut *tx)
    .await?
    .pop()
    .ok_or_else(|| Error::internal("an attempt was not written down"))?;
    tx.commit().await?;
    Ok(at)
}

fn account_subject(email: &str) -> String {
    format!("account {email}")
}

/// IPv6 callers own whole networks: they are counted by their /64.
fn address_subject(ip: Option<IpAddr>) -> String {
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(v6)) => format!("address {:x}", v6.to_bits() >> 64),
        Some(IpAddr::V4(v4)) => format!("address {v4}"),
        None => "address unknown".into(),
    }
}

async fn limited(tx: &mut sqlx::PgConnection, subject: &str, limit: i64) -> Result<()> {
    let since = Utc::now() - TimeDelta::minutes(WINDOW_MINUTES);
    let row = sqlx::query!(
        r#"select count(*) as "failures!", min(at) as oldest from sign_in_failures where subject = $1 and at > $2"#,
        subject,
        since,
    )
    .fetch_one(tx)
    .await?;
    match row.oldest {
        Some(oldest) if row.failures >= limit => {
            let seconds = (oldest - since).num_seconds();
            Err(Error::Limited { retry_after_s: u64::try_from(seconds).unwrap_or(0) + 1 })
        }
        _ => Ok(()),
    }
}

/// The person as a member of the organization; `None` when they are no longer one.
pub async fn viewer(db: &Db, person: PersonId, organization: OrgId) -> Result<Option<Viewer>> {
    let rows = sqlx::query!(
        "select p.name, p.email, o.id as organization_id, o.name as organization_name, m.role
         from people p join memberships m on m.person_id = p.id join organizations o on o.id = m.organization_id
         where p.id = $1 order by lower(o.name)",
        person.0,
    )
    .fetch_all(db.system())
    .await?;
    let organizations = rows.iter().map(|row| (OrgId(row.organization_id), row.organization_name.clone())).collect();
    Ok(rows.into_iter().find(|row| row.organization_id == organization.0).map(|row| Viewer {
        person_id: person,
        name: row.name,
        email: row.email,
        organization_id: organization,
        organization_name: row.organization_name,
        role: Role::parse(&row.role).unwrap_or(Role::Viewer),
        organizations,
    }))
}

/// For the command line: organizations by name, at most `limit`.
pub async fn organizations(db: &Db, limit: i64) -> Result<Vec<Organization>> {
    let rows = sqlx::query!("select id, name, created_at from organizations order by lower(name) limit $1", limit)
        .fetch_all(db.system())
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Organization { id: OrgId(row.id), name: row.name, created_at: row.created_at })
        .collect())
}

/// For the command line: an organization by its id or its whole name.
pub async fn organization_by_name_or_id(db: &Db, text: &str) -> Result<Organization> {
    let id = text.parse::<OrgId>().ok().map(|id| id.0);
    let mut rows = sqlx::query!(
        "select id, name, created_at from organizations where id = $1 or lower(name) = lower($2) limit 2",
        id,
        text
    )
    .fetch_all(db.system())
    .await?;
    if rows.len() > 1 {
        return Err(Error::Conflict(format!("Several organizations are named “{text}”. Give the id, org_….")));
    }
    let row = rows.pop().ok_or(Error::NotFound)?;
    Ok(Organization { id: OrgId(row.id), name: row.name, created_at: row.created_at })
}

/// Changes the person's password; their other sessions are ended by the caller.
pub async fn change_password(
    db: &Db,
    hasher: &Hasher,
    actor: &Actor,
    current: &SecretString,
    new: &SecretString,
) -> Result<()> {
    let person = actor.person_id.ok_or(Error::NotFound)?;
    let row =
        sqlx::query!("select email, password_hash from people where id = $1", person.0).fetch_one(db.system()).await?;
    if !password_is_right(db, hasher, &row.email, actor.ip, current, Some(row.password_hash)).await? {
        return Err(Error::field("current", "This is not your current password."));
    }
    passwords::check("password", new, &row.email).map_err(|e| Error::Invalid(vec![e]))?;
    let hash = hasher.hash(new).await?;
    let mut tx = db.system().begin().await?;
    sqlx::query!("update people set password_hash = $2 where id = $1", person.0, hash).execute(&mut *tx).await?;
    let entry = Entry {
        action: "person.password_changed",
        subject: person.to_string(),
        subject_name: &row.email,
        changes: vec![],
    };
    audit::store::append(&mut tx, actor, entry).await?;
    tx.commit().await?;
    Ok(())
}

/// Changes the person's own name.
pub async fn rename_person(db: &Db, actor: &Actor, name: &str) -> Result<()> {
    let person = actor.person_id.ok_or(Error::NotFound)?;
    let name = form::name("name", name).map_err(|e| Error::Invalid(vec![e]))?;
    let mut tx = db.system().begin().await?;
    let before =
        sqlx::query_scalar!("select name from people where id = $1 for update", person.0).fetch_one(&mut *tx).await?;
    if before != name {
        sqlx::query!("update people set name = $2 where id = $1", person.0, name).execute(&mut *tx).await?;
        let changes = vec![Change::new("name", Some(before), Some(name))];
        let entry = Entry { action: "person.renamed", subject: person.to_string(), subject_name: &actor.name, changes };
        audit::store::append(&mut tx, actor, entry).await?;
    }
    tx.commit().await?;
    Ok(())
}
