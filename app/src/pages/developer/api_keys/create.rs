//! The dialog "Create New API Key", also for duplicates.

use leptos::{prelude::*, server_fn::ServerFn};

use super::{
    actions::CreateKey,
    context::KeysPage,
    data::FormPage,
    form_fields::{AntiBan, Details, Foot, Permissions},
    form_state::FormState,
    query::Panel,
};
use crate::components::{Dialog, FormError, Notice, Steps, Tone};

const FORM: &str = "create-form";

#[component]
pub fn CreateDialog(form: FormPage, copied_from: Option<String>) -> impl IntoView {
    let page = KeysPage::get();
    let duplicate = copied_from.is_some();
    // A draft is only of this browser: there is none when the page is hydrated. A duplicate starts from its original,
    // and a form that came back from the server has what was typed in it already.
    let draft = page.draft.get_untracked().filter(|_| !duplicate && form.errors.is_empty());
    let restored = RwSignal::new(draft.is_some());
    let pristine = form.form.clone();
    let typed = draft.map_or_else(|| form.clone(), |draft| FormPage { form: draft, ..form.clone() });
    let state = FormState::new(&typed, None);
    state.start.set_value(pristine);
    let create = ServerAction::<CreateKey>::new();
    let pending = create.pending();

    Effect::new(move |_| {
        let typed = state.read();
        if !duplicate && state.is_changed() {
            page.draft.set(Some(typed));
        }
    });
    let start_anew = move |_| {
        page.draft.set(None);
        state.restore(&state.start.get_value());
        restored.set(false);
    };

    Effect::new(move |_| match create.value().get() {
        Some(Ok(Some(revealed))) => {
            let id = revealed.id;
            page.draft.set(None);
            page.revealed.set(Some(revealed));
            page.replace(Panel::Created(id));
            page.refresh_list();
        }
        Some(Err(error)) => state.refused(&error),
        Some(Ok(None)) | None => {}
    });

    let send = move || {
        if !pending.get_untracked() && state.ready() {
            let mut form = untrack(|| state.read());
            let scopes = std::mem::take(&mut form.scopes);
            create.dispatch(CreateKey { form, scopes, back: page.back().get_untracked() });
        }
    };
    let asking = RwSignal::new(false);
    let may_close = Callback::new(move |()| {
        let ask = state.is_changed() && !asking.get_untracked() && !pending.get_untracked();
        asking.set(ask);
        !ask
    });

    let title = match &copied_from {
        Some(name) => format!("Duplicate {name}"),
        None => "Create New API Key".to_owned(),
    };
    let text = if duplicate {
        "A new key with the same settings and a secret of its own."
    } else {
        "A key is shown in full once, right after it was made."
    };
    let submission = form.form.submission.clone();
    let (own_ip, instances) = (form.own_ip, form.instances.clone());
    view! {
        <div class="stepped">
            <Dialog
                id="create-key-dialog"
                title=title
                description=text
                close_href=page.close_href()
                may_close=may_close
                under_head=move || steps(state)
                foot=move || view! {
                    <Foot state form=FORM submit="Create API Key" pending=pending.into() close_href=page.close_href()/>
                }
            >
                <FormError message=state.message/>
                {move || asking.get().then(|| view! {
                    <CloseQuestion
                        text="Close without creating the key? What you typed stays here until you leave this page."
                        on_keep=Callback::new(move |()| asking.set(false))
                    />
                 })}
                {move || restored.get().then(|| view! {
                    <Notice>
                        <p>
                            "This is what you typed before. "
                            <button type="button" class="text-link" on:click=start_anew>"Start anew"</button>
                        </p>
                    </Notice>
                })}
                <form
                    id=FORM
                    class="key-form"
                    method="post"
                    action=CreateKey::url()
                    novalidate
                    on:submit=move |event| {
                        event.prevent_default();
                        advance(state, send);
                    }
                >
                    <input type="hidden" name="form[submission]" value=submission/>
                    <input type="hidden" name="back" value=move || page.back().get()/>
                    <div class="step-part step-1"><Details state fixed=None/></div>
                    <div class="step-part step-2"><AntiBan state/></div>
                    <div class="step-part step-3"><Permissions state own_ip instances new=true/></div>
                </form>
            </Dialog>
        </div>
    }
}

/// The step tabs.
pub fn steps(state: FormState) -> impl IntoView {
    let tabs =
        domain::keys::form::STEPS.into_iter().enumerate().map(|(i, label)| (label, state.step_state(i))).collect();
    view! { <Steps id="key-form" steps=tabs current=state.step/> }
}

/// Enter goes on; on the last step it sends.
pub fn advance(state: FormState, send: impl Fn()) {
    if state.step.get_untracked() < domain::keys::form::STEPS.len() {
        state.forward();
    } else {
        send();
    }
}

/// Asked once when something was typed.
#[component]
pub fn CloseQuestion(text: &'static str, on_keep: Callback<()>) -> impl IntoView {
    let page = KeysPage::get();
    view! {
        <div role="alert">
            <Notice tone=Tone::Warn>
                <p>{text}</p>
                <p class="question">
                    <button type="button" class="button" on:click=move |_| on_keep.run(())>"Keep editing"</button>
                    <button type="button" class="button" on:click=move |_| page.close()>"Close"</button>
                </p>
            </Notice>
        </div>
    }
}
