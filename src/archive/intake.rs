//! What may be taken in: receipts of a log that goes on where it was left, and files that are as they were receipted.
//!
//! A recorder's log is known by its size and root. What comes next must be signed, and must have what is known as its
//! beginning: a log that is shorter was put back, one that is another was rewritten, and neither is taken. Of the known
//! part only the roots of its perfect subtrees are needed, at most 64 of them, however long it is.

use std::collections::BTreeSet;

use crate::archive::record::{RecordingId, version_in};
use crate::seal::note::Checkpoint;
use crate::seal::receipt::Receipt;
use crate::seal::tree::{Hash, Nodes, verify_consistency};

/// How far a recorder's log is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known {
    /// Entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

/// Nothing is known.
impl Default for Known {
    fn default() -> Self {
        Self { size: 0, root: Hash::empty() }
    }
}

/// Why a log is not taken for the recorder's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LogRefusal {
    /// It has fewer entries than are known.
    #[error(
        "the log has {size} entries, and {known} are known: an older state was put back, or entries were removed"
    )]
    Shrunk {
        /// Entries that it has.
        size: u64,
        /// Entries that are known.
        known: u64,
    },
    /// It does not begin with what is known.
    #[error(
        "the log does not begin with the {known} entries that are known: it was rewritten, or the recorder keeps two \
         logs under one key, as in two folders; give each folder a recorder key of its own (--state)"
    )]
    Forked {
        /// Entries that are known.
        known: u64,
    },
    /// Its entries are not those that were signed.
    #[error("the entries after {known} are not those that the recorder signed")]
    Unsigned {
        /// Entries that are known.
        known: u64,
    },
}

/// Checks that a log goes on where it was left.
#[derive(Debug)]
pub struct Continuation {
    known: u64,
    size: u64,
    /// Roots of perfect trees and their heights, the largest first.
    parts: Vec<(u32, Hash)>,
}

impl Continuation {
    /// Begins with what is known: `edge` gives the roots of the perfect subtrees of the first entries, as
    /// [`edge`] does.
    pub fn begin(known: &Known, edge: &[Hash], checkpoint: &Checkpoint) -> Result<Self, LogRefusal> {
        if checkpoint.size < known.size {
            return Err(LogRefusal::Shrunk { size: checkpoint.size, known: known.size });
        }
        let heights = heights(known.size);
        let parts: Vec<_> = heights.into_iter().zip(edge.iter().copied()).collect();
        let continuation = Self { known: known.size, size: known.size, parts };
        let is_whole = continuation.parts.len() == edge.len() && edge.len() == heights_count(known.size);
        if is_whole && continuation.root() == known.root {
            Ok(continuation)
        } else {
            Err(LogRefusal::Forked { known: known.size })
        }
    }

    /// Goes on with the next entry.
    pub fn push(&mut self, leaf: Hash) {
        let mut part = (0, leaf);
        while let Some((height, left)) = self.parts.last().copied().filter(|(height, _)| *height == part.0) {
            self.parts.pop();
            part = (height + 1, Hash::node(&left, &part.1));
        }
        self.parts.push(part);
        self.size += 1;
    }

    /// Ends with what the recorder has signed: these entries, or more, of which `proof` shows that they begin with
    /// these (RFC 6962 section 2.1.2).
    pub fn finish(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Known, LogRefusal> {
        let (known, root) = (self.known, self.root());
        // Every log begins with none.
        let is_begun = self.size > 0 || checkpoint.size == 0;
        if is_begun && !verify_consistency(self.size, &root, checkpoint.size, &checkpoint.root, proof) {
            let is_old = self.size == known;
            return Err(if is_old { LogRefusal::Forked { known } } else { LogRefusal::Unsigned { known } });
        }
        Ok(Known { size: self.size, root })
    }

    fn root(&self) -> Hash {
        let hashes = self.parts.iter().map(|(_, hash)| *hash).rev();
        hashes.reduce(|right, left| Hash::node(&left, &right)).unwrap_or_else(Hash::empty)
    }
}

/// Roots of the perfect subtrees of the first `size` entries, the largest first. `None` where a node is not known.
pub fn edge(nodes: &(impl Nodes + ?Sized), size: u64) -> Option<Vec<Hash>> {
    let mut at = 0;
    let mut hashes = Vec::new();
    for height in heights(size) {
        hashes.push(nodes.node(height, at >> height)?);
        at += 1 << height;
    }
    Some(hashes)
}

fn heights(size: u64) -> Vec<u32> {
    (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1).collect()
}

fn heights_count(size: u64) -> usize {
    size.count_ones() as usize
}

/// What a file was found to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// Not there.
    Absent,
    /// There, with so many bytes and this SHA-256.
    There {
        /// Length.
        bytes: u64,
        /// SHA-256 of all of it.
        sha256: [u8; 32],
    },
}

