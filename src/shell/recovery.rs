//! Start-up after a run that died: nothing is left without a name that says what it is, and a receipt.
//!
//! ```text
//! <id>.opus.age.part   ─► <id>.opus.interrupted.age ┐
//! <id>.json.age          (named, not yet receipted) ├─► one receipt for each id, state interrupted
//! journal/….segment    ─► <uuid>.journal            ─► one receipt each
//! ```
//!
//! A file has its final name only when all files of its recording are whole and on the disk (`shell::store`). So
//! where a power cut left some of these names and took others back, the rest get their final names too.
//!
//! The recorder cannot open any of them. It cuts a segment behind its last whole frame, which needs no
//! key, and names everything; a key holder makes whole recordings of it (`sejf salvage`).
//!
//! Order: all renames, one sync, then hashes, then receipts. Dying at any point and starting again does what
//! is left to do: what has its new name is found because no receipt names it (I3), and no receipt is
//! written before its file is on the disk (I1). The look at what there is comes before the new run makes
//! its first file, so its own are never touched; the work itself may go on beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;

use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::recording::manifest::RecorderFacts;
use crate::seal::event::{Event, EventKind};
use crate::seal::random::Randomness;
use crate::seal::receipt::{self, Receipt, ReceiptFile, ReceiptState, UNKNOWN_RULE};
use crate::seal::segment::{FrameKind, Frames};
use crate::shell::clock;
use crate::shell::disk::COPY_SUFFIX;
use crate::shell::journal::{Folder, JournalDisk, SEGMENT_SUFFIX};
use crate::shell::receipts::{ReceiptLog, ReceiptsError};
use crate::shell::store::Commit;
use crate::shell::verify::hash;

/// Why something a dead run has left is still as it was. The next start tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The operating system refused.
    #[error("{doing} `{}`, left by a run that died: {source}; it stays as it is until the next start", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The receipts cannot be read, so it is not known which files have one.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
}

impl RecoveryError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.into(), source }
    }
}

/// What a dead run has left.
#[derive(Debug)]
pub struct Leftovers {
    recordings: PathBuf,
    journal: PathBuf,
    /// Files in the folder of recordings that no receipt names.
    files: Vec<String>,
    /// Segments.
    segments: Vec<PathBuf>,
    /// Second copies of unfinished files, which are still there themselves.
    copies: Vec<PathBuf>,
}

/// What has come of it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Receipts to be written, oldest first.
    pub receipts: Vec<Receipt>,
    /// What could not be done.
    pub faults: Vec<RecoveryError>,
}

impl Recovered {
    /// What the log says of it; nothing where there was nothing but empty segments.
    fn event(&self, recorder: &RecorderFacts) -> Option<Event> {
        let of_journal = |file: &ReceiptFile| Kind::of(&file.name) == Some(Kind::Journal);
        let journals = self.receipts.iter().filter(|receipt| receipt.files.iter().all(of_journal)).count();
        let kind = EventKind::Recovered {
            recordings: (self.receipts.len() - journals) as u64,
            journals: journals as u64,
            faults: self.faults.len() as u64,
        };
        let nothing = self.receipts.is_empty() && self.faults.is_empty();
        (!nothing).then(|| Event::new(clock::now(), kind, &recorder.id, &recorder.version))
    }
}

/// Names of the regular files in a folder, in order; those that are no UTF-8 are nobody's of ours.
pub(super) fn file_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Looks at what there is. Before the first file of a new run is made.
pub fn scan(recordings: &Path, journal: &Folder, log: &ReceiptLog) -> Result<Leftovers, RecoveryError> {
    let names =
        |dir: &Path| file_names(dir).map_err(|source| RecoveryError::io("reading folder", dir, source));
    let mut files = names(recordings)?;
    let copies = files.iter().filter(|name| is_copy(name)).map(|name| recordings.join(name)).collect();
    files.retain(|name| Kind::of(name).is_some());
    // Reading all receipts is spared where there is nothing to look for.
    if !files.is_empty() {
        let receipted = log.receipted_files()?;
        files.retain(|name| !receipted.contains(name));
    }
    let segments = names(journal.path())?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX));
    let segments = segments.map(|name| journal.path().join(name)).collect();
    Ok(Leftovers { recordings: recordings.into(), journal: journal.path().into(), files, segments, copies })
}

