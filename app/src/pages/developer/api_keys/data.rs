//! What travels between the page and its server functions.

use std::net::IpAddr;

use domain::{
    audit::AuditRow,
    error::FieldError,
    ids::{InstanceId, KeyId, PersonId},
    keys::{ApiKeyRow, Caller, Environment, HourBar, InUse, KeyForm, KeyStats, Status},
    time::Time,
};
use serde::{Deserialize, Serialize};

use crate::components::Moment;

/// One page of the list, and what the page around it needs.
///
/// The rows are in words already. The browser then carries neither the calendar nor the rules behind them, which are a
/// good part of its code otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListPage {
    pub rows: Vec<Row>,
    /// Keys that match the filter, on all pages.
    pub total: i64,
    /// The number of the first row, from 1.
    pub first_number: i64,
    /// Cursor for `PageAt::Before`, when there is an earlier page.
    pub previous: Option<String>,
    /// Cursor for `PageAt::After`, when there is a later page.
    pub next: Option<String>,
    /// Everyone who created one of the organization's keys, for the filter.
    pub creators: Vec<(PersonId, String)>,
    /// Keys that end soon: id, name, and when.
    pub expiring: Vec<(KeyId, String, String)>,
    /// The organization has no key at all, revoked ones included.
    pub none_yet: bool,
    /// Viewers look and change nothing.
    pub may_manage: bool,
    pub public_url: String,
    /// What could not be done, when it was tried without script.
    pub problem: Option<String>,
}

/// A key as its row shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub id: KeyId,
    pub name: String,
    pub description: String,
    /// Of the environment "Test".
    pub test: bool,
    /// "Customer Support", "Custom"
    pub group: String,
    /// `bnc_live_7f9a…a3f1`
    pub hint: String,
    /// Label and name of each scope.
    pub scopes: Vec<(String, String)>,
    /// Words, and more of them for the hover.
    pub limits: Vec<(String, Option<String>)>,
    pub status: Status,
    pub revoked: bool,
    pub disabled: bool,
    /// When, and from where.
    pub last_use: Option<(Moment, String)>,
    /// The last 24 hours, oldest first.
    pub hours: Vec<HourBar>,
    pub created: Moment,
    pub created_by: String,
}

/// The create or edit form as it opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormPage {
    pub form: KeyForm,
    /// What was wrong with it, when it was sent without script.
    pub errors: Vec<FieldError>,
    pub message: Option<String>,
    pub now: Time,
    /// The address from which the person looks at this page.
    pub own_ip: Option<IpAddr>,
    /// What the key can be restricted to.
    pub instances: Vec<(InstanceId, String)>,
}

/// A key and what still uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    pub row: ApiKeyRow,
    pub in_use: InUse,
}

/// What a dialog or sheet shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PanelPage {
    /// The form, and the name of the key that it duplicates.
    New(Box<FormPage>, Option<String>),
    Edit(Box<FormPage>, Box<Used>),
    Regenerate(Box<Used>, Time),
    Revoke(Vec<Used>, Time),
    Usage {
        row: Box<ApiKeyRow>,
        stats: KeyStats,
        old_callers: Vec<Caller>,
        now: Time,
        may_manage: bool,
    },
    History {
        row: Box<ApiKeyRow>,
        events: Vec<AuditRow>,
        now: Time,
    },
    /// The new key when it was made without script; `None` once it was shown.
    Created(Option<Revealed>, Box<ApiKeyRow>),
}

/// A key in full, for the only time.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Revealed {
    pub id: KeyId,
    pub name: String,
    pub environment: Environment,
    /// `None`: only its API secret is new.
    pub key: Option<String>,
    /// What calls must carry or sign with beside the key.
    pub api_secret: Option<String>,
    /// A new secret of a key that existed; otherwise the key is new.
    pub regenerated: bool,
    /// Calls before this say nothing about what is shown. `None`: whatever is done with the key's secret is news.
    pub calls_since: Option<Time>,
    pub public_url: String,
}

impl std::fmt::Debug for Revealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revealed").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What to do with one key or with the selected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Enable,
    Disable,
    Revoke,
    /// Goes to the dialog that asks whether to revoke.
    AskRevoke,
}

impl Change {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Revoke => "revoke",
            Self::AskRevoke => "ask_revoke",
        }
    }

    /// "Key disabled", "3 keys revoked".
    pub fn done(self, count: u64) -> String {
        let verb = match self {
            Self::Enable => "enabled",
            Self::Disable => "disabled",
            Self::Revoke | Self::AskRevoke => "revoked",
        };
        match count {
            0 => format!("Nothing to do: already {verb}"),
            1 => format!("Key {verb}"),
            n => format!("{n} keys {verb}"),
        }
    }
}
