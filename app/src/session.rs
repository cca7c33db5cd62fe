//! Who is calling a server function: read from the session cookie, first line of every body.

use std::{net::IpAddr, sync::Arc};

use domain::{
    Db,
    ids::{OrgId, PersonId, RequestId},
    people::{Actor, Role, Viewer, passwords::Hasher},
    seal::Sealer,
    time::Time,
};
use http::{HeaderValue, Method, header, request::Parts};
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use tower_sessions::Session;

use crate::{error::AppError, outside::Outside};

/// What the pages need of the server; given as context to every page and server function.
#[derive(Clone)]
pub struct AppState {
    pub db: Db,
    /// Seals what passes through the session for one redirect: a new key, when its form was sent without script.
    pub sealer: Sealer,
    pub hasher: Hasher,
    pub settings: Arc<Settings>,
    pub outside: Arc<dyn Outside>,
}

/// Settings that show on pages.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://bouncer.acme.example`, without a slash at the end.
    pub public_url: String,
    /// `bnc`
    pub key_prefix: String,
    /// Code and title of each error of the API; `/api/v1/problems/CODE` explains it.
    pub problems: Vec<(&'static str, &'static str)>,
}

/// The caller's address, after trusted proxies were taken into account. The server puts it into the request's
/// extensions; it also puts the [`RequestId`] there.
#[derive(Debug, Clone, Copy)]
pub struct ClientIp(pub IpAddr);

/// Names of what a session holds; `domain::people::sessions` reads some of them for the list of sessions.
pub const PERSON: &str = "person_id";
pub const ORGANIZATION: &str = "organization_id";
const IP: &str = "ip";
const USER_AGENT: &str = "user_agent";

pub fn state() -> Result<AppState, AppError> {
    use_context().ok_or_else(|| internal("no AppState in the context"))
}

/// An error of ours; the text goes to the log only.
pub fn internal(cause: impl std::fmt::Display) -> AppError {
    domain::Error::internal(cause).into()
}

fn parts() -> Option<Parts> {
    use_context()
}

/// The request's id, empty outside a request.
pub fn request_id() -> String {
    parts().and_then(|parts| parts.extensions.get::<RequestId>().map(ToString::to_string)).unwrap_or_default()
}

/// The caller's address.
pub fn client_ip() -> Option<IpAddr> {
    parts().and_then(|parts| parts.extensions.get::<ClientIp>().map(|ip| ip.0))
}

/// The caller's user agent, cut to a length that fits everywhere.
pub fn user_agent() -> String {
    parts()
        .and_then(|parts| {
            let agent = parts.headers.get(header::USER_AGENT)?;
            Some(String::from_utf8_lossy(agent.as_bytes()).chars().take(300).collect())
        })
        .unwrap_or_default()
}

