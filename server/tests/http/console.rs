//! What the console's own functions answer: the same questions a hydrated page asks.

use std::str::FromStr;

use axum::body::Body;
use chrono::Utc;
use domain::{
    ids::{DeliveryId, EndpointId, EventId, InstanceId, KeyId, MessageId, RequestId},
    instances::{self, Credentials, NewInstance, Settings},
    keys::{Environment, store as keys},
    messages::{
        Body as Text, Recipient,
        store::{NewMessage, Reply, accept},
    },
    throttle::SplitMix,
    webhooks::{self, DeliveryFilter, EndpointDraft, deliveries},
};
use http::{Request, StatusCode};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, World};

const INTEGRATIONS: &str = "/dashboard/developer/integrations";

impl World {
    /// Sends a form as script does.
    pub async fn ask(&self, endpoint: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        let escape = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let body: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let request = Request::post(format!("/_fn/{endpoint}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .header("host", "bouncer.example")
            .header("origin", "http://bouncer.example")
            .header("sec-fetch-site", "same-origin")
            .header("cookie", cookie);
        self.send(request.body(Body::from(body.join("&"))).unwrap()).await
    }

    /// Labels and addresses that the palette offers.
    async fn palette(&self, cookie: &str, q: &str) -> Vec<(String, String)> {
        let answer = self.ask("shell/search", cookie, &[("q", q)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{q}: {}", answer.text());
        let text = |hit: &serde_json::Value, field: &str| hit[field].as_str().unwrap().to_owned();
        answer.json().as_array().unwrap().iter().map(|hit| (text(hit, "label"), text(hit, "href"))).collect()
    }

    async fn endpoint(&self, url: &str) -> EndpointId {
        let draft = EndpointDraft { url: url.into(), events: vec!["*".into()], ..EndpointDraft::default() };
        let new = draft.parse(None).unwrap();
        webhooks::store::create(&self.db, &self.state.sealer, &self.actor(), None, new, None).await.unwrap().0.id
    }
}

/// The id of this kind that nobody has.
fn nobodys<T: FromStr<Err: std::fmt::Debug>>(prefix: &str) -> T {
    format!("{prefix}_01h455vb4pex5vsknk084sn02q").parse().unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_palette_finds_what_has_a_page(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    world.foreign().await;
    let (mine, theirs) = (world.sign_in("ada@acme.example").await, world.sign_in("eve@evil.example").await);
    let key = world.key("Order robot", &["message:send"]).await;
    let revoked = world.key("Old robot", &["message:send"]).await;
    keys::revoke(&world.db, &world.actor(), &[revoked.id]).await.unwrap();
    let new =
        NewInstance { name: "Robot line".into(), settings: Settings::Sandbox, credentials: Credentials::default() };
    let instance = instances::store::create(&world.db, &world.state.sealer, &world.actor(), new, None).await.unwrap();
    let endpoint = world.endpoint("https://hooks.acme.example/robot").await;
    let message = NewMessage {
        organization: world.acme,
        instance,
        key: Some(key.id),
        environment: Environment::Live,
        to: Recipient::parse("+60123456789").unwrap(),
        body: Text::text("Hi"),
        request: None,
        idempotency: None,
    };
    let message = match accept(&world.db, &[message], Utc::now(), &mut SplitMix(7)).await.unwrap().pop().unwrap() {
        Ok(Reply::Accepted(accepted)) => accepted.id.unwrap(),
        other => panic!("{other:?}"),
    };
    let of_message = DeliveryFilter { message: Some(message), ..DeliveryFilter::default() };
    let delivery = deliveries::page(&world.db, world.acme, &of_message, None, 10).await.unwrap().remove(0);

    let usage = |id: KeyId| format!("/dashboard/developer/api-keys?panel=usage&key={id}");
    let panel = |name: &str, id: String| format!("{INTEGRATIONS}?panel={name}&id={id}");
    let told = ("message.queued".to_owned(), panel("delivery", delivery.id.to_string()));
    for (id, hits) in [
        (key.id.to_string(), vec![("Order robot".to_owned(), usage(key.id))]),
        (format!("  {} ", revoked.id), vec![("Old robot".to_owned(), usage(revoked.id))]),
        (instance.to_string(), vec![("Robot line".to_owned(), panel("instance", instance.to_string()))]),
        (
            endpoint.to_string(),
            vec![("https://hooks.acme.example/robot".to_owned(), panel("endpoint", endpoint.to_string()))],
        ),
        (delivery.id.to_string(), vec![told.clone()]),
        (delivery.event_id.to_string(), vec![told.clone()]),
        (
            message.to_string(),
            vec![("Message, queued".to_owned(), panel("instance", instance.to_string())), told.clone()],
        ),
    ] {
        assert_eq!(world.palette(&mine, &id).await, hits, "{id}");
        assert_eq!(world.palette(&theirs, &id).await, [], "{id} of another organization");
    }
    for id in [
        nobodys::<KeyId>("key").to_string(),
        nobodys::<InstanceId>("ins").to_string(),
        nobodys::<EndpointId>("whk").to_string(),
        nobodys::<DeliveryId>("dlv").to_string(),
        nobodys::<EventId>("evt").to_string(),
        nobodys::<MessageId>("msg").to_string(),
        nobodys::<RequestId>("req").to_string(),
    ] {
        assert_eq!(world.palette(&mine, &id).await, [], "{id}");
    }

    // By name and URL, in any case; what is revoked only by its id.
    let labels = async |cookie: &str, q: &str| {
        world.palette(cookie, q).await.into_iter().map(|(label, _)| label).collect::<Vec<_>>()
    };
    assert_eq!(labels(&mine, "ROBOT").await, ["Order robot", "Robot line", "https://hooks.acme.example/robot"]);
    assert!(labels(&theirs, "robot").await.is_empty());
    assert!(labels(&mine, "100%").await.is_empty(), "a per cent sign is a per cent sign");

    // The errors of the API, each where it is explained.
    let errors = world.palette(&mine, "insufficient_s").await;
    assert_eq!(errors, [("insufficient_scope".to_owned(), "/api/v1/problems/insufficient_scope".to_owned())]);
    assert_eq!(world.get(&errors[0].1, None).await.status, StatusCode::OK);
    assert_eq!(labels(&mine, "too many requests").await, ["rate_limited"]);
}

/// NUL, which Postgres takes in no text: beside the field in a form, and passed over in what is searched for.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nul_is_refused_or_passed_over(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    world.key("Order robot", &["message:send"]).await;

    for (endpoint, wrong, fields) in [
        ("session/sign_in", "email", vec![("email", "ada\0@acme.example"), ("password", "x\0"), ("next", "/a\0")]),
        ("members/invite", "email", vec![("email", "a\0@acme.example"), ("role", "viewer\0")]),
        ("profile/rename", "name", vec![("name", "A\0")]),
        ("organization/rename", "name", vec![("name", "A\0")]),
        (
            "api_keys/create",
            "description",
            vec![("form[name]", "Shop"), ("form[description]", "a\0"), ("scopes[]", "message:send")],
        ),
        ("api_keys/create", "name", vec![("form[name]", "a\0b"), ("scopes[]", "message:send")]),
        ("api_keys/create", "scopes", vec![("form[name]", "Shop"), ("scopes[]", "\0")]),
        (
            "webhooks/create",
            "description",
            vec![("form[url]", "https://hooks.acme.example"), ("form[description]", "a\0"), ("events[]", "*")],
        ),
        ("webhooks/create", "url", vec![("form[url]", "https://hooks.acme.example/\0"), ("events[]", "*")]),
        ("instances/create", "name", vec![("form[name]", "a\0"), ("form[provider]", "sandbox")]),
        (
            "instances/create",
            "session",
            vec![
                ("form[name]", "Line"),
                ("form[provider]", "waha"),
                ("form[waha_url]", "https://waha.acme.example"),
                ("form[session]", "a\0"),
            ],
        ),
    ] {
        let answer = world.ask(endpoint, &cookie, &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{endpoint}: {}", answer.text());
        assert!(answer.text().contains(&format!("\"field\":\"{wrong}")), "{endpoint} {wrong}: {}", answer.text());
        // Without script the form comes back through the session.
        let plain = world.submit(&format!("/_fn/{endpoint}"), &cookie, &fields).await;
        assert_eq!(plain.status, StatusCode::FOUND, "{endpoint}: {}", plain.text());
        let page = world.page(plain.header("location"), &cookie).await;
        assert!(page.status.is_success() || page.status.is_redirection(), "{endpoint}: {}", page.status);
    }

    for path in [
        "/dashboard/developer/api-keys?q=%00",
        "/dashboard/developer/api-keys?q=ro%00bot&after=%00&panel=%00&key=%00",
        // A cursor that somebody made: ["\u0000", an id]
        "/dashboard/developer/api-keys?sort=name&after=WyJcdTAwMDAiLCIwMTkwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDAiXQ",
        "/dashboard/developer/api-keys/export.csv?q=order%00",
    ] {
        let answer = world.page(path, &cookie).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.text().contains("Order robot") && !answer.text().contains('\0'), "{path}");
    }
    for path in [
        "/dashboard/settings/audit?action=%00&person=%00",
        "/dashboard/settings/audit?person=a%00b&before=%00",
        "/dashboard/developer/integrations?panel=instance&id=%00&instances_after=%00",
    ] {
        let answer = world.page(path, &cookie).await;
        assert_eq!((answer.status, answer.text().contains('\0')), (StatusCode::OK, false), "{path}");
    }
    let labels: Vec<_> = world.palette(&cookie, "or\0der").await.into_iter().map(|(label, _)| label).collect();
    assert_eq!(labels, ["Order robot"]);
    let filter = r#"{"filter":{"action":"\u0000","person":"\u0000","before":null}}"#;
    let request = Request::post("/_fn/audit/list")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("host", "bouncer.example")
        .header("origin", "http://bouncer.example")
        .header("cookie", &cookie);
    assert_eq!(world.send(request.body(Body::from(filter)).unwrap()).await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_endpoint_keeps_the_url_that_it_has(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    // Made while the operator's settings allowed it.
    let id = world.endpoint("http://127.0.0.1:9/hook").await;
    let edit = async |url: &str, description: &str| {
        let endpoint = webhooks::store::get(&world.db, world.acme, None, id).await.unwrap();
        let (id, version) = (id.to_string(), endpoint.version.to_string());
        let fields = [
            ("id", id.as_str()),
            ("form[url]", url),
            ("form[description]", description),
            ("form[environment]", ""),
            ("form[headers]", ""),
            ("form[concurrency]", "10"),
            ("form[rate_limit]", ""),
            ("form[version]", &version),
            ("events[]", "message.*"),
        ];
        world.ask("webhooks/edit", &cookie, &fields).await
    };
    let saved = edit("http://127.0.0.1:9/hook", "Till 2").await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.text());
    let endpoint = webhooks::store::get(&world.db, world.acme, None, id).await.unwrap();
    assert_eq!((endpoint.description.as_str(), endpoint.events), ("Till 2", vec!["message.*".to_owned()]));
    let refused = edit("http://127.0.0.1:9/other", "Till 2").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text());
    assert!(refused.text().contains("url"), "{}", refused.text());
}
