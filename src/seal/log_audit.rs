//! What became of a log since checkpoints of it were kept: changed, cut, forked, put back; and which entry it is.
//!
//! The log's own checkpoint proves that its files are those that were signed; an earlier one, kept where nobody reaches
//! who has the signing key, proves that what was signed then is still what is signed now. Where the hashes of the signed
//! entries are proved, each entry that is not one of them is named. Where somebody signed other entries with the log's own
//! key, only the checkpoints on both sides say where: the closer they are, the better.

use std::collections::{HashMap, HashSet};

use crate::seal::log::LogError;
use crate::seal::log::ReadFile;
use crate::seal::log::TILE_WIDTH;
use crate::seal::log::TileFile;
use crate::seal::log_survey::SurveyedBundle;
use crate::seal::log_survey::SurveyedLog;
use crate::seal::log_survey::survey_log;
use crate::seal::log_verify::VerifiedLog;
use crate::seal::log_verify::verify_log;
use crate::seal::note::Checkpoint;
use crate::seal::note::VerifyKey;
use crate::seal::tree::Growing;
use crate::seal::tree::Hash;

/// A log, held against checkpoints that were kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogAudit {
    /// What is signed, where that can be read.
    pub checkpoint: Option<Checkpoint>,
    /// Entries that can be read, by number, without those that are known to be others than were signed.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// How many of the kept checkpoints the log goes on from.
    pub continued: usize,
    /// What is wrong; nothing where all is as it was signed.
    pub findings: Vec<Finding>,
    /// Findings that are left out, because there are so many.
    pub more: u64,
}

/// Something that is not as it was signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Another entry is in the place of one.
    #[error("edited: entry {index} is not the one that was signed")]
    Edited {
        /// Its number.
        index: u64,
    },
    /// An entry is gone, and others have closed the gap.
    #[error("removed: entry {index} is not there")]
    Removed {
        /// Its number.
        index: u64,
    },
    /// There is an entry that was never signed.
    #[error("inserted: before entry {before} stands one that was never signed")]
    Inserted {
        /// The number of the signed entry that follows, or of the one that would have been next.
        before: u64,
    },
    /// An entry that was signed stands where another one was.
    #[error("reordered: in the place of entry {place} stands entry {index}")]
    Reordered {
        /// Where it stands.
        place: u64,
        /// Which it is.
        index: u64,
    },
    /// The entries of a file are gone with it.
    #[error("removed: entries {from} to {} are not there", to - 1)]
    Lost {
        /// The first.
        from: u64,
        /// After the last.
        to: u64,
    },
    /// What was signed cannot be told any more, and what is there is not it.
    #[error("changed: among entries {from} to {} there are some that were not signed; which cannot be told", to - 1)]
    Unlike {
        /// The first.
        from: u64,
        /// After the last.
        to: u64,
    },
    /// A file of the log.
    #[error("log: {0}")]
    Log(LogError),
    /// The log has fewer entries than it had.
    #[error("cut or put back: the log had {had} entries and has {has}: entries {has} to {} are gone", had - 1)]
    RolledBack {
        /// By a checkpoint that was kept.
        had: u64,
        /// By its own.
        has: u64,
    },
    /// It is validly signed, and not what was signed before.
    #[error(
        "forked: whoever has the log's key has signed another log: one of entries {from} to {} is not as it was",
        to - 1
    )]
    Forked {
        /// Up to here, not included, a kept checkpoint proves it.
        from: u64,
        /// The first kept checkpoint that it does not go on from has so many.
        to: u64,
    },
    /// Two kept checkpoints contradict each other.
    #[error(
        "forked: two checkpoints of {size} entries are signed, and differ: the log's key has signed two logs"
    )]
    TwoLogs {
        /// Entries of both.
        size: u64,
    },
    /// Too much is missing to hold a kept checkpoint against it.
    #[error("not compared: of the first {size} entries, which were signed earlier, not all can be read")]
    Uncompared {
        /// Entries of the kept checkpoint.
        size: u64,
    },
}

