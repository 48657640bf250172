//! A recording as one part of a call.

use std::time::Duration;

use crate::base::time::Stamp;
use crate::call::closing::{Closed, EndedBy};
use crate::recording::parts::{Continuation, Part};
use crate::recording::pause::PauseReason;
use crate::recording::recorder::Recorder;

impl Recorder {
    /// It goes on where another recording has ended: begun at [`Continuation::start`].
    pub fn go_on(&mut self, before: Continuation) {
        if let Some(why) = before.pause.clone() {
            self.pause(before.start, why);
        }
        self.before = Some(Box::new(before));
        self.changed();
    }

    /// What the next part must know, when this one ends at `end` in the call's own time. None where there
    /// can be no other: of calls that are no one's, which are made anew with each process.
    pub fn continuation(&self, end: Stamp) -> Option<Continuation> {
        if !self.config.folder.is_empty() {
            return None;
        }
        let (number, first, offset_ns) = match &self.before {
            Some(before) => (before.number, &before.first, before.offset_ns),
            None => (1, &self.id, 0),
        };
        let length = end.since(self.start);
        Some(Continuation {
            number: number.saturating_add(1),
            first: first.clone(),
            start: end.shifted(self.skew),
            offset_ns: offset_ns.saturating_add(nanos(length)),
            labels: self.config.labels.clone(),
            pause: self.why_paused(),
            cut: false,
        })
    }

    /// The same, when this one ends at `now` by the capture clock.
    pub fn continuation_now(&self, now: Stamp) -> Option<Continuation> {
        self.continuation(self.own(now).max(self.start))
    }

    /// What a continuation takes from the course of the call, beside time that passes: by how much the capture
    /// clock was set, and why it is paused.
    pub fn course(&self) -> (i64, Option<PauseReason>) {
        (self.skew, self.why_paused())
    }

    fn why_paused(&self) -> Option<PauseReason> {
        self.masking.as_ref().and_then(|masking| masking.why_paused())
    }

    /// What is to be said of the part before this one.
    pub(super) fn note_before(&self) -> Option<String> {
        self.before.as_ref().filter(|before| before.cut).map(|_| CUT_NOTE.into())
    }

    /// Which part it is, where there are others or may be.
    pub(super) fn part(&self, closed: &Closed) -> Option<Part> {
        match &self.before {
            Some(before) => Some(before.part()),
            None => (closed.ended_by == EndedBy::Handover).then(|| Part {
                number: 1,
                first: self.id.clone(),
                at_s: 0.0,
            }),
        }
    }
}

/// Of a part that goes on after a recorder that did not end.
const CUT_NOTE: &str = "the recorder broke off in the part before this one and was started again: what was \
                        signalled in the last second before, a BYE too, may not be known";

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
