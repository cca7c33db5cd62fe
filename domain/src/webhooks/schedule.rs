//! When a failed delivery is tried again: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h after the attempt before it.

/// Seconds from the first, second … failed attempt to the next one.
const PAUSES_S: [u32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// Attempts of a delivery before it is given up.
pub const ATTEMPTS: u32 = PAUSES_S.len() as u32 + 1;

/// Longest `Retry-After` that is honoured.
const LONGEST_S: u32 = 36_000;

/// Milliseconds until the next attempt, `None` when there is none. `done`: attempts so far. `draw`: an even draw from
/// 0..1, of which comes ±20 % of jitter, so that what failed together does not come back together.
/// `asked_s`: the endpoint's own `Retry-After`, in seconds.
pub fn pause_ms(done: u32, draw: f64, asked_s: Option<u32>) -> Option<i64> {
    let pause_s = *PAUSES_S.get(usize::try_from(done.checked_sub(1)?).ok()?)?;
    let own = f64::from(pause_s) * 1000.0 * (0.8 + 0.4 * draw.clamp(0.0, 1.0));
    let asked = f64::from(asked_s.unwrap_or(0).min(LONGEST_S)) * 1000.0;
    // At most 43,200,000.
    Some(own.max(asked).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_attempts_within_the_published_pauses() {
        let pauses: Vec<_> = (1..).map_while(|done| pause_ms(done, 0.5, None)).collect();
        assert_eq!(pauses, [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000]);
        assert_eq!(pauses.len() as u32 + 1, ATTEMPTS);
        assert_eq!(pause_ms(1, 0.0, None), Some(4_000));
        assert_eq!(pause_ms(1, 1.0, None), Some(6_000));
        assert_eq!(pause_ms(0, 0.5, None), None);
    }

    #[test]
    fn waits_as_long_as_it_is_asked_to() {
        assert_eq!(pause_ms(1, 0.5, Some(60)), Some(60_000));
        assert_eq!(pause_ms(2, 0.5, Some(60)), Some(300_000), "never sooner than the schedule");
        assert_eq!(pause_ms(1, 0.5, Some(u32::MAX)), Some(36_000_000), "not for ever");
        assert_eq!(pause_ms(8, 0.5, Some(60)), None, "and not beyond the last attempt");
    }
}
