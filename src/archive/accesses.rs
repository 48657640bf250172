//! Who saw and heard a recording, put together from the log's entries: what was granted, and what came of it.

use serde::Serialize;

use crate::archive::access::{Action, Reason};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;

/// Somebody saw, heard or changed it, or was not let.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Access {
    /// Number of the log's entry that it begins with.
    pub entry: u64,
    /// When.
    pub at: Stamp,
    /// When the last entry of it was written.
    pub last: Stamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Option<Reason>,
    /// How it went.
    pub went: Went,
    /// Under which name it was heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Parts of sound that were released.
    pub parts: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How often in a row: of what is only looked at.
    pub times: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Went {
    /// It was granted; the log has nothing else of it.
    Granted,
    /// It was done.
    Done,
    /// It was not granted.
    Refused,
    /// It was tried, and failed.
    Failed,
}

/// Accesses to one recording, from entries in their order.
#[derive(Clone, Debug)]
pub struct Accesses {
    id: RecordingId,
    found: Vec<Access>,
}

impl Accesses {
    /// To this one.
    pub fn of(id: RecordingId) -> Self {
        Self { id, found: Vec::new() }
    }

    /// All that were found.
    pub fn newest_first(mut self) -> Vec<Access> {
        self.found.reverse();
        self.found
    }

    /// Adds an entry, where it is of this recording.
    pub fn add(&mut self, index: u64, entry: &Entry) {
        let is_of = match &entry.resource {
            Resource::Recording(id) => *id == self.id,
            Resource::Recordings { ids, .. } => ids.contains(&self.id),
            _ => false,
        };
        if !is_of {
            return;
        }
        let told = match &entry.outcome {
            Outcome::Done(told) => Some(told),
            Outcome::Granted | Outcome::Refused(_) | Outcome::Failed(_) => None,
        };
        let trace = told.and_then(|told| told["trace"].as_str()).map(str::to_owned);
        let went = match &entry.outcome {
            Outcome::Granted => Went::Granted,
            Outcome::Refused(_) => Went::Refused,
            Outcome::Done(_) => Went::Done,
            Outcome::Failed(_) => Went::Failed,
        };
        let open = match went {
            Went::Done | Went::Failed => self.began(entry, trace.as_deref()),
            Went::Granted | Went::Refused => self.repeats(entry, went),
        };
        let Some(at) = open else {
            let (parts, bytes) = told.map_or((0, 0), released);
            let Entry { at, actor, origin, action, reason, .. } = entry.clone();
            let new = Access {
                entry: index,
                at,
                last: at,
                actor,
                origin,
                action,
                reason,
                went,
                trace,
                parts,
                bytes,
                times: 1,
            };
            self.found.push(new);
            return;
        };
        let access = &mut self.found[at];
        access.last = entry.at;
        match told {
            None if went == Went::Failed => access.went = went,
            None => access.times += 1,
            Some(told) => {
                let (parts, bytes) = released(told);
                access.went = Went::Done;
                access.parts += parts;
                access.bytes += bytes;
                access.trace = access.trace.take().or(trace);
            }
        }
    }

    /// The access of which an outcome is: of a trace the one that has it, else the last grant of the same.
    fn began(&self, entry: &Entry, trace: Option<&str>) -> Option<usize> {
        let is_same = |access: &Access| {
            access.action == entry.action && access.actor == entry.actor && access.reason == entry.reason
        };
        let has_trace = |access: &Access| trace.is_some() && access.trace.as_deref() == trace;
        let waits = |access: &Access| {
            is_same(access) && access.went == Went::Granted && (trace.is_none() || access.trace.is_none())
        };
        self.found.iter().rposition(has_trace).or_else(|| self.found.iter().rposition(waits))
    }

    /// What is only looked at, again and again as pages are drawn, is one access for a while.
    fn repeats(&self, entry: &Entry, went: Went) -> Option<usize> {
        let last = self.found.last()?;
        let is_same = (last.actor.as_str(), last.origin.as_str(), last.went)
            == (&*entry.actor, &*entry.origin, went)
            && last.reason == entry.reason
            && last.action == entry.action;
        let is_seen = matches!(entry.action, Action::Show | Action::ShowAccess);
        let is_soon = entry.at.since(last.last).as_secs() <= TOGETHER_SECONDS;
        (is_same && is_seen && is_soon).then(|| self.found.len() - 1)
    }
}

