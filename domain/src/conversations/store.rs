//! Conversations and inbound messages in the database.

use std::collections::{BTreeMap, HashSet};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Conversation, ConversationState, Handover, NAME_MAX, NewInbound};
use crate::{
    Db, Error,
    audit::{self, Change},
    error::Result,
    ids::{ConversationId, InboundId, InstanceId, OrgId},
    keys::Environment,
    partitions,
    people::Actor,
    text::{without_nul, without_nul_json},
    time::{self, Time},
    webhooks::events::{self, NewEvent},
};

/// Inbound messages that are deleted at once: a statement holds them for milliseconds.
const FORGET_AT_ONCE: i64 = 2_000;

/// Keeps what people wrote to an instance, each message once, and tells the organization's endpoints
/// (`message.received`). All in the caller's transaction, for one message or a thousand. Returns how many were new.
///
/// # Errors
/// When the database cannot be asked, or has no such instance.
pub async fn receive(
    tx: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    messages: &[NewInbound],
) -> Result<usize> {
    // Providers repeat themselves: a message that is known must not move its conversation to the front again.
    let ids: Vec<String> = messages.iter().map(|message| without_nul(&message.provider_message_id)).collect();
    let known = sqlx::query_scalar!(
        "select provider_message_id from inbound_messages where instance_id = $1 and provider_message_id = any($2)",
        instance.0,
        &ids,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut seen: HashSet<String> = known.into_iter().collect();
    let new: Vec<(String, &NewInbound)> =
        ids.into_iter().zip(messages).filter(|(id, _)| seen.insert(id.clone())).collect();
    if new.is_empty() {
        return Ok(0);
    }
    let conversations = touch(tx, organization, instance, &new).await?;

    let mut rows = Columns::default();
    for (provider_id, message) in &new {
        let Some(conversation) = conversations.get(&without_nul(&message.from)) else { continue };
        rows.ids.push(InboundId::new().0);
        rows.conversations.push(conversation.id.0);
        rows.provider_ids.push(provider_id.clone());
        rows.senders.push(conversation.contact.clone());
        rows.kinds.push(without_nul(&message.kind));
        rows.bodies.push(without_nul_json(message.body.clone()));
        rows.times.push(message.at);
    }
    let kept: HashSet<Uuid> = sqlx::query_scalar!(
        "insert into inbound_messages (id, organization_id, instance_id, conversation_id, provider_message_id, sender, kind, body, at)
         select n.id, $1, $2, n.conversation_id, n.provider_message_id, n.sender, n.kind, n.body, n.at
         from unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::timestamptz[])
              as n (id, conversation_id, provider_message_id, sender, kind, body, at)
         on conflict on constraint inbound_messages_once do nothing
         returning id",
        organization.0,
        instance.0,
        &rows.ids,
        &rows.conversations,
        &rows.provider_ids,
        &rows.senders,
        &rows.kinds,
        &rows.bodies,
        &rows.times,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .collect();

    let now = Utc::now();
    let mut told = Vec::with_capacity(kept.len());
    for (at, id) in rows.ids.iter().enumerate().filter(|(_, id)| kept.contains(id)) {
        let Some(conversation) = conversations.get(&rows.senders[at]) else { continue };
        told.push(NewEvent {
            organization,
            // Only live numbers are written to: the sandbox has nobody who would.
            environment: Environment::Live,
            kind: "message.received",
            at: now,
            data: json!({
                "id": InboundId(*id),
                "instanceId": instance,
                "conversationId": conversation.id,
                "conversationState": conversation.state_at(now).state,
                "from": format!("+{}", conversation.contact),
                "name": conversation.contact_name,
                "type": rows.kinds[at],
                // The content in the provider's own shape.
                "message": rows.bodies[at],
                "providerMessageId": rows.provider_ids[at],
                "at": rows.times[at],
            }),
            message: None,
            key: None,
        });
    }
    events::emit(tx, &told).await?;
    Ok(told.len())
}

#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    conversations: Vec<Uuid>,
    provider_ids: Vec<String>,
    senders: Vec<String>,
    kinds: Vec<String>,
    bodies: Vec<Value>,
    times: Vec<Time>,
}

