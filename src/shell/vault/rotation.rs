//! Another root key: a custodian leaves or joins, or it is time.

use crate::archive::access::{Action, Grant};
use crate::archive::custody::Custody;
use crate::archive::entry::Resource;
use crate::archive::epoch::Epoch;
use crate::seal::identity::Identities;
use crate::seal::open::Opener;
use crate::seal::stream::seal_whole;
use crate::shell::entropy::OsRandom;
use crate::shell::keys::KeyKind;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::{EpochKeys, KeyRing};
use crate::shell::vault::keystore::{
    EPOCHS_DIR, NewRoot, group_slot, identity_slot, recipient_slot, root_dir,
};
use crate::shell::vault::mirror::Slot;

/// What a look at all keys found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// Epochs whose identity opens.
    pub epochs: u64,
    /// Envelopes that were read.
    pub envelopes: u64,
    /// Files that were damaged or missing in one place and are whole again.
    pub mended: u64,
    /// Files that are whole nowhere.
    pub lost: Vec<String>,
}

impl KeyRing {
    /// Makes another root key and splits it among `custody`; puts the epochs' identities under it. The one before
    /// opens nothing any more that is in a key place. Cut off, it is as before or done.
    pub fn rotate(&self, grant: &Grant, kind: KeyKind, custody: &Custody) -> Result<Self, KeyFault> {
        if grant.action() != Action::Rewrap || *grant.resource() != Resource::Vault {
            return Err(KeyFault::NotGranted("another root key takes a grant to rewrap the vault".into()));
        }
        self.finish_begun()?;
        let _lock = self.store.lock()?;
        let generation = self.store.root_generation()?;
        if generation != self.scheme.generation {
            return Err(KeyFault::Changed);
        }
        let root = NewRoot::make(generation + 1, kind, custody)?;
        let to = root.recipients()?;
        let mut epochs = Vec::new();
        for (slot, of, class) in self.epoch_slots()? {
            let read = |bytes: &[u8]| Ok(Opener::open(bytes, &self.root)?.read_whole()?);
            let (_, plain) =
                self.store.mirror.read_newest(&slot, read)?.ok_or_else(|| self.store.damaged(&slot))?;
            let sealed = seal_whole(&plain, &to, &mut OsRandom::new()?)?;
            epochs.push((Slot { dir: format!("{EPOCHS_DIR}/{class}"), ..slot }, of, sealed));
        }
        self.store.write_root(&root, &epochs)?;
        self.store.name_root(generation + 1)?;
        self.store.shred_roots_below(generation + 1)?;
        let identity = Identities::parse(&root.identity)?;
        let (by, at) = (self.opened_by().to_vec(), self.opened_at());
        Ok(Self::new(self.store.clone(), identity, root.scheme, by, at))
    }

    /// Opens every epoch and every group in every place, and mends from a place where it is whole.
    pub fn check(&self) -> Result<Checked, KeyFault> {
        let _lock = self.store.lock()?;
        let mut checked = Checked::default();
        for (slot, generation, class) in self.epoch_slots()? {
            let epoch = Epoch { month: slot.stem.parse()?, class: class.parse()? };
            let parse = |bytes: &[u8]| self.open_epoch(&epoch, bytes);
            let Some(keys) = self.check_file(&slot, generation, &mut checked, parse)? else { continue };
            checked.epochs += 1;
            self.check_groups(&epoch, &keys, &mut checked)?;
        }
        Ok(checked)
    }

    fn check_groups(&self, epoch: &Epoch, keys: &EpochKeys, checked: &mut Checked) -> Result<(), KeyFault> {
        self.refresh(epoch)?;
        for number in self.group_numbers(epoch)? {
            let slot = group_slot(epoch, number);
            let Some(generation) = self.store.mirror.generation(&slot)? else { continue };
            let group = self.check_file(&slot, generation, checked, |bytes| keys.open_group(bytes))?;
            checked.envelopes += group.map_or(0, |group| group.len()) as u64;
        }
        Ok(())
    }

    fn check_file<T>(
        &self,
        slot: &Slot,
        generation: u64,
        checked: &mut Checked,
        mut parse: impl FnMut(&[u8]) -> Result<T, KeyFault>,
    ) -> Result<Option<T>, KeyFault> {
        let all = self.store.mirror.read_all(slot, generation)?;
        let whole = all.iter().find_map(|(_, bytes)| parse(bytes).ok().map(|value| (value, bytes)));
        let Some((value, bytes)) = whole else {
            checked.lost.push(self.store.damaged(slot).to_string());
            return Ok(None);
        };
        if self.store.absent().is_empty() {
            checked.mended += self.store.mirror.mend(slot, generation, bytes)?;
        }
        Ok(Some(value))
    }

    /// Puts the recipients that recorders get right where somebody has changed them, and says which.
    pub fn mend_recipients(&self) -> Result<Vec<Epoch>, KeyFault> {
        let _lock = self.store.lock()?;
        let mut mended = Vec::new();
        for (slot, _, class) in self.epoch_slots()? {
            let epoch = Epoch { month: slot.stem.parse()?, class: class.parse()? };
            let Some(keys) = self.load_epoch(&epoch)? else { continue };
            let bytes = format!("{}\n", keys.recipient);
            if self.store.mirror.mend(&recipient_slot(&epoch), keys.generation, bytes.as_bytes())? > 0 {
                mended.push(epoch);
            }
        }
        Ok(mended)
    }

    /// Files of the epochs' identities: each with its generation and the class.
    fn epoch_slots(&self) -> Result<Vec<(Slot, u64, String)>, KeyFault> {
        let mut slots = Vec::new();
        let dir = format!("{}/{EPOCHS_DIR}", root_dir(self.scheme.generation));
        for class in self.store.mirror.dirs(&dir)? {
            for (slot, generation) in self.store.mirror.newest(&format!("{dir}/{class}"))? {
                let epoch = Epoch { month: slot.stem.parse()?, class: class.parse()? };
                debug_assert_eq!(slot, identity_slot(self.scheme.generation, &epoch));
                slots.push((slot, generation, class.clone()));
            }
        }
        Ok(slots)
    }
}
