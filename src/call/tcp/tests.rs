//! Streams cut into segments in every way that networks and captures know.

use super::*;
use crate::base::endpoint::Ip;
use crate::base::frame::{FrameMeta, LinkType};
use crate::base::limits::{TCP_FLOW_BYTES_MAX, TCP_FLOWS_MAX};
use std::time::Duration;

/// Hands segments in, and checks at the end that each frame is listed or counted once.
#[derive(Default)]
struct Tap {
    flows: Flows,
    now: Stamp,
    handed: u64,
    firsts: Vec<u64>,
    books: Counters,
    messages: Vec<TcpMessage>,
}

impl Tap {
    fn hand(&mut self, segment: &Tcp<'_>) {
        self.now = self.now.after(Duration::from_millis(1));
        self.handed += 1;
        let len = segment.payload.len() as u32 + 54;
        let meta = FrameMeta {
            stamp: self.now,
            number: self.handed,
            offset: 0,
            len,
            wire_len: len + if segment.cut { 100 } else { 0 },
            link: LinkType::ETHERNET,
            interface: 0,
        };
        let bytes = vec![0; len as usize].into();
        self.flows.handle(self.now, segment, || OwnedFrame { meta, bytes });
        self.drain();
    }

    fn data(&mut self, sequence: u32, payload: &[u8]) {
        self.hand(&Tcp { sequence, payload, ..bare() });
    }

    fn syn(&mut self, sequence: u32) {
        self.hand(&Tcp { sequence, syn: true, ..bare() });
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.flows.handle_timeout(self.now);
        assert!(self.flows.poll_timeout().is_none_or(|at| at > self.now), "a timer is left in the past");
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(message) = self.flows.poll_message() {
            let first = message.frames.iter().filter(|frame| frame.first);
            self.firsts.extend(first.map(|frame| frame.frame.meta.number));
            assert!(!message.frames.is_empty());
            self.messages.push(message);
        }
        self.books.add(&self.flows.take_books());
    }

    /// Ends the capture and returns the messages; cut ones are marked in front.
    fn end(mut self) -> (Vec<Vec<u8>>, Counters) {
        self.flows.finish();
        self.drain();
        assert_eq!((self.flows.live(), self.flows.held_bytes(), self.flows.poll_timeout()), (0, 0, None));
        let listed = self.firsts.len() as u64;
        self.firsts.sort_unstable();
        self.firsts.dedup();
        assert_eq!(self.firsts.len() as u64, listed, "a frame was first twice");
        assert_eq!(self.handed, listed + self.books.discarded.values().sum::<u64>(), "{:?}", self.books);
        let mark = |message: TcpMessage| {
            if message.cut { [b"CUT ", &message.bytes[..]].concat() } else { message.bytes }
        };
        (self.messages.into_iter().map(mark).collect(), self.books)
    }
}

fn bare() -> Tcp<'static> {
    let at = |host| Endpoint::new(Ip::v4([192, 0, 2, host]), 5060);
    Tcp {
        net: Net::PLAIN,
        src: at(1),
        dst: at(2),
        sequence: 0,
        syn: false,
        fin: false,
        rst: false,
        payload: b"",
        cut: false,
    }
}

