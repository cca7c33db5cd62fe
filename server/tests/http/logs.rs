//! What must not stand in the log, also when everything is logged that can be.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, Key, PASSWORD, World};

const KEYS: &str = "/dashboard/developer/api-keys";
const ME: &str = "/api/v1/me";

/// Every line that anything in this process logs, dependencies included; nextest gives each test a process of its own.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_everything() -> Self {
        let log = Self::default();
        let lines = log.clone();
        let level = tracing::Level::TRACE;
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(move || lines.clone()).init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text of an answer that script gets.
fn shown(answer: &Answer, field: &str) -> String {
    answer.json()[field].as_str().unwrap_or_else(|| panic!("{field}: {}", answer.text())).to_owned()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn no_secret_is_in_the_log(_: PgPoolOptions, options: PgConnectOptions) {
    let log = Log::of_everything();
    let mut world = World::working(options).await;
    let cookie = world.sign_in("ada@acme.example").await;

    // Made and regenerated, with script and without.
    let form = |name| [("form[name]", name), ("form[issue_secret]", "on"), ("scopes[]", "key:verify")];
    let made = world.ask("api_keys/create", &cookie, &form("Scripted")).await;
    let (id, first, api_secret) = (shown(&made, "id"), shown(&made, "key"), shown(&made, "api_secret"));
    let plain = world.submit("/_fn/api_keys/create", &cookie, &form("Plain")).await;
    assert_eq!(plain.status, StatusCode::FOUND, "{}", plain.text());
    let page = world.page(plain.header("location"), &cookie).await;
    let mut words = page.text().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    // Hints are shorter.
    let plain = words.find(|word| word.starts_with("bnc_live_") && word.len() == first.len()).unwrap().to_owned();
    let version = async || -> String {
        sqlx::query_scalar("select version::text from api_keys where name = 'Scripted'")
            .fetch_one(world.db.system())
            .await
            .unwrap()
    };
    let again = [("id", &*id), ("version", &*version().await), ("overlap", "none")];
    let regenerated = world.ask("api_keys/regenerate", &cookie, &again).await;
    let second = shown(&regenerated, "key");
    let issued = world.ask("api_keys/issue_secret", &cookie, &[("id", &id)]).await;
    let second_api_secret = shown(&issued, "api_secret");
    let hook = [("form[url]", "https://hooks.acme.example/in"), ("events[]", "*")];
    let endpoint = world.ask("webhooks/create", &cookie, &hook).await;
    let signing = shown(&endpoint, "secret");
    let rotated = world.ask("webhooks/rotate", &cookie, &[("id", &shown(&endpoint, "id"))]).await;
    let second_signing = shown(&rotated, "secret");

    // Used, well and badly.
    let call = async |key: &str, api_secret: &str| {
        let call = Request::get(ME).header("authorization", format!("Bearer {key}")).header("x-api-secret", api_secret);
        world.send(call.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!(call(&second, &second_api_secret).await, 200);
    for (key, secret) in [(&second, &api_secret), (&first, &second_api_secret), (&plain, &second_api_secret)] {
        assert_eq!(call(key, secret).await, 401);
    }
    assert_eq!(call(&second[..second.len() - 1], "").await, 401);
    assert_eq!(world.get(&format!("{ME}?api_key={second}"), None).await.status, 400);
    assert_eq!(world.get(&format!("/api/v1/{second}"), None).await.status, 404);
    assert_eq!(world.page(&format!("{KEYS}?q={second}"), &cookie).await.status, 302, "to the same without it");
    let verifier = world.key("Verifier", &["key:verify"]).await;
    let verified = world.post_json("/api/v1/keys/verify", &verifier, json!({ "key": second }).to_string()).await;
    assert_eq!(verified.status, 200, "{}", verified.text());
    assert_eq!(world.post_json("/api/v1/keys/verify", &verifier, format!("{{{second}")).await.status, 400);

    // And where the database refuses what has to do with it.
    sqlx::query("alter table api_key_secrets rename to gone").execute(world.db.system()).await.unwrap();
    let unseen = Key { id: verifier.id, text: plain.clone() };
    world.state.keys.invalidate_all();
    assert_eq!(world.me(&unseen).await.status, 500);
    assert_eq!(world.ask("api_keys/create", &cookie, &form("Refused")).await.status, 500);
    let again = [("id", &*id), ("version", &*version().await), ("overlap", "none")];
    assert_eq!(world.ask("api_keys/regenerate", &cookie, &again).await.status, 500);
    world.finish().await;

    let log = log.text();
    assert!(log.contains("insert into api_key_secrets"), "it says little: {log}");
    let failed = log.lines().any(|line| line.contains("api_key_secrets") && line.contains("does not exist"));
    assert!(failed, "it does not say what failed: {log}");
    let mut secrets = vec![first, plain, second, verifier.text, api_secret, second_api_secret, signing, second_signing];
    secrets.extend([PASSWORD.to_owned(), cookie.split_once('=').unwrap().1.to_owned()]);
    for secret in &secrets {
        // What is known of a key anyway is its beginning and its end.
        let random = if secret.starts_with("bnc_") { &secret[secret.len() - 30..secret.len() - 4] } else { secret };
        let line = log.lines().find(|line| line.contains(random));
        assert_eq!(line, None, "a secret is in the log");
    }
}
