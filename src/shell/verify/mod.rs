//! Recordings against receipts: is anything changed, missing or added?
//!
//! One fault hides no other: whatever can still be read is checked.

mod beneath;
mod bundle;
mod bundle_origin;
mod bundle_source;
mod fault;
mod log;
pub(in crate::shell) mod medium;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest;

use crate::seal::event::Entry;
use crate::seal::identity::Identities;
use crate::seal::log::{CHECKPOINT_PATH, Log, LogError};
use crate::seal::log_survey::superseded_fits;
use crate::seal::log_verify::{Role, role};
use crate::seal::note::{Checkpoint, VerifyKey};
use crate::seal::receipt::{Receipt, ReceiptFile, ReceiptState};
use crate::shell::canary;
use crate::shell::journal::SEGMENT_SUFFIX;
use crate::shell::library::{self, OpenFault};
use crate::shell::receipts::{self, DIR_NAME, KEY_NAME};
use crate::shell::recovery::{self, Kind};
pub use crate::shell::verify::bundle::{BundleAsked, BundleFault, BundleReport, bundle};
pub use crate::shell::verify::fault::{Fault, VerifyError};
pub use crate::shell::verify::log::ReadLog;
use crate::shell::verify::log::read_regular;
pub use crate::shell::verify::medium::{MediumFault, MediumReport, medium, repair};

/// What to check besides the receipts.
#[derive(Default)]
pub struct Asked<'a> {
    /// Open every file with these.
    pub identities: Option<&'a Identities>,
    /// The recorder's public key, known from elsewhere.
    pub recorder: Option<&'a str>,
    /// A checkpoint kept from earlier.
    pub checkpoint: Option<&'a Path>,
    /// Is told after each file.
    pub progress: Option<&'a dyn Fn(&Progress)>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Files looked at.
    pub files: u64,
    /// Files that receipts name.
    pub of: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// What is not as it was left.
    pub faults: Vec<Fault>,
    /// Who signed.
    pub recorder: String,
    /// Whether the signer was known from elsewhere.
    pub pinned: bool,
    /// Whether all entries of the log that could be read are those that were signed.
    pub proved: bool,
    /// Receipts.
    pub receipts: u64,
    /// What happened to the recorder itself.
    pub events: u64,
    /// Files checked.
    pub files: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// Whether files were opened too.
    pub opened: bool,
    /// Recordings that a run which died has left unfinished.
    pub interrupted: u64,
}

impl Report {
    /// In a line.
    pub fn summary(&self) -> String {
        let Self { faults, recorder, pinned, proved, receipts, events, files, bytes, opened, interrupted } =
            self;
        let unproved = if *proved || *receipts == 0 { "" } else { " that are not proved" };
        let events = if *events == 0 { String::new() } else { format!(" and {events} events") };
        let found =
            if faults.is_empty() { "all as sealed".into() } else { format!("{} faults", faults.len()) };
        let opened = if *opened { ", opened" } else { "" };
        let signer = if *pinned { "known" } else { "not pinned: see --recorder" };
        let salvage = match interrupted {
            0 => String::new(),
            1 => format!("; 1 recording was interrupted: {SALVAGE}"),
            count => format!("; {count} recordings were interrupted: {SALVAGE}"),
        };
        format!(
            "{files} files ({bytes} bytes{opened}), {receipts} receipts{events}{unproved} by {recorder} ({signer}): {found}{salvage}"
        )
    }
}

/// Checks a directory of recordings.
pub fn directory(dir: &Path, asked: &Asked<'_>) -> Result<Report, VerifyError> {
    let Found { names, faults } = Found::below(dir)?;
    let log = ReadLog::open(dir, asked.recorder)?;
    let mut report = Report {
        faults,
        recorder: log.key.as_ref().map_or("?", VerifyKey::name).into(),
        pinned: asked.recorder.is_some(),
        proved: log.proved,
        receipts: 0,
        events: 0,
        files: 0,
        bytes: 0,
        opened: asked.identities.is_some(),
        interrupted: 0,
    };
    if !log.signed {
        report.faults.push(Fault::NoReceipts);
    }
    // A recorder that died before its first receipt leaves unfinished files and no key.
    let begun = names.iter().any(|name| !is_unfinished(name));
    if begun && !log.key_fits {
        report.faults.push(Fault::PublicKey);
    }
    if let Some(path) = asked.checkpoint
        && let Some(key) = &log.key
    {
        report.faults.extend(earlier(path, key, &log)?);
    }
    if let Some(size) = log.size {
        foreign_log_files(dir, &names, size, &mut report);
    }
    let lost = log.lost;
    let ReadLog { entries, faults, .. } = log;
    report.faults.extend(faults);
    Recordings { dir, names: &names, asked, lost }.check(&entries, &mut report);
    Ok(report)
}

