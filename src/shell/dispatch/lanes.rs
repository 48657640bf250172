//! The ways to the shards, and what is left out when they are full: media of the lowest priority first, and
//! never what changes a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use crate::base::counters::Discard;
use crate::base::frame::{FrameBlock, OwnedFrame};
use crate::base::policy::Condition;
use crate::base::time::Stamp;
use crate::call::intake::{AsideKind, RareTask, Task};
use crate::call::table::Event;
use crate::call::tcp::FrameRef;
use crate::shell::dispatch::WhenFull;
use crate::shell::load::Load;
use crate::shell::shard::Work;
use crate::shell::status::Status;

/// The ways to the shards.
pub(in crate::shell) struct Lanes {
    lanes: Vec<Lane>,
    /// Emptied, to be filled again.
    spent_tasks: Receiver<Vec<Task>>,
    pub(super) full: WhenFull,
    pub(super) load: Arc<Load>,
    /// Media of calls below this priority is left out.
    pub(super) keep_from: u16,
    /// Frames left out.
    pub(super) shed: u64,
    /// Where a sign of life goes; nowhere in a replay.
    alive: Option<Arc<Status>>,
}

struct Lane {
    sender: Sender<Work>,
    /// What its shard has taken so far.
    taken: Arc<AtomicU64>,
    tasks: Vec<Task>,
    /// Where in `tasks` a call is told what was left out of it, by slot.
    told: BTreeMap<u32, usize>,
    /// Bytes of frames in `tasks` that were copied out of their blocks.
    copied: usize,
    /// Losses of which nobody knows whose they are, that the shard had no room to be told of.
    losses: Vec<(Stamp, Stamp, Discard)>,
}

impl Lanes {
    pub(in crate::shell) fn new(
        shards: Vec<(Sender<Work>, Arc<AtomicU64>)>,
        spent_tasks: Receiver<Vec<Task>>,
        full: WhenFull,
        load: Arc<Load>,
    ) -> Self {
        let lane = |(sender, taken)| Lane {
            sender,
            taken,
            tasks: Vec::new(),
            told: BTreeMap::new(),
            copied: 0,
            losses: Vec::new(),
        };
        let lanes = shards.into_iter().map(lane).collect();
        Self { lanes, spent_tasks, full, load, keep_from: 0, shed: 0, alive: None }
    }

    /// Gives a sign of life while it waits, as long as what it waits for moves.
    pub(in crate::shell) fn alive(mut self, status: Option<Arc<Status>>) -> Self {
        self.alive = status;
        self
    }

    /// Takes a task whose frame, where it has one, is in `block`.
    pub(super) fn push(&mut self, block: &FrameBlock, task: Task) {
        let slot = task.slot();
        let index = slot as usize % self.lanes.len();
        let lane = &mut self.lanes[index];
        if self.keep_from > 0
            && let Task::Media(media) = &task
            && u16::from(self.load.priority(slot)) < self.keep_from
            && let Some(frame) = block.frames.get(media.frame as usize)
        {
            self.shed += 1;
            return lane.lose(slot, 1, frame.stamp, frame.stamp);
        }
        if let Task::Rare(rare) = &task
            && let RareTask::Event(Event::Opened { .. }) = rare.as_ref()
        {
            self.load.forget(slot);
        }
        lane.push(task);
    }

    /// Tells the shard of a call something, before what has gathered for it.
    pub(super) fn tell(&self, slot: u32, work: Work) {
        // A lane that is gone has said why, or storage has.
        let alive = || self.alive.iter().for_each(|status| status.beat());
        let _ = self.lanes[slot as usize % self.lanes.len()].send(work, &alive);
    }

    /// Hands over what has gathered. Returns false when nobody works any more.
    pub(super) fn flush(&mut self, block: &Arc<FrameBlock>) -> bool {
        let mut working = true;
        for lane in &mut self.lanes {
            lane.tell_losses(self.full);
            if !lane.tasks.is_empty() {
                let empty = self.spent_tasks.try_recv().unwrap_or_default();
                let alive = || self.alive.iter().for_each(|status| status.beat());
                working &= lane.flush(block, empty, self.full, (&self.load, &alive), &mut self.shed);
            }
        }
        working
    }

