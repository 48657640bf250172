//! One capture file: pcap or pcapng, plain or gzip.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, LegacyPcapBlock, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::base::frame::{FrameBlock, FrameMeta, LinkType};
use crate::base::limits::FRAME_BYTES_MAX;
use crate::base::time::Stamp;
use crate::shell::signals::Stop;
use crate::shell::source::{After, Damage, DamageKind, OpenError, is_stdin};

/// One capture file, read front to back.
pub(super) struct CaptureFile {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    decoder: Decoder,
    packets: u64,
    ended: bool,
    packed: bool,
    /// Bytes of the file.
    bytes: Option<u64>,
    /// Whether the rest may be read to the end, to say how long it is.
    finite: bool,
    trouble: Trouble,
}

/// Why reading failed: the readers of captures do not hand it on.
#[derive(Clone, Debug, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn note(&self, error: &std::io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    fn reason(&self) -> String {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        noted.unwrap_or_else(|| "input error".into())
    }
}

/// An input whose errors are noted.
struct Noted {
    input: Box<dyn Read + Send>,
    trouble: Trouble,
}

impl Read for Noted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(bytes).inspect_err(|error| self.trouble.note(error))
    }
}

/// What blocks mean depends on what came before them.
struct Decoder {
    legacy: bool,
    /// Of the current section.
    big_endian: bool,
    /// Of the current section; one for all in pcap.
    interfaces: Vec<Interface>,
    /// Interfaces of earlier sections: numbers are not used twice.
    interfaces_before: u16,
    last: Stamp,
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    resolution: Resolution,
    /// Longest packet that is kept whole; 0 where there is no such limit.
    snaplen: u32,
    /// Added to each time, in seconds (if_tsoffset).
    offset_secs: i64,
}

/// What one unit of a timestamp is.
#[derive(Clone, Copy)]
enum Resolution {
    /// 10^-n seconds.
    Decimal(u8),
    /// 2^-n seconds.
    Binary(u8),
}

