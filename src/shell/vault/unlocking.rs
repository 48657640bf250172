//! Custodians' keys, from where they are kept for the moment of unlocking.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::seal::identity::{Identities, IdentityError};
use crate::seal::open::Opener;
use crate::seal::recipient::lines;
use crate::shell::keys::KeyError;
use crate::shell::plugins::Terminal;
use crate::shell::vault::hsm::{HsmIdentity, KeyUri};

/// Reads identity files, each of a custodian. One that is itself under a passphrase (`age -p`) is opened with one
/// of those in `passphrase_files`, which have one each.
pub fn identities(files: &[PathBuf], passphrase_files: &[PathBuf]) -> Result<Vec<Identities>, KeyError> {
    let mut passphrases = Identities::default();
    for path in passphrase_files {
        let text =
            Zeroizing::new(std::fs::read_to_string(path).map_err(io_error("reading passphrase", path))?);
        passphrases.add_passphrase(text.trim_end_matches(['\r', '\n']));
    }
    files.iter().map(|path| read(path, &passphrases)).collect()
}

/// What a service manager has put there for us: identity files named `custodian…` and passphrases named
/// `passphrase…` in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredentialEncrypted=`).
pub fn credentials() -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    match std::env::var_os("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty()) {
        Some(dir) => credentials_in(Path::new(&dir)),
        None => Ok((Vec::new(), Vec::new())),
    }
}

fn credentials_in(dir: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut keys, mut passphrases) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"custodian") {
            keys.push(entry.path());
        } else if name.as_encoded_bytes().starts_with(b"passphrase") {
            passphrases.push(entry.path());
        }
    }
    keys.sort();
    passphrases.sort();
    Ok((keys, passphrases))
}

fn read(path: &Path, passphrases: &Identities) -> Result<Identities, KeyError> {
    let fault = |source| KeyError::Identity { path: path.into(), source };
    let bytes = Zeroizing::new(std::fs::read(path).map_err(io_error("reading identity", path))?);
    let plain = match Opener::open(&bytes[..], passphrases).and_then(|mut opener| opener.read_whole()) {
        Ok(plain) => plain,
        // No age file, or of no passphrase that is here: what it is, the reader of identities says.
        Err(_) => bytes,
    };
    let text = std::str::from_utf8(&plain).map_err(|_| fault(IdentityError::EncryptedFile))?;
    if let Some(uri) = lines(text).next().filter(|line| line.starts_with("pkcs11:")) {
        let hsm = |source| KeyError::Hsm { path: path.into(), source: Box::new(source) };
        let key = KeyUri::parse(uri).and_then(|uri| HsmIdentity::open(&uri)).map_err(hsm)?;
        let mut identities = Identities::default();
        identities.add_boxed(Box::new(key));
        return Ok(identities);
    }
    Identities::parse_with(text, &mut Terminal).map_err(fault)
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_path_buf();
    move |source| KeyError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;

    #[test]
    fn a_key_under_a_passphrase_opens_with_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[1; 32], "test", 0));
        let mut recipient_of = age::scrypt::Recipient::new("correct horse".to_owned().into());
        recipient_of.set_work_factor(2);
        let sealed = age::encrypt(&recipient_of, identity.as_bytes()).unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("custodian-ewa"), sealed).unwrap();
        std::fs::write(path("custodian-jan"), &*identity).unwrap();
        std::fs::write(path("passphrase-ewa"), "correct horse\n").unwrap();
        std::fs::write(path("other"), "x").unwrap();
        let (keys, passphrases) = credentials_in(dir.path()).unwrap();
        assert_eq!((keys.len(), passphrases.len()), (2, 1));
        for identities in identities(&keys, &passphrases).unwrap() {
            assert_eq!(identities.recipients(), std::slice::from_ref(&recipient));
        }
        let locked = identities(&keys, &[]);
        let is_locked = |error: &KeyError| {
            matches!(error, KeyError::Identity { source: IdentityError::EncryptedFile, .. })
        };
        assert!(locked.is_err_and(|error| is_locked(&error)));
    }
}
