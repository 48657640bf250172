//! Key places: folders that hold the same files, each on another device or host.
//!
//! ```text
//! STEM.GENERATION.EXT     000017.3.age     the highest generation counts; a lower one is shredded
//! STEM.EXT                ewa.age          written once
//! .….new                                   was being written; shredded when found
//! ```
//!
//! A change is a file with the next generation: on the disks of all places before it counts, and only then are
//! lower ones shredded. So whatever is cut off leaves the old file or the new one, and a place that was away and
//! comes back with old files loses them: what was destroyed does not return with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::seal::header::Header;
use crate::shell::vault::keydisk::KeyDisk;
use crate::shell::vault::keyfault::KeyFault;

/// All key places of a vault.
#[derive(Debug)]
pub(super) struct Mirror {
    disk: Arc<dyn KeyDisk>,
    /// Those that are there. The first is in the vault's home.
    places: Vec<PathBuf>,
    /// Those that should be.
    absent: Vec<PathBuf>,
    /// What each is marked with; nothing while they are being begun.
    mark: Option<String>,
}

/// What has a name in a folder, whatever its generation.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Slot {
    /// Below the place.
    pub(super) dir: String,
    pub(super) stem: String,
    pub(super) ext: String,
}

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Repair {
    /// Files that a place had not, and has now.
    pub copied: u64,
    /// Files of lower generations, or that were being written.
    pub shredded: u64,
}

impl Slot {
    pub(super) fn new(dir: impl Into<String>, stem: impl Into<String>, ext: &str) -> Self {
        Self { dir: dir.into(), stem: stem.into(), ext: ext.into() }
    }

    fn name(&self, generation: u64) -> String {
        let Self { stem, ext, .. } = self;
        if generation == 0 { format!("{stem}.{ext}") } else { format!("{stem}.{generation}.{ext}") }
    }

    /// Of a file's name, with its generation.
    fn parse(dir: &str, name: &str) -> Option<(Self, u64)> {
        let (rest, ext) = name.rsplit_once('.').filter(|(rest, _)| !rest.is_empty())?;
        let numbered = rest.rsplit_once('.').and_then(|(stem, number)| {
            let generation: u64 = number.parse().ok()?;
            (generation > 0 && generation.to_string() == number).then_some((stem, generation))
        });
        let (stem, generation) = numbered.unwrap_or((rest, 0));
        (!stem.is_empty()).then(|| (Self::new(dir, stem, ext), generation))
    }
}

impl Mirror {
    pub(super) fn new(disk: Arc<dyn KeyDisk>, places: Vec<PathBuf>, absent: Vec<PathBuf>) -> Self {
        Self { disk, places, absent, mark: None }
    }

    /// The same, which changes something only where every place has its mark.
    #[must_use]
    pub(super) fn marked(self, mark: &str) -> Self {
        Self { mark: Some(mark.into()), ..self }
    }

    pub(super) fn disk(&self) -> &dyn KeyDisk {
        &*self.disk
    }

    pub(super) fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Places that should be there and are not: from the beginning, or any more, and then their folder is that beneath
    /// a disk.
    pub(super) fn absent(&self) -> Vec<PathBuf> {
        let is_there = |place: &Path| {
            let Some(mark) = &self.mark else { return true };
            let read = self.disk.read(&place.join(MARK));
            read.is_ok_and(|read| read.is_some_and(|read| read.trim_ascii() == mark.as_bytes()))
        };
        let gone = self.places.iter().filter(|place| !is_there(place));
        self.absent.iter().chain(gone).cloned().collect()
    }

    /// Nothing is changed while a place is away: it would come back with what was destroyed, and what is new would
    /// be in fewer places than it counts for.
    pub(super) fn writable(&self) -> Result<(), KeyFault> {
        match self.absent().into_iter().next() {
            Some(place) => Err(KeyFault::Absent { place }),
            None => Ok(()),
        }
    }

    /// Each thing in a folder, with its highest generation in any place.
    pub(super) fn newest(&self, dir: &str) -> Result<BTreeMap<Slot, u64>, KeyFault> {
        let mut newest = BTreeMap::new();
        for place in &self.places {
            for (slot, generation) in self.files(place, dir)? {
                let known = newest.entry(slot).or_insert(generation);
                *known = generation.max(*known);
            }
        }
        Ok(newest)
    }

    /// The highest generation of one thing.
    pub(super) fn generation(&self, slot: &Slot) -> Result<Option<u64>, KeyFault> {
        Ok(self.newest(&slot.dir)?.get(slot).copied())
    }

