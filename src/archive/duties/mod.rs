//! What a vault does by itself, and when: copies, scrubbing, tests, keys of the coming months.
//!
//! ```text
//! policy, what was done when, the clock ─► next ─► begin ─ the shell carries it out ─► end ─► what was done when
//!                                           └─► wait until
//! ```
//!
//! One at a time. Of those that are due the one goes first that was begun the longest ago, so that none starves another:
//! neither one that fails, which is tried again later and later, nor one that takes days, which is done in slices. What
//! was cut off, by a power cut or otherwise, is seen to have begun and not to have ended.

mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::time::Stamp;

pub use crate::archive::duties::policy::{Every, Length, Policy};

/// Something that a vault does by itself, again and again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Makes copies that are missing, and mends those that are broken.
    Copies,
    /// Makes the keys of the coming months.
    Keys,
    /// Holds the clock against the log and the time that has passed.
    Clock,
    /// Tries whether places keep what was written once.
    WormTest,
    /// Reads every byte of every copy within a period.
    Scrub,
    /// Restores a sample from every place.
    RestoreTest,
    /// Says what could be destroyed. Never destroys it.
    DestructionPlan,
    /// Says which removable media are to be checked, mended or destroyed.
    Media,
    /// Holds all of it against what it should be.
    Review,
}

impl Duty {
    /// All of them. Of two that are due for as long, the earlier one goes first.
    pub const ALL: [Self; 9] = [
        Self::Copies,
        Self::Keys,
        Self::Clock,
        Self::WormTest,
        Self::Scrub,
        Self::RestoreTest,
        Self::DestructionPlan,
        Self::Media,
        Self::Review,
    ];

    /// Its name in the log, in states and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::Keys => "keys",
            Self::Clock => "clock",
            Self::WormTest => "worm-test",
            Self::Scrub => "scrub",
            Self::RestoreTest => "restore-test",
            Self::DestructionPlan => "destruction-plan",
            Self::Media => "media",
            Self::Review => "review",
        }
    }
}

impl std::fmt::Display for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    /// It was done, and nothing is wrong.
    Well,
    /// It was done, and something is wrong that somebody has to see to.
    Found,
    /// A slice of it was done, and there is more.
    More,
    /// The same, and something is wrong that somebody has to see to: with this slice, or one before.
    FoundSoFar,
    /// It takes something that is not there: keys, while the vault is locked.
    Waits,
    /// It could not be done.
    Failed,
    /// The vault was stopped meanwhile.
    Stopped,
    /// It was begun, and nobody knows how it ended.
    CutOff,
}

impl Came {
    /// Whether somebody has to see to it.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Found | Self::FoundSoFar | Self::Failed | Self::CutOff)
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::CutOff)
    }
}

/// What is known of a duty.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// When it was begun last.
    pub begun: Option<Stamp>,
    /// When that run ended; nothing while it runs, or where it was cut off.
    pub ended: Option<Stamp>,
    /// When it was last done to its end.
    pub done: Option<Stamp>,
    /// Failures since.
    pub failures: u32,
    /// What came of the last run.
    pub came: Option<Came>,
    /// The same in words.
    pub words: String,
}

/// What is known of all duties: what is kept over a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Since when the vault does duties by itself.
    pub since: Option<Stamp>,
    /// What was done.
    pub duties: BTreeMap<Duty, Done>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// This one.
    Run(Duty),
    /// Nothing until then, unless something wakes one; nothing at all where there is no time.
    Wait(Option<Stamp>),
}

/// How a duty stands, for people.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub duty: Duty,
    /// Whether it is switched off.
    pub off: bool,
    /// Whether it is being done just now.
    pub running: bool,
    /// When it was last begun.
    pub last: Option<Stamp>,
    /// What came of the last run that ended.
    pub came: Option<Came>,
    /// The same in words.
    pub words: String,
    /// When it is due next.
    pub next: Option<Stamp>,
    /// Whether it was not done for longer than it should be.
    pub late: bool,
}

impl Standing {
    /// Whether somebody has to see to it.
    pub fn is_wrong(&self) -> bool {
        !self.off && (self.late || self.came.is_some_and(Came::is_bad))
    }
}

/// Which duty is done when.
#[derive(Clone, Debug)]
pub struct Schedule {
    policy: Policy,
    state: State,
    running: Option<Duty>,
    woken: BTreeSet<Duty>,
}

impl Schedule {
    /// Goes on from what is known. What was begun and did not end was cut off.
    pub fn new(policy: Policy, mut state: State, now: Stamp) -> Self {
        state.since = state.since.filter(|since| *since <= now).or(Some(now));
        for done in state.duties.values_mut().filter(|done| done.begun.is_some() && done.ended.is_none()) {
            done.ended = done.begun;
            done.came = Some(Came::CutOff);
            done.words = "it was cut off".into();
            done.failures = done.failures.saturating_add(1);
        }
        Self { policy, state, running: None, woken: BTreeSet::new() }
    }

    /// What is to be kept over a restart.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is to be done now.
    pub fn next(&self, now: Stamp) -> Next {
        if self.running.is_some() {
            return Next::Wait(None);
        }
        let all = Duty::ALL.into_iter().filter_map(|duty| Some((duty, self.due(duty, now)?)));
        let (due, later): (Vec<_>, Vec<_>) = all.partition(|(_, at)| *at <= now);
        // A time that is yet to come is of a clock that was put back: that was long ago.
        let begun = |duty: Duty| self.done(duty).and_then(|done| done.begun).filter(|at| *at <= now);
        match due.into_iter().map(|(duty, _)| duty).min_by_key(|duty| begun(*duty)) {
            Some(duty) => Next::Run(duty),
            None => Next::Wait(later.into_iter().map(|(_, at)| at).min()),
        }
    }

