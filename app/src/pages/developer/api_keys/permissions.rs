//! What the key may do: a group, or scopes one by one.
//!
//! Without script the group's select speaks as long as no box is ticked, so the boxes of a plain group start empty in
//! the page and are ticked by script.

use domain::keys::{
    GROUPS, SCOPES, Scope, ScopeGroup, ScopeSet,
    scope::{ScopeInfo, group_label},
};
use leptos::prelude::*;

use super::{context::counted, form_state::FormState};
use crate::components::{Field, Glyph, Icon, Select};

#[component]
pub fn PermissionFields(state: FormState) -> impl IntoView {
    let options = GROUPS
        .iter()
        .map(|group| (group.id.to_owned(), format!("{} ({})", group.name, group.about)))
        .chain([(String::new(), "Individual scopes".to_owned())])
        .collect::<Vec<_>>();
    // Another group brings its scopes with it.
    Effect::new(move |before: Option<String>| {
        let group = state.scope_group.get();
        if before.is_some_and(|before| before != group)
            && let Some(group) = ScopeGroup::find(&group)
        {
            state.scopes.set(group.scopes());
        }
        group
    });
    let scopes = state.scopes;
    let label = move || state.scope_group.with(|group| group_label(Some(group.as_str()), scopes.get()));
    let sentence = move || {
        let set = scopes.get();
        let n = i64::try_from(set.len()).unwrap_or(0);
        format!("{}: {}", counted(n, "scope", "scopes"), set.sentence())
    };
    let group_now = move || state.scope_group.with(|group| ScopeGroup::find(group));
    let changed = move || group_now().is_some_and(|group| group.scopes() != scopes.get());
    let error = state.error("scopes");
    let open = state.custom_at_start;
    view! {
        <Field id="key-scope-group" label="Scope group" error=state.error("scope_group")>
            <Select name="form[scope_group]" options=options bind=state.scope_group/>
        </Field>
        <p class="scope-sum" role="status">
            <strong>{label}</strong>
            " · "
            {sentence}
        </p>
        {move || changed().then(|| view! {
            <button
                type="button"
                class="text-link js-only"
                on:click=move |_| {
                    if let Some(group) = group_now() {
                        scopes.set(group.scopes());
                    }
                }
            >
                {move || format!("Back to {}", group_now().map_or("the group", |group| group.name))}
            </button>
        })}
        <details class="fold" open=open>
            <summary><Glyph icon=Icon::ChevronRight/>"Choose individually"</summary>
            <noscript inner_html="<p class=\"note\">Tick scopes only to choose your own set. With none ticked, the key gets those of the group.</p>"></noscript>
            <div class="scope-grid" aria-invalid=move || error.with(Option::is_some).then_some("true") tabindex="-1">
                {resources().into_iter().map(|(name, infos)| view! { <ResourceRow name infos scopes ticked=open/> }).collect_view()}
            </div>
        </details>
        {move || error.get().map(|error| view! {
            <p class="note"><span class="error"><Glyph icon=Icon::Alert/><span>{error}</span></span></p>
        })}
    }
}

/// The scopes by resource, in the order of the table.
fn resources() -> Vec<(&'static str, Vec<&'static ScopeInfo>)> {
    let mut rows: Vec<(&'static str, Vec<&'static ScopeInfo>)> = vec![];
    for info in SCOPES {
        match rows.last_mut() {
            Some((name, infos)) if *name == info.resource => infos.push(info),
            _ => rows.push((info.resource, vec![info])),
        }
    }
    rows
}

/// One resource: its actions, and "All" at the end. Where there is a scope `x:all`, "All" is that one.
#[component]
fn ResourceRow(
    name: &'static str,
    infos: Vec<&'static ScopeInfo>,
    scopes: RwSignal<ScopeSet>,
    ticked: bool,
) -> impl IntoView {
    let all_scope = infos.iter().find(|info| info.action == "All").map(|info| info.scope);
    let every: Vec<Scope> = infos.iter().map(|info| info.scope).collect();
    let needs_all = all_scope.is_none() && every.len() > 1;
    let boxes = infos.iter().map(|info| view! { <ScopeBox info scopes ticked all_scope/> }).collect_view();
    let all = needs_all.then(|| {
        let mine = every.clone();
        view! {
            <label class="checkbox js-only">
                <input
                    type="checkbox"
                    aria-label=format!("All of {name}")
                    prop:checked=move || scopes.with(|set| mine.iter().all(|scope| set.contains(*scope)))
                    on:change=move |event| {
                        let on = event_target_checked(&event);
                        scopes.update(|set| every.iter().for_each(|scope| if on { set.insert(*scope) } else { set.remove(*scope) }));
                    }
                />
                <span class="words"><span>"All"</span></span>
            </label>
        }
    });
    view! {
        <fieldset class="scope-row">
            <legend>{name}</legend>
            <div class="scope-boxes">{boxes} {all}</div>
        </fieldset>
    }
}

#[component]
fn ScopeBox(
    info: &'static ScopeInfo,
    scopes: RwSignal<ScopeSet>,
    ticked: bool,
    all_scope: Option<Scope>,
) -> impl IntoView {
    let scope = info.scope;
    let start = ticked && scopes.with_untracked(|set| set.contains(scope));
    let covered = move || all_scope.is_some_and(|all| all != scope && scopes.with(|set| set.contains(all)));
    view! {
        <label class="checkbox" class:covered=covered title=format!("{} · can {}", info.text, info.allows)>
            <input
                type="checkbox"
                name="scopes[]"
                value=info.text
                checked=start
                prop:checked=move || scopes.with(|set| set.contains(scope))
                on:change=move |event| {
                    let on = event_target_checked(&event);
                    scopes.update(|set| if on { set.insert(scope) } else { set.remove(scope) });
                }
            />
            <span class="words">
                <span>{info.action}</span>
                <span class="sr-only">{format!(": {}", info.text)}</span>
            </span>
        </label>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_stands_in_one_row() {
        let rows = resources();
        assert_eq!(rows.iter().map(|(_, infos)| infos.len()).sum::<usize>(), SCOPES.len());
        let mut names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len(), "a resource is split over two rows");
    }
}
