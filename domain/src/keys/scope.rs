//! What a key may do. The table of PRODUCT, section 4, as data: everything that lists scopes reads it.

use serde::{Deserialize, Serialize};

/// One scope: its text, and what it allows in words.
pub struct ScopeInfo {
    pub scope: Scope,
    pub text: &'static str,
    /// The resource's heading in the permissions grid.
    pub resource: &'static str,
    /// The label of the action's checkbox.
    pub action: &'static str,
    pub allows: &'static str,
}

macro_rules! scopes {
    ($($variant:ident $text:literal $resource:literal $action:literal $allows:literal,)*) => {
        /// One permission, `resource:action`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Scope { $($variant,)* }

        /// Every scope there is, in the order of the permissions grid.
        pub const SCOPES: &[ScopeInfo] = &[$(ScopeInfo {
            scope: Scope::$variant, text: $text, resource: $resource, action: $action, allows: $allows,
        },)*];
    };
}

scopes! {
    MessageSend "message:send" "Messages" "Send" "send messages",
    InstanceRead "instance:read" "Instances" "Read" "read instances",
    InstanceManage "instance:manage" "Instances" "Manage" "create, update and delete instances",
    UsageRead "usage:read" "Usage" "Read" "read usage statistics",
    WebhooksRead "webhooks:read" "Webhooks" "Read" "read webhook endpoints and deliveries",
    WebhooksManage "webhooks:manage" "Webhooks" "Manage" "manage webhooks",
    OrganizationRead "organization:read" "Organization" "Read" "read organization information",
    ConversationManage "conversation:manage" "Conversations" "Manage" "hand conversations from bot to human and back",
    BroadcastCreate "broadcast:create" "Broadcasts" "Create" "create broadcasts",
    BroadcastRead "broadcast:read" "Broadcasts" "Read" "read broadcasts",
    BroadcastSend "broadcast:send" "Broadcasts" "Send" "send broadcasts",
    BroadcastDelete "broadcast:delete" "Broadcasts" "Delete" "delete broadcasts",
    BroadcastAll "broadcast:all" "Broadcasts" "All" "do everything with broadcasts",
    ContactCreate "contact:create" "Contacts" "Create" "create contacts",
    ContactRead "contact:read" "Contacts" "Read own" "read contacts assigned to or created by the key",
    ContactReadAll "contact:read_all" "Contacts" "Read all" "read all contacts",
    ContactUpdate "contact:update" "Contacts" "Update" "update contacts",
    ContactDelete "contact:delete" "Contacts" "Delete" "delete contacts",
    ContactAll "contact:all" "Contacts" "All" "do everything with contacts",
    LeadCreate "lead:create" "Leads" "Create" "create leads",
    LeadRead "lead:read" "Leads" "Read own" "read leads assigned to or created by the key",
    LeadReadAll "lead:read_all" "Leads" "Read all" "read all leads",
    LeadUpdate "lead:update" "Leads" "Update" "update leads",
    LeadAssign "lead:assign" "Leads" "Assign" "assign leads",
    LeadDelete "lead:delete" "Leads" "Delete" "delete leads",
    LeadAll "lead:all" "Leads" "All" "do everything with leads",
    TemplateRead "template:read" "Templates" "Read" "read templates",
    TemplateCreate "template:create" "Templates" "Create" "create templates",
    TemplateUpdate "template:update" "Templates" "Update" "update templates",
    TemplateDelete "template:delete" "Templates" "Delete" "delete templates",
    TemplateAll "template:all" "Templates" "All" "do everything with templates",
    FlowWebhook "flow:webhook" "Chatbot flows" "Trigger" "trigger chatbot flows",
    OrderRead "order:read" "Orders" "Read" "read orders",
    OrderManage "order:manage" "Orders" "Manage" "manage orders",
    InvoiceRead "invoice:read" "Invoices" "Read" "read invoices",
    InvoiceManage "invoice:manage" "Invoices" "Manage" "manage invoices and payments",
    KeyVerify "key:verify" "Key verification" "Verify" "verify any key of the organization",
    SessionCreate "session:create" "Age sessions" "Create" "create age-verification sessions",
    SessionRead "session:read" "Age sessions" "Read" "read age-verification sessions",
}

