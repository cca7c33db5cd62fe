//! A day in 24 bars: allowed calls, and denied ones on top.

use std::fmt::Write;

use domain::keys::HourBar;
use leptos::prelude::*;

const WIDTH: usize = 4;
/// Heights are in tenths of the picture's unit.
const HEIGHT: i64 = 220;
const FLOOR: i64 = 230;
/// So much can be seen of a single call.
const LEAST: i64 = 15;

/// Bars from oldest to newest. The sentence for those who do not see it says the same in numbers.
#[component]
pub fn Spark(bars: Vec<HourBar>) -> impl IntoView {
    let allowed: i64 = bars.iter().map(|bar| bar.allowed).sum();
    let denied: i64 = bars.iter().map(|bar| bar.denied).sum();
    let words = match (allowed, denied) {
        (0, 0) => "No calls in 24 hours".to_owned(),
        _ => format!("Last 24 hours: {allowed} allowed, {denied} denied"),
    };
    let width = bars.len().max(1) * WIDTH;
    view! {
        <svg
            class="spark"
            role="img"
            aria-label=words.clone()
            viewBox=format!("0 0 {width} 24")
            width=width
            height="24"
            inner_html=format!(r#"<title>{words}</title><line class="base" x1="0" y1="23.5" x2="{width}" y2="23.5"/>{}"#, rectangles(&bars))
        ></svg>
    }
}

/// The bars in one piece: a list of fifty keys has more than two thousand of them, and none ever changes.
fn rectangles(bars: &[HourBar]) -> String {
    let most = bars.iter().map(|bar| bar.allowed.saturating_add(bar.denied)).max().unwrap_or(0).max(1);
    let height = |n: i64| {
        if n == 0 {
            0
        } else {
            i64::try_from(i128::from(n) * i128::from(HEIGHT) / i128::from(most)).unwrap_or(HEIGHT).max(LEAST)
        }
    };
    let mut out = String::new();
    for (i, bar) in bars.iter().enumerate() {
        let bad = height(bar.denied);
        // A few denied calls on top of many others are made visible at the others' cost.
        let ok = height(bar.allowed).min(HEIGHT - bad);
        let mut draw = |class: &str, y: i64, height: i64| {
            if height > 0 {
                // Writing to a string cannot fail.
                _ = write!(
                    out,
                    r#"<rect class="{class}" x="{}" y="{}.{}" width="3" height="{}.{}"/>"#,
                    i * WIDTH,
                    y / 10,
                    y % 10,
                    height / 10,
                    height % 10
                );
            }
        };
        draw("allowed", FLOOR - ok, ok);
        draw("denied", FLOOR - ok - bad, bad);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_denied_calls_on_top_of_allowed_ones() {
        let bars = [HourBar { allowed: 3, denied: 1 }, HourBar::default(), HourBar { allowed: 0, denied: 1 }];
        assert_eq!(
            rectangles(&bars),
            concat!(
                r#"<rect class="allowed" x="0" y="6.5" width="3" height="16.5"/>"#,
                r#"<rect class="denied" x="0" y="1.0" width="3" height="5.5"/>"#,
                r#"<rect class="denied" x="8" y="17.5" width="3" height="5.5"/>"#,
            )
        );
    }

    #[test]
    fn no_bar_is_taller_than_the_picture() {
        let bars = [HourBar { allowed: 1_000_000, denied: 1 }];
        assert_eq!(
            rectangles(&bars),
            concat!(
                r#"<rect class="allowed" x="0" y="2.5" width="3" height="20.5"/>"#,
                r#"<rect class="denied" x="0" y="1.0" width="3" height="1.5"/>"#,
            )
        );
    }

    #[test]
    fn a_single_call_can_be_seen_beside_a_million() {
        let bars = [HourBar { allowed: 1, denied: 0 }, HourBar { allowed: 1_000_000, denied: 0 }];
        assert!(rectangles(&bars).starts_with(r#"<rect class="allowed" x="0" y="21.5" width="3" height="1.5"/>"#));
    }
}
