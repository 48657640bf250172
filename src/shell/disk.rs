//! The file operations that storing needs, so that each of them can be made to fail in a test.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

/// File operations. Every one may fail.
pub trait Disk: Send {
    /// Makes an empty file that did not exist.
    fn create(&mut self, path: &Path) -> io::Result<()>;
    /// Appends to a file that [`Disk::create`] made: all of `bytes`, or where that fails none, as far as
    /// the file can be cut again.
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Lets go of a file that is written. Its bytes need not be on the disk yet.
    fn close(&mut self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its parents where they are missing.
    fn create_dir(&mut self, path: &Path) -> io::Result<()>;
    /// Waits until all that was written to the file system of `dir` is on the disk.
    fn sync(&mut self, dir: &Path) -> io::Result<()>;
    /// From here on, [`Disk::sync`] is told of every write to the file system of `dir` that fails.
    fn watch(&mut self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Gives a file another name, which must not be taken.
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Writes a file and puts it in the place of what had the name, at once or not at all: durable after the next
    /// [`Self::sync`].
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes a file anew, elsewhere, from what can be read of it, and puts that in its place, durably. Returns false,
    /// and changes nothing, where what is read is not `expected`.
    fn rewrite(&mut self, path: &Path, expected: &Expected) -> io::Result<bool> {
        let bytes = self.read(path).map_err(unreadable)?.unwrap_or_default();
        let mut check = expected.check();
        check.add(&bytes);
        let is_expected = check.holds();
        if is_expected {
            self.replace(path, &bytes)?;
        }
        Ok(is_expected)
    }
    /// The same, for who can do without: never tried again here.
    fn rewrite_once(&mut self, path: &Path, expected: &Expected) -> io::Result<bool> {
        self.rewrite(path, expected)
    }
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Reads a file; nothing where there is none.
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>>;
}

/// What a file must hold to be written anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// So many bytes with this CRC-32C: no proof against an enemy, who could not seal either, but against pages that
    /// are gone.
    Crc32c {
        /// How many.
        bytes: u64,
        /// Of all of them.
        checksum: u32,
    },
    /// Bytes of this SHA-256.
    Sha256([u8; 32]),
}

impl Expected {
    fn check(&self) -> Check {
        Check { expected: *self, bytes: 0, checksum: 0, digest: Context::new(&SHA256) }
    }
}

/// Bytes that are compared with what is expected of them.
struct Check {
    expected: Expected,
    bytes: u64,
    checksum: u32,
    digest: Context,
}

impl Check {
    fn add(&mut self, bytes: &[u8]) {
        match self.expected {
            Expected::Crc32c { .. } => {
                self.bytes += bytes.len() as u64;
                self.checksum = crc32c::crc32c_append(self.checksum, bytes);
            }
            Expected::Sha256(_) => self.digest.update(bytes),
        }
    }

    fn holds(self) -> bool {
        match self.expected {
            Expected::Crc32c { bytes, checksum } => (self.bytes, self.checksum) == (bytes, checksum),
            Expected::Sha256(digest) => self.digest.finish().as_ref() == digest,
        }
    }
}

/// The real one.
#[derive(Debug, Default)]
pub struct RealDisk {
    open: HashMap<OsString, File, foldhash::fast::FixedState>,
    /// Names of open files, longest open first; some may be closed by now.
    order: VecDeque<OsString>,
    open_max: usize,
    /// Leave it to the kernel when to write.
    lazy: bool,
    roots: Roots,
}

/// Descriptors of file systems that are synced, held open: the kernel tells a failed write to each
/// descriptor that was open then, once. A fresh one is not told what another has been told before.
#[derive(Debug, Default)]
pub(super) struct Roots(Vec<(u64, File)>);

impl Roots {
    /// Waits until all that was written to the file system of `dir` is on the disk.
    pub(super) fn sync(&mut self, dir: File) -> io::Result<()> {
        let place = self.watch(dir)?;
        Ok(rustix::fs::syncfs(&self.0[place].1)?)
    }

    /// Is told from here on what fails there. Returns its place.
    pub(super) fn watch(&mut self, dir: File) -> io::Result<usize> {
        // Another file system may have been mounted there since.
        let device = dir.metadata()?.dev();
        Ok(self.0.iter().position(|(known, _)| *known == device).unwrap_or_else(|| {
            self.0.push((device, dir));
            self.0.len() - 1
        }))
    }
}

impl RealDisk {
    /// `lazy` never waits for the disk.
    pub fn new(lazy: bool) -> Self {
        Self { lazy, open_max: open_files_max(), ..Self::default() }
    }

