//! Code one can copy, and keys of a keyboard.

use leptos::prelude::*;

use super::copy_button::CopyButton;

/// Lines of code with a copy button. `id` must be unique on the page.
#[component]
pub fn CodeBlock(
    #[prop(into)] id: String,
    #[prop(into)] text: Signal<String>,
    /// Names the block for screen readers: "cURL call".
    #[prop(into)]
    label: String,
    #[prop(optional)] on_copied: Option<Callback<()>>,
) -> impl IntoView {
    let on_copied = on_copied.unwrap_or_else(|| Callback::new(|()| ()));
    view! {
        <div class="code-block">
            <pre tabindex="0" role="region" aria-label=label>
                <code id=id.clone()>{move || text.get()}</code>
            </pre>
            <CopyButton text=text target=id bare=true label="Copy the code" on_copied=on_copied/>
        </div>
    }
}

/// A key of the keyboard.
#[component]
pub fn Kbd(children: Children) -> impl IntoView {
    view! { <kbd class="kbd">{children()}</kbd> }
}
