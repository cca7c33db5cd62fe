//! Below a table: which rows these are, and the way to the others.

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// Addresses of the other pages; `None` where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageLinks {
    pub first: Option<String>,
    pub previous: Option<String>,
    pub next: Option<String>,
    pub last: Option<String>,
}

/// First, previous, next, last, and how many on a page; all links, so that every page has its address.
#[component]
pub fn Pager(
    /// Number of the first row shown, from 1.
    first_number: i64,
    /// Rows shown.
    shown: usize,
    total: i64,
    /// "keys"
    #[prop(into)]
    noun: String,
    per_page: u32,
    /// Choices of "per page" with their addresses.
    sizes: Vec<(u32, String)>,
    links: PageLinks,
) -> impl IntoView {
    let shown = i64::try_from(shown).unwrap_or(i64::MAX);
    let range = match (total, shown) {
        (0, _) | (_, 0) => format!("No {noun}"),
        (1, _) => format!("1 {}", noun.strip_suffix('s').unwrap_or(&noun)),
        _ => format!("{first_number}–{} of {total} {noun}", first_number + shown - 1),
    };
    let step = |href: Option<String>, icon: Icon, label: &'static str| {
        let missing = href.is_none();
        view! {
            <a
                class="button quiet icon-only"
                href=href
                data-noscroll="true"
                role=missing.then_some("link")
                aria-disabled=missing.then_some("true")
                aria-label=label
                title=label
            >
                <Glyph icon/>
            </a>
        }
    };
    view! {
        <nav class="pager" aria-label="Pages">
            <p class="range">{range}</p>
            <p class="sizes">
                <span>"Per page"</span>
                {sizes
                    .into_iter()
                    .map(|(n, href)| {
                        view! {
                            <a
                                href=href
                                data-noscroll="true"
                                aria-current=(n == per_page).then_some("true")
                                aria-label=format!("{n} per page")
                            >
                                {n}
                            </a>
                        }
                    })
                    .collect_view()}
            </p>
            <div class="moves">
                {step(links.first, Icon::ChevronsLeft, "First page")}
                {step(links.previous, Icon::ChevronLeft, "Previous page")}
                {step(links.next, Icon::ChevronRight, "Next page")}
                {step(links.last, Icon::ChevronsRight, "Last page")}
            </div>
        </nav>
    }
}

/// For lists that only know "newer" and "older".
#[component]
pub fn CursorPager(
    /// The newest rows, when these are not they.
    first_href: Option<String>,
    next_href: Option<String>,
) -> impl IntoView {
    view! {
        <nav class="pager" aria-label="Pages">
            <div class="moves">
                {first_href.map(|href| view! { <a class="button" href=href><Glyph icon=Icon::ChevronsLeft/><span>"Newest"</span></a> })}
                {next_href.map(|href| view! { <a class="button" href=href><span>"Older"</span><Glyph icon=Icon::ChevronRight/></a> })}
            </div>
        </nav>
    }
}
