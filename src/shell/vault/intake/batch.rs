//! Recordings that have come, some hundreds at a time: they share the waiting for disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::entry::{Outcome, Resource};
use crate::archive::envelope::Envelope;
use crate::archive::epoch::{ClassName, Epoch, Month};
use crate::archive::intake::{Found, Verdict, id_of, judge};
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::Indexed;
use crate::base::time::Stamp;
use crate::recording::manifest::Manifest;
use crate::seal::header::Header;
use crate::seal::note::VerifyKey;
use crate::seal::open::Opener;
use crate::seal::random::Seeded;
use crate::seal::receipt::Receipt;
use crate::shell::canary;
use crate::shell::clock;
use crate::shell::vault::catalog::awaited::Awaited;
use crate::shell::vault::catalog::rebuild::MANIFEST_BYTES_MAX;
use crate::shell::vault::catalog::recordings::{NewRecord, Taken};
use crate::shell::vault::intake::files::Came;
use crate::shell::vault::intake::{Intake, IntakeError, Report, STAGED, Step, Whose, details};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::{EpochKeys, KeyRing};
use crate::shell::vault::place::{Content, PlaceError};

/// A recording whose files have come and are as they were receipted.
pub(super) struct Item {
    pub(super) id: RecordingId,
    pub(super) index: u64,
    pub(super) receipt: Receipt,
    pub(super) files: Vec<Came>,
}

/// The same under its envelope, in the first place.
pub(super) struct Kept {
    pub(super) item: Item,
    pub(super) class: ClassName,
    pub(super) files: Vec<ArchivedFile>,
    pub(super) indexed: Indexed,
}

/// A second name; a file that an interrupted run has left under it makes way.
fn link_anew(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(to)?;
            std::fs::hard_link(from, to)
        }
        other => other,
    }
}

/// A recording whose class and epoch are known.
struct Sorted {
    item: Item,
    epoch: Epoch,
    /// What it was sealed to.
    opener: Arc<EpochKeys>,
    manifest: Option<Manifest>,
}

impl Intake {
    /// Takes in what is awaited of a recorder and lies in a folder.
    pub(super) async fn take_in_awaited(
        &self,
        recorder: &VerifyKey,
        dir: &Path,
        whose: Whose,
    ) -> Result<Report, IntakeError> {
        let name = recorder.to_string();
        let (mut report, mut from) = (Report::default(), 0);
        loop {
            let awaited = self.catalog.awaited(&name, from, BATCH_MAX).await?;
            let Some(last) = awaited.last() else { break };
            let after = last.index + 1;
            let (done, goes_on_at) = self.take_in_batch(&name, dir, whose, awaited).await?;
            from = goes_on_at.unwrap_or(after);
            report.add(done);
        }
        report.missing = self.catalog.books(&name).await?.missing();
        if report.missing > 0 {
            tracing::error!(recorder = name, missing = report.missing, "entries of the log are in no book");
        }
        Ok(report)
    }

