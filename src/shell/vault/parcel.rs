//! A folder that is being made to be given away or laid in a safe: what is written is on the disk and listed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::archive::record::Digest;
use crate::archive::sums::{Sum, Sums};
use crate::shell::disk::remedy;
use crate::shell::verify;

/// The operating system refused.
#[derive(Debug, thiserror::Error)]
#[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
pub struct ParcelError {
    /// What was being done.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A folder that is being made.
#[derive(Debug)]
pub struct Parcel {
    dir: PathBuf,
    sums: BTreeMap<String, Sum>,
}

impl Parcel {
    /// Begins a folder, which must not be there.
    pub fn begin(dir: &Path) -> Result<Self, ParcelError> {
        let made = fs::DirBuilder::new().mode(0o700).create(dir);
        made.map_err(fault("making folder", dir))?;
        // Its name is to be on the disk too: what is in it is given away by it.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| {
            let _ = fs::remove_dir(dir);
            fault("syncing", parent)(error)
        })?;
        Ok(Self { dir: dir.into(), sums: BTreeMap::new() })
    }

    /// Begins in a folder that is there and empty: the root of a mounted medium.
    pub fn begin_in(dir: &Path) -> Self {
        Self { dir: dir.into(), sums: BTreeMap::new() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is in it so far.
    pub fn sums(&self) -> Sums {
        Sums(self.sums.clone())
    }

    /// Writes a file.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), ParcelError> {
        self.write(path, |mut file| file.write_all(bytes))
    }

    /// Writes a file by a function, then reads it for the list.
    pub fn write(
        &mut self,
        path: &str,
        write: impl FnOnce(File) -> io::Result<()>,
    ) -> Result<(), ParcelError> {
        let file = self.create(path)?;
        let full = self.dir.join(path);
        let written = file.try_clone().and_then(write).and_then(|()| file.sync_all());
        written.map_err(fault("writing", &full))?;
        self.list(path)
    }

    /// Makes a file, to be listed when it is whole.
    pub fn create(&self, path: &str) -> Result<File, ParcelError> {
        let full = self.dir.join(path);
        if let Some(parent) = full.parent().filter(|parent| !parent.is_dir()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(fault("making folder", parent))?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full);
        file.map_err(fault("making", &full))
    }

    /// Lists a file as it is.
    pub fn list(&mut self, path: &str) -> Result<(), ParcelError> {
        let full = self.dir.join(path);
        let (bytes, sha256) = verify::hash(&full).map_err(fault("reading", &full))?;
        self.sums.insert(path.into(), Sum { sha256: Digest(sha256), bytes: Some(bytes) });
        Ok(())
    }

    /// SHA-256 of a file in it.
    pub fn sha256(&self, path: &str) -> Option<Digest> {
        self.sums.get(path).map(|sum| sum.sha256)
    }

    /// Writes what is not in the list: the list itself, and its signature last.
    pub fn put_last(&mut self, path: &str, bytes: &[u8]) -> Result<(), ParcelError> {
        self.put(path, bytes)?;
        self.sums.remove(path);
        self.sync()
    }

    /// Has folders on the disk too.
    pub fn sync(&self) -> Result<(), ParcelError> {
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            let mut sync = || -> io::Result<()> {
                for entry in fs::read_dir(&dir)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        dirs.push(entry.path());
                    }
                }
                File::open(&dir)?.sync_all()
            };
            sync().map_err(fault("syncing", &dir))?;
        }
        Ok(())
    }

    /// Takes a file away again that did not become whole; nothing where there is none.
    pub fn discard(&mut self, path: &str) -> Result<(), ParcelError> {
        self.sums.remove(path);
        let full = self.dir.join(path);
        match fs::remove_file(&full) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("removing", &full)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all that is in the folder, which was empty when it was begun.
    pub fn clear(self) -> Result<(), ParcelError> {
        let entries = fs::read_dir(&self.dir).map_err(fault("looking into", &self.dir))?;
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != "lost+found") {
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(fault("removing", &path))?;
        }
        Ok(())
    }

    /// Removes a folder that did not become whole. What cannot be removed has no signature, and is told.
    pub fn abandon(self) -> Result<(), ParcelError> {
        fs::remove_dir_all(&self.dir).map_err(fault("removing", &self.dir))
    }
}

pub(super) fn fault(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ParcelError {
    let path = path.to_path_buf();
    move |source| ParcelError { doing, path, source }
}
