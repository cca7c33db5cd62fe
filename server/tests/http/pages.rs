//! What browsers get: where they are sent, cookies, headers, forms, downloads.

use axum::body::Body;
use domain::{
    ids::{InstanceId, PersonId},
    keys::store,
    people::{Actor, Role, invitations, members},
    secret::{ExposeSecret, SecretString},
};
use http::{Request, StatusCode};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Answer, PASSWORD, World, eventually};

const KEYS: &str = "/dashboard/developer/api-keys";

/// What a browser without script sends with a form.
fn form(path: &str) -> http::request::Builder {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "text/html,application/xhtml+xml")
        .header("host", "bouncer.example")
        .header("origin", "http://bouncer.example")
        .header("sec-fetch-site", "same-origin")
        .header("referer", format!("http://bouncer.example{path}"))
}

fn encoded(fields: &[(&str, &str)]) -> Body {
    let escape = |text: &str| {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect::<String>()
    };
    Body::from(
        fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect::<Vec<_>>().join("&"),
    )
}

impl World {
    pub async fn submit(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(form(path).header("cookie", cookie).body(encoded(fields)).unwrap()).await
    }

    pub async fn page(&self, path: &str, cookie: &str) -> Answer {
        self.send(
            Request::get(path).header("accept", "text/html").header("cookie", cookie).body(Body::empty()).unwrap(),
        )
        .await
    }

