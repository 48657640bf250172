//! G.726: ADPCM at 16, 24, 32 and 40 kbit/s, in the two bit orders that RTP carries it in.
//!
//! Own, from the recommendation; names in comments are those of its blocks. RFC 3551 4.5.4 puts the
//! first sample into the lowest bits of a byte, ITU-T I.366.2 annex E (`AAL2-G726-32`) into the
//! highest. What is signalled says nothing of what is sent: baresip sends the one and linphone the
//! other under the other's name. [`G726Decoder`] therefore listens to both.

use crate::codec::DecodeError;
use crate::codec::Encoder;
use crate::codec::conceal::FrameDecoder;
use crate::codec::g726_tables as tables;
use crate::codec::g726_tables::Rate;

/// Rate of the samples.
pub(crate) const RATE_HZ: u32 = 8_000;

/// Where the first sample lies in a byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packing {
    /// In the lowest bits (RFC 3551).
    LowFirst,
    /// In the highest bits (AAL2).
    HighFirst,
}

/// Payload to samples.
///
/// Both orders are decoded side by side, each with its own state, until one of them has sounded
/// like sound for long enough; see [`surprise`].
pub(crate) struct G726Decoder {
    signalled: Listener,
    other: Listener,
    /// The other order is the one that is heard.
    swapped: bool,
    /// Fading sum of what speaks for the order that is heard, in nepers.
    evidence: f64,
    /// Payloads with sound in which the choice stood; [`PROVEN`] ends the search.
    agreed: u32,
    /// What the order that is not heard decoded to.
    unheard: Vec<i16>,
}

impl G726Decoder {
    /// Makes a decoder that begins with the packing that was signalled.
    pub(crate) fn new(bits: usize, packing: Packing) -> Self {
        let other = match packing {
            Packing::LowFirst => Packing::HighFirst,
            Packing::HighFirst => Packing::LowFirst,
        };
        Self {
            signalled: Listener::new(bits, packing),
            other: Listener::new(bits, other),
            swapped: false,
            evidence: 0.0,
            agreed: 0,
            unheard: Vec::new(),
        }
    }

    /// Compares what both decoded to; leaves the better in `heard`.
    fn choose(&mut self, heard: &mut [i16]) {
        let loud = |pcm: &[i16]| {
            let sum: f64 = pcm.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
            sum > QUIET * pcm.len() as f64
        };
        if !loud(heard) && !loud(&self.unheard) {
            return;
        }
        let ratio = surprise(&self.unheard) - surprise(heard);
        self.evidence = 0.98 * self.evidence + ratio.clamp(-0.5, 0.5);
        if self.evidence < -0.2 {
            heard.copy_from_slice(&self.unheard);
            self.swapped = !self.swapped;
            self.evidence = -self.evidence;
            self.agreed = 0;
        } else {
            self.agreed += 1;
        }
    }
}

impl FrameDecoder for G726Decoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let start = pcm.len();
        let (chosen, passed) = if self.swapped {
            (&mut self.other, &mut self.signalled)
        } else {
            (&mut self.signalled, &mut self.other)
        };
        chosen.decode(payload, pcm);
        if self.agreed < PROVEN {
            self.unheard.clear();
            passed.decode(payload, &mut self.unheard);
            self.choose(&mut pcm[start..]);
        }
        Ok(())
    }
}

/// One packing's decoder.
struct Listener {
    packing: Packing,
    adpcm: Adpcm,
}

impl Listener {
    fn new(bits: usize, packing: Packing) -> Self {
        Self { packing, adpcm: Adpcm::new(bits) }
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        let bits = self.adpcm.rate.bits;
        let mask = (1_u32 << bits) - 1;
        let (mut window, mut held) = (0_u32, 0);
        pcm.reserve(samples_in(bits, payload));
        for byte in payload {
            match self.packing {
                Packing::LowFirst => window |= u32::from(*byte) << held,
                Packing::HighFirst => window = window << 8 | u32::from(*byte),
            }
            held += 8;
            while held >= bits {
                held -= bits;
                let code = match self.packing {
                    Packing::LowFirst => {
                        let code = window & mask;
                        window >>= bits;
                        code
                    }
                    Packing::HighFirst => window >> held & mask,
                };
                pcm.push(self.adpcm.decode(code as usize));
            }
        }
    }
}

/// Samples to payload.
pub(crate) struct G726Encoder {
    packing: Packing,
    adpcm: Adpcm,
}

impl G726Encoder {
    /// Makes an encoder.
    pub(crate) fn new(bits: usize, packing: Packing) -> Self {
        Self { packing, adpcm: Adpcm::new(bits) }
    }
}

