//! The catalog made anew: from objects and keys alone.
//!
//! Slips say what there is, headers how its files are now, manifests who spoke, and envelopes whether it can still be
//! opened: a recording that has none is destroyed, whatever is left of it. Bodies are not read, but for manifests and what
//! was said later: that is for scrubbing.

mod versions;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::archive::details::Details;
use crate::archive::envelope::Envelope;
use crate::archive::epoch::Epoch;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::{Cursor, IndexKeys, Indexed};
use crate::archive::slip::{OBJECT_SUFFIX, Slip};
use crate::archive::version::VersionSlip;
use crate::recording::manifest::Manifest;
use crate::seal::identity::Identities;
use crate::seal::open::Opener;
use crate::seal::random::Randomness;
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::catalog::recordings::{Filter, NewRecord, Taken};
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::place::Place;

/// What a catalog is made from.
pub struct Sources<'a> {
    /// Where recordings are taken in.
    pub place: &'a dyn Place,
    /// Keys of the vault.
    pub keys: &'a dyn IndexKeys,
    /// The entry at a place of a recorder's log, from the copy that the vault keeps; nothing where there is no copy.
    /// A slip that says something else is not believed.
    pub entry: &'a (dyn Fn(&str, u64) -> Option<Vec<u8>> + Sync),
    /// Whether the vault's log says that a recording was destroyed. One that has no envelope and of which it does not
    /// say so has lost it.
    pub is_destroyed: &'a (dyn Fn(&Epoch, &RecordingId) -> bool + Sync),
    /// What is being taken in just now: has no slip yet.
    pub staged: Vec<NewRecord>,
    /// How far the recorders' logs are known.
    pub positions: Vec<(String, Position)>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rebuilt {
    /// Recordings that the catalog has now.
    pub recordings: u64,
    /// What is wrong with objects. Recordings are in the catalog all the same, unless it says that they are not.
    pub faults: Vec<Fault>,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The object.
    pub object: String,
    /// What is wrong.
    pub fault: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.object, self.fault)
    }
}

/// Who spoke, of a manifest: for taking in as for making anew, so that both say the same.
pub fn details_of(manifest: &Manifest) -> Details {
    let call = &manifest.call;
    let call_ids: BTreeSet<&String> = call.call_ids.iter().collect();
    Details {
        caller: call.caller.clone(),
        callee: call.callee.clone(),
        from: call.from.clone(),
        to: call.to.clone(),
        call_ids: call_ids.into_iter().cloned().collect(),
        trunk: manifest.trunk.clone(),
        ..Details::default()
    }
}

/// Makes what `into` has not: begun with an empty catalog, and interrupted, it can be begun again.
pub async fn rebuild(
    into: &Catalog,
    sources: &Sources<'_>,
    random: &mut (dyn Randomness + Send),
) -> Result<Rebuilt, CatalogError> {
    let mut rebuilt = Rebuilt::default();
    // A recording's names follow each other: those of the last one of a page may go on in the next.
    let (mut after, mut names): (Option<String>, Vec<String>) = (None, Vec::new());
    loop {
        let page = sources.place.list("", after.as_deref(), NAMES_MAX).await?;
        let is_last = page.is_empty();
        after = page.last().cloned().or(after);
        names.extend(page);
        let whole = if is_last { names.len() } else { versions::end_of_whole(&names) };
        let rest = names.split_off(whole);
        take_in_named(into, sources, &names, &mut rebuilt, random).await?;
        names = rest;
        if is_last {
            break;
        }
    }
    for staged in sources.staged.chunks(BATCH) {
        // One that has become archived has its slip.
        take_in_staged(into, staged, &mut rebuilt).await?;
    }
    for (recorder, position) in &sources.positions {
        into.set_recorder_position(recorder, position).await?;
    }
    Ok(rebuilt)
}

