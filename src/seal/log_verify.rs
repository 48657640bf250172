//! Reads a log that somebody else may have had in hand: nothing missing, changed, inserted or added.

use std::cmp::Ordering;
use std::ops::Range;

use crate::seal::log::LEVELS_MAX;
use crate::seal::log::Log;
use crate::seal::log::LogError;
use crate::seal::log::ReadFile;
use crate::seal::log::TILE_WIDTH;
use crate::seal::log::TileFile;
use crate::seal::log::parse_bundle;
use crate::seal::log::parse_tile;
use crate::seal::log::read_checkpoint;
use crate::seal::note::Checkpoint;
use crate::seal::note::VerifyKey;
use crate::seal::tree::Hash;
use crate::seal::tree::Nodes;
use crate::seal::tree::perfect_root;
use crate::seal::tree::root;

/// A log whose every file fits its signed checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedLog {
    /// What the recorder signed.
    pub checkpoint: Checkpoint,
    /// All entries, in order.
    pub entries: Vec<Vec<u8>>,
}

/// Reads a whole log and checks it: the signature, every tile against the entries, the root, and that
/// the right edge goes no further than the checkpoint says. To find files that are none of the log's,
/// list the folder and ask [`role`] for each.
pub fn verify_log(read: &ReadFile<'_>, key: &VerifyKey) -> Result<VerifiedLog, LogError> {
    let checkpoint = read_checkpoint(read, key)?;
    let size = checkpoint.size;
    let mut log = Log::new();
    let mut entries = Vec::new();
    let mut fault = None;
    while log.size() < size {
        let left = size - log.size();
        let width = left.min(TILE_WIDTH as u64) as usize;
        let path = TileFile { level: None, index: log.size() / TILE_WIDTH as u64, width }.path();
        let bytes = read(&path).ok_or_else(|| LogError::Missing { path: path.clone() })?;
        for entry in parse_bundle(&bytes, width).ok_or(LogError::Bundle { path })? {
            log.append(entry)?;
            entries.push(entry.to_vec());
        }
        // What the entries make must be what is there. A full tile appears with its last bundle.
        for (path, content) in log.files_changed() {
            // Partial tiles of a size in between are not there, nor need to be.
            if log.size() < size && role(&path, size) != Role::Needed {
                continue;
            }
            if read(&path).ok_or_else(|| LogError::Missing { path: path.clone() })? != content {
                fault.get_or_insert(path);
            }
        }
    }
    if log.root() != checkpoint.root {
        return Err(LogError::EntryChanged { index: first_changed(read, &entries) });
    }
    if let Some(path) = fault {
        return Err(LogError::TileChanged { path });
    }
    nothing_beyond(read, size)?;
    Ok(VerifiedLog { checkpoint, entries })
}

/// What a file in the folder of a log is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Holds what the checkpoint does not cover.
    Beyond,
    /// Not one of the log's files.
    Foreign,
    /// Part of the log as signed.
    Needed,
    /// Narrower than the one that is needed: left over from an earlier checkpoint.
    Superseded,
}

/// Tells what `path` is in a log of `size` entries. The checkpoint itself is foreign here.
pub fn role(path: &str, size: u64) -> Role {
    let Some(file) = TileFile::parse(path) else { return Role::Foreign };
    if file.level.is_some_and(|level| level >= LEVELS_MAX) {
        return Role::Foreign;
    }
    let edge = TileFile::edge(file.level, size);
    let there = if file.index < edge.index { TILE_WIDTH } else { edge.width };
    if file.index > edge.index || file.width > there {
        Role::Beyond
    } else if file.width < there {
        Role::Superseded
    } else {
        Role::Needed
    }
}

/// Whether all that can be in a folder of a log of `size` entries are full tiles before the files that are written next:
/// nobody has to look there for what was written and not signed, or is not needed any more.
pub fn is_settled(folder: &str, size: u64) -> bool {
    let Some((kind, rest)) = folder.strip_prefix("tile/").and_then(|below| below.split_once('/')) else {
        return false;
    };
    let level = if kind == "entries" { None } else { kind.parse().ok() };
    if level.is_none() && kind != "entries" {
        return false;
    }
    // Of a full width, so that the path is a number and nothing else.
    let edge = TileFile { width: TILE_WIDTH, ..TileFile::edge(level, size) };
    let next = TileFile { index: edge.index.saturating_add(TILES_AT_ONCE_MAX), ..edge }.path();
    let edge = edge.path();
    if next.len() != edge.len() {
        // A number with more parts begins with a smaller one.
        return false;
    }
    let edge = edge.splitn(3, '/').last().unwrap_or_default();
    // What is narrower than a tile is in few folders: they go when a tile is full.
    for (part, edge) in rest.split('/').zip(edge.split('/')).filter(|(part, _)| !part.ends_with(".p")) {
        // A number without `x` is the last part: those with more parts are larger.
        match part.starts_with('x').cmp(&edge.starts_with('x')).then(part.cmp(edge)) {
            Ordering::Less => return true,
            Ordering::Greater => return false,
            Ordering::Equal => {}
        }
    }
    false
}

