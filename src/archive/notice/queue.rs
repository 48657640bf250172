//! What waits to be told, by channel. Kept over a restart; told at least once, and a storm of it as one message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::notice::{Conditions, Kind, Notice, Topic};
use crate::base::time::Stamp;

/// A way on which people are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What goes on it.
    pub topics: BTreeSet<Topic>,
    /// How long it is left alone after a message.
    pub every: Duration,
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Its own: whoever gets it twice knows.
    pub id: String,
    /// When it was made.
    pub made: Stamp,
    /// What it says.
    pub notices: Vec<Notice>,
    /// How many had no room.
    pub left_out: u64,
}

/// What waits for one channel.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    waiting: Vec<Notice>,
    left_out: u64,
    /// What is being sent: the same until it has arrived.
    sending: Option<Batch>,
    /// Tries that failed, one after the other.
    pub failures: u32,
    not_before: Option<Stamp>,
    /// When a message arrived last.
    pub delivered: Option<Stamp>,
    /// Why the last try failed.
    pub fault: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Entries of the log that were looked at; nothing before the first time.
    pub read: Option<u64>,
    /// Conditions that were told.
    told: BTreeMap<String, Told>,
    outboxes: BTreeMap<String, Outbox>,
    /// Day of the last digest.
    digest: Option<u64>,
    next: u64,
}

/// When something was told, and when it was so last.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Told {
    at: Stamp,
    seen: Stamp,
}

impl Queue {
    /// Has it told on the channels that have its topic.
    pub fn add(&mut self, notice: &Notice, channels: &[Channel]) {
        let is_test = notice.kind == Kind::Test;
        for channel in channels.iter().filter(|one| is_test || one.topics.contains(&notice.kind.topic())) {
            let outbox = self.outboxes.entry(channel.name.clone()).or_default();
            let has_room = outbox.waiting.len() < WAITING_MAX;
            match outbox.waiting.iter_mut().find(|one| one.is_same(notice)) {
                Some(same) => same.merge(notice),
                None if has_room => outbox.waiting.push(notice.clone()),
                None => outbox.left_out = outbox.left_out.saturating_add(notice.count),
            }
        }
    }

    /// Has told what is so now, where it was not told within a day.
    pub fn conditions(&mut self, now: &Conditions, at: Stamp, channels: &[Channel]) {
        let key = |(kind, subject): &(Kind, String)| format!("{kind:?} {subject}");
        for condition in now {
            let known = self.told.get(&key(condition)).map(|told| told.at);
            // Also where the clock was set back.
            let is_new = known.is_none_or(|told| at.since(told) >= AGAIN || told > at.after(SKEW));
            let told = if is_new { at } else { known.unwrap_or(at) };
            self.told.insert(key(condition), Told { at: told, seen: at });
            if is_new {
                self.add(&Notice::new(condition.0, &condition.1, at), channels);
            }
        }
        // What comes and goes is not told each time.
        self.told.retain(|_, told| at.since(told.seen) < SETTLED);
    }

    /// Whether the digest of this day is due; it counts as told then.
    pub fn is_digest_due(&mut self, at: Stamp) -> bool {
        let hours = at.as_unix_nanos() / 3_600_000_000_000;
        let (day, hour) = (hours / 24, hours % 24);
        let is_due = hour >= DIGEST_HOUR && self.digest != Some(day);
        if is_due {
            self.digest = Some(day);
        }
        is_due
    }

    /// What is to be sent on a channel now. The same again until [`Queue::delivered`].
    pub fn due(&mut self, channel: &Channel, now: Stamp) -> Option<&Batch> {
        let outbox = self.outboxes.get_mut(&channel.name)?;
        // A clock that was set back keeps nothing back for years.
        let is_resting = outbox
            .not_before
            .is_some_and(|at| now < at && at <= now.after(channel.every.max(BACK_OFF_MAX)).after(SKEW));
        if is_resting {
            return None;
        }
        if outbox.sending.is_none() {
            if outbox.waiting.is_empty() {
                return None;
            }
            self.next += 1;
            let id = format!("{}-{}", self.next, now.as_unix_nanos());
            let (notices, left_out) = (std::mem::take(&mut outbox.waiting), outbox.left_out);
            outbox.left_out = 0;
            outbox.sending = Some(Batch { id, made: now, notices, left_out });
        }
        outbox.sending.as_ref()
    }

    /// It has arrived.
    pub fn delivered(&mut self, channel: &Channel, now: Stamp) {
        let Some(outbox) = self.outboxes.get_mut(&channel.name) else { return };
        outbox.sending = None;
        (outbox.failures, outbox.fault) = (0, None);
        (outbox.delivered, outbox.not_before) = (Some(now), Some(now.after(channel.every)));
    }

    /// It has not, as far as is known: it is tried again, later each time.
    pub fn failed(&mut self, channel: &Channel, why: &str, now: Stamp) {
        let Some(outbox) = self.outboxes.get_mut(&channel.name) else { return };
        outbox.failures = outbox.failures.saturating_add(1);
        outbox.fault = Some(why.chars().take(FAULT_MAX).collect());
        let doublings = outbox.failures.saturating_sub(1).min(16);
        outbox.not_before = Some(now.after((BACK_OFF_FIRST * 2_u32.pow(doublings)).min(BACK_OFF_MAX)));
    }

    /// What waits for a channel that is not configured any more is forgotten.
    pub fn keep_only(&mut self, channels: &[Channel]) {
        self.outboxes.retain(|name, _| channels.iter().any(|channel| channel.name == *name));
    }

    /// How the channels stand.
    pub fn outboxes(&self) -> impl Iterator<Item = (&str, &Outbox)> {
        self.outboxes.iter().map(|(name, outbox)| (name.as_str(), outbox))
    }
}

impl Outbox {
    /// How many notices wait, and are being sent.
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.sending.as_ref().map_or(0, |batch| batch.notices.len())
    }
}

/// Different notices that wait for one channel.
pub(super) const WAITING_MAX: usize = 200;
/// How long something that goes on is not told again.
pub(super) const AGAIN: Duration = Duration::from_secs(86_400);
/// How long something that is over must be so, before it is told as new.
const SETTLED: Duration = Duration::from_secs(2 * 3_600);
const BACK_OFF_FIRST: Duration = Duration::from_secs(30);
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(3_600);
const SKEW: Duration = Duration::from_secs(60);
const DIGEST_HOUR: u64 = 6;
const FAULT_MAX: usize = 400;
