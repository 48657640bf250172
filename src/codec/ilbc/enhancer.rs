//! The enhancer (RFC 3951 4.6): smooths the residual along its pitch cycles, half a block to a block
//! behind what was decoded.

use super::Mode;
use super::RESIDUAL_MAX;
use super::tables::HALVING;
use super::tables::QUARTERS;

/// Keeps the residual of the last frames and the pitch periods in it.
pub(super) struct Enhancer {
    residual: [f32; LENGTH],
    /// Pitch period of each block of `residual`, samples.
    periods: [f32; BLOCKS],
}

impl Enhancer {
    /// Begins with silence behind it.
    pub(super) fn new() -> Self {
        Self { residual: [0.0; LENGTH], periods: [40.0; BLOCKS] }
    }

    /// Takes in the residual of a frame and writes the smoothed one that is [`Mode::delay`] older.
    /// Returns the pitch period at the end of the frame.
    pub(super) fn smooth(
        &mut self,
        mode: &Mode,
        new: &[f32],
        follows_loss: bool,
        out: &mut [f32; RESIDUAL_MAX],
    ) -> usize {
        self.residual.copy_within(new.len().., 0);
        self.residual[LENGTH - new.len()..].copy_from_slice(new);
        let lag = self.find_periods(mode, new.len() / BLOCK);
        if follows_loss {
            self.mend(new, mode.delay());
        }
        let first = LENGTH - new.len() - mode.delay();
        for (number, out) in out[..new.len()].chunks_exact_mut(BLOCK).enumerate() {
            let center = first + number * BLOCK;
            let cycles = self.cycles(center);
            smooth_block(&cycles, out);
        }
        lag
    }

    /// Finds the periods of the last `count` blocks at half the rate; returns the last of them.
    fn find_periods(&mut self, mode: &Mode, count: usize) -> usize {
        self.periods.copy_within(count.min(mode.samples() / BLOCK).., 0);
        let from = LENGTH - count * BLOCK - 2 * HALF_LAG_MAX;
        let mut halved = [0.0; (RESIDUAL_MAX + 2 * HALF_LAG_MAX) / 2];
        for (number, sample) in halved[..(LENGTH - from) / 2].iter_mut().enumerate() {
            // Zeros in place of what is not decoded yet.
            let newest = from + 2 * number + 3;
            let taps = HALVING.iter().enumerate();
            *sample = taps.map(|(k, c)| c * self.residual.get(newest - k).copied().unwrap_or(0.0)).sum();
        }
        let mut lag = 0;
        for block in 0..count {
            let at = HALF_LAG_MAX + block * BLOCK / 2;
            let target = &halved[at..at + BLOCK / 2];
            lag = 2 * best(10..HALF_LAG_MAX, |lag| likeness(target, &halved[at - lag..]));
            self.periods[BLOCKS - count + block] = lag as f32;
        }
        lag
    }

    /// Bends the end of what was made up for a lost frame towards what came after it (`new`):
    /// `length` samples, those that the enhancer has not given out yet.
    fn mend(&mut self, new: &[f32], length: usize) {
        let known = new.len() / BLOCK;
        let period = self.periods[BLOCKS - known] as usize;
        let target = &new[..length];
        let lag = best(period - 1..period + 2, |lag| likeness(target, &new[lag..]));
        self.periods[BLOCKS - known - 1] = lag as f32;

        let end = LENGTH - new.len();
        let old = &mut self.residual[end - length..end];
        // One period back from the new frame, and further back what there was.
        let mut backward = [0.0; BLOCK];
        for (k, sample) in backward[..length].iter_mut().enumerate() {
            *sample = if k + lag >= length { new[k + lag - length] } else { old[k + lag] };
        }
        let backward = &mut backward[..length];
        let loud = |samples: &[f32]| (samples.iter().map(|s| s * s).sum::<f32>() / length as f32).sqrt();
        let (loud_new, loud_old) = (loud(backward), loud(old));
        if loud_new > 2.0 * loud_old && loud_new > 0.0 {
            let least = 2.0 * loud_old / loud_new;
            for (k, sample) in backward.iter_mut().enumerate() {
                let rise = (k + 10).saturating_sub(length) as f32 / 10.0;
                *sample *= least + rise * (1.0 - least);
            }
        }
        for (k, (old, backward)) in old.iter_mut().zip(backward).enumerate() {
            let weight = (length - k) as f32 / (length + 1) as f32;
            *old = weight * *old + (1.0 - weight) * *backward;
        }
    }

    /// Returns the block at `center` with the three cycles before and after it, as far as known.
    fn cycles(&self, center: usize) -> [[f32; BLOCK]; 2 * CYCLES + 1] {
        let mut cycles = [[0.0; BLOCK]; 2 * CYCLES + 1];
        cycles[CYCLES].copy_from_slice(&self.residual[center..center + BLOCK]);
        let middle = center as f32 + (BLOCK - 1) as f32 / 2.0;
        let mut period = self.periods[nearest(middle, at)];
        let mut begin = center as f32;
        for cycle in cycles[..CYCLES].iter_mut().rev() {
            begin -= period;
            let middle = begin + (BLOCK / 2) as f32 - period;
            if begin >= OVERHANG {
                begin = self.refine(center, begin, cycle);
            }
            period = self.periods[nearest(middle, at)];
        }
        begin = center as f32;
        for cycle in &mut cycles[CYCLES + 1..] {
            let middle = begin + (BLOCK / 2) as f32;
            begin += self.periods[nearest(middle, |block| at(block) - self.periods[block])];
            if begin + BLOCK as f32 + OVERHANG < LENGTH as f32 {
                begin = self.refine(center, begin, cycle);
            }
        }
        cycles
    }

