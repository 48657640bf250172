//! G.722 at 64 kbit/s: two samples at 16 kHz a byte, whatever the clock rate of 8000 says (RFC 3551
//! 4.5.2).
//!
//! Own, as the library tried first starts from other quantizer steps than the ITU's and so differs
//! in the first tenth of a second. Names in comments are those of the recommendation's blocks.
//!
//! ```text
//! 16 kHz ─► QMF ─┬─ low band 0-4 kHz:  6-bit ADPCM ─┬─► byte HHLLLLLL
//!                └─ high band 4-8 kHz: 2-bit ADPCM ─┘
//! ```

use crate::codec::DecodeError;
use crate::codec::Encoder;
use crate::codec::conceal::FrameDecoder;

/// Rate of the samples.
pub(crate) const RATE_HZ: u32 = 16_000;

/// Payload to samples.
pub(crate) struct G722Decoder {
    low: Band,
    high: Band,
    sums: [i32; 12],
    differences: [i32; 12],
}

impl G722Decoder {
    /// Makes a decoder.
    pub(crate) fn new() -> Self {
        Self { low: Band::low(), high: Band::high(), sums: [0; 12], differences: [0; 12] }
    }

    fn pair(&mut self, code: u8) -> [i16; 2] {
        let (low, high) = (usize::from(code & 63), usize::from(code >> 6));
        let heard_low = limit(self.low.estimate + ((self.low.scale * QUANT_6[low]) >> 15));
        let heard_high = limit(self.high.estimate + ((self.high.scale * QUANT_2[high]) >> 15));
        self.low.adapt_low(low >> 2);
        self.high.adapt_high(high);
        self.sums.copy_within(1.., 0);
        self.differences.copy_within(1.., 0);
        self.sums[11] = heard_low + heard_high;
        self.differences[11] = heard_low - heard_high;
        let (mut first, mut second) = (0, 0);
        for tap in 0..12 {
            first += self.differences[tap] * QMF[11 - tap];
            second += self.sums[tap] * QMF[tap];
        }
        [saturate(first >> 11) as i16, saturate(second >> 11) as i16]
    }
}

impl FrameDecoder for G722Decoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        pcm.reserve(2 * payload.len());
        for code in payload {
            pcm.extend_from_slice(&self.pair(*code));
        }
        Ok(())
    }
}

/// Samples to payload.
pub(crate) struct G722Encoder {
    low: Band,
    high: Band,
    even: [i32; 12],
    odd: [i32; 12],
}

impl G722Encoder {
    /// Makes an encoder.
    pub(crate) fn new() -> Self {
        Self { low: Band::low(), high: Band::high(), even: [0; 12], odd: [0; 12] }
    }

    fn code(&mut self, first: i16, second: i16) -> u8 {
        self.even.copy_within(1.., 0);
        self.odd.copy_within(1.., 0);
        self.even[11] = i32::from(first);
        self.odd[11] = i32::from(second);
        let (mut evens, mut odds) = (0, 0);
        for tap in 0..12 {
            evens += self.even[tap] * QMF[tap];
            odds += self.odd[tap] * QMF[11 - tap];
        }
        let low = self.low.quantize_low(saturate((evens + odds) >> 14));
        let high = self.high.quantize_high(saturate((odds - evens) >> 14));
        self.low.adapt_low(low >> 2);
        self.high.adapt_high(high);
        (high << 6 | low) as u8
    }
}

impl Encoder for G722Encoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let (pairs, _) = pcm.as_chunks::<2>();
        for [first, second] in pairs {
            payload.push(self.code(*first, *second));
        }
    }
}

/// One sub-band's predictor and quantizer step.
struct Band {
    /// SL or SH: what the next sample is expected to be.
    estimate: i32,
    /// SZL or SZH: the part of it that the zeros gave.
    zero_part: i32,
    /// DETL or DETH.
    scale: i32,
    /// NBL or NBH.
    log_scale: i32,
    /// RLT: reconstructed, newest first.
    heard: [i32; 2],
    /// PLT: partly reconstructed, newest first.
    partly: [i32; 2],
    /// AL: poles.
    poles: [i32; 2],
    /// DLT: quantized differences, newest first.
    differences: [i32; 6],
    /// BL: zeros.
    zeros: [i32; 6],
}

impl Band {
    fn low() -> Self {
        Self::with_scale(32)
    }

    fn high() -> Self {
        Self::with_scale(8)
    }

    fn with_scale(scale: i32) -> Self {
        Self {
            estimate: 0,
            zero_part: 0,
            scale,
            log_scale: 0,
            heard: [0; 2],
            partly: [0; 2],
            poles: [0; 2],
            differences: [0; 6],
            zeros: [0; 6],
        }
    }

    /// SUBTRA, QUANTL.
    fn quantize_low(&self, sample: i32) -> usize {
        let difference = saturate(sample - self.estimate);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let level = DECISION_6[1..30]
            .iter()
            .position(|level| magnitude < (level * self.scale) >> 12)
            .map_or(30, |index| index + 1);
        if difference < 0 { CODE_6_NEGATIVE[level] } else { CODE_6_POSITIVE[level] }
    }

