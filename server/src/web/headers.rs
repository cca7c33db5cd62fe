//! Headers that keep browsers from doing harm.

use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use leptos::{
    nonce::Nonce,
    prelude::{provide_context, use_context},
};

use crate::state::AppState;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The nonce of one answer: made before the page is rendered, so that the policy in the header and the scripts on the
/// page agree whatever happens in between.
#[derive(Clone)]
pub struct PageNonce(pub Nonce);

/// Gives the page the nonce that its answer's policy will name.
pub fn provide_nonce() {
    if let Some(PageNonce(nonce)) =
        use_context::<http::request::Parts>().and_then(|parts| parts.extensions.get::<PageNonce>().cloned())
    {
        provide_context(nonce);
    }
}

/// The content security policy of a page: scripts and styles are our own files or carry the page's nonce.
fn page_policy(nonce: &PageNonce, reloads: bool) -> String {
    let nonce = &nonce.0;
    // While developing, a socket of cargo-leptos tells the page to reload.
    let connect = if reloads { "'self' ws:" } else { "'self'" };
    format!(
        "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data:; connect-src {connect}; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
}

/// What every answer carries, files and errors included.
pub fn every_answer(state: &AppState, path: &str, nonce: &PageNonce, response: &mut Response) {
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
    let html = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if html && !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let reloads = state.leptos.env == leptos::config::Env::DEV;
        if let Ok(policy) = HeaderValue::try_from(page_policy(nonce, reloads)) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
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
