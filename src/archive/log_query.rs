//! Looking for entries of the vault's log, and giving them away: JSON lines for programs, CSV for spreadsheets.
//!
//! What strangers wrote stays in its cell: no line break, nothing that steers a terminal, and nothing that a spreadsheet
//! takes for a formula.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::archive::access::Action;
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::record::RecordingId;
use crate::base::text::steers;
use crate::base::time::Stamp;
use crate::seal::tree::Hash;

/// What is looked for: all of it must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    /// Who: the name in the log, `user:rita`, or how it ends, `rita`.
    pub actor: Option<String>,
    /// What.
    pub action: Option<Action>,
    /// On which recording.
    pub recording: Option<RecordingId>,
    /// How it went.
    pub outcome: Option<Went>,
    /// Then or later.
    pub from: Option<Stamp>,
    /// Before.
    pub to: Option<Stamp>,
}

/// How something went, without the details.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Went {
    /// It may be done.
    Granted,
    /// It may not.
    Refused,
    /// It was done.
    Done,
    /// It was tried, and failed.
    Failed,
}

/// There is no such outcome.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no outcome: there are granted, refused, done and failed")]
pub struct NoOutcome(pub String);

/// There is no such action.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no action: entries have them as `open`, `export`, `read-log`")]
pub struct NoAction(pub String);

impl Went {
    /// Of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Granted => Self::Granted,
            Outcome::Refused(_) => Self::Refused,
            Outcome::Done(_) => Self::Done,
            Outcome::Failed(_) => Self::Failed,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for Went {
    type Err = NoOutcome;

    fn from_str(text: &str) -> Result<Self, NoOutcome> {
        let all = [Self::Granted, Self::Refused, Self::Done, Self::Failed];
        all.into_iter().find(|went| went.as_str() == text).ok_or_else(|| NoOutcome(text.into()))
    }
}

/// Reads an action as the log has it.
pub fn action(text: &str) -> Result<Action, NoAction> {
    serde_json::from_value(Value::from(text)).map_err(|_| NoAction(text.into()))
}

/// Whether an entry is one of those that are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fit {
    /// It is not.
    No,
    /// It may be, by what it says: it cannot be read, or names only some of the recordings that it is about.
    May,
    /// It is.
    Yes,
}

impl Query {
    /// Whether an entry is one of those. What cannot be read may be any.
    pub fn fit(&self, entry: Option<&Entry>) -> Fit {
        match entry {
            None => Fit::May,
            Some(entry) if !self.fits_but_recording(entry) => Fit::No,
            Some(entry) => self.recording.map_or(Fit::Yes, |id| is_about(&entry.resource, &id)),
        }
    }

