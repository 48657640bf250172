//! Checks and mends a medium with nothing but the medium.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::archive::media::{Layout, Medium, STATEMENT};
use crate::archive::record::Digest;
use crate::archive::sums::{Statement, Sum, Sums};
use crate::seal::note::VerifyKey;
use crate::shell::verify::beneath::Beneath;
use crate::shell::verify::fault::VerifyError;
use crate::shell::verify::{Found, hash_file};

/// What a medium is.
#[derive(Debug, Default, Serialize)]
pub struct MediumReport {
    /// What is wrong; nothing where all is well.
    pub faults: Vec<MediumFault>,
    /// Its number; empty where nothing that is signed can be read.
    pub id: String,
    /// What is written on it.
    pub label: String,
    /// When it was written.
    pub written: String,
    /// Key of the archive.
    pub vault: String,
    /// Whether that key was known from elsewhere.
    pub pinned: bool,
    /// Recordings on it.
    pub recordings: u64,
    /// Files in its list.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether what is wrong can be mended with what is on it.
    pub mendable: bool,
    /// What it says of itself, where that is as it was signed.
    #[serde(skip)]
    pub medium: Option<Medium>,
}

/// Something that is wrong with a medium.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MediumFault {
    /// In no list.
    #[error("added: {file} was not there when the medium was written")]
    Added {
        /// Path on the medium.
        file: String,
    },
    /// Other bytes than were written.
    #[error("changed: {file}{}", ranges(at))]
    Changed {
        /// Path on the medium.
        file: String,
        /// Slices that are changed: first byte, and the one after the last.
        at: Vec<(u64, u64)>,
    },
    /// In the list and not there.
    #[error("missing: {file}")]
    Missing {
        /// Path on the medium.
        file: String,
    },
    /// Neither list with its signature can be believed.
    #[error("no list of this medium is signed by the archive: {fault}")]
    Unsigned {
        /// Why.
        fault: String,
    },
    /// A folder cannot be looked into.
    #[error("{fault}")]
    Unreadable {
        /// Which, and why.
        fault: String,
    },
}

impl MediumFault {
    /// The file it is of; nothing where it is of the medium as a whole.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Added { file } | Self::Changed { file, .. } | Self::Missing { file } => Some(file),
            Self::Unsigned { .. } | Self::Unreadable { .. } => None,
        }
    }
}

fn ranges(at: &[(u64, u64)]) -> String {
    let shown =
        at.iter().take(SHOWN_MAX).map(|(from, to)| format!("bytes {from} to {}", to.saturating_sub(1)));
    let shown: Vec<String> = shown.collect();
    let more =
        if at.len() > SHOWN_MAX { format!(" and {} more", at.len() - SHOWN_MAX) } else { String::new() };
    if shown.is_empty() { String::new() } else { format!(", {}{more}", shown.join(", ")) }
}

impl MediumReport {
    /// In words.
    pub fn summary(&self) -> String {
        let what = match (self.faults.is_empty(), self.mendable) {
            (true, _) => "whole",
            (false, true) => "damaged, and can be mended: sejf media repair",
            (false, false) => "damaged beyond what is on it: write another from the archive",
        };
        let by = if self.pinned { "" } else { " (as the medium says itself: --vault KEY to say which)" };
        format!(
            "medium {} `{}`, written {}: {} recordings, {} files, {} bytes: {what}\nsigned by {}{by}",
            self.id, self.label, self.written, self.recordings, self.files, self.bytes, self.vault
        )
    }
}

/// Checks the medium in the folder `dir`.
pub fn medium(dir: &Path, vault: Option<&str>) -> Result<MediumReport, VerifyError> {
    let (report, _) = look(dir, vault)?;
    Ok(report)
}

/// Mends what can be mended, and tells what is wrong after that.
pub fn repair(dir: &Path, vault: Option<&str>) -> Result<MediumReport, VerifyError> {
    let (report, state) = look(dir, vault)?;
    if report.faults.is_empty() {
        return Ok(report);
    }
    if let Some(state) = state {
        state.mend().map_err(|(file, source)| VerifyError::Io { path: dir.join(file), source })?;
    }
    medium(dir, vault)
}

/// Control files, each twice: what the list is believed by.
const CONTROL: [&str; 3] = [KEY, LIST, SIGNATURE];