    pub async fn sign_in(&self, email: &str) -> String {
        let answer =
            self.submit("/_fn/session/sign_in", "", &[("email", email), ("password", PASSWORD), ("next", KEYS)]).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text());
        cookie(&answer)
    }
}

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn everybody_is_sent_where_they_can_go_on(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let goes = async |path: &str, cookie: &str| {
        let answer = world.page(path, cookie).await;
        (answer.status.as_u16(), answer.header("location").to_owned())
    };
    for short in ["/", "/dashboard", "/dashboard/", "/dashboard/developer"] {
        assert_eq!(goes(short, "").await, (303, KEYS.into()), "{short}");
    }
    assert_eq!(goes("/setup", "").await, (303, "/sign-in".into()), "setup is over");
    assert_eq!(goes("/sign-in", "").await, (200, String::new()));
    let (status, target) = goes(&format!("{KEYS}?status=active"), "").await;
    assert_eq!(
        (status, target.starts_with("/sign-in?next=%2Fdashboard") || target.starts_with("/sign-in?next=/dashboard")),
        (303, true),
        "{target}"
    );
    for page in ["/dashboard/settings/members", "/dashboard/settings/audit", "/dashboard/nothing"] {
        assert_eq!(goes(page, "").await.0, 303, "{page}");
    }
    assert_eq!(goes(KEYS, "bouncer=AAAAAAAAAAAAAAAAAAAAAA").await.0, 303, "an invented cookie is nobody's");
    let cookie = world.sign_in("ada@acme.example").await;
    for page in [
        KEYS,
        "/dashboard/settings/organization",
        "/dashboard/settings/members",
        "/dashboard/settings/audit",
        "/dashboard/settings/profile",
    ] {
        assert_eq!(goes(page, &cookie).await, (200, String::new()), "{page}");
    }
    assert_eq!(goes("/dashboard/nothing", &cookie).await.0, 404);
    assert_eq!(goes("/nothing", "").await.0, 404);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_first_run_begins_with_setup(_: PgPoolOptions, options: PgConnectOptions) {
    let db = domain::Db::open(options, 6);
    let state = server::state::AppState::new(db, &crate::world::settings(&[])).unwrap();
    let router = server::serve::router(&state);
    let goes = async |path: &str| {
        let request = Request::get(path).header("accept", "text/html").body(Body::empty()).unwrap();
        let answer = crate::world::send(&router, request).await;
        (answer.status.as_u16(), answer.header("location").to_owned())
    };
    assert_eq!(goes(KEYS).await, (303, "/setup".into()));
    assert_eq!(goes("/sign-in").await, (303, "/setup".into()));
    assert_eq!(goes("/setup").await.0, 200);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn pages_and_answers_are_closed_to_others(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let page = world.page(KEYS, &cookie).await;
    let policy = page.header("content-security-policy");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    assert!(page.text().contains(&format!("nonce=\"{nonce}\"")));
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("object-src 'none'"), "{policy}");
    assert!(!policy.contains("'unsafe-inline'") && !policy.contains("'unsafe-eval'"), "{policy}");
    assert!(!page.text().contains(" style=\""), "style attributes are blocked by the policy");
    assert!(!page.text().contains(" onclick="));
    let again = world.page(KEYS, &cookie).await;
    assert_ne!(again.header("content-security-policy"), policy, "each page has its own nonce");
    for answer in [&page, &world.page("/sign-in", "").await, &world.page("/nothing", "").await] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("strict-transport-security"), "", "only over https");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn cookies_are_bound_to_https_when_there_is_https(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::with(options, &["--public-url", "https://bouncer.example"]).await;
    let fields = [("email", "ada@acme.example"), ("password", PASSWORD), ("next", "")];
    let answer = world.send(form("/_fn/session/sign_in").body(encoded(&fields)).unwrap()).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-bouncer="), "{cookie}");
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(answer.header("strict-transport-security").starts_with("max-age=31536000"));
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn forms_of_other_sites_are_refused(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let key = world.key("shop", &["message:send"]).await;
    let id = key.id.to_string();
    let fields = [("ids[]", id.as_str()), ("what", "revoke"), ("back", KEYS)];
    let revoke = async |site: &str, origin: &str| {
        let mut request = Request::post("/_fn/api_keys/change")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("host", "bouncer.example")
            .header("origin", origin)
            .header("cookie", &cookie);
        if !site.is_empty() {
            request = request.header("sec-fetch-site", site);
        }
        world.send(request.body(encoded(&fields)).unwrap()).await
    };
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("same-site", "http://other.bouncer.example"),
        ("", "https://evil.example"),
        ("", "null"),
    ] {
        assert_eq!(revoke(site, origin).await.status, 403, "{site} {origin}");
    }
    assert_eq!(world.me(&key).await.status, 200, "the key lives");
    let own = revoke("same-origin", "http://bouncer.example").await;
    assert!(own.status.is_success() || own.status.is_redirection(), "{}: {}", own.status, own.text());
    eventually("the same form of the own site ends the key", async || world.me(&key).await.status == 401).await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn signing_in_makes_a_new_session_and_signing_out_ends_it(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let first = world.sign_in("ada@acme.example").await;
    let fields = [("email", "ada@acme.example"), ("password", PASSWORD), ("next", KEYS)];
    let again = world.submit("/_fn/session/sign_in", &first, &fields).await;
    let second = cookie(&again);
    assert_ne!(first, second, "a known id is worth nothing after signing in");
    assert_eq!(world.page(KEYS, &first).await.status, 303);
    assert_eq!(world.page(KEYS, &second).await.status, 200);
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("select id_hash from sessions").fetch_all(world.db.system()).await.unwrap();
    assert_eq!(stored.len(), 1);
    let out = world.submit("/_fn/session/sign_out", &second, &[]).await;
    assert_eq!(out.status, 302);
    assert_eq!(world.page(KEYS, &second).await.status, 303);
    let left: i64 = sqlx::query_scalar("select count(*) from sessions").fetch_one(world.db.system()).await.unwrap();
    assert_eq!(left, 0);
    // Who is signed out already does nothing.
    assert_eq!(world.submit("/_fn/session/sign_out", &second, &[]).await.status, 302);
    let out =
        domain::audit::store::page(&world.db, world.acme, None, Some("person.signed_out"), None, 9).await.unwrap();
    let [row] = &out[..] else { panic!("{out:?}") };
    assert_eq!((row.actor.as_str(), row.subject.as_str()), ("ada@acme.example", &*world.ada.to_string()));
    assert!(row.ip.is_some());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_wrong_password_comes_back_without_itself(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let fields = [("email", "ada@acme.example"), ("password", "not the password at all"), ("next", KEYS)];
    let answer = world.submit("/_fn/session/sign_in", "", &fields).await;
    assert_eq!(answer.status, 302);
    let back = answer.header("location").to_owned();
    assert!(back.starts_with("/sign-in"), "{back}");
    assert!(!back.contains("not+the+password") && !back.contains("not%20the"));
    let page = world.page(&back, &cookie(&answer)).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("The e-mail address or the password is not right."), "{}", page.text());
    assert!(page.text().contains("value=\"ada@acme.example\""), "the address is still there");
    assert!(!page.text().contains("not the password at all"));
}

/// Anybody can send these forms, again and again: what is kept of them is little, and not for long.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn forms_of_strangers_fill_no_disk(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let huge = "x".repeat(200_000);
    // Bytes that are kept, and for how many minutes at most.
    let kept = async || -> (i64, f64) {
        sqlx::query_as(
            "select sum(octet_length(data::text)), max(extract(epoch from expires_at - now()) / 60)::float8 from sessions",
        )
        .fetch_one(world.db.system())
        .await
        .unwrap()
    };
    let forget = async || {
        sqlx::query("delete from sessions").execute(world.db.system()).await.unwrap();
    };

    let fields = [("email", huge.as_str()), ("password", PASSWORD), ("next", KEYS)];
    let answer = world.submit("/_fn/session/sign_in", "", &fields).await;
    let (bytes, minutes) = kept().await;
    assert!(bytes < 1_000 && (9.0..=10.1).contains(&minutes), "{bytes} bytes for {minutes} minutes");
    let page = world.page(answer.header("location"), &cookie(&answer)).await;
    assert!(page.text().contains("Give an e-mail address, such as ada@acme.example."), "beside the field");
    let attempts: i64 =
        sqlx::query_scalar("select count(*) from sign_in_failures").fetch_one(world.db.system()).await.unwrap();
    assert_eq!(attempts, 0, "what is no address is looked up nowhere");
    forget().await;

    // The invitation of somebody new.
    let owner = Actor { person_id: Some(world.ada), role: Some(Role::Owner), ..world.actor() };
    let (_, token) = invitations::create(&world.db, &owner, "bob@acme.example", Role::Developer).await.unwrap();
    let fields = [("token", token.expose_secret()), ("name", huge.as_str()), ("password", PASSWORD)];
    assert_eq!(world.submit("/_fn/invitations/accept", "", &fields).await.status, 302);
    let (bytes, minutes) = kept().await;
    assert!(bytes < 1_000 && minutes < 10.1, "{bytes} bytes for {minutes} minutes");
    forget().await;

    // One attempt too many leaves nothing but its sentence.
    let fields = [("email", "ada@acme.example"), ("password", "not the password at all"), ("next", KEYS)];
    for _ in 0..10 {
        world.submit("/_fn/session/sign_in", "", &fields).await;
    }
    forget().await;
    let answer = world.submit("/_fn/session/sign_in", "", &fields).await;
    let data: String =
        sqlx::query_scalar("select data::text from sessions").fetch_one(world.db.system()).await.unwrap();
    assert!(data.contains("Too many attempts.") && !data.contains("ada@acme.example"), "{data}");
    let page = world.page(answer.header("location"), &cookie(&answer)).await;
    assert!(page.text().contains("Too many attempts. Try again in 15 minutes."), "{}", page.text());
}

/// After the first run its form says the same to everybody, so that it tells nobody's password.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn setup_is_over_whatever_is_sent_there(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let fields = |email, password| {
        [("organization", "Mine"), ("name", "Eve"), ("email", email), ("password", password), ("repeated", password)]
    };
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@acme.example", PASSWORD),
        ("ada@acme.example", "not the password at all"),
        ("nobody@acme.example", PASSWORD),
    ] {
        let mut request = form("/_fn/setup/create").body(encoded(&fields(email, password))).unwrap();
        request.headers_mut().insert("accept", http::HeaderValue::from_static("application/json"));
        let answer = world.send(request).await;
        answers.push((answer.status.as_u16(), answer.text().to_owned()));

        let plain = world.submit("/_fn/setup/create", "", &fields(email, password)).await;
        assert_eq!((plain.status.as_u16(), plain.header("location")), (302, "/sign-in"));
        let page = world.page("/sign-in", &cookie(&plain)).await;
        assert!(page.text().contains("This Bouncer is already set up."), "{}", page.text());
        assert!(!page.text().contains("Mine") && !page.text().contains(email), "nothing of the form is kept");
    }
    assert!(answers.iter().all(|answer| answer.0 == 409 && *answer == answers[0]), "{answers:?}");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_session_ends_after_hours_of_rest_and_after_a_week(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let hours_left = async || -> f64 {
        let seconds: f64 = sqlx::query_scalar("select extract(epoch from expires_at - now())::float8 from sessions")
            .fetch_one(world.db.system())
            .await
            .unwrap();
        seconds / 3_600.0
    };
    assert!((11.9..=12.01).contains(&hours_left().await));
    sqlx::query("update sessions set expires_at = now() + interval '1 hour'").execute(world.db.system()).await.unwrap();
    assert_eq!(world.page(KEYS, &cookie).await.status, 200);
    assert!((11.9..=12.01).contains(&hours_left().await), "use moves the end");
    sqlx::query("update sessions set data = jsonb_set(data, '{began_at}', to_jsonb(extract(epoch from now() - interval '167 hours')::bigint)), expires_at = now() + interval '30 minutes'")
        .execute(world.db.system())
        .await
        .unwrap();
    assert_eq!(world.page(KEYS, &cookie).await.status, 200);
    assert!((0.9..=1.01).contains(&hours_left().await), "but not beyond a week");
    sqlx::query("update sessions set expires_at = now() - interval '1 second'")
        .execute(world.db.system())
        .await
        .unwrap();
    assert_eq!(world.page(KEYS, &cookie).await.status, 303);
}

