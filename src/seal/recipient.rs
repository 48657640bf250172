//! Who can open a file.

use std::collections::HashSet;
use std::fmt;

use age_core::format::Stanza;

use crate::seal::keys::FileKey;
use crate::seal::random::Randomness;
use crate::seal::tagged::TAGGED_RECIPIENT_HRP;
use crate::seal::tagged::TaggedRecipient;
use crate::seal::wrap;
use crate::seal::wrap::HybridRecipient;
use crate::seal::wrap::POST_QUANTUM;
use crate::seal::wrap::X25519Recipient;

/// Those who can open a file: each of them alone.
///
/// Made from public keys as text: `age1…` (X25519), `age1pq1…` (post-quantum hybrid), `age1tag1…` (P-256 in
/// hardware), `ssh-ed25519` and `ssh-rsa`. Plugins run processes, so they are made above and handed in with
/// [`Recipients::add_boxed`]. X25519 and hybrid recipients take all their randomness from the
/// argument, so a run can be repeated byte for byte; SSH and plugin recipients cannot.
#[derive(Default)]
pub struct Recipients {
    list: Vec<Recipient>,
}

/// Why a text is not taken as a recipient. Recipients are public, so messages name them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// A private key stands where a public one belongs. It is not repeated here.
    #[error(
        "this is a private key, not a recipient: take the `age1…` line that belongs to it, and keep the key off this machine"
    )]
    IsIdentity,
    /// The key has the wrong length or is no point of its curve.
    #[error("recipient {recipient} is not a usable key")]
    Key {
        /// As written, shortened.
        recipient: String,
    },
    /// One file cannot have both kinds.
    #[error(
        "{post_quantum} is post-quantum and {classical} is not: one file cannot have both, because the weaker one would open it. Give every key holder an `age1pq1…` key, or none"
    )]
    Mixed {
        /// One of the post-quantum recipients, shortened.
        post_quantum: String,
        /// One of the others, shortened.
        classical: String,
    },
    /// The recipient is a plugin's.
    #[error("recipient {recipient} needs the program age-plugin-{plugin}")]
    NeedsPlugin {
        /// As written, shortened.
        recipient: String,
        /// Name of the plugin.
        plugin: String,
    },
    /// A passphrase would have to be on the recording machine, and would open everything.
    #[error("a passphrase cannot be a recipient: whoever records would be able to open; make a key pair")]
    Passphrase,
    /// An SSH key of a kind or size that age does not take.
    #[error("SSH recipient {recipient} is not usable: age takes ssh-ed25519, and ssh-rsa from 2048 bits")]
    Ssh {
        /// As written, shortened.
        recipient: String,
    },
    /// Misspelt: the checksum does not fit.
    #[error("recipient {recipient} is misspelt or cut: its checksum does not fit")]
    Spelling {
        /// As written, shortened.
        recipient: String,
    },
    /// Two of one kind are not two who can open.
    #[error("recipient {recipient} is given twice")]
    Twice {
        /// As written, shortened.
        recipient: String,
    },
    /// Nothing that age knows.
    #[error("`{recipient}` is not a recipient: they begin with `age1`, `ssh-ed25519` or `ssh-rsa`")]
    Unknown {
        /// As written, shortened.
        recipient: String,
    },
}

/// Why a file key could not be wrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// A recipient asks not to stand beside the others.
    #[error("recipient {recipient} does not allow the others beside it")]
    Labels {
        /// The recipient, shortened.
        recipient: String,
    },
    /// Nobody could open the file.
    #[error("there is no recipient")]
    NoRecipients,
    /// A plugin or SSH key failed.
    #[error("recipient {recipient} could not wrap the file key")]
    Foreign {
        /// The recipient, shortened.
        recipient: String,
        /// What the `age` crate says.
        source: Box<age::EncryptError>,
    },
    /// The hybrid key failed.
    #[error("recipient {recipient} could not wrap the file key")]
    Hybrid {
        /// The recipient, shortened.
        recipient: String,
    },
}

/// A recipient made above: a plugin's, for example.
pub type BoxedRecipient = Box<dyn age::Recipient + Send + Sync>;

