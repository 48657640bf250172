//! RTCP compound packets (RFC 3550 section 6), and reduced-size ones (RFC 5506).
//!
//! [`packets`] walks over a datagram and never needs it whole: what comes before a fault stands, and
//! a packet whose own length is plausible does not take those after it along. In SRTCP only the first
//! eight bytes are in the clear (RFC 3711 section 3.4), so nothing else of it means anything.

use std::fmt;

use rtcp_types::{Bye, ReceiverReport, RtcpParseError};
use rtcp_types::{RtcpPacket as _, RtcpPacketParser as _, RtcpPacketParserExt as _};

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RtcpPacket<'a> {
    /// Sources that leave.
    Bye(Ssrcs<'a>),
    /// Feedback, extended reports, application-defined and others.
    Other {
        /// Packet type (RFC 5761 section 4 has the list).
        packet_type: u8,
    },
    /// What one that sends nothing hears.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// One for each source heard.
        blocks: ReportBlocks<'a>,
    },
    /// What one that sends has sent, and hears.
    SenderReport {
        /// What was sent.
        report: SenderReport,
        /// One for each source heard.
        blocks: ReportBlocks<'a>,
    },
    /// Source description: only canonical names are read.
    Sdes(Cnames<'a>),
}

/// What a sender says of itself (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SenderReport {
    /// Who.
    pub ssrc: u32,
    /// Its wall clock, in units of 2⁻³² seconds since 1900; 0 where it has none.
    pub ntp: u64,
    /// The same moment on the stream's own clock, in its units.
    pub rtp_time: u32,
    /// Packets sent, wrapping.
    pub packets: u32,
    /// Payload bytes sent, wrapping.
    pub octets: u32,
}

/// What a receiver says of a source (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning: expected less received, so negative where packets were duplicated.
    pub lost: i32,
    /// Highest sequence number received, extended by the count of its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the stream's clock rate.
    pub jitter: u32,
    /// Middle 32 bits of `ntp` of the last sender report received; 0 where none was.
    pub last_report: u32,
    /// Time since then in units of 2⁻¹⁶ seconds.
    pub since_last_report: u32,
}

/// Why a part of a compound cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RtcpError {
    /// A packet's own fields need more than its length allows, or its padding does.
    #[error("RTCP packet of type {packet_type} does not fit its {have} bytes")]
    Body {
        /// Packet type.
        packet_type: u8,
        /// Bytes of the packet.
        have: usize,
    },
    /// A packet runs past the datagram.
    #[error("RTCP packet of {need} bytes, {have} left in the datagram")]
    PastEnd {
        /// Bytes the header claims.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The version field is not 2.
    #[error("RTCP version {version}, want 2")]
    Version {
        /// The two version bits.
        version: u8,
    },
}

/// Walks over the packets of a datagram. A fault in one packet's fields is told in its place; one
/// in a header ends the walk, because where the next begins is then unknown.
pub fn packets(datagram: &[u8]) -> Packets<'_> {
    Packets { rest: datagram }
}

/// See [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(split(rest).and_then(|(packet, rest)| {
            self.rest = rest;
            read(packet)
        }))
    }
}

/// Report blocks of one packet, read as they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a> {
    bytes: &'a [u8],
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.bytes.split_at_checked(REPORT_BLOCK_BYTES)?;
        self.bytes = rest;
        let block = rtcp_types::ReportBlock::parse(block).ok()?;
        Some(ReportBlock {
            ssrc: block.ssrc(),
            fraction_lost: block.fraction_lost(),
            // 24 bits with a sign.
            lost: (block.cumulative_lost() << 8).cast_signed() >> 8,
            highest_sequence: block.extended_sequence_number(),
            jitter: block.interarrival_jitter(),
            last_report: block.last_sender_report_timestamp(),
            since_last_report: block.delay_since_last_sender_report_timestamp(),
        })
    }
}

/// Sources of a BYE.
#[derive(Clone, Copy, Debug)]
pub struct Ssrcs<'a> {
    bytes: &'a [u8],
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}

/// Canonical names of a source description: which source is called what (RFC 3550 section 6.5.1).
/// Ends early where a chunk is broken.
///
/// Own code, because the library takes the zero bytes that begin a small SSRC for padding of the
/// chunk before it, and the padding of an encrypted compound for a chunk.
#[derive(Clone, Copy)]
pub struct Cnames<'a> {
    chunks: &'a [u8],
    left: u8,
}

