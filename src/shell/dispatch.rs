//! The thread that owns signalling and says where media goes.

mod lanes;

use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::vec;

use crate::base::counters::{Counters, Discard};
use crate::base::frame::FrameBlock;
use crate::base::limits::LIVE_TICK;
use crate::base::policy::{Condition, Conditions};
use crate::base::time::Stamp;
use crate::call::capture_clock::{CaptureClock, Moment};
use crate::call::intake::{Intake, Task};
use crate::call::transcript::{Change, Kept};
use crate::recording::parts::LeftCall;
pub(super) use crate::shell::dispatch::lanes::Lanes;
use crate::shell::filter::Filter;
use crate::shell::journal::Release;
use crate::shell::shard::Work;

/// How far a run is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Frames read.
    pub packets: AtomicU64,
    /// Bytes of those frames.
    pub bytes: AtomicU64,
    /// Calls begun.
    pub calls: AtomicU64,
    /// Calls that are open.
    pub live: AtomicU64,
    /// Frames that no shard had room for.
    pub shed: AtomicU64,
}

/// What to do with a packet whose shard has no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WhenFull {
    /// Wait: a file can wait too.
    Wait,
    /// Leave it out, and count it to its call: a wire does not wait.
    Shed,
}

/// What came of it all.
#[derive(Debug, Default)]
pub(super) struct Dispatched {
    /// Frames captured, and those that no recording has.
    pub(super) books: Counters,
    /// Frames whose time was put right.
    pub(super) wild_times: u64,
    /// Times that capture time jumped.
    pub(super) time_jumps: u64,
    /// Signalling of calls that another process goes on with, by the order in which they were closed.
    pub(super) left: Vec<(u64, Vec<Kept>)>,
}

/// Frames to tasks, tasks to shards.
pub(super) struct Dispatcher {
    intake: Intake,
    filter: Option<Filter>,
    lanes: Lanes,
    progress: Arc<Progress>,
    clock: CaptureClock,
    /// Capture time of the last frame.
    reached: Stamp,
    /// Second of capture time that the intake was told last.
    second: u64,
    /// Lets the journal end when there is nothing more to hand over.
    _release: Option<Release>,
}

impl Dispatcher {
    pub(super) fn new(
        intake: Intake,
        filter: Option<Filter>,
        lanes: Lanes,
        progress: Arc<Progress>,
        release: Option<Release>,
    ) -> Self {
        // A file has no hurry, and the same ticks whatever is done with it.
        let clock = match lanes.full {
            WhenFull::Wait => CaptureClock::default(),
            WhenFull::Shed => CaptureClock::with_step(LIVE_TICK),
        };
        let reached = Stamp::ZERO;
        Self { intake, filter, lanes, progress, clock, reached, second: 0, _release: release }
    }

    /// Takes in a block. Returns false when nobody works any more.
    pub(super) fn block(&mut self, mut block: FrameBlock) -> bool {
        let ticks = self.ticks(&mut block);
        let mut ticks = ticks.into_iter().peekable();
        let last = block.frames.iter().map(|frame| frame.stamp).max();
        let block = Arc::new(block);
        self.lanes.keep_from = self.lanes.load.measures().keep_from;
        let mut at = At::default();
        while at.index < block.frames.len() {
            if catch_unwind(AssertUnwindSafe(|| self.frames(&block, &mut ticks, &mut at))).is_err() {
                self.fell(&mut at);
            }
        }
        self.progress.packets.fetch_add(block.frames.len() as u64, Ordering::Relaxed);
        self.progress.bytes.fetch_add(block.bytes.len() as u64, Ordering::Relaxed);
        self.reached = self.reached.max(last.unwrap_or_default());
        let working = self.lanes.flush(&block);
        self.tell();
        working
    }

    fn frames(&mut self, block: &Arc<FrameBlock>, ticks: &mut Ticks, at: &mut At) {
        while at.index < block.frames.len() {
            while let Some((_, moment)) = ticks.next_if(|(index, _)| *index == at.index) {
                match moment {
                    Moment::Step(now) => self.pass_time(block, now),
                    Moment::Set(nanos) => self.clock_set(nanos),
                }
            }
            let index = at.index;
            at.index += 1;
            if !self.passes(block, index) {
                self.intake.pass_over(Discard::Filtered);
                continue;
            }
            (at.inside, at.placed) = (true, false);
            let (lanes, placed) = (&mut self.lanes, &mut at.placed);
            self.intake.frame(block, index as u32, &mut |task| {
                *placed |= matches!(task, Task::Media(_) | Task::Aside(_));
                lanes.push(block, task);
            });
            at.inside = false;
        }
    }

    /// The recorder failed in a frame, or in the passing of time before one: all others go on.
    fn fell(&mut self, at: &mut At) {
        self.lanes.load.tally().note(Condition::CallPanicked);
        tracing::error!("a fault of the recorder in one packet: it is counted as malformed");
        if std::mem::take(&mut at.inside) && !at.placed {
            self.intake.give_up(Discard::Malformed);
        }
    }

    /// Nothing has come, and it is `now`.
    pub(super) fn idle(&mut self, now: Stamp) -> bool {
        self.clock.pass(now);
        self.reached = self.reached.max(now);
        if let Some(now) = self.clock.tick() {
            let pass = || self.pass_time(&Arc::default(), now);
            if catch_unwind(AssertUnwindSafe(pass)).is_err() {
                self.fell(&mut At::default());
            }
        }
        self.tell();
        self.lanes.flush(&Arc::default())
    }