impl Recipients {
    /// Reads one recipient from each text.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, RecipientError> {
        let mut recipients = Self::default();
        for text in texts {
            recipients.add(text.as_ref())?;
        }
        Ok(recipients)
    }

    /// Reads a recipients file: one a line; empty lines and lines that begin with `#` are skipped.
    pub fn parse_file(text: &str) -> Result<Self, RecipientError> {
        Self::parse(lines(text))
    }

    /// Adds the recipient that `text` is.
    pub fn add(&mut self, text: &str) -> Result<(), RecipientError> {
        let text = text.trim();
        let kind = parse_one(text)?;
        let name = kind.name(text);
        if self.list.iter().any(|other| other.name == name) {
            return Err(RecipientError::Twice { recipient: shorten(text) });
        }
        let new = Recipient { name, kind };
        if let Some(other) = self.list.iter().find(|other| other.mixes_badly_with(&new)) {
            let (strong, weak) = if new.post_quantum() == Some(true) { (&new, other) } else { (other, &new) };
            return Err(RecipientError::Mixed {
                post_quantum: shorten(&strong.name),
                classical: shorten(&weak.name),
            });
        }
        self.list.push(new);
        Ok(())
    }

    /// Adds a recipient made above. It may run a program each time a file begins.
    pub fn add_boxed(&mut self, recipient: BoxedRecipient) {
        self.list
            .push(Recipient { name: format!("boxed-{}", self.list.len()), kind: Kind::Boxed(recipient) });
    }

    /// How many can open a file.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether nobody can.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Their public texts, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|recipient| recipient.name.as_str())
    }

    /// Wraps `file_key` for each of them.
    pub(crate) fn wrap(
        &self,
        file_key: &FileKey,
        random: &mut dyn Randomness,
    ) -> Result<Vec<Stanza>, WrapError> {
        let mut stanzas = Vec::with_capacity(self.list.len());
        let mut agreed: Option<HashSet<String>> = None;
        for recipient in &self.list {
            let (mut its, labels) = recipient.wrap(file_key, random)?;
            if *agreed.get_or_insert_with(|| labels.clone()) != labels {
                return Err(WrapError::Labels { recipient: shorten(&recipient.name) });
            }
            stanzas.append(&mut its);
        }
        if stanzas.is_empty() { Err(WrapError::NoRecipients) } else { Ok(stanzas) }
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|recipient| shorten(&recipient.name))).finish()
    }
}

struct Recipient {
    /// The public text, without a comment.
    name: String,
    kind: Kind,
}

impl Recipient {
    /// Whether it withstands a quantum computer, where that is known before it has wrapped.
    fn post_quantum(&self) -> Option<bool> {
        match self.kind {
            Kind::Hybrid(_) => Some(true),
            Kind::X25519(_) | Kind::Ssh(_) | Kind::Tagged(_) => Some(false),
            Kind::Boxed(_) => None,
        }
    }

    fn mixes_badly_with(&self, other: &Self) -> bool {
        matches!((self.post_quantum(), other.post_quantum()), (Some(a), Some(b)) if a != b)
    }

    fn wrap(
        &self,
        file_key: &FileKey,
        random: &mut dyn Randomness,
    ) -> Result<(Vec<Stanza>, HashSet<String>), WrapError> {
        let foreign = |recipient: &dyn age::Recipient| {
            let key = age_core::format::FileKey::new(Box::new(*file_key.expose()));
            recipient.wrap_file_key(&key).map_err(|source| WrapError::Foreign {
                recipient: shorten(&self.name),
                source: Box::new(source),
            })
        };
        match &self.kind {
            Kind::Boxed(recipient) => foreign(recipient.as_ref()),
            Kind::Hybrid(recipient) => {
                let stanza = recipient.wrap(file_key, random);
                let stanza = stanza.ok_or_else(|| WrapError::Hybrid { recipient: shorten(&self.name) })?;
                Ok((vec![stanza], HashSet::from([POST_QUANTUM.to_owned()])))
            }
            Kind::Ssh(recipient) => foreign(recipient.as_ref()),
            Kind::Tagged(recipient) => {
                let stanza = recipient.wrap(file_key, random);
                let stanza = stanza.ok_or_else(|| WrapError::Hybrid { recipient: shorten(&self.name) })?;
                Ok((vec![stanza], HashSet::new()))
            }
            Kind::X25519(recipient) => Ok((vec![recipient.wrap(file_key, random)], HashSet::new())),
        }
    }
}

enum Kind {
    Boxed(BoxedRecipient),
    Hybrid(HybridRecipient),
    Ssh(Box<age::ssh::Recipient>),
    Tagged(Box<TaggedRecipient>),
    X25519(X25519Recipient),
}

impl Kind {
    /// One name for one key, however it is written.
    fn name(&self, text: &str) -> String {
        match self {
            Self::Ssh(recipient) => recipient.to_string(),
            Self::Boxed(_) | Self::Hybrid(_) | Self::Tagged(_) | Self::X25519(_) => text.to_ascii_lowercase(),
        }
    }
}

