//! What travels between the page and its server functions. Nothing in it is secret but [`RevealedSecret`] and [`Made`].

use domain::{
    error::FieldError,
    ids::{DeliveryId, EndpointId, InstanceId, MessageId},
    instances::{Provider, Status},
    keys::Environment,
    time::Time,
    webhooks::{DeliveryStatus, EndpointForm},
};
use serde::{Deserialize, Serialize};

use super::input::InstanceInput;

/// Both lists, and what the page around them needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListPage {
    pub instances: Vec<InstanceLine>,
    /// Where the next part of the list begins.
    pub next_instances: Option<InstanceId>,
    pub endpoints: Vec<EndpointLine>,
    pub next_endpoints: Option<EndpointId>,
    /// The server's clock when it answered.
    pub now: Time,
    /// Viewers look and change nothing.
    pub may_manage: bool,
    /// What could not be done, when it was tried without script.
    pub problem: Option<String>,
}

/// An instance, as the list and the head of its sheet show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceLine {
    pub id: InstanceId,
    pub name: String,
    pub provider: Provider,
    /// With plus; masked for viewers.
    pub number: Option<String>,
    pub status: Status,
    /// The provider's words and since when.
    pub status_reason: String,
    pub waiting: u64,
    pub paused: Option<PausedLine>,
    /// When the next message may leave.
    pub next: Option<Time>,
    pub last_failure: Option<FailureLine>,
}

/// Why nothing leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedLine {
    /// "by hand", "after failures", "while not connected"
    pub why: String,
    /// In a sentence.
    pub reason: String,
    pub at: Time,
}

/// The last message of an instance that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureLine {
    pub at: Time,
    /// "131026: The recipient is not on WhatsApp."
    pub words: String,
}

/// An instance in full, with its queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceDetail {
    pub line: InstanceLine,
    /// Labels and values of the provider's settings.
    pub settings: Vec<(String, String)>,
    /// Labels of the credentials that are set.
    pub credentials: Vec<String>,
    /// Where the provider sends what happens.
    pub hook_url: Option<String>,
    pub queue: QueueView,
    /// A call that sends a message through it.
    pub call: String,
    pub created_at: Time,
    pub created_by: String,
    pub now: Time,
    pub may_manage: bool,
    /// What could not be done, when it was tried without script.
    pub problem: Option<String>,
}

/// What waits on an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    pub waiting: i64,
    pub sending: i64,
    pub unknown: i64,
    /// When the last of them is to leave.
    pub last: Option<Time>,
    pub paused: Option<PausedLine>,
    pub failures_in_a_row: i64,
    /// The first ones, in order.
    pub head: Vec<WaitingLine>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingLine {
    pub id: MessageId,
    /// With plus; masked for viewers.
    pub to: String,
    /// "in 12 s", "now", "when the queue goes on"
    pub expected: String,
    /// "2026-11-20 21:43:07 UTC"
    pub exact: String,
    /// Attempts that came to nothing.
    pub attempts: i32,
}

/// The connection of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectPage {
    pub line: InstanceLine,
    /// To be scanned, while the provider waits for that.
    pub qr: Option<QrPicture>,
    /// Why there is none, or what went wrong.
    pub problem: Option<String>,
    pub hook_url: Option<String>,
    /// Typed in just now; afterwards it cannot be shown.
    pub verify_token: Option<String>,
}

/// A QR code: dark squares on a field of `size` by `size`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QrPicture {
    pub size: u32,
    /// An SVG path over the dark squares.
    pub path: String,
}

/// The form of an instance as it opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceFormPage {
    /// What is edited: its id, its name, and the fields of credentials that are set.
    pub editing: Option<(InstanceId, String, Vec<String>)>,
    pub form: InstanceInput,
    /// What was wrong with it, when it was sent without script.
    pub errors: Vec<FieldError>,
    pub message: Option<String>,
}

