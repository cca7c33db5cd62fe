//! The table, in all its states: rows, nothing yet, nothing found, loading, failed.

use std::collections::BTreeSet;

use domain::{
    ids::KeyId,
    keys::{KeySort, StatusFilter},
};
use leptos::prelude::*;

use super::{
    bulk::BulkBar,
    context::{KeysPage, count, counted},
    data::ListPage,
    pager::KeysPager,
    query::{KeysQuery, Panel},
    row::KeyRow,
    toolbar::{Chips, ListResource},
};
use crate::components::{
    CodeBlock, EmptyState, ErrorState, Icon, LinkButton, Notice, Skeleton, SortLink, TableWrap, Tone,
};

/// The rows that are ticked, for those who have script; without, the form sends the boxes themselves.
pub type Selection = RwSignal<BTreeSet<KeyId>>;

#[component]
pub fn KeysList(list: ListResource) -> impl IntoView {
    let page = KeysPage::get();
    view! {
        <Transition fallback=|| view! { <Skeleton rows=6/> }>
            {move || Suspend::new(async move {
                let answer = list.await;
                let query = page.query.get_untracked().closed();
                match answer {
                    Ok(answer) => view! { <Answer query answer/> }.into_any(),
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
    }
}

#[component]
fn Answer(query: KeysQuery, answer: ListPage) -> impl IntoView {
    let problem = answer.problem.clone();
    let creators = answer.creators.clone();
    let expiring = view! { <Expiring keys=answer.expiring.clone() may_manage=answer.may_manage/> };
    let body = if answer.none_yet {
        view! { <NothingYet public_url=answer.public_url.clone() may_manage=answer.may_manage/> }.into_any()
    } else if answer.rows.is_empty() {
        view! { <NothingFound query=query.clone()/> }.into_any()
    } else {
        view! { <Rows query=query.clone() answer/> }.into_any()
    };
    view! {
        {problem.map(|problem| view! { <Notice tone=Tone::Bad><p>{problem}</p></Notice> })}
        {expiring}
        <Chips query creators/>
        {body}
    }
}

/// Warns of keys that end within 14 days, while there is time to do something about it.
#[component]
fn Expiring(keys: Vec<(KeyId, String, String)>, may_manage: bool) -> impl IntoView {
    const SHOWN: usize = 3;
    let page = KeysPage::get();
    let more = keys.len().saturating_sub(SHOWN);
    let lines = keys
        .iter()
        .take(SHOWN)
        .cloned()
        .map(|(id, name, when)| {
            let when = format!(" expires {when}. ");
            let href = page.href(Panel::Edit(id));
            view! {
                <p>
                    <strong>{name}</strong>
                    {when}
                    {may_manage.then(|| view! { <a class="text-link" href=href data-noscroll="true">"Choose a later day"</a> })}
                </p>
            }
        })
        .collect_view();
    (!keys.is_empty()).then(|| {
        view! {
            <Notice tone=Tone::Warn>
                {lines}
                {(more > 0).then(|| view! { <p>{format!("{} more expire within 14 days.", counted(i64::try_from(more).unwrap_or(0), "key", "keys"))}</p> })}
            </Notice>
        }
    })
}

/// Teaches: what a key is for, and the one next step.
#[component]
fn NothingYet(public_url: String, may_manage: bool) -> impl IntoView {
    let page = KeysPage::get();
    let call = format!("curl {public_url}/api/v1/me -H \"Authorization: Bearer YOUR_KEY\"");
    let text = if may_manage {
        "A key lets a shop plugin, a workflow or your own code call the API. Create one, copy it, and make this call:"
    } else {
        "A key lets a shop plugin, a workflow or your own code call the API. A developer, admin or owner can create one. \
         A call then looks like this:"
    };
    view! {
        <EmptyState icon=Icon::Key title="No API keys yet" text=text>
            <CodeBlock id="first-call" text=call label="cURL call"/>
            {may_manage.then(|| view! {
                <LinkButton href=page.href(Panel::New(None)) icon=Icon::Plus>"Create the first key"</LinkButton>
            })}
        </EmptyState>
    }
}

#[component]
fn NothingFound(query: KeysQuery) -> impl IntoView {
    let (title, text) = if query.filter.hash.is_some() {
        (
            "Not a key of this organization",
            "The pasted key belongs to none of your keys: it may be another organization's, or from another installation.",
        )
    } else if !query.is_filtered() {
        return view! {
            <EmptyState icon=Icon::Key title="No key in use" text="Every key of this organization is revoked. Create a new one, or look at the old ones.">
                <LinkButton href=query.filtered(|f| f.status = Some(StatusFilter::Revoked)).href()>"Show revoked keys"</LinkButton>
            </EmptyState>
        }
        .into_any();
    } else {
        (
            "No key matches",
            "No key fits the search and the filters together. Revoked keys show only with the status “Revoked”.",
        )
    };
    view! {
        <EmptyState icon=Icon::Search title=title text=text>
            <LinkButton href=query.cleared().href()>"Clear all filters"</LinkButton>
        </EmptyState>
    }
    .into_any()
}

#[component]
fn Rows(query: KeysQuery, answer: ListPage) -> impl IntoView {
    let may_manage = answer.may_manage;
    let selection: Selection = RwSignal::new(BTreeSet::new());
    let ids: BTreeSet<KeyId> = answer.rows.iter().filter(|row| !row.revoked).map(|row| row.id).collect();
    let caption = format!(
        "API keys, {} to {} of {}",
        count(answer.first_number),
        count(answer.first_number + i64::try_from(answer.rows.len()).unwrap_or(0) - 1),
        count(answer.total)
    );
    let found = query.filter.hash.as_ref().and_then(|_| answer.rows.first()).map(|row| {
        let (name, status) = (row.name.clone(), row.status.clone());
        view! {
            <Notice tone=Tone::Ok>
                <p>"The pasted key is " <strong>{name}</strong> ". " {status.label} ": " {status.reason}</p>
            </Notice>
        }
    });
    let heads = view! {
        <SortHead query=query.clone() by=KeySort::Name label="Name" class="c-name"/>
        <th scope="col" class="c-key">"Key"</th>
        <th scope="col" class="c-permissions">"Permissions"</th>
        <th scope="col" class="c-limits">"Limits"</th>
        <SortHead query=query.clone() by=KeySort::Status label="Status" class="c-status"/>
        <SortHead query=query.clone() by=KeySort::LastUsed label="Last used" class="c-used"/>
        <SortHead query=query.clone() by=KeySort::Created label="Created" class="c-created"/>
    };
    let pager = view! { <KeysPager query list=&answer/> };
    let rows = answer
        .rows
        .into_iter()
        .zip(answer.first_number..)
        .map(|(row, number)| view! { <KeyRow row number may_manage selection/> })
        .collect_view();
    view! {
        {found}
        <div class="keys-table">
            <TableWrap label="API keys">
                <table class="table cards">
                    <caption class="sr-only">{caption}</caption>
                    <thead>
                        <tr>
                            {may_manage.then(|| view! {
                                <th scope="col" class="c-select"><SelectAll selection ids/></th>
                            })}
                            <th scope="col" class="c-number num">"#"</th>
                            {heads}
                            {may_manage.then(|| view! { <th scope="col" class="c-actions"><span class="sr-only">"Actions"</span></th> })}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </TableWrap>
            {may_manage.then(|| view! { <BulkBar selection/> })}
        </div>
        {pager}
    }
}

#[component]
fn SortHead(query: KeysQuery, by: KeySort, label: &'static str, class: &'static str) -> impl IntoView {
    let f = &query.filter;
    let direction = (f.sort == by).then_some(!f.descending);
    let sort = direction.map(|ascending| if ascending { "ascending" } else { "descending" });
    view! {
        <th scope="col" class=class aria-sort=sort>
            <SortLink label=label href=query.sorted(by).href() direction/>
        </th>
    }
}

/// Ticks every row of this page.
#[component]
fn SelectAll(selection: Selection, ids: BTreeSet<KeyId>) -> impl IntoView {
    let words = format!("Select the {} of this page", counted(i64::try_from(ids.len()).unwrap_or(0), "key", "keys"));
    let all = ids.clone();
    view! {
        <label class="checkbox bare js-only">
            <input
                type="checkbox"
                prop:checked=move || selection.with(|chosen| !all.is_empty() && *chosen == all)
                on:change=move |event| {
                    selection.set(if event_target_checked(&event) { ids.clone() } else { BTreeSet::new() });
                }
            />
            <span class="sr-only">{words}</span>
        </label>
    }
}
