//! The other direction of GSM full rate, for fixtures (ETSI GSM 06.10 section 4.2).

use crate::codec::Encoder;
use crate::codec::gsm;
use crate::codec::gsm::Block;
use crate::codec::gsm::Frame;
use crate::codec::gsm::mult_r;

/// Samples to payload.
pub(crate) struct GsmEncoder {
    /// Offset compensation and pre-emphasis.
    last: i16,
    offset: i32,
    emphasis: i16,
    log_area: gsm::LogAreaRatios,
    lattice: [i16; 8],
    /// Reconstructed short-term residual: 120 samples of the past, then the 40 being made.
    residual: [i16; 160],
}

impl GsmEncoder {
    /// Makes an encoder.
    pub(crate) fn new() -> Self {
        Self {
            last: 0,
            offset: 0,
            emphasis: 0,
            log_area: gsm::LogAreaRatios::default(),
            lattice: [0; 8],
            residual: [0; 160],
        }
    }

    fn frame(&mut self, pcm: &[i16]) -> Frame {
        let mut samples = [0; gsm::FRAME_SAMPLES];
        for (out, sample) in samples.iter_mut().zip(pcm) {
            *out = self.preprocess(*sample);
        }
        let log_area = log_area_ratios(&mut samples);
        for (reflection, range) in self.log_area.parts(&log_area) {
            for sample in &mut samples[range] {
                *sample = self.lattice_step(&reflection, *sample);
            }
        }
        let mut blocks = [Block::default(); 4];
        for (block, part) in blocks.iter_mut().zip(samples.as_chunks::<40>().0) {
            *block = self.block(part);
        }
        Frame { log_area, blocks }
    }

    /// 4.2.1 to 4.2.3.
    fn preprocess(&mut self, sample: i16) -> i16 {
        let scaled = (sample >> 3) << 2;
        let step = scaled.wrapping_sub(self.last);
        self.last = scaled;
        let high = (self.offset >> 15) as i16;
        let low = (self.offset - (i32::from(high) << 15)) as i16;
        let slow = (i32::from(step) << 15) + i32::from(mult_r(low, 32_735));
        self.offset = (i32::from(high) * 32_735).saturating_add(slow);
        let before = mult_r(self.emphasis, -28_180);
        self.emphasis = (self.offset.saturating_add(16_384) >> 15) as i16;
        self.emphasis.saturating_add(before)
    }

    /// 4.2.10.
    fn lattice_step(&mut self, reflection: &[i16; 8], sample: i16) -> i16 {
        let (mut forward, mut backward) = (sample, sample);
        for (memory, coefficient) in self.lattice.iter_mut().zip(reflection) {
            let before = std::mem::replace(memory, backward);
            backward = before.saturating_add(mult_r(*coefficient, forward));
            forward = forward.saturating_add(mult_r(*coefficient, before));
        }
        forward
    }

    fn block(&mut self, residual: &[i16; 40]) -> Block {
        let (lag, lag_gain) = self.long_term(residual);
        let predicted: [i16; 40] =
            std::array::from_fn(|n| mult_r(gsm::LAG_GAIN[lag_gain], self.residual[120 + n - lag]));
        let error: [i16; 40] = std::array::from_fn(|n| residual[n].saturating_sub(predicted[n]));
        let block = quantize_pulses(&weighted(&error), Block { lag, lag_gain, ..Block::default() });
        for (index, pulse) in block.pulses().iter().enumerate() {
            self.residual[120 + index] = pulse.saturating_add(predicted[index]);
        }
        self.residual.copy_within(40.., 0);
        block
    }

    /// 4.2.11: which part of the past looks most like this one, and how much of it.
    fn long_term(&self, residual: &[i16; 40]) -> (usize, usize) {
        let peak = residual.iter().map(|sample| sample.saturating_abs()).max().unwrap_or(0);
        let headroom = if peak == 0 { 0 } else { (i32::from(peak) << 16).leading_zeros() as i32 - 1 };
        let scale = (6 - headroom).max(0);
        let likeness = |lag: usize| -> i32 {
            (0..40).map(|n| i32::from(residual[n] >> scale) * i32::from(self.residual[120 + n - lag])).sum()
        };
        let (mut best, mut lag) = (0, 40);
        for candidate in 40..=120 {
            let like = likeness(candidate);
            if like > best {
                (best, lag) = (like, candidate);
            }
        }
        let best = (best << 1) >> (6 - scale);
        let power: i32 =
            (0..40).map(|n| i32::from(self.residual[120 + n - lag] >> 3).pow(2)).sum::<i32>() << 1;
        if best <= 0 {
            return (lag, 0);
        }
        if best >= power {
            return (lag, 3);
        }
        let shift = power.leading_zeros() - 1;
        let (like, power) = (((best << shift) >> 16) as i16, ((power << shift) >> 16) as i16);
        let gain = LAG_GAIN_LIMIT.iter().position(|limit| like <= mult(power, *limit));
        (lag, gain.unwrap_or(3))
    }
}

impl Encoder for GsmEncoder {
    fn sample_rate_hz(&self) -> u32 {
        gsm::RATE_HZ
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        for frame in pcm.chunks_exact(gsm::FRAME_SAMPLES) {
            let frame = self.frame(frame);
            payload.extend_from_slice(&frame.pack());
        }
    }
}

