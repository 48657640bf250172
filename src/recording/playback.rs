//! Plays what was opened to its end, for nobody to hear: whether it is what it says, and how long it lasts.
//!
//! Every page's checksum is compared and every packet decoded, one at a time; samples are counted and forgotten.

use std::io::{self, Read};

use ::ogg::OggReadError;
use ::ogg::reading::{BasePacketReader, OggPage, PageParser};

use crate::base::format::Format;
use crate::codec::wav::{self, WavError};
use crate::codec::{self, DecodeError, Decoder, ogg, opus_packet};
use crate::recording::recorder::Content;
use crate::recording::salvage::{Ended, Ending};

/// What was played.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Played {
    /// Channels; 0 where it is no sound.
    pub channels: u16,
    /// Samples a second; 0 where it is no sound.
    pub rate_hz: u32,
    /// Samples a channel.
    pub samples: u64,
}

impl Played {
    /// How long it lasts.
    pub fn seconds(&self) -> f64 {
        if self.rate_hz == 0 { 0.0 } else { self.samples as f64 / f64::from(self.rate_hz) }
    }
}

/// Why it cannot be played to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaybackError {
    /// It cannot be read, or does not open: what is inside says more.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// A page of Ogg is malformed, or its checksum is another.
    #[error("page {page} of the sound is damaged: {source}")]
    Page {
        /// Which, from 0.
        page: u64,
        /// Why.
        source: OggReadError,
    },
    /// The header is none that a recorder writes.
    #[error("it does not begin as a recorder's sound does")]
    Head,
    /// A packet holds no two streams.
    #[error("packet {packet} of the sound is malformed")]
    Packet {
        /// Which, from 0.
        packet: u64,
    },
    /// A packet does not decode.
    #[error("packet {packet} of the sound, of side {side}: {source}")]
    Decode {
        /// Which, from 0.
        packet: u64,
        /// Of which channel, from 0.
        side: usize,
        /// Why.
        source: DecodeError,
    },
    /// The decoder is not there.
    #[error("there is no memory for a decoder")]
    NoDecoder,
    /// The last page is missing, or says that there are other samples than were decoded.
    #[error("{decoded} samples were decoded, and the sound says that it has {said}")]
    Length {
        /// Samples a channel.
        decoded: u64,
        /// What its last page says.
        said: u64,
    },
    /// It ends without its last page.
    #[error("the sound ends without its last page")]
    Unended,
    /// A WAV that is none.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// Packets that do not make whole blocks.
    #[error("{0} bytes at the end of the packets make no whole block")]
    Blocks(u64),
}

/// The content of a file by its recorder's name; nothing of a manifest.
pub fn content_of(name: &str) -> Option<Content> {
    let has = |content: &Content| name.contains(&format!(".{}.", content.extension()));
    [Content::Opus, Content::Packets, Content::Wav].into_iter().find(has)
}

