//! After a leak: what a key that others have does open, and how it comes to open nothing.
//!
//! ```text
//! renew        the epoch has another identity, in front of the old one; new groups are sealed to it
//! succeed      recordings get a second envelope, in a new group
//! replace      headers are put under it in all places; the catalog is told
//! retire       the first envelope is destroyed
//! ```
//!
//! Cut off at any step, the next run goes on: while a recording has two envelopes it opens with either.
//!
//! What was copied elsewhere before with its header, together with the leaked key and the envelopes of then, opens
//! for ever: no vault can help that. What recorders still seal to the old recipient is taken in as before.

use std::sync::Arc;

use bytes::Bytes;

use crate::archive::access::{Action, Grant, Reason, Request};
use crate::archive::details::Details;
use crate::archive::entry::{Outcome, Resource};
use crate::archive::envelope::{Envelope, RewrapError};
use crate::archive::epoch::Epoch;
use crate::archive::record::{Digest, Record, RecordingId};
use crate::archive::search::Indexed;
use crate::seal::identity::Identities;
use crate::shell::clock;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::home::{Vault, VaultError, io_error};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::{KeyRing, epoch_text, granted, new_identity};
use crate::shell::vault::place::{Place, PlaceError};

/// A recording that is under a new envelope in all places. The old one opens nothing any more, and is to be
/// retired once the catalog knows.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// With its new headers.
    pub record: Record,
    /// For what else is to be put under the new one.
    pub old: Envelope,
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
    #[error("recording {id}: {source}; bring the place back and say it again")]
    Place {
        /// Which.
        id: RecordingId,
        /// Why.
        source: PlaceError,
    },
    /// No place has its header.
    #[error("recording {id}: no place has `{object}`; restore it and say it again")]
    NoHeader {
        /// Which.
        id: RecordingId,
        /// The header.
        object: String,
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

impl KeyRing {
    /// Gives an epoch another key. Where that was begun and is not finished, nothing changes. Returns whose
    /// envelopes are to follow.
    pub fn renew_epoch(&self, grant: &Grant, epoch: &Epoch) -> Result<Vec<RecordingId>, KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let left = self.left_behind(epoch, keys.groups_from);
        if !left.is_empty() {
            return Ok(left);
        }
        let next = self.group_numbers(epoch).last().map_or(0, |last| last + 1);
        let new = new_identity(&keys.recipient)?;
        let identities = zeroize::Zeroizing::new(format!("{}\n{}", *new, *keys.identity_text));
        let text = epoch_text(epoch, &identities, next, &keys.index_key);
        self.write_epoch(epoch, &self.scheme, &text)?;
        let keys = self.epoch_locked(epoch)?;
        Ok(self.left_behind(epoch, keys.groups_from))
    }

    /// Destroys the old envelopes of recordings that have a new one, and seals what else is in their groups to the
    /// new key.
    pub fn retire(&self, grant: &Grant, epoch: &Epoch, ids: &[RecordingId]) -> Result<u64, KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let from = keys.groups_from;
        let renewed: Vec<_> = ids
            .iter()
            .filter(|id| self.groups_of(epoch, id).last().is_some_and(|group| *group >= from))
            .copied()
            .collect();
        self.destroy_locked(epoch, &renewed, &|group| group < from)
    }

    /// Seals old groups that still have envelopes to the new key.
    pub fn reseal(&self, grant: &Grant, epoch: &Epoch) -> Result<(), KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        for number in self.group_numbers(epoch).into_iter().filter(|number| *number < keys.groups_from) {
            if let Some(group) = self.group(epoch, number)?.filter(|group| !group.is_empty()) {
                self.write_group(epoch, &keys, number, (*group).clone())?;
            }
        }
        Ok(())
    }

    /// Puts recordings of an epoch under new envelopes, in all places. Those that cannot be stay as they are, and
    /// are told.
    pub async fn replace_headers(
        &self,
        grant: &Grant,
        epoch: &Epoch,
        records: &[Record],
        places: &[Arc<dyn Place>],
    ) -> Result<(Vec<Renewed>, Vec<RenewError>), KeyFault> {
        granted(grant, Action::Rewrap, epoch, None)?;
        let (mut renewed, mut faults) = (Vec::new(), Vec::new());
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        let envelopes = self.succeed(epoch, &ids)?;
        for record in records {
            let Some((old, new)) = envelopes.iter().find(|(old, _)| old.id() == record.id) else { continue };
            match self.replace_header(epoch, record, new, places).await {
                Ok(record) => renewed.push(Renewed { record, old: old.clone(), new: new.clone() }),
                Err(fault) => faults.push(fault),
            }
        }
        Ok((renewed, faults))
    }

    /// The first and the second envelope of recordings that are to be renewed.
    fn succeed(&self, epoch: &Epoch, ids: &[RecordingId]) -> Result<Vec<(Envelope, Envelope)>, KeyFault> {
        let _lock = self.store.lock()?;
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let mut random = OsRandom::new()?;
        let (mut pairs, mut made) = (Vec::new(), Vec::new());
        for id in ids {
            let groups = self.groups_of(epoch, id);
            let (Some(first), Some(last)) = (groups.first(), groups.last()) else { continue };
            if *first >= keys.groups_from {
                // It was renewed before.
                continue;
            }
            let get = |number: u32| -> Result<Option<Envelope>, KeyFault> {
                Ok(self.group(epoch, number)?.and_then(|group| group.get(id).cloned()))
            };
            let Some(old) = get(*first)? else { continue };
            let begun = if *last >= keys.groups_from { get(*last)? } else { None };
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
    ) -> Result<Record, RenewError> {
        let id = record.id;
        let mut renewed = record.clone();
        let opens = self.opens(epoch, &id)?.unwrap_or_default();
        for file in &mut renewed.files {
            let object = file.header_object(&id, record.receipt.start);
            let at_place = |source| RenewError::Place { id, source };
            let (mut there, mut header, mut fault) = (Vec::new(), None, None);
            for place in places {
                let Some(bytes) = place.get(&object, None).await.map_err(at_place)? else { continue };
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
            file.header_sha256 = Digest::of(&header);
            file.header_bytes = header.len() as u64;
        }
        Ok(renewed)
    }

    /// Whose envelopes are in groups below `from`, in order.
    fn left_behind(&self, epoch: &Epoch, from: u32) -> Vec<RecordingId> {
        let mut ids = self.ids_below(epoch, from);
        ids.sort_unstable();
        ids
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
}

/// Puts an epoch under another key, and all its recordings under new envelopes; the log has it first. Interrupted,
/// it is said again, and goes on.
pub fn epoch(
    vault: &Vault,
    ring: &KeyRing,
    epoch: &Epoch,
    reason: Option<Reason>,
) -> Result<Rewrapped, VaultError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("starting to work on", &vault.home))?;
    let actor = vault.actor_of(ring);
    let (action, resource, now) = (Action::Rewrap, Resource::epoch(epoch), clock::now());
    let grant = vault.log.ask(&Request { actor: &actor, action, resource, reason, now })?;
    let done = runtime.block_on(run(vault, ring, &grant, epoch));
    let outcome = match &done {
        Ok(done) => Outcome::Done(serde_json::json!({
            "renewed": done.renewed, "unknown": done.unknown, "failed": done.faults.len(),
        })),
        Err(fault) => Outcome::Failed(fault.to_string()),
    };
    vault.log.outcome(&grant, outcome)?;
    done
}

