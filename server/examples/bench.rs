//! The measuring half of `make bench`; `tools/bench` starts it and the load generator.
//!
//! - `gate`: nanoseconds of hash, cache hit and decision
//! - `seed N FILE`: an organization with N keys, their texts written to FILE
//! - `traffic`: a day of calls with all keys, as the sums that the console reads
//! - `list`: the list of keys, in milliseconds of the database
//! - `figures`: how many calls the console would show
//! - `serve BARE FULL`: a bare axum route and the whole of Bouncer, each on its port, on one thread

use std::{
    error::Error,
    hint::black_box,
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get, serve::ListenerExt};
use chrono::Utc;
use clap::Parser;
use domain::{
    Db,
    gate::{Decision, Facts, Instance, Presented, Queue, cache::KeyCache, decide},
    ids::{KeyId, OrgId, SecretId},
    keys::{Environment, KeyFilter, KeyHash, KeyList, KeySort, PageAt, Scope, StatusFilter, store, token},
    people::{
        passwords::{Cost, Hasher},
        sign_in,
    },
    secret::{ExposeSecret, SecretString},
    time::Time,
};
use server::{config::Settings, serve, state::AppState, telemetry, workers};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Subcommand)]
enum What {
    Gate,
    Seed { keys: usize, file: std::path::PathBuf },
    Traffic,
    List,
    Figures,
    Serve { bare: u16, full: u16 },
}

fn main() -> Outcome {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.what {
            What::Gate => gate(&database(&arguments.settings)?).await,
            What::Seed { keys, file } => seed(&database(&arguments.settings)?, keys, &file).await,
            What::Traffic => traffic(&database(&arguments.settings)?).await,
            What::List => list(&database(&arguments.settings)?).await,
            What::Figures => figures(&database(&arguments.settings)?).await,
            What::Serve { bare, full } => serve_both(&arguments.settings, bare, full).await,
        }
    })
}

fn database(settings: &Settings) -> Outcome<Db> {
    let url = settings.database_url.as_ref().ok_or("DATABASE_URL must be set")?;
    let options: PgConnectOptions = url.expose_secret().parse()?;
    Ok(Db::open(options, 8))
}

/// Hash of the presented text, hit in the cache, decision with an IP list, a scope and a limit: what a call costs.
async fn gate(db: &Db) -> Outcome {
    let (organization, _) = organization(db).await?;
    let cache = KeyCache::new(db.clone(), Uuid::new_v4(), 10_000);
    cache.set_listening(true);
    let mut texts = vec![];
    for row in insert(db, organization, 1_000).await? {
        cache.find(&KeyHash::of(&row)).await?.ok_or("a key that was just made is known")?;
        texts.push(row);
    }
    let facts = Facts {
        now_ms: Utc::now().timestamp_millis(),
        ip: "10.1.2.3".parse()?,
        scope: Some(Scope::MessageSend),
        instance: Instance::None,
        rate: domain::gate::Rate::default(),
        queue: Queue::NotAsked,
    };
    let rounds = 2_000_000u32;
    let mut best = [f64::MAX; 2];
    for _ in 0..5 {
        cache.heard(Instant::now());
        let start = Instant::now();
        for i in 0..rounds {
            let text = &texts[i as usize % texts.len()];
            let entry = cache.peek(&KeyHash::of(black_box(text))).ok_or("a warm cache hits")?;
            let decision = {
                let mut window = entry.window();
                let facts = Facts { rate: window.rate(1_000_000, facts.now_ms), ..facts };
                let decision = decide(Presented::Key(&entry.key), &facts);
                window.record(1_000_000, facts.now_ms);
                decision
            };
            assert_eq!(black_box(decision), Decision::Allow);
        }
        best[0] = best[0].min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
        let entry = cache.peek(&KeyHash::of(&texts[0])).ok_or("a warm cache hits")?;
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(decide(black_box(Presented::Key(&entry.key)), black_box(&facts)));
        }
        best[1] = best[1].min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    println!("| check, hash, cache hit, window, decision | {:.0} ns |", best[0]);
    println!("| decision alone | {:.0} ns |", best[1]);
    Ok(())
}

async fn organization(db: &Db) -> Outcome<(OrgId, String)> {
    let found: Option<(Uuid, String)> =
        sqlx::query_as("select id, name from organizations order by created_at limit 1")
            .fetch_optional(db.system())
            .await?;
    if let Some((id, name)) = found {
        return Ok((OrgId(id), name));
    }
    let hasher = Hasher::new(Cost::Test, 1)?;
    let password = SecretString::from("measure twice, cut once");
    let (_, id) = sign_in::setup(db, &hasher, "Bench", "Bench", "bench@bouncer.example", &password, None).await?;
    Ok((id, "Bench".into()))
}

