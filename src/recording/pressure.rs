//! How much load to shed: from how full queues, memory and disk are to what is done less well, or not at all.
//!
//! ```text
//!  rung        what is given up                           short of time or memory   short of disk
//!  cheaper     Opus: fewer bits, least complexity         all calls                 all calls
//!  as-sent     new calls keep their packets, no Opus      new calls                 never: it takes more
//!  turn-away   new calls below a priority                 one priority after the other, all at last
//!  leave-out   media of running calls below a priority    never of the highest      the same
//! ```
//!
//! Up at once, one rung a look; where new calls decide, a second apart, so that a rung has had its effect
//! before the next. Down one rung after ten seconds of calm.

use std::time::Duration;

/// How full something is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fill {
    /// What is in use: items or bytes.
    pub used: u64,
    /// How much there may be; 0 where that is not known.
    pub room: u64,
}

/// What the recorder sees of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readings {
    /// The fullest queue of a shard, in batches.
    pub shard: Fill,
    /// Blocks between capture and dispatch.
    pub capture: Fill,
    /// Sealed chunks on their way to the disk.
    pub store: Fill,
    /// Resident memory, in bytes, and its limit.
    pub memory: Fill,
    /// Bytes that the disk has free, and those that are kept in reserve: a room of 0 reserves nothing.
    pub disk_free: Fill,
    /// Frames that no queue had room for, since the start.
    pub dropped: u64,
    /// The journal cannot be written.
    pub journal_degraded: bool,
    /// Operations of the disk fail and are tried again.
    pub disk_failing: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Nothing is shed.
    #[default]
    None,
    /// Opus with fewer bits and the least complexity.
    Cheaper,
    /// New calls are kept as they were sent.
    AsSent,
    /// New calls of the lowest priorities are turned away.
    TurnAway,
    /// Media of running calls of the lowest priorities is left out.
    LeaveOut,
}

impl Level {
    /// The name that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cheaper => "cheaper",
            Self::AsSent => "as-sent",
            Self::TurnAway => "turn-away",
            Self::LeaveOut => "leave-out",
        }
    }
}

/// What the recorder is short of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// Time: the processor is too slow.
    Cpu,
    /// Memory.
    Memory,
    /// Disk: too slow, failing, or nearly full.
    Disk,
}

impl Cause {
    /// The name that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Measures {
    /// How bad it is.
    pub level: Level,
    /// Opus with fewer bits and the least complexity.
    pub cheaper: bool,
    /// New calls are kept as they were sent.
    pub as_sent: bool,
    /// New calls below this priority are turned away; 256 turns away all.
    pub admit_from: u16,
    /// Media of running calls below this priority is left out.
    pub keep_from: u16,
}

/// How load is shed.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    /// Priorities that calls may have, ascending.
    priorities: Vec<u8>,
    /// How many rungs are taken; 0 where nothing is shed.
    rung: usize,
    /// What it is short of, while anything is shed.
    cause: Option<Cause>,
    /// When the last rung was taken, up or down.
    moved: Duration,
    /// When it was last not calm.
    uneasy: Duration,
    dropped: u64,
    measures: Measures,
}

/// How much one reading asks for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Urgency {
    Calm,
    /// Not worse, and not good enough to take anything back.
    Hold,
    /// Worse than may last.
    Pressed,
    /// Something is lost, or will be at once.
    Critical,
}

struct Signal {
    cause: Cause,
    urgency: Urgency,
    /// This alone asks for no more.
    most: Level,
}

impl Pressure {
    /// Sheds nothing yet. `priorities` are those that calls may have.
    pub fn new(priorities: &[u8]) -> Self {
        let mut pressure = Self::default();
        pressure.set_priorities(priorities);
        pressure
    }

    /// Other rules hold: these are the priorities that calls may have now.
    pub fn set_priorities(&mut self, priorities: &[u8]) {
        self.priorities = priorities.to_vec();
        self.priorities.sort_unstable();
        self.priorities.dedup();
        self.rung = self.rung.min(self.top());
    }

    /// What is to be done now.
    pub fn measures(&self) -> Measures {
        self.measures
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        self.measures.level
    }

