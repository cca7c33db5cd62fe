//! Durations counted in buckets, of which percentiles come: each bucket is a quarter wider than the one before.

use serde::{Deserialize, Serialize};

const GROWTH: f64 = 1.25;
/// Beyond 30 seconds nothing is told apart.
const BUCKETS: usize = 48;

/// How many took how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations(Vec<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

/// The bucket of a duration.
pub fn bucket(ms: u32) -> i16 {
    let bucket = (f64::from(ms) + 1.0).log(GROWTH).floor();
    // Within 0..48.
    bucket.min((BUCKETS - 1) as f64) as i16
}

/// The middle of a bucket, in milliseconds.
fn middle(bucket: usize) -> u32 {
    let bucket = bucket as i32;
    ((GROWTH.powi(bucket) + GROWTH.powi(bucket + 1)) / 2.0 - 1.0).round() as u32
}

impl Durations {
    pub fn add(&mut self, bucket: i16, count: u64) {
        let bucket = usize::try_from(bucket).unwrap_or(0).min(BUCKETS - 1);
        self.0[bucket] += count;
    }

    /// The duration below which this share lies, in milliseconds, within an eighth; `None` without any.
    pub fn percentile(&self, share: f64) -> Option<u32> {
        let total: u64 = self.0.iter().sum();
        let rank = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.0
            .iter()
            .position(|count| {
                seen += count;
                total > 0 && seen >= rank
            })
            .map(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_the_truth() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(0.5), None);
        for ms in 1..=1000 {
            durations.add(bucket(ms), 1);
        }
        for (share, truth) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let told = f64::from(durations.percentile(share).unwrap());
            assert!((told / truth - 1.0).abs() < 0.13, "{share}: {told}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u32::MAX), 47);
        for ms in [3, 10, 100, 999, 5_000, 15_000, 30_000] {
            let told = f64::from(middle(bucket(ms) as usize));
            assert!((told / f64::from(ms) - 1.0).abs() < 0.2, "{ms} reads as {told}");
        }
    }
}
