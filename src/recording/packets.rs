//! A call's own packets as pcapng: as captured, every interface with its link type, nanoseconds.
//!
//! Written front to back, so that it can be sealed as it grows (pcapng, draft-ietf-opsawg-pcapng).

use crate::base::frame::{FrameMeta, LinkType};

/// Writes one section. Appends to the caller's buffer.
#[derive(Debug, Default)]
pub struct PacketWriter {
    /// Capture interfaces in the order in which this section describes them.
    interfaces: Vec<(u16, LinkType)>,
    started: bool,
}

impl PacketWriter {
    /// Appends a frame, and the section and interface headers it is the first to need.
    pub fn frame(&mut self, frame: &FrameMeta, data: &[u8], out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            section(out);
        }
        let key = (frame.interface, frame.link);
        let interface = self.interfaces.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.interfaces.push(key);
            interface(frame.link, out);
            self.interfaces.len() - 1
        });
        let padded = data.len().next_multiple_of(4);
        let block = (EPB_OVERHEAD + padded) as u32;
        let nanos = frame.stamp.as_unix_nanos();
        let mut head = [0_u8; 28];
        let fields = [
            0x0000_0006,
            block,
            interface as u32,
            (nanos >> 32) as u32,
            nanos as u32,
            data.len() as u32,
            frame.wire_len,
        ];
        for (place, field) in head.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&head);
        out.extend_from_slice(data);
        out.extend_from_slice(&[0; 3][..padded - data.len()]);
        out.extend_from_slice(&block.to_le_bytes());
    }
}

fn section(out: &mut Vec<u8>) {
    let application = concat!("sejf ", env!("CARGO_PKG_VERSION")).as_bytes();
    let padded = application.len().next_multiple_of(4);
    let block = (28 + 4 + padded + 4) as u32;
    out.extend_from_slice(&0x0a0d_0d0a_u32.to_le_bytes());
    out.extend_from_slice(&block.to_le_bytes());
    out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
    out.extend_from_slice(&[1, 0, 0, 0]);
    out.extend_from_slice(&u64::MAX.to_le_bytes());
    out.extend_from_slice(&SHB_USERAPPL.to_le_bytes());
    out.extend_from_slice(&(application.len() as u16).to_le_bytes());
    out.extend_from_slice(application);
    out.extend_from_slice(&[0; 3][..padded - application.len()]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&block.to_le_bytes());
}

fn interface(link: LinkType, out: &mut Vec<u8>) {
    let block = 32_u32;
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&block.to_le_bytes());
    out.extend_from_slice(&link.0.to_le_bytes());
    out.extend_from_slice(&[0; 2 + 4]);
    out.extend_from_slice(&IF_TSRESOL.to_le_bytes());
    out.extend_from_slice(&[1, 0, 9, 0, 0, 0]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&block.to_le_bytes());
}

/// Bytes of an enhanced packet block besides its data.
const EPB_OVERHEAD: usize = 32;
const SHB_USERAPPL: u16 = 4;
const IF_TSRESOL: u16 = 9;

#[cfg(test)]
mod tests {
    use pcap_parser::traits::PcapReaderIterator;

    use super::*;
    use crate::base::time::Stamp;

    /// Read back by a library that others wrote.
    #[test]
    fn another_reader_finds_frames_interfaces_and_nanoseconds() {
        let mut writer = PacketWriter::default();
        let mut out = Vec::new();
        let frame = |interface, link, nanos| FrameMeta {
            stamp: Stamp::from_unix_nanos(nanos),
            number: 1,
            offset: 0,
            len: 5,
            wire_len: 9,
            link,
            interface,
        };
        writer.frame(&frame(0, LinkType::ETHERNET, 1_795_468_121_220_582_001), b"first", &mut out);
        writer.frame(&frame(3, LinkType::RAW, 1_795_468_121_220_582_002), b"second!", &mut out);
        writer.frame(&frame(0, LinkType::ETHERNET, 1_795_468_121_220_582_003), b"3rd.", &mut out);

        let mut reader = pcap_parser::PcapNGReader::new(65_536, out.as_slice()).unwrap();
        let (mut links, mut packets) = (Vec::new(), Vec::new());
        while let Ok((offset, block)) = reader.next() {
            if let pcap_parser::PcapBlockOwned::NG(block) = block {
                match block {
                    pcap_parser::Block::InterfaceDescription(interface) => {
                        assert_eq!(interface.if_tsresol, 9);
                        links.push(interface.linktype.0);
                    }
                    pcap_parser::Block::EnhancedPacket(packet) => {
                        let nanos = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                        let data = packet.data[..packet.caplen as usize].to_vec();
                        packets.push((packet.if_id, nanos, packet.origlen, data));
                    }
                    _ => {}
                }
            }
            reader.consume(offset);
        }
        assert_eq!(links, [1, 101]);
        assert_eq!(packets[0], (0, 1_795_468_121_220_582_001, 9, b"first".to_vec()));
        assert_eq!(packets[1], (1, 1_795_468_121_220_582_002, 9, b"second!".to_vec()));
        assert_eq!(packets[2].0, 0);
    }
}
