//! What a running recorder says of itself. Field names are stable; more fields may stand beside these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::shell::status::histogram::Histogram;

/// A recorder at one moment. Holds no number, no address and no name of a party.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Snapshot {
    /// Program version.
    pub version: String,
    /// Id of the recorder's receipt key.
    pub recorder: String,
    /// When it started.
    pub started: Stamp,
    /// When this was taken.
    pub now: Stamp,
    /// Seconds since the start, by a clock that is not set.
    pub uptime_s: f64,
    /// Its configuration.
    pub config: ConfigFacts,
    /// What was found when this was taken.
    pub health: Health,
    /// Whether capture threads run.
    pub capturing: bool,
    /// Whether every recipient has been probed.
    pub recipients_probed: bool,
    /// Seconds since the pipeline last moved.
    pub idle_s: f64,
    /// The books.
    pub packets: Counters,
    /// Over the last second.
    pub rates: Rates,
    /// Packets lost for want of speed.
    pub drops: Drops,
    /// Interfaces.
    pub interfaces: Vec<Interface>,
    /// Calls, counted.
    pub calls: CallCounts,
    /// Queues between threads.
    pub queues: Vec<Queue>,
    /// The sealed journal; none where there is none.
    pub journal: Option<Journal>,
    /// The way to the disk.
    pub store: Store,
    /// How much is shed: 0 nothing, then cheaper formats, whole calls, packets.
    pub shedding: u32,
    /// How often each condition was met that `sejf config policies` lists; those that never were are left out.
    #[serde(default)]
    pub conditions: BTreeMap<String, u64>,
    /// The canary call.
    pub canary: Canary,
    /// Resident memory.
    pub memory_bytes: Option<u64>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ConfigFacts {
    /// Its version, as manifests name it.
    pub version: String,
    /// Times it was read anew and taken.
    pub reloads: u64,
    /// Times it was read anew and refused.
    pub reloads_refused: u64,
}

/// Whether all is well.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Health {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What is wrong, the worst first.
    pub reasons: Vec<String>,
}

/// What a second brings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Rates {
    /// Packets.
    pub packets_per_s: f64,
    /// Captured bits.
    pub bits_per_s: f64,
    /// Packets lost for want of speed.
    pub drops_per_s: f64,
}

/// Packets lost for want of speed, all interfaces.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Drops {
    /// The kernel's ring was full.
    pub kernel: u64,
    /// The queue to the pipeline was full.
    pub queue: u64,
    /// Both, over the last minute.
    pub last_minute: u64,
}

/// A capture interface. Counts are since the start.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is there and up.
    pub up: bool,
    /// Packets.
    pub captured: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Packets that found the ring full.
    pub kernel_drops: u64,
    /// Packets that found the queue full.
    pub queue_drops: u64,
}

/// Calls, counted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CallCounts {
    /// Calls that go on.
    pub live: u64,
    /// Calls that are over and stored.
    pub finished: Vec<FinishedCalls>,
}

/// Calls that ended alike.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct FinishedCalls {
    /// As in manifests: `complete`, `interrupted`, …
    pub state: String,
    /// Trunk of the configuration; `other` where it is not in there.
    pub trunk: String,
    /// How many.
    pub calls: u64,
}

/// A queue between threads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Items in it.
    pub used: u64,
    /// Items it can hold.
    pub size: u64,
}

/// The sealed journal.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Journal {
    /// How much of what was recorded a power cut would cost now, in milliseconds.
    pub lag_ms: f64,
    /// Segments that hold what is in no file yet.
    pub segments: u64,
    /// It cannot be written.
    pub degraded: bool,
    /// How long syncs took.
    pub sync: Histogram,
}

/// The way to the disk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Store {
    /// Batches of recordings that got their names and receipts.
    pub commits: u64,
    /// How long each took.
    pub commit: Histogram,
    /// Sealed bytes that wait for the disk.
    pub backlog_bytes: u64,
    /// The disk fails and is tried again.
    pub failing: bool,
    /// Free bytes where recordings go.
    pub disk_free_bytes: Option<u64>,
    /// Seconds until it is full, if it goes on as in the last hour; none where it does not fill.
    pub full_in_s: Option<f64>,
}

/// The canary call: a synthetic call through the whole path.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Canary {
    /// Whether there is one.
    pub enabled: bool,
    /// When one last came out sealed and as it should be.
    pub last_success: Option<Stamp>,
    /// How many did not.
    pub failures: u64,
    /// What was wrong with the last one; none where it was well.
    pub fault: Option<String>,
}