fn message(number: usize) -> Vec<u8> {
    let body = "v=0\r\n".repeat(number % 7);
    let length = body.len();
    format!("INVITE sip:b{number}@example.com SIP/2.0\r\nCall-ID: {number}\r\nl: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn messages(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(message).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }
}

#[test]
fn many_messages_in_a_segment_and_many_segments_to_a_message() {
    let sent = messages(5);
    let stream = sent.concat();
    let mut tap = Tap::default();
    tap.syn(99);
    tap.data(100, &stream);
    assert_eq!(tap.messages.len(), 5);
    let firsts: Vec<_> = tap.messages.iter().map(|message| message.frames[0].first).collect();
    assert_eq!(firsts, [true, false, false, false, false]);
    for (at, byte) in stream.iter().enumerate() {
        tap.data(100 + (stream.len() + at) as u32, &[*byte]);
    }
    assert_eq!(tap.messages[9].frames.len(), sent[4].len());
    let (got, books) = tap.end();
    assert_eq!(got, [sent.clone(), sent].concat());
    assert_eq!(books.discarded, [(Discard::NotTelephony, 1)].into());
}

/// Any segmentation, in disorder, with repeats and overlaps, over the end of the sequence numbers,
/// gives the messages that were sent.
#[test]
fn any_segmentation_gives_the_same_messages() {
    for seed in 1..300 {
        let mut random = Random(seed * 0x9e37_79b9);
        let sent = messages(1 + random.below(20));
        let stream = [&b"\r\n\r\n"[..], &sent.concat()].concat();
        let origin = u32::MAX - random.below(3_000) as u32;
        let longest = [1, 10, 100, 1_400][random.below(4)] + 1;
        let mut cuts = Vec::new();
        let mut at = 0;
        while at < stream.len() {
            let end = (at + 1 + random.below(longest)).min(stream.len());
            let from = at.saturating_sub(if random.below(4) == 0 { random.below(30) } else { 0 });
            cuts.push(from..end);
            if random.below(5) == 0 {
                cuts.push(from..end);
            }
            at = end;
        }
        for place in 0..cuts.len() {
            let other = (place + random.below(6)).min(cuts.len() - 1);
            cuts.swap(place, other);
        }
        let mut tap = Tap::default();
        tap.syn(origin);
        tap.syn(origin);
        for cut in cuts {
            tap.data(origin.wrapping_add(1 + cut.start as u32), &stream[cut]);
        }
        let (got, books) = tap.end();
        assert_eq!(got, sent, "seed {seed}");
        assert!(!books.discarded.contains_key(&Discard::TcpGap), "seed {seed}: {books:?}");
    }
}

#[test]
fn each_segment_twice_is_counted_as_such() {
    let mut tap = Tap::default();
    let sent = messages(4);
    let mut at = 1;
    for message in &sent {
        for _ in 0..2 {
            tap.data(at, message);
        }
        at += message.len() as u32;
    }
    let (got, books) = tap.end();
    assert_eq!((got, books.discarded), (sent, [(Discard::Duplicate, 4)].into()));
}

#[test]
fn a_lost_segment_costs_its_message_only() {
    let mut tap = Tap::default();
    tap.syn(0);
    let (whole, lost, after) = (message(1), message(6), message(2));
    let at = 1 + whole.len() as u32;
    tap.data(1, &whole);
    tap.data(at, &lost[..lost.len() - 12]);
    tap.data(at + lost.len() as u32 - 5, &lost[lost.len() - 5..]);
    tap.data(at + lost.len() as u32, &after);
    assert_eq!(tap.messages.len(), 1, "TCP may send it again");
    tap.wait(Duration::from_secs(1));
    assert_eq!(tap.messages.len(), 3);
    // Too late.
    tap.data(at + lost.len() as u32 - 12, &lost[lost.len() - 12..lost.len() - 5]);
    let (got, books) = tap.end();
    let cut = [b"CUT ", &lost[..lost.len() - 12]].concat();
    assert_eq!(got, [whole, cut, after]);
    assert_eq!(books.discarded, [(Discard::NotTelephony, 1), (Discard::TcpGap, 2)].into());
}

#[test]
fn a_gap_with_nothing_behind_it_is_given_up_in_the_end() {
    let mut tap = Tap::default();
    tap.data(1, &message(0));
    let after = 1 + message(0).len() as u32;
    tap.data(after + 10, b"middle of something\r\n");
    tap.wait(Duration::from_secs(2));
    assert!(tap.flows.held_bytes() > 0);
    tap.wait(Duration::from_secs(28));
    assert_eq!((tap.flows.held_bytes(), tap.flows.live()), (0, 1));
    tap.data(after + 5_000, &message(1));
    tap.wait(Duration::from_secs(3_600));
    assert_eq!(tap.flows.live(), 0);
    let (got, books) = tap.end();
    assert_eq!((got, books.discarded), (messages(2), [(Discard::TcpGap, 1)].into()));
}

#[test]
fn a_capture_may_begin_in_the_middle() {
    let mut tap = Tap::default();
    let sent = messages(3);
    tap.data(10, b"l: 0\r\n\r\n");
    // The next message came in two segments, the second of them first.
    let at = 18 + sent[1].len() as u32;
    tap.data(at, &sent[2][..20]);
    tap.data(at + 40, &sent[2][40..]);
    tap.data(at + 20, &sent[2][20..40]);
    // A segment that ends one message and begins another.
    let tail = [b"-ID: 9\r\n\r\n", &sent[1][..]].concat();
    let mut other = Tcp { sequence: 7, payload: &tail, ..bare() };
    (other.src, other.dst) = (other.dst, other.src);
    tap.hand(&other);
    let (got, books) = tap.end();
    assert_eq!(
        (got, books.discarded),
        (vec![sent[2].clone(), sent[1].clone()], [(Discard::NotTelephony, 1)].into())
    );
}

#[test]
fn other_protocols_are_dropped_as_they_come() {
    for first in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"\0"]
    {
        for syn in [true, false] {
            let mut tap = Tap::default();
            if syn {
                tap.syn(0);
            }
            tap.data(1, first);
            for number in 0..200 {
                tap.data(1 + first.len() as u32 + number * 1_000, &[b'x'; 1_000]);
                assert!(tap.flows.held_bytes() < 200_000);
            }
            tap.wait(Duration::from_secs(1));
            assert_eq!(tap.flows.held_bytes(), 0);
            let (got, books) = tap.end();
            assert!(got.is_empty());
            assert_eq!(books.discarded, [(Discard::NotTelephony, 201 + u64::from(syn))].into());
        }
    }
}

