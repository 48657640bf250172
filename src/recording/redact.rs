//! A recording's sound with spans of it silenced: a copy of it, for those who may not hear them.
//!
//! Of Opus only packets are exchanged, so nothing is decoded, and what is not silenced is as it was. What a packet
//! holds of the sound beside it (overlap, prediction, a copy of the packet before in case that is lost) goes with the
//! packets next to a span, which are silenced as well.

use std::io::Cursor;

use ::ogg::PacketReader;
use zeroize::Zeroizing;

use crate::base::time::Span;
use crate::codec::ogg::{self, OggOpus, PACKET_SAMPLES};
use crate::codec::opus_packet::SILENCE;
use crate::codec::wav::{self, is_streaming_header};

/// Why there is no such copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedactError {
    /// No sound of ours.
    #[error("it is neither Ogg Opus nor WAV as recorders write it")]
    Format,
    /// It breaks off, or is damaged.
    #[error("reading its pages: {0}")]
    Pages(#[from] ::ogg::OggReadError),
    /// Nothing would be silenced.
    #[error("a span begins after the end, which is at {length_ms} ms: nothing of it can be silenced")]
    Beyond {
        /// How long the sound is.
        length_ms: u64,
    },
}

/// The same with these spans silenced on both sides. Plain: to be sealed.
pub fn silence(sound: Zeroizing<Vec<u8>>, spans: &[Span]) -> Result<Zeroizing<Vec<u8>>, RedactError> {
    if sound.starts_with(b"OggS") {
        silence_opus(&sound, spans)
    } else if is_streaming_header(&sound) {
        silence_wav(sound, spans)
    } else {
        Err(RedactError::Format)
    }
}

fn check(spans: &[Span], length_ms: u64) -> Result<(), RedactError> {
    if spans.iter().any(|span| span.from_ms >= length_ms) {
        Err(RedactError::Beyond { length_ms })
    } else {
        Ok(())
    }
}

/// Read twice, so that no more than a page of it is in memory beside the file.
fn silence_opus(sound: &[u8], spans: &[Span]) -> Result<Zeroizing<Vec<u8>>, RedactError> {
    let mut reader = PacketReader::new(Cursor::new(sound));
    let (mut count, mut end, mut serial, mut pre_skip) = (0_u64, 0, 0, None);
    while let Some(packet) = reader.read_packet()? {
        (end, serial) = (packet.absgp_page(), packet.stream_serial());
        let data = Zeroizing::new(packet.data);
        if count == 0 {
            pre_skip = ogg::pre_skip(&data);
        }
        count += 1;
    }
    let (Some(pre_skip), true) = (pre_skip, count > HEADERS) else { return Err(RedactError::Format) };
    check(spans, end.saturating_sub(pre_skip) / SAMPLES_PER_MS)?;
    let is_silent = |number: u64| {
        spans.iter().any(|span| {
            let first = (span.from_ms.saturating_mul(SAMPLES_PER_MS) / PACKET_SAMPLES).saturating_sub(1);
            let last = span.to_ms.saturating_mul(SAMPLES_PER_MS).saturating_add(pre_skip) / PACKET_SAMPLES;
            (first..=last.saturating_add(1)).contains(&number)
        })
    };
    // The first side says how long its packet is (RFC 6716 appendix B): one byte after the first.
    let silent = [&SILENCE[..1], &[SILENCE.len() as u8 - 1], &SILENCE[1..], &SILENCE[..]].concat();
    let mut reader = PacketReader::new(Cursor::new(sound));
    let mut next = || Ok::<_, RedactError>(reader.read_packet()?.map(|packet| packet.data));
    let (Some(head), Some(tags)) = (next()?, next()?) else { return Err(RedactError::Format) };
    // Room for all of it, so that it is never moved and left behind.
    let mut out = Zeroizing::new(Vec::with_capacity(sound.len() + count as usize * silent.len()));
    let mut file = OggOpus::with_headers(serial, head, tags, &mut out);
    let mut number = 0;
    while let Some(packet) = next()? {
        if is_silent(number) {
            drop(Zeroizing::new(packet));
            file.packet(silent.clone(), &mut out);
        } else {
            file.packet(packet, &mut out);
        }
        number += 1;
    }
    file.finish(end, &mut out);
    Ok(out)
}