impl Encoder for G726Encoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    /// Appends whole bytes: samples are coded eight at a time.
    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let bits = self.adpcm.rate.bits;
        for group in pcm.as_chunks::<8>().0 {
            let mut window = 0_u64;
            for (index, sample) in group.iter().enumerate() {
                let code = self.adpcm.encode(*sample) as u64;
                let place = match self.packing {
                    Packing::LowFirst => index,
                    Packing::HighFirst => 7 - index,
                };
                window |= code << (place * bits);
            }
            let bytes = window.to_le_bytes();
            match self.packing {
                Packing::LowFirst => payload.extend_from_slice(&bytes[..bits]),
                Packing::HighFirst => payload.extend(bytes[..bits].iter().rev()),
            }
        }
    }
}

/// Returns how many samples a payload stands for.
pub(crate) fn samples_in(bits: usize, payload: &[u8]) -> usize {
    payload.len() * 8 / bits
}

/// The state that encoder and decoder share.
struct Adpcm {
    rate: &'static Rate,
    /// YL and YU: slow and fast quantizer scale.
    slow_scale: i32,
    fast_scale: i32,
    /// DMS and DML: short and long average of the code's size.
    short_average: i32,
    long_average: i32,
    /// AP: speed control.
    speed: i32,
    /// A and B: poles and zeros.
    poles: [i32; 2],
    zeros: [i32; 6],
    /// PK: signs of the partly reconstructed signal, newest first.
    signs: [bool; 2],
    /// DQ and SR in the recommendation's small floating point, newest first.
    differences: [i32; 6],
    reconstructed: [i32; 2],
    /// TD: a narrow-band signal.
    tone: bool,
}

/// What the predictor expects, and at what scale the difference is coded.
struct Prediction {
    zero_part: i32,
    estimate: i32,
    scale: i32,
}

impl Adpcm {
    fn new(bits: usize) -> Self {
        Self {
            rate: tables::rate(bits),
            slow_scale: 34_816,
            fast_scale: 544,
            short_average: 0,
            long_average: 0,
            speed: 0,
            poles: [0; 2],
            zeros: [0; 6],
            signs: [false; 2],
            differences: [32; 6],
            reconstructed: [32; 2],
            tone: false,
        }
    }

    fn decode(&mut self, code: usize) -> i16 {
        let prediction = self.predict();
        let sample = self.reconstruct(code, &prediction);
        (sample << 2).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
    }

    fn encode(&mut self, sample: i16) -> usize {
        let prediction = self.predict();
        let code = self.quantize((i32::from(sample) >> 2) - prediction.estimate, prediction.scale);
        self.reconstruct(code, &prediction);
        code
    }

    /// FMULT, ACCUM, MIX.
    fn predict(&self) -> Prediction {
        let zeros: i32 = self.zeros.iter().zip(self.differences).map(|(b, dq)| multiply(b >> 2, dq)).sum();
        let poles: i32 = self.poles.iter().zip(self.reconstructed).map(|(a, sr)| multiply(a >> 2, sr)).sum();
        let scale = if self.speed >= 256 {
            self.fast_scale
        } else {
            let slow = self.slow_scale >> 6;
            let difference = self.fast_scale - slow;
            let mixed = difference * (self.speed >> 2);
            slow + ((if difference < 0 { mixed + 0x3F } else { mixed }) >> 6)
        };
        Prediction { zero_part: wrap(zeros) >> 1, estimate: wrap(zeros + poles) >> 1, scale }
    }

    /// LOG, SUBTB, QUAN.
    fn quantize(&self, difference: i32, scale: i32) -> usize {
        let magnitude = difference.abs();
        let exponent = bit_length(magnitude >> 1);
        let mantissa = ((magnitude << 7) >> exponent) & 0x7F;
        let logarithm = (exponent << 7) + mantissa - (scale >> 2);
        let thresholds = self.rate.thresholds;
        let level =
            thresholds.iter().position(|threshold| logarithm < *threshold).unwrap_or(thresholds.len());
        let codes = 1 << self.rate.bits;
        match (difference < 0, level) {
            (true, _) => codes - 1 - level,
            // A code for zero exists in one sign only, and not at 16 kbit/s.
            (false, 0) if self.rate.bits > 2 => codes - 1,
            (false, _) => level,
        }
    }

    /// RECONST, ADDA, ANTILOG, then the adaptation. Returns SR.
    fn reconstruct(&mut self, code: usize, prediction: &Prediction) -> i32 {
        let negative = code >> (self.rate.bits - 1) != 0;
        let logarithm = self.rate.levels[code] + (prediction.scale >> 2);
        let magnitude = if logarithm < 0 {
            0
        } else {
            ((128 + (logarithm & 127)) << 7) >> (14 - ((logarithm >> 7) & 15))
        };
        let difference = if negative { -magnitude } else { magnitude };
        // Sums wrap in 16 bits, which overloaded signals reach.
        let sample = wrap(prediction.estimate + difference);
        let partly = wrap(difference + prediction.zero_part);
        let jumped = self.adapt_scale(code, prediction.scale, magnitude);
        self.adapt_predictor(jumped, negative, magnitude, partly);
        self.remember(negative, magnitude, sample);
        self.adapt_speed(code, jumped, prediction.scale);
        sample
    }

