//! The residual of a frame: the start state, and what an adaptive codebook predicts from it forwards
//! and backwards in time (RFC 3951 4.2 to 4.4).

use super::Mode;
use super::RESIDUAL_MAX;
use super::SUBFRAME;
use super::bits::Parameters;
use super::bits::SAMPLES_MAX;
use super::bits::Stages;
use super::lpc::Filter;
use super::lpc::ORDER;
use super::tables::CODEBOOK_FILTER;
use super::tables::STATE_SAMPLE;
use super::tables::STATE_SCALE;

/// Writes the residual of a frame whose start position is possible. `filters` has one a subframe.
pub(super) fn decode(
    mode: &Mode,
    parameters: &Parameters,
    filters: &[Filter],
    residual: &mut [f32; RESIDUAL_MAX],
) {
    let begin = (parameters.start - 1) * SUBFRAME;
    let end = begin + 2 * SUBFRAME;
    state(mode, parameters, &filters[parameters.start - 1], &mut residual[begin..end]);

    let after = mode.subframes - parameters.start - 1;
    let mut memory = Memory::after(&residual[begin..end]);
    for (number, stages) in parameters.blocks[..after].iter().enumerate() {
        let at = end + number * SUBFRAME;
        memory.predict(stages, &mut residual[at..at + SUBFRAME]);
    }
    let mut memory = Memory::before(&residual[begin..mode.samples()]);
    let before = &parameters.blocks[after..after + parameters.start - 1];
    for (number, stages) in before.iter().enumerate() {
        let at = begin - (number + 1) * SUBFRAME;
        let piece = &mut residual[at..at + SUBFRAME];
        memory.predict(stages, piece);
        piece.reverse();
    }
}

/// Writes the start state: scalar samples, and the rest predicted from them.
fn state(mode: &Mode, parameters: &Parameters, filter: &Filter, out: &mut [f32]) {
    let rest = out.len() - mode.state_samples;
    if parameters.state_first {
        let (scalar, rest) = out.split_at_mut(mode.state_samples);
        scalar_samples(parameters, filter, scalar);
        codebook_sum(&Memory::after(scalar).0[CODEBOOK - STATE_CODEBOOK..], &parameters.extra, rest);
    } else {
        let (rest, scalar) = out.split_at_mut(rest);
        scalar_samples(parameters, filter, scalar);
        codebook_sum(&Memory::before(scalar).0[CODEBOOK - STATE_CODEBOOK..], &parameters.extra, rest);
        rest.reverse();
    }
}

/// RFC 3951 4.2: the samples, backwards in time, through an all-pass filter of which what rings on
/// past the end is added at the beginning.
fn scalar_samples(parameters: &Parameters, filter: &Filter, out: &mut [f32]) {
    let count = out.len();
    let scale = 10f32.powf(STATE_SCALE[parameters.scale]) / 4.5;
    let mut input = [0.0; ORDER + 2 * SAMPLES_MAX];
    let mut output = [0.0; ORDER + 2 * SAMPLES_MAX];
    for (sample, index) in input[ORDER..].iter_mut().zip(parameters.samples[..count].iter().rev()) {
        *sample = scale * STATE_SAMPLE[*index];
    }
    for at in ORDER..ORDER + 2 * count {
        let mut sum = input[at - ORDER];
        for (k, coefficient) in filter.iter().enumerate() {
            // The numerator is the denominator backwards.
            sum += coefficient * (input[at + k + 1 - ORDER] - output[at - k - 1]);
        }
        output[at] = sum;
    }
    for (k, sample) in out.iter_mut().rev().enumerate() {
        *sample = output[ORDER + k] + output[ORDER + count + k];
    }
}

/// What the adaptive codebook is made of: the residual known so far, the nearest sample last.
struct Memory([f32; CODEBOOK]);

impl Memory {
    /// To predict what follows `known`.
    fn after(known: &[f32]) -> Self {
        Self::of(known.iter().rev())
    }

    /// To predict, backwards, what precedes `known`.
    fn before(known: &[f32]) -> Self {
        Self::of(known.iter())
    }

    /// `nearest` begins with the sample nearest to what is predicted.
    fn of<'a>(nearest: impl Iterator<Item = &'a f32>) -> Self {
        let mut memory = [0.0; CODEBOOK];
        memory.iter_mut().rev().zip(nearest).for_each(|(kept, sample)| *kept = *sample);
        Self(memory)
    }

    /// Writes a subframe and remembers it.
    fn predict(&mut self, stages: &Stages, out: &mut [f32]) {
        codebook_sum(&self.0, stages, out);
        self.0.copy_within(out.len().., 0);
        self.0[CODEBOOK - out.len()..].copy_from_slice(out);
    }
}

fn codebook_sum(memory: &[f32], stages: &Stages, out: &mut [f32]) {
    out.fill(0.0);
    for (index, gain) in stages.index.iter().zip(stages.gains()) {
        add_vector(memory, *index, gain, out);
    }
}

/// Adds a vector of the codebook (RFC 3951 3.6.3): pieces of the memory; for whole subframes, pieces
/// of which the nearest half is repeated; and both again from the memory filtered.
fn add_vector(memory: &[f32], index: usize, gain: f32, out: &mut [f32]) {
    let pieces = memory.len() - out.len() + 1;
    let section = if out.len() == SUBFRAME { pieces + SUBFRAME / 2 } else { pieces };
    let (index, is_filtered) = if index < section { (index, false) } else { (index - section, true) };
    let sample = |at: usize| if is_filtered { filtered(memory, at) } else { memory[at] };
    if index < pieces {
        let from = memory.len() - out.len() - index;
        for (k, out) in out.iter_mut().enumerate() {
            *out += gain * sample(from + k);
        }
        return;
    }
    let far = 2 * (index - pieces) + out.len();
    let near = far / 2;
    for (k, out) in out.iter_mut().enumerate() {
        let (old, new) = (memory.len() - far + k, memory.len() - near + k);
        // Blended over the five samples before the repetition.
        let value = if k + 5 < near {
            sample(new)
        } else if k < near {
            let weight = (k + 5 - near) as f32 * 0.2;
            (1.0 - weight) * sample(new) + weight * sample(old)
        } else {
            sample(old)
        };
        *out += gain * value;
    }
}

fn filtered(memory: &[f32], at: usize) -> f32 {
    let mut sum = 0.0;
    for (k, coefficient) in CODEBOOK_FILTER.iter().rev().enumerate() {
        // Zeros outside the memory.
        sum += coefficient * (at + k).checked_sub(3).and_then(|at| memory.get(at)).copied().unwrap_or(0.0);
    }
    sum
}

/// Samples that the adaptive codebook remembers.
const CODEBOOK: usize = 147;
/// Samples of it that the rest of the start state is predicted from.
const STATE_CODEBOOK: usize = 85;
