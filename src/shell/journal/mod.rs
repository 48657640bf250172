//! The sealed journal: what a power cut may cost is what came since the last hand-over.
//!
//! ```text
//!            HandOver                 frame, fdatasync
//!  journal ───────────► shard ×M ───► journal ───► segment N      (N-1, N-2 … not yet let go)
//!     │ every 150 ms    seals          │
//!     └─ Barrier ─► store ─► syncfs ─► segments older than N-1 are empty again
//! ```
//!
//! Sealers hold back up to 64 KiB of a call, and what they have sealed is in files that nobody has synced
//! yet. So every quarter of a second each shard hands over what its recordings have gained, sealed under the
//! segment's own key, and one sync makes it durable for all calls.
//!
//! Letting go (I2: every batch is in a live segment or in a durable file): when segment N begins, shards
//! give again what still waits in their sealers and was first given before N-1. Once that is on the disk, a
//! barrier goes through storage: all chunks that had left by then are written. Then the file system is
//! synced, parts of running and of finished recordings and their names alike, and segments older than
//! N-1 hold nothing that is not elsewhere.
//!
//! A sync that failed puts files in doubt (`shell::doubt`). Until all of these are written anew no segment is
//! let go, whatever later syncs say; and where the disk has lost a file for good, all segments of that time
//! stay beyond the end of the run, for `sejf salvage`.
//!
//! A segment whose write or sync fails is dead: the batches since the last good sync are still in memory and
//! go to another one, with the header that opens them. Where there is none, recording goes on, [`Status`]
//! says that the journal is degraded, and the next segment that can be had is taken. Nobody waits for
//! the journal: a shard answers from its queue, and a round that is late is late.

mod disk;
mod keeper;
mod status;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::recording::manifest::RecorderFacts;
use crate::seal::batch::BatchSealer;
use crate::seal::random::Randomness;
use crate::seal::stream::{SealError, SealedChunk};
use crate::shell::doubt::Doubt;
pub use crate::shell::journal::disk::{JournalDisk, RealJournalDisk};
use crate::shell::journal::keeper::Keeper;
pub use crate::shell::journal::status::Status;
use crate::shell::journal::writer::Writer;
use crate::shell::load::Load;
use crate::shell::locks;
use crate::shell::persist::Slow;
use crate::shell::recovery::{self, Leftovers};
use crate::shell::shard::{StoreWork, Work};
use crate::shell::store::Commit;

/// Where a journal is and how it is kept.
pub struct Config {
    /// The folder of recordings: what is in its files need not stay in the journal.
    pub recordings: PathBuf,
    /// Bytes of a segment, at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Segments to have, at least [`SEGMENTS_MIN`]. All of them are allocated at the start.
    pub segments: usize,
    /// Time from one hand-over to the next.
    pub hand_over: Duration,
    /// Begins a segment: its key, sealed to whoever may open recordings.
    pub key: Box<KeyMaker>,
    /// Nonces: each source made must be another one.
    pub random: Box<dyn Fn() -> Box<dyn Randomness + Send> + Send>,
    /// What is known of it, for whoever shows it.
    pub status: Arc<Status>,
    /// Makes the disk, once a thread.
    pub disk: Box<dyn Fn() -> Box<dyn JournalDisk>>,
}

/// Makes the key of a segment and the header that stands before its batches.
pub type KeyMaker = dyn Fn(&mut dyn Randomness) -> Result<(BatchSealer, SealedChunk), SealError> + Send;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another run keeps its journal here.
    #[error("another run keeps its journal in `{}`: choose another folder, or wait until it ends", dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} `{}`: {source}; choose a folder that you may write to", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a dead run has left could not be renamed from there to the recordings.
    #[error("the journal `{}` is not on the file system of the recordings `{}`: choose a folder on the same one", journal.display(), recordings.display())]
    OtherFileSystem {
        /// The folder of the journal.
        journal: PathBuf,
        /// The folder of recordings.
        recordings: PathBuf,
    },
    /// A thread could not be started.
    #[error("the journal's thread could not be started: {0}")]
    Thread(io::Error),
}

