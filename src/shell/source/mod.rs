//! Capture files as blocks of frames: one file, several merged by time, or standard input.

mod file;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::base::frame::FrameBlock;
use crate::base::time::Stamp;
use crate::shell::signals::Stop;
use crate::shell::source::file::CaptureFile;

/// Why a capture could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Neither pcap nor pcapng, nor gzip of either.
    #[error("`{path}` is neither pcap nor pcapng (nor gzip of either): its first bytes are {first:02x?}")]
    Format {
        /// The file.
        path: PathBuf,
        /// How it begins.
        first: Vec<u8>,
    },
    /// It begins as a capture does, and ends or makes no sense within its header.
    #[error("capture `{path}` ends or makes no sense within its header: there is no packet in it")]
    Header {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("opening capture `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a capture file stops making sense. What came before was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Packets read from this file before the damage.
    pub packets: u64,
    /// Bytes read from this file (uncompressed) before the damage.
    pub offset: u64,
    /// How much comes after it.
    pub after: After,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// How much of a capture is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct After {
    /// Bytes (uncompressed).
    pub bytes: u64,
    /// Whether that is all: a pipe, and what cannot be unpacked, is not read to its end.
    pub whole: bool,
}

/// What is wrong with a capture file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// A record or block claims more bytes than any packet has.
    #[error("a record of {claimed} bytes, more than any frame has")]
    Oversized {
        /// Bytes claimed.
        claimed: u64,
    },
    /// Reading failed: the disk, or the gzip stream.
    #[error("reading failed: {reason}")]
    Read {
        /// Why, in a few words.
        reason: String,
    },
    /// A block contradicts itself.
    #[error("a block contradicts itself")]
    Structure,
    /// The file ends inside a record.
    #[error("the file ends inside a record")]
    Truncated,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, packets, offset, after: After { bytes, whole }, kind } = self;
        let least = if *whole { "" } else { "at least " };
        write!(
            f,
            "capture `{}` is damaged after packet {packets}, at byte {offset}: {kind}; what came before was recorded, {least}{bytes} bytes after it were not",
            path.display()
        )
    }
}

/// One or several captures as one sequence of frames.
pub struct Captures {
    files: Vec<Lookahead>,
    /// Files that have a frame to give, by its time, then by the order of the files.
    order: BinaryHeap<Reverse<(Stamp, usize)>>,
    number: u64,
    damages: Vec<Damage>,
    stop: Stop,
    stopped: bool,
}

struct Lookahead {
    file: CaptureFile,
    block: FrameBlock,
    next: usize,
    /// Added to the file's own interface numbers.
    interfaces_from: u16,
}

impl Captures {
    /// Opens `paths`; `-` is standard input.
    pub fn open(paths: &[PathBuf]) -> Result<Self, OpenError> {
        Self::open_until(paths, &Stop::default())
    }

    /// [`Captures::open`], and reads until `stop` is asked, also where standard input has nothing to give.
    pub fn open_until(paths: &[PathBuf], stop: &Stop) -> Result<Self, OpenError> {
        let files: Result<_, _> = paths.iter().map(|path| CaptureFile::open(path, stop)).collect();
        Ok(Self { stop: stop.clone(), ..Self::of(files?) })
    }

    /// Reads captures that are no files; each is called `name` in messages.
    pub fn read(
        name: &Path,
        inputs: impl IntoIterator<Item = Box<dyn Read + Send>>,
    ) -> Result<Self, OpenError> {
        let files = inputs.into_iter().map(|input| CaptureFile::read(name, input));
        files.collect::<Result<_, _>>().map(Self::of)
    }

    fn of(files: Vec<CaptureFile>) -> Self {
        let ahead = |file| Lookahead { file, block: FrameBlock::default(), next: 0, interfaces_from: 0 };
        let files: Vec<_> = files.into_iter().map(ahead).collect();
        let mut captures = Self {
            files,
            order: BinaryHeap::new(),
            number: 0,
            damages: Vec::new(),
            stop: Stop::default(),
            stopped: false,
        };
        if captures.files.len() > 1 {
            // Each file gets a range of interface numbers of its own.
            let step = u16::MAX / u16::try_from(captures.files.len()).unwrap_or(u16::MAX).max(1);
            for index in 0..captures.files.len() {
                captures.files[index].interfaces_from = step.saturating_mul(index as u16);
                captures.look_ahead(index);
            }
        }
        captures
    }

    /// Fills `block` with the next frames. Returns false when there are no more.
    pub fn fill(&mut self, block: &mut FrameBlock) -> bool {
        block.clear();
        if self.stop.asked() {
            self.stopped = true;
            return false;
        }
        if let [only] = self.files.as_mut_slice() {
            let damage = only.file.fill(block);
            self.damaged(damage);
        } else {
            self.merge(block);
        }
        for frame in &mut block.frames {
            self.number += 1;
            frame.number = self.number;
        }
        !block.frames.is_empty()
    }

