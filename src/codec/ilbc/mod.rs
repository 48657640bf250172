//! iLBC (RFC 3951, payload RFC 3952): 38 bytes for 20 ms or 50 for 30 ms at 8 kHz, several frames a
//! payload. Decoded only.
//!
//! Own, following the specification of RFC 3951 and its floating point arithmetic; no library in safe
//! Rust is known. The enhancer is on, so sound comes out 5 ms late (20 ms frames) or 10 ms.

use crate::codec::DecodeError;
use crate::codec::Decoder;

mod bits;
mod enhancer;
mod excitation;
mod loss;
mod lpc;
mod tables;

use self::bits::Layout;
use self::bits::Parameters;
use self::enhancer::Enhancer;
use self::loss::Loss;
use self::lpc::Filter;
use self::lpc::Frequencies;
use self::lpc::ORDER;

/// Rate of the samples.
pub(crate) const RATE_HZ: u32 = 8_000;

/// One of the two frame sizes.
pub(crate) struct Mode {
    frame_bytes: usize,
    subframes: usize,
    /// Scalar samples of the start state.
    state_samples: usize,
    layout: Layout,
    /// Weights of the earlier frequencies, one a subframe.
    weights: &'static [f32],
}

impl Mode {
    /// Returns the mode of `mode=20`, or that of `mode=30` and of anything else (RFC 3952 5).
    pub(crate) fn of(parameter: Option<&str>) -> &'static Self {
        if parameter == Some("20") { &MODE_20 } else { &MODE_30 }
    }

    /// Returns how many samples a payload stands for.
    pub(crate) fn samples_in(&'static self, payload: &[u8]) -> Option<usize> {
        let mode = self.of_payload(payload)?;
        Some(payload.len() / mode.frame_bytes * mode.samples())
    }

    /// Returns this mode where the payload is whole frames of it, or the other one: where the two
    /// sides signal different modes, one of them sends what it did not signal (RFC 3952 5).
    fn of_payload(&'static self, payload: &[u8]) -> Option<&'static Self> {
        let fits = |mode: &&Self| !payload.is_empty() && payload.len().is_multiple_of(mode.frame_bytes);
        [self, &MODE_20, &MODE_30].into_iter().find(fits)
    }

    fn samples(&self) -> usize {
        self.subframes * SUBFRAME
    }

    /// Samples that the enhancer holds back.
    fn delay(&self) -> usize {
        if self.subframes == 4 { SUBFRAME } else { 2 * SUBFRAME }
    }
}

/// Payload to samples.
pub(crate) struct IlbcDecoder {
    mode: &'static Mode,
    state: Box<State>,
}

struct State {
    frequencies: Frequencies,
    /// Filters of the last frame, one a subframe.
    filters: [Filter; SUBFRAMES_MAX],
    enhancer: Enhancer,
    /// Pitch period at the end of the last frame.
    lag: usize,
    loss: Loss,
    was_lost: bool,
    /// Newest last.
    synthesis: [f32; ORDER],
    /// Of the output filter: the last two samples in, and out.
    output: [f32; 4],
}

impl IlbcDecoder {
    /// Makes a decoder.
    pub(crate) fn new(mode: &'static Mode) -> Self {
        Self { mode, state: Box::new(State::new()) }
    }

    /// Appends a frame; a lost one where there are no bytes, or none that mean anything.
    fn append(&mut self, bytes: Option<&[u8]>, pcm: &mut Vec<i16>) {
        let (mode, state) = (self.mode, &mut *self.state);
        let parameters = bytes
            .map(|bytes| Parameters::read(&mode.layout, mode.state_samples, bytes))
            .filter(|read| !read.empty && (1..mode.subframes).contains(&read.start));
        let mut residual = [0.0; RESIDUAL_MAX];
        let is_lost = parameters.is_none();
        let filters = match parameters {
            Some(parameters) => {
                let filters = state.filters(mode, &parameters);
                excitation::decode(mode, &parameters, &filters, &mut residual);
                state.loss.heard(&residual[..mode.samples()], &filters[mode.subframes - 1]);
                filters
            }
            None => {
                state.loss.conceal(state.lag, &mut residual[..mode.samples()]);
                [state.loss.filter(); SUBFRAMES_MAX]
            }
        };
        let mut sound = [0.0; RESIDUAL_MAX];
        let residual = &residual[..mode.samples()];
        state.lag = state.enhancer.smooth(mode, residual, state.was_lost, &mut sound);
        state.was_lost = is_lost;
        state.synthesize(mode, &filters, &mut sound);
        if !state.is_sane() {
            // Filters of no real encoder may be unstable: what they made must not stay.
            *state = State::new();
            sound.fill(0.0);
        }
        pcm.extend(sound[..mode.samples()].iter().map(|s| s.round_ties_even() as i16));
    }
}

