//! The connectors against servers that speak the providers' documents, and against servers that do not.

use std::time::{Duration, Instant};

use domain::{
    ids::{InstanceId, MessageId, OrgId},
    instances::{CloudApiSettings, Credential, Credentials, Settings, Status, WahaSettings},
    messages::{Body, Recipient},
};
use http::Method;
use serde_json::{Value, json};
use server::{
    net::{Client, Limits},
    providers::{
        Connection, Found, Outgoing, Provider, ProviderError, SendOutcome,
        cloud_api::CloudApi,
        waha::{self, Waha},
    },
};

use crate::mocks::{self, ACCOUNT, Graph, NUMBER, TOKEN, answering, faulty, read_request};

const HOOK: &str = "https://bouncer.example/hooks/waha/ins_1";

fn client() -> Client {
    Client::new(vec!["127.0.0.0/8".parse().unwrap()]).unwrap()
}

fn limits() -> Limits {
    Limits { total: Duration::from_millis(400), body: 64 * 1024 }
}

fn waha_at(url: &str, key: Option<&str>) -> Connection {
    let mut credentials = Credentials::default();
    credentials.set(Credential::HookSecret, "hook-secret".to_owned().into());
    if let Some(key) = key {
        credentials.set(Credential::ApiKey, key.to_owned().into());
    }
    Connection {
        instance: InstanceId::new(),
        organization: OrgId::new(),
        settings: Settings::Waha(WahaSettings { base_url: url.into(), session: "default".into() }),
        credentials,
    }
}

fn graph_at(url: &str, token: &str) -> Connection {
    let mut credentials = Credentials::default();
    credentials.set(Credential::AccessToken, token.to_owned().into());
    credentials.set(Credential::VerifyToken, "verify-me-please".to_owned().into());
    Connection {
        instance: InstanceId::new(),
        organization: OrgId::new(),
        settings: Settings::CloudApi(CloudApiSettings {
            base_url: url.into(),
            version: "v24.0".into(),
            phone_number_id: NUMBER.into(),
            business_account_id: ACCOUNT.into(),
        }),
        credentials,
    }
}

fn message(body: Value) -> Outgoing {
    Outgoing {
        id: MessageId::new(),
        to: Recipient::parse("+60 12-345 6789").unwrap(),
        body: serde_json::from_value::<Body>(body).unwrap(),
        attempt: 1,
    }
}

fn text() -> Outgoing {
    message(json!({ "text": { "body": "Hi" } }))
}

fn contact() -> Value {
    json!({ "contacts": [{ "name": { "formatted_name": "Ada Lovelace", "first_name": "Ada" },
                           "phones": [{ "phone": "+60 12-345 6789", "type": "CELL", "wa_id": "60123456789" }] }] })
}

#[tokio::test]
async fn waha_sends_every_kind_of_message_as_its_document_wants_it() {
    let mock = mocks::Waha::new(Some("key")).await;
    mock.session("default", "WORKING", json!({}));
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), Some("key")));
    let link = |name: &str| json!({ "link": format!("https://files.example/{name}"), "caption": "Look" });
    for (body, path, takes_id) in [
        (json!({ "text": { "body": "Hi", "preview_url": true } }), "/api/sendText", true),
        (json!({ "image": link("a.png") }), "/api/sendImage", false),
        (json!({ "video": link("a.mp4") }), "/api/sendVideo", false),
        (json!({ "video": { "link": "https://files.example/stream" } }), "/api/sendVideo", false),
        (json!({ "audio": { "link": "https://files.example/a.mp3" } }), "/api/sendVoice", false),
        (json!({ "audio": { "link": "https://files.example/a.ogg" } }), "/api/sendVoice", false),
        (
            json!({ "document": { "link": "https://files.example/x", "filename": "Bill.pdf", "caption": "Bill" } }),
            "/api/sendFile",
            false,
        ),
        (json!({ "sticker": { "link": "https://files.example/a.webp" } }), "/api/sendFile", false),
        (json!({ "location": { "latitude": 3.139, "longitude": 101.687 } }), "/api/sendLocation", true),
        (contact(), "/api/sendContactVcard", true),
    ] {
        let message = message(body.clone());
        let outcome = provider.send(&connection, &message).await;
        let calls = mock.calls();
        assert_eq!(calls.len(), 1, "{body}");
        let call = &calls[0];
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", path));
        assert_eq!(call.headers["x-api-key"], "key");
        assert_eq!(call.body["chatId"], "60123456789@c.us");
        assert_eq!(call.body["session"], "default");
        let SendOutcome::Sent { provider_message_id } = outcome else { panic!("{body}: {outcome:?}") };
        if takes_id {
            assert_eq!(provider_message_id, waha::chosen_id(message.id), "{body}");
            assert_eq!(waha::message_of(&provider_message_id), Some(message.id));
        } else {
            assert!(provider_message_id.starts_with("3EB0"), "{body}: {provider_message_id}");
            assert_eq!(call.body["id"], Value::Null);
        }
    }
}

