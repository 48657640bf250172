//! Notices: what people are told without asking. Alarms, what waits for them, checks that are due, how the day was.
//!
//! ```text
//! entries of the log ─► of_entry ─┐
//! duties, review ─► conditions ───┴─► queue: merged, bounded, kept ─► batch of a channel ─► mail, webhook
//! ```
//!
//! A notice is made of our own words and of names of the vault's users, places and duties. Nothing that came from a call,
//! and nothing that a stranger typed, gets into one.

mod queue;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::archive::access::Action;
use crate::archive::duties::{Came, Duty, Standing};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::epoch::ClassName;
use crate::archive::review::LOCKED;
use crate::archive::review::{Review, State, Text};
use crate::archive::sampling::{Told, Verdict};
use crate::archive::user::UserName;
use crate::base::time::Stamp;

pub use crate::archive::notice::queue::{Batch, Channel, Outbox, Queue};
pub use crate::archive::notice::words::{body, json_body, subject};

/// What it is about: a channel may have some of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Somebody has to look now.
    Alarms,
    /// Somebody waits for a second person.
    Approvals,
    /// Something is due.
    Checks,
    /// How it stands, once a day.
    Digest,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alarms, Self::Approvals, Self::Checks, Self::Digest];
}

/// What has happened, or is so.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody reaches beyond their teams and trunks.
    BrokenGlass,
    /// Somebody hears many recordings.
    BulkListening,
    /// A sign-in was tried too often.
    Lockout,
    /// Recordings have no good copy.
    CopiesLost,
    /// A place does not keep what was written once.
    WormFailed,
    /// The clock is not believed: nothing is destroyed.
    ClockHalted,
    /// The log cannot be written: nothing is released.
    LogUnwritable,
    /// The log is not what others, or we, have seen of it.
    LogChanged,
    /// A passkey was used that is a copy of another.
    PasskeyCopied,
    /// Something that the vault does by itself is late.
    DutyLate,
    /// The same could not be done.
    DutyFailed,
    /// A reviewer says that something must not have been recorded.
    MustNotBeRecorded,
    /// Other roles, or a new second factor, are asked for.
    UserRequest,
    /// An export is asked for.
    ExportRequest,
    /// Destruction is asked for.
    DestructionRequest,
    /// Media are due.
    MediaDue,
    /// A check of the review fails.
    CheckFails,
    /// How it stands.
    Digest,
    /// Whether a channel works.
    Test,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::BrokenGlass,
        Self::BulkListening,
        Self::Lockout,
        Self::CopiesLost,
        Self::WormFailed,
        Self::ClockHalted,
        Self::LogUnwritable,
        Self::LogChanged,
        Self::PasskeyCopied,
        Self::DutyLate,
        Self::DutyFailed,
        Self::MustNotBeRecorded,
        Self::UserRequest,
        Self::ExportRequest,
        Self::DestructionRequest,
        Self::MediaDue,
        Self::CheckFails,
        Self::Digest,
        Self::Test,
    ];

    /// What it is about.
    pub fn topic(self) -> Topic {
        match self {
            Self::BrokenGlass
            | Self::BulkListening
            | Self::Lockout
            | Self::CopiesLost
            | Self::WormFailed
            | Self::ClockHalted
            | Self::LogUnwritable
            | Self::LogChanged
            | Self::PasskeyCopied
            | Self::DutyLate
            | Self::DutyFailed
            | Self::MustNotBeRecorded
            | Self::Test => Topic::Alarms,
            Self::UserRequest | Self::ExportRequest | Self::DestructionRequest => Topic::Approvals,
            Self::MediaDue | Self::CheckFails => Topic::Checks,
            Self::Digest => Topic::Digest,
        }
    }
}

/// Something to be told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// What.
    pub kind: Kind,
    /// On whom or what: a user, a duty, a number; empty where it is on all of it.
    pub subject: String,
    /// When first.
    pub first: Stamp,
    /// When last.
    pub last: Stamp,
    /// How often.
    pub count: u64,
    /// More on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
}

impl Notice {
    /// Once, at that time.
    pub fn new(kind: Kind, subject: &str, at: Stamp) -> Self {
        Self { kind, subject: plain(subject), first: at, last: at, count: 1, text: None }
    }

    /// Of two that say the same, one that says both.
    fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.count = self.count.saturating_add(other.count);
        if other.last >= self.last {
            self.last = other.last;
            self.text.clone_from(&other.text);
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.subject == other.subject
    }
}

/// Names are ours, and stay so: what is more than a name is cut.
fn plain(subject: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || " ._@:/+-".contains(*letter);
    subject.chars().filter(is_plain).take(SUBJECT_MAX).collect()
}

