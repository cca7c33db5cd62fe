//! Conversations and what people write to us, against a real Postgres.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use chrono::{Duration, Utc};
use common::World;
use domain::{
    Error,
    audit::store as audit,
    conversations::{
        ConversationState, Handover, NewInbound,
        store::{self, Filter},
    },
    ids::{InstanceId, OrgId},
    partitions,
};
use serde_json::{Value, json};
use sqlx::PgPool;

async fn instance(pool: &PgPool, organization: OrgId, name: &str) -> InstanceId {
    let id = InstanceId::new();
    sqlx::query("insert into instances (id, organization_id, name, provider, settings, created_by_name) values ($1, $2, $3, 'waha', '{}', 'test')")
        .bind(id.0)
        .bind(organization.0)
        .bind(name)
        .execute(pool)
        .await
        .unwrap();
    id
}

fn inbound(id: &str, from: &str) -> NewInbound {
    NewInbound {
        provider_message_id: id.into(),
        from: from.into(),
        name: "Mark".into(),
        kind: "text".into(),
        body: json!({ "body": "Hi" }),
        at: Utc::now(),
    }
}

async fn receive(world: &World, instance: InstanceId, messages: &[NewInbound]) -> usize {
    let mut tx = world.db.system().begin().await.unwrap();
    let new = store::receive(&mut tx, world.org(), instance, messages).await.unwrap();
    tx.commit().await.unwrap();
    new
}

async fn list(world: &World, filter: &Filter) -> Vec<domain::conversations::Conversation> {
    store::list(&world.db, world.org(), filter, 100, None, Utc::now()).await.unwrap().conversations
}

fn human(until: Option<chrono::DateTime<Utc>>) -> Handover {
    Handover { state: ConversationState::Human, assignee: Some("Ada".into()), until }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn each_message_is_kept_and_told_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    let two = instance(&pool, world.org(), "two").await;
    let mut nul = inbound("c\0", "60123456780");
    nul.body = json!({ "bo\0dy": "a\0b" });
    let batch = [inbound("a", "60123456789"), inbound("a", "60123456789"), inbound("b", "60123456789"), nul];
    assert_eq!(receive(&world, one, &batch).await, 3);
    assert_eq!(receive(&world, one, &batch).await, 0, "providers repeat themselves");
    assert_eq!(receive(&world, two, &batch[..1]).await, 1, "another instance has ids of its own");
    assert_eq!(receive(&world, one, &[]).await, 0);

    let conversations = list(&world, &Filter { instance: Some(one), ..Filter::default() }).await;
    assert_eq!(conversations.len(), 2);
    let mark = conversations.iter().find(|c| c.contact == "60123456789").unwrap();
    assert_eq!((mark.contact_name.as_str(), mark.state_at(Utc::now())), ("Mark", Handover::BOT));
    let kept: Vec<(String, Value)> =
        sqlx::query_as("select provider_message_id, body from inbound_messages where instance_id = $1 order by 1")
            .bind(one.0)
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[2], ("c".to_owned(), json!({ "body": "ab" })));

    let told: Vec<(String, String, Value)> =
        sqlx::query_as("select kind, environment, data from events order by id").fetch_all(&pool).await.unwrap();
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|(kind, environment, _)| kind == "message.received" && environment == "live"));
    let data = &told[0].2;
    assert!(data["id"].as_str().unwrap().starts_with("inm_"));
    assert_eq!(data["instanceId"], json!(one));
    assert_eq!(data["conversationId"], json!(mark.id));
    assert_eq!((&data["from"], &data["name"], &data["type"]), (&json!("+60123456789"), &json!("Mark"), &json!("text")));
    assert_eq!((&data["message"], &data["conversationState"]), (&json!({ "body": "Hi" }), &json!("bot")));
}