#[test]
fn keep_alives_and_control_segments_carry_nothing() {
    let mut tap = Tap::default();
    tap.hand(&bare());
    assert_eq!(tap.flows.live(), 0);
    tap.syn(0);
    tap.data(1, b"\r\n\r\n");
    tap.data(5, b"\r\n");
    tap.data(7, &message(3));
    tap.data(7 + message(3).len() as u32, b"\r\n\r\n");
    let fin = Tcp { sequence: 11 + message(3).len() as u32, fin: true, ..bare() };
    tap.hand(&fin);
    tap.hand(&fin);
    let (got, books) = tap.end();
    assert_eq!((got, books.discarded), (vec![message(3)], [(Discard::NotTelephony, 7)].into()));
}

#[test]
fn the_end_of_a_connection_ends_its_message() {
    for rst in [true, false] {
        let mut tap = Tap::default();
        tap.syn(0);
        let half = &message(5)[..message(5).len() - 3];
        tap.hand(&Tcp { sequence: 1, payload: half, rst, fin: !rst, ..bare() });
        assert_eq!(tap.messages.len(), 1);
        // The same ports again, with and without their SYN in the capture.
        tap.syn(5_000);
        tap.data(5_001, &message(1));
        tap.data(3_000_000_000, &message(2));
        let (got, _) = tap.end();
        assert_eq!(got, [[b"CUT ", half].concat(), message(1), message(2)]);
    }
}

/// Without Content-Length there is no telling how long a body is: it is read over.
#[test]
fn what_is_no_message_is_read_over() {
    let mut tap = Tap::default();
    tap.syn(0);
    let bare = b"BYE sip:a@b SIP/2.0\r\nCall-ID: 1\r\n\r\n".to_vec();
    let stream = [&bare[..], b"v=0\r\nm=audio 1 RTP/AVP 0\r\n", &message(1)].concat();
    tap.data(1, &stream);
    let at = 1 + stream.len() as u32;
    tap.data(at, b"v=0\r\nm=audio\r\n");
    tap.data(at + 14, &message(2));
    let (got, books) = tap.end();
    assert_eq!(got, [bare, message(1), message(2)]);
    assert_eq!(books.discarded, [(Discard::NotTelephony, 1), (Discard::TcpGap, 1)].into());
}

#[test]
fn a_frame_cut_by_the_snap_length_gives_what_it_has() {
    let mut tap = Tap::default();
    tap.syn(0);
    let long =
        [b"INVITE sip:a@b SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 107\r\n\r\n", &b"v=0\r\ns="[..]].concat();
    tap.hand(&Tcp { sequence: 1, payload: &long, cut: true, ..bare() });
    assert_eq!(tap.messages.len(), 1);
    tap.data(1 + long.len() as u32 + 100, &message(1));
    let (got, _) = tap.end();
    assert_eq!(got, [[b"CUT ", &long[..]].concat(), message(1)]);
}

#[test]
fn memory_has_a_ceiling() {
    let mut tap = Tap::default();
    tap.syn(0);
    tap.data(1, b"INVITE sip:a@b SIP/2.0\r\n");
    for number in 0..2_000 {
        tap.data(1_000 + number * 1_001, &[b'x'; 1_000]);
        assert!(tap.flows.held_bytes() < 3 * TCP_FLOW_BYTES_MAX);
    }
    let mut at = 3_000_000_000;
    tap.data(at, b"INVITE sip:a@b SIP/2.0\r\na: ");
    at += 27;
    for _ in 0..500 {
        tap.data(at, &[b'x'; 1_000]);
        at += 1_000;
    }
    tap.data(at, &message(1));
    let (got, books) = tap.end();
    assert_eq!(got, [message(1)]);
    assert!(books.discarded[&Discard::SipUnparsable] > 250, "{books:?}");
}

