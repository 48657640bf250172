//! Destructions that were begun: finished whatever comes between.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::archive::record::RecordingId;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::mirror::BEGUN;

/// What was begun: a line of `destroy.begun`.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    pub(super) epoch: String,
    pub(super) ids: Vec<RecordingId>,
}

impl KeyRing {
    /// Finishes destructions that were interrupted. What cannot be finished yet, for a file that is whole nowhere,
    /// stays to be finished, and holds nothing else up.
    pub(in crate::shell::vault) fn finish_begun(&self) -> Result<(), KeyFault> {
        let _lock = self.store.lock()?;
        self.finish_locked().map(drop)
    }

    /// Returns what is left to be finished.
    pub(super) fn finish_locked(&self) -> Result<Vec<Begun>, KeyFault> {
        let begun = self.read_begun()?;
        if begun.is_empty() {
            return Ok(begun);
        }
        let mut left = Vec::new();
        for one in begun {
            let epoch = one.epoch.parse()?;
            let finished = match self.known_epoch(&epoch) {
                Ok(None) | Err(KeyFault::Destroyed(_)) => Ok(0),
                Ok(Some(_)) => self.destroy_locked(&epoch, &one.ids, &|_| true),
                Err(fault) => Err(fault),
            };
            match finished {
                Ok(_) => {}
                Err(fault @ (KeyFault::Damaged { .. } | KeyFault::Open { .. })) => {
                    tracing::warn!(%fault, "a destruction that was begun cannot be finished yet");
                    left.push(one);
                }
                Err(fault) => return Err(fault),
            }
        }
        self.write_begun(&left)?;
        Ok(left)
    }

    fn begun_path(&self) -> PathBuf {
        self.store.first().join(BEGUN)
    }

    fn read_begun(&self) -> Result<Vec<Begun>, KeyFault> {
        let (path, disk) = (self.begun_path(), self.store.mirror.disk());
        let bytes = disk.read(&path).map_err(KeyFault::io("reading", &path))?.unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        read.map_err(|_| KeyFault::Damaged { path })
    }

    /// Says what is to be finished, whatever comes between; where that is nothing, there is no file.
    pub(super) fn write_begun(&self, begun: &[Begun]) -> Result<(), KeyFault> {
        let (path, disk) = (self.begun_path(), self.store.mirror.disk());
        if begun.is_empty() {
            return disk
                .remove(&path)
                .and_then(|()| disk.sync_dir(self.store.first()))
                .map_err(KeyFault::io("removing", &path));
        }
        let aside = self.store.first().join(format!(".{BEGUN}.new"));
        let line = |one: &Begun| serde_json::to_string(one).expect("ids and a name") + "\n";
        let lines: String = begun.iter().map(line).collect();
        disk.write(&aside, lines.as_bytes())
            .and_then(|()| disk.rename(&aside, &path))
            .and_then(|()| disk.sync_dir(self.store.first()))
            .map_err(KeyFault::io("writing", &path))
    }
}