impl Decoder for IlbcDecoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let mode = self.mode.of_payload(payload).ok_or(DecodeError::Length { have: payload.len() })?;
        if mode.frame_bytes != self.mode.frame_bytes {
            *self = Self::new(mode);
        }
        for frame in payload.chunks_exact(self.mode.frame_bytes) {
            self.append(Some(frame), pcm);
        }
        Ok(())
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        let end = pcm.len() + samples;
        while pcm.len() < end && !self.state.loss.is_silent() {
            self.append(None, pcm);
        }
        // The last frame may be longer than asked for; after long loss there is silence.
        pcm.resize(end, 0);
    }
}

impl State {
    fn new() -> Self {
        Self {
            frequencies: tables::LSF_MEAN,
            filters: [[0.0; ORDER]; SUBFRAMES_MAX],
            enhancer: Enhancer::new(),
            lag: 20,
            loss: Loss::new(),
            was_lost: false,
            synthesis: [0.0; ORDER],
            output: [0.0; 4],
        }
    }

    /// Returns the filters of a frame, one a subframe (RFC 3951 4.1), and remembers its last
    /// frequencies.
    fn filters(&mut self, mode: &Mode, parameters: &Parameters) -> [Filter; SUBFRAMES_MAX] {
        let first = lpc::frequencies(&parameters.lsf[0]);
        let mut filters = [[0.0; ORDER]; SUBFRAMES_MAX];
        let mut between = (self.frequencies, first);
        for (number, (filter, weight)) in filters.iter_mut().zip(mode.weights).enumerate() {
            if number == 1 && mode.subframes == SUBFRAMES_MAX {
                between = (first, lpc::frequencies(&parameters.lsf[1]));
            }
            *filter = lpc::filter(&between.0, &between.1, *weight);
        }
        self.frequencies = between.1;
        filters
    }

    /// Filters a smoothed residual into sound (RFC 3951 4.7, 4.8).
    fn synthesize(&mut self, mode: &Mode, filters: &[Filter; SUBFRAMES_MAX], sound: &mut [f32]) {
        let late = mode.delay() / SUBFRAME;
        let sequence = self.filters[mode.subframes - late..mode.subframes].iter().chain(filters);
        for (piece, filter) in sound[..mode.samples()].chunks_exact_mut(SUBFRAME).zip(sequence) {
            for sample in piece {
                let past = self.synthesis.iter().rev();
                *sample -= filter.iter().zip(past).map(|(c, past)| c * past).sum::<f32>();
                self.synthesis.copy_within(1.., 0);
                self.synthesis[ORDER - 1] = *sample;
                *sample = high_pass(&mut self.output, *sample);
            }
        }
        self.filters = *filters;
    }

    /// Whether what was made is near the range of sound.
    fn is_sane(&self) -> bool {
        self.synthesis.iter().chain(&self.output).all(|sample| sample.abs() < ABSURD)
    }
}

fn high_pass(memory: &mut [f32; 4], sample: f32) -> f32 {
    let (zeros, poles) = (&tables::OUTPUT_ZEROS, &tables::OUTPUT_POLES);
    let [in_1, in_2, out_1, out_2] = *memory;
    let out = zeros[0] * sample + zeros[1] * in_1 + zeros[2] * in_2 - poles[0] * out_1 - poles[1] * out_2;
    *memory = [sample, in_1, out, out_1];
    out
}

/// Samples of a subframe.
const SUBFRAME: usize = 40;
const SUBFRAMES_MAX: usize = 6;
/// Samples of a frame at most.
const RESIDUAL_MAX: usize = SUBFRAMES_MAX * SUBFRAME;
/// Louder than anything that is not an unstable filter.
const ABSURD: f32 = 1e9;

