//! GSM full rate (ETSI GSM 06.10): 33 bytes for 20 ms at 8 kHz, packed as RFC 3551 4.5.8.1 says.
//!
//! Own, from the specification's arithmetic: 16-bit numbers that saturate. No library in safe Rust
//! is known.

use std::ops::Range;

use crate::codec::DecodeError;
use crate::codec::conceal::FrameDecoder;

/// Rate of the samples.
pub(crate) const RATE_HZ: u32 = 8_000;
/// Bytes of a frame.
pub(crate) const FRAME_BYTES: usize = 33;
/// Samples of a frame.
pub(crate) const FRAME_SAMPLES: usize = 160;

/// Payload to samples.
pub(crate) struct GsmDecoder {
    /// Excitation: 120 samples of the past, then the 40 being made.
    excitation: [i16; 160],
    lag: usize,
    log_area: LogAreaRatios,
    /// Lattice filter memory.
    lattice: [i16; 9],
    deemphasis: i16,
}

impl GsmDecoder {
    /// Makes a decoder.
    pub(crate) fn new() -> Self {
        Self {
            excitation: [0; 160],
            lag: 40,
            log_area: LogAreaRatios::default(),
            lattice: [0; 9],
            deemphasis: 0,
        }
    }

    fn frame(&mut self, frame: &Frame) -> [i16; FRAME_SAMPLES] {
        let mut samples = [0; FRAME_SAMPLES];
        for (block, out) in frame.blocks.iter().zip(samples.chunks_exact_mut(40)) {
            if (40..=120).contains(&block.lag) {
                self.lag = block.lag;
            }
            let gain = LAG_GAIN[block.lag_gain];
            let pulses = block.pulses();
            for (index, pulse) in pulses.iter().enumerate() {
                let past = mult_r(gain, self.excitation[120 + index - self.lag]);
                self.excitation[120 + index] = pulse.saturating_add(past);
            }
            out.copy_from_slice(&self.excitation[120..]);
            self.excitation.copy_within(40.., 0);
        }
        for (reflection, range) in self.log_area.parts(&frame.log_area) {
            for sample in &mut samples[range] {
                *sample = self.lattice_step(&reflection, *sample);
            }
        }
        for sample in &mut samples {
            self.deemphasis = sample.saturating_add(mult_r(self.deemphasis, 28_180));
            *sample = self.deemphasis.saturating_add(self.deemphasis) & !7;
        }
        samples
    }

    fn lattice_step(&mut self, reflection: &[i16; 8], excitation: i16) -> i16 {
        let mut sample = excitation;
        for stage in (0..8).rev() {
            sample = sample.saturating_sub(mult_r(reflection[stage], self.lattice[stage]));
            self.lattice[stage + 1] = self.lattice[stage].saturating_add(mult_r(reflection[stage], sample));
        }
        self.lattice[0] = sample;
        sample
    }
}

impl FrameDecoder for GsmDecoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let (frames, rest) = payload.as_chunks::<FRAME_BYTES>();
        if !rest.is_empty() || frames.is_empty() {
            return Err(DecodeError::Length { have: payload.len() });
        }
        if frames.iter().any(|frame| frame[0] >> 4 != SIGNATURE) {
            return Err(DecodeError::Refused);
        }
        for frame in frames {
            pcm.extend_from_slice(&self.frame(&Frame::unpack(frame)));
        }
        Ok(())
    }
}

/// The parameters of a frame, as coded.
pub(crate) struct Frame {
    pub(crate) log_area: [i16; 8],
    pub(crate) blocks: [Block; 4],
}

/// The parameters of 5 ms.
#[derive(Clone, Copy, Default)]
pub(crate) struct Block {
    pub(crate) lag: usize,
    pub(crate) lag_gain: usize,
    pub(crate) grid: usize,
    pub(crate) peak: i16,
    pub(crate) pulses: [i16; 13],
}

impl Frame {
    fn unpack(bytes: &[u8; FRAME_BYTES]) -> Self {
        let mut position = 4;
        let mut take = |bits: usize| {
            let value = (position..position + bits)
                .fold(0, |value, bit| value << 1 | i16::from(bytes[bit / 8] >> (7 - bit % 8) & 1));
            position += bits;
            value
        };
        let log_area = LOG_AREA_BITS.map(&mut take);
        let blocks = [(); 4].map(|()| Block {
            lag: take(7) as usize,
            lag_gain: take(2) as usize,
            grid: take(2) as usize,
            peak: take(6),
            pulses: [3; 13].map(&mut take),
        });
        Self { log_area, blocks }
    }

    /// Packs the parameters.
    pub(crate) fn pack(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[0] = SIGNATURE << 4;
        let mut position = 4;
        let mut put = |value: i16, bits: usize| {
            for bit in (0..bits).rev() {
                bytes[position / 8] |= ((value >> bit & 1) as u8) << (7 - position % 8);
                position += 1;
            }
        };
        for (value, bits) in self.log_area.iter().zip(LOG_AREA_BITS) {
            put(*value, bits);
        }
        for block in &self.blocks {
            put(block.lag as i16, 7);
            put(block.lag_gain as i16, 2);
            put(block.grid as i16, 2);
            put(block.peak, 6);
            block.pulses.iter().for_each(|pulse| put(*pulse, 3));
        }
        bytes
    }
}

