//! What must not happen, whatever happens: an accepted message that is lost, or sent twice.
//!
//! The real binary runs against a real Postgres and a provider that writes a journal of all it is asked to send.
//! Clients send with `Idempotency-Key`s and repeat what was not answered, as ours should; meanwhile servers are
//! killed, databases stopped in the middle of things.
//!
//! `make test` runs this for seconds, `make soak` for as long as `BOUNCER_SOAK_SECONDS` says.
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod bouncer;
mod clients;
mod journal;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bouncer::{Bouncer, House};
use clients::Clients;
use domain::{ids::MessageId, keys};
use journal::Journal;
use sqlx::PgPool;
use tokio::task::JoinSet;

/// How long a test keeps breaking things.
fn long() -> Duration {
    let seconds = std::env::var("BOUNCER_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

/// Every accepted message is in the journal and `sent`, each call made one message, and what is there twice was
/// `unknown` in between. Returns how many were unknown for a while.
async fn nothing_is_lost(house: &House, journal: &Journal, clients: &clients::Done) -> usize {
    house.until_all_left(Duration::from_secs(120)).await;
    let pool = house.db.system();
    let accepted: HashSet<MessageId> = clients.accepted.iter().copied().collect();
    assert_eq!(accepted.len(), clients.accepted.len(), "two calls got the same message");
    assert!(accepted.len() > 20, "only {} messages were accepted: this test proves nothing", accepted.len());
    let there: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(pool).await.unwrap();
    assert_eq!(there, i64::try_from(clients.calls).unwrap(), "one message for each Idempotency-Key");
    let not_sent: Vec<(uuid::Uuid, String)> =
        sqlx::query_as("select id, status from messages where status <> 'sent'").fetch_all(pool).await.unwrap();
    assert!(not_sent.is_empty(), "{not_sent:?}");
    let unknown: Vec<uuid::Uuid> =
        sqlx::query_scalar("select distinct message_id from message_steps where status = 'unknown'")
            .fetch_all(pool)
            .await
            .unwrap();
    let unknown: HashSet<MessageId> = unknown.into_iter().map(MessageId).collect();
    let times = journal.times();
    for id in &accepted {
        assert!(times.contains_key(id), "{id} was accepted and never sent");
    }
    for (id, times) in times.iter().filter(|(_, times)| times.len() > 1) {
        assert!(unknown.contains(id), "{id} was sent {} times and nobody was ever in doubt about it", times.len());
    }
    let twice = times.values().filter(|times| times.len() > 1).count();
    println!("{} accepted, {} for a while unknown, {twice} sent twice", accepted.len(), unknown.len());
    // The provider can be asked, so that not even those need be.
    assert_eq!(twice, 0);
    unknown.len()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn killed_again_and_again(pool: PgPool) {
    let house = House::on(&pool).await;
    let journal = Journal::start(Duration::from_millis(40)).await;
    let instance = house.waha(&journal.url()).await;
    let key = house.key("Shop", |_| {}).await;
    let mut bouncer = Bouncer::start(&house.settings()).await;
    let clients = Clients::start(8, vec![bouncer.url()], &key, instance);
    let until = Instant::now() + long();
    let mut kills = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        bouncer.kill();
        kills += 1;
        bouncer = bouncer.again().await;
    }
    let done = clients.stop().await;
    let unknown = nothing_is_lost(&house, &journal, &done).await;
    assert!(unknown > 0, "{kills} kills never fell between sending and its answer: this test proves nothing");
    bouncer.terminate().await;
}

/// With the Postgres that Bouncer runs itself, whose settings are those of everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_stops_in_the_middle_of_things() {
    let house = House::private().await;
    let journal = Journal::start(Duration::from_millis(40)).await;
    let instance = house.waha(&journal.url()).await;
    let key = house.key("Shop", |_| {}).await;
    let bouncer = Bouncer::start(&house.settings()).await;
    let clients = Clients::start(8, vec![bouncer.url()], &key, instance);
    let until = Instant::now() + long();
    let mut stops = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        house.stop_postgres_at_once();
        stops += 1;
        house.until_postgres_is_back().await;
    }
    let done = clients.stop().await;
    let unknown = nothing_is_lost(&house, &journal, &done).await;
    let refused = done.refused_with_5xx();
    println!("{stops} stops, {refused} calls refused");
    assert!(refused + unknown > 0, "none of {stops} stops caught anything: this test proves nothing");
    bouncer.terminate().await;
    house.take_down().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn two_servers_are_as_good_as_one(pool: PgPool) {
    const GAP_MS: u64 = 250;
    let house = House::on(&pool).await;
    let journal = Journal::start(Duration::from_millis(10)).await;
    let (free, paced) = (house.waha(&journal.url()).await, house.waha(&journal.url()).await);
    let off = house.key("Fast", |_| {}).await;
    let fixed = house
        .key("Careful", |form| {
            form.throttle_mode = "fixed".into();
            form.delay = "0.25".into();
        })
        .await;
    let first = Bouncer::start(&house.settings()).await;
    let second = Bouncer::start(&house.settings()).await;
    let urls = vec![first.url(), second.url()];
    let fast = Clients::start(4, urls.clone(), &off, free);
    let careful = Clients::of_number(2, 30, urls.clone(), &fixed, paced);
    tokio::time::sleep(long() / 2).await;
    let (fast, careful) = (fast.stop().await, careful.all().await);
    let unknown = nothing_is_lost(&house, &journal, &fast.and(&careful)).await;
    assert_eq!(unknown, 0, "nobody was killed");

    let times = journal.times();
    let mut paced: Vec<Instant> = careful.accepted.iter().map(|id| times[id][0]).collect();
    paced.sort_unstable();
    let shortest = paced.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(shortest >= Duration::from_millis(GAP_MS), "two paced messages were {shortest:?} apart");
    let whole = *paced.last().unwrap() - paced[0];
    let least = Duration::from_millis(GAP_MS * 29);
    assert!(whole < least * 2, "30 messages {GAP_MS} ms apart took {whole:?}");
    let servers: i64 = sqlx::query_scalar("select count(distinct server_id) from rate_windows where calls > 0")
        .fetch_one(house.db.system())
        .await
        .unwrap();
    assert_eq!(servers, 2, "one of them did nothing");

    // Revoked on none of them, but in the database that both hear.
    for url in &urls {
        assert_eq!(clients::me(url, &off).await, 200);
    }
    keys::store::revoke(&house.db, &house.actor(), &[off.id]).await.unwrap();
    let revoked = Instant::now();
    for url in &urls {
        while clients::me(url, &off).await == 200 {
            assert!(revoked.elapsed() < Duration::from_secs(1), "still good at {url}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    first.terminate().await;
    second.terminate().await;
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn stopped_under_load(pool: PgPool) {
    let house = House::on(&pool).await;
    let journal = Journal::start(Duration::from_millis(40)).await;
    let instance = house.waha(&journal.url()).await;
    let key = house.key("Shop", |_| {}).await;
    let mut bouncer = Bouncer::start(&house.settings()).await;
    let clients = Clients::start(8, vec![bouncer.url()], &key, instance);
    let until = Instant::now() + long() / 2;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        bouncer.terminate_only().await;
        let held: i64 =
            sqlx::query_scalar("select count(*) from outbox where state <> 'queued'").fetch_one(&pool).await.unwrap();
        assert_eq!(held, 0, "a server that was asked to stop leaves nothing half done");
        bouncer = bouncer.again().await;
    }
    let done = clients.stop().await;
    assert_eq!(done.refused_with_5xx(), 0);
    // Connections may be refused, and idle ones closed; but nothing is done whose answer does not arrive.
    assert_eq!(done.replayed, 0, "calls were done and not answered");
    assert_eq!(nothing_is_lost(&house, &journal, &done).await, 0, "nothing was ever in doubt");
    bouncer.terminate_only().await;
    let rows: i64 = sqlx::query_scalar("select count(*) from request_log").fetch_one(&pool).await.unwrap();
    let answered = i64::try_from(done.answered()).unwrap();
    assert_eq!(rows, answered, "calls in the request log, and calls that were answered");
}

/// Calls that a server has taken before it is asked to stop are answered, though it takes no new ones.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn calls_in_flight_are_answered(pool: PgPool) {
    let house = House::on(&pool).await;
    let journal = Journal::start(Duration::from_millis(10)).await;
    // A batch for each; a third message would wait for one of them where nobody sees it.
    let instances = [house.waha(&journal.url()).await, house.waha(&journal.url()).await];
    let key = house.key("Shop", |_| {}).await;
    let mut bouncer = Bouncer::start(&house.settings()).await;

    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table messages in access exclusive mode").execute(&mut *lock).await.unwrap();
    let mut calls = JoinSet::new();
    for (before, instance) in instances.into_iter().enumerate() {
        calls.spawn(clients::send_once(bouncer.url(), key.clone(), instance));
        until_held_up(&pool, "%insert into messages %", before + 1).await;
    }
    for before in 0..6 {
        calls.spawn(clients::list_once(bouncer.url(), key.clone()));
        until_held_up(&pool, "select % from messages where organization_id = %", before + 1).await;
    }

    bouncer.ask_to_stop();
    bouncer.until_closed().await;
    assert!(calls.try_join_next().is_none(), "a call was given up");
    lock.rollback().await.unwrap();
    let mut statuses: Vec<u16> = calls.join_all().await.into_iter().map(|status| status.unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 202, 202]);
    bouncer.until_ended().await;
}

/// Waits until so many statements wait for a lock.
async fn until_held_up(pool: &PgPool, statement: &str, count: usize) {
    let begun = Instant::now();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query ilike $1",
        )
        .bind(statement)
        .fetch_one(pool)
        .await
        .unwrap();
        if usize::try_from(waiting).unwrap() == count {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{waiting} instead of {count}: {statement}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