/// Somebody who was removed is out with their next click; what they made stays.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_removed_member_is_out_at_once(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let owner = Actor { person_id: Some(world.ada), role: Some(Role::Owner), ..world.actor() };
    let (_, token) = invitations::create(&world.db, &owner, "bob@acme.example", Role::Developer).await.unwrap();
    let (bob, _): (PersonId, _) = invitations::accept(
        &world.db,
        &world.state.hasher,
        token.expose_secret(),
        "Bob",
        &SecretString::from(PASSWORD),
        None,
    )
    .await
    .unwrap();
    let cookie = world.sign_in("bob@acme.example").await;
    assert_eq!(world.page(KEYS, &cookie).await.status, 200);
    members::remove(&world.db, &owner, bob).await.unwrap();
    assert_eq!(world.page(KEYS, &cookie).await.status, 303);
    let export = world.page(&format!("{KEYS}/export.csv"), &cookie).await;
    assert_eq!(export.status, 303);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_list_can_be_taken_along(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    world.key("=HYPERLINK(\"https://evil.example\")", &["message:send"]).await;
    world.key("Shop 🛒, main", &["message:send", "instance:read"]).await;
    let gone = world.key("Gone", &["message:send"]).await;
    store::revoke(&world.db, &world.actor(), &[gone.id]).await.unwrap();
    let evil = world.foreign().await;
    world.key_with(evil, "Theirs", &["message:send"], |_| {}).await;

    let cookie = world.sign_in("ada@acme.example").await;
    let answer = world.page(&format!("{KEYS}/export.csv?sort=name"), &cookie).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(answer.header("content-disposition").starts_with("attachment; filename=\"api-keys-"));
    let lines: Vec<&str> = answer.text().trim_start_matches('\u{feff}').split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("id,name,description,environment,hint,status"));
    assert!(lines[1].contains("\"'=HYPERLINK(\"\"https://evil.example\"\")\""), "{}", lines[1]);
    assert!(lines[2].contains("\"Shop 🛒, main\"") && lines[2].contains("message:send instance:read"), "{}", lines[2]);
    let filtered = world.page(&format!("{KEYS}/export.csv?q=shop"), &cookie).await;
    assert_eq!(filtered.text().lines().count(), 2);
    // More than is read at once: the file is whole, in the order of the list.
    sqlx::query(
        "insert into api_keys (id, organization_id, name, description, environment, hint, scopes, throttle, allowed_ips, created_by_name)
         select gen_random_uuid(), $1, 'Many ' || lpad(n::text, 4, '0'), '', 'live', 'bnc_live_aaaa…bbbb', '{message:send}',
                '{\"mode\":\"off\",\"max_queue\":20}', '{}', 'test'
         from generate_series(1, 2100) n",
    )
    .bind(world.acme.0)
    .execute(world.db.system())
    .await
    .unwrap();
    let many = world.page(&format!("{KEYS}/export.csv?sort=name&dir=desc&q=many"), &cookie).await;
    let names: Vec<&str> = many.text().lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!((names.len(), names[0], names[2_099]), (2_100, "Many 2100", "Many 0001"));
    assert!(names.is_sorted_by(|a, b| a > b));
    let outside = world.send(Request::get(format!("{KEYS}/export.csv")).body(Body::empty()).unwrap()).await;
    assert_eq!(outside.status, 401);
}

