//! What the server functions share, and forms that were sent without script: they are answered by a redirect, and what
//! must survive it waits in the session. Server only.

use domain::{
    error::FieldError,
    ids::{EndpointId, InstanceId},
    instances::{Instance, NewInstance, Provider},
    secret::{ExposeSecret, SecretString},
    webhooks::{Endpoint, EndpointForm, NewEndpoint},
};
use serde::{Deserialize, Serialize};

use super::{
    data::{InstanceChange, Made, RevealedSecret},
    input::InstanceInput,
    query::{IntegrationsQuery, Panel},
};
use crate::{
    error::AppError,
    flash,
    pages::developer::api_keys::context::counted,
    session::{Current, go, internal, is_plain_form, no_store, now},
};

const INSTANCE_FORM: &str = "instance_form";
const ENDPOINT_FORM: &str = "endpoint_form";
const MADE: &str = "instance_made";
const SECRET: &str = "endpoint_secret";
const PROBLEM: &str = "integration_problem";
const PANEL_PROBLEM: &str = "integration_panel_problem";

/// A form that came back. `T` is the form, `I` the id of what was edited.
#[derive(Serialize, Deserialize)]
pub struct Sent<I, T> {
    pub id: Option<I>,
    pub form: T,
    pub errors: Vec<FieldError>,
    pub message: Option<String>,
}

/// The page to go back to. Read and written anew, so that no form can send anybody elsewhere.
fn page(back: &str) -> IntegrationsQuery {
    IntegrationsQuery::parse(back)
}

/// It was done: back to the page, with one sentence.
pub async fn done(sentence: &str, back: &str) -> Result<(), AppError> {
    if is_plain_form() {
        flash::note(sentence).await?;
        go(&page(back).href());
    }
    Ok(())
}

/// It was not done: back to the page, with the reason.
pub async fn problem(error: AppError, back: &str) -> Result<(), AppError> {
    if !is_plain_form() {
        return Err(error);
    }
    let page = page(back);
    flash::put(if page.panel.is_open() { PANEL_PROBLEM } else { PROBLEM }, &error.to_string()).await?;
    go(&page.href());
    Ok(())
}

/// For the page itself.
pub async fn take_problem() -> Result<Option<String>, AppError> {
    flash::take(PROBLEM).await
}

/// For the sheet that is open.
pub async fn take_panel_problem() -> Result<Option<String>, AppError> {
    flash::take(PANEL_PROBLEM).await
}

/// On to what comes next.
pub fn to(panel: Panel, back: &str) -> Result<(), AppError> {
    if is_plain_form() {
        go(&page(back).with(panel).href());
    }
    Ok(())
}

/// The instance that a form describes.
pub fn instance(me: &Current, input: &InstanceInput, current: Option<&Instance>) -> Result<NewInstance, AppError> {
    let refused = |errors| AppError::Invalid { fields: input.name_errors(errors) }.answered();
    let new = input.form().parse(current).map_err(refused)?;
    if let Some(url) = new.settings.base_url() {
        me.state.outside.check_provider(url).map_err(|why| refused(vec![FieldError::new("base_url", why)]))?;
    }
    Ok(new)
}

/// The endpoint that a form describes.
pub fn endpoint(me: &Current, form: &EndpointForm, current: Option<&Endpoint>) -> Result<NewEndpoint, AppError> {
    let refused = |fields| AppError::Invalid { fields }.answered();
    let new = form.parse(current).map_err(refused)?;
    // An address that is not touched may have been allowed by other settings, and stays.
    if current.is_none_or(|current| current.url != new.url) {
        me.state.outside.check_webhook(&new.url).map_err(|why| refused(vec![FieldError::new("url", why)]))?;
    }
    Ok(new)
}

/// The instance form again, with everything that was typed but the credentials, and what is wrong with it.
pub async fn instance_again(
    id: Option<InstanceId>,
    form: InstanceInput,
    error: AppError,
    back: &str,
) -> Result<(), AppError> {
    if !is_plain_form() {
        return Err(error);
    }
    let (errors, message) = (error.fields().to_vec(), error.above_form());
    flash::put(INSTANCE_FORM, &Sent { id, form: form.without_credentials(), errors, message }).await?;
    go(&page(back).with(id.map_or(Panel::NewInstance, Panel::EditInstance)).href());
    Ok(())
}

pub async fn take_instance_form(id: Option<InstanceId>) -> Result<Option<Sent<InstanceId, InstanceInput>>, AppError> {
    let sent: Option<Sent<_, _>> = flash::take(INSTANCE_FORM).await?;
    Ok(sent.filter(|sent| sent.id == id))
}

/// The endpoint form again. The values of headers are secret: they have to be typed again.
pub async fn endpoint_again(
    id: Option<EndpointId>,
    form: EndpointForm,
    error: AppError,
    back: &str,
) -> Result<(), AppError> {
    if !is_plain_form() {
        return Err(error);
    }
    let (errors, message) = (error.fields().to_vec(), error.above_form());
    let form = EndpointForm { headers: header_names(&form.headers), ..form };
    flash::put(ENDPOINT_FORM, &Sent { id, form, errors, message }).await?;
    go(&page(back).with(id.map_or(Panel::NewEndpoint, Panel::EditEndpoint)).href());
    Ok(())
}

pub async fn take_endpoint_form(id: Option<EndpointId>) -> Result<Option<Sent<EndpointId, EndpointForm>>, AppError> {
    let sent: Option<Sent<_, _>> = flash::take(ENDPOINT_FORM).await?;
    Ok(sent.filter(|sent| sent.id == id))
}

fn header_names(headers: &str) -> String {
    headers.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| format!("{}:\n", name.trim())).collect()
}

