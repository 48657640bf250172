//! Keys that open files. Never on the machine that records.

use std::fmt;

use age_core::format::Stanza;
use age_core::secrecy::ExposeSecret;
use age_core::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::seal::keys::FileKey;
use crate::seal::random::Randomness;
use crate::seal::recipient::lines;
use crate::seal::wrap;
use crate::seal::wrap::BadStanza;
use crate::seal::wrap::HybridIdentity;
use crate::seal::wrap::X25519Identity;

/// Keys that may open a file; each stanza is tried with each of them.
#[derive(Default)]
pub struct Identities {
    list: Vec<Identity>,
}

/// An identity made above: a plugin's, or an SSH key that asks for its passphrase.
pub type BoxedIdentity = Box<dyn age::Identity + Send + Sync>;

/// What reading an identity file may need from above: plugins run programs, passphrases are asked for.
pub trait Helper {
    /// Makes the identity that the plugin `plugin` has written as `text`, or `None` to refuse.
    fn plugin(&mut self, plugin: &str, text: &str) -> Option<BoxedIdentity>;

    /// Makes an identity of an SSH key under a passphrase (`age::ssh::Identity::with_callbacks`), or
    /// `None` to refuse.
    fn unlock_ssh(&mut self, key: age::ssh::Identity) -> Option<BoxedIdentity>;
}

/// Refuses plugins and locked keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHelp;

/// Why a file of identities cannot be used. Never repeats what is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The whole file is an age file.
    #[error("the identity file is itself encrypted: open it first (`age -d`)")]
    EncryptedFile,
    /// A public key stands where a private one belongs.
    #[error("line {line} is a recipient; opening takes the private key that belongs to it")]
    IsRecipient {
        /// Line, from 1.
        line: usize,
    },
    /// The key has the wrong length, or its checksum does not fit.
    #[error("line {line} is not a whole private key: misspelt or cut")]
    Key {
        /// Line, from 1.
        line: usize,
    },
    /// The SSH key is under a passphrase, and nobody is there to ask.
    #[error("the SSH key is under a passphrase")]
    Locked,
    /// The identity is a plugin's.
    #[error("line {line} needs the program age-plugin-{plugin}")]
    NeedsPlugin {
        /// Line, from 1.
        line: usize,
        /// Name of the plugin.
        plugin: String,
    },
    /// The file has no keys.
    #[error("the identity file has no key in it")]
    None,
    /// Not a key that age knows.
    #[error("line {line} is no private key: they begin with `AGE-SECRET-KEY-` or `-----BEGIN`")]
    Unknown {
        /// Line, from 1.
        line: usize,
    },
    /// An SSH key that cannot be read, or of a kind that age does not take.
    #[error("the SSH key is unreadable, or of a kind that age does not take")]
    Ssh,
}

/// Why none of the keys gave a file key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// A plugin, an SSH key or a passphrase failed.
    #[error("a key that should fit failed")]
    Foreign(#[source] age::DecryptError),
    /// A stanza breaks the rules of its type.
    #[error("a stanza of the header breaks the rules of its type")]
    Malformed,
    /// The file is for somebody else.
    #[error("none of the keys opens this file")]
    NoMatch,
}

