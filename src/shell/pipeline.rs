//! What a replay and a live recorder share: shards, storage, and the queues between.
//!
//! ```text
//!  dispatch ×1 ─tasks─► shard ×M ─sealed─► store ×1 ─► commit ×1 ─► done
//! ```

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::counters::Counters;
use crate::base::frame::FrameBlock;
use crate::call::intake::{Intake, Task};
use crate::recording::manifest::{Manifest, RecorderFacts};
use crate::recording::policy::Policy;
use crate::seal::event::Event;
use crate::shell::disk::Disk;
use crate::shell::dispatch::{Dispatcher, Lanes, Progress, WhenFull};
use crate::shell::doubt::Doubt;
use crate::shell::filter::Filter;
use crate::shell::handover::InProgress;
use crate::shell::journal::{self, Beside, JournalError, JournalHandle, Kept, Release};
use crate::shell::load::Load;
use crate::shell::receipts::ReceiptLog;
use crate::shell::shard::{Ended, Entropy, Reporter, Shard, Spent, StoreWork, Work};
use crate::shell::status::Status;
use crate::shell::store::{Commit, Committer, Mode, Store, StoreError};
use crate::shell::threads::{ThreadFailed, join, start};

/// What a pipeline is made of.
pub(super) struct Setup {
    /// Where recordings go.
    pub(super) to: PathBuf,
    /// What becomes of calls.
    pub(super) policy: Arc<Policy>,
    /// What is shed.
    pub(super) load: Arc<Load>,
    /// Threads that own calls.
    pub(super) shards: usize,
    /// Random bytes of each recording, by the number of its call.
    pub(super) entropy: Arc<Entropy>,
    /// Where receipts go.
    pub(super) log: ReceiptLog,
    /// Makes the disk that recordings are stored on, once a thread.
    pub(super) disk: Box<dyn Fn() -> Box<dyn Disk>>,
    /// Whose recordings they are.
    pub(super) mode: Mode,
    /// Where shards and storage tell how they do; nowhere in a replay.
    pub(super) status: Option<Arc<Status>>,
    /// Where shards tell what goes on; nowhere where no other process can go on with it.
    pub(super) in_progress: Option<Arc<InProgress>>,
    /// Queue lengths.
    pub(super) depths: Depths,
    /// A journal of what is not yet in finished files, and who keeps it.
    pub(super) journal: Option<(Kept, RecorderFacts)>,
}

/// How much may wait where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depths {
    /// Batches for each shard, each with its block.
    pub(super) batches: usize,
    /// Blocks kept to be filled again.
    pub(super) blocks: usize,
    /// Sealed chunks on their way to the disk, each at most 64 KiB.
    pub(super) chunks: usize,
}

/// Why a pipeline failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// Recordings could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No journal can be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A thread could not be started or ended on its own fault.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
}

/// Running shards and storage. Ends when all ways to the shards are gone.
pub(super) struct Pipeline {
    to_shards: Vec<Sender<Work>>,
    /// How much each shard has taken.
    taken: Vec<Arc<AtomicU64>>,
    status: Option<Arc<Status>>,
    to_store: Sender<StoreWork>,
    to_commit: Option<Sender<Commit>>,
    shards: Vec<JoinHandle<Ended>>,
    storing: JoinHandle<Result<(), StoreError>>,
    committing: JoinHandle<Result<(), StoreError>>,
    spent_tasks: Receiver<Vec<Task>>,
    policy: Arc<ArcSwap<Policy>>,
    load: Arc<Load>,
    journal: Option<JournalHandle>,
    /// What shards have counted, as they told last.
    books: Vec<Arc<Mutex<Counters>>>,
    /// Held until there is nothing more to hand over.
    release: Option<Release>,
    /// Blocks to be filled again.
    pub(super) spent_blocks: Receiver<FrameBlock>,
    /// Finished recordings.
    pub(super) done: Receiver<Manifest>,
}

