//! Sealed bytes to files, and files to finished recordings.
//!
//! ```text
//!  chunk ─► <name>.part      all chunks there ─► sync ─► rename to <name> ─► sync ─► receipt ─► sync
//! ```
//!
//! Invariant: a file has its final name only when all files of its recording are complete and on the disk; a
//! receipt exists only for files that have their final names, on the disk. Names come through a power cut in any
//! number and order: the next start gives the others theirs (`shell::recovery`). Two threads: `Store` writes, `Committer` waits
//! for the disk, so that waiting does not hold up writing.
//!
//! After a sync that failed, what is unfinished is written anew, by whoever has it (`shell::doubt`). A
//! recording of which the disk has lost a file is receipted as failed, with no file: all its parts stay as
//! they are, and so does the journal, for `sejf salvage`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::recording::manifest::{Manifest, State};
use crate::recording::recorder::Finished;
use crate::seal::event::{Event, EventKind};
use crate::seal::receipt::Receipt;
use crate::shell::clock;
use crate::shell::disk::{Disk, Expected, is_gone, is_torn, is_unreadable, remedy};
use crate::shell::doubt::{Doubt, Part, part_path};
use crate::shell::persist::Trouble;
use crate::shell::receipts::{ReceiptLog, ReceiptsError};
use crate::shell::shard::StoreWork;
use crate::shell::status::Status;

/// Why storing stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A name is taken.
    #[error("`{}` exists already and is never overwritten: choose another directory, or another seed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread died with a recording that was to come before others: those cannot be kept in order.
    #[error("recordings in `{}`: a thread failed; {count} recordings after the one it held were not kept, and nothing half finished remains: replay again into another directory, and report this", dir.display())]
    Lost {
        /// The folder of recordings.
        dir: PathBuf,
        /// Recordings that were finished and not kept.
        count: usize,
    },
    /// The receipts log could not be written or is not ours.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
}

impl StoreError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path: path.into() },
            _ => Self::Io { doing, path: path.into(), source },
        }
    }
}

/// Whose recordings are stored.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// Of a capture that is still there: receipts in the order of calls, nothing half finished is left.
    Replay,
    /// Of a wire: receipts as recordings finish, and what is half finished stays, to be recovered.
    Live(Arc<Trouble>),
}

impl Mode {
    fn is_replay(&self) -> bool {
        matches!(self, Self::Replay)
    }

    /// Whether what failed is to be tried again.
    fn persists(&self) -> bool {
        matches!(self, Self::Live(trouble) if !trouble.gives_up())
    }
}

/// Writes chunks to `.part` files.
pub(super) struct Store {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    mode: Mode,
    doubt: Arc<Doubt>,
    /// Files being written, by final name.
    parts: BTreeMap<String, Part>,
    written: u64,
    /// Syncs that had failed when nothing was left to be written anew.
    healed: u64,
    /// When to try again, after that could not be done.
    heal_at: Option<Instant>,
}

/// What the committer is sent.
pub(super) enum Commit {
    /// All files of a recording are written.
    Finished { order: u64, finished: Box<Finished> },
    /// So many bytes more wait in the kernel.
    Written(u64),
    /// Something happened to the recorder. That it stopped is written last of all.
    Event(Box<Event>),
    /// Receipts of what a dead run has left: named, and on the disk.
    Recovered(Vec<Receipt>),
    /// Storing failed, and says so itself: recordings that are missing are no wonder.
    Failed,
}

impl Store {
    /// Makes the directory where it is missing.
    pub(super) fn new(
        dir: &Path,
        mut disk: Box<dyn Disk>,
        mode: Mode,
        doubt: Arc<Doubt>,
    ) -> Result<Self, StoreError> {
        disk.create_dir(dir).map_err(|source| StoreError::io("making directory", dir, source))?;
        let parts = BTreeMap::new();
        Ok(Self { dir: dir.into(), disk, mode, doubt, parts, written: 0, healed: 0, heal_at: None })
    }