    fn opened(&mut self, path: &Path) -> io::Result<&mut File> {
        let name = path.as_os_str();
        if !self.open.contains_key(name) {
            let file = self.open_with(OpenOptions::new().append(true), path)?;
            self.keep(path, file);
        }
        Ok(self.open.get_mut(name).ok_or(io::ErrorKind::NotFound)?)
    }

    /// Opens a file. Where the process has no descriptor left, lets go of half of its files and tries again:
    /// other parts of the process may hold more than was expected.
    fn open_with(&mut self, options: &OpenOptions, path: &Path) -> io::Result<File> {
        self.evict_to(self.open_max.saturating_sub(1));
        match options.open(path) {
            Err(error) if is_out_of_descriptors(&error) => {
                self.evict_to(self.open.len() / 2);
                options.open(path)
            }
            other => other,
        }
    }

    /// Closes those open longest until no more than `count` are.
    fn evict_to(&mut self, count: usize) {
        while self.open.len() > count
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
    }

    /// Writes a file beside the one at `path`, and puts it in its place where `write` says so.
    fn replace_with(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(COPY_SUFFIX);
        let aside = PathBuf::from(aside);
        let made = self.open_with(OpenOptions::new().write(true).create(true).truncate(true), &aside);
        let replaced = made.and_then(|mut file| {
            if !write(&mut file)? {
                return Ok(false);
            }
            if !self.lazy {
                file.sync_all()?;
            }
            std::fs::rename(&aside, path).map(|()| true)
        });
        if !matches!(replaced, Ok(true)) {
            // What it takes is missed on a disk that is full.
            let _ = std::fs::remove_file(&aside);
        }
        replaced
    }

    fn keep(&mut self, path: &Path, file: File) {
        self.evict_to(self.open_max.saturating_sub(1));
        self.open.insert(path.into(), file);
        self.order.push_back(path.into());
        if self.order.len() > 2 * self.open.len() + 64 {
            let open = &self.open;
            self.order.retain(|name| open.contains_key(name));
        }
    }
}

/// Cuts off what was written of an append that failed: a full disk takes a part.
fn undo(file: &File, written: usize, error: io::Error) -> io::Error {
    if written == 0 {
        return error;
    }
    let cut = file.metadata().and_then(|facts| file.set_len(facts.len().saturating_sub(written as u64)));
    match cut {
        Ok(()) => error,
        Err(cut) => io::Error::new(error.kind(), Torn { written, error, cut }),
    }
}

/// An append that failed half way and could not be taken back: tried again, the bytes would be there twice.
#[derive(Debug, thiserror::Error)]
#[error("{error}, after {written} bytes, which could not be cut off again: {cut}")]
struct Torn {
    written: usize,
    error: io::Error,
    cut: io::Error,
}

/// What was to be written anew cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(io::Error);

fn unreadable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unreadable(error))
}

/// Whether [`Disk::rewrite`] failed because the file cannot be read: what can be written is not said.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unreadable>())
}

/// Whether the file, or its folder, is not there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether the name is taken.
pub(super) fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// Whether the file ends in a part of what was to be appended.
pub(super) fn is_torn(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Torn>())
}

/// How many files may be held open at once: a call has one, and opening them anew for each 64 KiB costs
/// more than writing those. Asks for as many as the system allows.
fn open_files_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_ok() {
        limit = wanted;
    }
    let allowed = limit.current.map_or(usize::MAX, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX));
    // Others of this process need some too: captures, the log.
    (allowed / 2).clamp(OPEN_FILES_MIN, OPEN_FILES_MAX)
}