    /// Tells all shards what time it is. One that is full can do without: it will be told a later one.
    pub(super) fn tell_time(&mut self, now: Stamp) {
        for lane in &self.lanes {
            // A lane that is gone has said why, or storage has.
            let _ = match self.full {
                WhenFull::Shed => lane.sender.try_send(Work::Tick(now)).map_err(drop),
                WhenFull::Wait => lane.sender.send(Work::Tick(now)).map_err(drop),
            };
        }
    }

    /// Tells all shards that frames were lost. One that is full is told before what comes next.
    pub(super) fn tell_lost(&mut self, from: Stamp, to: Stamp, reason: Discard) {
        for lane in &mut self.lanes {
            lane.lose_any((from, to, reason));
            lane.tell_losses(self.full);
        }
    }
}

impl Lane {
    fn push(&mut self, task: Task) {
        if let Task::Rare(rare) = &task
            && let RareTask::Event(Event::Opened { slot, .. } | Event::Closed { slot, .. }) = rare.as_ref()
        {
            // What is lost of the next call in the slot is not this one's.
            self.told.remove(slot);
        }
        self.tasks.push(task);
    }

    /// Keeps a loss to be told. Where too many wait, those of one reason become one.
    fn lose_any(&mut self, (from, to, reason): (Stamp, Stamp, Discard)) {
        let is_full = self.losses.len() >= LOSSES_MAX;
        let same = self.losses.iter_mut().rev().find(|(.., of)| *of == reason);
        match same {
            Some((since, until, _)) if is_full => {
                (*since, *until) = (from.min(*since), to.max(*until));
            }
            _ => self.losses.push((from, to, reason)),
        }
    }

    fn tell_losses(&mut self, full: WhenFull) {
        while let Some(&(from, to, reason)) = self.losses.first() {
            let work = Work::Lost { from, to, reason };
            let sent = match full {
                WhenFull::Wait => self.sender.send(work).map_err(|_| ()),
                WhenFull::Shed => self.sender.send_timeout(work, LOSS_PATIENCE).map_err(drop),
            };
            if sent.is_err() {
                return;
            }
            self.losses.remove(0);
        }
    }

    /// Tells the call in `slot`, in its place among the tasks, that it has lost frames.
    fn lose(&mut self, slot: u32, more: u64, since: Stamp, until: Stamp) {
        if let Some(Task::Rare(rare)) = self.told.get(&slot).and_then(|index| self.tasks.get_mut(*index))
            && let RareTask::Lost { frames, from, to, .. } = rare.as_mut()
        {
            (*frames, *from, *to) = (*frames + more, since.min(*from), until.max(*to));
            return;
        }
        self.told.insert(slot, self.tasks.len());
        let lost = RareTask::Lost { slot, frames: more, from: since, to: until };
        self.tasks.push(Task::Rare(Box::new(lost)));
    }

