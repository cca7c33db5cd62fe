//! The page's server functions. Each asks who is calling and whether they may, then makes one call into `domain` or to
//! the world outside.
//!
//! With script they answer with a value. A form sent without script is answered by a redirect back to the page;
//! [`plain`] keeps what must survive it.

use domain::{
    ids::{DeliveryId, EndpointId, InstanceId, MessageId},
    webhooks::EndpointForm,
};
use leptos::{prelude::*, server_fn::codec::Json};

use super::{
    data::{ConnectPage, EndpointChange, InstanceChange, ListPage, Made, MessageChange, PanelPage, RevealedSecret},
    input::InstanceInput,
    query::{ListAt, Panel},
};
#[cfg(feature = "ssr")]
use super::{load, plain};
use crate::error::AppError;
#[cfg(feature = "ssr")]
use crate::session::{current, now};

/// Both lists.
#[server(endpoint = "integrations/list", input = Json)]
pub async fn list_integrations(at: ListAt) -> Result<ListPage, AppError> {
    load::list(&current().await?, at).await
}

/// What an open dialog or sheet shows.
#[server(endpoint = "integrations/panel", input = Json)]
pub async fn load_panel(panel: Panel) -> Result<PanelPage, AppError> {
    let me = current().await?;
    match panel {
        Panel::Closed => Ok(PanelPage::Closed),
        Panel::Instance(id) => load::instance(&me, id).await.map(Box::new).map(PanelPage::Instance),
        Panel::Endpoint(id) => load::endpoint(&me, id).await.map(Box::new).map(PanelPage::Endpoint),
        Panel::Delivery(id) => load::delivery(&me, id).await.map(Box::new).map(PanelPage::Delivery),
        changing => load::for_change(&me.manages_integrations()?, changing).await,
    }
}

/// Makes an instance; `None` when the browser is sent to its next step instead.
#[server(endpoint = "instances/create")]
pub async fn create_instance(form: InstanceInput, #[server(default)] back: String) -> Result<Option<Made>, AppError> {
    let me = current().await?.manages_integrations()?;
    let made = match plain::instance(&me, &form, None) {
        Ok(new) => {
            let submission = form.submission.parse().ok();
            domain::instances::store::create(me.db(), &me.state.sealer, &me.actor(), new, submission)
                .await
                .map_err(AppError::from)
        }
        Err(error) => Err(error),
    };
    match made {
        Ok(id) => plain::made(&me, id, &form, &back).await.map(Some),
        Err(error) => plain::instance_again(None, form, error, &back).await.map(|()| None),
    }
}

/// Changes name, settings and credentials of an instance; credentials that are left empty stay.
#[server(endpoint = "instances/edit")]
pub async fn edit_instance(
    id: InstanceId,
    form: InstanceInput,
    #[server(default)] back: String,
) -> Result<(), AppError> {
    let me = current().await?.manages_integrations()?;
    let row = domain::instances::store::get(me.db(), me.organization(), id).await?;
    let form = InstanceInput { provider: row.instance.provider().as_str().to_owned(), ..form };
    let version = form.version.parse().unwrap_or_default();
    let saved = match plain::instance(&me, &form, Some(&row.instance)) {
        Ok(new) => domain::instances::store::edit(me.db(), &me.state.sealer, &me.actor(), id, version, new)
            .await
            .map_err(AppError::from),
        Err(error) => Err(error),
    };
    match saved {
        Ok(()) => plain::done("Instance saved", &back).await,
        Err(error) => plain::instance_again(Some(id), form, error, &back).await,
    }
}

/// Connects, disconnects, holds up, lets go on or deletes an instance. Answers with a sentence about what was done.
#[server(endpoint = "instances/change")]
pub async fn change_instance(
    id: InstanceId,
    what: InstanceChange,
    #[server(default)] back: String,
) -> Result<String, AppError> {
    let me = current().await?.manages_integrations()?;
    match plain::do_to_instance(&me, id, what).await {
        Ok(sentence) => plain::done(&sentence, &back).await.map(|()| sentence),
        Err(error) => plain::problem(error, &back).await.map(|()| String::new()),
    }
}

/// How the connection of an instance stands, and the QR code while there is one to scan.
#[server(endpoint = "instances/connection", input = Json)]
pub async fn look_at_connection(id: InstanceId) -> Result<ConnectPage, AppError> {
    load::connection(&current().await?.manages_integrations()?, id).await
}

/// Hurries or cancels a message that waits. Answers with a sentence about what was done.
#[server(endpoint = "instances/change_message")]
pub async fn change_message(
    id: MessageId,
    what: MessageChange,
    #[server(default)] back: String,
) -> Result<String, AppError> {
    let me = current().await?.manages_integrations()?;
    let (db, actor, now) = (me.db(), me.actor(), now());
    let (changed, sentence) = match what {
        MessageChange::SendNow => (domain::messages::store::send_now(db, &actor, id, now).await, "The message is next"),
        MessageChange::Cancel => (domain::messages::store::cancel_by(db, &actor, id, now).await, "Message cancelled"),
    };
    match changed.map_err(AppError::from) {
        Ok(()) => plain::done(sentence, &back).await.map(|()| sentence.to_owned()),
        Err(error) => plain::problem(error, &back).await.map(|()| String::new()),
    }
}

