//! Searching: newest first, in pages, with who spoke.
//!
//! ```text
//! months, newest first ─► streams of a month (one an epoch) ─merge by start─► candidates that fit ─► details ─► hits
//! ```
//!
//! A stream reads one list that the database keeps in this order: of a term, a state, a class of lengths, an epoch, or
//! of all. Of the lists that what is looked for must be in it takes the shortest, and asks of each candidate whether it
//! is in the others. Work is bounded: a page of which too much would have to be read ends early, with the place to go on.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::archive::access::{Action, Grant};
use crate::archive::details::Details;
use crate::archive::epoch::{Epoch, Month};
use crate::archive::record::{Record, RecordingId};
use crate::archive::search::{Cursor, IndexKeys, LENGTH_CLASS_MAX, Query, Term, length_class};
use crate::base::time::Stamp;
use crate::seal::receipt::ReceiptState;
use crate::shell::clock;
use crate::shell::vault::catalog::recordings::{epoch_at, state_name, terms_at};
use crate::shell::vault::catalog::search::stream::{List, Stream, Window};
use crate::shell::vault::catalog::{Catalog, CatalogError, id_at, number_at, placeholders, statement};

/// A page of what was found.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Newest first.
    pub hits: Vec<Hit>,
    /// Where to go on; nothing where there is no more. May be there when few or no hits are.
    pub next: Option<Cursor>,
    /// Recordings that may be what is looked for, but whose details do not open: the catalog was changed.
    pub unreadable: Vec<RecordingId>,
}

/// Something that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// What everybody may know.
    pub record: Record,
    /// Who spoke; none where it is not known here: of calls that were not recorded, or are destroyed or staged.
    pub details: Option<Details>,
}

/// What is known of a recording besides its row.
#[derive(Clone, Debug)]
pub(crate) struct SealedDetails {
    pub(crate) id: RecordingId,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) terms: Vec<Term>,
}

