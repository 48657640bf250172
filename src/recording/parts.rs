//! Recordings that are parts of one call: the recorder was started anew while the call went on.
//!
//! ```text
//!  call:   ├──────────── part 1 ────────────┤├──── part 2 ────┤   each a recording of its own: id,
//!  at_s:   0                                 at_s              │   files, manifest, receipt
//! ```
//!
//! A part that another follows is `interrupted` and `ended_by` `handover`: when it is sealed nobody knows
//! whether another will follow. What the whole is, its last part says.
//!
//! A part whose recorder was killed has no end of its own: a key holder makes one of it (`sejf salvage`). The
//! next part names the first all the same, and begins with the first packet that was captured after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::time::Stamp;
use crate::call::closing::EndedBy;
use crate::call::transcript::Kept;
use crate::recording::manifest::Manifest;
use crate::recording::pause::PauseReason;

/// Which part of a call a recording is. Not there where it is all of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// Id of part 1.
    pub first: String,
    /// Where sample 0 is on the timeline of the call, in seconds from that of part 1.
    pub at_s: f64,
}

/// What the next part of a recording must know of those before.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Continuation {
    /// Number of the part that comes.
    pub number: u32,
    /// Id of part 1.
    pub first: String,
    /// Capture time of its sample 0.
    #[serde(with = "nanos")]
    pub start: Stamp,
    /// From sample 0 of part 1 to that of this one.
    pub offset_ns: u64,
    /// Trunk, rule with version, retention class: what was decided when the call began.
    pub labels: [String; 3],
    /// Why it is paused, where it is.
    pub pause: Option<PauseReason>,
    /// The part before was cut off: nobody ended it, and nothing is known of its last moments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A call that one process has left for another.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftCall {
    /// What its next part must know.
    pub continuation: Continuation,
    /// Its signalling, oldest first.
    pub messages: Vec<Kept>,
}

impl Continuation {
    /// As the manifest of the part that comes says it.
    pub fn part(&self) -> Part {
        let at_s = (self.offset_ns as f64 / 1e3).round() / 1e6;
        Part { number: self.number, first: self.first.clone(), at_s }
    }

    /// The part begins at `at`, where that is later.
    pub fn advance(&mut self, at: Stamp) {
        let length = u64::try_from(at.since(self.start).as_nanos()).unwrap_or(u64::MAX);
        self.offset_ns = self.offset_ns.saturating_add(length);
        self.start = self.start.max(at);
    }
}

/// Parts of one call, in order; of most calls the one recording that there is.
#[derive(Debug, PartialEq)]
pub struct Parts<'a>(Vec<&'a Manifest>);

impl<'a> Parts<'a> {
    /// Puts together what belongs together, in the order of the first parts.
    pub fn of(manifests: &'a [Manifest]) -> Vec<Self> {
        let mut sets: Vec<Self> = Vec::new();
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for manifest in manifests {
            let key = manifest.part.as_ref().map_or(manifest.id.as_str(), |part| part.first.as_str());
            let place = *known.entry(key).or_insert(sets.len());
            match sets.get_mut(place) {
                Some(set) => set.0.push(manifest),
                None => sets.push(Self(vec![manifest])),
            }
        }
        for set in &mut sets {
            set.0.sort_by_key(|manifest| manifest.part.as_ref().map_or(1, |part| part.number));
        }
        sets
    }

    /// The parts, in order.
    pub fn all(&self) -> &[&'a Manifest] {
        &self.0
    }

    /// Numbers of parts that are missing before others or at the end.
    pub fn missing(&self) -> Vec<u32> {
        let number = |manifest: &&Manifest| manifest.part.as_ref().map_or(1, |part| part.number);
        let last = self.0.last().map_or(0, number);
        let goes_on = self.0.last().is_some_and(|last| last.call.ended_by == Some(EndedBy::Handover));
        let there: Vec<u32> = self.0.iter().map(number).collect();
        let upto = last.saturating_add(u32::from(goes_on)).min(PARTS_MAX);
        (1..=upto).filter(|number| !there.contains(number)).collect()
    }

    /// All of the call in one manifest, as far as that can be said of several: state and end of the last
    /// part, streams and files of all, counts together. Streams of different parts stay apart.
    pub fn joined(&self) -> Option<Manifest> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        let mut whole = (*first).clone();
        whole.state = last.state;
        whole.end = last.end;
        whole.answered = self.0.iter().find_map(|part| part.answered);
        whole.call.ended_by = last.call.ended_by;
        whole.call.status = last.call.status;
        for part in &self.0[1..] {
            let shift = |at_s: f64| at_s + offset_s(part) - offset_s(first);
            whole.streams.extend(part.streams.iter().cloned());
            whole.files.extend(part.files.iter().cloned());
            whole.counters.add(&part.counters);
            whole.gaps.extend(part.gaps.iter().cloned().map(|mut gap| {
                gap.at_s = shift(gap.at_s);
                gap
            }));
            whole.masked.extend(part.masked.iter().cloned().map(|mut span| {
                (span.from_s, span.to_s) = (shift(span.from_s), shift(span.to_s));
                span
            }));
            let fresh: Vec<_> =
                part.ladder.iter().filter(|entry| !whole.ladder.contains(entry)).cloned().collect();
            whole.ladder.extend(fresh);
            whole.notes.extend(part.notes.iter().cloned());
        }
        whole.duration_s = offset_s(last) - offset_s(first) + last.duration_s;
        Some(whole)
    }
}

