//! Checks a bundle with nothing but the bundle, and keys that are known from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ring::digest;
use serde::Serialize;

use crate::archive::bundle::{
    BUNDLE_FILE, Bundle, BundledFile, BundledRecording, Form, KEY_FILE, SCHEMA, SIGNATURE_FILE, STATEMENT,
    SUMS_FILE, folder,
};
use crate::archive::entry::Entry;
use crate::archive::proof::{Proof, ProofError};
use crate::archive::record::Digest;
use crate::archive::sums::{Statement, StatementError, Sums, SumsError};
use crate::seal::note::VerifyKey;
use crate::seal::receipt::Receipt;
use crate::shell::verify::fault::VerifyError;
use crate::shell::verify::log::read_regular;
use crate::shell::verify::{Found, hash};

/// What is known of a bundle from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct BundleAsked<'a> {
    /// The archive's public key.
    pub vault: Option<&'a str>,
    /// The recorder's public key.
    pub recorder: Option<&'a str>,
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
        if !self.recorders_pinned && self.proved > 0 {
            text.push_str("; recorders as the bundle names them (--recorder KEY to say which)");
        }
        text
    }
}

/// Checks the bundle in the folder `dir`.
pub fn bundle(dir: &Path, asked: &BundleAsked<'_>) -> Result<BundleReport, VerifyError> {
    let pin = |text: Option<&str>| {
        let key = text.map(|text| text.parse::<VerifyKey>()).transpose();
        key.map_err(|source| VerifyError::Recorder { source })
    };
    let (vault, recorder) = (pin(asked.vault)?, pin(asked.recorder)?);
    let Found { names, faults } = Found::below(dir)?;
    let mut check =
        Check { dir: dir.into(), recorder, bad: BTreeSet::new(), report: BundleReport::default() };
    check.report.pinned = vault.is_some();
    check.report.recorders_pinned = check.recorder.is_some();
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

struct Check {
    dir: PathBuf,
    recorder: Option<VerifyKey>,
    /// Files that are told already: what is in them says nothing.
    bad: BTreeSet<String>,
    report: BundleReport,
}

impl Check {
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
        let path = self.dir.join(file);
        let is_small = |bytes: u64| bytes <= SMALL_BYTES_MAX;
        match std::fs::symlink_metadata(&path) {
            Ok(facts) if facts.is_file() && !is_small(facts.len()) => {
                self.wrong(file, "it is longer than any of its kind");
                return None;
            }
            _ => {}
        }
        match read_regular(&path) {
            Ok(bytes) => Some(bytes),
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
            let path = self.dir.join(file);
            let hashed = match std::fs::symlink_metadata(&path) {
                Ok(facts) if !facts.is_file() => Err(io::ErrorKind::InvalidInput.into()),
                Ok(_) => hash(&path),
                Err(error) => Err(error),
            };
            match hashed {
                Ok((bytes, sha256)) => {
                    self.report.files += 1;
                    self.report.bytes += bytes;
                    if Digest(sha256) != sum.sha256 {
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
        if !is_it {
            self.wrong(BUNDLE_FILE, "it is of another bundle than the signature");
        }
        if let (Some(entry), Some(proof)) = (self.read(VAULT_ENTRY), self.proof(VAULT_PROOF)) {
            self.proved(VAULT_PROOF, &proof, &entry, key, bundle.entry);
            let fits =
                |entry: Entry| entry.actor == bundle.by && entry.reason.as_ref() == Some(&bundle.reason);
            if !Entry::from_bytes(&entry).is_ok_and(fits) {
                self.wrong(VAULT_ENTRY, "it is not the entry of this export");
            }
        }
        for recording in &bundle.recordings {
            self.recording(recording);
            for file in &recording.files {
                self.payload(file, bundle.form);
            }
        }
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

    fn recording(&mut self, recording: &BundledRecording) {
        let folder = folder(&recording.id);
        let (receipt_file, proof_file) = (format!("{folder}/receipt.json"), format!("{folder}/proof.json"));
        self.report.recorders.insert(recording.recorder.clone());
        let Some(entry) = self.read(&receipt_file) else { return };
        let receipt = match Receipt::from_entry(&entry) {
            Ok(receipt) if receipt.id == recording.id.to_string() => receipt,
            Ok(_) => return self.wrong(&receipt_file, "it is of another recording"),
            Err(error) => return self.wrong(&receipt_file, error),
        };
        for file in &recording.files {
            let named = receipt.files.iter().find(|named| named.name == file.receipt_name);
            if named.is_none_or(|named| named.bytes <= file.body_bytes) {
                let name = &file.receipt_name;
                self.wrong(&receipt_file, format!("it does not name {name}, or names a shorter file"));
            }
        }
        if !recording.proved {
            return;
        }
        let key = match recording.recorder.parse::<VerifyKey>() {
            Ok(key) => self.recorder.clone().unwrap_or(key),
            Err(error) => return self.wrong(BUNDLE_FILE, error),
        };
        let Some(proof) = self.proof(&proof_file) else { return };
        if self.proved(&proof_file, &proof, &entry, &key, recording.receipt_index) {
            self.report.proved += 1;
        }
    }

    /// Whether a file is there, and where it is sealed, whether its payload is the archive's.
    fn payload(&mut self, file: &BundledFile, form: Form) {
        if self.bad.contains(&file.path) {
            return;
        }
        let path = self.dir.join(&file.path);
        if !crate::archive::sums::is_plain_path(&file.path) || !path.is_file() {
            return self.tell(BundleFault::Missing { file: file.path.clone() });
        }
        if form == Form::Plain {
            return;
        }
        match hash_tail(&path, file.body_bytes) {
            Ok(Some(sha256)) if sha256 == file.body_sha256 => {}
            Ok(_) => self.wrong(&file.path, "its payload is not the archive's"),
            Err(error) => self.tell(io_fault(&file.path, &error)),
        }
    }
}

/// SHA-256 of the last `bytes` of a file; nothing where it is shorter.
fn hash_tail(path: &Path, bytes: u64) -> io::Result<Option<Digest>> {
    let mut file = File::open(path)?;
    let Some(start) = file.metadata()?.len().checked_sub(bytes) else { return Ok(None) };
    file.seek(SeekFrom::Start(start))?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(context.finish().as_ref());
            return Ok(Some(Digest(sha256)));
        }
        context.update(&buffer[..read]);
    }
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
