//! The dialog that edits a key: everything but its secret and environment.

use domain::{
    ids::KeyId,
    keys::{ApiKey, InUse, Scope, ScopeSet},
};
use leptos::{form::ActionForm, prelude::*, server_fn::ServerFn};

use super::{
    actions::{EditKey, IssueSecret, RemoveSecret},
    context::{KeysPage, counted},
    create::{CloseQuestion, advance, steps},
    data::{FormPage, Used},
    form_fields::{AntiBan, Details, Foot, Permissions},
    form_state::FormState,
    query::Panel,
};
use crate::components::{Button, Dialog, FormError, Notice, Tone, use_toasts};

const FORM: &str = "edit-form";

#[component]
pub fn EditDialog(form: FormPage, used: Used) -> impl IntoView {
    let page = KeysPage::get();
    let toasts = use_toasts();
    let key = used.row.key;
    let (id, environment, name) = (key.id, key.environment, key.name.clone());
    let api_secret_hint = key.api_secret_hint.clone();
    let state = FormState::new(&form, Some(key.clone()));
    let edit = ServerAction::<EditKey>::new();
    let pending = edit.pending();

    Effect::new(move |_| match edit.value().get() {
        Some(Ok(())) => {
            toasts.ok("Key saved");
            page.close();
            page.refresh_list();
        }
        Some(Err(error)) => {
            state.refused(&error);
            // A conflict means that the list behind the dialog is old too.
            page.refresh_list();
        }
        None => {}
    });

    let send = move || {
        if !pending.get_untracked() && state.ready() {
            let mut form = untrack(|| state.read());
            let scopes = std::mem::take(&mut form.scopes);
            edit.dispatch(EditKey { id, form, scopes, back: page.back().get_untracked() });
        }
    };
    let asking = RwSignal::new(false);
    let may_close = Callback::new(move |()| {
        let ask = state.is_changed() && !asking.get_untracked() && !pending.get_untracked();
        asking.set(ask);
        !ask
    });

    let in_use = used.in_use;
    let losses = Memo::new(move |_| losses(&key, &in_use, state.scopes.get()));
    let (version, own_ip, instances) = (form.form.version.clone(), form.own_ip, form.instances.clone());
    view! {
        <div class="stepped">
            <Dialog
                id="edit-key-dialog"
                title=format!("Edit {name}")
                description="Changes apply to the next call, on every server. The secret stays the same."
                close_href=page.close_href()
                may_close=may_close
                under_head=move || steps(state)
                foot=move || view! {
                    <Losses losses/>
                    <Foot state form=FORM submit="Save changes" pending=pending.into() close_href=page.close_href()/>
                }
            >
                <FormError message=state.message/>
                {move || asking.get().then(|| view! {
                    <CloseQuestion
                        text="Close without saving? The key stays as it was."
                        on_keep=Callback::new(move |()| asking.set(false))
                    />
                 })}
                <form
                    id=FORM
                    class="key-form"
                    method="post"
                    action=EditKey::url()
                    novalidate
                    on:submit=move |event| {
                        event.prevent_default();
                        advance(state, send);
                    }
                >
                    <input type="hidden" name="id" value=id.to_string()/>
                    <input type="hidden" name="form[version]" value=version/>
                    <input type="hidden" name="back" value=move || page.back().get()/>
                    <div class="step-part step-1"><Details state fixed=Some(environment)/></div>
                    <div class="step-part step-2"><AntiBan state/></div>
                    <div class="step-part step-3"><Permissions state own_ip instances new=false/></div>
                </form>
                <div class="step-part step-3"><ApiSecret id hint=api_secret_hint/></div>
            </Dialog>
        </div>
    }
}

