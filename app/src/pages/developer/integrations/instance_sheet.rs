//! The detail of an instance as a side sheet: connection, queue, settings, and how to send.

use std::time::Duration;

use domain::{
    ids::{InstanceId, MessageId},
    instances::{Provider, Status},
};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::load_panel,
    context::{Integrations, queue_row_id},
    data::{InstanceChange, InstanceDetail, MessageChange, PanelPage, QueueView},
    fresh::keep_fresh,
    instance_list::StatusBadge,
    query::Panel,
};
use crate::{
    components::{
        Button, ButtonKind, CodeBlock, CopyButton, FormError, Icon, LinkButton, Menu, MenuButton, Notice, Sheet,
        TimeText, Tone,
    },
    error::AppError,
    pages::developer::api_keys::context::{count, counted},
};

/// How often the sheet looks while messages leave.
const EVERY: Duration = Duration::from_secs(3);

#[component]
pub fn InstanceSheet(detail: InstanceDetail) -> impl IntoView {
    let page = Integrations::get();
    let id = detail.line.id;
    let (name, provider, may_manage) = (detail.line.name.clone(), detail.line.provider, detail.may_manage);
    let problem = detail.problem.clone();
    let (settings, credentials, hook_url) =
        (detail.settings.clone(), detail.credentials.clone(), detail.hook_url.clone());
    let (created_at, created_by, now, call) =
        (detail.created_at, detail.created_by.clone(), detail.now, detail.call.clone());
    let shown = RwSignal::new(detail);
    let moving = |detail: &InstanceDetail| {
        detail.queue.waiting > 0 || matches!(detail.line.status, Status::Connecting | Status::ScanQr)
    };
    keep_fresh(shown, EVERY, moving, move || async move {
        match load_panel(Panel::Instance(id)).await? {
            PanelPage::Instance(detail) => Ok(*detail),
            _ => Err(AppError::NotFound),
        }
    });
    let line = Memo::new(move |_| shown.with(|detail| detail.line.clone()));
    view! {
        <Sheet
            id="instance-sheet"
            title=name
            description=provider.about()
            close_href=page.close_href()
            foot=move || may_manage.then(|| view! {
                {(provider != Provider::Sandbox).then(|| view! {
                    <LinkButton href=page.href(Panel::ConnectInstance(id)) icon=Icon::Phone>"Connection"</LinkButton>
                })}
                <LinkButton href=page.href(Panel::EditInstance(id)) icon=Icon::Pencil>"Edit"</LinkButton>
            })
        >
            <FormError message=problem/>
            {move || {
                let line = line.get();
                let reason = line.status_reason.clone();
                view! { <p class="sheet-status"><StatusBadge line/> <span>{reason}</span></p> }
            }}
            <QueuePart id shown may_manage/>
            {move || line.with(|line| line.last_failure.clone()).map(|failure| view! {
                <section class="sheet-part">
                    <h3>"Last failure"</h3>
                    <p>{failure.words} " " <span class="sub"><TimeText at=failure.at now/></span></p>
                </section>
            })}
            <section class="sheet-part">
                <h3>"Send a message"</h3>
                {(provider == Provider::Sandbox).then(|| view! {
                    <p class="sub">
                        "Numbers ending in 0001 are delivered and read, 0002 fails, 0003 is slow, 0004 is throttled first, any other is delivered."
                    </p>
                })}
                <CodeBlock id="instance-call" text=call label="cURL call that sends a message"/>
            </section>
            {hook_url.map(|url| view! { <HookPart url provider/> })}
            <section class="sheet-part">
                <h3>"Instance"</h3>
                <dl class="facts">
                    <div><dt>"Id"</dt> <dd><code>{id.to_string()}</code> <CopyButton text=id.to_string() label="Copy the id" bare=true kind=ButtonKind::Quiet/></dd></div>
                    <div><dt>"Provider"</dt> <dd>{provider.label()}</dd></div>
                    <div><dt>"Number"</dt> <dd>{move || line.with(|line| line.number.clone()).map_or_else(
                        || view! { <span class="none">"—"</span> }.into_any(),
                        |number| number.into_any(),
                    )}</dd></div>
                    {settings.into_iter().map(|(label, value)| view! { <div><dt>{label}</dt> <dd class="anywhere">{value}</dd></div> }).collect_view()}
                    {(!credentials.is_empty()).then(|| view! { <div><dt>"Credentials"</dt> <dd>{format!("{} (set)", credentials.join(", "))}</dd></div> })}
                    <div><dt>"Created"</dt> <dd><TimeText at=created_at now/> {format!(" by {created_by}")}</dd></div>
                </dl>
            </section>
        </Sheet>
    }
}

/// Where the provider sends what happens.
#[component]
pub fn HookPart(url: String, provider: Provider) -> impl IntoView {
    let text = match provider {
        Provider::CloudApi => {
            "Paste this as Callback URL in Meta’s app, under WhatsApp, Configuration; subscribe to “messages”."
        }
        Provider::Waha | Provider::Sandbox => {
            "WAHA is told this address when the instance is connected. It must be able to reach it."
        }
    };
    view! {
        <section class="sheet-part">
            <h3>"Webhook address"</h3>
            <p class="sub">{text}</p>
            <div class="secret-row">
                <code class="secret" id="hook-url">{url.clone()}</code>
                <CopyButton text=url label="Copy address" target="hook-url"/>
            </div>
        </section>
    }
}

