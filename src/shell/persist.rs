//! A disk that is tried again: a recorder does not give up because a disk is full for an hour.
//!
//! Each operation is tried until it works or the recorder is told to stop. While it waits, its queue
//! fills; what then does not fit is left out and counted where it is left out. Only [`Disk::sync`] is
//! never tried again: after a failure the kernel calls pages clean that it could not write, and a
//! second try would report them safe. Whoever asked for the sync must write the bytes anew.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::policy::Condition;
use crate::shell::clock;
use crate::shell::disk::{Disk, Expected, is_gone, is_taken, is_torn, is_unreadable};
use crate::shell::load::Load;

/// A disk that fails, as others see it.
#[derive(Debug, Default)]
pub struct Trouble {
    failing: AtomicBool,
    failures: AtomicU64,
    give_up: AtomicBool,
    last: Mutex<String>,
    load: Option<Arc<Load>>,
}

impl Trouble {
    /// Counts its conditions in `load`, and brings about those that are forced there.
    pub fn counted(load: Arc<Load>) -> Self {
        Self { load: Some(load), ..Self::default() }
    }

    fn met(&self, condition: Condition) {
        if let Some(load) = &self.load {
            load.tally().note(condition);
        }
    }

    fn is_forced(&self, condition: Condition) -> bool {
        self.load.as_ref().is_some_and(|load| load.tally().is_forced(condition))
    }

    /// Whether an operation is waiting for the disk to come back.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Operations that failed, each try counted.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What failed last, and why.
    pub fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops trying: the recorder is to end.
    pub fn give_up(&self) {
        self.give_up.store(true, Ordering::Relaxed);
    }

    /// Whether the recorder is to end.
    pub fn gives_up(&self) -> bool {
        self.give_up.load(Ordering::Relaxed)
    }

    fn note(&self, doing: &str, path: &Path, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let said = format!("{doing} `{}`: {error}", path.display());
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(failed = %said, "the disk fails: tried again until it works");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Tries again what cannot be read, and gives it up after a while: a bad sector would hold up all files after it.
    fn read<T>(
        &self,
        path: &Path,
        is_unreadable: fn(&io::Error) -> bool,
        mut act: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut tries = 1;
        loop {
            match act() {
                Err(error) if is_unreadable(&error) && tries < READS && !self.gives_up() => {
                    self.note("reading", path, &error);
                    std::thread::sleep(AGAIN_AFTER);
                    tries += 1;
                }
                // What is given up is said by whoever wanted it; the disk itself may be well. What failed otherwise is not
                // over.
                done => {
                    if done.as_ref().err().is_none_or(is_unreadable) {
                        self.over();
                    }
                    return done;
                }
            }
        }
    }

    fn over(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("the disk works again");
        }
    }
}

/// Tries again.
pub struct PersistentDisk {
    disk: Box<dyn Disk>,
    trouble: Arc<Trouble>,
    slow: Slow,
    /// Tries so far: every fourth meets what is forced.
    tries: u64,
}

impl PersistentDisk {
    /// Wraps `disk`; failures are noted in `trouble`.
    pub fn new(disk: Box<dyn Disk>, trouble: Arc<Trouble>) -> Self {
        let slow = Slow::counted(trouble.load.clone());
        Self { disk, trouble, slow, tries: 0 }
    }

    /// Whether this try is to meet `condition`.
    fn forced(&mut self, condition: Condition) -> bool {
        let forced = self.trouble.is_forced(condition);
        self.tries += u64::from(forced);
        forced && self.tries % FORCED_EVERY == 1
    }

    /// Tries until it is done. What is `over` will be so next time too.
    fn persist<T>(
        &mut self,
        doing: &str,
        path: &Path,
        over: impl Fn(&io::Error) -> bool,
        mut act: impl FnMut(&mut dyn Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut full = false;
        loop {
            let begun = clock::monotonic();
            let acted = match self.forced(Condition::DiskFull) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => act(self.disk.as_mut()),
            };
            self.slow.took(doing, path, begun.elapsed());
            match acted {
                Ok(done) => {
                    self.trouble.over();
                    return Ok(done);
                }
                Err(error) if over(&error) => return Err(error),
                Err(error) => {
                    self.trouble.note(doing, path, &error);
                    if !std::mem::replace(&mut full, is_full(&error)) && full {
                        self.trouble.met(Condition::DiskFull);
                    }
                    if self.trouble.gives_up() {
                        return Err(error);
                    }
                    std::thread::sleep(AGAIN_AFTER);
                }
            }
        }
    }
}

