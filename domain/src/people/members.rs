//! The members of an organization.

use super::{Actor, Member, Organization, Role, form, invitations};
use crate::{
    Db, Error,
    audit::{self, Change, store::Entry},
    error::Result,
    ids::{InvitationId, OrgId, PersonId},
};

pub(super) fn may_manage(actor: &Actor) -> Result<()> {
    if actor.may_manage_members() {
        Ok(())
    } else {
        Err(Error::Forbidden("Only owners and admins manage members and the organization.".into()))
    }
}

/// Owners are made and removed by owners only.
pub(super) fn may_touch(actor: &Actor, role: Role) -> Result<()> {
    if role == Role::Owner && actor.role.is_some_and(|mine| mine != Role::Owner) {
        Err(Error::Forbidden("Only an owner can make or remove owners.".into()))
    } else {
        Ok(())
    }
}

pub async fn organization(db: &Db, organization: OrgId) -> Result<Organization> {
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query!("select id, name, created_at from organizations where id = $1", organization.0)
        .fetch_one(&mut *tx)
        .await?;
    Ok(Organization { id: OrgId(row.id), name: row.name, created_at: row.created_at })
}

pub async fn rename_organization(db: &Db, actor: &Actor, name: &str) -> Result<()> {
    may_manage(actor)?;
    let name = form::name("name", name).map_err(|e| Error::Invalid(vec![e]))?;
    let mut tx = db.tenant(actor.organization_id).await?;
    let id = actor.organization_id;
    let before = sqlx::query_scalar!("select name from organizations where id = $1 for update", id.0)
        .fetch_one(&mut *tx)
        .await?;
    if before != name {
        sqlx::query!("update organizations set name = $2 where id = $1", id.0, name).execute(&mut *tx).await?;
        let changes = vec![Change::new("name", Some(before), Some(name.clone()))];
        audit::store::append(
            &mut tx,
            actor,
            Entry { action: "organization.renamed", subject: id.to_string(), subject_name: &name, changes },
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

pub async fn list(db: &Db, organization: OrgId) -> Result<Vec<Member>> {
    // As the owner of the tables: people and sessions are shared by organizations and closed to the tenant role.
    let rows = sqlx::query!(
        r#"select p.id, p.name, p.email, m.role, m.joined_at,
                  (select max(s.last_seen_at) from sessions s where s.person_id = p.id) as last_seen_at,
                  (select count(*) from api_keys k where k.organization_id = $1 and k.created_by = p.id) as "keys_created!"
           from memberships m join people p on p.id = m.person_id
           where m.organization_id = $1
           order by array_position(array['owner', 'admin', 'developer', 'viewer'], m.role), lower(p.name)"#,
        organization.0,
    )
    .fetch_all(db.system())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Member {
            person_id: PersonId(row.id),
            name: row.name,
            email: row.email,
            role: Role::parse(&row.role).unwrap_or(Role::Viewer),
            joined_at: row.joined_at,
            last_seen_at: row.last_seen_at,
            keys_created: row.keys_created,
        })
        .collect())
}

struct Found {
    email: String,
    role: Role,
}

async fn load(tx: &mut sqlx::PgConnection, organization: OrgId, person: PersonId) -> Result<Found> {
    // All owners are locked with the member: two owners who demote each other at once must not leave none.
    let rows = sqlx::query!(
        "select m.person_id, m.role, p.email from memberships m join people p on p.id = m.person_id
         where m.organization_id = $1 and (m.person_id = $2 or m.role = 'owner') order by m.person_id for update of m",
        organization.0,
        person.0,
    )
    .fetch_all(tx)
    .await?;
    let owners = rows.iter().filter(|row| row.role == Role::Owner.as_str()).count();
    let row = rows.into_iter().find(|row| row.person_id == person.0).ok_or(Error::NotFound)?;
    let role = Role::parse(&row.role).unwrap_or(Role::Viewer);
    if role == Role::Owner && owners == 1 {
        return Err(Error::Conflict(format!("{} is the only owner. Make somebody else an owner first.", row.email)));
    }
    Ok(Found { email: row.email, role })
}

/// Withdraws the open invitations of a member that they could not make any more with the role that they are `left` with:
/// nobody comes back by a link that they kept. Invitations name their maker by the e-mail address, which never changes.
///
/// Before anything else is written to the audit log, whose lock comes last: whoever accepts one of them waits for it.
async fn withdraw_invitations(
    tx: &mut sqlx::PgConnection,
    actor: &Actor,
    inviter: &str,
    left: Option<Role>,
) -> Result<()> {
    let open = sqlx::query!(
        "select id, role from invitations
         where organization_id = $1 and invited_by = $2
           and accepted_at is null and revoked_at is null and expires_at > now()
         order by id for update",
        actor.organization_id.0,
        inviter,
    )
    .fetch_all(&mut *tx)
    .await?;
    for invitation in open {
        let role = Role::parse(&invitation.role);
        if !left.zip(role).is_some_and(|(left, role)| left.may_give(role)) {
            invitations::withdraw(tx, actor, InvitationId(invitation.id)).await?;
        }
    }
    Ok(())
}

pub async fn set_role(db: &Db, actor: &Actor, person: PersonId, role: Role) -> Result<()> {
    may_manage(actor)?;
    may_touch(actor, role)?;
    let mut tx = db.system().begin().await?;
    let current = sqlx::query_scalar!(
        "select role from memberships where organization_id = $1 and person_id = $2",
        actor.organization_id.0,
        person.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    if current == role.as_str() {
        return Ok(());
    }
    let member = load(&mut tx, actor.organization_id, person).await?;
    may_touch(actor, member.role)?;
    sqlx::query!(
        "update memberships set role = $3 where organization_id = $1 and person_id = $2",
        actor.organization_id.0,
        person.0,
        role.as_str(),
    )
    .execute(&mut *tx)
    .await?;
    withdraw_invitations(&mut tx, actor, &member.email, Some(role)).await?;
    let changes = vec![Change::new("role", Some(member.role.as_str().into()), Some(role.as_str().into()))];
    audit::store::append(
        &mut tx,
        actor,
        Entry { action: "member.role_changed", subject: person.to_string(), subject_name: &member.email, changes },
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Removes a member; the keys they made belong to the organization and stay. Their sessions here end with the next click,
/// and the invitations that they made and nobody accepted are withdrawn.
pub async fn remove(db: &Db, actor: &Actor, person: PersonId) -> Result<()> {
    may_manage(actor)?;
    let mut tx = db.system().begin().await?;
    let member = load(&mut tx, actor.organization_id, person).await?;
    may_touch(actor, member.role)?;
    sqlx::query!(
        "delete from memberships where organization_id = $1 and person_id = $2",
        actor.organization_id.0,
        person.0
    )
    .execute(&mut *tx)
    .await?;
    withdraw_invitations(&mut tx, actor, &member.email, None).await?;
    audit::store::append(
        &mut tx,
        actor,
        Entry { action: "member.removed", subject: person.to_string(), subject_name: &member.email, changes: vec![] },
    )
    .await?;
    tx.commit().await?;
    Ok(())
}
