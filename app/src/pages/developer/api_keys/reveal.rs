//! The card that shows a key in full, once.

use domain::keys::ApiKeyRow;
use leptos::prelude::*;

use super::{context::KeysPage, data::Revealed, query::Panel, radar::Radar, snippets::Snippets};
use crate::{
    browser,
    components::{ButtonKind, CopyButton, Dialog, Glyph, Icon, LinkButton, Notice, Tone},
};

const KEY_ID: &str = "revealed-key";

#[component]
pub fn RevealDialog(revealed: Revealed) -> impl IntoView {
    let page = KeysPage::get();
    let copied = RwSignal::new(false);
    let asked = RwSignal::new(false);
    let on_copied = Callback::new(move |()| copied.set(true));
    // Closing without having copied asks once.
    let may_close = Callback::new(move |()| {
        let may = copied.get_untracked() || asked.get_untracked();
        asked.set(true);
        may
    });
    let title = if revealed.regenerated { "Key regenerated" } else { "Key created" };
    let id = revealed.id;
    let name = revealed.name.clone();
    let key = revealed.key.clone();
    view! {
        <div class="reveal">
            <Dialog
                id="reveal-dialog"
                title=format!("{title} · {name}")
                close_href=page.close_href()
                may_close=may_close
                wide=true
                foot=move || view! {
                    {move || (asked.get() && !copied.get()).then(|| view! {
                        <p class="reveal-ask" role="alert">
                            <Glyph icon=Icon::Alert/>
                            <span>"You have not copied the key yet. Once this is closed, nobody can show it again."</span>
                        </p>
                    })}
                    <LinkButton href=page.close_href() kind=ButtonKind::Primary icon=Icon::Check>"I’ve Saved My Key"</LinkButton>
                }
            >
                <div class="reveal-card">
                    <Notice tone=Tone::Warn>
                        <p><strong>"This is the only time you’ll see the full API key."</strong></p>
                    </Notice>
                    <div class="reveal-key">
                        <code
                            id=KEY_ID
                            tabindex="0"
                            aria-label="API key"
                            role="textbox"
                            aria-readonly="true"
                            on:click=move |_| browser::select_text(KEY_ID)
                            on:copy=move |_| copied.set(true)
                        >
                            {key.clone()}
                        </code>
                        <CopyButton text=key target=KEY_ID kind=ButtonKind::Primary on_copied=on_copied/>
                    </div>
                    <Snippets revealed on_copied/>
                    <Radar id/>
                </div>
            </Dialog>
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
                    " was shown once and is stored nowhere. If nobody has copied it, regenerate it: the key keeps its name, permissions and limits."
                </p>
            </Notice>
            <p><LinkButton href=page.href(Panel::Regenerate(key.id)) icon=Icon::Refresh>"Regenerate key"</LinkButton></p>
        </Dialog>
    }
}
