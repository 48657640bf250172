//! The sampling queue: each reviewer hears some recordings of the quarter before, drawn by nobody's choice, and says
//! what they are.
//!
//! ```text
//! root of the log when the quarter began ─► seed ─► SHA-256(seed, reviewer, recording): the lowest are drawn ─► verdict
//! ```
//!
//! Seed, draws and verdicts are entries of the vault's log, so whoever has it can draw again and compare. Verdicts are
//! words of a list; what more there is to say is a version of the recording, for it may name who spoke.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::entry::{Entry, Outcome};
use crate::archive::record::{Digest, RecordingId};
use crate::base::time::Stamp;

/// A quarter of a year, in UTC: `2026-Q3`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quarter {
    year: i16,
    /// 0 to 3.
    number: i8,
}

/// It is no quarter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a quarter is written as 2026-Q3")]
pub struct NoQuarter;

impl Quarter {
    /// In which something is.
    pub fn of(at: Stamp) -> Self {
        let at = jiff::Timestamp::from_nanosecond(i128::from(at.as_unix_nanos())).unwrap_or_default();
        let date = TimeZone::UTC.to_datetime(at).date();
        Self { year: date.year(), number: (date.month() - 1) / 3 }
    }

    /// The one before.
    #[must_use]
    pub fn before(self) -> Self {
        match self.number {
            0 => Self { year: self.year - 1, number: 3 },
            number => Self { number: number - 1, ..self },
        }
    }

    /// When it begins, and when the next one does.
    pub fn range(self) -> (Stamp, Stamp) {
        let begins = |year: i16, number: i8| {
            let date = Date::new(year, number * 3 + 1, 1).ok();
            let at = date.and_then(|date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
            let nanos = at.and_then(|at| u64::try_from(at.as_nanosecond()).ok());
            nanos.map_or(Stamp::ZERO, Stamp::from_unix_nanos)
        };
        let to = if self.number == 3 { begins(self.year + 1, 0) } else { begins(self.year, self.number + 1) };
        (begins(self.year, self.number), to)
    }
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-Q{}", self.year, self.number + 1)
    }
}

impl FromStr for Quarter {
    type Err = NoQuarter;

    fn from_str(text: &str) -> Result<Self, NoQuarter> {
        let (year, number) = text.split_once("-Q").ok_or(NoQuarter)?;
        let year: i16 = year.parse().map_err(|_| NoQuarter)?;
        let number: i8 = number.parse().map_err(|_| NoQuarter)?;
        let quarter = Self { year, number: number.saturating_sub(1) };
        let is_one =
            (1970..=2500).contains(&year) && (1..=4).contains(&number) && quarter.to_string() == text;
        is_one.then_some(quarter).ok_or(NoQuarter)
    }
}

impl TryFrom<String> for Quarter {
    type Error = NoQuarter;

    fn try_from(text: String) -> Result<Self, NoQuarter> {
        text.parse()
    }
}

impl From<Quarter> for String {
    fn from(quarter: Quarter) -> Self {
        quarter.to_string()
    }
}

/// What somebody says of a recording that was drawn for them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Something is missing, or hard to understand.
    PoorSound,
    /// It is filed under somebody who did not speak.
    WrongParty,
    /// It should not be there at all.
    MustNotBeRecorded,
    /// There is nothing to be heard any more: it was destroyed, or does not play.
    NotHeard,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Fine, Self::PoorSound, Self::WrongParty, Self::MustNotBeRecorded, Self::NotHeard];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::PoorSound => "poor-sound",
            Self::WrongParty => "wrong-party",
            Self::MustNotBeRecorded => "must-not-be-recorded",
            Self::NotHeard => "not-heard",
        }
    }
}

/// There is no such verdict.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no verdict: there are fine, poor-sound, wrong-party, must-not-be-recorded, not-heard")]
pub struct NoVerdict(pub String);

impl FromStr for Verdict {
    type Err = NoVerdict;

    fn from_str(text: &str) -> Result<Self, NoVerdict> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text).ok_or_else(|| NoVerdict(text.into()))
    }
}

