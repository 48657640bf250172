//! IP datagrams put together from fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! ```text
//!            first fragment             last hole filled
//! (nothing) ────────────────► Waiting ───────────────────► Whole, and (nothing)
//!     ▲                        │    │
//!     │ FRAGMENT_TIMEOUT,      │    │ different bytes in the same place, or two ends
//!     │ or room is needed      │    ▼
//!     └────────────────────────┴─ Refused: what comes is discarded at once
//! ```
//!
//! - Fragments come in any order. The same bytes in the same place are tolerated: captures that see a
//!   packet twice have them interleaved. Such second copies are kept apart, and when the first copy is
//!   whole they begin the next datagram of the same key, so that each copy becomes whole on its own.
//! - Different bytes in the same place mean that somebody wants two receivers to read two things: all
//!   of the datagram is refused (RFC 5722). Where what it disagrees with is older than
//!   `STALE`, the identification has been used again, and it is the old datagram that goes.
//! - Parts are kept as they came, not in a buffer as long as their offsets say, so that memory is
//!   what was really received. A ceiling on datagrams and one on bytes; the oldest gives way.
//!
//! Invariant: every frame handed over is in exactly one place: held, in a [`Whole`], or in the books.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::counters::{Counters, Discard};
use crate::base::frame::OwnedFrame;
use crate::base::limits::{FRAGMENT_BYTES_MAX, FRAGMENT_DATAGRAMS_MAX, FRAGMENT_TIMEOUT};
use crate::base::time::Stamp;
use crate::wire::link::{Fragment, FragmentKey};

/// A datagram put together.
#[derive(Debug)]
pub struct Whole {
    /// Whose, and of which protocol.
    pub key: FragmentKey,
    /// Payload of the IP datagram; where `cut`, only as far as it was captured without a hole.
    pub payload: Vec<u8>,
    /// Whether the snap length cut one of the fragments.
    pub cut: bool,
    /// The frames it came in, in order of arrival.
    pub frames: Vec<OwnedFrame>,
}

/// Datagrams that wait for their missing fragments.
#[derive(Debug)]
pub struct Reassembler {
    datagrams: BTreeMap<FragmentKey, Datagram>,
    /// The same, oldest first. The number tells those of one moment apart.
    ages: BTreeMap<Age, FragmentKey>,
    /// Last number given out in `ages`.
    last_number: u64,
    bytes: usize,
    limits: Limits,
    books: Counters,
}

impl Default for Reassembler {
    fn default() -> Self {
        Self::with_limits(Limits { datagrams: FRAGMENT_DATAGRAMS_MAX, bytes: FRAGMENT_BYTES_MAX })
    }
}

impl Reassembler {
    fn with_limits(limits: Limits) -> Self {
        Self {
            datagrams: BTreeMap::new(),
            ages: BTreeMap::new(),
            last_number: 0,
            bytes: 0,
            limits,
            books: Counters::default(),
        }
    }

    /// Takes a fragment and the frame it came in. Returns the datagram that it completes.
    #[must_use]
    pub fn handle(&mut self, at: Stamp, fragment: &Fragment<'_>, frame: OwnedFrame) -> Option<Whole> {
        let Some(range) = Range::of(fragment) else {
            self.books.discard(Discard::Fragment, 1);
            return None;
        };
        let key = fragment.key;
        let part = Part { range, last: !fragment.more, payload: fragment.payload.into(), frame };
        let verdict = self.datagrams.get(&key).map(|datagram| datagram.judge(at, &part));
        match verdict {
            None => self.begin(at, key),
            Some(Verdict::Fits) => {}
            Some(Verdict::Refuse) => {
                self.refuse(at, &key);
                self.books.discard(Discard::Fragment, 1);
                return None;
            }
            Some(Verdict::Restart) => {
                self.forget(&key);
                self.begin(at, key);
            }
        }
        self.add(at, key, part)
    }

    /// Gives up datagrams that have waited too long.
    pub fn handle_timeout(&mut self, now: Stamp) {
        while let Some((age, &key)) = self.ages.first_key_value()
            && age.began.after(FRAGMENT_TIMEOUT) <= now
        {
            self.forget(&key);
        }
    }

