//! Invitations by link. The token in the link is shown once to the inviting person and kept as a hash only.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{
    Actor, Invitation, InvitationOffer, Role, form,
    members::{may_manage, may_touch},
    passwords::{self, Hasher},
    sign_in::{insert_person, password_is_right},
};
use crate::{
    Db, Error,
    audit::{self, Change, store::Entry},
    error::{OnConstraint, Result},
    ids::{InvitationId, OrgId, PersonId},
};

/// Days that an invitation stays open.
const OPEN_DAYS: i64 = 7;

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

pub async fn list(db: &Db, organization: OrgId) -> Result<Vec<Invitation>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        "select id, email, role, invited_by, created_at, expires_at from invitations
         where organization_id = $1 and accepted_at is null and revoked_at is null and expires_at > now()
         order by created_at desc",
        organization.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Invitation {
            id: InvitationId(row.id),
            email: row.email,
            role: Role::parse(&row.role).unwrap_or(Role::Viewer),
            invited_by: row.invited_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
        .collect())
}

/// Invites an address. Returns the token of the link; an earlier invitation of the same address must be withdrawn first
/// or have run out.
pub async fn create(db: &Db, actor: &Actor, email: &str, role: Role) -> Result<(InvitationId, SecretString)> {
    may_manage(actor)?;
    may_touch(actor, role)?;
    let email = form::email(email).map_err(|e| Error::Invalid(vec![e]))?;
    let member = sqlx::query_scalar!(
        r#"select exists(select from memberships m join people p on p.id = m.person_id
                         where m.organization_id = $1 and p.email = $2) as "member!""#,
        actor.organization_id.0,
        email,
    )
    .fetch_one(db.system())
    .await?;
    if member {
        return Err(Error::field("email", format!("{email} is already a member.")));
    }
    let token = SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let id = InvitationId::new();
    let mut tx = db.tenant(actor.organization_id).await?;
    still_may_give(&mut tx, actor, role).await?;
    sqlx::query!(
        "update invitations set revoked_at = now()
         where organization_id = $1 and email = $2 and accepted_at is null and revoked_at is null and expires_at <= now()",
        actor.organization_id.0,
        email,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into invitations (id, organization_id, email, role, token_hash, invited_by, expires_at) values ($1, $2, $3, $4, $5, $6, $7)",
        id.0,
        actor.organization_id.0,
        email,
        role.as_str(),
        hash(token.expose_secret()),
        actor.name,
        Utc::now() + TimeDelta::days(OPEN_DAYS),
    )
    .execute(&mut *tx)
    .await
    .on_constraint("invitations_open_email", || {
        Error::field("email", format!("{email} is already invited. Withdraw that invitation to make a new link."))
    })?;
    let changes = vec![Change::new("role", None, Some(role.as_str().into()))];
    audit::store::append(
        &mut tx,
        actor,
        Entry { action: "invitation.created", subject: id.to_string(), subject_name: &email, changes },
    )
    .await?;
    tx.commit().await?;
    Ok((id, token))
}

/// Whoever takes the right to invite from the actor does so before this, and is seen here, or waits, and then finds the
/// invitation that is being made.
async fn still_may_give(tx: &mut sqlx::PgConnection, actor: &Actor, role: Role) -> Result<()> {
    let Some(person) = actor.person_id else { return Ok(()) };
    let mine = sqlx::query_scalar!(
        "select role from memberships where organization_id = $1 and person_id = $2 for share",
        actor.organization_id.0,
        person.0,
    )
    .fetch_optional(tx)
    .await?;
    if mine.as_deref().and_then(Role::parse).is_some_and(|mine| mine.may_give(role)) {
        Ok(())
    } else {
        Err(Error::Forbidden("Your role was changed just now and does not allow this any more.".into()))
    }
}

