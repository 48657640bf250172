//! The bits of a frame (RFC 3951 3.8): every parameter is cut into up to three parts, and all first
//! parts come before all second ones, so that what matters most stands in front.

use super::tables::GAIN_1;
use super::tables::GAIN_2;
use super::tables::GAIN_3;

/// How many bits of a parameter stand in each class of importance.
pub(super) type Classes = [u8; 3];

/// Where the bits of a frame stand, as far as the two frame sizes differ.
pub(super) struct Layout {
    pub(super) lsf: &'static [Classes],
    pub(super) start: Classes,
    pub(super) extra_index: [Classes; 3],
    pub(super) extra_gain: [Classes; 3],
    pub(super) index: &'static [[Classes; 3]],
    pub(super) gain: &'static [[Classes; 3]],
}

/// Three codebook vectors whose sum is a piece of the residual.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stages {
    pub(super) index: [usize; 3],
    gain: [usize; 3],
}

impl Stages {
    /// RFC 3951 3.6.4.2: each gain is relative to the one before it.
    pub(super) fn gains(&self) -> [f32; 3] {
        let first = GAIN_1[self.gain[0]];
        let second = first.abs().max(GAIN_MIN) * GAIN_2[self.gain[1]];
        let third = second.abs().max(GAIN_MIN) * GAIN_3[self.gain[2]];
        [first, second, third]
    }
}

/// What a frame says.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// One set of frequencies, or two.
    pub(super) lsf: [[usize; 3]; 2],
    /// Which two subframes hold the start state: this one, counted from 1, and the next.
    pub(super) start: usize,
    /// The scalar part of the state comes before the rest of it.
    pub(super) state_first: bool,
    pub(super) scale: usize,
    pub(super) samples: [usize; SAMPLES_MAX],
    /// The rest of the state.
    pub(super) extra: Stages,
    /// The other subframes: those after the state, then those before it, backwards.
    pub(super) blocks: [Stages; 4],
    /// Nothing was sent for this frame.
    pub(super) empty: bool,
}

impl Parameters {
    /// Reads the parameters of a frame whose state has `samples` scalar samples.
    pub(super) fn read(layout: &Layout, samples: usize, frame: &[u8]) -> Self {
        let mut bits = Bits { bytes: frame, at: 0 };
        let mut new = Self {
            lsf: [[0; 3]; 2],
            start: 0,
            state_first: false,
            scale: 0,
            samples: [0; SAMPLES_MAX],
            extra: Stages::default(),
            blocks: [Stages::default(); 4],
            empty: false,
        };
        for class in 0..3 {
            let mut take = |value: &mut usize, widths: &Classes| bits.take(value, widths[class]);
            for (value, widths) in new.lsf.as_flattened_mut().iter_mut().zip(layout.lsf) {
                take(value, widths);
            }
            take(&mut new.start, &layout.start);
            let mut first = usize::from(new.state_first);
            take(&mut first, &[1, 0, 0]);
            new.state_first = first == 1;
            take(&mut new.scale, &[6, 0, 0]);
            new.samples[..samples].iter_mut().for_each(|sample| take(sample, &[0, 1, 2]));
            for (value, widths) in new.extra.index.iter_mut().zip(&layout.extra_index) {
                take(value, widths);
            }
            for (value, widths) in new.extra.gain.iter_mut().zip(&layout.extra_gain) {
                take(value, widths);
            }
            for (block, widths) in new.blocks.iter_mut().zip(layout.index) {
                block.index.iter_mut().zip(widths).for_each(|(value, widths)| take(value, widths));
            }
            for (block, widths) in new.blocks.iter_mut().zip(layout.gain) {
                block.gain.iter_mut().zip(widths).for_each(|(value, widths)| take(value, widths));
            }
        }
        let mut last = 0;
        bits.take(&mut last, 1);
        new.empty = last == 1;
        new.spread();
        new
    }

    /// The first block after the state has 7 bits for what takes 8 elsewhere, as half of its
    /// codebook is empty (RFC 3951 3.6.3, the restricted search): puts the numbers where they belong.
    fn spread(&mut self) {
        for index in &mut self.blocks[0].index[1..] {
            match *index {
                44..=107 => *index += 64,
                108..=127 => *index += 128,
                _ => {}
            }
        }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// Appends `width` bits to `value`.
    fn take(&mut self, value: &mut usize, width: u8) {
        for _ in 0..width {
            let byte = self.bytes.get(self.at / 8).copied().unwrap_or(0);
            *value = *value << 1 | usize::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
    }
}

/// Scalar samples of a start state at most.
pub(super) const SAMPLES_MAX: usize = 58;
/// No gain is relative to less than this.
const GAIN_MIN: f32 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ilbc::tables::LAYOUT_20;
    use crate::codec::ilbc::tables::LAYOUT_30;

    /// The widths add up to the frame: nothing is left over but the last bit.
    #[test]
    fn every_bit_of_a_frame_means_something() {
        for (layout, samples, bytes) in [(&LAYOUT_20, 57, 38), (&LAYOUT_30, 58, 50)] {
            let sum = |widths: &Classes| widths.iter().map(|w| usize::from(*w)).sum::<usize>();
            let single = [layout.start, [1, 6, 0], [3 * samples as u8, 0, 0]];
            let bits: usize = (layout.lsf.iter().chain(&single))
                .chain(layout.extra_index.iter().chain(&layout.extra_gain))
                .chain(layout.index.iter().chain(layout.gain).flatten())
                .map(sum)
                .sum();
            assert_eq!(bits + 1, 8 * bytes);
            let mut frame = vec![0; bytes];
            frame[bytes - 1] = 1;
            assert!(Parameters::read(layout, samples, &frame).empty);
            let full = Parameters::read(layout, samples, &vec![0xFF; bytes]);
            assert!(full.state_first && full.empty && full.scale == 63);
            assert_eq!(full.lsf[0], [63, 127, 127]);
            assert_eq!(full.samples[..samples], vec![7; samples]);
            assert_eq!((full.blocks[0].index, full.blocks[1].index), ([255; 3], [255; 3]));
            assert_eq!((full.extra.index, full.extra.gain), ([127; 3], [31, 15, 7]));
        }
    }
}
