//! WAV: a header for files whose length is not known yet, and the exact file made of one later.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, Write};

/// Bytes before the first sample of a streaming file.
pub const HEADER_BYTES: usize = 44;

/// Why no exact file could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// Not a header that [`header`] made.
    #[error("not a streaming WAV file of 16-bit samples")]
    Header,
    /// Files that are to be one have other rates or channels.
    #[error("the parts differ in rate or channels: open each by itself")]
    Differ,
    /// A part would begin more than a day after the one before has ended.
    #[error("a part is to begin more than a day after the one before ended")]
    Apart,
    /// The streaming file could not be read.
    #[error("reading the streaming WAV file")]
    Read(#[source] io::Error),
    /// The exact file could not be written.
    #[error("writing the WAV file")]
    Write(#[source] hound::Error),
}

/// Returns the header of a stream of interleaved 16-bit samples whose end is not known: both
/// lengths are `0xFFFF_FFFF`, which readers take for "until the end of the file".
pub fn header(rate_hz: u32, channels: u16) -> [u8; HEADER_BYTES] {
    let frame_bytes = channels.wrapping_mul(2);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(b"RIFF");
    header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    header[8..16].copy_from_slice(b"WAVEfmt ");
    header[16..20].copy_from_slice(&16_u32.to_le_bytes());
    header[20..22].copy_from_slice(&1_u16.to_le_bytes());
    header[22..24].copy_from_slice(&channels.to_le_bytes());
    header[24..28].copy_from_slice(&rate_hz.to_le_bytes());
    header[28..32].copy_from_slice(&rate_hz.wrapping_mul(u32::from(frame_bytes)).to_le_bytes());
    header[32..34].copy_from_slice(&frame_bytes.to_le_bytes());
    header[34..36].copy_from_slice(&16_u16.to_le_bytes());
    header[36..40].copy_from_slice(b"data");
    header[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    header
}

/// Returns whether `first`, the first bytes of a file, are a header that [`header`] made.
pub fn is_streaming_header(first: &[u8]) -> bool {
    first.len() >= HEADER_BYTES && first.starts_with(b"RIFF\xff\xff\xff\xffWAVEfmt ")
}

/// Rate and channels of a streaming file, by its first bytes. `None` where they are no header that [`header`] made.
pub fn facts(first: &[u8]) -> Option<(u32, u16)> {
    let spec = read_header(&mut &first[..]).ok()?;
    Some((spec.sample_rate, spec.channels))
}

/// Reads a streaming file to its end. Returns rate, channels, and samples a channel.
pub fn measure(mut from: impl Read) -> Result<(u32, u16, u64), WavError> {
    let spec = read_header(&mut from)?;
    let frames = samples(from, spec, &mut |_| Ok(()))?;
    Ok((spec.sample_rate, spec.channels, frames))
}

/// The header with exact lengths for one that [`header`] made, with so many bytes behind it, and how many of those are
/// whole frames. `None` where `first` is no such header, or there are more bytes than a WAV can say.
pub fn exact_header(first: &[u8], bytes: u64) -> Option<([u8; HEADER_BYTES], u64)> {
    let mut exact: [u8; HEADER_BYTES] = first.try_into().ok()?;
    let spec = read_header(&mut &exact[..]).ok()?;
    let frame_bytes = u64::from(spec.channels) * 2;
    let data = bytes / frame_bytes * frame_bytes;
    let riff = u32::try_from(data).ok()?.checked_add(HEADER_BYTES as u32 - 8)?;
    exact[4..8].copy_from_slice(&riff.to_le_bytes());
    exact[40..44].copy_from_slice(&u32::try_from(data).ok()?.to_le_bytes());
    Some((exact, data))
}

/// Reads a streaming file to its end and writes one with exact lengths. Returns samples a channel.
///
/// An odd byte or half a frame at the end is left out.
pub fn finish(mut from: impl Read, to: impl Write + Seek) -> Result<u64, WavError> {
    let spec = read_header(&mut from)?;
    let mut writer = hound::WavWriter::new(to, spec).map_err(WavError::Write)?;
    let frames = samples(from, spec, &mut |sample| writer.write_sample(sample).map_err(WavError::Write))?;
    writer.finalize().map_err(WavError::Write)?;
    Ok(frames)
}

/// Reads streaming files, each with the second of one timeline at which it begins, and writes one with exact
/// lengths. Between them is silence; where one goes on after the next has begun, both are heard. Returns
/// samples a channel.
pub fn join<R: Read>(parts: Vec<(f64, R)>, to: impl Write + Seek) -> Result<u64, WavError> {
    let mut heads = Vec::new();
    for (at_s, mut from) in parts {
        let spec = read_header(&mut from)?;
        heads.push((at_s, spec, from));
    }
    let spec = heads.first().map(|(_, spec, _)| *spec).ok_or(WavError::Header)?;
    if heads.iter().any(|(_, other, _)| *other != spec) {
        return Err(WavError::Differ);
    }
    let channels = u64::from(spec.channels);
    let place = |at_s: f64| (at_s.max(0.0) * f64::from(spec.sample_rate)).round() as u64 * channels;
    let mut begins: Vec<u64> = heads.iter().map(|(at_s, ..)| place(*at_s)).collect();
    begins.push(u64::MAX);
    let mut writer = hound::WavWriter::new(to, spec).map_err(WavError::Write)?;
    let (mut written, mut before) = (0_u64, VecDeque::new());
    for ((_, _, from), bounds) in heads.into_iter().zip(begins.windows(2)) {
        let (begin, end) = (bounds[0], bounds[1]);
        if begin.saturating_sub(written) > u64::from(spec.sample_rate) * channels * DAY_S {
            return Err(WavError::Apart);
        }
        while written < begin {
            writer.write_sample(before.pop_front().unwrap_or(0_i16)).map_err(WavError::Write)?;
            written += 1;
        }
        let mut after = VecDeque::new();
        let mut put = |sample: i16| {
            if written < end {
                written += 1;
                return writer.write_sample(sample).map_err(WavError::Write);
            }
            if after.len() < OVERLAP_MAX {
                after.push_back(sample);
            }
            Ok(())
        };
        samples(from, spec, &mut |sample| put(sample.saturating_add(before.pop_front().unwrap_or(0))))?;
        before.drain(..).try_for_each(&mut put)?;
        before = after;
    }
    writer.finalize().map_err(WavError::Write)?;
    Ok(written / channels)
}

/// Takes the samples after a header, whole frames only. Returns their number a channel.
fn samples(
    mut from: impl Read,
    spec: hound::WavSpec,
    take: &mut impl FnMut(i16) -> Result<(), WavError>,
) -> Result<u64, WavError> {
    let frame_bytes = usize::from(spec.channels) * 2;
    let mut block = vec![0; frame_bytes * 8_192];
    let (mut held, mut frames) = (0, 0);
    loop {
        let read = match from.read(&mut block[held..]) {
            Ok(0) => return Ok(frames),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(WavError::Read(error)),
        };
        let whole = (held + read) / frame_bytes * frame_bytes;
        for sample in block[..whole].chunks_exact(2) {
            take(i16::from_le_bytes([sample[0], sample[1]]))?;
        }
        frames += (whole / frame_bytes) as u64;
        block.copy_within(whole..held + read, 0);
        held = held + read - whole;
    }
}

fn read_header(from: &mut impl Read) -> Result<hound::WavSpec, WavError> {
    let mut bytes = [0; HEADER_BYTES];
    from.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => WavError::Header,
        _ => WavError::Read(error),
    })?;
    let channels = u16::from_le_bytes([bytes[22], bytes[23]]);
    let sample_rate = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    if sample_rate == 0 || !(1..=CHANNELS_MAX).contains(&channels) || bytes != header(sample_rate, channels) {
        return Err(WavError::Header);
    }
    Ok(hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int })
}

