//! What was said in the vault's log lately: what stays wrong does not fill it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was said, and when.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<String, Instant>>);

impl Told {
    /// Whether something is to be said: it was not within the last hour.
    pub(super) fn is_new(&self, what: String, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < APART);
        match told.entry(what) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }
}

const APART: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::clock;

    #[test]
    fn a_thing_is_said_once_an_hour() {
        let (told, now) = (Told::default(), clock::monotonic());
        let says = |what: &str, at: u64| told.is_new(what.into(), now + Duration::from_secs(at));
        assert_eq!(
            [says("a", 0), says("a", 3599), says("b", 3599), says("a", 3600)],
            [true, false, true, true]
        );
    }
}
