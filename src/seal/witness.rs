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
        (old.to_string() == number && proof.len() <= PROOF_MAX).then(|| Self {
            old,
            proof,
            note: note.into(),
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::log::Log;
    use crate::seal::log_verify::samples::{entry, signer};

    /// The example of `tlog-witness`, without the second signature.
    const EXAMPLE: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\nexample.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn a_request_has_one_text() {
        let ask = AddCheckpoint::parse(EXAMPLE).unwrap();
        assert_eq!((ask.old, ask.proof.len(), ask.origin()), (20_852_014, 4, "example.com/behind-the-sofa"));
        assert_eq!(ask.to_text(), EXAMPLE);
        let first = AddCheckpoint { old: 0, proof: Vec::new(), note: ask.note };
        assert_eq!(AddCheckpoint::parse(&first.to_text()), Some(first));
        for (from, to) in
            [("old 2", "old 02"), ("old 2", "old +2"), ("old", "Old"), ("kaw=\n", "kaw\n"), ("\n\n", "\n")]
        {
            assert_eq!(
                AddCheckpoint::parse(&EXAMPLE.replacen(from, to, 1).replace("\n\n\u{2014}", "\n\u{2014}")),
                None,
                "{from}"
            );
        }
        let long =
            format!("old 1\n{}\nx\n", "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n".repeat(PROOF_MAX + 1));
        assert_eq!(AddCheckpoint::parse(&long), None);
        assert_eq!(AddCheckpoint::parse(""), None);
    }

    fn leaves(size: u64) -> (Log, Vec<Hash>) {
        let mut log = Log::new();
        (0..size).for_each(|number| drop(log.append(&entry(number))));
        (log, (0..size).map(|number| Hash::leaf(&entry(number))).collect())
    }

    #[test]
    fn only_what_goes_on_may_be_cosigned() {
        let key = signer();
        let key = key.verify_key();
        for (old, new) in [(1, 2), (3, 7), (8, 9), (8, 8), (255, 257), (100, 300)] {
            let (log, all) = leaves(new);
            let last = key.open(&leaves(old).0.checkpoint(&signer())).unwrap();
            let proof = tree::consistency_proof(&all[..], old, new).filter(|_| old < new).unwrap_or_default();
            let ask = AddCheckpoint { old, proof: proof.clone(), note: log.checkpoint(&signer()) };
            assert_eq!(ask.decide(key, Some(&last)).unwrap().size, new);
            assert_eq!(ask.decide(key, None), Err(Declined::OtherSize { size: 0 }));
            let forked = Checkpoint { root: Hash::empty(), ..last.clone() };
            let refused = if old == new { Declined::Forked { size: old } } else { Declined::Inconsistent };
            assert_eq!(ask.decide(key, Some(&forked)), Err(refused));
            if !proof.is_empty() {
                let less = AddCheckpoint { proof: proof[1..].to_vec(), ..ask.clone() };
                assert_eq!(less.decide(key, Some(&last)), Err(Declined::Inconsistent));
            }
            let back =
                AddCheckpoint { old: new, proof: Vec::new(), note: leaves(new - 1).0.checkpoint(&signer()) };
            assert_eq!(back.decide(key, Some(&last)), Err(Declined::Malformed));
        }
        let first = AddCheckpoint { old: 0, proof: Vec::new(), note: leaves(5).0.checkpoint(&signer()) };
        assert_eq!(first.decide(key, None).unwrap().size, 5);
        assert_eq!(
            AddCheckpoint { proof: vec![Hash::empty()], ..first }.decide(key, None),
            Err(Declined::Inconsistent)
        );
    }
}
