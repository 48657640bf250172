//! Versions of a recording: what was said of it later. The recording itself, version 0, is never changed.
//!
//! ```text
//! receipt ◄─sha256─ version 1 ◄─sha256─ version 2 ◄─ …      each a sealed file of the recording
//! manifest ─► details ─change 1─► details ─change 2─► what holds now
//! ```
//!
//! A version's document is sealed under the recording's envelope, so that it is erased with it. Beside it lies an open
//! [`VersionSlip`], which tells that there is one, and nothing of what it says. Every step stays to be seen with what
//! was before it: see [`History`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::archive::access::Reason;
use crate::archive::details::Details;
use crate::archive::record::{ArchivedFile, Digest, Record, RecordingId, version_in};
use crate::archive::search::normalise_name;
use crate::archive::slip::{Body, SchemaOnly};
use crate::base::text::steers;
use crate::base::time::{Span, Stamp};

/// The document of one version. One text: fields in this order, no spaces, then blanks up to a length that says little.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of which recording.
    pub recording: RecordingId,
    /// 1, 2, …
    pub number: u32,
    /// SHA-256 of the document before; of the first, of what the recorder signed.
    pub before: Digest,
    /// Random: so that the document's SHA-256, which is in the log, tells nobody whether they have guessed the text.
    pub salt: Digest,
    /// When, by the vault's clock.
    pub at: Stamp,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: Reason,
    /// What.
    pub change: Change,
}

/// What a version says.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A note.
    Note {
        /// At most [`TEXT_BYTES_MAX`].
        text: String,
    },
    /// What was put on it, and taken off.
    Labels {
        /// Put on.
        add: Vec<String>,
        /// Taken off.
        remove: Vec<String>,
    },
    /// Who of the call centre's people spoke, and who did not.
    Agents {
        /// Who did.
        add: Vec<String>,
        /// Who did not.
        remove: Vec<String>,
    },
    /// Something that the recorder did not know, or got wrong.
    Correction {
        /// What.
        field: Field,
        /// What it was until then.
        was: String,
        /// What it is.
        is: String,
    },
    /// A copy of its sound with spans silenced: a further file of this version.
    Redacted {
        /// The file that it is a copy of, as its recorder named it.
        of: String,
        /// What nobody hears in the copy: in order, apart from each other.
        spans: Vec<Span>,
        /// The copy.
        file: Body,
    },
}

/// What can be corrected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
    /// URI of who called.
    From,
    /// URI of who was called.
    To,
    /// Trunk the call came over.
    Trunk,
}

/// What somebody wants to say.
#[derive(Clone)]
pub struct Said {
    /// When.
    pub at: Stamp,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: Reason,
    /// What.
    pub change: Change,
}

/// Why something cannot be said. Says nothing of what it is: it goes into the log.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// A text is none.
    #[error("{what} {fault}")]
    Text {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// All is so already.
    #[error("nothing would change by it: see `sejf history`")]
    Nothing,
    /// Somebody has corrected it meanwhile, or it was something else from the beginning.
    #[error("the {} is not what it was said to be until now: see `sejf history`, and say it again", .0.as_str())]
    Was(Field),
    /// Spans are none.
    #[error("spans that are to be silenced: {0}")]
    Spans(String),
    /// More than there is room for.
    #[error("a recording has at most {VERSIONS_MAX} versions, and this one has them")]
    Full,
    /// More than there is room for.
    #[error("a recording has at most {NAMES_MAX} {0}")]
    TooMany(&'static str),
}

/// Why documents are no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Not the JSON of one.
    #[error("version {number} is no document of one: {source}")]
    Unreadable {
        /// Where it stands.
        number: u32,
        /// Why.
        source: serde_json::Error,
    },
    /// A later version of this program wrote it.
    #[error("version {number} has schema {found}, this program knows {SCHEMA}: use a later version")]
    Schema {
        /// Where it stands.
        number: u32,
        /// The schema it says.
        found: u32,
    },
    /// Not as we write it.
    #[error("version {number} is not in its one form: it was changed")]
    Changed {
        /// Where it stands.
        number: u32,
    },
    /// Another recording's.
    #[error("version {number} is of another recording")]
    Other {
        /// Where it stands.
        number: u32,
    },
    /// One is missing, or is there twice.
    #[error("version {found} stands where version {number} should")]
    Gap {
        /// Where it stands.
        number: u32,
        /// What it says.
        found: u32,
    },
    /// It goes on from something else.
    #[error("version {number} does not follow on what is before it: one of them was changed or exchanged")]
    Forked {
        /// Where it stands.
        number: u32,
    },
}

