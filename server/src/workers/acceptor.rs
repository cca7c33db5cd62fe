//! Gathers messages that callers want accepted, so that one commit serves many.
//!
//! There is no worker that could stop: whoever comes starts a batch unless enough are on their way, and whoever ends a
//! batch starts the next. A first caller never waits for others; under load batches grow by themselves. Batches of
//! different instances go side by side; messages of one instance go one batch after the other, because a batch holds
//! the instance's queue until its commit.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::Utc;
use domain::{
    Db, Error,
    idempotency::Claim,
    ids::InstanceId,
    messages::store::{self, NewMessage, Refusal, Reply},
    throttle::SplitMix,
};
use tokio::sync::oneshot;

/// Batches on their way at once: while one waits for the disk, another is put together. More of them are smaller, and
/// each costs as many statements.
const AT_ONCE: usize = 2;
/// Messages of a batch.
const BATCH_MAX: usize = 256;
/// Callers that wait. More than this is no load but a failure.
const WAITING_MAX: usize = 10_000;

type Outcome = domain::Result<Result<Reply, Refusal>>;

/// A cheap handle.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    db: Db,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Waiting>,
    /// Instances of the batches that are on their way.
    busy: HashSet<InstanceId>,
    running: usize,
}

struct Waiting {
    message: NewMessage,
    answer: oneshot::Sender<Outcome>,
}

impl Acceptor {
    pub fn new(db: Db) -> Self {
        Self(Arc::new(Inner { db, desk: Mutex::default() }))
    }

    /// Accepts a message, durably: when this returns [`Reply::Accepted`], the message is in the queue.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked, or too many wait already. When it was lost during the commit,
    /// the message may have been accepted all the same; an `Idempotency-Key` tells.
    pub async fn accept(&self, message: NewMessage) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        {
            let mut desk = self.desk();
            if desk.waiting.len() >= WAITING_MAX {
                return Err(Error::Unavailable);
            }
            desk.waiting.push_back(Waiting { message, answer });
        }
        self.start();
        outcome.await.unwrap_or_else(|_| Err(Error::Internal("a batch of messages ended without an answer".into())))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing that could panic happens under the lock.
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what may start.
    fn start(&self) {
        // The runtime itself ends: nobody waits for an answer any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        loop {
            let mut desk = self.desk();
            if desk.running >= AT_ONCE {
                return;
            }
            let batch = desk.take_batch();
            if batch.is_empty() {
                return;
            }
            desk.running += 1;
            drop(desk);
            let running = Running { acceptor: self.clone(), instances: instances(&batch) };
            runtime.spawn(async move {
                running.acceptor.run(batch).await;
                // Also when `run` panics: dropping it starts the next batch.
                drop(running);
            });
        }
    }

    async fn run(&self, batch: Vec<Waiting>) {
        // Nobody waits any more for those whose callers have hung up before anything was done.
        let batch: Vec<Waiting> = batch.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let (messages, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.message, waiting.answer)).unzip();
        match self.accept_all(&messages).await {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    _ = answer.send(Ok(outcome));
                }
            }
            // One that the database does not take must not stand in the way of the others.
            Err(Error::Internal(cause)) if messages.len() > 1 => {
                tracing::warn!(cause, messages = messages.len(), "a batch of messages failed; trying each by itself");
                for (message, answer) in messages.iter().zip(answers) {
                    let one = self.accept_all(std::slice::from_ref(message)).await;
                    _ =
                        answer.send(one.and_then(|mut outcomes| {
                            outcomes.pop().ok_or_else(|| Error::Internal("no outcome".into()))
                        }));
                }
            }
            Err(Error::Unavailable) => answers.into_iter().for_each(|answer| _ = answer.send(Err(Error::Unavailable))),
            Err(error) => {
                for answer in answers {
                    _ = answer.send(Err(Error::internal(&error)));
                }
            }
        }
    }

    async fn accept_all(&self, messages: &[NewMessage]) -> domain::Result<Vec<Result<Reply, Refusal>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut random = SplitMix(rand::random());
        store::accept(&self.0.db, messages, Utc::now(), &mut random).await
    }
}

fn instances(batch: &[Waiting]) -> HashSet<InstanceId> {
    batch.iter().map(|waiting| waiting.message.instance).collect()
}

impl Desk {
    /// The first messages whose instances nobody holds; of two with the same `Idempotency-Key` only the first, since
    /// the second needs its answer. What is left keeps its order.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut rest = VecDeque::new();
        while let Some(waiting) = self.waiting.pop_front() {
            let message = &waiting.message;
            if batch.len() == BATCH_MAX
                || self.busy.contains(&message.instance)
                || message.idempotency.as_ref().is_some_and(|claim| {
                    batch.iter().filter_map(|other| other.message.idempotency.as_ref()).any(|other| same(other, claim))
                })
            {
                rest.push_back(waiting);
                if batch.len() == BATCH_MAX {
                    break;
                }
            } else {
                batch.push(waiting);
            }
        }
        rest.append(&mut self.waiting);
        self.waiting = rest;
        self.busy.extend(batch.iter().map(|waiting| waiting.message.instance));
        batch
    }
}

fn same(one: &Claim, other: &Claim) -> bool {
    one.key == other.key && one.organization == other.organization && one.environment == other.environment
}

/// A batch on its way; its end makes room for the next.
struct Running {
    acceptor: Acceptor,
    instances: HashSet<InstanceId>,
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut desk = self.acceptor.desk();
            desk.running -= 1;
            for instance in &self.instances {
                desk.busy.remove(instance);
            }
        }
        self.acceptor.start();
    }
}