    /// Says that a duty is begun. It must not be while another one is.
    pub fn begin(&mut self, duty: Duty, now: Stamp) {
        debug_assert_eq!(self.running, None, "one at a time");
        self.running = Some(duty);
        self.woken.remove(&duty);
        let done = self.state.duties.entry(duty).or_default();
        (done.begun, done.ended) = (Some(now), None);
    }

    /// Says what came of the duty that was begun.
    pub fn end(&mut self, now: Stamp, came: Came, words: String) {
        let Some(duty) = self.running.take() else { return };
        let done = self.state.duties.entry(duty).or_default();
        done.ended = Some(now);
        (done.came, done.words) = (Some(came), words);
        match came {
            Came::Well | Came::Found => {
                done.done = Some(now);
                done.failures = 0;
            }
            Came::More | Came::FoundSoFar | Came::Waits | Came::Stopped => done.failures = 0,
            Came::Failed | Came::CutOff => done.failures = done.failures.saturating_add(1),
        }
    }

    /// Something has come that a duty is for: it is done soon, though not before it has rested from a failure.
    pub fn wake(&mut self, duty: Duty) {
        self.woken.insert(duty);
    }

    /// Whether what runs is to end its slice: it has had its time, or another one is due.
    pub fn is_slice_over(&self, running: Duration, now: Stamp) -> bool {
        let others = Duty::ALL.into_iter().filter(|duty| self.running != Some(*duty));
        let mut due = others.filter_map(|duty| self.due(duty, now));
        running >= SLICE_MAX || (running >= SLICE_MIN && due.any(|at| at <= now))
    }

    /// When a duty is due; nothing where it is off.
    fn due(&self, duty: Duty, now: Stamp) -> Option<Stamp> {
        let every = self.policy.every(duty)?;
        let Some(done) = self.done(duty) else { return Some(now) };
        let (Some(begun), Some(came)) = (done.begun, done.came) else { return Some(now) };
        let ended = done.ended.unwrap_or(begun);
        // The clock was put back: by it nothing would be due, perhaps for years.
        if begun.max(ended) > now.after(SKEW) {
            return Some(now);
        }
        let at = match came {
            Came::Well | Came::Found => begun.after(every),
            Came::More | Came::FoundSoFar | Came::Stopped => ended,
            Came::Waits => ended.after(every.min(WAIT)),
            Came::Failed | Came::CutOff => ended.after(back_off(done.failures).min(every)),
        };
        if !self.woken.contains(&duty) {
            return Some(at);
        }
        let rest = if came.is_failure() { BACK_OFF_FIRST.min(every) } else { Duration::ZERO };
        Some(at.min(ended.after(rest)))
    }

    fn done(&self, duty: Duty) -> Option<&Done> {
        self.state.duties.get(&duty)
    }

    /// Whether a duty was not done for longer than it should be.
    fn is_late(&self, duty: Duty, now: Stamp) -> bool {
        let Some(every) = self.policy.every(duty) else { return false };
        let since = self.state.since.unwrap_or(now);
        let done = self.done(duty).and_then(|done| done.done);
        let by = match (duty, done) {
            // The first time that every byte is read takes as long as it may.
            (Duty::Scrub, None) => {
                since.after(self.policy.scrub_period.0).after(grace(self.policy.scrub_period.0))
            }
            (Duty::Scrub, Some(done)) => done.after(every).after(grace(self.policy.scrub_period.0)),
            (_, done) => done.unwrap_or(since).after(every).after(every.max(LATE_MIN)),
        };
        now > by
    }

    /// How all duties stand.
    pub fn standing(&self, now: Stamp) -> Vec<Standing> {
        let stands = |duty| {
            let done = self.done(duty).cloned().unwrap_or_default();
            let (off, running) = (self.policy.every(duty).is_none(), self.running == Some(duty));
            let next = self.due(duty, now).filter(|_| !running);
            let late = self.is_late(duty, now);
            Standing { duty, off, running, last: done.begun, came: done.came, words: done.words, next, late }
        };
        Duty::ALL.into_iter().map(stands).collect()
    }
}

/// Twice as long after each failure.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (BACK_OFF_FIRST * 2_u32.pow(doublings)).min(BACK_OFF_MAX)
}

/// A pass that takes a tenth longer than it should is not late yet.
fn grace(period: Duration) -> Duration {
    (period / 10).max(LATE_MIN)
}

/// How long one that is sliced is left alone.
pub const SLICE_MIN: Duration = Duration::from_secs(20);
/// After this it makes room for others, and goes on when they are done.
pub const SLICE_MAX: Duration = Duration::from_secs(600);
const BACK_OFF_FIRST: Duration = Duration::from_secs(30);
const BACK_OFF_MAX: Duration = Duration::from_secs(3_600);
/// How often it is looked whether what a duty waits for is there.
const WAIT: Duration = Duration::from_secs(600);
/// Time services set a clock by a little.
const SKEW: Duration = Duration::from_secs(60);
/// Nothing is late by less.
const LATE_MIN: Duration = Duration::from_secs(600);
