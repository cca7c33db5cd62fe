//! Writes the request log in batches.
//!
//! A call only puts its row into a bounded buffer. Every 250 ms, or as soon as a batch is full, the rows go to the
//! database. While the database is away they are kept and tried
//! again; rows that find the buffer full are dropped and counted in `bouncer_request_rows_dropped_total`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    Db, Error,
    usage::{self, RequestRow},
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{state::AppState, telemetry::COUNTERS};

/// Rows that wait at most; about 30 MB.
const CAPACITY: usize = 100_000;
const BATCH: usize = 5_000;
const EVERY: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A batch that the database refuses (rather than being away) is given up after this many attempts: it must not
/// block the ones after it for ever.
const REFUSALS: u32 = 5;
/// How long the last rows may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    db: Db,
    waiting: Mutex<Vec<RequestRow>>,
    batch_is_full: Notify,
}

impl Recorder {
    pub fn new(db: Db) -> Self {
        Self(Arc::new(Inner { db, waiting: Mutex::new(Vec::with_capacity(BATCH)), batch_is_full: Notify::new() }))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<RequestRow>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row without waiting for anything.
    pub fn push(&self, row: RequestRow) {
        let mut waiting = self.waiting();
        if waiting.len() >= CAPACITY {
            COUNTERS.dropped_full.increment(1);
            return;
        }
        waiting.push(row);
        if waiting.len() == BATCH {
            self.0.batch_is_full.notify_one();
        }
    }

    fn take(&self) -> Vec<RequestRow> {
        let mut waiting = self.waiting();
        let rest = if waiting.len() > BATCH {
            waiting.split_off(BATCH)
        } else {
            Vec::with_capacity(BATCH.min(waiting.len() * 2))
        };
        std::mem::replace(&mut *waiting, rest)
    }

    /// Puts rows that could not be written back in front, so that they are the next to be tried.
    fn put_back(&self, mut rows: Vec<RequestRow>) {
        let mut waiting = self.waiting();
        let room = CAPACITY.saturating_sub(rows.len());
        if waiting.len() > room {
            COUNTERS.dropped_full.increment((waiting.len() - room) as u64);
            waiting.truncate(room);
        }
        rows.append(&mut waiting);
        *waiting = rows;
    }

    /// Rows that are not written yet.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes until the state is stopped, and then what is left.
pub async fn run(state: AppState) {
    let mut writer =
        Writer { recorder: state.recorder.clone(), server: state.keys.server(), pause: EVERY, refusals: 0 };
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(writer.pause) => {}
            // Not while the database is away: a full batch would be tried again and again.
            () = writer.recorder.0.batch_is_full.notified(), if writer.pause == EVERY => {}
            () = state.stopped() => stopping = true,
        }
        writer.drain().await;
    }
    let last = tokio::time::timeout(LAST_WORDS, async {
        while !writer.recorder.is_empty() {
            tokio::time::sleep(EVERY).await;
            writer.drain().await;
        }
    });
    if last.await.is_err() {
        let lost = state.recorder.len();
        COUNTERS.dropped_refused.increment(lost as u64);
        tracing::error!(lost, "the database does not come back: the last rows of the request log are lost");
    }
}

struct Writer {
    recorder: Recorder,
    server: Uuid,
    /// Until the next attempt; longer than usual while attempts fail.
    pause: Duration,
    /// Of the batch that is next.
    refusals: u32,
}

impl Writer {
    /// Writes all that waits, batch by batch, until it fails.
    async fn drain(&mut self) {
        loop {
            let rows = self.recorder.take();
            if rows.is_empty() {
                return;
            }
            match usage::store::write(&self.recorder.0.db, self.server, &rows).await {
                Ok(()) => {
                    if self.pause > EVERY {
                        tracing::info!("the request log is being written again");
                    }
                    self.pause = EVERY;
                    self.refusals = 0;
                    COUNTERS.written.increment(rows.len() as u64);
                }
                Err(error) => {
                    self.failed(&error, rows);
                    return;
                }
            }
            COUNTERS.waiting.set(self.recorder.len() as f64);
        }
    }

    fn failed(&mut self, error: &Error, rows: Vec<RequestRow>) {
        if !matches!(error, Error::Unavailable) {
            self.refusals += 1;
        }
        if self.refusals >= REFUSALS {
            tracing::error!(%error, rows = rows.len(), "the database refuses rows of the request log: they are dropped");
            COUNTERS.dropped_refused.increment(rows.len() as u64);
            self.refusals = 0;
        } else {
            if self.pause == EVERY {
                tracing::warn!(%error, waiting = rows.len(), "the request log cannot be written; trying again");
            }
            self.recorder.put_back(rows);
        }
        COUNTERS.waiting.set(self.recorder.len() as f64);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Learns each second what the other servers let through.
pub async fn share_windows(state: AppState) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = state.stopped() => return,
        }
        match usage::store::sync_windows(&state.db, &state.keys).await {
            Ok(()) | Err(Error::Unavailable) => {}
            Err(error) => tracing::error!(%error, "the counts of other servers cannot be read"),
        }
    }
}
