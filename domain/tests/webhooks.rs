//! Endpoints, events and the queue of their deliveries, against a real Postgres.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

use chrono::{TimeDelta, Utc};
use domain::{
    Db, Error, audit,
    ids::{EndpointId, OrgId},
    keys::{self, Environment, KeyForm},
    people::{Actor, Role},
    seal::Sealer,
    secret::{ExposeSecret, SecretString},
    webhooks::{
        DeliveryFilter, DeliveryStatus, DisabledBy, EndpointDraft, NewEndpoint, deliveries,
        events::{self, NewEvent},
        queue::{self, Claimed, Done},
        resend, store,
    },
};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

struct Scene {
    db: Db,
    sealer: Sealer,
    acme: OrgId,
}

impl Scene {
    async fn new(options: PgConnectOptions) -> Self {
        let db = Db::open(options, 8);
        let acme = organization(&db, "Acme").await;
        Self { db, sealer: Sealer::new(&SecretString::from("a secret of sufficient length, 32+")), acme }
    }

    fn actor(&self) -> Actor {
        actor(self.acme, None)
    }

    async fn endpoint(&self, events: &[&str], environment: Option<Environment>) -> EndpointId {
        let (endpoint, _) =
            store::create(&self.db, &self.sealer, &self.actor(), None, new(events, environment), None).await.unwrap();
        endpoint.id
    }

