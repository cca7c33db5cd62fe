//! Sends what is due.
//!
//! One task claims ([`queue::claim`]) and starts an attempt for each claim, at most [`AT_ONCE`] at the same time; one
//! writes the ends of attempts down, all that gathered in one transaction; one renews the leases of what takes long,
//! and an attempt whose lease cannot be renewed is broken off; one takes what other servers left behind for lost; one
//! finds out about messages that may have left; one asks providers whose failures paused a queue whether they are
//! back; one hands out the statuses of the sandbox.
//!
//! A place is free again when the end of its attempt is written, not before: while the database is away, nothing more is
//! begun. Times come from this machine's clock; servers side by side keep their clocks in step (NTP), or the distance
//! between two messages is off by their difference, and from 15 seconds on their leases mean nothing to each other.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use domain::{
    Error,
    ids::{InstanceId, MessageId},
    instances::{self, Session, Status},
    keys::Environment,
    messages::queue::{self, Claimed, Finding, Finished, LostConnection, Outcome},
};
use futures::{FutureExt, StreamExt};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use crate::{
    providers::{Found, Outgoing, Route, SendOutcome, sandbox},
    state::AppState,
};

/// Messages of this server that are on their way at the same time.
const AT_ONCE: usize = 256;
/// A claim waits this long for a quarter of the places, so that claims under load are few and large.
const GATHER: Duration = Duration::from_millis(20);
/// Longest sleep: what another server accepted is found after this even if nothing is heard.
const LOOK: Duration = Duration::from_secs(1);
/// What is due and was not taken is just being taken by another server.
const CONTENDED: Duration = Duration::from_millis(15);
/// While the database is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const RENEW: Duration = Duration::from_secs(4);
/// An attempt whose claim could not be renewed is broken off this long before the claim runs out: another server may
/// ask the provider about it soon after.
const LEASE_LEFT: Duration = Duration::from_secs(2);
/// Whoever else lost the database, too, needs this long to renew its claims once it is back.
const OTHERS_RENEW: Duration = Duration::from_secs(6);
/// Longest id that a provider may give a message.
const LONGEST_ID: usize = 512;
/// Providers limit their own calls; this is for the case that one does not.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(90);
/// What is under way when the server stops may take this long to end.
const LAST_ATTEMPTS: Duration = Duration::from_secs(25);
const RESOLVE: Duration = Duration::from_secs(1);
const ASKED_AT_ONCE: usize = 20;
const EXPIRE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(30);
const CATCH_UP: Duration = Duration::from_secs(5);
const SANDBOX: Duration = Duration::from_millis(100);

