//! The dialog that makes or edits an instance: a name, and the fields of one provider.

use std::time::Duration;

use domain::{
    ids::InstanceId,
    instances::{Provider, form},
};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::{CreateInstance, EditInstance},
    context::Integrations,
    data::InstanceFormPage,
    input::InstanceInput,
    query::Panel,
};
use crate::{
    browser,
    components::{
        Button, ButtonKind, CopyButton, Dialog, Field, FormError, FormState, Notice, RadioCard, RadioCards, TextInput,
        Tone, Width, use_toasts,
    },
    error::AppError,
    flash::FormFlash,
};

const FORM: &str = "instance-form";

#[component]
pub fn InstanceFormDialog(form: InstanceFormPage) -> impl IntoView {
    let page = Integrations::get();
    let toasts = use_toasts();
    let create = ServerAction::<CreateInstance>::new();
    let edit = ServerAction::<EditInstance>::new();
    let InstanceFormPage { editing, form, errors, message } = form;
    let flash = FormFlash { values: vec![], errors, message };
    let editing_id = editing.as_ref().map(|(id, ..)| *id);

    Effect::new(move |_| match create.value().get() {
        Some(Ok(Some(made))) => {
            let next = match made.provider {
                Provider::Sandbox => Panel::Instance(made.id),
                Provider::Waha | Provider::CloudApi => Panel::ConnectInstance(made.id),
            };
            toasts.ok("Instance added");
            page.made.set(Some(made));
            page.replace(next);
            page.refresh_list();
        }
        Some(Err(error)) => refused(&error),
        Some(Ok(None)) | None => {}
    });
    Effect::new(move |_| match edit.value().get() {
        Some(Ok(())) => {
            toasts.ok("Instance saved");
            page.close();
            page.refresh_list();
        }
        Some(Err(error)) => refused(&error),
        None => {}
    });

    let (pending, state) = match editing_id {
        Some(_) => (edit.pending(), FormState::new(edit.value(), Some(flash))),
        None => (create.pending(), FormState::new(create.value(), Some(flash))),
    };
    let changed = RwSignal::new(false);
    let asking = RwSignal::new(false);
    let may_close = ask_before_closing(changed, asking, pending);
    let (title, text, submit) = match &editing {
        Some((_, name, _)) => {
            (format!("Edit {name}"), "Credentials that are left empty stay as they are.", "Save changes")
        }
        None => ("Add instance".to_owned(), "One WhatsApp number, and the way to it.", "Add instance"),
    };
    let set = editing.map(|(_, _, set)| set);
    let fields = move || view! { <Fields form=form.clone() state set=set.clone()/> };
    view! {
        <Dialog
            id="instance-dialog"
            title=title
            description=text
            close_href=page.close_href()
            may_close=may_close
            foot=move || view! {
                <a class="button quiet foot-start" href=move || page.close_href().get() data-noscroll="true" data-close="true">"Cancel"</a>
                <Button kind=ButtonKind::Primary submit=true pending=pending attr:form=FORM>{submit}</Button>
            }
        >
            <FormError message=state.above()/>
            <AskClose asking text="Close without saving? What you typed is lost."/>
            <div class="integration-form" on:input=move |_| changed.set(true)>
                {match editing_id {
                    Some(id) => view! { <EditForm id action=edit fields=fields.into()/> }.into_any(),
                    None => view! {
                        <ActionForm action=create attr:id=FORM attr:class="form" attr:novalidate=true>
                            <input type="hidden" name="back" value=move || page.back().get()/>
                            {fields()}
                        </ActionForm>
                    }
                    .into_any(),
                }}
            </div>
        </Dialog>
    }
}

#[component]
fn EditForm(id: InstanceId, action: ServerAction<EditInstance>, fields: ViewFn) -> impl IntoView {
    let page = Integrations::get();
    view! {
        <ActionForm action attr:id=FORM attr:class="form" attr:novalidate=true>
            <input type="hidden" name="id" value=id.to_string()/>
            <input type="hidden" name="back" value=move || page.back().get()/>
            {fields.run()}
        </ActionForm>
    }
}

/// The form was refused: to the first field that is wrong.
pub fn refused(error: &AppError) {
    if !error.fields().is_empty() {
        set_timeout(|| _ = browser::focus(".integration-form [aria-invalid=true]"), Duration::from_millis(30));
    }
}

/// Asks once when something was typed.
pub fn ask_before_closing(changed: RwSignal<bool>, asking: RwSignal<bool>, pending: Memo<bool>) -> Callback<(), bool> {
    Callback::new(move |()| {
        let ask = changed.get_untracked() && !asking.get_untracked() && !pending.get_untracked();
        asking.set(ask);
        !ask
    })
}

#[component]
pub fn AskClose(asking: RwSignal<bool>, text: &'static str) -> impl IntoView {
    let page = Integrations::get();
    move || {
        asking.get().then(|| {
            view! {
                <div role="alert">
                    <Notice tone=Tone::Warn>
                        <p>{text}</p>
                        <p class="question">
                            <button type="button" class="button" on:click=move |_| asking.set(false)>"Keep editing"</button>
                            <button type="button" class="button" on:click=move |_| page.close()>"Close"</button>
                        </p>
                    </Notice>
                </div>
            }
        })
    }
}

