//! Ogg Opus with two mono streams side by side (RFC 7845): each side of a call has its own encoder
//! or is carried as it came, and its own channel.

use ::ogg::writing::{PacketWriteEndInfo, PacketWriter};

/// What the two header packets say.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Samples at 48 kHz to leave out at the start.
    pub pre_skip: u16,
    /// Rate of what was encoded; only told, not used.
    pub input_rate_hz: u32,
    /// Names the program.
    pub vendor: &'a str,
    /// `NAME=value` each.
    pub comments: &'a [String],
    /// Tells logical streams of one file apart.
    pub serial: u32,
}

/// Packets to pages, one page a second unless asked otherwise.
pub struct OggOpus {
    writer: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    packets: u64,
    page_packets: u64,
    /// The latest packet, which may turn out to be the last.
    held: Option<Vec<u8>>,
}

impl OggOpus {
    /// Begins a file: appends the header pages to `out`.
    pub fn new(head: &Head<'_>, out: &mut Vec<u8>) -> Self {
        Self::with_headers(head.serial, opus_head(head), opus_tags(head), out)
    }

    /// The same with header packets as another file has them.
    pub fn with_headers(serial: u32, head: Vec<u8>, tags: Vec<u8>, out: &mut Vec<u8>) -> Self {
        let writer = PacketWriter::new(Vec::new());
        let mut file = Self { writer, serial, packets: 0, page_packets: PAGE_PACKETS, held: None };
        file.put(head, PacketWriteEndInfo::EndPage, 0);
        file.put(tags, PacketWriteEndInfo::EndPage, 0);
        file.drain(out);
        file
    }

    /// Ends a page after so many packets of 20 ms: a shorter page costs some 40 bytes more often, and what
    /// stands in a page that is not full is not in the file yet.
    pub fn with_pages(mut self, packets: u64) -> Self {
        self.page_packets = packets.max(1);
        self
    }

    /// Adds 20 ms; appends a page to `out` where one is full.
    pub fn packet(&mut self, packet: Vec<u8>, out: &mut Vec<u8>) {
        if let Some(held) = self.held.replace(packet) {
            self.packets += 1;
            let full = self.packets.is_multiple_of(self.page_packets);
            let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.put(held, end, self.packets * PACKET_SAMPLES);
            if full {
                self.drain(out);
            }
        }
    }

    /// Ends the file. `granule` is pre-skip and samples at 48 kHz, and cuts what the last packet has
    /// more (RFC 7845 section 4.4).
    pub fn finish(mut self, granule: u64, out: &mut Vec<u8>) {
        let last = self.held.take().unwrap_or_default();
        self.put(last, PacketWriteEndInfo::EndStream, granule);
        self.drain(out);
    }

    fn put(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo, granule: u64) {
        self.writer
            .write_packet(packet, self.serial, end, granule)
            .expect("writing to a vector does not fail");
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.inner_mut());
    }
}

/// RFC 7845 section 5.1: mapping family 1, two uncoupled streams.
fn opus_head(head: &Head<'_>) -> Vec<u8> {
    let mut packet = b"OpusHead\x01\x02".to_vec();
    packet.extend(head.pre_skip.to_le_bytes());
    packet.extend(head.input_rate_hz.to_le_bytes());
    packet.extend(0_u16.to_le_bytes());
    packet.extend([1, 2, 0, 0, 1]);
    packet
}

/// Samples at 48 kHz to leave out at the start, where this is a header as [`OggOpus`] writes it.
pub fn pre_skip(head: &[u8]) -> Option<u64> {
    let is_ours = head.len() == 23 && head.starts_with(b"OpusHead\x01\x02") && head[18..] == [1, 2, 0, 0, 1];
    is_ours.then(|| u64::from(u16::from_le_bytes([head[10], head[11]])))
}

