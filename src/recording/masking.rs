//! What a call's recording leaves out on purpose, packet by packet: pauses, and keys where they are
//! not to be kept.
//!
//! Sound is masked by [`crate::recording::audio`], sample by sample. Here is what that does not see:
//! which packets are left out of the books and of a file of packets, and what the manifest says.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use crate::base::party::Party;
use crate::base::time::Stamp;
use crate::recording::hold::Hold;
use crate::recording::pause::{Action, KeyVia, PauseReason, PauseRules, PauseWatch, carries_digits};
use crate::recording::stream_record::Reach;

/// What is left out of one call.
#[derive(Debug)]
pub struct Masking {
    /// Keys are not kept.
    pub keys: bool,
    watch: Option<PauseWatch>,
    pauses: Vec<Pause>,
    places: Vec<Option<Place>>,
    /// Packets that wait, where packets are kept and tones looked for.
    pub hold: Option<Hold>,
    /// The coming signalling tells of keys that are not kept.
    leave_out_next: bool,
    /// Frames that told of keys.
    left_out: VecDeque<u64>,
    /// Encodings in which tones could not be looked for.
    pub unheard: BTreeSet<String>,
}

/// A pause.
#[derive(Clone, Debug)]
pub struct Pause {
    /// When it began.
    pub from: Stamp,
    /// When it ended; nothing where the call ended first.
    pub to: Option<Stamp>,
    /// Why.
    pub why: PauseReason,
}

/// How much of a packet is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Masked {
    /// Nothing.
    No,
    /// Something.
    Part,
    /// All.
    Whole,
}

/// Where a stream is in time: what RTP timestamps stand for, give or take jitter.
#[derive(Clone, Copy, Debug)]
struct Place {
    timestamp: u32,
    at: Stamp,
}

impl Masking {
    /// Makes one of a call of which nothing is left out yet.
    pub fn new(keys: bool, rules: Option<&PauseRules>, hold: bool) -> Self {
        Self {
            keys,
            watch: rules.cloned().map(PauseWatch::new),
            pauses: Vec::new(),
            places: Vec::new(),
            hold: hold.then(Hold::default),
            leave_out_next: false,
            left_out: VecDeque::new(),
            unheard: BTreeSet::new(),
        }
    }

    /// Whether a pause goes on.
    pub fn paused(&self) -> bool {
        self.pauses.last().is_some_and(|last| last.to.is_none())
    }

    /// Why a pause goes on, where one does.
    pub fn why_paused(&self) -> Option<PauseReason> {
        self.pauses.last().filter(|last| last.to.is_none()).map(|last| last.why.clone())
    }

    /// Begins a pause. Returns whether there was none.
    pub fn pause(&mut self, at: Stamp, why: PauseReason) -> bool {
        if self.paused() {
            return false;
        }
        self.set_paused(true);
        let full = self.pauses.len() >= PAUSES_MAX;
        match self.pauses.last_mut() {
            // Too much is left out rather than too little.
            Some(last) if full => last.to = None,
            _ => self.pauses.push(Pause { from: at, to: None, why }),
        }
        true
    }

    /// Ends the pause. Returns whether there was one.
    pub fn resume(&mut self, at: Stamp) -> bool {
        if !self.paused() {
            return false;
        }
        self.set_paused(false);
        if let Some(last) = self.pauses.last_mut() {
            last.to = Some(at.max(last.from));
        }
        true
    }

    fn set_paused(&mut self, paused: bool) {
        if let Some(watch) = &mut self.watch {
            watch.set_paused(paused);
        }
    }

    /// All pauses.
    pub fn pauses(&self) -> &[Pause] {
        &self.pauses
    }

    /// Takes in a key. Says what is to be done.
    pub fn key(&mut self, at: Stamp, party: Party, digit: char, via: KeyVia) -> Option<Action> {
        self.watch.as_mut()?.digit(at, party, digit, via)
    }

    /// Takes in a SIP message whose frames come next. Says what is to be done.
    pub fn signal(&mut self, at: Stamp, party: Party, sip: &[u8]) -> Option<Action> {
        self.watch.as_mut()?.signal(at, party, sip)
    }

    /// Looks at whether the frames of `sip`, which come next, must be left out.
    pub fn judge_signal(&mut self, sip: &[u8]) {
        self.leave_out_next = (self.keys || self.paused()) && carries_digits(sip);
    }

    /// Whether signalling in the frames `numbers` is left out.
    pub fn leaves_out(&mut self, numbers: impl Iterator<Item = u64> + Clone) -> bool {
        if !std::mem::take(&mut self.leave_out_next) {
            return numbers.into_iter().any(|number| self.left_out.contains(&number));
        }
        for number in numbers.clone() {
            if self.left_out.len() >= LEFT_OUT_MAX {
                self.left_out.pop_front();
            }
            self.left_out.push_back(number);
        }
        // The same segment may carry another message, which came before.
        if let Some(hold) = &mut self.hold {
            hold.leave_out(&numbers.collect::<Vec<_>>());
        }
        true
    }

