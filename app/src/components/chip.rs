//! Filters that are in force, as chips that say what they do: "Status: Expired ✕".

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// One filter; the cross is a link to the page without it.
#[component]
pub fn Chip(
    /// "Status: Expired"
    #[prop(into)]
    label: String,
    /// The same page without this filter.
    #[prop(into)]
    remove_href: String,
) -> impl IntoView {
    let hint = format!("Remove the filter {label}");
    view! {
        <li class="chip">
            <span>{label}</span>
            <a href=remove_href data-noscroll="true" aria-label=hint.clone() title=hint>
                <Glyph icon=Icon::Close/>
            </a>
        </li>
    }
}

/// The chips in a row, with "Clear all" at the end.
#[component]
pub fn ChipRow(#[prop(into)] clear_href: String, children: Children) -> impl IntoView {
    view! {
        <div class="chip-row">
            <ul aria-label="Filters in force">{children()}</ul>
            <a class="text-link" href=clear_href data-noscroll="true">"Clear all"</a>
        </div>
    }
}
