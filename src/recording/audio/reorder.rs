//! Packets of one stream in the order of their sequence numbers.
//!
//! ```text
//!            first packets            in order: straight through
//! (nothing) ───► Starting ───────────► Open ◄──────────────┐
//!                                       │ a number is missing │ it came, or was given up
//!                                       └──► held ───────────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::Stamp;

/// A packet that waits for earlier ones.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) extended: u64,
    pub(super) at: Stamp,
    pub(super) timestamp: u32,
    pub(super) codec: u8,
    pub(super) payload: Box<[u8]>,
    /// It came after packets that follow it.
    pub(super) overtaken: bool,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Known already: redundancy of what came itself.
    Again,
    /// Its place was given up.
    Late,
    /// It is next: pass it on, then [`Reorder::passed`].
    Next(u64),
    /// The sender began anew; [`Reorder::restart`], and offer it again.
    Restart,
    /// Hold it with [`Reorder::hold`].
    Wait(u64),
}

/// The order of one stream.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// Extended sequence number that comes next; nothing before the first packets are sorted out.
    next: Option<u64>,
    /// Which of the 64 before `next` came; bit 0 is the one just before.
    came: u64,
    held: VecDeque<Held>,
    /// Sequence number that would confirm a restart (RFC 3550 A.1).
    restart_at: Option<u16>,
    /// All wait, whatever their number.
    stalled: bool,
}

impl Reorder {
    /// Says what to do with the packet `sequence`.
    pub(super) fn offer(&mut self, sequence: u16) -> Turn {
        let Some(next) = self.next else { return self.offer_first(sequence) };
        let ahead = i64::from(sequence.wrapping_sub(next as u16) as i16);
        let extended = next.wrapping_add_signed(ahead);
        if ahead < -MISORDER_MAX {
            if self.restart_at == Some(sequence) {
                return Turn::Restart;
            }
            self.restart_at = Some(sequence.wrapping_add(1));
            return Turn::Late;
        }
        self.restart_at = None;
        if ahead < 0 {
            let bit = (-ahead - 1) as u32;
            let known = bit < u64::BITS && self.came >> bit & 1 == 1;
            return if known { Turn::Again } else { Turn::Late };
        }
        if ahead == 0 && self.held.is_empty() && !self.stalled {
            return Turn::Next(extended);
        }
        self.wait_unless_held(extended)
    }

    fn offer_first(&mut self, sequence: u16) -> Turn {
        let Some(first) = self.held.front() else { return Turn::Wait(EXTENDED_BASE + u64::from(sequence)) };
        let ahead = i64::from(sequence.wrapping_sub(first.extended as u16) as i16);
        if ahead.abs() > START_SPREAD_MAX {
            return Turn::Restart;
        }
        self.wait_unless_held(first.extended.wrapping_add_signed(ahead))
    }

    fn wait_unless_held(&self, extended: u64) -> Turn {
        match self.held.binary_search_by_key(&extended, |held| held.extended) {
            Ok(_) => Turn::Again,
            Err(_) => Turn::Wait(extended),
        }
    }

    /// Whether packets that follow the one of `turn` came before it.
    pub(super) fn overtaken(&self, turn: Turn) -> bool {
        match turn {
            Turn::Wait(extended) => self.held.back().is_some_and(|last| last.extended > extended),
            _ => false,
        }
    }

    /// Keeps a packet until its turn.
    pub(super) fn hold(&mut self, packet: Held) {
        let at = self.held.partition_point(|held| held.extended < packet.extended);
        self.held.insert(at, packet);
    }

    /// Tells that `extended` was passed on. Returns how many before it never came.
    pub(super) fn passed(&mut self, extended: u64) -> u64 {
        let next = self.next.unwrap_or(extended);
        let step = (extended + 1).saturating_sub(next);
        self.came = if step < 64 { self.came << step | 1 } else { 1 };
        self.next = Some(extended + 1);
        step.saturating_sub(1)
    }

    /// Whether anything waits.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the first packets are still being sorted out.
    pub(super) fn starting(&self) -> bool {
        self.next.is_none()
    }

    /// The packets that wait, in order.
    pub(super) fn held(&self) -> &VecDeque<Held> {
        &self.held
    }

