//! A day in 24 bars: allowed calls, and denied ones on top.

use domain::keys::HourBar;
use leptos::prelude::*;

const WIDTH: usize = 4;
const HEIGHT: f64 = 22.0;

/// Bars from oldest to newest. The sentence for those who do not see it says the same in numbers.
#[component]
pub fn Spark(bars: Vec<HourBar>) -> impl IntoView {
    let allowed: i64 = bars.iter().map(|bar| bar.allowed).sum();
    let denied: i64 = bars.iter().map(|bar| bar.denied).sum();
    let most = bars.iter().map(|bar| bar.allowed + bar.denied).max().unwrap_or(0).max(1);
    let height = |n: i64| if n == 0 { 0.0 } else { (n as f64 / most as f64 * HEIGHT).max(1.5) };
    let words = match (allowed, denied) {
        (0, 0) => "No calls in 24 hours".to_owned(),
        _ => format!("Last 24 hours: {allowed} allowed, {denied} denied"),
    };
    let label = words.clone();
    let width = bars.len().max(1) * WIDTH;
    view! {
        <svg
            class="spark"
            role="img"
            aria-label=label
            viewBox=format!("0 0 {width} 24")
            width=width
            height="24"
        >
            <title>{words}</title>
            <line class="base" x1="0" y1="23.5" x2=width y2="23.5"></line>
            {bars
                .into_iter()
                .enumerate()
                .map(|(i, bar)| {
                    let (ok, bad) = (height(bar.allowed), height(bar.denied));
                    let x = i * WIDTH;
                    view! {
                        <rect class="allowed" x=x y=format!("{:.1}", 23.0 - ok) width="3" height=format!("{ok:.1}")></rect>
                        <rect class="denied" x=x y=format!("{:.1}", 23.0 - ok - bad) width="3" height=format!("{bad:.1}")></rect>
                    }
                })
                .collect_view()}
        </svg>
    }
}