    /// Takes in as many of these as fit into memory. What was done, and the place of the first that did not.
    async fn take_in_batch(
        &self,
        recorder: &str,
        dir: &Path,
        whose: Whose,
        awaited: Vec<Awaited>,
    ) -> Result<(Report, Option<u64>), IntakeError> {
        let (mut report, mut faults) = (Report::default(), Vec::new());
        let before: BTreeMap<u64, String> =
            awaited.iter().map(|awaited| (awaited.index, awaited.fault.clone())).collect();
        let (known, awaited) = self.leave_known(recorder, awaited, &mut report, &mut faults).await?;
        let mut batch = Batch::sort(dir, whose, awaited, self.held_max, &mut report, &mut faults)?;
        let new = match &self.keys() {
            Some(ring) => {
                let kept =
                    self.keep(ring, std::mem::take(&mut batch.items), &mut report, &mut faults).await?;
                kept.into_iter().map(|kept| kept.into_new(recorder)).collect::<Vec<_>>()
            }
            None => self.stage(recorder, &batch.items, whose)?,
        };
        let without = batch.without_files.iter().map(|awaited| without_files(recorder, awaited));
        let new: Vec<NewRecord> = new.into_iter().chain(without).collect();
        self.put_slips(new.iter().map(|new| &new.record)).await?;
        let arrived = self.book(recorder, &new, &known, &mut report, &mut faults).await?;
        faults.retain(|(index, why)| before.get(index) != Some(why));
        self.tell_faults(recorder, &faults, &report).await?;
        self.catalog.set_arrived(recorder, &arrived.iter().copied().collect::<Vec<_>>()).await?;
        self.passed(Step::Arrived)?;
        if whose == Whose::Vault {
            let new = new.iter().map(|new| (new.record.receipt_index, &new.record.receipt));
            let all = new.chain(known.iter().map(|(_, known)| (known.index, &known.receipt)));
            let gone = all.filter(|(index, receipt)| arrived.contains(index) && id_of(receipt).is_ok());
            let files = gone.flat_map(|(_, receipt)| &receipt.files);
            self.remove_files(dir, files.map(|file| file.name.as_str()))?;
        }
        Ok((report, batch.goes_on_at))
    }

    /// Has recordings in the catalog, then in the log. Places in the recorder's log of those that are awaited no more.
    async fn book(
        &self,
        recorder: &str,
        new: &[NewRecord],
        known: &[Known],
        report: &mut Report,
        faults: &mut Vec<(u64, String)>,
    ) -> Result<BTreeSet<u64>, IntakeError> {
        let taken = self.catalog.take_in(new).await?;
        self.passed(Step::Catalogued)?;
        let (mut done, mut arrived): (Vec<_>, BTreeSet<_>) =
            known.iter().map(|(id, awaited)| (*id, awaited.index)).unzip();
        for (new, taken) in new.iter().zip(taken) {
            let Record { id, receipt_index, phase, .. } = &new.record;
            match taken {
                Taken::Conflict(why) => {
                    faults.push((*receipt_index, why.clone()));
                    report.refused.push((id.to_string(), why));
                    continue;
                }
                Taken::Known => report.known += 1,
                Taken::New if new.record.files.is_empty() => report.without_files += 1,
                Taken::New if *phase == Phase::Staged => report.staged += 1,
                Taken::New => report.archived += 1,
            }
            done.push(*id);
            arrived.insert(*receipt_index);
        }
        if !done.is_empty() {
            let details = serde_json::json!({
                "recorder": recorder, "archived": report.archived, "staged": report.staged,
                "without_files": report.without_files, "known": report.known,
            });
            self.log(Resource::of(&done), Outcome::Done(details))?;
        }
        self.passed(Step::Logged)?;
        Ok(arrived)
    }

    /// Parts what the catalog has already from what is yet to come, whether files of it are there or not: it is left
    /// as it is, for something destroyed must not come back.
    async fn leave_known(
        &self,
        recorder: &str,
        awaited: Vec<Awaited>,
        report: &mut Report,
        faults: &mut Vec<(u64, String)>,
    ) -> Result<(Vec<Known>, Vec<Awaited>), IntakeError> {
        let ids: Vec<RecordingId> =
            awaited.iter().filter_map(|awaited| awaited.receipt.id.parse().ok()).collect();
        let records: BTreeMap<_, _> =
            self.catalog.get_all(&ids).await?.into_iter().map(|record| (record.id, record)).collect();
        let (mut known, mut rest) = (Vec::new(), Vec::new());
        for awaited in awaited {
            let record = awaited.receipt.id.parse().ok().and_then(|id| records.get(&id));
            match record {
                None => rest.push(awaited),
                Some(record)
                    if record.receipt == awaited.receipt
                        && record.recorder == recorder
                        && record.receipt_index == awaited.index =>
                {
                    report.known += 1;
                    known.push((record.id, awaited));
                }
                Some(_) => {
                    let why = "another receipt is known by this id".to_owned();
                    refuse(&awaited, why, report, faults);
                }
            }
        }
        Ok((known, rest))
    }

