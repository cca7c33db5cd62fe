//! Conversations: one for each contact on each instance. A bot answers it, or a person does; and what people wrote to
//! us belongs to it.
//!
//! A conversation that a person took over returns to the bot at `until` by itself: the state is computed when it is
//! read ([`Conversation::state_at`]), so nothing has to run at that moment. The same rule in SQL is
//! `state = 'human' and (until is null or until > now)`.

#[cfg(feature = "postgres")]
pub mod store;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{ConversationId, InstanceId},
    time::Time,
};

/// Longest name of whoever has taken a conversation over, in characters.
pub const ASSIGNEE_MAX: usize = 120;
/// Longest text of a contact's name that is kept, in characters; providers hand on whatever people call themselves.
pub const NAME_MAX: usize = 200;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationState {
    /// Programs may send.
    Bot,
    /// A person talks to the contact; messages of keys are refused with `conversation_with_human`.
    Human,
}

impl ConversationState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Human => "human",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "bot" => Some(Self::Bot),
            "human" => Some(Self::Human),
            _ => None,
        }
    }
}

/// A conversation as it is stored. Ask [`Conversation::state_at`] for its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: ConversationId,
    pub instance_id: InstanceId,
    /// Digits of E.164 of the other side.
    pub contact: String,
    /// As the contact calls itself; may be empty.
    pub contact_name: String,
    pub(crate) state: ConversationState,
    pub(crate) assignee: Option<String>,
    pub(crate) until: Option<Time>,
    pub last_inbound_at: Option<Time>,
    pub last_outbound_at: Option<Time>,
    pub changed_at: Time,
    /// Grows with each change of the state.
    pub version: i32,
}

/// Who answers a conversation at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    pub state: ConversationState,
    /// Who took it over, in the words of whoever said so.
    pub assignee: Option<String>,
    /// When it returns to the bot; `None`: when somebody says so.
    pub until: Option<Time>,
}

impl Handover {
    pub const BOT: Self = Self { state: ConversationState::Bot, assignee: None, until: None };

    /// What is true at `now`: a time that has passed has given the conversation back.
    #[must_use]
    pub fn at(self, now: Time) -> Self {
        match self.until {
            Some(until) if until <= now => Self::BOT,
            _ if self.state == ConversationState::Bot => Self::BOT,
            _ => self,
        }
    }
}

impl Conversation {
    /// Who answers at `now`.
    pub fn state_at(&self, now: Time) -> Handover {
        Handover { state: self.state, assignee: self.assignee.clone(), until: self.until }.at(now)
    }
}

/// What somebody wrote to us, as an inbound hook hands it to [`store::receive`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewInbound {
    /// The provider's id: the same message is kept once.
    pub provider_message_id: String,
    /// Digits of E.164.
    pub from: String,
    /// As the contact calls itself; may be empty.
    pub name: String,
    /// `text`, `image`, …, as the provider names it.
    pub kind: String,
    /// The content in the provider's shape.
    pub body: Value,
    pub at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Duration, TimeZone, Utc};

    #[test]
    fn a_conversation_returns_to_the_bot_by_itself() {
        let now = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap();
        let human = |until| Handover { state: ConversationState::Human, assignee: Some("Ada".into()), until };
        assert_eq!(human(None).at(now), human(None));
        let later = Some(now + Duration::seconds(1));
        assert_eq!(human(later).at(now), human(later));
        assert_eq!(human(Some(now)).at(now), Handover::BOT);
        assert_eq!(human(Some(now - Duration::days(1))).at(now), Handover::BOT);
        let leftovers = Handover { state: ConversationState::Bot, assignee: Some("Ada".into()), until: later };
        assert_eq!(leftovers.at(now), Handover::BOT);
    }
}
