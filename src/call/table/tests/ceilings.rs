//! What outsiders can fill, and what they cannot.

use super::*;
use crate::base::limits::{
    CALL_ADDRESSES_MAX, CALL_DIALOGS_MAX, CALL_HOLDS_MAX, HEADER_BYTES_MAX, UNANSWERED_PER_SOURCE_MAX,
};

fn limited(limits: Limits) -> Scene {
    let mut scene = Scene::new(false);
    scene.table = Table::new(Config { limits, ..Config::default() });
    scene
}

/// An INVITE that nobody will answer.
fn unanswered(scene: &mut Scene, number: u32, source: [u8; 4]) -> Result<u32, Discard> {
    let text = format!(
        "INVITE sip:b@x SIP/2.0\r\nCall-ID: flood-{number}\r\nFrom: <sip:a@x>;tag=f{number}\r\nTo: <sip:b@x>\r\n\
         CSeq: 1 INVITE\r\n\r\n"
    );
    let message = Message::parse(text.as_bytes()).unwrap();
    let path = Path { net: Net::PLAIN, src: at(source, 5060), dst: at(CALLEE, 5060) };
    scene.table.sip(scene.stamp(), path, Transport::Udp, &message)
}

/// Events since the last call: calls opened, and closed because there was no room.
fn turnover(scene: &mut Scene) -> (u64, u64) {
    let (mut opened, mut evicted) = (0, 0);
    while let Some(event) = scene.table.poll_event() {
        match event {
            Event::Opened { .. } => opened += 1,
            Event::Closed { closed, .. } => {
                assert_eq!(closed.ended_by, crate::call::closing::EndedBy::CallTableFull);
                assert_eq!(closed.answered, None);
                evicted += 1;
            }
            _ => {}
        }
    }
    (opened, evicted)
}

#[test]
fn a_flood_of_invites_leaves_answered_calls_alone() {
    let mut scene = Scene::new(false);
    let calls: Vec<u32> = (0..50_u16)
        .map(|call| scene.call(&format!("call-{call}"), 4000 + 4 * call, 4002 + 4 * call))
        .collect();
    let (mut opened, mut evicted) = (0, 0);
    for number in 0..100_000_u32 {
        unanswered(&mut scene, number, [203, 0, 113, 9]).expect("the newest is always taken");
        let (more, gone) = turnover(&mut scene);
        (opened, evicted) = (opened + more, evicted + gone);
        assert!(scene.table.live() <= calls.len() + UNANSWERED_PER_SOURCE_MAX);
        if number % 1_000 == 0 {
            for (call, slot) in (0..).zip(&calls) {
                let (src, dst) = (at(CALLER, 4000 + 4 * call), at(CALLEE, 4002 + 4 * call));
                let sequence = (number / 1_000) as u16;
                assert_eq!(scene.packet(src, dst, 7, sequence), Some(*slot));
            }
        }
    }
    assert_eq!(opened, 100_000);
    assert_eq!(evicted, 100_000 - UNANSWERED_PER_SOURCE_MAX as u64);
    assert_eq!(scene.table.conditions().get(Condition::SourceBudget), evicted);
    assert_eq!(scene.table.calls.len(), calls.len() + UNANSWERED_PER_SOURCE_MAX, "places are used again");
}

#[test]
fn from_everywhere_too() {
    let mut scene = limited(Limits { calls: 100, unanswered: 60, ..Limits::default() });
    let first = scene.call("one", 4000, 4002);
    for number in 0..5_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        unanswered(&mut scene, number, [100, b, c, d]).expect("the newest is always taken");
    }
    turnover(&mut scene);
    assert_eq!(scene.table.live(), 61);
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), Some(first));
    assert_eq!(scene.table.conditions().get(Condition::CallTableFull), 4_940);
    // Answered ones may fill the rest, and then all of it; the last to be answered are not let in.
    for call in 1..100_u16 {
        scene.call(&format!("more-{call}"), 5000 + 4 * call, 5002 + 4 * call);
    }
    assert_eq!(scene.table.live(), 100);
    assert_eq!(scene.table.waiting.len(), 0);
    assert_eq!(unanswered(&mut scene, 9_999, [100, 0, 0, 1]), Err(Discard::CallTableFull));
}

