//! `record`: a wire through the whole pipeline, for as long as it runs. Never holds up the wire: what
//! does not fit is left out, counted, and said to the calls it was of.
//!
//! ```text
//!  capture ×N ─blocks─► dispatch ×1 ─tasks─► shard ×M ─sealed─► store ×1 ─► commit ×1 ─► caller
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::base::counters::{Counters, Discard};
use crate::base::frame::FrameBlock;
use crate::base::merge::{Captured, Dropped, Merger, Place};
use crate::base::policy::Conditions;
use crate::base::time::Stamp;
use crate::call::intake::Intake;
use crate::call::table;
use crate::recording::manifest::{Manifest, RecorderFacts};
use crate::recording::parts::LeftCall;
use crate::recording::pause::PauseReason;
use crate::recording::policy::Policy;
use crate::seal::event::Event;
use crate::shell::capture::{self, Outlet, Ring};
use crate::shell::clock;
use crate::shell::disk::Disk;
use crate::shell::dispatch::{Dispatched, Dispatcher, Progress, WhenFull};
use crate::shell::handover::InProgress;
use crate::shell::journal::{self, Kept};
use crate::shell::load::Load;
use crate::shell::persist::{PersistentDisk, Trouble};
use crate::shell::pipeline::{Depths, Pipeline, PipelineError, Setup};
use crate::shell::receipts::ReceiptLog;
pub use crate::shell::shard::Paused;
use crate::shell::shard::{Claim, Entropy, PauseAsked, Work};
use crate::shell::status::Status;
use crate::shell::store::Mode;
use crate::shell::threads::{ThreadFailed, join, start};

/// What to record, and how.
pub struct Config {
    /// Opened rings; none for [`Recorder::fed`].
    pub rings: Vec<Ring>,
    /// Calls that a process before this one has left, where another may come after: see [`Recorder::leave`].
    pub resume: Option<Vec<LeftCall>>,
    /// Where it tells what goes on, for a process that comes after this one was killed.
    pub in_progress: Option<Arc<InProgress>>,
    /// Where recordings go.
    pub to: PathBuf,
    /// What becomes of calls.
    pub policy: Arc<Policy>,
    /// A journal of what is not yet in finished files, and who keeps it.
    pub journal: Option<(Kept, RecorderFacts)>,
    /// What the call table is told to do.
    pub table: table::Config,
    /// How much may wait where.
    pub depths: Queues,
    /// Threads that own calls.
    pub shards: usize,
    /// Random bytes of each recording, by the number of its call.
    pub entropy: Arc<Entropy>,
    /// Where receipts go.
    pub log: ReceiptLog,
    /// What is shed, and how often conditions are met.
    pub load: Arc<Load>,
    /// Where it tells how it does.
    pub status: Arc<Status>,
    /// Makes the disk that recordings are stored on, once a thread.
    pub disk: Box<dyn Fn() -> Box<dyn Disk>>,
}

/// How much may wait where, before it is left out.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Blocks between capture and dispatch, each up to 8 MiB: at 200,000 packets/s, 20 ms each.
    pub blocks: usize,
    /// Batches for each shard.
    pub batches: usize,
    /// Sealed chunks on their way to the disk, each at most 64 KiB.
    pub chunks: usize,
}

impl From<Queues> for Depths {
    fn from(Queues { blocks, batches, chunks }: Queues) -> Self {
        Self { batches, blocks: 2 * blocks, chunks }
    }
}

/// Both ends of the queue between capture and dispatch: number of the source, and what it captured.
pub type Feed = (Sender<(usize, Captured)>, Receiver<(usize, Captured)>);

/// Why recording failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Recordings could not be made or stored.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A thread could not be started or ended on its own fault.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
}

/// A recorder at work.
pub struct Recorder {
    pipeline: Pipeline,
    captures: Vec<JoinHandle<Ring>>,
    dispatch: JoinHandle<Dispatched>,
    stop: Arc<AtomicBool>,
    /// Calls go on in another process.
    leaving: Arc<AtomicBool>,
    stats: Vec<Arc<capture::Stats>>,
    progress: Arc<Progress>,
    trouble: Arc<Trouble>,
    load: Arc<Load>,
    /// Whether rules ask for media without signalling.
    orphans: Arc<AtomicBool>,
    /// How full it is: blocks between capture and dispatch.
    captured: Receiver<(usize, Captured)>,
    books: Arc<Mutex<(Counters, Conditions)>>,
    inject: Sender<(usize, Captured)>,
}

/// What a run was.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// The books of the run.
    #[serde(flatten)]
    pub counters: Counters,
    /// Whether they balance.
    pub balanced: bool,
}

