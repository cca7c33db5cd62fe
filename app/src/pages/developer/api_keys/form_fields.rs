//! The three steps of the create and edit dialogs.

use std::net::IpAddr;

use domain::{
    ids::InstanceId,
    keys::{Environment, form},
};
use leptos::prelude::*;

use super::{form_state::FormState, permissions::PermissionFields, throttle_preview::ThrottlePreview};
use crate::components::{
    Button, ButtonKind, Field, Glyph, Icon, Notice, RadioCard, RadioCards, Select, TextArea, TextInput, Tone, Width,
};

/// Step 1. `fixed` is the environment of a key that exists: it cannot change.
#[component]
pub fn Details(state: FormState, fixed: Option<Environment>) -> impl IntoView {
    let environment = match fixed {
        Some(environment) => view! {
            <div class="field">
                <p class="label">"Environment"</p>
                <p>{format!("{} Key", environment.label())}</p>
                <input type="hidden" name="form[environment]" value=environment.as_str()/>
                <p class="note">"A key stays in its environment. Create another key for the other one."</p>
            </div>
        }
        .into_any(),
        None => view! {
            <RadioCards legend="Environment" columns=true error=state.error("environment")>
                <RadioCard
                    name="form[environment]"
                    value="live"
                    title="Live Key"
                    help="Full production access for customer-facing integrations"
                    chosen=state.environment
                />
                <RadioCard
                    name="form[environment]"
                    value="test"
                    title="Test Key"
                    help="Safe sandbox for development and QA"
                    chosen=state.environment
                />
            </RadioCards>
        }
        .into_any(),
    };
    view! {
        <Field
            id="key-name"
            label="Key Name"
            help="What uses the key, so that everyone recognises it later, such as “Shop plugin”."
            error=state.error("name")
        >
            <TextInput name="form[name]" bind=state.name required=true attr:maxlength="200" attr:autocomplete="off" attr:autofocus=true/>
        </Field>
        <Field
            id="key-description"
            label="Description"
            optional=true
            help=format!("Up to {} characters.", form::DESCRIPTION_MAX)
            error=state.error("description")
        >
            <TextArea name="form[description]" bind=state.description rows=2/>
        </Field>
        {environment}
    }
}

/// Step 2. Which fields show follows the chosen mode by CSS alone.
#[component]
pub fn AntiBan(state: FormState) -> impl IntoView {
    view! {
        <p class="lead">
            "WhatsApp bans numbers that send like machines. Pacing spreads the messages of this key out. It applies to Baileys/WAHA instances; Cloud API numbers keep Meta’s own limits."
        </p>
        <div class="throttle">
            <RadioCards legend="Throttle Mode" columns=true error=state.error("throttle_mode")>
                <RadioCard name="form[throttle_mode]" value="off" title="Off" help="Messages leave at once" chosen=state.throttle_mode/>
                <RadioCard
                    name="form[throttle_mode]"
                    value="fixed"
                    title="Fixed Delay"
                    help="The same pause between all messages"
                    chosen=state.throttle_mode
                />
                <RadioCard
                    name="form[throttle_mode]"
                    value="random"
                    title="Random Delay"
                    mark="Recommended"
                    help="Each pause a little different, as people type"
                    chosen=state.throttle_mode
                />
                <RadioCard
                    name="form[throttle_mode]"
                    value="smart"
                    title="Smart"
                    help="Random pauses, and a longer rest after each batch"
                    chosen=state.throttle_mode
                />
            </RadioCards>
            <div class="throttle-fields">
                <div class="for-fixed">
                    <Seconds state id="key-delay" field="delay" label="Delay" signal=state.delay/>
                </div>
                <div class="for-range">
                    <Seconds state id="key-min-delay" field="min_delay" label="Min Delay" signal=state.min_delay/>
                    <Seconds state id="key-max-delay" field="max_delay" label="Max Delay" signal=state.max_delay/>
                </div>
                <div class="for-smart">
                    <Field id="key-batch-size" label="Batch Size" help="Messages" error=state.error("batch_size")>
                        <TextInput name="form[batch_size]" bind=state.batch_size width=Width::Short attr:inputmode="numeric"/>
                    </Field>
                    <Seconds state id="key-batch-cooldown" field="batch_cooldown" label="Batch Cooldown" signal=state.batch_cooldown/>
                </div>
            </div>
            <ThrottlePreview state/>
        </div>
        <Field
            id="key-max-queue"
            label="Max Queue Size"
            help="Messages of this key that may wait on one instance; further ones are refused until a place frees."
            error=state.error("max_queue")
        >
            <TextInput name="form[max_queue]" bind=state.max_queue width=Width::Short attr:inputmode="numeric"/>
        </Field>
    }
}

