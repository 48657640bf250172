//! Checks a bundle with nothing but the bundle, and keys that are known from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;

use crate::archive::access::Action;
use crate::archive::bundle::{
    BUNDLE_FILE, Bundle, BundledFile, BundledRecording, Form, KEY_FILE, Origin, SCHEMA, SIGNATURE_FILE,
    STATEMENT, SUMS_FILE, folder,
};
use crate::archive::entry::{Entry, Outcome, Resource};
use crate::archive::proof::{Proof, ProofError};
use crate::archive::record::{Digest, RecordingId};
use crate::archive::sums::{Statement, StatementError, Sums, SumsError};
use crate::archive::tarball;
use crate::seal::identity::Identities;
use crate::seal::note::VerifyKey;
use crate::seal::receipt::Receipt;
use crate::shell::verify::bundle_origin::{Broken, Followed, Why, follow, hash, hash_tail};
use crate::shell::verify::bundle_source::{Opened, Source};
use crate::shell::verify::fault::VerifyError;

/// What is known of a bundle from elsewhere.
#[derive(Default)]
pub struct BundleAsked<'a> {
    /// The archive's public key.
    pub vault: Option<&'a str>,
    /// The recorder's public key.
    pub recorder: Option<&'a str>,
    /// The receiver's keys: with them a sealed bundle is followed to its receipts.
    pub identities: Option<&'a Identities>,
}

/// What a bundle is.
#[derive(Debug, Default, Serialize)]
pub struct BundleReport {
    /// What is wrong; nothing where all is well.
    pub faults: Vec<BundleFault>,
    /// Its number.
    pub id: String,
    /// Who it is for, as it says.
    pub receiver: String,
    /// When it was made, as it says.
    pub made: String,
    /// Key of the archive: as asked, else as the bundle says itself.
    pub vault: String,
    /// Whether that key was known from elsewhere.
    pub pinned: bool,
    /// Recordings.
    pub recordings: u64,
    /// Those whose receipt is proved to be in its recorder's log.
    pub proved: u64,
    /// Of these, those whose sound and manifest are what the receipt names, byte for byte: from the recorder's signature
    /// on, nothing of it is the archive's word.
    pub followed: u64,
    /// Recordings where that takes the receiver's key.
    pub locked: u64,
    /// Recordings of which only the archive says that they are what the receipt names.
    pub words: u64,
    /// Keys of recorders.
    pub recorders: BTreeSet<String>,
    /// Whether the recorders' keys were known from elsewhere.
    pub recorders_pinned: bool,
    /// Files in the list.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Something that is wrong with a bundle; always of one file.
#[derive(Debug, thiserror::Error, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum BundleFault {
    /// In no list.
    #[error("added: {file} was not there when the bundle was made")]
    Added {
        /// Path in the bundle.
        file: String,
    },
    /// Other bytes than were signed.
    #[error("changed: {file}")]
    Changed {
        /// Path in the bundle.
        file: String,
    },
    /// In the list and not there.
    #[error("missing: {file}")]
    Missing {
        /// Path in the bundle.
        file: String,
    },
    /// The archive that it is in has another form, and was not looked into.
    #[error("refused: {fault}")]
    Refused {
        /// Nothing: it is of all of them.
        file: String,
        /// Why.
        fault: String,
    },
    /// A link, a pipe, a folder.
    #[error("{file} is no file")]
    NotAFile {
        /// Path in the bundle.
        file: String,
    },
    /// It cannot be read.
    #[error("reading {file}: {fault}")]
    Unreadable {
        /// Path in the bundle.
        file: String,
        /// Why.
        fault: String,
    },
    /// The signature, or the key that it is held against.
    #[error("signature: {file}: {fault}")]
    Signature {
        /// Path in the bundle.
        file: String,
        /// Why.
        fault: String,
    },
    /// It does not say what it should, though it was signed.
    #[error("wrong: {file}: {fault}")]
    Wrong {
        /// Path in the bundle.
        file: String,
        /// What.
        fault: String,
    },
}

