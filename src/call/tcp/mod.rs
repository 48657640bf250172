//! SIP over TCP, put together from segments that are seen from aside (RFC 3261 section 18, RFC 9293).
//!
//! What one sender address sends to one receiver address in one network is a direction, and is followed by itself:
//! see `direction.rs` for its states. An observer has no say in what is sent again, so a gap is
//! waited for only so long, and then skipped to the next segment that begins a message.
//!
//! Driver's contract: after every `handle_*` or `finish`, drain [`Flows::poll_message`] to `None`,
//! then ask [`Flows::poll_timeout`] when to call back. Every frame handed in is either listed in
//! exactly one message with [`FrameRef::first`] set, or counted in [`Flows::take_books`].

mod direction;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::counters::{Counters, Discard};
use crate::base::endpoint::Endpoint;
use crate::base::frame::OwnedFrame;
use crate::base::limits::{TCP_BYTES_MAX, TCP_FLOWS_MAX, TCP_IDLE_TIMEOUT};
use crate::base::net::{Net, Path};
use crate::base::seed::{HashSeed, SeededMap};
use crate::base::time::Stamp;
use crate::call::tcp::direction::Direction;
use crate::wire::link::Tcp;

/// A captured frame that carried a part of a message.
#[derive(Clone, Debug)]
pub struct FrameRef {
    /// The frame. Shared, because one frame may carry parts of many messages.
    pub frame: Arc<OwnedFrame>,
    /// Whether this is the first message that lists it: count it here and nowhere else.
    pub first: bool,
}

/// A message as sent over TCP.
#[derive(Clone, Debug)]
pub struct TcpMessage {
    /// When its last byte was captured.
    pub at: Stamp,
    /// Between whom.
    pub path: Path,
    /// Whether it came in WebSocket frames.
    pub web: bool,
    /// From start line to end of body.
    pub bytes: Vec<u8>,
    /// The frames that carried it, in the order of the stream.
    pub frames: Vec<FrameRef>,
    /// Whether the rest of its body was never captured.
    pub cut: bool,
}

/// What directions hand out.
#[derive(Debug, Default)]
struct Outbox {
    messages: VecDeque<TcpMessage>,
    books: Counters,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct FlowKey {
    net: Net,
    src: Endpoint,
    dst: Endpoint,
}

/// All TCP directions.
#[derive(Debug)]
pub struct Flows {
    flows: SeededMap<FlowKey, Box<Direction>>,
    /// Every direction once, by a time at which it was seen: set right when it comes to the front.
    idle: BTreeSet<(Stamp, FlowKey)>,
    /// Directions that wait for something, by when they stop waiting.
    timers: BTreeSet<(Stamp, FlowKey)>,
    /// Bytes held by all of them.
    held: usize,
    out: Outbox,
}

impl Default for Flows {
    fn default() -> Self {
        Self::new(HashSeed::default())
    }
}

impl Flows {
    /// Makes an empty one.
    pub fn new(seed: HashSeed) -> Self {
        Self {
            flows: seed.table(),
            idle: BTreeSet::new(),
            timers: BTreeSet::new(),
            held: 0,
            out: Outbox::default(),
        }
    }

    /// Takes in a segment. `hold` copies its frame where it carries something new.
    pub fn handle(&mut self, at: Stamp, segment: &Tcp<'_>, hold: impl FnOnce() -> OwnedFrame) {
        let key = FlowKey { net: segment.net, src: segment.src, dst: segment.dst };
        if !self.flows.contains_key(&key) {
            if segment.payload.is_empty() && !segment.syn {
                self.out.books.discard(Discard::NotTelephony, 1);
                return;
            }
            while self.flows.len() >= TCP_FLOWS_MAX && self.evict_oldest() {}
            self.flows.insert(key, Box::new(Direction::new(at, segment)));
            self.idle.insert((at, key));
        }
        self.with(key, at, |direction, out| direction.handle(at, segment, hold, out));
        while self.held > TCP_BYTES_MAX && self.evict_oldest() {}
        self.check_invariants();
    }

    /// Lets time pass: stops waiting for lost segments and forgets silent connections.
    pub fn handle_timeout(&mut self, now: Stamp) {
        while let Some((due, key)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            debug_assert!(self.flows.contains_key(&key), "a timer goes with its direction");
            self.timers.remove(&(due, key));
            self.with(key, now, |direction, out| direction.handle_timeout(now, out));
        }
        while self.idle.first().is_some_and(|(seen, _)| seen.after(TCP_IDLE_TIMEOUT) <= now) {
            let Some((seen, key)) = self.idle.pop_first() else { break };
            match self.flows.get(&key).map(|direction| direction.last()) {
                Some(last) if last > seen => {
                    self.idle.insert((last, key));
                }
                _ => self.forget(key),
            }
        }
        self.check_invariants();
    }

    /// Returns when [`Self::handle_timeout`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Stamp> {
        let idle = self.idle.first().map(|(seen, _)| seen.after(TCP_IDLE_TIMEOUT));
        let timer = self.timers.first().map(|(due, _)| *due);
        [idle, timer].into_iter().flatten().min()
    }

    /// Ends everything: the capture is over.
    pub fn finish(&mut self) {
        while let Some((_, key)) = self.idle.pop_first() {
            self.forget(key);
        }
        debug_assert!(self.timers.is_empty(), "a timer goes with its direction");
        assert_eq!(self.held, 0, "what was held has been handed out or counted");
    }

    /// Returns the next message, in the order in which they became whole.
    #[must_use]
    pub fn poll_message(&mut self) -> Option<TcpMessage> {
        self.out.messages.pop_front()
    }

    /// Frames that carried no message, by reason, since the last call. `captured` is left at 0.
    pub fn take_books(&mut self) -> Counters {
        std::mem::take(&mut self.out.books)
    }

    /// Directions that are followed.
    pub fn live(&self) -> usize {
        self.flows.len()
    }

    /// Bytes held, with the frames they came in.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Lets one direction act, and keeps account of its memory and its timer.
    fn with(&mut self, key: FlowKey, now: Stamp, act: impl FnOnce(&mut Direction, &mut Outbox)) {
        let Some(direction) = self.flows.get_mut(&key) else { return };
        let before = direction.memory();
        act(direction, &mut self.out);
        self.held = self.held - before + direction.memory();
        let due = direction.deadline();
        debug_assert!(due.is_none_or(|due| due > now), "a timer is left in the past");
        if due != direction.timer {
            let old = std::mem::replace(&mut direction.timer, due);
            old.map(|old| self.timers.remove(&(old, key)));
            due.map(|due| self.timers.insert((due, key)));
        }
    }

    fn forget(&mut self, key: FlowKey) {
        if let Some(mut direction) = self.flows.remove(&key) {
            self.held -= direction.memory();
            direction.timer.map(|due| self.timers.remove(&(due, key)));
            direction.finish(&mut self.out);
        }
    }

    /// Forgets the direction that has been silent for longest. Returns whether there was one.
    fn evict_oldest(&mut self) -> bool {
        while let Some((seen, key)) = self.idle.pop_first() {
            match self.flows.get(&key).map(|direction| direction.last()) {
                Some(last) if last > seen => {
                    self.idle.insert((last, key));
                }
                _ => {
                    self.forget(key);
                    return true;
                }
            }
        }
        false
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.flows.len(), self.idle.len(), "every direction can be evicted");
        debug_assert!(self.held <= TCP_BYTES_MAX && self.flows.len() <= TCP_FLOWS_MAX);
    }
}

#[cfg(test)]
mod tests;