impl Identities {
    /// Reads an identity file that needs no help: see [`Identities::parse_with`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        Self::parse_with(text, &mut NoHelp)
    }

    /// Reads an identity file: an SSH private key, or one key a line (`AGE-SECRET-KEY-1…`,
    /// `AGE-SECRET-KEY-PQ-1…`, `AGE-PLUGIN-…`), empty lines and those with `#` skipped.
    pub fn parse_with(text: &str, helper: &mut dyn Helper) -> Result<Self, IdentityError> {
        let mut identities = Self::default();
        identities.add_with(text, helper)?;
        Ok(identities)
    }

    /// Adds what is in another identity file.
    pub fn add_with(&mut self, text: &str, helper: &mut dyn Helper) -> Result<(), IdentityError> {
        let start = lines(text).next().ok_or(IdentityError::None)?;
        if start.starts_with("age-encryption.org/") || start.starts_with("-----BEGIN AGE ENCRYPTED FILE") {
            return Err(IdentityError::EncryptedFile);
        }
        if start.starts_with("-----BEGIN ") {
            return self.add_ssh(text.trim_start(), helper);
        }
        for (index, line) in text.lines().enumerate() {
            for line_text in lines(line) {
                self.list.push(parse_line(line_text, index + 1, helper)?);
            }
        }
        Ok(())
    }

    /// Adds an identity made above.
    pub fn add_boxed(&mut self, identity: BoxedIdentity) {
        self.list.push(Identity::Foreign(identity));
    }

    /// Adds a passphrase, for files sealed by `age -p`. Each try costs about a second.
    pub fn add_passphrase(&mut self, passphrase: &str) {
        let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
        identity.set_max_work_factor(SCRYPT_LOG_N_MAX);
        self.list.push(Identity::Foreign(Box::new(identity)));
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The recipients that belong to the keys, where a key tells (X25519 and hybrid).
    pub fn recipients(&self) -> Vec<String> {
        self.list.iter().filter_map(Identity::recipient).collect()
    }

    /// The file key that one of `stanzas` holds.
    pub(crate) fn unwrap(&self, stanzas: &[Stanza]) -> Result<FileKey, UnwrapError> {
        // A passphrase stands alone (C2SP age, "scrypt recipient stanza").
        if stanzas.len() > 1 && stanzas.iter().any(|stanza| stanza.tag == "scrypt") {
            return Err(UnwrapError::Malformed);
        }
        for identity in &self.list {
            if let Some(key) = identity.unwrap(stanzas)? {
                return Ok(key);
            }
        }
        Err(UnwrapError::NoMatch)
    }

    fn add_ssh(&mut self, text: &str, helper: &mut dyn Helper) -> Result<(), IdentityError> {
        let key = age::ssh::Identity::from_buffer(text.as_bytes(), None).map_err(|_| IdentityError::Ssh)?;
        let identity = match key {
            age::ssh::Identity::Unencrypted(_) => Some(Box::new(key) as BoxedIdentity),
            age::ssh::Identity::Encrypted(_) => helper.unlock_ssh(key),
            age::ssh::Identity::Unsupported(_) => return Err(IdentityError::Ssh),
        };
        self.add_boxed(identity.ok_or(IdentityError::Locked)?);
        Ok(())
    }
}

/// Says how many, never which.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.list.len())
    }
}

impl Helper for NoHelp {
    fn plugin(&mut self, _plugin: &str, _text: &str) -> Option<BoxedIdentity> {
        None
    }

    fn unlock_ssh(&mut self, _key: age::ssh::Identity) -> Option<BoxedIdentity> {
        None
    }
}

impl From<BadStanza> for UnwrapError {
    fn from(_: BadStanza) -> Self {
        Self::Malformed
    }
}

enum Identity {
    Foreign(BoxedIdentity),
    Hybrid(HybridIdentity),
    X25519(X25519Identity),
}

impl Identity {
    fn recipient(&self) -> Option<String> {
        match self {
            Self::Foreign(_) => None,
            Self::Hybrid(key) => Some(key.recipient()),
            Self::X25519(key) => Some(key.recipient()),
        }
    }

    fn unwrap(&self, stanzas: &[Stanza]) -> Result<Option<FileKey>, UnwrapError> {
        let own = |key: &dyn Fn(&Stanza) -> Result<Option<FileKey>, BadStanza>| {
            let found = stanzas.iter().find_map(|stanza| key(stanza).transpose());
            found.transpose().map_err(UnwrapError::from)
        };
        match self {
            Self::Foreign(identity) => match identity.unwrap_stanzas(stanzas) {
                None | Some(Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed)) => {
                    Ok(None)
                }
                Some(Err(age::DecryptError::InvalidHeader)) => Err(UnwrapError::Malformed),
                Some(Err(error)) => Err(UnwrapError::Foreign(error)),
                Some(Ok(key)) => Ok(Some(FileKey::from_bytes(*key.expose_secret()))),
            },
            Self::Hybrid(key) => own(&|stanza| key.unwrap(stanza)),
            Self::X25519(key) => own(&|stanza| key.unwrap(stanza)),
        }
    }
}