/// Sixteen million entries: nobody adds so many at once.
const TILES_AT_ONCE_MAX: u64 = 1 << 16;

/// Where tiles have what makes a perfect node.
pub(crate) struct NodePlace {
    /// Level of the tile.
    pub(crate) level: u32,
    /// Its number.
    pub(crate) tile: u64,
    /// Which of its hashes.
    pub(crate) hashes: Range<usize>,
}

impl NodePlace {
    /// Nothing where no log has such a node.
    pub(crate) fn of(height: u32, index: u64) -> Option<Self> {
        // A tile is as high as its width has bits.
        let tile_height = TILE_WIDTH.ilog2();
        let count = 1_usize << (height % tile_height);
        let first = index.checked_mul(count as u64)?;
        let at = (first % TILE_WIDTH as u64) as usize;
        let (level, tile) = (height / tile_height, first / TILE_WIDTH as u64);
        Some(Self { level, tile, hashes: at..at + count })
    }
}

/// Perfect nodes of a log of `size` entries, from its tiles: for proofs without reading the log.
pub struct TileNodes<'a> {
    /// Reads a tile.
    pub read: &'a ReadFile<'a>,
    /// Entries of the log.
    pub size: u64,
}

impl Nodes for TileNodes<'_> {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let NodePlace { level, tile, hashes } = NodePlace::of(height, index)?;
        let level = u8::try_from(level).ok().filter(|level| *level < LEVELS_MAX)?;
        let edge = TileFile::edge(Some(level), self.size);
        let width = if tile < edge.index { TILE_WIDTH } else { edge.width };
        let bytes = (self.read)(&TileFile { level: Some(level), index: tile, width }.path())?;
        parse_tile(&bytes, width)?.get(hashes).and_then(perfect_root)
    }
}

/// Entries of a log from `from` on, at most `count`, proved by its signed checkpoint: no other bundle is read, and of
/// tiles those on the way to the root.
pub fn read_range(
    read: &ReadFile<'_>,
    checkpoint: &Checkpoint,
    from: u64,
    count: u64,
) -> Result<Vec<Vec<u8>>, LogError> {
    let (size, width_max) = (checkpoint.size, TILE_WIDTH as u64);
    let end = from.saturating_add(count).min(size);
    if from >= end {
        return Ok(Vec::new());
    }
    let first = from - from % width_max;
    let (mut entries, mut leaves) = (Vec::new(), Vec::new());
    let mut at = first;
    while at < end {
        let width = (size - at).min(width_max) as usize;
        let path = TileFile { level: None, index: at / width_max, width }.path();
        let bytes = read(&path).ok_or_else(|| LogError::Missing { path: path.clone() })?;
        for (index, entry) in (at..).zip(parse_bundle(&bytes, width).ok_or(LogError::Bundle { path })?) {
            leaves.push(Hash::leaf(entry));
            if (from..end).contains(&index) {
                entries.push(entry.to_vec());
            }
        }
        at += width as u64;
    }
    let nodes = PartNodes { first, leaves: &leaves, others: TileNodes { read, size } };
    match root(&nodes, size) {
        Some(root) if root == checkpoint.root => Ok(entries),
        Some(_) => Err(LogError::EntryChanged { index: first }),
        None => Err(LogError::Missing { path: "a tile".into() }),
    }
}

/// Perfect nodes where a part of the entries is at hand, from a full bundle's first to a bundle's last.
struct PartNodes<'a> {
    first: u64,
    leaves: &'a [Hash],
    others: TileNodes<'a>,
}

