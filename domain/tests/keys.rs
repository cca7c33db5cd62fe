//! Keys against a real Postgres: the life of a key, the walls between organizations, the cache.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use std::{collections::HashMap, time::Instant};

use chrono::{Duration, Utc};
use common::{World, form};
use domain::{
    Db, Error,
    gate::cache::{KeyCache, STALE_FOR},
    ids::KeyId,
    keys::{
        ApiKey, ApiKeyRow, Environment, KeyFilter, KeyForm, KeyHash, KeyList, KeySort, Overlap, PageAt, Scope,
        StatusFilter, StatusKind, store,
    },
    secret::ExposeSecret,
    time::Time,
    usage::ALLOWED,
};
use sqlx::PgPool;
use uuid::Uuid;

fn hash(issued: &store::Issued) -> KeyHash {
    KeyHash::of(issued.text.expose_secret())
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_lives_and_ends(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, actor, now) = (&world.db, &world.owner, Utc::now());
    let issued = world.key("Shop plugin").await;
    let row = store::get(db, world.org(), issued.id, now).await.unwrap();
    assert_eq!(row.key.hint, issued.hint);
    assert_eq!(row.status.kind, StatusKind::Active);
    assert_eq!(row.key.created_by_name, "owner@acme.example");

    let mut edit = KeyForm::of(&row.key);
    edit.name = "Shop plugin 2".into();
    edit.scopes.push("usage:read".into());
    edit.throttle_mode = "random".into();
    let parsed = edit.parse(now, Some(&row.key)).unwrap();
    store::edit(db, actor, issued.id, 1, parsed.clone()).await.unwrap();
    let Err(Error::Conflict(text)) = store::edit(db, actor, issued.id, 1, parsed).await else {
        panic!("a stale version must be refused")
    };
    assert!(text.starts_with("Somebody else changed this key"), "{text}");

    assert_eq!(store::set_disabled(db, actor, &[issued.id], true).await.unwrap(), 1);
    assert_eq!(store::set_disabled(db, actor, &[issued.id], true).await.unwrap(), 0);
    assert_eq!(store::get(db, world.org(), issued.id, now).await.unwrap().status.kind, StatusKind::Disabled);
    assert_eq!(store::set_disabled(db, actor, &[issued.id], false).await.unwrap(), 1);

    let version = store::get(db, world.org(), issued.id, now).await.unwrap().key.version;
    let second = store::regenerate(db, actor, issued.id, version, Overlap::Day, "bnc").await.unwrap();
    assert_ne!(second.hint, issued.hint);
    // Somebody else, or the same form twice: the day that was promised to the first secret holds.
    let Err(Error::Conflict(text)) =
        store::regenerate(db, actor, issued.id, version, Overlap::Week, "bnc").await.map(|_| ())
    else {
        panic!("the second of two regenerations must be refused")
    };
    assert!(
        text.contains("was changed or regenerated") && text.contains(&second.hint[second.hint.len() - 4..]),
        "{text}"
    );
    let rotating = store::get(db, world.org(), issued.id, Utc::now()).await.unwrap();
    assert_eq!(rotating.status.kind, StatusKind::Rotating);
    assert_eq!(rotating.key.old_secret.as_ref().unwrap().hint, issued.hint);
    store::retire_old_secret(db, actor, issued.id).await.unwrap();
    assert!(matches!(store::retire_old_secret(db, actor, issued.id).await, Err(Error::Conflict(_))));
    assert_eq!(
        store::get(db, world.org(), issued.id, Utc::now() + Duration::seconds(1)).await.unwrap().key.old_secret,
        None
    );

    assert_eq!(store::revoke(db, actor, &[issued.id]).await.unwrap(), 1);
    let Err(Error::Conflict(text)) = store::set_disabled(db, actor, &[issued.id], true).await else {
        panic!("a revoked key cannot be changed")
    };
    assert!(text.contains("was revoked on") && text.contains("owner@acme.example"), "{text}");

    let history = store::history(db, world.org(), issued.id).await.unwrap();
    let actions: Vec<_> = history.iter().rev().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "api_key.created",
            "api_key.edited",
            "api_key.disabled",
            "api_key.enabled",
            "api_key.regenerated",
            "api_key.old_secret_retired",
            "api_key.revoked"
        ]
    );
    let edited = &history[history.len() - 2];
    let fields: Vec<_> = edited.changes.iter().map(|c| c.field.as_str()).collect();
    assert_eq!(fields, ["name", "throttle", "scopes"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn names_are_unique_among_living_keys_and_forms_make_one_key(pool: PgPool) {
    let world = World::new(&pool).await;
    let first = world.key("Shop").await;
    let again = store::create(&world.db, &world.owner, form("SHOP"), None, "bnc").await;
    let Err(Error::Invalid(errors)) = again else { panic!("the name is taken") };
    assert_eq!(errors[0].field, "name");
    store::revoke(&world.db, &world.owner, &[first.id]).await.unwrap();
    world.key("Shop").await;

    let submission = Some(Uuid::now_v7());
    let (a, b) = tokio::join!(
        store::create(&world.db, &world.owner, form("Double"), submission, "bnc"),
        store::create(&world.db, &world.owner, form("Double"), submission, "bnc"),
    );
    assert!(a.is_ok() != b.is_ok(), "exactly one of two submissions makes a key");
    let third = store::create(&world.db, &world.owner, form("Double"), submission, "bnc").await;
    assert!(matches!(third, Err(Error::Conflict(_))));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn other_organizations_do_not_exist(pool: PgPool) {
    let world = World::new(&pool).await;
    let other = world.other_organization().await;
    let issued = world.key("Shop").await;
    let now = Utc::now();
    let db = &world.db;
    let id = issued.id;
    assert!(matches!(store::get(db, other.organization_id, id, now).await, Err(Error::NotFound)));
    assert!(matches!(store::edit(db, &other, id, 1, form("Mine")).await, Err(Error::NotFound)));
    assert!(matches!(store::set_disabled(db, &other, &[id], true).await, Err(Error::NotFound)));
    assert!(matches!(store::revoke(db, &other, &[id]).await, Err(Error::NotFound)));
    assert_eq!(store::revoke(db, &other, &[id, KeyId::new()]).await.unwrap(), 0);
    assert!(matches!(store::regenerate(db, &other, id, 1, Overlap::None, "bnc").await, Err(Error::NotFound)));
    assert!(matches!(store::stats(db, other.organization_id, id, now).await, Err(Error::NotFound)));
    assert!(matches!(store::in_use(db, other.organization_id, id, now).await, Err(Error::NotFound)));
    let by_hash = KeyFilter { hash: Some(hash(&issued).to_hex()), ..KeyFilter::default() };
    assert_eq!(store::list(db, other.organization_id, &by_hash, now).await.unwrap().total, 0);
    assert_eq!(store::list(db, world.org(), &by_hash, now).await.unwrap().rows[0].key.id, id);

    // The second wall: even a statement that forgets the organization sees nothing of others.
    let mut tx = db.tenant(other.organization_id).await.unwrap();
    for table in ["api_keys", "api_key_secrets", "audit_log", "memberships", "invitations", "organizations"] {
        let column = if table == "organizations" { "id" } else { "organization_id" };
        let foreign: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select count(*) from {table} where {column} <> '{}'",
            other.organization_id.0
        )))
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        assert_eq!(foreign, 0, "{table}");
    }
    let stolen = sqlx::query("update api_keys set disabled_at = now()").execute(&mut *tx).await.unwrap();
    assert_eq!(stolen.rows_affected(), 0);
    assert!(sqlx::query("select * from people").fetch_all(&mut *tx).await.is_err());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn viewers_change_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let viewer = domain::people::Actor { role: Some(domain::people::Role::Viewer), ..world.owner.clone() };
    let (db, id) = (&world.db, issued.id);
    assert!(matches!(store::create(db, &viewer, form("X"), None, "bnc").await, Err(Error::Forbidden(_))));
    assert!(matches!(store::edit(db, &viewer, id, 1, form("X")).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::set_disabled(db, &viewer, &[id], true).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::revoke(db, &viewer, &[id]).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::regenerate(db, &viewer, id, 1, Overlap::None, "bnc").await, Err(Error::Forbidden(_))));
    assert!(matches!(store::retire_old_secret(db, &viewer, id).await, Err(Error::Forbidden(_))));
}

