//! Why nothing is said of a recording, or shown of what was said.

use crate::archive::envelope::RewrapError;
use crate::archive::record::{Digest, Phase, RecordingId};
use crate::archive::version::{HistoryError, VersionError, VersionSlipError};
use crate::recording::redact::RedactError;
use crate::shell::entropy::NoRandomness;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::annotate::Step;
use crate::shell::vault::catalog::CatalogError;
use crate::shell::vault::home::VaultError;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::log::Denied;
use crate::shell::vault::place::PlaceError;

/// Why nothing was said, or is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// Not granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// A place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// It cannot be said.
    #[error("recording {id}: {source}")]
    Version {
        /// Of which recording.
        id: RecordingId,
        /// Why not.
        source: VersionError,
    },
    /// What was said does not hang together.
    #[error("recording {id}: {source}; `sejf scrub` looks at all copies, and mends what it can")]
    History {
        /// Of which recording.
        id: RecordingId,
        /// What is wrong.
        source: HistoryError,
    },
    /// An object in the first place is no slip.
    #[error("`{object}`: {source}; `sejf scrub` looks at all copies, and mends what it can")]
    Slip {
        /// The object.
        object: String,
        /// What is wrong.
        source: VersionSlipError,
    },
    /// A file is in no place as it should be.
    #[error(
        "recording {id}: `{name}` is not read: {why}; `sejf scrub` looks at all copies, and mends what it can"
    )]
    Unread {
        /// Of which recording.
        id: RecordingId,
        /// The file.
        name: String,
        /// Why.
        why: String,
    },
    /// The document cannot be put under the recording's envelope.
    #[error("recording {id}: sealing a version: {source}")]
    Seal {
        /// Of which recording.
        id: RecordingId,
        /// Why.
        source: RewrapError,
    },
    /// There is nothing to silence, or more than one file.
    #[error("recording {0} has not one file of sound, Opus or WAV: no redacted copy can be made of it")]
    NoSound(RecordingId),
    /// Its sound cannot be silenced.
    #[error("recording {id}: silencing its sound: {source}")]
    Redact {
        /// Which.
        id: RecordingId,
        /// Why not.
        source: RedactError,
    },
    /// No such recording.
    #[error("there is no recording {0} in the archive: look for it with `sejf vault search`")]
    Unknown(RecordingId),
    /// Nothing can be said of it.
    #[error("recording {id} is {}: {}", phase.as_str(), nothing(*phase))]
    Nothing {
        /// Which.
        id: RecordingId,
        /// How far it is.
        phase: Phase,
    },
    /// Somebody was quicker.
    #[error(
        "recording {id} has version {number} by now, and nothing was said: see `sejf history`, and say it again where \
         it still holds"
    )]
    Meanwhile {
        /// Of which recording.
        id: RecordingId,
        /// The last one.
        number: u32,
    },
    /// It was said, and not all that follows was done.
    #[error(
        "recording {id}: version {number}, whose document has SHA-256 {sha256}, was written, and the catalog has not \
         taken it yet: {source}; `sejf history` takes it over when that is mended"
    )]
    Unfinished {
        /// Of which recording.
        id: RecordingId,
        /// Its number.
        number: u32,
        /// SHA-256 of its document.
        sha256: Digest,
        /// What was not done.
        source: Box<AnnotateError>,
    },
    /// What was granted is something else.
    #[error("recording {0}: what was granted is another thing, or is of another recording")]
    NotGranted(RecordingId),
    /// Envelopes are being exchanged.
    #[error("recordings are being put under other envelopes: try again later")]
    Rewrapping,
    /// A test has ended it.
    #[error("ended after {0:?}")]
    Ended(Step),
}

fn nothing(phase: Phase) -> &'static str {
    match phase {
        Phase::Staged => "it was taken in while the vault was locked, and waits for it to be unlocked",
        Phase::Archived => "nothing of it was recorded, there is only its receipt",
        Phase::Destroyed => "nobody opens it any more, and nothing is said of it",
    }
}
