//! Keys in memory: on a hit the gate touches neither disk nor network.
//!
//! An entry is dropped the moment its key changes (`NOTIFY bouncer_keys`), here and on every server. As a backstop it
//! is asked for again after [`FRESH_FOR`], or after [`FRESH_WITHOUT_NOTIFY`] while the notifications cannot be heard.
//! While the database is away a known key goes on working for [`STALE_FOR`] after it was last confirmed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use moka::sync::Cache;
use uuid::Uuid;

use super::{GateKey, Window};
use crate::{
    Db, Error,
    error::Result,
    ids::{InstanceId, KeyId, OrgId, SecretId},
    keys::{Environment, KeyHash, Scope},
    time::Time,
};

/// A confirmed entry is used without asking for this long.
pub const FRESH_FOR: Duration = Duration::from_secs(60);
/// The same while changes cannot be heard: a revocation is still effective within a second.
pub const FRESH_WITHOUT_NOTIFY: Duration = Duration::from_secs(1);
/// How long a known key works while the database cannot be asked.
pub const STALE_FOR: Duration = Duration::from_secs(600);
/// How long a call with a known key waits for the database to confirm it.
const PATIENCE: Duration = Duration::from_millis(250);
/// After the database could not be asked, nobody asks for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// A key in the cache.
pub struct Entry {
    pub key: GateKey,
    /// The key's sliding hour; its secrets share one.
    pub window: Arc<Mutex<Window>>,
    /// When the database last said so.
    confirmed: Instant,
}

