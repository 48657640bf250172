//! Requests for destruction: one asks, another agrees, or the first one has time to take it back.
//!
//! ```text
//! asked ──another custodian agrees──► agreed ─► what it covers is destroyed when retention lets it
//!   ├────cooling-off time is over───► agreed
//!   └────────────withdrawn──────────► withdrawn, at any time
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::access::{NOTE_BYTES_MAX, Reason};
use crate::archive::certificate::cut;
use crate::archive::class::{Approval, COOLING_OFF_DAYS};
use crate::archive::epoch::Epoch;
use crate::archive::person::Person;
use crate::archive::scope::Scope;
use crate::base::time::Stamp;

/// A request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Number of the log's entry that let it be asked: one request's for ever.
    pub number: u64,
    /// Who asked.
    pub by: Person,
    /// Under which account.
    pub actor: String,
    /// When.
    pub at: Stamp,
    /// Of which recordings.
    pub scope: Scope,
    /// When they may go.
    pub what: What,
    /// Only recordings that may go by then, and of an erasure before its time, that have ended by then; with none, also
    /// those that come to it later.
    pub due_by: Option<Stamp>,
    /// Why.
    pub reason: Reason,
    /// Who agreed, and when.
    pub agreed: Option<Agreement>,
    /// When it was taken back.
    pub withdrawn: Option<Stamp>,
}

/// A second person's word.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Who.
    pub by: Person,
    /// Under which account.
    pub actor: String,
    /// When.
    pub at: Stamp,
}

/// When recordings may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// When their time is over: `keep_max`, or `keep_min` of a class that has no other.
    Due,
    /// As soon as `keep_min` is over: they are no longer needed.
    Unneeded,
    /// The person whose data it is has asked (GDPR article 17). Before `keep_min` only where the class says so.
    Erasure,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Somebody has to agree.
    AwaitsApproval,
    /// May be taken back until then.
    CoolsOff(Stamp),
    /// It counts.
    Agreed,
    /// It does not.
    Withdrawn,
}

/// Why nobody can agree to a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// They have asked themselves.
    #[error("request {number} is of {by}: another person has to agree")]
    Own {
        /// The request.
        number: u64,
        /// Whose.
        by: Person,
    },
    /// It was taken back.
    #[error("request {number} was withdrawn: ask again")]
    Withdrawn {
        /// The request.
        number: u64,
    },
    /// Somebody has.
    #[error("{by} has agreed to request {number} already")]
    Agreed {
        /// The request.
        number: u64,
        /// Who.
        by: Person,
    },
}

impl Request {
    /// Whether one of `people`, who have shown that they are here, can agree, and who.
    pub fn approver<'a>(&self, people: &'a [Person]) -> Result<Option<&'a Person>, ApprovalError> {
        let number = self.number;
        if self.withdrawn.is_some() {
            return Err(ApprovalError::Withdrawn { number });
        }
        if let Some(agreed) = &self.agreed {
            return Err(ApprovalError::Agreed { number, by: agreed.by.clone() });
        }
        match people.iter().find(|person| !person.is(&self.by)) {
            None if !people.is_empty() => Err(ApprovalError::Own { number, by: self.by.clone() }),
            other => Ok(other),
        }
    }

    /// The reason of what is done at its word: what a grant says of it, read by [`number_in`].
    pub fn because(&self, epoch: &Epoch) -> Reason {
        let text = format!("{AT_WORD}{} of {epoch}: {}", self.number, cut(&self.reason.text, NOTE_BYTES_MAX));
        Reason { code: self.reason.code.clone(), text: text.trim_end_matches([':', ' ']).to_owned() }
    }

    /// How far it has come by `now`, for a class that takes `approval`.
    pub fn standing(&self, approval: Approval, now: Stamp) -> Standing {
        if self.withdrawn.is_some() {
            return Standing::Withdrawn;
        }
        let is_agreed =
            |agreed: &Agreement| !agreed.by.is(&self.by) && self.at <= agreed.at && agreed.at <= now;
        if self.at <= now && self.agreed.as_ref().is_some_and(is_agreed) {
            return Standing::Agreed;
        }
        match approval {
            Approval::FourEyes => Standing::AwaitsApproval,
            Approval::CoolingOff => {
                let over = self.at.after(COOLING_OFF);
                if over <= now { Standing::Agreed } else { Standing::CoolsOff(over) }
            }
        }
    }
}