#[component]
fn Seconds(
    state: FormState,
    id: &'static str,
    field: &'static str,
    label: &'static str,
    signal: RwSignal<String>,
) -> impl IntoView {
    view! {
        <Field id=id label=label help="Seconds" error=state.error(field)>
            <TextInput name=format!("form[{field}]") bind=signal width=Width::Short attr:inputmode="decimal"/>
        </Field>
    }
}

/// Step 3.
#[component]
pub fn Permissions(
    state: FormState,
    own_ip: Option<IpAddr>,
    instances: Vec<(InstanceId, String)>,
    /// A new key: an API secret can be issued with it.
    new: bool,
) -> impl IntoView {
    view! {
        <PermissionFields state/>
        <Advanced state own_ip instances new/>
    }
}

/// Folded until it is wanted, or until something in it is wrong.
#[component]
fn Advanced(
    state: FormState,
    own_ip: Option<IpAddr>,
    instances: Vec<(InstanceId, String)>,
    new: bool,
) -> impl IntoView {
    let errors = ["allowed_ips", "instances", "rate_limit", "expires", "expires_on"].map(|field| state.error(field));
    let wrong = move || errors.iter().any(|error| error.with(Option::is_some));
    let open = RwSignal::new(untrack(wrong));
    Effect::new(move |_| {
        if wrong() {
            open.set(true);
        }
    });
    let left_out = Memo::new(move |_| {
        let own = own_ip?;
        let nets = state.allowed_ips.with(|text| form::parse_ips(text)).ok()?;
        (!nets.is_empty() && !nets.iter().any(|net| net.contains(&own))).then_some(own)
    });
    let add_own = own_ip.map(|own| {
        view! {
            <button
                type="button"
                class="text-link js-only"
                on:click=move |_| {
                    state.allowed_ips.update(|text| {
                        let already = form::parse_ips(text).is_ok_and(|nets| nets.contains(&own.into()));
                        if !already {
                            if !text.is_empty() && !text.ends_with('\n') {
                                text.push('\n');
                            }
                            text.push_str(&own.to_string());
                        }
                    });
                }
            >
                {format!("Add my address ({own})")}
            </button>
        }
    });
    let expiries = [
        ("never", "Never"),
        ("7", "In 7 days"),
        ("30", "In 30 days"),
        ("90", "In 90 days"),
        ("365", "In 365 days"),
        ("date", "On a date…"),
    ]
    .map(|(value, words)| (value.to_owned(), words.to_owned()))
    .to_vec();
    let today = state.now.format("%Y-%m-%d").to_string();
    view! {
        <details
            class="fold"
            open=move || open.get()
            on:toggle=move |event| open.set(event_target::<web_sys::Element>(&event).has_attribute("open"))
        >
            <summary><Glyph icon=Icon::ChevronRight/>"Advanced settings"</summary>
            <Field
                id="key-allowed-ips"
                label="Allowed IP Addresses"
                optional=true
                help="One a line: IPv4, IPv6 or a network such as 203.0.113.0/24. Empty: any address."
                error=state.error("allowed_ips")
            >
                <TextArea name="form[allowed_ips]" bind=state.allowed_ips rows=3 mono=true attr:spellcheck="false"/>
            </Field>
            {add_own}
            {move || left_out.get().map(|own| view! {
                <Notice tone=Tone::Warn>
                    <p>{format!("Your own address {own} is not on this list. Calls from where you are now will be refused.")}</p>
                </Notice>
            })}
            <AllowedInstances state instances/>
            <Field
                id="key-rate-limit"
                label="Rate Limit per hour"
                help="Calls in any sliding hour. Empty: no limit."
                error=state.error("rate_limit")
            >
                <TextInput name="form[rate_limit]" bind=state.rate_limit width=Width::Short attr:inputmode="numeric"/>
            </Field>
            <div class="expiry">
                <Field id="key-expires" label="Expiration" error=state.error("expires")>
                    <Select name="form[expires]" options=expiries bind=state.expires width=Width::Medium/>
                </Field>
                <div class="for-date">
                    <Field id="key-expires-on" label="Last day" help="The key works until the end of this day, UTC." error=state.error("expires_on")>
                        <TextInput name="form[expires_on]" kind="date" bind=state.expires_on width=Width::Medium attr:min=today/>
                    </Field>
                </div>
            </div>
            {new.then(|| view! {
                <label class="checkbox">
                    <input
                        type="checkbox"
                        name="form[issue_secret]"
                        id="key-issue-secret"
                        prop:checked=move || state.issue_secret.with(|ticked| !ticked.is_empty())
                        checked=state.issue_secret.with_untracked(|ticked| !ticked.is_empty())
                        on:change=move |event| {
                            state.issue_secret.set(if event_target_checked(&event) { "on" } else { "" }.to_owned());
                        }
                    />
                    <span class="words">
                        <span>"Issue an API secret"</span>
                        <span class="help">
                            "Calls must then carry it in X-API-Secret, or sign with it in X-Signature. For programs that can keep two secrets apart."
                        </span>
                    </span>
                </label>
            })}
        </details>
    }
}

