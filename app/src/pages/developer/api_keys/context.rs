//! What the parts of the page share.

use domain::{ids::KeyId, keys::KeyForm};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate},
};

use super::{
    actions::{ChangeKeys, RetireOldSecret},
    data::{Change, Revealed},
    query::{KeysQuery, Panel},
};

/// The page's state: all that can be in the address is in `query`; the rest is of the moment.
#[derive(Clone, Copy)]
pub struct KeysPage {
    pub query: Memo<KeysQuery>,
    // They live as long as the page: whatever shows them may outlive the part of the page that it is in by a moment.
    close_href: Signal<String>,
    back: Signal<String>,
    /// A key that was just made, until its card is closed.
    pub revealed: RwSignal<Option<Revealed>>,
    /// What was typed into a create dialog that was closed.
    pub draft: RwSignal<Option<KeyForm>>,
    pub change: ServerAction<ChangeKeys>,
    pub retire: ServerAction<RetireOldSecret>,
    list_version: RwSignal<u32>,
    panel_version: RwSignal<u32>,
    go: Callback<(String, bool)>,
}

impl KeysPage {
    /// Makes the state and gives it to everything below.
    pub fn provide() -> Self {
        let search = use_location().search;
        let navigate = use_navigate();
        let query = Memo::new(move |_| search.with(|search| KeysQuery::parse(search)));
        let page = Self {
            query,
            close_href: Signal::derive(move || query.with(|query| query.closed().href())),
            back: Signal::derive(move || query.with(|query| query.closed().to_query())),
            revealed: RwSignal::new(None),
            draft: RwSignal::new(None),
            change: ServerAction::new(),
            retire: ServerAction::new(),
            list_version: RwSignal::new(0),
            panel_version: RwSignal::new(0),
            go: Callback::new(move |(href, replace): (String, bool)| {
                navigate(&href, NavigateOptions { replace, scroll: false, ..Default::default() });
            }),
        };
        provide_context(page);
        page
    }

    pub fn get() -> Self {
        expect_context()
    }

    pub fn panel(self) -> Memo<Panel> {
        Memo::new(move |_| self.query.with(|query| query.panel.clone()))
    }

    /// The address of this list with something open above it.
    pub fn href(self, panel: Panel) -> String {
        self.query.with_untracked(|query| query.with(panel).href())
    }

    /// The address of this list with nothing open; follows the list.
    pub fn close_href(self) -> Signal<String> {
        self.close_href
    }

    /// For the hidden field `back` of forms.
    pub fn back(self) -> Signal<String> {
        self.back
    }

    pub fn go(self, to: &KeysQuery, replace: bool) {
        self.go.run((to.href(), replace));
    }

    /// Enables, disables or revokes keys; the page shows what came of it.
    pub fn change(self, ids: Vec<KeyId>, what: Change) {
        if !self.change.pending().get_untracked() {
            self.change.dispatch(ChangeKeys { ids, what, back: self.back().get_untracked() });
        }
    }

    pub fn open(self, panel: Panel) {
        self.go.run((self.href(panel), false));
    }

    /// In place of what is open now, so that "back" does not lead to it again.
    pub fn replace(self, panel: Panel) {
        self.go.run((self.href(panel), true));
    }

    pub fn close(self) {
        self.replace(Panel::Closed);
    }

    /// Loads the list anew after a change.
    pub fn refresh_list(self) {
        self.list_version.update(|n| *n += 1);
    }

    pub fn refresh_panel(self) {
        self.panel_version.update(|n| *n += 1);
    }

    pub fn list_version(self) -> u32 {
        self.list_version.get()
    }

    pub fn panel_version(self) -> u32 {
        self.panel_version.get()
    }
}

/// 1234567 as "1,234,567".
pub fn count(n: impl Into<i64>) -> String {
    let n: i64 = n.into();
    let digits = n.unsigned_abs().to_string();
    let mut out = if n < 0 { String::from("-") } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// "1 key", "12 keys".
pub fn counted(n: i64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", count(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (n, text) in [(0i64, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (-1_000, "-1,000")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "key", "keys"), "1 key");
        assert_eq!(counted(2_000, "key", "keys"), "2,000 keys");
    }
}
