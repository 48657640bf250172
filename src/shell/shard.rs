//! A shard: the thread that owns whole calls. Plain sound exists only here.

mod faults;
mod hand_over;
mod parts;
mod pause;
mod report;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};

use crate::base::counters::{Counters, Discard};
use crate::base::frame::{FrameBlock, FrameMeta, OwnedFrame};
use crate::base::policy::Condition;
use crate::base::time::Stamp;
use crate::call::intake::{AsideKind, AsideTask, MediaTask, RareTask, Task};
use crate::call::table::{Event, Held, Opening};
use crate::call::tcp::FrameRef;
use crate::recording::manifest::CallFacts;
use crate::recording::parts::Continuation;
use crate::recording::policy::Policy;
use crate::recording::recorder::{Config, Finished, Keep, Recorder, RtpIn, Scratch, Sink};
use crate::seal::random::Randomness;
use crate::seal::stream::SealedChunk;
use crate::shell::load::Load;
pub(super) use crate::shell::shard::hand_over::{HandOver, HandedOver};
pub(super) use crate::shell::shard::parts::Ended;
pub use crate::shell::shard::pause::Paused;
pub(super) use crate::shell::shard::pause::{Claim, PauseAsked};
pub(super) use crate::shell::shard::report::Reporter;
use crate::wire::rtp::RtpPacket;
use crate::wire::sip::{Message, user_part};

/// What a shard is sent.
pub(super) enum Work {
    /// Somebody wants a recording paused, or to go on.
    Pause(PauseAsked),
    /// Tasks, and the block that their frames are in.
    Batch { block: Arc<FrameBlock>, tasks: Vec<Task> },
    /// The call that is about to be opened in this slot goes on with one of another process.
    Continue { slot: u32, before: Box<Continuation> },
    /// A step of capture time has passed.
    Tick(Stamp),
    /// Frames were lost between these times, before anybody knew whose they were.
    Lost { from: Stamp, to: Stamp, reason: Discard },
    /// The journal asks for what recordings have gained.
    HandOver(Box<HandOver>),
}

/// What storage is sent.
pub(super) enum StoreWork {
    /// Bytes of a file.
    Chunk { name: String, chunk: SealedChunk },
    /// A recording has all its files.
    Finished { order: u64, finished: Box<Finished> },
    /// Somebody wants to know when all that was sent before is written.
    Barrier(Sender<()>),
}

/// Gives each recording its own random bytes.
pub type Entropy = dyn Fn(u64) -> Box<dyn Randomness + Send> + Send + Sync;

/// The way to storage. A send fails only when storage has given up, which ends the run elsewhere.
struct ToStore {
    sender: Sender<StoreWork>,
    closed: bool,
}

impl Sink for ToStore {
    fn chunk(&mut self, name: &str, chunk: SealedChunk) {
        self.send(StoreWork::Chunk { name: name.into(), chunk });
    }
}

impl ToStore {
    fn send(&mut self, work: StoreWork) {
        self.closed |= self.sender.send(work).is_err();
    }
}

/// One shard.
pub(super) struct Shard {
    /// What becomes of calls that begin: whoever has another one puts it here.
    policy: Arc<ArcSwap<Policy>>,
    /// What is shed.
    load: Arc<Load>,
    /// Opus with fewer bits, as all recordings were last told.
    cheaper: bool,
    /// Where it tells how its calls are; nowhere in a replay.
    reporter: Option<Reporter>,
    entropy: Arc<Entropy>,
    /// By slot: other shards' places stay empty.
    recorders: Vec<Option<Box<Recorder>>>,
    scratch: Scratch,
    store: ToStore,
    spent: Spent,
    turns: Turns,
    books: Counters,
    journaling: hand_over::Journaling,
    forced: faults::Forced,
    /// What is told of calls, should the process die; nothing where none comes after it.
    notes: Option<parts::Notes>,
    /// Calls that go on, by slot, before they are opened.
    expected: BTreeMap<u32, Box<Continuation>>,
    left: Vec<(u64, Continuation)>,
    /// Recordings whose end failed.
    unfinished: usize,
}

/// Where memory goes that can be used again.
pub(super) struct Spent {
    pub(super) blocks: Sender<FrameBlock>,
    pub(super) tasks: Sender<Vec<Task>>,
    /// How much work was taken: for who waits until there is room for more.
    pub(super) taken: Arc<AtomicU64>,
}

/// The order in which a batch is worked through: call by call, each in the order of its packets. What
/// a shard knows of a call then comes into the cache once a batch, not once a packet.
#[derive(Default)]
struct Turns {
    /// By slot, the first and the last task so far; [`NONE`] where there is none.
    ends: Vec<(u32, u32)>,
    /// By task, the next one of the same call.
    next: Vec<u32>,
    /// Slots that have tasks.
    slots: Vec<u32>,
}

