//! The few things that only a browser can do. On the server they are empty, so that components read straight through.

#[cfg(feature = "hydrate")]
mod real {
    use std::{
        cell::{Cell, RefCell},
        time::Duration,
    };

    use leptos::{ev, prelude::*};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;
    use web_sys::{Document, Element, HtmlDialogElement, HtmlElement};

    thread_local! {
        /// Where the focus was before each open dialog.
        static CAME_FROM: RefCell<Vec<Option<HtmlElement>>> = const { RefCell::new(Vec::new()) };
        /// The tray of toasts. Remembered, because it may go out of the document together with a dialog.
        static TRAY: RefCell<Option<Element>> = const { RefCell::new(None) };
        /// The tray is in a dialog, and looked after.
        static AWAY: Cell<bool> = const { Cell::new(false) };
    }

    fn doc() -> Document {
        document()
    }

    /// Copies `text`; then calls `done` with whether it worked.
    pub fn copy(text: String, done: impl FnOnce(bool) + 'static) {
        let navigator = window().navigator();
        // Without a secure context (plain http on a foreign host) there is no clipboard.
        let clipboard = js_sys::Reflect::get(&navigator, &JsValue::from_str("clipboard"))
            .ok()
            .filter(|value| !value.is_undefined() && !value.is_null())
            .map(JsValue::unchecked_into::<web_sys::Clipboard>);
        leptos::task::spawn_local(async move {
            let copied = match clipboard {
                Some(clipboard) => JsFuture::from(clipboard.write_text(&text)).await.is_ok(),
                None => false,
            };
            done(copied);
        });
    }

    /// Selects the text of an element.
    pub fn select_text(id: &str) {
        let Some(element) = doc().get_element_by_id(id) else { return };
        if let Some(selection) = window().get_selection().ok().flatten() {
            _ = selection.select_all_children(&element);
        }
    }

    /// Turns a dialog that the server rendered open into a modal one.
    pub fn open_modal(dialog: &HtmlDialogElement) {
        let before = doc().active_element().and_then(|element| {
            // A menu's item is hidden by now: its button is where the person was.
            let holder = element.closest(".menu-holder").ok().flatten();
            let button = holder.and_then(|holder| holder.query_selector("[popovertarget]").ok().flatten());
            button.unwrap_or(element).dyn_into::<HtmlElement>().ok()
        });
        let before = before.filter(|element| element.tag_name() != "BODY");
        CAME_FROM.with_borrow_mut(|stack| stack.push(before));
        show_once_there(dialog.clone(), 0);
    }

    /// The router builds a new page before it puts it into the document, and `showModal` refuses a dialog that is not
    /// there yet.
    fn show_once_there(dialog: HtmlDialogElement, frames: u32) {
        if !dialog.is_connected() {
            if frames < 600 {
                request_animation_frame(move || show_once_there(dialog, frames + 1));
            }
            return;
        }
        // `showModal` refuses a dialog that is open already.
        _ = dialog.remove_attribute("open");
        _ = dialog.show_modal();
        settle_toasts();
        // What one came for, rather than the cross.
        let first =
            "[autofocus], .dialog-body input:not([type=hidden], [type=radio], [type=checkbox]), .dialog-body textarea";
        if let Some(first) =
            dialog.query_selector(first).ok().flatten().and_then(|first| first.dyn_into::<HtmlElement>().ok())
        {
            _ = first.focus();
        }
    }

    /// The dialog is going: the focus returns to where it was, and toasts that were in it to their place.
    pub fn closed_modal() {
        let came_from = CAME_FROM.with_borrow_mut(Vec::pop).flatten();
        set_timeout(
            move || {
                if let Some(element) = came_from.filter(|element| element.is_connected()) {
                    _ = element.focus();
                }
                settle_toasts();
            },
            Duration::ZERO,
        );
    }

    /// The tray of toasts is there. (Not before it is hydrated: until then nothing may be moved.)
    pub fn keep_toasts(tray: &Element) {
        TRAY.set(Some(tray.clone()));
        settle_toasts();
    }

