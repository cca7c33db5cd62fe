//! The list of keys: which match, one page of them, and what a row shows besides the key.

use std::collections::HashMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{COLUMNS, Row};
use crate::{
    Db, Error,
    error::Result,
    ids::{KeyId, OrgId, PersonId, SecretId},
    keys::{
        ApiKey, ApiKeyRow, HourBar, KeyFilter, KeyHash, KeyList, KeySort, OldSecret, PageAt, RecentTraffic,
        StatusFilter,
        list::PER_PAGE,
        status::{ELEVATED, EXPIRING_DAYS, IDLE_DAYS, LIMITED_MINUTES},
    },
    text::without_nul,
    time::Time,
    usage::store::hour_of,
};

/// Keys that [`rows`] is best asked for at once.
pub const ROWS_AT_ONCE: usize = 1_000;

/// What a cursor carries: the sort value of a row as text, its id, and the number it had in the list.
///
/// To count all that stands before a page would mean to read it. So pages are numbered on from the page they were reached
/// from: when keys were added or revoked before it meanwhile, the numbers of its rows are off by as many. Which rows stand
/// on it never depends on a number, and whoever comes to either end of the list has the right numbers again.
#[derive(Serialize, Deserialize)]
struct Cursor(String, Uuid, i64);

impl Cursor {
    fn encode(&self) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Option<Self> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let cursor: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (!cursor.0.contains('\0')).then_some(cursor)
    }
}

/// Where a page begins.
enum Start {
    First,
    After(Cursor),
    Before(Cursor),
    Last,
}

impl Start {
    /// A cursor that was tampered with, or made by another version, is none: the list begins at the start.
    fn of(at: &PageAt) -> Self {
        match at {
            PageAt::First => Self::First,
            PageAt::After(text) => Cursor::decode(text).map_or(Self::First, Self::After),
            PageAt::Before(text) => Cursor::decode(text).map_or(Self::First, Self::Before),
            PageAt::Last => Self::Last,
        }
    }

    /// Read from its end.
    fn backwards(&self) -> bool {
        matches!(self, Self::Before(_) | Self::Last)
    }
}

/// Keys never used count as used in the year 1, so that the order has no nulls and one comparison of rows does for keyset
/// paging. (`coalesce` would say the same, but row-level security lets no index be searched by it.)
const LAST_USED: &str = "case when k.last_used_at is null then '0001-01-01Z'::timestamptz else k.last_used_at end";

/// What a list is sorted by.
fn push_sort(query: &mut QueryBuilder<Postgres>, sort: KeySort, now: Time) {
    match sort {
        KeySort::Created => drop(query.push("k.created_at")),
        KeySort::Name => drop(query.push("k.name_lower")),
        KeySort::LastUsed => drop(query.push(LAST_USED)),
        // As ApiKey::status orders what is stored with the key.
        KeySort::Status => {
            query.push("case when k.revoked_at is not null then 4 when k.expires_at <= ").push_bind(now);
            query.push(" then 3 when k.disabled_at is not null then 2 when k.expires_at <= ").push_bind(soon(now));
            query.push(" then 1 else 0 end");
        }
    }
}

fn sort_type(sort: KeySort) -> &'static str {
    match sort {
        KeySort::Created | KeySort::LastUsed => "timestamptz",
        KeySort::Name => "text",
        KeySort::Status => "integer",
    }
}

/// Until when a key counts as expiring.
fn soon(now: Time) -> Time {
    now + TimeDelta::days(EXPIRING_DAYS)
}

