//! Flows of media: what one sender address sends to one receiver address, in one network, under one
//! SSRC.
//!
//! ```text
//!             no claim, or unproved source           claimed and proved
//! (first) ──────────────► Pending ──────────────────────────────► Owned ──► (call closes: forgotten)
//!    │                       │ silent                               │ another call claims the address
//!    │                       ▼                                      ▼
//!    └──────────────►     Refused ◄─────────────────────────── Contested ──► Owned by the other call
//!       foreign source        (asked again when claims change)
//! ```
//!
//! Flows of no call (Pending, Refused) are in `loose` too, oldest first: where there is no room, they
//! give way to what comes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::counters::{Counters, Discard};
use crate::base::endpoint::{Endpoint, Ip};
use crate::base::frame::OwnedFrame;
use crate::base::limits::HELD_BYTES_MAX;
use crate::base::net::{Net, Path};
use crate::base::seed::{HashSeed, SeededMap};
use crate::base::time::Stamp;
use crate::call::table::MediaPacket;

/// Which flow a packet is of. Small: it is hashed once a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct FlowKey {
    src: Ip,
    dst: Ip,
    net: Net,
    src_port: u16,
    dst_port: u16,
    ssrc: u32,
}

impl FlowKey {
    pub(super) fn new(path: Path, ssrc: u32) -> Self {
        let Path { net, src, dst } = path;
        Self { src: src.ip, dst: dst.ip, net, src_port: src.port, dst_port: dst.port, ssrc }
    }

    pub(super) fn path(&self) -> Path {
        Path {
            net: self.net,
            src: Endpoint::new(self.src, self.src_port),
            dst: Endpoint::new(self.dst, self.dst_port),
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }
}

/// One flow.
#[derive(Debug)]
pub(super) struct Flow {
    /// Its last packet.
    pub(super) last: Stamp,
    /// Of the last packet.
    pub(super) sequence: u16,
    /// Of the claims, when it was decided.
    pub(super) epoch: u32,
    pub(super) state: FlowState,
}

/// Where a flow stands.
#[derive(Debug)]
pub(super) enum FlowState {
    /// Of a stream of a call.
    Owned { slot: u32, stream: u16 },
    /// The same, and another call has claimed an address of it since.
    Contested { slot: u32, stream: u16 },
    /// Waiting for a claim, or to prove itself.
    Pending(Box<Pending>),
    /// Of no call, as far as claims say.
    Refused(Discard),
}

/// What a flow that waits has.
#[derive(Debug)]
pub(super) struct Pending {
    held: VecDeque<Held>,
    sequence: u16,
    run: u32,
}

/// A packet that waits until its flow is understood.
#[derive(Clone, Debug)]
pub struct Held {
    /// The frames it came in; more than one where it was fragmented.
    pub frames: Vec<OwnedFrame>,
    /// The UDP payload.
    pub payload: Box<[u8]>,
    /// Whether the snap length cut it.
    pub cut: bool,
}

/// All flows, and what waits in them.
#[derive(Debug)]
pub(super) struct Flows {
    flows: SeededMap<FlowKey, Flow>,
    /// Flows of no call, with a time at which each was seen: set right when it comes to the front.
    /// Some are of a call or gone by now.
    loose: VecDeque<(Stamp, FlowKey)>,
    limit: usize,
    pub(super) held_bytes: usize,
    books: Counters,
}

impl Flows {
    pub(super) fn new(seed: HashSeed, limit: usize) -> Self {
        Self { flows: seed.table(), loose: VecDeque::new(), limit, held_bytes: 0, books: Counters::default() }
    }

    pub(super) fn get(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &FlowKey) -> Option<&mut Flow> {
        self.flows.get_mut(key)
    }

    /// Frames that waited and were then discarded.
    pub(super) fn take_books(&mut self) -> Counters {
        std::mem::take(&mut self.books)
    }

    pub(super) fn is_full(&self) -> bool {
        self.flows.len() >= self.limit
    }

