//! The card that shows a key in full, once.

use domain::keys::ApiKeyRow;
use leptos::prelude::*;

use super::{context::KeysPage, data::Revealed, query::Panel, radar::Radar, snippets::Snippets};
use crate::{
    browser,
    components::{ButtonKind, CopyButton, Dialog, Glyph, Icon, LinkButton, Notice, Tone},
};

const KEY_ID: &str = "revealed-key";
const SECRET_ID: &str = "revealed-secret";

#[component]
pub fn RevealDialog(revealed: Revealed) -> impl IntoView {
    let page = KeysPage::get();
    // One each: who has the key alone cannot call, and the other is as lost as the key would be.
    let key_copied = RwSignal::new(revealed.key.is_none());
    let secret_copied = RwSignal::new(revealed.api_secret.is_none());
    let asked = RwSignal::new(false);
    let all_copied = Callback::new(move |()| {
        key_copied.set(true);
        secret_copied.set(true);
    });
    let missing = Memo::new(move |_| missing(key_copied.get(), secret_copied.get()));
    // Closing without having copied everything asks once.
    let may_close = Callback::new(move |()| {
        let may = missing.with_untracked(Option::is_none) || asked.get_untracked();
        asked.set(true);
        may
    });
    let title = match (&revealed.key, revealed.regenerated) {
        (None, _) => "API secret issued",
        (Some(_), true) => "Key regenerated",
        (Some(_), false) => "Key created",
    };
    let id = revealed.id;
    let name = revealed.name.clone();
    let (key, secret) = (revealed.key.clone(), revealed.api_secret.clone());
    let warning = match (&key, &secret) {
        (Some(_), None) => "This is the only time you’ll see the full API key.",
        (Some(_), Some(_)) => "This is the only time you’ll see the full API key and its API secret.",
        (None, _) => "This is the only time you’ll see the API secret.",
    };
    let (with_key, has_key) = (revealed.clone(), key.is_some());
    view! {
        <div class="reveal">
            <Dialog
                id="reveal-dialog"
                title=format!("{title} · {name}")
                close_href=page.close_href()
                may_close=may_close
                wide=true
                foot=move || view! {
                    {move || missing.get().filter(|_| asked.get()).map(|words| view! {
                        <p class="reveal-ask" role="alert">
                            <Glyph icon=Icon::Alert/>
                            <span>{words}</span>
                        </p>
                    })}
                    <LinkButton href=page.close_href() kind=ButtonKind::Primary icon=Icon::Check attr:data-close="true">
                        "I’ve Saved My Key"
                    </LinkButton>
                }
            >
                <div class="reveal-card">
                    <Notice tone=Tone::Warn>
                        <p><strong>{warning}</strong></p>
                    </Notice>
                    {key.map(|key| view! { <Shown text=key id=KEY_ID label="API key" copied=key_copied/> })}
                    {secret.map(|secret| view! {
                        <div class="reveal-secret">
                            <h3>"API secret"</h3>
                            <Shown text=secret id=SECRET_ID label="API secret" copied=secret_copied/>
                            <p class="note">"Calls must carry it in X-API-Secret, or sign with it in X-Signature; without it they are refused."</p>
                        </div>
                    })}
                    {has_key.then(|| view! { <Snippets revealed=with_key on_copied=all_copied/> })}
                    <Radar id since=revealed.calls_since/>
                </div>
            </Dialog>
        </div>
    }
}

/// What is asked of somebody who closes the card; `None` once everything was copied.
fn missing(key_copied: bool, secret_copied: bool) -> Option<&'static str> {
    match (key_copied, secret_copied) {
        (true, true) => None,
        (false, true) => Some("You have not copied the key yet. Once this is closed, nobody can show it again."),
        (true, false) => Some("You have not copied the API secret yet. Once this is closed, nobody can show it again."),
        (false, false) => Some(
            "You have copied neither the key nor the API secret yet. Once this is closed, nobody can show them again.",
        ),
    }
}

/// A text to be copied, in one piece.
#[component]
fn Shown(text: String, id: &'static str, label: &'static str, copied: RwSignal<bool>) -> impl IntoView {
    let on_copied = Callback::new(move |()| copied.set(true));
    view! {
        <div class="reveal-key">
            <code
                id=id
                tabindex="0"
                aria-label=label
                role="textbox"
                aria-readonly="true"
                on:click=move |_| browser::select_text(id)
                on:copy=move |_| copied.set(true)
            >
                {text.clone()}
            </code>
            <CopyButton text=text target=id kind=ButtonKind::Primary on_copied=on_copied/>
        </div>
    }
}

/// The card's address without its key: it was shown already.
#[component]
pub fn GoneDialog(row: ApiKeyRow) -> impl IntoView {
    let page = KeysPage::get();
    let key = row.key;
    view! {
        <Dialog id="gone-dialog" title=key.name.clone() close_href=page.close_href()>
            <Notice>
                <p>
                    "The full key of " <strong>{key.name.clone()}</strong>
                    " was shown once and is stored nowhere. If nobody has copied it, regenerate it: the key keeps its name, permissions and limits. An API secret is replaced under Edit, Permissions."
                </p>
            </Notice>
            <p><LinkButton href=page.href(Panel::Regenerate(key.id)) icon=Icon::Refresh>"Regenerate key"</LinkButton></p>
        </Dialog>
    }
}
