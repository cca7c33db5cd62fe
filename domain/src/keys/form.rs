//! The create and edit form: every field as it was typed, and the rules that make a key of it.
//! The same rules run in the browser, in the server function and for the command line.

use chrono::{Duration, NaiveDate, NaiveTime};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ApiKey, DEFAULT_GROUP, Environment, Scope, ScopeGroup, ScopeSet};
use crate::{
    error::FieldError,
    ids::InstanceId,
    text,
    throttle::{MAX_DELAY_MS, MAX_QUEUE, Throttle, ThrottleMode},
    time::Time,
};

pub const NAME_MAX: usize = 80;
pub const DESCRIPTION_MAX: usize = 500;
pub const IPS_MAX: usize = 1_000;
pub const INSTANCES_MAX: usize = 1_000;
pub const RATE_MAX: u32 = 10_000_000;

/// The dialog's fields as text. Field names are those of the HTML form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyForm {
    /// Made when the form is drawn: the same submission twice makes one key.
    pub submission: String,
    pub name: String,
    pub description: String,
    /// `live` or `test`
    pub environment: String,
    /// `off`, `fixed`, `random`, `smart`
    pub throttle_mode: String,
    /// Seconds, as are the other delays; decimals allowed.
    pub delay: String,
    pub min_delay: String,
    pub max_delay: String,
    pub batch_size: String,
    pub batch_cooldown: String,
    pub max_queue: String,
    /// A group's id, or empty.
    pub scope_group: String,
    pub scopes: Vec<String>,
    /// One address or network a line.
    pub allowed_ips: String,
    /// `all` (or nothing) or `some`: those in `instances`.
    pub instances_mode: String,
    /// Ids.
    pub instances: Vec<String>,
    /// Calls an hour; empty: no limit.
    pub rate_limit: String,
    /// `never`, `7`, `30`, `90`, `365` (days from now), `date`
    pub expires: String,
    /// `YYYY-MM-DD`; the key works until the end of that day, UTC.
    pub expires_on: String,
    /// `on`: issue an API secret with the key. Only when it is made.
    pub issue_secret: String,
    /// The version the edit started from.
    pub version: String,
}

impl Default for KeyForm {
    fn default() -> Self {
        Self {
            submission: String::new(),
            name: String::new(),
            description: String::new(),
            environment: "live".into(),
            throttle_mode: "off".into(),
            delay: "5".into(),
            min_delay: "3".into(),
            max_delay: "8".into(),
            batch_size: "10".into(),
            batch_cooldown: "60".into(),
            max_queue: "20".into(),
            scope_group: DEFAULT_GROUP.into(),
            scopes: ScopeGroup::find(DEFAULT_GROUP)
                .map(|g| g.scopes().iter().map(|s| s.as_str().to_owned()).collect())
                .unwrap_or_default(),
            allowed_ips: String::new(),
            instances_mode: "all".into(),
            instances: vec![],
            rate_limit: "1000".into(),
            expires: "never".into(),
            expires_on: String::new(),
            issue_secret: String::new(),
            version: String::new(),
        }
    }
}

/// A key that may be made: everything but its secret, id and owner.
#[derive(Debug, Clone, PartialEq)]
pub struct NewApiKey {
    pub name: String,
    pub description: String,
    pub environment: Environment,
    pub scope_group: Option<String>,
    pub scopes: ScopeSet,
    pub throttle: Throttle,
    pub allowed_ips: Vec<IpNet>,
    /// `None`: all, also those added later.
    pub allowed_instances: Option<Vec<InstanceId>>,
    pub rate_limit: Option<u32>,
    pub expires_at: Option<Time>,
    /// Issue an API secret with the key.
    pub issue_secret: bool,
}

/// The steps of the dialog, in order.
pub const STEPS: [&str; 3] = ["Details", "Anti-Ban", "Permissions"];

/// The step on which a field stands.
pub fn step_of(field: &str) -> usize {
    match field {
        "name" | "description" | "environment" => 0,
        "throttle_mode" | "delay" | "min_delay" | "max_delay" | "batch_size" | "batch_cooldown" | "max_queue" => 1,
        _ => 2,
    }
}

