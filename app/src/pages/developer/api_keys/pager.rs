//! The way through the list. Pages are found by cursor, so that a list of any length turns its pages equally fast.

use domain::keys::{PageAt, list::PER_PAGE};
use leptos::prelude::*;

use super::{context::count, data::ListPage, query::KeysQuery};
use crate::components::{Glyph, Icon};

#[component]
pub fn KeysPager<'a>(query: KeysQuery, list: &'a ListPage) -> impl IntoView + use<> {
    let shown = i64::try_from(list.rows.len()).unwrap_or(0);
    let last_number = list.first_number + shown - 1;
    let per_page = i64::from(query.filter.per_page);
    let pages = ((list.total + per_page - 1) / per_page).max(1);
    let page = if list.next.is_none() { pages } else { (list.first_number - 1) / per_page + 1 };
    let range = if shown == 0 {
        "No keys".to_owned()
    } else {
        format!("{}–{} of {}", count(list.first_number), count(last_number), count(list.total))
    };

    let step = |to: Option<PageAt>, icon: Icon, label: &'static str| {
        let href = to.map(|at| query.at(at).href());
        let disabled = href.is_none();
        view! {
            <a
                class="button quiet icon-only"
                href=href
                role=disabled.then_some("link")
                aria-disabled=disabled.then_some("true")
                aria-label=label
                title=label
            >
                <Glyph icon/>
            </a>
        }
    };
    let first = step(list.previous.as_ref().map(|_| PageAt::First), Icon::ChevronsLeft, "First page");
    let previous = step(list.previous.clone().map(PageAt::Before), Icon::ChevronLeft, "Previous page");
    let next = step(list.next.clone().map(PageAt::After), Icon::ChevronRight, "Next page");
    let last = step(list.next.as_ref().map(|_| PageAt::Last), Icon::ChevronsRight, "Last page");
    let sizes = PER_PAGE
        .map(|n| {
            let here = n == query.filter.per_page;
            view! {
                <a
                    href=query.filtered(|f| f.per_page = n).href()
                    data-noscroll="true"
                    aria-current=here.then_some("true")
                    aria-label=format!("{n} per page")
                >
                    {n}
                </a>
            }
        })
        .collect_view();

    view! {
        <nav class="pager" aria-label="Pages">
            <p class="range">{range}</p>
            <p class="sizes"><span>"Per page"</span> {sizes}</p>
            <div class="moves">
                {first} {previous}
                <span class="where">{format!("Page {} of {}", count(page), count(pages))}</span>
                {next} {last}
            </div>
        </nav>
    }
}