    /// Has why something was not taken in in the catalog, and in the log: to be called where that was not said before.
    async fn tell_faults(
        &self,
        recorder: &str,
        faults: &[(u64, String)],
        report: &Report,
    ) -> Result<(), IntakeError> {
        if faults.is_empty() {
            return Ok(());
        }
        let refused: BTreeSet<&str> = report.refused.iter().map(|(_, why)| why.as_str()).collect();
        let refused = faults.iter().filter(|(_, why)| refused.contains(why.as_str()));
        self.log_all(refused.map(|(index, why)| {
            tracing::error!(recorder, index, "not taken in: {why}");
            let what = format!("entry {index} of its log: {why}");
            (Resource::Recorder(recorder.into()), Outcome::Failed(what))
        }))?;
        self.catalog.set_awaited_faults(recorder, faults).await?;
        Ok(())
    }

    /// Puts recordings under their envelopes, and into the first place; durable when this returns.
    pub(super) async fn keep(
        &self,
        ring: &KeyRing,
        items: Vec<Item>,
        report: &mut Report,
        faults: &mut Vec<(u64, String)>,
    ) -> Result<Vec<Kept>, IntakeError> {
        let mut refuse = |item: &Item, why: String| {
            faults.push((item.index, why.clone()));
            report.refused.push((item.id.to_string(), why));
        };
        let mut epochs: BTreeMap<Epoch, Vec<Sorted>> = BTreeMap::new();
        let mut recent = None;
        for item in items {
            match self.sort(ring, item, &mut recent)? {
                Ok(sorted) => epochs.entry(sorted.epoch.clone()).or_default().push(sorted),
                Err((item, why)) => refuse(&item, why),
            }
        }
        let mut all = Vec::new();
        for (epoch, mut sorted) in epochs {
            // A catalog that was restored may have forgotten that they are destroyed.
            let buried = self.catalog.tombstones(&epoch).await?;
            sorted.retain(|sorted| {
                let is_buried = buried.binary_search(&sorted.item.id).is_ok();
                if is_buried {
                    refuse(&sorted.item, "it was destroyed, and does not come back".into());
                }
                !is_buried
            });
            if sorted.is_empty() {
                continue;
            }
            let ids: Vec<_> = sorted.iter().map(|sorted| sorted.item.id).collect();
            let envelopes = match ring.envelopes_for(&epoch, &ids) {
                Err(fault @ KeyFault::Destroyed(_)) => {
                    sorted.iter().for_each(|sorted| refuse(&sorted.item, fault.to_string()));
                    continue;
                }
                other => other?,
            };
            self.passed(Step::EnvelopesKept)?;
            let keys = ring.epoch(&epoch)?;
            for (sorted, envelope) in sorted.into_iter().zip(envelopes) {
                match self.put(sorted, &envelope, &keys).await? {
                    Ok(kept) => all.push(kept),
                    Err((item, why)) => refuse(&item, why),
                }
            }
        }
        if !all.is_empty() {
            self.place.flush().await?;
            self.passed(Step::Flushed)?;
        }
        Ok(all)
    }

    /// Finds what a recording was sealed to, and its class: that of its manifest where we have such a class, else that
    /// of the key which it was sealed to.
    fn sort(
        &self,
        ring: &KeyRing,
        item: Item,
        recent: &mut Option<(Epoch, Arc<EpochKeys>)>,
    ) -> Result<Result<Sorted, (Item, String)>, IntakeError> {
        // The manifest is what is sealed last; a recorder that died has left none that is whole.
        let Some(header) = item.files.iter().rev().find_map(|came| came.header.as_ref()) else {
            return Ok(Err((item, "none of its files is a sealed one".into())));
        };
        let Some((sealed_to, opener)) = opening(ring, header, item.receipt.start, recent)? else {
            let why = "it is sealed to none of this vault's keys: give the recorder the recipient of an epoch, as \
                       `sejf vault keys` lists them";
            return Ok(Err((item, why.into())));
        };
        let manifest = match item.files.last() {
            Some(last) if !item.receipt.is_recovered() && last.bytes() > MANIFEST_BYTES_MAX => {
                let why = format!(
                    "`{}` has {} bytes, and a manifest has at most {MANIFEST_BYTES_MAX}",
                    last.path.display(),
                    last.bytes()
                );
                return Ok(Err((item, why)));
            }
            Some(last) if !item.receipt.is_recovered() => match read_manifest(&item.receipt, last, &opener) {
                Ok(manifest) => Some(manifest),
                Err(why) => return Ok(Err((item, why))),
            },
            _ => None,
        };
        let named = manifest.as_ref().and_then(|manifest| manifest.retention_class.parse::<ClassName>().ok());
        let class = named.filter(|class| self.vault.config.class(class).is_some()).unwrap_or(sealed_to.class);
        let epoch = Epoch::of(class, item.receipt.start);
        Ok(Ok(Sorted { item, epoch, opener, manifest }))
    }

