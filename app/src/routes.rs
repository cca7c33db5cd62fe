//! Which address shows which page. Everything is rendered in full before it is sent (`Async`), so that pages work
//! without script and carry the right status.

use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::{
    Lazy, SsrMode,
    components::{ParentRoute, Redirect, Route, Router, Routes},
    path,
};

use crate::{
    components::provide_toasts,
    pages::{
        developer::{DeveloperPage, api_keys::ApiKeysRoute, integrations::IntegrationsRoute},
        invite::InviteRoute,
        not_found::NotFoundPage,
        settings::{
            SettingsPage, audit::AuditRoute, members::MembersRoute, organization::OrganizationRoute,
            profile::ProfileRoute,
        },
        setup::SetupRoute,
        sign_in::SignInRoute,
    },
    shell::Dashboard,
};

const HOME: &str = "/dashboard/developer/api-keys";

/// Takes over the page that the server rendered. The code of the page itself is loaded first.
#[cfg(feature = "hydrate")]
pub fn hydrate() {
    wasm_bindgen_futures::spawn_local(async {
        leptos::mount::hydrate_from_async(leptos::tachys::dom::body(), App).await.forget();
        // The effects of the page are queued by now.
        leptos::task::tick().await;
        // Tests and styles can wait for it: from here on the page answers to clicks.
        crate::browser::mark_root("data-hydrated", "true");
    });
}

/// Everything inside `<body>`.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    #[cfg(feature = "ssr")]
    provide_context(crate::later::Announced::default());
    provide_toasts();

    view! {
        <Title formatter=|title: String| if title.is_empty() { "Bouncer".to_owned() } else { format!("{title} · Bouncer") }/>
        <Router>
            <Routes fallback=|| view! { <NotFoundPage/> }>
                <Route path=path!("/") view=|| view! { <Redirect path=HOME/> } ssr=SsrMode::Async/>
                <Route path=path!("/sign-in") view={Lazy::<SignInRoute>::new()} ssr=SsrMode::Async/>
                <Route path=path!("/setup") view={Lazy::<SetupRoute>::new()} ssr=SsrMode::Async/>
                <Route path=path!("/invite/:token") view={Lazy::<InviteRoute>::new()} ssr=SsrMode::Async/>
                <ParentRoute path=path!("/dashboard") view=Dashboard ssr=SsrMode::Async>
                    <Route path=path!("") view=|| view! { <Redirect path=HOME/> }/>
                    <ParentRoute path=path!("/developer") view=DeveloperPage>
                        <Route path=path!("") view=|| view! { <Redirect path=HOME/> }/>
                        <Route path=path!("/api-keys") view={Lazy::<ApiKeysRoute>::new()}/>
                        <Route path=path!("/integrations") view={Lazy::<IntegrationsRoute>::new()}/>
                    </ParentRoute>
                    <ParentRoute path=path!("/settings") view=SettingsPage>
                        <Route path=path!("") view=|| view! { <Redirect path="/dashboard/settings/organization"/> }/>
                        <Route path=path!("/organization") view={Lazy::<OrganizationRoute>::new()}/>
                        <Route path=path!("/members") view={Lazy::<MembersRoute>::new()}/>
                        <Route path=path!("/audit") view={Lazy::<AuditRoute>::new()}/>
                        <Route path=path!("/profile") view={Lazy::<ProfileRoute>::new()}/>
                    </ParentRoute>
                </ParentRoute>
            </Routes>
        </Router>
    }
}
