//! Start, run, drain.
//!
//! On SIGTERM or Ctrl-C: `/readyz` says no, no new connections, calls in flight finish, workers write what they hold,
//! the private Postgres stops if nobody else uses it, exit code 0. A second signal ends at once.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    api,
    cli::Database,
    config::{Failure, Settings},
    inbound,
    state::AppState,
    telemetry, web, workers,
};

/// How long calls in flight may take to finish.
const DRAIN: Duration = Duration::from_secs(30);
/// How often the database is looked after.
const WATCH: Duration = Duration::from_secs(2);

/// Runs until a signal.
///
/// # Errors
/// When it cannot start, with a sentence that says why.
pub async fn run(settings: &Settings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let metrics = telemetry::metrics().map_err(|error| Failure(format!("Metrics cannot be counted: {error}")))?;
    // Before the database is started: an address in use should be told at once.
    let listener = bind(settings.addr, "BOUNCER_ADDR").await?;
    let metrics_listener = match settings.metrics_addr.0 {
        Some(addr) => Some(bind(addr, "BOUNCER_METRICS_ADDR").await?),
        None => None,
    };
    let database = Database::open(settings).await?;
    let state = match AppState::new(database.db.clone(), settings) {
        Ok(state) => state,
        Err(failure) => {
            database.close().await?;
            return Err(failure);
        }
    };
    // Before anything is written: making them later makes writers wait.
    if let Err(error) = domain::partitions::keep(&database.db, chrono::Utc::now()).await {
        tracing::warn!(%error, "partitions cannot be made now; housekeeping tries again");
    }
    let mut workers = workers::start(&state);
    if let Some(listener) = metrics_listener {
        let metrics = axum::serve(listener, metrics_router(metrics)).into_future();
        // Counting goes on until the very end; nothing in flight there is worth waiting for.
        tokio::spawn(async move { _ = metrics.await });
    }

    let app = router(&state).into_make_service_with_connect_info::<SocketAddr>();
    let address = listener.local_addr().unwrap_or(settings.addr);
    // Without this each small answer waits 40 ms for the other side's acknowledgement.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let stopping = state.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { stopping.draining().await });
    let mut server = tokio::spawn(server.into_future());
    state.set_ready(true);
    tracing::info!("Bouncer listens on {address}");
    tracing::info!("open {}", settings.public_url());

    tokio::select! {
        () = signals.next() => {}
        () = keep_alive(&database) => {}
    }
    tracing::info!("stopping: calls in flight finish");
    state.set_ready(false);
    state.drain();
    let drained = tokio::select! {
        done = tokio::time::timeout(DRAIN, &mut server) => done.is_ok(),
        () = signals.next() => at_once(),
    };
    if !drained {
        tracing::warn!("some calls did not finish within {} s", DRAIN.as_secs());
        server.abort();
    }
    state.stop();
    let finish = async {
        while workers.join_next().await.is_some() {}
        database.close().await
    };
    tokio::select! {
        closed = finish => closed?,
        () = signals.next() => at_once(),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Watches over the private Postgres: nobody else would start it again.
async fn keep_alive(database: &Database) {
    loop {
        tokio::time::sleep(WATCH).await;
        if database.db.ping().await.is_ok() {
            continue;
        }
        match database.revive().await {
            Ok(true) => tracing::warn!("the private Postgres had ended and was started again"),
            Ok(false) => {}
            Err(failure) => tracing::error!(%failure, "the private Postgres cannot be started again"),
        }
    }
}

/// Ends the process without waiting for anything, not even for what hangs.
fn at_once() -> ! {
    tracing::warn!("stopped at once by a second signal");
    std::process::exit(1)
}

async fn bind(addr: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure(format!("Something listens on {addr} already. Stop it, or choose another {setting}."))
        }
        _ => Failure(format!("{setting}: {addr} cannot be listened on: {error}")),
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure(format!("Signals cannot be heard: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that is served on the main address.
pub fn router(state: &AppState) -> Router {
    let others = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .merge(api::unknown(state))
        .merge(inbound::router())
        .merge(web::router(state))
        .with_state(state.clone());
    api::router(state, others)
}

/// May calls be sent here? Not while stopping, and not without a database.
async fn readyz(State(state): State<AppState>) -> Response {
    let no = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], why).into_response();
    if !state.is_ready() {
        return no("stopping or starting\n");
    }
    match tokio::time::timeout(Duration::from_secs(2), state.db.ping()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        _ => no("the database does not answer\n"),
    }
}

/// Everything that is served on the address of the metrics.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    Router::new().route(
        "/metrics",
        get(async move || {
            handle.run_upkeep();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
        }),
    )
}
