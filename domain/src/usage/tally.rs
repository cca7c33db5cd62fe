//! Calls counted in memory, by key, until the figures are written next.
//!
//! The figures of the console come from here and not from the rows of the request log: they stay true even when rows
//! had to be dropped.

use std::{collections::HashMap, net::IpAddr};

use foldhash::fast::RandomState;

use super::{ALLOWED, RequestRow};
use crate::{
    ids::{KeyId, OrgId},
    time::Time,
};

/// Sums that wait at most while the database is away, about 100 bytes each.
const MOST_SUMS: usize = 500_000;
const MINUTE_S: i64 = 60;

/// What calls have in common that are one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sort {
    /// Start of the minute, hour or day, in seconds since the epoch.
    pub bucket_s: i64,
    pub endpoint: &'static str,
    pub outcome: &'static str,
    pub status: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub calls: i64,
    pub latency_us: i64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.latency_us += other.latency_us;
    }
}

/// The latest call of a key.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub at: Time,
    pub allowed: bool,
    pub ip: IpAddr,
    pub user_agent: String,
}

impl Last {
    /// A call that was let through counts more than a later one that was not.
    fn rank(&self) -> (bool, Time) {
        (self.allowed, self.at)
    }
}

/// One key's calls. It has few sums at a time, so they are looked through.
#[derive(Debug)]
pub(super) struct KeyTally {
    pub organization: OrgId,
    pub sums: Vec<(Sort, Sum)>,
    pub last: Last,
    /// Calls that were let through and are not in [`Passed`] yet, by the start of their minute.
    untold: Vec<(i64, i32)>,
}

impl KeyTally {
    fn add(&mut self, sort: Sort, sum: Sum) -> bool {
        // The minute that is now stands last.
        match self.sums.iter_mut().rev().find(|(known, _)| *known == sort) {
            Some((_, known)) => {
                *known += sum;
                false
            }
            None => {
                self.sums.push((sort, sum));
                true
            }
        }
    }
}

/// Calls of many keys.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) keys: HashMap<KeyId, KeyTally, RandomState>,
    sums: usize,
    /// Keys with untold calls.
    untold: Vec<KeyId>,
}

impl Tally {
    /// Counts a call. False when there are too many sums already: then the call is in no figure.
    #[must_use]
    pub fn count(&mut self, row: &RequestRow<'_>) -> bool {
        let Some((organization, key, _)) = row.owner else { return true };
        let at_s = row.at.timestamp();
        let sort = Sort {
            bucket_s: at_s - at_s.rem_euclid(MINUTE_S),
            endpoint: row.endpoint,
            outcome: row.outcome,
            status: row.status,
        };
        let sum = Sum { calls: 1, latency_us: row.latency_us.into() };
        let allowed = row.outcome == ALLOWED;
        let full = self.sums >= MOST_SUMS;
        let Some(tally) = self.keys.get_mut(&key) else {
            if full {
                return false;
            }
            let last = Last { at: row.at, allowed, ip: row.ip, user_agent: row.user_agent.clone().into_owned() };
            let untold = if allowed { vec![(sort.bucket_s, 1)] } else { Vec::new() };
            if allowed {
                self.untold.push(key);
            }
            self.keys.insert(key, KeyTally { organization, sums: vec![(sort, sum)], last, untold });
            self.sums += 1;
            return true;
        };
        if allowed {
            if tally.untold.is_empty() {
                self.untold.push(key);
            }
            add(&mut tally.untold, sort.bucket_s, 1);
        }
        if (allowed, row.at) >= tally.last.rank() {
            (tally.last.at, tally.last.allowed, tally.last.ip) = (row.at, allowed, row.ip);
            if tally.last.user_agent != row.user_agent {
                tally.last.user_agent.clear();
                tally.last.user_agent.push_str(&row.user_agent);
            }
        }
        if full && !tally.sums.iter().any(|(known, _)| *known == sort) {
            return false;
        }
        self.sums += usize::from(tally.add(sort, sum));
        true
    }

