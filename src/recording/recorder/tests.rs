use std::sync::Arc;

use super::*;
use crate::call::session::Rung;
use crate::seal::random::Seeded;

struct Nowhere;

impl Sink for Nowhere {
    fn chunk(&mut self, name: &str, _: SealedChunk) {
        panic!("{name} of a call that is left out");
    }
}

#[test]
fn of_a_call_that_a_rule_keeps_out_nothing_is_told_but_that_it_was() {
    let config = Config {
        keep: Keep::Nothing,
        priority: 0,
        folder: "",
        content: Content::Opus,
        recipients: Recipients::default(),
        recorder: RecorderFacts { id: "r".into(), version: "1".into() },
        labels: ["t".into(), "private@1".into(), "default".into()],
        mask_digits: false,
        pause: None,
    };
    let start = Stamp::from_unix_nanos(1_795_000_000_000_000_000);
    let at = crate::base::endpoint::Endpoint::new(std::net::Ipv4Addr::new(192, 0, 2, 77).into(), 5_060);
    let closed = Closed {
        call_ids: vec!["secret-id".into()],
        from: "sip:+4822secret@x".into(),
        to: "sip:+4861secret@x".into(),
        caller: "+4822secret".into(),
        callee: "+4861secret".into(),
        start,
        end: start,
        answered: Some(start),
        status: Some(200),
        ended_by: EndedBy::Bye,
        orphan: false,
        mid_call: true,
        holds: Vec::new(),
        media_after: None,
        ladder: vec![Rung {
            at: start,
            src: at,
            dst: at,
            message: "secret".into(),
            cseq: "1 secret".into(),
            sdp: false,
        }],
        ladder_more: 0,
        sdp_unreadable: 0,
    };
    let random = Box::new(Seeded::new(&[7; 32], "test", 0));
    let recorder = Recorder::new(Arc::new(config), start, false, random);
    let finished = recorder.close(closed, &mut Scratch::default(), &mut Nowhere);
    let json = serde_json::to_string(&finished.manifest).unwrap();
    assert_eq!((finished.manifest.state, finished.files.len()), (State::Excluded, 0));
    assert!(!json.contains("secret") && !json.contains("192.0.2.77"), "{json}");
    assert!(json.contains("private@1"), "which rule it was");
}
