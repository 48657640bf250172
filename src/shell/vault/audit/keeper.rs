//! A witness: what it has cosigned of each log is on its disk before it says so.
//!
//! ```text
//! witness.key    its private key
//! logs/SHA256    of each log, by its origin: the last checkpoint that was cosigned, with the cosignature
//! tls/           its own authority, where no certificate is given
//! ```

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::archive::record::Digest;
use crate::seal::cosign::{Cosigner, CosignerKey};
use crate::seal::note::{Checkpoint, NoteError, VerifyKey};
use crate::seal::witness::{AddCheckpoint, Declined};
use crate::shell::clock;
use crate::shell::disk::remedy;
use crate::shell::entropy::{NoRandomness, OsRandom};

/// A witness.
#[derive(Debug)]
pub struct Keeper {
    dir: PathBuf,
    cosigner: Cosigner,
    logs: Vec<VerifyKey>,
    /// Nobody else looks at what is known until what is new is in its place.
    turn: Mutex<()>,
}

/// Why it cannot attest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is none, or not of this name.
    #[error("`{}`: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// What was cosigned cannot be read: to begin anew would be to forget it.
    #[error("what was cosigned, `{}`, is damaged: {source}; put it back from a copy, or remove it where the log was begun anew", path.display())]
    Known {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// It knows better.
    #[error(transparent)]
    Declined(#[from] Declined),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeeperError {
    let path = path.to_path_buf();
    move |source| KeeperError::Io { doing, path, source }
}

impl Keeper {
    /// Takes up the witness in `dir`, or begins one: its key is made there. `logs` are those that it follows.
    pub fn open(dir: &Path, name: &str, logs: Vec<VerifyKey>) -> Result<Self, KeeperError> {
        let known = dir.join(LOGS);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&known)
            .map_err(io("making folder", &known))?;
        let path = dir.join(KEY);
        let fault = |source| KeeperError::Key { path: path.clone(), source };
        let cosigner = match std::fs::read_to_string(&path).map(zeroize::Zeroizing::new) {
            Ok(text) => Cosigner::from_text(&text).map_err(fault)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Cosigner::generate(name, &mut OsRandom::new()?).map_err(fault)?;
                write(dir, KEY, format!("{}\n", *made.to_text()).as_bytes())?;
                made
            }
            Err(error) => return Err(io("reading", &path)(error)),
        };
        if cosigner.verify_key().name() != name {
            return Err(KeeperError::Key { path, source: NoteError::Name });
        }
        Ok(Self { dir: dir.into(), cosigner, logs, turn: Mutex::new(()) })
    }

    /// Its public key: for `key` of `[[audit.witness]]`, and for `sejf audit verify --witness-key`.
    pub fn key(&self) -> &CosignerKey {
        self.cosigner.verify_key()
    }

    /// The last checkpoint of a log that was cosigned, with the cosignature.
    pub fn known(&self, origin: &str) -> Result<Option<String>, KeeperError> {
        let path = self.path(origin);
        match std::fs::read_to_string(&path) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("reading", &path)(error)),
        }
    }

    /// Cosigns a checkpoint that goes on from the last one. The lines, which are on the disk by then.
    pub fn add(&self, ask: &AddCheckpoint) -> Result<String, KeeperError> {
        let mut keys = self.logs.iter().filter(|key| key.name() == ask.origin()).peekable();
        if keys.peek().is_none() {
            return Err(Declined::UnknownLog.into());
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<_> = keys.collect();
        let last = match self.known(ask.origin())? {
            Some(note) => Some(self.opened(&keys, &note, ask.origin())?),
            None => None,
        };
        let decided = keys.iter().map(|key| ask.decide(key, last.as_ref()));
        // By whichever of its keys it is signed.
        let decided = decided.reduce(|one, other| if one == Err(Declined::Unsigned) { other } else { one });
        let checkpoint = decided.unwrap_or(Err(Declined::UnknownLog))?;
        let line = self.cosigner.cosign(&checkpoint, clock::now().as_unix_nanos() / 1_000_000_000);
        // Without what others have said of it, which is theirs to keep.
        let note = format!("{}{line}", own_part(&ask.note, checkpoint.origin.as_str()));
        write(&self.dir.join(LOGS), &file_name(ask.origin()), note.as_bytes())?;
        Ok(line)
    }

    fn opened(&self, keys: &[&VerifyKey], note: &str, origin: &str) -> Result<Checkpoint, KeeperError> {
        let mut opened = keys.iter().map(|key| key.open(note));
        let path = self.path(origin);
        let known = |source| KeeperError::Known { path, source };
        opened.find(Result::is_ok).unwrap_or(Err(NoteError::Unsigned)).map_err(known)
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.dir.join(LOGS).join(file_name(origin))
    }
}

