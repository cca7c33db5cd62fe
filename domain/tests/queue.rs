//! The queue against a real Postgres. The clock is the test's own: `at(s)` is `s` seconds after it began.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use common::World;
use domain::{
    Db,
    ids::{InstanceId, MessageId, OrgId},
    messages::{
        Body, MessageStatus, StatusUpdate,
        queue::{self, Claimed, Finding, Finished, Outcome, PausedBy, ScheduledStatus},
    },
    throttle::{Pace, Random, SplitMix, ThrottleMode},
};
use sqlx::PgPool;
use uuid::Uuid;

/// A whole second, so that nothing is rounded on the way through the database.
fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(seconds)
}

fn ms(milliseconds: i64) -> DateTime<Utc> {
    start() + TimeDelta::milliseconds(milliseconds)
}

struct Line {
    db: Db,
    org: OrgId,
    server: Uuid,
}

impl Line {
    async fn new(pool: &PgPool) -> Self {
        let world = World::new(pool).await;
        Self { org: world.org(), db: Db::open(pool.connect_options().as_ref().clone(), 16), server: Uuid::now_v7() }
    }

    async fn instance(&self, provider: &str) -> InstanceId {
        let id = InstanceId::new();
        sqlx::query(
            "insert into instances (id, organization_id, name, provider, settings, status, wanted, created_by_name)
             values ($1, $2, $1::text, $3, jsonb_build_object('provider', $3), 'connected', true, 'Ada')",
        )
        .bind(id.0)
        .bind(self.org.0)
        .bind(provider)
        .execute(self.db.system())
        .await
        .unwrap();
        sqlx::query("insert into queues (instance_id, organization_id) values ($1, $2)")
            .bind(id.0)
            .bind(self.org.0)
            .execute(self.db.system())
            .await
            .unwrap();
        id
    }

    /// A message that waits, as `store::accept` writes it.
    async fn accept(
        &self,
        instance: InstanceId,
        to: &str,
        slot: DateTime<Utc>,
        gap_ms: i64,
        environment: &str,
    ) -> MessageId {
        let id = MessageId::new();
        let mut tx = self.db.system().begin().await.unwrap();
        queue::lock(&mut tx, &[instance]).await.unwrap();
        sqlx::query(
            "insert into messages (id, organization_id, instance_id, environment, recipient, kind, body, status, status_rank,
                                   status_at, accepted_at, slot_at)
             values ($1, $2, $3, $4, $5, 'text', $6, 'queued', 0, $7, $7, $7)",
        )
        .bind(id.0)
        .bind(self.org.0)
        .bind(instance.0)
        .bind(environment)
        .bind(to)
        .bind(serde_json::to_value(Body::text("Hello")).unwrap())
        .bind(slot)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "insert into outbox (message_id, organization_id, instance_id, environment, recipient, due, gap_ms, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id.0)
        .bind(self.org.0)
        .bind(instance.0)
        .bind(environment)
        .bind(to)
        .bind(slot)
        .bind(i32::try_from(gap_ms).unwrap())
        .bind(slot + TimeDelta::hours(24))
        .execute(&mut *tx)
        .await
        .unwrap();
        queue::refresh(&mut tx, &[instance], start()).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn claim(&self, now: DateTime<Utc>) -> Vec<Claimed> {
        let mut claims = queue::claim(&self.db, self.server, 100, now).await.unwrap();
        claims.sort_by_key(|claim| claim.id);
        claims
    }

    async fn claimed(&self, now: DateTime<Utc>) -> Vec<MessageId> {
        self.claim(now).await.into_iter().map(|claim| claim.id).collect()
    }

    async fn finish(&self, claim: &Claimed, outcome: Outcome, now: DateTime<Utc>) {
        queue::finish(&self.db, &[Finished::new(claim, outcome, now)], now).await.unwrap();
    }

    /// Claims what is due and has it all sent.
    async fn send_due(&self, now: DateTime<Utc>) -> Vec<MessageId> {
        let claims = self.claim(now).await;
        let ends: Vec<Finished> = claims.iter().map(|claim| Finished::new(claim, sent(claim), now)).collect();
        queue::finish(&self.db, &ends, now).await.unwrap();
        claims.into_iter().map(|claim| claim.id).collect()
    }

    async fn status(&self, id: MessageId) -> String {
        sqlx::query_scalar("select status from messages where id = $1")
            .bind(id.0)
            .fetch_one(self.db.system())
            .await
            .unwrap()
    }

    async fn steps(&self, id: MessageId) -> Vec<String> {
        sqlx::query_scalar("select status from message_steps where message_id = $1 order by at, status")
            .bind(id.0)
            .fetch_all(self.db.system())
            .await
            .unwrap()
    }

    async fn events(&self, id: MessageId) -> Vec<String> {
        sqlx::query_scalar("select kind from events where message_id = $1 order by id")
            .bind(id.0)
            .fetch_all(self.db.system())
            .await
            .unwrap()
    }

    async fn waiting(&self) -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(self.db.system()).await.unwrap()
    }

    async fn queue(&self, instance: InstanceId) -> queue::Queue {
        let mut tx = self.db.tenant(self.org).await.unwrap();
        queue::queue(&mut tx, self.org, instance).await.unwrap()
    }

    async fn pause(&self, instance: InstanceId, by: PausedBy, now: DateTime<Utc>) -> bool {
        let mut tx = self.db.tenant(self.org).await.unwrap();
        let changed = queue::pause(&mut tx, self.org, instance, by, "because", now).await.unwrap();
        tx.commit().await.unwrap();
        changed
    }

    async fn resume(&self, instance: InstanceId, by: PausedBy, now: DateTime<Utc>) -> bool {
        let mut tx = self.db.tenant(self.org).await.unwrap();
        let changed = queue::resume(&mut tx, self.org, instance, by, now).await.unwrap();
        tx.commit().await.unwrap();
        changed
    }
}

