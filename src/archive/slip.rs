//! Slips: what an archive notes of a recording beside its objects, so that its catalog can be made anew.
//!
//! ```text
//! 2026/11/23/<id>.opus.hdr  <id>.opus.body  <id>.json.hdr  <id>.json.body     the recording
//! 2026/11/23/<id>.receipt.json                                                its slip
//! 2026/11/23/<id>.v1.hdr  <id>.v1.body  <id>.v1.version.json                  a version of it, and the slip of that
//! ```
//!
//! It is written once, when the recording is archived (or, of a call that was not recorded, taken in), before the
//! catalog has it; it is copied with the recording, and stays when that is destroyed: like the receipt in it, it holds
//! nothing of who spoke. Nobody signs it: that the receipt is its recorder's is proved by the recorder's log.

use serde::{Deserialize, Serialize};

use crate::archive::epoch::ClassName;
use crate::archive::record::{ArchivedFile, Digest, Record, RecordingId};
use crate::base::time::Stamp;
use crate::seal::receipt::Receipt;

/// The slip of one recording: all of its [`Record`] that its objects do not show. One text: fields in this order, no
/// spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slip {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The key of the recorder's log.
    pub recorder: String,
    /// The receipt's place in that log.
    pub receipt_index: u64,
    /// What the recorder signed.
    pub receipt: Receipt,
    /// Retention class; none of a call that was not recorded.
    pub class: Option<ClassName>,
    /// When it was taken in.
    pub taken_in: Stamp,
    /// Payloads of its files, in order; not of its versions, which have slips of their own.
    pub bodies: Vec<Body>,
}

/// The payload of one file, which never changes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The file's name, as its recorder gave it.
    pub name: String,
    /// SHA-256 of the payload.
    pub sha256: Digest,
    /// Bytes of the payload.
    pub bytes: u64,
}

impl Body {
    /// That of a file.
    pub fn of(file: &ArchivedFile) -> Self {
        Self { name: file.name.clone(), sha256: file.body_sha256, bytes: file.body_bytes }
    }
}

/// Without its header, which the slip does not know.
impl From<Body> for ArchivedFile {
    fn from(Body { name, sha256, bytes }: Body) -> Self {
        Self { name, header_sha256: Digest::of(b""), header_bytes: 0, body_sha256: sha256, body_bytes: bytes }
    }
}

/// Why an object is no slip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlipError {
    /// Not the JSON of one.
    #[error("it is no slip: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A later version of this program wrote it.
    #[error("it has schema {found}, this program knows {SCHEMA}: use a later version")]
    Schema {
        /// The schema it says.
        found: u32,
    },
    /// It is of something else.
    #[error("it is the slip of another recording")]
    Other,
    /// Not as we write it.
    #[error("it is not in its one form: it was changed")]
    Changed,
}

impl Slip {
    /// The slip of a recording.
    pub fn of(record: &Record) -> Self {
        Self {
            schema: SCHEMA,
            recorder: record.recorder.clone(),
            receipt_index: record.receipt_index,
            receipt: record.receipt.clone(),
            class: record.class.clone(),
            taken_in: record.taken_in,
            bodies: record.originals().map(Body::of).collect(),
        }
    }

    /// What the object holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a slip has no maps with keys that are not text")
    }

    /// Reads the slip of recording `id`.
    pub fn from_bytes(bytes: &[u8], id: &RecordingId) -> Result<Self, SlipError> {
        let SchemaOnly { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(SlipError::Schema { found: schema });
        }
        let slip: Self = serde_json::from_slice(bytes)?;
        if slip.receipt.id != id.to_string() {
            return Err(SlipError::Other);
        }
        if slip.to_bytes() == bytes { Ok(slip) } else { Err(SlipError::Changed) }
    }

    /// The recording that an object's name says it is the slip of.
    pub fn recording_of(object: &str) -> Option<RecordingId> {
        object.rsplit('/').next()?.strip_suffix(OBJECT_SUFFIX)?.parse().ok()
    }
}

/// What is read first: of another schema, nothing else may be as it is here.
#[derive(Deserialize)]
pub(super) struct SchemaOnly {
    pub(super) schema: u32,
}

/// The schema that [`Slip`] is.
pub const SCHEMA: u32 = 1;
/// How names of slips end.
pub const OBJECT_SUFFIX: &str = ".receipt.json";