    fn flush(
        &mut self,
        block: &Arc<FrameBlock>,
        empty: Vec<Task>,
        full: WhenFull,
        (load, alive): (&Load, &dyn Fn()),
        shed: &mut u64,
    ) -> bool {
        if full == WhenFull::Shed {
            let below = floor(self.sender.len(), self.sender.capacity().unwrap_or(usize::MAX), load);
            if below > 0 {
                load.tally().note(Condition::MediaQueueFull);
                self.leave_out(block, below, load, shed);
            }
        }
        self.told.clear();
        let tasks = std::mem::replace(&mut self.tasks, empty);
        // What cannot be left out may gather only so long.
        let overfull = tasks.len() > UNSHEDDABLE_MAX || self.copied > COPIED_BYTES_MAX;
        let work = Work::Batch { block: block.clone(), tasks };
        if full == WhenFull::Wait || overfull {
            self.copied = 0;
            return self.send(work, alive);
        }
        match self.sender.send_timeout(work, PATIENCE) {
            Ok(()) => {
                self.copied = 0;
                true
            }
            Err(SendTimeoutError::Timeout(Work::Batch { tasks, .. })) => {
                load.tally().note(Condition::MediaQueueFull);
                self.tasks = tasks;
                self.leave_out(block, ALL, load, shed);
                self.copy_out(block);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until the shard has room. Says that it is `alive` as long as the shard takes something now and
    /// then: of one that takes nothing any more the watchdog is to hear. Returns false where it is gone.
    fn send(&self, mut work: Work, alive: &dyn Fn()) -> bool {
        let mut seen = self.taken.load(Ordering::Relaxed);
        loop {
            match self.sender.send_timeout(work, PATIENCE) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(again)) => work = again,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            let taken = self.taken.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, taken) != taken {
                alive();
            }
        }
    }

    /// Leaves out packets of calls below a priority, and keeps what changes a call.
    fn leave_out(&mut self, block: &FrameBlock, below: u16, load: &Load, shed: &mut u64) {
        self.told.clear();
        for task in std::mem::take(&mut self.tasks) {
            let frame = match &task {
                Task::Media(media) => media.frame,
                Task::Aside(aside) if aside.kind != AsideKind::Signalling => aside.frame,
                Task::Aside(_) => {
                    self.push(task);
                    continue;
                }
                Task::Done => continue,
                Task::Rare(rare) => {
                    match rare.as_ref() {
                        RareTask::Lost { slot, frames, from, to } => self.lose(*slot, *frames, *from, *to),
                        _ => self.push(task),
                    }
                    continue;
                }
            };
            let slot = task.slot();
            match block.frames.get(frame as usize) {
                Some(frame) if u16::from(load.priority(slot)) < below => {
                    *shed += 1;
                    self.lose(slot, 1, frame.stamp, frame.stamp);
                }
                _ => self.push(task),
            }
        }
    }

    /// Gives signalling frames of its own, so that it can wait without its block.
    fn copy_out(&mut self, block: &FrameBlock) {
        for task in &mut self.tasks {
            let Task::Aside(aside) = task else { continue };
            let Some(meta) = block.frames.get(aside.frame as usize) else { continue };
            let frame = OwnedFrame::copy(block, meta);
            self.copied += frame.bytes.len();
            let frames = vec![FrameRef { frame: Arc::new(frame), first: true }];
            *task = Task::Rare(Box::new(RareTask::Signalling { slot: aside.slot, frames }));
        }
    }
}

/// Below which priority packets are left out while a queue has so many items. Calls of the highest priority
/// may fill it; those of the others only so far that room is left for each priority above them.
fn floor(used: usize, room: usize, load: &Load) -> u16 {
    if load.tally().is_forced(Condition::MediaQueueFull) {
        return load.priorities().last().map_or(ALL, |highest| u16::from(*highest) + 1);
    }
    if used < room / 2 {
        return 0;
    }
    let priorities = load.priorities();
    let count = priorities.len();
    let has_room = |rank: &usize| 2 * count * used < room * (count + rank + 1);
    let lowest = (0..count).find(has_room).unwrap_or(count.saturating_sub(1));
    if lowest == 0 { 0 } else { u16::from(priorities[lowest]) }
}

/// Above every priority.
const ALL: u16 = 256;
/// How long a full shard is waited for: less than the capture queue holds.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(20);
/// How long a full shard is waited for with a loss.
const LOSS_PATIENCE: std::time::Duration = std::time::Duration::from_millis(1);
/// Losses that may wait one by one.
const LOSSES_MAX: usize = 64;
/// Tasks that may wait because they cannot be left out: events of calls, some hundred bytes each.
const UNSHEDDABLE_MAX: usize = 200_000;
/// Bytes of frames that may wait with them.
const COPIED_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests;
