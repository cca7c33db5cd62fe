//! The page's state as its address: every filter, the sort, the page of the list, and what is open.
//!
//! Pure, and the same on both sides: the page, the export and the server functions read and write addresses only here.

use domain::{
    ids::{KeyId, PersonId},
    keys::{Environment, KeyFilter, KeyHash, KeySort, PageAt, Scope, StatusFilter, list::PER_PAGE},
};

use super::paste;

/// The page's address without its query.
pub const PATH: &str = "/dashboard/developer/api-keys";
/// The list as a file; takes the same query.
pub const EXPORT_PATH: &str = "/dashboard/developer/api-keys/export.csv";

const Q_MAX: usize = 200;
const CURSOR_MAX: usize = 600;
/// As many keys as fit on the longest page.
const KEYS_MAX: usize = 50;

/// What is open above the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Panel {
    #[default]
    Closed,
    /// The create dialog; from a key when it is duplicated.
    New(Option<KeyId>),
    Edit(KeyId),
    Regenerate(KeyId),
    /// One key, or the selected ones.
    Revoke(Vec<KeyId>),
    Usage(KeyId),
    History(KeyId),
    /// The reveal card.
    Created(KeyId),
}

impl Panel {
    pub fn is_open(&self) -> bool {
        *self != Self::Closed
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "",
            Self::New(_) => "new",
            Self::Edit(_) => "edit",
            Self::Regenerate(_) => "regenerate",
            Self::Revoke(_) => "revoke",
            Self::Usage(_) => "usage",
            Self::History(_) => "history",
            Self::Created(_) => "created",
        }
    }

    fn keys(&self) -> Vec<KeyId> {
        match self {
            Self::Closed => vec![],
            Self::New(from) => from.iter().copied().collect(),
            Self::Edit(key) | Self::Regenerate(key) | Self::Usage(key) | Self::History(key) | Self::Created(key) => {
                vec![*key]
            }
            Self::Revoke(keys) => keys.clone(),
        }
    }

    fn parse(name: &str, keys: Vec<KeyId>) -> Self {
        match (name, keys.first().copied()) {
            ("new", from) => Self::New(from),
            ("edit", Some(key)) => Self::Edit(key),
            ("regenerate", Some(key)) => Self::Regenerate(key),
            ("revoke", Some(_)) => Self::Revoke(keys),
            ("usage", Some(key)) => Self::Usage(key),
            ("history", Some(key)) => Self::History(key),
            ("created", Some(key)) => Self::Created(key),
            _ => Self::Closed,
        }
    }
}

/// Everything that the page's query says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeysQuery {
    pub filter: KeyFilter,
    pub panel: Panel,
}

