//! Everything for one endpoint: a task that claims its deliveries and attempts them.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    Error,
    ids::{DeliveryId, EndpointId},
    webhooks::{
        DisabledBy,
        queue::{self, Claimed, Target},
    },
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    Shared,
    attempt::{Effect, attempt},
    places::Places,
    writer::Line,
};

/// Most deliveries that are claimed at once.
const BATCH_MAX: u32 = 500;
/// A batch that is used up within this long is too small …
const BATCH_SHORT: Duration = Duration::from_millis(500);
/// … and one that lasts this long is too large: what is claimed should be on its way soon.
const BATCH_LONG: Duration = Duration::from_secs(2);
/// Without anything to do for this long, the endpoint is given up.
const IDLE: Duration = Duration::from_secs(5);
/// Longest that a lane stands still because the endpoint said that it is overloaded. Deliveries themselves wait as
/// long as they were asked to.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// After so many first attempts, another one has its turn.
const FIRST_IN_A_ROW: u32 = 4;
const SECOND: Duration = Duration::from_secs(1);
/// After the database failed.
const RECOVER: Duration = Duration::from_secs(1);

/// What an attempt was, and what came of it.
struct Ended {
    retry: bool,
    effect: Effect,
}

pub(super) struct Lane {
    shared: Arc<Shared>,
    /// What the organization's endpoints may have under way together.
    tenant_places: Arc<Places>,
    id: EndpointId,
    wake: Arc<Notify>,
    target: watch::Receiver<Option<Arc<Target>>>,
    first: VecDeque<Claimed>,
    retries: VecDeque<Claimed>,
    under_way: JoinSet<Ended>,
    /// Of those under way: further attempts.
    retries_under_way: u32,
    /// Requests at once, right now: halved by each silence, one more with each success, up to the endpoint's own
    /// number. A silent endpoint so holds few places.
    width: u32,
    /// First attempts to be claimed at once.
    batch: u32,
    claimed_at: Instant,
    /// Nothing more was there at the last claim, and nothing was heard since.
    first_drained: bool,
    retries_drained: bool,
    /// Nothing is begun before.
    hold_until: Instant,
    /// When the last ones were begun, as many as the rate allows in a second.
    begun: VecDeque<Instant>,
    /// Since a further attempt was begun.
    first_in_a_row: u32,
    /// Attempts that are not written down yet.
    unwritten: Arc<AtomicUsize>,
    idle_since: Instant,
}

impl Lane {
    pub fn new(
        shared: Arc<Shared>,
        tenant_places: Arc<Places>,
        id: EndpointId,
        wake: Arc<Notify>,
        target: watch::Receiver<Option<Arc<Target>>>,
    ) -> Self {
        let now = Instant::now();
        let width = target.borrow().as_ref().map_or(1, |target| target.concurrency);
        Self {
            shared,
            tenant_places,
            id,
            wake,
            target,
            first: VecDeque::new(),
            retries: VecDeque::new(),
            under_way: JoinSet::new(),
            retries_under_way: 0,
            width,
            batch: width.saturating_mul(2).min(BATCH_MAX),
            claimed_at: now,
            first_drained: false,
            retries_drained: false,
            hold_until: now,
            begun: VecDeque::new(),
            first_in_a_row: 0,
            unwritten: Arc::new(AtomicUsize::new(0)),
            idle_since: now,
        }
    }

