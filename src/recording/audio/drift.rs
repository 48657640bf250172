//! A sender's clock against the capture clock.
//!
//! Queues on the way only ever delay, so the least transit time of a stretch is that of the way
//! itself, and if it moves the clocks differ (as RFC 3550 A.8 says of relative transit). A crystal
//! is off by some hundred ppm at most: that is put right, gently, once it can be noticed. What goes
//! away faster is a broken clock, and the sound as it was sent is worth more than its place.

use std::time::Duration;

use crate::base::time::Stamp;

/// Estimates how far arrivals have moved away from RTP time.
#[derive(Clone, Debug, Default)]
pub(super) struct Drift {
    began: Option<Stamp>,
    open: Window,
    /// The latest whole windows, latest first.
    points: [Point; POINTS],
    filled: usize,
    /// Transit at the beginning.
    base: i64,
    /// The stream is being moved.
    moving: bool,
}

/// What is to be done about drift.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Advice {
    /// Nothing.
    Keep,
    /// Move the stream by so many ticks, a sample now and then.
    Gently(i64),
    /// The clock is broken: move the stream by so many ticks at the next pause.
    AtPause(i64),
    /// The same, at once.
    Now(i64),
}

/// The least transit of a whole window.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    /// When it was, in seconds from the beginning.
    at: f64,
    least: i64,
}

/// A stretch whose least transit is looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    end: Stamp,
    packets: u32,
    least: i64,
    at: Stamp,
}

impl Drift {
    /// Takes in a packet: `transit` is its arrival less its RTP time, in ticks of `hz`; `applied` is
    /// how far the stream has been moved before.
    pub(super) fn observe(&mut self, at: Stamp, transit: i64, applied: i64, hz: u32) -> Advice {
        let began = *self.began.get_or_insert(at);
        if self.open.add(at, transit) {
            if self.filled == 0 {
                self.base = self.open.least;
            }
            self.points.rotate_right(1);
            self.points[0] = Point { at: self.open.at.since(began).as_secs_f64(), least: self.open.least };
            self.filled = (self.filled + 1).min(POINTS);
            self.open = Window::default();
        }
        if self.filled < POINTS_MIN {
            return Advice::Keep;
        }
        let off = self.off() - applied;
        let millis = off.abs() * 1_000 / i64::from(hz.max(1));
        if self.slope().abs() > SLOPE_MAX * f64::from(hz) {
            self.moving = false;
            return match millis {
                ..BROKEN_MS => Advice::Keep,
                BROKEN_MS..BROKEN_NOW_MS => Advice::AtPause(off),
                _ => Advice::Now(off),
            };
        }
        self.moving = millis >= if self.moving { HELD_MS } else { NOTICED_MS };
        if self.moving { Advice::Gently(off) } else { Advice::Keep }
    }

    /// How far the transit has moved: as far as both latest windows say, since one may be chance.
    fn off(&self) -> i64 {
        let [a, b] = [self.points[0].least - self.base, self.points[1].least - self.base];
        if a > 0 && b > 0 { a.min(b) } else { a.max(b).min(0) }
    }

    /// How fast the transit moves, in ticks a second.
    fn slope(&self) -> f64 {
        let points = &self.points[..self.filled];
        let count = points.len() as f64;
        let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.at, y + point.least as f64));
        let (x, y) = (x / count, y / count);
        let (mut xy, mut xx) = (0.0, 0.0);
        for point in points {
            xy += (point.at - x) * (point.least as f64 - y);
            xx += (point.at - x).powi(2);
        }
        if xx > 0.0 { xy / xx } else { 0.0 }
    }
}

impl Window {
    /// Takes in a packet. Returns whether the window is over with it.
    fn add(&mut self, at: Stamp, transit: i64) -> bool {
        if self.packets == 0 {
            self.end = at.after(LENGTH);
        }
        if self.packets == 0 || transit < self.least {
            (self.least, self.at) = (transit, at);
        }
        self.packets += 1;
        at >= self.end && self.packets >= PACKETS_MIN
    }
}