impl CaptureFile {
    pub(super) fn open(path: &Path, stop: &Stop) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        if is_stdin(path) {
            let opened = Self::read(path, Box::new(Patient::stdin(stop).map_err(io)?))?;
            // What is behind a damage there may never end.
            return Ok(Self { finite: false, ..opened });
        }
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        let opened = Self::read(path, Box::new(file))?;
        Ok(Self { bytes, finite: bytes.is_some(), ..opened })
    }

    /// Reads `input`, which is called `path` in messages.
    pub(super) fn read(path: &Path, input: Box<dyn Read + Send>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        let trouble = Trouble::default();
        let noted = |input| Box::new(Noted { input, trouble: trouble.clone() });
        let Peeked { mut first, mut input, .. } = peek(noted(input)).map_err(io)?;
        let packed = first.starts_with(&GZIP_MAGIC);
        if packed {
            let unpacked = flate2::read::MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, input));
            Peeked { first, input, .. } = peek(noted(Box::new(unpacked))).map_err(io)?;
        }
        let mut decoder = Decoder {
            legacy: false,
            big_endian: false,
            interfaces: Vec::new(),
            interfaces_before: 0,
            last: Stamp::ZERO,
        };
        let known =
            first.starts_with(&PCAPNG_MAGIC) || PCAP_MAGICS.iter().any(|magic| first.starts_with(magic));
        let no_capture = |first: &[u8]| match known {
            true => OpenError::Header { path: path.into() },
            false => OpenError::Format { path: path.into(), first: first.to_vec() },
        };
        let reader: Box<dyn PcapReaderIterator + Send> = if first.starts_with(&PCAPNG_MAGIC) {
            Box::new(PcapNGReader::new(READ_BYTES, input).map_err(|_| no_capture(&first))?)
        } else if PCAP_MAGICS.iter().any(|magic| first.starts_with(magic)) {
            let mut reader = LegacyPcapReader::new(READ_BYTES, input).map_err(|_| no_capture(&first))?;
            decoder.legacy_header(&mut reader);
            Box::new(reader)
        } else {
            return Err(no_capture(&first));
        };
        Ok(Self {
            path: path.into(),
            reader,
            decoder,
            packets: 0,
            ended: false,
            packed,
            bytes: None,
            finite: true,
            trouble,
        })
    }

    /// Adds frames to `block` until it is full or the file ends. Returns where it is damaged, once.
    pub(super) fn fill(&mut self, block: &mut FrameBlock) -> Option<Damage> {
        while !self.ended && !block.is_full() {
            let before = block.frames.len();
            let step = match self.reader.next() {
                Ok((length, read)) => self.decoder.block(&read, block).map(|()| Step::Consume(length)),
                Err(PcapError::Eof) => Ok(Step::End),
                Err(PcapError::Incomplete(_)) => Ok(Step::Refill),
                Err(PcapError::BufferTooSmall) => Ok(Step::Grow),
                Err(PcapError::UnexpectedEof) => Err(DamageKind::Truncated),
                Err(PcapError::ReadError) => Err(DamageKind::Read { reason: self.trouble.reason() }),
                Err(_) => Err(DamageKind::Structure),
            };
            let step = match step {
                Ok(Step::Consume(length)) => {
                    self.packets += (block.frames.len() - before) as u64;
                    self.reader.consume(length);
                    continue;
                }
                Ok(Step::End) => {
                    self.ended = true;
                    continue;
                }
                Ok(Step::Refill) => self.refill(),
                Ok(Step::Grow) => self.grow(),
                Err(kind) => Err(kind),
            };
            if let Err(kind) = step {
                self.ended = true;
                let oversized = self.decoder.oversized(self.reader.data());
                let kind = if kind == DamageKind::Truncated { oversized.unwrap_or(kind) } else { kind };
                let offset = self.reader.consumed() as u64;
                let after = self.after(offset);
                return Some(Damage { path: self.path.clone(), packets: self.packets, offset, after, kind });
            }
        }
        None
    }

    /// How much there is from `offset` on. A packed file or a pipe must be read for that.
    fn after(&mut self, offset: u64) -> After {
        if let Some(bytes) = self.bytes.filter(|bytes| !self.packed && *bytes > offset) {
            return After { bytes: bytes - offset, whole: true };
        }
        let mut bytes = 0;
        loop {
            let here = self.reader.data().len();
            bytes += here as u64;
            self.reader.consume(here);
            if self.reader.reader_exhausted() {
                return After { bytes, whole: true };
            }
            if !self.finite || bytes >= REST_BYTES_MAX || self.reader.refill().is_err() {
                return After { bytes, whole: false };
            }
        }
    }

    fn refill(&mut self) -> Result<(), DamageKind> {
        if self.reader.reader_exhausted() || self.decoder.oversized(self.reader.data()).is_some() {
            return Err(DamageKind::Truncated);
        }
        // A record that does not fit the buffer would be waited for in vain.
        if self.reader.data().len() >= FRAME_BYTES_MAX {
            return self.grow();
        }
        match self.reader.refill() {
            Ok(()) => Ok(()),
            Err(PcapError::BufferTooSmall) => self.grow(),
            Err(PcapError::ReadError) => Err(DamageKind::Read { reason: self.trouble.reason() }),
            Err(_) => Err(DamageKind::Truncated),
        }
    }

    fn grow(&mut self) -> Result<(), DamageKind> {
        let now = self.reader.data().len();
        let wanted = (now * 2).max(2 * READ_BYTES);
        if wanted > 2 * BLOCK_BYTES_MAX || !self.reader.grow(wanted) {
            return Err(DamageKind::Oversized { claimed: wanted as u64 });
        }
        self.reader.refill().map_err(|_| DamageKind::Truncated)
    }
}

enum Step {
    Consume(usize),
    End,
    Grow,
    Refill,
}

impl Decoder {
    fn legacy_header(&mut self, reader: &mut LegacyPcapReader<impl Read>) {
        let Ok((length, PcapBlockOwned::LegacyHeader(header))) = reader.next() else { return };
        let resolution = Resolution::Decimal(if header.is_nanosecond_precision() { 9 } else { 6 });
        self.legacy = true;
        // The upper bits say how long the FCS is.
        let link = LinkType((header.network.0 & 0x03ff) as u16);
        self.interfaces.push(Interface { link, resolution, snaplen: 0, offset_secs: 0 });
        reader.consume(length);
    }

