use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::app::{App, Flow, Mode, Sort};
use super::view::{Theme, draw};
use crate::base::time::Stamp;
use crate::shell::status::snapshot::{
    CallCounts, CallState, Canary, ConfigFacts, Drops, Health, Interface, Journal, LiveCall, Queue, Rates,
    Snapshot, Store,
};

fn at(seconds: u64) -> Stamp {
    Stamp::from_unix_nanos((1_795_468_000 + seconds) * 1_000_000_000)
}

fn snapshot(packets_per_s: f64, live: u64) -> Snapshot {
    let interface = |name: &str, up, kernel_drops| Interface {
        name: name.into(),
        up,
        kernel_drops,
        ..Interface::default()
    };
    Snapshot {
        version: "0.1.0".into(),
        recorder: "rec-1".into(),
        config: ConfigFacts { version: "7".into(), ..ConfigFacts::default() },
        now: at(4_000),
        uptime_s: 4_000.0,
        health: Health { ok: true, reasons: Vec::new() },
        rates: Rates { packets_per_s, bits_per_s: packets_per_s * 1_720.0, drops_per_s: 0.0 },
        interfaces: vec![interface("eth0", true, 0)],
        calls: CallCounts { live, finished: Vec::new() },
        queues: vec![
            Queue { name: "store".into(), used: 1, size: 4_096 },
            Queue { name: "shard-0".into(), used: 3, size: 64 },
        ],
        journal: Some(Journal { lag_ms: 212.0, ..Journal::default() }),
        store: Store {
            disk_free_bytes: Some(1_234_567_890_123),
            full_in_s: Some(2_700_000.0),
            ..Store::default()
        },
        canary: Canary { enabled: true, last_success: Some(at(3_969)), failures: 0, fault: None },
        ..Snapshot::default()
    }
}

fn degraded() -> Snapshot {
    let mut snapshot = snapshot(9_000.0, 3);
    snapshot.interfaces[0].kernel_drops = 1_234;
    snapshot.interfaces.push(Interface { name: "eth1".into(), ..Interface::default() });
    snapshot.drops = Drops { kernel: 1_234, queue: 0, last_minute: 5 };
    snapshot.health.ok = false;
    snapshot.health.reasons = vec!["interface eth1 is down".into(), "a".into(), "b".into()];
    snapshot
}

fn call(number: u64, trunk: &str, state: CallState, codecs: [&str; 2], loss_percent: f64) -> LiveCall {
    LiveCall {
        id: format!("0193c4a5-0000-7000-8000-{number:012}"),
        trunk: trunk.into(),
        rule: "all@3".into(),
        format: "opus".into(),
        since: at(4_000 - number * 125),
        state,
        codecs: codecs.map(String::from),
        packets: 1_000 * number,
        lost: 10,
        loss_percent,
        jitter_ms: number as f64 * 1.5,
        kbit_s: 128.0,
        parties: None,
    }
}

fn calls() -> Vec<LiveCall> {
    vec![
        call(3, "carrier-a", CallState::Talking, ["PCMU", "PCMU"], 0.1),
        call(2, "a trunk with a name that is much too long", CallState::Held, ["OPUS", "G722"], 7.5),
        call(1, "evil\u{1b}[2J\nname", CallState::Ringing, ["", ""], 0.0),
    ]
}

fn app() -> App {
    let mut app = App::default();
    for second in 0..5 {
        app.heard(snapshot(10_000.0 + 1_000.0 * f64::from(second), 1_230), calls());
    }
    app
}

fn picture(app: &mut App, width: u16, height: u16, color: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, Theme { color })).unwrap();
    terminal.backend().clone()
}

/// As a terminal shows it, without spaces at the ends of lines.
fn text(app: &mut App, width: u16, height: u16) -> String {
    let backend = picture(app, width, height, true);
    let cells = backend.buffer().content().chunks(usize::from(width));
    let lines = cells.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn press(app: &mut App, keys: &str) -> Flow {
    let mut flow = Flow::Stay;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '⇟' => KeyCode::PageDown,
            '⇱' => KeyCode::Home,
            '⇲' => KeyCode::End,
            '←' => KeyCode::Backspace,
            other => KeyCode::Char(other),
        };
        flow = app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    flow
}

#[track_caller]
fn assert_looks_like(found: &str, expected: &str) {
    assert!(found == expected, "expected\n{expected}\nfound\n{found}");
}

#[test]
fn the_table_at_80_by_24() {
    assert_looks_like(&text(&mut app(), 80, 24), include_str!("golden/table_80x24.txt"));
}