/// The conversations of these messages, made where there was none, by contact.
async fn touch(
    tx: &mut PgConnection,
    organization: OrgId,
    instance: InstanceId,
    messages: &[(String, &NewInbound)],
) -> Result<BTreeMap<String, Conversation>> {
    // In one order everywhere, so that two batches cannot wait for each other.
    let mut contacts: BTreeMap<String, (String, Time)> = BTreeMap::new();
    for (_, message) in messages {
        let (name, at) = contacts.entry(without_nul(&message.from)).or_insert_with(|| (String::new(), message.at));
        *at = message.at.max(*at);
        if !message.name.is_empty() {
            *name = without_nul(&message.name).chars().take(NAME_MAX).collect();
        }
    }
    let ids: Vec<Uuid> = contacts.keys().map(|_| ConversationId::new().0).collect();
    let (names, times): (Vec<String>, Vec<Time>) = contacts.values().cloned().unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"insert into conversations as c (id, organization_id, instance_id, contact, contact_name, last_inbound_at)
           select n.id, $1, $2, n.contact, n.name, n.at
           from unnest($3::uuid[], $4::text[], $5::text[], $6::timestamptz[]) as n (id, contact, name, at)
           on conflict on constraint conversations_contact_key do update
           set last_inbound_at = greatest(c.last_inbound_at, excluded.last_inbound_at),
               contact_name = case when excluded.contact_name = '' then c.contact_name else excluded.contact_name end,
               changed_at = now()
           returning id, instance_id, contact, contact_name, state, assignee, until, last_inbound_at, last_outbound_at,
                     changed_at, version"#,
        organization.0,
        instance.0,
        &ids,
        &contacts.into_keys().collect::<Vec<_>>(),
        &names,
        &times,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.contact.clone(), row.into())).collect())
}

/// Notes that messages left for these contacts. Only conversations that are there are touched: whoever never wrote to
/// us has none. `sent` is instance, contact and time; in the caller's transaction.
pub async fn note_sent(tx: &mut PgConnection, sent: &[(OrgId, InstanceId, String, Time)]) -> Result<()> {
    let mut latest: BTreeMap<(OrgId, InstanceId, &str), Time> = BTreeMap::new();
    for (organization, instance, contact, at) in sent {
        let known = latest.entry((*organization, *instance, contact)).or_insert(*at);
        *known = (*known).max(*at);
    }
    if latest.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update conversations c set last_outbound_at = greatest(c.last_outbound_at, due.at), changed_at = now()
         from (select c.id, n.at
               from conversations c
               join unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[]) as n (organization_id, instance_id, contact, at)
                 on c.organization_id = n.organization_id and c.instance_id = n.instance_id and c.contact = n.contact
               order by c.organization_id, c.instance_id, c.contact for update of c) due
         where c.id = due.id",
        &latest.keys().map(|(organization, ..)| organization.0).collect::<Vec<_>>(),
        &latest.keys().map(|(_, instance, _)| instance.0).collect::<Vec<_>>(),
        &latest.keys().map(|(.., contact)| (*contact).to_owned()).collect::<Vec<_>>(),
        &latest.values().copied().collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

struct Row {
    id: Uuid,
    instance_id: Uuid,
    contact: String,
    contact_name: String,
    state: String,
    assignee: Option<String>,
    until: Option<Time>,
    last_inbound_at: Option<Time>,
    last_outbound_at: Option<Time>,
    changed_at: Time,
    version: i32,
}

impl From<Row> for Conversation {
    fn from(row: Row) -> Self {
        Self {
            id: ConversationId(row.id),
            instance_id: InstanceId(row.instance_id),
            contact: row.contact,
            contact_name: row.contact_name,
            // The column has a check constraint; whatever else it were, a person should look.
            state: ConversationState::parse(&row.state).unwrap_or(ConversationState::Human),
            assignee: row.assignee,
            until: row.until,
            last_inbound_at: row.last_inbound_at,
            last_outbound_at: row.last_outbound_at,
            changed_at: row.changed_at,
            version: row.version,
        }
    }
}

/// Which conversations a list holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// The state as it is at the moment of asking.
    pub state: Option<ConversationState>,
    pub instance: Option<InstanceId>,
    /// Digits of E.164.
    pub contact: Option<String>,
    /// Instances that may be seen at all; `None`: every one.
    pub allowed: Option<Vec<InstanceId>>,
}

/// A page of a list that is sorted by the last change, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub conversations: Vec<Conversation>,
    /// What to ask for next; `None`: this was the last page.
    pub next: Option<String>,
}

/// A place in the list: time of the last change in microseconds, and the id.
fn encode_cursor(conversation: &Conversation) -> String {
    URL_SAFE_NO_PAD
        .encode([&conversation.changed_at.timestamp_micros().to_be_bytes()[..], conversation.id.0.as_bytes()].concat())
}

fn decode_cursor(text: &str) -> Option<(Time, Uuid)> {
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = bytes.split_at(8);
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(micros.try_into().ok()?))?;
    Some((at, Uuid::from_slice(id).ok()?))
}