/// Begins a statement with the keys that match, as `matching (id, sort_value)`.
///
/// They are read twice, for the count and for the page: an index holds what most filters need, and a page is over after a
/// few rows when many match. What few keys match and costs much to find is gathered once for both.
fn push_matching(query: &mut QueryBuilder<Postgres>, organization: OrgId, filter: &KeyFilter, now: Time) {
    let q = without_nul(&filter.q);
    let q = q.trim();
    let heavier = filter.status.map_or(&[][..], heavier);
    let gathered = !q.is_empty() || !matches!(filter.status, None | Some(StatusFilter::Active | StatusFilter::Revoked));
    let materialized = if gathered { " as materialized (" } else { " as not materialized (" };
    query.push(if heavier.is_empty() { "with matching" } else { "with candidates" }).push(materialized);
    query.push("select k.id, ");
    push_sort(query, filter.sort, now);
    query.push(" as sort_value from api_keys k where k.organization_id = ").push_bind(organization.0);
    match filter.status {
        // Someone who looks for a certain key or state wants it found, revoked or not.
        None if filter.hash.is_some() => {}
        None => drop(query.push(" and k.revoked_at is null")),
        Some(status) => push_status(query, organization, status, now),
    }
    if let Some(hash) = &filter.hash {
        let bytes = KeyHash::from_hex(hash).map(|h| h.0.to_vec()).unwrap_or_default();
        query.push(" and k.id in (select key_id from api_key_secrets where hash = ").push_bind(bytes).push(")");
    }
    if let Ok(id) = q.parse::<KeyId>() {
        query.push(" and k.id = ").push_bind(id.0);
    } else if !q.is_empty() {
        let pattern = containing(q);
        // By itself an index answers it, whatever else is asked.
        query.push(" and k.id in (select id from api_keys where organization_id = ").push_bind(organization.0);
        query.push(" and (name_lower like ").push_bind(pattern.clone());
        query.push(" or details_lower like ").push_bind(pattern).push("))");
    }
    if let Some(environment) = filter.environment {
        query.push(" and k.environment = ").push_bind(environment.as_str());
    }
    if let Some(scope) = filter.scope {
        query.push(" and ").push_bind(scope.as_str()).push(" = any(k.scopes)");
    }
    if let Some(creator) = filter.creator {
        query.push(" and k.created_by = ").push_bind(creator.0);
    }
    if filter.no_expiry {
        query.push(" and k.expires_at is null");
    }
    if filter.no_ip_list {
        query.push(" and k.allowed_ips = '{}'");
    }
    if filter.idle {
        query.push(" and ");
        push_used(query, "<", now);
    }
    query.push(")");
    for badge in heavier {
        query.push(", ").push(badge.as_str()).push(" as materialized (");
        push_set(query, organization, *badge, gathered, now);
        query.push(")");
    }
    if !heavier.is_empty() {
        query.push(", matching").push(materialized).push("select id, sort_value from candidates where id not in (");
        // One look-up for all of them, in a table of hashes as long as they fit into `work_mem`.
        let sets: Vec<_> = heavier.iter().map(|badge| format!("select key_id from {}", badge.as_str())).collect();
        query.push(sets.join(" union all ")).push("))");
    }
}

/// Keys with a badge, or with one that weighs more for what stands in other tables: see [`heavier`].
fn push_status(query: &mut QueryBuilder<Postgres>, organization: OrgId, status: StatusFilter, now: Time) {
    match status {
        StatusFilter::Revoked => drop(query.push(" and k.revoked_at is not null")),
        StatusFilter::Expired => drop(query.push(" and k.revoked_at is null and k.expires_at <= ").push_bind(now)),
        StatusFilter::Disabled => {
            query.push(" and k.revoked_at is null and k.disabled_at is not null");
            query.push(" and (k.expires_at is null or k.expires_at > ").push_bind(now).push(")");
        }
        working => {
            query.push(" and k.revoked_at is null and k.disabled_at is null");
            query.push(" and (k.expires_at is null or k.expires_at > ").push_bind(now).push(")");
            match working {
                StatusFilter::Expiring => drop(query.push(" and k.expires_at <= ").push_bind(soon(now))),
                StatusFilter::Idle | StatusFilter::Active => {
                    query.push(" and (k.expires_at is null or k.expires_at > ").push_bind(soon(now)).push(") and ");
                    push_used(query, if working == StatusFilter::Idle { "<" } else { ">=" }, now);
                }
                _ => {
                    query.push(" and k.id in (");
                    push_set(query, organization, working, false, now);
                    query.push(")");
                }
            }
        }
    }
}

fn push_used(query: &mut QueryBuilder<Postgres>, than: &'static str, now: Time) {
    query.push("coalesce(k.last_used_at, k.created_at) ").push(than).push(" ");
    query.push_bind(now - TimeDelta::days(IDLE_DAYS[1]));
}

/// The badges of working keys that other tables give them, the weightiest first, as [`ApiKey::status`] has it.
const SETS: [StatusFilter; 3] = [StatusFilter::RateLimited, StatusFilter::ElevatedDenials, StatusFilter::Rotating];

/// Those of [`SETS`] that a key must not have to have this badge.
fn heavier(than: StatusFilter) -> &'static [StatusFilter] {
    match than {
        StatusFilter::Revoked | StatusFilter::Expired | StatusFilter::Disabled => &[],
        _ => &SETS[..SETS.iter().position(|badge| *badge == than).unwrap_or(SETS.len())],
    }
}