/// Name of the second one.
pub(in crate::shell) fn copy_of(name: &str) -> String {
    format!("{name}.copy")
}

struct State {
    medium: Arc<Beneath>,
    /// Control files as they should be.
    control: BTreeMap<&'static str, Vec<u8>>,
    run: Run,
    layout: Layout,
    /// Hashes of slices and of recovery slices, where one of the copies is whole.
    index: Option<Vec<Digest>>,
    bad: BTreeSet<u64>,
    bad_recovery: BTreeSet<u64>,
}

fn look(dir: &Path, vault: Option<&str>) -> Result<(MediumReport, Option<State>), VerifyError> {
    let pinned = vault.map(|text| text.parse::<VerifyKey>()).transpose();
    let pinned = pinned.map_err(|source| VerifyError::Recorder { source })?;
    let Found { names, faults } = Found::below(dir)?;
    let medium = Beneath::open(dir).map_err(|source| VerifyError::Io { path: dir.into(), source })?;
    let medium = Arc::new(medium);
    let mut report = MediumReport { pinned: pinned.is_some(), ..MediumReport::default() };
    let faults = faults.into_iter().map(|fault| fault.to_string());
    let faults = faults.filter(|fault| !fault.contains("lost+found"));
    report.faults.extend(faults.map(|fault| MediumFault::Unreadable { fault }));
    let signed = match Signed::read(&medium, pinned) {
        Ok(signed) => signed,
        Err(fault) => {
            report.faults.push(MediumFault::Unsigned { fault });
            return Ok((report, None));
        }
    };
    signed.tell_control(&medium, &mut report);
    let Signed { statement, key, sums, control } = signed;
    report.id = statement.id;
    report.written = statement.made.to_string();
    report.vault = key.to_string();
    report.files = sums.0.len() as u64;
    report.bytes = sums.0.values().filter_map(|sum| sum.bytes).sum();
    let is_control = |name: &str| CONTROL.iter().any(|control| name == *control || name == copy_of(control));
    for file in names.iter().filter(|name| !sums.0.contains_key(*name) && !is_control(name)) {
        if !file.starts_with("lost+found/") {
            report.faults.push(MediumFault::Added { file: file.clone() });
        }
    }
    let run = Run::of(Arc::clone(&medium), &sums);
    let layout = Layout::of(run.bytes);
    let mut state = State {
        control,
        index: read_index(&medium, &sums, layout),
        medium,
        run,
        layout,
        bad: BTreeSet::new(),
        bad_recovery: BTreeSet::new(),
    };
    state.check(&sums, &mut report);
    report.mendable = state.is_mendable(&report);
    let own = state.medium.read(MEDIUM, CONTROL_BYTES_MAX).ok();
    let own = own.and_then(|json| serde_json::from_slice::<Medium>(&json).ok());
    if let Some(medium) = own.filter(|medium| medium.id == report.id) {
        report.label.clone_from(&medium.label);
        report.recordings = medium.recordings.len() as u64;
        let is_signed = report.faults.iter().all(|fault| fault.file() != Some(MEDIUM));
        report.medium = is_signed.then_some(medium);
    }
    Ok((report, Some(state)))
}

/// What is signed, from whichever of the copies are whole.
struct Signed {
    statement: Statement,
    key: VerifyKey,
    sums: Sums,
    control: BTreeMap<&'static str, Vec<u8>>,
}

impl Signed {
    fn read(medium: &Beneath, pinned: Option<VerifyKey>) -> Result<Self, String> {
        let texts = |name: &str| -> Vec<String> {
            let read = |name: &String| String::from_utf8(medium.read(name, CONTROL_BYTES_MAX).ok()?).ok();
            [name.to_owned(), copy_of(name)].iter().filter_map(read).collect()
        };
        let keys: Vec<VerifyKey> = match pinned {
            Some(key) => vec![key],
            None => texts(KEY).iter().filter_map(|text| text.parse().ok()).collect(),
        };
        let (lists, mut fault) = (texts(LIST), "its files are missing or unreadable".to_owned());
        for key in &keys {
            for note in texts(SIGNATURE) {
                let statement = match Statement::open(&note, key, STATEMENT) {
                    Ok(statement) => statement,
                    Err(error) => {
                        fault = error.to_string();
                        continue;
                    }
                };
                let is_signed = |list: &&String| Digest::of(list.as_bytes()) == statement.list;
                let Some(list) = lists.iter().find(is_signed) else {
                    fault = "neither MANIFEST nor its copy is the one that was signed".into();
                    continue;
                };
                let sums = match Sums::from_manifest(list) {
                    Ok(sums) => sums,
                    Err(error) => {
                        fault = error.to_string();
                        continue;
                    }
                };
                let key_text = format!("{key}\n").into_bytes();
                let control =
                    [(KEY, key_text), (LIST, list.clone().into_bytes()), (SIGNATURE, note.into_bytes())];
                return Ok(Self { statement, key: key.clone(), sums, control: control.into() });
            }
        }
        Err(fault)
    }

