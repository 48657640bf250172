//! The keys of a vault that is unlocked, as searching needs them.

use crate::archive::envelope::Envelope;
use crate::archive::epoch::Epoch;
use crate::archive::record::RecordingId;
use crate::archive::search::{IndexKey, IndexKeys, KeysFault};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;

impl IndexKeys for KeyRing {
    fn index_keys(&self, epoch: &Epoch) -> Result<Vec<IndexKey>, KeysFault> {
        match self.known_epoch(epoch) {
            Ok(keys) => Ok(keys.map(|keys| keys.index_keys().collect()).unwrap_or_default()),
            Err(KeyFault::Destroyed(_)) => Ok(Vec::new()),
            Err(fault) => Err(fault.into()),
        }
    }

    fn envelopes(&self, epoch: &Epoch, id: &RecordingId) -> Result<Vec<Envelope>, KeysFault> {
        match Self::envelopes(self, epoch, id) {
            Ok(envelopes) => Ok(envelopes),
            Err(KeyFault::Destroyed(_)) => Ok(Vec::new()),
            Err(fault) => Err(fault.into()),
        }
    }
}
