//! Everything a browser sees.
//!
//! From the outside in: [`stamp`] gives each request its id and each answer its headers; the CSRF check; compression;
//! time-out; the session of the cookie; [`guard`], which sends people to the page where they can go on; then pages,
//! server functions, live events, downloads, and static files for everything else.

pub mod export;
pub mod failure;
mod guard;
mod headers;
pub mod live;
mod outside;
pub mod session;
mod stamp;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{Extensions, HeaderMap, StatusCode, Version, header};
use leptos::{
    prelude::provide_context,
    reactive::{computed::ScopedFuture, owner::Owner},
};
use leptos_axum::{LeptosRoutes, generate_route_list};
use tower_http::{
    compression::{CompressionLayer, CompressionLevel},
    csrf::{CsrfLayer, ProtectionError},
    timeout::TimeoutLayer,
};

use crate::{api::problem::CODES, state::AppState};

/// A page that takes longer has lost its reader.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A page is compressed while somebody waits: higher levels of brotli take longer than the bytes they save are worth.
const COMPRESSION: CompressionLevel = CompressionLevel::Precise(4);
/// The largest form holds 1,000 networks.
const FORM_MAX: usize = 256 * 1024;

/// Pages, server functions, live events, downloads and files.
pub fn router(state: &AppState) -> Router<AppState> {
    let context = context(state);
    Router::new()
        .route("/dashboard/live/keys/{key}/calls", get(live::calls))
        .route(app::pages::developer::api_keys::query::EXPORT_PATH, get(export::keys))
        .leptos_routes_with_context(state, generate_route_list(app::App), context.clone(), {
            let options = state.leptos.clone();
            move || app::shell(options.clone())
        })
        .fallback(leptos_axum::file_and_error_handler_with_context::<AppState, _>(context, app::shell))
        .layer(from_fn(own_owner))
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .layer(from_fn_with_state(state.clone(), guard::guard))
        .layer(session::layer(state))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, PAGE_TIMEOUT))
        .layer(from_fn(stamp::mark_secrets))
        .layer(CompressionLayer::new().quality(COMPRESSION).compress_when(compressible))
        .layer(CsrfLayer::new().with_rejection_response(foreign_form))
        .layer(from_fn_with_state(state.clone(), stamp::stamp))
}

/// What every page and server function finds in its context.
fn context(state: &AppState) -> impl Fn() + Clone + Send + Sync + 'static {
    let pages = app::session::AppState {
        db: state.db.clone(),
        sealer: state.sealer.clone(),
        hasher: state.hasher.clone(),
        settings: Arc::new(app::session::Settings {
            public_url: state.public_url.clone(),
            key_prefix: state.key_prefix.clone(),
            problems: CODES.iter().map(|(_, about)| (about.code, about.title)).collect(),
        }),
        outside: Arc::new(outside::Outside(state.clone())),
    };
    move || {
        provide_context(pages.clone());
        headers::provide_nonce();
    }
}

/// Gives each request a reactive owner of its own.
///
/// leptos_axum 0.8.10 makes the owners of files and server functions children of whatever owner is current on the
/// thread: that of a page being rendered for somebody else. A file's answer then takes that page's headers away, and
/// the end of the page takes a server function's context away.
///
/// The page is made to its end even when its reader has gone: a render that is dropped half-way disposes of values that
/// its other tasks still use.
async fn own_owner(request: Request, next: Next) -> Response {
    let owner = Owner::new_root(None);
    let answer = owner.with(|| ScopedFuture::new(next.run(request)));
    match tokio::spawn(answer).await {
        Ok(response) => response,
        // Passed on: the outermost layer writes it down with the request's id.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
    }
}

/// HTML is compressed, unless it carries a secret: its length would tell about it (BREACH). Files are compressed at
/// build time, live events must not wait in a compressor, and the rest is small.
fn compressible(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<stamp::CarriesSecret>().is_none()
        && headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

/// A form that another site sent in somebody's name.
fn foreign_form(error: ProtectionError) -> Response {
    tracing::warn!(%error, "a request from another site was refused");
    failure::page(
        StatusCode::FORBIDDEN,
        "This came from another site",
        "A form was sent to Bouncer from a page that is not Bouncer's, and was refused. If you opened Bouncer through a proxy, it must pass the headers Host and Origin on unchanged.",
        None,
    )
    .into_response()
}
