//! The detail of a webhook endpoint as a side sheet: health, latest deliveries, settings.

use std::time::Duration;

use domain::{ids::EndpointId, time::Time};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::load_panel,
    context::Integrations,
    data::{DeliveryLine, EndpointChange, EndpointDetail, PanelPage},
    endpoint_list::HealthBadge,
    fresh::keep_fresh,
    query::Panel,
    words::{delivery_label, delivery_tone, short_url},
};
use crate::{
    components::{
        Badge, Button, ButtonKind, CopyButton, FormError, Glyph, Icon, LinkButton, Notice, ProgressBar, Sheet,
        TimeText, Tone,
    },
    error::AppError,
    pages::developer::api_keys::context::{count, counted},
};

/// How often the sheet looks while deliveries wait.
const EVERY: Duration = Duration::from_secs(3);

#[component]
pub fn EndpointSheet(detail: EndpointDetail) -> impl IntoView {
    let page = Integrations::get();
    let id = detail.line.id;
    let may_manage = detail.may_manage;
    let (url, description) = (detail.line.url.clone(), detail.line.description.clone());
    let (facts, created_at, created_by) = (detail.facts.clone(), detail.created_at, detail.created_by.clone());
    let (now, problem, old_until) = (detail.now, detail.problem.clone(), detail.old_secret_ends_at);
    let shown = RwSignal::new(detail);
    keep_fresh(
        shown,
        EVERY,
        |detail| detail.line.pending > 0,
        move || async move {
            match load_panel(Panel::Endpoint(id)).await? {
                PanelPage::Endpoint(detail) => Ok(*detail),
                _ => Err(AppError::NotFound),
            }
        },
    );
    let line = Memo::new(move |_| shown.with(|detail| detail.line.clone()));
    let never = Memo::new(move |_| shown.with(|detail| detail.never_attempted));
    let latency = Memo::new(move |_| shown.with(|detail| detail.p50_ms.zip(detail.p95_ms)));
    let deliveries = Memo::new(move |_| shown.with(|detail| detail.deliveries.clone()));
    view! {
        <Sheet
            id="endpoint-sheet"
            title=short_url(&url).to_owned()
            description=description
            close_href=page.close_href()
            foot=move || may_manage.then(|| view! { <Foot id disabled=Signal::derive(move || line.with(|line| line.disabled))/> })
        >
            <FormError message=problem/>
            {move || {
                let line = line.get();
                let reason = line.health_reason.clone();
                view! { <p class="sheet-status"><HealthBadge line/> <span class="anywhere">{reason}</span></p> }
            }}
            {old_until.map(|until| view! {
                <p class="old-secret">
                    <Glyph icon=Icon::Clock/>
                    <span>"The secret before the present one signs too, until " <TimeText at=until now exact=true/> "."</span>
                </p>
            })}
            <section class="sheet-part">
                <h3>"Last 24 hours"</h3>
                {move || {
                    let line = line.get();
                    let latency = latency.get();
                    let ms = |n: Option<u32>| match n {
                        Some(n) => format!("{} ms", count(n)).into_any(),
                        None => view! { <span class="none" title="No attempt in 24 hours">"—"</span> }.into_any(),
                    };
                    view! {
                        <dl class="figures">
                            <div><dt>"Succeeded"</dt><dd class="num">{count(line.succeeded)}</dd></div>
                            <div><dt>"Failed"</dt><dd class="num">{count(line.failed)}</dd></div>
                            <div><dt>"Waiting"</dt><dd class="num">{count(line.pending)}</dd></div>
                            <div><dt title="Half of the attempts were faster">"Typical time"</dt><dd class="num">{ms(latency.map(|(p50, _)| p50))}</dd></div>
                            <div><dt title="One attempt in twenty was slower">"Slow ones"</dt><dd class="num">{ms(latency.map(|(_, p95)| p95))}</dd></div>
                        </dl>
                        <ProgressBar label="Attempts" part=line.succeeded whole=line.succeeded + line.failed/>
                    }
                }}
                {move || (never.get() > 0).then(|| view! {
                    <Notice>
                        <p>{format!("{} never attempted, because the endpoint was disabled. Each can be resent from its page.", counted(never.get(), "delivery was", "deliveries were"))}</p>
                    </Notice>
                })}
            </section>
            <section class="sheet-part">
                <h3>"Latest deliveries"</h3>
                {move || {
                    let rows = deliveries.get();
                    if rows.is_empty() {
                        view! { <p class="sub">"None yet. Send a test event to see one."</p> }.into_any()
                    } else {
                        view! { <Deliveries rows now/> }.into_any()
                    }
                }}
            </section>
            <section class="sheet-part">
                <h3>"Endpoint"</h3>
                <dl class="facts">
                    <div><dt>"URL"</dt> <dd class="anywhere">{url}</dd></div>
                    <div><dt>"Id"</dt> <dd><code>{id.to_string()}</code> <CopyButton text=id.to_string() label="Copy the id" bare=true kind=ButtonKind::Quiet/></dd></div>
                    {facts.into_iter().map(|(label, value)| view! { <div><dt>{label}</dt> <dd class="anywhere">{value}</dd></div> }).collect_view()}
                    <div><dt>"Created"</dt> <dd><TimeText at=created_at now/> {format!(" by {created_by}")}</dd></div>
                </dl>
                <p class="sub">"Every request carries webhook-id, webhook-timestamp and webhook-signature, as Standard Webhooks describes them."</p>
            </section>
        </Sheet>
    }
}

