//! The dialog that edits a key: everything but its secret and environment.

use std::net::IpAddr;

use domain::{
    ids::{InstanceId, KeyId},
    keys::{ApiKey, InUse, Scope, ScopeSet, form::parse_ips},
};
use ipnet::IpNet;
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
    let losses = Memo::new(move |_| {
        let addresses = state.allowed_ips.with(|text| parse_ips(text)).ok();
        let some = state.instances_mode.with(|mode| mode == "some");
        let instances = some.then(|| state.instances.get().iter().filter_map(|id| id.parse().ok()).collect());
        losses(&key, &in_use, &Chosen { scopes: state.scopes.get(), addresses, instances })
    });
    let (version, own_ip, instances) = (form.form.version.clone(), form.own_ip, form.instances.clone());
    let names = StoredValue::new(form.instances);
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
                    <Losses losses names/>
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

/// What the form grants.
struct Chosen {
    scopes: ScopeSet,
    /// Empty: any. `None`: what is typed is no list yet.
    addresses: Option<Vec<IpNet>>,
    /// `None`: all.
    instances: Option<Vec<InstanceId>>,
}

/// Something that was used in the last week and would be refused, with how often.
#[derive(Debug, Clone, PartialEq)]
enum Loss {
    Scope(Scope, i64),
    /// The callers' addresses, and all their calls.
    Addresses(Vec<IpAddr>, i64),
    Instance(InstanceId, i64),
}