    /// Lets the first packets go, where there are enough of them and no `more` are just coming, or `now` is late
    /// enough.
    pub(super) fn open(&mut self, now: Stamp, force: bool, more: bool) -> bool {
        let Some(first) = self.held.front().filter(|_| self.next.is_none()) else { return false };
        let (lowest, oldest) = (first.extended, self.oldest());
        let together = self.held.len() >= START_PACKETS && (!more || self.held.len() >= HELD_MAX);
        let enough = together || now.since(oldest).as_millis() >= START_MS;
        if enough || force {
            self.next = Some(lowest);
        }
        enough || force
    }

    fn oldest(&self) -> Stamp {
        self.held.iter().map(|held| held.at).min().unwrap_or_default()
    }

    /// Makes all packets wait, or no longer.
    pub(super) fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// Whether all packets wait.
    pub(super) fn stalled(&self) -> bool {
        self.stalled
    }

    /// Takes the packet whose turn it is: the next one, or the first after a number that is given
    /// up at `now`, having been waited for as long as `window`; any where `force` says so.
    pub(super) fn pop(&mut self, now: Stamp, window: Duration, force: bool) -> Option<Held> {
        if self.stalled && !force {
            return None;
        }
        let next = self.next?;
        let first = self.held.front()?;
        let given_up = first.extended == next
            || force
            || self.held.len() > HELD_MAX
            || now.since(self.oldest()) >= window;
        if !given_up {
            return None;
        }
        let packet = self.held.pop_front();
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        packet
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

/// So that packets from before the first never go below zero.
const EXTENDED_BASE: u64 = 1 << 32;
/// Packets that wait for one: a second of packets of 10 ms, and some.
const HELD_MAX: usize = 128;
/// Further back, the sender began anew or the packet is of no use (RFC 3550 A.1).
const MISORDER_MAX: i64 = 100;
/// First packets that are sorted out together.
const START_PACKETS: usize = 4;
/// How long the first packet waits for those.
const START_MS: u128 = 100;
/// Numbers apart that the first packets may be.
const START_SPREAD_MAX: i64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::REORDER_WINDOW;

    /// Offers packets 20 ms apart; returns what came out, and how many were late.
    fn run(sequences: &[u16]) -> (Vec<u16>, usize) {
        let mut order = Reorder::default();
        let (mut out, mut late) = (Vec::new(), 0);
        let mut now = Stamp::ZERO;
        for (index, &sequence) in sequences.iter().enumerate() {
            now = Stamp::from_unix_nanos(index as u64 * 20_000_000);
            let mut turn = order.offer(sequence);
            if turn == Turn::Restart {
                while let Some(held) = order.pop(now, REORDER_WINDOW, true) {
                    out.push(held.extended as u16);
                }
                order.restart();
                turn = order.offer(sequence);
            }
            match turn {
                Turn::Next(extended) => {
                    order.passed(extended);
                    out.push(sequence);
                }
                Turn::Wait(extended) => {
                    let payload = Box::default();
                    order.hold(Held { extended, at: now, timestamp: 0, codec: 0, payload, overtaken: false });
                }
                Turn::Late => late += 1,
                Turn::Again | Turn::Restart => {}
            }
            order.open(now, false, false);
            while let Some(held) = order.pop(now, REORDER_WINDOW, false) {
                order.passed(held.extended);
                out.push(held.extended as u16);
            }
        }
        order.open(now, true, false);
        while let Some(held) = order.pop(now, REORDER_WINDOW, true) {
            order.passed(held.extended);
            out.push(held.extended as u16);
        }
        (out, late)
    }

    #[test]
    fn packets_come_out_in_order() {
        assert_eq!(run(&[2, 1, 3, 4, 5, 7, 8, 6, 9]), ((1..=9).collect(), 0));
        assert_eq!(run(&[65_534, 65_535, 1, 0, 2, 3]), (vec![65_534, 65_535, 0, 1, 2, 3], 0));
    }

    #[test]
    fn a_missing_packet_is_given_up_after_a_second_and_is_late_then() {
        let mut sequences: Vec<u16> = (0..100).filter(|n| *n != 20).collect();
        sequences.push(20);
        sequences.push(60);
        let (out, late) = run(&sequences);
        assert_eq!(out, (0..100).filter(|n| *n != 20).collect::<Vec<_>>());
        assert_eq!(late, 1, "60 came twice, and only 20 is late");
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed() {
        let mut sequences: Vec<u16> = (30_000..30_050).collect();
        sequences.extend(100..150);
        let (out, late) = run(&sequences);
        assert_eq!(late, 1, "one packet to make sure");
        assert_eq!(out.len(), 99);
        assert_eq!(out.last(), Some(&149));
    }
}