impl<'a> Iterator for Cnames<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<(u32, &'a [u8])> {
        while self.left > 0 {
            self.left -= 1;
            let (ssrc, items) = self.chunks.split_first_chunk()?;
            let (name, items_bytes) = cname(items);
            // A chunk ends with one to four zeros, on a multiple of four.
            self.chunks = items.get((items_bytes / 4 + 1) * 4..).unwrap_or_default();
            if let Some(name) = name {
                return Some((u32::from_be_bytes(*ssrc), name));
            }
        }
        None
    }
}

/// Hides the names: many are a user's number and host.
impl fmt::Debug for Cnames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cnames").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Takes the first packet off a datagram.
fn split(datagram: &[u8]) -> Result<(&[u8], &[u8]), RtcpError> {
    let have = datagram.len();
    let Some(&[first, _, high, low]) = datagram.first_chunk() else {
        return Err(RtcpError::PastEnd { need: HEADER_BYTES, have });
    };
    if first >> 6 != 2 {
        return Err(RtcpError::Version { version: first >> 6 });
    }
    let need = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
    datagram.split_at_checked(need).ok_or(RtcpError::PastEnd { need, have })
}

/// Reads one packet, whose length [`split`] has checked.
fn read(packet: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let packet_type = packet.get(1).copied().unwrap_or_default();
    let body = |_: RtcpParseError| RtcpError::Body { packet_type, have: packet.len() };
    let blocks = |at: usize, count: u8| ReportBlocks {
        bytes: packet.get(at..at + usize::from(count) * REPORT_BLOCK_BYTES).unwrap_or_default(),
    };
    match packet_type {
        rtcp_types::SenderReport::PACKET_TYPE => {
            let sender = rtcp_types::SenderReport::parse(packet).map_err(body)?;
            let report = SenderReport {
                ssrc: sender.ssrc(),
                ntp: sender.ntp_timestamp(),
                rtp_time: sender.rtp_timestamp(),
                packets: sender.packet_count(),
                octets: sender.octet_count(),
            };
            let blocks = blocks(rtcp_types::SenderReport::MIN_PACKET_LEN, sender.n_reports());
            Ok(RtcpPacket::SenderReport { report, blocks })
        }
        ReceiverReport::PACKET_TYPE => {
            let receiver = ReceiverReport::parse(packet).map_err(body)?;
            let blocks = blocks(ReceiverReport::MIN_PACKET_LEN, receiver.n_reports());
            Ok(RtcpPacket::ReceiverReport { ssrc: receiver.ssrc(), blocks })
        }
        Bye::PACKET_TYPE => {
            let bye = Bye::parse(packet).map_err(body)?;
            let end = HEADER_BYTES + 4 * usize::from(bye.count());
            Ok(RtcpPacket::Bye(Ssrcs { bytes: packet.get(HEADER_BYTES..end).unwrap_or_default() }))
        }
        rtcp_types::Sdes::PACKET_TYPE => {
            let left = packet.first().copied().unwrap_or_default() & 0x1f;
            Ok(RtcpPacket::Sdes(Cnames { chunks: packet.get(HEADER_BYTES..).unwrap_or_default(), left }))
        }
        _ => Ok(RtcpPacket::Other { packet_type }),
    }
}

/// Finds the canonical name in a chunk's items. Returns also where the items end.
fn cname(items: &[u8]) -> (Option<&[u8]>, usize) {
    let mut name = None;
    let mut at = 0;
    while let Some(&[kind, length]) = items.get(at..at + 2)
        && kind != 0
    {
        let value_at = at + 2;
        let end = value_at + usize::from(length);
        if kind == SDES_CNAME && name.is_none() {
            name = items.get(value_at..end);
        }
        at = end;
    }
    (name, at)
}

