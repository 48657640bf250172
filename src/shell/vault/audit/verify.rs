//! Checks a vault's log with nothing but its files, its public key and checkpoints that were kept: no key of the vault is
//! opened, nothing is asked of anybody, and a copy of the folder will do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::archive::entry::Entry;
use crate::archive::log_query::Went;
use crate::base::time::Stamp;
use crate::seal::cosign::CosignerKey;
use crate::seal::log::CHECKPOINT_PATH;
use crate::seal::log_audit::{Finding, LogAudit, audit_log};
use crate::seal::log_survey::superseded_fits;
use crate::seal::log_verify::{Role, role};
use crate::seal::note::{Checkpoint, NoteError, VerifyKey};
use crate::shell::locks;
use crate::shell::receipts::{self, DIR_NAME, KEY_NAME};
use crate::shell::vault::audit::{DIR, WITNESSED};

/// What is known of the log beforehand.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// Its public key, told by another way; the one beside the log is taken where there is none.
    pub key: Option<&'a str>,
    /// Checkpoints that were kept: each a signed note.
    pub kept: &'a [String],
    /// Public keys of witnesses that must have cosigned.
    pub witnesses: &'a [String],
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whose log it is.
    pub log: String,
    /// Whether its key was known from elsewhere.
    pub pinned: bool,
    /// Entries that are signed, where that can be read.
    pub entries: Option<u64>,
    /// Checkpoints that were kept.
    pub kept: usize,
    /// Those of them that the log goes on from.
    pub continued: usize,
    /// What witnesses have cosigned.
    pub witnessed: Vec<Witnessed>,
    /// What is wrong.
    pub findings: Vec<Told>,
    /// Findings that are left out, because there are so many.
    pub more: u64,
}

/// How far a witness has followed.
#[derive(Debug, Serialize)]
pub struct Witnessed {
    /// Its name.
    pub witness: String,
    /// Entries that it has seen.
    pub entries: u64,
    /// When.
    pub at: Stamp,
    /// Entries that have come since.
    pub behind: u64,
}

/// Something that is wrong, with what stands around it.
#[derive(Debug, Serialize)]
pub struct Told {
    /// What kind.
    pub kind: &'static str,
    /// The entry, or the first of them.
    pub index: Option<u64>,
    /// The same in words.
    pub finding: String,
    /// The entry before it, as far as it can be read.
    pub before: Option<String>,
    /// The entry after it.
    pub after: Option<String>,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// There is no log.
    #[error("`{}` has no log: say the vault's home, or a folder with its `checkpoint` and `tile`", dir.display())]
    NoLog {
        /// The folder.
        dir: PathBuf,
    },
    /// A key is none.
    #[error("a public key is written `name+hash+key`: {source}")]
    Key {
        /// Why.
        source: NoteError,
    },
    /// There is no key.
    #[error("no public key is beside the log in `{}`: say --vault KEY, as `sejf vault status` tells it", dir.display())]
    NoKey {
        /// The folder.
        dir: PathBuf,
    },
    /// A kept checkpoint is not one of this log.
    #[error("kept checkpoint {number} is none that the log's key has signed: {source}")]
    Checkpoint {
        /// Which of them, from 1 on.
        number: usize,
        /// Why.
        source: NoteError,
    },
    /// The operating system refused.
    #[error("reading `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Report {
    /// In a line.
    pub fn summary(&self) -> String {
        let Self { log, pinned, entries, kept, continued, witnessed, findings, more } = self;
        let entries = entries.map_or("an unknown number of".into(), |entries| entries.to_string());
        let signer = if *pinned { "known" } else { "not pinned: see --vault" };
        let found = match findings.len() as u64 + more {
            0 => "all as signed".into(),
            1 => "1 finding".into(),
            count => format!("{count} findings"),
        };
        let kept = match kept {
            0 => "; held against no earlier checkpoint: see --checkpoint".into(),
            kept => format!("; goes on from {continued} of {kept} earlier checkpoints"),
        };
        let seen = |one: &Witnessed| {
            let Witnessed { witness, entries, at, behind } = one;
            format!("; {witness} has seen {entries} of them at {at}, {behind} have come since")
        };
        let witnessed = witnessed.iter().map(seen).collect::<String>();
        format!("{entries} entries of {log} ({signer}): {found}{kept}{witnessed}")
    }
}

