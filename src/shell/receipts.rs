//! The recorder's log of receipts, as files beside the recordings.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::recording::manifest::{Manifest, State};
use crate::recording::recorder::Finished;
use crate::seal::event::Event;
use crate::seal::log::{CHECKPOINT_PATH, Log, LogError};
use crate::seal::log_verify::{Role, VerifiedLog, is_settled, role, verify_log};
use crate::seal::note::{Checkpoint, Signer};
use crate::seal::receipt::{self, Receipt, ReceiptFile, ReceiptState};
use crate::shell::disk::{COPY_SUFFIX, Disk, remedy};
use crate::shell::locks;

/// Why receipts cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptsError {
    /// Two runs would each write a log of their own, and destroy the other's.
    #[error("another run is writing receipts into `{}`: choose another directory, or wait until it ends and start again", dir.display())]
    Busy {
        /// The folder of receipts.
        dir: PathBuf,
    },
    /// Another recorder keeps its log here.
    #[error("`{}` holds the receipts of recorder {other}, and this is {name}: choose another directory, or that recorder's --state", dir.display())]
    Foreign {
        /// The folder of receipts.
        dir: PathBuf,
        /// Who keeps it.
        other: String,
        /// Who wants to.
        name: String,
    },
    /// The operating system refused.
    #[error("{doing} receipts `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there is not what was signed.
    #[error("the receipts in `{}` are damaged: {source}; `sejf verify` says more; record into another directory", dir.display())]
    Log {
        /// The folder of receipts.
        dir: PathBuf,
        /// What is wrong.
        source: LogError,
    },
}

/// The log, and where it is.
#[derive(Debug)]
pub struct ReceiptLog {
    dir: PathBuf,
    log: Log,
    signer: Signer,
    /// Whether the folder and the public key are there.
    begun: bool,
    /// Whether it was seen to what a run that died had written after its last checkpoint, and to what the run before
    /// needed last.
    tidy: bool,
    /// Files of the log that are to be written before the next checkpoint.
    unwritten: Vec<(String, Vec<u8>)>,
    /// Narrower tiles that the newest checkpoint does not need; the one before may, until the newest is on the disk.
    superseded: Vec<String>,
    /// Held for as long as this log may write; none before the folder is there.
    lock: Option<File>,
}

impl ReceiptLog {
    /// Takes up the log in `recordings`, or begins one at the first commit.
    pub fn open(recordings: &Path, signer: Signer) -> Result<Self, ReceiptsError> {
        Self::open_within(recordings, signer, locks::IN_PASSING)
    }

    /// The same, where another run may be writing for so long.
    pub(in crate::shell) fn open_within(
        recordings: &Path,
        signer: Signer,
        patience: Duration,
    ) -> Result<Self, ReceiptsError> {
        let dir = recordings.join(DIR_NAME);
        let lock = if dir.is_dir() { Some(lock(&dir, patience)?) } else { None };
        let path = dir.join(CHECKPOINT_PATH);
        // One that cannot be seen is not one that is not there: what it covers would be taken for unsigned.
        let begun = path.try_exists();
        let begun = begun.map_err(|source| ReceiptsError::Io { doing: "looking for", path, source })?;
        if !begun && has_grown(&dir) {
            let source = LogError::Missing { path: CHECKPOINT_PATH.into() };
            return Err(ReceiptsError::Log { dir, source });
        }
        let log = if begun {
            if let Some(other) =
                read_key(&dir).filter(|other| other.trim() != signer.verify_key().to_string())
            {
                let other = other.split('+').next().unwrap_or_default().into();
                return Err(ReceiptsError::Foreign { dir, other, name: signer.name().into() });
            }
            Log::resume(&|path| read_file(&dir, path), signer.verify_key())
                .map_err(|source| ReceiptsError::Log { dir: dir.clone(), source })?
        } else {
            Log::new()
        };
        Ok(Self { dir, log, signer, begun, tidy: false, unwritten: Vec::new(), superseded: Vec::new(), lock })
    }

    /// Adds the receipt of a recording whose files have their final names.
    pub fn append(&mut self, finished: &Finished) -> Result<(), ReceiptsError> {
        self.append_receipt(&receipt_of(finished))
    }

    /// Adds a receipt whose files are on the disk under their names.
    pub fn append_receipt(&mut self, receipt: &Receipt) -> Result<(), ReceiptsError> {
        self.append_entry(&receipt.to_entry()).map(drop)
    }

