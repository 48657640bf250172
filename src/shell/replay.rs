//! `replay`: capture files through the whole pipeline. Never drops: every queue blocks.
//!
//! ```text
//!  source ×1 ─blocks─► dispatch ×1 ─tasks─► shard ×M ─sealed─► store ×1 ─► commit ×1 ─► caller
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::counters::Counters;
use crate::base::frame::FrameBlock;
use crate::call::intake::Intake;
use crate::call::table;
use crate::recording::manifest::Manifest;
use crate::recording::policy::Policy;
use crate::recording::recorder;
use crate::shell::disk::Disk;
pub use crate::shell::dispatch::Progress;
use crate::shell::dispatch::{Dispatched, Dispatcher, WhenFull};
use crate::shell::filter::Filter;
use crate::shell::journal::Kept;
use crate::shell::load::Load;
use crate::shell::pace::{self, Pace};
use crate::shell::pipeline::{Depths, Pipeline, PipelineError, Setup};
use crate::shell::receipts::ReceiptLog;
pub use crate::shell::shard::Entropy;
use crate::shell::signals::Stop;
use crate::shell::source::{Captures, Damage, OpenError};
use crate::shell::store::Mode;
use crate::shell::threads::{ThreadFailed, join, start};

/// What to replay, and how.
pub struct Config {
    /// Capture files, `-` for standard input.
    pub captures: Vec<PathBuf>,
    /// Where recordings go.
    pub to: PathBuf,
    /// What recordings are.
    pub recording: recorder::Config,
    /// Frames to look at; all where there is none.
    pub filter: Option<Filter>,
    /// Record RTP that no signalling explains.
    pub orphans: bool,
    /// Threads that own calls.
    pub shards: usize,
    /// Random bytes of each recording, by the number of its call.
    pub entropy: Arc<Entropy>,
    /// Where receipts go.
    pub log: ReceiptLog,
    /// Ends the run early: what is read by then is recorded, and calls in progress are interrupted.
    pub stop: Stop,
    /// Makes the disk that recordings are stored on, once a thread.
    pub disk: Box<dyn Fn() -> Box<dyn Disk>>,
    /// A journal, as a live recorder keeps one.
    pub journal: Option<Kept>,
    /// When frames may come; at once where there is none.
    pub pace: Option<Pace>,
}

/// What a run was.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// The books of the run: they balance.
    #[serde(flatten)]
    pub counters: Counters,
    /// Bytes of all frames.
    pub bytes: u64,
    /// Recordings by state.
    pub recordings: std::collections::BTreeMap<String, u64>,
    /// Damaged captures.
    pub damages: Vec<String>,
    /// Frames whose time was far from that of their neighbours, and was put right.
    pub wild_times: u64,
    /// Times that capture time jumped by more than a minute: a pause, or a clock that was set.
    pub time_jumps: u64,
    /// Whether the run was stopped before the captures ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The books do not balance: a frame was lost or counted twice. Our fault.
    #[error(
        "{captured} packets were captured and {accounted} accounted for: this is a fault of the program, please report it"
    )]
    Books {
        /// Frames captured.
        captured: u64,
        /// Frames recorded or discarded.
        accounted: u64,
    },
    /// A capture could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Recordings could not be made or stored.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A thread could not be started or ended on its own fault.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
}

/// What a run tells while it goes on.
pub trait Observer {
    /// A recording is finished, named and receipted.
    fn recorded(&mut self, manifest: &Manifest);
    /// Called several times a second.
    fn progress(&mut self, progress: &Progress);
}

