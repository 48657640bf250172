//! What all threads know of the load: what is shed now, how often each condition was met, and which
//! conditions are brought about on purpose.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::base::policy::{Condition, Conditions};
use crate::recording::pressure::{Level, Measures};

/// Shared by the threads of a recorder. Written by [`crate::shell::pressure::Governor`] and read by shards
/// and dispatch, none of which waits for another.
#[derive(Debug)]
pub struct Load {
    level: AtomicU8,
    cheaper: AtomicBool,
    as_sent: AtomicBool,
    admit_from: AtomicU16,
    keep_from: AtomicU16,
    /// By slot, the priority of the call in it.
    slots: Box<[AtomicU8]>,
    /// A bit a priority that calls may have.
    priorities: [AtomicU64; 4],
    tally: Tally,
}

impl Load {
    /// Nothing is shed. `calls` is how many there may be at once; `forced` are brought about on purpose.
    pub fn new(calls: usize, forced: &[Condition]) -> Self {
        Self {
            level: AtomicU8::new(0),
            cheaper: AtomicBool::new(false),
            as_sent: AtomicBool::new(false),
            admit_from: AtomicU16::new(0),
            keep_from: AtomicU16::new(0),
            slots: (0..calls).map(|_| AtomicU8::new(UNKNOWN)).collect(),
            priorities: Default::default(),
            tally: Tally::new(forced),
        }
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        let levels = [Level::None, Level::Cheaper, Level::AsSent, Level::TurnAway, Level::LeaveOut];
        levels.get(usize::from(self.level.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    /// What is shed now.
    pub fn measures(&self) -> Measures {
        Measures {
            level: self.level(),
            cheaper: self.cheaper.load(Ordering::Relaxed),
            as_sent: self.as_sent.load(Ordering::Relaxed),
            admit_from: self.admit_from.load(Ordering::Relaxed),
            keep_from: self.keep_from.load(Ordering::Relaxed),
        }
    }

    /// Sheds this from now on.
    pub fn take(&self, measures: &Measures) {
        self.level.store(measures.level as u8, Ordering::Relaxed);
        self.cheaper.store(measures.cheaper, Ordering::Relaxed);
        self.as_sent.store(measures.as_sent, Ordering::Relaxed);
        self.admit_from.store(measures.admit_from, Ordering::Relaxed);
        self.keep_from.store(measures.keep_from, Ordering::Relaxed);
    }

    /// How often each condition was met.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The priorities that calls may have, ascending.
    pub fn priorities(&self) -> Vec<u8> {
        let known = |priority: &u8| {
            let bits = self.priorities[usize::from(*priority / 64)].load(Ordering::Relaxed);
            bits & (1 << (priority % 64)) != 0
        };
        (0..=u8::MAX).filter(known).collect()
    }

    /// Other rules hold: calls may have these priorities.
    pub fn set_priorities(&self, priorities: &[u8]) {
        let mut bits = [0_u64; 4];
        for priority in priorities {
            bits[usize::from(*priority / 64)] |= 1 << (priority % 64);
        }
        for (known, bits) in self.priorities.iter().zip(bits) {
            known.store(bits, Ordering::Relaxed);
        }
    }

    /// The priority of the call in `slot`; the highest where it is not known yet.
    pub fn priority(&self, slot: u32) -> u8 {
        self.slots.get(slot as usize).map_or(UNKNOWN, |priority| priority.load(Ordering::Relaxed))
    }

    /// A call began in `slot` and it is not known what it is.
    pub fn forget(&self, slot: u32) {
        self.set_priority(slot, UNKNOWN);
    }

    /// The call in `slot` has this priority.
    pub fn set_priority(&self, slot: u32, priority: u8) {
        if let Some(known) = self.slots.get(slot as usize) {
            known.store(priority, Ordering::Relaxed);
        }
    }
}

/// How often conditions were met, counted by any thread.
#[derive(Debug)]
pub struct Tally {
    met: [AtomicU64; Condition::ALL.len()],
    forced: Vec<Condition>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Tally {
    fn new(forced: &[Condition]) -> Self {
        Self { met: [const { AtomicU64::new(0) }; Condition::ALL.len()], forced: forced.to_vec() }
    }

    /// Counts one more.
    pub fn note(&self, condition: Condition) {
        self.met[condition as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over what one thread counts alone: conditions that `counted` has not stay as they are.
    pub(super) fn settle(&self, counted: &Conditions) {
        for (condition, met) in counted.met() {
            self.met[condition as usize].store(met, Ordering::Relaxed);
        }
    }

    /// All counts.
    pub fn snapshot(&self) -> Conditions {
        let mut conditions = Conditions::default();
        for condition in Condition::ALL {
            conditions.add_many(condition, self.met[condition as usize].load(Ordering::Relaxed));
        }
        conditions
    }

    /// Whether `condition` is brought about on purpose.
    pub fn is_forced(&self, condition: Condition) -> bool {
        self.forced.contains(&condition)
    }
}

/// Of a call that no shard has looked at: never the first to be left out.
const UNKNOWN: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let load = Load::new(2, &[Condition::DiskFull]);
        assert_eq!((load.level(), load.measures()), (Level::None, Measures::default()));
        let measures = Measures {
            level: Level::LeaveOut,
            cheaper: true,
            as_sent: true,
            admit_from: 256,
            keep_from: 100,
        };
        load.take(&measures);
        assert_eq!(load.measures(), measures);
        load.set_priorities(&[255, 0, 63, 64, 100]);
        assert_eq!(load.priorities(), [0, 63, 64, 100, 255]);
        load.set_priority(1, 7);
        load.set_priority(2, 7);
        assert_eq!([0, 1, 2].map(|slot| load.priority(slot)), [UNKNOWN, 7, UNKNOWN]);
        load.tally().note(Condition::SyncFailed);
        assert_eq!(load.tally().snapshot().met().collect::<Vec<_>>(), [(Condition::SyncFailed, 1)]);
        assert!(load.tally().is_forced(Condition::DiskFull));
        assert!(!load.tally().is_forced(Condition::DiskSlow));
    }
}
