//! Writing calls in batches, and the questions about one key.

use chrono::{DateTime, DurationRound, NaiveDate, TimeDelta, Utc};
use ipnet::IpNet;
use uuid::Uuid;

use super::{
    CallSeen, Passed, RequestRow, Rows, Tally, rows,
    tally::{KeyTally, Place, Sort, Sum},
};
use crate::{
    Db,
    audit::{self, Change},
    error::Result,
    gate::{Denial, cache::KeyCache},
    ids::{KeyId, OrgId, RequestId},
    keys::Environment,
    time::Time,
    webhooks::events::{self, NewEvent},
};

/// Days that request rows are kept.
const KEEP_REQUESTS_DAYS: i64 = 30;
/// Days that rollups are kept, by grain.
const KEEP_ROLLUPS: [(&str, i64); 3] = [("minute", 8), ("hour", 100), ("day", 800)];
/// Grains of the rollups and their lengths in seconds.
const GRAINS: [(&str, i64); 3] = [("minute", 60), ("hour", 3_600), ("day", 86_400)];
/// Bytes of a batch that are sent at once.
const COPY_PART: usize = 32 * 1024;
/// Partitions that are made ahead.
const PARTITIONS_AHEAD: i64 = 3;

/// Puts rows into the request log.
pub async fn write_rows(db: &Db, rows: &Rows) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut tx = begin(db).await?;
    let mut copy = tx.copy_in_raw(rows::COPY).await?;
    // In parts that fit the driver's own buffer, which would grow to the whole and shrink again each time.
    for part in rows.body().chunks(COPY_PART) {
        copy.send(part).await?;
    }
    copy.send(&Rows::trailer()[..]).await?;
    copy.finish().await?;
    tx.commit().await?;
    Ok(())
}

/// Adds to the figures of the keys and notes their last use. Answers with the keys that were never let through before:
/// they are to be announced once their calls are in the request log ([`announce`]).
pub async fn write_tally(db: &Db, tally: &Tally) -> Result<Vec<KeyId>> {
    if tally.is_empty() {
        return Ok(Vec::new());
    }
    // In one order for all servers: two that touch the same rows then wait instead of dead-locking.
    let mut keys: Vec<&KeyTally> = tally.keys().iter().collect();
    keys.sort_unstable_by_key(|tally| tally.key);
    let mut tx = begin(db).await?;
    add_to_rollups(&mut tx, &keys).await?;
    let new = touch_keys(&mut tx, &keys).await?;
    tx.commit().await?;
    Ok(new)
}

/// Tells the first-call radar to look at the calls of these keys.
pub async fn announce(db: &Db, keys: &[KeyId]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query("select pg_notify('bouncer_calls', id::text) from unnest($1::uuid[]) as n (id)")
        .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
        .execute(db.system())
        .await?;
    Ok(())
}

