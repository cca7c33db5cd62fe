//! Delivers events to webhook endpoints.
//!
//! A server owns an endpoint while it delivers for it and runs one [`lane`] for it: a task with its own queue,
//! concurrency and rate, so that an endpoint that hangs delays nobody but itself. Notifications ([`bell`]) say where
//! something is due; a look at the database each second finds what was not heard. Attempts are written down in
//! batches by one [`writer`].
//!
//! A request takes one of its organization's [`TENANT_PLACES`], then one of all [`PLACES`]. Further attempts, and those of
//! endpoints that do not answer, have no more than half of either: there is always room for first attempts.

mod attempt;
pub mod bell;
mod lane;
mod places;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use domain::{
    Error,
    ids::{EndpointId, OrgId},
    webhooks::{
        queue::{self, Target},
        resend,
    },
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, interval},
};

use crate::state::AppState;
use lane::Lane;
use places::Places;

/// Requests at once.
const PLACES: usize = 512;
/// Of them, those of one organization: if all its endpoints hang, the others do not notice.
const TENANT_PLACES: usize = PLACES / 4;
/// How often the database is looked at without a notification.
const LOOK: Duration = Duration::from_secs(1);
const RENEW: Duration = Duration::from_secs(5);
/// After this long without a renewal nothing new is begun: the lease may be another server's soon.
const TRUST: Duration = Duration::from_secs(20);
const TIDY: Duration = Duration::from_secs(600);
/// Steps of resend jobs follow each other at this distance, so that they leave room for the deliveries themselves.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// How long an endpoint may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the look-up of its name to the last byte of its answer.
    pub answer: Duration,
    /// A failure that took this long has held its place for nothing.
    pub slow: Duration,
}

impl Patience {
    pub const USUAL: Self = Self { answer: Duration::from_secs(15), slow: Duration::from_secs(5) };
}

/// What all lanes share.
struct Shared {
    state: AppState,
    patience: Patience,
    places: Places,
    results: mpsc::Sender<writer::Line>,
    /// Until when the leases are known to hold.
    trusted_until: watch::Sender<Instant>,
}

/// A lane as the dispatcher knows it.
struct Handle {
    wake: Arc<Notify>,
    /// `None`: the endpoint is not ours any more.
    target: watch::Sender<Option<Arc<Target>>>,
    version: i32,
}

/// Delivers until the state is stopped; then attempts under way finish and what was not begun is put back.
pub async fn run(state: AppState, patience: Patience) {
    let (results, lines) = mpsc::channel(writer::CAPACITY);
    let writer = tokio::spawn(writer::run(state.clone(), lines));
    let shared = Arc::new(Shared {
        state: state.clone(),
        patience,
        places: Places::new(PLACES),
        results,
        trusted_until: watch::Sender::new(Instant::now()),
    });
    let resender = tokio::spawn(resend_jobs(state.clone()));
    let mut dispatcher = Dispatcher {
        shared: shared.clone(),
        handles: HashMap::new(),
        tenants: HashMap::new(),
        lanes: JoinSet::new(),
        foreign: HashMap::new(),
    };
    dispatcher.run().await;
    dispatcher.finish().await;
    drop(dispatcher);
    drop(shared);
    // Both end by themselves now: the writer when nobody can send it anything any more.
    _ = resender.await;
    _ = writer.await;
}

struct Dispatcher {
    shared: Arc<Shared>,
    handles: HashMap<EndpointId, Handle>,
    /// Places of organizations that have lanes.
    tenants: HashMap<OrgId, Weak<Places>>,
    lanes: JoinSet<EndpointId>,
    /// Endpoints that are, or were a moment ago, another server's.
    foreign: HashMap<EndpointId, Instant>,
}

impl Dispatcher {
    async fn run(&mut self) {
        let state = self.shared.state.clone();
        let (mut look, mut renew, mut tidy) = (interval(LOOK), interval(RENEW), interval(TIDY));
        for ticker in [&mut look, &mut renew, &mut tidy] {
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            let done = tokio::select! {
                () = state.deliveries.heard() => self.hear().await,
                _ = renew.tick() => self.renew().await,
                _ = look.tick() => self.look().await,
                _ = tidy.tick() => queue::tidy(&state.db, chrono::Utc::now()).await,
                Some(ended) = self.lanes.join_next() => {
                    self.ended(ended);
                    Ok(())
                }
                () = state.stopped() => return,
            };
            match done {
                Ok(()) | Err(Error::Unavailable) => {}
                Err(error) => tracing::error!(%error, "webhook deliveries cannot be looked after"),
            }
        }
    }

    async fn hear(&mut self) -> domain::Result<()> {
        let heard = self.shared.state.deliveries.take();
        if heard.changed {
            self.renew().await?;
        }
        if heard.everything {
            return self.look().await;
        }
        self.due(heard.endpoints).await
    }