    fn fits_but_recording(&self, entry: &Entry) -> bool {
        let is_actor = |actor: &String| {
            let rest = entry.actor.strip_suffix(actor.as_str());
            rest.is_some_and(|before| before.is_empty() || before.ends_with(':'))
        };
        self.actor.as_ref().is_none_or(is_actor)
            && self.action.is_none_or(|action| action == entry.action)
            && self.outcome.is_none_or(|went| went == Went::of(&entry.outcome))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

/// Of many recordings an entry names the first of them only.
fn is_about(resource: &Resource, id: &RecordingId) -> Fit {
    match resource {
        Resource::Recording(one) if one == id => Fit::Yes,
        Resource::Recordings { ids, .. } if ids.contains(id) => Fit::Yes,
        Resource::Recordings { ids, count, .. } if *count > ids.len() as u64 => Fit::May,
        _ => Fit::No,
    }
}

/// How entries are given away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// An object a line.
    #[default]
    Jsonl,
    /// RFC 4180, with a heading.
    Csv,
}

impl Format {
    /// What stands before the first entry.
    pub fn head(self) -> &'static str {
        match self {
            Self::Jsonl => "",
            Self::Csv => {
                "index,at,actor,origin,action,resource,reason_code,reason_text,outcome,details,leaf_sha256\r\n"
            }
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/jsonl; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// How its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// One entry, with its line's end. `bytes` are what was signed: their hash is given too, so that whoever has a checkpoint
    /// can check it. One that cannot be read is told as that.
    pub fn line(self, index: u64, bytes: &[u8]) -> String {
        match self {
            Self::Jsonl => jsonl(index, bytes),
            Self::Csv => csv(index, bytes),
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jsonl" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            _ => Err(format!("`{text}` is no format: there are jsonl and csv")),
        }
    }
}

/// The hash of an entry in the log's tree, in hexadecimal.
pub fn leaf(bytes: &[u8]) -> String {
    format!("{:?}", Hash::leaf(bytes))
}

fn jsonl(index: u64, bytes: &[u8]) -> String {
    let entry = Entry::from_bytes(bytes).ok();
    let line = json!({ "index": index, "leaf_sha256": leaf(bytes), "entry": entry }).to_string();
    format!("{}\n", plain_json(&line))
}

/// JSON that steers no terminal: what does is only within strings, where an escape stands for the same.
pub fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for character in json.chars() {
        if steers(character) {
            // All of them are below U+10000. Writing to a String does not fail.
            let _ = write!(plain, "\\u{:04x}", u32::from(character));
        } else {
            plain.push(character);
        }
    }
    plain
}

fn csv(index: u64, bytes: &[u8]) -> String {
    let Ok(entry) = Entry::from_bytes(bytes) else {
        return format!("{index},,,,,,,,unreadable,,{}\r\n", leaf(bytes));
    };
    let reason = entry.reason.as_ref();
    let resource = serde_json::to_value(&entry.resource).unwrap_or_default();
    let cells = [
        entry.at.to_string(),
        entry.actor,
        entry.origin,
        entry.action.name(),
        unquoted(&resource),
        reason.map(|reason| reason.code.clone()).unwrap_or_default(),
        reason.map(|reason| reason.text.clone()).unwrap_or_default(),
        Went::of(&entry.outcome).as_str().into(),
        details(&entry.outcome),
        leaf(bytes),
    ];
    let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
    format!("{index},{}\r\n", cells.join(","))
}

/// What came of it beyond the word.
pub fn details(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted => String::new(),
        Outcome::Refused(refusal) => unquoted(&serde_json::to_value(refusal).unwrap_or_default()),
        Outcome::Done(details) => details.to_string(),
        Outcome::Failed(why) => why.clone(),
    }
}

