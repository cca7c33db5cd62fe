//! The detail of a key as a side sheet: state, figures, who still uses an old secret.

use domain::{
    keys::{ApiKey, ApiKeyRow, Caller, HourBar, KeyStats, form::show_net, scope::group_label},
    time::Time,
};
use leptos::{form::ActionForm, prelude::*};

use super::{
    context::{KeysPage, count, counted},
    query::Panel,
    row::{OldSecretLine, StatusBadge},
};
use crate::components::{Button, CopyButton, Icon, LinkButton, ProgressBar, Sheet, Spark, TimeText};

#[component]
pub fn UsageSheet(
    row: ApiKeyRow,
    stats: KeyStats,
    old_callers: Vec<Caller>,
    now: Time,
    may_manage: bool,
) -> impl IntoView {
    let page = KeysPage::get();
    let bars = row.hours.clone();
    let (key, reason) = (row.key, row.status.reason.clone());
    let description = key.description.clone();
    let (id, changeable) = (key.id, may_manage && key.revoked_at.is_none());
    view! {
        <Sheet
            id="usage-sheet"
            title=key.name.clone()
            description=description
            close_href=page.close_href()
            foot=move || view! {
                <LinkButton href=page.href(Panel::History(id)) icon=Icon::History>"History"</LinkButton>
                {changeable.then(|| view! {
                    <LinkButton href=page.href(Panel::Regenerate(id)) icon=Icon::Refresh>"Regenerate"</LinkButton>
                    <LinkButton href=page.href(Panel::Edit(id)) icon=Icon::Pencil>"Edit"</LinkButton>
                })}
            }
        >
            <p class="sheet-status"><StatusBadge status=row.status.clone()/> <span>{reason}</span></p>
            {key.old_secret.is_some().then(|| view! { <Rotation key=key.clone() old_callers now changeable/> })}
            <Messages stats=stats.clone() now/>
            <Requests stats bars/>
            <Facts key now/>
        </Sheet>
    }
}

/// While two secrets work: who has not changed over yet, and the end of it.
#[component]
fn Rotation(key: ApiKey, old_callers: Vec<Caller>, now: Time, changeable: bool) -> impl IntoView {
    let page = KeysPage::get();
    let pending = page.retire.pending();
    let id = key.id;
    let none = old_callers.is_empty();
    view! {
        <section class="sheet-part">
            <h3>"Rotating"</h3>
            <OldSecretLine key now/>
            {if none {
                view! { <p>"Nobody has called with the old secret since the new one was made."</p> }.into_any()
            } else {
                view! {
                    <p>"Still calling with the old secret:"</p>
                    <Callers callers=old_callers now/>
                }
                    .into_any()
            }}
            {changeable.then(|| view! {
                <ActionForm action=page.retire>
                    <input type="hidden" name="id" value=id.to_string()/>
                    <input type="hidden" name="back" value=move || page.back().get()/>
                    <Button submit=true pending=pending>"Retire now"</Button>
                </ActionForm>
            })}
        </section>
    }
}

/// Callers by address and user agent.
#[component]
pub fn Callers(callers: Vec<Caller>, now: Time) -> impl IntoView {
    let rows = callers
        .into_iter()
        .map(|caller| {
            let ip = caller.ip.map_or_else(|| "unknown address".to_owned(), |ip| ip.to_string());
            let agent = if caller.user_agent.is_empty() { "no user agent".to_owned() } else { caller.user_agent };
            view! {
                <li>
                    <code>{ip}</code>
                    <span class="agent" title=agent.clone()>{agent.clone()}</span>
                    <span class="sub">{counted(caller.calls, "call", "calls")} ", last " <TimeText at=caller.last_at now/></span>
                </li>
            }
        })
        .collect_view();
    view! { <ul class="callers">{rows}</ul> }
}

#[component]
fn Messages(stats: KeyStats, now: Time) -> impl IntoView {
    let last = match stats.last_message_at {
        Some(at) => view! { <TimeText at now/> }.into_any(),
        None => view! { <span class="none" title="No message yet">"—"</span> }.into_any(),
    };
    let figures = [
        ("Total Messages", stats.messages),
        ("Sent", stats.sent),
        ("Delivered", stats.delivered),
        ("Read", stats.read),
        ("Failed", stats.failed),
    ]
    .map(|(label, n)| view! { <div><dt>{label}</dt><dd class="num">{count(n)}</dd></div> })
    .collect_view();
    view! {
        <section class="sheet-part">
            <h3>"Messages"</h3>
            <dl class="figures">
                {figures}
                <div><dt>"Last Message"</dt><dd>{last}</dd></div>
            </dl>
            <ProgressBar label="Delivery Rate" part=stats.delivered + stats.read whole=stats.messages/>
            <ProgressBar label="Read Rate" part=stats.read whole=stats.messages/>
        </section>
    }
}

