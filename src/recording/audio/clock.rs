//! RTP timestamps to positions on the timeline.

use crate::base::limits::REORDER_WINDOW;
use crate::base::time::Stamp;
use crate::recording::audio::drift::{Advice, Drift};
use crate::recording::audio::grid::Grid;

/// The media clock of one stream, anchored to the timeline.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// RTP clock rate.
    hz: u32,
    grid_hz: u32,
    /// Where `units` 0 is.
    anchor: i64,
    /// RTP time since the anchor, unwrapped.
    units: i64,
    timestamp: u32,
    /// Ticks that drift correction has moved the stream.
    applied: i64,
    /// Ticks from the latest packet's place to its arrival.
    lag: i64,
    drift: Drift,
    /// Packets that may still be far behind while a stalled way empties itself.
    catching_up: u32,
    /// Samples since one was put in or left out.
    credit: i64,
}

/// What a packet's RTP time and arrival say together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    /// They agree.
    Agrees,
    /// The RTP clock went on as the sequence numbers did, and the packet came far too late: the
    /// sender paused its clock, or the way was blocked. What comes next tells.
    Stalled,
    /// The RTP clock was set.
    Jumped,
}

impl Clock {
    /// Anchors `timestamp` at tick `place`.
    pub(super) fn new(grid: &Grid, hz: u32, timestamp: u32, place: i64) -> Self {
        Self {
            hz: hz.max(1),
            grid_hz: grid.hz,
            anchor: place,
            units: 0,
            timestamp,
            applied: 0,
            lag: 0,
            drift: Drift::default(),
            catching_up: 0,
            credit: 0,
        }
    }

    /// Returns the RTP clock rate.
    pub(super) fn hz(&self) -> u32 {
        self.hz
    }

    /// Returns the place of `timestamp`.
    pub(super) fn place(&self, timestamp: u32) -> i64 {
        self.place_of(self.unwrap(timestamp))
    }

    fn unwrap(&self, timestamp: u32) -> i64 {
        self.units + i64::from(timestamp.wrapping_sub(self.timestamp) as i32)
    }

    fn place_of(&self, units: i64) -> i64 {
        self.anchor + self.applied + self.ticks(units)
    }

    /// Returns RTP units as ticks.
    pub(super) fn ticks(&self, units: i64) -> i64 {
        if self.hz == self.grid_hz {
            return units;
        }
        (units * i64::from(self.grid_hz)).div_euclid(i64::from(self.hz))
    }

    /// Compares a packet's RTP time with its arrival at tick `arrival`. `went_on` tells whether
    /// its timestamp is where the sequence numbers say it must be.
    pub(super) fn fit(&self, timestamp: u32, arrival: i64, went_on: bool, grid: &Grid) -> Fit {
        let lag = arrival - self.place(timestamp);
        if lag.abs() <= grid.millis(LAG_MAX_MS) || (self.catching_up > 0 && lag > 0) {
            Fit::Agrees
        } else if went_on && lag > 0 {
            Fit::Stalled
        } else {
            Fit::Jumped
        }
    }

    /// The same for a packet that came after later ones: it may be late by as much as is waited for,
    /// and says nothing of those around it.
    pub(super) fn fits_overtaken(&self, timestamp: u32, arrival: i64, grid: &Grid) -> bool {
        let lag = arrival - self.place(timestamp);
        let most = grid.millis(LAG_MAX_MS) + grid.ticks(REORDER_WINDOW.as_nanos() as i64);
        self.catching_up > 0 || (-grid.millis(LAG_MAX_MS)..=most).contains(&lag)
    }

    /// Lets the coming packets be far behind: the way was blocked.
    pub(super) fn catch_up(&mut self) {
        self.catching_up = CATCH_UP_PACKETS;
    }

    /// Moves on to a packet, and looks at when it came where that says something. Returns its place.
    pub(super) fn advance(&mut self, timestamp: u32, arrival: Option<i64>, grid: &Grid) -> i64 {
        self.units = self.unwrap(timestamp);
        self.timestamp = timestamp;
        let place = self.place_of(self.units);
        let Some(arrival) = arrival else { return place };
        self.lag = arrival - place;
        self.catching_up =
            if self.lag <= grid.millis(LAG_MAX_MS) { 0 } else { self.catching_up.saturating_sub(1) };
        place
    }

    /// Returns what should be done about drift; see [`Self::moved`].
    pub(super) fn drift(&mut self, at: Stamp) -> Advice {
        self.drift.observe(at, self.lag + self.applied, self.applied, self.grid_hz)
    }

    /// Returns how many samples may be put in or left out of a packet of `samples` now. In silence
    /// nobody hears it.
    pub(super) fn gently(&mut self, samples: usize, silent: bool) -> i64 {
        if silent {
            return samples as i64 / STRETCHED_SILENCE;
        }
        self.credit = (self.credit + samples as i64).min(2 * STRETCHED_SOUND);
        let most = i64::from(self.credit >= STRETCHED_SOUND);
        self.credit -= most * STRETCHED_SOUND;
        most
    }

    /// Tells that all after the latest packet is moved by `ticks`.
    pub(super) fn moved(&mut self, ticks: i64) {
        self.applied += ticks;
    }
}

/// Further apart, RTP time and arrival do not belong together.
const LAG_MAX_MS: u32 = 400;
/// One sample of so many is not heard.
const STRETCHED_SOUND: i64 = 200;
/// The same in silence.
const STRETCHED_SILENCE: i64 = 40;
/// A second of packets.
const CATCH_UP_PACKETS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid { start: Stamp::ZERO, hz: 16_000, cut: 0 }
    }

    #[test]
    fn timestamps_wrap() {
        let mut clock = Clock::new(&grid(), 8_000, u32::MAX - 79, 1_000);
        assert_eq!(clock.advance(80, Some(1_000), &grid()), 1_320);
        assert_eq!(clock.place(u32::MAX - 79), 1_000);
    }

    #[test]
    fn jumps_and_stalls_are_told_apart() {
        let mut clock = Clock::new(&grid(), 8_000, 0, 0);
        clock.advance(160, Some(320), &grid());
        assert_eq!(clock.fit(320, 640, true, &grid()), Fit::Agrees);
        assert_eq!(clock.fit(320, 640 + 8_000, true, &grid()), Fit::Stalled);
        assert_eq!(clock.fit(320, 640 + 8_000, false, &grid()), Fit::Jumped);
        assert_eq!(clock.fit(80_000, 640, false, &grid()), Fit::Jumped);
        clock.catch_up();
        assert_eq!(clock.fit(320, 640 + 8_000, true, &grid()), Fit::Agrees);
    }
}
