//! Writes attempts down in batches.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    Error,
    webhooks::{
        DeliveryStatus, DisabledBy,
        queue::{self, Done},
    },
};
use metrics::Counter;
use tokio::sync::mpsc;

use crate::state::AppState;

/// Attempts that wait at most; lanes wait when it is full.
pub(super) const CAPACITY: usize = 2_000;
const BATCH: usize = 500;
/// For more to come, so that one transaction serves many.
const GATHER: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_secs(1);
/// How long the last batch may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(10);

static SUCCEEDED: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("bouncer_webhook_attempts_total", "outcome" => "succeeded"));
static FAILED: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("bouncer_webhook_attempts_total", "outcome" => "failed"));

/// An attempt, and the count of its lane that it is to be taken off.
pub(super) struct Line {
    pub done: Done,
    pub unwritten: Arc<AtomicUsize>,
}

/// Writes until all senders are gone and all is written.
pub(super) async fn run(state: AppState, mut lines: mpsc::Receiver<Line>) {
    let mut batch: Vec<Line> = Vec::with_capacity(BATCH);
    while lines.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH
                && let Ok(line) = lines.try_recv()
            {
                batch.push(line);
            }
        }
        let (done, counts): (Vec<_>, Vec<_>) = batch.drain(..).map(|line| (line.done, line.unwritten)).unzip();
        write(&state, &done).await;
        for count in counts {
            count.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Tries until it is written.
async fn write(state: &AppState, done: &[Done]) {
    let mut stopping_since = None;
    loop {
        match queue::write(&state.db, state.keys.server(), done).await {
            Ok(failing) => {
                let succeeded = done.iter().filter(|done| done.status == DeliveryStatus::Succeeded).count() as u64;
                SUCCEEDED.increment(succeeded);
                FAILED.increment(done.len() as u64 - succeeded);
                for id in failing {
                    match queue::disable(&state.db, id, DisabledBy::Failures).await {
                        Ok(true) => {
                            tracing::info!(endpoint = %id, "a webhook endpoint was disabled after five days of failures")
                        }
                        Ok(false) => {}
                        // Its next failure brings it here again.
                        Err(error) => {
                            tracing::warn!(%error, endpoint = %id, "a failing endpoint cannot be disabled now")
                        }
                    }
                }
                return;
            }
            Err(Error::Unavailable) => {}
            Err(error) if done.len() > 1 => {
                tracing::error!(%error, "attempts cannot be written together; one by one");
                for one in done {
                    Box::pin(write(state, std::slice::from_ref(one))).await;
                }
                return;
            }
            Err(error) => {
                // The delivery stays `sending` until its endpoint is given up, which puts it back.
                tracing::error!(%error, endpoint = %done[0].endpoint, "an attempt cannot be written down");
                return;
            }
        }
        let stopped = tokio::time::timeout(PAUSE, state.stopped()).await.is_ok();
        if stopped {
            let since = stopping_since.get_or_insert_with(std::time::Instant::now);
            if since.elapsed() > LAST_WORDS {
                tracing::error!(
                    attempts = done.len(),
                    "the database does not come back: attempts are not written down"
                );
                return;
            }
            tokio::time::sleep(PAUSE / 4).await;
        }
    }
}
