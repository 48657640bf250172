//! Media for a safe: written with all that checks and mends them, and nothing that opens them.
//!
//! A medium counts when its signature is on it, which is written last, and when the catalog has it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::archive::access::{Action, Actor, Grant, Reason, Request};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::envelope;
use crate::archive::media::{self, Layout, Medium, SecretScan};
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::sums::Statement;
use crate::seal::header::Header;
use crate::seal::log::CHECKPOINT_PATH;
use crate::seal::note::NoteError;
use crate::seal::random::Randomness;
use crate::shell::clock;
use crate::shell::disk::remedy;
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::receipts::{DIR_NAME, ReceiptsError};
use crate::shell::vault::catalog::media::Move;
use crate::shell::vault::catalog::recordings::Filter;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::home::{Vault, VaultError};
use crate::shell::vault::log::Denied;
use crate::shell::vault::parcel::{Parcel, ParcelError};
use crate::shell::vault::place::Place;
use crate::shell::vault::proofs::RecorderLogs;
use crate::shell::vault::released::{CopyFault, StoredFile};
use crate::shell::verify::medium::{KEY, LIST, MEDIUM, RECOVERY, Run, SIGNATURE, SLICES, copy_of};

/// What writes media and keeps the register. Takes no key: what is archived is under envelopes already.
pub struct MediaWriter<'a> {
    /// The vault, locked or not.
    pub vault: &'a Vault,
    /// Its catalog, opened on `runtime`.
    pub catalog: &'a Catalog,
    /// Where to read, the first place first.
    pub places: Vec<Arc<dyn Place>>,
    /// What waits for places and the catalog.
    pub runtime: &'a Runtime,
}

/// What is to be written.
pub struct Writing<'a> {
    /// Folder of the mounted medium; empty.
    pub dir: &'a Path,
    /// What is written on it.
    pub label: &'a str,
    /// Number of the seal it gets.
    pub seal: &'a str,
    /// Where it will lie.
    pub place: &'a str,
    /// These recordings, or all that are archived.
    pub ids: &'a [RecordingId],
    /// Of those, what the filter lets through.
    pub filter: Filter,
    /// The program to put on it, as one that was built static; the running one where it is not said.
    pub program: Option<&'a Path>,
    /// By whom.
    pub actor: &'a Actor,
    /// Why.
    pub reason: Reason,
}

/// Why there is no medium.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A copy.
    #[error(transparent)]
    Copy(#[from] CopyFault),
    /// Not granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The medium.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// Signing.
    #[error("signing the medium: {0}")]
    Sign(#[from] NoteError),
    /// The operating system refused.
    #[error("{doing} `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is there.
    #[error("`{}` is not empty: give an empty medium, with a file system on it", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Keys and media must lie apart.
    #[error(
        "`{}` and the keys in `{}` are one inside the other: media and keys are kept apart",
        path.display(), keys.display()
    )]
    WithKeys {
        /// The folder.
        path: PathBuf,
        /// The key place.
        keys: PathBuf,
    },
    /// A private key would be on it.
    #[error("`{file}` has a private key in it, or the form of one: no medium is written with it")]
    Secret {
        /// Path on the medium.
        file: String,
    },
    /// Nothing to write.
    #[error("no archived recording is asked for: there is nothing to write")]
    Nothing,
    /// It is not under an envelope of its own.
    #[error(
        "recording {0} is not archived under its envelope: it is not written, for it could not be erased"
    )]
    NotArchived(RecordingId),
    /// Parity cannot be made.
    #[error("making parity of the medium: a slice cannot be read back, or there are too many")]
    Parity,
    /// No such medium.
    #[error(
        "the register has no medium `{0}`: see `sejf media list`; where it is one of ours, `sejf media verify` with \
         `--register` puts it there"
    )]
    Unknown(String),
    /// The log is not what it should be.
    #[error("entry {0} of the vault's log is not understood: a later version wrote it")]
    Entry(u64),
}

