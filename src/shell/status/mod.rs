//! What a running recorder knows of itself.
//!
//! Threads tell [`Status`] what changes, at most a few hundred times a second each and never per packet;
//! the control socket, the metrics and the live view read [`Snapshot`]s of it.
//!
//! ```text
//!  capture, dispatch ─► beat, set_interface, set_books    ┐
//!  shard             ─► call_opened, call_stats, …_closed ├─► Status ─► snapshot, calls
//!  store, journal    ─► committed, finished, set_journal  │
//!  runner, each s    ─► second, set_queues, set_disk_free ┘
//! ```

mod board;
mod forecast;
pub mod histogram;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::counters::Counters;
use crate::base::policy::Conditions;
use crate::base::time::Stamp;
use crate::recording::manifest::State;
use crate::shell::canary;
use crate::shell::clock;
use crate::shell::status::board::Board;
pub use crate::shell::status::board::{CallOpened, CallStats};
use crate::shell::status::forecast::DiskForecast;
use crate::shell::status::snapshot::{FinishedCalls, Interface, Journal, LiveCall, Queue, Rates, Snapshot};

/// Who a recorder is.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Id of its receipt key.
    pub recorder: String,
    /// Whether the live view may show who speaks. Where not, it is not kept.
    pub parties: bool,
}

/// What a running recorder knows of itself. Shared by all its threads.
#[derive(Debug)]
pub struct Status {
    parties: bool,
    begun: Instant,
    /// Milliseconds from `begun` to the last move of the pipeline.
    beat_ms: AtomicU64,
    live: AtomicU64,
    board: Mutex<Board>,
    facts: Mutex<Facts>,
    /// `/proc/self/status`, opened before the sandbox closes the way there.
    memory: Option<File>,
}

/// What changes once a second or more seldom.
#[derive(Debug, Default)]
struct Facts {
    shown: Snapshot,
    finished: BTreeMap<(&'static str, String), u64>,
    trunks: BTreeSet<String>,
    forecast: DiskForecast,
    /// Packets, bits and drops at the last second, and when that was.
    counted: (Duration, [u64; 3]),
    /// Drops of each of the last seconds.
    recent: VecDeque<u64>,
}

impl Status {
    /// Begins, now.
    pub fn new(about: About) -> Self {
        let shown = Snapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            recorder: about.recorder,
            started: clock::now(),
            ..Snapshot::default()
        };
        Self {
            parties: about.parties,
            begun: clock::monotonic(),
            beat_ms: AtomicU64::new(0),
            live: AtomicU64::new(0),
            board: Mutex::default(),
            facts: Mutex::new(Facts { shown, ..Facts::default() }),
            memory: File::open("/proc/self/status").ok(),
        }
    }

    /// The configuration in force: its version, and the names of its trunks. Others are counted as `other`.
    pub fn set_config(&self, version: &str, trunks: &[String]) {
        let mut facts = self.facts();
        facts.shown.config.version = version.into();
        for trunk in trunks {
            // Names of earlier configurations stay: their counts go on.
            if facts.trunks.len() < TRUNKS_MAX {
                facts.trunks.insert(trunk.clone());
            }
        }
    }

    /// The configuration was read anew, and taken or refused.
    pub fn reloaded(&self, taken: bool) {
        let config = &mut self.facts().shown.config;
        if taken { config.reloads += 1 } else { config.reloads_refused += 1 }
    }

    /// The pipeline moved: dispatch calls this for each block, and when there is none.
    pub fn beat(&self) {
        self.beat_at(self.begun.elapsed());
    }

    /// Whether capture threads run.
    pub fn set_capturing(&self, capturing: bool) {
        self.facts().shown.capturing = capturing;
    }

    /// Whether every recipient has been probed.
    pub fn set_recipients_probed(&self, probed: bool) {
        self.facts().shown.recipients_probed = probed;
    }

