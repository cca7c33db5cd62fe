//! Times: relative on the page, exact on hover.

use domain::time::{self, Time};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::browser;

/// A time as it is shown. Its words are made on the server, so that the browser shows the same ones at first and needs
/// no calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub words: String,
    /// "2026-11-20 21:43:07 UTC"
    pub utc: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

impl Moment {
    /// "2 min ago"
    pub fn relative(at: Time, now: Time) -> Self {
        Self { words: time::relative(at, now), utc: time::exact(at), at_ms: at.timestamp_millis() }
    }

    /// "2026-11-20 21:43:07 UTC"
    pub fn exact(at: Time) -> Self {
        Self { words: time::exact(at), utc: time::exact(at), at_ms: at.timestamp_millis() }
    }
}

/// "2 min ago", with the exact UTC time on hover, and the local one beside it once the page is hydrated.
#[component]
pub fn MomentText(
    moment: Moment,
    /// What else the hover says, on a line of its own. (A title around this one would never show.)
    #[prop(optional, into)]
    more: Option<String>,
) -> impl IntoView {
    let Moment { words, utc, at_ms } = moment;
    let machine = utc.replace(" UTC", "Z");
    let line = more.map(|more| format!("\n{more}")).unwrap_or_default();
    let title = RwSignal::new(format!("{utc}{line}"));
    Effect::new(move |_| {
        if let Some(local) = browser::local_time(at_ms) {
            title.set(format!("{utc} · {local} local{line}"));
        }
    });
    view! {
        <time datetime=machine title=move || title.get()>
            {words}
        </time>
    }
}

/// The same for pages that have the time itself.
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
    let moment = if exact { Moment::exact(at) } else { Moment::relative(at, now) };
    view! { <MomentText moment/> }
}
