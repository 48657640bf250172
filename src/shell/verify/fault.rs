//! What may be wrong with a directory of recordings.

use std::io;
use std::path::PathBuf;

use crate::seal::log::{CHECKPOINT_PATH, LogError};
use crate::seal::note::NoteError;
use crate::seal::receipt::ReceiptError;
use crate::shell::library::{NoDirectory, OpenFault};
use crate::shell::receipts::{DIR_NAME, KEY_NAME};

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The earlier checkpoint is not one of this recorder.
    #[error("`{}` is not a checkpoint that the recorder signed: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// It is none.
    #[error(transparent)]
    Directory(#[from] NoDirectory),
    /// The operating system refused.
    #[error("reading `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The given key is none.
    #[error("a public key is written `name+hash+key`: {source}")]
    Recorder {
        /// Why.
        source: NoteError,
    },
}

/// Something that is not as the recorder left it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No receipt names it.
    #[error("added: {name} is in no receipt")]
    Added {
        /// The file, from the directory.
        name: String,
    },
    /// Its bytes are others.
    #[error("changed: {name} is not as it was sealed")]
    Changed {
        /// The file.
        name: String,
    },
    /// Fewer or more bytes.
    #[error("{}: {name} has {found} bytes and had {sealed}", if found < sealed { "cut" } else { "longer" })]
    Length {
        /// The file.
        name: String,
        /// Bytes it has.
        found: u64,
        /// Bytes it had.
        sealed: u64,
    },
    /// The log itself.
    #[error("receipts: {DIR_NAME}/{name}: {source}")]
    Log {
        /// The file of the log.
        name: String,
        /// What is wrong.
        source: LogError,
    },
    /// The recorder itself found that the disk had not kept it.
    #[error(
        "lost: {name}: the disk did not keep it whole, and the receipt of its recording says that it failed; with \
         the recorder stopped, `sejf salvage` makes of it and of the journal what can be made"
    )]
    Lost {
        /// The file.
        name: String,
    },
    /// The manifest says something else than the receipt.
    #[error(
        "manifest of {id} does not fit its receipt, which is what the recorder signed: believe the receipt"
    )]
    Manifest {
        /// The recording.
        id: String,
    },
    /// Not there.
    #[error("missing: {name}")]
    Missing {
        /// The file.
        name: String,
    },
    /// There is no log: a run without calls leaves none, and so does somebody who removed everything.
    #[error(
        "missing: {DIR_NAME}/{CHECKPOINT_PATH}: no receipts, so nothing here is proved, nor that nothing is missing"
    )]
    NoReceipts,
    /// It is a link, a pipe or a device where a file was.
    #[error("changed: {name} is no regular file")]
    NotAFile {
        /// The file.
        name: String,
    },
    /// It is a link or something else where a folder was.
    #[error("changed: {name} is no folder of this directory")]
    NotAFolder {
        /// The folder.
        name: String,
    },
    /// It has the right hash and does not open.
    #[error("does not open: {source}")]
    Open {
        /// Why.
        source: OpenFault,
    },
    /// The public key beside the receipts is not the recorder's, or there is none.
    #[error("receipts: {DIR_NAME}/{KEY_NAME} is missing, or not the recorder's key")]
    PublicKey,
    /// An entry of the log is neither a receipt nor an event.
    #[error("entry {index} of the receipts: {source}")]
    Receipt {
        /// Its index in the log.
        index: u64,
        /// Why.
        source: ReceiptError,
    },
    /// The log is not the one that the earlier checkpoint was of.
    #[error(
        "rolled back or rewritten: {DIR_NAME}/{CHECKPOINT_PATH} does not continue the checkpoint of {size} entries kept from earlier"
    )]
    Rewritten {
        /// Entries of the earlier checkpoint.
        size: u64,
    },
    /// It is another file of the same log.
    #[error("swapped: {name} holds what {other} held")]
    Swapped {
        /// The file.
        name: String,
        /// Whose bytes it has.
        other: String,
    },
    /// The log is too damaged to be held against an earlier checkpoint.
    #[error("receipts: too damaged to be compared with the checkpoint of {size} entries kept from earlier")]
    Uncompared {
        /// Entries of the earlier checkpoint.
        size: u64,
    },
    /// The recorder died while it was written.
    #[error("unfinished: {name} was being written when the recorder stopped")]
    Unfinished {
        /// The file.
        name: String,
    },
    /// No receipt that can be read names it, and some cannot be read.
    #[error("not proved: {name} is in no receipt that can be read")]
    Unproved {
        /// The file.
        name: String,
    },
    /// The operating system does not give it.
    #[error("not read: {name}: {source}; what else there is was checked")]
    Unreadable {
        /// The file or folder.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl serde::Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
