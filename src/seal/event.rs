//! Events: what happened to the recorder itself, entries of the signed log between the receipts.
//!
//! Whoever asks why a call is missing finds here whether the recorder ran, what it was told to record, and
//! what it could not keep up with. Like a receipt, an event is readable by everybody, says nothing about who
//! spoke, and has one text: fields in this order, no spaces.
//!
//! ```text
//! {"schema":1,"at":"2026-11-23T21:08:41.220582001Z","event":{"kind":"interface-down","interface":"eth1"},
//!  "recorder":"recorder-1","version":"0.1.0"}
//! ```

use serde::Deserialize;
use serde::Serialize;

use crate::base::time::Stamp;
use crate::seal::receipt::Receipt;
use crate::seal::receipt::ReceiptError;

/// Something that happened to a recorder.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, by the recorder's clock.
    pub at: Stamp,
    /// What.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// Id of the recorder.
    pub recorder: String,
    /// Version of the software.
    pub version: String,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum EventKind {
    /// Another configuration is in force.
    ConfigurationChanged {
        /// Version of the rules before.
        rules_before: String,
        /// Version of the rules now.
        rules: String,
        /// SHA-256 of the configuration file, in hexadecimal.
        #[serde(with = "crate::seal::receipt::hex")]
        config_sha256: [u8; 32],
        /// Keys that are other, without their values: `rule.sales.action changed`.
        changes: Vec<String>,
        /// Further keys that had no room here.
        more: u64,
    },
    /// Packets were not taken in.
    Dropped {
        /// The first of them came after this.
        from: Stamp,
        /// The last of them came before this.
        to: Stamp,
        /// By the kernel: the capture ring was full.
        kernel: u64,
        /// By the recorder: a queue was full.
        queue: u64,
    },
    /// An interface stopped: nothing is captured from it.
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// An interface is captured again.
    InterfaceUp {
        /// Its name.
        interface: String,
    },
    /// The journal cannot be written: a power cut would cost what is not in finished files.
    JournalDegraded,
    /// The journal is written again.
    JournalRestored,
    /// What a run that died has left is named and has receipts.
    Recovered {
        /// Recordings that are interrupted.
        recordings: u64,
        /// Segments of its journal.
        journals: u64,
        /// Things that could not be done: the next start tries again.
        faults: u64,
    },
    /// The recorder gives up more, or less, to keep up.
    SheddingChanged {
        /// Level before, by its name.
        before: String,
        /// Level now.
        level: String,
    },
    /// Recording began.
    Started {
        /// Version of the rules.
        rules: String,
        /// SHA-256 of the configuration file, in hexadecimal.
        #[serde(with = "crate::seal::receipt::hex")]
        config_sha256: [u8; 32],
    },
    /// Recording ended, and what was recorded has receipts. A run that dies leaves no such event.
    Stopped {
        /// Why.
        how: Stop,
    },
}

impl EventKind {
    /// The name that the log has.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ConfigurationChanged { .. } => "configuration-changed",
            Self::Dropped { .. } => "dropped",
            Self::InterfaceDown { .. } => "interface-down",
            Self::InterfaceUp { .. } => "interface-up",
            Self::JournalDegraded => "journal-degraded",
            Self::JournalRestored => "journal-restored",
            Self::Recovered { .. } => "recovered",
            Self::SheddingChanged { .. } => "shedding-changed",
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// Why recording ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stop {
    /// It was told to.
    Asked,
    /// A part of it failed.
    Failed,
    /// Another process goes on with its calls.
    HandedOver,
}

impl Stop {
    /// The name that the log has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Failed => "failed",
            Self::HandedOver => "handed-over",
        }
    }
}