    /// Delivers until there is nothing to do, the endpoint is somebody else's, or the server stops.
    pub async fn run(mut self) {
        let state = self.shared.state.clone();
        let mut stopped = pin!(state.stopped());
        let mut trusted = self.shared.trusted_until.subscribe();
        let mut failed_at: Option<Instant> = None;
        loop {
            let target = self.target.borrow_and_update().clone();
            let Some(target) = target else { return self.give_up().await };
            self.width = self.width.clamp(1, target.concurrency);
            let trusted_until = *trusted.borrow_and_update();
            let now = Instant::now();
            let may_begin = now < trusted_until;
            if may_begin && failed_at.is_none_or(|at| now - at >= RECOVER) {
                failed_at = match self.fill().await {
                    Ok(()) => None,
                    Err(error) => {
                        if !matches!(error, Error::Unavailable) {
                            tracing::error!(%error, endpoint = %self.id, "deliveries cannot be claimed");
                        }
                        Some(now)
                    }
                };
            }
            let pause = if may_begin { self.begin(&target) } else { None };
            if self.is_idle() {
                if self.idle_since.elapsed() >= IDLE {
                    if self.released().await {
                        return;
                    }
                    // Something is not written down yet, or the database is away: asked again in a moment.
                    self.idle_since = now - IDLE + RECOVER;
                }
            } else {
                self.idle_since = now;
            }
            // The earliest of: the rate or the hold ends, the database may be asked again, idle for long enough.
            let mut until = self.idle_since + IDLE + Duration::from_millis(10);
            if !self.is_idle() {
                until = now + Duration::from_secs(60);
            }
            if self.hold_until > now {
                until = until.min(self.hold_until);
            }
            until = pause
                .into_iter()
                .chain(failed_at.filter(|_| may_begin).map(|at| at + RECOVER))
                .fold(until, Instant::min);
            tokio::select! {
                Some(ended) = self.under_way.join_next() => {
                    self.ended(ended);
                    // Others may have ended too; one turn for all of them.
                    while let Some(ended) = self.under_way.try_join_next() {
                        self.ended(ended);
                    }
                }
                () = self.wake.notified() => self.heard(),
                _ = self.target.changed() => {}
                _ = trusted.changed(), if !may_begin => {}
                () = tokio::time::sleep_until(until) => {}
                () = &mut stopped => return self.give_up().await,
            }
        }
    }

    fn heard(&mut self) {
        self.first_drained = false;
        self.retries_drained = false;
    }

    fn is_idle(&self) -> bool {
        self.first_drained
            && self.retries_drained
            && self.first.is_empty()
            && self.retries.is_empty()
            && self.under_way.is_empty()
    }

    /// Of the width, what further attempts may take.
    fn late_width(&self) -> u32 {
        (self.width / 2).max(1)
    }

    /// Claims more when little is left.
    async fn fill(&mut self) -> Result<(), Error> {
        let late = self.late_width();
        let first_low = !self.first_drained && self.first.len() < self.width as usize;
        let retries_low = !self.retries_drained && self.retries.len() < late as usize;
        if !(first_low || retries_low) || self.hold_until > Instant::now() + BATCH_LONG {
            return Ok(());
        }
        if first_low {
            let lasted = self.claimed_at.elapsed();
            if self.first.is_empty() && lasted < BATCH_SHORT {
                self.batch = self.batch.saturating_mul(2);
            } else if lasted > BATCH_LONG {
                self.batch /= 2;
            }
            self.batch = self.batch.max(self.width).min(BATCH_MAX);
            self.claimed_at = Instant::now();
        }
        let want_first = if first_low { self.batch } else { 0 };
        let want_retries = if retries_low { late * 2 } else { 0 };
        let server = self.shared.state.keys.server();
        let (first, retries) = queue::claim(&self.shared.state.db, server, self.id, want_first, want_retries).await?;
        self.first_drained |= (first.len() as u32) < want_first;
        self.retries_drained |= (retries.len() as u32) < want_retries;
        self.first.extend(first);
        self.retries.extend(retries);
        Ok(())
    }