/// Every sort, in both directions, forward and backward, shows each key once and in the same order as one long page.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn pages_fit_together(pool: PgPool) {
    let world = World::new(&pool).await;
    for i in 0..27 {
        let key = world.key(&format!("Key {:02}", (i * 7) % 27)).await;
        match i % 4 {
            0 => drop(store::set_disabled(&world.db, &world.owner, &[key.id], true).await.unwrap()),
            1 => world.use_key(&key).await,
            _ => {}
        }
    }
    let now = Utc::now();
    for sort in KeySort::ALL {
        for descending in [false, true] {
            let filter = |at| KeyFilter { sort, descending, per_page: 10, at, ..KeyFilter::default() };
            let whole = store::matching(&world.db, world.org(), &filter(PageAt::First), now).await.unwrap();
            let rows = store::rows(&world.db, world.org(), &whole, now).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.key.id).collect::<Vec<_>>(), whole);
            let mut seen = vec![];
            let mut at = PageAt::First;
            loop {
                let page = store::list(&world.db, world.org(), &filter(at), now).await.unwrap();
                assert_eq!(page.total, 27);
                assert_eq!(page.first_number, seen.len() as i64 + 1, "{sort:?}");
                seen.extend(page.rows.iter().map(|row| row.key.id));
                match page.next {
                    Some(next) => at = PageAt::After(next),
                    None => break,
                }
            }
            assert_eq!(seen, whole, "{sort:?} {descending}");
            let last = store::list(&world.db, world.org(), &filter(PageAt::Last), now).await.unwrap();
            assert_eq!(last.rows.last().unwrap().key.id, whole[26]);
            assert_eq!((last.first_number, last.next.is_none()), (18, true));
            let before = store::list(&world.db, world.org(), &filter(PageAt::Before(last.previous.unwrap())), now)
                .await
                .unwrap();
            assert_eq!(before.rows.iter().map(|row| row.key.id).collect::<Vec<_>>(), whole[7..17]);
            assert_eq!(before.first_number, 8);
            assert!(before.next.is_some() && before.previous.is_some());
        }
    }
}