/// The keys that have one of [`SETS`], or would have it if nothing weighed more.
fn push_set(
    query: &mut QueryBuilder<Postgres>,
    organization: OrgId,
    badge: StatusFilter,
    among_candidates: bool,
    now: Time,
) {
    match badge {
        StatusFilter::RateLimited => {
            query.push("select distinct key_id from usage_rollups where organization_id = ").push_bind(organization.0);
            query.push(" and grain = 'minute' and outcome = 'rate_limited' and bucket > ");
            query.push_bind(now - TimeDelta::minutes(LIMITED_MINUTES));
        }
        StatusFilter::ElevatedDenials => {
            let (this_hour, (least, share)) = (hour_of(now), ELEVATED);
            let push_calls = |query: &mut QueryBuilder<Postgres>| {
                query.push("sum(calls::float8) as calls from usage_rollups where organization_id = ");
                query.push_bind(organization.0).push(" and grain = 'hour' and bucket > ");
                query.push_bind(this_hour - TimeDelta::hours(2)).push(" and bucket <= ").push_bind(this_hour);
            };
            // Few keys are refused at all: only of those all calls are summed up, which is what takes long.
            query.push("select key_id from (select key_id, ");
            push_calls(query);
            query.push(" and outcome <> 'allowed'");
            if among_candidates {
                // `is true` keeps it a look-up in a table of hashes. A join would follow how many the planner expects.
                query.push(" and (key_id in (select id from candidates)) is true");
            }
            query.push(" group by key_id) denied where calls >= ").push_bind(least);
            query.push("::bigint and calls >= ").push_bind(share).push(" * (select ");
            push_calls(query);
            query.push(" and key_id = denied.key_id)");
        }
        _ => {
            query.push("select key_id from api_key_secrets where organization_id = ").push_bind(organization.0);
            query.push(" and ends_at > ").push_bind(now);
        }
    }
}

/// One page of keys.
pub async fn list(db: &Db, organization: OrgId, filter: &KeyFilter, now: Time) -> Result<KeyList> {
    let per_page = if PER_PAGE.contains(&filter.per_page) { filter.per_page } else { PER_PAGE[0] };
    let mut tx = db.tenant(organization).await?;
    let mut start = Start::of(&filter.at);
    let mut page = page(&mut tx, organization, filter, &start, per_page, now).await?;
    if page.keys.is_empty() && matches!(start, Start::After(_) | Start::Before(_)) {
        // All that stood there is gone: this is the page at that end of the list.
        start = if start.backwards() { Start::First } else { Start::Last };
        page = self::page(&mut tx, organization, filter, &start, per_page, now).await?;
    }
    let Page { keys, more, total } = page;
    let shown = keys.len() as i64;
    let at_end = total - shown + 1;
    // Beyond a cursor stands at least its own row; when that is gone, the way there leads to an end of the list.
    let (first_number, has_previous, has_next) = match (&start, more) {
        (Start::First, more) => (1, false, more),
        (Start::After(Cursor(.., number)), true) => (number.saturating_add(1).min(at_end - 1).max(1), true, true),
        (Start::After(_), false) => (at_end, at_end > 1, false),
        (Start::Before(Cursor(.., number)), true) => (number.saturating_sub(shown).min(at_end).max(2), true, true),
        (Start::Before(_), false) => (1, false, at_end > 1),
        (Start::Last, more) => (at_end, more, false),
    };
    let cursor = |key: Option<&(ApiKey, String)>, number| {
        key.map(|(key, value)| Cursor(value.clone(), key.id.0, number).encode())
    };
    let previous = cursor(keys.first(), first_number).filter(|_| has_previous);
    let next = cursor(keys.last(), first_number + shown - 1).filter(|_| has_next);
    // Leaping from one to the next in the index: few people create many keys.
    let creators = sqlx::query!(
        r#"with recursive creators as (
               (select created_by_name, created_by from api_keys
                where organization_id = $1 and created_by is not null order by created_by_name, created_by limit 1)
               union all
               select later.created_by_name, later.created_by
               from creators c cross join lateral (
                   select k.created_by_name, k.created_by from api_keys k
                   where k.organization_id = $1 and k.created_by is not null
                     and (k.created_by_name, k.created_by) > (c.created_by_name, c.created_by)
                   order by k.created_by_name, k.created_by limit 1) later)
           select created_by as "id!", created_by_name as "name!" from creators limit 100"#,
        organization.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    let expiring = sqlx::query!(
        r#"select id, name, expires_at as "expires_at!" from api_keys
           where organization_id = $1 and revoked_at is null and disabled_at is null
             and expires_at > $2 and expires_at <= $2::timestamptz + interval '14 days'
           order by expires_at limit 10"#,
        organization.0,
        now,
    )
    .fetch_all(&mut *tx)
    .await?;
    let none_yet = total == 0
        && !sqlx::query_scalar!(
            r#"select exists(select from api_keys where organization_id = $1) as "some!""#,
            organization.0
        )
        .fetch_one(&mut *tx)
        .await?;
    let keys = keys.into_iter().map(|(key, _)| key).collect();
    Ok(KeyList {
        rows: complete(&mut tx, organization, keys, now).await?,
        total,
        first_number,
        previous,
        next,
        creators: creators.into_iter().map(|row| (PersonId(row.id), row.name)).collect(),
        expiring: expiring.into_iter().map(|row| (KeyId(row.id), row.name, row.expires_at)).collect(),
        none_yet,
    })
}

