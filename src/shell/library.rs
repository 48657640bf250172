//! A directory of recordings, read with a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::recording::manifest::{Manifest, State};
use crate::seal::identity::Identities;
use crate::seal::open::{OpenError, Opener};
use crate::seal::receipt::{Receipt, ReceiptState};
use crate::shell::recovery::{INTERRUPTED, PART_SUFFIX};
use crate::shell::verify::ReadLog;

/// Why there is no directory of recordings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoDirectory {
    /// It is a file.
    #[error("`{}` is no directory: name the one that it is in; `sejf show` and `sejf open` take a file", path.display())]
    File {
        /// What was asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("reading `{}`: {source}", path.display())]
    Io {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not there.
    #[error("there is no directory `{}`: name the one that was recorded to, `--to` of `sejf replay` or `to` under [recorder] in the configuration", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
}

/// Whether `path` is a directory, or a link to one.
pub fn is_directory(path: &Path) -> Result<(), NoDirectory> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(NoDirectory::File { path: path.into() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(NoDirectory::Missing { path: path.into() })
        }
        Err(source) => Err(NoDirectory::Io { path: path.into(), source }),
    }
}

/// Why a sealed file gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFault {
    /// There is no directory of recordings.
    #[error(transparent)]
    Directory(#[from] NoDirectory),
    /// It could not be opened, or not to its end.
    #[error("opening `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The operating system refused.
    #[error("reading `{}`: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It opened, and is no manifest that this program reads.
    #[error("`{}` is no manifest: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It opened, and is longer than any manifest.
    #[error("`{}` is longer than any manifest", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// It is there, and not whole.
    #[error(
        "`{}` is not finished, or was interrupted: what is whole has a manifest; with the recorder stopped, `sejf \
         salvage` makes whole ones",
        path.display()
    )]
    Unfinished {
        /// What was asked for.
        path: PathBuf,
    },
    /// No such recording.
    #[error("`{}` is no recording: name one of its files, or directory and id", path.display())]
    NoRecording {
        /// What was asked for.
        path: PathBuf,
    },
}

/// A directory of recordings.
#[derive(Debug)]
pub struct Library {
    /// Sealed manifests, in order of their names: ids begin with their time.
    manifests: Vec<PathBuf>,
    failed: Failed,
    /// Recordings whose receipt says that they failed, and whose files are there and have no final name.
    lost: usize,
}

/// Recordings whose receipt says that they failed: with the names of the files that it has.
type Failed = BTreeMap<String, BTreeSet<String>>;

impl Library {
    /// Looks at what there is.
    pub fn open(dir: &Path) -> Result<Self, OpenFault> {
        is_directory(dir)?;
        let io = |source| OpenFault::Io { path: dir.into(), source };
        let (mut manifests, mut unfinished) = (Vec::new(), BTreeSet::new());
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.to_str().is_some_and(|name| name.ends_with(MANIFEST_SUFFIX)) {
                manifests.push(path);
            } else if let Some(id) = unfinished_id(&path) {
                unfinished.insert(id.to_owned());
            }
        }
        manifests.sort();
        let failed = failed(dir);
        let lost = unfinished.iter().filter(|id| failed.contains_key(*id)).count();
        Ok(Self { manifests, failed, lost })
    }

    /// Recordings of which the disk did not keep all, so that they have no manifest to be listed by.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// Opens all manifests. Those that do not open are told apart, unless the directory itself fails.
    pub fn manifests(&self, identities: &Identities) -> Result<(Vec<Manifest>, Vec<OpenFault>), OpenFault> {
        let (mut manifests, mut faults) = (Vec::new(), Vec::new());
        for path in &self.manifests {
            match read_manifest(path, identities) {
                Ok(mut manifest) => {
                    believe(&self.failed, &mut manifest);
                    manifests.push(manifest);
                }
                Err(fault) => faults.push(fault),
            }
        }
        manifests.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
        Ok((manifests, faults))
    }
}

/// Opens a sealed file.
pub fn open(path: &Path, identities: &Identities) -> Result<impl Read + use<>, OpenFault> {
    let file = File::open(path).map_err(|source| OpenFault::Io { path: path.into(), source })?;
    Opener::open(BufReader::new(file), identities)
        .map_err(|source| OpenFault::Open { path: path.into(), source })
}

/// Finds and opens the manifest of a recording named by any of its files, or by directory and id.
pub fn manifest_of(recording: &Path, identities: &Identities) -> Result<Manifest, OpenFault> {
    let missing = || OpenFault::NoRecording { path: recording.into() };
    let name = recording.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?;
    let id = name.split('.').next().unwrap_or_default();
    let path = recording.with_file_name(format!("{id}{MANIFEST_SUFFIX}"));
    if !path.exists() {
        let left = [UNFINISHED_SUFFIX, INTERRUPTED_SUFFIX].map(|end| format!("{id}{end}"));
        return Err(match left.iter().any(|name| recording.with_file_name(name).exists()) {
            true => OpenFault::Unfinished { path: recording.into() },
            false => missing(),
        });
    }
    let mut manifest = read_manifest(&path, identities)?;
    if let Some(dir) = path.parent() {
        believe(&failed(dir), &mut manifest);
    }
    Ok(manifest)
}

/// The id of a recording that has a file without its final name.
fn unfinished_id(path: &Path) -> Option<&str> {
    let (id, rest) = path.file_name()?.to_str()?.split_once('.')?;
    (rest.ends_with(PART_SUFFIX) || rest.contains(INTERRUPTED)).then_some(id)
}

/// What the receipts in a directory say failed. Where they cannot be read manifests stand alone: `sejf verify`
/// says what is wrong with receipts.
fn failed(dir: &Path) -> Failed {
    let entries = ReadLog::open(dir, None).map(|log| log.entries).unwrap_or_default();
    let receipts = entries.iter().filter_map(|(_, entry)| Receipt::from_entry(entry).ok());
    let failed = receipts.filter(|receipt| receipt.state == ReceiptState::Failed);
    failed.map(|receipt| (receipt.id, receipt.files.into_iter().map(|file| file.name).collect())).collect()
}

/// A manifest is sealed before the disk is asked for the last time whether it has kept all: the receipt is
/// right.
fn believe(failed: &Failed, manifest: &mut Manifest) {
    let Some(kept) = failed.get(&manifest.id) else { return };
    let lost = manifest.files.iter().filter(|file| !kept.contains(&file.name));
    let lost: Vec<_> = lost.map(|file| format!("the disk did not keep {} whole", file.name)).collect();
    if lost.is_empty() {
        return;
    }
    manifest.state = State::Failed;
    manifest.files.retain(|file| kept.contains(&file.name));
    manifest.notes.extend(lost);
    manifest.notes.push("its receipt says that it failed; `sejf salvage` may make more of it".into());
}

/// Opens and reads a manifest.
pub fn read_manifest(path: &Path, identities: &Identities) -> Result<Manifest, OpenFault> {
    let mut json = Vec::new();
    let mut plain = open(path, identities)?.take(MANIFEST_BYTES_MAX + 1);
    plain.read_to_end(&mut json).map_err(|source| OpenFault::Io { path: path.into(), source })?;
    if json.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(OpenFault::Long { path: path.into() });
    }
    serde_json::from_slice(&json).map_err(|source| OpenFault::Manifest { path: path.into(), source })
}

/// How names of sealed manifests end.
const MANIFEST_SUFFIX: &str = ".json.age";
const UNFINISHED_SUFFIX: &str = ".json.age.part";
const INTERRUPTED_SUFFIX: &str = ".json.interrupted.age";
/// Longer than any that a recorder writes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
