//! What happened to a key: by whom, when, from where, and what changed.

use domain::{
    audit::{AuditRow, Change, sentence, sentence_end},
    keys::ApiKeyRow,
    time::Time,
};
use leptos::prelude::*;

use super::{context::KeysPage, query::Panel};
use crate::components::{Icon, LinkButton, Sheet, TimeText};

#[component]
pub fn HistorySheet(row: ApiKeyRow, events: Vec<AuditRow>, now: Time) -> impl IntoView {
    let page = KeysPage::get();
    let id = row.key.id;
    let none = events.is_empty();
    let items = events.into_iter().map(|event| view! { <Event event now/> }).collect_view();
    view! {
        <Sheet
            id="history-sheet"
            title=format!("History of {}", row.key.name)
            description="Every change of this key, newest first."
            close_href=page.close_href()
            foot=move || view! { <LinkButton href=page.href(Panel::Usage(id)) icon=Icon::Chart>"Usage stats"</LinkButton> }
        >
            {if none {
                view! { <p class="sub">"Nothing has happened to this key yet."</p> }.into_any()
            } else {
                view! { <ol class="history">{items}</ol> }.into_any()
            }}
        </Sheet>
    }
}

#[component]
fn Event(event: AuditRow, now: Time) -> impl IntoView {
    let changes = event.changes.into_iter().map(|change| view! { <Changed change/> }).collect_view();
    let from = event.ip.map(|ip| format!(" from {ip}")).unwrap_or_default();
    view! {
        <li>
            <p><strong>{event.actor}</strong> " " {sentence(&event.action)} " " <bdi>{event.subject_name}</bdi> {sentence_end(&event.action)}</p>
            <p class="sub"><TimeText at=event.at now/> {from}</p>
            <dl class="key-changes">{changes}</dl>
        </li>
    }
}

/// One field: before → after.
#[component]
fn Changed(change: Change) -> impl IntoView {
    let show = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "—".to_owned());
    let new = change.before.is_none();
    let before = (!new).then(|| view! { <del><span class="sr-only">"before: "</span>{show(change.before)}</del> <span aria-hidden="true">" → "</span> });
    view! {
        <dt>{change.field}</dt>
        <dd>{before} <ins><span class="sr-only">{(!new).then_some("after: ")}</span>{show(change.after)}</ins></dd>
    }
}