/// Makes an X25519 key: the identity's text, and the recipient's.
pub fn generate_x25519(random: &mut dyn Randomness) -> (Zeroizing<String>, String) {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(&mut *bytes);
    (wrap::encode_secret(wrap::X25519_IDENTITY_HRP, &bytes), X25519Identity::new(&bytes).recipient())
}

/// Makes a post-quantum hybrid key: the identity's text, and the recipient's.
pub fn generate_hybrid(random: &mut dyn Randomness) -> (Zeroizing<String>, String) {
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(&mut *seed);
    (wrap::encode_secret(wrap::HYBRID_IDENTITY_HRP, &seed), HybridIdentity::new(&seed).recipient())
}

fn parse_line(text: &str, line: usize, helper: &mut dyn Helper) -> Result<Identity, IdentityError> {
    let start = text.get(..text.len().min(15)).unwrap_or_default().to_ascii_lowercase();
    if start.starts_with("age1") || start.starts_with("ssh-") {
        return Err(IdentityError::IsRecipient { line });
    }
    if !start.starts_with("age-secret-key-") && !start.starts_with("age-plugin-") {
        return Err(IdentityError::Unknown { line });
    }
    let (hrp, bytes) = wrap::decode(text).ok_or(IdentityError::Key { line })?;
    if let Some(plugin) = hrp.strip_prefix("age-plugin-").map(|name| name.trim_end_matches('-')) {
        let identity = helper.plugin(plugin, text);
        return identity
            .map(Identity::Foreign)
            .ok_or(IdentityError::NeedsPlugin { line, plugin: plugin.into() });
    }
    let bytes: &[u8; 32] = bytes[..].try_into().map_err(|_| IdentityError::Key { line })?;
    match hrp.as_str() {
        wrap::X25519_IDENTITY_HRP => Ok(Identity::X25519(X25519Identity::new(bytes))),
        wrap::HYBRID_IDENTITY_HRP => Ok(Identity::Hybrid(HybridIdentity::new(bytes))),
        _ => Err(IdentityError::Unknown { line }),
    }
}

/// Most work that a file may ask of a passphrase: 4 GiB of memory and about 16 s.
const SCRYPT_LOG_N_MAX: u8 = 22;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn random() -> Seeded {
        Seeded::new(&[0; 32], "test", 0)
    }

    #[test]
    fn reads_many_keys_and_tells_their_recipients() {
        let (one, one_public) = generate_x25519(&mut random());
        let (two, two_public) = generate_hybrid(&mut random());
        let file = format!("# created: today\r\n# public key: {one_public}\r\n{}\r\n\n{}\n", *one, *two);
        let identities = Identities::parse(&file).unwrap();
        assert_eq!(identities.recipients(), [one_public, two_public]);
        assert_eq!(format!("{identities:?}"), "Identities(2)");
    }

    #[test]
    fn our_keys_are_those_of_the_age_crate() {
        let (text, public) = generate_x25519(&mut random());
        let theirs: age::x25519::Identity = text.parse().unwrap();
        assert_eq!(theirs.to_public().to_string(), public);
    }

    #[test]
    fn mistakes_are_told_apart_and_nothing_secret_is_repeated() {
        let (text, public) = generate_x25519(&mut random());
        let fault = |text: &str| Identities::parse(text).unwrap_err();
        assert!(matches!(fault("# nothing\n"), IdentityError::None));
        assert!(matches!(fault(&format!("#\n{public}")), IdentityError::IsRecipient { line: 2 }));
        assert!(matches!(fault("hunter2"), IdentityError::Unknown { line: 1 }));
        assert!(matches!(fault(&text[..60]), IdentityError::Key { line: 1 }));
        assert!(!format!("{:?} {}", fault(&text[..60]), fault(&text[..60])).contains(&text[20..40]));
        let plugin = wrap::encode("age-plugin-yubikey-", &[1; 9]).to_ascii_uppercase();
        assert!(matches!(fault(&plugin), IdentityError::NeedsPlugin { plugin, .. } if plugin == "yubikey"));
        assert!(matches!(fault("age-encryption.org/v1\n-> x\n"), IdentityError::EncryptedFile));
        assert!(matches!(fault("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"), IdentityError::Ssh));
    }
}
