//! How long something took, in buckets that grow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts by upper bound, as Prometheus has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Histogram {
    /// Counts up to each of [`BOUNDS_S`], then what is more. Each value is in one of them.
    pub counts: Vec<u64>,
    /// All of them together, in seconds.
    pub sum_s: f64,
    /// The last one, in seconds.
    pub last_s: f64,
}

impl Histogram {
    /// Takes in one more.
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts.resize(BOUNDS_S.len() + 1, 0);
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        self.counts[bucket] += 1;
        self.sum_s += seconds;
        self.last_s = seconds;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Upper bounds in seconds: a disk that does well, one that does not, and a stall.
pub const BOUNDS_S: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_one_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.count(), 0);
        for millis in [1, 2, 2_000, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 4);
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[10]), (1, 1, 1));
        assert_eq!(histogram.counts.last(), Some(&1));
        assert!((histogram.sum_s - 62.003).abs() < 1e-9 && histogram.last_s == 60.0);
    }
}
