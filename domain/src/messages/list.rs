//! Messages as people and callers look at them.

use serde::{Deserialize, Serialize};

use super::{Body, MessageStatus, Recipient};
use crate::{
    ids::{InstanceId, KeyId, MessageId, RequestId},
    keys::Environment,
    time::Time,
};

/// An outbound message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub instance: InstanceId,
    /// `None`: sent from the console.
    pub key: Option<KeyId>,
    pub environment: Environment,
    /// `None` once erased.
    pub to: Option<Recipient>,
    /// The type's name, such as `text`.
    pub kind: String,
    pub template_name: Option<String>,
    pub template_language: Option<String>,
    /// `None` once erased.
    pub body: Option<Body>,
    pub status: MessageStatus,
    pub status_at: Time,
    pub accepted_at: Time,
    /// When it was or is to leave.
    pub slot_at: Time,
    /// When the provider took it.
    pub sent_at: Option<Time>,
    pub provider_message_id: Option<String>,
    /// When it failed.
    pub error: Option<MessageError>,
    /// The provider's pricing object.
    pub pricing: Option<serde_json::Value>,
    /// The call that accepted it.
    pub request: Option<RequestId>,
}

/// Why a message failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageError {
    /// The provider's code or ours.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// One step of a message's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub at: Time,
    pub status: MessageStatus,
    /// The provider's code, the reason of a wait, who cancelled; often empty.
    pub detail: String,
}

/// Which messages a list holds; all conditions at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageFilter {
    pub status: Option<MessageStatus>,
    pub to: Option<Recipient>,
    pub instance: Option<InstanceId>,
    /// Only messages of these; `None`: of all.
    pub instances: Option<Vec<InstanceId>>,
    pub key: Option<KeyId>,
    pub environment: Option<Environment>,
    /// Only messages older than this one: where the page before ended.
    pub before: Option<MessageId>,
    /// How many at most.
    pub limit: u32,
}

/// Messages, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessagePage {
    pub messages: Vec<Message>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<MessageId>,
}
