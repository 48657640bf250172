//! Payload to samples and back.
//!
//! One file a codec over its library. A [`Decoder`] belongs to one stream and keeps that stream's
//! state; it emits mono samples at its own native rate and never resamples.
//!
//! [`decoder`] and [`encoder`] choose by the negotiated format; [`samples_in`] tells how much time
//! a payload stands for without decoding it.

use crate::base::format::Format;

mod amr;
mod amr_payload;
mod cn;
mod conceal;
mod g711;
mod g722;
mod g726;
mod g726_tables;
mod g729;
mod gsm;
mod gsm_encoder;
mod ilbc;
mod l16;
pub mod loudness;
pub mod ogg;
mod opus;
pub mod opus_packet;
mod speex;
pub mod wav;

pub use self::opus::OpusEncoder;
pub use self::opus::OpusMode;

/// Why a payload gave no samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload is not a whole number of the codec's frames, or its header is wrong.
    #[error("payload of {have} bytes is no whole frame")]
    Length {
        /// Bytes there are.
        have: usize,
    },
    /// The library refused the payload.
    #[error("the decoder refused the payload")]
    Refused,
}

/// Turns the payloads of one stream into mono samples.
pub trait Decoder: Send {
    /// Returns the rate of the samples that come out.
    fn sample_rate_hz(&self) -> u32;

    /// Appends the samples of `payload`. Appends nothing where it fails.
    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError>;

    /// Appends exactly `samples` samples in place of what was lost, fading to silence; after a
    /// payload that describes comfort noise, samples of that noise.
    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>);

    /// Appends exactly `samples` samples of a lost packet from redundancy that `next`, the packet
    /// after it, carries. Returns false, and appends nothing, where there is none.
    fn recover(&mut self, next: &[u8], samples: usize, pcm: &mut Vec<i16>) -> bool {
        let _ = (next, samples, pcm);
        false
    }
}

/// Turns mono samples into payloads; for fixtures and output.
pub trait Encoder: Send {
    /// Returns the rate of the samples that go in.
    fn sample_rate_hz(&self) -> u32;

    /// Appends the payload of `pcm`, one packet's worth of samples: a whole number of the codec's
    /// frames (what is left over is not coded).
    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>);
}

/// Returns a decoder for one stream of `format`; nothing where the codec is not built in.
pub fn decoder(format: &Format) -> Option<Box<dyn Decoder>> {
    let codec = Codec::of(format)?;
    Some(match codec {
        Codec::Amr(settings) => Box::new(amr::AmrDecoder::new(settings)),
        Codec::Cn { rate_hz } => Box::new(cn::ComfortNoise::new(rate_hz)),
        Codec::G711 { law, rate_hz, channels } => {
            Box::new(conceal::Concealing::new(g711::G711Decoder::new(law, rate_hz, channels)))
        }
        Codec::G722 => Box::new(conceal::Concealing::new(g722::G722Decoder::new())),
        Codec::G726 { bits, packing } => {
            Box::new(conceal::Concealing::new(g726::G726Decoder::new(bits, packing)))
        }
        Codec::G729 => Box::new(g729::G729Decoder::new()?),
        Codec::Gsm => Box::new(conceal::Concealing::new(gsm::GsmDecoder::new())),
        Codec::Ilbc(mode) => Box::new(ilbc::IlbcDecoder::new(mode)),
        Codec::L16 { rate_hz, channels } => {
            Box::new(conceal::Concealing::new(l16::L16Decoder::new(rate_hz, channels)))
        }
        Codec::Opus => Box::new(opus::OpusDecoder::new()?),
        Codec::Speex { rate_hz } => Box::new(conceal::Concealing::new(speex::SpeexDecoder::new(rate_hz))),
    })
}

/// Returns an encoder for one mono stream of `format`; nothing where the codec is not built in or
/// only decoded.
pub fn encoder(format: &Format) -> Option<Box<dyn Encoder>> {
    let codec = Codec::of(format)?;
    Some(match codec {
        Codec::Amr(settings) => Box::new(amr::AmrEncoder::new(settings)?),
        Codec::Cn { .. } | Codec::Ilbc(_) => return None,
        Codec::G711 { law, rate_hz, .. } => Box::new(g711::G711Encoder::new(law, rate_hz)),
        Codec::G722 => Box::new(g722::G722Encoder::new()),
        Codec::G726 { bits, packing } => Box::new(g726::G726Encoder::new(bits, packing)),
        Codec::G729 => Box::new(g729::G729Encoder::new()?),
        Codec::Gsm => Box::new(gsm_encoder::GsmEncoder::new()),
        Codec::L16 { rate_hz, .. } => Box::new(l16::L16Encoder::new(rate_hz)),
        Codec::Opus => Box::new(OpusEncoder::new(48_000, OPUS_BITS_PER_SECOND)?),
        Codec::Speex { rate_hz } => Box::new(speex::SpeexEncoder::new(rate_hz)),
    })
}