#[test]
fn directions_have_a_ceiling() {
    let mut flows = Flows::default();
    let mut counted = 0;
    for number in 0..TCP_FLOWS_MAX as u32 + 10 {
        let src = Endpoint::new(Ip::v4((number >> 4).to_be_bytes()), number as u16 & 15);
        let at = Stamp::from_unix_nanos(u64::from(number));
        let segment = Tcp { src, payload: b"INVITE sip:a@b", ..bare() };
        let meta = FrameMeta {
            stamp: at,
            number: 0,
            offset: 0,
            len: 0,
            wire_len: 0,
            link: LinkType::RAW,
            interface: 0,
        };
        flows.handle(at, &segment, || OwnedFrame { meta, bytes: Box::default() });
        counted += flows.take_books().discarded.values().sum::<u64>();
    }
    assert_eq!((flows.live(), counted), (TCP_FLOWS_MAX, 10));
    flows.finish();
    assert_eq!(flows.take_books().discarded.values().sum::<u64>(), TCP_FLOWS_MAX as u64);
}

/// Whatever is sent, frames are accounted for, and time moves on.
#[test]
fn any_segments_are_accounted_for() {
    let mut random = Random(88_172_645_463_325_252);
    let stream = messages(40).concat();
    for _ in 0..200 {
        let mut tap = Tap::default();
        for _ in 0..100 {
            let at = random.below(stream.len());
            let end = (at + random.below(300)).min(stream.len());
            let mut payload = stream[at..end].to_vec();
            if random.below(10) == 0 && !payload.is_empty() {
                let place = random.below(payload.len());
                payload[place] = random.below(256) as u8;
            }
            let far = if random.below(30) == 0 { random.below(1 << 32) as u32 } else { 0 };
            tap.hand(&Tcp {
                sequence: far.wrapping_add(at as u32).wrapping_sub(500),
                syn: random.below(40) == 0,
                fin: random.below(40) == 0,
                rst: random.below(40) == 0,
                cut: random.below(40) == 0,
                payload: &payload,
                ..bare()
            });
            if random.below(20) == 0 {
                tap.wait(Duration::from_millis(random.below(40_000) as u64));
            }
        }
        tap.end();
    }
}

/// A message in one WebSocket frame; a client's is masked (RFC 6455 section 5.3).
fn web_frame(message: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let length = (message.len() as u16).to_be_bytes();
    let mut frame = vec![0x81, if mask.is_some() { 0xfe } else { 0x7e }, length[0], length[1]];
    frame.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
    let mask = mask.unwrap_or_default();
    frame.extend(message.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[test]
fn messages_in_websocket_frames() {
    let hello = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
    for mask in [None, Some([0x5a, 1, 0, 0xff])] {
        for longest in [7, 200, 5_000] {
            let sent: Vec<_> = (1..9).map(message).collect();
            let ping: &[u8] = &[0x89, 0];
            let frames: Vec<_> =
                sent.iter().map(|message| [&web_frame(message, mask), ping].concat()).collect();
            let mut tap = Tap::default();
            tap.syn(99);
            tap.data(100, hello);
            let mut sequence = 100 + hello.len() as u32;
            // The first frame must come whole; the others as it happens.
            tap.data(sequence, &frames[0]);
            sequence += frames[0].len() as u32;
            for segment in frames[1..].concat().chunks(longest) {
                tap.data(sequence, segment);
                sequence += segment.len() as u32;
            }
            let (got, books) = tap.end();
            assert_eq!(got, sent, "{mask:?} {longest}");
            assert!(books.discarded.keys().all(|reason| *reason == Discard::NotTelephony), "{books:?}");
        }
    }
}

#[test]
fn a_capture_may_begin_in_a_websocket_and_lose_some_of_it() {
    let mask = Some([9, 8, 7, 6]);
    let frames: Vec<_> = (1..5).map(|number| web_frame(&message(number), mask)).collect();
    let mut tap = Tap::default();
    let mut sequence = 5_000;
    for (number, frame) in frames.iter().enumerate() {
        if number != 1 {
            tap.data(sequence, frame);
        }
        sequence += frame.len() as u32;
    }
    tap.wait(Duration::from_secs(2));
    assert_eq!(tap.end().0, [message(1), message(3), message(4)]);
}
