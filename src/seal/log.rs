//! The log of receipts as files: C2SP `tlog-tiles`.
//!
//! ```text
//! checkpoint                 signed: size and root
//! tile/entries/000.p/3       entries, each after its length (u16, big-endian), 256 in a bundle
//! tile/0/000.p/3             their hashes, 256 in a tile
//! tile/1/000                 hashes of full tiles of level 0; and so on
//! ```
//!
//! Files are immutable: one that is not full has its width in its name. [`Log`] keeps the right edge of
//! the tree only (at most 256 hashes a level), so that appending hashes each entry about twice however
//! long the log is. It does no I/O: the shell writes what [`Log::files_changed`] gives, then the
//! checkpoint, and may then remove what [`Log::take_superseded`] names.

use crate::seal::note::Checkpoint;
use crate::seal::note::NoteError;
use crate::seal::note::Signer;
use crate::seal::note::VerifyKey;
use crate::seal::tree::HASH_BYTES;
use crate::seal::tree::Hash;
use crate::seal::tree::perfect_root;

/// A log that is being written.
#[derive(Debug, Default)]
pub struct Log {
    size: u64,
    /// By level, the hashes of the tile that is not full yet.
    levels: Vec<Vec<Hash>>,
    /// The bundle that is not full yet.
    bundle: Vec<u8>,
    /// Tiles and bundles that have become full since the last commit.
    full: Vec<(String, Vec<u8>)>,
    /// Size at the last commit.
    committed: u64,
    superseded: Vec<String>,
}

/// Why a log cannot be continued, or is not what its keeper signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A file holds entries or hashes that the checkpoint does not know.
    #[error("{path} is not covered by the checkpoint: it was written after it, or put there")]
    Beyond {
        /// Path in the log's folder.
        path: String,
    },
    /// A bundle is not a sequence of entries of the right number.
    #[error("{path} is malformed")]
    Bundle {
        /// Path in the log's folder.
        path: String,
    },
    /// Entries are not those that were signed.
    #[error("entry {index} or one near it is not the one that was signed")]
    EntryChanged {
        /// The first entry whose hash is not that of its tile, or where all are, the first of the log.
        index: u64,
    },
    /// An entry does not fit its length field.
    #[error("an entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}")]
    EntryTooLong {
        /// Bytes of the entry.
        bytes: usize,
    },
    /// A file is not there.
    #[error("{path} is missing")]
    Missing {
        /// Path in the log's folder.
        path: String,
    },
    /// The checkpoint is not signed by the recorder, or is malformed.
    #[error("the checkpoint is not valid: {0}")]
    Note(#[from] NoteError),
    /// A tile does not hold the hashes of what is below it.
    #[error("{path} does not fit the entries that were signed")]
    TileChanged {
        /// Path in the log's folder.
        path: String,
    },
}

/// Reads a file of the log by its path, or returns `None` where it is not there.
pub type ReadFile<'a> = dyn Fn(&str) -> Option<Vec<u8>> + 'a;

impl Log {
    /// Begins an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up a log at its signed checkpoint. What was appended after that is not taken up: nobody
    /// signed it.
    pub fn resume(read: &ReadFile<'_>, key: &VerifyKey) -> Result<Self, LogError> {
        let checkpoint = read_checkpoint(read, key)?;
        let mut log = Self { size: checkpoint.size, committed: checkpoint.size, ..Self::default() };
        for file in TileFile::partial_of(checkpoint.size) {
            let path = file.path();
            let bytes = read(&path).ok_or_else(|| LogError::Missing { path: path.clone() })?;
            match file.level {
                None => log.bundle = bytes,
                Some(level) => {
                    let hashes = parse_tile(&bytes, file.width).ok_or(LogError::TileChanged { path })?;
                    log.levels.resize(usize::from(level), Vec::new());
                    log.levels.push(hashes);
                }
            }
        }
        if log.root() != checkpoint.root {
            return Err(LogError::TileChanged { path: CHECKPOINT_PATH.into() });
        }
        let edge = log.levels.first().map_or(&[][..], |hashes| hashes);
        let entries = parse_bundle(&log.bundle, edge.len());
        if entries
            .is_none_or(|entries| entries.iter().map(|entry| Hash::leaf(entry)).ne(edge.iter().copied()))
        {
            let first = checkpoint.size - edge.len() as u64;
            return Err(LogError::EntryChanged { index: first });
        }
        Ok(log)
    }

