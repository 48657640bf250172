//! Capture time to positions on the timeline.

use crate::base::time::Stamp;

/// Maps capture time to ticks: samples of the file for WAV, 48 kHz for Opus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) start: Stamp,
    /// Ticks in a second.
    pub(super) hz: u32,
    /// Ticks of silence that were left out, see [`crate::base::limits::GAP_MAX`].
    pub(super) cut: u64,
}

impl Grid {
    /// Returns the tick nearest to `at`; negative before the start.
    pub(super) fn tick(&self, at: Stamp) -> i64 {
        self.ticks(at.nanos_after(self.start)) - self.cut as i64
    }

    /// Returns how many ticks a time is, rounded.
    pub(super) fn ticks(&self, nanos: i64) -> i64 {
        let hz = i64::from(self.hz);
        let (seconds, rest) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
        seconds * hz + (rest * hz + NANOS / 2) / NANOS
    }

    /// Returns milliseconds as ticks.
    pub(super) fn millis(&self, millis: u32) -> i64 {
        i64::from(self.hz) * i64::from(millis) / 1_000
    }

    /// Returns ticks as seconds.
    pub(super) fn seconds(&self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.hz)
    }
}

const NANOS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_to_the_nearest_tick() {
        let grid = Grid { start: Stamp::from_unix_nanos(1_000), hz: 8_000, cut: 0 };
        assert_eq!(grid.tick(Stamp::from_unix_nanos(1_000 + 125_000)), 1);
        assert_eq!(grid.tick(Stamp::from_unix_nanos(1_000 + 187_499)), 1);
        assert_eq!(grid.tick(Stamp::from_unix_nanos(1_000 + 187_500)), 2);
        assert_eq!(grid.ticks(-125_000), -1);
        assert_eq!(grid.ticks(3_600 * NANOS), 28_800_000);
    }
}