/// Makes a webhook endpoint. The answer is the only time that its secret is shown.
#[server(endpoint = "webhooks/create")]
pub async fn create_endpoint(
    form: EndpointForm,
    // Beside the form: with nothing ticked a form sends none, which must not mean "as it opened".
    #[server(default)] events: Vec<String>,
    #[server(default)] back: String,
) -> Result<Option<RevealedSecret>, AppError> {
    let me = current().await?.manages_integrations()?;
    let form = EndpointForm { events: plain::without_covered(events), ..form };
    let made = match plain::endpoint(&me, &form, None) {
        Ok(new) => domain::webhooks::store::create(me.db(), &me.state.sealer, &me.actor(), None, new, None)
            .await
            .map_err(AppError::from),
        Err(error) => Err(error),
    };
    match made {
        Ok((endpoint, secret)) => plain::reveal(&me, &endpoint, &secret, false, &back).await,
        Err(error) => plain::endpoint_again(None, form, error, &back).await.map(|()| None),
    }
}

/// Changes everything of an endpoint but its secret.
#[server(endpoint = "webhooks/edit")]
pub async fn edit_endpoint(
    id: EndpointId,
    form: EndpointForm,
    #[server(default)] events: Vec<String>,
    #[server(default)] back: String,
) -> Result<(), AppError> {
    let me = current().await?.manages_integrations()?;
    let old = domain::webhooks::store::get(me.db(), me.organization(), None, id).await?;
    let form = EndpointForm { events: plain::without_covered(events), ..form };
    let version = form.version.parse().unwrap_or_default();
    let saved = match plain::endpoint(&me, &form, Some(&old)) {
        Ok(new) => domain::webhooks::store::edit(me.db(), &me.state.sealer, &me.actor(), None, id, version, new)
            .await
            .map_err(AppError::from),
        Err(error) => Err(error),
    };
    match saved {
        Ok(_) => plain::done("Endpoint saved", &back).await,
        Err(error) => plain::endpoint_again(Some(id), form, error, &back).await,
    }
}

/// Enables, disables or deletes an endpoint. Answers with a sentence about what was done.
#[server(endpoint = "webhooks/change")]
pub async fn change_endpoint(
    id: EndpointId,
    what: EndpointChange,
    #[server(default)] back: String,
) -> Result<String, AppError> {
    let me = current().await?.manages_integrations()?;
    let (db, actor) = (me.db(), me.actor());
    let (changed, sentence) = match what {
        EndpointChange::Enable => {
            (domain::webhooks::store::set_enabled(db, &actor, None, id, true).await.map(|_| ()), "Endpoint enabled")
        }
        EndpointChange::Disable => {
            (domain::webhooks::store::set_enabled(db, &actor, None, id, false).await.map(|_| ()), "Endpoint disabled")
        }
        EndpointChange::Delete => (domain::webhooks::store::delete(db, &actor, None, id).await, "Endpoint deleted"),
    };
    match changed.map_err(AppError::from) {
        Ok(()) => plain::done(sentence, &back).await.map(|()| sentence.to_owned()),
        Err(error) => plain::problem(error, &back).await.map(|()| String::new()),
    }
}

/// A new secret for an endpoint; the one before it signs too for a day.
#[server(endpoint = "webhooks/rotate")]
pub async fn rotate_endpoint(
    id: EndpointId,
    #[server(default)] back: String,
) -> Result<Option<RevealedSecret>, AppError> {
    let me = current().await?.manages_integrations()?;
    match domain::webhooks::store::rotate_secret(me.db(), &me.state.sealer, &me.actor(), None, id).await {
        Ok((endpoint, secret)) => plain::reveal(&me, &endpoint, &secret, true, &back).await,
        Err(error) => plain::problem(error.into(), &back).await.map(|()| None),
    }
}

/// Sends `test.ping` to an endpoint; answers with the delivery, which shows what became of it.
#[server(endpoint = "webhooks/test")]
pub async fn test_endpoint(id: EndpointId, #[server(default)] back: String) -> Result<Option<DeliveryId>, AppError> {
    let me = current().await?.manages_integrations()?;
    match domain::webhooks::store::send_test(me.db(), &me.actor(), None, None, id).await {
        Ok((delivery, _)) => plain::to(Panel::Delivery(delivery), &back).map(|()| Some(delivery)),
        Err(error) => plain::problem(error.into(), &back).await.map(|()| None),
    }
}

/// Sends a delivery once more.
#[server(endpoint = "webhooks/resend")]
pub async fn resend_delivery(id: DeliveryId, #[server(default)] back: String) -> Result<(), AppError> {
    let me = current().await?.manages_integrations()?;
    match domain::webhooks::resend::one(me.db(), &me.actor(), None, id).await {
        Ok(()) => plain::done("The delivery is sent again", &back).await,
        Err(error) => plain::problem(error.into(), &back).await,
    }
}