    /// Begins as many attempts as may be. Returns when more may be begun although nothing ends.
    fn begin(&mut self, target: &Target) -> Option<Instant> {
        loop {
            let now = Instant::now();
            if self.first.is_empty() && self.retries.is_empty() || self.under_way.len() as u32 >= self.width {
                return None;
            }
            if self.hold_until > now {
                return Some(self.hold_until);
            }
            if let Some(rate) = target.rate_limit {
                while self.begun.len() >= rate as usize {
                    match self.begun.front() {
                        Some(oldest) if now - *oldest < SECOND => return Some(*oldest + SECOND),
                        _ => _ = self.begun.pop_front(),
                    }
                }
                self.begun.push_back(now);
            }
            // First attempts come first, but an endpoint that always has some still gets the others, too.
            let may_retry = self.retries_under_way < self.late_width();
            let turn = self.first.is_empty() || self.first_in_a_row >= FIRST_IN_A_ROW;
            let retry = if may_retry && turn { self.retries.pop_front() } else { None };
            let (delivery, retry) = match retry {
                Some(delivery) => (delivery, true),
                None => match self.first.pop_front() {
                    Some(delivery) => (delivery, false),
                    None => {
                        if target.rate_limit.is_some() {
                            self.begun.pop_back();
                        }
                        return None;
                    }
                },
            };
            self.first_in_a_row = if retry { 0 } else { self.first_in_a_row + 1 };
            self.retries_under_way += u32::from(retry);
            let silent = self.width < target.concurrency;
            self.under_way.spawn(one(
                self.shared.clone(),
                self.tenant_places.clone(),
                self.target.clone(),
                delivery,
                retry,
                retry || silent,
                self.unwritten.clone(),
            ));
        }
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ok(Ended { retry, effect }) = ended else {
            // The delivery stays `sending` until the endpoint is given up.
            tracing::error!(endpoint = %self.id, "an attempt ended unexpectedly");
            if self.under_way.is_empty() {
                self.retries_under_way = 0;
            }
            return;
        };
        self.retries_under_way = self.retries_under_way.saturating_sub(u32::from(retry));
        match effect {
            Effect::Succeeded => self.width += 1,
            Effect::Failed => {}
            Effect::Hung => self.width = (self.width / 2).max(1),
            Effect::Overloaded(pause) => {
                self.hold_until = self.hold_until.max(Instant::now() + pause.min(HOLD_MAX));
                self.width = (self.width / 2).max(1);
            }
            // The change is heard from the database soon; nothing should be begun until then.
            Effect::Gone => self.hold_until = Instant::now() + HOLD_MAX,
            // Nothing was attempted; what the endpoint is by now is heard in a moment.
            Effect::None => {}
        }
        // A place is free: there may be more to claim.
        if self.first.is_empty() && self.retries.is_empty() && self.claimed_at.elapsed() > BATCH_LONG {
            self.heard();
        }
    }

    /// Puts back what was not begun, and lets attempts under way end.
    async fn give_up(mut self) {
        let ids: Vec<_> = self.first.drain(..).chain(self.retries.drain(..)).map(|delivery| delivery.id).collect();
        while self.under_way.join_next().await.is_some() {}
        let begun = Instant::now();
        while !(self.put_back(&ids).await && self.released().await) && begun.elapsed() < IDLE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn put_back(&self, ids: &[DeliveryId]) -> bool {
        let state = &self.shared.state;
        let done = queue::unclaim(&state.db, state.keys.server(), ids).await;
        if let Err(error) = &done {
            tracing::debug!(%error, endpoint = %self.id, "deliveries cannot be put back now; at the latest that happens when the lease ends");
        }
        done.is_ok()
    }

    /// Gives the endpoint up, once everything is written down.
    async fn released(&self) -> bool {
        if self.unwritten.load(Ordering::Acquire) > 0 {
            return false;
        }
        let state = &self.shared.state;
        queue::release(&state.db, state.keys.server(), self.id).await.is_ok()
    }
}

/// One attempt, from waiting for a place to handing in what came of it.
async fn one(
    shared: Arc<Shared>,
    tenant_places: Arc<Places>,
    current: watch::Receiver<Option<Arc<Target>>>,
    delivery: Claimed,
    retry: bool,
    late: bool,
    unwritten: Arc<AtomicUsize>,
) -> Ended {
    // Its own organization's first: what waits for that keeps no other organization waiting.
    let _tenant_place = tenant_places.take(late).await;
    let _place = shared.places.take(late).await;
    // As it is after the wait: its address or secret may have been changed, or it was disabled.
    let target = current.borrow().clone();
    let Some(target) = target else {
        let state = &shared.state;
        if let Err(error) = queue::unclaim(&state.db, state.keys.server(), &[delivery.id]).await {
            tracing::warn!(%error, "a delivery cannot be put back now; that happens when the lease ends");
        }
        return Ended { retry, effect: Effect::None };
    };
    let (done, effect) = attempt(&shared.state.net.webhooks, shared.patience, &target, &delivery).await;
    unwritten.fetch_add(1, Ordering::Release);
    if shared.results.send(Line { done, unwritten }).await.is_err() {
        tracing::error!("nobody writes down attempts any more");
    }
    if effect == Effect::Gone
        && let Err(error) = queue::disable(&shared.state.db, target.id, DisabledBy::Gone).await
    {
        tracing::error!(%error, endpoint = %target.id, "an endpoint that is gone cannot be disabled");
    }
    Ended { retry, effect }
}
