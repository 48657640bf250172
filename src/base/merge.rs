//! Several capture threads as one sequence of frames, in the order of time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::frame::{FrameBlock, FrameMeta};
use crate::base::time::Stamp;

/// What a capture thread hands on.
#[derive(Clone, Debug)]
pub enum Captured {
    /// Frames, in the order in which the interface saw them.
    Block(FrameBlock),
    /// Frames that there were, and that nobody will see.
    Dropped(Dropped),
    /// All frames up to this time have been handed on.
    Idle(Stamp),
}

/// Frames lost between the wire and the pipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// The first was not before this.
    pub from: Stamp,
    /// The last was not after this.
    pub to: Stamp,
    /// How many; 0 where nobody counted: the interface was down.
    pub frames: u64,
    /// Where they were lost.
    pub place: Place,
    /// Index of the interface.
    pub interface: u16,
}

/// Where frames are lost before the pipeline sees them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// The interface was down, or gone.
    Interface,
    /// The kernel's ring was full: the capture thread got too little of a processor.
    Kernel,
    /// The queue to the pipeline was full: the pipeline is too slow.
    Queue,
}

impl Place {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Interface, Self::Kernel, Self::Queue];
}

impl Dropped {
    /// Adds what was lost at the same place later: an interval over both.
    pub fn add(&mut self, later: &Self) {
        self.from = self.from.min(later.from);
        self.to = self.to.max(later.to);
        self.frames += later.frames;
    }
}

/// Puts what several sources captured into the order of time.
///
/// A frame comes out once every source has got as far, or has been silent for [`SILENT`]. One that comes
/// later than that is handed on at once, out of order, and counted. Of one source, blocks pass as they are.
#[derive(Debug)]
pub struct Merger {
    sources: Vec<Source>,
    /// Intervals that are still ahead of the frames.
    drops: VecDeque<Dropped>,
    /// Emptied blocks, to be filled again.
    spent: Vec<FrameBlock>,
    /// Frames handed on.
    number: u64,
    /// Up to where everything has been handed on.
    reached: Stamp,
    held_bytes: usize,
    late: u64,
    has_begun: bool,
}

#[derive(Debug, Default)]
struct Source {
    waiting: VecDeque<Captured>,
    /// Frames of the first waiting block that are out already.
    taken: usize,
    /// How far this source has got.
    watermark: Stamp,
    /// When it was last heard of.
    heard: Stamp,
}

impl Source {
    fn head(&self) -> Option<&FrameMeta> {
        match self.waiting.front() {
            Some(Captured::Block(block)) => block.frames.get(self.taken),
            _ => None,
        }
    }
}

impl Merger {
    /// Merges so many sources, numbered from 0.
    pub fn new(sources: usize) -> Self {
        Self {
            sources: (0..sources).map(|_| Source::default()).collect(),
            drops: VecDeque::new(),
            spent: Vec::new(),
            number: 0,
            reached: Stamp::ZERO,
            held_bytes: 0,
            late: 0,
            has_begun: false,
        }
    }

    /// Takes what `source` captured, at the time `now`. What a source that there is not captured is ignored.
    pub fn push(&mut self, source: usize, captured: Captured, now: Stamp) {
        let alone = self.sources.len() == 1;
        if !std::mem::replace(&mut self.has_begun, true) {
            // None is silent that has not had time to speak.
            self.sources.iter_mut().for_each(|source| source.heard = now);
        }
        let Some(source) = self.sources.get_mut(source) else { return };
        source.heard = now;
        match captured {
            captured if alone => source.waiting.push_back(captured),
            Captured::Block(block) => {
                let Some(last) = block.frames.last() else { return };
                source.watermark = last.stamp;
                self.held_bytes += block.bytes.len();
                source.waiting.push_back(Captured::Block(block));
            }
            Captured::Idle(watermark) => source.watermark = source.watermark.max(watermark),
            Captured::Dropped(dropped) => self.add_drop(dropped),
        }
    }

    /// Returns what comes next. To be called until there is nothing.
    #[must_use]
    pub fn pop(&mut self, now: Stamp) -> Option<Captured> {
        if let [source] = &mut self.sources[..] {
            let mut captured = source.waiting.pop_front()?;
            if let Captured::Block(block) = &mut captured {
                for frame in &mut block.frames {
                    self.number += 1;
                    frame.number = self.number;
                }
            }
            return Some(captured);
        }
        let awake = self.sources.iter().filter(|source| !source.is_silent(now));
        let limit = awake.map(|source| source.watermark).min().unwrap_or(Stamp::from_unix_nanos(u64::MAX));
        // Held back for too long by one that lags: memory has a ceiling, order comes second.
        let limit = if self.held_bytes > HELD_BYTES_MAX { Stamp::from_unix_nanos(u64::MAX) } else { limit };
        self.pop_until(limit)
    }