static MODE_20: Mode = Mode {
    frame_bytes: 38,
    subframes: 4,
    state_samples: 57,
    layout: tables::LAYOUT_20,
    weights: &tables::LSF_WEIGHT_20,
};
static MODE_30: Mode = Mode {
    frame_bytes: 50,
    subframes: 6,
    state_samples: 58,
    layout: tables::LAYOUT_30,
    weights: &tables::LSF_WEIGHT_30,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    /// Frames that look random but are neither impossible nor too loud; the last bit is clear.
    fn frames(seed: u64, mode: &'static Mode) -> Vec<Vec<u8>> {
        let mut noise = vectors::noise(seed);
        let one = |_| {
            let mut frame: Vec<u8> = noise.by_ref().take(mode.frame_bytes).collect();
            if mode.subframes == 4 {
                frame[2] = frame[2] & 0xFE | 0x04;
                frame[3] |= 0x80;
            } else {
                frame[5] = frame[5] & 0x37 | 0x24;
            }
            frame[mode.frame_bytes - 1] &= 0xFE;
            frame
        };
        (0..60).map(one).collect()
    }

    /// Every 367th sample is what the decoder of RFC 3951, appendix A, makes of the same frames
    /// (with the order of the gains of lost frames put right).
    #[test]
    fn frames_lost_and_not_sound_as_in_the_rfc() {
        let want_20 =
            [-3, -314, -48, 73, 7, -132, -274, 173, -5, -16, 115, 410, 390, 27, 139, 80, 15, -59, 0, 0];
        let want_30 = [
            139, -278, 3, 108, -114, -88, -171, 106, -43, -18, 590, -107, -18, -96, 30, -66, -259, -685, 1,
            72,
        ];
        for (seed, mode, want) in [(20, &MODE_20, want_20), (30, &MODE_30, want_30)] {
            let mut decoder = IlbcDecoder::new(mode);
            let mut pcm = Vec::new();
            for (number, mut frame) in frames(seed, mode).into_iter().enumerate() {
                if matches!(number % 11, 7 | 8) {
                    frame[mode.frame_bytes - 1] |= 1;
                }
                decoder.decode(&frame, &mut pcm).unwrap();
            }
            let have = pcm.iter().skip(1_000).step_by(367).take(20);
            let error = have.zip(want).map(|(have, want): (&i16, i16)| (have - want).abs()).max();
            assert!(error <= Some(2), "{error:?} in {} samples", mode.samples());
        }
    }

    #[test]
    fn the_other_mode_is_known_by_its_length() {
        let sent = frames(4, &MODE_20)[..9].concat();
        let (mut told, mut other) = (IlbcDecoder::new(&MODE_20), IlbcDecoder::new(&MODE_30));
        let (mut want, mut have) = (Vec::new(), Vec::new());
        told.decode(&sent, &mut want).unwrap();
        other.decode(&sent, &mut have).unwrap();
        assert_eq!(have, want);
        assert_eq!(MODE_30.samples_in(&sent), Some(want.len()));
        // 950 bytes are whole frames of both.
        assert_eq!(
            (MODE_20.samples_in(&[0; 950]), MODE_30.samples_in(&[0; 950])),
            (Some(4_000), Some(4_560))
        );
    }

    #[test]
    fn payloads_are_whole_frames_and_loss_is_made_up() {
        for (name, bytes, samples) in [("20", 38, 160), ("30", 50, 240), ("40", 50, 240)] {
            let mode = Mode::of(Some(name));
            let mut decoder = IlbcDecoder::new(mode);
            let two = frames(1, mode)[..2].concat();
            let mut pcm = Vec::new();
            decoder.decode(&two, &mut pcm).unwrap();
            assert_eq!((two.len(), pcm.len()), (2 * bytes, 2 * samples));
            assert_eq!(mode.samples_in(&two), Some(2 * samples));
            for bad in [0, 1, bytes - 1, bytes + 1] {
                assert!(decoder.decode(&vec![0; bad], &mut pcm).is_err());
                assert_eq!(mode.samples_in(&vec![0; bad]), None);
            }
            pcm.clear();
            decoder.conceal(333, &mut pcm);
            assert_eq!(pcm.len(), 333);
            assert!(pcm[160..].iter().any(|sample| sample.abs() > 5), "{pcm:?}");
            decoder.conceal(8_000, &mut pcm);
            assert_eq!(pcm.len(), 8_333);
            assert_eq!(pcm[2_500..], vec![0; 5_833]);
        }
        assert_eq!(Mode::of(None).frame_bytes, 50);
    }

    /// Whatever the bytes say, and however often: samples, and sound again after it.
    #[test]
    fn any_bytes_are_decoded() {
        for mode in [&MODE_20, &MODE_30] {
            let mut decoder = IlbcDecoder::new(mode);
            let mut noise = vectors::noise(17);
            let mut pcm = Vec::new();
            for round in 0..2_000 {
                let mut frame: Vec<u8> = noise.by_ref().take(mode.frame_bytes).collect();
                // The same filter for long, so that an unstable one shows.
                let lsf = mode.frame_bytes / 10;
                frame[..lsf].iter_mut().for_each(|byte| *byte = (round / 50 * 37 + 11) as u8);
                frame[mode.frame_bytes - 1] &= if round % 5 == 0 { 0xFF } else { 0xFE };
                decoder.decode(&frame, &mut pcm).unwrap();
                decoder.conceal(round % 7 * 31, &mut pcm);
                pcm.clear();
            }
            for level in [0, 0xFF, 0xFE] {
                decoder.decode(&vec![level; 3 * mode.frame_bytes], &mut pcm).unwrap();
            }
            pcm.clear();
            decoder.decode(&frames(2, mode).concat(), &mut pcm).unwrap();
            assert!(pcm[pcm.len() / 2..].iter().any(|sample| sample.abs() > 50));
            assert!(decoder.state.is_sane());
        }
    }

    #[test]
    fn an_unstable_filter_is_forgotten() {
        let mut decoder = IlbcDecoder::new(&MODE_20);
        decoder.state.synthesis = [f32::NAN; ORDER];
        let mut pcm = Vec::new();
        let frames = frames(3, &MODE_20);
        decoder.decode(&frames[0], &mut pcm).unwrap();
        assert_eq!(pcm, vec![0; 160]);
        decoder.decode(&frames[1..4].concat(), &mut pcm).unwrap();
        assert!(pcm.iter().any(|sample| *sample != 0));
    }
}