impl Event {
    /// Makes an event whose entry has at most [`EVENT_BYTES_MAX`]: names are cut, and changed keys that have
    /// no room are counted.
    pub fn new(at: Stamp, kind: EventKind, recorder: &str, version: &str) -> Self {
        let kind = match kind {
            EventKind::ConfigurationChanged { rules_before, rules, config_sha256, changes, more } => {
                let (mut kept, mut room) = (Vec::new(), CHANGES_BYTES_MAX);
                for change in changes.iter().map(|change| cut(change)) {
                    // What it takes in JSON, with its comma.
                    let bytes = serde_json::to_string(&change).map_or(usize::MAX, |text| text.len() + 1);
                    if bytes > room {
                        break;
                    }
                    room -= bytes;
                    kept.push(change);
                }
                EventKind::ConfigurationChanged {
                    rules_before: cut(&rules_before),
                    rules: cut(&rules),
                    config_sha256,
                    more: more + (changes.len() - kept.len()) as u64,
                    changes: kept,
                }
            }
            EventKind::InterfaceDown { interface } => EventKind::InterfaceDown { interface: cut(&interface) },
            EventKind::InterfaceUp { interface } => EventKind::InterfaceUp { interface: cut(&interface) },
            EventKind::SheddingChanged { before, level } => {
                EventKind::SheddingChanged { before: cut(&before), level: cut(&level) }
            }
            EventKind::Started { rules, config_sha256 } => {
                EventKind::Started { rules: cut(&rules), config_sha256 }
            }
            same => same,
        };
        Self { schema: SCHEMA, at, kind, recorder: cut(recorder), version: cut(version) }
    }

    /// The entry for the log.
    pub fn to_entry(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an event has no maps with keys that are not text")
    }

    /// Reads an entry of the log.
    pub fn from_entry(entry: &[u8]) -> Result<Self, ReceiptError> {
        let Head { schema, .. } = serde_json::from_slice(entry)?;
        if schema != SCHEMA {
            return Err(ReceiptError::Schema { found: schema });
        }
        let event: Self = serde_json::from_slice(entry)?;
        if event.to_entry() == entry { Ok(event) } else { Err(ReceiptError::NotCanonical) }
    }
}

/// An entry of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// Of the recorder itself.
    Event(Event),
    /// Of a recording.
    Receipt(Receipt),
}

impl Entry {
    /// Reads an entry of either kind.
    pub fn from_entry(entry: &[u8]) -> Result<Self, ReceiptError> {
        let Head { event, .. } = serde_json::from_slice(entry)?;
        match event {
            Some(_) => Event::from_entry(entry).map(Self::Event),
            None => Receipt::from_entry(entry).map(Self::Receipt),
        }
    }
}

/// What tells entries apart.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    event: Option<serde::de::IgnoredAny>,
}

