//! Asks before keys are revoked for ever: which they are, and what would stop working.

use domain::{keys::InUse, time::Time};
use leptos::{form::ActionForm, prelude::*};

use super::{
    context::{KeysPage, counted},
    data::{Change, Used},
    stats::Callers,
};
use crate::components::{Button, ButtonKind, ConfirmDialog, Notice, TimeText, Tone};

#[component]
pub fn RevokeDialog(keys: Vec<Used>, now: Time) -> impl IntoView {
    let page = KeysPage::get();
    let pending = page.change.pending();
    let n = i64::try_from(keys.len()).unwrap_or(0);
    let ids: Vec<String> = keys.iter().map(|used| used.row.key.id.to_string()).collect();
    let title = match keys.as_slice() {
        [one] => format!("Revoke {}?", one.row.key.name),
        _ => format!("Revoke {}?", counted(n, "key", "keys")),
    };
    let button = if n == 1 { "Revoke key".to_owned() } else { format!("Revoke {}", counted(n, "key", "keys")) };
    let keep = if n == 1 { "Keep key" } else { "Keep keys" };
    if keys.is_empty() {
        return view! {
            <ConfirmDialog id="revoke-dialog" title="Nothing to revoke" close_href=page.close_href() keep="Close" action=|| ()>
                <p>"The selected keys are revoked already."</p>
            </ConfirmDialog>
        }
        .into_any();
    }
    let action = move || {
        let words = button.clone();
        let inputs =
            ids.iter().cloned().map(|id| view! { <input type="hidden" name="ids[]" value=id/> }).collect_view();
        view! {
            <ActionForm action=page.change>
                {inputs}
                <input type="hidden" name="what" value=Change::Revoke.as_str()/>
                <input type="hidden" name="back" value=move || page.back().get()/>
                <Button kind=ButtonKind::Danger submit=true pending=pending>{words}</Button>
            </ActionForm>
        }
    };
    let busy: i64 = keys.iter().map(|used| used.in_use.queued_messages).sum();
    let list = keys.into_iter().map(|used| view! { <Loss used now/> }).collect_view();
    view! {
        <ConfirmDialog id="revoke-dialog" title=title close_href=page.close_href() keep=keep action=action>
            <Notice tone=Tone::Bad>
                <p>
                    <strong>"Revoking is permanent."</strong>
                    " Every call with "
                    {if n == 1 { "this key" } else { "these keys" }}
                    " will be refused, at once and on every server. To stop calls for a while, disable instead."
                </p>
            </Notice>
            {(busy > 0).then(|| view! { <p>{format!("{} waiting in the queue.", counted(busy, "message is", "messages are"))}</p> })}
            <ul class="losing">{list}</ul>
        </ConfirmDialog>
    }
    .into_any()
}

/// One key, and what still uses it.
#[component]
fn Loss(used: Used, now: Time) -> impl IntoView {
    let Used { row, in_use } = used;
    let InUse { callers, queued_messages, .. } = in_use;
    let key = row.key;
    let last = match &key.last_use {
        Some(last) => view! { <span>"Last used " <TimeText at=last.at now/></span> }.into_any(),
        None => view! { <span>"Never used"</span> }.into_any(),
    };
    let who = (!callers.is_empty()).then(|| {
        view! {
            <p class="sub">"Used in the last 7 days by:"</p>
            <Callers callers now/>
        }
    });
    view! {
        <li>
            <p><strong><bdi>{key.name}</bdi></strong> " " <code>{key.hint}</code></p>
            <p class="sub">
                {last}
                {(queued_messages > 0).then(|| format!(" · {}", counted(queued_messages, "queued message", "queued messages")))}
            </p>
            {who}
        </li>
    }
}
