//! One key in the table.

use domain::{
    ids::KeyId,
    keys::{ApiKey, HourBar, Status, StatusKind},
    time::Time,
};
use leptos::{ev, prelude::*, server_fn::ServerFn};

use super::{
    actions::ChangeKeys,
    bulk,
    context::{KeysPage, count},
    data::{Change, Row},
    list::Selection,
    query::Panel,
};
use crate::components::{
    Badge, CopyButton, Glyph, Icon, Menu, MenuButton, MenuGap, MenuLink, Moment, MomentText, Spark, TimeText, Tone,
};

/// Badges that fit beside each other; the rest waits behind "+X more".
const BADGES: usize = 2;

#[component]
pub fn KeyRow(row: Row, number: i64, may_manage: bool, selection: Selection) -> impl IntoView {
    let page = KeysPage::get();
    let Row { id, revoked, .. } = row;
    // A click on the row opens its detail; on a control in it, it is the control's.
    let open = move |event: ev::MouseEvent| {
        let inside = "a, button, input, label, form, time, [popover], [title]";
        let own = event_target::<web_sys::Element>(&event).closest(inside).ok().flatten().is_some();
        if !own && !event.default_prevented() {
            page.open(Panel::Usage(id));
        }
    };
    let actions = may_manage.then(
        || view! { <td class="c-actions"><Actions id name=row.name.clone() revoked disabled=row.disabled/></td> },
    );
    let copy = format!("Copy the hint of {}", row.name);
    view! {
        <tr class:revoked=revoked class:chosen=move || selection.with(|chosen| chosen.contains(&id)) on:click=open>
            {may_manage.then(|| view! {
                <td class="c-select">{(!revoked).then(|| view! { <SelectBox name=row.name.clone() id selection/> })}</td>
            })}
            <td class="c-number num">{count(number)}</td>
            <td class="c-name" data-label="Name"><Name id name=row.name.clone() test=row.test description=row.description group=row.group/></td>
            <td class="c-key" data-label="Key">
                <span class="hint">
                    <code>{row.hint.clone()}</code>
                    <CopyButton text=row.hint label=copy bare=true kind=crate::components::ButtonKind::Quiet/>
                </span>
            </td>
            <td class="c-permissions" data-label="Permissions"><Permissions id name=row.name scopes=row.scopes/></td>
            <td class="c-limits" data-label="Limits"><Limits lines=row.limits/></td>
            <td class="c-status" data-label="Status"><StatusBadge status=row.status/></td>
            <td class="c-used" data-label="Last used"><LastUsed last_use=row.last_use bars=row.hours/></td>
            <td class="c-created" data-label="Created">
                <MomentText moment=row.created/>
                <span class="second">{row.created_by}</span>
            </td>
            {actions}
        </tr>
    }
}

#[component]
fn SelectBox(name: String, id: KeyId, selection: Selection) -> impl IntoView {
    view! {
        <label class="checkbox bare">
            <input
                type="checkbox"
                class="row-select"
                form=bulk::FORM
                name="ids[]"
                value=id.to_string()
                prop:checked=move || selection.with(|chosen| chosen.contains(&id))
                on:change=move |event| {
                    let on = event_target_checked(&event);
                    selection.update(|chosen| _ = if on { chosen.insert(id) } else { chosen.remove(&id) });
                }
            />
            <span class="sr-only">{format!("Select {name}")}</span>
        </label>
    }
}

#[component]
fn Name(id: KeyId, name: String, test: bool, description: String, group: String) -> impl IntoView {
    let page = KeysPage::get();
    view! {
        <span class="key-name">
            <a href=page.href(Panel::Usage(id)) data-noscroll="true"><bdi>{name}</bdi></a>
            {test.then(|| view! { <Badge tone=Tone::Info>"Test"</Badge> })}
        </span>
        {(!description.is_empty()).then(|| view! { <span class="second" title=description.clone()>{description.clone()}</span> })}
        <span class="second">{group}</span>
    }
}