impl MediaWriter<'_> {
    /// Writes a medium.
    pub fn write(&self, order: &Writing<'_>) -> Result<Medium, MediaError> {
        self.check_dir(order.dir)?;
        let records = self.records(order)?;
        let (mut random, mut number) = (OsRandom::new()?, [0; 6]);
        random.fill(&mut number);
        let id: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
        let grant = self.ask(&id, order.actor, &order.reason)?;
        let medium = Medium {
            schema: media::SCHEMA,
            id,
            label: order.label.into(),
            vault: self.vault.key.to_string(),
            written: clock::now(),
            recordings: records.iter().map(|record| record.id).collect(),
        };
        let mut parcel = Parcel::begin_in(order.dir);
        let written = self.fill(&medium, &records, order.program, &mut parcel).and_then(|list| {
            let moved = moved(WRITTEN, &grant, order.seal, order.place, medium.written);
            self.runtime.block_on(self.catalog.add_medium(&medium, &records, &moved))?;
            Ok(list)
        });
        match written {
            Ok(list) => {
                let (count, label) = (medium.recordings.len(), &medium.label);
                let done = serde_json::json!({
                    "recordings": count, "manifest": list, "label": label, "seal": order.seal, "place": order.place,
                });
                self.vault.log.outcome(&grant, Outcome::Done(done))?;
                Ok(medium)
            }
            Err(error) => {
                // What has no signature is no medium; what had a key in it must not stay.
                let left = parcel.clear().err().map_or(String::new(), |fault| format!("; {fault}"));
                self.vault.log.outcome(&grant, Outcome::Failed(format!("{error}{left}")))?;
                Err(error)
            }
        }
    }

    /// Says who has a medium, or what a check found. `what` is one of those of [`Move::what`].
    pub fn note(
        &self,
        id: &str,
        what: &str,
        (seal, place): (&str, &str),
        actor: &Actor,
        reason: &Reason,
    ) -> Result<(), MediaError> {
        if self.runtime.block_on(self.catalog.media(Some(id)))?.is_empty() {
            return Err(MediaError::Unknown(id.into()));
        }
        let grant = self.ask(id, actor, reason)?;
        self.runtime.block_on(note(self.vault, self.catalog, &grant, what, (seal, place)))
    }

    /// Has a medium in the register that is not there, as after the catalog was lost: what is on it, as it says itself
    /// under our signature, and what our log says became of it. Whether it was not there.
    pub fn learn(&self, medium: &Medium) -> Result<bool, MediaError> {
        let id = &medium.id;
        if !self.runtime.block_on(self.catalog.media(Some(id)))?.is_empty() {
            return Ok(false);
        }
        let mut moves = self.logged_moves(id)?.into_iter();
        // The log has it first: of one that it does not know, it is not for us to say that it is ours.
        let written = moves.next().filter(|moved| moved.what == WRITTEN);
        let written = written.ok_or_else(|| MediaError::Unknown(id.clone()))?;
        self.runtime.block_on(async {
            self.catalog.add_medium(medium, &[], &Move { at: medium.written, ..written }).await?;
            for moved in moves {
                self.catalog.move_medium(id, &moved).await?;
            }
            Ok(true)
        })
    }

    /// What the log says became of a medium, oldest first.
    fn logged_moves(&self, id: &str) -> Result<Vec<Move>, MediaError> {
        let (mut moves, mut granted) = (Vec::new(), 0);
        self.vault.log.each(0, |index, bytes| -> Result<(), MediaError> {
            let entry = Entry::from_bytes(bytes).map_err(|_| MediaError::Entry(index))?;
            if entry.action != Action::Media || entry.resource != Resource::Medium(id.into()) {
                return Ok(());
            }
            match &entry.outcome {
                Outcome::Granted => granted = index,
                Outcome::Done(done) => {
                    let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
                    // Of one that was written it says more.
                    let what = done["what"].as_str().unwrap_or(WRITTEN).to_owned();
                    moves.push(Move {
                        at: entry.at,
                        what,
                        who: entry.actor.clone(),
                        seal: text("seal"),
                        place: text("place"),
                        reason: in_words(entry.reason.as_ref()),
                        entry: granted,
                    });
                }
                Outcome::Refused(_) | Outcome::Failed(_) => {}
            }
            Ok(())
        })?;
        Ok(moves)
    }

    fn ask(&self, id: &str, actor: &Actor, reason: &Reason) -> Result<Grant, Denied> {
        let (action, resource, reason) = (Action::Media, Resource::Medium(id.into()), Some(reason.clone()));
        self.vault.log.ask(&Request { actor, action, resource, reason, now: clock::now() })
    }

    fn check_dir(&self, dir: &Path) -> Result<(), MediaError> {
        let io = |source| MediaError::Io { doing: "looking into", path: dir.into(), source };
        let mut names = fs::read_dir(dir).map_err(io)?.filter_map(Result::ok).map(|entry| entry.file_name());
        if names.any(|name| name != "lost+found") {
            return Err(MediaError::NotEmpty { path: dir.into() });
        }
        let real = dir.canonicalize().map_err(io)?;
        let keys = self.vault.config.vault.key_places.iter().chain([&self.vault.home]);
        for keys in keys {
            let key_place = keys.canonicalize().unwrap_or_else(|_| keys.clone());
            if real.starts_with(&key_place) || key_place.starts_with(&real) {
                return Err(MediaError::WithKeys { path: dir.into(), keys: keys.clone() });
            }
        }
        Ok(())
    }

    /// Oldest first.
    fn records(&self, order: &Writing<'_>) -> Result<Vec<Record>, MediaError> {
        let mut records: Vec<Record> = Vec::new();
        if order.ids.is_empty() {
            let filter = Filter { phase: Some(Phase::Archived), ..order.filter.clone() };
            let mut after = None;
            loop {
                let page = self.runtime.block_on(self.catalog.page(after.as_ref(), PAGE, &filter))?;
                let Some(last) = page.last() else { break };
                let (start, id) = (last.receipt.start, last.id);
                after = Some(crate::archive::search::Cursor { start, id });
                records.extend(page.into_iter().filter(|record| !record.files.is_empty()));
            }
        }
        for ids in order.ids.chunks(PAGE as usize) {
            let found = self.runtime.block_on(self.catalog.get_all(ids))?;
            let is_archived = |id: &&RecordingId| {
                !found.iter().any(|record| record.id == **id && record.phase == Phase::Archived)
            };
            if let Some(id) = ids.iter().find(is_archived) {
                return Err(MediaError::NotArchived(*id));
            }
            records.extend(found);
        }
        records.sort_by_key(|record| (record.receipt.start, record.id));
        records.dedup_by_key(|record| record.id);
        if records.is_empty() { Err(MediaError::Nothing) } else { Ok(records) }
    }

    fn fill(
        &self,
        medium: &Medium,
        records: &[Record],
        own: Option<&Path>,
        parcel: &mut Parcel,
    ) -> Result<Digest, MediaError> {
        let mut logs = RecorderLogs::default();
        for record in records {
            let id = record.id;
            parcel.put(&format!("receipts/{id}.json"), &record.receipt.to_entry())?;
            if let Some(proof) = self.runtime.block_on(logs.prove(self.vault, self.catalog, record))? {
                parcel.put(&format!("receipts/{id}.proof.json"), &json(&proof))?;
            }
            for file in &record.files {
                self.file(record, file, parcel)?;
            }
        }
        parcel.put(MEDIUM, &json(medium))?;
        let log = self.vault.log.dir().join(DIR_NAME).join(CHECKPOINT_PATH);
        let checkpoint =
            fs::read(&log).map_err(|source| MediaError::Io { doing: "reading", path: log, source })?;
        parcel.put("vault.checkpoint", &checkpoint)?;
        parcel.put("README.txt", README.as_bytes())?;
        program(own.unwrap_or(Path::new("/proc/self/exe")), parcel)?;
        parity(parcel)?;
        no_secrets(parcel)?;
        let manifest = parcel.sums().to_manifest();
        let list = Digest::of(manifest.as_bytes());
        let key = format!("{}\n", self.vault.key);
        let (kind, id) = (media::STATEMENT.into(), medium.id.clone());
        let note = Statement { kind, id, made: medium.written, list }.sign(&self.vault.signer())?;
        for (name, bytes) in [(KEY, key.as_str()), (LIST, &manifest), (SIGNATURE, &note)] {
            parcel.put_last(&copy_of(name), bytes.as_bytes())?;
        }
        for (name, bytes) in [(KEY, key.as_str()), (LIST, &manifest), (SIGNATURE, &note)] {
            parcel.put_last(name, bytes.as_bytes())?;
        }
        Ok(list)
    }

    /// From the first place whose copy is whole.
    fn file(&self, record: &Record, file: &ArchivedFile, parcel: &mut Parcel) -> Result<(), MediaError> {
        let object = file.header_object(&record.id, record.receipt.start);
        let path = format!("recordings/{}.age", object.trim_end_matches(".hdr"));
        let mut first = None;
        for place in &self.places {
            let mut copy = || -> Result<(), MediaError> {
                let mut stored = StoredFile::open(self.runtime, place, record, file)?;
                let header = Header::read(&mut &stored.header[..]).ok();
                if header.as_ref().and_then(envelope::recording_of) != Some(record.id) {
                    return Err(MediaError::NotArchived(record.id));
                }
                let written = parcel.write(&path, |mut to| {
                    to.write_all(&stored.header)?;
                    io::copy(&mut stored, &mut to).map(drop)
                });
                // A medium that is full says nothing of the copy, and no more of it is fetched.
                if written.is_err() && !stored.has_failed() {
                    return Ok(written?);
                }
                stored.finish()?;
                Ok(written?)
            };
            match copy() {
                Ok(()) => return Ok(()),
                Err(error) => {
                    parcel.discard(&path)?;
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Writes into the register what happened to the medium that the grant is for: what it is, and the seal and place of
/// after it.
pub async fn note(
    vault: &Vault,
    catalog: &Catalog,
    grant: &Grant,
    what: &str,
    (seal, place): (&str, &str),
) -> Result<(), MediaError> {
    let Resource::Medium(id) = grant.resource() else { return Err(MediaError::Unknown(String::new())) };
    let moved = moved(what, grant, seal, place, clock::now());
    if !catalog.move_medium(id, &moved).await? {
        return Err(MediaError::Unknown(id.clone()));
    }
    let done = serde_json::json!({ "what": what, "seal": seal, "place": place });
    vault.log.outcome(grant, Outcome::Done(done))?;
    Ok(())
}

fn moved(what: &str, grant: &Grant, seal: &str, place: &str, at: crate::base::time::Stamp) -> Move {
    Move {
        at,
        what: what.into(),
        who: grant.actor().into(),
        seal: seal.into(),
        place: place.into(),
        reason: in_words(grant.reason()),
        entry: grant.entry(),
    }
}

fn in_words(reason: Option<&Reason>) -> String {
    let text = reason.map(|reason| format!("{} {}", reason.code, reason.text)).unwrap_or_default();
    text.trim().to_owned()
}

/// The program that checks it: this one.
fn program(own: &Path, parcel: &mut Parcel) -> Result<(), MediaError> {
    let open = |source| MediaError::Io { doing: "copying the program from", path: own.into(), source };
    let mut from = File::open(own).map_err(open)?;
    parcel.write(PROGRAM, |mut to| {
        io::copy(&mut from, &mut to)?;
        // Some file systems of media have no modes.
        let _ = to.set_permissions(fs::Permissions::from_mode(0o755));
        Ok(())
    })?;
    Ok(())
}

/// Recovery slices, and hashes of all slices.
fn parity(parcel: &mut Parcel) -> Result<(), MediaError> {
    let run = Run::new(parcel.dir(), &parcel.sums()).map_err(|source| MediaError::Io {
        doing: "looking into",
        path: parcel.dir().into(),
        source,
    })?;
    let layout = Layout::of(run.bytes);
    let count = usize::try_from(layout.slices).map_err(|_| MediaError::Parity)?;
    let (mut hashes, mut recovery_hashes) = (vec![Digest::of(b""); count], Vec::new());
    let mut file = parcel.create(RECOVERY)?;
    for group in layout.groups() {
        let slices: Option<Vec<Vec<u8>>> =
            group.slices.iter().map(|slice| run.slice(layout, *slice)).collect();
        let slices = slices.ok_or(MediaError::Parity)?;
        for (number, slice) in group.slices.iter().zip(&slices) {
            hashes[*number as usize] = Digest::of(slice);
        }
        for made in group.encode(&slices).ok_or(MediaError::Parity)? {
            let path = || parcel.dir().join(RECOVERY);
            file.write_all(&made).map_err(|source| MediaError::Io {
                doing: "writing",
                path: path(),
                source,
            })?;
            recovery_hashes.push(Digest::of(&made));
        }
    }
    let synced = file.sync_all();
    synced.map_err(|source| MediaError::Io {
        doing: "writing",
        path: parcel.dir().join(RECOVERY),
        source,
    })?;
    parcel.list(RECOVERY)?;
    let index: Vec<u8> = hashes.iter().chain(&recovery_hashes).flat_map(|digest| digest.0).collect();
    parcel.put(SLICES, &index)?;
    parcel.put(&copy_of(SLICES), &index)?;
    Ok(())
}

/// Reads all that was written once more: no private key may lie with what it opens.
fn no_secrets(parcel: &Parcel) -> Result<(), MediaError> {
    let (scan, of_programs) = (SecretScan::new(), SecretScan::of_programs());
    for file in parcel.sums().0.keys() {
        let path = parcel.dir().join(file);
        let scan = if file == PROGRAM { &of_programs } else { &scan };
        let found = has_secret(&path, scan);
        if found.map_err(|source| MediaError::Io { doing: "reading", path, source })? {
            return Err(MediaError::Secret { file: file.clone() });
        }
    }
    Ok(())
}

fn has_secret(path: &Path, scan: &SecretScan) -> io::Result<bool> {
    let (mut file, mut block, mut kept) = (File::open(path)?, vec![0; SCAN_BYTES], 0);
    loop {
        let read = file.read(&mut block[kept..])?;
        if scan.finds(&block[..kept + read]) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        let end = kept + read;
        let keep = end.min(SecretScan::OVERLAP_BYTES);
        block.copy_within(end - keep..end, 0);
        kept = keep;
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("texts, numbers and lists");
    text.push(b'\n');
    text
}

const PROGRAM: &str = "sejf";
/// The first of a medium's moves.
const WRITTEN: &str = "written";
const PAGE: u32 = 256;
const SCAN_BYTES: usize = 1 << 20;
const README: &str = "A medium of an archive of call recordings
=========================================

What is on it is sealed; keys are kept elsewhere. To check it, without network, keys or the archive:

    ./sejf media verify . --vault KEY

with the archive's public key KEY as it is known from elsewhere. `./sejf media repair .` mends what the parity can:
about a tenth of each part. MANIFEST has SHA-256, length and path of each file; MANIFEST.sig is a signed note (C2SP
signed-note, Ed25519) with the SHA-256 of MANIFEST. Files that end in .copy are there twice on purpose.

`sejf` is the program that wrote this medium, for Linux and its processor, with the C library of that system unless it
was built static (cargo build --release --target x86_64-unknown-linux-musl). Where it does not run, build it from its
source; `sejf --version` there says which it was, and any later version reads this too.
";
