//! What the live view knows, and what keys do. No terminal here.

use std::cmp::Ordering;
use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::call::codecs;
use crate::shell::status::snapshot::{LiveCall, Snapshot};

/// The state of the view.
#[derive(Debug, Default)]
pub(super) struct App {
    /// As last heard.
    pub(super) snapshot: Option<Snapshot>,
    /// As last heard, the newest first.
    pub(super) calls: Vec<LiveCall>,
    /// Why nothing was heard since.
    pub(super) error: Option<String>,
    /// Packets a second, oldest first.
    pub(super) packets: VecDeque<u64>,
    /// Live calls, oldest first.
    pub(super) live: VecDeque<u64>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    /// Only calls that have this somewhere.
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// Nothing moves.
    pub(super) paused: bool,
    /// Id of the call that is marked.
    pub(super) marked: Option<String>,
    /// Rows of the table, as last drawn.
    pub(super) page: usize,
}

/// What keys go to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// The filter is being written.
    Filter,
    /// One call, all of it.
    Detail,
    Help,
}

/// The order of calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Sort {
    #[default]
    Newest,
    Loss,
    Jitter,
    Rate,
    State,
    Trunk,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Loss => "loss",
            Self::Jitter => "jitter",
            Self::Rate => "rate",
            Self::State => "state",
            Self::Trunk => "trunk",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Newest => Self::Loss,
            Self::Loss => Self::Jitter,
            Self::Jitter => Self::Rate,
            Self::Rate => Self::State,
            Self::State => Self::Trunk,
            Self::Trunk => Self::Newest,
        }
    }

    /// The worst first; the newest first among equals.
    fn compare(self, a: &LiveCall, b: &LiveCall) -> Ordering {
        let newest = || b.id.cmp(&a.id);
        let order = match self {
            Self::Newest => Ordering::Equal,
            Self::Loss => b.loss_percent.total_cmp(&a.loss_percent),
            Self::Jitter => b.jitter_ms.total_cmp(&a.jitter_ms),
            Self::Rate => b.kbit_s.total_cmp(&a.kbit_s),
            Self::State => a.state.cmp(&b.state),
            Self::Trunk => a.trunk.cmp(&b.trunk),
        };
        order.then_with(newest)
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    Stay,
    Quit,
}

impl App {
    /// Takes in what was heard. While the view is paused, only that something was.
    pub(super) fn heard(&mut self, snapshot: Snapshot, calls: Vec<LiveCall>) {
        self.error = None;
        if self.paused {
            return;
        }
        remember(&mut self.packets, snapshot.rates.packets_per_s as u64);
        remember(&mut self.live, snapshot.calls.live);
        (self.snapshot, self.calls) = (Some(snapshot), calls);
    }

    /// Nothing was heard.
    pub(super) fn unheard(&mut self, why: String) {
        self.error = Some(why);
    }

    /// The calls that pass the filter, in order.
    pub(super) fn shown(&self) -> Vec<&LiveCall> {
        let wanted = self.filter.to_lowercase();
        let mut calls: Vec<_> = self.calls.iter().filter(|call| has(call, &wanted)).collect();
        calls.sort_by(|a, b| self.sort.compare(a, b));
        if self.reversed {
            calls.reverse();
        }
        calls
    }

    /// The call that is marked, where it still goes on and is shown.
    pub(super) fn marked_call(&self) -> Option<&LiveCall> {
        let marked = self.marked.as_ref()?;
        self.calls.iter().find(|call| call.id == *marked)
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Flow {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Flow::Quit;
        }
        match self.mode {
            Mode::Filter => self.key_in_filter(key.code),
            Mode::Detail | Mode::Help => match key.code {
                KeyCode::Char(' ') => self.paused = !self.paused,
                KeyCode::Char('q') if self.mode == Mode::Help => self.mode = Mode::Table,
                KeyCode::Char('q') => return Flow::Quit,
                KeyCode::Up | KeyCode::Char('k') if self.mode == Mode::Detail => self.step(-1),
                KeyCode::Down | KeyCode::Char('j') if self.mode == Mode::Detail => self.step(1),
                KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?') => self.mode = Mode::Table,
                _ => {}
            },
            Mode::Table => return self.key_in_table(key.code),
        }
        Flow::Stay
    }

    fn key_in_table(&mut self, code: KeyCode) -> Flow {
        let page = isize::try_from(self.page.max(2) - 1).unwrap_or(1);
        match code {
            KeyCode::Char('q') => return Flow::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Esc => (self.filter, self.marked) = (String::new(), None),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter => {
                if self.marked_call().is_none() {
                    self.step(0);
                }
                if self.marked_call().is_some() {
                    self.mode = Mode::Detail;
                }
            }
            _ => {}
        }
        Flow::Stay
    }

    fn key_in_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => (self.filter, self.mode) = (String::new(), Mode::Table),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character) if self.filter.chars().count() < FILTER_CHARS_MAX => {
                self.filter.push(character);
            }
            _ => {}
        }
    }

    /// Marks the call so many rows below the one that is marked; the first where none is.
    fn step(&mut self, rows: isize) {
        let shown = self.shown();
        let at = self.marked.as_ref().and_then(|marked| shown.iter().position(|call| call.id == *marked));
        let next = at.map_or(0, |at| at.saturating_add_signed(rows)).min(shown.len().saturating_sub(1));
        let next = if rows == isize::MAX { shown.len().saturating_sub(1) } else { next };
        self.marked = shown.get(next).map(|call| call.id.clone());
    }
}

fn has(call: &LiveCall, wanted: &str) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let codecs = codecs(call);
    let (state, parties) = (call.state.as_str(), call.parties.as_ref());
    let mut words = vec![&*call.id, &*call.trunk, &*call.rule, &*call.format, state, &*codecs];
    words.extend(parties.iter().flat_map(|parties| [&*parties.caller, &*parties.callee]));
    words.iter().any(|word| word.to_lowercase().contains(wanted))
}

fn remember(history: &mut VecDeque<u64>, value: u64) {
    history.push_back(value);
    if history.len() > HISTORY_MAX {
        history.pop_front();
    }
}

/// Wider than any terminal, at a value a second.
const HISTORY_MAX: usize = 600;
const FILTER_CHARS_MAX: usize = 40;