/// All that was said of a recording, in order, and what holds now.
#[derive(Clone, Debug)]
pub struct History {
    recording: RecordingId,
    /// SHA-256 of the last document, or of the receipt.
    head: Digest,
    steps: Vec<Step>,
    now: Details,
}

/// One version.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was said.
    pub version: Version,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// What held before.
    pub before: Details,
}

impl Version {
    /// What is sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a version is texts and lists of texts");
        bytes.resize(bytes.len().next_multiple_of(PADDED_TO), b' ');
        bytes
    }

    /// Reads the document that stands as version `number`.
    pub fn from_bytes(bytes: &[u8], number: u32) -> Result<Self, HistoryError> {
        let unreadable = |source| HistoryError::Unreadable { number, source };
        let SchemaOnly { schema } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if schema != SCHEMA {
            return Err(HistoryError::Schema { number, found: schema });
        }
        let version: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version.to_bytes() == bytes { Ok(version) } else { Err(HistoryError::Changed { number }) }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({} of {}, ..)", self.number, self.recording)
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({}, ..)", self.kind())
    }
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Caller, Self::Callee, Self::From, Self::To, Self::Trunk];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::From => "from",
            Self::To => "to",
            Self::Trunk => "trunk",
        }
    }

    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }

    /// What details say of it.
    pub fn of(self, details: &Details) -> &str {
        match self {
            Self::Caller => &details.caller,
            Self::Callee => &details.callee,
            Self::From => &details.from,
            Self::To => &details.to,
            Self::Trunk => &details.trunk,
        }
    }

    fn of_mut(self, details: &mut Details) -> &mut String {
        match self {
            Self::Caller => &mut details.caller,
            Self::Callee => &mut details.callee,
            Self::From => &mut details.from,
            Self::To => &mut details.to,
            Self::Trunk => &mut details.trunk,
        }
    }
}

impl Change {
    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Note { .. } => "note",
            Self::Labels { .. } => "labels",
            Self::Agents { .. } => "agents",
            Self::Correction { .. } => "correction",
            Self::Redacted { .. } => "redacted",
        }
    }

    /// Whether both say the same. A copy that is made again is sealed otherwise.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Redacted { of, spans, .. }, Self::Redacted { of: other, spans: others, .. }) => {
                (of, spans) == (other, others)
            }
            _ => self == other,
        }
    }

    /// What holds after it.
    fn apply(&self, details: &mut Details) {
        match self {
            Self::Note { .. } | Self::Redacted { .. } => {}
            Self::Labels { add, remove } => apply_names(&mut details.tags, add, remove),
            Self::Agents { add, remove } => apply_names(&mut details.agents, add, remove),
            Self::Correction { field, is, .. } => field.of_mut(details).clone_from(is),
        }
    }

    /// Whether it can be said of what holds now. An old document is read whatever this says: what was said was said.
    fn check(&self, now: &Details) -> Result<(), VersionError> {
        match self {
            Self::Note { text } => check_text("the note", text, TEXT_BYTES_MAX, true),
            Self::Labels { add, remove } => check_names("labels", "a label", &now.tags, add, remove),
            Self::Agents { add, remove } => check_names("agents", "an agent", &now.agents, add, remove),
            Self::Correction { field, was, is } => {
                if was != field.of(now) {
                    return Err(VersionError::Was(*field));
                }
                if was == is {
                    return Err(VersionError::Nothing);
                }
                // That nothing is known of it can be said as well.
                if is.is_empty() { Ok(()) } else { check_text("the correction", is, VALUE_BYTES_MAX, false) }
            }
            Self::Redacted { spans, .. } => check_spans(spans),
        }
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|one| normalise_name(one) == normalise_name(name))
}

fn apply_names(names: &mut Vec<String>, add: &[String], remove: &[String]) {
    names.retain(|name| !has(remove, name));
    for name in add {
        if !has(names, name) {
            names.push(name.clone());
        }
    }
}

