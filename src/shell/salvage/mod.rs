//! What a run that died has left, made into whole recordings by a key holder.
//!
//! ```text
//! <id>.opus.interrupted.age   what opens of it ┐
//! *.journal                   the bytes after  ├─► one stream, to its last whole page ─► sealed anew
//! ```
//!
//! Of a part, all chunks before the first that is cut or changed are good: each proves itself. The journal has
//! every byte that was not on the disk in a part, at its offset. Where the two overlap they must agree,
//! and where they do not, that is told and the part is believed.
//!
//! The journal is read into memory, all of it that opens: at the most, as many bytes as its segments have.

mod index;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::recording::journal::Id;
use crate::recording::manifest::State;
use crate::recording::recorder::Content;
use crate::seal::identity::Identities;
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::shell::journal::{DIR_NAME, SEGMENT_SUFFIX};
use crate::shell::locks;
use crate::shell::receipts::DIR_NAME as RECEIPTS_DIR;
use crate::shell::recovery::{JOURNAL_SUFFIX, Kind, file_names, is_final};
use crate::shell::salvage::index::Index;

/// What to make recordings of, and for whom.
pub struct Asked<'a> {
    /// Folder of recordings.
    pub dir: &'a Path,
    /// Where whole recordings go; not the same folder.
    pub to: &'a Path,
    /// What opens what is there.
    pub identities: &'a Identities,
    /// Folder of the recorder's journal, where it is not the one in `dir`.
    pub journal: Option<&'a Path>,
    /// Who can open what is made.
    pub recipients: &'a Recipients,
}

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// A recorder is running there.
    #[error("a recorder is writing into `{}`: what it writes is not interrupted; wait until it ends, or take a copy", dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// None of the keys opens anything.
    #[error("none of the keys opens what is left in `{}`: give the identity of somebody it was recorded for", dir.display())]
    NoKey {
        /// The folder.
        dir: PathBuf,
    },
    /// It would stand beside what it was made of.
    #[error("`{}` holds what is to be salvaged: choose another folder with --to", dir.display())]
    SameFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// The file key could not be sealed.
    #[error(transparent)]
    Seal(#[from] crate::seal::stream::SealError),
}

impl SalvageError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.into(), source }
    }
}