    /// Looks for media without signalling from now on, or no longer.
    pub(super) fn set_orphans(&mut self, orphans: bool) {
        self.intake.set_orphans(orphans);
    }

    /// Frames captured so far, and those among them that are in no recording.
    pub(super) fn books(&mut self) -> Counters {
        self.intake.books().clone()
    }

    /// How often signalling and media met each condition so far.
    pub(super) fn conditions(&self) -> Conditions {
        self.intake.conditions()
    }

    /// Frames were lost before they came here.
    pub(super) fn lost(&mut self, frames: u64, from: Stamp, to: Stamp, reason: Discard) {
        self.intake.pass_over_many(reason, frames);
        self.lanes.tell_lost(from, to, reason);
    }

    /// Ends all calls.
    pub(super) fn finish(mut self) -> Dispatched {
        let (lanes, none) = (&mut self.lanes, Arc::default());
        lanes.keep_from = 0;
        self.intake.finish(&mut |task| lanes.push(&none, task));
        self.end(Vec::new())
    }

    /// Goes on with calls that another process has left. Where that one was cut off, they begin with what was
    /// captured first since. Returns how many it could not make anew.
    pub(super) fn resume(&mut self, calls: Vec<LeftCall>, first: Option<Stamp>) -> usize {
        self.intake.keep_transcripts();
        let (mut failed, none) = (0, Arc::default());
        for LeftCall { mut continuation, messages } in calls {
            if continuation.cut
                && let Some(first) = first.filter(|first| first.since(continuation.start) < CUT_MAX)
            {
                continuation.advance(first);
            }
            let (lanes, start) = (&mut self.lanes, continuation.start);
            let mut resume = || self.intake.resume(start, &messages, &mut |task| lanes.push(&none, task));
            // It may be what the process before has died of.
            match catch_unwind(AssertUnwindSafe(&mut resume)).unwrap_or_default() {
                Some(slot) => {
                    self.reached = self.reached.max(start);
                    self.clock.begin(start);
                    lanes.tell(slot, Work::Continue { slot, before: Box::new(continuation) });
                }
                None => failed += 1,
            }
            self.lanes.flush(&none);
        }
        self.tell();
        failed
    }

    /// Capture time that was reached, and what another process would need of calls that are not as they were
    /// when this was asked before.
    pub(super) fn changes(&mut self) -> (Stamp, Vec<Change>) {
        (self.reached, self.intake.changes(self.reached))
    }

    /// Ends all calls: another process goes on with them.
    pub(super) fn leave(mut self) -> Dispatched {
        let (lanes, none) = (&mut self.lanes, Arc::default());
        lanes.keep_from = 0;
        let left = self.intake.leave(self.reached, &mut |task| lanes.push(&none, task));
        self.end(left)
    }

    fn end(mut self, left: Vec<(u64, Vec<Kept>)>) -> Dispatched {
        self.lanes.full = WhenFull::Wait;
        self.lanes.flush(&Arc::default());
        self.tell();
        let (wild_times, time_jumps) = self.clock.oddities();
        Dispatched { books: self.intake.take_books(), wild_times, time_jumps, left }
    }

    fn tell(&self) {
        self.progress.calls.store(self.intake.opened(), Ordering::Relaxed);
        self.progress.live.store(self.intake.live() as u64, Ordering::Relaxed);
        self.progress.shed.store(self.lanes.shed, Ordering::Relaxed);
        self.lanes.load.tally().settle(&self.intake.conditions());
    }

    fn passes(&mut self, block: &FrameBlock, index: usize) -> bool {
        let frame = &block.frames[index];
        self.filter.as_mut().is_none_or(|filter| filter.passes(frame.link, block.data(frame)))
    }

    /// Puts wild times right, and tells before which frames a step of time has passed or the clock was set.
    fn ticks(&mut self, block: &mut FrameBlock) -> Vec<(usize, Moment)> {
        let mut ticks = Vec::new();
        for index in 0..block.frames.len() {
            let set = self.clock.advance(&mut block.frames[index..]);
            ticks.extend(set.map(|nanos| (index, Moment::Set(nanos))));
            ticks.extend(self.clock.tick().map(|now| (index, Moment::Step(now))));
        }
        ticks
    }

    fn clock_set(&mut self, nanos: i64) {
        self.reached = self.reached.shifted(nanos);
        let (lanes, none) = (&mut self.lanes, Arc::default());
        self.intake.clock_set(nanos, &mut |task| lanes.push(&none, task));
    }

    /// So much real time has passed since the start: what frames say is held against it.
    pub(super) fn passed(&mut self, since_start: Duration) {
        self.clock.passed(since_start);
    }

    /// Lets a step of capture time pass, here and on all shards.
    fn pass_time(&mut self, block: &Arc<FrameBlock>, now: Stamp) {
        let lanes = &mut self.lanes;
        let second = now.as_unix_nanos() / 1_000_000_000;
        if std::mem::replace(&mut self.second, second) != second {
            self.intake.handle_timeout(now, &mut |task| lanes.push(block, task));
        }
        self.lanes.flush(block);
        self.lanes.tell_time(now);
    }
}

/// Where in a block dispatch is.
#[derive(Default)]
struct At {
    /// The frame that comes next.
    index: usize,
    /// One before it is being taken in.
    inside: bool,
    /// A shard has it already.
    placed: bool,
}

/// A first packet that is later than this after the record of calls was written has a wild time.
const CUT_MAX: Duration = Duration::from_secs(600);
/// Before which frames what happens.
type Ticks = Peekable<vec::IntoIter<(usize, Moment)>>;
