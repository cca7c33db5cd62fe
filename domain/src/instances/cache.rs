//! Instances in memory, with their credentials opened: neither a send nor a hook asks the database for them.
//!
//! An entry is dropped the moment its instance changes (`NOTIFY bouncer_instances`), here and on every server. As a
//! backstop it is read again after [`FRESH_FOR`], or after [`FRESH_WITHOUT_NOTIFY`] while changes cannot be heard.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

use super::{Credentials, Instance, store};
use crate::{
    Db,
    error::Result,
    ids::{InstanceId, OrgId},
    seal::Sealer,
};

/// A read entry is used without asking for this long.
pub const FRESH_FOR: Duration = Duration::from_secs(60);
/// The same while changes cannot be heard.
pub const FRESH_WITHOUT_NOTIFY: Duration = Duration::from_secs(5);
/// Entries of about 1 kB.
const CAPACITY: usize = 20_000;

/// An instance with its secrets. No Debug.
pub struct Known {
    pub instance: Arc<Instance>,
    pub credentials: Credentials,
    read: Instant,
}

#[derive(Clone)]
pub struct InstanceCache {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    sealer: Sealer,
    entries: Cache<InstanceId, Arc<Known>>,
    listening: AtomicBool,
    /// Counts announced changes.
    generation: AtomicU64,
}

impl InstanceCache {
    pub fn new(db: Db, sealer: Sealer) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                sealer,
                entries: Cache::new(CAPACITY),
                listening: AtomicBool::new(false),
                generation: AtomicU64::new(0),
            }),
        }
    }

    /// The organization's instance; `None` when it is not there, was deleted or is another's.
    ///
    /// # Errors
    /// `Unavailable` when it is not in memory and the database cannot be asked.
    pub async fn get(&self, organization: OrgId, id: InstanceId) -> Result<Option<Arc<Instance>>> {
        let known = self.known(id).await?;
        Ok(known.filter(|known| known.instance.organization_id == organization).map(|known| known.instance.clone()))
    }

    /// Whoever's instance, with its credentials: for workers and hooks, who know it by its id alone.
    ///
    /// # Errors
    /// As [`InstanceCache::get`]; `Internal` when its credentials cannot be opened.
    pub async fn known(&self, id: InstanceId) -> Result<Option<Arc<Known>>> {
        let fresh_for = if self.inner.listening.load(Relaxed) { FRESH_FOR } else { FRESH_WITHOUT_NOTIFY };
        if let Some(known) = self.inner.entries.get(&id).filter(|known| known.read.elapsed() < fresh_for) {
            return Ok(Some(known));
        }
        let generation = self.inner.generation.load(Acquire);
        // Taken before the query: an entry may be older than it says, never newer.
        let read = Instant::now();
        let Some((instance, sealed)) = store::with_credentials(&self.inner.db, id).await? else {
            self.inner.entries.remove(&id);
            return Ok(None);
        };
        let credentials = match sealed {
            Some(sealed) => store::open(&self.inner.sealer, id, &sealed)?,
            None => Credentials::default(),
        };
        let known = Arc::new(Known { instance: Arc::new(instance), credentials, read });
        // A change that was announced while the query ran may not be in its answer: it is not kept.
        if self.inner.generation.load(Acquire) == generation {
            self.inner.entries.insert(id, known.clone());
            if self.inner.generation.load(Acquire) != generation {
                self.inner.entries.remove(&id);
            }
        }
        Ok(Some(known))
    }

    /// Forgets an instance that changed.
    pub fn invalidate(&self, id: InstanceId) {
        self.inner.generation.fetch_add(1, Release);
        self.inner.entries.remove(&id);
    }

    /// Changes may have been missed.
    pub fn invalidate_all(&self) {
        self.inner.generation.fetch_add(1, Release);
        self.inner.entries.clear();
    }

    /// Whether changes of instances are being heard.
    pub fn set_listening(&self, listening: bool) {
        self.inner.listening.store(listening, Relaxed);
    }
}
