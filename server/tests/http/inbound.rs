//! Hooks: whom they believe, what they write down, and that telling them twice changes nothing.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use domain::{
    ids::{InstanceId, MessageId},
    instances::{InstanceForm, store},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use server::{inbound, providers::waha::chosen_id};
use sha2::{Sha256, Sha512};
use sqlx::PgPool;

use crate::{
    instances::{cloud, make, near, options, waha},
    mocks,
    world::{Answer, World},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sign_waha(secret: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

fn sign_meta(secret: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

/// The secret that Bouncer made for WAHA.
async fn hook_secret(world: &World, id: InstanceId) -> String {
    let known = world.state.instances.known(id).await.unwrap().unwrap();
    known.credentials.get(domain::instances::Credential::HookSecret).unwrap().to_owned()
}

async fn post(world: &World, path: &str, header: (&'static str, &str), body: Vec<u8>) -> Answer {
    let request = Request::post(path).header("content-type", "application/json").header(header.0, header.1);
    world.send(request.body(body.into()).unwrap()).await
}

async fn tell_waha(world: &World, id: InstanceId, delivery: &Value) -> Answer {
    let body = delivery.to_string().into_bytes();
    let signature = sign_waha(&hook_secret(world, id).await, &body);
    post(world, &format!("/hooks/waha/{id}"), ("x-webhook-hmac", &signature), body).await
}

async fn tell_meta(world: &World, id: InstanceId, delivery: &Value) -> Answer {
    let body = delivery.to_string().into_bytes();
    let signature = sign_meta("dev-app-secret", &body);
    post(world, &format!("/hooks/cloud-api/{id}"), ("x-hub-signature-256", &signature), body).await
}

fn from_waha(event: &str, at_ms: u64, payload: Value) -> Value {
    json!({
        "id": "evt_01aaaaaaaaaaaaaaaaaaaaaaaa", "timestamp": at_ms, "event": event, "session": "default", "metadata": {},
        "me": { "id": "60111111111@c.us", "pushName": "Shop" }, "payload": payload, "engine": "WEBJS",
        "environment": { "version": "2026.7.1", "engine": "WEBJS", "tier": "PLUS" },
    })
}

fn from_meta(field: &str, value: Value) -> Value {
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": mocks::ACCOUNT, "changes": [{ "field": field, "value": value }] }] })
}

fn statuses(statuses: Vec<Value>) -> Value {
    let metadata = json!({ "display_phone_number": "16315555555", "phone_number_id": mocks::NUMBER });
    from_meta("messages", json!({ "messaging_product": "whatsapp", "metadata": metadata, "statuses": statuses }))
}

fn status(id: &str, word: &str, at: i64) -> Value {
    json!({ "id": id, "status": word, "timestamp": at.to_string(), "recipient_id": "60123456789" })
}

/// Messages that the provider has taken.
async fn sent(world: &World, instance: InstanceId, provider_ids: &[String]) -> Vec<MessageId> {
    let ids: Vec<MessageId> = provider_ids.iter().map(|_| MessageId::new()).collect();
    sqlx::query(
        "insert into messages (id, organization_id, instance_id, environment, recipient, kind, body, status, status_rank,
                               status_at, accepted_at, slot_at, sent_at, provider_message_id)
         select id, $1, $2, 'live', '60123456789', 'text', '{\"text\":{\"body\":\"Hi\"}}', 'sent', 3,
                now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour', provider_id
         from unnest($3::uuid[], $4::text[]) as n (id, provider_id)",
    )
    .bind(world.acme.0)
    .bind(instance.0)
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(provider_ids)
    .execute(world.db.system())
    .await
    .unwrap();
    ids
}

async fn status_of(world: &World, id: MessageId) -> String {
    sqlx::query_scalar("select status from messages where id = $1")
        .bind(id.0)
        .fetch_one(world.db.system())
        .await
        .unwrap()
}

async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(world.db.system()).await.unwrap()
}

fn counters() -> &'static PrometheusHandle {
    static COUNTERS: OnceLock<PrometheusHandle> = OnceLock::new();
    COUNTERS.get_or_init(|| server::telemetry::metrics().unwrap())
}

fn counted(name: &str, labels: &[&str]) -> f64 {
    counters()
        .render()
        .lines()
        .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()))
        .sum()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn only_what_is_signed_is_believed_and_the_rest_is_counted(pool: PgPool) {
    let world = near(options(&pool)).await;
    counters();
    let number = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let meta = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    let body = from_waha("session.status", 1_700_000_000_000, json!({ "status": "WORKING" })).to_string().into_bytes();
    let good = sign_waha(&hook_secret(&world, number).await, &body);
    let path = format!("/hooks/waha/{number}");
    let before = counted("bouncer_hook_refused_total", &["waha"]);
    let another = sign_waha("another secret", &body);
    for wrong in ["", "00", &another, &good[1..], &sign_meta("dev-app-secret", &body)] {
        let answer = post(&world, &path, ("x-webhook-hmac", wrong), body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let unsigned = post(&world, &path, ("x-other", &good), body.clone()).await;
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED);
    let mut changed = body.clone();
    changed.push(b' ');
    assert_eq!(post(&world, &path, ("x-webhook-hmac", &good), changed).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(counted("bouncer_hook_refused_total", &["waha"]) - before, 7.0);
    assert_eq!(store::get(&world.db, world.acme, number).await.unwrap().instance.status.as_str(), "disconnected");
    assert_eq!(post(&world, &path, ("x-webhook-hmac", &good), body.clone()).await.status, StatusCode::OK);
    assert_eq!(store::get(&world.db, world.acme, number).await.unwrap().instance.status.as_str(), "connected");

    // The bytes as they came are signed: \u escapes would not survive reading and writing.
    let escaped = br#"{"object":"whatsapp_business_account","entry":[],"name":"\u00e4\u00f6"}"#.to_vec();
    let signature = sign_meta("dev-app-secret", &escaped);
    let hook = format!("/hooks/cloud-api/{meta}");
    assert_eq!(post(&world, &hook, ("x-hub-signature-256", &signature), escaped.clone()).await.status, StatusCode::OK);
    let before = counted("bouncer_hook_refused_total", &["cloud_api"]);
    let wrong = sign_meta("another", &escaped);
    assert_eq!(
        post(&world, &hook, ("x-hub-signature-256", &wrong), escaped.clone()).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        post(&world, &hook, ("x-hub-signature-256", &signature[7..]), escaped).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(counted("bouncer_hook_refused_total", &["cloud_api"]) - before, 2.0);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn hooks_that_are_none(pool: PgPool) {
    let world = near(options(&pool)).await;
    let number = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let sandbox =
        make(&world, world.acme, domain::instances::InstanceForm { name: "Try".into(), ..Default::default() }).await;
    let gone = make(&world, world.acme, waha("Gone", "https://waha.acme.example")).await;
    let secret = hook_secret(&world, gone).await;
    store::delete(&world.db, &world.actor(), gone).await.unwrap();
    world.state.instances.invalidate(gone);
    let signature = sign_waha(&secret, b"{}");
    for path in [
        format!("/hooks/waha/{}", InstanceId::new()),
        "/hooks/waha/nonsense".into(),
        format!("/hooks/waha/{sandbox}"),
        format!("/hooks/waha/{gone}"),
        format!("/hooks/cloud-api/{number}"),
    ] {
        assert_eq!(
            post(&world, &path, ("x-webhook-hmac", &signature), b"{}".to_vec()).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let path = format!("/hooks/waha/{number}");
    let secret = hook_secret(&world, number).await;
    for (body, expected) in [
        (&b"not json"[..], StatusCode::BAD_REQUEST),
        (b"", StatusCode::BAD_REQUEST),
        (b"\xff\xfe", StatusCode::BAD_REQUEST),
        (b"[]", StatusCode::OK),
        (b"null", StatusCode::OK),
        (b"{\"event\":7}", StatusCode::OK),
    ] {
        let answer = post(&world, &path, ("x-webhook-hmac", &sign_waha(&secret, body)), body.to_vec()).await;
        assert_eq!(answer.status, expected, "{body:?}");
    }
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let answer = post(&world, &path, ("x-webhook-hmac", &sign_waha(&secret, &large)), large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let wrong_method = Request::get(&path).body(axum::body::Body::empty()).unwrap();
    assert_eq!(world.send(wrong_method).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn meta_is_answered_its_challenge(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    let ask = async |query: &str| {
        let request = Request::builder().method(Method::GET).uri(format!("/hooks/cloud-api/{id}?{query}"));
        world.send(request.body(axum::body::Body::empty()).unwrap()).await
    };
    let answer = ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify-me-please").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "1158201444"));
    assert!(answer.header("content-type").starts_with("text/plain"));
    for wrong in ["hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=guess", "hub.challenge=1", ""] {
        assert_eq!(ask(wrong).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn statuses_move_forward_only_however_they_come(pool: PgPool) {
    let world = near(options(&pool)).await;
    let number = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let ids = sent(&world, number, &["3EB0AAAA".into(), "3EB0BBBB".into()]).await;
    let ack = |tail: &str, ack: i64| {
        from_waha(
            "message.ack",
            1_700_000_000_000,
            json!({ "id": format!("true_60123456789@c.us_{tail}"), "from": "60123456789@c.us", "fromMe": true, "ack": ack }),
        )
    };
    // Out of order, repeated, and one that was skipped.
    for number_and_ack in
        [("3EB0AAAA", 3), ("3EB0AAAA", 1), ("3EB0AAAA", 2), ("3EB0AAAA", 3), ("3EB0AAAA", -1), ("3EB0BBBB", 2)]
    {
        let answer = tell_waha(&world, number, &ack(number_and_ack.0, number_and_ack.1)).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(status_of(&world, ids[0]).await, "read");
    assert_eq!(status_of(&world, ids[1]).await, "delivered");
    // Replayed: nothing is told a second time.
    let events = count(&world, "select count(*) from events").await;
    for _ in 0..3 {
        assert_eq!(tell_waha(&world, number, &ack("3EB0AAAA", 3)).await.status, StatusCode::OK);
    }
    assert_eq!(count(&world, "select count(*) from events").await, events);
    // A message that nobody knows is none of ours, such as one from the telephone.
    let unknown = tell_waha(&world, number, &ack("3EB0CCCC", 3)).await;
    assert_eq!(unknown.status, StatusCode::OK);
    // Another instance cannot speak for this one.
    let other = make(&world, world.acme, waha("Other", "https://waha.acme.example")).await;
    let foreign = ack(&chosen_id(ids[1]), 3);
    assert_eq!(tell_waha(&world, other, &foreign).await.status, StatusCode::OK);
    assert_eq!(status_of(&world, ids[1]).await, "delivered");
    // The chosen id leads back to a message whose answer was lost.
    assert_eq!(tell_waha(&world, number, &foreign).await.status, StatusCode::OK);
    assert_eq!(status_of(&world, ids[1]).await, "read");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_batch_of_a_thousand_is_one_breath(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    let provider_ids: Vec<String> = (0..1_000).map(|n| format!("wamid.{n:04}")).collect();
    sent(&world, id, &provider_ids).await;
    // Some read at once, some delivered and read, in no order; and strangers between them.
    let mut all: Vec<Value> = provider_ids
        .iter()
        .enumerate()
        .map(|(n, id)| status(id, if n % 2 == 0 { "read" } else { "delivered" }, 1_750_030_000 + n as i64))
        .collect();
    all.push(status("wamid.stranger", "read", 1_750_030_000));
    let delivery = statuses(all);
    let begun = Instant::now();
    let answer = tell_meta(&world, id, &delivery).await;
    let took = begun.elapsed();
    assert_eq!(answer.status, StatusCode::OK);
    assert!(took < Duration::from_secs(3), "{took:?}");
    println!("a batch of 1,000 statuses took {took:?}");
    assert_eq!(count(&world, "select count(*) from messages where status = 'read'").await, 500);
    assert_eq!(count(&world, "select count(*) from messages where status = 'delivered'").await, 500);
    let events = count(&world, "select count(*) from events").await;
    assert_eq!(tell_meta(&world, id, &delivery).await.status, StatusCode::OK);
    assert_eq!(count(&world, "select count(*) from events").await, events, "a second time changes nothing");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_price_is_kept_once_and_failures_with_their_code(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    let ids = sent(&world, id, &["wamid.a".into(), "wamid.b".into()]).await;
    let mut delivered = status("wamid.a", "delivered", 1_750_030_075);
    delivered["pricing"] =
        json!({ "billable": true, "pricing_model": "PMP", "type": "regular", "category": "marketing" });
    let mut failed = status("wamid.b", "failed", 1_750_030_075);
    failed["errors"] = json!([{ "code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable", "error_data": { "details": "Not on WhatsApp." } }]);
    assert_eq!(tell_meta(&world, id, &statuses(vec![delivered, failed])).await.status, StatusCode::OK);
    let (pricing, code, words): (Option<Value>, Option<String>, Option<String>) = sqlx::query_as(
        "select a.pricing, b.error_code, b.error_message from messages a, messages b where a.id = $1 and b.id = $2",
    )
    .bind(ids[0].0)
    .bind(ids[1].0)
    .fetch_one(world.db.system())
    .await
    .unwrap();
    assert_eq!(pricing.unwrap()["category"], "marketing");
    assert_eq!((code.as_deref(), words.as_deref()), (Some("131026"), Some("Not on WhatsApp.")));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_people_write_is_kept_once(pool: PgPool) {
    let world = near(options(&pool)).await;
    let number = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let meta = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    let wrote = from_waha(
        "message",
        1_700_000_000_000,
        json!({ "id": "false_60123456789@c.us_AAAA", "timestamp": 1_700_000_000, "from": "60123456789@c.us", "fromMe": false, "body": "Hi \u{0}there", "hasMedia": false }),
    );
    let text = from_meta(
        "messages",
        json!({
            "metadata": { "phone_number_id": mocks::NUMBER },
            "contacts": [{ "profile": { "name": "Ada" }, "wa_id": "60123456789" }],
            "messages": [{ "from": "60123456789", "id": "wamid.in", "timestamp": "1750030073", "type": "text", "text": { "body": "Hello" } }],
        }),
    );
    for _ in 0..3 {
        assert_eq!(tell_waha(&world, number, &wrote).await.status, StatusCode::OK);
        assert_eq!(tell_meta(&world, meta, &text).await.status, StatusCode::OK);
    }
    assert_eq!(count(&world, "select count(*) from inbound_messages").await, 2);
    assert_eq!(count(&world, "select count(*) from conversations").await, 2);
    assert_eq!(count(&world, "select count(*) from events where kind = 'message.received'").await, 2);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_connection_follows_what_waha_tells(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let tell = async |at: u64, word: &str| {
        assert_eq!(
            tell_waha(&world, id, &from_waha("session.status", at, json!({ "status": word }))).await.status,
            StatusCode::OK
        );
        let row = store::get(&world.db, world.acme, id).await.unwrap();
        (row.instance.status.as_str(), row.instance.phone, row.queue.paused.map(|paused| paused.by.as_str()))
    };
    assert_eq!(tell(1_000, "SCAN_QR_CODE").await, ("scan_qr", None, Some("session")));
    assert_eq!(tell(3_000, "WORKING").await, ("connected", Some("60111111111".into()), None));
    // Repeated, late, and words of a later version.
    assert_eq!(tell(3_000, "WORKING").await.0, "connected");
    assert_eq!(tell(2_000, "STARTING").await.0, "connected");
    assert_eq!(tell(4_000, "DREAMING").await.0, "connected");
    assert_eq!(tell(5_000, "FAILED").await, ("failed", Some("60111111111".into()), Some("session")));
    assert_eq!(tell(6_000, "STOPPED").await.0, "disconnected");
    // Another session of the same server is none of ours.
    let mut other = from_waha("session.status", 9_000, json!({ "status": "WORKING" }));
    other["session"] = "another".into();
    assert_eq!(tell_waha(&world, id, &other).await.status, StatusCode::OK);
    assert_eq!(store::get(&world.db, world.acme, id).await.unwrap().instance.status.as_str(), "disconnected");
    assert_eq!(count(&world, "select count(*) from events where kind = 'instance.status'").await, 4);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn meta_changes_a_templates_category_and_status(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    // Another number of the same account, whose hook Meta does not call.
    let other = InstanceForm { phone_number_id: "222".into(), ..cloud("Other", "https://graph.facebook.com") };
    let other = make(&world, world.acme, other).await;
    sqlx::query(
        "insert into templates (id, organization_id, instance_id, name, language, category, status, components)
         select gen_random_uuid(), $1, id, 'offer', 'en_US', 'UTILITY', 'PENDING', '[]' from unnest($2::uuid[]) as n (id)",
    )
    .bind(world.acme.0)
    .bind([id.0, other.0])
    .execute(world.db.system())
    .await
    .unwrap();
    let named = |more: Value| {
        let mut value = json!({ "message_template_id": 12_345_678, "message_template_name": "offer", "message_template_language": "en_US" });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let category = from_meta(
        "template_category_update",
        named(json!({ "previous_category": "UTILITY", "new_category": "MARKETING" })),
    );
    let approved = from_meta("message_template_status_update", named(json!({ "event": "APPROVED", "reason": "NONE" })));
    for delivery in [&category, &approved, &category] {
        assert_eq!(tell_meta(&world, id, delivery).await.status, StatusCode::OK);
    }
    let rows: Vec<(String, Option<String>, String)> =
        sqlx::query_as("select category, previous_category, status from templates")
            .fetch_all(world.db.system())
            .await
            .unwrap();
    let expected = ("MARKETING".to_owned(), Some("UTILITY".to_owned()), "APPROVED".to_owned());
    assert_eq!(rows, [expected.clone(), expected]);
    assert_eq!(count(&world, "select count(*) from events where kind = 'template.category_changed'").await, 2);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn numbers_of_one_account_may_share_a_hook(pool: PgPool) {
    let world = near(options(&pool)).await;
    let first = make(&world, world.acme, cloud("First", "https://graph.facebook.com")).await;
    let second = make(
        &world,
        world.acme,
        InstanceForm { phone_number_id: "222".into(), ..cloud("Second", "https://graph.facebook.com") },
    )
    .await;
    let evil = world.foreign().await;
    let theirs = make(
        &world,
        evil,
        InstanceForm { phone_number_id: "333".into(), ..cloud("Theirs", "https://graph.facebook.com") },
    )
    .await;
    let message = |number: &str, id: &str| {
        json!({ "field": "messages", "value": {
            "metadata": { "phone_number_id": number },
            "messages": [{ "from": "60123456789", "id": id, "timestamp": "1750030073", "type": "text", "text": { "body": "Hello" } }],
        } })
    };
    let delivery = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [
        message(mocks::NUMBER, "wamid.1"), message("222", "wamid.2"), message("333", "wamid.3"), message("444", "wamid.4"),
    ] }] });
    assert_eq!(tell_meta(&world, first, &delivery).await.status, StatusCode::OK);
    let got: Vec<(uuid::Uuid, String)> =
        sqlx::query_as("select instance_id, provider_message_id from inbound_messages order by 2")
            .fetch_all(world.db.system())
            .await
            .unwrap();
    assert_eq!(got, [(first.0, "wamid.1".to_owned()), (second.0, "wamid.2".to_owned())]);
    assert!(!got.iter().any(|(instance, _)| *instance == theirs.0), "another organization's number is out of reach");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn without_a_database_the_provider_is_asked_to_try_again(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, waha("Number", "https://waha.acme.example")).await;
    let secret = hook_secret(&world, id).await;
    let body = from_waha("session.status", 1, json!({ "status": "WORKING" })).to_string().into_bytes();
    world.db.close().await;
    let answer = post(&world, &format!("/hooks/waha/{id}"), ("x-webhook-hmac", &sign_waha(&secret, &body)), body).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "5");
}

/// Every payload of Meta's documentation and of pywa's tests is read; what is left out has a reason that is expected.
#[test]
fn every_known_payload_of_meta_is_read() {
    let fixtures: [(&str, &str); 3] = [
        ("pywa", include_str!("../fixtures/meta/pywa-updates.json")),
        ("meta", include_str!("../fixtures/meta/inbound-examples.json")),
        ("statuses", include_str!("../fixtures/meta/statuses.json")),
    ];
    let (mut payloads, mut statuses, mut messages, mut templates) = (0, 0, 0, 0);
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for (source, text) in fixtures {
        let all: Value = serde_json::from_str(text).unwrap();
        let mut open = vec![(source.to_owned(), all)];
        while let Some((name, value)) = open.pop() {
            if value["object"].is_null() {
                // A file of payloads, by name.
                open.extend(
                    value.as_object().unwrap().iter().map(|(key, value)| (format!("{name}/{key}"), value.clone())),
                );
                continue;
            }
            payloads += 1;
            let parts = inbound::cloud_api::parse(&value);
            assert!(!parts.is_empty(), "{name}");
            for told in parts.values() {
                statuses += told.statuses.len();
                messages += told.messages.len();
                templates += told.categories.len() + told.template_statuses.len();
                let something = told.statuses.len()
                    + told.messages.len()
                    + told.categories.len()
                    + told.template_statuses.len()
                    + told.ignored.len();
                assert!(something > 0, "{name}: neither read nor left out");
                for why in &told.ignored {
                    *reasons.entry(why).or_default() += 1;
                    assert!(
                        ["unknown_field", "unknown_content", "no_number", "group", "unknown_status"].contains(why),
                        "{name}: {why}"
                    );
                }
            }
        }
    }
    assert_eq!(payloads, 74 + 16 + 6, "all of them");
    println!("{statuses} statuses, {messages} messages, {templates} templates; left out: {reasons:?}");
    assert!(statuses >= 10 && messages >= 30 && templates >= 3, "{statuses} {messages} {templates}");
}