impl Catalog {
    /// What is found, newest first, at most `limit` (and at most [`LIMIT_MAX`]): what comes after `after`, where that
    /// is said. The grant is for [`Action::Search`]; the log has it before anything is shown.
    pub async fn search(
        &self,
        grant: &Grant,
        query: &Query,
        keys: &dyn IndexKeys,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, CatalogError> {
        allows(grant)?;
        query.check()?;
        let limit = limit.clamp(1, LIMIT_MAX);
        let mut walk = Walk::begin(self, query, keys, after).await?;
        let mut page = Page::default();
        let mut wanted = limit;
        while page.hits.len() < limit {
            let candidates = walk.next(wanted).await?;
            let is_end = candidates.len() < wanted;
            let last = self.open_candidates(query, keys, &candidates, limit, &mut page).await?;
            walk.read += candidates.len() * OPENING;
            if page.hits.len() == limit {
                page.next = last;
            } else if is_end || walk.is_enough() {
                page.next = walk.place();
                break;
            }
            // Where details had to decide, some more at once.
            wanted = CANDIDATES;
        }
        Ok(page)
    }

    /// Who spoke in a recording.
    pub async fn details(
        &self,
        grant: &Grant,
        keys: &dyn IndexKeys,
        id: &RecordingId,
    ) -> Result<Option<Details>, CatalogError> {
        allows(grant)?;
        self.open_details(keys, id).await
    }

    /// For those who have their grant already, or show nobody.
    pub(crate) async fn open_details(
        &self,
        keys: &dyn IndexKeys,
        id: &RecordingId,
    ) -> Result<Option<Details>, CatalogError> {
        let Some(sealed) = self.sealed_details(&[*id]).await?.pop() else { return Ok(None) };
        match open(keys, &sealed)? {
            Opened::Details(details) => Ok(Some(*details)),
            Opened::Destroyed => Ok(None),
            Opened::Damaged => Err(self.damaged(*id, "its details do not open")),
        }
    }

    /// Details as they are, of those that have any.
    pub(crate) async fn sealed_details(
        &self,
        ids: &[RecordingId],
    ) -> Result<Vec<SealedDetails>, CatalogError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let fault = self.fault("reading details");
        let sql = format!(
            "SELECT d.id, d.sealed, d.terms, e.class, e.month FROM details d JOIN recordings r ON r.id = d.id
             LEFT JOIN epochs e ON e.no = r.epoch WHERE d.id IN ({})",
            placeholders(ids.len(), 1)
        );
        let query = ids.iter().fold(statement(sql), |query, id| query.bind(id.as_bytes().to_vec()));
        let rows = query.fetch_all(self.pool()).await.map_err(fault.clone())?;
        let read = |row: &AnyRow| {
            let has_epoch = row.try_get::<Option<String>, _>(3)?.is_some();
            let epoch = has_epoch.then(|| epoch_at(row, 3, 4)).transpose()?;
            Ok(SealedDetails { id: id_at(row, 0)?, sealed: row.try_get(1)?, terms: terms_at(row, 2)?, epoch })
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(fault)
    }

    /// Opens details of candidates, and keeps what is really looked for until the page is full. The last one that it
    /// looked at.
    async fn open_candidates(
        &self,
        query: &Query,
        keys: &dyn IndexKeys,
        candidates: &[Cursor],
        limit: usize,
        page: &mut Page,
    ) -> Result<Option<Cursor>, CatalogError> {
        let ids: Vec<RecordingId> = candidates.iter().map(|candidate| candidate.id).collect();
        let sealed = self.sealed_details(&ids).await?;
        let sealed: BTreeMap<RecordingId, SealedDetails> =
            sealed.into_iter().map(|sealed| (sealed.id, sealed)).collect();
        let mut found: Vec<(RecordingId, Option<Details>)> = Vec::new();
        let mut last = None;
        for candidate in candidates {
            if page.hits.len() + found.len() == limit {
                break;
            }
            let id = candidate.id;
            last = Some(*candidate);
            let opened = sealed.get(&id).map(|sealed| open(keys, sealed));
            match opened.transpose()? {
                Some(Opened::Details(details)) if query.matches(&details) => found.push((id, Some(*details))),
                Some(Opened::Details(_)) => {}
                Some(Opened::Damaged) => page.unreadable.push(id),
                Some(Opened::Destroyed) | None if query.needs_terms() => {}
                Some(Opened::Destroyed) | None => found.push((id, None)),
            }
        }
        let ids: Vec<RecordingId> = found.iter().map(|(id, _)| *id).collect();
        let records = self.get_all(&ids).await?;
        let mut records: BTreeMap<RecordingId, Record> =
            records.into_iter().map(|record| (record.id, record)).collect();
        for (id, details) in found {
            page.hits.extend(records.remove(&id).map(|record| Hit { record, details }));
        }
        Ok(last)
    }

    /// How many rows lists have in a window; no more than [`COUNTED_MAX`] of each are counted.
    async fn counts(&self, lists: &[List], window: &Window) -> Result<Vec<u64>, CatalogError> {
        let mut bound = stream::Bound::default();
        let count = |(at, list): (usize, &List)| {
            let inner = list.select("1", window, COUNTED_MAX, &mut bound);
            format!("SELECT CAST({at} AS BIGINT), COUNT(*) FROM ({inner}) c{at}")
        };
        let sql = lists.iter().enumerate().map(count).collect::<Vec<_>>().join(" UNION ALL ");
        let fault = self.fault("searching");
        let rows = bound.query(sql).fetch_all(self.pool()).await.map_err(fault.clone())?;
        let mut counts = vec![0; lists.len()];
        for row in &rows {
            let read = || Ok((number_at(row, 0)? as usize, number_at(row, 1)?));
            let (at, count) = read().map_err(fault.clone())?;
            counts[at] = count;
        }
        Ok(counts)
    }
}

enum Opened {
    Details(Box<Details>),
    Destroyed,
    Damaged,
}

fn open(keys: &dyn IndexKeys, sealed: &SealedDetails) -> Result<Opened, CatalogError> {
    let Some(epoch) = &sealed.epoch else { return Ok(Opened::Damaged) };
    let fault = |source| CatalogError::Keys { epoch: epoch.clone(), source };
    let envelopes = keys.envelopes(epoch, &sealed.id).map_err(fault)?;
    if envelopes.is_empty() {
        return Ok(Opened::Destroyed);
    }
    let details = envelopes.iter().find_map(|envelope| Details::open(&sealed.sealed, envelope).ok());
    Ok(details.map_or(Opened::Damaged, |details| Opened::Details(details.into())))
}

fn allows(grant: &Grant) -> Result<(), CatalogError> {
    match grant.action() {
        Action::Search | Action::Open | Action::Export => Ok(()),
        action => Err(CatalogError::NotGranted { action }),
    }
}

/// A search under way.
struct Walk<'a> {
    catalog: &'a Catalog,
    query: &'a Query,
    keys: &'a dyn IndexKeys,
    /// Months that were not begun, newest first, where it goes by epochs.
    months: VecDeque<(Month, Vec<(i64, Epoch)>)>,
    /// What is read now.
    streams: Vec<Stream>,
    window: Window,
    /// How many months are begun together next.
    months_next: usize,
    /// What was read so far: candidates, and for each list that was asked for something more.
    read: usize,
    /// The last candidate that was looked at, or before that where it began.
    at: Option<Cursor>,
    is_over: bool,
    begun: Instant,
}

