//! After a leak: what a key that others have does open, and how it comes to open nothing.
//!
//! ```text
//! renew        the epoch has another identity, in front of the old one; new groups are sealed to it
//! succeed      recordings get a second envelope, in a new group
//! replace      headers are put under it in all places; the catalog is told
//! confirm      they are read back
//! retire       the first envelope is destroyed
//! ```
//!
//! Cut off at any step, it is gone on with: while a recording has two envelopes it opens with either.
//!
//! What was copied elsewhere before with its header, together with the leaked key and the envelopes of then, opens
//! for ever: no vault can help that. What recorders still seal to the old recipient is taken in as before.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Grant, Reason, Request};
use crate::archive::copies::CopyState;
use crate::archive::details::Details;
use crate::archive::entry::{Outcome, Resource};
use crate::archive::envelope::{Envelope, RewrapError};
use crate::archive::epoch::Epoch;
use crate::archive::record::{Record, RecordingId};
use crate::archive::search::{IndexKey, Indexed};
use crate::seal::identity::Identities;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::home::{Vault, VaultError, io_error};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::{EpochKeys, KeyRing, epoch_text, granted, new_identity, new_index_key};
use crate::shell::vault::place::{self, Found, Pace, Place, PlaceError};
use crate::shell::vault::turns;

/// A recording that is under a new envelope in all places. The old one opens nothing any more, and is to be
/// retired once the catalog knows.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// With its new headers.
    pub record: Record,
    /// Those of before: for what else is to be put under the new one. Several where a key has leaked again before a
    /// renewal was at its end.
    pub old: Vec<Envelope>,
    /// The new one.
    pub new: Envelope,
}

/// Why a recording stays under its old envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The keys are of no use.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A place is not there: with the old header in it, the old envelope has to stay.
    #[error("recording {id}: {source}; bring the place back and go on")]
    Place {
        /// Which.
        id: RecordingId,
        /// Why.
        source: PlaceError,
    },
    /// A place that should have its header has it not: it may come back with the old one.
    #[error(
        "recording {id}: `{place}` should have `{object}` and has it not: `sejf scrub` looks, and mends it; then go on"
    )]
    Lost {
        /// Which.
        id: RecordingId,
        /// The header.
        object: String,
        /// Where.
        place: String,
    },
    /// A place has another header after it was replaced.
    #[error("recording {id}: `{place}` has not the new `{object}`: {why}; go on to try it again")]
    Other {
        /// Which.
        id: RecordingId,
        /// The header.
        object: String,
        /// Where.
        place: String,
        /// What is there.
        why: String,
    },
    /// No place has its header.
    #[error("recording {id}: no place has `{object}`; restore it and go on")]
    NoHeader {
        /// Which.
        id: RecordingId,
        /// The header.
        object: String,
    },
    /// Its header would stay under the old envelope.
    #[error(
        "recording {id}: a version of it is not in the catalog yet: `sejf history` takes it over, then try again"
    )]
    Version {
        /// Which.
        id: RecordingId,
    },
    /// No header of it opens.
    #[error("recording {id}: `{object}`: {source}")]
    Header {
        /// Which.
        id: RecordingId,
        /// The header.
        object: String,
        /// Why.
        source: RewrapError,
    },
}

/// Whether an epoch gets another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// It does: the one that it has has leaked.
    Anew,
    /// What was begun is gone on with, under the key that it has got.
    GoOn,
}