    /// Writes the block near `estimate` that is most like the one at `center`, to a quarter of a
    /// sample; returns where it begins, as the specification counts it.
    fn refine(&self, center: usize, estimate: f32, out: &mut [f32; BLOCK]) -> f32 {
        let rounded = (estimate - 0.5).max(0.0) as usize;
        let from = rounded.saturating_sub(SLOP);
        let count = (rounded + SLOP).min(LENGTH - BLOCK - 1) + 1 - from;
        let target = &self.residual[center..center + BLOCK];
        let mut like = [0.0; 2 * SLOP + 1];
        for (k, like) in like[..count].iter_mut().enumerate() {
            *like = product(target, &self.residual[from + k..]);
        }
        let like = &like[..count];
        let quarter = best(0..4 * count, |quarter| interpolated(like, quarter));
        let whole = quarter.div_ceil(4);
        let taps = &QUARTERS[4 * whole - quarter];
        let mut window = [0.0; BLOCK + 2 * REACH];
        for (k, sample) in window.iter_mut().enumerate() {
            let at = (from + whole + k).checked_sub(REACH);
            *sample = at.and_then(|at| self.residual.get(at)).copied().unwrap_or(0.0);
        }
        for (out, window) in out.iter_mut().zip(window.windows(taps.len())) {
            *out = window.iter().zip(taps).map(|(sample, coefficient)| sample * coefficient).sum();
        }
        from as f32 + quarter as f32 / 4.0 + 1.0
    }
}

/// Where the period of a block was measured.
fn at(block: usize) -> f32 {
    (block * BLOCK + BLOCK / 2) as f32
}

/// Returns the block whose position is nearest to `place`.
fn nearest(place: f32, position: impl Fn(usize) -> f32) -> usize {
    best(0..BLOCKS, |block| -(position(block) - place).powi(2))
}

/// Returns the first of `candidates` with the highest score.
fn best(mut candidates: std::ops::Range<usize>, score: impl Fn(usize) -> f32) -> usize {
    let mut found = candidates.next().unwrap_or_default();
    let mut highest = score(found);
    for candidate in candidates {
        let score = score(candidate);
        if score > highest {
            (found, highest) = (candidate, score);
        }
    }
    found
}

/// Returns the inner product of a block, or half of one, and as much of `right`.
fn product(left: &[f32], right: &[f32]) -> f32 {
    // Sums that do not wait for each other.
    let mut sums = [0.0; 8];
    for (left, right) in left.chunks_exact(8).zip(right.chunks_exact(8)) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    sums.iter().sum()
}

/// Returns how much of `target` `other` explains.
fn likeness(target: &[f32], other: &[f32]) -> f32 {
    let alike = product(target, other);
    if alike > 0.0 { alike * alike / product(&other[..target.len()], other) } else { 0.0 }
}

/// Returns the value a number of quarters after the first one, zeros around.
fn interpolated(values: &[f32], quarter: usize) -> f32 {
    let (whole, taps) = (quarter / 4, &QUARTERS[quarter % 4]);
    // Fewer taps where there are fewer values.
    let reach = REACH.min(values.len() / 2);
    let mut sum = 0.0;
    for (k, coefficient) in taps[REACH - reach..=REACH + reach].iter().enumerate() {
        let value = (whole + reach).checked_sub(k).and_then(|at| values.get(at));
        sum += coefficient * value.copied().unwrap_or(0.0);
    }
    sum
}

/// RFC 3951 4.6.5: mixes the cycles into the middle one, which changes by a twentieth of its energy
/// at most.
fn smooth_block(cycles: &[[f32; BLOCK]; 2 * CYCLES + 1], out: &mut [f32]) {
    let present = &cycles[CYCLES];
    let mut around = [0.0; BLOCK];
    for (cycle, weight) in cycles.iter().zip(WEIGHTS) {
        around.iter_mut().zip(cycle).for_each(|(sum, sample)| *sum += weight * sample);
    }
    let energy = product(present, present);
    let energy_around = product(&around, &around).max(1.0);
    let shared = product(&around, present);
    let level = (energy / energy_around).sqrt();
    let change: f32 = present.iter().zip(&around).map(|(p, a)| (p - level * a).powi(2)).sum();
    let (mut of_around, mut of_present) = (level, 0.0);
    if change > CHANGE_MAX * energy {
        let energy = energy.max(1.0);
        let unlike = (energy_around * energy - shared * shared) / (energy * energy);
        (of_around, of_present) = (0.0, 1.0);
        if unlike > 0.0001 {
            of_around = ((CHANGE_MAX - CHANGE_MAX * CHANGE_MAX / 4.0) / unlike).sqrt();
            of_present = 1.0 - CHANGE_MAX / 2.0 - of_around * shared / energy;
        }
    }
    for ((out, present), around) in out.iter_mut().zip(present).zip(&around) {
        *out = of_around * around + of_present * present;
    }
}

/// Samples that are smoothed together.
pub(super) const BLOCK: usize = 80;
const BLOCKS: usize = 8;
const LENGTH: usize = BLOCKS * BLOCK;
/// Cycles before and after the present one.
const CYCLES: usize = 3;
/// `(1 - cos(2 pi k / 8)) / 2`; the present cycle has none.
const WEIGHTS: [f32; 2 * CYCLES + 1] = [0.146_446_6, 0.5, 0.853_553_4, 0.0, 0.853_553_4, 0.5, 0.146_446_6];
/// Energy of the greatest change, of that of the block.
const CHANGE_MAX: f32 = 0.05;
/// How far a cycle is looked for around its estimate.
const SLOP: usize = 2;
const OVERHANG: f32 = 2.0;
/// Samples on either side that are interpolated from.
const REACH: usize = 3;
/// Longest period at half the rate, and one more.
const HALF_LAG_MAX: usize = 60;
