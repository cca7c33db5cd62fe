//! `/instances`: connected WhatsApp numbers.
//!
//! Credentials go in and never come out: an answer says which are set. A key that is restricted to certain instances
//! sees only those; all others are not there. A test key changes sandbox instances only.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use domain::{
    error::FieldError,
    gate::{GateKey, Instance as Asked},
    ids::InstanceId,
    instances::{
        Credential, InstanceForm, InstanceRow, NewInstance, PausedBy, Provider, Settings, Status, form::api_field,
        store,
    },
    keys::Environment,
    people::Actor,
    time::Time,
};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body::NoFields,
    conversations::{admit, readable},
    extract::{Authorized, Fields, Json, ManageInstances, Object, ReadInstances, Requirement, Screened},
    idempotency::Once,
    list::{List, Page, Paging, Query},
    problem::{Code, Problem, Result},
};
use crate::{
    providers::{
        ProviderError,
        connecting::{self, Failed},
    },
    state::AppState,
};

/// A connected WhatsApp number.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Instance)]
pub(super) struct InstanceInfo {
    #[schema(value_type = String, pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: InstanceId,
    #[schema(example = "Support number")]
    name: String,
    #[schema(value_type = ProviderName)]
    provider: Provider,
    settings: SettingsInfo,
    /// Which credentials are stored. Their values are never shown.
    #[schema(value_type = Vec<CredentialName>)]
    credentials: Vec<Credential>,
    #[schema(value_type = StatusName)]
    status: Status,
    /// What the provider said, in its own words; may be empty.
    #[schema(example = "WORKING")]
    status_detail: String,
    /// Since when it has this status.
    #[schema(value_type = String, format = DateTime)]
    status_at: Time,
    /// The number, once the provider has told it.
    #[schema(required, example = "+60123456789")]
    phone: Option<String>,
    /// Where the provider sends what happens; null for the sandbox.
    #[schema(required, format = "uri", example = "https://bouncer.example/hooks/waha/ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    hook_url: Option<String>,
    queue: QueueInfo,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
}

/// How the provider is reached. Which fields are there depends on the provider; the sandbox has none.
#[derive(Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstanceSettings)]
pub(super) struct SettingsInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "https://waha.acme.example")]
    base_url: Option<String>,
    /// WAHA: the name of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "default")]
    session: Option<String>,
    /// Cloud API: the Graph API's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "v24.0")]
    version: Option<String>,
    /// Cloud API: Meta's id of the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "106540352242922")]
    phone_number_id: Option<String>,
    /// Cloud API: Meta's id of the WhatsApp Business account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "102290129340398")]
    business_account_id: Option<String>,
}

/// What waits to be sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstanceQueue)]
pub(super) struct QueueInfo {
    /// Messages that are still to leave, those on their way included.
    #[schema(minimum = 0, example = 3)]
    waiting: u64,
    /// When the next one may leave; null while nothing waits or nothing may.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    next_at: Option<Time>,
    /// Why nothing leaves; null while the queue runs.
    #[schema(required)]
    paused: Option<PausedInfo>,
    /// Failures of the provider in a row; at three the queue pauses.
    #[schema(minimum = 0, example = 0)]
    failures_in_a_row: u32,
}

/// A queue that stands still.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QueuePause)]
pub(super) struct PausedInfo {
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// `person`: until somebody resumes it. `failures`, `session`: until the number is connected (again).
    #[schema(value_type = PausedByName)]
    by: PausedBy,
    #[schema(example = "The number is not connected.")]
    reason: String,
}

#[derive(ToSchema)]
#[schema(as = InstanceProvider, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::instances::Provider, which knows nothing of this document")]
pub(super) enum ProviderName {
    Sandbox,
    Waha,
    CloudApi,
}

#[derive(ToSchema)]
#[schema(as = InstanceStatus, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::instances::Status, which knows nothing of this document")]
pub(super) enum StatusName {
    Disconnected,
    Connecting,
    ScanQr,
    Connected,
    Failed,
}

#[derive(ToSchema)]
#[schema(as = InstanceCredential, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes domain::instances::Credential, which knows nothing of this document")]
pub(super) enum CredentialName {
    ApiKey,
    HookSecret,
    AccessToken,
    AppSecret,
    VerifyToken,
}

