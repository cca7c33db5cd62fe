//! What travels between the page and its server functions.

use std::net::IpAddr;

use domain::{
    audit::AuditRow,
    error::FieldError,
    ids::KeyId,
    keys::{ApiKeyRow, Caller, Environment, InUse, KeyForm, KeyList, KeyStats},
    time::Time,
};
use serde::{Deserialize, Serialize};

/// One page of the list, and what the page around it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListPage {
    pub list: KeyList,
    /// The server's clock when it answered.
    pub now: Time,
    /// Viewers look and change nothing.
    pub may_manage: bool,
    pub public_url: String,
    /// What could not be done, when it was tried without script.
    pub problem: Option<String>,
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
    Closed,
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
    pub key: String,
    /// A new secret of a key that existed; otherwise the key is new.
    pub regenerated: bool,
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
