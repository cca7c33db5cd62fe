//! Signing in and out.

use domain::time::Time;
use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};

use crate::{
    components::{Button, ButtonKind, ErrorState, Field, FormError, FormState, PasswordInput, TextInput},
    error::AppError,
    flash::FormFlash,
    later::{late_page, load_first},
    shell::Door,
};

/// Where one goes who was going nowhere in particular.
pub const HOME: &str = "/dashboard/developer/api-keys";

/// What the page must know before it shows itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Doorstep {
    pub form: Option<FormFlash>,
    pub now: Option<Time>,
}

/// Sends those away who need not sign in: nobody can before the organization is there, and some have done so already.
#[server(endpoint = "session/doorstep")]
pub async fn load_doorstep(next: String) -> Result<Doorstep, AppError> {
    use crate::{flash, session};
    let state = session::state()?;
    if !domain::people::sign_in::any_organization(&state.db).await? {
        session::go("/setup");
        return Ok(Doorstep::default());
    }
    if session::current_or_none().await?.is_some() {
        session::go(session::own_path(&next).unwrap_or(HOME));
        return Ok(Doorstep::default());
    }
    Ok(Doorstep { form: flash::take("sign-in").await?, now: Some(session::now()) })
}

/// Checks address and password, then starts a session with a new id.
#[server(endpoint = "session/sign_in")]
pub async fn sign_in(email: String, password: String, #[server(default)] next: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let state = session::state()?;
    let answer =
        domain::people::sign_in::sign_in(&state.db, &state.hasher, &email, &password.into(), session::client_ip())
            .await;
    match answer {
        Ok((person, organization)) => {
            session::begin(person, organization).await?;
            session::go(session::own_path(&next).unwrap_or(HOME));
            Ok(())
        }
        Err(error) => {
            let back = format!("/sign-in?next={}", crate::url::encode(&next));
            flash::refuse("sign-in", &back, vec![("email".into(), email)], error.into()).await
        }
    }
}

/// Ends this session.
#[server(endpoint = "session/sign_out")]
pub async fn sign_out() -> Result<(), AppError> {
    use crate::session::{self, Current};
    let viewer = session::current_or_none().await?;
    session::end().await?;
    if let Some(viewer) = viewer {
        let me = Current { viewer, ip: session::client_ip(), state: session::state()? };
        domain::people::sessions::signed_out(me.db(), &me.actor()).await?;
    }
    session::go("/sign-in");
    Ok(())
}

late_page!(SignInRoute, "door", page, preload);

#[wasm_split(door, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <SignInPage/> }.into_any())
}

#[component]
fn SignInPage() -> impl IntoView {
    let query = use_query_map();
    let next = move || query.with_untracked(|query| query.get("next").unwrap_or_default());
    let doorstep = load_first(next, load_doorstep);
    let action = ServerAction::<SignIn>::new();
    view! {
        <Title text="Sign in"/>
        <Door title="Sign in" text="The console of your WhatsApp API.">
            <Suspense>
                {move || Suspend::new(async move {
                    let form = match doorstep.await {
                        Ok(doorstep) => FormState::new(action.value(), doorstep.form),
                        Err(error) => return view! { <ErrorState error/> }.into_any(),
                    };
                    view! {
                        <ActionForm action=action attr:class="form" attr:novalidate=true>
                            <FormError message=form.above()/>
                            <input type="hidden" name="next" value=next()/>
                            <Field id="email" label="E-mail address" error=form.error("email")>
                                <TextInput
                                    name="email"
                                    kind="email"
                                    value=form.value("email")
                                    required=true
                                    attr:autocomplete="username"
                                    attr:maxlength="254"
                                />
                            </Field>
                            <Field id="password" label="Password" error=form.error("password")>
                                <PasswordInput name="password" autocomplete="current-password"/>
                            </Field>
                            <Button kind=ButtonKind::Primary submit=true pending=action.pending()>"Sign in"</Button>
                        </ActionForm>
                    }
                    .into_any()
                })}
            </Suspense>
        </Door>
    }
}
