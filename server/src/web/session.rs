//! Sessions of the cookie, kept in Postgres.
//!
//! A session ends twelve hours after it was last used, and seven days after sign-in however much it is used. That of
//! somebody who is not signed in carries a form over one redirect, and ends after ten minutes.

use std::fmt;

use app::session::PERSON;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Db, people::sessions, time::Time};
use serde_json::Value;
use tower_sessions::{
    Expiry, SessionManagerLayer, SessionStore,
    cookie::SameSite,
    session::{Id, Record},
    session_store::{Error, Result},
};

use crate::state::AppState;

const IDLE: TimeDelta = TimeDelta::hours(12);
const STRANGERS: TimeDelta = TimeDelta::minutes(10);
const ABSOLUTE: TimeDelta = TimeDelta::days(7);
/// Using a session moves its end at most this often: a page view should not be a write.
const MOVE_EVERY: TimeDelta = TimeDelta::minutes(5);
/// When the session's id was made; signing in makes a new one.
const BEGAN: &str = "began_at";

pub fn layer(state: &AppState) -> SessionManagerLayer<Store> {
    // The prefix binds the cookie to this host and to TLS; browsers refuse it over plain HTTP.
    let name = if state.https() { "__Host-bouncer" } else { "bouncer" };
    SessionManagerLayer::new(Store { db: state.db.clone() })
        .with_name(name)
        .with_secure(state.https())
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        // The cookie lives as long as a session can; when it really ends, the store knows.
        .with_expiry(Expiry::OnInactivity(time::Duration::days(ABSOLUTE.num_days())))
}

#[derive(Clone)]
pub struct Store {
    db: Db,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

#[async_trait::async_trait]
impl SessionStore for Store {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let now = Utc::now();
        record.data.insert(BEGAN.into(), now.timestamp().into());
        let data = data(record)?;
        while !sessions::insert(&self.db, &record.id.to_string(), &data, end(&data, now)).await.map_err(backend)? {
            record.id = Id::default();
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let data = data(record)?;
        sessions::save(&self.db, &record.id.to_string(), &data, end(&data, Utc::now())).await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let text = id.to_string();
        let Some((data, expires)) = sessions::load(&self.db, &text).await.map_err(backend)? else { return Ok(None) };
        let moved = end(&data, Utc::now());
        if data.get(PERSON).is_some() && moved - expires > MOVE_EVERY {
            // Exactly what was just read, so nothing that another request stores is lost.
            sessions::save(&self.db, &text, &data, moved).await.map_err(backend)?;
        }
        let data = serde_json::from_value(data).map_err(|error| Error::Decode(error.to_string()))?;
        // tower-sessions asks for its own kind of time; the store alone decides when a session ends.
        let expiry_date = time::OffsetDateTime::from_unix_timestamp(expires.timestamp())
            .map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        sessions::delete(&self.db, &id.to_string()).await.map_err(backend)
    }
}

fn data(record: &Record) -> Result<Value> {
    serde_json::to_value(&record.data).map_err(|error| Error::Encode(error.to_string()))
}

fn backend(error: domain::Error) -> Error {
    Error::Backend(error.to_string())
}

/// When a session that is used now ends.
fn end(data: &Value, now: Time) -> Time {
    let began = data.get(BEGAN).and_then(Value::as_i64).and_then(|s| DateTime::from_timestamp(s, 0)).unwrap_or(now);
    let idle = if data.get(PERSON).is_some() { IDLE } else { STRANGERS };
    (now + idle).min(began + ABSOLUTE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_ends_when_idle_and_in_any_case_after_a_week() {
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let data = json!({ BEGAN: began.timestamp(), PERSON: "somebody" });
        assert_eq!(end(&data, began), began + IDLE);
        assert_eq!(end(&data, began + TimeDelta::days(3)), began + TimeDelta::days(3) + IDLE);
        assert_eq!(end(&data, began + TimeDelta::hours(7 * 24 - 1)), began + ABSOLUTE);
        assert_eq!(end(&json!({ BEGAN: began.timestamp() }), began), began + TimeDelta::minutes(10));
    }
}