impl Turns {
    fn sort(&mut self, tasks: &[Task]) {
        for slot in self.slots.drain(..) {
            self.ends[slot as usize] = (NONE, NONE);
        }
        self.next.clear();
        self.next.resize(tasks.len(), NONE);
        for (index, task) in tasks.iter().enumerate() {
            let (index, slot) = (index as u32, task.slot());
            if self.ends.len() <= slot as usize {
                self.ends.resize(slot as usize + 1, (NONE, NONE));
            }
            let (first, last) = &mut self.ends[slot as usize];
            if *first == NONE {
                *first = index;
                self.slots.push(slot);
            } else {
                self.next[*last as usize] = index;
            }
            *last = index;
        }
    }
}

impl Shard {
    pub(super) fn new(
        policy: Arc<ArcSwap<Policy>>,
        load: Arc<Load>,
        entropy: Arc<Entropy>,
        store: Sender<StoreWork>,
        spent: Spent,
    ) -> Self {
        Self {
            policy,
            load,
            cheaper: false,
            forced: faults::Forced::default(),
            reporter: None,
            entropy,
            recorders: Vec::new(),
            scratch: Scratch::default(),
            store: ToStore { sender: store, closed: false },
            spent,
            turns: Turns::default(),
            books: Counters::default(),
            journaling: hand_over::Journaling::default(),
            notes: None,
            expected: BTreeMap::new(),
            left: Vec::new(),
            unfinished: 0,
        }
    }

    /// Tells `reporter` how its calls are.
    pub(super) fn report_to(mut self, reporter: Option<Reporter>) -> Self {
        self.reporter = reporter;
        self
    }

    /// Works until the queue closes.
    pub(super) fn run(mut self, work: &Receiver<Work>) -> Ended {
        while let Ok(work) = work.recv() {
            self.spent.taken.fetch_add(1, Ordering::Relaxed);
            self.follow_load();
            match work {
                Work::Batch { block, mut tasks } => {
                    self.batch(&block, &mut tasks);
                    // A full or closed pool means nobody wants them back.
                    let _ = self.spent.tasks.try_send(tasks);
                    if let Some(block) = Arc::into_inner(block) {
                        let _ = self.spent.blocks.try_send(block);
                    }
                }
                Work::Tick(now) => {
                    self.tick(now);
                    self.report(now);
                    self.note(now);
                }
                Work::Pause(asked) => self.pause(asked),
                Work::Lost { from, to, reason } => {
                    for recorder in self.recorders.iter_mut().flatten() {
                        recorder.lost(0, from, to, reason);
                    }
                }
                Work::Continue { slot, before } => self.expect(slot, before),
                Work::HandOver(asked) => self.hand_over(*asked),
            }
            if self.store.closed {
                break;
            }
        }
        let unfinished = self.unfinished + self.recorders.iter().flatten().count();
        Ended { books: self.books, left: self.left, unfinished }
    }

    fn batch(&mut self, block: &FrameBlock, tasks: &mut Vec<Task>) {
        let mut turns = std::mem::take(&mut self.turns);
        turns.sort(tasks);
        for slot in &turns.slots {
            let first = turns.ends[*slot as usize].0;
            self.turn(block, *slot, tasks, (first, &turns.next));
        }
        self.turns = turns;
        tasks.clear();
    }

    fn tick(&mut self, now: Stamp) {
        for slot in 0..self.recorders.len() as u32 {
            let Some(recorder) = recorder_of(&mut self.recorders, slot) else { continue };
            let (scratch, store) = (&mut self.scratch, &mut self.store);
            let captured = recorder.captured();
            if catch_unwind(AssertUnwindSafe(|| recorder.tick(now, scratch, store))).is_err() {
                self.broke(slot, captured);
            }
        }
    }

    /// Tells recordings whether to take fewer bits, where that has changed.
    fn follow_load(&mut self) {
        let cheaper = self.load.measures().cheaper;
        if std::mem::replace(&mut self.cheaper, cheaper) != cheaper {
            self.recorders.iter_mut().flatten().for_each(|recorder| recorder.set_cheaper(cheaper));
        }
    }