impl Scope {
    pub fn info(self) -> &'static ScopeInfo {
        &SCOPES[self as usize]
    }

    pub fn as_str(self) -> &'static str {
        self.info().text
    }

    pub fn parse(text: &str) -> Option<Self> {
        SCOPES.iter().find(|s| s.text == text).map(|s| s.scope)
    }

    /// The name on badges: "Send Messages", "Read Instances".
    pub fn label(self) -> String {
        match self {
            Self::FlowWebhook => "Chatbot Flows".into(),
            Self::KeyVerify => "Key verification".into(),
            Self::ContactRead | Self::LeadRead => format!("Read {} (own)", self.info().resource),
            Self::ContactReadAll | Self::LeadReadAll => format!("Read {} (all)", self.info().resource),
            _ => format!("{} {}", self.info().action, self.info().resource),
        }
    }

    fn bit(self) -> u64 {
        1 << self as u8
    }

    /// All scopes that satisfy a demand for this one: itself, `x:all`, and `x:manage` for `x:read`;
    /// the organization-wide `read_all` satisfies the narrower `read`.
    fn satisfied_by(self) -> u64 {
        let text = self.as_str();
        let (resource, action) = text.split_once(':').unwrap_or((text, ""));
        SCOPES
            .iter()
            .filter(|other| {
                let (r, a) = other.text.split_once(':').unwrap_or((other.text, ""));
                r == resource && (a == action || a == "all" || (action == "read" && (a == "manage" || a == "read_all")))
            })
            .fold(0, |bits, other| bits | other.scope.bit())
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("there is no scope {text}")))
    }
}

/// A set of scopes; one machine word, so that the gate compares and does not search.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeSet(u64);

impl ScopeSet {
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Is a demand for `scope` met, directly or by `all`, `manage`, `read_all`?
    pub fn satisfies(self, scope: Scope) -> bool {
        self.0 & SATISFIED_BY[scope as usize] != 0
    }

    pub fn insert(&mut self, scope: Scope) {
        self.0 |= scope.bit();
    }

    pub fn remove(&mut self, scope: Scope) {
        self.0 &= !scope.bit();
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        SCOPES.iter().map(|s| s.scope).filter(move |s| self.contains(*s))
    }

    /// "can send messages, read instances, manage webhooks and 2 more"
    pub fn sentence(self) -> String {
        let mut parts: Vec<String> = self.iter().take(4).map(|s| s.info().allows.to_owned()).collect();
        match self.len() {
            0 => "can do nothing yet".into(),
            1 => format!("can {}", parts[0]),
            n if n > 4 => format!("can {} and {} more", parts.join(", "), n - 4),
            _ => {
                let last = parts.pop().unwrap_or_default();
                format!("can {} and {last}", parts.join(", "))
            }
        }
    }
}

static SATISFIED_BY: std::sync::LazyLock<Vec<u64>> =
    std::sync::LazyLock::new(|| SCOPES.iter().map(|s| s.scope.satisfied_by()).collect());

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let mut set = Self::default();
        scopes.into_iter().for_each(|s| set.insert(s));
        set
    }
}

impl std::fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Vec::<Scope>::deserialize(d)?.into_iter().collect())
    }
}

/// A named bundle of scopes.
pub struct ScopeGroup {
    /// As stored and as sent by the form.
    pub id: &'static str,
    pub name: &'static str,
    /// For whom it is.
    pub about: &'static str,
    scopes: Members,
}