impl KeyForm {
    /// The form that edits `key`, or, without name and version, duplicates it.
    pub fn of(key: &ApiKey) -> Self {
        let seconds = |ms: u32| {
            if ms.is_multiple_of(1000) { (ms / 1000).to_string() } else { format!("{}", f64::from(ms) / 1000.0) }
        };
        let mut form = Self {
            name: key.name.clone(),
            description: key.description.clone(),
            environment: key.environment.as_str().into(),
            throttle_mode: key.throttle.mode.as_str().into(),
            max_queue: key.throttle.max_queue.to_string(),
            scope_group: key.scope_group.clone().unwrap_or_default(),
            scopes: key.scopes.iter().map(|s| s.as_str().to_owned()).collect(),
            allowed_ips: key.allowed_ips.iter().map(show_net).collect::<Vec<_>>().join("\n"),
            instances_mode: if key.allowed_instances.is_some() { "some" } else { "all" }.into(),
            instances: key.allowed_instances.iter().flatten().map(ToString::to_string).collect(),
            rate_limit: key.rate_limit.map(|n| n.to_string()).unwrap_or_default(),
            expires: if key.expires_at.is_some() { "date".into() } else { "never".into() },
            expires_on: key.expires_at.map(|at| last_day(at).to_string()).unwrap_or_default(),
            version: key.version.to_string(),
            ..Self::default()
        };
        match key.throttle.mode {
            ThrottleMode::Off => {}
            ThrottleMode::Fixed { delay_ms } => form.delay = seconds(delay_ms),
            ThrottleMode::Random { min_ms, max_ms } => {
                form.min_delay = seconds(min_ms);
                form.max_delay = seconds(max_ms);
            }
            ThrottleMode::Smart { min_ms, max_ms, batch_size, cooldown_ms } => {
                form.min_delay = seconds(min_ms);
                form.max_delay = seconds(max_ms);
                form.batch_size = batch_size.to_string();
                form.batch_cooldown = seconds(cooldown_ms);
            }
        }
        form
    }

    /// The key this form describes, or everything that is wrong with it.
    ///
    /// `current` is the key being edited: an expiry that was not touched may lie in the past, and stays exactly as it was.
    pub fn parse(&self, now: Time, current: Option<&ApiKey>) -> Result<NewApiKey, Vec<FieldError>> {
        let mut errors = Errors::default();
        let name = name(&self.name, &mut errors);
        let description = self.description.trim();
        if let Some(message) = text::complaint(description, DESCRIPTION_MAX) {
            errors.add("description", message);
        }
        let environment = Environment::parse(&self.environment).unwrap_or_else(|| {
            errors.add("environment", "Choose Live Key or Test Key.");
            Environment::Live
        });
        let throttle = self.throttle(&mut errors);
        let scopes = self.scopes(&mut errors);
        let scope_group = (!self.scope_group.is_empty()).then(|| self.scope_group.clone());
        if scope_group.as_deref().is_some_and(|g| ScopeGroup::find(g).is_none()) {
            errors.add("scope_group", "Choose one of the groups, or individual scopes.");
        }
        let allowed_ips = parse_ips(&self.allowed_ips).unwrap_or_else(|message| {
            errors.add("allowed_ips", message);
            vec![]
        });
        let allowed_instances = self.instances(&mut errors);
        let rate_limit = match self.rate_limit.trim() {
            "" => None,
            text => match text.parse() {
                Ok(n @ 1..=RATE_MAX) => Some(n),
                _ => {
                    errors.add(
                        "rate_limit",
                        format!("A whole number of calls from 1 to {RATE_MAX}, or empty for no limit."),
                    );
                    None
                }
            },
        };
        let expires_at = self.expires_at(now, current, &mut errors);
        errors.or(NewApiKey {
            name,
            description: description.to_owned(),
            environment,
            scope_group,
            scopes,
            throttle,
            allowed_ips,
            allowed_instances,
            rate_limit,
            expires_at,
            issue_secret: self.issues_secret(),
        })
    }

    /// Whether the box is ticked: browsers send `on`.
    pub fn issues_secret(&self) -> bool {
        matches!(self.issue_secret.as_str(), "on" | "true" | "1")
    }

    /// The pacing alone: what the preview draws while the rest is still being typed.
    pub fn parse_throttle(&self) -> Result<Throttle, Vec<FieldError>> {
        let mut errors = Errors::default();
        let throttle = self.throttle(&mut errors);
        errors.or(throttle)
    }