const HEADER_BYTES: usize = 4;
const REPORT_BLOCK_BYTES: usize = 24;
const SDES_CNAME: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use rtcp_types::{Compound, CompoundBuilder, ReportBlock as Block, Sdes, SdesChunk, SdesItem};
    use rtcp_types::{RtcpPacketWriter as _, RtcpPacketWriterExt as _};

    fn written(compound: &CompoundBuilder<'_>) -> Vec<u8> {
        let mut bytes = vec![0; compound.calculate_size().unwrap()];
        compound.write_into(&mut bytes).unwrap();
        bytes
    }

    fn compound() -> Vec<u8> {
        let block =
            Block::builder(7).fraction_lost(3).cumulative_lost(0xff_fffe).extended_sequence_number(65_537);
        let sender = rtcp_types::SenderReport::builder(5)
            .ntp_timestamp(0x0102_0304_0506_0708)
            .rtp_timestamp(9)
            .packet_count(10)
            .octet_count(11)
            .add_report_block(block.interarrival_jitter(12));
        let sdes = Sdes::builder()
            .add_chunk(SdesChunk::builder(5).add_item(SdesItem::builder(SdesItem::CNAME, "a@b")))
            .add_chunk(SdesChunk::builder(6).add_item(SdesItem::builder(SdesItem::TOOL, "x")))
            .add_chunk(SdesChunk::builder(0x00ab_cdef).add_item(SdesItem::builder(SdesItem::CNAME, "four")));
        let bye = Bye::builder().add_source(5).add_source(6).reason("gone");
        written(&Compound::builder().add_packet(sender).add_packet(sdes).add_packet(bye))
    }

    #[test]
    fn a_compound_comes_apart() {
        let bytes = compound();
        let read: Vec<_> = packets(&bytes).map(Result::unwrap).collect();
        let [RtcpPacket::SenderReport { report, blocks }, RtcpPacket::Sdes(names), RtcpPacket::Bye(gone)] =
            read[..]
        else {
            panic!("{read:?}");
        };
        let ntp = 0x0102_0304_0506_0708;
        assert_eq!(report, SenderReport { ssrc: 5, ntp, rtp_time: 9, packets: 10, octets: 11 });
        let [block] = blocks.collect::<Vec<_>>()[..] else { panic!("one block") };
        assert_eq!((block.ssrc, block.fraction_lost, block.lost, block.jitter), (7, 3, -2, 12));
        assert_eq!(block.highest_sequence, 65_537);
        assert_eq!(names.collect::<Vec<_>>(), [(5, &b"a@b"[..]), (0x00ab_cdef, b"four")]);
        assert_eq!(gone.collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn what_comes_before_a_broken_tail_stands() {
        let bytes = compound();
        let cut = &bytes[..bytes.len() - 4];
        let read: Vec<_> = packets(cut).collect();
        assert!(
            matches!(read[..2], [Ok(RtcpPacket::SenderReport { .. }), Ok(RtcpPacket::Sdes(_))]),
            "{read:?}"
        );
        assert_eq!(read.len(), 3);
        assert!(matches!(read[2], Err(RtcpError::PastEnd { need: 20, have: 16 })), "{:?}", read[2]);
        let with_tail = [&bytes[..], &[0, 0, 0, 0]].concat();
        assert!(matches!(packets(&with_tail).last(), Some(Err(RtcpError::Version { version: 0 }))));
    }

    #[test]
    fn a_broken_body_does_not_take_the_rest_along() {
        // A receiver report that announces a block it has no room for, then a BYE without sources.
        let bytes = [0x81, 201, 0, 1, 0, 0, 0, 9, 0x80, 203, 0, 0];
        let read: Vec<_> = packets(&bytes).collect();
        assert!(matches!(read[0], Err(RtcpError::Body { packet_type: 201, have: 8 })), "{read:?}");
        assert!(matches!(read[1], Ok(RtcpPacket::Bye(_))), "{read:?}");
    }

    #[test]
    fn reduced_size_and_padded() {
        let feedback = [0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let read: Vec<_> = packets(&feedback).collect();
        assert!(matches!(read[..], [Ok(RtcpPacket::Other { packet_type: 205 })]), "{read:?}");
        let padded = [0xa1, 203, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4];
        let Some(Ok(RtcpPacket::Bye(gone))) = packets(&padded).next() else { panic!("padded BYE") };
        assert_eq!(gone.collect::<Vec<_>>(), [9]);
        assert!(packets(&[]).next().is_none());
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        let good = compound();
        let mut state = 5_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            bytes.truncate(next() as usize % (bytes.len() + 1));
            for _ in 0..4 {
                let at = next() as usize % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = next() as u8;
                }
            }
            for packet in packets(&bytes) {
                match packet {
                    Ok(
                        RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. },
                    ) => {
                        read += blocks.count();
                    }
                    Ok(RtcpPacket::Sdes(names)) => read += names.count(),
                    Ok(RtcpPacket::Bye(gone)) => read += gone.count(),
                    Ok(RtcpPacket::Other { .. }) => {}
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(read > 1_000 && refused > 1_000, "{read} {refused}");
    }
}