    fn task(&mut self, block: &FrameBlock, task: Task) {
        match task {
            Task::Done => {}
            Task::Media(task) => self.media(block, &task),
            Task::Aside(task) => self.aside(block, task),
            Task::Rare(task) => match *task {
                RareTask::Event(event) => self.event(event),
                RareTask::Media { slot, stream, held } => self.held(slot, stream, &held),
                RareTask::Aside { slot, kind, held } => self.held_aside(slot, kind, &held),
                RareTask::Signalling { slot, frames } => self.own_signalling(slot, &frames),
                RareTask::Lost { slot, frames, from, to } => {
                    if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
                        recorder.lost(frames, from, to, Discard::QueueDrop);
                    }
                }
            },
        }
    }

    fn media(&mut self, block: &FrameBlock, task: &MediaTask) {
        let Some(recorder) = recorder_of(&mut self.recorders, task.slot) else { return };
        let meta = &block.frames[task.frame as usize];
        let data = block.data(meta);
        let payload = &data[task.offset as usize..][..task.len as usize];
        let packet = RtpIn { head: task.head, payload, cut: task.cut };
        recorder.media(task.stream, packet, &[(meta, data)], &mut self.scratch, &mut self.store);
    }

    fn aside(&mut self, block: &FrameBlock, task: AsideTask) {
        let Some(recorder) = recorder_of(&mut self.recorders, task.slot) else { return };
        let meta = &block.frames[task.frame as usize];
        let data = block.data(meta);
        let payload = match task.kind {
            AsideKind::Rtcp { offset, len } => &data[offset as usize..][..len as usize],
            AsideKind::Beside | AsideKind::Relayed | AsideKind::Signalling => &[],
        };
        beside(recorder, task.kind, payload, &[(meta, data)], &mut self.scratch, &mut self.store);
    }

    fn held_aside(&mut self, slot: u32, kind: AsideKind, held: &Held) {
        let Some(recorder) = recorder_of(&mut self.recorders, slot) else { return };
        let frames: Vec<(&FrameMeta, &[u8])> = held.frames.iter().map(borrow).collect();
        beside(recorder, kind, &held.payload, &frames, &mut self.scratch, &mut self.store);
    }

    fn held(&mut self, slot: u32, stream: u16, held: &Held) {
        let Some(recorder) = recorder_of(&mut self.recorders, slot) else { return };
        let frames: Vec<(&FrameMeta, &[u8])> = held.frames.iter().map(borrow).collect();
        let rtp =
            RtpPacket::parse(&held.payload).expect("the intake holds back only what it has read as RTP");
        let packet = RtpIn { head: (&rtp).into(), payload: rtp.payload(), cut: held.cut };
        recorder.media(stream, packet, &frames, &mut self.scratch, &mut self.store);
    }

    fn own_signalling(&mut self, slot: u32, frames: &[FrameRef]) {
        let Some(recorder) = recorder_of(&mut self.recorders, slot) else { return };
        let frames: Vec<(&FrameMeta, &[u8], bool)> =
            frames.iter().map(|FrameRef { frame, first }| (&frame.meta, &*frame.bytes, *first)).collect();
        recorder.signalling_in_parts(&frames, &mut self.scratch, &mut self.store);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened { slot, ordinal, at, orphan, first } => {
                let index = slot as usize;
                if self.recorders.len() <= index {
                    self.recorders.resize_with(index + 1, || None);
                }
                let begin = || self.begin((slot, ordinal), at, orphan, &first);
                let begun = catch_unwind(AssertUnwindSafe(begin));
                let recorder = begun.unwrap_or_else(|_| self.begin_broken(ordinal, at, orphan));
                self.recorders[index] = Some(Box::new(recorder));
                self.note_opened(slot, ordinal, orphan);
            }
            Event::Stream { slot, stream, facts } => {
                if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
                    recorder.stream(stream, &facts);
                }
            }
            Event::Formats { slot, formats } => {
                if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
                    recorder.formats(&formats);
                }
            }
            Event::ClockSet { slot, nanos } => {
                if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
                    recorder.clock_set(nanos);
                }
            }
            Event::Signal { slot, at, party, bytes } => {
                if let Some(recorder) = recorder_of(&mut self.recorders, slot) {
                    recorder.signal(at, party, &bytes);
                }
            }
            Event::Closed { slot, order, closed } => {
                let Some(recorder) = self.recorders.get_mut(slot as usize).and_then(Option::take) else {
                    return;
                };
                self.leave(order, &recorder, &closed);
                self.note_closed(slot);
                if let Some(reporter) = &self.reporter {
                    reporter.closed(recorder.id());
                }
                let Some(finished) = self.close(*recorder, *closed, order) else {
                    self.unfinished += 1;
                    return;
                };
                self.store.send(StoreWork::Finished { order, finished: Box::new(finished) });
            }
        }
    }

    fn begin(&mut self, (slot, ordinal): (u32, u64), at: Stamp, orphan: bool, first: &Opening) -> Recorder {
        let random = (self.entropy)(ordinal);
        let before = self.expected.remove(&slot);
        let policy = self.policy.load();
        let decided = before.as_ref().and_then(|before| policy.as_labelled(&before.labels));
        let config = decided.unwrap_or_else(|| policy.decide(at, orphan, first));
        let measures = self.load.measures();
        let kept = !config.keep.is_nothing();
        if config.keep == Keep::Undecided {
            self.load.tally().note(Condition::RuleUndecided);
        }
        let priority = if kept { config.priority } else { u8::MAX };
        self.load.set_priority(slot, priority);
        let begin = match () {
            // Newest calls are the first to be turned away, and one that goes on is none.
            () if before.is_some() => Recorder::new,
            () if kept && u16::from(priority) < measures.admit_from => Recorder::refused,
            () if measures.as_sent => Recorder::as_sent,
            () => Recorder::new,
        };
        let start = before.as_ref().map_or(at, |before| before.start);
        let mut recorder = begin(config, start, orphan, random);
        recorder.set_cheaper(self.cheaper);
        if self.scratch.left.is_some() {
            recorder.keep_journal();
        }
        let call = (!orphan).then(|| caller_and_callee(&first.message));
        if let Some(reporter) = &self.reporter {
            reporter.opened(&recorder, call.as_ref());
        }
        if let Some(call) = call {
            recorder.call(call);
        }
        if let Some(before) = before {
            recorder.go_on(*before);
        }
        self.forced.begin(&self.load, (slot, ordinal), &mut recorder);
        recorder
    }
}

