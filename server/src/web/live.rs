//! The first-call radar: server-sent events that tell the reveal card of the first calls with what it shows: a key's
//! present secret, and with `?since=` (milliseconds of Unix time) what came after its API secret was issued.
//!
//! Each event `call` carries a [`CallSeen`] as JSON. The stream ends after the first call that was let through, after
//! half an hour, when the server stops, and when whoever opened it is signed out or no member any more.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use axum::{
    extract::{Path, Query, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use chrono::{DateTime, Utc};
use domain::{
    ids::{KeyId, OrgId, RequestId},
    keys,
    time::Time,
    usage,
    usage::CallSeen,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tower_sessions::Session;

use super::{failure, guard};
use crate::{state::AppState, telemetry::COUNTERS};

const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Looks at the database also without being told: only a key's very first call is announced, not that of a new secret,
/// and the telling connection may be down.
const LOOK: Duration = Duration::from_secs(2);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(serde::Deserialize)]
pub struct Since {
    since: Option<i64>,
}

/// `GET /dashboard/live/keys/{key}/calls`
pub async fn calls(
    State(state): State<AppState>,
    session: Session,
    headers: HeaderMap,
    Path(key): Path<String>,
    Query(Since { since }): Query<Since>,
) -> Response {
    let viewer = match guard::viewer(&state, &session).await {
        Ok(Some(viewer)) => viewer,
        Ok(None) => return StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => return failure::database_away(),
    };
    let Ok(key) = key.parse::<KeyId>() else { return StatusCode::NOT_FOUND.into_response() };
    // Listened to before the first look: a call in between is not missed.
    let news = state.radar.subscribe();
    match keys::store::get(&state.db, viewer.organization_id, key, Utc::now()).await {
        Ok(_) => {}
        Err(domain::Error::NotFound) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(%error, "the radar cannot begin");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    // After a break the browser says what it has seen.
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<RequestId>().ok());
    let (events, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        COUNTERS.live.increment(1.0);
        let radar = Radar {
            state: state.clone(),
            session,
            organization: viewer.organization_id,
            key,
            since: since.and_then(DateTime::from_timestamp_millis),
            seen: seen.into_iter().collect(),
            events,
        };
        tokio::select! {
            () = radar.run(news) => {}
            () = state.draining() => {}
        }
        COUNTERS.live.decrement(1.0);
    });
    let stream = Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    // Proxies must pass each event on at once.
    let mut response = stream.into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Radar {
    state: AppState,
    session: Session,
    organization: OrgId,
    key: KeyId,
    since: Option<Time>,
    seen: HashSet<RequestId>,
    events: mpsc::Sender<Result<Event, Infallible>>,
}

impl Radar {
    async fn run(mut self, mut news: broadcast::Receiver<KeyId>) {
        let end = Instant::now() + LONGEST;
        while Instant::now() < end && !self.events.is_closed() {
            match self.look().await {
                Ok(Some(calls)) => {
                    if self.show(calls).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                // The card goes on waiting; so do we.
                Err(domain::Error::Unavailable) => {}
                Err(error) => tracing::error!(%error, "the radar cannot look"),
            }
            let next_look = (Instant::now() + LOOK).min(end);
            loop {
                match timeout_at(next_look, news.recv()).await {
                    // Somebody else's key.
                    Ok(Ok(key)) if key != self.key => {}
                    Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => break,
                    Ok(Err(broadcast::error::RecvError::Closed)) => return,
                }
            }
        }
    }

    /// The first calls; `None` when they are no longer for whoever opened the stream, which is asked with each look.
    async fn look(&self) -> domain::Result<Option<Vec<CallSeen>>> {
        match guard::viewer_by_now(&self.state, &self.session).await? {
            Some(viewer) if viewer.organization_id == self.organization => {
                usage::store::first_calls(&self.state.db, self.organization, self.key, self.since).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Sends what is new, oldest first. `Err` when there is nothing more to tell, or nobody to tell it to.
    async fn show(&mut self, calls: Vec<CallSeen>) -> Result<(), ()> {
        for call in calls.into_iter().rev() {
            if !self.seen.insert(call.request_id) {
                if call.allowed {
                    return Err(());
                }
                continue;
            }
            let event =
                Event::default().event("call").id(call.request_id.to_string()).json_data(&call).map_err(|_| ())?;
            self.events.send(Ok(event)).await.map_err(|_| ())?;
            if call.allowed {
                return Err(());
            }
        }
        Ok(())
    }
}