/// RFC 7845 section 5.2.
fn opus_tags(head: &Head<'_>) -> Vec<u8> {
    let mut packet = b"OpusTags".to_vec();
    let mut text = |text: &str| {
        packet.extend((text.len() as u32).to_le_bytes());
        packet.extend(text.as_bytes());
    };
    text(head.vendor);
    let mut list = Vec::new();
    for comment in head.comments {
        list.extend((comment.len() as u32).to_le_bytes());
        list.extend(comment.as_bytes());
    }
    packet.extend((head.comments.len() as u32).to_le_bytes());
    packet.extend(list);
    packet
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// A page or block of so many bytes.
    Whole(usize),
    /// The start of one.
    More,
    /// None, whatever may follow.
    Broken,
}

/// Looks for a page of Ogg (RFC 3533 section 6).
pub fn page_bytes(bytes: &[u8]) -> Unit {
    let mark = bytes.len().min(PAGE_MARK.len());
    if bytes[..mark] != PAGE_MARK[..mark] {
        return Unit::Broken;
    }
    let Some(count) = bytes.get(26) else { return Unit::More };
    let body_at = PAGE_HEAD_BYTES + usize::from(*count);
    let Some(lacing) = bytes.get(PAGE_HEAD_BYTES..body_at) else { return Unit::More };
    let length = body_at + lacing.iter().map(|value| usize::from(*value)).sum::<usize>();
    if bytes.len() < length { Unit::More } else { Unit::Whole(length) }
}

/// Marks a page as the last of its stream. Returns its granule position, where it has one: pre-skip and
/// samples at 48 kHz.
pub fn end_stream(page: &mut [u8]) -> Option<u64> {
    let granule = page.get(6..14)?.try_into().ok().map(u64::from_le_bytes)?;
    *page.get_mut(5)? |= END_OF_STREAM;
    page.get_mut(22..26)?.fill(0);
    let checksum = page.iter().fold(0_u32, |crc, byte| {
        // Most significant bit first, from zero, as RFC 3533 has it.
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    });
    page.get_mut(22..26)?.copy_from_slice(&checksum.to_le_bytes());
    (granule != u64::MAX).then_some(granule)
}

const PAGE_MARK: &[u8; 5] = b"OggS\0";
const PAGE_HEAD_BYTES: usize = 27;
const END_OF_STREAM: u8 = 4;
/// 20 ms at 48 kHz.
pub const PACKET_SAMPLES: u64 = 960;
/// One second.
pub const PAGE_PACKETS: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(packets: usize, granule: u64) -> Vec<u8> {
        let comments = ["ENCODER=test".to_owned()];
        let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &comments, serial: 7 };
        let mut out = Vec::new();
        let mut file = OggOpus::new(&head, &mut out);
        (0..packets).for_each(|_| file.packet(vec![0x98, 2, 0xff, 0xfe, 0x98, 0xff, 0xfe], &mut out));
        file.finish(granule, &mut out);
        out
    }

    #[test]
    fn pages_come_once_a_second_and_the_last_has_the_exact_granule() {
        let bytes = file(120, 115_000);
        let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(bytes));
        let mut granules = Vec::new();
        let mut last = None;
        while let Some(packet) = reader.read_packet().unwrap() {
            assert_eq!(packet.stream_serial(), 7);
            if packet.last_in_page() {
                granules.push(packet.absgp_page());
            }
            last = Some(packet);
        }
        assert_eq!(granules, [0, 0, 48_000, 96_000, 115_000]);
        assert!(last.unwrap().last_in_stream());
    }

    #[test]
    fn head_is_that_of_two_uncoupled_streams() {
        let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(file(1, 960)));
        let head = reader.read_packet().unwrap().unwrap();
        assert_eq!(pre_skip(&head.data), Some(312));
        assert_eq!(pre_skip(&head.data[..22]), None);
        assert_eq!(head.data, b"OpusHead\x01\x02\x38\x01\x40\x1f\x00\x00\x00\x00\x01\x02\x00\x00\x01");
        let tags = reader.read_packet().unwrap().unwrap();
        assert_eq!(tags.data, b"OpusTags\x01\x00\x00\x00v\x01\x00\x00\x00\x0c\x00\x00\x00ENCODER=test");
    }
}