impl BundleFault {
    /// The file it is of.
    pub fn file(&self) -> &str {
        match self {
            Self::Added { file }
            | Self::Changed { file }
            | Self::Missing { file }
            | Self::NotAFile { file }
            | Self::Refused { file, .. }
            | Self::Unreadable { file, .. }
            | Self::Signature { file, .. }
            | Self::Wrong { file, .. } => file,
        }
    }
}

impl BundleReport {
    /// In words.
    pub fn summary(&self) -> String {
        let what = if self.faults.is_empty() {
            "nothing is changed, missing or added"
        } else {
            "NOT as it was made"
        };
        let mut text = format!(
            "bundle {} for {}, made {}: {} recordings, {} files, {} bytes: {what}\n",
            self.id, self.receiver, self.made, self.recordings, self.files, self.bytes
        );
        text.push_str(&match self.pinned {
            true => format!("signed by the archive {}\n", self.vault),
            false => format!(
                "signed by {}, which is what the bundle says of itself: ask the archive for its key, and say \
                 --vault KEY\n",
                self.vault
            ),
        });
        let unproved = self.recordings - self.proved;
        text.push_str(&format!("{} receipts proved to be in their recorder's log", self.proved));
        if unproved > 0 {
            text.push_str(&format!(", {unproved} by the archive's word alone"));
        }
        text.push_str(&format!(
            "\n{} recordings are what their recorder signed, to the last byte",
            self.followed
        ));
        if self.locked > 0 {
            text.push_str(&format!(", {} to be checked with the receiver's key (-i KEYFILE)", self.locked));
        }
        if self.words > 0 {
            text.push_str(&format!(
                ", {} by the archive's word alone: it has not kept how the recorder had sealed them",
                self.words
            ));
        }
        if !self.recorders_pinned && self.proved > 0 {
            text.push_str("; recorders as the bundle names them (--recorder KEY to say which)");
        }
        text
    }
}

/// Checks the bundle in a folder, or in a tar archive, which is not unpacked.
pub fn bundle(path: &Path, asked: &BundleAsked<'_>) -> Result<BundleReport, VerifyError> {
    let pin = |text: Option<&str>| {
        let key = text.map(|text| text.parse::<VerifyKey>()).transpose();
        key.map_err(|source| VerifyError::Recorder { source })
    };
    let (vault, recorder) = (pin(asked.vault)?, pin(asked.recorder)?);
    let report = BundleReport {
        pinned: vault.is_some(),
        recorders_pinned: recorder.is_some(),
        vault: vault.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..BundleReport::default()
    };
    let Opened { source, names, faults } = match Source::open(path)? {
        Ok(opened) => opened,
        Err(fault) => {
            let faults = vec![BundleFault::Refused { file: String::new(), fault: fault.to_string() }];
            return Ok(BundleReport { faults, ..report });
        }
    };
    let mut check = Check { source, recorder, identities: asked.identities, bad: BTreeSet::new(), report };
    for fault in faults {
        let (file, fault) = (String::new(), fault.to_string());
        check.tell(BundleFault::Unreadable { file, fault });
    }
    let key = vault.or_else(|| check.own_key());
    check.report.vault = key.as_ref().map(ToString::to_string).unwrap_or_default();
    let sums = check.read(SUMS_FILE);
    let statement = check.statement(key.as_ref(), sums.as_deref());
    check.files(&names, sums);
    if let (Some(key), Some(bundle)) = (&key, check.bundle()) {
        check.contents(key, &bundle, statement.as_ref());
    }
    Ok(check.report)
}

struct Check<'a> {
    source: Source,
    recorder: Option<VerifyKey>,
    identities: Option<&'a Identities>,
    /// Files that are told already: what is in them says nothing.
    bad: BTreeSet<String>,
    report: BundleReport,
}

