//! What a witness is asked, and what it says to it (C2SP `tlog-witness`, `add-checkpoint`).
//!
//! ```text
//! old 20852014                                   entries that the witness knows, as the log believes
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=   proof that they are the first of now
//!                                                empty line
//! vault-1a2b3c4d                                 the checkpoint
//! …
//! ```
//!
//! A witness remembers of each log the last checkpoint that it has cosigned, and cosigns only what goes on from it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::seal::note::Checkpoint;
use crate::seal::note::NoteError;
use crate::seal::note::VerifyKey;
use crate::seal::tree;
use crate::seal::tree::HASH_BYTES;
use crate::seal::tree::Hash;

/// What a witness is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddCheckpoint {
    /// Entries of the last checkpoint that the witness has cosigned, as the log believes.
    pub old: u64,
    /// Proof that the log goes on from there.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed.
    pub note: String,
}

/// Why a checkpoint is not cosigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// The request is malformed, or believes the log shorter than it knows it.
    #[error("this is no request to cosign a checkpoint")]
    Malformed,
    /// Nobody has told the witness of this log.
    #[error("this log is not known here")]
    UnknownLog,
    /// The log's key has not signed it.
    #[error("the checkpoint is not signed by the log's key")]
    Unsigned,
    /// The witness knows the log with another number of entries.
    #[error("of this log {size} entries are known here")]
    OtherSize {
        /// So many.
        size: u64,
    },
    /// The same number of entries, and others: the log has signed two histories.
    #[error("another log of {size} entries is known here: it was forked")]
    Forked {
        /// So many.
        size: u64,
    },
    /// The proof does not show that it goes on from what the witness knows.
    #[error("the proof does not show that the log goes on from what is known here")]
    Inconsistent,
}

impl AddCheckpoint {
    /// Reads a request.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let number = lines.next()?.strip_prefix("old ")?;
        let old: u64 = number.parse().ok()?;
        let proof = lines.map(parse_hash).collect::<Option<Vec<_>>>()?;
        // One text for one number: no leading zeros, no plus sign.
        (old.to_string() == number && proof.len() <= PROOF_MAX).then(|| Self { old, proof, note: note.into() })
    }

    /// As it is sent.
    pub fn to_text(&self) -> String {
        let proof = self.proof.iter().map(|hash| format!("{}\n", BASE64_STANDARD.encode(hash.0)));
        format!("old {}\n{}\n{}", self.old, proof.collect::<String>(), self.note)
    }

    /// Which log it is about.
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }

    /// The checkpoint that may be cosigned, where that is so. `key` is the log's, and `last` what the witness has cosigned of
    /// it before: nobody else may write that until the new one is in its place.
    pub fn decide(&self, key: &VerifyKey, last: Option<&Checkpoint>) -> Result<Checkpoint, Declined> {
        let new = key.open(&self.note).map_err(|fault| match fault {
            NoteError::Unsigned | NoteError::Signature => Declined::Unsigned,
            _ => Declined::Malformed,
        })?;
        if self.old > new.size {
            return Err(Declined::Malformed);
        }
        let (known, root) = last.map_or((0, Hash::empty()), |last| (last.size, last.root));
        if self.old != known {
            return Err(Declined::OtherSize { size: known });
        }
        if known == new.size && root != new.root {
            return Err(Declined::Forked { size: known });
        }
        let goes_on = match known {
            0 => self.proof.is_empty(),
            _ => tree::verify_consistency(known, &root, new.size, &new.root, &self.proof),
        };
        if goes_on { Ok(new) } else { Err(Declined::Inconsistent) }
    }
}

fn parse_hash(line: &str) -> Option<Hash> {
    let hash: [u8; HASH_BYTES] = BASE64_STANDARD.decode(line).ok()?.try_into().ok()?;
    Some(Hash(hash))
}

/// Hashes of a proof: one a level of the largest tree.
pub const PROOF_MAX: usize = 63;
