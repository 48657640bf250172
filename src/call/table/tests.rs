use super::*;
use crate::base::endpoint::Endpoint;
use crate::base::frame::{FrameMeta, LinkType, OwnedFrame};
use crate::base::limits::{CALLS_MAX, HELD_BYTES_MAX};
use crate::base::party::Party;

/// Drives a table with messages and packets as text and numbers.
struct Scene {
    table: Table,
    now_ms: u64,
    net: Net,
}

const CALLER: [u8; 4] = [192, 0, 2, 1];
const CALLEE: [u8; 4] = [192, 0, 2, 2];

fn at(host: [u8; 4], port: u16) -> Endpoint {
    Endpoint::new(crate::base::endpoint::Ip::v4(host), port)
}

impl Scene {
    fn new(orphans: bool) -> Self {
        Self {
            table: Table::new(Config { orphans, ..Config::default() }),
            now_ms: 1_000_000,
            net: Net::PLAIN,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp::from_unix_nanos(self.now_ms * 1_000_000)
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Takes in a message as it is, between the two usual addresses.
    fn text(&mut self, from_caller: bool, text: &str) -> Result<u32, Discard> {
        let (src, dst) = (at(CALLER, 5060), at(CALLEE, 5060));
        let (src, dst) = if from_caller { (src, dst) } else { (dst, src) };
        let message = Message::parse(text.as_bytes()).expect("a message");
        self.table.sip(self.stamp(), Path { net: self.net, src, dst }, Transport::Udp, &message)
    }

    fn message(
        &mut self,
        from_caller: bool,
        start: &str,
        call: &str,
        cseq: &str,
        sdp: Option<(&str, u16)>,
    ) -> u32 {
        let body = sdp.map_or_else(String::new, |(host, port)| {
            format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
        });
        let to_tag = if start.starts_with("INVITE") { "" } else { ";tag=b" };
        let text = format!(
            "{start}\r\nCall-ID: {call}\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>{to_tag}\r\nCSeq: {cseq}\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let slot = self.text(from_caller, &text).expect("of a call");
        while self.table.poll_event().is_some() {}
        slot
    }

    /// Sets up a call between two media ports and returns its slot.
    fn call(&mut self, id: &str, caller_port: u16, callee_port: u16) -> u32 {
        let slot =
            self.message(true, "INVITE sip:b@x SIP/2.0", id, "1 INVITE", Some(("192.0.2.1", caller_port)));
        self.message(false, "SIP/2.0 200 OK", id, "1 INVITE", Some(("192.0.2.2", callee_port)));
        slot
    }

    fn bye(&mut self, id: &str) {
        self.message(true, "BYE sip:b@x SIP/2.0", id, "2 BYE", None);
    }

    /// Sends a packet and returns the call it goes to.
    fn packet(&mut self, src: Endpoint, dst: Endpoint, ssrc: u32, sequence: u16) -> Option<u32> {
        match self.verdict(src, dst, ssrc, sequence) {
            Verdict::Stream { slot, .. } | Verdict::Claimed { slot, .. } => Some(slot),
            Verdict::Held | Verdict::Discard(_) => None,
        }
    }

    /// Sends a packet and returns how many are taken and how many discarded at once.
    fn counted(&mut self, src: Endpoint, dst: Endpoint, ssrc: u32, sequence: u16) -> (u64, u64) {
        match self.verdict(src, dst, ssrc, sequence) {
            Verdict::Stream { .. } => (1, 0),
            Verdict::Claimed { held, .. } => (1 + held.len() as u64, 0),
            Verdict::Held => (0, 0),
            Verdict::Discard(_) => (0, 1),
        }
    }

    /// Packets that waited and were discarded.
    fn lost(&mut self) -> u64 {
        self.table.take_books().discarded.values().sum()
    }

    fn verdict(&mut self, src: Endpoint, dst: Endpoint, ssrc: u32, sequence: u16) -> Verdict {
        self.wait_ms(20);
        let packet = MediaPacket { at: self.stamp(), path: Path { net: self.net, src, dst }, ssrc, sequence };
        let meta = FrameMeta {
            stamp: packet.at,
            number: 1,
            offset: 0,
            len: 0,
            wire_len: 0,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        let frames = vec![OwnedFrame { meta, bytes: Box::default() }];
        let verdict = self.table.media(&packet, || Held { frames, payload: Box::default(), cut: false });
        while self.table.poll_event().is_some() {}
        verdict
    }
}

#[test]
fn media_between_negotiated_addresses_is_taken_at_once() {
    let mut scene = Scene::new(false);
    let slot = scene.call("one", 4000, 4002);
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), Some(slot));
    assert_eq!(scene.packet(at(CALLEE, 4002), at(CALLER, 4000), 8, 1), Some(slot));
    assert_eq!(scene.packet(at(CALLER, 9000), at([203, 0, 113, 9], 9000), 9, 1), None);
}

#[test]
fn an_unnegotiated_source_must_prove_itself_and_cannot_barge_in_later() {
    let mut scene = Scene::new(false);
    let slot = scene.call("one", 4000, 4002);
    let outside = at([203, 0, 113, 5], 31_000);
    assert_eq!(scene.packet(outside, at(CALLEE, 4002), 7, 1), None);
    assert_eq!(scene.packet(outside, at(CALLEE, 4002), 7, 2), Some(slot));
    for sequence in 3..400 {
        assert_eq!(scene.packet(outside, at(CALLEE, 4002), 7, sequence), Some(slot));
    }
    // The window after offer and answer is over, and the voice is there.
    let stranger = at([198, 51, 100, 66], 6_666);
    for sequence in 1..6 {
        assert_eq!(scene.packet(stranger, at(CALLEE, 4002), 66, sequence), None);
        assert_eq!(scene.packet(outside, at(CALLEE, 4002), 7, 399 + sequence), Some(slot));
    }
}

/// The same ports, and even the same SSRC, at once: what goes on is the old call's, what begins anew
/// the new one's.
#[test]
fn ports_used_again_never_mix_two_calls() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    let first = scene.call("one", 4000, 4002);
    for sequence in 100..150 {
        assert_eq!(scene.packet(a, b, 7, sequence), Some(first));
    }
    scene.bye("one");
    let second = scene.call("two", 4000, 4002);
    assert_ne!(first, second);
    assert_eq!(scene.packet(a, b, 7, 150), Some(first), "late media of the first call");
    assert_eq!(scene.packet(a, b, 7, 40_000), Some(second), "a new stream under the same SSRC");
    assert_eq!(scene.packet(a, b, 7, 40_001), Some(second));
    assert_eq!(scene.packet(a, b, 9, 1), Some(second), "a new SSRC");
}

#[test]
fn media_before_its_description_waits_and_is_claimed() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    assert_eq!(scene.packet(b, a, 8, 1), None);
    assert_eq!(scene.packet(b, a, 8, 2), None);
    let slot = scene.call("one", 4000, 4002);
    assert_eq!(scene.packet(b, a, 8, 3), Some(slot));
    assert_eq!(scene.table.take_books(), Counters::default());
}