pub async fn revoke(db: &Db, actor: &Actor, id: InvitationId) -> Result<()> {
    may_manage(actor)?;
    let mut tx = db.tenant(actor.organization_id).await?;
    withdraw(&mut tx, actor, id).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends an invitation that nobody accepted.
pub(super) async fn withdraw(tx: &mut sqlx::PgConnection, actor: &Actor, id: InvitationId) -> Result<()> {
    let email = sqlx::query_scalar!(
        "update invitations set revoked_at = now()
         where organization_id = $1 and id = $2 and accepted_at is null and revoked_at is null returning email",
        actor.organization_id.0,
        id.0,
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    audit::store::append(
        tx,
        actor,
        Entry { action: "invitation.revoked", subject: id.to_string(), subject_name: &email, changes: vec![] },
    )
    .await
}

/// What the link offers; `NotFound` when it was used, withdrawn, has run out or never was.
pub async fn offer(db: &Db, token: &str) -> Result<InvitationOffer> {
    let row = sqlx::query!(
        r#"select o.name, i.email, i.role, i.invited_by, exists(select from people p where p.email = i.email) as "has_account!"
           from invitations i join organizations o on o.id = i.organization_id
           where i.token_hash = $1 and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()"#,
        hash(token),
    )
    .fetch_optional(db.system())
    .await?
    .ok_or(Error::NotFound)?;
    Ok(InvitationOffer {
        organization_name: row.name,
        email: row.email,
        role: Role::parse(&row.role).unwrap_or(Role::Viewer),
        invited_by: row.invited_by,
        has_account: row.has_account,
    })
}

/// Joins the organization: a new person chooses name and password, a known one gives theirs.
pub async fn accept(
    db: &Db,
    hasher: &Hasher,
    token: &str,
    name: &str,
    password: &SecretString,
    ip: Option<IpAddr>,
) -> Result<(PersonId, OrgId)> {
    let offer = offer(db, token).await?;
    let known = sqlx::query!("select id, password_hash from people where email = $1", offer.email)
        .fetch_optional(db.system())
        .await?;
    let known = match known {
        Some(person) => {
            // The link alone must not open somebody's account: the same limits as for signing in.
            if !password_is_right(db, hasher, &offer.email, ip, password, Some(person.password_hash)).await? {
                return Err(Error::field("password", "This is not the password of your account."));
            }
            Some(PersonId(person.id))
        }
        None => None,
    };
    let (name, new_hash) = match known {
        Some(_) => (String::new(), String::new()),
        None => {
            let name = form::name("name", name);
            let password_ok = passwords::check("password", password, &offer.email);
            let errors: Vec<_> = [name.as_ref().err().cloned(), password_ok.err()].into_iter().flatten().collect();
            if !errors.is_empty() {
                return Err(Error::Invalid(errors));
            }
            (name.unwrap_or_default(), hasher.hash(password).await?)
        }
    };
    let mut tx = db.system().begin().await?;
    let row = sqlx::query!(
        "update invitations set accepted_at = now()
         where token_hash = $1 and accepted_at is null and revoked_at is null and expires_at > now()
         returning id, organization_id, role",
        hash(token),
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    let person = match known {
        Some(person) => person,
        None => insert_person(&mut tx, &offer.email, &name, &new_hash).await?,
    };
    let organization = OrgId(row.organization_id);
    sqlx::query!(
        "insert into memberships (organization_id, person_id, role) values ($1, $2, $3) on conflict do nothing",
        organization.0,
        person.0,
        row.role,
    )
    .execute(&mut *tx)
    .await?;
    let actor =
        Actor { organization_id: organization, person_id: Some(person), name: offer.email.clone(), ip, role: None };
    let changes = vec![Change::new("role", None, Some(row.role))];
    audit::store::append(
        &mut tx,
        &actor,
        Entry { action: "member.joined", subject: person.to_string(), subject_name: &offer.email, changes },
    )
    .await?;
    tx.commit().await?;
    Ok((person, organization))
}
