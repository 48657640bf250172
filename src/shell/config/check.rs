//! Bounds of values, and what is odd though legal.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::limits::{CALLS_MAX, FRAME_BYTES_MAX};
use crate::recording::rules::{self, Action};
use crate::shell::canary;
use crate::shell::config::error::ConfigFault;
use crate::shell::config::sections::Sections;
use crate::shell::config::units::{Size, Time};
use crate::shell::config::{Config, DEFAULT_GROUP};

/// Legal, and probably not meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "oddity")]
#[non_exhaustive]
pub enum Oddity {
    /// Nobody's recordings are opened by it.
    #[error("group `{group}` in [recipients] opens nothing: no rule and no trunk names it")]
    GroupUnused {
        /// The group.
        group: String,
    },
    /// No such interface now.
    #[error("interface `{interface}` does not exist on this machine: there are {there}")]
    InterfaceMissing {
        /// As written.
        interface: String,
        /// Those there are.
        there: String,
    },
    /// Others on the network may read.
    #[error(
        "[metrics] listens on {listen}, which is not this machine's own: whoever reaches it can read how many calls there are"
    )]
    MetricsExposed {
        /// As written.
        listen: String,
    },
    /// One key opens it.
    #[error(
        "rule `{rule}` records for one recipient only, as `allow_single_recipient` permits: if that key is lost, so are the recordings"
    )]
    OneRecipient {
        /// The rule.
        rule: String,
    },
    /// No rule records.
    #[error("no rule records anything: add a [[rule]] with `action = \"record\"`")]
    RecordsNothing,
    /// The same recipient twice.
    #[error("group `{group}` names the recipient {recipient} twice: that is one who can open, not two")]
    RecipientTwice {
        /// The group.
        group: String,
        /// Shortened.
        recipient: String,
    },
    /// The ring is full after a moment.
    #[error(
        "the ring of `{interface}` holds {ring}: at 1 Gbit/s that is {ms} ms, and what comes while the machine is busy for longer is lost"
    )]
    RingSmall {
        /// The interface.
        interface: String,
        /// As written.
        ring: String,
        /// How long it lasts.
        ms: u64,
    },
    /// An earlier rule takes all its calls.
    #[error("rule `{rule}` can never match: rule `{by}` before it takes all its calls")]
    RuleShadowed {
        /// The rule.
        rule: String,
        /// The earlier one.
        by: String,
    },
    /// It chooses no call.
    #[error("rule `{rule}` can never match: its `percentage` is 0")]
    RuleOfNothing {
        /// The rule.
        rule: String,
    },
    /// Frames of the usual length are cut.
    #[error(
        "`snaplen` of `{interface}` is {snaplen}: longer frames are cut, and whole ones have up to {FRAME_USUAL}"
    )]
    SnaplenCuts {
        /// The interface.
        interface: String,
        /// As written.
        snaplen: u32,
    },
    /// No rule is about the trunk, or about all.
    #[error("trunk `{trunk}` is never used: no rule names it, and none is for all trunks")]
    TrunkUnused {
        /// The trunk.
        trunk: String,
    },
}

/// Names of this machine's interfaces, where they can be known.
pub(super) fn interfaces() -> Option<Vec<String>> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Some(names)
}

/// Where a value is out of its bounds: table, which of that name, key, and what is wrong.
type OutOfBounds = (&'static str, usize, &'static str, Box<ConfigFault>);

pub(super) fn bounds(sections: &Sections) -> Result<(), OutOfBounds> {
    let Sections { recorder, capture, journal, limits, canary, trunk, .. } = sections;
    // Recordings of such a trunk would be taken for canary calls, and shown as such.
    if let Some(nth) = trunk.iter().position(|trunk| trunk.name == canary::TRUNK) {
        return Err(("trunk", nth, "name", ConfigFault::TrunkTaken.into()));
    }
    if capture.is_empty() {
        return Err(("capture", 0, "", ConfigFault::NoCapture.into()));
    }
    for (nth, its) in capture.iter().enumerate() {
        within("capture", nth, "threads", &its.threads, 1..=64)?;
        within("capture", nth, "ring", &its.ring, Size(256 << 10)..=Size::mib(1_024))?;
        within("capture", nth, "snaplen", &its.snaplen, 128..=FRAME_BYTES_MAX as u32)?;
        within("capture", nth, "block_timeout", &its.block_timeout, Time::ms(1)..=Time::ms(40))?;
        within("capture", nth, "interface", &its.interface.len(), 1..=15).map_err(
            |(section, nth, key, _)| {
                let (value, bounds) = (format!("`{}`", its.interface), "1 to 15 letters".into());
                (section, nth, key, ConfigFault::Range { key, value, bounds }.into())
            },
        )?;
        if capture.iter().take(nth).any(|other| other.interface == its.interface) {
            let interface = its.interface.clone();
            return Err(("capture", nth, "interface", ConfigFault::Twice { interface }.into()));
        }
    }
    within("recorder", 0, "shards", &recorder.shards.unwrap_or(1), 1..=256)?;
    within("journal", 0, "segment", &journal.segment, Size::mib(1)..=Size::mib(16 << 10))?;
    within("journal", 0, "segments", &journal.segments, 3..=1_024)?;
    within("journal", 0, "hand_over", &journal.hand_over, Time::ms(10)..=Time::ms(750))?;
    within("limits", 0, "memory", &limits.memory, Size::mib(128)..=Size::mib(16 << 20))?;
    within("limits", 0, "disk_reserve", &limits.disk_reserve, Size::mib(0)..=Size::mib(16 << 20))?;
    within("limits", 0, "calls", &limits.calls, 1..=CALLS_MAX)?;
    within("limits", 0, "block_queue", &limits.block_queue, 1..=1_024)?;
    within("limits", 0, "shard_queue", &limits.shard_queue, 1..=1_024)?;
    within("limits", 0, "store_queue", &limits.store_queue, 16..=65_536)?;
    within("canary", 0, "every", &canary.every, Time::ms(10_000)..=Time(Duration::from_secs(86_400)))
}

