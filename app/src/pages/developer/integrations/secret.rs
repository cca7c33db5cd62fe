//! The card that shows a signing secret, once; and the dialog that asks for a new one.

use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::RotateEndpoint,
    context::Integrations,
    data::{EndpointDetail, EndpointLine, RevealedSecret},
    query::Panel,
    words::short_url,
};
use crate::{
    browser,
    components::{
        Button, ButtonKind, CodeBlock, CopyButton, Dialog, FormError, Glyph, Icon, LinkButton, Notice, TimeText, Tone,
    },
};

const SECRET_ID: &str = "revealed-secret";
const FORM: &str = "rotate-form";

#[component]
pub fn SecretDialog(revealed: RevealedSecret) -> impl IntoView {
    let page = Integrations::get();
    let copied = RwSignal::new(false);
    let asked = RwSignal::new(false);
    let on_copied = Callback::new(move |()| copied.set(true));
    // Closing without having copied asks once.
    let may_close = Callback::new(move |()| {
        let may = copied.get_untracked() || asked.get_untracked();
        asked.set(true);
        may
    });
    let RevealedSecret { id, url, secret, old_until } = revealed;
    let title = if old_until.is_some() { "Secret rotated" } else { "Endpoint added" };
    view! {
        <div class="reveal">
            <Dialog
                id="secret-dialog"
                title=format!("{title} · {}", short_url(&url))
                close_href=page.close_href()
                may_close=may_close
                wide=true
                foot=move || view! {
                    {move || (asked.get() && !copied.get()).then(|| view! {
                        <p class="reveal-ask" role="alert">
                            <Glyph icon=Icon::Alert/>
                            <span>"You have not copied the secret yet. Once this is closed, nobody can show it again."</span>
                        </p>
                    })}
                    <LinkButton href=Signal::derive(move || page.query.with(|query| query.with(Panel::Endpoint(id)).href())) kind=ButtonKind::Primary icon=Icon::Check>"I’ve Saved the Secret"</LinkButton>
                }
            >
                <div class="reveal-card">
                    <Notice tone=Tone::Warn>
                        <p><strong>"This is the only time you’ll see the signing secret."</strong></p>
                    </Notice>
                    <div class="reveal-key">
                        <code
                            id=SECRET_ID
                            tabindex="0"
                            aria-label="Signing secret"
                            role="textbox"
                            aria-readonly="true"
                            on:click=move |_| browser::select_text(SECRET_ID)
                            on:copy=move |_| copied.set(true)
                        >
                            {secret.clone()}
                        </code>
                        <CopyButton text=secret.clone() target=SECRET_ID kind=ButtonKind::Primary on_copied=on_copied/>
                    </div>
                    {old_until.map(|until| view! {
                        <Notice>
                            <p>"Both secrets sign until " <TimeText at=until now=until exact=true/> ". Change your program over before then."</p>
                        </Notice>
                    })}
                    <p>"Your program checks with it that a request comes from here. In Node.js, with the package standardwebhooks:"</p>
                    <CodeBlock id="verify-snippet" text=verify() label="How to check a signature in Node.js"/>
                </div>
            </Dialog>
        </div>
    }
}

fn verify() -> String {
    "import { Webhook } from \"standardwebhooks\";\n\nconst webhook = new Webhook(process.env.BOUNCER_WEBHOOK_SECRET);\n// The raw body, and the headers webhook-id, webhook-timestamp\n// and webhook-signature. Throws when they do not fit.\nconst event = webhook.verify(body, headers);".to_owned()
}

/// The card's address without its secret: it was shown already.
#[component]
pub fn GoneDialog(line: EndpointLine) -> impl IntoView {
    let page = Integrations::get();
    view! {
        <Dialog id="gone-dialog" title=short_url(&line.url).to_owned() close_href=page.close_href()>
            <Notice>
                <p>
                    "The signing secret of this endpoint was shown once and cannot be shown again. If nobody has copied it, rotate it: the endpoint keeps its events and settings."
                </p>
            </Notice>
            <p><LinkButton href=page.href(Panel::RotateEndpoint(line.id)) icon=Icon::Refresh>"Rotate secret"</LinkButton></p>
        </Dialog>
    }
}

#[component]
pub fn RotateDialog(detail: EndpointDetail) -> impl IntoView {
    let page = Integrations::get();
    let EndpointDetail { line, old_secret_ends_at, now, .. } = detail;
    let id = line.id;
    let rotate = ServerAction::<RotateEndpoint>::new();
    let pending = rotate.pending();
    let failed = RwSignal::new(None::<String>);
    Effect::new(move |_| match rotate.value().get() {
        Some(Ok(Some(revealed))) => {
            page.revealed.set(Some(revealed));
            page.replace(Panel::EndpointCreated(id));
            page.refresh_list();
        }
        Some(Err(error)) => failed.set(Some(error.to_string())),
        Some(Ok(None)) | None => {}
    });
    view! {
        <Dialog
            id="rotate-dialog"
            title="Rotate the signing secret?".to_owned()
            description=line.url
            close_href=page.close_href()
            foot=move || view! {
                <a class="button quiet foot-start" href=move || page.close_href().get() data-noscroll="true" data-close="true">"Cancel"</a>
                <Button kind=ButtonKind::Primary submit=true pending=pending attr:form=FORM>"Rotate secret"</Button>
            }
        >
            <FormError message=failed/>
            <p>"A new secret is made and shown once. For 24 hours every request is signed with both, so that nothing is refused while you change over."</p>
            {old_secret_ends_at.map(|until| view! {
                <Notice tone=Tone::Warn>
                    <p>"It was rotated already: the secret before the present one signs until " <TimeText at=until now exact=true/> ". It stops signing now."</p>
                </Notice>
            })}
            <ActionForm action=rotate attr:id=FORM>
                <input type="hidden" name="id" value=id.to_string()/>
                <input type="hidden" name="back" value=move || page.back().get()/>
            </ActionForm>
        </Dialog>
    }
}
