//! Times: relative on the page, exact on hover.

use domain::time::{self, Time};
use leptos::prelude::*;

use crate::browser;

/// "2 min ago", with the exact UTC time on hover, and the local one beside it once the page is hydrated.
#[component]
pub fn TimeText(
    at: Time,
    /// The server's clock when it answered. The first render in the browser must show the same words as the server's,
    /// so it may not look at its own clock.
    now: Time,
    /// Shows the exact time instead of the relative one.
    #[prop(optional)]
    exact: bool,
) -> impl IntoView {
    let utc = time::exact(at);
    let words = if exact { utc.clone() } else { time::relative(at, now) };
    let title = RwSignal::new(utc.clone());
    Effect::new(move |_| {
        if let Some(local) = browser::local_time(at.timestamp_millis()) {
            title.set(format!("{utc} · {local} local"));
        }
    });
    view! {
        <time datetime=at.to_rfc3339() title=move || title.get()>
            {words}
        </time>
    }
}