    /// What it is short of, while anything is shed.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Looks at the readings, `now` after the start. Returns what is to be done where that has changed.
    pub fn step(&mut self, now: Duration, readings: &Readings) -> Option<Measures> {
        let signals = self.signals(readings);
        self.dropped = readings.dropped;
        if signals.iter().any(|signal| signal.urgency > Urgency::Calm) {
            self.uneasy = now;
        }
        let pressing = signals.iter().filter(|signal| signal.urgency >= Urgency::Pressed);
        let pressing: Vec<&Signal> = pressing.collect();
        // What is short of disk must not be met by what takes more of it, whatever else is short.
        if let Some(cause) = pressing.iter().map(|signal| signal.cause).max() {
            self.cause = Some(self.cause.map_or(cause, |before| before.max(cause)));
        }
        let next = self.rung + 1;
        let wanted = pressing
            .iter()
            .filter(|signal| self.level_at(next) <= signal.most)
            .map(|signal| signal.urgency)
            .max();
        let settled = self.level_at(next) <= Level::AsSent
            || wanted == Some(Urgency::Critical) && self.level_at(next) == Level::TurnAway
            || now.saturating_sub(self.moved) >= SETTLE;
        if wanted.is_some() && settled && next <= self.top() {
            (self.rung, self.moved) = (next, now);
        } else if self.rung > 0 && now.saturating_sub(self.uneasy.max(self.moved)) >= CALM {
            (self.rung, self.moved) = (self.rung - 1, now);
            if self.rung == 0 {
                self.cause = None;
            }
        }
        let measures = self.measures_at(self.rung);
        (std::mem::replace(&mut self.measures, measures) != measures).then_some(measures)
    }

    fn signals(&self, readings: &Readings) -> [Signal; 8] {
        let Readings { shard, capture, store, memory, disk_free, .. } = readings;
        let signal = |cause, urgency, most| Signal { cause, urgency, most };
        // Shards wait for a store that is full: their queues then say nothing of the processor.
        let behind = if store.urgency(QUEUE) >= Urgency::Pressed { Cause::Disk } else { Cause::Cpu };
        let dropping = if readings.dropped > self.dropped { Urgency::Critical } else { Urgency::Calm };
        let when = |holds, urgency| if holds { urgency } else { Urgency::Calm };
        let short = when(disk_free.used < disk_free.room, Urgency::Pressed);
        let spent = when(disk_free.used < disk_free.room / 4, Urgency::Pressed);
        [
            signal(behind, shard.urgency(QUEUE), Level::LeaveOut),
            signal(behind, capture.urgency(QUEUE), Level::LeaveOut),
            signal(behind, dropping, Level::LeaveOut),
            signal(Cause::Disk, store.urgency(QUEUE), Level::TurnAway),
            signal(Cause::Memory, memory.urgency(MEMORY), Level::TurnAway),
            signal(Cause::Disk, short, Level::Cheaper),
            signal(Cause::Disk, spent, Level::TurnAway),
            signal(
                Cause::Disk,
                when(readings.disk_failing || readings.journal_degraded, Urgency::Pressed),
                Level::Cheaper,
            ),
        ]
    }

    /// The highest rung: cheaper, as sent, a rung to turn away each priority, one to leave out each but the highest.
    fn top(&self) -> usize {
        AWAY + self.priorities.len() + self.priorities.len().saturating_sub(1)
    }

    fn level_at(&self, rung: usize) -> Level {
        match rung {
            0 => Level::None,
            1 => Level::Cheaper,
            AWAY => Level::AsSent,
            _ if rung <= AWAY + self.priorities.len() => Level::TurnAway,
            _ => Level::LeaveOut,
        }
    }

    fn measures_at(&self, rung: usize) -> Measures {
        let count = self.priorities.len();
        // Below the priority that follows those given up; beyond the last, all.
        let above = |given_up: usize| self.priorities.get(given_up).map_or(256, |next| u16::from(*next));
        let away = rung.saturating_sub(AWAY).min(count);
        let out = rung.saturating_sub(AWAY + count);
        Measures {
            level: self.level_at(rung),
            cheaper: rung >= 1,
            as_sent: rung >= AWAY && self.cause != Some(Cause::Disk),
            admit_from: if away > 0 { above(away) } else { 0 },
            keep_from: if out > 0 { above(out) } else { 0 },
        }
    }
}

