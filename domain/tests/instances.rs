//! Instances against a real Postgres: their life, their secrets, their connection, the walls between organizations.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use chrono::{Duration, Utc};
use common::World;
use domain::{
    Error,
    audit::store as audit,
    ids::{InstanceId, MessageId},
    instances::{
        Credential, InstanceForm, PausedBy, Provider, Session, Settings, Status,
        cache::InstanceCache,
        store,
        store::{Connecting, Resumed, StatusChange},
    },
    keys::KeyForm,
    people::{Actor, Role},
    reseal,
    seal::Sealer,
    secret::{ExposeSecret, SecretString},
    webhooks::{EndpointForm, store as webhooks},
};
use sqlx::PgPool;
use uuid::Uuid;

fn sealer() -> Sealer {
    Sealer::new(&SecretString::from("a secret for tests, long enough to be one"))
}

fn waha(name: &str) -> InstanceForm {
    InstanceForm {
        name: name.into(),
        provider: "waha".into(),
        base_url: "https://waha.acme.example/".into(),
        session: "support".into(),
        api_key: "the-api-key-of-waha".into(),
        ..InstanceForm::default()
    }
}

fn cloud(name: &str) -> InstanceForm {
    InstanceForm {
        name: name.into(),
        provider: "cloud_api".into(),
        phone_number_id: "106540352242922".into(),
        business_account_id: "102290129340398".into(),
        access_token: "EAAJB-token".into(),
        app_secret: "app-secret".into(),
        verify_token: "choose-me-well".into(),
        ..InstanceForm::default()
    }
}

async fn create(world: &World, form: &InstanceForm) -> InstanceId {
    store::create(&world.db, &sealer(), &world.owner, form.parse(None).unwrap(), None).await.unwrap()
}

fn session(status: Status, detail: &str) -> Session {
    Session { status, detail: detail.into(), phone: None }
}