    /// Adds what happened to the recorder.
    pub fn append_event(&mut self, event: &Event) -> Result<(), ReceiptsError> {
        self.append_entry(&event.to_entry()).map(drop)
    }

    /// Adds any entry, and says which it is.
    pub(in crate::shell) fn append_entry(&mut self, entry: &[u8]) -> Result<u64, ReceiptsError> {
        self.log.append(entry).map_err(|source| ReceiptsError::Log { dir: self.dir.clone(), source })
    }

    /// How far it is signed, before anything is added.
    pub(in crate::shell) fn signed(&self) -> Checkpoint {
        Checkpoint { origin: self.signer.name().into(), size: self.log.size(), root: self.log.root() }
    }

    /// Names of all files that a signed receipt names.
    pub fn receipted_files(&self) -> Result<BTreeSet<String>, ReceiptsError> {
        let Some(log) = self.verified()? else { return Ok(BTreeSet::new()) };
        let receipts = log.entries.iter().filter_map(|entry| Receipt::from_entry(entry).ok());
        Ok(receipts.flat_map(|receipt| receipt.files).map(|file| file.name).collect())
    }

    /// All that was signed, checked; nothing before the first commit. No other run writes meanwhile.
    pub(in crate::shell) fn verified(&self) -> Result<Option<VerifiedLog>, ReceiptsError> {
        if !self.begun {
            return Ok(None);
        }
        let key = self.signer.verify_key();
        let damaged = |source| ReceiptsError::Log { dir: self.dir.clone(), source };
        let note = read_file(&self.dir, CHECKPOINT_PATH).and_then(|note| String::from_utf8(note).ok());
        let size = note.and_then(|note| key.open(&note).ok()).map_or(0, |checkpoint| checkpoint.size);
        let read = |path: &str| read_file(&self.dir, path).filter(|_| role(path, size) != Role::Beyond);
        verify_log(&read, key).map(Some).map_err(damaged)
    }

    /// Writes what was added since the last commit, then the checkpoint that covers it.
    pub fn commit(&mut self, disk: &mut dyn Disk) -> Result<(), ReceiptsError> {
        let io = |doing, path: &Path, source| ReceiptsError::Io { doing, path: path.into(), source };
        let make_dir = |disk: &mut dyn Disk, dir: &Path| {
            disk.create_dir(dir).map_err(|source| io("making folder of", dir, source))
        };
        if !self.begun {
            make_dir(disk, &self.dir)?;
            if self.lock.is_none() {
                self.lock = Some(lock(&self.dir, locks::IN_PASSING)?);
                // Begun, and perhaps ended, since this run looked.
                if self.dir.join(CHECKPOINT_PATH).exists() {
                    return Err(ReceiptsError::Busy { dir: self.dir.clone() });
                }
            }
            let path = self.dir.join(KEY_NAME);
            let text = format!("{}\n", self.signer.verify_key());
            disk.replace(&path, text.as_bytes()).map_err(|source| io("writing", &path, source))?;
            self.begun = true;
        }
        if !self.tidy {
            self.tidy_up(disk);
            self.tidy = true;
        }
        // A commit that failed half way is taken up again where it was.
        self.unwritten.extend(self.log.files_changed());
        for (path, content) in &self.unwritten {
            let path = self.dir.join(path);
            if let Some(parent) = path.parent() {
                make_dir(disk, parent)?;
            }
            disk.replace(&path, content).map_err(|source| io("writing", &path, source))?;
        }
        disk.sync(&self.dir).map_err(|source| io("syncing", &self.dir, source))?;
        // The checkpoint of before is on the disk by now: what only its predecessors needed may go. A tile that stays
        // does no harm.
        for path in std::mem::take(&mut self.superseded) {
            let path = self.dir.join(path);
            let _ = disk.remove(&path);
            // The folder of what was narrower than a full tile is empty with the last of it.
            if let Some(folder) = path.parent().filter(|_| !path.exists()) {
                let _ = std::fs::remove_dir(folder);
            }
        }
        let path = self.dir.join(CHECKPOINT_PATH);
        let note = self.log.checkpoint(&self.signer);
        disk.replace(&path, note.as_bytes()).map_err(|source| io("writing", &path, source))?;
        self.unwritten.clear();
        self.superseded.append(&mut self.log.take_superseded());
        Ok(())
    }
}