impl Disk for PersistentDisk {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        let create = |disk: &mut dyn Disk| match disk.create(path) {
            // Somebody has removed the folder.
            Err(error) if is_gone(&error) => {
                path.parent().map_or(Err(error), |folder| disk.create_dir(folder))?;
                disk.create(path)
            }
            other => other,
        };
        self.persist("creating", path, is_taken, create)
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Half of it is there, and would be twice; or somebody has removed the file.
        self.persist(
            "writing",
            path,
            |error| is_torn(error) || is_gone(error),
            |disk| disk.append(path, bytes),
        )
    }

    fn close(&mut self, path: &Path) -> io::Result<()> {
        self.persist("closing", path, is_gone, |disk| disk.close(path))
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.persist("making directory", path, is_taken, |disk| disk.create_dir(path))
    }

    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        let begun = clock::monotonic();
        if self.forced(Condition::DiskSlow) {
            std::thread::sleep(SLOW);
        }
        let synced = match self.forced(Condition::SyncFailed) {
            true => Err(io::Error::other("forced by --force sync-failed")),
            false => self.disk.sync(dir),
        };
        self.slow.took("syncing", dir, begun.elapsed());
        if let Err(error) = &synced {
            self.trouble.note("syncing", dir, error);
            self.trouble.met(Condition::SyncFailed);
        }
        synced
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.persist(
            "naming",
            to,
            |error| is_taken(error) || is_gone(error),
            |disk| disk.rename_new(from, to),
        )
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.persist("replacing", path, is_taken, |disk| disk.replace(path, bytes))
    }

    fn watch(&mut self, dir: &Path) -> io::Result<()> {
        self.disk.watch(dir)
    }

    fn rewrite(&mut self, path: &Path, expected: &Expected) -> io::Result<bool> {
        let trouble = self.trouble.clone();
        self.persist("writing again", path, is_unreadable, |disk| {
            trouble.read(path, is_unreadable, || disk.rewrite(path, expected))
        })
    }

    fn rewrite_once(&mut self, path: &Path, expected: &Expected) -> io::Result<bool> {
        let Self { disk, trouble, .. } = self;
        trouble.read(path, is_unreadable, || disk.rewrite_once(path, expected))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Self { disk, trouble, .. } = self;
        trouble.read(path, |_| true, || disk.read(path))
    }
}

/// Notices operations of a disk that take long: counts each, and says so once in a while.
#[derive(Debug, Default)]
pub(super) struct Slow {
    load: Option<Arc<Load>>,
    said: Option<Instant>,
    /// Since it was said last.
    more: u64,
}

impl Slow {
    /// Counts them in `load`.
    pub(super) fn counted(load: Option<Arc<Load>>) -> Self {
        Self { load, ..Self::default() }
    }

    /// An operation took so long. Returns whether that was said in the log.
    pub(super) fn took(&mut self, doing: &str, path: &Path, took: Duration) -> bool {
        if took < SLOW {
            return false;
        }
        if let Some(load) = &self.load {
            load.tally().note(Condition::DiskSlow);
        }
        if self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            self.more += 1;
            return false;
        }
        self.said = Some(clock::monotonic());
        let unsaid = std::mem::take(&mut self.more);
        tracing::warn!(
            unsaid,
            "the disk is slow: {doing} `{}` took {:.1} s",
            path.display(),
            took.as_secs_f64()
        );
        true
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An operation that takes so long is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How often it is said that a disk is slow.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How many tries there are to one that meets what is forced.
const FORCED_EVERY: u64 = 4;
/// How often reading a file is tried.
const READS: usize = 8;
/// How long a failing disk is left alone.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::disk::RealDisk;

    #[test]
    fn every_slow_operation_is_counted_and_few_are_said() {
        let load = Arc::new(Load::new(0, &[]));
        let mut slow = Slow::counted(Some(load.clone()));
        let mut took = |took| slow.took("syncing", Path::new("out"), took);
        assert!(!took(SLOW - Duration::from_nanos(1)));
        assert!(took(SLOW) && !took(SLOW));
        assert_eq!((slow.more, load.tally().snapshot().get(Condition::DiskSlow)), (1, 2));
    }

    /// Has no room for what is written anew.
    #[derive(Default)]
    struct Full(RealDisk);

    impl Disk for Full {
        fn create(&mut self, path: &Path) -> io::Result<()> {
            self.0.create(path)
        }
        fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.0.append(path, bytes)
        }
        fn close(&mut self, path: &Path) -> io::Result<()> {
            self.0.close(path)
        }
        fn create_dir(&mut self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn sync(&mut self, dir: &Path) -> io::Result<()> {
            self.0.sync(dir)
        }
        fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename_new(from, to)
        }
        fn replace(&mut self, _: &Path, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
        fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            self.0.read(path)
        }
    }

    #[test]
    fn a_disk_that_has_no_room_to_write_again_does_not_work_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"x").unwrap();
        let trouble = Arc::new(Trouble::default());
        trouble.note("writing", &path, &io::ErrorKind::StorageFull.into());
        let mut disk = PersistentDisk::new(Box::new(Full::default()), trouble.clone());
        let expected = Expected::Crc32c { bytes: 1, checksum: crc32c::crc32c(b"x") };
        assert!(disk.rewrite_once(&path, &expected).is_err());
        assert!(trouble.is_failing());
    }

    #[test]
    fn a_file_that_cannot_be_read_does_not_hold_up_those_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let trouble = Arc::new(Trouble::default());
        let mut disk = PersistentDisk::new(Box::new(RealDisk::new(true)), trouble.clone());
        // Reading a folder fails, and always will.
        assert!(disk.read(dir.path()).is_err());
        assert_eq!(trouble.failures() + 1, READS as u64);
        assert!(disk.read(&dir.path().join("missing")).unwrap().is_none());
        assert!(!trouble.is_failing());
    }
}
