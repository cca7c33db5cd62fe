//! One key in the table.

use domain::{
    keys::{ApiKey, ApiKeyRow, Environment, HourBar, Status, StatusKind, scope::group_label},
    throttle::ThrottleMode,
    time::{self, Time},
};
use leptos::{ev, form::ActionForm, prelude::*};

use super::{
    bulk,
    context::{KeysPage, count, counted},
    data::Change,
    list::Selection,
    query::Panel,
};
use crate::components::{Badge, CopyButton, Glyph, Icon, Menu, MenuButton, MenuGap, MenuLink, Spark, TimeText, Tone};

/// Badges that fit beside each other; the rest waits behind "+X more".
const BADGES: usize = 2;

#[component]
pub fn KeyRow(row: ApiKeyRow, number: i64, now: Time, may_manage: bool, selection: Selection) -> impl IntoView {
    let page = KeysPage::get();
    let id = row.key.id;
    let revoked = row.key.revoked_at.is_some();
    // A click on the row opens its detail; on a control in it, it is the control's.
    let open = move |event: ev::MouseEvent| {
        let inside = "a, button, input, label, form, time, [popover], [title]";
        let own = event_target::<web_sys::Element>(&event).closest(inside).ok().flatten().is_some();
        if !own && !event.default_prevented() {
            page.open(Panel::Usage(id));
        }
    };
    let bars = row.hours;
    let key = row.key;
    view! {
        <tr class:revoked=revoked class:chosen=move || selection.with(|chosen| chosen.contains(&id)) on:click=open>
            {may_manage.then(|| view! {
                <td class="c-select">{(!revoked).then(|| view! { <SelectBox name=key.name.clone() id selection/> })}</td>
            })}
            <td class="c-number num">{count(number)}</td>
            <td class="c-name" data-label="Name"><Name key=key.clone()/></td>
            <td class="c-key" data-label="Key">
                <span class="hint">
                    <code>{key.hint.clone()}</code>
                    <CopyButton text=key.hint.clone() label=format!("Copy the hint of {}", key.name) bare=true kind=crate::components::ButtonKind::Quiet/>
                </span>
            </td>
            <td class="c-permissions" data-label="Permissions"><Permissions key=key.clone()/></td>
            <td class="c-limits" data-label="Limits"><Limits key=key.clone() now/></td>
            <td class="c-status" data-label="Status"><StatusBadge status=row.status/></td>
            <td class="c-used" data-label="Last used"><LastUsed key=key.clone() bars now/></td>
            <td class="c-created" data-label="Created">
                <TimeText at=key.created_at now/>
                <span class="second">{key.created_by_name.clone()}</span>
            </td>
            {may_manage.then(|| view! { <td class="c-actions"><Actions key=key.clone()/></td> })}
        </tr>
    }
}

#[component]
fn SelectBox(name: String, id: domain::ids::KeyId, selection: Selection) -> impl IntoView {
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
fn Name(key: ApiKey) -> impl IntoView {
    let page = KeysPage::get();
    let group = group_label(key.scope_group.as_deref(), key.scopes);
    let description = key.description.clone();
    view! {
        <span class="key-name">
            <a href=page.href(Panel::Usage(key.id)) data-noscroll="true"><bdi>{key.name.clone()}</bdi></a>
            {(key.environment == Environment::Test).then(|| view! { <Badge tone=Tone::Info>"Test"</Badge> })}
        </span>
        {(!description.is_empty()).then(|| view! { <span class="second" title=description.clone()>{description.clone()}</span> })}
        <span class="second">{group}</span>
    }
}

/// The first two, and the rest in a popover.
#[component]
pub fn Permissions(key: ApiKey) -> impl IntoView {
    let hidden = key.scopes.len().saturating_sub(BADGES);
    let first = key.scopes.iter().take(BADGES).map(|scope| view! { <Badge>{scope.label()}</Badge> }).collect_view();
    let rest = (hidden > 0).then(|| {
        let items = key
            .scopes
            .iter()
            .skip(BADGES)
            .map(|scope| view! { <li><span>{scope.label()}</span> <code>{scope.as_str()}</code></li> })
            .collect_view();
        let (name, id) = (key.name.clone(), key.id);
        view! {
            <Menu id=format!("more-{id}") label=format!("More permissions of {name}") text=format!("+{hidden} more") icon=Icon::ChevronDown>
                <ul class="scope-list">{items}</ul>
            </Menu>
        }
    });
    view! { <span class="badges">{first} {rest}</span> }
}

#[component]
fn Limits(key: ApiKey, now: Time) -> impl IntoView {
    let mut lines: Vec<(String, Option<String>)> = vec![];
    if let Some(limit) = key.rate_limit {
        lines.push((format!("{}/h", count(limit)), None));
    }
    if key.throttle.mode != ThrottleMode::Off {
        let word = match key.throttle.mode {
            ThrottleMode::Off => "Off",
            ThrottleMode::Fixed { .. } => "Fixed delay",
            ThrottleMode::Random { .. } => "Random delay",
            ThrottleMode::Smart { .. } => "Smart delay",
        };
        let full =
            format!("{}; at most {} messages waiting", key.throttle.mode.sentence(), count(key.throttle.max_queue));
        lines.push((word.to_owned(), Some(full)));
    }
    match key.allowed_ips.as_slice() {
        [] => {}
        nets => {
            let shown: Vec<_> = nets.iter().take(12).map(domain::keys::form::show_net).collect();
            let more = nets.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let n = i64::try_from(nets.len()).unwrap_or(i64::MAX);
            lines.push((counted(n, "IP", "IPs"), Some(format!("{}{more}", shown.join(", ")))));
        }
    }
    if let Some(at) = key.expires_at {
        let verb = if at <= now { "ended" } else { "ends" };
        lines.push((format!("{verb} {}", at.format("%-d %b %Y")), Some(time::exact(at))));
    }
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
fn LastUsed(key: ApiKey, bars: Vec<HourBar>, now: Time) -> impl IntoView {
    let used = match key.last_use {
        Some(used) => {
            let ip = used.ip.map_or_else(|| "unknown address".to_owned(), |ip| ip.to_string());
            let agent = if used.user_agent.is_empty() { "no user agent".to_owned() } else { used.user_agent };
            let from = format!("{} · {ip} · {agent}", time::exact(used.at));
            view! {
                <span class="used" title=from.clone()>
                    <TimeText at=used.at now/>
                    <span class="sr-only">{format!(", from {from}")}</span>
                </span>
            }
            .into_any()
        }
        None => view! { <span class="none">"Never"</span> }.into_any(),
    };
    view! {
        {used}
        <Spark bars/>
    }
}

#[component]
fn Actions(key: ApiKey) -> impl IntoView {
    let page = KeysPage::get();
    let id = key.id;
    let revoked = key.revoked_at.is_some();
    let (what, icon, words) = if key.disabled_at.is_some() {
        (Change::Enable, Icon::Play, "Enable")
    } else {
        (Change::Disable, Icon::Pause, "Disable")
    };
    let href = move |panel| page.href(panel);
    let to_change = (!revoked).then(|| {
        view! {
            <MenuLink href=href(Panel::Edit(id)) icon=Icon::Pencil>"Edit"</MenuLink>
        }
    });
    let toggle = (!revoked).then(|| {
        let back = page.back();
        view! {
            <ActionForm action=page.change>
                <input type="hidden" name="ids[]" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <MenuButton icon submit=true>{words}</MenuButton>
            </ActionForm>
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
        <Menu id=format!("menu-{id}") label=format!("Actions for {}", key.name)>
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
