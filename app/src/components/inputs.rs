//! The controls of forms. Inside a [`Field`](super::Field) they take id and error from it.
//!
//! `value` is what the server renders. With `bind` the control and a signal follow each other; what somebody typed
//! before the page was hydrated wins over the signal, so that nothing typed is lost.

use leptos::{html, prelude::*};

use super::{
    field::FieldContext,
    icons::{Glyph, Icon},
};

/// As wide as what goes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Width {
    #[default]
    Full,
    /// About 10 characters: numbers.
    Short,
    /// About 28 characters: dates, short names.
    Medium,
}

impl Width {
    fn class(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Short => " short",
            Self::Medium => " medium",
        }
    }
}

/// Id, note and error of the field around a control.
struct Surroundings {
    id: Option<String>,
    note: Option<String>,
    error: Signal<Option<String>>,
}

fn surroundings(id: Option<String>) -> Surroundings {
    let field = use_context::<FieldContext>();
    Surroundings {
        note: field.as_ref().map(FieldContext::note_id),
        error: field.as_ref().map(|f| f.error).unwrap_or_default(),
        id: id.or(field.map(|f| f.id)),
    }
}

/// A line of text; `kind` is the HTML type (`text`, `email`, `number`, `date`, …).
#[component]
pub fn TextInput(
    #[prop(into)] name: String,
    #[prop(optional, into)] id: Option<String>,
    #[prop(default = "text")] kind: &'static str,
    #[prop(optional, into)] value: String,
    #[prop(optional)] bind: Option<RwSignal<String>>,
    #[prop(optional)] width: Width,
    #[prop(optional)] mono: bool,
    #[prop(optional)] required: bool,
) -> impl IntoView {
    let Surroundings { id, note, error } = surroundings(id);
    let node = NodeRef::<html::Input>::new();
    let start = bind.map_or(value, |signal| signal.get_untracked());
    if let Some(signal) = bind {
        Effect::new(move |before: Option<()>| {
            let text = signal.get();
            let Some(input) = node.get_untracked() else { return };
            if before.is_none() && input.value() != text {
                signal.set(input.value());
            } else if input.value() != text {
                input.set_value(&text);
            }
        });
    }
    view! {
        <input
            node_ref=node
            class=format!("input{}{}", width.class(), if mono { " mono" } else { "" })
            type=kind
            id=id
            name=name
            value=start
            required=required
            aria-invalid=move || error.with(Option::is_some).then_some("true")
            aria-describedby=note
            on:input=move |event| {
                if let Some(signal) = bind {
                    signal.set(event_target_value(&event));
                }
            }
        />
    }
}