impl KeysQuery {
    /// Reads a raw query, with or without its `?`. What it does not know or cannot read it leaves out: an address
    /// that somebody typed or kept for years still shows a list.
    pub fn parse(query: &str) -> Self {
        let mut filter = KeyFilter::default();
        let (mut panel, mut keys, mut descending) = (String::new(), vec![], None);
        for pair in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Nothing that we look for has NUL in it, and neither pages nor Postgres take it.
            let value = decode(value).replace('\0', "");
            let on = value == "1";
            match name {
                "q" => filter.q = value.trim().chars().take(Q_MAX).collect(),
                "hash" => filter.hash = KeyHash::from_hex(&value).map(KeyHash::to_hex),
                "status" => filter.status = StatusFilter::parse(&value),
                "environment" => filter.environment = Environment::parse(&value),
                "scope" => filter.scope = Scope::parse(&value),
                "creator" => filter.creator = value.parse::<PersonId>().ok(),
                "no_expiry" => filter.no_expiry = on,
                "no_ip_list" => filter.no_ip_list = on,
                "idle" => filter.idle = on,
                "sort" => filter.sort = KeySort::parse(&value).unwrap_or_default(),
                "dir" => {
                    descending = match value.as_str() {
                        "asc" => Some(false),
                        "desc" => Some(true),
                        _ => None,
                    }
                }
                "per_page" => {
                    filter.per_page = value.parse().ok().filter(|n| PER_PAGE.contains(n)).unwrap_or(filter.per_page);
                }
                "after" if value.len() <= CURSOR_MAX && !value.is_empty() => filter.at = PageAt::After(value),
                "before" if value.len() <= CURSOR_MAX && !value.is_empty() => filter.at = PageAt::Before(value),
                "page" if value == "last" => filter.at = PageAt::Last,
                "panel" => panel = value,
                "key" => keys = value.split(',').take(KEYS_MAX).filter_map(|id| id.parse().ok()).collect(),
                _ => {}
            }
        }
        // Without script a whole key can arrive as search text. It goes no further than here: the server sends the
        // browser on to the address with its hash.
        #[cfg(not(target_family = "wasm"))]
        if let Some(found) = paste::find(&filter.q) {
            filter.hash = Some(found.hash.to_hex());
            filter.q.clear();
        }
        #[cfg(target_family = "wasm")]
        if paste::is_part_of_a_key(&filter.q) {
            filter.q.clear();
        }
        filter.descending = descending.unwrap_or(filter.sort.starts_descending());
        Self { filter, panel: Panel::parse(&panel, keys) }
    }

    /// The query without `?`: what is as it always is stays unsaid, in one order, so that one state has one address.
    pub fn to_query(&self) -> String {
        let f = &self.filter;
        let mut pairs: Vec<(&str, String)> = vec![];
        let mut say = |name, value: &str| pairs.push((name, value.to_owned()));
        if !f.q.is_empty() {
            say("q", &f.q);
        }
        if let Some(hash) = &f.hash {
            say("hash", hash);
        }
        if let Some(status) = f.status {
            say("status", status.as_str());
        }
        if let Some(environment) = f.environment {
            say("environment", environment.as_str());
        }
        if let Some(scope) = f.scope {
            say("scope", scope.as_str());
        }
        if let Some(creator) = f.creator {
            say("creator", &creator.to_string());
        }
        for (name, on) in [("no_expiry", f.no_expiry), ("no_ip_list", f.no_ip_list), ("idle", f.idle)] {
            if on {
                say(name, "1");
            }
        }
        if f.sort != KeySort::default() {
            say("sort", f.sort.as_str());
        }
        if f.descending != f.sort.starts_descending() {
            say("dir", if f.descending { "desc" } else { "asc" });
        }
        if f.per_page != PER_PAGE[0] {
            say("per_page", &f.per_page.to_string());
        }
        match &f.at {
            PageAt::First => {}
            PageAt::After(cursor) => say("after", cursor),
            PageAt::Before(cursor) => say("before", cursor),
            PageAt::Last => say("page", "last"),
        }
        if self.panel.is_open() {
            say("panel", self.panel.name());
            let keys = self.panel.keys();
            if !keys.is_empty() {
                say("key", &keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
            }
        }
        pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }

    /// The page's address in this state.
    pub fn href(&self) -> String {
        join(PATH, &self.to_query())
    }

    /// The file with everything that the filters let through.
    pub fn export_href(&self) -> String {
        let mut all = self.closed();
        all.filter.at = PageAt::First;
        all.filter.per_page = PER_PAGE[0];
        join(EXPORT_PATH, &all.to_query())
    }

    /// What the list is asked for.
    pub fn to_filter(&self) -> KeyFilter {
        self.filter.clone()
    }

    /// The same list with something open above it.
    pub fn with(&self, panel: Panel) -> Self {
        Self { filter: self.filter.clone(), panel }
    }

    /// The same list with nothing open.
    pub fn closed(&self) -> Self {
        self.with(Panel::Closed)
    }

    /// Another filter: from its first page on, with nothing open. A key that was found by pasting is let go.
    pub fn filtered(&self, change: impl FnOnce(&mut KeyFilter)) -> Self {
        let mut filter = self.filter.clone();
        filter.hash = None;
        filter.at = PageAt::First;
        change(&mut filter);
        Self { filter, panel: Panel::Closed }
    }

    /// Another page of the same list.
    pub fn at(&self, at: PageAt) -> Self {
        Self { filter: KeyFilter { at, ..self.filter.clone() }, panel: Panel::Closed }
    }

    /// Sorted by a column; by the same once more: the other way round.
    pub fn sorted(&self, by: KeySort) -> Self {
        self.filtered(|f| {
            f.descending = if f.sort == by { !f.descending } else { by.starts_descending() };
            f.sort = by;
        })
    }

    /// Without any filter; order and page length stay.
    pub fn cleared(&self) -> Self {
        let f = &self.filter;
        let filter = KeyFilter { sort: f.sort, descending: f.descending, per_page: f.per_page, ..KeyFilter::default() };
        Self { filter, panel: Panel::Closed }
    }

    pub fn is_filtered(&self) -> bool {
        *self
            != Self {
                panel: self.panel.clone(),
                filter: KeyFilter { at: self.filter.at.clone(), ..self.cleared().filter },
            }
    }

    /// The filters in force: what each says, and the page without it. `creator` gives a person's name.
    pub fn chips(&self, creator: impl Fn(PersonId) -> String) -> Vec<(String, Self)> {
        let f = &self.filter;
        let mut chips = vec![];
        if !f.q.is_empty() {
            chips.push((format!("Search: {}", f.q), self.filtered(|f| f.q.clear())));
        }
        if f.hash.is_some() {
            chips.push(("Pasted key".to_owned(), self.filtered(|_| {})));
        }
        if let Some(status) = f.status {
            chips.push((format!("Status: {}", status.label()), self.filtered(|f| f.status = None)));
        }
        if let Some(environment) = f.environment {
            chips.push((format!("Environment: {}", environment.label()), self.filtered(|f| f.environment = None)));
        }
        if let Some(scope) = f.scope {
            chips.push((format!("Scope: {}", scope.as_str()), self.filtered(|f| f.scope = None)));
        }
        if let Some(person) = f.creator {
            chips.push((format!("Created by: {}", creator(person)), self.filtered(|f| f.creator = None)));
        }
        if f.no_expiry {
            chips.push(("No expiry".to_owned(), self.filtered(|f| f.no_expiry = false)));
        }
        if f.no_ip_list {
            chips.push(("No IP list".to_owned(), self.filtered(|f| f.no_ip_list = false)));
        }
        if f.idle {
            chips.push(("Idle for 30 days".to_owned(), self.filtered(|f| f.idle = false)));
        }
        chips
    }

    /// Names and values for the hidden fields of the search form, which keeps the other filters.
    pub fn beside_search(&self) -> Vec<(String, String)> {
        let rest = self.filtered(|f| f.q.clear()).to_query();
        rest.split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect()
    }
}