/// 4.2.4 to 4.2.7. Takes the low bits off loud samples, as the specification does.
fn log_area_ratios(samples: &mut [i16; gsm::FRAME_SAMPLES]) -> [i16; 8] {
    let reflection = reflection_coefficients(&autocorrelation(samples));
    std::array::from_fn(|index| {
        let magnitude = reflection[index].saturating_abs();
        let ratio = match magnitude {
            ..22_118 => magnitude >> 1,
            22_118..31_130 => magnitude - 11_059,
            _ => (magnitude - 26_112) << 2,
        };
        let ratio = if reflection[index] < 0 { -ratio } else { ratio };
        let (slope, offset, most, least) = LOG_AREA_CODE[index];
        let level = mult(slope, ratio).saturating_add(offset).saturating_add(256) >> 9;
        level.clamp(least, most) - least
    })
}

fn autocorrelation(samples: &mut [i16; gsm::FRAME_SAMPLES]) -> [i32; 9] {
    let peak = samples.iter().map(|sample| sample.saturating_abs()).max().unwrap_or(0);
    let scale = if peak == 0 { 0 } else { 4 - ((i32::from(peak) << 16).leading_zeros() as i32 - 1) };
    if scale > 0 {
        samples.iter_mut().for_each(|sample| *sample = mult_r(*sample, 16_384 >> (scale - 1)));
    }
    let sums = std::array::from_fn(|lag| {
        (lag..samples.len()).map(|n| i32::from(samples[n]) * i32::from(samples[n - lag])).sum::<i32>() << 1
    });
    if scale > 0 {
        samples.iter_mut().for_each(|sample| *sample <<= scale);
    }
    sums
}

/// Schur recursion.
fn reflection_coefficients(sums: &[i32; 9]) -> [i16; 8] {
    let mut reflection = [0; 8];
    if sums[0] == 0 {
        return reflection;
    }
    let shift = sums[0].leading_zeros() - 1;
    let mut p: [i16; 9] = std::array::from_fn(|n| ((sums[n] << shift) >> 16) as i16);
    let mut k = p;
    for (n, coefficient) in reflection.iter_mut().enumerate() {
        let magnitude = p[1].saturating_abs();
        if p[0] < magnitude {
            break;
        }
        let value = fraction(magnitude, p[0]);
        *coefficient = if p[1] > 0 { -value } else { value };
        if n == 7 {
            break;
        }
        p[0] = p[0].saturating_add(mult_r(p[1], *coefficient));
        for m in 1..8 - n {
            let next = p[m + 1];
            p[m] = next.saturating_add(mult_r(k[m], *coefficient));
            k[m] = k[m].saturating_add(mult_r(next, *coefficient));
        }
    }
    reflection
}

/// 4.2.13: the weighting filter.
fn weighted(error: &[i16; 40]) -> [i16; 40] {
    std::array::from_fn(|n| {
        let mut sum = 4_096;
        for (tap, weight) in WEIGHTING.iter().enumerate() {
            if let Some(value) = (n + tap).checked_sub(5).and_then(|at| error.get(at)) {
                sum += i32::from(*value) * weight;
            }
        }
        (sum >> 13).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
    })
}

/// 4.2.14 and 4.2.15: which of four grids, and its pulses.
fn quantize_pulses(weighted: &[i16; 40], mut block: Block) -> Block {
    let energy =
        |grid: usize| -> i32 { (0..13).map(|n| i32::from(weighted[grid + 3 * n] >> 2).pow(2)).sum() };
    for grid in 1..4 {
        if energy(grid) > energy(block.grid) {
            block.grid = grid;
        }
    }
    let pulses: [i16; 13] = std::array::from_fn(|n| weighted[block.grid + 3 * n]);
    let peak = pulses.iter().map(|pulse| pulse.saturating_abs()).max().unwrap_or(0);
    let bits = 16 - (peak >> 9).leading_zeros() as i16;
    let exponent = bits.min(6);
    block.peak = (peak >> (exponent + 5)) + (exponent << 3);
    let (exponent, mantissa) = gsm::exponent_and_mantissa(block.peak);
    block.pulses = pulses
        .map(|pulse| (mult(pulse.wrapping_shl((6 - exponent) as u32), PEAK_INVERSE[mantissa]) >> 12) + 4);
    block
}

/// `numerator / denominator` in 15 bits, for 0 <= numerator <= denominator.
fn fraction(numerator: i16, denominator: i16) -> i16 {
    let (mut rest, denominator) = (i32::from(numerator), i32::from(denominator));
    let mut quotient = 0;
    for _ in 0..15 {
        quotient <<= 1;
        rest <<= 1;
        if rest >= denominator {
            rest -= denominator;
            quotient += 1;
        }
    }
    quotient
}

/// Product of two fractions, cut off.
fn mult(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 15).min(32_767) as i16
}

/// Table 4.1: A, B, greatest and least value.
const LOG_AREA_CODE: [(i16, i16, i16, i16); 8] = [
    (20_480, 0, 31, -32),
    (20_480, 0, 31, -32),
    (20_480, 2_048, 15, -16),
    (20_480, -2_560, 15, -16),
    (13_964, 94, 7, -8),
    (15_360, -1_792, 7, -8),
    (8_534, -341, 3, -4),
    (9_036, -1_144, 3, -4),
];
/// Table 4.3a.
const LAG_GAIN_LIMIT: [i16; 3] = [6_554, 16_384, 26_214];
/// Table 4.4.
const WEIGHTING: [i32; 11] = [-134, -374, 0, 2_054, 5_741, 8_192, 5_741, 2_054, 0, -374, -134];
/// Table 4.5.
const PEAK_INVERSE: [i16; 8] = [29_128, 26_215, 23_832, 21_846, 20_165, 18_725, 17_476, 16_384];