    /// Adds what could not be written, and is older than what is here. Returns the calls for which there is no room.
    pub fn put_back(&mut self, older: Self) -> u64 {
        let mut lost = 0;
        let newer = std::mem::replace(self, older);
        self.untold.extend(newer.untold);
        for (key, tally) in newer.keys {
            let Some(known) = self.keys.get_mut(&key) else {
                if self.sums + tally.sums.len() > MOST_SUMS {
                    lost += tally.sums.iter().map(|(_, sum)| sum.calls.unsigned_abs()).sum::<u64>();
                } else {
                    self.sums += tally.sums.len();
                    self.keys.insert(key, tally);
                }
                continue;
            };
            for (minute_s, calls) in tally.untold {
                add(&mut known.untold, minute_s, calls);
            }
            for (sort, sum) in tally.sums {
                if self.sums >= MOST_SUMS && !known.sums.iter().any(|(there, _)| *there == sort) {
                    lost += sum.calls.unsigned_abs();
                } else {
                    self.sums += usize::from(known.add(sort, sum));
                }
            }
            if tally.last.rank() > known.last.rank() {
                known.last = tally.last;
            }
        }
        lost
    }

    /// Takes what other servers have not been told of.
    pub fn pass_on(&mut self, passed: &mut Passed) {
        for key in self.untold.drain(..) {
            let Some(tally) = self.keys.get_mut(&key) else { continue };
            for (minute_s, calls) in tally.untold.drain(..) {
                passed.add(key, minute_s, calls);
            }
        }
    }

    /// Keys with calls that [`Tally::pass_on`] would take.
    pub fn untold(&self) -> usize {
        self.untold.len()
    }

    /// Takes these keys out, those of them that are here. [`Tally::pass_on`] comes first.
    pub fn take(&mut self, keys: &[KeyId]) -> Self {
        let mut taken = Self::default();
        for key in keys {
            if let Some(tally) = self.keys.remove(key) {
                self.sums -= tally.sums.len();
                taken.sums += tally.sums.len();
                taken.keys.insert(*key, tally);
            }
        }
        taken
    }