async fn run(vault: &Vault, ring: &KeyRing, grant: &Grant, epoch: &Epoch) -> Result<Rewrapped, VaultError> {
    let (catalog, places) = (vault.catalog().await?, vault.places()?);
    let ids = ring.renew_epoch(grant, epoch)?;
    let mut done = Rewrapped::default();
    for ids in ids.chunks(BATCH) {
        let records = catalog.get_all(ids).await?;
        done.unknown += (ids.len() - records.len()) as u64;
        let (renewed, faults) = ring.replace_headers(grant, epoch, &records, &places).await?;
        done.faults.extend(faults.iter().map(ToString::to_string));
        let mut known = Vec::with_capacity(renewed.len());
        for one in renewed {
            let id = one.record.id;
            match indexed(&catalog, &one).await {
                Ok(indexed) => catalog.set_headers(&id, &one.record.files, indexed.as_ref()).await?,
                // Better forgotten by the catalog, which can be made anew, than with the old envelope for ever.
                Err(fault) => {
                    catalog.set_headers(&id, &one.record.files, None).await?;
                    done.faults.push(fault.to_string());
                }
            }
            known.push(id);
        }
        ring.retire(grant, epoch, &known)?;
        done.renewed += known.len() as u64;
    }
    ring.reseal(grant, epoch)?;
    catalog.close().await;
    Ok(done)
}

/// What the catalog knows of the parties, under the new envelope; nothing where it knows nothing.
async fn indexed(catalog: &Catalog, renewed: &Renewed) -> Result<Option<Indexed>, VaultError> {
    let id = renewed.record.id;
    let Some(sealed) = catalog.sealed_details(&[id]).await?.pop() else { return Ok(None) };
    // An interrupted run may have put it there.
    let opened = Details::open(&sealed.sealed, &renewed.old)
        .or_else(|_| Details::open(&sealed.sealed, &renewed.new))
        .map_err(|_| VaultError::Details { id })?;
    let mut random = OsRandom::new()?;
    Ok(Some(Indexed { details: opened.seal(&renewed.new, &mut random), terms: sealed.terms }))
}

/// Recordings that are put under new envelopes together.
const BATCH: usize = 256;