/// Returns the rate of the samples that a decoder of `format` gives; nothing where the codec is not
/// built in.
pub fn native_rate_hz(format: &Format) -> Option<u32> {
    Some(match Codec::of(format)? {
        Codec::Cn { rate_hz } | Codec::G711 { rate_hz, .. } | Codec::L16 { rate_hz, .. } => rate_hz,
        Codec::G722 => g722::RATE_HZ,
        Codec::Amr(settings) => settings.rate_hz(),
        Codec::G726 { .. } => g726::RATE_HZ,
        Codec::G729 => g729::RATE_HZ,
        Codec::Gsm => gsm::RATE_HZ,
        Codec::Ilbc(_) => ilbc::RATE_HZ,
        Codec::Opus => 48_000,
        Codec::Speex { rate_hz } => rate_hz,
    })
}

/// Returns how many samples at the native rate `payload` stands for, as [`Decoder::decode`] would
/// append them; nothing where the codec is not built in or the payload is malformed.
///
/// 0 for comfort noise (RFC 3389): it lasts until the next payload.
pub fn samples_in(format: &Format, payload: &[u8]) -> Option<usize> {
    let whole = |bytes: usize| payload.len().is_multiple_of(bytes).then(|| payload.len() / bytes);
    match Codec::of(format)? {
        Codec::Amr(settings) => settings.samples_in(payload),
        Codec::Cn { .. } => Some(0),
        Codec::G711 { channels, .. } => whole(channels),
        Codec::G722 => Some(2 * payload.len()),
        Codec::G726 { bits, .. } => Some(g726::samples_in(bits, payload)),
        Codec::G729 => g729::samples_in(payload),
        Codec::Gsm => whole(gsm::FRAME_BYTES).map(|frames| frames * gsm::FRAME_SAMPLES),
        Codec::Ilbc(mode) => mode.samples_in(payload),
        Codec::L16 { channels, .. } => whole(2 * channels),
        Codec::Opus => opus::samples_in(payload),
        Codec::Speex { rate_hz } => speex::samples_in(rate_hz, payload),
    }
}

/// Whether nothing is lost when only the sound of `format` is kept.
pub fn is_built_in(format: &Format) -> bool {
    matches!(format.encoding.as_str(), "TELEPHONE-EVENT" | "RED") || Codec::of(format).is_some()
}

/// A format that is built in, with what its decoder must know.
enum Codec {
    Amr(amr::Settings),
    Cn { rate_hz: u32 },
    G711 { law: g711::Law, rate_hz: u32, channels: usize },
    G722,
    G726 { bits: usize, packing: g726::Packing },
    G729,
    Gsm,
    Ilbc(&'static ilbc::Mode),
    L16 { rate_hz: u32, channels: usize },
    Opus,
    Speex { rate_hz: u32 },
}

impl Codec {
    fn of(format: &Format) -> Option<Self> {
        let rate_hz = format.clock_rate_hz;
        if !RATES_HZ.contains(&rate_hz) {
            return None;
        }
        let channels = usize::from(format.channels.max(1));
        let mono = channels == 1;
        Some(match format.encoding.as_str() {
            "PCMU" => Self::G711 { law: g711::Law::Mu, rate_hz, channels },
            "PCMA" => Self::G711 { law: g711::Law::A, rate_hz, channels },
            "G722" if mono => Self::G722,
            "G729" | "G729A" if mono => Self::G729,
            "GSM" if mono => Self::Gsm,
            "ILBC" if mono && rate_hz == ilbc::RATE_HZ => {
                Self::Ilbc(ilbc::Mode::of(format.parameter("mode")))
            }
            "L16" => Self::L16 { rate_hz, channels },
            "OPUS" => Self::Opus,
            "AMR" if mono => Self::amr(format, amr_payload::Band::Narrow, 7)?,
            "AMR-WB" if mono => Self::amr(format, amr_payload::Band::Wide, 8)?,
            "SPEEX" if mono && (rate_hz == 8_000 || rate_hz == 16_000) => Self::Speex { rate_hz },
            "CN" if mono => Self::Cn { rate_hz },
            name if mono => Self::g726(name)?,
            _ => return None,
        })
    }

    /// RFC 3551 4.5.4.
    fn g726(name: &str) -> Option<Self> {
        let (packing, name) = match name.strip_prefix("AAL2-") {
            Some(rest) => (g726::Packing::HighFirst, rest),
            None => (g726::Packing::LowFirst, name),
        };
        let bits = match name {
            "G726-16" => 2,
            "G726-24" => 3,
            "G726-32" | "G721" => 4,
            "G726-40" => 5,
            _ => return None,
        };
        Some(Self::G726 { bits, packing })
    }

    /// RFC 4867 8.1. Interleaving, checksums and sorted bits are other layouts, which nobody sends.
    fn amr(format: &Format, band: amr_payload::Band, mode_max: u8) -> Option<Self> {
        let on = |name: &str| format.parameter(name).is_some_and(|value| value != "0");
        if on("crc") || on("interleaving") || on("robust-sorting") {
            return None;
        }
        let modes = format.parameter("mode-set").unwrap_or_default().split(',');
        let highest = modes.filter_map(|mode| mode.trim().parse().ok()).max();
        let mode = highest.unwrap_or(mode_max).min(mode_max);
        Some(Self::Amr(amr::Settings { band, aligned: on("octet-align"), mode }))
    }
}

/// Rates that a session description may ask memory for.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=96_000;
/// For fixtures.
const OPUS_BITS_PER_SECOND: i32 = 32_000;

#[cfg(test)]
mod vectors {
    //! Test vectors of standards bodies, where the checkout has them beside it.

