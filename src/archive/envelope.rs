//! Envelopes: one key a recording, which wraps the file keys of its files.
//!
//! ```text
//! taken in:  header {X25519 to the epoch …}  + payload
//! archived:  header {sejf-envelope ID SALT} {sejf-origin MARK}  + the same payload
//!                      │                       └ the first header, under a key derived from the file key
//!                      └ file key under HKDF(envelope, SALT)
//! ```
//!
//! The first header is kept for proofs ([`crate::seal::origin`]): who has destroyed an envelope has destroyed what
//! opens it as well.
//!
//! Envelopes are kept in [`Group`]s of at most [`GROUP_MAX`], each an age file to the recipient of its epoch. They
//! are never in the catalog, nor on media, nor in a backup of either: who destroys an envelope rewrites one small
//! file in the few places that keep keys, and the recording is gone from all copies, wherever they are. A group is
//! small so that this is quick, and not one file an envelope so that ten million are forty thousand files.

use std::collections::BTreeMap;
use std::io::Read;

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::archive::record::RecordingId;
use crate::seal::header::{self, Header, HeaderError};
use crate::seal::identity::{Identities, UnwrapError};
use crate::seal::keys::{self, FileKey, WRAPPED_KEY_BYTES};
use crate::seal::origin;
use crate::seal::random::Randomness;

/// The key of one recording. Zeroized when dropped; does not print.
#[derive(Clone)]
pub struct Envelope {
    id: RecordingId,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Envelopes that are kept in one file.
#[derive(Clone, Default)]
pub struct Group(BTreeMap<RecordingId, Envelope>);

/// Why a file cannot be put under an envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewrapError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The keys that are there do not open it.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// Its MAC is not that of the file key.
    #[error("the header is not the one that the file was sealed with")]
    Changed,
}

/// A group's file does not hold what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the file of envelopes is malformed")]
pub struct GroupError;

impl Envelope {
    /// Makes the envelope of a recording.
    pub fn generate(id: RecordingId, random: &mut dyn Randomness) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        random.fill(&mut *key);
        Self { id, key }
    }

    /// Whose it is.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// The header that puts a file under this envelope, and nothing else. `identities` open the present one.
    pub fn rewrap(
        &self,
        header: &mut impl std::io::BufRead,
        identities: &Identities,
        random: &mut dyn Randomness,
    ) -> Result<Vec<u8>, RewrapError> {
        let header = Header::read(header)?;
        let file_key = identities.unwrap(&header.stanzas)?;
        if !header.verify(&file_key) {
            return Err(RewrapError::Changed);
        }
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        let stanza = Stanza {
            tag: TAG.into(),
            args: vec![self.id.to_string(), BASE64_STANDARD_NO_PAD.encode(salt)],
            body: keys::wrap(&self.wrap_key(&salt), &file_key),
        };
        // What the recorder signed is the hash of the first header and the payload: it must not be forgotten.
        let origin = match header.stanzas.iter().any(|stanza| stanza.tag == TAG) {
            true => origin::kept(&header),
            false => origin::stanza(&header, &file_key),
        };
        let stanzas: Vec<Stanza> = std::iter::once(stanza).chain(origin).collect();
        Ok(header::write(&stanzas, &file_key))
    }

    /// A key for something else that is to be erased with this recording: `what` says for what.
    pub fn derive(&self, what: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        keys::derive(b"sejf envelope, derived", what.as_bytes(), &*self.key)
    }

    /// What opens the files of this recording.
    pub fn identities(&self) -> Identities {
        let mut identities = Identities::default();
        identities.add_boxed(Box::new(self.clone()));
        identities
    }

    /// The file key in one stanza; nothing where it is another recording's, or of another kind.
    pub fn unwrap(&self, stanza: &Stanza) -> Option<Result<FileKey, UnwrapError>> {
        if stanza.tag != TAG {
            return None;
        }
        let [id, salt] = &stanza.args[..] else { return Some(Err(UnwrapError::Malformed)) };
        if *id != self.id.to_string() {
            return None;
        }
        let salt: Option<[u8; SALT_BYTES]> = header::decode_exact(salt.as_bytes());
        let body: Result<[u8; WRAPPED_KEY_BYTES], _> = stanza.body[..].try_into();
        let (Some(salt), Ok(body)) = (salt, body) else { return Some(Err(UnwrapError::Malformed)) };
        Some(keys::unwrap(&self.wrap_key(&salt), &body).ok_or(UnwrapError::NoMatch))
    }

    fn wrap_key(&self, salt: &[u8; SALT_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
        keys::derive(salt, b"sejf-envelope", &*self.key)
    }
}

