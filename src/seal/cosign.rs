//! Cosignatures of checkpoints (C2SP `tlog-cosignature`, `cosignature/v1` with Ed25519): that a witness has seen a log go
//! on from all that it had seen of it before.
//!
//! ```text
//! vault-1a2b3c4d                                 origin, size and root: the checkpoint
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — vault-1a2b3c4d Az3grlgtz…                    the log's own signature
//! — witness.example.org/w1 jWbPPwAAAABkGFDL…     key id, time (u64, big-endian, seconds) and the witness's signature
//! ```

use crate::seal::note::Checkpoint;
use crate::seal::note::NamedKey;
use crate::seal::note::NamedPair;
use crate::seal::note::NoteError;
use crate::seal::note::Signature;
use crate::seal::note::parse_signature;
use crate::seal::note::signature_line;
use crate::seal::note::split_note;

/// A witness's signing key and name, which is that of one witness alone.
pub type Cosigner = NamedPair<COSIGNATURE_TYPE>;

/// The public half of a [`Cosigner`], as text `name+id+key`.
pub type CosignerKey = NamedKey<COSIGNATURE_TYPE>;

/// That a witness has seen a checkpoint.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cosigned {
    /// When, by its clock: seconds since 1970.
    pub unix_s: u64,
}

impl Cosigner {
    /// The line that goes below a checkpoint. The witness must have seen the log go on, and never cosigns two that
    /// contradict each other.
    pub fn cosign(&self, checkpoint: &Checkpoint, unix_s: u64) -> String {
        let signature = self.pair.sign(message(&checkpoint.to_text(), unix_s).as_bytes());
        let bytes = [&unix_s.to_be_bytes(), signature.as_ref()].concat();
        signature_line(&self.public.name, self.public.id, &bytes)
    }
}

impl CosignerKey {
    /// When this witness has cosigned the note, which is a checkpoint with signatures below it; the latest time where it
    /// has more than once. Nothing where it has not; what it has signed must be right.
    pub fn cosigned(&self, note: &str) -> Result<Option<Cosigned>, NoteError> {
        let (text, signatures) = split_note(note)?;
        let mut latest = None;
        for signature in signatures.iter().filter(|signature| self.is_mine(signature)) {
            latest = latest.max(Some(self.check(text, signature)?));
        }
        Ok(latest)
    }

    /// The lines of a witness's answer that are this one's and right for the checkpoint; others are not looked at.
    pub fn lines_for(&self, checkpoint: &Checkpoint, answer: &str) -> Result<String, NoteError> {
        let mut lines = String::new();
        for line in answer.split_terminator('\n') {
            let signature = parse_signature(line).ok_or(NoteError::Malformed)?;
            if self.is_mine(&signature) {
                self.check(&checkpoint.to_text(), &signature)?;
                lines.push_str(&signature_line(&self.name, self.id, &signature.bytes));
            }
        }
        if lines.is_empty() { Err(NoteError::Unsigned) } else { Ok(lines) }
    }

    fn check(&self, text: &str, signature: &Signature<'_>) -> Result<Cosigned, NoteError> {
        let (time, signature) = signature.bytes.split_first_chunk().ok_or(NoteError::Signature)?;
        let unix_s = u64::from_be_bytes(*time);
        if unix_s > i64::MAX as u64 {
            return Err(NoteError::Signature);
        }
        self.verify(&message(text, unix_s), signature)?;
        Ok(Cosigned { unix_s })
    }
}

/// What is signed: never the checkpoint alone, so that it is nothing else that the key could sign.
fn message(text: &str, unix_s: u64) -> String {
    format!("cosignature/v1\ntime {unix_s}\n{text}")
}