/// Tells other servers, and this one after a restart, what was let through.
pub async fn write_passed(db: &Db, server: Uuid, passed: &Passed) -> Result<()> {
    if passed.is_empty() {
        return Ok(());
    }
    let mut sums: Vec<(Uuid, i64, i32)> = passed
        .keys
        .iter()
        .flat_map(|(key, minutes)| minutes.iter().map(|(minute_s, calls)| (key.0, *minute_s, *calls)))
        .collect();
    sums.sort_unstable();
    let mut tx = begin(db).await?;
    sqlx::query!(
        "insert into rate_windows as w (key_id, server_id, minute, calls)
         select key_id, $1, to_timestamp(minute), calls from unnest($2::uuid[], $3::bigint[], $4::integer[]) as n (key_id, minute, calls)
         on conflict (key_id, minute, server_id)
         do update set calls = w.calls + excluded.calls, changed_at = clock_timestamp()",
        server,
        &sums.iter().map(|(key, ..)| *key).collect::<Vec<_>>(),
        &sums.iter().map(|(_, minute_s, _)| *minute_s).collect::<Vec<_>>(),
        &sums.iter().map(|(.., calls)| *calls).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// All that is made of calls, at once: for whoever has them in his hand.
pub async fn write(db: &Db, server: Uuid, calls: &[RequestRow<'_>]) -> Result<()> {
    let (mut rows, mut tally, mut passed) = (Rows::default(), Tally::default(), Passed::default());
    for call in calls {
        rows.push(call);
        if !tally.count(call, &Place::default()) {
            return Err(crate::Error::Internal("too many different calls at once".into()));
        }
    }
    tally.pass_on(&mut passed);
    write_passed(db, server, &passed).await?;
    let new = write_tally(db, &tally).await?;
    write_rows(db, &rows).await?;
    announce(db, &new).await
}

async fn begin(db: &Db) -> Result<sqlx::PgTransaction<'static>> {
    let mut tx = db.system().begin().await?;
    // What is lost when the machine dies right now are calls of the last moments in a statistic: not worth a disk
    // flush several times a second.
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    Ok(tx)
}

/// Adds to the minutes, hours and days. The keys come in order.
async fn add_to_rollups(tx: &mut sqlx::PgConnection, keys: &[&KeyTally]) -> Result<()> {
    let rows = keys.iter().map(|tally| 3 * tally.len()).sum();
    let (mut ids, mut organizations) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let (mut grains, mut buckets) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    // Few different texts: each is sent once, and rows name it by its place.
    let mut names = Names::default();
    let (mut endpoints, mut outcomes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let (mut statuses, mut calls, mut latencies) =
        (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut sums: Vec<(Sort, Sum)> = Vec::new();
    for tally in keys {
        for (grain, seconds) in GRAINS {
            sums.clear();
            for (sort, sum) in tally.sums() {
                let sort = Sort { bucket_s: sort.bucket_s - sort.bucket_s.rem_euclid(seconds), ..*sort };
                match sums.iter_mut().rev().find(|(known, _)| *known == sort) {
                    Some((_, known)) => *known += *sum,
                    None => sums.push((sort, *sum)),
                }
            }
            sums.sort_unstable_by_key(|(sort, _)| *sort);
            for (sort, sum) in &sums {
                ids.push(tally.key.0);
                organizations.push(tally.organization.0);
                grains.push(names.place(grain));
                buckets.push(sort.bucket_s);
                endpoints.push(names.place(sort.endpoint));
                outcomes.push(names.place(sort.outcome));
                statuses.push(sort.status.cast_signed());
                calls.push(sum.calls);
                latencies.push(sum.latency_us);
            }
        }
    }
    sqlx::query!(
        "insert into usage_rollups as r (organization_id, key_id, grain, bucket, endpoint, outcome, status, calls, latency_us)
         select organization_id, key_id, ($1::text[])[grain], to_timestamp(bucket), ($1::text[])[endpoint], ($1::text[])[outcome],
                status, calls, latency_us
         from unnest($2::uuid[], $3::uuid[], $4::integer[], $5::bigint[], $6::integer[], $7::integer[], $8::smallint[],
                     $9::bigint[], $10::bigint[])
              as n (organization_id, key_id, grain, bucket, endpoint, outcome, status, calls, latency_us)
         on conflict (organization_id, key_id, grain, bucket, endpoint, outcome, status)
         do update set calls = r.calls + excluded.calls, latency_us = r.latency_us + excluded.latency_us",
        &names.texts(),
        &organizations,
        &ids,
        &grains,
        &buckets,
        &endpoints,
        &outcomes,
        &statuses,
        &calls,
        &latencies,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Texts by their place in a list, from 1 as Postgres counts.
#[derive(Default)]
struct Names(Vec<&'static str>);

impl Names {
    fn place(&mut self, name: &'static str) -> i32 {
        let place = self.0.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        });
        i32::try_from(place + 1).unwrap_or(i32::MAX)
    }

    fn texts(&self) -> Vec<String> {
        self.0.iter().map(|&name| name.to_owned()).collect()
    }
}

/// Notes the last use of the keys that were let through. The keys come in order. Answers with those that were never
/// let through before.
async fn touch_keys(tx: &mut sqlx::PgConnection, keys: &[&KeyTally]) -> Result<Vec<KeyId>> {
    let ids: Vec<Uuid> = keys.iter().map(|tally| tally.key.0).collect();
    // Before the update, which makes the keys used.
    let new: Vec<Uuid> = sqlx::query_scalar("select id from api_keys where id = any($1) and first_used_at is null")
        .bind(&ids)
        .fetch_all(&mut *tx)
        .await?;
    let used: Vec<_> = keys.iter().filter(|tally| tally.last.allowed).collect();
    sqlx::query!(
        "update api_keys k
         set last_used_at = n.at, last_used_ip = n.ip, last_used_user_agent = n.user_agent,
             first_used_at = coalesce(k.first_used_at, n.at)
         from (select k.id, n.at, n.ip, n.user_agent
               from api_keys k
               join unnest($1::uuid[], $2::timestamptz[], $3::inet[], $4::text[]) as n (id, at, ip, user_agent) on n.id = k.id
               order by k.id for update of k) n
         where k.id = n.id and (k.last_used_at is null or k.last_used_at < n.at)",
        &used.iter().map(|tally| tally.key.0).collect::<Vec<_>>(),
        &used.iter().map(|tally| tally.last.at).collect::<Vec<_>>(),
        &used.iter().map(|tally| IpNet::from(tally.last.ip)).collect::<Vec<_>>(),
        &used.iter().map(|tally| tally.last.user_agent.replace('\0', "")).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(new.into_iter().map(KeyId).collect())
}

/// Learns what other servers let through, and tells them that this one is there. To be called each second. Answers
/// whether there are others.
pub async fn sync_windows(db: &Db, cache: &KeyCache) -> Result<bool> {
    // No disk flush each second: who is there is worth nothing after a crash.
    let mut tx = begin(db).await?;
    // A row of nobody's key, renewed each second, so that a server is known before it lets its first call through.
    // The other servers, found by leaping from one to the next in the index; what they wrote lately, with three
    // seconds to spare, so that a transaction that was open during the last look is not missed; and the sums of that.
    let rows = sqlx::query!(
        r#"with recursive present as (
               insert into rate_windows (key_id, server_id, minute, calls)
               values ('00000000-0000-0000-0000-000000000000', $1, date_trunc('minute', clock_timestamp(), 'UTC'), 0)
               on conflict (key_id, minute, server_id) do update set changed_at = clock_timestamp()),
           servers (id) as (
               (select server_id from rate_windows order by server_id limit 1)
               union all
               select (select w.server_id from rate_windows w where w.server_id > s.id order by w.server_id limit 1)
               from servers s where s.id is not null),
           changed as (
               select w.key_id, w.minute
               from servers s join rate_windows w on w.server_id = s.id
               where s.id <> $1 and w.minute > clock_timestamp() - interval '10 minutes'
                 and w.changed_at > clock_timestamp() - interval '4 seconds')
           select w.key_id, w.minute, sum(w.calls) as "calls!"
           from rate_windows w
           where w.server_id <> $1 and (w.key_id, w.minute) in (select key_id, minute from changed)
           group by w.key_id, w.minute"#,
        cache.server(),
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    for row in &rows {
        cache.set_foreign(
            KeyId(row.key_id),
            row.minute.timestamp_millis(),
            u32::try_from(row.calls).unwrap_or(u32::MAX),
        );
    }
    Ok(!rows.is_empty())
}

/// When a secret was made, as its id tells (UUIDv7), and a minute for servers whose clocks differ.
fn made_at(secret: Uuid) -> Time {
    let seconds = secret.get_timestamp().map_or(0, |made| made.to_unix().0);
    let made = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    made.unwrap_or_default() - TimeDelta::minutes(1)
}

/// What the radar shows of the key's present secret: the first call that was let through, or else the latest refused
/// ones; only of calls after `since`, if given. Who still calls with a secret that was replaced is not shown.
pub async fn first_calls(db: &Db, organization: OrgId, key: KeyId, since: Option<Time>) -> Result<Vec<CallSeen>> {
    let mut tx = db.tenant(organization).await?;
    let secret = sqlx::query_scalar!(
        "select id from api_key_secrets where organization_id = $1 and key_id = $2 and ends_at is null",
        organization.0,
        key.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(secret) = secret else { return Ok(Vec::new()) };
    // Looked for from when it was made: the request log is found by time.
    let made = made_at(secret);
    let rows = sqlx::query!(
        r#"(select id as "id!", at as "at!", method as "method!", endpoint as "endpoint!", status as "status!",
                 outcome as "outcome!", ip as "ip!", user_agent as "user_agent!"
          from request_log
          where organization_id = $1 and key_id = $2 and secret_id = $4 and at >= $3 and outcome = 'allowed' order by at limit 1)
         union all
         (select id, at, method, endpoint, status, outcome, ip, user_agent from request_log
          where organization_id = $1 and key_id = $2 and secret_id = $4 and at >= $3 and outcome <> 'allowed'
          order by at desc limit 5)"#,
        organization.0,
        key.0,
        since.map_or(made, |since| since.max(made)),
        secret,
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
           returning k.id, k.organization_id, k.name, k.environment, k.expires_at as "expires_at!", due.days as "days!""#,
        now,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut happened = Vec::with_capacity(keys.len());
    for key in keys {
        happened.push(NewEvent {
            organization: OrgId(key.organization_id),
            environment: Environment::parse(&key.environment).unwrap_or(Environment::Live),
            kind: "api_key.expiring",
            at: now,
            data: serde_json::json!({
                "keyId": KeyId(key.id),
                "name": key.name,
                "expiresAt": key.expires_at,
                "days": key.days,
            }),
            message: None,
            key: Some(KeyId(key.id)),
        });
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
    events::emit(tx, &happened).await
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
