//! Keys of a vault that is unlocked.

mod begun;
mod epoch_keys;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::archive::access::{Action, Grant};
use crate::archive::custody::{CustodianName, Scheme};
use crate::archive::entry::Resource;
use crate::archive::envelope::{Envelope, GROUP_MAX, Group};
use crate::archive::epoch::{ClassName, Epoch, Month};
use crate::archive::record::RecordingId;
use crate::base::time::Stamp;
use crate::seal::identity::Identities;
use crate::seal::open::Opener;
use crate::seal::recipient::Recipients;
use crate::seal::stream::seal_whole;
use crate::shell::entropy::OsRandom;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::begun::Begun;
pub use crate::shell::vault::keyring::epoch_keys::EpochKeys;
pub(super) use crate::shell::vault::keyring::epoch_keys::{epoch_text, new_identity, new_index_key};
use crate::shell::vault::keystore::{
    KeyStore, TOMBSTONE_ENTRY, envelopes_dir, group_slot, identity_slot, recipient_slot, recipient_text,
    tombstone_slot,
};

/// The root identity, and through it all others. Dropped, the vault is locked again. May be shared by threads; other
/// processes may change the same keys, which is seen.
pub struct KeyRing {
    pub(super) store: KeyStore,
    pub(super) root: Identities,
    pub(super) scheme: Scheme,
    opened_by: Vec<CustodianName>,
    opened_at: Stamp,
    came_back: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epochs: BTreeMap<Epoch, Arc<EpochKeys>>,
    /// Of epochs that were looked into, the last one last.
    indexes: VecDeque<(Epoch, Index)>,
    /// Number of the next index: one that was dropped for others and made again is another.
    next_index: u64,
    /// Groups that were read, the last one last.
    groups: VecDeque<(Epoch, u32, u64, Arc<Group>)>,
}

/// In which group a recording's envelope is. While an epoch is renewed, it has one in two.
#[derive(Default)]
struct Index {
    number: u64,
    /// Whether all groups are in it: another thread may have had it dropped just now.
    is_whole: bool,
    groups: BTreeMap<u32, Known>,
    ids: BTreeSet<(RecordingId, u32)>,
    /// Groups that are in no place whole.
    damaged: BTreeSet<u32>,
}

struct Known {
    generation: u64,
    ids: Vec<RecordingId>,
}

impl KeyRing {
    pub(super) fn new(
        store: KeyStore,
        root: Identities,
        scheme: Scheme,
        opened_by: Vec<CustodianName>,
        opened_at: Stamp,
    ) -> Self {
        Self { store, root, scheme, opened_by, opened_at, came_back: 0, state: Mutex::default() }
    }

    /// Custodians whose shares gave it.
    pub fn opened_by(&self) -> &[CustodianName] {
        &self.opened_by
    }

    /// When they did.
    pub fn opened_at(&self) -> Stamp {
        self.opened_at
    }

    /// How many recordings and epochs had been destroyed, had come back from an older state, and were destroyed again
    /// by unlocking.
    pub fn came_back(&self) -> u64 {
        self.came_back
    }

    pub(super) fn set_came_back(&mut self, count: u64) {
        self.came_back = count;
    }

    /// The keys as files.
    pub fn store(&self) -> &KeyStore {
        &self.store
    }

    /// An epoch's keys, which are made where there are none.
    pub fn epoch(&self, epoch: &Epoch) -> Result<Arc<EpochKeys>, KeyFault> {
        let slot = recipient_slot(epoch);
        let is_whole = |keys: &EpochKeys| -> Result<bool, KeyFault> {
            Ok(self.store.mirror.generation(&slot)? == Some(keys.generation))
        };
        if let Some(keys) = self.known_epoch(epoch)?
            && is_whole(&keys)?
        {
            return Ok(keys);
        }
        let _lock = self.store.lock()?;
        self.store.mirror.level(&identity_slot(self.scheme.generation, epoch).dir)?;
        match self.known_epoch(epoch)? {
            // Another process has been first.
            Some(keys) if is_whole(&keys)? => return Ok(keys),
            // A power cut came between the key and its recipient.
            Some(keys) => self.publish(epoch, &keys.recipient, keys.generation)?,
            None => {
                let scheme = self.store.scheme()?;
                let text =
                    epoch_text(epoch, &new_identity(&scheme.root)?, 0, [&new_index_key()?].into_iter());
                self.write_epoch(epoch, &scheme, &text)?;
            }
        }
        self.known_epoch(epoch)?.ok_or_else(|| KeyFault::NoEpoch(epoch.clone()))
    }

