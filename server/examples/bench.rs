//! What `make bench` measures with; the script tools/bench puts the pieces together.
//!
//! ```text
//! bench gate             makes 1,000 keys, and times the gate with a warm cache
//! bench seed N FILE      makes N keys more, and writes their texts into FILE
//! bench list             times the list of keys in the database
//! bench serve BARE FULL  serves a bare axum route on one port and Bouncer on another
//! ```
//! All work in the database of `DATABASE_URL`.

#![recursion_limit = "256"]

use std::{
    hint::black_box,
    io::{BufWriter, Write},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get, serve::ListenerExt};
use chrono::Utc;
use clap::{Parser, Subcommand};
use domain::{
    Db, Error,
    gate::{Decision, Facts, Instance, Presented, Queue, cache::KeyCache, decide},
    ids::{KeyId, OrgId, SecretId},
    keys::{DEFAULT_GROUP, Environment, KeyFilter, KeyHash, KeySort, PageAt, ScopeGroup, StatusFilter, store, token},
    people::{passwords, sign_in},
    secret::{ExposeSecret, SecretString},
    throttle::Throttle,
};
use server::config::{Failure, Settings};
use uuid::Uuid;

const EMAIL: &str = "bench@bouncer.example";
const PASSWORD: &str = "measure twice, cut once";
/// Calls in a round; the best round counts, since whatever else the machine does only ever adds.
const ROUND: u32 = 200_000;
const ROUNDS: u32 = 10;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    Gate,
    Seed { count: usize, file: PathBuf },
    List,
    Serve { bare: u16, full: u16 },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let line = Line::parse();
    server::telemetry::log(line.settings.log);
    // As the server itself: see cli.rs.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        match line.command {
            Command::Gate => gate(&database(&line.settings).await?).await?,
            Command::Seed { count, file } => {
                let db = database(&line.settings).await?;
                let organization = organization(&db).await?;
                let mut out = BufWriter::new(std::fs::File::create(file)?);
                seed(&db, organization, count, |key| writeln!(out, "{key}")).await?;
                out.flush()?;
            }
            Command::List => list(&database(&line.settings).await?).await?,
            Command::Serve { bare, full } => serve(line.settings, bare, full).await?,
        }
        Ok(())
    })
}

async fn database(settings: &Settings) -> Result<Db, Failure> {
    let url = settings.database_url().ok_or_else(|| Failure::new("DATABASE_URL is needed"))?;
    let options = url.parse().map_err(|_| Failure::new("DATABASE_URL is no address"))?;
    let db = Db::connect(options, 8).await?;
    db.migrate().await?;
    Ok(db)
}

/// The organization of all measurements.
async fn organization(db: &Db) -> Result<OrgId, Error> {
    match sign_in::organization_by_name_or_id(db, "Bench").await {
        Ok(organization) => Ok(organization.id),
        Err(Error::NotFound) => {
            let hasher = passwords::Hasher::new(passwords::Cost::Test, 1)?;
            let password = SecretString::from(PASSWORD);
            Ok(sign_in::create_organization(db, &hasher, "Bench", "Bench", EMAIL, &password, None).await?.1)
        }
        Err(error) => Err(error),
    }
}

/// Makes keys in bulk: straight into the tables, since a million of them by the dialog's way would take an hour.
async fn seed(
    db: &Db,
    organization: OrgId,
    count: usize,
    mut tell: impl FnMut(&str) -> std::io::Result<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let scopes: Vec<String> = ScopeGroup::find(DEFAULT_GROUP)
        .map(|group| group.scopes().iter().map(|scope| scope.as_str().to_owned()).collect())
        .unwrap_or_default();
    let throttle = serde_json::to_value(Throttle::default())?;
    let mut left = count;
    while left > 0 {
        let batch = left.min(5_000);
        left -= batch;
        let (mut ids, mut secrets, mut hashes, mut hints) = (vec![], vec![], vec![], vec![]);
        for _ in 0..batch {
            let fresh = token::generate(token::DEFAULT_PREFIX, Environment::Live);
            tell(fresh.text.expose_secret())?;
            ids.push(KeyId::new().0);
            secrets.push(SecretId::new().0);
            hashes.push(fresh.hash.0.to_vec());
            hints.push(fresh.hint);
        }
        let mut tx = db.system().begin().await?;
        sqlx::query(
            "insert into api_keys (id, organization_id, name, description, environment, hint, scope_group, scopes, throttle,
                                   allowed_ips, rate_limit, created_at, created_by_name, last_used_at)
             select id, $2, 'Key ' || id, '', 'live', hint, $4, $5, $6, '{}', 10000000,
                    now() - random() * interval '300 days', 'bench',
                    case when random() < 0.7 then now() - random() * interval '60 days' end
             from unnest($1::uuid[], $3::text[]) as n (id, hint)",
        )
        .bind(&ids)
        .bind(organization.0)
        .bind(&hints)
        .bind(DEFAULT_GROUP)
        .bind(&scopes)
        .bind(&throttle)
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
    }
    sqlx::query("analyze api_keys, api_key_secrets").execute(db.system()).await?;
    Ok(())
}

