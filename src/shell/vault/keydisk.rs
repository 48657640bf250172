//! The file operations that keeping keys needs, so that each of them can be made to fail in a test.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// File operations. Every one may fail, and a power cut may come between any two.
pub trait KeyDisk: Send + Sync + std::fmt::Debug {
    /// Names in a folder, in order; none where there is no folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether there is a folder of that name.
    fn is_dir(&self, path: &Path) -> bool;
    /// Reads a file; nothing where there is none.
    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Makes a folder and those above it where they are missing, for nobody else to look into.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Writes a file anew. When this returns its bytes are on the disk, its name need not be.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file or folder another name, in the place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder are on the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Writes zeros over a file's bytes and waits until they are on the disk: as much as a file system lets us,
    /// which on flash and on copy-on-write is not much.
    fn overwrite(&self, file: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealKeyDisk;

impl KeyDisk for RealKeyDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is not of our making may have any name, and is left alone.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.is_dir()).collect();
        for above in missing.iter().rev() {
            match DirBuilder::new().mode(0o700).create(above) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            let parent = above.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
        opened.write_all(bytes)?;
        opened.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn overwrite(&self, file: &Path) -> io::Result<()> {
        let mut opened = OpenOptions::new().write(true).open(file)?;
        let length = opened.metadata()?.len();
        io::copy(&mut io::Read::take(io::repeat(0), length), &mut opened)?;
        opened.sync_all()
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }
}