impl<'a> Walk<'a> {
    async fn begin(
        catalog: &'a Catalog,
        query: &'a Query,
        keys: &'a dyn IndexKeys,
        after: Option<&Cursor>,
    ) -> Result<Self, CatalogError> {
        let window = Window { from: query.from, to: query.to, after: after.copied() };
        let mut walk = Self {
            catalog,
            query,
            keys,
            months: VecDeque::new(),
            streams: Vec::new(),
            window,
            months_next: 1,
            read: 0,
            at: after.copied(),
            is_over: false,
            begun: clock::monotonic(),
        };
        let lists = if query.needs_terms() { None } else { walk.lists().await? };
        match lists {
            Some(lists) => {
                walk.streams = lists.into_iter().map(|list| Stream::new(list, Vec::new())).collect();
            }
            None => walk.months = walk.months_of().await?,
        }
        Ok(walk)
    }

    /// The lists to read where nothing sealed is asked for; none where epochs are the shortest.
    async fn lists(&self) -> Result<Option<Vec<List>>, CatalogError> {
        let mut choices = Vec::new();
        choices.extend(self.query.state.filter(is_rare).map(|state| vec![List::State(state_name(state))]));
        if self.query.length_min.is_some() || self.query.length_max.is_some() {
            let class = |length: Option<_>, other| length.map_or(other, length_class);
            let classes = class(self.query.length_min, 0)..=class(self.query.length_max, LENGTH_CLASS_MAX);
            let is_few = classes.clone().count() <= LENGTHS_MAX;
            choices.extend(is_few.then(|| classes.map(List::Length).collect::<Vec<_>>()));
        }
        let mut best = (vec![List::All], u64::MAX);
        for lists in choices {
            let count = self.catalog.counts(&lists, &self.window).await?.iter().sum();
            if count < best.1 {
                best = (lists, count);
            }
        }
        let goes_by_epoch = self.query.class.is_some() && best.1 >= COUNTED_MAX;
        Ok((!goes_by_epoch).then_some(best.0))
    }