    /// Returns what is left, when no source will send more. To be called until there is nothing.
    #[must_use]
    pub fn finish(&mut self) -> Option<Captured> {
        if self.sources.len() == 1 {
            return self.pop(Stamp::ZERO);
        }
        self.pop_until(Stamp::from_unix_nanos(u64::MAX))
    }

    /// Returns an empty block with memory in it, for a capture thread to fill.
    pub fn spent(&mut self) -> Option<FrameBlock> {
        self.spent.pop()
    }

    /// Frames that came out of order, because their source had fallen silent or behind.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn pop_until(&mut self, limit: Stamp) -> Option<Captured> {
        if self.drops.front().is_some_and(|dropped| dropped.from <= limit) {
            return self.drops.pop_front().map(Captured::Dropped);
        }
        let mut merged = FrameBlock::default();
        while !merged.is_full()
            && let Some((index, stamp)) = self.earliest()
            && stamp <= limit
        {
            if merged.frames.is_empty() {
                merged = self.spent.pop().unwrap_or_default();
            }
            self.late += u64::from(stamp < self.reached);
            self.reached = self.reached.max(stamp);
            self.take(index, &mut merged);
        }
        if !merged.frames.is_empty() {
            return Some(Captured::Block(merged));
        }
        let is_news = limit.as_unix_nanos() != u64::MAX && limit.since(self.reached) >= IDLE_EVERY;
        is_news.then(|| {
            self.reached = limit;
            Captured::Idle(limit)
        })
    }

    /// The source whose next frame is the earliest.
    fn earliest(&self) -> Option<(usize, Stamp)> {
        let heads = self.sources.iter().enumerate();
        heads
            .filter_map(|(index, source)| Some((index, source.head()?.stamp)))
            .min_by_key(|(_, stamp)| *stamp)
    }

    /// Moves the next frame of a source to `merged`.
    fn take(&mut self, index: usize, merged: &mut FrameBlock) {
        let source = &mut self.sources[index];
        let Some(Captured::Block(block)) = source.waiting.front() else { return };
        let Some(frame) = block.frames.get(source.taken) else { return };
        self.number += 1;
        merged.push(FrameMeta { number: self.number, ..*frame }, block.data(frame));
        source.taken += 1;
        if source.taken == block.frames.len()
            && let Some(Captured::Block(mut block)) = source.waiting.pop_front()
        {
            source.taken = 0;
            self.held_bytes -= block.bytes.len();
            if self.spent.len() < SPENT_MAX {
                block.clear();
                self.spent.push(block);
            }
        }
    }

    fn add_drop(&mut self, dropped: Dropped) {
        let (full, at) =
            (self.drops.len() >= DROPS_MAX, self.drops.partition_point(|d| d.from <= dropped.from));
        let alike = self.drops.iter_mut().rev();
        let mut alike = alike.filter(|d| d.place == dropped.place && d.interface == dropped.interface);
        match alike.next() {
            Some(earlier) if full => earlier.add(&dropped),
            _ => self.drops.insert(at, dropped),
        }
    }
}

impl Source {
    fn is_silent(&self, now: Stamp) -> bool {
        now.nanos_after(self.heard).unsigned_abs() > SILENT.as_nanos() as u64
    }
}

