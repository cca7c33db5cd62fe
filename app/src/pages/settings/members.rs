//! The people of the organization, and invitations on their way.

use domain::{
    ids::PersonId,
    people::{Invitation, Member, Role},
    time::Time,
};
use leptos::{form::ActionForm, prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_query_map},
};
use serde::{Deserialize, Serialize};

use crate::{
    components::{
        Badge, Button, ButtonKind, ConfirmDialog, CopyButton, Dialog, ErrorState, Field, FormError, FormState, Icon,
        LinkButton, Menu, MenuButton, MenuLink, Notice, RadioCard, RadioCards, Skeleton, TableWrap, TextInput,
        TimeText, Tone, use_toasts,
    },
    error::AppError,
    flash::FormFlash,
    later::{late_page, load},
};

const HERE: &str = "/dashboard/settings/members";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberList {
    pub members: Vec<Member>,
    pub invitations: Vec<Invitation>,
    pub me: PersonId,
    pub role: Role,
    pub now: Time,
    pub form: Option<FormFlash>,
    /// The link of an invitation made without script: shown this once.
    pub link: Option<InvitationLink>,
}

/// An invitation's link. It is shown once, to the person who invites, and carried by them to the invited one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationLink {
    pub email: String,
    pub url: String,
}

#[server(endpoint = "members/list")]
pub async fn load_members() -> Result<MemberList, AppError> {
    use crate::{flash, session};
    let me = session::current().await?;
    let invitations = if me.viewer.role.may_manage_members() {
        domain::people::invitations::list(me.db(), me.organization()).await?
    } else {
        Vec::new()
    };
    let link: Option<InvitationLink> = flash::take_sealed(&me, "invitation-link").await?;
    if link.is_some() {
        session::no_store();
    }
    Ok(MemberList {
        members: domain::people::members::list(me.db(), me.organization()).await?,
        invitations,
        me: me.viewer.person_id,
        role: me.viewer.role,
        now: session::now(),
        form: flash::take("invite-member").await?,
        link,
    })
}

/// Makes an invitation and gives its link, this once.
#[server(endpoint = "members/invite")]
pub async fn invite_member(email: String, role: String) -> Result<InvitationLink, AppError> {
    use crate::{flash, session};
    let me = session::current().await?.manages_members()?;
    let wanted = Role::parse(&role).unwrap_or(Role::Viewer);
    match domain::people::invitations::create(me.db(), &me.actor(), &email, wanted).await {
        Ok((_, token)) => {
            session::no_store();
            let url = format!(
                "{}/invite/{}",
                me.state.settings.public_url,
                domain::secret::ExposeSecret::expose_secret(&token)
            );
            let link = InvitationLink { email: email.trim().to_owned(), url };
            flash::keep_for_plain_form(&me, "invitation-link", &link, &format!("{HERE}?panel=invited")).await?;
            Ok(link)
        }
        Err(error) => {
            let back = format!("{HERE}?panel=invite");
            flash::refuse("invite-member", &back, vec![("email".into(), email), ("role".into(), role)], error.into())
                .await
        }
    }
}

#[server(endpoint = "members/withdraw_invitation")]
pub async fn withdraw_invitation(invitation: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?.manages_members()?;
    let id = invitation.parse().map_err(|_| AppError::NotFound.answered())?;
    match domain::people::invitations::revoke(me.db(), &me.actor(), id).await {
        Ok(()) => flash::done(HERE, "Invitation withdrawn").await,
        Err(error) => flash::problem(HERE, error.into()).await,
    }
}

#[server(endpoint = "members/set_role")]
pub async fn set_role(person: String, role: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?.manages_members()?;
    let id = person.parse().map_err(|_| AppError::NotFound.answered())?;
    let answer = match Role::parse(&role) {
        Some(role) => domain::people::members::set_role(me.db(), &me.actor(), id, role).await,
        None => Err(domain::Error::field("role", "Choose one of the four roles.")),
    };
    match answer {
        Ok(()) => flash::done(HERE, "Role changed").await,
        Err(error) => {
            let back = format!("{HERE}?panel=role&person={id}");
            flash::refuse("invite-member", &back, vec![("role".into(), role)], error.into()).await
        }
    }
}

