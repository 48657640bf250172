//! All calls at once: signalling to calls, media to streams of calls.
//!
//! Driver's contract: after every `sip`, `media`, `sweep` or `finish`, drain [`Table::poll_event`]
//! to `None` before the packet itself is passed on, so that a call is open before its media comes.
//!
//! Signalling is in this file, see [`crate::call::session`] for which message belongs to which call.
//! Media is in `media`: a flow's first packets decide where it belongs, see `call::flow` and
//! [`crate::call::media_map`]; later ones are one look-up.
//!
//! # Ceilings
//! A call that was never answered and has no media gives way to others ([`Limits`]): the oldest of a
//! source that has begun too many, then the oldest of all. An answered call is never given up.

mod event;
mod media;

pub use crate::call::flow::Held;
pub use crate::call::table::event::{
    Config, Event, Leaving, Limits, MediaPacket, Opening, SHADOW_RANK, StreamOpened, Transport, Verdict,
};

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::counters::{Counters, Discard};
use crate::base::limits::CALL_ID_CALLS_MAX;
use crate::base::net::{Net, Path};
use crate::base::policy::{Condition, Conditions};
use crate::base::seed::SeededMap;
use crate::base::time::Stamp;
use crate::call::admission::{Source, Waiting};
use crate::call::closing::Idle;
use crate::call::entry::{Entry, Offer, StreamRef};
use crate::call::flow::{FlowKey, Flows};
use crate::call::media_map::MediaMap;
use crate::call::session::{Ending, Session, call_id_key};
use crate::call::transcript::Goes;
use crate::wire::sip::{Message, Method, StartLine};

