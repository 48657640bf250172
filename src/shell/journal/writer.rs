//! The journal's thread: asks, writes, syncs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::recording::journal::BATCH_BYTES_MIN;
use crate::recording::recorder::Round;
use crate::seal::batch::BatchSealer;
use crate::seal::random::Randomness;
use crate::seal::segment::{FRAME_HEAD_BYTES, FrameHead, FrameKind};
use crate::seal::stream::SealedChunk;
use crate::shell::clock;
use crate::shell::journal::disk::JournalDisk;
use crate::shell::journal::keeper::{Job, Report};
use crate::shell::journal::status::Status;
use crate::shell::journal::{Beside, Control, KeyMaker, SEGMENT_SUFFIX};
use crate::shell::persist::Slow;
use crate::shell::shard::{HandOver, HandedOver, StoreWork, Work};

/// How it is kept.
pub(super) struct Plan {
    pub(super) segment_bytes: u64,
    pub(super) segments: usize,
    pub(super) hand_over: Duration,
}

/// What it works with.
pub(super) struct Means {
    pub(super) key: Box<KeyMaker>,
    pub(super) random: Box<dyn Fn() -> Box<dyn Randomness + Send> + Send>,
    pub(super) disk: Box<dyn JournalDisk>,
    pub(super) jobs: Sender<Job>,
    pub(super) reported: Receiver<Report>,
    pub(super) beside: Beside,
}

/// A key, and the header that opens what it seals.
struct Key {
    sealer: Arc<BatchSealer>,
    header: SealedChunk,
}

/// The segment that is written.
struct Active {
    path: PathBuf,
    generation: u64,
    id: [u8; 16],
    sequence: u64,
    offset: u64,
    /// Generation of the header written last.
    opens: Option<u64>,
}

/// A segment that holds what may be nowhere else.
struct Old {
    path: PathBuf,
    generation: u64,
    /// Whether it may be used again.
    again: bool,
}

/// One shard as the journal sees it.
struct Line {
    /// None where the shard has ended.
    sender: Option<Sender<Work>>,
    asked: bool,
    /// All that was first given before this generation has been given again, and is on the disk.
    again: u64,
}

/// How far letting go of old segments is.
enum Freeing {
    /// Shards give again what they still hold.
    Again { before: u64 },
    /// The keeper waits for storage and for the disk.
    Waiting,
}

pub(super) struct Writer {
    plan: Plan,
    means: Means,
    dir: PathBuf,
    lines: Vec<Line>,
    store: Option<Sender<StoreWork>>,
    status: Arc<Status>,
    reply: Sender<HandedOver>,
    replies: Receiver<HandedOver>,
    generation: u64,
    keys: BTreeMap<u64, Key>,
    active: Option<Active>,
    old: VecDeque<Old>,
    spares: Vec<PathBuf>,
    /// Segments that the keeper is making.
    making: usize,
    /// When to try again to make one, after a failure.
    make_at: Option<Instant>,
    freeing: Option<Freeing>,
    /// Batches since the last good sync, with the generation of their key.
    unsynced: Vec<(u64, SealedChunk)>,
    /// Memory of batches that are on the disk.
    written: Vec<Vec<u8>>,
    /// What shards have said since then: shard, and what it gave again.
    answered: Vec<(usize, u64)>,
    slow: Slow,
    /// Recordings, as far as was heard, that the disk has lost a file of.
    lost: u64,
    /// Segments up to this generation may have what is lost, and stay beyond the end.
    pinned: u64,
}

impl Writer {
    pub(super) fn new(
        plan: Plan,
        means: Means,
        dir: PathBuf,
        shards: Vec<Sender<Work>>,
        store: Sender<StoreWork>,
        status: Arc<Status>,
    ) -> Self {
        // Each shard owes one answer at most, and may have an older one that it could not send.
        let (reply, replies) = bounded(shards.len() * 2 + 1);
        let line = |sender| Line { sender: Some(sender), asked: false, again: 0 };
        status.degraded.store(true, Ordering::Relaxed);
        let slow = Slow::counted(Some(means.beside.load.clone()));
        Self {
            plan,
            means,
            dir,
            lines: shards.into_iter().map(line).collect(),
            store: Some(store),
            status,
            reply,
            replies,
            generation: 0,
            keys: BTreeMap::new(),
            active: None,
            old: VecDeque::new(),
            spares: Vec::new(),
            making: 0,
            make_at: None,
            freeing: None,
            unsynced: Vec::new(),
            written: Vec::new(),
            answered: Vec::new(),
            slow,
            lost: 0,
            pinned: 0,
        }
    }

