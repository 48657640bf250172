//! The end of a file that was cut: up to its last whole unit, and closed as its format asks.
//!
//! Ogg: the last whole page, with the end-of-stream flag (RFC 3533). pcapng: the last whole block. WAV:
//! anything will do, since its reader takes whole samples and writes the lengths.

use crate::base::time::Stamp;
use crate::codec::ogg;
use crate::codec::ogg::Unit;
use crate::codec::wav;
use crate::recording::recorder::Content;

/// Takes a file's plain bytes in order and lets through what is whole.
#[derive(Debug)]
pub struct Ending {
    content: Content,
    /// Bytes that are no whole unit yet.
    pending: Vec<u8>,
    /// The last whole page, which may turn out to be the last of all.
    page: Vec<u8>,
    /// The first bytes, which say how fast samples go.
    first: Vec<u8>,
    /// Bytes let through.
    taken: u64,
    /// What comes is not in the format: nothing more is let through.
    broken: bool,
    packets: u64,
    last: Option<Stamp>,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// Bytes at the end that made up no whole unit and are left out.
    pub dropped: u64,
    /// Channels; 0 where it is no audio.
    pub channels: u8,
    /// Sample rate; 0 where it is no audio.
    pub rate_hz: u32,
    /// Samples a channel.
    pub samples: u64,
    /// Packets, where it holds such.
    pub packets: u64,
    /// Time of the last packet, where it holds packets.
    pub last: Option<Stamp>,
}

impl Ending {
    /// Begins a file.
    pub fn new(content: Content) -> Self {
        Self {
            content,
            pending: Vec::new(),
            page: Vec::new(),
            first: Vec::new(),
            taken: 0,
            broken: false,
            packets: 0,
            last: None,
        }
    }

    /// Takes bytes in; appends what is whole to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let room = wav::HEADER_BYTES.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..room]);
        if self.content == Content::Wav {
            self.taken += bytes.len() as u64;
            return out.extend_from_slice(bytes);
        }
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while !self.broken {
            let rest = &self.pending[at..];
            let unit = match self.content {
                Content::Opus => ogg::page_bytes(rest),
                Content::Packets | Content::Wav => block_bytes(rest),
            };
            match unit {
                Unit::Whole(length) => {
                    let unit = &self.pending[at..at + length];
                    self.taken += length as u64;
                    if self.content == Content::Opus {
                        out.append(&mut self.page);
                        self.page.extend_from_slice(unit);
                    } else {
                        if let Some(time) = packet_time(unit) {
                            self.packets += 1;
                            self.last = Some(time);
                        }
                        out.extend_from_slice(unit);
                    }
                    at += length;
                }
                Unit::More => break,
                Unit::Broken => self.broken = true,
            }
        }
        self.pending.drain(..at);
    }

    /// Ends the file; appends its last bytes to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Ended {
        let dropped = self.pending.len() as u64;
        let (channels, rate_hz, samples) = match self.content {
            Content::Packets => (0, 0, 0),
            Content::Wav if self.first.len() < wav::HEADER_BYTES => (0, 0, 0),
            Content::Wav => {
                let rate_hz = u32::from_le_bytes([24, 25, 26, 27].map(|at| self.first[at]));
                (2, rate_hz, self.taken.saturating_sub(wav::HEADER_BYTES as u64) / 4)
            }
            Content::Opus => {
                let samples = ogg::end_stream(&mut self.page);
                (2, OPUS_HZ, samples.unwrap_or(0))
            }
        };
        out.append(&mut self.page);
        Ended { dropped, channels, rate_hz, samples, packets: self.packets, last: self.last }
    }
}

/// When the packet of an enhanced packet block came: nanoseconds, as the recorder writes them.
fn packet_time(block: &[u8]) -> Option<Stamp> {
    let word = |at: usize| block.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let packet = word(0)? == ENHANCED_PACKET;
    let nanos = u64::from(word(12)?) << 32 | u64::from(word(16)?);
    packet.then_some(Stamp::from_unix_nanos(nanos))
}

