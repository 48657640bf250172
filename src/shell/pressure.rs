//! Looks at how the recorder does, and has it shed load where it must: [`crate::recording::pressure`] decides.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::policy::Condition;
use crate::recording::pressure::{Cause, Fill, Level, Measures, Pressure, Readings};
use crate::shell::clock;
use crate::shell::journal::Status;
use crate::shell::load::Load;
use crate::shell::record::Recorder;

/// What the recorder may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the disk that are not for recordings; 0 where there are none.
    pub disk_reserve: u64,
}

/// Steers [`Load`].
pub struct Governor {
    pressure: Pressure,
    load: Arc<Load>,
    limits: Limits,
    begun: Instant,
    looked: Option<Instant>,
    /// Kept open, because a sandbox lets nobody open it later.
    status: Option<File>,
    spool: Option<File>,
    /// Conditions that hold now and were counted when they began.
    held: [(Condition, bool); 4],
}

impl Governor {
    /// Sheds nothing yet. `spool` is the directory of the recordings, and is there; call this before files
    /// can no longer be opened.
    pub fn new(load: Arc<Load>, spool: &Path, limits: Limits) -> Self {
        let open = |path: &Path| {
            File::open(path)
                .inspect_err(|error| {
                    tracing::warn!(path = %path.display(), %error, "not looked at when load is shed");
                })
                .ok()
        };
        let held = [
            Condition::StoreBacklog,
            Condition::JournalDegraded,
            Condition::MemoryShort,
            Condition::DiskFull,
        ];
        Self {
            pressure: Pressure::new(&load.priorities()),
            load,
            limits,
            begun: clock::monotonic(),
            looked: None,
            status: open(Path::new("/proc/self/status")),
            spool: open(spool),
            held: held.map(|condition| (condition, false)),
        }
    }

    /// What is shed now.
    pub fn level(&self) -> Level {
        self.pressure.level()
    }

    /// Looks at the recorder and its journal, five times a second however often it is called.
    pub fn look(&mut self, recorder: &Recorder, journal: Option<&Status>) {
        let now = clock::monotonic();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let mut readings = Readings {
            memory: Fill { used: self.resident().unwrap_or(0), room: self.limits.memory },
            disk_free: self.disk_free(),
            dropped: recorder.progress().shed.load(Ordering::Relaxed),
            journal_degraded: journal.is_some_and(|journal| journal.is_degraded() && !journal.is_beginning()),
            disk_failing: recorder.trouble().is_failing(),
            ..Readings::default()
        };
        for stats in recorder.stats() {
            readings.dropped += stats.kernel_drops.load(Ordering::Relaxed);
            readings.dropped += stats.queue_drops.load(Ordering::Relaxed);
        }
        for (name, used, room) in recorder.queues() {
            let fill = Fill { used: used as u64, room: room as u64 };
            match name.as_str() {
                "store" => readings.store = fill,
                "capture" => readings.capture = fill,
                _ if fill.used >= readings.shard.used => readings.shard = fill,
                _ => {}
            }
        }
        self.step(now.duration_since(self.begun), readings);
    }

    /// Takes these readings, `now` after the start.
    pub fn step(&mut self, now: Duration, mut readings: Readings) {
        self.force(&mut readings);
        self.pressure.set_priorities(&self.load.priorities());
        let Readings { store, memory, disk_free, .. } = readings;
        let holds = [
            store.used * 2 > store.room,
            readings.journal_degraded,
            memory.used * 100 > memory.room * MEMORY_PERCENT,
            disk_free.used < disk_free.room,
        ];
        for ((condition, held), holds) in self.held.iter_mut().zip(holds) {
            if holds && !*held {
                self.load.tally().note(*condition);
                tracing::warn!(condition = condition.as_str(), "begins");
            }
            *held = holds;
        }
        let before = self.pressure.measures();
        let Some(measures) = self.pressure.step(now, &readings) else { return };
        self.load.take(&measures);
        self.tell(before, measures);
    }