#[test]
fn media_without_signalling_is_a_call_only_when_asked() {
    for orphans in [false, true] {
        let mut scene = Scene::new(orphans);
        let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
        let taken = (1..40).filter(|sequence| scene.packet(a, b, 7, *sequence).is_some()).count();
        assert_eq!(taken > 0, orphans);
        assert_eq!(scene.table.opened(), u64::from(orphans));
        scene.table.finish();
        let lost: u64 = scene.table.take_books().discarded.values().sum();
        assert_eq!(lost, if orphans { 0 } else { 39 }, "every packet is claimed or counted");
    }
}

#[test]
fn media_without_signalling_is_looked_for_from_when_it_is_asked_for() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    assert!((1..40).all(|sequence| scene.packet(a, b, 7, sequence).is_none()));
    scene.table.set_orphans(true);
    // What goes on, too.
    let slot = (40..80).find_map(|sequence| scene.packet(a, b, 7, sequence)).unwrap();
    scene.table.set_orphans(false);
    assert_eq!(scene.packet(a, b, 7, 80), Some(slot), "a call that goes on is not ended");
    assert!((1..40).all(|sequence| scene.packet(at(CALLER, 6000), b, 9, sequence).is_none()));
    assert_eq!(scene.table.opened(), 1);
}

#[test]
fn a_call_that_is_over_closes_and_its_addresses_are_free() {
    let mut scene = Scene::new(false);
    scene.call("one", 4000, 4002);
    scene.bye("one");
    scene.wait_ms(10_000);
    scene.table.sweep(scene.stamp());
    assert!(matches!(scene.table.poll_event(), Some(Event::Closed { order: 0, .. })));
    assert_eq!(scene.table.live(), 0);
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), None);
}

