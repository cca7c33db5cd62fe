//! Who did what: append-only in the database, each row chained to the one before it by a hash.

#[cfg(feature = "postgres")]
pub mod store;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ids::PersonId, time::Time};

/// One change, as the audit page and a key's history show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// 1, 2, 3 … within the organization, without gaps.
    pub seq: i64,
    pub at: Time,
    pub actor: String,
    pub actor_id: Option<PersonId>,
    /// `api_key.created`, `member.removed`
    pub action: String,
    /// The thing it was done to: its id and its name then.
    pub subject: String,
    pub subject_name: String,
    /// Changed fields: name, before, after. Never secrets.
    pub changes: Vec<Change>,
    pub ip: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Change {
    pub fn new(field: &str, before: Option<String>, after: Option<String>) -> Self {
        Self { field: field.into(), before, after }
    }
}

/// "created the key", for the action `api_key.created`: what stands before the name of the subject. A few go on after it:
/// [`sentence_end`].
pub fn sentence(action: &str) -> &'static str {
    match action {
        "organization.created" => "created the organization",
        "organization.renamed" => "renamed the organization",
        "member.joined" => "joined",
        "member.role_changed" => "changed the role of",
        "member.removed" => "removed",
        "invitation.created" => "invited",
        "invitation.revoked" => "withdrew the invitation of",
        "organization.secrets_resealed" => "sealed all secrets anew",
        "person.signed_in" => "signed in",
        "person.signed_out" => "signed out",
        "person.password_changed" => "changed the password of",
        "person.renamed" => "changed the name of",
        "person.sessions_ended" => "ended sessions of",
        "api_key.created" => "created the key",
        "api_key.edited" => "edited the key",
        "api_key.regenerated" => "regenerated the key",
        "api_key.old_secret_retired" => "retired the old secret of",
        "api_key.secret_issued" => "issued an API secret for the key",
        "api_key.secret_removed" => "removed the API secret of the key",
        "api_key.disabled" => "disabled the key",
        "api_key.enabled" => "enabled the key",
        "api_key.revoked" => "revoked the key",
        "api_key.denial_spike" => "saw many refused calls on the key",
        "api_key.expiring" => "warned that the key",
        "instance.created" => "created the instance",
        "instance.edited" => "edited the instance",
        "instance.deleted" => "deleted the instance",
        "instance.connected" => "connected the instance",
        "instance.disconnected" => "disconnected the instance",
        "instance.paused" => "paused the queue of",
        "instance.resumed" => "let the queue go on of",
        "message.cancelled" => "cancelled the message",
        "message.hurried" => "hurried the message",
        "conversation.handed_over" => "handed over the conversation",
        "template.created" => "created the template",
        "template.edited" => "edited the template",
        "template.deleted" => "deleted the template",
        "template.synced" => "took over Meta's templates of",
        "webhook.created" => "created the webhook endpoint",
        "webhook.edited" => "edited the webhook endpoint",
        "webhook.enabled" => "enabled the webhook endpoint",
        "webhook.disabled" => "disabled the webhook endpoint",
        "webhook.deleted" => "deleted the webhook endpoint",
        "webhook.secret_rotated" => "replaced the secret of the webhook endpoint",
        "webhook.delivery_resent" => "resent a delivery to",
        "webhook.deliveries_resent" => "resent deliveries",
        "webhook.resend_cancelled" => "stopped resending deliveries",
        _ => "changed",
    }
}

/// What stands after the name of the subject: "expires soon", for the action `api_key.expiring`. Mostly nothing.
pub fn sentence_end(action: &str) -> &'static str {
    match action {
        "api_key.expiring" => " expires soon",
        _ => "",
    }
}

/// All actions, for the filter of the audit page.
pub const ACTIONS: &[&str] = &[
    "organization.created",
    "organization.renamed",
    "organization.secrets_resealed",
    "member.joined",
    "member.role_changed",
    "member.removed",
    "invitation.created",
    "invitation.revoked",
    "person.signed_in",
    "person.signed_out",
    "person.password_changed",
    "person.sessions_ended",
    "person.renamed",
    "api_key.created",
    "api_key.edited",
    "api_key.regenerated",
    "api_key.old_secret_retired",
    "api_key.secret_issued",
    "api_key.secret_removed",
    "api_key.disabled",
    "api_key.enabled",
    "api_key.revoked",
    "api_key.denial_spike",
    "api_key.expiring",
    "instance.created",
    "instance.edited",
    "instance.deleted",
    "instance.connected",
    "instance.disconnected",
    "instance.paused",
    "instance.resumed",
    "message.cancelled",
    "message.hurried",
    "conversation.handed_over",
    "template.created",
    "template.edited",
    "template.deleted",
    "template.synced",
    "webhook.created",
    "webhook.edited",
    "webhook.enabled",
    "webhook.disabled",
    "webhook.deleted",
    "webhook.secret_rotated",
    "webhook.delivery_resent",
    "webhook.deliveries_resent",
    "webhook.resend_cancelled",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_words_of_its_own() {
        let mut words: Vec<&str> = ACTIONS.iter().map(|action| sentence(action)).collect();
        assert!(!words.contains(&"changed"));
        words.sort_unstable();
        let all = words.len();
        words.dedup();
        assert_eq!(words.len(), all);
    }
}