    /// Epochs that may have something, by month.
    async fn months_of(&self) -> Result<VecDeque<(Month, Vec<(i64, Epoch)>)>, CatalogError> {
        let fault = self.catalog.fault("searching");
        let rows = sqlx::query("SELECT no, class, month FROM epochs ORDER BY month DESC, class")
            .fetch_all(self.catalog.pool())
            .await
            .map_err(fault.clone())?;
        let newest = [self.query.to, self.window.after.map(|after| after.start)].into_iter().flatten().min();
        let mut months: VecDeque<(Month, Vec<(i64, Epoch)>)> = VecDeque::new();
        for row in &rows {
            let number: i64 = row.try_get(0).map_err(fault.clone())?;
            let epoch = epoch_at(row, 1, 2).map_err(fault.clone())?;
            let is_wanted = self.query.class.as_ref().is_none_or(|class| *class == epoch.class)
                && newest.is_none_or(|newest| epoch.month <= Month::of(newest))
                && self.query.from.is_none_or(|from| epoch.month >= Month::of(from));
            if !is_wanted {
                continue;
            }
            match months.back_mut() {
                Some((month, epochs)) if *month == epoch.month => epochs.push((number, epoch)),
                _ => months.push_back((epoch.month, vec![(number, epoch)])),
            }
        }
        Ok(months)
    }

    /// The next candidates, at most `wanted`: fewer where there are no more, or enough was read.
    async fn next(&mut self, wanted: usize) -> Result<Vec<Cursor>, CatalogError> {
        let mut found = Vec::new();
        while found.len() < wanted && !self.is_over {
            let is_waiting = self.streams.iter().any(Stream::is_waiting);
            let newest = (0..self.streams.len()).max_by_key(|at| self.streams[*at].front());
            let newest = newest.filter(|at| !is_waiting && self.streams[*at].front().is_some());
            if let Some((candidate, fits)) = newest.and_then(|at| self.streams[at].pop()) {
                self.at = Some(candidate);
                found.extend(fits.then_some(candidate));
            } else if self.is_enough() {
                // What a list would give that is not read on may be newer than what the others have.
                return Ok(found);
            } else if is_waiting {
                self.refill().await?;
            } else {
                self.next_months().await?;
            }
        }
        Ok(found)
    }

    /// Whether so much was read that somebody who waits is told where to go on.
    fn is_enough(&self) -> bool {
        self.read >= READ_MAX || (self.read >= READ_MIN && self.begun.elapsed() >= PATIENCE)
    }

    /// Reads all lists on that are needed, in one question.
    async fn refill(&mut self) -> Result<(), CatalogError> {
        let mut bound = stream::Bound::default();
        let (query, window) = (self.query, &self.window);
        let waiting = self.streams.iter().enumerate().filter(|(_, stream)| stream.is_waiting());
        let questions: Vec<String> =
            waiting.map(|(at, stream)| stream.question(at, query, window, &mut bound)).collect();
        let fault = self.catalog.fault("searching");
        let sql = questions.join(" UNION ALL ");
        let rows = bound.query(sql).fetch_all(self.catalog.pool()).await.map_err(fault.clone())?;
        let mut answers: Vec<Vec<(Cursor, bool)>> = vec![Vec::new(); self.streams.len()];
        for row in &rows {
            let read = || {
                let (at, start) = (number_at(row, 0)? as usize, Stamp::from_unix_nanos(number_at(row, 1)?));
                Ok((at, (Cursor { start, id: id_at(row, 2)? }, row.try_get::<i64, _>(3)? != 0)))
            };
            let (at, candidate) = read().map_err(fault.clone())?;
            answers[at].push(candidate);
        }
        for (stream, answer) in self.streams.iter_mut().zip(answers) {
            if stream.is_waiting() {
                stream.take(answer);
            }
        }
        self.read += rows.len() + questions.len() * QUESTION;
        Ok(())
    }

