//! The frame of pages for people who are not signed in.

use leptos::prelude::*;

use super::theme::Brand;

/// One card in the middle.
#[component]
pub fn Door(#[prop(into)] title: String, #[prop(into)] text: String, children: Children) -> impl IntoView {
    view! {
        <main class="door" id="main">
            <Brand/>
            <section class="door-card" aria-labelledby="door-title">
                <h1 id="door-title">{title}</h1>
                <p class="door-text">{text}</p>
                {children()}
            </section>
        </main>
    }
}
