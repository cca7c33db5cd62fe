//! One's own account: name, password, and where one is signed in.

use domain::{people::SignedIn, time::Time};
use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use serde::{Deserialize, Serialize};

use crate::{
    components::{
        Badge, Button, ButtonKind, ErrorState, Field, FormError, FormState, PasswordInput, Skeleton, TableWrap,
        TextInput, TimeText, Tone, Width, use_toasts,
    },
    error::AppError,
    flash::FormFlash,
    later::{late_page, load},
    shell::use_frame,
};

#[cfg(feature = "ssr")]
const HERE: &str = "/dashboard/settings/profile";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub email: String,
    pub name_form: Option<FormFlash>,
    pub password_form: Option<FormFlash>,
}

#[server(endpoint = "profile/show")]
pub async fn load_profile() -> Result<Profile, AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    Ok(Profile {
        name: me.viewer.name,
        email: me.viewer.email,
        name_form: flash::take("profile-name").await?,
        password_form: flash::take("profile-password").await?,
    })
}

/// Where the person is signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionList {
    pub sessions: Vec<SignedIn>,
    pub now: Time,
}

#[server(endpoint = "profile/sessions")]
pub async fn load_sessions() -> Result<SessionList, AppError> {
    use crate::session;
    let me = session::current().await?;
    let this = session::session_id()?;
    let sessions = domain::people::sessions::list(me.db(), me.viewer.person_id, &this).await?;
    Ok(SessionList { sessions, now: session::now() })
}

#[server(endpoint = "profile/rename")]
pub async fn rename_myself(name: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    match domain::people::sign_in::rename_person(me.db(), &me.actor(), &name).await {
        Ok(()) => flash::done(HERE, "Name saved").await,
        Err(error) => flash::refuse("profile-name", HERE, vec![("name".into(), name)], error.into()).await,
    }
}

/// Changes the password and ends all other sessions.
#[server(endpoint = "profile/password")]
pub async fn change_password(current: String, password: String, repeated: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    let answer = if password == repeated {
        domain::people::sign_in::change_password(
            me.db(),
            &me.state.hasher,
            &me.actor(),
            &current.into(),
            &password.into(),
        )
        .await
    } else {
        Err(domain::Error::field("repeated", "The two passwords differ. Type the same one twice."))
    };
    match answer {
        Ok(()) => {
            // Whoever knew the old password is out; this session goes on under a new id.
            domain::people::sessions::end_others(me.db(), &me.actor(), &session::session_id()?).await?;
            session::renew().await?;
            flash::done(HERE, "Password changed. You were signed out everywhere else.").await
        }
        Err(error) => flash::refuse("profile-password", HERE, Vec::new(), error.into()).await,
    }
}

#[server(endpoint = "profile/end_session")]
pub async fn end_session(handle: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    match domain::people::sessions::end(me.db(), &me.actor(), &handle).await {
        Ok(()) => flash::done(HERE, "Session ended").await,
        Err(error) => flash::problem(HERE, error.into()).await,
    }
}

#[server(endpoint = "profile/end_other_sessions")]
pub async fn end_other_sessions() -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    match domain::people::sessions::end_others(me.db(), &me.actor(), &session::session_id()?).await {
        Ok(_) => flash::done(HERE, "You are signed out everywhere else").await,
        Err(error) => flash::problem(HERE, error.into()).await,
    }
}

late_page!(ProfileRoute, "settings", page, preload);

#[wasm_split(settings, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <ProfilePage/> }.into_any())
}