async fn seed(db: &Db, keys: usize, file: &std::path::Path) -> Outcome {
    let (organization, _) = organization(db).await?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    let mut left = keys;
    while left > 0 {
        for text in insert(db, organization, left.min(10_000)).await? {
            writeln!(out, "{text}")?;
        }
        left = left.saturating_sub(10_000);
    }
    sqlx::raw_sql("analyze").execute(db.system()).await?;
    Ok(())
}

/// Keys of twenty people with three networks, a limit of ten million an hour and states of all kinds, by statement instead
/// of by form.
async fn insert(db: &Db, organization: OrgId, count: usize) -> Outcome<Vec<String>> {
    let (mut ids, mut secrets, mut hashes, mut hints, mut names, mut texts) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..count {
        let fresh = token::generate(token::DEFAULT_PREFIX, Environment::Live);
        ids.push(KeyId::new().0);
        secrets.push(SecretId::new().0);
        hashes.push(fresh.hash.0.to_vec());
        hints.push(fresh.hint);
        names.push(format!("Key {}", Uuid::new_v4().simple()));
        texts.push(fresh.text.expose_secret().to_owned());
    }
    let mut tx = db.system().begin().await?;
    sqlx::query(
        "insert into api_keys (id, organization_id, name, description, environment, hint, scope_group, scopes, throttle, allowed_ips,
                               rate_limit, expires_at, created_by, created_by_name, last_used_at)
         select id, $1, name, 'made for measuring', 'live', hint, null, '{message:send,instance:read,key:verify}',
                '{\"mode\":\"off\",\"max_queue\":20}', '{10.0.0.0/8,127.0.0.0/8,2001:db8::/32}', 10000000,
                case when random() < 0.1 then now() + random() * interval '60 days' + interval '1 day' end,
                md5((place % 20)::text)::uuid, 'bench ' || place % 20,
                case when random() < 0.7 then now() - random() * interval '90 days' end
         from unnest($2::uuid[], $3::text[], $4::text[]) with ordinality as n (id, name, hint, place)",
    )
    .bind(organization.0)
    .bind(&ids)
    .bind(&names)
    .bind(&hints)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into api_key_secrets (id, organization_id, key_id, hash, hint)
         select s, $1, k, h, t from unnest($2::uuid[], $3::uuid[], $4::bytea[], $5::text[]) as n (s, k, h, t)",
    )
    .bind(organization.0)
    .bind(&secrets)
    .bind(&ids)
    .bind(&hashes)
    .bind(&hints)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(texts)
}

/// Four keys of five were called in each of the last 24 hours and in each minute of the last one; of those one in thirty
/// ran into its limit just now, one in fifty was mostly refused, and one in fifty is being rotated. Then the tables are
/// vacuumed, as Postgres does by itself within a minute.
async fn traffic(db: &Db) -> Outcome {
    let (organization, _) = organization(db).await?;
    sqlx::query(
        "with busy as (
             select id, row_number() over (order by id) as n from api_keys where organization_id = $1),
         buckets as (
             select 'hour' as grain, b as bucket
             from generate_series(date_trunc('hour', now()) - interval '23 hours', now(), interval '1 hour') b
             union all
             select 'minute', b
             from generate_series(date_trunc('minute', now()) - interval '59 minutes', now(), interval '1 minute') b),
         kinds (outcome, status) as (values ('allowed', 200), ('rate_limited', 429), ('ip_not_allowed', 403))
         insert into usage_rollups (organization_id, key_id, grain, bucket, endpoint, outcome, status, calls, latency_us)
         select $1, busy.id, grain, bucket, '/api/v1/messages/send', outcome, status, 40, 40000
         from busy cross join buckets cross join kinds
         where busy.n % 5 <> 0
           and (outcome = 'allowed' or outcome = 'rate_limited' and busy.n % 30 = 1 or outcome = 'ip_not_allowed' and busy.n % 50 = 2)
         on conflict do nothing",
    )
    .bind(organization.0)
    .execute(db.system())
    .await?;
    sqlx::query(
        "insert into api_key_secrets (id, organization_id, key_id, hash, hint, ends_at)
         select gen_random_uuid(), $1, id, sha256(id::text::bytea), hint, now() + interval '1 day'
         from (select id, hint, row_number() over (order by id) as n from api_keys where organization_id = $1) k where n % 50 = 3",
    )
    .bind(organization.0)
    .execute(db.system())
    .await?;
    sqlx::raw_sql("vacuum analyze").execute(db.system()).await?;
    Ok(())
}

