//! The second secret of a key (`domain::keys::signing`): carried in `X-API-Secret`, or the call is signed with it.
//!
//! A signature covers the body, so a signed call's body is read before the gate is asked ([`hold`]), but only when its
//! key has a secret at all: nobody else makes the server read a body before it knows who calls. A signature works once:
//! who was first is decided by an insert in the database, for all servers.

use std::{sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes},
    extract::Request,
};
use domain::{
    gate::{Decision, Denial, Facts, GateKey, Presented, Sealed, decide},
    keys::signing::{self, Signature},
    secret::SecretString,
    time::Time,
};
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

use super::{
    body::read,
    extract::{Shown, credential},
    problem::Problem,
};
use crate::state::AppState;

const API_SECRET: HeaderName = HeaderName::from_static("x-api-secret");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// How to sign, for the API's document. The vector is one of those that `domain::keys::signing` tests.
pub(super) const DOCS: &str = "Some keys have an **API secret** (`bnc_secret_…`). Their calls must also carry it in \
    `X-API-Secret`, or be signed with it: `X-Signature: t=<Unix seconds>,v1=<hex HMAC-SHA256>`. What is signed is \
    `t.METHOD.path.body`: the time as in the header, the method in capitals, path and query as they are sent, and the \
    bytes of the body (none: the text ends with the full stop). The key of the HMAC is the whole secret. The time may \
    be five minutes off, and a signature works once; to make two equal calls in one second, add a nonce of 1 to 64 \
    letters, digits, `-` or `_`: `t=…,n=<nonce>,v1=…`, signed as `t.nonce.METHOD.path.body`. Example: with the secret \
    `bnc_secret_0123456789ABCDEFGHIJKLMNOPQRSTUV1OhxLO`, the text `1800000000.GET./api/v1/me.` gives \
    `t=1800000000,v1=23091ebad7b4cc2be40ea5153d2c96d21c547d42ae842ae3683381551f7a6630`. \
    A call that fails this is answered like one without a key.";

/// The body of a signed call, read before its handler was asked; or why it could not be.
#[derive(Clone)]
struct Held(Result<Bytes, Problem>);

/// Reads the body of a signed call and gives the handler one that says the same.
pub(super) async fn hold(state: &AppState, request: Request) -> Request {
    if !has_secret(state, request.headers()).await {
        return request;
    }
    let (mut parts, body) = request.into_parts();
    let held = read(body).await;
    let body = held.as_ref().map(|bytes| Body::from(bytes.clone())).unwrap_or_default();
    parts.extensions.insert(Arc::new(Held(held)));
    Request::from_parts(parts, body)
}

/// Whether the call shows a key that has an API secret. What cannot be found out is found out again, and answered, when
/// the gate is asked.
async fn has_secret(state: &AppState, headers: &HeaderMap) -> bool {
    let Ok(text) = credential(headers) else { return false };
    match Shown::look_up(state, text, Instant::now()).await {
        Ok(Shown::Key(entry)) => entry.key.api_secret.is_some(),
        _ => false,
    }
}

/// What a call proved about the API secret of its key.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// The key has none, or the call has it.
    Good,
    /// Missing or wrong.
    Bad,
    /// Signed, but the body that was signed could not be read.
    Unreadable(Problem),
}

/// Looks at the proof of a call with this key. A signature that is good is used up, unless the gate refuses the key
/// before it comes to its secret.
///
/// # Errors
/// When the database cannot say whether the signature was used before, or the secret cannot be opened.
pub(super) async fn prove(
    state: &AppState,
    key: &GateKey,
    facts: &Facts,
    parts: &Parts,
    at: Time,
) -> Result<Proof, domain::Error> {
    let Some(sealed) = &key.api_secret else { return Ok(Proof::Good) };
    if decide(Presented::WrongSecret(key), facts) != Decision::Deny(Denial::WrongSecret) {
        return Ok(Proof::Bad);
    }
    let secret = open(state, key, sealed)?;
    let shown = one(&parts.headers, &API_SECRET);
    let signature = one(&parts.headers, &SIGNATURE);
    let (Ok(shown), Ok(signature)) = (shown, signature) else { return Ok(Proof::Bad) };
    if shown.is_none() && signature.is_none() {
        return Ok(Proof::Bad);
    }
    // With both, both must be right.
    if shown.is_some_and(|shown| !signing::is_secret(&secret, shown.as_bytes())) {
        return Ok(Proof::Bad);
    }
    let Some(signature) = signature else { return Ok(Proof::Good) };
    let Some(signature) = signature.to_str().ok().and_then(Signature::parse) else { return Ok(Proof::Bad) };
    let body = match parts.extensions.get::<Arc<Held>>().map(|held| &held.0) {
        Some(Ok(bytes)) => bytes.clone(),
        Some(Err(problem)) => return Ok(Proof::Unreadable(problem.clone())),
        // The key had no secret yet when the call came in, a moment ago.
        None => return Ok(Proof::Bad),
    };
    let path = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let path = path.path_and_query().map_or("/", |path| path.as_str());
    if !signature.verifies(&secret, at.timestamp(), parts.method.as_str(), path, &body) {
        return Ok(Proof::Bad);
    }
    let digest = signature.digest(key.id);
    let first = domain::keys::store::use_signature(&state.db, &digest, signature.useless_after()).await?;
    Ok(if first { Proof::Good } else { Proof::Bad })
}

/// Is this the key's API secret? A key without one needs none.
///
/// # Errors
/// When the secret cannot be opened.
pub(super) fn is_shown(state: &AppState, key: &GateKey, shown: Option<&str>) -> Result<bool, domain::Error> {
    let Some(sealed) = &key.api_secret else { return Ok(true) };
    let secret = open(state, key, sealed)?;
    Ok(shown.is_some_and(|shown| signing::is_secret(&secret, shown.as_bytes())))
}

fn open(state: &AppState, key: &GateKey, sealed: &Sealed) -> Result<SecretString, domain::Error> {
    let bytes = state.sealer.open(&signing::context(key.id), &sealed.0)?;
    String::from_utf8(bytes)
        .map(SecretString::from)
        .map_err(|_| domain::Error::Internal("an API secret is no text".into()))
}

/// The header, when it is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use domain::keys::token;

    use super::*;

    #[test]
    fn the_documented_example_is_right() {
        let secret = token::example_secret(token::DEFAULT_PREFIX);
        let signature = Signature::sign(&secret, 1_800_000_000, None, "GET", "/api/v1/me", b"");
        assert!(DOCS.contains(&format!("`{signature}`")));
        assert!(DOCS.contains(&format!("`{}`", domain::secret::ExposeSecret::expose_secret(&secret))));
    }
}
