use super::*;
use crate::base::endpoint::Ip;
use crate::base::frame::{FrameMeta, LinkType};
use crate::base::net::Net;

const KEY: FragmentKey = FragmentKey {
    net: Net::PLAIN,
    src: Ip::v4([10, 0, 0, 1]),
    dst: Ip::v4([10, 0, 0, 2]),
    id: 7,
    protocol: 17,
};

/// Feeds a reassembler and keeps the books that its owner would keep.
struct Bench {
    reassembler: Reassembler,
    given: u64,
    returned: u64,
    discarded: u64,
}

impl Bench {
    fn new(datagrams: usize, bytes: usize) -> Self {
        let reassembler = Reassembler::with_limits(Limits { datagrams, bytes });
        Self { reassembler, given: 0, returned: 0, discarded: 0 }
    }

    fn give(&mut self, at_ms: u64, fragment: &Fragment<'_>) -> Option<Whole> {
        self.given += 1;
        let stamp = Stamp::from_unix_nanos(at_ms * 1_000_000);
        let meta = FrameMeta {
            stamp,
            number: self.given,
            offset: 0,
            len: 34,
            wire_len: 34,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        let frame = OwnedFrame { meta, bytes: Box::new([0; 34]) };
        let whole = self.reassembler.handle(stamp, fragment, frame);
        self.returned += whole.as_ref().map_or(0, |whole| whole.frames.len() as u64);
        self.check();
        whole
    }

    fn check(&mut self) {
        self.reassembler.check_invariants();
        let books = self.reassembler.take_books();
        self.discarded += books.discarded.values().sum::<u64>();
        assert!(books.discarded.keys().all(|reason| *reason == Discard::Fragment));
        assert_eq!(self.given, self.returned + self.discarded + self.reassembler.held_frames());
    }

    fn finish(mut self) -> (u64, u64) {
        self.reassembler.finish();
        self.check();
        assert_eq!((self.reassembler.held_frames(), self.reassembler.bytes), (0, 0));
        (self.returned, self.discarded)
    }
}

fn bench() -> Bench {
    Bench::new(100, 1 << 20)
}

fn part(offset_bytes: u32, more: bool, payload: &[u8]) -> Fragment<'_> {
    let wire_bytes = payload.len() as u32;
    Fragment { key: KEY, offset_bytes, more, payload, wire_bytes, cut: false }
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 3) as u8).collect()
}

