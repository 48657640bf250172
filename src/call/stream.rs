//! One RTP stream as counted: sequence numbers, loss, order, jitter.
//!
//! Sound is not here (see `recording`): this machine sees every packet of an SSRC from one address
//! to another, and answers what RFC 3550 A.1, A.3 and A.8 ask.
//!
//! Invariant: `lost()` is the sum of the runs in the loss map, and
//! `packets + lost == highest - lowest + 1`.

use std::collections::BTreeMap;

use crate::base::time::Stamp;
use crate::wire::rtp::RtpPacket;

/// What a packet was to its stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// The first, or one that moves the highest sequence number on.
    New,
    /// Came after a later one, and was missing.
    Reordered,
    /// Seen before.
    Duplicate,
}

/// The part of an RTP header that counting and placing need: read once, where the packet is first looked at.
#[derive(Clone, Copy, Debug)]
pub struct RtpHead {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp, in units of the clock rate.
    pub timestamp: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
}

impl From<&RtpPacket<'_>> for RtpHead {
    fn from(packet: &RtpPacket<'_>) -> Self {
        Self {
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            payload_type: packet.payload_type(),
            marker: packet.marker(),
        }
    }
}

/// Counts of one stream.
#[derive(Clone, Debug)]
pub struct StreamCount {
    first_at: Stamp,
    last_at: Stamp,
    /// Extended sequence numbers; the first packet's is its own sequence number plus [`EXTENDED_BASE`].
    lowest: u64,
    highest: u64,
    packets: u64,
    duplicate: u64,
    reordered: u64,
    /// Missing runs: first extended sequence number and length. What lies between `lowest` and
    /// `highest` and in no run has been seen, so this is also how duplicates are known.
    missing: BTreeMap<u64, u32>,
    /// Packets missing in runs that no longer fit in `missing`.
    missing_unlisted: u64,
    /// RFC 3550 A.8: transit of the last packet and smoothed jitter, both in nanoseconds.
    transit_ns: Option<i64>,
    jitter_ns: f64,
    payload_types: Vec<(u8, u64)>,
}

impl StreamCount {
    /// Starts with the first packet.
    pub fn new(at: Stamp, head: RtpHead) -> Self {
        let extended = EXTENDED_BASE + u64::from(head.sequence);
        Self {
            first_at: at,
            last_at: at,
            lowest: extended,
            highest: extended,
            packets: 1,
            duplicate: 0,
            reordered: 0,
            missing: BTreeMap::new(),
            missing_unlisted: 0,
            transit_ns: None,
            jitter_ns: 0.0,
            payload_types: vec![(head.payload_type, 1)],
        }
    }

    /// Counts a packet that is not the first. `clock_rate_hz` is that of its payload type, 0 where
    /// it has none (then it says nothing of jitter).
    pub fn packet(&mut self, at: Stamp, head: RtpHead, clock_rate_hz: u32) -> Arrival {
        self.last_at = self.last_at.max(at);
        let step = i64::from(head.sequence.wrapping_sub(self.highest as u16) as i16);
        let arrival = if step > 0 {
            self.advance(step as u64);
            Arrival::New
        } else {
            self.look_back(step.unsigned_abs())
        };
        if arrival == Arrival::Duplicate {
            self.duplicate += 1;
            return arrival;
        }
        self.packets += 1;
        match self.payload_types.iter_mut().find(|(payload_type, _)| *payload_type == head.payload_type) {
            Some((_, packets)) => *packets += 1,
            None => self.payload_types.push((head.payload_type, 1)),
        }
        self.jitter(at, head.timestamp, clock_rate_hz);
        arrival
    }

    /// RFC 3550 6.4.1, with the transit time in nanoseconds so that a change of clock rate is one
    /// odd sample and not a different unit.
    fn jitter(&mut self, at: Stamp, timestamp: u32, clock_rate_hz: u32) {
        if clock_rate_hz == 0 {
            return;
        }
        let media_ns = (u64::from(timestamp) * 1_000_000_000 / u64::from(clock_rate_hz)) as i64;
        let transit = (at.as_unix_nanos() as i64).wrapping_sub(media_ns);
        if let Some(before) = self.transit_ns {
            let difference = transit.wrapping_sub(before).unsigned_abs() as f64;
            // A new clock, a wrap or a restart is no jitter.
            if difference < 5e9 {
                self.jitter_ns += (difference - self.jitter_ns) / 16.0;
            }
        }
        self.transit_ns = Some(transit);
    }

    fn advance(&mut self, step: u64) {
        if step > 1 {
            self.add_run(self.highest + 1, (step - 1) as u32);
        }
        self.highest += step;
    }

    fn look_back(&mut self, back: u64) -> Arrival {
        let extended = self.highest - back;
        if extended < self.lowest {
            // Before the first packet we saw: the stream began earlier than it seemed.
            let between = self.lowest - extended - 1;
            if between > 0 {
                self.add_run(extended + 1, between as u32);
            }
            self.lowest = extended;
        } else if !self.fill(extended) {
            return Arrival::Duplicate;
        }
        self.reordered += 1;
        Arrival::Reordered
    }

    fn add_run(&mut self, first: u64, length: u32) {
        if self.missing.len() < LOSS_RUNS_MAX {
            self.missing.insert(first, length);
        } else {
            self.missing_unlisted += u64::from(length);
        }
    }

