//! The list of keys: which match, one page of them, and what a row shows besides the key.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
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

/// What a cursor carries: the sort value of a row as text (null: no value) and its id.
#[derive(Serialize, Deserialize)]
struct Cursor(Option<String>, Uuid);

impl Cursor {
    fn encode(&self) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// A cursor that was tampered with is none: the list begins at the start.
    fn decode(text: &str) -> Option<Self> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let cursor: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (!cursor.0.as_ref().is_some_and(|value| value.contains('\0'))).then_some(cursor)
    }
}

/// The expression a list is sorted by, and the type its cursor text has. Keys never used count as used in the year 1,
/// so that the order has no nulls and one comparison of rows does for keyset paging.
fn sort_expression(sort: KeySort) -> (&'static str, &'static str) {
    match sort {
        KeySort::Created => ("k.created_at", "timestamptz"),
        KeySort::Name => ("lower(k.name)", "text"),
        KeySort::Status => ("api_key_state(k.revoked_at, k.expires_at, k.disabled_at, ", "integer"),
        KeySort::LastUsed => ("coalesce(k.last_used_at, '0001-01-01Z'::timestamptz)", "timestamptz"),
    }
}

fn push_sort(query: &mut QueryBuilder<Postgres>, sort: KeySort, now: Time) {
    query.push(sort_expression(sort).0);
    if sort == KeySort::Status {
        query.push_bind(now).push(")");
    }
}

