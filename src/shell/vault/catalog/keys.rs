//! The keys of a vault that is unlocked, as searching needs them.

use crate::archive::envelope::Envelope;
use crate::archive::epoch::Epoch;
use crate::archive::record::RecordingId;
use crate::archive::search::{IndexKey, IndexKeys, KeysFault};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;

impl IndexKeys for KeyRing {
    fn index_key(&self, epoch: &Epoch) -> Result<Option<IndexKey>, KeysFault> {
        match self.known_epoch(epoch) {
            Ok(keys) => Ok(keys.map(|keys| IndexKey::new(&keys.index_key))),
            Err(KeyFault::Destroyed(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    fn envelope(&self, epoch: &Epoch, id: &RecordingId) -> Result<Option<Envelope>, KeysFault> {
        match Self::envelope(self, epoch, id) {
            Ok(envelope) => Ok(envelope),
            Err(KeyFault::Destroyed(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }
}
