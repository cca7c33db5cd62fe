//! The Developer page and its tabs.

pub mod api_keys;

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
        <PageHead title="Developer" text="Keys that let your shop, your workflows and your own code call the API of this organization."/>
        <Tabs label="Developer">
            <Tab href="/dashboard/developer/api-keys">"API Keys"</Tab>
        </Tabs>
        <Outlet/>
    }
}