    use std::path::Path;

    /// Returns the bytes of a file of `captures/vectors`; says so and returns nothing where it is absent.
    pub(crate) fn bytes(name: &str) -> Option<Vec<u8>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/vectors").join(name);
        let found = std::fs::read(&path).ok();
        if found.is_none() {
            // A test that proves nothing must say so.
            eprintln!("skipped: {} is absent", path.display());
        }
        found
    }

    /// Returns a file of 16-bit words, low byte first (whatever the READMEs beside them say).
    pub(crate) fn words(name: &str) -> Option<Vec<i16>> {
        Some(bytes(name)?.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// Returns bytes that look random and are the same every time.
    pub(crate) fn noise(seed: u64) -> impl Iterator<Item = u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(encoding: &str, clock_rate_hz: u32, channels: u8, fmtp: &str) -> Format {
        Format { channels, fmtp: fmtp.into(), ..Format::new(encoding, clock_rate_hz) }
    }

    /// Every codec: native rate, samples of a payload, exact concealment, and no sample where it fails.
    #[test]
    fn every_codec_keeps_the_promises_of_the_traits() {
        let formats = [
            ("PCMU", 8_000, 1, "", 8_000),
            ("PCMA", 8_000, 2, "", 8_000),
            ("L16", 44_100, 2, "", 44_100),
            ("G722", 8_000, 1, "", 16_000),
            ("G726-24", 8_000, 1, "", 8_000),
            ("AAL2-G726-40", 8_000, 1, "", 8_000),
            ("GSM", 8_000, 1, "", 8_000),
            ("G729", 8_000, 1, "annexb=no", 8_000),
            ("ILBC", 8_000, 1, "mode=20", 8_000),
            ("AMR", 8_000, 1, "octet-align=1", 8_000),
            ("AMR-WB", 16_000, 1, "mode-set=0,2", 16_000),
            ("SPEEX", 8_000, 1, "", 8_000),
            ("SPEEX", 16_000, 1, "vbr=on", 16_000),
            ("OPUS", 48_000, 2, "stereo=1", 48_000),
            ("CN", 8_000, 1, "", 8_000),
        ];
        for (encoding, clock, channels, fmtp, native) in formats {
            let format = format(encoding, clock, channels, fmtp);
            let mut decoder = decoder(&format).unwrap();
            assert_eq!(decoder.sample_rate_hz(), native, "{format}");
            assert_eq!(native_rate_hz(&format), Some(native), "{format}");
            let mut payload = if encoding == "ILBC" { vec![0x54; 38] } else { vec![30] };
            if let Some(mut encoder) = encoder(&format) {
                payload.clear();
                encoder.encode(&vec![900; encoder.sample_rate_hz() as usize / 50], &mut payload);
                // Encoders are mono: as many channels as the format has.
                payload = match encoding {
                    "PCMA" => payload.iter().flat_map(|code| [*code; 2]).collect(),
                    "L16" => payload.chunks(2).flat_map(|s| [s[0], s[1], s[0], s[1]]).collect(),
                    _ => payload,
                };
            }
            let mut pcm = Vec::new();
            decoder.decode(&payload, &mut pcm).unwrap();
            assert_eq!(samples_in(&format, &payload), Some(pcm.len()), "{format}");
            assert_eq!(pcm.len(), if encoding == "CN" { 0 } else { native as usize / 50 }, "{format}");
            for samples in [0, 1, 79, 80, 500, 48_001] {
                let before = pcm.len();
                decoder.conceal(samples, &mut pcm);
                assert_eq!(pcm.len(), before + samples, "{format}");
            }
            let before = pcm.len();
            assert_eq!(
                samples_in(&format, &[0xFF; 3]).is_some(),
                decoder.decode(&[0xFF; 3], &mut pcm).is_ok()
            );
            assert_eq!(pcm.len(), before + samples_in(&format, &[0xFF; 3]).unwrap_or(0), "{format}");
        }
    }

    #[test]
    fn what_is_not_built_in_or_absurd_is_refused() {
        for (encoding, clock, channels, fmtp) in [
            ("TELEPHONE-EVENT", 8_000, 1, ""),
            ("ILBC", 16_000, 1, "mode=30"),
            ("AMR", 8_000, 1, "octet-align=1; crc=1"),
            ("AMR", 8_000, 1, "interleaving=30"),
            ("PCMU", u32::MAX, 1, ""),
            ("L16", 1, 1, ""),
            ("GSM", 8_000, 2, ""),
        ] {
            let format = format(encoding, clock, channels, fmtp);
            assert!(decoder(&format).is_none() && encoder(&format).is_none(), "{format}");
            assert_eq!((native_rate_hz(&format), samples_in(&format, &[0; 33])), (None, None));
        }
    }
}