/// Everything that the gate does for a call with a known key, from the text in the header to the counted call.
async fn gate(db: &Db) -> Result<(), Box<dyn std::error::Error>> {
    let organization = organization(db).await?;
    let mut keys = vec![];
    seed(db, organization, 1_000, |key| {
        keys.push(key.to_owned());
        Ok(())
    })
    .await?;
    let cache = KeyCache::new(db.clone(), Uuid::new_v4(), 10_000);
    cache.set_listening(true);
    for key in &keys {
        cache.find(&KeyHash::of(key)).await?;
    }
    let ip = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let mut next = keys.iter().cycle();
    let mut refused = 0u32;
    let mut whole = || {
        let Some(key) = next.next() else { return };
        let hash = match token::check(token::DEFAULT_PREFIX, black_box(key)) {
            Ok(_) => KeyHash::of(key),
            Err(_) => return,
        };
        let Some(entry) = cache.peek(&hash) else { return refused += 1 };
        let now_ms = Utc::now().timestamp_millis();
        let limit = entry.key.rate_limit.unwrap_or(u32::MAX);
        let mut window = entry.window();
        let facts = Facts { now_ms, ip, scope: None, instance: Instance::None, rate: window.rate(limit, now_ms), queue: Queue::NotAsked };
        if decide(Presented::Key(&entry.key), black_box(&facts)) == Decision::Allow {
            window.record(limit, now_ms);
        } else {
            refused += 1;
        }
    };
    let all = best(&mut whole);
    let entry = cache.peek(&KeyHash::of(&keys[0])).ok_or("the cache is cold")?;
    let rate = entry.window().rate(1_000_000, Utc::now().timestamp_millis());
    let facts = Facts { now_ms: Utc::now().timestamp_millis(), ip, scope: None, instance: Instance::None, rate, queue: Queue::NotAsked };
    let alone = best(&mut || _ = black_box(decide(Presented::Key(black_box(&entry.key)), black_box(&facts))));
    let hash = best(&mut || _ = black_box(KeyHash::of(black_box(&keys[0]))));
    let check = best(&mut || _ = black_box(token::check(token::DEFAULT_PREFIX, black_box(&keys[0]))));
    if refused > 0 {
        return Err(format!("{refused} calls were refused").into());
    }
    println!("| format, checksum, hash, look-up, decision and count | {all} ns |");
    println!("| of it: format and checksum | {check} ns |");
    println!("| of it: hash of the key | {hash} ns |");
    println!("| of it: `gate::decide` | {alone} ns |");
    Ok(())
}

/// Nanoseconds for one call, in the best of some rounds.
fn best(call: &mut dyn FnMut()) -> u128 {
    (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..ROUND {
                call();
            }
            begun.elapsed().as_nanos() / u128::from(ROUND)
        })
        .min()
        .unwrap_or_default()
}

async fn list(db: &Db) -> Result<(), Box<dyn std::error::Error>> {
    let organization = organization(db).await?;
    let now = Utc::now();
    let page = KeyFilter { per_page: 50, ..KeyFilter::default() };
    let by = |sort: KeySort, descending| KeyFilter { sort, descending, ..page.clone() };
    let second = store::list(db, organization, &page, now).await?.next.ok_or("there are too few keys")?;
    let some = store::list(db, organization, &page, now).await?.rows.pop().ok_or("there are no keys")?.key;
    let cases = [
        ("newest first", page.clone()),
        ("second page", KeyFilter { at: PageAt::After(second), ..page.clone() }),
        ("last page", KeyFilter { at: PageAt::Last, ..page.clone() }),
        ("by name", by(KeySort::Name, false)),
        ("by name, last page", KeyFilter { at: PageAt::Last, ..by(KeySort::Name, false) }),
        ("by status", by(KeySort::Status, false)),
        ("by last use", by(KeySort::LastUsed, true)),
        ("active only", KeyFilter { status: Some(StatusFilter::Active), ..page.clone() }),
        ("expiring only: none", KeyFilter { status: Some(StatusFilter::Expiring), ..page.clone() }),
        ("idle only", KeyFilter { idle: true, ..page.clone() }),
        ("search: part of a hint", KeyFilter { q: some.hint.chars().skip(9).take(4).collect(), ..page.clone() }),
        ("search: not there", KeyFilter { q: "nothing like this".into(), ..page.clone() }),
        ("search: an id", KeyFilter { q: some.id.to_string(), ..page.clone() }),
    ];
    for (name, filter) in cases {
        let mut times = vec![];
        for _ in 0..15 {
            let begun = Instant::now();
            black_box(store::list(db, organization, &filter, now).await?);
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("| {name} | {:.1} ms |", times[times.len() / 2].as_secs_f64() * 1e3);
    }
    Ok(())
}

/// The same bytes as `/api/v1/me` answers, from a route that does nothing.
const BARE: &str = r#"{"id":"key_01m7xzgt4xe8zbqykypfqfv85g","name":"Key 01991ac2-2a4b-7d7d-8f3b-9f8f5f5f5f5f","environment":"live","scopes":["message:send","instance:read","webhooks:manage","conversation:manage"],"organization":{"id":"org_01m7xzfzr0ekj8w6bd6pr57tkt","name":"Bench"},"limits":{"requestsPerHour":10000000,"requestsRemaining":9999999,"allowedIps":[],"allowedInstances":null},"expiresAt":null,"secretEndsAt":null}"#;

async fn serve(mut settings: Settings, bare: u16, full: u16) -> Result<(), Box<dyn std::error::Error>> {
    settings.addr.set_port(full);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", bare)).await?.tap_io(|stream| _ = stream.set_nodelay(true));
    let route = get(async || ([(header::CONTENT_TYPE, "application/json")], BARE));
    let server = axum::serve(listener, Router::new().route("/api/v1/me", route));
    tokio::spawn(async move { server.await });
    // The first connections should not find one server warmer than the other.
    tokio::time::sleep(Duration::from_millis(10)).await;
    server::serve::run(&settings).await?;
    Ok(())
}