/// A block of pcapng: its length stands before and behind its body.
fn block_bytes(bytes: &[u8]) -> Unit {
    let Some(head) = bytes.first_chunk::<8>() else { return Unit::More };
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if length < 12 || !length.is_multiple_of(4) || length > BLOCK_BYTES_MAX {
        return Unit::Broken;
    }
    match bytes.get(length - 4..length) {
        None => Unit::More,
        Some(tail) if tail == &head[4..] => Unit::Whole(length),
        Some(_) => Unit::Broken,
    }
}

const ENHANCED_PACKET: u32 = 6;
/// Longer than any block that a recorder writes.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// The clock of Opus in Ogg.
const OPUS_HZ: u32 = 48_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ogg::{Head, OggOpus};

    fn through(content: Content, bytes: &[u8], step: usize) -> (Vec<u8>, Ended) {
        let (mut ending, mut out) = (Ending::new(content), Vec::new());
        bytes.chunks(step).for_each(|part| ending.push(part, &mut out));
        let ended = ending.finish(&mut out);
        (out, ended)
    }

    fn opus(packets: usize) -> Vec<u8> {
        let comments = ["A=b".to_owned()];
        let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &comments, serial: 7 };
        let mut out = Vec::new();
        let mut file = OggOpus::new(&head, &mut out);
        (0..packets).for_each(|number| file.packet(vec![0x98, number as u8, 3, 0x98, 4], &mut out));
        file.finish(packets as u64 * 960, &mut out);
        out
    }

    #[test]
    fn a_whole_file_stays_as_it_is() {
        let file = opus(130);
        let (out, ended) = through(Content::Opus, &file, 333);
        assert_eq!(out, file);
        let whole = Ended { channels: 2, rate_hz: 48_000, samples: 130 * 960, ..Ended::default() };
        assert_eq!(ended, whole);
    }

    /// Wherever an Ogg file is cut, another reader finds its pages whole and its end marked.
    #[test]
    fn a_cut_ogg_file_ends_with_a_page_that_says_so() {
        let file = opus(230);
        for cut in (0..file.len()).step_by(7).chain([file.len() - 1]) {
            let (out, ended) = through(Content::Opus, &file[..cut], 100);
            assert!(out.len() as u64 + ended.dropped == cut as u64);
            if out.is_empty() {
                assert!(cut < 47 + 27, "the first page has 47 bytes");
                continue;
            }
            let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(out));
            let (mut last, mut count) = (None, 0);
            while let Some(packet) = reader.read_packet().expect("pages have their checksums") {
                last = Some(packet.last_in_stream());
                count += 1;
            }
            assert_ne!(last, Some(false), "cut at {cut}");
            assert_eq!(ended.samples, if count > 2 { (count - 2) * 960 } else { 0 }, "cut at {cut}");
        }
    }

    #[test]
    fn a_cut_pcapng_file_ends_with_a_block() {
        let mut file = Vec::new();
        let mut ends = vec![0];
        for body in [8_usize, 20, 0, 400] {
            let length = (body + 12) as u32;
            file.extend_from_slice(&6_u32.to_le_bytes());
            file.extend_from_slice(&length.to_le_bytes());
            file.extend_from_slice(&vec![9; body]);
            file.extend_from_slice(&length.to_le_bytes());
            ends.push(file.len());
        }
        for cut in 0..=file.len() {
            let (out, ended) = through(Content::Packets, &file[..cut], 5);
            let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap();
            assert_eq!(out, &file[..whole]);
            assert_eq!(ended.dropped as usize, cut - whole);
            // One is too short to have a time.
            let timed = [ends[1], ends[2], ends[4]];
            assert_eq!(ended.packets as usize, timed.iter().filter(|end| **end <= cut).count());
        }
        file[4] = 0xff;
        assert!(through(Content::Packets, &file, 1000).0.is_empty());
    }

    #[test]
    fn wav_says_how_long_it_is() {
        let mut file = wav::header(16_000, 2).to_vec();
        file.resize(44 + 4_003, 1);
        let (out, ended) = through(Content::Wav, &file, 17);
        assert_eq!((out, ended.rate_hz, ended.samples), (file, 16_000, 1_000));
        assert_eq!(through(Content::Wav, b"RIFF", 9).1.samples, 0);
    }
}
