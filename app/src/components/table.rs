//! Bits of tables. The tables themselves are plain `<table class="table">` in the pages:
//! `<th scope="col">`, cells of numbers with the class `num`, an unknown value as `<span class="none">"—"</span>`.
//! With `data-label` on each `td`, rows become cards below 700 px (class `cards` on the table).

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// Lets a wide table scroll inside itself, reachable with the keyboard.
#[component]
pub fn TableWrap(
    /// Names the region: "API keys".
    #[prop(into)]
    label: String,
    children: Children,
) -> impl IntoView {
    view! { <div class="table-wrap" role="region" aria-label=label tabindex="0">{children()}</div> }
}

/// The head of a sortable column, as a link. `direction` is `Some(true)` for ascending, when the table is sorted by it.
/// Put `aria-sort` on the `th` around it.
#[component]
pub fn SortLink(
    #[prop(into)] label: String,
    #[prop(into)] href: String,
    #[prop(optional_no_strip)] direction: Option<bool>,
) -> impl IntoView {
    let icon = match direction {
        Some(true) => Icon::SortUp,
        _ => Icon::SortDown,
    };
    view! {
        <a class="sort" class:active=direction.is_some() href=href data-noscroll="true">
            <span>{label}</span>
            <Glyph icon/>
        </a>
    }
}