impl Leftovers {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.segments.is_empty() && self.copies.is_empty()
    }

    /// Gives everything its name, has it on the disk, and says which receipts are missing.
    pub fn recover(
        self,
        disk: &mut dyn JournalDisk,
        recorder: &RecorderFacts,
        random: &mut dyn Randomness,
    ) -> Recovered {
        let mut recovered = Recovered::default();
        let mut names = BTreeSet::new();
        let whole: BTreeSet<&str> =
            self.files.iter().filter(|name| is_final(name)).map(|name| id_of(name)).collect();
        for copy in &self.copies {
            if let Err(source) = disk.remove(copy) {
                recovered.faults.push(RecoveryError::io("removing second copy", copy, source));
            }
        }
        for name in &self.files {
            match self.name_file(name, whole.contains(id_of(name)), disk) {
                Ok(name) => drop(names.insert(name)),
                Err(fault) => recovered.faults.push(fault),
            }
        }
        for segment in &self.segments {
            match self.name_segment(segment, disk, random) {
                Ok(name) => names.extend(name),
                Err(fault) => recovered.faults.push(fault),
            }
        }
        if names.is_empty() {
            return recovered;
        }
        for dir in [&self.recordings, &self.journal] {
            if let Err(source) = disk.sync(dir) {
                recovered.faults.push(RecoveryError::io("syncing", dir, source));
                return recovered;
            }
        }
        let mut by_id: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for name in &names {
            by_id.entry(id_of(name)).or_default().push(name);
        }
        for (id, names) in by_id {
            match self.receipt(id, names, recorder) {
                Ok(receipt) => recovered.receipts.push(receipt),
                Err(fault) => recovered.faults.push(fault),
            }
        }
        recovered
    }

    /// `whole` says that all files of the recording are.
    fn name_file(
        &self,
        name: &str,
        whole: bool,
        disk: &mut dyn JournalDisk,
    ) -> Result<String, RecoveryError> {
        let new = if whole { final_name(name).map(Into::into) } else { interrupted_name(name) };
        let Some(new) = new else { return Ok(name.into()) };
        let from = self.recordings.join(name);
        let renamed = disk.rename_new(&from, &self.recordings.join(&new));
        renamed.map_err(|source| RecoveryError::io("naming", &from, source))?;
        Ok(new)
    }

    /// Returns nothing where there was nothing in it.
    fn name_segment(
        &self,
        path: &Path,
        disk: &mut dyn JournalDisk,
        random: &mut dyn Randomness,
    ) -> Result<Option<String>, RecoveryError> {
        let io = |doing| move |source| RecoveryError::io(doing, path, source);
        let (valid, batches) = measure(path).map_err(io("reading journal segment"))?;
        if batches == 0 {
            disk.remove(path).map_err(io("removing empty journal segment"))?;
            return Ok(None);
        }
        disk.truncate(path, valid).map_err(io("cutting journal segment"))?;
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let name = format!("{}{JOURNAL_SUFFIX}", uuid::Builder::from_random_bytes(bytes).into_uuid());
        disk.rename_new(path, &self.recordings.join(&name)).map_err(io("naming journal segment"))?;
        Ok(Some(name))
    }

    fn receipt(
        &self,
        id: &str,
        mut names: Vec<&String>,
        recorder: &RecorderFacts,
    ) -> Result<Receipt, RecoveryError> {
        // The manifest comes last, as in every receipt.
        names.sort_by_key(|name| (Kind::of(name) == Some(Kind::Manifest), *name));
        let mut files = Vec::new();
        let mut end = Stamp::ZERO;
        for name in names {
            let path = self.recordings.join(name);
            let io = |source| RecoveryError::io("reading", &path, source);
            let (bytes, sha256) = hash(&path).map_err(io)?;
            files.push(ReceiptFile { name: name.clone(), bytes, sha256 });
            end = end.max(modified(&path).map_err(io)?);
        }
        // An id begins with its time; of the rest nothing is known without a key.
        let start = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp()).map(|at| {
            let (seconds, nanos) = at.to_unix();
            Stamp::from_unix_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(nanos)))
        });
        let start = start.unwrap_or(end);
        Ok(Receipt {
            schema: receipt::SCHEMA,
            id: id.into(),
            state: ReceiptState::Interrupted,
            start,
            end: end.max(start),
            files,
            rule: UNKNOWN_RULE.into(),
            counters: Counters::default(),
            recorder: recorder.id.clone(),
            version: recorder.version.clone(),
        })
    }
}