#[derive(ToSchema)]
#[schema(as = QueuePausedBy, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes domain::instances::PausedBy, which knows nothing of this document")]
pub(super) enum PausedByName {
    Person,
    Failures,
    Session,
}

impl InstanceInfo {
    fn new(row: InstanceRow, public_url: &str) -> Self {
        let InstanceRow { instance, queue } = row;
        Self {
            id: instance.id,
            provider: instance.provider(),
            hook_url: connecting::hook_url(public_url, instance.provider(), instance.id),
            name: instance.name,
            settings: match instance.settings {
                Settings::Sandbox => SettingsInfo::default(),
                Settings::Waha(waha) => SettingsInfo {
                    base_url: Some(waha.base_url),
                    session: Some(waha.session),
                    ..SettingsInfo::default()
                },
                Settings::CloudApi(cloud) => SettingsInfo {
                    base_url: Some(cloud.base_url),
                    version: Some(cloud.version),
                    phone_number_id: Some(cloud.phone_number_id),
                    business_account_id: Some(cloud.business_account_id),
                    ..SettingsInfo::default()
                },
            },
            credentials: instance.credentials,
            status: instance.status,
            status_detail: instance.status_detail,
            status_at: instance.status_at,
            phone: instance.phone.map(|digits| format!("+{digits}")),
            queue: QueueInfo {
                waiting: queue.waiting,
                next_at: queue.next_due.filter(|_| queue.paused.is_none()),
                paused: queue.paused.map(|paused| PausedInfo { at: paused.at, by: paused.by, reason: paused.reason }),
                failures_in_a_row: queue.failures_in_a_row,
            },
            created_at: instance.created_at,
        }
    }
}

/// The instance in the path, past the second half of the gate.
async fn instance<R: Requirement>(
    state: &AppState,
    caller: Screened<R>,
    path: &str,
) -> Result<(Authorized<R>, InstanceId)> {
    match path.parse() {
        Ok(id) => Ok((admit(state, caller, Some(id)).await?, id)),
        // What is no id is nobody's instance.
        Err(_) => caller.admit(Asked::Unknown).and(Err(Problem::new(Code::NotFound))),
    }
}

/// As [`instance`], for what changes it or leads to its connection.
async fn changeable<R: Requirement>(
    state: &AppState,
    caller: Screened<R>,
    path: &str,
) -> Result<(Authorized<R>, InstanceId)> {
    let (caller, id) = instance(state, caller, path).await?;
    may_change(state, caller.key(), id).await?;
    Ok((caller, id))
}

/// Whether a key may change what belongs to an instance: test keys never reach WhatsApp (PRODUCT, section 1).
pub(super) async fn may_change(state: &AppState, key: &GateKey, id: InstanceId) -> Result<()> {
    if key.environment == Environment::Live {
        return Ok(());
    }
    match state.instances.get(key.organization_id, id).await? {
        Some(instance) => may_make(key, instance.provider()),
        None => Err(Problem::new(Code::NotFound)),
    }
}

fn may_make(key: &GateKey, provider: Provider) -> Result<()> {
    match (key.environment, provider) {
        (Environment::Live, _) | (_, Provider::Sandbox) => Ok(()),
        (Environment::Test, _) => Err(Problem::new(Code::LiveKeyRequired)),
    }
}

/// As it is now, with its queue.
async fn shown(state: &AppState, actor: &Actor, id: InstanceId) -> Result<InstanceInfo> {
    let row = store::get(&state.db, actor.organization_id, id).await?;
    Ok(InstanceInfo::new(row, &state.public_url))
}

/// Why something could not be done at a provider, in the words of this API.
pub(super) fn problem(failed: Failed) -> Problem {
    match failed {
        Failed::Ours(error) => error.into(),
        Failed::Theirs(error) => refused(error),
    }
}

