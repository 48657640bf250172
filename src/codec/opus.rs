//! Opus (RFC 6716, RFC 7587) over libopus.
//!
//! Streams are decoded at 48 kHz to one channel, which libopus mixes itself. Encoding is for the
//! recordings and for fixtures.

use ::opus as lib;

use crate::codec::DecodeError;
use crate::codec::Decoder;
use crate::codec::Encoder;

/// Payload to samples, with in-band error correction and libopus's own concealment.
pub(crate) struct OpusDecoder {
    lib: lib::Decoder,
    /// Samples concealed since the last payload.
    lost: usize,
    /// The last payload ended a talkspurt (RFC 6716 2.1.9): what follows is noise, not loss.
    discontinued: bool,
}

impl OpusDecoder {
    /// Makes a decoder; nothing where libopus finds no memory.
    pub(crate) fn new() -> Option<Self> {
        let lib = lib::Decoder::new(RATE_HZ, lib::Channels::Mono).ok()?;
        Some(Self { lib, lost: 0, discontinued: false })
    }

    /// Appends `samples` samples, a multiple of 2.5 ms, of a packet or of its redundancy.
    fn append(&mut self, payload: &[u8], samples: usize, fec: bool, pcm: &mut Vec<i16>) -> bool {
        let start = pcm.len();
        pcm.resize(start + samples, 0);
        match self.lib.decode(payload, &mut pcm[start..], fec) {
            Ok(decoded) => pcm.truncate(start + decoded),
            Err(_) => pcm.truncate(start),
        }
        pcm.len() > start
    }
}

impl Decoder for OpusDecoder {
    fn sample_rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let samples = samples_in(payload).ok_or(DecodeError::Length { have: payload.len() })?;
        if !self.append(payload, samples, false, pcm) {
            return Err(DecodeError::Refused);
        }
        self.lost = 0;
        self.discontinued = payload.len() <= DTX_BYTES_MAX;
        Ok(())
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        let end = pcm.len() + samples;
        let ceiling = if self.discontinued { NOISE_SAMPLES_MAX } else { CONCEAL_SAMPLES_MAX };
        while pcm.len() < end && self.lost < ceiling {
            let step = (end - pcm.len()).min(FRAME_SAMPLES).next_multiple_of(STEP_SAMPLES);
            if !self.append(&[], step, false, pcm) {
                break;
            }
            self.lost += step;
        }
        // The last step may be longer than asked for; after long loss there is silence.
        pcm.resize(end, 0);
    }

    fn recover(&mut self, next: &[u8], samples: usize, pcm: &mut Vec<i16>) -> bool {
        let Some(carried) = redundant_samples(next) else {
            return false;
        };
        // Only the packet just before `next` is carried; what is lost before that is concealed.
        let start = pcm.len();
        if samples > carried {
            self.conceal(samples - carried, pcm);
        }
        if !self.append(next, carried, true, pcm) {
            pcm.truncate(start);
            return false;
        }
        self.lost = 0;
        pcm.resize(start + samples, 0);
        true
    }
}

/// What an encoder is tuned for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpusMode {
    /// Any sound, low cost: CELT at complexity 0.
    Audio,
    /// CELT without the part of its delay that lets it choose the mode.
    LowDelay,
    /// Speech, several times the cost: SILK.
    Voice,
}

/// Samples to Opus packets, mono.
pub struct OpusEncoder {
    lib: lib::Encoder,
    rate_hz: u32,
    lookahead: usize,
}

impl OpusEncoder {
    /// Makes an encoder for what recordings are written with: [`OpusMode::Audio`] at complexity 0.
    ///
    /// `rate_hz` is 8000, 12000, 16000, 24000 or 48000; nothing at any other.
    pub fn new(rate_hz: u32, bits_per_second: i32) -> Option<Self> {
        Self::with_mode(rate_hz, bits_per_second, OpusMode::Audio, 0)
    }

