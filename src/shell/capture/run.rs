//! The capture thread: from the ring to blocks of frames. It never waits for the pipeline.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::base::frame::{FrameBlock, FrameMeta};
use crate::base::merge::{Captured, Dropped, IDLE_EVERY, Place};
use crate::base::time::Stamp;
use crate::shell::capture::ring::{Interface, Waited};
use crate::shell::capture::{Ring, Stats, Timestamps};
use crate::shell::clock;

/// Where a capture thread hands its frames.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// Number of this thread among those that send to the same queue: [`crate::base::merge::Merger`]'s source.
    pub source: usize,
    /// The queue; bounded.
    pub captured: Sender<(usize, Captured)>,
    /// Blocks to be filled again; without any, new ones are made.
    pub spent: Receiver<FrameBlock>,
}

/// Captures until `stop`, then hands on what is in the ring and ends: within 100 ms in all.
/// The ring stays open and goes on filling, for who takes it over, until the returned value is dropped.
pub fn run(ring: Ring, outlet: &Outlet, stats: &Stats, stop: &AtomicBool) -> Ring {
    let now = clock::monotonic();
    let mut worker = Worker {
        ring,
        outlet,
        stats,
        block: FrameBlock::default(),
        begun: now,
        number: 0,
        lost: [None; 3],
        counted: clock::now(),
        reached: Stamp::ZERO,
        skew_ns: 0,
        told: now,
        looked: now,
        away: None,
        is_refused: false,
        is_ending: false,
    };
    stats.up.store(true, Ordering::Relaxed);
    worker.look(now);
    while !stop.load(Ordering::Relaxed) {
        worker.turn();
    }
    worker.end();
    worker.ring
}

struct Worker<'a> {
    ring: Ring,
    outlet: &'a Outlet,
    stats: &'a Stats,
    block: FrameBlock,
    /// When the first frame of `block` was taken from the ring.
    begun: Instant,
    /// Frames handed on.
    number: u64,
    /// What could not be told yet, by place.
    lost: [Option<Dropped>; 3],
    /// Up to when the kernel is known to have lost nothing that has not been counted.
    counted: Stamp,
    /// Stamp of the last frame.
    reached: Stamp,
    /// How far the card's clock is ahead of the kernel's.
    skew_ns: i64,
    /// When something was last sent.
    told: Instant,
    /// When the interface was last looked at.
    looked: Instant,
    /// Since when the interface has been down or gone.
    away: Option<Stamp>,
    /// It has been said that capture cannot begin again.
    is_refused: bool,
    is_ending: bool,
}

