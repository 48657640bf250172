//! Lists of files with their SHA-256, and the signed word that a list is ours: what a bundle or a medium holds.
//!
//! ```text
//! SHA256SUMS       HASH  PATH             `sha256sum -c` reads it
//! MANIFEST         HASH  BYTES  PATH
//! SHA256SUMS.sig   sejf bundle 1          a signed note
//!                  id 5f0c…
//!                  made 2026-11-23T21:08:41.220582001Z
//!                  list HASH              of the list
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::archive::record::Digest;
use crate::base::time::Stamp;
use crate::seal::note::{NoteError, Signer, VerifyKey};

/// What a file should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sum {
    /// SHA-256 of all of it.
    pub sha256: Digest,
    /// Its length, where the list has it.
    pub bytes: Option<u64>,
}

/// A list of files, by their path from the folder that the list is in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sums(pub BTreeMap<String, Sum>);

/// A list is not in the form that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the list is malformed")]
pub struct SumsError {
    /// Line, from 1.
    pub line: usize,
}

/// What a signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// Of what: `bundle`, `medium`.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// When it was made.
    pub made: Stamp,
    /// SHA-256 of the list.
    pub list: Digest,
}

/// Why a statement is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not signed, or by somebody else.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Signed, and something else.
    #[error("it is signed, and says something else than what is here")]
    Other,
}

impl Sums {
    /// The text that `sha256sum -c` reads.
    pub fn to_sums(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (path, sum)| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}  {path}", sum.sha256);
            text
        })
    }

    /// Reads what [`Sums::to_sums`] wrote.
    pub fn from_sums(text: &str) -> Result<Self, SumsError> {
        Self::parse(text, &|line| {
            let (sha256, path) = line.split_once("  ")?;
            Some((path, Sum { sha256: digest(sha256)?, bytes: None }))
        })
    }

    /// The text with lengths.
    pub fn to_manifest(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (path, sum)| {
            let _ = writeln!(text, "{}  {}  {path}", sum.sha256, sum.bytes.unwrap_or_default());
            text
        })
    }

    /// Reads what [`Sums::to_manifest`] wrote. All files together are no longer than [`BYTES_MAX`].
    pub fn from_manifest(text: &str) -> Result<Self, SumsError> {
        let sums = Self::parse(text, &|line| {
            let (sha256, rest) = line.split_once("  ")?;
            let (bytes, path) = rest.split_once("  ")?;
            let number: u64 = bytes.parse().ok().filter(|number: &u64| number.to_string() == bytes)?;
            Some((path, Sum { sha256: digest(sha256)?, bytes: Some(number) }))
        })?;
        let mut all = 0_u64;
        for (line, sum) in (1..).zip(sums.0.values()) {
            all = all.saturating_add(sum.bytes.unwrap_or_default());
            if all > BYTES_MAX {
                return Err(SumsError { line });
            }
        }
        Ok(sums)
    }

    fn parse<'a>(text: &'a str, read: &dyn Fn(&'a str) -> Option<(&'a str, Sum)>) -> Result<Self, SumsError> {
        let mut sums = Self::default();
        for (line, content) in (1..).zip(text.split_terminator('\n')) {
            let (path, sum) =
                read(content).filter(|(path, _)| is_plain_path(path)).ok_or(SumsError { line })?;
            // In order and each once, so that a list has one text.
            if sums.0.last_key_value().is_some_and(|(last, _)| last.as_str() >= path) {
                return Err(SumsError { line });
            }
            sums.0.insert(path.into(), sum);
        }
        Ok(sums)
    }
}

