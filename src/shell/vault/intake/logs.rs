//! Recorders' logs: what they say is known further, once it is proved.

use std::path::{Path, PathBuf};

use crate::archive::entry::{Outcome, Resource};
use crate::archive::intake::{Continuation, Known, edge};
use crate::seal::event::Entry;
use crate::seal::log::CHECKPOINT_PATH;
use crate::seal::log_survey::bundle_path;
use crate::seal::log_verify::{TileNodes, bundle_entries};
use crate::seal::note::VerifyKey;
use crate::seal::tree::{Hash, consistency_proof};
use crate::shell::clock;
use crate::shell::receipts::{DIR_NAME, read_file, read_key};
use crate::shell::vault::catalog::awaited::NewEntries;
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::intake::{Intake, IntakeError, Report, Step};

/// A piece of a recorder's log, with what proves that it is one.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct LogPiece {
    /// Entries before it.
    pub from: u64,
    /// Roots of the perfect subtrees of those, in hexadecimal, the largest first.
    pub edge: Vec<String>,
    /// The entries.
    pub entries: Vec<String>,
    /// What the recorder has signed: these, or more.
    pub checkpoint: String,
    /// Where it is more: the proof that it begins with these, in hexadecimal.
    pub proof: Vec<String>,
}

/// The folder that a recorder writes to.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// Its receipts.
    dir: PathBuf,
    recorder: VerifyKey,
    note: String,
    size: u64,
}

impl Spool {
    /// Looks at the receipts in a folder.
    pub fn open(dir: &Path) -> Result<Self, IntakeError> {
        let none = || IntakeError::NoReceipts { dir: dir.into() };
        let receipts = dir.join(DIR_NAME);
        let key = read_key(&receipts).ok_or_else(none)?;
        let recorder: VerifyKey = key.trim().parse().map_err(|source| IntakeError::Note {
            recorder: key.chars().filter(|character| !character.is_control()).take(80).collect(),
            source,
        })?;
        let note = read_file(&receipts, CHECKPOINT_PATH).ok_or_else(none)?;
        let note = String::from_utf8_lossy(&note).into_owned();
        let name = recorder.to_string();
        let opened = recorder.open(&note).map_err(|source| IntakeError::Note { recorder: name, source })?;
        Ok(Self { folder: dir.into(), dir: receipts, recorder, note, size: opened.size })
    }

    /// Whose it is.
    pub fn recorder(&self) -> &VerifyKey {
        &self.recorder
    }

    /// Entries of its log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The entries from `from` on, at most [`PIECE_MAX`].
    pub fn piece(&self, from: u64) -> Result<LogPiece, IntakeError> {
        let tile = |path: &str| IntakeError::Tile { recorder: self.recorder.to_string(), path: path.into() };
        let read = |path: &str| read_file(&self.dir, path);
        let nodes = TileNodes { read: &read, size: self.size };
        let to = self.size.min(from.saturating_add(PIECE_MAX));
        let edge = edge(&nodes, from.min(self.size)).ok_or_else(|| tile("tile"))?;
        let proof = match to {
            0 => Vec::new(),
            to if to == self.size => Vec::new(),
            to => consistency_proof(&nodes, to, self.size).ok_or_else(|| tile("tile"))?,
        };
        let mut entries = Vec::new();
        let mut at = from;
        while at < to {
            let path = bundle_path(at, self.size);
            let (first, bundle) = read(&path)
                .and_then(|bytes| bundle_entries(&bytes, at, self.size))
                .ok_or_else(|| tile(&path))?;
            let skip = usize::try_from(at - first).unwrap_or(usize::MAX);
            for entry in bundle.into_iter().skip(skip).take(usize::try_from(to - at).unwrap_or(usize::MAX)) {
                entries.push(String::from_utf8(entry).map_err(|_| tile(&path))?);
                at += 1;
            }
        }
        let checkpoint = self.note.clone();
        Ok(LogPiece { from, edge: hashes(&edge), entries, checkpoint, proof: hashes(&proof) })
    }
}

