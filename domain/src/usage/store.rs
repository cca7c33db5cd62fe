//! Writing calls in batches, and the questions about one key.

use std::collections::HashMap;

use chrono::{DateTime, DurationRound, NaiveDate, TimeDelta, Utc};
use ipnet::IpNet;
use uuid::Uuid;

use super::{CallSeen, RequestRow};
use crate::{
    Db,
    audit::{self, Change},
    error::Result,
    gate::{Denial, cache::KeyCache},
    ids::{KeyId, OrgId, RequestId},
    time::Time,
};

/// Days that request rows are kept.
const KEEP_REQUESTS_DAYS: i64 = 30;
/// Days that rollups are kept, by grain.
const KEEP_ROLLUPS: [(&str, i64); 3] = [("minute", 8), ("hour", 100), ("day", 800)];
/// Partitions that are made ahead.
const PARTITIONS_AHEAD: i64 = 3;

/// Writes a batch in one transaction: request rows, rollups, last use, rate windows; and announces the calls of keys
/// that were never let through before, for the first-call radar.
pub async fn write(db: &Db, server: Uuid, rows: &[RequestRow]) -> Result<()> {
    let owned: Vec<(&RequestRow, OrgId, KeyId)> =
        rows.iter().filter_map(|row| row.owner.map(|(organization, key, _)| (row, organization, key))).collect();
    if owned.is_empty() {
        return Ok(());
    }
    let mut tx = db.system().begin().await?;
    // What is lost when the machine dies right now are calls of the last fraction of a second in a statistic:
    // not worth a disk flush four times a second.
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    insert_rows(&mut tx, &owned).await?;
    insert_rollups(&mut tx, &owned).await?;
    insert_windows(&mut tx, server, &owned).await?;
    touch_keys(&mut tx, &owned).await?;
    tx.commit().await?;
    Ok(())
}

type Owned<'a> = [(&'a RequestRow, OrgId, KeyId)];