/// A source that has not been heard of for so long does not hold the others back.
pub const SILENT: Duration = Duration::from_millis(100);
/// How often a source that sees no frames says so.
pub const IDLE_EVERY: Duration = Duration::from_millis(20);
/// Bytes of frames that wait for other sources.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Intervals that wait; those beyond are joined with earlier ones.
const DROPS_MAX: usize = 1_024;
const SPENT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::frame::LinkType;

    fn ms(ms: u64) -> Stamp {
        Stamp::from_unix_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn block(interface: u16, at: &[u64]) -> Captured {
        let mut block = FrameBlock::default();
        for &at in at {
            let meta = FrameMeta {
                stamp: ms(at),
                number: 0,
                offset: 0,
                len: 0,
                wire_len: 1,
                link: LinkType::ETHERNET,
                interface,
            };
            block.push(meta, &[at as u8]);
        }
        Captured::Block(block)
    }

    /// (time in ms, number, first byte) of the frames that come.
    fn pop_all(merger: &mut Merger, now: u64) -> Vec<(u64, u64, u8)> {
        let mut all = Vec::new();
        while let Some(captured) = merger.pop(ms(now)) {
            if let Captured::Block(block) = captured {
                let since = |frame: &FrameMeta| frame.stamp.since(ms(0)).as_millis() as u64;
                all.extend(block.frames.iter().map(|f| (since(f), f.number, block.data(f)[0])));
            }
        }
        all
    }

    #[test]
    fn frames_wait_for_the_slower_source() {
        let mut merger = Merger::new(2);
        merger.push(0, block(0, &[1, 4, 9]), ms(10));
        assert_eq!(pop_all(&mut merger, 10), []);
        merger.push(1, block(1, &[2, 3, 5]), ms(10));
        assert_eq!(pop_all(&mut merger, 10), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5)]);
        merger.push(1, Captured::Idle(ms(20)), ms(21));
        assert_eq!(pop_all(&mut merger, 21), [(9, 6, 9)]);
        assert_eq!(merger.late(), 0);
        assert!(merger.spent().is_some(), "emptied blocks can be filled again");
    }

    #[test]
    fn a_silent_source_holds_nobody_back_and_its_late_frames_come_through() {
        let mut merger = Merger::new(2);
        merger.push(0, block(0, &[50]), ms(60));
        assert_eq!(pop_all(&mut merger, 160), []);
        merger.push(0, block(0, &[60]), ms(161));
        assert_eq!(pop_all(&mut merger, 161), [(50, 1, 50), (60, 2, 60)]);
        merger.push(1, block(1, &[40]), ms(162));
        assert_eq!(pop_all(&mut merger, 162), [(40, 3, 40)]);
        assert_eq!(merger.late(), 1);
    }

    #[test]
    fn one_source_passes_blocks_as_they_are() {
        let mut merger = Merger::new(1);
        let given = block(0, &[7, 6]);
        let Captured::Block(before) = &given else { unreachable!() };
        let memory = before.bytes.as_ptr();
        merger.push(0, given, ms(8));
        let Some(Captured::Block(after)) = merger.pop(ms(8)) else { panic!("no block") };
        assert_eq!(after.bytes.as_ptr(), memory);
        assert_eq!(after.frames.iter().map(|frame| frame.number).collect::<Vec<_>>(), [1, 2]);
        assert!(merger.pop(ms(8)).is_none());
    }

    #[test]
    fn drops_come_before_the_frames_after_them() {
        let mut merger = Merger::new(2);
        let dropped = Dropped { from: ms(5), to: ms(7), frames: 3, place: Place::Kernel, interface: 1 };
        merger.push(1, Captured::Dropped(dropped), ms(9));
        merger.push(0, block(0, &[4]), ms(9));
        merger.push(1, Captured::Idle(ms(4)), ms(9));
        assert!(matches!(merger.pop(ms(9)), Some(Captured::Block(_))));
        assert!(merger.pop(ms(9)).is_none(), "the interval is ahead of the frames");
        merger.push(0, block(0, &[8]), ms(9));
        merger.push(1, Captured::Idle(ms(8)), ms(9));
        assert!(matches!(merger.pop(ms(9)), Some(Captured::Dropped(d)) if d == dropped));
        assert_eq!(pop_all(&mut merger, 9), [(8, 2, 8)]);
    }

    #[test]
    fn what_waits_has_a_ceiling_and_the_end_lets_everything_out() {
        let mut merger = Merger::new(2);
        merger.push(1, Captured::Idle(ms(0)), ms(0));
        let mut large = FrameBlock::default();
        let Captured::Block(small) = block(0, &[3]) else { unreachable!() };
        large.push(small.frames[0], &vec![0; HELD_BYTES_MAX + 1]);
        merger.push(0, Captured::Block(large), ms(3));
        merger.push(0, block(0, &[4]), ms(4));
        assert_eq!(pop_all(&mut merger, 4).len(), 1, "order comes second, until there is room");
        assert!(matches!(merger.finish(), Some(Captured::Block(rest)) if rest.frames.len() == 1));
        assert!(merger.finish().is_none());
    }

    #[test]
    fn intervals_are_joined_where_there_are_too_many() {
        let mut merger = Merger::new(2);
        for at in 0..DROPS_MAX as u64 + 5 {
            let dropped = Dropped { from: ms(at), to: ms(at), frames: 1, place: Place::Queue, interface: 0 };
            merger.push(0, Captured::Dropped(dropped), ms(at));
        }
        let mut frames = 0;
        while let Some(captured) = merger.finish() {
            if let Captured::Dropped(dropped) = captured {
                frames += dropped.frames;
            }
        }
        assert_eq!(frames, DROPS_MAX as u64 + 5);
    }
}
