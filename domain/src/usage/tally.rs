//! Calls counted in memory, by key, until the figures are written next.
//!
//! The figures of the console come from here and not from the rows of the request log: they stay true even when rows
//! had to be dropped.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use foldhash::fast::RandomState;

use super::{ALLOWED, RequestRow};
use crate::{
    ids::{KeyId, OrgId},
    time::Time,
};

/// Sums that wait at most while the database is away: about 100 bytes each, and 300 more for each key.
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
    /// Tells whether the text below is the same, without a look at it.
    user_agent_hash: u64,
    pub user_agent: String,
}

impl Last {
    /// A call that was let through counts more than a later one that was not.
    fn rank(&self) -> (bool, Time) {
        (self.allowed, self.at)
    }
}

/// One key's calls. What nearly every call touches stands here and in no memory of its own.
#[derive(Debug)]
pub(super) struct KeyTally {
    pub key: KeyId,
    pub organization: OrgId,
    /// The sum that was begun last. A key has few at a time, so they are looked through.
    newest: (Sort, Sum),
    others: Vec<(Sort, Sum)>,
    pub last: Last,
    /// The calls of a minute (its start in seconds) that were let through and are not in [`Passed`] yet.
    untold: (i64, i32),
}

impl KeyTally {
    fn sum(&mut self, sort: &Sort) -> Option<&mut Sum> {
        if self.newest.0 == *sort {
            return Some(&mut self.newest.1);
        }
        self.others.iter_mut().rev().find(|(known, _)| known == sort).map(|(_, sum)| sum)
    }

    fn begin(&mut self, sort: Sort, sum: Sum) {
        self.others.push(std::mem::replace(&mut self.newest, (sort, sum)));
    }

    pub fn sums(&self) -> impl Iterator<Item = &(Sort, Sum)> {
        self.others.iter().chain([&self.newest])
    }

    /// How many sums there are.
    pub fn len(&self) -> usize {
        self.others.len() + 1
    }
}

/// Where a key was counted last: there it is found again without a look-up. Only a hint, it may be wrong.
#[derive(Debug, Default)]
pub struct Place(AtomicU32);

/// Calls of many keys.
#[derive(Debug, Default)]
pub struct Tally {
    keys: Vec<KeyTally>,
    places: HashMap<KeyId, u32, RandomState>,
    sums: usize,
    /// Keys with untold calls.
    untold: Vec<KeyId>,
    /// Untold calls of minutes before their keys' last one.
    passed: Passed,
}

impl Tally {
    /// Counts a call. False when there are too many sums already: then the call is in no figure.
    #[must_use]
    pub fn count(&mut self, row: &RequestRow<'_>, place: &Place) -> bool {
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
        let user_agent_hash = self.places.hasher().hash_one(&*row.user_agent);
        let Some(found) = self.find(key, place) else {
            if full {
                return false;
            }
            let user_agent = row.user_agent.clone().into_owned();
            let last = Last { at: row.at, allowed, ip: row.ip, user_agent_hash, user_agent };
            if allowed {
                self.untold.push(key);
            }
            let untold = if allowed { (sort.bucket_s, 1) } else { (0, 0) };
            let found =
                self.insert(KeyTally { key, organization, newest: (sort, sum), others: Vec::new(), last, untold });
            place.0.store(found, Relaxed);
            return true;
        };
        let tally = &mut self.keys[found];
        if allowed {
            let (minute_s, calls) = &mut tally.untold;
            if *calls == 0 {
                self.untold.push(key);
            } else if *minute_s != sort.bucket_s {
                self.passed.add(key, *minute_s, std::mem::take(calls));
            }
            *minute_s = sort.bucket_s;
            *calls += 1;
        }
        if (allowed, row.at) >= tally.last.rank() {
            (tally.last.at, tally.last.allowed, tally.last.ip) = (row.at, allowed, row.ip);
            if tally.last.user_agent_hash != user_agent_hash {
                tally.last.user_agent_hash = user_agent_hash;
                tally.last.user_agent.clear();
                tally.last.user_agent.push_str(&row.user_agent);
            }
        }
        match tally.sum(&sort) {
            Some(known) => *known += sum,
            None if full => return false,
            None => {
                tally.begin(sort, sum);
                self.sums += 1;
            }
        }
        true
    }