impl Check<'_> {
    fn tell(&mut self, fault: BundleFault) {
        if self.bad.insert(fault.file().to_owned()) {
            self.report.faults.push(fault);
        }
    }

    fn wrong(&mut self, file: &str, fault: impl std::fmt::Display) {
        self.tell(BundleFault::Wrong { file: file.into(), fault: fault.to_string() });
    }

    /// A small file; what is wrong with it is told.
    fn read(&mut self, file: &str) -> Option<Vec<u8>> {
        if self.bad.contains(file) {
            return None;
        }
        let opened = self.source.file(file).and_then(|opened| {
            if opened.bytes > SMALL_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = Vec::new();
            opened.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match opened {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.wrong(file, "it is longer than any of its kind");
                None
            }
            Err(error) => {
                self.tell(io_fault(file, &error));
                None
            }
        }
    }

    fn text(&mut self, file: &str) -> Option<String> {
        let text = String::from_utf8(self.read(file)?);
        if text.is_err() {
            self.tell(BundleFault::Changed { file: file.into() });
        }
        text.ok()
    }

    fn own_key(&mut self) -> Option<VerifyKey> {
        let text = self.text(KEY_FILE)?;
        let key = text.parse::<VerifyKey>().ok().filter(|key| text == format!("{key}\n"));
        if key.is_none() {
            self.tell(BundleFault::Changed { file: KEY_FILE.into() });
        }
        key
    }

    /// What was signed, where the signature is good and of the list that is here.
    fn statement(&mut self, key: Option<&VerifyKey>, sums: Option<&[u8]>) -> Option<Statement> {
        let (note, key) = (self.text(SIGNATURE_FILE)?, key?);
        match Statement::open(&note, key, STATEMENT) {
            Ok(statement) => {
                if Digest::of(sums?) != statement.list {
                    self.tell(BundleFault::Changed { file: SUMS_FILE.into() });
                }
                Some(statement)
            }
            Err(error) => {
                let fault = match error {
                    StatementError::Note(error) => error.to_string(),
                    other => other.to_string(),
                };
                self.tell(BundleFault::Signature { file: SIGNATURE_FILE.into(), fault });
                None
            }
        }
    }

    /// Compares every file with the list, also where that is not the one that was signed.
    fn files(&mut self, names: &BTreeSet<String>, sums: Option<Vec<u8>>) {
        // Why there is none is told.
        let Some(sums) = sums else { return };
        let sums = String::from_utf8(sums).map_err(|_| SumsError { line: 0 });
        let sums = sums.and_then(|text| Sums::from_sums(&text));
        let sums = match sums {
            Ok(sums) => sums.0,
            Err(_) => {
                self.tell(BundleFault::Changed { file: SUMS_FILE.into() });
                BTreeMap::new()
            }
        };
        for (file, sum) in &sums {
            if !names.contains(file) {
                self.tell(BundleFault::Missing { file: file.clone() });
                continue;
            }
            match hash(&self.source, file) {
                Ok((bytes, sha256)) => {
                    self.report.files += 1;
                    self.report.bytes += bytes;
                    if sha256 != sum.sha256 {
                        // A key that is no key is one that was changed.
                        self.tell(BundleFault::Changed { file: file.clone() });
                    }
                }
                Err(error) => self.tell(io_fault(file, &error)),
            }
        }
        // Without a list nothing can be told to be too much.
        let own = [SUMS_FILE, SIGNATURE_FILE];
        let added = names.iter().filter(|name| !sums.contains_key(*name) && !own.contains(&name.as_str()));
        for file in added.filter(|_| !sums.is_empty()) {
            self.tell(BundleFault::Added { file: file.clone() });
        }
    }

    fn bundle(&mut self) -> Option<Bundle> {
        let bytes = self.read(BUNDLE_FILE)?;
        match serde_json::from_slice::<Bundle>(&bytes) {
            Ok(bundle) if bundle.schema == SCHEMA => {
                self.report.id.clone_from(&bundle.id);
                self.report.receiver.clone_from(&bundle.receiver);
                self.report.made = bundle.made.to_string();
                self.report.recordings = bundle.recordings.len() as u64;
                Some(bundle)
            }
            Ok(_) => {
                self.wrong(BUNDLE_FILE, "a later version made it: use that one");
                None
            }
            Err(error) => {
                self.wrong(BUNDLE_FILE, error);
                None
            }
        }
    }

    fn contents(&mut self, key: &VerifyKey, bundle: &Bundle, statement: Option<&Statement>) {
        let is_it = statement.is_none_or(|statement| {
            statement.id == bundle.id && statement.made == bundle.made && bundle.vault == key.to_string()
        });
        let made_s = tarball::seconds(bundle.made);
        if !is_it || self.source.made_s().is_some_and(|of_archive| of_archive != made_s) {
            self.wrong(BUNDLE_FILE, "it is of another bundle than the signature");
        }
        if let (Some(entry), Some(proof)) = (self.read(VAULT_ENTRY), self.proof(VAULT_PROOF)) {
            self.proved(VAULT_PROOF, &proof, &entry, key, bundle.entry);
            if !Entry::from_bytes(&entry).is_ok_and(|entry| is_of(&entry, bundle)) {
                self.wrong(VAULT_ENTRY, "it is not the entry of this export");
            }
        }
        if self.names_twice(bundle) {
            return;
        }
        for recording in &bundle.recordings {
            for file in &recording.files {
                self.payload(file, bundle.form);
            }
            let Some(receipt) = self.recording(recording) else { continue };
            let is_proved = self.receipt_proved(recording, &receipt);
            self.report.proved += u64::from(is_proved);
            match self.followed(recording, &receipt) {
                Some(Followed::ToReceipt) => self.report.followed += u64::from(is_proved),
                Some(Followed::Locked) => self.report.locked += 1,
                Some(Followed::Word) => self.report.words += 1,
                None => {}
            }
        }
    }

    /// Whether a recording or a file is named twice: else a small list could have a long file read without end.
    fn names_twice(&mut self, bundle: &Bundle) -> bool {
        let (mut ids, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for recording in &bundle.recordings {
            let mut is_new = ids.insert(recording.id);
            for file in &recording.files {
                is_new &= paths.insert(&file.path);
                if let Some(Origin::Disclosed { sealed, .. }) = &file.origin {
                    is_new &= paths.insert(sealed);
                }
            }
            if !is_new {
                self.wrong(BUNDLE_FILE, format!("recording {} or a file of it is named twice", recording.id));
                return true;
            }
        }
        false
    }

    fn proof(&mut self, file: &str) -> Option<Proof> {
        let bytes = self.read(file)?;
        let proof = serde_json::from_slice(&bytes);
        if let Err(error) = &proof {
            self.wrong(file, error);
        }
        proof.ok()
    }

    fn proved(&mut self, file: &str, proof: &Proof, entry: &[u8], key: &VerifyKey, index: u64) -> bool {
        let is_of_it = if proof.index == index { Ok(()) } else { Err(ProofError::Entry) };
        let verified = proof.verify(entry, key).and(is_of_it);
        if let Err(error) = &verified {
            self.wrong(file, error);
        }
        verified.is_ok()
    }

    /// The receipt of a recording, whose files are those that are here.
    fn recording(&mut self, recording: &BundledRecording) -> Option<Receipt> {
        let receipt_file = receipt_file(recording);
        self.report.recorders.insert(recording.recorder.clone());
        let entry = self.read(&receipt_file)?;
        let receipt = match Receipt::from_entry(&entry) {
            Ok(receipt) if receipt.id == recording.id.to_string() => receipt,
            Ok(_) => {
                self.wrong(&receipt_file, "it is of another recording");
                return None;
            }
            Err(error) => {
                self.wrong(&receipt_file, error);
                return None;
            }
        };
        for file in &recording.files {
            let named = receipt.files.iter().find(|named| named.name == file.receipt_name);
            // Before there is a header, a dead run has left nothing that is sealed.
            let is_headless = |bytes: u64| receipt.is_recovered() && bytes == file.body_bytes;
            if named.is_none_or(|named| named.bytes <= file.body_bytes && !is_headless(named.bytes)) {
                let name = &file.receipt_name;
                self.wrong(&receipt_file, format!("it does not name {name}, or names a shorter file"));
            }
        }
        for named in &receipt.files {
            if recording.files.iter().filter(|file| file.receipt_name == named.name).count() != 1 {
                self.wrong(BUNDLE_FILE, format!("it leaves out {}, or has it twice", named.name));
            }
        }
        Some(receipt)
    }

    /// Whether the receipt is in its recorder's log.
    fn receipt_proved(&mut self, recording: &BundledRecording, receipt: &Receipt) -> bool {
        if !recording.proved {
            return false;
        }
        let proof_file = format!("{}/proof.json", folder(&recording.id));
        let key = match recording.recorder.parse::<VerifyKey>() {
            Ok(key) => self.recorder.clone().unwrap_or(key),
            Err(error) => {
                self.wrong(BUNDLE_FILE, error);
                return false;
            }
        };
        let Some(proof) = self.proof(&proof_file) else { return false };
        self.proved(&proof_file, &proof, &receipt.to_entry(), &key, recording.receipt_index)
            && !self.bad.contains(&receipt_file(recording))
    }

    /// How far all files of a recording lead back to its receipt; nothing where something is wrong with one.
    fn followed(&mut self, recording: &BundledRecording, receipt: &Receipt) -> Option<Followed> {
        let mut all = Followed::ToReceipt;
        for file in &recording.files {
            let named = receipt.files.iter().find(|named| named.name == file.receipt_name)?;
            let sealed = match &file.origin {
                Some(Origin::Disclosed { sealed, .. }) => sealed,
                _ => &file.path,
            };
            if self.bad.contains(&file.path) || self.bad.contains(sealed) {
                return None;
            }
            match follow(&self.source, file, (named, receipt.is_recovered()), self.identities) {
                Ok(Followed::ToReceipt) => {}
                // What is said without proof counts least.
                Ok(Followed::Locked) if all == Followed::ToReceipt => all = Followed::Locked,
                Ok(Followed::Locked) => {}
                Ok(Followed::Word) => all = Followed::Word,
                Err(Broken { file, fault: Why::Io(error) }) => {
                    self.tell(io_fault(&file, &error));
                    return None;
                }
                Err(Broken { file, fault }) => {
                    self.wrong(&file, fault);
                    return None;
                }
            }
        }
        let is_whole = !self.bad.contains(&receipt_file(recording)) && !self.bad.contains(BUNDLE_FILE);
        (is_whole && !recording.files.is_empty()).then_some(all)
    }

    /// Whether a file is there, and where it is sealed, whether its payload is the archive's.
    fn payload(&mut self, file: &BundledFile, form: Form) {
        if self.bad.contains(&file.path) {
            return;
        }
        let opened = self.source.file(&file.path).map(drop);
        if let Err(error) = opened {
            return self.tell(match error.kind() {
                // Not a path of a bundle.
                io::ErrorKind::InvalidInput => BundleFault::Missing { file: file.path.clone() },
                _ => io_fault(&file.path, &error),
            });
        }
        if form == Form::Plain {
            return;
        }
        match hash_tail(&self.source, &file.path, file.body_bytes) {
            Ok(Some(sha256)) if sha256 == file.body_sha256 => {}
            Ok(_) => self.wrong(&file.path, "its payload is not the archive's"),
            Err(error) => self.tell(io_fault(&file.path, &error)),
        }
    }
}

/// Whether an entry of the archive's log let just this be given away.
fn is_of(entry: &Entry, bundle: &Bundle) -> bool {
    let ids: Vec<RecordingId> = bundle.recordings.iter().map(|recording| recording.id).collect();
    entry.action == Action::Export
        && entry.outcome == Outcome::Granted
        && entry.at == bundle.made
        && entry.actor == bundle.by
        && entry.reason.as_ref() == Some(&bundle.reason)
        && entry.resource == Resource::of(&ids)
}

fn receipt_file(recording: &BundledRecording) -> String {
    format!("{}/receipt.json", folder(&recording.id))
}

fn io_fault(file: &str, error: &io::Error) -> BundleFault {
    let file = file.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => BundleFault::Missing { file },
        io::ErrorKind::InvalidInput => BundleFault::NotAFile { file },
        _ => BundleFault::Unreadable { file, fault: error.to_string() },
    }
}

const VAULT_ENTRY: &str = "vault/entry.json";
const VAULT_PROOF: &str = "vault/proof.json";
/// JSON, notes and keys: no bundle has as many recordings as would make them longer.
const SMALL_BYTES_MAX: u64 = 64 << 20;