/// What an entry of the log says of samples.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Told {
    /// By what the recordings of a quarter are drawn.
    Seed {
        /// Of which quarter.
        quarter: Quarter,
        /// Entries that the log had.
        size: u64,
        /// SHA-256 over all of them: root of its tree.
        root: Digest,
    },
    /// What was drawn for somebody.
    Drawn {
        /// Of which quarter.
        quarter: Quarter,
        /// For whom: as the log names who acts.
        reviewer: String,
        /// Out of how many within their reach.
        of: u64,
        /// Which.
        ids: Vec<RecordingId>,
    },
    /// What somebody says of one of them.
    Verdict {
        /// Of which quarter.
        quarter: Quarter,
        /// Who.
        reviewer: String,
        /// Of which recording.
        id: RecordingId,
        /// What.
        verdict: Verdict,
        /// The version of the recording that says more.
        version: Option<u32>,
    },
}

impl Told {
    /// As it stands in an entry.
    pub fn to_json(&self) -> Value {
        json!({ KEY: self })
    }

    /// What an entry says; nothing where it is about something else, or is not who may say so.
    pub fn of(entry: &Entry) -> Option<Self> {
        let Outcome::Done(details) = &entry.outcome else { return None };
        let told: Self = serde_json::from_value(details.get(KEY)?.clone()).ok()?;
        let is_theirs = match &told {
            Self::Seed { .. } => entry.action == Action::Duty,
            Self::Drawn { reviewer, .. } => entry.action == Action::Sample && *reviewer == entry.actor,
            Self::Verdict { reviewer, .. } => entry.action == Action::Judge && *reviewer == entry.actor,
        };
        is_theirs.then_some(told)
    }
}

/// A verdict that was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Given {
    /// What.
    pub verdict: Verdict,
    /// When.
    pub at: Stamp,
    /// The version of the recording that says more.
    pub version: Option<u32>,
}

/// What was drawn for one reviewer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Queue {
    /// When.
    pub at: Stamp,
    /// Out of how many.
    pub of: u64,
    /// Recordings in the order of the draw, with the verdict where there is one.
    pub drawn: Vec<(RecordingId, Option<Given>)>,
}

/// By what a quarter's recordings are drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seed {
    /// Entries that the log had.
    pub size: u64,
    /// Root of its tree.
    pub root: Digest,
    /// When it was taken.
    pub at: Stamp,
}

/// All samples that the log knows of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sampling {
    seeds: BTreeMap<Quarter, Seed>,
    queues: BTreeMap<(Quarter, String), Queue>,
}

/// How a quarter's samples stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Of which quarter.
    pub quarter: Quarter,
    /// Recordings that were drawn.
    pub drawn: usize,
    /// Those with a verdict.
    pub judged: usize,
    /// Those that must not have been recorded.
    pub not_to_be_recorded: usize,
    /// When the newest verdict was given.
    pub at: Option<Stamp>,
}

impl Sampling {
    /// The quarter whose recordings are looked at now: the one that is over.
    pub fn current(now: Stamp) -> Quarter {
        Quarter::of(now).before()
    }

    /// Takes in what an entry says. Of a seed, and of what was drawn for somebody, the first counts: nobody draws again
    /// until they like it. Of verdicts the last one does.
    pub fn absorb(&mut self, entry: &Entry) {
        let Some(told) = Told::of(entry) else { return };
        match told {
            Told::Seed { quarter, size, root } => {
                self.seeds.entry(quarter).or_insert(Seed { size, root, at: entry.at });
            }
            Told::Drawn { quarter, reviewer, of, ids } => {
                let drawn = ids.into_iter().map(|id| (id, None)).collect();
                self.queues.entry((quarter, reviewer)).or_insert(Queue { at: entry.at, of, drawn });
                self.forget();
            }
            Told::Verdict { quarter, reviewer, id, verdict, version } => {
                let queue = self.queues.get_mut(&(quarter, reviewer));
                let one = queue.and_then(|queue| queue.drawn.iter_mut().find(|(drawn, _)| *drawn == id));
                if let Some((_, given)) = one {
                    *given = Some(Given { verdict, at: entry.at, version });
                }
            }
        }
    }

    /// Old quarters stay in the log.
    fn forget(&mut self) {
        while self.queues.len() > QUEUES_MAX {
            self.queues.pop_first();
        }
    }