impl Finding {
    /// The entry that it is about, or the first of them.
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Edited { index } | Self::Removed { index } => Some(*index),
            Self::Inserted { before } => Some(*before),
            Self::Reordered { place, .. } => Some(*place),
            Self::Lost { from, .. } | Self::Unlike { from, .. } | Self::Forked { from, .. } => Some(*from),
            Self::RolledBack { has, .. } => Some(*has),
            Self::Log(LogError::EntryChanged { index }) => Some(*index),
            Self::Log(_) | Self::TwoLogs { .. } | Self::Uncompared { .. } => None,
        }
    }

    /// The entry after it, or after the last of them.
    pub fn end(&self) -> Option<u64> {
        match self {
            Self::Inserted { before } => Some(*before),
            Self::Lost { to, .. } | Self::Unlike { to, .. } | Self::Forked { to, .. } => Some(*to),
            Self::RolledBack { had, .. } => Some(*had),
            _ => self.index().map(|index| index.saturating_add(1)),
        }
    }

    /// Its name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Edited { .. } => "edited",
            Self::Removed { .. } => "removed",
            Self::Inserted { .. } => "inserted",
            Self::Reordered { .. } => "reordered",
            Self::Lost { .. } => "lost",
            Self::Unlike { .. } => "changed",
            Self::Log(_) => "log",
            Self::RolledBack { .. } => "rolled-back",
            Self::Forked { .. } => "forked",
            Self::TwoLogs { .. } => "two-logs",
            Self::Uncompared { .. } => "not-compared",
        }
    }
}

/// All entries of a damaged log.
#[derive(Default)]
struct All {
    /// Numbers of those that were signed.
    signed: HashMap<Hash, u64>,
    /// Those that are there.
    found: HashSet<Hash>,
}

/// Reads a whole log and holds it against checkpoints of it that were kept: all are signed by `key`.
pub fn audit_log(read: &ReadFile<'_>, key: &VerifyKey, kept: &[Checkpoint]) -> LogAudit {
    let mut kept = kept.to_vec();
    kept.sort_by_key(|checkpoint| checkpoint.size);
    let mut audit = LogAudit::default();
    let (mut leaves, is_proved);
    match verify_log(read, key) {
        Ok(VerifiedLog { checkpoint, entries }) => {
            leaves = entries.iter().map(|entry| Some(Hash::leaf(entry))).collect::<Vec<_>>();
            is_proved = true;
            audit.entries = (0..).zip(entries).collect();
            audit.checkpoint = Some(checkpoint);
        }
        Err(_) => {
            let survey = survey_log(read, key);
            is_proved = survey.proved;
            leaves = leaves_of(&survey);
            audit.look_closer(&survey);
            audit.checkpoint = survey.checkpoint;
            audit.entries = survey.entries;
        }
    }
    if let Some(checkpoint) = &audit.checkpoint {
        leaves.truncate(usize::try_from(checkpoint.size).unwrap_or(usize::MAX));
    }
    let proved = audit.compare(&kept, &leaves);
    if !is_proved {
        audit.narrow(proved, leaves.len() as u64);
    }
    audit
}

/// Hashes of the entries as they were signed, where that is proved, else as they are.
fn leaves_of(survey: &SurveyedLog) -> Vec<Option<Hash>> {
    if survey.checkpoint.is_none() {
        return survey.entries.iter().map(|(_, entry)| Some(Hash::leaf(entry))).collect();
    }
    let mut leaves = Vec::new();
    for SurveyedBundle { width, signed, found, .. } in &survey.bundles {
        let found = found.iter().flatten().map(|entry| Hash::leaf(entry));
        let mut of_bundle: Vec<_> = match signed {
            Some(signed) => signed.iter().copied().map(Some).collect(),
            None => found.map(Some).collect(),
        };
        of_bundle.resize(*width, None);
        leaves.append(&mut of_bundle);
    }
    leaves
}

