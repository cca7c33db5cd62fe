//! What can go wrong on a page, in words that are safe to show. The true cause stays in the server's log, with the
//! same request id.

use domain::error::FieldError;
use leptos::server_fn::{
    codec::JsonEncoding,
    error::{FromServerFnError, ServerFnErrorErr},
};
use serde::{Deserialize, Serialize};

/// An error as the browser gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AppError {
    #[error("There is nothing at this address, or it belongs to another organization.")]
    NotFound,
    /// The text says which role would be needed.
    #[error("{message}")]
    Forbidden { message: String },
    #[error("You are signed out. Sign in to go on; what you typed stays on this page.")]
    SignedOut,
    /// Beside the fields stands what is wrong with each.
    #[error("{}", summary(fields))]
    Invalid { fields: Vec<FieldError> },
    /// The thing changed meanwhile. The text says what happened and what to do.
    #[error("{message}")]
    Conflict { message: String },
    #[error("Too many attempts. Try again in {}.", wait(*retry_after_s))]
    Limited { retry_after_s: u64 },
    #[error(
        "The database cannot be reached right now. API calls with known keys go on; this page works again as soon as the database does."
    )]
    Unavailable { request_id: String },
    #[error(
        "Something failed on our side and was written to the log. Try again; if it stays, tell your operator the request id."
    )]
    Internal { request_id: String },
    /// The browser got no answer.
    #[error("The server did not answer. Check the connection and try again.")]
    Offline,
}

fn summary(fields: &[FieldError]) -> String {
    match fields {
        [] => "Something in the form is not right.".into(),
        [one] => one.message.clone(),
        many => format!("{} fields need another look.", many.len()),
    }
}

fn wait(seconds: u64) -> String {
    match seconds {
        0..=1 => "a second".into(),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

impl AppError {
    /// A headline of a few words.
    pub fn title(&self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Forbidden { .. } => "Not allowed",
            Self::SignedOut => "Signed out",
            Self::Invalid { .. } => "Not quite right",
            Self::Conflict { .. } => "Changed meanwhile",
            Self::Limited { .. } => "Too many attempts",
            Self::Unavailable { .. } => "Database not reachable",
            Self::Internal { .. } => "This page could not be made",
            Self::Offline => "No answer",
        }
    }

    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Unavailable { request_id } | Self::Internal { request_id } if !request_id.is_empty() => {
                Some(request_id)
            }
            _ => None,
        }
    }

    /// What is wrong with one field.
    pub fn of_field(&self, name: &str) -> Option<String> {
        match self {
            Self::Invalid { fields } => fields.iter().find(|f| f.field == name).map(|f| f.message.clone()),
            _ => None,
        }
    }

    /// All field errors; empty for any other error.
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Invalid { fields } => fields,
            _ => &[],
        }
    }

    /// The sentence above a form: `None` when everything is said beside the fields.
    pub fn above_form(&self) -> Option<String> {
        (!matches!(self, Self::Invalid { .. })).then(|| self.to_string())
    }
}

impl FromServerFnError for AppError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        use ServerFnErrorErr as E;
        match error {
            E::Request(_) => Self::Offline,
            // Arguments that no form of ours sends.
            E::Args(_) | E::MissingArg(_) => {
                #[cfg(feature = "ssr")]
                tracing::warn!(%error, "unreadable arguments of a server function");
                Self::Invalid { fields: Vec::new() }.answered()
            }
            // On the server: a body that is too long, or cut off.
            #[cfg(feature = "ssr")]
            E::Deserialization(_) => {
                tracing::warn!(%error, "unreadable body of a server function");
                Self::Invalid { fields: Vec::new() }.answered()
            }
            _ => {
                #[cfg(feature = "ssr")]
                tracing::error!(%error, "server function failed");
                Self::Internal { request_id: request_id() }.answered()
            }
        }
    }
}

#[cfg(not(feature = "ssr"))]
fn request_id() -> String {
    String::new()
}

#[cfg(not(feature = "ssr"))]
impl AppError {
    fn answered(self) -> Self {
        self
    }
}

#[cfg(feature = "ssr")]
use crate::session::request_id;

#[cfg(feature = "ssr")]
impl AppError {
    pub fn status(&self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::NotFound => S::NOT_FOUND,
            Self::Forbidden { .. } => S::FORBIDDEN,
            Self::SignedOut => S::UNAUTHORIZED,
            Self::Invalid { .. } => S::UNPROCESSABLE_ENTITY,
            Self::Conflict { .. } => S::CONFLICT,
            Self::Limited { .. } => S::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } | Self::Offline => S::SERVICE_UNAVAILABLE,
            Self::Internal { .. } => S::INTERNAL_SERVER_ERROR,
        }
    }

    /// Sets the status of the answer being made. A form sent without script is answered by a redirect, which a status
    /// would break.
    pub fn answered(self) -> Self {
        use leptos::prelude::use_context;
        if let Some(response) = use_context::<leptos_axum::ResponseOptions>()
            && !crate::session::is_plain_form()
            && !crate::session::is_redirected(&response)
        {
            response.set_status(self.status());
            if let Self::Limited { retry_after_s } = &self {
                response.insert_header(http::header::RETRY_AFTER, http::HeaderValue::from(*retry_after_s));
            }
        }
        self
    }
}

#[cfg(feature = "ssr")]
impl From<domain::Error> for AppError {
    fn from(error: domain::Error) -> Self {
        use domain::Error as E;
        match error {
            E::NotFound => Self::NotFound,
            E::Forbidden(message) => Self::Forbidden { message },
            E::Conflict(message) => Self::Conflict { message },
            E::Invalid(fields) => Self::Invalid { fields },
            E::Limited { retry_after_s } => Self::Limited { retry_after_s },
            E::Unavailable => {
                let request_id = request_id();
                tracing::warn!(request_id, "the database cannot be reached");
                Self::Unavailable { request_id }
            }
            E::Internal(cause) => {
                let request_id = request_id();
                tracing::error!(request_id, cause, "a page failed");
                Self::Internal { request_id }
            }
        }
        .answered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_in_sentences() {
        assert_eq!(AppError::Limited { retry_after_s: 61 }.to_string(), "Too many attempts. Try again in 61 seconds.");
        assert_eq!(AppError::Limited { retry_after_s: 600 }.to_string(), "Too many attempts. Try again in 10 minutes.");
        let one = AppError::Invalid { fields: vec![FieldError::new("name", "Give a name.")] };
        assert_eq!(one.to_string(), "Give a name.");
        assert_eq!(one.of_field("name").as_deref(), Some("Give a name."));
        assert_eq!(one.above_form(), None);
    }
}
