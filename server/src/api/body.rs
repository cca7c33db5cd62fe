//! A call's body: read whole, checked, and taken field by field.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
pub use domain::fields::Object;
use http::{HeaderMap, header};
use serde_json::Value;

use super::{
    json::{self, Unreadable},
    problem::{Code, Problem, Result},
};
use crate::state::AppState;

/// Largest body.
pub(super) const BODY_MAX: usize = 1024 * 1024;
/// A body that trickles in more slowly holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body, read and checked. Errors name every wrong field at once.
pub struct Json<T>(pub T);

/// A body that can be read from an object's fields.
pub trait Fields: Sized {
    /// Whether there may be no body at all.
    const MAY_BE_EMPTY: bool = false;
    /// Whether the answer to a call with this body holds something that must not lie in the database as it is.
    const SECRET_ANSWER: bool = false;

    /// Takes its fields out of the object; what is left over is unknown.
    fn take(object: &mut Object) -> Self;
}

/// For operations that want no body: none, or an object without fields.
pub struct NoFields;

impl Fields for NoFields {
    const MAY_BE_EMPTY: bool = true;

    fn take(_: &mut Object) -> Self {
        Self
    }
}

impl<T: Fields> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = body_of::<T>(&parts.headers, body).await?;
        fields(&bytes).map(Self)
    }
}

/// The bytes of the body, if they are said to be JSON.
pub(super) async fn body_of<T: Fields>(headers: &HeaderMap, body: Body) -> Result<Bytes> {
    if is_json(headers) {
        return read(body).await;
    }
    if T::MAY_BE_EMPTY && !headers.contains_key(header::CONTENT_TYPE) && read(body).await?.is_empty() {
        return Ok(Bytes::new());
    }
    Err(Problem::new(Code::UnsupportedMediaType))
}

/// The body's fields.
pub(super) fn fields<T: Fields>(bytes: &[u8]) -> Result<T> {
    let mut object = object::<T>(bytes)?;
    let body = T::take(&mut object);
    object.finish().map(|()| body).map_err(Problem::invalid)
}

/// The body as an object that is still to be read.
pub(super) fn object<T: Fields>(bytes: &[u8]) -> Result<Object> {
    if T::MAY_BE_EMPTY && bytes.is_empty() {
        return Ok(Object::new(serde_json::Map::new()));
    }
    match json::parse(bytes) {
        Ok(Value::Object(map)) => Ok(Object::new(map)),
        Ok(_) => Err(Problem::new(Code::UnreadableBody).saying("The body must be a JSON object.")),
        Err(Unreadable::Malformed(sentence)) => Err(Problem::new(Code::UnreadableBody).saying(sentence)),
        Err(Unreadable::Values(errors)) => Err(Problem::invalid(errors)),
    }
}

/// `application/json`, with or without parameters, and `application/…+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The whole body.
pub(super) async fn read(body: Body) -> Result<Bytes> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(Problem::new(Code::PayloadTooLarge)),
        // The connection broke; nobody will read this.
        Ok(Err(_)) => Err(Problem::new(Code::UnreadableBody).saying("The body ended before it was complete.")),
        Err(_) => Err(Problem::new(Code::RequestTimeout)),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    use std::error::Error;
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        // http-body-util's LengthLimitError, which axum does not name.
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_json_by_its_type() {
        let of = |kind: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(is_json(&of(json)), "{json}");
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "text/json", ""] {
            assert!(!is_json(&of(other)), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
