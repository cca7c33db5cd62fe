//! What the parts of the page share.

use domain::ids::{InstanceId, MessageId};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate},
};

use super::{
    actions::{ChangeEndpoint, ChangeInstance, ChangeMessage, ResendDelivery, TestEndpoint},
    data::{Made, RevealedSecret},
    query::{IntegrationsQuery, Panel},
};

/// The page's state: all that can be in the address is in `query`; the rest is of the moment.
#[derive(Clone, Copy)]
pub struct Integrations {
    pub query: Memo<IntegrationsQuery>,
    // They live as long as the page: whatever shows them may outlive the part of the page that it is in by a moment.
    close_href: Signal<String>,
    back: Signal<String>,
    back_here: Signal<String>,
    /// A secret that was just made, until its card is closed.
    pub revealed: RwSignal<Option<RevealedSecret>>,
    /// An instance that was just made, while its next step is open.
    pub made: RwSignal<Option<Made>>,
    pub change_instance: ServerAction<ChangeInstance>,
    pub change_message: ServerAction<ChangeMessage>,
    pub change_endpoint: ServerAction<ChangeEndpoint>,
    pub test: ServerAction<TestEndpoint>,
    pub resend: ServerAction<ResendDelivery>,
    list_version: RwSignal<u32>,
    /// Counts what was done to the thing in the open sheet: the sheet then looks at once.
    touched: RwSignal<u32>,
    go: Callback<(String, bool)>,
}

impl Integrations {
    /// Makes the state and gives it to everything below.
    pub fn provide() -> Self {
        let search = use_location().search;
        let navigate = use_navigate();
        let query = Memo::new(move |_| search.with(|search| IntegrationsQuery::parse(search)));
        let page = Self {
            query,
            close_href: Signal::derive(move || query.with(|query| query.closed().href())),
            back: Signal::derive(move || query.with(|query| query.closed().to_query())),
            back_here: Signal::derive(move || query.with(IntegrationsQuery::to_query)),
            revealed: RwSignal::new(None),
            made: RwSignal::new(None),
            change_instance: ServerAction::new(),
            change_message: ServerAction::new(),
            change_endpoint: ServerAction::new(),
            test: ServerAction::new(),
            resend: ServerAction::new(),
            list_version: RwSignal::new(0),
            touched: RwSignal::new(0),
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

    /// The address of these lists with something open above them.
    pub fn href(self, panel: Panel) -> String {
        self.query.with_untracked(|query| query.with(panel).href())
    }

    /// The address of these lists with nothing open; follows the lists.
    pub fn close_href(self) -> Signal<String> {
        self.close_href
    }

    /// For the hidden field `back` of forms: this page with nothing open.
    pub fn back(self) -> Signal<String> {
        self.back
    }

    /// The same for forms in a sheet that stays open.
    pub fn back_here(self) -> Signal<String> {
        self.back_here
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

    /// Loads the lists anew after a change.
    pub fn refresh_list(self) {
        self.list_version.update(|n| *n += 1);
    }

    pub fn list_version(self) -> u32 {
        self.list_version.get()
    }

    /// Something was done to what the open sheet shows.
    pub fn touch(self) {
        self.touched.update(|n| *n += 1);
    }

    pub fn touched(self) -> u32 {
        self.touched.get()
    }
}

/// A message of an instance, for the ids of its controls.
pub fn queue_row_id(instance: InstanceId, message: MessageId) -> String {
    format!("queue-{instance}-{message}")
}
