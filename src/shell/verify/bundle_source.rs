//! Where a bundle's files are read: below a folder, or within a tar archive. What it holds was made by anybody.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::archive::tarball::{Index, TarError};
use crate::shell::verify::beneath::Beneath;
use crate::shell::verify::fault::{Fault, VerifyError};
use crate::shell::verify::{Found, library};

/// A bundle as it lies there.
pub(super) enum Source {
    Folder(Beneath),
    Tar { archive: File, index: Index },
}

/// What is in a bundle.
pub(super) struct Opened {
    pub(super) source: Source,
    /// Names of its files, and of what else is there and is no folder.
    pub(super) names: BTreeSet<String>,
    /// Folders that cannot be looked into.
    pub(super) faults: Vec<Fault>,
}

/// A file of a bundle, to be read from its beginning.
pub(super) struct SourceFile<'a> {
    reader: Box<dyn Read + 'a>,
    /// Its length when it was opened.
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a folder, or an archive that has the one form.
    pub(super) fn open(path: &Path) -> Result<Result<Opened, TarError>, VerifyError> {
        let io = |source| VerifyError::Io { path: path.into(), source };
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            library::is_directory(path)?;
            let Found { names, faults } = Found::below(path)?;
            let source = Self::Folder(Beneath::open(path).map_err(io)?);
            return Ok(Ok(Opened { source, names, faults }));
        }
        let archive = File::open(path).map_err(io)?;
        let length = archive.metadata().map_err(io)?.len();
        // Headers stand alone: a buffer would read what it is to pass over.
        Ok(Index::read(&mut &archive, length).map(|index| {
            let names = index.files.keys().cloned().collect();
            Opened { source: Self::Tar { archive, index }, names, faults: Vec::new() }
        }))
    }

    /// Opens a file. What is no regular one is invalid input.
    pub(super) fn file(&self, name: &str) -> io::Result<SourceFile<'_>> {
        match self {
            Self::Folder(dir) => {
                let file = dir.file(name)?;
                let bytes = file.metadata()?.len();
                Ok(SourceFile { reader: Box::new(file), bytes })
            }
            Self::Tar { archive, index } => {
                let place = index.files.get(name).ok_or(io::ErrorKind::NotFound)?;
                let reader = Part { archive, at: place.at, left: place.bytes };
                Ok(SourceFile { reader: Box::new(reader), bytes: place.bytes })
            }
        }
    }

    /// The time of an archive's files.
    pub(super) fn made_s(&self) -> Option<u64> {
        match self {
            Self::Folder(_) => None,
            Self::Tar { index, .. } => Some(index.made_s),
        }
    }
}

impl Read for SourceFile<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader.read(out)
    }
}

/// One file of an archive.
struct Part<'a> {
    archive: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.archive.read_at(&mut out[..room], self.at)?;
        if read == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
