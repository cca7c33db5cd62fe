//! What makes an endpoint: its URL, events, headers and limits. The API and the console's form share the rules.
//!
//! Whether the URL may be reached is asked of the HTTP client, which knows the operator's settings.

use serde::{Deserialize, Serialize};

use super::{Endpoint, KINDS};
use crate::{error::FieldError, keys::Environment, secret::SecretString, text};

pub const DESCRIPTION_MAX: usize = 500;
pub const HEADERS_MAX: usize = 10;
pub const HEADER_VALUE_MAX: usize = 1_000;
pub const CONCURRENCY_MAX: u32 = 100;
pub const CONCURRENCY_USUAL: u32 = 10;
pub const RATE_MAX: u32 = 10_000;

/// Names that the client or the signature needs for itself.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
const RESERVED_PREFIXES: &[&str] = &["webhook-", "proxy-", "sec-"];

/// What somebody wants an endpoint to be.
#[derive(Clone)]
pub struct EndpointDraft {
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    /// `None`: events of both environments.
    pub environment: Option<Environment>,
    /// Names and values; a value of `None` stays as it is. No list: all stay as they are.
    pub headers: Option<Vec<(String, Option<String>)>>,
    pub concurrency: i64,
    pub rate_limit: Option<i64>,
}

/// An endpoint that may be made.
#[derive(Clone)]
pub struct NewEndpoint {
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    pub environment: Option<Environment>,
    pub headers: Option<Vec<(String, Option<SecretString>)>>,
    pub concurrency: u32,
    /// Requests a second; `None`: no limit.
    pub rate_limit: Option<u32>,
}

impl Default for EndpointDraft {
    fn default() -> Self {
        Self {
            url: String::new(),
            description: String::new(),
            events: vec![],
            environment: None,
            headers: None,
            concurrency: CONCURRENCY_USUAL.into(),
            rate_limit: None,
        }
    }
}

impl EndpointDraft {
    /// The draft that changes nothing about an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            events: endpoint.events.clone(),
            environment: endpoint.environment,
            headers: None,
            concurrency: endpoint.concurrency.into(),
            rate_limit: endpoint.rate_limit.map(i64::from),
        }
    }

    /// The endpoint, or everything that is wrong with it.
    ///
    /// `current` is the one being edited: only headers that it has may stay as they are, and only while the address
    /// leads to the same server. They were given for that one, and whoever may edit an endpoint must not be able to
    /// have their values sent somewhere else.
    pub fn parse(self, current: Option<&Endpoint>) -> Result<NewEndpoint, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut complain = |field: &str, message: String| errors.push(FieldError::new(field, message));
        if self.url.is_empty() {
            complain("url", "This is required.".into());
        }
        let description = self.description.trim().to_owned();
        if let Some(message) = text::complaint(&description, DESCRIPTION_MAX) {
            complain("description", message);
        }
        let mut events: Vec<String> = Vec::new();
        if self.events.is_empty() {
            complain("events", "Choose at least one event, or * for all.".into());
        }
        for (index, event) in self.events.into_iter().enumerate() {
            if !known(&event) {
                let shown: String = event.chars().take(100).collect();
                complain(&format!("events[{index}]"), format!("There is no event “{shown}”."));
            } else if !events.contains(&event) {
                events.push(event);
            }
        }
        let moved = current.is_some_and(|current| !same_server(&current.url, &self.url));
        let headers = self.headers.or_else(|| {
            // All stay as they are: with another server in the address, each has to be named.
            let kept = current.filter(|current| moved && !current.header_names.is_empty())?;
            Some(kept.header_names.iter().map(|name| (name.clone(), None)).collect())
        });
        let headers = headers.map(|headers| {
            if headers.len() > HEADERS_MAX {
                complain("headers", format!("At most {HEADERS_MAX}; these are {}.", headers.len()));
            }
            let mut seen: Vec<String> = Vec::new();
            let mut good = Vec::new();
            for (name, value) in headers.into_iter().take(HEADERS_MAX) {
                let shown: String = name.chars().take(100).collect();
                let field = format!("headers.{shown}");
                let lower = name.to_ascii_lowercase();
                if let Err(message) = header_name(&lower) {
                    complain(&field, message);
                } else if seen.contains(&lower) {
                    complain(&field, "This header is there twice.".into());
                } else if let Some(Err(message)) = value.as_deref().map(header_value) {
                    complain(&field, message);
                } else if value.is_none() {
                    let kept = current.is_some_and(|c| c.header_names.iter().any(|n| n.eq_ignore_ascii_case(&name)));
                    if !kept {
                        complain(&field, "This needs a value.".into());
                    } else if moved {
                        complain(&field, "The address has changed: give the value again.".into());
                    }
                }
                seen.push(lower);
                good.push((name, value.map(SecretString::from)));
            }
            good
        });
        let concurrency = u32::try_from(self.concurrency).ok().filter(|n| (1..=CONCURRENCY_MAX).contains(n));
        if concurrency.is_none() {
            complain("concurrency", format!("A whole number from 1 to {CONCURRENCY_MAX}."));
        }
        let rate_limit = self.rate_limit.map(|n| u32::try_from(n).ok().filter(|n| (1..=RATE_MAX).contains(n)));
        if rate_limit == Some(None) {
            complain("rateLimit", format!("A whole number of requests a second from 1 to {RATE_MAX}, or none."));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(NewEndpoint {
            url: self.url,
            description,
            events,
            environment: self.environment,
            headers,
            concurrency: concurrency.unwrap_or(CONCURRENCY_USUAL),
            rate_limit: rate_limit.flatten(),
        })
    }
}

