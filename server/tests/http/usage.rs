//! `GET /usage`: the same truth as the request log.

use chrono::{DateTime, Duration, DurationRound, Utc};
use domain::{
    ids::{KeyId, OrgId, RequestId},
    keys::KeyHash,
    usage::{RequestRow, store},
};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::world::{Key, World};

const USAGE: &str = "/api/v1/usage";

/// Writes calls as the recorder would: (minutes ago, endpoint, status, outcome, latency).
async fn record(world: &World, key: &Key, calls: &[(i64, &'static str, u16, &'static str, u32)]) {
    let entry = world.state.keys.find(&KeyHash::of(&key.text)).await.unwrap().unwrap();
    let rows: Vec<RequestRow> = calls
        .iter()
        .map(|(ago, endpoint, status, outcome, latency_us)| RequestRow {
            id: RequestId::new(),
            at: Utc::now() - Duration::minutes(*ago),
            owner: Some((entry.key.organization_id, entry.key.id, entry.key.secret_id)),
            method: "GET",
            endpoint,
            status: *status,
            outcome,
            scope: None,
            ip: "198.51.100.7".parse().unwrap(),
            user_agent: "curl".into(),
            latency_us: *latency_us,
        })
        .collect();
    store::write(&world.db, uuid::Uuid::now_v7(), &rows).await.unwrap();
}

/// requests, allowed, errors and latency of the log in a span, by one of its columns.
async fn logged(
    world: &World,
    organization: OrgId,
    from: &str,
    to: &str,
    by: &str,
) -> Vec<(String, i64, i64, i64, i64)> {
    let sql = format!(
        "select ({by})::text, count(*), count(*) filter (where outcome = 'allowed'), count(*) filter (where status >= 400),
                sum(latency_us)::bigint
         from request_log where organization_id = $1 and at >= $2::timestamptz and at < $3::timestamptz
         group by 1 order by 2 desc, 1"
    );
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(organization.0)
        .bind(time(from))
        .bind(time(to))
        .fetch_all(world.db.system())
        .await
        .unwrap()
}

fn figures(of: &Value) -> (i64, i64, i64) {
    let number = |field: &str| of[field].as_i64().unwrap();
    assert_eq!(number("requests") - number("allowed"), number("denied"));
    (number("requests"), number("allowed"), number("errors"))
}

/// Each figure of each report is what the log says, whichever way it is split; and the parts add up.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn reports_say_what_the_log_says(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let reader = world.key("reader", &["usage:read"]).await;
    let shop = world.key("Shop", &["message:send"]).await;
    let evil = world.foreign().await;
    let theirs = world.key_with(evil, "theirs", &["usage:read"], |_| {}).await;
    let endpoints = ["/api/v1/me", "/api/v1/messages/send", "/api/v1/usage"];
    let calls: Vec<_> = (0..300_i64)
        .map(|n| {
            let (status, outcome) = match n % 7 {
                0 => (403, "insufficient_scope"),
                1 => (422, "allowed"),
                2 => (429, "rate_limited"),
                _ => (200, "allowed"),
            };
            (n * n % 3_000, endpoints[(n % 3) as usize], status, outcome, (n * 37 % 5_000) as u32)
        })
        .collect();
    record(&world, &shop, &calls).await;
    record(&world, &reader, &calls[..40]).await;
    record(&world, &theirs, &calls[..40]).await;

    for granularity in ["minute", "hour", "day"] {
        for (group_by, column) in
            [("key", "key_id"), ("endpoint", "endpoint"), ("status", "status"), ("outcome", "outcome")]
        {
            let path = format!("{USAGE}?granularity={granularity}&groupBy={group_by}");
            let answer = world.get(&path, Some(&reader)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let report = answer.json();
            let (from, to) = (report["from"].as_str().unwrap(), report["to"].as_str().unwrap());
            let whole = logged(&world, world.acme, from, to, "''").await;
            let (_, requests, allowed, errors, latency) = whole[0].clone();
            assert_eq!(figures(&report["totals"]), (requests, allowed, errors), "{path}");
            let mean = report["totals"]["meanLatencyMs"].as_f64().unwrap();
            assert!((mean - latency as f64 / requests as f64 / 1_000.0).abs() < 0.001, "{path}");
            let buckets = report["buckets"].as_array().unwrap();
            assert_eq!(buckets.iter().map(|bucket| figures(bucket).0).sum::<i64>(), requests);
            assert_eq!(buckets[0]["at"], report["from"]);

            let expected = logged(&world, world.acme, from, to, column).await;
            let groups = report["groups"].as_array().unwrap();
            assert_eq!(groups.len(), expected.len(), "{path}");
            for group in groups {
                let value = group["value"].as_str().unwrap();
                let value = value.parse::<KeyId>().map_or(value.to_owned(), |key| key.0.to_string());
                let (_, requests, allowed, errors, _) = expected.iter().find(|row| row.0 == value).unwrap();
                assert_eq!(figures(&group["totals"]), (*requests, *allowed, *errors), "{path} {value}");
                assert_eq!(group["buckets"].as_array().unwrap().len(), buckets.len());
                assert_eq!(group["buckets"].as_array().unwrap().iter().map(|b| figures(b).0).sum::<i64>(), *requests);
                assert_eq!(group["name"].is_string(), group_by == "key");
            }
        }
    }
    // One bucket of the day, against the log.
    let report = world.get(&format!("{USAGE}?granularity=hour"), Some(&reader)).await.json();
    assert_eq!(report["groups"], json!([]));
    for bucket in report["buckets"].as_array().unwrap() {
        let at: DateTime<Utc> = bucket["at"].as_str().unwrap().parse().unwrap();
        let rows = logged(&world, world.acme, &at.to_rfc3339(), &(at + Duration::hours(1)).to_rfc3339(), "''").await;
        let expected = rows.first().map_or((0, 0, 0), |row| (row.1, row.2, row.3));
        assert_eq!(figures(bucket), expected, "{at}");
        assert_eq!(bucket["meanLatencyMs"].is_null(), expected.0 == 0);
    }
    // One key alone; another organization's key counts nothing here.
    let of_key = world.get(&format!("{USAGE}?granularity=day&keyId={}", shop.id), Some(&reader)).await.json();
    assert_eq!(figures(&of_key["totals"]).0, 300);
    let of_theirs = world.get(&format!("{USAGE}?granularity=day&keyId={}", theirs.id), Some(&reader)).await.json();
    assert_eq!(figures(&of_theirs["totals"]).0, 0);
    let seen_by_them = world.get(&format!("{USAGE}?granularity=day"), Some(&theirs)).await.json();
    assert_eq!(figures(&seen_by_them["totals"]).0, 40);
}

