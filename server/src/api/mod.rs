//! The public API below `/api/v1`.
//!
//! A call passes [`pipeline::Pipeline`], which gives it an id, notes its address and refuses keys in the query string;
//! then the extractor [`extract::Authorized`], which asks the gate; then the handler; and the pipeline again, which writes the
//! headers, turns every error into a problem document and puts the call into the request log.
//! Routes and document stay together: a route that is not in the document does not exist.

mod ascii;
mod body;
mod conversations;
mod events;
pub mod extract;
mod idempotency;
mod instances;
mod json;
mod list;
mod me;
mod messages;
pub mod openapi;
mod organization;
mod pipeline;
pub mod problem;
mod problems;
mod signature;
mod templates;
mod usage;
mod verify;
mod webhooks;

use axum::{Router, routing::any};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use crate::state::AppState;

/// Where the API stands.
pub const BASE: &str = "/api/v1";

/// All operations, with their part of the document.
fn operations() -> Operations {
    Operations::new()
        .routes(routes!(me::me))
        .routes(routes!(verify::verify))
        .routes(routes!(messages::send))
        .routes(routes!(messages::list))
        .routes(routes!(messages::get, messages::cancel))
        .routes(routes!(organization::get))
        .routes(routes!(usage::get))
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::get, conversations::put))
        .routes(routes!(templates::list, templates::create))
        .routes(routes!(templates::sync))
        .routes(routes!(templates::get, templates::patch, templates::delete))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::get, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::deliveries::list))
        .routes(routes!(webhooks::deliveries::get))
        .routes(routes!(webhooks::deliveries::resend_one))
        .routes(routes!(webhooks::deliveries::resend_many))
        .routes(routes!(webhooks::deliveries::job, webhooks::deliveries::cancel_job))
        .routes(routes!(instances::list, instances::create))
        .routes(routes!(instances::get, instances::patch, instances::delete))
        .routes(routes!(instances::connect))
        .routes(routes!(instances::disconnect))
        .routes(routes!(instances::pause))
        .routes(routes!(instances::resume))
        .routes(routes!(instances::qr))
        .routes(routes!(problems::list))
        .routes(routes!(problems::one))
        .routes(routes!(openapi::document))
}

/// Routes under their full path, and the document in which their paths are relative to [`BASE`]. A nested router would
/// take the path apart and put it together again at each call.
struct Operations {
    router: Router<AppState>,
    document: OpenApiRouter<AppState>,
}

impl Operations {
    fn new() -> Self {
        Self { router: Router::new(), document: OpenApiRouter::with_openapi(openapi::frame()) }
    }

    fn routes(self, (schemas, paths, methods): UtoipaMethodRouter<AppState>) -> Self {
        let router = paths
            .paths
            .keys()
            .fold(self.router, |router, path| router.route(&format!("{BASE}{path}"), methods.clone()));
        Self { router, document: self.document.routes((schemas, paths, methods)) }
    }

    fn document(self) -> utoipa::openapi::OpenApi {
        self.document.into_openapi()
    }
}

/// The routes of the API. They are looked through first and by themselves, because they are called the most; what is
/// none of them is left to `others`.
pub fn router(state: &AppState, others: Router) -> Router {
    operations()
        .router
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(pipeline::Pipeline(state.clone()))
        .with_state(state.clone())
        .fallback_service(others)
}

/// What stands below [`BASE`] and is no route, to be merged into the others.
pub fn unknown(state: &AppState) -> Router<AppState> {
    Router::new()
        .route(BASE, any(problem::not_found))
        .route(&format!("{BASE}/"), any(problem::not_found))
        .route(&format!("{BASE}/{{*rest}}"), any(problem::not_found))
        .layer(pipeline::Pipeline(state.clone()))
}
