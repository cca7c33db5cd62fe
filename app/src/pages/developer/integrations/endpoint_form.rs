//! The dialog that makes or edits a webhook endpoint.

use domain::{
    ids::EndpointId,
    keys::Environment,
    webhooks::{EndpointForm, Kind, form},
};
use leptos::{form::ActionForm, prelude::*};

use super::{
    actions::{CreateEndpoint, EditEndpoint},
    context::Integrations,
    data::EndpointFormPage,
    instance_form::{AskClose, ask_before_closing, refused},
    query::Panel,
    words::{families, family_label},
};
use crate::{
    components::{
        Button, ButtonKind, Dialog, Field, FormError, FormState, Glyph, Icon, Select, TextArea, TextInput, Width,
        use_toasts,
    },
    flash::FormFlash,
};

const FORM: &str = "endpoint-form";

#[component]
pub fn EndpointFormDialog(form: EndpointFormPage) -> impl IntoView {
    let page = Integrations::get();
    let toasts = use_toasts();
    let create = ServerAction::<CreateEndpoint>::new();
    let edit = ServerAction::<EditEndpoint>::new();
    let EndpointFormPage { editing, form, errors, message } = form;
    let flash = FormFlash { values: vec![], errors, message };
    let editing = editing.map(|(id, _)| id);

    Effect::new(move |_| match create.value().get() {
        Some(Ok(Some(revealed))) => {
            let id = revealed.id;
            page.revealed.set(Some(revealed));
            page.replace(Panel::EndpointCreated(id));
            page.refresh_list();
        }
        Some(Err(error)) => refused(&error),
        Some(Ok(None)) | None => {}
    });
    Effect::new(move |_| match edit.value().get() {
        Some(Ok(())) => {
            toasts.ok("Endpoint saved");
            page.close();
            page.refresh_list();
        }
        Some(Err(error)) => refused(&error),
        None => {}
    });

    let (pending, state) = match editing {
        Some(_) => (edit.pending(), FormState::new(edit.value(), Some(flash))),
        None => (create.pending(), FormState::new(create.value(), Some(flash))),
    };
    let changed = RwSignal::new(false);
    let asking = RwSignal::new(false);
    let may_close = ask_before_closing(changed, asking, pending);
    let (title, text, submit) = match editing {
        Some(_) => (
            "Edit webhook endpoint",
            "Changes hold from the next delivery on. The secret stays the same.",
            "Save changes",
        ),
        None => (
            "Add webhook endpoint",
            "Bouncer posts signed events to it. The signing secret is shown once, right after.",
            "Add endpoint",
        ),
    };
    let fields = move || view! { <Fields form=form.clone() state/> };
    view! {
        <Dialog
            id="endpoint-dialog"
            title=title.to_owned()
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
                {match editing {
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
fn EditForm(id: EndpointId, action: ServerAction<EditEndpoint>, fields: ViewFn) -> impl IntoView {
    let page = Integrations::get();
    view! {
        <ActionForm action attr:id=FORM attr:class="form" attr:novalidate=true>
            <input type="hidden" name="id" value=id.to_string()/>
            <input type="hidden" name="back" value=move || page.back().get()/>
            {fields.run()}
        </ActionForm>
    }
}

#[component]
fn Fields(form: EndpointForm, state: FormState) -> impl IntoView {
    let environments =
        [("", "Live and test"), (Environment::Live.as_str(), "Live only"), (Environment::Test.as_str(), "Test only")]
            .map(|(value, words)| (value.to_owned(), words.to_owned()))
            .to_vec();
    let advanced = ["headers", "concurrency", "rate_limit"].map(|field| state.error(field));
    let wrong = move || advanced.iter().any(|error| error.with(Option::is_some));
    let open = RwSignal::new(untrack(wrong));
    Effect::new(move |_| {
        if wrong() {
            open.set(true);
        }
    });
    view! {
        <input type="hidden" name="form[version]" value=form.version.clone()/>
        <Field
            id="endpoint-url"
            label="URL"
            help="An address that answers POST with 2xx within 15 seconds."
            error=state.error("url")
        >
            <TextInput
                name="form[url]"
                kind="url"
                value=form.url.clone()
                required=true
                attr:placeholder="https://shop.example/hooks/bouncer"
                attr:maxlength="2000"
                attr:autocomplete="off"
                attr:spellcheck="false"
                attr:autofocus=true
            />
        </Field>
        <Field id="endpoint-description" label="Description" optional=true error=state.error("description")>
            <TextInput name="form[description]" value=form.description.clone() attr:maxlength="600" attr:autocomplete="off"/>
        </Field>
        <Events chosen=form.events.clone() error=state.error("events")/>
        <Field
            id="endpoint-environment"
            label="Environment"
            help="Messages of test keys make test events."
            error=state.error("environment")
        >
            <Select name="form[environment]" options=environments value=form.environment.clone() width=Width::Medium/>
        </Field>
        <details
            class="fold"
            open=move || open.get()
            on:toggle=move |event| open.set(event_target::<web_sys::Element>(&event).has_attribute("open"))
        >
            <summary><Glyph icon=Icon::ChevronRight/>"Advanced settings"</summary>
            <div class="form">
                <Field
                    id="endpoint-headers"
                    label="Custom headers"
                    optional=true
                    help="One a line, such as Authorization: Bearer abc. A name without a value keeps the stored one, as long as the URL leads to the same server; values are never shown again."
                    error=state.error("headers")
                >
                    <TextArea name="form[headers]" value=form.headers.clone() rows=3 mono=true attr:spellcheck="false"/>
                </Field>
                <div class="field-row">
                    <Field id="endpoint-concurrency" label="Requests at once" help=format!("1 to {}", form::CONCURRENCY_MAX) error=state.error("concurrency")>
                        <TextInput name="form[concurrency]" value=form.concurrency.clone() width=Width::Short attr:inputmode="numeric"/>
                    </Field>
                    <Field id="endpoint-rate" label="Requests a second" optional=true help="Empty: no limit" error=state.error("rate_limit")>
                        <TextInput name="form[rate_limit]" value=form.rate_limit.clone() width=Width::Short attr:inputmode="numeric"/>
                    </Field>
                </div>
            </div>
        </details>
    }
}

/// All, whole families, or single events. What a wildcard covers is dimmed, by CSS alone.
#[component]
fn Events(chosen: Vec<String>, error: Signal<Option<String>>) -> impl IntoView {
    let is = |name: &str| chosen.iter().any(|event| event == name);
    let groups = families()
        .into_iter()
        .map(|(family, kinds)| {
            let wildcard = format!("{family}.*");
            let several = kinds.len() > 1;
            let all = several.then(|| view! {
                <EventBox name=wildcard.clone() words=format!("All, also later ones ({wildcard})") checked=is(&wildcard) class="family"/>
            });
            let single = kinds
                .into_iter()
                .map(|Kind { name, about }| view! { <EventBox name=(*name).to_owned() words=(*name).to_owned() help=*about checked=is(name) class="single"/> })
                .collect_view();
            view! {
                <fieldset class="event-group">
                    <legend>{family_label(family).to_owned()}</legend>
                    <div class="event-boxes">{all} {single}</div>
                </fieldset>
            }
        })
        .collect_view();
    view! {
        <fieldset class="event-choice" aria-describedby="endpoint-events-note">
            <legend>"Events"</legend>
            <EventBox name="*".to_owned() words="All events".to_owned() help="Also those that later versions add" checked=is("*") class="everything"/>
            <div class="event-groups" aria-invalid=move || error.with(Option::is_some).then_some("true") tabindex=move || error.with(Option::is_some).then_some("-1")>
                {groups}
            </div>
            <p class="note" id="endpoint-events-note">
                {move || error.get().map(|error| view! { <span class="error"><Glyph icon=Icon::Alert/><span>{error}</span></span> })}
            </p>
        </fieldset>
    }
}

#[component]
fn EventBox(
    name: String,
    words: String,
    #[prop(optional)] help: Option<&'static str>,
    checked: bool,
    class: &'static str,
) -> impl IntoView {
    view! {
        <label class=format!("checkbox {class}")>
            <input type="checkbox" name="events[]" value=name checked=checked/>
            <span class="words">
                <span>{words}</span>
                {help.map(|help| view! { <span class="help">{help}</span> })}
            </span>
        </label>
    }
}
