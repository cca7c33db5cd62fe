//! The public API below `/api/v1`.
//!
//! A call passes [`pipeline`], which gives it an id, notes its address and refuses keys in the query string; then the
//! extractor [`extract::Authorized`], which asks the gate; then the handler; and the pipeline again, which writes the
//! headers, turns every error into a problem document and puts the call into the request log.
//! Routes and document stay together: a route that is not in the document does not exist.

pub mod extract;
mod me;
pub mod openapi;
mod pipeline;
pub mod problem;
mod problems;
mod verify;

use axum::{Router, middleware};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::AppState;

/// Where the API stands.
pub const BASE: &str = "/api/v1";

/// All operations, with their part of the document.
fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(me::me))
        .routes(routes!(verify::verify))
        .routes(routes!(problems::list))
        .routes(routes!(problems::one))
        .routes(routes!(openapi::document))
}

/// The routes of the API, to be merged into the server's.
pub fn router(state: &AppState) -> Router<AppState> {
    let (routes, _) = operations().split_for_parts();
    let routes = routes
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), pipeline::pipeline));
    Router::new().nest(BASE, routes)
}
