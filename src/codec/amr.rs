//! AMR and AMR-WB (3GPP TS 26.071, TS 26.171) over `rvoip-codec-core`.

use codec_core::codecs::amr::AmrMode;
use codec_core::codecs::amr::AmrVariant;
use codec_core::codecs::amr::nb;
use codec_core::codecs::amr::wb;

use crate::codec::DecodeError;
use crate::codec::Decoder;
use crate::codec::Encoder;
use crate::codec::amr_payload;
use crate::codec::amr_payload::Band;
use crate::codec::amr_payload::Frame;
use crate::codec::amr_payload::Frames;

/// What was negotiated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) band: Band,
    /// `octet-align=1`.
    pub(crate) aligned: bool,
    /// Highest mode of `mode-set`.
    pub(crate) mode: u8,
}

impl Settings {
    /// Returns the rate of the samples.
    pub(crate) fn rate_hz(&self) -> u32 {
        match self.band {
            Band::Narrow => 8_000,
            Band::Wide => 16_000,
        }
    }

    /// Returns how many samples a payload stands for.
    pub(crate) fn samples_in(&self, payload: &[u8]) -> Option<usize> {
        let frames = Frames::parse(self.band, self.aligned, payload)?;
        Some(frames.len() * self.band.frame_samples())
    }
}

/// Payload to samples, with the library's concealment and comfort noise.
pub(crate) struct AmrDecoder {
    settings: Settings,
    lib: Lib,
    /// Mode of the last speech frame, for what is missing after it.
    mode: u8,
    /// The last frame described noise or continued it.
    pause: bool,
    started: bool,
    /// Samples made up since the last payload.
    lost: usize,
}

enum Lib {
    Narrow(Box<nb::decoder::Decoder>),
    Wide(Box<wb::decoder::Decoder>),
}

impl AmrDecoder {
    /// Makes a decoder.
    pub(crate) fn new(settings: Settings) -> Self {
        let lib = match settings.band {
            Band::Narrow => Lib::Narrow(Box::default()),
            Band::Wide => Lib::Wide(Box::default()),
        };
        Self { settings, lib, mode: 0, pause: false, started: false, lost: 0 }
    }

    fn append(&mut self, frame: &Frame, pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let noise = frame.frame_type == self.settings.band.noise();
        let speech = frame.frame_type < self.settings.band.noise();
        if !speech && !noise {
            self.append_missing(pcm);
            return Ok(());
        }
        if speech {
            self.mode = frame.frame_type;
        }
        self.pause = noise;
        self.started = true;
        match &mut self.lib {
            Lib::Narrow(lib) => pcm.extend_from_slice(&narrow(lib, frame, noise)?),
            Lib::Wide(lib) => pcm.extend_from_slice(&wide(lib, frame, noise, self.mode)?),
        }
        Ok(())
    }

    /// Appends a frame of which nothing is known.
    fn append_missing(&mut self, pcm: &mut Vec<i16>) {
        let start = pcm.len();
        if self.started {
            match &mut self.lib {
                Lib::Narrow(lib) => {
                    pcm.extend_from_slice(&lib.decode_typed(nb::dtx::RxFrameType::NoData, self.mode, &[]));
                }
                Lib::Wide(lib) => {
                    let missing = lib.decode_comfort_noise(wb::dtx::RxFrameType::NoData, &[], self.mode);
                    pcm.extend(missing.into_iter().flatten());
                }
            }
        }
        pcm.resize(start + self.settings.band.frame_samples(), 0);
    }
}

impl Decoder for AmrDecoder {
    fn sample_rate_hz(&self) -> u32 {
        self.settings.rate_hz()
    }

    fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), DecodeError> {
        let frames = Frames::parse(self.settings.band, self.settings.aligned, payload)
            .ok_or(DecodeError::Length { have: payload.len() })?;
        let start = pcm.len();
        for frame in frames {
            if let Err(error) = self.append(&frame, pcm) {
                pcm.truncate(start);
                return Err(error);
            }
        }
        self.lost = 0;
        Ok(())
    }

    fn conceal(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        let end = pcm.len() + samples;
        let frame = self.settings.band.frame_samples();
        let frames_max = if self.pause { NOISE_FRAMES_MAX } else { CONCEAL_FRAMES_MAX };
        while pcm.len() < end && self.lost < frames_max * frame {
            self.append_missing(pcm);
            self.lost += frame;
        }
        // The last frame may be longer than asked for; after long loss there is silence.
        pcm.resize(end, 0);
    }
}

fn narrow(lib: &mut nb::decoder::Decoder, frame: &Frame, noise: bool) -> Result<[i16; 160], DecodeError> {
    use nb::dtx::RxFrameType as Kind;
    if !noise {
        let kind = if frame.good { Kind::SpeechGood } else { Kind::SpeechBad };
        let parameters = nb::bitstream::parse(frame.frame_type, frame.bytes()).ok_or(DecodeError::Refused)?;
        return Ok(lib.decode_typed(kind, frame.frame_type, &parameters));
    }
    let head = nb::bitstream::parse_sid_header(frame.bytes()).ok_or(DecodeError::Refused)?;
    let kind = match (frame.good, head.update) {
        (false, _) => Kind::SidBad,
        (true, true) => Kind::SidUpdate,
        (true, false) => Kind::SidFirst,
    };
    let parameters = match kind {
        Kind::SidFirst => Vec::new(),
        _ => nb::bitstream::parse(frame.frame_type, frame.bytes()).ok_or(DecodeError::Refused)?,
    };
    Ok(lib.decode_typed(kind, head.mode_index & 7, &parameters))
}

