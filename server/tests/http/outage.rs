//! The database goes away for a while and comes back.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use chrono::Utc;
use domain::{
    instances::{Credentials, NewInstance, Settings, store},
    keys,
    messages::queue::{self, PausedBy},
};
use serde_json::json;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::world::{World, eventually};

const CALLS: u32 = 20;
/// On average, before a call is decided from memory: the database is tried once a second, for a quarter of one.
const LONGEST_WAIT: Duration = Duration::from_millis(150);

/// Stands between the server and Postgres, and can be cut: then connections break and new ones are refused. It can also
/// hold back all that Postgres says to those who listen.
struct Line {
    port: u16,
    target: (String, u16),
    forwarding: Option<AbortHandle>,
    held: watch::Sender<bool>,
}

/// Passes on what two sides say to each other, until one of them goes.
async fn pass(near: TcpStream, far: TcpStream, mut held: watch::Receiver<bool>) -> std::io::Result<()> {
    let ((mut near_says, mut to_near), (mut far_says, mut to_far)) = (near.into_split(), far.into_split());
    let listens = AtomicBool::new(false);
    let there = async {
        let mut piece = vec![0; 16_384];
        loop {
            let length = near_says.read(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            let said = &piece[..length];
            if said.windows(7).any(|word| word == b"LISTEN ") {
                listens.store(true, Ordering::Relaxed);
            }
            to_far.write_all(said).await?;
        }
    };
    let back = async {
        let mut piece = vec![0; 16_384];
        loop {
            let length = far_says.read(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            if listens.load(Ordering::Relaxed) {
                _ = held.wait_for(|held| !held).await;
            }
            to_near.write_all(&piece[..length]).await?;
        }
    };
    tokio::select! {
        done = there => done,
        done = back => done,
    }
}

impl Line {
    async fn to(options: &PgConnectOptions) -> Self {
        let target = (options.get_host().to_owned(), options.get_port());
        let mut line = Self { port: 0, target, forwarding: None, held: watch::Sender::new(false) };
        line.mend().await;
        line
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (target, held) = (self.target.clone(), self.held.clone());
        let forwarding = tokio::spawn(async move {
            // Dropped with the task, and with it all connections.
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (target, held) = (target.clone(), held.subscribe());
                connections.spawn(async move {
                    if let Ok(far) = TcpStream::connect(target).await {
                        _ = pass(near, far, held).await;
                    }
                });
            }
        });
        self.forwarding = Some(forwarding.abort_handle());
    }

    fn cut(&mut self) {
        if let Some(forwarding) = self.forwarding.take() {
            forwarding.abort();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn known_keys_go_on_and_everything_recovers(_: PgPoolOptions, options: PgConnectOptions) {
    let mut line = Line::to(&options).await;
    let through = options.clone().host("127.0.0.1").port(line.port);
    let mut world = World::working(through).await;
    let (known, unknown) =
        (world.key("known", &["message:send"]).await, world.key("not seen yet", &["message:send"]).await);
    // From its first connection on, what was cached before is asked for again.
    eventually("changes are heard", async || {
        let listeners: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'",
        )
        .fetch_one(world.db.system())
        .await
        .unwrap();
        listeners == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.me(&known).await.status, 200);
    assert_eq!(world.get("/readyz", None).await.status, 200);

    line.cut();
    // Longer than an entry of the cache is taken for granted while changes cannot be heard.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let begun = Instant::now();
    for _ in 0..CALLS {
        let answer = world.me(&known).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(begun.elapsed() < LONGEST_WAIT * CALLS, "known keys wait too long for the database: {:?}", begun.elapsed());
    let refused = world.me(&unknown).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "unavailable"));
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(world.get("/readyz", None).await.status, 503);
    assert_eq!(world.get("/healthz", None).await.status, 200);
    let page = world.get("/sign-in", None).await;
    assert_eq!(page.status, 503);
    assert!(page.text().contains("The database cannot be reached"), "{}", page.text());
    assert!(page.text().contains("http-equiv=\"refresh\""));

    line.mend().await;
    eventually("calls with any key", async || world.me(&unknown).await.status == 200).await;
    eventually("ready again", async || world.get("/readyz", None).await.status == 200).await;
    eventually("pages again", async || world.get("/sign-in", None).await.status == 200).await;
    let answered = async || world.logged().await.iter().filter(|(_, status, _)| *status == 200).count();
    eventually("the calls of the outage are in the log", async || answered().await >= CALLS as usize + 2).await;
    world.finish().await;
}

/// The connection that tells of changes is there, but nothing comes through any more: no end of it is seen for seconds.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_revocation_that_is_not_heard_counts_within_a_second(_: PgPoolOptions, options: PgConnectOptions) {
    let line = Line::to(&options).await;
    let mut world = World::working(options.host("127.0.0.1").port(line.port)).await;
    let key = world.key("shop", &["message:send"]).await;
    // Heard: the call after a revocation elsewhere would be refused at once.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.me(&key).await.status, 200);
    line.held.send_replace(true);
    keys::store::revoke(&world.db, &world.actor(), &[key.id]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.me(&key).await.status, 401);
    line.held.send_replace(false);
    world.finish().await;
}

/// When a database comes back, the leases of living servers have run out, too: they get the time to renew them.
#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn what_others_were_sending_is_not_lost_at_once(_: PgPoolOptions, options: PgConnectOptions) {
    let direct = PgPool::connect_with(options.clone()).await.unwrap();
    let mut line = Line::to(&options).await;
    let mut world = World::working(options.host("127.0.0.1").port(line.port)).await;
    let new = NewInstance { name: "Sales".into(), settings: Settings::Sandbox, credentials: Credentials::default() };
    let instance = store::create(&world.db, &world.state.sealer, &world.actor(), new, None).await.unwrap();
    let mut tx = world.db.system().begin().await.unwrap();
    queue::pause(&mut tx, world.acme, instance, PausedBy::Person, "", Utc::now()).await.unwrap();
    tx.commit().await.unwrap();
    let key = world.key("sends", &["message:send"]).await;
    let body = json!({ "instanceId": instance, "to": "+60123450001", "message": "Hello" });
    assert_eq!(world.post_json("/api/v1/messages/send", &key, body.to_string()).await.status, 202);
    // Until leases that ran out are looked for, and then long enough that the next look would fall together with the
    // database's return.
    tokio::time::sleep(Duration::from_secs(7)).await;
    line.cut();
    tokio::time::sleep(Duration::from_secs(9)).await;
    let claimed = sqlx::query(
        "update outbox set state = 'sending', attempt = 1, server_id = gen_random_uuid(), lease_until = now() - interval '1 s'",
    )
    .execute(&direct)
    .await
    .unwrap();
    assert_eq!(claimed.rows_affected(), 1);
    line.mend().await;
    let back = Instant::now();
    let mut state = String::from("sending");
    while state == "sending" {
        assert!(back.elapsed() < Duration::from_secs(20), "it is never taken for lost");
        tokio::time::sleep(Duration::from_millis(50)).await;
        state = sqlx::query_scalar("select state from outbox").fetch_one(&direct).await.unwrap();
    }
    assert_eq!(state, "unknown");
    assert!(back.elapsed() >= Duration::from_secs(5), "taken for lost after {:?}", back.elapsed());
    world.finish().await;
}
