//! What can still be read of a log that is damaged, and what of that is proved.

use crate::seal::log::LogError;
use crate::seal::log::ReadFile;
use crate::seal::log::TILE_WIDTH;
use crate::seal::log::TileFile;
use crate::seal::log::parse_bundle;
use crate::seal::log::parse_tile;
use crate::seal::log::read_checkpoint;
use crate::seal::log_verify::TileNodes;
use crate::seal::log_verify::verify_log;
use crate::seal::note::Checkpoint;
use crate::seal::note::VerifyKey;
use crate::seal::tree;
use crate::seal::tree::Hash;
use crate::seal::tree::Nodes;
use crate::seal::tree::perfect_root;

/// A log whose files do not all fit its signed checkpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SurveyedLog {
    /// What the recorder signed, where that can be read.
    pub checkpoint: Option<Checkpoint>,
    /// Entries that can be read, by index, without those that are known to be others than were signed.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Whether `entries` are proved to be as they were signed. Where not, too much is missing to tell.
    pub proved: bool,
    /// What is wrong: at least one thing, and of each file at most its first.
    pub faults: Vec<LogError>,
    /// Bundles in order, for who looks closer; none without a checkpoint.
    pub bundles: Vec<SurveyedBundle>,
}

/// A bundle of a log that is damaged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SurveyedBundle {
    /// Number of its first entry.
    pub first: u64,
    /// How many entries were signed in it.
    pub width: usize,
    /// Hashes of the entries that were signed, where they are proved.
    pub signed: Option<Vec<Hash>>,
    /// What can be read in it, also where that is more than was signed; nothing where it is missing.
    pub found: Option<Vec<Vec<u8>>>,
}

/// Reads what can be read of a log that [`verify_log`] refuses.
///
/// Every hash is kept in up to three places: it can be made of the entry, it is in the entry's tile, and that
/// tile's own hash is in the tile above. If the root of those that agree is the signed one, all of them are
/// proved, and so is every entry that fits its hash.
pub fn survey_log(read: &ReadFile<'_>, key: &VerifyKey) -> SurveyedLog {
    let mut survey = SurveyedLog::default();
    let checkpoint = match read_checkpoint(read, key) {
        Ok(checkpoint) => checkpoint,
        Err(fault) => {
            survey.faults.push(fault);
            survey.entries = unsigned_entries(read);
            return survey;
        }
    };
    let bundles = checkpoint.size.div_ceil(TILE_WIDTH as u64);
    let (mut parts, mut empty) = (Vec::new(), 0);
    for index in 0..bundles {
        let part = Part::read(read, index, checkpoint.size);
        empty = if part.node().is_none() && part.entries.is_empty() { empty + 1 } else { 0 };
        if empty > EMPTY_MAX {
            break;
        }
        parts.push(part);
    }
    survey.proved =
        prove(&mut parts, &checkpoint, Part::node) || prove(&mut parts, &checkpoint, Part::node_above);
    for part in parts {
        survey.bundles.push(part.surveyed());
        part.tell(&mut survey);
    }
    match verify_log(read, key) {
        // Told above, where it was seen which.
        Err(LogError::EntryChanged { .. }) if !survey.faults.is_empty() => {}
        Err(fault) if !survey.faults.contains(&fault) => survey.faults.push(fault),
        _ => {}
    }
    survey.checkpoint = Some(checkpoint);
    survey
}

/// The bundle that holds entry `index` of a log of `size` entries.
pub fn bundle_path(index: u64, size: u64) -> String {
    let (index, edge) = (index / TILE_WIDTH as u64, TileFile::edge(None, size));
    let width = if index == edge.index { edge.width } else { TILE_WIDTH };
    TileFile { level: None, index, width }.path()
}

/// Whether a file that a wider one has replaced is the beginning of that one.
pub fn superseded_fits(read: &ReadFile<'_>, path: &str, size: u64) -> bool {
    let Some(file) = TileFile::parse(path) else { return false };
    let edge = TileFile::edge(file.level, size);
    let width = if file.index < edge.index { TILE_WIDTH } else { edge.width };
    let (Some(old), Some(new)) = (read(path), read(&TileFile { width, ..file }.path())) else { return false };
    let whole = match file.level {
        None => parse_bundle(&old, file.width).is_some(),
        Some(_) => parse_tile(&old, file.width).is_some(),
    };
    whole && new.starts_with(&old)
}

