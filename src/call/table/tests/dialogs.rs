//! Calls that end, or only seem to.

use super::*;

impl Scene {
    fn answered(&mut self) -> u32 {
        let slot = self.text(true, &invite("one", "i1", "a", 1, Some(4000))).unwrap();
        assert_eq!(
            self.text(false, &reply("200 OK", "one", "i1", ("a", "b"), "1 INVITE", Some(4002))),
            Ok(slot)
        );
        while self.table.poll_event().is_some() {}
        slot
    }

    fn is_over(&self, slot: u32) -> bool {
        self.table.call(slot).unwrap().is_over()
    }

    fn closed(&mut self) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(event) = self.table.poll_event() {
            if let Event::Closed { slot, .. } = event {
                slots.push(slot);
            }
        }
        slots
    }
}

fn tag(tag: &str) -> String {
    if tag.is_empty() { String::new() } else { format!(";tag={tag}") }
}

fn text(
    start: &str,
    call: &str,
    branch: &str,
    tags: (&str, &str),
    cseq: &str,
    sdp: Option<(&str, u16)>,
) -> String {
    let body = sdp.map_or_else(String::new, |(host, port)| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        )
    });
    format!(
        "{start}\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nCall-ID: {call}\r\nFrom: <sip:a@x>{}\r\nTo: <sip:b@x>{}\r\n\
         CSeq: {cseq}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        tag(tags.0),
        tag(tags.1),
        body.len()
    )
}

fn invite(call: &str, branch: &str, from: &str, cseq: u32, port: Option<u16>) -> String {
    let sdp = port.map(|port| ("192.0.2.1", port));
    text("INVITE sip:b@x SIP/2.0", call, branch, (from, ""), &format!("{cseq} INVITE"), sdp)
}

fn reply(
    status: &str,
    call: &str,
    branch: &str,
    tags: (&str, &str),
    cseq: &str,
    port: Option<u16>,
) -> String {
    let sdp = port.map(|port| ("192.0.2.2", port));
    text(&format!("SIP/2.0 {status}"), call, branch, tags, cseq, sdp)
}

fn bye(branch: &str, tags: (&str, &str), cseq: u32) -> String {
    text("BYE sip:b@x SIP/2.0", "one", branch, tags, &format!("{cseq} BYE"), None)
}

#[test]
fn a_call_id_used_again_after_bye_is_another_call() {
    for from in ["a", "new"] {
        let mut scene = Scene::new(false);
        let first = scene.answered();
        scene.text(true, &bye("b1", ("a", "b"), 2)).unwrap();
        scene.wait_ms(1_000);
        let second = scene.text(true, &invite("one", "i9", from, 5, Some(4100))).unwrap();
        assert_ne!(first, second);
        // Late repeats are the first call's, what is new the second's.
        assert_eq!(scene.text(true, &invite("one", "i1", "a", 1, None)), Ok(first));
        assert_eq!(scene.text(false, &reply("200 OK", "one", "b1", ("a", "b"), "2 BYE", None)), Ok(first));
        let answer = reply("200 OK", "one", "i9", (from, "c"), "5 INVITE", Some(4102));
        assert_eq!(scene.text(false, &answer), Ok(second));
        assert_eq!(scene.packet(at(CALLER, 4100), at(CALLEE, 4102), 7, 1), Some(second));
        assert_eq!(scene.table.conditions().get(Condition::CallIdReused), 1);
    }
}

#[test]
fn an_invite_after_a_challenge_or_a_failure_is_the_same_call() {
    let mut scene = Scene::new(false);
    let slot = scene.text(true, &invite("one", "i1", "a", 1, Some(4000))).unwrap();
    for (status, branch, cseq) in [("407 Auth", "i1", 1), ("503 Later", "i2", 2), ("486 Busy", "i3", 3)] {
        scene
            .text(false, &reply(status, "one", branch, ("a", "x"), &format!("{cseq} INVITE"), None))
            .unwrap();
        let again = invite("one", &format!("i{}", cseq + 1), "a", cseq + 1, Some(4000));
        assert_eq!(scene.text(true, &again), Ok(slot));
        assert!(!scene.is_over(slot));
    }
}