    /// Works until told to finish.
    pub(super) fn run(mut self, controls: &Receiver<Control>) {
        self.order_segments();
        let mut next = clock::monotonic();
        loop {
            match controls.recv_deadline(next) {
                Ok(Control::Finish { committed }) => return self.finish(committed),
                Ok(Control::Release) => {
                    self.release();
                    continue;
                }
                // Whoever started it is gone without a word: what is here is all there is.
                Err(RecvTimeoutError::Disconnected) => return self.finish(false),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let start = clock::monotonic();
            self.round(start);
            // A late round is followed by one that is in time, not by many at once.
            next = (next + self.plan.hand_over).max(start + self.plan.hand_over / 2);
        }
    }

    fn round(&mut self, start: Instant) {
        self.take_reports();
        self.pin();
        self.order_segments();
        if self.active.is_none() && !self.activate() {
            return;
        }
        // Batches that could not be written come first: until then nobody is asked for more.
        let all = self.unsynced.is_empty() && {
            let asked = self.ask(start);
            self.gather(start) && asked
        };
        if self.flush() && all && self.store.is_some() {
            self.status.safe(start);
        }
        self.let_go();
    }

    /// Asks every shard that owes no answer. Returns false where one could not be asked.
    fn ask(&mut self, start: Instant) -> bool {
        let generation = self.generation;
        let Some(key) = self.keys.get(&generation) else { return false };
        let sealer = key.sealer.clone();
        let again = match self.freeing {
            Some(Freeing::Again { before }) => Some(before),
            _ => None,
        };
        let bytes_max = (self.plan.segment_bytes / 4).clamp(BATCH_BYTES_MIN as u64, BATCH_BYTES_MAX) as usize;
        // Answers that came after the last round was over.
        let mut all = true;
        while let Ok(answer) = self.replies.try_recv() {
            all &= self.take(answer);
        }
        for (shard, line) in self.lines.iter_mut().enumerate() {
            let Some(sender) = &line.sender else { continue };
            if line.asked {
                // Whatever it says now, it may have said before this round began.
                all = false;
                continue;
            }
            let work = HandOver {
                sealer: sealer.clone(),
                round: Round { generation, again_before: again.filter(|before| line.again < *before) },
                random: (self.means.random)(),
                bytes_max,
                shard,
                spare: self.written.pop().unwrap_or_default(),
                reply: self.reply.clone(),
            };
            // A shard that is busy is asked again in the next round: others must not wait for it long.
            let until = start + self.plan.hand_over / 2;
            let patience = until.saturating_duration_since(clock::monotonic()).max(PATIENCE_MIN);
            match sender.send_timeout(Work::HandOver(Box::new(work)), patience) {
                Ok(()) => line.asked = true,
                Err(SendTimeoutError::Timeout(_)) => all = false,
                Err(SendTimeoutError::Disconnected(_)) => line.sender = None,
            }
        }
        all
    }

    /// Takes answers until all are there or the round has been long enough. Returns whether all are, and whole.
    fn gather(&mut self, start: Instant) -> bool {
        let until = start + self.plan.hand_over;
        let mut whole = true;
        while self.lines.iter().any(|line| line.asked && line.sender.is_some()) {
            match self.replies.recv_deadline(until) {
                Ok(answer) => whole &= self.take(answer),
                Err(_) => return false,
            }
        }
        whole
    }

    fn take(&mut self, answer: HandedOver) -> bool {
        let HandedOver { shard, generation, again_before, sealed, whole, skipped } = answer;
        if let Some(line) = self.lines.get_mut(shard) {
            line.asked = false;
        }
        self.status.skipped_bytes.fetch_add(skipped, Ordering::Relaxed);
        if let Some(before) = again_before.filter(|_| whole) {
            self.answered.push((shard, before));
        }
        self.unsynced.extend(sealed.map(|sealed| (generation, sealed)));
        whole
    }

    /// Writes what there is and waits for the disk. Returns whether all is on it.
    fn flush(&mut self) -> bool {
        for _ in 0..ATTEMPTS {
            if self.active.is_none() && !self.activate() {
                return false;
            }
            match self.write_and_sync() {
                Ok(()) => {
                    for (shard, before) in self.answered.drain(..) {
                        self.lines[shard].again = self.lines[shard].again.max(before);
                    }
                    self.status.degraded.store(false, Ordering::Relaxed);
                    return true;
                }
                Err(Stop::Full) => {}
                Err(Stop::Failed { doing, path, source }) => {
                    self.failed(doing, &path, &source);
                    self.bury();
                }
            }
        }
        self.status.degraded.store(true, Ordering::Relaxed);
        false
    }

    fn write_and_sync(&mut self) -> Result<(), Stop> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let (mut written, mut frames) = (0, 0);
        let batches = std::mem::take(&mut self.unsynced);
        let mut done = 0;
        let outcome = batches.iter().try_for_each(|(generation, sealed)| {
            let bytes = self.write_batch(*generation, sealed)?;
            (written, frames, done) = (written + bytes, frames + 1, done + 1);
            Ok(())
        });
        // A segment that is full is synced before the next one begins: what is in it is safe then.
        let outcome = match outcome {
            Ok(()) => self.sync_active(),
            Err(Stop::Full) => self.sync_active().and_then(|()| {
                self.retire(true);
                Err(Stop::Full)
            }),
            Err(failed) => Err(failed),
        };
        let safe = match &outcome {
            Ok(()) | Err(Stop::Full) => done,
            Err(Stop::Failed { .. }) => 0,
        };
        for (number, (generation, sealed)) in batches.into_iter().enumerate() {
            if number >= safe {
                self.unsynced.push((generation, sealed));
            } else if self.written.len() < self.lines.len() {
                self.written.push(sealed.into_vec());
            }
        }
        if safe > 0 {
            self.status.bytes.fetch_add(written, Ordering::Relaxed);
            self.status.batches.fetch_add(frames, Ordering::Relaxed);
        }
        outcome
    }