    async fn put(
        &self,
        sorted: Sorted,
        envelope: &Envelope,
        keys: &EpochKeys,
    ) -> Result<Result<Kept, (Item, String)>, IntakeError> {
        let Sorted { item, epoch, opener, manifest } = sorted;
        let mut files = Vec::with_capacity(item.files.len());
        for (receipted, came) in item.receipt.files.iter().zip(&item.files) {
            let header = match &came.header {
                None => Bytes::new(),
                Some(_) => {
                    // The same header whenever it is made again: what was interrupted is put a second time.
                    let what = format!("header of {} {}", receipted.name, Digest(receipted.sha256));
                    let mut salt = Seeded::new(&envelope.derive(&what), "salt", 0);
                    match envelope.rewrap(&mut &came.header_bytes[..], &opener.identities, &mut salt) {
                        Ok(header) => Bytes::from(header),
                        Err(fault) => {
                            let why = format!("`{}`: {fault}", came.path.display());
                            return Ok(Err((item, why)));
                        }
                    }
                }
            };
            let file = ArchivedFile {
                name: receipted.name.clone(),
                header_sha256: Digest::of(&header),
                header_bytes: header.len() as u64,
                body_sha256: came.body_sha256,
                body_bytes: came.body_bytes,
            };
            let start = item.receipt.start;
            self.put_object(&file.header_object(&item.id, start), Content::Bytes(header)).await?;
            self.put_object(&file.body_object(&item.id, start), came.body.clone()).await?;
            files.push(file);
        }
        let indexed = details::indexed(manifest.as_ref(), envelope, keys)?;
        Ok(Ok(Kept { item, class: epoch.class, files, indexed }))
    }

    /// Puts an object of a recording that the catalog has not: what else has its name was cut by a power failure.
    pub(super) async fn put_object(&self, object: &str, content: Content) -> Result<(), IntakeError> {
        match self.place.put_new(object, content.clone(), true).await {
            Err(PlaceError::Exists { .. }) => {
                tracing::warn!(object, "what an interrupted intake has left is not whole: it is put anew");
                self.place.remove(object).await?;
                self.place.put_new(object, content, true).await?;
            }
            other => other?,
        }
        self.passed(Step::ObjectPut)
    }

