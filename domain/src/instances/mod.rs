//! Connected WhatsApp numbers, and through which provider.
//!
//! An instance is one number. Its [`Settings`] say how its provider is reached and may be shown; its [`Credentials`]
//! are sealed at rest and are never shown again. Its [`Status`] is the connection as the provider last told it.

#[cfg(feature = "postgres")]
pub mod cache;
pub mod credentials;
pub mod form;
#[cfg(feature = "postgres")]
pub mod overview;
#[cfg(feature = "postgres")]
pub mod store;

pub use credentials::{Credential, Credentials};
pub use form::{InstanceForm, NewInstance};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{InstanceId, OrgId},
    time::Time,
};

/// A way to WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Bouncer's own rehearsal: nothing leaves, statuses follow the number.
    Sandbox,
    /// A WAHA server (<https://waha.devlike.pro>): an ordinary WhatsApp account, connected by QR code.
    Waha,
    /// Meta's WhatsApp Cloud API.
    CloudApi,
}

impl Provider {
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Waha, Self::CloudApi];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Waha => "waha",
            Self::CloudApi => "cloud_api",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == text)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Sandbox => "Sandbox",
            Self::Waha => "WAHA",
            Self::CloudApi => "Cloud API",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Sandbox => "Sends nothing: a rehearsal whose statuses depend on the number",
            Self::Waha => "A WhatsApp account on your own WAHA server, connected by QR code",
            Self::CloudApi => "Meta's official API, with templates and Meta's own limits",
        }
    }

    /// Whether the pacing of keys applies: only ordinary accounts are banned for their rhythm (PRODUCT, section 7).
    pub fn is_paced(self) -> bool {
        self == Self::Waha
    }

    /// The part of the hook's address, as in `/hooks/cloud-api/{instance}`. The sandbox has none.
    pub fn hook(self) -> Option<&'static str> {
        match self {
            Self::Sandbox => None,
            Self::Waha => Some("waha"),
            Self::CloudApi => Some("cloud-api"),
        }
    }
}

/// The connection of an instance with WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Disconnected,
    /// On its way; nothing to do but wait.
    Connecting,
    /// Waits for a person to scan the QR code.
    ScanQr,
    Connected,
    /// The provider gave up; connecting again may help.
    Failed,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Disconnected, Self::Connecting, Self::ScanQr, Self::Connected, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::ScanQr => "scan_qr",
            Self::Connected => "connected",
            Self::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Disconnected => "Disconnected",
            Self::Connecting => "Connecting",
            Self::ScanQr => "Scan the QR code",
            Self::Connected => "Connected",
            Self::Failed => "Failed",
        }
    }
}

/// How a provider says that a connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub status: Status,
    /// In the provider's words.
    pub detail: String,
    /// Digits of E.164; `None`: it said nothing about it.
    pub phone: Option<String>,
}

/// How the provider is reached: everything of it that may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum Settings {
    Sandbox,
    Waha(WahaSettings),
    CloudApi(CloudApiSettings),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WahaSettings {
    /// `https://waha.acme.example`, without a slash at the end.
    pub base_url: String,
    /// WAHA's name of the session, such as `default`.
    pub session: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudApiSettings {
    /// `https://graph.facebook.com`, without a slash at the end.
    pub base_url: String,
    /// The Graph API's version, such as `v24.0`.
    pub version: String,
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// Meta's id of the WhatsApp Business account, whose templates these are.
    pub business_account_id: String,
}

impl Settings {
    pub fn provider(&self) -> Provider {
        match self {
            Self::Sandbox => Provider::Sandbox,
            Self::Waha(_) => Provider::Waha,
            Self::CloudApi(_) => Provider::CloudApi,
        }
    }

    /// Where the provider's server is; the sandbox is nowhere.
    pub fn base_url(&self) -> Option<&str> {
        match self {
            Self::Sandbox => None,
            Self::Waha(waha) => Some(&waha.base_url),
            Self::CloudApi(cloud) => Some(&cloud.base_url),
        }
    }
}

/// One connected WhatsApp number. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub organization_id: OrgId,
    pub name: String,
    pub settings: Settings,
    /// Which credentials are stored; their values are never shown.
    pub credentials: Vec<Credential>,
    pub status: Status,
    /// What the provider said, in its own words.
    pub status_detail: String,
    pub status_at: Time,
    /// Digits of E.164, once the provider told it.
    pub phone: Option<String>,
    pub created_at: Time,
    pub created_by_name: String,
    /// Grows with each edit.
    pub version: i32,
}

impl Instance {
    pub fn provider(&self) -> Provider {
        self.settings.provider()
    }
}

/// An instance with its queue, as lists and its page show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRow {
    pub instance: Instance,
    pub queue: QueueState,
}

/// The queue of an instance at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Messages that are still to leave, those on their way included.
    pub waiting: u64,
    /// When the next one may leave.
    pub next_due: Option<Time>,
    pub paused: Option<Paused>,
    pub failures_in_a_row: u32,
}

/// Why nothing leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub at: Time,
    pub by: PausedBy,
    /// A sentence.
    pub reason: String,
}

/// Why a queue stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// Somebody said so; only somebody ends it.
    Person,
    /// Three failures in a row; ends when the provider says that it is connected.
    Failures,
    /// The number is not connected; ends when it is again.
    Session,
}

impl PausedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Failures => "failures",
            Self::Session => "session",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Person, Self::Failures, Self::Session].into_iter().find(|by| by.as_str() == text)
    }
}