    /// Works until the queue closes. On failure, removes what is not finished.
    pub(super) fn run(
        mut self,
        work: &Receiver<StoreWork>,
        commits: &Sender<Commit>,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(true);
        while let Ok(next) = work.recv() {
            outcome = match next {
                StoreWork::Chunk { name, chunk } => self.chunk(&name, chunk.as_bytes(), commits),
                StoreWork::Finished { order, finished } => self.finished(order, finished, commits),
                StoreWork::Barrier(reached) => {
                    // Whoever asked may have given up.
                    let _ = reached.try_send(());
                    Ok(true)
                }
            };
            if !matches!(outcome, Ok(true)) {
                break;
            }
            // What comes is not held up by what has been.
            if work.len() <= work.capacity().unwrap_or(0) / 4 {
                self.heal_one();
            }
        }
        if outcome.is_err() {
            // Where the committer is gone too, its own error is told first.
            let _ = commits.send(Commit::Failed);
        }
        let unfinished = std::mem::take(&mut self.parts).into_values();
        for part in unfinished.filter(|_| self.mode.is_replay()) {
            // Already failing, or a recording that nobody finished: nothing better can be done.
            let _ = self.disk.remove(&part.path);
        }
        outcome.map(drop)
    }

    /// Writes one file anew that the disk may not have kept.
    fn heal_one(&mut self) {
        let failures = self.doubt.failures();
        if failures == self.healed || self.heal_at.is_some_and(|at| at > clock::monotonic()) {
            return;
        }
        let Some((name, part)) = self.parts.iter().find(|(name, _)| self.doubt.provable(name).is_some())
        else {
            self.healed = failures;
            return;
        };
        let healed = part.heal(name, self.disk.as_mut(), &self.doubt);
        self.heal_at = healed.err().map(|error| {
            tracing::warn!(file = %part.path.display(), "writing again: {error}; the journal is kept meanwhile");
            clock::monotonic() + HEAL_AGAIN
        });
    }

    /// Returns false where the committer is gone: it failed, and its error is the one to tell.
    fn chunk(&mut self, name: &str, bytes: &[u8], commits: &Sender<Commit>) -> Result<bool, StoreError> {
        if !self.parts.contains_key(name) {
            let part = part_path(&self.dir, name);
            self.disk.create(&part).map_err(|source| StoreError::io("creating", &part, source))?;
            self.doubt.begin(name);
            self.parts.insert(name.into(), Part::new(part));
        }
        let Some(part) = self.parts.get_mut(name).filter(|part| !part.torn) else { return Ok(true) };
        match self.disk.append(&part.path, bytes) {
            Ok(()) => part.wrote(bytes),
            // All others can go on.
            Err(error) if (is_torn(&error) || is_gone(&error)) && !self.mode.is_replay() => {
                tracing::error!(
                    file = %part.path.display(),
                    "writing: {error}; no more is written to it, and the journal is kept for it"
                );
                part.torn = true;
                self.doubt.condemn(name);
            }
            Err(error) => return Err(StoreError::io("writing", &part.path, error)),
        }
        self.written += bytes.len() as u64;
        if self.written >= WRITTEN_STEP_BYTES {
            return Ok(commits.send(Commit::Written(std::mem::take(&mut self.written))).is_ok());
        }
        Ok(true)
    }

    /// Returns false where the committer is gone: it failed, and its error is the one to tell.
    fn finished(
        &mut self,
        order: u64,
        finished: Box<Finished>,
        commits: &Sender<Commit>,
    ) -> Result<bool, StoreError> {
        for file in &finished.files {
            if let Some(part) = self.parts.get(&file.name) {
                let closed = self.disk.close(&part.path);
                closed.map_err(|source| StoreError::io("closing", &part.path, source))?;
            }
        }
        // From here on they are the committer's to name or to remove.
        let handed = finished.files.iter().filter_map(|file| self.parts.remove_entry(&file.name));
        let handed: Vec<_> = handed.collect();
        let taken = commits.send(Commit::Finished { order, finished }).is_ok();
        if !taken {
            // Nobody took them: `run` removes them with the others.
            self.parts.extend(handed);
        }
        Ok(taken)
    }
}

