//! What Bouncer knows and decides, one folder for each word of the product.
//!
//! - [`keys`]: API keys: their text form, scopes, policy, status, storage
//! - [`throttle`]: anti-ban pacing: modes and the scheduler
//! - [`gate`]: may this call pass? the pure decision, the limiter, the key cache
//! - [`usage`]: the request log and its rollups
//! - [`instances`]: connected WhatsApp numbers and their providers
//! - [`messages`]: outbound messages: bodies, recipients, statuses, acceptance, the queue
//! - [`conversations`]: bot or human, and what people wrote to us
//! - [`templates`]: approved message patterns and the check of their variables
//! - [`webhooks`]: endpoints, events, deliveries
//! - [`idempotency`]: answers kept for repeated calls
//! - [`fields`]: reading JSON objects field by field
//! - [`people`]: organizations, members, invitations, passwords, sign-in
//! - [`audit`]: who did what; append-only and hash-chained
//! - [`ids`], [`time`], [`error`], [`secret`]: the small change everything uses
//! - `db`, `partitions`, `statistics`: the two database pools; months of large tables; what the planner knows
//!   (feature `postgres`)
//! - `seal`, `reseal`: sealing of secrets at rest, and anew (feature `postgres`)
//!
//! Types and rules are plain Rust and run in the browser too; SQL stands behind the feature `postgres`.

pub mod audit;
pub mod conversations;
#[cfg(feature = "postgres")]
pub mod db;
pub mod error;
pub mod fields;
pub mod gate;
#[cfg(feature = "postgres")]
pub mod idempotency;
pub mod ids;
pub mod instances;
pub mod keys;
pub mod messages;
#[cfg(feature = "postgres")]
pub mod partitions;
pub mod people;
#[cfg(feature = "postgres")]
pub mod reseal;
#[cfg(feature = "postgres")]
pub mod seal;
pub mod secret;
#[cfg(feature = "postgres")]
pub mod statistics;
pub mod templates;
mod text;
pub mod throttle;
pub mod time;
pub mod usage;
pub mod webhooks;

#[cfg(feature = "postgres")]
pub use db::Db;
pub use error::{Error, FieldError, Result};
