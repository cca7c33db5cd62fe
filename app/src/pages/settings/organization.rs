//! The organization: its name and its facts.

use domain::{
    people::{Organization, Role},
    time::Time,
};
use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use serde::{Deserialize, Serialize};

use crate::{
    components::{
        Button, ButtonKind, CopyButton, ErrorState, Field, FormError, FormState, Skeleton, TextInput, TimeText, Width,
        use_toasts,
    },
    error::AppError,
    flash::FormFlash,
    later::{late_page, load},
    shell::use_frame,
};

#[cfg(feature = "ssr")]
const HERE: &str = "/dashboard/settings/organization";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrganizationFacts {
    pub organization: Organization,
    pub role: Role,
    pub now: Time,
    pub form: Option<FormFlash>,
}

#[server(endpoint = "organization/facts")]
pub async fn load_organization() -> Result<OrganizationFacts, AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    Ok(OrganizationFacts {
        organization: domain::people::members::organization(me.db(), me.organization()).await?,
        role: me.viewer.role,
        now: session::now(),
        form: flash::take("organization").await?,
    })
}

#[server(endpoint = "organization/rename")]
pub async fn rename_organization(name: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?.manages_members()?;
    match domain::people::members::rename_organization(me.db(), &me.actor(), &name).await {
        Ok(()) => flash::done(HERE, "Organization renamed").await,
        Err(error) => flash::refuse("organization", HERE, vec![("name".into(), name)], error.into()).await,
    }
}

/// Shows another organization of the same person from now on.
#[server(endpoint = "organization/switch")]
pub async fn switch_organization(organization: String) -> Result<(), AppError> {
    use crate::session;
    let me = session::current().await?;
    let wanted = organization.parse().map_err(|_| AppError::NotFound.answered())?;
    if !me.viewer.organizations.iter().any(|(id, _)| *id == wanted) {
        return Err(AppError::NotFound.answered());
    }
    session::session()?.insert(session::ORGANIZATION, wanted).await.map_err(session::store_error)?;
    session::go(crate::pages::sign_in::HOME);
    Ok(())
}

late_page!(OrganizationRoute, "settings", page, preload);

#[wasm_split(settings, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <OrganizationPage/> }.into_any())
}

#[component]
fn OrganizationPage() -> impl IntoView {
    let rename = ServerAction::<RenameOrganization>::new();
    let facts = load(|| (), |()| load_organization());
    let (frame, toasts) = (use_frame(), use_toasts());
    Effect::new(move |_| {
        if let Some(Ok(())) = rename.value().get() {
            toasts.ok("Organization renamed");
            frame.refetch();
        }
    });
    view! {
        <Title text="Organization"/>
        <Transition fallback=|| view! { <Skeleton rows=3/> }>
            {move || Suspend::new(async move {
                match facts.await {
                    Ok(facts) => view! { <Facts facts rename/> }.into_any(),
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn Facts(facts: OrganizationFacts, rename: ServerAction<RenameOrganization>) -> impl IntoView {
    let OrganizationFacts { organization, role, now, form } = facts;
    let form = FormState::new(rename.value(), form);
    let id = organization.id.to_string();
    let name = organization.name.clone();
    view! {
        <section class="panel" aria-labelledby="organization-title">
            <h2 id="organization-title">"Organization"</h2>
            {if role.may_manage_members() {
                view! {
                    <ActionForm action=rename attr:class="form" attr:novalidate=true>
                        <FormError message=form.above()/>
                        <Field id="organization-name" label="Name" help="Shown in the sidebar and in invitations." error=form.error("name")>
                            <TextInput name="name" value=form.value_or("name", &name) required=true width=Width::Medium attr:maxlength="80"/>
                        </Field>
                        <div><Button kind=ButtonKind::Primary submit=true pending=rename.pending()>"Save name"</Button></div>
                    </ActionForm>
                }
                .into_any()
            } else {
                view! { <p>{name}</p> <p class="small">"Admins and owners can change the name."</p> }.into_any()
            }}
            <dl class="facts">
                <div>
                    <dt>"Id"</dt>
                    <dd><code id="organization-id">{id.clone()}</code><CopyButton text=id target="organization-id" bare=true label="Copy the id"/></dd>
                </div>
                <div><dt>"Created"</dt><dd><TimeText at=organization.created_at now=now/></dd></div>
                <div><dt>"Your role"</dt><dd>{role.label()} <span class="small">{role.about()}</span></dd></div>
            </dl>
        </section>
    }
}
