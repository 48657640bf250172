//! The same addresses in several networks.

use super::*;

/// One party's message: its tag and branch are its own.
struct Line<'a> {
    start: &'a str,
    call: &'a str,
    branch: &'a str,
    tags: (&'a str, &'a str),
    cseq: &'a str,
    port: Option<u16>,
}

fn vlan(id: u16) -> Net {
    Net::PLAIN.tagged(id)
}

impl Scene {
    fn line(&mut self, net: Net, from_caller: bool, line: &Line<'_>) -> Result<u32, Discard> {
        self.net = net;
        let host = if from_caller { "192.0.2.1" } else { "192.0.2.2" };
        let body = line.port.map_or_else(String::new, |port| {
            format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
        });
        let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let text = format!(
            "{}\r\nVia: SIP/2.0/UDP h;branch={}\r\nCall-ID: {}\r\nFrom: <sip:a@x>{}\r\nTo: <sip:b@x>{}\r\n\
             CSeq: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            line.start,
            line.branch,
            line.call,
            tag(line.tags.0),
            tag(line.tags.1),
            line.cseq,
            body.len()
        );
        let slot = self.text(from_caller, &text);
        while self.table.poll_event().is_some() {}
        slot
    }

    /// Offer and answer of a tenant, each direction in its network, between ports 4000 and 4002.
    fn tenant(&mut self, nets: [Net; 2], call: &str, who: &str) -> u32 {
        let (caller, callee) = (format!("{who}1"), format!("{who}2"));
        let offer = Line {
            start: INVITE,
            call,
            branch: who,
            tags: (&caller, ""),
            cseq: "1 INVITE",
            port: Some(4000),
        };
        let slot = self.line(nets[0], true, &offer).expect("a call");
        let answer = Line { start: OK, tags: (&caller, &callee), port: Some(4002), ..offer };
        assert_eq!(self.line(nets[1], false, &answer), Ok(slot));
        slot
    }

    /// Sends a packet in each direction and returns the calls they go to.
    fn both(&mut self, nets: [Net; 2], ssrc: u32, sequence: u16) -> [Option<u32>; 2] {
        self.net = nets[0];
        let there = self.packet(at(CALLER, 4000), at(CALLEE, 4002), ssrc, sequence);
        self.net = nets[1];
        let back = self.packet(at(CALLEE, 4002), at(CALLER, 4000), ssrc + 1, sequence);
        [there, back]
    }
}

const INVITE: &str = "INVITE sip:b@x SIP/2.0";
const OK: &str = "SIP/2.0 200 OK";

#[test]
fn two_tenants_with_the_same_addresses_ports_ssrc_and_call_id_never_mix() {
    let (ten, twenty) = ([vlan(10); 2], [vlan(20); 2]);
    for tunnelled in [false, true] {
        let [ten, twenty] = if tunnelled {
            [1, 2].map(|id| [Net::tunnelled(crate::base::net::Tunnel::Vxlan(id)); 2])
        } else {
            [ten, twenty]
        };
        let mut scene = Scene::new(false);
        let first = scene.tenant(ten, "same", "a");
        for sequence in 0..50 {
            assert_eq!(scene.both(ten, 7, sequence), [Some(first); 2]);
        }
        let second = scene.tenant(twenty, "same", "b");
        assert_ne!(first, second);
        for sequence in 50..200 {
            assert_eq!(scene.both(ten, 7, sequence), [Some(first); 2]);
            // The other tenant's sequence numbers run along with these.
            assert_eq!(scene.both(twenty, 7, sequence), [Some(second); 2]);
        }
        // The first call begins anew under another SSRC, and ends: the other goes on.
        assert_eq!(scene.both(ten, 70, 9_000), [Some(first); 2]);
        scene.net = ten[0];
        let bye = Line {
            start: "BYE sip:b@x SIP/2.0",
            call: "same",
            branch: "aa",
            tags: ("a1", "a2"),
            cseq: "2 BYE",
            port: None,
        };
        assert_eq!(scene.line(ten[0], true, &bye), Ok(first));
        for sequence in 200..600 {
            assert_eq!(scene.both(twenty, 7, sequence), [Some(second); 2]);
        }
        scene.table.sweep(scene.stamp());
        assert!(matches!(scene.table.poll_event(), Some(Event::Closed { slot, .. }) if slot == first));
        assert_eq!(scene.table.live(), 1);
        assert_eq!(scene.both(twenty, 7, 600), [Some(second); 2]);
        let met = scene.table.conditions();
        assert_eq!((met.get(Condition::CallIdReused), met.get(Condition::NetworkCrossed)), (1, 0));
    }
}

