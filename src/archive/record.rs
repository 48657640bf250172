//! What the archive knows of a recording.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::archive::epoch::{ClassName, Epoch};
use crate::base::time::Stamp;
use crate::seal::receipt::{Receipt, ReceiptState};

/// A recording's id: the UUIDv7 that its recorder gave it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordingId(Uuid);

impl RecordingId {
    /// The id from its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// When it was made, to the millisecond: what its first 48 bits say.
    pub fn made(&self) -> Stamp {
        let millis = self.0.as_u128() >> 80;
        Stamp::from_unix_nanos(u64::try_from(millis * 1_000_000).unwrap_or(u64::MAX))
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for RecordingId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        // In the one form that names of files have.
        let id = Uuid::try_parse(text)?;
        if id.to_string() == text { Ok(Self(id)) } else { Uuid::try_parse("").map(Self) }
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How far a recording has come in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Taken in while the vault was locked: under its recorder's header still, and in one place. Waits for the
    /// vault to be unlocked.
    Staged,
    /// Under an envelope. Its copies are kept as the class asks.
    Archived,
    /// Its envelope is gone: nobody opens it any more. What stays is that it was, and the certificate.
    Destroyed,
}

impl Phase {
    /// The name that the catalog uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Archived => "archived",
            Self::Destroyed => "destroyed",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Staged, Self::Archived, Self::Destroyed].into_iter().find(|phase| phase.as_str() == name)
    }
}

/// A recording in the archive: what may be known of it without a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: RecordingId,
    /// Who recorded it: the key of the recorder's log.
    pub recorder: String,
    /// Its place in that log.
    pub receipt_index: u64,
    /// What the recorder signed of it.
    pub receipt: Receipt,
    /// Retention class; none before it was opened for the first time.
    pub class: Option<ClassName>,
    /// How far it has come.
    pub phase: Phase,
    /// When it was taken in.
    pub taken_in: Stamp,
    /// Its files, those of its versions after its own; none of a call that was not recorded.
    pub files: Vec<ArchivedFile>,
}

impl Record {
    /// The epoch whose key it is under, where its class is known.
    pub fn epoch(&self) -> Option<Epoch> {
        self.class.clone().map(|class| Epoch::of(class, self.receipt.start))
    }

    /// Object of its [`crate::archive::slip::Slip`].
    pub fn slip_object(&self) -> String {
        object(&self.id, self.receipt.start, "receipt", "json")
    }

    /// The files that its recorder sealed and receipted.
    pub fn originals(&self) -> impl Iterator<Item = &ArchivedFile> {
        self.files.iter().filter(|file| version_in(&file.name, &self.id).is_none())
    }

    /// Files of its versions (see [`crate::archive::version`]), by number.
    pub fn versions(&self) -> BTreeMap<u32, Vec<&ArchivedFile>> {
        let mut versions: BTreeMap<u32, Vec<&ArchivedFile>> = BTreeMap::new();
        for file in &self.files {
            if let Some(number) = version_in(&file.name, &self.id) {
                versions.entry(number).or_default().push(file);
            }
        }
        versions
    }

    /// Object of the slip of version `number`.
    pub fn version_slip_object(&self, number: u32) -> String {
        object(&self.id, self.receipt.start, &format!("{}.v{number}", self.id), "version.json")
    }

    /// Whether there is anything to hear: of other calls only the receipt is kept.
    pub fn is_recorded(&self) -> bool {
        matches!(self.receipt.state, ReceiptState::Complete | ReceiptState::Interrupted)
            && !self.files.is_empty()
    }
}

/// One sealed file of a recording, in two objects: `cat` of both is a plain age file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// As the recorder named it: `<id>.opus.age`.
    pub name: String,
    /// SHA-256 of the header as it is now.
    pub header_sha256: Digest,
    /// Bytes of the header as it is now.
    pub header_bytes: u64,
    /// SHA-256 of the payload, which never changes.
    pub body_sha256: Digest,
    /// Bytes of the payload.
    pub body_bytes: u64,
}

