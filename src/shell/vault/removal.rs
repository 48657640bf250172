//! What is removed once keys are gone: objects in places, and files as their recorders sealed them.
//!
//! An object that stays opens for nobody. A file as it came is under the key of its epoch, not under an envelope: while
//! that key is there, it opens. Both are tried again by each run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::archive::certificate::{CopiesIn, cut};
use crate::archive::record::{Record, RecordingId};
use crate::shell::vault::catalog::media::MediumRow;
use crate::shell::vault::destroy::{Destroyer, Step};
use crate::shell::vault::intake::received::received;
use crate::shell::vault::matters::MattersError;
use crate::shell::vault::place::{Place, Removal};

/// What became of copies, for a certificate.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) copies: Vec<CopiesIn>,
    /// What is left, in words.
    pub(super) remains: Vec<String>,
}

/// Files as they came that stay.
struct Left {
    count: u64,
    /// The first of them, and why it stays.
    path: String,
    fault: String,
}

impl Left {
    fn copies(&self) -> CopiesIn {
        let (place, site) = (RECEIVED.to_owned(), "spools, and what was sent here".to_owned());
        CopiesIn { place, site, removed: 0, absent: 0, locked: 0, failed: self.count }
    }

    fn line(&self) -> String {
        let Self { count, path, fault } = self;
        format!(
            "{count} files as they came could not be removed, the first `{path}` ({fault}): they OPEN with the key of \
             their epoch until that is destroyed; it is tried again"
        )
    }
}

impl Removed {
    fn add_received(&mut self, left: &Left) {
        self.copies.push(left.copies());
        self.remains.push(left.line());
    }

    fn add_place(&mut self, copies: CopiesIn) {
        let CopiesIn { place, locked, failed, .. } = &copies;
        if *locked > 0 {
            self.remains
                .push(format!("{place} keeps {locked} objects until their lock ends: nobody can open them"));
        }
        if *failed > 0 {
            self.remains.push(format!(
                "{place}: {failed} objects could not be removed, which is tried again: nobody can open them"
            ));
        }
        self.copies.push(copies);
    }
}