impl Pipeline {
    /// Starts all its threads.
    pub(super) fn start(setup: Setup) -> Result<Self, PipelineError> {
        let doubt = Arc::new(Doubt::default());
        let store = Store::new(&setup.to, (setup.disk)(), setup.mode.clone(), doubt.clone())?;
        let committer = Committer::new(&setup.to, (setup.disk)(), setup.log, setup.mode, doubt.clone());
        let committer = committer.tell(setup.status.clone());
        let (spent_sender, spent_blocks) = bounded(setup.depths.blocks);
        let (task_sender, spent_tasks) = bounded(setup.depths.blocks);
        let (to_store, store_work) = bounded(setup.depths.chunks);
        let (commit_sender, commits) = bounded(COMMITS_QUEUED);
        let (done_sender, done) = bounded(COMMITS_QUEUED);
        let (mut shards, mut to_shards, mut books) = (Vec::new(), Vec::new(), Vec::new());
        let policy = Arc::new(ArcSwap::new(setup.policy));
        let mut taken = Vec::new();
        for number in 0..setup.shards.max(1) {
            let (sender, work) = bounded(setup.depths.batches);
            let counted = Arc::new(AtomicU64::new(0));
            taken.push(counted.clone());
            let (blocks, tasks) = (spent_sender.clone(), task_sender.clone());
            let spent = Spent { blocks, tasks, taken: counted };
            let (policy, load) = (policy.clone(), setup.load.clone());
            let shard = Shard::new(policy, load, setup.entropy.clone(), to_store.clone(), spent);
            let reporter = setup.status.clone().map(Reporter::new);
            books.extend(reporter.as_ref().map(Reporter::books));
            let shard = shard.report_to(reporter);
            let shard = shard.note_in(setup.in_progress.clone());
            shards.push(start(&format!("shard-{number}"), move || shard.run(&work))?);
            to_shards.push(sender);
        }
        let (journal, release) = match setup.journal {
            Some((kept, recorder)) => {
                let (shards, commits) = (to_shards.clone(), commit_sender.clone());
                let beside = Beside { doubt, load: setup.load.clone() };
                let (journal, release) = kept.start(shards, to_store.clone(), commits, recorder, beside)?;
                (Some(journal), Some(release))
            }
            None => (None, None),
        };
        let to_commit = Some(commit_sender.clone());
        let storing = start("store", move || store.run(&store_work, &commit_sender))?;
        let committing = start("commit", move || committer.run(&commits, &done_sender))?;
        Ok(Self {
            to_shards,
            taken,
            status: setup.status,
            to_store,
            to_commit,
            shards,
            storing,
            committing,
            spent_tasks,
            policy,
            load: setup.load,
            journal,
            release,
            books,
            spent_blocks,
            done,
        })
    }

    /// Makes what feeds the shards.
    pub(super) fn dispatcher(
        &mut self,
        intake: Intake,
        filter: Option<Filter>,
        full: WhenFull,
        progress: Arc<Progress>,
    ) -> Dispatcher {
        let shards = self.to_shards.iter().cloned().zip(self.taken.iter().cloned()).collect();
        let lanes = Lanes::new(shards, self.spent_tasks.clone(), full, self.load.clone());
        let lanes = lanes.alive(self.status.clone());
        Dispatcher::new(intake, filter, lanes, progress, self.release.take())
    }

    /// Lets go of the ways in: when the dispatcher is gone too, the shards end, and then storage.
    pub(super) fn close(&mut self) {
        self.to_shards.clear();
        self.to_store = bounded(0).0;
        self.to_commit = None;
    }

    /// Has an event written to the log of receipts. Does not wait: returns false where there is no room for
    /// it, because the disk has failed for long, or where nothing is written any more.
    pub(super) fn note(&self, event: Event) -> bool {
        self.to_commit
            .as_ref()
            .is_some_and(|commits| commits.try_send(Commit::Event(Box::new(event))).is_ok())
    }

    /// Decides by another policy what becomes of calls that begin from now on. Never waits: a shard whose
    /// disk has failed has no room, and whoever asks has signals to look after.
    pub(super) fn decide_by(&self, policy: &Arc<Policy>) {
        self.policy.store(policy.clone());
    }

    /// Sends something to all shards that have room before `until`. Returns how many have it, of how many.
    pub(super) fn tell_shards(&self, until: Instant, work: impl Fn() -> Work) -> (usize, usize) {
        // One that is gone has said why, or storage has.
        let told = self.to_shards.iter().filter(|shard| shard.send_deadline(work(), until).is_ok());
        (told.count(), self.to_shards.len())
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.to_shards.len()
    }

    /// What shards have counted so far.
    pub(super) fn books(&self) -> Counters {
        let mut sum = Counters::default();
        for books in &self.books {
            sum.add(&books.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// How the journal does.
    pub(super) fn journal(&self) -> Option<Arc<journal::Status>> {
        self.journal.as_ref().map(JournalHandle::status)
    }

    /// How full each queue is: name, items, room.
    pub(super) fn queues(&self) -> Vec<(String, usize, usize)> {
        let shards = self.to_shards.iter().enumerate();
        let depth = |sender: &Sender<Work>| (sender.len(), sender.capacity().unwrap_or(0));
        let mut queues: Vec<_> = shards
            .map(|(number, sender)| {
                let (used, room) = depth(sender);
                (format!("shard-{number}"), used, room)
            })
            .collect();
        queues.push(("store".into(), self.to_store.len(), self.to_store.capacity().unwrap_or(0)));
        queues
    }

    /// Waits until all have ended.
    pub(super) fn end(mut self) -> Result<Ended, PipelineError> {
        self.close();
        // The stage that failed first says why; what came before it only saw its queue close.
        let committed = join("commit", self.committing);
        let stored = join("store", self.storing);
        let (mut all, mut failed) = (Ended::default(), Ok(()));
        for shard in self.shards {
            match join("shard", shard) {
                Ok(ended) => {
                    all.books.add(&ended.books);
                    all.left.extend(ended.left);
                    all.unfinished += ended.unfinished;
                }
                Err(fault) => failed = Err(fault),
            }
        }
        if let Some(journal) = self.journal {
            // What no finished file has, only the journal may have.
            let stored = matches!(committed, Ok(Ok(()))) && matches!(stored, Ok(Ok(())));
            journal.finish(stored && failed.is_ok() && all.unfinished == 0);
        }
        committed??;
        stored??;
        failed?;
        Ok(all)
    }
}

const COMMITS_QUEUED: usize = 4_096;