/// Do both addresses lead to the same scheme, host and port? In doubt they do not.
fn same_server(one: &str, other: &str) -> bool {
    one == other || origin(one).is_some_and(|server| Some(server) == origin(other))
}

/// Scheme, host and port of an address that the HTTP client takes, as they are written but for capitals and the usual
/// port. None when it is not plain where the host ends.
fn origin(url: &str) -> Option<String> {
    let url = url.to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://")?;
    let usual_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = rest.split(['/', '\\', '?', '#']).next()?;
    let host = host.strip_suffix(usual_port).unwrap_or(host);
    (!host.is_empty()).then(|| format!("{scheme}://{host}"))
}

/// Is it a type of event, or a wildcard that covers one?
fn known(event: &str) -> bool {
    event == "*"
        || KINDS
            .iter()
            .any(|kind| kind.name == event || event.strip_suffix(".*").is_some_and(|family| family == kind.family()))
}

fn header_name(lower: &str) -> Result<(), String> {
    // RFC 9110, section 5.1: a token.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if lower.is_empty() || lower.len() > 100 || !lower.chars().all(token) {
        return Err("This is no name of a header.".into());
    }
    if RESERVED.contains(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err("This header cannot be chosen.".into());
    }
    Ok(())
}

fn header_value(value: &str) -> Result<(), String> {
    if value.is_empty() || value.len() > HEADER_VALUE_MAX {
        return Err(format!("A value of 1 to {HEADER_VALUE_MAX} characters."));
    }
    if value.trim() != value || !value.chars().all(|c| matches!(c, ' '..='~')) {
        return Err("Only ASCII characters, without spaces at the ends.".into());
    }
    Ok(())
}

/// The console's form: every field as it was typed. Field names are those of the HTML form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointForm {
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    /// `live`, `test`, or empty for both
    pub environment: String,
    /// One `Name: value` a line; a name without value keeps the stored one.
    pub headers: String,
    pub concurrency: String,
    /// Requests a second; empty: no limit.
    pub rate_limit: String,
    /// The version the edit started from.
    pub version: String,
}

impl Default for EndpointForm {
    fn default() -> Self {
        Self {
            url: String::new(),
            description: String::new(),
            events: vec!["*".into()],
            environment: String::new(),
            headers: String::new(),
            concurrency: CONCURRENCY_USUAL.to_string(),
            rate_limit: String::new(),
            version: String::new(),
        }
    }
}

