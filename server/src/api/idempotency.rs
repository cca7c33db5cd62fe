//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a call that is repeated because its answer was
//! lost does nothing a second time and gets the first one's answer.
//!
//! Sends claim their key in the transaction that accepts the message ([`claim`], `domain::messages::store::accept`).
//! All other calls go through [`Once::run`]: the claim is committed first, then the call runs, then its answer is kept.
//! A server that dies in between leaves a claim without answer, which ends after `idempotency::LOCKED_FOR`; what a
//! create had made by then is found by [`Once::submission`].

use std::{future::Future, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequest, OriginalUri, Request},
    response::Response,
};
use chrono::Utc;
use domain::{
    FieldError,
    gate::GateKey,
    idempotency::{self, Answer, Claim, Claimed, Fingerprint},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use uuid::Uuid;

use super::{
    body::{Fields, body_of, fields},
    pipeline::Call,
    problem::{Code, Problem, Result},
};
use crate::state::AppState;

/// The request's header.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The answer's header.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY_MAX: usize = 255;

/// A body and the promise that the call happens once. Comes after [`super::extract::Authorized`] in a handler, which
/// says who calls.
pub(super) struct Once<T> {
    body: T,
    claim: Option<Claim>,
}

impl<T: Fields> FromRequest<AppState> for Once<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self> {
        let (parts, body) = request.into_parts();
        // The gate's first half comes before any body.
        let call = parts.extensions.get::<Arc<Call>>();
        let entry = call.and_then(|call| call.caller()).ok_or_else(|| Problem::new(Code::Internal))?;
        let bytes = body_of::<T>(&parts.headers, body).await?;
        let claim = claim(&parts, &entry.key, &bytes)?;
        Ok(Self { body: fields(&bytes)?, claim })
    }
}

/// What the call claims, if it has the header.
pub(super) fn claim(parts: &Parts, key: &GateKey, body: &[u8]) -> Result<Option<Claim>> {
    let Some(name) = name(&parts.headers)? else { return Ok(None) };
    let path = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let path = path.path_and_query().map_or("/", |path| path.as_str());
    Ok(Some(Claim {
        organization: key.organization_id,
        environment: key.environment,
        key: name,
        fingerprint: Fingerprint::of(parts.method.as_str(), path, key.id, body),
    }))
}

/// The header's value: bare, or quoted as the draft wants it.
fn name(headers: &HeaderMap) -> Result<Option<String>> {
    let refuse = |why: &str| Problem::invalid(vec![FieldError::new("Idempotency-Key", why)]);
    let mut all = headers.get_all(KEY).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(refuse("Send this header once."));
    }
    let text = value.to_str().map_err(|_| refuse("Use letters, digits and other visible ASCII characters."))?.trim();
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(|| refuse("The closing quotation mark is missing."))?,
        None => text,
    };
    match text.len() {
        0 => Err(refuse("This must not be empty.")),
        1..=KEY_MAX => Ok(Some(text.to_owned())),
        _ => Err(refuse("At most 255 characters.")),
    }
}

impl<T: Fields> Once<T> {
    /// What the call says: what the gate's second half must know stands in it.
    pub fn body(&self) -> &T {
        &self.body
    }

    /// What to write beside what the call makes, so that it makes it once.
    pub fn submission(&self) -> Option<Uuid> {
        self.claim.as_ref().map(Claim::submission)
    }

