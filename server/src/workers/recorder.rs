//! Writes the request log, the figures and what other servers must know, in batches.
//!
//! A call only leaves its row in a bounded buffer and is counted, both in memory. Rows go to the database every 250 ms,
//! or as soon as a batch is full. The counts go with them while few keys are in use, and else every few seconds: then
//! one write carries many calls. A key's first calls never wait, since somebody may be looking at the radar.
//!
//! While the database is away everything is kept and tried again; rows that find the buffer full are dropped and
//! counted in `bouncer_request_rows_dropped_total`. The figures do not depend on the rows.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::Utc;
use domain::{
    Db, Error,
    ids::KeyId,
    usage::{self, Passed, Place, RequestRow, Rows, Tally},
};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use crate::{state::AppState, telemetry::COUNTERS};

/// Rows that wait at most; about 20 MB.
const CAPACITY: usize = 100_000;
const BATCH: usize = 5_000;
const EVERY: Duration = Duration::from_millis(250);
/// So many sums, or keys, cost little to write: they are not kept waiting.
const FEW: usize = 200;
/// The most that figures and last use are behind, but for the time of writing them: the console promises ten seconds.
const FIGURES_EVERY: Duration = Duration::from_secs(8);
/// The most that other servers learn late of what was let through, beside the second of their own look.
const PASSED_EVERY: Duration = Duration::from_secs(1);
/// The same where no other server is: this one learns of it when it starts again.
const ALONE_EVERY: Duration = Duration::from_secs(5);
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
    waiting: Mutex<Waiting>,
    batch_is_full: Notify,
    /// There are other servers, who must learn what this one lets through. Until somebody has looked there may be.
    has_others: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// Full batches, oldest first.
    full: VecDeque<Rows>,
    /// The batch that is being filled.
    current: Rows,
    /// A written batch's memory, for the next one.
    spare: Option<Rows>,
    rows: usize,
    tally: Tally,
    /// What the tally has passed on but other servers were not told yet.
    passed: Passed,
    /// Keys that may have been used for the first time.
    new_keys: Vec<KeyId>,
}

impl Waiting {
    fn next_batch(&mut self) -> Option<Rows> {
        let batch = self.full.pop_front().unwrap_or_else(|| {
            let next = self.spare.take().unwrap_or_default();
            std::mem::replace(&mut self.current, next)
        });
        self.rows -= batch.len();
        (!batch.is_empty()).then_some(batch)
    }
}

