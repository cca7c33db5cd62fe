//! Dialogs and side sheets on the native `<dialog>`.
//!
//! Whether one is open is in the URL: the page renders it when its parameter is there, and closing is a link to the
//! page without it. The server renders `<dialog open>`, which works without script; once hydrated it becomes a true
//! modal (`showModal`): focus stays inside, Esc closes, and focus goes back to where it came from.

use leptos::{ev, html, prelude::*};
use leptos_router::{NavigateOptions, hooks::use_navigate};

use super::{
    button::ButtonKind,
    icons::{Glyph, Icon},
};
use crate::browser;

/// A dialog, 560 wide, full height on phones. Render it only while it is open.
///
/// `children` scroll between a fixed head and `foot`. If one form spans body and foot, wrap the dialog's content in it
/// with the attribute `form="…"` on the foot's buttons.
#[component]
pub fn Dialog(
    /// Unique on the page.
    #[prop(into)]
    id: String,
    #[prop(into)] title: Signal<String>,
    #[prop(optional, into)] description: MaybeProp<String>,
    /// The page without this dialog.
    #[prop(into)]
    close_href: Signal<String>,
    /// Asked before ✕, Esc and Cancel close it; `false` keeps it open (the caller then asks its own question).
    #[prop(optional)]
    may_close: Option<Callback<(), bool>>,
    /// Between head and body, does not scroll: step tabs.
    #[prop(optional, into)]
    under_head: ViewFn,
    #[prop(optional, into)] foot: Option<ViewFn>,
    /// 560 by default; wide is 760.
    #[prop(optional)]
    wide: bool,
    children: Children,
) -> impl IntoView {
    let class = if wide { "dialog wide" } else { "dialog" };
    view! {
        <Frame id class title description close_href may_close alert=false>
            {move || under_head.run()}
            <div class="dialog-body">{children()}</div>
            {foot.map(|foot| view! { <footer class="dialog-foot">{move || foot.run()}</footer> })}
        </Frame>
    }
}

/// A panel at the right edge, for the detail of a row.
#[component]
pub fn Sheet(
    #[prop(into)] id: String,
    #[prop(into)] title: Signal<String>,
    #[prop(optional, into)] description: MaybeProp<String>,
    #[prop(into)] close_href: Signal<String>,
    #[prop(optional, into)] foot: Option<ViewFn>,
    children: Children,
) -> impl IntoView {
    view! {
        <Frame id class="dialog sheet" title description close_href may_close=None alert=false>
            <div class="dialog-body">{children()}</div>
            {foot.map(|foot| view! { <footer class="dialog-foot">{move || foot.run()}</footer> })}
        </Frame>
    }
}

/// A question before something is taken away: what happens in `children`, the safe button has the focus.
/// `action` is the button (or form with a button) that does it.
#[component]
pub fn ConfirmDialog(
    #[prop(into)] id: String,
    #[prop(into)] title: Signal<String>,
    #[prop(into)] close_href: Signal<String>,
    /// The words of the safe button.
    #[prop(default = "Cancel".into(), into)]
    keep: String,
    #[prop(into)] action: ViewFn,
    children: Children,
) -> impl IntoView {
    view! {
        <Frame id class="dialog confirm" title description=MaybeProp::default() close_href may_close=None alert=true>
            <div class="dialog-body">{children()}</div>
            <footer class="dialog-foot">
                <a class=ButtonKind::Plain.class() href=move || close_href.get() data-noscroll="true" autofocus data-close="true">
                    {keep}
                </a>
                {move || action.run()}
            </footer>
        </Frame>
    }
}

/// What the three have in common.
#[component]
fn Frame(
    id: String,
    class: &'static str,
    title: Signal<String>,
    description: MaybeProp<String>,
    close_href: Signal<String>,
    may_close: Option<Callback<(), bool>>,
    alert: bool,
    children: Children,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let navigate = use_navigate();
    let opened = StoredValue::new(false);

    Effect::new(move |_| {
        let Some(dialog) = node.get() else { return };
        if !opened.get_value() {
            opened.set_value(true);
            browser::open_modal(&dialog);
        }
    });
    // A dialog that is simply removed would leave the focus nowhere.
    on_cleanup(move || {
        if opened.try_get_value() == Some(true) {
            browser::closed_modal();
        }
    });

    let go = navigate.clone();
    let cancel = move |event: ev::Event| {
        // Closing means leaving the URL; the router then takes the dialog away.
        event.prevent_default();
        if may_close.is_none_or(|ask| ask.run(())) {
            let options = NavigateOptions { scroll: false, ..Default::default() };
            go(&close_href.get_untracked(), options);
        }
    };
    // A browser may close it without asking (Esc twice): the URL follows.
    let leave = move |_| navigate(&close_href.get_untracked(), NavigateOptions { scroll: false, ..Default::default() });
    let keep_open = move |event: ev::MouseEvent| {
        if browser::is_close_link(&event) && may_close.is_some_and(|ask| !ask.run(())) {
            event.prevent_default();
            event.stop_propagation();
        }
    };

    let title_id = format!("{id}-title");
    let text_id = format!("{id}-text");
    let described = text_id.clone();
    let labelled = title_id.clone();
    view! {
        <dialog
            node_ref=node
            id=id
            class=class
            open
            role=alert.then_some("alertdialog")
            aria-labelledby=labelled
            aria-describedby=move || description.get().map(|_| described.clone())
            on:cancel=cancel
            on:close=leave
            on:click=keep_open
        >
            <header class="dialog-head">
                <div>
                    <h2 id=title_id>{move || title.get()}</h2>
                    <p id=text_id>{move || description.get()}</p>
                </div>
                <a
                    class="button quiet icon-only"
                    href=move || close_href.get()
                    data-noscroll="true"
                    data-close="true"
                    aria-label="Close"
                    title="Close"
                >
                    <Glyph icon=Icon::Close/>
                </a>
            </header>
            {children()}
        </dialog>
    }
}
