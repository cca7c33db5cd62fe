//! The first run: the organization and its owner.

use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;

use crate::{
    components::{Button, ButtonKind, ErrorState, Field, FormError, FormState, PasswordInput, TextInput},
    error::AppError,
    flash::FormFlash,
    later::{late_page, load_first},
    shell::Door,
};

/// There is an organization already: this page is over.
#[server(endpoint = "setup/doorstep")]
pub async fn setup_doorstep() -> Result<Option<FormFlash>, AppError> {
    use crate::{flash, session};
    let state = session::state()?;
    if domain::people::sign_in::any_organization(&state.db).await? {
        session::go("/sign-in");
        return Ok(None);
    }
    flash::take("setup").await
}

/// Makes the organization and its owner, and signs the owner in.
#[server(endpoint = "setup/create")]
pub async fn set_up(
    organization: String,
    name: String,
    email: String,
    password: String,
    repeated: String,
) -> Result<(), AppError> {
    use crate::{flash, session};
    let state = session::state()?;
    let answer = if password == repeated {
        domain::people::sign_in::setup(
            &state.db,
            &state.hasher,
            &organization,
            &name,
            &email,
            &password.into(),
            session::client_ip(),
        )
        .await
    } else {
        Err(domain::Error::field("repeated", "The two passwords differ. Type the same one twice."))
    };
    match answer {
        Ok((person, organization)) => {
            session::begin(person, organization).await?;
            session::go(crate::pages::sign_in::HOME);
            Ok(())
        }
        // The page is over.
        Err(error @ domain::Error::Conflict(_)) => flash::refuse("sign-in", "/sign-in", Vec::new(), error.into()).await,
        Err(error) => {
            let values = vec![("organization".into(), organization), ("name".into(), name), ("email".into(), email)];
            flash::refuse("setup", "/setup", values, error.into()).await
        }
    }
}

late_page!(SetupRoute, "door", page, preload);

#[wasm_split(door, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <SetupPage/> }.into_any())
}

#[component]
fn SetupPage() -> impl IntoView {
    let doorstep = load_first(|| (), |()| setup_doorstep());
    let action = ServerAction::<SetUp>::new();
    view! {
        <Title text="Set up"/>
        <Door title="Set up Bouncer" text="Name your organization and make the first account, its owner. This page shows only once.">
            <Suspense>
                {move || Suspend::new(async move {
                    let form = match doorstep.await {
                        Ok(flash) => FormState::new(action.value(), flash),
                        Err(error) => return view! { <ErrorState error/> }.into_any(),
                    };
                    view! {
                        <ActionForm action=action attr:class="form" attr:novalidate=true>
                            <FormError message=form.above()/>
                            <Field id="organization" label="Organization" help="As your team calls it. You can change it later." error=form.error("organization")>
                                <TextInput name="organization" value=form.value("organization") required=true attr:maxlength="80" attr:autocomplete="organization"/>
                            </Field>
                            <Field id="name" label="Your name" error=form.error("name")>
                                <TextInput name="name" value=form.value("name") required=true attr:maxlength="80" attr:autocomplete="name"/>
                            </Field>
                            <Field id="email" label="Your e-mail address" help="You sign in with it." error=form.error("email")>
                                <TextInput name="email" kind="email" value=form.value("email") required=true attr:maxlength="254" attr:autocomplete="username"/>
                            </Field>
                            <Field id="password" label="Password" help="At least 12 characters. A short sentence is easy to remember." error=form.error("password")>
                                <PasswordInput name="password" autocomplete="new-password"/>
                            </Field>
                            <Field id="repeated" label="Password again" error=form.error("repeated")>
                                <PasswordInput name="repeated" autocomplete="new-password"/>
                            </Field>
                            <Button kind=ButtonKind::Primary submit=true pending=action.pending()>"Create organization"</Button>
                        </ActionForm>
                    }
                    .into_any()
                })}
            </Suspense>
        </Door>
    }
}