/// The folder of a journal, taken for this run alone until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes `path` where it is missing, and takes it. `recordings` is made too: the two must be on one
    /// file system.
    pub fn take(path: &Path, recordings: &Path) -> Result<Self, JournalError> {
        use std::os::unix::fs::MetadataExt;
        let io = |doing, path: &Path, source| JournalError::Io { doing, path: path.into(), source };
        for dir in [recordings, path] {
            std::fs::create_dir_all(dir).map_err(|source| io("making folder", dir, source))?;
        }
        let device = |dir: &Path| std::fs::metadata(dir).map(|metadata| metadata.dev());
        let device = |dir: &Path| device(dir).map_err(|source| io("looking at", dir, source));
        if device(path)? != device(recordings)? {
            return Err(JournalError::OtherFileSystem {
                journal: path.into(),
                recordings: recordings.into(),
            });
        }
        let taken =
            locks::folder_alone(path, locks::IN_PASSING).map_err(|source| io("locking", path, source))?;
        let lock = taken.ok_or_else(|| JournalError::Busy { dir: path.into() })?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A journal that is to be kept, and what an earlier run has left for it to look after.
pub struct Kept {
    /// How.
    pub config: Config,
    /// Where.
    pub folder: Folder,
    /// What a run that died has left.
    pub leftovers: Leftovers,
}

impl Kept {
    /// Starts the journal, and beside it the recovery of what was left.
    pub(super) fn start(
        self,
        shards: Vec<Sender<Work>>,
        store: Sender<StoreWork>,
        commits: Sender<Commit>,
        recorder: RecorderFacts,
        beside: Beside,
    ) -> Result<(JournalHandle, Release), JournalError> {
        let Self { config, folder, leftovers } = self;
        if !leftovers.is_empty() {
            let (disk, random) = ((config.disk)(), (config.random)());
            recovery::start(leftovers, disk, recorder, random, commits).map_err(JournalError::Thread)?;
        }
        JournalHandle::start(config, folder, shards, store, beside)
    }
}

/// What it shares with storage.
#[derive(Clone)]
pub(super) struct Beside {
    /// Files whose segments must stay.
    pub(super) doubt: Arc<Doubt>,
    /// Where conditions are counted.
    pub(super) load: Arc<Load>,
}

/// A running journal.
pub struct JournalHandle {
    status: Arc<Status>,
    control: Sender<Control>,
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    folder: Folder,
}

/// Lets the journal let go of shards and storage, so that these end when their other senders are gone. Give
/// it to whoever feeds the shards; dropping it is enough.
#[derive(Debug)]
pub struct Release(Sender<Control>);

impl Drop for Release {
    fn drop(&mut self) {
        // A journal that has ended holds nothing.
        let _ = self.0.try_send(Control::Release);
    }
}

#[derive(Debug)]
enum Control {
    /// Ask nobody any more, and hold no queue open.
    Release,
    /// End. Where all recordings are committed, what the journal holds is of no use.
    Finish { committed: bool },
}

impl JournalHandle {
    /// Starts the journal in `folder`: it asks `shards` from now on, and sends barriers through `store`.
    ///
    /// Returns at once: segments are made on a thread of their own, and until the first of them is ready the
    /// journal says that it is degraded.
    pub(super) fn start(
        config: Config,
        folder: Folder,
        shards: Vec<Sender<Work>>,
        store: Sender<StoreWork>,
        beside: Beside,
    ) -> Result<(Self, Release), JournalError> {
        let status = config.status.clone();
        let (control, controls) = bounded(CONTROLS_QUEUED);
        let segments = config.segments.max(SEGMENTS_MIN);
        let segment_bytes = config.segment_bytes.max(SEGMENT_BYTES_MIN);
        let (jobs, jobs_taken) = bounded(segments * 2 + 4);
        let (reports, reported) = bounded(segments * 4 + 16);
        let keeper = Keeper {
            disk: (config.disk)(),
            recordings: config.recordings.clone(),
            segment_bytes,
            reports,
            slow: Slow::counted(Some(beside.load.clone())),
            beside: beside.clone(),
        };
        let disk = (config.disk)();
        let plan = writer::Plan { segment_bytes, segments, hand_over: config.hand_over };
        let means = writer::Means { key: config.key, random: config.random, disk, jobs, reported, beside };
        let writer = Writer::new(plan, means, folder.path.clone(), shards, store, status.clone());
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(body).map_err(JournalError::Thread)
        };
        let keeper = spawn("journal-keeper", Box::new(move || keeper.run(&jobs_taken)))?;
        let writer = spawn("journal", Box::new(move || writer.run(&controls)))?;
        let release = Release(control.clone());
        Ok((Self { status, control, writer, keeper, folder }, release))
    }

    /// What is known of it.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Ends the journal. With `committed`, all recordings are in their files and receipted, and the segments
    /// are removed; without, they stay for the next start to find.
    pub fn finish(self, committed: bool) {
        let _ = self.control.send(Control::Finish { committed });
        // What they had to say is in the status; a thread that failed leaves the segments.
        let _ = self.writer.join();
        let _ = self.keeper.join();
        if committed {
            // Others may keep something there.
            let _ = std::fs::remove_dir(&self.folder.path);
        }
    }
}

/// How names of segments end.
pub(super) const SEGMENT_SUFFIX: &str = ".segment";
/// The folder of the journal in a folder of recordings, where no other is asked for.
pub const DIR_NAME: &str = "journal";
/// Segments of 64 MiB: 25 s of a thousand two-way calls kept as packets.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Smallest segment: a few of the smallest batches.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// One is written, one is kept, one is being let go, one is ready.
pub const SEGMENTS_MIN: usize = 4;
/// Time from one hand-over to the next.
pub const HAND_OVER: Duration = Duration::from_millis(150);
const CONTROLS_QUEUED: usize = 8;
