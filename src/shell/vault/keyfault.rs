//! Why there is no key, or none was written.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::custody::{CustodianName, CustodyError};
use crate::archive::epoch::{Epoch, EpochError};
use crate::archive::record::RecordingId;
use crate::seal::identity::IdentityError;
use crate::seal::open::OpenError;
use crate::seal::recipient::RecipientError;
use crate::seal::stream::SealError;
use crate::shell::disk::remedy;
use crate::shell::entropy::NoRandomness;
use crate::shell::keys::KeyError;

/// Why there is no key, or none was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key place is not there.
    #[error(
        "the key place `{}` is not there, and no key is changed without it: mount it, or where it is new or lost, \
         say `sejf vault keys repair --begin {}`",
        place.display(), place.display()
    )]
    Absent {
        /// The folder.
        place: PathBuf,
    },
    /// The folder holds keys of another vault.
    #[error("`{}` holds the keys of vault {other}, and this is {own}: name another folder in `key_places`", place.display())]
    Foreign {
        /// The folder.
        place: PathBuf,
        /// Whose they are.
        other: String,
        /// Who asked.
        own: String,
    },
    /// There are keys already.
    #[error("`{}` holds keys already: begin a vault in another folder", place.display())]
    Exists {
        /// The folder.
        place: PathBuf,
    },
    /// No keys at all.
    #[error("`{}` holds no keys of a vault: name its home, or begin one with `sejf vault init`", place.display())]
    None {
        /// The folder.
        place: PathBuf,
    },
    /// A file is in no place whole.
    #[error("`{}` is damaged or lost, in all key places: restore the folder from a copy", path.display())]
    Damaged {
        /// The file, in the first place.
        path: PathBuf,
    },
    /// Something has the name of what is new.
    #[error("`{}` is there already, and is not written over: try again", path.display())]
    Taken {
        /// The file, in the first place, without its generation.
        path: PathBuf,
    },
    /// A file does not open with the key that it is under.
    #[error("`{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<OpenError>,
    },
    /// Fewer custodians than it takes.
    #[error(
        "{} of the {needed} custodians that it takes: {}. Give the key of another with -i; there are {}",
        opened.len(), names(opened), names(all)
    )]
    TooFew {
        /// Whose share was opened.
        opened: Vec<CustodianName>,
        /// How many it takes.
        needed: u8,
        /// All of them.
        all: Vec<CustodianName>,
    },
    /// The shares give something else than the root key.
    #[error(
        "the shares do not give the root key: one of them was put in another's place, see `sejf vault keys drill`"
    )]
    NotTheRoot,
    /// Custodians or shares that cannot be.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// Another root key since.
    #[error(
        "the root key has been changed since this was unlocked: unlock again, with the custodians of now"
    )]
    Changed,
    /// The epoch's key was destroyed.
    #[error("the key of epoch {0} has been destroyed, and with it what was recorded then")]
    Destroyed(Epoch),
    /// There is no such epoch.
    #[error("there is no key of epoch {0} yet: unlock the vault, which makes those of the coming months")]
    NoEpoch(Epoch),
    /// The public half does not belong to the private one.
    #[error(
        "the recipient of epoch {epoch} in `{}` is not that of its key: somebody has changed it, and recordings \
         sealed to it since are lost to the vault. Take it out of all recorders and say `sejf vault keys repair`",
        path.display()
    )]
    WrongRecipient {
        /// The epoch.
        epoch: Epoch,
        /// The file, in the first place.
        path: PathBuf,
    },
    /// A recording has an envelope already.
    #[error("recording {0} has an envelope already: what is under it would be lost")]
    HasEnvelope(RecordingId),
    /// An epoch's key is needed.
    #[error(
        "the key of epoch {epoch} is kept: {count} envelopes are under it, as of recordings that have come meanwhile"
    )]
    InUse {
        /// Which epoch.
        epoch: Epoch,
        /// How many.
        count: usize,
    },
    /// It may still have what was destroyed.
    #[error(
        "`{}` is an older file of envelopes, which should have been shredded and may have what was destroyed: say \
         `sejf vault keys repair`, which shreds it, and try again",
        path.display()
    )]
    LeftOver {
        /// The file.
        path: PathBuf,
    },
    /// What was granted is something else.
    #[error("what was granted is not what is asked of the keys: {0}")]
    NotGranted(String),
    /// Another process holds the lock for long.
    #[error("another process is changing keys in `{}`: wait until it ends and try again", place.display())]
    Busy {
        /// The folder.
        place: PathBuf,
    },
    /// A custodian's recipient makes no sense.
    #[error("the recipient of {custodian}: {source}")]
    Recipient {
        /// Whose.
        custodian: CustodianName,
        /// Why.
        source: Box<KeyError>,
    },
    /// Not to be sealed.
    #[error("sealing a key: {0}")]
    Seal(#[from] SealError),
    /// Our own recipient makes no sense.
    #[error("sealing a key: {0}")]
    OwnRecipient(#[from] RecipientError),
    /// Our own identity makes no sense.
    #[error("a key of the vault is malformed: {0}")]
    Identity(#[from] IdentityError),
    /// A file's name makes no sense.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl KeyFault {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// The same, said of a file.
    pub(super) fn at(self, file: &Path) -> Self {
        match self {
            Self::Damaged { .. } => Self::Damaged { path: file.into() },
            Self::Open { source, .. } => Self::Open { path: file.into(), source },
            other => other,
        }
    }
}

impl From<OpenError> for KeyFault {
    fn from(source: OpenError) -> Self {
        Self::Open { path: PathBuf::new(), source: Box::new(source) }
    }
}

fn names(names: &[CustodianName]) -> String {
    let names: Vec<_> = names.iter().map(CustodianName::as_str).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