    /// TRANS, FUNCTW, FILTD, LIMB, FILTE. Returns whether a narrow-band signal has ended.
    fn adapt_scale(&mut self, code: usize, scale: i32, magnitude: i32) -> bool {
        let (whole, part) = (self.slow_scale >> 15, (self.slow_scale >> 10) & 0x1F);
        let threshold = if whole > 9 { 31 << 10 } else { (32 + part) << whole };
        let jumped = self.tone && magnitude > (threshold + (threshold >> 1)) >> 1;
        self.fast_scale = (scale + ((self.rate.scale_steps[code] - scale) >> 5)).clamp(544, 5_120);
        self.slow_scale += self.fast_scale + (-self.slow_scale >> 6);
        jumped
    }

    /// UPA2, LIMC, UPA1, LIMD, UPB, TONE.
    fn adapt_predictor(&mut self, jumped: bool, negative: bool, magnitude: i32, partly: i32) {
        let sign = partly < 0;
        let mut second = 0;
        if jumped {
            self.poles = [0; 2];
            self.zeros = [0; 6];
        } else {
            let turned = sign != self.signs[0];
            second = self.poles[1] - (self.poles[1] >> 7);
            if partly != 0 {
                let first = if turned { self.poles[0] } else { -self.poles[0] };
                second += match first {
                    ..-8_191 => -0x100,
                    8_192.. => 0xFF,
                    _ => first >> 5,
                };
                second += if sign == self.signs[1] { 0x80 } else { -0x80 };
                second = second.clamp(-12_288, 12_288);
            }
            self.poles[1] = second;
            self.poles[0] -= self.poles[0] >> 8;
            if partly != 0 {
                self.poles[0] += if turned { -192 } else { 192 };
            }
            let bound = 15_360 - second;
            self.poles[0] = self.poles[0].clamp(-bound, bound);
            let leak = if self.rate.bits == 5 { 9 } else { 8 };
            for (zero, before) in self.zeros.iter_mut().zip(self.differences) {
                *zero -= *zero >> leak;
                if magnitude != 0 {
                    *zero += if negative == (before < 0) { 128 } else { -128 };
                }
            }
        }
        self.signs = [sign, self.signs[0]];
        self.tone = !jumped && second < -11_776;
    }

    /// FLOATA, FLOATB, DELAYs.
    fn remember(&mut self, negative: bool, magnitude: i32, sample: i32) {
        self.differences.copy_within(..5, 1);
        self.differences[0] = float(negative, magnitude);
        self.reconstructed = [float(sample < 0, sample.abs()), self.reconstructed[0]];
    }

    /// FUNCTF, FILTA, FILTB, SUBTC, FILTC, TRIGB.
    fn adapt_speed(&mut self, code: usize, jumped: bool, scale: i32) {
        let size = self.rate.sizes[code];
        self.short_average += (size - self.short_average) >> 5;
        self.long_average += ((size << 2) - self.long_average) >> 7;
        let changing = scale < 1_536
            || self.tone
            || ((self.short_average << 2) - self.long_average).abs() >= self.long_average >> 3;
        self.speed = match (jumped, changing) {
            (true, _) => 256,
            (false, true) => self.speed + ((0x200 - self.speed) >> 4),
            (false, false) => self.speed + (-self.speed >> 4),
        };
    }
}

/// Sign, 4 bits of exponent and 6 of mantissa, in one number.
fn float(negative: bool, magnitude: i32) -> i32 {
    let value = if magnitude == 0 || magnitude > 0x7FFF {
        0x20
    } else {
        let exponent = bit_length(magnitude);
        (exponent << 6) + ((magnitude << 6) >> exponent)
    };
    if negative { value - 0x400 } else { value }
}

/// FMULT: a coefficient times a [`float`].
fn multiply(coefficient: i32, factor: i32) -> i32 {
    let magnitude = if coefficient > 0 { coefficient } else { -coefficient & 0x1FFF };
    let exponent = bit_length(magnitude) - 6;
    let mantissa = match (magnitude, exponent) {
        (0, _) => 32,
        (_, 0..) => magnitude >> exponent,
        _ => magnitude << -exponent,
    };
    let exponent = exponent + ((factor >> 6) & 15) - 13;
    let mantissa = (mantissa * (factor & 63) + 0x30) >> 4;
    let product = if exponent >= 0 { (mantissa << exponent) & 0x7FFF } else { mantissa >> -exponent };
    if (coefficient ^ factor) < 0 { -product } else { product }
}

