//! Signed notes with Ed25519 (C2SP `signed-note`), and checkpoints in them (C2SP `tlog-checkpoint`).
//!
//! ```text
//! recorder-1                                     origin: who keeps the log
//! 20852163                                       how many entries
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=   root of the tree over them
//!                                                empty line
//! — recorder-1 Az3grlgtz…                        name, base64 of key id and signature
//! ```

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use ring::signature::ED25519;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use ring::signature::UnparsedPublicKey;
use zeroize::Zeroizing;

use crate::seal::random::Randomness;
use crate::seal::tree::HASH_BYTES;
use crate::seal::tree::Hash;

/// A recorder's signing key and name.
pub type Signer = NamedPair<ED25519_TYPE>;

/// The public half of a [`Signer`]: what a verifier is given beforehand.
pub type VerifyKey = NamedKey<ED25519_TYPE>;

/// An Ed25519 signing key with the name of whose it is. What it signs says its kind (C2SP `signed-note`, "Signature
/// types").
pub struct NamedPair<const KIND: u8> {
    pub(super) pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; SEED_BYTES]>,
    pub(super) public: NamedKey<KIND>,
}

/// The public half of a [`NamedPair`].
///
/// As text (`name+id+key`) it is that of Go's `sumdb/note`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedKey<const KIND: u8> {
    pub(super) name: String,
    pub(super) id: [u8; 4],
    pub(super) key: [u8; 32],
}

/// A tree's size and root, with who says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Who keeps the log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

/// Why a note or a key is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The text is not three lines of origin, size and root.
    #[error("the note is no checkpoint")]
    Checkpoint,
    /// The key's text is malformed, or its id is not that of its bytes.
    #[error("the key is malformed")]
    Key,
    /// Not a signed note.
    #[error("the note is malformed")]
    Malformed,
    /// A name is empty or has a space, a plus sign or a control character.
    #[error("a key's name must not be empty nor have spaces, plus signs or control characters")]
    Name,
    /// The signature of the known key is wrong.
    #[error("the signature is wrong: the note was changed, or another key made it")]
    Signature,
    /// Longer than [`NOTE_BYTES_MAX`], or more than [`SIGNATURES_MAX`] signatures.
    #[error("the note is too long")]
    TooLong,
    /// The known key has not signed it.
    #[error("the note is not signed by this key")]
    Unsigned,
}

impl<const KIND: u8> NamedPair<KIND> {
    /// Makes a new key for `name`.
    pub fn generate(name: &str, random: &mut dyn Randomness) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        random.fill(&mut *seed);
        Self::from_seed(name, &seed)
    }

    /// Takes up a key from its 32-byte seed (RFC 8032 section 5.1.5).
    pub fn from_seed(name: &str, seed: &[u8; SEED_BYTES]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        Ok(Self { pair, seed: Zeroizing::new(*seed), public: NamedKey::new(name, key)? })
    }

    /// Reads the text that [`NamedPair::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim().strip_prefix(PRIVATE_PREFIX).ok_or(NoteError::Key)?;
        let (name, id, seed) = split_key(rest, KIND)?;
        let seed = Zeroizing::new(seed);
        let signer = Self::from_seed(name, &seed)?;
        if signer.public.id == id { Ok(signer) } else { Err(NoteError::Key) }
    }

    /// The private key as text, as Go's `sumdb/note` writes it: `PRIVATE+KEY+name+id+seed`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(key_text(&self.public.name, self.public.id, KIND, &self.seed));
        let mut text = Zeroizing::new(String::with_capacity(PRIVATE_PREFIX.len() + key.len()));
        text.push_str(PRIVATE_PREFIX);
        text.push_str(&key);
        text
    }

    /// The name: a recorder's id.
    pub fn name(&self) -> &str {
        &self.public.name
    }

    /// The public half.
    pub fn verify_key(&self) -> &NamedKey<KIND> {
        &self.public
    }
}

impl Signer {
    /// Signs a checkpoint. The log must never sign two that contradict each other.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        self.note(&checkpoint.to_text())
    }

    /// Signs a statement, which is no checkpoint: lines of text, none of them empty.
    pub fn sign_statement(&self, text: &str) -> Result<String, NoteError> {
        let is_plain = text.ends_with('\n')
            && !text.starts_with('\n')
            && !text.contains("\n\n")
            && text.bytes().all(|byte| byte >= b' ' || byte == b'\n');
        if !is_plain || Checkpoint::parse(text).is_some() {
            return Err(NoteError::Malformed);
        }
        Ok(self.note(text))
    }

    fn note(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        format!("{text}\n{}", signature_line(&self.public.name, self.public.id, signature.as_ref()))
    }
}

