//! `/conversations`: who answers a contact, the bot or a person.

use axum::extract::{Path, State};
use chrono::{TimeDelta, Utc};
use domain::{
    conversations::{
        ASSIGNEE_MAX, Conversation, ConversationState, Handover,
        store::{self, Filter},
    },
    ids::{ConversationId, InstanceId},
    keys::Environment,
    messages::Recipient,
    time::Time,
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{Authorized, Fields, Json, ManageConversations, Object, Requirement, Screened},
    instances::may_change,
    list::{LIMIT, LIMIT_MAX, List, Query},
    problem::Result,
};
use crate::state::AppState;

/// The longest time for which a conversation is taken over with an end.
const UNTIL_MAX_DAYS: i64 = 366;
const STATES: [&str; 2] = ["bot", "human"];

/// Asks the gate's second half about a call that names an instance or none. An instance that is another's, or that the
/// key may not use, is not there (PRODUCT, section 6).
pub(super) async fn admit<R: Requirement>(
    state: &AppState,
    caller: Screened<R>,
    instance: Option<InstanceId>,
) -> Result<Authorized<R>> {
    let Some(id) = instance else { return caller.admit(domain::gate::Instance::None) };
    match state.instances.get(caller.key().organization_id, id).await {
        Ok(Some(_)) => caller.admit(domain::gate::Instance::Known(id)),
        Ok(None) => caller.admit(domain::gate::Instance::Unknown),
        Err(error) => Err(caller.unavailable(error)),
    }
}

/// A call whose query or body cannot be read is one nevertheless: the gate is asked, and its refusal comes first.
pub(super) fn readable<R: Requirement, T>(caller: Screened<R>, read: Result<T>) -> Result<(Screened<R>, T)> {
    match read {
        Ok(value) => Ok((caller, value)),
        Err(problem) => caller.admit(domain::gate::Instance::None).and(Err(problem)),
    }
}

/// A conversation with one contact on one instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(super) struct ConversationInfo {
    #[schema(value_type = String, pattern = "^cnv_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "cnv_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    id: ConversationId,
    #[schema(value_type = String, pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: InstanceId,
    /// The other side's number.
    #[schema(example = "+60123456789")]
    contact: String,
    /// As the contact calls itself; may be empty.
    #[schema(example = "Mark")]
    contact_name: String,
    /// Who answers right now.
    #[schema(value_type = ConversationStateName)]
    state: ConversationState,
    /// Who has taken it over; null while the bot answers.
    #[schema(required, example = "Ada")]
    assignee: Option<String>,
    /// When it returns to the bot by itself; null: when you say so.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    until: Option<Time>,
    /// The contact's last message.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_inbound_at: Option<Time>,
    /// Your last message to the contact; null also when it left before the contact first wrote.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_outbound_at: Option<Time>,
    /// The last message or change.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Time,
}

#[derive(ToSchema)]
#[schema(as = ConversationState, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "describes domain::conversations::ConversationState, which knows nothing of this document"
)]
pub(super) enum ConversationStateName {
    Bot,
    Human,
}

impl ConversationInfo {
    fn new(conversation: Conversation, now: Time) -> Self {
        let Handover { state, assignee, until } = conversation.state_at(now);
        Self {
            id: conversation.id,
            instance_id: conversation.instance_id,
            contact: format!("+{}", conversation.contact),
            contact_name: conversation.contact_name,
            state,
            assignee,
            until,
            last_inbound_at: conversation.last_inbound_at,
            last_outbound_at: conversation.last_outbound_at,
            changed_at: conversation.changed_at,
        }
    }
}

/// The query of the list, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(super) struct ConversationsQuery {
    /// Entries of a page.
    #[param(minimum = 1, maximum = 100, default = 25)]
    limit: Option<u32>,
    /// `nextCursor` of the page before; without it, the first page.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// Only those that the bot, or a person, answers right now.
    #[param(inline)]
    state: Option<ConversationStateName>,
    /// Only those of this instance.
    #[param(value_type = Option<String>, pattern = "^ins_[0-7][0-9a-hjkmnp-tv-z]{25}$", example = "ins_01jd3qz5k8e9rb1w0c5m2n6x7y")]
    instance_id: Option<InstanceId>,
    /// Only those with this number.
    #[param(example = "+60123456789")]
    contact: Option<String>,
}

struct Asked {
    filter: Filter,
    limit: u32,
    cursor: Option<String>,
}

fn asked(query: Result<Query>) -> Result<Asked> {
    let mut query = query?;
    let limit = query.whole("limit", 1..=i64::from(LIMIT_MAX)).and_then(|limit| u32::try_from(limit).ok());
    let cursor = query.optional_text("cursor");
    let state = query.optional_choice("state", &STATES, ConversationState::parse);
    let instance = query.optional_id::<InstanceId>("instanceId");
    let contact = query.optional_text("contact").and_then(|text| match Recipient::parse(&text) {
        Ok(contact) => Some(contact.digits().to_owned()),
        Err(sentence) => {
            query.complain("contact", sentence);
            None
        }
    });
    query.finish()?;
    Ok(Asked { filter: Filter { state, instance, contact, allowed: None }, limit: limit.unwrap_or(LIMIT), cursor })
}