    fn sync_active(&mut self) -> Result<(), Stop> {
        let Some(active) = &self.active else { return Err(Stop::Full) };
        let begun = clock::monotonic();
        let synced = self.means.disk.sync_data(&active.path);
        self.status.synced(begun.elapsed());
        self.slow.took("syncing journal segment", &active.path, begun.elapsed());
        synced.map_err(|source| Stop::failed("syncing journal segment", &active.path, source))
    }

    /// Writes a batch, and its header where another one stands last. Returns the bytes of both.
    fn write_batch(&mut self, generation: u64, sealed: &SealedChunk) -> Result<u64, Stop> {
        let Some(active) = &mut self.active else { return Err(Stop::Full) };
        let header = self.keys.get(&generation).map(|key| &key.header);
        let header = header.filter(|_| active.opens != Some(generation));
        let needed = [header, Some(sealed)].into_iter().flatten();
        let needed: u64 = needed.map(|payload| (FRAME_HEAD_BYTES + payload.len()) as u64).sum();
        if active.offset + needed > self.plan.segment_bytes {
            return Err(Stop::Full);
        }
        let disk = self.means.disk.as_mut();
        if let Some(header) = header {
            active.frame(disk, generation, FrameKind::Header, header)?;
            active.opens = Some(generation);
        }
        active.frame(disk, generation, FrameKind::Batch, sealed)?;
        Ok(needed)
    }

