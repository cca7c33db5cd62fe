//! The measuring half of `tools/bench-webhooks`: events a second to one fast endpoint, and their lag, while another
//! endpoint hangs.
//!
//! Everything runs in this process beside the real workers: a sink that answers at once, one that never answers, and a
//! source that writes events at an even rate, in transactions of ten, as senders do. The lag of an event is the time
//! from the commit of its transaction to its arrival at the sink.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use chrono::Utc;
use clap::Parser;
use domain::{
    Db,
    ids::OrgId,
    keys::Environment,
    people::Actor,
    secret::ExposeSecret,
    webhooks::{
        EndpointDraft,
        events::{self, NewEvent},
        store,
    },
};
use serde_json::{Value, json};
use server::{config::Settings, state::AppState, workers};
use sqlx::postgres::PgConnectOptions;

type Run<T = ()> = Result<T, Box<dyn Error>>;

/// Events in one transaction.
const TOGETHER: u32 = 10;

#[derive(Parser)]
struct Arguments {
    /// Events a second
    rate: u32,
    /// How long
    seconds: u32,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> Run {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure(arguments))
}

/// When each event was committed, and when it arrived.
#[derive(Default)]
struct Times {
    committed: HashMap<u64, Instant>,
    arrived: HashMap<u64, Instant>,
    twice: u32,
}

async fn measure(Arguments { rate, seconds, settings }: Arguments) -> Run {
    let url = settings.database_url.as_ref().ok_or("DATABASE_URL must be set")?;
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let db = Db::open(options, 24);
    db.migrate().await?;
    let state = AppState::new(db.clone(), &settings)?;
    let organization = OrgId::new();
    sqlx::query("insert into organizations (id, name) values ($1, 'Webhook bench')")
        .bind(organization.0)
        .execute(db.system())
        .await?;

    let times = Arc::new(Mutex::new(Times::default()));
    let seen = times.clone();
    let fast = sink(post(move |body: Bytes| async move {
        let at = Instant::now();
        let n = serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["data"]["n"].as_u64());
        if let (Some(n), Ok(mut times)) = (n, seen.lock()) {
            times.twice += u32::from(times.arrived.insert(n, at).is_some());
        }
    }))
    .await?;
    let hanging = sink(post(std::future::pending::<()>)).await?;
    for url in [&fast, &hanging] {
        let actor =
            Actor { organization_id: organization, person_id: None, name: "bench".into(), ip: None, role: None };
        let draft = EndpointDraft { url: url.clone(), events: vec!["message.*".into()], ..EndpointDraft::default() };
        let new = draft.parse(None).map_err(|errors| format!("{errors:?}"))?;
        store::create(&db, &state.sealer, &actor, None, new, None).await?;
    }
    let mut running = workers::start(&state);
    // Until it listens.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * TOGETHER / rate);
    let total = u64::from(rate) * u64::from(seconds);
    let mut made = 0;
    while made < total {
        ticks.tick().await;
        let batch: Vec<_> = (made..made + u64::from(TOGETHER)).collect();
        made += u64::from(TOGETHER);
        let (db, times) = (db.clone(), times.clone());
        tokio::spawn(async move {
            if let Err(error) = emit(&db, organization, &batch, &times).await {
                eprintln!("an event could not be written: {error}");
            }
        });
    }
    let offered = begun.elapsed();
    let patience = Instant::now() + Duration::from_secs(30);
    let arrived = |times: &Mutex<Times>| times.lock().map(|times| times.arrived.len() as u64).unwrap_or_default();
    while arrived(&times) < made && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let whole = begun.elapsed();
    report(&times, made, offered, whole)?;
    // Attempts that hang would be waited for; the process ends without them.
    state.stop();
    running.abort_all();
    Ok(())
}

async fn sink(route: axum::routing::MethodRouter) -> Run<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { _ = axum::serve(listener, Router::new().route("/", route)).await });
    Ok(url)
}

async fn emit(db: &Db, organization: OrgId, batch: &[u64], times: &Mutex<Times>) -> domain::Result<()> {
    let events: Vec<_> = batch
        .iter()
        .map(|n| NewEvent {
            organization,
            environment: Environment::Live,
            kind: "message.sent",
            at: Utc::now(),
            data: json!({ "n": n, "messageId": "msg_01jd3qz5k8e9rb1w0c5m2n6x7y", "to": "60123456789", "status": "sent" }),
            message: None,
            key: None,
        })
        .collect();
    let mut tx = db.system().begin().await?;
    events::emit(&mut tx, &events).await?;
    // Before the commit: an event may arrive before the answer to it does.
    let at = Instant::now();
    if let Ok(mut times) = times.lock() {
        times.committed.extend(batch.iter().map(|n| (*n, at)));
    }
    tx.commit().await?;
    Ok(())
}

fn report(times: &Mutex<Times>, made: u64, offered: Duration, whole: Duration) -> Run {
    let times = times.lock().map_err(|_| "a sink failed")?;
    let mut lags: Vec<Duration> = times
        .arrived
        .iter()
        .filter_map(|(n, at)| Some(at.saturating_duration_since(*times.committed.get(n)?)))
        .collect();
    lags.sort_unstable();
    let ms = |lag: Duration| lag.as_secs_f64() * 1000.0;
    let at = |share: f64| lags.get(((lags.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
    let mean = lags.iter().map(|lag| ms(*lag)).sum::<f64>() / lags.len().max(1) as f64;
    println!("| events offered / arrived / twice | {made} / {} / {} |", lags.len(), times.twice);
    println!(
        "| a second: offered / arrived | {:.0} / {:.0} |",
        made as f64 / offered.as_secs_f64(),
        lags.len() as f64 / whole.as_secs_f64()
    );
    println!(
        "| lag: mean / p50 / p99 / longest | {mean:.0} / {:.0} / {:.0} / {:.0} ms |",
        ms(at(0.5)),
        ms(at(0.99)),
        ms(at(1.0))
    );
    if lags.len() as u64 != made {
        return Err("not every event arrived".into());
    }
    Ok(())
}
