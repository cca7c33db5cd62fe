//! `/messages`: sending, and what became of it. A key sees its own messages only.

mod document;

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use domain::{
    FieldError,
    fields::Object,
    gate::{self, GateKey},
    idempotency::{Answer, Claim},
    ids::{InstanceId, MessageId, OrgId},
    instances::{Instance, Provider},
    keys::Environment,
    messages::{
        Body, MessageFilter, MessageStatus, Recipient,
        body::MediaSource,
        read,
        store::{self, NewMessage, Refusal, Reply},
    },
    templates,
    throttle::SplitMix,
    time,
};
use http::StatusCode;

use self::document::{MessageDetail, MessageDocument, SendMessage, Sent};
use super::{
    body::{Fields, body_of, object},
    extract::{Authorized, Screened, SendMessages},
    idempotency,
    list::{List, Paging, Query},
    problem::{Code, Problem, Result},
};
use crate::state::AppState;

/// A send body as it was read; what is missing in it has been complained about.
struct Wanted {
    instance: Option<InstanceId>,
    to: Option<Recipient>,
    body: Option<Body>,
    dry_run: bool,
}

impl Fields for Wanted {
    fn take(object: &mut Object) -> Self {
        let instance = object.id("instanceId");
        let to = object.text("to");
        let to = match Recipient::parse(&to) {
            Ok(to) => Some(to),
            Err(why) => {
                // An empty text has been complained about.
                if !to.is_empty() {
                    object.complain("to", why);
                }
                None
            }
        };
        Self { instance, to, dry_run: object.optional_bool("dryRun").unwrap_or(false), body: read::body(object) }
    }
}

/// Send a message
///
/// Accepts a message and answers when it is safely in the queue; it leaves when the instance's pace allows. What
/// becomes of it is told by `GET /messages/{id}` and by webhooks.
///
/// For a text, `message` is enough. For anything else give `type` and an object of that name; the fields inside those
/// objects are Meta's own, in `snake_case` as in Meta's documents, so that examples from there work as they stand.
/// A template's variables are checked before the message is accepted; WAHA cannot send templates.
///
/// Messages of test keys go to the sandbox, whatever the instance. In the sandbox the number decides what happens:
/// `…0001` delivered and read, `…0002` failed with 131026, `…0003` slow, `…0004` throttled by the provider before it
/// is delivered, every other number delivered.
///
/// With `dryRun` nothing is sent or written: the answer says, with status 200, what a real call would answer now.
#[utoipa::path(
    post,
    path = "/messages/send",
    tag = "Messages",
    operation_id = "sendMessage",
    security(("bearerAuth" = ["message:send"]), ("apiKeyAuth" = ["message:send"])),
    request_body = SendMessage,
    responses(
        (status = 202, description = "Accepted: the message is in the queue", body = Sent),
        (status = 200, description = "What a real call would answer; only with `dryRun`", body = Sent),
        (status = 404, description = "There is no such instance, or the key may not use it"),
        (status = 409, description = "A person talks to the recipient"),
    ),
)]
pub(super) async fn send(
    caller: Screened<SendMessages>,
    State(state): State<AppState>,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let read = async {
        Query::of(parts.uri.query().unwrap_or_default())?.finish()?;
        let bytes = body_of::<Wanted>(&parts.headers, body).await?;
        let claim = idempotency::claim(&parts, caller.key(), &bytes)?;
        Ok((object::<Wanted>(&bytes)?, claim))
    };
    let (mut object, claim) = match read.await {
        Ok(read) => read,
        Err(problem) => {
            // A body that cannot be read was a call all the same.
            caller.admit(gate::Instance::None)?;
            return Err(problem);
        }
    };
    let wanted = Wanted::take(&mut object);
    let found = match wanted.instance {
        None => None,
        Some(id) => match state.instances.get(caller.key().organization_id, id).await {
            Ok(found) => found,
            Err(error) => return Err(caller.unavailable(error)),
        },
    };
    let asked = match (wanted.instance, &found) {
        (None, _) => gate::Instance::None,
        (Some(id), Some(_)) => gate::Instance::Known(id),
        (Some(_), None) => gate::Instance::Unknown,
    };
    let claim = claim.filter(|_| !wanted.dry_run);
    // A repeated call is answered as it was, whatever became of its instance and template. The claim itself is part of
    // the acceptance; only a call that would be refused before that asks for its first answer by itself.
    if !caller.key().may_use(asked) {
        match kept(&state, claim.as_ref()).await {
            Ok(Some(kept)) => {
                caller.admit(gate::Instance::None)?;
                return Ok(idempotency::replay(kept));
            }
            Ok(None) => {}
            Err(error) => return Err(caller.unavailable(error)),
        }
    }
    let caller = caller.admit(asked)?;
    object.finish().map_err(Problem::invalid)?;
    // All are there, or there would have been a complaint.
    let (Some(instance), Some(to), Some(body)) = (found, wanted.to, wanted.body) else {
        return Err(Problem::new(Code::Internal));
    };
    let key = caller.key();
    let errors = cannot(&state, key, &instance, &body).await?;
    if !errors.is_empty() {
        return match kept(&state, claim.as_ref()).await? {
            Some(kept) => Ok(idempotency::replay(kept)),
            None => Err(Problem::invalid(errors)),
        };
    }
    let message = NewMessage {
        organization: key.organization_id,
        instance: instance.id,
        key: Some(key.id),
        environment: key.environment,
        to,
        body,
        request: Some(caller.call().id),
        idempotency: claim,
    };
    if wanted.dry_run {
        let mut random = SplitMix(rand::random());
        let estimate = store::estimate(&state.db, &message, Utc::now(), &mut random).await?;
        let estimate = estimate.map_err(|refusal| refused(&caller, refusal))?;
        return Ok(axum::Json(estimate).into_response());
    }
    match state.acceptor.accept(message).await? {
        Ok(Reply::Accepted(accepted)) => Ok((StatusCode::ACCEPTED, axum::Json(accepted)).into_response()),
        Ok(Reply::Replayed(kept)) => Ok(idempotency::replay(kept)),
        Err(refusal) => Err(refused(&caller, refusal)),
    }
}