fn refused(error: ProviderError) -> Problem {
    match error {
        ProviderError::Refused(sentence) | ProviderError::NotOffered(sentence) => {
            Problem::new(Code::Conflict).saying(sentence)
        }
        ProviderError::Unreachable(sentence) => Problem::new(Code::ProviderUnreachable).saying(sentence),
    }
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    Problem::invalid(errors.into_iter().map(|error| FieldError::new(api_field(&error.field), error.message)).collect())
}

/// Whether the provider's server may be called from here at all.
fn may_be_reached(state: &AppState, new: &NewInstance) -> Result<()> {
    let Some(url) = new.settings.base_url() else { return Ok(()) };
    state.net.providers.check(url).map(drop).map_err(|why| invalid(vec![FieldError::new("base_url", why)]))
}

/// List instances
///
/// Those that the key may use, newest first.
#[utoipa::path(
    get,
    path = "/instances",
    tag = "Instances",
    operation_id = "listInstances",
    security(("bearerAuth" = ["instance:read"]), ("apiKeyAuth" = ["instance:read"])),
    params(Paging),
    responses((status = 200, description = "A page of instances", body = List<InstanceInfo>)),
)]
pub(super) async fn list(
    caller: Authorized<ReadInstances>,
    State(state): State<AppState>,
    mut query: Query,
) -> Result<axum::Json<List<InstanceInfo>>> {
    let Page { limit, after } = query.page::<InstanceId>();
    query.finish()?;
    let key = caller.key();
    let allowed = key.allowed_instances.as_deref();
    // One more than asked for tells whether there is another page.
    let mut rows = store::list(&state.db, key.organization_id, after, allowed, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.instance.id.to_string());
    let data = rows.into_iter().map(|row| InstanceInfo::new(row, &state.public_url)).collect();
    Ok(axum::Json(List { data, next_cursor }))
}

/// One instance
///
/// With its connection as the provider last told it, and its queue.
#[utoipa::path(
    get,
    path = "/instances/{id}",
    tag = "Instances",
    operation_id = "getInstance",
    security(("bearerAuth" = ["instance:read"]), ("apiKeyAuth" = ["instance:read"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The instance", body = InstanceInfo)),
)]
pub(super) async fn get(
    caller: Screened<ReadInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
) -> Result<axum::Json<InstanceInfo>> {
    let (caller, id) = instance(&state, caller, &path).await?;
    query.finish()?;
    shown(&state, &caller.actor(), id).await.map(axum::Json)
}

/// A new instance.
#[derive(ToSchema)]
#[schema(as = CreateInstance, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what NewInstanceBody reads")]
pub(super) struct CreateInstance {
    #[schema(min_length = 1, max_length = 80, example = "Support number")]
    name: String,
    provider: ProviderName,
    /// What the provider needs; nothing for the sandbox.
    settings: Option<SettingsBody>,
    /// Its secrets: stored encrypted, never shown again.
    credentials: Option<CredentialsBody>,
}

/// Settings by provider. WAHA needs `baseUrl`; the Cloud API needs `phoneNumberId` and `businessAccountId`.
#[derive(ToSchema)]
#[schema(as = NewInstanceSettings, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(super) struct SettingsBody {
    /// WAHA: the server's address. Cloud API: only for another server than Meta's, `https://graph.facebook.com`.
    /// Private addresses must be allowed by the operator.
    #[schema(max_length = 500, example = "https://waha.acme.example")]
    base_url: Option<String>,
    /// WAHA: the name of the session; `default` without it.
    #[schema(max_length = 54, pattern = "^[A-Za-z0-9_-]*$", example = "default")]
    session: Option<String>,
    /// Cloud API: the Graph API's version; `v24.0` without it.
    #[schema(example = "v24.0")]
    version: Option<String>,
    /// Cloud API: Meta's id of the number.
    #[schema(max_length = 32, example = "106540352242922")]
    phone_number_id: Option<String>,
    /// Cloud API: Meta's id of the WhatsApp Business account.
    #[schema(max_length = 32, example = "102290129340398")]
    business_account_id: Option<String>,
}