/// All instances, or those that are ticked.
#[component]
fn AllowedInstances(state: FormState, instances: Vec<(InstanceId, String)>) -> impl IntoView {
    let none = instances.is_empty();
    let error = state.error("instances");
    let boxes = instances
        .into_iter()
        .map(|(id, name)| {
            let id = id.to_string();
            let (value, own) = (id.clone(), id.clone());
            let start = state.instances.with_untracked(|chosen| chosen.contains(&id));
            view! {
                <label class="checkbox">
                    <input
                        type="checkbox"
                        name="form[instances][]"
                        value=value
                        checked=start
                        prop:checked=move || state.instances.with(|chosen| chosen.contains(&id))
                        on:change=move |event| {
                            let on = event_target_checked(&event);
                            state.instances.update(|chosen| {
                                chosen.retain(|other| *other != own);
                                if on {
                                    chosen.push(own.clone());
                                }
                            });
                        }
                    />
                    <span class="words"><bdi>{name}</bdi></span>
                </label>
            }
        })
        .collect_view();
    view! {
        <RadioCards legend="Allowed instances" error=error>
            <RadioCard name="form[instances_mode]" value="all" title="All" help="Also those that are added later" chosen=state.instances_mode/>
            <RadioCard name="form[instances_mode]" value="some" title="Some" help="Any other is, for this key, not there" chosen=state.instances_mode>
                <div class="instance-boxes" aria-invalid=move || error.with(Option::is_some).then_some("true") tabindex="-1">
                    {if none { view! { <p class="note">"There are no instances yet."</p> }.into_any() } else { boxes.into_any() }}
                </div>
            </RadioCard>
        </RadioCards>
    }
}

/// Back, Continue and the button of the last step; `submit` is its words. Cancel is a link that works without script.
#[component]
pub fn Foot(
    state: FormState,
    form: &'static str,
    #[prop(into)] submit: String,
    pending: Signal<bool>,
    close_href: Signal<String>,
) -> impl IntoView {
    view! {
        <a class="button quiet foot-start" href=move || close_href.get() data-noscroll="true" data-close="true">"Cancel"</a>
        <button
            type="button"
            class="button js-only not-step-1"
            on:click=move |_| state.back()
        >
            <Glyph icon=Icon::ArrowLeft/>
            <span>"Back"</span>
        </button>
        <button
            type="button"
            class="button primary js-only not-step-3"
            on:click=move |_| state.forward()
        >
            <span>"Continue"</span>
            <Glyph icon=Icon::ArrowRight/>
        </button>
        // Without script the buttons are labels of the step tabs.
        <label class="button primary no-js-only only-step-1" for="key-form-step-2">"Continue"</label>
        <label class="button primary no-js-only only-step-2" for="key-form-step-3">"Continue"</label>
        <div class="only-step-3">
            <Button kind=ButtonKind::Primary submit=true pending=pending attr:form=form>{submit}</Button>
        </div>
    }
}
