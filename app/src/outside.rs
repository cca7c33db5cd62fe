//! What the pages ask of the world outside: the providers of instances, and whether an address may be called at all.
//! The server implements it; the pages only know these questions.

use std::{future::Future, pin::Pin};

use domain::{ids::InstanceId, instances::Session, people::Actor};

use crate::pages::developer::integrations::QrPicture;

/// An answer that is being waited for.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = domain::Result<T>> + Send + 'a>>;

/// Where a provider says no, or cannot be reached, the answer is [`domain::Error::Conflict`] with a sentence for people.
pub trait Outside: Send + Sync {
    /// Begins or resumes the connection of an instance, and writes down who did.
    fn connect<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, Session>;

    /// Ends it; with `log_out` the number must be linked anew afterwards.
    fn disconnect<'a>(&'a self, actor: &'a Actor, instance: InstanceId, log_out: bool) -> Asked<'a, ()>;

    /// How the provider says that the connection stands; taken over into the instance.
    fn look<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, Session>;

    /// The QR code to scan.
    fn qr<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, QrPicture>;

    /// Where the provider of an instance sends what happens; the sandbox sends nothing.
    fn hook_url(&self, instance: InstanceId, provider: domain::instances::Provider) -> Option<String>;

    /// May this be the URL of a webhook endpoint?
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    fn check_webhook(&self, url: &str) -> Result<(), String>;

    /// May this be the address of a provider's server?
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    fn check_provider(&self, url: &str) -> Result<(), String>;
}
