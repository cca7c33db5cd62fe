//! Pages for when nothing else can be shown: plain HTML that needs no database, no script and no stylesheet.

use axum::response::{IntoResponse, Response};
use domain::ids::RequestId;
use http::{StatusCode, header};
use uuid::Uuid;

/// Light and dark like the console, without its stylesheet, whose name may be unknown here.
const STYLE: &str = ":root{color-scheme:light dark}body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif}main{max-width:32rem;padding:2rem}h1{font-size:1.25rem;margin:0 0 .5rem}p{margin:0 0 1rem}code{font-size:.85em}";

/// A page with one message; it tries again by itself when `retry_s` is given.
///
/// `title` and `text` are written by us, never by visitors.
pub fn page(status: StatusCode, title: &str, text: &str, retry_s: Option<u32>) -> Response {
    show(status, title, text, retry_s, None)
}

fn show(status: StatusCode, title: &str, text: &str, retry_s: Option<u32>, id: Option<RequestId>) -> Response {
    let nonce = Uuid::new_v4().simple();
    let refresh = retry_s.map(|s| format!("<meta http-equiv=\"refresh\" content=\"{s}\">")).unwrap_or_default();
    let again = retry_s.map(|_| "<p><a href=\"\">Try again now</a></p>").unwrap_or_default();
    let id = id.map(|id| format!("<p>Request id: <code>{id}</code></p>")).unwrap_or_default();
    let body = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{refresh}<title>{title} · Bouncer</title><style nonce=\"{nonce}\">{STYLE}</style></head><body><main><h1>{title}</h1><p>{text}</p>{again}{id}</main></body></html>"
    );
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (status, headers, body).into_response();
    if let Some(seconds) = retry_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The database is away: nothing about anybody can be shown.
pub fn database_away() -> Response {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "The database cannot be reached",
        "Calls to the API with known keys go on. This page tries again every five seconds and continues by itself as soon as the database answers.",
        Some(5),
    )
}

/// For a bare status from one of the layers.
pub fn of_status(status: StatusCode, id: RequestId) -> Response {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        show(
            status,
            "This took too long",
            "The page could not be made in time. Try again in a moment.",
            Some(10),
            Some(id),
        )
    } else {
        show(status, "Something failed on our side", "It was written to the log under the id below.", None, Some(id))
    }
}
