//! Buttons, and links that look like buttons.

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// How loud a button is. A page has one `Primary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ButtonKind {
    Primary,
    #[default]
    Plain,
    /// No frame until hovered.
    Quiet,
    /// Takes something away for good.
    Danger,
}

impl ButtonKind {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Primary => "button primary",
            Self::Plain => "button",
            Self::Quiet => "button quiet",
            Self::Danger => "button danger",
        }
    }
}

/// A button. Handlers and attributes go straight onto it: `<Button on:click=… attr:name="x">"Save"</Button>`.
/// With `pending` it stays where it is, shows that it works, and takes no second click.
#[component]
pub fn Button(
    #[prop(optional)] kind: ButtonKind,
    /// Sends the form it stands in.
    #[prop(optional)]
    submit: bool,
    #[prop(optional)] icon: Option<Icon>,
    /// For a button that shows only an icon: what it does, in words.
    #[prop(optional, into)]
    label: Option<String>,
    #[prop(optional, into)] disabled: Signal<bool>,
    #[prop(optional, into)] pending: Signal<bool>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let icon_only = children.is_none();
    view! {
        <button
            type=if submit { "submit" } else { "button" }
            class=kind.class()
            class:icon-only=icon_only
            class:pending=move || pending.get()
            disabled=move || disabled.get()
            aria-disabled=move || pending.get().then_some("true")
            aria-label=label.clone()
            title=label
            on:click=move |event| {
                // What is being done is not asked for twice.
                if pending.get_untracked() {
                    event.prevent_default();
                    event.stop_immediate_propagation();
                }
            }
        >
            {icon.map(|icon| view! { <Glyph icon/> })}
            {children.map(|children| view! { <span>{children()}</span> })}
        </button>
    }
}

/// A link that looks like a button. It stays where the reader is (no jump to the top).
#[component]
pub fn LinkButton(
    #[prop(into)] href: Signal<String>,
    #[prop(optional)] kind: ButtonKind,
    #[prop(optional)] icon: Option<Icon>,
    #[prop(optional, into)] label: Option<String>,
    /// Left to the browser instead of the router: downloads, other sites.
    #[prop(optional)]
    external: bool,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let icon_only = children.is_none();
    view! {
        <a
            href=move || href.get()
            class=kind.class()
            class:icon-only=icon_only
            data-noscroll="true"
            rel=external.then_some("external")
            aria-label=label.clone()
            title=label
        >
            {icon.map(|icon| view! { <Glyph icon/> })}
            {children.map(|children| view! { <span>{children()}</span> })}
        </a>
    }
}