/// Keys of all kinds, with as many ties as there can be. They are told apart by small numbers without a common divisor.
async fn assortment(world: &World, pool: &PgPool, count: i32) {
    sqlx::query(
        "insert into api_keys (id, organization_id, name, description, environment, hint, scopes, throttle, allowed_ips,
                               expires_at, disabled_at, revoked_at, created_at, created_by, created_by_name, last_used_at)
         select gen_random_uuid(), $1, case i % 2 when 0 then 'KEY ' else 'key ' end || lpad((i * 7 % $2)::text, 3, '0'),
                case i % 3 when 0 then 'Für den Shop, 100%' else '' end, case i % 4 when 0 then 'test' else 'live' end,
                'bnc_live_' || i, case i % 5 when 0 then '{key:verify}'::text[] else '{message:send}' end,
                '{\"mode\":\"off\",\"max_queue\":20}', case i % 3 when 1 then '{10.0.0.0/8}'::cidr[] else '{}' end,
                case i % 7 when 0 then $3::timestamptz + interval '1 hour' when 1 then $3 + interval '8 days'
                           when 2 then $3 - interval '1 hour' end,
                case i % 11 when 0 then $3 end, case i % 13 when 0 then $3 end,
                $3 - (i % 9) * interval '10 days', case i % 4 when 1 then $4::uuid else $5::uuid end,
                case i % 4 when 1 then 'Ada' else 'Bob' end, case i % 5 when 1 then $3 - (i % 6) * interval '12 days' end
         from generate_series(1, $2) i",
    )
    .bind(world.org().0)
    .bind(count)
    .bind(Utc::now())
    .bind(world.owner.person_id.unwrap().0)
    .bind(Uuid::now_v7())
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into usage_rollups (organization_id, key_id, grain, bucket, endpoint, outcome, status, calls, latency_us)
         select $1, id, grain, date_trunc(grain, now(), 'UTC'), '/', outcome, 429, 40, 1
         from (select id, row_number() over (order by id) as n from api_keys) k,
              (values ('minute', 'rate_limited', 6), ('hour', 'rate_limited', 6), ('hour', 'ip_not_allowed', 7)) as kinds (grain, outcome, m)
         where n % m = 0",
    )
    .bind(world.org().0)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into api_key_secrets (id, organization_id, key_id, hash, hint, ends_at)
         select gen_random_uuid(), $1, id, sha256(id::text::bytea), 'old', now() + interval '1 day'
         from (select id, row_number() over (order by id) as n from api_keys) k where n % 5 = 0",
    )
    .bind(world.org().0)
    .execute(pool)
    .await
    .unwrap();
}