#[test]
fn every_order_of_three_parts_is_whole() {
    let data = counting(60);
    let parts = [part(0, true, &data[..24]), part(24, true, &data[24..40]), part(40, false, &data[40..])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = bench();
        assert!(bench.give(0, &parts[order[0]]).is_none());
        assert!(bench.give(0, &parts[order[1]]).is_none());
        let whole = bench.give(1, &parts[order[2]]).expect("three of three");
        assert_eq!((&whole.payload, whole.cut, whole.key), (&data, false, KEY));
        let numbers: Vec<u64> = whole.frames.iter().map(|frame| frame.meta.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(bench.finish(), (3, 0));
    }
}

#[test]
fn a_datagram_seen_twice_is_whole_twice() {
    let data = counting(40);
    let (first, last) = (part(0, true, &data[..24]), part(24, false, &data[24..]));
    for interleaved in [false, true] {
        let mut bench = bench();
        let order = if interleaved { [first, first, last, last] } else { [first, last, first, last] };
        let wholes = order.iter().filter_map(|fragment| bench.give(0, fragment)).collect::<Vec<_>>();
        assert_eq!(wholes.len(), 2);
        assert!(wholes.iter().all(|whole| whole.payload == data && whole.frames.len() == 2));
        assert_eq!(bench.finish(), (4, 0));
    }
}

#[test]
fn overlap_that_says_the_same_is_tolerated() {
    let data = counting(64);
    let mut bench = bench();
    assert!(bench.give(0, &part(16, true, &data[16..24])).is_none());
    assert!(bench.give(0, &part(8, true, &data[8..32])).is_none());
    assert!(bench.give(0, &part(24, false, &data[24..])).is_none());
    let whole = bench.give(0, &part(0, true, &data[..16])).expect("no hole left");
    assert_eq!(whole.payload, data);
    assert_eq!(whole.frames.len(), 3, "the smallest part lay within another");
    assert_eq!(bench.finish(), (3, 1));
}

#[test]
fn overlap_that_says_otherwise_refuses_all_of_it() {
    let data = counting(40);
    let mut bench = bench();
    assert!(bench.give(0, &part(0, true, &data[..24])).is_none());
    let mut other = data.clone();
    other[20] ^= 1;
    assert!(bench.give(1, &part(16, true, &other[16..24])).is_none());
    assert_eq!((bench.discarded, bench.reassembler.held_frames()), (2, 0));
    // RFC 5722: what is still to come goes too, even what would have been in order.
    assert!(bench.give(2, &part(0, true, &data[..24])).is_none());
    assert!(bench.give(3, &part(24, false, &data[24..])).is_none());
    assert_eq!(bench.finish(), (0, 4));
}

/// A sender of 30,000 packets a second wraps the identification in two seconds, and a tail that lost
/// its head must not cost the next datagram of that number.
#[test]
fn an_identification_used_again_replaces_the_old_datagram() {
    let (old, data) = ([0xaa; 24], counting(40));
    let mut bench = bench();
    assert!(bench.give(0, &part(0, true, &old)).is_none());
    assert!(bench.give(2_500, &part(0, true, &data[..24])).is_none());
    let whole = bench.give(2_501, &part(24, false, &data[24..])).expect("the new datagram");
    assert_eq!(whole.payload, data);
    assert_eq!(bench.finish(), (2, 1));
}

#[test]
fn two_ends_or_a_part_beyond_the_end_are_refused() {
    let data = counting(48);
    let cases = [
        (part(16, false, &data[16..32]), part(32, false, &data[32..])),
        (part(16, false, &data[16..32]), part(32, true, &data[32..])),
        (part(32, true, &data[32..]), part(16, false, &data[16..32])),
        (part(16, false, &data[16..32]), part(8, false, &data[8..16])),
    ];
    for (first, second) in cases {
        let mut bench = bench();
        assert!(bench.give(0, &first).is_none());
        assert!(bench.give(0, &second).is_none());
        assert_eq!(bench.finish(), (0, 2));
    }
}

#[test]
fn parts_that_no_datagram_has_are_discarded_alone() {
    let data = counting(40);
    let mut bench = bench();
    assert!(bench.give(0, &part(0, true, &data[..24])).is_none());
    assert!(bench.give(0, &part(24, true, &data[24..31])).is_none(), "not a multiple of eight");
    assert!(bench.give(0, &part(24, true, &[])).is_none(), "empty");
    assert!(bench.give(0, &part(65_528, false, &data)).is_none(), "ping of death");
    assert!(bench.give(0, &part(u32::MAX, false, &data)).is_none());
    assert_eq!(bench.discarded, 4);
    assert!(bench.give(0, &part(24, false, &data[24..])).is_some());
    assert_eq!(bench.finish(), (2, 4));
}

#[test]
fn a_cut_part_gives_what_comes_before_it() {
    let data = counting(64);
    let cut = Fragment { wire_bytes: 24, cut: true, ..part(24, true, &data[24..30]) };
    let mut bench = bench();
    assert!(bench.give(0, &part(0, true, &data[..24])).is_none());
    assert!(bench.give(0, &cut).is_none());
    let whole = bench.give(0, &part(48, false, &data[48..])).expect("all three came");
    assert_eq!((whole.cut, &whole.payload[..]), (true, &data[..30]));
    assert_eq!(bench.finish(), (3, 0));
}

#[test]
fn datagrams_time_out() {
    let data = counting(40);
    let mut bench = bench();
    assert!(bench.give(1_000, &part(0, true, &data[..24])).is_none());
    let end = Stamp::from_unix_nanos(1_000_000_000).after(FRAGMENT_TIMEOUT);
    assert_eq!(bench.reassembler.poll_timeout(), Some(end));
    bench.reassembler.handle_timeout(end.before(Duration::from_nanos(1)));
    assert_eq!(bench.reassembler.held_frames(), 1);
    bench.reassembler.handle_timeout(end);
    bench.check();
    assert_eq!((bench.discarded, bench.reassembler.poll_timeout()), (1, None));
    // Without a call in between, the tail does not find a head of long ago.
    assert!(bench.give(40_000, &part(0, true, &data[..24])).is_none());
    assert!(bench.give(80_000, &part(24, false, &data[24..])).is_none());
    assert_eq!(bench.finish(), (0, 3));
}

#[test]
fn the_oldest_gives_way() {
    let data = counting(40);
    let head = |id| Fragment { key: FragmentKey { id, ..KEY }, ..part(0, true, &data[..24]) };
    let tail = |id| Fragment { key: FragmentKey { id, ..KEY }, ..part(24, false, &data[24..]) };
    let mut few = Bench::new(3, 1 << 20);
    let mut small = Bench::new(100, 3 * (24 + 34 + PART_OVERHEAD_BYTES));
    for bench in [&mut few, &mut small] {
        for id in 1..=4 {
            assert!(bench.give(u64::from(id), &head(id)).is_none());
        }
        assert_eq!((bench.discarded, bench.reassembler.datagrams.len()), (1, 3));
        assert!(bench.give(10, &tail(1)).is_none());
        assert!(bench.give(11, &tail(4)).is_some());
    }
    let mut tiny = Bench::new(100, 10);
    assert!(tiny.give(0, &head(1)).is_none());
    assert_eq!(tiny.finish(), (0, 1));
}

/// Many copies of a part, then an end that lies within it: whole at once, and its copies are too.
#[test]
fn copies_that_are_whole_themselves_are_counted() {
    let data = counting(16);
    let mut bench = bench();
    for _ in 0..500 {
        assert!(bench.give(0, &part(0, true, &data)).is_none());
    }
    let whole = bench.give(0, &part(8, false, &data[8..])).expect("the end is known");
    assert_eq!(whole.payload, data);
    assert_eq!(bench.finish(), (1, 500));
}

/// Any fragments at all: the books balance after each, and what comes out whole is what was sent.
#[test]
fn every_frame_is_somewhere() {
    let data = counting(256);
    let mut state = 3_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut bench = Bench::new(4, 6_000);
    let mut wholes = 0;
    for round in 0..30_000_u64 {
        let offset_bytes = next(9) * 8;
        let more = next(4) != 0;
        let end = if more { offset_bytes + 8 + next(4) * 8 } else { 96 };
        let mut payload = data[offset_bytes as usize..end as usize].to_vec();
        let lies = next(40) == 0;
        if lies {
            payload[0] ^= 0x80;
        }
        let key = FragmentKey { id: next(6), ..KEY };
        let fragment = Fragment { key, ..part(offset_bytes, more && end != 96, &payload) };
        if let Some(whole) = bench.give(round * u64::from(next(100)), &fragment) {
            wholes += 1;
            assert_eq!(whole.payload.len(), 96);
            assert!(!whole.frames.is_empty());
        }
        if next(50) == 0 {
            bench
                .reassembler
                .handle_timeout(Stamp::from_unix_nanos(round * 1_000_000 * u64::from(next(100))));
            bench.check();
        }
    }
    assert!(wholes > 500, "{wholes}");
    bench.finish();
}
