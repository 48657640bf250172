//! What may be destroyed, what must be kept, and why: decided here, and carried out by `shell::vault::destroy`, which
//! takes nothing but what comes from here.
//!
//! ```text
//! base date ──keep_min──► may go, where somebody asks ──keep_max──► due
//!     kept whatever is asked │                                       │ still: somebody asks, another agrees
//! ```
//!
//! A hold beats everything. A clock in doubt destroys nothing. All dates are in UTC, and periods are of the calendar:
//! a month after 31 January is the last of February.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::archive::class::{Base, Class, Period};
use crate::archive::clock::ClockTrust;
use crate::archive::epoch::{ClassName, Epoch};
use crate::archive::hold::{Hold, HoldName};
use crate::archive::record::{Phase, Record, RecordingId};
use crate::archive::request::{Request, Standing, What};
use crate::archive::scope::{Scope, Subject};
use crate::base::time::Stamp;

/// What is known of a recording when it is decided about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetentionFacts {
    /// Its id.
    pub id: RecordingId,
    /// Its recorder's name.
    pub recorder: String,
    /// Its class; none before it was opened.
    pub class: Option<ClassName>,
    /// How far it has come.
    pub phase: Phase,
    /// When it began.
    pub start: Stamp,
    /// When it ended.
    pub end: Stamp,
    /// When the event came from which its class counts.
    pub event: Option<Stamp>,
}

impl RetentionFacts {
    /// Of what the catalog has.
    pub fn of(record: &Record, event: Option<Stamp>) -> Self {
        Self {
            id: record.id,
            recorder: record.recorder.clone(),
            class: record.class.clone(),
            phase: record.phase,
            start: record.receipt.start,
            end: record.receipt.end,
            event,
        }
    }
}

/// What is known of an epoch when its key is decided about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EpochFacts {
    /// Recordings of it that are not destroyed.
    pub left: u64,
    /// When the oldest recording began whose class is not known yet: it may be of this one.
    pub oldest_staged: Option<Stamp>,
}

/// What is to be done, and what is not.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be destroyed.
    pub purges: Vec<PlannedPurge>,
    /// To be kept.
    pub kept: Vec<Kept>,
}

/// A recording that may be destroyed now. Only [`plan`] makes one.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "what is due is to be destroyed"]
pub struct PlannedPurge {
    id: RecordingId,
    epoch: Epoch,
    request: u64,
    what: What,
    since: Option<Stamp>,
}

/// An epoch whose key may be destroyed now. Only [`Rules::epoch`] makes one.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "what is due is to be destroyed"]
pub struct PlannedEpoch {
    epoch: Epoch,
    request: u64,
}

/// A recording that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Which.
    pub id: RecordingId,
    /// Why.
    pub why: WhyKept,
}

/// Why something is kept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyKept {
    /// See [`crate::archive::clock`].
    #[error("the clock is not to be trusted: {0}")]
    Clock(crate::archive::clock::ClockDoubt),
    /// It has not been opened yet.
    #[error("its class is not known before the vault is unlocked and has taken it in")]
    Staged,
    /// A call that was not recorded: there is nothing that its time could be over for.
    #[error("nothing of it was recorded, there is only its receipt")]
    NothingRecorded,
    /// There is nothing to destroy.
    #[error("it is destroyed already")]
    Destroyed,
    /// The configuration does not have its class any more.
    #[error("there is no class `{0}` in the configuration: add it again, with its periods")]
    NoClass(ClassName),
    /// A hold covers it.
    #[error("hold {0}")]
    Held(HoldName),
    /// Nobody has said that the event has come.
    #[error("the event from which its class counts has not been named")]
    NoEvent,
    /// It must be kept.
    #[error("to be kept until {0}")]
    KeepMin(Stamp),
    /// Further than a clock can tell.
    #[error("to be kept beyond the year 2500")]
    Ever,
    /// It may be kept, and nobody has said that it is not needed.
    #[error("due on {0}")]
    NotDue(Stamp),
    /// It should go, and nobody has asked.
    #[error("due since {0}, and nobody has asked for its destruction")]
    Unasked(Stamp),
    /// Somebody has to agree.
    #[error("request {0} waits until another custodian agrees")]
    AwaitsApproval(u64),
    /// It may be taken back until then.
    #[error("request {request} may be taken back until {until}")]
    CoolsOff {
        /// Which.
        request: u64,
        /// Until when.
        until: Stamp,
    },
    /// Recordings of the epoch are there.
    #[error("{0} of its recordings are there")]
    HasRecordings(u64),
    /// One that was taken in while the vault was locked.
    #[error(
        "a recording that began on {0} waits until the vault is unlocked and takes it in: it may be of this epoch"
    )]
    HasStaged(Stamp),
}