impl Nodes for PartNodes<'_> {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let (start, width) = (index.checked_shl(height)?, 1_u64.checked_shl(height)?);
        let (end, part_end) = (start.checked_add(width)?, self.first + self.leaves.len() as u64);
        if end <= self.first || start >= part_end {
            return self.others.node(height, index);
        }
        if start < self.first || end > part_end {
            let left = self.node(height.checked_sub(1)?, 2 * index)?;
            return Some(Hash::node(&left, &self.node(height - 1, 2 * index + 1)?));
        }
        let at = usize::try_from(start - self.first).ok()?;
        perfect_root(self.leaves.get(at..at + usize::try_from(width).ok()?)?)
    }
}

/// The entries of the bundle that holds entry `index` of a log of `size`, with the number of the first. `None` where
/// `bytes` are no such bundle. Nothing is proved by it.
pub fn bundle_entries(bytes: &[u8], index: u64, size: u64) -> Option<(u64, Vec<Vec<u8>>)> {
    let first = index - index % TILE_WIDTH as u64;
    let width = size.checked_sub(first)?.min(TILE_WIDTH as u64) as usize;
    Some((first, parse_bundle(bytes, width)?.into_iter().map(<[u8]>::to_vec).collect()))
}

/// The first entry whose hash is not the one in its tile. Tiles may have been changed as well: this is
/// where to look, not what is proved.
fn first_changed(read: &ReadFile<'_>, entries: &[Vec<u8>]) -> u64 {
    for (index, bundle) in (0..).zip(entries.chunks(TILE_WIDTH)) {
        let file = TileFile { level: Some(0), index, width: bundle.len() };
        let tile = read(&file.path()).and_then(|bytes| parse_tile(&bytes, bundle.len())).unwrap_or_default();
        let same = bundle.iter().zip(&tile).take_while(|(entry, hash)| Hash::leaf(entry) == **hash).count();
        if same < bundle.len() {
            return index * TILE_WIDTH as u64 + same as u64;
        }
    }
    0
}

/// No file at the right edge is wider than the checkpoint says.
fn nothing_beyond(read: &ReadFile<'_>, size: u64) -> Result<(), LogError> {
    for level in std::iter::once(None).chain((0..LEVELS_MAX).map(Some)) {
        let edge = TileFile::edge(level, size);
        for width in edge.width + 1..=TILE_WIDTH {
            let path = TileFile { width, ..edge }.path();
            if read(&path).is_some() {
                return Err(LogError::Beyond { path });
            }
        }
        if level.is_some() && edge.index == 0 && edge.width == 0 {
            break;
        }
    }
    Ok(())
}

/// Logs for tests.
#[cfg(test)]
pub(super) mod samples {
    use std::collections::BTreeMap;

    use crate::seal::log::{CHECKPOINT_PATH, Log};
    use crate::seal::note::Signer;
    use crate::seal::random::Seeded;

    pub(crate) type Files = BTreeMap<String, Vec<u8>>;

    pub(crate) fn signer() -> Signer {
        Signer::generate("recorder-1", &mut Seeded::new(&[1; 32], "test", 0)).unwrap()
    }

    pub(crate) fn entry(number: u64) -> Vec<u8> {
        format!("entry {number}").into_bytes()
    }

    pub(crate) fn commit(log: &mut Log, files: &mut Files) {
        files.extend(log.files_changed());
        files.insert(CHECKPOINT_PATH.into(), log.checkpoint(&signer()).into_bytes());
        for path in log.take_superseded() {
            assert!(files.remove(&path).is_some(), "{path} is superseded and was never written");
        }
    }

