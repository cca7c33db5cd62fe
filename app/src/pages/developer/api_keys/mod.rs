//! The API Keys tab.
//!
//! - [`query`]: the page's state as its address; [`paste`]: a pasted key never gets into it
//! - [`actions`]: the server functions; [`data`]: what they carry; `panels`, `plain`, `words`: their server side
//! - [`context`]: what the parts share
//! - [`list`], [`row`], [`toolbar`], [`bulk`], [`pager`]: the table and what is around it
//! - [`create`], [`edit`] with [`form_state`], [`form_fields`], [`throttle_preview`], [`permissions`]: the dialog
//! - [`reveal`] with [`snippets`] and [`radar`]: the card that shows a new key
//! - [`regenerate`], [`revoke`], [`stats`], [`history`]: the other dialogs and sheets

pub mod actions;
mod bulk;
pub mod context;
mod create;
pub mod data;
mod edit;
mod form_fields;
mod form_state;
mod history;
mod list;
mod pager;
#[cfg(feature = "ssr")]
mod panels;
pub mod paste;
mod permissions;
#[cfg(feature = "ssr")]
mod plain;
pub mod query;
mod radar;
mod regenerate;
mod reveal;
mod revoke;
mod row;
mod snippets;
mod stats;
mod throttle_preview;
mod toolbar;
#[cfg(feature = "ssr")]
mod words;

use leptos::{prelude::*, wasm_split::wasm_split};
use leptos_meta::Title;
use leptos_router::LazyRoute;

use self::{
    actions::{list_keys, load_panel},
    context::KeysPage,
    data::{PanelPage, Revealed},
    list::KeysList,
    query::Panel,
    reveal::{GoneDialog, RevealDialog},
    toolbar::Toolbar,
};
use crate::{
    browser,
    components::{Dialog, ErrorState, use_toasts},
    error::AppError,
    later::{Later, fetch_ahead, load_first, shown},
};

/// The route. The list is in the main file, since the console opens with it; what opens above it is in one of its own.
pub struct ApiKeysRoute;

impl LazyRoute for ApiKeysRoute {
    fn data() -> Self {
        Self
    }

    async fn view(_: Self) -> AnyView {
        #[cfg(feature = "ssr")]
        leave_pasted_key();
        view! { <ApiKeysPage/> }.into_any()
    }

    async fn preload() {
        // The server rendered the panel into the page: to take it over, its code must be there at once.
        if browser::query().contains("panel=") {
            _ = preload_panels().await;
        }
    }
}

/// A key that was searched for without script stands in the address. It must not stay there.
#[cfg(feature = "ssr")]
fn leave_pasted_key() {
    let asked = leptos_router::hooks::use_location().search.get_untracked();
    let understood = query::KeysQuery::parse(&asked);
    if understood.filter.hash.is_some() && !asked.contains("hash=") {
        crate::session::go(&understood.href());
    }
}

/// What opens above the list.
enum Open {
    Answer(Later<PanelPage>),
    /// The card of a key that was made just now.
    Revealed(Revealed),
}

#[wasm_split(panels, wasm_split_path = leptos::wasm_split, preload(preload_panels), fallible)]
fn panel_view(open: Open) -> Result<AnyView, AppError> {
    Ok(match open {
        Open::Answer(answer) => view! { <OpenPanel open=answer.read()?/> }.into_any(),
        Open::Revealed(revealed) => view! { <RevealDialog revealed/> }.into_any(),
    })
}