fn losses(key: &ApiKey, in_use: &InUse, chosen: &Chosen) -> Vec<Loss> {
    let scopes = in_use
        .scopes
        .iter()
        .filter(|(scope, calls)| *calls > 0 && key.scopes.satisfies(*scope) && !chosen.scopes.satisfies(*scope))
        .map(|(scope, calls)| Loss::Scope(*scope, *calls));
    let lets_in = |nets: &[IpNet], ip: IpAddr| nets.is_empty() || nets.iter().any(|net| net.contains(&ip));
    let (mut addresses, mut calls) = (vec![], 0);
    for caller in &in_use.callers {
        let (Some(ip), Some(nets)) = (caller.ip, &chosen.addresses) else { continue };
        if lets_in(&key.allowed_ips, ip) && !lets_in(nets, ip) {
            calls += caller.calls;
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
    }
    let lets_through = |allowed: &Option<Vec<InstanceId>>, id| allowed.as_ref().is_none_or(|ids| ids.contains(id));
    let instances = in_use
        .instances
        .iter()
        .filter(|(id, _)| lets_through(&key.allowed_instances, id) && !lets_through(&chosen.instances, id))
        .map(|(id, messages)| Loss::Instance(*id, *messages));
    let addresses = (!addresses.is_empty()).then_some(Loss::Addresses(addresses, calls));
    scopes.chain(addresses).chain(instances).collect()
}

/// Addresses that are named; more only make the dialog's foot taller.
const NAMED: usize = 3;

#[component]
fn Losses(losses: Memo<Vec<Loss>>, names: StoredValue<Vec<(InstanceId, String)>>) -> impl IntoView {
    let line = move |loss| match loss {
        Loss::Scope(scope, calls) => {
            let times = counted(calls, "time", "times");
            view! { <p><code>{scope.as_str()}</code> {format!(" was used {times} in 7 days. Calls that need it will be refused.")}</p> }
                .into_any()
        }
        Loss::Addresses(addresses, calls) => {
            let named: Vec<_> = addresses.iter().take(NAMED).map(ToString::to_string).collect();
            let more = addresses.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let times = counted(calls, "time", "times");
            view! { <p><code>{named.join(", ")}</code> {format!("{more} called {times} in 7 days. Calls from there will be refused.")}</p> }
                .into_any()
        }
        Loss::Instance(id, messages) => {
            let known =
                names.with_value(|names| names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone()));
            let name = known.unwrap_or_else(|| id.to_string());
            let messages = counted(messages, "message", "messages");
            view! { <p><bdi>{name}</bdi> {format!(" was given {messages} in 7 days. Calls that name it will be refused.")}</p> }
                .into_any()
        }
    };
    view! {
        <div class="losses" role="status">
            {move || {
                let losses = losses.get();
                (!losses.is_empty()).then(|| view! {
                    <Notice tone=Tone::Warn>{losses.into_iter().map(line).collect_view()}</Notice>
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
        keys::{Caller, Environment, KeyForm},
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

    fn same(key: &ApiKey) -> Chosen {
        Chosen {
            scopes: key.scopes,
            addresses: Some(key.allowed_ips.clone()),
            instances: key.allowed_instances.clone(),
        }
    }

    #[test]
    fn warns_only_of_what_is_used_and_really_lost() {
        let key = key(&[Scope::MessageSend, Scope::ContactRead, Scope::UsageRead]);
        let in_use = InUse { scopes: vec![(Scope::MessageSend, 412), (Scope::ContactRead, 3)], ..InUse::default() };
        let chosen = Chosen { scopes: [Scope::ContactAll].into_iter().collect(), ..same(&key) };
        assert_eq!(losses(&key, &in_use, &chosen), [Loss::Scope(Scope::MessageSend, 412)]);
        assert!(losses(&key, &in_use, &same(&key)).is_empty());
    }

    #[test]
    fn warns_of_callers_that_are_shut_out() {
        let caller = |ip: &str, calls| Caller {
            ip: Some(ip.parse().unwrap()),
            user_agent: String::new(),
            calls,
            last_at: chrono::DateTime::UNIX_EPOCH,
        };
        let callers = vec![
            caller("203.0.113.9", 400),
            caller("203.0.113.9", 12),
            caller("198.51.100.7", 5),
            caller("2001:db8::1", 1),
            Caller { ip: None, ..caller("192.0.2.1", 9) },
        ];
        let in_use = InUse { callers, ..InUse::default() };
        let open = key(&[]);
        let narrowed =
            |key: &ApiKey, text: &str| losses(key, &in_use, &Chosen { addresses: parse_ips(text).ok(), ..same(key) });
        let ips = |texts: &[&str]| texts.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect::<Vec<_>>();
        assert_eq!(narrowed(&open, "198.51.100.0/24\n2001:db8::/32"), [Loss::Addresses(ips(&["203.0.113.9"]), 412)]);
        assert_eq!(narrowed(&open, "203.0.113.9"), [Loss::Addresses(ips(&["198.51.100.7", "2001:db8::1"]), 6)]);
        assert!(narrowed(&open, "").is_empty(), "an empty list lets everybody in");
        assert!(narrowed(&open, "203.0.113.").is_empty(), "half an address is no list yet");
        // Who was shut out before loses nothing.
        let fenced = ApiKey { allowed_ips: parse_ips("203.0.113.0/24").unwrap(), ..key(&[]) };
        assert_eq!(narrowed(&fenced, "10.0.0.1"), [Loss::Addresses(ips(&["203.0.113.9"]), 412)]);
    }

    #[test]
    fn warns_of_instances_that_are_taken_away() {
        let [shop, news, gone] =
            ["2q", "2r", "2s"].map(|end| format!("ins_01h455vb4pex5vsknk084sn0{end}").parse::<InstanceId>().unwrap());
        let in_use = InUse { instances: vec![(shop, 12), (news, 3), (gone, 7)], ..InUse::default() };
        let some = ApiKey { allowed_instances: Some(vec![shop, news]), ..key(&[]) };
        let chosen = Chosen { instances: Some(vec![news]), ..same(&some) };
        assert_eq!(losses(&some, &in_use, &chosen), [Loss::Instance(shop, 12)]);
        let all = key(&[]);
        let chosen = Chosen { instances: Some(vec![shop]), ..same(&all) };
        assert_eq!(losses(&all, &in_use, &chosen), [Loss::Instance(news, 3), Loss::Instance(gone, 7)]);
        assert!(losses(&all, &in_use, &same(&all)).is_empty());
    }
}
