//! The calls that go on, as the live view shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::time::Stamp;
use crate::shell::status::snapshot::{CallState, LiveCall, Parties};

/// A call that begins.
#[derive(Clone, Debug)]
pub struct CallOpened {
    /// Id of its recording.
    pub id: String,
    /// Trunk it came over.
    pub trunk: String,
    /// Rule that has it recorded.
    pub rule: String,
    /// `opus`, `wav`, `pcapng`.
    pub format: &'static str,
    /// Start of the recording.
    pub since: Stamp,
    /// Who speaks. Kept only where the configuration permits it.
    pub parties: Option<Parties>,
}

/// What is known of a call by now. Counts are since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallStats<'a> {
    /// How far it is.
    pub state: CallState,
    /// Codecs of caller and callee; empty where none is known.
    pub codecs: [&'a str; 2],
    /// Media packets.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter, the worse side.
    pub jitter_ms: f64,
}

/// Calls by id: ids are UUIDv7, so their order is that of their starts.
#[derive(Debug, Default)]
pub(super) struct Board {
    calls: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    call: LiveCall,
    /// Bytes at the last update, and when that was.
    bytes: u64,
    updated: Stamp,
}

impl Board {
    /// Puts a call on; where the board is full, the one that has gone on longest goes off.
    pub(super) fn open(&mut self, opened: CallOpened, with_parties: bool) {
        if self.calls.len() >= BOARD_MAX {
            self.calls.pop_first();
        }
        let CallOpened { id, trunk, rule, format, since, parties } = opened;
        let call = LiveCall {
            id: id.clone(),
            trunk,
            rule,
            format: format.into(),
            since,
            state: CallState::Ringing,
            codecs: [String::new(), String::new()],
            packets: 0,
            lost: 0,
            loss_percent: 0.0,
            jitter_ms: 0.0,
            kbit_s: 0.0,
            parties: parties.filter(|_| with_parties),
        };
        self.calls.insert(id, Entry { call, bytes: 0, updated: since });
    }

    /// Brings a call up to date; one that is not on the board stays off.
    pub(super) fn update(&mut self, id: &str, now: Stamp, stats: &CallStats<'_>) {
        let Some(Entry { call, bytes, updated }) = self.calls.get_mut(id) else { return };
        call.state = stats.state;
        for (shown, codec) in call.codecs.iter_mut().zip(stats.codecs) {
            if shown != codec {
                *shown = codec.chars().take(CODEC_CHARS_MAX).collect();
            }
        }
        (call.packets, call.lost, call.jitter_ms) = (stats.packets, stats.lost, stats.jitter_ms);
        let expected = stats.packets + stats.lost;
        call.loss_percent = if expected > 0 { 100.0 * stats.lost as f64 / expected as f64 } else { 0.0 };
        let elapsed = now.since(*updated);
        if elapsed >= RATE_SPAN_MIN {
            let grown = stats.bytes.saturating_sub(*bytes);
            call.kbit_s = grown as f64 * 8.0 / 1_000.0 / elapsed.as_secs_f64();
            (*bytes, *updated) = (stats.bytes, now);
        }
    }

    pub(super) fn close(&mut self, id: &str) {
        self.calls.remove(id);
    }

    /// The newest calls first.
    pub(super) fn newest(&self, count: usize, with_parties: bool) -> Vec<LiveCall> {
        let hide = |call: &LiveCall| LiveCall {
            parties: call.parties.clone().filter(|_| with_parties),
            ..call.clone()
        };
        self.calls.values().rev().take(count).map(|entry| hide(&entry.call)).collect()
    }
}

/// Calls that are kept: some MiB.
pub(super) const BOARD_MAX: usize = 20_000;
/// A name from a session description may be long.
const CODEC_CHARS_MAX: usize = 24;
/// A rate over less means nothing.
const RATE_SPAN_MIN: Duration = Duration::from_millis(500);
