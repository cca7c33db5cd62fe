//! What goes on in the background: the request log is written, changes are heard, old things are tidied away.

pub mod acceptor;
pub mod deliverer;
pub mod housekeeping;
pub mod listener;
pub mod recorder;
pub mod sender;

use tokio::task::JoinSet;

use crate::{state::AppState, telemetry};

/// Starts all workers; they end after [`AppState::stop`], the recorder after its last row is written.
pub fn start(state: &AppState) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    workers.spawn(recorder::run(state.clone()));
    workers.spawn(recorder::share_windows(state.clone()));
    workers.spawn(telemetry::keep_up(state.clone()));
    workers.spawn(listener::run(state.clone()));
    workers.spawn(housekeeping::run(state.clone()));
    workers.spawn(sender::run(state.clone()));
    workers.spawn(deliverer::run(state.clone(), deliverer::Patience::USUAL));
    workers
}