/// What these names of objects are of: all those of each recording.
async fn take_in_named(
    into: &Catalog,
    sources: &Sources<'_>,
    names: &[String],
    rebuilt: &mut Rebuilt,
    random: &mut (dyn Randomness + Send),
) -> Result<(), CatalogError> {
    let mut numbers = VersionSlip::among(names.iter().map(String::as_str));
    let slips: Vec<&String> = names.iter().filter(|name| name.ends_with(OBJECT_SUFFIX)).collect();
    for slips in slips.chunks(BATCH) {
        let mut new = Vec::with_capacity(slips.len());
        for object in slips {
            match read_slip(sources, object).await? {
                Ok(slip) => {
                    let id = slip.receipt.id.parse().ok();
                    let numbers = id.and_then(|id| numbers.remove(&id)).unwrap_or_default();
                    new.push(new_record(sources, slip, &numbers, &mut rebuilt.faults, random).await?);
                }
                Err(fault) => {
                    let fault = format!("not in the catalog: {fault}");
                    rebuilt.faults.push(Fault { object: (*object).clone(), fault });
                }
            }
        }
        take_in(into, &new, rebuilt).await?;
    }
    let orphans =
        names.iter().filter(|name| VersionSlip::named(name).is_some_and(|(id, _)| numbers.contains_key(&id)));
    rebuilt.faults.extend(orphans.map(|object| Fault {
        object: object.clone(),
        fault: "not in the catalog: the recording of which it is a version has no slip that is read".into(),
    }));
    Ok(())
}

async fn take_in(into: &Catalog, new: &[NewRecord], rebuilt: &mut Rebuilt) -> Result<(), CatalogError> {
    for (new, taken) in new.iter().zip(into.take_in(new).await?) {
        match taken {
            Taken::New | Taken::Known => rebuilt.recordings += 1,
            Taken::Conflict(fault) => {
                let fault = format!("not in the catalog: {fault}");
                rebuilt.faults.push(Fault { object: new.record.slip_object(), fault });
            }
        }
    }
    Ok(())
}

async fn take_in_staged(
    into: &Catalog,
    staged: &[NewRecord],
    rebuilt: &mut Rebuilt,
) -> Result<(), CatalogError> {
    let ids: Vec<RecordingId> = staged.iter().map(|staged| staged.record.id).collect();
    let known = into.get_all(&ids).await?;
    rebuilt.recordings += known.iter().filter(|record| record.phase == Phase::Staged).count() as u64;
    let is_new = |staged: &&NewRecord| known.iter().all(|record| record.id != staged.record.id);
    let new: Vec<NewRecord> = staged.iter().filter(is_new).cloned().collect();
    take_in(into, &new, rebuilt).await
}

