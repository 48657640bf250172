//! That an entry is in a signed log, for who has nothing but the entry and this.

use serde::{Deserialize, Serialize};

use crate::archive::record::Digest;
use crate::seal::note::{NoteError, VerifyKey};
use crate::seal::tree::{self, Hash, Nodes};

/// An inclusion proof (RFC 9162 section 2.1.3) with the checkpoint that it leads to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Public key of who keeps the log: `name+hash+key`.
    pub log: String,
    /// Number of the entry, from 0.
    pub index: u64,
    /// Entries of the log when the checkpoint was signed.
    pub size: u64,
    /// Hashes beside the way from the entry to the root, nearest first.
    pub hashes: Vec<Digest>,
    /// The signed checkpoint, as it is.
    pub checkpoint: String,
}

/// Why an entry is not proved.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The key in it is none, or is not the one that is known.
    #[error("the proof is of another log than {0}")]
    Log(String),
    /// The checkpoint is not signed by the log's key.
    #[error("the checkpoint of the log: {0}")]
    Note(#[from] NoteError),
    /// The hashes do not lead from the entry to the checkpoint.
    #[error("the entry is not the one that the log's keeper signed")]
    Entry,
}

impl Proof {
    /// Proves that entry `index` is in the log that `checkpoint` is of. `None` where it is not, or a node is unknown.
    pub fn make(
        log: &VerifyKey,
        nodes: &(impl Nodes + ?Sized),
        index: u64,
        checkpoint: &str,
    ) -> Option<Self> {
        let signed = log.open(checkpoint).ok()?;
        let hashes = tree::inclusion_proof(nodes, index, signed.size)?;
        let hashes = hashes.into_iter().map(|hash| Digest(hash.0)).collect();
        let (log, checkpoint) = (log.to_string(), checkpoint.to_owned());
        Some(Self { schema: SCHEMA, log, index, size: signed.size, hashes, checkpoint })
    }

    /// Checks that `entry` is in the log of `key`.
    pub fn verify(&self, entry: &[u8], key: &VerifyKey) -> Result<(), ProofError> {
        if self.log != key.to_string() {
            return Err(ProofError::Log(key.name().to_owned()));
        }
        let signed = key.open(&self.checkpoint)?;
        let hashes: Vec<Hash> = self.hashes.iter().map(|hash| Hash(hash.0)).collect();
        let is_in = tree::verify_inclusion(&Hash::leaf(entry), self.index, self.size, &hashes, &signed.root);
        if signed.size == self.size && is_in { Ok(()) } else { Err(ProofError::Entry) }
    }
}

/// The schema that [`Proof`] is.
pub const SCHEMA: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::note::{Checkpoint, Signer};

    #[test]
    fn an_entry_is_proved_and_no_other_is() {
        let signer = Signer::from_seed("recorder-1", &[1; 32]).unwrap();
        let entries: Vec<Vec<u8>> = (0..11_u8).map(|number| vec![number; 9]).collect();
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let root = tree::root(&leaves[..], 11).unwrap();
        let note = signer.sign(&Checkpoint { origin: "recorder-1".into(), size: 11, root });
        let key = signer.verify_key();
        for (index, entry) in (0..).zip(&entries) {
            let proof = Proof::make(key, &leaves[..], index, &note).unwrap();
            assert_eq!(proof.verify(entry, key), Ok(()));
            assert_eq!(proof.verify(&entries[(index as usize + 1) % 11], key), Err(ProofError::Entry));
            let json = serde_json::to_string(&proof).unwrap();
            assert_eq!(serde_json::from_str::<Proof>(&json).unwrap(), proof);
            let other = Signer::from_seed("recorder-1", &[2; 32]).unwrap();
            assert!(matches!(proof.verify(entry, other.verify_key()), Err(ProofError::Log(_))));
            let mut changed = proof;
            changed.hashes[0].0[0] ^= 1;
            assert_eq!(changed.verify(entry, key), Err(ProofError::Entry));
        }
        assert!(Proof::make(key, &leaves[..], 11, &note).is_none());
    }
}