#[component]
fn ProfilePage() -> impl IntoView {
    let rename = ServerAction::<RenameMyself>::new();
    let password = ServerAction::<ChangePassword>::new();
    let end = ServerAction::<EndSession>::new();
    let end_others = ServerAction::<EndOtherSessions>::new();
    let profile = load(|| (), |()| load_profile());
    let sessions = load(|| (), |()| load_sessions());
    let password_changes = RwSignal::new(0u32);
    let (frame, toasts) = (use_frame(), use_toasts());
    Effect::new(move |_| {
        if let Some(Ok(())) = rename.value().get() {
            toasts.ok("Name saved");
            frame.refetch();
        }
    });
    Effect::new(move |_| {
        if let Some(Ok(())) = password.value().get() {
            toasts.ok("Password changed. You were signed out everywhere else.");
            sessions.refetch();
            password_changes.update(|n| *n += 1);
        }
    });
    let say = move |value: Signal<Option<Result<(), AppError>>>, done: &'static str| {
        Effect::new(move |_| match value.get() {
            Some(Ok(())) => {
                toasts.ok(done);
                sessions.refetch();
            }
            Some(Err(error)) => toasts.bad(error.to_string()),
            None => {}
        });
    };
    say(end.value().into(), "Session ended");
    say(end_others.value().into(), "You are signed out everywhere else");
    view! {
        <Title text="Profile"/>
        <Transition fallback=|| view! { <Skeleton rows=6/> }>
            {move || Suspend::new(async move {
                match profile.await {
                    Ok(profile) => {
                        let flash = StoredValue::new(profile.password_form);
                        view! {
                            <Account name=profile.name email=profile.email flash=profile.name_form rename/>
                            // Made anew after each change, so that no password stays in its fields.
                            <For each=move || [password_changes.get()] key=|change| *change let:change>
                                <Password flash=flash.get_value().filter(|_| change == 0) action=password/>
                            </For>
                        }
                            .into_any()
                    }
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
        <Transition fallback=|| view! { <Skeleton rows=3/> }>
            {move || Suspend::new(async move {
                match sessions.await {
                    Ok(list) => view! { <Sessions sessions=list.sessions now=list.now end end_others/> }.into_any(),
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn Account(name: String, email: String, flash: Option<FormFlash>, rename: ServerAction<RenameMyself>) -> impl IntoView {
    let form = FormState::new(rename.value(), flash);
    view! {
        <section class="panel" aria-labelledby="account-title">
            <h2 id="account-title">"Account"</h2>
            <ActionForm action=rename attr:class="form" attr:novalidate=true>
                <FormError message=form.above()/>
                <Field id="profile-name" label="Name" help="Stands beside the keys you create." error=form.error("name")>
                    <TextInput name="name" value=form.value_or("name", &name) required=true width=Width::Medium attr:maxlength="80" attr:autocomplete="name"/>
                </Field>
                <dl class="facts"><div><dt>"E-mail address"</dt><dd>{email}</dd></div></dl>
                <div><Button submit=true pending=rename.pending()>"Save name"</Button></div>
            </ActionForm>
        </section>
    }
}

#[component]
fn Password(flash: Option<FormFlash>, action: ServerAction<ChangePassword>) -> impl IntoView {
    let form = FormState::new(action.value(), flash);
    view! {
        <section class="panel" aria-labelledby="password-title">
            <h2 id="password-title">"Password"</h2>
            <ActionForm action=action attr:class="form" attr:novalidate=true>
                <FormError message=form.above()/>
                <Field id="current" label="Current password" error=form.error("current")>
                    <PasswordInput name="current" autocomplete="current-password"/>
                </Field>
                <Field id="password" label="New password" help="At least 12 characters. A short sentence is easy to remember." error=form.error("password")>
                    <PasswordInput name="password" autocomplete="new-password"/>
                </Field>
                <Field id="repeated" label="New password again" error=form.error("repeated")>
                    <PasswordInput name="repeated" autocomplete="new-password"/>
                </Field>
                <p class="small">"Changing it signs you out everywhere else."</p>
                <div><Button submit=true pending=action.pending()>"Change password"</Button></div>
            </ActionForm>
        </section>
    }
}

#[component]
fn Sessions(
    sessions: Vec<SignedIn>,
    now: Time,
    end: ServerAction<EndSession>,
    end_others: ServerAction<EndOtherSessions>,
) -> impl IntoView {
    let others = sessions.iter().any(|session| !session.this_one);
    view! {
        <section class="panel" aria-labelledby="sessions-title">
            <div class="panel-head">
                <div>
                    <h2 id="sessions-title">"Where you are signed in"</h2>
                    <p class="small">"End a session you do not know, then change your password."</p>
                </div>
                {others
                    .then(|| {
                        view! {
                            <ActionForm action=end_others>
                                <Button submit=true pending=end_others.pending()>"Sign out everywhere else"</Button>
                            </ActionForm>
                        }
                    })}
            </div>
            <TableWrap label="Sessions">
                <table class="table cards">
                    <thead>
                        <tr>
                            <th scope="col">"Browser"</th>
                            <th scope="col">"Address"</th>
                            <th scope="col">"Signed in"</th>
                            <th scope="col">"Last seen"</th>
                            <th scope="col"><span class="sr-only">"Actions"</span></th>
                        </tr>
                    </thead>
                    <tbody>
                        {sessions
                            .into_iter()
                            .map(|session| {
                                let browser = browser_name(&session.user_agent);
                                let hint = format!("End the session in {browser}");
                                view! {
                                    <tr>
                                        <td data-label="Browser" title=session.user_agent>
                                            {browser} " " {session.this_one.then(|| view! { <Badge tone=Tone::Ok>"This one"</Badge> })}
                                        </td>
                                        <td data-label="Address" class="mono">
                                            {match session.ip {
                                                Some(ip) => ip.to_string().into_any(),
                                                None => view! { <span class="none">"—"</span> }.into_any(),
                                            }}
                                        </td>
                                        <td data-label="Signed in"><TimeText at=session.created_at now=now/></td>
                                        <td data-label="Last seen"><TimeText at=session.last_seen_at now=now/></td>
                                        <td class="row-actions">
                                            {(!session.this_one)
                                                .then(|| {
                                                    view! {
                                                        <ActionForm action=end>
                                                            <input type="hidden" name="handle" value=session.handle/>
                                                            <Button submit=true kind=ButtonKind::Quiet attr:aria-label=hint>"End"</Button>
                                                        </ActionForm>
                                                    }
                                                })}
                                        </td>
                                    </tr>
                                }
                            })
                            .collect_view()}
                    </tbody>
                </table>
            </TableWrap>
        </section>
    }
}

/// "Firefox on Linux", from a user agent; good enough to recognise one's own machines.
fn browser_name(agent: &str) -> String {
    let has = |name: &str| agent.contains(name);
    // Order matters: browsers name their ancestors too.
    let browser = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark))
    .map(|(_, name)| name);
    let system = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark))
    .map(|(_, name)| name);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.into(),
        (None, None) if agent.is_empty() => "Unknown browser".into(),
        (None, None) => agent.chars().take(40).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::browser_name;

    #[test]
    fn names_browsers() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36";
        assert_eq!(browser_name(chrome), "Chrome on Linux");
        assert_eq!(browser_name("curl/8.14.1"), "curl");
        assert_eq!(browser_name(""), "Unknown browser");
    }
}
