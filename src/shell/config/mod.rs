//! The configuration of a recorder: one TOML file.
//!
//! ```text
//! file ─Config::load─► Config: sections as written, rules compiled, recipients tried
//!                └───► Oddity…: legal, and probably not meant
//! Config::diff(old, new) ─► Change…: what a SIGHUP changes, and what only a restart does
//! ```
//!
//! A key that is not known is refused, by its line and with the nearest that is. `deploy/sejf.toml` names
//! every key with its default, and a test holds it to that.

mod check;
mod diff;
mod error;
mod sections;
mod units;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use ring::digest;

use crate::base::limits::{CALLS_MAX, FRAME_BYTES_MAX};
use crate::recording::rules::{self, Action, Place, Rule, RuleError, RuleSet, Settings, TrunkSpec, nearest};
use crate::seal::recipient::Recipients;
pub use crate::shell::config::check::{Oddity, shorten};
pub use crate::shell::config::diff::Change;
pub use crate::shell::config::error::{ConfigError, ConfigFault};
pub use crate::shell::config::sections::{
    Canary, Capture, Control, Journal, Level, Limits, Log, LogFormat, Metrics, Recorder, Sections, Timestamps,
};
pub use crate::shell::config::units::{Listen, Mode, Size, Time, UnitError};
use crate::shell::keys;

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read.
    pub path: PathBuf,
    /// The tables, as written and with defaults.
    pub sections: Sections,
    /// Trunks and rules, compiled.
    pub rules: RuleSet,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