impl Statement {
    /// Signs it.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign_statement(&self.to_text())
    }

    /// What `key` has signed of a `kind`.
    pub fn open(note: &str, key: &VerifyKey, kind: &str) -> Result<Self, StatementError> {
        let text = key.open_text(note)?;
        Self::parse(text).filter(|statement| statement.kind == kind).ok_or(StatementError::Other)
    }

    fn to_text(&self) -> String {
        let Self { kind, id, made, list } = self;
        format!("sejf {kind} 1\nid {id}\nmade {made}\nlist {list}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let kind = lines.next()?.strip_prefix("sejf ")?.strip_suffix(" 1")?.to_owned();
        let id = lines.next()?.strip_prefix("id ")?.to_owned();
        let made = lines.next()?.strip_prefix("made ")?;
        let made = serde_json::from_value(serde_json::Value::from(made)).ok()?;
        let list = digest(lines.next()?.strip_prefix("list ")?)?;
        let statement = Self { kind, id, made, list };
        (statement.to_text() == text).then_some(statement)
    }
}

/// Whether a path stays below its folder, and in its line.
pub fn is_plain_path(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_plain = |letter: char| !letter.is_control() && letter != '\\' && letter != '\u{2028}';
    path.len() <= PATH_BYTES_MAX && path.chars().all(is_plain) && path.split('/').all(is_part)
}

fn digest(text: &str) -> Option<Digest> {
    let digest = Digest::try_from(text.to_owned()).ok()?;
    (digest.to_string() == text).then_some(digest)
}

/// Bytes of all files of a list that has their lengths: nothing that is reckoned from it overflows.
pub const BYTES_MAX: u64 = 1 << 60;
const PATH_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn sums() -> Sums {
        let sum = |text: &str| Sum { sha256: Digest::of(text.as_bytes()), bytes: Some(text.len() as u64) };
        Sums([("a b.txt".into(), sum("x")), ("z/y".into(), sum("zy"))].into())
    }

    #[test]
    fn lists_come_back_and_have_one_text() {
        assert_eq!(Sums::from_manifest(&sums().to_manifest()), Ok(sums()));
        let plain = Sums::from_sums(&sums().to_sums()).unwrap();
        assert_eq!(plain.to_sums(), sums().to_sums());
        let hash = Digest::of(b"");
        for wrong in ["../a", "/a", "a//b", "a/./b", "", "a\\b", "a\rb"] {
            assert_eq!(Sums::from_sums(&format!("{hash}  {wrong}\n")), Err(SumsError { line: 1 }), "{wrong}");
        }
        assert_eq!(Sums::from_sums(&format!("{hash}  b\n{hash}  a\n")), Err(SumsError { line: 2 }));
        assert_eq!(Sums::from_sums(&format!("{hash}  a\n{hash}  a\n")), Err(SumsError { line: 2 }));
        assert_eq!(Sums::from_sums(&hash.to_string().to_uppercase()), Err(SumsError { line: 1 }));
        assert!(Sums::from_manifest(&format!("{hash}  007  a\n")).is_err());
        let half = BYTES_MAX / 2;
        assert!(Sums::from_manifest(&format!("{hash}  {half}  a\n{hash}  {half}  b\n")).is_ok());
        for (a, b) in [(half, half + 1), (u64::MAX, u64::MAX)] {
            let list = format!("{hash}  {a}  a\n{hash}  {b}  b\n");
            assert!(Sums::from_manifest(&list).is_err(), "{list}");
        }
    }

    #[test]
    fn a_statement_is_believed_of_its_key_alone() {
        let signer = |seed| Signer::generate("vault-1", &mut Seeded::new(&[seed; 32], "sums", 0)).unwrap();
        let list = Digest::of(sums().to_sums().as_bytes());
        let made = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        let statement = Statement { kind: "bundle".into(), id: "7".into(), made, list };
        let note = statement.sign(&signer(1)).unwrap();
        let key = signer(1).verify_key().clone();
        assert_eq!(Statement::open(&note, &key, "bundle"), Ok(statement));
        assert_eq!(Statement::open(&note, &key, "medium"), Err(StatementError::Other));
        let other = Statement::open(&note, signer(2).verify_key(), "bundle");
        assert_eq!(other, Err(StatementError::Note(NoteError::Unsigned)));
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8_lossy(&changed);
            assert!(Statement::open(&changed, &key, "bundle").is_err(), "byte {at}");
        }
    }
}
