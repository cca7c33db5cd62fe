//! Above the table: search, filters, how many keys there are, the file, and the one primary button.

use std::time::Duration;

use domain::{
    ids::PersonId,
    keys::{Environment, SCOPES, StatusFilter},
};
use leptos::{prelude::*, task::spawn_local};

use super::{
    context::{KeysPage, counted},
    data::ListPage,
    paste::{self, Pasted},
    query::{KeysQuery, PATH, Panel},
};
use crate::{
    components::{ButtonKind, Chip, ChipRow, Glyph, Icon, LinkButton, Menu, Notice, SearchInput, Tone, use_toasts},
    later::Loaded,
};

pub type ListResource = Loaded<ListPage>;

#[component]
pub fn Toolbar(list: ListResource) -> impl IntoView {
    let page = KeysPage::get();
    let mistyped = RwSignal::new(false);
    view! {
        <div class="toolbar">
            <SearchForm mistyped/>
            <Transition>
                {move || Suspend::new(async move {
                    let answer = list.await;
                    let query = page.query.get_untracked();
                    answer.ok().map(|answer| view! { <Filters query answer/> })
                })}
            </Transition>
        </div>
        {move || mistyped.get().then(|| view! {
            <Notice tone=Tone::Warn>
                <p>"This looks like an API key, but its checksum does not fit: it was mistyped or cut off. It was not sent anywhere."</p>
            </Notice>
        })}
    }
}

/// The search field. A pasted key is hashed here and leaves the browser only as its hash.
#[component]
fn SearchForm(mistyped: RwSignal<bool>) -> impl IntoView {
    let page = KeysPage::get();
    let toasts = use_toasts();
    let start = page.query.with_untracked(|query| query.filter.q.clone());
    let text = RwSignal::new(start.clone());
    // What the address says as far as this field knows: tells typing apart from "back" and from chips.
    let applied = StoredValue::new(start);

    let apply = move || {
        // The page may have been left while this waited.
        let Some(typed) = text.try_get_untracked() else { return };
        let typed = typed.trim().to_owned();
        if paste::is_part_of_a_key(&typed) || page.query.with_untracked(|query| query.filter.q == typed) {
            return;
        }
        applied.set_value(typed.clone());
        page.go(&page.query.get_untracked().filtered(|filter| filter.q = typed), true);
    };
    let show_found = move |pasted: Pasted| {
        text.set(String::new());
        applied.set_value(String::new());
        mistyped.set(!pasted.whole);
        if pasted.whole {
            let found =
                page.query.get_untracked().cleared().filtered(|filter| filter.hash = Some(pasted.hash.to_hex()));
            page.go(&found, false);
        }
    };
    let take_key = move || {
        let typed = text.get_untracked();
        if !paste::is_part_of_a_key(&typed) {
            return false;
        }
        mistyped.set(false);
        spawn_local(async move {
            let found = paste::find_here(typed.clone()).await;
            // Something else stands there by now, or nothing any more.
            if text.try_get_untracked().as_ref() != Some(&typed) {
                return;
            }
            match found {
                Ok(found) => _ = found.map(show_found),
                Err(error) => toasts.bad(error.to_string()),
            }
        });
        true
    };

    Effect::new(move |before: Option<Option<TimeoutHandle>>| {
        let empty = text.with(String::is_empty);
        if let Some(Some(waiting)) = before {
            waiting.clear();
        }
        if before.is_none() || take_key() {
            return None;
        }
        if !empty {
            mistyped.set(false);
        }
        set_timeout_with_handle(apply, Duration::from_millis(250)).ok()
    });
    Effect::new(move |_| {
        let q = page.query.with(|query| query.filter.q.clone());
        if applied.get_value() != q {
            applied.set_value(q.clone());
            text.set(q);
        }
    });

    view! {
        <form
            role="search"
            class="keys-search"
            method="get"
            action=PATH
            on:submit=move |event| {
                event.prevent_default();
                if !take_key() {
                    apply();
                }
            }
        >
            {move || {
                page.query
                    .with(KeysQuery::beside_search)
                    .into_iter()
                    .map(|(name, value)| view! { <input type="hidden" name=name value=value/> })
                    .collect_view()
            }}
            <SearchInput name="q" placeholder="Search keys…" bind=text/>
        </form>
    }
}