    /// Forgets the flow of no call that is silent for longest. Returns false where all are of calls.
    pub(super) fn make_room(&mut self) -> bool {
        for chances in (0..SECOND_CHANCES).rev() {
            let Some((seen, key)) = self.loose.pop_front() else { return false };
            let Some(flow) = self.flows.get(&key).filter(|flow| flow.is_loose()) else { continue };
            if flow.last > seen && chances > 0 {
                self.loose.push_back((flow.last, key));
                continue;
            }
            if let Some(Flow { state: FlowState::Pending(pending), .. }) = self.flows.remove(&key) {
                self.discard_all(pending.held, Discard::MediaUnclaimed);
            }
            return true;
        }
        false
    }

    /// Enters a flow of a call.
    pub(super) fn own(&mut self, key: FlowKey, packet: &MediaPacket, epoch: u32, slot: u32, stream: u16) {
        let state = FlowState::Owned { slot, stream };
        self.flows.insert(key, Flow { last: packet.at, sequence: packet.sequence, epoch, state });
    }

    pub(super) fn remove(&mut self, key: &FlowKey) {
        self.flows.remove(key);
    }

    /// Keeps a packet until its flow is understood. Returns how many came in sequence, and whether
    /// this one was kept: where there is no room for it, the caller must account for it.
    pub(super) fn hold(
        &mut self,
        key: FlowKey,
        packet: &MediaPacket,
        epoch: u32,
        hold: impl FnOnce() -> Held,
    ) -> (u32, bool) {
        let loose = &mut self.loose;
        let flow = self.flows.entry(key).or_insert_with(|| {
            loose.push_back((packet.at, key));
            Flow {
                last: packet.at,
                sequence: packet.sequence,
                epoch,
                state: FlowState::Refused(Discard::MediaUnclaimed),
            }
        });
        flow.epoch = epoch;
        if !matches!(flow.state, FlowState::Pending(_)) {
            let pending = Pending { held: VecDeque::new(), sequence: packet.sequence, run: 0 };
            flow.state = FlowState::Pending(Box::new(pending));
        }
        let FlowState::Pending(pending) = &mut flow.state else { return (0, false) };
        let step = packet.sequence.wrapping_sub(pending.sequence);
        pending.run =
            if pending.run == 0 || step > SEQUENCE_STEP_MAX { 1 } else { pending.run + u32::from(step > 0) };
        pending.sequence = packet.sequence;
        let run = pending.run;
        let held = hold();
        let bytes = held.bytes();
        // Room is made of what this flow itself kept, never of the packet at hand.
        while pending.held.len() >= HELD_PACKETS_MAX || self.held_bytes + bytes > HELD_BYTES_MAX {
            let Some(oldest) = pending.held.pop_front() else { break };
            self.held_bytes -= oldest.bytes();
            self.books.discard(Discard::MediaUnclaimed, oldest.frames.len() as u64);
        }
        let kept = self.held_bytes + bytes <= HELD_BYTES_MAX;
        if kept {
            self.held_bytes += bytes;
            pending.held.push_back(held);
        }
        (run, kept)
    }

    /// Turns a flow away until claims change, with what waited in it.
    pub(super) fn refuse(&mut self, key: FlowKey, packet: &MediaPacket, epoch: u32, reason: Discard) {
        let held = self.take_pending(&key);
        self.discard_all(held, reason);
        let state = FlowState::Refused(reason);
        let flow = Flow { last: packet.at, sequence: packet.sequence, epoch, state };
        if self.flows.insert(key, flow).is_none_or(|before| !before.is_loose()) {
            self.loose.push_back((packet.at, key));
        }
    }

    /// Takes a flow from its call.
    pub(super) fn expel(&mut self, key: FlowKey, epoch: u32) {
        if let Some(flow) = self.flows.get_mut(&key).filter(|flow| !flow.is_loose()) {
            flow.state = FlowState::Refused(Discard::ForeignSource);
            flow.epoch = epoch;
            self.loose.push_back((flow.last, key));
        }
    }

