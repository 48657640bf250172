//! Key files: identities that open recordings, and lists of recipients.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::seal::identity::{self, Identities, IdentityError};
use crate::seal::recipient::{RecipientError, Recipients};
use crate::shell::clock;
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::plugins::{self, PluginError};
use crate::shell::vault::hsm::HsmError;

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The identity file exists.
    #[error("`{}` exists already: an identity is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A key in hardware cannot be used.
    #[error("identity file `{}`: {source}", path.display())]
    Hsm {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<HsmError>,
    },
    /// An identity file makes no sense.
    #[error("identity file `{}`: {source}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// The operating system refused.
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A recipient makes no sense.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
}

/// Kinds of key pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// Post-quantum and X25519 together.
    Hybrid,
    /// What every age opens.
    X25519,
}

/// A new key pair.
pub struct KeyPair {
    identity: zeroize::Zeroizing<String>,
    /// What a recorder gets.
    pub recipient: String,
}

impl KeyPair {
    /// The identity file's text, as `age-keygen` writes it.
    pub fn identity_file(&self) -> zeroize::Zeroizing<String> {
        let created = clock::now();
        zeroize::Zeroizing::new(format!(
            "# created: {created}\n# public key: {}\n{}\n",
            self.recipient, *self.identity
        ))
    }
}

/// Makes a key pair.
pub fn generate(kind: KeyKind) -> Result<KeyPair, KeyError> {
    let mut random = OsRandom::new()?;
    let (identity, recipient) = match kind {
        KeyKind::Hybrid => identity::generate_hybrid(&mut random),
        KeyKind::X25519 => identity::generate_x25519(&mut random),
    };
    Ok(KeyPair { identity, recipient })
}

/// Writes an identity file that only its owner can read.
pub fn write_identity(path: &Path, pair: &KeyPair) -> Result<(), KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
        _ => KeyError::Io { doing: "writing identity", path: path.into(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(pair.identity_file().as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)
}

/// Reads recipients, as given and from files.
pub fn recipients(given: &[String], files: &[PathBuf]) -> Result<Recipients, KeyError> {
    recipients_of(&recipient_texts(given, files)?)
}

/// The texts of recipients, as given and from files.
pub fn recipient_texts(given: &[String], files: &[PathBuf]) -> Result<Vec<String>, KeyError> {
    let mut all: Vec<String> = given.to_vec();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::Io {
            doing: "reading recipients",
            path: path.clone(),
            source,
        })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(String::from));
    }
    Ok(all)
}

/// Reads recipients.
pub fn recipients_of(texts: &[String]) -> Result<Recipients, KeyError> {
    let mut recipients = Recipients::default();
    for text in texts {
        match recipients.add(text) {
            Err(RecipientError::NeedsPlugin { plugin, .. }) => {
                recipients.add_boxed(plugins::recipient(&plugin, text)?);
            }
            other => other?,
        }
    }
    Ok(recipients)
}

/// Reads identity files.
pub fn identities(files: &[PathBuf]) -> Result<Identities, KeyError> {
    let mut all = Identities::default();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::Io {
            doing: "reading identity",
            path: path.clone(),
            source,
        })?;
        let text = zeroize::Zeroizing::new(text);
        all.add_with(&text, &mut plugins::Terminal)
            .map_err(|source| KeyError::Identity { path: path.clone(), source })?;
    }
    Ok(all)
}