/// An instance that was just made. Carries the verify token when one was typed in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub id: InstanceId,
    pub provider: Provider,
    pub verify_token: Option<String>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An endpoint, as the list and the head of its sheet show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointLine {
    pub id: EndpointId,
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    /// `None`: both.
    pub environment: Option<Environment>,
    pub health: HealthKind,
    /// In a sentence.
    pub health_reason: String,
    pub disabled: bool,
    pub last_attempt: Option<Time>,
    /// Attempts of the last 24 hours.
    pub succeeded: i64,
    pub failed: i64,
    /// Deliveries that wait.
    pub pending: i64,
}

/// How an endpoint fares, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthKind {
    /// Nothing was delivered yet.
    New,
    Healthy,
    /// The last attempt failed.
    Failing,
    Disabled,
}

/// An endpoint in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointDetail {
    pub line: EndpointLine,
    /// Labels and values.
    pub facts: Vec<(String, String)>,
    pub p50_ms: Option<u32>,
    pub p95_ms: Option<u32>,
    pub never_attempted: i64,
    pub old_secret_ends_at: Option<Time>,
    /// Newest first.
    pub deliveries: Vec<DeliveryLine>,
    pub created_at: Time,
    pub created_by: String,
    pub now: Time,
    pub may_manage: bool,
    pub problem: Option<String>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryLine {
    pub id: DeliveryId,
    pub kind: String,
    pub status: DeliveryStatus,
    pub code: Option<u16>,
    pub attempts: u32,
    pub at: Time,
    /// When it is tried next.
    pub next: Option<Time>,
}

/// A delivery in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryDetail {
    pub line: DeliveryLine,
    pub endpoint: EndpointId,
    pub url: String,
    pub event: String,
    /// The body that is sent, indented.
    pub payload: String,
    /// Newest first.
    pub attempts: Vec<AttemptView>,
    pub now: Time,
    pub may_manage: bool,
    pub problem: Option<String>,
}

/// One HTTP try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    pub number: u32,
    pub at: Time,
    pub status: Option<u16>,
    pub error: String,
    pub duration_ms: u32,
    pub address: Option<String>,
    /// `name: value` lines.
    pub request: String,
    pub response: String,
    pub body: String,
}

/// The form of an endpoint as it opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointFormPage {
    /// What is edited: its id and URL.
    pub editing: Option<(EndpointId, String)>,
    pub form: EndpointForm,
    pub errors: Vec<FieldError>,
    pub message: Option<String>,
}

/// A signing secret, for the only time.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RevealedSecret {
    pub id: EndpointId,
    pub url: String,
    pub secret: String,
    /// Until when the secret before it signs too; `None`: the endpoint is new.
    pub old_until: Option<Time>,
}

impl std::fmt::Debug for RevealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevealedSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a dialog or sheet shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PanelPage {
    Closed,
    InstanceForm(Box<InstanceFormPage>),
    Instance(Box<InstanceDetail>),
    Connect(Box<ConnectPage>),
    DeleteInstance(Box<InstanceLine>),
    EndpointForm(Box<EndpointFormPage>),
    Endpoint(Box<EndpointDetail>),
    /// The secret when it was made without script; `None` once it was shown.
    EndpointCreated(Option<RevealedSecret>, Box<EndpointLine>),
    RotateEndpoint(Box<EndpointDetail>),
    DeleteEndpoint(Box<EndpointLine>),
    Delivery(Box<DeliveryDetail>),
}

/// What to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceChange {
    Connect,
    /// The link with the number stays.
    Disconnect,
    /// The number must be linked anew afterwards.
    LogOut,
    Pause,
    Resume,
    Delete,
}

impl InstanceChange {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::LogOut => "log_out",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

/// What to do with a message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageChange {
    SendNow,
    Cancel,
}

impl MessageChange {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendNow => "send_now",
            Self::Cancel => "cancel",
        }
    }
}

/// What to do with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointChange {
    Enable,
    Disable,
    Delete,
}

impl EndpointChange {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }
}
