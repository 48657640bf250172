//! One list of the database, read newest first, a chunk at a time.

use std::collections::VecDeque;

use sqlx::Any;
use sqlx::query::Query as Statement;

use crate::archive::epoch::Month;
use crate::archive::search::{Cursor, Query, Term};
use crate::base::time::Stamp;
use crate::shell::vault::catalog::recordings::state_name;
use crate::shell::vault::catalog::{signed, statement};

/// A list that is kept in the order of start and id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum List {
    /// All recordings.
    All,
    /// Those that ended so.
    State(&'static str),
    /// Of those that ended so, the ones of an epoch.
    StateIn(&'static str, i64, Month),
    /// Those of a class of lengths.
    Length(i64),
    /// Those of an epoch.
    Epoch(i64),
    /// Those that have a term in an epoch.
    Term(i64, Term),
}

/// What is looked for is between these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: Option<Stamp>,
    pub(super) to: Option<Stamp>,
    pub(super) after: Option<Cursor>,
}

/// Numbers for the placeholders of a statement, then at most one id.
#[derive(Debug, Default)]
pub(super) struct Bound {
    values: Vec<Value>,
}

#[derive(Debug)]
enum Value {
    Number(i64),
    Id(Vec<u8>),
}

impl Bound {
    fn number(&mut self, number: i64) -> String {
        self.values.push(Value::Number(number));
        format!("${}", self.values.len())
    }

    fn id(&mut self, id: &[u8; 16]) -> String {
        self.values.push(Value::Id(id.to_vec()));
        format!("${}", self.values.len())
    }

    pub(super) fn query(self, sql: String) -> Statement<'static, Any, sqlx::any::AnyArguments> {
        self.values.into_iter().fold(statement(sql), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Id(id) => query.bind(id),
        })
    }
}

impl List {
    /// `SELECT columns … ORDER BY … LIMIT`: the list's next rows in the window.
    pub(super) fn select(&self, columns: &str, window: &Window, limit: u64, bound: &mut Bound) -> String {
        let mut from = window.from;
        let (table, mut wheres) = match *self {
            Self::All => ("recordings", Vec::new()),
            Self::State(state) => ("recordings", vec![format!("state = '{state}'")]),
            Self::StateIn(state, _, month) => {
                from = from.max(Some(month.start()));
                let end = bound.number(signed(month.next().start().as_unix_nanos()));
                ("recordings", vec![format!("state = '{state}'"), format!("start_ns < {end}")])
            }
            Self::Length(class) => ("recordings", vec![format!("length_class = {}", bound.number(class))]),
            Self::Epoch(number) => ("recordings", vec![format!("epoch = {}", bound.number(number))]),
            Self::Term(epoch, term) => {
                let (epoch, term) = (bound.number(epoch), bound.number(term.0));
                ("terms", vec![format!("epoch = {epoch}"), format!("term = {term}")])
            }
        };
        if let Some(from) = from {
            wheres.push(format!("start_ns >= {}", bound.number(signed(from.as_unix_nanos()))));
        }
        if let Some(to) = window.to {
            wheres.push(format!("start_ns < {}", bound.number(signed(to.as_unix_nanos()))));
        }
        if let Some(after) = window.after {
            let start = bound.number(signed(after.start.as_unix_nanos()));
            wheres.push(format!("(start_ns, id) < ({start}, {})", bound.id(after.id.as_bytes())));
        }
        let wheres = if wheres.is_empty() { "TRUE".into() } else { wheres.join(" AND ") };
        format!("SELECT {columns} FROM {table} WHERE {wheres} ORDER BY start_ns DESC, id DESC LIMIT {limit}")
    }
}

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Stream {
    list: List,
    /// Terms that a candidate must have besides: epoch and term.
    others: Vec<(i64, Term)>,
    /// What was read, and whether it fits.
    buffer: VecDeque<(Cursor, bool)>,
    at: Option<Cursor>,
    chunk: u64,
    is_done: bool,
}