/// What a list by `filter` shows, in its order, said without a database.
fn plainly(rows: &[ApiKeyRow], filter: &KeyFilter, now: Time) -> Vec<KeyId> {
    let used = |key: &ApiKey| key.last_use.as_ref().map(|used| used.at);
    let shown = |row: &&ApiKeyRow| {
        let key = &row.key;
        let q = filter.q.to_lowercase();
        filter.status.map_or(key.revoked_at.is_none(), |status| status.label() == row.status.label)
            && [&key.name, &key.hint, &key.description].iter().any(|text| text.to_lowercase().contains(&q))
            && filter.environment.is_none_or(|environment| environment == key.environment)
            && filter.scope.is_none_or(|scope| key.scopes.contains(scope))
            && filter.creator.is_none_or(|creator| key.created_by == Some(creator))
            && (!filter.no_expiry || key.expires_at.is_none())
            && (!filter.no_ip_list || key.allowed_ips.is_empty())
            && (!filter.idle || used(key).unwrap_or(key.created_at) < now - Duration::days(30))
    };
    let mut found: Vec<_> = rows.iter().filter(shown).map(|row| &row.key).collect();
    let state = |key: &ApiKey| match key.expires_at {
        _ if key.revoked_at.is_some() => 4,
        Some(at) if at <= now => 3,
        _ if key.disabled_at.is_some() => 2,
        Some(at) if at <= now + Duration::days(7) => 1,
        _ => 0,
    };
    found.sort_by(|a, b| {
        let by = match filter.sort {
            KeySort::Created => a.created_at.cmp(&b.created_at),
            KeySort::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            KeySort::Status => state(a).cmp(&state(b)),
            KeySort::LastUsed => used(a).cmp(&used(b)),
        };
        by.then(a.id.0.cmp(&b.id.0))
    });
    if filter.descending {
        found.reverse();
    }
    found.iter().map(|key| key.id).collect()
}

/// Every sort of every filter, walked from the first page to the last and back.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_are_what_a_plain_list_would_be(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org) = (&world.db, world.org());
    assortment(&world, &pool, 100).await;
    let now = Utc::now();
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from api_keys").fetch_all(&pool).await.unwrap();
    let rows = store::rows(db, org, &ids.into_iter().map(KeyId).collect::<Vec<_>>(), now).await.unwrap();
    let any = KeyFilter::default;
    let mut filters: Vec<_> =
        StatusFilter::ALL.into_iter().map(|status| KeyFilter { status: Some(status), ..any() }).collect();
    filters.extend([
        any(),
        KeyFilter { q: "00".into(), ..any() },
        KeyFilter { q: "100%".into(), status: Some(StatusFilter::Active), ..any() },
        KeyFilter { q: "LIVE_1".into(), ..any() },
        KeyFilter { q: "nothing".into(), ..any() },
        KeyFilter { environment: Some(Environment::Test), ..any() },
        KeyFilter { scope: Some(Scope::KeyVerify), ..any() },
        KeyFilter { creator: world.owner.person_id, ..any() },
        KeyFilter { creator: world.owner.person_id, status: Some(StatusFilter::Idle), ..any() },
        KeyFilter { no_expiry: true, no_ip_list: true, ..any() },
        KeyFilter { idle: true, ..any() },
    ]);
    let mut several = 0;
    for filter in filters {
        for (sort, descending) in KeySort::ALL.into_iter().flat_map(|sort| [(sort, false), (sort, true)]) {
            let filter = KeyFilter { sort, descending, ..filter.clone() };
            let expected = plainly(&rows, &filter, now);
            assert_eq!(store::matching(db, org, &filter, now).await.unwrap(), expected, "{filter:?}");
            several += usize::from(expected.len() > 10);
            for (mut at, forwards) in [(PageAt::First, true), (PageAt::Last, false)] {
                let mut seen: Vec<KeyId> = vec![];
                loop {
                    let page = store::list(db, org, &KeyFilter { at, ..filter.clone() }, now).await.unwrap();
                    let ids: Vec<_> = page.rows.iter().map(|row| row.key.id).collect();
                    let before = if forwards { seen.len() } else { expected.len() - seen.len() - ids.len() };
                    assert_eq!(page.total, expected.len() as i64, "{filter:?}");
                    assert_eq!(page.first_number, before as i64 + 1, "{filter:?}");
                    assert_eq!(page.previous.is_some(), before > 0, "{filter:?}");
                    assert_eq!(page.next.is_some(), before + ids.len() < expected.len(), "{filter:?}");
                    let to = if forwards { seen.len() } else { 0 };
                    seen.splice(to..to, ids);
                    let further =
                        if forwards { page.next.map(PageAt::After) } else { page.previous.map(PageAt::Before) };
                    let Some(further) = further else { break };
                    at = further;
                }
                assert_eq!(seen, expected, "{filter:?}");
            }
        }
    }
    assert!(several > 80, "most lists have several pages: {several}");
}

