//! How messages leave: one trait, one file for each provider.

pub mod cloud_api;
pub mod connecting;
mod http;
pub mod sandbox;
pub mod templates;
pub mod waha;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    Error,
    ids::{InstanceId, MessageId, OrgId},
    instances::{Credentials, Provider as Kind, Session, Settings, cache::InstanceCache},
    keys::Environment,
    messages::{Body, Recipient},
};
use serde_json::Value;

use crate::net;

/// An instance as a provider needs it: its settings, and its credentials opened. No Debug.
pub struct Connection {
    pub instance: InstanceId,
    pub organization: OrgId,
    pub settings: Settings,
    pub credentials: Credentials,
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub id: MessageId,
    pub to: Recipient,
    pub body: Body,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// How an attempt to send ended.
#[derive(Debug, Clone, PartialEq)]
pub enum SendOutcome {
    /// The provider took it.
    Sent { provider_message_id: String },
    /// It certainly did not leave; later it may. `throttled`: the provider works and only wants less of us.
    Retry { code: String, message: String, after_s: Option<u64>, throttled: bool },
    /// It will never leave like this.
    Failed { code: String, message: String },
    /// It may have left: the answer was lost.
    Unknown { message: String },
    /// It did not leave because the connection with the number is gone: the instance is `disconnected`, its queue
    /// pauses, the message stays in it.
    Disconnected { code: String, message: String },
}

/// What a provider knows of a message whose answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    Sent {
        provider_message_id: String,
    },
    /// It never arrived there: sending it again doubles nothing.
    NotThere,
    /// The provider cannot be asked; its acknowledgement will tell, or nothing.
    CannotTell,
    /// It could not be asked just now: it is asked again later.
    NotNow,
}

/// Why a provider could not do what a person asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// The provider answered, and said no. The sentence is for people.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached, or its answer makes no sense.
    #[error("{0}")]
    Unreachable(String),
    /// This provider has no such thing.
    #[error("{0}")]
    NotOffered(String),
}

/// A way to WhatsApp.
#[async_trait]
pub trait Provider: Send + Sync {
    async fn send(&self, connection: &Connection, message: &Outgoing) -> SendOutcome;

    /// Looks for a message whose answer was lost.
    async fn find(&self, connection: &Connection, message: &Outgoing) -> Found;

    /// Begins or resumes the connection, and says how it stands.
    async fn connect(&self, connection: &Connection, hook_url: &str) -> Result<Session, ProviderError>;

    /// Ends the connection; with `log_out` the number must be linked anew afterwards.
    async fn disconnect(&self, connection: &Connection, log_out: bool) -> Result<(), ProviderError>;

    async fn session(&self, connection: &Connection) -> Result<Session, ProviderError>;

    /// The text of the QR code to scan.
    async fn qr(&self, connection: &Connection) -> Result<String, ProviderError>;

    /// Templates in the Graph API's listing form.
    async fn templates(&self, connection: &Connection) -> Result<Vec<Value>, ProviderError>;
}

/// All providers, and the way to the one that a message takes.
pub struct Providers {
    instances: InstanceCache,
    sandbox: Arc<dyn Provider>,
    waha: Arc<dyn Provider>,
    cloud_api: Arc<dyn Provider>,
}

/// The provider of an instance, and what it needs to know of it.
#[derive(Clone)]
pub struct Route {
    pub provider: Arc<dyn Provider>,
    pub connection: Arc<Connection>,
}

impl Providers {
    pub fn new(instances: InstanceCache, client: net::Client) -> Self {
        Self {
            instances,
            sandbox: Arc::new(sandbox::Sandbox),
            waha: Arc::new(waha::Waha::new(client.clone())),
            cloud_api: Arc::new(cloud_api::CloudApi::new(client)),
        }
    }

    /// The way of a message: everything of the test environment takes the sandbox, whatever its instance.
    ///
    /// # Errors
    /// `NotFound` when the organization has no such instance (any more); `Unavailable` without a database.
    pub async fn of(
        &self,
        environment: Environment,
        organization: OrgId,
        instance: InstanceId,
    ) -> Result<Route, Error> {
        if environment == Environment::Test {
            let connection =
                Connection { instance, organization, settings: Settings::Sandbox, credentials: Credentials::default() };
            return Ok(Route { provider: self.sandbox.clone(), connection: Arc::new(connection) });
        }
        self.route(organization, instance).await
    }

    /// The way to an instance itself: connecting, its QR code, its templates.
    ///
    /// # Errors
    /// As [`Providers::of`].
    pub async fn route(&self, organization: OrgId, instance: InstanceId) -> Result<Route, Error> {
        let known = self
            .instances
            .known(instance)
            .await?
            .filter(|known| known.instance.organization_id == organization)
            .ok_or(Error::NotFound)?;
        let provider = match known.instance.provider() {
            Kind::Sandbox => &self.sandbox,
            Kind::Waha => &self.waha,
            Kind::CloudApi => &self.cloud_api,
        };
        let connection = Connection {
            instance,
            organization,
            settings: known.instance.settings.clone(),
            credentials: known.credentials.clone(),
        };
        Ok(Route { provider: provider.clone(), connection: Arc::new(connection) })
    }
}
