//! Whether envelopes are gone: read from the files of every key place, and from nothing that is remembered.

use std::collections::BTreeSet;

use crate::archive::epoch::Epoch;
use crate::archive::record::RecordingId;
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::keystore::{envelopes_dir, group_slot};

impl KeyRing {
    /// Where to look once envelopes are destroyed: the groups that have them now. All of the epoch's where one of them
    /// is found in none, as after an interruption.
    pub(super) fn groups_with(&self, epoch: &Epoch, ids: &[RecordingId]) -> Result<BTreeSet<u32>, KeyFault> {
        match self.known_epoch(epoch) {
            Ok(None) | Err(KeyFault::Destroyed(_)) => return Ok(BTreeSet::new()),
            Ok(Some(_)) => self.refresh(epoch)?,
            Err(fault) => return Err(fault),
        }
        let mut groups = BTreeSet::new();
        for id in ids {
            let with_it = self.groups_of(epoch, id)?;
            if with_it.is_empty() {
                return Ok(self.group_numbers(epoch)?.into_iter().collect());
            }
            groups.extend(with_it);
        }
        Ok(groups)
    }

    /// One of these recordings of which an envelope is in a group of any key place. An older file of a group, which
    /// would have it too, is a fault.
    pub(super) fn left_in(
        &self,
        epoch: &Epoch,
        groups: &BTreeSet<u32>,
        ids: &[RecordingId],
    ) -> Result<Option<RecordingId>, KeyFault> {
        let keys = match self.known_epoch(epoch) {
            Ok(Some(keys)) => keys,
            Ok(None) | Err(KeyFault::Destroyed(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let dir = envelopes_dir(epoch);
        if let Some(path) = self.store.mirror.left_over(&dir)? {
            return Err(KeyFault::LeftOver { path });
        }
        let newest = self.store.mirror.newest(&dir)?;
        for number in groups {
            let slot = group_slot(epoch, *number);
            let Some(generation) = newest.get(&slot) else { continue };
            let mut is_read = false;
            for (_, bytes) in self.store.mirror.read_all(&slot, *generation)? {
                // What has rotted in one place opens for nobody, while another has it whole.
                let Ok(group) = keys.open_group(&bytes) else { continue };
                is_read = true;
                if let Some(id) = ids.iter().find(|id| group.get(id).is_some()) {
                    return Ok(Some(*id));
                }
            }
            if !is_read {
                return Err(self.store.damaged(&slot));
            }
        }
        Ok(None)
    }
}
