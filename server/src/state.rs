//! What every request and worker may reach.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::extract::FromRef;
use domain::{
    Db,
    gate::cache::KeyCache,
    ids::KeyId,
    instances::cache::InstanceCache,
    people::passwords::{Cost, Hasher},
    seal::Sealer,
};
use ipnet::IpNet;
use leptos::config::LeptosOptions;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use crate::{
    config::{Failure, Settings, networks},
    net::{self, Net},
    providers::Providers,
    workers::{acceptor::Acceptor, deliverer::bell::Bell, recorder::Recorder},
};

/// Secrets kept in memory; about 1 kB each.
const CACHE_CAPACITY: usize = 200_000;
/// Password hashes computed at once: each takes 46 MiB and a core.
const HASHES_AT_ONCE: usize = 2;
/// A viewer that falls this many calls behind looks at the database instead.
const RADAR_BACKLOG: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Stopping,
}

#[derive(Clone)]
pub struct AppState(Arc<Inner>);

pub struct Inner {
    pub db: Db,
    pub keys: KeyCache,
    pub recorder: Recorder,
    pub sealer: Sealer,
    pub hasher: Hasher,
    pub net: Net,
    pub instances: InstanceCache,
    pub providers: Providers,
    pub acceptor: Acceptor,
    /// Rings when webhook deliveries are due.
    pub deliveries: Bell,
    /// Something waits to be sent.
    pub queue_woken: Notify,
    /// First calls of keys, as they are told by the database.
    pub radar: broadcast::Sender<KeyId>,
    pub public_url: String,
    pub key_prefix: String,
    pub trusted_proxies: Vec<IpNet>,
    pub leptos: LeptosOptions,
    /// The public API's document, as it is served.
    pub openapi: String,
    /// Known to hold once it was seen to hold: setup is done once.
    pub has_organization: AtomicBool,
    ready: AtomicBool,
    phase: watch::Sender<Phase>,
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}

impl AppState {
    /// # Errors
    /// When the sealing secret is missing and cannot be made, or TLS cannot be set up.
    pub fn new(db: Db, settings: &Settings) -> Result<Self, Failure> {
        let server = Uuid::new_v4();
        let keys = KeyCache::new(db.clone(), server, CACHE_CAPACITY);
        let cost = if settings.cheap_passwords { Cost::Test } else { Cost::Production };
        let public_url = settings.public_url();
        let sealer = settings.sealer()?;
        let instances = InstanceCache::new(db.clone(), sealer.clone());
        let net = Net {
            webhooks: net::Client::new(networks(&settings.allow_private_webhooks))?,
            providers: net::Client::new(networks(&settings.allow_private_providers))?,
        };
        Ok(Self(Arc::new(Inner {
            recorder: Recorder::new(db.clone()),
            acceptor: Acceptor::new(db.clone()),
            keys,
            db,
            sealer,
            hasher: Hasher::new(cost, HASHES_AT_ONCE)?,
            providers: Providers::new(instances.clone(), net.providers.clone()),
            instances,
            net,
            deliveries: Bell::default(),
            queue_woken: Notify::new(),
            radar: broadcast::channel(RADAR_BACKLOG).0,
            openapi: crate::api::openapi::text(&public_url),
            public_url,
            key_prefix: settings.key_prefix.clone(),
            trusted_proxies: settings.trusted_proxies(),
            leptos: leptos_options(settings),
            has_organization: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Serving),
        })))
    }

    /// Cookies go over TLS only.
    pub fn https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// No new calls: the server and open live connections come to an end.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// No more calls at all: the workers finish what they hold.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Waits for [`AppState::drain`].
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits for [`AppState::stop`].
    pub async fn stopped(&self) {
        self.reached(Phase::Stopping).await;
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives as long as the state, so this ends only with the signal.
        _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Where the browser's files are. cargo-leptos and `make run` say so in the environment.
fn leptos_options(settings: &Settings) -> LeptosOptions {
    let var = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let site_root = var("LEPTOS_SITE_ROOT").unwrap_or_else(|| "target/site".into());
    let mut options = LeptosOptions::builder()
        .output_name(var("LEPTOS_OUTPUT_NAME").unwrap_or_else(|| "bouncer".into()))
        .site_root(site_root)
        .site_pkg_dir(var("LEPTOS_SITE_PKG_DIR").unwrap_or_else(|| "pkg".into()))
        .site_addr(settings.addr)
        .hash_files(var("LEPTOS_HASH_FILES").is_some_and(|text| text == "true"))
        .env(if var("LEPTOS_WATCH").is_some() { leptos::config::Env::DEV } else { leptos::config::Env::PROD })
        .build();
    if let Some(port) = var("LEPTOS_RELOAD_PORT").and_then(|port| port.parse().ok()) {
        options.reload_port = port;
    }
    options
}
