//! The file operations that the journal needs, so that each of them can be made to fail in a test.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::shell::disk::{Roots, rename_new};

/// File operations. Every one may fail.
pub trait JournalDisk: Send {
    /// Makes a file that did not exist, with `bytes` zeros whose blocks are written and on the disk, as is its
    /// name: writing into it later needs no room and changes nothing but data.
    fn allocate(&mut self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Writes into a file that [`JournalDisk::allocate`] made.
    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until what was written is on the disk (fdatasync). After an error the file is given up: what it
    /// holds is not known, and asking again would say that all is well.
    fn sync_data(&mut self, path: &Path) -> io::Result<()>;
    /// Waits until all that was written to the file system of `dir` is on the disk.
    fn sync(&mut self, dir: &Path) -> io::Result<()>;
    /// From here on, [`JournalDisk::sync`] is told of every write to the file system of `dir` that fails.
    fn watch(&mut self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Lets go of a file.
    fn close(&mut self, path: &Path);
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Cuts a file to its first `bytes` bytes, durably.
    fn truncate(&mut self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Gives a file another name, which must not be taken.
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Debug, Default)]
pub struct RealJournalDisk {
    open: BTreeMap<PathBuf, File>,
    roots: Roots,
}

impl RealJournalDisk {
    fn opened(&mut self, path: &Path) -> io::Result<&File> {
        if !self.open.contains_key(path) {
            self.open.insert(path.into(), OpenOptions::new().write(true).open(path)?);
        }
        self.open.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl JournalDisk for RealJournalDisk {
    fn allocate(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let filled = fill(&mut file, bytes).and_then(|()| file.sync_all());
        if let Err(error) = filled.and_then(|()| sync_parent(path)) {
            // A file that is half there is of no use, and what it takes is missed.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(())
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.opened(path)?.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self, path: &Path) -> io::Result<()> {
        self.opened(path)?.sync_data()
    }

    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        self.roots.sync(File::open(dir)?)
    }

    fn watch(&mut self, dir: &Path) -> io::Result<()> {
        self.roots.watch(File::open(dir)?).map(drop)
    }

    fn close(&mut self, path: &Path) {
        self.open.remove(path);
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.open.remove(path);
        std::fs::remove_file(path)
    }

    fn truncate(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        rename_new(from, to)
    }
}

/// Takes the room at once, so that a full disk says so before anything is written; then writes zeros,
/// because blocks that were never written cost the file system a change of its own at each sync.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems cannot: the zeros do it.
        Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; FILL_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(FILL_BYTES as u64);
        file.write_all(&zeros[..now as usize])?;
        left -= now;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Zeros written at once.
const FILL_BYTES: usize = 1 << 20;