    fn merge(&mut self, block: &mut FrameBlock) {
        while !block.is_full() {
            let Some(Reverse((_, index))) = self.order.pop() else { return };
            let Lookahead { block: ahead, next, interfaces_from, .. } = &mut self.files[index];
            let mut frame = ahead.frames[*next];
            frame.interface = interfaces_from.saturating_add(frame.interface);
            block.push(frame, ahead.data(&ahead.frames[*next]));
            *next += 1;
            self.look_ahead(index);
        }
    }

    /// Puts the next frame of a file into the order, reading on where its block is used up.
    fn look_ahead(&mut self, index: usize) {
        let Lookahead { file, block, next, .. } = &mut self.files[index];
        if *next >= block.frames.len() {
            block.clear();
            *next = 0;
            let damage = file.fill(block);
            self.damaged(damage);
        }
        let Lookahead { block, next, .. } = &self.files[index];
        if let Some(frame) = block.frames.get(*next) {
            self.order.push(Reverse((frame.stamp, index)));
        }
    }

    fn damaged(&mut self, damage: Option<Damage>) {
        // A record that is not waited for any more is no damage.
        let cut_by_us = |damage: &Damage| self.stop.asked() && damage.kind == DamageKind::Truncated;
        self.damages.extend(damage.filter(|damage| !cut_by_us(damage)));
    }

    /// Whether reading ended because it was asked to, before the captures did.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What was wrong with the files, in the order in which it was met.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }
}