    /// Puts the tray of toasts into the modal dialog that is open, or else back to its place. What is outside of a modal
    /// dialog lies under its veil and is inert: it could be neither read aloud nor dismissed, not even as a popover above
    /// it.
    fn settle_toasts() {
        let Some(tray) = TRAY.with_borrow(Clone::clone) else { return };
        let open = doc().query_selector_all("dialog:modal").ok();
        let last = open.and_then(|open| open.item(open.length().checked_sub(1)?)?.dyn_into::<Element>().ok());
        let Some(place) = last.or_else(|| doc().get_element_by_id("toasts-home")) else { return };
        if !place.is_same_node(tray.parent_element().as_deref()) {
            _ = place.append_child(&tray);
        }
        // Nothing tells when a dialog leaves the document: a page that is still being loaded keeps the old one, with its
        // dialog, for a while after that was closed.
        if place.tag_name() == "DIALOG" && !AWAY.replace(true) {
            set_timeout(
                || {
                    AWAY.set(false);
                    settle_toasts();
                },
                Duration::from_millis(100),
            );
        }
    }

    fn target(event: &web_sys::Event) -> Option<Element> {
        event.target()?.dyn_into().ok()
    }

    /// Whether a click was on something that closes the dialog around it.
    pub fn is_close_link(event: &ev::MouseEvent) -> bool {
        target(event).and_then(|element| element.closest("[data-close]").ok().flatten()).is_some()
    }

    /// Puts a menu that just opened below its button, or above it when there is no room, and the focus into it.
    pub fn place_menu(event: &web_sys::Event) {
        let Some(menu) = target(event).and_then(|element| element.dyn_into::<HtmlElement>().ok()) else { return };
        if !menu.matches(":popover-open").unwrap_or(false) {
            return;
        }
        let Some(button) =
            menu.parent_element().and_then(|holder| holder.query_selector("[popovertarget]").ok().flatten())
        else {
            return;
        };
        let (anchor, own) = (button.get_bounding_client_rect(), menu.get_bounding_client_rect());
        let height = f64::from(doc().document_element().map_or(0, |root| root.client_height()));
        let width = f64::from(doc().document_element().map_or(0, |root| root.client_width()));
        let below = anchor.bottom() + 4.0;
        let top = if below + own.height() > height { (anchor.top() - 4.0 - own.height()).max(4.0) } else { below };
        let left = (anchor.right() - own.width()).clamp(4.0, (width - own.width() - 4.0).max(4.0));
        // Through the object model, which the content security policy allows; a style attribute it would not.
        let style = menu.style();
        for (name, value) in [("position-area", "none"), ("inset", "auto"), ("margin", "0")] {
            _ = style.set_property(name, value);
        }
        _ = style.set_property("top", &format!("{top}px"));
        _ = style.set_property("left", &format!("{left}px"));
        if let Some(first) = items(&menu).first() {
            _ = first.focus();
        }
    }

    fn items(menu: &Element) -> Vec<HtmlElement> {
        let Ok(list) = menu.query_selector_all(".menu-item") else { return Vec::new() };
        (0..list.length()).filter_map(|i| list.item(i)?.dyn_into().ok()).collect()
    }

    /// Arrow keys, Home and End move through a menu.
    pub fn walk_menu(event: &ev::KeyboardEvent) {
        let Some(menu) = target(event).and_then(|element| element.closest("[popover]").ok().flatten()) else { return };
        let items = items(&menu);
        let here = doc().active_element();
        let at = items.iter().position(|item| here.as_ref().is_some_and(|here| item.is_same_node(Some(here))));
        let count = items.len();
        if count == 0 {
            return;
        }
        let next = match (event.key().as_str(), at) {
            ("ArrowDown", Some(at)) => (at + 1) % count,
            ("ArrowUp", Some(at)) => (at + count - 1) % count,
            ("ArrowDown" | "Home", _) => 0,
            ("ArrowUp" | "End", _) => count - 1,
            _ => return,
        };
        event.prevent_default();
        _ = items[next].focus();
    }

