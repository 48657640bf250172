//! Speex, narrowband and wideband (RFC 5574), over `oxideav-speex`: frames of 20 ms, several a
//! payload.

use oxideav_speex::DecodedFrame;
use oxideav_speex::NarrowbandEncoder;
use oxideav_speex::PacketSummary;
use oxideav_speex::SpeexDecoder as LibDecoder;
use oxideav_speex::WidebandEncoder;

use crate::codec::DecodeError;
use crate::codec::Encoder;
use crate::codec::conceal::FrameDecoder;

/// Payload to samples.
pub(crate) struct SpeexDecoder {
    rate_hz: u32,
    lib: Box<LibDecoder>,
}

impl SpeexDecoder {
    /// Makes a decoder for 8000 or 16000 Hz.
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self { rate_hz, lib: Box::new(LibDecoder::new()) }
    }
}

impl FrameDecoder for SpeexDecoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        // Walked first: a decoder that fails in the middle of a packet has moved on.
        samples_in(self.rate_hz, payload).ok_or(DecodeError::Length { have: payload.len() })?;
        for frame in self.lib.decode_packet(payload).map_err(|_| DecodeError::Refused)? {
            let sample = |value: &f64| value.round().clamp(-32_768.0, 32_767.0) as i16;
            match (&frame, self.rate_hz) {
                (DecodedFrame::Narrowband(samples), 8_000) => pcm.extend(samples.iter().map(sample)),
                // A wideband sender leaves the upper band out where there is nothing in it.
                (DecodedFrame::Narrowband(samples), _) => {
                    pcm.extend(samples.iter().flat_map(|value| [sample(value); 2]));
                }
                (DecodedFrame::Wideband { low_band, .. }, 8_000) => pcm.extend(low_band.iter().map(sample)),
                (DecodedFrame::Wideband { wideband_pcm, .. }, _) => {
                    pcm.extend(wideband_pcm.iter().map(sample));
                }
                (DecodedFrame::Control(_), _) => {}
            }
        }
        Ok(())
    }
}

/// Samples to payload.
pub(crate) enum SpeexEncoder {
    Narrow(Box<NarrowbandEncoder>),
    Wide(Box<WidebandEncoder>),
}

impl SpeexEncoder {
    /// Makes an encoder for 8000 or 16000 Hz.
    pub(crate) fn new(rate_hz: u32) -> Self {
        match rate_hz {
            8_000 => Self::Narrow(Box::new(NarrowbandEncoder::new())),
            _ => Self::Wide(Box::new(WidebandEncoder::new())),
        }
    }
}

impl Encoder for SpeexEncoder {
    fn sample_rate_hz(&self) -> u32 {
        match self {
            Self::Narrow(_) => 8_000,
            Self::Wide(_) => 16_000,
        }
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let bytes = match self {
            Self::Narrow(lib) => lib.encode_packet_quality(pcm.as_chunks().0, QUALITY).ok(),
            Self::Wide(lib) => lib.encode_packet_quality(pcm.as_chunks().0, QUALITY).ok(),
        };
        payload.extend(bytes.into_iter().flatten());
    }
}

/// Returns how many samples at `rate_hz` a payload stands for.
pub(crate) fn samples_in(rate_hz: u32, payload: &[u8]) -> Option<usize> {
    let frames = PacketSummary::walk(payload).ok()?.audio_frames() as usize;
    (frames > 0).then_some(frames * rate_hz as usize / 50)
}

/// 15 kbit/s narrowband, 28 kbit/s wideband.
const QUALITY: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        for rate in [8_000, 16_000] {
            let mut decoder = SpeexDecoder::new(rate);
            let mut noise = vectors::noise(u64::from(rate));
            let mut decoded = 0;
            for round in 0..400 {
                let payload: Vec<u8> = noise.by_ref().take(round % 75).collect();
                let mut pcm = Vec::new();
                if decoder.decode(&payload, &mut pcm).is_ok() {
                    decoded += 1;
                    assert_eq!(Some(pcm.len()), samples_in(rate, &payload));
                }
            }
            assert!(decoded > 3, "{decoded}");
        }
    }
}