impl PlannedPurge {
    /// Which recording.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// Under whose key it is.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Who has asked for it: the request's number.
    pub fn request(&self) -> u64 {
        self.request
    }

    /// What it rests on.
    pub fn what(&self) -> What {
        self.what
    }

    /// Since when it might go; of an erasure before its time, nothing.
    pub fn since(&self) -> Option<Stamp> {
        self.since
    }
}

impl PlannedEpoch {
    /// Which epoch.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Who has asked for it: the request's number.
    pub fn request(&self) -> u64 {
        self.request
    }
}

/// When a recording may go and when it must.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// `keep_min` is over; with nothing, further than a clock can tell.
    pub min: Option<Stamp>,
    /// All its time is over.
    pub due: Option<Stamp>,
}

/// When recordings of an epoch fall due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FallsDue {
    /// Each has an event of its own, from which it counts.
    NoEvent,
    /// Further than a clock can tell.
    Ever,
    /// From the first that began in the month to the last, where they ended in it too.
    Between(Stamp, Stamp),
}

/// When recordings of an epoch fall due, by the class that they are of.
pub fn falls_due(class: &Class, epoch: &Epoch) -> FallsDue {
    let of = |at: Stamp| {
        let facts = RetentionFacts {
            id: RecordingId::from_bytes([0; 16]),
            recorder: String::new(),
            class: Some(epoch.class.clone()),
            phase: Phase::Archived,
            start: at,
            end: at,
            event: None,
        };
        Dates::of(class, &facts)
    };
    let last = epoch.month.next().start().before(Duration::from_nanos(1));
    match (of(epoch.month.start()), of(last)) {
        (Dates::Known { due: Some(first), .. }, Dates::Known { due: Some(last), .. }) => {
            FallsDue::Between(first, last)
        }
        (Dates::Known { .. }, _) => FallsDue::Ever,
        (Dates::NoEvent, _) => FallsDue::NoEvent,
    }
}

/// All that decides, put in order once.
#[derive(Debug)]
pub struct Rules<'a> {
    classes: BTreeMap<&'a ClassName, &'a Class>,
    holds: ByScope<'a, Hold>,
    requests: ByScope<'a, Request>,
    now: Stamp,
    trust: ClockTrust,
}

/// Decides about recordings.
pub fn plan<'a>(
    facts: impl Iterator<Item = RetentionFacts>,
    classes: &'a [Class],
    holds: &'a [Hold],
    requests: &'a [Request],
    now: Stamp,
    trust: ClockTrust,
) -> Plan {
    Rules::new(classes, holds, requests, now, trust).plan(facts)
}

impl<'a> Rules<'a> {
    /// Puts in order what decides.
    pub fn new(
        classes: &'a [Class],
        holds: &'a [Hold],
        requests: &'a [Request],
        now: Stamp,
        trust: ClockTrust,
    ) -> Self {
        let in_force = holds.iter().filter(|hold| hold.is_in_force());
        Self {
            classes: classes.iter().map(|class| (&class.name, class)).collect(),
            holds: ByScope::new(in_force, |hold| &hold.scope),
            requests: ByScope::new(requests.iter(), |request| &request.scope),
            now,
            trust,
        }
    }

    /// Decides about recordings.
    pub fn plan(&self, facts: impl Iterator<Item = RetentionFacts>) -> Plan {
        let mut plan = Plan::default();
        for facts in facts {
            match self.judge(&facts) {
                Ok(purge) => plan.purges.push(purge),
                Err(why) => plan.kept.push(Kept { id: facts.id, why }),
            }
        }
        plan
    }

    /// When a recording may go and when it must; nothing where its class or its event is not known.
    pub fn terms(&self, facts: &RetentionFacts) -> Option<Terms> {
        match Dates::of(self.classes.get(facts.class.as_ref()?)?, facts) {
            Dates::NoEvent => None,
            Dates::Known { min, due } => Some(Terms { min, due }),
        }
    }

