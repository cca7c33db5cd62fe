//! Below a list that only knows "newer" and "older".

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// The way to older rows, and back to the newest.
#[component]
pub fn CursorPager(
    /// The newest rows, when these are not they.
    first_href: Option<String>,
    next_href: Option<String>,
) -> impl IntoView {
    let any = first_href.is_some() || next_href.is_some();
    any.then(|| view! {
        <nav class="pager" aria-label="Pages">
            <div class="moves">
                {first_href.map(|href| view! { <a class="button" href=href><Glyph icon=Icon::ChevronsLeft/><span>"Newest"</span></a> })}
                {next_href.map(|href| view! { <a class="button" href=href><span>"Older"</span><Glyph icon=Icon::ChevronRight/></a> })}
            </div>
        </nav>
    })
}
