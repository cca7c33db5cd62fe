//! Accepting an invitation, by its link.

use domain::people::InvitationOffer;
use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use serde::{Deserialize, Serialize};

use crate::{
    components::{Button, ButtonKind, ErrorState, Field, FormError, FormState, LinkButton, PasswordInput, TextInput},
    error::AppError,
    flash::FormFlash,
    later::{late_page, load_first},
    shell::Door,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offered {
    pub offer: InvitationOffer,
    pub form: Option<FormFlash>,
}

/// What the link offers. The link itself is the right to see it.
#[server(endpoint = "invitations/offer")]
pub async fn load_offer(token: String) -> Result<Offered, AppError> {
    use crate::{flash, session};
    session::no_store();
    let state = session::state()?;
    let offer = domain::people::invitations::offer(&state.db, &token).await?;
    Ok(Offered { offer, form: flash::take("invite").await? })
}

/// Joins the organization, as a new person or as one who has an account already.
#[server(endpoint = "invitations/accept")]
pub async fn accept_invitation(
    token: String,
    #[server(default)] name: String,
    password: String,
) -> Result<(), AppError> {
    use crate::{flash, session};
    let state = session::state()?;
    let ip = session::client_ip();
    let answer =
        domain::people::invitations::accept(&state.db, &state.hasher, &token, &name, &password.into(), ip).await;
    match answer {
        Ok((person, organization)) => {
            session::begin(person, organization).await?;
            session::go(crate::pages::sign_in::HOME);
            Ok(())
        }
        Err(error) => {
            let back = format!("/invite/{}", crate::url::encode(&token));
            flash::refuse("invite", &back, vec![("name".into(), name)], error.into()).await
        }
    }
}

late_page!(InviteRoute, "door", page, preload);

#[wasm_split(door, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <InvitePage/> }.into_any())
}

#[component]
fn InvitePage() -> impl IntoView {
    let params = use_params_map();
    let token = move || params.with(|params| params.get("token").unwrap_or_default());
    let offered = load_first(token, load_offer);
    let action = ServerAction::<AcceptInvitation>::new();
    view! {
        <Title text="Invitation"/>
        <Suspense>
            {move || Suspend::new(async move {
                match offered.await {
                    Ok(offered) => view! { <Accept offered token=token() action/> }.into_any(),
                    Err(AppError::NotFound) => view! {
                        <Door
                            title="This invitation is over"
                            text="It was accepted, withdrawn, or is older than seven days. Ask the person who sent it for a new one."
                        >
                            <LinkButton href="/sign-in">"Sign in"</LinkButton>
                        </Door>
                    }
                    .into_any(),
                    Err(error) => view! { <main class="door" id="main"><ErrorState error/></main> }.into_any(),
                }
            })}
        </Suspense>
    }
}

#[component]
fn Accept(offered: Offered, token: String, action: ServerAction<AcceptInvitation>) -> impl IntoView {
    let Offered { offer, form } = offered;
    let form = FormState::new(action.value(), form);
    let text =
        format!("{} invites {} as {}. {}.", offer.invited_by, offer.email, offer.role.label(), offer.role.about());
    let (label, autocomplete, help) = if offer.has_account {
        ("Your password", "current-password", "You have an account with this address: give its password.")
    } else {
        ("Choose a password", "new-password", "At least 12 characters. A short sentence is easy to remember.")
    };
    view! {
        <Door title=format!("Join {}", offer.organization_name) text=text>
            <ActionForm action=action attr:class="form" attr:novalidate=true>
                <FormError message=form.above()/>
                <input type="hidden" name="token" value=token/>
                // For password managers: whose password this is.
                <input type="email" class="sr-only" value=offer.email.clone() autocomplete="username" readonly tabindex="-1" aria-hidden="true"/>
                {(!offer.has_account)
                    .then(|| {
                        view! {
                            <Field id="name" label="Your name" error=form.error("name")>
                                <TextInput name="name" value=form.value("name") required=true attr:maxlength="80" attr:autocomplete="name"/>
                            </Field>
                        }
                    })}
                <Field id="password" label=label help=help error=form.error("password")>
                    <PasswordInput name="password" autocomplete=autocomplete/>
                </Field>
                <Button kind=ButtonKind::Primary submit=true pending=action.pending()>"Join"</Button>
            </ActionForm>
        </Door>
    }
}