/// An instance was made: on to its next step. The verify token goes along, for the only time.
pub async fn made(me: &Current, id: InstanceId, form: &InstanceInput, back: &str) -> Result<Made, AppError> {
    no_store();
    let provider = Provider::parse(&form.provider).unwrap_or(Provider::Sandbox);
    let token = Some(form.verify_token.trim()).filter(|token| provider == Provider::CloudApi && !token.is_empty());
    let made = Made { id, provider, verify_token: token.map(str::to_owned) };
    let next = next_step(&made);
    flash::keep_for_plain_form(me, MADE, &made, &page(back).with(next).href()).await?;
    Ok(made)
}

/// What opens once an instance was made.
fn next_step(made: &Made) -> Panel {
    match made.provider {
        Provider::Sandbox => Panel::Instance(made.id),
        Provider::Waha | Provider::CloudApi => Panel::ConnectInstance(made.id),
    }
}

/// The verify token of an instance that was made without script; afterwards it is nowhere.
pub async fn take_verify_token(me: &Current, id: InstanceId) -> Result<Option<String>, AppError> {
    let made: Option<Made> = flash::take_sealed(me, MADE).await?;
    Ok(made.filter(|made| made.id == id).and_then(|made| made.verify_token))
}

/// Does to an instance what was asked for; a sentence about it.
pub async fn do_to_instance(me: &Current, id: InstanceId, what: InstanceChange) -> Result<String, AppError> {
    use domain::instances::store::{self, Resumed};
    let (db, actor) = (me.db(), me.actor());
    let sentence = match what {
        InstanceChange::Connect => {
            let session = me.state.outside.connect(&actor, id).await?;
            match session.status {
                domain::instances::Status::Connected => "Connected".into(),
                other => format!("Connecting: {}", other.label().to_lowercase()),
            }
        }
        InstanceChange::Disconnect => {
            me.state.outside.disconnect(&actor, id, false).await?;
            "Disconnected".into()
        }
        InstanceChange::LogOut => {
            me.state.outside.disconnect(&actor, id, true).await?;
            "Logged out: the number has to be linked anew".into()
        }
        InstanceChange::Pause => match store::pause(db, &actor, id, now()).await? {
            true => "Queue paused".into(),
            false => "Nothing to do: the queue is paused already".into(),
        },
        InstanceChange::Resume => match store::resume(db, &actor, id, now()).await? {
            Resumed::GoesOn => "Queue goes on".into(),
            Resumed::NotConnected => "The queue goes on when the number is connected".into(),
            Resumed::Nothing => "Nothing to do: the queue is not paused".into(),
        },
        InstanceChange::Delete => match store::delete(db, &actor, id).await? {
            0 => "Instance deleted".into(),
            n => {
                let n = i64::try_from(n).unwrap_or(i64::MAX);
                format!("Instance deleted, and {} cancelled", counted(n, "message", "messages"))
            }
        },
    };
    Ok(sentence)
}

/// The new secret: with script in the answer; without, sealed in the session until the next page shows it.
pub async fn reveal(
    me: &Current,
    endpoint: &Endpoint,
    secret: &SecretString,
    rotated: bool,
    back: &str,
) -> Result<Option<RevealedSecret>, AppError> {
    no_store();
    let revealed = RevealedSecret {
        id: endpoint.id,
        url: endpoint.url.clone(),
        secret: secret.expose_secret().to_owned(),
        old_until: endpoint.old_secret_ends_at.filter(|_| rotated),
    };
    if !is_plain_form() {
        return Ok(Some(revealed));
    }
    let text = serde_json::to_vec(&revealed).map_err(internal)?;
    let sealed = me.state.sealer.seal(&context(me, revealed.id), &text)?;
    flash::put(SECRET, &sealed).await?;
    go(&page(back).with(Panel::EndpointCreated(revealed.id)).href());
    Ok(None)
}

/// Takes the sealed secret out of the session. Afterwards it is nowhere.
pub async fn take_revealed(me: &Current, id: EndpointId) -> Result<Option<RevealedSecret>, AppError> {
    let sealed: Option<String> = flash::take(SECRET).await?;
    Ok(sealed
        .and_then(|sealed| me.state.sealer.open(&context(me, id), &sealed).ok())
        .and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Binds the seal to the person and the endpoint.
fn context(me: &Current, id: EndpointId) -> String {
    format!("endpoint secret {id} for {}", me.viewer.person_id)
}

/// Subscriptions without those that a wildcard among them covers.
pub fn without_covered(events: Vec<String>) -> Vec<String> {
    let covered = |event: &str| {
        events.iter().any(|other| {
            other != event
                && (other == "*"
                    || other
                        .strip_suffix(".*")
                        .is_some_and(|family| event.split('.').next() == Some(family) && !event.ends_with(".*")))
        })
    };
    let mut kept: Vec<String> = vec![];
    for event in &events {
        if !covered(event) && !kept.contains(event) {
            kept.push(event.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_its_events() {
        let clean = |events: &[&str]| without_covered(events.iter().map(|e| (*e).to_owned()).collect());
        assert_eq!(clean(&["message.sent", "*", "api_key.*"]), ["*"]);
        assert_eq!(clean(&["message.sent", "message.*", "instance.status"]), ["message.*", "instance.status"]);
        assert_eq!(clean(&["message.sent", "message.sent"]), ["message.sent"]);
        assert!(clean(&[]).is_empty());
    }

    #[test]
    fn values_of_headers_do_not_come_back() {
        assert_eq!(header_names("X-Token: abc:def\nnothing\n Authorization : Bearer x"), "X-Token:\nAuthorization:\n");
    }
}