fn silence_wav(mut sound: Zeroizing<Vec<u8>>, spans: &[Span]) -> Result<Zeroizing<Vec<u8>>, RedactError> {
    let (rate_hz, channels) = wav::facts(&sound).ok_or(RedactError::Format)?;
    let (rate_hz, frame_bytes) = (u64::from(rate_hz), u64::from(channels) * 2);
    let frames = (sound.len() - wav::HEADER_BYTES) as u64 / frame_bytes;
    check(spans, frames * 1_000 / rate_hz)?;
    for span in spans {
        // Outwards to whole frames.
        let first = span.from_ms.saturating_mul(rate_hz) / 1_000;
        let last = span.to_ms.saturating_mul(rate_hz).div_ceil(1_000).min(frames);
        let at = |frame: u64| wav::HEADER_BYTES + (frame * frame_bytes) as usize;
        if first < last {
            sound[at(first)..at(last)].fill(0);
        }
    }
    Ok(sound)
}

const SAMPLES_PER_MS: u64 = 48;
/// Packets before the first of sound.
const HEADERS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ogg::Head;

    fn silence(sound: &[u8], spans: &[Span]) -> Result<Vec<u8>, RedactError> {
        super::silence(Zeroizing::new(sound.to_vec()), spans).map(|silenced| silenced.to_vec())
    }

    const LENGTH: usize = 500;

    fn span(from_ms: u64, to_ms: u64) -> Span {
        Span { from_ms, to_ms }
    }

    fn opus() -> Vec<u8> {
        let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &[], serial: 7 };
        let mut out = Vec::new();
        let mut file = OggOpus::new(&head, &mut out).with_pages(5);
        for number in 0..LENGTH {
            file.packet(format!("packet {number}").into_bytes(), &mut out);
        }
        file.finish(312 + 9_990 * SAMPLES_PER_MS, &mut out);
        out
    }

    fn packets(file: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut reader = PacketReader::new(Cursor::new(file));
        let (mut packets, mut end) = (Vec::new(), 0);
        while let Some(packet) = reader.read_packet().unwrap() {
            end = packet.absgp_page();
            packets.push(packet.data);
        }
        (packets, end)
    }

    #[test]
    fn packets_of_a_span_and_beside_it_are_silent_and_all_others_as_they_were() {
        let file = opus();
        let (before, end) = packets(&file);
        let redacted = silence(&file, &[span(1_000, 2_000), span(9_980, 60_000)]).unwrap();
        let (after, new_end) = packets(&redacted);
        assert_eq!((after.len(), new_end), (before.len(), end));
        for (number, (before, after)) in before.iter().zip(&after).skip(2).enumerate() {
            // Packets 50 to 100 by the time, one before and one after.
            if (49..=101).contains(&number) || number >= 498 {
                assert_eq!(after[..], [0x98, 2, 0xff, 0xfe, 0x98, 0xff, 0xfe], "{number}");
            } else {
                assert_eq!(after, before, "{number}");
            }
        }
        assert_eq!(after[..2], before[..2]);
        // With nothing to exchange it is the same file as a recorder's with pages of a second.
        let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &[], serial: 7 };
        let mut whole = Vec::new();
        let mut written = OggOpus::new(&head, &mut whole);
        after[2..].iter().for_each(|packet| written.packet(packet.clone(), &mut whole));
        written.finish(end, &mut whole);
        assert!(redacted == whole, "pages are otherwise");
    }

    #[test]
    fn samples_of_a_span_are_zero_and_all_others_as_they_were() {
        let mut file = wav::header(8_000, 2).to_vec();
        file.extend((0..32_000_u32).map(|byte| (byte % 250 + 1) as u8));
        let redacted = silence(&file, &[span(100, 200), span(990, 5_000)]).unwrap();
        assert_eq!(redacted.len(), file.len());
        for (at, (before, after)) in file.iter().zip(&redacted).enumerate() {
            let is_silent = at.checked_sub(44).is_some_and(|at| (3_200..6_400).contains(&at) || at >= 31_680);
            assert_eq!(*after, if is_silent { 0 } else { *before }, "{at}");
        }
    }

    #[test]
    fn what_is_no_sound_or_has_no_such_span_is_refused() {
        let file = opus();
        assert!(matches!(
            silence(&file, &[span(20_000, 21_000)]),
            Err(RedactError::Beyond { length_ms: 9_990 })
        ));
        let wav = wav::header(8_000, 2);
        assert!(matches!(silence(&wav, &[span(0, 1)]), Err(RedactError::Beyond { .. })));
        assert!(matches!(silence(&wav::header(0, 2), &[span(0, 1)]), Err(RedactError::Format)));
        assert!(matches!(silence(&wav::header(8_000, 0), &[span(0, 1)]), Err(RedactError::Format)));
        for no_sound in [&b""[..], b"OggS", b"RIFF", b"{}", &file[..40], &wav[..43]] {
            assert!(silence(no_sound, &[span(0, 1)]).is_err());
        }
        for at in (0..file.len()).step_by(101) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x40;
            // Whatever comes of it, it ends.
            let _ = silence(&damaged, &[span(0, 1)]);
        }
    }
}
