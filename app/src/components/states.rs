//! Nothing there, not there yet, could not be had; and notices.

use leptos::prelude::*;

use super::{
    badge::Tone,
    icons::{Glyph, Icon},
};
use crate::error::AppError;

/// What this page will show, and the one next step in `children`.
#[component]
pub fn EmptyState(
    icon: Icon,
    #[prop(into)] title: String,
    #[prop(into)] text: String,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="empty">
            <span class="empty-icon"><Glyph icon/></span>
            <h2>{title}</h2>
            <p>{text}</p>
            {children.map(|children| view! { <div class="empty-step">{children()}</div> })}
        </div>
    }
}

/// What could not be had, why, and a way to try again.
#[component]
pub fn ErrorState(error: AppError) -> impl IntoView {
    let retry = matches!(
        error,
        AppError::Unavailable { .. } | AppError::Internal { .. } | AppError::Limited { .. } | AppError::Offline
    );
    view! {
        <div class="empty error-state" role="alert">
            <span class="empty-icon"><Glyph icon=Icon::Alert/></span>
            <h2>{error.title()}</h2>
            <p>{error.to_string()}</p>
            {error.request_id().map(|id| view! { <p class="small">"Request " <code>{id.to_owned()}</code></p> })}
            {retry.then(|| view! { <a class="button" href="" rel="external"><Glyph icon=Icon::Refresh/><span>"Try again"</span></a> })}
        </div>
    }
}

/// A sentence that matters here, with its icon.
#[component]
pub fn Notice(#[prop(optional)] tone: Tone, children: Children) -> impl IntoView {
    let icon = match tone {
        Tone::Ok => Icon::CheckCircle,
        Tone::Warn | Tone::Bad => Icon::Alert,
        _ => Icon::Info,
    };
    view! {
        <div class=format!("notice {}", tone.class())>
            <Glyph icon/>
            <div>{children()}</div>
        </div>
    }
}

/// Grey lines in the shape of what is coming.
#[component]
pub fn Skeleton(#[prop(default = 5)] rows: u32) -> impl IntoView {
    view! {
        <div class="skeleton" aria-busy="true">
            <span class="sr-only">"Loading"</span>
            {(0..rows).map(|_| view! { <div class="bone"></div> }).collect_view()}
        </div>
    }
}