/// A cookie of the request.
pub fn cookie(name: &str) -> Option<String> {
    let parts = parts()?;
    parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// A form sent by the browser itself, without script: the answer must be a redirect.
pub fn is_plain_form() -> bool {
    parts().is_some_and(|parts| {
        parts.method == Method::POST
            && parts
                .headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .is_some_and(|accept| accept.contains("text/html"))
    })
}

/// Whether the answer already sends the browser elsewhere.
pub fn is_redirected(response: &ResponseOptions) -> bool {
    response.0.read().is_ok_and(|parts| parts.headers.contains_key(header::LOCATION))
}

/// The session of this request.
pub fn session() -> Result<Session, AppError> {
    parts()
        .and_then(|parts| parts.extensions.get::<Session>().cloned())
        .ok_or_else(|| internal("no session layer around this request"))
}

/// Maps an error of the session's store.
pub fn store_error(error: tower_sessions::session::Error) -> AppError {
    match error {
        tower_sessions::session::Error::Store(cause) => {
            tracing::warn!(%cause, "the session store failed");
            domain::Error::Unavailable.into()
        }
        other => internal(other),
    }
}

/// Who is signed in, if anybody is. Reads the membership anew each time: a removed member is out at once.
pub async fn current_or_none() -> Result<Option<Viewer>, AppError> {
    let (state, session) = (state()?, session()?);
    let Some(person) = session.get::<PersonId>(PERSON).await.map_err(store_error)? else {
        return Ok(None);
    };
    let Some(organization) = session.get::<OrgId>(ORGANIZATION).await.map_err(store_error)? else {
        return Ok(None);
    };
    Ok(domain::people::sign_in::viewer(&state.db, person, organization).await?)
}

/// Who is signed in. The first line of every server function.
pub async fn current() -> Result<Current, AppError> {
    let state = state()?;
    let ip = client_ip();
    let viewer = current_or_none().await?.ok_or_else(|| AppError::SignedOut.answered())?;
    Ok(Current { viewer, ip, state })
}

/// A signed-in person and what their request needs.
#[derive(Clone)]
pub struct Current {
    pub viewer: Viewer,
    pub ip: Option<IpAddr>,
    pub state: AppState,
}

impl Current {
    pub fn db(&self) -> &Db {
        &self.state.db
    }

    pub fn organization(&self) -> OrgId {
        self.viewer.organization_id
    }

    /// For the audit log.
    pub fn actor(&self) -> Actor {
        Actor {
            organization_id: self.viewer.organization_id,
            person_id: Some(self.viewer.person_id),
            name: self.viewer.email.clone(),
            ip: self.ip,
            role: Some(self.viewer.role),
        }
    }

    /// Refuses those who may only look.
    pub fn manages_keys(self) -> Result<Self, AppError> {
        self.needs(Role::may_manage_keys, "Your role is Viewer. A developer, admin or owner can change keys.")
    }

    /// Refuses those who may only look.
    pub fn manages_integrations(self) -> Result<Self, AppError> {
        self.needs(
            Role::may_manage_keys,
            "Your role is Viewer. A developer, admin or owner can change instances and webhook endpoints.",
        )
    }

    /// Refuses those who may not manage members and the organization.
    pub fn manages_members(self) -> Result<Self, AppError> {
        self.needs(Role::may_manage_members, "Only admins and owners can change members and the organization.")
    }

    fn needs(self, right: impl Fn(Role) -> bool, message: &str) -> Result<Self, AppError> {
        if right(self.viewer.role) { Ok(self) } else { Err(AppError::Forbidden { message: message.into() }.answered()) }
    }
}

/// Signs a person in: a new session id, so that an id known from before is worth nothing.
pub async fn begin(person: PersonId, organization: OrgId) -> Result<(), AppError> {
    let (ip, agent) = (client_ip(), user_agent());
    let session = session()?;
    session.cycle_id().await.map_err(store_error)?;
    session.insert(PERSON, person).await.map_err(store_error)?;
    session.insert(ORGANIZATION, organization).await.map_err(store_error)?;
    session.insert(IP, ip).await.map_err(store_error)?;
    session.insert(USER_AGENT, agent).await.map_err(store_error)
}

/// The same session under a new id, after a change of password.
pub async fn renew() -> Result<(), AppError> {
    session()?.cycle_id().await.map_err(store_error)
}

/// The secret id of this session, to tell it from the person's others.
pub fn session_id() -> Result<String, AppError> {
    session()?.id().map(|id| id.to_string()).ok_or_else(|| AppError::SignedOut.answered())
}

/// Signs out: the session and everything in it is gone.
pub async fn end() -> Result<(), AppError> {
    session()?.flush().await.map_err(store_error)
}

/// Sends the browser elsewhere. Does not return from the caller: write `go(…); return Ok(…)`.
pub fn go(path: &str) {
    // A path that is no header value cannot come from our own routes.
    if HeaderValue::from_str(path).is_ok() {
        leptos_axum::redirect(path);
    }
}

/// Sends a page of somebody who is not signed in to the sign-in page, with the way back. A call of a server function
/// gets only its error; the page it came from decides.
pub fn to_sign_in() {
    let Some(parts) = parts() else { return };
    if parts.method == Method::GET {
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        go(&format!("/sign-in?next={}", crate::url::encode(here)));
    }
}

/// For answers that carry a secret.
pub fn no_store() {
    if let Some(response) = use_context::<ResponseOptions>() {
        response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Only paths of our own, so that nobody is sent elsewhere after signing in.
pub fn own_path(next: &str) -> Option<&str> {
    let own = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(|c: char| c == '\\' || c.is_control())
        && next.len() <= 2_000;
    own.then_some(next)
}

/// The server's clock.
pub fn now() -> Time {
    chrono::Utc::now()
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn sends_people_only_to_pages_of_its_own() {
        assert_eq!(own_path("/dashboard?x=1"), Some("/dashboard?x=1"));
        for foreign in ["//evil.example", "https://evil.example", "/\\evil.example", "", "dashboard", "/a\nb", "/a\0b"]
        {
            assert_eq!(own_path(foreign), None, "{foreign:?}");
        }
    }
}
