//! Media to streams of calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::counters::Discard;
use crate::base::endpoint::Endpoint;
use crate::base::net::Path;
use crate::base::party::Party;
use crate::base::policy::Condition;
use crate::call::entry::{Entry, StreamRef};
use crate::call::flow::{FlowKey, FlowState, Held};
use crate::call::media_map::{Belongs, Kind, Owner, Security, Standing};
use crate::call::table::event::{Event, MediaPacket, Opening, SHADOW_RANK, StreamOpened, Transport, Verdict};
use crate::call::table::{Table, stream_keys};

impl Table {
    /// Takes in an RTP packet. `hold` copies it where it must wait.
    pub fn media(&mut self, packet: &MediaPacket, hold: impl FnOnce() -> Held) -> Verdict {
        let key = FlowKey::new(packet.path, packet.ssrc);
        let epoch = self.map.epoch();
        let (mut continues, full) = (false, self.flows.is_full());
        match self.flows.get_mut(&key) {
            Some(flow) => {
                continues = flow.continues(packet);
                flow.last = flow.last.max(packet.at);
                flow.sequence = packet.sequence;
                match flow.state {
                    FlowState::Owned { slot, stream } => return Verdict::Stream { slot, stream },
                    FlowState::Refused(reason) if flow.epoch == epoch => return Verdict::Discard(reason),
                    FlowState::Refused(_) | FlowState::Contested { .. } | FlowState::Pending(_) => {}
                }
            }
            None if !full => {}
            None => {
                self.conditions.note(Condition::FlowTableFull);
                if !self.flows.make_room() {
                    return Verdict::Discard(Discard::MediaUnclaimed);
                }
            }
        }
        self.decide(key, packet, continues, hold)
    }

    /// The slow path: a flow that is new, waiting, refused before the claims changed, or contested.
    fn decide(
        &mut self,
        key: FlowKey,
        packet: &MediaPacket,
        continues: bool,
        hold: impl FnOnce() -> Held,
    ) -> Verdict {
        let incumbent = match self.flows.get(&key).map(|flow| &flow.state) {
            Some(FlowState::Contested { slot, stream }) => Some((*slot, *stream)),
            _ => None,
        };
        let belongs = match self.belongs(packet.path, |entry, _| !entry.is_over()) {
            // Of a call that is said to be over and whose media goes on all the same.
            Belongs::Nobody => self.belongs(packet.path, |entry, slot| {
                entry.is_disputed(packet.at, self.last_media(slot, entry))
            }),
            belongs => belongs,
        };
        let new = self.flows.get(&key).is_none();
        if new && matches!(belongs, Belongs::Unclear) {
            self.conditions.note(Condition::NetworkAmbiguous);
        }
        match (belongs.owner(), incumbent) {
            (owner, Some((slot, stream))) => self.settle(key, packet, (slot, stream), owner, continues),
            (Some(owner), None) => self.admit(key, packet, &owner, hold),
            (None, None) => self.wait_unclaimed(key, packet, hold),
        }
    }

    /// The call that claims the addresses of `path`, among those that are `open` to new flows.
    fn belongs(&self, path: Path, open: impl Fn(&Entry, u32) -> bool) -> Belongs {
        let standing = |slot: u32| {
            self.call(slot).map_or(Standing { near: false, open: false }, |entry| Standing {
                near: entry.is_of(path.net),
                open: open(entry, slot),
            })
        };
        let akin = |one: u32, other: u32| {
            self.call(one).zip(self.call(other)).is_some_and(|(one, other)| one.is_akin(other))
        };
        self.map.owner(path.src, path.dst, standing, akin)
    }

    /// A flow of one call on an address that another call has claimed since.
    fn settle(
        &mut self,
        key: FlowKey,
        packet: &MediaPacket,
        (slot, stream): (u32, u16),
        owner: Option<Owner>,
        continues: bool,
    ) -> Verdict {
        let living = self.call(slot).is_some_and(|entry| !entry.is_over());
        // What goes on is the first call's, over or not; only what begins anew may be another's.
        let rival =
            owner.filter(|owner| owner.slot != slot && !owner.crossed && !continues).filter(|owner| {
                // While the first call lives, the second must have been answered at both ends.
                let rival = self.call(owner.slot);
                !living || (owner.source_known && rival.is_some_and(|entry| entry.answered().is_some()))
            });
        match rival {
            Some(owner) => self.adopt(key, packet, &owner, owner.rank, VecDeque::new()),
            None => {
                let entry = self.call_mut(slot);
                if let Some(known) = entry.and_then(|entry| entry.streams.get_mut(stream as usize)) {
                    known.last = known.last.max(packet.at);
                }
                Verdict::Stream { slot, stream }
            }
        }
    }

