//! Sending again: one delivery at once, or all that match a filter as a background job.

use chrono::Utc;
use sqlx::types::Json;
use uuid::Uuid;

use super::{DeliveryFilter, DeliveryStatus, ResendJob, deliveries::Parts};
use crate::{
    Db, Error, Result,
    audit::{self, Change},
    ids::{DeliveryId, JobId, OrgId},
    keys::Environment,
    people::Actor,
    time::{self, Time},
};

/// Deliveries that one step of a job puts back.
const STEP: i64 = 1_000;

fn may_manage(actor: &Actor) -> Result<()> {
    if actor.may_manage_keys() {
        Ok(())
    } else {
        Err(Error::Forbidden("Your role is Viewer. Ask an admin to make you a developer to resend events.".into()))
    }
}

/// Puts a delivery back into the queue, whatever became of it, with the whole schedule before it. One that waits for
/// its next attempt is attempted now.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers; `Conflict` while it is being sent, or when its endpoint is disabled or deleted.
pub async fn one(db: &Db, actor: &Actor, only: Option<Environment>, id: DeliveryId) -> Result<()> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query!(
        r#"select d.status, d.endpoint_id, w.url, w.deleted_at is not null as "deleted!", w.disabled_at is not null as "disabled!"
           from deliveries d
           join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
           join events e on e.organization_id = d.organization_id and e.id = d.event_id
           where d.organization_id = $1 and d.id = $2 and ($3::text is null or e.environment = $3)
           for update of d"#,
        organization.0,
        id.0,
        only.map(Environment::as_str),
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    let conflict = |sentence: &str| Err(Error::Conflict(sentence.into()));
    if row.deleted {
        return conflict("The endpoint of this delivery was deleted.");
    }
    if row.disabled {
        return conflict("The endpoint of this delivery is disabled. Enable it first.");
    }
    if row.status == DeliveryStatus::Sending.as_str() {
        return conflict("This delivery is being sent right now.");
    }
    sqlx::query!(
        "update deliveries set status = 'pending', due = now(), attempts_before = attempt, finished_at = null
         where organization_id = $1 and id = $2",
        organization.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?;
    let entry = audit::store::Entry {
        action: "webhook.delivery_resent",
        subject: id.to_string(),
        subject_name: &row.url,
        changes: vec![],
    };
    audit::store::append(&mut tx, actor, entry).await?;
    sqlx::query("select pg_notify('bouncer_deliveries', $1)")
        .bind(row.endpoint_id.to_string())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// How many deliveries [`start`] would send again.
pub async fn count(db: &Db, organization: OrgId, filter: &DeliveryFilter) -> Result<u64> {
    let mut tx = db.tenant(organization).await?;
    count_in(&mut tx, organization, filter, Utc::now()).await
}

async fn count_in(tx: &mut sqlx::PgConnection, organization: OrgId, filter: &DeliveryFilter, now: Time) -> Result<u64> {
    let parts = Parts::from(filter);
    // The same conditions as in `step`.
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from deliveries d
           join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
           join events e on e.organization_id = d.organization_id and e.id = d.event_id
           where d.organization_id = $1 and d.status <> 'sending'
             and w.deleted_at is null and w.disabled_at is null
             and d.created_at < least($11::timestamptz, $12::timestamptz)
             and ($2::uuid is null or d.endpoint_id = $2)
             and ($3::text is null or d.status = $3)
             and ($4::text is null or d.kind = $4)
             and ($5::text is null or starts_with(d.kind, $5))
             and ($6::integer is null or coalesce(d.last_status / 100, 0) = $6 and d.last_attempt_at is not null)
             and ($7::text is null or e.environment = $7)
             and ($8::uuid is null or e.message_id = $8)
             and ($9::uuid is null or e.key_id = $9)
             and ($10::timestamptz is null or d.created_at >= $10)
             and (not $13 or d.attempt = 0)"#,
        organization.0,
        parts.endpoint,
        parts.status,
        parts.kind,
        parts.family,
        parts.class,
        parts.environment,
        parts.message,
        parts.key,
        filter.from,
        filter.to,
        now,
        filter.never_attempted,
    )
    .fetch_one(tx)
    .await?;
    Ok(count.unsigned_abs())
}

/// Starts sending again everything that matches the filter and exists now.
///
/// # Errors
/// `Forbidden` to viewers; `Conflict` while another job of the organization runs.
pub async fn start(db: &Db, actor: &Actor, filter: &DeliveryFilter) -> Result<ResendJob> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    let id = JobId::new();
    let now = Utc::now();
    let mut tx = db.tenant(organization).await?;
    // The organization's row stands for "one job at a time".
    sqlx::query!("select id from organizations where id = $1 for update", organization.0).fetch_one(&mut *tx).await?;
    let running = sqlx::query_scalar!(
        "select id from resend_jobs where organization_id = $1 and finished_at is null and cancelled_at is null limit 1",
        organization.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(running) = running {
        return Err(Error::Conflict(format!("{} is still resending. Wait for it, or cancel it.", JobId(running))));
    }
    let total = count_in(&mut tx, organization, filter, now).await?;
    sqlx::query!(
        "insert into resend_jobs (id, organization_id, created_at, created_by_name, filter, total, finished_at)
         values ($1, $2, $3, $4, $5, $6, case when $6::bigint = 0 then $3::timestamptz end)",
        id.0,
        organization.0,
        now,
        actor.name,
        Json(filter) as _,
        total.cast_signed(),
    )
    .execute(&mut *tx)
    .await?;
    let entry = audit::store::Entry {
        action: "webhook.deliveries_resent",
        subject: id.to_string(),
        subject_name: "",
        changes: what(&mut tx, organization, filter, total).await?,
    };
    audit::store::append(&mut tx, actor, entry).await?;
    sqlx::query("select pg_notify('bouncer_deliveries', '')").execute(&mut *tx).await?;
    tx.commit().await?;
    job(db, organization, None, id).await
}

/// What was resent, in words for the audit log: how many, and each part of the filter.
async fn what(
    tx: &mut sqlx::PgConnection,
    organization: OrgId,
    filter: &DeliveryFilter,
    total: u64,
) -> Result<Vec<Change>> {
    let endpoint = match filter.endpoint {
        Some(id) => {
            let url = sqlx::query_scalar!(
                "select url from webhook_endpoints where organization_id = $1 and id = $2",
                organization.0,
                id.0,
            );
            // One that is not there matches nothing.
            Some(url.fetch_optional(tx).await?.unwrap_or_else(|| id.to_string()))
        }
        None => None,
    };
    let fields = [
        ("deliveries", Some(total.to_string())),
        ("endpoint", endpoint),
        ("status", filter.status.map(|status| status.as_str().to_owned())),
        ("event", filter.event.clone()),
        (
            "answered with",
            filter.code_class.map(|class| if class == 0 { "nothing".into() } else { format!("{class}xx") }),
        ),
        ("environment", filter.environment.map(|environment| environment.as_str().to_owned())),
        ("message", filter.message.map(|id| id.to_string())),
        ("key", filter.key.map(|id| id.to_string())),
        ("from", filter.from.map(time::exact)),
        ("to", filter.to.map(time::exact)),
        ("attempted", filter.never_attempted.then(|| "never".to_owned())),
    ];
    Ok(fields
        .into_iter()
        .filter_map(|(field, value)| value.map(|value| Change::new(field, None, Some(value))))
        .collect())
}

struct Row {
    id: Uuid,
    created_at: Time,
    created_by_name: String,
    filter: Json<DeliveryFilter>,
    total: i64,
    done: i64,
    finished_at: Option<Time>,
    cancelled_at: Option<Time>,
}

/// # Errors
/// `NotFound`.
pub async fn job(db: &Db, organization: OrgId, only: Option<Environment>, id: JobId) -> Result<ResendJob> {
    let mut tx = db.tenant(organization).await?;
    let row = sqlx::query_as!(
        Row,
        r#"select id, created_at, created_by_name, filter as "filter: Json<DeliveryFilter>", total, done, finished_at, cancelled_at
           from resend_jobs
           where organization_id = $1 and id = $2 and ($3::text is null or filter ->> 'environment' = $3)"#,
        organization.0,
        id.0,
        only.map(Environment::as_str),
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Error::NotFound)?;
    Ok(ResendJob {
        id: JobId(row.id),
        created_at: row.created_at,
        created_by: row.created_by_name,
        filter: row.filter.0,
        total: row.total.unsigned_abs(),
        done: row.done.unsigned_abs(),
        finished_at: row.finished_at,
        cancelled_at: row.cancelled_at,
    })
}

/// Stops a job; what it has put back already will be sent. Nothing happens when it has ended.
///
/// # Errors
/// `NotFound`; `Forbidden` to viewers.
pub async fn cancel(db: &Db, actor: &Actor, only: Option<Environment>, id: JobId) -> Result<ResendJob> {
    may_manage(actor)?;
    let organization = actor.organization_id;
    job(db, organization, only, id).await?;
    let mut tx = db.tenant(organization).await?;
    let stopped = sqlx::query!(
        "update resend_jobs set cancelled_at = now()
         where organization_id = $1 and id = $2 and finished_at is null and cancelled_at is null",
        organization.0,
        id.0,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if stopped > 0 {
        let entry = audit::store::Entry {
            action: "webhook.resend_cancelled",
            subject: id.to_string(),
            subject_name: "",
            changes: vec![],
        };
        audit::store::append(&mut tx, actor, entry).await?;
    }
    tx.commit().await?;
    job(db, organization, only, id).await
}

/// Takes a job that no other server is at one step further, and says which one; `None` when there is none.
///
/// `after`: the one that was taken before. The next one has its turn, after the last the first again: an organization
/// has one job, so that none waits for another's to end.
pub async fn step(db: &Db, after: Option<JobId>) -> Result<Option<JobId>> {
    let mut tx = db.system().begin().await?;
    let job = sqlx::query!(
        r#"select id, organization_id, created_at, filter as "filter: Json<DeliveryFilter>", cursor_id
           from resend_jobs
           where finished_at is null and cancelled_at is null
           order by coalesce(id <= $1, false), id
           limit 1
           for update skip locked"#,
        after.map(|after| after.0),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(job) = job else { return Ok(None) };
    let parts = Parts::from(&job.filter.0);
    // From the newest back to the oldest, by id: a delivery that was put back is passed, and never met again.
    let put_back = sqlx::query!(
        r#"with picked as (
               select d.id
               from deliveries d
               join webhook_endpoints w on w.organization_id = d.organization_id and w.id = d.endpoint_id
               join events e on e.organization_id = d.organization_id and e.id = d.event_id
               where d.organization_id = $1 and d.status <> 'sending'
                 and w.deleted_at is null and w.disabled_at is null
                 and ($14::uuid is null or d.id < $14)
                 and d.created_at < least($11::timestamptz, $12::timestamptz)
                 and ($2::uuid is null or d.endpoint_id = $2)
                 and ($3::text is null or d.status = $3)
                 and ($4::text is null or d.kind = $4)
                 and ($5::text is null or starts_with(d.kind, $5))
                 and ($6::integer is null or coalesce(d.last_status / 100, 0) = $6 and d.last_attempt_at is not null)
                 and ($7::text is null or e.environment = $7)
                 and ($8::uuid is null or e.message_id = $8)
                 and ($9::uuid is null or e.key_id = $9)
                 and ($10::timestamptz is null or d.created_at >= $10)
                 and (not $13 or d.attempt = 0)
               order by d.id desc
               limit $15
               for update of d
           )
           update deliveries d
           set status = 'pending', due = now(), attempts_before = attempt, finished_at = null
           from picked where d.id = picked.id
           returning d.id, d.endpoint_id"#,
        job.organization_id,
        parts.endpoint,
        parts.status,
        parts.kind,
        parts.family,
        parts.class,
        parts.environment,
        parts.message,
        parts.key,
        job.filter.0.from,
        job.filter.0.to,
        job.created_at,
        job.filter.0.never_attempted,
        job.cursor_id,
        STEP,
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = put_back.len() as i64;
    sqlx::query!(
        "update resend_jobs
         set done = done + $2, cursor_id = coalesce($3, cursor_id),
             finished_at = case when $2 < $4 then now() end
         where id = $1",
        job.id,
        count,
        put_back.iter().map(|row| row.id).min(),
        STEP,
    )
    .execute(&mut *tx)
    .await?;
    if count > 0 {
        sqlx::query("select pg_notify('bouncer_deliveries', '')").execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Some(JobId(job.id)))
}