fn wide(
    lib: &mut wb::decoder::Decoder,
    frame: &Frame,
    noise: bool,
    mode: u8,
) -> Result<[i16; 320], DecodeError> {
    use wb::dtx::RxFrameType as Kind;
    if !noise {
        let mode = AmrMode::new(AmrVariant::WideBand, frame.frame_type).map_err(|_| DecodeError::Refused)?;
        let quality = if frame.good { wb::gain::FrameQuality::Good } else { wb::gain::FrameQuality::Bad };
        return lib.decode_frame(mode, frame.bytes(), quality).ok_or(DecodeError::Refused);
    }
    // The library asserts that a description of noise has its 5 bytes; `Frames` gave it no other.
    let kind = match (frame.good, wb::bitstream::sid_is_update(frame.bytes())) {
        (false, _) => Kind::SidBad,
        (true, true) => Kind::SidUpdate,
        (true, false) => Kind::SidFirst,
    };
    let mode = wb::bitstream::sid_mode_indication(frame.bytes()).unwrap_or(mode);
    lib.decode_comfort_noise(kind, frame.bytes(), mode).ok_or(DecodeError::Refused)
}

/// Samples to payload, at the highest mode of the set and without pauses.
pub(crate) struct AmrEncoder {
    settings: Settings,
    lib: LibEncoder,
}

enum LibEncoder {
    Narrow(Box<nb::enc::encoder::NbEncoder>, nb::enc::encoder::Rate),
    Wide(Box<wb::enc::encoder::WbEncoder>, wb::enc::encoder::Rate),
}

impl AmrEncoder {
    /// Makes an encoder; nothing where the mode does not exist.
    pub(crate) fn new(settings: Settings) -> Option<Self> {
        let lib = match settings.band {
            Band::Narrow => {
                LibEncoder::Narrow(Box::default(), nb::enc::encoder::Rate::from_index(settings.mode)?)
            }
            Band::Wide => {
                LibEncoder::Wide(Box::default(), wb::enc::encoder::Rate::from_index(settings.mode)?)
            }
        };
        Some(Self { settings, lib })
    }
}

impl Encoder for AmrEncoder {
    fn sample_rate_hz(&self) -> u32 {
        self.settings.rate_hz()
    }

    fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        let frames: Vec<Vec<u8>> = match &mut self.lib {
            LibEncoder::Narrow(lib, rate) => {
                pcm.as_chunks::<160>().0.iter().map(|frame| lib.encode_frame(frame, *rate)).collect()
            }
            LibEncoder::Wide(lib, rate) => {
                pcm.as_chunks::<320>().0.iter().map(|frame| lib.encode_frame(frame, *rate)).collect()
            }
        };
        let Settings { band, aligned, mode } = self.settings;
        amr_payload::pack(band, aligned, mode, &frames, payload);
    }
}

/// 200 ms: silence after that.
const CONCEAL_FRAMES_MAX: usize = 10;
/// 1 s: senders describe their noise every 160 ms.
const NOISE_FRAMES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    fn settings(band: Band) -> Settings {
        Settings { band, aligned: true, mode: 0 }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        for band in [Band::Narrow, Band::Wide] {
            let mut decoder = AmrDecoder::new(settings(band));
            let mut noise = vectors::noise(17);
            let mut decoded = 0;
            for round in 0..600_usize {
                // A table of one entry before random bits, so that frames of every type are met.
                let frame_type = (round % 16) as u8;
                let mut payload = vec![0xF0, frame_type << 3 | (noise.next().unwrap() & 4)];
                let length = (0..62).find(|length| {
                    let mut longer = payload.clone();
                    longer.resize(2 + length, 0);
                    settings(band).samples_in(&longer).is_some()
                });
                payload.extend(noise.by_ref().take(length.unwrap_or(round % 40)));
                let mut pcm = vec![7];
                match decoder.decode(&payload, &mut pcm) {
                    Ok(()) => {
                        decoded += 1;
                        assert_eq!(Some(pcm.len() - 1), settings(band).samples_in(&payload));
                    }
                    Err(_) => assert_eq!(pcm, [7]),
                }
                let before = pcm.len();
                decoder.conceal(round % 5 * 77, &mut pcm);
                assert_eq!(pcm.len(), before + round % 5 * 77);
            }
            assert!(decoded > 300, "{decoded}");
        }
    }

    #[test]
    fn nothing_heard_is_silence_and_long_loss_too() {
        for band in [Band::Narrow, Band::Wide] {
            let mut decoder = AmrDecoder::new(settings(band));
            let mut pcm = Vec::new();
            decoder.conceal(1_000, &mut pcm);
            assert_eq!(pcm, vec![0; 1_000]);
            let mut payload = Vec::new();
            let sound: Vec<i16> =
                (0..8_000).map(|n| (9_000.0 * (f64::from(n) * 0.12).sin()) as i16).collect();
            AmrEncoder::new(settings(band)).unwrap().encode(&sound, &mut payload);
            decoder.decode(&payload, &mut pcm).unwrap();
            pcm.clear();
            decoder.conceal(16_000, &mut pcm);
            assert!(pcm[..100].iter().any(|sample| sample.unsigned_abs() > 500));
            assert_eq!(pcm[4_000..], vec![0; 12_000]);
        }
    }
}
