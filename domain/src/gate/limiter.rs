//! A sliding hour for each key: how many calls were let through in the last 3,600 seconds.
//!
//! On one server the count is exact: each call is remembered until it is an hour old. Calls of one tick share an
//! entry; a tick is a millisecond for limits up to 10,000 an hour and a second above, which bounds the memory of a key
//! to 160 kB. A call made within a tick counts until the whole tick is an hour old, so the limit is never exceeded
//! in any 3,600 s and a place frees at most one tick late.
//!
//! Several servers tell each other their counts by the minute through the database ([`Window::set_foreign`]).
//! They learn of each other's calls with a delay of about two seconds; within it, each may let through what the
//! others have just used up. These foreign counts are kept by the minute and, to stay on the safe side, count
//! until the end of their minute is an hour old. The same counts restore a window after a restart.

use std::collections::VecDeque;

/// One sliding hour in milliseconds.
pub const WINDOW_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Above this many calls an hour a tick is a second long.
const FINE_LIMIT: u32 = 10_000;

/// A window as it stands at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Calls of the last hour.
    pub used: u32,
    /// Milliseconds until the oldest of them leaves the window; 0 when it is empty.
    pub frees_in_ms: i64,
}

impl Rate {
    /// Whole seconds, never 0: for `Retry-After`.
    pub fn retry_after_s(self) -> u64 {
        u64::try_from(self.frees_in_ms).unwrap_or(0).div_ceil(1000).max(1)
    }
}

/// The sliding hour of one key.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// (tick start, calls), oldest first.
    own: VecDeque<(i64, u32)>,
    own_total: u32,
    /// (minute start, calls) by other servers and by earlier lives of this one; at most 62 entries.
    foreign: Vec<(i64, u32)>,
}

impl Window {
    /// The calls of the last hour. Forgets older ones.
    pub fn rate(&mut self, limit: u32, now_ms: i64) -> Rate {
        let tick = tick_ms(limit);
        // Entries keep the tick they were made with; dropping by the longer one when the limit changes only delays.
        while let Some((start, calls)) = self.own.front().copied() {
            if start + tick - 1 + WINDOW_MS > now_ms {
                break;
            }
            self.own_total -= calls;
            self.own.pop_front();
        }
        self.foreign.retain(|(start, _)| start + MINUTE_MS + WINDOW_MS > now_ms);
        let foreign: u32 = self.foreign.iter().map(|(_, calls)| calls).sum();
        let ends = [
            self.own.front().map(|(start, _)| start + tick - 1 + WINDOW_MS),
            self.foreign.iter().map(|(start, _)| start + MINUTE_MS + WINDOW_MS).min(),
        ];
        Rate {
            used: self.own_total + foreign,
            frees_in_ms: ends.into_iter().flatten().min().map_or(0, |end| (end - now_ms).max(1)),
        }
    }

    /// Counts one call that was let through.
    pub fn record(&mut self, limit: u32, now_ms: i64) {
        let start = now_ms - now_ms.rem_euclid(tick_ms(limit));
        match self.own.back_mut() {
            // A clock that steps back must not break the order: the call joins the newest tick.
            Some(last) if last.0 >= start => last.1 += 1,
            _ => self.own.push_back((start, 1)),
        }
        self.own_total += 1;
    }

    /// What other servers counted in a minute, as a total (not an increase).
    pub fn set_foreign(&mut self, minute_ms: i64, calls: u32) {
        match self.foreign.iter_mut().find(|(start, _)| *start == minute_ms) {
            Some(entry) => entry.1 = calls,
            None => self.foreign.push((minute_ms, calls)),
        }
    }
}

fn tick_ms(limit: u32) -> i64 {
    if limit > FINE_LIMIT { 1_000 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(window: &mut Window, limit: u32, now: i64) -> bool {
        let ok = window.rate(limit, now).used < limit;
        if ok {
            window.record(limit, now);
        }
        ok
    }

    proptest! {
        /// Against the plain definition: a call passes exactly when fewer than `limit` passed in (now − 1 h, now].
        #[test]
        fn never_over_and_never_under(limit in 1u32..30, gaps in proptest::collection::vec(0i64..400_000, 1..400)) {
            let (mut window, mut passed, mut now) = (Window::default(), Vec::new(), 1_800_000_000_000i64);
            for gap in gaps {
                now += gap;
                let expected = passed.iter().filter(|t| **t > now - WINDOW_MS).count() < limit as usize;
                prop_assert_eq!(call(&mut window, limit, now), expected);
                if expected {
                    passed.push(now);
                }
            }
        }

        /// With ticks of a second: never over in any 3,600 s, and never refused a second after a place is free.
        #[test]
        fn coarse_ticks_err_on_the_safe_side(gaps in proptest::collection::vec(0i64..2_000, 1..50), used in 0u32..50) {
            let limit = FINE_LIMIT + 1;
            let (mut window, mut now) = (Window::default(), 1_800_000_000_000i64);
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                for _ in 0..used {
                    window.record(limit, now);
                    passed.push(now);
                }
                let counted = window.rate(limit, now).used as usize;
                let exact = passed.iter().filter(|t| **t > now - WINDOW_MS).count();
                let late = passed.iter().filter(|t| **t > now - WINDOW_MS - 1_000).count();
                prop_assert!(exact <= counted && counted <= late);
            }
            let much_later = now + WINDOW_MS + 1_000;
            prop_assert_eq!(window.rate(limit, much_later).used, 0);
        }

        /// After the wait that was told, a place is free, and not before.
        #[test]
        fn retry_after_is_true(limit in 1u32..20, gaps in proptest::collection::vec(0i64..100_000, 20..60)) {
            let (mut window, mut now) = (Window::default(), 1_800_000_000_000i64);
            for gap in gaps {
                now += gap;
                let rate = window.rate(limit, now);
                if rate.used >= limit {
                    let mut later = window.clone();
                    prop_assert!(later.rate(limit, now + rate.frees_in_ms).used < limit);
                    let mut earlier = window.clone();
                    prop_assert!(earlier.rate(limit, now + rate.frees_in_ms - 1).used >= limit);
                } else {
                    window.record(limit, now);
                }
            }
        }
    }

    #[test]
    fn other_servers_count_too_and_age_out() {
        let (mut window, now) = (Window::default(), 1_800_000_000_000i64);
        let minute = now - now % MINUTE_MS;
        window.set_foreign(minute, 4);
        window.set_foreign(minute, 6);
        assert_eq!(window.rate(10, now).used, 6);
        window.record(10, now);
        assert_eq!(window.rate(10, now).used, 7);
        assert_eq!(window.rate(10, minute + MINUTE_MS + WINDOW_MS).used, 0);
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_call() {
        let (mut window, now) = (Window::default(), 1_800_000_000_000i64);
        window.record(5, now);
        window.record(5, now - 10_000);
        assert_eq!(window.rate(5, now).used, 2);
        assert_eq!(window.rate(5, now + WINDOW_MS).used, 0);
    }
}