#[test]
fn media_of_a_tenant_without_a_call_is_not_the_other_tenants() {
    let mut scene = Scene::new(false);
    let first = scene.tenant([vlan(10); 2], "one", "a");
    // The tenant's own media comes within the time that another network's must wait.
    for sequence in 0..100 {
        assert_eq!(scene.both([vlan(20); 2], 90, sequence), [None; 2]);
        assert_eq!(scene.both([vlan(10); 2], 7, sequence), [Some(first); 2]);
    }
}

#[test]
fn media_taken_from_another_network_gives_way_to_the_calls_own() {
    let mut scene = Scene::new(false);
    let slot = scene.tenant([vlan(10); 2], "one", "a");
    for sequence in 0..30 {
        scene.both([vlan(20); 2], 90, sequence);
    }
    assert_eq!(scene.both([vlan(20); 2], 90, 30), [Some(slot); 2]);
    assert_eq!(scene.both([vlan(10); 2], 7, 1), [Some(slot); 2]);
    assert_eq!(scene.both([vlan(20); 2], 90, 31), [None; 2]);
}

#[test]
fn a_mirror_with_a_vlan_for_each_direction_makes_one_call() {
    let mut scene = Scene::new(false);
    let nets = [vlan(10), vlan(11)];
    let slot = scene.tenant(nets, "one", "a");
    for sequence in 0..50 {
        assert_eq!(scene.both(nets, 7, sequence), [Some(slot); 2]);
    }
    // A BYE of the callee's in its own VLAN ends it.
    let bye = Line {
        start: "BYE sip:a@x SIP/2.0",
        call: "one",
        branch: "zz",
        tags: ("a2", "a1"),
        cseq: "1 BYE",
        port: None,
    };
    assert_eq!(scene.line(nets[1], false, &bye), Ok(slot));
    assert_eq!(scene.table.opened(), 1);
}

/// Two tenants, each with a VLAN a direction, one Call-ID, the same addresses.
#[test]
fn tenants_on_such_a_mirror_never_mix() {
    let mut scene = Scene::new(false);
    let (ours, theirs) = ([vlan(10), vlan(11)], [vlan(20), vlan(21)]);
    let first = scene.tenant(ours, "same", "a");
    let second = scene.tenant(theirs, "same", "b");
    assert_ne!(first, second);
    for sequence in 0..50 {
        assert_eq!(scene.both(ours, 7, sequence), [Some(first); 2]);
        assert_eq!(scene.both(theirs, 7, sequence), [Some(second); 2]);
    }
}

#[test]
fn media_in_another_vlan_than_its_signalling_is_taken_whole() {
    let mut scene = Scene::new(false);
    let slot = scene.tenant([vlan(10); 2], "one", "a");
    let mut taken = 0;
    for sequence in 0..100 {
        scene.net = vlan(20);
        taken += scene.counted(at(CALLER, 4000), at(CALLEE, 4002), 7, sequence).0;
        taken += scene.counted(at(CALLEE, 4002), at(CALLER, 4000), 8, sequence).0;
    }
    assert_eq!((taken, scene.lost()), (200, 0));
    assert_eq!(scene.both([vlan(20); 2], 7, 100), [Some(slot); 2]);
    assert_eq!(scene.table.conditions().get(Condition::NetworkCrossed), 2);
    let path = Path { net: vlan(20), src: at(CALLER, 4001), dst: at(CALLEE, 4003) };
    assert_eq!(scene.table.control(path), Some(slot), "and its RTCP");
}

#[test]
fn media_that_could_be_of_two_other_networks_is_taken_by_neither() {
    let mut scene = Scene::new(false);
    scene.tenant([vlan(10); 2], "one", "a");
    scene.tenant([vlan(30); 2], "two", "b");
    for sequence in 0..100 {
        assert_eq!(scene.both([vlan(20); 2], 7, sequence), [None; 2]);
    }
    assert_eq!(scene.table.conditions().get(Condition::NetworkAmbiguous), 2);
    let path = Path { net: vlan(20), src: at(CALLER, 4001), dst: at(CALLEE, 4003) };
    assert_eq!(scene.table.control(path), None);
}

