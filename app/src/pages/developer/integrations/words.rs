//! Sentences and figures of this page. Pure.

use domain::{
    instances::Status,
    keys::Environment,
    webhooks::{DeliveryStatus, KINDS},
};

use crate::components::Tone;

pub fn status_tone(status: Status) -> Tone {
    match status {
        Status::Connected => Tone::Ok,
        Status::Connecting => Tone::Info,
        Status::ScanQr => Tone::Warn,
        Status::Failed => Tone::Bad,
        Status::Disconnected => Tone::Neutral,
    }
}

pub fn delivery_tone(status: DeliveryStatus) -> Tone {
    match status {
        DeliveryStatus::Succeeded => Tone::Ok,
        DeliveryStatus::Failed => Tone::Bad,
        DeliveryStatus::Pending | DeliveryStatus::Sending => Tone::Info,
        DeliveryStatus::Cancelled => Tone::Neutral,
    }
}

pub fn delivery_label(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Succeeded => "Delivered",
        DeliveryStatus::Failed => "Given up",
        DeliveryStatus::Pending => "Waiting",
        DeliveryStatus::Sending => "Being sent",
        DeliveryStatus::Cancelled => "Cancelled",
    }
}

/// "Live and test", "Live", "Test"
pub fn environment_label(environment: Option<Environment>) -> &'static str {
    environment.map_or("Live and test", Environment::label)
}

/// Families of events, each with its types, in the order of [`KINDS`].
pub fn families() -> Vec<(&'static str, Vec<&'static domain::webhooks::Kind>)> {
    let mut families: Vec<(&'static str, Vec<_>)> = vec![];
    for kind in KINDS {
        match families.iter_mut().find(|(family, _)| *family == kind.family()) {
            Some((_, kinds)) => kinds.push(kind),
            None => families.push((kind.family(), vec![kind])),
        }
    }
    families
}

/// "Messages", for `message`.
pub fn family_label(family: &str) -> &str {
    match family {
        "message" => "Messages",
        "instance" => "Instances",
        "template" => "Templates",
        "api_key" => "API keys",
        "webhook" => "Webhooks",
        "test" => "Tests",
        other => other,
    }
}

/// Without the scheme, as lists show a URL.
pub fn short_url(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_one_family() {
        let all: usize = families().iter().map(|(_, kinds)| kinds.len()).sum();
        assert_eq!(all, KINDS.len());
        assert!(families().iter().all(|(family, _)| family_label(family) != *family), "a family without a name");
    }
}
