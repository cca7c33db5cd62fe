//! Connecting an instance: the QR code to scan, or what to paste at Meta; and the way out again.

use std::time::Duration;

use domain::{
    ids::InstanceId,
    instances::{Provider, Status},
};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::look_at_connection,
    context::Integrations,
    data::{ConnectPage, InstanceChange, QrPicture},
    fresh::keep_fresh,
    instance_list::StatusBadge,
    instance_sheet::HookPart,
    query::Panel,
};
use crate::components::{Button, ButtonKind, CopyButton, Dialog, Icon, LinkButton, Notice, Tone};

/// How often the provider is asked while a connection is being made.
const EVERY: Duration = Duration::from_millis(2_500);

#[component]
pub fn ConnectDialog(connection: ConnectPage) -> impl IntoView {
    let page = Integrations::get();
    let (id, name, provider) = (connection.line.id, connection.line.name.clone(), connection.line.provider);
    let hook_url = connection.hook_url.clone();
    let token = connection
        .verify_token
        .clone()
        .or_else(|| page.made.with_untracked(|made| made.as_ref().filter(|made| made.id == id)?.verify_token.clone()));
    let shown = RwSignal::new(connection);
    let moving = |connection: &ConnectPage| matches!(connection.line.status, Status::Connecting | Status::ScanQr);
    keep_fresh(shown, EVERY, moving, move || look_at_connection(id));

    let line = Memo::new(move |_| shown.with(|connection| connection.line.clone()));
    let status = Memo::new(move |_| line.with(|line| line.status));
    let qr = Memo::new(move |_| shown.with(|connection| connection.qr.clone()));
    let problem = Memo::new(move |_| shown.with(|connection| connection.problem.clone()));
    // The list behind the dialog shows the status too.
    Effect::new(move |before: Option<Status>| {
        let now = status.get();
        if before.is_some_and(|before| before != now) {
            page.refresh_list();
        }
        now
    });
    let description = match provider {
        Provider::Waha => "Link the phone whose number this is with your WAHA server.",
        Provider::CloudApi => "Check that Meta accepts the credentials, and tell Meta where to report to.",
        Provider::Sandbox => "The sandbox is always connected.",
    };
    view! {
        <Dialog
            id="connect-dialog"
            title=format!("Connect {name}")
            description=description
            close_href=page.close_href()
            foot=move || view! { <Foot id provider status/> }
        >
            <div class="connection" aria-live="polite">
                {move || {
                    let line = line.get();
                    let reason = line.status_reason.clone();
                    view! { <p class="sheet-status"><StatusBadge line/> <span>{reason}</span></p> }
                }}
                {move || problem.get().map(|problem| view! { <Notice tone=Tone::Bad><p>{problem}</p></Notice> })}
                {move || (status.get() == Status::Connected && provider == Provider::Waha).then(|| view! {
                    <Notice tone=Tone::Ok>
                        <p>
                            {move || match line.with(|line| line.number.clone()) {
                                Some(number) => format!("{number} is connected. Messages leave from this number now."),
                                None => "The number is connected. Messages leave from it now.".to_owned(),
                            }}
                        </p>
                    </Notice>
                })}
            </div>
            {move || match (status.get(), qr.get()) {
                (Status::ScanQr, Some(picture)) => view! { <Scan picture/> }.into_any(),
                (Status::ScanQr | Status::Connecting, _) => view! {
                    <p class="sub">
                        "This can take some seconds. "
                        <a class="text-link no-js-only" href=page.href(Panel::ConnectInstance(id)) rel="external">"Look again"</a>
                    </p>
                }
                .into_any(),
                _ => ().into_any(),
            }}
            {(provider == Provider::CloudApi).then(|| hook_url.clone().map(|url| view! { <HookPart url provider/> }))}
            {(provider == Provider::CloudApi).then(|| view! { <VerifyToken token/> })}
        </Dialog>
    }
}

/// The QR code, and where to scan it.
#[component]
fn Scan(picture: QrPicture) -> impl IntoView {
    // The quiet zone: four modules on each side (ISO/IEC 18004).
    let side = picture.size + 8;
    view! {
        <div class="scan">
            <svg class="qr" role="img" aria-label="QR code to scan with WhatsApp" viewBox=format!("-4 -4 {side} {side}") shape-rendering="crispEdges">
                <rect class="light" x="-4" y="-4" width=side height=side></rect>
                <path class="dark" d=picture.path></path>
            </svg>
            <ol class="how-to">
                <li>"Open WhatsApp on the phone."</li>
                <li>"Go to Settings, Linked devices, Link a device."</li>
                <li>"Point the phone at this code. It changes every few seconds; this page follows."</li>
            </ol>
        </div>
    }
}

/// Shown once, right after it was typed in.
#[component]
fn VerifyToken(token: Option<String>) -> impl IntoView {
    match token {
        Some(token) => view! {
            <section class="sheet-part">
                <h3>"Verify token"</h3>
                <p class="sub">"Paste this beside the Callback URL. It is shown only now; later it can be replaced, but not read."</p>
                <div class="secret-row">
                    <code class="secret" id="verify-token">{token.clone()}</code>
                    <CopyButton text=token label="Copy token" target="verify-token"/>
                </div>
            </section>
        }
        .into_any(),
        None => view! {
            <section class="sheet-part">
                <h3>"Verify token"</h3>
                <p class="sub">"It is set and cannot be shown. If nobody knows it any more, set a new one with Edit."</p>
            </section>
        }
        .into_any(),
    }
}

#[component]
fn Foot(id: InstanceId, provider: Provider, status: Memo<Status>) -> impl IntoView {
    let page = Integrations::get();
    let pending = page.change_instance.pending();
    let button = move |what: InstanceChange, kind: ButtonKind, words: &'static str| {
        let back = page.back_here();
        view! {
            <ActionForm action=page.change_instance>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="what" value=what.as_str()/>
                <input type="hidden" name="back" value=move || back.get()/>
                <Button submit=true kind=kind pending=pending>{words}</Button>
            </ActionForm>
        }
    };
    let check = if provider == Provider::CloudApi { "Check connection" } else { "Connect" };
    view! {
        {move || match status.get() {
            Status::Disconnected | Status::Failed => view! {
                <a class="button quiet foot-start" href=move || page.close_href().get() data-noscroll="true" data-close="true">"Later"</a>
                {button(InstanceChange::Connect, ButtonKind::Primary, check)}
            }
            .into_any(),
            _ if provider == Provider::CloudApi => view! {
                {button(InstanceChange::Disconnect, ButtonKind::Plain, "Disconnect")}
                {button(InstanceChange::Connect, ButtonKind::Plain, check)}
                <LinkButton href=page.close_href() kind=ButtonKind::Primary icon=Icon::Check>"Done"</LinkButton>
            }
            .into_any(),
            _ => view! {
                {button(InstanceChange::LogOut, ButtonKind::Quiet, "Log out")}
                {button(InstanceChange::Disconnect, ButtonKind::Plain, "Disconnect")}
                <LinkButton href=page.close_href() kind=ButtonKind::Primary icon=Icon::Check>"Done"</LinkButton>
            }
            .into_any(),
        }}
    }
}
