//! The request log: one row for each API call, allowed or denied; and its minute, hour and day rollups.

pub mod report;
#[cfg(feature = "postgres")]
mod rows;
#[cfg(feature = "postgres")]
pub mod store;
#[cfg(feature = "postgres")]
mod tally;

use std::{borrow::Cow, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{KeyId, OrgId, RequestId, SecretId},
    keys::Scope,
    time::Time,
};

#[cfg(feature = "postgres")]
pub use rows::Rows;
#[cfg(feature = "postgres")]
pub use tally::{Passed, Place, Tally};

/// Outcome of a call that was let through.
pub const ALLOWED: &str = "allowed";

/// One API call as it is logged.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRow<'a> {
    pub id: RequestId,
    pub at: Time,
    /// `None` when no known key was shown: then the call belongs to nobody and only the metrics count it.
    pub owner: Option<(OrgId, KeyId, SecretId)>,
    pub method: &'static str,
    /// The route, not the path: `/api/v1/messages/{id}`.
    pub endpoint: &'static str,
    pub status: u16,
    /// `allowed`, or the code of the denial.
    pub outcome: &'static str,
    /// The scope that the endpoint demands.
    pub scope: Option<Scope>,
    pub ip: IpAddr,
    /// At most 300 characters.
    pub user_agent: Cow<'a, str>,
    pub latency_us: u32,
}

/// A call as the first-call radar shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallSeen {
    pub request_id: RequestId,
    pub at: Time,
    pub allowed: bool,
    /// `allowed`, or the code of the denial.
    pub outcome: String,
    /// For a denial: what happened and what to do.
    pub reason: Option<String>,
    pub method: String,
    pub endpoint: String,
    pub status: i32,
    pub ip: Option<IpAddr>,
    pub user_agent: String,
}
