//! A share of a whole, as a bar and in figures.

use leptos::prelude::*;

/// "98.4 %"; `None` when the whole is nothing, because the share is unknown.
pub fn share(part: i64, whole: i64) -> Option<String> {
    if whole <= 0 {
        return None;
    }
    // Never rounded up to all: one failure in a million is not none.
    let tenths = part * 1_000 / whole;
    Some(match (part, tenths) {
        (0, _) => "0 %".into(),
        _ if part == whole => "100 %".into(),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    })
}

/// `part` of `whole`; with `whole` 0 it shows an em dash, because the share is unknown.
#[component]
pub fn ProgressBar(#[prop(into)] label: String, part: i64, whole: i64) -> impl IntoView {
    let value = if whole > 0 { part } else { 0 };
    view! {
        <div class="progress-row">
            <span class="progress-label">{label.clone()}</span>
            <progress aria-label=label max=whole.max(1) value=value></progress>
            {match share(part, whole) {
                Some(share) => view! { <span class="num">{share}</span> }.into_any(),
                None => view! { <span class="none" title="Unknown: nothing to count yet">"—"</span> }.into_any(),
            }}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_flattered() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(1, 1).as_deref(), Some("100 %"));
        assert_eq!(share(999_999, 1_000_000).as_deref(), Some("99.9 %"));
        assert_eq!(share(0, 3).as_deref(), Some("0 %"));
    }
}
