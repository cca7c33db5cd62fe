//! Where a message stands. A status only moves forward.

use serde::{Deserialize, Serialize};

use crate::{ids::MessageId, time::Time};

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    Queued,
    Sending,
    /// It may have left: the answer was lost.
    Unknown,
    /// The provider took it.
    Sent,
    Delivered,
    Read,
    Failed,
    Cancelled,
    Expired,
}

impl MessageStatus {
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Sending,
        Self::Unknown,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// A status may be replaced by one of higher rank only. `failed` ranks below `delivered`: what was delivered has
    /// not failed, whatever came before; a provider may still fail what it had `sent`.
    pub fn rank(self) -> i16 {
        match self {
            Self::Queued => 0,
            Self::Sending => 1,
            Self::Unknown => 2,
            Self::Sent => 3,
            Self::Failed => 4,
            Self::Delivered => 5,
            Self::Read => 6,
            Self::Cancelled | Self::Expired => 9,
        }
    }
}

/// What a provider says about a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusUpdate {
    /// The id under which the provider knows it.
    pub provider_message_id: Option<String>,
    /// Our own id, when the provider gives it back.
    pub message: Option<MessageId>,
    pub status: MessageStatus,
    pub at: Time,
    /// Code and sentence, when it failed.
    pub error: Option<(String, String)>,
    /// The provider's pricing object.
    pub pricing: Option<serde_json::Value>,
}