fn join(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Percent-encoding of everything but unreserved characters, and of `:` and `,`, which are harmless in a query.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b',' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The other way round; a `+` is a space, as forms send it. Broken escapes stay as they are.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: char) -> KeyId {
        format!("key_01h455vb4pex5vsknk084sn02{n}").parse().unwrap()
    }

    #[test]
    fn an_address_without_a_query_is_the_default_list() {
        assert_eq!(KeysQuery::parse(""), KeysQuery::default());
        assert_eq!(KeysQuery::parse("?"), KeysQuery::default());
        assert_eq!(KeysQuery::default().href(), PATH);
        assert_eq!(KeysQuery::default().export_href(), EXPORT_PATH);
    }

    #[test]
    fn every_state_survives_its_address() {
        let full = KeysQuery {
            filter: KeyFilter {
                q: "50 % off & “Ümlaut”=+#".into(),
                hash: None,
                status: Some(StatusFilter::Expiring),
                environment: Some(Environment::Test),
                scope: Some(Scope::ContactReadAll),
                creator: Some("per_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
                no_expiry: true,
                no_ip_list: true,
                idle: true,
                sort: KeySort::Name,
                descending: true,
                per_page: 25,
                at: PageAt::After("abc|/+=".into()),
            },
            panel: Panel::Revoke(vec![key('q'), key('r')]),
        };
        let mut states = vec![
            full.clone(),
            full.closed(),
            full.cleared(),
            full.at(PageAt::Last),
            full.at(PageAt::Before("x".into())),
        ];
        for panel in [
            Panel::New(None),
            Panel::New(Some(key('q'))),
            Panel::Edit(key('q')),
            Panel::Regenerate(key('q')),
            Panel::Usage(key('q')),
            Panel::History(key('q')),
            Panel::Created(key('q')),
        ] {
            states.push(full.with(panel));
        }
        for sort in KeySort::ALL {
            states.push(full.sorted(sort));
            states.push(full.sorted(sort).sorted(sort));
        }
        states.push(full.filtered(|f| f.hash = Some("0".repeat(64))));
        for state in states {
            assert_eq!(KeysQuery::parse(&state.to_query()), state, "{}", state.to_query());
        }
    }

    #[test]
    fn addresses_are_short_and_readable() {
        let query = KeysQuery::default().filtered(|f| f.scope = Some(Scope::MessageSend)).with(Panel::Edit(key('q')));
        assert_eq!(query.href(), format!("{PATH}?scope=message:send&panel=edit&key=key_01h455vb4pex5vsknk084sn02q"));
        assert_eq!(KeysQuery::default().sorted(KeySort::Name).href(), format!("{PATH}?sort=name"));
        assert_eq!(KeysQuery::default().sorted(KeySort::Created).href(), format!("{PATH}?dir=asc"));
    }

    #[test]
    fn nonsense_is_left_out() {
        let query = "status=asleep&environment=prod&scope=message:sned&creator=key_x&no_expiry=yes&sort=colour&dir=up&per_page=11&after=&page=7&panel=edit&key=nobody&hash=zz&=&&x";
        assert_eq!(KeysQuery::parse(query), KeysQuery::default());
        let long = KeysQuery::parse(&format!("q={}&after={}", "x".repeat(9_000), "y".repeat(9_000)));
        assert_eq!((long.filter.q.len(), long.filter.at), (Q_MAX, PageAt::First));
        assert_eq!(KeysQuery::parse("q=%zz%4&panel=new").filter.q, "%zz%4");
        assert_eq!(KeysQuery::parse("q=%ff").filter.q, "\u{fffd}");
        let many = vec![key('q').to_string(); 80].join(",");
        assert_eq!(KeysQuery::parse(&format!("panel=revoke&key={many}")).panel.keys().len(), KEYS_MAX);
    }

    #[test]
    fn a_whole_key_never_stays_in_the_search_text() {
        use domain::{keys::token, secret::ExposeSecret};
        let text = token::example("bnc", Environment::Live).expose_secret().to_owned();
        let query = KeysQuery::parse(&format!("q=Bearer+{text}&status=active"));
        assert_eq!(query.filter.q, "");
        assert_eq!(query.filter.hash, Some(KeyHash::of(&text).to_hex()));
        assert!(!query.href().contains(&text));
    }

    #[test]
    fn other_filters_begin_at_the_first_page_and_let_a_pasted_key_go() {
        let found = KeysQuery::parse(&format!("hash={}&after=x&panel=new&per_page=50", "a".repeat(64)));
        let next = found.filtered(|f| f.idle = true);
        assert_eq!(next.to_query(), "idle=1&per_page=50");
        assert_eq!(found.export_href(), format!("{EXPORT_PATH}?hash={}", "a".repeat(64)));
    }

    #[test]
    fn chips_take_their_own_filter_away_and_no_other() {
        let query = KeysQuery::parse(
            "q=shop&status=expired&environment=live&scope=message:send&creator=per_01h455vb4pex5vsknk084sn02q&no_expiry=1&no_ip_list=1&idle=1&sort=name",
        );
        let chips = query.chips(|_| "Ada".into());
        let words: Vec<_> = chips.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(
            words,
            [
                "Search: shop",
                "Status: Expired",
                "Environment: Live",
                "Scope: message:send",
                "Created by: Ada",
                "No expiry",
                "No IP list",
                "Idle for 30 days"
            ]
        );
        for (words, without) in &chips {
            assert_eq!(without.chips(|_| "Ada".into()).len(), chips.len() - 1, "{words}");
        }
        assert!(query.is_filtered());
        assert!(!query.cleared().is_filtered());
        assert_eq!(query.cleared().to_query(), "sort=name");
        assert!(!KeysQuery::parse("after=x&panel=new&sort=name").is_filtered());
    }

    #[test]
    fn the_search_form_keeps_what_it_does_not_ask_for() {
        let query = KeysQuery::parse("q=old&scope=message:send&after=x&panel=new");
        assert_eq!(query.beside_search(), [("scope".to_owned(), "message:send".to_owned())]);
        assert!(KeysQuery::default().beside_search().is_empty());
    }
}
