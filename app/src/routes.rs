//! Which address shows which page. Everything is rendered in full before it is sent (`Async`), so that pages work
//! without script and carry the right status.

use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{ParentRoute, Redirect, Route, Router, Routes},
    path,
};

use crate::{
    browser,
    components::provide_toasts,
    pages::{
        developer::{DeveloperPage, api_keys::ApiKeysPage},
        invite::InvitePage,
        not_found::NotFoundPage,
        settings::{
            SettingsPage, audit::AuditPage, members::MembersPage, organization::OrganizationPage, profile::ProfilePage,
        },
        setup::SetupPage,
        sign_in::SignInPage,
    },
    shell::Dashboard,
};

const HOME: &str = "/dashboard/developer/api-keys";

/// Everything inside `<body>`.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_toasts();
    // Tests and styles can wait for it: from here on the page answers to clicks.
    Effect::new(move |_| browser::mark_root("data-hydrated", "true"));

    view! {
        <Title formatter=|title: String| if title.is_empty() { "Bouncer".to_owned() } else { format!("{title} · Bouncer") }/>
        <Router>
            <Routes fallback=|| view! { <NotFoundPage/> }>
                <Route path=path!("/") view=|| view! { <Redirect path=HOME/> } ssr=SsrMode::Async/>
                <Route path=path!("/sign-in") view=SignInPage ssr=SsrMode::Async/>
                <Route path=path!("/setup") view=SetupPage ssr=SsrMode::Async/>
                <Route path=path!("/invite/:token") view=InvitePage ssr=SsrMode::Async/>
                <ParentRoute path=path!("/dashboard") view=Dashboard ssr=SsrMode::Async>
                    <Route path=path!("") view=|| view! { <Redirect path=HOME/> }/>
                    <ParentRoute path=path!("/developer") view=DeveloperPage>
                        <Route path=path!("") view=|| view! { <Redirect path=HOME/> }/>
                        <Route path=path!("/api-keys") view=ApiKeysPage/>
                    </ParentRoute>
                    <ParentRoute path=path!("/settings") view=SettingsPage>
                        <Route path=path!("") view=|| view! { <Redirect path="/dashboard/settings/organization"/> }/>
                        <Route path=path!("/organization") view=OrganizationPage/>
                        <Route path=path!("/members") view=MembersPage/>
                        <Route path=path!("/audit") view=AuditPage/>
                        <Route path=path!("/profile") view=ProfilePage/>
                    </ParentRoute>
                </ParentRoute>
            </Routes>
        </Router>
    }
}
