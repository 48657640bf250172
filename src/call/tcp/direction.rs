//! One direction of one connection.
//!
//! ```text
//!   SYN, or a segment that begins a message
//! ──────────────────────────────────────────► Synced ◄────────────────────────────┐
//!        │ any other first segment              │ no start line where one must be │ a segment
//!        ▼                                      ▼ or a gap given up               │ begins a
//!      Lost ────────────────────────────────────────────────────────────────────── ┘ message
//! ```
//!
//! Synced: `bytes` begin with a message, and what follows a gap waits in `later`.
//! Lost: `bytes` are empty. Segments wait in `later` for one that begins a message before them in
//! the stream, or are discarded at once where this has been tried: that is all that is done for
//! connections of other protocols.
//!
//! SIP over WebSocket (RFC 7118) is found as any other: HTTP loses the direction, and the first frame
//! that begins a message finds it again. From then on, what is in frames is read out of them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::base::counters::Discard;
use crate::base::frame::OwnedFrame;
use crate::base::limits::{SIP_MESSAGE_BYTES_MAX, TCP_FLOW_BYTES_MAX};
use crate::base::net::Path;
use crate::base::time::Stamp;
use crate::call::tcp::{FrameRef, Outbox, TcpMessage};
use crate::wire::link::Tcp;
use crate::wire::sip::{Opening, find_start, head_end, message_length, opening};
use crate::wire::websocket::{self, WebFraming};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Synced,
    Lost { wait: bool },
}

/// A frame and when it came.
#[derive(Clone, Debug)]
struct Origin {
    at: Stamp,
    frame: Arc<OwnedFrame>,
}

/// A frame whose bytes are in `bytes`.
#[derive(Debug)]
struct Carried {
    range: Range<u64>,
    origin: Origin,
    listed: bool,
}

/// A segment that waits for those before it.
#[derive(Debug)]
struct Later {
    payload: Box<[u8]>,
    /// Bytes that the snap length cut off behind it.
    missing: u64,
    /// Where in the stream a message begins in it.
    start: Option<u64>,
    origin: Origin,
}

/// How the bytes at the head of the stream measure up.
enum Measure {
    More,
    Whole(usize),
    /// WebSocket's own: no message.
    Control(usize),
    NoStart,
    PastLimits,
}

/// One direction of one connection. Positions are bytes of the stream, counted from [`ORIGIN`].
#[derive(Debug)]
pub(super) struct Direction {
    path: Path,
    state: State,
    /// Whether messages are in WebSocket frames.
    web: bool,
    /// Sequence number of the connection's SYN, where it was seen.
    syn: Option<u32>,
    /// Whether bytes before `head` are known to be old: not where the first segment seen is no SYN.
    floor: bool,
    /// Position of `bytes[0]`, and its sequence number.
    head: u64,
    head_sequence: u32,
    bytes: Vec<u8>,
    /// How far `bytes` were looked through for the end of the headers.
    searched: usize,
    /// Length of the message at `bytes[0]`, once its headers are whole.
    want: Option<usize>,
    carried: VecDeque<Carried>,
    /// By position and order of arrival.
    later: BTreeMap<(u64, u64), Later>,
    later_bytes: usize,
    /// How many of them begin a message.
    starts: usize,
    arrivals: u64,
    frame_bytes: usize,
    gap_since: Option<Stamp>,
    /// The last gap that was skipped.
    hole: Range<u64>,
    fin: Option<u64>,
    messages: u64,
    last: Stamp,
    /// When [`Self::deadline`] was last put on the list of timers.
    pub(super) timer: Option<Stamp>,
}

impl Direction {
    /// Starts with the first segment seen, which must then be handed to [`Self::handle`].
    pub(super) fn new(at: Stamp, segment: &Tcp<'_>) -> Self {
        Self {
            path: Path { net: segment.net, src: segment.src, dst: segment.dst },
            state: State::Lost { wait: true },
            web: false,
            syn: None,
            floor: false,
            head: ORIGIN,
            head_sequence: segment.sequence,
            bytes: Vec::new(),
            searched: 0,
            want: None,
            carried: VecDeque::new(),
            later: BTreeMap::new(),
            later_bytes: 0,
            starts: 0,
            arrivals: 0,
            frame_bytes: 0,
            gap_since: None,
            hole: 0..0,
            fin: None,
            messages: 0,
            last: at,
            timer: None,
        }
    }