/// Makes written files durable, gives them their names, and writes their receipts.
pub(super) struct Committer {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    log: ReceiptLog,
    mode: Mode,
    doubt: Arc<Doubt>,
    /// Finished before one that was to come first.
    waiting: BTreeMap<u64, Box<Finished>>,
    next: u64,
    /// Receipts of what a dead run has left.
    recovered: Vec<Receipt>,
    events: Vec<Event>,
    /// That the recorder stopped.
    last: Option<Event>,
    unsynced: u64,
    /// Storing failed: what waits will wait in vain.
    abandoned: bool,
    status: Option<Arc<Status>>,
}

impl Committer {
    pub(super) fn new(
        dir: &Path,
        disk: Box<dyn Disk>,
        log: ReceiptLog,
        mode: Mode,
        doubt: Arc<Doubt>,
    ) -> Self {
        Self {
            dir: dir.into(),
            disk,
            log,
            mode,
            doubt,
            waiting: BTreeMap::new(),
            next: 0,
            recovered: Vec::new(),
            events: Vec::new(),
            last: None,
            unsynced: 0,
            abandoned: false,
            status: None,
        }
    }

    /// Tells `status` how long commits take.
    pub(super) fn tell(mut self, status: Option<Arc<Status>>) -> Self {
        self.status = status;
        self
    }

    /// Works until the queue closes. Hands on the manifests of finished recordings, in order.
    pub(super) fn run(mut self, work: &Receiver<Commit>, done: &Sender<Manifest>) -> Result<(), StoreError> {
        let outcome = self.work(work, done);
        if self.mode.is_replay() && (outcome.is_err() || !self.waiting.is_empty()) {
            let rest = work.try_iter().filter_map(|commit| match commit {
                Commit::Finished { finished, .. } => Some(finished),
                _ => None,
            });
            let unfinished: Vec<_> = std::mem::take(&mut self.waiting).into_values().chain(rest).collect();
            for file in unfinished.iter().flat_map(|finished| &finished.files) {
                // Already failing: nothing better can be done.
                let _ = self.disk.remove(&part_path(&self.dir, &file.name));
            }
        }
        outcome
    }

    fn work(&mut self, work: &Receiver<Commit>, done: &Sender<Manifest>) -> Result<(), StoreError> {
        let watched = self.disk.watch(&self.dir);
        watched.map_err(|source| StoreError::io("watching", &self.dir, source))?;
        let mut open = true;
        while open {
            open = self.gather(work);
            self.commit_entries()?;
            let mut batch = self.next_batch();
            if !batch.is_empty() {
                let begun = clock::monotonic();
                if let Err(error) = self.commit(&mut batch) {
                    // So that they are removed with the others.
                    self.waiting.extend((self.next..).zip(batch.into_iter().map(Box::new)));
                    return Err(error);
                }
                if let Some(status) = &self.status {
                    status.committed(begun.elapsed());
                }
                for finished in batch {
                    // Whoever listened is gone: the recordings are safe all the same.
                    let _ = done.send(finished.manifest);
                }
            } else if self.unsynced >= SYNC_BYTES {
                self.sync_or_doubt()?;
            }
        }
        if self.abandoned {
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.events.extend(self.last.take());
            return self.commit_entries();
        }
        Err(StoreError::Lost { dir: self.dir.clone(), count: self.waiting.len() })
    }

