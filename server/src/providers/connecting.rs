//! What people and programs do with a connection: begin it, end it, look at it, scan its code. Each asks the provider
//! and writes down what it said.

use chrono::Utc;
use domain::{
    Error,
    ids::InstanceId,
    instances::{
        Instance, Provider as Kind, Session, Status,
        store::{self, Connecting},
    },
    people::Actor,
};
use qrcode::{QrCode, render::svg};

use super::{ProviderError, Route, templates};
use crate::state::AppState;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Ours(#[from] Error),
    #[error(transparent)]
    Theirs(#[from] ProviderError),
}

/// The address at which the provider of an instance tells what happens; the sandbox tells nothing.
pub fn hook_url(public_url: &str, provider: Kind, id: InstanceId) -> Option<String> {
    provider.hook().map(|hook| format!("{public_url}/hooks/{hook}/{id}"))
}

/// Begins or resumes the connection. Of a Cloud API number it fetches the templates, too; without them it is connected
/// nevertheless.
///
/// # Errors
/// `Ours`: as [`store::told_by`]; `Theirs`: the provider refused or cannot be reached.
pub async fn connect(state: &AppState, actor: &Actor, id: InstanceId) -> Result<Session, Failed> {
    let (instance, route) = find(state, actor, id).await?;
    let hook = hook_url(&state.public_url, instance.provider(), id).unwrap_or_default();
    let session = route.provider.connect(&route.connection, &hook).await?;
    store::told_by(&state.db, actor, id, Connecting::Connect, &session, Utc::now()).await?;
    if instance.provider() == Kind::CloudApi && session.status == Status::Connected {
        templates::fetch_unasked(state, actor.organization_id, id).await;
    }
    Ok(session)
}

/// Ends it, and holds the queue up; with `log_out` the number must be linked anew afterwards.
///
/// # Errors
/// As [`connect`].
pub async fn disconnect(state: &AppState, actor: &Actor, id: InstanceId, log_out: bool) -> Result<Session, Failed> {
    let (_, route) = find(state, actor, id).await?;
    route.provider.disconnect(&route.connection, log_out).await?;
    let detail = if log_out { "logged out" } else { "stopped" };
    let session = Session { status: Status::Disconnected, detail: detail.into(), phone: None };
    store::told_by(&state.db, actor, id, Connecting::Disconnect, &session, Utc::now()).await?;
    Ok(session)
}

/// How the provider says that the connection stands; taken over into the instance.
///
/// # Errors
/// As [`connect`].
pub async fn look(state: &AppState, actor: &Actor, id: InstanceId) -> Result<Session, Failed> {
    let (instance, route) = find(state, actor, id).await?;
    let session = route.provider.session(&route.connection).await?;
    let (db, organization, now) = (&state.db, actor.organization_id, Utc::now());
    if instance.provider() == Kind::Waha {
        store::tell(db, organization, id, &session, now).await?;
        return Ok(session);
    }
    // A number of the Cloud API and the sandbox are always there: that says nothing about what nobody connected.
    match store::tell_if_wanted(db, organization, id, &session, now).await? {
        true => Ok(session),
        false => Ok(Session { status: instance.status, detail: instance.status_detail.clone(), phone: session.phone }),
    }
}

/// The text of the QR code to scan.
///
/// # Errors
/// As [`connect`].
pub async fn qr(state: &AppState, actor: &Actor, id: InstanceId) -> Result<String, Failed> {
    let (_, route) = find(state, actor, id).await?;
    Ok(route.provider.qr(&route.connection).await?)
}

/// The code as a picture: black on white, with the quiet zone that readers need.
///
/// # Errors
/// When the text is longer than a QR code can be.
pub fn picture(text: &str) -> Result<String, ProviderError> {
    let code = QrCode::new(text)
        .map_err(|_| ProviderError::Unreachable("What the server answered is too long for a QR code.".into()))?;
    Ok(code.render::<svg::Color>().min_dimensions(256, 256).quiet_zone(true).build())
}

async fn find(state: &AppState, actor: &Actor, id: InstanceId) -> Result<(std::sync::Arc<Instance>, Route), Failed> {
    let organization = actor.organization_id;
    // Whoever connects has often just changed something: what is remembered may be older than that.
    state.instances.invalidate(id);
    let instance = state.instances.get(organization, id).await?.ok_or(Error::NotFound)?;
    let route = state.providers.route(organization, id).await?;
    Ok((instance, route))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_svg_and_has_an_end() {
        let svg = picture("2@abc,def,ghi==").unwrap();
        assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(picture(&"x".repeat(3_000)).is_err());
    }

    #[test]
    fn hooks_stand_below_the_public_address() {
        let id = InstanceId::new();
        let url = |provider| hook_url("https://b.example", provider, id);
        assert_eq!(url(Kind::Waha), Some(format!("https://b.example/hooks/waha/{id}")));
        assert_eq!(url(Kind::CloudApi), Some(format!("https://b.example/hooks/cloud-api/{id}")));
        assert_eq!(url(Kind::Sandbox), None);
    }
}
