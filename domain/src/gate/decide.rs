//! Order of the checks (PRODUCT, section 6): format → checksum → lookup → revoked/disabled → expiry →
//! API secret → IP → scope → instance → rate → queue. The first that fails decides; a call refused before
//! "rate" never costs quota.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::limiter::Rate;
use crate::{
    ids::{InstanceId, KeyId, OrgId, SecretId},
    keys::{Environment, NotAKey, Scope, ScopeSet},
    throttle::Throttle,
};

/// What the gate knows of a key: parsed once when it enters the cache. Times in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct GateKey {
    pub id: KeyId,
    pub secret_id: SecretId,
    pub organization_id: OrgId,
    pub organization_name: String,
    pub name: String,
    pub environment: Environment,
    pub scopes: ScopeSet,
    pub allowed_ips: Vec<IpNet>,
    pub rate_limit: Option<u32>,
    /// The pace of its messages. The queue asks the database for it; here it is only told.
    pub throttle: Throttle,
    pub expires_ms: Option<i64>,
    /// End of this secret, when it was replaced with an overlap.
    pub secret_ends_ms: Option<i64>,
    pub disabled: bool,
    pub revoked: bool,
    /// `None`: all instances.
    pub allowed_instances: Option<Vec<InstanceId>>,
    /// Calls must carry the key's API secret, or be signed with it.
    pub api_secret: Option<Sealed>,
}

impl GateKey {
    /// Whether what a call asks for is there, and the key may use it.
    pub fn may_use(&self, instance: Instance) -> bool {
        match (instance, &self.allowed_instances) {
            (Instance::None, _) | (Instance::Known(_), None) => true,
            (Instance::Known(id), Some(allowed)) => allowed.contains(&id),
            (Instance::Every, allowed) => allowed.is_none(),
            (Instance::Unknown, _) => false,
        }
    }
}

/// A secret as it lies in the database, sealed: it is opened for the moment of a comparison only.
#[derive(Clone, PartialEq)]
pub struct Sealed(pub String);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// What the caller showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presented<'a> {
    Nothing,
    /// Not even the shape of a key.
    NotAKey(NotAKey),
    /// The shape of a key, but nobody's.
    Unknown,
    /// A key with an API secret that is missing or wrong.
    WrongSecret(&'a GateKey),
    Key(&'a GateKey),
}

/// The instance that the call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The call is about none.
    None,
    /// The organization has it.
    Known(InstanceId),
    /// Not there, or another organization's.
    Unknown,
    /// The call reaches what all instances of the organization do: no key that is restricted to some may make it.
    Every,
}

/// Room in the key's queue on the instance, for calls that send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    NotAsked,
    Room,
    Full { retry_after_s: u64 },
}

/// The facts of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// The caller's address, IPv4-mapped ones already canonical.
    pub ip: IpAddr,
    /// The right that the endpoint demands; `None`: any valid key.
    pub scope: Option<Scope>,
    pub instance: Instance,
    /// The key's sliding hour as it stands before this call.
    pub rate: Rate,
    pub queue: Queue,
}

/// Why a call was refused: the true reason, for the organization's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Denial {
    NoKey,
    Malformed,
    BadChecksum,
    UnknownKey,
    Revoked,
    Disabled,
    Expired,
    /// The key was regenerated and this old secret's time is over.
    SecretRetired,
    WrongSecret,
    IpNotAllowed,
    InsufficientScope {
        scope: Scope,
    },
    InstanceNotAllowed,
    RateLimited {
        retry_after_s: u64,
    },
    QueueFull {
        retry_after_s: u64,
    },
}

impl Denial {
    /// As stored in the request log and shown in "denials by rule".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Malformed => "malformed",
            Self::BadChecksum => "bad_checksum",
            Self::UnknownKey => "unknown_key",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::SecretRetired => "secret_retired",
            Self::WrongSecret => "wrong_secret",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::InstanceNotAllowed => "instance_not_allowed",
            Self::RateLimited { .. } => "rate_limited",
            Self::QueueFull { .. } => "queue_full",
        }
    }

    /// For the organization's people: what happened and what to do.
    pub fn sentence(code: &str) -> &'static str {
        match code {
            "no_key" => "No key was sent. Send it as “Authorization: Bearer …”.",
            "malformed" => "What was sent does not look like a key. Check that it was copied whole.",
            "bad_checksum" => "The key was mistyped or cut off: its checksum does not fit.",
            "unknown_key" => "No organization has this key.",
            "revoked" => "The key is revoked. Create a new one.",
            "disabled" => "The key is disabled. Enable it on the API Keys tab.",
            "expired" => "The key has expired. Edit its expiry, or create a new one.",
            "secret_retired" => "The key was regenerated and the old secret's time is over. Use the new one.",
            "wrong_secret" => "The API secret or the signature was missing, wrong, too old or used before.",
            "ip_not_allowed" => "The caller's address is not on the key's IP list.",
            "insufficient_scope" => "The key lacks the scope that this call needs.",
            "instance_not_allowed" => "The key may not use this instance, or it is not there.",
            "rate_limited" => "The key used up its calls of this hour.",
            "leaked_in_query" => "The key stood in the address of a call, where logs keep it. Regenerate it.",
            "queue_full" => "Too many of the key's messages are waiting on this instance.",
            _ => "The call was refused.",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The caller must now count the call in the key's window.
    Allow,
    Deny(Denial),
}

/// May this call pass? Pure: same inputs, same answer.
pub fn decide(presented: Presented<'_>, facts: &Facts) -> Decision {
    match check(presented, facts) {
        Ok(()) => Decision::Allow,
        Err(denial) => Decision::Deny(denial),
    }
}