    fn throttle(&self, errors: &mut Errors) -> Throttle {
        let mode = match self.throttle_mode.as_str() {
            "off" => ThrottleMode::Off,
            "fixed" => ThrottleMode::Fixed { delay_ms: seconds(&self.delay, "delay", errors) },
            "random" => {
                let (min_ms, max_ms) = self.range(errors);
                ThrottleMode::Random { min_ms, max_ms }
            }
            "smart" => {
                let (min_ms, max_ms) = self.range(errors);
                ThrottleMode::Smart {
                    min_ms,
                    max_ms,
                    batch_size: whole(&self.batch_size, "batch_size", 1, MAX_QUEUE, "messages", errors),
                    cooldown_ms: seconds(&self.batch_cooldown, "batch_cooldown", errors),
                }
            }
            _ => {
                errors.add("throttle_mode", "Choose Off, Fixed Delay, Random Delay or Smart.");
                ThrottleMode::Off
            }
        };
        let max_queue = whole(&self.max_queue, "max_queue", 1, MAX_QUEUE, "messages", errors);
        Throttle { mode, max_queue }
    }

    fn range(&self, errors: &mut Errors) -> (u32, u32) {
        let before = errors.0.len();
        let min = seconds(&self.min_delay, "min_delay", errors);
        let max = seconds(&self.max_delay, "max_delay", errors);
        if errors.0.len() == before && min > max {
            errors.add("max_delay", "The longest delay cannot be shorter than the shortest.");
        }
        (min, max)
    }

    fn scopes(&self, errors: &mut Errors) -> ScopeSet {
        let mut set = ScopeSet::default();
        for text in &self.scopes {
            match Scope::parse(text) {
                Some(scope) => set.insert(scope),
                None => {
                    errors.add("scopes", format!("There is no scope “{}”.", text.chars().take(40).collect::<String>()))
                }
            }
        }
        // Without script the group's select alone says what is meant.
        if self.scopes.is_empty()
            && let Some(group) = ScopeGroup::find(&self.scope_group)
        {
            set = group.scopes();
        }
        if set.is_empty() && self.scopes.is_empty() {
            errors.add("scopes", "Choose at least one permission.");
        }
        set
    }

    /// Whether they are the organization's is asked when the key is stored.
    fn instances(&self, errors: &mut Errors) -> Option<Vec<InstanceId>> {
        match self.instances_mode.as_str() {
            "" | "all" => None,
            "some" => {
                let mut ids: Vec<InstanceId> = vec![];
                for text in &self.instances {
                    match text.parse() {
                        Ok(id) if !ids.contains(&id) => ids.push(id),
                        Ok(_) => {}
                        Err(_) => errors.add("instances", "Choose instances of the list."),
                    }
                }
                if ids.is_empty() {
                    errors.add("instances", "Choose at least one instance, or allow all.");
                } else if ids.len() > INSTANCES_MAX {
                    errors.add("instances", format!("Choose at most {INSTANCES_MAX}, or allow all."));
                }
                Some(ids)
            }
            _ => {
                errors.add("instances", "Allow all instances, or some.");
                None
            }
        }
    }

    fn expires_at(&self, now: Time, current: Option<&ApiKey>, errors: &mut Errors) -> Option<Time> {
        match self.expires.as_str() {
            "" | "never" => None,
            "7" | "30" | "90" | "365" => self.expires.parse().ok().map(|days| now + Duration::days(days)),
            "date" => {
                let Ok(day) = self.expires_on.trim().parse::<NaiveDate>() else {
                    errors.add("expires_on", "Give the last day on which the key works, such as 2027-01-31.");
                    return None;
                };
                if let Some(unchanged) = current.and_then(|key| key.expires_at).filter(|at| last_day(*at) == day) {
                    return Some(unchanged);
                }
                let Some(end) = day.succ_opt().map(|next| next.and_time(NaiveTime::MIN).and_utc()) else {
                    errors.add("expires_on", "Choose a day within the next ten years.");
                    return None;
                };
                if end <= now {
                    errors.add("expires_on", "This day has passed. Choose today or a later day.");
                } else if end > now + Duration::days(3_660) {
                    errors.add("expires_on", "Choose a day within the next ten years.");
                }
                Some(end)
            }
            _ => {
                errors.add("expires", "Choose when the key expires.");
                None
            }
        }
    }
}

