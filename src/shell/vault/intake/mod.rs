//! Taking recordings in.
//!
//! ```text
//! recorder's log ─► continues what is known? ─► receipts are awaited (catalog)
//! files ─► as receipted? ─► envelopes (key places) ─► .hdr, .body (first place), flush ─► catalog ─► log
//!                      └─ locked ─► incoming/staged, flush ─► catalog ─► log        later: as above, when unlocked
//! ```
//!
//! Every step can be done again: envelopes are those that the recordings have, headers are made from them and from
//! nothing random, objects with the same bytes may be put twice, and the catalog takes each recording once. A receipt is
//! forgotten as awaited when all that is done. So what was killed at any step is done again from its beginning.

mod batch;
mod connections;
mod details;
mod files;
mod logs;
pub mod protocol;
pub(super) mod received;
pub mod serve;
mod slips;
mod staged;
pub mod tls;
mod told;

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::archive::access::{Action, Actor, Request};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::intake::LogRefusal;
use crate::seal::note::{NoteError, VerifyKey};
use crate::shell::clock;
use crate::shell::disk::remedy;
use crate::shell::entropy::NoRandomness;
use crate::shell::receipts::ReceiptsError;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::{Vault, VaultError};
use crate::shell::vault::intake::told::Told;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::log::Denied;
use crate::shell::vault::matters::{self, MattersError};
use crate::shell::vault::place::{Place, PlaceError};

pub use crate::shell::vault::intake::logs::{LogPiece, PIECE_MAX, Spool};

/// What takes recordings in: one a vault and process.
pub struct Intake {
    vault: Arc<Vault>,
    catalog: Catalog,
    place: Arc<dyn Place>,
    /// Of all that are of one vault in this process.
    keys: Arc<RwLock<Option<Arc<KeyRing>>>>,
    told: Arc<Told>,
    /// Bytes of files that a batch holds in memory: it ends with the recording that reaches this.
    held_max: u64,
    /// For tests: whether to go on after a step.
    after: Arc<dyn Fn(Step) -> bool + Send + Sync>,
}

/// Steps after which a test may end it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The recorder's log is known further.
    LogNoted,
    /// Envelopes are in the key places.
    EnvelopesKept,
    /// One object more was put.
    ObjectPut,
    /// All objects are on the disk.
    Flushed,
    /// A file more was staged.
    FileStaged,
    /// The catalog has the recordings.
    Catalogued,
    /// The log has them.
    Logged,
    /// They are awaited no more.
    Arrived,
    /// A file more was removed from what was staged or sent.
    FileRemoved,
}

/// What was done.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct Report {
    /// Entries of recorders' logs that were not known.
    pub entries: u64,
    /// Recordings put under their envelopes.
    pub archived: u64,
    /// Recordings taken in while the vault is locked.
    pub staged: u64,
    /// Receipts of calls that have no files: kept out by a rule, or failed.
    pub without_files: u64,
    /// Recordings that were here already.
    pub known: u64,
    /// Receipts whose files are not there, and why.
    pub waiting: Vec<(String, String)>,
    /// Receipts that were refused, and why.
    pub refused: Vec<(String, String)>,
    /// Entries of a recorder's log that are in no book.
    pub missing: u64,
}

impl Report {
    /// Adds what else was done.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.archived += other.archived;
        self.staged += other.staged;
        self.without_files += other.without_files;
        self.known += other.known;
        self.missing += other.missing;
        self.waiting.extend(other.waiting);
        self.refused.extend(other.refused);
    }

    /// Whether anything was done.
    pub fn is_idle(&self) -> bool {
        self.entries + self.archived + self.staged + self.without_files + self.known == 0
    }
}

/// Why nothing, or not all, was taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The catalog does not do it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog does not go with the vault's log.
    #[error(transparent)]
    Matters(#[from] Box<MattersError>),
    /// There is no key.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// The place does not do it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nothing was granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// The vault does not do it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The recorder is not one of ours.
    #[error(
        "recorder {recorder} is not known here: where it is yours, add `[[recorder]]` with `key = \"{recorder}\"` to \
         vault.toml"
    )]
    Stranger {
        /// Its key.
        recorder: String,
    },
    /// There are no receipts.
    #[error("`{}` has no receipts: name the folder that a recorder writes to", dir.display())]
    NoReceipts {
        /// The folder.
        dir: PathBuf,
    },
    /// The checkpoint or key is malformed.
    #[error("the log of recorder {recorder}: {source}")]
    Note {
        /// Whose.
        recorder: String,
        /// What is wrong.
        source: NoteError,
    },
    /// A file of the log is missing or malformed.
    #[error("the log of recorder {recorder}: `{path}` is missing or damaged: `sejf verify` says more")]
    Tile {
        /// Whose.
        recorder: String,
        /// Path in the log.
        path: String,
    },
    /// The log does not continue what is known.
    #[error("recorder {recorder}: {refusal}; nothing of it was taken in")]
    Refused {
        /// Whose.
        recorder: String,
        /// Why.
        refusal: LogRefusal,
    },
    /// A test ended it.
    #[error("ended after {0:?}")]
    Ended(Step),
}