    /// Takes what can be committed now.
    fn next_batch(&mut self) -> Vec<Finished> {
        let mut batch = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() != self.next && self.mode.is_replay() {
                break;
            }
            self.next = entry.key() + 1;
            batch.push(*entry.remove());
        }
        batch
    }

    /// Waits for work, then takes what else comes within [`GATHER`]. Returns false when there will be none.
    fn gather(&mut self, work: &Receiver<Commit>) -> bool {
        let Ok(first) = work.recv() else { return false };
        self.take(first);
        let until = clock::monotonic() + GATHER;
        loop {
            match work.recv_deadline(until) {
                Ok(commit) => self.take(commit),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, commit: Commit) {
        match commit {
            Commit::Finished { order, finished } => {
                self.waiting.insert(order, finished);
            }
            Commit::Written(bytes) => self.unsynced += bytes,
            Commit::Event(event) if matches!(event.kind, EventKind::Stopped { .. }) => {
                self.last = Some(*event);
            }
            Commit::Event(event) => self.events.push(*event),
            Commit::Recovered(receipts) => self.recovered.extend(receipts),
            Commit::Failed => self.abandoned = true,
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.unsynced = 0;
        self.disk.sync(&self.dir).map_err(|source| StoreError::io("syncing", &self.dir, source))
    }

    /// Commits what names no file that is still to be named.
    fn commit_entries(&mut self) -> Result<(), StoreError> {
        if self.recovered.is_empty() && self.events.is_empty() {
            return Ok(());
        }
        for receipt in std::mem::take(&mut self.recovered) {
            self.log.append_receipt(&receipt)?;
        }
        for event in std::mem::take(&mut self.events) {
            self.log.append_event(&event)?;
        }
        self.commit_log()
    }

    /// A wire does not wait for a disk: a sync that failed is made up for when recordings finish.
    fn sync_or_doubt(&mut self) -> Result<(), StoreError> {
        let synced = self.sync();
        if synced.is_err() && self.mode.persists() {
            self.doubt.failed();
            return Ok(());
        }
        synced
    }

    fn commit(&mut self, batch: &mut [Finished]) -> Result<(), StoreError> {
        self.sync_or_doubt()?;
        for finished in &mut *batch {
            if finished.files.iter().any(|file| self.doubt.doubts(&file.name)) {
                self.write_anew(finished)?;
            }
            self.name(finished)?;
        }
        self.sync_names()?;
        for finished in &*batch {
            finished.files.iter().for_each(|file| self.doubt.settled(&file.name));
            self.log.append(finished)?;
        }
        self.commit_log()
    }

    /// Gives the files of a finished recording their names. Where somebody has removed one, none gets its name, and no
    /// other recording waits for it.
    fn name(&mut self, finished: &mut Finished) -> Result<(), StoreError> {
        let mut named = Vec::new();
        for file in &finished.files {
            let (part, name) = (part_path(&self.dir, &file.name), self.dir.join(&file.name));
            match self.disk.rename_new(&part, &name) {
                Ok(()) => named.push((part, name)),
                Err(error) if is_gone(&error) && self.mode.persists() => {
                    tracing::error!(file = %part.display(), "naming: {error}; its recording is lost but for the journal");
                    for (part, name) in named {
                        self.disk
                            .rename_new(&name, &part)
                            .map_err(|source| StoreError::io("naming", &part, source))?;
                    }
                    self.lose(finished);
                    return Ok(());
                }
                Err(source) => return Err(StoreError::io("naming", &name, source)),
            }
        }
        Ok(())
    }

    /// A recording of which the disk has not all: it has no files, and the journal keeps what it has of it.
    fn lose(&self, finished: &mut Finished) {
        finished.manifest.state = State::Failed;
        let files = std::mem::take(&mut finished.files);
        self.doubt.lost(files.iter().map(|file| file.name.as_str()));
    }

    fn commit_log(&mut self) -> Result<(), StoreError> {
        while let Err(error) = self.log.commit(self.disk.as_mut()) {
            if !self.mode.persists() || matches!(error, ReceiptsError::Busy { .. }) {
                return Err(error.into());
            }
            self.doubt.failed();
            tracing::error!(%error, "receipts are written again");
            std::thread::sleep(GATHER);
        }
        self.sync_names()
    }

    /// Syncs what was renamed or replaced: names, which can be synced again.
    fn sync_names(&mut self) -> Result<(), StoreError> {
        while let Err(error) = self.sync() {
            if !self.mode.persists() {
                return Err(error);
            }
            self.doubt.failed();
            std::thread::sleep(GATHER);
        }
        Ok(())
    }

    /// Writes the files of a finished recording again, elsewhere, from what can be read of them: the kernel no
    /// longer knows which of their pages are on the disk. Where one is not what was sealed, none gets its name:
    /// with the journal a key holder can make a whole recording of them.
    fn write_anew(&mut self, finished: &mut Finished) -> Result<(), StoreError> {
        let mut whole = true;
        for file in &finished.files {
            let part = part_path(&self.dir, &file.name);
            let io = |doing, source| StoreError::io(doing, &part, source);
            let failures = self.doubt.provable(&file.name);
            let was_kept = match self.disk.rewrite(&part, &Expected::Sha256(file.sha256)) {
                // Whatever cannot be read, the others can.
                Err(error) if is_unreadable(&error) && self.mode.persists() => {
                    tracing::error!(file = %file.name, "reading what is to be written again: {error}");
                    false
                }
                rewritten => rewritten.map_err(|source| io("writing again", source))?,
            };
            if was_kept {
                if let Some(failures) = failures {
                    self.doubt.proved(&file.name, failures);
                }
                continue;
            }
            tracing::error!(file = %file.name, "the disk did not keep what was written");
            if self.mode.is_replay() {
                return Err(io("writing", io::Error::other("the disk did not keep what was written")));
            }
            whole = false;
        }
        if !whole {
            self.lose(finished);
        }
        Ok(())
    }
}

/// How long after a file could not be written anew that is tried again.
const HEAL_AGAIN: Duration = Duration::from_secs(5);
/// How long a batch gathers recordings that finish together.
const GATHER: Duration = Duration::from_millis(100);
/// The committer is told each time so much was written.
const WRITTEN_STEP_BYTES: u64 = 8 << 20;
/// Written bytes are pushed to the disk each time so many wait: a long tail would be paid for at the end.
const SYNC_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::base::counters::Counters;
    use crate::base::time::Stamp;
    use crate::seal::event::{Entry, Stop};
    use crate::seal::receipt::{self, ReceiptState, UNKNOWN_RULE};
    use crate::shell::disk::RealDisk;
    use crate::shell::identity;
    use crate::shell::verify::ReadLog;

    fn event(kind: EventKind) -> Commit {
        Commit::Event(Box::new(Event::new(Stamp::ZERO, kind, "recorder-1", "0.1.0")))
    }

    fn recovered() -> Commit {
        Commit::Recovered(vec![Receipt {
            schema: receipt::SCHEMA,
            id: "0193c4a5-0000-7000-8000-000000000001".into(),
            state: ReceiptState::Interrupted,
            start: Stamp::ZERO,
            end: Stamp::ZERO,
            files: Vec::new(),
            rule: UNKNOWN_RULE.into(),
            counters: Counters::default(),
            recorder: "recorder-1".into(),
            version: "0.1.0".into(),
        }])
    }

    /// What the log has after `commits`.
    fn logged(commits: Vec<Commit>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let log = ReceiptLog::open(dir.path(), identity::from_seed(&[1; 32])).unwrap();
        let mode = Mode::Live(Arc::new(Trouble::default()));
        let disk = Box::new(RealDisk::new(true));
        let committer = Committer::new(dir.path(), disk, log, mode, Arc::default());
        let ((sender, work), (done, _)) = (bounded(commits.len()), bounded(1));
        commits.into_iter().for_each(|commit| sender.send(commit).unwrap());
        drop(sender);
        committer.run(&work, &done).unwrap();
        let log = ReadLog::open(dir.path(), None).unwrap();
        assert!(log.faults.is_empty() && log.proved == log.signed, "{:?}", log.faults);
        let entries = log.entries.iter().map(|(_, entry)| match Entry::from_entry(entry).unwrap() {
            Entry::Event(event) => event.kind.as_str().to_owned(),
            Entry::Receipt(receipt) => receipt.rule,
        });
        entries.collect()
    }

    #[test]
    fn that_the_recorder_stopped_is_written_last() {
        let stopped = || event(EventKind::Stopped { how: Stop::Asked });
        let commits = vec![event(EventKind::JournalDegraded), stopped(), recovered()];
        assert_eq!(logged(commits), [UNKNOWN_RULE, "journal-degraded", "stopped"]);
        assert_eq!(logged(vec![stopped()]), ["stopped"]);
    }

    #[test]
    fn a_recorder_that_failed_to_store_does_not_say_that_it_stopped_well() {
        let commits = vec![event(EventKind::Stopped { how: Stop::Asked }), Commit::Failed];
        assert!(logged(commits).is_empty());
    }
}