/// Talkspurts and their jitter are shorter.
const LENGTH: Duration = Duration::from_secs(4);
/// Windows that tell how fast a clock goes.
const POINTS: usize = 6;
/// Fewer tell nothing.
const POINTS_MIN: usize = 3;
/// Too few packets say nothing of the way.
const PACKETS_MIN: u32 = 10;
/// 1000 ppm: no crystal is further off.
const SLOPE_MAX: f64 = 0.001;
/// So far off, moving begins: with the two windows that must have seen it, 20 ms.
const NOTICED_MS: i64 = 17;
/// So far off, it ends.
const HELD_MS: i64 = 5;
/// A broken clock may be so far off until there is a pause.
const BROKEN_MS: i64 = 200;
/// And so far in any case; further away RTP time and arrival would not belong together.
const BROKEN_NOW_MS: i64 = 380;

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets whose sender's clock is `ppm` slow, moved as advised. Returns the worst distance from
    /// the true place in milliseconds, and how many samples were moved gently and at once.
    fn run(ppm: f64, jitter_ms: f64, seconds: i64, seed: u32) -> (f64, i64, i64) {
        let mut drift = Drift::default();
        let (mut applied, mut worst, mut gently, mut at_once) = (0_i64, 0.0_f64, 0, 0);
        let mut state = seed;
        for n in 0..seconds * 50 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let late = jitter_ms * 1e-3 * f64::from(state >> 8) / f64::from(1 << 24);
            let sent = n as f64 * 0.02 * (1.0 + ppm * 1e-6);
            let at = Stamp::from_unix_nanos(((1_000.0 + sent + late) * 1e9) as u64);
            let transit = ((sent + late) * 8_000.0).round() as i64 - n * 160;
            match drift.observe(at, transit, applied, 8_000) {
                // One sample in 320.
                Advice::Gently(off) if n % 2 == 0 => (applied, gently) = (applied + off.signum(), gently + 1),
                Advice::Keep | Advice::Gently(_) => {}
                Advice::AtPause(off) | Advice::Now(off) => (applied, at_once) = (applied + off, at_once + 1),
            }
            worst = worst.max((sent * 8_000.0 - (n * 160 + applied) as f64).abs() / 8.0);
        }
        (worst, gently, at_once)
    }

    #[test]
    fn follows_usual_clocks_within_25_ms_for_an_hour() {
        for ppm in [-300.0, -100.0, 100.0, 300.0] {
            for jitter_ms in [0.0, 10.0, 60.0] {
                let (worst, gently, at_once) = run(ppm, jitter_ms, 3_600, 1);
                assert!(worst < 25.0, "{ppm} ppm, {jitter_ms} ms: {worst}");
                assert!(gently > 0 && at_once == 0, "{ppm} ppm, {jitter_ms} ms: {gently}, {at_once}");
            }
        }
    }

    #[test]
    fn broken_clocks_are_left_alone_until_they_are_far_away() {
        for ppm in [-8_000.0, -2_000.0, 2_000.0, 5_000.0] {
            for jitter_ms in [0.0, 10.0] {
                let (worst, gently, at_once) = run(ppm, jitter_ms, 200, 1);
                assert_eq!(gently, 0, "{ppm} ppm, {jitter_ms} ms");
                // Each time 200 ms, and what it goes on by until it is seen.
                let most = (ppm.abs() / 1_000.0) as i64;
                assert!((most - 2..=most).contains(&at_once), "{ppm} ppm, {jitter_ms} ms: {at_once}");
                assert!(worst < 300.0, "{ppm} ppm, {jitter_ms} ms: {worst}");
            }
        }
    }

    #[test]
    fn a_short_call_is_left_as_it_was_sent() {
        for ppm in [-100.0, -50.0, 0.0, 50.0, 100.0] {
            for jitter_ms in [0.0, 10.0, 30.0] {
                for seed in 1..20 {
                    let (worst, gently, at_once) = run(ppm, jitter_ms, 60, seed);
                    assert_eq!((gently, at_once), (0, 0), "{ppm} ppm, {jitter_ms} ms, seed {seed}");
                    assert!(worst < 20.0, "{ppm} ppm, {jitter_ms} ms, seed {seed}: {worst}");
                }
            }
        }
    }

    #[test]
    fn jitter_alone_moves_nothing() {
        for jitter_ms in [0.0, 10.0, 30.0, 60.0, 150.0] {
            for seed in 1..20 {
                let (worst, gently, at_once) = run(0.0, jitter_ms, 600, seed);
                assert!(worst < 1e-3 && gently + at_once == 0, "{jitter_ms} ms, seed {seed}: {worst}");
            }
        }
    }
}