impl Config {
    /// Reads a file, and says what is odd about it on this machine.
    pub fn load(path: &Path) -> Result<(Self, Vec<Oddity>), ConfigError> {
        let read = |source| at(path, ConfigFault::Read(source));
        let length = std::fs::metadata(path).map_err(read)?.len();
        if length > FILE_BYTES_MAX as u64 {
            let have = usize::try_from(length).unwrap_or(usize::MAX);
            return Err(at(path, ConfigFault::TooLong { have, max: FILE_BYTES_MAX }));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let config = Self::parse(path, &text)?;
        let oddities = config.oddities(check::interfaces().as_deref());
        Ok((config, oddities))
    }

    /// Reads the text of a file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let sections: Sections = toml::from_str(text).map_err(|error| {
            let (line, key, fault) = error::from_toml(&error, text);
            ConfigError { path: path.into(), line, key, fault: fault.into() }
        })?;
        let found = |place: (&str, usize, &str), fault: ConfigFault| {
            let (section, nth, key) = place;
            let line = error::locate(text, section, nth, key);
            let name = if key.is_empty() { section.into() } else { format!("{section}.{key}") };
            ConfigError { path: path.into(), line, key: Some(name), fault: fault.into() }
        };
        check::bounds(&sections).map_err(|(section, nth, key, fault)| found((section, nth, key), *fault))?;
        let revision = sections.recorder.revision;
        let zone = |name: &str| TimeZone::get(name).ok();
        let rules = RuleSet::new(&sections.trunk, &sections.rule, revision, &zone).map_err(|error| {
            let (section, nth) = section_of(&error);
            found((section, nth, ""), ConfigFault::Rule(error))
        })?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let config = Self { path: path.into(), sections, rules, sha256 };
        config.check_groups().map_err(|(name, fault)| found(("recipients", 0, &name), fault))?;
        config.check_rules().map_err(|(nth, fault)| found(("rule", nth, "recipients"), fault))?;
        Ok(config)
    }

    /// Those who can open what `settings` records.
    pub fn recipients(&self, settings: &Settings<'_>) -> Result<Recipients, ConfigFault> {
        let texts = self.recipient_texts("the rule", settings)?;
        parse_recipients("the rule", &texts)
    }

    /// Those who can open the journal, which has parts of all calls: the group `default`, else everybody.
    pub fn journal_recipients(&self) -> Result<Recipients, ConfigFault> {
        let groups = &self.sections.recipients;
        let mut texts = match groups.get(DEFAULT_GROUP) {
            Some(group) => group.to_vec(),
            None => groups.values().flat_map(|group| group.to_vec()).collect(),
        };
        texts.sort();
        texts.dedup();
        parse_recipients("the journal", &texts)
    }

    /// Recipients as text, groups spelled out, each once.
    fn recipient_texts(&self, what: &str, settings: &Settings<'_>) -> Result<Vec<String>, ConfigFault> {
        let groups = &self.sections.recipients;
        if settings.recipients.is_empty() {
            let all = groups.get(DEFAULT_GROUP).map(|group| group.to_vec());
            return all.ok_or_else(|| ConfigFault::Nobody { what: what.into() });
        }
        let mut texts: Vec<String> = Vec::new();
        for name in settings.recipients {
            let these = match groups.get(name) {
                Some(group) => group.to_vec(),
                None if name.starts_with("age1") || name.starts_with("ssh-") => vec![name.clone()],
                None => {
                    let near = nearest(name, groups.keys().map(String::as_str)).map(String::from);
                    return Err(ConfigFault::UnknownGroup { what: what.into(), name: name.clone(), near });
                }
            };
            for text in these {
                // Groups may overlap: who is in both can open, once.
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
        Ok(texts)
    }

    /// Tries each group by itself, also those that nobody uses yet.
    fn check_groups(&self) -> Result<(), (String, ConfigFault)> {
        for (name, group) in &self.sections.recipients {
            let mut texts = group.to_vec();
            // Twice in one group is odd, and said as such.
            texts.sort();
            texts.dedup();
            parse_recipients(&format!("group `{name}`"), &texts).map_err(|fault| (name.clone(), fault))?;
        }
        Ok(())
    }

    /// Tries the recipients of each rule on each trunk that its calls may be of.
    fn check_rules(&self) -> Result<(), (usize, ConfigFault)> {
        for (index, rule) in self.rules.rules().iter().enumerate() {
            for trunk in self.trunks_of(rule) {
                self.check_rule(rule, trunk).map_err(|fault| (index, fault))?;
            }
        }
        Ok(())
    }

    fn check_rule(&self, rule: &Rule, trunk: Option<&TrunkSpec>) -> Result<(), ConfigFault> {
        if rule.spec().action == Action::Exclude {
            return Ok(());
        }
        let what = match trunk {
            Some(trunk) if rule.spec().trunk.is_none() => {
                format!("rule `{}` on trunk `{}`", rule.name(), trunk.name)
            }
            _ => format!("rule `{}`", rule.name()),
        };
        let texts = self.recipient_texts(&what, &rules::settings(rule, trunk))?;
        let recipients = parse_recipients(&what, &texts)?;
        if recipients.len() < 2 && !self.sections.recorder.allow_single_recipient {
            return Err(ConfigFault::OneRecipient { what });
        }
        Ok(())
    }

    /// Trunks that calls of a rule may be of; none where they may be of none.
    fn trunks_of(&self, rule: &Rule) -> Vec<Option<&TrunkSpec>> {
        let trunks = self.rules.trunks();
        match &rule.spec().trunk {
            Some(name) => vec![trunks.iter().find(|trunk| trunk.name == *name)],
            None => std::iter::once(None).chain(trunks.iter().map(Some)).collect(),
        }
    }

    /// What is legal and probably not meant. `interfaces` are those of this machine, where they are known.
    pub fn oddities(&self, interfaces: Option<&[String]>) -> Vec<Oddity> {
        check::oddities(self, interfaces)
    }

    /// What is other in `new`.
    pub fn diff(old: &Self, new: &Self) -> Vec<Change> {
        diff::diff(&old.sections, &new.sections)
    }
}

fn at(path: &Path, fault: ConfigFault) -> ConfigError {
    ConfigError { path: path.into(), line: None, key: None, fault: fault.into() }
}

fn section_of(error: &RuleError) -> (&'static str, usize) {
    match error.place {
        Place::Rule(index, _) => ("rule", index),
        Place::Trunk(index, _) => ("trunk", index),
    }
}

fn parse_recipients(what: &str, texts: &[String]) -> Result<Recipients, ConfigFault> {
    keys::recipients(texts, &[]).map_err(|source| ConfigFault::Recipient { what: what.into(), source })
}

/// Where the configuration is, if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/sejf/sejf.toml";
/// The sample: every key, with its default.
pub const SAMPLE: &str = include_str!("../../../deploy/sejf.toml");
/// Group of recipients where neither rule nor trunk names any.
pub const DEFAULT_GROUP: &str = "default";
/// Longest file.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Bounds that other parts of the program have.
const _: () = assert!(CALLS_MAX >= 100_000 && FRAME_BYTES_MAX >= 65_535);

#[cfg(test)]
mod tests;