/// A call that goes on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LiveCall {
    /// Id of its recording.
    pub id: String,
    /// Trunk it came over.
    pub trunk: String,
    /// Rule that has it recorded.
    pub rule: String,
    /// `opus`, `wav`, `pcapng`.
    pub format: String,
    /// Start of the recording.
    pub since: Stamp,
    /// How far it is.
    pub state: CallState,
    /// Codecs of caller and callee; empty where none is known.
    pub codecs: [String; 2],
    /// Media packets.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// `lost` in percent of what was to come.
    pub loss_percent: f64,
    /// Interarrival jitter (RFC 3550 6.4.1), the worse side.
    pub jitter_ms: f64,
    /// Media rate over the last update.
    pub kbit_s: f64,
    /// Who speaks; only where asked for and permitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parties: Option<Parties>,
}

/// Who speaks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Parties {
    /// Caller.
    pub caller: String,
    /// Callee.
    pub callee: String,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Not answered.
    #[default]
    Ringing,
    /// Answered.
    Talking,
    /// On hold.
    Held,
    /// Recording is paused.
    Paused,
}

impl CallState {
    /// The name that the JSON uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Talking => "talking",
            Self::Held => "held",
            Self::Paused => "paused",
        }
    }
}

impl Snapshot {
    /// What keeps it from recording as it should: empty where it is ready.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.capturing {
            reasons.push("not capturing".into());
        } else if !self.interfaces.iter().any(|interface| interface.up) {
            reasons.push("no interface is up".into());
        }
        if self.journal.as_ref().is_some_and(|journal| journal.degraded) {
            reasons.push("the journal cannot be written".into());
        }
        if !self.recipients_probed {
            reasons.push("recipients have not been probed".into());
        }
        reasons
    }

    /// Whether the pipeline has moved of late.
    pub fn moves(&self) -> bool {
        self.idle_s <= IDLE_MAX_S
    }

    /// What is wrong, the worst first.
    pub(super) fn judge(&self) -> Health {
        let mut reasons = Vec::new();
        if !self.moves() {
            reasons.push(format!("the pipeline has not moved for {:.0} s", self.idle_s));
        }
        reasons.extend(self.unready());
        for interface in self.interfaces.iter().filter(|interface| !interface.up) {
            reasons.push(format!("interface {} is down", interface.name));
        }
        if self.drops.last_minute > 0 {
            reasons.push(format!("{} packets dropped in the last minute", self.drops.last_minute));
        }
        self.judge_storage(&mut reasons);
        if self.shedding > 0 {
            reasons.push(format!("load is shed, level {}: the log says why", self.shedding));
        }
        if let Some(fault) = &self.canary.fault {
            reasons.push(format!("canary call: {fault}"));
        } else if self.canary.enabled {
            let since = self.canary.last_success.unwrap_or(self.started);
            let age_s = self.now.since(since).as_secs_f64();
            if age_s > CANARY_AGE_MAX_S {
                reasons.push(format!("no canary call came out for {age_s:.0} s"));
            }
        }
        Health { ok: reasons.is_empty(), reasons }
    }

    fn judge_storage(&self, reasons: &mut Vec<String>) {
        if self.store.failing {
            reasons.push("the disk fails and is tried again".into());
        }
        if let Some(journal) = self.journal.as_ref().filter(|journal| journal.lag_ms > JOURNAL_LAG_MAX_MS) {
            reasons.push(format!("the journal is {:.0} ms behind", journal.lag_ms));
        }
        match (self.store.disk_free_bytes, self.store.full_in_s) {
            (Some(0), _) => reasons.push("the disk is full".into()),
            (_, Some(seconds)) if seconds < FULL_SOON_S => {
                reasons.push(format!("the disk is full in {:.1} h", seconds / 3_600.0));
            }
            _ => {}
        }
    }
}

/// A pipeline that has not moved for longer hangs.
const IDLE_MAX_S: f64 = 5.0;
/// One comes every minute: longer than this, and several in a row are missing.
const CANARY_AGE_MAX_S: f64 = 200.0;
/// The bound on what a power cut may cost.
const JOURNAL_LAG_MAX_MS: f64 = 1_000.0;
/// Time enough to bring a disk.
const FULL_SOON_S: f64 = 24.0 * 3_600.0;