async fn list(db: &Db) -> Outcome {
    let (organization, _) = organization(db).await?;
    let now = Utc::now();
    let mut cases: Vec<(String, KeyFilter)> = vec![];
    for sort in KeySort::ALL {
        for descending in [false, true] {
            let base = KeyFilter { sort, descending, per_page: 50, ..KeyFilter::default() };
            let order = format!(
                "by {}, {}",
                sort.as_str().replace('_', " "),
                if descending { "descending" } else { "ascending" }
            );
            cases.push((format!("{order}, first page"), base.clone()));
            let middle = middle(db, organization, &base).await?;
            cases.push((format!("{order}, page in the middle"), KeyFilter { at: middle, ..base.clone() }));
            cases.push((format!("{order}, last page"), KeyFilter { at: PageAt::Last, ..base }));
        }
    }
    let everyone = store::list(db, organization, &KeyFilter::default(), now).await?.creators;
    let creator = everyone.first().map(|(person, _)| *person);
    let active = KeyFilter { status: Some(StatusFilter::Active), ..KeyFilter::default() };
    let no_expiry = KeyFilter { no_expiry: true, sort: KeySort::Name, descending: false, ..KeyFilter::default() };
    for (name, filter) in [
        ("search “abc”", KeyFilter { q: "abc".into(), ..KeyFilter::default() }),
        ("search “abc” and status Active", KeyFilter { q: "abc".into(), ..active.clone() }),
        ("one creator of twenty", KeyFilter { creator, ..KeyFilter::default() }),
        (
            "no expiry, by name, a page far behind",
            KeyFilter { at: middle(db, organization, &no_expiry).await?, ..no_expiry },
        ),
        ("status Active, a page far behind", KeyFilter { at: middle(db, organization, &active).await?, ..active }),
        (
            "scope key:verify, idle, no expiry",
            KeyFilter { scope: Some(Scope::KeyVerify), idle: true, no_expiry: true, ..KeyFilter::default() },
        ),
        ("no IP list", KeyFilter { no_ip_list: true, ..KeyFilter::default() }),
        ("test keys", KeyFilter { environment: Some(Environment::Test), ..KeyFilter::default() }),
    ] {
        cases.push((name.into(), filter));
    }
    for status in StatusFilter::ALL {
        let filter = KeyFilter { status: Some(status), ..KeyFilter::default() };
        cases.push((format!("status {}", status.label()), filter));
    }
    measure(db, organization, &cases, now).await?;
    // In use: the pages of these keys have changed since they were vacuumed, so that no index alone is enough.
    sqlx::query("update api_keys set last_used_at = now() where organization_id = $1 and last_used_at > now() - interval '80 days'")
        .bind(organization.0)
        .execute(db.system())
        .await?;
    println!("| **right after six keys of ten were used** | |");
    cases.retain(|(name, _)| !name.ends_with("first page") && !name.ends_with("last page"));
    measure(db, organization, &cases, now).await
}

async fn measure(db: &Db, organization: OrgId, cases: &[(String, KeyFilter)], now: Time) -> Outcome {
    for (name, filter) in cases {
        let mut times = vec![];
        for _ in 0..15 {
            let start = Instant::now();
            let page: KeyList = store::list(db, organization, filter, now).await?;
            black_box(page);
            times.push(start.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        println!("| {name} | {:.1} ms |", times[times.len() / 2]);
    }
    Ok(())
}

async fn figures(db: &Db) -> Outcome {
    let calls: i64 =
        sqlx::query_scalar("select coalesce(sum(calls), 0)::bigint from usage_rollups where grain = 'day'")
            .fetch_one(db.system())
            .await?;
    println!("{calls}");
    Ok(())
}

/// A page about half-way: reached as a reader would, but in steps of fifty.
async fn middle(db: &Db, organization: OrgId, base: &KeyFilter) -> Outcome<PageAt> {
    let mut filter = KeyFilter { per_page: 50, ..base.clone() };
    for _ in 0..100 {
        match store::list(db, organization, &filter, Utc::now()).await?.next {
            Some(next) => filter.at = PageAt::After(next),
            None => break,
        }
    }
    Ok(filter.at)
}

/// The bare route answers a constant of about the size of `/api/v1/me`'s answer.
async fn serve_both(settings: &Settings, bare: u16, full: u16) -> Outcome {
    const ANSWER: &str = include_str!("me.json");
    let metrics = telemetry::metrics()?;
    let state = AppState::new(database(settings)?, settings)?;
    state.db.migrate().await?;
    let _workers = workers::start(&state);
    state.set_ready(true);
    let bare_app = Router::new()
        .route("/api/v1/me", get(async || ([("content-type", "application/json")], ANSWER)))
        // For tools/bench, which waits until the request log is written and reads how much of it was.
        .route("/metrics", get(async move || metrics.render()));
    let no_delay = |stream: &mut tokio::net::TcpStream| _ = stream.set_nodelay(true);
    let bare = tokio::net::TcpListener::bind(("127.0.0.1", bare)).await?.tap_io(no_delay);
    let full = tokio::net::TcpListener::bind(("127.0.0.1", full)).await?.tap_io(no_delay);
    let app = serve::router(&state).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        done = axum::serve(bare, bare_app).into_future() => done?,
        done = axum::serve(full, app).into_future() => done?,
        // A forgotten measurement ends by itself.
        () = tokio::time::sleep(Duration::from_secs(1_800)) => {}
    }
    Ok(())
}