impl Fill {
    fn urgency(&self, [hold, pressed, critical]: [u64; 3]) -> Urgency {
        let percent = self.used.saturating_mul(100).checked_div(self.room).unwrap_or(0);
        match percent {
            _ if percent >= critical => Urgency::Critical,
            _ if percent >= pressed => Urgency::Pressed,
            _ if percent >= hold => Urgency::Hold,
            _ => Urgency::Calm,
        }
    }
}

/// The rung of as-sent; those above turn away and leave out.
const AWAY: usize = 2;
/// Percent of a queue at which nothing is taken back, a rung is taken, and it is urgent.
const QUEUE: [u64; 3] = [25, 50, 90];
/// The same, of memory: calls that run need some of it too.
const MEMORY: [u64; 3] = [75, 85, 95];
/// How long the effect of a rung that is about new calls is waited for.
const SETTLE: Duration = Duration::from_secs(1);
/// After so long without a reason a rung is taken back.
const CALM: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(200);

    /// A run of looks.
    struct Trace {
        pressure: Pressure,
        now: Duration,
    }

    impl Trace {
        fn new(priorities: &[u8]) -> Self {
            Self { pressure: Pressure::new(priorities), now: Duration::ZERO }
        }

        /// The measures that were taken, while `readings` last for `looks`.
        fn go(&mut self, looks: u32, readings: &Readings) -> Vec<Measures> {
            let mut taken = Vec::new();
            for _ in 0..looks {
                self.now += LOOK;
                taken.extend(self.pressure.step(self.now, readings));
            }
            taken
        }

        fn levels(&mut self, looks: u32, readings: &Readings) -> Vec<Level> {
            self.go(looks, readings).iter().map(|measures| measures.level).collect()
        }
    }

    fn percent(used: u64) -> Fill {
        Fill { used, room: 100 }
    }

    const CALM_READINGS: Readings = Readings {
        shard: Fill { used: 1, room: 100 },
        capture: Fill { used: 0, room: 100 },
        store: Fill { used: 2, room: 100 },
        memory: Fill { used: 30, room: 100 },
        disk_free: Fill { used: 900, room: 100 },
        dropped: 0,
        journal_degraded: false,
        disk_failing: false,
    };

    #[test]
    fn nothing_is_shed_while_all_is_well() {
        let mut trace = Trace::new(&[50, 100, 200]);
        assert!(trace.go(1_000, &CALM_READINGS).is_empty());
        // Nor in a peak that queues are there for.
        assert!(trace.go(1_000, &Readings { shard: percent(45), ..CALM_READINGS }).is_empty());
        assert_eq!(trace.pressure.measures(), Measures::default());
    }

    #[test]
    fn a_slow_processor_sheds_in_order_and_the_highest_priority_last() {
        use Level::{AsSent, Cheaper, LeaveOut, TurnAway};
        let mut trace = Trace::new(&[200, 50, 100, 100]);
        let full = Readings { shard: percent(95), ..CALM_READINGS };
        let taken = trace.go(60, &full);
        let levels: Vec<_> = taken.iter().map(|measures| measures.level).collect();
        assert_eq!(levels, [Cheaper, AsSent, TurnAway, TurnAway, TurnAway, LeaveOut, LeaveOut]);
        let floors: Vec<_> = taken.iter().map(|measures| (measures.admit_from, measures.keep_from)).collect();
        assert_eq!(floors, [(0, 0), (0, 0), (100, 0), (200, 0), (256, 0), (256, 100), (256, 200)]);
        assert!(taken[1..].iter().all(|measures| measures.as_sent && measures.cheaper));
        assert_eq!(trace.pressure.cause(), Some(Cause::Cpu));
    }

    #[test]
    fn it_goes_up_at_once_and_down_after_calm() {
        use Level::{AsSent, Cheaper, None};
        let mut trace = Trace::new(&[100]);
        let pressed = Readings { shard: percent(60), ..CALM_READINGS };
        assert_eq!(trace.levels(2, &pressed), [Cheaper, AsSent]);
        // 9.8 s of calm are not enough, and what is not quite calm begins them again.
        assert!(trace.levels(49, &CALM_READINGS).is_empty());
        assert!(trace.levels(1, &Readings { shard: percent(30), ..CALM_READINGS }).is_empty());
        assert!(trace.levels(49, &CALM_READINGS).is_empty());
        assert_eq!(trace.levels(1, &CALM_READINGS), [Cheaper]);
        assert!(trace.levels(49, &CALM_READINGS).is_empty());
        assert_eq!(trace.levels(1, &CALM_READINGS), [None]);
        assert_eq!(trace.pressure.cause(), Option::None);
    }

    #[test]
    fn load_that_comes_and_goes_does_not_make_it_swing() {
        let mut trace = Trace::new(&[50, 100]);
        let busy = Readings { shard: percent(60), ..CALM_READINGS };
        let mut changes = 0;
        // Two minutes, each second half of it busy.
        for _ in 0..120 {
            changes += trace.go(3, &CALM_READINGS).len() + trace.go(2, &busy).len();
        }
        assert!(changes <= trace.pressure.top(), "{changes} changes");
    }

    #[test]
    fn frames_that_are_dropped_are_pressure() {
        let mut trace = Trace::new(&[100]);
        let taken = trace.levels(1, &Readings { dropped: 7, ..CALM_READINGS });
        assert_eq!(taken, [Level::Cheaper]);
        // Those from before are no news.
        assert!(trace.levels(40, &Readings { dropped: 7, ..CALM_READINGS }).is_empty());
    }

    #[test]
    fn a_slow_disk_is_met_by_fewer_bits_and_never_by_more() {
        let mut trace = Trace::new(&[50, 100]);
        // Shards wait for the store: that is no lack of time.
        let stuck = Readings { store: percent(95), shard: percent(95), ..CALM_READINGS };
        let taken = trace.go(30, &stuck);
        assert_eq!(trace.pressure.cause(), Some(Cause::Disk));
        assert!(taken.iter().all(|measures| measures.cheaper && !measures.as_sent), "{taken:?}");
        assert_eq!(taken.last().map(|measures| measures.admit_from), Some(256));
        // Nor where there was a lack of time first.
        let mut trace = Trace::new(&[50, 100]);
        trace.go(2, &Readings { shard: percent(60), ..CALM_READINGS });
        assert!(trace.pressure.measures().as_sent);
        trace.go(1, &stuck);
        assert!(!trace.pressure.measures().as_sent);
    }

    #[test]
    fn a_disk_that_fails_or_runs_full_is_met_by_degrees() {
        let most = |readings: Readings| {
            let mut trace = Trace::new(&[50, 100]);
            trace.go(100, &readings);
            trace.pressure.level()
        };
        let free = |used| Fill { used, room: 1_000 };
        assert_eq!(most(Readings { disk_failing: true, ..CALM_READINGS }), Level::Cheaper);
        assert_eq!(most(Readings { journal_degraded: true, ..CALM_READINGS }), Level::Cheaper);
        assert_eq!(most(Readings { disk_free: free(900), ..CALM_READINGS }), Level::Cheaper);
        assert_eq!(most(Readings { disk_free: free(200), ..CALM_READINGS }), Level::TurnAway);
        assert_eq!(most(Readings { memory: percent(97), ..CALM_READINGS }), Level::TurnAway);
        assert_eq!(most(Readings { memory: percent(80), ..CALM_READINGS }), Level::None);
    }

    #[test]
    fn other_rules_make_other_rungs() {
        let mut trace = Trace::new(&[10, 20, 30]);
        trace.go(100, &Readings { shard: percent(95), ..CALM_READINGS });
        assert_eq!(trace.pressure.measures().keep_from, 30);
        trace.pressure.set_priorities(&[100]);
        trace.go(1, &CALM_READINGS);
        let Measures { admit_from, keep_from, .. } = trace.pressure.measures();
        assert_eq!((admit_from, keep_from), (256, 0), "the only priority is the highest");
        trace.pressure.set_priorities(&[]);
        trace.go(10, &Readings { shard: percent(95), ..CALM_READINGS });
        assert_eq!(trace.pressure.level(), Level::AsSent);
    }
}
