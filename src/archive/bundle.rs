//! What is given away of recordings: to a court, to a customer.
//!
//! ```text
//! report.html                    one page for people
//! README.txt                     how to check it
//! bundle.json                    this: what, by whom, for whom, why
//! vault.pub                      key of the archive that made it
//! vault/entry.json, proof.json   that the archive's log has this export
//! recordings/ID/receipt.json     what the recorder signed
//! recordings/ID/proof.json       that it stands in the recorder's log
//! recordings/ID/manifest.json    who called whom, what is missing        (ID.json.age where it is sealed)
//! recordings/ID/ID.opus          the sound                               (ID.opus.age)
//! SHA256SUMS, SHA256SUMS.sig     all of it, signed
//! ```
//!
//! A recorder signs the SHA-256 of the sealed file as it made it. The archive checks that when it takes the file in,
//! and keeps the payload unchanged under another header, so that a recording can be erased. What the sound in a
//! bundle has to do with the receipt is therefore the archive's word; what the receipt says is the recorder's.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::archive::access::Reason;
use crate::archive::record::{Digest, RecordingId};
use crate::base::time::Stamp;
use crate::seal::header::{self, Header, HeaderError};
use crate::seal::identity::{Identities, UnwrapError};
use crate::seal::random::Randomness;
use crate::seal::recipient::{Recipients, WrapError};

/// A bundle: `bundle.json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its own number.
    pub id: String,
    /// When it was made.
    pub made: Stamp,
    /// Public key of the archive.
    pub vault: String,
    /// Who made it.
    pub by: String,
    /// Who it is for.
    pub receiver: String,
    /// Why.
    pub reason: Reason,
    /// Number of the entry in the archive's log that says so.
    pub entry: u64,
    /// Whether sound and manifests are in the open or under the receiver's key.
    pub form: Form,
    /// What is in it.
    pub recordings: Vec<BundledRecording>,
}

/// How recordings are given away.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// In the open.
    Plain,
    /// Under the receiver's key.
    Sealed,
}

/// One recording in a bundle.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BundledRecording {
    /// Which.
    pub id: RecordingId,
    /// Public key of its recorder.
    pub recorder: String,
    /// Number of its receipt in the recorder's log.
    pub receipt_index: u64,
    /// Whether there is a proof that the receipt stands in the recorder's log.
    pub proved: bool,
    /// Its files.
    pub files: Vec<BundledFile>,
}

/// One file of a recording.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BundledFile {
    /// Path in the bundle.
    pub path: String,
    /// The name that the receipt has for it.
    pub receipt_name: String,
    /// SHA-256 of the sealed payload, which is the same in every copy of the archive, and at the end of the file
    /// here where it is sealed.
    pub body_sha256: Digest,
    /// Length of that payload.
    pub body_bytes: u64,
}

/// Why a file cannot be put under the receiver's key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResealError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The keys that are there do not open it.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// The receiver's key does not take it.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// Its MAC is not that of the file key.
    #[error("the header is not the one that the file was sealed with")]
    Changed,
}

/// The header that puts a file under `recipients`, and nobody else. `identities` open the present one.
pub fn reseal(
    header: &mut impl BufRead,
    identities: &Identities,
    recipients: &Recipients,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, ResealError> {
    let header = Header::read(header)?;
    let file_key = identities.unwrap(&header.stanzas)?;
    if !header.verify(&file_key) {
        return Err(ResealError::Changed);
    }
    Ok(header::write(&recipients.wrap(&file_key, random)?, &file_key))
}

/// Folder of a recording in a bundle.
pub fn folder(id: &RecordingId) -> String {
    format!("recordings/{id}")
}

/// The schema that [`Bundle`] is.
pub const SCHEMA: u32 = 1;
/// Names in a bundle.
pub const BUNDLE_FILE: &str = "bundle.json";
/// The list.
pub const SUMS_FILE: &str = "SHA256SUMS";
/// Its signature.
pub const SIGNATURE_FILE: &str = "SHA256SUMS.sig";
/// The archive's public key.
pub const KEY_FILE: &str = "vault.pub";
/// What is signed.
pub const STATEMENT: &str = "bundle";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::envelope::Envelope;
    use crate::seal::identity::generate_x25519;
    use crate::seal::open::Opener;
    use crate::seal::random::Seeded;
    use crate::seal::stream::seal_whole;

    #[test]
    fn under_the_receivers_key_the_payload_is_the_same() {
        let mut random = Seeded::new(&[5; 32], "bundle", 0);
        let key = |random: &mut Seeded| {
            let (identity, recipient) = generate_x25519(random);
            (Identities::parse(&identity).unwrap(), Recipients::parse([recipient]).unwrap())
        };
        let ((epoch, to_epoch), (receiver, to_receiver)) = (key(&mut random), key(&mut random));
        let file = seal_whole(b"sound", &to_epoch, &mut random).unwrap();
        let before = Header::read(&mut &file[..]).unwrap().to_bytes().len();
        let envelope = Envelope::generate(RecordingId::from_bytes([1; 16]), &mut random);
        let archived = envelope.rewrap(&mut &file[..], &epoch, &mut random).unwrap();
        let header = reseal(&mut &archived[..], &envelope.identities(), &to_receiver, &mut random).unwrap();
        let given = [&header[..], &file[before..]].concat();
        assert_eq!(&**Opener::open(&given[..], &receiver).unwrap().read_whole().unwrap(), b"sound");
        assert!(Opener::open(&given[..], &envelope.identities()).is_err());
        assert!(reseal(&mut &archived[..], &epoch, &to_receiver, &mut random).is_err());
    }
}