fn check(presented: Presented<'_>, facts: &Facts) -> Result<(), Denial> {
    let (key, secret_ok) = match presented {
        Presented::Nothing => return Err(Denial::NoKey),
        Presented::NotAKey(NotAKey::Malformed) => return Err(Denial::Malformed),
        Presented::NotAKey(NotAKey::BadChecksum) => return Err(Denial::BadChecksum),
        Presented::Unknown => return Err(Denial::UnknownKey),
        Presented::WrongSecret(key) => (key, false),
        Presented::Key(key) => (key, true),
    };
    let over = |end: Option<i64>| end.is_some_and(|end| end <= facts.now_ms);
    let refuse = |when: bool, why: Denial| if when { Err(why) } else { Ok(()) };
    refuse(key.revoked, Denial::Revoked)?;
    refuse(key.disabled, Denial::Disabled)?;
    refuse(over(key.secret_ends_ms), Denial::SecretRetired)?;
    refuse(over(key.expires_ms), Denial::Expired)?;
    refuse(!secret_ok, Denial::WrongSecret)?;
    refuse(
        !key.allowed_ips.is_empty() && !key.allowed_ips.iter().any(|net| net.contains(&facts.ip)),
        Denial::IpNotAllowed,
    )?;
    if let Some(scope) = facts.scope {
        refuse(!key.scopes.satisfies(scope), Denial::InsufficientScope { scope })?;
    }
    refuse(!key.may_use(facts.instance), Denial::InstanceNotAllowed)?;
    if let Some(limit) = key.rate_limit
        && facts.rate.used >= limit
    {
        return Err(Denial::RateLimited { retry_after_s: facts.rate.retry_after_s() });
    }
    match facts.queue {
        Queue::Full { retry_after_s } => Err(Denial::QueueFull { retry_after_s }),
        Queue::NotAsked | Queue::Room => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW: i64 = 1_800_000_000_000;

    /// A key and call in which each check fails or not, in the gate's own order.
    fn case(fails: [bool; 9]) -> (GateKey, Facts, bool) {
        let [revoked, disabled, retired, expired, wrong_secret, ip, scope, instance, rate] = fails;
        let key = GateKey {
            id: KeyId(Uuid::nil()),
            secret_id: SecretId(Uuid::nil()),
            organization_id: OrgId(Uuid::nil()),
            organization_name: "Acme".into(),
            name: "Shop".into(),
            environment: Environment::Live,
            scopes: if scope { ScopeSet::default() } else { ScopeSet::from_iter([Scope::WebhooksManage]) },
            allowed_ips: vec![if ip { "203.0.113.0/24" } else { "10.0.0.0/8" }.parse().unwrap()],
            rate_limit: Some(10),
            throttle: Throttle::default(),
            expires_ms: Some(if expired { NOW } else { NOW + 1 }),
            secret_ends_ms: retired.then_some(NOW - 1),
            disabled,
            revoked,
            allowed_instances: Some(if instance { vec![] } else { vec![InstanceId(Uuid::nil())] }),
            api_secret: Some(Sealed(String::new())),
        };
        let facts = Facts {
            now_ms: NOW,
            ip: "10.1.2.3".parse().unwrap(),
            scope: Some(Scope::WebhooksRead),
            instance: Instance::Known(InstanceId(Uuid::nil())),
            rate: Rate { used: if rate { 10 } else { 9 }, frees_in_ms: 1_500 },
            queue: Queue::Room,
        };
        (key, facts, wrong_secret)
    }

    proptest! {
        /// Whatever else is wrong, the first check that fails is the answer.
        #[test]
        fn the_first_failing_check_decides(fails: [bool; 9]) {
            let (key, facts, wrong_secret) = case(fails);
            let presented = if wrong_secret { Presented::WrongSecret(&key) } else { Presented::Key(&key) };
            let reasons = [
                Denial::Revoked, Denial::Disabled, Denial::SecretRetired, Denial::Expired, Denial::WrongSecret,
                Denial::IpNotAllowed, Denial::InsufficientScope { scope: Scope::WebhooksRead },
                Denial::InstanceNotAllowed, Denial::RateLimited { retry_after_s: 2 },
            ];
            let expected = fails.iter().position(|f| *f).map_or(Decision::Allow, |i| Decision::Deny(reasons[i]));
            prop_assert_eq!(decide(presented, &facts), expected);
        }
    }

    #[test]
    fn what_is_not_a_key_never_gets_further() {
        let (_, facts, _) = case([false; 9]);
        for (presented, denial) in [
            (Presented::Nothing, Denial::NoKey),
            (Presented::NotAKey(NotAKey::Malformed), Denial::Malformed),
            (Presented::NotAKey(NotAKey::BadChecksum), Denial::BadChecksum),
            (Presented::Unknown, Denial::UnknownKey),
        ] {
            assert_eq!(decide(presented, &facts), Decision::Deny(denial));
        }
    }

    #[test]
    fn a_full_queue_is_the_last_reason() {
        let (key, mut facts, _) = case([false; 9]);
        facts.queue = Queue::Full { retry_after_s: 7 };
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Deny(Denial::QueueFull { retry_after_s: 7 }));
        facts.rate.used = 10;
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Deny(Denial::RateLimited { retry_after_s: 2 }));
    }

    #[test]
    fn no_ip_list_lets_every_address_in_and_unknown_instances_none() {
        let (mut key, mut facts, _) = case([false; 9]);
        key.allowed_ips.clear();
        facts.ip = "2001:db8::1".parse().unwrap();
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Allow);
        facts.instance = Instance::Every;
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Deny(Denial::InstanceNotAllowed));
        key.allowed_instances = None;
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Allow);
        facts.instance = Instance::Unknown;
        assert_eq!(decide(Presented::Key(&key), &facts), Decision::Deny(Denial::InstanceNotAllowed));
    }
}
