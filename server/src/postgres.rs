//! The private Postgres: without a `DATABASE_URL`, Bouncer runs one of its own in the data directory, from the
//! programs installed on the machine. It listens on a Unix socket that only its owner can reach, never on the network.
//!
//! ```text
//! {data}/postgres       the cluster
//! {data}/run            its socket; elsewhere when the path would be too long for one
//! {data}/postgres.lock  held while starting or stopping, so that processes take turns
//! {data}/postgres.users shared by all processes that use the cluster: the last one to leave stops it
//! ```
//! A process that was killed leaves the cluster running; the next one attaches to it. Postgres refuses to run as
//! root, so root runs it as the user `postgres` or `nobody`; where that user cannot enter the data directory
//! (below `/root`, say), cluster and socket live in `/var/lib/bouncer-…` and the data directory has a link to them.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};
use tokio::process::Command;

use crate::config::Failure;

const USER: &str = "bouncer";
const PORT: u16 = 5432;
/// Older ones lack what the schema uses.
const OLDEST: u32 = 14;
/// Unix sockets have room for 107 bytes of path; the file is called `.s.PGSQL.5432`.
const LONGEST_SOCKET_DIR: usize = 107 - "/.s.PGSQL.5432".len();
/// Recovery after a crash may take its time.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running private cluster, in use by this process.
pub struct Cluster {
    layout: Layout,
    programs: Programs,
    /// Holding the shared lock is what counts.
    users: File,
    socket_dir: PathBuf,
}

impl Cluster {
    /// Attaches to the cluster of the data directory; makes and starts it first where needed.
    ///
    /// # Errors
    /// With a sentence that says what to install or to change.
    pub async fn attach(data_dir: &Path) -> Result<Self, Failure> {
        let account = Account::choose()?;
        let layout = Layout::prepare(data_dir, account)?;
        let programs = Programs::find(layout.version())?;
        let turn = layout.take_turn().await?;
        let users = layout.lock_file("postgres.users")?;
        users.lock_shared().map_err(|error| Failure(format!("{}: {error}", layout.data.display())))?;
        if !layout.cluster.join("PG_VERSION").exists() {
            programs.init(&layout).await?;
        }
        let socket_dir = match programs.running(&layout).await? {
            Some(socket_dir) => socket_dir,
            None => programs.start(&layout).await?,
        };
        let cluster = Self { layout, programs, users, socket_dir };
        cluster.make_database().await?;
        drop(turn);
        Ok(cluster)
    }

    pub fn options(&self) -> PgConnectOptions {
        options(&self.socket_dir)
    }

    /// Starts the cluster again if it ended, as when the system ran out of memory. `true`: it had ended.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn revive(&self) -> Result<bool, Failure> {
        let turn = self.layout.take_turn().await?;
        let ended = self.programs.running(&self.layout).await?.is_none();
        if ended {
            self.programs.start(&self.layout).await?;
        }
        drop(turn);
        Ok(ended)
    }

    async fn make_database(&self) -> Result<(), Failure> {
        let fail = |error: sqlx::Error| Failure(format!("The private Postgres does not answer: {error}"));
        let mut connection = self.options().database("postgres").connect().await.map_err(fail)?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = 'bouncer')")
            .fetch_one(&mut connection)
            .await
            .map_err(fail)?;
        if !exists {
            sqlx::query("create database bouncer").execute(&mut connection).await.map_err(fail)?;
        }
        connection.close().await.map_err(fail)
    }

    /// Leaves the cluster; stops it when no other process uses it.
    pub async fn release(self) -> Result<(), Failure> {
        let turn = self.layout.take_turn().await?;
        // Whoever gets the file alone is the last one.
        let last = match self.users.unlock().and_then(|()| match self.users.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }) {
            Ok(last) => last,
            Err(error) => return Err(Failure(format!("{}: {error}", self.layout.data.display()))),
        };
        if last {
            self.programs.stop(&self.layout).await?;
        }
        drop(turn);
        Ok(())
    }
}