/// What becomes of a recording that has a receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It may be taken in.
    Accept,
    /// A file is not there yet.
    Wait(String),
    /// Something is not as it was receipted.
    Refuse(String),
}

/// Id of the recording, where the receipt is one whose files may be named so: the names go into paths.
pub fn id_of(receipt: &Receipt) -> Result<RecordingId, String> {
    let id = receipt.id.parse().map_err(|_| format!("`{}` is no id of a recording", receipt.id))?;
    let mut names = BTreeSet::new();
    for file in &receipt.files {
        let rest = file.name.strip_prefix(&receipt.id).and_then(|rest| rest.strip_prefix('.'));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = rest.is_some_and(|rest| {
            !rest.is_empty()
                && rest.len() <= NAME_REST_MAX
                && rest.bytes().all(is_plain)
                && rest.split('.').all(|part| !part.is_empty())
        });
        if !is_name || version_in(&file.name, &id).is_some() || !names.insert(&file.name) {
            return Err(format!("`{}` is no name of a file of recording {id}", file.name));
        }
    }
    if receipt.files.len() > FILES_MAX {
        return Err(format!(
            "recording {id} has {} files, and at most {FILES_MAX} are taken",
            receipt.files.len()
        ));
    }
    Ok(id)
}

/// Decides, of files found in the order of the receipt.
pub fn judge(receipt: &Receipt, found: &[Found]) -> Verdict {
    let mut absent = None;
    for (file, found) in receipt.files.iter().zip(found) {
        match found {
            Found::Absent => absent = absent.or(Some(&file.name)),
            Found::There { bytes, .. } if *bytes != file.bytes => {
                return Verdict::Refuse(format!(
                    "`{}` has {bytes} bytes, and {} were sealed: restore it from a copy",
                    file.name, file.bytes
                ));
            }
            Found::There { sha256, .. } if *sha256 != file.sha256 => {
                return Verdict::Refuse(format!("`{}` was changed: restore it from a copy", file.name));
            }
            Found::There { .. } => {}
        }
    }
    match absent {
        Some(name) => Verdict::Wait(format!("`{name}` is not there")),
        None if found.len() < receipt.files.len() => Verdict::Wait("files are not there".into()),
        None => Verdict::Accept,
    }
}

/// Entries of a recorder's log by what became of them. Their sum is the log's size, or entries were lost: see
/// [`Books::missing`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Books {
    /// Entries of the log, as far as it is known.
    pub size: u64,
    /// Recordings taken in, recorded or not.
    pub recordings: u64,
    /// Receipts whose recordings are not here yet, or were refused.
    pub awaited: u64,
    /// Entries that are no receipts: what happened to the recorder.
    pub events: u64,
}

impl Books {
    /// Entries that are in none of the books: a gap.
    pub fn missing(&self) -> u64 {
        self.size.saturating_sub(self.recordings + self.awaited + self.events)
    }
}

