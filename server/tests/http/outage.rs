//! The database goes away for a while and comes back.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::world::{World, eventually};

const CALLS: u32 = 20;
/// On average, before a call is decided from memory: the database is tried once a second, for a quarter of one.
const LONGEST_WAIT: Duration = Duration::from_millis(150);

/// Stands between the server and Postgres, and can be cut: then connections break and new ones are refused.
struct Line {
    port: u16,
    target: (String, u16),
    forwarding: Option<AbortHandle>,
}

impl Line {
    async fn to(options: &PgConnectOptions) -> Self {
        let mut line = Self { port: 0, target: (options.get_host().to_owned(), options.get_port()), forwarding: None };
        line.mend().await;
        line
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let target = self.target.clone();
        let forwarding = tokio::spawn(async move {
            // Dropped with the task, and with it all connections.
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
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