/// Whether the log continues one that was seen earlier.
fn earlier(path: &Path, key: &VerifyKey, log: &ReadLog) -> Result<Option<Fault>, VerifyError> {
    let note =
        std::fs::read_to_string(path).map_err(|source| VerifyError::Io { path: path.into(), source })?;
    let Checkpoint { size, root, .. } =
        key.open(&note).map_err(|source| VerifyError::Checkpoint { path: path.into(), source })?;
    let mut then = Log::new();
    for (index, entry) in log.entries.iter().take_while(|(index, _)| *index < size) {
        // A gap, or an entry that no log has.
        if *index != then.size() || then.append(entry).is_err() {
            return Ok(Some(Fault::Uncompared { size }));
        }
    }
    Ok(match then.size() == size {
        true if then.root() == root => None,
        false if log.lost => Some(Fault::Uncompared { size }),
        _ => Some(Fault::Rewritten { size }),
    })
}

/// Files in the folder of receipts that are none of the log's, and those that a later one has replaced and that
/// are not its beginning.
fn foreign_log_files(dir: &Path, names: &BTreeSet<String>, size: u64, report: &mut Report) {
    let prefix = format!("{DIR_NAME}/");
    let read = |path: &str| read_regular(&dir.join(DIR_NAME).join(path)).ok();
    for name in names {
        let Some(path) = name.strip_prefix(&prefix) else { continue };
        match role(path, size) {
            Role::Needed => {}
            Role::Superseded if superseded_fits(&read, path, size) => {}
            Role::Superseded => {
                let source = LogError::TileChanged { path: path.into() };
                report.faults.push(Fault::Log { name: path.into(), source });
            }
            Role::Beyond | Role::Foreign if path == CHECKPOINT_PATH || path == KEY_NAME => {}
            Role::Beyond | Role::Foreign if receipts::is_copy(path) => {
                report.faults.push(Fault::Unfinished { name: name.clone() });
            }
            Role::Beyond | Role::Foreign => report.faults.push(Fault::Added { name: name.clone() }),
        }
    }
}

struct Recordings<'a> {
    dir: &'a Path,
    names: &'a BTreeSet<String>,
    asked: &'a Asked<'a>,
    /// Some receipts cannot be read.
    lost: bool,
}