/// The form offers the newest instances, and all that the key may use already: saving it takes none of them away.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_keeps_its_instances_among_many(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let first = InstanceId::new();
    sqlx::query(
        "insert into instances (id, organization_id, name, provider, settings, status, created_by_name)
         select case n when 0 then $2 else gen_random_uuid() end, $1, 'Number ' || n, 'sandbox',
                '{\"provider\":\"sandbox\"}', 'connected', 'test'
         from generate_series(0, 600) n",
    )
    .bind(world.acme.0)
    .bind(first.0)
    .execute(world.db.system())
    .await
    .unwrap();
    // Random ids are greater than one made of the time, as newer ones would be.
    let key = world
        .key_with(world.acme, "bound", &["message:send"], |form| {
            form.instances_mode = "some".into();
            form.instances = vec![first.to_string()];
        })
        .await;
    let cookie = world.sign_in("ada@acme.example").await;
    let form = world.page(&format!("{KEYS}?panel=edit&key={}", key.id), &cookie).await;
    assert_eq!(form.status, 200);
    let first = first.to_string();
    let field =
        form.text().split("<input").find(|field| field.contains(&first)).expect("the key's instance is offered");
    assert!(field.split('>').next().unwrap().contains("checked"), "{field}");
}

/// HTML is compressed, but never a page that shows a secret.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn pages_are_compressed_but_not_secrets(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let cookie = world.sign_in("ada@acme.example").await;
    let key = world.key("shop", &["message:send"]).await;
    let get = async |path: &str| {
        let request = Request::get(path)
            .header("accept", "text/html")
            .header("accept-encoding", "gzip, br")
            .header("cookie", &cookie)
            .body(Body::empty())
            .unwrap();
        world.send(request).await.header("content-encoding").to_owned()
    };
    assert_ne!(get(KEYS).await, "");
    assert_eq!(get(&format!("{KEYS}?panel=created&key={}", key.id)).await, "");
    assert_eq!(get(&format!("{KEYS}?%70anel=created&key={}", key.id)).await, "", "however it is spelt");
}
