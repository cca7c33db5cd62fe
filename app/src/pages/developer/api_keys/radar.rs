//! The first-call radar: waits for the key's first call and turns green the moment it comes, or says why it was refused.

use domain::{ids::KeyId, time::Time, usage::CallSeen};
use leptos::prelude::*;

use crate::components::TimeText;

#[component]
pub fn Radar(id: KeyId, since: Option<Time>) -> impl IntoView {
    let seen = RwSignal::new(None::<(CallSeen, Time)>);
    listen(id, since, seen);
    let state = move || match seen.with(|seen| seen.as_ref().map(|(call, _)| call.allowed)) {
        None => "radar js-only waiting",
        Some(true) => "radar js-only allowed",
        Some(false) => "radar js-only denied",
    };
    view! {
        <div class=state role="status" aria-live="polite">
            <span class="radar-dot" aria-hidden="true"></span>
            {move || match seen.get() {
                None => view! { <p>"Waiting for the first call…"</p> }.into_any(),
                Some((call, now)) => view! { <Call call now/> }.into_any(),
            }}
        </div>
        <noscript inner_html="<p class=\"note\">The list shows when the key was last used; load it again after your first call.</p>"></noscript>
    }
}

#[component]
fn Call(call: CallSeen, now: Time) -> impl IntoView {
    let from = call.ip.map(|ip| format!(" from {ip}")).unwrap_or_default();
    let agent = if call.user_agent.is_empty() { "no user agent".to_owned() } else { call.user_agent.clone() };
    let reason = call.reason.clone().filter(|_| !call.allowed);
    let words = if call.allowed { "First call " } else { "Refused " };
    view! {
        <div>
            <p><strong>{words} <TimeText at=call.at now/> {from}</strong></p>
            {reason.map(|reason| view! { <p>{reason}</p> })}
            <p class="sub">
                <code>{format!("{} {}", call.method, call.endpoint)}</code> {format!(" · {} · {agent}", call.status)}
            </p>
            {(!call.allowed).then(|| view! { <p class="sub">"Still waiting for a call that is let through."</p> })}
        </div>
    }
}

/// Hears of the key's calls for as long as the card is open.
#[cfg(feature = "hydrate")]
fn listen(id: KeyId, since: Option<Time>, seen: RwSignal<Option<(CallSeen, Time)>>) {
    use wasm_bindgen::{JsCast, closure::Closure};
    use web_sys::{EventSource, MessageEvent};

    type Line = (EventSource, Closure<dyn FnMut(MessageEvent)>);
    let line = StoredValue::new_local(None::<Line>);
    Effect::new(move |_| {
        let since = since.map(|since| format!("?since={}", since.timestamp_millis())).unwrap_or_default();
        let Ok(source) = EventSource::new(&format!("/dashboard/live/keys/{id}/calls{since}")) else { return };
        let hear = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            let text = event.data().as_string().unwrap_or_default();
            let Ok(call) = serde_json::from_str::<CallSeen>(&text) else { return };
            let Some(now) = Time::from_timestamp_millis(js_sys::Date::now() as i64) else { return };
            // A clock that runs behind must not make the first call come from the future.
            let now = now.max(call.at);
            let newer = |old: &Option<(CallSeen, Time)>| {
                old.as_ref().is_none_or(|(old, _)| !old.allowed && (call.allowed || call.at >= old.at))
            };
            if seen.try_with_untracked(newer) == Some(true) {
                let done = call.allowed;
                seen.set(Some((call, now)));
                if done {
                    line.try_update_value(|line| line.as_ref().map(|(source, _)| source.close()));
                }
            }
        });
        _ = source.add_event_listener_with_callback("call", hear.as_ref().unchecked_ref());
        line.set_value(Some((source, hear)));
    });
    on_cleanup(move || {
        line.try_update_value(|line| {
            if let Some((source, _)) = line.take() {
                source.close();
            }
        });
    });
}

#[cfg(not(feature = "hydrate"))]
fn listen(_: KeyId, _: Option<Time>, _: RwSignal<Option<(CallSeen, Time)>>) {}
