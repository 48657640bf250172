//! A segment of the journal: frames one after the other, told apart without a key.
//!
//! ```text
//! segment = frame*                                     then zeros, or what the file held before
//! frame   = magic (8) segment id (16) sequence (8) generation (8) kind (4) length (4) CRC-32C (4) payload
//! kind    = 1: age header, which opens the batches after it      2: batch (`seal::batch`)
//! ```
//!
//! Numbers are little-endian. Sequences count from 0. The checksum is over all of the frame but itself. A
//! frame belongs to the segment only if it has the id of the first one and the next sequence: a torn tail
//! ends there, and so does what an earlier use of the file has left.

use std::io;
use std::io::Read;

use crate::seal::header::HEADER_BYTES_MAX;

/// What stands at the head of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameHead {
    /// One use of one file.
    pub segment: [u8; 16],
    /// Number of the frame in it.
    pub sequence: u64,
    /// Which key: batches open with the header of their generation.
    pub generation: u64,
    /// What it holds.
    pub kind: FrameKind,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// An age header.
    Header,
    /// A sealed batch.
    Batch,
}

impl FrameHead {
    /// The bytes before the payload.
    pub fn to_bytes(&self, payload: &[u8]) -> [u8; FRAME_HEAD_BYTES] {
        let mut head = [0; FRAME_HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..24].copy_from_slice(&self.segment);
        head[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        head[32..40].copy_from_slice(&self.generation.to_le_bytes());
        let kind: u32 = match self.kind {
            FrameKind::Header => 1,
            FrameKind::Batch => 2,
        };
        head[40..44].copy_from_slice(&kind.to_le_bytes());
        head[44..48].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..48]), payload);
        head[48..].copy_from_slice(&checksum.to_le_bytes());
        head
    }
}

/// Reads the frames of a segment, from its start.
pub struct Frames<R> {
    reader: R,
    /// Id and sequence of the frame to come; none before the first.
    next: Option<([u8; 16], u64)>,
    valid: u64,
    payload: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// Begins at the start of a segment.
    pub fn new(reader: R) -> Self {
        Self { reader, next: None, valid: 0, payload: Vec::new() }
    }

    /// The next frame and its payload; nothing where the valid ones end.
    pub fn next_frame(&mut self) -> io::Result<Option<(FrameHead, &[u8])>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if !read_all(&mut self.reader, &mut head)? {
            return Ok(None);
        }
        let Some((frame, length)) = parse(&head) else { return Ok(None) };
        let expected = self.next.unwrap_or((frame.segment, 0));
        if (frame.segment, frame.sequence) != expected {
            return Ok(None);
        }
        self.payload.clear();
        let read = (&mut self.reader).take(u64::from(length)).read_to_end(&mut self.payload)?;
        if read != length as usize || frame.to_bytes(&self.payload) != head {
            return Ok(None);
        }
        self.next = Some((frame.segment, frame.sequence.saturating_add(1)));
        self.valid += (FRAME_HEAD_BYTES + read) as u64;
        Ok(Some((frame, &self.payload)))
    }

    /// Bytes of the frames read so far.
    pub fn valid_bytes(&self) -> u64 {
        self.valid
    }
}

fn parse(head: &[u8; FRAME_HEAD_BYTES]) -> Option<(FrameHead, u32)> {
    let rest = head.strip_prefix(MAGIC)?;
    let (segment, rest) = rest.split_first_chunk::<16>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let kind = match u32::from_le_bytes(*kind) {
        1 => FrameKind::Header,
        2 => FrameKind::Batch,
        _ => return None,
    };
    let length = u32::from_le_bytes(*length);
    let frame = FrameHead {
        segment: *segment,
        sequence: u64::from_le_bytes(*sequence),
        generation: u64::from_le_bytes(*generation),
        kind,
    };
    (length as usize <= PAYLOAD_BYTES_MAX).then_some((frame, length))
}

fn read_all(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

const MAGIC: &[u8; 8] = b"sejfjrn\x01";
/// Bytes of a frame before its payload.
pub const FRAME_HEAD_BYTES: usize = 52;
/// Longest payload: a batch, or a header of very many recipients.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(HEADER_BYTES_MAX <= PAYLOAD_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segment: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let head = FrameHead { segment: [segment; 16], sequence, generation: 5, kind: FrameKind::Batch };
        let mut bytes = head.to_bytes(payload).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut frames = Frames::new(bytes);
        let mut all = Vec::new();
        while let Some((_, payload)) = frames.next_frame().unwrap() {
            all.push(payload.to_vec());
        }
        (all, frames.valid_bytes())
    }

    #[test]
    fn whole_frames_are_found_wherever_the_file_is_cut_or_changed() {
        let payloads: [&[u8]; 3] = [b"first", b"", b"the third one"];
        let parts: Vec<_> = (0..).zip(payloads).map(|(at, payload)| frame(1, at, payload)).collect();
        let file = parts.concat();
        let ends = [parts[0].len(), parts[0].len() + parts[1].len(), file.len()];
        for cut in 0..=file.len() {
            let count = ends.iter().filter(|end| **end <= cut).count();
            let mut bytes = file[..cut].to_vec();
            for zeros in [0, 200] {
                bytes.resize(cut + zeros, 0);
                let (found, valid) = read(&bytes);
                assert_eq!(found, payloads[..count], "cut at {cut}");
                assert_eq!(valid as usize, if count == 0 { 0 } else { ends[count - 1] });
            }
        }
        for at in 0..file.len() {
            let mut bytes = file.clone();
            bytes[at] ^= 0x10;
            let before = ends.iter().filter(|end| **end <= at).count();
            assert_eq!(read(&bytes).0, payloads[..before], "byte {at} changed");
        }
    }

    #[test]
    fn frames_of_an_earlier_use_are_not_taken() {
        let old: Vec<u8> = (0..6).flat_map(|at| frame(1, at, b"old")).collect();
        let new: Vec<u8> = (0..3).flat_map(|at| frame(2, at, b"new")).collect();
        let mut file = old.clone();
        file[..new.len()].copy_from_slice(&new);
        assert_eq!(read(&file).0, [b"new"; 3]);
        // Nor out of turn.
        assert!(read(&old[new.len()..]).0.is_empty());
    }
}
