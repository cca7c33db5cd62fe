//! Logs (`tracing`) and metrics (Prometheus, on an address of its own).

use std::{
    io::IsTerminal,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, prelude::*};

use crate::{config::LogForm, state::AppState};

/// Log lines go to standard error: standard output belongs to what commands print.
pub fn log(form: LogForm) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // sqlx tells of every migration, tower-sessions of every session cookie that ended.
        EnvFilter::new("info,sqlx=warn,tower_sessions=warn,tower_sessions_core=warn")
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // A second call, in tests, keeps the first one's choice.
    _ = match form {
        LogForm::Text => registry.with(lines).try_init(),
        LogForm::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}

/// Begins to count. The handle prints the counts.
///
/// # Errors
/// When something else counts already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_seconds".into()),
            &[
                0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                2.5, 5.0,
            ],
        )?
        .install_recorder()?;
    describe();
    _ = HANDLE.set(handle.clone());
    Ok(handle)
}

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Puts observed times into their buckets, each second until the state is stopped. Until then the library keeps every
/// single one of them in memory, whether anybody asks for the metrics or not.
pub async fn keep_up(state: AppState) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = state.stopped() => return,
        }
        if let Some(handle) = HANDLE.get() {
            handle.run_upkeep();
        }
    }
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("bouncer_requests_total", "API calls by outcome: allowed, or why they were refused");
    histogram!("bouncer_request_duration_seconds", "Time from an API call's arrival to its answer");
    counter!("bouncer_request_rows_written_total", "Rows of the request log that were written");
    counter!(
        "bouncer_request_rows_dropped_total",
        "Rows of the request log that were lost because the buffer was full or the database refused them"
    );
    counter!(
        "bouncer_uncounted_calls_total",
        "API calls that are in no figure of the console because too many different ones waited for the database"
    );
    gauge!("bouncer_request_rows_waiting", "Rows of the request log that wait to be written");
    gauge!("bouncer_cached_secrets", "Secrets of API keys in the cache");
    gauge!("bouncer_database_up", "1 while the database answers");
    gauge!("bouncer_listening", "1 while changes of keys are heard at once");
    counter!("bouncer_hook_refused_total", "Deliveries of providers whose signature was missing or wrong");
    counter!("bouncer_hook_ignored_total", "Parts of providers' deliveries that were left out, by reason");
    gauge!("bouncer_live_viewers", "Open live connections of the console");
}

/// Looked up once: on the path of every call a counter must be one addition.
pub struct Counters {
    allowed: Counter,
    outcomes: Vec<(&'static str, Counter)>,
    pub duration: Histogram,
    pub written: Counter,
    pub dropped_full: Counter,
    pub dropped_refused: Counter,
    pub uncounted: Counter,
    pub waiting: Gauge,
    pub cached: Gauge,
    pub database_up: Gauge,
    pub listening: Gauge,
    pub live: Gauge,
}

/// Every outcome but `allowed`.
const REFUSED: &[&str] = &[
    "no_key",
    "malformed",
    "bad_checksum",
    "unknown_key",
    "revoked",
    "disabled",
    "expired",
    "secret_retired",
    "wrong_secret",
    "ip_not_allowed",
    "insufficient_scope",
    "instance_not_allowed",
    "rate_limited",
    "queue_full",
    "leaked_in_query",
    "conflicting_credentials",
    "unavailable",
    "public",
    "not_found",
    "internal",
];

/// Valid once [`metrics`] was called; counts into nothing before.
pub static COUNTERS: LazyLock<Counters> = LazyLock::new(|| Counters {
    allowed: metrics::counter!("bouncer_requests_total", "outcome" => "allowed"),
    outcomes: REFUSED
        .iter()
        .map(|name| (*name, metrics::counter!("bouncer_requests_total", "outcome" => *name)))
        .collect(),
    duration: metrics::histogram!("bouncer_request_duration_seconds"),
    written: metrics::counter!("bouncer_request_rows_written_total"),
    dropped_full: metrics::counter!("bouncer_request_rows_dropped_total", "reason" => "buffer_full"),
    dropped_refused: metrics::counter!("bouncer_request_rows_dropped_total", "reason" => "refused"),
    uncounted: metrics::counter!("bouncer_uncounted_calls_total"),
    waiting: metrics::gauge!("bouncer_request_rows_waiting"),
    cached: metrics::gauge!("bouncer_cached_secrets"),
    database_up: metrics::gauge!("bouncer_database_up"),
    listening: metrics::gauge!("bouncer_listening"),
    live: metrics::gauge!("bouncer_live_viewers"),
});

impl Counters {
    pub fn call(&self, outcome: &'static str, took: Duration) {
        if outcome == "allowed" {
            self.allowed.increment(1);
        } else if let Some((_, counter)) = self.outcomes.iter().find(|(name, _)| *name == outcome) {
            counter.increment(1);
        }
        self.duration.record(took);
    }
}
