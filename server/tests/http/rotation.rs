//! `bouncer secrets rotate`: the command itself, over a database that a server has written.

use std::process::{Command, Output};

use domain::{instances::InstanceForm, seal::Sealer, secret::SecretString};
use sqlx::{ConnectOptions as _, PgPool};

use crate::{
    instances::{cloud, make, near, options},
    mocks,
};

const OLD: &str = "a secret for tests, long enough to be one";
const NEW: &str = "another secret for tests, as long as the first";

fn rotate(pool: &PgPool, secret: &str, old: Option<&str>) -> Output {
    let url = options(pool).to_url_lossy();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bouncer"));
    command
        .args(["secrets", "rotate"])
        .env("DATABASE_URL", url.as_str())
        .env("BOUNCER_SECRET", secret)
        .env_remove("BOUNCER_OLD_SECRET");
    if let Some(old) = old {
        command.env("BOUNCER_OLD_SECRET", old);
    }
    command.output().unwrap()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_secret_can_be_changed(pool: PgPool) {
    let world = near(options(&pool)).await;
    let id = make(&world, world.acme, cloud("Cloud", "https://graph.facebook.com")).await;
    make(&world, world.acme, InstanceForm { name: "Try".into(), ..InstanceForm::default() }).await;
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();

    // Without the old secret nothing can be opened; it is named and stays.
    let lost = rotate(&pool, NEW, None);
    assert!(!lost.status.success());
    let told = String::from_utf8(lost.stderr).unwrap();
    assert!(told.contains(&id.0.to_string()) && told.contains("instances.credentials"), "{told}");
    assert!(!told.contains(mocks::TOKEN) && !told.contains(NEW), "{told}");

    let done = rotate(&pool, NEW, Some(OLD));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(text(&done), "1 sealed anew, 0 were sealed with the current secret already.\n");
    let again = rotate(&pool, NEW, Some(OLD));
    assert_eq!(text(&again), "0 sealed anew, 1 were sealed with the current secret already.\n");

    let sealed: String = sqlx::query_scalar("select credentials from instances where id = $1")
        .bind(id.0)
        .fetch_one(world.db.system())
        .await
        .unwrap();
    let context = format!("instance/{id}");
    let plain = Sealer::new(&SecretString::from(NEW)).open(&context, &sealed).unwrap();
    assert!(String::from_utf8(plain).unwrap().contains(mocks::TOKEN));
    assert!(Sealer::new(&SecretString::from(OLD)).open(&context, &sealed).is_err());
}