async fn insert_rows(tx: &mut sqlx::PgConnection, rows: &Owned<'_>) -> Result<()> {
    let column = |f: &dyn Fn(&RequestRow) -> String| rows.iter().map(|(row, ..)| f(row)).collect::<Vec<_>>();
    sqlx::query!(
        "insert into request_log (id, at, organization_id, key_id, secret_id, method, endpoint, status, outcome, scope, ip, user_agent, latency_us)
         select * from unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
                              $8::smallint[], $9::text[], $10::text[], $11::inet[], $12::text[], $13::integer[])",
        &rows.iter().map(|(row, ..)| row.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(row, ..)| row.at).collect::<Vec<_>>(),
        &rows.iter().map(|(_, organization, _)| organization.0).collect::<Vec<_>>(),
        &rows.iter().map(|(.., key)| key.0).collect::<Vec<_>>(),
        &rows.iter().filter_map(|(row, ..)| row.owner.map(|(.., secret)| secret.0)).collect::<Vec<_>>(),
        &column(&|row| row.method.to_owned()),
        &column(&|row| row.endpoint.to_owned()),
        &rows.iter().map(|(row, ..)| row.status.cast_signed()).collect::<Vec<_>>(),
        &column(&|row| row.outcome.to_owned()),
        &rows.iter().map(|(row, ..)| row.scope.map(|s| s.as_str().to_owned())).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|(row, ..)| IpNet::from(row.ip)).collect::<Vec<_>>(),
        &column(&|row| row.user_agent.replace('\0', "")),
        &rows.iter().map(|(row, ..)| row.latency_us.cast_signed()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_rollups(tx: &mut sqlx::PgConnection, rows: &Owned<'_>) -> Result<()> {
    type Key<'a> = (OrgId, KeyId, &'static str, Time, &'a str, &'a str, i16);
    let mut sums: HashMap<Key<'_>, (i64, i64)> = HashMap::new();
    for (row, organization, key) in rows {
        for (grain, length) in
            [("minute", TimeDelta::minutes(1)), ("hour", TimeDelta::hours(1)), ("day", TimeDelta::days(1))]
        {
            let bucket = row.at.duration_trunc(length).map_err(crate::Error::internal)?;
            let sum = sums
                .entry((*organization, *key, grain, bucket, row.endpoint, row.outcome, row.status.cast_signed()))
                .or_default();
            sum.0 += 1;
            sum.1 += i64::from(row.latency_us);
        }
    }
    // In one order for all servers: two batches that touch the same rows then wait instead of dead-locking.
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    sqlx::query!(
        "insert into usage_rollups as r (organization_id, key_id, grain, bucket, endpoint, outcome, status, calls, latency_us)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::smallint[],
                              $8::bigint[], $9::bigint[])
         on conflict (organization_id, key_id, grain, bucket, endpoint, outcome, status)
         do update set calls = r.calls + excluded.calls, latency_us = r.latency_us + excluded.latency_us",
        &sums.iter().map(|(k, _)| k.0.0).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.1.0).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.2.to_owned()).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.3).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.4.to_owned()).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.5.to_owned()).collect::<Vec<_>>(),
        &sums.iter().map(|(k, _)| k.6).collect::<Vec<_>>(),
        &sums.iter().map(|(_, v)| v.0).collect::<Vec<_>>(),
        &sums.iter().map(|(_, v)| v.1).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_windows(tx: &mut sqlx::PgConnection, server: Uuid, rows: &Owned<'_>) -> Result<()> {
    let mut sums: HashMap<(KeyId, Time), i32> = HashMap::new();
    for (row, _, key) in rows.iter().filter(|(row, ..)| row.outcome == super::ALLOWED) {
        let minute = row.at.duration_trunc(TimeDelta::minutes(1)).map_err(crate::Error::internal)?;
        *sums.entry((*key, minute)).or_default() += 1;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable();
    sqlx::query!(
        "insert into rate_windows as w (key_id, server_id, minute, calls)
         select key_id, $1, minute, calls from unnest($2::uuid[], $3::timestamptz[], $4::integer[]) as n (key_id, minute, calls)
         on conflict (key_id, minute, server_id)
         do update set calls = w.calls + excluded.calls, changed_at = clock_timestamp()",
        server,
        &sums.iter().map(|((key, _), _)| key.0).collect::<Vec<_>>(),
        &sums.iter().map(|((_, minute), _)| *minute).collect::<Vec<_>>(),
        &sums.iter().map(|(_, calls)| *calls).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Last use of the keys that were let through, and the announcement of first calls.
async fn touch_keys(tx: &mut sqlx::PgConnection, rows: &Owned<'_>) -> Result<()> {
    let mut last: HashMap<KeyId, &RequestRow> = HashMap::new();
    for (row, _, key) in rows {
        let newest = last.entry(*key).or_insert(row);
        // A call that was let through counts more than a later one that was not.
        let rank = |r: &RequestRow| (r.outcome == super::ALLOWED, r.at);
        if rank(row) > rank(newest) {
            *newest = row;
        }
    }
    let mut last: Vec<_> = last.into_iter().collect();
    last.sort_unstable_by_key(|(key, _)| *key);
    let keys: Vec<Uuid> = last.iter().map(|(key, _)| key.0).collect();
    // Before the update, which makes the keys used.
    sqlx::query(
        "select pg_notify('bouncer_calls', id::text) from api_keys where id = any($1) and first_used_at is null",
    )
    .bind(&keys)
    .execute(&mut *tx)
    .await?;
    let used: Vec<_> = last.iter().filter(|(_, row)| row.outcome == super::ALLOWED).collect();
    sqlx::query!(
        "update api_keys k
         set last_used_at = n.at, last_used_ip = n.ip, last_used_user_agent = n.user_agent,
             first_used_at = coalesce(k.first_used_at, n.at)
         from (select k.id, n.at, n.ip, n.user_agent
               from api_keys k
               join unnest($1::uuid[], $2::timestamptz[], $3::inet[], $4::text[]) as n (id, at, ip, user_agent) on n.id = k.id
               order by k.id for update of k) n
         where k.id = n.id and (k.last_used_at is null or k.last_used_at < n.at)",
        &used.iter().map(|(key, _)| key.0).collect::<Vec<_>>(),
        &used.iter().map(|(_, row)| row.at).collect::<Vec<_>>(),
        &used.iter().map(|(_, row)| IpNet::from(row.ip)).collect::<Vec<_>>(),
        &used.iter().map(|(_, row)| row.user_agent.replace('\0', "")).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Learns what other servers let through. To be called each second.
pub async fn sync_windows(db: &Db, cache: &KeyCache) -> Result<()> {
    // Three seconds back, so that a transaction that was open during the last look is not missed.
    let rows = sqlx::query!(
        r#"select w.key_id, w.minute, sum(w.calls) as "calls!"
           from rate_windows w
           where w.server_id <> $1
             and (w.key_id, w.minute) in (
                 select key_id, minute from rate_windows
                 where server_id <> $1 and changed_at > clock_timestamp() - interval '4 seconds')
           group by w.key_id, w.minute"#,
        cache.server(),
    )
    .fetch_all(db.system())
    .await?;
    for row in rows {
        cache.set_foreign(
            KeyId(row.key_id),
            row.minute.timestamp_millis(),
            u32::try_from(row.calls).unwrap_or(u32::MAX),
        );
    }
    Ok(())
}

/// What the radar shows: the first call that was let through, or else the latest refused ones.
pub async fn first_calls(db: &Db, organization: OrgId, key: KeyId) -> Result<Vec<CallSeen>> {
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query!(
        r#"(select id as "id!", at as "at!", method as "method!", endpoint as "endpoint!", status as "status!",
                 outcome as "outcome!", ip as "ip!", user_agent as "user_agent!"
          from request_log where organization_id = $1 and key_id = $2 and outcome = 'allowed' order by at limit 1)
         union all
         (select id, at, method, endpoint, status, outcome, ip, user_agent from request_log
          where organization_id = $1 and key_id = $2 and outcome <> 'allowed' order by at desc limit 5)"#,
        organization.0,
        key.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    let calls: Vec<CallSeen> = rows
        .into_iter()
        .map(|row| {
            let allowed = row.outcome == super::ALLOWED;
            CallSeen {
                request_id: RequestId(row.id),
                at: row.at,
                allowed,
                reason: (!allowed).then(|| Denial::sentence(&row.outcome).to_owned()),
                outcome: row.outcome,
                method: row.method,
                endpoint: row.endpoint,
                status: row.status.into(),
                ip: Some(row.ip.addr()),
                user_agent: row.user_agent,
            }
        })
        .collect();
    Ok(match calls.iter().position(|call| call.allowed) {
        Some(first) => vec![calls[first].clone()],
        None => calls,
    })
}

/// Partitions ahead, retention, ended sessions, and what time alone brings about: expiry warnings and denial spikes.
/// At start and every ten minutes; servers take turns.
pub async fn housekeeping(db: &Db, now: Time) -> Result<()> {
    let mut tx = db.system().begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('housekeeping', 0))").execute(&mut *tx).await?;
    make_partitions(&mut tx, now.date_naive()).await?;
    drop_partitions(&mut tx, now.date_naive() - TimeDelta::days(KEEP_REQUESTS_DAYS)).await?;
    for (grain, days) in KEEP_ROLLUPS {
        sqlx::query!("delete from usage_rollups where grain = $1 and bucket < $2", grain, now - TimeDelta::days(days))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query!("delete from rate_windows where minute < $1", now - TimeDelta::hours(2)).execute(&mut *tx).await?;
    sqlx::query!("delete from sessions where expires_at < $1", now).execute(&mut *tx).await?;
    sqlx::query!("delete from sign_in_failures where at < $1", now - TimeDelta::days(1)).execute(&mut *tx).await?;
    warn_of_expiry(&mut tx, now).await?;
    note_denial_spikes(&mut tx, now).await?;
    tx.commit().await?;
    Ok(())
}

async fn make_partitions(tx: &mut sqlx::PgConnection, today: NaiveDate) -> Result<()> {
    for ahead in 0..=PARTITIONS_AHEAD {
        let day = today + TimeDelta::days(ahead);
        let name = format!("request_log_{}", day.format("%Y%m%d"));
        let there =
            sqlx::query_scalar!(r#"select to_regclass($1) is not null as "there!""#, name).fetch_one(&mut *tx).await?;
        if there {
            continue;
        }
        let next = day + TimeDelta::days(1);
        // Rows of a day whose partition was late are in the default one; they move, or the partition could not be attached.
        for statement in [
            format!("create table {name} (like request_log including defaults)"),
            format!("revoke all on {name} from bouncer_app"),
            format!(
                "with moved as (delete from request_log_rest where at >= '{day}T00:00:00Z' and at < '{next}T00:00:00Z' returning *) insert into {name} select * from moved"
            ),
            format!(
                "alter table request_log attach partition {name} for values from ('{day}T00:00:00Z') to ('{next}T00:00:00Z')"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
    }
    Ok(())
}

async fn drop_partitions(tx: &mut sqlx::PgConnection, before: NaiveDate) -> Result<()> {
    let names = sqlx::query_scalar!(
        r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'request_log'::regclass and c.relname < $1 and c.relname <> 'request_log_rest'"#,
        format!("request_log_{}", before.format("%Y%m%d")),
    )
    .fetch_all(&mut *tx)
    .await?;
    for name in names {
        sqlx::query(sqlx::AssertSqlSafe(format!("drop table {name}"))).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Warnings 14, 3 and 1 days before a key ends, each once.
async fn warn_of_expiry(tx: &mut sqlx::PgConnection, now: Time) -> Result<()> {
    let keys = sqlx::query!(
        r#"with due as (
               select id, case when expires_at <= $1::timestamptz + interval '1 day' then 1 when expires_at <= $1::timestamptz + interval '3 days' then 3 else 14 end as days
               from api_keys
               where revoked_at is null and expires_at > $1 and expires_at <= $1::timestamptz + interval '14 days'
               order by id for update)
           update api_keys k set expiry_warned = due.days from due
           where k.id = due.id and (k.expiry_warned is null or k.expiry_warned > due.days)
           returning k.id, k.organization_id, k.name, k.expires_at as "expires_at!""#,
        now,
    )
    .fetch_all(&mut *tx)
    .await?;
    for key in keys {
        note(
            tx,
            OrgId(key.organization_id),
            KeyId(key.id),
            &key.name,
            "api_key.expiring",
            Change::new("expires", None, Some(crate::time::exact(key.expires_at))),
        )
        .await?;
    }
    Ok(())
}

/// Keys with a hundred refused calls in the last hour, at most once in six hours a key.
async fn note_denial_spikes(tx: &mut sqlx::PgConnection, now: Time) -> Result<()> {
    let spikes = sqlx::query!(
        r#"select r.organization_id, r.key_id, k.name, sum(r.calls)::bigint as "calls!",
                  mode() within group (order by r.outcome) as "outcome!"
           from usage_rollups r join api_keys k on k.id = r.key_id
           where r.grain = 'minute' and r.bucket > $1::timestamptz - interval '1 hour' and r.outcome <> 'allowed'
           group by r.organization_id, r.key_id, k.name
           having sum(r.calls) >= 100"#,
        now,
    )
    .fetch_all(&mut *tx)
    .await?;
    for spike in spikes {
        let (organization, key) = (OrgId(spike.organization_id), KeyId(spike.key_id));
        let known = sqlx::query_scalar!(
            r#"select exists(select from audit_log where organization_id = $1 and subject = $2
                             and action = 'api_key.denial_spike' and at > $3::timestamptz - interval '6 hours') as "known!""#,
            organization.0,
            key.to_string(),
            now,
        )
        .fetch_one(&mut *tx)
        .await?;
        if !known {
            let text = format!("{} calls in an hour, such as: {}", spike.calls, Denial::sentence(&spike.outcome));
            note(tx, organization, key, &spike.name, "api_key.denial_spike", Change::new("denied", None, Some(text)))
                .await?;
        }
    }
    Ok(())
}

async fn note(
    tx: &mut sqlx::PgConnection,
    organization: OrgId,
    key: KeyId,
    name: &str,
    action: &'static str,
    change: Change,
) -> Result<()> {
    let entry = audit::store::Entry { action, subject: key.to_string(), subject_name: name, changes: vec![change] };
    audit::store::append_as(tx, organization, None, "Bouncer", None, entry).await
}

/// The start of the hour that `at` is in.
pub fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}
