//! `?` shows the shortcuts, `/` jumps into the page's search where it has one, `n` makes a new key. Keys that are typed into a field, or while
//! a dialog is open, belong to it.

use leptos::{ev, html, prelude::*, wasm_split::wasm_split};
use leptos_router::{NavigateOptions, hooks::use_navigate};

use crate::{
    browser,
    components::{Glyph, Icon, Kbd},
    error::AppError,
    later::shown,
};

const SEARCH: &str = "[data-page-search]";

#[component]
pub fn Shortcuts() -> impl IntoView {
    let asked = RwSignal::new(0u32);
    let navigate = use_navigate();

    Effect::new(move |_| {
        let navigate = navigate.clone();
        let handle = window_event_listener(ev::keydown, move |event| {
            if event.ctrl_key()
                || event.meta_key()
                || event.alt_key()
                || browser::is_typing(&event)
                || browser::dialog_open()
            {
                return;
            }
            match event.key().as_str() {
                "?" => asked.update(|n| *n += 1),
                "/" => {
                    if !browser::focus(SEARCH) {
                        return;
                    }
                }
                "n" => {
                    // A page's own link keeps its filters.
                    if !browser::click("[data-new]") {
                        navigate("/dashboard/developer/api-keys?panel=new", NavigateOptions::default());
                    }
                }
                _ => return,
            }
            event.prevent_default();
        });
        on_cleanup(move || handle.remove());
    });

    let wanted = Memo::new(move |_| asked.get() > 0);
    view! {
        {move || wanted.get().then(|| Suspend::new(async move { shown(help(asked).await) }))}
    }
}

#[wasm_split(aids, wasm_split_path = leptos::wasm_split, preload(preload_help), fallible)]
fn help(asked: RwSignal<u32>) -> Result<AnyView, AppError> {
    Ok(view! { <Help opened=asked/> }.into_any())
}

/// The list of shortcuts. Opens whenever `opened` changes.
#[component]
fn Help(opened: RwSignal<u32>) -> impl IntoView {
    let help = NodeRef::<html::Dialog>::new();
    // Only what works on the page that is open now.
    let search = RwSignal::new(false);
    Effect::new(move |_| {
        opened.track();
        search.set(browser::has(SEARCH));
        if let Some(dialog) = help.get().filter(|dialog| !dialog.open()) {
            browser::open_modal(&dialog);
        }
    });
    view! {
        <dialog node_ref=help class="dialog shortcuts" id="shortcuts" aria-labelledby="shortcuts-title" on:close=|_| browser::closed_modal()>
            <header class="dialog-head">
                <h2 id="shortcuts-title">"Keyboard shortcuts"</h2>
                <form method="dialog">
                    <button class="button quiet icon-only" aria-label="Close" title="Close"><Glyph icon=Icon::Close/></button>
                </form>
            </header>
            <dl class="dialog-body keys">
                {move || search.get().then(|| view! { <div><dt>"Search this page"</dt><dd><Kbd>"/"</Kbd></dd></div> })}
                <div><dt>"New API key"</dt><dd><Kbd>"n"</Kbd></dd></div>
                <div><dt>"Go to a name, an id or a page"</dt><dd><Kbd>"Ctrl"</Kbd>" "<Kbd>"K"</Kbd>" or "<Kbd>"⌘"</Kbd>" "<Kbd>"K"</Kbd></dd></div>
                <div><dt>"Close a dialog or menu"</dt><dd><Kbd>"Esc"</Kbd></dd></div>
                <div><dt>"Move in a menu"</dt><dd><Kbd>"↑"</Kbd>" "<Kbd>"↓"</Kbd></dd></div>
                <div><dt>"This list"</dt><dd><Kbd>"?"</Kbd></dd></div>
            </dl>
        </dialog>
    }
}
