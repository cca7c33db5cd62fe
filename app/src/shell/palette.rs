//! The command palette: Ctrl-K or ⌘K, a few letters, Enter.

use leptos::{ev, html, prelude::*, task::spawn_local, wasm_split::wasm_split};
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde::{Deserialize, Serialize};

use crate::{
    browser,
    components::{Glyph, Icon},
    error::AppError,
    later::{fetch_ahead, shown},
};

/// Something the palette can go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    pub label: String,
    pub hint: String,
    pub href: String,
}

/// Keys, instances, endpoints and errors of the API by name; whatever has a page by its id.
#[server(endpoint = "shell/search")]
pub async fn search(q: String) -> Result<Vec<Hit>, AppError> {
    super::search::find(&crate::session::current().await?, &q).await
}

const PAGES: [(&str, &str, &str); 12] = [
    ("API Keys", "Developer", "/dashboard/developer/api-keys"),
    ("Create API Key", "Developer", "/dashboard/developer/api-keys?panel=new"),
    ("Revoked keys", "Developer", "/dashboard/developer/api-keys?status=revoked"),
    ("Integrations", "Developer", "/dashboard/developer/integrations"),
    ("Add instance", "Integrations", "/dashboard/developer/integrations?panel=new-instance"),
    ("Add webhook endpoint", "Integrations", "/dashboard/developer/integrations?panel=new-endpoint"),
    ("Organization", "Settings", "/dashboard/settings/organization"),
    ("Members", "Settings", "/dashboard/settings/members"),
    ("Audit log", "Settings", "/dashboard/settings/audit"),
    ("Profile", "Settings", "/dashboard/settings/profile"),
    ("OpenAPI document", "API", "/api/v1/openapi.json"),
    ("Errors of the API", "API", "/api/v1/problems"),
];

fn pages(query: &str) -> Vec<Hit> {
    let query = query.trim().to_lowercase();
    PAGES
        .iter()
        .filter(|(label, hint, _)| query.is_empty() || format!("{hint} {label}").to_lowercase().contains(&query))
        .map(|&(label, hint, href)| Hit { label: label.into(), hint: hint.into(), href: href.into() })
        .collect()
}

/// Waits for its shortcut; the palette itself comes with the first of them.
#[component]
pub fn Palette() -> impl IntoView {
    let asked = RwSignal::new(0u32);
    Effect::new(move |_| {
        let handle = window_event_listener(ev::keydown, move |event| {
            if matches!(event.key().as_str(), "Control" | "Meta") && asked.get_untracked() == 0 {
                fetch_ahead(preload_palette());
            }
            let chord = (event.ctrl_key() || event.meta_key()) && event.key().eq_ignore_ascii_case("k");
            if chord {
                event.prevent_default();
                if !browser::dialog_open() {
                    asked.update(|n| *n += 1);
                }
            }
        });
        on_cleanup(move || handle.remove());
    });
    let wanted = Memo::new(move |_| asked.get() > 0);
    view! {
        {move || wanted.get().then(|| Suspend::new(async move { shown(palette(asked).await) }))}
    }
}

#[wasm_split(aids, wasm_split_path = leptos::wasm_split, preload(preload_palette), fallible)]
fn palette(asked: RwSignal<u32>) -> Result<AnyView, AppError> {
    Ok(view! { <PaletteDialog opened=asked/> }.into_any())
}