fn sent(claim: &Claimed) -> Outcome {
    Outcome::Sent { provider_message_id: format!("wamid.{}", claim.id), then: vec![] }
}

fn retry() -> Outcome {
    Outcome::Retry { code: "http_503".into(), message: "The provider is busy.".into(), after: None, throttled: true }
}

fn update(id: MessageId, status: MessageStatus, now: DateTime<Utc>) -> StatusUpdate {
    StatusUpdate {
        provider_message_id: Some(format!("wamid.{id}")),
        message: None,
        status,
        at: now,
        error: None,
        pricing: None,
    }
}

const ADA: &str = "60123456789";
const BOB: &str = "60123456780";

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_message_is_claimed_once_and_leaves(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    assert!(line.claim(at(-1)).await.is_empty(), "before its time");
    let claims = line.claim(at(0)).await;
    assert_eq!(claims.len(), 1);
    let claim = &claims[0];
    assert_eq!((claim.id, claim.instance, claim.organization, claim.attempt), (id, instance, line.org, 1));
    assert_eq!((claim.to.digits(), claim.body.clone()), (ADA, Some(Body::text("Hello"))));
    assert_eq!(line.status(id).await, "sending");
    assert!(line.claim(at(1)).await.is_empty());
    line.finish(claim, sent(claim), at(1)).await;
    assert_eq!(line.status(id).await, "sent");
    assert_eq!(line.steps(id).await, ["sending", "sent"]);
    assert_eq!(line.events(id).await, ["message.sent"]);
    assert_eq!((line.waiting().await, queue::next_due(&line.db).await.unwrap()), (0, None));
    let data: serde_json::Value =
        sqlx::query_scalar("select data from events").fetch_one(line.db.system()).await.unwrap();
    let expected = serde_json::json!({
        "id": id, "instanceId": instance, "to": "+60123456789", "status": "sent", "environment": "live",
        "keyId": null, "at": at(1),
    });
    assert_eq!(data, expected);
    // The same end once more, as after an answer of the database that got lost.
    line.finish(claim, sent(claim), at(2)).await;
    assert_eq!(line.events(id).await, ["message.sent"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn many_servers_claim_nothing_twice(pool: PgPool) {
    let line = Line::new(&pool).await;
    let mut instances = vec![];
    for _ in 0..12 {
        instances.push(line.instance("cloud_api").await);
    }
    for n in 0..360 {
        line.accept(instances[n % 12], &format!("6012345{n:04}"), at(0), 0, "live").await;
    }
    let servers = (0..6).map(|_| {
        let db = line.db.clone();
        tokio::spawn(async move {
            let (server, mut mine) = (Uuid::now_v7(), vec![]);
            let mut idle = 0;
            while idle < 20 {
                let claims = queue::claim(&db, server, 7, at(1)).await.unwrap();
                idle = if claims.is_empty() { idle + 1 } else { 0 };
                let ends: Vec<_> = claims.iter().map(|claim| Finished::new(claim, sent(claim), at(1))).collect();
                queue::finish(&db, &ends, at(1)).await.unwrap();
                mine.extend(claims.into_iter().map(|claim| claim.id));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            mine
        })
    });
    let shares: Vec<Vec<MessageId>> = futures_all(servers).await;
    let mut all: Vec<MessageId> = shares.iter().flatten().copied().collect();
    assert!(shares.iter().filter(|share| !share.is_empty()).count() > 1, "one server did it all");
    all.sort_unstable();
    let with_doubles = all.len();
    all.dedup();
    assert_eq!((all.len(), with_doubles, line.waiting().await), (360, 360, 0));
}

async fn futures_all<T: Send + 'static>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.collect();
    let mut results = vec![];
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn paced_messages_leave_one_by_one_and_keep_their_distance(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let first = line.accept(instance, ADA, at(0), 5_000, "live").await;
    let second = line.accept(instance, BOB, at(5), 5_000, "live").await;
    let claims = line.claim(at(20)).await;
    assert_eq!(claims.iter().map(|c| c.id).collect::<Vec<_>>(), [first], "both are due, one leaves");
    assert!(line.claim(at(30)).await.is_empty(), "another is on its way");
    line.finish(&claims[0], sent(&claims[0]), at(31)).await;
    assert_eq!(queue::next_due(&line.db).await.unwrap(), Some(at(36)));
    assert!(line.claim(at(35)).await.is_empty(), "too near to the one before");
    assert_eq!(line.send_due(at(36)).await, [second]);
}

/// Slots are drawn with a counted randomness, sending takes no time: what leaves follows the slots exactly.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn random_gaps_are_those_that_were_drawn(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let mode = ThrottleMode::Smart { min_ms: 3_000, max_ms: 8_000, batch_size: 10, cooldown_ms: 60_000 };
    let (mut pace, mut random) = (Pace::default(), SplitMix(7));
    let mut slots = vec![];
    for n in 0..60 {
        let before = pace.last_slot_ms;
        let slot = pace.take(mode, start().timestamp_millis(), &mut random);
        slots.push(DateTime::from_timestamp_millis(slot).unwrap());
        let gap = before.map_or(1, |before| slot - before);
        line.accept(instance, &format!("601234567{n:02}"), slots[n], gap, "live").await;
    }
    let mut left = vec![];
    while let Some(due) = queue::next_due(&line.db).await.unwrap() {
        // Between the due times nothing may leave.
        assert!(line.claim(due - TimeDelta::milliseconds(1)).await.is_empty());
        left.extend(line.send_due(due).await.iter().map(|_| due));
    }
    assert_eq!(left, slots);
    // The same numbers, drawn without the queue.
    let mut again = SplitMix(7);
    let gaps: Vec<i64> = left.windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds()).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let pause = if (n + 1) % 10 == 0 { 60_000 } else { 0 };
        assert_eq!(*gap, i64::from(again.draw(3_000, 8_000)) + pause, "gap {n}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_is_not_paced_does_not_overtake_what_is(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let free = line.accept(instance, "60111111111", at(0), 0, "live").await;
    let paced = line.accept(instance, "60111111112", at(4), 4_000, "live").await;
    let later = line.accept(instance, "60111111113", at(4), 0, "live").await;
    let test = line.accept(instance, "60111111114", at(4), 0, "test").await;
    let claims = line.claim(at(10)).await;
    assert_eq!(claims.iter().map(|c| c.id).collect::<Vec<_>>(), [free, test]);
    for claim in &claims {
        line.finish(claim, sent(claim), at(10)).await;
    }
    assert!(line.claim(at(13)).await.is_empty());
    assert_eq!(line.send_due(at(14)).await, [paced], "the distance to the last real message counts");
    assert_eq!(line.send_due(at(14)).await, [later]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn messages_to_one_person_keep_their_order(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let first = line.accept(instance, ADA, at(0), 0, "live").await;
    let second = line.accept(instance, ADA, at(0), 0, "live").await;
    let third = line.accept(instance, ADA, at(0), 0, "live").await;
    let other = line.accept(instance, BOB, at(0), 0, "live").await;
    let claims = line.claim(at(0)).await;
    assert_eq!(claims.iter().map(|c| c.id).collect::<Vec<_>>(), [first, other]);
    line.finish(&claims[0], retry(), at(0)).await;
    assert!(line.claim(at(29)).await.is_empty(), "the second waits for the retry of the first");
    assert_eq!(line.send_due(at(30)).await, [first]);
    // At once: the end of one calls the next.
    assert_eq!(queue::next_due(&line.db).await.unwrap(), Some(at(30)));
    assert_eq!(line.send_due(at(30)).await, [second]);
    assert_eq!(line.send_due(at(30)).await, [third]);
}

/// Hundreds of messages to one person must not hide those to others behind them.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_long_line_to_one_person_holds_nobody_else_up(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    for _ in 0..600 {
        line.accept(instance, ADA, at(0), 0, "live").await;
    }
    let other = line.accept(instance, BOB, at(0), 0, "live").await;
    let mut seen = vec![];
    for round in 0..6 {
        seen.extend(line.claimed(ms(round)).await);
    }
    assert!(seen.contains(&other), "claimed {}", seen.len());
    assert_eq!(seen.len(), 2);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn retries_follow_the_table_and_then_it_has_failed(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    let mut now = at(0);
    for wait in [30, 60, 120] {
        let claims = line.claim(now).await;
        line.finish(&claims[0], retry(), now).await;
        assert_eq!(line.status(id).await, "queued");
        assert!(line.claim(now + TimeDelta::seconds(wait - 1)).await.is_empty());
        now += TimeDelta::seconds(wait);
    }
    let claims = line.claim(now).await;
    assert_eq!(claims[0].attempt, 4);
    line.finish(&claims[0], retry(), now).await;
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("failed", 0));
    assert_eq!(line.events(id).await, ["message.failed"]);
    let error: (String, String) =
        sqlx::query_as("select error_code, error_message from messages").fetch_one(line.db.system()).await.unwrap();
    assert_eq!(error, ("http_503".into(), "The provider is busy.".into()));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn retry_after_of_the_provider_counts(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    let claims = line.claim(at(0)).await;
    let wait = |s| Outcome::Retry {
        code: "429".into(),
        message: "Slower.".into(),
        after: Some(Duration::from_secs(s)),
        throttled: true,
    };
    line.finish(&claims[0], wait(7), at(0)).await;
    assert!(line.claim(at(6)).await.is_empty());
    let claims = line.claim(at(7)).await;
    assert_eq!(claims[0].id, id);
    // Nobody holds a message up for days.
    line.finish(&claims[0], wait(1_000_000), at(7)).await;
    assert_eq!(queue::next_due(&line.db).await.unwrap(), Some(at(7 + 3_600)));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn three_failures_in_a_row_pause_the_queue(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(line.accept(instance, &format!("6012345678{n}"), at(n), 0, "live").await);
    }
    let broken = || Outcome::Retry {
        code: "refused".into(),
        message: "Connection refused.".into(),
        after: None,
        throttled: false,
    };
    // A success in between begins the count anew, and what is the message's own fault is no failure of the provider.
    let ends = [broken(), broken(), Outcome::Failed { code: "131026".into(), message: "Not on WhatsApp.".into() }];
    for (n, outcome) in ends.into_iter().enumerate() {
        let claims = line.claim(at(i64::try_from(n).unwrap())).await;
        line.finish(&claims[0], outcome, at(i64::try_from(n).unwrap())).await;
    }
    assert_eq!(line.queue(instance).await.paused_at, None);
    for n in [3, 4, 30] {
        let claims = line.claim(at(n)).await;
        assert_eq!(claims.len(), 1, "at {n}");
        line.finish(&claims[0], broken(), at(n)).await;
    }
    let paused = line.queue(instance).await;
    assert_eq!((paused.paused_by, paused.paused_at), (Some(PausedBy::Failures), Some(at(30))));
    assert_eq!(paused.paused_reason, "3 messages in a row could not be sent: Connection refused.");
    assert!(line.claim(at(1_000)).await.is_empty());
    assert_eq!(queue::to_probe(&line.db, at(59)).await.unwrap(), []);
    assert_eq!(queue::to_probe(&line.db, at(60)).await.unwrap(), [(line.org, instance)]);
    assert!(line.resume(instance, PausedBy::Session, at(1_000)).await);
    assert_eq!(line.send_due(at(1_000)).await.len(), 4);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_lost_session_keeps_messages_and_lets_test_messages_pass(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let live = line.accept(instance, ADA, at(0), 3_000, "live").await;
    let claims = line.claim(at(0)).await;
    let gone = Outcome::Disconnected { code: "401".into(), message: "Logged out.".into() };
    let lost = queue::finish(&line.db, &[Finished::new(&claims[0], gone, at(0))], at(0)).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].instance, lost[0].organization), (instance, line.org));
    assert_eq!(line.queue(instance).await.paused_by, Some(PausedBy::Session));
    assert_eq!(line.status(live).await, "queued");
    let test = line.accept(instance, BOB, at(1), 0, "test").await;
    assert_eq!(line.send_due(at(1)).await, [test]);
    assert!(line.pause(instance, PausedBy::Person, at(2)).await, "a person outranks the session");
    let held = line.accept(instance, BOB, at(3), 0, "test").await;
    assert!(line.claim(at(3)).await.is_empty());
    assert!(!line.resume(instance, PausedBy::Session, at(4)).await, "only a person ends a person's pause");
    assert!(!line.pause(instance, PausedBy::Session, at(4)).await);
    assert!(line.resume(instance, PausedBy::Person, at(5)).await);
    assert_eq!(line.send_due(at(5)).await, [live, held]);
}

/// An account that is blocked says that it is connected, and refuses each message.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_number_that_is_lost_again_and_again_is_asked_ever_later(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    line.accept(instance, ADA, at(0), 0, "live").await;
    let blocked = || Outcome::Disconnected { code: "131042".into(), message: "Payment issue.".into() };
    let mut now = 0;
    let lose = async |now: i64| {
        let claims = line.claim(at(now)).await;
        assert_eq!(claims.len(), 1, "at {now}");
        line.finish(&claims[0], blocked(), at(now)).await;
    };
    let probed = async |now: i64| !queue::to_probe(&line.db, at(now)).await.unwrap().is_empty();
    for wait in [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        lose(now).await;
        assert!(!probed(now + wait - 1).await, "{wait}");
        assert!(probed(now + wait).await, "{wait}");
        now += wait;
        assert!(line.resume(instance, PausedBy::Session, at(now)).await);
    }
    // A rehearsal says nothing about the number.
    let rehearsal = line.accept(instance, BOB, at(now), 0, "test").await;
    let end = |claim: &Claimed| if claim.id == rehearsal { sent(claim) } else { blocked() };
    let ends: Vec<_> = line.claim(at(now)).await.iter().map(|one| Finished::new(one, end(one), at(now))).collect();
    assert_eq!(ends.len(), 2);
    queue::finish(&line.db, &ends, at(now)).await.unwrap();
    assert!(!probed(now + 3_599).await);
    now += 3_600;
    line.resume(instance, PausedBy::Session, at(now)).await;
    assert_eq!(line.send_due(at(now)).await.len(), 1);
    // A message has left: it begins anew. Several refusals at once are one loss.
    for to in [ADA, BOB] {
        line.accept(instance, to, at(now), 0, "live").await;
    }
    let ends: Vec<_> = line.claim(at(now)).await.iter().map(|one| Finished::new(one, blocked(), at(now))).collect();
    assert_eq!(ends.len(), 2);
    queue::finish(&line.db, &ends, at(now)).await.unwrap();
    assert!(!probed(now + 29).await);
    assert!(probed(now + 30).await);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_queue_that_goes_on_does_not_burst(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    for n in 0..4 {
        line.accept(instance, &format!("6012345678{n}"), at(5 * n), 5_000, "live").await;
    }
    line.send_due(at(0)).await;
    line.pause(instance, PausedBy::Person, at(1)).await;
    line.resume(instance, PausedBy::Person, at(100)).await;
    let shown: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select slot_at from messages where status = 'queued' order by slot_at")
            .fetch_all(line.db.system())
            .await
            .unwrap();
    assert_eq!(shown, [at(100), at(105), at(110)], "what is promised is what will be");
    let last: DateTime<Utc> =
        sqlx::query_scalar("select last_slot_at from queues").fetch_one(line.db.system()).await.unwrap();
    assert_eq!(last, at(110), "what is accepted next goes behind");
    let mut left = vec![];
    for second in 100..120 {
        left.extend(line.send_due(at(second)).await.iter().map(|_| second));
    }
    assert_eq!(left, [100, 105, 110]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_was_promised_follows_when_the_queue_is_late(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    for n in 0..3 {
        line.accept(instance, &format!("6012345678{n}"), at(5 * n), 5_000, "live").await;
    }
    // No server ran for a while.
    let claims = line.claim(at(60)).await;
    assert!(claims[0].is_late(at(60)) && !claims[0].is_late(at(10)));
    line.finish(&claims[0], sent(&claims[0]), at(60)).await;
    queue::catch_up(&line.db, instance, at(60)).await.unwrap();
    let due: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select due from outbox order by seq").fetch_all(line.db.system()).await.unwrap();
    assert_eq!(due, [at(65), at(70)]);
    assert_eq!(queue::next_due(&line.db).await.unwrap(), Some(at(65)));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_silent_server_leaves_unknown_messages_that_are_asked_about(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let id = line.accept(instance, ADA, at(0), 2_000, "live").await;
    let next = line.accept(instance, ADA, at(2), 2_000, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    queue::renew(&line.db, line.server, &[id], at(10)).await.unwrap();
    assert_eq!(queue::reap(&line.db, at(20)).await.unwrap(), 0, "renewed until 25");
    assert_eq!(queue::reap(&line.db, at(26)).await.unwrap(), 1);
    assert_eq!(line.status(id).await, "unknown");
    assert!(line.claim(at(27)).await.is_empty(), "the next one to the same person waits");
    assert!(queue::doubtful(&line.db, line.server, &[], 10, at(35)).await.unwrap().is_empty(), "too early to ask");
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(36)).await.unwrap();
    assert_eq!(asked, std::slice::from_ref(&claim));
    assert!(queue::doubtful(&line.db, Uuid::now_v7(), &[], 10, at(36)).await.unwrap().is_empty(), "one asks");
    queue::resolve(&line.db, &[(asked[0].clone(), Finding::NotNow)], at(36)).await.unwrap();
    assert!(queue::doubtful(&line.db, line.server, &[], 10, at(45)).await.unwrap().is_empty());
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(47)).await.unwrap();
    queue::resolve(&line.db, &[(asked[0].clone(), Finding::NotThere)], at(47)).await.unwrap();
    assert_eq!(line.status(id).await, "queued");
    assert_eq!(line.send_due(at(47)).await, [id]);
    assert_eq!(line.status(id).await, "sent");
    assert_eq!(line.send_due(at(49)).await, [next]);
    assert_eq!(line.steps(id).await, ["sending", "unknown", "queued", "sending", "sent"]);
    // The server that fell silent wakes up: its end is out of date.
    line.finish(&claim, Outcome::Failed { code: "late".into(), message: "Late.".into() }, at(50)).await;
    assert_eq!(line.status(id).await, "sent");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_server_that_was_only_slow_still_has_the_last_word(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let id = line.accept(instance, ADA, at(0), 2_000, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    queue::reap(&line.db, at(20)).await.unwrap();
    line.finish(&claim, sent(&claim), at(21)).await;
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("sent", 0));

    // Even when it was put back already, as long as nobody has begun it anew.
    let id = line.accept(instance, ADA, at(30), 2_000, "live").await;
    let claim = line.claim(at(30)).await.remove(0);
    line.finish(&claim, Outcome::Unknown { message: "The connection was cut.".into() }, at(31)).await;
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(41)).await.unwrap();
    queue::resolve(&line.db, &[(asked[0].clone(), Finding::NotThere)], at(41)).await.unwrap();
    line.finish(&claim, sent(&claim), at(41)).await;
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("sent", 0));
    assert!(line.claim(at(60)).await.is_empty());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_acknowledgement_settles_what_was_unknown(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let unknown = || Outcome::Unknown { message: "The connection was cut.".into() };
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    let next = line.accept(instance, ADA, at(0), 0, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    line.finish(&claim, unknown(), at(1)).await;
    // The provider gives our own id back.
    let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Delivered, at(2)) };
    let advanced = queue::advance(&line.db, instance, &[told], at(2)).await.unwrap();
    assert_eq!((advanced.known, advanced.unknown), (1, 0));
    assert_eq!(line.status(id).await, "delivered");
    assert_eq!(line.send_due(at(2)).await, [next], "whoever waited behind it may leave");

    // Nobody can tell: it is not sent again, and an acknowledgement still counts when it comes at last.
    let id = line.accept(instance, ADA, at(10), 0, "live").await;
    let claim = line.claim(at(10)).await.remove(0);
    line.finish(&claim, unknown(), at(10)).await;
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(20)).await.unwrap();
    queue::resolve(&line.db, &[(asked[0].clone(), Finding::CannotTell)], at(20)).await.unwrap();
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("unknown", 0));
    let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Sent, at(30)) };
    queue::advance(&line.db, instance, &[told], at(30)).await.unwrap();
    assert_eq!(line.status(id).await, "sent");
    let told = update(id, MessageStatus::Read, at(31));
    queue::advance(&line.db, instance, &[told], at(31)).await.unwrap();
    assert_eq!(line.status(id).await, "read", "its id with the provider was learnt from the acknowledgement");

    // It was put back, and then the provider says that it has it: it must not leave again.
    let id = line.accept(instance, ADA, at(40), 0, "live").await;
    let claim = line.claim(at(40)).await.remove(0);
    line.finish(&claim, retry(), at(40)).await;
    let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Sent, at(41)) };
    queue::advance(&line.db, instance, &[told], at(41)).await.unwrap();
    assert!(line.claim(at(200)).await.is_empty());
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("sent", 0));
}

