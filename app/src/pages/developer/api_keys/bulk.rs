//! What can be done with the ticked rows. The bar shows once a row is ticked, by CSS alone, so that it works without
//! script too: the boxes belong to this form.

use leptos::{prelude::*, server_fn::ServerFn};

use super::{
    actions::ChangeKeys,
    context::{KeysPage, counted},
    data::Change,
    list::Selection,
    query::Panel,
};
use crate::components::{Glyph, Icon};

/// The id of the form that the boxes of the rows belong to.
pub const FORM: &str = "selected-keys";

#[component]
pub fn BulkBar(selection: Selection) -> impl IntoView {
    let page = KeysPage::get();
    let back = page.back();
    let pending = page.change.pending();
    let chosen = move || {
        match selection.with(|chosen| i64::try_from(chosen.len()).unwrap_or(0)) {
            // Without script nobody counts.
            0 => "With the selected keys:".to_owned(),
            n => format!("{} selected", counted(n, "key", "keys")),
        }
    };
    let button = move |what: Change, icon: Icon, words: &'static str, class: &'static str| {
        view! {
            <button type="submit" class=class name="what" value=what.as_str() disabled=move || pending.get()
                on:click=move |event| {
                    event.prevent_default();
                    let ids: Vec<_> = selection.get_untracked().into_iter().collect();
                    // The question needs no way to the server.
                    if what == Change::AskRevoke && !ids.is_empty() {
                        page.open(Panel::Revoke(ids));
                    } else {
                        page.change(ids, what);
                    }
                }
            >
                <Glyph icon/>
                <span>{words}</span>
            </button>
        }
    };
    view! {
        <div class="bulk-bar" role="region" aria-label="Selected keys">
            <form id=FORM class="bulk-form" method="post" action=ChangeKeys::url()>
                <input type="hidden" name="back" value=move || back.get()/>
                <p class="bulk-count" role="status">{chosen}</p>
                {button(Change::Enable, Icon::Play, "Enable", "button")}
                {button(Change::Disable, Icon::Pause, "Disable", "button")}
                {button(Change::AskRevoke, Icon::Trash, "Revoke…", "button danger")}
                <button
                    type="button"
                    class="button quiet js-only"
                    on:click=move |_| selection.update(std::collections::BTreeSet::clear)
                >
                    "Clear selection"
                </button>
            </form>
        </div>
    }
}
