//! The `⋯` menu of a row: a popover with links and buttons. The browser opens and closes it, also without script.

use leptos::prelude::*;

use super::icons::{Glyph, Icon};
use crate::browser;

/// `id` must be unique on the page. `children` are [`MenuLink`], [`MenuButton`], or a form with a `MenuButton`.
#[component]
pub fn Menu(
    #[prop(into)] id: String,
    /// "Actions for Shop plugin"
    #[prop(into)]
    label: String,
    #[prop(default = Icon::Dots)] icon: Icon,
    /// Words beside the icon; without them only the icon shows.
    #[prop(optional, into)]
    text: Option<String>,
    children: Children,
) -> impl IntoView {
    let worded = text.is_some();
    view! {
        <div class="menu-holder">
            <button
                type="button"
                class="button quiet"
                class:icon-only=!worded
                popovertarget=id.clone()
                aria-label=(!worded).then(|| label.clone())
                title=(!worded).then(|| label.clone())
            >
                {text.map(|text| view! { <span>{text}</span> })}
                <Glyph icon/>
            </button>
            <div
                id=id
                class="menu"
                popover="auto"
                role="group"
                aria-label=label
                on:toggle=move |event| browser::place_menu(&event)
                on:keydown=move |event| browser::walk_menu(&event)
                on:click=move |event| browser::close_menu(&event)
            >
                {children()}
            </div>
        </div>
    }
}

#[component]
pub fn MenuLink(
    #[prop(into)] href: String,
    icon: Icon,
    #[prop(optional)] danger: bool,
    /// Left to the browser instead of the router: downloads.
    #[prop(optional)]
    external: bool,
    children: Children,
) -> impl IntoView {
    view! {
        <a
            class="menu-item"
            class:danger=danger
            href=href
            data-noscroll="true"
            rel=external.then_some("external")
        >
            <Glyph icon/>
            <span>{children()}</span>
        </a>
    }
}

#[component]
pub fn MenuButton(
    icon: Icon,
    #[prop(optional)] danger: bool,
    /// Sends the form it stands in.
    #[prop(optional)]
    submit: bool,
    children: Children,
) -> impl IntoView {
    view! {
        <button type=if submit { "submit" } else { "button" } class="menu-item" class:danger=danger>
            <Glyph icon/>
            <span>{children()}</span>
        </button>
    }
}

/// A line between groups of items.
#[component]
pub fn MenuGap() -> impl IntoView {
    view! { <hr class="menu-gap"/> }
}
