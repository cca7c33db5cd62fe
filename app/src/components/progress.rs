//! A share of a whole, as a bar and in figures.

use leptos::prelude::*;

/// `part` of `whole`; with `whole` 0 it shows an em dash, because the share is unknown.
#[component]
pub fn ProgressBar(#[prop(into)] label: String, part: i64, whole: i64) -> impl IntoView {
    let percent = (whole > 0).then(|| part as f64 * 100.0 / whole as f64);
    let value = if whole > 0 { part } else { 0 };
    view! {
        <div class="progress-row">
            <span class="progress-label">{label.clone()}</span>
            <progress aria-label=label max=whole.max(1) value=value></progress>
            {match percent {
                Some(percent) => view! { <span class="num">{format!("{percent:.1} %")}</span> }.into_any(),
                None => view! { <span class="none" title="Unknown: nothing to count yet">"—"</span> }.into_any(),
            }}
        </div>
    }
}