/// Whether the process (EMFILE) or the system (ENFILE) can open no more files.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    number == Some(Errno::MFILE.raw_os_error()) || number == Some(Errno::NFILE.raw_os_error())
}

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<()> {
        let file = self.open_with(OpenOptions::new().append(true).create_new(true), path)?;
        self.keep(path, file);
        Ok(())
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.opened(path)?;
        let mut written = 0;
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(0) => return Err(undo(file, written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(undo(file, written, error)),
            }
        }
        Ok(())
    }

    fn close(&mut self, path: &Path) -> io::Result<()> {
        self.open.remove(path.as_os_str());
        Ok(())
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        if self.lazy {
            return Ok(());
        }
        // One call for all files of a batch: a file each would take thousands of round trips.
        let dir = self.open_with(OpenOptions::new().read(true), dir)?;
        self.roots.sync(dir)
    }

    fn watch(&mut self, dir: &Path) -> io::Result<()> {
        if self.lazy {
            return Ok(());
        }
        let dir = self.open_with(OpenOptions::new().read(true), dir)?;
        self.roots.watch(dir).map(drop)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        rename_new(from, to)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.replace_with(path, |file| file.write_all(bytes).map(|()| true)).map(drop)
    }

    /// A piece at a time: a call of hours does not fit into the memory of a recorder.
    fn rewrite(&mut self, path: &Path, expected: &Expected) -> io::Result<bool> {
        let mut from = match self.open_with(OpenOptions::new().read(true), path) {
            Err(error) if is_gone(&error) => return Ok(false),
            opened => opened.map_err(unreadable)?,
        };
        self.replace_with(path, |file| {
            let (mut check, mut piece) = (expected.check(), vec![0; REWRITE_BYTES]);
            loop {
                match from.read(&mut piece) {
                    Ok(0) => return Ok(check.holds()),
                    Ok(length) => {
                        check.add(&piece[..length]);
                        file.write_all(&piece[..length])?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(unreadable(error)),
                }
            }
        })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.open.remove(path.as_os_str());
        std::fs::remove_file(path)
    }

    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Gives a file another name, which must not be taken.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot: a hard link refuses a name that is taken just as well.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// What an operator can do about a failure, to be appended to its message.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another directory; what is finished stays, the rest was removed"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a directory that you may write to"
        }
        io::ErrorKind::NotADirectory => "; choose a directory",
        _ => "",
    }
}

/// How names of files end that are to take the place of others, as [`Disk::replace`] does. One that stays is of a
/// process that died before it did.
pub(super) const COPY_SUFFIX: &str = ".new";
/// Read and written at once where a file is written anew.
const REWRITE_BYTES: usize = 1 << 20;
/// Files held open at once where the system allows hardly any.
const OPEN_FILES_MIN: usize = 8;
/// Files held open at once at the most.
const OPEN_FILES_MAX: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_file_system_is_synced_through_the_same_descriptor_each_time() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut roots = Roots::default();
        roots.sync(File::open(dir.path())?)?;
        let first = roots.0[0].1.as_raw_fd();
        roots.sync(File::open(dir.path())?)?;
        assert_eq!((roots.0.len(), roots.0[0].1.as_raw_fd()), (1, first));
        Ok(())
    }

    #[test]
    fn a_file_is_written_anew_only_where_it_is_what_it_must_be() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("long");
        // Not a whole number of pieces.
        let bytes: Vec<u8> = (0..REWRITE_BYTES * 2 + 5).map(|at| (at / 7) as u8).collect();
        std::fs::write(&path, &bytes)?;
        let inode = || std::fs::metadata(&path).map(|facts| facts.ino());
        let mut disk = RealDisk::new(false);
        let sha256 = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().expect("32 bytes");
        let crc = Expected::Crc32c { bytes: bytes.len() as u64, checksum: crc32c::crc32c(&bytes) };
        for expected in [Expected::Sha256(sha256), crc] {
            let before = inode()?;
            assert!(disk.rewrite(&path, &expected)?);
            assert_ne!(inode()?, before, "another file");
            assert_eq!(std::fs::read(&path)?, bytes);
        }
        std::fs::write(&path, &bytes[1..])?;
        let before = inode()?;
        for expected in [Expected::Sha256(sha256), crc] {
            assert!(!disk.rewrite(&path, &expected)?);
            assert!(!disk.rewrite(&dir.path().join("missing"), &expected)?);
            assert!(is_unreadable(&disk.rewrite(dir.path(), &expected).unwrap_err()), "a folder");
        }
        assert_eq!((inode()?, std::fs::read(&path)?.as_slice()), (before, &bytes[1..]));
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "no copy stays");
        Ok(())
    }

    #[test]
    fn no_more_files_are_open_than_allowed() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut disk = RealDisk { open_max: 4, lazy: true, ..RealDisk::default() };
        let paths: Vec<_> = (0..50).map(|number| dir.path().join(number.to_string())).collect();
        for path in &paths {
            disk.create(path)?;
            assert!(disk.open.len() <= 4, "{} open after creating", disk.open.len());
        }
        for path in paths.iter().chain(&paths) {
            disk.append(path, b"x")?;
            assert!(disk.open.len() <= 4, "{} open after appending", disk.open.len());
        }
        for path in &paths {
            assert_eq!(std::fs::read(path)?, b"xx");
        }
        Ok(())
    }
}
