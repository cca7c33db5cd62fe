//! The gate: may this call pass?
//!
//! [`decide`] is one pure function over a key and the facts of a call. The [`limiter`] and the key cache
//! feed it; everything that explains, replays or simulates decisions calls it too.

#[cfg(feature = "postgres")]
pub mod cache;
mod decide;
pub mod limiter;

pub use decide::{Decision, Denial, Facts, GateKey, Instance, Presented, Queue, Sealed, decide};
pub use limiter::{Rate, Window};