/// Plays plain bytes to their end.
pub fn play(plain: &mut impl Read, content: Content) -> Result<Played, PlaybackError> {
    match content {
        Content::Opus => opus(plain),
        Content::Packets => packets(plain),
        Content::Wav => match wav::measure(plain) {
            Ok((rate_hz, channels, samples)) => Ok(Played { channels, rate_hz, samples }),
            Err(WavError::Read(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        },
    }
}

/// Ogg Opus of two streams, as [`crate::codec::ogg`] writes it.
fn opus(plain: &mut impl Read) -> Result<Played, PlaybackError> {
    let mut pages = BasePacketReader::new();
    let mut sides: [Box<dyn Decoder>; SIDES] = [opus_decoder()?, opus_decoder()?];
    let (mut page, mut packet, mut pre_skip, mut decoded) = (0, 0, 0, 0);
    let (mut granule, mut is_ended, mut pcm) = (0, false, Vec::new());
    while let Some(next) = read_page(plain, page)? {
        pages.push_page(next).map_err(|source| PlaybackError::Page { page, source })?;
        page += 1;
        while let Some(read) = pages.read_packet() {
            match packet {
                0 => pre_skip = ogg::pre_skip(&read.data).ok_or(PlaybackError::Head)?,
                1 if !read.data.starts_with(b"OpusTags") => return Err(PlaybackError::Head),
                1 => {}
                _ if is_ended => return Err(PlaybackError::Packet { packet }),
                // A call without sound has one packet, and nothing in it.
                _ if read.data.is_empty() && read.last_in_stream() => {}
                _ => decoded += opus_packet(&read.data, packet, &mut sides, &mut pcm)?,
            }
            is_ended = read.last_in_stream();
            granule = read.absgp_page();
            packet += 1;
        }
    }
    if packet < 2 {
        return Err(PlaybackError::Head);
    }
    if !is_ended {
        return Err(PlaybackError::Unended);
    }
    // The last packet may have more than is to be heard (RFC 7845 section 4.4).
    if granule > decoded || granule + LAST_MAX < decoded {
        return Err(PlaybackError::Length { decoded, said: granule });
    }
    Ok(Played { channels: SIDES as u16, rate_hz: OPUS_HZ, samples: granule.saturating_sub(pre_skip) })
}

fn opus_decoder() -> Result<Box<dyn Decoder>, PlaybackError> {
    codec::decoder(&Format::new("OPUS", OPUS_HZ)).ok_or(PlaybackError::NoDecoder)
}

/// Decodes both sides of a packet. Samples a channel.
fn opus_packet(
    data: &[u8],
    packet: u64,
    sides: &mut [Box<dyn Decoder>; SIDES],
    pcm: &mut Vec<i16>,
) -> Result<u64, PlaybackError> {
    let malformed = PlaybackError::Packet { packet };
    let Some((first, second)) = opus_packet::two_streams(data) else { return Err(malformed) };
    let mut lengths = [0; SIDES];
    for (side, payload) in [&first[..], second].into_iter().enumerate() {
        pcm.clear();
        let decoded = sides[side].decode(payload, pcm);
        decoded.map_err(|source| PlaybackError::Decode { packet, side, source })?;
        lengths[side] = pcm.len() as u64;
    }
    if lengths[0] == lengths[1] { Ok(lengths[0]) } else { Err(malformed) }
}

/// The next page, its checksum compared; nothing at the end.
fn read_page(plain: &mut impl Read, page: u64) -> Result<Option<OggPage>, PlaybackError> {
    let mut head = [0; PAGE_HEAD_BYTES];
    let mut have = 0;
    while have < head.len() {
        match plain.read(&mut head[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let fault = |source| PlaybackError::Page { page, source };
    if !head.starts_with(b"OggS") {
        return Err(fault(OggReadError::NoCapturePatternFound));
    }
    let (mut parser, segments) = PageParser::new(head).map_err(fault)?;
    let mut lacing = vec![0; segments];
    plain.read_exact(&mut lacing)?;
    let mut body = vec![0; parser.parse_segments(lacing)];
    plain.read_exact(&mut body)?;
    parser.parse_packet_data(body).map(Some).map_err(fault)
}

fn packets(plain: &mut impl Read) -> Result<Played, PlaybackError> {
    let (mut ending, mut out, mut block) = (Ending::new(Content::Packets), Vec::new(), vec![0; 64 << 10]);
    loop {
        match plain.read(&mut block) {
            Ok(0) => break,
            Ok(read) => ending.push(&block[..read], &mut out),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        out.clear();
    }
    let Ended { dropped, .. } = ending.finish(&mut out);
    if dropped == 0 { Ok(Played::default()) } else { Err(PlaybackError::Blocks(dropped)) }
}

const SIDES: usize = 2;
const OPUS_HZ: u32 = 48_000;
const PAGE_HEAD_BYTES: usize = 27;
/// 120 ms: the longest packet.
const LAST_MAX: u64 = 5_760;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoder;
    use crate::codec::OpusEncoder;
    use crate::codec::ogg::{Head, OggOpus};
    use crate::codec::opus_packet::Frames;

    /// Half a second of two voices, the second one silent.
    fn sound(packets: usize, granule: u64) -> Vec<u8> {
        let comments = ["A=b".to_owned()];
        let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &comments, serial: 7 };
        let mut out = Vec::new();
        let mut file = OggOpus::new(&head, &mut out).with_pages(7);
        let mut encoder = OpusEncoder::new(8_000, 16_000).unwrap();
        for number in 0..packets {
            let pcm: Vec<i16> = (0..160).map(|at| ((at * 37 + number * 11) % 2_000) as i16).collect();
            let (mut coded, mut both) = (Vec::new(), Vec::new());
            encoder.encode(&pcm, &mut coded);
            Frames::parse(&coded).unwrap().self_delimited(&mut both);
            both.extend(opus_packet::SILENCE);
            file.packet(both, &mut out);
        }
        file.finish(granule, &mut out);
        out
    }

    #[test]
    fn every_sample_is_counted() {
        let file = sound(25, 24_000);
        let played = play(&mut &file[..], Content::Opus).unwrap();
        assert_eq!(played, Played { channels: 2, rate_hz: 48_000, samples: 24_000 - 312 });
        let mut wav = wav::header(8_000, 2).to_vec();
        wav.resize(wav.len() + 4 * 4_001, 1);
        let played = play(&mut &wav[..], Content::Wav).unwrap();
        assert_eq!(played, Played { channels: 2, rate_hz: 8_000, samples: 4_001 });
        assert!((played.seconds() - 0.500_125).abs() < 1e-9);
    }

    #[test]
    fn what_is_changed_or_cut_does_not_play() {
        let file = sound(25, 24_000);
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x11;
            assert!(play(&mut &changed[..], Content::Opus).is_err(), "byte {at}");
            assert!(play(&mut &file[..at], Content::Opus).is_err(), "cut to {at}");
        }
        for granule in [0, 24_001, 24_000 - 5_761] {
            let fault = play(&mut &sound(25, granule)[..], Content::Opus).unwrap_err();
            assert!(matches!(fault, PlaybackError::Length { decoded: 24_000, .. }), "{granule}: {fault}");
        }
        assert!(play(&mut &[0; 100][..], Content::Packets).is_err());
        assert!(play(&mut &b"RIFF"[..], Content::Wav).is_err());
    }

    #[test]
    fn content_is_known_by_name() {
        assert_eq!(content_of("id.opus.age"), Some(Content::Opus));
        assert_eq!(content_of("id.wav.interrupted.age"), Some(Content::Wav));
        assert_eq!(content_of("id.pcapng.age"), Some(Content::Packets));
        assert_eq!(content_of("id.json.age"), None);
    }
}