    /// Does what the call asks for, unless it was done before. Only what succeeds is kept: a refused call may be made
    /// again with the same key.
    ///
    /// With an `Idempotency-Key` the call runs to its end even if the caller hangs up meanwhile.
    pub async fn run<R, F>(self, state: &AppState, status: StatusCode, act: impl FnOnce(T) -> F) -> Result<Response>
    where
        R: Serialize + Send + 'static,
        F: Future<Output = Result<R>> + Send + 'static,
    {
        let Some(claim) = self.claim else { return Ok(answer(status, text(&act(self.body).await?)?, false)) };
        match take(state, &claim).await? {
            Claimed::First => {}
            Claimed::Done(kept) => {
                let text = if T::SECRET_ANSWER { open(state, &claim, &kept.text)? } else { kept.text };
                return Ok(answer(status_of(kept.status), text, true));
            }
            Claimed::Running { retry_after_s } => {
                return Err(Problem::new(Code::IdempotencyInFlight).after(retry_after_s));
            }
            Claimed::Mismatch => return Err(Problem::new(Code::IdempotencyMismatch)),
        }
        let (state, act) = (state.clone(), act(self.body));
        let running = tokio::spawn(async move {
            let done = act.await.and_then(|done| text(&done));
            settle(&state, &claim, status, done.as_deref().ok(), T::SECRET_ANSWER).await;
            done
        });
        // The panic hook has logged where; the claim stays until it runs out, since nobody knows what was done.
        let done = running.await.map_err(|_| Problem::new(Code::Internal))?;
        Ok(answer(status, done?, false))
    }
}

async fn take(state: &AppState, claim: &Claim) -> Result<Claimed> {
    let mut tx = state.db.system().begin().await.map_err(domain::Error::from)?;
    let claimed = idempotency::claim(&mut tx, &[claim], Utc::now()).await?.pop();
    tx.commit().await.map_err(domain::Error::from)?;
    claimed.ok_or_else(|| Problem::new(Code::Internal))
}

/// Keeps the answer, or gives the claim back. If that fails the call has still been answered truthfully; a repetition
/// waits until the claim runs out.
async fn settle(state: &AppState, claim: &Claim, status: StatusCode, text: Option<&str>, secret: bool) {
    let settled: domain::Result<()> = async {
        let mut tx = state.db.system().begin().await?;
        match text {
            Some(text) => {
                let text = if secret { state.sealer.seal(&context(claim), text.as_bytes())? } else { text.to_owned() };
                idempotency::finish(&mut tx, &[(claim, Answer { status: status.as_u16(), text })]).await?;
            }
            None => idempotency::abandon(&mut tx, &[claim]).await?,
        }
        tx.commit().await?;
        Ok(())
    }
    .await;
    if let Err(error) = settled {
        tracing::warn!(%error, "the answer to a call with an Idempotency-Key could not be kept");
    }
}

fn context(claim: &Claim) -> String {
    format!("idempotency/{}/{}/{}", claim.organization, claim.environment.as_str(), claim.key)
}

fn open(state: &AppState, claim: &Claim, sealed: &str) -> Result<String> {
    let bytes = state.sealer.open(&context(claim), sealed)?;
    String::from_utf8(bytes).map_err(|_| Problem::new(Code::Internal))
}

fn text(answer: &impl Serialize) -> Result<String> {
    serde_json::to_string(answer).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Problem::new(Code::Internal)
    })
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

/// An answer in JSON that was written before.
pub(super) fn answer(status: StatusCode, text: String, replayed: bool) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a repeated call.
pub(super) fn replay(kept: Answer) -> Response {
    answer(status_of(kept.status), kept.text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(values: &[&str]) -> std::result::Result<Option<String>, Code> {
        let headers = values.iter().map(|value| (KEY, value.parse().unwrap())).collect();
        name(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn the_header_may_be_quoted() {
        assert_eq!(name_of(&[]), Ok(None));
        assert_eq!(name_of(&["order-17"]), Ok(Some("order-17".into())));
        assert_eq!(name_of(&[" \"order-17\" "]), Ok(Some("order-17".into())));
        assert_eq!(name_of(&[&"x".repeat(255)]), Ok(Some("x".repeat(255))));
        for wrong in [&[""][..], &["\"\""], &["\"x"], &["\""], &["ä"], &["a", "a"], &[&"x".repeat(256)]] {
            assert_eq!(name_of(wrong), Err(Code::ValidationFailed), "{wrong:?}");
        }
    }
}
