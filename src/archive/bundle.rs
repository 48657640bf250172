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
//! recordings/ID/sealed/…         the sealed files as the recorder made them   (within ID.opus.age)
//! SHA256SUMS, SHA256SUMS.sig     all of it, signed
//! ```
//!
//! A recorder signs the SHA-256 of the sealed file as it made it. The archive keeps the payload unchanged under another
//! header, so that a recording can be erased, and the first header within that ([`crate::seal::origin`]). So nobody
//! has to take the archive's word for what the sound has to do with the receipt:
//!
//! ```text
//! checkpoint ─signed by the recorder─► receipt ─SHA-256─► sealed file: first header ‖ payload
//!                                                            │ MAC of the header, by the file key
//!                                                            └ payload, opened with the file key ─► the sound
//! ```
//!
//! In the open, the sealed files are in the bundle, and their file keys in `bundle.json`: whoever has the sound may
//! have the key of that one file. Under the receiver's key the first header stays within the file, sealed under its
//! file key: the receiver alone can follow the way to its end. Of recordings that were taken in before first headers
//! were kept, this is the archive's word.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::archive::access::Reason;
use crate::archive::record::{Digest, RecordingId};
use crate::base::time::Stamp;
use crate::seal::header::{self, Header, HeaderError};
use crate::seal::identity::{Identities, UnwrapError};
use crate::seal::keys::FileKey;
use crate::seal::origin::{self, OriginError};
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
    /// What ties it to the receipt; nothing where that is the archive's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// What ties a file to the receipt of its recorder.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// The sealed file as the recorder made it is here.
    Disclosed {
        /// Its path in the bundle.
        sealed: String,
        /// What opens it: base64 without padding.
        file_key: String,
    },
    /// The header that the recorder made is within the file here, for whoever opens it.
    Enclosed,
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
    /// What it keeps of the first one is no header of this file.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Its MAC is not that of the file key.
    #[error("the header is not the one that the file was sealed with")]
    Changed,
}

/// What a stranger needs to follow a file back to its receipt.
#[derive(Debug)]
pub struct Disclosure {
    /// The header that the recorder made, where it was kept.
    pub original: Option<Vec<u8>>,
    /// The key of the file.
    pub file_key: FileKey,
}

/// What is disclosed of a file that is given away in the open. `identities` open its present header.
pub fn disclose(header: &mut impl BufRead, identities: &Identities) -> Result<Disclosure, ResealError> {
    let header = Header::read(header)?;
    let file_key = identities.unwrap(&header.stanzas)?;
    if !header.verify(&file_key) {
        return Err(ResealError::Changed);
    }
    let original = origin::open(&header, &file_key)?;
    Ok(Disclosure { original, file_key })
}

/// The header that puts a file under `recipients`, and nobody else, and whether the one that its recorder made is kept
/// within it. `identities` open the present one.
pub fn reseal(
    header: &mut impl BufRead,
    identities: &Identities,
    recipients: &Recipients,
    random: &mut dyn Randomness,
) -> Result<(Vec<u8>, bool), ResealError> {
    let header = Header::read(header)?;
    let file_key = identities.unwrap(&header.stanzas)?;
    if !header.verify(&file_key) {
        return Err(ResealError::Changed);
    }
    let is_kept = origin::open(&header, &file_key)?.is_some();
    let mut stanzas = recipients.wrap(&file_key, random)?;
    stanzas.extend(origin::kept(&header));
    Ok((header::write(&stanzas, &file_key), is_kept))
}

/// Folder of a recording in a bundle.
pub fn folder(id: &RecordingId) -> String {
    format!("recordings/{id}")
}

/// The schema that [`Bundle`] is.
pub const SCHEMA: u32 = 1;
/// Names in a bundle.
pub const BUNDLE_FILE: &str = "bundle.json";
/// Folder in that of a recording, of files as its recorder made them.
pub const SEALED_FOLDER: &str = "sealed";
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
        let (header, is_kept) =
            reseal(&mut &archived[..], &envelope.identities(), &to_receiver, &mut random).unwrap();
        assert!(is_kept);
        let given = [&header[..], &file[before..]].concat();
        assert_eq!(&**Opener::open(&given[..], &receiver).unwrap().read_whole().unwrap(), b"sound");
        assert!(Opener::open(&given[..], &envelope.identities()).is_err());
        assert!(reseal(&mut &archived[..], &epoch, &to_receiver, &mut random).is_err());
        // The receiver, and whoever is told the file key, has the header that the recorder made.
        for (header, keys) in [(&header, &receiver), (&archived, &envelope.identities())] {
            let Disclosure { original, file_key } = disclose(&mut &header[..], keys).unwrap();
            assert_eq!(original.as_deref(), Some(&file[..before]));
            let mut opener = Opener::open_with_key(&file[..], file_key).unwrap();
            assert_eq!(&**opener.read_whole().unwrap(), b"sound");
        }
        assert!(disclose(&mut &archived[..], &epoch).is_err());
    }
}
