//! What runs: the console, the public API, the workers and the `bouncer` command.
//!
//! - [`cli`]: the commands; [`config`]: the settings they share
//! - [`postgres`]: the private Postgres that is run when no `DATABASE_URL` is given
//! - [`state`]: what every request may reach; [`telemetry`]: logs and metrics
//! - [`net`]: the one HTTP client for addresses that customers choose
//! - [`providers`]: how messages leave; [`inbound`]: what providers tell us
//! - [`api`]: the public API below `/api/v1`
//! - [`web`]: everything a browser sees: pages, sessions, headers, live events, downloads
//! - [`workers`]: what goes on in the background
//! - [`serve`]: start, run and drain it all

#![recursion_limit = "256"]

pub mod address;
pub mod api;
pub mod cli;
pub mod config;
pub mod inbound;
pub mod net;
pub mod postgres;
pub mod providers;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod web;
pub mod workers;

/// A call and a page take and give back memory in many small pieces. glibc merges free pieces whenever one of more than
/// a kilobyte is asked for, as every answer's headers are, and that was a tenth of the time of a call.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;