#[test]
fn trouble_is_told_at_80_by_24() {
    let mut app = app();
    app.heard(degraded(), calls());
    press(&mut app, "s↓");
    assert_looks_like(&text(&mut app, 80, 24), include_str!("golden/trouble_80x24.txt"));
}

#[test]
fn one_call_at_80_by_24() {
    let mut app = app();
    press(&mut app, "↓↓\n");
    assert_looks_like(&text(&mut app, 80, 24), include_str!("golden/detail_80x24.txt"));
}

#[test]
fn wide_terminals_show_more() {
    let narrow = text(&mut app(), 20, 24);
    assert!(narrow.lines().next().is_some_and(|line| line.ends_with(" OK")), "{narrow}");
    let wide = text(&mut app(), 160, 24);
    assert!(wide.contains("0193c4a5-0000-7000-8000-000000000003") && wide.contains("all@3"), "{wide}");
    assert!(wide.lines().any(|line| line.contains("PACKETS") && line.contains("RULE")));
    let mut helped = app();
    press(&mut helped, "?");
    assert!(text(&mut helped, 80, 24).contains("recording goes on"));
}

#[test]
fn no_size_is_too_small() {
    for mode in ["", "?", "\n", "/abc"] {
        let mut app = app();
        app.heard(degraded(), calls());
        press(&mut app, mode);
        for (width, height) in [(1, 1), (2, 3), (10, 5), (30, 8), (79, 19), (80, 20), (300, 100)] {
            picture(&mut app, width, height, true);
        }
        picture(&mut App::default(), 1, 1, true);
    }
}

#[test]
fn colours_are_left_out_where_asked_and_say_what_is_wrong() {
    let mut app = app();
    app.heard(degraded(), calls());
    let has_color =
        |backend: &TestBackend, color: Color| backend.buffer().content().iter().any(|c| c.fg == color);
    let colored = picture(&mut app, 80, 24, true);
    assert!(has_color(&colored, Color::Red) && has_color(&colored, Color::Cyan));
    let plain = picture(&mut app, 80, 24, false);
    assert!(plain.buffer().content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[test]
fn keys_sort_filter_and_mark() {
    let mut app = app();
    let order = |app: &App| app.shown().iter().map(|call| call.id.clone().pop().unwrap()).collect::<String>();
    assert_eq!(order(&app), "321");
    press(&mut app, "s");
    assert_eq!((app.sort, order(&app)), (Sort::Loss, "231".into()));
    press(&mut app, "r");
    assert_eq!(order(&app), "132");
    press(&mut app, "rsssss");
    assert_eq!((app.sort, order(&app)), (Sort::Newest, "321".into()));
    press(&mut app, "/G722x←");
    assert_eq!((app.mode, order(&app)), (Mode::Filter, "2".into()));
    press(&mut app, "\n");
    assert_eq!((app.mode, app.filter.as_str()), (Mode::Table, "G722"));
    press(&mut app, "/q");
    assert!(order(&app).is_empty() && text(&mut app, 80, 24).contains("no call has this"));
    assert_eq!(press(&mut app, "\n\n"), Flow::Stay);
    assert_eq!(app.mode, Mode::Table);
    press(&mut app, "\u{1b}");
    assert_eq!(order(&app), "321");
    let marked = |app: &App| app.marked.as_ref().and_then(|id| id.chars().last());
    for (keys, mark) in [("↓", '3'), ("↓", '2'), ("⇲", '1'), ("↓", '1'), ("⇱", '3'), ("↑", '3'), ("⇟", '1')]
    {
        picture(&mut app, 80, 24, true);
        press(&mut app, keys);
        assert_eq!(marked(&app), Some(mark), "{keys}");
    }
    assert_eq!(press(&mut app, "q"), Flow::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut app, "/");
    assert_eq!(app.key(control_c), Flow::Quit);
}

#[test]
fn a_view_that_is_held_stays_and_a_marked_call_that_ends_is_told() {
    let mut app = app();
    press(&mut app, " ");
    app.heard(snapshot(0.0, 0), Vec::new());
    assert_eq!((app.calls.len(), app.packets.len()), (3, 5));
    assert!(text(&mut app, 80, 24).contains("VIEW PAUSED"));
    press(&mut app, " ↓\n");
    app.heard(snapshot(0.0, 0), Vec::new());
    assert!(text(&mut app, 80, 24).contains("The call is over."));
    app.unheard("asking the recorder: broken pipe".into());
    let shown = text(&mut app, 80, 24);
    assert!(shown.contains("NOT ANSWERING") && shown.contains("! asking the recorder"), "{shown}");
}