impl Recorder {
    pub fn new(db: Db) -> Self {
        Self(Arc::new(Inner {
            db,
            waiting: Mutex::default(),
            batch_is_full: Notify::new(),
            has_others: AtomicBool::new(true),
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call without waiting for anything. `place`: where the key was counted last. `may_be_first`: nobody knows
    /// of an earlier call with the key.
    pub fn push(&self, row: &RequestRow<'_>, place: &Place, may_be_first: bool) {
        let mut waiting = self.waiting();
        if !waiting.tally.count(row, place) {
            COUNTERS.uncounted.increment(1);
        }
        if may_be_first && let Some((_, key, _)) = row.owner {
            // Each at most once in a row; the few repetitions do no harm.
            if waiting.new_keys.last() != Some(&key) {
                waiting.new_keys.push(key);
            }
        }
        if waiting.rows >= CAPACITY {
            COUNTERS.dropped_full.increment(1);
            return;
        }
        waiting.rows += 1;
        waiting.current.push(row);
        if waiting.current.len() == BATCH {
            let next = waiting.spare.take().unwrap_or_else(|| Rows::with_capacity(BATCH));
            let full = std::mem::replace(&mut waiting.current, next);
            waiting.full.push_back(full);
            self.0.batch_is_full.notify_one();
        }
    }

    /// Puts rows that could not be written back in front, so that they are the next to be tried.
    fn put_back(&self, rows: Rows) {
        let mut waiting = self.waiting();
        waiting.rows += rows.len();
        waiting.full.push_front(rows);
        // The newest have to make room, batch by batch.
        while waiting.rows > CAPACITY {
            let last = waiting.full.pop_back();
            let dropped = match last {
                _ if !waiting.current.is_empty() => {
                    waiting.full.extend(last);
                    let dropped = waiting.current.len();
                    waiting.current.clear();
                    dropped
                }
                Some(last) => last.len(),
                None => break,
            };
            waiting.rows -= dropped;
            COUNTERS.dropped_full.increment(dropped as u64);
        }
    }

    /// Rows that are not written yet.
    pub fn len(&self) -> usize {
        self.waiting().rows
    }

    /// Is everything written, the figures included?
    pub fn is_empty(&self) -> bool {
        let waiting = self.waiting();
        waiting.rows == 0 && waiting.tally.is_empty() && waiting.passed.is_empty()
    }
}

/// Writes until the state is stopped, and then what is left.
pub async fn run(state: AppState) {
    let mut writer = Writer {
        recorder: state.recorder.clone(),
        server: state.keys.server(),
        pause: EVERY,
        refusals: 0,
        new: Vec::new(),
        figures: Instant::now(),
        told: Instant::now(),
    };
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(writer.pause) => {}
            // Not while the database is away: a full batch would be tried again and again.
            () = writer.recorder.0.batch_is_full.notified(), if writer.pause == EVERY => {}
            () = state.stopped() => stopping = true,
        }
        writer.write(stopping).await;
    }
    let last = tokio::time::timeout(LAST_WORDS, async {
        while !writer.recorder.is_empty() {
            tokio::time::sleep(EVERY).await;
            writer.write(true).await;
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
    /// Of what is next.
    refusals: u32,
    /// Keys whose first calls are not announced yet.
    new: Vec<KeyId>,
    /// When the figures were last written, and other servers last told.
    figures: Instant,
    told: Instant,
}

impl Writer {
    /// Writes what is due. Rows come last: whoever sees a call in the log finds it in the figures.
    async fn write(&mut self, everything: bool) {
        let done =
            self.tell(everything).await && self.count(everything).await && self.log().await && self.announce().await;
        COUNTERS.waiting.set(self.recorder.len() as f64);
        if done {
            if self.pause > EVERY {
                tracing::info!("the request log is being written again");
            }
            self.pause = EVERY;
            self.refusals = 0;
        } else {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells other servers what was let through.
    async fn tell(&mut self, everything: bool) -> bool {
        let every = if self.recorder.0.has_others.load(Relaxed) { PASSED_EVERY } else { ALONE_EVERY };
        let passed = {
            let mut waiting = self.recorder.waiting();
            let waiting = &mut *waiting;
            if !is_due(everything, waiting.tally.untold() + waiting.passed.len(), self.told, every) {
                return true;
            }
            waiting.tally.pass_on(&mut waiting.passed);
            std::mem::take(&mut waiting.passed)
        };
        self.told = Instant::now();
        let Err(error) = usage::store::write_passed(&self.recorder.0.db, self.server, &passed).await else {
            return true;
        };
        if !self.gives_up(&error, "the counts for other servers") {
            self.recorder.waiting().passed.put_back(passed, Utc::now());
        }
        false
    }

    /// Adds to the figures and notes the keys' last use.
    async fn count(&mut self, everything: bool) -> bool {
        let tally = {
            let mut waiting = self.recorder.waiting();
            let waiting = &mut *waiting;
            let new_keys = std::mem::take(&mut waiting.new_keys);
            let due = is_due(everything, waiting.tally.len(), self.figures, FIGURES_EVERY);
            if due || !new_keys.is_empty() {
                waiting.tally.pass_on(&mut waiting.passed);
            }
            if due {
                self.figures = Instant::now();
                std::mem::take(&mut waiting.tally)
            } else {
                waiting.tally.take(&new_keys)
            }
        };
        let error = match usage::store::write_tally(&self.recorder.0.db, &tally).await {
            Ok(new) => {
                self.new.extend(new);
                return true;
            }
            Err(error) => error,
        };
        if self.gives_up(&error, "the figures of the keys") {
            return false;
        }
        // Due at once when the database is back.
        self.figures -= FIGURES_EVERY;
        let lost = self.recorder.waiting().tally.put_back(tally);
        COUNTERS.uncounted.increment(lost);
        false
    }

    /// Writes all rows that wait, batch by batch.
    async fn log(&mut self) -> bool {
        loop {
            let Some(mut rows) = self.recorder.waiting().next_batch() else { return true };
            match usage::store::write_rows(&self.recorder.0.db, &rows).await {
                Ok(()) => {
                    COUNTERS.written.increment(rows.len() as u64);
                    rows.clear();
                    self.recorder.waiting().spare = Some(rows);
                }
                Err(error) => {
                    if self.gives_up(&error, "rows of the request log") {
                        COUNTERS.dropped_refused.increment(rows.len() as u64);
                    } else {
                        self.recorder.put_back(rows);
                    }
                    return false;
                }
            }
        }
    }

    /// Tells the radar of first calls. Whoever looks then finds them in the log.
    async fn announce(&mut self) -> bool {
        match usage::store::announce(&self.recorder.0.db, &self.new).await {
            Ok(()) => self.new.clear(),
            Err(error) if self.gives_up(&error, "first calls") => self.new.clear(),
            Err(_) => return false,
        }
        true
    }

    /// Is it no use to try again?
    fn gives_up(&mut self, error: &Error, what: &str) -> bool {
        if !matches!(error, Error::Unavailable) {
            self.refusals += 1;
        }
        if self.refusals >= REFUSALS {
            tracing::error!(%error, what, "the database refuses what is written about calls: it is dropped");
            self.refusals = 0;
            return true;
        }
        if self.pause == EVERY {
            tracing::warn!(%error, what, "what is to be told about calls cannot be written; trying again");
        }
        false
    }
}

/// Few are written as soon as they are there, many together after a while.
fn is_due(everything: bool, waiting: usize, last: Instant, longest: Duration) -> bool {
    let age = last.elapsed();
    // A little less than a round: timers are not exact.
    waiting > 0 && (everything || age >= longest || (waiting <= FEW && age >= EVERY / 2))
}

/// Learns each second what the other servers let through.
pub async fn share_windows(state: AppState) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = state.stopped() => return,
        }
        match usage::store::sync_windows(&state.db, &state.keys).await {
            Ok(others) => state.recorder.0.has_others.store(others, Relaxed),
            Err(Error::Unavailable) => {}
            Err(error) => tracing::error!(%error, "the counts of other servers cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        ids::{OrgId, RequestId, SecretId},
        usage::ALLOWED,
    };

    use super::*;
    use crate::telemetry;

    /// Rows that could not be written find their places taken by newer ones.
    #[tokio::test]
    async fn what_makes_room_for_older_rows_is_counted() {
        let metrics = telemetry::metrics().expect("nothing else counts in the process of this test");
        let recorder = Recorder::new(Db::open("postgres://nobody@127.0.0.1:1/none".parse().expect("address"), 1));
        let owner = Some((OrgId::new(), KeyId::new(), SecretId::new()));
        let push = |rows: usize| {
            for _ in 0..rows {
                let row = RequestRow {
                    id: RequestId::new(),
                    at: Utc::now(),
                    owner,
                    method: "GET",
                    endpoint: "/api/v1/me",
                    status: 200,
                    outcome: ALLOWED,
                    scope: None,
                    ip: std::net::Ipv4Addr::LOCALHOST.into(),
                    user_agent: "".into(),
                    latency_us: 1,
                };
                recorder.push(&row, &Place::default(), false);
            }
        };
        let dropped = || {
            let name = "bouncer_request_rows_dropped_total{reason=\"buffer_full\"} ";
            let text = metrics.render();
            text.lines().find_map(|line| line.strip_prefix(name)).expect("counted").parse::<usize>().expect("a number")
        };

        push(CAPACITY);
        let oldest = recorder.waiting().next_batch().expect("a full batch");
        let second = recorder.waiting().next_batch().expect("a full batch");
        // While these are being written: a full batch, and another of which one is missing.
        push(2 * BATCH - 1);
        recorder.put_back(second);
        assert_eq!((recorder.len(), dropped()), (CAPACITY, BATCH - 1), "the unfinished batch makes room first");
        recorder.put_back(oldest);
        assert_eq!((recorder.len(), dropped()), (CAPACITY, 2 * BATCH - 1), "and then the newest of the full ones");
        push(1);
        assert_eq!((recorder.len(), dropped()), (CAPACITY, 2 * BATCH));
    }
}