impl Intake {
    /// Knows a recorder's log further, as far as it goes.
    pub async fn note_spool(&self, spool: &Spool) -> Result<Report, IntakeError> {
        let (mut report, mut newer) = (Report::default(), None);
        loop {
            let known = self.known(spool.recorder()).await?;
            if known.size > spool.size() && newer.is_none() {
                // It may have grown, and another process may have been quicker, since it was opened.
                let again = Spool::open(&spool.folder)?;
                newer = (again.recorder == spool.recorder).then_some(again);
            }
            let spool = newer.as_ref().unwrap_or(spool);
            let piece = spool.piece(known.size)?;
            let count = piece.entries.len() as u64;
            let noted = self.note_piece(spool.recorder(), &piece).await;
            if let Err(error) = &noted {
                self.tell_refusal(error)?;
            }
            report.entries += noted?;
            if count == 0 || known.size + count >= spool.size() {
                return Ok(report);
            }
        }
    }

    /// How far a recorder's log is known.
    pub async fn known(&self, recorder: &VerifyKey) -> Result<Known, IntakeError> {
        let position = self.catalog.recorder_position(&recorder.to_string()).await?;
        Ok(position.map_or_else(Known::default, |at| Known { size: at.size, root: at.root }))
    }

    /// Has in the vault's log that a recorder's log was refused. The recorder goes on trying: it is said once an hour.
    pub(super) fn tell_refusal(&self, error: &IntakeError) -> Result<(), IntakeError> {
        let IntakeError::Refused { recorder, refusal } = error else { return Ok(()) };
        let kind = format!("{recorder} {:?}", std::mem::discriminant(refusal));
        if !self.told.is_new(kind, clock::monotonic()) {
            return Ok(());
        }
        tracing::error!(recorder, "{refusal}");
        self.log(Resource::Recorder(recorder.clone()), Outcome::Failed(refusal.to_string()))
    }

    /// Knows a recorder's log further by a piece, once it is proved to continue what is known. A log that does not is
    /// refused: see `tell_refusal`.
    pub async fn note_piece(&self, recorder: &VerifyKey, piece: &LogPiece) -> Result<u64, IntakeError> {
        let name = recorder.to_string();
        let known = self.known(recorder).await?;
        let note = |source| IntakeError::Note { recorder: name.clone(), source };
        let checkpoint = recorder.open(&piece.checkpoint).map_err(note)?;
        if piece.from != known.size {
            // Somebody else has been quicker, or it is asked anew.
            return Ok(0);
        }
        let checked = parse_hashes(&piece.edge).zip(parse_hashes(&piece.proof)).map(|(edge, proof)| {
            let mut continuation = Continuation::begin(&known, &edge, &checkpoint)?;
            piece.entries.iter().for_each(|entry| continuation.push(Hash::leaf(entry.as_bytes())));
            continuation.finish(&checkpoint, &proof)
        });
        let now = match checked {
            Some(Ok(now)) => now,
            Some(Err(refusal)) => return Err(IntakeError::Refused { recorder: name, refusal }),
            None => return Err(IntakeError::Tile { recorder: name, path: "tile".into() }),
        };
        if piece.entries.is_empty() {
            return Ok(0);
        }
        let mut entries = NewEntries::default();
        for (index, entry) in (known.size..).zip(&piece.entries) {
            match Entry::from_entry(entry.as_bytes()) {
                Ok(Entry::Receipt(receipt)) => entries.receipts.push((index, receipt)),
                // What a later version writes is kept for one.
                Ok(Entry::Event(_)) | Err(_) => entries.others.push((index, entry.clone().into_bytes())),
            }
        }
        let position = Position { size: now.size, root: now.root, checkpoint: piece.checkpoint.clone() };
        if !self.catalog.note_log(&name, &known, &position, &entries).await? {
            return Ok(0);
        }
        self.passed(Step::LogNoted)?;
        Ok(piece.entries.len() as u64)
    }
}

fn hashes(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| format!("{hash:?}")).collect()
}

fn parse_hashes(texts: &[String]) -> Option<Vec<Hash>> {
    let digest = |text: &String| crate::archive::record::Digest::try_from(text.clone()).ok();
    texts.iter().map(|text| digest(text).map(|digest| Hash(digest.0))).collect()
}

/// Entries of one piece at most.
pub const PIECE_MAX: u64 = 4_096;
