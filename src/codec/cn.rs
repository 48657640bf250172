//! Comfort noise (RFC 3389): the sound of a line on which nobody speaks.

use crate::codec::DecodeError;
use crate::codec::Decoder;

/// White noise at the level that the payload names.
///
/// A payload stands for no length of time: [`Decoder::decode`] takes in the level and appends
/// nothing, [`Decoder::conceal`] appends noise at that level, for as long as it is asked to. The
/// spectrum that may follow the level byte is not used. The noise of every stream is the same.
pub(crate) struct ComfortNoise {
    rate_hz: u32,
    noise: Noise,
    /// Peak of the noise: √3 times its RMS, as every value within is equally likely.
    peak: i32,
}

impl ComfortNoise {
    /// Begins with silence, until a payload says how loud.
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self { rate_hz, noise: Noise::new(), peak: 0 }
    }
}

impl Decoder for ComfortNoise {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn decode(&mut self, payload: &[u8], _pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let level = payload.first().ok_or(DecodeError::Length { have: 0 })?;
        self.peak = peak_of(*level & 0x7F);
        Ok(())
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        self.noise.fill(self.peak, samples, pcm);
    }
}

/// Numbers without a pattern that an ear would find; the same every time.
pub(crate) struct Noise {
    state: u32,
}

impl Noise {
    /// Begins at the fixed seed.
    pub(crate) fn new() -> Self {
        Self { state: 0x2545_F491 }
    }

    /// Appends `samples` samples between `-peak` and `peak`.
    pub(crate) fn fill(&mut self, peak: i32, samples: usize, pcm: &mut Vec<i16>) {
        if peak == 0 {
            pcm.resize(pcm.len() + samples, 0);
            return;
        }
        pcm.extend((0..samples).map(|_| {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((i64::from(self.state as i32) * i64::from(peak)) >> 31) as i16
        }));
    }
}

/// Peak for a level in -dBov (RFC 3389 3.1), where 0 dBov is the loudest square wave. Louder than
/// a uniform distribution can be is cut off; senders mean 40 to 80.
fn peak_of(level: u8) -> i32 {
    let mut rms = 32_767.0_f64;
    for _ in 0..level {
        rms *= 0.891_250_938_133_745_5; // -1 dB
    }
    (rms * 1.732_050_807_568_877_2).min(32_767.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_level_that_was_sent() {
        for level in [20_u8, 45, 60] {
            let mut decoder = ComfortNoise::new(8_000);
            let mut pcm = Vec::new();
            decoder.decode(&[level, 1, 2], &mut pcm).unwrap();
            assert!(pcm.is_empty());
            decoder.conceal(8_000, &mut pcm);
            let power = pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 8_000.0;
            let have = -10.0 * (power / 32_767.0_f64.powi(2)).log10();
            assert!((have - f64::from(level)).abs() < 0.5, "{have} for {level}");
        }
    }

    #[test]
    fn silence_before_and_at_the_lowest_level() {
        let mut decoder = ComfortNoise::new(8_000);
        let mut pcm = Vec::new();
        decoder.conceal(10, &mut pcm);
        decoder.decode(&[127], &mut pcm).unwrap();
        decoder.conceal(10, &mut pcm);
        assert_eq!(pcm, [0; 20]);
        assert_eq!(decoder.decode(&[], &mut pcm), Err(DecodeError::Length { have: 0 }));
    }
}