/// 16 bits of a sum.
fn wrap(sum: i32) -> i32 {
    i32::from(sum as i16)
}

/// Bits that a number below 2^15 needs.
fn bit_length(value: i32) -> i32 {
    (32 - value.leading_zeros() as i32).min(15)
}

/// What a wrong packing has more of: the energy left when each sample is predicted from the ten
/// before it, less a third of the whole energy, both as logarithms.
///
/// The wrong order of 2 or 4 bits is about as loud as the right one and less predictable; that of 3
/// or 5 bits may be predictable, but is louder. Summed over packets this was right within 0.1 s of
/// sound on all speech and sweeps tried, where the top of the spectrum or the loudness alone mislead.
fn surprise(pcm: &[i16]) -> f64 {
    let mut sums = [0.0; ORDER + 1];
    for (lag, sum) in sums.iter_mut().enumerate() {
        *sum = pcm.iter().zip(&pcm[lag.min(pcm.len())..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    }
    // A little white noise, so that silence and pure tones are no division by nothing.
    sums[0] = sums[0] * 1.000_1 + 1.0;
    let mut error = sums[0];
    let mut filter = [0.0; ORDER + 1];
    for order in 1..=ORDER {
        let sum: f64 = (1..order).map(|n| filter[n] * sums[order - n]).sum();
        let reflection = (sums[order] - sum) / error;
        let before = filter;
        filter[order] = reflection;
        for n in 1..order {
            filter[n] = before[n] - reflection * before[order - n];
        }
        error *= 1.0 - reflection * reflection;
    }
    error.ln() - 0.35 * sums[0].ln()
}

/// Payloads with sound that settle the order: 2 s.
const PROVEN: u32 = 100;
/// Order of the prediction that tells the packings apart.
const ORDER: usize = 10;

/// Mean square below which a payload says nothing.
const QUIET: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    fn sound(samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| {
                let t = n as f64 / 8_000.0;
                let voice = (1..26).map(|k| (t * 754.0 * f64::from(k)).sin() / f64::from(k)).sum::<f64>();
                (voice * 3_000.0 * (t * 9.0).sin()) as i16
            })
            .collect()
    }

    #[test]
    fn either_order_is_understood_whatever_was_signalled() {
        let orders = [Packing::LowFirst, Packing::HighFirst];
        for bits in 2..=5 {
            for (sent, signalled) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let mut encoder = G726Encoder::new(bits, orders[sent]);
                let mut decoder = G726Decoder::new(bits, orders[signalled]);
                let mut right = Listener::new(bits, orders[sent]);
                // Silence comes first, as in a call.
                let mut source = vec![0; 3_200];
                source.extend(sound(16_000));
                let mut wrong_packets = Vec::new();
                for (index, packet) in source.chunks(160).enumerate() {
                    let mut payload = Vec::new();
                    encoder.encode(packet, &mut payload);
                    assert_eq!(payload.len(), 20 * bits);
                    let (mut have, mut want) = (Vec::new(), Vec::new());
                    decoder.decode(&payload, &mut have).unwrap();
                    right.decode(&payload, &mut want);
                    assert_eq!(have.len(), 160);
                    if have != want {
                        wrong_packets.push(index);
                    }
                }
                // Before there is sound the orders differ by a hiss only.
                wrong_packets.retain(|index| *index >= 20);
                assert!(wrong_packets.len() <= 8, "{bits} bits, {sent} as {signalled}: {wrong_packets:?}");
            }
        }
    }

    #[test]
    fn speech_comes_back() {
        for (bits, least) in [(2, 3.0), (3, 6.0), (4, 12.0), (5, 16.0)] {
            let source = sound(16_000);
            let (mut payload, mut pcm) = (Vec::new(), Vec::new());
            G726Encoder::new(bits, Packing::LowFirst).encode(&source, &mut payload);
            Listener::new(bits, Packing::LowFirst).decode(&payload, &mut pcm);
            let signal: f64 = source.iter().map(|a| f64::from(*a).powi(2)).sum();
            let error: f64 =
                source.iter().zip(&pcm).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let snr = 10.0 * (signal / error).log10();
            assert!(snr > least, "{bits} bits: {snr} dB");
        }
    }

    #[test]
    fn any_bytes_are_decoded() {
        for bits in 2..=5 {
            let mut decoder = G726Decoder::new(bits, Packing::LowFirst);
            let mut noise = vectors::noise(bits as u64);
            for length in 0..120 {
                let payload: Vec<u8> = noise.by_ref().take(length).collect();
                let mut pcm = Vec::new();
                decoder.decode(&payload, &mut pcm).unwrap();
                assert_eq!(pcm.len(), samples_in(bits, &payload));
            }
            for level in [0, 0xFF, 0x55] {
                decoder.decode(&[level; 1_000], &mut Vec::new()).unwrap();
            }
        }
    }
}