/// Replays captures.
pub fn replay(config: Config, observer: &mut dyn Observer) -> Result<Summary, ReplayError> {
    tracing::info!(captures = config.captures.len(), shards = config.shards, "replay begins");
    let captures = Captures::open_until(&config.captures, &config.stop)?;
    let recorder = config.recording.recorder.clone();
    let signals = config.recording.wants_signals();
    let mut pipeline = Pipeline::start(Setup {
        journal: config.journal.map(|kept| (kept, recorder)),
        in_progress: None,
        to: config.to,
        policy: Arc::new(Policy::same(config.recording)),
        load: Arc::new(Load::new(0, &[])),
        shards: config.shards,
        entropy: config.entropy,
        log: config.log,
        disk: config.disk,
        mode: Mode::Replay,
        status: None,
        depths: DEPTHS,
    })?;
    let progress = Arc::new(Progress::default());
    let intake = Intake::new(table::Config { orphans: config.orphans, signals, ..table::Config::default() });
    let dispatcher = pipeline.dispatcher(intake, config.filter, WhenFull::Wait, progress.clone());
    pipeline.close();
    let (block_sender, blocks) = bounded(BLOCKS_QUEUED);
    let spent = pipeline.spent_blocks.clone();
    let pace = config.pace;
    let reader = start("source", move || match pace {
        Some(pace) => pace::read(captures, pace, &block_sender),
        None => read(captures, &block_sender, &spent),
    })?;
    let dispatch = start("dispatch", move || dispatch(dispatcher, &blocks))?;

    let mut summary = Summary::default();
    watch(&pipeline.done, &progress, observer, &mut summary);

    let books = pipeline.end()?.books;
    let (damages, stopped) = join("source", reader)?;
    summary.damages = damages.iter().map(ToString::to_string).collect();
    summary.stopped = stopped;
    let dispatched = join("dispatch", dispatch)?;
    summary.counters = dispatched.books;
    (summary.wild_times, summary.time_jumps) = (dispatched.wild_times, dispatched.time_jumps);
    summary.counters.settle(&books);
    summary.bytes = progress.bytes.load(Ordering::Relaxed);
    close_books(summary)
}

/// Tells the log what a run was, if its books balance.
fn close_books(summary: Summary) -> Result<Summary, ReplayError> {
    let Counters { captured, recorded, .. } = summary.counters;
    if !summary.counters.balanced() {
        let accounted = summary.counters.accounted();
        return Err(ReplayError::Books { captured, accounted });
    }
    for damage in &summary.damages {
        tracing::warn!("{damage}");
    }
    let recordings: u64 = summary.recordings.values().sum();
    tracing::info!(captured, recorded, recordings, stopped = summary.stopped, "replay ends");
    Ok(summary)
}

fn watch(done: &Receiver<Manifest>, progress: &Progress, observer: &mut dyn Observer, summary: &mut Summary) {
    loop {
        match done.recv_timeout(PROGRESS_EVERY) {
            Ok(manifest) => {
                tracing::debug!(recording = %manifest.id, state = manifest.state.as_str(), "recorded");
                *summary.recordings.entry(manifest.state.as_str().into()).or_default() += 1;
                observer.recorded(&manifest);
            }
            Err(RecvTimeoutError::Timeout) => observer.progress(progress),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Dispatches until the queue closes.
fn dispatch(mut dispatcher: Dispatcher, blocks: &Receiver<FrameBlock>) -> Dispatched {
    while let Ok(block) = blocks.recv() {
        if !dispatcher.block(block) {
            break;
        }
    }
    dispatcher.finish()
}

/// Returns where the captures are damaged, and whether they were left before their end.
fn read(
    mut captures: Captures,
    blocks: &Sender<FrameBlock>,
    spent: &Receiver<FrameBlock>,
) -> (Vec<Damage>, bool) {
    loop {
        let mut block = spent.try_recv().unwrap_or_default();
        if !captures.fill(&mut block) || blocks.send(block).is_err() {
            return (captures.damages().to_vec(), captures.is_stopped());
        }
    }
}

/// Each 8 MiB: all that are on their way are some twenty.
const BLOCKS_QUEUED: usize = 2;
const DEPTHS: Depths = Depths { batches: 2, blocks: 8, chunks: 128 };
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