/// Whether a path means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::base::frame::LinkType;

    fn pcap(records: &[(u32, &[u8])], link: u32) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
        file.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend_from_slice(&65_535_u32.to_le_bytes());
        file.extend_from_slice(&link.to_le_bytes());
        for (seconds, data) in records {
            for field in [*seconds, 7, data.len() as u32, data.len() as u32 + 1] {
                file.extend_from_slice(&field.to_le_bytes());
            }
            file.extend_from_slice(data);
        }
        file
    }

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read_all(captures: &mut Captures) -> Vec<(u64, u64, Vec<u8>)> {
        let (mut block, mut frames) = (FrameBlock::default(), Vec::new());
        while captures.fill(&mut block) {
            for frame in &block.frames {
                let seconds = frame.stamp.as_unix_nanos() / 1_000_000_000;
                frames.push((frame.number, seconds, block.data(frame).to_vec()));
            }
        }
        frames
    }

    #[test]
    fn several_files_are_merged_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let a = write(dir.path(), "a.pcap", &pcap(&[(1, b"a1"), (4, b"a4")], 1));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&pcap(&[(2, b"b2"), (3, b"b3")], 101)).unwrap();
        let b = write(dir.path(), "b.pcap.gz", &packed.finish().unwrap());
        let mut captures = Captures::open(&[a, b]).unwrap();
        let mut block = FrameBlock::default();
        assert!(captures.fill(&mut block));
        let links: Vec<_> = block.frames.iter().map(|frame| frame.link).collect();
        assert_eq!(links, [LinkType::ETHERNET, LinkType::RAW, LinkType::RAW, LinkType::ETHERNET]);
        let data: Vec<_> = block.frames.iter().map(|frame| block.data(frame)).collect();
        assert_eq!(data, [b"a1", b"b2", b"b3", b"a4"]);
        assert_ne!(block.frames[0].interface, block.frames[1].interface);
        assert_eq!(block.frames[3].number, 4);
        assert_eq!(block.frames[3].wire_len, 3);
        assert!(captures.damages().is_empty());
    }

    #[test]
    fn a_cut_file_gives_what_came_before_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let whole = pcap(&[(1, b"first"), (2, b"second")], 1);
        for cut in 25..whole.len() {
            let path = write(dir.path(), "cut.pcap", &whole[..cut]);
            let mut captures = Captures::open(&[path]).unwrap();
            let frames = read_all(&mut captures);
            let expected = usize::from(cut >= 45);
            assert_eq!(frames.len(), expected, "cut at {cut}");
            let between_records = cut == 45;
            assert_eq!(captures.damages().is_empty(), between_records, "cut at {cut}");
            if let [damage] = captures.damages() {
                assert_eq!((damage.packets, damage.kind.clone()), (expected as u64, DamageKind::Truncated));
            }
        }
    }

    #[test]
    fn a_record_that_claims_too_much_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = pcap(&[(1, b"first"), (2, b"second")], 1);
        file[45 + 8..45 + 12].copy_from_slice(&0x7fff_ff7f_u32.to_le_bytes());
        let path = write(dir.path(), "big.pcap", &file);
        let mut captures = Captures::open(&[path]).unwrap();
        assert_eq!(read_all(&mut captures).len(), 1);
        assert_eq!(captures.damages()[0].kind, DamageKind::Oversized { claimed: 0x7fff_ff7f });
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_packed_file_that_is_cut_early_is_read_up_to_there() {
        let dir = tempfile::tempdir().unwrap();
        let whole = pcap(&[(1, b"first"), (2, b"second")], 1);
        let packed = gzip(&whole);
        // A trailer of 8 bytes, and then bytes of the second packet.
        for less in 9..=14 {
            let path = write(dir.path(), "cut.pcap.gz", &packed[..packed.len() - less]);
            let mut captures = Captures::open(&[path]).unwrap();
            assert_eq!(read_all(&mut captures).len(), 1, "{less} bytes less");
            let [damage] = captures.damages() else { panic!("{:?}", captures.damages()) };
            assert!(matches!(damage.kind, DamageKind::Read { .. }), "{damage}");
            assert_eq!((damage.packets, damage.offset), (1, 45));
            assert!(!damage.after.whole && !damage.to_string().contains("input error"), "{damage}");
        }
        let short = &packed[..packed.len() - whole.len()];
        for (name, bytes) in [("header.pcap.gz", short), ("header.pcap", &whole[..20])] {
            let error = Captures::open(&[write(dir.path(), name, bytes)]).err().unwrap();
            assert!(matches!(error, OpenError::Header { .. }), "{error}");
        }
    }

    #[test]
    fn what_comes_after_a_damage_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = pcap(&[(1, b"first"), (2, b"second"), (3, b"third")], 1);
        file[45 + 8..45 + 12].copy_from_slice(&0x7fff_ff7f_u32.to_le_bytes());
        file.resize(3 << 20, 0);
        let after = After { bytes: (3 << 20) - 45, whole: true };
        for (name, bytes) in [("a.pcap", file.clone()), ("a.pcap.gz", gzip(&file))] {
            let mut captures = Captures::open(&[write(dir.path(), name, &bytes)]).unwrap();
            assert_eq!(read_all(&mut captures).len(), 1);
            assert_eq!(captures.damages()[0].after, after, "{name}");
        }
        let mut captures =
            Captures::read(Path::new("pipe"), [Box::new(std::io::Cursor::new(file)) as _]).unwrap();
        assert_eq!(read_all(&mut captures).len(), 1);
        assert_eq!(captures.damages()[0].after, after);
    }

    /// A pcapng of one interface in either byte order: an Enhanced, a Simple and an obsolete Packet Block.
    fn pcapng(big: bool) -> Vec<u8> {
        let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let block = |kind: u32, body: &[u8]| {
            let padding = body.len().next_multiple_of(4) - body.len();
            let length = word(12 + (body.len() + padding) as u32);
            [&word(kind), &length, body, &[0; 3][..padding], &length].concat()
        };
        let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
        // Snap length 5.
        let interface = [&half(1)[..], &half(0), &word(5)].concat();
        let micros = 7_000_000_u64;
        let (high, low) = (word((micros >> 32) as u32), word(micros as u32));
        let enhanced = [&word(0)[..], &high, &low, &word(3), &word(3), b"one"].concat();
        let simple = [&word(9)[..], b"two-t"].concat();
        let obsolete = [&half(0)[..], &half(4), &high, &low, &word(5), &word(11), b"three"].concat();
        [
            block(0x0a0d_0d0a, &section),
            block(1, &interface),
            block(6, &enhanced),
            block(3, &simple),
            block(2, &obsolete),
        ]
        .concat()
    }

    #[test]
    fn all_three_kinds_of_packet_blocks_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for big in [false, true] {
            let path = write(dir.path(), "blocks.pcapng", &pcapng(big));
            let mut captures = Captures::open(&[path]).unwrap();
            let mut block = FrameBlock::default();
            assert!(captures.fill(&mut block), "big-endian: {big}: {:?}", captures.damages());
            let frames: Vec<_> = block
                .frames
                .iter()
                .map(|frame| (block.data(frame), frame.wire_len, frame.stamp.as_unix_millis()))
                .collect();
            let want: [(&[u8], u32, u64); 3] =
                [(b"one", 3, 7_000), (b"two-t", 9, 7_000), (b"three", 11, 7_000)];
            assert_eq!(frames, want, "big-endian: {big}");
            assert!(captures.damages().is_empty());
            // One that claims more than its block has: captured length 9 of 8.
            let mut bytes = pcapng(big);
            let claimed = bytes.len() - 4 - 8 - 8;
            let nine = if big { 9_u32.to_be_bytes() } else { 9_u32.to_le_bytes() };
            bytes[claimed..claimed + 4].copy_from_slice(&nine);
            let mut captures = Captures::open(&[write(dir.path(), "claims.pcapng", &bytes)]).unwrap();
            assert_eq!(read_all(&mut captures).len(), 2);
            assert_eq!(captures.damages()[0].kind, DamageKind::Structure);
        }
    }

    #[test]
    fn what_is_no_capture_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "notes.txt", b"hello");
        let error = Captures::open(&[path]).err().unwrap().to_string();
        assert!(error.contains("notes.txt") && error.contains("neither pcap nor pcapng"), "{error}");
        assert!(matches!(Captures::open(&["/nonexistent".into()]), Err(OpenError::Io { .. })));
    }
}
