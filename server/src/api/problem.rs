//! Errors as the API's callers see them: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! To add one: give it a line in [`problems!`]. Everything else, the page that explains it and the document included,
//! follows from that line.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use domain::{error::FieldError, gate::Denial, ids::RequestId, keys::Scope};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

const REQUIRED_SCOPES: HeaderName = HeaderName::from_static("x-required-scopes");

/// What is known of one code.
pub struct About {
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// The `message`, unless the case has a better one.
    pub message: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

macro_rules! problems {
    ($($variant:ident $status:literal $code:literal $title:literal $message:literal $fix:literal;)*) => {
        /// Every error that the API answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($variant,)* }

        /// All codes, in the order of their status.
        pub const CODES: &[(Code, About)] = &[$((Code::$variant, About {
            code: $code, status: $status, title: $title, message: $message, fix: $fix,
        }),)*];
    };
}

problems! {
    KeyInQuery 400 "key_in_query" "Key in the query string"
        "Send the key in a header. A key in an address ends up in logs and histories: treat it as leaked and regenerate it."
        "Move the key to the header Authorization or X-API-Key, then regenerate it in the console.";
    ConflictingCredentials 400 "conflicting_credentials" "Two different keys"
        "Authorization and X-API-Key hold different keys. Send one of them."
        "Send the key in one header only.";
    UnreadableBody 400 "unreadable_body" "Unreadable body"
        "The body is not JSON."
        "Send a JSON object; the message says where reading stopped.";
    Unauthenticated 401 "unauthenticated" "Unauthenticated"
        "Unauthenticated."
        "The answer is the same for a missing, mistyped, unknown, revoked, disabled or expired key. The organization that owns the key sees the true reason in the console.";
    IpNotAllowed 403 "ip_not_allowed" "Address not allowed"
        "This key does not work from your address."
        "Add the address to the key's list in the console, or call from one that is on it.";
    InsufficientScope 403 "insufficient_scope" "Scope missing"
        "This key lacks a scope that the call needs."
        "Give the key one of requiredScopes in the console, or use another key.";
    LiveKeyRequired 403 "live_key_required" "Test key"
        "A test key never reaches WhatsApp: it changes sandbox instances only, and conversations on them."
        "Make the call with a live key, or try it on a sandbox instance.";
    NotFound 404 "not_found" "Not found"
        "There is nothing here, or the key may not see it."
        "Check the path, the method and the id.";
    MethodNotAllowed 405 "method_not_allowed" "Method not allowed"
        "This path does not answer to this method."
        "The header Allow names the methods that work.";
    RequestTimeout 408 "request_timeout" "Body came too slowly"
        "The body did not arrive in time."
        "Send it again.";
    IdempotencyInFlight 409 "idempotency_in_flight" "Still running"
        "The first call with this Idempotency-Key is still running."
        "Wait for the number of seconds in Retry-After, then send the same call again: it gets the first one's answer.";
    ConversationWithHuman 409 "conversation_with_human" "A person answers"
        "A person has taken this conversation over."
        "Wait until the conversation is given back, or give it back with PUT /conversations/{id}.";
    Conflict 409 "conflict" "Not possible now"
        "What the call is about is in a state that does not allow this."
        "The message says what happened.";
    PayloadTooLarge 413 "payload_too_large" "Body too large"
        "The body is larger than 1 MiB."
        "Send less in one call.";
    UnsupportedMediaType 415 "unsupported_media_type" "Not JSON"
        "The body must be sent as application/json."
        "Set the header Content-Type to application/json.";
    ValidationFailed 422 "validation_failed" "Not valid"
        "The call has errors; each is named in errors."
        "Correct the fields named in errors. Unknown fields are refused too, so that a typing mistake is noticed.";
    IdempotencyMismatch 422 "idempotency_mismatch" "Idempotency-Key used twice"
        "This Idempotency-Key was used for another call in the last 24 hours."
        "Use a new key for each call that is not a repetition. A repetition must have the same method, path, API key and body.";
    ProviderUnreachable 424 "provider_unreachable" "Provider not reached"
        "The instance's provider cannot be reached, or its answer makes no sense."
        "Check the instance's address and that its server runs, then try again.";
    RateLimited 429 "rate_limited" "Too many requests"
        "The key used up its calls of this hour."
        "Wait for the number of seconds in Retry-After, or raise the key's limit in the console.";
    QueueFull 429 "queue_full" "Queue full"
        "Too many of the key's messages are waiting on this instance."
        "Wait for the number of seconds in Retry-After.";
    Internal 500 "internal" "Our error"
        "Something failed on our side. It was logged under the request id."
        "Try again; if it stays, tell the operator the request id.";
    Unavailable 503 "unavailable" "Temporarily unavailable"
        "The call cannot be decided right now. Try again shortly."
        "Wait for the number of seconds in Retry-After.";
}

impl Code {
    pub fn about(self) -> &'static About {
        &CODES[self as usize].1
    }

