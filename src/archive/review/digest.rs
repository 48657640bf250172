//! What the vault's log says, as far as a review asks: read once, and gone on with.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::archive::access::Action;
use crate::archive::duties::Duty;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::sampling::Sampling;
use crate::base::time::Stamp;

/// What is kept of the log.
#[derive(Clone, Debug, Default)]
pub struct Digested {
    /// Entries that were read.
    pub size: u64,
    /// When the newest of them was written.
    pub newest: Option<Stamp>,
    /// Entries that this program cannot read.
    pub unreadable: u64,
    /// Who broke the glass, and when.
    pub glass: VecDeque<(Stamp, String)>,
    /// How many recordings somebody began to hear within an hour, at most: of the last month, the most first, and after
    /// each the most since.
    pub heard: BTreeMap<String, VecDeque<Peak>>,
    /// Whose name was tried too often, and when last.
    pub lockouts: BTreeMap<String, Stamp>,
    /// When a token acted for somebody last.
    pub tokens_used: BTreeMap<String, Stamp>,
    /// What came of restoring a sample from a place.
    pub restored: BTreeMap<String, Restored>,
    /// Epochs whose key leaked, and whose recordings are not all under new envelopes, and since when.
    pub leaked: BTreeMap<String, Stamp>,
    /// Since when there is something that may be destroyed, and how much; nothing where there is not.
    pub destroyable: Option<(Stamp, u64)>,
    /// When it was last said what may be destroyed.
    pub planned: Option<Stamp>,
    /// Samples that reviewers hear.
    pub sampling: Sampling,
    /// Begun just now, by who hears: of the last hour.
    hour: BTreeMap<String, VecDeque<Stamp>>,
}

/// The most in an hour.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Peak {
    /// When it was reached.
    pub at: Stamp,
    /// How many.
    pub count: u32,
}

/// What came of a restore test.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Restored {
    /// When.
    pub at: Stamp,
    /// Files that were restored.
    pub files: u64,
    /// Of these, files that were opened.
    pub opened: u64,
    /// What went wrong.
    pub failures: u64,
}

impl Digested {
    /// Takes in the next entry, which may be one that this program does not know.
    pub fn absorb(&mut self, bytes: &[u8]) {
        self.size += 1;
        match Entry::from_bytes(bytes) {
            Ok(entry) => self.entry(&entry),
            Err(_) => self.unreadable += 1,
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.newest = self.newest.max(Some(entry.at));
        if let Some(user) = entry.actor.strip_prefix("user:").and_then(|actor| actor.strip_suffix("/token")) {
            newest(&mut self.tokens_used, user, entry.at);
        }
        match (entry.action, &entry.outcome) {
            (Action::Open, Outcome::Granted) => self.heard(&entry.actor, entry.at),
            (Action::BreakGlass, Outcome::Done(_)) => {
                self.glass.push_back((entry.at, entry.actor.clone()));
                if self.glass.len() > KEPT_MAX {
                    self.glass.pop_front();
                }
            }
            (Action::SignIn, Outcome::Failed(what)) if what == LOCKED => {
                newest(&mut self.lockouts, &entry.actor, entry.at);
            }
            (Action::RestoreTest, Outcome::Done(details)) => self.restored(details, entry.at),
            (Action::Rewrap, outcome) => self.rewrapped(&entry.resource, outcome, entry.at),
            (Action::Destroy, Outcome::Done(_)) => self.destroyable = None,
            (Action::Duty, Outcome::Done(details)) => self.duty(details, entry.at),
            _ => {}
        }
        self.sampling.absorb(entry);
    }

    fn heard(&mut self, who: &str, at: Stamp) {
        if !self.hour.contains_key(who) && self.hour.len() >= KEPT_MAX {
            self.hour.retain(|_, begun| begun.back().is_some_and(|last| at.since(*last) < HOUR));
        }
        let begun = self.hour.entry(who.to_owned()).or_default();
        begun.push_back(at);
        while begun.front().is_some_and(|first| at.since(*first) >= HOUR) || begun.len() > HEARD_MAX {
            begun.pop_front();
        }
        let count = u32::try_from(begun.len()).unwrap_or(u32::MAX);
        let peaks = self.heard.entry(who.to_owned()).or_default();
        while peaks.back().is_some_and(|last| last.count <= count) {
            peaks.pop_back();
        }
        peaks.push_back(Peak { at, count });
        // What was a month ago is told no more, and hides nothing of later.
        while peaks.front().is_some_and(|first| at.since(first.at) > MONTH) {
            peaks.pop_front();
        }
        bound(&mut self.heard, |peaks| peaks.back().map_or_else(Stamp::default, |last| last.at));
    }

    fn restored(&mut self, details: &Value, at: Stamp) {
        let places = details.get("restore-test").and_then(|report| report.get("places")?.as_array());
        for place in places.into_iter().flatten() {
            let number = |name: &str| place.get(name).and_then(Value::as_u64).unwrap_or(0);
            let failures = place.get("failures").and_then(Value::as_array).map_or(0, Vec::len) as u64;
            let Some(name) = place.get("place").and_then(Value::as_str) else { continue };
            let (files, opened) = (number("files"), number("opened"));
            self.restored.insert(name.to_owned(), Restored { at, files, opened, failures });
        }
        bound(&mut self.restored, |one| one.at);
    }

    fn rewrapped(&mut self, resource: &Resource, outcome: &Outcome, at: Stamp) {
        let Resource::Epoch(epoch) = resource else { return };
        match outcome {
            Outcome::Granted => {
                self.leaked.entry(epoch.clone()).or_insert(at);
            }
            Outcome::Done(details) => {
                let is_none = |name: &str| details.get(name).and_then(Value::as_u64) == Some(0);
                if is_none("failed") && is_none("unknown") {
                    self.leaked.remove(epoch);
                }
            }
            Outcome::Refused(_) | Outcome::Failed(_) => {}
        }
    }

    fn duty(&mut self, details: &Value, at: Stamp) {
        if details.get("duty").and_then(Value::as_str) != Some(Duty::DestructionPlan.as_str()) {
            return;
        }
        let Some(plan) = details.get("details").filter(|plan| plan.get("recordings").is_some()) else {
            return;
        };
        let number = |name: &str| plan.get(name).and_then(Value::as_u64).unwrap_or(0);
        let count = number("recordings") + number("epochs");
        self.planned = Some(at);
        self.destroyable = match self.destroyable {
            _ if count == 0 => None,
            Some((since, _)) => Some((since, count)),
            None => Some((at, count)),
        };
    }
}

fn newest(all: &mut BTreeMap<String, Stamp>, name: &str, at: Stamp) {
    let known = all.entry(name.to_owned()).or_insert(at);
    *known = (*known).max(at);
    bound(all, |at| *at);
}

/// Whoever makes up names does not fill the memory: the oldest goes.
fn bound<T>(all: &mut BTreeMap<String, T>, at: impl Fn(&T) -> Stamp) {
    if all.len() > KEPT_MAX {
        let oldest = all.iter().min_by_key(|(_, one)| at(one)).map(|(name, _)| name.clone());
        oldest.and_then(|name| all.remove(&name));
    }
}

/// What the log says where a try is not let in any more.
pub const LOCKED: &str = "too many failures";
const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const KEPT_MAX: usize = 10_000;
const HEARD_MAX: usize = 10_000;
