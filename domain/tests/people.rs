//! People, invitations, sessions and the audit log against a real Postgres.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say so at once")]

mod common;

use chrono::{Duration, Utc};
use common::{PASSWORD, World};
use domain::{
    Db, Error,
    audit::store::{Verdict, page, verify},
    people::{
        Actor, Role, invitations, members,
        passwords::{Cost, Hasher},
        sessions, sign_in,
    },
    secret::{ExposeSecret, SecretString},
};
use futures::future::join_all;
use serde_json::json;
use sqlx::PgPool;

fn message(error: Error) -> String {
    match error {
        Error::Invalid(errors) => errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect(),
        other => other.to_string(),
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn set_up_happens_once(pool: PgPool) {
    let db = Db::open(pool.connect_options().as_ref().clone(), 4);
    let hasher = Hasher::new(Cost::Test, 4).unwrap();
    let set_up = async |organization: &str, name: &str, email: &str, password: &str| {
        sign_in::setup(&db, &hasher, organization, name, email, &SecretString::from(password), None).await
    };
    let Err(Error::Invalid(errors)) = set_up("", " ", "b@b", "short").await else { panic!("all fields are wrong") };
    assert_eq!(
        errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
        ["organization", "name", "email", "password"]
    );
    let (a, b) =
        tokio::join!(set_up("A", "A", "owner@acme.example", PASSWORD), set_up("B", "B", "b@b.example", PASSWORD));
    assert!(a.is_ok() != b.is_ok(), "two who set up at once make one organization");
    assert!(sign_in::any_organization(&db).await.unwrap());

    // From now on everybody hears the same, so that nobody learns who exists or what their password is.
    let known = if a.is_ok() { "owner@acme.example" } else { "b@b.example" };
    for (email, password) in
        [(known, PASSWORD), (known, "wrong wrong wrong"), ("nobody@acme.example", PASSWORD), ("", "short")]
    {
        let again = set_up("C", "C", email, password).await;
        let Err(Error::Conflict(text)) = again else { panic!("{email} {password}: {again:?}") };
        assert_eq!(text, "This Bouncer is already set up. Sign in, or ask an admin for an invitation.");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn signing_in_tells_nothing_and_gets_slow(pool: PgPool) {
    let world = World::new(&pool).await;
    let ip = Some("198.51.100.7".parse().unwrap());
    let attempt = async |email: &str, password: &str| {
        sign_in::sign_in(&world.db, &world.hasher, email, &SecretString::from(password), ip).await
    };
    assert!(attempt(" OWNER@acme.example ", PASSWORD).await.is_ok());
    let unknown = message(attempt("nobody@acme.example", PASSWORD).await.unwrap_err());
    let wrong = message(attempt("owner@acme.example", "wrong wrong wrong").await.unwrap_err());
    assert_eq!(unknown, wrong);
    for _ in 0..9 {
        assert!(matches!(attempt("owner@acme.example", "wrong").await, Err(Error::Invalid(_))));
    }
    let Err(Error::Limited { retry_after_s }) = attempt("owner@acme.example", PASSWORD).await else {
        panic!("ten failures are enough, even with the right password")
    };
    assert!((800..=901).contains(&retry_after_s), "{retry_after_s}");
    sqlx::query("update sign_in_failures set at = at - interval '15 minutes'").execute(&pool).await.unwrap();
    assert!(attempt("owner@acme.example", PASSWORD).await.is_ok());
}

/// Failures that are written down.
async fn failures(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from sign_in_failures").fetch_one(pool).await.unwrap()
}

/// How many of these answers said that the password is wrong; all others were too many.
fn wrong<T: std::fmt::Debug>(answers: Vec<Result<T, Error>>) -> usize {
    answers
        .iter()
        .filter(|answer| match answer {
            Err(Error::Invalid(_)) => true,
            Err(Error::Limited { .. }) => false,
            other => panic!("{other:?}"),
        })
        .count()
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn guesses_at_once_are_counted_before_they_are_checked(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, hasher, owner) = (&world.db, &world.hasher, &world.owner);
    let guess = SecretString::from("wrong wrong wrong");
    let ip = |n: usize| Some(format!("198.51.100.{n}").parse().unwrap());

    // From everywhere at one account,
    let answers = join_all((0..40).map(|n| sign_in::sign_in(db, hasher, "owner@acme.example", &guess, ip(n)))).await;
    assert_eq!(wrong(answers), 10);
    sqlx::query("delete from sign_in_failures").execute(&pool).await.unwrap();
    // from one address at many accounts,
    let emails: Vec<_> = (0..80).map(|n| format!("{n}@acme.example")).collect();
    let answers = join_all(emails.iter().map(|email| sign_in::sign_in(db, hasher, email, &guess, ip(1)))).await;
    assert_eq!(wrong(answers), 50);
    sqlx::query("delete from sign_in_failures").execute(&pool).await.unwrap();
    // where somebody changes their password, and where they join an organization.
    let other = world.other_organization().await;
    let (_, token) = invitations::create(db, &other, "owner@acme.example", Role::Viewer).await.unwrap();
    let current = SecretString::from(PASSWORD);
    let change = join_all((0..20).map(|_| sign_in::change_password(db, hasher, owner, &guess, &current)));
    let join = join_all((0..20).map(|n| invitations::accept(db, hasher, token.expose_secret(), "", &guess, ip(n))));
    let (change, join) = tokio::join!(change, join);
    assert_eq!(wrong(change) + wrong(join), 10, "all count together");
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn who_knows_the_password_is_not_counted(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, hasher, owner) = (&world.db, &world.hasher, &world.owner);
    let (right, guess) = (SecretString::from(PASSWORD), SecretString::from("wrong wrong wrong"));
    let attempt = |password| sign_in::sign_in(db, hasher, "owner@acme.example", password, owner.ip);
    attempt(&right).await.unwrap();
    assert_eq!(failures(&pool).await, 0);
    // One who mistypes and then does not: the address remembers, the account is as new.
    attempt(&guess).await.unwrap_err();
    assert_eq!(failures(&pool).await, 2);
    attempt(&right).await.unwrap();
    assert_eq!(failures(&pool).await, 1);
    for round in 0..5 {
        for answer in join_all((0..8).map(|_| attempt(&right))).await {
            answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
    }
    sign_in::change_password(db, hasher, owner, &right, &SecretString::from("another long phrase")).await.unwrap();
    assert_eq!(failures(&pool).await, 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn an_invitation_works_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, owner) = (&world.db, &world.owner);
    let (id, token) = invitations::create(db, owner, "Eve@Acme.example", Role::Developer).await.unwrap();
    assert!(matches!(invitations::create(db, owner, "eve@acme.example", Role::Viewer).await, Err(Error::Invalid(_))));
    let offer = invitations::offer(db, token.expose_secret()).await.unwrap();
    assert_eq!((offer.email.as_str(), offer.role, offer.has_account), ("eve@acme.example", Role::Developer, false));
    let accept = async |name: &str, password: &str| {
        invitations::accept(db, &world.hasher, token.expose_secret(), name, &SecretString::from(password), None).await
    };
    assert!(matches!(accept("Eve", "short").await, Err(Error::Invalid(_))));
    let (eve, organization) = accept("Eve", PASSWORD).await.unwrap();
    assert_eq!(organization, world.org());
    assert!(matches!(accept("Eve", PASSWORD).await, Err(Error::NotFound)));
    assert!(matches!(invitations::revoke(db, owner, id).await, Err(Error::NotFound)));
    let viewer = sign_in::viewer(db, eve, organization).await.unwrap().unwrap();
    assert_eq!((viewer.role, viewer.organization_name.as_str()), (Role::Developer, "Acme"));

    // A known person joins with the password they have; the link alone is not enough.
    let other = world.other_organization().await;
    let (_, token) = invitations::create(db, &other, "eve@acme.example", Role::Viewer).await.unwrap();
    let wrong =
        invitations::accept(db, &world.hasher, token.expose_secret(), "", &SecretString::from("not hers at all"), None)
            .await;
    assert!(matches!(wrong, Err(Error::Invalid(_))));
    let (same, _) =
        invitations::accept(db, &world.hasher, token.expose_secret(), "", &SecretString::from(PASSWORD), None)
            .await
            .unwrap();
    assert_eq!(same, eve);
    assert_eq!(sign_in::viewer(db, eve, world.org()).await.unwrap().unwrap().organizations.len(), 2);

    let (_, expired) = invitations::create(db, owner, "late@acme.example", Role::Viewer).await.unwrap();
    sqlx::query("update invitations set expires_at = now() where email = 'late@acme.example'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(matches!(invitations::offer(db, expired.expose_secret()).await, Err(Error::NotFound)));
    invitations::create(db, owner, "late@acme.example", Role::Viewer).await.unwrap();
    assert_eq!(invitations::list(db, world.org()).await.unwrap().len(), 1);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn roles_hold(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, owner) = (&world.db, &world.owner);
    let me = owner.person_id.unwrap();
    assert!(
        matches!(members::set_role(db, owner, me, Role::Viewer).await, Err(Error::Conflict(_))),
        "the last owner stays"
    );
    assert!(matches!(members::remove(db, owner, me).await, Err(Error::Conflict(_))));
    let (_, token) = invitations::create(db, owner, "eve@acme.example", Role::Admin).await.unwrap();
    let (eve, _) =
        invitations::accept(db, &world.hasher, token.expose_secret(), "Eve", &SecretString::from(PASSWORD), None)
            .await
            .unwrap();
    let admin =
        Actor { person_id: Some(eve), name: "eve@acme.example".into(), role: Some(Role::Admin), ..owner.clone() };
    assert!(matches!(members::set_role(db, &admin, eve, Role::Owner).await, Err(Error::Forbidden(_))));
    assert!(matches!(
        members::set_role(db, &admin, me, Role::Viewer).await,
        Err(Error::Conflict(_) | Error::Forbidden(_))
    ));
    assert!(matches!(invitations::create(db, &admin, "x@acme.example", Role::Owner).await, Err(Error::Forbidden(_))));
    let developer = Actor { role: Some(Role::Developer), ..admin.clone() };
    assert!(matches!(members::rename_organization(db, &developer, "X").await, Err(Error::Forbidden(_))));
    assert!(matches!(members::remove(db, &developer, me).await, Err(Error::Forbidden(_))));
    let foreign = world.other_organization().await;
    assert!(matches!(members::set_role(db, &foreign, eve, Role::Viewer).await, Err(Error::NotFound)));
    assert!(matches!(members::remove(db, &foreign, eve).await, Err(Error::NotFound)));
    members::set_role(db, owner, eve, Role::Owner).await.unwrap();
    let (a, b) =
        tokio::join!(members::set_role(db, owner, me, Role::Admin), members::set_role(db, owner, eve, Role::Admin));
    assert!(a.is_ok() != b.is_ok(), "two owners who step down at once leave one");
    let list = members::list(db, world.org()).await.unwrap();
    assert_eq!(list.iter().filter(|m| m.role == Role::Owner).count(), 1);
}

/// Somebody who joins Acme.
async fn joined(world: &World, email: &str, role: Role) -> Actor {
    let (_, token) = invitations::create(&world.db, &world.owner, email, role).await.unwrap();
    let password = SecretString::from(PASSWORD);
    let (person, _) =
        invitations::accept(&world.db, &world.hasher, token.expose_secret(), "Eve", &password, None).await.unwrap();
    Actor { person_id: Some(person), name: email.into(), role: Some(role), ..world.owner.clone() }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn nobody_comes_back_by_a_link_they_kept(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, owner) = (&world.db, &world.owner);
    let open = async || {
        let mut open: Vec<_> =
            invitations::list(db, world.org()).await.unwrap().into_iter().map(|one| one.email).collect();
        open.sort_unstable();
        open
    };
    invitations::create(db, owner, "kept@acme.example", Role::Admin).await.unwrap();

    // Removed: all that she made.
    let eve = joined(&world, "eve@acme.example", Role::Admin).await;
    let (link, token) = invitations::create(db, &eve, "eve@evil.example", Role::Admin).await.unwrap();
    assert_eq!(open().await, ["eve@evil.example", "kept@acme.example"]);
    members::remove(db, owner, eve.person_id.unwrap()).await.unwrap();
    assert_eq!(open().await, ["kept@acme.example"]);
    assert!(matches!(invitations::offer(db, token.expose_secret()).await, Err(Error::NotFound)));
    let [row] = &page(db, world.org(), None, Some("invitation.revoked"), None, 9).await.unwrap()[..] else {
        panic!("one was withdrawn")
    };
    assert_eq!((row.actor.as_str(), row.subject_name.as_str()), ("owner@acme.example", "eve@evil.example"));
    assert_eq!(row.subject, link.to_string());
    let late = invitations::create(db, &eve, "late@evil.example", Role::Viewer).await;
    assert!(matches!(late, Err(Error::Forbidden(_))), "with a right that she had when the call began");

    // With a lower role: what that role may not make.
    let bob = joined(&world, "bob@acme.example", Role::Owner).await;
    let person = bob.person_id.unwrap();
    invitations::create(db, &bob, "b1@acme.example", Role::Owner).await.unwrap();
    invitations::create(db, &bob, "b2@acme.example", Role::Admin).await.unwrap();
    members::set_role(db, owner, person, Role::Admin).await.unwrap();
    assert_eq!(open().await, ["b2@acme.example", "kept@acme.example"]);
    members::set_role(db, owner, person, Role::Developer).await.unwrap();
    assert_eq!(open().await, ["kept@acme.example"]);

    // At the same moment: whichever is first, no link is left.
    for round in 0..10 {
        let email = format!("fay{round}@acme.example");
        let fay = joined(&world, &email, Role::Admin).await;
        let invited = format!("{round}@evil.example");
        let (removed, _) = tokio::join!(
            members::remove(db, owner, fay.person_id.unwrap()),
            invitations::create(db, &fay, &invited, Role::Viewer),
        );
        removed.unwrap();
        assert_eq!(open().await, ["kept@acme.example"], "round {round}");
    }
    for round in 0..10 {
        let gus = joined(&world, &format!("gus{round}@acme.example"), Role::Admin).await;
        let invited = format!("friend{round}@evil.example");
        let (_, token) = invitations::create(db, &gus, &invited, Role::Viewer).await.unwrap();
        let password = SecretString::from(PASSWORD);
        let (removed, accepted) = tokio::join!(
            members::remove(db, owner, gus.person_id.unwrap()),
            invitations::accept(db, &world.hasher, token.expose_secret(), "Friend", &password, None),
        );
        removed.unwrap();
        assert!(matches!(accepted, Ok(_) | Err(Error::NotFound)), "round {round}: {accepted:?}");
        assert_eq!(open().await, ["kept@acme.example"], "round {round}");
    }
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn passwords_and_sessions_change_hands_safely(pool: PgPool) {
    let world = World::new(&pool).await;
    let (db, owner) = (&world.db, &world.owner);
    let person = owner.person_id.unwrap();
    let data = json!({"person_id": person, "ip": "198.51.100.7", "user_agent": "Firefox"});
    let later = Utc::now() + Duration::hours(1);
    assert!(sessions::insert(db, "one", &data, later).await.unwrap());
    assert!(!sessions::insert(db, "one", &data, later).await.unwrap());
    assert!(sessions::insert(db, "two", &data, later).await.unwrap());
    assert!(sessions::insert(db, "old", &data, Utc::now() - Duration::seconds(1)).await.unwrap());
    assert_eq!(sessions::load(db, "one").await.unwrap().unwrap().0, data);
    assert!(sessions::load(db, "old").await.unwrap().is_none());
    let stored: Vec<u8> = sqlx::query_scalar("select id_hash from sessions limit 1").fetch_one(&pool).await.unwrap();
    assert_eq!(stored.len(), 32, "the cookie's id itself is nowhere");
    let list = sessions::list(db, person, "one").await.unwrap();
    assert_eq!(list.iter().filter(|s| s.this_one).count(), 1);
    let foreign = world.other_organization().await;
    assert!(matches!(sessions::end(db, &foreign, &list[0].handle).await, Err(Error::NotFound)));
    assert_eq!(sessions::end_others(db, owner, "one").await.unwrap(), 2);
    assert!(sessions::load(db, "one").await.unwrap().is_some() && sessions::load(db, "two").await.unwrap().is_none());
    // A request that began before may still save what it read: nobody is signed in again by that.
    for ended in ["two", "old", "never"] {
        sessions::save(db, ended, &data, later).await.unwrap();
        assert!(sessions::load(db, ended).await.unwrap().is_none(), "{ended}");
    }
    let changed = json!({"person_id": person, "note": "Sa\0ved"});
    sessions::save(db, "one", &changed, later).await.unwrap();
    let changed = json!({"person_id": person, "note": "Saved"});
    assert_eq!(sessions::load(db, "one").await.unwrap().unwrap().0, changed, "without what Postgres does not take");

    let (old, new) = (SecretString::from(PASSWORD), SecretString::from("another long phrase"));
    let wrong = sign_in::change_password(db, &world.hasher, owner, &new, &old).await;
    assert!(message(wrong.unwrap_err()).starts_with("current:"));
    let common =
        sign_in::change_password(db, &world.hasher, owner, &old, &SecretString::from("passwordpassword")).await;
    assert!(message(common.unwrap_err()).starts_with("password:"));
    sign_in::change_password(db, &world.hasher, owner, &old, &new).await.unwrap();
    assert!(sign_in::sign_in(db, &world.hasher, "owner@acme.example", &new, None).await.is_ok());
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_audit_log_cannot_be_changed_unnoticed(pool: PgPool) {
    let world = World::new(&pool).await;
    for i in 0..5 {
        world.key(&format!("Key {i}")).await;
    }
    // Writers at once get numbers without gaps.
    let (a, b, c) = tokio::join!(world.key("x"), world.key("y"), world.key("z"));
    assert!(a.id != b.id && b.id != c.id);
    let org = world.org();
    let [(whole, Verdict::Whole { rows: 9, end })] = &verify(&world.db).await.unwrap()[..] else {
        panic!("nine rows, as they were written")
    };
    assert_eq!((whole, end.len()), (&org, 64));
    let rows = page(&world.db, org, None, Some("api_key.created"), None, 3).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.seq).collect::<Vec<_>>(), [9, 8, 7]);
    assert_eq!(rows[0].ip.unwrap().to_string(), "203.0.113.9");
    assert_eq!(page(&world.db, org, Some(3), None, Some("owner@acme.example"), 10).await.unwrap().len(), 2);
    // What Postgres takes in no text is passed over.
    assert_eq!(page(&world.db, org, None, Some("\0"), None, 10).await.unwrap().len(), 0);
    assert_eq!(page(&world.db, org, Some(3), None, Some("owner\0@acme.example"), 10).await.unwrap().len(), 2);

    let update = sqlx::query("update audit_log set actor = 'somebody' where seq = 4").execute(&pool).await;
    assert!(update.unwrap_err().to_string().contains("append-only"));
    assert!(sqlx::query("delete from audit_log where seq = 4").execute(&pool).await.is_err());
    assert!(sqlx::query("truncate audit_log").execute(&pool).await.is_err());
    // Somebody with the powers of the database's owner.
    sqlx::raw_sql("alter table audit_log disable trigger all; update audit_log set actor = 'somebody' where seq = 4;")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(verify(&world.db).await.unwrap(), [(org, Verdict::Broken { at_seq: 4 })]);
    sqlx::raw_sql(
        "update audit_log set actor = 'owner@acme.example' where seq = 4; delete from audit_log where seq = 6;",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(verify(&world.db).await.unwrap(), [(org, Verdict::Broken { at_seq: 6 })]);
}

#[sqlx::test(migrator = "domain::db::MIGRATOR")]
async fn the_end_of_the_audit_log_cannot_be_cut_off_unnoticed(pool: PgPool) {
    let world = World::new(&pool).await;
    let org = world.org();
    world.key("one").await;
    world.key("two").await;
    sqlx::raw_sql("alter table audit_log disable trigger all; delete from audit_log where seq = 3;")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(verify(&world.db).await.unwrap(), [(org, Verdict::Broken { at_seq: 3 })]);
    world.key("three").await;
    assert_eq!(verify(&world.db).await.unwrap(), [(org, Verdict::Broken { at_seq: 3 })], "what follows hides nothing");
    sqlx::raw_sql("delete from audit_log; delete from audit_heads").execute(&pool).await.unwrap();
    assert_eq!(verify(&world.db).await.unwrap(), [(org, Verdict::Broken { at_seq: 1 })]);
}