/// Recovers on a thread of its own and hands the receipts to the committer, whose queue stays open for so
/// long. Faults are told in the log: what they name is still there at the next start.
pub(super) fn start(
    leftovers: Leftovers,
    mut disk: Box<dyn JournalDisk>,
    recorder: RecorderFacts,
    mut random: Box<dyn Randomness + Send>,
    commits: Sender<Commit>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("recovery".into()).spawn(move || {
        let recovered = leftovers.recover(disk.as_mut(), &recorder, &mut *random);
        let event = recovered.event(&recorder);
        let Recovered { receipts, faults } = recovered;
        for fault in &faults {
            tracing::error!("{fault}");
        }
        if !receipts.is_empty() {
            tracing::warn!("{} recordings and journals of a run that died are interrupted", receipts.len());
            // Storing has failed: the next start finds them again.
            let _ = commits.send(Commit::Recovered(receipts));
        }
        if let Some(event) = event {
            let _ = commits.send(Commit::Event(Box::new(event)));
        }
    })
}

/// Bytes of the valid frames of a segment, and how many batches are among them.
fn measure(path: &Path) -> io::Result<(u64, u64)> {
    let mut frames = Frames::new(BufReader::with_capacity(1 << 20, File::open(path)?));
    let mut batches = 0;
    while let Some((frame, _)) = frames.next_frame()? {
        batches += u64::from(frame.kind == FrameKind::Batch);
    }
    Ok((frames.valid_bytes(), batches))
}

fn modified(path: &Path) -> io::Result<Stamp> {
    let since = std::fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH);
    Ok(Stamp::ZERO.after(since.unwrap_or_default()))
}

/// What a file in a folder of recordings is, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Sound or packets, finished or not.
    Content,
    /// A segment of the journal.
    Journal,
    /// A manifest, finished or not.
    Manifest,
}

impl Kind {
    /// Nothing where no recorder gives such a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (id, rest) = name.split_once('.')?;
        uuid::Uuid::parse_str(id).ok().filter(|parsed| parsed.to_string() == id)?;
        if rest == &JOURNAL_SUFFIX[1..] {
            return Some(Self::Journal);
        }
        let rest = rest.strip_suffix(PART_SUFFIX).unwrap_or(rest);
        let rest = rest.strip_suffix(".age")?;
        match rest.strip_suffix(INTERRUPTED).unwrap_or(rest) {
            "json" => Some(Self::Manifest),
            "opus" | "pcapng" | "wav" => Some(Self::Content),
            _ => None,
        }
    }
}

/// Whether a run died that wrote an unfinished file again, because the disk had failed: the file itself is in
/// its place until the copy is whole.
fn is_copy(name: &str) -> bool {
    let part = name.strip_suffix(COPY_SUFFIX);
    part.is_some_and(|part| part.ends_with(PART_SUFFIX) && Kind::of(part).is_some())
}

/// Whether all files of the recording were whole and on the disk when this one got its name.
pub(super) fn is_final(name: &str) -> bool {
    let stem = name.strip_suffix(".age").filter(|stem| !stem.ends_with(INTERRUPTED));
    stem.is_some() && matches!(Kind::of(name), Some(Kind::Content | Kind::Manifest))
}