/// The last day on which something that ends at `at` works: an end at midnight belongs to the day before.
fn last_day(at: Time) -> NaiveDate {
    (at - Duration::seconds(1)).date_naive()
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        // One message a field: the first is the one to mend.
        if !self.0.iter().any(|e| e.field == field) {
            self.0.push(FieldError::new(field, message));
        }
    }

    fn or<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// A key's name: 1 to 80 characters on one line. Emoji and every script are welcome; control characters and
/// the invisible marks that turn text around or hide it are not (they would forge log lines and confirmations).
fn name(text: &str, errors: &mut Errors) -> String {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 {
        errors.add("name", "Give the key a name, such as “Shop plugin”.");
    } else if length > NAME_MAX {
        errors.add("name", format!("Keep the name to {NAME_MAX} characters; this one has {length}."));
    } else if name.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) {
        errors.add("name", "The name has invisible control characters. Type it again without them.");
    }
    name.to_owned()
}

fn seconds(text: &str, field: &str, errors: &mut Errors) -> u32 {
    match text.trim().replace(',', ".").parse::<f64>() {
        Ok(s) if (0.0..=f64::from(MAX_DELAY_MS) / 1000.0).contains(&s) => (s * 1000.0).round() as u32,
        _ => {
            errors.add(field, format!("A number of seconds from 0 to {}.", MAX_DELAY_MS / 1000));
            0
        }
    }
}

fn whole(text: &str, field: &str, low: u32, high: u32, unit: &str, errors: &mut Errors) -> u32 {
    match text.trim().parse() {
        Ok(n) if (low..=high).contains(&n) => n,
        _ => {
            errors.add(field, format!("A whole number of {unit} from {low} to {high}."));
            low
        }
    }
}

/// An IP list as typed: one address or network a line; commas work too. Networks are normalised (host bits
/// cleared, IPv4-mapped IPv6 turned into IPv4), duplicates dropped; the order is kept.
///
/// # Errors
/// A sentence that names the first bad line by its number.
pub fn parse_ips(text: &str) -> Result<Vec<IpNet>, String> {
    let mut nets: Vec<IpNet> = vec![];
    let mut seen = std::collections::HashSet::new();
    for (number, line) in text.lines().enumerate() {
        for part in line.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let net = parse_net(part).ok_or_else(|| {
                format!(
                    "Line {}: “{}” is not an address or network. Write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32.",
                    number + 1,
                    part.chars().take(50).collect::<String>()
                )
            })?;
            if seen.insert(net) {
                nets.push(net);
            }
        }
    }
    if nets.len() > IPS_MAX {
        return Err(format!("At most {IPS_MAX} addresses; these are {}.", nets.len()));
    }
    Ok(nets)
}

fn parse_net(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().ok()?),
    };
    Some(canonical(net))
}

/// `::ffff:203.0.113.9/128` is 203.0.113.9/32: the two must not be told apart.
fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(v4.trunc());
    }
    net.trunc()
}

