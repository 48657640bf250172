//! G.711 µ-law and A-law: one byte a sample.

use crate::codec::DecodeError;
use crate::codec::Encoder;
use crate::codec::conceal::FrameDecoder;

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Law {
    A,
    Mu,
}

/// Payload to samples. The hot path of most recorders: a look-up a byte.
pub(crate) struct G711Decoder {
    rate_hz: u32,
    channels: usize,
    table: &'static [i16; 256],
}

impl G711Decoder {
    /// Makes a decoder; `channels` are interleaved sample by sample and averaged.
    pub(crate) fn new(law: Law, rate_hz: u32, channels: usize) -> Self {
        let table = match law {
            Law::A => &A_LAW,
            Law::Mu => &MU_LAW,
        };
        Self { rate_hz, channels, table }
    }
}

impl FrameDecoder for G711Decoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        if self.channels == 1 {
            pcm.extend(payload.iter().map(|code| self.table[usize::from(*code)]));
            return Ok(());
        }
        let frames = payload.chunks_exact(self.channels);
        if !frames.remainder().is_empty() {
            return Err(DecodeError::Length { have: payload.len() });
        }
        pcm.extend(frames.map(|frame| {
            let sum: i32 = frame.iter().map(|code| i32::from(self.table[usize::from(*code)])).sum();
            (sum / self.channels as i32) as i16
        }));
        Ok(())
    }
}

/// Samples to payload.
pub(crate) struct G711Encoder {
    law: Law,
    rate_hz: u32,
}

impl G711Encoder {
    /// Makes an encoder.
    pub(crate) fn new(law: Law, rate_hz: u32) -> Self {
        Self { law, rate_hz }
    }
}

impl Encoder for G711Encoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let code = match self.law {
            Law::A => linear_to_a_law,
            Law::Mu => linear_to_mu_law,
        };
        payload.extend(pcm.iter().map(|sample| code(*sample)));
    }
}

const fn mu_law_to_linear(code: u8) -> i16 {
    let code = !code;
    let (segment, step) = ((code >> 4) & 7, (code & 15) as i16);
    let magnitude = (((step << 3) + 0x84) << segment) - 0x84;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

const fn a_law_to_linear(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = ((code >> 4) & 7, (code & 15) as i16);
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// As the ITU's software tool library does: negative numbers in one's complement.
fn linear_to_mu_law(sample: i16) -> u8 {
    let magnitude = (((if sample < 0 { !sample } else { sample }) >> 2) + 33).min(0x1FFF);
    let segment = 16 - (magnitude >> 6).leading_zeros() as i16;
    let step = (magnitude >> (segment + 1)) & 15;
    let sign = if sample < 0 { 0 } else { 0x80 };
    sign | (0x7F - ((segment << 4) | step) as u8)
}

fn linear_to_a_law(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample }) >> 4;
    let code = if magnitude > 15 {
        let segment = 12 - magnitude.leading_zeros() as i16;
        ((segment) << 4) | ((magnitude >> (segment - 1)) & 15)
    } else {
        magnitude
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (code as u8 | sign) ^ 0x55
}

const fn table(mu: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = if mu { mu_law_to_linear(code as u8) } else { a_law_to_linear(code as u8) };
        code += 1;
    }
    table
}

static MU_LAW: [i16; 256] = table(true);
static A_LAW: [i16; 256] = table(false);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    /// The ITU's sweep: linear, coded, and decoded again.
    #[test]
    fn itu_sweep_is_reproduced() {
        for (law, coded, decoded) in
            [(Law::A, "sweep-r.a", "sweep-r.a-a"), (Law::Mu, "sweep-r.u", "sweep-r.u-u")]
        {
            let Some(source) = vectors::words("itu-stl/g711/sweep.src") else { return };
            let want: Vec<u8> =
                vectors::words(&format!("itu-stl/g711/{coded}")).unwrap().iter().map(|w| *w as u8).collect();
            let mut codes = Vec::new();
            G711Encoder::new(law, 8_000).encode(&source, &mut codes);
            let first = codes.iter().zip(&want).position(|(have, want)| have != want);
            assert_eq!(first, None, "{law:?} of {:?}", first.map(|n| source[n]));

            let mut pcm = Vec::new();
            G711Decoder::new(law, 8_000, 1).decode(&want, &mut pcm).unwrap();
            assert_eq!(pcm, vectors::words(&format!("itu-stl/g711/{decoded}")).unwrap(), "{law:?}");
        }
    }

    #[test]
    fn every_code_comes_back() {
        for law in [Law::A, Law::Mu] {
            let codes: Vec<u8> = (0..=255).collect();
            let (mut pcm, mut again) = (Vec::new(), Vec::new());
            G711Decoder::new(law, 8_000, 1).decode(&codes, &mut pcm).unwrap();
            G711Encoder::new(law, 8_000).encode(&pcm, &mut again);
            // µ-law has two zeroes; the negative one is not sent for 0.
            let differ: Vec<u8> = codes.iter().zip(&again).filter(|(a, b)| a != b).map(|(a, _)| *a).collect();
            assert_eq!(differ, if law == Law::Mu { vec![0x7F] } else { vec![] });
        }
    }

    #[test]
    fn stereo_is_averaged() {
        let mut pcm = Vec::new();
        let mut decoder = G711Decoder::new(Law::Mu, 8_000, 2);
        decoder.decode(&[0x00, 0xFF, 0x80, 0x80], &mut pcm).unwrap();
        assert_eq!(pcm, [-16_062, 32_124]);
        assert_eq!(decoder.decode(&[0; 3], &mut pcm), Err(DecodeError::Length { have: 3 }));
    }
}