async fn read_slip(sources: &Sources<'_>, object: &str) -> Result<Result<Slip, String>, CatalogError> {
    let Some(id) = Slip::recording_of(object) else { return Ok(Err("its name has no id".into())) };
    let Some(bytes) = sources.place.get(object, None).await? else {
        return Ok(Err("it was listed and is not there".into()));
    };
    let slip = match Slip::from_bytes(&bytes, &id) {
        Ok(slip) => slip,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let entry = (sources.entry)(&slip.recorder, slip.receipt_index);
    if entry.is_some_and(|entry| entry != slip.receipt.to_entry()) {
        return Ok(Err("its receipt is not the one that the recorder's log has at that place".into()));
    }
    Ok(Ok(slip))
}

/// What was archived, as far as its objects show.
async fn new_record(
    sources: &Sources<'_>,
    slip: Slip,
    numbers: &[u32],
    faults: &mut Vec<Fault>,
    random: &mut (dyn Randomness + Send),
) -> Result<NewRecord, CatalogError> {
    let id: RecordingId = slip.receipt.id.parse().expect("a slip was read by the id that its receipt has");
    let mut record = Record {
        id,
        recorder: slip.recorder,
        receipt_index: slip.receipt_index,
        receipt: slip.receipt,
        class: slip.class,
        phase: Phase::Archived,
        taken_in: slip.taken_in,
        files: Vec::with_capacity(slip.bodies.len()),
    };
    let envelopes = match record.epoch().filter(|_| !slip.bodies.is_empty()) {
        Some(epoch) => {
            let found = sources.keys.envelopes(&epoch, &id);
            let found = found.map_err(|source| CatalogError::Keys { epoch: epoch.clone(), source })?;
            if found.is_empty() {
                record.phase = Phase::Destroyed;
                if !(sources.is_destroyed)(&epoch, &id) {
                    let fault = "nobody opens it: its envelope is in no key place, and no log says that it was destroyed";
                    faults.push(Fault { object: record.slip_object(), fault: fault.into() });
                }
            }
            Some((epoch, found))
        }
        None => None,
    };
    let mut manifest = None;
    for body in slip.bodies {
        let mut file = ArchivedFile::from(body);
        let header = header_of(sources, &record, &mut file, faults).await?;
        if file.name.ends_with(MANIFEST_SUFFIX) {
            manifest = Some((header.unwrap_or_default(), file.clone()));
        }
        record.files.push(file);
    }
    let opens = envelopes.as_ref().map_or(&[][..], |(_, envelopes)| envelopes);
    let documents = versions::read(sources, &mut record, numbers, opens, faults).await?;
    let mut indexed = None;
    if let Some((epoch, envelopes)) = envelopes
        && let Some(newest) = envelopes.first()
    {
        // Of one that has no manifest nothing is known, and its details say so.
        let details = match manifest {
            None => Ok(Details::default()),
            Some(manifest) => details(sources, &record, manifest, &envelopes).await?,
        };
        let details = details.unwrap_or_else(|fault| {
            let fault = format!("nobody finds it by who spoke: {fault}");
            faults.push(Fault { object: record.slip_object(), fault });
            Details::default()
        });
        let details = versions::hold_now(&record, details, &documents, faults);
        indexed = index(sources, &epoch, newest, &details, random)?;
    }
    Ok(NewRecord { record, indexed })
}

/// The header as it is now, and what is wrong with the file.
async fn header_of(
    sources: &Sources<'_>,
    record: &Record,
    file: &mut ArchivedFile,
    faults: &mut Vec<Fault>,
) -> Result<Option<Vec<u8>>, CatalogError> {
    let (id, start) = (&record.id, record.receipt.start);
    let header = sources.place.get(&file.header_object(id, start), None).await?;
    if let Some(header) = &header {
        file.set_header(header);
    }
    if record.phase == Phase::Destroyed {
        // It may have been removed, and nobody needs it.
        return Ok(None);
    }
    let mut fault = |object: String, fault: String| faults.push(Fault { object, fault });
    if header.is_none() {
        fault(file.header_object(id, start), "missing: `sejf scrub` mends it from a copy".into());
    }
    match sources.place.size(&file.body_object(id, start)).await? {
        Some(size) if size == file.body_bytes => {}
        Some(size) => {
            let text = format!("{size} bytes instead of {}: a scrub mends it from a copy", file.body_bytes);
            fault(file.body_object(id, start), text);
        }
        None => fault(file.body_object(id, start), "missing: a scrub mends it from a copy".into()),
    }
    Ok(header.map(|header| header.to_vec()))
}

/// Who spoke, from the sealed manifest.
async fn details(
    sources: &Sources<'_>,
    record: &Record,
    (header, file): (Vec<u8>, ArchivedFile),
    envelopes: &[Envelope],
) -> Result<Result<Details, String>, CatalogError> {
    let opened = open_file(sources, record, header, &file, envelopes, MANIFEST_BYTES_MAX).await?;
    Ok(opened.map_err(|fault| format!("its manifest {fault}")).and_then(|plain| {
        let manifest: Manifest = serde_json::from_slice(&plain).map_err(|error| error.to_string())?;
        Ok(details_of(&manifest))
    }))
}

/// Opens a small file, with its header as it is now. Where it does not open, why: to follow its name.
async fn open_file(
    sources: &Sources<'_>,
    record: &Record,
    header: Vec<u8>,
    file: &ArchivedFile,
    envelopes: &[Envelope],
    bytes_max: u64,
) -> Result<Result<Zeroizing<Vec<u8>>, String>, CatalogError> {
    if file.body_bytes > bytes_max {
        return Ok(Err(format!("is longer than {bytes_max} bytes")));
    }
    let Some(body) = sources.place.get(&file.body_object(&record.id, record.receipt.start), None).await?
    else {
        return Ok(Err("is missing".into()));
    };
    if Digest::of(&body) != file.body_sha256 {
        return Ok(Err("is damaged".into()));
    }
    let mut sealed = header;
    sealed.extend_from_slice(&body);
    let mut identities = Identities::default();
    envelopes.iter().for_each(|envelope| identities.add_boxed(Box::new(envelope.clone())));
    let opened = Opener::open(&sealed[..], &identities).and_then(|mut opener| opener.read_whole());
    Ok(opened.map_err(|error| format!("does not open: {error}")))
}

fn index(
    sources: &Sources<'_>,
    epoch: &Epoch,
    envelope: &Envelope,
    details: &Details,
    random: &mut (dyn Randomness + Send),
) -> Result<Option<Indexed>, CatalogError> {
    let fault = |source| CatalogError::Keys { epoch: epoch.clone(), source };
    let keys = sources.keys.index_keys(epoch).map_err(fault)?;
    let Some(key) = keys.first() else { return Ok(None) };
    Ok(Some(Indexed { details: details.seal(envelope, random), terms: key.terms(details) }))
}

/// What differs between two catalogs, a line each, up to `limit`: recordings, what they are found by, recorders and what
/// their logs say, media.
pub async fn differences(
    one: &Catalog,
    other: &Catalog,
    keys: &dyn IndexKeys,
    limit: usize,
) -> Result<Vec<String>, CatalogError> {
    let mut found = Vec::new();
    let (mut ones, mut others) = (Pages::new(one), Pages::new(other));
    while found.len() < limit {
        let (a, b) = (ones.front().await?, others.front().await?);
        let order = match (&a, &b) {
            (None, None) => break,
            (Some(a), Some(b)) => place(b).cmp(&place(a)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        match (order, &a, &b) {
            (Ordering::Less, Some(a), _) => found.push(format!("{}: only in `{}`", a.id, one.name())),
            (Ordering::Greater, _, Some(b)) => found.push(format!("{}: only in `{}`", b.id, other.name())),
            (_, Some(a), Some(b)) => {
                if comparable(a) != comparable(b) {
                    found.push(format!("{}: what everybody may know is not the same", a.id));
                }
                if !same_details(one, other, keys, a).await? {
                    found.push(format!("{}: what it is found by is not the same", a.id));
                }
            }
            _ => {}
        }
        if order != Ordering::Greater {
            ones.step();
        }
        if order != Ordering::Less {
            others.step();
        }
    }
    let mut recorders = one.recorders().await?;
    recorders.extend(other.recorders().await?);
    recorders.sort();
    recorders.dedup();
    for recorder in recorders {
        if one.recorder_position(&recorder).await? != other.recorder_position(&recorder).await? {
            found.push(format!("recorder {recorder}: how far its log is known is not the same"));
        }
        let (here, there) = (one.books(&recorder).await?, other.books(&recorder).await?);
        if (here.awaited, here.events) != (there.awaited, there.events) {
            found.push(format!(
                "recorder {recorder}: what of its log is awaited, or no receipt, is not the same"
            ));
        }
    }
    found.extend(one.register_differences(other).await?);
    found.truncate(limit);
    Ok(found)
}

/// Of what is destroyed headers may be gone or not.
fn comparable(record: &Record) -> Record {
    let mut record = record.clone();
    if record.phase == Phase::Destroyed {
        for file in &mut record.files {
            (file.header_sha256, file.header_bytes) = (Digest::of(b""), 0);
        }
    }
    record
}

async fn same_details(
    one: &Catalog,
    other: &Catalog,
    keys: &dyn IndexKeys,
    record: &Record,
) -> Result<bool, CatalogError> {
    let terms = async |of: &Catalog| -> Result<_, CatalogError> {
        Ok(of.sealed_details(&[record.id]).await?.pop().map(|sealed| sealed.terms))
    };
    if terms(one).await? != terms(other).await? {
        return Ok(false);
    }
    let opened = async |of: &Catalog| match of.open_details(keys, &record.id).await {
        Err(CatalogError::Damaged { .. }) => Ok(None),
        other => other.map(Some),
    };
    Ok(opened(one).await? == opened(other).await?)
}

fn place(record: &Record) -> Cursor {
    Cursor { start: record.receipt.start, id: record.id }
}

/// A catalog's recordings one by one, newest first.
struct Pages<'a> {
    catalog: &'a Catalog,
    page: std::vec::IntoIter<Record>,
    front: Option<Record>,
    last: Option<Cursor>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, page: Vec::new().into_iter(), front: None, last: None, is_over: false }
    }

    async fn front(&mut self) -> Result<Option<Record>, CatalogError> {
        if self.front.is_none() && !self.is_over {
            self.front = self.page.next();
            if self.front.is_none() {
                let all = Filter::default();
                self.page = self.catalog.page(self.last.as_ref(), PAGE, &all).await?.into_iter();
                self.front = self.page.next();
            }
            self.is_over = self.front.is_none();
            self.last = self.front.as_ref().map(place).or(self.last);
        }
        Ok(self.front.clone())
    }

    fn step(&mut self) {
        self.front = None;
    }
}

/// How names of manifests end.
pub const MANIFEST_SUFFIX: &str = ".json.age";
/// What is longer is opened nowhere.
pub(in crate::shell::vault) const MANIFEST_BYTES_MAX: u64 = 256 << 20;
const NAMES_MAX: usize = 20_000;
const BATCH: usize = 256;
const PAGE: u32 = 500;
