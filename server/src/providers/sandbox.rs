//! The sandbox: nothing leaves. What becomes of a message depends on the last digits of its number (PRODUCT, section 7),
//! so that every ending can be rehearsed:
//!
//! | Number ends in | What happens |
//! |---|---|
//! | 0001 | sent, delivered, read |
//! | 0002 | sent, then failed with 131026 |
//! | 0003 | slow: three seconds until sent, ten more until delivered |
//! | 0004 | the provider wants less twice (130429), then sent and delivered |
//! | anything else | sent, delivered |
//!
//! What comes after `sent` is kept in the database ([`then`]) and arrives through
//! [`domain::messages::queue::advance_sandbox`], also after a restart.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    instances::{Session, Status},
    messages::{MessageStatus, Recipient, queue::ScheduledStatus},
};
use serde_json::Value;

use super::{Connection, Found, Outgoing, Provider, ProviderError, SendOutcome};

const SLOW: Duration = Duration::from_secs(3);
const SLOW_DELIVERY: Duration = Duration::from_secs(10);
const DELIVERY: Duration = Duration::from_millis(300);
const READING: Duration = Duration::from_millis(900);
/// How often the throttled number is refused before it is let through, and how long it is to wait.
const REFUSALS: u32 = 2;
const REFUSED_FOR_S: u64 = 1;

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Read,
    Fails,
    Slow,
    Throttled,
    Delivered,
}

impl Ending {
    fn of(to: &Recipient) -> Self {
        let digits = to.digits();
        match digits.get(digits.len().saturating_sub(4)..) {
            Some("0001") => Self::Read,
            Some("0002") => Self::Fails,
            Some("0003") => Self::Slow,
            Some("0004") => Self::Throttled,
            _ => Self::Delivered,
        }
    }
}

/// What the sandbox says about a message after it was sent.
pub fn then(to: &Recipient) -> Vec<ScheduledStatus> {
    let later = |status, after| ScheduledStatus { status, after, error: None };
    match Ending::of(to) {
        Ending::Read => vec![later(MessageStatus::Delivered, DELIVERY), later(MessageStatus::Read, READING)],
        Ending::Fails => vec![ScheduledStatus {
            status: MessageStatus::Failed,
            after: DELIVERY,
            error: Some(("131026".into(), "Message undeliverable".into())),
        }],
        Ending::Slow => vec![later(MessageStatus::Delivered, SLOW_DELIVERY)],
        Ending::Throttled | Ending::Delivered => vec![later(MessageStatus::Delivered, DELIVERY)],
    }
}

/// See the module.
pub struct Sandbox;

fn connected() -> Session {
    Session { status: Status::Connected, detail: "The sandbox is always connected.".into(), phone: None }
}

#[async_trait]
impl Provider for Sandbox {
    async fn send(&self, _connection: &Connection, message: &Outgoing) -> SendOutcome {
        match Ending::of(&message.to) {
            Ending::Slow => tokio::time::sleep(SLOW).await,
            Ending::Throttled if message.attempt <= REFUSALS => {
                return SendOutcome::Retry {
                    code: "130429".into(),
                    message: "Rate limit hit: the sandbox plays a provider that wants less.".into(),
                    after_s: Some(REFUSED_FOR_S),
                    throttled: true,
                };
            }
            _ => {}
        }
        SendOutcome::Sent { provider_message_id: format!("sandbox.{}", message.id) }
    }

    /// Nothing ever leaves, so sending again doubles nothing.
    async fn find(&self, _connection: &Connection, _message: &Outgoing) -> Found {
        Found::NotThere
    }

    async fn connect(&self, _connection: &Connection, _hook_url: &str) -> Result<Session, ProviderError> {
        Ok(connected())
    }

    async fn disconnect(&self, _connection: &Connection, _log_out: bool) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn session(&self, _connection: &Connection) -> Result<Session, ProviderError> {
        Ok(connected())
    }

    async fn qr(&self, _connection: &Connection) -> Result<String, ProviderError> {
        Err(ProviderError::NotOffered("The sandbox has no number, and so no QR code.".into()))
    }

    async fn templates(&self, _connection: &Connection) -> Result<Vec<Value>, ProviderError> {
        Err(ProviderError::NotOffered(
            "The sandbox's templates are those you make here; there is nothing to fetch.".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        ids::{InstanceId, MessageId, OrgId},
        instances::{Credentials, Settings},
        messages::Body,
    };

    use super::*;

    async fn send(to: &str, attempt: u32) -> SendOutcome {
        let connection = Connection {
            instance: InstanceId::new(),
            organization: OrgId::new(),
            settings: Settings::Sandbox,
            credentials: Credentials::default(),
        };
        let to = Recipient::parse(to).expect("a number");
        let message = Outgoing { id: MessageId::new(), to, body: Body::text("Hi"), attempt };
        Sandbox.send(&connection, &message).await
    }

    #[tokio::test]
    async fn the_number_decides() {
        assert!(matches!(send("+60123450000", 1).await, SendOutcome::Sent { .. }));
        for attempt in 1..=2 {
            let refused = send("+60123450004", attempt).await;
            assert!(matches!(refused, SendOutcome::Retry { throttled: true, after_s: Some(1), .. }), "{refused:?}");
        }
        assert!(matches!(send("+60123450004", 3).await, SendOutcome::Sent { .. }));
        let begun = std::time::Instant::now();
        assert!(matches!(send("+60123450003", 1).await, SendOutcome::Sent { .. }));
        assert!(begun.elapsed() >= SLOW);
    }

    #[test]
    fn what_comes_later() {
        let then = |to: &str| {
            let later = then(&Recipient::parse(to).expect("a number"));
            later.into_iter().map(|l| (l.status.as_str(), l.error.map(|e| e.0))).collect::<Vec<_>>()
        };
        assert_eq!(then("+60123450001"), [("delivered", None), ("read", None)]);
        assert_eq!(then("+60123450002"), [("failed", Some("131026".into()))]);
        for other in ["+60123450003", "+60123450004", "+60123456789"] {
            assert_eq!(then(other), [("delivered", None)]);
        }
    }
}