    /// An epoch's keys where they have been made.
    pub fn known_epoch(&self, epoch: &Epoch) -> Result<Option<Arc<EpochKeys>>, KeyFault> {
        if self.store.is_destroyed(epoch)? {
            self.forget(epoch);
            return Err(KeyFault::Destroyed(epoch.clone()));
        }
        let slot = recipient_slot(epoch);
        let published = self.store.mirror.generation(&slot)?;
        if let Some(keys) = self.state().epochs.get(epoch)
            && published == Some(keys.generation)
        {
            return Ok(Some(Arc::clone(keys)));
        }
        let Some(keys) = self.load_epoch(epoch)? else { return Ok(None) };
        let generation = keys.generation;
        if published == Some(generation) {
            for (path, bytes) in self.store.mirror.read_all(&slot, generation)? {
                if recipient_text(&bytes) != keys.recipient {
                    return Err(KeyFault::WrongRecipient { epoch: epoch.clone(), path });
                }
            }
        }
        let keys = Arc::new(keys);
        self.state().epochs.insert(epoch.clone(), Arc::clone(&keys));
        Ok(Some(keys))
    }

    /// Reads an epoch's keys, whatever is published of them.
    pub(super) fn load_epoch(&self, epoch: &Epoch) -> Result<Option<EpochKeys>, KeyFault> {
        let root = self.store.root_generation()?;
        let slot = identity_slot(root, epoch);
        if root != self.scheme.generation {
            // What was made under the other root key cannot be read with this one.
            let is_there = self.store.mirror.generation(&slot)?.is_some();
            return if is_there { Err(KeyFault::Changed) } else { Ok(None) };
        }
        let read = self.store.mirror.read_newest(&slot, |bytes| self.open_epoch(epoch, bytes))?;
        Ok(read.map(|(generation, keys)| EpochKeys { generation, ..keys }))
    }

    pub(super) fn open_epoch(&self, epoch: &Epoch, bytes: &[u8]) -> Result<EpochKeys, KeyFault> {
        let plain = Opener::open(bytes, &self.root)?.read_whole()?;
        EpochKeys::parse(epoch, &plain)
    }

    /// Makes the keys of this month and of the coming ones, so that recorders can have their recipients while the
    /// vault is locked.
    pub fn make_ahead(&self, classes: &[ClassName], now: Stamp) -> Result<(), KeyFault> {
        for class in classes {
            let mut month = Month::of(now);
            for _ in 0..=MONTHS_AHEAD {
                match self.epoch(&Epoch { month, class: class.clone() }) {
                    Ok(_) | Err(KeyFault::Destroyed(_)) => {}
                    Err(fault) => return Err(fault),
                }
                month = month.next();
            }
        }
        Ok(())
    }

    /// Keeps envelopes: in all key places, on their disks, when this returns. None is kept where one of the
    /// recordings has an envelope already.
    pub fn add_envelopes(&self, epoch: &Epoch, envelopes: Vec<Envelope>) -> Result<(), KeyFault> {
        self.epoch(epoch)?;
        let _lock = self.store.lock()?;
        self.add_locked(epoch, envelopes, false)
    }

