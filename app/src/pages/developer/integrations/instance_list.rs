//! The table of instances.

use domain::{
    ids::InstanceId,
    instances::{Provider, Status},
    time::Time,
};
use leptos::{ev, form::ActionForm, prelude::*};

use super::{
    context::Integrations,
    data::{InstanceChange, InstanceLine},
    query::{ListAt, Panel},
    words::status_tone,
};
use crate::{
    components::{
        Badge, ButtonKind, CursorPager, EmptyState, Icon, LinkButton, Menu, MenuButton, MenuGap, MenuLink, TableWrap,
        TimeText, Tone,
    },
    pages::developer::api_keys::context::counted,
};

#[component]
pub fn Instances(rows: Vec<InstanceLine>, next: Option<InstanceId>, now: Time, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let at = page.query.with_untracked(|query| query.at);
    let first_href =
        at.instances.map(|_| page.query.with_untracked(|query| query.at(ListAt { instances: None, ..at }).href()));
    let next_href =
        next.map(|id| page.query.with_untracked(|query| query.at(ListAt { instances: Some(id), ..at }).href()));
    let empty = rows.is_empty();
    let rows = rows.into_iter().map(|line| view! { <InstanceRow line now may_manage/> }).collect_view();
    let nothing = if may_manage {
        "An instance is one WhatsApp number that messages leave from. Begin with the sandbox: it sends nothing, and answers as WhatsApp would."
    } else {
        "An instance is one WhatsApp number that messages leave from. A developer, admin or owner can add one."
    };
    view! {
        <section class="section">
            <header class="section-head">
                <div>
                    <h2>"Instances"</h2>
                    <p>"The WhatsApp numbers that your messages leave from."</p>
                </div>
                {(may_manage && !empty).then(|| view! {
                    <LinkButton href=page.href(Panel::NewInstance) kind=ButtonKind::Primary icon=Icon::Plus>"Add instance"</LinkButton>
                })}
            </header>
            {if empty {
                view! {
                    <EmptyState icon=Icon::Phone title="No instances yet" text=nothing>
                        {may_manage.then(|| view! {
                            <LinkButton href=page.href(Panel::NewInstance) kind=ButtonKind::Primary icon=Icon::Plus>
                                "Add the first instance"
                            </LinkButton>
                        })}
                    </EmptyState>
                }
                .into_any()
            } else {
                view! {
                    <TableWrap label="Instances">
                        <table class="table cards instances-table">
                            <thead>
                                <tr>
                                    <th scope="col">"Name"</th>
                                    <th scope="col">"Number"</th>
                                    <th scope="col">"Status"</th>
                                    <th scope="col">"Queue"</th>
                                    <th scope="col">"Last failure"</th>
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
fn InstanceRow(line: InstanceLine, now: Time, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let id = line.id;
    let open = open_by_click(move || page.open(Panel::Instance(id)));
    let failure = match line.last_failure.clone() {
        Some(failure) => view! {
            <span class="failure" title=failure.words.clone()>
                <TimeText at=failure.at now/>
                <span class="second">{failure.words.clone()}</span>
            </span>
        }
        .into_any(),
        None => view! { <span class="none" title="None among the latest messages">"—"</span> }.into_any(),
    };
    view! {
        <tr on:click=open>
            <td class="two-lines">
                <span class="key-name"><a href=page.href(Panel::Instance(id)) data-noscroll="true"><bdi>{line.name.clone()}</bdi></a></span>
                <span class="second">{line.provider.label()}</span>
            </td>
            <td data-label="Number">{match line.number.clone() {
                Some(number) => view! { <span class="number">{number}</span> }.into_any(),
                None => view! { <span class="none" title="Not known yet">"—"</span> }.into_any(),
            }}</td>
            <td data-label="Status"><StatusBadge line=line.clone()/></td>
            <td data-label="Queue"><Queue line=line.clone() now/></td>
            <td data-label="Last failure" class="c-failure">{failure}</td>
            <td class="row-actions"><Actions line may_manage/></td>
        </tr>
    }
}

/// A click on the row opens its detail; on a control in it, it is the control's.
pub fn open_by_click(open: impl Fn()) -> impl Fn(ev::MouseEvent) {
    move |event| {
        let inside = "a, button, input, label, form, time, [popover], [title]";
        let own = event_target::<web_sys::Element>(&event).closest(inside).ok().flatten().is_some();
        if !own && !event.default_prevented() {
            open();
        }
    }
}

/// The connection in a word, with the provider's own words on hover.
#[component]
pub fn StatusBadge(line: InstanceLine) -> impl IntoView {
    view! { <Badge tone=status_tone(line.status) dot=true title=line.status_reason>{line.status.label()}</Badge> }
}

#[component]
fn Queue(line: InstanceLine, now: Time) -> impl IntoView {
    let waiting = i64::try_from(line.waiting).unwrap_or(i64::MAX);
    let words = match waiting {
        0 => view! { <span class="none">"Empty"</span> }.into_any(),
        n => counted(n, "message", "messages").into_any(),
    };
    let second = match (line.paused, line.next) {
        (Some(paused), _) => Some(
            view! { <span class="second"><Badge tone=Tone::Warn icon=Icon::Pause title=paused.reason>{format!("Paused {}", paused.why)}</Badge></span> }
                .into_any(),
        ),
        (None, Some(next)) if next > now => {
            Some(view! { <span class="second">"next " <TimeText at=next now/></span> }.into_any())
        }
        _ => None,
    };
    view! { <span class="queue-cell">{words} {second}</span> }
}

#[component]
fn Actions(line: InstanceLine, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let id = line.id;
    let (toggle, icon, words) = if line.paused.as_ref().is_some_and(|paused| paused.why == "by hand") {
        (InstanceChange::Resume, Icon::Play, "Resume queue")
    } else {
        (InstanceChange::Pause, Icon::Pause, "Pause queue")
    };
    let own_connection = line.provider != Provider::Sandbox;
    let connected = line.status == Status::Connected;
    let change = may_manage.then(|| {
        let back = page.back();
        view! {
            <MenuLink href=page.href(Panel::EditInstance(id)) icon=Icon::Pencil>"Edit"</MenuLink>
            {own_connection.then(|| view! {
                <MenuLink href=page.href(Panel::ConnectInstance(id)) icon=Icon::Phone>
                    {if connected { "Connection" } else { "Connect" }}
                </MenuLink>
            })}
            <ActionForm action=page.change_instance>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=toggle.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <MenuButton icon submit=true>{words}</MenuButton>
            </ActionForm>
            <MenuGap/>
            <MenuLink href=page.href(Panel::DeleteInstance(id)) icon=Icon::Trash danger=true>"Delete"</MenuLink>
        }
    });
    view! {
        <Menu id=format!("menu-{id}") label=format!("Actions for {}", line.name)>
            <MenuLink href=page.href(Panel::Instance(id)) icon=Icon::Info>"Details and queue"</MenuLink>
            {change}
        </Menu>
    }
}