/// The note with the signatures of the log itself.
fn own_part(note: &str, origin: &str) -> String {
    let (text, lines) = note.rsplit_once("\n\n").unwrap_or((note, ""));
    let mark = format!("\u{2014} {origin} ");
    let own: String = lines.split_inclusive('\n').filter(|line| line.starts_with(&mark)).collect();
    format!("{text}\n\n{own}")
}

fn file_name(origin: &str) -> String {
    Digest::of(origin.as_bytes()).to_string()
}

/// Whole or not at all, on the disk when this returns.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), KeeperError> {
    let (aside, path) = (dir.join(format!(".{name}.new")), dir.join(name));
    let put = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    put().map_err(io("writing", &path))
}

const KEY: &str = "witness.key";
const LOGS: &str = "logs";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::log::Log;
    use crate::seal::note::Signer;

    fn signer() -> Signer {
        Signer::from_seed("vault", &[3; 32]).unwrap()
    }

    fn checkpoint(size: u64, changed: Option<u64>) -> (String, Vec<crate::seal::tree::Hash>) {
        let (mut log, mut leaves) = (Log::new(), Vec::new());
        for number in 0..size {
            let entry = format!("entry {number}{}", if changed == Some(number) { "!" } else { "" });
            log.append(entry.as_bytes()).unwrap();
            leaves.push(crate::seal::tree::Hash::leaf(entry.as_bytes()));
        }
        (log.checkpoint(&signer()), leaves)
    }

    fn ask(old: u64, size: u64, changed: Option<u64>) -> AddCheckpoint {
        let (note, leaves) = checkpoint(size, changed);
        let proof = crate::seal::tree::consistency_proof(&leaves[..], old, size).unwrap_or_default();
        AddCheckpoint { old, proof: if old == size { Vec::new() } else { proof }, note }
    }

    fn declined(keeper: &Keeper, ask: &AddCheckpoint) -> Declined {
        match keeper.add(ask) {
            Err(KeeperError::Declined(declined)) => declined,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_cosigns_what_goes_on_and_nothing_else_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Keeper::open(dir.path(), "w.example/1", vec![signer().verify_key().clone()]).unwrap();
        let keeper = open();
        let key = keeper.key().clone();
        assert_eq!(keeper.known("vault").unwrap(), None);
        let first = ask(0, 5, None);
        let line = keeper.add(&first).unwrap();
        assert!(key.cosigned(&format!("{}{line}", first.note)).unwrap().is_some());
        keeper.add(&ask(5, 9, None)).unwrap();
        keeper.add(&ask(9, 9, None)).unwrap();
        let keeper = open();
        assert_eq!(*keeper.key(), key);
        assert_eq!(declined(&keeper, &ask(5, 9, None)), Declined::OtherSize { size: 9 });
        assert_eq!(declined(&keeper, &ask(0, 5, None)), Declined::OtherSize { size: 9 });
        assert_eq!(declined(&keeper, &ask(9, 9, Some(3))), Declined::Forked { size: 9 });
        assert_eq!(declined(&keeper, &ask(9, 12, Some(3))), Declined::Inconsistent);
        assert_eq!(declined(&keeper, &AddCheckpoint { old: 13, ..ask(9, 12, None) }), Declined::Malformed);
        let other = Signer::from_seed("vault", &[4; 32]).unwrap();
        let forged = Log::new().checkpoint(&other);
        assert_eq!(
            declined(&keeper, &AddCheckpoint { old: 0, proof: Vec::new(), note: forged }),
            Declined::Unsigned
        );
        let foreign = Log::new().checkpoint(&Signer::from_seed("other", &[4; 32]).unwrap());
        assert_eq!(
            declined(&keeper, &AddCheckpoint { old: 0, proof: Vec::new(), note: foreign }),
            Declined::UnknownLog
        );
        keeper.add(&ask(9, 12, None)).unwrap();
        let known = keeper.known("vault").unwrap().unwrap();
        assert_eq!(signer().verify_key().open(&known).unwrap().size, 12);
        assert!(key.cosigned(&known).unwrap().is_some());
        // What it cannot read it does not forget.
        std::fs::write(keeper.path("vault"), "junk").unwrap();
        assert!(matches!(keeper.add(&ask(12, 13, None)), Err(KeeperError::Known { .. })));
        assert!(Keeper::open(dir.path(), "another", Vec::new()).is_err());
    }
}