fn push_filter(
    query: &mut QueryBuilder<Postgres>,
    organization: OrgId,
    filter: &KeyFilter,
    refused: &Refused,
    now: Time,
) {
    query.push(" where k.organization_id = ").push_bind(organization.0);
    match filter.status {
        // Someone who looks for a certain key or state wants it found, revoked or not.
        None if filter.hash.is_some() => {}
        None => drop(query.push(" and k.revoked_at is null")),
        Some(StatusFilter::Revoked) => drop(query.push(" and k.revoked_at is not null")),
        Some(StatusFilter::Expired) => push_state(query, "= 3", now),
        Some(StatusFilter::Disabled) => push_state(query, "= 2", now),
        Some(working) => push_working(query, working, refused, now),
    }
    if let Some(hash) = &filter.hash {
        let bytes = KeyHash::from_hex(hash).map(|h| h.0.to_vec()).unwrap_or_default();
        query.push(" and k.id in (select key_id from api_key_secrets where hash = ").push_bind(bytes).push(")");
    }
    let q = without_nul(&filter.q);
    let q = q.trim();
    if let Ok(id) = q.parse::<KeyId>() {
        query.push(" and k.id = ").push_bind(id.0);
    } else if !q.is_empty() {
        let pattern = format!("%{}%", q.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        query.push(" and (lower(k.name) like ").push_bind(pattern.clone());
        query.push(" or lower(k.hint) like ").push_bind(pattern.clone());
        query.push(" or lower(k.description) like ").push_bind(pattern).push(")");
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
        push_idle(query, now);
    }
}

fn push_state(query: &mut QueryBuilder<Postgres>, is: &'static str, now: Time) {
    query.push(" and api_key_state(k.revoked_at, k.expires_at, k.disabled_at, ").push_bind(now).push(") ").push(is);
}

fn push_idle(query: &mut QueryBuilder<Postgres>, now: Time) {
    query.push("coalesce(k.last_used_at, k.created_at) < ").push_bind(now - TimeDelta::days(IDLE_DAYS[1]));
}

/// Keys that are refused so much that their badge says it.
#[derive(Default)]
struct Refused {
    /// They ran into their limit just now.
    limited: Vec<Uuid>,
    /// Too large a share of their calls was refused in this hour and the last.
    elevated: Vec<Uuid>,
}

impl Refused {
    /// Asked for once, though several statements need it; nothing is asked where the filter has no use for it.
    async fn load(tx: &mut PgConnection, organization: OrgId, filter: &KeyFilter, now: Time) -> Result<Self> {
        match filter.status {
            None | Some(StatusFilter::Revoked | StatusFilter::Expired | StatusFilter::Disabled) => {
                return Ok(Self::default());
            }
            Some(_) => {}
        }
        let (this_hour, (least, share)) = (hour_of(now), ELEVATED);
        let limited = sqlx::query_scalar!(
            "select distinct key_id from usage_rollups
             where organization_id = $1 and grain = 'minute' and outcome = 'rate_limited' and bucket > $2",
            organization.0,
            now - TimeDelta::minutes(LIMITED_MINUTES),
        )
        .fetch_all(&mut *tx)
        .await?;
        // Few keys are refused at all: only of those all calls are summed up.
        let elevated = sqlx::query_scalar!(
            "select d.key_id
             from (select key_id, sum(calls) as calls from usage_rollups
                   where organization_id = $1 and grain = 'hour' and outcome <> 'allowed' and bucket > $2 and bucket <= $3
                   group by key_id having sum(calls) >= $4::bigint) d
             where d.calls >= $5::float8 * (select sum(calls) from usage_rollups
                                            where organization_id = $1 and key_id = d.key_id and grain = 'hour'
                                              and bucket > $2 and bucket <= $3)",
            organization.0,
            this_hour - TimeDelta::hours(2),
            this_hour,
            least,
            share,
        )
        .fetch_all(tx)
        .await?;
        Ok(Self { limited, elevated })
    }
}

/// Keys that let calls through and whose badge is `wanted`: that reason holds, and none that weighs more. The order is
/// that of [`ApiKey::status`].
fn push_working(query: &mut QueryBuilder<Postgres>, wanted: StatusFilter, refused: &Refused, now: Time) {
    push_state(query, "< 2", now);
    for reason in [
        StatusFilter::RateLimited,
        StatusFilter::ElevatedDenials,
        StatusFilter::Rotating,
        StatusFilter::Expiring,
        StatusFilter::Idle,
    ] {
        query.push(if reason == wanted { " and (" } else { " and not (" });
        match reason {
            StatusFilter::RateLimited => {
                query.push("k.id = any(").push_bind(refused.limited.clone()).push(")");
            }
            StatusFilter::ElevatedDenials => {
                query.push("k.id = any(").push_bind(refused.elevated.clone()).push(")");
            }
            StatusFilter::Rotating => {
                query.push("exists (select from api_key_secrets s where s.key_id = k.id and s.ends_at > ");
                query.push_bind(now).push(")");
            }
            StatusFilter::Expiring => {
                query.push("k.expires_at <= ").push_bind(now + TimeDelta::days(EXPIRING_DAYS));
                query.push(" and k.expires_at is not null");
            }
            _ => push_idle(query, now),
        }
        query.push(")");
        if reason == wanted {
            break;
        }
    }
}

/// One page of keys.
pub async fn list(db: &Db, organization: OrgId, filter: &KeyFilter, now: Time) -> Result<KeyList> {
    let per_page = if PER_PAGE.contains(&filter.per_page) { filter.per_page } else { PER_PAGE[0] };
    let mut tx = db.tenant(organization).await?;
    let refused = Refused::load(&mut tx, organization, filter, now).await?;
    let (keys, more, backwards, start) = page(&mut tx, organization, filter, &refused, per_page, now).await?;
    let shown = keys.len() as i64;
    let ranked = match (&filter.at, &start) {
        (PageAt::First | PageAt::Last, _) | (_, None) => None,
        _ => keys.first(),
    };
    let (total, before) = count(&mut tx, organization, filter, &refused, ranked, now).await?;
    let first_number = match (&filter.at, &start) {
        (PageAt::Last, Some(())) => total - shown + 1,
        _ => before + 1,
    };
    let edge =
        |key: Option<&(ApiKey, Option<String>)>| key.map(|(key, value)| Cursor(value.clone(), key.id.0).encode());
    let (has_previous, has_next) = (first_number > 1, if backwards { first_number + shown <= total } else { more });
    let (previous, next) = (edge(keys.first()).filter(|_| has_previous), edge(keys.last()).filter(|_| has_next));
    let creators = sqlx::query!(
        r#"select distinct created_by as "id!", created_by_name as name from api_keys
           where organization_id = $1 and created_by is not null order by 2 limit 100"#,
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

type Page = (Vec<(ApiKey, Option<String>)>, bool, bool, Option<()>);

/// The keys of a page with their sort values, whether there are more in its direction, and which direction that is.
async fn page(
    tx: &mut PgConnection,
    organization: OrgId,
    filter: &KeyFilter,
    refused: &Refused,
    per_page: u32,
    now: Time,
) -> Result<Page> {
    let (cursor, backwards) = match &filter.at {
        PageAt::First => (None, false),
        PageAt::Last => (None, true),
        PageAt::After(text) => (Cursor::decode(text), false),
        PageAt::Before(text) => (Cursor::decode(text), true),
    };
    // A broken cursor leads to the first page.
    let backwards = backwards && (cursor.is_some() || filter.at == PageAt::Last);
    let descending = filter.descending != backwards;
    let (_, cast) = sort_expression(filter.sort);
    // First which keys, then all about them: an order that no index has is made of narrow rows.
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS).push(", page.sort_value::text as sort_value from (select k.id, ");
    push_sort(&mut query, filter.sort, now);
    query.push(" as sort_value from api_keys k");
    push_filter(&mut query, organization, filter, refused, now);
    let known_start = cursor.is_some() || filter.at == PageAt::Last;
    if let Some(Cursor(value, id)) = cursor {
        query.push(" and (");
        push_sort(&mut query, filter.sort, now);
        query.push(if descending { ", k.id) < (" } else { ", k.id) > (" });
        query.push_bind(value).push("::").push(cast).push(", ").push_bind(id).push(")");
    }
    query.push(" order by ");
    push_sort(&mut query, filter.sort, now);
    query.push(if descending { " desc, k.id desc limit " } else { " asc, k.id asc limit " });
    query.push_bind(i64::from(per_page) + 1);
    query.push(") page join api_keys k on k.id = page.id and k.organization_id = ").push_bind(organization.0);
    query.push(" order by page.sort_value");
    query.push(if descending { " desc, page.id desc" } else { " asc, page.id asc" });

    #[derive(sqlx::FromRow)]
    struct Sorted {
        #[sqlx(flatten)]
        row: Row,
        sort_value: Option<String>,
    }
    let mut rows: Vec<Sorted> = query.build_query_as().fetch_all(tx).await.map_err(|error| match &error {
        // A tampered cursor whose value does not fit the sort column.
        sqlx::Error::Database(db) if db.code().is_some_and(|c| c.starts_with("22")) => Error::NotFound,
        _ => error.into(),
    })?;
    let more = rows.len() > per_page as usize;
    rows.truncate(per_page as usize);
    if backwards {
        rows.reverse();
    }
    let keys = rows.into_iter().map(|r| (r.row.into_key(), r.sort_value)).collect();
    Ok((keys, more, backwards, known_start.then_some(())))
}

/// How many keys match, and how many of them stand before `key` in the order: one look at all of them.
async fn count(
    tx: &mut PgConnection,
    organization: OrgId,
    filter: &KeyFilter,
    refused: &Refused,
    key: Option<&(ApiKey, Option<String>)>,
    now: Time,
) -> Result<(i64, i64)> {
    let mut query = QueryBuilder::new("select count(*), ");
    match key {
        Some((key, value)) => {
            let (_, cast) = sort_expression(filter.sort);
            query.push("count(*) filter (where (");
            push_sort(&mut query, filter.sort, now);
            query.push(if filter.descending { ", k.id) > (" } else { ", k.id) < (" });
            query.push_bind(value.clone()).push("::").push(cast).push(", ").push_bind(key.id.0).push("))");
        }
        None => drop(query.push("0::bigint")),
    }
    query.push(" from api_keys k");
    push_filter(&mut query, organization, filter, refused, now);
    Ok(query.build_query_as().fetch_one(tx).await?)
}

/// Adds what stands in other tables: old secrets, the last 24 hours, and with them the status.
pub(super) async fn complete(
    tx: &mut PgConnection,
    organization: OrgId,
    mut keys: Vec<ApiKey>,
    now: Time,
) -> Result<Vec<ApiKeyRow>> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.id.0).collect();
    let old = sqlx::query!(
        r#"select distinct on (key_id) id, key_id, hint, ends_at as "ends_at!" from api_key_secrets
           where organization_id = $1 and key_id = any($2) and ends_at > $3 order by key_id, ends_at desc"#,
        organization.0,
        &ids,
        now,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut old: HashMap<Uuid, OldSecret> = old
        .into_iter()
        .map(|row| (row.key_id, OldSecret { id: SecretId(row.id), hint: row.hint, until: row.ends_at }))
        .collect();
    let this_hour = hour_of(now);
    let traffic = sqlx::query!(
        r#"select key_id, grain, bucket, (outcome = 'allowed') as "allowed!", (outcome = 'rate_limited') as "limited!",
                  sum(calls)::bigint as "calls!"
           from usage_rollups
           where organization_id = $1 and key_id = any($2)
             and ((grain = 'hour' and bucket > $3 and bucket <= $4) or (grain = 'minute' and bucket > $5 and outcome = 'rate_limited'))
           group by 1, 2, 3, 4, 5"#,
        organization.0,
        &ids,
        this_hour - TimeDelta::hours(24),
        this_hour,
        now - TimeDelta::minutes(LIMITED_MINUTES),
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut hours: HashMap<Uuid, Vec<HourBar>> = HashMap::new();
    let mut recent: HashMap<Uuid, RecentTraffic> = HashMap::new();
    for row in traffic {
        let recent = recent.entry(row.key_id).or_default();
        if row.grain == "minute" {
            recent.limited_now += row.calls;
            continue;
        }
        let ago = (this_hour - row.bucket).num_hours();
        let bars = hours.entry(row.key_id).or_insert_with(|| vec![HourBar::default(); 24]);
        if let Some(bar) = usize::try_from(23 - ago).ok().and_then(|i| bars.get_mut(i)) {
            *(if row.allowed { &mut bar.allowed } else { &mut bar.denied }) += row.calls;
        }
        if ago <= 1 {
            *(if row.allowed { &mut recent.allowed } else { &mut recent.denied }) += row.calls;
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
    let mut tx = db.tenant(organization).await?;
    let refused = Refused::load(&mut tx, organization, filter, now).await?;
    let mut query = QueryBuilder::new("select k.id from api_keys k");
    push_filter(&mut query, organization, filter, &refused, now);
    query.push(" order by ");
    push_sort(&mut query, filter.sort, now);
    query.push(if filter.descending { " desc, k.id desc" } else { " asc, k.id asc" });
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
/// the text, by name; the first eight.
pub async fn find_named(db: &Db, organization: OrgId, q: &str) -> Result<Vec<(KeyId, String, String)>> {
    let filter =
        KeyFilter { q: q.chars().take(100).collect(), sort: KeySort::Name, descending: false, ..KeyFilter::default() };
    let mut tx = db.tenant(organization).await?;
    let (keys, ..) = page(&mut tx, organization, &filter, &Refused::default(), 8, Utc::now()).await?;
    Ok(keys.into_iter().map(|(key, _)| (key.id, key.name, key.hint)).collect())
}
