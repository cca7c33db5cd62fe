//! One delivery: what was sent, each attempt with its answer, and sending it again.

use std::time::Duration;

use domain::{ids::DeliveryId, time, time::Time, webhooks::DeliveryStatus};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::load_panel,
    context::Integrations,
    data::{AttemptView, DeliveryDetail, PanelPage},
    endpoint_sheet::DeliveryBadge,
    fresh::keep_fresh,
    query::Panel,
};
use crate::{
    components::{
        Badge, Button, ButtonKind, CodeBlock, CopyButton, FormError, Glyph, Icon, LinkButton, Sheet, TimeText, Tone,
    },
    error::AppError,
    pages::developer::api_keys::context::count,
};

/// How often the sheet looks while the delivery is on its way.
const EVERY: Duration = Duration::from_secs(1);

#[component]
pub fn DeliverySheet(detail: DeliveryDetail) -> impl IntoView {
    let page = Integrations::get();
    let id = detail.line.id;
    let (endpoint, url, event, kind) =
        (detail.endpoint, detail.url.clone(), detail.event.clone(), detail.line.kind.clone());
    let (payload, now, may_manage, problem) =
        (detail.payload.clone(), detail.now, detail.may_manage, detail.problem.clone());
    let made = detail.line.at;
    let shown = RwSignal::new(detail);
    let moving =
        |detail: &DeliveryDetail| matches!(detail.line.status, DeliveryStatus::Pending | DeliveryStatus::Sending);
    keep_fresh(shown, EVERY, moving, move || async move {
        match load_panel(Panel::Delivery(id)).await? {
            PanelPage::Delivery(detail) => Ok(*detail),
            _ => Err(AppError::NotFound),
        }
    });
    let line = Memo::new(move |_| shown.with(|detail| detail.line.clone()));
    let attempts = Memo::new(move |_| shown.with(|detail| detail.attempts.clone()));
    let clock = Memo::new(move |_| shown.with(|detail| detail.now));
    let busy = Memo::new(move |_| line.with(|line| line.status == DeliveryStatus::Sending));
    view! {
        <Sheet
            id="delivery-sheet"
            title=kind
            description=url
            close_href=Signal::derive(move || page.query.with(|query| query.with(Panel::Endpoint(endpoint)).href()))
            foot=move || view! {
                <LinkButton href=page.href(Panel::Endpoint(endpoint)) icon=Icon::ArrowLeft>"Endpoint"</LinkButton>
                {may_manage.then(|| view! { <Resend id busy/> })}
            }
        >
            <FormError message=problem/>
            <div aria-live="polite">
                {move || {
                    let (line, now) = (line.get(), clock.get_untracked());
                    let next = line.next.filter(|next| *next > now);
                    view! {
                        <p class="sheet-status">
                            <DeliveryBadge line=line.clone() now/>
                            {match (line.status, next) {
                                (DeliveryStatus::Pending, Some(next)) => view! { <span>"Next attempt " <TimeText at=next now/></span> }.into_any(),
                                (DeliveryStatus::Pending | DeliveryStatus::Sending, _) => view! { <span>"On its way"</span> }.into_any(),
                                _ => ().into_any(),
                            }}
                        </p>
                    }
                }}
            </div>
            <section class="sheet-part">
                <h3>"Attempts"</h3>
                {move || {
                    let attempts = attempts.get();
                    if attempts.is_empty() {
                        view! {
                            <p class="sub">"None yet. " <a class="text-link no-js-only" href=page.href(Panel::Delivery(id)) rel="external">"Look again"</a></p>
                        }
                        .into_any()
                    } else {
                        let now = clock.get_untracked();
                        attempts
                            .into_iter()
                            .enumerate()
                            .map(|(i, attempt)| view! { <Attempt attempt now open=i == 0/> })
                            .collect_view()
                            .into_any()
                    }
                }}
            </section>
            <section class="sheet-part">
                <h3>"What is sent"</h3>
                <CodeBlock id="delivery-payload" text=payload label="Body of the request"/>
                <dl class="facts">
                    <div><dt>"Event"</dt> <dd><code>{event.clone()}</code> <CopyButton text=event label="Copy the event’s id" bare=true kind=ButtonKind::Quiet/></dd></div>
                    <div><dt>"Delivery"</dt> <dd><code>{id.to_string()}</code></dd></div>
                    <div><dt>"Made"</dt> <dd><TimeText at=made now exact=true/></dd></div>
                </dl>
            </section>
        </Sheet>
    }
}

#[component]
fn Resend(id: DeliveryId, busy: Memo<bool>) -> impl IntoView {
    let page = Integrations::get();
    let back = page.back_here();
    let pending = page.resend.pending();
    view! {
        <ActionForm action=page.resend>
            <input type="hidden" name="id" value=id.to_string()/>
            <input type="hidden" name="back" value=move || back.get()/>
            <Button submit=true icon=Icon::Refresh pending=pending disabled=busy>"Resend"</Button>
        </ActionForm>
    }
}

#[component]
fn Attempt(attempt: AttemptView, now: Time, open: bool) -> impl IntoView {
    let good = attempt.status.is_some_and(|status| (200..300).contains(&status));
    let tone = if good { Tone::Ok } else { Tone::Bad };
    let answer = attempt.status.map_or_else(|| "No answer".to_owned(), |status| format!("HTTP {status}"));
    let number = attempt.number;
    let block = |what: &'static str, label: &'static str, text: String| {
        (!text.is_empty()).then(|| {
            view! {
                <h4>{label}</h4>
                <CodeBlock id=format!("attempt-{number}-{what}") text=text label=format!("{label} of attempt {number}")/>
            }
        })
    };
    view! {
        <details class="fold attempt" open=open>
            <summary>
                <Glyph icon=Icon::ChevronRight/>
                <span>{format!("Attempt {number}")}</span>
                <Badge tone=tone>{answer}</Badge>
                <span class="sub">{format!("{} ms", count(attempt.duration_ms))}</span>
                <span class="sub"><TimeText at=attempt.at now/></span>
            </summary>
            {(!attempt.error.is_empty()).then(|| view! { <p class="attempt-error">{attempt.error.clone()}</p> })}
            <p class="sub">
                {time::exact(attempt.at)}
                {attempt.address.map(|address| format!(" · connected to {address}"))}
            </p>
            {block("body", "Answer", attempt.body)}
            {block("response", "Headers of the answer", attempt.response)}
            {block("request", "Headers of the request", attempt.request)}
        </details>
    }
}