/// Says whose, never what.
impl<const KIND: u8> std::fmt::Debug for NamedPair<KIND> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedPair").field("name", &self.public.name).finish_non_exhaustive()
    }
}

impl<const KIND: u8> NamedKey<KIND> {
    fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Name);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, KIND, &key), key })
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a line below a note is of this key.
    pub(super) fn is_mine(&self, signature: &Signature<'_>) -> bool {
        signature.name == self.name && signature.id == self.id
    }

    /// Whether it has signed that.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)
    }
}

impl VerifyKey {
    /// Reads a checkpoint that this key has signed, and that says it is of this key's log.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let text = self.open_text(note)?;
        let checkpoint = Checkpoint::parse(text).ok_or(NoteError::Checkpoint)?;
        if checkpoint.origin == self.name { Ok(checkpoint) } else { Err(NoteError::Checkpoint) }
    }

    /// The text of a note that this key has signed. Signatures of other keys are not looked at.
    pub fn open_text<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split_note(note)?;
        let mut signed = false;
        for signature in signatures.iter().filter(|signature| self.is_mine(signature)) {
            self.verify(text, &signature.bytes)?;
            signed = true;
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned) }
    }
}

/// `name+id+key`, as Go's `sumdb/note` writes it.
impl<const KIND: u8> std::fmt::Display for NamedKey<KIND> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&key_text(&self.name, self.id, KIND, &self.key))
    }
}

impl<const KIND: u8> std::str::FromStr for NamedKey<KIND> {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, key) = split_key(text.trim(), KIND)?;
        let named = Self::new(name, key)?;
        if named.id == id { Ok(named) } else { Err(NoteError::Key) }
    }
}

impl Checkpoint {
    /// The text that is signed.
    pub(super) fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0))
    }

    /// Three lines and no more: extension lines are for others' logs.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root: [u8; HASH_BYTES] = BASE64_STANDARD.decode(root).ok()?.try_into().ok()?;
        let checkpoint = Self { origin: origin.to_owned(), size: size.parse().ok()?, root: Hash(root) };
        // One text for one checkpoint: no leading zeros, no plus sign.
        (lines.next().is_none() && !origin.is_empty() && checkpoint.to_text() == text).then_some(checkpoint)
    }
}

/// A line below a note.
pub(super) struct Signature<'a> {
    pub(super) name: &'a str,
    pub(super) id: [u8; 4],
    pub(super) bytes: Vec<u8>,
}

/// The text of a note, and what is signed below it; nothing of it is checked.
pub(super) fn split_note(note: &str) -> Result<(&str, Vec<Signature<'_>>), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLong);
    }
    if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Malformed);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
    let mut signatures = Vec::new();
    for (number, line) in lines.split('\n').enumerate() {
        if number == SIGNATURES_MAX {
            return Err(NoteError::TooLong);
        }
        signatures.push(parse_signature(line).ok_or(NoteError::Malformed)?);
    }
    Ok((text, signatures))
}

/// Reads one line below a note.
pub(super) fn parse_signature(line: &str) -> Option<Signature<'_>> {
    let (name, signature) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(signature).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    (is_name(name) && !bytes.is_empty()).then(|| Signature { name, id: *id, bytes: bytes.to_vec() })
}

/// A line below a note.
pub(super) fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let bytes = [&id, signature].concat();
    format!("{SIGNATURE_MARK}{name} {}\n", BASE64_STANDARD.encode(bytes))
}

/// By what a key is known in notes.
fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', kind]);
    context.update(key);
    let mut id = [0; 4];
    id.copy_from_slice(&context.finish().as_ref()[..4]);
    id
}

fn is_name(name: &str) -> bool {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
    !name.is_empty() && !name.contains(bad)
}

/// A key as Go's `sumdb/note` writes it.
fn key_text(name: &str, id: [u8; 4], kind: u8, key: &[u8; 32]) -> String {
    let mut bytes = Zeroizing::new([kind; 33]);
    bytes[1..].copy_from_slice(key);
    format!("{name}+{:08x}+{}", u32::from_be_bytes(id), BASE64_STANDARD.encode(bytes.as_slice()))
}