/// What gave way is begun again by its answer.
#[test]
fn an_answer_after_eviction_begins_the_call_again() {
    let mut scene = limited(Limits { unanswered: 1, ..Limits::default() });
    scene.message(true, "INVITE sip:b@x SIP/2.0", "one", "1 INVITE", Some(("192.0.2.1", 4000)));
    unanswered(&mut scene, 1, [203, 0, 113, 9]).unwrap();
    turnover(&mut scene);
    let slot = scene.message(false, "SIP/2.0 200 OK", "one", "1 INVITE", Some(("192.0.2.2", 4002)));
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), None, "it proves itself");
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 2), Some(slot));
    assert_eq!(scene.table.conditions().get(Condition::MidCallStart), 1);
}

#[test]
fn flows_of_no_call_make_room_for_claimed_media() {
    let mut scene = limited(Limits { flows: 64, ..Limits::default() });
    let slot = scene.call("one", 4000, 4002);
    let mut seen = 0;
    for port in 0..1_000_u16 {
        scene.packet(at([203, 0, 113, 5], 10_000 + port), at([203, 0, 113, 6], 9), 1, 1);
        seen += 1;
    }
    assert_eq!(scene.packet(at(CALLER, 4000), at(CALLEE, 4002), 7, 1), Some(slot));
    assert_eq!(scene.packet(at(CALLEE, 4002), at(CALLER, 4000), 8, 1), Some(slot));
    assert_eq!(scene.table.conditions().get(Condition::FlowTableFull), 1_000 + 2 - 64);
    scene.table.finish();
    assert_eq!(scene.lost(), seen, "every packet that waited is counted");
    assert_eq!(scene.table.flows.held_bytes, 0);
}

#[test]
fn flows_of_calls_are_never_given_up() {
    let mut scene = limited(Limits { flows: 2, ..Limits::default() });
    let slot = scene.call("one", 4000, 4002);
    let (a, b) = (at(CALLER, 4000), at(CALLEE, 4002));
    assert_eq!((scene.packet(a, b, 7, 1), scene.packet(b, a, 8, 1)), (Some(slot), Some(slot)));
    for port in 0..100 {
        assert_eq!(scene.counted(at([203, 0, 113, 5], 10_000 + port), at([203, 0, 113, 6], 9), 1, 1), (0, 1));
    }
    assert_eq!((scene.packet(a, b, 7, 2), scene.packet(b, a, 8, 2)), (Some(slot), Some(slot)));
}

#[test]
fn media_without_signalling_leaves_room_for_calls() {
    let mut scene = limited(Limits { calls: 10, orphans: 4, ..Limits::default() });
    scene.table.config.orphans = true;
    for port in 0..50 {
        for sequence in 0..20 {
            scene.packet(at([203, 0, 113, 5], 10_000 + 2 * port), at([203, 0, 113, 6], 8), 1, sequence);
        }
    }
    assert_eq!(scene.table.live(), 4);
    scene.call("one", 4000, 4002);
    assert_eq!(scene.table.live(), 5);
}

