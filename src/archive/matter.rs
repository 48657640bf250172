//! What the vault's log says of holds, events, requests and destruction. The log is where they are kept; the catalog
//! has a copy, and can be made anew or brought up from an older state by reading it again.

use serde::{Deserialize, Serialize};

use crate::archive::access::Action;
use crate::archive::certificate::Certificate;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::hold::{Hold, HoldName};
use crate::archive::record::RecordingId;
use crate::archive::request::{Agreement, Request};
use crate::base::time::Stamp;

/// What was done, as its entry has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Matter {
    /// A hold was laid on recordings.
    Held(Hold),
    /// It was let go.
    Released {
        /// Which.
        hold: HoldName,
        /// When.
        at: Stamp,
    },
    /// The event came from which these count.
    Named {
        /// When it came.
        at: Stamp,
        /// At most [`IDS_MAX`].
        recordings: Vec<RecordingId>,
    },
    /// Destruction was asked for.
    Asked(Request),
    /// A second person agreed.
    Agreed {
        /// To which request.
        request: u64,
        /// Who, and when.
        agreement: Agreement,
    },
    /// A request was taken back.
    Withdrawn {
        /// Which.
        request: u64,
        /// When.
        at: Stamp,
    },
    /// It was done.
    Destroyed(Certificate),
}

/// What an entry of the log means here.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "read one by one and let go of")]
pub enum Said {
    /// Something was done.
    Done(Matter),
    /// Destruction of these was granted: it may have begun.
    Begun(Vec<RecordingId>),
    /// Destruction of these came to nothing.
    Ended(Vec<RecordingId>),
}

/// An entry that this version cannot read. Nothing is destroyed before it can: it may be a hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "entry {index} of the vault's log, of what was done on {at}, is not understood: a later version wrote it"
)]
pub struct MatterError {
    /// Which entry.
    pub index: u64,
    /// When.
    pub at: Stamp,
}

impl Matter {
    /// For the log.
    pub fn outcome(&self) -> Outcome {
        Outcome::Done(serde_json::to_value(self).expect("no maps with keys that are not text"))
    }
}

/// What an entry means here; nothing where it is of something else.
pub fn read(index: u64, entry: &Entry) -> Result<Option<Said>, MatterError> {
    let is_ours = matches!(
        entry.action,
        Action::Hold
            | Action::ReleaseHold
            | Action::NameEvent
            | Action::AskDestruction
            | Action::ApproveDestruction
            | Action::Destroy
    );
    if !is_ours {
        return Ok(None);
    }
    let ids = || match &entry.resource {
        Resource::Recording(id) => vec![*id],
        Resource::Recordings { ids, .. } => ids.clone(),
        _ => Vec::new(),
    };
    match &entry.outcome {
        Outcome::Granted if entry.action == Action::Destroy => Ok(Some(Said::Begun(ids()))),
        Outcome::Failed(_) if entry.action == Action::Destroy => Ok(Some(Said::Ended(ids()))),
        Outcome::Granted | Outcome::Failed(_) | Outcome::Refused(_) => Ok(None),
        Outcome::Done(value) => {
            let matter: Option<Matter> = serde_json::from_value(value.clone()).ok();
            let fits = matter.filter(|matter| {
                matches!(
                    (entry.action, matter),
                    (Action::Hold, Matter::Held(_))
                        | (Action::ReleaseHold, Matter::Released { .. })
                        | (Action::NameEvent, Matter::Named { .. })
                        | (Action::AskDestruction, Matter::Asked(_) | Matter::Withdrawn { .. })
                        | (Action::ApproveDestruction, Matter::Agreed { .. })
                        | (Action::Destroy, Matter::Destroyed(_))
                )
            });
            fits.map(|matter| Some(Said::Done(matter))).ok_or(MatterError { index, at: entry.at })
        }
    }
}

/// Recordings that one entry names: what fits into it.
pub const IDS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::Reason;
    use crate::archive::certificate::tests::certificate;
    use crate::archive::entry::SCHEMA;
    use crate::archive::scope::Scope;

    fn entry(action: Action, outcome: Outcome) -> Entry {
        Entry {
            schema: SCHEMA,
            at: Stamp::ZERO,
            actor: "local:root".into(),
            origin: "local".into(),
            action,
            resource: Resource::Recording(RecordingId::from_bytes([1; 16])),
            reason: Some(Reason { code: "retention".into(), text: String::new() }),
            outcome,
        }
    }

    fn hold() -> Matter {
        let recordings = (0..IDS_MAX).map(|number| {
            let mut id = [0xff; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            RecordingId::from_bytes(id)
        });
        Matter::Held(Hold {
            name: "K.17".parse().unwrap(),
            scope: Scope { recordings: recordings.collect(), ..Scope::default() },
            by: "local:root".into(),
            at: Stamp::ZERO,
            reason: None,
            released: None,
        })
    }

    #[test]
    fn what_was_done_comes_back_from_the_log() {
        for (action, matter) in [(Action::Hold, hold()), (Action::Destroy, Matter::Destroyed(certificate()))]
        {
            let bytes = entry(action, matter.outcome()).to_bytes();
            assert!(bytes.len() <= crate::seal::log::ENTRY_BYTES_MAX, "{}", bytes.len());
            let read = read(3, &Entry::from_bytes(&bytes).unwrap()).unwrap();
            assert_eq!(read, Some(Said::Done(matter)));
        }
        let id = RecordingId::from_bytes([1; 16]);
        let begun = read(3, &entry(Action::Destroy, Outcome::Granted)).unwrap();
        assert_eq!(begun, Some(Said::Begun(vec![id])));
        let ended = read(3, &entry(Action::Destroy, Outcome::Failed(String::new()))).unwrap();
        assert_eq!(ended, Some(Said::Ended(vec![id])));
        assert_eq!(read(3, &entry(Action::Hold, Outcome::Granted)).unwrap(), None);
        let other = serde_json::json!({ "bytes": 7 });
        assert_eq!(read(3, &entry(Action::Open, Outcome::Done(other))).unwrap(), None);
    }

    /// It may be a hold.
    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        let strange = serde_json::json!({ "held": { "name": "K.17", "x": 1 } });
        assert!(read(3, &entry(Action::Hold, Outcome::Done(strange))).is_err());
        assert!(read(3, &entry(Action::ReleaseHold, hold().outcome())).is_err());
    }
}
