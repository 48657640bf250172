//! Taking a file or a folder for one run alone, for as long as the handle lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::shell::clock;

/// Long enough for what holds a lock only in passing: a run that is just ending, or a program that another thread
/// starts, which holds all handles of this process until it is itself (`fork` to `execve`).
pub(super) const IN_PASSING: Duration = Duration::from_secs(3);

/// Waits for the lock at most so long. Returns false where another has it.
pub(super) fn alone(file: &File, patience: Duration) -> io::Result<bool> {
    let until = clock::monotonic() + patience;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) if clock::monotonic() < until => thread::sleep(LOOK_AGAIN),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the file at `path`, which is made where there is none. Returns nothing where another has it.
pub(super) fn file_alone(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(alone(&file, patience)?.then_some(file))
}

/// Takes the folder at `path`, not one that had its name and is gone. Returns nothing where another has it.
pub(super) fn folder_alone(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    loop {
        let folder = File::open(path)?;
        if !alone_where_locks_are(&folder, patience)? {
            return Ok(None);
        }
        let (taken, named) = (folder.metadata()?, std::fs::metadata(path)?);
        if (taken.dev(), taken.ino()) == (named.dev(), named.ino()) {
            return Ok(Some(folder));
        }
    }
}

/// Whether others may have it too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Share {
    /// Nobody.
    Alone,
    /// Those who take it like this.
    Beside,
}

/// Takes the lock without waiting. Returns false where another has it; true where there are no locks.
pub(super) fn now(file: &File, share: Share) -> io::Result<bool> {
    let operation = match share {
        Share::Alone => FlockOperation::NonBlockingLockExclusive,
        Share::Beside => FlockOperation::NonBlockingLockShared,
    };
    match flock(file, operation).map_err(io::Error::from) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) if has_no_locks(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The same, and true on a file system that has no locks, as some over a network: recording goes on all the same.
fn alone_where_locks_are(file: &File, patience: Duration) -> io::Result<bool> {
    match alone(file, patience) {
        Err(error) if has_no_locks(&error) => Ok(true),
        other => other,
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    [Errno::NOLCK, Errno::NOSYS, Errno::NOTSUP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_replaced_meanwhile_is_not_what_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::create_dir(&path).unwrap();
        let gone = File::open(&path).unwrap();
        assert!(alone(&gone, Duration::ZERO).unwrap());
        let waiting = thread::spawn({
            let path = path.clone();
            move || {
                folder_alone(&path, Duration::from_secs(60))
                    .map(|taken| taken.map(|it| it.metadata().unwrap().ino()))
            }
        });
        thread::sleep(Duration::from_millis(50));
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        drop(gone);
        let now = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(waiting.join().unwrap().unwrap(), Some(now));
    }

    #[test]
    fn one_has_it_and_the_next_waits() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path()).unwrap();
        let first = open();
        assert!(alone(&first, Duration::ZERO).unwrap());
        assert!(!alone(&open(), Duration::from_millis(30)).unwrap());
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        // As long as the other test programs that begin meanwhile may hold it too.
        assert!(alone(&open(), Duration::from_secs(60)).unwrap());
        ending.join().unwrap();
    }
}