/// A password, with a button that shows it (the button needs script; without it, it is not there).
#[component]
pub fn PasswordInput(
    #[prop(into)] name: String,
    #[prop(optional, into)] id: Option<String>,
    /// `current-password` or `new-password`, for password managers.
    autocomplete: &'static str,
    #[prop(optional)] bind: Option<RwSignal<String>>,
) -> impl IntoView {
    let Surroundings { id, note, error } = surroundings(id);
    let shown = RwSignal::new(false);
    view! {
        <div class="password">
            <input
                class="input"
                type=move || if shown.get() { "text" } else { "password" }
                id=id
                name=name
                autocomplete=autocomplete
                autocapitalize="none"
                spellcheck="false"
                required
                maxlength="128"
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-describedby=note
                on:input=move |event| {
                    if let Some(signal) = bind {
                        signal.set(event_target_value(&event));
                    }
                }
            />
            <button
                type="button"
                class="button quiet icon-only js-only"
                aria-pressed=move || if shown.get() { "true" } else { "false" }
                aria-label="Show the password"
                title="Show the password"
                on:click=move |_| shown.update(|shown| *shown = !*shown)
            >
                {move || view! { <Glyph icon=if shown.get() { Icon::EyeOff } else { Icon::Eye }/> }}
            </button>
        </div>
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Several lines of text.
#[component]
pub fn TextArea(
    #[prop(into)] name: String,
    #[prop(optional, into)] id: Option<String>,
    #[prop(optional, into)] value: String,
    #[prop(optional)] bind: Option<RwSignal<String>>,
    #[prop(default = 3)] rows: u32,
    #[prop(optional)] mono: bool,
) -> impl IntoView {
    let Surroundings { id, note, error } = surroundings(id);
    let node = NodeRef::<html::Textarea>::new();
    let start = bind.map_or(value, |signal| signal.get_untracked());
    if let Some(signal) = bind {
        Effect::new(move |before: Option<()>| {
            let text = signal.get();
            let Some(area) = node.get_untracked() else { return };
            if before.is_none() && area.value() != text {
                signal.set(area.value());
            } else if area.value() != text {
                area.set_value(&text);
            }
        });
    }
    view! {
        <textarea
            node_ref=node
            class=if mono { "input mono" } else { "input" }
            id=id
            name=name
            rows=rows
            aria-invalid=move || error.with(Option::is_some).then_some("true")
            aria-describedby=note
            on:input=move |event| {
                if let Some(signal) = bind {
                    signal.set(event_target_value(&event));
                }
            }
            // An empty text node would be rendered as a space, which a textarea takes for typed.
            inner_html=escape(&start)
        ></textarea>
    }
}

/// A choice from a list of (value, words).
#[component]
pub fn Select(
    #[prop(into)] name: String,
    #[prop(optional, into)] id: Option<String>,
    options: Vec<(String, String)>,
    #[prop(optional, into)] value: String,
    #[prop(optional)] bind: Option<RwSignal<String>>,
    #[prop(optional)] width: Width,
    /// For a select without a label of its own.
    #[prop(optional, into)]
    label: Option<String>,
) -> impl IntoView {
    let Surroundings { id, note, error } = surroundings(id);
    let node = NodeRef::<html::Select>::new();
    let start = bind.map_or(value, |signal| signal.get_untracked());
    if let Some(signal) = bind {
        Effect::new(move |before: Option<()>| {
            let text = signal.get();
            let Some(select) = node.get_untracked() else { return };
            if before.is_none() && select.value() != text {
                signal.set(select.value());
            } else if select.value() != text {
                select.set_value(&text);
            }
        });
    }
    view! {
        <span class=format!("select{}", width.class())>
            <select
                node_ref=node
                class="input"
                id=id
                name=name
                aria-label=label
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-describedby=note
                on:change=move |event| {
                    if let Some(signal) = bind {
                        signal.set(event_target_value(&event));
                    }
                }
            >
                {options
                    .into_iter()
                    .map(|(value, words)| {
                        let selected = value == start;
                        view! {
                            <option value=value selected=selected>
                                {words}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            <Glyph icon=Icon::ChevronDown/>
        </span>
    }
}

/// The search field of a page: a magnifier, and `/` jumps into it.
#[component]
pub fn SearchInput(
    #[prop(into)] name: String,
    /// What one can search for; also the label for screen readers.
    #[prop(into)]
    placeholder: String,
    #[prop(optional, into)] value: String,
    #[prop(optional)] bind: Option<RwSignal<String>>,
) -> impl IntoView {
    let node = NodeRef::<html::Input>::new();
    let start = bind.map_or(value, |signal| signal.get_untracked());
    if let Some(signal) = bind {
        Effect::new(move |before: Option<()>| {
            let text = signal.get();
            let Some(input) = node.get_untracked() else { return };
            if before.is_none() && input.value() != text {
                signal.set(input.value());
            } else if input.value() != text {
                input.set_value(&text);
            }
        });
    }
    view! {
        <div class="search">
            <Glyph icon=Icon::Search/>
            <input
                node_ref=node
                class="input"
                type="search"
                name=name
                value=start
                placeholder=placeholder.clone()
                aria-label=placeholder
                autocomplete="off"
                spellcheck="false"
                data-page-search="true"
                on:input=move |event| {
                    if let Some(signal) = bind {
                        signal.set(event_target_value(&event));
                    }
                }
            />
            <kbd class="kbd" aria-hidden="true">"/"</kbd>
        </div>
    }
}
