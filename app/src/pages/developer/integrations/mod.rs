//! The Integrations tab: instances, which are the connected WhatsApp numbers, and webhook endpoints.
//!
//! - [`query`]: the page's state as its address
//! - [`actions`]: the server functions; [`data`], [`input`]: what they carry; `load`, `plain`, `mask`: their server side
//! - [`context`]: what the parts share; [`fresh`]: what looks again by itself; [`words`]: sentences and figures
//! - [`instance_list`], [`instance_form`], [`instance_sheet`], [`connect`]: instances
//! - [`endpoint_list`], [`endpoint_form`], [`endpoint_sheet`], [`delivery`], [`secret`]: endpoints
//! - [`questions`]: before something is deleted

pub mod actions;
mod connect;
pub mod context;
pub mod data;
mod delivery;
mod endpoint_form;
mod endpoint_list;
mod endpoint_sheet;
mod fresh;
pub mod input;
mod instance_form;
mod instance_list;
mod instance_sheet;
#[cfg(feature = "ssr")]
mod load;
#[cfg(feature = "ssr")]
mod mask;
#[cfg(feature = "ssr")]
mod plain;
pub mod query;
mod questions;
mod secret;
mod words;

pub use data::QrPicture;

use leptos::{prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;

use self::{
    actions::{list_integrations, load_panel},
    context::Integrations,
    data::{ListPage, PanelPage},
    query::Panel,
};
use crate::{
    components::{Dialog, ErrorState, Notice, Skeleton, Tone, use_toasts},
    error::AppError,
    later::{late_page, load_first},
};

late_page!(IntegrationsRoute, "integrations", page, preload);

#[wasm_split(integrations, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <IntegrationsPage/> }.into_any())
}

/// Both lists, and whatever is open above them.
#[component]
fn IntegrationsPage() -> impl IntoView {
    let page = Integrations::provide();
    let toasts = use_toasts();
    let panel = page.panel();

    // Made here and not inside the children that wait for them: a resource made there would hang the answer.
    let at = Memo::new(move |_| page.query.with(|query| query.at));
    let list = load_first(move || (at.get(), page.list_version()), |(at, _)| list_integrations(at));
    let panel_page = load_first(
        move || panel.get(),
        move |panel| {
            // A card that the browser holds already is not asked for.
            let held = matches!(panel, Panel::EndpointCreated(id) if page.revealed.with_untracked(|r| r.as_ref().is_some_and(|r| r.id == id)));
            async move { if held || !panel.is_open() { Ok(PanelPage::Closed) } else { load_panel(panel).await } }
        },
    );

    let done = move |value: Option<Result<String, AppError>>| match value {
        Some(Ok(sentence)) => {
            if !sentence.is_empty() {
                toasts.ok(sentence);
            }
            if matches!(panel.get_untracked(), Panel::DeleteInstance(_) | Panel::DeleteEndpoint(_)) {
                page.close();
            }
            page.touch();
            page.refresh_list();
        }
        Some(Err(error)) => {
            toasts.bad(error.to_string());
            // It may have failed because the page is old.
            page.touch();
            page.refresh_list();
        }
        None => {}
    };
    Effect::new(move |_| done(page.change_instance.value().get()));
    Effect::new(move |_| done(page.change_message.value().get()));
    Effect::new(move |_| done(page.change_endpoint.value().get()));
    Effect::new(move |_| match page.resend.value().get() {
        Some(answer) => done(Some(answer.map(|()| "The delivery is sent again".to_owned()))),
        None => done(None),
    });
    Effect::new(move |_| match page.test.value().get() {
        Some(Ok(Some(delivery))) => {
            page.open(Panel::Delivery(delivery));
            page.refresh_list();
        }
        Some(Err(error)) => toasts.bad(error.to_string()),
        Some(Ok(None)) | None => {}
    });
    // Once a card is left, by whatever way, its secret is forgotten.
    Effect::new(move |before: Option<Panel>| {
        let open = panel.get();
        if before.is_some_and(|before| before != open) {
            if matches!(page.revealed.with_untracked(|r| r.as_ref().map(|r| r.id)), Some(id) if open != Panel::EndpointCreated(id))
            {
                page.revealed.set(None);
            }
            if matches!(page.made.with_untracked(|m| m.as_ref().map(|m| m.id)), Some(id) if open != Panel::ConnectInstance(id))
            {
                page.made.set(None);
            }
        }
        open
    });

    let revealed = move || {
        let open = panel.get();
        page.revealed.get().filter(|revealed| open == Panel::EndpointCreated(revealed.id))
    };
    view! {
        <Title text="Integrations"/>
        <div class="integrations">
            <Transition fallback=|| view! { <Skeleton rows=6/> }>
                {move || Suspend::new(async move {
                    match list.await {
                        Ok(answer) => view! { <Lists answer/> }.into_any(),
                        Err(error) => view! { <ErrorState error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
        {move || revealed().map(|revealed| view! { <secret::SecretDialog revealed/> })}
        <Transition>
            {move || Suspend::new(async move {
                match panel_page.await {
                    Ok(open) => view! { <OpenPanel open/> }.into_any(),
                    Err(error) => view! { <PanelProblem error/> }.into_any(),
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn Lists(answer: ListPage) -> impl IntoView {
    let ListPage { instances, next_instances, endpoints, next_endpoints, now, may_manage, problem } = answer;
    view! {
        {problem.map(|problem| view! { <Notice tone=Tone::Bad><p>{problem}</p></Notice> })}
        <instance_list::Instances rows=instances next=next_instances now may_manage/>
        <endpoint_list::Endpoints rows=endpoints next=next_endpoints now may_manage/>
    }
}

#[component]
fn OpenPanel(open: PanelPage) -> impl IntoView {
    match open {
        PanelPage::Closed => ().into_any(),
        PanelPage::InstanceForm(form) => view! { <instance_form::InstanceFormDialog form=*form/> }.into_any(),
        PanelPage::Instance(detail) => view! { <instance_sheet::InstanceSheet detail=*detail/> }.into_any(),
        PanelPage::Connect(connection) => view! { <connect::ConnectDialog connection=*connection/> }.into_any(),
        PanelPage::DeleteInstance(line) => view! { <questions::DeleteInstance line=*line/> }.into_any(),
        PanelPage::EndpointForm(form) => view! { <endpoint_form::EndpointFormDialog form=*form/> }.into_any(),
        PanelPage::Endpoint(detail) => view! { <endpoint_sheet::EndpointSheet detail=*detail/> }.into_any(),
        PanelPage::EndpointCreated(Some(revealed), _) => view! { <secret::SecretDialog revealed/> }.into_any(),
        PanelPage::EndpointCreated(None, line) => view! { <secret::GoneDialog line=*line/> }.into_any(),
        PanelPage::RotateEndpoint(detail) => view! { <secret::RotateDialog detail=*detail/> }.into_any(),
        PanelPage::DeleteEndpoint(line) => view! { <questions::DeleteEndpoint line=*line/> }.into_any(),
        PanelPage::Delivery(detail) => view! { <delivery::DeliverySheet detail=*detail/> }.into_any(),
    }
}

/// What was to open cannot be shown: the thing is gone, or the role does not allow it.
#[component]
fn PanelProblem(error: AppError) -> impl IntoView {
    let page = Integrations::get();
    view! {
        <Dialog id="integration-problem" title=error.title().to_owned() close_href=page.close_href()>
            <ErrorState error=error.clone()/>
        </Dialog>
    }
}
