//! Organizations and the people in them.

pub mod form;
#[cfg(feature = "postgres")]
pub mod invitations;
#[cfg(feature = "postgres")]
pub mod members;
#[cfg(feature = "postgres")]
pub mod organization;
#[cfg(feature = "postgres")]
pub mod passwords;
#[cfg(feature = "postgres")]
pub mod sessions;
#[cfg(feature = "postgres")]
pub mod sign_in;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{InvitationId, OrgId, PersonId},
    time::Time,
};

/// What a member may do in an organization; each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything, phone numbers masked.
    Viewer,
    /// Manages keys, webhooks, instances.
    Developer,
    /// Manages members and the organization too.
    Admin,
    /// Makes and removes owners.
    Owner,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Admin => "Admin",
            Self::Developer => "Developer",
            Self::Viewer => "Viewer",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Owner => "Everything, and makes or removes other owners",
            Self::Admin => "Manages keys, members and the organization",
            Self::Developer => "Manages keys and integrations",
            Self::Viewer => "Looks at everything, changes nothing",
        }
    }

    pub fn may_manage_keys(self) -> bool {
        self >= Self::Developer
    }

    pub fn may_manage_members(self) -> bool {
        self >= Self::Admin
    }

    /// May somebody with this role make others a `role`? Owners are made by owners only.
    pub fn may_give(self, role: Self) -> bool {
        self.may_manage_members() && (role < Self::Owner || self == Self::Owner)
    }
}

/// A signed-in person in one organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    pub person_id: PersonId,
    pub name: String,
    pub email: String,
    pub organization_id: OrgId,
    pub organization_name: String,
    pub role: Role,
    /// All organizations the person belongs to, this one included.
    pub organizations: Vec<(OrgId, String)>,
}

/// Who does something, and from where: goes into the audit log with every change.
#[derive(Debug, Clone)]
pub struct Actor {
    pub organization_id: OrgId,
    /// `None` on the command line and of an API key.
    pub person_id: Option<PersonId>,
    /// The person's e-mail address, "API key …", or "command line".
    pub name: String,
    pub ip: Option<IpAddr>,
    /// `None` on the command line, which may do everything, and of an API key, which may do what its scopes say.
    pub role: Option<Role>,
}

impl Actor {
    pub fn may_manage_keys(&self) -> bool {
        self.role.is_none_or(Role::may_manage_keys)
    }

    pub fn may_manage_members(&self) -> bool {
        self.role.is_none_or(Role::may_manage_members)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Organization {
    pub id: OrgId,
    pub name: String,
    pub created_at: Time,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub person_id: PersonId,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub joined_at: Time,
    pub last_seen_at: Option<Time>,
    pub keys_created: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
    pub invited_by: String,
    pub created_at: Time,
    pub expires_at: Time,
}

/// An invitation as the invited person sees it before accepting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvitationOffer {
    pub organization_name: String,
    pub email: String,
    pub role: Role,
    pub invited_by: String,
    /// The address already belongs to a person: the password is the one they have.
    pub has_account: bool,
}

/// One place where a person is signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignedIn {
    /// Not the session's secret id: a public handle of it.
    pub handle: String,
    pub ip: Option<IpAddr>,
    pub user_agent: String,
    pub created_at: Time,
    pub last_seen_at: Time,
    pub this_one: bool,
}
