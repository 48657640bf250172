//! What goes on now, as those tell it who know: dispatch the signalling of calls, shards what the next parts of
//! their recordings must know. Nobody waits here for longer than it takes to leave a note.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::base::time::Stamp;
use crate::call::transcript::{Change, Kept};
use crate::recording::parts::Continuation;

/// Notes that whoever keeps the record has not taken yet.
#[derive(Debug, Default)]
pub struct InProgress(Mutex<Notes>);

/// What has changed since notes were taken last, by the number of the call among all.
#[derive(Debug, Default)]
pub(in crate::shell) struct Notes {
    /// Capture time that dispatch has reached; none where it has told nothing.
    pub(in crate::shell) reached: Option<Stamp>,
    /// Messages of calls; none where they are over.
    pub(in crate::shell) calls: BTreeMap<u64, Option<Vec<Kept>>>,
    /// What parts that come must know; none where none can come.
    pub(in crate::shell) parts: BTreeMap<u64, Option<Continuation>>,
}

impl InProgress {
    /// Dispatch has reached this capture time, and these calls are others than it said before.
    pub(in crate::shell) fn calls(&self, reached: Stamp, changes: Vec<Change>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.reached = Some(reached);
        notes.calls.extend(changes);
    }

    /// The recordings of these calls go on otherwise than a shard said before.
    pub(in crate::shell) fn parts(&self, changes: Vec<(u64, Option<Continuation>)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).parts.extend(changes);
    }

    pub(in crate::shell) fn take(&self) -> Notes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