    /// By what recordings of a quarter are drawn; nothing before that is decided.
    pub fn seed(&self, quarter: Quarter) -> Option<&Seed> {
        self.seeds.get(&quarter)
    }

    /// What was drawn for somebody.
    pub fn queue(&self, quarter: Quarter, reviewer: &str) -> Option<&Queue> {
        self.queues.get(&(quarter, reviewer.to_owned()))
    }

    /// How the quarter stands that is looked at now.
    pub fn standing(&self, now: Stamp) -> Standing {
        let quarter = Self::current(now);
        let mut standing = Standing { quarter, ..Standing::default() };
        for (_, queue) in self.queues.iter().filter(|((of, _), _)| *of == quarter) {
            standing.drawn += queue.drawn.len();
            for given in queue.drawn.iter().filter_map(|(_, given)| given.as_ref()) {
                standing.judged += 1;
                standing.not_to_be_recorded += usize::from(given.verdict == Verdict::MustNotBeRecorded);
                standing.at = standing.at.max(Some(given.at));
            }
        }
        standing
    }
}

/// Draws for one reviewer: the same whoever draws, in whatever order the recordings come.
#[derive(Debug)]
pub struct Lot {
    seed: Digest,
    reviewer: String,
    count: usize,
    lowest: BTreeSet<([u8; 32], RecordingId)>,
    of: u64,
}

impl Lot {
    /// `count` are drawn.
    pub fn new(seed: &Seed, reviewer: &str, count: u32) -> Self {
        let (reviewer, count) = (reviewer.to_owned(), count as usize);
        Self { seed: seed.root, reviewer, count, lowest: BTreeSet::new(), of: 0 }
    }

    /// One that may be drawn.
    pub fn add(&mut self, id: RecordingId) {
        self.of += 1;
        let digest =
            Digest::of(format!("sejf sampling\n{}\n{}\n{id}\n", self.seed, self.reviewer).as_bytes());
        self.lowest.insert((digest.0, id));
        if self.lowest.len() > self.count {
            self.lowest.pop_last();
        }
    }

    /// What is drawn, and out of how many.
    pub fn drawn(self) -> (Vec<RecordingId>, u64) {
        (self.lowest.into_iter().map(|(_, id)| id).collect(), self.of)
    }
}

