//! How the live view looks.

use std::borrow::Cow;
use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use crate::base::time::Stamp;
use crate::cli::call::codecs;
use crate::cli::status::canary;
use crate::cli::text::{bits_per_s, bytes, clean_line, clock, grouped, span};
use crate::cli::top::app::{App, Mode};
use crate::shell::status::snapshot::{CallState, LiveCall, Parties, Snapshot};

/// Colours, or none (`NO_COLOR`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) color: bool,
}

impl Theme {
    fn paint(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    fn good(self) -> Style {
        self.paint(Color::Green)
    }

    fn warn(self) -> Style {
        self.paint(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme) {
    let area = frame.area();
    let Some(snapshot) = &app.snapshot else {
        let words = app.error.as_deref().unwrap_or("asking the recorder …");
        let words = Paragraph::new(clean_line(words)).wrap(Wrap { trim: true });
        frame.render_widget(words, area);
        return;
    };
    let problems = problems(app, snapshot, theme, usize::from(area.height / 10));
    let graphs = if area.height >= 20 { 4 } else { 0 };
    let heights = [3, problems.len() as u16, graphs, u16::MAX, 1];
    let [head, problem, graph, table, foot] = Layout::vertical([
        Constraint::Length(heights[0]),
        Constraint::Length(heights[1]),
        Constraint::Length(heights[2]),
        Constraint::Min(2),
        Constraint::Length(heights[4]),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(app, snapshot, theme, area.width)), head);
    frame.render_widget(Paragraph::new(problems), problem);
    draw_graphs(frame, graph, app, theme);
    let footer = footer(app, theme);
    app.page = usize::from(table.height.saturating_sub(1));
    draw_calls(frame, table, app, theme);
    frame.render_widget(Paragraph::new(footer), foot);
    match app.mode {
        Mode::Help => draw_help(frame, area),
        Mode::Detail => draw_detail(frame, area, app),
        Mode::Table | Mode::Filter => {}
    }
}

fn header(app: &App, snapshot: &Snapshot, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let state = match (&app.error, app.paused, snapshot.health.ok) {
        (Some(_), ..) => Span::styled("NOT ANSWERING", theme.bad()),
        (None, true, _) => Span::styled("VIEW PAUSED", theme.warn()),
        (None, false, true) => Span::styled("OK", theme.good()),
        (None, false, false) => Span::styled("DEGRADED", theme.bad()),
    };
    let title = format!(
        "{}  sejf {}  up {}  config {}  ",
        clean_line(&snapshot.recorder),
        clean_line(&snapshot.version),
        span(snapshot.uptime_s),
        clean_line(if snapshot.config.version.is_empty() { "-" } else { &snapshot.config.version }),
    );
    // On a narrow screen the state is what must be seen.
    let room = usize::from(width).saturating_sub(state.width() + 1);
    let title: String = title.chars().take(room).collect();
    let room = room + 1 - title.chars().count();
    let title = Line::from(vec![
        Span::styled(title, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(" ".repeat(room)),
        state,
    ]);
    vec![title, traffic(snapshot, theme), storage(snapshot, theme)]
}

/// Rates, calls, and what was dropped where.
fn traffic(snapshot: &Snapshot, theme: Theme) -> Line<'static> {
    let rates = &snapshot.rates;
    let mut spans = vec![Span::raw(format!(
        "{} pkt/s  {}  {} calls  ",
        grouped(rates.packets_per_s as u64),
        bits_per_s(rates.bits_per_s),
        grouped(snapshot.calls.live)
    ))];
    let drops = &snapshot.drops;
    if drops.kernel + drops.queue == 0 {
        spans.push(Span::styled("no drops  ", theme.good()));
    } else {
        let text = format!("drops: kernel {} queue {}  ", grouped(drops.kernel), grouped(drops.queue));
        spans.push(Span::styled(text, if drops.last_minute > 0 { theme.bad() } else { theme.warn() }));
    }
    // What is wrong first: the end of a long line is cut.
    let mut interfaces: Vec<_> = snapshot.interfaces.iter().collect();
    interfaces.sort_by_key(|i| (i.up, i.kernel_drops + i.queue_drops == 0));
    for interface in interfaces {
        let name = clean_line(&interface.name);
        spans.push(match interface.up {
            true if interface.kernel_drops + interface.queue_drops > 0 => {
                let dropped = grouped(interface.kernel_drops + interface.queue_drops);
                Span::styled(format!("{name} -{dropped}  "), theme.warn())
            }
            true => Span::raw(format!("{name} up  ")),
            false => Span::styled(format!("{name} DOWN  "), theme.bad()),
        });
    }
    Line::from(spans)
}

/// Queues, journal, disk, canary.
fn storage(snapshot: &Snapshot, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    // The fullest queue is the one that matters.
    let fullness = |used: u64, size: u64| used as f64 / size.max(1) as f64;
    let fullest =
        snapshot.queues.iter().max_by(|a, b| fullness(a.used, a.size).total_cmp(&fullness(b.used, b.size)));
    if let Some(queue) = fullest {
        let text = format!("queue {} {}/{}  ", clean_line(&queue.name), queue.used, queue.size);
        let style = match fullness(queue.used, queue.size) {
            0.0..0.5 => Style::new(),
            0.5..0.9 => theme.warn(),
            _ => theme.bad(),
        };
        spans.push(Span::styled(text, style));
    }
    if let Some(journal) = &snapshot.journal {
        let text = format!("journal {:.0} ms  ", journal.lag_ms);
        let style = if journal.degraded || journal.lag_ms > 1_000.0 { theme.bad() } else { Style::new() };
        spans.push(Span::styled(text, style));
    }
    let (faulty, said) = match &snapshot.canary {
        canary if canary.fault.is_some() => (true, "FAILS".into()),
        _ => (false, canary(&snapshot.canary, snapshot)),
    };
    let style = if faulty { theme.bad() } else { Style::new() };
    spans.push(Span::styled(format!("canary {said}  "), style));
    if snapshot.shedding > 0 {
        spans.push(Span::styled(format!("shedding {}  ", snapshot.shedding), theme.bad()));
    }
    let store = &snapshot.store;
    let free = store.disk_free_bytes.map(|free| format!("disk {} free", bytes(free)));
    if let Some(disk) = store.full_in_s.map(|seconds| format!("disk full in {}", span(seconds))).or(free) {
        spans.push(Span::styled(disk, if store.failing { theme.bad() } else { Style::new() }));
    }
    Line::from(spans)
}

/// What is wrong, in at most so many lines.
fn problems(app: &App, snapshot: &Snapshot, theme: Theme, lines: usize) -> Vec<Line<'static>> {
    let reasons = app.error.iter().chain(&snapshot.health.reasons);
    let reasons: Vec<_> = reasons.map(|reason| format!("! {}", clean_line(reason))).collect();
    let more = reasons.len().saturating_sub(lines.max(1));
    let mut shown: Vec<_> = reasons.into_iter().take(lines.max(1)).collect();
    if let Some(last) = shown.last_mut().filter(|_| more > 0) {
        last.push_str(&format!("  (and {more} more: sejf status)"));
    }
    shown.into_iter().map(|text| Line::styled(text, theme.bad())).collect()
}

fn draw_graphs(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    if area.height == 0 {
        return;
    }
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
    for (area, name, history, color) in
        [(left, "packets/s", &app.packets, Color::Cyan), (right, "calls", &app.live, Color::Blue)]
    {
        let width = usize::from(area.width);
        let shown = latest(history, width);
        let most = shown.iter().copied().max().unwrap_or(0);
        let title = format!("{name}, {} s, most {}", shown.len(), grouped(most));
        let block = Block::new().title(Line::styled(title, theme.dim()));
        // The newest at the right edge, whatever there is.
        let padded: Vec<_> = std::iter::repeat_n(0, width - shown.len()).chain(shown).collect();
        let graph = Sparkline::default().block(block).data(padded).max(most.max(1)).style(theme.paint(color));
        frame.render_widget(graph, area);
    }
}

fn latest(history: &VecDeque<u64>, count: usize) -> Vec<u64> {
    history.iter().skip(history.len().saturating_sub(count)).copied().collect()
}

/// A column: its heading, its width, and what it says of a call.
struct Column {
    head: &'static str,
    width: Constraint,
    is_number: bool,
    say: fn(&LiveCall, Stamp) -> String,
}

/// The columns that fit.
fn columns(width: u16, with_parties: bool) -> Vec<Column> {
    let text = |head, width, say| Column { head, width, is_number: false, say };
    let number = |head, width, say| Column { head, width: Constraint::Length(width), is_number: true, say };
    let length = Constraint::Length;
    let mut columns = vec![
        number("AGE", 8, |call, now| clock(now.since(call.since).as_secs_f64())),
        text("STATE", length(7), |call, _| call.state.as_str().into()),
        text("TRUNK", Constraint::Fill(2), |call, _| clean_line(&call.trunk)),
        text("CODECS", length(11), |call, _| codecs(call)),
        number("LOSS %", 6, |call, _| format!("{:.1}", call.loss_percent)),
        number("JITTER", 6, |call, _| format!("{:.1}", call.jitter_ms)),
        number("KBIT/S", 6, |call, _| format!("{:.0}", call.kbit_s)),
    ];
    if width >= 100 {
        columns.push(number("PACKETS", 10, |call, _| call.packets.to_string()));
        columns.push(text("FORMAT", length(6), |call, _| clean_line(&call.format)));
        columns.push(text("RULE", Constraint::Fill(1), |call, _| clean_line(&call.rule)));
    }
    if with_parties {
        columns.insert(2, text("FROM", Constraint::Fill(2), |call, _| party(call, |p| &p.caller)));
        columns.insert(3, text("TO", Constraint::Fill(2), |call, _| party(call, |p| &p.callee)));
    }
    columns.push(match width {
        140.. => text("ID", length(36), |call, _| clean_line(&call.id)),
        _ => text("ID", length(12), |call, _| short(&call.id)),
    });
    columns
}

fn party(call: &LiveCall, choose: fn(&Parties) -> &str) -> String {
    call.parties.as_ref().map(|parties| clean_line(choose(parties))).unwrap_or_default()
}

/// The random end of an id: its beginning is the time, and much alike.
fn short(id: &str) -> String {
    let tail: String = id.chars().rev().take(12).collect();
    clean_line(&tail.chars().rev().collect::<String>())
}

fn draw_calls(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let now = app.snapshot.as_ref().map_or(Stamp::ZERO, |snapshot| snapshot.now);
    let with_parties = app.calls.iter().any(|call| call.parties.is_some());
    let columns = columns(area.width, with_parties);
    let shown = app.shown();
    let marked = app.marked.as_ref().and_then(|id| shown.iter().position(|call| call.id == *id));
    let align = |column: &Column, text: Cow<'static, str>| {
        let line = Line::from(text);
        if column.is_number { line.right_aligned() } else { line }
    };
    let head = columns.iter().map(|column| Cell::from(align(column, column.head.into())));
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let rows = shown.iter().map(|call| {
        let cells = columns.iter().map(|column| {
            let text = (column.say)(call, now);
            Cell::from(align(column, text.into())).style(style_of(column.head, call, theme))
        });
        Row::new(cells)
    });
    let widths = columns.iter().map(|column| column.width);
    let table = Table::new(rows, widths)
        .header(head)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(marked);
    frame.render_stateful_widget(table, area, &mut state);
    if shown.is_empty() && area.height > 2 {
        let words = if app.filter.is_empty() { "no calls" } else { "no call has this: Esc shows all" };
        let below = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Paragraph::new(Line::styled(words, theme.dim())), below);
    }
}

