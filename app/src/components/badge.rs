//! A word in a soft pill. The colour repeats what the word says.

use leptos::prelude::*;

use super::icons::{Glyph, Icon};

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Neutral,
    Accent,
    Ok,
    Warn,
    Bad,
    Info,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Accent => "accent",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Info => "info",
        }
    }
}

/// `title` is the reason, shown on hover and read out after the word.
#[component]
pub fn Badge(
    #[prop(optional, into)] tone: Signal<Tone>,
    #[prop(optional)] icon: Option<Icon>,
    #[prop(optional)]
    /// A round dot before the word, for states.
    dot: bool,
    #[prop(optional, into)] title: MaybeProp<String>,
    children: Children,
) -> impl IntoView {
    view! {
        <span class=move || format!("badge {}", tone.get().class()) title=move || title.get()>
            {dot.then(|| view! { <span class="dot" aria-hidden="true"></span> })}
            {icon.map(|icon| view! { <Glyph icon/> })}
            <span>{children()}</span>
            {move || title.get().map(|title| view! { <span class="sr-only">": " {title}</span> })}
        </span>
    }
}