/// Entries of a log that nobody has signed: of each bundle the widest file that there is.
pub fn unsigned_entries(read: &ReadFile<'_>) -> Vec<(u64, Vec<u8>)> {
    let mut entries = Vec::new();
    for index in 0.. {
        let file = |width| TileFile { level: None, index, width };
        let found = (1..=TILE_WIDTH).rev().find_map(|width| Some((width, read(&file(width).path())?)));
        let Some((width, bytes)) = found else { break };
        entries.extend((index * TILE_WIDTH as u64..).zip(readable(&bytes, width)));
    }
    entries
}

/// Entries of a bundle up to where it makes no sense.
fn readable(mut bytes: &[u8], width: usize) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while entries.len() < width
        && let Some((length, rest)) = bytes.split_first_chunk()
        && let Some((entry, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    {
        entries.push(entry.to_vec());
        bytes = rest;
    }
    entries
}

/// One bundle, and the hashes of its entries from all places.
struct Part {
    first: u64,
    bundle: TileFile,
    missing: bool,
    entries: Vec<Vec<u8>>,
    /// What stands behind them, where nothing should.
    behind: Vec<Vec<u8>>,
    /// Made of the entries; none where there are not all of them.
    own: Option<Vec<Hash>>,
    tile_missing: bool,
    /// From their tile.
    tile: Option<Vec<Hash>>,
    /// The hash of the tile, where it is full, from the tile above.
    above: Option<Hash>,
    /// Those that are proved.
    signed: Option<Vec<Hash>>,
}

impl Part {
    fn read(read: &ReadFile<'_>, index: u64, size: u64) -> Self {
        let first = index * TILE_WIDTH as u64;
        let width = (size - first).min(TILE_WIDTH as u64) as usize;
        let bundle = TileFile { level: None, index, width };
        let bytes = read(&bundle.path());
        let tile = read(&TileFile { level: Some(0), ..bundle }.path());
        let mut entries = readable(bytes.as_deref().unwrap_or_default(), usize::MAX);
        let behind = entries.split_off(entries.len().min(width));
        let whole = bytes.as_deref().is_some_and(|bytes| parse_bundle(bytes, width).is_some());
        Self {
            first,
            bundle,
            missing: bytes.is_none(),
            own: whole.then(|| entries.iter().map(|entry| Hash::leaf(entry)).collect()),
            entries,
            behind,
            tile_missing: tile.is_none(),
            tile: tile.and_then(|bytes| parse_tile(&bytes, width)),
            above: (width == TILE_WIDTH)
                .then(|| TileNodes { read, size }.node(TILE_WIDTH.ilog2(), index))
                .flatten(),
            signed: None,
        }
    }

    fn is_full(&self) -> bool {
        self.bundle.width == TILE_WIDTH
    }

    /// The node over a full bundle: what two places agree on, else what there is.
    fn node(&self) -> Option<Hash> {
        let [own, tile] = [&self.own, &self.tile].map(|hashes| hashes.as_deref().and_then(perfect_root));
        if own.is_some() && (own == tile || own == self.above) {
            return own;
        }
        self.above.or(own).or(tile)
    }

    /// The same where who changed the entries has changed their tile with them.
    fn node_above(&self) -> Option<Hash> {
        self.above.or_else(|| self.node())
    }

    fn surveyed(&self) -> SurveyedBundle {
        let found = || self.entries.iter().chain(&self.behind).cloned().collect();
        SurveyedBundle {
            first: self.first,
            width: self.bundle.width,
            signed: self.signed.clone(),
            found: (!self.missing).then(found),
        }
    }

    /// Tells what is wrong with it, and hands on its entries.
    fn tell(self, survey: &mut SurveyedLog) {
        let path = self.bundle.path();
        let tile_path = TileFile { level: Some(0), ..self.bundle }.path();
        if self.missing {
            survey.faults.push(LogError::Missing { path });
        } else if self.own.is_none() {
            survey.faults.push(LogError::Bundle { path });
        }
        let entries = (self.first..).zip(self.entries);
        if !survey.proved {
            if self.own.is_some() && self.tile.is_some() && self.own != self.tile {
                survey.faults.push(LogError::EntryChanged { index: self.first });
            }
            survey.entries.extend(entries);
            return;
        }
        if self.tile_missing {
            survey.faults.push(LogError::Missing { path: tile_path });
        } else if self.signed.is_some() && self.tile != self.signed {
            survey.faults.push(LogError::TileChanged { path: tile_path });
        }
        let signed = self.signed.unwrap_or_default();
        let mut changed = None;
        for (index, entry) in entries {
            let hash = signed.get((index - self.first) as usize);
            if hash == Some(&Hash::leaf(&entry)) {
                survey.entries.push((index, entry));
            } else {
                changed.get_or_insert(index);
            }
        }
        if let Some(index) = changed.filter(|_| self.own.is_some()) {
            survey.faults.push(LogError::EntryChanged { index });
        }
    }
}

/// Finds the hashes that make the signed root. Returns whether there are any.
fn prove(parts: &mut [Part], checkpoint: &Checkpoint, node: fn(&Part) -> Option<Hash>) -> bool {
    let full = parts.iter().filter(|part| part.is_full()).map(node).collect::<Option<Vec<_>>>();
    let Some(full) = full else { return false };
    if parts.len() as u64 != checkpoint.size.div_ceil(TILE_WIDTH as u64) {
        return false;
    }
    let edge = parts.last().filter(|part| !part.is_full());
    let mut candidates: Vec<Vec<Hash>> = match edge {
        Some(part) => [&part.own, &part.tile].into_iter().flatten().cloned().collect(),
        None => vec![Vec::new()],
    };
    candidates.retain(|edge| {
        let nodes = Known { full: &full, edge };
        tree::root(&nodes, checkpoint.size) == Some(checkpoint.root)
    });
    let Some(edge) = candidates.pop() else { return false };
    for (part, node) in parts.iter_mut().zip(full.iter().map(Some).chain([None])) {
        part.signed = match node {
            Some(node) => [&part.own, &part.tile]
                .into_iter()
                .flatten()
                .find(|hashes| perfect_root(hashes).as_ref() == Some(node))
                .cloned(),
            None => Some(edge.clone()),
        };
    }
    true
}

/// Nodes over full bundles, and the leaves after them.
struct Known<'a> {
    full: &'a [Hash],
    edge: &'a [Hash],
}