/// The list of keys, and whatever is open above it.
#[component]
fn ApiKeysPage() -> impl IntoView {
    let page = KeysPage::provide();
    let toasts = use_toasts();
    let panel = page.panel();

    // Made here and not inside the children that wait for them: a resource made there would hang the answer.
    let filter = Memo::new(move |_| page.query.with(|query| query.to_filter()));
    let list = load_first(move || (filter.get(), page.list_version()), |(filter, _)| list_keys(filter));
    let panel_page = load_first(
        move || (panel.get(), page.panel_version()),
        move |(panel, _)| {
            // A card that the browser holds already is not asked for.
            let held = matches!(panel, Panel::Created(id) if page.revealed.with_untracked(|r| r.as_ref().is_some_and(|r| r.id == id)));
            async move {
                if held || panel == Panel::Closed {
                    return Ok(None);
                }
                fetch_ahead(preload_panels());
                load_panel(panel).await.map(Some)
            }
        },
    );

    Effect::new(move |_| match page.change.value().get() {
        Some(Ok(sentence)) => {
            if !sentence.is_empty() {
                toasts.ok(sentence);
            }
            if matches!(panel.get_untracked(), Panel::Revoke(_)) {
                page.close();
            }
            page.refresh_list();
        }
        Some(Err(error)) => {
            toasts.bad(error.to_string());
            // It may have failed because the list is old.
            page.refresh_list();
        }
        None => {}
    });
    Effect::new(move |_| match page.retire.value().get() {
        Some(Ok(())) => {
            toasts.ok("Old secret retired");
            page.refresh_panel();
            page.refresh_list();
        }
        Some(Err(error)) => toasts.bad(error.to_string()),
        None => {}
    });
    // Once the card is left, by whatever way, the key is forgotten.
    Effect::new(move |was_shown: Option<bool>| {
        let shown = matches!(panel.get(), Panel::Created(_));
        if was_shown == Some(true) && !shown {
            page.revealed.set(None);
        }
        shown
    });

    let revealed = move || {
        let open = panel.get();
        page.revealed.get().filter(|revealed| open == Panel::Created(revealed.id))
    };

    view! {
        <Title text="API Keys"/>
        <div class="api-keys">
            <Toolbar list/>
            <KeysList list/>
        </div>
        {move || revealed().map(|revealed| Suspend::new(async move { shown(panel_view(Open::Revealed(revealed)).await) }))}
        <Transition>
            {move || Suspend::new(async move {
                match panel_page.await {
                    Ok(None) => ().into_any(),
                    Ok(Some(answer)) => {
                        #[cfg(feature = "ssr")]
                        crate::later::announce("panels");
                        shown(panel_view(Open::Answer(answer)).await)
                    }
                    Err(error) => view! { <PanelProblem error/> }.into_any(),
                }
            })}
        </Transition>
    }
    .into_any()
}

#[component]
fn OpenPanel(open: PanelPage) -> impl IntoView {
    match open {
        PanelPage::New(form, copied_from) => view! { <create::CreateDialog form=*form copied_from/> }.into_any(),
        PanelPage::Edit(form, used) => view! { <edit::EditDialog form=*form used=*used/> }.into_any(),
        PanelPage::Regenerate(used, now) => view! { <regenerate::RegenerateDialog used=*used now/> }.into_any(),
        PanelPage::Revoke(keys, now) => view! { <revoke::RevokeDialog keys now/> }.into_any(),
        PanelPage::Usage { row, stats, old_callers, now, may_manage } => {
            view! { <stats::UsageSheet row=*row stats old_callers now may_manage/> }.into_any()
        }
        PanelPage::History { row, events, now } => view! { <history::HistorySheet row=*row events now/> }.into_any(),
        PanelPage::Created(Some(revealed), _) => view! { <RevealDialog revealed/> }.into_any(),
        PanelPage::Created(None, row) => view! { <GoneDialog row=*row/> }.into_any(),
    }
}

/// What was to open cannot be shown: the key is gone, or the role does not allow it.
#[component]
fn PanelProblem(error: AppError) -> impl IntoView {
    let page = KeysPage::get();
    view! {
        <Dialog id="key-problem" title=error.title().to_owned() close_href=page.close_href()>
            <ErrorState error=error.clone()/>
        </Dialog>
    }
}