/// The first two, and the rest in a popover.
#[component]
fn Permissions(id: KeyId, name: String, scopes: Vec<(String, String)>) -> impl IntoView {
    let hidden = scopes.len().saturating_sub(BADGES);
    let mut scopes = scopes.into_iter();
    let first = scopes.by_ref().take(BADGES).map(|(label, _)| view! { <Badge>{label}</Badge> }).collect_view();
    let rest = (hidden > 0).then(|| {
        let items =
            scopes.map(|(label, name)| view! { <li><span>{label}</span> <code>{name}</code></li> }).collect_view();
        view! {
            <Menu id=format!("more-{id}") label=format!("More permissions of {name}") text=format!("+{hidden} more") icon=Icon::ChevronDown>
                <ul class="scope-list">{items}</ul>
            </Menu>
        }
    });
    view! { <span class="badges">{first} {rest}</span> }
}

#[component]
fn Limits(lines: Vec<(String, Option<String>)>) -> impl IntoView {
    if lines.is_empty() {
        return view! { <span class="none" title="No limits">"—"</span> }.into_any();
    }
    lines
        .into_iter()
        .map(|(words, more)| view! { <span class="limit" title=more>{words}</span> })
        .collect_view()
        .into_any()
}

/// The state in a word, with its reason on hover.
#[component]
pub fn StatusBadge(status: Status) -> impl IntoView {
    let tone = match status.kind {
        StatusKind::Active => Tone::Ok,
        StatusKind::Revoked | StatusKind::Expired | StatusKind::ElevatedDenials => Tone::Bad,
        StatusKind::Expiring | StatusKind::RateLimited => Tone::Warn,
        StatusKind::Rotating => Tone::Info,
        StatusKind::Disabled | StatusKind::Idle => Tone::Neutral,
    };
    view! { <Badge tone=tone dot=true title=status.reason>{status.label}</Badge> }
}

#[component]
fn LastUsed(last_use: Option<(Moment, String)>, bars: Vec<HourBar>) -> impl IntoView {
    let used = match last_use {
        Some((moment, from)) => view! {
            <span class="used">
                <MomentText moment more=from.clone()/>
                <span class="sr-only">{format!(", from {from}")}</span>
            </span>
        }
        .into_any(),
        None => view! { <span class="none">"Never"</span> }.into_any(),
    };
    view! {
        {used}
        <Spark bars/>
    }
}

#[component]
fn Actions(id: KeyId, name: String, revoked: bool, disabled: bool) -> impl IntoView {
    let page = KeysPage::get();
    let (what, icon, words) =
        if disabled { (Change::Enable, Icon::Play, "Enable") } else { (Change::Disable, Icon::Pause, "Disable") };
    let href = move |panel| page.href(panel);
    let to_change = (!revoked).then(|| {
        view! {
            <MenuLink href=href(Panel::Edit(id)) icon=Icon::Pencil>"Edit"</MenuLink>
        }
    });
    let toggle = (!revoked).then(|| {
        let back = page.back();
        view! {
            <form
                method="post"
                action=ChangeKeys::url()
                on:submit=move |event| {
                    event.prevent_default();
                    page.change(vec![id], what);
                }
            >
                <input type="hidden" name="ids[]" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <MenuButton icon submit=true>{words}</MenuButton>
            </form>
            <MenuLink href=href(Panel::Regenerate(id)) icon=Icon::Refresh>"Regenerate"</MenuLink>
        }
    });
    let end = (!revoked).then(|| {
        view! {
            <MenuGap/>
            <MenuLink href=href(Panel::Revoke(vec![id])) icon=Icon::Trash danger=true>"Revoke"</MenuLink>
        }
    });
    view! {
        <Menu id=format!("menu-{id}") label=format!("Actions for {name}")>
            <MenuLink href=href(Panel::Usage(id)) icon=Icon::Chart>"View usage stats"</MenuLink>
            {to_change}
            <MenuLink href=href(Panel::New(Some(id))) icon=Icon::Copy>"Duplicate"</MenuLink>
            {toggle}
            <MenuLink href=href(Panel::History(id)) icon=Icon::History>"History"</MenuLink>
            {end}
        </Menu>
    }
}

/// The old secret while it still works: a line for sheets and dialogs.
#[component]
pub fn OldSecretLine(key: ApiKey, now: Time) -> impl IntoView {
    key.old_secret.map(|old| {
        view! {
            <p class="old-secret">
                <Glyph icon=Icon::Clock/>
                <span>"The old secret " <code>{old.hint}</code> " works until " <TimeText at=old.until now exact=true/> "."</span>
            </p>
        }
    })
}
