//! The measuring half of `tools/bench-sending`.
//!
//! - `keys COUNT FILE`: makes so many keys with an instance of the sandbox each; a line of the file is a key and its instance
//! - `pause yes|no`: holds all these instances up, or lets them go on
//! - `accepted`: how many messages there are, and how many of them were sent
//! - `claim MESSAGES INSTANCES`: how long a claim takes with that many messages queued, half of the instances paced
//! - `fill MESSAGES INSTANCES`: queues so many messages on so many instances of the sandbox
//! - `sandbox MESSAGES INSTANCES`: messages a second through the sandbox, from queued to sent, one server

use std::{
    error::Error,
    time::{Duration, Instant},
};

use chrono::Utc;
use clap::Parser;
use domain::{
    Db,
    ids::{InstanceId, OrgId},
    keys::KeyForm,
    messages::queue::{self, Finished, Outcome, PausedBy},
    people::Actor,
    secret::ExposeSecret,
};
use server::{config::Settings, state::AppState, workers};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

type Run<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Subcommand)]
enum What {
    Keys { count: usize, file: std::path::PathBuf },
    Pause { pause: String },
    Accepted,
    Claim { messages: i64, instances: i64 },
    Fill { messages: i64, instances: i64 },
    Sandbox { messages: i64, instances: i64 },
}

fn main() -> Run {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let url = arguments.settings.database_url.as_ref().ok_or("DATABASE_URL must be set")?;
        let options: PgConnectOptions = url.expose_secret().parse()?;
        let db = Db::open(options, 16);
        db.migrate().await?;
        domain::partitions::keep(&db, Utc::now()).await?;
        match arguments.what {
            What::Keys { count, file } => keys(&db, count, &file).await,
            What::Pause { pause } => hold(&db, pause == "yes").await,
            What::Accepted => accepted(&db).await,
            What::Claim { messages, instances } => claim(&db, messages, instances).await,
            What::Fill { messages, instances } => {
                fill(&db, ["sandbox", "sandbox"], messages, instances).await.map(drop)
            }
            What::Sandbox { messages, instances } => sandbox(db, &arguments.settings, messages, instances).await,
        }
    })
}

async fn keys(db: &Db, count: usize, file: &std::path::Path) -> Run {
    let organization = OrgId::new();
    sqlx::query("insert into organizations (id, name) values ($1, 'Bench')")
        .bind(organization.0)
        .execute(db.system())
        .await?;
    let actor = Actor {
        organization_id: organization,
        person_id: None,
        name: "bench".into(),
        ip: None,
        role: Some(domain::people::Role::Owner),
    };
    let mut lines = String::new();
    for n in 0..count {
        let form = KeyForm {
            name: format!("Shop {n}"),
            scopes: vec!["message:send".into()],
            scope_group: String::new(),
            throttle_mode: "off".into(),
            max_queue: "10000".into(),
            rate_limit: String::new(),
            ..KeyForm::default()
        };
        let new = form.parse(Utc::now(), None).map_err(|errors| format!("{errors:?}"))?;
        let issued = domain::keys::store::create(db, &actor, new, None, "bnc").await?;
        let instance = InstanceId::new();
        sqlx::query(
            "with made as (
                 insert into instances (id, organization_id, name, provider, settings, status, created_by_name)
                 values ($1, $2, $1::text, 'sandbox', '{\"provider\":\"sandbox\"}', 'connected', 'bench'))
             insert into queues (instance_id, organization_id) values ($1, $2)",
        )
        .bind(instance.0)
        .bind(organization.0)
        .execute(db.system())
        .await?;
        lines += &format!("{} {instance}\n", issued.text.expose_secret());
    }
    std::fs::write(file, lines)?;
    Ok(())
}