impl Destroyer<'_> {
    /// Removes the objects of recordings, headers first, from all places, and files as they came.
    pub(super) async fn remove(&self, records: &[Record]) -> Result<Removed, MattersError> {
        let mut removed = Removed::default();
        for place in self.places {
            let mut copies = nothing_in(&**place);
            for record in records {
                remove_from(&**place, record, &mut copies).await;
            }
            removed.add_place(copies);
        }
        if let Some(left) = self.remove_received(records) {
            removed.add_received(&left);
        }
        Ok(removed)
    }

    /// Media that are offline and have copies of these, in words.
    pub(super) async fn media_of(&self, ids: &[RecordingId]) -> Result<Vec<String>, MattersError> {
        let mut media = BTreeMap::new();
        for (_, medium) in self.catalog.offline_copies(ids).await? {
            media.entry(medium.id.clone()).or_insert((medium, 0_u64)).1 += 1;
        }
        let line = |(medium, count): (MediumRow, u64)| {
            let where_it_is = if medium.is_out { "out, with" } else { "at" };
            let MediumRow { id, label, place, .. } = medium;
            format!("{id} ({label}), {where_it_is} {place}: {count} recordings, sealed; nobody can open them")
        };
        Ok(media.into_values().map(line).collect())
    }

    /// The longest that [`Destroyer::remove`] can give.
    pub(super) fn longest(&self) -> Removed {
        let mut longest = Removed::default();
        for place in self.places {
            let many = u64::MAX;
            longest.add_place(CopiesIn {
                removed: many,
                absent: many,
                locked: many,
                failed: many,
                ..nothing_in(&**place)
            });
        }
        let (path, fault) = ("x".repeat(PATH_BYTES_MAX), "x".repeat(FAULT_BYTES_MAX));
        longest.add_received(&Left { count: u64::MAX, path, fault });
        longest
    }

    /// Tries again to remove what was left: in places that had locked it or were not reached, and as it came.
    pub(super) async fn sweep(&self) -> Result<(), MattersError> {
        for (name, id) in self.catalog.leftovers().await? {
            let Some(record) = self.catalog.get(&id).await? else { continue };
            let is_gone = match self.places.iter().find(|place| place.name() == name) {
                Some(place) => {
                    let mut copies = nothing_in(&**place);
                    remove_from(&**place, &record, &mut copies).await;
                    copies.locked + copies.failed == 0
                }
                None if name == RECEIVED => {
                    let left = self.remove_received(std::slice::from_ref(&record));
                    // With the key of its epoch gone, a file as it came opens no more than an object does.
                    let epoch =
                        record.epoch().map(|epoch| self.vault.keys.is_destroyed(&epoch)).transpose()?;
                    left.is_none() || epoch == Some(true)
                }
                None => false,
            };
            if is_gone {
                self.catalog.swept(&name, &id).await?;
            }
            self.step(Step::Swept)?;
        }
        Ok(())
    }

    /// What has come back is removed; what cannot be is left for the next run.
    pub(super) async fn remove_again(&self, records: &[Record]) -> Result<(), MattersError> {
        let removed = self.remove(records).await?;
        let left = removed.copies.iter().filter(|copies| copies.locked + copies.failed > 0);
        for copies in left {
            let ids: Vec<_> = records.iter().map(|record| record.id).collect();
            self.catalog.leave(&copies.place, &ids).await?;
        }
        Ok(())
    }

    /// Of how many recordings objects are left, and of how many files as they came.
    pub(super) async fn count_left(&self) -> Result<(u64, u64), MattersError> {
        let left = self.catalog.leftovers().await?;
        let received = left.iter().filter(|(name, _)| name == RECEIVED).count();
        // Of a place that is not configured any more, nothing is asked.
        let is_place = |(name, _): &&(String, _)| self.places.iter().any(|place| place.name() == *name);
        Ok((left.iter().filter(is_place).count() as u64, received as u64))
    }

    /// Removes files of recordings as they came: from spools on this machine, and from where what is sent here waits, or
    /// is staged. What stays there.
    fn remove_received(&self, records: &[Record]) -> Option<Left> {
        let mut left: Option<Left> = None;
        let mut stays = |path: &Path, error: &dyn std::fmt::Display| {
            let new = || Left {
                count: 0,
                path: cut(&path.display().to_string(), PATH_BYTES_MAX),
                fault: cut(&error.to_string(), FAULT_BYTES_MAX),
            };
            left.get_or_insert_with(new).count += 1;
        };
        let spools = self.vault.config.recorders.iter().filter_map(|recorder| recorder.spool.as_ref());
        let names: BTreeSet<&str> = records.iter().flat_map(names_of).collect();
        let mut paths: BTreeSet<PathBuf> =
            spools.flat_map(|spool| names.iter().map(|name| spool.join(name))).collect();
        match received(&self.vault.incoming()) {
            Ok(found) => {
                paths.extend(records.iter().filter_map(|record| found.get(&record.id)).flatten().cloned());
            }
            Err(error) => stays(&self.vault.incoming(), &error),
        }
        let mut changed = BTreeSet::new();
        for path in &paths {
            match std::fs::remove_file(path) {
                Ok(()) => changed.extend(path.parent()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => stays(path, &error),
            }
        }
        for folder in changed {
            if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
                // Gone for now, and a power cut may bring them back.
                stays(folder, &error);
            }
        }
        left
    }
}

fn nothing_in(place: &dyn Place) -> CopiesIn {
    let (name, site) = (place.name().to_owned(), place.site().to_owned());
    CopiesIn { place: name, site, removed: 0, absent: 0, locked: 0, failed: 0 }
}

async fn remove_from(place: &dyn Place, record: &Record, copies: &mut CopiesIn) {
    let (id, start) = (&record.id, record.receipt.start);
    let headers = record.files.iter().map(|file| file.header_object(id, start));
    let bodies = record.files.iter().map(|file| file.body_object(id, start));
    for object in headers.chain(bodies) {
        match place.remove(&object).await {
            Ok(Removal::Removed) => copies.removed += 1,
            Ok(Removal::Absent) => copies.absent += 1,
            Ok(Removal::Locked) => copies.locked += 1,
            Err(_) => copies.failed += 1,
        }
    }
}

/// Names that lead nowhere else, whatever a slip says that came from a place.
fn names_of(record: &Record) -> BTreeSet<&str> {
    let names = record.receipt.files.iter().map(|file| file.name.as_str());
    let names = names.chain(record.files.iter().map(|file| file.name.as_str()));
    names.filter(|name| Path::new(name).file_name() == Some(OsStr::new(name))).collect()
}

/// Stands where a place would be named.
pub(super) const RECEIVED: &str = "as they came";
const PATH_BYTES_MAX: usize = 1024;
const FAULT_BYTES_MAX: usize = 120;