#[test]
fn a_refused_bye_ends_nothing() {
    let mut scene = Scene::new(false);
    let slot = scene.answered();
    for (status, cseq) in [("401 Unauthorized", 2), ("407 Proxy", 3), ("403 Forbidden", 4)] {
        scene.text(true, &bye("b", ("a", "b"), cseq)).unwrap();
        assert!(scene.is_over(slot));
        scene.text(false, &reply(status, "one", "b", ("a", "b"), &format!("{cseq} BYE"), None)).unwrap();
        assert!(!scene.is_over(slot), "{status}");
    }
    assert_eq!(scene.table.conditions().get(Condition::ByeRefused), 3);
    // A refusal of another BYE says nothing of this one.
    scene.text(true, &bye("b", ("a", "b"), 5)).unwrap();
    scene.text(false, &reply("401 Unauthorized", "one", "b", ("a", "b"), "4 BYE", None)).unwrap();
    scene.text(false, &reply("200 OK", "one", "b", ("a", "b"), "5 BYE", None)).unwrap();
    assert!(scene.is_over(slot));
}

#[test]
fn a_bye_for_a_dialog_that_is_not_there_ends_nothing() {
    let mut scene = Scene::new(false);
    let slot = scene.answered();
    scene.text(true, &bye("b", ("z", "wrong"), 2)).unwrap();
    scene.text(false, &reply("481 No", "one", "b", ("z", "wrong"), "2 BYE", None)).unwrap();
    assert!(!scene.is_over(slot));
    // The dialog is there, and its party knows no more of it: over (RFC 3261 section 15.1.1).
    scene.text(true, &bye("b", ("a", "b"), 3)).unwrap();
    scene.text(false, &reply("481 No", "one", "b", ("a", "b"), "3 BYE", None)).unwrap();
    assert!(scene.is_over(slot));
}

#[test]
fn an_answer_without_a_to_tag_is_ended_by_bye() {
    for tags in [("a", ""), ("", "a")] {
        let mut scene = Scene::new(false);
        let slot = scene.text(true, &invite("one", "i1", "a", 1, Some(4000))).unwrap();
        scene.text(false, &reply("200 OK", "one", "i1", ("a", ""), "1 INVITE", Some(4002))).unwrap();
        assert!(!scene.is_over(slot));
        scene.text(tags.0 == "a", &bye("b", tags, 2)).unwrap();
        assert!(scene.is_over(slot), "{tags:?}");
    }
}

/// Anyone can send a BYE; only the parties can fall silent.
#[test]
fn a_forged_bye_stops_nothing_while_media_goes_on() {
    let mut scene = Scene::new(false);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    let slot = scene.answered();
    let mut sequence = 0;
    let mut talk = |scene: &mut Scene, ssrc: u32, packets: u16| {
        for _ in 0..packets {
            sequence += 1;
            assert_eq!(scene.packet(a, b, ssrc, sequence), Some(slot));
            scene.table.sweep(scene.stamp());
            assert!(scene.closed().is_empty());
        }
    };
    talk(&mut scene, 7, 50);
    scene.text(true, &bye("b", ("a", "b"), 2)).unwrap();
    scene.text(false, &reply("200 OK", "one", "b", ("a", "b"), "2 BYE", None)).unwrap();
    talk(&mut scene, 7, 1_000);
    // Nor does what begins anew in it get lost: another SSRC, then other addresses.
    talk(&mut scene, 70, 500);
    let again =
        text("INVITE sip:b@x SIP/2.0", "one", "r1", ("a", "b"), "3 INVITE", Some(("192.0.2.1", 4000)));
    assert_eq!(scene.text(true, &again), Ok(slot));
    assert_eq!(
        scene.text(false, &reply("200 OK", "one", "r1", ("a", "b"), "3 INVITE", Some(6002))),
        Ok(slot)
    );
    assert!(!scene.is_over(slot), "its parties still agree on a dialog");
    for sequence in 1..500 {
        assert_eq!(scene.packet(a, at(CALLEE, 6002), 70, sequence), Some(slot));
    }
    // A true BYE, and silence.
    scene.text(true, &bye("b9", ("a", "b"), 4)).unwrap();
    scene.wait_ms(10_000);
    scene.table.sweep(scene.stamp());
    assert_eq!(scene.closed(), [slot]);
}