/// Ed25519 cosignature in C2SP `signed-note`, "Signature types".
pub const COSIGNATURE_TYPE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::note::Signer;
    use crate::seal::tree::Hash;

    const NOTE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} \
        example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    /// Made by OpenSSL, from the seed 00 01 … 1f, over the example of `tlog-cosignature`.
    const KEY: &str = "witness.example.com/w1+a0059f11+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const LINE: &str = "witness.example.com/w1 oAWfEQAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6Ngr7lV8H6bdoBQGP/l73euDMQ9k+bBQ==";

    fn seed() -> [u8; 32] {
        std::array::from_fn(|at| at as u8)
    }

    #[test]
    fn cosignatures_are_as_others_make_them() {
        let cosigner = Cosigner::from_seed("witness.example.com/w1", &seed()).unwrap();
        assert_eq!(cosigner.verify_key().to_string(), KEY);
        assert_eq!(KEY.parse::<CosignerKey>().unwrap(), *cosigner.verify_key());
        let checkpoint = Checkpoint::parse(NOTE.split_once("\n\n").unwrap().0.to_owned().as_str());
        assert!(checkpoint.is_none(), "its last line end belongs to it");
        let text = format!("{}\n", NOTE.split_once("\n\n").unwrap().0);
        let checkpoint = Checkpoint::parse(&text).unwrap();
        let line = cosigner.cosign(&checkpoint, 1_679_315_147);
        assert_eq!(line, format!("\u{2014} {LINE}\n"));
        let cosigned = cosigner.verify_key().cosigned(&format!("{NOTE}{line}")).unwrap();
        assert_eq!(cosigned, Some(Cosigned { unix_s: 1_679_315_147 }));
        assert_eq!(cosigner.verify_key().cosigned(NOTE), Ok(None));
    }

    /// A witness that is run by others, as it is published.
    #[test]
    fn reads_a_key_that_others_made() {
        let text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
        let key: CosignerKey = text.parse().unwrap();
        assert_eq!((key.name(), key.to_string().as_str()), ("remora.n621.de", text));
        assert!(text.replace("da77ade7", "da77ade8").parse::<CosignerKey>().is_err());
        // Nor is a log's key one of a witness.
        assert!(
            "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
                .parse::<CosignerKey>()
                .is_err()
        );
        let private = Cosigner::from_seed("w", &seed()).unwrap().to_text();
        assert_eq!(Cosigner::from_text(&private).unwrap().verify_key().name(), "w");
        assert!(Signer::from_text(&private).is_err());
    }

    #[test]
    fn what_was_changed_is_not_cosigned() {
        let cosigner = Cosigner::from_seed("w", &seed()).unwrap();
        let log = Signer::from_seed("log", &[7; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "log".into(), size: 7, root: Hash::empty() };
        let (note, line) = (log.sign(&checkpoint), cosigner.cosign(&checkpoint, 5));
        let both = format!("{note}{line}");
        assert_eq!(log.verify_key().open(&both), Ok(checkpoint.clone()));
        assert_eq!(
            cosigner.verify_key().cosigned(&both.replace("\n7\n", "\n8\n")),
            Err(NoteError::Signature)
        );
        assert_eq!(cosigner.verify_key().lines_for(&checkpoint, &line), Ok(line.clone()));
        let other = Cosigner::from_seed("x", &[1; 32]).unwrap().cosign(&checkpoint, 5);
        assert_eq!(cosigner.verify_key().lines_for(&checkpoint, &format!("{other}{line}")), Ok(line.clone()));
        assert_eq!(cosigner.verify_key().lines_for(&checkpoint, &other), Err(NoteError::Unsigned));
        assert_eq!(cosigner.verify_key().lines_for(&checkpoint, "junk\n"), Err(NoteError::Malformed));
        let another = Checkpoint { size: 8, ..checkpoint };
        assert_eq!(cosigner.verify_key().lines_for(&another, &line), Err(NoteError::Signature));
        // The time is signed too.
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                let told = cosigner.verify_key().cosigned(&format!("{note}{changed}"));
                assert!(!matches!(told, Ok(Some(_))), "byte {at}: {changed}");
            }
        }
    }
}
