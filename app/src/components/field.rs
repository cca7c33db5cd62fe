//! A label above, the control, and a note below: help, or in its place the error.

use leptos::{context::Provider, prelude::*};

use super::icons::{Glyph, Icon};

/// What a control inside a [`Field`] needs to know of it.
#[derive(Clone)]
pub struct FieldContext {
    pub id: String,
    pub error: Signal<Option<String>>,
}

impl FieldContext {
    /// The id of the note below the control, for `aria-describedby`.
    pub fn note_id(&self) -> String {
        format!("{}-note", self.id)
    }
}

/// Label, control, note. The control inside takes its id and its `aria-describedby` from here.
#[component]
pub fn Field(
    /// The id of the control.
    #[prop(into)]
    id: String,
    #[prop(into)] label: String,
    #[prop(optional, into)] help: MaybeProp<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    /// Says "optional" beside the label.
    #[prop(optional)]
    optional: bool,
    children: Children,
) -> impl IntoView {
    let context = FieldContext { id: id.clone(), error };
    let note_id = context.note_id();
    view! {
        <div class="field" class:invalid=move || error.with(Option::is_some)>
            <label for=id>
                {label}
                {optional.then(|| view! { <span class="optional">"optional"</span> })}
            </label>
            <Provider value=context>{children()}</Provider>
            <p class="note" id=note_id>
                {move || match error.get() {
                    Some(error) => {
                        view! {
                            <span class="error"><Glyph icon=Icon::Alert/><span>{error}</span></span>
                        }
                            .into_any()
                    }
                    None => help.get().into_any(),
                }}
            </p>
        </div>
    }
}

/// A sentence above a form: what went wrong with the whole of it. Announced when it appears.
#[component]
pub fn FormError(#[prop(into)] message: Signal<Option<String>>) -> impl IntoView {
    view! {
        <div role="alert" class="form-error-slot">
            {move || {
                message
                    .get()
                    .map(|message| {
                        view! {
                            <p class="form-error"><Glyph icon=Icon::Alert/><span>{message}</span></p>
                        }
                    })
            }}
        </div>
    }
}