fn options(socket_dir: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(PORT)
        .username(USER)
        .database("bouncer")
        .ssl_mode(sqlx::postgres::PgSslMode::Disable)
        .application_name("bouncer")
}

/// As whom Postgres runs.
#[derive(Debug, Clone, Copy)]
enum Account {
    /// As we do.
    Same,
    /// We are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    fn choose() -> Result<Self, Failure> {
        if our_uid() != Some(0) {
            return Ok(Self::Same);
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| account(&accounts, name))
            .map(|(uid, gid)| Self::Other { uid, gid })
            .ok_or_else(|| {
                Failure::new("Postgres does not run as root, and there is neither a user “postgres” nor “nobody” to run it as. Run Bouncer as an ordinary user, or set DATABASE_URL.")
            })
    }

    fn own(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
        }
    }
}

/// Our user: the owner of what we make. Linux also tells it in /proc, macOS does not.
fn our_uid() -> Option<u32> {
    if let Ok(me) = fs::metadata("/proc/self") {
        return Some(me.uid());
    }
    let probe = std::env::temp_dir().join(format!("bouncer-uid-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe).ok()?;
    let uid = file.metadata().ok().map(|m| m.uid());
    _ = fs::remove_file(probe);
    uid
}

/// Finds (uid, gid) in the form of `/etc/passwd`.
fn account(accounts: &str, name: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })
}

/// Where things are.
struct Layout {
    data: PathBuf,
    cluster: PathBuf,
    socket_dir: PathBuf,
    account: Account,
}

impl Layout {
    fn prepare(data_dir: &Path, account: Account) -> Result<Self, Failure> {
        let fail = |path: &Path, error: io::Error| Failure(format!("{}: {error}", path.display()));
        let as_root = matches!(account, Account::Other { .. });
        if !data_dir.exists() {
            // Root's Postgres has to pass through; the secret in it is a file of its own with mode 0600.
            let mode = if as_root { 0o711 } else { 0o700 };
            fs::DirBuilder::new().recursive(true).mode(mode).create(data_dir).map_err(|e| fail(data_dir, e))?;
        }
        let data = data_dir.canonicalize().map_err(|e| fail(data_dir, e))?;
        let mut base = data.clone();
        let link = data.join("postgres");
        if let Account::Other { uid, gid } = account {
            let elsewhere = fs::symlink_metadata(&link).is_ok_and(|m| m.is_symlink());
            if elsewhere || !may_enter(&data, uid, gid) {
                base = PathBuf::from(format!("/var/lib/bouncer-{}", short_hash(&data)));
                make_dir(&base, 0o711).map_err(|e| fail(&base, e))?;
                if !elsewhere {
                    std::os::unix::fs::symlink(base.join("postgres"), &link).map_err(|e| fail(&link, e))?;
                }
            }
        }
        let mut socket_dir = base.join("run");
        if socket_dir.as_os_str().len() > LONGEST_SOCKET_DIR {
            socket_dir = std::env::temp_dir().join(format!("bouncer-{}", short_hash(&data)));
        }
        make_dir(&socket_dir, 0o700).map_err(|e| fail(&socket_dir, e))?;
        // In a directory for everybody, somebody else may have been there first.
        let owner = fs::symlink_metadata(&socket_dir).map_err(|e| fail(&socket_dir, e))?;
        let mine = match account {
            Account::Same => our_uid().is_none_or(|uid| owner.uid() == uid),
            Account::Other { uid, .. } => owner.uid() == uid || owner.uid() == 0,
        };
        if !owner.is_dir() || !mine {
            return Err(Failure(format!(
                "{} belongs to somebody else. Choose another BOUNCER_DATA_DIR.",
                socket_dir.display()
            )));
        }
        fs::set_permissions(&socket_dir, Permissions::from_mode(0o700)).map_err(|e| fail(&socket_dir, e))?;
        account.own(&socket_dir).map_err(|e| fail(&socket_dir, e))?;
        Ok(Self { data, cluster: base.join("postgres"), socket_dir, account })
    }