/// Keys with their sort values in the order of the list, whether there are more in the direction of reading, and how many
/// match at all.
struct Page {
    keys: Vec<(ApiKey, String)>,
    more: bool,
    total: i64,
}

async fn page(
    tx: &mut PgConnection,
    organization: OrgId,
    filter: &KeyFilter,
    start: &Start,
    per_page: u32,
    now: Time,
) -> Result<Page> {
    let descending = filter.descending != start.backwards();
    let order = if descending { " desc" } else { " asc" };
    // First which keys, then all about them: an order that no index has is made of narrow rows.
    let mut query = QueryBuilder::new("");
    push_matching(&mut query, organization, filter, now);
    query.push(" select ").push(COLUMNS).push(", page.sort_value::text as sort_value, page.total");
    query.push(" from (select id, sort_value, (select count(*) from matching) as total from matching");
    if let Start::After(Cursor(value, id, _)) | Start::Before(Cursor(value, id, _)) = start {
        query.push(if descending { " where (sort_value, id) < (" } else { " where (sort_value, id) > (" });
        query.push_bind(value).push("::").push(sort_type(filter.sort)).push(", ").push_bind(id).push(")");
    }
    query.push(" order by sort_value").push(order).push(", id").push(order);
    // In the text, where the planner sees how few it is.
    query.push(" limit ").push(per_page + 1);
    query.push(") page join api_keys k on k.id = page.id and k.organization_id = ").push_bind(organization.0);
    query.push(" order by page.sort_value").push(order).push(", page.id").push(order);

    #[derive(sqlx::FromRow)]
    struct Sorted {
        #[sqlx(flatten)]
        row: Row,
        sort_value: String,
        total: i64,
    }
    let mut rows: Vec<Sorted> = query.build_query_as().fetch_all(tx).await.map_err(|error| match &error {
        // A tampered cursor whose value does not fit the sort column.
        sqlx::Error::Database(db) if db.code().is_some_and(|c| c.starts_with("22")) => Error::NotFound,
        _ => error.into(),
    })?;
    let more = rows.len() > per_page as usize;
    rows.truncate(per_page as usize);
    if start.backwards() {
        rows.reverse();
    }
    let total = rows.first().map_or(0, |row| row.total);
    Ok(Page { keys: rows.into_iter().map(|r| (r.row.into_key(), r.sort_value)).collect(), more, total })
}