impl LogAudit {
    fn found(&mut self, finding: Finding) {
        if self.findings.contains(&finding) {
            return;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Says of each bundle what became of its entries, and of the other files what the survey says.
    fn look_closer(&mut self, survey: &SurveyedLog) {
        let mut all = All::default();
        for bundle in &survey.bundles {
            for (index, hash) in (bundle.first..).zip(bundle.signed.iter().flatten()) {
                all.signed.entry(*hash).or_insert(index);
            }
            all.found.extend(bundle.found.iter().flatten().map(|entry| Hash::leaf(entry)));
        }
        let compared = survey.bundles.iter().filter(|_| survey.proved);
        let told: Vec<u64> =
            compared.filter(|bundle| self.compare_bundle(bundle, &all)).map(|bundle| bundle.first).collect();
        let is_told = !self.findings.is_empty();
        for fault in &survey.faults {
            let bundle = match fault {
                LogError::EntryChanged { index } => Some(index - index % TILE_WIDTH as u64),
                LogError::Bundle { path } | LogError::Missing { path } => {
                    let file = TileFile::parse(path).filter(|file| file.level.is_none());
                    file.map(|file| file.index * TILE_WIDTH as u64)
                }
                _ => None,
            };
            // Of those it is said above what became of them.
            if !(is_told && bundle.is_some_and(|first| told.contains(&first))) {
                self.found(Finding::Log(fault.clone()));
            }
        }
    }

    /// Returns whether anything in it is not as it was signed.
    fn compare_bundle(&mut self, bundle: &SurveyedBundle, all: &All) -> bool {
        let SurveyedBundle { first, width, signed, found } = bundle;
        let to = first + *width as u64;
        let (Some(found), Some(signed)) = (found, signed) else {
            let is_there = found.is_some();
            self.found(if is_there {
                Finding::Unlike { from: *first, to }
            } else {
                Finding::Lost { from: *first, to }
            });
            return true;
        };
        let found: Vec<_> = found.iter().map(|entry| Hash::leaf(entry)).collect();
        if *signed == found {
            return false;
        }
        let same = signed.iter().zip(&found).take_while(|(signed, found)| signed == found).count();
        let left = signed.len().min(found.len()) - same;
        let after = signed.iter().rev().zip(found.iter().rev()).take(left);
        let after = after.take_while(|(signed, found)| signed == found).count();
        let (place, signed) = (first + same as u64, &signed[same..signed.len() - after]);
        let found = &found[same..found.len() - after];
        let here: HashSet<_> = signed.iter().collect();
        let has_moved = |(was, is): (&Hash, &Hash)| was != is && here.contains(is);
        let is_same_set = found.iter().collect::<HashSet<_>>() == here;
        if signed.len() == found.len() && (is_same_set || !signed.iter().zip(found).any(has_moved)) {
            self.compare_places(place, signed, found, all);
        } else {
            self.align(place, signed, found, all);
        }
        true
    }

    /// One for one: each is another, or has changed its place.
    fn compare_places(&mut self, place: u64, signed: &[Hash], found: &[Hash], all: &All) {
        for (place, (was, is)) in (place..).zip(signed.iter().zip(found)) {
            match all.signed.get(is) {
                Some(_) if was == is => {}
                Some(index) => self.found(Finding::Reordered { place, index: *index }),
                None => self.found(Finding::Edited { index: place }),
            }
        }
    }

    /// Entries have slipped: which is gone, and which is new. What has slipped over a bundle's border is neither.
    fn align(&mut self, mut place: u64, signed: &[Hash], found: &[Hash], all: &All) {
        let here: HashSet<_> = signed.iter().collect();
        let mut found = found.iter().peekable();
        for was in signed {
            while let Some(is) = found.next_if(|is| !here.contains(is)) {
                if !all.signed.contains_key(is) {
                    self.found(Finding::Inserted { before: place });
                }
            }
            if found.next_if_eq(&was).is_none() && !all.found.contains(was) {
                self.found(Finding::Removed { index: place });
            }
            place += 1;
        }
        for is in found {
            match all.signed.get(is) {
                Some(index) if here.contains(is) => self.found(Finding::Reordered { place, index: *index }),
                Some(_) => {}
                None => self.found(Finding::Inserted { before: place }),
            }
        }
    }

    /// Holds kept checkpoints against it, the smallest first. How many entries they prove.
    fn compare(&mut self, kept: &[Checkpoint], leaves: &[Option<Hash>]) -> u64 {
        for pair in kept.windows(2) {
            if pair[0].size == pair[1].size && pair[0].root != pair[1].root {
                self.found(Finding::TwoLogs { size: pair[0].size });
            }
        }
        let (mut proved, mut is_forked, mut grown) = (0, false, Growing::default());
        for Checkpoint { size, root, .. } in kept {
            match self.checkpoint.as_ref().map(|signed| signed.size) {
                Some(has) if *size > has => {
                    self.found(Finding::RolledBack { had: *size, has });
                    continue;
                }
                _ => {}
            }
            while grown.size() < *size
                && let Some(Some(leaf)) = leaves.get(grown.size() as usize)
            {
                grown.push(*leaf);
            }
            match (grown.size() == *size).then(|| grown.root() == *root) {
                Some(true) => {
                    proved = proved.max(*size);
                    self.continued += 1;
                }
                Some(false) if is_forked => {}
                Some(false) => {
                    is_forked = true;
                    // Without one entry there is none that could be another.
                    self.found(Finding::Forked { from: proved, to: (*size).max(proved + 1) });
                }
                None => self.found(Finding::Uncompared { size: *size }),
            }
        }
        proved
    }

    /// Of entries whose signed hashes cannot be told, kept checkpoints prove the first.
    fn narrow(&mut self, proved: u64, size: u64) {
        let has_place = self.findings.iter().any(|finding| finding.index().is_some_and(|at| at >= proved));
        if self.checkpoint.is_some() && size > proved && !has_place {
            self.found(Finding::Unlike { from: proved, to: size });
        }
    }
}

/// Findings of which each is told.
const FINDINGS_MAX: usize = 100;

#[cfg(test)]
mod tests;
