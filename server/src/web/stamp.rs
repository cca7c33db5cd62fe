//! The outermost layer: what every request gets to know, and what every answer carries.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::ids::RequestId;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use leptos::nonce::Nonce;

use super::{failure, headers};
use crate::{address, state::AppState};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Marks an answer that shows a secret.
#[derive(Debug, Clone, Copy)]
pub struct CarriesSecret;

pub async fn stamp(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let ip = address::client(request.extensions(), request.headers(), &state.trusted_proxies);
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(app::session::ClientIp(ip));
    let nonce = headers::PageNonce(Nonce::new());
    request.extensions_mut().insert(nonce.clone());
    let path = request.uri().path().to_owned();
    let wants_page = wants_page(&request);

    let mut response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        // The panic hook has logged what and where.
        tracing::error!(request_id = %id, path, "a page panicked");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    // Layers answer with bare statuses; people get a page.
    if wants_page && response.status().is_server_error() && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = failure::of_status(response.status(), id);
    }
    if response.status().is_server_error() {
        tracing::warn!(request_id = %id, path, status = response.status().as_u16(), "a page could not be served");
    }
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    headers::every_answer(&state, &path, &nonce, &mut response);
    response
}

/// Does the request expect to show HTML?
pub fn wants_page(request: &Request) -> bool {
    request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Marks the pages on which a new key is shown. Server functions are not HTML and are never compressed.
pub async fn mark_secrets(request: Request, next: Next) -> Response {
    // The word alone, however the rest is spelt: too many uncompressed pages do no harm.
    let shows_secret =
        request.method() != Method::GET || request.uri().query().is_some_and(|query| query.contains("created"));
    let invitation = request.uri().path().starts_with("/dashboard/settings/members");
    let mut response = next.run(request).await;
    if shows_secret || invitation {
        response.extensions_mut().insert(CarriesSecret);
    }
    response
}