/// `set`: the fields of credentials that are stored, when an instance is edited.
#[component]
fn Fields(form: InstanceInput, state: FormState, set: Option<Vec<String>>) -> impl IntoView {
    let fixed = set.as_ref().and_then(|_| Provider::parse(&form.provider));
    let set = set.unwrap_or_default();
    let waha = {
        let (form, set) = (form.clone(), set.clone());
        move || view! { <Waha form=form.clone() state set=set.clone()/> }
    };
    let cloud = {
        let form = form.clone();
        move || view! { <CloudApi form=form.clone() state set=set.clone()/> }
    };
    let provider = match fixed {
        Some(provider) => view! {
            <div class="field">
                <p class="label">"Provider"</p>
                <p>{provider.label()}</p>
                <p class="note">"A number stays with its provider. Add another instance for another one."</p>
            </div>
            {match provider {
                Provider::Sandbox => ().into_any(),
                Provider::Waha => waha().into_any(),
                Provider::CloudApi => cloud().into_any(),
            }}
        }
        .into_any(),
        None => {
            let chosen = RwSignal::new(form.provider.clone());
            view! {
                <RadioCards legend="Provider" error=state.error("provider")>
                    <RadioCard name="form[provider]" value=Provider::Sandbox.as_str() title=Provider::Sandbox.label() help=Provider::Sandbox.about() chosen=chosen/>
                    <RadioCard name="form[provider]" value=Provider::Waha.as_str() title=Provider::Waha.label() help=Provider::Waha.about() chosen=chosen>
                        <div class="form">{waha()}</div>
                    </RadioCard>
                    <RadioCard
                        name="form[provider]"
                        value=Provider::CloudApi.as_str()
                        title="WhatsApp Cloud API"
                        help=Provider::CloudApi.about()
                        chosen=chosen
                    >
                        <div class="form">{cloud()}</div>
                    </RadioCard>
                </RadioCards>
            }
            .into_any()
        }
    };
    view! {
        <input type="hidden" name="form[submission]" value=form.submission.clone()/>
        <input type="hidden" name="form[version]" value=form.version.clone()/>
        <Field
            id="instance-name"
            label="Name"
            help="What everyone calls this number, such as “Support Graz”."
            error=state.error("name")
        >
            <TextInput name="form[name]" value=form.name.clone() required=true attr:maxlength="200" attr:autocomplete="off" attr:autofocus=true/>
        </Field>
        {provider}
    }
}

#[component]
fn Waha(form: InstanceInput, state: FormState, set: Vec<String>) -> impl IntoView {
    view! {
        <Field
            id="instance-waha-url"
            label="Server address"
            help="Where your WAHA server is, such as https://waha.acme.example."
            error=state.error("waha_url")
        >
            <TextInput name="form[waha_url]" value=form.waha_url attr:inputmode="url" attr:autocomplete="off" attr:spellcheck="false"/>
        </Field>
        <Secret id="instance-api-key" field="api_key" label="API key" help="WAHA’s X-Api-Key; empty if the server asks for none." state set/>
        <Field id="instance-session" label="Session" help="WAHA’s name of the session; “default” if there is only one." error=state.error("session")>
            <TextInput name="form[session]" value=form.session width=Width::Medium attr:autocomplete="off" attr:spellcheck="false"/>
        </Field>
    }
}

#[component]
fn CloudApi(form: InstanceInput, state: FormState, set: Vec<String>) -> impl IntoView {
    let new = !set.iter().any(|field| field == "verify_token");
    let token = RwSignal::new(form.verify_token.clone());
    let text = move |id: &'static str, field: &'static str, label: &'static str, help: &'static str, value: String| {
        view! {
            <Field id=id label=label help=help error=state.error(field)>
                <TextInput name=format!("form[{field}]") value=value width=Width::Medium attr:inputmode="numeric" attr:autocomplete="off"/>
            </Field>
        }
    };
    view! {
        {text("instance-phone-number-id", "phone_number_id", "Phone number id", "Meta’s id of the number, under WhatsApp, API Setup.", form.phone_number_id)}
        {text("instance-business-account-id", "business_account_id", "Business account id", "Meta’s id of the WhatsApp Business account.", form.business_account_id)}
        <Secret id="instance-access-token" field="access_token" label="Access token" help="A permanent token of a system user." state set=set.clone()/>
        <Secret id="instance-app-secret" field="app_secret" label="App secret" help="Under App settings, Basic. It proves that reports come from Meta." state set/>
        <Field
            id="instance-verify-token"
            label="Verify token"
            help=if new {
                "Meta repeats it when it asks for the first time. You need it again in the next step."
            } else {
                "Is set. Leave empty to keep it."
            }
            error=state.error("verify_token")
        >
            <div class="input-copy">
                <TextInput name="form[verify_token]" bind=token mono=true attr:autocomplete="off" attr:spellcheck="false"/>
                {new.then(|| view! { <CopyButton text=token label="Copy token" bare=true/> })}
            </div>
        </Field>
        <div class="field-row">
            <Field id="instance-cloud-url" label="Server address" optional=true help=format!("Empty: {}", form::GRAPH) error=state.error("cloud_url")>
                <TextInput name="form[cloud_url]" value=form.cloud_url attr:inputmode="url" attr:autocomplete="off" attr:spellcheck="false"/>
            </Field>
            <Field id="instance-graph-version" label="Version" optional=true help=format!("Empty: {}", form::GRAPH_VERSION) error=state.error("graph_version")>
                <TextInput name="form[graph_version]" value=form.graph_version width=Width::Short attr:autocomplete="off" attr:spellcheck="false"/>
            </Field>
        </div>
    }
}

/// A credential: can be set, and never be read.
#[component]
fn Secret(
    id: &'static str,
    field: &'static str,
    label: &'static str,
    help: &'static str,
    state: FormState,
    set: Vec<String>,
) -> impl IntoView {
    let is_set = set.iter().any(|set| set == field);
    view! {
        <Field id=id label=label help=if is_set { "Is set. Leave empty to keep it." } else { help } error=state.error(field)>
            <TextInput name=format!("form[{field}]") kind="password" mono=true attr:autocomplete="off" attr:spellcheck="false"/>
        </Field>
    }
}
