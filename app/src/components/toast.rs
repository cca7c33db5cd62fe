//! Short results in a corner: "Key disabled". Never for what must be read.

use std::time::Duration;

use leptos::{html, prelude::*};

use super::{
    badge::Tone,
    icons::{Glyph, Icon},
};
use crate::browser;

#[derive(Debug, Clone)]
struct Toast {
    id: u32,
    tone: Tone,
    text: String,
}

/// The toasts now on screen. Get it with [`use_toasts`].
#[derive(Debug, Clone, Copy)]
pub struct Toasts {
    list: RwSignal<Vec<Toast>>,
    next: StoredValue<u32>,
}

impl Toasts {
    /// Something was done: "Key disabled".
    pub fn ok(self, text: impl Into<String>) {
        self.show(Tone::Ok, text.into());
    }

    /// Something was not done, and why.
    pub fn bad(self, text: impl Into<String>) {
        self.show(Tone::Bad, text.into());
    }

    fn show(self, tone: Tone, text: String) {
        let id = self.next.get_value();
        self.next.set_value(id + 1);
        self.list.update(|list| list.push(Toast { id, tone, text }));
        // Bad news stays until it is read.
        if tone == Tone::Ok {
            set_timeout(move || self.drop(id), Duration::from_secs(6));
        }
    }

    fn drop(self, id: u32) {
        self.list.try_update(|list| list.retain(|toast| toast.id != id));
    }
}

pub fn provide_toasts() {
    provide_context(Toasts { list: RwSignal::new(Vec::new()), next: StoredValue::new(0) });
}

/// The toasts of this page. Take it before any `.await`.
pub fn use_toasts() -> Toasts {
    use_context().unwrap_or_else(|| {
        // Outside the shell (in a test): a tray that nobody sees.
        Toasts { list: RwSignal::new(Vec::new()), next: StoredValue::new(0) }
    })
}

/// Where the toasts appear: at the edge of the page, and of the dialog while one is open.
#[component]
pub fn ToastTray() -> impl IntoView {
    let toasts = use_toasts();
    let tray = NodeRef::<html::Div>::new();
    Effect::new(move |_| {
        if let Some(tray) = tray.get() {
            browser::keep_toasts(&tray);
        }
    });
    view! {
        <div id="toasts-home">
        <div node_ref=tray class="toasts" role="status" aria-live="polite" id="toasts">
            <For each=move || toasts.list.get() key=|toast| toast.id let:toast>
                <div class=format!("toast {}", toast.tone.class())>
                    <Glyph icon=if toast.tone == Tone::Ok { Icon::CheckCircle } else { Icon::Alert }/>
                    <p>{toast.text.clone()}</p>
                    <button
                        type="button"
                        class="button quiet icon-only"
                        aria-label="Dismiss"
                        on:click=move |_| toasts.drop(toast.id)
                    >
                        <Glyph icon=Icon::Close/>
                    </button>
                </div>
            </For>
        </div>
        </div>
    }
}
