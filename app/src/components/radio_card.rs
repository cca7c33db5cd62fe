//! A choice among few things that deserve a sentence each.

use leptos::{html, prelude::*};

use super::badge::Badge;

/// The frame around [`RadioCard`]s: a fieldset with a legend.
#[component]
pub fn RadioCards(
    #[prop(into)] legend: String,
    /// Cards beside each other where there is room.
    #[prop(optional)]
    columns: bool,
    #[prop(optional, into)] error: Signal<Option<String>>,
    children: Children,
) -> impl IntoView {
    view! {
        <fieldset class="radio-cards" class:columns=columns>
            <legend>{legend}</legend>
            <div class="cards">{children()}</div>
            {move || error.get().map(|error| view! { <p class="note"><span class="error">{error}</span></p> })}
        </fieldset>
    }
}

/// One card. What `children` show unfolds below the words of the chosen card, with CSS alone.
#[component]
pub fn RadioCard(
    #[prop(into)] name: String,
    #[prop(into)] value: String,
    #[prop(into)] title: String,
    #[prop(into)] help: String,
    /// The value chosen in the whole group.
    chosen: RwSignal<String>,
    /// A word in a badge beside the title, such as "Recommended".
    #[prop(optional, into)]
    mark: Option<String>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let node = NodeRef::<html::Input>::new();
    let start = chosen.get_untracked() == value;
    let own = value.clone();
    Effect::new(move |before: Option<()>| {
        let now = chosen.with(|chosen| *chosen == own);
        let Some(input) = node.get_untracked() else { return };
        if before.is_none() && input.checked() && !now {
            chosen.set(own.clone());
        } else if before.is_some() && input.checked() != now {
            input.set_checked(now);
        }
    });
    let own = value.clone();
    view! {
        <div class="radio-card">
            <label>
                <input
                    node_ref=node
                    type="radio"
                    name=name
                    value=value
                    checked=start
                    on:change=move |_| chosen.set(own.clone())
                />
                <span class="words">
                    <span class="title">
                        {title} {mark.map(|mark| view! { <Badge>{mark}</Badge> })}
                    </span>
                    <span class="help">{help}</span>
                </span>
            </label>
            {children.map(|children| view! { <div class="unfold">{children()}</div> })}
        </div>
    }
}
