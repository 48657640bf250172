//! What a recorder hands over to the journal: plain bytes of its files, and what it knows of its calls.
//!
//! A batch is what one thread's recordings have gained since the last hand-over. It is sealed as a whole
//! (`seal::batch`) and opened by a key holder who puts recordings together that a power cut has cut.
//!
//! ```text
//! batch  = version (1) entry*
//! entry  = kind (1) id (16) body                      numbers are little-endian
//! bytes  = content (1) offset (8) length (4) bytes    plain bytes of a file, at their offset in it
//! facts  = length (4) JSON                            a manifest as far as it is known
//! end    = content (1) length (8)                     the file is finished and has so many plain bytes
//! ```

use zeroize::Zeroizing;

use crate::recording::recorder::Content;

/// A recording's id: the bytes of its UUID.
pub type Id = [u8; 16];

/// Entries of one hand-over.
pub struct Batch {
    bytes: Zeroizing<Vec<u8>>,
    bytes_max: usize,
    /// The last entry, where it holds bytes that may be continued.
    last: Option<LastBytes>,
    /// Bytes that did not fit and are lost to the journal.
    skipped: u64,
}

#[derive(Clone, Copy)]
struct LastBytes {
    id: Id,
    content: Content,
    /// Offset in the file of the byte after it.
    end: u64,
    /// Where its length is written.
    length_at: usize,
}

impl Batch {
    /// An empty batch that will not grow beyond `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Zeroizing::new(vec![VERSION]), bytes_max, last: None, skipped: 0 }
    }

    /// Empties it and keeps its memory, zeroed.
    pub fn clear(&mut self) {
        self.bytes.fill(0);
        self.bytes.clear();
        self.bytes.push(VERSION);
        (self.last, self.skipped) = (None, 0);
    }

    /// Bytes that it may have.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that an entry may still have.
    pub fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes.len() + ENTRY_OVERHEAD)
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= 1
    }

    /// The batch as it is sealed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds bytes of a file. The caller minds [`Self::room`].
    pub fn bytes(&mut self, id: &Id, content: Content, offset: u64, bytes: &[u8]) {
        if let Some(last) = &mut self.last
            && last.id == *id
            && last.content == content
            && last.end == offset
        {
            last.end += bytes.len() as u64;
            self.bytes.extend_from_slice(bytes);
            let length = (self.bytes.len() - last.length_at - 4) as u32;
            self.bytes[last.length_at..last.length_at + 4].copy_from_slice(&length.to_le_bytes());
            return;
        }
        self.head(KIND_BYTES, id);
        self.bytes.push(code(content));
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        self.last = Some(LastBytes { id: *id, content, end: offset + bytes.len() as u64, length_at });
    }

    /// Adds what is known of a recording. Returns false where there is no room.
    pub fn facts(&mut self, id: &Id, json: &[u8]) -> bool {
        if json.len() > self.room() {
            return false;
        }
        self.head(KIND_FACTS, id);
        self.bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(json);
        true
    }

    /// Adds that a file is finished.
    pub fn end(&mut self, id: &Id, content: Content, length: u64) {
        if self.room() >= ENTRY_OVERHEAD {
            self.head(KIND_END, id);
            self.bytes.push(code(content));
            self.bytes.extend_from_slice(&length.to_le_bytes());
        }
    }

    /// Adds all entries of another batch, if they fit.
    pub fn append(&mut self, other: &Self) -> bool {
        let entries = &other.bytes[1..];
        let fits = self.bytes.len() + entries.len() <= self.bytes_max;
        if fits {
            self.last = None;
            self.bytes.extend_from_slice(entries);
        }
        fits
    }

    /// Counts bytes that the journal will never see.
    pub fn skip(&mut self, bytes: u64) {
        self.skipped += bytes;
    }

    /// Bytes counted by [`Self::skip`].
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn head(&mut self, kind: u8, id: &Id) {
        self.last = None;
        self.bytes.push(kind);
        self.bytes.extend_from_slice(id);
    }
}

/// Says how long it is, never what is in it.
impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry<'a> {
    /// Plain bytes of a file.
    Bytes {
        /// Recording.
        id: Id,
        /// Which of its files.
        content: Content,
        /// Where in it.
        offset: u64,
        /// What is there.
        bytes: &'a [u8],
    },
    /// What is known of a recording.
    Facts {
        /// Recording.
        id: Id,
        /// A manifest.
        json: &'a [u8],
    },
    /// A file is finished.
    End {
        /// Recording.
        id: Id,
        /// Which of its files.
        content: Content,
        /// Plain bytes of it.
        length: u64,
    },
}

/// Why a batch cannot be read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It ends inside an entry.
    #[error("the batch ends inside an entry, at byte {at}")]
    Cut {
        /// Where the entry begins.
        at: usize,
    },
    /// An entry of a kind that this program does not know.
    #[error("the batch has an entry of unknown kind {kind}, at byte {at}")]
    Kind {
        /// Its kind or its content.
        kind: u8,
        /// Where it begins.
        at: usize,
    },
    /// A later version of this program wrote it.
    #[error("the batch has version {found}, this program knows {VERSION}: use a later one")]
    Version {
        /// What it says.
        found: u8,
    },
}

/// Reads a batch. After an error there are no more entries.
pub fn entries(batch: &[u8]) -> Result<Entries<'_>, BatchError> {
    match batch.split_first() {
        None => Err(BatchError::Cut { at: 0 }),
        Some((&VERSION, rest)) => Ok(Entries { rest, at: 1 }),
        Some((&found, _)) => Err(BatchError::Version { found }),
    }
}