impl KeyRing {
    /// Gives an epoch another key, and another one to its index. Returns whose envelopes are to follow.
    pub fn renew_epoch(
        &self,
        grant: &Grant,
        epoch: &Epoch,
        renewal: Renewal,
    ) -> Result<Vec<RecordingId>, KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let mut keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        if renewal == Renewal::Anew {
            let next = self.group_numbers(epoch)?.last().map_or(0, |last| last + 1);
            let new = new_identity(&keys.recipient)?;
            let identities = Zeroizing::new(format!("{}\n{}", *new, *keys.identity_text));
            let index_keys =
                [vec![new_index_key()?, keys.index_key.clone()], keys.old_index_keys.clone()].concat();
            self.write_epoch(epoch, &self.scheme, &epoch_text(epoch, &identities, next, index_keys.iter()))?;
            keys = self.epoch_locked(epoch)?;
        }
        let mut left = self.ids_below(epoch, keys.groups_from)?;
        left.sort_unstable();
        // A recording whose renewal was begun twice has two of them.
        left.dedup();
        Ok(left)
    }

    /// Destroys the old envelopes of recordings that have a new one, and seals what else is in their groups to the
    /// new key.
    pub fn retire(&self, grant: &Grant, epoch: &Epoch, ids: &[RecordingId]) -> Result<u64, KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let from = keys.groups_from;
        let mut renewed = Vec::with_capacity(ids.len());
        for id in ids {
            let is_renewed = self.groups_of(epoch, id)?.last().is_some_and(|group| *group >= from);
            renewed.extend(is_renewed.then_some(*id));
        }
        self.destroy_locked(epoch, &renewed, &|group| group < from)
    }

    /// Seals old groups that still have envelopes to the new key. Where none has any, nothing is found by the index
    /// keys of before, and they go.
    pub fn reseal(&self, grant: &Grant, epoch: &Epoch) -> Result<(), KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let mut is_done = true;
        for number in self.group_numbers(epoch)?.into_iter().filter(|number| *number < keys.groups_from) {
            let group = match self.group(epoch, number) {
                // It opens for nobody: where it comes back from a copy, this is said again.
                Err(KeyFault::Damaged { .. } | KeyFault::Open { .. }) => {
                    is_done = false;
                    continue;
                }
                other => other?,
            };
            if let Some(group) = group.filter(|group| !group.is_empty()) {
                self.write_group(epoch, &keys, number, (*group).clone())?;
                is_done = false;
            }
        }
        if is_done && !keys.old_index_keys.is_empty() {
            let index_key = [&keys.index_key].into_iter();
            let text = epoch_text(epoch, &keys.identity_text, keys.groups_from, index_key);
            self.write_epoch(epoch, &self.scheme, &text)?;
        }
        Ok(())
    }

    /// Puts recordings of an epoch under new envelopes, in all places. Those that cannot be stay as they are, and
    /// are told. `held` says whether a place should have a recording: then its header must be there.
    pub async fn replace_headers(
        &self,
        grant: &Grant,
        epoch: &Epoch,
        records: &[Record],
        places: &[Arc<dyn Place>],
        held: &(dyn Fn(&RecordingId, &str) -> bool + Sync),
    ) -> Result<(Vec<Renewed>, Vec<RenewError>), KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let (mut renewed, mut faults) = (Vec::new(), Vec::new());
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        let envelopes = self.succeed(epoch, &ids)?;
        for record in records {
            let Some((old, new)) = envelopes.iter().find(|(_, new)| new.id() == record.id) else { continue };
            match self.replace_header(epoch, record, new, places, held).await {
                Ok(record) => renewed.push(Renewed { record, old: old.clone(), new: new.clone() }),
                Err(fault) => faults.push(fault),
            }
        }
        Ok((renewed, faults))
    }

    /// The envelopes of before and the new one, of recordings that are to be renewed.
    fn succeed(
        &self,
        epoch: &Epoch,
        ids: &[RecordingId],
    ) -> Result<Vec<(Vec<Envelope>, Envelope)>, KeyFault> {
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let mut random = OsRandom::new()?;
        let (mut pairs, mut made) = (Vec::new(), Vec::new());
        for id in ids {
            let (mut old, mut begun) = (Vec::new(), None);
            for number in self.groups_of(epoch, id)? {
                let Some(envelope) = self.group(epoch, number)?.and_then(|group| group.get(id).cloned())
                else {
                    continue;
                };
                if number < keys.groups_from {
                    old.push(envelope);
                } else {
                    begun = Some(envelope);
                }
            }
            if old.is_empty() {
                // It was renewed before.
                continue;
            }
            let new = begun.unwrap_or_else(|| {
                let envelope = Envelope::generate(*id, &mut random);
                made.push(envelope.clone());
                envelope
            });
            pairs.push((old, new));
        }
        self.add_locked(epoch, made, true)?;
        Ok(pairs)
    }

    async fn replace_header(
        &self,
        epoch: &Epoch,
        record: &Record,
        new: &Envelope,
        places: &[Arc<dyn Place>],
        held: &(dyn Fn(&RecordingId, &str) -> bool + Sync),
    ) -> Result<Record, RenewError> {
        let id = record.id;
        let mut renewed = record.clone();
        let opens = self.opens(epoch, &id)?.unwrap_or_default();
        // One that its recorder has left empty has no header.
        for file in renewed.files.iter_mut().filter(|file| file.header_bytes > 0) {
            let object = file.header_object(&id, record.receipt.start);
            let at_place = |source| RenewError::Place { id, source };
            let (mut there, mut header, mut fault) = (Vec::new(), None, None);
            for place in places {
                let bytes = match place.get(&object, Some(0..HEADER_MAX)).await {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) if held(&id, place.name()) => {
                        return Err(RenewError::Lost { id, object, place: place.name().into() });
                    }
                    Ok(None) => continue,
                    // Whatever is there, the new one is put in its place.
                    Err(PlaceError::Lies { .. }) => Bytes::new(),
                    Err(source) => return Err(at_place(source)),
                };
                there.push(place);
                if header.is_none() {
                    match new_header(new, &bytes, &opens) {
                        Ok(bytes) => header = Some(bytes),
                        Err(source) => {
                            fault.get_or_insert(source);
                        }
                    }
                }
            }
            let Some(header) = header else {
                return Err(match fault {
                    Some(source) => RenewError::Header { id, object, source },
                    None => RenewError::NoHeader { id, object },
                });
            };
            for place in there {
                place.replace(&object, Bytes::copy_from_slice(&header)).await.map_err(at_place)?;
            }
            file.set_header(&header);
        }
        Ok(renewed)
    }
}