impl ReceiptLog {
    /// Removes what was written and never signed: a wider tile that stays would contradict the next checkpoint, and a
    /// copy that never took the place of its file is in nobody's books. What is narrower than it has to be by now goes
    /// with the next commit.
    fn tidy_up(&mut self, disk: &mut dyn Disk) {
        let note = read_file(&self.dir, CHECKPOINT_PATH).and_then(|note| String::from_utf8(note).ok());
        let signed = note.and_then(|note| self.signer.verify_key().open(&note).ok());
        let size = signed.map_or(0, |checkpoint| checkpoint.size);
        let named = |path: &Path| {
            path.strip_prefix(&self.dir).ok().and_then(Path::to_str).unwrap_or_default().to_owned()
        };
        // Not all of a log that is years long: a vault does this for each entry.
        for path in files_below(&self.dir, |folder| !is_settled(&named(folder), size)) {
            let name = named(&path);
            match role(&name, size) {
                Role::Superseded => self.superseded.push(name),
                Role::Beyond => drop(disk.remove(&path)),
                // What stays is told by `verify`.
                _ if is_copy(&name) => drop(disk.remove(&path)),
                Role::Needed | Role::Foreign => {}
            }
        }
    }
}

/// Whether more was written than a first commit that was cut off: then a checkpoint was there, and was lost.
fn has_grown(dir: &Path) -> bool {
    let entries = dir.join("tile/entries");
    let partial = std::fs::read_dir(entries.join("000.p")).map_or(0, |files| files.flatten().count());
    partial > 1 || entries.join("000").exists()
}

/// Takes the folder of receipts for this run alone, until the file is dropped.
fn lock(dir: &Path, patience: Duration) -> Result<File, ReceiptsError> {
    let io = |source| ReceiptsError::Io { doing: "locking", path: dir.into(), source };
    locks::folder_alone(dir, patience).map_err(io)?.ok_or_else(|| ReceiptsError::Busy { dir: dir.into() })
}

fn receipt_of(finished: &Finished) -> Receipt {
    let Manifest { id, state, start, end, rule, counters, recorder, .. } = &finished.manifest;
    let file = |file: &crate::recording::recorder::SealedAs| ReceiptFile {
        name: file.name.clone(),
        bytes: file.bytes,
        sha256: file.sha256,
    };
    Receipt {
        schema: receipt::SCHEMA,
        id: id.clone(),
        state: match state {
            State::Complete => ReceiptState::Complete,
            State::Excluded => ReceiptState::ExcludedByRule,
            State::Failed => ReceiptState::Failed,
            State::Interrupted => ReceiptState::Interrupted,
            State::Unanswered => ReceiptState::Unanswered,
        },
        start: *start,
        end: *end,
        files: finished.files.iter().map(file).collect(),
        rule: rule.clone(),
        counters: counters.clone(),
        recorder: recorder.id.clone(),
        version: recorder.version.clone(),
    }
}

/// Whether a file of the log's folder is what was to become one of its files: the recorder died before it did.
pub(super) fn is_copy(path: &str) -> bool {
    path.strip_suffix(COPY_SUFFIX)
        .is_some_and(|file| [CHECKPOINT_PATH, KEY_NAME].contains(&file) || role(file, 0) != Role::Foreign)
}

/// All files below `dir` that can be seen.
fn files_below(dir: &Path, looks_into: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match entry.path() {
                folder if is_dir && looks_into(&folder) => dirs.push(folder),
                _ if is_dir => {}
                file => files.push(file),
            }
        }
    }
    files
}

/// Reads a file of the log in `dir`; nothing where there is none, or it cannot be read.
pub(super) fn read_file(dir: &Path, path: &str) -> Option<Vec<u8>> {
    std::fs::read(dir.join(path)).ok()
}

/// Reads the public key beside the receipts.
pub(super) fn read_key(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(KEY_NAME)).ok()
}

