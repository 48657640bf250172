//! Export: recordings given away, in the open or under the receiver's key, with what proves them.
//!
//! What is decrypted goes into the folder or archive that was named, or to whom it is sent, and nowhere else. The bundle
//! is whole when its signature is there, which is written last; where anything fails before, all of it is removed, and
//! what was sent has no end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::archive::access::{Action, Actor, Grant, Reason, Refusal, Request};
use crate::archive::bundle::{
    self, Bundle, BundledFile, BundledRecording, Disclosure, Form, Origin, ResealError,
};
use crate::archive::entry::{self, Entry, Outcome, Resource};
use crate::archive::export_request::{Approved, PARTLY, REQUEST_WORD};
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::report::{self, Language, Told, ToldGap, ToldManifest, ToldMask};
use crate::archive::sums::Statement;
use crate::base::time::Stamp;
use crate::recording::manifest::Manifest;
use crate::seal::identity::Identities;
use crate::seal::keys::FileKey;
use crate::seal::note::{NoteError, VerifyKey};
use crate::seal::open::{OpenError, Opener, Remains};
use crate::seal::random::Randomness;
use crate::seal::recipient::Recipients;
use crate::seal::stream::plain_bytes_of;
use crate::shell::clock;
use crate::shell::entropy::{NoRandomness, OsRandom};
use crate::shell::receipts::{DIR_NAME, ReceiptsError};
use crate::shell::vault::catalog::rebuild::MANIFEST_BYTES_MAX;
use crate::shell::vault::catalog::{Catalog, CatalogError};
use crate::shell::vault::export_requests::{self, Alone, ExportRequestError};
use crate::shell::vault::home::{Vault, VaultError, io_error};
use crate::shell::vault::keyfault::KeyFault;
use crate::shell::vault::keyring::KeyRing;
use crate::shell::vault::log::Denied;
use crate::shell::vault::parcel::ParcelError;
use crate::shell::vault::place::Place;
use crate::shell::vault::proofs::{RecorderLogs, prove_in};
use crate::shell::vault::released::{CopyFault, StoredFile};
use crate::shell::vault::turns::{self, Turn};
use crate::shell::vault::wrapping::{Sink, Wrapping};

/// What exports.
pub struct Exporter<'a> {
    /// The vault.
    pub vault: &'a Vault,
    /// Its keys.
    pub ring: &'a KeyRing,
    /// Its catalog, opened on `runtime`.
    pub catalog: &'a Catalog,
    /// Where to read, the first place first.
    pub places: Vec<Arc<dyn Place>>,
    /// What waits for places and the catalog.
    pub runtime: &'a Runtime,
    /// How long to wait for whoever exports now.
    pub patience: Duration,
}

/// What is asked for.
pub struct Order<'a> {
    /// Which recordings.
    pub ids: &'a [RecordingId],
    /// What to make.
    pub to: To<'a>,
    /// Who it is for.
    pub receiver: &'a str,
    /// Why.
    pub reason: Reason,
    /// By whom.
    pub actor: &'a Actor,
    /// Language of the report.
    pub language: Language,
    /// How it is given.
    pub handing: Handing<'a>,
    /// A second person's word, which it takes beyond what one may give away alone.
    pub approved: Option<&'a Approved>,
    /// What the log says was granted, where it was asked before.
    pub granted: Option<&'a Grant>,
}

/// What a bundle is made into.
#[derive(Clone, Copy)]
pub enum To<'a> {
    /// A folder.
    Folder(&'a Path),
    /// A tar archive.
    Tar(&'a Path),
    /// The same archive, sent on as it is made.
    Sent(Sink<'a>),
}

impl To<'_> {
    /// Where; nowhere where it is sent on.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) | Self::Tar(path) => Some(path),
            Self::Sent(_) => None,
        }
    }
}

/// How recordings are given.
pub enum Handing<'a> {
    /// In the open: this writes what was opened, as a file that players take.
    Plain(&'a PlainWriter<'a>),
    /// Under the receiver's key.
    Sealed(&'a Recipients),
}

impl Handing<'_> {
    fn form(&self) -> Form {
        match self {
            Self::Plain(_) => Form::Plain,
            Self::Sealed(_) => Form::Sealed,
        }
    }
}