fn check_names(
    what: &'static str,
    one: &'static str,
    now: &[String],
    add: &[String],
    remove: &[String],
) -> Result<(), VersionError> {
    for name in add.iter().chain(remove) {
        check_text(one, name, NAME_BYTES_MAX, false)?;
        if normalise_name(name).is_empty() {
            return Err(VersionError::Text {
                what: one,
                fault: "has no letter or digit to find it by".into(),
            });
        }
    }
    let mut after = now.to_vec();
    apply_names(&mut after, add, remove);
    if after.len() > NAMES_MAX || add.len() + remove.len() > NAMES_MAX {
        return Err(VersionError::TooMany(what));
    }
    if after == now { Err(VersionError::Nothing) } else { Ok(()) }
}

fn check_spans(spans: &[Span]) -> Result<(), VersionError> {
    if spans.len() > SPANS_MAX {
        return Err(VersionError::Spans(format!("they are {}, and at most {SPANS_MAX}", spans.len())));
    }
    if spans.is_empty() || spans.iter().any(|span| span.from_ms >= span.to_ms) {
        return Err(VersionError::Spans("each must begin before it ends".into()));
    }
    let is_apart = |two: &[Span]| two[0].to_ms < two[1].from_ms;
    if spans.windows(2).all(is_apart) {
        Ok(())
    } else {
        Err(VersionError::Spans("give them in order, and apart from each other".into()))
    }
}

fn check_text(what: &'static str, text: &str, bytes_max: usize, lines: bool) -> Result<(), VersionError> {
    let fault = |fault: String| Err(VersionError::Text { what, fault });
    if text.trim().is_empty() {
        return fault("has no text".into());
    }
    if text.len() > bytes_max {
        return fault(format!("has {} bytes, and it is at most {bytes_max}", text.len()));
    }
    match text.chars().find(|&c| steers(c) && !(lines && matches!(c, '\n' | '\t'))) {
        Some(c) => fault(format!("has a character that steers what is read: {}", c.escape_unicode())),
        None => Ok(()),
    }
}

impl History {
    /// Of a recording of which nothing was said yet: what its recorder signed, and what its manifest says of who spoke.
    pub fn begin(recording: RecordingId, receipt: &[u8], details: Details) -> Self {
        Self { recording, head: Digest::of(receipt), steps: Vec::new(), now: details }
    }

    /// With all documents, in order.
    #[cfg(test)]
    fn of<'a>(
        recording: RecordingId,
        receipt: &[u8],
        details: Details,
        documents: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, HistoryError> {
        let mut history = Self::begin(recording, receipt, details);
        documents.into_iter().try_for_each(|document| history.push(document))?;
        Ok(history)
    }

    /// Goes on with the next document. Nothing is changed where it is refused.
    pub fn push(&mut self, document: &[u8]) -> Result<(), HistoryError> {
        let number = self.number() + 1;
        let version = Version::from_bytes(document, number)?;
        if version.recording != self.recording {
            return Err(HistoryError::Other { number });
        }
        if version.number != number {
            return Err(HistoryError::Gap { number, found: version.number });
        }
        if version.before != self.head {
            return Err(HistoryError::Forked { number });
        }
        let (digest, before) = (Digest::of(document), self.now.clone());
        version.change.apply(&mut self.now);
        self.head = digest;
        self.steps.push(Step { version, digest, before });
        Ok(())
    }

    /// Whether this can be said next. Of a redacted copy it is not asked which file it is.
    pub fn may(&self, change: &Change) -> Result<(), VersionError> {
        if self.number() >= VERSIONS_MAX { Err(VersionError::Full) } else { change.check(&self.now) }
    }

    /// The version that says this, next. It is not in the history before it is pushed.
    pub fn next(&self, said: Said, salt: [u8; 32]) -> Result<Version, VersionError> {
        self.may(&said.change)?;
        let Said { at, author, reason, change } = said;
        let (schema, recording, number) = (SCHEMA, self.recording, self.number() + 1);
        let (before, salt) = (self.head, Digest(salt));
        Ok(Version { schema, recording, number, before, salt, at, author, reason, change })
    }

    /// Whether the last version says this already: then somebody was interrupted, and says it again.
    pub fn says(&self, said: &Said) -> bool {
        self.steps.last().is_some_and(|Step { version, .. }| {
            (&version.author, &version.reason) == (&said.author, &said.reason)
                && version.change.is_same(&said.change)
        })
    }

    /// Number of the last version; 0 where nothing was said.
    pub fn number(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// All versions.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What holds now.
    pub fn now(&self) -> &Details {
        &self.now
    }
}

/// What lies in the open beside a version: that there is one, and which sealed bytes it is. Nothing of who spoke, of what
/// was said, or of who said it. One text: fields in this order, no spaces.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionSlip {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of which recording.
    pub recording: RecordingId,
    /// Which version.
    pub number: u32,
    /// Payloads of its files: the document first.
    pub bodies: Vec<Body>,
}

