//! The table of webhook endpoints.

use domain::{ids::EndpointId, time::Time};
use leptos::{form::ActionForm, prelude::*};

use super::{
    context::Integrations,
    data::{EndpointChange, EndpointLine, HealthKind},
    instance_list::open_by_click,
    query::{ListAt, Panel},
    words::{environment_label, short_url},
};
use crate::{
    components::{
        Badge, CursorPager, EmptyState, Icon, LinkButton, Menu, MenuButton, MenuGap, MenuLink, TableWrap, TimeText,
        Tone, share,
    },
    pages::developer::api_keys::context::{count, counted},
};

/// Subscriptions that fit beside each other.
const BADGES: usize = 2;

#[component]
pub fn Endpoints(rows: Vec<EndpointLine>, next: Option<EndpointId>, now: Time, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let at = page.query.with_untracked(|query| query.at);
    let first_href =
        at.endpoints.map(|_| page.query.with_untracked(|query| query.at(ListAt { endpoints: None, ..at }).href()));
    let next_href =
        next.map(|id| page.query.with_untracked(|query| query.at(ListAt { endpoints: Some(id), ..at }).href()));
    let empty = rows.is_empty();
    let rows = rows.into_iter().map(|line| view! { <EndpointRow line now may_manage/> }).collect_view();
    let nothing = if may_manage {
        "An endpoint is a URL of yours. Bouncer posts to it what happens: a message was delivered, somebody wrote, a number lost its session."
    } else {
        "An endpoint is a URL to which Bouncer posts what happens. A developer, admin or owner can add one."
    };
    view! {
        <section class="section">
            <header class="section-head">
                <div>
                    <h2>"Webhook endpoints"</h2>
                    <p>"Your URLs that hear what happens, as it happens."</p>
                </div>
                {(may_manage && !empty).then(|| view! {
                    <LinkButton href=page.href(Panel::NewEndpoint) icon=Icon::Plus>"Add endpoint"</LinkButton>
                })}
            </header>
            {if empty {
                view! {
                    <EmptyState icon=Icon::Webhook title="No webhook endpoints yet" text=nothing>
                        {may_manage.then(|| view! {
                            <LinkButton href=page.href(Panel::NewEndpoint) icon=Icon::Plus>"Add the first endpoint"</LinkButton>
                        })}
                    </EmptyState>
                }
                .into_any()
            } else {
                view! {
                    <TableWrap label="Webhook endpoints">
                        <table class="table cards endpoints-table">
                            <thead>
                                <tr>
                                    <th scope="col">"URL"</th>
                                    <th scope="col">"Events"</th>
                                    <th scope="col">"Health"</th>
                                    <th scope="col" class="num">"Delivered, 24 h"</th>
                                    <th scope="col" class="num">"Waiting"</th>
                                    <th scope="col">"Last attempt"</th>
                                    <th scope="col" class="row-actions"><span class="sr-only">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>{rows}</tbody>
                        </table>
                    </TableWrap>
                    <CursorPager first_href next_href/>
                }
                .into_any()
            }}
        </section>
    }
}

#[component]
fn EndpointRow(line: EndpointLine, now: Time, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let id = line.id;
    let open = open_by_click(move || page.open(Panel::Endpoint(id)));
    let (description, disabled) = (line.description.clone(), line.disabled);
    let last = match line.last_attempt {
        Some(at) => view! { <TimeText at now/> }.into_any(),
        None => view! { <span class="none">"Never"</span> }.into_any(),
    };
    let all = line.succeeded + line.failed;
    let attempts = counted(all, "attempt", "attempts");
    let delivered = match share(line.succeeded, all) {
        Some(share) => view! { <span title=attempts>{share}</span> }.into_any(),
        None => view! { <span class="none" title="No attempt in 24 hours">"—"</span> }.into_any(),
    };
    view! {
        <tr on:click=open class:revoked=disabled>
            <td class="two-lines c-url">
                <span class="key-name">
                    <a href=page.href(Panel::Endpoint(id)) data-noscroll="true" title=line.url.clone()><bdi>{short_url(&line.url).to_owned()}</bdi></a>
                </span>
                {(!description.is_empty()).then(|| view! { <span class="second" title=description.clone()>{description.clone()}</span> })}
            </td>
            <td data-label="Events">
                <Events events=line.events.clone()/>
                <span class="second">{environment_label(line.environment)}</span>
            </td>
            <td data-label="Health"><HealthBadge line=line.clone()/></td>
            <td data-label="Delivered, 24 h" class="num">{delivered}</td>
            <td data-label="Waiting" class="num">{match line.pending {
                0 => view! { <span class="none">"0"</span> }.into_any(),
                n => count(n).into_any(),
            }}</td>
            <td data-label="Last attempt">{last}</td>
            <td class="row-actions"><Actions line may_manage/></td>
        </tr>
    }
}

/// The first subscriptions, and how many more there are.
#[component]
fn Events(events: Vec<String>) -> impl IntoView {
    let hidden = events.len().saturating_sub(BADGES);
    let all = events.join(", ");
    let first =
        events.into_iter().take(BADGES).map(|event| view! { <Badge>{event_label(event)}</Badge> }).collect_view();
    view! {
        <span class="badges">
            {first}
            {(hidden > 0).then(|| view! { <span class="sub" title=all>{format!("+{hidden} more")}</span> })}
        </span>
    }
}

fn event_label(event: String) -> String {
    if event == "*" { "All events".to_owned() } else { event }
}

/// How it fares in a word, with the reason on hover.
#[component]
pub fn HealthBadge(line: EndpointLine) -> impl IntoView {
    let (tone, word) = match line.health {
        HealthKind::New => (Tone::Neutral, "New"),
        HealthKind::Healthy => (Tone::Ok, "Healthy"),
        HealthKind::Failing => (Tone::Bad, "Failing"),
        HealthKind::Disabled => (Tone::Neutral, "Disabled"),
    };
    view! { <Badge tone=tone dot=true title=line.health_reason>{word}</Badge> }
}

#[component]
fn Actions(line: EndpointLine, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let id = line.id;
    let (what, icon, words) = if line.disabled {
        (EndpointChange::Enable, Icon::Play, "Enable")
    } else {
        (EndpointChange::Disable, Icon::Pause, "Disable")
    };
    let disabled = line.disabled;
    let change = may_manage.then(|| {
        let back = page.back();
        view! {
            <MenuLink href=page.href(Panel::EditEndpoint(id)) icon=Icon::Pencil>"Edit"</MenuLink>
            {(!disabled).then(|| view! {
                <ActionForm action=page.test>
                    <input type="hidden" name="id" value=id.to_string()/>
                    <input type="hidden" name="back" value=move || back.get()/>
                    <MenuButton icon=Icon::Send submit=true>"Send test event"</MenuButton>
                </ActionForm>
            })}
            <ActionForm action=page.change_endpoint>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <MenuButton icon submit=true>{words}</MenuButton>
            </ActionForm>
            <MenuLink href=page.href(Panel::RotateEndpoint(id)) icon=Icon::Refresh>"Rotate secret"</MenuLink>
            <MenuGap/>
            <MenuLink href=page.href(Panel::DeleteEndpoint(id)) icon=Icon::Trash danger=true>"Delete"</MenuLink>
        }
    });
    view! {
        <Menu id=format!("menu-{id}") label=format!("Actions for {}", line.url)>
            <MenuLink href=page.href(Panel::Endpoint(id)) icon=Icon::Info>"Details and deliveries"</MenuLink>
            {change}
        </Menu>
    }
}