    fn tell(&self, before: Measures, now: Measures) {
        let Measures { level, admit_from, keep_from, .. } = now;
        let cause = self.pressure.cause().map_or("none", |cause| cause.as_str());
        let level_name = level.as_str();
        if (level, admit_from, keep_from) > (before.level, before.admit_from, before.keep_from) {
            if self.pressure.cause() == Some(Cause::Cpu) {
                self.load.tally().note(Condition::CpuShort);
            }
            tracing::warn!(level = level_name, cause, admit_from, keep_from, "load is shed");
        } else {
            tracing::warn!(level = level_name, cause, admit_from, keep_from, "less load is shed");
        }
    }

    /// Brings about what is asked for.
    fn force(&self, readings: &mut Readings) {
        let full = Fill { used: 95, room: 100 };
        let is_forced = |condition| self.load.tally().is_forced(condition);
        if is_forced(Condition::CpuShort) {
            readings.shard = full;
        }
        if is_forced(Condition::StoreBacklog) {
            readings.store = full;
        }
        if is_forced(Condition::MemoryShort) {
            readings.memory = full;
        }
        readings.journal_degraded |= is_forced(Condition::JournalDegraded);
    }

    /// Resident memory in bytes.
    fn resident(&self) -> Option<u64> {
        let mut text = [0; 4_096];
        let length = self.status.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
    }

    /// What the disk has free; nothing in reserve where that cannot be known.
    fn disk_free(&self) -> Fill {
        let Some(Ok(facts)) = self.spool.as_ref().map(rustix::fs::fstatvfs) else { return Fill::default() };
        Fill { used: facts.f_bavail.saturating_mul(facts.f_frsize), room: self.limits.disk_reserve }
    }
}

/// How often the recorder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Percent of the limit from which memory is short.
const MEMORY_PERCENT: u64 = 85;

#[cfg(test)]
mod tests {
    use super::*;

    fn governor(forced: &[Condition]) -> (Governor, Arc<Load>) {
        let load = Arc::new(Load::new(8, forced));
        load.set_priorities(&[50, 100]);
        let limits = Limits { memory: 1 << 40, disk_reserve: 1 };
        (Governor::new(load.clone(), Path::new("."), limits), load)
    }

    fn run(governor: &mut Governor, looks: u32, readings: Readings) {
        let from = governor.begun.elapsed();
        for look in 1..=looks {
            governor.step(from + look * LOOK_EVERY, readings);
        }
    }

    #[test]
    fn the_process_and_its_disk_are_looked_at() {
        let (governor, _) = governor(&[]);
        assert!(governor.resident().is_some_and(|bytes| bytes > 1 << 20));
        let free = governor.disk_free();
        assert!(free.used > 1 && free.room == 1, "{free:?}");
    }

    #[test]
    fn each_condition_is_counted_once_while_it_lasts() {
        let (mut governor, load) = governor(&[]);
        let full = Fill { used: 6, room: 10 };
        run(&mut governor, 5, Readings { store: full, journal_degraded: true, ..Readings::default() });
        run(&mut governor, 5, Readings::default());
        run(&mut governor, 5, Readings { store: full, ..Readings::default() });
        let met = load.tally().snapshot();
        assert_eq!(met.get(Condition::StoreBacklog), 2);
        assert_eq!(met.get(Condition::JournalDegraded), 1);
        assert_eq!(met.get(Condition::CpuShort), 0);
        assert!(load.measures().cheaper && !load.measures().as_sent);
    }

    #[test]
    fn what_is_forced_comes_about() {
        for (forced, level) in [
            (Condition::CpuShort, Level::LeaveOut),
            (Condition::MemoryShort, Level::TurnAway),
            (Condition::StoreBacklog, Level::TurnAway),
            (Condition::JournalDegraded, Level::Cheaper),
        ] {
            let (mut governor, load) = governor(&[forced]);
            run(&mut governor, 100, Readings::default());
            assert_eq!((governor.level(), load.level()), (level, level), "{forced:?}");
            assert!(load.tally().snapshot().get(forced) > 0, "{forced:?}");
        }
    }

    #[test]
    fn new_rules_are_followed() {
        let (mut governor, load) = governor(&[Condition::CpuShort]);
        run(&mut governor, 100, Readings::default());
        assert_eq!(load.measures().keep_from, 100);
        load.set_priorities(&[7]);
        run(&mut governor, 1, Readings::default());
        assert_eq!((load.measures().admit_from, load.measures().keep_from), (256, 0));
    }
}
