//! Requests for exports that nobody makes alone: one asks, another agrees, then it may be made, once.
//!
//! ```text
//! asked ───another person agrees───► agreed ──exported──► made
//!   └────────────withdrawn──────────────┴──► withdrawn
//! ```
//!
//! The log is where they are kept, and all that there is to read of them: [`Requests::read`] goes through its entries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::archive::access::{Action, NOTE_BYTES_MAX, Reason};
use crate::archive::bundle::Form;
use crate::archive::certificate::cut;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::person::Person;
use crate::archive::record::RecordingId;
use crate::archive::request::Agreement;
use crate::base::time::Stamp;

/// What somebody wants to give away.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// Number of the log's entry that let it be asked: one request's for ever.
    pub number: u64,
    /// Who asked.
    pub by: Person,
    /// Under which account.
    pub actor: String,
    /// When.
    pub at: Stamp,
    /// Which recordings: at most [`RECORDINGS_MAX`].
    pub recordings: Vec<RecordingId>,
    /// Who they are for.
    pub receiver: String,
    /// The receiver's keys; with none, they are given in the open.
    pub recipients: Vec<String>,
    /// Why.
    pub reason: Reason,
}

/// What the log says of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Asked {
    /// What was asked for.
    pub request: ExportRequest,
    /// Who agreed, and when.
    pub agreed: Option<Agreement>,
    /// When it was taken back.
    pub withdrawn: Option<Stamp>,
    /// When its bundle was made.
    pub made: Option<Stamp>,
}

/// What was done, as its entry has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Word {
    /// It was asked for.
    ExportAsked(ExportRequest),
    /// A second person agreed.
    ExportAgreed {
        /// To which request.
        request: u64,
        /// Who, and when.
        agreement: Agreement,
    },
    /// It was taken back.
    ExportWithdrawn {
        /// Which.
        request: u64,
        /// When.
        at: Stamp,
    },
}

/// Requests, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Requests(pub BTreeMap<u64, Asked>);

/// Leave to make one bundle: there is none without a second person. Cannot be copied.
#[derive(Debug)]
pub struct Approved(ExportRequest);

/// Why a request gets nobody further.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is none.
    #[error("there is no request {0} for an export: see `sejf export list`")]
    Unknown(u64),
    /// They have asked themselves.
    #[error("request {number} is of {by}: another person has to agree")]
    Own {
        /// The request.
        number: u64,
        /// Whose.
        by: Person,
    },
    /// Nobody showed a key.
    #[error("this takes a custodian's key, and the keys that were given open no share: name it with -i")]
    NoCustodian,
    /// Somebody has.
    #[error("{by} has agreed to request {number} already")]
    Agreed {
        /// The request.
        number: u64,
        /// Who.
        by: Person,
    },
    /// Nobody has.
    #[error("nobody has agreed to request {0} yet: another custodian does with `sejf export approve`")]
    Unagreed(u64),
    /// It was taken back.
    #[error("request {0} was withdrawn: ask again")]
    Withdrawn(u64),
    /// It counts once.
    #[error("the bundle of request {0} was made already: ask again")]
    Made(u64),
    /// More than one entry holds.
    #[error("{0} recordings, and one request takes at most {RECORDINGS_MAX}: ask in several")]
    Many(usize),
    /// Nothing to give.
    #[error("name the recordings that are to be given away")]
    Nothing,
}

impl Word {
    /// For the log.
    pub fn outcome(&self) -> Outcome {
        Outcome::Done(serde_json::to_value(self).expect("no maps with keys that are not text"))
    }
}

