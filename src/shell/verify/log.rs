//! The log of receipts in a directory, as far as it can be read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::seal::log::{CHECKPOINT_PATH, LogError};
use crate::seal::log_survey::{SurveyedLog, bundle_path, survey_log, unsigned_entries};
use crate::seal::log_verify::{Role, VerifiedLog, role, verify_log};
use crate::seal::note::VerifyKey;
use crate::shell::library;
use crate::shell::receipts::{DIR_NAME, KEY_NAME};
use crate::shell::verify::fault::{Fault, VerifyError};

/// The log, read without a private key.
#[derive(Debug)]
pub struct ReadLog {
    /// Whose it is: as asked, else as it says itself.
    pub key: Option<VerifyKey>,
    /// Whether the key beside the log is there, and that one.
    pub key_fits: bool,
    /// Whether there is a checkpoint.
    pub signed: bool,
    /// Entries that were signed, where the checkpoint says it.
    pub size: Option<u64>,
    /// Entries that can be read, by index.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Whether all of `entries` are as they were signed.
    pub proved: bool,
    /// Whether there were more than can be read.
    pub lost: bool,
    /// What is wrong with its files.
    pub faults: Vec<Fault>,
}

impl ReadLog {
    /// Reads the log in a directory of recordings. `recorder` is its public key, known from elsewhere.
    pub fn open(recordings: &Path, recorder: Option<&str>) -> Result<Self, VerifyError> {
        library::is_directory(recordings)?;
        let pinned = recorder.map(|text| text.parse::<VerifyKey>()).transpose();
        let pinned = pinned.map_err(|source| VerifyError::Recorder { source })?;
        let dir = recordings.join(DIR_NAME);
        // Neither is a link followed, nor does a pipe hold us up.
        let faults = RefCell::new(BTreeMap::new());
        let is_folder = match std::fs::symlink_metadata(&dir) {
            Ok(metadata) if !metadata.is_dir() => {
                faults.borrow_mut().insert(String::new(), Fault::NotAFolder { name: DIR_NAME.into() });
                false
            }
            found => found.is_ok(),
        };
        let read = |path: &str| {
            if !is_folder {
                return None;
            }
            read_regular(&dir.join(path)).map_err(|error| note(&faults, path, error)).ok()
        };
        let beside = read(KEY_NAME).and_then(|text| String::from_utf8(text).ok());
        // The line as the recorder writes it, and nothing more.
        let beside = beside
            .and_then(|text| Some((text.trim().parse::<VerifyKey>().ok()?, text)))
            .filter(|(key, text)| *text == format!("{key}\n"))
            .map(|(key, _)| key);
        let key = pinned.or_else(|| beside.clone());
        let mut log = Self {
            key_fits: beside.is_some() && beside == key,
            key,
            signed: is_folder && std::fs::symlink_metadata(dir.join(CHECKPOINT_PATH)).is_ok(),
            size: None,
            entries: Vec::new(),
            proved: false,
            lost: false,
            faults: Vec::new(),
        };
        // Without a checkpoint there never was a receipt, or none that says anything.
        if log.signed {
            log.read(&read);
        }
        let unread = faults.into_inner();
        log.faults.retain(|fault| match fault {
            Fault::Log { name, source: LogError::Missing { .. } } => !unread.contains_key(name),
            _ => true,
        });
        log.faults.extend(unread.into_values());
        Ok(log)
    }

    fn read(&mut self, read: &dyn Fn(&str) -> Option<Vec<u8>>) {
        let Some(key) = &self.key else {
            self.entries = unsigned_entries(read);
            return;
        };
        // What was written after the checkpoint is told apart: it must not hide what was signed.
        let note = read(CHECKPOINT_PATH).and_then(|note| String::from_utf8(note).ok());
        self.size = note.and_then(|note| key.open(&note).ok()).map(|checkpoint| checkpoint.size);
        let size = self.size.unwrap_or(0);
        let signed = |path: &str| {
            if self.size.is_some() && role(path, size) == Role::Beyond { None } else { read(path) }
        };
        match verify_log(&signed, key) {
            Ok(VerifiedLog { entries, .. }) => {
                self.entries = (0..).zip(entries).collect();
                self.proved = true;
            }
            Err(_) => {
                let SurveyedLog { entries, proved, faults, .. } = survey_log(&signed, key);
                self.lost = (entries.len() as u64) < size;
                (self.entries, self.proved) = (entries, proved);
                self.faults = faults.into_iter().map(|source| log_fault(source, size)).collect();
            }
        }
    }
}

/// What is not there is told by whoever needs it.
fn note(faults: &RefCell<BTreeMap<String, Fault>>, path: &str, error: io::Error) {
    let name = format!("{DIR_NAME}/{path}");
    let fault = match error.kind() {
        io::ErrorKind::NotFound => return,
        io::ErrorKind::InvalidInput => Fault::NotAFile { name },
        _ => Fault::Unreadable { name, source: error },
    };
    faults.borrow_mut().insert(path.into(), fault);
}

/// Reads a regular file; anything else is invalid input.
pub(super) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    std::fs::read(path)
}

fn log_fault(source: LogError, size: u64) -> Fault {
    let name = match &source {
        LogError::Beyond { path }
        | LogError::Bundle { path }
        | LogError::Missing { path }
        | LogError::TileChanged { path } => path.clone(),
        LogError::EntryChanged { index } => bundle_path(*index, size),
        _ => CHECKPOINT_PATH.into(),
    };
    Fault::Log { name, source }
}