/// The number of the request at whose word something was granted; nothing where it was at nobody's.
pub fn number_in(reason: &Reason) -> Option<u64> {
    reason.text.strip_prefix(AT_WORD)?.split(' ').next()?.parse().ok()
}

/// What the reason of a grant begins with.
const AT_WORD: &str = "request ";
const COOLING_OFF: Duration = Duration::from_secs(COOLING_OFF_DAYS as u64 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Person {
        text.parse().unwrap()
    }

    fn at(days: u64) -> Stamp {
        Stamp::from_unix_nanos(days * 86_400_000_000_000)
    }

    fn request() -> Request {
        Request {
            number: 7,
            by: name("ewa"),
            actor: "local:root".into(),
            at: at(100),
            scope: Scope::default(),
            what: What::Due,
            due_by: None,
            reason: Reason { code: "retention".into(), text: String::new() },
            agreed: None,
            withdrawn: None,
        }
    }

    #[test]
    fn a_grant_says_at_which_word_it_is() {
        let epoch = "calls-5y/2026-11".parse().unwrap();
        for text in ["", "T-17: x", &"ż".repeat(9_000)] {
            let request = Request {
                number: 12_345,
                reason: Reason { text: text.into(), ..request().reason },
                ..request()
            };
            let reason = request.because(&epoch);
            assert_eq!(number_in(&reason), Some(12_345), "{reason:?}");
            assert!(reason.text.len() < NOTE_BYTES_MAX + 64);
        }
        let other = Reason { code: "retention".into(), text: "calls-5y/2026-11: destroyed before".into() };
        assert_eq!(number_in(&other), None);
    }

    #[test]
    fn it_takes_two_or_time() {
        let mut request = request();
        assert_eq!(request.standing(Approval::FourEyes, at(9_000)), Standing::AwaitsApproval);
        assert_eq!(request.standing(Approval::CoolingOff, at(113)), Standing::CoolsOff(at(114)));
        assert_eq!(request.standing(Approval::CoolingOff, at(114)), Standing::Agreed);
        assert!(matches!(request.approver(&[name("ewa")]), Err(ApprovalError::Own { .. })));
        assert_eq!(request.approver(&[]), Ok(None));
        assert_eq!(request.approver(&[name("ewa"), name("jan")]), Ok(Some(&name("jan"))));
        // Whatever a database says, nobody agrees with themselves, nor before they were asked.
        for (by, day) in [("ewa", 101), ("user:ewa", 101), ("jan", 99)] {
            request.agreed = Some(Agreement { by: name(by), actor: String::new(), at: at(day) });
            assert_eq!(request.standing(Approval::FourEyes, at(200)), Standing::AwaitsApproval);
        }
        request.agreed = Some(Agreement { by: name("jan"), actor: String::new(), at: at(101) });
        assert_eq!(request.standing(Approval::FourEyes, at(100)), Standing::AwaitsApproval);
        assert_eq!(request.standing(Approval::FourEyes, at(101)), Standing::Agreed);
        assert_eq!(request.standing(Approval::CoolingOff, at(101)), Standing::Agreed);
        assert!(matches!(request.approver(&[name("ola")]), Err(ApprovalError::Agreed { .. })));
        request.withdrawn = Some(at(102));
        assert_eq!(request.standing(Approval::CoolingOff, at(900)), Standing::Withdrawn);
        assert!(matches!(request.approver(&[name("ola")]), Err(ApprovalError::Withdrawn { .. })));
    }
}