/// Adds what stands in other tables: old secrets, the last 24 hours, and with them the status.
pub(super) async fn complete(
    tx: &mut PgConnection,
    organization: OrgId,
    mut keys: Vec<ApiKey>,
    now: Time,
) -> Result<Vec<ApiKeyRow>> {
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let ids: Vec<Uuid> = keys.iter().map(|key| key.id.0).collect();
    let this_hour = hour_of(now);
    // The sums of a key in one row: to put them together here costs less than to group and send them one by one.
    let found = sqlx::query!(
        r#"select wanted.key_id as "key_id!", old.id as "old_id?", old.hint as "old_hint?", old.ends_at as "old_ends_at?",
                  hours.buckets as "buckets?", hours.allowed as "allowed?", hours.calls as "calls?",
                  minutes.limited as "limited?"
           from unnest($2::uuid[]) as wanted (key_id)
           left join lateral (
               select id, hint, ends_at from api_key_secrets
               where organization_id = $1 and key_id = wanted.key_id and ends_at > $3 order by ends_at desc limit 1
           ) old on true
           left join (
               select key_id, array_agg(bucket) as buckets, array_agg(outcome = 'allowed') as allowed,
                      array_agg(calls) as calls
               from usage_rollups
               where organization_id = $1 and key_id = any($2) and grain = 'hour' and bucket > $4 and bucket <= $5
               group by key_id
           ) hours on hours.key_id = wanted.key_id
           left join (
               select key_id, sum(calls)::bigint as limited from usage_rollups
               where organization_id = $1 and key_id = any($2) and grain = 'minute' and bucket > $6
                 and outcome = 'rate_limited'
               group by key_id
           ) minutes on minutes.key_id = wanted.key_id"#,
        organization.0,
        &ids,
        now,
        this_hour - TimeDelta::hours(24),
        this_hour,
        now - TimeDelta::minutes(LIMITED_MINUTES),
    )
    .fetch_all(tx)
    .await?;
    let mut hours: HashMap<Uuid, Vec<HourBar>> = HashMap::new();
    let mut recent: HashMap<Uuid, RecentTraffic> = HashMap::new();
    let mut old: HashMap<Uuid, OldSecret> = HashMap::new();
    for row in found {
        if let (Some(id), Some(hint), Some(until)) = (row.old_id, row.old_hint, row.old_ends_at) {
            old.insert(row.key_id, OldSecret { id: SecretId(id), hint, until });
        }
        let recent = recent.entry(row.key_id).or_default();
        recent.limited_now = row.limited.unwrap_or_default();
        let bars = hours.entry(row.key_id).or_insert_with(|| vec![HourBar::default(); 24]);
        let (buckets, allowed) = (row.buckets.unwrap_or_default(), row.allowed.unwrap_or_default());
        for ((bucket, allowed), calls) in buckets.into_iter().zip(allowed).zip(row.calls.unwrap_or_default()) {
            let ago = (this_hour - bucket).num_hours();
            if let Some(bar) = usize::try_from(23 - ago).ok().and_then(|i| bars.get_mut(i)) {
                *(if allowed { &mut bar.allowed } else { &mut bar.denied }) += calls;
            }
            if ago <= 1 {
                *(if allowed { &mut recent.allowed } else { &mut recent.denied }) += calls;
            }
        }
    }
    for key in &mut keys {
        key.old_secret = old.remove(&key.id.0);
    }
    Ok(keys
        .into_iter()
        .map(|key| ApiKeyRow {
            status: key.status(recent.remove(&key.id.0).unwrap_or_default(), now),
            hours: hours.remove(&key.id.0).unwrap_or_else(|| vec![HourBar::default(); 24]),
            key,
        })
        .collect())
}

/// All keys that match, in the order of the list.
pub async fn matching(db: &Db, organization: OrgId, filter: &KeyFilter, now: Time) -> Result<Vec<KeyId>> {
    let mut query = QueryBuilder::new("");
    push_matching(&mut query, organization, filter, now);
    query.push(" select id from matching order by sort_value");
    query.push(if filter.descending { " desc, id desc" } else { " asc, id asc" });
    let mut tx = db.tenant(organization).await?;
    let ids: Vec<Uuid> = query.build_query_scalar().fetch_all(&mut *tx).await?;
    Ok(ids.into_iter().map(KeyId).collect())
}

/// These keys in this order; with [`matching`] a list of any length is taken along piece by piece.
pub async fn rows(db: &Db, organization: OrgId, ids: &[KeyId], now: Time) -> Result<Vec<ApiKeyRow>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS).push(" from unnest(").push_bind(ids);
    query
        .push(") with ordinality as wanted (id, place) join api_keys k on k.id = wanted.id where k.organization_id = ");
    query.push_bind(organization.0).push(" order by wanted.place");
    let mut tx = db.tenant(organization).await?;
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut *tx).await?;
    complete(&mut tx, organization, rows.into_iter().map(Row::into_key).collect(), now).await
}

/// For the command palette: id, name and hint of keys that are not revoked and whose name, hint or description contains
/// the text, or whose id it is, by name; the first eight.
pub async fn find_named(db: &Db, organization: OrgId, q: &str) -> Result<Vec<(KeyId, String, String)>> {
    let q: String = without_nul(q).trim().chars().take(100).collect();
    let mut tx = db.tenant(organization).await?;
    // In the order of an index, which is over after eight: nothing is counted.
    let found = sqlx::query!(
        "select id, name, hint from api_keys
         where organization_id = $1 and revoked_at is null and (id = $2 or name_lower like $3 or details_lower like $3)
         order by name_lower, id limit 8",
        organization.0,
        q.parse::<KeyId>().ok().map(|id| id.0),
        containing(&q),
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(found.into_iter().map(|row| (KeyId(row.id), row.name, row.hint)).collect())
}

/// A pattern for what contains a text, when both are in lower case.
fn containing(text: &str) -> String {
    format!("%{}%", text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}