impl Renewed {
    /// Reads the new headers back, wherever there are any: with another one in a place, the old envelopes have to
    /// stay.
    pub async fn confirm(&self, places: &[Arc<dyn Place>]) -> Result<(), RenewError> {
        let id = self.record.id;
        for file in self.record.files.iter().filter(|file| file.header_bytes > 0) {
            let object = file.header_object(&id, self.record.receipt.start);
            for place in places {
                let (bytes, sha256) = (file.header_bytes, file.header_sha256);
                let found = place::check(&**place, &object, bytes, sha256, Pace::default()).await;
                if let Found::Wrong(why) = found.map_err(|source| RenewError::Place { id, source })? {
                    return Err(RenewError::Other { id, object, place: place.name().into(), why });
                }
            }
        }
        Ok(())
    }
}

fn new_header(envelope: &Envelope, header: &[u8], opens: &Identities) -> Result<Vec<u8>, RewrapError> {
    let mut random = OsRandom::new().expect("it gave the envelope's key just now");
    envelope.rewrap(&mut &header[..], opens, &mut random)
}

/// What a re-wrap of an epoch did.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Recordings whose old envelopes are gone.
    pub renewed: u64,
    /// Envelopes of no recording that the catalog knows.
    pub unknown: u64,
    /// Recordings that stay as they were, and why.
    pub faults: Vec<String>,
    /// Media with headers of before, which open nothing any more: what is written on each, by its number.
    pub media: BTreeMap<String, String>,
}

/// Asks to put an epoch under another key: the log has it first. Of several, each is asked for before the first is
/// begun, which may take longer than a second factor counts.
pub fn ask(
    vault: &Vault,
    ring: &KeyRing,
    epoch: &Epoch,
    reason: Option<Reason>,
) -> Result<Grant, VaultError> {
    let actor = vault.actor_of(ring);
    let (action, resource, now) = (Action::Rewrap, Resource::epoch(epoch), clock::now());
    Ok(vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?)
}

/// Puts an epoch under another key, and all its recordings under new envelopes. Interrupted, it is gone on with.
pub fn epoch(
    vault: &Vault,
    ring: &KeyRing,
    grant: &Grant,
    epoch: &Epoch,
    renewal: Renewal,
) -> Result<Rewrapped, VaultError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("starting to work on", &vault.home))?;
    let done = runtime.block_on(run(vault, ring, grant, epoch, renewal));
    let outcome = match &done {
        Ok(done) => Outcome::Done(serde_json::json!({
            "renewed": done.renewed, "unknown": done.unknown, "failed": done.faults.len(),
        })),
        Err(fault) => Outcome::Failed(fault.to_string()),
    };
    vault.log.outcome(grant, outcome)?;
    done
}

async fn run(
    vault: &Vault,
    ring: &KeyRing,
    grant: &Grant,
    epoch: &Epoch,
    renewal: Renewal,
) -> Result<Rewrapped, VaultError> {
    let (catalog, places) = (vault.catalog().await?, vault.places()?);
    let ids = ring.renew_epoch(grant, epoch, renewal)?;
    let mut done = Rewrapped::default();
    for ids in ids.chunks(BATCH) {
        // Between two, others copy.
        let turn = turns::rewrapping(&vault.home).await.map_err(io_error("locking", &vault.home))?;
        let Some(_turn) = turn else { return Err(VaultError::Copying { home: vault.home.clone() }) };
        batch(&catalog, ring, grant, epoch, &places, ids, &mut done).await?;
    }
    for id in done.media.keys().cloned().collect::<Vec<_>>() {
        let medium = catalog.media(Some(&id)).await?.pop();
        done.media.extend(medium.map(|medium| (id, medium.label)));
    }
    ring.reseal(grant, epoch)?;
    // Terms under the key that leaked are not to stay there either.
    catalog.overwrite_log().await?;
    catalog.close().await;
    Ok(done)
}