/// Sound that an entry says was released.
fn released(told: &serde_json::Value) -> (u64, u64) {
    match (told["from"].as_u64(), told["to"].as_u64()) {
        (Some(from), Some(to)) => (1, to.saturating_sub(from)),
        _ => (0, 0),
    }
}

const TOGETHER_SECONDS: u64 = 300;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::archive::entry::SCHEMA;

    fn id(byte: u8) -> RecordingId {
        RecordingId::from_bytes([byte; 16])
    }

    fn entry(at_s: u64, actor: &str, action: Action, of: u8, outcome: Outcome) -> Entry {
        let reason =
            (action == Action::Open).then(|| Reason { code: "complaint".into(), text: "T-17".into() });
        let (at, resource) = (Stamp::from_unix_nanos(at_s * 1_000_000_000), Resource::Recording(id(of)));
        let (actor, origin) = (actor.to_owned(), "192.0.2.7".to_owned());
        Entry { schema: SCHEMA, at, actor, origin, action, resource, reason, outcome }
    }

    fn of(entries: &[Entry]) -> Vec<Access> {
        let mut all = Accesses::of(id(1));
        (0..).zip(entries).for_each(|(index, entry)| all.add(index, entry));
        all.newest_first()
    }

    #[test]
    fn a_hearing_is_one_access_with_all_of_its_parts() {
        let (open, trace) = (Action::Open, |name: &str| Outcome::Done(json!({ "trace": name })));
        let part = |name: &str, from: u64, to: u64| {
            Outcome::Done(json!({ "trace": name, "file": "x", "from": from, "to": to, "of": 900 }))
        };
        let all = of(&[
            entry(1, "user:rita", open, 1, Outcome::Granted),
            entry(1, "user:rita", open, 1, trace("a")),
            entry(2, "user:rita", open, 2, Outcome::Granted),
            entry(3, "user:rita", open, 1, Outcome::Granted),
            entry(3, "user:rita", open, 1, trace("b")),
            entry(4, "user:rita", open, 1, part("a", 0, 100)),
            entry(5, "user:rita", open, 1, part("b", 0, 7)),
            entry(6, "user:rita", open, 1, part("a", 100, 900)),
        ]);
        let told: Vec<_> = all.iter().map(|one| (one.entry, one.went, one.parts, one.bytes)).collect();
        assert_eq!(told, [(3, Went::Done, 1, 7), (0, Went::Done, 2, 900)]);
        assert_eq!(all[1].trace.as_deref(), Some("a"));
        assert_eq!(all[1].last, Stamp::from_unix_nanos(6_000_000_000));
    }

    #[test]
    fn what_is_looked_at_in_a_row_is_one_access_and_each_refusal_of_a_hearing_its_own() {
        let (show, open) = (Action::Show, Action::Open);
        let refused = || Outcome::Refused(crate::archive::access::Refusal::SecondFactor);
        let all = of(&[
            entry(1, "user:rita", show, 1, Outcome::Granted),
            entry(2, "user:rita", show, 1, Outcome::Granted),
            entry(3, "user:ola", show, 1, Outcome::Granted),
            entry(900, "user:ola", show, 1, Outcome::Granted),
            entry(901, "user:rita", open, 1, refused()),
            entry(902, "user:rita", open, 1, refused()),
        ]);
        let told: Vec<_> = all.iter().map(|one| (one.entry, one.times, one.went)).collect();
        let seen = |entry, times| (entry, times, Went::Granted);
        let refused = |entry| (entry, 1, Went::Refused);
        assert_eq!(told, [refused(5), refused(4), seen(3, 1), seen(2, 1), seen(0, 2)]);
    }

    #[test]
    fn an_outcome_whose_grant_is_further_back_is_an_access_too() {
        let part = Outcome::Done(json!({ "trace": "a", "from": 5, "to": 9 }));
        let all = of(&[entry(1, "user:rita", Action::Open, 1, part)]);
        assert_eq!((all.len(), all[0].went, all[0].bytes), (1, Went::Done, 4));
    }
}