    /// A claimed flow: taken at once where its source was negotiated, else after it proved itself.
    fn admit(
        &mut self,
        key: FlowKey,
        packet: &MediaPacket,
        owner: &Owner,
        hold: impl FnOnce() -> Held,
    ) -> Verdict {
        let Some(entry) = self.call(owner.slot) else {
            return Verdict::Discard(Discard::MediaUnclaimed);
        };
        if owner.source_known && !owner.crossed {
            let held = self.flows.take_pending(&key);
            if !held.is_empty() {
                self.conditions.note(Condition::MediaBeforeSdp);
            }
            return self.adopt(key, packet, owner, owner.rank, held);
        }
        let rivals = || entry.streams.iter().filter(|stream| stream.party == owner.voice);
        let same_voice = rivals().any(|stream| stream.ssrc == key.ssrc());
        let path = key.path();
        // The call has this voice from its own network: another network's is another's.
        let own_network = owner.crossed && rivals().any(|stream| !stream.crossed);
        let incumbent = rivals()
            .filter(|stream| stream.path.dst == path.dst && stream.path.src != path.src)
            .flat_map(stream_keys)
            .filter_map(|key| self.flows.get(&key))
            .any(|flow| packet.at.since(flow.last) < LATCH_SILENCE);
        let window_open = packet.at.since(owner.at) < LATCH_WINDOW;
        let latch = owner.source_known || !incumbent || same_voice || window_open;
        if own_network || !latch {
            return self.refuse(key, packet, Discard::ForeignSource);
        }
        let (run, kept) = self.flows.hold(key, packet, self.map.epoch(), hold);
        if run < if owner.crossed { CROSSED_PROBATION } else { PROBATION } {
            return waiting(kept);
        }
        let held = self.flows.take_earlier(&key, kept);
        let rank = if same_voice && !owner.source_known { SHADOW_RANK } else { owner.rank };
        if owner.crossed {
            self.conditions.note(Condition::NetworkCrossed);
        }
        self.adopt(key, packet, owner, rank, held)
    }

    fn adopt(
        &mut self,
        key: FlowKey,
        packet: &MediaPacket,
        owner: &Owner,
        rank: u8,
        held: VecDeque<Held>,
    ) -> Verdict {
        let (path, slot, epoch) = (key.path(), owner.slot, self.map.epoch());
        let Some(entry) = self.calls[slot as usize].as_deref_mut() else {
            self.flows.discard_all(held, Discard::MediaUnclaimed);
            return Verdict::Discard(Discard::MediaUnclaimed);
        };
        let stream = match entry.same_stream(path, key.ssrc()) {
            // The same packets once more, from another VLAN of the mirror: copies are told by number.
            Some((stream, known)) => {
                known.also.push(path.net);
                Some(stream)
            }
            None => {
                let changed = |known: &StreamRef| {
                    known.party == owner.voice && (known.path, known.crossed) == (path, owner.crossed)
                };
                if entry.streams.iter().any(changed) {
                    self.conditions.note(Condition::SsrcChanged);
                }
                let (ssrc, crossed) = (key.ssrc(), owner.crossed);
                let known =
                    StreamRef { path, also: Vec::new(), crossed, ssrc, party: owner.voice, last: packet.at };
                let stream = entry.add_stream(known);
                if let Some(stream) = stream {
                    let security = entry.keyed_in_media.unwrap_or(owner.security);
                    let facts = Box::new(facts(path, ssrc, owner, rank, security));
                    self.events.push_back(Event::Stream { slot, stream, facts });
                }
                stream
            }
        };
        let ordinal = entry.ordinal;
        let Some(stream) = stream else {
            self.flows.discard_all(held, Discard::ForeignSource);
            return self.refuse(key, packet, Discard::ForeignSource);
        };
        if !owner.crossed {
            self.expel_crossed(slot, owner.voice);
        }
        self.waiting.remove(ordinal);
        self.flows.own(key, packet, epoch, slot, stream);
        self.flows.returned(&held);
        if held.is_empty() {
            Verdict::Stream { slot, stream }
        } else {
            Verdict::Claimed { slot, stream, held: held.into() }
        }
    }

    /// A voice has come from the call's own network: what was taken for it from another is another's.
    fn expel_crossed(&mut self, slot: u32, voice: Party) {
        let Some(entry) = self.calls[slot as usize].as_deref() else { return };
        for stream in entry.streams.iter().filter(|stream| stream.crossed && stream.party == voice) {
            for key in stream_keys(stream) {
                if self.flows.get(&key).is_some_and(|flow| flow.belongs_to(slot)) {
                    self.flows.expel(key, self.map.epoch());
                }
            }
        }
    }

    fn wait_unclaimed(&mut self, key: FlowKey, packet: &MediaPacket, hold: impl FnOnce() -> Held) -> Verdict {
        let (run, kept) = self.flows.hold(key, packet, self.map.epoch(), hold);
        if self.config.orphans && run >= ORPHAN_PROBATION {
            let held = self.flows.take_earlier(&key, kept);
            return self.adopt_orphan(key, packet, held);
        }
        waiting(kept)
    }