    /// The envelopes of recordings, those that they have or new ones, kept as by [`KeyRing::add_envelopes`]. What
    /// was interrupted after this is done again with the same envelopes.
    pub fn envelopes_for(&self, epoch: &Epoch, ids: &[RecordingId]) -> Result<Vec<Envelope>, KeyFault> {
        self.epoch(epoch)?;
        let _lock = self.store.lock()?;
        let (mut all, mut new) = (Vec::with_capacity(ids.len()), Vec::new());
        let mut random = OsRandom::new()?;
        // What is found is to be in all places, as what is new will be.
        self.store.mirror.level(&envelopes_dir(epoch))?;
        self.refresh(epoch)?;
        for id in ids {
            let envelope = match self.find(epoch, id)?.into_iter().next() {
                Some(envelope) => envelope,
                None => {
                    let envelope = Envelope::generate(*id, &mut random);
                    new.push(envelope.clone());
                    envelope
                }
            };
            all.push(envelope);
        }
        self.add_locked(epoch, new, false)?;
        Ok(all)
    }

    /// The envelope of a recording; nothing where it has none, as after its destruction. Of several while its epoch
    /// is renewed, the newest: see [`KeyRing::opens`].
    pub fn envelope(&self, epoch: &Epoch, id: &RecordingId) -> Result<Option<Envelope>, KeyFault> {
        Ok(self.envelopes(epoch, id)?.into_iter().next())
    }