    fn tell_control(&self, medium: &Beneath, report: &mut MediumReport) {
        for (name, bytes) in &self.control {
            for file in [(*name).to_owned(), copy_of(name)] {
                match medium.read(&file, CONTROL_BYTES_MAX) {
                    Ok(there) if there == *bytes => {}
                    Ok(_) => report.faults.push(MediumFault::Changed { file, at: Vec::new() }),
                    Err(_) => report.faults.push(MediumFault::Missing { file }),
                }
            }
        }
    }
}

/// Hashes of all slices, from a copy that is as the list says.
fn read_index(medium: &Beneath, sums: &Sums, layout: Layout) -> Option<Vec<Digest>> {
    [SLICES.to_owned(), copy_of(SLICES)].into_iter().find_map(|name| {
        let sum = sums.0.get(&name)?;
        let bytes = medium.read(&name, sum.bytes?).ok()?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        let count = hashes.len() as u64;
        // What a list says that anybody may have signed is not gone through before there are as many.
        let is_it = Digest::of(&bytes) == sum.sha256
            && rest.is_empty()
            && count >= layout.slices
            && count == layout.slices + layout.recovery();
        is_it.then(|| hashes.iter().copied().map(Digest).collect())
    })
}

impl State {
    /// Compares all that is there with what was signed.
    fn check(&mut self, sums: &Sums, report: &mut MediumReport) {
        if let Some(index) = &self.index {
            let (slices, recovery) =
                index.split_at(usize::try_from(self.layout.slices).unwrap_or(usize::MAX));
            self.bad = self.run.bad(self.layout, slices);
            self.bad_recovery = self.recovery().bad(self.layout, recovery);
        }
        let suspects: BTreeSet<String> = self.run.files_in(self.layout, &self.bad).collect();
        for (file, sum) in &sums.0 {
            let there = self.medium.file(file).and_then(|there| Ok((there.metadata()?.len(), there)));
            let Ok((length, there)) = there else {
                report.faults.push(MediumFault::Missing { file: file.clone() });
                continue;
            };
            // What the slices say is whole need not be read again.
            let is_in_slices = self.index.is_some() && !file.starts_with(PARITY);
            let is_whole = Some(length) == sum.bytes
                && ((is_in_slices && !suspects.contains(file)) || is_as_listed(there, sum));
            if !is_whole {
                let at = match file.as_str() {
                    RECOVERY => slice_ranges(self.layout, &self.bad_recovery),
                    _ => self.run.ranges(file, self.layout, &self.bad),
                };
                report.faults.push(MediumFault::Changed { file: file.clone(), at });
            }
        }
    }

    fn is_mendable(&self, report: &MediumReport) -> bool {
        let is_added =
            |fault: &MediumFault| matches!(fault, MediumFault::Added { .. } | MediumFault::Unreadable { .. });
        let is_lost = |group: &crate::archive::media::Group| {
            let bad = group.slices.iter().filter(|slice| self.bad.contains(slice)).count() as u64;
            let recovery = group.recovery..group.recovery + group.recovery_count;
            bad > group.recovery_count - self.bad_recovery.range(recovery).count() as u64
        };
        self.index.is_some()
            && !report.faults.iter().any(is_added)
            && !self.layout.groups().any(|group| is_lost(&group))
    }

    fn recovery(&self) -> Run {
        let bytes = self.layout.recovery() * self.layout.slice_bytes;
        Run { medium: Arc::clone(&self.medium), files: vec![(0, RECOVERY.into(), bytes)], bytes }
    }