    /// Makes an encoder for `mode` at `complexity` 0 to 10.
    pub fn with_mode(rate_hz: u32, bits_per_second: i32, mode: OpusMode, complexity: i32) -> Option<Self> {
        let application = match mode {
            OpusMode::Audio => lib::Application::Audio,
            OpusMode::LowDelay => lib::Application::LowDelay,
            OpusMode::Voice => lib::Application::Voip,
        };
        let mut encoder = lib::Encoder::new(rate_hz, lib::Channels::Mono, application).ok()?;
        encoder.set_bitrate(lib::Bitrate::Bits(bits_per_second)).ok()?;
        encoder.set_complexity(complexity).ok()?;
        let lookahead = usize::try_from(encoder.get_lookahead().ok()?).ok()?;
        Some(Self { lib: encoder, rate_hz, lookahead })
    }

    /// Returns how many samples at the encoder's rate the sound comes late; the pre-skip of RFC 7845
    /// is this at 48 kHz.
    pub fn lookahead(&self) -> usize {
        self.lookahead
    }

    /// Sets the bit rate.
    pub fn set_bits_per_second(&mut self, bits_per_second: i32) {
        // Refused only outside 500 to 512000; the old rate then stays.
        let _ = self.lib.set_bitrate(lib::Bitrate::Bits(bits_per_second));
    }

    /// Makes packets carry the one before them again; [`OpusMode::Voice`] only.
    pub fn set_redundancy(&mut self, expected_loss_percent: i32) {
        let _ = self.lib.set_inband_fec(expected_loss_percent > 0);
        let _ = self.lib.set_packet_loss_perc(expected_loss_percent);
    }
}

impl Encoder for OpusEncoder {
    fn sample_rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Appends one packet; `pcm` is 2.5, 5, 10, 20, 40 or 60 ms long, nothing is appended otherwise.
    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let start = payload.len();
        payload.resize(start + PACKET_BYTES_MAX, 0);
        let length = self.lib.encode(pcm, &mut payload[start..]).unwrap_or(0);
        payload.truncate(start + length);
    }
}

/// Returns how many samples at 48 kHz a packet stands for, by its TOC byte (RFC 6716 3.1).
pub(crate) fn samples_in(payload: &[u8]) -> Option<usize> {
    if payload.is_empty() {
        return None;
    }
    lib::packet::get_nb_samples(payload, RATE_HZ).ok().filter(|samples| *samples > 0)
}

/// Returns the samples of the packet before `payload` that it carries as redundancy (LBRR, RFC 6716
/// 4.2.4), where it does.
fn redundant_samples(payload: &[u8]) -> Option<usize> {
    let toc = *payload.first()?;
    if toc & 0x80 != 0 {
        return None; // CELT only
    }
    let frame = lib::packet::get_samples_per_frame(payload, RATE_HZ).ok()?;
    let packet = lib::packet::parse(payload).ok()?;
    let flags = *packet.frames.first()?.first()?;
    // One voice activity bit a SILK frame of 20 ms, then the LBRR bit; again for the side channel.
    let silk_frames = (frame / FRAME_SAMPLES).max(1);
    let mid = (flags >> (7 - silk_frames)) & 1;
    let side = if toc & 4 == 0 { 0 } else { (flags >> (6 - 2 * silk_frames)) & 1 };
    (mid | side == 1).then_some(frame)
}

