//! Tidies up: partitions ahead, old rows, ended sessions, expiry warnings; keeps the gauges and the planner's
//! statistics; and asks for the templates of Cloud API numbers once a day.

use std::time::Duration;

use chrono::Utc;
use domain::{
    Error, conversations, idempotency, keys, messages::queue, partitions, statistics, templates, time::Time, usage,
};
use futures::StreamExt;

use crate::{providers, state::AppState, telemetry::COUNTERS};

const EVERY: Duration = Duration::from_secs(600);
/// After a failure, or while the database is away.
const SOON: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);
/// A queue that was empty may hold thousands of messages after this.
const STATISTICS: Duration = Duration::from_secs(1);
/// Numbers whose templates one round asks for, and how many of them at the same time.
const NUMBERS: (i64, usize) = (50, 4);

/// Works at once, and every ten minutes until the state is stopped.
pub async fn run(state: AppState) {
    tokio::join!(keep_tidy(&state), keep_templates(&state), keep_statistics(&state));
}

async fn keep_statistics(state: &AppState) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(STATISTICS) => {}
            () = state.stopped() => return,
        }
        match statistics::keep(&state.db).await {
            Ok(grown) if grown.is_empty() => {}
            Ok(grown) => tracing::debug!(?grown, "tables have grown: their statements are planned anew"),
            Err(Error::Unavailable) => {}
            Err(error) => tracing::warn!(%error, "what the planner knows of tables that have grown stays old"),
        }
    }
}

/// Beside the rest, because providers may be slow.
async fn keep_templates(state: &AppState) {
    let round = async || match templates::store::take_stale(&state.db, NUMBERS.0, Utc::now()).await {
        Ok(stale) => {
            futures::stream::iter(stale)
                .for_each_concurrent(NUMBERS.1, |(organization, instance)| {
                    providers::templates::fetch_unasked(state, organization, instance)
                })
                .await;
            EVERY
        }
        Err(error) => {
            if !matches!(error, Error::Unavailable) {
                tracing::error!(%error, "numbers whose templates are old cannot be found");
            }
            SOON
        }
    };
    loop {
        let work = async { tokio::time::sleep(round().await).await };
        tokio::select! {
            () = work => {}
            () = state.stopped() => return,
        }
    }
}

async fn keep_tidy(state: &AppState) {
    let mut next = tokio::time::Instant::now();
    loop {
        let up = state.db.ping().await.is_ok();
        COUNTERS.database_up.set(if up { 1.0 } else { 0.0 });
        COUNTERS.cached.set(state.keys.len() as f64);
        if tokio::time::Instant::now() >= next {
            let pause = match tidy(state, Utc::now()).await {
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
    conversations::store::forget_old(&state.db, now).await?;
    queue::forget_early(&state.db, now).await
}