    /// Writes a small file, both times that it is there, where it is not as it should be.
    fn mend_both(&self, name: &str, bytes: &[u8]) -> Result<(), Unmended> {
        for file in [name.to_owned(), copy_of(name)] {
            if self.medium.read(&file, bytes.len() as u64).ok().as_deref() != Some(bytes) {
                self.medium.write_whole(&file, bytes).map_err(|error| (file, error))?;
            }
        }
        Ok(())
    }

    /// Writes what can be made of the rest. A group with too many losses stays as it is.
    fn mend(mut self) -> Result<(), Unmended> {
        for (name, bytes) in &self.control {
            self.mend_both(name, bytes)?;
        }
        let Some(index) = self.index.take() else { return Ok(()) };
        let bytes: Vec<u8> = index.iter().flat_map(|digest| digest.0).collect();
        self.mend_both(SLICES, &bytes)?;
        let recovery = self.recovery();
        self.run.make_lengths(&self.layout, &self.bad)?;
        recovery.make_lengths(&self.layout, &self.bad_recovery)?;
        for group in self.layout.groups() {
            let ids = group.recovery..group.recovery + group.recovery_count;
            let lost: Vec<u64> =
                group.slices.iter().copied().filter(|slice| self.bad.contains(slice)).collect();
            let worn: Vec<u64> = self.bad_recovery.range(ids.clone()).copied().collect();
            if lost.is_empty() && worn.is_empty() {
                continue;
            }
            let slice =
                |slice: &u64| (!self.bad.contains(slice)).then(|| self.run.slice(self.layout, *slice))?;
            let slices: Vec<_> = group.slices.iter().map(slice).collect();
            let spare =
                |id: u64| (!self.bad_recovery.contains(&id)).then(|| recovery.slice(self.layout, id))?;
            let Some(whole) = group.decode(&slices, &ids.clone().map(spare).collect::<Vec<_>>()) else {
                continue;
            };
            let right = |(slice, bytes): (&u64, &Vec<u8>)| Digest::of(bytes) == index[*slice as usize];
            if !group.slices.iter().zip(&whole).all(right) {
                continue;
            }
            for slice in lost {
                let nth = group.slices.iter().position(|other| *other == slice).unwrap_or_default();
                self.run.write(self.layout, slice, &whole[nth])?;
            }
            if let Some(made) = group.encode(&whole).filter(|_| !worn.is_empty()) {
                for id in worn {
                    recovery.write(self.layout, id, &made[(id - group.recovery) as usize])?;
                }
            }
        }
        Ok(())
    }
}

/// What could not be written, and why.
type Unmended = (String, io::Error);

fn is_as_listed(file: File, sum: &Sum) -> bool {
    hash_file(file).is_ok_and(|(bytes, sha256)| Some(bytes) == sum.bytes && Digest(sha256) == sum.sha256)
}

/// Files one after the other as one run of bytes.
pub(in crate::shell) struct Run {
    medium: Arc<Beneath>,
    /// Start, path, length.
    files: Vec<(u64, String, u64)>,
    /// Length of all.
    pub(in crate::shell) bytes: u64,
}

impl Run {
    /// All files of a list that parity is over.
    pub(in crate::shell) fn new(dir: &Path, sums: &Sums) -> io::Result<Self> {
        Ok(Self::of(Arc::new(Beneath::open(dir)?), sums))
    }

    fn of(medium: Arc<Beneath>, sums: &Sums) -> Self {
        let (mut files, mut bytes) = (Vec::new(), 0);
        for (path, sum) in sums.0.iter().filter(|(path, _)| !path.starts_with(PARITY)) {
            let length = sum.bytes.unwrap_or_default();
            files.push((bytes, path.clone(), length));
            bytes += length;
        }
        Self { medium, files, bytes }
    }

    /// Parts of files that a slice is made of: index of the file, offset there, offset in the slice, length.
    fn pieces(&self, layout: Layout, slice: u64) -> Vec<(usize, u64, usize, usize)> {
        let (from, to) = (slice * layout.slice_bytes, ((slice + 1) * layout.slice_bytes).min(self.bytes));
        let first = self.files.partition_point(|(start, _, length)| start + length <= from);
        let mut pieces = Vec::new();
        for (nth, (start, _, length)) in self.files.iter().enumerate().skip(first) {
            if *start >= to {
                break;
            }
            let (begin, end) = (from.max(*start), to.min(start + length));
            if begin < end {
                pieces.push((nth, begin - start, (begin - from) as usize, (end - begin) as usize));
            }
        }
        pieces
    }