    /// Goes on with older months: more of them each time, for what was not found in some is rare.
    async fn next_months(&mut self) -> Result<(), CatalogError> {
        self.streams.clear();
        let (mut epochs, mut newest) = (Vec::new(), None);
        for _ in 0..self.months_next {
            if let Some((month, more)) = self.months.pop_front_if(|_| epochs.len() < EPOCHS_MAX) {
                newest = newest.or(Some(month));
                epochs.extend(more);
            }
        }
        self.months_next *= 2;
        let Some(newest) = newest else {
            self.is_over = true;
            return Ok(());
        };
        self.streams = self.streams_of(&epochs).await?;
        // Nothing of these is looked at yet, and all later ones are done.
        let end = Cursor { start: newest.next().start(), id: RecordingId::from_bytes([0; 16]) };
        self.at = Some(self.at.map_or(end, |at| at.min(end)));
        Ok(())
    }

    /// The shortest list of each epoch, with what else must be so; none where it has nothing that can be found.
    async fn streams_of(&mut self, epochs: &[(i64, Epoch)]) -> Result<Vec<Stream>, CatalogError> {
        if !self.query.needs_terms() {
            return Ok(epochs
                .iter()
                .map(|(number, _)| Stream::new(List::Epoch(*number), Vec::new()))
                .collect());
        }
        let is_state_rare = self.query.state.filter(is_rare);
        let mut choices: Vec<Vec<List>> = Vec::new();
        for (number, epoch) in epochs {
            let fault = |source| CatalogError::Keys { epoch: epoch.clone(), source };
            // Under each of several keys there are others.
            for key in self.keys.index_keys(epoch).map_err(fault)? {
                let terms = self.query.terms(&key);
                let mut lists: Vec<List> = terms.iter().map(|term| List::Term(*number, *term)).collect();
                lists.extend(
                    is_state_rare.map(|state| List::StateIn(state_name(state), *number, epoch.month)),
                );
                choices.push(lists);
            }
        }
        let mut counts = Vec::new();
        if choices.first().is_some_and(|lists| lists.len() > 1) {
            let all = choices.concat();
            for lists in all.chunks(LISTS_MAX) {
                counts.extend(self.catalog.counts(lists, &self.window).await?);
            }
            self.read += all.len() * QUESTION;
        }
        let mut streams = Vec::new();
        for lists in choices {
            let (counted, rest) = counts.split_at(lists.len().min(counts.len()));
            let shortest = counted.iter().enumerate().min_by_key(|(_, count)| **count);
            let (at, count) = shortest.map_or((0, 1), |(at, count)| (at, *count));
            counts = rest.to_vec();
            if count == 0 {
                continue;
            }
            let others = lists.iter().enumerate().filter(|(other, _)| *other != at);
            let terms = others.filter_map(|(_, list)| match list {
                List::Term(number, term) => Some((*number, *term)),
                _ => None,
            });
            streams.push(Stream::new(lists[at], terms.collect()));
        }
        Ok(streams)
    }

    /// Where to go on, unless it is over.
    fn place(&self) -> Option<Cursor> {
        if self.is_over { None } else { self.at }
    }
}

/// Most recordings are complete: their list is as long as that of all.
fn is_rare(state: &ReceiptState) -> bool {
    *state != ReceiptState::Complete
}

/// Hits of one page at most.
pub const LIMIT_MAX: usize = 500;
/// Candidates whose details are opened together.
const CANDIDATES: usize = 200;
/// Candidates that one page reads at most, of lists, to within one refill.
const READ_MAX: usize = 8_000;
/// So much is read however slow the disk is: less would find too little each time.
const READ_MIN: usize = 1_000;
/// How long a page may take before it ends early. What was found is still to be opened then.
const PATIENCE: Duration = Duration::from_millis(60);
/// What opening details costs, in rows of lists.
const OPENING: usize = 4;
/// Rows of a list that are counted to choose the shortest.
const COUNTED_MAX: u64 = 1_000;
/// Classes of lengths, a list each, that are read at once.
const LENGTHS_MAX: usize = 32;
/// Epochs that are begun together, to within a month.
const EPOCHS_MAX: usize = 48;
/// Lists that one statement counts.
const LISTS_MAX: usize = 200;
/// What a list costs besides its rows, in rows.
const QUESTION: usize = 5;
