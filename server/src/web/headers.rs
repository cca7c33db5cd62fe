//! Headers that keep browsers from doing harm.

use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use leptos::{nonce::use_nonce, prelude::use_context};
use leptos_axum::ResponseOptions;

use crate::state::AppState;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The content security policy of a page: scripts and styles are our own files or carry the page's nonce. Runs in the
/// page's context, where Leptos keeps the nonce; server functions and files have none.
pub fn page_policy(reloads: bool) {
    let (Some(nonce), Some(response)) = (use_nonce(), use_context::<ResponseOptions>()) else { return };
    // While developing, a socket of cargo-leptos tells the page to reload.
    let connect = if reloads { "'self' ws:" } else { "'self'" };
    let policy = format!(
        "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data:; connect-src {connect}; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    );
    if let Ok(value) = HeaderValue::try_from(policy) {
        response.insert_header(header::CONTENT_SECURITY_POLICY, value);
    }
}

/// What every answer carries, files and errors included.
pub fn every_answer(state: &AppState, path: &str, response: &mut Response) {
    let pkg = path
        .strip_prefix('/')
        .and_then(|p| p.strip_prefix(&*state.leptos.site_pkg_dir))
        .is_some_and(|p| p.starts_with('/'));
    let file = pkg || path.starts_with("/fonts/") || path.starts_with("/favicon");
    let ok = response.status().is_success() || response.status() == http::StatusCode::NOT_MODIFIED;
    let cache = if pkg && ok && state.leptos.hash_files {
        // A changed file has another name.
        "public, max-age=31536000, immutable"
    } else if pkg && ok {
        "no-cache"
    } else if file && ok {
        "public, max-age=86400"
    } else {
        // Pages and server functions show what belongs to one person at one moment.
        "no-store"
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(cache));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not no-referrer: forms without script are sent back to where they came from.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    );
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if state.https() {
        headers
            .insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains"));
    }
}
