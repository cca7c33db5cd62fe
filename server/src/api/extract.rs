//! What handlers ask for: the right to be called, and a body that is what it should be.

use std::{marker::PhantomData, sync::Arc, time::Instant};

use axum::extract::FromRequestParts;
use domain::{
    gate::{Decision, Denial, Facts, GateKey, Instance, Presented, Queue, Rate, cache::Entry, decide},
    keys::{KeyHash, NotAKey, Scope, token},
    people::Actor,
};
use http::{HeaderMap, HeaderName, header, request::Parts};

pub(super) use super::body::{Fields, Json, Object};
use super::{
    pipeline::{Call, RateNow, Verdict},
    problem::{Code, Problem, Result},
    signature::{self, Proof},
};
use crate::state::AppState;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What an operation demands of a key.
pub trait Requirement: Send + Sync + 'static {
    /// `None`: any valid key.
    const SCOPE: Option<Scope>;
    /// Which instances the operation reaches by itself; most name theirs in the path or body, or need none.
    const REACHES: Instance = Instance::None;
}

macro_rules! requirements {
    ($($(#[$doc:meta])* $name:ident = $scope:expr $(, reaches $instance:expr)?;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Requirement for $name {
            const SCOPE: Option<Scope> = $scope;
            $(const REACHES: Instance = $instance;)?
        }
    )*};
}

requirements! {
    /// Any valid key.
    AnyKey = None;
    /// A key that may verify others.
    VerifyKeys = Some(Scope::KeyVerify);
    SendMessages = Some(Scope::MessageSend);
    ReadInstances = Some(Scope::InstanceRead);
    ManageInstances = Some(Scope::InstanceManage);
    ReadUsage = Some(Scope::UsageRead);
    /// Endpoints hear of all instances, and deliveries hold what was told of them.
    ReadWebhooks = Some(Scope::WebhooksRead), reaches Instance::Every;
    ManageWebhooks = Some(Scope::WebhooksManage), reaches Instance::Every;
    ReadOrganization = Some(Scope::OrganizationRead);
    ManageConversations = Some(Scope::ConversationManage);
    ReadTemplates = Some(Scope::TemplateRead);
    CreateTemplates = Some(Scope::TemplateCreate);
    UpdateTemplates = Some(Scope::TemplateUpdate);
    DeleteTemplates = Some(Scope::TemplateDelete);
}

/// Proof that the gate let the call through: a handler that takes it cannot be reached without the right.
pub struct Authorized<R: Requirement> {
    entry: Arc<Entry>,
    call: Arc<Call>,
    requirement: PhantomData<R>,
}

impl<R: Requirement> Authorized<R> {
    pub fn key(&self) -> &GateKey {
        &self.entry.key
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    /// Who does it, for the audit log.
    pub(super) fn actor(&self) -> Actor {
        let key = self.key();
        Actor {
            organization_id: key.organization_id,
            person_id: None,
            name: format!("API key {}", key.name),
            ip: Some(self.call.ip),
            role: None,
        }
    }
}

impl<R: Requirement> FromRequestParts<AppState> for Authorized<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        Screened::<R>::from_request_parts(parts, state).await?.admit(R::REACHES)
    }
}

/// The first half of the gate: the key is good, comes from where it may, and has the scope. A handler that takes it
/// learns from the body what the call is about and asks the second half, [`Screened::admit`]. A call that never gets
/// there has cost nothing.
pub struct Screened<R: Requirement> {
    entry: Arc<Entry>,
    call: Arc<Call>,
    requirement: PhantomData<R>,
}

impl<R: Requirement> FromRequestParts<AppState> for Screened<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        // The pipeline wraps every route; without it nothing may pass.
        let call = parts.extensions.get::<Arc<Call>>().cloned().ok_or_else(|| Problem::new(Code::Internal))?;
        let entry = screen(state, &call, parts, R::SCOPE).await?;
        Ok(Self { entry, call, requirement: PhantomData })
    }
}

impl<R: Requirement> Screened<R> {
    pub fn key(&self) -> &GateKey {
        &self.entry.key
    }

    /// The second half of the gate: is the instance allowed, is there a place left in the hour? Counts the call when it
    /// may pass.
    pub(super) fn admit(self, instance: Instance) -> Result<Authorized<R>> {
        let Self { entry, call, requirement } = self;
        let facts = facts(&call, R::SCOPE, instance);
        match ask(&entry, Presented::Key(&entry.key), facts) {
            (Decision::Allow, rate) => {
                call.decided(Verdict { outcome: "allowed", scope: R::SCOPE, rate });
                Ok(Authorized { entry, call, requirement })
            }
            (Decision::Deny(denial), rate) => {
                call.decided(Verdict { outcome: denial.as_str(), scope: R::SCOPE, rate });
                Err(denial.into())
            }
        }
    }

    /// What the gate must know could not be asked.
    pub(super) fn unavailable(self, error: domain::Error) -> Problem {
        self.call.decided(Verdict { outcome: "unavailable", scope: R::SCOPE, rate: None });
        error.into()
    }
}

/// What was shown, after the look-up.
pub(super) enum Shown {
    Nothing,
    NotAKey(NotAKey),
    Unknown,
    Key(Arc<Entry>),
}

impl Shown {
    /// Looks a text up: in memory when the key is known, with one query when not.
    pub async fn look_up(state: &AppState, text: Option<&str>, now: Instant) -> Result<Self, domain::Error> {
        let Some(text) = text else { return Ok(Self::Nothing) };
        if let Err(not_a_key) = token::check(&state.key_prefix, text) {
            return Ok(Self::NotAKey(not_a_key));
        }
        let hash = KeyHash::of(text);
        let entry = match state.keys.peek_at(&hash, now) {
            Some(entry) => Some(entry),
            None => state.keys.find(&hash).await?,
        };
        Ok(entry.map_or(Self::Unknown, Self::Key))
    }