enum Members {
    These(&'static [Scope]),
    EveryRead,
    All,
}

/// The group that is chosen when the dialog opens.
pub const DEFAULT_GROUP: &str = "standard_integration";

pub const GROUPS: &[ScopeGroup] = &[
    ScopeGroup {
        id: DEFAULT_GROUP,
        name: "Standard integration",
        about: "Shop plugins, n8n, Zapier",
        scopes: Members::These(&[
            Scope::MessageSend,
            Scope::InstanceRead,
            Scope::ConversationManage,
            Scope::WebhooksManage,
        ]),
    },
    ScopeGroup {
        id: "message_sender",
        name: "Message Sender",
        about: "Sends messages and broadcasts, nothing else",
        scopes: Members::These(&[Scope::BroadcastSend, Scope::MessageSend, Scope::TemplateRead]),
    },
    ScopeGroup {
        id: "broadcast_manager",
        name: "Broadcast Manager",
        about: "Campaign tools",
        scopes: Members::These(&[
            Scope::BroadcastCreate,
            Scope::BroadcastRead,
            Scope::BroadcastSend,
            Scope::TemplateRead,
            Scope::ContactReadAll,
        ]),
    },
    ScopeGroup {
        id: "contact_manager",
        name: "Contact Manager",
        about: "Address books and CRM sync",
        scopes: Members::These(&[Scope::ContactAll, Scope::LeadReadAll]),
    },
    ScopeGroup {
        id: "lead_manager",
        name: "Lead Manager",
        about: "Sales pipelines",
        scopes: Members::These(&[Scope::LeadAll, Scope::ContactReadAll]),
    },
    ScopeGroup { id: "read_only", name: "Read Only", about: "Dashboards and audits", scopes: Members::EveryRead },
    ScopeGroup {
        id: "full_access",
        name: "Full Access",
        about: "Everything; keep it on your own servers",
        scopes: Members::All,
    },
    ScopeGroup {
        id: "webhook_automation",
        name: "Webhook Automation",
        about: "Triggers chatbot flows",
        scopes: Members::These(&[Scope::FlowWebhook, Scope::ContactReadAll]),
    },
];

impl ScopeGroup {
    pub fn find(id: &str) -> Option<&'static Self> {
        GROUPS.iter().find(|g| g.id == id)
    }

    pub fn scopes(&self) -> ScopeSet {
        match self.scopes {
            Members::These(scopes) => scopes.iter().copied().collect(),
            Members::EveryRead => SCOPES
                .iter()
                .filter(|s| s.text.ends_with(":read") || s.text.ends_with(":read_all"))
                .map(|s| s.scope)
                .collect(),
            Members::All => SCOPES.iter().map(|s| s.scope).collect(),
        }
    }
}

/// "Standard integration", "Custom (from Standard integration)", "Custom".
pub fn group_label(group: Option<&str>, scopes: ScopeSet) -> String {
    match group.and_then(ScopeGroup::find) {
        Some(group) if group.scopes() == scopes => group.name.into(),
        Some(group) => format!("Custom (from {})", group.name),
        None => "Custom".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_the_word_and_has_no_doubles() {
        assert!(SCOPES.len() <= 64);
        for (i, info) in SCOPES.iter().enumerate() {
            assert_eq!(info.scope as usize, i);
            assert_eq!(Scope::parse(info.text), Some(info.scope));
        }
    }

    #[test]
    fn all_and_manage_satisfy() {
        let set = |scopes: &[Scope]| scopes.iter().copied().collect::<ScopeSet>();
        assert!(set(&[Scope::ContactAll]).satisfies(Scope::ContactDelete));
        assert!(set(&[Scope::WebhooksManage]).satisfies(Scope::WebhooksRead));
        assert!(!set(&[Scope::WebhooksRead]).satisfies(Scope::WebhooksManage));
        assert!(set(&[Scope::ContactReadAll]).satisfies(Scope::ContactRead));
        assert!(!set(&[Scope::ContactRead]).satisfies(Scope::ContactReadAll));
        assert!(!set(&[Scope::ContactAll]).satisfies(Scope::LeadRead));
        assert!(!ScopeSet::default().satisfies(Scope::MessageSend));
    }

    #[test]
    fn groups_say_what_they_are() {
        let standard = ScopeGroup::find(DEFAULT_GROUP).unwrap().scopes();
        assert_eq!(standard.len(), 4);
        assert_eq!(group_label(Some(DEFAULT_GROUP), standard), "Standard integration");
        let mut more = standard;
        more.insert(Scope::UsageRead);
        assert_eq!(group_label(Some(DEFAULT_GROUP), more), "Custom (from Standard integration)");
        assert_eq!(ScopeGroup::find("full_access").unwrap().scopes().len(), SCOPES.len());
        let reads = ScopeGroup::find("read_only").unwrap().scopes();
        assert!(reads.contains(Scope::LeadReadAll) && !reads.contains(Scope::InstanceManage));
    }
}
