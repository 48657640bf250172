//! Which files the disk may not have kept.
//!
//! A write that fails behind the writer's back is told once, by the next sync of each descriptor; after that
//! the kernel calls the pages clean that it could not write, and syncs say that all is well. So a sync that
//! failed puts all files in doubt that are unfinished then, whoever asked for it, until each has been
//! written anew. Until then what the journal has of them is kept (I2).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::shell::disk::{Disk, Expected, is_unreadable};

/// Shared by who writes files, who names them, and who lets go of journal segments.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Syncs that failed.
    failures: u64,
    /// Recordings of which a file was lost.
    lost: u64,
    /// By name of each unfinished file, how many syncs had failed when all of it was proved last; none where
    /// nothing can prove it.
    files: BTreeMap<String, Option<u64>>,
}

/// How things are at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    /// Syncs that failed so far.
    pub(super) failures: u64,
    /// Recordings so far of which a file was lost.
    pub(super) lost: u64,
    /// Whether there are files that the disk may not have kept.
    pub(super) doubted: bool,
}

impl Doubt {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file was made: nothing of it can have been lost yet.
    pub(super) fn begin(&self, name: &str) {
        let mut known = self.known();
        let failures = known.failures;
        known.files.insert(name.into(), Some(failures));
    }

    /// A sync failed.
    pub(super) fn failed(&self) {
        self.known().failures += 1;
    }

    /// A file is not what it was to be, and its descriptor says nothing of that.
    pub(super) fn condemn(&self, name: &str) {
        if let Some(proved) = self.known().files.get_mut(name) {
            *proved = None;
        }
    }

    /// Whether the disk may not have kept a file.
    pub(super) fn doubts(&self, name: &str) -> bool {
        let known = self.known();
        known.files.get(name).is_some_and(|proved| *proved != Some(known.failures))
    }

    /// What to give to [`Self::proved`] once a file has been written anew; nothing where there is no need to,
    /// or no use.
    pub(super) fn provable(&self, name: &str) -> Option<u64> {
        let known = self.known();
        let proved = (*known.files.get(name)?)?;
        (proved != known.failures).then_some(known.failures)
    }

    /// All of a file has been written anew, durably, since so many syncs had failed.
    pub(super) fn proved(&self, name: &str, failures: u64) {
        if let Some(proved) = self.known().files.get_mut(name) {
            *proved = Some(failures);
        }
    }

    /// A file has its final name, on the disk, or is gone on purpose.
    pub(super) fn settled(&self, name: &str) {
        self.known().files.remove(name);
    }

    /// The disk has not kept all files of a recording: the journal may have what is missing, for good.
    pub(super) fn lost<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut known = self.known();
        known.lost += 1;
        for name in names {
            known.files.remove(name);
        }
    }

    /// Syncs that failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.known().failures
    }

    /// How things are now.
    pub(super) fn standing(&self) -> Standing {
        let Known { failures, lost, files } = &*self.known();
        let doubted = files.values().any(|proved| *proved != Some(*failures));
        Standing { failures: *failures, lost: *lost, doubted }
    }
}

/// A file that is being written, and what it must hold.
pub(super) struct Part {
    pub(super) path: PathBuf,
    bytes: u64,
    checksum: u32,
    /// It holds a part of something, which cannot be taken back: no more is written to it.
    pub(super) torn: bool,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, bytes: 0, checksum: 0, torn: false }
    }

    /// These were appended.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
    }

    /// Writes it anew where the disk may not have kept it. What the disk has lost already stays in doubt.
    /// An error says that it can be tried again.
    pub(super) fn heal(&self, name: &str, disk: &mut dyn Disk, doubt: &Doubt) -> io::Result<()> {
        let Some(failures) = doubt.provable(name) else { return Ok(()) };
        disk.close(&self.path)?;
        let expected = Expected::Crc32c { bytes: self.bytes, checksum: self.checksum };
        let was_kept = match disk.rewrite_once(&self.path, &expected) {
            Err(error) if is_unreadable(&error) => false,
            other => other?,
        };
        if was_kept {
            doubt.proved(name, failures);
        } else {
            tracing::error!(
                file = %self.path.display(),
                "the disk did not keep what was written: the journal is kept for it"
            );
            doubt.condemn(name);
        }
        Ok(())
    }
}

/// Where a file is until it has its final name.
pub(super) fn part_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.part"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::disk::RealDisk;

    #[test]
    fn what_is_unfinished_when_a_sync_fails_is_doubted_until_it_is_proved() {
        let doubt = Doubt::default();
        doubt.begin("old");
        assert!(!doubt.doubts("old") && doubt.provable("old").is_none());
        doubt.failed();
        doubt.begin("new");
        assert!(doubt.doubts("old") && !doubt.doubts("new") && doubt.standing().doubted);
        let failures = doubt.provable("old").unwrap();
        doubt.failed();
        doubt.proved("old", failures);
        assert!(doubt.doubts("old"), "a sync failed while it was written anew");
        doubt.proved("old", doubt.provable("old").unwrap());
        assert!(!doubt.doubts("old") && doubt.doubts("new"));
        doubt.settled("new");
        assert_eq!(doubt.standing(), Standing { failures: 2, lost: 0, doubted: false });
        doubt.condemn("old");
        assert!(doubt.doubts("old") && doubt.provable("old").is_none());
        doubt.lost(["old"].into_iter());
        assert_eq!(doubt.standing(), Standing { failures: 2, lost: 1, doubted: false });
    }

    #[test]
    fn a_part_is_written_anew_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, doubt) = (RealDisk::new(true), Doubt::default());
        let mut part = Part::new(part_path(dir.path(), "a"));
        let append = |part: &mut Part, disk: &mut RealDisk, bytes: &[u8]| {
            disk.append(&part.path, bytes).unwrap();
            part.wrote(bytes);
        };
        disk.create(&part.path).unwrap();
        doubt.begin("a");
        append(&mut part, &mut disk, b"one");
        doubt.failed();
        part.heal("a", &mut disk, &doubt).unwrap();
        assert!(!doubt.doubts("a"));
        // Into the new file, not into the one that it has replaced.
        append(&mut part, &mut disk, b"two");
        assert_eq!(std::fs::read(&part.path).unwrap(), b"onetwo");
        doubt.failed();
        std::fs::write(&part.path, b"onetw\0").unwrap();
        part.heal("a", &mut disk, &doubt).unwrap();
        assert!(doubt.doubts("a") && doubt.provable("a").is_none());
    }
}
