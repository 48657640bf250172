//! Places where copies are: a folder, an object store. None of them is trusted.
//!
//! What is put is create-only but for headers, and is on the place's disk when a put returns. What is read is
//! compared with its SHA-256 by whoever reads it.

mod away;
mod directory;
pub(super) mod mark;
mod open;
mod read;
mod remote;
mod s3;
mod worm;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use crate::archive::copies::Worm;
use crate::base::time::Stamp;

pub use crate::shell::vault::place::directory::Directory;
pub use crate::shell::vault::place::open::{Patience, if_there, open, open_with};
pub use crate::shell::vault::place::read::{Found, Pace, check, fetch};

/// A place.
#[async_trait]
pub trait Place: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Where it stands.
    fn site(&self) -> &str;

    /// Puts an object that must not be there. Durable when it returns, or with the next [`Place::flush`] where
    /// `lazily`. Where the same bytes are there already, all is well: somebody was interrupted after the put.
    async fn put_new(&self, object: &str, content: Content, lazily: bool) -> Result<(), PlaceError>;

    /// Puts something small in the place of what has the name, at once or not at all; of a store that keeps versions,
    /// those of before go. For headers alone.
    async fn replace(&self, object: &str, content: Bytes) -> Result<(), PlaceError>;

    /// Waits until what was put lazily is durable.
    async fn flush(&self) -> Result<(), PlaceError>;

    /// Reads an object, or a part of it; nothing where there is none.
    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError>;

    /// How long an object is; nothing where there is none.
    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError>;

    /// What the place says of an object; nothing where there is none.
    async fn stat(&self, object: &str) -> Result<Option<Stat>, PlaceError> {
        Ok(self.size(object).await?.map(|bytes| Stat { bytes, ..Stat::default() }))
    }

    /// Puts what an object should have been in the place of what is there. For copies that are found broken:
    /// nothing else may overwrite.
    async fn mend(&self, object: &str, content: Content) -> Result<(), PlaceError> {
        let read = content.read_whole().map_err(|source| PlaceError::Io {
            place: self.name().into(),
            doing: "reading what is to be put as",
            object: object.into(),
            source: source.into(),
        })?;
        self.replace(object, read).await
    }

    /// Whether bodies are to be locked here for as long as they must be kept.
    fn locks(&self) -> bool {
        false
    }

    /// Locks an object so that nobody removes it before `until`, and asks the place whether it is. A lock that
    /// is there already and lasts longer stays.
    async fn lock(&self, object: &str, _until: Stamp) -> Result<(), PlaceError> {
        Err(PlaceError::Lies {
            place: self.name().into(),
            object: object.into(),
            fault: "this kind of place locks nothing".into(),
        })
    }

    /// Tries with our own credentials what must not be possible: see `worm`.
    async fn worm_test(&self, _now: Stamp) -> Result<Worm, PlaceError> {
        Ok(Worm::Failed("who can write to a folder can remove from it".into()))
    }

    /// Removes what puts that were cut off before `before` have left in a folder of objects.
    async fn clear_up(&self, _folder: &str, _before: Stamp) -> Result<(), PlaceError> {
        Ok(())
    }

    /// Removes an object and all its versions, as far as the place lets us.
    async fn remove(&self, object: &str) -> Result<Removal, PlaceError>;

    /// Names of objects that begin with `prefix`, in order, after `after`, at most `count`.
    async fn list(&self, prefix: &str, after: Option<&str>, count: usize) -> Result<Vec<String>, PlaceError>;
}

/// What is put.
#[derive(Clone, Debug)]
pub enum Content {
    /// From memory.
    Bytes(Bytes),
    /// From a file, from an offset to its end.
    File {
        /// The file.
        path: PathBuf,
        /// Bytes to leave out at its beginning.
        skip: u64,
    },
}

/// What a place says of an object. None of it is proof.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stat {
    /// Bytes.
    pub bytes: u64,
    /// Entity tag.
    pub tag: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// SHA-256, where the place keeps one.
    pub sha256: Option<[u8; 32]>,
    /// Until when nobody may remove it.
    pub locked_until: Option<Stamp>,
}

impl Content {
    /// How long it is.
    pub fn len(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File { path, skip } => Ok(std::fs::metadata(path)?.len().saturating_sub(*skip)),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All of it.
    fn read_whole(&self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File { .. } => {
                let mut bytes = Vec::new();
                self.reader()?.read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(&bytes[..]),
            Self::File { path, skip } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*skip))?;
                Box::new(file)
            }
        })
    }
}

/// Reads until `buffer` is full or there is no more.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether a name is one of ours: parts between slashes, none of them empty or hidden, nothing to escape.
fn is_plain(object: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    object.bytes().all(is_allowed) && object.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// What became of an object that was to be removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
    /// The place keeps it: a lock that nobody may lift.
    Locked,
}

/// Why a place did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Something else has the name.
    #[error("{place}: `{object}` is there already and is something else")]
    Exists {
        /// The place.
        place: String,
        /// The object.
        object: String,
    },
    /// It answers, but not with what was put: see the text.
    #[error("{place}: `{object}`: {fault}")]
    Lies {
        /// The place.
        place: String,
        /// The object.
        object: String,
        /// What is wrong.
        fault: String,
    },
    /// It is configured in a way that cannot be.
    #[error("place `{place}`: {fault}")]
    Config {
        /// The place.
        place: String,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// It is not there now, as a disk that is not mounted.
    #[error("{place}: `{object}` is not reached, because the place is not there: {why}")]
    Away {
        /// The place.
        place: String,
        /// The object.
        object: String,
        /// What was said when it was opened.
        why: String,
    },
    /// The folder is somebody else's.
    #[error(
        "{place}: `{}` is a place of another vault or by another name ({mark}): put its own disk there, or correct \
         `path` in vault.toml", path.display()
    )]
    Foreign {
        /// The place.
        place: String,
        /// The folder.
        path: PathBuf,
        /// What it is marked with: the vault's key, and a name.
        mark: String,
    },
    /// The folder is not the one that was begun.
    #[error(
        "{place}: `{}` has not the mark that it was begun with: its disk is not mounted. Mount it; where the disk is \
         new or was lost, say `sejf place begin HOME {place}`", path.display()
    )]
    Unmarked {
        /// The place.
        place: String,
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be reached, or refuses.
    #[error("{place}: {doing} `{object}`: {source}")]
    Io {
        /// The place.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// The object.
        object: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