/// The second secret of the key. A form of its own: it is not part of what is saved.
#[component]
fn ApiSecret(id: KeyId, hint: Option<String>) -> impl IntoView {
    let page = KeysPage::get();
    let toasts = use_toasts();
    let issue = ServerAction::<IssueSecret>::new();
    let remove = ServerAction::<RemoveSecret>::new();
    let hint = RwSignal::new(hint);
    Effect::new(move |_| match issue.value().get() {
        Some(Ok(Some(revealed))) => {
            page.revealed.set(Some(revealed));
            page.replace(Panel::Created(id));
            page.refresh_list();
        }
        Some(Err(error)) => toasts.bad(error.to_string()),
        Some(Ok(None)) | None => {}
    });
    Effect::new(move |_| match remove.value().get() {
        Some(Ok(())) => {
            toasts.ok("API secret removed");
            // The key has another version now: what was typed must not be saved over it.
            page.close();
            page.refresh_list();
        }
        Some(Err(error)) => toasts.bad(error.to_string()),
        None => {}
    });
    let hidden = move || {
        view! {
            <input type="hidden" name="id" value=id.to_string()/>
            <input type="hidden" name="back" value=move || page.back().get()/>
        }
    };
    view! {
        <section class="sheet-part api-secret" aria-labelledby="api-secret-title">
            <h3 id="api-secret-title">"API secret"</h3>
            {move || match hint.get() {
                Some(hint) => view! {
                    <p>"Calls must carry " <code>{hint}</code> " in X-API-Secret, or sign with it. A new one ends it at once."</p>
                }
                .into_any(),
                None => view! {
                    <p class="sub">"None: the key alone suffices. Once one is issued, calls must carry it in X-API-Secret or sign with it, from that moment on."</p>
                }
                .into_any(),
            }}
            <div class="question">
                <ActionForm action=issue>
                    {hidden()}
                    <Button submit=true pending=issue.pending()>{move || if hint.with(Option::is_some) { "Replace API secret" } else { "Issue API secret" }}</Button>
                </ActionForm>
                {move || hint.with(Option::is_some).then(|| view! {
                    <ActionForm action=remove>
                        {hidden()}
                        <Button submit=true pending=remove.pending()>"Remove"</Button>
                    </ActionForm>
                })}
            </div>
        </section>
    }
}

/// Scopes that were used in the last week and would no longer be granted, with their calls.
fn losses(key: &ApiKey, in_use: &InUse, chosen: ScopeSet) -> Vec<(Scope, i64)> {
    in_use
        .scopes
        .iter()
        .copied()
        .filter(|(scope, calls)| *calls > 0 && key.scopes.satisfies(*scope) && !chosen.satisfies(*scope))
        .collect()
}

#[component]
fn Losses(losses: Memo<Vec<(Scope, i64)>>) -> impl IntoView {
    view! {
        <div class="losses" role="status">
            {move || {
                let losses = losses.get();
                (!losses.is_empty()).then(|| view! {
                    <Notice tone=Tone::Warn>
                        {losses
                            .into_iter()
                            .map(|(scope, calls)| {
                                let times = counted(calls, "time", "times");
                                view! { <p><code>{scope.as_str()}</code> {format!(" was used {times} in 7 days. Calls that need it will be refused.")}</p> }
                            })
                            .collect_view()}
                    </Notice>
                })
            }}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        ids::OrgId,
        keys::{Environment, KeyForm},
        throttle::Throttle,
    };

    fn key(scopes: &[Scope]) -> ApiKey {
        ApiKey {
            id: "key_01h455vb4pex5vsknk084sn02q".parse::<KeyId>().unwrap(),
            organization_id: "org_01h455vb4pex5vsknk084sn02q".parse::<OrgId>().unwrap(),
            name: KeyForm::default().name,
            description: String::new(),
            environment: Environment::Live,
            hint: String::new(),
            scope_group: None,
            scopes: scopes.iter().copied().collect(),
            throttle: Throttle::default(),
            allowed_ips: vec![],
            allowed_instances: None,
            rate_limit: None,
            expires_at: None,
            disabled_at: None,
            revoked_at: None,
            revoked_by: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            created_by: None,
            created_by_name: String::new(),
            version: 1,
            last_use: None,
            old_secret: None,
            api_secret_hint: None,
        }
    }

    #[test]
    fn warns_only_of_what_is_used_and_really_lost() {
        let key = key(&[Scope::MessageSend, Scope::ContactRead, Scope::UsageRead]);
        let in_use = InUse { scopes: vec![(Scope::MessageSend, 412), (Scope::ContactRead, 3)], ..InUse::default() };
        let chosen = [Scope::ContactAll].into_iter().collect();
        assert_eq!(losses(&key, &in_use, chosen), [(Scope::MessageSend, 412)]);
        assert!(losses(&key, &in_use, key.scopes).is_empty());
    }
}