    /// Appends an entry and returns its index.
    pub fn append(&mut self, entry: &[u8]) -> Result<u64, LogError> {
        let bytes = entry.len();
        let length = u16::try_from(bytes).map_err(|_| LogError::EntryTooLong { bytes })?;
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        let index = self.size;
        self.size += 1;
        if self.size.is_multiple_of(TILE_WIDTH as u64) {
            let file = TileFile { level: None, index: index / TILE_WIDTH as u64, width: TILE_WIDTH };
            self.full.push((file.path(), std::mem::take(&mut self.bundle)));
        }
        self.push_hash(Hash::leaf(entry));
        Ok(index)
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over all entries.
    pub fn root(&self) -> Hash {
        let mut parts = Vec::new();
        for mut hashes in self.levels.iter().rev().map(Vec::as_slice) {
            while !hashes.is_empty() {
                let (perfect, rest) = hashes.split_at(1 << hashes.len().ilog2());
                parts.extend(perfect_root(perfect));
                hashes = rest;
            }
        }
        let root = parts.into_iter().rev().reduce(|right, left| Hash::node(&left, &right));
        root.unwrap_or_else(Hash::empty)
    }

    /// What is to be written, durably, before the next checkpoint: paths and contents. A path that was
    /// there before (after a crash) is to be replaced.
    pub fn files_changed(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut files = std::mem::take(&mut self.full);
        let old: Vec<_> = TileFile::partial_of(self.committed).collect();
        let new: Vec<_> = TileFile::partial_of(self.size).collect();
        self.superseded.extend(old.iter().filter(|file| !new.contains(file)).map(TileFile::path));
        for file in new.iter().filter(|file| !old.contains(file)) {
            let content = match file.level {
                None => self.bundle.clone(),
                Some(level) => tile_bytes(self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)),
            };
            files.push((file.path(), content));
        }
        self.committed = self.size;
        files
    }

    /// Files that the last commits have replaced by wider ones; not needed once the new checkpoint is
    /// durable.
    pub fn take_superseded(&mut self) -> Vec<String> {
        std::mem::take(&mut self.superseded)
    }

    /// The signed checkpoint, to be written to [`CHECKPOINT_PATH`] after all else is durable.
    pub fn checkpoint(&self, signer: &Signer) -> String {
        signer.sign(&Checkpoint { origin: signer.name().to_owned(), size: self.size, root: self.root() })
    }

    fn push_hash(&mut self, leaf: Hash) {
        let mut carried = leaf;
        // A level has 256 times fewer hashes than the one below: eight levels hold 2^64.
        for level in 0..LEVELS_MAX {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let Some(tile) = self.levels.get_mut(usize::from(level)) else { return };
            tile.push(carried);
            if tile.len() < TILE_WIDTH {
                return;
            }
            let index = (self.size >> (8 * (u32::from(level) + 1))) - 1;
            self.full
                .push((TileFile { level: Some(level), index, width: TILE_WIDTH }.path(), tile_bytes(tile)));
            let Some(above) = perfect_root(tile) else { return };
            tile.clear();
            carried = above;
        }
    }
}

/// Which of the log's files a path is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TileFile {
    /// `None` for entries.
    pub(crate) level: Option<u8>,
    pub(crate) index: u64,
    /// Entries or hashes in it, from 1 to 256.
    pub(crate) width: usize,
}