/// List conversations
///
/// The one that changed last comes first. A conversation begins with a contact's first message. While pages are read, a
/// conversation in which somebody writes moves to the front.
#[utoipa::path(
    get,
    path = "/conversations",
    tag = "Conversations",
    operation_id = "listConversations",
    security(("bearerAuth" = ["conversation:manage"]), ("apiKeyAuth" = ["conversation:manage"])),
    params(ConversationsQuery),
    responses((status = 200, description = "A page of conversations", body = List<ConversationInfo>)),
)]
pub(super) async fn list(
    caller: Screened<ManageConversations>,
    State(state): State<AppState>,
    query: Result<Query>,
) -> Result<axum::Json<List<ConversationInfo>>> {
    let (caller, Asked { filter, limit, cursor }) = readable(caller, asked(query))?;
    let caller = admit(&state, caller, filter.instance).await?;
    let (key, now) = (caller.key(), Utc::now());
    let filter = Filter { allowed: key.allowed_instances.clone(), ..filter };
    let page = store::list(&state.db, key.organization_id, &filter, limit, cursor.as_deref(), now).await?;
    let data = page.conversations.into_iter().map(|one| ConversationInfo::new(one, now)).collect();
    Ok(axum::Json(List { data, next_cursor: page.next }))
}

/// The id in a path. What is no id of this kind is not there.
pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| domain::Error::NotFound.into())
}

/// One conversation
///
/// Who answers it right now, and when somebody last wrote.
#[utoipa::path(
    get,
    path = "/conversations/{id}",
    tag = "Conversations",
    operation_id = "getConversation",
    security(("bearerAuth" = ["conversation:manage"]), ("apiKeyAuth" = ["conversation:manage"])),
    params(("id" = String, Path, description = "The conversation's id", example = "cnv_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    responses(
        (status = 200, description = "The conversation", body = ConversationInfo),
        (status = 422, description = "There is no such query parameter"),
    ),
)]
pub(super) async fn get(
    caller: Authorized<ManageConversations>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
) -> Result<axum::Json<ConversationInfo>> {
    query.finish()?;
    let key = caller.key();
    let conversation = store::get(&state.db, key.organization_id, id(&path)?, key.allowed_instances.as_deref()).await?;
    Ok(axum::Json(ConversationInfo::new(conversation, Utc::now())))
}

/// Who shall answer.
#[derive(ToSchema)]
#[schema(as = PutConversation)]
pub(super) struct PutConversation {
    #[schema(value_type = ConversationStateName)]
    state: ConversationState,
    /// Who takes it over, in your words; only with `human`.
    #[schema(max_length = 120, example = "Ada")]
    assignee: Option<String>,
    /// When it returns to the bot by itself, at most 366 days from now; only with `human`. Without it, you give it back.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
}

impl Fields for PutConversation {
    fn take(object: &mut Object) -> Self {
        let state = object.choice("state", &STATES, ConversationState::parse);
        let assignee = object.optional_text_up_to("assignee", ASSIGNEE_MAX);
        if assignee.as_ref().is_some_and(|text| text.trim().is_empty() || text.chars().any(char::is_control)) {
            object.complain("assignee", "Write a name on one line, or leave this out.");
        }
        let until = object.optional_time("until");
        let now = Utc::now();
        if let Some(until) = until
            && !(now < until && until <= now + TimeDelta::days(UNTIL_MAX_DAYS))
        {
            object.complain("until", format!("A time in the future, at most {UNTIL_MAX_DAYS} days from now."));
        }
        if state == Some(ConversationState::Bot) {
            for (field, given) in [("assignee", assignee.is_some()), ("until", until.is_some())] {
                if given {
                    object.complain(field, "Only a conversation that a person answers has this.");
                }
            }
        }
        Self { state: state.unwrap_or(ConversationState::Bot), assignee, until }
    }
}

/// Hand a conversation over
///
/// To a person (`human`): messages to this contact with a key are refused with `conversation_with_human` until the
/// conversation is given back, by a call with `bot` or by itself at `until`. The body replaces what was said before. A
/// test key does this with conversations on sandbox instances only.
#[utoipa::path(
    put,
    path = "/conversations/{id}",
    tag = "Conversations",
    operation_id = "putConversation",
    security(("bearerAuth" = ["conversation:manage"]), ("apiKeyAuth" = ["conversation:manage"])),
    params(("id" = String, Path, description = "The conversation's id", example = "cnv_01jd3qz5k8e9rb1w0c5m2n6x7y")),
    request_body = PutConversation,
    responses((status = 200, description = "The conversation as it is now", body = ConversationInfo)),
)]
pub(super) async fn put(
    caller: Authorized<ManageConversations>,
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    Json(PutConversation { state: answers, assignee, until }): Json<PutConversation>,
) -> Result<axum::Json<ConversationInfo>> {
    query.finish()?;
    let (key, id) = (caller.key(), id(&path)?);
    let (organization, allowed) = (key.organization_id, key.allowed_instances.as_deref());
    if key.environment == Environment::Test {
        let conversation = store::get(&state.db, organization, id, allowed).await?;
        may_change(&state, key, conversation.instance_id).await?;
    }
    let handover = Handover { state: answers, assignee, until };
    let conversation = store::put(&state.db, &caller.actor(), id, allowed, &handover).await?;
    Ok(axum::Json(ConversationInfo::new(conversation, Utc::now())))
}