/// The entries of a batch.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.len();
        let entry = self.read();
        if entry.is_err() {
            self.rest = &[];
        }
        self.at += length - self.rest.len();
        Some(entry)
    }
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Result<Entry<'a>, BatchError> {
        let at = self.at;
        let cut = BatchError::Cut { at };
        let [kind] = self.array().ok_or(cut)?;
        let id = self.array().ok_or(cut)?;
        match kind {
            KIND_BYTES => {
                let content = self.content(at)?;
                let offset = u64::from_le_bytes(self.array().ok_or(cut)?);
                let bytes = self.counted().ok_or(cut)?;
                // So that whoever adds the two need not think of it.
                offset.checked_add(bytes.len() as u64).ok_or(cut)?;
                Ok(Entry::Bytes { id, content, offset, bytes })
            }
            KIND_FACTS => Ok(Entry::Facts { id, json: self.counted().ok_or(cut)? }),
            KIND_END => {
                let content = self.content(at)?;
                Ok(Entry::End { id, content, length: u64::from_le_bytes(self.array().ok_or(cut)?) })
            }
            kind => Err(BatchError::Kind { kind, at }),
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        let (bytes, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(bytes)
    }

    fn content(&mut self, at: usize) -> Result<Content, BatchError> {
        match self.array().ok_or(BatchError::Cut { at })? {
            [0] => Ok(Content::Opus),
            [1] => Ok(Content::Packets),
            [2] => Ok(Content::Wav),
            [kind] => Err(BatchError::Kind { kind, at }),
        }
    }
}

fn code(content: Content) -> u8 {
    match content {
        Content::Opus => 0,
        Content::Packets => 1,
        Content::Wav => 2,
    }
}

/// Version of the form above.
const VERSION: u8 = 1;
const KIND_BYTES: u8 = 1;
const KIND_FACTS: u8 = 2;
const KIND_END: u8 = 3;
/// Bytes of the longest entry besides what it holds.
const ENTRY_OVERHEAD: usize = 1 + 16 + 1 + 8 + 4;
/// Longest JSON of facts.
pub const FACTS_BYTES_MAX: usize = 64 * 1024;
/// Smallest batch that takes any entry: a whole chunk that waits, or facts, and what stands around them.
pub const BATCH_BYTES_MIN: usize = 160 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::random::{Randomness, Seeded};

    fn sample() -> Batch {
        let mut batch = Batch::new(1 << 20);
        batch.bytes(&[1; 16], Content::Wav, 100, b"abc");
        batch.bytes(&[1; 16], Content::Wav, 103, b"def");
        batch.bytes(&[1; 16], Content::Wav, 107, b"hole before");
        assert!(batch.facts(&[2; 16], b"{}"));
        batch.end(&[1; 16], Content::Packets, 7);
        batch
    }

    #[test]
    fn entries_come_back_and_neighbours_are_one() {
        let batch = sample();
        let all: Vec<_> = entries(batch.as_bytes()).unwrap().collect::<Result<_, _>>().unwrap();
        let bytes = |offset, bytes| Entry::Bytes { id: [1; 16], content: Content::Wav, offset, bytes };
        assert_eq!(
            all,
            [
                bytes(100, b"abcdef"),
                bytes(107, b"hole before"),
                Entry::Facts { id: [2; 16], json: b"{}" },
                Entry::End { id: [1; 16], content: Content::Packets, length: 7 },
            ]
        );
        let mut both = Batch::new(1 << 20);
        assert!(both.append(&batch) && both.append(&batch));
        assert_eq!(entries(both.as_bytes()).unwrap().count(), 8);
        assert!(!Batch::new(50).append(&batch));
    }

    #[test]
    fn what_is_cut_or_foreign_is_an_error_and_no_bytes_are_invented() {
        let batch = sample();
        let whole = batch.as_bytes();
        for cut in 0..whole.len() {
            let (mut read, mut failed) = (0, false);
            for entry in entries(&whole[..cut]).into_iter().flatten() {
                read += usize::from(entry.is_ok());
                failed |= entry.is_err();
            }
            assert!(read < 4 && (failed || cut <= 1 || read > 0), "{cut}");
        }
        assert_eq!(entries(&[9]).unwrap_err(), BatchError::Version { found: 9 });
        let mut random = Seeded::new(&[1; 32], "entries", 0);
        for _ in 0..5_000 {
            let mut bytes = whole.to_vec();
            let mut place = [0; 3];
            random.fill(&mut place);
            let at = usize::from(place[0]) % bytes.len();
            bytes[at] = place[1];
            bytes.truncate(bytes.len() - usize::from(place[2]) % 8);
            let total = bytes.len();
            let mut held = 0;
            for entry in entries(&bytes).into_iter().flatten().flatten() {
                held += match entry {
                    Entry::Bytes { bytes, .. } => bytes.len(),
                    Entry::Facts { json, .. } => json.len(),
                    Entry::End { .. } => 0,
                };
            }
            assert!(held <= total);
        }
    }

    #[test]
    fn a_batch_keeps_to_its_size() {
        let mut batch = Batch::new(BATCH_BYTES_MIN);
        let json = vec![b' '; FACTS_BYTES_MAX];
        assert!(batch.facts(&[0; 16], &json));
        let room = batch.room();
        batch.bytes(&[0; 16], Content::Opus, 0, &vec![0; room]);
        assert!(!batch.facts(&[0; 16], &json) && batch.as_bytes().len() <= BATCH_BYTES_MIN);
    }
}
