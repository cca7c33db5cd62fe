//! The create and edit form while it is being filled in: what stands in each field, and what is wrong with it.
//!
//! The rules are `domain`'s own, run as one types; a field complains once its step was left or the form was sent.

use std::time::Duration;

use domain::{
    error::FieldError,
    keys::{
        ApiKey, KeyForm, Scope, ScopeGroup, ScopeSet,
        form::{STEPS, step_of},
    },
    time::Time,
};
use leptos::prelude::*;

use super::data::FormPage;
use crate::{browser, components::StepState, error::AppError};

/// What the server said about a form that was sent.
#[derive(Clone, PartialEq)]
struct Answer {
    form: KeyForm,
    errors: Vec<FieldError>,
}

#[derive(Clone, Copy)]
pub struct FormState {
    pub name: RwSignal<String>,
    pub description: RwSignal<String>,
    pub environment: RwSignal<String>,
    pub throttle_mode: RwSignal<String>,
    pub delay: RwSignal<String>,
    pub min_delay: RwSignal<String>,
    pub max_delay: RwSignal<String>,
    pub batch_size: RwSignal<String>,
    pub batch_cooldown: RwSignal<String>,
    pub max_queue: RwSignal<String>,
    pub scope_group: RwSignal<String>,
    pub scopes: RwSignal<ScopeSet>,
    pub allowed_ips: RwSignal<String>,
    pub instances_mode: RwSignal<String>,
    /// Ids, in the order of the options.
    pub instances: RwSignal<Vec<String>>,
    pub rate_limit: RwSignal<String>,
    pub expires: RwSignal<String>,
    pub expires_on: RwSignal<String>,
    /// `on`, or empty.
    pub issue_secret: RwSignal<String>,
    /// Counts from 1, as the step tabs do.
    pub step: RwSignal<usize>,
    /// A sentence above the form.
    pub message: RwSignal<Option<String>>,
    pub now: Time,
    /// The form without anything typed.
    pub start: StoredValue<KeyForm>,
    /// The scopes were not the group's when the form opened.
    pub custom_at_start: bool,
    answer: RwSignal<Option<Answer>>,
    /// Steps whose fields may complain.
    checked: RwSignal<[bool; 3]>,
    complaints: Memo<Vec<FieldError>>,
}

impl FormState {
    /// `editing` is the key as it is now.
    pub fn new(page: &FormPage, editing: Option<ApiKey>) -> Self {
        let (start, now) = (page.form.clone(), page.now);
        let group = ScopeGroup::find(&start.scope_group).map(ScopeGroup::scopes);
        let named: ScopeSet = start.scopes.iter().filter_map(|text| Scope::parse(text)).collect();
        // Sent without script, no scope means: the group's.
        let scopes = if named.is_empty() { group.unwrap_or_default() } else { named };
        let signal = |text: &str| RwSignal::new(text.to_owned());
        let first_wrong = page.errors.iter().map(|error| step_of(&error.field)).min();
        let answer = (!page.errors.is_empty()).then(|| Answer { form: start.clone(), errors: page.errors.clone() });
        let mut state = Self {
            name: signal(&start.name),
            description: signal(&start.description),
            environment: signal(&start.environment),
            throttle_mode: signal(&start.throttle_mode),
            delay: signal(&start.delay),
            min_delay: signal(&start.min_delay),
            max_delay: signal(&start.max_delay),
            batch_size: signal(&start.batch_size),
            batch_cooldown: signal(&start.batch_cooldown),
            max_queue: signal(&start.max_queue),
            scope_group: signal(&start.scope_group),
            scopes: RwSignal::new(scopes),
            allowed_ips: signal(&start.allowed_ips),
            instances_mode: signal(&start.instances_mode),
            instances: RwSignal::new(start.instances.clone()),
            rate_limit: signal(&start.rate_limit),
            expires: signal(&start.expires),
            expires_on: signal(&start.expires_on),
            issue_secret: signal(&start.issue_secret),
            step: RwSignal::new(first_wrong.unwrap_or(0) + 1),
            message: RwSignal::new(page.message.clone()),
            now,
            custom_at_start: group != Some(scopes),
            start: StoredValue::new(start),
            answer: RwSignal::new(answer),
            checked: RwSignal::new([first_wrong.is_some(); 3]),
            complaints: Memo::new(|_| vec![]),
        };
        let typed = state;
        let editing = StoredValue::new(editing);
        state.complaints = Memo::new(move |_| {
            let form = typed.read();
            editing.with_value(|key| form.parse(now, key.as_ref()).err().unwrap_or_default())
        });
        state
    }

