//! The signed log as people and programs read it: receipts and events, in order, without a key.

use std::fs;
use std::path::Path;

use sejf::base::time::Stamp;
use sejf::recording::manifest::RecorderFacts;
use sejf::seal::event::{Event, EventKind, Stop};
use sejf::shell::disk::RealDisk;
use sejf::shell::events::Events;
use sejf::shell::identity;
use sejf::shell::receipts::ReceiptLog;

use crate::faults;
use crate::support::{Bench, assert_success, lines, own_captures, sejf, text};

/// Adds events to the log of a directory.
fn note(to: &Path, events: impl IntoIterator<Item = Event>) {
    let mut log = ReceiptLog::open(to, identity::from_seed(&[1; 32])).expect("the log");
    for event in events {
        log.append_event(&event).expect("an event");
    }
    log.commit(&mut RealDisk::new(true)).expect("a commit");
}

fn event(seconds: u64, kind: EventKind) -> Event {
    let signer = identity::from_seed(&[1; 32]);
    Event::new(Stamp::from_unix_nanos(seconds * 1_000_000_000), kind, signer.name(), "0.1.0")
}

fn started() -> EventKind {
    EventKind::Started { rules: "3-1f2e3d4c5b6a".into(), config_sha256: [0xab; 32] }
}

#[test]
fn receipts_and_events_are_told_in_order_and_verified() {
    let bench = Bench::new();
    let to = bench.path("out");
    note(&to, [event(1_000, started()), event(1_001, EventKind::InterfaceDown { interface: "eth1".into() })]);
    let capture =
        own_captures().into_iter().find(|path| text(path).ends_with("basic.pcap")).expect("a capture");
    faults::run(&capture, &to, 7, None).expect("a replay");
    let changes = vec!["rule.sales.action changed".to_owned()];
    note(
        &to,
        [
            event(
                2_000_000_000,
                EventKind::ConfigurationChanged {
                    rules_before: "3-1f2e3d4c5b6a".into(),
                    rules: "4-6a5b4c3d2e1f".into(),
                    config_sha256: [1; 32],
                    changes,
                    more: 2,
                },
            ),
            // The run before left no word.
            event(2_000_000_001, started()),
            event(
                2_000_000_002,
                EventKind::Dropped { from: Stamp::ZERO, to: Stamp::ZERO, kernel: 1_234, queue: 5 },
            ),
            event(2_000_000_003, EventKind::Stopped { how: Stop::Asked }),
            event(2_000_000_004, started()),
        ],
    );

    let told = sejf(&["log", text(&to)]);
    assert_success(&told);
    let said = String::from_utf8(told.stdout).expect("text");
    let rows: Vec<&str> = said.lines().collect();
    let wanted = [
        "1970-01-01 00:16:40  started  ",
        "1970-01-01 00:16:41  interface-down  ",
        "complete  ",
        "configuration-changed  rules 3-1f2e3d4c5b6a to 4-6a5b4c3d2e1f, file 010101010101: rule.sales.action changed, and 2 more",
        "the run before did not stop but died",
        "1,234 packets by the kernel, 5 by a queue",
        "stopped  ",
        "rules 3-1f2e3d4c5b6a, file abababababab",
    ];
    assert_eq!(rows.len(), wanted.len(), "{said}");
    for (row, words) in rows.iter().zip(wanted) {
        let blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(blank(row).contains(&blank(words)), "`{words}` is not in: {row}");
    }
    assert!(!rows[7].contains("died"), "{}", rows[7]);

    let values = lines(&sejf(&["log", text(&to), "--json"]).stdout);
    assert_eq!(values.len(), wanted.len());
    assert!(values.iter().zip(0_u64..).all(|(value, index)| value["index"] == index));
    assert_eq!(values[1]["event"]["event"]["interface"], "eth1");
    assert_eq!(values[2]["receipt"]["state"], "complete");
    assert_eq!(lines(&sejf(&["log", text(&to), "--json", "--events"]).stdout).len(), wanted.len() - 1);

    let verified = sejf(&["verify", text(&to), "--json"]);
    assert_success(&verified);
    let report = lines(&verified.stdout).remove(0);
    assert_eq!((&report["receipts"], &report["events"]), (&1.into(), &7.into()), "{report}");
    let people = String::from_utf8(sejf(&["verify", text(&to)]).stdout).expect("text");
    assert!(people.contains("1 receipts and 7 events by "), "{people}");
}

#[test]
fn a_damaged_log_is_told_as_far_as_it_can_be_read() {
    let bench = Bench::new();
    let to = bench.path("out");
    note(
        &to,
        [event(1, started()), event(2, EventKind::JournalDegraded), event(3, EventKind::JournalRestored)],
    );
    let bundle = to.join("receipts/tile/entries/000.p/3");
    let whole = fs::read(&bundle).expect("entries");
    let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut changed = whole;
    let at = changed.windows(8).position(|word| word == b"degraded").expect("the word");
    changed[at..at + 8].copy_from_slice(b"restored");
    fs::write(&bundle, changed).expect("changing");
    let told = sejf(&["log", text(&to), "--json"]);
    assert_eq!(told.status.code(), Some(1));
    let values = lines(&told.stdout);
    assert_eq!(values.iter().map(|value| &value["index"]).collect::<Vec<_>>(), [0, 2], "{values:?}");
    assert!(text_of(&told.stderr).contains("tile/entries/000.p/3"), "{}", text_of(&told.stderr));
    fs::remove_dir_all(to.join("receipts")).expect("removing");
    let told = sejf(&["log", text(&to)]);
    assert_eq!((told.status.code(), told.stdout.len()), (Some(1), 0));
    assert!(text_of(&told.stderr).contains("no receipts"));
}

#[test]
fn events_say_who_they_are_of() {
    let events = Events::new(&RecorderFacts { id: "recorder-1".into(), version: "0.1.0".into() });
    let entry = String::from_utf8(events.stopped(Stop::Failed).to_entry()).expect("text");
    assert!(entry.contains(r#""event":{"kind":"stopped","how":"failed"}"#), "{entry}");
    assert!(entry.ends_with(r#""recorder":"recorder-1","version":"0.1.0"}"#), "{entry}");
    let entry = String::from_utf8(events.shedding("none", "as-sent").to_entry()).expect("text");
    assert!(entry.contains(r#"{"kind":"shedding-changed","before":"none","level":"as-sent"}"#), "{entry}");
}