/// One page.
///
/// # Errors
/// `Invalid` for a cursor that no list gave out.
pub async fn list(
    db: &Db,
    organization: OrgId,
    filter: &Filter,
    limit: u32,
    cursor: Option<&str>,
    now: Time,
) -> Result<Page> {
    let allowed = filter.allowed.as_deref().map(uuids);
    let place = match cursor {
        None => None,
        Some(text) => Some(decode_cursor(text).ok_or_else(|| {
            Error::field("cursor", "This is no cursor of this list. Begin without one, then use nextCursor as it is.")
        })?),
    };
    let mut tx = db.tenant(organization).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select id, instance_id, contact, contact_name, state, assignee, until, last_inbound_at, last_outbound_at,
                  changed_at, version
           from conversations
           where organization_id = $1
             and ($2::uuid is null or instance_id = $2)
             and ($3::text is null or contact = $3)
             and ($4::uuid[] is null or instance_id = any($4))
             and ($5::text is null or ($5 = 'human') = (state = 'human' and (until is null or until > $6)))
             and ($7::timestamptz is null or (changed_at, id) < ($7, $8::uuid))
           order by changed_at desc, id desc limit $9"#,
        organization.0,
        filter.instance.map(|id| id.0),
        filter.contact,
        allowed.as_deref() as _,
        filter.state.map(ConversationState::as_str),
        now,
        place.map(|(at, _)| at),
        place.map(|(_, id)| id),
        i64::from(limit) + 1,
    )
    .fetch_all(&mut *tx)
    .await?;
    let more = rows.len() > limit as usize;
    let conversations: Vec<Conversation> = rows.into_iter().take(limit as usize).map(Into::into).collect();
    let next = conversations.last().filter(|_| more).map(encode_cursor);
    Ok(Page { conversations, next })
}

/// One conversation. `allowed`: as in [`Filter`].
///
/// # Errors
/// `NotFound` also when it belongs to somebody else or to an instance that may not be seen.
pub async fn get(
    db: &Db,
    organization: OrgId,
    id: ConversationId,
    allowed: Option<&[InstanceId]>,
) -> Result<Conversation> {
    let mut tx = db.tenant(organization).await?;
    load(&mut tx, organization, id, allowed).await
}

async fn load(
    tx: &mut PgConnection,
    organization: OrgId,
    id: ConversationId,
    allowed: Option<&[InstanceId]>,
) -> Result<Conversation> {
    let allowed = allowed.map(uuids);
    let row = sqlx::query_as!(
        Row,
        "select id, instance_id, contact, contact_name, state, assignee, until, last_inbound_at, last_outbound_at,
                changed_at, version
         from conversations where organization_id = $1 and id = $2 and ($3::uuid[] is null or instance_id = any($3))",
        organization.0,
        id.0,
        allowed.as_deref() as _,
    )
    .fetch_optional(tx)
    .await?;
    row.map(Into::into).ok_or(Error::NotFound)
}

/// Deletes what people wrote before the events about it are gone, too. The conversations stay.
///
/// # Errors
/// When the database cannot be asked; what was deleted until then is.
pub async fn forget_old(db: &Db, now: Time) -> Result<()> {
    // Ids carry the time of receipt and are the primary key: the oldest are found without a search.
    let before = partitions::lowest_id(partitions::events_kept_since(now));
    loop {
        let gone = sqlx::query!(
            "with old as materialized (
                 select id from inbound_messages where id < $1 order by id limit $2 for update skip locked)
             delete from inbound_messages i using old where i.id = old.id",
            before,
            FORGET_AT_ONCE,
        )
        .execute(db.system())
        .await?
        .rows_affected();
        if gone < FORGET_AT_ONCE.unsigned_abs() {
            return Ok(());
        }
    }
}

/// Says who answers from now on. The same again changes nothing.
///
/// # Errors
/// `NotFound` as [`get`].
pub async fn put(
    db: &Db,
    actor: &Actor,
    id: ConversationId,
    allowed: Option<&[InstanceId]>,
    handover: &Handover,
) -> Result<Conversation> {
    let organization = actor.organization_id;
    let mut tx = db.tenant(organization).await?;
    let before = load(&mut tx, organization, id, allowed).await?;
    let changed = sqlx::query!(
        "update conversations set state = $3, assignee = $4, until = $5, changed_at = now(), version = version + 1
         where organization_id = $1 and id = $2
           and (state, assignee, until) is distinct from ($3, $4, $5::timestamptz)",
        organization.0,
        id.0,
        handover.state.as_str(),
        handover.assignee,
        handover.until,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if changed > 0 {
        // Not the contact: the audit log is for ever, and a phone number can be erased.
        let entry = audit::store::Entry {
            action: "conversation.handed_over",
            subject: id.to_string(),
            subject_name: &id.to_string(),
            changes: changes(&before, handover),
        };
        audit::store::append(&mut tx, actor, entry).await?;
    }
    let conversation = load(&mut tx, organization, id, allowed).await?;
    tx.commit().await?;
    Ok(conversation)
}

/// What differs, in words for the audit log.
fn changes(before: &Conversation, after: &Handover) -> Vec<Change> {
    let until = |until: Option<Time>| until.map(time::exact);
    let fields = [
        ("answered by", Some(before.state.as_str().to_owned()), Some(after.state.as_str().to_owned())),
        ("assignee", before.assignee.clone(), after.assignee.clone()),
        ("until", until(before.until), until(after.until)),
    ];
    let differ = fields.into_iter().filter(|(_, before, after)| before != after);
    differ.map(|(field, before, after)| Change::new(field, before, after)).collect()
}

fn uuids(ids: &[InstanceId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