fn parse_one(text: &str) -> Result<Kind, RecipientError> {
    let recipient = || shorten(text);
    let lower = text.get(..text.len().min(16)).unwrap_or_default().to_ascii_lowercase();
    if lower.starts_with("age-secret-key-")
        || lower.starts_with("age-plugin-")
        || lower.starts_with("-----begin")
    {
        return Err(RecipientError::IsIdentity);
    }
    if lower.starts_with("scrypt") || lower.starts_with("passphrase") {
        return Err(RecipientError::Passphrase);
    }
    if lower.starts_with("ssh-") || lower.starts_with("ecdsa-") || lower.starts_with("sk-") {
        let key: age::ssh::Recipient =
            text.parse().map_err(|_| RecipientError::Ssh { recipient: recipient() })?;
        return Ok(Kind::Ssh(Box::new(key)));
    }
    if !lower.starts_with("age1") {
        return Err(RecipientError::Unknown { recipient: recipient() });
    }
    let (hrp, bytes) =
        wrap::decode(text).ok_or_else(|| RecipientError::Spelling { recipient: recipient() })?;
    let kind = match hrp.as_str() {
        wrap::X25519_RECIPIENT_HRP => {
            bytes[..].try_into().ok().and_then(X25519Recipient::new).map(Kind::X25519)
        }
        wrap::HYBRID_RECIPIENT_HRP => HybridRecipient::new(&bytes).map(Kind::Hybrid),
        TAGGED_RECIPIENT_HRP => TaggedRecipient::from_compressed(&bytes).map(Box::new).map(Kind::Tagged),
        _ => match hrp.strip_prefix("age1") {
            Some(plugin) => {
                return Err(RecipientError::NeedsPlugin { recipient: recipient(), plugin: plugin.into() });
            }
            None => return Err(RecipientError::Unknown { recipient: recipient() }),
        },
    };
    kind.ok_or_else(|| RecipientError::Key { recipient: recipient() })
}

/// What is on a line of a file of keys, without comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A hybrid recipient has 2,000 letters; a message does not need them.
fn shorten(text: &str) -> String {
    if text.chars().count() <= NAME_LETTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(NAME_LETTERS_MAX / 2).chain("…".chars()).collect()
}

const NAME_LETTERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_hybrid;
    use crate::seal::identity::generate_x25519;
    use crate::seal::random::Seeded;

    const AGE: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust";

    fn fault(texts: &[&str]) -> RecipientError {
        Recipients::parse(texts).unwrap_err()
    }

    #[test]
    fn reads_a_file_of_recipients() {
        let file = format!("# custody\n\n{AGE}\r\n  {SSH}\n");
        let recipients = Recipients::parse_file(&file).unwrap();
        assert_eq!(recipients.len(), 2);
        assert_eq!(recipients.names().next(), Some(AGE));
        assert!(format!("{recipients:?}").contains("ssh-ed25519"));
    }

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let (identity, _) = generate_x25519(&mut Seeded::new(&[0; 32], "test", 0));
        let error = fault(&[&identity]);
        assert!(matches!(error, RecipientError::IsIdentity));
        assert!(!format!("{error} {error:?}").contains(&identity[20..40]));
        assert!(matches!(fault(&["-----BEGIN OPENSSH PRIVATE KEY-----"]), RecipientError::IsIdentity));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        let misspelt = AGE.replace("svpy", "svpz");
        assert!(matches!(fault(&[&misspelt]), RecipientError::Spelling { .. }));
        assert!(matches!(fault(&[AGE, AGE]), RecipientError::Twice { .. }));
        assert!(matches!(fault(&["alice"]), RecipientError::Unknown { .. }));
        assert!(matches!(fault(&["ssh-dss AAAA"]), RecipientError::Ssh { .. }));
        assert!(matches!(fault(&["scrypt"]), RecipientError::Passphrase));
        assert!(matches!(fault(&[&wrap::encode("age", &[0; 32])]), RecipientError::Key { .. }));
        assert!(matches!(fault(&[&wrap::encode("age", &[9; 31])]), RecipientError::Key { .. }));
        let plugin = fault(&[&wrap::encode("age1yubikey", &[9; 33])]);
        assert!(matches!(plugin, RecipientError::NeedsPlugin { plugin, .. } if plugin == "yubikey"));
    }

    #[test]
    fn post_quantum_and_other_recipients_do_not_mix_in_either_order() {
        let (_, hybrid) = generate_hybrid(&mut Seeded::new(&[0; 32], "test", 0));
        for texts in [[AGE, hybrid.as_str()], [hybrid.as_str(), SSH]] {
            let error = fault(&texts);
            let RecipientError::Mixed { post_quantum, classical } = &error else { panic!("{error}") };
            assert!(post_quantum.starts_with("age1pq1") && !classical.starts_with("age1pq1"));
            assert!(error.to_string().len() < 400, "{error}");
        }
    }

    #[test]
    fn labels_of_boxed_recipients_are_compared_when_they_wrap() {
        let mut random = Seeded::new(&[0; 32], "test", 0);
        let (_, hybrid) = generate_hybrid(&mut random);
        let mut recipients = Recipients::parse([hybrid]).unwrap();
        recipients.add_boxed(Box::new(AGE.parse::<age::x25519::Recipient>().unwrap()));
        let key = FileKey::generate(&mut random);
        assert!(matches!(recipients.wrap(&key, &mut random), Err(WrapError::Labels { .. })));
        assert!(matches!(Recipients::default().wrap(&key, &mut random), Err(WrapError::NoRecipients)));
    }

    fn is_send_and_sync<T: Send + Sync>() {}

    #[test]
    fn recipients_are_shared_by_threads() {
        is_send_and_sync::<Recipients>();
    }
}