impl Stream {
    pub(super) fn new(list: List, others: Vec<(i64, Term)>) -> Self {
        Self { list, others, buffer: VecDeque::new(), at: None, chunk: CHUNK_MIN, is_done: false }
    }

    /// Whether there is more to read before anything can be said of what comes next.
    pub(super) fn is_waiting(&self) -> bool {
        self.buffer.is_empty() && !self.is_done
    }

    pub(super) fn front(&self) -> Option<Cursor> {
        self.buffer.front().map(|(candidate, _)| *candidate)
    }

    pub(super) fn pop(&mut self) -> Option<(Cursor, bool)> {
        self.buffer.pop_front()
    }

    /// Asks for the next chunk: number `at` of the stream, start, id, and whether it fits. In any order.
    pub(super) fn question(&self, at: usize, query: &Query, window: &Window, bound: &mut Bound) -> String {
        let window = Window { after: self.at.or(window.after), ..*window };
        let inner = self.list.select("start_ns, id", &window, self.chunk, bound);
        let fits = self.conditions(query, bound);
        format!("SELECT CAST({at} AS BIGINT), c.start_ns, c.id, CAST({fits} AS BIGINT) FROM ({inner}) c")
    }

    /// Takes the answer to [`Stream::question`].
    pub(super) fn take(&mut self, mut answer: Vec<(Cursor, bool)>) {
        self.is_done = (answer.len() as u64) < self.chunk;
        answer.sort_unstable_by(|a, b| b.cmp(a));
        self.buffer = answer.into();
        self.at = self.buffer.back().map(|(last, _)| *last).or(self.at);
        self.chunk = (self.chunk * 4).min(CHUNK_MAX);
    }

    /// Whether a candidate fits. Terms come first: of most candidates no row is read then.
    fn conditions(&self, query: &Query, bound: &mut Bound) -> String {
        let mut all = Vec::new();
        for (epoch, term) in &self.others {
            let (epoch, term) = (bound.number(*epoch), bound.number(term.0));
            all.push(format!(
                "EXISTS (SELECT 1 FROM terms t WHERE t.epoch = {epoch} AND t.term = {term}
                 AND t.start_ns = c.start_ns AND t.id = c.id)"
            ));
        }
        let mut of_row = Vec::new();
        let is_of_state = matches!(self.list, List::State(_) | List::StateIn(..));
        if let Some(state) = query.state.filter(|_| !is_of_state) {
            of_row.push(format!("r.state = '{}'", state_name(state)));
        }
        let nanos = |length: std::time::Duration| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        if let Some(min) = query.length_min {
            of_row.push(format!("r.end_ns - r.start_ns >= {}", bound.number(nanos(min))));
        }
        if let Some(max) = query.length_max {
            of_row.push(format!("r.end_ns - r.start_ns <= {}", bound.number(nanos(max))));
        }
        if let List::StateIn(_, epoch, _) = self.list {
            of_row.push(format!("r.epoch = {}", bound.number(epoch)));
        }
        if let Some(class) = query.class.as_ref().filter(|_| !self.is_of_epoch()) {
            // A class's name has no characters that would end the text.
            of_row.push(format!("r.epoch IN (SELECT no FROM epochs WHERE class = '{class}')"));
        }
        if !of_row.is_empty() {
            let of_row = of_row.join(" AND ");
            all.push(format!("EXISTS (SELECT 1 FROM recordings r WHERE r.id = c.id AND {of_row})"));
        }
        if all.is_empty() { "1".into() } else { format!("CASE WHEN {} THEN 1 ELSE 0 END", all.join(" AND ")) }
    }

    fn is_of_epoch(&self) -> bool {
        matches!(self.list, List::Epoch(_) | List::Term(..) | List::StateIn(..))
    }
}

const CHUNK_MIN: u64 = 64;
const CHUNK_MAX: u64 = 512;