    /// The form as it stands.
    pub fn read(&self) -> KeyForm {
        let scopes = self.scopes.get();
        let (submission, version) = self.start.with_value(|start| (start.submission.clone(), start.version.clone()));
        KeyForm {
            submission,
            name: self.name.get(),
            description: self.description.get(),
            environment: self.environment.get(),
            throttle_mode: self.throttle_mode.get(),
            delay: self.delay.get(),
            min_delay: self.min_delay.get(),
            max_delay: self.max_delay.get(),
            batch_size: self.batch_size.get(),
            batch_cooldown: self.batch_cooldown.get(),
            max_queue: self.max_queue.get(),
            // With every scope taken away the group must not bring them back.
            scope_group: if scopes.is_empty() { String::new() } else { self.scope_group.get() },
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            allowed_ips: self.allowed_ips.get(),
            instances_mode: self.instances_mode.get(),
            instances: self.instances.get(),
            rate_limit: self.rate_limit.get(),
            expires: self.expires.get(),
            expires_on: self.expires_on.get(),
            issue_secret: self.issue_secret.get(),
            version,
        }
    }

    /// Puts a whole form into the fields.
    pub fn restore(&self, draft: &KeyForm) {
        for (signal, text) in [
            (self.name, &draft.name),
            (self.description, &draft.description),
            (self.environment, &draft.environment),
            (self.throttle_mode, &draft.throttle_mode),
            (self.delay, &draft.delay),
            (self.min_delay, &draft.min_delay),
            (self.max_delay, &draft.max_delay),
            (self.batch_size, &draft.batch_size),
            (self.batch_cooldown, &draft.batch_cooldown),
            (self.max_queue, &draft.max_queue),
            (self.scope_group, &draft.scope_group),
            (self.allowed_ips, &draft.allowed_ips),
            (self.instances_mode, &draft.instances_mode),
            (self.rate_limit, &draft.rate_limit),
            (self.expires, &draft.expires),
            (self.expires_on, &draft.expires_on),
            (self.issue_secret, &draft.issue_secret),
        ] {
            signal.set(text.clone());
        }
        self.instances.set(draft.instances.clone());
        self.scopes.set(draft.scopes.iter().filter_map(|text| Scope::parse(text)).collect());
    }

    /// Something was typed that closing would take away.
    pub fn is_changed(&self) -> bool {
        let form = untrack(|| self.read());
        // Sent without script, a group stands for its scopes: the two forms say the same.
        let same = |start: &KeyForm| {
            let scopes = if start.scopes.is_empty() { &form.scopes } else { &start.scopes };
            KeyForm { scopes: scopes.clone(), ..start.clone() } == form
        };
        !self.start.with_value(same)
    }

    /// What is wrong with a field, once it may complain.
    pub fn error(self, field: &'static str) -> Signal<Option<String>> {
        Signal::derive(move || self.complaint(field))
    }

    fn complaint(&self, field: &str) -> Option<String> {
        let said = self.answer.with(|answer| {
            let answer = answer.as_ref()?;
            let error = answer.errors.iter().find(|error| error.field == field)?;
            // The server's word holds until the field is changed.
            (value(&answer.form, field) == value(&self.read(), field)).then(|| error.message.clone())
        });
        let own = || {
            let may = self.checked.with(|checked| checked[step_of(field).min(2)]);
            let find = |errors: &Vec<FieldError>| errors.iter().find(|e| e.field == field).map(|e| e.message.clone());
            may.then(|| self.complaints.with(find)).flatten()
        };
        said.or_else(own)
    }