async fn batch(
    catalog: &Catalog,
    ring: &KeyRing,
    grant: &Grant,
    epoch: &Epoch,
    places: &[Arc<dyn Place>],
    ids: &[RecordingId],
    done: &mut Rewrapped,
) -> Result<(), VaultError> {
    let found = catalog.get_all(ids).await?;
    done.unknown += (ids.len() - found.len()) as u64;
    let mut records = Vec::with_capacity(found.len());
    for record in found {
        match all_known(&record, places).await {
            Ok(()) => records.push(record),
            Err(fault) => done.faults.push(fault.to_string()),
        }
    }
    let copies = catalog.copies_of(ids).await?;
    let held = |id: &RecordingId, name: &str| {
        let copy = copies.get(id).and_then(|copies| copies.iter().find(|copy| copy.place == name));
        // Whatever is archived was taken in at the first place.
        copy.map_or(places.first().is_some_and(|first| first.name() == name), |copy| {
            copy.state == CopyState::Good
        })
    };
    let (renewed, faults) = ring.replace_headers(grant, epoch, &records, places, &held).await?;
    done.faults.extend(faults.iter().map(ToString::to_string));
    let keys = ring.epoch(epoch)?;
    let mut known = Vec::with_capacity(renewed.len());
    for one in renewed {
        let id = one.record.id;
        match indexed(catalog, &one, &keys).await {
            Ok(indexed) => catalog.set_headers(&id, &one.record.files, indexed.as_ref()).await?,
            // Better forgotten by the catalog, which can be made anew, than with the old envelope for ever.
            Err(fault @ VaultError::Details { .. }) => {
                catalog.set_headers(&id, &one.record.files, None).await?;
                done.faults.push(fault.to_string());
            }
            // What passes is no reason to forget anything: its old envelope stays for the next run.
            Err(fault) => {
                done.faults.push(format!("recording {id}: {fault}"));
                continue;
            }
        }
        // Only now, for until the catalog knew somebody may have mended a copy with the header of before.
        match one.confirm(places).await {
            Ok(()) => known.push(id),
            Err(fault) => done.faults.push(fault.to_string()),
        }
    }
    ring.retire(grant, epoch, &known)?;
    done.media.extend(catalog.media_with(&known).await?.into_iter().map(|id| (id, String::new())));
    done.renewed += known.len() as u64;
    Ok(())
}

/// Whether the catalog has all versions of a recording: who says one may be cut off after its slip is put.
async fn all_known(record: &Record, places: &[Arc<dyn Place>]) -> Result<(), RenewError> {
    let id = record.id;
    let next = record.versions().keys().last().map_or(1, |last| last + 1);
    let slip = record.version_slip_object(next);
    for place in places {
        if place.size(&slip).await.map_err(|source| RenewError::Place { id, source })?.is_some() {
            return Err(RenewError::Version { id });
        }
    }
    Ok(())
}

/// What the catalog knows of the parties, under the new envelope, and found by the new index key; nothing where it
/// knows nothing.
async fn indexed(
    catalog: &Catalog,
    renewed: &Renewed,
    keys: &EpochKeys,
) -> Result<Option<Indexed>, VaultError> {
    let id = renewed.record.id;
    let Some(sealed) = catalog.sealed_details(&[id]).await?.pop() else { return Ok(None) };
    // An interrupted run may have put it under the new one.
    let mut envelopes = renewed.old.iter().chain([&renewed.new]);
    let opened = envelopes.find_map(|envelope| Details::open(&sealed.sealed, envelope).ok());
    let details = opened.ok_or(VaultError::Details { id })?;
    let mut random = OsRandom::new()?;
    let terms = IndexKey::new(&keys.index_key).terms(&details);
    Ok(Some(Indexed { details: details.seal(&renewed.new, &mut random), terms }))
}

/// Recordings that are put under new envelopes together.
const BATCH: usize = 256;
/// Of a header as we write it, with much room.
const HEADER_MAX: u64 = 64 << 10;