impl EndpointForm {
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            events: endpoint.events.clone(),
            environment: endpoint.environment.map(|e| e.as_str().to_owned()).unwrap_or_default(),
            headers: endpoint.header_names.iter().map(|name| format!("{name}:\n")).collect(),
            concurrency: endpoint.concurrency.to_string(),
            rate_limit: endpoint.rate_limit.map(|n| n.to_string()).unwrap_or_default(),
            version: endpoint.version.to_string(),
        }
    }

    /// The endpoint this form describes, or everything that is wrong with it.
    pub fn parse(&self, current: Option<&Endpoint>) -> Result<NewEndpoint, Vec<FieldError>> {
        let mut errors = Vec::new();
        let environment = match self.environment.as_str() {
            "" => None,
            text => Environment::parse(text).or_else(|| {
                errors.push(FieldError::new("environment", "Choose live, test or both."));
                None
            }),
        };
        let mut headers = Vec::new();
        for line in self.headers.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some((name, value)) => {
                    let value = Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
                    headers.push((name.trim().to_owned(), value));
                }
                None => errors.push(FieldError::new("headers", "Write one header a line, such as X-Token: abc.")),
            }
        }
        // What is no number at all is out of bounds for the rules.
        let number = |text: &str| text.trim().parse().unwrap_or(-1);
        let draft = EndpointDraft {
            url: self.url.trim().to_owned(),
            description: self.description.clone(),
            events: self.events.clone(),
            environment,
            headers: Some(headers),
            concurrency: number(&self.concurrency),
            rate_limit: (!self.rate_limit.trim().is_empty()).then(|| number(&self.rate_limit)),
        };
        match draft.parse(current) {
            Ok(new) if errors.is_empty() => Ok(new),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more.into_iter().map(|error| FieldError {
                    // One field of the form holds all headers, and one all events.
                    field: match error.field.split(['.', '[']).next() {
                        Some("rateLimit") => "rate_limit".into(),
                        Some(field) => field.into(),
                        None => error.field.clone(),
                    },
                    message: match error.field.strip_prefix("headers.") {
                        Some(name) => format!("{name}: {}", error.message),
                        None => error.message,
                    },
                }));
                Err(errors)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::EndpointId, secret::ExposeSecret, time::Time};

    fn draft() -> EndpointDraft {
        EndpointDraft { url: "https://a.example".into(), events: vec!["*".into()], ..EndpointDraft::default() }
    }

    fn wrong(change: impl FnOnce(&mut EndpointDraft)) -> Vec<String> {
        let mut draft = draft();
        change(&mut draft);
        match draft.parse(None) {
            Ok(_) => vec![],
            Err(errors) => errors.into_iter().map(|e| format!("{}: {}", e.field, e.message)).collect(),
        }
    }

    #[test]
    fn events_and_wildcards() {
        let events = |list: &[&str]| wrong(|d| d.events = list.iter().map(|e| (*e).to_owned()).collect());
        for kind in KINDS {
            assert!(events(&[kind.name, &format!("{}.*", kind.family())]).is_empty(), "{}", kind.name);
        }
        assert_eq!(events(&[]), ["events: Choose at least one event, or * for all."]);
        for unknown in ["", "message", "message.", ".*", "*.*", "message.*.*", "mess*", "nothing.sent", "Message.sent"]
        {
            assert_eq!(events(&["*", unknown]), [format!("events[1]: There is no event “{unknown}”.")]);
        }
        let mut twice = draft();
        twice.events = vec!["message.*".into(), "message.*".into()];
        assert_eq!(twice.parse(None).ok().unwrap().events, ["message.*"]);
    }

    #[test]
    fn subscriptions_cover_what_they_say() {
        use super::super::wants;
        assert!(
            wants("*", "message.sent") && wants("message.*", "message.sent") && wants("message.sent", "message.sent")
        );
        for other in ["instance.*", "message", "message.read", "mess.*", "message.sent.*", ""] {
            assert!(!wants(other, "message.sent"), "{other}");
        }
    }

    #[test]
    fn headers_of_ones_own() {
        let headers = |name: &str, value: Option<&str>| {
            wrong(|d| d.headers = Some(vec![(name.to_owned(), value.map(str::to_owned))]))
        };
        for fine in ["Authorization", "X-Token", "x_y"] {
            assert!(headers(fine, Some("Bearer abc")).is_empty(), "{fine}");
        }
        for reserved in [
            "Host",
            "Content-Length",
            "WEBHOOK-ID",
            "webhook-anything",
            "Connection",
            "Transfer-Encoding",
            "Proxy-Authorization",
            "User-Agent",
            "Content-Type",
            "Expect",
        ] {
            assert_eq!(headers(reserved, Some("x")), [format!("headers.{reserved}: This header cannot be chosen.")]);
        }
        for bad in ["", "a b", "a:b", "ä", "a\r\nb"] {
            assert_eq!(headers(bad, Some("x")), [format!("headers.{bad}: This is no name of a header.")]);
        }
        for bad in ["a\r\nX-Evil: 1", "a\0", " a", "ä"] {
            assert_eq!(headers("X", Some(bad)).len(), 1, "{bad:?}");
        }
        assert_eq!(headers("X", None), ["headers.X: This needs a value."]);
        assert_eq!(
            wrong(|d| d.headers = Some(vec![("X".into(), Some("1".into())), ("x".into(), Some("2".into()))])),
            ["headers.x: This header is there twice."]
        );
        assert_eq!(
            wrong(|d| d.headers = Some((0..11).map(|n| (format!("X-{n}"), Some("1".into()))).collect())),
            ["headers: At most 10; these are 11."]
        );
    }

    /// An endpoint at this address with the headers X-Token and X-Shop.
    fn endpoint(url: &str) -> Endpoint {
        Endpoint {
            id: EndpointId(uuid::Uuid::nil()),
            url: url.into(),
            description: String::new(),
            events: vec!["*".into()],
            environment: None,
            header_names: vec!["X-Token".into(), "X-Shop".into()],
            concurrency: CONCURRENCY_USUAL,
            rate_limit: None,
            created_at: Time::UNIX_EPOCH,
            created_by: String::new(),
            created_by_key: None,
            version: 1,
            disabled: None,
            old_secret_ends_at: None,
            failing_since: None,
            last_success_at: None,
            last_attempt_at: None,
            last_error: String::new(),
        }
    }

    #[test]
    fn values_of_headers_stay_with_the_server_they_were_given_for() {
        let current = endpoint("https://shop.example/hook");
        let moved = |url: &str, headers: Option<Vec<(&str, Option<&str>)>>| {
            let owned = |(name, value): (&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
            let headers = headers.map(|headers| headers.into_iter().map(owned).collect());
            let draft = EndpointDraft { url: url.into(), headers, ..EndpointDraft::of(&current) };
            let errors = draft.parse(Some(&current)).err().unwrap_or_default();
            errors.into_iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>()
        };
        for same in [
            "https://shop.example/hook",
            "https://shop.example/another?x=1",
            "https://shop.example",
            "HTTPS://Shop.Example:443/hook",
        ] {
            assert_eq!(moved(same, None), [""; 0], "{same}");
            assert_eq!(moved(same, Some(vec![("x-token", None)])), [""; 0], "{same}");
        }
        let again = "The address has changed: give the value again.";
        for other in [
            "https://evil.example/hook",
            "http://shop.example/hook",
            "https://shop.example:8443/hook",
            "https://shop.example.evil.example/hook",
            "https://shop.example@evil.example/hook",
            "https://evil.example\\shop.example",
            "https://evil.example#://shop.example/hook",
            "https:///shop.example/hook",
            "https:shop.example/hook",
            "shop.example/hook",
        ] {
            let both = [format!("headers.X-Token: {again}"), format!("headers.X-Shop: {again}")];
            assert_eq!(moved(other, None), both, "{other}");
            assert_eq!(moved(other, Some(vec![("x-token", None), ("X-Shop", Some("graz"))])).len(), 1, "{other}");
            // Given again, or given up.
            assert_eq!(moved(other, Some(vec![("X-Token", Some("new"))])), [""; 0], "{other}");
            assert_eq!(moved(other, Some(vec![])), [""; 0], "{other}");
        }
        assert_eq!(moved("https://evil.example", Some(vec![("X-New", None)])), ["headers.X-New: This needs a value."]);
        // What has no plain host is never the same server, not even as itself with another path.
        let odd = endpoint("https:///a");
        let draft = EndpointDraft { url: "https:///b".into(), ..EndpointDraft::of(&odd) };
        assert_eq!(draft.parse(Some(&odd)).err().unwrap().len(), 2);

        // The console's form says it beside the field.
        let form = EndpointForm { url: "https://evil.example/hook".into(), ..EndpointForm::of(&current) };
        let errors = form.parse(Some(&current)).err().unwrap();
        assert_eq!(errors[0], FieldError::new("headers", format!("X-Token: {again}")));
        assert!(EndpointForm::of(&current).parse(Some(&current)).is_ok());
    }

    #[test]
    fn the_form_says_the_same() {
        let mut form = EndpointForm {
            url: " https://a.example ".into(),
            headers: "X-Token: a: b\n\nX-Other: c".into(),
            rate_limit: "50".into(),
            environment: "test".into(),
            ..EndpointForm::default()
        };
        let new = form.parse(None).ok().unwrap();
        assert_eq!(
            (new.url.as_str(), new.rate_limit, new.environment),
            ("https://a.example", Some(50), Some(Environment::Test))
        );
        let headers: Vec<_> =
            new.headers.unwrap().into_iter().map(|(n, v)| (n, v.unwrap().expose_secret().to_owned())).collect();
        assert_eq!(headers, [("X-Token".into(), "a: b".into()), ("X-Other".into(), "c".into())]);
        form.concurrency = "many".into();
        form.rate_limit = "0".into();
        form.headers = "nothing\nHost: x".into();
        form.events = vec![];
        form.environment = "both".into();
        let errors: Vec<_> = form.parse(None).err().unwrap().into_iter().map(|e| e.field).collect();
        assert_eq!(errors, ["environment", "headers", "events", "headers", "concurrency", "rate_limit"]);
    }
}
