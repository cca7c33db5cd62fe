//! Hears what changes: keys and instances that must be forgotten at once on every server, first calls for the radar,
//! messages and webhook deliveries that wait.

use std::time::{Duration, Instant};

use domain::{
    ids::{InstanceId, KeyId},
    messages::queue,
};
use sqlx::postgres::{PgListener, PgNotification};
use uuid::Uuid;

use crate::{state::AppState, telemetry::COUNTERS};

const KEYS: &str = "bouncer_keys";
const CALLS: &str = "bouncer_calls";
const INSTANCES: &str = "bouncer_instances";
const DELIVERIES: &str = "bouncer_deliveries";
/// What all keys show has changed, such as the organization's name.
const EVERY_KEY: &str = "*";
/// A connection on which nothing comes is asked after this long whether it is there: twice within the second in which
/// a key that was revoked must stop ([`domain::gate::cache::FRESH_WITHOUT_NOTIFY`]).
const SILENCE: Duration = Duration::from_millis(400);
/// Without an answer for this long, the connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Listens until the state is stopped.
pub async fn run(state: AppState) {
    tokio::select! {
        () = listen_for_ever(&state) => {}
        () = state.stopped() => {}
    }
    listening(&state, false);
}

/// While nothing is heard, copies are kept for moments only.
fn listening(state: &AppState, yes: bool) {
    state.keys.set_listening(yes);
    state.instances.set_listening(yes);
    COUNTERS.listening.set(if yes { 1.0 } else { 0.0 });
}

async fn listen_for_ever(state: &AppState) {
    let mut pause = Duration::from_millis(100);
    loop {
        match connect(state).await {
            Ok(mut listener) => {
                // What changed before we listened was not heard.
                state.keys.invalidate_all();
                state.instances.invalidate_all();
                state.deliveries.ring("");
                listening(state, true);
                pause = Duration::from_millis(100);
                let end = hear(state, &mut listener).await;
                listening(state, false);
                tracing::warn!(why = end, "changes of keys cannot be heard; asking the database each second instead");
            }
            Err(error) => tracing::debug!(%error, "listening failed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

async fn connect(state: &AppState) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(state.db.system()).await?;
    // A lost connection must be seen, not mended silently: entries read meanwhile may be stale.
    listener.eager_reconnect(false);
    listener.listen_all([KEYS, CALLS, INSTANCES, DELIVERIES, queue::CHANNEL]).await?;
    Ok(listener)
}

/// Hears until the connection is lost; returns why.
async fn hear(state: &AppState, listener: &mut PgListener) -> String {
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                tell(state, &notification);
                state.keys.heard(Instant::now());
            }
            Ok(Ok(None)) => return "the connection was closed".into(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => {
                let asked = Instant::now();
                let ping = sqlx::query("select 1").execute(&mut *listener);
                match tokio::time::timeout(PATIENCE, ping).await {
                    Ok(Ok(_)) => state.keys.heard(asked),
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return "the connection is silent".into(),
                }
            }
        }
    }
}

fn tell(state: &AppState, notification: &PgNotification) {
    let payload = notification.payload();
    match notification.channel() {
        queue::CHANNEL => state.queue_woken.notify_one(),
        DELIVERIES => state.deliveries.ring(payload),
        INSTANCES => match payload.parse::<Uuid>() {
            Ok(id) => state.instances.invalidate(InstanceId(id)),
            Err(_) => state.instances.invalidate_all(),
        },
        channel => tell_of_key(state, channel, payload),
    }
}

fn tell_of_key(state: &AppState, channel: &str, payload: &str) {
    if payload == EVERY_KEY {
        state.keys.invalidate_all();
        return;
    }
    // The trigger writes the bare UUID, our own code the id as people see it.
    let Some(key) = payload.parse().ok().or_else(|| payload.parse::<Uuid>().ok().map(KeyId)) else {
        tracing::warn!(payload, "a notification that is no key id");
        // Something changed: rather ask once too often.
        state.keys.invalidate_all();
        return;
    };
    match channel {
        // Nobody looking is no error.
        CALLS => _ = state.radar.send(key),
        _ => state.keys.invalidate_key(key),
    }
}