    pub fn find(code: &str) -> Option<&'static About> {
        CODES.iter().map(|(_, about)| about).find(|about| about.code == code)
    }

    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::ValidationFailed,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::UnreadableBody,
            _ => Self::Internal,
        }
    }
}

/// An error on its way out. The pipeline adds the request id and writes the document.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    message: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    required_scope: Option<Scope>,
    retry_after_s: Option<u64>,
}

pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub fn new(code: Code) -> Self {
        Self { code, message: None, errors: Vec::new(), required_scope: None, retry_after_s: None }
    }

    /// A better sentence than the usual one.
    pub fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Code::ValidationFailed) }
    }

    /// With `Retry-After`.
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn unavailable() -> Self {
        Self { retry_after_s: Some(2), ..Self::new(Code::Unavailable) }
    }

    /// For an answer that came from the framework.
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self::new(Code::of_status(status))
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.about().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Writes the document over `response`, keeping its other headers.
    pub(super) fn write(self, response: Response, id: RequestId, public_url: &str) -> Response {
        let about = self.code.about();
        let docs = format!("{public_url}{}/problems/{}", super::BASE, about.code);
        let document = ProblemDocument {
            kind: &docs,
            title: about.title,
            status: about.status,
            code: about.code,
            message: self.message.as_deref().unwrap_or(about.message),
            request_id: id.to_string(),
            docs: &docs,
            errors: &self.errors,
            required_scopes: self.required_scope.as_slice(),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let (mut parts, _) = response.into_parts();
        parts.status = self.status();
        let headers = &mut parts.headers;
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(scope) = self.required_scope {
            headers.insert(REQUIRED_SCOPES, HeaderValue::from_static(scope.as_str()));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Response::from_parts(parts, body.into())
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        match denial {
            // One answer for all of them: nobody learns from it whether a key exists.
            Denial::NoKey
            | Denial::Malformed
            | Denial::BadChecksum
            | Denial::UnknownKey
            | Denial::Revoked
            | Denial::Disabled
            | Denial::Expired
            | Denial::SecretRetired
            | Denial::WrongSecret => Self::new(Code::Unauthenticated),
            Denial::IpNotAllowed => Self::new(Code::IpNotAllowed),
            Denial::InsufficientScope { scope } => {
                Self { required_scope: Some(scope), ..Self::new(Code::InsufficientScope) }
            }
            Denial::InstanceNotAllowed => Self::new(Code::NotFound),
            Denial::RateLimited { retry_after_s } => {
                Self { retry_after_s: Some(retry_after_s), ..Self::new(Code::RateLimited) }
            }
            Denial::QueueFull { retry_after_s } => {
                Self { retry_after_s: Some(retry_after_s), ..Self::new(Code::QueueFull) }
            }
        }
    }
}

impl From<domain::Error> for Problem {
    fn from(error: domain::Error) -> Self {
        use domain::Error as E;
        match error {
            E::NotFound => Self::new(Code::NotFound),
            E::Invalid(errors) => Self::invalid(errors),
            E::Unavailable => Self::unavailable(),
            E::Limited { retry_after_s } => Self { retry_after_s: Some(retry_after_s), ..Self::new(Code::RateLimited) },
            E::Conflict(sentence) => Self::new(Code::Conflict).saying(sentence),
            // Roles are people's, not keys': better our error than a wrong one.
            E::Forbidden(cause) | E::Internal(cause) => {
                tracing::error!(cause, "an API call failed");
                Self::new(Code::Internal)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// For paths that are none.
pub(super) async fn not_found() -> Problem {
    Problem::new(Code::NotFound).saying("There is no such path in the API.")
}

/// For paths that answer to other methods.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed)
}

/// An error (RFC 9457). `code` is stable; texts may change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct ProblemDocument<'a> {
    /// Address of the error's explanation; one for each code.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "https://bouncer.example/api/v1/problems/insufficient_scope")]
    kind: &'a str,
    #[schema(example = "Scope missing")]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 403)]
    status: u16,
    #[schema(example = "insufficient_scope")]
    code: &'a str,
    /// What happened, in a sentence.
    #[schema(example = "This key lacks a scope that the call needs.")]
    message: &'a str,
    /// As in the header X-Request-Id: with it the call is found in the console's request log.
    #[schema(pattern = "^req_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "req_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    request_id: String,
    /// The same as `type`.
    #[schema(format = "uri")]
    docs: &'a str,
    /// What is wrong with which field of the body; only with `validation_failed`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Option<Vec<FieldProblem>>, nullable = false)]
    errors: &'a [FieldError],
    /// Scopes of which the key needs one; only with `insufficient_scope`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    required_scopes: &'a [Scope],
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes domain::error::FieldError, which knows nothing of this document")]
pub(super) struct FieldProblem {
    /// The field's name; `scopes[2]` is an element of a list.
    #[schema(example = "ip")]
    field: String,
    #[schema(example = "Write an address, such as 203.0.113.9.")]
    message: String,
}