    pub(crate) fn written(size: u64, step: usize) -> Files {
        let (mut log, mut files) = (Log::new(), Files::new());
        let numbers: Vec<_> = (0..size).collect();
        for part in numbers.chunks(step) {
            part.iter().for_each(|number| assert_eq!(log.append(&entry(*number)), Ok(*number)));
            commit(&mut log, &mut files);
        }
        commit(&mut log, &mut files);
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::log::CHECKPOINT_PATH;
    use crate::seal::log_verify::samples::{Files, commit, entry, signer, written};
    use crate::seal::random::{Randomness as _, Seeded};
    use crate::seal::tree;

    fn verify(files: &Files) -> Result<VerifiedLog, LogError> {
        verify_log(&|path| files.get(path).cloned(), signer().verify_key())
    }

    /// Of whatever is written next, all folders are looked into, and few others.
    #[test]
    fn only_folders_of_full_tiles_are_settled() {
        let mut random = Seeded::new(&[7; 32], "sizes", 0);
        for round in 0..20_000 {
            let mut number = || {
                let mut bytes = [0; 8];
                random.fill(&mut bytes);
                u64::from_be_bytes(bytes)
            };
            let size = number() >> (16 + round % 48);
            for level in [None, Some(0), Some(1), Some(2)] {
                let edge = TileFile::edge(level, size);
                let next = [edge.index, edge.index + 1, edge.index + 2 + number() % 3_000];
                for (index, width) in next.into_iter().flat_map(|index| [(index, TILE_WIDTH), (index, 255)]) {
                    let path = TileFile { level, index, width }.path();
                    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
                    folders
                        .for_each(|folder| assert!(!is_settled(folder, size), "{folder} of {path}, {size}"));
                }
                let Some(before) = edge.index.checked_sub(1_000 + number() % 1_000_000) else { continue };
                let path = TileFile { level, index: before, width: TILE_WIDTH }.path();
                let folder = &path[..path.rfind('/').unwrap()];
                // Numbers of fewer digits lie elsewhere: some of their folders are looked into in vain.
                let length = |index: u64| index.max(1).ilog(1_000);
                let is_as_long = before >= 1_000 && length(before) == length(edge.index + TILES_AT_ONCE_MAX);
                assert!(is_settled(folder, size) || !is_as_long, "{folder} of {path}, {size}");
            }
        }
        assert!(
            !is_settled("tile", 1 << 40) && !is_settled("tile/x/000", 1 << 40) && !is_settled("other/0", 9)
        );
    }

    #[test]
    fn logs_of_all_sizes_verify_and_hold_no_file_too_many() {
        for size in [0, 1, 2, 3, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537] {
            let files = written(size, 1000);
            let verified = verify(&files).unwrap();
            assert_eq!(verified.entries, (0..size).map(entry).collect::<Vec<_>>());
            let leaves: Vec<_> = verified.entries.iter().map(|entry| Hash::leaf(entry)).collect();
            assert_eq!(Some(verified.checkpoint.root), tree::root(&leaves[..], size), "{size}");
            for path in files.keys().filter(|path| *path != CHECKPOINT_PATH) {
                assert_eq!(role(path, size), Role::Needed, "{path} of {size}");
            }
        }
    }

    #[test]
    fn a_part_is_read_by_itself_and_proved() {
        for size in [1, 255, 256, 257, 700, 1_024, 66_000] {
            let files = written(size, 1_000);
            let checkpoint =
                read_checkpoint(&|path| files.get(path).cloned(), signer().verify_key()).unwrap();
            let reads = std::cell::RefCell::new(Vec::new());
            let read = |path: &str| {
                reads.borrow_mut().push(path.to_owned());
                files.get(path).cloned()
            };
            for (from, count) in
                [(0, 1), (0, size), (size - 1, 9), (size / 2, 300), (size / 3, 1), (size, 1), (9, 0)]
            {
                reads.borrow_mut().clear();
                let part = read_range(&read, &checkpoint, from, count).unwrap();
                let wanted: Vec<_> = (from..size.min(from + count)).map(entry).collect();
                assert_eq!(part, wanted, "{from} {count} of {size}");
                let bundles = reads.borrow().iter().filter(|path| path.contains("entries")).count() as u64;
                assert!(bundles <= count.min(size) / 256 + 2, "{bundles}");
                assert!(reads.borrow().len() as u64 <= bundles + 40, "{:?}", reads.borrow());
            }
        }
    }

    #[test]
    fn of_a_part_every_change_is_found() {
        let files = written(700, 1_000);
        let checkpoint = read_checkpoint(&|path| files.get(path).cloned(), signer().verify_key()).unwrap();
        let part = |files: &Files| read_range(&|path| files.get(path).cloned(), &checkpoint, 300, 100);
        for path in files.keys().filter(|path| path.starts_with("tile/")) {
            let mut changed = files.clone();
            changed.get_mut(path).unwrap()[0] ^= 1;
            // Nor the first bundle, the last one, or the hashes of what is read.
            let is_needed =
                ["tile/entries/001", "tile/1/000.p/2", "tile/0/002.p/188"].contains(&path.as_str());
            assert_eq!(part(&changed).is_err(), is_needed, "{path}");
            changed.remove(path);
            assert_eq!(part(&changed).is_err(), is_needed, "{path}");
        }
    }

    #[test]
    fn the_files_do_not_depend_on_when_they_were_committed() {
        assert_eq!(written(600, 1), written(600, 600));
        assert_eq!(written(600, 7), written(600, 256));
    }

    #[test]
    fn a_log_resumes_at_its_checkpoint() {
        for size in [0_u64, 1, 255, 256, 257, 70_000] {
            let mut files = written(size, 1000);
            let mut log = Log::resume(&|path| files.get(path).cloned(), signer().verify_key()).unwrap();
            assert_eq!(log.size(), size);
            for number in size..size + 300 {
                log.append(&entry(number)).unwrap();
            }
            commit(&mut log, &mut files);
            assert_eq!(files, written(size + 300, 1000), "{size}");
        }
        let mut files = written(257, 1000);
        files.get_mut("tile/entries/001.p/1").unwrap()[3] ^= 1;
        let resumed = Log::resume(&|path| files.get(path).cloned(), signer().verify_key());
        assert!(matches!(resumed, Err(LogError::EntryChanged { index: 256 })));
        files.remove("tile/1/000.p/1");
        let resumed = Log::resume(&|path| files.get(path).cloned(), signer().verify_key());
        assert!(matches!(resumed, Err(LogError::Missing { .. })));
    }

    #[test]
    fn any_change_is_seen_and_found() {
        let files = written(300, 1000);
        assert!(verify(&files).is_ok());
        for (path, content) in &files {
            let mut less = files.clone();
            less.remove(path);
            assert_eq!(verify(&less), Err(LogError::Missing { path: path.clone() }));
            for at in (0..content.len()).step_by(97).chain([content.len() - 1]) {
                let mut changed = files.clone();
                changed.get_mut(path).unwrap()[at] ^= 1;
                let error = verify(&changed).unwrap_err();
                match path.as_str() {
                    CHECKPOINT_PATH => assert!(matches!(error, LogError::Note(_))),
                    _ if path.starts_with("tile/entries/") => {
                        assert!(matches!(error, LogError::EntryChanged { .. } | LogError::Bundle { .. }));
                    }
                    _ => assert_eq!(error, LogError::TileChanged { path: path.clone() }),
                }
            }
        }
        let mut changed = files;
        let last = changed.get_mut("tile/entries/001.p/44").unwrap();
        *last.last_mut().unwrap() ^= 1;
        assert_eq!(verify(&changed), Err(LogError::EntryChanged { index: 299 }));
    }

    #[test]
    fn an_entry_put_in_or_taken_out_is_seen_though_all_tiles_are_made_anew() {
        let files = written(300, 1000);
        for (size, forged) in [(301, written(301, 1000)), (299, written(299, 1000))] {
            let mut forged = forged;
            forged.insert(CHECKPOINT_PATH.into(), files[CHECKPOINT_PATH].clone());
            assert!(verify(&forged).is_err(), "{size}");
            let mut both = files.clone();
            both.extend(written(size, 1000).into_iter().filter(|(path, _)| path != CHECKPOINT_PATH));
            // Wider files are beyond; narrower ones are left over from before.
            assert_eq!(verify(&both).is_ok(), size < 300, "{size}");
        }
        assert_eq!(role("tile/0/001.p/45", 300), Role::Beyond);
        assert_eq!(role("tile/0/001.p/43", 300), Role::Superseded);
        assert_eq!(role("tile/0/002", 300), Role::Beyond);
        assert_eq!(role("tile/0/000.p/9", 300), Role::Superseded);
        assert_eq!(role("tile/0/../x", 300), Role::Foreign);
    }

    #[test]
    fn proofs_come_from_tiles_alone() {
        let size = 70_000;
        let files = written(size, 10_000);
        let read = |path: &str| files.get(path).cloned();
        let nodes = TileNodes { read: &read, size };
        let top = verify(&files).unwrap().checkpoint.root;
        assert_eq!(tree::root(&nodes, size), Some(top));
        for index in [0, 1, 255, 256, 65_535, 65_536, 69_999] {
            let proof = tree::inclusion_proof(&nodes, index, size).unwrap();
            assert!(tree::verify_inclusion(&Hash::leaf(&entry(index)), index, size, &proof, &top), "{index}");
        }
        for old in [1, 255, 256, 300, 65_536, 65_537, 69_999, 70_000] {
            let old_root = tree::root(&nodes, old).unwrap();
            let proof = tree::consistency_proof(&nodes, old, size).unwrap();
            assert!(tree::verify_consistency(old, &old_root, size, &top, &proof), "{old}");
        }
    }

    #[test]
    fn an_entry_must_fit_its_length() {
        let mut log = Log::new();
        assert_eq!(log.append(&[0; 65_535]), Ok(0));
        assert_eq!(log.append(&[0; 65_536]), Err(LogError::EntryTooLong { bytes: 65_536 }));
        assert_eq!(log.size(), 1);
    }
}
