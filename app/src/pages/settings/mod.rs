//! The settings of an organization and of oneself.

pub mod audit;
pub mod members;
pub mod organization;
pub mod profile;

use leptos::prelude::*;
use leptos_router::components::Outlet;

use crate::{
    components::{Tab, Tabs},
    shell::PageHead,
};

#[component]
pub fn SettingsPage() -> impl IntoView {
    view! {
        <PageHead title="Settings" text="The organization, the people in it, what they did, and your own account."/>
        <Tabs label="Settings">
            <Tab href="/dashboard/settings/organization">"Organization"</Tab>
            <Tab href="/dashboard/settings/members">"Members"</Tab>
            <Tab href="/dashboard/settings/audit">"Audit log"</Tab>
            <Tab href="/dashboard/settings/profile">"Profile"</Tab>
        </Tabs>
        <Outlet/>
    }
}