/// The filters as menus of links, so that each choice has its address.
#[component]
fn Filters(query: KeysQuery, answer: ListPage) -> impl IntoView {
    let page = KeysPage::get();
    let may_manage = answer.may_manage;
    let f = &query.filter;

    let status = choice("Any but revoked", f.status.is_none(), query.filtered(|f| f.status = None));
    let statuses = StatusFilter::ALL
        .map(|s| choice(s.label(), f.status == Some(s), query.filtered(|f| f.status = Some(s))))
        .collect_view();
    let environment = choice("Any", f.environment.is_none(), query.filtered(|f| f.environment = None));
    let environments = [Environment::Live, Environment::Test]
        .map(|e| choice(e.label(), f.environment == Some(e), query.filtered(|f| f.environment = Some(e))))
        .collect_view();
    let scope = choice("Any", f.scope.is_none(), query.filtered(|f| f.scope = None));
    let scopes = SCOPES
        .iter()
        .map(|s| choice(s.text, f.scope == Some(s.scope), query.filtered(|f| f.scope = Some(s.scope))))
        .collect_view();
    let others = [
        ("No expiry", f.no_expiry, query.filtered(|f| f.no_expiry = !f.no_expiry)),
        ("No IP list", f.no_ip_list, query.filtered(|f| f.no_ip_list = !f.no_ip_list)),
        ("Idle for 30 days", f.idle, query.filtered(|f| f.idle = !f.idle)),
    ]
    .map(|(words, on, to)| choice(words, on, to))
    .collect_view();
    let creators = answer
        .creators
        .iter()
        .map(|(id, name)| {
            let chosen = f.creator == Some(*id);
            choice(&format!("Created by {name}"), chosen, query.filtered(|f| f.creator = (!chosen).then_some(*id)))
        })
        .collect_view();

    view! {
        <div class="filters" role="group" aria-label="Filters">
            <Menu id="filter-status" label="Filter by status" text="Status" icon=Icon::ChevronDown>{status} {statuses}</Menu>
            <Menu id="filter-environment" label="Filter by environment" text="Environment" icon=Icon::ChevronDown>
                {environment} {environments}
            </Menu>
            <Menu id="filter-scope" label="Filter by scope" text="Scope" icon=Icon::ChevronDown>{scope} {scopes}</Menu>
            <Menu id="filter-more" label="More filters" text="More" icon=Icon::ChevronDown>{others} {creators}</Menu>
        </div>
        <div class="toolbar-end">
        <p class="toolbar-count" role="status">{counted(answer.total, "key", "keys")}</p>
        <LinkButton
            href=query.export_href()
            kind=ButtonKind::Quiet
            icon=Icon::Download
            label="Download this list as CSV"
            external=true
            attr:download="api-keys.csv"
        />
        {may_manage.then(|| view! {
            <LinkButton
                href=Signal::derive(move || page.query.with(|query| query.with(Panel::New(None)).href()))
                kind=ButtonKind::Primary
                icon=Icon::Plus
                attr:id="create-key"
                attr:data-new="true"
            >
                "Create API Key"
            </LinkButton>
        })}
        </div>
    }
}

/// One choice of a filter menu.
fn choice(words: &str, chosen: bool, to: KeysQuery) -> impl IntoView + use<> {
    view! {
        <a class="menu-item choice" class:chosen=chosen href=to.href() data-noscroll="true" aria-current=chosen.then_some("true")>
            <Glyph icon=Icon::Check/>
            <span>{words.to_owned()}</span>
        </a>
    }
}

/// What the list is filtered by.
#[component]
pub fn Chips(query: KeysQuery, creators: Vec<(PersonId, String)>) -> impl IntoView {
    let name_of = |id: PersonId| {
        creators.iter().find(|(person, _)| *person == id).map_or_else(|| id.to_string(), |(_, name)| name.clone())
    };
    let chips = query.chips(name_of);
    (!chips.is_empty()).then(|| {
        view! {
            <ChipRow clear_href=query.cleared().href()>
                {chips
                    .into_iter()
                    .map(|(label, without)| view! { <Chip label remove_href=without.href()/> })
                    .collect_view()}
            </ChipRow>
        }
    })
}