    /// An interface as it is now, all its threads together.
    pub fn set_interface(&self, interface: Interface) {
        let interfaces = &mut self.facts().shown.interfaces;
        let known = interfaces.iter().position(|known| known.name == interface.name);
        if let Some(known) = known {
            interfaces[known] = interface;
        } else if interfaces.len() < INTERFACES_MAX {
            interfaces.push(interface);
        }
    }

    /// The books as they are now.
    pub fn set_books(&self, books: Counters) {
        self.facts().shown.packets = books;
    }

    /// More in the books.
    pub fn add_books(&self, books: &Counters) {
        self.facts().shown.packets.add(books);
    }

    /// A call began.
    pub fn call_opened(&self, opened: CallOpened) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.board().open(opened, self.parties);
    }

    /// What is known of a call by now; about once a second for each.
    pub fn call_stats(&self, id: &str, now: Stamp, stats: &CallStats<'_>) {
        self.board().update(id, now, stats);
    }

    /// A call is over; its recording may still wait for the disk.
    pub fn call_closed(&self, id: &str) {
        let less = |live: u64| Some(live.saturating_sub(1));
        // Never an error: `less` always has an answer.
        let _ = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.board().close(id);
    }

    /// A recording has its final name and its receipt.
    pub fn finished(&self, state: State, trunk: &str) {
        let mut facts = self.facts();
        let trunk = if facts.trunks.contains(trunk) { trunk } else { OTHER };
        *facts.finished.entry((state.as_str(), trunk.into())).or_default() += 1;
    }

    /// How full each queue is: name, items, room.
    pub fn set_queues(&self, queues: impl IntoIterator<Item = (String, usize, usize)>) {
        let queues = queues.into_iter().take(QUEUES_MAX);
        self.facts().shown.queues =
            queues.map(|(name, used, size)| Queue { name, used: used as u64, size: size as u64 }).collect();
    }

    /// The journal as it is now.
    pub fn set_journal(&self, lag: Duration, segments: u64, degraded: bool) {
        let mut facts = self.facts();
        let journal = facts.shown.journal.get_or_insert_with(Journal::default);
        journal.lag_ms = lag.as_secs_f64() * 1_000.0;
        (journal.segments, journal.degraded) = (segments, degraded);
    }

    /// A sync of the journal took so long.
    pub fn journal_synced(&self, took: Duration) {
        self.facts().shown.journal.get_or_insert_with(Journal::default).sync.observe(took);
    }

    /// A batch of recordings got names and receipts, and it took so long.
    pub fn committed(&self, took: Duration) {
        let store = &mut self.facts().shown.store;
        store.commits += 1;
        store.commit.observe(took);
    }

    /// Sealed bytes that wait for the disk, and whether the disk fails.
    pub fn set_store(&self, backlog_bytes: u64, failing: bool) {
        let store = &mut self.facts().shown.store;
        (store.backlog_bytes, store.failing) = (backlog_bytes, failing);
    }

    /// Free bytes where recordings go: see [`disk_free_bytes`].
    pub fn set_disk_free(&self, bytes: u64) {
        self.disk_free_at(self.begun.elapsed(), bytes);
    }

    /// How much is shed: 0 nothing, then cheaper formats, whole calls, packets.
    pub fn set_shedding(&self, level: u32) {
        self.facts().shown.shedding = level;
    }

    /// How often each condition was met.
    pub fn set_conditions(&self, conditions: &Conditions) {
        let met = conditions.met().map(|(condition, times)| (condition.as_str().to_owned(), times));
        self.facts().shown.conditions = met.collect();
    }

    /// There will be a canary call.
    pub fn canary_enabled(&self) {
        let mut facts = self.facts();
        facts.shown.canary.enabled = true;
        facts.trunks.insert(canary::TRUNK.into());
    }

    /// A canary call came out as it should.
    pub fn canary_passed(&self, at: Stamp) {
        let canary = &mut self.facts().shown.canary;
        (canary.last_success, canary.fault) = (Some(at), None);
    }

    /// A canary call did not.
    pub fn canary_failed(&self, fault: &dyn std::fmt::Display) {
        let canary = &mut self.facts().shown.canary;
        canary.failures += 1;
        canary.fault = Some(fault.to_string());
    }

    /// A second has passed: reckons rates. The runner calls this.
    pub fn second(&self) {
        self.second_at(self.begun.elapsed());
    }

    /// All but the calls.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_at(clock::now(), self.begun.elapsed())
    }

    /// The newest calls first, at most [`CALLS_SHOWN_MAX`]. Parties only where asked for and permitted.
    pub fn calls(&self, parties: bool) -> Vec<LiveCall> {
        self.board().newest(CALLS_SHOWN_MAX, parties && self.parties)
    }

    /// Whether who speaks may be shown.
    pub fn shows_parties(&self) -> bool {
        self.parties
    }

    fn beat_at(&self, up: Duration) {
        self.beat_ms.store(up.as_millis() as u64, Ordering::Relaxed);
    }

    fn disk_free_at(&self, up: Duration, bytes: u64) {
        let mut facts = self.facts();
        facts.forecast.push(up, bytes);
        facts.shown.store.disk_free_bytes = Some(bytes);
        facts.shown.store.full_in_s = facts.forecast.full_in_s();
    }

    fn second_at(&self, up: Duration) {
        let mut facts = self.facts();
        let facts = &mut *facts;
        let sum = |count: fn(&Interface) -> u64| facts.shown.interfaces.iter().map(count).sum::<u64>();
        let (kernel, queue) = (sum(|i| i.kernel_drops), sum(|i| i.queue_drops));
        let now = [sum(|i| i.captured), sum(|i| i.bytes).saturating_mul(8), kernel + queue];
        let (then, before) = facts.counted;
        let elapsed_s = up.saturating_sub(then).as_secs_f64();
        if elapsed_s <= 0.0 {
            return;
        }
        let grown = |index: usize| now[index].saturating_sub(before[index]);
        let per_s = |index| grown(index) as f64 / elapsed_s;
        facts.shown.rates = Rates { packets_per_s: per_s(0), bits_per_s: per_s(1), drops_per_s: per_s(2) };
        facts.recent.push_back(grown(2));
        if facts.recent.len() > RECENT_SECONDS {
            facts.recent.pop_front();
        }
        facts.counted = (up, now);
        let drops = &mut facts.shown.drops;
        (drops.kernel, drops.queue, drops.last_minute) = (kernel, queue, facts.recent.iter().sum());
    }

    fn snapshot_at(&self, now: Stamp, up: Duration) -> Snapshot {
        let facts = self.facts();
        let mut shown = facts.shown.clone();
        let finished = facts.finished.iter();
        shown.calls.finished = finished
            .map(|((state, trunk), calls)| FinishedCalls {
                state: (*state).into(),
                trunk: trunk.clone(),
                calls: *calls,
            })
            .collect();
        drop(facts);
        shown.now = now;
        shown.uptime_s = up.as_secs_f64();
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        shown.idle_s = up.saturating_sub(beat).as_secs_f64();
        shown.calls.live = self.live.load(Ordering::Relaxed);
        shown.memory_bytes = self.memory.as_ref().and_then(resident_bytes);
        shown.health = shown.judge();
        shown
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an unprivileged process may still write to the file system of `dir`.
pub fn disk_free_bytes(dir: &Path) -> std::io::Result<u64> {
    let facts = rustix::fs::statvfs(dir)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Resident memory by `/proc/self/status` (proc(5)), which counts in kB of 1024 bytes.
fn resident_bytes(file: &File) -> Option<u64> {
    let mut text = [0; 4_096];
    let length = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// Most calls that [`Status::calls`] tells of.
pub const CALLS_SHOWN_MAX: usize = 5_000;
/// The trunk of calls whose trunk is in no configuration.
pub const OTHER: &str = "other";
/// Each is a label of metrics.
const TRUNKS_MAX: usize = 1_000;
const INTERFACES_MAX: usize = 64;
const QUEUES_MAX: usize = 256;
const RECENT_SECONDS: usize = 60;
