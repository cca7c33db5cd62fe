//! Room for requests: so many at once, and of these no more than half for late ones.
//!
//! Late are further attempts, and those of endpoints that do not answer: whatever they do, there is room for the others.

use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) struct Places {
    all: Semaphore,
    late: Semaphore,
}

/// Is free again when it is dropped.
#[expect(dead_code, reason = "held, not looked at")]
pub(super) struct Place<'a> {
    late: Option<SemaphorePermit<'a>>,
    place: Option<SemaphorePermit<'a>>,
}

impl Places {
    pub fn new(count: usize) -> Self {
        Self { all: Semaphore::new(count), late: Semaphore::new(count / 2) }
    }

    /// Waits for a place. A late request waits for its share first: those that wait for it are in nobody's way.
    pub async fn take(&self, late: bool) -> Place<'_> {
        // Nobody closes the semaphores.
        let late = if late { self.late.acquire().await.ok() } else { None };
        Place { late, place: self.all.acquire().await.ok() }
    }
}
