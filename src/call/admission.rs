//! Calls that were never answered and have no media: all that a flood of INVITEs can make, and all
//! that gives way when there is no room. An answered call never does.
//!
//! What gives way loses little: should the call be answered after all, the answer begins it again,
//! as one whose first INVITE was not seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::endpoint::Ip;
use crate::base::net::Net;
use crate::base::seed::{HashSeed, SeededMap};

/// Who began a call.
pub(super) type Source = (Net, Ip);

/// Calls that wait for an answer, by the order in which they began.
#[derive(Debug)]
pub(super) struct Waiting {
    calls: BTreeMap<u64, (u32, Source)>,
    sources: SeededMap<Source, BTreeSet<u64>>,
}

impl Waiting {
    pub(super) fn new(seed: HashSeed) -> Self {
        Self { calls: BTreeMap::new(), sources: seed.table() }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// How many calls of `source` wait.
    pub(super) fn of(&self, source: &Source) -> usize {
        self.sources.get(source).map_or(0, BTreeSet::len)
    }

    pub(super) fn insert(&mut self, ordinal: u64, slot: u32, source: Source) {
        self.calls.insert(ordinal, (slot, source));
        self.sources.entry(source).or_default().insert(ordinal);
    }

    /// The call has been answered, has media, or is closed.
    pub(super) fn remove(&mut self, ordinal: u64) {
        let Some((_, source)) = self.calls.remove(&ordinal) else { return };
        if let Some(calls) = self.sources.get_mut(&source) {
            calls.remove(&ordinal);
            if calls.is_empty() {
                self.sources.remove(&source);
            }
        }
    }

    /// Place of the call that waits for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.calls.first_key_value().map(|(_, (slot, _))| *slot)
    }

    /// The same, of one source.
    pub(super) fn oldest_of(&self, source: &Source) -> Option<u32> {
        let ordinal = self.sources.get(source)?.first()?;
        self.calls.get(ordinal).map(|(slot, _)| *slot)
    }
}