fn id_of(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// `<id>.opus.age` of `<id>.opus.age.part`; nothing for other names.
fn final_name(part: &str) -> Option<&str> {
    part.strip_suffix(PART_SUFFIX).filter(|name| name.ends_with(".age"))
}

/// `<id>.opus.interrupted.age` of `<id>.opus.age.part`; nothing for other names.
pub(super) fn interrupted_name(part: &str) -> Option<String> {
    let stem = part.strip_suffix(PART_SUFFIX)?.strip_suffix(".age")?;
    Some(format!("{stem}{INTERRUPTED}.age"))
}

/// How names of segments end that a dead run has left.
pub(super) const JOURNAL_SUFFIX: &str = ".journal";
/// Stands before `.age` in the name of an unfinished file.
pub(super) const INTERRUPTED: &str = ".interrupted";
/// How names of files end that are being written.
pub(super) const PART_SUFFIX: &str = ".part";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;
    use crate::shell::identity;
    use crate::shell::journal::RealJournalDisk;

    #[test]
    fn only_names_that_a_recorder_gives_are_touched() {
        let id = "0193c4a5-0000-7000-8000-000000000001";
        for (rest, kind) in [
            ("opus.age.part", Some(Kind::Content)),
            ("wav.interrupted.age", Some(Kind::Content)),
            ("pcapng.age", Some(Kind::Content)),
            ("json.age.part", Some(Kind::Manifest)),
            ("json.interrupted.age", Some(Kind::Manifest)),
            ("journal", Some(Kind::Journal)),
            ("mp3.age", None),
            ("opus", None),
            ("journal.age", None),
        ] {
            assert_eq!(Kind::of(&format!("{id}.{rest}")), kind, "{rest}");
        }
        assert_eq!(Kind::of("notes.opus.age"), None);
        assert_eq!(Kind::of(&format!("{}.opus.age", id.to_uppercase())), None);
        assert_eq!(Kind::of(&format!("{{{id}}}.opus.age")), None);
        let part = format!("{id}.opus.age.part");
        assert!(
            is_copy(&format!("{part}.new")) && !is_copy(&part) && !is_copy(&format!("{id}.opus.age.new"))
        );
        assert!(!is_copy("notes.part.new"));
        assert_eq!(interrupted_name(&part).unwrap(), format!("{id}.opus.interrupted.age"));
        assert_eq!(interrupted_name(&format!("{id}.opus.age")), None);
        assert_eq!(final_name(&part), Some(&part[..part.len() - 5]));
        assert_eq!(final_name(&format!("{id}.opus.age")), None);
    }

    /// A disk that fails for good after some operations.
    struct Failing {
        disk: RealJournalDisk,
        left: usize,
    }

    impl Failing {
        fn pass(&mut self) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::Other)?;
            Ok(())
        }
    }

    impl JournalDisk for Failing {
        fn allocate(&mut self, _: &Path, _: u64) -> io::Result<()> {
            unreachable!("recovery makes no segment")
        }

        fn write_at(&mut self, _: &Path, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("recovery writes nothing")
        }

        fn sync_data(&mut self, _: &Path) -> io::Result<()> {
            unreachable!("recovery syncs folders")
        }

        fn sync(&mut self, dir: &Path) -> io::Result<()> {
            self.pass()?;
            self.disk.sync(dir)
        }

        fn close(&mut self, path: &Path) {
            self.disk.close(path);
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.pass()?;
            self.disk.remove(path)
        }

        fn truncate(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
            self.pass()?;
            self.disk.truncate(path, bytes)
        }

        fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.pass()?;
            self.disk.rename_new(from, to)
        }
    }

    /// Recovers and dies after each name that it gives, and between the syncs, until all is done. Returns the names
    /// of the receipts.
    fn recovered(to: &Path) -> Vec<String> {
        let signer = || identity::from_seed(&[1; 32]);
        let recorder = RecorderFacts { id: signer().name().into(), version: "test".into() };
        for left in std::iter::repeat_n(1, 8).chain([2]) {
            let log = ReceiptLog::open(to, signer()).unwrap();
            let folder = Folder::take(&to.join("journal"), to).unwrap();
            let mut disk = Failing { disk: RealJournalDisk::default(), left };
            let leftovers = scan(to, &folder, &log).unwrap();
            let recovered = leftovers.recover(&mut disk, &recorder, &mut Seeded::new(&[2; 32], "test", 0));
            if recovered.faults.is_empty() {
                let files = recovered.receipts.into_iter().flat_map(|receipt| receipt.files);
                return files.map(|file| file.name).collect();
            }
        }
        panic!("it is never done");
    }

    /// Whichever names of a recording a power cut has taken back, it is whole or interrupted, not half of each.
    #[test]
    fn where_one_file_has_its_final_name_all_get_theirs() {
        let kinds = ["opus", "pcapng", "json"];
        let id = |number: u32| format!("0193c4a5-0000-7000-8000-{number:012}");
        for named in 0..1_u32 << kinds.len() {
            let dir = tempfile::tempdir().unwrap();
            // Of another one no name has come through.
            let (ours, other) = (id(named + 1), id(0));
            for (bit, kind) in kinds.iter().enumerate() {
                let part = if named >> bit & 1 == 1 { "" } else { PART_SUFFIX };
                std::fs::write(dir.path().join(format!("{ours}.{kind}.age{part}")), kind).unwrap();
                std::fs::write(dir.path().join(format!("{other}.{kind}.age{PART_SUFFIX}")), kind).unwrap();
            }
            let receipted = recovered(dir.path());
            let names = |id: &str, ending: &str| kinds.map(|kind| format!("{id}.{kind}{ending}"));
            let ending = if named == 0 { ".interrupted.age" } else { ".age" };
            let want: Vec<_> =
                names(&other, ".interrupted.age").into_iter().chain(names(&ours, ending)).collect();
            assert_eq!(receipted, want, "{named:03b}");
            let mut there = file_names(dir.path()).unwrap();
            there.retain(|name| Kind::of(name).is_some());
            let mut want = want;
            want.sort();
            assert_eq!(there, want, "{named:03b}");
        }
    }
}
