//! The journal, opened: what it has of each recording.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::recording::journal::{Entry, Id, entries};
use crate::recording::manifest::{EndedBy, Manifest};
use crate::recording::recorder::Content;
use crate::seal::batch::BatchOpener;
use crate::seal::identity::Identities;
use crate::seal::segment::{FrameKind, Frames};
use crate::shell::salvage::{Fault, Report, SalvageError};

/// Bytes of a file as a batch has them.
pub(super) struct Piece {
    pub(super) offset: u64,
    range: Range<usize>,
    batch: Arc<Zeroizing<Vec<u8>>>,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.batch[self.range.clone()]
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + self.range.len() as u64
    }
}

/// What the journal has of one file.
#[derive(Default)]
pub(super) struct FilePieces {
    /// By offset; they may overlap.
    pub(super) pieces: Vec<Piece>,
    /// Plain bytes of the file, where it was finished.
    pub(super) length: Option<u64>,
}

/// What the journal has of all recordings.
#[derive(Default)]
pub(super) struct Index {
    files: BTreeMap<(Id, &'static str), (Content, FilePieces)>,
    facts: BTreeMap<Id, Manifest>,
}

impl Index {
    /// Reads journals and keeps all that opens.
    pub(super) fn read(
        journals: &[PathBuf],
        identities: &Identities,
        report: &mut Report,
    ) -> Result<Self, SalvageError> {
        let mut index = Self::default();
        for path in journals {
            index.journal(path, identities, report)?;
        }
        for (_, file) in index.files.values_mut() {
            file.pieces.sort_by_key(|piece| (piece.offset, std::cmp::Reverse(piece.end())));
        }
        Ok(index)
    }

    fn journal(
        &mut self,
        path: &Path,
        identities: &Identities,
        report: &mut Report,
    ) -> Result<(), SalvageError> {
        let io = |source| SalvageError::io("reading journal", path, source);
        let file = File::open(path).map_err(io)?;
        let mut frames = Frames::new(BufReader::with_capacity(1 << 20, file));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut opener = None;
        while let Some((head, payload)) = frames.next_frame().map_err(io)? {
            let mut fault = |reason: String| {
                report.faults.push(Fault::Batch { name: name.clone(), batch: head.sequence, reason });
            };
            match head.kind {
                FrameKind::Header => match BatchOpener::open(payload, identities) {
                    Ok(opened) => opener = Some(opened),
                    Err(error) if error.is_no_match() => {
                        opener = None;
                        report.closed += 1;
                    }
                    Err(error) => {
                        opener = None;
                        fault(error.to_string());
                    }
                },
                FrameKind::Batch => {
                    let Some(opener) = &opener else { continue };
                    match opener.batch(payload) {
                        Ok(batch) => self.batch(batch, &mut fault),
                        Err(error) => fault(error.to_string()),
                    }
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: Zeroizing<Vec<u8>>, fault: &mut dyn FnMut(String)) {
        let batch = Arc::new(batch);
        let all = match entries(&batch) {
            Ok(entries) => entries,
            Err(error) => return fault(error.to_string()),
        };
        let start = batch.as_ptr().addr();
        for entry in all {
            match entry {
                Ok(Entry::Bytes { id, content, offset, bytes }) => {
                    let from = bytes.as_ptr().addr() - start;
                    let range = from..from + bytes.len();
                    self.file(id, content).pieces.push(Piece { offset, range, batch: batch.clone() });
                }
                Ok(Entry::Facts { id, json }) => match serde_json::from_slice::<Manifest>(json) {
                    // The latest knows most; of two that end together, the one that says how it ended.
                    Ok(facts) => {
                        let older = |known: &Manifest| {
                            let done = |facts: &Manifest| facts.call.ended_by.is_some_and(is_end);
                            (known.end, done(known)) <= (facts.end, done(&facts))
                        };
                        if self.facts.get(&id).is_none_or(older) {
                            self.facts.insert(id, facts);
                        }
                    }
                    Err(error) => fault(error.to_string()),
                },
                Ok(Entry::End { id, content, length }) => self.file(id, content).length = Some(length),
                Err(error) => fault(error.to_string()),
            }
        }
    }

    fn file(&mut self, id: Id, content: Content) -> &mut FilePieces {
        &mut self.files.entry((id, content.extension())).or_insert((content, FilePieces::default())).1
    }

    /// All recordings that it knows.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.files.keys().map(|(id, _)| *id).chain(self.facts.keys().copied())
    }

    /// What is known of a recording.
    pub(super) fn facts(&self, id: &Id) -> Option<&Manifest> {
        self.facts.get(id)
    }

    /// What it has of a recording's files.
    pub(super) fn contents(&self, id: &Id) -> impl Iterator<Item = (Content, &FilePieces)> {
        let all = self.files.range((*id, "")..).take_while(move |((of, _), _)| of == id);
        all.map(|(_, (content, pieces))| (*content, pieces))
    }
}

fn is_end(ended: EndedBy) -> bool {
    ended != EndedBy::CaptureEnd
}