/// The same message over two connections at once is one message; and a thousand of them are one batch.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn batches_at_once_do_not_double_or_deadlock(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    let batch: Vec<NewInbound> =
        (0..1_000).map(|n| inbound(&format!("wamid.{n}"), &format!("6012345{:04}", n % 100))).collect();
    let backwards: Vec<NewInbound> = batch.iter().rev().cloned().collect();
    let begun = std::time::Instant::now();
    let (a, b, c) =
        tokio::join!(receive(&world, one, &batch), receive(&world, one, &backwards), receive(&world, one, &batch));
    assert_eq!(a + b + c, 1_000);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let rows: i64 = sqlx::query_scalar("select count(*) from inbound_messages").fetch_one(&pool).await.unwrap();
    let events: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.unwrap();
    let conversations: i64 = sqlx::query_scalar("select count(*) from conversations").fetch_one(&pool).await.unwrap();
    assert_eq!((rows, events, conversations), (1_000, 1_000, 100));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn names_and_times_move_forward_only(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    let late = inbound("a", "60123456789");
    let early = NewInbound { at: late.at - Duration::hours(1), name: String::new(), ..inbound("b", "60123456789") };
    receive(&world, one, std::slice::from_ref(&late)).await;
    receive(&world, one, &[early]).await;
    let found = list(&world, &Filter::default()).await.remove(0);
    assert_eq!(found.last_inbound_at.unwrap().timestamp_micros(), late.at.timestamp_micros());
    assert_eq!(found.contact_name, "Mark", "a message without a name takes none away");
    let long = NewInbound { name: "é".repeat(500), ..inbound("c", "60123456789") };
    receive(&world, one, &[long]).await;
    assert_eq!(list(&world, &Filter::default()).await[0].contact_name.chars().count(), 200);

    let mut tx = world.db.system().begin().await.unwrap();
    let sent = [
        (world.org(), one, "60123456789".to_owned(), late.at),
        (world.org(), one, "60123456789".to_owned(), late.at - Duration::days(1)),
        (world.org(), one, "60999999999".to_owned(), late.at),
    ];
    store::note_sent(&mut tx, &sent).await.unwrap();
    store::note_sent(&mut tx, &[]).await.unwrap();
    tx.commit().await.unwrap();
    let found = list(&world, &Filter::default()).await;
    assert_eq!(found.len(), 1, "whoever never wrote has no conversation");
    assert_eq!(found[0].last_outbound_at.unwrap().timestamp_micros(), late.at.timestamp_micros());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_person_takes_over_and_gives_back(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    receive(&world, one, &[inbound("a", "60123456789"), inbound("b", "60123456780")]).await;
    let id = list(&world, &Filter { contact: Some("60123456789".into()), ..Filter::default() }).await[0].id;
    let put = async |handover: &Handover| store::put(&world.db, &world.owner, id, None, handover).await.unwrap();
    let states = async |now| {
        let of = async |state| {
            let filter = Filter { state: Some(state), ..Filter::default() };
            store::list(&world.db, world.org(), &filter, 100, None, now).await.unwrap().conversations.len()
        };
        (of(ConversationState::Bot).await, of(ConversationState::Human).await)
    };
    let now = Utc::now();
    let until = now + Duration::hours(1);
    let taken = put(&human(Some(until))).await;
    assert_eq!(taken.version, 2);
    assert_eq!(taken.state_at(now).assignee.as_deref(), Some("Ada"));
    assert_eq!(states(now).await, (1, 1));
    // Nothing runs at that moment, and it is the bot's again.
    assert_eq!(states(until).await, (2, 0));
    assert_eq!(taken.state_at(until + Duration::seconds(1)), Handover::BOT);
    assert_eq!(put(&human(Some(until))).await.version, 2, "the same again changes nothing");
    assert_eq!(put(&human(None)).await.version, 3);
    assert_eq!(states(now + Duration::days(1_000)).await, (1, 1), "without a time it stays");
    assert_eq!(put(&Handover::BOT).await.state_at(now), Handover::BOT);
    assert_eq!(states(now).await, (2, 0));

    let history = audit::of_subject(&world.db, world.org(), &id.to_string()).await.unwrap();
    assert_eq!(history.len(), 3, "what changed nothing is not there");
    assert!(history.iter().all(|row| row.action == "conversation.handed_over" && row.actor == world.owner.name));
    let taken: Vec<_> =
        history[2].changes.iter().map(|change| (change.field.as_str(), change.after.as_deref())).collect();
    assert_eq!(taken[..2], [("answered by", Some("human")), ("assignee", Some("Ada"))]);
    let told = serde_json::to_string(&history).unwrap();
    assert!(!told.contains("60123456789"), "the log is for ever, a number is not: {told}");
}

/// As old as events may become; the conversation itself stays.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_people_wrote_long_ago_is_deleted(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    let now = Utc::now();
    receive(&world, one, &[inbound("new", "60123456789")]).await;
    // More than one statement deletes.
    sqlx::query(
        "insert into inbound_messages
         select ('00' || substr(md5(n::text), 3))::uuid, organization_id, instance_id, conversation_id, n::text, sender,
                kind, body, at
         from inbound_messages, generate_series(1, 4500) as n",
    )
    .execute(&pool)
    .await
    .unwrap();
    for (name, at) in [
        ("kept", partitions::events_kept_since(now) + Duration::seconds(1)),
        ("old", partitions::events_kept_since(now) - Duration::seconds(1)),
    ] {
        sqlx::query(
            "insert into inbound_messages
             select $1, organization_id, instance_id, conversation_id, $2, sender, kind, body, at
             from inbound_messages where provider_message_id = 'new'",
        )
        .bind(partitions::lowest_id(at))
        .bind(name)
        .execute(&pool)
        .await
        .unwrap();
    }
    store::forget_old(&world.db, now).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("select provider_message_id from inbound_messages order by id")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, ["kept", "new"]);
    assert_eq!(list(&world, &Filter::default()).await.len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn pages_follow_each_other(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    for n in 0..23 {
        receive(&world, one, &[inbound(&format!("m{n}"), &format!("601234567{n:02}"))]).await;
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page =
            store::list(&world.db, world.org(), &Filter::default(), 5, cursor.as_deref(), Utc::now()).await.unwrap();
        seen.extend(page.conversations.iter().map(|c| c.contact.clone()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..23).rev().map(|n| format!("601234567{n:02}")).collect();
    assert_eq!(seen, expected, "the last to write comes first");
    for wrong in ["", "x", "AAAA", &"A".repeat(32), "é"] {
        let page = store::list(&world.db, world.org(), &Filter::default(), 5, Some(wrong), Utc::now()).await;
        // 32 times A is a cursor of the year 1970: a place like any other.
        match wrong.len() {
            32 => assert!(page.unwrap().conversations.is_empty()),
            _ => assert!(matches!(page, Err(Error::Invalid(_))), "{wrong}"),
        }
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn others_see_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let one = instance(&pool, world.org(), "one").await;
    receive(&world, one, &[inbound("a", "60123456789")]).await;
    let id = list(&world, &Filter::default()).await[0].id;
    let other = world.other_organization().await;
    let theirs = instance(&pool, other.organization_id, "theirs").await;
    for (actor, allowed) in [(&other, None), (&world.owner, Some(vec![theirs])), (&world.owner, Some(vec![]))] {
        let (db, organization) = (&world.db, actor.organization_id);
        assert!(matches!(store::get(db, organization, id, allowed.as_deref()).await, Err(Error::NotFound)));
        assert!(matches!(store::put(db, actor, id, allowed.as_deref(), &human(None)).await, Err(Error::NotFound)));
        let filter = Filter { allowed, ..Filter::default() };
        assert!(store::list(db, organization, &filter, 5, None, Utc::now()).await.unwrap().conversations.is_empty());
    }
    assert_eq!(store::get(&world.db, world.org(), id, Some(&[one])).await.unwrap().version, 1, "nothing was changed");
    // An instance of somebody else can be given no message.
    let mut tx = world.db.system().begin().await.unwrap();
    assert!(store::receive(&mut tx, world.org(), theirs, &[inbound("x", "60123456789")]).await.is_err());
}