    /// Whether any place has it in that generation.
    pub(super) fn exists(&self, slot: &Slot, generation: u64) -> bool {
        self.places.iter().any(|place| place.join(&slot.dir).join(slot.name(generation)).exists())
    }

    /// Names of folders in a folder.
    pub(super) fn dirs(&self, dir: &str) -> Result<BTreeSet<String>, KeyFault> {
        let mut dirs = BTreeSet::new();
        for place in &self.places {
            let path = place.join(dir);
            let names = self.disk.list(&path).map_err(KeyFault::io("listing", &path))?;
            let is_dir = |name: &String| !name.starts_with('.') && self.disk.is_dir(&path.join(name));
            dirs.extend(names.into_iter().filter(is_dir));
        }
        Ok(dirs)
    }

    /// Reads one thing in a generation, of the first place where `parse` takes it.
    pub(super) fn read<T>(
        &self,
        slot: &Slot,
        generation: u64,
        mut parse: impl FnMut(&[u8]) -> Result<T, KeyFault>,
    ) -> Result<Option<T>, KeyFault> {
        let mut fault = None;
        for place in &self.places {
            let path = place.join(&slot.dir).join(slot.name(generation));
            let parsed = match self.disk.read(&path) {
                Ok(None) => continue,
                Ok(Some(bytes)) => parse(&bytes).map_err(|source| source.at(&path)),
                Err(source) => Err(KeyFault::io("reading", &path)(source)),
            };
            match parsed {
                Ok(value) => return Ok(Some(value)),
                Err(other) => {
                    fault.get_or_insert(other);
                }
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// Reads the highest generation, with its number. Somebody else may be changing it: then it is looked up anew.
    pub(super) fn read_newest<T>(
        &self,
        slot: &Slot,
        mut parse: impl FnMut(&[u8]) -> Result<T, KeyFault>,
    ) -> Result<Option<(u64, T)>, KeyFault> {
        let mut generation = self.generation(slot)?;
        loop {
            let Some(now) = generation else { return Ok(None) };
            let read = self.read(slot, now, &mut parse);
            if let Ok(Some(value)) = read {
                return Ok(Some((now, value)));
            }
            generation = self.generation(slot)?;
            if generation == Some(now) {
                // It is there and cannot be read, or is there in name only.
                let lost = || KeyFault::Damaged { path: self.places[0].join(&slot.dir).join(slot.name(now)) };
                return read.and_then(|_| Err(lost()));
            }
        }
    }

    /// Writes one thing into all places, in a generation that none has. On their disks when this returns.
    pub(super) fn write(&self, slot: &Slot, generation: u64, bytes: &[u8]) -> Result<(), KeyFault> {
        self.writable()?;
        self.places.iter().try_for_each(|place| self.write_in(place, slot, generation, bytes))
    }

    /// Writes the next generation of one thing, and shreds those before, and what was begun. For who holds the lock.
    pub(super) fn put(&self, slot: &Slot, bytes: &[u8]) -> Result<u64, KeyFault> {
        let generation = self.generation(slot)?.unwrap_or(0) + 1;
        self.shred_begun(&slot.dir)?;
        self.write(slot, generation, bytes)?;
        self.shred_below(slot, generation)?;
        Ok(generation)
    }

    /// Writes something that is in no place yet. For who holds the lock.
    pub(super) fn put_new(&self, slot: &Slot, bytes: &[u8]) -> Result<u64, KeyFault> {
        if self.generation(slot)?.is_some() {
            return Err(KeyFault::Taken { path: self.places[0].join(&slot.dir).join(&slot.stem) });
        }
        self.shred_begun(&slot.dir)?;
        self.write(slot, 1, bytes)?;
        Ok(1)
    }

    /// Shreds lower generations of one thing in all places.
    pub(super) fn shred_below(&self, slot: &Slot, generation: u64) -> Result<u64, KeyFault> {
        let mut shredded = 0;
        for place in &self.places {
            for (other, older) in self.files(place, &slot.dir)? {
                if other == *slot && older < generation {
                    self.shred_file(&place.join(&slot.dir), &slot.name(older))?;
                    shredded += 1;
                }
            }
        }
        Ok(shredded)
    }

    /// Shreds one thing in all generations, in all places.
    pub(super) fn shred(&self, slot: &Slot) -> Result<(), KeyFault> {
        self.shred_below(slot, u64::MAX).map(drop)
    }

    /// Shreds all that is in a folder of a place, and the folder.
    pub(super) fn shred_dir(&self, place: &Path, dir: &str) -> Result<(), KeyFault> {
        let path = place.join(dir);
        if !self.disk.is_dir(&path) {
            return Ok(());
        }
        for name in self.disk.list(&path).map_err(KeyFault::io("listing", &path))? {
            if self.disk.is_dir(&path.join(&name)) {
                self.shred_dir(place, &format!("{dir}/{name}"))?;
            } else {
                self.shred_file(&path, &name)?;
            }
        }
        self.disk.remove_dir(&path).map_err(KeyFault::io("removing", &path))?;
        let parent = path.parent().unwrap_or(place);
        self.disk.sync_dir(parent).map_err(KeyFault::io("syncing", parent))
    }

    /// Brings all places to the highest generation of what is in one folder: an earlier write may have failed in one
    /// of them. For who holds the lock.
    pub(super) fn level(&self, dir: &str) -> Result<(), KeyFault> {
        self.writable()?;
        let newest = self.newest(dir)?;
        let mut behind = BTreeSet::new();
        for place in &self.places {
            let files = self.files(place, dir)?;
            let have: BTreeSet<_> = files.iter().filter(|(slot, of)| newest.get(slot) == Some(of)).collect();
            behind.extend(files.iter().filter(|file| !have.contains(file)).map(|(slot, _)| slot.clone()));
            if have.len() < newest.len() {
                let has = |slot: &Slot| have.iter().any(|(other, _)| other == slot);
                behind.extend(newest.keys().filter(|slot| !has(slot)).cloned());
            }
        }
        for slot in behind {
            self.copy_where_missing(&slot, newest[&slot])?;
            self.shred_below(&slot, newest[&slot])?;
        }
        Ok(())
    }

    /// Brings all places to the highest generation of everything in these folders. What else lies beside them is
    /// nobody's business: a place may be the top of a file system.
    pub(super) fn repair(&self, dirs: &[&str]) -> Result<Repair, KeyFault> {
        self.writable()?;
        let mut done = Repair { copied: 0, shredded: self.shred_begun("")? };
        dirs.iter().try_for_each(|dir| self.repair_dir(dir, &mut done))?;
        Ok(done)
    }

    fn repair_dir(&self, dir: &str, done: &mut Repair) -> Result<(), KeyFault> {
        done.shredded += self.shred_begun(dir)?;
        for (slot, generation) in self.newest(dir)? {
            done.copied += self.copy_where_missing(&slot, generation)?;
            done.shredded += self.shred_below(&slot, generation)?;
        }
        self.dirs(dir)?.iter().try_for_each(|name| self.repair_dir(&format!("{dir}/{name}"), done))
    }

    /// Shreds what was being written in a folder, in all places. For who holds the lock: nobody writes then.
    pub(super) fn shred_begun(&self, dir: &str) -> Result<u64, KeyFault> {
        let mut shredded = 0;
        for place in &self.places {
            let path = place.join(dir);
            let names = self.disk.list(&path).map_err(KeyFault::io("listing", &path))?;
            for name in names.into_iter().filter(|name| is_begun(dir, name)) {
                if self.disk.is_dir(&path.join(&name)) {
                    self.shred_dir(place, &if dir.is_empty() { name } else { format!("{dir}/{name}") })?;
                } else {
                    self.shred_file(&path, &name)?;
                }
                shredded += 1;
            }
        }
        Ok(shredded)
    }

    fn copy_where_missing(&self, slot: &Slot, generation: u64) -> Result<u64, KeyFault> {
        let path = |place: &Path| place.join(&slot.dir).join(slot.name(generation));
        let without: Vec<_> = self.places.iter().filter(|place| !path(place).exists()).collect();
        if without.is_empty() {
            return Ok(0);
        }
        let whole = self.read(slot, generation, |bytes| match &*slot.ext {
            "age" if !looks_whole(bytes) => Err(KeyFault::Damaged { path: PathBuf::new() }),
            _ => Ok(bytes.to_vec()),
        })?;
        let Some(bytes) = whole else { return Ok(0) };
        without.iter().try_for_each(|place| self.write_in(place, slot, generation, &bytes))?;
        Ok(without.len() as u64)
    }

    /// What each place has in that generation.
    pub(super) fn read_all(&self, slot: &Slot, generation: u64) -> Result<Vec<(PathBuf, Vec<u8>)>, KeyFault> {
        let mut all = Vec::new();
        for place in &self.places {
            let path = place.join(&slot.dir).join(slot.name(generation));
            let read = self.disk.read(&path).map_err(KeyFault::io("reading", &path))?;
            all.extend(read.map(|bytes| (path, bytes)));
        }
        Ok(all)
    }

    /// A file in a folder of any place that should have been shredded: of a lower generation, or begun.
    pub(super) fn left_over(&self, dir: &str) -> Result<Option<PathBuf>, KeyFault> {
        let newest = self.newest(dir)?;
        for place in &self.places {
            let path = place.join(dir);
            let names = self.disk.list(&path).map_err(KeyFault::io("listing", &path))?;
            if let Some(begun) = names.iter().find(|name| name.starts_with('.') && name.ends_with(".new")) {
                return Ok(Some(path.join(begun)));
            }
            let files = self.files(place, dir)?.into_iter();
            let mut older = files.filter(|(slot, generation)| newest.get(slot) != Some(generation));
            if let Some((slot, generation)) = older.next() {
                return Ok(Some(path.join(slot.name(generation))));
            }
        }
        Ok(None)
    }

    /// Puts the same bytes over a file that has rotted in one place.
    pub(super) fn mend(&self, slot: &Slot, generation: u64, bytes: &[u8]) -> Result<u64, KeyFault> {
        self.writable()?;
        let mut mended = 0;
        for place in &self.places {
            let path = place.join(&slot.dir).join(slot.name(generation));
            if self.disk.read(&path).is_ok_and(|there| there.as_deref() == Some(bytes)) {
                continue;
            }
            self.write_in(place, slot, generation, bytes)?;
            mended += 1;
        }
        Ok(mended)
    }

    pub(super) fn write_in(
        &self,
        place: &Path,
        slot: &Slot,
        generation: u64,
        bytes: &[u8],
    ) -> Result<(), KeyFault> {
        let dir = place.join(&slot.dir);
        let name = slot.name(generation);
        let (aside, path) = (dir.join(format!(".{name}.new")), dir.join(&name));
        self.disk.create_dir(&dir).map_err(KeyFault::io("making folder", &dir))?;
        self.disk
            .write(&aside, bytes)
            .and_then(|()| self.disk.rename(&aside, &path))
            .and_then(|()| self.disk.sync_dir(&dir))
            .map_err(KeyFault::io("writing", &path))
    }

    fn files(&self, place: &Path, dir: &str) -> Result<Vec<(Slot, u64)>, KeyFault> {
        let path = place.join(dir);
        let names = self.disk.list(&path).map_err(KeyFault::io("listing", &path))?;
        let parse = |name: &String| Slot::parse(dir, name).filter(|_| !name.starts_with('.'));
        let is_known = |(slot, _): &(Slot, u64)| EXTENSIONS.contains(&&*slot.ext);
        Ok(names.iter().filter_map(parse).filter(is_known).collect())
    }

    fn shred_file(&self, dir: &Path, name: &str) -> Result<(), KeyFault> {
        let path = dir.join(name);
        let gone = |result: io::Result<()>| match result {
            // Somebody else has done it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        gone(self.disk.overwrite(&path))
            .and_then(|()| gone(self.disk.remove(&path)))
            .and_then(|()| self.disk.sync_dir(dir))
            .map_err(KeyFault::io("shredding", &path))
    }
}

/// Whether a name is of something that was being written. At the top there are names of others too.
fn is_begun(dir: &str, name: &str) -> bool {
    let Some(name) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")) else { return false };
    !dir.is_empty()
        || name == BEGUN
        || name.strip_prefix(ROOT_DIR).is_some_and(|number| number.parse::<u64>().is_ok())
}

/// As far as that can be told without a key: a header, a nonce and a chunk.
fn looks_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    Header::read(&mut rest).is_ok() && rest.len() >= NONCE_AND_TAG_BYTES
}

/// What was begun to be destroyed, in the first place.
pub(super) const BEGUN: &str = "destroy.begun";
/// Before the number of a root key, of whose folder it is the name.
pub(super) const ROOT_DIR: &str = "root-";
/// Whose keys a place has.
pub(super) const MARK: &str = "vault.id";
/// What may be in a key place; everything else is left alone.
const EXTENSIONS: &[&str] = &["age", "pub", "destroyed", "json"];
const NONCE_AND_TAG_BYTES: usize = 32;
