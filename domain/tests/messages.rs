//! Accepting, looking at and cancelling messages, against a real Postgres. Whole seconds for a clock, so that nothing
//! is rounded on the way through the database.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use common::World;
use domain::{
    Db, Error,
    audit::store as audit,
    idempotency::{self, Answer, Claim, Claimed, Fingerprint},
    ids::{InstanceId, KeyId, MessageId, OrgId},
    keys::{self, Environment, KeyForm},
    messages::{
        Body, Message, MessageFilter, MessageStatus, Recipient,
        queue::{self, PausedBy},
        store::{self, Accepted, NewMessage, Refusal, Reply},
    },
    throttle::{Random, SplitMix},
};
use serde_json::Value;
use sqlx::PgPool;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

struct Desk {
    world: World,
    db: Db,
    org: OrgId,
}

impl Desk {
    async fn new(pool: &PgPool) -> Self {
        let world = World::new(pool).await;
        // More than `World`'s own: some tests let many accept at once.
        Self { org: world.org(), db: Db::open(pool.connect_options().as_ref().clone(), 16), world }
    }

    async fn instance(&self, provider: &str) -> InstanceId {
        let id = InstanceId::new();
        sqlx::query(
            "with made as (
                 insert into instances (id, organization_id, name, provider, settings, status, created_by_name)
                 values ($1, $2, $1::text, $3, jsonb_build_object('provider', $3), 'connected', 'Ada'))
             insert into queues (instance_id, organization_id) values ($1, $2)",
        )
        .bind(id.0)
        .bind(self.org.0)
        .bind(provider)
        .execute(self.db.system())
        .await
        .unwrap();
        id
    }

    async fn key(&self, name: &str, change: impl FnOnce(&mut KeyForm)) -> KeyId {
        let mut form = KeyForm { name: name.into(), ..KeyForm::default() };
        change(&mut form);
        let new = form.parse(Utc::now(), None).unwrap();
        keys::store::create(&self.db, &self.world.owner, new, None, "bnc").await.unwrap().id
    }

    fn message(&self, key: KeyId, instance: InstanceId, to: &str) -> NewMessage {
        NewMessage {
            organization: self.org,
            instance,
            key: Some(key),
            environment: Environment::Live,
            to: Recipient::parse(to).unwrap(),
            body: Body::text("Hi"),
            request: None,
            idempotency: None,
        }
    }

    fn claimed(&self, message: NewMessage, key: &str, body: &[u8]) -> NewMessage {
        let claim = Claim {
            organization: self.org,
            environment: message.environment,
            key: key.into(),
            fingerprint: Fingerprint::of("POST", "/send", message.key.unwrap(), body),
        };
        NewMessage { idempotency: Some(claim), ..message }
    }

    async fn accept(&self, batch: &[NewMessage], seconds: i64) -> Vec<Result<Reply, Refusal>> {
        store::accept(&self.db, batch, at(seconds), &mut SplitMix(7)).await.unwrap()
    }

    async fn accept_one(&self, message: NewMessage, seconds: i64) -> Result<Reply, Refusal> {
        self.accept(&[message], seconds).await.pop().unwrap()
    }

    async fn accepted(&self, message: NewMessage, seconds: i64) -> Accepted {
        match self.accept_one(message, seconds).await {
            Ok(Reply::Accepted(accepted)) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// Of what waits, in the order of its acceptance: when it may leave, and how far it stays from what leaves before it.
    async fn slots_and_gaps(&self) -> Vec<(DateTime<Utc>, i32)> {
        sqlx::query_as("select due, gap_ms from outbox order by seq").fetch_all(self.db.system()).await.unwrap()
    }

    async fn scalar<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
    {
        sqlx::query_scalar(query).fetch_one(self.db.system()).await.unwrap()
    }
}

fn accepted(reply: &Result<Reply, Refusal>) -> &Accepted {
    match reply {
        Ok(Reply::Accepted(accepted)) => accepted,
        other => panic!("{other:?}"),
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_tells_which_instances_it_sends_through(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (shop, news, gone) =
        (desk.instance("sandbox").await, desk.instance("sandbox").await, desk.instance("sandbox").await);
    let (key, other) = (desk.key("Shop", |_| {}).await, desk.key("Other", |_| {}).await);
    for (key, instance) in [(key, news), (key, shop), (key, shop), (key, gone), (other, news)] {
        desk.accepted(desk.message(key, instance, "+60123456789"), 0).await;
    }
    sqlx::query("update instances set deleted_at = now() where id = $1")
        .bind(gone.0)
        .execute(desk.db.system())
        .await
        .unwrap();
    let used = async |now| keys::store::in_use(&desk.db, desk.org, key, now).await.unwrap().instances;
    assert_eq!(used(Utc::now()).await, [(shop, 2), (news, 1)]);
    assert!(used(Utc::now() + TimeDelta::days(8)).await.is_empty(), "that was more than a week ago");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_is_accepted_is_in_the_queue_with_everything(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (sandbox, key) = (desk.instance("sandbox").await, desk.key("Shop", |_| {}).await);
    let one = desk.accepted(desk.message(key, sandbox, "+60 12-345 6789"), 0).await;
    assert_eq!((one.to.as_str(), one.position, one.status), ("+60123456789", 1, MessageStatus::Queued));
    assert_eq!(one.expected_send_at, Some(at(0)));
    assert_eq!(one.estimated_cost, Some(store::Cost { amount_micros: 0, currency: None }));
    let id = one.id.unwrap();
    let (message, steps) = store::get(&desk.db, desk.org, Some(key), id).await.unwrap();
    assert_eq!((message.to.unwrap().digits(), message.kind.as_str()), ("60123456789", "text"));
    assert_eq!((message.body, message.key), (Some(Body::text("Hi")), Some(key)));
    assert_eq!((message.accepted_at, message.slot_at, message.sent_at), (at(0), at(0), None));
    assert_eq!(steps.iter().map(|step| (step.at, step.status)).collect::<Vec<_>>(), [(at(0), MessageStatus::Queued)]);

    // It is in the queue, and whoever waits for work is told.
    assert_eq!(desk.scalar::<i64>("select count(*) from outbox where state = 'queued'").await, 1);
    assert_eq!(desk.scalar::<DateTime<Utc>>("select next_due from queues").await, at(0));
    assert_eq!(desk.scalar::<DateTime<Utc>>("select expires_at from outbox").await, at(24 * 3_600));
    let event: Value = desk.scalar("select data from events where kind = 'message.queued'").await;
    assert_eq!(event["id"], id.to_string());
    assert_eq!((event["to"].as_str(), event["status"].as_str()), (Some("+60123456789"), Some("queued")));

    let claims = queue::claim(&desk.db, desk.world.server, 10, at(0)).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [id]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn positions_and_order_within_a_batch(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (one, other) = (desk.instance("sandbox").await, desk.instance("sandbox").await);
    let key = desk.key("Shop", |_| {}).await;
    let batch: Vec<_> = (0..20)
        .map(|n| desk.message(key, if n % 2 == 0 { one } else { other }, &format!("6012345678{}", n / 2)))
        .collect();
    let replies = desk.accept(&batch, 0).await;
    let positions: Vec<_> = replies.iter().map(|reply| accepted(reply).position).collect();
    assert_eq!(positions, (0..20).map(|n| n / 2 + 1).collect::<Vec<i64>>());
    // Ids grow in the order of the batch, and so does the order of sending.
    let ids: Vec<_> = replies.iter().map(|reply| accepted(reply).id.unwrap().0).collect();
    assert!(ids.is_sorted());
    let order: Vec<uuid::Uuid> =
        sqlx::query_scalar("select message_id from outbox order by seq").fetch_all(desk.db.system()).await.unwrap();
    assert_eq!(order, ids);
    assert_eq!(desk.scalar::<i64>("select sum(waiting)::bigint from queues").await, 20);
    assert_eq!(desk.accepted(desk.message(key, one, "60123456780"), 1).await.position, 11);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn only_live_messages_of_ordinary_accounts_are_paced(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let key = desk.key("Paced", |form| form.throttle_mode = "random".into()).await;
    let waha = desk.instance("waha").await;
    let batch: Vec<_> = (0..10).map(|n| desk.message(key, waha, &format!("6012345678{n}"))).collect();
    let slots: Vec<_> =
        desk.accept(&batch, 0).await.iter().map(|reply| accepted(reply).expected_send_at.unwrap()).collect();
    assert_eq!(slots[0], at(0), "the first message of an idle instance leaves at once");
    for pair in slots.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((TimeDelta::seconds(3)..=TimeDelta::seconds(8)).contains(&gap), "{gap}");
    }
    // Every gap is known to the sender, so that it holds also when a message leaves late.
    assert_eq!(desk.scalar::<i64>("select count(*) from outbox where lane <> 0").await, 0);
    assert_eq!(desk.scalar::<i64>("select count(*) from outbox where gap_ms between 3000 and 8000").await, 10);

    // The schedule goes on where it ended, also for another key and another batch.
    let unpaced = desk.key("Off", |form| form.throttle_mode = "off".into()).await;
    let after = desk.accepted(desk.message(unpaced, waha, "60123456700"), 1).await;
    assert_eq!(after.expected_send_at, Some(slots[9]));
    let later = desk.accepted(desk.message(key, waha, "60123456701"), 1).await.expected_send_at.unwrap();
    assert!(later - slots[9] >= TimeDelta::seconds(3));

    // Test messages rehearse and do not reach WhatsApp; the Cloud API has its own limits.
    let test = NewMessage { environment: Environment::Test, ..desk.message(key, waha, "60123456702") };
    assert_eq!(desk.accepted(test, 1).await.expected_send_at, Some(at(1)));
    let cloud = desk.instance("cloud_api").await;
    let batch = [desk.message(key, cloud, "60123456701"), desk.message(key, cloud, "60123456702")];
    for reply in desk.accept(&batch, 1).await {
        assert_eq!(accepted(&reply).expected_send_at, Some(at(1)));
        assert_eq!(accepted(&reply).estimated_cost, None);
    }
    // What a person sends from the console is spaced out, too.
    let person = |to: &str| NewMessage { key: None, ..desk.message(key, waha, to) };
    let first = desk.accepted(person("60123456703"), 200).await.expected_send_at.unwrap();
    let second = desk.accepted(person("60123456704"), 200).await.expected_send_at.unwrap();
    assert!(second - first >= TimeDelta::seconds(3));
}

/// The gaps of accepted messages are exactly those that the generator draws: one draw for each, none for what is refused,
/// and none again when slots become free.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn gaps_are_drawn_once_for_each_accepted_message(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let waha = desk.instance("waha").await;
    let key = desk.key("Paced", |form| {
        form.throttle_mode = "smart".into();
        form.batch_size = "4".into();
        form.max_queue = "6".into();
    });
    let key = key.await;
    let (mut random, mut expected) = (SplitMix(41), SplitMix(41));
    let mut accept = async |count: usize, seconds: i64| {
        let batch: Vec<_> = (0..count).map(|n| desk.message(key, waha, &format!("6012345678{n}"))).collect();
        store::accept(&desk.db, &batch, at(seconds), &mut random).await.unwrap()
    };
    let cancel = async |reply: &Result<Reply, Refusal>| {
        store::cancel_by(&desk.db, &desk.world.owner, accepted(reply).id.unwrap(), at(1)).await.unwrap();
    };
    let mut gap = |pause_s: i32| i32::try_from(expected.draw(3_000, 8_000)).unwrap() + 1_000 * pause_s;
    let after = |(slot, _): (DateTime<Utc>, i32), gap: i32| (slot + TimeDelta::milliseconds(gap.into()), gap);

    // Two more than may wait. The first of a rested instance leaves at once, its gap is for what is sent before it.
    let replies = accept(8, 0).await;
    assert!(replies[6..].iter().all(|reply| matches!(reply, Err(Refusal::QueueFull { .. }))), "{replies:?}");
    let mut line = vec![(at(0), gap(0))];
    for pause_s in [0, 0, 0, 60, 0] {
        line.push(after(line[line.len() - 1], gap(pause_s)));
    }
    assert_eq!(desk.slots_and_gaps().await, line);

    // A slot in the middle that becomes free moves nobody; the last one is taken anew, with a gap of its own.
    cancel(&replies[2]).await;
    cancel(&replies[5]).await;
    line.remove(5);
    let second = [accept(1, 1).await, accept(1, 1).await].concat();
    for pause_s in [0, 0] {
        line.push(after(line[line.len() - 1], gap(pause_s)));
    }
    line.remove(2);
    assert_eq!(desk.slots_and_gaps().await, line);

    // Nothing waits and nothing was sent: the instance is rested again.
    for reply in replies[..5].iter().chain(&second).filter(|reply| **reply != replies[2]) {
        cancel(reply).await;
    }
    accept(1, 2).await;
    assert_eq!(desk.slots_and_gaps().await, [(at(2), gap(0))]);
    assert_eq!(random.0, expected.0, "as often as one message was accepted, and not more");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_queue_is_full_for_one_key_on_one_instance(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let key = desk.key("Small", |form| {
        form.max_queue = "3".into();
        form.throttle_mode = "fixed".into();
        form.delay = "10".into();
    });
    let (key, other) = (key.await, desk.key("Other", |_| {}).await);
    let (waha, sandbox) = (desk.instance("waha").await, desk.instance("sandbox").await);
    let batch: Vec<_> = (0..5).map(|n| desk.message(key, waha, &format!("6012345678{n}"))).collect();
    let replies = desk.accept(&batch, 0).await;
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 3);
    // The first of the three is due now, so a place frees soon.
    assert_eq!(replies[3], Err(Refusal::QueueFull { retry_after_s: 1 }));
    assert_eq!(desk.scalar::<i64>("select count(*) from messages").await, 3);

    assert!(desk.accept_one(desk.message(key, sandbox, "60123456780"), 0).await.is_ok(), "another instance has room");
    assert!(desk.accept_one(desk.message(other, waha, "60123456780"), 0).await.is_ok(), "another key has room");

    // Once the first has left, the second place frees ten seconds after the beginning.
    let [first] = &queue::claim(&desk.db, desk.world.server, 1, at(0)).await.unwrap()[..] else { panic!() };
    let sent = queue::Outcome::Sent { provider_message_id: "x".into(), then: vec![] };
    queue::finish(&desk.db, &[queue::Finished::new(first, sent, at(0))], at(0)).await.unwrap();
    assert!(desk.accept_one(desk.message(key, waha, "60123456785"), 2).await.is_ok());
    assert_eq!(
        desk.accept_one(desk.message(key, waha, "60123456786"), 2).await,
        Err(Refusal::QueueFull { retry_after_s: 8 })
    );
    // Nobody knows when a paused queue goes on.
    let mut tx = desk.db.system().begin().await.unwrap();
    queue::pause(&mut tx, desk.org, waha, PausedBy::Person, "lunch", at(3)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        desk.accept_one(desk.message(key, waha, "60123456786"), 3).await,
        Err(Refusal::QueueFull { retry_after_s: 60 })
    );
    let waiting = desk.accepted(desk.message(other, waha, "60123456786"), 3).await;
    assert_eq!(waiting.expected_send_at, None, "nobody knows when it leaves");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn instances_of_others_and_deleted_ones_are_not_there(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (sandbox, key) = (desk.instance("sandbox").await, desk.key("Shop", |_| {}).await);
    let other = desk.world.other_organization().await;
    let foreign = NewMessage { organization: other.organization_id, ..desk.message(key, sandbox, "60123456789") };
    let unknown = desk.message(key, InstanceId::new(), "60123456789");
    let good = desk.message(key, sandbox, "60123456789");
    let replies = desk.accept(&[foreign, unknown, good.clone()], 0).await;
    assert_eq!(replies[..2], [Err(Refusal::NoInstance), Err(Refusal::NoInstance)]);
    assert!(replies[2].is_ok(), "the others of the batch are not affected");
    let id = accepted(&replies[2]).id.unwrap();
    assert!(matches!(store::get(&desk.db, other.organization_id, None, id).await, Err(Error::NotFound)));
    assert!(matches!(store::get(&desk.db, desk.org, Some(KeyId::new()), id).await, Err(Error::NotFound)));
    assert!(store::get(&desk.db, desk.org, None, id).await.is_ok());
    let all = MessageFilter { limit: 10, ..MessageFilter::default() };
    assert_eq!(store::list(&desk.db, other.organization_id, &all).await.unwrap().messages, []);
    assert!(matches!(store::cancel_by(&desk.db, &other, id, at(1)).await, Err(Error::NotFound)));
    assert!(matches!(store::send_now(&desk.db, &other, id, at(1)).await, Err(Error::NotFound)));

    sqlx::query("update instances set deleted_at = now()").execute(desk.db.system()).await.unwrap();
    assert_eq!(desk.accept_one(good, 1).await, Err(Refusal::NoInstance));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_conversation_with_a_person_is_not_disturbed(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (sandbox, key) = (desk.instance("sandbox").await, desk.key("Bot", |_| {}).await);
    sqlx::query(
        "insert into conversations (id, organization_id, instance_id, contact, state, assignee, until)
         values (gen_random_uuid(), $1, $2, '60123456789', 'human', 'Ada', $3),
                (gen_random_uuid(), $1, $2, '60123456780', 'bot', null, null)",
    )
    .bind(desk.org.0)
    .bind(sandbox.0)
    .bind(at(60))
    .execute(desk.db.system())
    .await
    .unwrap();
    let message = desk.message(key, sandbox, "60123456789");
    assert_eq!(
        desk.accept_one(message.clone(), 59).await,
        Err(Refusal::WithHuman { assignee: Some("Ada".into()), until: Some(at(60)) })
    );
    assert!(desk.accept_one(desk.message(key, sandbox, "60123456780"), 59).await.is_ok(), "the bot's own conversation");
    assert!(desk.accept_one(desk.message(key, desk.instance("sandbox").await, "60123456789"), 59).await.is_ok());
    let person = NewMessage { key: None, ..message.clone() };
    assert!(desk.accept_one(person, 59).await.is_ok(), "people answer people");
    assert!(desk.accept_one(message, 60).await.is_ok(), "it has returned to the bot by itself");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_same_call_happens_once(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (sandbox, key) = (desk.instance("sandbox").await, desk.key("Shop", |_| {}).await);
    let message = || desk.message(key, sandbox, "60123456789");
    let first = desk.accepted(desk.claimed(message(), "order-1", b"a"), 0).await;
    let Ok(Reply::Replayed(kept)) = desk.accept_one(desk.claimed(message(), "order-1", b"a"), 5).await else {
        panic!("the second call must get the first one's answer")
    };
    assert_eq!((kept.status, kept.text), (202, serde_json::to_string(&first).unwrap()));
    assert_eq!(desk.accept_one(desk.claimed(message(), "order-1", b"b"), 5).await, Err(Refusal::Mismatch));
    // Another environment is another world; so is another organization, by the table's key.
    let test = NewMessage { environment: Environment::Test, ..message() };
    assert!(matches!(desk.accept_one(desk.claimed(test, "order-1", b"a"), 5).await, Ok(Reply::Accepted(_))));
    // Within one batch the second one has to ask again.
    let twice = [desk.claimed(message(), "order-2", b"a"), desk.claimed(message(), "order-2", b"a")];
    let replies = desk.accept(&twice, 6).await;
    assert!(matches!(replies[0], Ok(Reply::Accepted(_))));
    assert_eq!(replies[1], Err(Refusal::InFlight { retry_after_s: 1 }));
    assert_eq!(desk.scalar::<i64>("select count(*) from messages").await, 3);

    // A refused call did nothing: it may be made again.
    let nobody = desk.claimed(desk.message(key, InstanceId::new(), "60123456789"), "order-3", b"a");
    assert_eq!(desk.accept_one(nobody, 7).await, Err(Refusal::NoInstance));
    assert!(matches!(desk.accept_one(desk.claimed(message(), "order-3", b"c"), 8).await, Ok(Reply::Accepted(_))));

    // After a day it is forgotten, whether somebody has tidied up or not.
    let day = 24 * 3_600;
    assert!(matches!(desk.accept_one(desk.claimed(message(), "order-1", b"b"), day + 1).await, Ok(Reply::Accepted(_))));
    assert_eq!(idempotency::forget_old(&desk.db, at(day + 20)).await.unwrap(), 3);
    assert_eq!(desk.scalar::<i64>("select count(*) from idempotency_keys").await, 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_claim_that_is_running_or_died(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let key = KeyId::new();
    let claim = |body: &[u8]| Claim {
        organization: desk.org,
        environment: Environment::Live,
        key: "k".into(),
        fingerprint: Fingerprint::of("POST", "/x", key, body),
    };
    let take = async |claim: &Claim, seconds| {
        let mut tx = desk.db.system().begin().await.unwrap();
        let claimed = idempotency::claim(&mut tx, &[claim], at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
        claimed.into_iter().next().unwrap()
    };
    assert_eq!(take(&claim(b"a"), 0).await, Claimed::First);
    assert_eq!(take(&claim(b"a"), 1).await, Claimed::Running { retry_after_s: 2 });
    assert_eq!(take(&claim(b"b"), 1).await, Claimed::Mismatch);
    // Its server died: after a minute the same call may be made again, another one may not.
    assert_eq!(take(&claim(b"b"), 61).await, Claimed::Mismatch);
    assert_eq!(take(&claim(b"a"), 61).await, Claimed::First);
    let mut tx = desk.db.system().begin().await.unwrap();
    let answer = Answer { status: 201, text: "{}".into() };
    idempotency::finish(&mut tx, &[(&claim(b"a"), answer.clone())]).await.unwrap();
    // Giving up comes too late for what is finished.
    idempotency::abandon(&mut tx, &[&claim(b"a")]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(take(&claim(b"a"), 62).await, Claimed::Done(answer));
}

/// Many calls at once, in many batches, each repeated: one message for each key, whoever comes first.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn racing_calls_make_one_message_each(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let sandboxes = [desk.instance("sandbox").await, desk.instance("sandbox").await];
    let key = desk.key("Shop", |form| form.max_queue = "1000".into()).await;
    let batches: Vec<Vec<NewMessage>> = (0..8)
        .map(|turn| {
            // Every batch in another order: locks must be taken in one.
            let mut numbers: Vec<usize> = (0..20).collect();
            numbers.rotate_left(turn * 3 % 20);
            numbers
                .into_iter()
                .map(|n| {
                    let to = format!("601234567{n:02}");
                    desk.claimed(desk.message(key, sandboxes[n % 2], &to), &format!("order-{n}"), b"same")
                })
                .collect()
        })
        .collect();
    let tasks: Vec<_> = batches
        .into_iter()
        .map(|batch| {
            let db = desk.db.clone();
            tokio::spawn(async move { store::accept(&db, &batch, at(0), &mut SplitMix(1)).await.unwrap() })
        })
        .collect();
    let mut made = HashSet::new();
    for task in tasks {
        for reply in task.await.unwrap() {
            match reply {
                Ok(Reply::Accepted(accepted)) => assert!(made.insert(accepted.id.unwrap())),
                Ok(Reply::Replayed(kept)) => assert_eq!(kept.status, 202),
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
    }
    assert_eq!(made.len(), 20);
    assert_eq!(desk.scalar::<i64>("select count(*) from messages").await, 20);
    assert_eq!(desk.scalar::<i64>("select sum(waiting)::bigint from queues").await, 20);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_estimate_writes_nothing(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let key = desk.key("Small", |form| form.max_queue = "1".into()).await;
    let (sandbox, waha) = (desk.instance("sandbox").await, desk.instance("waha").await);
    let estimate =
        async |message: &NewMessage| store::estimate(&desk.db, message, at(0), &mut SplitMix(1)).await.unwrap();
    let message = desk.message(key, sandbox, "60123456789");
    let told = estimate(&message).await.unwrap();
    assert_eq!((told.id, told.position), (None, 1));
    assert!(serde_json::to_value(&told).unwrap().get("id").is_none());
    assert_eq!(estimate(&desk.message(key, waha, "60123456789")).await.unwrap().position, 1);
    assert_eq!(estimate(&desk.message(key, InstanceId::new(), "60123456789")).await, Err(Refusal::NoInstance));
    assert_eq!(desk.scalar::<i64>("select count(*) from messages").await, 0);
    assert_eq!(desk.scalar::<i64>("select count(*) from queues where last_slot_at is not null").await, 0);
    desk.accepted(message.clone(), 0).await;
    assert_eq!(estimate(&message).await, Err(Refusal::QueueFull { retry_after_s: 1 }));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_page_by_page_through_every_filter(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (one, other) = (desk.instance("sandbox").await, desk.instance("sandbox").await);
    let (key, second) = (desk.key("One", |_| {}).await, desk.key("Two", |_| {}).await);
    let mut all = Vec::new();
    for n in 0..7 {
        let message = desk.message(key, if n < 4 { one } else { other }, &format!("6012345678{}", n % 2));
        let message = if n == 6 { NewMessage { environment: Environment::Test, ..message } } else { message };
        all.push(desk.accepted(message, n).await.id.unwrap());
    }
    desk.accepted(desk.message(second, one, "60123456789"), 8).await;
    all.reverse();
    let list = async |filter: MessageFilter| store::list(&desk.db, desk.org, &filter).await.unwrap();
    let of_key = MessageFilter { key: Some(key), limit: 3, ..MessageFilter::default() };
    let (mut seen, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = list(MessageFilter { before, ..of_key.clone() }).await;
        seen.extend(page.messages.iter().map(|message| message.id));
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (all.clone(), 3));
    let ids = async |filter: MessageFilter| -> Vec<MessageId> {
        let filter = MessageFilter { limit: 100, key: Some(key), ..filter };
        list(filter).await.messages.into_iter().map(|message: Message| message.id).collect()
    };
    let nothing = MessageFilter::default;
    assert_eq!(ids(MessageFilter { instance: Some(one), ..nothing() }).await, all[3..]);
    assert_eq!(ids(MessageFilter { instances: Some(vec![other]), ..nothing() }).await, all[..3]);
    assert_eq!(ids(MessageFilter { instances: Some(vec![]), ..nothing() }).await, []);
    assert_eq!(ids(MessageFilter { environment: Some(Environment::Test), ..nothing() }).await, all[..1]);
    assert_eq!(
        ids(MessageFilter { to: Some(Recipient::parse("60123456781").unwrap()), ..nothing() }).await,
        [all[1], all[3], all[5]]
    );
    assert_eq!(ids(MessageFilter { status: Some(MessageStatus::Queued), ..nothing() }).await, all);
    assert_eq!(ids(MessageFilter { status: Some(MessageStatus::Read), ..nothing() }).await, []);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_waits_can_be_cancelled(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (waha, key) =
        (desk.instance("waha").await, desk.key("Shop", |form| form.throttle_mode = "random".into()).await);
    let first = desk.accepted(desk.message(key, waha, "60123456789"), 0).await.id.unwrap();
    let second = desk.accepted(desk.message(key, waha, "60123456780"), 0).await.id.unwrap();
    let other = desk.key("Other", |_| {}).await;
    assert!(matches!(store::cancel(&desk.db, desk.org, Some(other), second, "x", at(1)).await, Err(Error::NotFound)));
    let (message, steps) = store::cancel(&desk.db, desk.org, Some(key), second, "by Shop", at(1)).await.unwrap();
    assert_eq!((message.status, message.status_at), (MessageStatus::Cancelled, at(1)));
    assert_eq!((steps.len(), steps[1].status, steps[1].detail.as_str()), (2, MessageStatus::Cancelled, "by Shop"));
    assert_eq!(desk.scalar::<i64>("select waiting from queues").await, 1);
    let Err(Error::Conflict(why)) = store::cancel(&desk.db, desk.org, Some(key), second, "x", at(2)).await else {
        panic!()
    };
    assert!(why.starts_with("This message was cancelled on 2026-09-21"), "{why}");

    let [claim] = &queue::claim(&desk.db, desk.world.server, 5, at(20)).await.unwrap()[..] else { panic!() };
    assert_eq!(claim.id, first);
    let Err(Error::Conflict(why)) = store::cancel(&desk.db, desk.org, Some(key), first, "x", at(20)).await else {
        panic!()
    };
    assert_eq!(why, "This message is being sent right now.");
    let sent = queue::Outcome::Sent { provider_message_id: "x".into(), then: vec![] };
    queue::finish(&desk.db, &[queue::Finished::new(claim, sent, at(21))], at(21)).await.unwrap();
    let Err(Error::Conflict(why)) = store::cancel(&desk.db, desk.org, Some(key), first, "x", at(22)).await else {
        panic!()
    };
    assert!(why.starts_with("This message was sent on"), "{why}");
    assert_eq!(desk.scalar::<i64>("select waiting from queues").await, 0);
}

/// What was cancelled holds nobody up, and nothing is accepted that would expire before its turn.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_line_is_as_long_as_what_waits_in_it(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let slow = desk.key("Slow", |form| {
        form.throttle_mode = "fixed".into();
        form.delay = "600".into();
        form.max_queue = "1000".into();
    });
    let (slow, waha) = (slow.await, desk.instance("waha").await);
    let message = |n: i64| desk.message(slow, waha, &format!("60123{n:06}"));
    // Ten minutes between two: 144 fit into a day.
    let batch: Vec<_> = (0..200).map(message).collect();
    let replies = desk.accept(&batch, 0).await;
    let taken: Vec<_> = replies.iter().filter(|reply| reply.is_ok()).map(accepted).collect();
    assert_eq!(taken.len(), 144);
    assert_eq!(taken[143].expected_send_at, Some(at(143 * 600)));
    assert_eq!(replies[144], Err(Refusal::QueueFull { retry_after_s: 1 }));
    assert_eq!(desk.accept_one(message(300), 0).await, Err(Refusal::QueueFull { retry_after_s: 1 }));
    assert_eq!(desk.accepted(message(301), 601).await.expected_send_at, Some(at(144 * 600)));

    let waiting: Vec<uuid::Uuid> =
        sqlx::query_scalar("select message_id from outbox").fetch_all(desk.db.system()).await.unwrap();
    for id in waiting {
        store::cancel(&desk.db, desk.org, None, domain::ids::MessageId(id), "by Ada", at(700)).await.unwrap();
    }
    assert_eq!(desk.accepted(message(302), 700).await.expected_send_at, Some(at(700)), "nothing was sent yet");
    assert_eq!(desk.accepted(message(303), 700).await.expected_send_at, Some(at(1_300)));
    let [first] = &queue::claim(&desk.db, desk.world.server, 1, at(700)).await.unwrap()[..] else { panic!() };
    let sent = queue::Outcome::Sent { provider_message_id: "x".into(), then: vec![] };
    queue::finish(&desk.db, &[queue::Finished::new(first, sent, at(701))], at(701)).await.unwrap();
    let last = desk.scalar::<uuid::Uuid>("select message_id from outbox").await;
    store::cancel(&desk.db, desk.org, None, domain::ids::MessageId(last), "by Ada", at(702)).await.unwrap();
    // From what was really sent on.
    assert_eq!(desk.accepted(message(304), 702).await.expected_send_at, Some(at(1_301)));
    let cancelled: i64 = desk
        .scalar("select count(*) from events where kind = 'message.failed' and data ->> 'status' = 'cancelled'")
        .await;
    assert_eq!(cancelled, 146, "whoever waits for a message hears that it was cancelled");
}

/// What a person does to a message is in the audit log, without the number that it was for.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_people_do_to_messages_is_written_down(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (waha, key) =
        (desk.instance("waha").await, desk.key("Shop", |form| form.throttle_mode = "random".into()).await);
    let mut ids = Vec::new();
    for to in ["60123456789", "60123456780", "60123456781"] {
        ids.push(desk.accepted(desk.message(key, waha, to), 0).await.id.unwrap());
    }
    let ada = &desk.world.owner;
    store::send_now(&desk.db, ada, ids[1], at(1)).await.unwrap();
    store::cancel_by(&desk.db, ada, ids[1], at(2)).await.unwrap();
    let (message, steps) = store::get(&desk.db, desk.org, None, ids[1]).await.unwrap();
    assert_eq!(message.status, MessageStatus::Cancelled);
    assert_eq!(steps[1].detail, format!("Cancelled by {}.", ada.name));
    assert!(matches!(store::cancel_by(&desk.db, ada, ids[1], at(3)).await, Err(Error::Conflict(_))));
    store::cancel(&desk.db, desk.org, Some(key), ids[2], "by Shop", at(1)).await.unwrap();

    let rows = audit::page(&desk.db, desk.org, None, None, None, 10).await.unwrap();
    let of_messages: Vec<_> = rows.iter().filter(|row| row.action.starts_with("message.")).collect();
    let told: Vec<_> = of_messages.iter().map(|row| (row.action.as_str(), row.subject.clone())).collect();
    assert_eq!(told, [("message.cancelled", ids[1].to_string()), ("message.hurried", ids[1].to_string())]);
    assert!(of_messages.iter().all(|row| row.actor == ada.name));
    assert!(!serde_json::to_string(&of_messages).unwrap().contains("60123456780"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn send_now_goes_first_but_keeps_the_order_of_a_recipient(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let key = desk.key("Shop", |form| {
        form.throttle_mode = "fixed".into();
        form.delay = "10".into();
    });
    let (waha, key) = (desk.instance("waha").await, key.await);
    let mut ids = Vec::new();
    for to in ["60123456780", "60123456781", "60123456782", "60123456789", "60123456783", "60123456789"] {
        ids.push(desk.accepted(desk.message(key, waha, to), 0).await.id.unwrap());
    }
    store::send_now(&desk.db, &desk.world.owner, ids[5], at(1)).await.unwrap();
    let order = run(&desk, 6).await;
    let place = |id: MessageId| order.iter().position(|other| *other == id).unwrap();
    assert_eq!(place(ids[3]), 0, "the earlier message to the same recipient comes along: {order:?}");
    assert!(place(ids[5]) < place(ids[1]), "and it is before what waited: {order:?}");
    assert!(matches!(store::send_now(&desk.db, &desk.world.owner, ids[5], at(99)).await, Err(Error::Conflict(_))));

    let (waha, mut ids) = (desk.instance("waha").await, Vec::new());
    for n in 0..4 {
        ids.push(desk.accepted(desk.message(key, waha, &format!("6012345678{n}")), 0).await.id.unwrap());
    }
    store::send_now(&desk.db, &desk.world.owner, ids[3], at(1)).await.unwrap();
    assert_eq!(run(&desk, 4).await, [ids[3], ids[0], ids[1], ids[2]]);
}

/// Sends what there is, a message every ten seconds and none earlier.
async fn run(desk: &Desk, turns: i64) -> Vec<MessageId> {
    let mut order = Vec::new();
    for turn in 0..turns {
        let now = at(1 + turn * 10);
        let claims = queue::claim(&desk.db, desk.world.server, 10, now).await.unwrap();
        let [claim] = &claims[..] else { panic!("turn {turn}: {}", claims.len()) };
        order.push(claim.id);
        let sent = queue::Outcome::Sent { provider_message_id: turn.to_string(), then: vec![] };
        queue::finish(&desk.db, &[queue::Finished::new(claim, sent, now)], now).await.unwrap();
        let early = queue::claim(&desk.db, desk.world.server, 10, now + TimeDelta::seconds(9)).await.unwrap();
        assert!(early.is_empty(), "the pace holds all the same");
    }
    order
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_figures_of_a_key(pool: PgPool) {
    let desk = Desk::new(&pool).await;
    let (sandbox, key) = (desk.instance("sandbox").await, desk.key("Shop", |_| {}).await);
    for n in 0..6 {
        desk.accepted(desk.message(key, sandbox, &format!("6012345678{n}")), n).await;
    }
    let statuses = ["read", "delivered", "sent", "failed", "failed", "queued"];
    for (n, status) in statuses.iter().enumerate() {
        // The first failed one had reached WhatsApp.
        sqlx::query(
            "update messages set status = $1, sent_at = case when $3 then accepted_at end where recipient = $2",
        )
        .bind(status)
        .bind(format!("6012345678{n}"))
        .bind(n < 4)
        .execute(desk.db.system())
        .await
        .unwrap();
    }
    let stats = keys::store::stats(&desk.db, desk.org, key, Utc::now()).await.unwrap();
    assert_eq!((stats.messages, stats.sent, stats.delivered, stats.read, stats.failed), (6, 4, 1, 1, 2));
    assert_eq!(stats.last_message_at, Some(at(5)));
    assert_eq!(keys::store::in_use(&desk.db, desk.org, key, Utc::now()).await.unwrap().queued_messages, 6);
    let unused = desk.key("Unused", |_| {}).await;
    let stats = keys::store::stats(&desk.db, desk.org, unused, Utc::now()).await.unwrap();
    assert_eq!((stats.messages, stats.last_message_at), (0, None));
}
