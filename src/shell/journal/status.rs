//! What is known of a running journal, for whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::shell::clock;

/// Counters that the journal's thread writes and anybody may read.
#[derive(Debug)]
pub struct Status {
    /// Hand-overs that are on the disk.
    pub rounds: AtomicU64,
    /// Batches in them.
    pub batches: AtomicU64,
    /// Sealed bytes of these, frames included.
    pub bytes: AtomicU64,
    /// How long the last sync took, in microseconds.
    pub sync_us: AtomicU64,
    /// How long the longest one took.
    pub sync_us_max: AtomicU64,
    /// Segments that hold what is in no file yet.
    pub segments_live: AtomicU64,
    /// Segments that are ready for use.
    pub segments_spare: AtomicU64,
    /// Operations of the disk that failed.
    pub failures: AtomicU64,
    /// Segments given up after a failure.
    pub segments_dead: AtomicU64,
    /// Plain bytes that left for their files before the journal could take them.
    pub skipped_bytes: AtomicU64,
    /// Recording goes on and the journal cannot be written.
    pub degraded: AtomicBool,
    begun: Instant,
    /// Microseconds from `begun` to the start of the last round that is on the disk.
    safe_us: AtomicU64,
}

impl Default for Status {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            rounds: zero(),
            batches: zero(),
            bytes: zero(),
            sync_us: zero(),
            sync_us_max: zero(),
            segments_live: zero(),
            segments_spare: zero(),
            failures: zero(),
            segments_dead: zero(),
            skipped_bytes: zero(),
            degraded: AtomicBool::new(false),
            begun: clock::monotonic(),
            safe_us: zero(),
        }
    }
}

impl Status {
    /// How much of what was recorded a power cut would cost now: the time since the start of the last
    /// hand-over that all shards have answered and that is on the disk.
    pub fn lag(&self) -> Duration {
        let safe = Duration::from_micros(self.safe_us.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(safe)
    }

    /// Whether its first hand-over is still to come, and nothing has gone wrong: no reason to shed anything.
    pub fn is_beginning(&self) -> bool {
        let none = |count: &AtomicU64| count.load(Ordering::Relaxed) == 0;
        none(&self.rounds) && none(&self.failures) && self.lag() < BEGINNING_MAX
    }

    /// Whether the journal cannot be written now.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// A round that began at `start` is on the disk.
    pub(super) fn safe(&self, start: Instant) {
        let since = start.saturating_duration_since(self.begun);
        self.safe_us.store(since.as_micros() as u64, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// A sync took so long.
    pub(super) fn synced(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.sync_us.store(micros, Ordering::Relaxed);
        self.sync_us_max.fetch_max(micros, Ordering::Relaxed);
    }
}

/// A disk that has taken nothing for so long is in trouble.
const BEGINNING_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_begins_until_it_has_written_or_failed() {
        let (written, failed) = (Status::default(), Status::default());
        assert!(written.is_beginning());
        written.safe(clock::monotonic());
        failed.failures.store(1, Ordering::Relaxed);
        assert!(!written.is_beginning() && !failed.is_beginning());
    }
}
