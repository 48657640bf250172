//! What takes the place of a lost frame (RFC 3951 4.5): the last residual again, cycle by cycle, mixed
//! with pieces of it picked at random, and ever softer.
//!
//! The gains fall as RFC 3951 means them to (its text has the comparisons in an order that never
//! reaches the lower ones).

use super::RESIDUAL_MAX;
use super::lpc::Filter;
use super::lpc::ORDER;

/// Remembers the last frame.
pub(super) struct Loss {
    residual: [f32; RESIDUAL_MAX],
    filter: Filter,
    /// Samples made up since the last frame that was heard.
    lost: usize,
    lag: usize,
    periodicity: f32,
    seed: u32,
}

impl Loss {
    /// Begins with silence behind it.
    pub(super) fn new() -> Self {
        Self {
            residual: [0.0; RESIDUAL_MAX],
            filter: [0.0; ORDER],
            lost: 0,
            lag: 120,
            periodicity: 0.0,
            seed: 777,
        }
    }

    /// Returns the last filter.
    pub(super) fn filter(&self) -> Filter {
        self.filter
    }

    /// Takes in the residual of a frame and the filter of its end.
    pub(super) fn heard(&mut self, residual: &[f32], filter: &Filter) {
        self.residual[..residual.len()].copy_from_slice(residual);
        self.filter = *filter;
        self.lost = 0;
    }

    /// Whether what follows is silence.
    pub(super) fn is_silent(&self) -> bool {
        self.lost > FADED
    }

    /// Writes the residual of a lost frame. `lag` is the pitch period of the frame before it.
    pub(super) fn conceal(&mut self, lag: usize, out: &mut [f32]) {
        let last = &self.residual[..out.len()];
        if self.lost == 0 {
            (self.lag, self.periodicity) = pitch(last, lag);
        }
        self.lost = self.lost.saturating_add(out.len());
        let gain = match self.lost {
            0..=320 => 1.0,
            321..=640 => 0.9,
            641..=960 => 0.7,
            961..=FADED => 0.5,
            _ => 0.0,
        };
        let voiced = ((self.periodicity.sqrt() - 0.4) / 0.3).clamp(0.0, 1.0);
        // The same cycle twice in a row would buzz.
        let period = if self.lag < 80 { 2 * self.lag } else { self.lag };
        let mut random = [0.0; RESIDUAL_MAX];
        let mut energy = 0.0;
        for at in 0..out.len() {
            self.seed = self.seed.wrapping_mul(69_069).wrapping_add(1) & 0x7FFF_FFFF;
            let distance = 50 + self.seed as usize % 70;
            let back = |new: &[f32], distance: usize| match at.checked_sub(distance) {
                Some(at) => new[at],
                None => last[last.len() + at - distance],
            };
            random[at] = back(&random, distance);
            let fade = gain * [1.0, 0.95, 0.9][at / 80];
            out[at] = fade * (voiced * back(out, period) + (1.0 - voiced) * random[at]);
            energy += out[at] * out[at];
        }
        if energy < out.len() as f32 * QUIET * QUIET {
            out.iter_mut().zip(&random).for_each(|(out, random)| *out = gain * random);
        }
        self.residual[..out.len()].copy_from_slice(out);
    }
}

/// Returns the lag near `estimate` that best predicts the end of `residual`, and how well it does.
fn pitch(residual: &[f32], estimate: usize) -> (usize, f32) {
    let mut found = (0, 0.0, -1.0);
    for lag in estimate - 3..=estimate + 3 {
        let length = WINDOW.min(residual.len() - lag);
        let end = &residual[residual.len() - length..];
        let before = &residual[residual.len() - length - lag..];
        let (mut product, mut energy, mut energy_before) = (0.0, 0.0, 0.0);
        for (now, then) in end.iter().zip(before) {
            product += now * then;
            energy += now * now;
            energy_before += then * then;
        }
        let (mut periodicity, mut score): (f32, f32) = (0.0, 0.0);
        if energy_before > 0.0 && energy > 0.0 {
            score = product * product / energy_before;
            periodicity = product.abs() / (energy_before.sqrt() * energy.sqrt());
        }
        if score > found.2 {
            found = (lag, periodicity, score);
        }
    }
    (found.0, found.1)
}

/// Lost samples after which there is silence.
const FADED: usize = 1_280;
/// A residual below this is noise only.
const QUIET: f32 = 30.0;
/// Samples that are compared.
const WINDOW: usize = 60;