    async fn emit(&self, environment: Environment, kinds: &[&'static str]) {
        let events: Vec<_> = kinds.iter().map(|kind| event(self.acme, environment, kind)).collect();
        let mut tx = self.db.tenant(self.acme).await.unwrap();
        events::emit(&mut tx, &events).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Types of the events that wait for an endpoint, oldest first.
    async fn waiting(&self, id: EndpointId) -> Vec<String> {
        sqlx::query_scalar("select kind from deliveries where endpoint_id = $1 and status = 'pending' order by id")
            .bind(id.0)
            .fetch_all(self.db.system())
            .await
            .unwrap()
    }

    async fn statuses(&self, id: EndpointId) -> Vec<String> {
        sqlx::query_scalar("select status || ' ' || attempt from deliveries where endpoint_id = $1 order by id")
            .bind(id.0)
            .fetch_all(self.db.system())
            .await
            .unwrap()
    }

    fn done(&self, endpoint: EndpointId, claimed: &Claimed, error: &str) -> Done {
        Done {
            delivery: claimed.id,
            organization: self.acme,
            endpoint,
            number: claimed.number,
            at: Utc::now(),
            code: Some(if error.is_empty() { 200 } else { 500 }),
            error: error.into(),
            duration_ms: 12,
            address: Some("203.0.113.7:443".into()),
            request_headers: vec![("a".into(), "b".into())],
            response_headers: Some(vec![("c".into(), "d".into())]),
            response_body: Some("ok".into()),
            status: if error.is_empty() { DeliveryStatus::Succeeded } else { DeliveryStatus::Pending },
            due: (!error.is_empty()).then(|| Utc::now() + TimeDelta::hours(1)),
        }
    }

    async fn execute(&self, sql: &'static str, id: EndpointId) {
        sqlx::query(sql).bind(id.0).execute(self.db.system()).await.unwrap();
    }
}

async fn organization(db: &Db, name: &str) -> OrgId {
    let id = OrgId::new();
    sqlx::query("insert into organizations (id, name) values ($1, $2)")
        .bind(id.0)
        .bind(name)
        .execute(db.system())
        .await
        .unwrap();
    id
}

fn actor(organization_id: OrgId, role: Option<Role>) -> Actor {
    Actor { organization_id, person_id: None, name: "test".into(), ip: None, role }
}

fn new(events: &[&str], environment: Option<Environment>) -> NewEndpoint {
    draft(events, environment).parse(None).ok().unwrap()
}

fn draft(events: &[&str], environment: Option<Environment>) -> EndpointDraft {
    EndpointDraft {
        url: "https://hooks.example/".into(),
        events: events.iter().map(|e| (*e).to_owned()).collect(),
        environment,
        ..EndpointDraft::default()
    }
}

fn event(organization: OrgId, environment: Environment, kind: &'static str) -> NewEvent {
    NewEvent { organization, environment, kind, at: Utc::now(), data: json!({"n": 1}), message: None, key: None }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_event_goes_to_those_who_want_it(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let all = scene.endpoint(&["*"], None).await;
    let messages = scene.endpoint(&["message.*"], Some(Environment::Live)).await;
    let sent = scene.endpoint(&["message.sent", "api_key.revoked"], None).await;
    let test = scene.endpoint(&["*"], Some(Environment::Test)).await;
    let gone = scene.endpoint(&["*"], None).await;
    store::delete(&scene.db, &scene.actor(), None, gone).await.unwrap();
    let foreign = organization(&scene.db, "Evil").await;
    let (theirs, _) =
        store::create(&scene.db, &scene.sealer, &actor(foreign, None), None, new(&["*"], None), None).await.unwrap();

    scene.emit(Environment::Live, &["message.sent", "message.read", "instance.status"]).await;
    scene.emit(Environment::Test, &["message.sent"]).await;

    assert_eq!(scene.waiting(all).await, ["message.sent", "message.read", "instance.status", "message.sent"]);
    assert_eq!(scene.waiting(messages).await, ["message.sent", "message.read"]);
    assert_eq!(scene.waiting(sent).await, ["message.sent", "message.sent"]);
    assert_eq!(scene.waiting(test).await, ["message.sent"]);
    assert_eq!(scene.waiting(gone).await, [""; 0]);
    assert_eq!(scene.waiting(theirs.id).await, [""; 0]);

    // One event, one id for all: the deliveries of the first event share it.
    let events: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(scene.db.system()).await.unwrap();
    assert_eq!(events, 4);
}

/// The transaction decides: no event without the change, no change without the event.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_event_that_is_rolled_back_never_happened(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let all = scene.endpoint(&["*"], None).await;
    let mut tx = scene.db.system().begin().await.unwrap();
    events::emit(&mut tx, &[event(scene.acme, Environment::Live, "message.sent")]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(scene.waiting(all).await, [""; 0]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn one_server_at_a_time_owns_an_endpoint(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let id = scene.endpoint(&["*"], None).await;
    scene.emit(Environment::Live, &["message.sent", "message.read", "message.failed"]).await;
    assert_eq!(queue::candidates(&scene.db).await.unwrap(), [id]);

    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(queue::own(&scene.db, &scene.sealer, one, &[id]).await.unwrap().len(), 1);
    assert_eq!(queue::own(&scene.db, &scene.sealer, two, &[id]).await.unwrap().len(), 0);
    assert!(queue::claim(&scene.db, two, id, 10, 10).await.unwrap().0.is_empty(), "only the owner claims");
    let (first, retries) = queue::claim(&scene.db, one, id, 2, 2).await.unwrap();
    assert_eq!((first.len(), retries.len()), (2, 0));
    let body: serde_json::Value = serde_json::from_str(&first[0].body).unwrap();
    assert_eq!(body["type"], "message.sent");
    assert_eq!(body["data"], json!({"n": 1}));

    // The first server dies. Its lease runs out, and the second one finds all three again.
    scene.execute("update webhook_endpoints set owner_until = now() - interval '1 second' where id = $1", id).await;
    assert_eq!(queue::candidates(&scene.db).await.unwrap(), [id]);
    assert_eq!(queue::own(&scene.db, &scene.sealer, two, &[id]).await.unwrap().len(), 1);
    let (again, _) = queue::claim(&scene.db, two, id, 10, 10).await.unwrap();
    assert_eq!(again.len(), 3);
    assert_eq!(again[0].event, first[0].event, "the id that receivers see stays");
    assert!(queue::renew(&scene.db, &scene.sealer, one, &[id]).await.unwrap().is_empty());

    // What the dead server says after all changes nothing but the list of attempts.
    queue::write(&scene.db, one, &[scene.done(id, &first[0], "")]).await.unwrap();
    assert_eq!(scene.statuses(id).await, ["sending 1", "sending 1", "sending 1"]);
    let done: Vec<_> = again.iter().map(|claimed| scene.done(id, claimed, "")).collect();
    queue::write(&scene.db, two, &done).await.unwrap();
    assert_eq!(scene.statuses(id).await, ["succeeded 1", "succeeded 1", "succeeded 1"]);
    queue::release(&scene.db, two, id).await.unwrap();
    assert!(queue::candidates(&scene.db).await.unwrap().is_empty());
}

/// What was attempted and could not be written down is attempted again, but not at once.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_was_not_written_down_comes_back(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let (id, server) = (scene.endpoint(&["*"], None).await, Uuid::new_v4());
    scene.emit(Environment::Live, &["message.sent"]).await;
    queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap();
    assert_eq!(queue::claim(&scene.db, server, id, 10, 10).await.unwrap().0.len(), 1);
    queue::release(&scene.db, server, id).await.unwrap();
    assert_eq!(scene.statuses(id).await, ["pending 1"]);
    assert!(queue::candidates(&scene.db).await.unwrap().is_empty(), "not at once");
    scene.execute("update deliveries set due = due - interval '5 minutes' where endpoint_id = $1", id).await;
    assert_eq!(queue::candidates(&scene.db).await.unwrap(), [id]);
    assert_eq!(queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap().len(), 1);
    assert_eq!(queue::claim(&scene.db, server, id, 10, 10).await.unwrap().1.len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn first_attempts_and_others_are_claimed_apart(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let (id, server) = (scene.endpoint(&["*"], None).await, Uuid::new_v4());
    scene.emit(Environment::Live, &["message.sent", "message.read"]).await;
    queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap();
    let (first, _) = queue::claim(&scene.db, server, id, 10, 10).await.unwrap();
    let failed: Vec<_> = first.iter().map(|claimed| scene.done(id, claimed, "The endpoint answered 500.")).collect();
    queue::write(&scene.db, server, &failed).await.unwrap();
    assert!(queue::candidates(&scene.db).await.unwrap().is_empty(), "nothing is due for an hour");
    assert!(queue::claim(&scene.db, server, id, 10, 10).await.unwrap().1.is_empty());

    scene.execute("update deliveries set due = now() where endpoint_id = $1", id).await;
    scene.emit(Environment::Live, &["message.failed"]).await;
    assert_eq!(queue::candidates(&scene.db).await.unwrap(), [id]);
    let (first, retries) = queue::claim(&scene.db, server, id, 10, 1).await.unwrap();
    assert_eq!((first.len(), retries.len()), (1, 1));
    assert_eq!((first[0].number, retries[0].number), (1, 2));
    queue::unclaim(&scene.db, server, &[first[0].id, retries[0].id]).await.unwrap();
    assert_eq!(scene.statuses(id).await, ["pending 1", "pending 1", "pending 0"]);

    let endpoint = store::get(&scene.db, scene.acme, None, id).await.unwrap();
    assert!(endpoint.failing_since.is_some());
    assert_eq!(endpoint.last_error, "The endpoint answered 500.");
    let health = store::health(&scene.db, scene.acme, None, id).await.unwrap();
    assert_eq!((health.succeeded, health.failed, health.pending), (0, 2, 3));
    assert_eq!(health.p50_ms, Some(12));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn five_days_of_only_failures_end_it(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let (id, server) = (scene.endpoint(&["message.*"], None).await, Uuid::new_v4());
    let watcher = scene.endpoint(&["webhook.disabled"], None).await;
    let fail = async |error: &str| {
        scene.emit(Environment::Live, &["message.sent"]).await;
        queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap();
        let (first, _) = queue::claim(&scene.db, server, id, 1, 0).await.unwrap();
        queue::write(&scene.db, server, &[scene.done(id, &first[0], error)]).await.unwrap()
    };
    assert!(fail("no").await.is_empty(), "not at once");
    scene.execute("update webhook_endpoints set failing_since = now() - interval '119 hours' where id = $1", id).await;
    assert!(fail("no").await.is_empty(), "not before five days are over");
    scene.execute("update webhook_endpoints set failing_since = now() - interval '6 days' where id = $1", id).await;
    assert!(fail("").await.is_empty(), "a success starts anew");
    assert_eq!(store::get(&scene.db, scene.acme, None, id).await.unwrap().failing_since, None);
    assert!(fail("no").await.is_empty(), "a first failure after it");
    // However few there were: this is the second one.
    scene.execute("update webhook_endpoints set failing_since = now() - interval '121 hours' where id = $1", id).await;
    assert_eq!(fail("no").await, [id]);

    assert!(queue::disable(&scene.db, id, DisabledBy::Failures).await.unwrap());
    assert!(!queue::disable(&scene.db, id, DisabledBy::Failures).await.unwrap(), "once is enough");
    assert_eq!(scene.waiting(watcher).await, ["webhook.disabled"]);
    let endpoint = store::get(&scene.db, scene.acme, None, id).await.unwrap();
    assert_eq!(endpoint.disabled.unwrap().by, DisabledBy::Failures);
    let audit = domain::audit::store::of_subject(&scene.db, scene.acme, &id.to_string()).await.unwrap();
    assert_eq!((audit[0].action.as_str(), audit[0].actor.as_str()), ("webhook.disabled", "Bouncer"));

    // It is not delivered to any more; what waits and what comes can be sent later.
    scene.emit(Environment::Live, &["message.read"]).await;
    assert!(queue::own(&scene.db, &scene.sealer, Uuid::new_v4(), &[id]).await.unwrap().is_empty());
    assert!(queue::claim(&scene.db, server, id, 10, 10).await.unwrap().0.is_empty());
    assert_eq!(queue::cancel_waiting(&scene.db, &[id]).await.unwrap(), 4);
    let statuses = scene.statuses(id).await;
    let [cancelled, succeeded] = ["cancelled 1", "succeeded 1"];
    assert_eq!(statuses, [cancelled, cancelled, succeeded, cancelled, cancelled, "cancelled 0"]);
    assert_eq!(store::health(&scene.db, scene.acme, None, id).await.unwrap().never_attempted, 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn secrets_are_sealed_and_rotate_with_an_overlap(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let mut wanted = draft(&["*"], None);
    wanted.headers = Some(vec![("X-Token".into(), Some("shop-abc".into())), ("X-Other".into(), Some("def".into()))]);
    let (endpoint, secret) =
        store::create(&scene.db, &scene.sealer, &scene.actor(), None, wanted.parse(None).ok().unwrap(), None)
            .await
            .unwrap();
    let id = endpoint.id;
    assert!(secret.expose_secret().starts_with("whsec_"));
    let row: String =
        sqlx::query_scalar("select w::text from webhook_endpoints w").fetch_one(scene.db.system()).await.unwrap();
    assert!(!row.contains(&secret.expose_secret()[6..]) && !row.contains("shop-abc"), "{row}");

    let target = async || {
        scene.execute("update webhook_endpoints set owner_id = null where id = $1", id).await;
        queue::own(&scene.db, &scene.sealer, Uuid::new_v4(), &[id]).await.unwrap().pop().unwrap()
    };
    let shown = |target: &queue::Target| {
        target.headers.iter().map(|(n, v)| format!("{n}: {}", v.expose_secret())).collect::<Vec<_>>().join(", ")
    };
    let before = target().await;
    assert_eq!(before.secret.expose_secret(), secret.expose_secret());
    assert!(before.old_secret.is_none());
    assert_eq!(shown(&before), "X-Other: def, X-Token: shop-abc");

    let (rotated, newer) = store::rotate_secret(&scene.db, &scene.sealer, &scene.actor(), None, id).await.unwrap();
    let left = rotated.old_secret_ends_at.unwrap() - Utc::now();
    assert!((TimeDelta::hours(23)..=TimeDelta::hours(24)).contains(&left), "{left}");
    let after = target().await;
    assert_eq!(after.secret.expose_secret(), newer.expose_secret());
    assert_eq!(after.old_secret.unwrap().0.expose_secret(), secret.expose_secret());
    queue::tidy(&scene.db, Utc::now() + TimeDelta::hours(25)).await.unwrap();
    assert!(target().await.old_secret.is_none());

    // One header keeps its value, one gets another, and what is not named goes.
    let mut edit = EndpointDraft::of(&rotated);
    edit.headers = Some(vec![("X-Token".into(), None), ("X-New".into(), Some("ghi".into()))]);
    let edit = edit.parse(Some(&rotated)).ok().unwrap();
    store::edit(&scene.db, &scene.sealer, &scene.actor(), None, id, rotated.version, edit.clone()).await.unwrap();
    assert_eq!(shown(&target().await), "X-New: ghi, X-Token: shop-abc");
    let stale = store::edit(&scene.db, &scene.sealer, &scene.actor(), None, id, rotated.version, edit).await;
    assert!(matches!(stale, Err(Error::Conflict(_))));
    let audit = domain::audit::store::of_subject(&scene.db, scene.acme, &id.to_string()).await.unwrap();
    let told = serde_json::to_string(&audit).unwrap();
    assert!(!told.contains("shop-abc") && !told.contains("ghi") && told.contains("X-New"), "{told}");

    // Sealed with another BOUNCER_SECRET: told, not passed over.
    let other = Sealer::new(&SecretString::from("another secret of sufficient length"));
    scene.execute("update webhook_endpoints set owner_id = null where id = $1", id).await;
    assert!(queue::own(&scene.db, &other, Uuid::new_v4(), &[id]).await.unwrap()[0].broken);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_was_sent_can_be_sent_again(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let (id, server) = (scene.endpoint(&["*"], None).await, Uuid::new_v4());
    let quiet = scene.endpoint(&["message.read"], None).await;
    scene.emit(Environment::Live, &["message.sent", "message.read", "message.failed"]).await;
    queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap();
    let (first, _) = queue::claim(&scene.db, server, id, 10, 0).await.unwrap();
    let (db, actor) = (&scene.db, &scene.actor());
    assert!(matches!(resend::one(db, actor, None, first[0].id).await, Err(Error::Conflict(_))), "it is being sent");
    let done: Vec<_> = first.iter().map(|claimed| scene.done(id, claimed, "")).collect();
    queue::write(db, server, &done).await.unwrap();

    resend::one(db, actor, None, first[0].id).await.unwrap();
    assert_eq!(scene.statuses(id).await, ["pending 1", "succeeded 1", "succeeded 1"]);
    let (_, again) = queue::claim(db, server, id, 10, 10).await.unwrap();
    assert_eq!((again[0].number, again[0].before), (2, 1), "the schedule begins anew");
    queue::write(db, server, &[scene.done(id, &again[0], "")]).await.unwrap();
    let delivery = deliveries::get(db, scene.acme, None, first[0].id).await.unwrap();
    assert_eq!(delivery.attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(delivery.attempts[0].response_headers, [("c".to_owned(), "d".to_owned())]);

    // All that succeeded, to this endpoint: three of four deliveries.
    let filter = DeliveryFilter {
        endpoint: Some(id),
        status: Some(DeliveryStatus::Succeeded),
        event: Some("message.*".into()),
        code_class: Some(2),
        ..DeliveryFilter::default()
    };
    assert_eq!(resend::count(db, scene.acme, &filter).await.unwrap(), 3);
    let job = resend::start(db, actor, &filter).await.unwrap();
    assert_eq!((job.total, job.done, job.finished_at), (3, 0, None));
    let [row] = &audit::store::of_subject(db, scene.acme, &job.id.to_string()).await.unwrap()[..] else { panic!() };
    let told: Vec<_> =
        row.changes.iter().map(|c| format!("{} {}", c.field, c.after.as_deref().unwrap_or("-"))).collect();
    let url = &store::get(db, scene.acme, None, id).await.unwrap().url;
    assert_eq!(
        told,
        ["deliveries 3", &format!("endpoint {url}"), "status succeeded", "event message.*", "answered with 2xx"]
    );
    assert!(matches!(resend::start(db, actor, &filter).await, Err(Error::Conflict(_))), "one at a time");
    assert_eq!(resend::step(db, None).await.unwrap(), Some(job.id));
    let job = resend::job(db, scene.acme, None, job.id).await.unwrap();
    assert_eq!((job.done, job.finished_at.is_some()), (3, true));
    assert_eq!(resend::step(db, None).await.unwrap(), None);
    assert_eq!(scene.statuses(id).await, ["pending 2", "pending 1", "pending 1"]);
    assert_eq!(scene.statuses(quiet).await, ["pending 0"]);

    // Cancelled before its first step: nothing happens any more.
    let everything = DeliveryFilter { event: Some("*".into()), ..DeliveryFilter::default() };
    let job = resend::start(db, actor, &everything).await.unwrap();
    assert_eq!(job.total, 4);
    let job = resend::cancel(db, actor, None, job.id).await.unwrap();
    assert!(job.cancelled_at.is_some());
    assert_eq!(resend::step(db, None).await.unwrap(), None);
    assert!(resend::cancel(db, actor, None, job.id).await.unwrap().cancelled_at.is_some());
    let history = audit::store::of_subject(db, scene.acme, &job.id.to_string()).await.unwrap();
    let actions: Vec<&str> = history.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["webhook.resend_cancelled", "webhook.deliveries_resent"], "stopped once");

    // A filter that nothing matches ends at once.
    let nothing = DeliveryFilter { event: Some("instance.*".into()), ..DeliveryFilter::default() };
    assert!(resend::start(db, actor, &nothing).await.unwrap().finished_at.is_some());
}

/// However much an organization sends again: the jobs of others go on meanwhile.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn resend_jobs_take_turns(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let db = &scene.db;
    // More than two steps put back.
    scene.endpoint(&["*"], None).await;
    scene.emit(Environment::Live, &["message.sent"; 2_001]).await;
    let everything = DeliveryFilter { event: Some("*".into()), ..DeliveryFilter::default() };
    let huge = resend::start(db, &scene.actor(), &everything).await.unwrap().id;
    let mut small = vec![];
    for name in ["Evil", "Tiny"] {
        let organization = organization(db, name).await;
        let actor = actor(organization, None);
        store::create(db, &scene.sealer, &actor, None, new(&["*"], None), None).await.unwrap();
        let mut tx = db.tenant(organization).await.unwrap();
        events::emit(&mut tx, &[event(organization, Environment::Live, "message.sent")]).await.unwrap();
        tx.commit().await.unwrap();
        small.push(resend::start(db, &actor, &everything).await.unwrap().id);
    }
    let mut taken = vec![];
    while let Some(job) = resend::step(db, taken.last().copied()).await.unwrap() {
        taken.push(job);
    }
    assert_eq!(taken, [huge, small[0], small[1], huge, huge]);
    assert_eq!(resend::job(db, scene.acme, None, huge).await.unwrap().done, 2_001);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn filters_and_pages(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let (id, server) = (scene.endpoint(&["*"], None).await, Uuid::new_v4());
    for _ in 0..3 {
        scene.emit(Environment::Live, &["message.sent", "instance.status"]).await;
    }
    scene.emit(Environment::Test, &["message.sent"]).await;
    queue::own(&scene.db, &scene.sealer, server, &[id]).await.unwrap();
    let (first, _) = queue::claim(&scene.db, server, id, 2, 0).await.unwrap();
    queue::write(&scene.db, server, &[scene.done(id, &first[0], ""), scene.done(id, &first[1], "no")]).await.unwrap();

    let count =
        async |filter: DeliveryFilter| deliveries::page(&scene.db, scene.acme, &filter, None, 100).await.unwrap().len();
    let filter = DeliveryFilter::default;
    assert_eq!(count(filter()).await, 7);
    assert_eq!(count(DeliveryFilter { event: Some("message.*".into()), ..filter() }).await, 4);
    assert_eq!(count(DeliveryFilter { event: Some("instance.status".into()), ..filter() }).await, 3);
    assert_eq!(count(DeliveryFilter { environment: Some(Environment::Test), ..filter() }).await, 1);
    assert_eq!(count(DeliveryFilter { status: Some(DeliveryStatus::Succeeded), ..filter() }).await, 1);
    assert_eq!(count(DeliveryFilter { code_class: Some(5), ..filter() }).await, 1);
    assert_eq!(
        count(DeliveryFilter { code_class: Some(0), ..filter() }).await,
        0,
        "without an attempt there is no class"
    );
    assert_eq!(count(DeliveryFilter { never_attempted: true, ..filter() }).await, 5);
    assert_eq!(count(DeliveryFilter { to: Some(Utc::now() - TimeDelta::hours(1)), ..filter() }).await, 0);
    assert_eq!(count(DeliveryFilter { from: Some(Utc::now() - TimeDelta::hours(1)), ..filter() }).await, 7);

    let mut seen = vec![];
    let mut before = None;
    loop {
        let page = deliveries::page(&scene.db, scene.acme, &filter(), before, 2).await.unwrap();
        before = page.last().map(|row| row.id);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted_by(|a, b| a > b));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn others_and_viewers_change_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let id = scene.endpoint(&["*"], Some(Environment::Live)).await;
    scene.emit(Environment::Live, &["message.sent"]).await;
    let delivery = deliveries::page(&scene.db, scene.acme, &DeliveryFilter::default(), None, 1).await.unwrap()[0].id;
    let foreign = organization(&scene.db, "Evil").await;
    let (db, sealer, eve) = (&scene.db, &scene.sealer, &actor(foreign, None));
    let not_found = |result: Result<(), Error>| assert!(matches!(result, Err(Error::NotFound)), "{result:?}");
    // A foreign organization, and a test key of one's own.
    for (who, only) in [(eve, None), (&scene.actor(), Some(Environment::Test))] {
        let organization = who.organization_id;
        not_found(store::get(db, organization, only, id).await.map(drop));
        not_found(store::edit(db, sealer, who, only, id, 1, new(&["*"], None)).await.map(drop));
        not_found(store::set_enabled(db, who, only, id, false).await.map(drop));
        not_found(store::rotate_secret(db, sealer, who, only, id).await.map(drop));
        not_found(store::send_test(db, who, only, None, id).await.map(drop));
        not_found(store::health(db, organization, only, id).await.map(drop));
        not_found(store::delete(db, who, only, id).await);
        not_found(deliveries::get(db, organization, only, delivery).await.map(drop));
        not_found(resend::one(db, who, only, delivery).await);
        assert!(store::list(db, organization, only, None, 10).await.unwrap().is_empty());
    }
    let viewer = &actor(scene.acme, Some(Role::Viewer));
    let forbidden = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Forbidden(_))), "{result:?}");
    forbidden(store::create(db, sealer, viewer, None, new(&["*"], None), None).await.map(drop));
    forbidden(store::edit(db, sealer, viewer, None, id, 1, new(&["*"], None)).await.map(drop));
    forbidden(store::set_enabled(db, viewer, None, id, false).await.map(drop));
    forbidden(store::rotate_secret(db, sealer, viewer, None, id).await.map(drop));
    forbidden(store::send_test(db, viewer, None, None, id).await.map(drop));
    forbidden(store::delete(db, viewer, None, id).await);
    forbidden(resend::one(db, viewer, None, delivery).await);
    forbidden(resend::start(db, viewer, &DeliveryFilter::default()).await.map(drop));
    assert_eq!(store::list(db, scene.acme, None, None, 10).await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_that_ends_is_told_of(_: PgPoolOptions, options: PgConnectOptions) {
    let scene = Scene::new(options).await;
    let id = scene.endpoint(&["api_key.*"], None).await;
    let now = Utc::now();
    let form = KeyForm {
        name: "Shop".into(),
        environment: "test".into(),
        expires: "date".into(),
        expires_on: (now + TimeDelta::days(2)).date_naive().to_string(),
        ..KeyForm::default()
    };
    let new = form.parse(now, None).unwrap();
    let key = keys::store::create(&scene.db, &scene.actor(), new, None, "bnc").await.unwrap().id;
    for _ in 0..2 {
        domain::usage::store::housekeeping(&scene.db, now).await.unwrap();
    }
    assert_eq!(scene.waiting(id).await, ["api_key.expiring"], "once");
    keys::store::revoke(&scene.db, &scene.actor(), &[key]).await.unwrap();
    assert_eq!(scene.waiting(id).await, ["api_key.expiring", "api_key.revoked"]);

    let page = deliveries::page(&scene.db, scene.acme, &DeliveryFilter::default(), None, 10).await.unwrap();
    let revoked = deliveries::get(&scene.db, scene.acme, None, page[0].id).await.unwrap();
    assert_eq!(revoked.payload["data"]["keyId"], key.to_string());
    assert_eq!((revoked.key_id, revoked.row.environment), (Some(key), Environment::Test));
    let expiring = deliveries::get(&scene.db, scene.acme, None, page[1].id).await.unwrap();
    assert_eq!(expiring.payload["data"]["days"], 3);
}