    /// When it was last heard of.
    pub(super) fn last(&self) -> Stamp {
        self.last
    }

    /// Bytes it holds, frames included.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.later_bytes + self.frame_bytes
    }

    /// When it stops waiting for what is missing.
    pub(super) fn deadline(&self) -> Option<Stamp> {
        let patience = if self.is_lost() || self.starts > 0 { GAP_WAIT } else { GAP_WAIT_MAX };
        self.gap_since.map(|since| since.after(patience))
    }

    /// Takes in a segment.
    pub(super) fn handle(
        &mut self,
        at: Stamp,
        segment: &Tcp<'_>,
        hold: impl FnOnce() -> OwnedFrame,
        out: &mut Outbox,
    ) {
        self.last = self.last.max(at);
        if segment.syn {
            self.open(segment.sequence, out);
        }
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        let position = self.position(sequence);
        if segment.fin && self.is_near(position) {
            self.fin = Some(position + segment.payload.len() as u64);
        }
        if segment.payload.is_empty() {
            out.books.discard(Discard::NotTelephony, 1);
        } else {
            self.payload(at, sequence, segment, hold, out);
        }
        self.settle(at, out);
        let ended = self.fin.take_if(|fin| *fin <= self.head + self.bytes.len() as u64).is_some();
        if segment.rst || ended {
            let state = if self.is_lost() { State::Lost { wait: false } } else { State::Synced };
            self.give_up(state, out);
        }
        self.check_invariants();
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(&mut self, now: Stamp, out: &mut Outbox) {
        self.settle(now, out);
        self.check_invariants();
    }

    /// Hands out or counts all that is held.
    pub(super) fn finish(&mut self, out: &mut Outbox) {
        self.give_up(State::Lost { wait: false }, out);
        assert_eq!(self.memory(), 0, "what was held has been handed out or counted");
    }

    fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Position after the last byte that has come in sequence.
    fn tail(&self) -> u64 {
        self.head + self.bytes.len() as u64
    }

    fn position(&self, sequence: u32) -> u64 {
        let ahead = sequence.wrapping_sub(self.head_sequence).cast_signed();
        self.head.wrapping_add_signed(i64::from(ahead))
    }

    fn is_near(&self, position: u64) -> bool {
        position.abs_diff(self.tail()) <= JUMP_MAX
    }

    /// A connection begins: another one where the number is another.
    fn open(&mut self, sequence: u32, out: &mut Outbox) {
        if self.syn != Some(sequence) {
            self.restart(sequence.wrapping_add(1), out);
            self.syn = Some(sequence);
        }
    }

    fn restart(&mut self, sequence: u32, out: &mut Outbox) {
        self.give_up(State::Synced, out);
        self.head = ORIGIN;
        self.head_sequence = sequence;
        self.syn = None;
        self.web = false;
        self.floor = true;
        self.hole = 0..0;
        self.fin = None;
        self.messages = 0;
    }

    fn payload(
        &mut self,
        at: Stamp,
        sequence: u32,
        segment: &Tcp<'_>,
        hold: impl FnOnce() -> OwnedFrame,
        out: &mut Outbox,
    ) {
        let payload = segment.payload;
        let mut position = self.position(sequence);
        if !self.is_near(position) {
            if !begins_message(payload) && !begins_web(payload) {
                out.books.discard(self.without_message(), 1);
                return;
            }
            // Another connection between the same ports, or more was lost than anyone sends again.
            self.restart(sequence, out);
            position = self.head;
        }
        let end = position + payload.len() as u64;
        if end <= self.tail() && (self.floor || !self.is_lost()) {
            let lost = self.hole.start < end && position < self.hole.end;
            out.books.discard(if lost { Discard::TcpGap } else { Discard::Duplicate }, 1);
            return;
        }
        let hopeless = self.state == (State::Lost { wait: false }) || (self.is_lost() && !is_text(payload));
        if hopeless && !begins_message(payload) && !begins_web(payload) {
            out.books.discard(self.without_message(), 1);
            return;
        }
        let frame = hold();
        let missing = if segment.cut { frame.meta.wire_len.saturating_sub(frame.meta.len) } else { 0 };
        let origin = Origin { at, frame: Arc::new(frame) };
        if position > self.tail() || self.is_lost() {
            self.put_by(position, payload, u64::from(missing), origin, out);
        } else {
            self.frame_bytes += frame_cost(&origin);
            self.append(position, payload, u64::from(missing), origin, out);
        }
    }

    /// Keeps a segment until those before it have come.
    fn put_by(&mut self, position: u64, payload: &[u8], missing: u64, origin: Origin, out: &mut Outbox) {
        let before = self.later.range(..=(position, u64::MAX)).next_back();
        let covered = before.is_some_and(|((start, _), later)| {
            start + later.payload.len() as u64 >= position + payload.len() as u64
        });
        if covered {
            out.books.discard(Discard::Duplicate, 1);
            return;
        }
        let inside =
            if begins_message(payload) || begins_web(payload) { Some(0) } else { find_start(payload) };
        let start = inside.map(|inside| position + inside as u64);
        self.starts += usize::from(start.is_some());
        self.later_bytes += payload.len();
        self.frame_bytes += frame_cost(&origin);
        self.gap_since.get_or_insert(origin.at);
        self.arrivals += 1;
        self.later
            .insert((position, self.arrivals), Later { payload: payload.into(), missing, start, origin });
    }

    /// Undoes the account that [`Self::put_by`] kept, but for the frame.
    fn take_back(&mut self, later: &Later) {
        self.starts -= usize::from(later.start.is_some());
        self.later_bytes -= later.payload.len();
    }

    /// Adds what is new of a segment that begins at or before the tail. Its frame is on account.
    fn append(&mut self, position: u64, payload: &[u8], missing: u64, origin: Origin, out: &mut Outbox) {
        let tail = self.tail();
        let new =
            usize::try_from(tail - position).ok().and_then(|known| payload.get(known..)).unwrap_or_default();
        if new.is_empty() {
            self.frame_bytes -= frame_cost(&origin);
            out.books.discard(Discard::Duplicate, 1);
            return;
        }
        self.bytes.extend_from_slice(new);
        self.carried.push_back(Carried { range: tail..self.tail(), origin, listed: false });
        self.read(out);
        if missing > 0 {
            // Nobody will send this again: say at once what there is.
            self.flush(out);
            self.move_head(self.head + missing);
        }
    }

    /// Moves on as far as segments, time and room allow.
    fn settle(&mut self, now: Stamp, out: &mut Outbox) {
        loop {
            self.join(now, out);
            let Some(since) = self.gap_since else { break };
            let waited = now.since(since);
            let over = self.cost() > TCP_FLOW_BYTES_MAX;
            let lost = self.is_lost();
            if self.starts > 0 && (lost || over || waited >= GAP_WAIT) {
                self.skip(now, out);
            } else if over
                || waited >= GAP_WAIT_MAX
                || (lost && (waited >= GAP_WAIT || self.cost() > LOST_BYTES_MAX))
            {
                self.give_up(State::Lost { wait: !lost }, out);
            } else {
                break;
            }
        }
        if self.cost() > TCP_FLOW_BYTES_MAX {
            self.give_up(State::Lost { wait: true }, out);
        }
    }

    /// Takes up the segments that are in sequence now.
    fn join(&mut self, now: Stamp, out: &mut Outbox) {
        while !self.is_lost() {
            let Some(entry) =
                self.later.first_entry().filter(|entry| entry.key().0 <= self.head + self.bytes.len() as u64)
            else {
                break;
            };
            let ((position, _), later) = entry.remove_entry();
            self.take_back(&later);
            self.append(position, &later.payload, later.missing, later.origin, out);
            self.gap_since = Some(now);
        }
        if self.later.is_empty() {
            self.gap_since = None;
        }
    }

    /// Leaves what is missing behind and goes on where a message begins.
    fn skip(&mut self, now: Stamp, out: &mut Outbox) {
        let begins = |later: &Later| later.start.map(|start| (start, begins_web(&later.payload)));
        let Some((start, web)) = self.later.values().find_map(begins) else { return };
        self.flush(out);
        let reason = self.without_message();
        let mut keep = self.later.split_off(&(start, 0));
        for (key, later) in std::mem::take(&mut self.later) {
            if key.0 + later.payload.len() as u64 > start {
                keep.insert(key, later);
            } else {
                self.take_back(&later);
                self.frame_bytes -= frame_cost(&later.origin);
                out.books.discard(reason, 1);
            }
        }
        self.later = keep;
        self.move_head(start);
        self.web = web;
        self.state = State::Synced;
        self.gap_since = Some(now);
    }

    /// Hands out or counts all that is held, and goes on in `state`.
    fn give_up(&mut self, state: State, out: &mut Outbox) {
        self.flush(out);
        let reason = self.without_message();
        for (_, later) in std::mem::take(&mut self.later) {
            self.take_back(&later);
            self.frame_bytes -= frame_cost(&later.origin);
            out.books.discard(reason, 1);
        }
        self.gap_since = None;
        self.state = state;
    }

    /// Moves an empty head to another position.
    fn move_head(&mut self, position: u64) {
        assert!(self.bytes.is_empty(), "what is held has been flushed");
        if self.floor && position > self.head {
            self.hole = self.head..position;
        }
        let step = position.wrapping_sub(self.head);
        self.head_sequence = self.head_sequence.wrapping_add(step as u32);
        self.head = position;
        self.floor = true;
    }

    /// Hands out the messages that are whole, and finds the next start line after anything else.
    fn read(&mut self, out: &mut Outbox) {
        let mut at = 0;
        loop {
            let blank = self.bytes[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 && self.want.is_none() && self.searched == 0 {
                at += blank;
                self.release(at, Discard::NotTelephony, out);
            }
            if at == self.bytes.len() {
                break;
            }
            match self.measure(at) {
                Measure::More => break,
                Measure::Whole(length) => {
                    self.emit(at, length, false, out);
                    at += length;
                    self.release(at, Discard::TcpGap, out);
                }
                Measure::Control(length) => {
                    at += length;
                    self.release(at, Discard::NotTelephony, out);
                }
                Measure::NoStart => {
                    match find_start(&self.bytes[at..]).filter(|ahead| *ahead > 0 && !self.web) {
                        Some(ahead) => {
                            at += ahead;
                            self.release(at, self.without_message(), out);
                        }
                        None => {
                            at = self.bytes.len();
                            self.release(at, self.without_message(), out);
                            self.state = State::Lost { wait: self.messages > 0 };
                        }
                    }
                }
                // Looking for a message inside would look at the same bytes again and again.
                Measure::PastLimits => {
                    at = self.bytes.len();
                    self.release(at, Discard::SipUnparsable, out);
                    self.state = State::Lost { wait: true };
                }
            }
            self.want = None;
            self.searched = 0;
        }
        self.drop_front(at);
    }

    fn measure(&mut self, at: usize) -> Measure {
        let bytes = &self.bytes[at..];
        if self.web {
            return match websocket::measure(bytes) {
                WebFraming::Incomplete => Measure::More,
                WebFraming::Message(length) => Measure::Whole(length),
                WebFraming::Control(length) => Measure::Control(length),
                WebFraming::Other => Measure::NoStart,
            };
        }
        if self.want.is_none() {
            match if self.searched == 0 { opening(bytes) } else { Opening::Start } {
                Opening::Other => return Measure::NoStart,
                Opening::Unclear => return Measure::More,
                Opening::Start => {}
            }
            let Some(head) = head_end(bytes, self.searched) else {
                self.searched = bytes.len();
                return if bytes.len() > SIP_MESSAGE_BYTES_MAX { Measure::PastLimits } else { Measure::More };
            };
            self.want = message_length(&bytes[..head]);
        }
        match self.want {
            None => Measure::PastLimits,
            Some(length) if length <= bytes.len() => Measure::Whole(length),
            Some(_) => Measure::More,
        }
    }

    /// Gives up what has come in sequence: a message whose headers are whole is still worth having.
    fn flush(&mut self, out: &mut Outbox) {
        let length = self.bytes.len();
        if self.want.is_some() {
            self.emit(0, length, true, out);
        }
        let begun = self.messages > 0 || opening(&self.bytes) == Opening::Start;
        self.release(length, if begun { Discard::TcpGap } else { Discard::NotTelephony }, out);
        self.drop_front(length);
        self.want = None;
        self.searched = 0;
    }

    fn emit(&mut self, at: usize, length: usize, cut: bool, out: &mut Outbox) {
        let range = self.head + at as u64..self.head + (at + length) as u64;
        let mut when = Stamp::ZERO;
        let mut frames = Vec::new();
        for carried in &mut self.carried {
            if carried.range.start >= range.end {
                break;
            }
            if carried.range.end > range.start {
                when = when.max(carried.origin.at);
                let first = !std::mem::replace(&mut carried.listed, true);
                frames.push(FrameRef { frame: carried.origin.frame.clone(), first });
            }
        }
        self.messages += 1;
        let bytes = &self.bytes[at..at + length];
        let bytes = if self.web { websocket::payload(bytes) } else { bytes.to_vec() };
        out.messages.push_back(TcpMessage { at: when, path: self.path, web: self.web, bytes, frames, cut });
    }

    /// Lets go of frames that lie before `at`; those that no message listed are counted.
    fn release(&mut self, at: usize, reason: Discard, out: &mut Outbox) {
        let end = self.head + at as u64;
        while self.carried.front().is_some_and(|carried| carried.range.end <= end) {
            let Some(carried) = self.carried.pop_front() else { break };
            self.frame_bytes -= frame_cost(&carried.origin);
            if !carried.listed {
                out.books.discard(reason, 1);
            }
        }
    }

    fn drop_front(&mut self, length: usize) {
        self.bytes.drain(..length);
        self.head += length as u64;
        self.head_sequence = self.head_sequence.wrapping_add(length as u32);
    }

    /// Why a frame that is not part of a message is in none.
    fn without_message(&self) -> Discard {
        if self.messages > 0 { Discard::TcpGap } else { Discard::NotTelephony }
    }

    /// What counts against the ceiling of one direction.
    fn cost(&self) -> usize {
        self.bytes.len() + self.later_bytes + (self.carried.len() + self.later.len()) * SEGMENT_COST
    }

    fn check_invariants(&self) {
        debug_assert!(!self.is_lost() || (self.bytes.is_empty() && self.carried.is_empty()));
        debug_assert_eq!(self.later.is_empty(), self.gap_since.is_none());
        debug_assert!(self.cost() <= TCP_FLOW_BYTES_MAX);
        debug_assert_eq!(self.carried.back().map_or(self.head, |last| last.range.end), self.tail());
        debug_assert_eq!(self.starts, self.later.values().filter(|later| later.start.is_some()).count());
    }
}

/// Whether a segment begins with a start line. Where the line is not whole, its first words must be
/// those of SIP.
fn begins_message(payload: &[u8]) -> bool {
    match opening(payload) {
        Opening::Start => true,
        Opening::Other => false,
        Opening::Unclear => {
            let rest =
                payload.iter().position(|byte| *byte == b' ').map_or(&payload[..0], |at| &payload[at + 1..]);
            payload.starts_with(b"SIP/2.0 ") || rest.starts_with(b"sip:") || rest.starts_with(b"sips:")
        }
    }
}

/// Whether a segment begins with a WebSocket frame with a message in it.
fn begins_web(payload: &[u8]) -> bool {
    websocket::begins_message(payload) && begins_message(&websocket::payload(payload))
}

/// Whether the first bytes could be of a text protocol. Ciphertext seldom looks so.
fn is_text(payload: &[u8]) -> bool {
    payload.iter().take(32).all(|byte| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\r' | b'\n'))
}

fn frame_cost(origin: &Origin) -> usize {
    origin.frame.bytes.len() + size_of::<Later>()
}

/// Position of the first byte; far from 0, because segments before it may come after it.
const ORIGIN: u64 = 1 << 40;
/// A segment further away belongs to another connection.
const JUMP_MAX: u64 = 4 << 20;
/// How long a gap is waited for where a message begins behind it: TCP would have sent it again.
const GAP_WAIT: Duration = Duration::from_secs(1);
/// How long a gap is waited for where all behind it would be lost with it.
const GAP_WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes kept while it is not known where a message begins.
const LOST_BYTES_MAX: usize = 64 * 1024;
/// What one segment costs besides its bytes.
const SEGMENT_COST: usize = 32;