    /// A slice, filled up with zeros; nothing where it cannot be read.
    pub(in crate::shell) fn slice(&self, layout: Layout, slice: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(layout.slice_bytes).ok()?];
        for (nth, offset, at, length) in self.pieces(layout, slice) {
            self.medium
                .file(&self.files[nth].1)
                .ok()?
                .read_exact_at(&mut bytes[at..at + length], offset)
                .ok()?;
        }
        Some(bytes)
    }

    fn bad(&self, layout: Layout, hashes: &[Digest]) -> BTreeSet<u64> {
        let is_bad = |(number, hash): &(u64, &Digest)| {
            self.slice(layout, *number).is_none_or(|bytes| Digest::of(&bytes) != **hash)
        };
        (0..).zip(hashes).filter(is_bad).map(|(number, _)| number).collect()
    }

    fn files_in<'a>(
        &'a self,
        layout: Layout,
        slices: &'a BTreeSet<u64>,
    ) -> impl Iterator<Item = String> + 'a {
        slices.iter().flat_map(move |slice| {
            self.pieces(layout, *slice).into_iter().map(|(nth, ..)| self.files[nth].1.clone())
        })
    }

    /// Which bytes of a file are in these slices.
    fn ranges(&self, file: &str, layout: Layout, slices: &BTreeSet<u64>) -> Vec<(u64, u64)> {
        let pieces = slices.iter().flat_map(|slice| self.pieces(layout, *slice));
        let of_file = pieces.filter(|(nth, ..)| self.files[*nth].1 == file);
        of_file.map(|(_, offset, _, length)| (offset, offset + length as u64)).collect()
    }

    /// Has files that are to be mended be there, as long as they should be.
    fn make_lengths(&self, layout: &Layout, bad: &BTreeSet<u64>) -> Result<(), Unmended> {
        let named: BTreeSet<String> = self.files_in(*layout, bad).collect();
        for (_, file, length) in &self.files {
            let there = self.medium.file(file).and_then(|there| Ok(there.metadata()?.len()));
            if there.as_ref().is_ok_and(|there| there == length) {
                continue;
            }
            let is_longer = there.as_ref().is_ok_and(|there| there > length);
            if !named.contains(file) && !is_longer && *length > 0 {
                continue;
            }
            let make = || -> io::Result<()> {
                let made = self.medium.make(file)?;
                made.set_len(*length)?;
                made.sync_all()
            };
            make().map_err(|error| (file.clone(), error))?;
        }
        Ok(())
    }

    fn write(&self, layout: Layout, slice: u64, bytes: &[u8]) -> Result<(), Unmended> {
        for (nth, offset, at, length) in self.pieces(layout, slice) {
            let file = &self.files[nth].1;
            let write = || -> io::Result<()> {
                let there = self.medium.file_to_write(file)?;
                there.write_all_at(&bytes[at..at + length], offset)?;
                there.sync_all()
            };
            write().map_err(|error| (file.clone(), error))?;
        }
        Ok(())
    }
}

fn slice_ranges(layout: Layout, slices: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    slices.iter().map(|slice| (slice * layout.slice_bytes, (slice + 1) * layout.slice_bytes)).collect()
}

/// The list.
pub(in crate::shell) const LIST: &str = "MANIFEST";
/// Its signature.
pub(in crate::shell) const SIGNATURE: &str = "MANIFEST.sig";
/// The archive's public key.
pub(in crate::shell) const KEY: &str = "vault.pub";
/// What the medium says of itself.
pub(in crate::shell) const MEDIUM: &str = "medium.json";
/// Hashes of slices.
pub(in crate::shell) const SLICES: &str = "parity/slices";
/// Recovery slices.
pub(in crate::shell) const RECOVERY: &str = "parity/recovery";
const PARITY: &str = "parity/";
const SHOWN_MAX: usize = 5;
/// A list of some millions of files.
const CONTROL_BYTES_MAX: u64 = 1 << 30;