/// The rows of a page are right whatever happened since its cursor was made; its numbers are, at both ends of the list.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn cursors_outlive_what_changes_around_them(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org, now) = (&world.db, world.org(), Utc::now());
    let mut ids = vec![];
    for i in 0..35 {
        ids.push(world.key(&format!("Key {i:02}")).await.id);
    }
    let base = KeyFilter { sort: KeySort::Name, descending: false, ..KeyFilter::default() };
    let page = async |at: PageAt| store::list(db, org, &KeyFilter { at, ..base.clone() }, now).await.unwrap();
    let shows = |page: &KeyList| page.rows.iter().map(|row| row.key.id).collect::<Vec<_>>();
    let ends = |page: &KeyList| (page.previous.is_some(), page.next.is_some());
    let second = page(PageAt::After(page(PageAt::First).await.next.unwrap())).await;
    let (back, on) = (second.previous.clone().unwrap(), second.next.clone().unwrap());

    // One more before it: the same rows, numbered on from the page before, and right again at the end.
    let first = world.key("Before all").await.id;
    let third = page(PageAt::After(on.clone())).await;
    assert_eq!((shows(&third), third.first_number, third.total), (ids[20..30].to_vec(), 21, 36));
    let last = page(PageAt::After(third.next.unwrap())).await;
    assert_eq!((shows(&last), last.first_number, ends(&last)), (ids[30..].to_vec(), 32, (true, false)));
    let third = page(PageAt::Before(last.previous.unwrap())).await;
    assert_eq!((shows(&third), third.first_number), (ids[20..30].to_vec(), 22));
    assert_eq!(page(PageAt::Before(back)).await.first_number, 2, "one more stands before it");

    // The key the cursor was made of stands elsewhere now: the page begins where it stood.
    let rename = async |id: KeyId, name: &str| {
        let row = store::get(db, org, id, now).await.unwrap();
        store::edit(db, &world.owner, id, row.key.version, form(name)).await.unwrap();
    };
    rename(ids[19], "Zuletzt").await;
    assert_eq!(shows(&page(PageAt::After(on.clone())).await), ids[20..30]);
    rename(ids[19], "Key 19").await;

    // Never a number beyond the total, though most of what stood before is gone.
    store::revoke(db, &world.owner, &ids[..8]).await.unwrap();
    store::revoke(db, &world.owner, &ids[11..19]).await.unwrap();
    let third = page(PageAt::After(on.clone())).await;
    assert_eq!((shows(&third), third.total, third.first_number), (ids[20..30].to_vec(), 20, 10));
    let stale = page(PageAt::Before(third.next.unwrap())).await;
    assert_eq!((stale.first_number, ends(&stale)), (9, (true, true)));

    // Nothing is left beyond a cursor: the page at that end.
    store::revoke(db, &world.owner, &ids[20..]).await.unwrap();
    let rest = page(PageAt::After(on.clone())).await;
    assert_eq!((rest.total, rest.first_number, ends(&rest)), (5, 1, (false, false)));
    store::revoke(db, &world.owner, &[&ids[8..11], &[first]].concat()).await.unwrap();
    let rest = page(PageAt::Before(on)).await;
    assert_eq!((rest.total, rest.first_number, ends(&rest)), (1, 1, (false, false)));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn tampered_cursors_lead_somewhere(pool: PgPool) {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let world = World::new(&pool).await;
    assortment(&world, &pool, 50).await;
    let page = async |at: PageAt, sort: KeySort| {
        let filter = KeyFilter { sort, descending: false, at, ..KeyFilter::default() };
        store::list(&world.db, world.org(), &filter, Utc::now()).await
    };
    let id = Uuid::now_v7();
    for sort in KeySort::ALL {
        // No cursor, and one without a number, as they were before: the list begins at its start.
        for text in ["nonsense".into(), URL_SAFE_NO_PAD.encode(format!("[\"key 02\",\"{id}\"]"))] {
            for at in [PageAt::After(text.clone()), PageAt::Before(text.clone())] {
                let first = page(at, sort).await.unwrap();
                assert!(first.first_number == 1 && first.previous.is_none() && first.next.is_some());
            }
        }
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            let value = match sort {
                KeySort::Created | KeySort::LastUsed => (Utc::now() - Duration::days(35)).to_rfc3339(),
                KeySort::Name => "key 02".into(),
                KeySort::Status => "0".into(),
            };
            let text = URL_SAFE_NO_PAD.encode(serde_json::json!([value, id, number]).to_string());
            for at in [PageAt::After(text.clone()), PageAt::Before(text.clone())] {
                let page = page(at, sort).await.unwrap();
                let last = page.first_number + page.rows.len() as i64 - 1;
                assert!(page.first_number >= 1 && last <= page.total && !page.rows.is_empty(), "{sort:?} {number}");
            }
        }
        let text = URL_SAFE_NO_PAD.encode(serde_json::json!(["not a time", id, 1]).to_string());
        let unfit = page(PageAt::After(text), sort).await;
        match sort {
            KeySort::Name => assert!(unfit.is_ok()),
            _ => assert!(matches!(unfit, Err(Error::NotFound)), "{sort:?}"),
        }
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn filters_find_what_they_say(pool: PgPool) {
    let world = World::new(&pool).await;
    let now = Utc::now();
    let make = async |f: KeyForm| {
        store::create(&world.db, &world.owner, f.parse(now, None).unwrap(), None, "bnc").await.unwrap()
    };
    let base = |name: &str| KeyForm { name: name.into(), ..KeyForm::default() };
    make(base("100% plain_name")).await;
    make(KeyForm { environment: "test".into(), ..base("Tester") }).await;
    make(KeyForm { expires: "7".into(), ..base("Soon") }).await;
    make(KeyForm { allowed_ips: "10.0.0.0/8".into(), ..base("Fenced") }).await;
    make(KeyForm { scopes: vec!["key:verify".into()], ..base("Verifier") }).await;
    let expiring = store::list(&world.db, world.org(), &KeyFilter::default(), now).await.unwrap().expiring;
    assert_eq!(expiring.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(), ["Soon"]);
    let gone = make(base("Gone")).await;
    store::revoke(&world.db, &world.owner, &[gone.id]).await.unwrap();
    let names = async |f: KeyFilter| {
        let filter = KeyFilter { sort: KeySort::Name, descending: false, ..f };
        let list = store::list(&world.db, world.org(), &filter, now).await.unwrap();
        list.rows.iter().map(|row| row.key.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let any = KeyFilter::default;
    assert_eq!(names(any()).await, "100% plain_name, Fenced, Soon, Tester, Verifier");
    assert_eq!(names(KeyFilter { q: "0% PLAIN_".into(), ..any() }).await, "100% plain_name");
    assert_eq!(names(KeyFilter { q: "a%e".into(), ..any() }).await, "");
    assert_eq!(names(KeyFilter { environment: Some(Environment::Test), ..any() }).await, "Tester");
    assert_eq!(names(KeyFilter { status: Some(StatusFilter::Expiring), ..any() }).await, "Soon");
    assert_eq!(names(KeyFilter { status: Some(StatusFilter::Revoked), ..any() }).await, "Gone");
    assert_eq!(names(KeyFilter { scope: Some(Scope::KeyVerify), ..any() }).await, "Verifier");
    assert_eq!(
        names(KeyFilter { no_expiry: true, no_ip_list: true, q: "e".into(), ..any() }).await,
        "100% plain_name, Tester, Verifier"
    );
    assert_eq!(names(KeyFilter { hash: Some(hash(&gone).to_hex()), ..any() }).await, "Gone");
    assert_eq!(names(KeyFilter { q: gone.id.to_string(), status: Some(StatusFilter::Revoked), ..any() }).await, "Gone");
    assert_eq!(names(KeyFilter { idle: true, ..any() }).await, "");
    assert_eq!(names(KeyFilter { creator: world.owner.person_id, ..any() }).await.split(", ").count(), 5);
}

/// SQL orders and filters by state, Rust shows it: the two must not disagree.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_database_and_the_badge_agree(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org) = (&world.db, world.org());
    let mut keys = vec![];
    for (name, change, kind) in [
        ("active", "set name = name", StatusKind::Active),
        ("just not idle", "set created_at = now() - interval '29 days'", StatusKind::Active),
        ("expiring", "set expires_at = now() + interval '6 days'", StatusKind::Expiring),
        ("disabled", "set disabled_at = now()", StatusKind::Disabled),
        ("expired", "set expires_at = now() - interval '1 second', disabled_at = now()", StatusKind::Expired),
        ("revoked", "set revoked_at = now(), expires_at = now(), disabled_at = now()", StatusKind::Revoked),
        ("idle", "set created_at = now() - interval '31 days'", StatusKind::Idle),
        (
            "idle and expiring",
            "set created_at = now() - interval '31 days', expires_at = now() + interval '6 days'",
            StatusKind::Expiring,
        ),
    ] {
        let key = world.key(name).await;
        sqlx::query(sqlx::AssertSqlSafe(format!("update api_keys {change} where id = '{}'", key.id.0)))
            .execute(&pool)
            .await
            .unwrap();
        keys.push((name, key.id, kind));
    }
    // Name, whether it rotates, calls by outcome, whether it is disabled afterwards.
    for (name, rotating, allowed, denied, limited, disabled, kind) in [
        ("rotating", true, 0, 0, 0, false, StatusKind::Rotating),
        ("elevated", false, 90, 10, 0, false, StatusKind::ElevatedDenials),
        ("too few of many", false, 91, 10, 0, false, StatusKind::Active),
        ("too few at all", false, 0, 9, 0, false, StatusKind::Active),
        ("elevated and rotating", true, 0, 10, 0, false, StatusKind::ElevatedDenials),
        ("limited", false, 0, 0, 1, false, StatusKind::RateLimited),
        ("limited, elevated and rotating", true, 0, 10, 1, false, StatusKind::RateLimited),
        ("limited, elevated and disabled", false, 0, 10, 1, true, StatusKind::Disabled),
    ] {
        let key = world.key(name).await;
        let mut rows = vec![];
        for (outcome, status, count) in
            [(ALLOWED, 200, allowed), ("ip_not_allowed", 403, denied), ("rate_limited", 429, limited)]
        {
            for _ in 0..count {
                rows.push(world.call(&key, outcome, status).await);
            }
        }
        domain::usage::store::write(db, world.server, &rows).await.unwrap();
        if rotating {
            store::regenerate(db, &world.owner, key.id, 1, Overlap::Day, "bnc").await.unwrap();
        }
        if disabled {
            store::set_disabled(db, &world.owner, &[key.id], true).await.unwrap();
        }
        keys.push((name, key.id, kind));
    }

    let now = Utc::now();
    let mut labels = HashMap::new();
    for (name, id, kind) in &keys {
        let status = store::get(db, org, *id, now).await.unwrap().status;
        assert_eq!(status.kind, *kind, "{name}");
        labels.entry(status.label).or_insert_with(Vec::new).push(*name);
    }
    for status in StatusFilter::ALL {
        let filter = KeyFilter {
            status: Some(status),
            sort: KeySort::Name,
            descending: false,
            per_page: 50,
            ..Default::default()
        };
        let found = store::list(db, org, &filter, now).await.unwrap();
        let mut expected = labels.remove(status.label()).unwrap();
        expected.sort_unstable();
        assert_eq!(found.rows.iter().map(|row| row.key.name.as_str()).collect::<Vec<_>>(), expected, "{status:?}");
    }
    assert!(labels.is_empty(), "badges without a filter: {labels:?}");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_cache_forgets_what_changed(pool: PgPool) {
    let world = World::new(&pool).await;
    let issued = world.key("Shop").await;
    let cache = KeyCache::new(world.db.clone(), Uuid::now_v7(), 100);
    cache.set_listening(true);
    let hash = hash(&issued);
    assert!(cache.peek(&hash).is_none());
    let entry = cache.find(&hash).await.unwrap().unwrap();
    assert_eq!((entry.key.id, entry.key.revoked), (issued.id, false));
    entry.window().record(1_000, 0);
    assert!(cache.peek(&hash).is_some());
    store::revoke(&world.db, &world.owner, &[issued.id]).await.unwrap();
    cache.invalidate_key(issued.id);
    assert!(cache.peek(&hash).is_none());
    let entry = cache.find(&hash).await.unwrap().unwrap();
    assert!(entry.key.revoked);
    assert_eq!(entry.window().rate(1_000, 1).used, 1, "the window outlives the change");
    assert!(cache.find(&KeyHash::of("nobody's")).await.unwrap().is_none());

    // Every secret of a key, even when the cache is too small to remember all about it.
    let second = world.key("Second").await;
    let small = KeyCache::new(world.db.clone(), Uuid::now_v7(), 1);
    small.set_listening(true);
    let old = small.find(&self::hash(&second)).await.unwrap().unwrap();
    let fresh = store::regenerate(&world.db, &world.owner, second.id, 1, Overlap::Day, "bnc").await.unwrap();
    let new = small.find(&self::hash(&fresh)).await.unwrap().unwrap();
    new.window().record(1_000, 0);
    assert_eq!(old.window().rate(1_000, 1).used, 1, "both secrets share the key's hour");
    small.invalidate_key(second.id);
    assert!(small.peek(&self::hash(&second)).is_none() && small.peek(&self::hash(&fresh)).is_none());
    assert_eq!(small.find(&self::hash(&fresh)).await.unwrap().unwrap().window().rate(1_000, 1).used, 1);

    // Known keys live on while the database is away; unknown ones get an honest answer.
    world.db.close().await;
    cache.set_listening(false);
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert!(cache.peek(&hash).is_none());
    assert!(cache.find(&hash).await.unwrap().is_some());
    assert!(matches!(cache.find(&KeyHash::of("nobody's")).await, Err(Error::Unavailable)));
}

/// While the database is away a known key works for ten minutes after it was last known to be true, and not longer.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn known_keys_work_without_the_database_up_to_a_stated_time(pool: PgPool) {
    const JUST: std::time::Duration = std::time::Duration::from_millis(1);
    let world = World::new(&pool).await;
    let hash = hash(&world.key("Shop").await);
    let cache = KeyCache::new(world.db.clone(), Uuid::now_v7(), 100);
    cache.set_listening(true);
    let asked = Instant::now();
    assert!(cache.find(&hash).await.unwrap().is_some());
    let answered = Instant::now();
    world.db.close().await;
    assert_eq!(STALE_FOR.as_secs(), 600, "as the README says");
    assert!(cache.find_at(&hash, asked + STALE_FOR - JUST).await.unwrap().is_some());
    assert!(matches!(cache.find_at(&hash, answered + STALE_FOR).await, Err(Error::Unavailable)));

    // The silence of a connection that would have told of a change confirms it, too.
    tokio::time::sleep(2 * JUST).await;
    let silent = Instant::now();
    cache.heard(Instant::now());
    let heard = Instant::now();
    assert!(cache.find_at(&hash, answered + STALE_FOR).await.unwrap().is_some());
    assert!(cache.find_at(&hash, silent + STALE_FOR - JUST).await.unwrap().is_some());
    assert!(matches!(cache.find_at(&hash, heard + STALE_FOR).await, Err(Error::Unavailable)));

    // Not if changes may have been missed before.
    cache.invalidate_all();
    assert!(cache.find_at(&hash, asked + STALE_FOR - JUST).await.unwrap().is_some());
    assert!(matches!(cache.find_at(&hash, answered + STALE_FOR).await, Err(Error::Unavailable)));
}

/// The gate keeps the name with each key, and no key changes with it.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn renaming_the_organization_is_told(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.unwrap();
    listener.listen("bouncer_keys").await.unwrap();
    domain::people::members::rename_organization(&world.db, &world.owner, "Acme Ltd").await.unwrap();
    let heard = tokio::time::timeout(std::time::Duration::from_secs(5), listener.recv()).await.unwrap().unwrap();
    assert_eq!(heard.payload(), "*");
}

/// A crash of the database must not let a signature be used again.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_used_signature_is_on_disk_before_the_call_goes_on(pool: PgPool) {
    // As every real database; the one of these tests waits for nothing.
    let db = Db::open(pool.connect_options().as_ref().clone().options([("synchronous_commit", "on")]), 2);
    let ends = Utc::now().timestamp() + 300;
    for n in 0..20 {
        let before: String =
            sqlx::query_scalar("select pg_current_wal_insert_lsn()::text").fetch_one(db.system()).await.unwrap();
        assert!(store::use_signature(&db, &[n; 32], ends).await.unwrap());
        let written: bool = sqlx::query_scalar("select pg_current_wal_flush_lsn() > $1::pg_lsn")
            .bind(before)
            .fetch_one(db.system())
            .await
            .unwrap();
        assert!(written, "{n}");
        assert!(!store::use_signature(&db, &[n; 32], ends).await.unwrap(), "used before");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_palette_finds_eight_by_name(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut made = Vec::new();
    for n in (0..12).rev() {
        made.push(world.key(&format!("Till {n:02} 100%")).await);
    }
    let other = world.key("Shop_1").await;
    store::revoke(&world.db, &world.owner, &[made[11].id]).await.unwrap();
    let find = async |q: &str| {
        let found = store::find_named(&world.db, world.org(), q).await.unwrap();
        found.into_iter().map(|(_, name, _)| name).collect::<Vec<_>>()
    };
    let eight: Vec<String> = (1..9).map(|n| format!("Till {n:02} 100%")).collect();
    assert_eq!(find(" tILL ").await, eight, "the revoked first one is not among them");
    assert_eq!(find("00%").await, eight);
    assert_eq!(find("p_").await, ["Shop_1"], "signs of patterns mean themselves");
    assert_eq!(find(&other.hint).await, ["Shop_1"]);
    assert_eq!(find(&other.id.to_string()).await, ["Shop_1"]);
    assert!(find("ti\0l%l").await.is_empty());
    let foreign = world.other_organization().await;
    assert!(store::find_named(&world.db, foreign.organization_id, "till").await.unwrap().is_empty());
}