/// Runs the tasks of one block on a shard of this thread, and takes what it would have stored: for
/// fuzzing, which has no threads to spare.
pub(crate) fn run_alone(
    config: Config,
    entropy: Arc<Entropy>,
    block: &FrameBlock,
    tasks: impl IntoIterator<Item = Task>,
) -> (Counters, Vec<Finished>) {
    let (store, stored) = crossbeam_channel::bounded(65_536);
    let (blocks, spent_tasks) = (crossbeam_channel::bounded(0).0, crossbeam_channel::bounded(0).0);
    let spent = Spent { blocks, tasks: spent_tasks, taken: Arc::default() };
    let policy = Arc::new(ArcSwap::from_pointee(Policy::same(config)));
    let load = Arc::new(Load::new(0, &[]));
    let mut shard = Shard::new(policy, load, entropy, store, spent);
    let mut finished = Vec::new();
    for task in tasks {
        shard.task(block, task);
        finished.extend(stored.try_iter().filter_map(|work| match work {
            StoreWork::Finished { finished, .. } => Some(*finished),
            StoreWork::Chunk { .. } | StoreWork::Barrier(_) => None,
        }));
    }
    (shard.books, finished)
}

/// What the first message says of who calls whom.
fn caller_and_callee(message: &[u8]) -> CallFacts {
    let Ok(message) = Message::parse(message) else { return CallFacts::default() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(URI_MAX)]).into_owned();
    let [from, to] = [message.from(), message.to()].map(|party| party.map_or(&[][..], |party| party.uri));
    CallFacts {
        call_ids: message.call_id().map(text).into_iter().collect(),
        from: text(from),
        to: text(to),
        caller: user_part(from).map(text).unwrap_or_default(),
        callee: user_part(to).map(text).unwrap_or_default(),
        ..CallFacts::default()
    }
}

/// Longest URI that is kept of a message.
const URI_MAX: usize = 1_024;

/// No task.
const NONE: u32 = u32::MAX;

fn recorder_of(recorders: &mut [Option<Box<Recorder>>], slot: u32) -> Option<&mut Recorder> {
    recorders.get_mut(slot as usize)?.as_deref_mut()
}

/// Has a recording take in what is beside its media; `payload` is RTCP, where it is that.
fn beside(
    recorder: &mut Recorder,
    kind: AsideKind,
    payload: &[u8],
    frames: &[(&FrameMeta, &[u8])],
    scratch: &mut Scratch,
    store: &mut ToStore,
) {
    match kind {
        AsideKind::Beside => recorder.beside(frames, scratch, store),
        AsideKind::Relayed => recorder.relayed(frames, scratch, store),
        AsideKind::Rtcp { .. } => recorder.rtcp(payload, frames, scratch, store),
        AsideKind::Signalling => recorder.signalling(frames, true, scratch, store),
    }
}

fn borrow(frame: &OwnedFrame) -> (&FrameMeta, &[u8]) {
    (&frame.meta, &frame.bytes)
}