/// Rate that streams are decoded at.
const RATE_HZ: u32 = 48_000;
/// 20 ms.
const FRAME_SAMPLES: usize = 960;
/// 2.5 ms, the unit of concealment.
const STEP_SAMPLES: usize = 120;
/// 120 ms: silence after that.
const CONCEAL_SAMPLES_MAX: usize = 5_760;
/// 1 s: senders refresh their noise every 400 ms.
const NOISE_SAMPLES_MAX: usize = 48_000;
/// A packet as short as this says that the talkspurt is over.
const DTX_BYTES_MAX: usize = 2;
/// Longest packet of one frame, and of three.
const PACKET_BYTES_MAX: usize = 3 * 1_276;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    fn tone(samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (9_000.0 * (n as f64 * 0.055).sin()) as i16).collect()
    }

    fn energy(pcm: &[i16]) -> f64 {
        pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
    }

    #[test]
    fn a_tone_survives_every_mode_and_rate() {
        for rate in [8_000, 16_000, 48_000] {
            for mode in [OpusMode::Audio, OpusMode::LowDelay, OpusMode::Voice] {
                let mut encoder = OpusEncoder::with_mode(rate, 24_000, mode, 0).unwrap();
                assert!(encoder.lookahead() * 1_000 / rate as usize <= 7, "{}", encoder.lookahead());
                let mut decoder = OpusDecoder::new().unwrap();
                let mut pcm = Vec::new();
                for frame in tone(rate as usize / 2).chunks(rate as usize / 50) {
                    let mut payload = Vec::new();
                    encoder.encode(frame, &mut payload);
                    assert_eq!(samples_in(&payload), Some(960));
                    decoder.decode(&payload, &mut pcm).unwrap();
                }
                assert_eq!(pcm.len(), 24_000);
                let ratio = energy(&pcm[9_600..]) / 40_500_000.0;
                assert!((0.5..1.2).contains(&ratio), "{mode:?} at {rate}: {ratio}");
            }
        }
    }

    #[test]
    fn loss_is_concealed_and_then_silent() {
        let mut encoder = OpusEncoder::new(48_000, 32_000).unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let mut pcm = Vec::new();
        for frame in tone(9_600).chunks(960) {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload);
            decoder.decode(&payload, &mut pcm).unwrap();
        }
        pcm.clear();
        decoder.conceal(777, &mut pcm);
        assert_eq!(pcm.len(), 777);
        assert!(energy(&pcm) > 1e6, "{}", energy(&pcm));
        decoder.conceal(48_000, &mut pcm);
        assert_eq!(pcm.len(), 48_777);
        assert_eq!(energy(&pcm[10_000..]), 0.0);
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_next() {
        let mut encoder = OpusEncoder::with_mode(16_000, 32_000, OpusMode::Voice, 5).unwrap();
        encoder.set_redundancy(30);
        // A tone is no voice: let it move.
        let sound: Vec<i16> = (0..16_000)
            .map(|n| {
                let t = f64::from(n) / 16_000.0;
                let pitch = (0..12).map(|k| (t * 754.0 * f64::from(k) + t * t * 90.0).sin()).sum::<f64>();
                (pitch * 1_500.0 * (t * 19.0).sin().abs()) as i16
            })
            .collect();
        let packets: Vec<Vec<u8>> = sound
            .chunks(320)
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload);
                payload
            })
            .collect();
        let (mut whole, mut lossy) = (Vec::new(), Vec::new());
        let (mut first, mut second) = (OpusDecoder::new().unwrap(), OpusDecoder::new().unwrap());
        let mut recovered = 0;
        for (index, packet) in packets.iter().enumerate() {
            first.decode(packet, &mut whole).unwrap();
            let before = lossy.len();
            if index % 7 != 5 || index + 1 == packets.len() {
                second.decode(packet, &mut lossy).unwrap();
            } else if second.recover(&packets[index + 1], 960, &mut lossy) {
                recovered += 1;
            } else {
                second.conceal(960, &mut lossy);
            }
            assert_eq!(lossy.len(), before + 960);
        }
        assert!(recovered >= 5, "{recovered}");
        let error: f64 =
            whole.iter().zip(&lossy).map(|(a, b)| f64::from(i32::from(*a) - i32::from(*b)).powi(2)).sum();
        let ratio = error / whole.len() as f64 / energy(&whole);
        assert!(ratio < 0.05, "{ratio}");
        assert!(!second.recover(&[0xFC, 0xFF, 0xFE], 960, &mut lossy), "CELT carries none");
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        let mut decoder = OpusDecoder::new().unwrap();
        let mut noise = vectors::noise(7);
        for round in 0..2_000 {
            let payload: Vec<u8> = noise.by_ref().take(round % 90).collect();
            let mut pcm = vec![1, 2];
            match decoder.decode(&payload, &mut pcm) {
                Ok(()) => assert_eq!(Some(pcm.len() - 2), samples_in(&payload)),
                Err(_) => assert_eq!(pcm, [1, 2]),
            }
            let before = pcm.len();
            let done = decoder.recover(&payload, 960, &mut pcm);
            assert_eq!(pcm.len(), if done { before + 960 } else { before });
        }
    }
}
