//! One side of a WAV file: samples at the file's rate that the other side is not ready for.

/// Samples that are not written yet.
#[derive(Debug, Default)]
pub(super) struct PcmLane {
    written: u64,
    /// Silence before `samples`.
    silence: u64,
    samples: Vec<i16>,
    /// Samples at the end that are not final yet.
    hold: usize,
}

impl PcmLane {
    /// Returns the first sample that is not known.
    pub(super) fn end(&self) -> i64 {
        (self.written + self.silence) as i64 + self.samples.len() as i64
    }

    /// Keeps the last `hold` samples back: they may still be muted.
    pub(super) fn set_hold(&mut self, hold: usize) {
        self.hold = hold;
    }

    /// Returns the first sample that is not final.
    pub(super) fn ready(&self) -> i64 {
        (self.end() - self.hold as i64).max(self.written())
    }

    /// Silences samples by how far they are from the end, as far as they are here.
    pub(super) fn mute(&mut self, back: std::ops::Range<usize>) {
        let at = |back: usize| self.samples.len().saturating_sub(back);
        let range = at(back.end)..at(back.start);
        self.samples[range].fill(0);
    }

    /// Returns the first sample that is not written.
    pub(super) fn written(&self) -> i64 {
        self.written as i64
    }

    /// Adds silence.
    pub(super) fn silence(&mut self, samples: usize) {
        if self.samples.is_empty() {
            self.silence += samples as u64;
        } else {
            self.samples.resize(self.samples.len() + samples, 0);
        }
    }

    /// Adds sound.
    pub(super) fn push(&mut self, pcm: &[i16]) {
        self.samples.extend_from_slice(pcm);
    }

    /// Writes `frames` samples into one channel of the stereo frames `out`, which are zeros and
    /// begin with that channel. What is not known is silence from now on.
    pub(super) fn take(&mut self, frames: usize, out: &mut [u8]) {
        let silent = self.silence.min(frames as u64) as usize;
        self.silence -= silent as u64;
        self.written += frames as u64;
        if silent == frames {
            return;
        }
        let count = (frames - silent).min(self.samples.len());
        let places = &mut out[silent * FRAME_BYTES..];
        let (whole, rest) = places.as_chunks_mut::<FRAME_BYTES>();
        for (place, sample) in whole.iter_mut().zip(&self.samples[..count]) {
            [place[0], place[1]] = sample.to_le_bytes();
        }
        // The right channel's last frame ends where the file does.
        if count > whole.len() {
            rest[..2].copy_from_slice(&self.samples[count - 1].to_le_bytes());
        }
        if count == self.samples.len() {
            self.samples.clear();
            // A burst has passed: give back what a quiet call does not need.
            if self.samples.capacity() > SAMPLES_KEPT {
                self.samples = Vec::new();
            }
        } else {
            self.samples.drain(..count);
        }
    }
}

/// Two channels of 16 bits.
pub(super) const FRAME_BYTES: usize = 4;
/// 128 ms at 8 kHz.
const SAMPLES_KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_sound_are_written_in_order() {
        let mut lane = PcmLane::default();
        lane.silence(2);
        lane.push(&[1, 2]);
        lane.silence(1);
        lane.push(&[3]);
        assert_eq!(lane.end(), 6);
        let mut out = [0; 32];
        lane.take(3, &mut out[..12]);
        lane.take(5, &mut out[12..]);
        let have: Vec<u8> = out.chunks(4).map(|frame| frame[0]).collect();
        assert_eq!(have, [0, 0, 1, 2, 0, 3, 0, 0]);
        assert_eq!((lane.end(), lane.written()), (8, 8));
    }
}