impl age::Identity for Envelope {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        let unwrapped = self.unwrap(stanza)?;
        Some(match unwrapped {
            Ok(key) => Ok(age_core::format::FileKey::new(Box::new(*key.expose()))),
            Err(_) => Err(age::DecryptError::DecryptionFailed),
        })
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Envelope({}, ..)", self.id)
    }
}

/// The recording that a header is under the envelope of, if it is under one.
pub fn recording_of(header: &Header) -> Option<RecordingId> {
    let stanza = match &header.stanzas[..] {
        [stanza] => stanza,
        [stanza, origin] if origin.tag == origin::TAG => stanza,
        _ => return None,
    };
    (stanza.tag == TAG).then(|| stanza.args.first()?.parse().ok()).flatten()
}

impl Group {
    /// Adds an envelope.
    pub fn insert(&mut self, envelope: Envelope) {
        self.0.insert(envelope.id, envelope);
    }

    /// The envelope of a recording.
    pub fn get(&self, id: &RecordingId) -> Option<&Envelope> {
        self.0.get(id)
    }

    /// Forgets an envelope. What has the group on a disk must then be overwritten.
    pub fn remove(&mut self, id: &RecordingId) -> Option<Envelope> {
        self.0.remove(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another has room.
    pub fn has_room(&self) -> bool {
        self.0.len() < GROUP_MAX
    }

    /// Whose envelopes these are.
    pub fn ids(&self) -> impl Iterator<Item = RecordingId> + '_ {
        self.0.keys().copied()
    }

    /// What goes into the file: to be sealed to the epoch.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(GROUP_MAGIC.len() + self.0.len() * ENTRY_BYTES));
        bytes.extend_from_slice(GROUP_MAGIC);
        for envelope in self.0.values() {
            bytes.extend_from_slice(envelope.id.as_bytes());
            bytes.extend_from_slice(&*envelope.key);
        }
        bytes
    }

    /// Reads what [`Group::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GroupError> {
        let mut rest = bytes.strip_prefix(GROUP_MAGIC).ok_or(GroupError)?;
        if !rest.len().is_multiple_of(ENTRY_BYTES) || rest.len() > GROUP_MAX * ENTRY_BYTES {
            return Err(GroupError);
        }
        let mut group = Self::default();
        while !rest.is_empty() {
            let (mut id, mut key) = ([0; 16], Zeroizing::new([0; KEY_BYTES]));
            rest.read_exact(&mut id).and_then(|()| rest.read_exact(&mut *key)).map_err(|_| GroupError)?;
            let id = RecordingId::from_bytes(id);
            if group.0.insert(id, Envelope { id, key }).is_some() {
                return Err(GroupError);
            }
        }
        Ok(group)
    }
}