/// What a recorder leaves to the one that comes.
#[derive(Debug, Default)]
pub struct Left {
    /// Rings that go on filling until they are dropped everywhere.
    pub rings: Vec<Ring>,
    /// Calls that go on.
    pub calls: Vec<LeftCall>,
}

impl Recorder {
    /// Starts to record what the rings capture.
    pub fn start(mut config: Config) -> Result<Self, RecordError> {
        let rings = std::mem::take(&mut config.rings);
        let (sender, captured) = bounded(config.depths.blocks);
        let mut recorder = Self::fed(config, rings.len(), (sender.clone(), captured))?;
        for (source, ring) in rings.into_iter().enumerate() {
            let spent = recorder.pipeline.spent_blocks.clone();
            let outlet = Outlet { source, captured: sender.clone(), spent };
            let (counts, stop) = (Arc::new(capture::Stats::default()), recorder.stop.clone());
            recorder.stats.push(counts.clone());
            let name = format!("capture-{source}");
            recorder.captures.push(start(&name, move || capture::run(ring, &outlet, &counts, &stop))?);
        }
        Ok(recorder)
    }

    /// Starts to record what comes through this queue, of so many sources, until its senders are gone.
    pub fn fed(config: Config, sources: usize, (inject, captured): Feed) -> Result<Self, RecordError> {
        let trouble = Arc::new(Trouble::counted(config.load.clone()));
        let load = config.load;
        load.set_priorities(&config.policy.priorities());
        let (disk, noted) = (config.disk, trouble.clone());
        let mut pipeline = Pipeline::start(Setup {
            journal: config.journal,
            in_progress: config.in_progress.clone(),
            status: Some(config.status.clone()),
            to: config.to,
            policy: config.policy,
            load: load.clone(),
            shards: config.shards,
            entropy: config.entropy,
            log: config.log,
            disk: Box::new(move || Box::new(PersistentDisk::new(disk(), noted.clone()))),
            mode: Mode::Live(trouble.clone()),
            depths: config.depths.into(),
        })?;
        let progress = Arc::new(Progress::default());
        let orphans = Arc::new(AtomicBool::new(config.table.orphans));
        let intake = Intake::new(config.table);
        let dispatcher = pipeline.dispatcher(intake, None, WhenFull::Shed, progress.clone());
        let queued = captured.clone();
        let books = Arc::new(Mutex::default());
        let leaving = Arc::new(AtomicBool::new(false));
        let (books_told, leave) = (books.clone(), leaving.clone());
        let looper = Loop {
            dispatcher,
            resume: config.resume,
            in_progress: config.in_progress,
            leave,
            orphans: orphans.clone(),
            status: config.status,
            books: books_told,
        };
        let dispatch = start("dispatch", move || looper.run(&captured, sources))?;
        Ok(Self {
            books,
            inject,
            pipeline,
            captures: Vec::new(),
            dispatch,
            stop: Arc::default(),
            leaving,
            orphans,
            stats: Vec::new(),
            progress,
            trouble,
            load,
            captured: queued,
        })
    }

    /// Decides by another policy what becomes of calls that begin from now on. Media without signalling is
    /// looked for where a rule asks for it.
    pub fn decide_by(&self, policy: &Arc<Policy>) {
        self.orphans.store(policy.wants_orphans(), Ordering::Relaxed);
        self.load.set_priorities(&policy.priorities());
        self.pipeline.decide_by(policy);
    }

    /// What is shed, and how often each condition was met.
    pub fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Has an event written to the log of receipts, soon and without waiting; that the recorder stopped
    /// is written last. Returns whether there was room for it.
    pub fn note(&self, event: Event) -> bool {
        let kind = event.kind.as_str();
        let taken = self.pipeline.note(event);
        if !taken {
            tracing::warn!(event = kind, "not in the log of receipts: the disk does not keep up");
        }
        taken
    }

    /// Pauses a recording, or has it go on, and says what has come of that within two seconds.
    pub fn pause(&self, id: &str, pause: Option<&PauseReason>) -> Paused {
        self.pause_within(id, pause, PAUSE_PATIENCE)
    }

    fn pause_within(&self, id: &str, pause: Option<&PauseReason>, patience: Duration) -> Paused {
        let (reply, answers) = bounded(self.pipeline.shards());
        let claim = Claim::default();
        let (asked, pause) = (clock::now(), pause.cloned());
        let asked = PauseAsked { id: id.into(), pause, at: asked, claim: claim.clone(), reply };
        let until = clock::monotonic() + patience;
        let (told, of) = self.pipeline.tell_shards(until, || Work::Pause(asked.clone()));
        drop(asked);
        let mut answered = 0;
        let mut hear = |until| {
            while let Ok(answer) = answers.recv_deadline(until) {
                answered += 1;
                if answer.is_some() {
                    return answer;
                }
            }
            None
        };
        if let Some(paused) = hear(until) {
            return paused;
        }
        // One that was told has it behind packets that came before it, and does it in its turn; one that was not
        // must not be the one that should have.
        if told < of && claim.call_off() {
            return Paused::Busy;
        }
        // Just now it may have been begun.
        hear(clock::monotonic() + PAUSE_GRACE).unwrap_or(match answered == of {
            true => Paused::NoSuchCall,
            false => Paused::Unconfirmed,
        })
    }

