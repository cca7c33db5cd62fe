//! An organization with an owner, in the test's own database.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use chrono::Utc;
use domain::{
    Db,
    gate::{GateKey, cache::KeyCache},
    ids::{OrgId, RequestId},
    keys::{KeyForm, KeyHash, NewApiKey, store, store::Issued},
    people::{
        Actor, Role,
        passwords::{Cost, Hasher},
        sign_in,
    },
    secret::{ExposeSecret, SecretString},
    usage::{self, RequestRow},
};
use sqlx::PgPool;
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse battery";

pub struct World {
    pub db: Db,
    pub owner: Actor,
    pub hasher: Hasher,
    pub server: Uuid,
}

pub fn form(name: &str) -> NewApiKey {
    KeyForm { name: name.into(), ..KeyForm::default() }.parse(Utc::now(), None).expect("the default form is right")
}

impl World {
    pub async fn new(pool: &PgPool) -> Self {
        let db = Db::open(pool.connect_options().as_ref().clone(), 4);
        let hasher = Hasher::new(Cost::Test, 4).expect("cost");
        let password = SecretString::from(PASSWORD);
        let (person, organization) =
            sign_in::setup(&db, &hasher, "Acme", "Ada", "owner@acme.example", &password, None).await.expect("set up");
        let owner = Actor {
            organization_id: organization,
            person_id: Some(person),
            name: "owner@acme.example".into(),
            ip: Some("203.0.113.9".parse().expect("address")),
            role: Some(Role::Owner),
        };
        Self { db, owner, hasher, server: Uuid::now_v7() }
    }

    pub fn org(&self) -> OrgId {
        self.owner.organization_id
    }

    pub async fn other_organization(&self) -> Actor {
        let password = SecretString::from(PASSWORD);
        let (person, organization) =
            sign_in::create_organization(&self.db, &self.hasher, "Other", "Bob", "bob@other.example", &password, None)
                .await
                .expect("made");
        Actor {
            organization_id: organization,
            person_id: Some(person),
            name: "bob@other.example".into(),
            ip: None,
            role: Some(Role::Owner),
        }
    }

    pub async fn key(&self, name: &str) -> Issued {
        store::create(&self.db, &self.owner, form(name), None, "bnc").await.expect("made")
    }

    pub async fn gate_key(&self, issued: &Issued) -> GateKey {
        let cache = KeyCache::new(self.db.clone(), self.server, 10);
        let entry = cache.find(&KeyHash::of(issued.text.expose_secret())).await.expect("found").expect("known");
        entry.key.clone()
    }

    pub async fn call(&self, issued: &Issued, outcome: &'static str, status: u16) -> RequestRow<'static> {
        let key = self.gate_key(issued).await;
        RequestRow {
            id: RequestId::new(),
            at: Utc::now(),
            owner: Some((key.organization_id, key.id, key.secret_id)),
            method: "GET",
            endpoint: "/api/v1/me",
            status,
            outcome,
            scope: None,
            ip: "198.51.100.7".parse().expect("address"),
            user_agent: "curl/8.5.0".into(),
            latency_us: 120,
        }
    }

    pub async fn use_key(&self, issued: &Issued) {
        let row = self.call(issued, usage::ALLOWED, 200).await;
        usage::store::write(&self.db, self.server, &[row]).await.expect("written");
    }
}
