//! Files below `incoming`: as their recorders sealed them, so under the key of their epoch and under no envelope. None
//! of them may outlive its recording.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::archive::record::{Phase, RecordingId};
use crate::shell::vault::intake::protocol::{RECORDERS, folder_name};
use crate::shell::vault::intake::{Intake, IntakeError, STAGED, Step};

/// All files below a folder, by the recordings that they are of: those that are being written, too.
pub(in crate::shell::vault) fn received(
    folder: &Path,
) -> Result<BTreeMap<RecordingId, Vec<PathBuf>>, IntakeError> {
    let mut found: BTreeMap<RecordingId, Vec<PathBuf>> = BTreeMap::new();
    let mut dirs = vec![folder.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(IntakeError::io("listing", &dir))?,
        };
        for entry in entries {
            let entry = entry.map_err(IntakeError::io("listing", &dir))?;
            let path = entry.path();
            if entry.file_type().map_err(IntakeError::io("looking at", &path))?.is_dir() {
                dirs.push(path);
            } else if let Some(id) = recording_of(&entry.file_name()) {
                found.entry(id).or_default().push(path);
            }
        }
    }
    Ok(found)
}

/// `ID.opus.age`, and `.ID.opus.age.part` while it is being written.
fn recording_of(name: &OsStr) -> Option<RecordingId> {
    let name = name.to_str()?;
    name.strip_prefix('.').unwrap_or(name).split('.').next()?.parse().ok()
}

impl Intake {
    /// Removes what an interrupted run has left of recordings that are archived, or destroyed.
    pub(super) async fn sweep_staged(&self) -> Result<(), IntakeError> {
        let found = received(&self.incoming(STAGED))?;
        let ids: Vec<_> = found.keys().copied().collect();
        for ids in ids.chunks(BATCH_MAX) {
            for record in self.catalog.get_all(ids).await? {
                for path in found.get(&record.id).into_iter().flatten() {
                    // Of one that is staged, what has another name than its files was left half way.
                    if record.phase != Phase::Staged || is_hidden(path) {
                        self.remove_file(path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes what an interrupted run has left of recordings that were sent and are taken in.
    pub(super) async fn sweep_sent(&self) -> Result<(), IntakeError> {
        let found = received(&self.incoming(RECORDERS))?;
        let ids: Vec<_> = found.keys().copied().collect();
        for ids in ids.chunks(BATCH_MAX) {
            let mut known: BTreeMap<String, Vec<RecordingId>> = BTreeMap::new();
            for record in self.catalog.get_all(ids).await? {
                known.entry(record.recorder).or_default().push(record.id);
            }
            for (recorder, ids) in known {
                let folder = folder_name(&recorder);
                let awaited: BTreeSet<RecordingId> = self.catalog.awaited_of(&recorder, &ids).await?;
                let paths = ids.iter().filter(|id| !awaited.contains(id)).filter_map(|id| found.get(id));
                for path in paths.flatten() {
                    // By the same id another recorder may send something else.
                    if path.parent().and_then(Path::file_name) == Some(OsStr::new(&folder)) {
                        self.remove_file(path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a file; one that is not there is gone already.
    pub(super) fn remove_file(&self, path: &Path) -> Result<(), IntakeError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(IntakeError::io("removing", path))?,
        }
        self.passed(Step::FileRemoved)
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

const BATCH_MAX: usize = 256;