/// Opens whenever `opened` changes.
#[component]
fn PaletteDialog(opened: RwSignal<u32>) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let query = RwSignal::new(String::new());
    // What was asked, and what was found.
    let keys = RwSignal::new((String::new(), Vec::<Hit>::new()));
    let failed = RwSignal::new(None::<String>);
    let at = RwSignal::new(0usize);
    let asked = StoredValue::new(0u32);
    let hits = Memo::new(move |_| {
        // Until the answer to what is typed now is there, of the last answer only what still fits: Enter must not open
        // what was found for half a word.
        let fits = |hit: &Hit, q: &str| hit.label.to_lowercase().contains(&q.trim().to_lowercase());
        let mut hits = keys.with(|(asked, found)| {
            query.with(|q| found.iter().filter(|hit| asked == q || fits(hit, q)).cloned().collect::<Vec<_>>())
        });
        hits.extend(query.with(|query| pages(query)));
        hits
    });

    let ask = move || {
        let turn = asked.get_value() + 1;
        asked.set_value(turn);
        at.set(0);
        let q = query.get_untracked();
        if q.trim().is_empty() {
            keys.set(Default::default());
            return;
        }
        spawn_local(async move {
            let answer = search(q.clone()).await;
            // An answer that was overtaken by a later question is dropped.
            if asked.try_get_value() != Some(turn) {
                return;
            }
            match answer {
                Ok(found) => {
                    failed.set(None);
                    keys.set((q, found));
                }
                Err(error) => failed.set(Some(error.to_string())),
            }
        });
    };

    Effect::new(move |_| {
        opened.track();
        let Some(dialog) = node.get() else { return };
        if !dialog.open() {
            query.set(String::new());
            ask();
            browser::open_modal(&dialog);
        }
    });

    let navigate = use_navigate();
    let open = move |href: &str| {
        if let Some(dialog) = node.get_untracked() {
            dialog.close();
        }
        if href.starts_with("/api/") {
            _ = window().location().set_href(href);
        } else {
            navigate(href, NavigateOptions::default());
        }
    };
    let on_key = {
        let open = open.clone();
        move |event: ev::KeyboardEvent| {
            let count = hits.with(Vec::len);
            match event.key().as_str() {
                "ArrowDown" if count > 0 => at.update(|at| *at = (*at + 1) % count),
                "ArrowUp" if count > 0 => at.update(|at| *at = (*at + count - 1) % count),
                "Enter" => {
                    if let Some(hit) = hits.with(|hits| hits.get(at.get_untracked()).cloned()) {
                        open(&hit.href);
                    }
                }
                _ => return,
            }
            event.prevent_default();
        }
    };

    view! {
        <dialog node_ref=node class="dialog palette" id="palette" aria-label="Go to" on:close=|_| browser::closed_modal()>
            <div class="palette-field">
                <Glyph icon=Icon::Search/>
                <input
                    type="text"
                    role="combobox"
                    aria-label="Go to a name, an id or a page"
                    aria-expanded="true"
                    aria-controls="palette-list"
                    aria-autocomplete="list"
                    aria-activedescendant=move || hits.with(|hits| (!hits.is_empty()).then(|| format!("palette-{}", at.get())))
                    placeholder="Go to a name, an id or a page…"
                    autocomplete="off"
                    spellcheck="false"
                    prop:value=move || query.get()
                    on:input=move |event| {
                        query.set(event_target_value(&event));
                        ask();
                    }
                    on:keydown=on_key
                />
            </div>
            <ul id="palette-list" role="listbox" aria-label="Results">
                {move || {
                    hits.get()
                        .into_iter()
                        .enumerate()
                        .map(|(i, hit)| {
                            let (open, href) = (open.clone(), hit.href);
                            view! {
                                <li
                                    id=format!("palette-{i}")
                                    role="option"
                                    aria-selected=move || if at.get() == i { "true" } else { "false" }
                                    on:mousemove=move |_| {
                                        if at.get_untracked() != i {
                                            at.set(i);
                                        }
                                    }
                                    on:click=move |_| open(&href)
                                >
                                    <span>{hit.label}</span>
                                    <span class="palette-hint">{hit.hint}</span>
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ul>
            {move || hits.with(Vec::is_empty).then(|| view! { <p class="palette-none">"Nothing has this name or id."</p> })}
            {move || failed.get().map(|failed| view! { <p class="palette-none" role="alert">{failed}</p> })}
        </dialog>
    }
}