/// More than a recording ever has.
const CHANNELS_MAX: u16 = 8;
/// Samples that one part has after the next has begun; they are a packet's in truth.
const OVERLAP_MAX: usize = 1 << 20;
const DAY_S: u64 = 24 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_streaming_file_becomes_one_with_exact_lengths() {
        let samples: Vec<i16> = (0..40_001_i32).map(|n| (n * 7) as i16).collect();
        let mut stream = header(8_000, 2).to_vec();
        samples.iter().for_each(|sample| stream.extend(sample.to_le_bytes()));
        let mut file = Cursor::new(Vec::new());
        // 40,001 samples are no whole number of frames: the last one is left out.
        assert_eq!(finish(&stream[..], &mut file).unwrap(), 20_000);
        let mut reader = hound::WavReader::new(Cursor::new(file.into_inner())).unwrap();
        assert_eq!(
            (reader.spec().channels, reader.spec().sample_rate, reader.duration()),
            (2, 8_000, 20_000)
        );
        let back: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(back, samples[..40_000]);
    }

    #[test]
    fn parts_are_put_on_one_timeline() {
        let part = |rate_hz, samples: &[i16]| {
            let mut stream = header(rate_hz, 2).to_vec();
            samples.iter().for_each(|sample| stream.extend(sample.to_le_bytes()));
            Cursor::new(stream)
        };
        let joined = |parts: Vec<(f64, Cursor<Vec<u8>>)>| {
            let mut file = Cursor::new(Vec::new());
            let frames = join(parts, &mut file)?;
            let mut reader = hound::WavReader::new(Cursor::new(file.into_inner())).unwrap();
            let back: Vec<i16> = reader.samples().map(Result::unwrap).collect();
            assert_eq!(back.len() as u64, frames * 2);
            Ok::<_, WavError>(back)
        };
        // The first goes on for a frame when the second begins; the third comes after a frame of silence.
        let (one, two, three) = ([1, 2, 3, 4, 5, 6], [10, 20, 30, 40], [7, 8]);
        let parts = vec![
            (0.0, part(8_000, &one)),
            (2.0 / 8_000.0, part(8_000, &two)),
            (5.0 / 8_000.0, part(8_000, &three)),
        ];
        assert_eq!(joined(parts).unwrap(), [1, 2, 3, 4, 15, 26, 30, 40, 0, 0, 7, 8]);
        // One that is longer than the next is heard to its end.
        let parts = vec![(0.0, part(8_000, &one)), (1.0 / 8_000.0, part(8_000, &three))];
        assert_eq!(joined(parts).unwrap(), [1, 2, 10, 12, 5, 6]);
        let parts = vec![(1.0 / 8_000.0, part(8_000, &three))];
        assert_eq!(joined(parts).unwrap(), [0, 0, 7, 8], "part 1 had no sound");
        let parts = vec![(0.0, part(8_000, &one)), (0.0, part(16_000, &two))];
        assert!(matches!(joined(parts), Err(WavError::Differ)));
        let parts = vec![(0.0, part(8_000, &one)), (1e9, part(8_000, &two))];
        assert!(matches!(joined(parts), Err(WavError::Apart)));
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b"RIFF"[..], &[0; 44], &header(8_000, 0)] {
            assert!(matches!(finish(bytes, Cursor::new(Vec::new())), Err(WavError::Header)));
        }
    }

    #[test]
    fn facts_are_of_headers_of_ours_alone() {
        let head = header(8_000, 2);
        assert_eq!(facts(&head), Some((8_000, 2)));
        assert_eq!(facts(&[&head[..], &[1, 2, 3, 4]].concat()), Some((8_000, 2)));
        for (at, other) in [(0, b'X'), (22, 0), (22, 9), (34, 8), (36, b'D')] {
            let mut head = head;
            head[at] = other;
            assert_eq!(facts(&head), None, "{at}");
        }
        assert_eq!((facts(&header(0, 2)), facts(&head[..43])), (None, None));
    }
}
