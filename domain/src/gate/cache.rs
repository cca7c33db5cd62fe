//! Keys in memory: on a hit the gate touches neither disk nor network.
//!
//! An entry counts no more from the moment its key changes (`NOTIFY bouncer_keys`), here and on every server. As a
//! backstop it is asked for again after [`FRESH_FOR`], or after [`FRESH_WITHOUT_NOTIFY`] while the connection that
//! brings the notifications is lost or has not proved for that long that it is there: a revocation is effective within a
//! second also when that connection is cut without a word. While the database is away a known key goes on working for [`STALE_FOR`] after it was last confirmed: by
//! an answer of the database, or by the silence of a connection that would have told of a change.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;
use uuid::Uuid;

use super::{GateKey, Sealed, Window};
use crate::{
    Db, Error,
    error::Result,
    ids::{InstanceId, KeyId, OrgId, SecretId},
    keys::{Environment, KeyHash, Scope},
    time::Time,
    usage::Place,
};

/// A confirmed entry is used without asking for this long.
pub const FRESH_FOR: Duration = Duration::from_secs(300);
/// The same while changes cannot be heard, and the longest silence after which that is assumed.
pub const FRESH_WITHOUT_NOTIFY: Duration = Duration::from_secs(1);
/// How long a known key works while the database cannot be asked.
pub const STALE_FOR: Duration = Duration::from_secs(600);
/// How long a call with a known key waits for the database to confirm it.
const PATIENCE: Duration = Duration::from_millis(250);
/// After the database could not be asked, nobody asks for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// A secret of a key in the cache.
pub struct Entry {
    pub key: GateKey,
    shared: Arc<Shared>,
    /// The key's generation that this entry shows.
    generation: u64,
    /// When the database last said so, in microseconds after the cache's start.
    confirmed_us: u64,
    /// No call with the key was let through yet, as far as this server knows.
    unused: AtomicBool,
    /// What the server makes of the key once for all its answers.
    pub prepared: OnceLock<Prepared>,
    /// Where its calls are counted.
    pub place: Place,
}

/// An answer but for what differs from call to call, which belongs at `gap`.
pub struct Prepared {
    pub text: Box<[u8]>,
    pub gap: usize,
}

/// What the secrets of a key have in common, and what outlives a change of the key.
#[derive(Default)]
struct Shared {
    /// The key's sliding hour.
    window: Mutex<Window>,
    /// Counts changes: entries of an earlier generation do not count.
    generation: AtomicU64,
}

impl Shared {
    /// The window, also after a panic elsewhere: counting on is better than letting everything through.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The key's sliding hour; its secrets share one.
    pub fn window(&self) -> MutexGuard<'_, Window> {
        self.shared.window()
    }

    fn is_current(&self) -> bool {
        self.shared.generation.load(Acquire) == self.generation
    }

    /// May this be the key's first call that was, or would have been, let through? Notes one that was.
    pub fn may_be_first(&self, allowed: bool) -> bool {
        let unused = self.unused.load(Relaxed);
        if unused && allowed {
            self.unused.store(false, Relaxed);
        }
        unused
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
    /// Whatever is alive of each key: it is found here when the key changes, for as long as any entry shows it.
    alive: Mutex<HashMap<KeyId, Weak<Shared>, RandomState>>,
    /// Keeps windows alive whose entries had to make room: they are of use for an hour.
    kept: Cache<KeyId, Arc<Shared>>,
    listening: AtomicBool,
    /// Counts announced changes.
    generation: AtomicU64,
    started: Instant,
    /// Microseconds after `started`: entries confirmed before it must be confirmed again.
    doubted_us: AtomicU64,
    /// Microseconds after `started` at which the connection that tells of changes last proved to be there.
    heard_us: AtomicU64,
    /// Microseconds after `started` until which the database is not asked, because it just could not be.
    pause_until_us: AtomicU64,
}