impl Block {
    /// Inverse quantization and grid positioning (4.2.16, 4.2.17).
    pub(crate) fn pulses(&self) -> [i16; 40] {
        let (exponent, mantissa) = exponent_and_mantissa(self.peak);
        let shift = 6 - exponent;
        let half = if shift > 0 { 1 << (shift - 1) } else { 0 };
        let mut placed = [0; 40];
        for (index, pulse) in self.pulses.iter().enumerate() {
            let value = mult_r(PEAK_FACTOR[mantissa], ((pulse << 1) - 7) << 12);
            placed[self.grid + 3 * index] = value.saturating_add(half) >> shift;
        }
        placed
    }
}

/// Log area ratios of the frame before, between which and the new ones filters move (4.2.9).
#[derive(Default)]
pub(crate) struct LogAreaRatios {
    before: [i16; 8],
}

impl LogAreaRatios {
    /// Returns the reflection coefficients of each part of the frame, and which samples it is.
    pub(crate) fn parts(&mut self, coded: &[i16; 8]) -> [([i16; 8], Range<usize>); 4] {
        let mut now = [0; 8];
        for (index, ratio) in now.iter_mut().enumerate() {
            let (offset, least, inverse) = LOG_AREA_DECODE[index];
            let scaled = (coded[index] + least) << 10;
            let value = mult_r(inverse, scaled.saturating_sub(offset << 1));
            *ratio = value.saturating_add(value);
        }
        let before = std::mem::replace(&mut self.before, now);
        let mix = |part: fn(i16, i16) -> i16| std::array::from_fn(|n| reflection(part(before[n], now[n])));
        [
            (mix(|a, b| (a >> 2).saturating_add(b >> 2).saturating_add(a >> 1)), 0..13),
            (mix(|a, b| (a >> 1).saturating_add(b >> 1)), 13..27),
            (mix(|a, b| (a >> 2).saturating_add(b >> 2).saturating_add(b >> 1)), 27..40),
            (mix(|_, b| b), 40..160),
        ]
    }
}

/// 4.2.9.2: log area ratio to reflection coefficient.
fn reflection(ratio: i16) -> i16 {
    let magnitude = ratio.saturating_abs();
    let value = match magnitude {
        ..11_059 => magnitude << 1,
        11_059..20_070 => magnitude + 11_059,
        _ => (magnitude >> 2).saturating_add(26_112),
    };
    if ratio < 0 { -value } else { value }
}

/// 4.2.15: the peak of a block is a small floating point number.
pub(crate) fn exponent_and_mantissa(peak: i16) -> (i16, usize) {
    let mut exponent = if peak > 15 { (peak >> 3) - 1 } else { 0 };
    let mut mantissa = peak - (exponent << 3);
    if mantissa == 0 {
        return (-4, 7);
    }
    while mantissa <= 7 {
        mantissa = mantissa << 1 | 1;
        exponent -= 1;
    }
    (exponent, (mantissa - 8) as usize)
}

/// Product of two fractions, rounded.
pub(crate) fn mult_r(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + 16_384) >> 15).min(32_767) as i16
}

/// First four bits of a frame.
const SIGNATURE: u8 = 0xD;
const LOG_AREA_BITS: [usize; 8] = [6, 6, 5, 5, 4, 4, 3, 3];
/// Table 4.1: offset B, least value, inverse of A.
const LOG_AREA_DECODE: [(i16, i16, i16); 8] = [
    (0, -32, 13_107),
    (0, -32, 13_107),
    (2_048, -16, 13_107),
    (-2_560, -16, 13_107),
    (94, -8, 19_223),
    (-1_792, -8, 17_476),
    (-341, -4, 31_454),
    (-1_144, -4, 29_708),
];
/// Table 4.3b.
pub(crate) const LAG_GAIN: [i16; 4] = [3_277, 11_469, 21_299, 32_767];
/// Table 4.6.
const PEAK_FACTOR: [i16; 8] = [18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    #[test]
    fn frames_are_packed_as_they_were() {
        let mut bytes: Vec<u8> = vectors::noise(5).take(FRAME_BYTES).collect();
        bytes[0] = 0xD0 | (bytes[0] & 15);
        let bytes: [u8; FRAME_BYTES] = bytes.try_into().unwrap();
        assert_eq!(Frame::unpack(&bytes).pack(), bytes);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        let mut decoder = GsmDecoder::new();
        let mut noise = vectors::noise(9);
        let mut pcm = Vec::new();
        for _ in 0..500 {
            let mut payload: Vec<u8> = noise.by_ref().take(FRAME_BYTES).collect();
            payload[0] |= 0xD0;
            let done = decoder.decode(&payload, &mut pcm);
            assert_eq!(done.is_ok(), payload[0] >> 4 == SIGNATURE);
        }
        for level in [0, 0xFF] {
            let mut payload = [level; FRAME_BYTES];
            payload[0] = SIGNATURE << 4;
            decoder.decode(&payload, &mut pcm).unwrap();
        }
        assert!(decoder.decode(&[0xD0; 34], &mut pcm).is_err());
        assert!(decoder.decode(&[], &mut pcm).is_err());
    }
}