impl TileFile {
    /// `tile/0/x001/234.p/56`.
    pub(crate) fn path(&self) -> String {
        let kind = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut number = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        match self.width {
            TILE_WIDTH => format!("tile/{kind}/{number}"),
            width => format!("tile/{kind}/{number}.p/{width}"),
        }
    }

    /// Reads what [`TileFile::path`] wrote, and nothing else.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?)
            }
            None => (rest, TILE_WIDTH),
        };
        let level = if kind == "entries" { None } else { Some(kind.parse().ok()?) };
        let index = number.split('/').try_fold(0_u64, |index, part| {
            let part: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
            index.checked_mul(1000)?.checked_add(part)
        })?;
        let file = Self { level, index, width };
        (file.path() == path).then_some(file)
    }

    /// The files of a log of `size` entries that are not full: entries first, then tiles by level.
    pub(crate) fn partial_of(size: u64) -> impl Iterator<Item = Self> {
        let tiles = (0..LEVELS_MAX).map(Some);
        std::iter::once(None)
            .chain(tiles)
            .map(move |level| Self::edge(level, size))
            .filter(|file| file.width > 0)
    }

    /// The file at the right edge of one level; its width may be 0.
    pub(crate) fn edge(level: Option<u8>, size: u64) -> Self {
        let hashes = size >> (8 * u32::from(level.unwrap_or(0)));
        let width = (hashes % TILE_WIDTH as u64) as usize;
        Self { level, index: hashes / TILE_WIDTH as u64, width }
    }
}

/// The checkpoint that `key` has signed.
pub(crate) fn read_checkpoint(read: &ReadFile<'_>, key: &VerifyKey) -> Result<Checkpoint, LogError> {
    let note = read(CHECKPOINT_PATH).ok_or_else(|| LogError::Missing { path: CHECKPOINT_PATH.into() })?;
    let note = String::from_utf8(note).map_err(|_| NoteError::Malformed)?;
    Ok(key.open(&note)?)
}

/// The `width` entries of a bundle.
pub(crate) fn parse_bundle(mut bytes: &[u8], width: usize) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(width);
    for _ in 0..width {
        let (length, rest) = bytes.split_first_chunk()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

/// The `width` hashes of a tile.
pub(crate) fn parse_tile(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    (hashes.len() == width && rest.is_empty()).then(|| hashes.iter().copied().map(Hash).collect())
}

fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Where the checkpoint is.
pub const CHECKPOINT_PATH: &str = "checkpoint";
/// Longest entry.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Hashes in a full tile, entries in a full bundle.
pub(crate) const TILE_WIDTH: usize = 256;
/// Eight levels of 256 hold 2^64 entries.
pub(crate) const LEVELS_MAX: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| TileFile { level, index, width }.path();
        assert_eq!(path(Some(0), 0, 256), "tile/0/000");
        assert_eq!(path(Some(2), 1_234_067, 256), "tile/2/x001/x234/067");
        assert_eq!(path(None, 273, 112), "tile/entries/273.p/112");
        for text in ["tile/0/000", "tile/2/x001/x234/067", "tile/entries/273.p/112"] {
            assert_eq!(TileFile::parse(text).unwrap().path(), text);
        }
        for text in ["tile/00/000", "tile/0/00", "tile/0/001/234", "tile/0/x000/001", "tile/0/000.p/256"] {
            assert_eq!(TileFile::parse(text), None, "{text}");
        }
    }

    /// The example of `tlog-tiles`, "Partial Tiles".
    #[test]
    fn a_tree_of_70000_has_the_partial_tiles_of_the_specification() {
        let files: Vec<_> = TileFile::partial_of(70_000).map(|file| file.path()).collect();
        let want = ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"];
        assert_eq!(files, want);
        let files: Vec<_> = TileFile::partial_of(256).map(|file| file.path()).collect();
        assert_eq!(files, ["tile/1/000.p/1"]);
    }
}