    /// Returns when [`Self::handle_timeout`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Stamp> {
        self.ages.first_key_value().map(|(age, _)| age.began.after(FRAGMENT_TIMEOUT))
    }

    /// Gives up all that wait: nothing more will come.
    pub fn finish(&mut self) {
        while let Some((_, &key)) = self.ages.first_key_value() {
            self.forget(&key);
        }
    }

    /// Hands over the frames that were given up since the last call, by reason.
    #[must_use]
    pub fn take_books(&mut self) -> Counters {
        std::mem::take(&mut self.books)
    }

    /// Frames held now.
    #[must_use]
    pub fn held_frames(&self) -> u64 {
        self.datagrams.values().map(Datagram::frame_count).sum()
    }

    /// Asserts what the module promises.
    pub fn check_invariants(&self) {
        assert_eq!(
            self.datagrams.len(),
            self.ages.len(),
            "a datagram without an age, or the other way round"
        );
        let bytes: usize = self.datagrams.values().map(Datagram::cost).sum();
        assert_eq!(bytes, self.bytes, "bytes held and bytes counted disagree");
        assert!(self.datagrams.len() <= self.limits.datagrams && self.bytes <= self.limits.bytes);
        for (age, key) in &self.ages {
            let datagram = self.datagrams.get(key).expect("checked: as many ages as datagrams");
            assert_eq!(datagram.age, *age);
            datagram.check_invariants();
        }
    }

    fn begin(&mut self, at: Stamp, key: FragmentKey) {
        if self.datagrams.len() >= self.limits.datagrams {
            self.forget_oldest();
        }
        let age = self.next_age(at);
        self.ages.insert(age, key);
        self.datagrams.insert(key, Datagram::new(age));
    }

    fn next_age(&mut self, began: Stamp) -> Age {
        self.last_number += 1;
        Age { began, number: self.last_number }
    }

    /// Adds a part that has been judged to fit.
    fn add(&mut self, at: Stamp, key: FragmentKey, part: Part) -> Option<Whole> {
        let cost = part.cost();
        while self.bytes + cost > self.limits.bytes && self.forget_oldest() {}
        if self.bytes + cost > self.limits.bytes {
            // Larger than all the room there is.
            self.books.discard(Discard::Fragment, 1);
            return None;
        }
        if !self.datagrams.contains_key(&key) {
            // It was the oldest itself.
            self.begin(at, key);
        }
        let datagram = self.datagrams.get_mut(&key)?;
        datagram.add(at, part);
        self.bytes += cost;
        if !datagram.is_whole() {
            return None;
        }
        let (whole, copies) = self.remove(&key)?.into_whole(key);
        self.begin_again(at, key, copies);
        Some(whole)
    }

    /// Begins the next datagram of a key with the copies that the last one did not need.
    fn begin_again(&mut self, at: Stamp, key: FragmentKey, copies: Vec<Part>) {
        if copies.is_empty() {
            return;
        }
        let age = self.next_age(at);
        let mut datagram = Datagram::new(age);
        for copy in copies {
            datagram.add(at, copy);
        }
        if datagram.is_whole() {
            // Only where one fragment lay within another, which no sender does twice in good faith.
            self.books.discard(Discard::Fragment, datagram.frame_count());
            return;
        }
        self.bytes += datagram.cost();
        self.ages.insert(age, key);
        self.datagrams.insert(key, datagram);
    }

    /// Gives up a datagram's frames, and keeps in mind that those to come are to be discarded too.
    fn refuse(&mut self, at: Stamp, key: &FragmentKey) {
        if let Some(datagram) = self.datagrams.get_mut(key) {
            self.bytes -= datagram.cost();
            let frames = datagram.frame_count();
            if frames > 0 {
                self.books.discard(Discard::Fragment, frames);
                datagram.last_at = at;
            }
            datagram.parts.clear();
            datagram.copies.clear();
            datagram.refused = true;
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.ages.first_key_value().map(|(_, key)| *key);
        oldest.is_some_and(|key| {
            self.forget(&key);
            true
        })
    }

    fn forget(&mut self, key: &FragmentKey) {
        let frames = self.remove(key).map_or(0, |datagram| datagram.frame_count());
        if frames > 0 {
            self.books.discard(Discard::Fragment, frames);
        }
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.ages.remove(&datagram.age);
        self.bytes -= datagram.cost();
        Some(datagram)
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    datagrams: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Age {
    began: Stamp,
    number: u64,
}

/// Where a part lies in the payload, as it was on the wire.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    end: u32,
}

impl Range {
    /// None where no datagram has such a part: it is empty, ends beyond the longest payload, or
    /// leaves its successor at an offset that cannot be written (RFC 8200 section 4.5).
    fn of(fragment: &Fragment<'_>) -> Option<Self> {
        let start = fragment.offset_bytes;
        let end = start.checked_add(fragment.wire_bytes)?;
        let aligned = !fragment.more || fragment.wire_bytes.is_multiple_of(8);
        (start < end && end <= PAYLOAD_BYTES_MAX && aligned).then_some(Self { start, end })
    }
}

/// A fragment kept.
#[derive(Debug)]
struct Part {
    range: Range,
    last: bool,
    /// Shorter than the range where the snap length cut it.
    payload: Box<[u8]>,
    frame: OwnedFrame,
}

impl Part {
    fn cost(&self) -> usize {
        self.payload.len() + self.frame.bytes.len() + PART_OVERHEAD_BYTES
    }

    /// The captured bytes from `start` to `end`, of those that lie in this part.
    fn slice(&self, start: u32, end: u32) -> &[u8] {
        let at = |position: u32| (position.saturating_sub(self.range.start) as usize).min(self.payload.len());
        &self.payload[at(start)..at(end).max(at(start))]
    }

    /// Whether the bytes that both have, and both captured, are the same.
    fn agrees(&self, other: &Self) -> bool {
        let (start, end) = (self.range.start.max(other.range.start), self.range.end.min(other.range.end));
        let (ours, theirs) = (self.slice(start, end), other.slice(start, end));
        let both = ours.len().min(theirs.len());
        ours[..both] == theirs[..both]
    }
}

/// What to do with a fragment of a datagram that is known.
enum Verdict {
    Fits,
    Refuse,
    Restart,
}

#[derive(Debug)]
struct Datagram {
    age: Age,
    last_at: Stamp,
    /// By where they begin. Parts may overlap, where they say the same; none lies within another.
    parts: BTreeMap<u32, Part>,
    /// Parts that added nothing.
    copies: Vec<Part>,
    /// Up to where there is no hole.
    reached: u32,
    /// Where it ends, once the last fragment has come.
    end: Option<u32>,
    refused: bool,
}

impl Datagram {
    fn new(age: Age) -> Self {
        Self {
            age,
            last_at: age.began,
            parts: BTreeMap::new(),
            copies: Vec::new(),
            reached: 0,
            end: None,
            refused: false,
        }
    }

    fn judge(&self, at: Stamp, part: &Part) -> Verdict {
        let stale = at.since(self.last_at) > STALE;
        let expired = at.since(self.age.began) >= FRAGMENT_TIMEOUT;
        match (self.refused || !self.accepts(part), stale) {
            _ if expired => Verdict::Restart,
            (false, _) => Verdict::Fits,
            (true, true) => Verdict::Restart,
            (true, false) => Verdict::Refuse,
        }
    }

    fn accepts(&self, part: &Part) -> bool {
        let furthest = self.parts.last_key_value().map_or(0, |(_, part)| part.range.end);
        let end_fits = match self.end {
            Some(end) if part.last => part.range.end == end,
            Some(end) => part.range.end <= end,
            None => !part.last || furthest <= part.range.end,
        };
        end_fits && self.overlapping(part.range).all(|known| known.agrees(part))
    }

    /// Parts that share a byte with `range`, last first. None lies within another, so where a part
    /// ends before `range`, those that begin earlier do too.
    fn overlapping(&self, range: Range) -> impl Iterator<Item = &Part> {
        self.parts
            .range(..range.end)
            .rev()
            .map(|(_, part)| part)
            .take_while(move |part| part.range.end > range.start)
    }

    /// Adds a part that is accepted.
    fn add(&mut self, at: Stamp, part: Part) {
        self.last_at = self.last_at.max(at);
        if part.last {
            self.end = Some(part.range.end);
        }
        let range = part.range;
        let within = self
            .overlapping(range)
            .any(|known| known.range.start <= range.start && known.range.end >= range.end);
        if within {
            self.copies.push(part);
            return;
        }
        // Smaller ones that this one covers have nothing to add any more.
        while let Some(covered) = self.parts.range(range.start..).map(|(start, _)| *start).next()
            && self.parts.get(&covered).is_some_and(|known| known.range.end <= range.end)
        {
            self.copies.extend(self.parts.remove(&covered));
        }
        self.parts.insert(range.start, part);
        // Where parts begin and where they end are in the same order, so the last to begin reaches on.
        while let Some((_, known)) = self.parts.range(..=self.reached).next_back()
            && known.range.end > self.reached
        {
            self.reached = known.range.end;
        }
    }

    fn is_whole(&self) -> bool {
        self.end == Some(self.reached)
    }

    /// The datagram, and the copies that it did not need.
    fn into_whole(self, key: FragmentKey) -> (Whole, Vec<Part>) {
        let mut payload = Vec::with_capacity(self.end.unwrap_or_default() as usize);
        for part in self.parts.values() {
            if payload.len() < part.range.start as usize {
                break; // The part before was cut, and so is the datagram.
            }
            payload.extend_from_slice(part.slice(payload.len() as u32, part.range.end));
        }
        let cut = (payload.len() as u64) < u64::from(self.end.unwrap_or_default());
        let mut frames: Vec<OwnedFrame> = self.parts.into_values().map(|part| part.frame).collect();
        frames.sort_by_key(|frame| frame.meta.number);
        (Whole { key, payload, cut, frames }, self.copies)
    }

    fn frame_count(&self) -> u64 {
        (self.parts.len() + self.copies.len()) as u64
    }

    fn cost(&self) -> usize {
        self.parts.values().chain(&self.copies).map(Part::cost).sum()
    }

    fn check_invariants(&self) {
        let mut before = Range { start: 0, end: 0 };
        for (start, part) in &self.parts {
            assert_eq!(*start, part.range.start);
            assert!(part.range.end > before.end, "a part within another");
            assert!(part.payload.len() <= (part.range.end - part.range.start) as usize);
            before = part.range;
        }
        assert!(self.end.is_none_or(|end| end >= before.end), "a part beyond the end");
        assert!(!self.refused || self.frame_count() == 0, "refused, and yet holds frames");
    }
}

/// Longest payload of an IP datagram that can be fragmented.
const PAYLOAD_BYTES_MAX: u32 = 65_535;
/// Counted for each part besides its bytes, so that tiny fragments cost what they really do.
const PART_OVERHEAD_BYTES: usize = 256;
/// Fragments of one datagram leave their sender together. What disagrees with an older one is of
/// another datagram: a busy sender uses its 65,536 identifications again within seconds (RFC 6864).
const STALE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
