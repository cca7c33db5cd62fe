//! The next ten send times, from the scheduler that the queue itself runs.

use domain::{
    throttle::{ThrottleMode, preview},
    time,
};
use leptos::prelude::*;

use super::form_state::FormState;

const SENDS: usize = 10;
/// The same draw each time: the preview must not flicker while one types, and both sides must draw the same.
const SEED: u64 = 2_026;
const WIDTH: f64 = 480.0;

/// "about 11 messages a minute"
fn rate(mode: ThrottleMode) -> String {
    match mode.per_minute() {
        None => "as fast as they come".into(),
        Some(n) if n < 1.0 => format!("about {:.0} messages an hour", n * 60.0),
        Some(n) if n < 1.5 => "about 1 message a minute".into(),
        Some(n) => format!("about {n:.0} messages a minute"),
    }
}

#[component]
pub fn ThrottlePreview(state: FormState) -> impl IntoView {
    let mode = Memo::new(move |_| state.read().parse_throttle().ok().map(|throttle| throttle.mode));
    view! {
        <div class="throttle-preview js-only" aria-live="polite">
            {move || match mode.get() {
                None => view! { <p class="note">"The preview comes back once the figures are right."</p> }.into_any(),
                Some(mode) => view! { <Timeline mode/> }.into_any(),
            }}
        </div>
    }
}

#[component]
fn Timeline(mode: ThrottleMode) -> impl IntoView {
    let times = preview(mode, SENDS, SEED);
    let end = times.last().copied().unwrap_or(0).max(1);
    let marks = times
        .iter()
        .map(|at| {
            let x = *at as f64 / end as f64 * (WIDTH - 6.0);
            view! { <rect class="send" x=format!("{x:.1}") y="4" width="6" height="12" rx="1"></rect> }
        })
        .collect_view();
    let words =
        times.iter().map(|at| view! { <li>{time::duration_ms(u64::try_from(*at).unwrap_or(0))}</li> }).collect_view();
    view! {
        <p class="rate">"The next ten messages would leave " <strong>{rate(mode)}</strong> ":"</p>
        <svg class="sends" viewBox=format!("0 0 {WIDTH} 20") width="100%" height="20" preserveAspectRatio="none" aria-hidden="true">
            <line class="base" x1="0" y1="18.5" x2=WIDTH y2="18.5"></line>
            {marks}
        </svg>
        <ol class="send-times">{words}</ol>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_fast_in_words() {
        assert_eq!(rate(ThrottleMode::Random { min_ms: 3_000, max_ms: 8_000 }), "about 11 messages a minute");
        assert_eq!(rate(ThrottleMode::Fixed { delay_ms: 60_000 }), "about 1 message a minute");
        assert_eq!(rate(ThrottleMode::Fixed { delay_ms: 600_000 }), "about 6 messages an hour");
        assert_eq!(rate(ThrottleMode::Off), "as fast as they come");
    }
}