impl IntakeError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

impl Intake {
    /// Opens what it takes: catalog and first place. Locked. The catalog knows all that the log says was destroyed.
    pub async fn open(vault: Arc<Vault>) -> Result<Self, IntakeError> {
        let intake = Self::open_as_it_is(vault).await?;
        intake.vault.check_catalog(&intake.catalog).await?;
        matters::catch_up(&intake.vault, &intake.catalog).await.map_err(Box::new)?;
        Ok(intake)
    }

    async fn open_as_it_is(vault: Arc<Vault>) -> Result<Self, IntakeError> {
        let catalog = vault.catalog_as_it_is().await?;
        // This one alone: that another place is away holds nothing up.
        let place = vault.first_place()?;
        Ok(Self::with(vault, catalog, place))
    }

    /// Another one with the same keys, and a catalog of its own: for another thread.
    pub async fn another(&self) -> Result<Self, IntakeError> {
        let other = Self::open_as_it_is(Arc::clone(&self.vault)).await?;
        let (keys, told, after) = (self.keys.clone(), self.told.clone(), self.after.clone());
        Ok(Self { keys, told, after, held_max: self.held_max, ..other })
    }

    /// The same with a catalog and place that are open.
    pub fn with(vault: Arc<Vault>, catalog: Catalog, place: Arc<dyn Place>) -> Self {
        Self {
            vault,
            catalog,
            place,
            keys: Arc::default(),
            told: Arc::default(),
            held_max: HELD_BYTES_MAX,
            after: Arc::new(|_| true),
        }
    }

    /// For tests: goes on after a step only where `after` says so.
    #[must_use]
    pub fn ending(mut self, after: impl Fn(Step) -> bool + Send + Sync + 'static) -> Self {
        self.after = Arc::new(after);
        self
    }

    /// For tests: ends batches at so many bytes.
    #[must_use]
    pub fn holding(mut self, held_max: u64) -> Self {
        self.held_max = held_max.max(1);
        self
    }

    /// Has the keys from now on, or has them no more.
    pub fn set_keys(&self, keys: Option<Arc<KeyRing>>) {
        *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = keys;
    }

    /// The keys, where it has them.
    pub fn keys(&self) -> Option<Arc<KeyRing>> {
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Where recordings are put first.
    pub fn place(&self) -> &dyn Place {
        &*self.place
    }

    /// Takes in what the folder that a recorder writes to has: its receipts, and the recordings that they name.
    pub async fn take_in_folder(&self, dir: &Path) -> Result<Report, IntakeError> {
        let mut tries = TRIES_MAX;
        loop {
            let spool = Spool::open(dir)?;
            let recorder = spool.recorder().clone();
            self.check_recorder(&recorder)?;
            match self.note_spool(&spool).await {
                // A recorder that runs has put a wider file in the place of this one.
                Err(IntakeError::Tile { .. }) if tries > 0 => tries -= 1,
                Err(error) => return Err(error),
                Ok(mut report) => {
                    report.add(self.take_in_awaited(&recorder, dir, Whose::Recorder).await?);
                    return Ok(report);
                }
            }
        }
    }

    /// Whether a recorder is one of ours.
    pub fn check_recorder(&self, recorder: &VerifyKey) -> Result<(), IntakeError> {
        let key = recorder.to_string();
        if self.vault.config.recorders.iter().any(|known| known.key.trim() == key) {
            Ok(())
        } else {
            Err(IntakeError::Stranger { recorder: key })
        }
    }

    fn passed(&self, step: Step) -> Result<(), IntakeError> {
        if (self.after)(step) { Ok(()) } else { Err(IntakeError::Ended(step)) }
    }

    /// Writes into the vault's log what became of something.
    fn log(&self, resource: Resource, outcome: Outcome) -> Result<(), IntakeError> {
        self.log_all([(resource, outcome)])
    }

    fn log_all(&self, what: impl IntoIterator<Item = (Resource, Outcome)>) -> Result<(), IntakeError> {
        let (actor, action, now) = (Actor::vault(), Action::TakeIn, clock::now());
        let mut entries = Vec::new();
        for (resource, outcome) in what {
            let request = Request { actor: &actor, action, resource, reason: None, now };
            entries.push(Entry::of(&self.vault.log.decide_now(&request)?, outcome));
        }
        if !entries.is_empty() {
            self.vault.log.write(&entries)?;
        }
        Ok(())
    }

    fn incoming(&self, folder: &str) -> PathBuf {
        self.vault.incoming().join(folder)
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Intake({}, ..)", self.catalog.name())
    }
}

/// Whose the files are that are taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    /// The recorder's: they stay until it may free them.
    Recorder,
    /// Ours: they were sent to us, or staged, and go once they are archived.
    Vault,
}

const STAGED: &str = "staged";
const TRIES_MAX: u32 = 5;
const HELD_BYTES_MAX: u64 = 256 << 20;