    pub fn presented(&self) -> Presented<'_> {
        match self {
            Self::Nothing => Presented::Nothing,
            Self::NotAKey(why) => Presented::NotAKey(*why),
            Self::Unknown => Presented::Unknown,
            Self::Key(entry) => Presented::Key(&entry.key),
        }
    }
}

fn facts(call: &Call, scope: Option<Scope>, instance: Instance) -> Facts {
    let now_ms = call.at.timestamp_millis();
    Facts { now_ms, ip: call.ip, scope, instance, rate: Rate::default(), queue: Queue::NotAsked }
}

/// Asks the gate with the key's hour, and counts the call when it may pass: both under one lock, so that of two calls
/// that race for the last place, one gets it.
fn ask(entry: &Entry, presented: Presented<'_>, mut facts: Facts) -> (Decision, Option<RateNow>) {
    let mut window = entry.window();
    let counted = entry.key.rate_limit.unwrap_or(u32::MAX);
    facts.rate = window.rate(counted, facts.now_ms);
    let decision = decide(presented, &facts);
    let mut used = facts.rate.used;
    let mut frees_in_ms = facts.rate.frees_in_ms;
    if decision == Decision::Allow {
        window.record(counted, facts.now_ms);
        used += 1;
        if frees_in_ms == 0 {
            frees_in_ms = domain::gate::limiter::WINDOW_MS;
        }
    }
    let rate = entry.key.rate_limit.map(|limit| RateNow { limit, remaining: limit.saturating_sub(used), frees_in_ms });
    (decision, rate)
}

/// The checks that need nothing but the head of the call. A refusal is noted as the verdict; whoever passes is not
/// counted yet.
async fn screen(state: &AppState, call: &Call, parts: &Parts, scope: Option<Scope>) -> Result<Arc<Entry>> {
    let text = match credential(&parts.headers) {
        Ok(text) => text,
        Err(problem) => {
            call.decided(Verdict { outcome: "conflicting_credentials", scope, rate: None });
            return Err(problem);
        }
    };
    let shown = match Shown::look_up(state, text, call.started).await {
        Ok(shown) => shown,
        Err(error) => {
            call.decided(Verdict { outcome: "unavailable", scope, rate: None });
            return Err(error.into());
        }
    };
    let facts = facts(call, scope, Instance::None);
    let Shown::Key(entry) = &shown else {
        let denial = match decide(shown.presented(), &facts) {
            Decision::Deny(denial) => denial,
            // The gate lets nothing but keys pass.
            Decision::Allow => Denial::UnknownKey,
        };
        call.decided(Verdict { outcome: denial.as_str(), scope, rate: None });
        return Err(denial.into());
    };
    call.came_from(entry.clone());
    let proof = match signature::prove(state, &entry.key, &facts, parts, call.at).await {
        Ok(proof) => proof,
        Err(error) => {
            call.decided(Verdict { outcome: "unavailable", scope, rate: None });
            return Err(error.into());
        }
    };
    let presented = if matches!(proof, Proof::Good) { shown.presented() } else { Presented::WrongSecret(&entry.key) };
    // The hour is asked in the second half: here it counts as empty.
    let Decision::Deny(denial) = decide(presented, &facts) else { return Ok(entry.clone()) };
    let problem = match proof {
        // The signature could not be looked at: the caller should know why.
        Proof::Unreadable(problem) if denial == Denial::WrongSecret => problem,
        _ => Problem::from(denial),
    };
    // Refused by the same rules, so nothing is counted. Whoever is not let in learns nothing about the key.
    let rate = ask(entry, presented, facts).1;
    let rate = rate.filter(|_| problem.code() != Code::Unauthenticated && denial != Denial::WrongSecret);
    call.decided(Verdict { outcome: denial.as_str(), scope, rate });
    Err(problem)
}

/// The key in the headers: `Authorization: Bearer …` or `X-API-Key: …`. An unreadable value reads as a text that is
/// no key.
///
/// # Errors
/// When two different ones are sent.
pub(super) fn credential(headers: &HeaderMap) -> Result<Option<&str>> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(' ') {
            // Another scheme is no key either.
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        }
    });
    let mut all = bearer.chain(headers.get_all(API_KEY).iter().map(|value| value.to_str().unwrap_or_default().trim()));
    let Some(first) = all.next() else { return Ok(None) };
    if all.any(|other| other != first) {
        return Err(Problem::new(Code::ConflictingCredentials));
    }
    Ok(Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn finds_the_key_in_either_header() {
        let find = |pairs: &[(&'static str, &str)]| {
            credential(&headers(pairs)).map(|k| k.map(str::to_owned)).map_err(|p| p.code())
        };
        assert_eq!(find(&[]), Ok(None));
        assert_eq!(find(&[("authorization", "Bearer abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "bearer  abc ")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("x-api-key", "abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "Bearer abc"), ("x-api-key", "abc")]), Ok(Some("abc".into())));
        assert_eq!(find(&[("authorization", "Bearer abc"), ("x-api-key", "abd")]), Err(Code::ConflictingCredentials));
        assert_eq!(
            find(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            Err(Code::ConflictingCredentials)
        );
        assert_eq!(find(&[("authorization", "Basic YTpi")]), Ok(Some(String::new())));
        assert_eq!(find(&[("authorization", "abc")]), Ok(Some(String::new())));
    }
}
