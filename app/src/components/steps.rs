//! The steps of a long dialog, as radio buttons that look like tabs: they switch with CSS alone, so that the dialog
//! works before and without script. One may jump between them.
//!
//! Around it stands an element with the class `stepped`; the parts carry `step-part step-1`, `step-2`, …; an element
//! with `only-step-3` shows only on that step, one with `not-step-3` on the others.

use leptos::{html, prelude::*};

use super::icons::{Glyph, Icon};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepState {
    #[default]
    Open,
    /// Everything it needs is there.
    Done,
    /// Something in it is wrong.
    Wrong,
}

#[component]
pub fn Steps(
    /// Prefix of the radio buttons' ids; unique on the page.
    #[prop(into)]
    id: String,
    /// Label and state of each.
    steps: Vec<(&'static str, Signal<StepState>)>,
    /// Counts from 1.
    current: RwSignal<usize>,
) -> impl IntoView {
    let start = current.get_untracked();
    view! {
        <fieldset class="steps">
            <legend class="sr-only">"Step"</legend>
            {steps
                .into_iter()
                .enumerate()
                .map(|(i, (label, state))| {
                    let n = i + 1;
                    let node = NodeRef::<html::Input>::new();
                    Effect::new(move |before: Option<()>| {
                        let here = current.get() == n;
                        let Some(input) = node.get_untracked() else { return };
                        if before.is_none() && input.checked() && !here {
                            current.set(n);
                        } else if before.is_some() && input.checked() != here {
                            input.set_checked(here);
                        }
                    });
                    view! {
                        <label class=move || match state.get() {
                            StepState::Open => "step",
                            StepState::Done => "step done",
                            StepState::Wrong => "step wrong",
                        }>
                            <input
                                node_ref=node
                                type="radio"
                                // Not part of what the form sends: no server function has a field of this name.
                                form=""
                                name=format!("{id}-step")
                                id=format!("{id}-step-{n}")
                                class=format!("step-{n}-radio")
                                checked=n == start
                                on:change=move |_| current.set(n)
                            />
                            <span class="mark" aria-hidden="true">
                                {move || match state.get() {
                                    StepState::Open => n.to_string().into_any(),
                                    StepState::Done => view! { <Glyph icon=Icon::Check/> }.into_any(),
                                    StepState::Wrong => view! { <span class="dot"></span> }.into_any(),
                                }}
                            </span>
                            <span>{label}</span>
                            {move || (state.get() == StepState::Wrong).then(|| view! { <span class="sr-only">" has an error"</span> })}
                        </label>
                    }
                })
                .collect_view()}
        </fieldset>
    }
}
