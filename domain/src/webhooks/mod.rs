//! Webhook endpoints, events, deliveries.
//!
//! - [`form`]: what makes an endpoint: its URL, events, headers, limits
//! - [`schedule`]: when a failed delivery is tried again; [`durations`]: percentiles of how long they took
//! - `events`: what happened, written in the transaction of the change itself
//! - `store`: endpoints and their secrets
//! - `deliveries`: what was sent; `resend`: sending it again
//! - `queue`: what the deliverer asks and answers
//!
//! An endpoint is delivered for by one server at a time, which owns it for a while (`owner_id`): limits are exact
//! without any server asking another, and an endpoint that hangs occupies only its own lane.

#[cfg(feature = "postgres")]
pub mod deliveries;
pub mod durations;
#[cfg(feature = "postgres")]
pub mod events;
pub mod form;
#[cfg(feature = "postgres")]
pub mod overview;
#[cfg(feature = "postgres")]
pub mod queue;
#[cfg(feature = "postgres")]
pub mod resend;
pub mod schedule;
#[cfg(feature = "postgres")]
pub mod store;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AttemptId, DeliveryId, EndpointId, EventId, JobId, KeyId, MessageId},
    keys::Environment,
    time::Time,
};

pub use durations::Durations;
pub use form::{EndpointDraft, EndpointForm, NewEndpoint};

/// All types of events. Endpoints subscribe to them, to `message.*` and its like, or to `*`.
pub const KINDS: &[Kind] = &[
    Kind { name: "message.queued", about: "A message was accepted and waits for its turn" },
    Kind { name: "message.sent", about: "A message left for WhatsApp" },
    Kind { name: "message.delivered", about: "A message reached the recipient's phone" },
    Kind { name: "message.read", about: "The recipient read a message" },
    Kind { name: "message.failed", about: "A message failed, was cancelled or expired" },
    Kind { name: "message.received", about: "Somebody wrote to one of your numbers" },
    Kind { name: "instance.status", about: "An instance was connected, lost its session, or needs a QR code" },
    Kind {
        name: "template.category_changed",
        about: "A template was put into another category, which changes its price",
    },
    Kind { name: "api_key.expiring", about: "A key expires in 14, 3 or 1 days" },
    Kind { name: "api_key.revoked", about: "A key was revoked" },
    Kind { name: "webhook.disabled", about: "An endpoint was disabled after failing for too long" },
    Kind { name: "test.ping", about: "You asked for a test event" },
];

/// A type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
}

impl Kind {
    /// The part before the dot, of which a wildcard is made.
    pub fn family(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// Does a subscription cover a type of event? Subscriptions are types, `message.*` and its like, and `*`.
pub fn wants(subscription: &str, kind: &str) -> bool {
    subscription == "*"
        || subscription == kind
        || subscription.strip_suffix(".*").is_some_and(|family| kind.split('.').next() == Some(family))
}

/// A customer's URL that hears of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    /// `None`: events of both environments.
    pub environment: Option<Environment>,
    /// Of the headers that are sent along; their values are never shown again.
    pub header_names: Vec<String>,
    /// Requests at once.
    pub concurrency: u32,
    /// Requests a second; `None`: no limit.
    pub rate_limit: Option<u32>,
    pub created_at: Time,
    pub created_by: String,
    pub created_by_key: Option<KeyId>,
    pub version: i32,
    pub disabled: Option<Disabled>,
    /// The secret before this one signs too until then.
    pub old_secret_ends_at: Option<Time>,
    /// Since when every attempt has failed.
    pub failing_since: Option<Time>,
    pub last_success_at: Option<Time>,
    pub last_attempt_at: Option<Time>,
    /// Of the last attempt; empty when it succeeded.
    pub last_error: String,
}

/// When an endpoint was disabled, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub at: Time,
    pub by: DisabledBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBy {
    /// Somebody did.
    Person,
    /// It answered 410 Gone.
    Gone,
    /// Nothing but failures for five days.
    Failures,
}

impl DisabledBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Gone => "gone",
            Self::Failures => "failures",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Person, Self::Gone, Self::Failures].into_iter().find(|by| by.as_str() == text)
    }

    /// "It was disabled because …"
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Person => "Somebody disabled it.",
            Self::Gone => "It answered 410 Gone.",
            Self::Failures => "Every attempt failed for five days.",
        }
    }
}

/// How an endpoint fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Attempts of the last 24 hours, to the hour.
    pub succeeded: u64,
    pub failed: u64,
    /// Of these attempts, in milliseconds, within an eighth.
    pub p50_ms: Option<u32>,
    pub p95_ms: Option<u32>,
    /// Deliveries that wait, be it for their first or for another attempt; counted up to 10,000.
    pub pending: u32,
    /// Deliveries that were never attempted, because the endpoint was disabled; counted up to 10,000.
    pub never_attempted: u32,
    pub failing_since: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for its first or another attempt.
    Pending,
    /// A server has it.
    Sending,
    Succeeded,
    /// Given up after the last attempt.
    Failed,
    /// Not attempted any more: the endpoint was disabled or deleted.
    Cancelled,
}

impl DeliveryStatus {
    pub const ALL: [Self; 5] = [Self::Pending, Self::Sending, Self::Succeeded, Self::Failed, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// One event for one endpoint, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub endpoint_id: EndpointId,
    pub endpoint_url: String,
    pub event_id: EventId,
    pub kind: String,
    pub environment: Environment,
    pub status: DeliveryStatus,
    /// Attempts so far; a running one counts.
    pub attempts: u32,
    pub created_at: Time,
    /// When it will be attempted next.
    pub next_attempt_at: Option<Time>,
    pub last_attempt_at: Option<Time>,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// Why the last attempt failed, in a sentence.
    pub last_error: Option<String>,
    pub finished_at: Option<Time>,
}

/// A delivery with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub row: DeliveryRow,
    pub message_id: Option<MessageId>,
    pub key_id: Option<KeyId>,
    /// The body that is sent.
    pub payload: serde_json::Value,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// One HTTP try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub id: AttemptId,
    pub number: u32,
    pub at: Time,
    /// `None`: no answer.
    pub status: Option<u16>,
    /// Empty when it succeeded.
    pub error: String,
    pub duration_ms: u32,
    /// Where the connection went.
    pub address: Option<String>,
    /// Names and values; values that are secret are not shown.
    pub request_headers: Vec<(String, String)>,
    pub response_headers: Vec<(String, String)>,
    /// At most 64 KiB.
    pub response_body: Option<String>,
}

/// Which deliveries; everything left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryFilter {
    pub endpoint: Option<EndpointId>,
    pub status: Option<DeliveryStatus>,
    /// A type of event, `message.*` and its like, or `*`.
    pub event: Option<String>,
    /// Of the last answer: 2 for 200 to 299, and so on; 0 for no answer.
    pub code_class: Option<u8>,
    pub environment: Option<Environment>,
    pub message: Option<MessageId>,
    pub key: Option<KeyId>,
    /// Made at or after this.
    pub from: Option<Time>,
    /// Made before this.
    pub to: Option<Time>,
    /// Only those of which no attempt was ever made.
    pub never_attempted: bool,
}

/// Sending many deliveries once more, in the background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResendJob {
    pub id: JobId,
    pub created_at: Time,
    pub created_by: String,
    pub filter: DeliveryFilter,
    /// Deliveries that matched when it was asked for.
    pub total: u64,
    /// Those that were put back into the queue.
    pub done: u64,
    pub finished_at: Option<Time>,
    pub cancelled_at: Option<Time>,
}
