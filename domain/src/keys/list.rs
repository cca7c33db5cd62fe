//! The list of keys: what can be asked, and what a row shows.

use serde::{Deserialize, Serialize};

use super::{ApiKey, Environment, Scope, Status};
use crate::{
    ids::{KeyId, PersonId},
    time::Time,
};

/// The states a list can be filtered by: each finds the keys whose badge says so. Without a filter everything but
/// revoked keys is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusFilter {
    Active,
    Disabled,
    Expired,
    Expiring,
    Rotating,
    Idle,
    RateLimited,
    ElevatedDenials,
    Revoked,
}

impl StatusFilter {
    pub const ALL: [Self; 9] = [
        Self::Active,
        Self::Disabled,
        Self::Expired,
        Self::Expiring,
        Self::Rotating,
        Self::Idle,
        Self::RateLimited,
        Self::ElevatedDenials,
        Self::Revoked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Expiring => "expiring",
            Self::Rotating => "rotating",
            Self::Idle => "idle",
            Self::RateLimited => "rate_limited",
            Self::ElevatedDenials => "elevated_denials",
            Self::Revoked => "revoked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// The words of the badge.
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Disabled => "Disabled",
            Self::Expired => "Expired",
            Self::Expiring => "Expiring",
            Self::Rotating => "Rotating",
            Self::Idle => "Idle",
            Self::RateLimited => "Rate-limited now",
            Self::ElevatedDenials => "Elevated denials",
            Self::Revoked => "Revoked",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySort {
    #[default]
    Created,
    Name,
    Status,
    LastUsed,
}

impl KeySort {
    pub const ALL: [Self; 4] = [Self::Created, Self::Name, Self::Status, Self::LastUsed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Name => "name",
            Self::Status => "status",
            Self::LastUsed => "last_used",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// The direction a first click sorts in: names from A, times from the newest.
    pub fn starts_descending(self) -> bool {
        matches!(self, Self::Created | Self::LastUsed)
    }
}

/// Which keys, in which order, how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyFilter {
    /// Part of a name, hint or description, or a whole key id.
    pub q: String,
    /// SHA-256 of a pasted key, in hexadecimal.
    pub hash: Option<String>,
    pub status: Option<StatusFilter>,
    pub environment: Option<Environment>,
    pub scope: Option<Scope>,
    pub creator: Option<PersonId>,
    pub no_expiry: bool,
    pub no_ip_list: bool,
    /// Not used for 30 days.
    pub idle: bool,
    pub sort: KeySort,
    pub descending: bool,
    /// 10, 25 or 50.
    pub per_page: u32,
    pub at: PageAt,
}

pub const PER_PAGE: [u32; 3] = [10, 25, 50];

impl Default for KeyFilter {
    fn default() -> Self {
        Self {
            q: String::new(),
            hash: None,
            status: None,
            environment: None,
            scope: None,
            creator: None,
            no_expiry: false,
            no_ip_list: false,
            idle: false,
            sort: KeySort::Created,
            descending: true,
            per_page: PER_PAGE[0],
            at: PageAt::First,
        }
    }
}

/// Where a page begins. The texts are opaque cursors from [`KeyList`]: the sort value, id and number of the row next to the
/// page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageAt {
    #[default]
    First,
    After(String),
    Before(String),
    Last,
}

/// One hour of a key's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourBar {
    pub allowed: i64,
    pub denied: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    pub key: ApiKey,
    pub status: Status,
    /// The last 24 hours, oldest first.
    pub hours: Vec<HourBar>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyList {
    pub rows: Vec<ApiKeyRow>,
    /// Keys that match the filter, on all pages.
    pub total: i64,
    /// The number of the first row, from 1. On pages reached by a cursor it is numbered on from the page before, and off by
    /// the keys that came or went before it meanwhile.
    pub first_number: i64,
    /// Cursor for `PageAt::Before`, when there is an earlier page.
    pub previous: Option<String>,
    /// Cursor for `PageAt::After`, when there is a later page.
    pub next: Option<String>,
    /// Everyone who created one of the organization's keys, for the filter.
    pub creators: Vec<(PersonId, String)>,
    /// Working keys that end within 14 days, the soonest first, at most ten: the page warns of them.
    pub expiring: Vec<(KeyId, String, Time)>,
    /// True when the organization has no key at all, revoked ones included.
    pub none_yet: bool,
}
