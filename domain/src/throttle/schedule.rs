//! When the next message may leave: `slot = max(now, next_slot) + delay(mode)`.
//!
//! Randomness comes in from outside, so that the queue can use the system's, the preview a fixed seed,
//! and the tests a counted one.

use super::ThrottleMode;

/// Where a delay's randomness comes from.
pub trait Random {
    /// An even draw from `low..=high`.
    fn draw(&mut self, low: u32, high: u32) -> u32;
}

/// SplitMix64 (Steele, Lea, Flood 2014): a small seeded generator, the same in the browser and on the server.
/// For pacing and previews only, never for secrets.
#[derive(Debug, Clone)]
pub struct SplitMix(pub u64);

impl Random for SplitMix {
    fn draw(&mut self, low: u32, high: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Multiply-shift instead of modulo: no bias that matters at these ranges (< 2⁻⁴⁴).
        let range = u128::from(high.max(low) - low) + 1;
        low + ((u128::from(z) * range) >> 64) as u32
    }
}

/// A place in an instance's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// Least distance to the message before it, also when that one leaves later than it should.
    pub gap_ms: u32,
}

/// The pacing state of one instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Milliseconds since the epoch at which the last message left or will leave.
    pub last_slot_ms: Option<i64>,
    /// Messages since the last batch pause (mode `Smart`).
    pub in_batch: u32,
}

impl Pace {
    /// Takes the next slot. The first message of an idle instance leaves at once: the delay stands *between* messages.
    pub fn take(&mut self, mode: ThrottleMode, now_ms: i64, random: &mut impl Random) -> i64 {
        self.take_slot(mode, now_ms, random).at_ms
    }

    /// The same, and the gap that was drawn.
    pub fn take_slot(&mut self, mode: ThrottleMode, now_ms: i64, random: &mut impl Random) -> Slot {
        let slot = match self.last_slot_ms {
            None => Slot { at_ms: now_ms, gap_ms: 0 },
            Some(last) => {
                let gap_ms = self.delay(mode, random);
                Slot { at_ms: now_ms.max(last + i64::from(gap_ms)), gap_ms }
            }
        };
        self.last_slot_ms = Some(slot.at_ms);
        self.in_batch += 1;
        slot
    }

    fn delay(&mut self, mode: ThrottleMode, random: &mut impl Random) -> u32 {
        match mode {
            ThrottleMode::Off => 0,
            ThrottleMode::Fixed { delay_ms } => delay_ms,
            ThrottleMode::Random { min_ms, max_ms } => random.draw(min_ms, max_ms),
            ThrottleMode::Smart { min_ms, max_ms, batch_size, cooldown_ms } => {
                let delay = random.draw(min_ms, max_ms);
                if self.in_batch >= batch_size {
                    self.in_batch = 0;
                    delay + cooldown_ms
                } else {
                    delay
                }
            }
        }
    }
}

/// The next `count` send times of an idle instance, in milliseconds from now: what the dialog draws.
pub fn preview(mode: ThrottleMode, count: usize, seed: u64) -> Vec<i64> {
    let (mut pace, mut random) = (Pace::default(), SplitMix(seed));
    (0..count).map(|_| pace.take(mode, 0, &mut random)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn modes() -> impl Strategy<Value = ThrottleMode> {
        prop_oneof![
            Just(ThrottleMode::Off),
            (0u32..600_000).prop_map(|delay_ms| ThrottleMode::Fixed { delay_ms }),
            (0u32..300_000, 0u32..300_000).prop_map(|(a, b)| ThrottleMode::Random { min_ms: a, max_ms: a + b }),
            (0u32..60_000, 0u32..60_000, 1u32..50, 0u32..600_000).prop_map(|(a, b, batch_size, cooldown_ms)| {
                ThrottleMode::Smart { min_ms: a, max_ms: a + b, batch_size, cooldown_ms }
            }),
        ]
    }

    proptest! {
        #[test]
        fn gaps_keep_to_the_mode(mode in modes(), seed: u64, waits in proptest::collection::vec(0i64..200_000, 1..80)) {
            let (mut pace, mut random, mut now) = (Pace::default(), SplitMix(seed), 1_000_000i64);
            let mut last: Option<i64> = None;
            for (i, wait) in waits.into_iter().enumerate() {
                now += wait;
                let slot = pace.take(mode, now, &mut random);
                prop_assert!(slot >= now, "never in the past");
                if let Some(last) = last {
                    let (low, high) = match mode {
                        ThrottleMode::Off => (0, 0),
                        ThrottleMode::Fixed { delay_ms } => (delay_ms, delay_ms),
                        ThrottleMode::Random { min_ms, max_ms } => (min_ms, max_ms),
                        ThrottleMode::Smart { min_ms, max_ms, batch_size, cooldown_ms } => {
                            let pause = if (i as u32).is_multiple_of(batch_size) { cooldown_ms } else { 0 };
                            (min_ms + pause, max_ms + pause)
                        }
                    };
                    prop_assert!(slot - last >= i64::from(low), "gap {} below {low}", slot - last);
                    prop_assert!(slot == now || slot - last <= i64::from(high), "waited longer than the mode asks");
                }
                last = Some(slot);
            }
        }

        #[test]
        fn draws_stay_in_range(seed: u64, low in 0u32..1000, width in 0u32..1000) {
            let mut random = SplitMix(seed);
            for _ in 0..100 {
                let drawn = random.draw(low, low + width);
                prop_assert!((low..=low + width).contains(&drawn));
            }
        }
    }

    #[test]
    fn random_delays_are_evenly_spread() {
        let mode = ThrottleMode::Random { min_ms: 3_000, max_ms: 8_000 };
        let slots = preview(mode, 20_001, 7);
        let gaps: Vec<i64> = slots.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<i64>() as f64 / gaps.len() as f64;
        assert!((mean - 5_500.0).abs() < 30.0, "mean {mean}");
        for fifth in 0..5 {
            let share = gaps.iter().filter(|g| (**g - 3_000) / 1_001 == fifth).count() as f64 / gaps.len() as f64;
            assert!((share - 0.2).abs() < 0.02, "fifth {fifth}: {share}");
        }
    }

    #[test]
    fn a_smart_batch_pauses() {
        let mode = ThrottleMode::Smart { min_ms: 1_000, max_ms: 1_000, batch_size: 3, cooldown_ms: 60_000 };
        assert_eq!(preview(mode, 7, 1), [0, 1_000, 2_000, 63_000, 64_000, 65_000, 126_000]);
        assert_eq!(mode.per_minute().map(|n| n.round()), Some(3.0));
    }
}