/// Checks the log in `dir`: a vault's home, its folder `log`, or the folder of tiles itself.
pub fn verify(dir: &Path, asked: &Asked<'_>) -> Result<Report, AuditError> {
    let key = |text: &str| text.parse::<VerifyKey>().map_err(|source| AuditError::Key { source });
    let log = log_in(dir)?;
    let pinned = asked.key.map(key).transpose()?;
    let beside = read_regular(&log.join(KEY_NAME)).ok().and_then(|text| String::from_utf8(text).ok());
    let beside = beside.and_then(|text| text.parse::<VerifyKey>().ok());
    let key =
        pinned.clone().or_else(|| beside.clone()).ok_or_else(|| AuditError::NoKey { dir: log.clone() })?;
    let mut notes = asked.kept.to_vec();
    let mut kept = Vec::new();
    for (number, note) in notes.iter().enumerate() {
        let opened = key.open(note).map_err(|source| AuditError::Checkpoint { number: number + 1, source });
        kept.push(opened?);
    }
    // Of those that the vault keeps itself, who has its machine can take away, but not make any.
    for note in witnessed_notes(dir) {
        if let Ok(checkpoint) = key.open(&note) {
            kept.push(checkpoint);
            notes.push(note);
        }
    }
    let (audit, strange) = settled(&log, &key, &kept)?;
    let mut report = Report {
        log: key.name().into(),
        pinned: pinned.is_some(),
        entries: audit.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        kept: kept.len(),
        continued: audit.continued,
        witnessed: Vec::new(),
        findings: told(&audit),
        more: audit.more,
    };
    if beside.as_ref() != Some(&key) {
        report.findings.push(Told::of_file("key", format!("{KEY_NAME}: is not the log's public key")));
    }
    let size = audit.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    report.findings.extend(strange);
    for witness in asked.witnesses {
        let witness = witness.parse::<CosignerKey>().map_err(|source| AuditError::Key { source })?;
        report.witness(&witness, &kept, &notes, size);
    }
    Ok(report)
}

impl Report {
    /// How far a witness has followed; it is demanded.
    fn witness(&mut self, witness: &CosignerKey, kept: &[Checkpoint], notes: &[String], size: u64) {
        let cosigned = kept.iter().zip(notes).filter_map(|(checkpoint, note)| {
            let cosigned = witness.cosigned(note).ok().flatten()?;
            Some((checkpoint.size, cosigned))
        });
        match cosigned.max() {
            Some((entries, cosigned)) => self.witnessed.push(Witnessed {
                witness: witness.name().into(),
                entries,
                at: Stamp::from_unix_nanos(cosigned.unix_s.saturating_mul(1_000_000_000)),
                behind: size.saturating_sub(entries),
            }),
            None => self.findings.push(Told::of_file(
                "not-witnessed",
                format!("not witnessed: there is no checkpoint that {} has cosigned", witness.name()),
            )),
        }
    }
}

/// Where the tiles are.
fn log_in(dir: &Path) -> Result<PathBuf, AuditError> {
    let all = [dir.join("log").join(DIR_NAME), dir.join(DIR_NAME), dir.to_path_buf()];
    let has = |log: &&PathBuf| [CHECKPOINT_PATH, "tile"].iter().any(|name| log.join(name).exists());
    all.iter().find(has).cloned().ok_or_else(|| AuditError::NoLog { dir: dir.into() })
}

/// Checkpoints that witnesses have cosigned, as the vault keeps them.
fn witnessed_notes(home: &Path) -> Vec<String> {
    let dir = home.join(DIR).join(WITNESSED);
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    names.filter_map(|path| String::from_utf8(read_regular(&path).ok()?).ok()).collect()
}

/// What is found in a log, and files that are none of its own.
type Looked = (LogAudit, Vec<Told>);