    /// SUBTRA, QUANTH.
    fn quantize_high(&self, sample: i32) -> usize {
        let difference = saturate(sample - self.estimate);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        match (difference < 0, magnitude >= (564 * self.scale) >> 12) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        }
    }

    /// INVQAL, LOGSCL, SCALEL, then the predictor. `code` is the low band's without its two lowest
    /// bits, which a network may steal and so may not steer the adaptation.
    fn adapt_low(&mut self, code: usize) {
        let difference = (self.scale * QUANT_4[code]) >> 15;
        self.log_scale = (((self.log_scale * 127) >> 7) + LOG_STEP_LOW[code]).clamp(0, 18_432);
        self.scale = linear_scale(self.log_scale, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH, then the predictor.
    fn adapt_high(&mut self, code: usize) {
        let difference = (self.scale * QUANT_2[code]) >> 15;
        self.log_scale = (((self.log_scale * 127) >> 7) + LOG_STEP_HIGH[code]).clamp(0, 22_528);
        self.scale = linear_scale(self.log_scale, 10);
        self.predict(difference);
    }

    /// RECONS, PARREC, UPPOL2, UPPOL1, UPZERO, FILTEP, FILTEZ, PREDIC.
    fn predict(&mut self, difference: i32) {
        let heard = saturate(self.estimate + difference);
        let partly = saturate(self.zero_part + difference);
        let same = |before: i32| (partly < 0) == (before < 0);

        let four = saturate(self.poles[0] << 2);
        let turned = if same(self.partly[0]) { -four } else { four }.min(32_767);
        let pull = if same(self.partly[1]) { 128 } else { -128 };
        let second = ((turned >> 7) + pull + ((self.poles[1] * 32_512) >> 15)).clamp(-12_288, 12_288);

        let push = if same(self.partly[0]) { 192 } else { -192 };
        let bound = saturate(15_360 - second);
        let first = saturate(push + ((self.poles[0] * 32_640) >> 15)).clamp(-bound, bound);

        let step = if difference == 0 { 0 } else { 128 };
        for (zero, before) in self.zeros.iter_mut().zip(self.differences) {
            let step = if (before < 0) == (difference < 0) { step } else { -step };
            *zero = saturate(step + ((*zero * 32_640) >> 15));
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.heard = [heard, self.heard[0]];
        self.partly = [partly, self.partly[0]];
        self.poles = [first, second];

        let pole_part = saturate(
            ((first * saturate(2 * self.heard[0])) >> 15) + ((second * saturate(2 * self.heard[1])) >> 15),
        );
        let zero_part: i32 = self
            .zeros
            .iter()
            .zip(self.differences)
            .map(|(zero, difference)| (zero * saturate(2 * difference)) >> 15)
            .sum();
        self.zero_part = saturate(zero_part);
        self.estimate = saturate(pole_part + self.zero_part);
    }
}

fn linear_scale(log_scale: i32, shift: i32) -> i32 {
    let mantissa = INVERSE_LOG[(log_scale >> 6) as usize & 31];
    let shift = shift - (log_scale >> 11);
    (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2
}

fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// LIMIT: 15 bits.
fn limit(value: i32) -> i32 {
    value.clamp(-16_384, 16_383)
}

/// Half of the filter's 24 taps; the other half mirrors it.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// Q6.
const DECISION_6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121,
    1_219, 1_339, 1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919,
];
/// ILN and ILP.
const CODE_6_NEGATIVE: [usize; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8,
    7, 6, 5, 4,
];
const CODE_6_POSITIVE: [usize; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37,
    36, 35, 34, 33, 32,
];
/// QM6, QM4 and QM2.
const QUANT_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776,
    -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280,
    11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168,
    2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432, 136, -432, -136,
];
const QUANT_4: [i32; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584,
    1_200, 0,
];
const QUANT_2: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];
/// WL over RL42, WH over RH2.
const LOG_STEP_LOW: [i32; 16] =
    [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];
const LOG_STEP_HIGH: [i32; 4] = [798, -214, 798, -214];
/// ILB.
const INVERSE_LOG: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774,
    2_834, 2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838,
    3_922, 4_008,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    /// The ITU software tool library's speech, coded and decoded at 64 kbit/s.
    #[test]
    fn itu_speech_is_reproduced() {
        let Some(source) = vectors::words("itu-stl/g722/inpsp.bin") else { return };
        let want: Vec<u8> =
            vectors::words("itu-stl/g722/codspw.cod").unwrap().iter().map(|word| *word as u8).collect();
        let mut codes = Vec::new();
        G722Encoder::new().encode(&source, &mut codes);
        let first = codes.iter().zip(&want).position(|(have, want)| have != want);
        assert_eq!((codes.len(), first), (want.len(), None));

        let mut pcm = Vec::new();
        G722Decoder::new().decode(&want, &mut pcm).unwrap();
        let want = vectors::words("itu-stl/g722/outsp1.bin").unwrap();
        let first = pcm.iter().zip(&want).position(|(have, want)| have != want);
        assert_eq!((pcm.len(), first), (want.len(), None));
    }

    #[test]
    fn any_bytes_are_decoded() {
        let payload: Vec<u8> = vectors::noise(3).take(20_000).collect();
        let mut pcm = Vec::new();
        G722Decoder::new().decode(&payload, &mut pcm).unwrap();
        assert_eq!(pcm.len(), 40_000);
        let mut codes = Vec::new();
        G722Encoder::new().encode(&pcm, &mut codes);
        assert_eq!(codes.len(), 20_000);
    }
}