const KEY: &str = "sampling";
const QUEUES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::entry::{Resource, SCHEMA};

    fn stamp(text: &str) -> Stamp {
        serde_json::from_value(json!(text)).unwrap()
    }

    fn id(number: u64) -> RecordingId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        RecordingId::from_bytes(bytes)
    }

    fn entry(actor: &str, action: Action, told: &Told) -> Entry {
        Entry {
            schema: SCHEMA,
            at: stamp("2026-10-02T00:00:00Z"),
            actor: actor.into(),
            origin: "local".into(),
            action,
            resource: Resource::Vault,
            reason: None,
            outcome: Outcome::Done(told.to_json()),
        }
    }

    #[test]
    fn quarters_are_those_of_the_calendar() {
        for (at, quarter, before) in [
            ("2026-01-01T00:00:00Z", "2026-Q1", "2025-Q4"),
            ("2026-03-31T23:59:59.999Z", "2026-Q1", "2025-Q4"),
            ("2026-04-01T00:00:00Z", "2026-Q2", "2026-Q1"),
            ("2026-12-31T12:00:00Z", "2026-Q4", "2026-Q3"),
        ] {
            let found = Quarter::of(stamp(at));
            assert_eq!((found.to_string().as_str(), found.before().to_string().as_str()), (quarter, before));
            assert_eq!(quarter.parse(), Ok(found));
            let (from, to) = found.range();
            assert!(from <= stamp(at) && stamp(at) < to, "{at}");
            assert_eq!(Quarter::of(to).before(), found);
        }
        for wrong in ["", "2026", "2026-Q0", "2026-Q5", "2026-Q03", "26-Q1", "2026-q1", "99999-Q1"] {
            assert_eq!(wrong.parse::<Quarter>(), Err(NoQuarter), "{wrong}");
        }
    }

    #[test]
    fn the_draw_is_the_same_in_any_order_and_another_by_seed_and_reviewer() {
        let seed = |byte: u8| Seed { size: 1, root: Digest([byte; 32]), at: Stamp::ZERO };
        let draw = |seed: &Seed, reviewer: &str, ids: &mut dyn Iterator<Item = u64>| {
            let mut lot = Lot::new(seed, reviewer, 10);
            ids.for_each(|number| lot.add(id(number)));
            lot.drawn()
        };
        let (first, of) = draw(&seed(1), "user:rita", &mut (0..1_000));
        assert_eq!((first.len(), of), (10, 1_000));
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 10);
        assert_eq!(draw(&seed(1), "user:rita", &mut (0..1_000).rev()).0, first);
        assert_ne!(draw(&seed(2), "user:rita", &mut (0..1_000)).0, first);
        assert_ne!(draw(&seed(1), "user:jan", &mut (0..1_000)).0, first);
        assert_eq!(draw(&seed(1), "user:rita", &mut (0..3)).0.len(), 3);
        // Nobody is drawn more often than others: of 200 in 400 draws each about 20 times.
        let mut often = BTreeMap::new();
        for number in 0..400_u64 {
            let root = Digest::of(&number.to_be_bytes());
            let drawn = draw(&Seed { size: 1, root, at: Stamp::ZERO }, "user:rita", &mut (0..200)).0;
            drawn.into_iter().for_each(|id| *often.entry(id).or_insert(0) += 1);
        }
        assert!(often.len() == 200 && often.values().all(|count| (4..=45).contains(count)), "{often:?}");
    }

    #[test]
    fn what_was_drawn_first_counts_and_nobody_speaks_for_another() {
        let mut sampling = Sampling::default();
        let quarter = Sampling::current(stamp("2026-10-05T00:00:00Z"));
        let drawn = |reviewer: &str, first: u64| Told::Drawn {
            quarter,
            reviewer: reviewer.into(),
            of: 100,
            ids: vec![id(first), id(first + 1)],
        };
        sampling.absorb(&entry("user:rita", Action::Sample, &drawn("user:rita", 1)));
        sampling.absorb(&entry("user:rita", Action::Sample, &drawn("user:rita", 7)));
        sampling.absorb(&entry("user:rita", Action::Sample, &drawn("user:jan", 7)));
        sampling.absorb(&entry("user:rita", Action::Search, &drawn("user:rita", 9)));
        assert_eq!(sampling.queue(quarter, "user:rita").unwrap().drawn[0].0, id(1));
        assert_eq!(sampling.queue(quarter, "user:jan"), None);
        let verdict = |number, verdict| Told::Verdict {
            quarter,
            reviewer: "user:rita".into(),
            id: id(number),
            verdict,
            version: None,
        };
        sampling.absorb(&entry("user:rita", Action::Judge, &verdict(1, Verdict::Fine)));
        sampling.absorb(&entry("user:rita", Action::Judge, &verdict(1, Verdict::MustNotBeRecorded)));
        sampling.absorb(&entry("user:jan", Action::Judge, &verdict(2, Verdict::Fine)));
        sampling.absorb(&entry("user:rita", Action::Judge, &verdict(99, Verdict::Fine)));
        let standing = sampling.standing(stamp("2026-11-05T00:00:00Z"));
        assert_eq!((standing.drawn, standing.judged, standing.not_to_be_recorded), (2, 1, 1));
        assert_eq!(sampling.standing(stamp("2027-01-05T00:00:00Z")).drawn, 0, "the next quarter is another");
        let seed = |root: u8| Told::Seed { quarter, size: 4, root: Digest([root; 32]) };
        sampling.absorb(&entry("user:rita", Action::Sample, &seed(3)));
        assert_eq!(sampling.seed(quarter), None);
        sampling.absorb(&entry("vault", Action::Duty, &seed(1)));
        sampling.absorb(&entry("vault", Action::Duty, &seed(2)));
        assert_eq!(sampling.seed(quarter).unwrap().root, Digest([1; 32]));
    }

    #[test]
    fn verdicts_are_read_as_they_are_written() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
            assert_eq!(serde_json::to_value(verdict).unwrap(), json!(verdict.as_str()));
        }
        assert!("good".parse::<Verdict>().is_err());
    }
}