    /// Returns the time that a packet's content stands for.
    pub fn span(&mut self, number: u16, at: Stamp, timestamp: u32, reach: &Reach) -> Range<Stamp> {
        let place = self.place(number, at, timestamp, reach.clock_rate_hz);
        if reach.key {
            // All packets of a key have the time of its beginning.
            return place.min(at)..place.max(at).after(Duration::from_nanos(1));
        }
        place.before(reach.before)..place.after(reach.length.max(Duration::from_nanos(1)))
    }

    fn place(&mut self, number: u16, at: Stamp, timestamp: u32, clock_rate_hz: u32) -> Stamp {
        let index = usize::from(number);
        if clock_rate_hz == 0 {
            return at;
        }
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        let slot = &mut self.places[index];
        let Some(known) = slot else {
            *slot = Some(Place { timestamp, at });
            return at;
        };
        let units = i64::from(timestamp.wrapping_sub(known.timestamp) as i32);
        let nanos = units * 1_000_000_000 / i64::from(clock_rate_hz);
        let place = Stamp::from_unix_nanos(known.at.as_unix_nanos().saturating_add_signed(nanos));
        let lag = at.nanos_after(place);
        if !(-LAG_NS_MAX..=LAG_NS_MAX + ORDER_NS).contains(&lag) || (units >= 0 && lag > LAG_NS_MAX) {
            *slot = Some(Place { timestamp, at });
            return at;
        }
        if units > 0 {
            // Follows the sender's clock, and jitter hardly.
            let eased = Stamp::from_unix_nanos(place.as_unix_nanos().saturating_add_signed(lag / EASE));
            *slot = Some(Place { timestamp, at: eased });
        }
        place
    }

    /// How much of `span` is left out.
    pub fn judge(&self, span: &Range<Stamp>, key: bool) -> Masked {
        if key && self.keys {
            return Masked::Whole;
        }
        let end = |pause: &Pause| pause.to.unwrap_or(Stamp::from_unix_nanos(u64::MAX));
        let mut masked = Masked::No;
        for pause in self.pauses.iter().rev().take_while(|pause| end(pause) > span.start) {
            if pause.from <= span.start && span.end <= end(pause) {
                return Masked::Whole;
            }
            if pause.from < span.end {
                masked = Masked::Part;
            }
        }
        masked
    }
}

/// Pauses of one call.
const PAUSES_MAX: usize = 1_024;
/// Frames that are known to tell of keys: more than any one message that does comes in.
const LEFT_OUT_MAX: usize = 1_024;
/// Further apart, RTP time and arrival do not belong together.
const LAG_NS_MAX: i64 = 400_000_000;
/// A packet that others overtook may be later by so much.
const ORDER_NS: i64 = 1_000_000_000;
/// The part of a packet's lag that moves its stream.
const EASE: i64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::pause::MaskedBy;

    fn at(ms: u64) -> Stamp {
        Stamp::from_unix_nanos(1_795_000_000_000_000_000 + ms * 1_000_000)
    }

    fn reach(clock_rate_hz: u32) -> Reach {
        Reach { clock_rate_hz, before: Duration::ZERO, length: Duration::from_millis(20), key: false }
    }

    fn why() -> PauseReason {
        PauseReason { text: String::new(), by: MaskedBy::Control }
    }

    #[test]
    fn packets_are_judged_by_their_place_and_not_by_when_they_came() {
        let mut masking = Masking::new(false, None, false);
        for n in 0..50_u64 {
            masking.span(0, at(n * 20), 160 * n as u32, &reach(8_000));
        }
        assert!(masking.pause(at(1_000), why()) && !masking.pause(at(1_001), why()));
        let judge = |masking: &mut Masking, n: u64, came: u64| {
            let span = masking.span(0, at(came), 160 * n as u32, &reach(8_000));
            masking.judge(&span, false)
        };
        assert_eq!(judge(&mut masking, 50, 1_000), Masked::Whole);
        assert_eq!(judge(&mut masking, 49, 1_010), Masked::No, "late, and from before");
        assert_eq!(judge(&mut masking, 60, 1_200), Masked::Whole);
        assert!(masking.resume(at(1_410)) && !masking.resume(at(1_420)));
        assert_eq!(judge(&mut masking, 71, 1_420), Masked::No);
        assert_eq!(judge(&mut masking, 70, 1_430), Masked::Part);
        assert_eq!(judge(&mut masking, 69, 1_450), Masked::Whole, "late, and from inside");
        // A key that was pressed inside and goes on.
        let key = Reach { key: true, ..reach(8_000) };
        let span = masking.span(0, at(1_500), 160 * 68, &key);
        assert_eq!(masking.judge(&span, true), Masked::Part);
        masking.keys = true;
        assert_eq!(masking.judge(&span, true), Masked::Whole);
    }

    #[test]
    fn more_pauses_than_are_listed_never_end() {
        let mut masking = Masking::new(false, None, false);
        for n in 0..=PAUSES_MAX as u64 {
            masking.pause(at(n * 10), why());
            masking.resume(at(n * 10 + 5));
        }
        assert_eq!(masking.pauses().len(), PAUSES_MAX);
        let from = at(PAUSES_MAX as u64 * 10 - 4);
        assert_eq!(masking.judge(&(from..from.after(Duration::from_millis(1))), false), Masked::Whole);
    }
}
