//! Entries of the vault's signed log: who did what, to what, when and why.
//!
//! Readable by everybody who may read the log, so it holds nothing of who spoke: recordings are named by id.
//! One text each: fields in this order, no spaces.

use serde::{Deserialize, Serialize};

use crate::archive::access::{Action, Decision, Reason, Refusal};
use crate::archive::epoch::Epoch;
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;

/// Something that was done, or was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, by the vault's clock.
    pub at: Stamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// What.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// Why.
    pub reason: Option<Reason>,
    /// How it went.
    pub outcome: Outcome,
}

/// What is acted on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The archive as a whole.
    Vault,
    /// One recording.
    Recording(RecordingId),
    /// Several; where they are more than [`IDS_MAX`], an earlier entry or a report names them.
    Recordings {
        /// The first of them.
        ids: Vec<RecordingId>,
        /// How many there are.
        count: u64,
        /// SHA-256 of all ids, a line each, sorted.
        digest: String,
    },
    /// All recordings of a class in a month.
    Epoch(String),
    /// A legal hold, by its name.
    Hold(String),
    /// A request for destruction, by its number.
    Request(u64),
    /// A removable medium.
    Medium(String),
    /// A place where copies are.
    Place(String),
    /// A recorder, by the name of its log.
    Recorder(String),
    /// Somebody who uses the vault.
    User(String),
    /// What was asked for a user, by its number.
    UserRequest(u64),
}

impl Resource {
    /// Several recordings.
    pub fn of(ids: &[RecordingId]) -> Self {
        if let [id] = ids {
            return Self::Recording(*id);
        }
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        let mut text = String::new();
        for id in &sorted {
            text.push_str(&format!("{id}\n"));
        }
        let digest = crate::archive::record::Digest::of(text.as_bytes()).to_string();
        sorted.truncate(IDS_MAX);
        Self::Recordings { count: ids.len() as u64, ids: sorted, digest }
    }

    /// An epoch.
    pub fn epoch(epoch: &Epoch) -> Self {
        Self::Epoch(epoch.to_string())
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It may be done; written before it is.
    Granted,
    /// It may not.
    Refused(Refusal),
    /// It was done. Details are for people and have no numbers or names of parties in them.
    Done(serde_json::Value),
    /// It was tried, and failed.
    Failed(String),
}

impl Entry {
    /// The entry that must be written before anything is done.
    pub fn granted(decision: &Decision) -> Self {
        Self::of(decision, Outcome::Granted)
    }

    /// An entry on the same matter.
    pub fn of(decision: &Decision, outcome: Outcome) -> Self {
        Self {
            schema: SCHEMA,
            at: decision.at,
            actor: decision.actor.clone(),
            origin: decision.origin.clone(),
            action: decision.action,
            resource: decision.resource.clone(),
            reason: decision.reason.clone(),
            outcome,
        }
    }

    /// For the log.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has no maps with keys that are not text")
    }

    /// Reads an entry. Only its one text is one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        use serde::de::Error;
        let entry: Self = serde_json::from_slice(bytes)?;
        if entry.to_bytes() != bytes {
            return Err(serde_json::Error::custom("not in its one form"));
        }
        Ok(entry)
    }
}

/// The schema that [`Entry`] is.
pub const SCHEMA: u32 = 1;
/// Ids that one entry names.
pub const IDS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_text() {
        let id: RecordingId = "0193c4a5-0000-7000-8000-000000000001".parse().unwrap();
        let entry = Entry {
            schema: SCHEMA,
            at: Stamp::from_unix_nanos(1_795_468_121_220_582_001),
            actor: "local:root".into(),
            origin: "local".into(),
            action: Action::Open,
            resource: Resource::of(&[id]),
            reason: Some(Reason { code: "complaint".into(), text: "T-17".into() }),
            outcome: Outcome::Granted,
        };
        let text = String::from_utf8(entry.to_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"schema":1,"at":"2026-11-23T21:08:41.220582001Z","actor":"local:root","origin":"local","action":"open","resource":{"recording":"0193c4a5-0000-7000-8000-000000000001"},"reason":{"code":"complaint","text":"T-17"},"outcome":"granted"}"#
        );
        assert_eq!(Entry::from_bytes(text.as_bytes()).unwrap(), entry);
        assert!(Entry::from_bytes(format!("{text} ").as_bytes()).is_err());
        let more = text.replacen('{', r#"{"x":1,"#, 1);
        assert!(Entry::from_bytes(more.as_bytes()).is_err());
    }

    #[test]
    fn many_recordings_are_named_by_their_digest() {
        let ids: Vec<_> = (0..=255u8).map(|byte| RecordingId::from_bytes([byte; 16])).collect();
        let Resource::Recordings { ids: named, count, digest } = Resource::of(&ids) else { panic!() };
        assert_eq!((named.len(), count, digest.len()), (IDS_MAX, 256, 64));
        let backwards: Vec<_> = ids.into_iter().rev().collect();
        assert!(
            matches!(Resource::of(&backwards), Resource::Recordings { digest: same, .. } if same == digest)
        );
    }
}