    /// Takes one number out of the missing runs. Returns whether it was in one.
    fn fill(&mut self, extended: u64) -> bool {
        let Some((&first, &length)) = self.missing.range(..=extended).next_back() else {
            return self.fill_unlisted();
        };
        let offset = extended - first;
        if offset >= u64::from(length) {
            return self.fill_unlisted();
        }
        self.missing.remove(&first);
        if offset > 0 {
            self.missing.insert(first, offset as u32);
        }
        let after = u64::from(length) - offset - 1;
        if after > 0 {
            self.missing.insert(extended + 1, after as u32);
        }
        true
    }

    fn fill_unlisted(&mut self) -> bool {
        let any = self.missing_unlisted > 0;
        self.missing_unlisted -= u64::from(any);
        any
    }

    /// First packet.
    pub fn first_at(&self) -> Stamp {
        self.first_at
    }

    /// Latest packet.
    pub fn last_at(&self) -> Stamp {
        self.last_at
    }

    /// Packets, duplicates excluded.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets seen again.
    pub fn duplicate(&self) -> u64 {
        self.duplicate
    }

    /// Packets that came after a later one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Expected less received (RFC 3550 A.3).
    pub fn lost(&self) -> u64 {
        self.highest - self.lowest + 1 - self.packets
    }

    /// Interarrival jitter in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter_ns / 1e6
    }

    /// Missing runs: sequence offset from the first packet, and length.
    pub fn loss_map(&self) -> Vec<(u64, u32)> {
        self.missing.iter().map(|(first, length)| (first - self.lowest, *length)).collect()
    }

    /// Payload types with their packets.
    pub fn payload_types(&self) -> BTreeMap<u8, u64> {
        self.payload_types.iter().copied().collect()
    }

    /// Payload type of most packets among those that `counts`; of most packets where none does.
    pub fn main_payload_type(&self, counts: impl Fn(u8) -> bool) -> u8 {
        let most = |only: &dyn Fn(u8) -> bool| {
            self.payload_types.iter().filter(|(kind, _)| only(*kind)).max_by_key(|(_, packets)| *packets)
        };
        most(&counts).or_else(|| most(&|_| true)).map_or(0, |(kind, _)| *kind)
    }

    /// Asserts what the module promises.
    pub fn check_invariants(&self) {
        let listed: u64 = self.missing.values().map(|length| u64::from(*length)).sum();
        assert_eq!(listed + self.missing_unlisted, self.lost(), "loss map and loss count disagree");
    }
}

/// So that packets from before the first never go below zero.
const EXTENDED_BASE: u64 = 1 << 32;
/// Runs listed one by one.
const LOSS_RUNS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sequences: &[u16]) -> StreamCount {
        let head = |sequence| RtpHead {
            sequence,
            timestamp: u32::from(sequence) * 160,
            payload_type: 0,
            marker: false,
        };
        let mut stream = StreamCount::new(Stamp::ZERO, head(sequences[0]));
        for (index, sequence) in sequences.iter().enumerate().skip(1) {
            stream.packet(Stamp::from_unix_nanos(index as u64 * 20_000_000), head(*sequence), 8000);
            stream.check_invariants();
        }
        stream
    }

    #[test]
    fn loss_reorder_and_duplicates_are_told_apart() {
        let stream = count(&[10, 11, 14, 13, 13, 16]);
        assert_eq!((stream.packets(), stream.lost()), (5, 2));
        assert_eq!((stream.duplicate(), stream.reordered()), (1, 1));
        assert_eq!(stream.loss_map(), [(2, 1), (5, 1)]);
    }

    #[test]
    fn wraps_and_packets_from_before_the_first() {
        let stream = count(&[65_534, 65_535, 0, 2, 65_532]);
        assert_eq!((stream.packets(), stream.lost()), (5, 2));
        assert_eq!(stream.loss_map(), [(1, 1), (5, 1)]);
    }

    #[test]
    fn a_second_copy_of_a_packet_from_long_ago_is_a_duplicate() {
        let mut sequences: Vec<u16> = (0..3_000).collect();
        sequences.push(5);
        let stream = count(&sequences);
        assert_eq!((stream.packets(), stream.duplicate(), stream.lost()), (3_000, 1, 0));
    }

    #[test]
    fn every_order_gives_the_same_counts() {
        // A small linear congruential shuffle of 500 packets with every 7th missing.
        let mut sequences: Vec<u16> = (0..500_u16).map(|n| n.wrapping_add(65_300)).collect();
        sequences.retain(|n| n % 7 != 3);
        let kept = sequences.len() as u64;
        let mut state = 12_345_u32;
        for index in (1..sequences.len()).rev() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sequences.swap(index, (state >> 8) as usize % (index + 1));
        }
        let stream = count(&sequences);
        assert_eq!((stream.packets(), stream.duplicate()), (kept, 0));
    }

    #[test]
    fn even_spacing_has_no_jitter_and_uneven_has() {
        assert!(count(&[1, 2, 3, 4, 5, 6]).jitter_ms() < 1e-6);
        assert!(count(&[1, 2, 3, 3, 3, 4]).jitter_ms() > 1.0);
    }
}