    /// All envelopes of a recording, the newest first.
    pub fn envelopes(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeyFault> {
        let Some(keys) = self.known_epoch(epoch)? else { return Ok(Vec::new()) };
        let newest = self.groups_of(epoch, id)?.last().copied();
        if newest.is_none_or(|group| group < keys.groups_from) {
            // Another process may have added it, or a second one.
            self.refresh(epoch)?;
        }
        self.find(epoch, id)
    }

    /// What opens an archived recording, under its old or its new envelope; nothing where it has none.
    pub fn opens(&self, epoch: &Epoch, id: &RecordingId) -> Result<Option<Identities>, KeyFault> {
        let mut identities = Identities::default();
        for envelope in self.envelopes(epoch, id)? {
            identities.add_boxed(Box::new(envelope));
        }
        Ok((!identities.is_empty()).then_some(identities))
    }

    /// The envelopes of a recording of whose epoch only its id is known. The id's own month is tried first (UUIDv7
    /// begins with its time); a recording that straddles months may be beside it.
    pub fn find_envelopes(&self, id: &RecordingId) -> Result<Vec<Envelope>, KeyFault> {
        let made = id.as_bytes()[..6].iter().fold(0_u64, |millis, byte| millis << 8 | u64::from(*byte));
        let month = Month::of(Stamp::from_unix_nanos(made.saturating_mul(1_000_000)));
        let mut epochs = self.store.epochs()?;
        epochs.sort_by_key(|state| {
            if state.epoch.month == month {
                0
            } else if state.epoch.month.next() == month || state.epoch.month == month.next() {
                1
            } else {
                2
            }
        });
        for state in epochs.iter().filter(|state| state.recipient.is_some()) {
            let envelopes = self.envelopes(&state.epoch, id)?;
            if !envelopes.is_empty() {
                return Ok(envelopes);
            }
        }
        Ok(Vec::new())
    }

    /// Recordings of an epoch that have an envelope, in the order of their ids.
    pub fn recordings(&self, epoch: &Epoch) -> Result<Vec<RecordingId>, KeyFault> {
        if self.known_epoch(epoch)?.is_none() {
            return Ok(Vec::new());
        }
        self.refresh(epoch)?;
        let mut ids: Vec<_> =
            self.with_whole(epoch, |index| index.ids.iter().map(|(id, _)| *id).collect())?;
        ids.dedup();
        Ok(ids)
    }

    /// Destroys the envelopes of recordings, in all key places: nobody opens them any more, wherever copies are.
    /// Returns how many there were. Interrupted, it is finished at the next unlocking.
    pub fn destroy_envelopes(
        &self,
        grant: &Grant,
        epoch: &Epoch,
        ids: &[RecordingId],
    ) -> Result<u64, KeyFault> {
        granted(grant, Action::Destroy, epoch, Some(ids))?;
        // First of all: a place that is away may be the one that has the epoch.
        self.store.mirror.writable()?;
        if self.known_epoch(epoch)?.is_none() {
            return Ok(0);
        }
        let _lock = self.store.lock()?;
        self.store.mirror.writable()?;
        let one = Begun { epoch: epoch.to_string(), ids: ids.to_vec() };
        let mut begun = self.finish_locked()?;
        begun.retain(|other| *other != one);
        begun.push(one);
        self.write_begun(&begun)?;
        let destroyed = self.destroy_locked(epoch, ids, &|_| true)?;
        begun.pop();
        self.write_begun(&begun)?;
        Ok(destroyed)
    }

    /// Destroys an epoch's key and all its envelopes, in all key places. Interrupted after the word of it is on the
    /// disk, it is finished by the next repair.
    pub fn destroy_epoch(&self, grant: &Grant, epoch: &Epoch) -> Result<(), KeyFault> {
        granted(grant, Action::Destroy, epoch, None)?;
        let _lock = self.store.lock()?;
        self.destroy_epoch_locked(grant, epoch)
    }

    /// The same, unless an envelope is under it: a recording may have come since it was decided about.
    pub fn destroy_empty_epoch(&self, grant: &Grant, epoch: &Epoch) -> Result<(), KeyFault> {
        granted(grant, Action::Destroy, epoch, None)?;
        let _lock = self.store.lock()?;
        self.store.mirror.writable()?;
        self.finish_locked()?;
        match self.known_epoch(epoch) {
            Ok(None) | Err(KeyFault::Destroyed(_)) => {}
            Ok(Some(_)) => self.refresh(epoch)?,
            Err(fault) => return Err(fault),
        }
        let count = self.with_index(epoch, |index| index.ids.len());
        if count > 0 {
            return Err(KeyFault::InUse { epoch: epoch.clone(), count });
        }
        self.destroy_epoch_locked(grant, epoch)
    }

    fn destroy_epoch_locked(&self, grant: &Grant, epoch: &Epoch) -> Result<(), KeyFault> {
        self.store.mirror.writable()?;
        let word = format!("epoch {epoch}{TOMBSTONE_ENTRY}{} of the vault's log\n", grant.entry());
        self.store.mirror.write(&tombstone_slot(epoch), 0, word.as_bytes())?;
        self.forget(epoch);
        self.store.erase_epoch(epoch)
    }

    /// Takes envelopes out of the groups that `which` names.
    pub(super) fn destroy_locked(
        &self,
        epoch: &Epoch,
        ids: &[RecordingId],
        which: &dyn Fn(u32) -> bool,
    ) -> Result<u64, KeyFault> {
        let keys = self.epoch_locked(epoch)?;
        // What was destroyed in one place before a write failed is to go in the others too.
        self.store.mirror.level(&envelopes_dir(epoch))?;
        self.refresh(epoch)?;
        let mut of_groups: BTreeMap<u32, Vec<RecordingId>> = BTreeMap::new();
        for id in ids {
            for group in self.groups_of(epoch, id)?.into_iter().filter(|group| which(*group)) {
                of_groups.entry(group).or_default().push(*id);
            }
        }
        let mut destroyed = 0;
        for (number, ids) in of_groups {
            let Some(group) = self.group(epoch, number)? else { continue };
            let mut left = (*group).clone();
            destroyed += ids.iter().filter(|id| left.remove(id).is_some()).count() as u64;
            // An empty one stays: its generation is what a place that was away is held against.
            self.write_group(epoch, &keys, number, left)?;
        }
        // What was not found may be in there, and come back when a place is restored.
        let damaged = self.with_whole(epoch, |index| index.damaged.first().copied())?;
        match damaged.filter(|number| destroyed < ids.len() as u64 && which(*number)) {
            Some(number) => Err(self.store.damaged(&group_slot(epoch, number))),
            None => Ok(destroyed),
        }
    }

    pub(super) fn add_locked(
        &self,
        epoch: &Epoch,
        envelopes: Vec<Envelope>,
        renewing: bool,
    ) -> Result<(), KeyFault> {
        if envelopes.is_empty() {
            return Ok(());
        }
        let keys = self.epoch_locked(epoch)?;
        self.refresh(epoch)?;
        let first = if renewing { keys.groups_from } else { 0 };
        for envelope in &envelopes {
            let id = envelope.id();
            if self.groups_of(epoch, &id)?.iter().any(|group| *group >= first) {
                return Err(KeyFault::HasEnvelope(id));
            }
        }
        let last = self.with_whole(epoch, |index| {
            index.groups.last_key_value().map(|(number, known)| (*number, known.ids.len()))
        })?;
        // A group is added to where all fit: it is written anew each time.
        let fits = |(number, length): &(u32, usize)| {
            *number >= keys.groups_from && *length > 0 && length + envelopes.len() <= GROUP_MAX
        };
        if let Some((number, _)) = last.filter(fits)
            && let Some(group) = self.group(epoch, number)?
        {
            let mut group = (*group).clone();
            envelopes.into_iter().for_each(|envelope| group.insert(envelope));
            return self.write_group(epoch, &keys, number, group);
        }
        // By what is on the disk, whatever is in memory: nothing is written over.
        let slots = self.store.mirror.newest(&envelopes_dir(epoch))?;
        let last = slots.keys().filter_map(|slot| slot.stem.parse::<u32>().ok()).max();
        let next = last.map_or(0, |last| last + 1).max(keys.groups_from);
        for (number, envelopes) in (next..).zip(envelopes.chunks(GROUP_MAX)) {
            let mut group = Group::default();
            envelopes.iter().cloned().for_each(|envelope| group.insert(envelope));
            let sealed = seal_whole(&group.to_bytes(), &keys.seal_to, &mut OsRandom::new()?)?;
            let generation = self.store.mirror.put_new(&group_slot(epoch, number), &sealed)?;
            self.learn(epoch, number, generation, group);
        }
        Ok(())
    }

    /// Writes a group that is there anew.
    pub(super) fn write_group(
        &self,
        epoch: &Epoch,
        keys: &EpochKeys,
        number: u32,
        group: Group,
    ) -> Result<(), KeyFault> {
        let sealed = seal_whole(&group.to_bytes(), &keys.seal_to, &mut OsRandom::new()?)?;
        let generation = self.store.mirror.put(&group_slot(epoch, number), &sealed)?;
        self.learn(epoch, number, generation, group);
        Ok(())
    }

    fn learn(&self, epoch: &Epoch, number: u32, generation: u64, group: Group) {
        self.with_index(epoch, |index| index.set(number, generation, group.ids().collect()));
        self.state().keep(epoch, number, generation, Arc::new(group));
    }

    /// An epoch's keys where it is ours to change it: it may have been destroyed while we waited for that.
    pub(super) fn epoch_locked(&self, epoch: &Epoch) -> Result<Arc<EpochKeys>, KeyFault> {
        self.known_epoch(epoch)?.ok_or_else(|| KeyFault::NoEpoch(epoch.clone()))
    }

    /// Writes an epoch's identity, then its recipient.
    pub(super) fn write_epoch(
        &self,
        epoch: &Epoch,
        scheme: &Scheme,
        text: &Zeroizing<String>,
    ) -> Result<(), KeyFault> {
        let to = Recipients::parse([&scheme.root])?;
        let sealed = seal_whole(text.as_bytes(), &to, &mut OsRandom::new()?)?;
        let generation = self.store.mirror.put(&identity_slot(scheme.generation, epoch), &sealed)?;
        let recipient = EpochKeys::parse(epoch, text.as_bytes())?.recipient;
        self.publish(epoch, &recipient, generation)
    }

    fn publish(&self, epoch: &Epoch, recipient: &str, generation: u64) -> Result<(), KeyFault> {
        let slot = recipient_slot(epoch);
        self.store.mirror.write(&slot, generation, format!("{recipient}\n").as_bytes())?;
        self.store.mirror.shred_below(&slot, generation).map(drop)
    }

    fn find(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeyFault> {
        let mut envelopes = Vec::new();
        for group in self.groups_of(epoch, id)?.into_iter().rev() {
            envelopes.extend(self.group(epoch, group)?.and_then(|group| group.get(id).cloned()));
        }
        Ok(envelopes)
    }

    /// Numbers of the groups that have an envelope of a recording, in order.
    pub(super) fn groups_of(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<u32>, KeyFault> {
        self.with_whole(epoch, |index| {
            index.ids.range((*id, 0)..=(*id, u32::MAX)).map(|(_, group)| *group).collect()
        })
    }

    /// Numbers of all groups, in order.
    pub(super) fn group_numbers(&self, epoch: &Epoch) -> Result<Vec<u32>, KeyFault> {
        self.with_whole(epoch, |index| index.groups.keys().copied().collect())
    }

    /// Whose envelopes are in groups below `from`.
    pub(super) fn ids_below(&self, epoch: &Epoch, from: u32) -> Result<Vec<RecordingId>, KeyFault> {
        self.with_whole(epoch, |index| {
            index.groups.range(..from).flat_map(|(_, known)| known.ids.iter().copied()).collect()
        })
    }

    /// A group as it is on the disk now.
    pub(super) fn group(&self, epoch: &Epoch, number: u32) -> Result<Option<Arc<Group>>, KeyFault> {
        let slot = group_slot(epoch, number);
        let known = self.with_index(epoch, |index| index.groups.get(&number).map(|known| known.generation));
        if let Some(generation) = known
            && self.store.mirror.exists(&slot, generation)
            && let Some(group) = self.state().kept(epoch, number, generation)
        {
            return Ok(Some(group));
        }
        let Some(keys) = self.known_epoch(epoch)? else { return Ok(None) };
        let read = self.store.mirror.read_newest(&slot, |bytes| keys.open_group(bytes))?;
        let Some((generation, group)) = read else { return Ok(None) };
        let group = Arc::new(group);
        self.with_index(epoch, |index| index.set(number, generation, group.ids().collect()));
        self.state().keep(epoch, number, generation, Arc::clone(&group));
        Ok(Some(group))
    }

    /// Reads the groups that others have changed.
    pub(super) fn refresh(&self, epoch: &Epoch) -> Result<(), KeyFault> {
        while !self.refreshed(epoch)? {}
        Ok(())
    }

    /// Whether what was read is still in memory.
    fn refreshed(&self, epoch: &Epoch) -> Result<bool, KeyFault> {
        let (begun, known): (u64, BTreeSet<u32>) =
            self.with_index(epoch, |index| (index.number, index.groups.keys().copied().collect()));
        let newest = self.store.mirror.newest(&envelopes_dir(epoch))?;
        let mut there = BTreeSet::new();
        for (slot, generation) in newest {
            let Ok(number) = slot.stem.parse::<u32>() else { continue };
            there.insert(number);
            let is_known = self.with_index(epoch, |index| {
                index.groups.get(&number).is_some_and(|known| known.generation == generation)
            });
            if is_known {
                continue;
            }
            match self.group(epoch, number) {
                // Its recordings are lost; those of the others are not.
                Err(KeyFault::Damaged { .. } | KeyFault::Open { .. }) => self.with_index(epoch, |index| {
                    index.set(number, generation, Vec::new());
                    index.damaged.insert(number);
                }),
                other => drop(other?),
            }
        }
        Ok(self.with_index(epoch, |index| {
            if index.number == begun {
                // Not those that have come since.
                known.difference(&there).for_each(|number| index.forget(*number));
                index.is_whole = true;
            }
            index.is_whole
        }))
    }

    /// What all groups of an epoch say: read where they are not in memory.
    fn with_whole<T>(&self, epoch: &Epoch, ask: impl Fn(&Index) -> T) -> Result<T, KeyFault> {
        loop {
            if let Some(said) = self.with_index(epoch, |index| index.is_whole.then(|| ask(index))) {
                return Ok(said);
            }
            self.refresh(epoch)?;
        }
    }

    fn with_index<T>(&self, epoch: &Epoch, act: impl FnOnce(&mut Index) -> T) -> T {
        let mut state = self.state();
        let place = state.indexes.iter().position(|(other, _)| other == epoch);
        let (epoch, mut index) = match place.and_then(|place| state.indexes.remove(place)) {
            Some(entry) => entry,
            None => {
                state.next_index += 1;
                (epoch.clone(), Index { number: state.next_index, ..Index::default() })
            }
        };
        let done = act(&mut index);
        state.indexes.push_back((epoch, index));
        if state.indexes.len() > INDEXES_MAX {
            state.indexes.pop_front();
        }
        done
    }

    pub(super) fn forget(&self, epoch: &Epoch) {
        let mut state = self.state();
        state.epochs.remove(epoch);
        state.indexes.retain(|(other, _)| other != epoch);
        state.groups.retain(|(other, ..)| other != epoch);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves at worst an entry less.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing(root {}, ..)", self.scheme.generation)
    }
}

impl State {
    fn kept(&mut self, epoch: &Epoch, number: u32, generation: u64) -> Option<Arc<Group>> {
        let is_it = |(other, group, of, _): &(Epoch, u32, u64, Arc<Group>)| {
            (other, *group, *of) == (epoch, number, generation)
        };
        let entry = self.groups.iter().position(is_it).and_then(|place| self.groups.remove(place))?;
        let group = Arc::clone(&entry.3);
        self.groups.push_back(entry);
        Some(group)
    }

    fn keep(&mut self, epoch: &Epoch, number: u32, generation: u64, group: Arc<Group>) {
        self.groups.retain(|(other, of, ..)| (other, *of) != (epoch, number));
        self.groups.push_back((epoch.clone(), number, generation, group));
        if self.groups.len() > GROUPS_KEPT_MAX {
            self.groups.pop_front();
        }
    }
}

impl Index {
    fn set(&mut self, number: u32, generation: u64, ids: Vec<RecordingId>) {
        self.forget(number);
        self.ids.extend(ids.iter().map(|id| (*id, number)));
        self.groups.insert(number, Known { generation, ids });
    }

    fn forget(&mut self, number: u32) {
        self.damaged.remove(&number);
        if let Some(known) = self.groups.remove(&number) {
            for id in known.ids {
                self.ids.remove(&(id, number));
            }
        }
    }
}

/// Whether a grant is of this action on these recordings.
pub(super) fn granted(
    grant: &Grant,
    action: Action,
    epoch: &Epoch,
    ids: Option<&[RecordingId]>,
) -> Result<(), KeyFault> {
    if grant.action() != action {
        return Err(KeyFault::NotGranted(format!("{:?} was granted, not {action:?}", grant.action())));
    }
    let fits = match grant.resource() {
        Resource::Epoch(name) => *name == epoch.to_string(),
        Resource::Recording(id) => ids.is_some_and(|ids| ids == [*id]),
        // Of several epochs, one after the other: each call has some of them.
        Resource::Recordings { count, .. } => ids.is_some_and(|ids| ids.len() as u64 <= *count),
        Resource::Request(_) | Resource::Vault => true,
        Resource::Hold(_) | Resource::Medium(_) | Resource::Place(_) | Resource::Recorder(_) => false,
        Resource::User(_) | Resource::UserRequest(_) => false,
    };
    if fits { Ok(()) } else { Err(KeyFault::NotGranted("it is of other recordings".into())) }
}

/// Months beyond this one whose keys are made when a vault is unlocked.
pub const MONTHS_AHEAD: u32 = 2;
/// Epochs whose index is kept: about 50 bytes a recording.
const INDEXES_MAX: usize = 6;
/// Groups that are kept open: 12 KiB each.
const GROUPS_KEPT_MAX: usize = 128;

#[cfg(test)]
mod tests;
