//! What Bouncer knows and decides, one folder for each word of the product.
//!
//! - [`keys`]: API keys: their text form, scopes, policy, status, storage
//! - [`throttle`]: anti-ban pacing: modes and the scheduler
//! - [`gate`]: may this call pass? the pure decision, the limiter, the key cache
//! - [`usage`]: the request log and its rollups
//! - [`people`]: organizations, members, invitations, passwords, sign-in
//! - [`audit`]: who did what; append-only and hash-chained
//! - [`ids`], [`time`], [`error`], [`secret`]: the small change everything uses
//! - `db`, `seal`: the two database pools; sealing of secrets at rest (feature `postgres`)
//!
//! Types and rules are plain Rust and run in the browser too; SQL stands behind the feature `postgres`.

pub mod audit;
#[cfg(feature = "postgres")]
pub mod db;
pub mod error;
pub mod gate;
pub mod ids;
pub mod keys;
pub mod people;
#[cfg(feature = "postgres")]
pub mod seal;
pub mod secret;
pub mod throttle;
pub mod time;
pub mod usage;

#[cfg(feature = "postgres")]
pub use db::Db;
pub use error::{Error, FieldError, Result};