    /// Takes files over as they are: the vault is locked.
    fn stage(&self, recorder: &str, items: &[Item], whose: Whose) -> Result<Vec<NewRecord>, IntakeError> {
        let staged = self.incoming(STAGED);
        if items.is_empty() {
            return Ok(Vec::new());
        }
        std::fs::create_dir_all(&staged).map_err(IntakeError::io("making folder", &staged))?;
        for came in items.iter().flat_map(|item| &item.files) {
            let Some(name) = came.path.file_name() else { continue };
            let to = staged.join(name);
            match whose {
                // The name it came by stays until the catalog has it: it is never nowhere.
                Whose::Vault => link_anew(&came.path, &to),
                Whose::Recorder => {
                    let aside = staged.join(format!(".{}.new", name.to_string_lossy()));
                    std::fs::copy(&came.path, &aside).and_then(|_| std::fs::rename(&aside, &to))
                }
            }
            .map_err(IntakeError::io("staging", &to))?;
            self.passed(Step::FileStaged)?;
        }
        let handle = std::fs::File::open(&staged).map_err(IntakeError::io("opening", &staged))?;
        let synced = rustix::fs::syncfs(&handle).map_err(std::io::Error::from);
        synced.map_err(IntakeError::io("syncing", &staged))?;
        self.passed(Step::Flushed)?;
        let taken_in = clock::now();
        let new = |item: &Item| {
            let files = item.receipt.files.iter().zip(&item.files).map(|(receipted, came)| ArchivedFile {
                name: receipted.name.clone(),
                header_sha256: Digest::of(&came.header_bytes),
                header_bytes: came.header_bytes.len() as u64,
                body_sha256: came.body_sha256,
                body_bytes: came.body_bytes,
            });
            let record = Record {
                id: item.id,
                recorder: recorder.into(),
                receipt_index: item.index,
                receipt: item.receipt.clone(),
                class: None,
                phase: Phase::Staged,
                taken_in,
                files: files.collect(),
            };
            NewRecord { record, indexed: None }
        };
        Ok(items.iter().map(new).collect())
    }

    /// Removes files that are archived.
    pub(super) fn remove_files<'a>(
        &self,
        dir: &Path,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), IntakeError> {
        names.map(|name| dir.join(name)).try_for_each(|path| self.remove_file(&path))
    }
}

#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    without_files: Vec<Awaited>,
    /// Place of the first that was not looked at.
    goes_on_at: Option<u64>,
}

/// What the catalog has, and is awaited all the same: an interrupted run, or a log that is read from its beginning.
type Known = (RecordingId, Awaited);

impl Batch {
    fn sort(
        dir: &Path,
        whose: Whose,
        awaited: Vec<Awaited>,
        held_max: u64,
        report: &mut Report,
        faults: &mut Vec<(u64, String)>,
    ) -> Result<Self, IntakeError> {
        let (mut batch, mut held) = (Self::default(), 0);
        for awaited in awaited {
            if held >= held_max {
                batch.goes_on_at = Some(awaited.index);
                break;
            }
            // Of calls to itself the recorder keeps only the newest: they are no recordings.
            let is_canary = |receipt: &Receipt| {
                receipt.files.iter().all(|file| canary::is_name(&file.name)) && !receipt.files.is_empty()
            };
            if (awaited.receipt.files.is_empty() || is_canary(&awaited.receipt))
                && awaited.receipt.id.parse::<RecordingId>().is_ok()
            {
                batch.without_files.push(awaited);
                continue;
            }
            let id = match id_of(&awaited.receipt) {
                Ok(id) => id,
                Err(why) => {
                    refuse(&awaited, why, report, faults);
                    continue;
                }
            };
            match read_files(dir, &awaited.receipt) {
                Ok((files, Verdict::Accept)) => {
                    held += files.iter().map(Came::held).sum::<u64>();
                    batch.items.push(Item { id, index: awaited.index, receipt: awaited.receipt, files });
                }
                Ok((_, Verdict::Wait(why))) => {
                    faults.push((awaited.index, why.clone()));
                    report.waiting.push((awaited.receipt.id, why));
                }
                Ok((_, Verdict::Refuse(why))) if whose == Whose::Vault => {
                    // It was right when it came: a power failure, or the disk has lost it. It is sent again.
                    for file in &awaited.receipt.files {
                        let path = dir.join(&file.name);
                        match std::fs::remove_file(&path) {
                            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                            other => other.map_err(IntakeError::io("removing", &path))?,
                        }
                    }
                    report.waiting.push((awaited.receipt.id, why));
                }
                Ok((_, Verdict::Refuse(why))) | Err(why) => refuse(&awaited, why, report, faults),
            }
        }
        Ok(batch)
    }
}

fn refuse(awaited: &Awaited, why: String, report: &mut Report, faults: &mut Vec<(u64, String)>) {
    faults.push((awaited.index, why.clone()));
    report.refused.push((awaited.receipt.id.clone(), why));
}