fn within<T: Display + PartialOrd>(
    section: &'static str,
    nth: usize,
    key: &'static str,
    value: &T,
    bounds: RangeInclusive<T>,
) -> Result<(), OutOfBounds> {
    if bounds.contains(value) {
        return Ok(());
    }
    let bounds = format!("{} to {}", bounds.start(), bounds.end());
    Err((section, nth, key, ConfigFault::Range { key, value: value.to_string(), bounds }.into()))
}

pub(super) fn oddities(config: &Config, interfaces: Option<&[String]>) -> Vec<Oddity> {
    let mut found = Vec::new();
    captures(config, interfaces, &mut found);
    groups(config, &mut found);
    rules(config, &mut found);
    if let Some(address) = config.sections.metrics.listen.0
        && !address.ip().is_loopback()
    {
        found.push(Oddity::MetricsExposed { listen: address.to_string() });
    }
    found
}

fn captures(config: &Config, interfaces: Option<&[String]>, found: &mut Vec<Oddity>) {
    for capture in &config.sections.capture {
        let interface = capture.interface.clone();
        if let Some(there) = interfaces
            && !there.contains(&interface)
        {
            let there = there.join(", ");
            found.push(Oddity::InterfaceMissing { interface: interface.clone(), there });
        }
        let all = capture.ring.0.saturating_mul(capture.threads as u64);
        if all < RING_USUAL.0 {
            let ms = all / GIGABIT_BYTES_PER_MS;
            found.push(Oddity::RingSmall { interface: interface.clone(), ring: Size(all).to_string(), ms });
        }
        if capture.snaplen < FRAME_USUAL {
            found.push(Oddity::SnaplenCuts { interface, snaplen: capture.snaplen });
        }
    }
}

fn groups(config: &Config, found: &mut Vec<Oddity>) {
    let Sections { recipients, trunk, rule, .. } = &config.sections;
    for (group, members) in recipients {
        for (index, member) in members.iter().enumerate() {
            if members.iter().take(index).any(|other| other.eq_ignore_ascii_case(member)) {
                let recipient = shorten(member);
                found.push(Oddity::RecipientTwice { group: group.clone(), recipient });
            }
        }
        let named = rule
            .iter()
            .flat_map(|rule| rule.recipients.iter())
            .chain(trunk.iter().flat_map(|trunk| trunk.recipients.iter()))
            .any(|name| name == group);
        // Whether rules fall back on it was tried with their recipients; here it is enough that one may.
        let falls_back = group == DEFAULT_GROUP
            && (rule.is_empty()
                || config.rules.rules().iter().any(|rule| {
                    let mut trunks = config.trunks_of(rule).into_iter();
                    trunks.any(|trunk| rules::settings(rule, trunk).recipients.is_empty())
                }));
        if !named && !falls_back {
            found.push(Oddity::GroupUnused { group: group.clone() });
        }
    }
}

fn rules(config: &Config, found: &mut Vec<Oddity>) {
    let all = config.rules.rules();
    if !all.iter().any(|rule| rule.spec().action == Action::Record) {
        found.push(Oddity::RecordsNothing);
    }
    for (rule, by) in config.rules.shadowed() {
        found.push(Oddity::RuleShadowed { rule: rule.name().into(), by: by.name().into() });
    }
    for rule in all {
        if rule.spec().condition.percentage == Some(0.0) {
            found.push(Oddity::RuleOfNothing { rule: rule.name().into() });
        }
        let alone = config.trunks_of(rule).into_iter().any(|trunk| {
            let recipients = config.recipients(&rules::settings(rule, trunk));
            recipients.is_ok_and(|recipients| recipients.len() < 2)
        });
        if alone && rule.spec().action != Action::Exclude {
            found.push(Oddity::OneRecipient { rule: rule.name().into() });
        }
    }
    if all.iter().any(|rule| rule.spec().trunk.is_none()) {
        return;
    }
    for trunk in config.rules.trunks() {
        if !all.iter().any(|rule| rule.spec().trunk.as_ref() == Some(&trunk.name)) {
            found.push(Oddity::TrunkUnused { trunk: trunk.name.clone() });
        }
    }
}

/// The beginning and the end of a recipient: enough to tell it from others.
pub fn shorten(recipient: &str) -> String {
    let letters: Vec<char> = recipient.chars().collect();
    if letters.len() <= SHORT {
        return recipient.into();
    }
    let (begin, end) = (&letters[..SHORT - 5], &letters[letters.len() - 4..]);
    format!("{}…{}", begin.iter().collect::<String>(), end.iter().collect::<String>())
}

/// Letters of a shortened recipient.
const SHORT: usize = 17;
/// Ethernet with two VLAN tags and a tunnel around a whole frame.
const FRAME_USUAL: u32 = 1_700;
/// What a ring should hold at least: an eighth of a second at a gigabit.
const RING_USUAL: Size = Size::mib(16);
const GIGABIT_BYTES_PER_MS: u64 = 125_000;