/// Where a part begins on the timeline of its call, in seconds.
pub fn offset_s(manifest: &Manifest) -> f64 {
    manifest.part.as_ref().map_or(0.0, |part| part.at_s)
}

mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::time::Stamp;

    pub(super) fn serialize<S: Serializer>(at: &Stamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_unix_nanos())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stamp, D::Error> {
        u64::deserialize(deserializer).map(Stamp::from_unix_nanos)
    }
}

/// Parts beyond are not asked for: a recorder that starts so often has other troubles.
const PARTS_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording of `length` seconds.
    fn manifest(id: &str, part: Option<(u32, &str, f64)>, length: f64, ended_by: &str) -> Manifest {
        let second = |at: f64| Stamp::from_unix_nanos(1_000_000_000_000 + (at * 1e9) as u64).to_string();
        let at_s = part.map_or(0.0, |(_, _, at_s)| at_s);
        let mut json = serde_json::json!({
            "schema": 1, "id": id, "state": if ended_by == "bye" { "complete" } else { "interrupted" },
            "start": second(at_s), "end": second(at_s + length), "answered": null, "duration_s": length,
            "trunk": "t", "rule": "r", "retention_class": "s",
            "call": { "call_ids": ["a"], "from": "f", "to": "t", "caller": "c", "callee": "d",
                "ended_by": ended_by, "status": 200, "orphan": false },
            "streams": [], "files": [], "notes": [],
            "gaps": [{ "party": "caller", "at_s": 0.5, "length_s": 0.1, "reason": "silence" }],
            "counters": { "captured": 3, "recorded": 2, "discarded": { "duplicate": 1 } },
            "ladder": [{ "at": second(0.0), "src": "1", "dst": "2", "message": "INVITE", "cseq": "1 INVITE", "sdp": true }],
            "recorder": { "id": "x", "version": "1" },
        });
        if let Some((number, first, at_s)) = part {
            json["part"] = serde_json::json!({ "number": number, "first": first, "at_s": at_s });
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn parts_find_each_other_and_what_is_missing_is_known() {
        let all = [
            manifest("a1", Some((1, "a1", 0.0)), 4.0, "handover"),
            manifest("b", None, 9.0, "bye"),
            manifest("a3", Some((3, "a1", 6.0)), 1.0, "bye"),
            manifest("a2", Some((2, "a1", 4.0)), 2.0, "handover"),
        ];
        let sets = Parts::of(&all);
        let ids = |set: &Parts<'_>| set.all().iter().map(|part| part.id.clone()).collect::<Vec<_>>();
        assert_eq!(sets.iter().map(ids).collect::<Vec<_>>(), [vec!["a1", "a2", "a3"], vec!["b"]]);
        assert_eq!((sets[0].missing(), sets[1].missing()), (vec![], vec![]));
        assert_eq!(Parts::of(&all[..1])[0].missing(), [2], "another process was to go on");
        assert_eq!(Parts::of(&all[2..3])[0].missing(), [1, 2]);
        let forged = manifest("f", Some((u32::MAX, "f", 0.0)), 1.0, "bye");
        assert_eq!(Parts::of(std::slice::from_ref(&forged))[0].missing().len(), PARTS_MAX as usize);
    }

    #[test]
    fn what_is_joined_is_as_long_as_the_call() {
        let all = [
            manifest("a1", Some((1, "a1", 0.0)), 4.0, "handover"),
            manifest("a2", Some((2, "a1", 4.25)), 2.0, "bye"),
        ];
        let whole = Parts::of(&all)[0].joined().unwrap();
        assert_eq!((whole.state.as_str(), whole.duration_s, whole.end), ("complete", 6.25, all[1].end));
        assert_eq!(whole.gaps.iter().map(|gap| gap.at_s).collect::<Vec<_>>(), [0.5, 4.75]);
        assert_eq!(whole.ladder.len(), 1, "what is in both is one message");
        assert_eq!((whole.counters.captured, whole.counters.balanced()), (6, true));
        let single = manifest("b", None, 9.0, "bye");
        assert_eq!(Parts::of(std::slice::from_ref(&single))[0].joined(), Some(single.clone()));
    }

    #[test]
    fn a_recording_that_is_no_part_says_nothing_of_parts() {
        let json = serde_json::to_value(manifest("b", None, 9.0, "bye")).unwrap();
        assert!(json.get("part").is_none());
    }
}