/// Files of one recording at most.
pub const FILES_MAX: usize = 64;
/// Characters of a file's name after the id.
const NAME_REST_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::Counters;
    use crate::base::time::Stamp;
    use crate::seal::receipt::{ReceiptFile, ReceiptState, SCHEMA};
    use crate::seal::tree;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| Hash::leaf(&number.to_be_bytes())).collect()
    }

    fn known(leaves: &[Hash]) -> Known {
        Known { size: leaves.len() as u64, root: tree::root(leaves, leaves.len() as u64).unwrap() }
    }

    fn checkpoint(leaves: &[Hash]) -> Checkpoint {
        let Known { size, root } = known(leaves);
        Checkpoint { origin: "recorder-1".into(), size, root }
    }

    fn go_on(
        from: &[Hash],
        beginning: &[Hash],
        more: &[Hash],
        signed: &Checkpoint,
    ) -> Result<Known, LogRefusal> {
        let edge = edge(beginning, from.len() as u64).unwrap_or_default();
        let mut continuation = Continuation::begin(&known(from), &edge, signed)?;
        more.iter().for_each(|leaf| continuation.push(*leaf));
        continuation.finish(signed, &[])
    }

    #[test]
    fn a_log_goes_on_from_every_size_to_every_size() {
        let all = leaves(70);
        for from in 0..=70 {
            for to in from..=70 {
                let signed = checkpoint(&all[..to]);
                let done = go_on(&all[..from], &all, &all[from..to], &signed);
                assert_eq!(done, Ok(known(&all[..to])), "{from} to {to}");
            }
        }
    }

    #[test]
    fn what_was_put_back_rewritten_or_not_signed_is_refused() {
        let all = leaves(40);
        let mut other = all.clone();
        other[3] = Hash::leaf(b"another");
        let (from, size) = (20, 40);
        let forked = Err(LogRefusal::Forked { known: 20 });
        assert_eq!(go_on(&all[..from], &other, &other[from..size], &checkpoint(&other)), forked);
        let unsigned = Err(LogRefusal::Unsigned { known: 20 });
        // The known part is shown as it was, and another one was signed.
        assert_eq!(go_on(&all[..from], &all, &all[from..size], &checkpoint(&other)), unsigned);
        assert_eq!(go_on(&all[..from], &all, &all[from..39], &checkpoint(&all)), unsigned);
        let mut swapped = all[from..].to_vec();
        swapped.swap(0, 1);
        assert_eq!(go_on(&all[..from], &all, &swapped, &checkpoint(&all)), unsigned);
        let shrunk = Err(LogRefusal::Shrunk { size: 19, known: 20 });
        assert_eq!(go_on(&all[..from], &all, &[], &checkpoint(&all[..19])), shrunk);
        // As long as what is known, and another.
        assert_eq!(go_on(&all[..from], &all, &[], &checkpoint(&other[..from])), forked);
        let too_few =
            Continuation::begin(&known(&all[..21]), &edge(&all[..], 20).unwrap(), &checkpoint(&all));
        assert!(matches!(too_few, Err(LogRefusal::Forked { known: 21 })));
    }

    #[test]
    fn a_long_log_comes_in_pieces() {
        let all = leaves(40);
        let signed = checkpoint(&all);
        for to in 1..40 {
            let mut continuation = Continuation::begin(&Known::default(), &[], &signed).unwrap();
            all[..to].iter().for_each(|leaf| continuation.push(*leaf));
            let mut proof = tree::consistency_proof(&all[..], to as u64, 40).unwrap();
            assert_eq!(continuation.finish(&signed, &proof), Ok(known(&all[..to])));
            proof.pop();
            assert!(continuation.finish(&signed, &proof).is_err(), "{to}");
        }
        let nothing = Continuation::begin(&Known::default(), &[], &signed).unwrap();
        assert_eq!(nothing.finish(&signed, &[]), Ok(Known::default()));
    }

    fn receipt(names: &[&str]) -> Receipt {
        let file = |name: &&str| ReceiptFile { name: (*name).into(), bytes: 7, sha256: [7; 32] };
        Receipt {
            schema: SCHEMA,
            id: "0193c4a5-0000-7000-8000-000000000001".into(),
            state: ReceiptState::Complete,
            start: Stamp::ZERO,
            end: Stamp::ZERO,
            files: names.iter().map(file).collect(),
            rule: "all@1".into(),
            counters: Counters::default(),
            recorder: "recorder-1".into(),
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn names_stay_in_their_folder_and_with_their_recording() {
        let id = "0193c4a5-0000-7000-8000-000000000001";
        let good = format!("{id}.opus.age");
        assert!(id_of(&receipt(&[&good, &format!("{id}.json.age")])).is_ok());
        for name in [
            "0193c4a5-0000-7000-8000-000000000002.opus.age".to_owned(),
            format!("{id}.a/b"),
            format!("../{id}.age"),
            format!("{id}..age"),
            format!("{id}."),
            format!("{id}.a b"),
            format!("{id}.{}", "a".repeat(97)),
            // That of a version is the archive's.
            format!("{id}.v1.age"),
            id.to_owned(),
        ] {
            assert!(id_of(&receipt(&[&name])).is_err(), "{name}");
        }
        assert!(id_of(&receipt(&[&good, &good])).is_err());
        let many: Vec<_> = (0..=FILES_MAX).map(|number| format!("{id}.{number}")).collect();
        assert!(id_of(&receipt(&many.iter().map(String::as_str).collect::<Vec<_>>())).is_err());
    }

    #[test]
    fn a_file_that_is_late_is_waited_for_and_one_that_was_changed_is_refused() {
        let receipt = receipt(&["a", "b"]);
        let good = Found::There { bytes: 7, sha256: [7; 32] };
        assert_eq!(judge(&receipt, &[good, good]), Verdict::Accept);
        assert!(matches!(judge(&receipt, &[good, Found::Absent]), Verdict::Wait(_)));
        assert!(matches!(judge(&receipt, &[good]), Verdict::Wait(_)));
        for changed in
            [Found::There { bytes: 6, sha256: [7; 32] }, Found::There { bytes: 7, sha256: [8; 32] }]
        {
            assert!(matches!(judge(&receipt, &[Found::Absent, changed]), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn entries_that_are_in_no_book_are_a_gap() {
        let books = Books { size: 9, recordings: 4, awaited: 2, events: 3 };
        assert_eq!(books.missing(), 0);
        assert_eq!(Books { recordings: 3, ..books }.missing(), 1);
    }
}