    /// Bytes that the record at the start of `data` claims to have, where that is more than any has.
    fn oversized(&self, data: &[u8]) -> Option<DamageKind> {
        let place = if self.legacy { 8..12 } else { 4..8 };
        let length = <[u8; 4]>::try_from(data.get(place)?).ok()?;
        // Right in its own byte order; the other one reads small lengths as huge ones.
        let claimed = u64::from(u32::from_le_bytes(length).min(u32::from_be_bytes(length)));
        let most = if self.legacy { FRAME_BYTES_MAX } else { BLOCK_BYTES_MAX };
        (claimed > most as u64).then_some(DamageKind::Oversized { claimed })
    }

    fn block(&mut self, read: &PcapBlockOwned<'_>, block: &mut FrameBlock) -> Result<(), DamageKind> {
        match read {
            PcapBlockOwned::Legacy(record) => self.record(record, block),
            PcapBlockOwned::LegacyHeader(_) => Ok(()),
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.big_endian = section.big_endian();
                self.interfaces_before = self.interfaces_before.saturating_add(self.interfaces.len() as u16);
                self.interfaces.clear();
                Ok(())
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let bits = interface.if_tsresol;
                let resolution = if bits & 0x80 == 0 {
                    Resolution::Decimal(bits)
                } else {
                    Resolution::Binary(bits & 0x7f)
                };
                let link = LinkType(interface.linktype.0 as u16);
                let (snaplen, offset_secs) = (interface.snaplen, interface.if_tsoffset);
                self.interfaces.push(Interface { link, resolution, snaplen, offset_secs });
                Ok(())
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let interface = self.interfaces.get(packet.if_id as usize).ok_or(DamageKind::Structure)?;
                let stamp = interface.stamp(units);
                let data = packet.packet_data();
                self.push(packet.if_id, stamp, packet.origlen, data, block)
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                // It says no captured length: what the snap length leaves, and then padding.
                let data = packet.packet_data();
                let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen as usize);
                let kept = if snaplen == 0 { data.len() } else { data.len().min(snaplen) };
                self.push(0, self.last, packet.origlen, &data[..kept], block)
            }
            PcapBlockOwned::NG(Block::Unknown(other)) if self.is_packet_block(other.block_type) => {
                self.packet_block(other.data, block)
            }
            PcapBlockOwned::NG(_) => Ok(()),
        }
    }

    /// The type is in the section's byte order, and read as little-endian.
    fn is_packet_block(&self, block_type: u32) -> bool {
        let ours = if self.big_endian { block_type.swap_bytes() } else { block_type };
        ours == PACKET_BLOCK
    }

    /// The obsolete Packet Block: interface and drops (16 bits each), time, captured and original length.
    fn packet_block(&mut self, body: &[u8], block: &mut FrameBlock) -> Result<(), DamageKind> {
        let (head, data) = body.split_at_checked(PACKET_BLOCK_HEAD_BYTES).ok_or(DamageKind::Structure)?;
        let (words, _) = head.as_chunks::<4>();
        let word = |index: usize| {
            let bytes = words.get(index).copied().unwrap_or_default();
            if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let interface = if self.big_endian { word(0) >> 16 } else { word(0) & 0xffff };
        let units = u64::from(word(1)) << 32 | u64::from(word(2));
        let (captured, wire_len) = (word(3) as usize, word(4));
        let stamp = self.interfaces.get(interface as usize).ok_or(DamageKind::Structure)?.stamp(units);
        let data = data.get(..captured).ok_or(DamageKind::Structure)?;
        self.push(interface, stamp, wire_len, data, block)
    }

    fn record(&mut self, record: &LegacyPcapBlock<'_>, block: &mut FrameBlock) -> Result<(), DamageKind> {
        let nanos = match self.interfaces.first().map(|interface| interface.resolution) {
            Some(Resolution::Decimal(9)) => u64::from(record.ts_usec),
            _ => u64::from(record.ts_usec) * 1_000,
        };
        let stamp = Stamp::from_unix_nanos(u64::from(record.ts_sec) * NANOS + nanos);
        self.push(0, stamp, record.origlen, record.data, block)
    }

    fn push(
        &mut self,
        interface: u32,
        stamp: Stamp,
        wire_len: u32,
        data: &[u8],
        block: &mut FrameBlock,
    ) -> Result<(), DamageKind> {
        if data.len() > FRAME_BYTES_MAX {
            return Err(DamageKind::Oversized { claimed: data.len() as u64 });
        }
        let link = self.interfaces.get(interface as usize).ok_or(DamageKind::Structure)?.link;
        self.last = stamp;
        let number = self.interfaces_before.saturating_add(u16::try_from(interface).unwrap_or(u16::MAX));
        let meta = FrameMeta {
            stamp,
            number: 0,
            offset: 0,
            len: 0,
            wire_len: wire_len.max(data.len() as u32),
            link,
            interface: number,
        };
        block.push(meta, data);
        Ok(())
    }
}