    pub(super) fn take_pending(&mut self, key: &FlowKey) -> VecDeque<Held> {
        match self.flows.get_mut(key).map(|flow| &mut flow.state) {
            Some(FlowState::Pending(pending)) => std::mem::take(&mut pending.held),
            _ => VecDeque::new(),
        }
    }

    /// Takes what waited before the packet at hand, which is the last where it was kept.
    pub(super) fn take_earlier(&mut self, key: &FlowKey, kept: bool) -> VecDeque<Held> {
        let mut held = self.take_pending(key);
        if kept {
            let last = held.pop_back();
            self.returned(last.as_ref());
        }
        held
    }

    /// Accounts for packets that wait no more.
    pub(super) fn returned<'a>(&mut self, held: impl IntoIterator<Item = &'a Held>) {
        for held in held {
            self.held_bytes -= held.bytes();
        }
    }

    pub(super) fn discard_all(&mut self, held: impl IntoIterator<Item = Held>, reason: Discard) {
        for held in held {
            self.held_bytes -= held.bytes();
            self.books.discard(reason, held.frames.len() as u64);
        }
    }

    /// Forgets flows that wait in vain.
    pub(super) fn sweep(&mut self, now: Stamp) {
        let mut stale = Vec::new();
        self.flows.retain(|_, flow| match &mut flow.state {
            FlowState::Owned { .. } | FlowState::Contested { .. } => true,
            _ if now.since(flow.last) < HELD_TIME_MAX => true,
            FlowState::Pending(pending) => {
                stale.extend(pending.held.drain(..));
                false
            }
            FlowState::Refused(_) => false,
        });
        self.discard_all(stale, Discard::MediaUnclaimed);
        let flows = &self.flows;
        self.loose.retain(|(_, key)| flows.get(key).is_some_and(Flow::is_loose));
    }

    /// The clock was set.
    pub(super) fn shift(&mut self, nanos: i64) {
        self.flows.retain(|_, flow| {
            flow.last = flow.last.shifted(nanos);
            true
        });
        for (seen, _) in &mut self.loose {
            *seen = seen.shifted(nanos);
        }
    }

    /// Forgets all.
    pub(super) fn finish(&mut self) {
        let mut stale = Vec::new();
        for (_, flow) in self.flows.drain() {
            if let FlowState::Pending(pending) = flow.state {
                stale.extend(pending.held);
            }
        }
        self.discard_all(stale, Discard::MediaUnclaimed);
        self.loose.clear();
    }
}

impl Flow {
    pub(super) fn belongs_to(&self, call: u32) -> bool {
        matches!(self.state, FlowState::Owned { slot, .. } | FlowState::Contested { slot, .. } if slot == call)
    }

    /// Whether it is of no call.
    fn is_loose(&self) -> bool {
        matches!(self.state, FlowState::Pending(_) | FlowState::Refused(_))
    }

    /// Whether `packet` carries on where the flow was.
    pub(super) fn continues(&self, packet: &MediaPacket) -> bool {
        let step = packet.sequence.wrapping_sub(self.sequence) as i16;
        step.unsigned_abs() <= SEQUENCE_STEP_MAX && packet.at.since(self.last) < PAUSE_MIN
    }
}

impl Held {
    fn bytes(&self) -> usize {
        self.payload.len() + self.frames.iter().map(|frame| frame.bytes.len()).sum::<usize>()
    }

    pub(super) fn at(&self) -> Option<Stamp> {
        self.frames.last().map(|frame| frame.meta.stamp)
    }
}

/// A larger step in sequence numbers starts the run anew.
const SEQUENCE_STEP_MAX: u16 = 20;
/// Packets that one flow may keep waiting: a second of speech.
const HELD_PACKETS_MAX: usize = 50;
/// Silence after which a flow is taken for a new one, where its call is over.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How long a flow that no call claims is remembered.
const HELD_TIME_MAX: Duration = Duration::from_secs(5);
/// Flows looked at before one that was heard of lately must go too.
const SECOND_CHANCES: u32 = 64;