/// What an entry of the log is for people to be told. `index` is its number.
pub fn of_entry(index: u64, entry: &Entry) -> Option<Notice> {
    let notice = |kind, subject: &str| Some(Notice::new(kind, subject, entry.at));
    // A name that somebody typed at the door is nobody's.
    let user = || entry.actor.strip_prefix("user:").filter(|name| name.parse::<UserName>().is_ok());
    match (entry.action, &entry.outcome) {
        (Action::BreakGlass, Outcome::Done(_)) => notice(Kind::BrokenGlass, user().unwrap_or_default()),
        (Action::Open, Outcome::Done(details)) if details.get("alarm").is_some() => {
            notice(Kind::BulkListening, user().unwrap_or_default())
        }
        // Only receivers and witnesses have one of those.
        (Action::Duty, Outcome::Done(details)) if details.get("alarm").is_some() => {
            notice(Kind::LogChanged, &seen_by(details).unwrap_or_default())
        }
        (Action::ChangeOwn, Outcome::Done(details)) if details.get("alarm").is_some() => {
            notice(Kind::PasskeyCopied, user().unwrap_or_default())
        }
        (Action::SignIn, Outcome::Failed(what)) if what == LOCKED => notice(Kind::Lockout, ""),
        (Action::ManageUsers, Outcome::Done(details)) => {
            let is_asked = details.get("change").and_then(Value::as_str) == Some("ask");
            let number = details.get("number").and_then(Value::as_u64).filter(|_| is_asked)?;
            notice(Kind::UserRequest, &number.to_string())
        }
        // One that is taken back is granted of its number.
        (Action::AskExport | Action::AskDestruction, Outcome::Granted)
            if matches!(entry.resource, Resource::Request(_)) =>
        {
            None
        }
        (Action::AskExport, Outcome::Granted) => notice(Kind::ExportRequest, &index.to_string()),
        (Action::AskDestruction, Outcome::Granted) => notice(Kind::DestructionRequest, &index.to_string()),
        (Action::Judge, Outcome::Done(_)) => match Told::of(entry)? {
            Told::Verdict { verdict: Verdict::MustNotBeRecorded, .. } => {
                notice(Kind::MustNotBeRecorded, user().unwrap_or_default())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Which receiver or witness the log has an alarm of.
fn seen_by(details: &Value) -> Option<String> {
    let of = |kind: &str| {
        let name: ClassName = details.get(kind)?.as_str()?.parse().ok()?;
        Some(format!("{kind} {name}"))
    };
    of("forward").or_else(|| of("witness"))
}

/// What is so for longer: told once, again each day, and no more once it is over.
pub type Conditions = BTreeSet<(Kind, String)>;

/// What is wrong by how the duties stand, by the last review, and where the log cannot be written.
pub fn conditions(standing: &[Standing], review: Option<&Review>, is_log_broken: bool) -> Conditions {
    let mut found = Conditions::new();
    for one in standing.iter().filter(|one| !one.off) {
        let name = one.duty.to_string();
        if one.late {
            found.insert((Kind::DutyLate, name.clone()));
        }
        match one.came {
            Some(Came::Found | Came::FoundSoFar) => {
                let (kind, subject) = match one.duty {
                    Duty::Copies | Duty::Scrub => (Kind::CopiesLost, name),
                    Duty::WormTest => (Kind::WormFailed, String::new()),
                    Duty::Clock => (Kind::ClockHalted, String::new()),
                    Duty::Media => (Kind::MediaDue, String::new()),
                    // Each of its findings is told by itself.
                    Duty::Review => continue,
                    Duty::Keys | Duty::RestoreTest | Duty::DestructionPlan => (Kind::DutyFailed, name),
                };
                found.insert((kind, subject));
            }
            Some(Came::Failed | Came::CutOff) => {
                found.insert((Kind::DutyFailed, name));
            }
            _ => {}
        }
    }
    let fails = review.into_iter().flat_map(|review| &review.findings);
    for finding in fails.filter(|finding| finding.state == State::Fails) {
        if !TOLD_OTHERWISE.contains(&finding.id.as_str()) {
            let subject = format!("{} {}", finding.id, finding.subject);
            found.insert((Kind::CheckFails, plain(subject.trim())));
        }
    }
    if is_log_broken {
        found.insert((Kind::LogUnwritable, String::new()));
    }
    found
}

/// Checks that have notices of their own.
const TOLD_OTHERWISE: &[&str] = &[
    "duties",
    "clock",
    "broken-glass",
    "lockouts",
    "bulk-listening",
    "worm-test",
    "copies-lost",
    "media",
    "sampling",
];
const SUBJECT_MAX: usize = 96;