#[test]
fn one_call_has_a_ceiling_on_everything() {
    let mut scene = Scene::new(false);
    let slot = scene.call("one", 4000, 4002);
    for round in 0..3_000_u16 {
        let sdp = Some(("192.0.2.1", 4_000 + 2 * (round % 2_000)));
        scene.message(true, "UPDATE sip:b@x SIP/2.0", "one", &format!("{} UPDATE", 2 + round), sdp);
    }
    for tag in 0..500 {
        let answer = format!(
            "SIP/2.0 200 OK\r\nCall-ID: one\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>;tag={tag}{}\r\n\
             CSeq: 1 INVITE\r\n\r\n",
            "x".repeat(2_000)
        );
        scene.text(false, &answer).unwrap();
    }
    for (round, direction) in (0..4_000).zip(["sendonly", "sendrecv"].into_iter().cycle()) {
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {}\r\na={direction}\r\n",
            round % 128
        );
        let text = format!(
            "UPDATE sip:b@x SIP/2.0\r\nCall-ID: one\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>;tag=b\r\n\
             CSeq: {} UPDATE\r\nContent-Type: application/sdp\r\n\r\n{body}",
            5_000 + round
        );
        scene.text(true, &text).unwrap();
        while scene.table.poll_event().is_some() {}
    }
    let entry = scene.table.call(slot).unwrap();
    assert_eq!((entry.endpoints().len(), entry.control().len()), (CALL_ADDRESSES_MAX, CALL_ADDRESSES_MAX));
    assert!(scene.table.conditions().get(Condition::CallFull) > 2_000);
    let session = entry.session.as_ref().unwrap();
    assert_eq!(session.dialogs(), CALL_DIALOGS_MAX);
    scene.table.finish();
    let Some(Event::Closed { closed, .. }) = scene.table.poll_event() else { panic!("not closed") };
    assert!(closed.holds.len() <= CALL_HOLDS_MAX + 1 && closed.holds.len() > 1_000, "{}", closed.holds.len());
    // And nothing of it stays in the tables.
    let port = |port| Path { net: Net::PLAIN, src: at(CALLER, port), dst: at(CALLEE, port) };
    assert!((4_000..8_100).all(|at| scene.table.control(port(at)).is_none()));
}

#[test]
fn long_headers_are_kept_short() {
    let mut scene = Scene::new(false);
    let long = "y".repeat(40_000);
    let text = format!(
        "INVITE sip:b@x SIP/2.0\r\nCall-ID: {long}\r\nFrom: <sip:{long}@x>;tag={long}\r\n\
         To: <sip:{long}@x>\r\nCSeq: 1 INVITE\r\nVia: SIP/2.0/UDP h;branch={long}\r\n\r\n"
    );
    let slot = scene.text(true, &text).unwrap();
    assert_eq!(scene.text(true, &text), Ok(slot), "and still it is known again");
    scene.table.finish();
    while let Some(event) = scene.table.poll_event() {
        if let Event::Closed { closed, .. } = event {
            let kept = [&closed.call_ids[0], &closed.from, &closed.to];
            assert!(kept.iter().all(|text| text.len() <= HEADER_BYTES_MAX));
        }
    }
    assert!(scene.table.by_call_id.is_empty());
}

#[test]
fn calls_of_one_call_id_have_a_ceiling() {
    let mut scene = Scene::new(false);
    let admitted = (0..100_u16).filter(|vlan| {
        scene.net = Net::PLAIN.tagged(*vlan);
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=i{vlan}\r\nCall-ID: one\r\n\
             From: <sip:a@x>;tag=f{vlan}\r\nTo: <sip:b@x>\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        scene.text(true, &text).is_ok()
    });
    assert_eq!(admitted.count(), crate::base::limits::CALL_ID_CALLS_MAX);
}

/// The order of a hash table is never seen from outside.
#[test]
fn another_seed_changes_nothing_that_comes_out() {
    let run = |seed: u64| {
        let mut scene = Scene::new(false);
        let config = Config { orphans: true, seed: crate::base::seed::HashSeed(seed), ..Config::default() };
        scene.table = Table::new(config);
        for call in 0..40_u16 {
            scene.call(&format!("call-{call}"), 4000 + 4 * call, 4002 + 4 * call);
        }
        let mut verdicts = Vec::new();
        for sequence in 0..20 {
            for port in 0..80_u16 {
                let (src, dst) = (at(CALLER, 4000 + 4 * port), at(CALLEE, 4002 + 4 * port));
                verdicts.push(scene.packet(src, dst, u32::from(port), sequence));
            }
        }
        scene.table.finish();
        let mut events = Vec::new();
        while let Some(event) = scene.table.poll_event() {
            events.push(format!("{event:?}"));
        }
        (verdicts, events, scene.table.take_books())
    };
    assert_eq!(run(1), run(2));
}
