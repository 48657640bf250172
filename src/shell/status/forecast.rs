//! When the disk will be full: a straight line through the free space of the last hour.

use std::collections::VecDeque;
use std::time::Duration;

/// Free space over the last hour.
#[derive(Debug, Default)]
pub(super) struct DiskForecast {
    /// Time since the start, free bytes; oldest first.
    samples: VecDeque<(Duration, u64)>,
    latest_bytes: u64,
}

impl DiskForecast {
    /// Takes in the free space `at` this time since the start.
    pub(super) fn push(&mut self, at: Duration, free_bytes: u64) {
        self.latest_bytes = free_bytes;
        if self.samples.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= SAMPLE_EVERY) {
            self.samples.push_back((at, free_bytes));
        }
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Seconds until nothing is free; none where it does not fill, or too little is known.
    pub(super) fn full_in_s(&self) -> Option<f64> {
        let (first, _) = *self.samples.front()?;
        let (last, _) = *self.samples.back()?;
        if last.saturating_sub(first) < SPAN_MIN {
            return None;
        }
        let points: Vec<_> = self
            .samples
            .iter()
            .map(|(at, free)| (at.saturating_sub(first).as_secs_f64(), *free as f64))
            .collect();
        seconds_until_zero(&points, self.latest_bytes as f64)
    }
}

/// Fits a line through (seconds, bytes) by least squares and tells when `now_bytes` are used up at its
/// slope. None where it does not fall.
fn seconds_until_zero(points: &[(f64, f64)], now_bytes: f64) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = covariance / variance;
    (slope < 0.0).then(|| now_bytes / -slope)
}

/// How far apart samples are kept.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// An hour of them.
const SAMPLES_MAX: usize = 360;
/// Less says nothing.
const SPAN_MIN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(points: impl IntoIterator<Item = (u64, u64)>) -> Option<f64> {
        let mut forecast = DiskForecast::default();
        points.into_iter().for_each(|(at, free)| forecast.push(Duration::from_secs(at), free));
        forecast.full_in_s()
    }

    #[test]
    fn a_disk_that_fills_evenly_is_foretold() {
        // 1,000 bytes a second.
        let full = forecast((0..30).map(|n| (n * 10, 1_000_000 - n * 10_000))).unwrap();
        assert!((full - 710.0).abs() < 1e-6, "{full}");
    }

    #[test]
    fn what_does_not_fill_or_is_too_new_is_not_foretold() {
        assert_eq!(forecast([]), None);
        assert_eq!(forecast([(0, 500)]), None);
        assert_eq!(forecast([(0, 500), (60, 400)]), None);
        assert_eq!(forecast((0..30).map(|n| (n * 10, 500))), None);
        assert_eq!(forecast((0..30).map(|n| (n * 10, 500 + n))), None);
    }

    #[test]
    fn noise_does_not_decide_and_an_hour_is_kept() {
        let saw = |n: u64| (n * 10, 100_000_000 - n * 10_000 + (n % 2) * 5_000);
        let full = forecast((0..360).map(saw)).unwrap();
        let expected = (100_000_000.0 - 359.0 * 10_000.0 + 5_000.0) / 1_000.0;
        assert!((full - expected).abs() / expected < 0.01, "{full} {expected}");
        // Two hours of standing still, then an hour of filling: only the last hour counts.
        let late = |n: u64| (n * 10, 100_000_000 - n.saturating_sub(720) * 10_000);
        let full = forecast((0..1_080).map(late)).unwrap();
        assert!((full - 96_410.0).abs() < 50.0, "{full}");
    }

    #[test]
    fn updates_every_second_do_not_fill_the_memory() {
        let mut forecast = DiskForecast::default();
        for second in 0..10_000 {
            forecast.push(Duration::from_secs(second), 1_000_000_000 - second * 100);
        }
        assert!(forecast.samples.len() <= SAMPLES_MAX);
        let full = forecast.full_in_s().unwrap();
        assert!((full - (1e9 - 999_900.0) / 100.0).abs() < 1_000.0, "{full}");
    }
}