#[component]
fn QueuePart(id: InstanceId, shown: RwSignal<InstanceDetail>, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let queue = Memo::new(move |_| shown.with(|detail| detail.queue.clone()));
    let figures = Memo::new(move |_| queue.with(|queue| (queue.waiting, queue.sending, queue.unknown)));
    let paused = Memo::new(move |_| queue.with(|queue| queue.paused.clone()));
    let last = Memo::new(move |_| queue.with(|queue| queue.last));
    let failures = Memo::new(move |_| queue.with(|queue| queue.failures_in_a_row));
    let heads = Memo::new(move |_| queue.with(|queue| queue.head.iter().map(|waiting| waiting.id).collect::<Vec<_>>()));
    let pending = page.change_instance.pending();
    let now = shown.with_untracked(|detail| detail.now);
    let toggle = move |what: InstanceChange, words: &'static str, icon: Icon| {
        let back = page.back_here();
        view! {
            <ActionForm action=page.change_instance>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <Button submit=true icon=icon pending=pending>{words}</Button>
            </ActionForm>
        }
    };
    view! {
        <section class="sheet-part">
            <div class="part-head">
                <h3>"Queue"</h3>
                {may_manage.then(|| view! {
                    {move || match paused.with(|paused| paused.is_some()) {
                        true => toggle(InstanceChange::Resume, "Resume queue", Icon::Play).into_any(),
                        false => toggle(InstanceChange::Pause, "Pause queue", Icon::Pause).into_any(),
                    }}
                })}
            </div>
            {move || paused.get().map(|paused| view! {
                <Notice tone=Tone::Warn>
                    <p>
                        // Of a person the reason says it all.
                        {(paused.why != "by hand").then(|| view! { <strong>{format!("Paused {}. ", paused.why)}</strong> })}
                        {paused.reason}
                    </p>
                    <p class="sub">"Since " <TimeText at=paused.at now exact=true/></p>
                </Notice>
            })}
            <dl class="figures">
                {move || {
                    let (waiting, sending, unknown) = figures.get();
                    view! {
                        <div><dt>"Waiting"</dt><dd class="num">{count(waiting)}</dd></div>
                        <div><dt>"Being sent"</dt><dd class="num">{count(sending)}</dd></div>
                        {(unknown > 0).then(|| view! { <div><dt title="They may have left: the provider’s answer was lost">"Being found out"</dt><dd class="num">{count(unknown)}</dd></div> })}
                    }
                }}
                {move || last.get().map(|at| view! { <div><dt>"Last one leaves"</dt><dd><TimeText at now/></dd></div> })}
                {move || (failures.get() > 0).then(|| view! { <div><dt>"Failures in a row"</dt><dd class="num">{count(failures.get())}</dd></div> })}
            </dl>
            {move || if heads.with(Vec::is_empty) {
                view! { <p class="sub">{move || match figures.get().0 { 0 => "Nothing waits.", _ => "Everything that waited is being sent." }}</p> }.into_any()
            } else {
                view! {
                    <ol class="waiting" aria-label="Waiting messages">
                        <For each=move || heads.get() key=|id| *id let:message>
                            <Waiting instance=id message queue may_manage/>
                        </For>
                    </ol>
                    {move || {
                        let more = figures.get().0 - figures.get().1 - heads.with(|heads| i64::try_from(heads.len()).unwrap_or(0));
                        (more > 0).then(|| view! { <p class="sub">{format!("and {} more", counted(more, "message", "messages"))}</p> })
                    }}
                }
                .into_any()
            }}
        </section>
    }
}

/// One message that waits. Its words change while it moves up; its menu stays.
#[component]
fn Waiting(instance: InstanceId, message: MessageId, queue: Memo<QueueView>, may_manage: bool) -> impl IntoView {
    let page = Integrations::get();
    let row = Memo::new(move |_| {
        queue.with(|queue| {
            let at = queue.head.iter().position(|waiting| waiting.id == message)?;
            queue.head.get(at).map(|waiting| (at + 1, waiting.clone()))
        })
    });
    let to = row.with_untracked(|row| row.as_ref().map(|(_, waiting)| waiting.to.clone())).unwrap_or_default();
    let change = move |what: MessageChange, icon: Icon, words: &'static str| {
        let back = page.back_here();
        view! {
            <ActionForm action=page.change_message>
                <input type="hidden" name="id" value=message.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <MenuButton icon submit=true danger={what == MessageChange::Cancel}>{words}</MenuButton>
            </ActionForm>
        }
    };
    view! {
        <li>
            <span class="position num">{move || row.with(|row| row.as_ref().map(|(at, _)| at.to_string()))}</span>
            <span class="to">
                <span class="number">{to.clone()}</span>
                <span class="second">{message.to_string()}</span>
            </span>
            <span class="expected" title=move || row.with(|row| row.as_ref().map(|(_, waiting)| waiting.exact.clone()))>
                {move || row.with(|row| row.as_ref().map(|(_, waiting)| waiting.expected.clone()))}
                {move || row.with(|row| row.as_ref().map(|(_, waiting)| waiting.attempts).filter(|n| *n > 0)).map(|n| view! {
                    <span class="second">{counted(i64::from(n), "attempt", "attempts")} " so far"</span>
                })}
            </span>
            {may_manage.then(|| view! {
                <Menu id=queue_row_id(instance, message) label=format!("Actions for the message to {to}")>
                    {change(MessageChange::SendNow, Icon::Send, "Send now")}
                    {change(MessageChange::Cancel, Icon::Trash, "Cancel message")}
                </Menu>
            })}
        </li>
    }
}