/// A vault may be writing meanwhile: what is found counts once nothing has come between.
fn settled(log: &Path, key: &VerifyKey, kept: &[Checkpoint]) -> Result<Looked, AuditError> {
    for _ in 0..TRIES {
        let before = read_regular(&log.join(CHECKPOINT_PATH)).ok();
        let (audit, strange) = look(log, key, kept)?;
        if audit.findings.is_empty() && strange.is_empty() {
            return Ok((audit, strange));
        }
        // Whoever has the log is done with it then. Where there are no locks, nobody writes either.
        drop(locks::folder_alone(log, PATIENCE));
        let again = look(log, key, kept)?;
        if read_regular(&log.join(CHECKPOINT_PATH)).ok() == before && again.0 == audit {
            return Ok(again);
        }
    }
    let _held = locks::folder_alone(log, PATIENCE);
    look(log, key, kept)
}

fn look(log: &Path, key: &VerifyKey, kept: &[Checkpoint]) -> Result<Looked, AuditError> {
    let audit = audit_log(&|path| read_regular(&log.join(path)).ok(), key, kept);
    let size = audit.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    Ok((audit, strange_files(log, size)?))
}

fn told(audit: &LogAudit) -> Vec<Told> {
    let entries: BTreeMap<u64, &[u8]> =
        audit.entries.iter().map(|(index, entry)| (*index, entry.as_slice())).collect();
    let tell = |finding: &Finding| {
        let index = finding.index();
        let before = index.and_then(|index| entries.range(..index).next_back());
        let after = finding.end().and_then(|end| entries.range(end..).next());
        let said = |(index, entry): (&u64, &&[u8])| said(*index, entry);
        Told {
            kind: finding.kind(),
            index,
            finding: finding.to_string(),
            before: before.map(said),
            after: after.map(said),
        }
    };
    audit.findings.iter().map(tell).collect()
}

/// An entry in a few words.
fn said(index: u64, bytes: &[u8]) -> String {
    match Entry::from_bytes(bytes) {
        Ok(entry) => {
            let (went, action) = (Went::of(&entry.outcome).as_str(), entry.action.name());
            format!("{index} of {}: {} {action}, {went}", entry.at, entry.actor)
        }
        Err(_) => format!("{index} of {} bytes", bytes.len()),
    }
}

impl Told {
    fn of_file(kind: &'static str, finding: String) -> Self {
        Self { kind, index: None, finding, before: None, after: None }
    }
}

/// Files in the log's folder that are none of its own, and those that a later one has replaced and that are not its
/// beginning.
fn strange_files(log: &Path, size: u64) -> Result<Vec<Told>, AuditError> {
    let read = |path: &str| read_regular(&log.join(path)).ok();
    let (mut told, mut dirs) = (Vec::new(), vec![log.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        let io = |source| AuditError::Io { path: dir.clone(), source };
        let listed = match std::fs::read_dir(&dir) {
            // A vault that runs takes away folders that it needs no more.
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir != log => continue,
            listed => listed.map_err(io)?,
        };
        for entry in listed {
            let entry = entry.map_err(io)?;
            if entry.file_type().map_err(io)?.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(log).unwrap_or(&path).to_string_lossy().into_owned();
            match role(&name, size) {
                Role::Needed => {}
                Role::Superseded if superseded_fits(&read, &name, size) => {}
                Role::Superseded => {
                    told.push(Told::of_file("log", format!("log: {name} does not fit what came after it")));
                }
                Role::Beyond | Role::Foreign if [CHECKPOINT_PATH, KEY_NAME].contains(&&*name) => {}
                // What was being written when the vault died, or is being written now.
                Role::Foreign if receipts::is_copy(&name) => {}
                Role::Beyond => {
                    told.push(Told::of_file("beyond", format!("log: {name} has entries that nobody signed")));
                }
                Role::Foreign => {
                    told.push(Told::of_file("added", format!("added: {name} is none of the log's files")));
                }
            }
        }
    }
    Ok(told)
}

/// Neither is a link followed, nor does a pipe hold us up.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    std::fs::read(path)
}

const TRIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);
