//! Sound in place of what was lost, for codecs that bring no concealment of their own.
//!
//! After ITU-T G.711 Appendix I in its simplest shape: the last pitch period is repeated, held for
//! 10 ms and faded to silence at 60 ms; the first 5 ms that come after it are blended in. Unlike
//! the appendix it delays nothing, so what was not lost stays as it was decoded.

use crate::codec::DecodeError;
use crate::codec::Decoder;

/// The part of a decoder that knows nothing of loss.
pub(crate) trait FrameDecoder: Send {
    /// Returns the rate of the samples that come out.
    fn sample_rate_hz(&self) -> u32;

    /// Appends the samples of `payload`. What it appended where it fails is taken back by the caller.
    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError>;
}

/// A codec with the concealment of this module.
pub(crate) struct Concealing<D> {
    frames: D,
    concealer: Concealer,
}

impl<D: FrameDecoder> Concealing<D> {
    /// Wraps `frames`.
    pub(crate) fn new(frames: D) -> Self {
        let concealer = Concealer::new(frames.sample_rate_hz());
        Self { frames, concealer }
    }
}

impl<D: FrameDecoder> Decoder for Concealing<D> {
    fn sample_rate_hz(&self) -> u32 {
        self.frames.sample_rate_hz()
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let start = pcm.len();
        let result = self.frames.decode(payload, pcm);
        if result.is_ok() {
            self.concealer.heard(&mut pcm[start..]);
        } else {
            pcm.truncate(start);
        }
        result
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        self.concealer.fill(samples, pcm);
    }
}

/// Remembers what was heard and repeats it.
pub(crate) struct Concealer {
    rate_hz: u32,
    /// The last [`HISTORY_MS`] of sound; a ring until something is lost, so that hearing moves nothing.
    history: Box<[i16]>,
    /// The oldest sample of `history`.
    oldest: usize,
    /// One pitch period to repeat; valid while `lost` is not 0.
    cycle: Vec<i16>,
    /// Step from the last sample heard to the first repeated one, taken back over the overlap.
    step: i32,
    /// Samples concealed since the last that was heard.
    lost: usize,
}

impl Concealer {
    /// Begins with silence behind it.
    pub(crate) fn new(rate_hz: u32) -> Self {
        let mut new =
            Self { rate_hz, history: Box::default(), oldest: 0, cycle: Vec::new(), step: 0, lost: 0 };
        new.history = vec![0; new.samples(HISTORY_MS)].into();
        new.cycle.reserve_exact(new.samples(PERIOD_MAX_MS) + 1);
        new
    }

    /// Takes in decoded samples; blends the first of them where something was lost just before.
    pub(crate) fn heard(&mut self, pcm: &mut [i16]) {
        if self.lost > 0 && !pcm.is_empty() {
            let overlap = self.samples(OVERLAP_MS).min(pcm.len());
            for (index, sample) in pcm[..overlap].iter_mut().enumerate() {
                let (after, over) = (index as i32 + 1, overlap as i32 + 1);
                let kept =
                    i32::from(*sample) * after + i32::from(self.repeated(self.lost + index)) * (over - after);
                *sample = (kept / over) as i16;
            }
            self.lost = 0;
        }
        let length = self.history.len();
        let recent = &pcm[pcm.len().saturating_sub(length)..];
        let (to_end, rest) = recent.split_at(recent.len().min(length - self.oldest));
        self.history[self.oldest..][..to_end.len()].copy_from_slice(to_end);
        self.history[..rest.len()].copy_from_slice(rest);
        self.oldest = (self.oldest + recent.len()) % length;
    }

    /// Appends `samples` samples.
    pub(crate) fn fill(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        if self.lost == 0 && samples > 0 {
            self.prepare();
        }
        let voiced = self.samples(SILENT_MS).saturating_sub(self.lost).min(samples);
        pcm.extend((self.lost..self.lost + voiced).map(|index| self.repeated(index)));
        pcm.resize(pcm.len() + samples - voiced, 0);
        self.lost = self.lost.saturating_add(samples);
    }

    /// Returns the sample `index` after the last that was heard.
    fn repeated(&self, index: usize) -> i16 {
        let (hold, silent) = (self.samples(HOLD_MS), self.samples(SILENT_MS));
        if index >= silent || self.cycle.is_empty() {
            return 0;
        }
        let overlap = self.samples(OVERLAP_MS) as i64;
        let mut sample = i64::from(self.cycle[index % self.cycle.len()]);
        sample += i64::from(self.step) * (overlap - index as i64).max(0) / overlap;
        if index > hold {
            sample = sample * (silent - index) as i64 / (silent - hold) as i64;
        }
        sample.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
    }