#[component]
fn Foot(id: EndpointId, disabled: Signal<bool>) -> impl IntoView {
    let page = Integrations::get();
    let back = page.back_here();
    let (changing, testing) = (page.change_endpoint.pending(), page.test.pending());
    let toggle = move |what: EndpointChange, words: &'static str, icon: Icon| {
        view! {
            <ActionForm action=page.change_endpoint>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <Button submit=true icon=icon pending=changing>{words}</Button>
            </ActionForm>
        }
    };
    view! {
        <LinkButton href=page.href(Panel::EditEndpoint(id)) icon=Icon::Pencil>"Edit"</LinkButton>
        {move || if disabled.get() {
            toggle(EndpointChange::Enable, "Enable", Icon::Play).into_any()
        } else {
            view! {
                {toggle(EndpointChange::Disable, "Disable", Icon::Pause)}
                <ActionForm action=page.test>
                    <input type="hidden" name="id" value=id.to_string()/>
                    <input type="hidden" name="back" value=move || back.get()/>
                    <Button submit=true kind=ButtonKind::Primary icon=Icon::Send pending=testing>"Send test event"</Button>
                </ActionForm>
            }
            .into_any()
        }}
    }
}

#[component]
fn Deliveries(rows: Vec<DeliveryLine>, now: Time) -> impl IntoView {
    let page = Integrations::get();
    let rows = rows
        .into_iter()
        .map(|line| {
            let code = line.code.map(|code| format!("HTTP {code}"));
            let attempts = match line.attempts {
                0 | 1 => None,
                n => Some(counted(i64::from(n), "attempt", "attempts")),
            };
            let more: Vec<_> = [code, attempts].into_iter().flatten().collect();
            view! {
                <li>
                    <a href=page.href(Panel::Delivery(line.id)) data-noscroll="true">
                        <code>{line.kind.clone()}</code>
                        <span class="sub">{more.join(" · ")}</span>
                        <DeliveryBadge line=line.clone() now/>
                        <TimeText at=line.at now/>
                    </a>
                </li>
            }
        })
        .collect_view();
    view! { <ul class="deliveries">{rows}</ul> }
}

/// What became of a delivery, in a word.
#[component]
pub fn DeliveryBadge(line: DeliveryLine, now: Time) -> impl IntoView {
    let next =
        line.next.filter(|next| *next > now).map(|next| format!("Next attempt {}", domain::time::relative(next, now)));
    let tone = if line.attempts > 0 && delivery_tone(line.status) == Tone::Info {
        Tone::Warn
    } else {
        delivery_tone(line.status)
    };
    view! { <Badge tone=tone dot=true title=next>{delivery_label(line.status)}</Badge> }
}