/// The figures of real calls, after the recorder wrote them.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn real_calls_arrive(_: PgPoolOptions, options: PgConnectOptions) {
    let mut world = World::working(options).await;
    let reader = world.key("reader", &["usage:read"]).await;
    for _ in 0..5 {
        assert_eq!(world.me(&reader).await.status, 200);
    }
    assert_eq!(world.get("/api/v1/organization", Some(&reader)).await.status, 403);
    crate::world::eventually("the calls are counted", async || {
        let report = world.get(&format!("{USAGE}?granularity=minute&groupBy=outcome"), Some(&reader)).await.json();
        let denied = report["groups"].as_array().unwrap().iter().find(|group| group["value"] == "insufficient_scope");
        figures(&report["totals"]).0 >= 6 && denied.is_some_and(|group| figures(&group["totals"]) == (1, 0, 1))
    })
    .await;
    world.finish().await;
}

/// Beyond ten groups the rest is one more, and nothing is lost.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn many_groups_are_summed_up(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let reader = world.key("reader", &["usage:read"]).await;
    for n in 0..14 {
        let key = world.key(&format!("key {n}"), &["message:send"]).await;
        let calls = vec![(1, "/api/v1/me", 200, "allowed", 10); n + 1];
        record(&world, &key, &calls).await;
    }
    let report = world.get(&format!("{USAGE}?granularity=hour&groupBy=key"), Some(&reader)).await.json();
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 11);
    assert_eq!((&groups[0]["name"], figures(&groups[0]["totals"]).0), (&json!("key 13"), 14));
    assert_eq!((&groups[10]["value"], &groups[10]["name"]), (&Value::Null, &Value::Null));
    assert_eq!(figures(&groups[10]["totals"]).0, 1 + 2 + 3 + 4);
    assert_eq!(groups.iter().map(|group| figures(&group["totals"]).0).sum::<i64>(), figures(&report["totals"]).0);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn spans_have_bounds(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(options).await;
    let reader = world.key("reader", &["usage:read"]).await;
    let time = |hours: i64| (Utc::now() - Duration::hours(hours)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let get = async |query: &str| world.get(&format!("{USAGE}?{query}"), Some(&reader)).await;
    for (query, field) in [
        (format!("granularity=minute&from={}", time(7)), "from"),
        (format!("from={}", time(32 * 24)), "from"),
        (format!("granularity=day&from={}", time(367 * 24)), "from"),
        (format!("granularity=minute&from={}&to={}", time(200), time(199)), "from"),
        (format!("from={}&to={}", time(1), time(2)), "from"),
        (format!("to={}", time(-100)), "to"),
        ("from=yesterday".into(), "from"),
        ("granularity=week".into(), "granularity"),
        ("groupBy=ip".into(), "groupBy"),
        ("keyId=1".into(), "keyId"),
        ("groupby=key".into(), "groupby"),
        ("to=-262143-01-01T00:00:00Z".into(), "to"),
        ("to=0000-01-01T00:00:00Z".into(), "from"),
    ] {
        let answer = get(&query).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "validation_failed"), "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
    let count = async |query: &str| {
        let answer = get(query).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["buckets"].as_array().unwrap().len()
    };
    // The last bucket is the running one.
    assert!((60..=61).contains(&count("granularity=minute").await));
    assert!((24..=25).contains(&count("").await));
    assert!((30..=31).contains(&count("granularity=day").await));
    let hour = (Utc::now() - Duration::hours(3)).duration_trunc(Duration::hours(1)).unwrap();
    let span = format!(
        "from={}&to={}",
        hour.format("%Y-%m-%dT%H:%M:%SZ"),
        (hour + Duration::hours(2)).format("%Y-%m-%dT%H:%M:%SZ")
    );
    assert_eq!(count(&span).await, 2, "whole hours are exactly those");
    // A time zone other than UTC is converted.
    let zoned = span.replace('Z', "%2B00:00");
    assert_eq!(count(&zoned).await, 2);
}