    /// What the step's tab shows.
    pub fn step_state(self, step: usize) -> Signal<StepState> {
        Signal::derive(move || {
            let clean = self.complaints.with(|errors| errors.iter().all(|error| step_of(&error.field) != step));
            let wrong = FIELDS.iter().any(|field| step_of(field) == step && self.complaint(field).is_some());
            if wrong {
                StepState::Wrong
            } else if clean && self.checked.with(|checked| checked[step]) {
                StepState::Done
            } else {
                StepState::Open
            }
        })
    }

    /// On to the next step, unless something is wrong on this one. (The tabs lead everywhere at any time.)
    pub fn forward(&self) {
        let step = self.step.get_untracked();
        self.checked.update(|checked| checked[(step - 1).min(2)] = true);
        if self.complaints.with_untracked(|errors| errors.iter().any(|error| step_of(&error.field) == step - 1)) {
            self.focus_wrong();
        } else if step < STEPS.len() {
            self.step.set(step + 1);
        }
    }

    pub fn back(&self) {
        self.step.update(|step| *step = step.saturating_sub(1).max(1));
    }

    /// Whether the form may be sent. If not, the step of the first error opens, with the focus in its field.
    pub fn ready(&self) -> bool {
        self.checked.set([true; 3]);
        let first = self.complaints.with_untracked(|errors| errors.iter().map(|error| step_of(&error.field)).min());
        if let Some(step) = first {
            self.step.set(step + 1);
            self.focus_wrong();
        }
        first.is_none()
    }

    /// The server refused the form.
    pub fn refused(&self, error: &AppError) {
        self.message.set(error.above_form());
        let errors = error.fields().to_vec();
        if let Some(step) = errors.iter().map(|error| step_of(&error.field)).min() {
            self.step.set(step + 1);
            self.answer.set(Some(Answer { form: untrack(|| self.read()), errors }));
            self.focus_wrong();
        }
    }

    fn focus_wrong(&self) {
        // The step has to be visible, and the field marked, before it can take the focus.
        set_timeout(|| _ = browser::focus(".key-form [aria-invalid=true]"), Duration::from_millis(30));
    }
}

/// Every field that can complain.
const FIELDS: &[&str] = &[
    "name",
    "description",
    "environment",
    "throttle_mode",
    "delay",
    "min_delay",
    "max_delay",
    "batch_size",
    "batch_cooldown",
    "max_queue",
    "scope_group",
    "scopes",
    "allowed_ips",
    "instances",
    "rate_limit",
    "expires",
    "expires_on",
];

/// A field's text, to see whether it was changed.
fn value(form: &KeyForm, field: &str) -> String {
    match field {
        "name" => form.name.clone(),
        "description" => form.description.clone(),
        "environment" => form.environment.clone(),
        "throttle_mode" => form.throttle_mode.clone(),
        "delay" => form.delay.clone(),
        "min_delay" => form.min_delay.clone(),
        "max_delay" => format!("{} {}", form.min_delay, form.max_delay),
        "batch_size" => form.batch_size.clone(),
        "batch_cooldown" => form.batch_cooldown.clone(),
        "max_queue" => form.max_queue.clone(),
        "scope_group" => form.scope_group.clone(),
        "scopes" => form.scopes.join(" "),
        "allowed_ips" => form.allowed_ips.clone(),
        "instances" => format!("{} {}", form.instances_mode, form.instances.join(" ")),
        "rate_limit" => form.rate_limit.clone(),
        "expires" => form.expires.clone(),
        "expires_on" => format!("{} {}", form.expires, form.expires_on),
        _ => String::new(),
    }
}