/// What the same call was answered with before.
async fn kept(state: &AppState, claim: Option<&Claim>) -> domain::Result<Option<Answer>> {
    match claim {
        Some(claim) => domain::idempotency::kept(&state.db, claim, Utc::now()).await,
        None => Ok(None),
    }
}

/// Why the message was not accepted, and in the request log the gate's word for it.
fn refused(caller: &Authorized<SendMessages>, refusal: Refusal) -> Problem {
    let denied = |denial: gate::Denial| {
        caller.call().amended(denial.as_str());
        Problem::from(denial)
    };
    match refusal {
        // It was deleted a moment ago.
        Refusal::NoInstance => denied(gate::Denial::InstanceNotAllowed),
        Refusal::QueueFull { retry_after_s } => denied(gate::Denial::QueueFull { retry_after_s }),
        Refusal::WithHuman { assignee, until } => {
            let who = assignee.unwrap_or_else(|| "a person".into());
            let until = until.map(|until| format!(" until {}", time::exact(until))).unwrap_or_default();
            Problem::new(Code::ConversationWithHuman)
                .saying(format!("This conversation is in the state human: {who} has it{until}."))
        }
        Refusal::Mismatch => Problem::new(Code::IdempotencyMismatch),
        Refusal::InFlight { retry_after_s } => Problem::new(Code::IdempotencyInFlight).after(retry_after_s),
    }
}

/// What this instance cannot send.
async fn cannot(state: &AppState, key: &GateKey, instance: &Instance, body: &Body) -> Result<Vec<FieldError>> {
    let waha = instance.provider() == Provider::Waha;
    match body {
        Body::Image(media) | Body::Video(media) | Body::Audio(media) | Body::Document(media) | Body::Sticker(media)
            if waha =>
        {
            let complaint = match &media.source {
                MediaSource::Id(_) => ("id", "WAHA keeps no uploads. Give a link instead."),
                // WAHA fetches it inside its own network and would hand over what it finds there.
                MediaSource::Link(link) if state.net.providers.names_private(link) => {
                    ("link", "This is an address of a private network. Give one of the public internet.")
                }
                MediaSource::Link(_) => return Ok(Vec::new()),
            };
            Ok(vec![FieldError::new(format!("{}.{}", body.kind(), complaint.0), complaint.1)])
        }
        Body::Template(_) if waha => {
            Ok(vec![FieldError::new("type", "WAHA cannot send templates. Use an instance of the Cloud API.")])
        }
        Body::Template(filled) => {
            template_errors(state, key.organization_id, instance.id, filled).await.map_err(Problem::from)
        }
        _ => Ok(Vec::new()),
    }
}

async fn template_errors(
    state: &AppState,
    organization: OrgId,
    instance: InstanceId,
    filled: &domain::messages::TemplateBody,
) -> domain::Result<Vec<FieldError>> {
    let (name, language) = (&filled.name, &filled.language.code);
    match templates::store::find(&state.db, organization, instance, name, language).await? {
        Some(template) => Ok(templates::check(&template, filled)),
        None => {
            let languages = templates::store::languages(&state.db, organization, instance, name).await?;
            Ok(vec![templates::check::not_there(filled, &languages)])
        }
    }
}