fn style_of(column: &str, call: &LiveCall, theme: Theme) -> Style {
    let grade = |value: f64, warn: f64, bad: f64| {
        if value >= bad {
            theme.bad()
        } else if value >= warn {
            theme.warn()
        } else {
            Style::new()
        }
    };
    match column {
        "LOSS %" => grade(call.loss_percent, 1.0, 5.0),
        "JITTER" => grade(call.jitter_ms, 30.0, 60.0),
        "STATE" => match call.state {
            CallState::Talking => Style::new(),
            CallState::Ringing | CallState::Held => theme.dim(),
            CallState::Paused => theme.paint(Color::Magenta),
        },
        _ => Style::new(),
    }
}

fn footer(app: &App, theme: Theme) -> Line<'static> {
    if app.mode == Mode::Filter {
        return Line::from(format!("/{}█  Enter keeps, Esc clears", clean_line(&app.filter)));
    }
    let order = if app.reversed { " reversed" } else { "" };
    let shown = app.shown().len() as u64;
    let live = app.snapshot.as_ref().map_or(shown, |snapshot| snapshot.calls.live.max(shown));
    let of = if live > shown { format!(" of {}", grouped(live)) } else { String::new() };
    let mut text = format!("{}{of} by {}{order}", grouped(shown), app.sort.name());
    if !app.filter.is_empty() {
        text.push_str(&format!("  /{}", clean_line(&app.filter)));
    }
    Line::from(vec![
        Span::raw(text),
        Span::styled("   s sort  / filter  Enter call  ? help  q quit", theme.dim()),
    ])
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<_> = HELP.lines().map(Line::from).collect();
    popup(frame, area, " Help ", lines, 68);
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(call) = app.marked_call() else {
        return popup(frame, area, " Call ", vec!["The call is over.".into(), "Esc closes".into()], 60);
    };
    let now = app.snapshot.as_ref().map_or(Stamp::ZERO, |snapshot| snapshot.now);
    let [caller, callee] = call.codecs.each_ref().map(|codec| clean_line(codec));
    let mut facts = vec![
        ("Recording", clean_line(&call.id)),
        ("Since", format!("{} ({})", seconds_of(call.since), clock(now.since(call.since).as_secs_f64()))),
        ("State", call.state.as_str().into()),
        ("Trunk", clean_line(&call.trunk)),
        ("Rule", clean_line(&call.rule)),
        ("Format", clean_line(&call.format)),
        ("Caller sends", if caller.is_empty() { "-".into() } else { caller }),
        ("Callee sends", if callee.is_empty() { "-".into() } else { callee }),
        (
            "Packets",
            format!("{}, {} lost ({:.2} %)", grouped(call.packets), grouped(call.lost), call.loss_percent),
        ),
        ("Jitter", format!("{:.1} ms", call.jitter_ms)),
        ("Media", format!("{:.1} kbit/s", call.kbit_s)),
    ];
    if let Some(parties) = &call.parties {
        facts.push(("From", clean_line(&parties.caller)));
        facts.push(("To", clean_line(&parties.callee)));
    }
    let mut lines: Vec<_> =
        facts.into_iter().map(|(name, value)| Line::from(format!("{name:<14}{value}"))).collect();
    lines.push(Line::default());
    lines.push(Line::from(format!("sejf call pause {} --reason …", clean_line(&call.id))));
    popup(frame, area, " Call ", lines, 76);
}

/// RFC 3339 to the second.
fn seconds_of(at: Stamp) -> String {
    let text = at.to_string();
    text.split('.').next().map(|text| format!("{text}Z")).unwrap_or_default()
}

fn popup(frame: &mut Frame<'_>, area: Rect, title: &'static str, lines: Vec<Line<'static>>, width: u16) {
    let (width, height) = (width.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), place);
}

const HELP: &str = "\
s          next order: newest, loss, jitter, rate, state, trunk
r          reverse the order
/          show only calls that have a word
Esc        show all, mark none
↑ ↓ j k    mark a call; PageUp PageDown Home End
Enter      all that is known of the marked call
Space      hold the view still; recording goes on
q          quit; recording goes on

pkt/s      captured, all interfaces, over the last second
drops      since the start; bold while it happens
LOSS %     never came, of what was to come, both sides
JITTER     ms (RFC 3550), the worse side
KBIT/S     RTP of both sides";