    fn find(&self, key: KeyId, place: &Place) -> Option<usize> {
        let hint = place.0.load(Relaxed) as usize;
        if self.keys.get(hint).is_some_and(|tally| tally.key == key) {
            return Some(hint);
        }
        let found = *self.places.get(&key)?;
        place.0.store(found, Relaxed);
        Some(found as usize)
    }

    fn get_mut(&mut self, key: KeyId) -> Option<&mut KeyTally> {
        self.keys.get_mut(*self.places.get(&key)? as usize)
    }

    /// Adds a key that is not here.
    fn insert(&mut self, tally: KeyTally) -> u32 {
        // `MOST_SUMS` is the most there can be.
        let place = self.keys.len() as u32;
        self.places.insert(tally.key, place);
        self.sums += tally.len();
        self.keys.push(tally);
        place
    }

    /// Adds what could not be written, and is older than what is here. Returns the calls for which there is no room.
    pub fn put_back(&mut self, older: Self) -> u64 {
        let mut lost = 0;
        let newer = std::mem::replace(self, older);
        for (key, minutes) in newer.passed.keys {
            for (minute_s, calls) in minutes {
                self.passed.add(key, minute_s, calls);
            }
        }
        for mut tally in newer.keys {
            let key = tally.key;
            if tally.untold.1 > 0 {
                let (minute_s, calls) = std::mem::take(&mut tally.untold);
                self.passed.add(key, minute_s, calls);
            }
            let Some(&place) = self.places.get(&key) else {
                if self.sums + tally.len() > MOST_SUMS {
                    lost += tally.sums().map(|(_, sum)| sum.calls.unsigned_abs()).sum::<u64>();
                } else {
                    self.insert(tally);
                }
                continue;
            };
            let known = &mut self.keys[place as usize];
            for (sort, sum) in tally.sums() {
                match known.sum(sort) {
                    Some(known) => *known += *sum,
                    None if self.sums >= MOST_SUMS => lost += sum.calls.unsigned_abs(),
                    None => {
                        known.begin(*sort, *sum);
                        self.sums += 1;
                    }
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
        for (key, minutes) in self.passed.keys.drain() {
            for (minute_s, calls) in minutes {
                passed.add(key, minute_s, calls);
            }
        }
        for key in std::mem::take(&mut self.untold) {
            let Some(tally) = self.get_mut(key) else { continue };
            let (minute_s, calls) = std::mem::take(&mut tally.untold);
            if calls > 0 {
                passed.add(key, minute_s, calls);
            }
        }
    }

    /// Keys with calls that [`Tally::pass_on`] would take, about.
    pub fn untold(&self) -> usize {
        self.untold.len().max(self.passed.len())
    }

    /// Takes these keys out, those of them that are here. [`Tally::pass_on`] comes first.
    pub fn take(&mut self, keys: &[KeyId]) -> Self {
        let mut taken = Self::default();
        for key in keys {
            let Some(place) = self.places.remove(key) else { continue };
            let tally = self.keys.swap_remove(place as usize);
            if let Some(moved) = self.keys.get(place as usize) {
                self.places.insert(moved.key, place);
            }
            self.sums -= tally.len();
            taken.insert(tally);
        }
        taken
    }

    pub(super) fn keys(&self) -> &[KeyTally] {
        &self.keys
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

    /// As for a caller that nobody has counted before.
    fn count(tally: &mut Tally, row: &RequestRow<'_>) -> bool {
        tally.count(row, &Place::default())
    }

    fn of(tally: &Tally, key: KeyId) -> &KeyTally {
        &tally.keys[tally.places[&key] as usize]
    }

    fn calls(tally: &Tally, key: KeyId) -> Vec<(i64, &'static str, i64, i64)> {
        let mut sums: Vec<_> = of(tally, key)
            .sums()
            .map(|(sort, sum)| (sort.bucket_s % 3_600, sort.outcome, sum.calls, sum.latency_us))
            .collect();
        sums.sort_unstable();
        sums
    }

    #[test]
    fn calls_of_one_kind_and_minute_are_one_sum() {
        let (key, mut tally) = (KeyId::new(), Tally::default());
        for (outcome, second) in [(ALLOWED, 1), (ALLOWED, 59), (ALLOWED, 60), ("ip_not_allowed", 61), (ALLOWED, 2)] {
            assert!(count(&mut tally, &row(key, outcome, second, "a")));
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
            assert!(count(&mut tally, &row(key, outcome, second, agent)));
        }
        assert_eq!((&*of(&tally, key).last.user_agent, of(&tally, key).last.allowed), ("newest", true));
    }

    #[test]
    fn what_is_put_back_is_added() {
        let (key, other) = (KeyId::new(), KeyId::new());
        let (mut old, mut new) = (Tally::default(), Tally::default());
        assert!(count(&mut old, &row(key, ALLOWED, 1, "old")));
        assert!(count(&mut new, &row(key, ALLOWED, 2, "new")));
        assert!(count(&mut new, &row(other, ALLOWED, 2, "other")));
        assert_eq!(new.put_back(old), 0);
        assert_eq!(calls(&new, key), [(0, ALLOWED, 2, 20)]);
        assert_eq!(of(&new, key).last.user_agent, "new");
        let mut passed = Passed::default();
        new.pass_on(&mut passed);
        let told: i32 = passed.keys.values().flatten().map(|(_, calls)| calls).sum();
        assert_eq!((told, new.untold()), (3, 0), "each call once");
        let taken = new.take(&[key]);
        assert_eq!((taken.len(), new.len()), (1, 1));
        assert_eq!(calls(&new, other), [(0, ALLOWED, 1, 10)], "found where it is now");
    }

    /// With places of all kinds: right, outdated, never set, and those of another tally.
    #[test]
    fn wrong_places_do_no_harm() {
        let keys: Vec<KeyId> = (0..5).map(|_| KeyId::new()).collect();
        let places: Vec<Place> = keys.iter().map(|_| Place::default()).collect();
        let (mut tally, mut taken) = (Tally::default(), Tally::default());
        for round in 0..20i64 {
            for (n, (key, place)) in keys.iter().zip(&places).enumerate() {
                assert!(tally.count(&row(*key, ALLOWED, round * 7, "a"), place));
                if (round as usize + n).is_multiple_of(4) {
                    tally.pass_on(&mut Passed::default());
                    let out = tally.take(&[keys[(n + 2) % 5]]);
                    assert_eq!(taken.put_back(out), 0);
                }
                if round % 6 == 5 && n == 3 {
                    tally.pass_on(&mut Passed::default());
                    assert_eq!(taken.put_back(std::mem::take(&mut tally)), 0);
                }
            }
        }
        assert_eq!(taken.put_back(tally), 0);
        for key in keys {
            assert_eq!(calls(&taken, key).iter().map(|(.., calls, _)| calls).sum::<i64>(), 20);
        }
        assert_eq!(taken.len(), 5 * 3, "three minutes each");
    }

    #[test]
    fn there_is_a_most_and_what_does_not_fit_is_told() {
        let mut tally = Tally::default();
        let key = KeyId::new();
        assert!(count(&mut tally, &row(key, ALLOWED, 0, "")));
        for _ in 1..MOST_SUMS {
            assert!(count(&mut tally, &row(KeyId::new(), ALLOWED, 0, "")));
        }
        assert!(!count(&mut tally, &row(KeyId::new(), ALLOWED, 0, "")), "no room for another key");
        assert!(!count(&mut tally, &row(key, ALLOWED, 60, "")), "nor for another minute");
        assert!(count(&mut tally, &row(key, ALLOWED, 1, "")), "a known sum grows on");
        let mut newer = Tally::default();
        for key in [key, KeyId::new(), KeyId::new()] {
            assert!(count(&mut newer, &row(key, ALLOWED, 0, "")));
        }
        assert_eq!(newer.put_back(tally), 2);
        assert_eq!(newer.len(), MOST_SUMS);
    }

    #[test]
    fn only_what_passed_is_told_to_others() {
        let (key, mut tally) = (KeyId::new(), Tally::default());
        for (outcome, second) in [("ip_not_allowed", 0), (ALLOWED, 1), ("rate_limited", 2), (ALLOWED, 3), (ALLOWED, 60)]
        {
            assert!(count(&mut tally, &row(key, outcome, second, "")));
        }
        assert_eq!(tally.untold(), 1);
        let (mut passed, mut next) = (Passed::default(), Passed::default());
        tally.pass_on(&mut passed);
        assert_eq!((tally.untold(), tally.len()), (0, 4), "the figures stay");
        assert!(count(&mut tally, &row(key, ALLOWED, 61, "")));
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
