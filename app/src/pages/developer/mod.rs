//! The Developer page and its tabs.

pub mod api_keys;
pub mod integrations;

use leptos::prelude::*;
use leptos_router::components::Outlet;

use crate::{
    components::{Tab, Tabs},
    shell::PageHead,
};

/// Head and tabs; the tab itself is the nested route.
#[component]
pub fn DeveloperPage() -> impl IntoView {
    view! {
        <PageHead title="Developer" text="API keys and integrations of this organization."/>
        <Tabs label="Developer">
            <Tab href="/dashboard/developer/api-keys">"API Keys"</Tab>
            <Tab href="/dashboard/developer/integrations">"Integrations"</Tab>
        </Tabs>
        <Outlet/>
    }
}