#[component]
fn Requests(stats: KeyStats, bars: Vec<HourBar>) -> impl IntoView {
    let figures = [("Requests", stats.requests), ("Errors", stats.errors), ("Denied", stats.denied)]
        .map(|(label, n)| view! { <div><dt>{label}</dt><dd class="num">{count(n)}</dd></div> })
        .collect_view();
    let endpoints = stats
        .top_endpoints
        .iter()
        .map(|(endpoint, calls)| view! { <li><code>{endpoint.clone()}</code> <span class="num">{count(*calls)}</span></li> })
        .collect_view();
    let none = stats.top_endpoints.is_empty();
    view! {
        <section class="sheet-part">
            <h3>"Calls in 30 days"</h3>
            <dl class="figures">{figures}</dl>
            <p class="sub">"Last 24 hours"</p>
            <Spark bars/>
            <h4>"Top endpoints"</h4>
            {if none {
                view! { <p class="sub">"No calls yet."</p> }.into_any()
            } else {
                view! { <ol class="endpoints">{endpoints}</ol> }.into_any()
            }}
        </section>
    }
}

#[component]
fn Facts(key: ApiKey, now: Time) -> impl IntoView {
    let scopes = key
        .scopes
        .iter()
        .map(|scope| view! { <li><span>{scope.label()}</span> <code>{scope.as_str()}</code></li> })
        .collect_view();
    let ips = if key.allowed_ips.is_empty() {
        "any".to_owned()
    } else {
        key.allowed_ips.iter().map(show_net).collect::<Vec<_>>().join(", ")
    };
    let instances = match &key.allowed_instances {
        None => "all".to_owned(),
        Some(ids) => counted(i64::try_from(ids.len()).unwrap_or(0), "instance", "instances"),
    };
    let rate = key.rate_limit.map_or_else(|| "none".to_owned(), |n| format!("{} calls an hour", count(n)));
    let expiry = match key.expires_at {
        Some(at) => view! { <TimeText at now exact=true/> }.into_any(),
        None => "never".into_any(),
    };
    let last_use = match &key.last_use {
        Some(used) => view! { <TimeText at=used.at now/> {format!(" from {}", used.origin())} }.into_any(),
        None => "never".into_any(),
    };
    let group = group_label(key.scope_group.as_deref(), key.scopes);
    let id = key.id.to_string();
    view! {
        <section class="sheet-part">
            <h3>"Key"</h3>
            <dl class="facts">
                <div><dt>"Key"</dt> <dd><code>{key.hint.clone()}</code></dd></div>
                <div><dt>"Id"</dt> <dd><code>{id.clone()}</code> <CopyButton text=id label="Copy the id" bare=true kind=crate::components::ButtonKind::Quiet/></dd></div>
                <div><dt>"Environment"</dt> <dd>{key.environment.label()}</dd></div>
                <div><dt>"Throttle Mode"</dt> <dd>{key.throttle.mode.sentence()}</dd></div>
                <div><dt>"Max Queue Size"</dt> <dd class="num">{count(key.throttle.max_queue)}</dd></div>
                <div><dt>"Rate limit"</dt> <dd>{rate}</dd></div>
                <div><dt>"IP addresses"</dt> <dd>{ips}</dd></div>
                <div><dt>"Instances"</dt> <dd>{instances}</dd></div>
                <div><dt>"API secret"</dt> <dd>{match key.api_secret_hint.clone() {
                    Some(hint) => view! { <code>{hint}</code> }.into_any(),
                    None => "none".into_any(),
                }}</dd></div>
                <div><dt>"Expires"</dt> <dd>{expiry}</dd></div>
                <div><dt>"Last used"</dt> <dd>{last_use}</dd></div>
                <div><dt>"Created"</dt> <dd><TimeText at=key.created_at now/> {format!(" by {}", key.created_by_name)}</dd></div>
                <div><dt>"Permissions"</dt> <dd>{group}<ul class="scope-list">{scopes}</ul></dd></div>
            </dl>
        </section>
    }
}