/// The folder of receipts in a folder of recordings.
pub(super) const DIR_NAME: &str = "receipts";
/// The recorder's public key there: for convenience, not for proof.
pub(super) const KEY_NAME: &str = "recorder.pub";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Stamp;
    use crate::seal::event::EventKind;
    use crate::shell::disk::RealDisk;
    use crate::shell::identity;
    use crate::shell::verify::{self, Fault};

    /// A recorder that is killed at a step: nothing it would have done after that is done.
    struct Killed {
        disk: RealDisk,
        /// Steps before the end.
        left: usize,
    }

    impl Killed {
        fn step(&mut self) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
            Ok(())
        }
    }

    impl Disk for Killed {
        fn create_dir(&mut self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.create_dir(path)
        }

        fn sync(&mut self, dir: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.sync(dir)
        }

        /// In four steps: nothing, a file with nothing in it, with half, with all, and then the name.
        fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.step()?;
            let copy = path.with_file_name(format!(
                "{}{COPY_SUFFIX}",
                path.file_name().and_then(|name| name.to_str()).unwrap()
            ));
            for part in [&bytes[..0], &bytes[..bytes.len() / 2], bytes] {
                std::fs::write(&copy, part)?;
                self.step()?;
            }
            std::fs::rename(copy, path)
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.remove(path)
        }

        fn create(&mut self, path: &Path) -> io::Result<()> {
            unreachable!("a log creates no {}", path.display())
        }

        fn append(&mut self, path: &Path, _: &[u8]) -> io::Result<()> {
            unreachable!("a log appends nothing to {}", path.display())
        }

        fn close(&mut self, path: &Path) -> io::Result<()> {
            unreachable!("a log holds no {}", path.display())
        }

        fn rename_new(&mut self, from: &Path, _: &Path) -> io::Result<()> {
            unreachable!("a log renames no {}", from.display())
        }

        fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            unreachable!("a log reads no {} of the disk's", path.display())
        }
    }

    /// Takes up the log, adds so many events in one commit, and is killed where a number of steps is given.
    /// Returns whether it lived.
    fn note(dir: &Path, events: u64, steps: Option<usize>) -> bool {
        let mut log = ReceiptLog::open(dir, identity::from_seed(&[1; 32])).unwrap();
        for number in 0..events {
            let at = Stamp::from_unix_nanos(number);
            log.append_event(&Event::new(at, EventKind::JournalDegraded, "recorder-1", "0.1.0")).unwrap();
        }
        let mut disk = Killed { disk: RealDisk::new(true), left: steps.unwrap_or(usize::MAX) };
        let committed = log.commit(&mut disk);
        // What it does not say is that something superseded stays.
        let lived = disk.left > 0;
        assert!(committed.is_ok() || !lived, "{committed:?}");
        lived
    }

    fn faults(dir: &Path) -> (u64, Vec<Fault>) {
        let report = verify::directory(dir, &verify::Asked::default()).unwrap();
        (report.events, report.faults)
    }

    /// Killed at every step of a commit, and then at some step of the commit of the run after it: what was signed is
    /// there, and the run after those leaves nothing that is in nobody's books.
    fn kill_everywhere(before: u64, more: u64) {
        let mut copies = 0;
        for first in 0.. {
            let dir = tempfile::tempdir().unwrap();
            if before > 0 {
                note(dir.path(), before, None);
            }
            let done = note(dir.path(), more, Some(first));
            let (signed, left) = faults(dir.path());
            assert!([before, before + more].contains(&signed), "{before}+{more}, {first}: {signed}");
            for fault in &left {
                let known = match fault {
                    Fault::Unfinished { name } => name.ends_with(COPY_SUFFIX),
                    Fault::Added { name } => name.starts_with("receipts/tile/"),
                    Fault::NoReceipts | Fault::PublicKey => before == 0,
                    _ => false,
                };
                assert!(known, "{before}+{more}, {first}: {fault}");
            }
            let is_copy = |path: &PathBuf| path.to_string_lossy().ends_with(COPY_SUFFIX);
            copies += files_below(dir.path(), |_| true).iter().filter(|path| is_copy(path)).count();
            // Another number of entries: its tiles have other names.
            let second = first * 5 % 23;
            note(dir.path(), more + 1, Some(second));
            note(dir.path(), 1, None);
            let (_, left) = faults(dir.path());
            assert!(left.is_empty(), "{before}+{more}, {first}, {second}: {left:?}");
            if done {
                break;
            }
        }
        assert!(copies > 0, "{before}+{more}: no copy was ever left");
    }

    #[test]
    fn a_log_whose_recorder_is_killed_at_any_step_is_whole_after_the_next_commit() {
        // The first commit; one like any other; one that fills a tile and begins the next.
        for (before, more) in [(0, 1), (3, 1), (255, 2)] {
            kill_everywhere(before, more);
        }
    }
}