/// All calls.
#[derive(Debug)]
pub struct Table {
    config: Config,
    calls: Vec<Option<Box<Entry>>>,
    free: Vec<u32>,
    live: usize,
    orphan_count: usize,
    waiting: Waiting,
    /// Calls of each Call-ID, oldest first.
    by_call_id: SeededMap<Box<[u8]>, Vec<u32>>,
    orphans: SeededMap<Path, u32>,
    map: MediaMap,
    flows: Flows,
    events: VecDeque<Event>,
    opened: u64,
    closed: u64,
    swept: Stamp,
    conditions: Conditions,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Table {
    /// Makes an empty table.
    pub fn new(config: Config) -> Self {
        let (seed, flows) = (config.seed, config.limits.flows);
        Self {
            config,
            calls: Vec::new(),
            free: Vec::new(),
            live: 0,
            orphan_count: 0,
            waiting: Waiting::new(seed),
            by_call_id: seed.table(),
            orphans: seed.table(),
            map: MediaMap::new(seed),
            flows: Flows::new(seed, flows),
            events: VecDeque::new(),
            opened: 0,
            closed: 0,
            swept: Stamp::ZERO,
            conditions: Conditions::default(),
        }
    }

    /// Looks for media without signalling, or no longer. Calls without signalling that go on are not ended.
    pub fn set_orphans(&mut self, orphans: bool) {
        self.config.orphans = orphans;
    }

    /// Returns the next event, oldest first.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Calls that are open.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Calls that were opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Frames that waited in the table and were then discarded.
    pub fn take_books(&mut self) -> Counters {
        self.flows.take_books()
    }

    /// How often each condition was met.
    pub fn conditions(&self) -> Conditions {
        let mut all = self.conditions.clone();
        all.add_many(Condition::AddressClaimsFull, self.map.evicted());
        all
    }

    fn call(&self, slot: u32) -> Option<&Entry> {
        self.calls.get(slot as usize)?.as_deref()
    }

    fn call_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.calls.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Takes in a SIP message. Returns the call it belongs to, or why to none.
    pub fn sip(
        &mut self,
        at: Stamp,
        path: Path,
        transport: Transport,
        message: &Message<'_>,
    ) -> Result<u32, Discard> {
        let Some(call_id) = message.call_id() else { return Err(Discard::SipUnparsable) };
        let sdp = negotiates(message).then(|| message.sdp()).flatten();
        let slot = match self.call_of(path, call_id_key(call_id), message) {
            Some(slot) => slot,
            None => self.open_session(at, path, transport, message, sdp.is_some())?,
        };
        // Out of the table for so long, so that others can be asked beside it.
        let Some(mut entry) = self.calls[slot as usize].take() else { return Err(Discard::SipOutsideCall) };
        let told = self.tell(slot, &mut entry, at, path, message, sdp);
        self.calls[slot as usize] = Some(entry);
        if told {
            self.refresh_streams(slot);
        }
        Ok(slot)
    }

    /// Tells a call of a message. Returns whether it has negotiated media.
    fn tell(
        &mut self,
        slot: u32,
        entry: &mut Entry,
        at: Stamp,
        path: Path,
        message: &Message<'_>,
        sdp: Option<&[u8]>,
    ) -> bool {
        let mut full = !entry.join(path.net);
        let own = entry.own(at);
        let Some(session) = entry.session.as_mut() else { return false };
        let refused = session.byes_refused();
        session.handle(own, path, message, sdp.is_some());
        full |= session.is_full();
        if session.byes_refused() > refused {
            self.conditions.note(Condition::ByeRefused);
        }
        if session.answered().is_some() {
            self.waiting.remove(entry.ordinal);
        }
        if let Some(bytes) = self.signal(message) {
            self.events.push_back(Event::Signal { slot, at: own, party: session.sender(message), bytes });
        }
        if let Some(body) = sdp {
            let calls = &self.calls;
            let akin = |mine: &Entry, other: u32| {
                other == slot || calls[other as usize].as_deref().is_some_and(|other| mine.is_akin(other))
            };
            let changed =
                entry.negotiate(slot, &Offer { at, src: path.src, message, body }, &mut self.map, akin);
            full |= changed.full;
            self.contest(entry, &changed.rivals, &changed.endpoints);
            for formats in changed.formats {
                self.events.push_back(Event::Formats { slot, formats });
            }
        }
        if full {
            self.conditions.note(Condition::CallFull);
        }
        sdp.is_some()
    }

    /// The bytes of a request that may ask for something.
    fn signal(&self, message: &Message<'_>) -> Option<Box<[u8]>> {
        let StartLine::Request { method, .. } = message.start() else { return None };
        (*method == Method::Info || self.config.signals).then(|| message.raw().into())
    }

    /// The call that a message belongs to, among those of its Call-ID.
    fn call_of(&mut self, path: Path, call_id: &[u8], message: &Message<'_>) -> Option<u32> {
        let slots = self.by_call_id.get(call_id)?;
        let mut known = slots.iter().filter_map(|slot| {
            let entry = self.call(*slot)?;
            Some((*slot, entry.is_of(path.net), entry.session.as_ref()?))
        });
        // Of equals, the newest.
        let (slot, near, session) = match slots.as_slice() {
            [_] => known.next()?,
            _ => known.max_by_key(|(_, near, session)| (*near, session.kinship(message)))?,
        };
        if slots.len() < CALL_ID_CALLS_MAX && session.is_another(path, message, near) {
            self.conditions.note(Condition::CallIdReused);
            return None;
        }
        (near || session.kinship(message) > 0).then_some(slot)
    }

    fn open_session(
        &mut self,
        at: Stamp,
        path: Path,
        transport: Transport,
        message: &Message<'_>,
        sdp: bool,
    ) -> Result<u32, Discard> {
        let invite = matches!(message.start(), StartLine::Request { method: Method::Invite, .. });
        if !invite && !sdp {
            return Err(Discard::SipOutsideCall);
        }
        let mid_call = !message.begins_call();
        let entry = Entry::signalled(self.opened, Session::new(at, message), mid_call);
        let call_id: Box<[u8]> = entry.session.as_ref().map(Session::call_id).unwrap_or_default().into();
        if self.by_call_id.get(&call_id).is_some_and(|calls| calls.len() >= CALL_ID_CALLS_MAX) {
            return Err(Discard::CallTableFull);
        }
        let source = (path.net, path.src.ip);
        self.make_room(Some(&source))?;
        if mid_call {
            self.conditions.note(Condition::MidCallStart);
        }
        let ordinal = self.opened;
        let slot = self.open(at, entry, Opening::new(path, transport, message.raw()));
        self.waiting.insert(ordinal, slot, source);
        self.by_call_id.entry(call_id).or_default().push(slot);
        Ok(slot)
    }

    /// Sees to it that one more call has room: of `source`, or one without signalling.
    fn make_room(&mut self, source: Option<&Source>) -> Result<(), Discard> {
        let limits = self.config.limits;
        if let Some(source) = source {
            if self.waiting.of(source) >= limits.unanswered_per_source
                && let Some(slot) = self.waiting.oldest_of(source)
            {
                self.conditions.note(Condition::SourceBudget);
                self.close(slot, Idle::TableFull);
            }
        } else if self.orphan_count >= limits.orphans {
            self.conditions.note(Condition::CallTableFull);
            return Err(Discard::CallTableFull);
        }
        if self.live >= limits.calls || self.waiting.len() >= limits.unanswered {
            self.conditions.note(Condition::CallTableFull);
            if let Some(slot) = self.waiting.oldest() {
                self.close(slot, Idle::TableFull);
            }
        }
        if self.live >= limits.calls { Err(Discard::CallTableFull) } else { Ok(()) }
    }

    /// Enters a call for which there is room.
    fn open(&mut self, at: Stamp, entry: Entry, first: Opening) -> u32 {
        let slot = self.free.pop().unwrap_or(self.calls.len() as u32);
        if slot as usize == self.calls.len() {
            self.calls.push(None);
        }
        let (ordinal, orphan) = (self.opened, entry.session.is_none());
        self.calls[slot as usize] = Some(Box::new(entry));
        self.opened += 1;
        self.live += 1;
        self.orphan_count += usize::from(orphan);
        let first = Box::new(first);
        self.events.push_back(Event::Opened { slot, ordinal, at, orphan, first });
        slot
    }

    /// Lets time pass: closes calls that are over and forgets flows that wait in vain.
    pub fn sweep(&mut self, now: Stamp) {
        if now.since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        for slot in 0..self.calls.len() as u32 {
            let Some(entry) = self.call(slot) else { continue };
            if let Some(idle) = entry.idle(now, self.last_media(slot, entry)) {
                self.close(slot, idle);
            }
        }
        self.flows.sweep(now);
    }

    /// The capture clock was set by `nanos`. Running calls go on in the time that they began in.
    pub fn clock_set(&mut self, nanos: i64) {
        self.conditions.note(Condition::ClockStepped);
        self.swept = self.swept.shifted(nanos);
        self.flows.shift(nanos);
        self.map.shift(nanos);
        for (slot, entry) in (0..).zip(&mut self.calls) {
            if let Some(entry) = entry {
                entry.clock_set(nanos);
                self.events.push_back(Event::ClockSet { slot, nanos });
            }
        }
    }

    /// When the call last had media of its own: not what another call sends under the same key since.
    fn last_media(&self, slot: u32, entry: &Entry) -> Option<Stamp> {
        let last = |known: &StreamRef| {
            let flows = stream_keys(known).filter_map(|key| self.flows.get(&key));
            let own = flows.filter(|flow| flow.belongs_to(slot)).map(|flow| flow.last);
            own.max().map_or(known.last, |last| last.max(known.last))
        };
        entry.streams.iter().map(last).max()
    }

    /// Ends everything: the capture is over.
    pub fn finish(&mut self) {
        let mut open: Vec<(u64, u32)> = (0..self.calls.len() as u32)
            .filter_map(|slot| self.call(slot).map(|entry| (entry.ordinal, slot)))
            .collect();
        open.sort_unstable();
        for (_, slot) in open {
            self.close(slot, Idle::CaptureEnd);
        }
        self.flows.finish();
    }

    /// Ends everything, since another process goes on from `at`. Returns the calls that go on; those
    /// without signalling and those that are over do not.
    pub fn leave(&mut self, at: Stamp) -> Vec<Leaving> {
        let mut leaving = Vec::new();
        for slot in 0..self.calls.len() as u32 {
            let Some((entry, goes)) = self.call(slot).zip(self.goes_on(slot, at)) else { continue };
            leaving.push((entry.ordinal, slot, goes == Goes::Disputed));
        }
        leaving.sort_unstable();
        let mut left = Vec::new();
        for (_, slot, disputed) in leaving {
            left.push(Leaving { slot, order: self.closed, disputed });
            self.lives(slot, at);
            self.close(slot, Idle::Handover);
        }
        self.finish();
        left
    }

    /// Whether the call in `slot`, which has signalling, goes on at `at`.
    pub fn goes_on(&self, slot: u32, at: Stamp) -> Option<Goes> {
        let entry = self.call(slot).filter(|entry| entry.session.is_some())?;
        match (entry.is_over(), entry.is_disputed(at, self.last_media(slot, entry))) {
            (_, true) => Some(Goes::Disputed),
            (false, false) => Some(Goes::On),
            (true, false) => None,
        }
    }

    /// The call is known to live at this time.
    pub fn lives(&mut self, slot: u32, at: Stamp) {
        let Some(entry) = self.call_mut(slot) else { return };
        let own = entry.own(at);
        if let Some(session) = &mut entry.session {
            session.lives(own);
        }
    }

    fn close(&mut self, slot: u32, idle: Idle) {
        let Some(mut entry) = self.calls[slot as usize].take() else { return };
        let last_media = self.last_media(slot, &entry);
        for key in entry.streams.iter().flat_map(stream_keys) {
            if self.flows.get(&key).is_some_and(|flow| flow.belongs_to(slot)) {
                self.flows.remove(&key);
            }
        }
        self.map.release(slot, entry.endpoints(), entry.control());
        if let Some(call_id) = entry.session.as_ref().map(Session::call_id)
            && let Some(slots) = self.by_call_id.get_mut(call_id)
        {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_call_id.remove(call_id);
            }
        }
        if let Some(pair) = entry.orphan_pair() {
            self.orphans.remove(&pair);
            self.orphan_count -= 1;
        }
        self.waiting.remove(entry.ordinal);
        self.free.push(slot);
        self.live -= 1;
        let order = self.closed;
        self.closed += 1;
        let bye = entry.session.as_ref().and_then(Session::ending) == Some(Ending::Bye);
        let closed = Box::new(entry.closed(idle, last_media));
        if bye && closed.media_after.is_some() {
            self.conditions.note(Condition::ByeDisputed);
        }
        self.events.push_back(Event::Closed { slot, order, closed });
    }
}

/// Keys of the flows that a stream may have: one a network it was seen in.
fn stream_keys(stream: &StreamRef) -> impl Iterator<Item = FlowKey> {
    stream.nets().map(|net: Net| FlowKey::new(Path { net, ..stream.path }, stream.ssrc))
}

/// Whether a session description in this message is part of an offer or answer (RFC 3261 13.2.1,
/// RFC 3262, RFC 3311), and not a list of what a device could do.
fn negotiates(message: &Message<'_>) -> bool {
    let method = match message.start() {
        StartLine::Request { method, .. } => Some(*method),
        StartLine::Response { status: 101..=299, .. } => message.cseq().map(|(_, method)| method),
        StartLine::Response { .. } => None,
    };
    matches!(method, Some(Method::Invite | Method::Ack | Method::Prack | Method::Update))
}

/// How often calls are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
