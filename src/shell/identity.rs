//! The key that signs receipts: one a recorder, made at its first run, kept away from the recordings.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::seal::note::{NoteError, Signer};
use crate::seal::random::{Randomness, Seeded};
use crate::shell::disk::{COPY_SUFFIX, rename_new};
use crate::shell::entropy::{NoRandomness, OsRandom};

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Neither named nor to be guessed.
    #[error("no place for the key that signs receipts: say --state DIR, or set XDG_STATE_HOME or HOME")]
    Homeless,
    /// The operating system refused.
    #[error("{doing} the recorder's key `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no key.
    #[error("`{}` is not a recorder's key: {source}; restore it, or begin anew with another --state and --to", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Takes up the key in `dir`, or in the usual place, and makes one where there is none.
pub fn load_or_create(dir: Option<&Path>) -> Result<Signer, SignerError> {
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => usual_dir().ok_or(SignerError::Homeless)?,
    };
    let path = dir.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let text = zeroize::Zeroizing::new(text);
            Signer::from_text(&text).map_err(|source| SignerError::Key { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&dir, &path),
        Err(source) => Err(SignerError::Io { doing: "reading", path, source }),
    }
}

/// Makes the key that belongs to a seed, for runs that are to be repeated.
pub fn from_seed(seed: &[u8; 32]) -> Signer {
    signer(&mut Seeded::new(seed, "recorder", 0))
}

fn create(dir: &Path, path: &Path) -> Result<Signer, SignerError> {
    let io = |source| SignerError::Io { doing: "writing", path: path.into(), source };
    let signer = signer(&mut OsRandom::new()?);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    // A half written key would keep every later run from starting: it gets its name when it is whole. Two runs
    // that begin at once write two files, and one of them is told that the name is taken.
    let aside = dir.join(format!("{FILE_NAME}.{}{COPY_SUFFIX}", signer.name()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(io)?;
    writeln!(file, "{}", *signer.to_text()).map_err(io)?;
    file.sync_all().map_err(io)?;
    rename_new(&aside, path).map_err(|error| {
        // A key that nobody uses: should it stay, it does no harm.
        let _ = std::fs::remove_file(&aside);
        io(error)
    })?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    Ok(signer)
}

fn signer(random: &mut dyn Randomness) -> Signer {
    let mut mark = [0; 4];
    random.fill(&mut mark);
    let name = format!("sejf-{:08x}", u32::from_be_bytes(mark));
    Signer::generate(&name, random).expect("the name has no spaces and no plus signs")
}

fn usual_dir() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("sejf"))
}

const FILE_NAME: &str = "recorder.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_taken_up_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        // A run was killed while it wrote its own.
        DirBuilder::new().create(&state).unwrap();
        std::fs::write(state.join(format!("{FILE_NAME}.sejf-00000000{COPY_SUFFIX}")), "PRIV").unwrap();
        let made = load_or_create(Some(&state)).unwrap();
        let again = load_or_create(Some(&state)).unwrap();
        assert_eq!(made.verify_key().to_string(), again.verify_key().to_string());
        let late = create(&state, &state.join(FILE_NAME));
        let taken = |source: &io::Error| source.kind() == io::ErrorKind::AlreadyExists;
        assert!(matches!(late, Err(SignerError::Io { source, .. }) if taken(&source)));
        let kept = load_or_create(Some(&state)).unwrap();
        assert_eq!(made.verify_key().to_string(), kept.verify_key().to_string());
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2, "what lost the race is away");
    }
}
