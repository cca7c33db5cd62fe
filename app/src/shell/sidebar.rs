//! The sidebar: which organization, where to go, who one is.

use leptos::{prelude::*, server_fn::ServerFn};
use leptos_router::components::A;

use super::{
    frame::{Frame, FrameResource},
    theme::{Brand, ThemeSwitch},
};
use crate::{
    components::{Glyph, Icon, Menu, MenuButton},
    pages::{settings::organization::SwitchOrganization, sign_in::SignOut},
};

#[component]
pub fn Sidebar(frame: FrameResource) -> impl IntoView {
    let sign_out = SignOut::url();
    // On phones the button in the top bar opens it as a popover; on wide screens it is always there.
    view! {
        <aside class="sidebar" id="sidebar" popover="auto" aria-label="Console">
            <div class="sidebar-top">
                <Transition fallback=Brand>
                    {move || Suspend::new(async move {
                        match frame.await {
                            Ok(frame) => view! { <OrganizationName frame/> }.into_any(),
                            Err(_) => view! { <Brand/> }.into_any(),
                        }
                    })}
                </Transition>
            </div>
            <nav aria-label="Main" on:click=|event| crate::browser::close_sidebar(&event)>
                <h2 id="nav-integrations">"Integrations & Configuration"</h2>
                <ul aria-labelledby="nav-integrations">
                    <li><A href="/dashboard/developer"><Glyph icon=Icon::Code/><span>"Developer"</span></A></li>
                    <li><A href="/dashboard/settings"><Glyph icon=Icon::Settings/><span>"Settings"</span></A></li>
                </ul>
            </nav>
            <div class="sidebar-foot">
                <ThemeSwitch/>
                <Transition>
                    {move || Suspend::new(async move {
                        frame.await.ok().map(|frame| {
                            view! {
                                <a class="me" href="/dashboard/settings/profile" title="Profile">
                                    <span class="me-name">{frame.viewer.name}</span>
                                    <span class="me-email">{frame.viewer.email}</span>
                                </a>
                            }
                        })
                    })}
                </Transition>
                // A form of the browser's own: the page is loaded anew, and nothing of the old one stays in memory.
                <form method="post" action=sign_out>
                    <button type="submit" class="button quiet icon-only" aria-label="Sign out" title="Sign out">
                        <Glyph icon=Icon::SignOut/>
                    </button>
                </form>
            </div>
        </aside>
    }
}

/// The organization; with several, a menu to change it.
#[component]
fn OrganizationName(frame: Frame) -> impl IntoView {
    let viewer = frame.viewer;
    let switch = ServerAction::<SwitchOrganization>::new();
    if viewer.organizations.len() < 2 {
        return view! {
            <span class="organization"><Glyph icon=Icon::Bouncer/><span title=viewer.organization_name.clone()>{viewer.organization_name.clone()}</span></span>
        }
        .into_any();
    }
    let here = viewer.organization_id;
    view! {
        <Menu id="organization-menu" label="Change the organization" icon=Icon::ChevronDown text=viewer.organization_name>
            {viewer
                .organizations
                .into_iter()
                .map(|(id, name)| {
                    view! {
                        <form
                            method="post"
                            action=SwitchOrganization::url()
                            on:submit=move |event| {
                                event.prevent_default();
                                switch.dispatch(SwitchOrganization { organization: id.to_string() });
                            }
                        >
                            <input type="hidden" name="organization" value=id.to_string()/>
                            <MenuButton icon=if id == here { Icon::Check } else { Icon::Building } submit=true>{name}</MenuButton>
                        </form>
                    }
                })
                .collect_view()}
        </Menu>
    }
    .into_any()
}