/// The start of a text that is longer than any name should be; what would steer a terminal is blank.
fn cut(text: &str) -> String {
    let plain = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut kept = String::new();
    for character in plain {
        if kept.len() + character.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// The schema that [`Event`] is.
pub const SCHEMA: u32 = 1;
/// Longest entry of an event.
pub const EVENT_BYTES_MAX: usize = 4_096;
/// Longest name in one. In JSON it may take twice as much.
const TEXT_BYTES_MAX: usize = 160;
/// All changed keys together, as JSON.
const CHANGES_BYTES_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::Counters;
    use crate::seal::receipt::ReceiptState;

    fn event(kind: EventKind) -> Event {
        let at = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        Event::new(at, kind, "recorder-1", "0.1.0")
    }

    fn kinds() -> Vec<EventKind> {
        let interface = || "eth1".to_owned();
        vec![
            EventKind::ConfigurationChanged {
                rules_before: "3-1f2e3d4c5b6a".into(),
                rules: "4-6a5b4c3d2e1f".into(),
                config_sha256: [0xab; 32],
                changes: vec!["rule.sales.action changed".into()],
                more: 0,
            },
            EventKind::Dropped { from: Stamp::ZERO, to: Stamp::ZERO, kernel: 2, queue: 3 },
            EventKind::InterfaceDown { interface: interface() },
            EventKind::InterfaceUp { interface: interface() },
            EventKind::JournalDegraded,
            EventKind::JournalRestored,
            EventKind::Recovered { recordings: 1, journals: 2, faults: 0 },
            EventKind::SheddingChanged { before: "none".into(), level: "cheaper".into() },
            EventKind::Started { rules: "3-1f2e3d4c5b6a".into(), config_sha256: [1; 32] },
            EventKind::Stopped { how: Stop::HandedOver },
        ]
    }

    #[test]
    fn has_one_text_in_a_fixed_order() {
        let text = String::from_utf8(event(EventKind::InterfaceDown { interface: "eth1".into() }).to_entry());
        assert_eq!(
            text.unwrap(),
            r#"{"schema":1,"at":"2026-11-23T21:08:41.220582001Z","event":{"kind":"interface-down","interface":"eth1"},"recorder":"recorder-1","version":"0.1.0"}"#
        );
        for kind in kinds() {
            let name = kind.as_str();
            let event = event(kind);
            let entry = event.to_entry();
            assert_eq!(Entry::from_entry(&entry).unwrap(), Entry::Event(event));
            let text = String::from_utf8(entry).unwrap();
            assert!(text.contains(&format!("{{\"kind\":\"{name}\"")), "{text}");
            for other in [
                text.replacen(',', ", ", 1),
                text.replacen("\"kind\"", "\"number\":\"+420\",\"kind\"", 1),
                text.replacen("\"recorder\"", "\"number\":\"+420\",\"recorder\"", 1),
            ] {
                assert!(Entry::from_entry(other.as_bytes()).is_err(), "{other}");
            }
            let later = text.replacen("\"schema\":1", "\"schema\":2", 1);
            assert!(matches!(Entry::from_entry(later.as_bytes()), Err(ReceiptError::Schema { found: 2 })));
        }
        assert_eq!(Stop::HandedOver.as_str(), "handed-over");
    }

    #[test]
    fn receipts_are_told_apart() {
        let receipt = Receipt {
            schema: crate::seal::receipt::SCHEMA,
            id: "0193c4a5-0000-7000-8000-000000000001".into(),
            state: ReceiptState::Complete,
            start: Stamp::ZERO,
            end: Stamp::ZERO,
            files: Vec::new(),
            rule: "all@3".into(),
            counters: Counters::default(),
            recorder: "recorder-1".into(),
            version: "0.1.0".into(),
        };
        assert_eq!(Entry::from_entry(&receipt.to_entry()).unwrap(), Entry::Receipt(receipt.clone()));
        assert!(Receipt::from_entry(&event(EventKind::JournalDegraded).to_entry()).is_err());
        assert!(Event::from_entry(&receipt.to_entry()).is_err());
        assert!(matches!(Entry::from_entry(b"{}"), Err(ReceiptError::Unreadable(_))));
    }

    #[test]
    fn an_event_is_never_long() {
        let long = "\"\u{7f}€\\".repeat(1_000);
        let changes: Vec<_> = (0..1_000).map(|number| format!("rule.{number} changed")).collect();
        for changes in [vec![long.clone(); 1_000], changes] {
            let kind = EventKind::ConfigurationChanged {
                rules_before: long.clone(),
                rules: long.clone(),
                config_sha256: [0; 32],
                changes,
                more: 1,
            };
            let event = Event::new(Stamp::ZERO, kind, &long, &long);
            let EventKind::ConfigurationChanged { changes, more, .. } = &event.kind else { panic!() };
            assert_eq!(changes.len() as u64 + more, 1_001);
            assert!(changes.len() > 3, "{}", changes.len());
            let entry = event.to_entry();
            assert!(entry.len() <= EVENT_BYTES_MAX, "{}", entry.len());
            assert_eq!(Entry::from_entry(&entry).unwrap(), Entry::Event(event));
        }
        let name = EventKind::InterfaceUp { interface: long.clone() };
        assert!(Event::new(Stamp::ZERO, name, &long, &long).to_entry().len() <= EVENT_BYTES_MAX);
    }
}
