//! G.729 with annexes A and B over `rvoip-codec-core`: 10 bytes for 10 ms at 8 kHz, several frames a
//! payload; two bytes at the end describe the noise of a pause (RFC 3551 4.5.6).

use codec_core::codecs::g729::G729Codec;
use codec_core::types::AudioCodecExt;
use codec_core::types::CodecConfig;

use crate::codec::DecodeError;
use crate::codec::Decoder;
use crate::codec::Encoder;

/// Rate of the samples.
pub(crate) const RATE_HZ: u32 = 8_000;

/// Payload to samples, with the library's concealment and comfort noise.
pub(crate) struct G729Decoder {
    lib: Box<G729Codec>,
    /// What the last frame was, where it described noise: what follows without a payload is that
    /// noise.
    noise: Option<[u8; NOISE_BYTES]>,
    /// Frames made up since the last payload.
    lost: usize,
}

impl G729Decoder {
    /// Makes a decoder; nothing where the library refuses its own defaults.
    pub(crate) fn new() -> Option<Self> {
        let lib = Box::new(G729Codec::new(CodecConfig::g729ba()).ok()?);
        Some(Self { lib, noise: None, lost: 0 })
    }

    /// Appends a frame: 10 bytes of speech, 2 that describe noise, or none for one that is missing.
    fn append(&mut self, frame: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let mut samples = [0; G729Codec::FRAME_SAMPLES];
        self.lib.decode_to_buffer(frame, &mut samples).map_err(|_| DecodeError::Refused)?;
        pcm.extend_from_slice(&samples);
        Ok(())
    }
}

impl Decoder for G729Decoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        samples_in(payload).ok_or(DecodeError::Length { have: payload.len() })?;
        let start = pcm.len();
        for frame in payload.chunks(SPEECH_BYTES) {
            if let Err(error) = self.append(frame, pcm) {
                pcm.truncate(start);
                return Err(error);
            }
            self.noise = frame.try_into().ok();
        }
        self.lost = 0;
        Ok(())
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        let end = pcm.len() + samples;
        let frames_max = if self.noise.is_some() { NOISE_FRAMES_MAX } else { CONCEAL_FRAMES_MAX };
        while pcm.len() < end && self.lost < frames_max {
            self.lost += 1;
            // The library falls silent after ten missing frames, but noise goes on until it changes.
            let again = self.noise.filter(|_| self.lost.is_multiple_of(8));
            if self.append(again.as_ref().map_or(&[], |noise| noise.as_slice()), pcm).is_err() {
                break;
            }
        }
        // The last frame may be longer than asked for; after long loss there is silence.
        pcm.resize(end, 0);
    }
}

/// Samples to payload, without annex B.
pub(crate) struct G729Encoder {
    lib: Box<G729Codec>,
}

impl G729Encoder {
    /// Makes an encoder; nothing where the library refuses its own defaults.
    pub(crate) fn new() -> Option<Self> {
        Some(Self { lib: Box::new(G729Codec::new(CodecConfig::g729a()).ok()?) })
    }
}

impl Encoder for G729Encoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        for frame in pcm.chunks_exact(G729Codec::FRAME_SAMPLES) {
            let mut bytes = [0; SPEECH_BYTES];
            let length = self.lib.encode_to_buffer(frame, &mut bytes).unwrap_or(0);
            payload.extend_from_slice(&bytes[..length]);
        }
    }
}

/// Returns how many samples a payload stands for.
pub(crate) fn samples_in(payload: &[u8]) -> Option<usize> {
    let whole = matches!(payload.len() % SPEECH_BYTES, 0 | NOISE_BYTES) && !payload.is_empty();
    whole.then(|| payload.len().div_ceil(SPEECH_BYTES) * G729Codec::FRAME_SAMPLES)
}

const SPEECH_BYTES: usize = 10;
const NOISE_BYTES: usize = 2;
/// 100 ms: silence after that.
const CONCEAL_FRAMES_MAX: usize = 10;
/// 2 s: annex B sends a description when the noise changes, which it does sooner or later.
const NOISE_FRAMES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    #[test]
    fn frames_and_pauses_have_their_lengths() {
        let mut decoder = G729Decoder::new().unwrap();
        let mut pcm = Vec::new();
        decoder.decode(&[0x5A; 20], &mut pcm).unwrap();
        assert_eq!(pcm.len(), 160);
        decoder.conceal(333, &mut pcm);
        assert_eq!(pcm.len(), 493);
        assert!(pcm[160..].iter().any(|sample| *sample != 0));
        decoder.conceal(2_000, &mut pcm);
        assert_eq!(pcm[2_000..], vec![0; 493]);
        pcm.clear();
        decoder.decode(&[0x5A; 22], &mut pcm).unwrap();
        assert_eq!(pcm.len(), 240);
        pcm.clear();
        decoder.conceal(32_000, &mut pcm);
        assert!(pcm[200..15_900].chunks(400).all(|part| part.iter().any(|s| *s != 0)), "noise goes on");
        assert_eq!(pcm[16_000..], vec![0; 16_000]);
        for bad in [0, 1, 3, 11, 19] {
            assert!(decoder.decode(&vec![0; bad], &mut pcm).is_err());
        }
    }

    #[test]
    fn any_bytes_are_decoded() {
        let mut decoder = G729Decoder::new().unwrap();
        let mut noise = vectors::noise(11);
        for round in 0..400 {
            let payload: Vec<u8> = noise.by_ref().take([10, 20, 22, 2][round % 4]).collect();
            let mut pcm = Vec::new();
            decoder.decode(&payload, &mut pcm).unwrap();
            assert_eq!(Some(pcm.len()), samples_in(&payload));
            decoder.conceal(round % 3 * 90, &mut pcm);
        }
        for level in [0, 0xFF] {
            for length in [10, 2, 10, 10] {
                decoder.decode(&vec![level; length], &mut Vec::new()).unwrap();
            }
        }
    }
}