    /// Asks the database where something is due.
    async fn look(&mut self) -> domain::Result<()> {
        self.foreign.retain(|_, since| since.elapsed() < LOOK);
        let candidates: HashSet<_> = queue::candidates(&self.shared.state.db).await?.into_iter().collect();
        let idle: Vec<_> = candidates.iter().copied().filter(|id| !self.handles.contains_key(id)).collect();
        if !idle.is_empty() {
            let cancelled = queue::cancel_waiting(&self.shared.state.db, &idle).await?;
            if cancelled > 0 {
                // There may be more than fits into one statement.
                self.shared.state.deliveries.ring("");
            }
        }
        self.due(candidates).await
    }

    /// Wakes the lanes of these endpoints, and starts lanes for those that nobody owns.
    async fn due(&mut self, endpoints: HashSet<EndpointId>) -> domain::Result<()> {
        let mut free = Vec::new();
        for id in endpoints {
            match self.handles.get(&id) {
                Some(handle) => handle.wake.notify_one(),
                None if self.foreign.get(&id).is_some_and(|since| since.elapsed() < LOOK) => {}
                None => free.push(id),
            }
        }
        if free.is_empty() {
            return Ok(());
        }
        let state = &self.shared.state;
        let begun = Instant::now();
        let targets = queue::own(&state.db, &state.sealer, state.keys.server(), &free).await?;
        // What is owned from now on is owned at least as long as what was renewed before.
        self.shared.trusted_until.send_if_modified(|until| {
            let first = self.handles.is_empty();
            if first {
                *until = begun + TRUST;
            }
            first
        });
        let now = Instant::now();
        self.foreign.extend(free.into_iter().map(|id| (id, now)));
        for target in targets {
            self.foreign.remove(&target.id);
            self.start(target);
        }
        Ok(())
    }

    fn start(&mut self, target: Target) {
        let (id, organization, version) = (target.id, target.organization, target.version);
        let wake = Arc::new(Notify::new());
        let sender = watch::Sender::new(Some(Arc::new(target)));
        let places = self.tenant_places(organization);
        let lane = Lane::new(self.shared.clone(), places, id, wake.clone(), sender.subscribe());
        self.handles.insert(id, Handle { wake, target: sender, version });
        self.lanes.spawn(async move {
            lane.run().await;
            id
        });
    }

    fn tenant_places(&mut self, organization: OrgId) -> Arc<Places> {
        self.tenants.retain(|_, places| places.strong_count() > 0);
        if let Some(places) = self.tenants.get(&organization).and_then(Weak::upgrade) {
            return places;
        }
        let places = Arc::new(Places::new(TENANT_PLACES));
        self.tenants.insert(organization, Arc::downgrade(&places));
        places
    }

    fn ended(&mut self, ended: Result<EndpointId, tokio::task::JoinError>) {
        match ended {
            Ok(id) => _ = self.handles.remove(&id),
            // Which one it was is not told; its lease runs out, and all that is due is looked for again.
            Err(error) => {
                tracing::error!(%error, "a webhook lane ended unexpectedly");
                self.handles.retain(|_, handle| !handle.target.is_closed());
            }
        }
    }

    /// Renews the leases; lanes learn what their endpoint has become.
    async fn renew(&mut self) -> domain::Result<()> {
        if self.handles.is_empty() {
            return Ok(());
        }
        let state = &self.shared.state;
        let begun = Instant::now();
        let ids: Vec<_> = self.handles.keys().copied().collect();
        let targets = queue::renew(&state.db, &state.sealer, state.keys.server(), &ids).await?;
        self.shared.trusted_until.send_replace(begun + TRUST);
        let mut lost: HashSet<_> = ids.into_iter().collect();
        for target in targets {
            lost.remove(&target.id);
            let Some(handle) = self.handles.get_mut(&target.id) else { continue };
            if handle.version != target.version {
                handle.version = target.version;
                handle.target.send_replace(Some(Arc::new(target)));
            }
        }
        for id in lost {
            if let Some(handle) = self.handles.get(&id) {
                handle.target.send_replace(None);
            }
        }
        Ok(())
    }

    /// Waits for all lanes to end.
    async fn finish(&mut self) {
        while let Some(ended) = self.lanes.join_next().await {
            self.ended(ended);
        }
    }
}

/// Takes resend jobs step by step, in turn.
async fn resend_jobs(state: AppState) {
    let mut last = None;
    loop {
        let pause = match resend::step(&state.db, last).await {
            Ok(Some(job)) => {
                last = Some(job);
                RESEND_PAUSE
            }
            Ok(None) => LOOK,
            Err(Error::Unavailable) => LOOK,
            Err(error) => {
                tracing::error!(%error, "a resend job cannot go on");
                LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = state.stopped() => return,
        }
    }
}