/// Something that could not be used, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A batch of the journal, or its header, does not open or is not read.
    #[error("`{name}`, batch {batch}: {reason}; what it held is missing where no file has it")]
    Batch {
        /// The journal.
        name: String,
        /// Which of its frames, from 0.
        batch: u64,
        /// Why.
        reason: String,
    },
    /// Journal and file say different things.
    #[error("`{name}`: {bytes} bytes from {offset} on differ from the journal; those of the file were taken")]
    Differs {
        /// The file.
        name: String,
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// The file does not open.
    #[error("`{name}` does not open: {reason}")]
    File {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// Bytes are missing in the middle.
    #[error("`{name}`: the journal goes on at byte {next}, and nothing has what is between {at} and there")]
    Hole {
        /// The file.
        name: String,
        /// Where the whole bytes end.
        at: u64,
        /// Where the next ones begin.
        next: u64,
    },
}

/// A recording that was made whole.
#[derive(Debug, serde::Serialize)]
pub struct Salvaged {
    /// Its id.
    pub id: String,
    /// What its manifest says.
    pub state: State,
    /// Seconds.
    pub duration_s: f64,
    /// Plain bytes that its files had.
    pub from_files: u64,
    /// Plain bytes that only the journal had.
    pub from_journal: u64,
    /// Whether nothing of it is missing.
    pub whole: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Recordings made, oldest first.
    pub salvaged: Vec<Salvaged>,
    /// Recordings that had been made before.
    pub done_before: u64,
    /// What could not be used.
    pub faults: Vec<Fault>,
    /// Files and segments that none of the keys opens.
    pub closed: u64,
}

/// What there is of one recording.
#[derive(Debug, Default)]
struct Sources {
    contents: Vec<(Content, String)>,
    manifest: Option<String>,
}

/// Makes whole recordings of everything that a dead run has left in a folder.
pub fn salvage(asked: &Asked<'_>, random: &mut dyn Randomness) -> Result<Report, SalvageError> {
    std::fs::create_dir_all(asked.to)
        .map_err(|source| SalvageError::io("making folder", asked.to, source))?;
    let real = |dir: &Path| dir.canonicalize().map_err(|source| SalvageError::io("looking at", dir, source));
    if real(asked.dir)? == real(asked.to)? {
        return Err(SalvageError::SameFolder { dir: asked.dir.into() });
    }
    // Before anything is looked at, and no longer: a recorder that starts meanwhile is not kept from recording.
    let receipts = take(&asked.dir.join(RECEIPTS_DIR))?;
    let folder = asked.journal.map_or_else(|| asked.dir.join(DIR_NAME), Path::to_owned);
    let journal = take(&folder)?;
    let (sources, finished, mut journals) = look(asked.dir)?;
    if journal.is_some() {
        let segments = files_in(&folder)?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX));
        journals.extend(segments.map(|name| folder.join(name)));
    }
    let mut report = Report::default();
    let index = Index::read(&journals, asked.identities, &mut report)?;
    drop((receipts, journal));
    let known = sources.keys().copied().chain(index.ids()).collect::<BTreeSet<Id>>();
    for id in known.into_iter().filter(|id| !finished.contains(id)) {
        let none = Sources::default();
        let sources = sources.get(&id).unwrap_or(&none);
        write::recording(asked, &id, sources, &index, random, &mut report)?;
    }
    if report.salvaged.is_empty() && report.done_before == 0 && report.closed > 0 {
        return Err(SalvageError::NoKey { dir: asked.dir.into() });
    }
    report.salvaged.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(report)
}

/// Takes a folder that a recorder holds for as long as it runs. Returns nothing where there is none.
fn take(folder: &Path) -> Result<Option<File>, SalvageError> {
    match locks::folder_alone(folder, locks::IN_PASSING) {
        Ok(Some(taken)) => Ok(Some(taken)),
        Ok(None) => Err(SalvageError::Busy { dir: folder.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SalvageError::io("locking", folder, error)),
    }
}

type Found = (BTreeMap<Id, Sources>, BTreeSet<Id>, Vec<PathBuf>);

/// Files by recording, recordings that are whole, and journals.
fn look(dir: &Path) -> Result<Found, SalvageError> {
    let (mut sources, mut finished, mut journals) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for name in files_in(dir)? {
        let Some((kind, id)) = Kind::of(&name).zip(id_of(&name)) else { continue };
        if kind == Kind::Manifest && name == format!("{}.json.age", uuid::Uuid::from_bytes(id)) {
            finished.insert(id);
        }
        if kind == Kind::Journal {
            debug_assert!(name.ends_with(JOURNAL_SUFFIX));
            journals.push(dir.join(name));
            continue;
        }
        let sources: &mut Sources = sources.entry(id).or_default();
        match name.split('.').nth(1) {
            Some("opus") => sources.contents.push((Content::Opus, name)),
            Some("pcapng") => sources.contents.push((Content::Packets, name)),
            Some("wav") => sources.contents.push((Content::Wav, name)),
            _ => sources.manifest = Some(name),
        }
    }
    // Where a power cut took the name of a file back, and no recorder has started since, the file is there all the
    // same.
    let named = |(_, name): &(Content, String)| is_final(name);
    finished.retain(|id| sources.get(id).is_none_or(|sources| sources.contents.iter().all(named)));
    Ok((sources, finished, journals))
}

fn files_in(dir: &Path) -> Result<Vec<String>, SalvageError> {
    file_names(dir).map_err(|source| SalvageError::io("reading folder", dir, source))
}

fn id_of(name: &str) -> Option<Id> {
    let id = name.split('.').next()?;
    uuid::Uuid::parse_str(id).ok().map(uuid::Uuid::into_bytes)
}