/// List messages
///
/// The key's own messages, newest first.
#[utoipa::path(
    get,
    path = "/messages",
    tag = "Messages",
    operation_id = "listMessages",
    security(("bearerAuth" = ["message:send"]), ("apiKeyAuth" = ["message:send"])),
    params(
        Paging,
        ("status" = Option<document::StatusName>, Query, description = "Only messages that stand there"),
        ("to" = Option<String>, Query, description = "Only messages to this number", example = "+60123456789"),
        ("instanceId" = Option<String>, Query, description = "Only messages of this instance"),
        ("environment" = Option<super::me::EnvironmentName>, Query, description = "Only messages of this environment"),
    ),
    responses((status = 200, description = "A page of messages", body = List<MessageDocument>)),
)]
pub(super) async fn list(
    caller: Screened<SendMessages>,
    State(state): State<AppState>,
    mut query: Query,
) -> Result<axum::Json<List<MessageDocument>>> {
    let page = query.page::<MessageId>();
    let status = query.optional_choice("status", &MessageStatus::ALL.map(MessageStatus::as_str), MessageStatus::parse);
    let environment = query.optional_choice("environment", &["live", "test"], Environment::parse);
    let to = query.optional_text("to").and_then(|text| match Recipient::parse(&text) {
        Ok(to) => Some(to),
        Err(why) => {
            query.complain("to", why);
            None
        }
    });
    let instance = query.optional_id::<InstanceId>("instanceId");
    let known = match instance {
        None => gate::Instance::None,
        Some(id) => match state.instances.get(caller.key().organization_id, id).await {
            Ok(Some(_)) => gate::Instance::Known(id),
            Ok(None) => gate::Instance::Unknown,
            Err(error) => return Err(caller.unavailable(error)),
        },
    };
    let caller = caller.admit(known)?;
    query.finish()?;
    let key = caller.key();
    let filter = MessageFilter {
        status,
        to,
        instance,
        instances: key.allowed_instances.clone(),
        key: Some(key.id),
        environment,
        before: page.after,
        limit: page.limit,
    };
    let found = store::list(&state.db, key.organization_id, &filter).await?;
    Ok(axum::Json(List {
        data: found.messages.into_iter().map(MessageDocument::from).collect(),
        next_cursor: found.next.map(|id| id.to_string()),
    }))
}

/// The id in the path, and whether the key may see what is there.
fn message_id(text: &str) -> Result<MessageId> {
    text.parse().map_err(|_| Problem::new(Code::NotFound))
}

fn visible(key: &GateKey, instance: InstanceId) -> Result<()> {
    match &key.allowed_instances {
        Some(allowed) if !allowed.contains(&instance) => Err(Problem::new(Code::NotFound)),
        _ => Ok(()),
    }
}

/// Get a message
///
/// One of the key's own messages, with its timeline.
#[utoipa::path(
    get,
    path = "/messages/{id}",
    tag = "Messages",
    operation_id = "getMessage",
    security(("bearerAuth" = ["message:send"]), ("apiKeyAuth" = ["message:send"])),
    params(("id" = String, Path, description = "The message's id", example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses((status = 200, description = "The message", body = MessageDetail)),
)]
pub(super) async fn get(
    caller: Authorized<SendMessages>,
    State(state): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<MessageDetail>> {
    query.finish()?;
    let key = caller.key();
    let (message, steps) = store::get(&state.db, key.organization_id, Some(key.id), message_id(&id)?).await?;
    visible(key, message.instance)?;
    Ok(axum::Json(MessageDetail::new(message, steps)))
}

/// Cancel a message
///
/// Takes one of the key's own messages out of the queue. What has begun to leave cannot be called back: 409 `conflict`,
/// and the message says where it stands.
#[utoipa::path(
    delete,
    path = "/messages/{id}",
    tag = "Messages",
    operation_id = "cancelMessage",
    security(("bearerAuth" = ["message:send"]), ("apiKeyAuth" = ["message:send"])),
    params(("id" = String, Path, description = "The message's id", example = "msg_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 200, description = "The message, cancelled", body = MessageDetail),
        (status = 409, description = "It does not wait any more"),
    ),
)]
pub(super) async fn cancel(
    caller: Authorized<SendMessages>,
    State(state): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<MessageDetail>> {
    query.finish()?;
    let (key, id) = (caller.key(), message_id(&id)?);
    if let Some(allowed) = &key.allowed_instances {
        let (message, _) = store::get(&state.db, key.organization_id, Some(key.id), id).await?;
        if !allowed.contains(&message.instance) {
            return Err(Problem::new(Code::NotFound));
        }
    }
    let by = format!("cancelled with the key {}", key.name);
    let (message, steps) = store::cancel(&state.db, key.organization_id, Some(key.id), id, &by, Utc::now()).await?;
    Ok(axum::Json(MessageDetail::new(message, steps)))
}