impl Inner {
    /// Microseconds after the start; 0 before it.
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    /// When the entry was last known to be true.
    fn known_at_us(&self, entry: &Entry) -> u64 {
        // Had it changed after it was read, and after the connection began to listen, that would have been heard.
        let heard = if entry.confirmed_us >= self.doubted_us.load(Acquire) { self.heard_us.load(Relaxed) } else { 0 };
        entry.confirmed_us.max(heard)
    }

    fn fresh_for(&self, now_us: u64) -> Duration {
        let silent_us = now_us.saturating_sub(self.heard_us.load(Relaxed));
        let hears = self.listening.load(Relaxed) && silent_us < micros(FRESH_WITHOUT_NOTIFY);
        if hears { FRESH_FOR } else { FRESH_WITHOUT_NOTIFY }
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<KeyId, Weak<Shared>, RandomState>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self, id: KeyId) -> Option<Arc<Shared>> {
        self.alive().get(&id).and_then(Weak::upgrade)
    }

    /// Of two that come at once, the first one's stays.
    fn share(&self, id: KeyId, window: Window) -> Arc<Shared> {
        let mut alive = self.alive();
        if let Some(shared) = alive.get(&id).and_then(Weak::upgrade) {
            return shared;
        }
        if alive.len() == alive.capacity() {
            alive.retain(|_, shared| shared.strong_count() > 0);
            // Room for as many again, or the next looks at what is gone would come sooner and sooner.
            let living = alive.len();
            alive.reserve(living.max(64));
        }
        let shared = Arc::new(Shared { window: Mutex::new(window), generation: AtomicU64::new(0) });
        alive.insert(id, Arc::downgrade(&shared));
        self.kept.insert(id, shared.clone());
        shared
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl KeyCache {
    /// `server` is this process: counts of all others are foreign to its windows. Keeps about `capacity` secrets.
    pub fn new(db: Db, server: Uuid, capacity: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                server,
                entries: Cache::new(capacity),
                alive: Mutex::default(),
                kept: Cache::new(capacity),
                listening: AtomicBool::new(false),
                generation: AtomicU64::new(0),
                started: Instant::now(),
                doubted_us: AtomicU64::new(0),
                heard_us: AtomicU64::new(0),
                pause_until_us: AtomicU64::new(0),
            }),
        }
    }

    /// A fresh hit, without waiting for anything.
    pub fn peek(&self, hash: &KeyHash) -> Option<Arc<Entry>> {
        self.peek_at(hash, Instant::now())
    }

    /// The same for those who know what time it is.
    pub fn peek_at(&self, hash: &KeyHash, now: Instant) -> Option<Arc<Entry>> {
        let inner = &self.inner;
        let now_us = inner.micros(now);
        let fresh = |entry: &Arc<Entry>| {
            entry.is_current()
                && now_us.saturating_sub(entry.confirmed_us) < micros(inner.fresh_for(now_us))
                && entry.confirmed_us >= inner.doubted_us.load(Acquire)
        };
        inner.entries.get(hash).filter(fresh)
    }

    /// The key with this hash; one query unless it is a fresh hit. `None`: nobody's.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked and the key was not confirmed in the last [`STALE_FOR`].
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<Entry>>> {
        self.find_at(hash, Instant::now()).await
    }

    /// The same for those who know what time it is.
    ///
    /// # Errors
    /// As [`KeyCache::find`].
    pub async fn find_at(&self, hash: &KeyHash, now: Instant) -> Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.peek_at(hash, now) {
            return Ok(Some(entry));
        }
        let now_us = self.inner.micros(now);
        let usable = |entry: &Arc<Entry>| {
            entry.is_current() && now_us.saturating_sub(self.inner.known_at_us(entry)) < micros(STALE_FOR)
        };
        let known = self.inner.entries.get(hash).filter(usable);
        let fallback = || known.clone().map(Some).ok_or(Error::Unavailable);
        if now_us < self.inner.pause_until_us.load(Relaxed) {
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
        let confirmed_us = self.inner.micros(Instant::now());
        // A window begins with what other servers, and this one before its restart, let through.
        let row = sqlx::query!(
            r#"select s.id as secret_id, s.ends_at, k.id, k.organization_id, o.name as organization_name, k.name,
                      k.environment, k.scopes, k.allowed_ips, k.allowed_instances, k.rate_limit, k.throttle,
                      k.expires_at, k.disabled_at, k.revoked_at, k.signing_secret, k.first_used_at is null as "unused!",
                      array(select (extract(epoch from minute) * 1000)::bigint from rate_windows
                            where key_id = k.id and server_id <> $2 and minute > now() - interval '61 minutes'
                            group by minute order by minute) as "minutes_ms!",
                      array(select sum(calls) from rate_windows
                            where key_id = k.id and server_id <> $2 and minute > now() - interval '61 minutes'
                            group by minute order by minute) as "calls!"
               from api_key_secrets s
               join api_keys k on k.id = s.key_id
               join organizations o on o.id = k.organization_id
               where s.hash = $1"#,
            &hash.0[..],
            self.inner.server,
        )
        .fetch_optional(self.inner.db.system())
        .await?;
        let Some(row) = row else {
            self.inner.entries.remove(hash);
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
            throttle: serde_json::from_value(row.throttle).map_err(Error::internal)?,
            expires_ms: ms(row.expires_at),
            secret_ends_ms: ms(row.ends_at),
            disabled: row.disabled_at.is_some(),
            revoked: row.revoked_at.is_some(),
            allowed_instances: row.allowed_instances.map(|ids| ids.into_iter().map(InstanceId).collect()),
            api_secret: row.signing_secret.map(Sealed),
        };
        let shared = match self.inner.shared(id) {
            Some(shared) => shared,
            None => {
                let mut window = Window::default();
                for (minute_ms, calls) in row.minutes_ms.into_iter().zip(row.calls) {
                    window.set_foreign(minute_ms, u32::try_from(calls).unwrap_or(u32::MAX));
                }
                self.inner.share(id, window)
            }
        };
        let entry = Arc::new(Entry {
            key,
            generation: shared.generation.load(Acquire),
            shared,
            confirmed_us,
            unused: AtomicBool::new(row.unused),
            prepared: OnceLock::new(),
            place: Place::default(),
        });
        self.inner.entries.insert(*hash, entry.clone());
        // A change that was announced while the query ran may not be in its answer: ask again next time.
        if self.inner.generation.load(Acquire) != generation {
            self.inner.entries.remove(hash);
        }
        Ok(Some(entry))
    }

    /// Another server's count of a minute, if this one knows the key at all.
    pub fn set_foreign(&self, id: KeyId, minute_ms: i64, calls: u32) {
        if let Some(shared) = self.inner.shared(id) {
            shared.window().set_foreign(minute_ms, calls);
        }
    }

    /// Forgets a key that changed; its window stays.
    pub fn invalidate_key(&self, id: KeyId) {
        self.inner.generation.fetch_add(1, Release);
        if let Some(shared) = self.inner.shared(id) {
            shared.generation.fetch_add(1, Release);
        }
    }

    /// Changes may have been missed: every key is asked for again, but goes on working if that is not possible.
    pub fn invalidate_all(&self) {
        self.inner.generation.fetch_add(1, Release);
        self.inner.doubted_us.store(self.inner.micros(Instant::now()), Release);
    }

    /// The connection that tells of changes proved to be there at `at`: nothing had changed by then that was not told.
    pub fn heard(&self, at: Instant) {
        self.inner.heard_us.store(self.inner.micros(at), Relaxed);
    }

    /// Whether changes of keys are being heard; [`KeyCache::heard`] has to follow again and again.
    pub fn set_listening(&self, listening: bool) {
        if listening {
            self.heard(Instant::now());
        }
        self.inner.listening.store(listening, Relaxed);
    }

    pub fn server(&self) -> Uuid {
        self.inner.server
    }

    /// Secrets in the cache.
    pub fn len(&self) -> usize {
        self.inner.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
