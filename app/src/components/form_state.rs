//! What a form knows of its last attempt, wherever that was answered: by the action (with script) or in the session
//! (without).

use leptos::prelude::*;

use crate::{error::AppError, flash::FormFlash};

/// Errors and former values of a form.
#[derive(Clone, Copy)]
pub struct FormState {
    error: Signal<Option<AppError>>,
    flash: StoredValue<Option<FormFlash>>,
}

impl FormState {
    /// `value` is the action's `value()`; `flash` what came back through the session.
    pub fn new<T>(value: impl Into<Signal<Option<Result<T, AppError>>>>, flash: Option<FormFlash>) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        let value = value.into();
        Self {
            error: Signal::derive(move || {
                value.with(|value| value.as_ref().and_then(|value| value.as_ref().err().cloned()))
            }),
            flash: StoredValue::new(flash),
        }
    }

    /// What was typed before, or nothing.
    pub fn value(self, name: &str) -> String {
        self.value_or(name, "")
    }

    /// What was typed before, or else `start`.
    pub fn value_or(self, name: &str, start: &str) -> String {
        self.flash.with_value(|flash| flash.as_ref().and_then(|flash| flash.value(name)).unwrap_or(start).to_owned())
    }

    /// What is wrong with a field.
    pub fn error(self, name: &'static str) -> Signal<Option<String>> {
        Signal::derive(move || match self.error.get() {
            Some(error) => error.of_field(name),
            None => self.flash.with_value(|flash| flash.as_ref().and_then(|flash| flash.error(name)).map(Into::into)),
        })
    }

    /// What is wrong with the whole.
    pub fn above(self) -> Signal<Option<String>> {
        Signal::derive(move || match self.error.get() {
            Some(error) => error.above_form(),
            None => self.flash.with_value(|flash| flash.as_ref().and_then(|flash| flash.message.clone())),
        })
    }
}
