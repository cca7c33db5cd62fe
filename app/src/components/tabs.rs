//! Tabs that are routes.

use leptos::prelude::*;
use leptos_router::components::A;

#[component]
pub fn Tabs(
    /// Names the set: "Developer".
    #[prop(into)]
    label: String,
    children: Children,
) -> impl IntoView {
    view! {
        <nav class="tabs" aria-label=label>
            {children()}
        </nav>
    }
}

#[component]
pub fn Tab(href: &'static str, children: Children) -> impl IntoView {
    view! { <A href=href>{children()}</A> }
}