struct Meters {
    outcomes: [(&'static str, Counter); 5],
    claim: Histogram,
    attempt: Histogram,
    under_way: Gauge,
    unknown: Counter,
}

static METERS: LazyLock<Meters> = LazyLock::new(|| {
    use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
    describe_counter!("bouncer_attempts_total", "Attempts to send a message, by how they ended");
    describe_histogram!("bouncer_claim_duration_seconds", "Time to claim a batch of messages");
    describe_histogram!("bouncer_attempt_duration_seconds", "Time from the beginning of an attempt to its end");
    describe_gauge!("bouncer_attempts_under_way", "Attempts of this server whose end is not written yet");
    describe_counter!("bouncer_messages_unknown_total", "Messages whose server fell silent while it was sending them");
    Meters {
        outcomes: ["sent", "retry", "failed", "unknown", "disconnected"]
            .map(|outcome| (outcome, counter!("bouncer_attempts_total", "outcome" => outcome))),
        claim: histogram!("bouncer_claim_duration_seconds"),
        attempt: histogram!("bouncer_attempt_duration_seconds"),
        under_way: gauge!("bouncer_attempts_under_way"),
        unknown: counter!("bouncer_messages_unknown_total"),
    }
});

/// Sends until the server drains, and then until what is under way has ended.
pub async fn run(state: AppState) {
    let (ends, written) = mpsc::unbounded_channel();
    let sender = Sender(Arc::new(Inner {
        server: state.keys.server(),
        places: Arc::new(Semaphore::new(AT_ONCE)),
        held: Mutex::new(HashMap::new()),
        late: Mutex::new(HashSet::new()),
        state,
    }));
    let state = &sender.0.state;
    let writer = tokio::spawn(sender.clone().write_ends(written));
    let until_drained = async {
        sender.send_what_is_due(&ends).await;
        // Nothing new is begun; what is under way ends, or is found out about by whoever comes next.
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        if tokio::time::timeout(LAST_ATTEMPTS, sender.0.places.acquire_many(all)).await.is_err() {
            tracing::warn!("some messages were still being sent when the server stopped; they count as unknown");
        }
    };
    let beside = async {
        tokio::join!(
            sender.renew_leases(),
            sender.reap(),
            sender.find_out(),
            every(EXPIRE, state, || sender.expire()),
            every(PROBE, state, || sender.probe()),
            every(CATCH_UP, state, || sender.catch_up()),
            sender.play_sandbox(),
        )
    };
    tokio::select! {
        () = until_drained => {}
        _ = beside => {}
    }
    drop(ends);
    // Attempts that are still under way hold the channel open; they are not waited for any more.
    writer.abort();
    _ = writer.await;
}

/// Does something again and again until the server drains.
async fn every<F: Future<Output = ()>>(pause: Duration, state: &AppState, mut what: impl FnMut() -> F) {
    loop {
        what().await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The others end with the one that sends.
            () = state.stopped() => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Sender(Arc<Inner>);

struct Inner {
    state: AppState,
    server: Uuid,
    places: Arc<Semaphore>,
    /// What is under way or not written down yet, and until when its claim is known to hold.
    held: Mutex<HashMap<MessageId, Instant>>,
    /// Instances whose messages leave later than was promised.
    late: Mutex<HashSet<InstanceId>>,
}

/// The end of an attempt; its place is free again when it is written.
struct End {
    finished: Finished,
    _place: OwnedSemaphorePermit,
}

impl Sender {
    fn held(&self) -> MutexGuard<'_, HashMap<MessageId, Instant>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, HashSet<InstanceId>> {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send_what_is_due(&self, ends: &mpsc::UnboundedSender<End>) {
        let state = &self.0.state;
        let mut pause = PAUSE.0;
        loop {
            let quarter = u32::try_from(AT_ONCE / 4).unwrap_or(1);
            _ = tokio::time::timeout(GATHER, self.0.places.acquire_many(quarter)).await;
            let free = self.0.places.available_permits();
            let wait = if free == 0 {
                GATHER
            } else {
                // Not to be interrupted: a claim that is dropped half-way may have been made.
                let begun = Instant::now();
                match queue::claim(&state.db, self.0.server, free, Utc::now()).await {
                    Ok(claims) if claims.is_empty() => self.until_next().await,
                    Ok(claims) => {
                        METERS.claim.record(begun.elapsed());
                        pause = PAUSE.0;
                        self.begin(claims, begun, ends);
                        Duration::ZERO
                    }
                    Err(error) => {
                        if !matches!(error, Error::Unavailable) {
                            tracing::error!(%error, "messages cannot be claimed");
                        }
                        pause = (pause * 2).min(PAUSE.1);
                        pause
                    }
                }
            };
            tokio::select! {
                biased;
                () = state.draining() => return,
                () = state.queue_woken.notified(), if wait > CONTENDED => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn until_next(&self) -> Duration {
        match queue::next_due(&self.0.state.db).await {
            Ok(Some(due)) => (due - Utc::now()).to_std().unwrap_or_default().clamp(CONTENDED, LOOK),
            Ok(None) | Err(_) => LOOK,
        }
    }

    /// `claimed_at`: when the claim was asked for, since its lease counts from then.
    fn begin(&self, claims: Vec<Claimed>, claimed_at: Instant, ends: &mpsc::UnboundedSender<End>) {
        let now = Utc::now();
        for claim in claims {
            if claim.is_late(now) {
                self.late().insert(claim.instance);
            }
            // Never more claims than places: only this task takes any.
            let Ok(place) = self.0.places.clone().try_acquire_owned() else {
                tracing::error!(message = %claim.id, "a claim without a place");
                continue;
            };
            self.held().insert(claim.id, claimed_at + queue::LEASE);
            METERS.under_way.set((AT_ONCE - self.0.places.available_permits()) as f64);
            let (sender, ends) = (self.clone(), ends.clone());
            tokio::spawn(async move {
                let begun = Instant::now();
                match sender.attempt(&claim, claimed_at).await {
                    Some(outcome) => {
                        METERS.attempt.record(begun.elapsed());
                        let finished = Finished::new(&claim, outcome, Utc::now());
                        // The writer ends after all attempts; without it the lease runs out.
                        _ = ends.send(End { finished, _place: place });
                    }
                    None => sender.give_back(claim).await,
                }
            });
        }
    }

    /// One attempt, which always ends. `None`: it was not begun.
    async fn attempt(&self, claim: &Claimed, claimed_at: Instant) -> Option<Outcome> {
        let state = &self.0.state;
        let Some(body) = claim.body.clone() else {
            return Some(failed("erased", "The message was erased before it left."));
        };
        let route = match state.providers.of(claim.environment, claim.organization, claim.instance).await {
            Ok(route) => route,
            Err(Error::NotFound) => {
                return Some(failed("instance_deleted", "The instance was deleted before it left."));
            }
            Err(Error::Unavailable) => return None,
            Err(error) => {
                tracing::error!(%error, instance = %claim.instance, "the way to a provider cannot be found");
                return Some(Outcome::Retry {
                    code: "internal".into(),
                    message: "The instance's credentials cannot be read.".into(),
                    after: None,
                    throttled: false,
                });
            }
        };
        // Another server may believe this claim lost soon.
        if claimed_at.elapsed() > queue::STALE {
            return None;
        }
        let message = outgoing(claim, body);
        let sending = AssertUnwindSafe(route.provider.send(&route.connection, &message)).catch_unwind();
        Some(tokio::select! {
            sent = tokio::time::timeout(LONGEST_ATTEMPT, sending) => match sent {
                Ok(Ok(outcome)) => ended(claim, &route, outcome),
                Ok(Err(_)) => {
                    tracing::error!(message = %claim.id, "sending panicked");
                    Outcome::Unknown { message: "an error of ours ended the attempt".into() }
                }
                Err(_) => Outcome::Unknown { message: "the provider did not answer".into() },
            },
            () = self.claim_ends(claim.id) => Outcome::Unknown {
                message: "the database could not be reached for too long while it was being sent".into(),
            },
        })
    }

    /// Waits until the claim of a message is about to run out, or is known to be lost.
    async fn claim_ends(&self, id: MessageId) {
        loop {
            let until = self.held().get(&id).copied();
            let left = until.and_then(|until| (until - LEASE_LEFT).checked_duration_since(Instant::now()));
            match left {
                // Not longer than a renewal takes to say that it is lost.
                Some(left) if !left.is_zero() => tokio::time::sleep(left.min(RENEW)).await,
                _ => return,
            }
        }
    }

    /// Tries until the claim is given back: what was not begun must not be taken for sent.
    async fn give_back(&self, claim: Claimed) {
        let id = claim.id;
        let claims = [claim];
        let mut pause = PAUSE.0;
        loop {
            match queue::release(&self.0.state.db, self.0.server, &claims, Utc::now()).await {
                Ok(()) => break,
                Err(Error::Unavailable) => {}
                Err(error) => {
                    tracing::error!(%error, message = %id, "a claim cannot be given back; it is found out about");
                    break;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        self.held().remove(&id);
    }

    async fn write_ends(self, mut ends: mpsc::UnboundedReceiver<End>) {
        let mut batch = Vec::with_capacity(AT_ONCE);
        while ends.recv_many(&mut batch, AT_ONCE).await > 0 {
            self.write(batch.iter().map(|end: &End| end.finished.clone()).collect()).await;
            {
                let mut held = self.held();
                for end in &batch {
                    held.remove(&end.finished.id);
                }
            }
            batch.clear();
            METERS.under_way.set((AT_ONCE - self.0.places.available_permits()) as f64);
            self.0.state.queue_woken.notify_one();
        }
    }

    /// Writes until it is written: an end that is forgotten is a message that nobody knows about.
    async fn write(&self, ends: Vec<Finished>) {
        let mut pause = PAUSE.0;
        loop {
            match queue::finish(&self.0.state.db, &ends, Utc::now()).await {
                Ok(lost) => {
                    count(&ends);
                    self.tell_of(lost).await;
                    return;
                }
                Err(Error::Unavailable) => {}
                Err(error) if ends.len() > 1 => {
                    tracing::error!(%error, "ends of attempts cannot be written together; one by one");
                    for end in ends {
                        Box::pin(self.write(vec![end])).await;
                    }
                    return;
                }
                Err(error) => {
                    // It would hold up all others: its lease runs out, and it is asked about.
                    tracing::error!(%error, message = %ends[0].id, outcome = ?ends[0].outcome, "the end of an attempt cannot be written");
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn tell_of(&self, lost: Vec<LostConnection>) {
        for LostConnection { organization, instance, message } in lost {
            let session = Session { status: Status::Disconnected, detail: message, phone: None };
            match instances::store::tell(&self.0.state.db, organization, instance, &session, Utc::now()).await {
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => tracing::warn!(%error, %instance, "a lost connection cannot be written down"),
            }
        }
    }

    async fn renew_leases(&self) {
        loop {
            tokio::time::sleep(RENEW).await;
            // What was claimed a moment ago is usually over before the next round.
            if let Err(error) = self.renew(queue::LEASE - RENEW / 2).await {
                tracing::warn!(%error, "leases cannot be renewed");
            }
        }
    }

    /// Renews the claims that hold for less than this.
    async fn renew(&self, left: Duration) -> domain::Result<()> {
        let begun = Instant::now();
        let old: Vec<MessageId> =
            self.held().iter().filter(|(_, until)| **until < begun + left).map(|(id, _)| *id).collect();
        if old.is_empty() {
            return Ok(());
        }
        let renewed: HashSet<MessageId> =
            queue::renew(&self.0.state.db, self.0.server, &old, Utc::now()).await?.into_iter().collect();
        let mut held = self.held();
        for id in old {
            if let Some(until) = held.get_mut(&id) {
                // Lost, or written down already: an attempt that still runs is broken off.
                *until = if renewed.contains(&id) { begun + queue::LEASE } else { begun };
            }
        }
        Ok(())
    }

    /// Takes what other servers left behind for lost.
    async fn reap(&self) {
        let state = &self.0.state;
        // A database that comes back finds all leases run out, those of living servers, too.
        let reached_since: Mutex<Option<Instant>> = Mutex::new(None);
        let step = || async {
            // Our own first: `reap` does not ask whose they are.
            self.renew(LEASE_LEFT + RESOLVE).await?;
            // Where nothing is to be renewed, nothing was asked.
            state.db.ping().await?;
            let since = *reached_since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            if since.elapsed() < OTHERS_RENEW {
                return Ok(());
            }
            METERS.unknown.increment(queue::reap(&state.db, Utc::now()).await? as u64);
            Ok::<_, Error>(())
        };
        every(RESOLVE, state, || async {
            if let Err(error) = step().await {
                *reached_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
                if !matches!(error, Error::Unavailable) {
                    tracing::error!(%error, "claims of servers that fell silent cannot be looked for");
                }
            }
        })
        .await;
    }

    /// Finds out about messages that may have left.
    async fn find_out(&self) {
        let state = &self.0.state;
        let step = || async {
            let held: Vec<MessageId> = self.held().keys().copied().collect();
            // As many as are asked about at once: nobody else asks about them while they wait for their turn.
            let doubtful = queue::doubtful(&state.db, self.0.server, &held, ASKED_AT_ONCE as i64, Utc::now()).await?;
            let findings: Vec<(Claimed, Finding)> =
                futures::future::join_all(doubtful.into_iter().map(|claim| async {
                    let finding = self.ask(&claim).await;
                    tracing::info!(message = %claim.id, ?finding, "asked about a message that may have left");
                    (claim, finding)
                }))
                .await;
            if !findings.is_empty() {
                queue::resolve(&state.db, &findings, Utc::now()).await?;
                state.queue_woken.notify_one();
            }
            Ok::<_, Error>(findings.len() == ASKED_AT_ONCE)
        };
        every(RESOLVE, state, || async {
            loop {
                match step().await {
                    Ok(true) => {}
                    Ok(false) | Err(Error::Unavailable) => return,
                    Err(error) => {
                        tracing::error!(%error, "messages that may have left cannot be found out about");
                        return;
                    }
                }
            }
        })
        .await;
    }

    async fn ask(&self, claim: &Claimed) -> Finding {
        let Some(body) = claim.body.clone() else { return Finding::CannotTell };
        let route = match self.0.state.providers.of(claim.environment, claim.organization, claim.instance).await {
            Ok(route) => route,
            Err(Error::NotFound) => return Finding::CannotTell,
            Err(_) => return Finding::NotNow,
        };
        let message = outgoing(claim, body);
        let asking = AssertUnwindSafe(route.provider.find(&route.connection, &message)).catch_unwind();
        match tokio::time::timeout(LONGEST_ATTEMPT / 3, asking).await {
            Ok(Ok(Found::Sent { provider_message_id })) if is_id(&provider_message_id) => {
                Finding::Sent { provider_message_id }
            }
            Ok(Ok(Found::Sent { .. })) => Finding::CannotTell,
            Ok(Ok(Found::NotThere)) => Finding::NotThere,
            Ok(Ok(Found::CannotTell)) => Finding::CannotTell,
            Ok(Ok(Found::NotNow)) | Ok(Err(_)) | Err(_) => Finding::NotNow,
        }
    }

    /// Gives up what has waited for too long, and what nobody could tell about.
    async fn expire(&self) {
        let db = &self.0.state.db;
        let step = async || {
            let (expired, unconfirmed) = (queue::expire(db, Utc::now()).await?, queue::give_up(db, Utc::now()).await?);
            if expired + unconfirmed > 0 {
                tracing::info!(expired, unconfirmed, "old messages were given up");
            }
            Ok::<_, Error>(expired + unconfirmed)
        };
        loop {
            match step().await {
                Ok(0) | Err(Error::Unavailable) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "old messages cannot be given up");
                    return;
                }
            }
        }
    }

    /// Asks the providers whose failures or lost sessions paused a queue whether they are connected; telling that lets the
    /// queue go on, unless somebody has disconnected it meanwhile.
    async fn probe(&self) {
        let state = &self.0.state;
        let Ok(paused) = queue::to_probe(&state.db, Utc::now()).await else { return };
        futures::stream::iter(paused)
            .for_each_concurrent(ASKED_AT_ONCE, |(organization, instance)| async move {
                let Ok(route) = state.providers.route(organization, instance).await else { return };
                let asking = AssertUnwindSafe(route.provider.session(&route.connection)).catch_unwind();
                let Ok(Ok(Ok(session))) = tokio::time::timeout(LONGEST_ATTEMPT / 3, asking).await else { return };
                if let Err(error) =
                    instances::store::tell_if_wanted(&state.db, organization, instance, &session, Utc::now()).await
                {
                    tracing::warn!(%error, %instance, "what a provider said of its connection cannot be written down");
                }
            })
            .await;
    }

    /// Corrects what was promised to messages whose line is late, one line after the other.
    async fn catch_up(&self) {
        let late = std::mem::take(&mut *self.late());
        for instance in late {
            if let Err(error) = queue::catch_up(&self.0.state.db, instance, Utc::now()).await {
                tracing::warn!(%error, %instance, "the times promised to a late line stay as they are");
            }
        }
    }

    async fn play_sandbox(&self) {
        let state = &self.0.state;
        every(SANDBOX, state, || async {
            loop {
                match queue::advance_sandbox(&state.db, Utc::now()).await {
                    Ok(0) | Err(Error::Unavailable) => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "statuses of the sandbox cannot be written");
                        return;
                    }
                }
            }
        })
        .await;
    }
}

/// Can be kept and searched for; a server that a customer points us to may answer anything.
fn is_id(text: &str) -> bool {
    text.len() <= LONGEST_ID && !text.contains('\0')
}

fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed { code: code.into(), message: message.into() }
}

fn outgoing(claim: &Claimed, body: domain::messages::Body) -> Outgoing {
    Outgoing { id: claim.id, to: claim.to.clone(), body, attempt: claim.attempt.unsigned_abs() }
}

/// What a provider's answer means for the queue.
fn ended(claim: &Claimed, route: &Route, outcome: SendOutcome) -> Outcome {
    match outcome {
        SendOutcome::Sent { provider_message_id } if !is_id(&provider_message_id) => {
            Outcome::Unknown { message: "the provider answered with something that is no message id".into() }
        }
        SendOutcome::Sent { provider_message_id } => {
            let rehearsed = claim.environment == Environment::Test
                || matches!(route.connection.settings, instances::Settings::Sandbox);
            let then = if rehearsed { sandbox::then(&claim.to) } else { Vec::new() };
            Outcome::Sent { provider_message_id, then }
        }
        SendOutcome::Retry { code, message, after_s, throttled } => {
            Outcome::Retry { code, message, after: after_s.map(Duration::from_secs), throttled }
        }
        SendOutcome::Failed { code, message } => Outcome::Failed { code, message },
        SendOutcome::Unknown { message } => Outcome::Unknown { message },
        SendOutcome::Disconnected { code, message } => Outcome::Disconnected { code, message },
    }
}

fn count(ends: &[Finished]) {
    for end in ends {
        let index = match end.outcome {
            Outcome::Sent { .. } => 0,
            Outcome::Retry { .. } => 1,
            Outcome::Failed { .. } => 2,
            Outcome::Unknown { .. } => 3,
            Outcome::Disconnected { .. } => 4,
        };
        METERS.outcomes[index].1.increment(1);
    }
}
