//! A key's status: computed, never stored, and always with its reason.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::ApiKey;
use crate::time::{self, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusKind {
    Revoked,
    Expired,
    Disabled,
    RateLimited,
    ElevatedDenials,
    Rotating,
    Expiring,
    Idle,
    Active,
}

/// What a badge says, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub kind: StatusKind,
    /// "Active", "Expiring", "Rate-limited now"
    pub label: String,
    /// One sentence for the hover.
    pub reason: String,
}

/// What happened with a key lately, from the rollups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentTraffic {
    /// Calls refused by the hourly limit in this and the previous minute.
    pub limited_now: i64,
    /// Calls of this and the previous hour.
    pub allowed: i64,
    pub denied: i64,
}

/// Days before the expiry at which a key counts as expiring.
pub const EXPIRING_DAYS: i64 = 7;
/// Days without a call after which a key counts as idle; the longest that fits is said.
pub const IDLE_DAYS: [i64; 2] = [90, 30];
/// Minutes for which a call that the limit refused counts as "now".
pub const LIMITED_MINUTES: i64 = 2;
/// Denials count as elevated from ten in two hours that are a tenth of all calls.
pub const ELEVATED: (i64, f64) = (10, 0.1);

impl ApiKey {
    /// The most important thing to know about the key at `now`.
    pub fn status(&self, traffic: RecentTraffic, now: Time) -> Status {
        let say = |kind, label: &str, reason: String| Status { kind, label: label.into(), reason };
        if let Some(at) = self.revoked_at {
            let by = self.revoked_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            return say(
                StatusKind::Revoked,
                "Revoked",
                format!("This key was revoked on {}{by}. It will never work again.", time::date(at, now)),
            );
        }
        if let Some(at) = self.expires_at.filter(|at| *at <= now) {
            return say(
                StatusKind::Expired,
                "Expired",
                format!("This key expired on {}. Edit it to choose a later day.", time::date(at, now)),
            );
        }
        if let Some(at) = self.disabled_at {
            return say(
                StatusKind::Disabled,
                "Disabled",
                format!("This key was disabled on {}. Enable it to let calls through again.", time::date(at, now)),
            );
        }
        if traffic.limited_now > 0 {
            let limit = self.rate_limit.unwrap_or_default();
            return say(
                StatusKind::RateLimited,
                "Rate-limited now",
                format!(
                    "{} calls were refused in the last two minutes: the limit is {limit} an hour.",
                    traffic.limited_now
                ),
            );
        }
        if traffic.denied >= ELEVATED.0
            && traffic.denied as f64 >= ELEVATED.1 * (traffic.allowed + traffic.denied) as f64
        {
            return say(
                StatusKind::ElevatedDenials,
                "Elevated denials",
                format!(
                    "{} of {} calls were refused in the last two hours.",
                    traffic.denied,
                    traffic.allowed + traffic.denied
                ),
            );
        }
        if let Some(old) = self.old_secret.as_ref().filter(|old| old.until > now) {
            return say(
                StatusKind::Rotating,
                "Rotating",
                format!("The old secret {} ends {}.", old.hint, time::relative(old.until, now)),
            );
        }
        if let Some(at) = self.expires_at.filter(|at| *at <= now + Duration::days(EXPIRING_DAYS)) {
            return say(
                StatusKind::Expiring,
                "Expiring",
                format!("This key expires {}, on {}.", time::relative(at, now), time::date(at, now)),
            );
        }
        let since = self.last_use.as_ref().map_or(self.created_at, |used| used.at);
        if let Some(days) = IDLE_DAYS.into_iter().find(|days| since < now - Duration::days(*days)) {
            let what = if self.last_use.is_some() { "used" } else { "used since it was created" };
            return say(
                StatusKind::Idle,
                "Idle",
                format!("Not {what} for more than {days} days. Revoke it if nobody needs it."),
            );
        }
        say(StatusKind::Active, "Active", "Calls with this key are let through.".into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        ids::{KeyId, OrgId, SecretId},
        keys::{Environment, LastUse, OldSecret, ScopeSet},
        throttle::Throttle,
    };
    use chrono::{TimeZone, Utc};
    use uuid::Uuid;

    pub(crate) fn now() -> Time {
        Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap()
    }

    pub(crate) fn key() -> ApiKey {
        ApiKey {
            id: KeyId(Uuid::nil()),
            organization_id: OrgId(Uuid::nil()),
            name: "Shop".into(),
            description: String::new(),
            environment: Environment::Live,
            hint: "bnc_live_7f9a…a3f1".into(),
            scope_group: None,
            scopes: ScopeSet::default(),
            throttle: Throttle::default(),
            allowed_ips: vec![],
            allowed_instances: None,
            rate_limit: Some(1_000),
            expires_at: None,
            disabled_at: None,
            revoked_at: None,
            revoked_by: None,
            created_at: now() - Duration::days(1),
            created_by: None,
            created_by_name: "Ada".into(),
            version: 1,
            last_use: None,
            old_secret: None,
            api_secret_hint: None,
        }
    }

    #[test]
    fn the_weightiest_reason_wins() {
        let quiet = RecentTraffic::default();
        let mut key = key();
        let kind = |key: &ApiKey, traffic| key.status(traffic, now()).kind;
        assert_eq!(kind(&key, quiet), StatusKind::Active);
        key.created_at = now() - Duration::days(31);
        assert_eq!(kind(&key, quiet), StatusKind::Idle);
        key.last_use = Some(LastUse { at: now() - Duration::days(29), ip: None, user_agent: String::new() });
        assert_eq!(kind(&key, quiet), StatusKind::Active);
        key.expires_at = Some(now() + Duration::days(7));
        assert_eq!(kind(&key, quiet), StatusKind::Expiring);
        key.old_secret = Some(OldSecret {
            id: SecretId(Uuid::nil()),
            hint: "bnc_live_0000…0000".into(),
            until: now() + Duration::hours(1),
        });
        assert_eq!(kind(&key, quiet), StatusKind::Rotating);
        assert_eq!(kind(&key, RecentTraffic { allowed: 50, denied: 10, limited_now: 0 }), StatusKind::ElevatedDenials);
        assert_eq!(kind(&key, RecentTraffic { allowed: 500, denied: 10, limited_now: 0 }), StatusKind::Rotating);
        assert_eq!(kind(&key, RecentTraffic { allowed: 50, denied: 10, limited_now: 3 }), StatusKind::RateLimited);
        key.disabled_at = Some(now());
        assert_eq!(kind(&key, quiet), StatusKind::Disabled);
        key.expires_at = Some(now());
        assert_eq!(kind(&key, quiet), StatusKind::Expired);
        key.revoked_at = Some(now());
        key.revoked_by = Some("owner@acme.example".into());
        assert_eq!(
            key.status(quiet, now()).reason,
            "This key was revoked on 20 November by owner@acme.example. It will never work again."
        );
    }
}