    /// After an item was chosen the menu goes.
    pub fn close_menu(event: &ev::MouseEvent) {
        let Some(item) = target(event).and_then(|element| element.closest(".menu-item").ok().flatten()) else { return };
        if let Some(menu) =
            item.closest("[popover]").ok().flatten().and_then(|menu| menu.dyn_into::<HtmlElement>().ok())
        {
            _ = menu.hide_popover();
        }
    }

    /// A link in the sidebar was followed: on phones, where it is a popover, it goes.
    pub fn close_sidebar(event: &ev::MouseEvent) {
        if target(event).and_then(|element| element.closest("a").ok().flatten()).is_none() {
            return;
        }
        let sidebar = doc().query_selector("#sidebar:popover-open").ok().flatten();
        if let Some(sidebar) = sidebar.and_then(|sidebar| sidebar.dyn_into::<HtmlElement>().ok()) {
            _ = sidebar.hide_popover();
        }
    }

    /// The time in the reader's own zone.
    pub fn local_time(milliseconds: i64) -> Option<String> {
        let date = js_sys::Date::new(&JsValue::from_f64(milliseconds as f64));
        Some(format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            date.get_full_year(),
            date.get_month() + 1,
            date.get_date(),
            date.get_hours(),
            date.get_minutes(),
            date.get_seconds()
        ))
    }

    /// Sets an attribute of `<html>`.
    pub fn mark_root(name: &str, value: &str) {
        if let Some(root) = doc().document_element() {
            _ = root.set_attribute(name, value);
        }
    }

    /// Whether a key press belongs to something that is being typed into.
    pub fn is_typing(event: &ev::KeyboardEvent) -> bool {
        target(event)
            .is_some_and(|element| element.matches("input, textarea, select, [contenteditable]").unwrap_or(false))
    }

    /// The query of the page's address.
    pub fn query() -> String {
        window().location().search().unwrap_or_default()
    }

    /// Whether an element of the page matches.
    pub fn has(selector: &str) -> bool {
        doc().query_selector(selector).ok().flatten().is_some()
    }

    /// Whether a dialog is open now.
    pub fn dialog_open() -> bool {
        has("dialog[open]")
    }

    /// Puts the focus on the first element that matches, and selects its text. `false` if there is none.
    pub fn focus(selector: &str) -> bool {
        let element = doc().query_selector(selector).ok().flatten();
        let Some(element) = element.and_then(|element| element.dyn_into::<HtmlElement>().ok()) else { return false };
        _ = element.focus();
        if let Some(input) = element.dyn_ref::<web_sys::HtmlInputElement>() {
            input.select();
        }
        true
    }

    /// Clicks the first element that matches. `false` if there is none.
    pub fn click(selector: &str) -> bool {
        let element = doc().query_selector(selector).ok().flatten();
        let Some(element) = element.and_then(|element| element.dyn_into::<HtmlElement>().ok()) else { return false };
        element.click();
        true
    }
}

#[cfg(not(feature = "hydrate"))]
mod real {
    use leptos::ev;
    use web_sys::{Element, HtmlDialogElement};

    pub fn copy(_: String, _: impl FnOnce(bool) + 'static) {}
    pub fn select_text(_: &str) {}
    pub fn open_modal(_: &HtmlDialogElement) {}
    pub fn closed_modal() {}
    pub fn keep_toasts(_: &Element) {}
    pub fn is_close_link(_: &ev::MouseEvent) -> bool {
        false
    }
    pub fn place_menu(_: &web_sys::Event) {}
    pub fn walk_menu(_: &ev::KeyboardEvent) {}
    pub fn close_menu(_: &ev::MouseEvent) {}
    pub fn close_sidebar(_: &ev::MouseEvent) {}
    pub fn local_time(_: i64) -> Option<String> {
        None
    }
    pub fn mark_root(_: &str, _: &str) {}
    pub fn is_typing(_: &ev::KeyboardEvent) -> bool {
        false
    }
    pub fn query() -> String {
        String::new()
    }
    pub fn has(_: &str) -> bool {
        false
    }
    pub fn dialog_open() -> bool {
        false
    }
    pub fn focus(_: &str) -> bool {
        false
    }
    pub fn click(_: &str) -> bool {
        false
    }
}

pub use real::*;