async fn events(world: &World) -> Vec<(String, serde_json::Value)> {
    sqlx::query_as("select kind, data from events order by id").fetch_all(world.db.system()).await.unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_instance_lives_and_ends(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org) = (&world.db, world.org());
    let id = create(&world, &waha("Support")).await;
    let row = store::get(db, org, id).await.unwrap();
    assert_eq!(row.instance.name, "Support");
    assert_eq!(row.instance.provider(), Provider::Waha);
    assert_eq!(row.instance.settings.base_url(), Some("https://waha.acme.example"));
    assert_eq!(row.instance.credentials, [Credential::ApiKey, Credential::HookSecret]);
    assert_eq!(row.instance.status, Status::Disconnected);
    let paused = row.queue.paused.unwrap();
    assert_eq!((paused.by, paused.reason.as_str()), (PausedBy::Session, "The number is not connected."));

    let mut edit = InstanceForm::of(&row.instance);
    edit.name = "Support 2".into();
    edit.session = "other".into();
    let parsed = edit.parse(Some(&row.instance)).unwrap();
    store::edit(db, &sealer(), &world.owner, id, 1, parsed.clone()).await.unwrap();
    let Err(Error::Conflict(text)) = store::edit(db, &sealer(), &world.owner, id, 1, parsed).await else {
        panic!("a stale version must be refused")
    };
    assert!(text.starts_with("Somebody else changed this instance"), "{text}");
    let row = store::get(db, org, id).await.unwrap();
    assert_eq!((row.instance.name.as_str(), row.instance.version), ("Support 2", 2));
    assert_eq!(row.instance.credentials, [Credential::ApiKey, Credential::HookSecret], "credentials left empty stay");

    store::delete(db, &world.owner, id).await.unwrap();
    assert!(matches!(store::get(db, org, id).await, Err(Error::NotFound)));
    assert!(matches!(store::delete(db, &world.owner, id).await, Err(Error::NotFound)));
    let (credentials, names): (Option<String>, Vec<String>) =
        sqlx::query_as("select credentials, credential_names from instances where id = $1")
            .bind(id.0)
            .fetch_one(db.system())
            .await
            .unwrap();
    assert_eq!((credentials, names), (None, vec![]), "a deleted instance keeps no secrets");
    // Its name is free again.
    create(&world, &waha("support 2")).await;

    let actions: Vec<String> =
        audit::of_subject(db, org, &id.to_string()).await.unwrap().into_iter().map(|row| row.action).collect();
    assert_eq!(actions, ["instance.deleted", "instance.edited", "instance.created"]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn secrets_are_sealed_and_never_told(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = create(&world, &cloud("Cloud")).await;
    let secrets = ["EAAJB-token", "app-secret", "choose-me-well"];
    let row: String = sqlx::query_scalar("select row_to_json(i)::text from instances i where id = $1")
        .bind(id.0)
        .fetch_one(world.db.system())
        .await
        .unwrap();
    let audit: String = sqlx::query_scalar("select coalesce(json_agg(a)::text, '') from audit_log a")
        .fetch_one(world.db.system())
        .await
        .unwrap();
    let shown = store::get(&world.db, world.org(), id).await.unwrap();
    let (shown, debug) = (serde_json::to_string(&shown).unwrap(), format!("{:?} {:?}", shown, cloud("Cloud")));
    for secret in secrets {
        for (place, text) in [("row", &row), ("audit", &audit), ("answer", &shown), ("debug", &debug)] {
            assert!(!text.contains(secret), "{secret} in the {place}");
        }
    }
    assert!(shown.contains("accessToken"), "which are set is told: {shown}");

    // Sealed for this instance and nothing else.
    let other = create(&world, &cloud("Another")).await;
    sqlx::query("update instances o set credentials = i.credentials from instances i where o.id = $1 and i.id = $2")
        .bind(other.0)
        .bind(id.0)
        .execute(world.db.system())
        .await
        .unwrap();
    let cache = InstanceCache::new(world.db.clone(), sealer());
    assert_eq!(cache.known(id).await.unwrap().unwrap().credentials.get(Credential::AccessToken), Some("EAAJB-token"));
    assert!(matches!(cache.known(other).await, Err(Error::Internal(_))));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_new_secret_seals_everything_anew(pool: PgPool) {
    let world = World::new(&pool).await;
    let (first, second) = (create(&world, &cloud("One")).await, create(&world, &waha("Two")).await);
    let (old, new) = ("a secret for tests, long enough to be one", "another secret, as long as the first one was");
    let new = SecretString::from(new);
    let both = Sealer::new(&new).and_old(&SecretString::from(old));
    let done = reseal::all(&world.db, &both, "command line").await.unwrap();
    assert_eq!((done.done, done.current, done.unreadable.len()), (2, 0, 0));
    let again = reseal::all(&world.db, &both, "command line").await.unwrap();
    assert_eq!((again.done, again.current), (0, 2));

    let cache = InstanceCache::new(world.db.clone(), Sealer::new(&new));
    assert_eq!(cache.known(first).await.unwrap().unwrap().credentials.get(Credential::AppSecret), Some("app-secret"));
    assert_eq!(
        cache.known(second).await.unwrap().unwrap().credentials.get(Credential::ApiKey),
        Some("the-api-key-of-waha")
    );
    // Everything else that is sealed: the secrets of webhook endpoints and of keys.
    let form = EndpointForm { url: "https://hooks.example/x".into(), ..EndpointForm::default() };
    let (endpoint, secret) =
        webhooks::create(&world.db, &both, &world.owner, None, form.parse(None).unwrap(), None).await.unwrap();
    webhooks::rotate_secret(&world.db, &both, &world.owner, None, endpoint.id).await.unwrap();
    let key = KeyForm { name: "Signs".into(), issue_secret: "on".into(), ..KeyForm::default() };
    let key = key.parse(Utc::now(), None).unwrap();
    domain::keys::store::create_with_secret(&world.db, &both, &world.owner, key, None, "bnc").await.unwrap();
    let third = SecretString::from("the third secret, as long as the other two were");
    let next = Sealer::new(&third).and_old(&new);
    let done = reseal::all(&world.db, &next, "command line").await.unwrap();
    assert_eq!(
        (done.done, done.current, done.unreadable),
        (5, 0, vec![]),
        "two instances, two of the endpoint, one key"
    );
    let sealed: Vec<String> = sqlx::query_scalar(
        "select credentials from instances union all select secret from webhook_endpoints
         union all select old_secret from webhook_endpoints union all select signing_secret from api_keys",
    )
    .fetch_all(world.db.system())
    .await
    .unwrap();
    assert!(sealed.iter().all(|text| Sealer::new(&third).is_current(text)));
    // One row for each time that something was sealed anew.
    let told = audit::of_subject(&world.db, world.org(), &world.org().to_string()).await.unwrap();
    let told: Vec<_> = told
        .iter()
        .filter(|row| row.action == "organization.secrets_resealed")
        .map(|row| (row.actor.as_str(), row.changes[0].after.as_deref()))
        .collect();
    assert_eq!(told, [("command line", Some("5")), ("command line", Some("2"))]);
    assert!(!secret.expose_secret().is_empty());
    let cache = InstanceCache::new(world.db.clone(), Sealer::new(&third));

    // What nobody can open is named, and stays.
    let stranger = Sealer::new(&SecretString::from("a third secret that never sealed anything"));
    let lost = reseal::all(&world.db, &stranger, "command line").await.unwrap();
    assert_eq!((lost.done, lost.unreadable.len()), (0, 5));
    assert!(lost.unreadable.iter().any(|place| place.contains(&first.0.to_string())), "{lost:?}");
    assert!(cache.known(first).await.unwrap().is_some());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn names_and_submissions_are_made_once(pool: PgPool) {
    let world = World::new(&pool).await;
    create(&world, &waha("Support")).await;
    let again = store::create(&world.db, &sealer(), &world.owner, waha("SUPPORT").parse(None).unwrap(), None).await;
    let Err(Error::Invalid(errors)) = again else { panic!("{again:?}") };
    assert_eq!(errors[0].field, "name");

    let submission = Some(Uuid::new_v4());
    let make = async |name: &str| {
        store::create(&world.db, &sealer(), &world.owner, waha(name).parse(None).unwrap(), submission).await
    };
    make("Sales").await.unwrap();
    assert!(matches!(make("Sales").await, Err(Error::Conflict(_))));
    // Another organization may use the name.
    let other = world.other_organization().await;
    store::create(&world.db, &sealer(), &other, waha("Support").parse(None).unwrap(), None).await.unwrap();
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nobody_sees_or_touches_anothers_instance(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = create(&world, &cloud("Cloud")).await;
    let (db, other) = (&world.db, world.other_organization().await);
    let foreign = other.organization_id;
    assert!(matches!(store::get(db, foreign, id).await, Err(Error::NotFound)));
    assert!(store::list(db, foreign, None, None, 100).await.unwrap().is_empty());
    assert!(matches!(store::delete(db, &other, id).await, Err(Error::NotFound)));
    let new = cloud("Mine").parse(None).unwrap();
    assert!(matches!(store::edit(db, &sealer(), &other, id, 1, new).await, Err(Error::NotFound)));
    assert!(matches!(store::pause(db, &other, id, Utc::now()).await, Err(Error::NotFound)));
    assert!(matches!(store::resume(db, &other, id, Utc::now()).await, Err(Error::NotFound)));
    let connected = session(Status::Connected, "");
    let told = store::told_by(db, &other, id, Connecting::Connect, &connected, Utc::now()).await;
    assert!(matches!(told, Err(Error::NotFound)));
    assert!(matches!(store::tell(db, foreign, id, &connected, Utc::now()).await, Err(Error::NotFound)));
    assert!(matches!(store::tell_if_wanted(db, foreign, id, &connected, Utc::now()).await, Err(Error::NotFound)));
    assert_eq!(store::find_number(db, foreign, "106540352242922").await.unwrap(), None);
    let cache = InstanceCache::new(db.clone(), sealer());
    assert!(cache.get(foreign, id).await.unwrap().is_none());
    assert!(cache.get(world.org(), id).await.unwrap().is_some());
    let row = store::get(db, world.org(), id).await.unwrap();
    assert_eq!((row.instance.version, row.instance.status), (1, Status::Disconnected));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn viewers_change_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = create(&world, &waha("Support")).await;
    let viewer = Actor { role: Some(Role::Viewer), ..world.owner.clone() };
    let db = &world.db;
    let new = || waha("Other").parse(None).unwrap();
    assert!(matches!(store::create(db, &sealer(), &viewer, new(), None).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::edit(db, &sealer(), &viewer, id, 1, new()).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::delete(db, &viewer, id).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::pause(db, &viewer, id, Utc::now()).await, Err(Error::Forbidden(_))));
    assert!(matches!(store::resume(db, &viewer, id, Utc::now()).await, Err(Error::Forbidden(_))));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_queue_follows_the_connection(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org, now) = (&world.db, world.org(), Utc::now());
    let id = create(&world, &waha("Support")).await;
    let paused = async || store::get(db, org, id).await.unwrap().queue.paused.map(|paused| paused.by);
    let tell = async |status, detail: &str| store::tell(db, org, id, &session(status, detail), now).await.unwrap();

    assert_eq!(tell(Status::ScanQr, "SCAN_QR_CODE").await, StatusChange::Status);
    assert_eq!(paused().await, Some(PausedBy::Session));
    assert_eq!(tell(Status::Connected, "WORKING").await, StatusChange::Status);
    assert_eq!(paused().await, None);
    assert_eq!(tell(Status::Connected, "WORKING").await, StatusChange::Nothing);
    assert_eq!(tell(Status::Failed, "FAILED").await, StatusChange::Status);
    assert_eq!(paused().await, Some(PausedBy::Session));
    assert_eq!(tell(Status::Connected, "WORKING").await, StatusChange::Status);

    // A person's pause stays, whatever the connection does.
    assert!(store::pause(db, &world.owner, id, now).await.unwrap());
    assert!(!store::pause(db, &world.owner, id, now).await.unwrap());
    tell(Status::Disconnected, "STOPPED").await;
    tell(Status::Connected, "WORKING").await;
    assert_eq!(paused().await, Some(PausedBy::Person));
    let resume = async || store::resume(db, &world.owner, id, now).await.unwrap();
    assert_eq!(resume().await, Resumed::GoesOn);
    assert_eq!(paused().await, None);
    assert_eq!(resume().await, Resumed::Nothing);

    // When it ends, the connection may be lost.
    store::pause(db, &world.owner, id, now).await.unwrap();
    tell(Status::Disconnected, "STOPPED").await;
    assert_eq!(paused().await, Some(PausedBy::Person));
    assert_eq!(resume().await, Resumed::NotConnected);
    assert_eq!(paused().await, Some(PausedBy::Session));
    assert_eq!(resume().await, Resumed::NotConnected);
    tell(Status::Connected, "WORKING").await;
    assert_eq!(paused().await, None);
    let resumed = "select count(*) from audit_log where action = 'instance.resumed'";
    assert_eq!(sqlx::query_scalar::<_, i64>(resumed).fetch_one(db.system()).await.unwrap(), 2);

    let told: Vec<(String, String)> = events(&world)
        .await
        .into_iter()
        .filter(|(kind, _)| kind == "instance.status")
        .map(|(_, data)| (data["previousStatus"].as_str().unwrap().into(), data["status"].as_str().unwrap().into()))
        .collect();
    let expected = [
        ("disconnected", "scan_qr"),
        ("scan_qr", "connected"),
        ("connected", "failed"),
        ("failed", "connected"),
        ("connected", "disconnected"),
        ("disconnected", "connected"),
        ("connected", "disconnected"),
        ("disconnected", "connected"),
    ];
    assert_eq!(told, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

/// Only what was lost comes back because its provider, asked, says that it is connected.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_nobody_wants_connected_stays_disconnected(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org, now) = (&world.db, world.org(), Utc::now());
    let id = create(&world, &cloud("Support")).await;
    let asked = async |status| store::tell_if_wanted(db, org, id, &session(status, ""), now).await.unwrap();
    let status = async || store::get(db, org, id).await.unwrap().instance.status;
    let act = async |action, status| {
        store::told_by(db, &world.owner, id, action, &session(status, ""), now).await.unwrap();
    };
    assert!(!asked(Status::Connected).await, "only created");
    // Its webhook is not set.
    act(Connecting::Connect, Status::Connecting).await;
    assert!(!asked(Status::Connected).await);
    assert_eq!(status().await, Status::Connecting);
    act(Connecting::Connect, Status::Connected).await;
    store::tell(db, org, id, &session(Status::Disconnected, "(#190) Token expired"), now).await.unwrap();
    assert!(asked(Status::Connected).await, "lost");
    assert_eq!(status().await, Status::Connected);
    act(Connecting::Disconnect, Status::Disconnected).await;
    assert!(!asked(Status::Connected).await, "ended by somebody");
    assert_eq!(status().await, Status::Disconnected);
    // Somebody ends what was lost.
    act(Connecting::Connect, Status::Connected).await;
    store::tell(db, org, id, &session(Status::Disconnected, "(#190) Token expired"), now).await.unwrap();
    act(Connecting::Disconnect, Status::Disconnected).await;
    assert!(!asked(Status::Connected).await);

    // WAHA has our webhook as soon as it was asked to connect.
    let id = create(&world, &waha("Sales")).await;
    let asked = async |status| store::tell_if_wanted(db, org, id, &session(status, ""), now).await.unwrap();
    assert!(!asked(Status::Connected).await);
    store::told_by(db, &world.owner, id, Connecting::Connect, &session(Status::ScanQr, ""), now).await.unwrap();
    assert!(asked(Status::Connected).await);
    let sandbox = InstanceForm { name: "Try".into(), provider: "sandbox".into(), ..InstanceForm::default() };
    let id = create(&world, &sandbox).await;
    assert!(store::tell_if_wanted(db, org, id, &session(Status::Connected, ""), now).await.unwrap());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn news_that_come_late_change_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org, now) = (&world.db, world.org(), Utc::now());
    let id = create(&world, &waha("Support")).await;
    let tell = async |status: Status, phone: Option<&str>, seconds: i64| {
        let mut tx = db.system().begin().await.unwrap();
        let told = Session { status, detail: String::new(), phone: phone.map(str::to_owned) };
        let at = Some(now + Duration::seconds(seconds));
        let change = store::set_status(&mut tx, org, id, &told, at, now).await.unwrap();
        tx.commit().await.unwrap();
        change
    };
    assert_eq!(tell(Status::Connected, Some("60123456789"), 10).await, StatusChange::Status);
    assert_eq!(tell(Status::ScanQr, None, 5).await, StatusChange::Nothing);
    let row = store::get(db, org, id).await.unwrap();
    assert_eq!((row.instance.status, row.instance.phone.as_deref()), (Status::Connected, Some("60123456789")));
    assert_eq!(row.queue.paused, None);
    // The same moment counts: several things happen in one millisecond.
    assert_eq!(tell(Status::Failed, None, 10).await, StatusChange::Status);
    // The number is not forgotten because somebody did not mention it.
    assert_eq!(store::get(db, org, id).await.unwrap().instance.phone.as_deref(), Some("60123456789"));
    // What is told again is nothing new, but it was so until then: what happened before and comes later is old.
    assert_eq!(tell(Status::Failed, None, 20).await, StatusChange::Nothing);
    assert_eq!(tell(Status::Connected, None, 15).await, StatusChange::Nothing);
    assert_eq!(store::get(db, org, id).await.unwrap().instance.status, Status::Failed);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_providers_words_are_kept_short_and_harmless(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = create(&world, &waha("Support")).await;
    let words = format!("a\0{}", "ö".repeat(2_000));
    store::tell(&world.db, world.org(), id, &session(Status::Failed, &words), Utc::now()).await.unwrap();
    let detail = store::get(&world.db, world.org(), id).await.unwrap().instance.status_detail;
    assert_eq!(detail.chars().count(), 500);
    assert!(detail.starts_with("aö"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn deleting_cancels_what_waits_and_leaves_what_is_on_its_way(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org) = (&world.db, world.org());
    let sandbox = InstanceForm { name: "Sandbox".into(), ..InstanceForm::default() };
    let (doomed, other) = (create(&world, &sandbox).await, create(&world, &waha("Other")).await);
    let put = async |instance: InstanceId, state: &str| {
        let id = MessageId::new();
        sqlx::query(
            "with m as (insert into messages (id, organization_id, instance_id, environment, recipient, kind, body, status,
                                              status_rank, status_at, accepted_at, slot_at)
                        values ($1, $2, $3, 'live', '60123456789', 'text', '{}', $4, 0, now(), now(), now()))
             insert into outbox (message_id, organization_id, instance_id, environment, recipient, state, due, gap_ms, expires_at)
             values ($1, $2, $3, 'live', '60123456789', $4, now(), 0, now() + interval '1 day')",
        )
        .bind(id.0)
        .bind(org.0)
        .bind(instance.0)
        .bind(state)
        .execute(db.system())
        .await
        .unwrap();
        id
    };
    let queued = [put(doomed, "queued").await, put(doomed, "queued").await];
    let (sending, unknown, elsewhere) =
        (put(doomed, "sending").await, put(doomed, "unknown").await, put(other, "queued").await);
    assert_eq!(store::get(db, org, doomed).await.unwrap().queue.waiting, 4);

    assert_eq!(store::delete(db, &world.owner, doomed).await.unwrap(), 2);
    let status = async |id: MessageId| -> String {
        sqlx::query_scalar("select status from messages where id = $1").bind(id.0).fetch_one(db.system()).await.unwrap()
    };
    for id in queued {
        assert_eq!(status(id).await, "cancelled");
    }
    assert_eq!((status(sending).await, status(unknown).await), ("sending".into(), "unknown".into()));
    assert_eq!(status(elsewhere).await, "queued");
    let steps: Vec<(Uuid, String)> =
        sqlx::query_as("select message_id, detail from message_steps where status = 'cancelled'")
            .fetch_all(db.system())
            .await
            .unwrap();
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|(_, detail)| detail == "The instance was deleted."));
    let left: Vec<Uuid> = sqlx::query_scalar("select message_id from outbox where instance_id = $1")
        .bind(doomed.0)
        .fetch_all(db.system())
        .await
        .unwrap();
    assert_eq!(left, [sending.0], "only what is on its way stays, until its provider answers");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn lists_go_from_the_newest_and_show_what_is_allowed(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, org) = (&world.db, world.org());
    let mut ids = vec![];
    for number in 0..5 {
        ids.push(create(&world, &waha(&format!("Number {number}"))).await);
    }
    let list = async |before, allowed: Option<&[InstanceId]>, limit| -> Vec<InstanceId> {
        let rows = store::list(db, org, before, allowed, limit).await.unwrap();
        rows.into_iter().map(|row| row.instance.id).collect()
    };
    assert_eq!(list(None, None, 2).await, [ids[4], ids[3]]);
    assert_eq!(list(Some(ids[3]), None, 10).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(None, Some(&[ids[1], ids[3]]), 10).await, [ids[3], ids[1]]);
    assert_eq!(list(None, Some(&[]), 10).await, []);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_cache_follows_changes(pool: PgPool) {
    let world = World::new(&pool).await;
    let cache = InstanceCache::new(world.db.clone(), sealer());
    let id = create(&world, &waha("Support")).await;
    cache.set_listening(true);
    let name = async || cache.get(world.org(), id).await.unwrap().map(|instance| instance.name.clone());
    assert_eq!(name().await.as_deref(), Some("Support"));
    let row = store::get(&world.db, world.org(), id).await.unwrap();
    let edit = InstanceForm { name: "Sales".into(), ..InstanceForm::of(&row.instance) };
    store::edit(&world.db, &sealer(), &world.owner, id, 1, edit.parse(Some(&row.instance)).unwrap()).await.unwrap();
    assert_eq!(name().await.as_deref(), Some("Support"), "from memory");
    cache.invalidate(id);
    assert_eq!(name().await.as_deref(), Some("Sales"));
    store::delete(&world.db, &world.owner, id).await.unwrap();
    cache.invalidate_all();
    assert_eq!(name().await, None);
    assert!(cache.get(world.org(), InstanceId::new()).await.unwrap().is_none());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_announcement_names_the_instance(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.unwrap();
    listener.listen("bouncer_instances").await.unwrap();
    let id = create(&world, &waha("Support")).await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), listener.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), id.0.to_string());
}

#[test]
fn settings_keep_their_form() {
    let settings = cloud("Cloud").parse(None).map(|new| new.settings).unwrap();
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "provider": "cloud_api", "baseUrl": "https://graph.facebook.com", "version": "v24.0",
            "phoneNumberId": "106540352242922", "businessAccountId": "102290129340398",
        })
    );
    assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
    assert_eq!(serde_json::to_value(Settings::Sandbox).unwrap(), serde_json::json!({ "provider": "sandbox" }));
}