    fn adopt_orphan(&mut self, key: FlowKey, packet: &MediaPacket, held: VecDeque<Held>) -> Verdict {
        let pair = pair(key.path());
        let slot = match self.orphans.get(&pair) {
            Some(slot) => *slot,
            None => {
                let first = held.front().and_then(Held::at).unwrap_or(packet.at);
                if let Err(reason) = self.make_room(None) {
                    self.flows.discard_all(held, reason);
                    return self.refuse(key, packet, reason);
                }
                let opening = Opening::new(key.path(), Transport::Udp, &[]);
                self.open(first, Entry::orphan(self.opened, first, pair), opening)
            }
        };
        self.orphans.insert(pair, slot);
        let owner = Owner {
            slot,
            voice: Party::Unknown,
            rank: 0,
            kind: Kind::Audio,
            source_known: false,
            formats: Arc::default(),
            security: Security::None,
            at: packet.at,
            crossed: false,
        };
        self.adopt(key, packet, &owner, 0, held)
    }

    fn refuse(&mut self, key: FlowKey, packet: &MediaPacket, reason: Discard) -> Verdict {
        if reason == Discard::ForeignSource {
            self.conditions.note(Condition::ForeignSource);
        }
        self.flows.refuse(key, packet, self.map.epoch(), reason);
        Verdict::Discard(reason)
    }

    /// Marks flows of `rivals` on `endpoints`: `claimer` has claimed these. Not those of a network that
    /// is the rival's and not the claimer's.
    pub(super) fn contest(&mut self, claimer: &Entry, rivals: &[u32], endpoints: &[Endpoint]) {
        for rival in rivals {
            let Some(entry) = self.calls[*rival as usize].as_deref_mut() else { continue };
            let mut streams = std::mem::take(&mut entry.streams);
            for known in &mut streams {
                if !endpoints.contains(&known.path.src) && !endpoints.contains(&known.path.dst) {
                    continue;
                }
                for key in stream_keys(&known.clone()) {
                    let net = key.path().net;
                    if entry.is_of(net) && !claimer.is_of(net) {
                        continue;
                    }
                    if let Some(flow) = self.flows.get_mut(&key)
                        && let FlowState::Owned { slot, stream } = flow.state
                        && slot == *rival
                    {
                        known.last = known.last.max(flow.last);
                        flow.state = FlowState::Contested { slot, stream };
                    }
                }
            }
            entry.streams = streams;
        }
    }

    /// A later description may name payload types of streams that already run, or protect them.
    pub(super) fn refresh_streams(&mut self, slot: u32) {
        let Some(entry) = self.calls[slot as usize].as_deref() else { return };
        let own = |other: u32| Standing { near: true, open: other == slot };
        for (number, stream) in (0..).zip(&entry.streams) {
            let path = stream.path;
            let Some(owner) = self.map.owner(path.src, path.dst, own, |_, _| true).owner() else { continue };
            let security = entry.keyed_in_media.unwrap_or(owner.security);
            let owner = Owner { voice: stream.party, ..owner };
            let facts = Box::new(facts(path, stream.ssrc, &owner, owner.rank, security));
            self.events.push_back(Event::Stream { slot, stream: number, facts });
        }
    }

    /// Returns the call that RTCP, STUN, DTLS or ZRTP between two addresses belongs to.
    pub fn control(&self, path: Path) -> Option<u32> {
        let near = |slot: u32| self.call(slot).is_some_and(|entry| entry.is_of(path.net));
        self.map.control_owner(path.src, path.dst, near).or_else(|| {
            let even = |at: Endpoint| Endpoint::new(at.ip, at.port & !1);
            let even = Path { src: even(path.src), dst: even(path.dst), ..path };
            self.orphans.get(&pair(even)).copied()
        })
    }

    /// Notes that the media of the call between two addresses is protected by keys agreed in the
    /// media path, where the call can have agreed to that.
    pub fn keyed_in_media(&mut self, path: Path, security: Security) {
        let Some(slot) = self.control(path) else { return };
        if let Some(entry) = self.call_mut(slot)
            && entry.may_be_keyed(path.src, path.dst, security)
            && entry.keyed_in_media.replace(security) != Some(security)
        {
            self.refresh_streams(slot);
        }
    }
}

fn facts(path: Path, ssrc: u32, owner: &Owner, rank: u8, security: Security) -> StreamOpened {
    StreamOpened {
        src: path.src,
        dst: path.dst,
        ssrc,
        party: owner.voice,
        rank,
        kind: owner.kind,
        formats: owner.formats.clone(),
        security,
    }
}

/// Both directions the same: the lower address first.
fn pair(path: Path) -> Path {
    Path { src: path.src.min(path.dst), dst: path.src.max(path.dst), ..path }
}

/// The verdict on a packet that is to wait, if there was room for it.
fn waiting(kept: bool) -> Verdict {
    if kept { Verdict::Held } else { Verdict::Discard(Discard::MediaUnclaimed) }
}

/// Packets in sequence before an unnegotiated source is believed (RFC 3550 A.1).
const PROBATION: u32 = 2;
/// Packets in sequence before media of another network is believed: a third of a second, in which
/// media of the call's own network begins where there is any.
const CROSSED_PROBATION: u32 = 16;
/// Packets in sequence before media without signalling is believed to be media.
const ORPHAN_PROBATION: u32 = 8;
/// After an offer or answer, a new source may take over for so long.
const LATCH_WINDOW: Duration = Duration::from_secs(5);
/// A source silent for so long may be replaced.
const LATCH_SILENCE: Duration = Duration::from_secs(3);
