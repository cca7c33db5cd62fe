//! API keys: the credentials that organizations hand to their shops, workflows and programs.

pub mod form;
pub mod list;
pub mod scope;
#[cfg(feature = "postgres")]
pub mod signing;
pub mod status;
#[cfg(feature = "postgres")]
pub mod store;
pub mod token;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use form::{KeyForm, NewApiKey};
pub use list::{ApiKeyRow, HourBar, KeyFilter, KeyList, KeySort, PageAt, StatusFilter};
pub use scope::{DEFAULT_GROUP, GROUPS, SCOPES, Scope, ScopeGroup, ScopeSet};
pub use status::{RecentTraffic, Status, StatusKind};
pub use token::{FreshKey, KeyHash, NotAKey};

use crate::{
    ids::{InstanceId, KeyId, OrgId, PersonId, SecretId},
    throttle::Throttle,
    time::Time,
};

/// Live keys reach WhatsApp, test keys never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    Live,
    Test,
}

impl Environment {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Test => "Test",
        }
    }
}

/// A key as its organization sees it; never its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: KeyId,
    pub organization_id: OrgId,
    pub name: String,
    pub description: String,
    pub environment: Environment,
    /// `bnc_live_7f9a…a3f1`
    pub hint: String,
    /// The group the scopes were chosen from, if any; they may differ from it by now.
    pub scope_group: Option<String>,
    pub scopes: ScopeSet,
    pub throttle: Throttle,
    /// Empty: any address.
    pub allowed_ips: Vec<IpNet>,
    /// `None`: all, also those added later.
    #[serde(default)]
    pub allowed_instances: Option<Vec<InstanceId>>,
    /// Calls in a sliding hour; `None`: no limit.
    pub rate_limit: Option<u32>,
    pub expires_at: Option<Time>,
    pub disabled_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub revoked_by: Option<String>,
    pub created_at: Time,
    /// `None` when it was made on the command line.
    pub created_by: Option<PersonId>,
    pub created_by_name: String,
    /// Grows with each change; an edit that started from an older version is refused.
    pub version: i32,
    pub last_use: Option<LastUse>,
    /// The previous secret while it still works.
    pub old_secret: Option<OldSecret>,
    /// The hint of the API secret that calls must carry or sign with; `None`: none was issued.
    #[serde(default)]
    pub api_secret_hint: Option<String>,
}

/// The last allowed call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastUse {
    pub at: Time,
    pub ip: Option<std::net::IpAddr>,
    pub user_agent: String,
}

impl LastUse {
    /// "192.0.2.7 · curl/8.14.1"
    pub fn origin(&self) -> String {
        let ip = self.ip.map_or_else(|| "unknown address".to_owned(), |ip| ip.to_string());
        let agent = if self.user_agent.is_empty() { "no user agent" } else { &self.user_agent };
        format!("{ip} · {agent}")
    }
}

/// A secret that was replaced and works until `until`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OldSecret {
    pub id: SecretId,
    pub hint: String,
    pub until: Time,
}

/// How long the replaced secret goes on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    None,
    Hour,
    Day,
    Week,
}

impl Overlap {
    pub const ALL: [Self; 4] = [Self::None, Self::Hour, Self::Day, Self::Week];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == text)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::None => "Immediately",
            Self::Hour => "In 1 hour",
            Self::Day => "In 24 hours",
            Self::Week => "In 7 days",
        }
    }

    pub fn seconds(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }
}

/// Who used a key or one of its secrets: callers are told apart by address and user agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    pub ip: Option<std::net::IpAddr>,
    pub user_agent: String,
    pub calls: i64,
    pub last_at: Time,
}

/// What would stop working if the key were revoked, or a scope, an address or an instance removed. Over the last seven
/// days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InUse {
    pub callers: Vec<Caller>,
    /// Calls that needed a scope, by scope.
    pub scopes: Vec<(Scope, i64)>,
    /// Messages that were accepted, by instance.
    pub instances: Vec<(InstanceId, i64)>,
    pub queued_messages: i64,
}

/// The figures of one key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyStats {
    pub messages: i64,
    pub sent: i64,
    pub delivered: i64,
    pub read: i64,
    pub failed: i64,
    pub last_message_at: Option<Time>,
    /// API calls in the last 30 days.
    pub requests: i64,
    /// Calls answered with 4xx or 5xx in the last 30 days.
    pub errors: i64,
    pub denied: i64,
    pub top_endpoints: Vec<(String, i64)>,
}
