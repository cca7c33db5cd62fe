//! The command itself: a process, its private Postgres, and what they leave behind.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use domain::instances::InstanceForm;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool};

use crate::{
    instances::{make, near, options},
    world::Key,
};

/// A data directory of its own, and everything that runs from it.
struct Site {
    dir: PathBuf,
    server: Option<Child>,
}

impl Site {
    fn new(name: &str) -> Self {
        // Short: the path of a socket has room for little.
        let dir = std::env::temp_dir().join(format!("bnc-{name}-{}", std::process::id()));
        Self { dir, server: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bouncer"));
        command
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env("BOUNCER_DATA_DIR", &self.dir)
            .env("BOUNCER_ADDR", "127.0.0.1:0")
            .env("BOUNCER_METRICS_ADDR", "off")
            .env("BOUNCER_CHEAP_PASSWORDS", "1")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} should fail");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts the server and waits until it listens.
    fn serve(&mut self) {
        let mut child = self.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("Bouncer listens on") {
                    _ = sender.send(());
                }
            }
        });
        self.server = Some(child);
        receiver.recv_timeout(Duration::from_secs(60)).expect("the server listens");
    }

    fn signal(&mut self, name: &str) -> Option<i32> {
        let mut child = self.server.take().unwrap();
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap().code()
    }

    /// The process number in the cluster's file, if there is one.
    fn postgres(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join("postgres/postmaster.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            _ = server.kill();
            _ = server.wait();
        }
        // Whatever still runs is stopped by the next command to leave.
        _ = self.run(&["audit", "verify"]);
        if let Ok(real) = self.dir.join("postgres").canonicalize()
            && !real.starts_with(&self.dir)
        {
            _ = std::fs::remove_dir_all(real.parent().unwrap_or(&real));
        }
        _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_key_can_be_made_used_and_revoked_from_the_shell() {
    let site = Site::new("shell");
    assert!(
        site.bad(&["keys", "create", "--name", "Shop", "--scope", "message:send"]).contains("bouncer admin create")
    );
    let mut admin = site
        .command(&[
            "admin",
            "create",
            "--organization",
            "Acme",
            "--email",
            "Ada@acme.example",
            "--password-stdin",
            "--json",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    admin.stdin.take().unwrap().write_all(b"correct horse battery staple\n").unwrap();
    let output = admin.wait_with_output().unwrap();
    assert!(output.status.success());
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["email"], "ada@acme.example");
    assert!(made["password"].is_null(), "a given password is not repeated");
    assert!(site.bad(&["admin", "create", "--organization", "Evil", "--email", "nonsense"]).contains("e-mail address"));
    let second: Value = serde_json::from_str(&site.good(&[
        "admin",
        "create",
        "--organization",
        "Other",
        "--email",
        "eve@other.example",
        "--json",
    ]))
    .unwrap();
    assert_eq!(second["password"].as_str().unwrap().len(), 24, "made up when nobody can be asked");

    let ambiguous = site.bad(&["keys", "create", "--name", "Shop", "--scope", "message:send"]);
    assert!(ambiguous.contains("Acme, Other"), "{ambiguous}");
    let text = site.good(&[
        "keys",
        "create",
        "--organization",
        "acme",
        "--name",
        "Shop",
        "--scope",
        "message:send",
        "--scope",
        "key:verify",
        "--environment",
        "test",
        "--expires-days",
        "12",
        "--allow-ip",
        "10.0.0.1/8",
        "--throttle",
        "random",
        "--json",
    ]);
    assert!(
        text.starts_with("{\"id\":\"key_") && text.ends_with("\"name\":\"Shop\",\"environment\":\"test\"}\n"),
        "{text}"
    );
    let key: Value = serde_json::from_str(&text).unwrap();
    assert!(key["key"].as_str().unwrap().starts_with("bnc_test_"));
    let taken = site.bad(&["keys", "create", "--organization", "Acme", "--name", "shop", "--scope", "message:send"]);
    assert!(taken.contains("already a key named"), "{taken}");
    let wrong = site.bad(&[
        "keys",
        "create",
        "--organization",
        "Acme",
        "--name",
        "X",
        "--scope",
        "message:fly",
        "--rate-limit",
        "many",
        "--throttle",
        "fast",
    ]);
    for option in ["--scope: ", "--rate-limit: ", "--throttle: "] {
        assert!(wrong.contains(option), "{wrong}");
    }
    let listed: Value =
        serde_json::from_str(&site.good(&["keys", "list", "--organization", "Acme", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["id"], &listed[0]["status"]), (&key["id"], &"Active".into()));
    assert!(!listed.to_string().contains(key["key"].as_str().unwrap()));

    let id = key["id"].as_str().unwrap();
    let unknown = "key_01jd3qz5k8e9rb1w0c5m2n6x7y";
    assert!(site.bad(&["keys", "revoke", id, unknown]).contains("Nothing was revoked"));
    // Two more keys of Acme's around one of Other's: one call revokes them all, each in its own organization's name.
    let make = |organization: &str, name: &str| {
        let text = site.good(&[
            "keys",
            "create",
            "--organization",
            organization,
            "--name",
            name,
            "--scope",
            "message:send",
            "--json",
        ]);
        serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let many = [make("Acme", "Till"), make("Other", "Shop"), make("Acme", "App")];
    assert!(site.good(&["keys", "revoke", id]).starts_with("Revoked 1 key."));
    let all = ["keys", "revoke", id, &many[0], &many[1], &many[2]];
    assert!(site.good(&all).starts_with("Revoked 3 keys."), "the one that was revoked before is passed over");
    for organization in ["Acme", "Other"] {
        assert!(site.good(&["keys", "list", "--organization", organization]).contains("no such keys"));
    }
    assert!(site.good(&["audit", "verify"]).contains("all as they were written"));
    assert!(site.good(&["migrate"]).contains("up to date"));
    let document: Value = serde_json::from_str(&site.good(&["openapi"])).unwrap();
    assert_eq!(document["info"]["title"], "Bouncer API");
    assert_eq!(site.postgres(), None, "no command leaves Postgres running");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn a_key_can_be_restricted_to_instances(pool: PgPool) {
    let world = near(options(&pool)).await;
    let mut ids = Vec::new();
    for name in ["One", "Two", "Three"] {
        ids.push(make(&world, world.acme, InstanceForm { name: name.into(), ..InstanceForm::default() }).await);
    }
    let create = |name: &str, instances: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bouncer"));
        command.args(["keys", "create", "--scope", "instance:read", "--json", "--name", name]);
        for instance in instances {
            command.args(["--instance", instance]);
        }
        command.env("DATABASE_URL", options(&pool).to_url_lossy().as_str()).output().unwrap()
    };
    let made = create("Two of three", &[ids[0].to_string(), ids[2].to_string()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = Key { id: made["id"].as_str().unwrap().parse().unwrap(), text: made["key"].as_str().unwrap().into() };
    assert_eq!(world.me(&key).await.json()["limits"]["allowedInstances"], json!([ids[0], ids[2]]));
    for (instance, told) in
        [("ins_x", "--instance"), ("ins_01jd3qz5k8e9rb1w0c5m2n6x7y", "One of these instances is not there any more.")]
    {
        let refused = create("Refused", &[instance.to_owned()]);
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && words.contains(told), "{words}");
    }
}

#[test]
fn a_server_shares_its_postgres_and_leaves_nothing_behind() {
    let mut site = Site::new("serve");
    site.serve();
    let running = site.postgres().expect("Postgres runs");
    site.good(&["admin", "create", "--organization", "Acme", "--email", "ada@acme.example"]);
    site.good(&["keys", "create", "--name", "Beside", "--scope", "message:send"]);
    let signing = ["keys", "create", "--name", "Signing", "--scope", "message:send", "--with-secret", "--json"];
    let made: Value = serde_json::from_str(&site.good(&signing)).unwrap();
    assert!(made["secret"].as_str().unwrap().starts_with("bnc_secret_"), "{made}");
    assert_eq!(site.postgres().as_deref(), Some(&*running), "commands attach to what runs");
    assert_eq!(site.signal("-TERM"), Some(0), "stopped in order");
    assert_eq!(site.postgres(), None);

    // Killed: Postgres goes on, and the next server attaches to it.
    site.serve();
    let before = site.postgres().unwrap();
    assert_eq!(site.signal("-KILL"), None);
    site.serve();
    assert_eq!(site.postgres(), Some(before.clone()));
    assert!(site.good(&["keys", "list"]).contains("Beside"));

    // Postgres itself is killed: the server starts it again.
    assert!(Command::new("kill").args(["-KILL", &before]).status().unwrap().success());
    let begun = Instant::now();
    while site.postgres().is_none_or(|pid| pid == before) {
        assert!(begun.elapsed() < Duration::from_secs(60), "Postgres is not started again");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(site.good(&["keys", "list"]).contains("Beside"));
    assert_eq!(site.signal("-TERM"), Some(0));
    assert_eq!(site.postgres(), None);
}

#[test]
fn two_commands_at_once_take_turns() {
    let site = Site::new("turns");
    site.good(&["admin", "create", "--organization", "Acme", "--email", "ada@acme.example"]);
    let children: Vec<Child> = (0..6)
        .map(|n| {
            site.command(&["keys", "create", "--name", &format!("Key {n}"), "--scope", "message:send"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(site.good(&["keys", "list"]).lines().count(), 6);
    assert_eq!(site.postgres(), None);
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let site = Site::new("wrong");
    let told = |name: &str, value: &str| {
        let output = site.command(&["keys", "list"]).env(name, value).output().unwrap();
        assert!(!output.status.success(), "{name}={value}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(told("DATABASE_URL", "mysql://nonsense:secret@x").contains("postgres://"));
    assert!(!told("DATABASE_URL", "nonsense:secret").contains("secret"));
    assert!(told("BOUNCER_PUBLIC_URL", "bouncer.example").contains("http://"));
    assert!(told("BOUNCER_TRUSTED_PROXIES", "10.0.0.0/99").contains("networks"));
    assert!(told("BOUNCER_KEY_PREFIX", "B!").contains("lower-case"));
    let short = site.command(&["serve"]).env("BOUNCER_SECRET", "short").output().unwrap();
    assert!(String::from_utf8(short.stderr).unwrap().contains("at least 32 characters"));
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = site.command(&["serve"]).env("BOUNCER_ADDR", busy.local_addr().unwrap().to_string()).output().unwrap();
    assert!(String::from_utf8(taken.stderr).unwrap().contains("listens on"));
}
