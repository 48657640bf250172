//! The RTP payload of AMR and AMR-WB (RFC 4867), without interleaving and checksums.
//!
//! ```text
//! bandwidth-efficient: CMR(4) { F(1) FT(4) Q(1) }… bits of frame, bits of frame… padding
//! octet-aligned:       CMR(4) 0000  { F(1) FT(4) Q(1) 00 }… octets of frame, octets of frame…
//! ```

/// Which codec's frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Band {
    /// AMR: 8 kHz.
    Narrow,
    /// AMR-WB: 16 kHz.
    Wide,
}

impl Band {
    /// Bits of a frame of type `frame_type`; nothing for types that do not exist.
    fn bits(self, frame_type: u8) -> Option<usize> {
        let table: &[usize] = match self {
            Self::Narrow => &[95, 103, 118, 134, 148, 159, 204, 244, 39],
            Self::Wide => &[132, 177, 253, 285, 317, 365, 397, 461, 477, 40],
        };
        match (self, frame_type) {
            (_, NO_DATA) | (Self::Wide, SPEECH_LOST) => Some(0),
            _ => table.get(usize::from(frame_type)).copied(),
        }
    }

    /// Frame type of a description of noise.
    pub(crate) fn noise(self) -> u8 {
        match self {
            Self::Narrow => 8,
            Self::Wide => 9,
        }
    }

    /// Samples of a frame.
    pub(crate) fn frame_samples(self) -> usize {
        match self {
            Self::Narrow => 160,
            Self::Wide => 320,
        }
    }
}

/// One frame of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// FT.
    pub(crate) frame_type: u8,
    /// Q: the bits are believed.
    pub(crate) good: bool,
    bytes: [u8; FRAME_BYTES_MAX],
    length: usize,
}

impl Frame {
    /// Returns the frame's bits, from the top of the first byte on.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The frames of a payload, in order of time.
pub(crate) struct Frames<'a> {
    band: Band,
    aligned: bool,
    payload: &'a [u8],
    /// Bit positions of the next table entry and the next frame.
    entry: usize,
    data: usize,
    left: usize,
}

impl<'a> Frames<'a> {
    /// Reads the table of contents; nothing where it does not fit the payload.
    ///
    /// `aligned` is what was signalled; as some senders do the other, a payload that only fits the
    /// other is read that way.
    pub(crate) fn parse(band: Band, aligned: bool, payload: &'a [u8]) -> Option<Self> {
        Self::parse_as(band, aligned, payload).or_else(|| Self::parse_as(band, !aligned, payload))
    }

    fn parse_as(band: Band, aligned: bool, payload: &'a [u8]) -> Option<Self> {
        let (head, step) = if aligned { (8, 8) } else { (4, 6) };
        let mut frames = Self { band, aligned, payload, entry: head, data: 0, left: 0 };
        let (mut position, mut bits) = (head, 0);
        loop {
            if frames.left == FRAMES_MAX {
                return None;
            }
            let entry = frames.bits(position, 6)?;
            frames.left += 1;
            position += step;
            let frame = band.bits(entry >> 1 & 15)?;
            bits += if aligned { frame.next_multiple_of(8) } else { frame };
            if entry & 0x20 == 0 {
                break;
            }
        }
        frames.data = position;
        ((position + bits).div_ceil(8) == payload.len()).then_some(frames)
    }

    /// Returns how many frames are left.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    /// Returns up to 8 bits at a bit position.
    fn bits(&self, position: usize, count: usize) -> Option<u8> {
        let (byte, shift) = (position / 8, position % 8);
        let high = u16::from(*self.payload.get(byte)?) << 8;
        let low = self.payload.get(byte + 1).copied();
        if low.is_none() && shift + count > 8 {
            return None;
        }
        let window = (high | u16::from(low.unwrap_or(0))) << shift;
        Some((window >> (16 - count)) as u8)
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.bits(self.entry, 6)?;
        self.entry += if self.aligned { 8 } else { 6 };
        let frame_type = entry >> 1 & 15;
        let bits = self.band.bits(frame_type)?;
        let mut frame =
            Frame { frame_type, good: entry & 1 != 0, bytes: [0; FRAME_BYTES_MAX], length: bits.div_ceil(8) };
        for (index, byte) in frame.bytes[..frame.length].iter_mut().enumerate() {
            let count = (bits - 8 * index).min(8);
            *byte = self.bits(self.data + 8 * index, count)? << (8 - count);
        }
        self.data += if self.aligned { bits.next_multiple_of(8) } else { bits };
        Some(frame)
    }
}