/// Single addresses without their `/32`.
pub fn show_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    fn now() -> Time {
        Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap()
    }

    fn form() -> KeyForm {
        KeyForm { name: "Shop plugin".into(), ..KeyForm::default() }
    }

    fn field_of(form: KeyForm) -> String {
        form.parse(now(), None).unwrap_err().into_iter().map(|e| e.field).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_form_as_it_opens_needs_only_a_name() {
        assert_eq!(field_of(KeyForm::default()), "name");
        let key = form().parse(now(), None).unwrap();
        assert_eq!(key.scopes.len(), 4);
        assert_eq!(key.rate_limit, Some(1_000));
        assert_eq!(key.throttle, Throttle::default());
        assert_eq!(key.expires_at, None);
    }

    #[test]
    fn instances_are_all_or_some() {
        let ids: Vec<String> = (1..3).map(|n| InstanceId(uuid::Uuid::from_u128(n)).to_string()).collect();
        let some = |instances: Vec<String>| KeyForm { instances_mode: "some".into(), instances, ..form() };
        assert_eq!(form().parse(now(), None).unwrap().allowed_instances, None);
        // What was ticked before "All" was chosen does not matter.
        let all = KeyForm { instances_mode: "all".into(), ..some(ids.clone()) };
        assert_eq!(all.parse(now(), None).unwrap().allowed_instances, None);
        let chosen = some(ids.clone()).parse(now(), None).unwrap().allowed_instances.unwrap();
        assert_eq!(chosen.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
        let twice = some([ids.clone(), ids.clone()].concat()).parse(now(), None).unwrap();
        assert_eq!(twice.allowed_instances, Some(chosen));
        for wrong in [some(vec![]), some(vec!["ins_x".into()]), KeyForm { instances_mode: "few".into(), ..form() }] {
            assert_eq!(field_of(wrong), "instances");
        }
    }

    #[test]
    fn every_field_has_its_bounds() {
        let cases: Vec<(&str, KeyForm)> = vec![
            ("name", KeyForm { name: "x".repeat(81), ..form() }),
            ("name", KeyForm { name: "   ".into(), ..form() }),
            ("name", KeyForm { name: "evil\u{202e}gnp".into(), ..form() }),
            ("description", KeyForm { description: "x".repeat(501), ..form() }),
            ("description", KeyForm { description: "a\0b".into(), ..form() }),
            ("environment", KeyForm { environment: "prod".into(), ..form() }),
            ("throttle_mode", KeyForm { throttle_mode: "fast".into(), ..form() }),
            ("delay", KeyForm { throttle_mode: "fixed".into(), delay: "601".into(), ..form() }),
            ("delay", KeyForm { throttle_mode: "fixed".into(), delay: "-1".into(), ..form() }),
            ("delay", KeyForm { throttle_mode: "fixed".into(), delay: "NaN".into(), ..form() }),
            ("max_delay", KeyForm { throttle_mode: "random".into(), min_delay: "9".into(), ..form() }),
            ("batch_size", KeyForm { throttle_mode: "smart".into(), batch_size: "0".into(), ..form() }),
            ("max_queue", KeyForm { max_queue: "10001".into(), ..form() }),
            ("scopes", KeyForm { scopes: vec![], scope_group: String::new(), ..form() }),
            ("scopes", KeyForm { scopes: vec!["message:sned".into()], ..form() }),
            ("scope_group", KeyForm { scope_group: "nobody".into(), ..form() }),
            ("allowed_ips", KeyForm { allowed_ips: "203.0.113.9\n300.1.1.1".into(), ..form() }),
            ("rate_limit", KeyForm { rate_limit: "0".into(), ..form() }),
            ("rate_limit", KeyForm { rate_limit: "1e3".into(), ..form() }),
            ("expires_on", KeyForm { expires: "date".into(), expires_on: "2026-11-19".into(), ..form() }),
            ("expires_on", KeyForm { expires: "date".into(), expires_on: "2126-11-19".into(), ..form() }),
            ("expires_on", KeyForm { expires: "date".into(), expires_on: "tomorrow".into(), ..form() }),
            ("expires", KeyForm { expires: "soon".into(), ..form() }),
        ];
        for (field, form) in cases {
            assert_eq!(field_of(form.clone()), field, "{form:?}");
        }
    }

    #[test]
    fn names_of_every_kind_are_kept() {
        for name in ["🛍️ Ladenkasse", "مفتاح المتجر", &"x".repeat(80)] {
            let key = KeyForm { name: format!("  {name} "), ..form() }.parse(now(), None).unwrap();
            assert_eq!(key.name, name);
        }
    }

    #[test]
    fn ip_lists_are_normalised() {
        let list = parse_ips(
            "203.0.113.9, 203.0.113.9/32\n10.1.2.3/8\r\n\n::ffff:192.0.2.1\n::ffff:192.0.2.0/120\n2001:DB8::1/32\n",
        )
        .unwrap();
        let shown: Vec<_> = list.iter().map(show_net).collect();
        assert_eq!(shown, ["203.0.113.9", "10.0.0.0/8", "192.0.2.1", "192.0.2.0/24", "2001:db8::/32"]);
        let thousand = (0..1_000).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect::<Vec<_>>().join("\n");
        assert_eq!(parse_ips(&thousand).unwrap().len(), 1_000);
        assert!(parse_ips(&format!("{thousand}\n1.1.1.1")).unwrap_err().contains("1001"));
        assert!(parse_ips("1.1.1.1\nfoo").unwrap_err().starts_with("Line 2"));
    }

    #[test]
    fn today_is_the_last_day_and_ends_at_midnight() {
        let key =
            KeyForm { expires: "date".into(), expires_on: "2026-11-20".into(), ..form() }.parse(now(), None).unwrap();
        assert_eq!(key.expires_at, Some(Utc.with_ymd_and_hms(2026, 11, 21, 0, 0, 0).unwrap()));
    }
}