impl Interface {
    fn stamp(&self, units: u64) -> Stamp {
        let nanos = match self.resolution {
            Resolution::Decimal(digits @ 0..=9) => u128::from(units) * 10_u128.pow(9 - u32::from(digits)),
            Resolution::Decimal(digits) => {
                10_u128.checked_pow(u32::from(digits) - 9).map_or(0, |per_nano| u128::from(units) / per_nano)
            }
            Resolution::Binary(bits) => (u128::from(units) * u128::from(NANOS)) >> bits.min(127),
        };
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset_secs) * i128::from(NANOS);
        let nanos = nanos.saturating_add(offset).clamp(0, i128::from(u64::MAX));
        Stamp::from_unix_nanos(nanos as u64)
    }
}

/// An input whose beginning is known.
struct Peeked {
    first: Vec<u8>,
    /// Begins with `first` still.
    input: Box<dyn Read + Send>,
}

/// Reads the first bytes. Where reading fails after some, these are read first, and the error is met again.
fn peek(mut input: Box<dyn Read + Send>) -> std::io::Result<Peeked> {
    let mut bytes = Vec::new();
    let failed = input.by_ref().take(PEEK_BYTES).read_to_end(&mut bytes).err();
    let first = bytes[..bytes.len().min(4)].to_vec();
    let bytes = Cursor::new(bytes);
    let input: Box<dyn Read + Send> = match failed {
        Some(error) if first.is_empty() => return Err(error),
        Some(error) => Box::new(bytes.chain(Failed(error))),
        None => Box::new(bytes.chain(input)),
    };
    Ok(Peeked { first, input })
}

/// An input that has failed.
struct Failed(std::io::Error);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::new(self.0.kind(), self.0.to_string()))
    }
}

/// Standard input, which may give nothing for hours and is left when a stop is asked.
struct Patient {
    // Not through `std::io::Stdin`: what its buffer holds, `poll` does not see.
    input: File,
    stop: Stop,
}

impl Patient {
    fn stdin(stop: &Stop) -> std::io::Result<Self> {
        let input = std::io::stdin().as_fd().try_clone_to_owned()?.into();
        Ok(Self { input, stop: stop.clone() })
    }
}

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.stop.asked() {
                return Ok(0);
            }
            let mut asked = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut asked, Some(&LOOK_UP_EVERY)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.input.read(bytes),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How long a stop may go unseen.
const LOOK_UP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const NANOS: u64 = 1_000_000_000;
/// Read at once, and the longest ordinary block.
const READ_BYTES: usize = 1 << 20;
/// Enough for the first header: the readers want it whole at their first read.
const PEEK_BYTES: u64 = 64 * 1024;
/// Longest block of a pcapng that is waited for.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Of a packed file or a pipe, so much after a damage is read to say how much it is.
const REST_BYTES_MAX: u64 = 1 << 30;
/// Block type of the obsolete Packet Block.
const PACKET_BLOCK: u32 = 2;
/// What stands before its packet.
const PACKET_BLOCK_HEAD_BYTES: usize = 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Microseconds, nanoseconds, and Kuznetzov's; each in both byte orders.
const PCAP_MAGICS: [[u8; 4]; 6] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xcd, 0x34],
];