#[tokio::test]
async fn what_waha_cannot_send_fails_without_a_call() {
    let mock = mocks::Waha::new(None).await;
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), None));
    for (body, code) in [
        (json!({ "template": { "name": "hello", "language": { "code": "en" } } }), "template_not_supported"),
        (json!({ "image": { "id": "2871834006348767" } }), "media_id_not_supported"),
    ] {
        let SendOutcome::Failed { code: given, .. } = provider.send(&connection, &message(body)).await else {
            panic!()
        };
        assert_eq!(given, code);
    }
    assert!(mock.calls().is_empty());
}

#[tokio::test]
async fn each_answer_of_waha_has_its_outcome() {
    let mock = mocks::Waha::new(None).await;
    mock.session("default", "WORKING", json!({}));
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), None));
    let nest = r#"{"statusCode":400,"message":"chatId is wrong","error":"Bad Request"}"#;
    let not_working = r#"{"error":"Session status is not as expected.","session":"default","status":"FAILED","expected":["WORKING"]}"#;
    for (status, headers, body, expected) in [
        (201, vec![], "{}", "unknown"),
        (201, vec![], "garbage", "unknown"),
        (200, vec![], "", "unknown"),
        (200, vec![], r#"{"id":17}"#, "unknown"),
        (201, vec![], "[[[[", "unknown"),
        (302, vec![("location", "https://evil.example/")], "", "unknown"),
        (502, vec![], "<html>", "unknown"),
        (504, vec![], "", "unknown"),
        (401, vec![], r#"{"message":"Unauthorized"}"#, "disconnected unauthorized"),
        (403, vec![], "", "disconnected unauthorized"),
        (404, vec![], r#"{"message":"Session \"default\" does not exist"}"#, "disconnected session_not_found"),
        (422, vec![], not_working, "disconnected session_not_working"),
        (422, vec![], r#"{"message":"file is too large"}"#, "failed http_422"),
        (400, vec![], nest, "failed http_400"),
        (413, vec![], "", "failed http_413"),
        (429, vec![("retry-after", "7")], "", "retry throttled Some(7) true"),
        (429, vec![], "", "retry throttled None true"),
        // The engine: it may have handed the message over before.
        (500, vec![], r#"{"statusCode":500,"exception":{"message":"Timed Out"}}"#, "unknown"),
        (500, vec![("retry-after", "30")], r#"{"message":"Session is slow"}"#, "unknown"),
        (503, vec![], "upstream connect error or disconnect/reset before headers", "unknown"),
        (507, vec![], "", "unknown"),
        // Nobody took it.
        (503, vec![("retry-after", "30")], "", "retry http_503 Some(30) false"),
        (503, vec![], "no available server", "retry http_503 None false"),
        (503, vec![], "<h1>503 Service Unavailable</h1>\nNo server is available", "retry http_503 None false"),
        (502, vec![], "dial tcp 10.0.0.7:3000: connect: connection refused", "retry http_502 None false"),
        (503, vec![], not_working, "retry http_503 None false"),
    ] {
        mock.plan(status, &headers, body);
        let outcome = match provider.send(&connection, &text()).await {
            SendOutcome::Sent { provider_message_id } => format!("sent {provider_message_id}"),
            SendOutcome::Retry { code, after_s, throttled, .. } => format!("retry {code} {after_s:?} {throttled}"),
            SendOutcome::Failed { code, .. } => format!("failed {code}"),
            SendOutcome::Unknown { .. } => "unknown".into(),
            SendOutcome::Disconnected { code, .. } => format!("disconnected {code}"),
        };
        assert_eq!(outcome, expected, "{status} {body}");
    }
    // The mock's own words for a session that stopped, and for a wrong key.
    mock.set_status("default", "STOPPED");
    assert!(matches!(provider.send(&connection, &text()).await, SendOutcome::Disconnected { .. }));
}

/// What happens to the connection decides whether the message may have left.
#[tokio::test]
async fn a_cut_connection_is_never_taken_for_a_refusal() {
    let outcome = async |url: String| {
        let provider = Waha::with_limits(client(), limits());
        let begun = Instant::now();
        let outcome = provider.send(&waha_at(&url, None), &text()).await;
        assert!(begun.elapsed() < Duration::from_secs(3));
        outcome
    };
    let at = |served: &mocks::Served| format!("http://{}", served.address);

    // Nobody listens: certainly nothing left.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let refused = outcome(url).await;
    assert!(matches!(&refused, SendOutcome::Retry { code, .. } if code == "unreachable"), "{refused:?}");

    // Cut before the request was read: we cannot know that it was not.
    let before = faulty(|stream| async move { drop(stream) }).await;
    assert!(matches!(outcome(at(&before)).await, SendOutcome::Unknown { .. }));
    // Cut after it was read.
    let after = faulty(|mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    assert!(matches!(outcome(at(&after)).await, SendOutcome::Unknown { .. }));
    // Cut within the answer.
    let within =
        answering("HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":\"tr")
            .await;
    assert!(matches!(outcome(at(&within)).await, SendOutcome::Unknown { .. }));
    // No HTTP at all.
    let noise = answering("SSH-2.0-OpenSSH_9.6\r\n").await;
    assert!(matches!(outcome(at(&noise)).await, SendOutcome::Unknown { .. }));
    // Silence, and a body that trickles.
    let silent = faulty(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    assert!(matches!(outcome(at(&silent)).await, SendOutcome::Unknown { .. }));
    let slow = faulty(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        read_request(&mut stream).await;
        _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 5000\r\n\r\n").await;
        for _ in 0..300 {
            if stream.write_all(b" ").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(matches!(outcome(at(&slow)).await, SendOutcome::Unknown { .. }));
    // An endless body is cut, and what is cut names no message.
    let endless = faulty(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        read_request(&mut stream).await;
        _ = stream.write_all(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    assert!(matches!(outcome(at(&endless)).await, SendOutcome::Unknown { .. }));
}

#[tokio::test]
async fn addresses_that_may_not_be_called_are_not() {
    let mock = mocks::Waha::new(None).await;
    let strict = Client::new(vec![]).unwrap();
    let outcome = Waha::new(strict.clone()).send(&waha_at(&mock.url(), None), &text()).await;
    assert!(matches!(&outcome, SendOutcome::Retry { code, .. } if code == "address_refused"), "{outcome:?}");
    let graph = Graph::new().await;
    let outcome = CloudApi::new(strict).send(&graph_at(&graph.url(), TOKEN), &text()).await;
    assert!(matches!(&outcome, SendOutcome::Retry { code, .. } if code == "address_refused"), "{outcome:?}");
    assert!(mock.calls().is_empty() && graph.calls().is_empty());
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found() {
    let mock = mocks::Waha::new(None).await;
    mock.session("default", "WORKING", json!({}));
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), None));
    mock.lose_answers(502);
    let lost = text();
    assert!(matches!(provider.send(&connection, &lost).await, SendOutcome::Unknown { .. }));
    let found = provider.find(&connection, &lost).await;
    assert_eq!(found, Found::Sent { provider_message_id: waha::chosen_id(lost.id) });
    // One that never arrived.
    assert_eq!(provider.find(&connection, &text()).await, Found::NotThere);
    let calls = mock.calls();
    let find = calls.last().unwrap();
    assert_eq!(find.method, Method::GET);
    assert!(find.query.contains("downloadMedia=false"));
    // Media have no id that we know, so nothing is said about them.
    let picture = message(json!({ "image": { "link": "https://files.example/a.png" } }));
    assert_eq!(provider.find(&connection, &picture).await, Found::CannotTell);
    assert!(mock.calls().is_empty());
}

#[tokio::test]
async fn doubt_is_never_taken_for_absence() {
    let find = async |served: &mocks::Served| {
        Waha::new(client()).find(&waha_at(&format!("http://{}", served.address), None), &text()).await
    };
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Found::NotThere),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull", Found::NotThere),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 31\r\n\r\n{\"message\":\"Message not found\"}", Found::NotThere),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", Found::CannotTell),
        ("HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"id\":\"true_1@c.us_3EB0\"}", Found::CannotTell),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 27\r\n\r\n{\"message\":\"enable store\"}\n", Found::CannotTell),
        // It may tell later.
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 45\r\n\r\n{\"message\":\"Session \\\"default\\\" is not there\"}",
            Found::NotNow,
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found", Found::NotNow),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}", Found::NotNow),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}", Found::NotNow),
        ("", Found::NotNow),
    ] {
        let served = answering(answer).await;
        assert_eq!(find(&served).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_session_is_made_with_our_webhook_and_left_alone_afterwards() {
    let mock = mocks::Waha::new(Some("key")).await;
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), Some("key")));
    assert_eq!(provider.session(&connection).await.unwrap().status, Status::Disconnected);

    let session = provider.connect(&connection, HOOK).await.unwrap();
    assert_eq!((session.status, session.detail.as_str()), (Status::Connecting, "STARTING"));
    let hook = &mock.get_session("default").unwrap()["config"]["webhooks"][0];
    assert_eq!(hook["url"], HOOK);
    assert_eq!(hook["events"], json!(["message", "message.ack", "session.status"]));
    assert_eq!(hook["hmac"]["key"], "hook-secret");
    mock.calls();

    // Putting the configuration would restart the session: it is not put again.
    mock.scanned("default", "60123456789");
    let session = provider.connect(&connection, HOOK).await.unwrap();
    assert_eq!((session.status, session.phone.as_deref()), (Status::Connected, Some("60123456789")));
    assert!(mock.calls().iter().all(|call| call.method == Method::GET));

    // Of another address it is, and what else stands in the configuration stays.
    let config =
        json!({ "metadata": { "a": "b" }, "webhooks": [{ "url": "https://other.example", "events": ["message"] }] });
    mock.session("default", "WORKING", config);
    provider.connect(&connection, HOOK).await.unwrap();
    let config = mock.get_session("default").unwrap()["config"].clone();
    assert_eq!(config["metadata"]["a"], "b");
    let urls: Vec<_> =
        config["webhooks"].as_array().unwrap().iter().map(|hook| hook["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["https://other.example", HOOK]);
    mock.calls();
}

#[tokio::test]
async fn a_session_that_stands_still_is_started() {
    let mock = mocks::Waha::new(None).await;
    let (provider, connection) = (Waha::new(client()), waha_at(&mock.url(), None));
    for (status, act) in [("STOPPED", "start"), ("FAILED", "restart")] {
        mock.session("default", status, json!({}));
        let session = provider.connect(&connection, HOOK).await.unwrap();
        assert_eq!(session.status, Status::ScanQr, "{status}");
        assert!(mock.calls().iter().any(|call| call.path.ends_with(act)), "{status}");
    }
    assert_eq!(provider.qr(&connection).await.unwrap(), "2@abc,def,ghi==");
    mock.scanned("default", "60123456789");
    assert!(matches!(provider.qr(&connection).await, Err(ProviderError::Refused(_))));
    for (log_out, act) in [(false, "/stop"), (true, "/logout")] {
        mock.calls();
        provider.disconnect(&connection, log_out).await.unwrap();
        assert!(mock.calls()[0].path.ends_with(act));
    }
    // A word of a later version is shown, and is no reason to give up.
    mock.set_status("default", "DREAMING");
    let session = provider.session(&connection).await.unwrap();
    assert_eq!((session.status, session.detail.as_str()), (Status::Connecting, "DREAMING"));
}

#[tokio::test]
async fn what_goes_wrong_with_waha_is_said_in_words() {
    let mock = mocks::Waha::new(Some("key")).await;
    let provider = Waha::new(client());
    let wrong = provider.connect(&waha_at(&mock.url(), Some("other")), HOOK).await;
    assert!(matches!(&wrong, Err(ProviderError::Refused(text)) if text.contains("API key")), "{wrong:?}");
    let web = answering("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>hi</html>").await;
    let wrong = provider.connect(&waha_at(&format!("http://{}", web.address), None), HOOK).await;
    assert!(matches!(&wrong, Err(ProviderError::Unreachable(text)) if text.contains("WAHA server")), "{wrong:?}");
    let broken = answering("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    let wrong = provider.session(&waha_at(&format!("http://{}", broken.address), None)).await;
    assert!(matches!(&wrong, Err(ProviderError::Unreachable(_))), "{wrong:?}");
    let none = provider.templates(&waha_at(&mock.url(), None)).await;
    assert!(matches!(none, Err(ProviderError::NotOffered(_))));
}

#[tokio::test]
async fn the_cloud_api_gets_metas_own_bodies() {
    let graph = Graph::new().await;
    let (provider, connection) = (CloudApi::new(client()), graph_at(&graph.url(), TOKEN));
    for body in [
        json!({ "text": { "body": "Hi", "preview_url": true } }),
        json!({ "image": { "id": "2871834006348767", "caption": "Look" } }),
        json!({ "document": { "link": "https://files.example/a.pdf", "filename": "a.pdf" } }),
        json!({ "location": { "latitude": 37.48, "longitude": -122.14, "name": "HQ" } }),
        contact(),
        json!({ "template": { "name": "order_delivery_update", "language": { "code": "en_US" }, "components": [
            { "type": "body", "parameters": [{ "type": "text", "text": "Pablo" }] },
            { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "566701" }] },
        ] } }),
    ] {
        let message = message(body.clone());
        let outcome = provider.send(&connection, &message).await;
        let SendOutcome::Sent { provider_message_id } = outcome else { panic!("{body}: {outcome:?}") };
        assert!(provider_message_id.starts_with("wamid."));
        let calls = graph.calls();
        let call = &calls[0];
        assert_eq!(call.path, format!("/v24.0/{NUMBER}/messages"));
        let kind = body.as_object().unwrap().keys().next().unwrap();
        assert_eq!(call.body[kind], body[kind]);
        assert_eq!(call.body["type"], kind.as_str());
        assert_eq!(call.body["to"], "60123456789");
        assert_eq!(call.body["biz_opaque_callback_data"], message.id.to_string());
    }
    assert_eq!(provider.find(&connection, &text()).await, Found::CannotTell);
    assert!(matches!(provider.qr(&connection).await, Err(ProviderError::NotOffered(_))));
}

#[tokio::test]
async fn each_answer_of_meta_has_its_outcome() {
    let graph = Graph::new().await;
    let (provider, connection) = (CloudApi::new(client()), graph_at(&graph.url(), TOKEN));
    let error = |code: i64| {
        json!({ "error": { "message": "(#1) said", "code": code, "error_data": { "details": "the details" } } })
            .to_string()
    };
    for (status, headers, body, expected) in [
        (200, vec![], "garbage".to_owned(), "unknown"),
        (200, vec![], r#"{"success":true}"#.into(), "unknown"),
        (502, vec![], "<html>".into(), "unknown"),
        (429, vec![("retry-after", "12")], String::new(), "retry http_429 Some(12) true"),
        (400, vec![], error(131_026), "failed 131026 the details"),
        (400, vec![], error(132_000), "failed 132000 the details"),
        (400, vec![], error(131_047), "failed 131047 the details"),
        (429, vec![], error(130_429), "retry 130429 None true"),
        (400, vec![], error(131_056), "retry 131056 Some(4) true"),
        (500, vec![], error(131_000), "retry 131000 None false"),
        (401, vec![], error(190), "disconnected 190"),
        (403, vec![], error(368), "disconnected 368"),
        (403, vec![], error(131_031), "disconnected 131031"),
    ] {
        graph.plan(status, &headers, &body);
        let outcome = match provider.send(&connection, &text()).await {
            SendOutcome::Sent { .. } => "sent".into(),
            SendOutcome::Retry { code, after_s, throttled, .. } => format!("retry {code} {after_s:?} {throttled}"),
            SendOutcome::Failed { code, message } => format!("failed {code} {message}"),
            SendOutcome::Unknown { .. } => "unknown".into(),
            SendOutcome::Disconnected { code, .. } => format!("disconnected {code}"),
        };
        assert_eq!(outcome, expected, "{status} {body}");
    }
    let outcome = provider.send(&graph_at(&graph.url(), "another-token"), &text()).await;
    assert!(matches!(&outcome, SendOutcome::Disconnected { code, .. } if code == "190"), "{outcome:?}");
    let slow = faulty(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let provider = CloudApi::with_limits(client(), limits());
    let outcome = provider.send(&graph_at(&format!("http://{}", slow.address), TOKEN), &text()).await;
    assert!(matches!(outcome, SendOutcome::Unknown { .. }));
}

#[tokio::test]
async fn a_number_of_the_cloud_api_is_checked_and_its_webhook_set() {
    let graph = Graph::new().await;
    let (provider, connection) = (CloudApi::new(client()), graph_at(&graph.url(), TOKEN));
    let session = provider.connect(&connection, HOOK).await.unwrap();
    assert_eq!(session.status, Status::Connected);
    assert_eq!(session.detail, "Jasper's Market (CONNECTED)");
    assert_eq!(session.phone.as_deref(), Some("16315555555"));
    let hooks: Vec<Value> =
        graph.calls().into_iter().filter(|call| call.method == Method::POST).map(|call| call.body).collect();
    let hook = json!({ "override_callback_uri": HOOK, "verify_token": "verify-me-please" });
    assert_eq!(hooks, [hook.clone(), json!({ "webhook_configuration": hook })]);

    // Sending works without the webhook; that nothing will come back is said.
    graph.refuse_hooks();
    let session = provider.connect(&connection, HOOK).await.unwrap();
    assert_eq!(session.status, Status::Connected);
    assert!(session.detail.starts_with("Statuses and replies will not arrive"), "{}", session.detail);
    let session = provider.connect(&connection, "http://localhost:3000/hooks/x").await.unwrap();
    assert!(session.detail.contains("https"), "{}", session.detail);

    let wrong = provider.connect(&graph_at(&graph.url(), "another-token"), HOOK).await;
    assert!(matches!(&wrong, Err(ProviderError::Refused(text)) if text.contains("access token")), "{wrong:?}");
}

#[tokio::test]
async fn templates_are_listed_page_by_page_without_leaving_the_server() {
    let graph = Graph::new().await;
    let (provider, connection) = (CloudApi::new(client()), graph_at(&graph.url(), TOKEN));
    let template = |n: usize| json!({ "id": n.to_string(), "name": format!("t{n}"), "language": "en_US", "status": "APPROVED", "category": "UTILITY", "components": [] });
    for count in [0, 1, 5, 12] {
        graph.templates((0..count).map(template).collect());
        let listed = provider.templates(&connection).await.unwrap();
        assert_eq!(listed.len(), count);
        assert_eq!(listed.last(), (0..count).map(template).next_back().as_ref());
    }
}