/// The parts of what [`key_text`] writes.
fn split_key(text: &str, kind: u8) -> Result<(&str, [u8; 4], [u8; 32]), NoteError> {
    let parts = text.split_once('+').and_then(|(name, rest)| Some((name, rest.split_once('+')?)));
    let (name, (id, key)) = parts.ok_or(NoteError::Key)?;
    let lower_hex = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = u32::from_str_radix(id, 16).ok().filter(|_| lower_hex).ok_or(NoteError::Key)?;
    let bytes = BASE64_STANDARD.decode(key).map(Zeroizing::new).map_err(|_| NoteError::Key)?;
    match bytes.split_first() {
        Some((first, key)) if *first == kind => {
            Ok((name, id.to_be_bytes(), key.try_into().map_err(|_| NoteError::Key)?))
        }
        _ => Err(NoteError::Key),
    }
}

/// Longest note accepted.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signatures accepted in one note.
pub const SIGNATURES_MAX: usize = 100;
/// Bytes of a signing key's seed.
pub const SEED_BYTES: usize = 32;
const SIGNATURE_MARK: &str = "\u{2014} ";
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// Ed25519 in C2SP `signed-note`, "Signature types".
pub const ED25519_TYPE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::Seeded;

    fn signer(number: u64) -> Signer {
        Signer::generate("recorder-1", &mut Seeded::new(&[1; 32], "test", number)).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "recorder-1".into(), size: 7, root: Hash::empty() }
    }

    /// The key of the Go checksum database, as it is published.
    #[test]
    fn reads_a_key_that_others_made() {
        let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key: VerifyKey = text.parse().unwrap();
        assert_eq!(key.name(), "sum.golang.org");
        assert_eq!(key.to_string(), text);
        assert_eq!(text.replace("033de0ae", "033de0af").parse::<VerifyKey>(), Err(NoteError::Key));
        assert_eq!(text.replace("033de0ae", "033DE0AE").parse::<VerifyKey>(), Err(NoteError::Key));
    }

    /// The example of Go's `sumdb/note`.
    #[test]
    fn opens_a_note_that_others_signed() {
        let key: VerifyKey =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(key.open_text(&note), Ok(text));
        assert_eq!(key.open_text(&note.replace("think", "thinK")), Err(NoteError::Signature));
        assert_eq!(key.open(&note), Err(NoteError::Checkpoint));
    }

    #[test]
    fn keys_come_back_from_their_text() {
        let text = signer(0).to_text();
        let again = Signer::from_text(&text).unwrap();
        assert_eq!(again.verify_key(), signer(0).verify_key());
        assert_ne!(signer(0).verify_key(), signer(1).verify_key());
        assert!(Signer::from_text(&text[12..]).is_err());
        assert_eq!(format!("{again:?}"), "NamedPair { name: \"recorder-1\", .. }");
        assert!(Signer::generate("two words", &mut Seeded::new(&[1; 32], "test", 0)).is_err());
    }

    #[test]
    fn only_what_was_signed_is_accepted() {
        let note = signer(0).sign(&checkpoint());
        let key = signer(0).verify_key().clone();
        assert_eq!(key.open(&note), Ok(checkpoint()));
        assert_eq!(signer(1).verify_key().open(&note), Err(NoteError::Unsigned));
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(key.open(&changed).is_err(), "byte {at}: {changed}");
            }
            if let Some(cut) = note.get(..at) {
                assert!(key.open(cut).is_err(), "cut to {at}");
            }
        }
    }

    #[test]
    fn other_signatures_are_passed_over_and_bad_lines_are_not() {
        let (mine, other) = (signer(0), signer(1));
        let key = mine.verify_key();
        let note = mine.sign(&checkpoint());
        let witness = other.sign(&checkpoint());
        let line = witness.lines().last().unwrap();
        assert_eq!(key.open(&format!("{note}{line}\n")), Ok(checkpoint()));
        assert_eq!(key.open(&format!("{note}nonsense\n")), Err(NoteError::Malformed));
        assert_eq!(key.open(&format!("{note}{line}")), Err(NoteError::Malformed));
        let many = format!("{line}\n").repeat(SIGNATURES_MAX + 1);
        assert_eq!(key.open(&format!("{}\n{many}", checkpoint().to_text())), Err(NoteError::TooLong));
    }

    #[test]
    fn a_checkpoint_has_one_text() {
        let text = checkpoint().to_text();
        assert!(Checkpoint::parse(&text).is_some());
        for (from, to) in [("\n7\n", "\n07\n"), ("\n7\n", "\n+7\n"), ("\n7\n", "\n7\nmore\n"), ("=", "")] {
            assert!(Checkpoint::parse(&text.replace(from, to)).is_none(), "{from:?} to {to:?}");
        }
    }
}
