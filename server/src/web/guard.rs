//! Sends people to the page where they can go on: to sign-in when signed out, to setup on a first run, from the short
//! addresses to the pages they stand for. It decides nothing about rights: every server function asks for itself.

use std::sync::atomic::Ordering::Relaxed;

use app::session::{ORGANIZATION, PERSON};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use domain::{
    ids::{OrgId, PersonId},
    people::{Viewer, sign_in},
};
use http::{Method, StatusCode};
use tower_sessions::Session;

use super::{failure, stamp};
use crate::state::AppState;

const HOME: &str = app::pages::developer::api_keys::query::PATH;

pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    match place(request.uri().path()) {
        Place::Open => next.run(request).await,
        Place::Door => match first_run(&state).await {
            Ok(true) => Redirect::to("/setup").into_response(),
            Ok(false) => next.run(request).await,
            Err(error) => refuse(&error),
        },
        Place::Setup => match first_run(&state).await {
            Ok(true) => next.run(request).await,
            Ok(false) => Redirect::to("/sign-in").into_response(),
            Err(error) => refuse(&error),
        },
        Place::Short(target) => Redirect::to(target).into_response(),
        Place::Inside => inside(state, request, next).await,
    }
}

async fn inside(state: AppState, request: Request, next: Next) -> Response {
    let wants_page = stamp::wants_page(&request);
    let here = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let viewer = match request.extensions().get::<Session>() {
        Some(session) => viewer(&state, session).await,
        None => Ok(None),
    };
    match viewer {
        Ok(Some(_)) => next.run(request).await,
        Ok(None) if !wants_page => (StatusCode::UNAUTHORIZED, "Signed out.\n").into_response(),
        Ok(None) => match first_run(&state).await {
            Ok(true) => Redirect::to("/setup").into_response(),
            Ok(false) => Redirect::to(&format!("/sign-in?next={}", app::url::encode(&here))).into_response(),
            Err(error) => refuse(&error),
        },
        Err(error) => refuse(&error),
    }
}

enum Place<'a> {
    /// Needs nobody: files, invitations, server functions.
    Open,
    /// Sign-in, which has nobody to sign in on a first run.
    Door,
    Setup,
    /// Stands for another page.
    Short(&'a str),
    /// Needs somebody.
    Inside,
}

fn place(path: &str) -> Place<'_> {
    match path.trim_end_matches('/') {
        "" | "/dashboard" | "/dashboard/developer" => Place::Short(HOME),
        "/dashboard/settings" => Place::Short("/dashboard/settings/organization"),
        "/sign-in" => Place::Door,
        "/setup" => Place::Setup,
        path if path.starts_with("/dashboard/") => Place::Inside,
        _ => Place::Open,
    }
}

fn refuse(error: &domain::Error) -> Response {
    match error {
        domain::Error::Unavailable => failure::database_away(),
        error => {
            tracing::error!(%error, "a page cannot be decided about");
            // The outermost layer makes a page of it.
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Is there no organization yet? Once there is one, there always is.
async fn first_run(state: &AppState) -> Result<bool, domain::Error> {
    if state.has_organization.load(Relaxed) {
        return Ok(false);
    }
    let any = sign_in::any_organization(&state.db).await?;
    if any {
        state.has_organization.store(true, Relaxed);
    }
    Ok(!any)
}

/// Who is signed in, asked anew each time: a removed member is out at once.
///
/// # Errors
/// `Unavailable` when the session or the membership cannot be read.
pub async fn viewer(state: &AppState, session: &Session) -> Result<Option<Viewer>, domain::Error> {
    let person = session.get::<PersonId>(PERSON).await.map_err(unread)?;
    let organization = session.get::<OrgId>(ORGANIZATION).await.map_err(unread)?;
    match (person, organization) {
        (Some(person), Some(organization)) => sign_in::viewer(&state.db, person, organization).await,
        _ => Ok(None),
    }
}

/// The same for a request that lasts: its session may have ended meanwhile.
///
/// # Errors
/// As [`viewer`].
pub async fn viewer_by_now(state: &AppState, session: &Session) -> Result<Option<Viewer>, domain::Error> {
    session.load().await.map_err(unread)?;
    viewer(state, session).await
}

fn unread(error: tower_sessions::session::Error) -> domain::Error {
    match error {
        tower_sessions::session::Error::Store(_) => domain::Error::Unavailable,
        other => domain::Error::internal(other),
    }
}
