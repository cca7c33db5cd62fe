//! Copies a text; where the clipboard cannot be reached it selects the text instead.

use std::time::Duration;

use leptos::prelude::*;

use super::{
    button::ButtonKind,
    icons::{Glyph, Icon},
};
use crate::browser;

/// A button that copies `text`, says "Copied" for two seconds, and tells screen readers so.
/// Needs script: without it the text itself must be selectable on the page.
#[component]
pub fn CopyButton(
    #[prop(into)] text: Signal<String>,
    #[prop(default = "Copy".into(), into)] label: String,
    /// Only the icon, for table rows.
    #[prop(optional)]
    bare: bool,
    #[prop(optional)] kind: ButtonKind,
    /// The id of the element that shows the text, to select it when copying fails.
    #[prop(optional, into)]
    target: Option<String>,
    /// Called once the text is in the clipboard.
    #[prop(optional)]
    on_copied: Option<Callback<()>>,
) -> impl IntoView {
    let said = RwSignal::new(None::<&'static str>);
    let settle = move || {
        set_timeout(move || _ = said.try_set(None), Duration::from_secs(2));
    };
    let copy = move |_| {
        let target = target.clone();
        browser::copy(text.get_untracked(), move |copied| {
            if copied {
                said.set(Some("Copied"));
                if let Some(done) = on_copied {
                    done.run(());
                }
            } else {
                if let Some(target) = &target {
                    browser::select_text(target);
                }
                said.set(Some("Press Ctrl+C"));
            }
            settle();
        });
    };
    let words = label.clone();
    view! {
        <span class="copy-holder js-only">
        <button
            type="button"
            class=format!("{} copy", kind.class())
            class:icon-only=bare
            class:done=move || said.get() == Some("Copied")
            aria-label=bare.then(|| label.clone())
            title=bare.then(|| label.clone())
            on:click=copy
        >
            {move || view! { <Glyph icon=if said.get() == Some("Copied") { Icon::Check } else { Icon::Copy }/> }}
            {(!bare).then(|| view! { <span>{move || said.get().map_or_else(|| words.clone(), Into::into)}</span> })}
        </button>
        // Beside the button, not in it: its name must not change twice.
        <span class="sr-only" role="status">{move || said.get().unwrap_or_default()}</span>
        </span>
    }
}