/// A webhook may be faster than the answer to the call; if that answer is lost or says "later", the message has left
/// all the same.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_was_acknowledged_during_its_attempt_never_leaves_again(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let lost = Outcome::Unknown { message: "The connection was cut.".into() };
    for (n, outcome) in (0..).zip([lost, retry()]) {
        let now = at(1_000 * n);
        let id = line.accept(instance, ADA, now, 0, "live").await;
        let claim = line.claim(now).await.remove(0);
        let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Delivered, now) };
        queue::advance(&line.db, instance, &[told], now).await.unwrap();
        line.finish(&claim, outcome, now).await;
        assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("delivered", 0));
        assert!(line.claim(now + TimeDelta::seconds(900)).await.is_empty());
    }
    // The server that had it dies instead.
    let id = line.accept(instance, ADA, at(5_000), 0, "live").await;
    line.claim(at(5_000)).await.remove(0);
    let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Sent, at(5_001)) };
    queue::advance(&line.db, instance, &[told], at(5_001)).await.unwrap();
    queue::reap(&line.db, at(5_100)).await.unwrap();
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("sent", 0));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_end_counts_although_its_message_was_given_up(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    for (n, outcome, status) in [
        (0, None, "sent"),
        (1, Some(Outcome::Failed { code: "131026".into(), message: "No such number.".into() }), "failed"),
    ] {
        let now = at(1_000 * n);
        let id = line.accept(instance, ADA, now, 0, "live").await;
        let claim = line.claim(now).await.remove(0);
        queue::reap(&line.db, now + TimeDelta::seconds(20)).await.unwrap();
        let asked = queue::doubtful(&line.db, line.server, &[], 10, now + TimeDelta::seconds(40)).await.unwrap();
        queue::resolve(&line.db, &[(asked[0].clone(), Finding::CannotTell)], now + TimeDelta::seconds(40))
            .await
            .unwrap();
        assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("unknown", 0));
        line.finish(&claim, outcome.unwrap_or_else(|| sent(&claim)), now + TimeDelta::seconds(41)).await;
        assert_eq!(line.status(id).await, status);
        // Acknowledgements find it by the id that the late answer brought.
        if status == "sent" {
            let told = update(id, MessageStatus::Read, now + TimeDelta::seconds(42));
            assert_eq!(
                queue::advance(&line.db, instance, &[told], now + TimeDelta::seconds(42)).await.unwrap().known,
                1
            );
        }
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_this_server_is_still_sending_is_not_asked_about(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let id = line.accept(instance, ADA, at(0), 2_000, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    queue::reap(&line.db, at(20)).await.unwrap();
    assert!(queue::renew(&line.db, line.server, &[id], at(21)).await.unwrap().is_empty(), "it is told so");
    assert!(queue::doubtful(&line.db, line.server, &[id], 10, at(60)).await.unwrap().is_empty());
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(60)).await.unwrap();
    // It turns out that it was never begun, and is claimed anew: the old answer says nothing about the new attempt.
    queue::release(&line.db, line.server, std::slice::from_ref(&claim), at(61)).await.unwrap();
    let again = line.claim(at(62)).await.remove(0);
    line.finish(&again, Outcome::Unknown { message: "The connection was cut.".into() }, at(63)).await;
    queue::resolve(
        &line.db,
        &[(Claimed { attempt: again.attempt + 1, ..asked[0].clone() }, Finding::NotThere)],
        at(64),
    )
    .await
    .unwrap();
    assert_eq!(line.status(id).await, "unknown");
    assert!(line.claim(at(65)).await.is_empty());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_nobody_can_tell_fails_after_a_day(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let mut ids = vec![];
    for n in 0..2 {
        let id = line.accept(instance, &format!("6012345678{n}"), at(0), 0, "live").await;
        ids.push(id);
    }
    for claim in line.claim(at(0)).await {
        line.finish(&claim, Outcome::Unknown { message: "The connection was cut.".into() }, at(0)).await;
    }
    let asked = queue::doubtful(&line.db, line.server, &[], 10, at(20)).await.unwrap();
    let findings: Vec<_> = asked.into_iter().map(|claim| (claim, Finding::CannotTell)).collect();
    queue::resolve(&line.db, &findings, at(20)).await.unwrap();
    let day = 24 * 3_600;
    assert_eq!(queue::give_up(&line.db, at(day + 19)).await.unwrap(), 0);
    assert_eq!(queue::give_up(&line.db, at(day + 20)).await.unwrap(), 2);
    assert_eq!(queue::give_up(&line.db, at(day + 20)).await.unwrap(), 0);
    assert_eq!(line.status(ids[0]).await, "failed");
    let told: Vec<String> =
        sqlx::query_scalar("select data -> 'error' ->> 'code' from events where kind = 'message.failed'")
            .fetch_all(line.db.system())
            .await
            .unwrap();
    assert_eq!(told, ["unconfirmed", "unconfirmed"]);
    // An acknowledgement that comes later still wins.
    let told = StatusUpdate { message: Some(ids[0]), ..update(ids[0], MessageStatus::Delivered, at(day + 30)) };
    queue::advance(&line.db, instance, &[told], at(day + 30)).await.unwrap();
    assert_eq!(line.status(ids[0]).await, "delivered");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_message_of_a_deleted_instance_waits_for_nobody(pool: PgPool) {
    let line = Line::new(&pool).await;
    for outcome in [retry(), Outcome::Disconnected { code: "session".into(), message: "Signed out.".into() }] {
        let instance = line.instance("waha").await;
        let id = line.accept(instance, ADA, at(0), 2_000, "live").await;
        let claim = line.claim(at(0)).await.remove(0);
        sqlx::query("delete from queues where instance_id = $1")
            .bind(instance.0)
            .execute(line.db.system())
            .await
            .unwrap();
        sqlx::query("update instances set deleted_at = now() where id = $1")
            .bind(instance.0)
            .execute(line.db.system())
            .await
            .unwrap();
        line.finish(&claim, outcome, at(1)).await;
        assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("failed", 0));
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_conversation_knows_when_we_last_wrote(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    sqlx::query("insert into conversations (id, organization_id, instance_id, contact) values ($1, $2, $3, $4)")
        .bind(Uuid::now_v7())
        .bind(line.org.0)
        .bind(instance.0)
        .bind(ADA)
        .execute(line.db.system())
        .await
        .unwrap();
    line.accept(instance, ADA, at(0), 2_000, "live").await;
    line.accept(instance, BOB, at(5), 2_000, "live").await;
    line.send_due(at(0)).await;
    line.send_due(at(5)).await;
    let known: Vec<(String, Option<DateTime<Utc>>)> =
        sqlx::query_as("select contact, last_outbound_at from conversations")
            .fetch_all(line.db.system())
            .await
            .unwrap();
    assert_eq!(known, [(ADA.to_owned(), Some(at(0)))], "whoever never wrote to us has no conversation");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_provider_that_says_retry_at_once_is_given_the_usual_time(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    line.accept(instance, ADA, at(0), 0, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    let at_once = Outcome::Retry {
        code: "429".into(),
        message: "Slow down.".into(),
        after: Some(Duration::ZERO),
        throttled: true,
    };
    line.finish(&claim, at_once, at(0)).await;
    assert!(line.claim(at(29)).await.is_empty());
    assert_eq!(line.claim(at(30)).await.len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn statuses_only_move_forward(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    line.send_due(at(0)).await;
    let price = serde_json::json!({"category": "utility", "billable": true});
    let read = StatusUpdate { pricing: Some(price.clone()), ..update(id, MessageStatus::Read, at(3)) };
    let other_price = StatusUpdate {
        pricing: Some(serde_json::json!({"category": "other"})),
        ..update(id, MessageStatus::Delivered, at(2))
    };
    let failed = StatusUpdate {
        error: Some(("131026".into(), "Undeliverable.".into())),
        ..update(id, MessageStatus::Failed, at(4))
    };
    let stranger = update(MessageId::new(), MessageStatus::Read, at(3));
    let batch = [read.clone(), other_price, read, failed, stranger];
    let advanced = queue::advance(&line.db, instance, &batch, at(5)).await.unwrap();
    assert_eq!((advanced.known, advanced.unknown), (4, 1));
    assert_eq!(line.status(id).await, "read");
    assert_eq!(line.events(id).await, ["message.sent", "message.read"]);
    let row: (serde_json::Value, Option<String>, DateTime<Utc>, DateTime<Utc>) =
        sqlx::query_as("select pricing, error_code, sent_at, status_at from messages")
            .fetch_one(line.db.system())
            .await
            .unwrap();
    assert_eq!(row, (price, None, at(0), at(3)), "the price is kept once");

    // A provider may fail what it had taken; then it is delivered after all.
    let id = line.accept(instance, ADA, at(10), 0, "live").await;
    line.send_due(at(10)).await;
    let failed = StatusUpdate {
        error: Some(("131000".into(), "Something went wrong.".into())),
        ..update(id, MessageStatus::Failed, at(11))
    };
    queue::advance(&line.db, instance, &[failed], at(11)).await.unwrap();
    assert_eq!(line.status(id).await, "failed");
    queue::advance(&line.db, instance, &[update(id, MessageStatus::Delivered, at(12))], at(12)).await.unwrap();
    let row: (String, Option<String>) = sqlx::query_as("select status, error_code from messages where id = $1")
        .bind(id.0)
        .fetch_one(line.db.system())
        .await
        .unwrap();
    assert_eq!(row, ("delivered".into(), None));
    // Another instance cannot speak about it.
    let stranger = line.instance("cloud_api").await;
    let advanced =
        queue::advance(&line.db, stranger, &[update(id, MessageStatus::Read, at(13))], at(13)).await.unwrap();
    assert_eq!((advanced.known, line.status(id).await.as_str()), (0, "delivered"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_status_that_overtakes_the_answer_is_not_lost(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    let claim = line.claim(at(0)).await.remove(0);
    let told = [update(id, MessageStatus::Delivered, at(1)), update(id, MessageStatus::Sent, at(1))];
    queue::advance(&line.db, instance, &told, at(1)).await.unwrap();
    assert_eq!(line.status(id).await, "sending");
    line.finish(&claim, sent(&claim), at(2)).await;
    assert_eq!(line.status(id).await, "delivered");
    assert_eq!(line.events(id).await, ["message.sent", "message.delivered"]);
    let left: i64 =
        sqlx::query_scalar("select count(*) from early_statuses").fetch_one(line.db.system()).await.unwrap();
    assert_eq!(left, 0);

    // With our own id in it, it counts at once; the answer that comes after it is still told of.
    let id = line.accept(instance, ADA, at(10), 0, "live").await;
    let claim = line.claim(at(10)).await.remove(0);
    let told = StatusUpdate { message: Some(id), ..update(id, MessageStatus::Delivered, at(11)) };
    queue::advance(&line.db, instance, &[told], at(11)).await.unwrap();
    assert_eq!(line.status(id).await, "delivered");
    line.finish(&claim, sent(&claim), at(12)).await;
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("delivered", 0));
    assert_eq!(line.events(id).await, ["message.delivered", "message.sent"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_thousand_statuses_are_one_batch(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("sandbox").await;
    for n in 0..500 {
        line.accept(instance, &format!("60123450{n:03}"), at(0), 0, "live").await;
    }
    let mut ids = vec![];
    for _ in 0..20 {
        ids.extend(line.send_due(at(0)).await);
    }
    assert_eq!(ids.len(), 500);
    let updates: Vec<StatusUpdate> = [MessageStatus::Read, MessageStatus::Delivered]
        .into_iter()
        .flat_map(|status| ids.iter().map(move |id| update(*id, status, at(1))))
        .collect();
    let begun = std::time::Instant::now();
    let advanced = queue::advance(&line.db, instance, &updates, at(1)).await.unwrap();
    assert_eq!(advanced.known, 1_000);
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    let read: i64 = sqlx::query_scalar("select count(*) from messages where status = 'read'")
        .fetch_one(line.db.system())
        .await
        .unwrap();
    assert_eq!(read, 500);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_the_sandbox_has_in_store_comes_in_time(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("sandbox").await;
    let id = line.accept(instance, ADA, at(0), 0, "test").await;
    let claim = line.claim(at(0)).await.remove(0);
    let then = |status, s| ScheduledStatus { status, after: Duration::from_secs(s), error: None };
    let outcome = Outcome::Sent {
        provider_message_id: "sandbox.1".into(),
        then: vec![then(MessageStatus::Delivered, 1), then(MessageStatus::Read, 3)],
    };
    line.finish(&claim, outcome, at(0)).await;
    assert_eq!(queue::advance_sandbox(&line.db, at(0)).await.unwrap(), 0);
    assert_eq!(queue::advance_sandbox(&line.db, at(1)).await.unwrap(), 1);
    assert_eq!(line.status(id).await, "delivered");
    assert_eq!(queue::advance_sandbox(&line.db, at(9)).await.unwrap(), 1);
    assert_eq!(line.events(id).await, ["message.sent", "message.delivered", "message.read"]);
    let read_at: DateTime<Utc> =
        sqlx::query_scalar("select status_at from messages").fetch_one(line.db.system()).await.unwrap();
    assert_eq!(read_at, at(3), "late is when it is told, not when it was");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_server_that_stops_gives_back_what_it_has_not_begun(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    let claims = line.claim(at(0)).await;
    queue::release(&line.db, Uuid::now_v7(), &claims, at(1)).await.unwrap();
    assert_eq!(line.status(id).await, "sending", "only its own");
    queue::release(&line.db, line.server, &claims, at(1)).await.unwrap();
    assert_eq!(line.status(id).await, "queued");
    let claims = line.claim(at(1)).await;
    assert_eq!((claims[0].id, claims[0].attempt), (id, 1), "it was not begun");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_waited_for_a_day_expires(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("cloud_api").await;
    let id = line.accept(instance, ADA, at(0), 0, "live").await;
    line.pause(instance, PausedBy::Person, at(0)).await;
    let day = 24 * 3_600;
    assert_eq!(queue::expire(&line.db, at(day - 1)).await.unwrap(), 0);
    assert_eq!(queue::expire(&line.db, at(day)).await.unwrap(), 1);
    assert_eq!((line.status(id).await.as_str(), line.waiting().await), ("expired", 0));
    let data: serde_json::Value =
        sqlx::query_scalar("select data from events").fetch_one(line.db.system()).await.unwrap();
    assert_eq!((data["status"].as_str(), data["error"]["code"].as_str()), (Some("expired"), Some("expired")));
    assert_eq!(line.events(id).await, ["message.failed"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn one_instance_does_not_take_all_places(pool: PgPool) {
    let line = Line::new(&pool).await;
    let (big, small) = (line.instance("cloud_api").await, line.instance("cloud_api").await);
    for n in 0..120 {
        line.accept(big, &format!("6012345{n:04}"), at(0), 0, "live").await;
    }
    line.accept(small, ADA, at(1), 0, "live").await;
    let claims = line.claim(at(2)).await;
    let of: HashMap<InstanceId, usize> = claims.iter().fold(HashMap::new(), |mut counts, claim| {
        *counts.entry(claim.instance).or_default() += 1;
        counts
    });
    assert_eq!((of.get(&big), of.get(&small)), (Some(&20), Some(&1)));
    assert!(line.claim(at(3)).await.is_empty(), "20 at once");
    line.finish(&claims[0], sent(&claims[0]), at(3)).await;
    assert_eq!(line.claim(at(3)).await.len(), 1);
}

/// Meta takes 80 messages a second of a number. Two servers take turns; test messages and other providers do not count.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_cloud_api_number_begins_no_more_than_80_within_any_second(pool: PgPool) {
    let line = Line::new(&pool).await;
    let other = Line { org: line.org, db: line.db.clone(), server: Uuid::now_v7() };
    let cloud = line.instance("cloud_api").await;
    for n in 0..200 {
        line.accept(cloud, &format!("60120000{n:03}"), start(), 0, "live").await;
    }
    let mut begun: Vec<DateTime<Utc>> = Vec::new();
    for (look, server) in [&line, &other].into_iter().cycle().take(20).enumerate() {
        let now = ms(100 * i64::try_from(look).unwrap());
        begun.extend(server.send_due(now).await.iter().map(|_| now));
    }
    for at in &begun {
        let within = begun.iter().filter(|other| *at <= **other && **other < *at + TimeDelta::seconds(1)).count();
        assert!(within <= 80, "{within} in the second from {at}");
    }
    assert_eq!(begun.len(), 160, "nothing is held back longer than it must be");

    // It is looked at again when there is room, not before.
    assert_eq!(queue::next_due(&line.db).await.unwrap(), Some(ms(2_000)));
    assert_eq!(other.send_due(ms(1_999)).await, []);
    let test = line.accept(cloud, "60130000000", ms(1_999), 0, "test").await;
    assert_eq!(line.send_due(ms(1_999)).await, [test]);
    assert_eq!(line.send_due(ms(2_000)).await.len(), 20);
    assert_eq!(other.send_due(ms(2_300)).await.len(), 20, "what is left");
    assert_eq!(queue::next_due(&line.db).await.unwrap(), None);

    let waha = line.instance("waha").await;
    for n in 0..100 {
        line.accept(waha, &format!("60140000{n:03}"), start(), 0, "live").await;
    }
    let mut left = 0;
    for _ in 0..5 {
        left += line.send_due(ms(3_000)).await.len();
    }
    assert_eq!(left, 100, "without such a limit");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_queue_shows_what_waits(pool: PgPool) {
    let line = Line::new(&pool).await;
    let instance = line.instance("waha").await;
    for n in 0..12 {
        line.accept(instance, &format!("601234567{n:02}"), at(5 * n), 5_000, "live").await;
    }
    line.claim(at(0)).await;
    let shown = line.queue(instance).await;
    assert_eq!((shown.waiting, shown.sending, shown.unknown), (12, 1, 0));
    assert_eq!((shown.head.len(), shown.head[0].due, shown.last_at), (10, at(5), Some(at(55))));
    let nobody = OrgId::new();
    let mut tx = line.db.tenant(nobody).await.unwrap();
    assert!(matches!(queue::queue(&mut tx, nobody, instance).await, Err(domain::Error::NotFound)));
}