/// Appends a payload of speech frames of type `frame_type`, with no wish as to what comes back.
pub(crate) fn pack(band: Band, aligned: bool, frame_type: u8, frames: &[Vec<u8>], payload: &mut Vec<u8>) {
    let mut writer = Writer { payload, free: 0 };
    writer.put(15 << 4, 4);
    if aligned {
        writer.free = 0;
    }
    for index in 0..frames.len() {
        let more = u8::from(index + 1 < frames.len());
        writer.put(more << 7 | frame_type << 3 | 4, if aligned { 8 } else { 6 });
    }
    let bits = band.bits(frame_type).unwrap_or(0);
    for frame in frames {
        for (index, byte) in frame.iter().enumerate() {
            let left = bits.saturating_sub(8 * index).min(8);
            writer.put(*byte, if aligned { 8 } else { left });
        }
    }
}

struct Writer<'a> {
    payload: &'a mut Vec<u8>,
    /// Bits free in the last byte.
    free: usize,
}

impl Writer<'_> {
    /// Appends the `count` highest bits of `value`.
    fn put(&mut self, value: u8, count: usize) {
        for bit in 0..count {
            if self.free == 0 {
                self.payload.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.payload.last_mut() {
                *last |= (value >> (7 - bit) & 1) << self.free;
            }
        }
    }
}

/// Wideband only: the network knows that it lost a frame.
pub(crate) const SPEECH_LOST: u8 = 14;
/// Nothing was sent.
pub(crate) const NO_DATA: u8 = 15;
/// 23.85 kbit/s wideband.
const FRAME_BYTES_MAX: usize = 60;
/// 1 s.
const FRAMES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    #[test]
    fn what_is_packed_is_unpacked() {
        for band in [Band::Narrow, Band::Wide] {
            for aligned in [false, true] {
                for frame_type in 0..band.noise() {
                    let bits = band.bits(frame_type).unwrap();
                    let mut noise = vectors::noise(u64::from(frame_type));
                    let frames: Vec<Vec<u8>> = (0..3)
                        .map(|_| {
                            let mut frame: Vec<u8> = noise.by_ref().take(bits.div_ceil(8)).collect();
                            let spare = frame.len() * 8 - bits;
                            *frame.last_mut().unwrap() &= 0xFF << spare;
                            frame
                        })
                        .collect();
                    let mut payload = Vec::new();
                    pack(band, aligned, frame_type, &frames, &mut payload);
                    for signalled in [false, true] {
                        let read = Frames::parse(band, signalled, &payload);
                        // The lengths of the two layouts can coincide; what was signalled then holds.
                        if signalled == aligned || Frames::parse_as(band, signalled, &payload).is_none() {
                            let read: Vec<Frame> = read.unwrap().collect();
                            assert!(read.iter().all(|frame| frame.good && frame.frame_type == frame_type));
                            let bytes: Vec<&[u8]> = read.iter().map(Frame::bytes).collect();
                            assert_eq!(bytes, frames, "{band:?} {aligned} {frame_type}");
                        }
                    }
                }
            }
        }
    }

    /// RFC 4867 4.3.5.1: one 7.4 kbit/s frame, bandwidth-efficient: 4 + 6 + 148 bits.
    #[test]
    fn the_example_of_the_rfc_has_its_length() {
        let mut payload = vec![0xF2, 0x40];
        payload.resize(20, 0);
        let frames: Vec<Frame> = Frames::parse(Band::Narrow, false, &payload).unwrap().collect();
        assert_eq!((frames.len(), frames[0].frame_type, frames[0].good), (1, 4, true));
        assert!(Frames::parse(Band::Narrow, false, &payload[..19]).is_none());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut noise = vectors::noise(13);
        for round in 0..3_000 {
            let payload: Vec<u8> = noise.by_ref().take(round % 70).collect();
            for band in [Band::Narrow, Band::Wide] {
                if let Some(frames) = Frames::parse(band, round % 2 == 0, &payload) {
                    let count = frames.len();
                    assert_eq!(frames.count(), count);
                }
            }
        }
    }
}