/// Credentials by provider. The Cloud API needs all three of its own; WAHA's key is only needed if the server asks for
/// one.
#[derive(ToSchema)]
#[schema(as = NewInstanceCredentials, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(super) struct CredentialsBody {
    /// WAHA: the server's API key.
    #[schema(max_length = 2000)]
    api_key: Option<String>,
    /// Cloud API: the access token of a system user.
    #[schema(max_length = 2000)]
    access_token: Option<String>,
    /// Cloud API: the app's secret, with which Meta signs what it sends.
    #[schema(max_length = 2000)]
    app_secret: Option<String>,
    /// Cloud API: a word of your choice that Meta repeats when it first calls the webhook.
    #[schema(min_length = 8, max_length = 2000)]
    verify_token: Option<String>,
}

/// `settings` and `credentials`: fields of the body, and of the form that they fill.
const PARTS: [(&str, &[(&str, &str)]); 2] = [
    (
        "settings",
        &[
            ("baseUrl", "base_url"),
            ("session", "session"),
            ("version", "graph_version"),
            ("phoneNumberId", "phone_number_id"),
            ("businessAccountId", "business_account_id"),
        ],
    ),
    (
        "credentials",
        &[
            ("apiKey", "api_key"),
            ("accessToken", "access_token"),
            ("appSecret", "app_secret"),
            ("verifyToken", "verify_token"),
        ],
    ),
];

/// What of the form was given.
fn given(object: &mut Object) -> Vec<(&'static str, String)> {
    let mut given = vec![];
    for (part, fields) in PARTS {
        object.optional_object(part, |object| {
            for (field, ours) in fields {
                given.extend(object.optional_text(field).map(|text| (*ours, text)));
            }
        });
    }
    given
}

const PROVIDERS: [&str; 3] = ["sandbox", "waha", "cloud_api"];

/// The body of [`create`]; there is one unless something was wrong.
pub(super) struct NewInstanceBody(Option<NewInstance>);

impl Fields for NewInstanceBody {
    fn take(object: &mut Object) -> Self {
        let mut form = InstanceForm { name: object.text("name"), ..InstanceForm::default() };
        let provider = object.choice("provider", &PROVIDERS, Provider::parse);
        for (field, text) in given(object) {
            form.set(field, text);
        }
        let Some(provider) = provider else { return Self(None) };
        form.provider = provider.as_str().to_owned();
        match form.parse(None) {
            Ok(new) => Self(Some(new)),
            Err(errors) => {
                for error in errors {
                    // An empty or missing name was complained about already.
                    if error.field != "name" || !form.name.is_empty() {
                        object.complain(api_field(&error.field), error.message);
                    }
                }
                Self(None)
            }
        }
    }
}

/// Create an instance
///
/// A sandbox is connected at once. Any other is made disconnected: connect it next. A key that is restricted to certain
/// instances cannot make new ones; a test key makes sandboxes only.
#[utoipa::path(
    post,
    path = "/instances",
    tag = "Instances",
    operation_id = "createInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    request_body = CreateInstance,
    responses((status = 201, description = "The instance", body = InstanceInfo)),
)]
pub(super) async fn create(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    once: Result<Once<NewInstanceBody>>,
) -> Result<Response> {
    let (caller, once) = readable(caller, once)?;
    let caller = caller.admit(Asked::None)?;
    if caller.key().allowed_instances.is_some() {
        return Err(Problem::new(Code::Conflict)
            .saying("This key is restricted to certain instances, so it cannot make new ones."));
    }
    if let Some(new) = &once.body().0 {
        may_make(caller.key(), new.settings.provider())?;
    }
    let (inner, actor, submission) = (state.clone(), caller.actor(), once.submission());
    let make = move |body: NewInstanceBody| async move {
        let new = body.0.ok_or_else(|| Problem::new(Code::Internal))?;
        may_be_reached(&inner, &new)?;
        let made = match submission {
            Some(submission) => store::made_by(&inner.db, actor.organization_id, submission).await?,
            None => None,
        };
        let id = match made {
            Some(id) => id,
            None => store::create(&inner.db, &inner.sealer, &actor, new, submission).await?,
        };
        shown(&inner, &actor, id).await
    };
    once.run(&state, StatusCode::CREATED, make).await
}