#[test]
fn a_running_flow_of_a_live_call_stays_although_another_call_names_its_addresses() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    let first = scene.call("one", 4000, 4002);
    for sequence in 100..150 {
        assert_eq!(scene.packet(a, b, 7, sequence), Some(first));
    }
    let second = scene.call("two", 4000, 4002);
    for sequence in 150..200 {
        assert_eq!(scene.packet(a, b, 7, sequence), Some(first), "it only goes on");
    }
    assert_eq!(scene.packet(a, b, 7, 40_000), Some(second), "it begins anew");
}

#[test]
fn streams_beyond_what_a_call_may_have_are_counted_with_what_waited() {
    let mut scene = Scene::new(false);
    scene.call("one", 4000, 4002);
    let (mut taken, mut discarded) = (0, 0);
    for ssrc in 0..70 {
        for sequence in 1..4 {
            let (more, fewer) = scene.counted(at([203, 0, 113, 5], 31_000), at(CALLEE, 4002), ssrc, sequence);
            taken += more;
            discarded += fewer;
        }
    }
    scene.table.finish();
    discarded += scene.lost();
    assert_eq!(taken, 64 * 3);
    assert_eq!(taken + discarded, 70 * 3);
    assert_eq!(scene.table.flows.held_bytes, 0);
}

#[test]
fn a_packet_without_room_to_wait_is_counted_once() {
    for orphans in [false, true] {
        let mut scene = Scene::new(orphans);
        scene.call("one", 4000, 4002);
        // As if other flows had filled all there is.
        scene.table.flows.held_bytes = HELD_BYTES_MAX + 1;
        let (mut taken, mut discarded) = (0, 0);
        for (src, dst) in [(at(CALLER, 9000), at(CALLEE, 9002)), (at([203, 0, 113, 5], 9), at(CALLEE, 4002))]
        {
            for sequence in 1..40 {
                let (more, fewer) = scene.counted(src, dst, 7, sequence);
                taken += more;
                discarded += fewer;
            }
        }
        scene.table.finish();
        assert_eq!(taken + discarded + scene.lost(), 2 * 39);
        assert_eq!(scene.table.flows.held_bytes, HELD_BYTES_MAX + 1);
    }
}

#[test]
fn media_without_signalling_in_a_full_table_is_counted_once() {
    let mut scene = Scene::new(true);
    scene.table.live = CALLS_MAX;
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    let discarded: u64 = (1..100).map(|sequence| scene.counted(a, b, 7, sequence).1).sum();
    scene.table.finish();
    assert_eq!(discarded + scene.lost(), 99);
}

#[test]
fn media_of_a_later_call_does_not_keep_the_one_before_it_open() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    let first = scene.call("one", 4000, 4002);
    for sequence in 100..150 {
        assert_eq!(scene.packet(a, b, 7, sequence), Some(first));
    }
    scene.bye("one");
    let second = scene.call("two", 4000, 4002);
    for sequence in 40_000..40_300 {
        assert_eq!(scene.packet(a, b, 7, sequence), Some(second));
    }
    scene.table.sweep(scene.stamp());
    assert!(matches!(scene.table.poll_event(), Some(Event::Closed { slot, .. }) if slot == first));
    assert_eq!(scene.table.live(), 1);
    assert_eq!(scene.packet(a, b, 7, 40_300), Some(second), "and its flow stays");
}

mod ceilings;
mod clock;
mod dialogs;
mod networks;