impl Entry {
    /// The window, also after a panic elsewhere: counting on is better than letting everything through.
    pub fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Microseconds after the start; 0 before it.
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

#[derive(Clone)]
pub struct KeyCache {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    server: Uuid,
    entries: Cache<KeyHash, Arc<Entry>>,
    /// Kept apart from the entries: a change of the key must not forget its calls.
    windows: Cache<KeyId, Arc<Mutex<Window>>>,
    /// The secrets under which a key is cached, to find its entries when it changes.
    hashes: Cache<KeyId, Vec<KeyHash>>,
    listening: AtomicBool,
    /// Counts announced changes.
    generation: AtomicU64,
    started: Instant,
    /// Microseconds after `started`: entries confirmed before it must be confirmed again.
    doubted_us: AtomicU64,
    /// Microseconds after `started` until which the database is not asked, because it just could not be.
    pause_until_us: AtomicU64,
}

impl KeyCache {
    /// `server` is this process: counts of all others are foreign to its windows.
    pub fn new(db: Db, server: Uuid, capacity: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                server,
                entries: Cache::new(capacity),
                // A window is of use for an hour after the last call.
                windows: Cache::builder().max_capacity(capacity).time_to_idle(Duration::from_secs(3_700)).build(),
                hashes: Cache::new(capacity),
                listening: AtomicBool::new(false),
                generation: AtomicU64::new(0),
                started: Instant::now(),
                doubted_us: AtomicU64::new(0),
                pause_until_us: AtomicU64::new(0),
            }),
        }
    }

    /// A fresh hit, without waiting for anything.
    pub fn peek(&self, hash: &KeyHash) -> Option<Arc<Entry>> {
        self.inner.entries.get(hash).filter(|entry| {
            entry.confirmed.elapsed() < self.fresh_for()
                && self.inner.micros(entry.confirmed) >= self.inner.doubted_us.load(Acquire)
        })
    }

    fn fresh_for(&self) -> Duration {
        if self.inner.listening.load(Relaxed) { FRESH_FOR } else { FRESH_WITHOUT_NOTIFY }
    }

    /// The key with this hash; one query unless it is a fresh hit. `None`: nobody's.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked and the key was not confirmed in the last [`STALE_FOR`].
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.peek(hash) {
            return Ok(Some(entry));
        }
        let known = self.inner.entries.get(hash).filter(|entry| entry.confirmed.elapsed() < STALE_FOR);
        let fallback = || known.clone().map(Some).ok_or(Error::Unavailable);
        if self.inner.micros(Instant::now()) < self.inner.pause_until_us.load(Relaxed) {
            return fallback();
        }
        // A known key does not wait until the pool gives up: it works on while the database is away.
        let answer = match known {
            Some(_) => tokio::time::timeout(PATIENCE, self.load(hash)).await.unwrap_or(Err(Error::Unavailable)),
            None => self.load(hash).await,
        };
        match answer {
            Err(Error::Unavailable) => {
                self.inner.pause_until_us.store(self.inner.micros(Instant::now() + PAUSE), Relaxed);
                fallback()
            }
            answer => answer,
        }
    }

    async fn load(&self, hash: &KeyHash) -> Result<Option<Arc<Entry>>> {
        let generation = self.inner.generation.load(Acquire);
        // Taken before the query: an entry may be older than it says, never newer.
        let confirmed = Instant::now();
        let row = sqlx::query!(
            r#"select s.id as secret_id, s.ends_at, k.id, k.organization_id, o.name as organization_name, k.name,
                      k.environment, k.scopes, k.allowed_ips, k.allowed_instances, k.rate_limit, k.expires_at,
                      k.disabled_at, k.revoked_at
               from api_key_secrets s
               join api_keys k on k.id = s.key_id
               join organizations o on o.id = k.organization_id
               where s.hash = $1"#,
            &hash.0[..],
        )
        .fetch_optional(self.inner.db.system())
        .await?;
        let Some(row) = row else {
            self.inner.entries.invalidate(hash);
            return Ok(None);
        };
        let ms = |at: Option<Time>| at.map(|at| at.timestamp_millis());
        let id = KeyId(row.id);
        let key = GateKey {
            id,
            secret_id: SecretId(row.secret_id),
            organization_id: OrgId(row.organization_id),
            organization_name: row.organization_name,
            name: row.name,
            environment: Environment::parse(&row.environment).ok_or_else(|| Error::Internal("environment".into()))?,
            scopes: row.scopes.iter().filter_map(|s| Scope::parse(s)).collect(),
            allowed_ips: row.allowed_ips,
            rate_limit: row.rate_limit.map(i32::unsigned_abs),
            expires_ms: ms(row.expires_at),
            secret_ends_ms: ms(row.ends_at),
            disabled: row.disabled_at.is_some(),
            revoked: row.revoked_at.is_some(),
            allowed_instances: row.allowed_instances.map(|ids| ids.into_iter().map(InstanceId).collect()),
        };
        let window = self.window(id, key.rate_limit.is_some()).await?;
        let entry = Arc::new(Entry { key, window, confirmed });
        self.inner.entries.insert(*hash, entry.clone());
        self.inner.hashes.entry(id).and_upsert_with(|known| {
            let mut hashes = known.map(moka::Entry::into_value).unwrap_or_default();
            if !hashes.contains(hash) {
                hashes.push(*hash);
            }
            hashes
        });
        // A change that was announced while the query ran may not be in its answer: ask again next time.
        if self.inner.generation.load(Acquire) != generation {
            self.inner.entries.invalidate(hash);
        }
        Ok(Some(entry))
    }

    /// The key's window; a new one begins with what other servers, and this one before its restart, let through.
    async fn window(&self, id: KeyId, limited: bool) -> Result<Arc<Mutex<Window>>> {
        if let Some(window) = self.inner.windows.get(&id) {
            return Ok(window);
        }
        let mut window = Window::default();
        if limited {
            let counts = sqlx::query!(
                r#"select minute, sum(calls) as "calls!" from rate_windows
                   where key_id = $1 and server_id <> $2 and minute > now() - interval '61 minutes'
                   group by minute"#,
                id.0,
                self.inner.server,
            )
            .fetch_all(self.inner.db.system())
            .await?;
            for row in counts {
                window.set_foreign(row.minute.timestamp_millis(), u32::try_from(row.calls).unwrap_or(u32::MAX));
            }
        }
        // Two calls may load the same key at once; the first window to arrive is the one that counts.
        Ok(self.inner.windows.get_with(id, || Arc::new(Mutex::new(window))))
    }

    /// Another server's count of a minute, if this one knows the key at all.
    pub fn set_foreign(&self, id: KeyId, minute_ms: i64, calls: u32) {
        if let Some(window) = self.inner.windows.get(&id) {
            window.lock().unwrap_or_else(PoisonError::into_inner).set_foreign(minute_ms, calls);
        }
    }

    /// Forgets a key that changed; its window stays.
    pub fn invalidate_key(&self, id: KeyId) {
        self.inner.generation.fetch_add(1, Release);
        for hash in self.inner.hashes.remove(&id).unwrap_or_default() {
            self.inner.entries.invalidate(&hash);
        }
    }

    /// Changes may have been missed: every key is asked for again, but goes on working if that is not possible.
    pub fn invalidate_all(&self) {
        self.inner.generation.fetch_add(1, Release);
        self.inner.doubted_us.store(self.inner.micros(Instant::now()), Release);
    }

    /// Whether changes of keys are being heard.
    pub fn set_listening(&self, listening: bool) {
        self.inner.listening.store(listening, Relaxed);
    }

    pub fn server(&self) -> Uuid {
        self.inner.server
    }

    /// Secrets in the cache.
    pub fn len(&self) -> u64 {
        self.inner.entries.run_pending_tasks();
        self.inner.entries.entry_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