#[test]
fn media_on_the_addresses_of_a_call_that_is_over_is_not_taken_by_it() {
    let mut scene = Scene::new(false);
    let slot = scene.answered();
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), Some(slot));
    scene.text(true, &bye("b", ("a", "b"), 2)).unwrap();
    // Early media of the next call there, before its description.
    for sequence in 0..10 {
        assert_eq!(scene.packet(at(CALLEE, 4002), at(CALLER, 4000), 8, sequence), None);
    }
}

#[test]
fn a_forged_cancel_stops_nothing() {
    let mut scene = Scene::new(false);
    let slot = scene.text(true, &invite("one", "i1", "a", 1, Some(4000))).unwrap();
    scene.text(true, &text("CANCEL sip:b@x SIP/2.0", "one", "i1", ("a", ""), "1 CANCEL", None)).unwrap();
    scene.text(false, &reply("487 Terminated", "one", "i1", ("a", "q"), "1 INVITE", None)).unwrap();
    assert!(scene.is_over(slot));
    assert_eq!(
        scene.text(false, &reply("200 OK", "one", "i1", ("a", "b"), "1 INVITE", Some(4002))),
        Ok(slot)
    );
    assert!(!scene.is_over(slot));
    for sequence in 0..600 {
        assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, sequence), Some(slot));
    }
    scene.text(true, &text("CANCEL sip:b@x SIP/2.0", "one", "i1", ("a", ""), "1 CANCEL", None)).unwrap();
    for sequence in 600..1_200 {
        assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, sequence), Some(slot));
        scene.table.sweep(scene.stamp());
    }
    assert!(scene.closed().is_empty());
}

#[test]
fn the_first_message_is_told_and_so_are_signals_that_are_asked_for() {
    let mut scene = Scene::new(false);
    scene.net = Net::tunnelled(crate::base::net::Tunnel::Vxlan(9)).tagged(10);
    let first = invite("one", "i1", "a", 1, Some(4000));
    let slot = scene.text(true, &first).unwrap();
    let Some(Event::Opened { orphan: false, first: opening, .. }) = scene.table.poll_event() else {
        panic!("not opened")
    };
    assert_eq!((opening.src, opening.dst), (at(CALLER, 5060), at(CALLEE, 5060)));
    assert_eq!((opening.vlans, opening.tunnel), (vec![10], Some(crate::base::net::Tunnel::Vxlan(9))));
    assert_eq!((&*opening.message, opening.transport), (first.as_bytes(), Transport::Udp));
    while scene.table.poll_event().is_some() {}

    let request = |method: &str, cseq: u32| {
        text(&format!("{method} sip:b@x SIP/2.0"), "one", "s", ("b", "a"), &format!("{cseq} {method}"), None)
    };
    scene.text(false, &request("OPTIONS", 1)).unwrap();
    assert!(scene.table.poll_event().is_none());
    // Without being asked for, INFO only.
    for (signals, wanted) in [(false, request("INFO", 2)), (true, request("UPDATE", 3))] {
        scene.table.config.signals = signals;
        scene.text(false, &wanted).unwrap();
        let event = scene.table.poll_event();
        assert!(
            matches!(&event, Some(Event::Signal { slot: of, party: Party::Callee, bytes, .. })
                if *of == slot && **bytes == *wanted.as_bytes()),
            "{event:?}"
        );
    }
}
