//! A review: whether the archive is as it should be, told by what is known of it.
//!
//! ```text
//! facts (the shell gathers them) ─► one check after the other ─► findings: state, evidence, remedy ─► text, JSON, report
//! ```
//!
//! What could not be found out is told as that, and is never taken for well. Nothing here names a party of a call.

mod digest;
mod facts;
mod keys;
mod people;
mod recorders;
pub mod report;
mod storage;
#[cfg(test)]
mod tests;
mod watch;

use serde::{Deserialize, Serialize};

use crate::archive::duties::Length;
use crate::base::time::Stamp;

pub use crate::archive::review::digest::{Digested, LOCKED, Restored};
pub use crate::archive::review::facts::{
    Advisories, CertificateFacts, CopiesFacts, CustodianFacts, Facts, KeyFacts, Known, MediumFacts,
    PlaceStands, RecorderFacts, TokenFacts, UserFacts,
};

/// From when on something is wrong: `[review]` in vault.toml. What is not said is as it is by default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How often somebody else says that a user's roles are still right.
    pub certify: Length,
    /// Tokens that end within this are told.
    pub token_ends: Length,
    /// Tokens that nobody used for this long are told.
    pub token_unused: Length,
    /// How long ago a custodian may have shown their share.
    pub drill: Length,
    /// How long ago the self-test of a place that is to be WORM may have been.
    pub worm_test: Length,
    /// How long a recording may have too few copies.
    pub copies: Length,
    /// How long ago a sample may have been restored from a place.
    pub restore_test: Length,
    /// How long ago a copy may have been read.
    pub scrub: Length,
    /// How long what may be destroyed may stay.
    pub destruction: Length,
    /// Certificates that end within this are told.
    pub certificate: Length,
    /// How long nothing may come of a recorder.
    pub recorder: Length,
    /// Recordings that one person may begin to hear in an hour.
    pub plays_an_hour: u32,
    /// Recordings that each reviewer looks at in a quarter.
    pub sample: u32,
    /// What `cargo audit --json` said of this program's release; relative to the vault's home.
    pub advisories: Option<std::path::PathBuf>,
    /// How old that may be.
    pub advisories_age: Length,
}

impl Default for Limits {
    fn default() -> Self {
        let days = |count: u64| Length(std::time::Duration::from_secs(count * 86_400));
        Self {
            certify: days(90),
            token_ends: days(14),
            token_unused: days(30),
            drill: days(365),
            worm_test: days(1),
            copies: days(1),
            restore_test: days(7),
            scrub: days(35),
            destruction: days(1),
            certificate: days(30),
            recorder: days(1),
            plays_an_hour: 20,
            sample: 10,
            advisories: None,
            advisories_age: days(7),
        }
    }
}

impl Limits {
    /// What is wrong with them; nothing where they are of use.
    pub fn fault(&self) -> Option<String> {
        if self.plays_an_hour == 0 {
            return Some("`plays_an_hour` of [review] is 1 or more".into());
        }
        let many = self.sample > SAMPLE_MAX;
        many.then(|| format!("`sample` of [review] is {SAMPLE_MAX} at most: people hear what is in it"))
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not as it should be.
    Fails,
    /// Somebody has to see to it, and soon.
    Attention,
    /// Nobody here can know it.
    Unknown,
    /// It is as it should be.
    Ok,
}

impl State {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Fails, Self::Attention, Self::Unknown, Self::Ok];

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Attention => "attention",
            Self::Unknown => "unknown",
            Self::Ok => "ok",
        }
    }
}

/// The same in two languages.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// English.
    pub en: String,
    /// Polish.
    pub pl: String,
}

impl Text {
    /// Both.
    pub fn new(en: impl Into<String>, pl: impl Into<String>) -> Self {
        Self { en: en.into(), pl: pl.into() }
    }

    /// What is a command, or the word of something else: the same in both.
    pub fn same(text: impl Into<String>) -> Self {
        let en = text.into();
        Self { pl: en.clone(), en }
    }
}

/// What a check has found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check: stable, for programs.
    pub id: String,
    /// The same for people.
    pub title: Text,
    /// On what: a place, a recorder; empty where it is on all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub evidence: Text,
    /// From where that is known.
    pub source: Text,
    /// Of when that is.
    pub at: Option<Stamp>,
    /// What to do, or to type; empty where there is nothing to do.
    pub remedy: Text,
}

/// All findings.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Public key of the vault's log.
    pub vault: String,
    /// When.
    pub at: Stamp,
    /// Program and version.
    pub tool: String,
    /// Entries that the vault's log had.
    pub log_size: u64,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl Review {
    /// How many stand so.
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }

    /// Whether nothing fails.
    pub fn is_well(&self) -> bool {
        self.count(State::Fails) == 0
    }
}

/// Looks at everything.
pub fn review(facts: &Facts, limits: &Limits) -> Review {
    let mut findings = people::findings(facts, limits);
    findings.extend(keys::findings(facts, limits));
    findings.extend(storage::findings(facts, limits));
    findings.extend(recorders::findings(facts, limits));
    findings.extend(watch::findings(facts, limits));
    // Stable: of those that stand alike, as they were looked at.
    findings.sort_by_key(|finding| finding.state);
    Review {
        schema: SCHEMA,
        vault: facts.vault.clone(),
        at: facts.now,
        tool: facts.tool.clone(),
        log_size: facts.log.size,
        findings,
    }
}

/// One check: what it is called, and where its facts are from.
#[derive(Clone, Copy)]
struct Check {
    id: &'static str,
    title: (&'static str, &'static str),
    source: (&'static str, &'static str),
    remedy: (&'static str, &'static str),
}

impl Check {
    fn found(&self, state: State, evidence: Text, at: Option<Stamp>) -> Finding {
        let text = |(en, pl): (&str, &str)| Text::new(en, pl);
        let remedy = if state == State::Ok { Text::default() } else { text(self.remedy) };
        Finding {
            id: self.id.into(),
            title: text(self.title),
            subject: String::new(),
            state,
            evidence,
            source: text(self.source),
            at,
            remedy,
        }
    }

    /// Of one place, recorder and the like.
    fn found_of(&self, subject: &str, state: State, evidence: Text, at: Option<Stamp>) -> Finding {
        Finding { subject: subject.into(), ..self.found(state, evidence, at) }
    }

    /// Why nobody knows, as something else has said it.
    fn unknown(&self, why: &str) -> Finding {
        self.unknown_in(why, why)
    }

    /// The same in both languages.
    fn unknown_in(&self, en: &str, pl: &str) -> Finding {
        self.found(
            State::Unknown,
            Text::new(format!("cannot be known: {en}"), format!("nie wiadomo: {pl}")),
            None,
        )
    }
}

/// `2026-11-23 21:08 UTC`.
fn minute(at: Stamp) -> String {
    format!("{} UTC", at.to_string().get(..16).unwrap_or_default().replace('T', " "))
}

/// The first, and how many more there are.
fn few(names: &[String]) -> Text {
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => Text::same(shown),
        more => Text::new(format!("{shown} and {more} more"), format!("{shown} i jeszcze {more}")),
    }
}

/// Whether something of `at` is older than it may be; what comes from the future is not young.
fn is_old(at: Stamp, now: Stamp, length: Length) -> bool {
    at > now.after(SKEW) || now.since(at) > length.0
}

/// The schema that [`Review`] is.
pub const SCHEMA: u32 = 1;
/// Recordings that one person looks at in a quarter, at most.
pub const SAMPLE_MAX: u32 = 500;
const SHOWN_MAX: usize = 5;
const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