impl Recordings<'_> {
    fn check(&self, entries: &[(u64, Vec<u8>)], report: &mut Report) {
        let mut receipts = Vec::new();
        for (index, entry) in entries {
            match Entry::from_entry(entry) {
                Ok(Entry::Event(_)) => report.events += 1,
                Ok(Entry::Receipt(receipt)) => receipts.push(receipt),
                Err(source) => report.faults.push(Fault::Receipt { index: *index, source }),
            }
        }
        report.receipts = receipts.len() as u64;
        let owners: BTreeMap<[u8; 32], &str> = receipts
            .iter()
            .flat_map(|receipt| &receipt.files)
            .map(|file| (file.sha256, file.name.as_str()))
            .collect();
        let mut known = BTreeSet::new();
        let total = receipts.iter().map(|receipt| receipt.files.len() as u64).sum();
        for receipt in &receipts {
            let before = report.faults.len();
            let left = |file: &ReceiptFile| recovery::Kind::of(&file.name) != Some(Kind::Journal);
            report.interrupted += u64::from(receipt.is_recovered() && receipt.files.iter().any(left));
            for file in &receipt.files {
                known.insert(file.name.as_str());
                self.file(file, &owners, report);
                let progress = Progress { files: known.len() as u64, of: total, bytes: report.bytes };
                self.asked.progress.inspect(|tell| tell(&progress));
            }
            // What a dead run has left ends where it ends: its hash is all there is to check.
            if report.faults.len() == before && !receipt.is_recovered() {
                self.open(receipt, report);
            }
        }
        let failed = receipts.iter().filter(|receipt| receipt.state == ReceiptState::Failed);
        let failed: BTreeSet<_> = failed.map(|receipt| receipt.id.as_str()).collect();
        self.unreceipted(&known, &failed, report);
    }

    /// Files besides the log's that no receipt names.
    fn unreceipted(&self, known: &BTreeSet<&str>, failed: &BTreeSet<&str>, report: &mut Report) {
        let is_lost = |name: &str| failed.contains(name.split('.').next().unwrap_or_default());
        let of_log = format!("{DIR_NAME}/");
        for name in self.names.iter().filter(|name| !name.starts_with(&of_log) && *name != DIR_NAME) {
            if !known.contains(name.as_str()) {
                let name = name.clone();
                report.faults.push(match is_unfinished(&name) {
                    true if is_lost(&name) => Fault::Lost { name },
                    true => Fault::Unfinished { name },
                    false if self.lost => Fault::Unproved { name },
                    false => Fault::Added { name },
                });
            }
        }
    }

    fn file(&self, file: &ReceiptFile, owners: &BTreeMap<[u8; 32], &str>, report: &mut Report) {
        let name = file.name.clone();
        if !self.names.contains(&name) {
            // Of canary calls the recorder keeps only the newest.
            if !canary::is_name(&name) {
                report.faults.push(Fault::Missing { name });
            }
            return;
        }
        let path = self.dir.join(&name);
        // A link or a pipe in a recording's place is never followed.
        if !std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            report.faults.push(Fault::NotAFile { name });
            return;
        }
        let (found, sha256) = match hash(&path) {
            Ok(hashed) => hashed,
            Err(source) => return report.faults.push(Fault::Unreadable { name, source }),
        };
        report.files += 1;
        report.bytes += found;
        if sha256 != file.sha256 {
            report.faults.push(match owners.get(&sha256) {
                Some(other) => Fault::Swapped { name, other: (*other).into() },
                None if found != file.bytes => Fault::Length { name, found, sealed: file.bytes },
                None => Fault::Changed { name },
            });
        }
    }

    /// With a key: every file opens to its end, and the manifest says what the receipt says.
    fn open(&self, receipt: &Receipt, report: &mut Report) {
        let Some(identities) = self.asked.identities else { return };
        // All that are there have been found right: what is missing is a canary's.
        if receipt.files.iter().any(|file| !self.names.contains(&file.name)) {
            return;
        }
        for file in &receipt.files {
            if let Err(source) = self.read_whole(&file.name, identities) {
                report.faults.push(Fault::Open { source });
            }
        }
        let Some(last) = receipt.files.last() else { return };
        match library::read_manifest(&self.dir.join(&last.name), identities) {
            Ok(manifest) => {
                let named: Vec<_> = manifest.files.iter().map(|file| (&file.name, file.bytes)).collect();
                let sealed = receipt.files[..receipt.files.len() - 1].iter();
                let sealed: Vec<_> = sealed.map(|file| (&file.name, file.bytes)).collect();
                let fits = manifest.id == receipt.id
                    && manifest.start == receipt.start
                    && manifest.counters == receipt.counters;
                // The manifest is sealed before the disk is asked for the last time.
                let lost =
                    receipt.state == ReceiptState::Failed && sealed.iter().all(|file| named.contains(file));
                match () {
                    () if fits && named == sealed => {}
                    () if fits && lost => {
                        let lost = named.into_iter().filter(|file| !sealed.contains(file));
                        report.faults.extend(lost.map(|(name, _)| Fault::Lost { name: name.clone() }));
                    }
                    () => report.faults.push(Fault::Manifest { id: receipt.id.clone() }),
                }
            }
            Err(source) => report.faults.push(Fault::Open { source }),
        }
    }

    fn read_whole(&self, name: &str, identities: &Identities) -> Result<(), OpenFault> {
        let path = self.dir.join(name);
        let mut plain = library::open(&path, identities)?;
        io::copy(&mut plain, &mut io::sink()).map(drop).map_err(|source| OpenFault::Io { path, source })
    }
}

/// Also segments of a journal: of a run that goes on, or that died and has not been started again.
fn is_unfinished(name: &str) -> bool {
    name.ends_with(recovery::PART_SUFFIX) || name.ends_with(SEGMENT_SUFFIX)
}

/// What to do about interrupted recordings.
const SALVAGE: &str = "`sejf salvage` makes whole ones of them, with a key";

/// Length and SHA-256 of a file.
pub(in crate::shell) fn hash(path: &Path) -> io::Result<(u64, [u8; 32])> {
    hash_file(File::open(path)?)
}

/// Of one that is open.
fn hash_file(mut file: File) -> io::Result<(u64, [u8; 32])> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(context.finish().as_ref());
            return Ok((length, sha256));
        }
        context.update(&buffer[..read]);
        length += read as u64;
    }
}

/// What there is.
struct Found {
    /// All files below the directory, by their path from there; also links and what else is no folder.
    names: BTreeSet<String>,
    /// Folders that cannot be looked into.
    faults: Vec<Fault>,
}

impl Found {
    fn below(dir: &Path) -> Result<Self, VerifyError> {
        library::is_directory(dir)?;
        let mut found = Self { names: BTreeSet::new(), faults: Vec::new() };
        let mut dirs = vec![dir.to_path_buf()];
        while let Some(next) = dirs.pop() {
            match found.look_into(&next, dir, &mut dirs) {
                Ok(()) => {}
                Err(source) if next == dir => return Err(VerifyError::Io { path: next, source }),
                Err(source) => found.faults.push(Fault::Unreadable { name: name_below(dir, &next), source }),
            }
        }
        Ok(found)
    }

    fn look_into(&mut self, next: &Path, dir: &Path, dirs: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in std::fs::read_dir(next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                self.names.insert(name_below(dir, &entry.path()));
            }
        }
        Ok(())
    }
}

fn name_below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned()
}