/// What to change; what is left out stays, secrets too. The provider cannot be changed.
#[derive(ToSchema)]
#[schema(as = PatchInstance, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what Patch reads")]
pub(super) struct PatchInstance {
    #[schema(min_length = 1, max_length = 80, example = "Support number")]
    name: Option<String>,
    settings: Option<SettingsBody>,
    credentials: Option<CredentialsBody>,
}

/// The body of [`patch`]: fields of the form.
pub(super) struct Patch(Vec<(&'static str, String)>);

impl Fields for Patch {
    fn take(object: &mut Object) -> Self {
        let name = object.optional_text("name");
        let mut fields = given(object);
        fields.extend(name.map(|name| ("name", name)));
        Self(fields)
    }
}

/// Change an instance
///
/// With a new `baseUrl` the provider's credentials must be given again: they were meant for the old address. With other
/// settings or credentials, connect it again.
#[utoipa::path(
    patch,
    path = "/instances/{id}",
    tag = "Instances",
    operation_id = "patchInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    request_body = PatchInstance,
    responses((status = 200, description = "The instance as it is now", body = InstanceInfo)),
)]
pub(super) async fn patch(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    body: Result<Json<Patch>>,
) -> Result<axum::Json<InstanceInfo>> {
    let (caller, id) = changeable(&state, caller, &path).await?;
    query.finish()?;
    let Json(Patch(fields)) = body?;
    let actor = caller.actor();
    let current = store::get(&state.db, actor.organization_id, id).await?.instance;
    let mut form = InstanceForm::of(&current);
    for (field, text) in fields {
        form.set(field, text);
    }
    let new = form.parse(Some(&current)).map_err(invalid)?;
    may_be_reached(&state, &new)?;
    store::edit(&state.db, &state.sealer, &actor, id, current.version, new).await?;
    // The notification comes a moment later; the next call on this server must see the change.
    state.instances.invalidate(id);
    shown(&state, &actor, id).await.map(axum::Json)
}

/// Delete an instance
///
/// Messages that wait are cancelled, and its credentials are removed. What is on its way at this moment ends as the
/// provider says. At the provider itself nothing is ended: disconnect first if it shall be.
#[utoipa::path(
    delete,
    path = "/instances/{id}",
    tag = "Instances",
    operation_id = "deleteInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    let (caller, id) = changeable(&state, caller, &path).await?;
    query.finish()?;
    store::delete(&state.db, &caller.actor(), id).await?;
    state.instances.invalidate(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Connect
///
/// Begins or resumes the connection: on WAHA the session is made or started with Bouncer's webhook, on the Cloud API the
/// number is checked and its webhook is set. With status `scan_qr`, get the code and scan it with the phone; the status
/// then changes by itself. Answers 409 when the provider refuses, and 424 when it cannot be reached.
#[utoipa::path(
    post,
    path = "/instances/{id}/connect",
    tag = "Instances",
    operation_id = "connectInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 200, description = "The instance as it is now", body = InstanceInfo),
        (status = 424, description = "The provider cannot be reached"),
    ),
)]
pub(super) async fn connect(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    once: Result<Once<NoFields>>,
) -> Result<Response> {
    let (caller, id) = changeable(&state, caller, &path).await?;
    query.finish()?;
    let (inner, actor) = (state.clone(), caller.actor());
    let act = move |_| async move {
        connecting::connect(&inner, &actor, id).await.map_err(problem)?;
        shown(&inner, &actor, id).await
    };
    once?.run(&state, StatusCode::OK, act).await
}

/// How to disconnect.
#[derive(ToSchema)]
#[schema(as = DisconnectInstance, rename_all = "camelCase")]
pub(super) struct Disconnect {
    /// Unlink the number: it must be scanned anew afterwards. Otherwise the connection is only stopped.
    #[schema(value_type = Option<bool>)]
    log_out: bool,
}

impl Fields for Disconnect {
    const MAY_BE_EMPTY: bool = true;

    fn take(object: &mut Object) -> Self {
        Self { log_out: object.optional_bool("logOut").unwrap_or_default() }
    }
}

