//! Entries of the vault's log as syslog: RFC 5424, framed by octet counting as RFC 6587 and RFC 5425 have it.
//!
//! ```text
//! 1234 <110>1 2026-11-23T21:08:41.220582Z host sejf-vault - granted [sejf@32473 index="7" leaf="…" …] BOM{…}
//! ```
//!
//! Structured data has what one filters by, and number and leaf hash, so that a receiver can check what it holds against a
//! checkpoint. The message is the entry, as it was signed. Nothing that strangers wrote leaves its place.

use std::fmt::Write;

use crate::archive::entry::{Entry, Outcome};
use crate::archive::log_query::{Went, leaf, plain_json};
use crate::base::text::steers;
use crate::base::time::Stamp;

/// One entry as a message. `log` is the name of the log, `host` that of this machine. `bytes` are what was signed.
pub fn message(log: &str, host: &str, index: u64, bytes: &[u8], now: Stamp) -> String {
    let entry = Entry::from_bytes(bytes).ok();
    let severity = entry.as_ref().map_or(WARNING, severity);
    let at = entry.as_ref().map_or(now, |entry| entry.at);
    let kind = entry.as_ref().map_or("unreadable", |entry| Went::of(&entry.outcome).as_str());
    let mut text =
        format!("<{}>1 {} {} sejf-vault - {kind} [{SD_ID}", FACILITY * 8 + severity, time(at), name(host));
    let mut say = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = write!(text, " {name}=\"{}\"", param(value));
    };
    say("log", log);
    say("index", &index.to_string());
    say("leaf", &leaf(bytes));
    if let Some(entry) = &entry {
        say("actor", &entry.actor);
        say("origin", &entry.origin);
        say("action", &entry.action.name());
        if let Some(reason) = &entry.reason {
            say("reason", &reason.code);
        }
    }
    let entry = entry.map(|_| String::from_utf8_lossy(bytes).into_owned());
    text.push_str(&format!("] \u{feff}{}", plain_json(&entry.unwrap_or_default())));
    text
}

/// With its length before it, so that no line break ends it.
pub fn framed(message: &str) -> Vec<u8> {
    format!("{} {message}", message.len()).into_bytes()
}

/// Refused and failed stand out, alarms more.
fn severity(entry: &Entry) -> u8 {
    match &entry.outcome {
        Outcome::Done(details) if details.get("alarm").is_some() => ALERT,
        Outcome::Failed(_) => ERROR,
        Outcome::Refused(_) => WARNING,
        Outcome::Granted | Outcome::Done(_) => INFORMATIONAL,
    }
}

/// With microseconds: a sixth digit is the last that RFC 5424 knows.
fn time(at: Stamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, fraction)) => {
            let digits: String = fraction.chars().take_while(char::is_ascii_digit).take(6).collect();
            format!("{seconds}.{digits}Z")
        }
        None => text,
    }
}

/// HOSTNAME: visible ASCII, at most 255.
fn name(host: &str) -> String {
    let name: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// PARAM-VALUE: `"`, `\` and `]` are escaped (RFC 5424 section 6.3.3), and what steers is shown as what it is.
fn param(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '"' | '\\' | ']' => {
                escaped.push('\\');
                escaped.push(character);
            }
            steering if steers(steering) => {
                // The backslash too is escaped: `\\u{1b}` is read as the text `\u{1b}`.
                let _ = write!(escaped, "\\{}", steering.escape_unicode());
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// "log audit".
const FACILITY: u8 = 13;
const ALERT: u8 = 1;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// With the number that is reserved for documentation: the project has none of its own.
const SD_ID: &str = "sejf@32473";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::{Action, Reason, Refusal};
    use crate::archive::entry::{Resource, SCHEMA};

    fn entry(actor: &str, outcome: Outcome) -> Entry {
        Entry {
            schema: SCHEMA,
            at: Stamp::from_unix_nanos(1_795_468_121_220_582_001),
            actor: actor.into(),
            origin: "192.0.2.7".into(),
            action: Action::Open,
            resource: Resource::Vault,
            reason: Some(Reason { code: "complaint".into(), text: "T-17".into() }),
            outcome,
        }
    }

    #[test]
    fn a_message_is_as_the_specification_has_it() {
        let bytes = entry("user:rita", Outcome::Granted).to_bytes();
        let leaf = leaf(&bytes);
        let signed = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(
            message("vault-1", "box", 7, &bytes, Stamp::ZERO),
            format!(
                "<110>1 2026-11-23T21:08:41.220582Z box sejf-vault - granted [sejf@32473 log=\"vault-1\" index=\"7\" leaf=\"{leaf}\" actor=\"user:rita\" origin=\"192.0.2.7\" action=\"open\" reason=\"complaint\"] \u{feff}{signed}"
            )
        );
        let framed = framed("ż");
        assert_eq!(framed, "2 ż".as_bytes());
    }

    #[test]
    fn what_is_worse_stands_out() {
        let severity = |outcome| {
            let bytes = entry("a", outcome).to_bytes();
            message("v", "h", 0, &bytes, Stamp::ZERO).split('>').next().unwrap().to_owned()
        };
        assert_eq!(severity(Outcome::Done(serde_json::json!({ "alarm": "glass-broken" }))), "<105");
        assert_eq!(severity(Outcome::Failed("no".into())), "<107");
        assert_eq!(severity(Outcome::Refused(Refusal::Reason)), "<108");
        assert_eq!(severity(Outcome::Done(serde_json::json!({}))), "<110");
        assert!(
            message("v", "", 0, b"junk", Stamp::ZERO)
                .starts_with("<108>1 1970-01-01T00:00:00.000000Z - sejf-vault - unreadable")
        );
    }

    /// Reads structured data as a receiver does: until the first `]` that is not escaped.
    fn params(message: &str) -> (Vec<(String, String)>, String) {
        let mut rest = message.split_once(" [sejf@32473").unwrap().1;
        let mut params = Vec::new();
        while let Some(after) = rest.strip_prefix(' ') {
            let (name, after) = after.split_once("=\"").unwrap();
            let (mut value, mut characters) = (String::new(), after.char_indices());
            let end = loop {
                match characters.next().unwrap() {
                    (_, '\\') => value.push(characters.next().unwrap().1),
                    (at, '"') => break at + 1,
                    (_, ']') => panic!("not escaped"),
                    (_, other) => value.push(other),
                }
            };
            params.push((name.to_owned(), value));
            rest = &after[end..];
        }
        (params, rest.strip_prefix("] ").unwrap().to_owned())
    }

    #[test]
    fn strangers_words_end_nothing() {
        for hostile in
            ["a\"] evil=\"1", "\\", "]", "a\nb", "\u{1b}[2J", "x\u{0}y", "\u{202e}", "<0>1 - - - - - -"]
        {
            let bytes = entry(hostile, Outcome::Failed(hostile.into())).to_bytes();
            let message = message("v", hostile, 3, &bytes, Stamp::ZERO);
            assert!(!message.chars().any(steers), "{message:?}");
            let (params, said) = params(&message);
            let names: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["log", "index", "leaf", "actor", "origin", "action", "reason"], "{hostile:?}");
            if !hostile.chars().any(steers) {
                assert_eq!(params[3].1, hostile);
            }
            let read: Entry = serde_json::from_str(said.trim_start_matches('\u{feff}')).unwrap();
            assert_eq!(read.actor, hostile);
        }
    }
}