impl Worker<'_> {
    fn turn(&mut self) {
        let waited = self.ring.socket.wait(self.wait_for(clock::monotonic()));
        let is_failed = !matches!(waited, Ok(Waited::Fine));
        if let Ok(Waited::Failed(error)) | Err(error) = waited {
            tracing::debug!(interface = self.ring.config.interface, %error, "the packet socket has an error");
            // An error that stays must not take a whole processor.
            std::thread::sleep(ERROR_PAUSE);
        }
        // No more than the ring has at once, so that the rest of the turn has its turn.
        let mut read = 0;
        while read < self.ring.config.geometry().blocks() && self.read_block() {
            read += 1;
        }
        let now = clock::monotonic();
        if !self.block.frames.is_empty() && now.duration_since(self.begun) >= HAND_ON_AFTER {
            self.hand_on();
        }
        self.tell_lost();
        if now.duration_since(self.told) >= IDLE_EVERY && self.block.frames.is_empty() {
            self.tell(Captured::Idle(self.watermark()));
            self.told = now;
        }
        let look_every = if self.away.is_some() { LOOK_EVERY_AWAY } else { LOOK_EVERY };
        if is_failed || now.duration_since(self.looked) >= look_every {
            // Frames from before come first; a block of them is due soon.
            self.looked = now;
            self.count_drops();
            self.look(now);
        }
    }

    fn wait_for(&self, now: Instant) -> Duration {
        let left = if self.block.frames.is_empty() {
            IDLE_EVERY.saturating_sub(now.duration_since(self.told))
        } else {
            HAND_ON_AFTER.saturating_sub(now.duration_since(self.begun))
        };
        // A millisecond more, since the system rounds down.
        left + Duration::from_millis(1)
    }

    /// Takes the frames of the next block of the ring. Returns false where there is none.
    fn read_block(&mut self) -> bool {
        let Some(ours) = self.ring.socket.block() else { return false };
        let (link, interface) = (self.ring.link, self.ring.interface);
        if self.block.frames.is_empty() {
            self.begun = clock::monotonic();
        }
        let (before, bytes_before) = (self.block.frames.len(), self.block.bytes.len());
        let mut number = self.number + before as u64;
        for frame in ours.frames() {
            if frame.is_outgoing && self.ring.is_loopback {
                // Seen a second time on its way in.
                continue;
            }
            number += 1;
            let (stamp, wire_len) = (frame.stamp, frame.wire_len);
            let meta = FrameMeta { stamp, number, offset: 0, len: 0, wire_len, link, interface };
            match frame.tag {
                Some(tag) => self.block.push_tagged(meta, frame.data, tag),
                None => self.block.push(meta, frame.data),
            }
        }
        let is_losing = ours.is_losing();
        drop(ours);
        add(&self.stats.received, (self.block.frames.len() - before) as u64);
        add(&self.stats.bytes, (self.block.bytes.len() - bytes_before) as u64);
        if let (Some(first), Some(last)) = (self.block.frames.first(), self.block.frames.last()) {
            if self.reached == Stamp::ZERO {
                // A ring that was taken over may have lost frames before: once it was full, after this one.
                self.counted = self.counted.min(first.stamp);
            }
            self.reached = last.stamp;
            if self.ring.config.timestamps == Timestamps::Hardware {
                self.skew_ns = last.stamp.nanos_after(clock::now());
            }
        }
        if self.block.is_full() {
            self.hand_on();
        }
        if is_losing {
            self.count_drops();
        } else {
            // Nothing was lost before the kernel closed this block: asking it would cost more than reading.
            self.counted = self.counted.max(self.reached);
        }
        true
    }

    /// Gives the block to the pipeline. Where that has no room, the block goes on growing; when it is full,
    /// or the end has come, its frames are counted as lost.
    fn hand_on(&mut self) {
        self.tell_lost();
        let (Some(first), Some(last)) = (self.block.frames.first(), self.block.frames.last()) else { return };
        let frames = self.block.frames.len() as u64;
        let interface = self.ring.interface;
        let lost = Dropped { from: first.stamp, to: last.stamp, frames, place: Place::Queue, interface };
        let block = std::mem::take(&mut self.block);
        match self.outlet.captured.try_send((self.outlet.source, Captured::Block(block))) {
            Ok(()) => {
                self.number += frames;
                self.told = clock::monotonic();
                self.block = self.outlet.spent.try_recv().unwrap_or_default();
            }
            Err(error) => {
                if let (_, Captured::Block(block)) = error.into_inner() {
                    self.block = block;
                }
                if !self.is_ending && !self.block.is_full() {
                    return;
                }
                add(&self.stats.queue_drops, frames);
                self.lose(lost);
            }
        }
        self.block.clear();
    }

    /// Reads how many frames the kernel has lost since this was last asked.
    fn count_drops(&mut self) {
        let now = self.stamp_now();
        let Ok(kernel) = self.ring.socket.statistics() else { return };
        let from = std::mem::replace(&mut self.counted, now);
        add(&self.stats.freezes, kernel.freezes);
        if kernel.drops > 0 {
            add(&self.stats.kernel_drops, kernel.drops);
            let interface = self.ring.interface;
            self.lose(Dropped { from, to: now, frames: kernel.drops, place: Place::Kernel, interface });
        }
    }

    fn lose(&mut self, lost: Dropped) {
        match &mut self.lost[lost.place as usize] {
            Some(earlier) => earlier.add(&lost),
            none => *none = Some(lost),
        }
    }

    /// Tells what has been lost, as soon as the queue has room.
    fn tell_lost(&mut self) {
        for place in Place::ALL {
            let lost = &mut self.lost[place as usize];
            if let Some(dropped) = *lost
                && self.outlet.captured.try_send((self.outlet.source, Captured::Dropped(dropped))).is_ok()
            {
                *lost = None;
            }
        }
    }

    fn tell(&self, captured: Captured) {
        // A queue that is full has something to work on anyway.
        let _ = self.outlet.captured.try_send((self.outlet.source, captured));
    }

    /// The time by the clock that frames are stamped with.
    fn stamp_now(&self) -> Stamp {
        let now = clock::now().as_unix_nanos();
        Stamp::from_unix_nanos(now.saturating_add_signed(self.skew_ns))
    }

    /// Up to when all frames have come out of the ring: the kernel keeps a block back for two of its timeouts.
    fn watermark(&self) -> Stamp {
        self.stamp_now().before(self.kept())
    }

    /// How long a frame may be in the ring before it can be read.
    fn kept(&self) -> Duration {
        2 * self.ring.config.block_timeout() + MARGIN
    }

    /// Looks whether the interface is there and up, and begins again where it was made again.
    fn look(&mut self, now: Instant) {
        let interface = self.ring.config.interface.clone();
        let found = Interface::named(std::os::fd::AsFd::as_fd(&self.ring), &interface);
        let bound = self.ring.socket.bound_to().ok().flatten();
        let is_up = match (found, bound) {
            (Ok(found), Some(_)) => found.is_up,
            // Not ours yet. Frames of the one before are read first: all are, when none has come for so long.
            (Ok(found), None) if found.is_up && self.away.is_some() => {
                now.duration_since(self.begun) > SETTLE && self.begin_again()
            }
            _ => false,
        };
        match (is_up, self.away) {
            (false, None) => {
                self.away = Some(self.stamp_now());
                self.stats.up.store(false, Ordering::Relaxed);
                add(&self.stats.downs, 1);
                tracing::warn!(interface, "the interface is down; capture goes on when it is back");
            }
            (true, Some(from)) => {
                self.away = None;
                self.is_refused = false;
                self.stats.up.store(true, Ordering::Relaxed);
                let (to, interface_index) = (self.stamp_now(), self.ring.interface);
                let place = Place::Interface;
                self.lose(Dropped { from, to, frames: 0, place, interface: interface_index });
                tracing::warn!(interface, "the interface is back; capture goes on");
            }
            _ => {}
        }
    }

    fn begin_again(&mut self) -> bool {
        match self.ring.rejoin() {
            Ok(()) => {
                add(&self.stats.restarts, 1);
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::error!(%error, "capture cannot begin again; trying on");
                }
                false
            }
        }
    }

    /// Hands on what had arrived when it was told to stop.
    fn end(&mut self) {
        let (stop, asked) = (self.stamp_now(), clock::monotonic());
        let kept = self.kept().min(END_WITHIN);
        while self.reached < stop && clock::monotonic().duration_since(asked) < kept {
            let _ = self.ring.socket.wait(Duration::from_millis(1));
            while self.reached < stop && self.read_block() {}
        }
        self.count_drops();
        // The pipeline has a moment to make room; it ends after us.
        while self.outlet.captured.is_full() && clock::monotonic().duration_since(asked) < END_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_ending = true;
        self.hand_on();
        self.tell_lost();
    }
}

fn add(counter: &AtomicU64, count: u64) {
    // One thread writes: no locked instruction is needed.
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

/// Frames wait for so long for others of their block.
const HAND_ON_AFTER: Duration = Duration::from_millis(50);
/// How long the kernel may take from a stamp to the ring.
const MARGIN: Duration = Duration::from_millis(10);
/// How often to look at an interface that is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often to look for one that is not.
const LOOK_EVERY_AWAY: Duration = Duration::from_millis(100);
/// The kernel hands over the last frames of an interface that has gone within this.
const SETTLE: Duration = Duration::from_millis(150);
const ERROR_PAUSE: Duration = Duration::from_millis(5);
const END_WITHIN: Duration = Duration::from_millis(90);
