//! What looks again by itself while it is open: a connection that is being made, a queue that shrinks, a delivery that
//! is on its way. Only what changed is drawn anew; the focus stays where it is.

use std::time::Duration;

use leptos::{leptos_dom::helpers::IntervalHandle, prelude::*, task::spawn_local};

use super::context::Integrations;
use crate::error::AppError;

/// Asks every so often while `moving` says that something may change, and at once when something was done to it.
/// What cannot be had is asked for again the next time.
pub fn keep_fresh<T, F>(
    shown: RwSignal<T>,
    every: Duration,
    moving: fn(&T) -> bool,
    ask: impl Fn() -> F + Copy + 'static,
) where
    T: PartialEq + Clone + Send + Sync + 'static,
    F: Future<Output = Result<T, AppError>> + 'static,
{
    let page = Integrations::get();
    let asking = StoredValue::new(false);
    let look = move || {
        // One question at a time: an older answer must not follow a newer one.
        if asking.try_get_value() != Some(false) {
            return;
        }
        asking.set_value(true);
        spawn_local(async move {
            let answer = ask().await;
            asking.try_set_value(false);
            if let Ok(new) = answer
                && shown.try_with_untracked(|old| *old != new) == Some(true)
            {
                shown.try_set(new);
            }
        });
    };
    let beat = StoredValue::new(None::<IntervalHandle>);
    // Runs in browsers only.
    Effect::new(move |before: Option<()>| {
        page.touched();
        if before.is_some() {
            look();
            return;
        }
        let tick = move || {
            if shown.try_with_untracked(moving) == Some(true) {
                look();
            }
        };
        beat.set_value(set_interval_with_handle(tick, every).ok());
    });
    on_cleanup(move || {
        if let Some(Some(handle)) = beat.try_update_value(Option::take) {
            handle.clear();
        }
    });
}
