//! L16: linear samples, high byte first (RFC 3551 4.5.11).

use crate::codec::DecodeError;
use crate::codec::Encoder;
use crate::codec::conceal::FrameDecoder;

/// Payload to samples.
pub(crate) struct L16Decoder {
    rate_hz: u32,
    channels: usize,
}

impl L16Decoder {
    /// Makes a decoder; `channels` are interleaved sample by sample and averaged.
    pub(crate) fn new(rate_hz: u32, channels: usize) -> Self {
        Self { rate_hz, channels }
    }
}

impl FrameDecoder for L16Decoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        if !payload.len().is_multiple_of(2 * self.channels) {
            return Err(DecodeError::Length { have: payload.len() });
        }
        let (samples, _) = payload.as_chunks::<2>();
        if self.channels == 1 {
            pcm.extend(samples.iter().map(|sample| i16::from_be_bytes(*sample)));
        } else {
            pcm.extend(samples.chunks_exact(self.channels).map(|frame| {
                let sum: i32 = frame.iter().map(|sample| i32::from(i16::from_be_bytes(*sample))).sum();
                (sum / self.channels as i32) as i16
            }));
        }
        Ok(())
    }
}

/// Samples to payload, mono.
pub(crate) struct L16Encoder {
    rate_hz: u32,
}

impl L16Encoder {
    /// Makes an encoder.
    pub(crate) fn new(rate_hz: u32) -> Self {
        Self { rate_hz }
    }
}

impl Encoder for L16Encoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        payload.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_and_channels_are_averaged() {
        let (mut payload, mut pcm) = (Vec::new(), Vec::new());
        L16Encoder::new(16_000).encode(&[1, -2, i16::MAX, i16::MIN], &mut payload);
        assert_eq!(payload, [0, 1, 0xFF, 0xFE, 0x7F, 0xFF, 0x80, 0]);
        L16Decoder::new(16_000, 1).decode(&payload, &mut pcm).unwrap();
        assert_eq!(pcm, [1, -2, i16::MAX, i16::MIN]);
        pcm.clear();
        L16Decoder::new(44_100, 2).decode(&[0, 10, 0, 20, 0x80, 0, 0x80, 0], &mut pcm).unwrap();
        assert_eq!(pcm, [15, i16::MIN]);
        assert!(L16Decoder::new(44_100, 2).decode(&payload[..6], &mut pcm).is_err());
    }
}