    /// Copies the last pitch period and bends its end towards what came before it, so that it
    /// joins its own beginning.
    fn prepare(&mut self) {
        self.history.rotate_left(self.oldest);
        self.oldest = 0;
        let period = self.period();
        let begin = self.history.len() - period;
        self.cycle.clear();
        self.cycle.extend_from_slice(&self.history[begin..]);
        let quarter = period / 4;
        for index in 0..quarter {
            let (late, early) = (period - quarter + index, begin - quarter + index);
            let weight = index as i32 + 1;
            let mixed = i32::from(self.history[early]) * weight
                + i32::from(self.cycle[late]) * (quarter as i32 - index as i32);
            self.cycle[late] = (mixed / (quarter as i32 + 1)) as i16;
        }
        self.step = i32::from(self.history[self.history.len() - 1]) - i32::from(self.history[begin - 1]);
    }

    /// Returns the lag at which the end of the history looks most like what came before it.
    fn period(&self) -> usize {
        let step = (self.rate_hz / 8_000).max(1) as usize;
        let (window, longest) = (self.samples(WINDOW_MS), self.samples(PERIOD_MAX_MS));
        let end = self.history.len();
        let at = |index: usize| f64::from(self.history[index]);
        let likeness = |lag: usize| {
            let (mut product, mut energy) = (0.0, 1.0);
            for index in (end - window..end).step_by(step) {
                product += at(index) * at(index - lag);
                energy += at(index - lag) * at(index - lag);
            }
            if product > 0.0 { product * product / energy } else { 0.0 }
        };
        let mut best = (0.0, longest);
        for lag in (self.samples(PERIOD_MIN_MS)..=longest).step_by(step) {
            let like = likeness(lag);
            if like > best.0 {
                best = (like, lag);
            }
        }
        best.1
    }

    fn samples(&self, ms: u32) -> usize {
        (self.rate_hz * ms).div_ceil(1_000) as usize
    }
}

/// How much sound is remembered: the window and the longest lag behind it, with a quarter period.
const HISTORY_MS: u32 = 36;
/// Shortest and longest pitch period (200 Hz to 66 Hz; a higher voice repeats several periods).
const PERIOD_MIN_MS: u32 = 5;
const PERIOD_MAX_MS: u32 = 15;
/// How much sound is compared.
const WINDOW_MS: u32 = 16;
/// Repeated at full level for so long.
const HOLD_MS: u32 = 10;
/// Silent from here on.
const SILENT_MS: u32 = 60;
/// Blended with what comes after.
const OVERLAP_MS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate_hz: u32, samples: usize) -> Vec<i16> {
        let step = 2.0 * std::f64::consts::PI * 150.0 / f64::from(rate_hz);
        (0..samples).map(|n| (8_000.0 * (n as f64 * step).sin()) as i16).collect()
    }

    #[test]
    fn a_tone_goes_on_and_fades() {
        for rate in [8_000, 16_000, 44_100, 48_000] {
            let ms = rate as usize / 1_000;
            let sound = tone(rate, 200 * ms);
            let mut concealer = Concealer::new(rate);
            concealer.heard(&mut sound[..100 * ms].to_vec());
            let mut pcm = Vec::new();
            concealer.fill(7 * ms, &mut pcm);
            concealer.fill(93 * ms + 1, &mut pcm);
            assert_eq!(pcm.len(), 100 * ms + 1);
            let error = (0..9 * ms).map(|n| (i32::from(pcm[n]) - i32::from(sound[100 * ms + n])).abs()).max();
            assert!(error < Some(800), "{error:?} at {rate} Hz");
            let loud = |range: std::ops::Range<usize>| pcm[range].iter().map(|s| s.unsigned_abs()).max();
            assert!(loud(40 * ms..50 * ms) < Some(4_500));
            assert_eq!(loud(61 * ms..100 * ms), Some(0));
        }
    }

    #[test]
    fn what_comes_after_is_blended_without_a_click() {
        let sound = tone(8_000, 1_600);
        let mut concealer = Concealer::new(8_000);
        concealer.heard(&mut sound[..800].to_vec());
        let mut pcm = Vec::new();
        concealer.fill(160, &mut pcm);
        let mut next = sound[960..1_120].to_vec();
        concealer.heard(&mut next);
        assert_eq!(next[40..], sound[1_000..1_120]);
        pcm.extend(next);
        let step = pcm.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max();
        assert!(step < Some(1_500), "{step:?}");
    }

    #[test]
    fn nothing_heard_is_silence() {
        let mut concealer = Concealer::new(8_000);
        let mut pcm = Vec::new();
        concealer.fill(0, &mut pcm);
        concealer.fill(1_000, &mut pcm);
        assert_eq!(pcm, vec![0; 1_000]);
        concealer.heard(&mut []);
        concealer.heard(&mut [5]);
    }
}