/// Removes a person from the organization. Their keys stay: they belong to the organization.
#[server(endpoint = "members/remove")]
pub async fn remove_member(person: String) -> Result<(), AppError> {
    use crate::{flash, session};
    let me = session::current().await?.manages_members()?;
    let id = person.parse().map_err(|_| AppError::NotFound.answered())?;
    match domain::people::members::remove(me.db(), &me.actor(), id).await {
        Ok(()) => flash::done(HERE, "Member removed. Their keys stay.").await,
        Err(error) => {
            let back = format!("{HERE}?panel=remove&person={id}");
            flash::refuse("invite-member", &back, Vec::new(), error.into()).await
        }
    }
}

late_page!(MembersRoute, "settings", page, preload);

#[wasm_split(settings, wasm_split_path = leptos::wasm_split, preload(preload), fallible)]
fn page() -> Result<AnyView, AppError> {
    Ok(view! { <MembersPage/> }.into_any())
}

#[component]
fn MembersPage() -> impl IntoView {
    let query = use_query_map();
    let panel = Memo::new(move |_| query.with(|query| query.get("panel").unwrap_or_default()));
    let person = Memo::new(move |_| query.with(|query| query.get("person").unwrap_or_default()));

    let invite = ServerAction::<InviteMember>::new();
    let withdraw = ServerAction::<WithdrawInvitation>::new();
    let role = ServerAction::<SetRole>::new();
    let remove = ServerAction::<RemoveMember>::new();
    let list = load(|| (), |()| load_members());
    // The new invitation appears in the list when its dialog is closed: read anew before, it would take the link away.
    Effect::new(move |_| {
        if panel.get().is_empty() && invite.value().with_untracked(|value| matches!(value, Some(Ok(_)))) {
            invite.value().set(None);
            list.refetch();
        }
    });

    let (toasts, navigate) = (use_toasts(), use_navigate());
    let after = move |value: Signal<Option<Result<(), AppError>>>, done: &'static str| {
        let navigate = navigate.clone();
        Effect::new(move |_| match value.get() {
            Some(Ok(())) => {
                toasts.ok(done);
                list.refetch();
                navigate(HERE, NavigateOptions { scroll: false, replace: true, ..Default::default() });
            }
            // Errors with a dialog are shown in it.
            Some(Err(error)) if panel.get_untracked().is_empty() => toasts.bad(error.to_string()),
            _ => {}
        });
    };
    after(withdraw.value().into(), "Invitation withdrawn");
    after(role.value().into(), "Role changed");
    after(remove.value().into(), "Member removed. Their keys stay.");

    view! {
        <Title text="Members"/>
        <Transition fallback=|| view! { <Skeleton rows=6/> }>
            {move || Suspend::new(async move {
                match list.await {
                    Ok(list) => view! { <People list withdraw/> }.into_any(),
                    Err(error) => view! { <ErrorState error/> }.into_any(),
                }
            })}
        </Transition>
        // A dialog of its own, so that it stays while the list is read anew.
        <Transition>
            {move || Suspend::new(async move {
                let (panel, person) = (panel.get(), person.get());
                let list = list.await.ok()?;
                let chosen = list.members.iter().find(|member| member.person_id.to_string() == person).cloned();
                let allowed = list.role.may_manage_members();
                match (panel.as_str(), chosen) {
                    ("invite" | "invited", _) if allowed => {
                        Some(view! { <InviteDialog invite own_role=list.role flash=list.form link=list.link/> }.into_any())
                    }
                    ("role", Some(member)) if allowed => {
                        Some(view! { <RoleDialog member action=role own_role=list.role flash=list.form/> }.into_any())
                    }
                    ("remove", Some(member)) if allowed => {
                        Some(view! { <RemoveDialog member action=remove flash=list.form/> }.into_any())
                    }
                    _ => None,
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn People(list: MemberList, withdraw: ServerAction<WithdrawInvitation>) -> impl IntoView {
    let MemberList { members, invitations, me, role, now, .. } = list;
    let manages = role.may_manage_members();
    let count = members.len();
    view! {
        <div class="toolbar">
            <p class="toolbar-count">{if count == 1 { "1 member".to_owned() } else { format!("{count} members") }}</p>
            {manages
                .then(|| {
                    view! {
                        <LinkButton href=format!("{HERE}?panel=invite") kind=ButtonKind::Primary icon=Icon::Plus>"Invite member"</LinkButton>
                    }
                })}
        </div>
        <TableWrap label="Members">
            <table class="table cards">
                <thead>
                    <tr>
                        <th scope="col">"Name"</th>
                        <th scope="col">"Role"</th>
                        <th scope="col" class="num">"Keys created"</th>
                        <th scope="col">"Joined"</th>
                        <th scope="col">"Last seen"</th>
                        <th scope="col"><span class="sr-only">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody>
                    {members
                        .into_iter()
                        .map(|member| {
                            let id = member.person_id;
                            // Only owners touch owners.
                            let may = manages && (member.role < Role::Owner || role == Role::Owner);
                            view! {
                                <tr>
                                    <td data-label="Name" class="two-lines">
                                        <span class="strong">{member.name.clone()} " " {(id == me).then(|| view! { <Badge>"You"</Badge> })}</span>
                                        <span class="second">{member.email}</span>
                                    </td>
                                    <td data-label="Role" title=member.role.about()>{member.role.label()}</td>
                                    <td data-label="Keys created" class="num">{member.keys_created}</td>
                                    <td data-label="Joined"><TimeText at=member.joined_at now=now/></td>
                                    <td data-label="Last seen">
                                        {match member.last_seen_at {
                                            Some(at) => view! { <TimeText at now=now/> }.into_any(),
                                            None => view! { <span class="none">"Never"</span> }.into_any(),
                                        }}
                                    </td>
                                    <td class="row-actions">
                                        {may
                                            .then(|| {
                                                view! {
                                                    <Menu id=format!("menu-{id}") label=format!("Actions for {}", member.name)>
                                                        <MenuLink href=format!("{HERE}?panel=role&person={id}") icon=Icon::Shield>"Change role"</MenuLink>
                                                        <MenuLink href=format!("{HERE}?panel=remove&person={id}") icon=Icon::Trash danger=true>"Remove"</MenuLink>
                                                    </Menu>
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
        {(!invitations.is_empty())
            .then(|| {
                view! {
                    <h2 class="section-title" id="invitations-title">"Invitations"</h2>
                    <TableWrap label="Invitations">
                        <table class="table cards">
                            <thead>
                                <tr>
                                    <th scope="col">"E-mail address"</th>
                                    <th scope="col">"Role"</th>
                                    <th scope="col">"Invited by"</th>
                                    <th scope="col">"Ends"</th>
                                    <th scope="col"><span class="sr-only">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                {invitations
                                    .into_iter()
                                    .map(|invitation| {
                                        view! {
                                            <tr>
                                                <td data-label="E-mail address">{invitation.email.clone()}</td>
                                                <td data-label="Role">{invitation.role.label()}</td>
                                                <td data-label="Invited by">{invitation.invited_by}</td>
                                                <td data-label="Ends"><TimeText at=invitation.expires_at now=now/></td>
                                                <td class="row-actions">
                                                    <Menu id=format!("menu-{}", invitation.id) label=format!("Actions for {}", invitation.email)>
                                                        <ActionForm action=withdraw>
                                                            <input type="hidden" name="invitation" value=invitation.id.to_string()/>
                                                            <MenuButton icon=Icon::Trash danger=true submit=true>"Withdraw invitation"</MenuButton>
                                                        </ActionForm>
                                                    </Menu>
                                                </td>
                                            </tr>
                                        }
                                    })
                                    .collect_view()}
                            </tbody>
                        </table>
                    </TableWrap>
                }
            })}
    }
}

/// The roles somebody of `own_role` may give.
fn roles_to_give(own_role: Role) -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(move |role| *role <= own_role)
}

#[component]
fn RoleChoice(own_role: Role, chosen: RwSignal<String>, error: Signal<Option<String>>) -> impl IntoView {
    view! {
        <RadioCards legend="Role" error=error>
            {roles_to_give(own_role)
                .map(|role| view! { <RadioCard name="role" value=role.as_str() title=role.label() help=role.about() chosen=chosen/> })
                .collect_view()}
        </RadioCards>
    }
}

#[component]
fn InviteDialog(
    invite: ServerAction<InviteMember>,
    own_role: Role,
    flash: Option<FormFlash>,
    link: Option<InvitationLink>,
) -> impl IntoView {
    // A link from an earlier visit of this dialog is not shown again.
    invite.value().set(None);
    let form = FormState::new(invite.value(), flash);
    let chosen = RwSignal::new(form.value_or("role", Role::Developer.as_str()));
    let email = RwSignal::new(form.value("email"));
    let made = Memo::new(move |_| match invite.value().get() {
        Some(Ok(link)) => Some(link),
        _ => link.clone(),
    });
    view! {
        <Dialog
            id="invite"
            title=Signal::derive(move || if made.with(Option::is_some) { "Invitation made".to_owned() } else { "Invite member".to_owned() })
            close_href=HERE
            foot=move || {
                if made.with(Option::is_some) {
                    view! { <LinkButton href=HERE kind=ButtonKind::Primary>"Done"</LinkButton> }.into_any()
                } else {
                    view! {
                        <LinkButton href=HERE>"Cancel"</LinkButton>
                        <Button kind=ButtonKind::Primary submit=true pending=invite.pending() attr:form="invite-form">"Make invitation"</Button>
                    }
                    .into_any()
                }
            }
        >
            {move || match made.get() {
                Some(link) => {
                    view! {
                        <Notice tone=Tone::Warn>
                            <p>{format!("Send this link to {}. It is shown only now, works once, and ends in seven days.", link.email)}</p>
                        </Notice>
                        <div class="secret-row">
                            <code class="secret" id="invitation-url">{link.url.clone()}</code>
                            <CopyButton text=link.url label="Copy link" target="invitation-url" kind=ButtonKind::Primary/>
                        </div>
                    }
                        .into_any()
                }
                None => {
                    view! {
                        <ActionForm action=invite attr:id="invite-form" attr:class="form" attr:novalidate=true>
                            <FormError message=form.above()/>
                            <Field
                                id="invite-email"
                                label="E-mail address"
                                help="The link works for this address only. Bouncer sends no mail: you pass the link on."
                                error=form.error("email")
                            >
                                <TextInput name="email" kind="email" bind=email required=true attr:maxlength="254" attr:autocomplete="off"/>
                            </Field>
                            <RoleChoice own_role chosen error=form.error("role")/>
                        </ActionForm>
                    }
                        .into_any()
                }
            }}
        </Dialog>
    }
}

#[component]
fn RoleDialog(
    member: Member,
    action: ServerAction<SetRole>,
    own_role: Role,
    flash: Option<FormFlash>,
) -> impl IntoView {
    action.value().set(None);
    let form = FormState::new(action.value(), flash);
    let chosen = RwSignal::new(form.value_or("role", member.role.as_str()));
    view! {
        <Dialog
            id="role"
            title=format!("Role of {}", member.name)
            close_href=HERE
            foot=move || {
                view! {
                    <LinkButton href=HERE>"Cancel"</LinkButton>
                    <Button kind=ButtonKind::Primary submit=true pending=action.pending() attr:form="role-form">"Change role"</Button>
                }
            }
        >
            <ActionForm action=action attr:id="role-form" attr:class="form">
                <FormError message=form.above()/>
                <input type="hidden" name="person" value=member.person_id.to_string()/>
                <RoleChoice own_role chosen error=form.error("role")/>
            </ActionForm>
        </Dialog>
    }
}

#[component]
fn RemoveDialog(member: Member, action: ServerAction<RemoveMember>, flash: Option<FormFlash>) -> impl IntoView {
    action.value().set(None);
    let form = FormState::new(action.value(), flash);
    let person = member.person_id.to_string();
    let keys = match member.keys_created {
        0 => "They created no keys.".to_owned(),
        1 => "The key they created stays and goes on working: it belongs to the organization.".to_owned(),
        n => format!("The {n} keys they created stay and go on working: they belong to the organization."),
    };
    view! {
        <ConfirmDialog
            id="remove"
            title=format!("Remove {}?", member.name)
            close_href=HERE
            keep="Keep member"
            action=move || {
                let person = person.clone();
                view! {
                    <ActionForm action=action>
                        <input type="hidden" name="person" value=person/>
                        <Button kind=ButtonKind::Danger submit=true pending=action.pending()>"Remove member"</Button>
                    </ActionForm>
                }
            }
        >
            <FormError message=form.above()/>
            <p>{format!("{} is signed out of this organization at once and cannot come back without an invitation.", member.email)}</p>
            <p>{keys}</p>
            <p>"Invitations that they made and nobody has accepted yet are withdrawn."</p>
        </ConfirmDialog>
    }
}