    /// Decides about one.
    fn judge(&self, facts: &RetentionFacts) -> Result<PlannedPurge, WhyKept> {
        if facts.phase == Phase::Destroyed {
            return Err(WhyKept::Destroyed);
        }
        if let ClockTrust::Doubted(doubt) = self.trust {
            return Err(WhyKept::Clock(doubt));
        }
        let name = match (&facts.class, facts.phase) {
            (Some(name), Phase::Archived) => name,
            (None, Phase::Archived) => return Err(WhyKept::NothingRecorded),
            _ => return Err(WhyKept::Staged),
        };
        let class = self.classes.get(name).ok_or_else(|| WhyKept::NoClass(name.clone()))?;
        let subject = Subject { id: facts.id, class: name, recorder: &facts.recorder, start: facts.start };
        if let Some(hold) = self.holds.covering(&subject).next() {
            return Err(WhyKept::Held(hold.name.clone()));
        }
        let dates = Dates::of(class, facts);
        let mut waits = None;
        for request in self.requests.covering(&subject) {
            let Some(since) = dates.may_go(class, request.what) else { continue };
            // What may always go may since it ended: a request with a date is of nothing that comes later.
            let from = since.unwrap_or(facts.end.max(facts.start));
            if since.is_some_and(|since| since > self.now) || request.due_by.is_some_and(|by| from > by) {
                continue;
            }
            match request.standing(class.destruction, self.now) {
                Standing::Agreed => {
                    let epoch = Epoch::of(name.clone(), facts.start);
                    let (request, what) = (request.number, request.what);
                    return Ok(PlannedPurge { id: facts.id, epoch, request, what, since });
                }
                Standing::AwaitsApproval => {
                    waits.get_or_insert(WhyKept::AwaitsApproval(request.number));
                }
                Standing::CoolsOff(until) => {
                    waits.get_or_insert(WhyKept::CoolsOff { request: request.number, until });
                }
                Standing::Withdrawn => {}
            }
        }
        Err(waits.unwrap_or_else(|| dates.why_kept(self.now)))
    }

    /// A recording whose destruction was granted and begun, and whose envelope is gone: whatever has been said since,
    /// it is to be finished, at the word of `request`, which the grant names. Where that is not known, at that of one
    /// that covers it; nothing where none does.
    pub fn finish(&self, facts: &RetentionFacts, request: Option<u64>) -> Option<PlannedPurge> {
        let class = facts.class.as_ref()?;
        let subject = Subject { id: facts.id, class, recorder: &facts.recorder, start: facts.start };
        let named = self.requests.all().find(|one| Some(one.number) == request);
        let agreed = |request: &&Request| {
            let standing = self.classes.get(class).map(|class| request.standing(class.destruction, self.now));
            standing == Some(Standing::Agreed)
        };
        let request = named.or_else(|| self.requests.covering(&subject).max_by_key(agreed))?;
        let epoch = Epoch::of(class.clone(), facts.start);
        Some(PlannedPurge { id: facts.id, epoch, request: request.number, what: request.what, since: None })
    }

    /// An epoch whose key is gone, at the word of `request`: whatever has been said since, it is to be certified.
    pub fn finish_epoch(&self, epoch: &Epoch, request: u64) -> PlannedEpoch {
        PlannedEpoch { epoch: epoch.clone(), request }
    }

    /// Decides about an epoch's key. It goes when nothing of it is left, when even a recording that comes as late as
    /// can be would be due, and a request for the whole class says so.
    pub fn epoch(&self, epoch: &Epoch, facts: &EpochFacts) -> Result<PlannedEpoch, WhyKept> {
        if let ClockTrust::Doubted(doubt) = self.trust {
            return Err(WhyKept::Clock(doubt));
        }
        if facts.left > 0 {
            return Err(WhyKept::HasRecordings(facts.left));
        }
        if let Some(began) = facts.oldest_staged.filter(|began| *began < epoch.month.next().start()) {
            return Err(WhyKept::HasStaged(began));
        }
        let class = self.classes.get(&epoch.class).ok_or_else(|| WhyKept::NoClass(epoch.class.clone()))?;
        if let Some(hold) = self.holds.all().find(|hold| hold.scope.may_cover(epoch)) {
            return Err(WhyKept::Held(hold.name.clone()));
        }
        let (first, start) =
            (epoch.month.start(), epoch.month.next().start().before(Duration::from_nanos(1)));
        // Calls that last longer are unheard of.
        let end = start.after(Duration::from_secs(LONGEST_CALL_DAYS * 86_400));
        let facts = RetentionFacts {
            id: RecordingId::from_bytes([0; 16]),
            recorder: String::new(),
            class: Some(epoch.class.clone()),
            phase: Phase::Archived,
            start,
            end,
            event: None,
        };
        let dates = Dates::of(class, &facts);
        let due = match dates.may_go(class, What::Due) {
            Some(Some(due)) if due <= self.now => due,
            _ => return Err(dates.why_kept(self.now)),
        };
        let mut waits = WhyKept::Unasked(due);
        for request in self.requests.all() {
            let Scope { recordings, class: of, recorder, from, to } = &request.scope;
            let is_whole = recordings.is_empty()
                && recorder.is_none()
                && of.as_ref().is_none_or(|of| *of == epoch.class)
                && from.is_none_or(|from| from <= first)
                && to.is_none_or(|to| to > start)
                && request.due_by.is_none_or(|by| due <= by);
            if !is_whole || request.what == What::Erasure {
                continue;
            }
            match request.standing(class.destruction, self.now) {
                Standing::Agreed => {
                    return Ok(PlannedEpoch { epoch: epoch.clone(), request: request.number });
                }
                Standing::AwaitsApproval => waits = WhyKept::AwaitsApproval(request.number),
                Standing::CoolsOff(until) => waits = WhyKept::CoolsOff { request: request.number, until },
                Standing::Withdrawn => {}
            }
        }
        Err(waits)
    }
}