    /// Takes a spare segment into use, under a key of its own. Returns false where there is none.
    fn activate(&mut self) -> bool {
        if self.spares.is_empty() {
            if !self.status.degraded.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "the journal has no segment left: recording goes on, and a power cut would cost more than a second"
                );
            }
            return false;
        }
        let mut random = (self.means.random)();
        let (sealer, header) = match (self.means.key)(&mut *random) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!("the journal has no key: {error}");
                self.status.degraded.store(true, Ordering::Relaxed);
                return false;
            }
        };
        let Some(path) = self.spares.pop() else { return false };
        let mut id = [0; 16];
        random.fill(&mut id);
        self.generation += 1;
        let generation = self.generation;
        self.keys.insert(generation, Key { sealer: Arc::new(sealer), header });
        self.active = Some(Active { path, generation, id, sequence: 0, offset: 0, opens: None });
        self.count_segments();
        true
    }

    /// The segment that is written is full, or dead: it is kept until what it holds is elsewhere.
    fn retire(&mut self, again: bool) {
        if let Some(Active { path, generation, .. }) = self.active.take() {
            self.means.disk.close(&path);
            self.old.push_back(Old { path, generation, again });
        }
        self.count_segments();
    }

    fn bury(&mut self) {
        self.status.segments_dead.fetch_add(1, Ordering::Relaxed);
        self.retire(false);
    }

    /// Lets go of the oldest segments, as soon as what they hold is elsewhere.
    ///
    /// As late as the number of segments allows: most of what a segment holds is by then in chunks that have
    /// gone to their files, and what is not must be given again. Of 2,000 two-way calls kept as packets half
    /// a segment's worth is not yet after one segment more, and giving that again would fill the next.
    fn let_go(&mut self) {
        match self.freeing {
            None => {
                let kept = self.plan.segments.saturating_sub(SEGMENTS_AHEAD).max(1) as u64;
                let before = self.generation.saturating_sub(kept);
                if self.old.iter().any(|old| old.generation < before && old.generation > self.pinned) {
                    self.freeing = Some(Freeing::Again { before });
                }
            }
            Some(Freeing::Again { before }) => {
                let given = self.lines.iter().all(|line| line.again >= before || line.sender.is_none());
                if given && let Some(store) = &self.store {
                    let (sender, reached) = bounded(1);
                    // A queue that is full is tried again in the next round.
                    if store.try_send(StoreWork::Barrier(sender)).is_err() {
                        return;
                    }
                    let free = |old: &&Old| old.generation < before && old.generation > self.pinned;
                    let segments = self.old.iter().filter(free);
                    let segments = segments.map(|old| (old.path.clone(), old.again)).collect();
                    let job = Job::Free { reached, segments, lost: self.lost };
                    let sent = self.means.jobs.try_send(job).is_ok();
                    self.freeing = sent.then_some(Freeing::Waiting);
                }
            }
            Some(Freeing::Waiting) => {}
        }
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.means.reported.try_recv() {
            match report {
                Report::Spare(path) => {
                    self.making = self.making.saturating_sub(1);
                    self.spares.push(path);
                }
                Report::Freed(paths) => {
                    let freed = self.old.iter().filter(|old| old.again && paths.contains(&old.path));
                    self.making += freed.count();
                    self.old.retain(|old| !paths.contains(&old.path));
                    self.freeing = None;
                    // Of those that stay for good nothing is written any more.
                    let oldest = self.old.iter().find(|old| old.generation > self.pinned);
                    let oldest = oldest.map_or(self.generation, |old| old.generation);
                    let oldest = oldest.min(self.unsynced.first().map_or(oldest, |(first, _)| *first));
                    // A shard may still owe an answer under the key before this.
                    self.keys.retain(|generation, _| *generation + 1 >= oldest);
                }
                Report::Failed { segment, doing, path, source } => {
                    self.making = self.making.saturating_sub(usize::from(segment));
                    self.make_at = Some(clock::monotonic() + MAKE_AGAIN);
                    self.failed(doing, &path, &source);
                }
                Report::Kept => self.freeing = None,
            }
            self.count_segments();
        }
    }

    /// Keeps all there is, for good, where the disk has lost a file meanwhile: only the journal may have
    /// what it held.
    fn pin(&mut self) {
        let lost = self.means.beside.doubt.standing().lost;
        if lost == self.lost {
            return;
        }
        (self.lost, self.pinned) = (lost, self.generation);
        tracing::error!(
            recordings = lost,
            journal = %self.dir.display(),
            "the disk lost files of recordings: the journal keeps what it has of them; replace the disk, start \
             again, and run `sejf salvage`"
        );
    }

    /// Has the keeper make segments that are missing.
    fn order_segments(&mut self) {
        if self.store.is_none() || self.make_at.is_some_and(|at| at > clock::monotonic()) {
            return;
        }
        let is_good = |old: &&Old| old.again && old.generation > self.pinned;
        let good = self.old.iter().filter(is_good).count();
        // Dead ones are kept for what they hold; a disk on which every one dies is not filled with them.
        let dead = (self.old.len() - good).saturating_sub(self.plan.segments);
        let good = good + usize::from(self.active.is_some());
        while good + dead + self.spares.len() + self.making < self.plan.segments {
            let mut name = [0; 16];
            (self.means.random)().fill(&mut name);
            let name = format!("{:032x}{SEGMENT_SUFFIX}", u128::from_be_bytes(name));
            if self.means.jobs.try_send(Job::Allocate(self.dir.join(name))).is_err() {
                return;
            }
            self.making += 1;
        }
    }

    fn failed(&self, doing: &'static str, path: &Path, source: &io::Error) {
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!("{doing} `{}`: {source}; recording goes on", path.display());
    }

    fn count_segments(&self) {
        let live = self.old.len() + usize::from(self.active.is_some());
        self.status.segments_live.store(live as u64, Ordering::Relaxed);
        self.status.segments_spare.store(self.spares.len() as u64, Ordering::Relaxed);
    }

    /// Writes what has been handed over and holds no queue open any more.
    fn release(&mut self) {
        while let Ok(answer) = self.replies.try_recv() {
            self.take(answer);
        }
        self.flush();
        self.store = None;
        self.lines.iter_mut().for_each(|line| line.sender = None);
    }

    fn finish(mut self, committed: bool) {
        self.release();
        self.pin();
        let Means { jobs, reported, mut disk, .. } = self.means;
        // The keeper ends when it has done what it was told.
        drop(jobs);
        let mut paths = self.spares;
        while let Ok(report) = reported.recv() {
            if let Report::Spare(path) = report {
                paths.push(path);
            }
        }
        // Empty ones are of no use to anybody; what holds something goes only when all is committed.
        let active = self.active.map(|Active { path, generation, .. }| (path, generation));
        let used = self.old.into_iter().map(|Old { path, generation, .. }| (path, generation)).chain(active);
        if committed {
            let of_use = |generation: u64| generation <= self.pinned;
            paths.extend(used.filter(|(_, generation)| !of_use(*generation)).map(|(path, _)| path));
        }
        for path in paths {
            if let Err(error) = disk.remove(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("removing journal segment `{}`: {error}", path.display());
            }
        }
    }
}