/// Writes so many plain bytes.
pub type PlainWriter<'a> = dyn Fn(&mut dyn Read, u64, &mut dyn Write) -> io::Result<()> + 'a;

/// Why nothing was given away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A copy.
    #[error(transparent)]
    Copy(#[from] CopyFault),
    /// Not granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The folder.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The log.
    #[error(transparent)]
    Log(#[from] ReceiptsError),
    /// What was asked for counts no longer, or another is exporting.
    #[error(transparent)]
    Request(#[from] ExportRequestError),
    /// The second person has agreed to something else.
    #[error(
        "request {number} is of other recordings, for another receiver, or under other keys: ask for this one"
    )]
    Uncovered {
        /// The request.
        number: u64,
    },
    /// The configuration does not let it.
    #[error(
        "this archive gives nothing away in the open (`export_plain` in vault.toml): name the receiver's key"
    )]
    InTheOpen,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// Signing.
    #[error("signing the bundle: {0}")]
    Sign(#[from] NoteError),
    /// No such recording.
    #[error("there is no recording {0} in the archive: look for it with `sejf vault search`")]
    Unknown(RecordingId),
    /// One twice.
    #[error("recording {0} was named twice")]
    Twice(RecordingId),
    /// Nothing to give.
    #[error("recording {id} is {}: {}", phase.as_str(), nothing(*phase))]
    Nothing {
        /// Which.
        id: RecordingId,
        /// How far it is.
        phase: Phase,
    },
    /// Its envelope is being changed.
    #[error("an epoch is being re-wrapped and does not let go: try again when that has ended")]
    Rewrapping,
    /// It is there.
    #[error("`{}` exists already: name a folder or a file that is to be made", path.display())]
    Exists {
        /// The folder or file.
        path: PathBuf,
    },
    /// It does not open.
    #[error("opening `{name}`: {source}")]
    Open {
        /// The file.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// It cannot be put under the receiver's key.
    #[error("sealing `{name}` to the receiver: {source}")]
    Reseal {
        /// The file.
        name: String,
        /// Why.
        source: ResealError,
    },
    /// It was not made with the header that is kept of it.
    #[error(
        "`{name}` is not as its recorder has signed it: the archive has kept another header or payload; tell who keeps \
         the recorder, and mend the copies of the archive"
    )]
    Unsigned {
        /// The file.
        name: String,
    },
    /// The archive's log has no proof of the grant.
    #[error("the log of the archive, `{}`, is damaged: nothing is given away", path.display())]
    Unlogged {
        /// Its folder.
        path: PathBuf,
    },
}

impl ExportError {
    /// Whether another is just being made.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Request(ExportRequestError::Busy))
    }
}

fn nothing(phase: Phase) -> &'static str {
    match phase {
        Phase::Staged => "it was taken in while the vault was locked, and waits for it to be unlocked",
        Phase::Archived => "nothing of it was recorded, there is only its receipt",
        Phase::Destroyed => "nobody opens it any more",
    }
}

/// Reads from one place into the parcel.
type ReadPlace<'a> = dyn FnMut(&Arc<dyn Place>, &mut Wrapping<'_>) -> Result<(), ExportError> + 'a;

