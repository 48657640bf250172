//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::path::PathBuf;

use crate::recording::rules::{RuleError, nearest};
use crate::shell::canary;
use crate::shell::keys::KeyError;

/// Why a configuration is not taken.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The key, as `capture.snaplen`, where it is known.
    pub key: Option<String>,
    /// What is wrong.
    pub fault: Box<ConfigFault>,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// A list that must hold something is empty.
    #[error("there is no `[[capture]]`: name at least one interface")]
    NoCapture,
    /// A rule records for fewer than is allowed.
    #[error(
        "{what} records for one recipient only: if that key is lost, so are the recordings. Add a second, or set `allow_single_recipient = true` in [recorder]"
    )]
    OneRecipient {
        /// Rule or trunk.
        what: String,
    },
    /// Outside its bounds.
    #[error("`{key}` is {value}: it must be {bounds}")]
    Range {
        /// The key.
        key: &'static str,
        /// As written.
        value: String,
        /// From where to where.
        bounds: String,
    },
    /// The file cannot be read.
    #[error("reading the configuration: {0}")]
    Read(std::io::Error),
    /// A recipient makes no sense.
    #[error("{what}: {source}")]
    Recipient {
        /// The group or rule that names it.
        what: String,
        /// Why.
        source: KeyError,
    },
    /// Trunks or rules make no sense.
    #[error("{0}")]
    Rule(RuleError),
    /// Not TOML, or not what a key takes.
    #[error("{0}")]
    Syntax(String),
    /// The file is longer than any configuration.
    #[error("the file has {have} bytes, more than {max}")]
    TooLong {
        /// Bytes there are.
        have: usize,
        /// Most there may be.
        max: usize,
    },
    /// The name of a trunk is the recorder's own.
    #[error("the trunk `{}` is the recorder's own, for its canary calls: choose another name", canary::TRUNK)]
    TrunkTaken,
    /// The same interface twice.
    #[error("interface `{interface}` is captured twice: its packets would be too")]
    Twice {
        /// The interface.
        interface: String,
    },
    /// No recipients and no default ones.
    #[error(
        "{what} records for nobody: name `recipients`, or make a group `default` in [recipients] (`sejf keygen` makes a key pair)"
    )]
    Nobody {
        /// The rule.
        what: String,
    },
    /// A key that there is not.
    #[error("there is no key `{key}`{}{}", .near.as_deref().map(|near| format!(": did you mean `{near}`?")).unwrap_or_default(), possible(.near.as_deref(), .known))]
    UnknownKey {
        /// As written.
        key: String,
        /// One with nearly this name.
        near: Option<String>,
        /// Those that may stand there.
        known: Vec<String>,
    },
    /// Neither a group nor a recipient.
    #[error(
        "{what}: `{name}` is neither a group in [recipients] nor a recipient{}",
        .near.as_deref().map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
    )]
    UnknownGroup {
        /// The rule or trunk.
        what: String,
        /// As written.
        name: String,
        /// A group with nearly this name.
        near: Option<String>,
    },
}

fn possible(near: Option<&str>, known: &[String]) -> String {
    match near {
        None if !known.is_empty() => format!(": there are {}", known.join(", ")),
        _ => String::new(),
    }
}

impl std::error::Error for ConfigError {}

/// `/etc/sejf/sejf.toml, line 12, [[capture]]: there is no key …`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", {key}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// What the reader of TOML says, with the nearest key that there is.
pub(super) fn from_toml(error: &toml::de::Error, text: &str) -> (Option<usize>, Option<String>, ConfigFault) {
    let at = error.span().map(|span| span.start.min(text.len()));
    let line = at.map(|at| text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    let section = line.and_then(|line| section_of(text, line));
    let message = error.message().trim();
    let fault = match message.strip_prefix("unknown field ") {
        Some(rest) => {
            let mut words = rest.split('`').skip(1).step_by(2).map(String::from);
            let key = words.next().unwrap_or_default();
            let known: Vec<String> = words.collect();
            let near = nearest(&key, known.iter().map(String::as_str)).map(String::from);
            ConfigFault::UnknownKey { key, near, known }
        }
        None => ConfigFault::Syntax(message.replace('\n', "; ")),
    };
    (line, section, fault)
}

/// The header of the table that `line` is in.
fn section_of(text: &str, line: usize) -> Option<String> {
    let before = text.lines().take(line).filter(|line| line.trim_start().starts_with('['));
    let header = before.last()?.split('#').next()?.trim();
    Some(header.into())
}

/// Finds the line of `key` in the table `section`, of several of that name the one counted `nth` from 0; the
/// line of the table itself where the key is not found.
pub(super) fn locate(text: &str, section: &str, nth: usize, key: &str) -> Option<usize> {
    let (mut seen, mut header) = (0, None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            if header.is_some() {
                return header;
            }
            let name = line.split('#').next().unwrap_or_default();
            let name =
                name.trim_matches(|letter: char| matches!(letter, '[' | ']') || letter.is_whitespace());
            if name == section {
                if seen == nth {
                    header = Some(index + 1);
                }
                seen += 1;
            }
        } else if header.is_some()
            && line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
        {
            return Some(index + 1);
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys_are_found() {
        let text = "# x\n[a]\nk = 1\n[[b]] # one\nk = 2\n[[b]]\nj = 1\n  k.x = 3\n[c]\nk = 4\n";
        for (section, nth, key, want) in [
            ("a", 0, "k", Some(3)),
            ("b", 0, "k", Some(5)),
            ("b", 1, "k", Some(8)),
            ("b", 1, "x", Some(6)),
            ("c", 0, "k", Some(10)),
            ("c", 1, "k", None),
            ("d", 0, "k", None),
        ] {
            assert_eq!(locate(text, section, nth, key), want, "{section} {nth} {key}");
        }
        assert_eq!(section_of(text, 5).as_deref(), Some("[[b]]"));
        assert_eq!(section_of(text, 1), None);
    }
}