fn unquoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One cell. What steers is shown as an escape; what would begin a formula in a spreadsheet has an apostrophe before it,
/// which spreadsheets take for "this is text".
fn cell(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 2);
    if text.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']) {
        plain.push('\'');
    }
    for character in text.chars() {
        if steers(character) {
            let _ = write!(plain, "{}", character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    if plain.contains(['"', ',', ';', ' ']) { format!("\"{}\"", plain.replace('"', "\"\"")) } else { plain }
}

/// By what a spreadsheet knows a formula; also in the full-width forms that some take for the same.
const FORMULA: [char; 9] = ['=', '+', '-', '@', '|', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::access::{Reason, Refusal};
    use crate::archive::entry::SCHEMA;

    fn entry() -> Entry {
        Entry {
            schema: SCHEMA,
            at: Stamp::from_unix_nanos(1_795_468_121_220_582_001),
            actor: "user:rita".into(),
            origin: "192.0.2.7".into(),
            action: Action::Open,
            resource: Resource::Recording(id(1)),
            reason: Some(Reason { code: "complaint".into(), text: "T-17".into() }),
            outcome: Outcome::Granted,
        }
    }

    fn id(byte: u8) -> RecordingId {
        RecordingId::from_bytes([byte; 16])
    }

    #[test]
    fn all_that_is_asked_must_hold() {
        let entry = entry();
        let fits = |change: fn(&mut Query)| {
            let mut query = Query::default();
            change(&mut query);
            query.fit(Some(&entry)) == Fit::Yes
        };
        assert!(fits(|_| {}));
        assert!(fits(|query| query.actor = Some("user:rita".into())));
        assert!(fits(|query| query.actor = Some("rita".into())));
        assert!(!fits(|query| query.actor = Some("ita".into())));
        assert!(fits(|query| query.action = Some(Action::Open)));
        assert!(!fits(|query| query.action = Some(Action::Export)));
        assert!(fits(|query| query.recording = Some(id(1))));
        assert!(!fits(|query| query.recording = Some(id(2))));
        assert!(fits(|query| query.outcome = Some(Went::Granted)));
        assert!(!fits(|query| query.outcome = Some(Went::Failed)));
        assert!(fits(|query| query.from = Some(Stamp::from_unix_nanos(1_795_468_121_220_582_001))));
        assert!(!fits(|query| query.to = Some(Stamp::from_unix_nanos(1_795_468_121_220_582_001))));
        let several = Entry { resource: Resource::of(&[id(1), id(2)]), ..entry.clone() };
        let on = |byte: u8| Query { recording: Some(id(byte)), ..Query::default() };
        assert_eq!((on(2).fit(Some(&several)), on(3).fit(Some(&several))), (Fit::Yes, Fit::No));
        // More than it names, and what cannot be read: they may be about any.
        let Resource::Recordings { ids, digest, .. } = several.resource else { panic!("two of them") };
        let many = Entry { resource: Resource::Recordings { ids, digest, count: 5_000 }, ..entry.clone() };
        assert_eq!((on(2).fit(Some(&many)), on(3).fit(Some(&many))), (Fit::Yes, Fit::May));
        let others = Query { actor: Some("ada".into()), ..on(3) };
        assert_eq!((others.fit(Some(&many)), others.fit(None)), (Fit::No, Fit::May));
        assert_eq!(action("read-log"), Ok(Action::ReadLog));
        assert!(action("read_log").is_err() && action("\"open\"").is_err());
        assert_eq!("refused".parse(), Ok(Went::Refused));
        assert!("no".parse::<Went>().is_err());
    }

    #[test]
    fn a_line_has_the_entry_and_its_hash() {
        let bytes = entry().to_bytes();
        let line = Format::Jsonl.line(7, &bytes);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["index"], 7);
        assert_eq!(read["entry"], serde_json::to_value(entry()).unwrap());
        assert_eq!(read["leaf_sha256"], leaf(&bytes));
        assert_eq!(
            Format::Csv.line(7, &bytes),
            format!(
                "7,2026-11-23T21:08:41.220582001Z,user:rita,192.0.2.7,open,\"{{\"\"recording\"\":\"\"01010101-0101-0101-0101-010101010101\"\"}}\",complaint,T-17,granted,,{}\r\n",
                leaf(&bytes)
            )
        );
        assert_eq!(Format::Csv.head().split(',').count(), 11);
        assert!(Format::Csv.line(8, b"junk").contains("unreadable"));
        assert!(serde_json::from_str::<Value>(&Format::Jsonl.line(8, b"junk")).unwrap()["entry"].is_null());
    }

    /// What a spreadsheet reads of a line: cells, without quotes.
    fn cells(line: &str) -> Vec<String> {
        let (mut cells, mut is_quoted) = (vec![String::new()], false);
        let mut characters = line.strip_suffix("\r\n").unwrap().chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if is_quoted && characters.next_if_eq(&'"').is_some() => {
                    cells.last_mut().unwrap().push('"');
                }
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                other => cells.last_mut().unwrap().push(other),
            }
        }
        assert!(!is_quoted);
        cells
    }

    #[test]
    fn what_strangers_wrote_stays_in_its_cell() {
        let hostile = [
            "=HYPERLINK(\"http://evil\")",
            "+1+1",
            "-2+3+cmd|' /C calc'!A0",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            " =1",
            "\u{ff1d}1",
            "a\u{1b}[2J\u{9b}31m",
            "one\r\ntwo,\"three\"",
            "\u{202e}gnp.exe",
            "a;b",
            "a\u{2028}b",
        ];
        for text in hostile {
            let entry = Entry {
                actor: format!("{text}x"),
                origin: text.into(),
                reason: Some(Reason { code: text.into(), text: text.into() }),
                outcome: Outcome::Failed(text.into()),
                ..entry()
            };
            for format in [Format::Csv, Format::Jsonl] {
                let line = format.line(1, &entry.to_bytes());
                let body = line.trim_end_matches(['\r', '\n']);
                assert!(!body.chars().any(steers), "{line:?}");
            }
            let cells = cells(&Format::Csv.line(1, &entry.to_bytes()));
            assert_eq!(cells.len(), 11, "{text:?}");
            for cell in &cells {
                assert!(!cell.trim_start().starts_with(FORMULA), "{cell:?}");
            }
            let read: Value = serde_json::from_str(&Format::Jsonl.line(1, &entry.to_bytes())).unwrap();
            assert_eq!(read["entry"]["origin"], text);
        }
        let refused = Entry { outcome: Outcome::Refused(Refusal::Reason), ..entry() };
        assert!(Format::Csv.line(1, &refused.to_bytes()).contains(",refused,reason,"));
    }
}