async fn hold(db: &Db, pause: bool) -> Run {
    let rows: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select organization_id, instance_id from queues").fetch_all(db.system()).await?;
    for (organization, instance) in rows {
        let (organization, instance) = (OrgId(organization), InstanceId(instance));
        let mut tx = db.system().begin().await?;
        if pause {
            queue::pause(&mut tx, organization, instance, PausedBy::Person, "measuring", Utc::now()).await?;
        } else {
            queue::resume(&mut tx, organization, instance, PausedBy::Person, Utc::now()).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

async fn accepted(db: &Db) -> Run {
    let (all, sent): (i64, i64) =
        sqlx::query_as("select count(*), count(sent_at) from messages").fetch_one(db.system()).await?;
    println!("{all} {sent}");
    Ok(())
}

/// Messages that wait, evenly on fresh instances of a fresh organization. Every other instance is paced when its
/// provider is `waha`; others have nothing to wait for.
async fn fill(db: &Db, providers: [&str; 2], messages: i64, instances: i64) -> Run<OrgId> {
    let organization = OrgId::new();
    let mut tx = db.system().begin().await?;
    sqlx::query("insert into organizations (id, name) values ($1, 'Bench')")
        .bind(organization.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into instances (id, organization_id, name, provider, settings, status, created_by_name)
         select gen_random_uuid(), $1, 'Number ' || n, ($2::text[])[1 + n % 2], jsonb_build_object('provider', ($2::text[])[1 + n % 2]),
                'connected', 'bench'
         from generate_series(1, $3) n",
    )
    .bind(organization.0)
    .bind(providers)
    .bind(instances)
    .execute(&mut *tx)
    .await?;
    sqlx::query("insert into queues (instance_id, organization_id) select id, organization_id from instances where organization_id = $1")
        .bind(organization.0)
        .execute(&mut *tx)
        .await?;
    // UUIDv7 of now, as MessageId::new makes them. Paced messages are 5 s apart, beginning now.
    sqlx::query(
        "with line as (
             select i.id as instance_id, i.provider, k,
                    encode(substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) || '\\x7000'::bytea
                           || substring(uuid_send(gen_random_uuid()) from 9), 'hex')::uuid as id,
                    now() + case when i.provider = 'waha' then k * interval '5 seconds' else interval '0' end as due,
                    '6012' || lpad((row_number() over ())::text, 7, '0') || '9' as recipient
             from instances i cross join generate_series(0, $2 / $3 - 1) k
             where i.organization_id = $1),
         rows as (
             insert into messages (id, organization_id, instance_id, environment, recipient, kind, body, status, status_rank,
                                   status_at, accepted_at, slot_at)
             select id, $1, instance_id, 'live', recipient, 'text', '{\"text\":{\"body\":\"Your order is on its way.\",\"preview_url\":false}}',
                    'queued', 0, now(), now(), due
             from line)
         insert into outbox (message_id, organization_id, instance_id, environment, recipient, due, gap_ms, expires_at)
         select id, $1, instance_id, 'live', recipient, due, case when provider = 'waha' then 5000 else 0 end, now() + interval '24 hours'
         from line order by k",
    )
    .bind(organization.0)
    .bind(messages)
    .bind(instances)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update queues set next_due = now() where organization_id = $1")
        .bind(organization.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    for table in ["outbox", "messages", "queues", "instances"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("vacuum analyze {table}"))).execute(db.system()).await?;
    }
    // Or it would come in the middle of what is measured.
    sqlx::query("checkpoint").execute(db.system()).await?;
    Ok(organization)
}

async fn claim(db: &Db, messages: i64, instances: i64) -> Run {
    if messages > 0 {
        fill(db, ["cloud_api", "waha"], messages, instances).await?;
    }
    let server = Uuid::now_v7();
    let (mut claims, mut finishes, mut claimed) = (vec![], vec![], 0);
    // The first claims plan their statements.
    for round in 0..320 {
        let begun = Instant::now();
        let batch = queue::claim(db, server, 256, Utc::now()).await?;
        let took = begun.elapsed();
        if batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let ends: Vec<Finished> = batch
            .iter()
            .map(|claim| {
                let outcome = Outcome::Sent { provider_message_id: claim.id.to_string(), then: vec![] };
                Finished::new(claim, outcome, Utc::now())
            })
            .collect();
        let begun = Instant::now();
        queue::finish(db, &ends, Utc::now()).await?;
        if round >= 20 {
            claimed += batch.len();
            claims.push(took);
            finishes.push(begun.elapsed());
        }
    }
    println!(
        "| {messages} messages queued on {instances} instances: {} claims, {} messages a claim | median | p99 |",
        claims.len(),
        claimed / claims.len().max(1)
    );
    println!("|---|---|---|");
    row("claim", claims);
    row("finish", finishes);
    Ok(())
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        times.get(((times.len() as f64) * share) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("| {name} | {:.1} ms | {:.1} ms |", at(0.5), at(0.99));
}

async fn sandbox(db: Db, settings: &Settings, messages: i64, instances: i64) -> Run {
    let organization = fill(&db, ["sandbox", "sandbox"], messages, instances).await?;
    let state = AppState::new(db.clone(), settings)?;
    state.set_ready(true);
    let begun = Instant::now();
    let mut workers = workers::start(&state);
    let count = async |sql: &'static str| -> Run<i64> {
        Ok(sqlx::query_scalar(sql).bind(organization.0).fetch_one(db.system()).await?)
    };
    while count("select count(*) from outbox where organization_id = $1").await? > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = begun.elapsed();
    while count(
        "select count(*) from sandbox_statuses s join instances i on i.id = s.instance_id where i.organization_id = $1",
    )
    .await?
        > 0
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let delivered = begun.elapsed();
    state.drain();
    state.stop();
    while workers.join_next().await.is_some() {}
    let good = count("select count(*) from messages where organization_id = $1 and status = 'delivered'").await?;
    if good != messages {
        return Err(format!("{good} of {messages} were delivered").into());
    }
    let memory = std::fs::read_to_string("/proc/self/status")?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("", str::trim);
    let rate = |took: Duration| messages as f64 / took.as_secs_f64();
    println!(
        "| {messages} messages on {instances} instances: sent / delivered; most memory {memory} | {:.0} / {:.0} |",
        rate(sent),
        rate(delivered)
    );
    Ok(())
}
