//! Files below a folder that somebody else had in hand: no link is followed, so nothing outside of it is read or
//! written, whatever the folder is made of.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::archive::sums::is_plain_path;

/// A folder.
#[derive(Debug)]
pub(in crate::shell) struct Beneath(OwnedFd);

impl Beneath {
    /// Opens the folder, which may be named by a link.
    pub(in crate::shell) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(dir, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    /// Opens a regular file to read. Anything else is invalid input.
    pub(in crate::shell) fn file(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDONLY)
    }

    /// Opens a regular file to write over.
    pub(super) fn file_to_write(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::WRONLY)
    }

    /// Reads a regular file of at most so many bytes.
    pub(super) fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.file(path)?;
        if file.metadata()?.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file as a whole; what is no regular file makes way, and so does what stands where a folder should be.
    pub(super) fn write_whole(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.make(path)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Has a regular file be there, and opens it to write.
    pub(super) fn make(&self, path: &str) -> io::Result<File> {
        let (folder, name) = self.folder_of(path, true)?;
        let opened = openat(&folder, name, FILE | OFlags::WRONLY, Mode::empty());
        match opened.map(File::from) {
            Ok(file) if file.metadata()?.is_file() => return Ok(file),
            Ok(_) | Err(Errno::LOOP | Errno::NXIO) => unlinkat(&folder, name, AtFlags::empty())?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(openat(&folder, name, flags, Mode::from_raw_mode(0o644))?.into())
    }

    fn regular(&self, path: &str, access: OFlags) -> io::Result<File> {
        let (folder, name) = self.folder_of(path, false)?;
        let file: File = match openat(&folder, name, FILE | access, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(io::ErrorKind::InvalidInput.into()),
            other => other?.into(),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// The folder that a path is in, one part after the other, and the last part.
    fn folder_of<'a>(&self, path: &'a str, makes: bool) -> io::Result<(OwnedFd, &'a str)> {
        if !is_plain_path(path) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut folder = self.0.try_clone()?;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = match openat(&folder, part, FOLDER, Mode::empty()) {
                Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) if makes => {
                    if error != Errno::NOENT {
                        unlinkat(&folder, part, AtFlags::empty())?;
                    }
                    mkdirat(&folder, part, Mode::from_raw_mode(0o755))?;
                    openat(&folder, part, FOLDER, Mode::empty())?
                }
                Err(Errno::LOOP) => return Err(io::ErrorKind::InvalidInput.into()),
                other => other?,
            };
        }
        Ok((folder, name))
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// No pipe holds us up, and no terminal becomes ours.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(inside.join("a")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "outside").unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink(outside.join("file"), inside.join("a/link")).unwrap();
        symlink(&inside, dir.path().join("named")).unwrap();
        let beneath = Beneath::open(&dir.path().join("named")).unwrap();
        for path in ["folder/file", "a/link", "../out/file", "/etc/passwd", "a"] {
            assert!(beneath.read(path, 99).is_err(), "{path}");
            assert!(beneath.file_to_write(path).is_err(), "{path}");
        }
        for path in ["folder/file", "a/link", "a/b/new"] {
            beneath.write_whole(path, b"inside").unwrap();
            assert_eq!(beneath.read(path, 6).unwrap(), b"inside");
            assert!(std::fs::symlink_metadata(inside.join(path)).unwrap().is_file());
        }
        assert_eq!(beneath.read("a/link", 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"outside");
    }
}