    /// Puts frames that no interface saw into the queue. Returns false when the recorder ends.
    pub fn injector(&self) -> impl FnMut(FrameBlock, Stamp) -> bool + Send + use<> {
        let sender = self.inject.clone();
        let stop = self.stop.clone();
        move |block, now| {
            let captured = if block.frames.is_empty() { Captured::Idle(now) } else { Captured::Block(block) };
            // A full queue loses a canary call, which is then told as such.
            !stop.load(Ordering::Relaxed)
                && !matches!(sender.try_send((INJECTED, captured)), Err(TrySendError::Disconnected(_)))
        }
    }

    /// What became of all frames so far, but for those on their way.
    pub fn books(&self) -> Counters {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        books.settle(&self.pipeline.books());
        books
    }

    /// How often each condition was met so far.
    pub fn conditions(&self) -> Conditions {
        let mut conditions = self.load.tally().snapshot();
        conditions.add(&self.books.lock().unwrap_or_else(PoisonError::into_inner).1);
        conditions
    }

    /// How the journal does.
    pub fn journal(&self) -> Option<Arc<journal::Status>> {
        self.pipeline.journal()
    }

    /// Whether to stop was asked for: for who works beside it.
    pub fn stopping(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Finished recordings, as they come.
    pub fn done(&self) -> &Receiver<Manifest> {
        &self.pipeline.done
    }

    /// Counts of the capture threads.
    pub fn stats(&self) -> &[Arc<capture::Stats>] {
        &self.stats
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// How full each queue is: name, items, room.
    pub fn queues(&self) -> Vec<(String, usize, usize)> {
        let mut queues = self.pipeline.queues();
        queues.push(("capture".into(), self.captured.len(), self.captured.capacity().unwrap_or(0)));
        queues
    }

    /// Whether a thread has ended that should not.
    pub fn is_broken(&self) -> bool {
        self.dispatch.is_finished() || self.captures.iter().any(JoinHandle::is_finished)
    }

    /// How the disk does.
    pub fn trouble(&self) -> &Arc<Trouble> {
        &self.trouble
    }

    /// Stops capturing, ends all calls, and waits until they are stored. `finished` is told of each.
    pub fn finish(self, finished: impl FnMut(&Manifest)) -> Result<Summary, RecordError> {
        Ok(self.end(finished)?.0)
    }

    /// The same, but calls in progress are only ended here: each is a part of which the next is recorded by
    /// the process that takes over what is returned. Without [`Config::resume`] nothing is kept of calls.
    pub fn leave(self, finished: impl FnMut(&Manifest)) -> Result<(Summary, Left), RecordError> {
        self.leaving.store(true, Ordering::Relaxed);
        self.end(finished)
    }

    fn end(mut self, mut finished: impl FnMut(&Manifest)) -> Result<(Summary, Left), RecordError> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut rings, mut broken) = (Vec::new(), None);
        for capture in self.captures {
            match join("capture", capture) {
                Ok(ring) => rings.push(ring),
                // The calls it had heard are ended in order all the same.
                Err(error) => broken = Some(error),
            }
        }
        drop(self.inject);
        self.pipeline.close();
        let until = clock::monotonic() + STORE_PATIENCE;
        loop {
            match self.pipeline.done.recv_timeout(Duration::from_millis(100)) {
                Ok(manifest) => finished(&manifest),
                Err(RecvTimeoutError::Timeout) if clock::monotonic() > until => self.trouble.give_up(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // Nobody names files any more: what still waits to be written waits in vain.
        self.trouble.give_up();
        let ended = self.pipeline.end()?;
        let Dispatched { books: mut counters, left, .. } = join("dispatch", self.dispatch)?;
        counters.settle(&ended.books);
        let mut continuations: BTreeMap<_, _> = ended.left.into_iter().collect();
        let calls = left.into_iter().filter_map(|(order, messages)| {
            let continuation = continuations.remove(&order)?;
            (!messages.is_empty()).then_some(LeftCall { continuation, messages })
        });
        let left = Left { rings, calls: calls.collect() };
        if let Some(error) = broken {
            return Err(error.into());
        }
        Ok((Summary { balanced: counters.balanced(), counters }, left))
    }
}

/// The dispatch thread.
struct Loop {
    dispatcher: Dispatcher,
    resume: Option<Vec<LeftCall>>,
    in_progress: Option<Arc<InProgress>>,
    leave: Arc<AtomicBool>,
    orphans: Arc<AtomicBool>,
    status: Arc<Status>,
    books: Arc<Mutex<(Counters, Conditions)>>,
}

impl Loop {
    /// Dispatches until the capture threads are gone.
    fn run(mut self, captured: &Receiver<(usize, Captured)>, sources: usize) -> Dispatched {
        // Calls that were cut off wait for the first packet since.
        if !self.resume.iter().flatten().any(|call| call.continuation.cut) {
            self.resume(None);
        }
        let mut merger = Merger::new(sources);
        let begun = clock::monotonic();
        let (mut told, mut noted, mut held) = (begun, None, Vec::new());
        let mut working = true;
        while working {
            match captured.recv_timeout(WAIT) {
                // What was injected waits for nobody, and holds nobody up.
                Ok((INJECTED, captured)) if self.resume.is_some() => held.push(captured),
                Ok((INJECTED, captured)) => {
                    working &= take(&mut self.dispatcher, captured);
                }
                Ok((source, captured)) => merger.push(source, captured, clock::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.dispatcher.set_orphans(self.orphans.load(Ordering::Relaxed));
            let now = clock::monotonic();
            self.dispatcher.passed(now.duration_since(begun));
            while let Some(next) = merger.pop(clock::now()) {
                self.resume(first_of(&next));
                working &= take(&mut self.dispatcher, next);
                self.status.beat();
            }
            if now.duration_since(begun) >= FIRST_PATIENCE {
                self.resume(None);
            }
            if self.resume.is_none() {
                working &= held.drain(..).all(|captured| take(&mut self.dispatcher, captured));
            }
            self.status.beat();
            if now.duration_since(told) >= TELL_EVERY {
                told = now;
                *self.books.lock().unwrap_or_else(PoisonError::into_inner) =
                    (self.dispatcher.books(), self.dispatcher.conditions());
            }
            if let Some(in_progress) = self.in_progress.as_ref().filter(|_| self.resume.is_none())
                && noted.is_none_or(|noted| now.duration_since(noted) >= NOTE_EVERY)
            {
                noted = Some(now);
                let (reached, changes) = self.dispatcher.changes();
                in_progress.calls(reached, changes);
            }
        }
        self.resume(None);
        while let Some(next) = merger.finish() {
            take(&mut self.dispatcher, next);
        }
        if self.leave.load(Ordering::Relaxed) { self.dispatcher.leave() } else { self.dispatcher.finish() }
    }

    /// Goes on with calls of the process before, once. `first` is when something was captured first.
    fn resume(&mut self, first: Option<Stamp>) {
        let Some(calls) = self.resume.take() else { return };
        let (all, cut) = (calls.len(), calls.iter().filter(|call| call.continuation.cut).count());
        let failed = self.dispatcher.resume(calls, first);
        if all > 0 {
            tracing::info!(calls = all - failed, failed, cut, "calls of the process before go on");
        }
    }
}

/// When this was captured, where it says so of all that comes after.
fn first_of(captured: &Captured) -> Option<Stamp> {
    match captured {
        Captured::Block(block) => block.frames.iter().map(|frame| frame.stamp).min(),
        Captured::Idle(now) => Some(*now),
        // What is still in a ring may be older than what did not get into it.
        Captured::Dropped(_) => None,
    }
}

/// Returns false when nobody works any more.
fn take(dispatcher: &mut Dispatcher, captured: Captured) -> bool {
    match captured {
        Captured::Block(block) => dispatcher.block(block),
        Captured::Idle(now) => dispatcher.idle(now),
        Captured::Dropped(Dropped { from, to, frames, place, .. }) => {
            let reason = match place {
                Place::Interface | Place::Kernel => Discard::CaptureDrop,
                Place::Queue => Discard::QueueDrop,
            };
            dispatcher.lost(frames, from, to, reason);
            true
        }
    }
}

/// The source of frames that no interface saw.
const INJECTED: usize = usize::MAX;
/// How long a shard may take to find a recording.
const PAUSE_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to say so.
const PAUSE_GRACE: Duration = Duration::from_millis(100);
/// How often dispatch tells what it has counted.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How long calls that were cut off wait for a first packet, and what is injected with them.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// How often dispatch tells what goes on, where somebody keeps a record of it.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How long dispatch sleeps when nothing comes.
const WAIT: Duration = Duration::from_millis(20);
/// How long a failing disk is waited for at the end; what is not stored then is recovered at the next start.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