/// Disconnect
///
/// Ends the connection. What waits stays in the queue until the instance is connected again, at most 24 hours.
#[utoipa::path(
    post,
    path = "/instances/{id}/disconnect",
    tag = "Instances",
    operation_id = "disconnectInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    request_body = Option<Disconnect>,
    responses(
        (status = 200, description = "The instance as it is now", body = InstanceInfo),
        (status = 424, description = "The provider cannot be reached"),
    ),
)]
pub(super) async fn disconnect(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    once: Result<Once<Disconnect>>,
) -> Result<Response> {
    let (caller, id) = changeable(&state, caller, &path).await?;
    query.finish()?;
    let (inner, actor) = (state.clone(), caller.actor());
    let act = move |asked: Disconnect| async move {
        connecting::disconnect(&inner, &actor, id, asked.log_out).await.map_err(problem)?;
        shown(&inner, &actor, id).await
    };
    once?.run(&state, StatusCode::OK, act).await
}

/// Pause the queue
///
/// Nothing leaves until somebody resumes it. Messages are still accepted, and expire after 24 hours.
#[utoipa::path(
    post,
    path = "/instances/{id}/pause",
    tag = "Instances",
    operation_id = "pauseInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The instance as it is now", body = InstanceInfo)),
)]
pub(super) async fn pause(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    once: Result<Once<NoFields>>,
) -> Result<Response> {
    hold(caller, state, &path, query, once, true).await
}

/// Resume the queue
///
/// Whatever held it up. What waited leaves with the same distances as before, not all at once. While the number is not
/// connected, the queue still waits for that: `paused` says `session`.
#[utoipa::path(
    post,
    path = "/instances/{id}/resume",
    tag = "Instances",
    operation_id = "resumeInstance",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The instance as it is now", body = InstanceInfo)),
)]
pub(super) async fn resume(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    once: Result<Once<NoFields>>,
) -> Result<Response> {
    hold(caller, state, &path, query, once, false).await
}

async fn hold(
    caller: Screened<ManageInstances>,
    state: AppState,
    path: &str,
    query: Query,
    once: Result<Once<NoFields>>,
    paused: bool,
) -> Result<Response> {
    let (caller, id) = changeable(&state, caller, path).await?;
    query.finish()?;
    let (inner, actor) = (state.clone(), caller.actor());
    let act = move |_| async move {
        let now = chrono::Utc::now();
        match paused {
            true => store::pause(&inner.db, &actor, id, now).await.map(drop)?,
            false => store::resume(&inner.db, &actor, id, now).await.map(drop)?,
        }
        shown(&inner, &actor, id).await
    };
    once?.run(&state, StatusCode::OK, act).await
}

/// The QR code.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceQr)]
pub(super) struct Qr {
    /// The text that the code stands for. It changes every few seconds: ask again while the status is `scan_qr`.
    #[schema(example = "2@mGtcA0SWmlM1MTjEpOHu…")]
    qr: String,
}

/// QR code
///
/// What the phone has to scan while the status is `scan_qr`: as text, or with `Accept: image/svg+xml` as a picture.
/// Answers 409 when there is nothing to scan.
#[utoipa::path(
    get,
    path = "/instances/{id}/qr",
    tag = "Instances",
    operation_id = "getInstanceQr",
    security(("bearerAuth" = ["instance:manage"]), ("apiKeyAuth" = ["instance:manage"])),
    params(("id" = String, Path, description = "The instance's id", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 200, description = "The code", content((Qr = "application/json"), (String = "image/svg+xml"))),
        (status = 409, description = "There is nothing to scan"),
        (status = 424, description = "The provider cannot be reached"),
    ),
)]
pub(super) async fn qr(
    caller: Screened<ManageInstances>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response> {
    let (caller, id) = changeable(&state, caller, &path).await?;
    query.finish()?;
    let qr = connecting::qr(&state, &caller.actor(), id).await.map_err(problem)?;
    let picture =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|kinds| {
            kinds.split(',').any(|kind| kind.split(';').next().is_some_and(|k| k.trim() == "image/svg+xml"))
        });
    if picture {
        let svg = connecting::picture(&qr).map_err(|error| problem(Failed::Theirs(error)))?;
        return Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response());
    }
    Ok(axum::Json(Qr { qr }).into_response())
}
