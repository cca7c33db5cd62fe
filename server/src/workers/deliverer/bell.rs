//! What the notifications of `bouncer_deliveries` say, until the deliverer looks.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use domain::ids::EndpointId;
use tokio::sync::Notify;
use uuid::Uuid;

#[derive(Default)]
pub struct Bell {
    heard: Mutex<Heard>,
    ring: Notify,
}

/// What was heard since the last look.
#[derive(Default)]
pub(super) struct Heard {
    /// Something is due for these.
    pub endpoints: HashSet<EndpointId>,
    /// Something is due somewhere.
    pub everything: bool,
    /// Some endpoint is not what it was.
    pub changed: bool,
}

impl Bell {
    /// Understands a payload: ids of endpoints between spaces, `!` and an id for one that has changed, or nothing for
    /// "look everywhere".
    pub fn ring(&self, payload: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if payload.starts_with('!') {
            heard.changed = true;
        } else {
            let before = heard.endpoints.len();
            let ids = payload.split(' ').filter_map(|id| id.parse::<Uuid>().ok()).map(EndpointId);
            let mut any = false;
            for id in ids {
                any = true;
                heard.endpoints.insert(id);
            }
            heard.everything |= !any;
            if any && heard.endpoints.len() == before {
                // Nothing new: the bell has rung for these already.
                return;
            }
        }
        drop(heard);
        self.ring.notify_one();
    }

    /// Waits until something was heard.
    pub(super) async fn heard(&self) {
        self.ring.notified().await;
    }

    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_its_payloads() {
        let bell = Bell::default();
        let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
        bell.ring(&format!("{a} {b}"));
        bell.ring(&a.to_string());
        let heard = bell.take();
        assert_eq!(heard.endpoints, HashSet::from([EndpointId(a), EndpointId(b)]));
        assert!(!heard.everything && !heard.changed);
        bell.ring(&format!("!{a}"));
        let heard = bell.take();
        assert!(heard.changed && !heard.everything && heard.endpoints.is_empty());
        bell.ring("");
        assert!(bell.take().everything);
    }
}
