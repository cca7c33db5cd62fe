//! The real binary, and what it needs.

use std::{
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use domain::{
    Db,
    ids::{InstanceId, KeyId, OrgId},
    instances::{self, Credentials, NewInstance, Session, Settings, Status, WahaSettings},
    keys::{self, KeyForm},
    people::{
        Actor,
        passwords::{Cost, Hasher},
        sign_in,
    },
    seal::Sealer,
    secret::{ExposeSecret, SecretString},
};
use server::postgres::Cluster;
use sqlx::{ConnectOptions, PgPool};

const SECRET: &str = "a secret for tests, long enough to be one";

/// A key and its only copy.
#[derive(Clone)]
pub struct Key {
    pub id: KeyId,
    pub text: String,
}

/// A database with an organization in it.
pub struct House {
    pub db: Db,
    organization: OrgId,
    data: PathBuf,
    database_url: Option<String>,
    cluster: Option<Cluster>,
}

impl House {
    /// In the database of a test.
    pub async fn on(pool: &PgPool) -> Self {
        let options = pool.connect_options();
        let url = options.to_url_lossy().to_string();
        Self::with(Db::open(options.as_ref().clone(), 6), Some(url), None, data_dir()).await
    }

    /// With a Postgres that Bouncer runs itself.
    pub async fn private() -> Self {
        let data = data_dir();
        let cluster = Cluster::attach(&data).await.unwrap();
        let db = Db::open(cluster.options(), 6);
        db.migrate().await.unwrap();
        Self::with(db, None, Some(cluster), data).await
    }

    async fn with(db: Db, database_url: Option<String>, cluster: Option<Cluster>, data: PathBuf) -> Self {
        let hasher = Hasher::new(Cost::Test, 1).unwrap();
        let password = SecretString::from("correct horse battery staple");
        let (_, organization) =
            sign_in::create_organization(&db, &hasher, "Acme", "Ada", "ada@acme.example", &password, None)
                .await
                .unwrap();
        Self { db, organization, data, database_url, cluster }
    }

    pub fn actor(&self) -> Actor {
        Actor { organization_id: self.organization, person_id: None, name: "test".into(), ip: None, role: None }
    }

    /// A connected number behind a WAHA server.
    pub async fn waha(&self, url: &str) -> InstanceId {
        let new = NewInstance {
            name: format!("Number {}", uuid::Uuid::now_v7()),
            settings: Settings::Waha(WahaSettings { base_url: url.into(), session: "default".into() }),
            credentials: Credentials::default(),
        };
        let sealer = Sealer::new(&SecretString::from(SECRET));
        let id = instances::store::create(&self.db, &sealer, &self.actor(), new, None).await.unwrap();
        let session = Session { status: Status::Connected, detail: "WORKING".into(), phone: None };
        instances::store::tell(&self.db, self.organization, id, &session, chrono::Utc::now()).await.unwrap();
        id
    }

    /// A key that may send without limits.
    pub async fn key(&self, name: &str, change: impl FnOnce(&mut KeyForm)) -> Key {
        let mut form = KeyForm {
            name: name.into(),
            scopes: vec!["message:send".into()],
            scope_group: String::new(),
            rate_limit: String::new(),
            max_queue: "10000".into(),
            ..KeyForm::default()
        };
        change(&mut form);
        let new = form.parse(chrono::Utc::now(), None).unwrap();
        let issued = keys::store::create(&self.db, &self.actor(), new, None, "bnc").await.unwrap();
        Key { id: issued.id, text: issued.text.expose_secret().to_owned() }
    }

    /// What every server of this house is started with.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("BOUNCER_DATA_DIR", self.data.display().to_string()),
            ("BOUNCER_METRICS_ADDR", "off".into()),
            ("BOUNCER_SECRET", SECRET.into()),
            ("BOUNCER_CHEAP_PASSWORDS", "true".into()),
            ("BOUNCER_ALLOW_PRIVATE_PROVIDERS", "127.0.0.0/8".into()),
        ];
        settings.extend(self.database_url.iter().map(|url| ("DATABASE_URL", url.clone())));
        settings
    }

    /// Waits until nothing is left to be sent.
    pub async fn until_all_left(&self, patience: Duration) {
        let begun = Instant::now();
        loop {
            let left: Result<Vec<(String, i64)>, _> =
                sqlx::query_as("select state, count(*) from outbox group by state").fetch_all(self.db.system()).await;
            match left {
                Ok(left) if left.is_empty() => return,
                left => assert!(begun.elapsed() < patience, "still there: {left:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As `pg_ctl stop --mode=immediate` does: connections are cut in the middle of things, nothing is written out.
    pub fn stop_postgres_at_once(&self) {
        let pid_file = self.data.join("postgres/postmaster.pid");
        let text = std::fs::read_to_string(&pid_file).unwrap_or_else(|error| panic!("{}: {error}", pid_file.display()));
        signal("QUIT", text.lines().next().unwrap());
    }

    /// Bouncer starts it again.
    pub async fn until_postgres_is_back(&self) {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(200)).await;
        while self.db.ping().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "Postgres does not come back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn take_down(mut self) {
        self.db.close().await;
        if let Some(cluster) = self.cluster.take() {
            cluster.release().await.unwrap();
        }
        // Behind a link, where root had Postgres run as somebody else.
        if let Ok(cluster) = std::fs::canonicalize(self.data.join("postgres")) {
            _ = std::fs::remove_dir_all(cluster);
        }
    }
}

/// What a test that went well leaves behind is of no use to anybody.
impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.cluster.is_none() {
            _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

fn data_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bouncer-reliability-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&dir).unwrap();
    // Postgres may run as another user.
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// A running server. Dropped, it is killed.
pub struct Bouncer {
    child: Child,
    port: u16,
    settings: Vec<(&'static str, String)>,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Bouncer {
    /// On a free port; ready when this returns.
    pub async fn start(settings: &[(&'static str, String)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::on(port, settings.to_vec()).await
    }

    async fn on(port: u16, settings: Vec<(&'static str, String)>) -> Self {
        let data = settings.iter().find(|(name, _)| *name == "BOUNCER_DATA_DIR").unwrap().1.clone();
        let log = File::options().create(true).append(true).open(format!("{data}/log-{port}")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bouncer"))
            .env_remove("DATABASE_URL")
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .env("BOUNCER_ADDR", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut bouncer = Self { child, port, settings };
        let begun = Instant::now();
        while !bouncer.is_ready().await {
            if let Some(status) = bouncer.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", std::fs::read_to_string(format!("{data}/log-{port}")).unwrap());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not become ready");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        bouncer
    }

    /// The same once more.
    pub async fn again(mut self) -> Self {
        self.kill();
        Self::on(self.port, std::mem::take(&mut self.settings)).await
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn is_ready(&self) -> bool {
        crate::clients::status(&format!("{}/readyz", self.url())).await == Some(200)
    }

    /// `kill -9`; harmless when it has ended.
    pub fn kill(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        signal("TERM", &self.child.id().to_string());
    }

    /// Waits until it takes no new connections.
    pub async fn until_closed(&self) {
        let begun = Instant::now();
        while crate::clients::status(&format!("{}/healthz", self.url())).await.is_some() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it still takes new calls");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn terminate_only(&mut self) {
        self.ask_to_stop();
        self.until_ended().await;
    }

    /// It must end by itself and say that all is well.
    pub async fn until_ended(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "it ended with {status}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn terminate(mut self) {
        self.terminate_only().await;
    }
}
