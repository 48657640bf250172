//! Redundant audio data (RFC 2198): a packet that carries its own sound and earlier packets' again.
//!
//! ```text
//! |1| block PT (7) | timestamp offset (14) | block length (10) |   a redundant block's header
//! |0| block PT (7) |                                               the primary's, last
//! ```
//! Then the payloads in the same order; the primary's length is what remains.

use std::ops::Deref;

/// One encoding.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Block<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// How far before the packet's timestamp it begins, in units of the clock rate; 0 for the primary.
    pub timestamp_offset: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A packet taken apart.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    /// Earlier encodings, oldest first.
    pub redundant: Redundant<'a>,
    /// This packet's own.
    pub primary: Block<'a>,
}

/// A few blocks without a heap: this is the media path. Reads as a slice.
#[derive(Clone, Debug, Default)]
pub struct Redundant<'a> {
    blocks: [Block<'a>; BLOCKS_MAX],
    used: usize,
}

impl<'a> Deref for Redundant<'a> {
    type Target = [Block<'a>];

    fn deref(&self) -> &Self::Target {
        &self.blocks[..self.used]
    }
}

/// Why a payload is not RFC 2198.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedError {
    /// The headers have no end, or the blocks are longer than the payload.
    #[error("headers and blocks need {need} bytes, payload has {have}")]
    PastEnd {
        /// Bytes the headers claim, as far as they could be read.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// More redundant blocks than anything sends.
    #[error("more than {max} redundant blocks")]
    TooManyBlocks {
        /// Blocks that are accepted.
        max: usize,
    },
}

/// Takes a payload apart.
pub fn parse(payload: &[u8]) -> Result<Blocks<'_>, RedError> {
    let mut redundant = Redundant::default();
    let mut lengths = [0; BLOCKS_MAX];
    let mut at = 0;
    let primary = loop {
        match payload.get(at..) {
            Some(&[primary, ..]) if primary & 0x80 == 0 => break primary,
            Some(&[first, offset, both, length, ..]) => {
                let index = redundant.used;
                let (Some(block), Some(slot)) = (redundant.blocks.get_mut(index), lengths.get_mut(index))
                else {
                    return Err(RedError::TooManyBlocks { max: BLOCKS_MAX });
                };
                block.payload_type = first & 0x7f;
                block.timestamp_offset = u32::from(offset) << 6 | u32::from(both >> 2);
                *slot = usize::from(both & 0x03) << 8 | usize::from(length);
                redundant.used += 1;
                at += 4;
            }
            _ => return Err(RedError::PastEnd { need: at + 4, have: payload.len() }),
        }
    };
    at += 1;
    for (block, length) in redundant.blocks.iter_mut().zip(lengths).take(redundant.used) {
        let end = at + length;
        let past_end = RedError::PastEnd { need: end, have: payload.len() };
        block.payload = payload.get(at..end).ok_or(past_end)?;
        at = end;
    }
    let rest = payload.get(at..).unwrap_or_default();
    Ok(Blocks { redundant, primary: Block { payload_type: primary, timestamp_offset: 0, payload: rest } })
}

/// Redundant blocks of one packet. Senders use one to three.
const BLOCKS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(payload_type: u8, offset: u16, length: u16) -> [u8; 4] {
        let word = 1 << 31 | u32::from(payload_type) << 24 | u32::from(offset) << 10 | u32::from(length);
        word.to_be_bytes()
    }

    #[test]
    fn two_generations_and_the_primary() {
        let payload =
            [&header(0, 320, 2)[..], &header(8, 16_383, 1), &[96], &[1, 2], &[3], &[4, 5, 6]].concat();
        let blocks = parse(&payload).unwrap();
        let expected = [
            Block { payload_type: 0, timestamp_offset: 320, payload: &[1, 2] },
            Block { payload_type: 8, timestamp_offset: 16_383, payload: &[3] },
        ];
        assert_eq!(*blocks.redundant, expected);
        assert_eq!(blocks.primary, Block { payload_type: 96, timestamp_offset: 0, payload: &[4, 5, 6] });
    }

    #[test]
    fn only_a_primary_and_empty_blocks() {
        let blocks = parse(&[97, 9, 9]).unwrap();
        assert!(blocks.redundant.is_empty());
        assert_eq!((blocks.primary.payload_type, blocks.primary.payload), (97, &[9, 9][..]));
        let none = parse(&[0]).unwrap();
        assert!(none.primary.payload.is_empty());
        let empty = [&header(0, 160, 0)[..], &[0, 7]].concat();
        let empty = parse(&empty).unwrap();
        assert_eq!((empty.redundant[0].payload, empty.primary.payload), (&[][..], &[7][..]));
    }

    #[test]
    fn bounds() {
        assert_eq!(parse(&[]).unwrap_err(), RedError::PastEnd { need: 4, have: 0 });
        assert_eq!(parse(&header(0, 1, 1)).unwrap_err(), RedError::PastEnd { need: 8, have: 4 });
        let short = [&header(0, 160, 1_023)[..], &[0], &[0; 1_022]].concat();
        assert_eq!(parse(&short).unwrap_err(), RedError::PastEnd { need: 1_028, have: 1_027 });
        let many = |blocks: usize| [header(0, 0, 0).repeat(blocks), vec![0]].concat();
        assert_eq!(parse(&many(8)).unwrap().redundant.len(), 8);
        assert_eq!(parse(&many(9)).unwrap_err(), RedError::TooManyBlocks { max: 8 });
    }
}
