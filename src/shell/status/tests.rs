use super::board::BOARD_MAX;
use super::snapshot::{CallState, Parties};
use super::*;
use crate::base::counters::Discard;

fn status(parties: bool) -> Status {
    let status = Status::new(About { recorder: "rec-1".into(), parties });
    status.set_config("7", &["carrier".into()]);
    status.set_capturing(true);
    status.set_recipients_probed(true);
    status.set_interface(Interface { name: "eth0".into(), up: true, ..Interface::default() });
    status
}

fn opened(number: u64) -> CallOpened {
    CallOpened {
        id: format!("{number:08}"),
        trunk: "carrier".into(),
        rule: "all@1".into(),
        format: "opus",
        since: Stamp::from_unix_nanos(number * 1_000_000_000),
        parties: Some(Parties { caller: "+12015550100".into(), callee: "+16015550100".into() }),
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn rates_and_drops_are_of_the_last_second_and_minute() {
    let status = status(false);
    let eth0 = |captured, bytes, kernel_drops, queue_drops| Interface {
        name: "eth0".into(),
        up: true,
        captured,
        bytes,
        kernel_drops,
        queue_drops,
    };
    status.set_interface(eth0(500, 50_000, 0, 0));
    status.second_at(at(1));
    status.set_interface(eth0(1_500, 250_000, 3, 4));
    status.second_at(at(3));
    let shown = status.snapshot_at(Stamp::ZERO, at(3));
    assert_eq!(shown.rates, Rates { packets_per_s: 500.0, bits_per_s: 800_000.0, drops_per_s: 3.5 });
    assert_eq!((shown.drops.kernel, shown.drops.queue, shown.drops.last_minute), (3, 4, 7));
    assert_eq!(shown.health.reasons, ["7 packets dropped in the last minute"]);
    (4..70).for_each(|second| status.second_at(at(second)));
    status.beat_at(at(70));
    let shown = status.snapshot_at(Stamp::ZERO, at(70));
    assert_eq!((shown.drops.kernel, shown.drops.last_minute, shown.rates.packets_per_s), (3, 0, 0.0));
    assert!(shown.health.ok, "{:?}", shown.health.reasons);
}

#[test]
fn who_speaks_is_kept_only_where_permitted_and_told_only_where_asked() {
    for (permitted, asked, told) in
        [(false, false, false), (false, true, false), (true, false, false), (true, true, true)]
    {
        let status = status(permitted);
        status.call_opened(opened(1));
        let calls = status.calls(asked);
        assert_eq!(calls[0].parties.is_some(), told, "{permitted} {asked}");
        let json = serde_json::to_string(&calls).unwrap();
        // The whole number: three of its digits may stand in a time of day as well.
        assert_eq!(json.contains("+12015550100"), told, "{json}");
        assert!(permitted || !format!("{status:?}").contains("+12015550100"));
    }
}

#[test]
fn calls_are_told_newest_first_and_no_more_than_there_is_room_for() {
    let status = status(false);
    let count = BOARD_MAX as u64 + 10;
    (0..count).for_each(|number| status.call_opened(opened(number)));
    let calls = status.calls(false);
    assert_eq!(calls.len(), CALLS_SHOWN_MAX);
    assert_eq!(calls[0].id, format!("{:08}", count - 1));
    assert!(calls.is_sorted_by(|a, b| a.since > b.since));
    assert_eq!(status.board().newest(usize::MAX, false).len(), BOARD_MAX);
    assert_eq!(status.snapshot().calls.live, count);
    (0..count).for_each(|number| status.call_closed(&format!("{number:08}")));
    assert!(status.calls(false).is_empty());
    status.call_closed("nobody");
    assert_eq!(status.snapshot().calls.live, 0);
}

#[test]
fn a_call_has_rate_and_loss() {
    let status = status(false);
    status.call_opened(opened(10));
    let stats = CallStats {
        state: CallState::Held,
        codecs: ["PCMU", "G722"],
        packets: 75,
        bytes: 16_000,
        lost: 25,
        jitter_ms: 1.5,
    };
    let second = |seconds: u64| Stamp::from_unix_nanos(seconds * 1_000_000_000);
    status.call_stats("00000010", second(12), &stats);
    let call = status.calls(false).remove(0);
    assert_eq!((call.loss_percent, call.kbit_s, call.state), (25.0, 64.0, CallState::Held));
    assert_eq!(call.codecs, ["PCMU", "G722"]);
    // Told again too soon, the rate stays; a stop of capture time does not divide by zero.
    status.call_stats("00000010", second(12), &CallStats { bytes: 99_999, ..stats });
    assert_eq!(status.calls(false)[0].kbit_s, 64.0);
    status.call_stats("00000010", second(14), &stats);
    assert_eq!(status.calls(false)[0].kbit_s, 0.0);
    status.call_stats("unknown", second(14), &stats);
    assert_eq!(status.calls(false).len(), 1);
}

#[test]
fn finished_calls_are_counted_by_trunks_of_the_configuration() {
    let status = status(false);
    status.finished(State::Complete, "carrier");
    (0..3_000).for_each(|number| status.finished(State::Interrupted, &format!("made up {number}")));
    let finished = status.snapshot().calls.finished;
    let flat: Vec<_> = finished.iter().map(|f| (f.state.as_str(), f.trunk.as_str(), f.calls)).collect();
    assert_eq!(flat, [("complete", "carrier", 1), ("interrupted", "other", 3_000)]);
    status.canary_enabled();
    status.finished(State::Complete, "canary");
    assert_eq!(status.snapshot().calls.finished[0].trunk, "canary");
}

#[test]
fn each_thing_that_is_wrong_is_said() {
    type Harm = fn(&Status);
    let harms: [(Harm, &str); 10] = [
        (|s| s.set_capturing(false), "not capturing"),
        (|s| s.set_recipients_probed(false), "recipients"),
        (|s| s.set_interface(Interface { name: "eth1".into(), ..Interface::default() }), "eth1 is down"),
        (|s| s.set_journal(at(0), 1, true), "journal cannot be written"),
        (|s| s.set_journal(at(2), 1, false), "2000 ms behind"),
        (|s| s.set_store(0, true), "disk fails"),
        (|s| s.disk_free_at(at(0), 0), "disk is full"),
        (|s| s.set_shedding(2), "level 2"),
        (|s| s.canary_failed(&"no receipt"), "canary call: no receipt"),
        (
            |s| (0..30).for_each(|n| s.disk_free_at(at(n * 10), 100_000 - n * 1_000)),
            "the disk is full in 0.2 h",
        ),
    ];
    for (harm, words) in harms {
        let status = status(false);
        assert!(status.snapshot_at(Stamp::ZERO, at(1)).health.ok);
        harm(&status);
        let health = status.snapshot_at(Stamp::ZERO, at(1)).health;
        assert!(!health.ok && health.reasons.len() == 1, "{words}: {health:?}");
        assert!(health.reasons[0].contains(words), "{words}: {health:?}");
    }
}

#[test]
fn a_pipeline_that_hangs_and_a_canary_that_is_missing_are_seen() {
    let status = status(false);
    status.beat_at(at(10));
    assert!(status.snapshot_at(Stamp::ZERO, at(15)).moves());
    let shown = status.snapshot_at(Stamp::ZERO, at(17));
    assert!(!shown.moves() && shown.health.reasons[0].contains("not moved for 7 s"), "{:?}", shown.health);
    status.canary_enabled();
    let started = shown.started;
    assert!(status.snapshot_at(started.after(at(100)), at(10)).health.ok);
    assert!(!status.snapshot_at(started.after(at(300)), at(10)).health.ok);
    status.canary_passed(started.after(at(250)));
    assert!(status.snapshot_at(started.after(at(300)), at(10)).health.ok);
}

#[test]
fn the_json_is_read_back_and_its_names_stay() {
    let status = status(false);
    status.add_books(&Counters {
        captured: 2,
        recorded: 1,
        discarded: [(Discard::Duplicate, 1)].into_iter().collect(),
    });
    status.set_journal(at(0), 2, false);
    status.journal_synced(Duration::from_millis(3));
    status.committed(at(1));
    status.set_queues([("store".into(), 3, 64)]);
    let shown = status.snapshot();
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["packets"]["discarded"]["duplicate"], 1);
    assert_eq!(json["queues"][0]["used"], 3);
    assert_eq!(json["journal"]["sync"]["last_s"], 0.003);
    assert_eq!(json["health"]["ok"], true);
    assert_eq!(serde_json::from_value::<Snapshot>(json).unwrap(), shown);
}

#[test]
fn memory_and_disk_are_those_of_the_system() {
    let status = status(false);
    let memory = status.snapshot().memory_bytes.unwrap();
    assert!((1 << 20..1 << 40).contains(&memory), "{memory}");
    assert!(disk_free_bytes(Path::new("/")).is_ok());
    assert!(disk_free_bytes(Path::new("/nonexistent")).is_err());
}