/// When a recording may go.
enum Dates {
    /// Its event has not come.
    NoEvent,
    /// With nothing for further than a clock can tell.
    Known {
        /// `keep_min` is over.
        min: Option<Stamp>,
        /// All its time is over.
        due: Option<Stamp>,
    },
}

impl Dates {
    fn of(class: &Class, facts: &RetentionFacts) -> Self {
        // A recorder whose clock was set back while it recorded: the later one counts.
        let end = facts.end.max(facts.start);
        let base = match class.base {
            Base::Start => Some(facts.start),
            Base::End => Some(end),
            Base::NextYear => next_year(end),
            Base::Event => match facts.event {
                Some(event) => Some(event),
                None => return Self::NoEvent,
            },
        };
        let min = base.and_then(|base| add(base, &class.keep_min));
        let due = match &class.keep_max {
            None => min,
            Some(max) => base.and_then(|base| add(base, max)).zip(min).map(|(max, min)| max.max(min)),
        };
        Self::Known { min, due }
    }

    /// From when what is asked may be done; nothing where it may never, and `Some(None)` where it may always.
    fn may_go(&self, class: &Class, what: What) -> Option<Option<Stamp>> {
        if what == What::Erasure && class.early_erasure {
            return Some(None);
        }
        match (self, what) {
            (Self::NoEvent, _) => None,
            (Self::Known { due, .. }, What::Due) => due.map(Some),
            (Self::Known { min, .. }, What::Unneeded | What::Erasure) => min.map(Some),
        }
    }

    /// Why a recording is kept for which nobody has asked.
    fn why_kept(&self, now: Stamp) -> WhyKept {
        match self {
            Self::NoEvent => WhyKept::NoEvent,
            Self::Known { min: None, .. } => WhyKept::Ever,
            Self::Known { min: Some(min), .. } if now < *min => WhyKept::KeepMin(*min),
            Self::Known { due: None, .. } => WhyKept::Ever,
            Self::Known { due: Some(due), .. } if now < *due => WhyKept::NotDue(*due),
            Self::Known { due: Some(due), .. } => WhyKept::Unasked(*due),
        }
    }
}

/// `at` and a period of the calendar; nothing beyond what a clock can tell.
fn add(at: Stamp, period: &Period) -> Option<Stamp> {
    let date = datetime(at)?.checked_add(period.0).ok()?;
    stamp(date)
}

/// 1 January of the year after.
fn next_year(at: Stamp) -> Option<Stamp> {
    let year = datetime(at)?.year().checked_add(1)?;
    stamp(civil::Date::new(year, 1, 1).ok()?.at(0, 0, 0, 0))
}

fn datetime(at: Stamp) -> Option<civil::DateTime> {
    let at = Timestamp::from_nanosecond(i128::from(at.as_unix_nanos())).ok()?;
    Some(TimeZone::UTC.to_datetime(at))
}

fn stamp(date: civil::DateTime) -> Option<Stamp> {
    let at = TimeZone::UTC.to_timestamp(date).ok()?;
    u64::try_from(at.as_nanosecond()).ok().map(Stamp::from_unix_nanos)
}

/// Things that have a scope: those that name recordings are found by them, the others are looked through.
#[derive(Debug)]
struct ByScope<'a, T> {
    by_id: BTreeMap<RecordingId, Vec<usize>>,
    others: Vec<usize>,
    all: Vec<&'a T>,
    scope: fn(&T) -> &Scope,
}

impl<'a, T> ByScope<'a, T> {
    fn new(all: impl Iterator<Item = &'a T>, scope: fn(&T) -> &Scope) -> Self {
        let all: Vec<&T> = all.collect();
        let (mut by_id, mut others) = (BTreeMap::<_, Vec<usize>>::new(), Vec::new());
        for (number, one) in all.iter().enumerate() {
            let recordings = &scope(one).recordings;
            if recordings.is_empty() {
                others.push(number);
            }
            for id in recordings {
                by_id.entry(*id).or_default().push(number);
            }
        }
        Self { by_id, others, all, scope }
    }

    fn covering<'s>(&'s self, subject: &'s Subject<'s>) -> impl Iterator<Item = &'a T> + 's {
        let named = self.by_id.get(&subject.id).map_or(&[][..], Vec::as_slice);
        let both = named.iter().chain(&self.others);
        both.map(|number| self.all[*number]).filter(|one| (self.scope)(one).covers(subject))
    }

    fn all(&self) -> impl Iterator<Item = &'a T> + '_ {
        self.all.iter().copied()
    }
}

const LONGEST_CALL_DAYS: u64 = 31;

#[cfg(test)]
mod tests;