impl Nodes for Known<'_> {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        match height.checked_sub(TILE_WIDTH.ilog2()) {
            Some(height) => self.full.node(height, index),
            None => {
                let before = (self.full.len() * TILE_WIDTH) as u64 >> height;
                self.edge.node(height, index.checked_sub(before)?)
            }
        }
    }
}

/// Bundles in a row of which nothing is there: a log without end is not looked through.
const EMPTY_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::log::CHECKPOINT_PATH;
    use crate::seal::log::Log;
    use crate::seal::log_verify::samples::{self, Files, entry, signer};

    fn written(size: u64) -> Files {
        samples::written(size, 1_000)
    }

    fn survey(files: &Files) -> SurveyedLog {
        survey_log(&|path| files.get(path).cloned(), signer().verify_key())
    }

    fn indices(survey: &SurveyedLog) -> Vec<u64> {
        survey.entries.iter().map(|(index, _)| *index).collect()
    }

    fn all_but(size: u64, gone: std::ops::Range<u64>) -> Vec<u64> {
        (0..size).filter(|index| !gone.contains(index)).collect()
    }

    /// Where the entries of a bundle's `nth` begin: each of these is shorter than 256 bytes.
    fn place(bundle: &[u8], nth: usize) -> usize {
        (0..nth).fold(0, |at, _| at + 2 + usize::from(bundle[at + 1]))
    }

    #[test]
    fn one_changed_entry_is_found_and_all_others_are_proved() {
        for (size, index, path) in [
            (300, 7, "tile/entries/000"),
            (300, 299, "tile/entries/001.p/44"),
            (5, 0, "tile/entries/000.p/5"),
            (70_000, 69_999, "tile/entries/273.p/112"),
            (70_000, 65_536, "tile/entries/256"),
        ] {
            let mut files = written(size);
            assert_eq!(bundle_path(index, size), path);
            let bundle = files.get_mut(path).unwrap();
            let at = place(bundle, index as usize % 256);
            bundle[at + 2] ^= 1;
            let survey = survey(&files);
            assert_eq!(survey.faults, [LogError::EntryChanged { index }]);
            assert!(survey.proved);
            assert_eq!(indices(&survey), all_but(size, index..index + 1));
            assert!(survey.entries.iter().all(|(index, bytes)| *bytes == entry(*index)));
        }
    }

    #[test]
    fn what_is_gone_or_cut_takes_nothing_else_with_it() {
        let whole = written(700);
        for (path, gone) in [
            ("tile/entries/001", 256..512),
            ("tile/entries/002.p/188", 512..700),
            ("tile/0/000", 0..0),
            ("tile/0/002.p/188", 0..0),
            ("tile/1/000.p/2", 0..0),
        ] {
            let mut files = whole.clone();
            files.remove(path);
            let survey = survey(&files);
            assert_eq!(survey.faults, [LogError::Missing { path: path.into() }]);
            assert!(survey.proved, "{path}");
            assert_eq!(indices(&survey), all_but(700, gone), "{path}");
        }
        let mut files = whole.clone();
        let bundle = files.get_mut("tile/entries/001").unwrap();
        bundle.truncate(place(bundle, 100) + 5);
        let cut = survey(&files);
        assert_eq!(cut.faults, [LogError::Bundle { path: "tile/entries/001".into() }]);
        assert_eq!((cut.proved, indices(&cut)), (true, all_but(700, 356..512)));
        // Its tile as well, and what is above: nothing is proved, and everything else is read.
        let mut files = whole.clone();
        for path in ["tile/entries/001", "tile/0/001", "tile/1/000.p/2"] {
            files.remove(path);
        }
        let torn = survey(&files);
        assert_eq!((torn.proved, indices(&torn)), (false, all_but(700, 256..512)));
        // All tiles: the entries prove themselves.
        let files: Files = whole.iter().filter(|(path, _)| !path.starts_with("tile/0")).map(clone).collect();
        assert!(survey(&files).proved);
        assert_eq!(indices(&survey(&files)).len(), 700);
    }

    fn clone((path, bytes): (&String, &Vec<u8>)) -> (String, Vec<u8>) {
        (path.clone(), bytes.clone())
    }

    #[test]
    fn a_changed_tile_is_told_from_a_changed_entry() {
        for path in ["tile/0/000", "tile/0/001.p/44"] {
            let mut files = written(300);
            files.get_mut(path).unwrap()[70] ^= 1;
            let survey = survey(&files);
            assert_eq!(survey.faults, [LogError::TileChanged { path: path.into() }]);
            assert_eq!((survey.proved, survey.entries.len()), (true, 300));
        }
    }

    #[test]
    fn what_is_forged_throughout_is_not_proved() {
        let mut log = Log::new();
        (0..300).for_each(|number| drop(log.append(&entry(number + u64::from(number == 9)))));
        let mut forged: Files = log.files_changed().into_iter().collect();
        forged.insert(CHECKPOINT_PATH.into(), written(300)[CHECKPOINT_PATH].clone());
        let surveyed = survey(&forged);
        assert!(!surveyed.proved && !surveyed.faults.is_empty());
        assert_eq!(surveyed.entries.len(), 300);
        // Nor of a log that claims to be without end.
        let endless = Checkpoint { origin: "recorder-1".into(), size: u64::MAX, root: Hash::empty() };
        forged.insert(CHECKPOINT_PATH.into(), signer().sign(&endless).into_bytes());
        assert!(!survey(&forged).proved);
        // Without a checkpoint nothing is proved either.
        forged.remove(CHECKPOINT_PATH);
        let surveyed = survey(&forged);
        assert_eq!(surveyed.faults, [LogError::Missing { path: CHECKPOINT_PATH.into() }]);
        assert_eq!(
            (surveyed.proved, surveyed.checkpoint.is_none(), surveyed.entries.len()),
            (false, true, 300)
        );
    }

    #[test]
    fn what_was_replaced_must_be_the_beginning_of_what_replaced_it() {
        let mut files = written(300);
        for (path, content) in written(290) {
            files.entry(path).or_insert(content);
        }
        let fits = |files: &Files, path: &str| superseded_fits(&|path| files.get(path).cloned(), path, 300);
        for (path, wide) in
            [("tile/entries/001.p/34", "tile/entries/001.p/44"), ("tile/0/001.p/34", "tile/0/001.p/44")]
        {
            assert!(fits(&files, path), "{path}");
            let mut changed = files.clone();
            changed.get_mut(path).unwrap()[3] ^= 1;
            assert!(!fits(&changed, path), "{path}");
            let mut longer = files.clone();
            let more = longer[wide][longer[path].len()];
            longer.get_mut(path).unwrap().push(more);
            assert!(!fits(&longer, path), "{path}");
        }
    }
}