    /// The major version that made the cluster, if there is one.
    fn version(&self) -> Option<u32> {
        fs::read_to_string(self.cluster.join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    fn lock_file(&self, name: &str) -> Result<File, Failure> {
        let path = self.data.join(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure(format!("{}: {error}", path.display())))
    }

    /// Waits until no other process starts or stops the cluster. The turn ends when the file is dropped.
    async fn take_turn(&self) -> Result<File, Failure> {
        let file = self.lock_file("postgres.lock")?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if begun.elapsed() < START_TIMEOUT => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    return Err(Failure(format!(
                        "Another process does not finish starting or stopping Postgres in {}: {error}",
                        self.data.display()
                    )));
                }
            }
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// May the user pass through this directory and all above it?
fn may_enter(directory: &Path, uid: u32, gid: u32) -> bool {
    directory.ancestors().all(|dir| {
        fs::metadata(dir).is_ok_and(|m| {
            let bit = if m.uid() == uid {
                0o100
            } else if m.gid() == gid {
                0o010
            } else {
                0o001
            };
            m.mode() & bit != 0
        })
    })
}

fn short_hash(path: &Path) -> String {
    Sha256::digest(path.as_os_str().as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// `initdb`, `pg_ctl` and `postgres` of one version.
struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// The newest programs, or those of the version that made the cluster.
    fn find(wanted: Option<u32>) -> Result<Self, Failure> {
        let mut found: Vec<(u32, PathBuf)> = Vec::new();
        for bin in candidates() {
            if ["initdb", "pg_ctl", "postgres"].iter().all(|program| bin.join(program).exists())
                && !found.iter().any(|(_, known)| *known == bin)
                && let Some(version) = version_of(&bin)
            {
                found.push((version, bin));
            }
        }
        // Stable: of several with the same version the first stays first.
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        let newest = found.first().map(|(version, _)| *version);
        let fitting = found.into_iter().find(|(version, _)| match wanted {
            Some(wanted) => *version == wanted,
            None => *version >= OLDEST,
        });
        match (fitting, wanted, newest) {
            (Some((_, bin)), ..) => Ok(Self { bin }),
            (None, Some(wanted), _) => Err(Failure(format!(
                "The data directory was made by Postgres {wanted}, whose programs are not installed. On Debian or Ubuntu: apt-get install postgresql-{wanted}"
            ))),
            (None, None, Some(newest)) => Err(Failure(format!(
                "Postgres {newest} is installed, but {OLDEST} or newer is needed. Install a newer one, or set DATABASE_URL."
            ))),
            (None, None, None) => Err(Failure::new(
                "No Postgres is installed. On Debian or Ubuntu: apt-get install postgresql. Or set DATABASE_URL to one that runs elsewhere.",
            )),
        }
    }

    /// A program with a clean environment, as the right user.
    fn command(&self, program: &str, layout: &Layout) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            // The working directory may be closed to the other user.
            .current_dir("/")
            .stdin(Stdio::null());
        if let Account::Other { uid, gid } = layout.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    async fn run(&self, mut command: Command) -> Result<Output, Failure> {
        command
            .output()
            .await
            .map_err(|error| Failure(format!("{} cannot be run: {error}", command.as_std().get_program().display())))
    }

    async fn init(&self, layout: &Layout) -> Result<(), Failure> {
        tracing::info!("making a private Postgres in {}", layout.cluster.display());
        let fail = |error: io::Error| Failure(format!("{}: {error}", layout.cluster.display()));
        // Made aside and moved into place: an interrupted attempt leaves nothing that looks like a cluster.
        let draft = layout.cluster.with_file_name("postgres.new");
        let mut output = None;
        // Names are compared without case: that needs a locale that knows letters, which not every system has.
        for locale in ["C.UTF-8", "C"] {
            if draft.exists() {
                fs::remove_dir_all(&draft).map_err(fail)?;
            }
            make_dir(&draft, 0o700).map_err(fail)?;
            layout.account.own(&draft).map_err(fail)?;
            let mut initdb = self.command("initdb", layout);
            initdb.arg("--pgdata").arg(&draft).args([
                "--username",
                USER,
                "--auth=trust",
                "--encoding=UTF8",
                "--data-checksums",
                // A commit that needs a new file of the log waits until it is written full of zeros: with the usual
                // 16 MB for 50 ms, with 1 MB for 3.
                "--wal-segsize=1",
                "--no-instructions",
                "--locale",
                locale,
            ]);
            let answer = self.run(initdb).await?;
            if answer.status.success() {
                // A directory left by an attempt of long ago may be in the way; it holds no cluster.
                if layout.cluster.exists() {
                    fs::remove_dir(&layout.cluster).map_err(fail)?;
                }
                return fs::rename(&draft, &layout.cluster).map_err(fail);
            }
            output = Some(answer);
        }
        Err(said("initdb failed", output.as_ref()))
    }

    /// The socket directory of the cluster, if it runs.
    async fn running(&self, layout: &Layout) -> Result<Option<PathBuf>, Failure> {
        if !self.has_process(layout).await? {
            return Ok(None);
        }
        // A process has the number that the cluster had; after a crash it may be another one. Lines of the file: pid,
        // directory, start time, port, socket directory, …
        let file = layout.cluster.join("postmaster.pid");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines.next().unwrap_or_default().trim();
        let socket_dir = lines.nth(3).map_or(layout.socket_dir.clone(), PathBuf::from);
        if answers(&socket_dir, Duration::from_secs(2)).await.is_ok() {
            return Ok(Some(socket_dir));
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if Path::new("/proc/self/comm").exists() && !name.starts_with("postgres") && !name.starts_with("postmaster") {
            tracing::warn!("Postgres ended without cleaning up; starting it again");
            fs::remove_file(&file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
            return Ok(None);
        }
        match answers(&socket_dir, START_TIMEOUT).await {
            Ok(()) => Ok(Some(socket_dir)),
            Err(error) => Err(Failure(format!(
                "The private Postgres runs (process {pid}) but does not answer: {error}. Its log: {}",
                layout.cluster.join("log").display()
            ))),
        }
    }

    async fn start(&self, layout: &Layout) -> Result<PathBuf, Failure> {
        let fail = |path: &Path, error: io::Error| Failure(format!("{}: {error}", path.display()));
        let conf = layout.cluster.join("postgresql.conf");
        // The cluster is ours alone, so its settings are written anew at each start: an update brings its own.
        fs::write(&conf, configuration(&layout.socket_dir)).map_err(|e| fail(&conf, e))?;
        layout.account.own(&conf).map_err(|e| fail(&conf, e))?;
        let log = layout.cluster.join("startup.log");
        let mut start = self.command("pg_ctl", layout);
        // pg_ctl puts the server into a session of its own: Ctrl-C at the terminal reaches Bouncer only, which stops
        // Postgres after it has written what it still holds.
        start
            .args(["start", "--wait", "--silent", "--timeout"])
            .arg(START_TIMEOUT.as_secs().to_string())
            .arg("-D")
            .arg(&layout.cluster)
            .arg("--log")
            .arg(&log)
            // The server inherits these; a pipe would keep us waiting for as long as it lives.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = start
            .status()
            .await
            .map_err(|error| Failure(format!("{} cannot be run: {error}", self.bin.join("pg_ctl").display())))?;
        if !status.success() {
            let last: Vec<String> =
                fs::read_to_string(&log).unwrap_or_default().lines().rev().take(5).map(str::to_owned).collect();
            let said: Vec<String> = last.into_iter().rev().collect();
            return Err(Failure(format!(
                "The private Postgres does not start. Its log {} ends with:\n{}",
                log.display(),
                said.join("\n")
            )));
        }
        Ok(layout.socket_dir.clone())
    }

    async fn stop(&self, layout: &Layout) -> Result<(), Failure> {
        let mut stop = self.command("pg_ctl", layout);
        stop.args(["stop", "--wait", "--silent", "--mode", "fast", "-D"]).arg(&layout.cluster);
        let output = self.run(stop).await?;
        // It may have ended by itself, or been ended by somebody else.
        if output.status.success() || !self.has_process(layout).await? {
            Ok(())
        } else {
            Err(said("Postgres does not stop", Some(&output)))
        }
    }

    /// Is there a process with the number that the cluster had last?
    async fn has_process(&self, layout: &Layout) -> Result<bool, Failure> {
        let mut status = self.command("pg_ctl", layout);
        status.arg("status").arg("-D").arg(&layout.cluster);
        Ok(self.run(status).await?.status.success())
    }
}

fn said(what: &str, output: Option<&Output>) -> Failure {
    let text = output.map(|o| String::from_utf8_lossy(&o.stderr).trim().to_owned()).unwrap_or_default();
    Failure(format!("{what}: {text}"))
}

/// Tries to connect until it works; a server that is starting or recovering says so and is waited for.
async fn answers(socket_dir: &Path, patience: Duration) -> Result<(), sqlx::Error> {
    let begun = Instant::now();
    loop {
        match options(socket_dir).database("postgres").connect().await {
            Ok(connection) => return connection.close().await,
            Err(error) if begun.elapsed() >= patience => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What `make bench` measures with, too.
const TUNING: &str = include_str!("postgres.conf");

fn configuration(socket_dir: &Path) -> String {
    let dir = socket_dir.display().to_string().replace('\'', "''");
    format!(
        "# Written by Bouncer at each start.\n\
         listen_addresses = ''\n\
         port = {PORT}\n\
         unix_socket_directories = '{dir}'\n\
         unix_socket_permissions = 0700\n\
         {TUNING}\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         logging_collector = on\n\
         log_directory = 'log'\n\
         log_filename = 'postgres-%a.log'\n\
         log_truncate_on_rotation = on\n\
         log_rotation_age = 1d\n\
         log_rotation_size = 0\n"
    )
}

/// Directories that may hold the programs, the preferred ones first.
fn candidates() -> Vec<PathBuf> {
    let mut bins = Vec::new();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&on_path) {
        // Links lead to the directory that also holds the rest.
        if let Ok(real) = dir.join("initdb").canonicalize()
            && let Some(parent) = real.parent()
        {
            bins.push(parent.to_owned());
        }
    }
    // Debian and Ubuntu, Red Hat, the default of `make install`, Homebrew on Apple and Intel machines.
    for (dir, prefix, bin) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/local", "pgsql", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
    ] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
                let path = entry.path().join(bin);
                bins.push(path.canonicalize().unwrap_or(path));
            }
        }
    }
    bins
}

/// The major version of the programs in a directory: “postgres (PostgreSQL) 17.6 (Debian …)” is 17.
fn version_of(bin: &Path) -> Option<u32> {
    let output = std::process::Command::new(bin.join("postgres"))
        .arg(OsStr::new("--version"))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systems_say() {
        assert_eq!(major("postgres (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)\n"), Some(17));
        assert_eq!(major("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major("postgres"), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(account(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(account(passwd, "postgres"), None);
    }

    #[test]
    fn quotes_the_socket_directory() {
        assert!(configuration(Path::new("/it's here")).contains("unix_socket_directories = '/it''s here'\n"));
    }

    #[test]
    fn the_way_must_be_open_for_the_other_user() {
        let root = std::env::temp_dir().join(format!("bouncer-way-{}", uuid::Uuid::new_v4()));
        let inner = root.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o711)).unwrap();
        let open = may_enter(&inner, 65_000, 65_000);
        // The temporary directory itself may be private.
        assert_eq!(open, may_enter(root.parent().unwrap(), 65_000, 65_000));
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        assert!(!may_enter(&inner, 65_000, 65_000));
        fs::remove_dir_all(root).unwrap();
    }
}