    /// Sums that wait.
    pub fn len(&self) -> usize {
        self.sums
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Calls that were let through and that other servers have not been told of: by key and minute.
#[derive(Debug, Default)]
pub struct Passed {
    pub(super) keys: HashMap<KeyId, Vec<(i64, i32)>, RandomState>,
}

fn add(minutes: &mut Vec<(i64, i32)>, minute_s: i64, calls: i32) {
    match minutes.iter_mut().rev().find(|(known, _)| *known == minute_s) {
        Some((_, known)) => *known += calls,
        None => minutes.push((minute_s, calls)),
    }
}

impl Passed {
    fn add(&mut self, key: KeyId, minute_s: i64, calls: i32) {
        add(self.keys.entry(key).or_default(), minute_s, calls);
    }

    /// Adds what could not be written. Minutes that no window looks at any more are forgotten.
    pub fn put_back(&mut self, older: Self, now: Time) {
        let ended_s = now.timestamp() - 62 * MINUTE_S;
        for (key, minutes) in older.keys {
            for (minute_s, calls) in minutes.into_iter().filter(|(minute_s, _)| *minute_s > ended_s) {
                self.add(key, minute_s, calls);
            }
        }
    }

    /// Keys that have something to tell.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use chrono::{TimeDelta, TimeZone, Utc};

    use super::*;
    use crate::ids::{RequestId, SecretId};

    fn row(key: KeyId, outcome: &'static str, second: i64, agent: &str) -> RequestRow<'static> {
        let at = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap() + TimeDelta::seconds(second);
        RequestRow {
            id: RequestId::at(at),
            at,
            owner: Some((OrgId(uuid::Uuid::nil()), key, SecretId(uuid::Uuid::nil()))),
            method: "GET",
            endpoint: "/api/v1/me",
            status: if outcome == ALLOWED { 200 } else { 403 },
            outcome,
            scope: None,
            ip: "203.0.113.9".parse().unwrap(),
            user_agent: Cow::Owned(agent.to_owned()),
            latency_us: 10,
        }
    }

    fn calls(tally: &Tally, key: KeyId) -> Vec<(i64, &'static str, i64, i64)> {
        let mut sums: Vec<_> = tally.keys[&key]
            .sums
            .iter()
            .map(|(sort, sum)| (sort.bucket_s % 3_600, sort.outcome, sum.calls, sum.latency_us))
            .collect();
        sums.sort_unstable();
        sums
    }

    #[test]
    fn calls_of_one_kind_and_minute_are_one_sum() {
        let (key, mut tally) = (KeyId::new(), Tally::default());
        for (outcome, second) in [(ALLOWED, 1), (ALLOWED, 59), (ALLOWED, 60), ("ip_not_allowed", 61), (ALLOWED, 2)] {
            assert!(tally.count(&row(key, outcome, second, "a")));
        }
        assert_eq!(calls(&tally, key), [(0, ALLOWED, 3, 30), (60, ALLOWED, 1, 10), (60, "ip_not_allowed", 1, 10)]);
        assert_eq!(tally.len(), 3);
    }

    #[test]
    fn the_last_use_is_the_latest_call_that_was_let_through() {
        let (key, mut tally) = (KeyId::new(), Tally::default());
        for (outcome, second, agent) in
            [("revoked", 1, "denied"), (ALLOWED, 3, "newest"), (ALLOWED, 2, "older"), ("revoked", 9, "denied later")]
        {
            assert!(tally.count(&row(key, outcome, second, agent)));
        }
        assert_eq!((&*tally.keys[&key].last.user_agent, tally.keys[&key].last.allowed), ("newest", true));
    }

    #[test]
    fn what_is_put_back_is_added() {
        let (key, other) = (KeyId::new(), KeyId::new());
        let (mut old, mut new) = (Tally::default(), Tally::default());
        assert!(old.count(&row(key, ALLOWED, 1, "old")));
        assert!(new.count(&row(key, ALLOWED, 2, "new")));
        assert!(new.count(&row(other, ALLOWED, 2, "other")));
        assert_eq!(new.put_back(old), 0);
        assert_eq!(calls(&new, key), [(0, ALLOWED, 2, 20)]);
        assert_eq!(new.keys[&key].last.user_agent, "new");
        let mut passed = Passed::default();
        new.pass_on(&mut passed);
        let told: i32 = passed.keys.values().flatten().map(|(_, calls)| calls).sum();
        assert_eq!((told, new.untold()), (3, 0), "each call once");
        let taken = new.take(&[key]);
        assert_eq!((taken.len(), new.len()), (1, 1));
        assert!(new.keys.contains_key(&other));
    }

    #[test]
    fn there_is_a_most_and_what_does_not_fit_is_told() {
        let mut tally = Tally::default();
        let key = KeyId::new();
        assert!(tally.count(&row(key, ALLOWED, 0, "")));
        for _ in 1..MOST_SUMS {
            assert!(tally.count(&row(KeyId::new(), ALLOWED, 0, "")));
        }
        assert!(!tally.count(&row(KeyId::new(), ALLOWED, 0, "")), "no room for another key");
        assert!(!tally.count(&row(key, ALLOWED, 60, "")), "nor for another minute");
        assert!(tally.count(&row(key, ALLOWED, 1, "")), "a known sum grows on");
        let mut newer = Tally::default();
        for key in [key, KeyId::new(), KeyId::new()] {
            assert!(newer.count(&row(key, ALLOWED, 0, "")));
        }
        assert_eq!(newer.put_back(tally), 2);
        assert_eq!(newer.len(), MOST_SUMS);
    }

    #[test]
    fn only_what_passed_is_told_to_others() {
        let (key, mut tally) = (KeyId::new(), Tally::default());
        for (outcome, second) in [("ip_not_allowed", 0), (ALLOWED, 1), ("rate_limited", 2), (ALLOWED, 3), (ALLOWED, 60)]
        {
            assert!(tally.count(&row(key, outcome, second, "")));
        }
        assert_eq!(tally.untold(), 1);
        let (mut passed, mut next) = (Passed::default(), Passed::default());
        tally.pass_on(&mut passed);
        assert_eq!((tally.untold(), tally.len()), (0, 4), "the figures stay");
        assert!(tally.count(&row(key, ALLOWED, 61, "")));
        tally.pass_on(&mut next);
        tally.pass_on(&mut next);
        let now = row(key, ALLOWED, 61, "").at;
        next.put_back(passed, now);
        let counts: Vec<i32> = next.keys[&key].iter().map(|(_, calls)| *calls).collect();
        assert_eq!(counts.iter().sum::<i32>(), 4);
        assert_eq!(counts.len(), 2);
        let mut much_later = Passed::default();
        much_later.put_back(next, now + TimeDelta::hours(2));
        assert!(much_later.keys.values().all(Vec::is_empty));
    }
}
