//! The queue: claiming what is due, finishing it, finding out what became of it.
//!
//! `outbox` holds what is still to be sent, `queues` one row for each instance. A row of the outbox goes
//!
//! ```text
//! queued ── claim ──▸ sending ── finish ──▸ gone: sent, failed
//!   ▴ ▴                  │ │
//!   │ └─ retry, release ─┘ ├─ finish: the answer was lost
//!   │                      └─ reap: the lease ran out ──▸ unknown ── resolve, advance ──▸ gone: sent, or still unknown
//!   └──────────────────────────── resolve: it never arrived there ──┘
//! ```
//!
//! What holds:
//! - Whoever claims messages of an instance, or changes what waits there, holds the instance's row of `queues`. So the
//!   pace and the order hold over any number of servers.
//! - A claim is committed before anything is sent, and nothing is sent under a claim that has run out. What was claimed
//!   and not finished may have left: it becomes `unknown` and is asked about, never sent again blindly. What nobody can
//!   tell leaves the outbox and stays `unknown` until an acknowledgement comes, or for a day.
//! - Messages to one recipient leave in the order of acceptance: none leaves while an earlier one is in the outbox.
//!
//! **Order of locks**, for whatever changes the outbox: rows of `queues` by id ([`lock`]), then of `outbox`, then of
//! `messages`; and [`refresh`] before the commit.

mod advance;
mod claim;
mod finish;
mod pause;
mod record;
mod unknown;

use std::time::Duration;

pub use crate::instances::PausedBy;

pub(super) use self::finish::call_next;
pub use self::{
    advance::{Advanced, advance, advance_in, advance_sandbox, forget_early},
    claim::{Claimed, claim, next_due, release, renew},
    finish::{Finished, LostConnection, Outcome, ScheduledStatus, cancelled, finish, left_open},
    pause::{Queue, QueueHead, catch_up, leave_to_session, lock, pause, queue, refresh, resume, to_probe},
    unknown::{Finding, doubtful, expire, give_up, reap, resolve},
};

/// How long a server may be silent about what it has claimed, before that counts as lost.
pub const LEASE: Duration = Duration::from_secs(15);
/// A claim that is older than this when its turn comes is given back instead of sent: another server may believe it lost.
pub const STALE: Duration = Duration::from_secs(8);
/// After which certain non-acceptances a message is tried again (PRODUCT, section 7).
pub const RETRY_AFTER: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(60), Duration::from_secs(120)];
/// Longest wait that a provider's `Retry-After` may ask for.
pub const LONGEST_RETRY: Duration = Duration::from_secs(3_600);
/// How long after its lease or its answer was lost a message is first asked about; earlier, a provider may not know it yet.
pub const ASK_AFTER: Duration = Duration::from_secs(10);
/// How long a message may be `unknown` before it counts as failed; an acknowledgement that comes later still wins.
pub const UNCONFIRMED_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// How long after its acceptance a message that has not left expires.
pub const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Failures in a row after which a queue pauses.
pub const FAILURES_TO_PAUSE: i32 = 3;
/// After which a provider that failed or lost its session is asked whether it is connected again. One
/// that says so and then refuses to send, as for an account that is blocked, is asked after twice the time, and so on up
/// to the longest.
pub const PROBE_AFTER: Duration = Duration::from_secs(30);
pub const LONGEST_PROBE: Duration = Duration::from_secs(3_600);
/// Messages of one instance that are sent at the same time, when they are not paced.
pub const AT_ONCE: i64 = 20;
/// The same for the sandbox.
pub const AT_ONCE_SANDBOX: i64 = 200;
/// Messages of one Cloud API number that are begun within any second: Meta takes no more.
pub const CLOUD_API_A_SECOND: usize = 80;
/// The channel on which servers tell each other that something waits; the payload is the instance's id.
pub const CHANNEL: &str = "bouncer_queue";

/// Milliseconds as Postgres and chrono count them.
fn millis(duration: Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::milliseconds(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