/// The stanza's type.
pub const TAG: &str = "sejf-envelope";
/// Envelopes of one group at most.
pub const GROUP_MAX: usize = 256;
const GROUP_MAGIC: &[u8] = b"sejf-envelopes 1\n";
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16 + KEY_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::identity::generate_x25519;
    use crate::seal::open::Opener;
    use crate::seal::random::Seeded;
    use crate::seal::recipient::Recipients;
    use crate::seal::stream;

    fn id(byte: u8) -> RecordingId {
        RecordingId::from_bytes([byte; 16])
    }

    fn sealed(plain: &[u8], random: &mut Seeded) -> (Identities, Vec<u8>) {
        let (identity, recipient) = generate_x25519(random);
        let recipients = Recipients::parse([recipient]).unwrap();
        let file = stream::seal_whole(plain, &recipients, random).unwrap();
        (Identities::parse(&identity).unwrap(), file)
    }

    #[test]
    fn under_its_envelope_the_same_payload_opens_and_under_the_old_key_it_does_not() {
        let mut random = Seeded::new(&[7; 32], "envelope", 0);
        let plain = vec![0x5a; 200_000];
        let (epoch, file) = sealed(&plain, &mut random);
        let before = Header::read(&mut &file[..]).unwrap().to_bytes().len();
        let envelope = Envelope::generate(id(1), &mut random);
        let header = envelope.rewrap(&mut &file[..], &epoch, &mut random).unwrap();
        let archived = [&header[..], &file[before..]].concat();
        let open =
            |keys: &Identities| Opener::open(&archived[..], keys).and_then(|mut file| file.read_whole());
        assert_eq!(&**open(&envelope.identities()).unwrap(), &plain[..]);
        assert!(open(&epoch).is_err());
        assert!(open(&Envelope::generate(id(1), &mut random).identities()).is_err());
        assert!(open(&Envelope { id: id(2), ..envelope.clone() }.identities()).is_err());
        assert_eq!(recording_of(&Header::read(&mut &archived[..]).unwrap()), Some(id(1)));
        assert_eq!(recording_of(&Header::read(&mut &file[..]).unwrap()), None);
        let origin = |header: &[u8], envelope: &Envelope| {
            let header = Header::read(&mut &header[..]).unwrap();
            let file_key = envelope.identities().unwrap(&header.stanzas).unwrap();
            origin::open(&header, &file_key).unwrap()
        };
        assert_eq!(origin(&header, &envelope).as_deref(), Some(&file[..before]));
        // To the epoch's key it is no header at all.
        let first = Header::read(&mut &file[..]).unwrap();
        let (kept, wrapped) = (Header::read(&mut &header[..]).unwrap(), &first.stanzas[0].body);
        assert!(
            !kept.stanzas.iter().any(|stanza| stanza.body.windows(wrapped.len()).any(|part| part == wrapped))
        );
        // Again under another: what was under the first is not under the second.
        let other = Envelope::generate(id(1), &mut random);
        let again = other.rewrap(&mut &archived[..], &envelope.identities(), &mut random).unwrap();
        assert_ne!(again, header);
        assert_eq!(origin(&again, &other).as_deref(), Some(&file[..before]));
        let archived = [&again[..], &file[before..]].concat();
        assert!(Opener::open(&archived[..], &envelope.identities()).is_err());
    }

    #[test]
    fn a_changed_header_is_not_taken_over() {
        let mut random = Seeded::new(&[8; 32], "envelope", 0);
        let (epoch, mut file) = sealed(b"x", &mut random);
        let end = Header::read(&mut &file[..]).unwrap().to_bytes().len();
        // In the MAC.
        file[end - 4] = if file[end - 4] == b'A' { b'B' } else { b'A' };
        let envelope = Envelope::generate(id(1), &mut random);
        assert!(envelope.rewrap(&mut &file[..], &epoch, &mut random).is_err());
    }

    #[test]
    fn a_group_comes_back_and_a_damaged_one_does_not() {
        let mut random = Seeded::new(&[9; 32], "envelope", 0);
        let mut group = Group::default();
        (0..3).for_each(|byte| group.insert(Envelope::generate(id(byte), &mut random)));
        let bytes = group.to_bytes();
        let mut read = Group::from_bytes(&bytes).unwrap();
        assert_eq!(read.ids().collect::<Vec<_>>(), [id(0), id(1), id(2)]);
        assert_eq!(*read.get(&id(1)).unwrap().derive("x"), *group.get(&id(1)).unwrap().derive("x"));
        assert!(read.remove(&id(1)).is_some() && read.get(&id(1)).is_none());
        for wrong in
            [&bytes[..bytes.len() - 1], &bytes[1..], &[&bytes[..], &bytes[GROUP_MAGIC.len()..]].concat()]
        {
            assert!(Group::from_bytes(wrong).is_err());
        }
        assert_eq!(format!("{:?}", group.get(&id(0)).unwrap()), format!("Envelope({}, ..)", id(0)));
    }
}