impl Requests {
    /// Takes an entry of the log in, where it is of a request.
    pub fn read(&mut self, entry: &Entry) {
        let Outcome::Done(value) = &entry.outcome else { return };
        match entry.action {
            Action::AskExport | Action::ApproveExport => {
                let Ok(word) = serde_json::from_value::<Word>(value.clone()) else { return };
                self.take(entry.action, word);
            }
            Action::Export => {
                let number = value.get(REQUEST_WORD).and_then(serde_json::Value::as_u64);
                if let Some(asked) = number.and_then(|number| self.0.get_mut(&number)) {
                    asked.made.get_or_insert(entry.at);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, action: Action, word: Word) {
        match (action, word) {
            (Action::AskExport, Word::ExportAsked(request)) => {
                let asked = Asked { request, agreed: None, withdrawn: None, made: None };
                self.0.entry(asked.request.number).or_insert(asked);
            }
            (Action::ApproveExport, Word::ExportAgreed { request, agreement }) => {
                let asked = self.0.get_mut(&request).filter(|asked| asked.withdrawn.is_none());
                // Whatever somebody has written there, nobody agrees with themselves. That it came after it was asked
                // for the log's order shows, whatever the clocks said.
                if let Some(asked) = asked.filter(|asked| !agreement.by.is(&asked.request.by)) {
                    asked.agreed.get_or_insert(agreement);
                }
            }
            (Action::AskExport, Word::ExportWithdrawn { request, at }) => {
                if let Some(asked) = self.0.get_mut(&request) {
                    asked.withdrawn.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    /// The request of that number.
    pub fn get(&self, number: u64) -> Result<&Asked, RequestError> {
        self.0.get(&number).ok_or(RequestError::Unknown(number))
    }
}

impl Asked {
    /// Which of `people`, who have shown that they are here, can agree.
    pub fn approver<'a>(&self, people: &'a [Person]) -> Result<&'a Person, RequestError> {
        let (number, by) = (self.request.number, &self.request.by);
        self.is_open()?;
        if let Some(agreed) = &self.agreed {
            return Err(RequestError::Agreed { number, by: agreed.by.clone() });
        }
        match people.iter().find(|person| !person.is(by)) {
            Some(other) => Ok(other),
            None if people.is_empty() => Err(RequestError::NoCustodian),
            None => Err(RequestError::Own { number, by: by.clone() }),
        }
    }

    /// Leave to make its bundle.
    pub fn approved(&self) -> Result<Approved, RequestError> {
        self.is_open()?;
        match &self.agreed {
            Some(_) => Ok(Approved(self.request.clone())),
            None => Err(RequestError::Unagreed(self.request.number)),
        }
    }

    /// Whether it counts still.
    pub fn is_open(&self) -> Result<(), RequestError> {
        let number = self.request.number;
        match (self.withdrawn, self.made) {
            (Some(_), _) => Err(RequestError::Withdrawn(number)),
            (None, Some(_)) => Err(RequestError::Made(number)),
            (None, None) => Ok(()),
        }
    }
}

impl Approved {
    /// What may be made.
    pub fn request(&self) -> &ExportRequest {
        &self.0
    }

    /// Whether that is this.
    pub fn covers(&self, ids: &[RecordingId], receiver: &str, form: Form) -> bool {
        let (mut asked, mut given) = (self.0.recordings.clone(), ids.to_vec());
        asked.sort_unstable();
        given.sort_unstable();
        let asked_form = if self.0.recipients.is_empty() { Form::Plain } else { Form::Sealed };
        asked == given && self.0.receiver == receiver && asked_form == form
    }
}

impl ExportRequest {
    /// Whether it can be asked for.
    pub fn fits(recordings: usize) -> Result<(), RequestError> {
        match recordings {
            0 => Err(RequestError::Nothing),
            count if count > RECORDINGS_MAX => Err(RequestError::Many(count)),
            _ => Ok(()),
        }
    }

    /// The reason of the export at its word.
    pub fn because(&self) -> Reason {
        let text = format!("request {}: {}", self.number, cut(&self.reason.text, NOTE_BYTES_MAX - 32));
        Reason { code: self.reason.code.clone(), text: text.trim_end_matches([':', ' ']).to_owned() }
    }
}

/// Recordings that `actor` gives away at nobody else's word, by entries of the log in their order.
///
/// What was granted counts until it is said that it failed: who is killed while it is being made may have it all. What
/// was sent in part counts as given, at whoever's word: who breaks it off has what came before.
pub fn given_alone<'a>(entries: impl IntoIterator<Item = &'a Entry>, actor: &str) -> u64 {
    let (mut under_way, mut given) = (Vec::<&Entry>::new(), 0);
    let exports = entries.into_iter().filter(|entry| entry.action == Action::Export && entry.actor == actor);
    for entry in exports {
        let is_of_it =
            |granted: &&Entry| granted.resource == entry.resource && granted.reason == entry.reason;
        let began = under_way.iter().rposition(is_of_it);
        let is_over = matches!(entry.outcome, Outcome::Failed(_) | Outcome::Done(_));
        // One that began before these entries takes nothing away from others.
        if let Some(at) = began.filter(|_| is_over) {
            let granted = under_way.remove(at);
            if matches!(&entry.outcome, Outcome::Failed(why) if why.starts_with(PARTLY)) {
                given += count(&granted.resource);
            }
        }
        match &entry.outcome {
            Outcome::Granted => under_way.push(entry),
            Outcome::Done(value) if value.get(REQUEST_WORD).is_none() => given += count(&entry.resource),
            Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Done(_) => {}
        }
    }
    given + under_way.iter().map(|granted| count(&granted.resource)).sum::<u64>()
}

fn count(resource: &Resource) -> u64 {
    match resource {
        Resource::Recording(_) => 1,
        Resource::Recordings { count, .. } => *count,
        _ => 0,
    }
}

/// How the outcome of an export begins of which a part was sent.
pub const PARTLY: &str = "a part of it was sent: ";
/// Where the outcome of an export has the number of its request.
pub const REQUEST_WORD: &str = "request";
/// Recordings of one request: what fits into an entry.
pub const RECORDINGS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::entry::SCHEMA;
    use crate::seal::log::ENTRY_BYTES_MAX;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    fn name(text: &str) -> Person {
        text.parse().unwrap()
    }

    fn ids(count: usize) -> Vec<RecordingId> {
        let id = |number: usize| {
            let mut bytes = [0xff; 16];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            RecordingId::from_bytes(bytes)
        };
        (0..count).map(id).collect()
    }

    fn request(count: usize) -> ExportRequest {
        ExportRequest {
            number: 7,
            by: name("ewa"),
            actor: "local:root".into(),
            at: at(100),
            recordings: ids(count),
            receiver: "Sąd".into(),
            recipients: Vec::new(),
            reason: Reason { code: "court-order".into(), text: "II K 12/26".into() },
        }
    }

    fn entry(action: Action, outcome: Outcome) -> Entry {
        Entry {
            schema: SCHEMA,
            at: at(500),
            actor: "local:root".into(),
            origin: "local".into(),
            action,
            resource: Resource::of(&ids(3)),
            reason: None,
            outcome,
        }
    }

    fn said(words: &[(Action, Word)]) -> Requests {
        let mut requests = Requests::default();
        for (action, word) in words {
            // As it comes back from the log.
            let bytes = entry(*action, word.outcome()).to_bytes();
            assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
            requests.read(&Entry::from_bytes(&bytes).unwrap());
        }
        requests
    }

    fn asked() -> (Action, Word) {
        (Action::AskExport, Word::ExportAsked(request(RECORDINGS_MAX)))
    }

    fn agreed(by: &str, seconds: u64) -> (Action, Word) {
        let agreement = Agreement { by: name(by), actor: "local:root".into(), at: at(seconds) };
        (Action::ApproveExport, Word::ExportAgreed { request: 7, agreement })
    }

    #[test]
    fn it_takes_two_and_counts_once() {
        let mut requests = said(&[asked()]);
        let open = requests.get(7).unwrap();
        assert_eq!(open.approved().unwrap_err(), RequestError::Unagreed(7));
        assert!(matches!(open.approver(&[name("ewa")]), Err(RequestError::Own { .. })));
        assert_eq!(open.approver(&[]), Err(RequestError::NoCustodian));
        assert_eq!(open.approver(&[name("ewa"), name("jan")]), Ok(&name("jan")));
        requests = said(&[asked(), agreed("jan", 101)]);
        let open = requests.get(7).unwrap();
        let approved = open.approved().unwrap();
        assert!(approved.covers(&ids(RECORDINGS_MAX), "Sąd", Form::Plain));
        assert!(!approved.covers(&ids(RECORDINGS_MAX - 1), "Sąd", Form::Plain));
        assert!(!approved.covers(&ids(RECORDINGS_MAX), "another", Form::Plain));
        assert!(!approved.covers(&ids(RECORDINGS_MAX), "Sąd", Form::Sealed));
        assert!(matches!(open.approver(&[name("ola")]), Err(RequestError::Agreed { .. })));
        requests.read(&entry(Action::Export, Outcome::Failed("no disk".into())));
        assert!(requests.get(7).unwrap().approved().is_ok());
        requests.read(&entry(Action::Export, Outcome::Done(serde_json::json!({ REQUEST_WORD: 7 }))));
        assert_eq!(requests.get(7).unwrap().approved().unwrap_err(), RequestError::Made(7));
        assert_eq!(requests.get(8).unwrap_err(), RequestError::Unknown(8));
    }

    /// Whatever stands in the log, in whatever entry.
    #[test]
    fn nobody_agrees_with_themselves_or_unasked_or_after_it_was_taken_back() {
        let withdrawn = (Action::AskExport, Word::ExportWithdrawn { request: 7, at: at(101) });
        let as_asker = (Action::AskExport, agreed("jan", 101).1);
        for words in [
            vec![asked(), agreed("ewa", 101)],
            vec![agreed("jan", 101), asked()],
            vec![asked(), as_asker],
            vec![asked(), withdrawn.clone(), agreed("jan", 102)],
            vec![asked(), agreed("jan", 101), withdrawn],
        ] {
            assert!(said(&words).get(7).unwrap().approved().is_err(), "{words:?}");
        }
        // A clock that was set back takes nothing away that was said.
        assert!(said(&[asked(), agreed("jan", 99)]).get(7).unwrap().approved().is_ok());
        // Asked for again under the same number, it is what it was.
        let mut other = request(1);
        other.receiver = "another".into();
        let twice = said(&[asked(), agreed("jan", 101), (Action::AskExport, Word::ExportAsked(other))]);
        assert_eq!(twice.get(7).unwrap().request.receiver, "Sąd");
    }

    #[test]
    fn what_is_given_alone_is_counted() {
        let done = |value| entry(Action::Export, Outcome::Done(value));
        let alone = |entries: &[Entry]| given_alone(entries, "local:root");
        let (granted, plain) =
            (entry(Action::Export, Outcome::Granted), serde_json::json!({ "form": "plain" }));
        let failed = entry(Action::Export, Outcome::Failed("no disk".into()));
        let (plain, at_anothers) = (done(plain), done(serde_json::json!({ REQUEST_WORD: 7 })));
        assert_eq!(alone(&[granted.clone(), plain.clone()]), 3);
        assert_eq!(given_alone(&[granted.clone(), plain.clone()], "local:jan"), 0);
        assert_eq!(alone(&[granted.clone(), at_anothers.clone()]), 0);
        assert_eq!(alone(&[granted.clone(), failed.clone()]), 0);
        // Killed before it could say how it went, once and again.
        assert_eq!(alone(&[granted.clone(), granted.clone()]), 6);
        assert_eq!(alone(&[granted.clone(), granted.clone(), failed.clone(), at_anothers]), 0);
        // Of what began before these entries the outcome alone is there.
        assert_eq!(alone(std::slice::from_ref(&plain)), 3);
        assert_eq!(alone(&[failed.clone(), granted.clone()]), 3);
        // It was given away, whatever came of it later.
        assert_eq!(alone(&[granted.clone(), plain, failed.clone()]), 3);
        // Who breaks it off has most of it, and takes nothing off by asking again.
        let partly = entry(Action::Export, Outcome::Failed(format!("{PARTLY}broken pipe")));
        let broken_off = [granted.clone(), partly.clone()];
        assert_eq!(alone(&broken_off), 3);
        assert_eq!(alone(&[&broken_off[..], &[granted.clone(), failed.clone()]].concat()), 3);
        assert_eq!(alone(&[&broken_off[..], &broken_off[..]].concat()), 6);
        assert_eq!(alone(&[granted.clone(), done(serde_json::json!({})), partly]), 3, "once");
        // One that fails takes away itself alone.
        let other = Entry { resource: Resource::of(&ids(1)), ..granted.clone() };
        assert_eq!(alone(&[granted, other, failed]), 1);
        assert!(ExportRequest::fits(0).is_err() && ExportRequest::fits(RECORDINGS_MAX + 1).is_err());
        let long =
            ExportRequest { reason: Reason { code: "audit".into(), text: "ż".repeat(600) }, ..request(1) };
        assert!(
            long.because().text.len() <= NOTE_BYTES_MAX && long.because().text.starts_with("request 7: ż")
        );
    }
}
