//! Tidies up: partitions ahead, old rows, ended sessions, expiry warnings; and keeps the gauges.

use std::time::Duration;

use chrono::Utc;
use domain::{Error, idempotency, keys, messages::queue, partitions, time::Time, usage};

use crate::{state::AppState, telemetry::COUNTERS};

const EVERY: Duration = Duration::from_secs(600);
/// After a failure, or while the database is away.
const SOON: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);

/// Tidies at once, and every ten minutes until the state is stopped.
pub async fn run(state: AppState) {
    let mut next = tokio::time::Instant::now();
    loop {
        let up = state.db.ping().await.is_ok();
        COUNTERS.database_up.set(if up { 1.0 } else { 0.0 });
        COUNTERS.cached.set(state.keys.len() as f64);
        if tokio::time::Instant::now() >= next {
            let pause = match tidy(&state, Utc::now()).await {
                Ok(()) => EVERY,
                Err(Error::Unavailable) => SOON,
                Err(error) => {
                    tracing::error!(%error, "housekeeping failed");
                    SOON
                }
            };
            next = tokio::time::Instant::now() + pause;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = state.stopped() => return,
        }
    }
}

async fn tidy(state: &AppState, now: Time) -> domain::Result<()> {
    usage::store::housekeeping(&state.db, now).await?;
    partitions::keep(&state.db, now).await?;
    idempotency::forget_old(&state.db, now).await?;
    keys::store::forget_signatures(&state.db, now).await?;
    queue::forget_early(&state.db, now).await
}