/// A switch that mirrors a routed packet in the VLAN it came from and in the one it goes to.
#[test]
fn packets_seen_in_two_vlans_are_of_one_stream() {
    let mut scene = Scene::new(false);
    let slot = scene.tenant([vlan(10); 2], "one", "a");
    let offer = Line {
        start: INVITE,
        call: "one",
        branch: "a",
        tags: ("a1", ""),
        cseq: "1 INVITE",
        port: Some(4000),
    };
    assert_eq!(scene.line(vlan(20), true, &offer), Ok(slot));
    let mut streams = Vec::new();
    for sequence in 0..50 {
        for net in [vlan(10), vlan(20)] {
            scene.net = net;
            match scene.verdict(at(CALLER, 4000), at(CALLEE, 4002), 7, sequence) {
                Verdict::Stream { stream, .. } => streams.push(stream),
                verdict => panic!("{verdict:?}"),
            }
        }
    }
    assert_eq!(streams, [0; 100]);
    // Both flows are the call's, and go with it.
    scene.table.finish();
    assert_eq!(scene.both([vlan(20); 2], 7, 50), [None; 2]);
}

/// A proxy keeps Call-ID and tags and adds a Via; a back-to-back agent may keep no more than both.
#[test]
fn hops_of_one_call_in_other_vlans_are_one_call() {
    let mut scene = Scene::new(false);
    let slot = scene.tenant([vlan(10); 2], "one", "a");
    let hop = "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=p1, SIP/2.0/UDP h;branch=a\r\nCall-ID: one\r\n\
               From: <sip:a@x>;tag=other\r\nTo: <sip:b@x>\r\nCSeq: 1 INVITE\r\n\r\n";
    scene.net = vlan(20);
    assert_eq!(scene.text(true, hop), Ok(slot));
    // Between other addresses, under the From tag that is known.
    let agent = "INVITE sip:b@y SIP/2.0\r\nVia: SIP/2.0/UDP q;branch=q1\r\nCall-ID: one\r\n\
                 From: <sip:a@x>;tag=a1\r\nTo: <sip:b@x>\r\nCSeq: 1 INVITE\r\n\r\n";
    let message = Message::parse(agent.as_bytes()).unwrap();
    let path = Path { net: vlan(30), src: at([192, 0, 2, 77], 5060), dst: at([192, 0, 2, 78], 5060) };
    let stamp = scene.stamp();
    assert_eq!(scene.table.sip(stamp, path, Transport::Udp, &message), Ok(slot));
    // Neither: another call.
    scene.net = vlan(40);
    let other = agent.replace("tag=a1", "tag=new").replace("q1", "n1");
    assert_ne!(scene.text(true, &other).unwrap(), slot);
    // A response that nothing known belongs to is of no call.
    scene.net = vlan(50);
    let stray = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP s;branch=s1\r\nCall-ID: one\r\n\
                 From: <sip:a@x>;tag=s\r\nTo: <sip:b@x>;tag=t\r\nCSeq: 1 INVITE\r\n\r\n";
    assert_eq!(scene.text(false, stray), Err(Discard::SipOutsideCall));
}

#[test]
fn media_without_signalling_is_a_call_in_each_network() {
    let mut scene = Scene::new(true);
    for sequence in 1..40 {
        scene.both([vlan(10); 2], 7, sequence);
        scene.both([vlan(20); 2], 7, sequence);
    }
    let ours = scene.both([vlan(10); 2], 7, 40);
    let theirs = scene.both([vlan(20); 2], 7, 40);
    assert!(ours[0].is_some() && ours[0] == ours[1] && theirs[0] == theirs[1] && ours != theirs);
    assert_eq!(scene.table.opened(), 2);
}

#[test]
fn a_call_takes_no_more_than_so_many_networks() {
    let mut scene = Scene::new(false);
    let slot = scene.tenant([vlan(10); 2], "one", "a");
    for id in 100..150 {
        scene.net = vlan(id);
        let hop = "OPTIONS sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=a\r\nCall-ID: one\r\n\
                   From: <sip:a@x>;tag=a1\r\nTo: <sip:b@x>;tag=a2\r\nCSeq: 5 OPTIONS\r\n\r\n";
        assert_eq!(scene.text(true, hop), Ok(slot));
    }
    assert!(scene.table.conditions().get(Condition::CallFull) > 0);
    let of = (10..150).filter(|id| scene.table.call(slot).unwrap().is_of(vlan(*id))).count();
    assert_eq!(of, crate::base::limits::CALL_NETS_MAX);
}