impl Exporter<'_> {
    /// Makes a bundle. The log has who asked, before anything is decrypted.
    pub fn export(&self, order: &Order<'_>) -> Result<Bundle, ExportError> {
        let now = clock::now();
        match (self.ready(order, now), order.granted) {
            (Ok((_alone, records)), Some(grant)) => self.make(order, grant, &records),
            (Ok((_alone, records)), None) => {
                let (action, resource) = (Action::Export, Resource::of(order.ids));
                let reason = Some(order.reason.clone());
                let asking = Request { actor: order.actor, action, resource, reason, now };
                self.make(order, &self.vault.log.ask(&asking)?, &records)
            }
            // Nothing is decided of it yet: who was granted it comes again.
            (Err(error), Some(_)) if error.is_busy() => Err(error),
            (Err(error), Some(grant)) => {
                self.vault.log.outcome(grant, Outcome::Failed(error.to_string()))?;
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What others have given away is counted, and a request made once: until the log says what came of it.
    fn ready(&self, order: &Order<'_>, now: Stamp) -> Result<(Alone, Vec<Record>), ExportError> {
        let alone = export_requests::alone(self.vault, self.patience)?;
        if let Some(path) = order.to.path().filter(|path| path.exists()) {
            return Err(ExportError::Exists { path: path.into() });
        }
        let records = self.records(order.ids)?;
        is_anothers_word_there(self.vault, order, now)?;
        Ok((alone, records))
    }

    fn make(&self, order: &Order<'_>, grant: &Grant, records: &[Record]) -> Result<Bundle, ExportError> {
        // What the log's entry says is what a bundle is held against: of when it was granted, too.
        let (log, now) = (&self.vault.log, grant.at());
        let begun = match order.to {
            To::Folder(dir) => Wrapping::folder(dir),
            To::Tar(path) => Wrapping::tar(path, now),
            To::Sent(sink) => Ok(Wrapping::sent(sink, now)),
        };
        let mut parcel = match begun {
            Ok(parcel) => parcel,
            Err(error) => {
                log.outcome(grant, Outcome::Failed(error.to_string()))?;
                return Err(error.into());
            }
        };
        let made = self.fill(order, grant, now, records, &mut parcel);
        let made = made.and_then(|(bundle, list)| {
            self.conclude(order, grant, &bundle, list, &mut parcel)?;
            Ok(bundle)
        });
        if let Err(error) = &made {
            let has_sent = parcel.has_sent();
            // The first fault is the one to tell.
            let left = parcel.abandon().err().map_or(String::new(), |fault| format!("; {fault}"));
            let partly = if has_sent { PARTLY } else { "" };
            log.outcome(grant, Outcome::Failed(format!("{partly}{error}{left}")))?;
        }
        made
    }

    /// Makes it whole, which its signature does: no bundle is whole that the log does not say was given away.
    fn conclude(
        &self,
        order: &Order<'_>,
        grant: &Grant,
        bundle: &Bundle,
        list: Digest,
        parcel: &mut Wrapping<'_>,
    ) -> Result<(), ExportError> {
        let mut done = serde_json::json!({ "bundle": bundle.id, "sha256sums": list, "form": bundle.form });
        if let Some(approved) = order.approved {
            done[REQUEST_WORD] = approved.request().number.into();
        }
        self.vault.log.outcome(grant, Outcome::Done(done))?;
        let (kind, id) = (bundle::STATEMENT.into(), bundle.id.clone());
        let statement = Statement { kind, id, made: bundle.made, list };
        parcel.put_last(bundle::SIGNATURE_FILE, statement.sign(&self.vault.signer())?.as_bytes())?;
        Ok(parcel.finish()?)
    }

    /// Oldest first.
    fn records(&self, ids: &[RecordingId]) -> Result<Vec<Record>, ExportError> {
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_AT_ONCE) {
            records.extend(self.runtime.block_on(self.catalog.get_all(ids))?);
        }
        for (nth, id) in ids.iter().enumerate() {
            if ids[..nth].contains(id) {
                return Err(ExportError::Twice(*id));
            }
            let record = records.iter().find(|record| record.id == *id);
            let record = record.ok_or(ExportError::Unknown(*id))?;
            if record.phase != Phase::Archived || record.files.is_empty() {
                return Err(ExportError::Nothing { id: *id, phase: record.phase });
            }
        }
        records.sort_by_key(|record| (record.receipt.start, record.id));
        Ok(records)
    }

    /// All but the signature, and the SHA-256 of the list.
    fn fill(
        &self,
        order: &Order<'_>,
        grant: &Grant,
        made: Stamp,
        records: &[Record],
        parcel: &mut Wrapping<'_>,
    ) -> Result<(Bundle, Digest), ExportError> {
        let (vault, mut random) = (self.vault, OsRandom::new()?);
        let mut number = [0; 16];
        random.fill(&mut number);
        let mut bundle = Bundle {
            schema: bundle::SCHEMA,
            id: number.iter().map(|byte| format!("{byte:02x}")).collect(),
            made,
            vault: vault.key.to_string(),
            by: order.actor.name.clone(),
            receiver: order.receiver.into(),
            reason: order.reason.clone(),
            entry: grant.entry(),
            form: order.handing.form(),
            recordings: Vec::with_capacity(records.len()),
        };
        let (mut told, mut logs) = (Vec::with_capacity(records.len()), RecorderLogs::default());
        for record in records {
            let (_turn, record) = self.in_turn(&record.id)?;
            let (one, facts) = self.one(order, &record, &mut logs, &mut random, parcel)?;
            bundle.recordings.push(one);
            told.push(facts);
        }
        let log = vault.log.dir().join(DIR_NAME);
        let (entry, proof) =
            prove_in(&log, &vault.key, grant.entry()).ok_or(ExportError::Unlogged { path: log })?;
        parcel.put("vault/entry.json", &entry)?;
        parcel.put("vault/proof.json", &json(&proof))?;
        parcel.put(bundle::KEY_FILE, format!("{}\n", vault.key).as_bytes())?;
        parcel.put(bundle::BUNDLE_FILE, &json(&bundle))?;
        parcel.put("README.txt", README.as_bytes())?;
        parcel.put("report.html", report::html(&bundle, &told, order.language).as_bytes())?;
        let sums = parcel.sums().to_sums();
        let list = Digest::of(sums.as_bytes());
        parcel.put_last(bundle::SUMS_FILE, sums.as_bytes())?;
        Ok((bundle, list))
    }

    /// A recording as it is now, and nobody re-wraps it meanwhile: others may have since all were looked up.
    fn in_turn(&self, id: &RecordingId) -> Result<(Turn, Record), ExportError> {
        let home = &self.vault.home;
        let turn = self.runtime.block_on(turns::copying(home)).map_err(io_error("locking", home))?;
        let turn = turn.ok_or(ExportError::Rewrapping)?;
        let record = self.records(std::slice::from_ref(id))?.pop().ok_or(ExportError::Unknown(*id))?;
        Ok((turn, record))
    }

    fn one(
        &self,
        order: &Order<'_>,
        record: &Record,
        logs: &mut RecorderLogs,
        random: &mut dyn Randomness,
        parcel: &mut Wrapping<'_>,
    ) -> Result<(BundledRecording, Told), ExportError> {
        let nothing = || ExportError::Nothing { id: record.id, phase: Phase::Destroyed };
        let epoch = record.epoch().ok_or_else(nothing)?;
        let identities = self.ring.opens(&epoch, &record.id)?.ok_or_else(nothing)?;
        let folder = bundle::folder(&record.id);
        parcel.put(&format!("{folder}/receipt.json"), &record.receipt.to_entry())?;
        let proof = self.runtime.block_on(logs.prove(self.vault, self.catalog, record))?;
        if let Some(proof) = &proof {
            parcel.put(&format!("{folder}/proof.json"), &json(proof))?;
        }
        let mut told = told(record);
        told.log_size = proof.as_ref().map(|proof| proof.size);
        let mut files = Vec::with_capacity(record.files.len());
        for file in record.originals() {
            files.push(self.file(order, (record, file), &identities, random, parcel, &mut told)?);
        }
        self.history(order, record, &identities, random, parcel)?;
        let one = BundledRecording {
            id: record.id,
            recorder: record.recorder.clone(),
            receipt_index: record.receipt_index,
            proved: proof.is_some(),
            files,
        };
        Ok((one, told))
    }

    /// One file; of what is given in the open, also as its recorder made it.
    fn file(
        &self,
        order: &Order<'_>,
        (record, file): (&Record, &ArchivedFile),
        identities: &Identities,
        random: &mut dyn Randomness,
        parcel: &mut Wrapping<'_>,
        told: &mut Told,
    ) -> Result<BundledFile, ExportError> {
        let folder = bundle::folder(&record.id);
        let name = match is_headless(file) {
            true => last_part(&file.name).to_owned(),
            false => name_in_bundle(&file.name, &order.handing),
        };
        let path = format!("{folder}/{name}");
        let (mut made, mut manifest) = (Made::Unknown, Zeroizing::new(Vec::new()));
        self.read_any_place((record, file), &path, parcel, &mut |place, parcel| {
            let opening =
                Opening { place, record, file, identities, may_be_cut: record.receipt.is_recovered() };
            manifest.clear();
            let keep = path.ends_with(MANIFEST_FILE).then_some(&mut *manifest);
            made = self.write_file(order, &opening, &path, random, parcel, keep)?;
            Ok(())
        })?;
        if !manifest.is_empty() {
            tell_manifest(told, &manifest);
        }
        told.files.push((path.clone(), sha256_of(parcel, &path)));
        let origin = match made {
            Made::Unknown => None,
            Made::Enclosed => Some(Origin::Enclosed),
            Made::Disclosed { original, file_key } => {
                let sealed = format!("{folder}/{}/{}", bundle::SEALED_FOLDER, last_part(&file.name));
                self.read_any_place((record, file), &sealed, parcel, &mut |place, parcel| {
                    let mut stored = StoredFile::open(self.runtime, place, record, file)?;
                    let bytes = original.len() as u64 + file.body_bytes;
                    let written = parcel.write(&sealed, bytes, &mut |to| {
                        to.write_all(&original)?;
                        io::copy(&mut stored, to).map(drop)
                    });
                    stored.finish()?;
                    Ok(written?)
                })?;
                let named = record.receipt.files.iter().find(|named| named.name == file.name);
                if named.map(|named| Digest(named.sha256)) != parcel.sha256(&sealed) {
                    return Err(ExportError::Unsigned { name: file.name.clone() });
                }
                told.files.push((sealed.clone(), sha256_of(parcel, &sealed)));
                Some(Origin::Disclosed { sealed, file_key: file_key.disclose().to_string() })
            }
        };
        let (receipt_name, body_sha256, body_bytes) = (file.name.clone(), file.body_sha256, file.body_bytes);
        Ok(BundledFile { path, receipt_name, body_sha256, body_bytes, origin })
    }

    /// What was said of it later, a file a version: beside what its recorder has signed.
    fn history(
        &self,
        order: &Order<'_>,
        record: &Record,
        identities: &Identities,
        random: &mut dyn Randomness,
        parcel: &mut Wrapping<'_>,
    ) -> Result<(), ExportError> {
        let end = if matches!(order.handing, Handing::Plain(_)) { "" } else { ".age" };
        for (number, files) in record.versions() {
            for file in files {
                // `<id>.v1.age` is what was said, `<id>.v1.opus.age` a redacted copy.
                let kind = file.name.strip_suffix(".age").and_then(|name| name.rsplit('.').next());
                let kind = kind.filter(|kind| ["opus", "wav"].contains(kind)).unwrap_or("json");
                let path = format!("{}/history/{number}.{kind}{end}", bundle::folder(&record.id));
                self.read_any_place((record, file), &path, parcel, &mut |place, parcel| {
                    let opening = Opening { place, record, file, identities, may_be_cut: false };
                    self.write_file(order, &opening, &path, random, parcel, None).map(drop)
                })?;
            }
        }
        Ok(())
    }

    /// Where `keep` is there, it gets the plain bytes too.
    fn write_file(
        &self,
        order: &Order<'_>,
        opening: &Opening<'_>,
        path: &str,
        random: &mut dyn Randomness,
        parcel: &mut Wrapping<'_>,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<Made, ExportError> {
        let Opening { place, record, file, identities, may_be_cut } = *opening;
        let mut stored = StoredFile::open(self.runtime, place, record, file)?;
        let header = stored.header.clone();
        let reseal = |source| ExportError::Reseal { name: file.name.clone(), source };
        let open = |source| ExportError::Open { name: file.name.clone(), source };
        let (written, made) = match order.handing {
            _ if is_headless(file) => {
                let copy = &mut |to: &mut dyn Write| io::copy(&mut stored, to).map(drop);
                (parcel.write(path, file.body_bytes, copy), Made::Unknown)
            }
            Handing::Plain(write_plain) => {
                let Disclosure { original, file_key } =
                    bundle::disclose(&mut &header[..], identities).map_err(reseal)?;
                let bytes = self.plain_bytes(opening)?;
                let opened = Opener::open((&header[..]).chain(&mut stored), identities);
                let mut plain = Remains::of(opened, may_be_cut).map_err(open)?;
                let written = parcel.write(path, bytes, &mut |to| match &mut keep {
                    Some(keep) => {
                        (&mut plain).take(MANIFEST_BYTES_MAX).read_to_end(keep)?;
                        write_plain(&mut (&keep[..]).chain(&mut plain), bytes, to)
                    }
                    None => write_plain(&mut plain, bytes, to),
                });
                (written, original.map_or(Made::Unknown, |original| Made::Disclosed { original, file_key }))
            }
            Handing::Sealed(recipients) => {
                let (header, is_kept) =
                    bundle::reseal(&mut &header[..], identities, recipients, random).map_err(reseal)?;
                let bytes = header.len() as u64 + file.body_bytes;
                let written = parcel.write(path, bytes, &mut |to| {
                    to.write_all(&header)?;
                    io::copy(&mut stored, to).map(drop)
                });
                (written, if is_kept { Made::Enclosed } else { Made::Unknown })
            }
        };
        // That the copy is another says more than that it does not open.
        stored.finish()?;
        written?;
        Ok(made)
    }

    /// How much comes out of it. Of what a dead run has left nobody knows that who has not opened it.
    fn plain_bytes(&self, opening: &Opening<'_>) -> Result<u64, ExportError> {
        let Opening { place, record, file, identities, may_be_cut } = *opening;
        if !may_be_cut {
            return Ok(plain_bytes_of(file.body_bytes).unwrap_or_default());
        }
        let open = |source| ExportError::Open { name: file.name.clone(), source };
        let mut stored = StoredFile::open(self.runtime, place, record, file)?;
        let header = stored.header.clone();
        let opened = Opener::open((&header[..]).chain(&mut stored), identities);
        let mut plain = Remains::of(opened, may_be_cut).map_err(open)?;
        let counted = io::copy(&mut plain, &mut io::sink());
        stored.finish()?;
        counted.map_err(|error| open(error.downcast().unwrap_or_else(OpenError::Io)))
    }

    /// A copy that is damaged is no reason to give nothing away while another is whole.
    fn read_any_place(
        &self,
        (record, file): (&Record, &ArchivedFile),
        path: &str,
        parcel: &mut Wrapping<'_>,
        read: &mut ReadPlace<'_>,
    ) -> Result<(), ExportError> {
        let mut first = None;
        for place in &self.places {
            // What is sent cannot be taken back: that the copy is whole is known before.
            let is_whole = match parcel.is_sent() {
                true => StoredFile::open(self.runtime, place, record, file).and_then(StoredFile::finish),
                false => Ok(()),
            };
            match is_whole.map_err(ExportError::from).and_then(|()| read(place, parcel)) {
                Ok(()) => return Ok(()),
                Err(error) => match parcel.discard(path) {
                    Ok(()) => drop(first.get_or_insert(error)),
                    // What is out stays out, and what broke it off is the fault to tell.
                    Err(_) if parcel.is_sent() => return Err(error),
                    Err(fault) => return Err(fault.into()),
                },
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Whether one may give so much away alone and so, or a second person has agreed to just this. The log has it where
/// that takes one.
pub fn is_anothers_word_there(vault: &Vault, order: &Order<'_>, now: Stamp) -> Result<(), ExportError> {
    if order.handing.form() == Form::Plain && !vault.config.vault.export_plain {
        return Err(ExportError::InTheOpen);
    }
    if let Some(approved) = order.approved {
        let number = approved.request().number;
        // It may have been made or taken back since it was read.
        let requests = export_requests::read(&vault.log, number)?;
        let asked = requests.get(number).and_then(|asked| asked.is_open());
        asked.map_err(ExportRequestError::from)?;
        return match approved.covers(order.ids, order.receiver, order.handing.form()) {
            true => Ok(()),
            false => Err(ExportError::Uncovered { number }),
        };
    }
    let (log, max) = (&vault.log, vault.config.vault.export_alone_max);
    let given = export_requests::given_alone(log, &order.actor.name, now)?;
    // What was granted counts already.
    let more = if order.granted.is_some() { 0 } else { order.ids.len() as u64 };
    if given.saturating_add(more) <= max {
        return Ok(());
    }
    let refusal = Refusal::SecondPerson { max };
    log.write(&[Entry {
        schema: entry::SCHEMA,
        at: now,
        actor: order.actor.name.clone(),
        origin: order.actor.origin.clone(),
        action: Action::Export,
        resource: Resource::of(order.ids),
        reason: Some(order.reason.clone()),
        outcome: Outcome::Refused(refusal.clone()),
    }])?;
    Err(Denied::Refused(refusal).into())
}

/// What there is to follow a file back to its receipt by.
enum Made {
    /// Its first header was not kept.
    Unknown,
    /// That is within the file.
    Enclosed,
    /// That, and the key of the file.
    Disclosed { original: Vec<u8>, file_key: FileKey },
}

/// A file that is to be opened, or put under another key.
struct Opening<'a> {
    place: &'a Arc<dyn Place>,
    record: &'a Record,
    file: &'a ArchivedFile,
    identities: &'a Identities,
    /// A dead run may have left it.
    may_be_cut: bool,
}

/// Whether a dead run has left it before it had a header: nothing of it opens, and it is given as it is.
fn is_headless(file: &ArchivedFile) -> bool {
    file.header_bytes == 0
}

fn sha256_of(parcel: &Wrapping<'_>, path: &str) -> String {
    parcel.sha256(path).map(|digest| digest.to_string()).unwrap_or_default()
}

/// What a receipt says.
fn told(record: &Record) -> Told {
    let state = serde_json::to_value(record.receipt.state).unwrap_or_default();
    let key = record.recorder.parse::<VerifyKey>();
    Told {
        start: record.receipt.start,
        end: record.receipt.end,
        state: state.as_str().unwrap_or_default().into(),
        recorder: key.map_or_else(|_| record.receipt.recorder.clone(), |key| key.name().to_owned()),
        ..Told::default()
    }
}

/// What the manifest says besides. One that cannot be read is in the bundle all the same.
fn tell_manifest(told: &mut Told, bytes: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let name = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let gaps = manifest.gaps.iter().map(|gap| ToldGap {
        party: gap.party,
        at_s: gap.at_s,
        length_s: gap.length_s,
        reason: name(serde_json::to_value(gap.reason)),
    });
    let masked = manifest.masked.iter().map(|span| ToldMask {
        party: span.party,
        from_s: span.from_s,
        to_s: span.to_s,
        by: name(serde_json::to_value(span.by)),
        reason: span.reason.clone(),
    });
    told.manifest = Some(ToldManifest {
        gaps: gaps.collect(),
        masked: masked.collect(),
        caller: manifest.call.from,
        callee: manifest.call.to,
        rule: manifest.rule,
        notes: manifest.notes,
    });
}

/// `<id>.opus.age` to `<id>.opus`, and the manifest to `manifest.json`. Folders that a name has are left out.
fn name_in_bundle(name: &str, handing: &Handing<'_>) -> String {
    let name = last_part(name);
    match handing {
        Handing::Sealed(_) => name.to_owned(),
        Handing::Plain(_) if name.ends_with(".json.age") => MANIFEST_FILE.to_owned(),
        Handing::Plain(_) => name.strip_suffix(".age").unwrap_or(name).to_owned(),
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("texts, numbers and lists");
    text.push(b'\n');
    text
}

const MANIFEST_FILE: &str = "manifest.json";
const IDS_AT_ONCE: usize = 256;
const README: &str = "Recordings handed over by an archive
====================================

Open report.html. To check all of it, in this folder:

    sejf verify --bundle . --vault KEY --recorder KEY

with the public keys of archive and recorder as they were told to you by another way; vault.pub and bundle.json have
what the bundle says of itself.

Without sejf: `sha256sum -c SHA256SUMS` compares all files; SHA256SUMS.sig is a signed note (C2SP signed-note,
Ed25519) with the SHA-256 of SHA256SUMS. recordings/*/receipt.json is an entry of the recorder's log, byte for byte;
proof.json has the way from it to the checkpoint that the recorder signed (RFC 9162 section 2.1.3). The receipt has the
SHA-256 of each sealed file: those of recordings/*/sealed/*, which are age v1 files. bundle.json has their file keys
(base64; C2SP age, \"File key\"): the key makes the MAC of the header and opens the payload, which is the file beside
it; a WAV there has its two lengths filled in. Files that end in .age beside a receipt are under the receiver's key, and
are opened with `age -d -i KEYFILE`; the header that the recorder made is in their stanza `sejf-origin`, sealed under
the file key (`sejf verify --bundle . -i KEYFILE` follows it). recordings/*/history, where it is there, has what was said
of a recording later, one file a version: each names the SHA-256 of the one before, and the first that of receipt.json.

Po polsku: proszę otworzyć report.html. `sejf verify --bundle . --vault KLUCZ --recorder KLUCZ` sprawdza, czy nic nie
zmieniono: od podpisu rejestratora do ostatniego bajtu dźwięku.
";