/// The files of a receipt, as far as they are there.
pub(super) fn read_files(dir: &Path, receipt: &Receipt) -> Result<(Vec<Came>, Verdict), String> {
    let (mut files, mut found) = (Vec::new(), Vec::new());
    for file in &receipt.files {
        let path = dir.join(&file.name);
        let fault = |error: std::io::Error| format!("reading `{}`: {error}", path.display());
        match Came::read(&path) {
            Ok(Some(came)) => {
                found.push(came.found);
                files.push(came);
            }
            Ok(None) => {
                found.push(Found::Absent);
                break;
            }
            // The disk has lost it, as far as anybody can tell.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Ok((files, Verdict::Refuse(fault(error))));
            }
            Err(error) => return Err(fault(error)),
        }
    }
    let verdict = judge(receipt, &found);
    Ok((files, verdict))
}

impl Kept {
    fn into_new(self, recorder: &str) -> NewRecord {
        let Self { item, class, files, indexed } = self;
        let record = Record {
            id: item.id,
            recorder: recorder.into(),
            receipt_index: item.index,
            receipt: item.receipt,
            class: Some(class),
            phase: Phase::Archived,
            taken_in: clock::now(),
            files,
        };
        NewRecord { record, indexed: Some(indexed) }
    }
}

fn without_files(recorder: &str, awaited: &Awaited) -> NewRecord {
    let id = awaited.receipt.id.parse().unwrap_or(RecordingId::from_bytes([0; 16]));
    let record = Record {
        id,
        recorder: recorder.into(),
        receipt_index: awaited.index,
        receipt: awaited.receipt.clone(),
        class: None,
        phase: Phase::Archived,
        taken_in: clock::now(),
        files: Vec::new(),
    };
    NewRecord { record, indexed: None }
}

/// The epoch whose key opens a header: first that which opened the last one, then those nearest to `start`.
fn opening(
    ring: &KeyRing,
    header: &Header,
    start: Stamp,
    recent: &mut Option<(Epoch, Arc<EpochKeys>)>,
) -> Result<Option<(Epoch, Arc<EpochKeys>)>, IntakeError> {
    let opens = |keys: &EpochKeys| {
        keys.identities.unwrap(&header.stanzas).is_ok_and(|file_key| header.verify(&file_key))
    };
    if let Some((epoch, keys)) = recent.as_ref().filter(|(_, keys)| opens(keys)) {
        return Ok(Some((epoch.clone(), Arc::clone(keys))));
    }
    let month = Month::of(start);
    let mut epochs: Vec<Epoch> = ring
        .store()
        .epochs()?
        .into_iter()
        .filter(|state| state.recipient.is_some())
        .map(|state| state.epoch)
        .collect();
    // A recorder is given a new recipient late rather than early.
    epochs.sort_by_key(|epoch| (epoch.month != month, std::cmp::Reverse(epoch.month)));
    for epoch in epochs {
        let Some(keys) = ring.known_epoch(&epoch)? else { continue };
        if opens(&keys) {
            *recent = Some((epoch.clone(), Arc::clone(&keys)));
            return Ok(Some((epoch, keys)));
        }
    }
    Ok(None)
}

/// The manifest, which must be of the receipt.
fn read_manifest(receipt: &Receipt, came: &Came, keys: &EpochKeys) -> Result<Manifest, String> {
    let name = came.path.display();
    let plain = came.reader().map_err(|error| format!("reading `{name}`: {error}")).and_then(|reader| {
        Opener::open(reader, &keys.identities)
            .and_then(|mut opener| opener.read_whole())
            .map_err(|error| format!("opening `{name}`: {error}"))
    })?;
    let manifest: Manifest =
        serde_json::from_slice(&plain).map_err(|error| format!("`{name}` is no manifest: {error}"))?;
    if manifest.id != receipt.id || manifest.start != receipt.start || manifest.counters != receipt.counters {
        return Err(format!("`{name}` is the manifest of another recording than its receipt says"));
    }
    Ok(manifest)
}

/// Recordings of a batch: as many as share a group of envelopes.
const BATCH_MAX: u32 = 256;