impl ArchivedFile {
    /// It has this header now.
    pub fn set_header(&mut self, header: &[u8]) {
        (self.header_sha256, self.header_bytes) = (Digest::of(header), header.len() as u64);
    }

    /// Object of the header: replaceable, destroyable.
    pub fn header_object(&self, id: &RecordingId, start: Stamp) -> String {
        object(id, start, &self.name, "hdr")
    }

    /// Object of the payload: unchanged for as long as it is.
    pub fn body_object(&self, id: &RecordingId, start: Stamp) -> String {
        object(id, start, &self.name, "body")
    }
}

/// `2026/11/23/<id>.opus.body`. The day is that of the receipt, which is no secret; names hold nothing else.
fn object(id: &RecordingId, start: Stamp, name: &str, part: &str) -> String {
    let at = start.to_string();
    let (year, month, day) = (&at[..4], &at[5..7], &at[8..10]);
    // `<id>.opus.age` to `opus`; parts of a call have longer names.
    let kind = name.strip_suffix(".age").unwrap_or(name);
    let kind = kind.strip_prefix(&id.to_string()).unwrap_or(kind).trim_start_matches('.');
    format!("{year}/{month}/{day}/{id}.{kind}.{part}")
}

/// The number of the version that a file is of, by its name: `<id>.v1.age`, `<id>.v1.opus.age`. No recorder may name
/// a file so.
pub fn version_in(name: &str, id: &RecordingId) -> Option<u32> {
    let rest = name.strip_prefix(&id.to_string())?.strip_prefix(".v")?;
    let digits = rest.split('.').next()?;
    let number: u32 = digits.parse().ok()?;
    // In its one form, and something after it.
    (number > 0 && digits == number.to_string() && rest.len() > digits.len() + 1).then_some(number)
}

/// A SHA-256. In JSON, hexadecimal.
#[derive(Clone, Copy, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let fault = "a SHA-256 has 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fault);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| fault)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_by_day_and_id_alone() {
        let id: RecordingId = "0193c4a5-0000-7000-8000-000000000001".parse().unwrap();
        let start = Stamp::from_unix_nanos(1_795_468_121_220_582_001);
        let digest = Digest::of(b"");
        let file = ArchivedFile {
            name: format!("{id}.opus.age"),
            header_sha256: digest,
            header_bytes: 1,
            body_sha256: digest,
            body_bytes: 1,
        };
        assert_eq!(file.header_object(&id, start), format!("2026/11/23/{id}.opus.hdr"));
        assert_eq!(file.body_object(&id, start), format!("2026/11/23/{id}.opus.body"));
    }

    #[test]
    fn files_of_versions_are_told_by_their_names() {
        let id: RecordingId = "0193c4a5-0000-7000-8000-000000000001".parse().unwrap();
        let number = |rest: &str| version_in(&format!("{id}.{rest}"), &id);
        assert_eq!(number("v1.age"), Some(1));
        assert_eq!(number("v20.opus.age"), Some(20));
        for other in ["opus.age", "json.age", "v.age", "v0.age", "v01.age", "v+1.age", "v1", "v1.", "vip.age"]
        {
            assert_eq!(number(other), None, "{other}");
        }
        assert_eq!(version_in("0193c4a5-0000-7000-8000-000000000002.v1.age", &id), None);
    }

    #[test]
    fn an_id_has_one_form() {
        assert!("0193C4A5-0000-7000-8000-000000000001".parse::<RecordingId>().is_err());
        assert!("0193c4a5000070008000000000000001".parse::<RecordingId>().is_err());
        assert!("../0193c4a5-0000-7000-8000-000000000001".parse::<RecordingId>().is_err());
    }

    #[test]
    fn a_digest_comes_back() {
        let digest = Digest::of(b"sejf");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert!(Digest::try_from("ab".to_owned()).is_err());
    }
}