impl Active {
    fn frame(
        &mut self,
        disk: &mut dyn JournalDisk,
        generation: u64,
        kind: FrameKind,
        payload: &SealedChunk,
    ) -> Result<(), Stop> {
        let Self { id, sequence, .. } = *self;
        let head = FrameHead { segment: id, sequence, generation, kind }.to_bytes(payload.as_bytes());
        let after = self.offset + head.len() as u64;
        let written = disk.write_at(&self.path, self.offset, &head);
        let written = written.and_then(|()| disk.write_at(&self.path, after, payload.as_bytes()));
        written.map_err(|source| Stop::failed("writing journal segment", &self.path, source))?;
        self.offset = after + payload.len() as u64;
        self.sequence += 1;
        Ok(())
    }
}

/// Why writing went no further.
enum Stop {
    /// The segment is full.
    Full,
    /// The segment is dead.
    Failed { doing: &'static str, path: PathBuf, source: io::Error },
}

impl Stop {
    fn failed(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Failed { doing, path: path.into(), source }
    }
}

/// Segments for what comes: one that is written, one that is being let go of, one that is ready.
const SEGMENTS_AHEAD: usize = 3;
/// Longest batch of one shard: 32 MB/s each.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Segments tried in one round.
const ATTEMPTS: usize = 4;
/// How long a shard with a full queue is waited for at least.
const PATIENCE_MIN: Duration = Duration::from_millis(5);
/// How long after a failure another segment is asked for.
const MAKE_AGAIN: Duration = Duration::from_secs(5);