/// Why an object is no slip of a version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VersionSlipError {
    /// Not the JSON of one.
    #[error("it is no slip of a version: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A later version of this program wrote it.
    #[error("it has schema {found}, this program knows {SCHEMA}: use a later version")]
    Schema {
        /// The schema it says.
        found: u32,
    },
    /// It is of something else.
    #[error("it is the slip of another version, or of another recording")]
    Other,
    /// Not as we write it.
    #[error("it is not in its one form: it was changed")]
    Changed,
}

impl VersionSlip {
    /// The slips of all versions of a recording, in order.
    pub fn all_of(record: &Record) -> Vec<Self> {
        let slip = |(number, files): (u32, Vec<_>)| Self::of(&record.id, number, files);
        record.versions().into_iter().map(slip).collect()
    }

    /// The slip of a version that has these files, of which the document comes first.
    pub fn of<'a>(id: &RecordingId, number: u32, files: impl IntoIterator<Item = &'a ArchivedFile>) -> Self {
        let bodies = files.into_iter().map(Body::of).collect();
        Self { schema: SCHEMA, recording: *id, number, bodies }
    }

    /// What the object holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a slip has no maps")
    }

    /// Reads the slip of version `number` of a recording. Its document is there, and no file of it is of anything else.
    pub fn from_bytes(bytes: &[u8], id: &RecordingId, number: u32) -> Result<Self, VersionSlipError> {
        let SchemaOnly { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(VersionSlipError::Schema { found: schema });
        }
        let slip: Self = serde_json::from_slice(bytes)?;
        let is_its = |body: &Body| version_in(&body.name, id) == Some(number);
        let has_document = slip.bodies.first().is_some_and(|body| body.name == document_name(id, number));
        if slip.recording != *id || slip.number != number || !slip.bodies.iter().all(is_its) || !has_document
        {
            return Err(VersionSlipError::Other);
        }
        if slip.to_bytes() == bytes { Ok(slip) } else { Err(VersionSlipError::Changed) }
    }

    /// Which version of which recording an object's name says it is the slip of.
    pub fn named(object: &str) -> Option<(RecordingId, u32)> {
        let name = object.rsplit('/').next()?.strip_suffix(SLIP_SUFFIX)?;
        let (id, _) = name.split_once('.')?;
        let id = id.parse().ok()?;
        Some((id, version_in(&format!("{name}.age"), &id)?)).filter(|(id, n)| name == format!("{id}.v{n}"))
    }

    /// Of names of objects, those of slips of versions, by recording and number.
    pub fn among<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<RecordingId, Vec<u32>> {
        let mut found: BTreeMap<RecordingId, Vec<u32>> = BTreeMap::new();
        for (id, number) in names.into_iter().filter_map(Self::named) {
            found.entry(id).or_default().push(number);
        }
        found.values_mut().for_each(|numbers| numbers.sort_unstable());
        found
    }
}

/// Name of the file that is a version's document.
pub fn document_name(id: &RecordingId, number: u32) -> String {
    format!("{id}.v{number}.age")
}

/// Name of a redacted copy of the file `of`: `<id>.v1.opus.age`.
pub fn copy_name(id: &RecordingId, number: u32, of: &str) -> String {
    let kind = if of.ends_with(".wav.age") { "wav" } else { "opus" };
    format!("{id}.v{number}.{kind}.age")
}

/// The schema that [`Version`] and [`VersionSlip`] are.
pub const SCHEMA: u32 = 1;
/// Versions of one recording: certificates of destruction name all files, and are entries of the log.
pub const VERSIONS_MAX: u32 = 250;
/// Bytes of a note.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
/// Bytes of a label, or of an agent's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of what something is corrected to.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Labels of a recording, and agents.
pub const NAMES_MAX: usize = 64;
/// Spans of one redacted copy.
pub const SPANS_MAX: usize = 500;
/// A document that is longer is none: all texts of the largest change, each byte escaped, with room.
pub const DOCUMENT_BYTES_MAX: u64 = 128 << 10;
/// How names of slips end.
pub const SLIP_SUFFIX: &str = ".version.json";
const PADDED_TO: usize = 256;

#[cfg(test)]
mod tests;
