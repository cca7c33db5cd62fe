//! The page's state as its address: which part of the lists shows, and what is open above them.
//!
//! Pure, and the same on both sides: the page and the server functions read and write addresses only here.

use domain::ids::{DeliveryId, EndpointId, InstanceId};
use serde::{Deserialize, Serialize};

/// The page's address without its query.
pub const PATH: &str = "/dashboard/developer/integrations";

/// What is open above the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Panel {
    #[default]
    Closed,
    NewInstance,
    /// An instance with its queue.
    Instance(InstanceId),
    EditInstance(InstanceId),
    /// Connecting: the QR code, or what to paste at Meta.
    ConnectInstance(InstanceId),
    DeleteInstance(InstanceId),
    NewEndpoint,
    /// An endpoint with its health and latest deliveries.
    Endpoint(EndpointId),
    EditEndpoint(EndpointId),
    /// The card with the signing secret.
    EndpointCreated(EndpointId),
    RotateEndpoint(EndpointId),
    DeleteEndpoint(EndpointId),
    /// One delivery with its attempts.
    Delivery(DeliveryId),
}

impl Panel {
    pub fn is_open(&self) -> bool {
        *self != Self::Closed
    }

    /// Its name in the address, and the id of what it is about.
    fn parts(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Closed => ("", None),
            Self::NewInstance => ("new-instance", None),
            Self::Instance(id) => ("instance", Some(id.to_string())),
            Self::EditInstance(id) => ("edit-instance", Some(id.to_string())),
            Self::ConnectInstance(id) => ("connect-instance", Some(id.to_string())),
            Self::DeleteInstance(id) => ("delete-instance", Some(id.to_string())),
            Self::NewEndpoint => ("new-endpoint", None),
            Self::Endpoint(id) => ("endpoint", Some(id.to_string())),
            Self::EditEndpoint(id) => ("edit-endpoint", Some(id.to_string())),
            Self::EndpointCreated(id) => ("endpoint-created", Some(id.to_string())),
            Self::RotateEndpoint(id) => ("rotate-endpoint", Some(id.to_string())),
            Self::DeleteEndpoint(id) => ("delete-endpoint", Some(id.to_string())),
            Self::Delivery(id) => ("delivery", Some(id.to_string())),
        }
    }

    fn parse(name: &str, id: &str) -> Self {
        let instance = |make: fn(InstanceId) -> Self| id.parse().map_or(Self::Closed, make);
        let endpoint = |make: fn(EndpointId) -> Self| id.parse().map_or(Self::Closed, make);
        match name {
            "new-instance" => Self::NewInstance,
            "instance" => instance(Self::Instance),
            "edit-instance" => instance(Self::EditInstance),
            "connect-instance" => instance(Self::ConnectInstance),
            "delete-instance" => instance(Self::DeleteInstance),
            "new-endpoint" => Self::NewEndpoint,
            "endpoint" => endpoint(Self::Endpoint),
            "edit-endpoint" => endpoint(Self::EditEndpoint),
            "endpoint-created" => endpoint(Self::EndpointCreated),
            "rotate-endpoint" => endpoint(Self::RotateEndpoint),
            "delete-endpoint" => endpoint(Self::DeleteEndpoint),
            "delivery" => id.parse().map_or(Self::Closed, Self::Delivery),
            _ => Self::Closed,
        }
    }
}

/// Which part of the two lists shows: what is older than these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAt {
    pub instances: Option<InstanceId>,
    pub endpoints: Option<EndpointId>,
}

/// Everything that the page's query says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrationsQuery {
    pub at: ListAt,
    pub panel: Panel,
}

impl IntegrationsQuery {
    /// Reads a raw query, with or without its `?`. What it does not know or cannot read it leaves out.
    pub fn parse(query: &str) -> Self {
        let mut at = ListAt::default();
        let (mut panel, mut id) = ("", "");
        for pair in query.trim_start_matches('?').split('&') {
            // Ids and names of panels need no escapes: with one, it is neither.
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("instances_after", value) => at.instances = value.parse().ok(),
                ("endpoints_after", value) => at.endpoints = value.parse().ok(),
                ("panel", value) => panel = value,
                ("id", value) => id = value,
                _ => {}
            }
        }
        Self { at, panel: Panel::parse(panel, id) }
    }

    /// The query without `?`; one state has one address.
    pub fn to_query(&self) -> String {
        let mut pairs = vec![];
        if let Some(id) = self.at.instances {
            pairs.push(format!("instances_after={id}"));
        }
        if let Some(id) = self.at.endpoints {
            pairs.push(format!("endpoints_after={id}"));
        }
        let (name, id) = self.panel.parts();
        if !name.is_empty() {
            pairs.push(format!("panel={name}"));
        }
        if let Some(id) = id {
            pairs.push(format!("id={id}"));
        }
        pairs.join("&")
    }

    /// The page's address in this state.
    pub fn href(&self) -> String {
        match self.to_query() {
            query if query.is_empty() => PATH.to_owned(),
            query => format!("{PATH}?{query}"),
        }
    }

    /// The same lists with something open above them.
    pub fn with(&self, panel: Panel) -> Self {
        Self { at: self.at, panel }
    }

    /// The same lists with nothing open.
    pub fn closed(&self) -> Self {
        self.with(Panel::Closed)
    }

    /// Another part of the lists, with nothing open.
    pub fn at(&self, at: ListAt) -> Self {
        Self { at, panel: Panel::Closed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01h455vb4pex5vsknk084sn02q";

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str) -> T {
        format!("{prefix}_{ID}").parse().unwrap()
    }

    #[test]
    fn every_state_survives_its_address() {
        let panels = [
            Panel::Closed,
            Panel::NewInstance,
            Panel::Instance(id("ins")),
            Panel::EditInstance(id("ins")),
            Panel::ConnectInstance(id("ins")),
            Panel::DeleteInstance(id("ins")),
            Panel::NewEndpoint,
            Panel::Endpoint(id("whk")),
            Panel::EditEndpoint(id("whk")),
            Panel::EndpointCreated(id("whk")),
            Panel::RotateEndpoint(id("whk")),
            Panel::DeleteEndpoint(id("whk")),
            Panel::Delivery(id("dlv")),
        ];
        let at = ListAt { instances: Some(id("ins")), endpoints: Some(id("whk")) };
        for panel in panels {
            for at in [ListAt::default(), at] {
                let state = IntegrationsQuery { at, panel: panel.clone() };
                assert_eq!(IntegrationsQuery::parse(&state.to_query()), state, "{}", state.to_query());
            }
        }
        assert_eq!(IntegrationsQuery::default().href(), PATH);
        let sheet = IntegrationsQuery::default().with(Panel::Instance(id("ins")));
        assert_eq!(sheet.href(), format!("{PATH}?panel=instance&id=ins_{ID}"));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for query in [
            "?panel=instance",
            "panel=instance&id=whk_01h455vb4pex5vsknk084sn02q",
            "panel=endpoint&id=%2e%2e",
            "panel=nothing&id=ins_01h455vb4pex5vsknk084sn02q",
            "instances_after=x&endpoints_after=&&=",
            "//evil.example",
        ] {
            assert_eq!(IntegrationsQuery::parse(query), IntegrationsQuery::default(), "{query}");
        }
    }
}
