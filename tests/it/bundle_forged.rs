//! Bundles that an archive has forged, with its own signature on them: what its recorders signed gives it away.

use std::path::{Path, PathBuf};

use sejf::archive::access::Action;
use sejf::archive::bundle::{Bundle, BundledFile, Origin, SIGNATURE_FILE, STATEMENT, SUMS_FILE};
use sejf::archive::entry::{Entry, Outcome, Resource};
use sejf::archive::proof::Proof;
use sejf::archive::record::Digest;
use sejf::archive::sums::{Statement, Sum, Sums};
use sejf::base::time::Stamp;
use sejf::seal::header::Header;
use sejf::seal::identity::Identities;
use sejf::seal::note::{Checkpoint, Signer};
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::seal::tree::Hash;
use sejf::shell::entropy::OsRandom;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::proofs::prove_in;
use sejf::shell::verify::{BundleAsked, BundleReport, bundle};

use crate::bundle::{check, export, files, name};
use crate::support::{Bench, assert_success};
use crate::vault_made::MadeVault;

/// A bundle that is its archive's own, whatever is in it.
struct Forger {
    made: MadeVault,
    dir: PathBuf,
    whole: PathBuf,
}

impl Forger {
    fn new(more: &[&str]) -> Self {
        let made = MadeVault::new();
        let (dir, whole) = (made.bench.path("forged"), made.bench.path("whole"));
        assert_success(&export(&made, &whole, more));
        Self { made, dir, whole }
    }

    /// Begins with what was given.
    fn begin(&self) -> Bundle {
        let _ = std::fs::remove_dir_all(&self.dir);
        for file in files(&self.whole) {
            let to = self.dir.join(name(&self.whole, &file));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(file, to).unwrap();
        }
        serde_json::from_slice(&self.read("bundle.json")).unwrap()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.dir.join(file), bytes).unwrap();
    }

    /// Signs it anew, as the archive can, and has a stranger look at it who knows both keys.
    fn signed(&self, bundle: &Bundle) -> BundleReport {
        self.write("bundle.json", &serde_json::to_vec(bundle).unwrap());
        let mut sums = Sums::default();
        for path in files(&self.dir) {
            let file = name(&self.dir, &path);
            if file != SUMS_FILE && file != SIGNATURE_FILE {
                let sha256 = Digest::of(&std::fs::read(path).unwrap());
                sums.0.insert(file, Sum { sha256, bytes: None });
            }
        }
        let list = sums.to_sums();
        self.write(SUMS_FILE, list.as_bytes());
        let (kind, id, list) = (STATEMENT.into(), bundle.id.clone(), Digest::of(list.as_bytes()));
        let statement = Statement { kind, id, made: bundle.made, list };
        let signer = Vault::open(&self.made.home).unwrap().signer();
        self.write(SIGNATURE_FILE, statement.sign(&signer).unwrap().as_bytes());
        check(&self.dir, &self.made)
    }
}

fn assert_told(report: &BundleReport, file: &str, words: &str) {
    let told = report.faults.iter().find(|fault| fault.file() == file);
    let told = told.unwrap_or_else(|| panic!("{file}: {:?}", report.faults)).to_string();
    assert!(told.contains(words), "{told}");
    assert!(report.followed < 2, "{report:?}");
}

fn sealed_of(file: &BundledFile) -> String {
    match &file.origin {
        Some(Origin::Disclosed { sealed, .. }) => sealed.clone(),
        other => panic!("{other:?}"),
    }
}

fn disclosed(file: &mut BundledFile, new: &str) {
    let Some(Origin::Disclosed { file_key, .. }) = &mut file.origin else { panic!() };
    *file_key = new.to_owned();
}

#[test]
fn the_archive_itself_cannot_give_another_sound() {
    let forger = Forger::new(&[]);
    let bundle = forger.begin();
    let report = forger.signed(&bundle);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.followed, report.proved, report.locked, report.words), (2, 2, 0, 0));
    // Anybody can compare the sealed file with the receipt, by any program.
    for recording in &bundle.recordings {
        let receipt = format!("recordings/{}/receipt.json", recording.id);
        let receipt: serde_json::Value = serde_json::from_slice(&forger.read(&receipt)).unwrap();
        let named: Vec<_> = receipt["files"].as_array().unwrap().iter().map(|file| &file["sha256"]).collect();
        for file in &recording.files {
            let sha256 = Digest::of(&forger.read(&sealed_of(file))).to_string();
            assert!(named.iter().any(|named| **named == sha256), "{sha256}: {named:?}");
        }
    }

    // Another sound, with all else as it was: one byte, one more, one less.
    for recording in &bundle.recordings {
        for file in &recording.files {
            let whole = forger.read(&file.path);
            let mut changed = whole.clone();
            changed[whole.len() / 2] ^= 1;
            for other in [&changed[..], &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
                forger.begin();
                forger.write(&file.path, other);
                let report = forger.signed(&bundle);
                assert_told(&report, &file.path, "is not what the sealed file of the recorder holds");
                assert_eq!(report.followed, 1);
            }
        }
    }
    // The sound of the other recording, with the sealed file that it is of, and its key.
    let mut swapped = forger.begin();
    let (one, other) = (bundle.recordings[0].files[0].clone(), bundle.recordings[1].files[0].clone());
    forger.write(&one.path, &forger.read(&other.path));
    forger.write(&sealed_of(&one), &forger.read(&sealed_of(&other)));
    let Some(Origin::Disclosed { file_key, .. }) = &other.origin else { panic!() };
    disclosed(&mut swapped.recordings[0].files[0], file_key);
    assert_told(
        &forger.signed(&swapped),
        &sealed_of(&one),
        "not the sealed file that the recorder's receipt",
    );
    // The same sound, sealed by the archive under a key of its own choice.
    let mut resealed = forger.begin();
    let receiver = Bench::new();
    let mut random = OsRandom::new().unwrap();
    let to = Recipients::parse([&receiver.recipient]).unwrap();
    let sealed = seal_whole(&forger.read(&one.path), &to, &mut random).unwrap();
    let identity = Identities::parse(&std::fs::read_to_string(receiver.key()).unwrap()).unwrap();
    let key = sejf::archive::bundle::disclose(&mut &sealed[..], &identity).unwrap().file_key;
    forger.write(&sealed_of(&one), &sealed);
    disclosed(&mut resealed.recordings[0].files[0], &key.disclose());
    assert_told(
        &forger.signed(&resealed),
        &sealed_of(&one),
        "not the sealed file that the recorder's receipt",
    );
}

#[test]
fn headers_and_keys_of_others_are_found() {
    let forger = Forger::new(&[]);
    let bundle = forger.begin();
    let (one, other) = (bundle.recordings[0].files[0].clone(), bundle.recordings[1].files[0].clone());
    let header = |file: &BundledFile| {
        let bytes = forger.read(&sealed_of(file));
        let length = Header::read(&mut &bytes[..]).unwrap().to_bytes().len();
        (bytes[..length].to_vec(), bytes[length..].to_vec())
    };
    let ((_, body), (foreign, _)) = (header(&one), header(&other));
    forger.write(&sealed_of(&one), &[foreign, body].concat());
    assert_told(&forger.signed(&bundle), &sealed_of(&one), "not the sealed file that the recorder's receipt");
    // Another key, or none.
    let Some(Origin::Disclosed { file_key: foreign, .. }) = &other.origin else { panic!() };
    for (key, words) in [(foreign.as_str(), "does not open with its file key"), ("x", "names is none")] {
        let mut changed = forger.begin();
        disclosed(&mut changed.recordings[0].files[0], key);
        assert_told(&forger.signed(&changed), &sealed_of(&one), words);
    }
    // A path that leads out, and one that is not there.
    for path in ["../outside", "recordings/none"] {
        let mut changed = forger.begin();
        std::fs::write(forger.dir.parent().unwrap().join("outside"), "x").unwrap();
        let Some(Origin::Disclosed { sealed, .. }) = &mut changed.recordings[0].files[0].origin else {
            panic!()
        };
        *sealed = path.into();
        let report = forger.signed(&changed);
        assert!(report.faults.iter().any(|fault| fault.file() == path), "{:?}", report.faults);
    }
}

#[test]
fn receipts_and_checkpoints_of_others_are_found() {
    let forger = Forger::new(&[]);
    let bundle = forger.begin();
    let folder = |at: usize| format!("recordings/{}", bundle.recordings[at].id);
    let (receipt, proof) = (format!("{}/receipt.json", folder(0)), format!("{}/proof.json", folder(0)));
    // A receipt of another recording, by its own proof.
    forger.write(&receipt, &forger.read(&format!("{}/receipt.json", folder(1))));
    forger.write(&proof, &forger.read(&format!("{}/proof.json", folder(1))));
    assert_told(&forger.signed(&bundle), &receipt, "it is of another recording");
    // One that names what the archive would like it to name.
    forger.begin();
    let file = &bundle.recordings[0].files[0];
    let sealed = sealed_of(file);
    let mut forged = forger.read(&sealed);
    let before = Digest::of(&forged).to_string();
    *forged.last_mut().unwrap() ^= 1;
    forger.write(&sealed, &forged);
    let honest = String::from_utf8(forger.read(&receipt)).unwrap();
    assert!(honest.contains(&before));
    forger.write(&receipt, honest.replace(&before, &Digest::of(&forged).to_string()).as_bytes());
    assert_told(&forger.signed(&bundle), &proof, "is not the one that the log's keeper signed");
    // A log that the archive has made itself: of the same name, and of the same key with another signature.
    let recorder = &forger.made.recorder;
    let honest: Proof = serde_json::from_slice(&forger.read(&proof)).unwrap();
    let root = Hash::leaf(&forger.read(&receipt));
    let name = recorder.split('+').next().unwrap();
    let signer = Signer::from_seed(name, &[9; 32]).unwrap();
    let checkpoint = signer.sign(&Checkpoint { origin: name.into(), size: 1, root });
    let own = Proof {
        log: signer.verify_key().to_string(),
        index: 0,
        size: 1,
        hashes: Vec::new(),
        checkpoint,
        ..honest
    };
    for (log, words) in [(own.log.clone(), "of another log"), (honest.log, "the checkpoint of the log")] {
        let mut changed = forger.begin();
        changed.recordings[0].receipt_index = 0;
        changed.recordings[0].recorder = own.log.clone();
        forger.write(&proof, &serde_json::to_vec(&Proof { log, ..own.clone() }).unwrap());
        assert_told(&forger.signed(&changed), &proof, words);
    }
    // Who does not know the recorder's key sees that it is another's than of the other recording.
    let mut changed = forger.begin();
    changed.recordings[0].receipt_index = 0;
    changed.recordings[0].recorder = own.log.clone();
    forger.write(&proof, &serde_json::to_vec(&own).unwrap());
    forger.signed(&changed);
    let unknown = bundle_of(&forger.dir, &BundleAsked::default());
    assert!(unknown.recorders.len() == 2 && unknown.summary().contains("as the bundle names them"));
}

/// The entry that a bundle names is the one that let it be made: of these recordings, then, and nothing else.
#[test]
fn an_entry_of_another_matter_is_found() {
    let forger = Forger::new(&[]);
    let whole = forger.begin();
    let vault = Vault::open(&forger.made.home).unwrap();
    let honest = Entry::from_bytes(&forger.read("vault/entry.json")).unwrap();
    let id = whole.recordings[0].id;
    let others = [
        Entry { resource: Resource::of(&[id]), ..honest.clone() },
        Entry { action: Action::Open, ..honest.clone() },
        Entry { outcome: Outcome::Failed("no disk".into()), ..honest.clone() },
        Entry { at: Stamp::ZERO, ..honest },
    ];
    for other in others {
        let mut bundle = forger.begin();
        bundle.entry = vault.log.write(&[other]).unwrap();
        let (entry, proof) = prove_in(&vault.log.dir().join("receipts"), &vault.key, bundle.entry).unwrap();
        forger.write("vault/entry.json", &entry);
        forger.write("vault/proof.json", &serde_json::to_vec(&proof).unwrap());
        let report = forger.signed(&bundle);
        let told: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["wrong: vault/entry.json: it is not the entry of this export"]);
    }
    // One recording fewer than it was granted for.
    let mut fewer = forger.begin();
    let left_out = fewer.recordings.remove(1);
    std::fs::remove_dir_all(forger.dir.join(format!("recordings/{}", left_out.id))).unwrap();
    assert_told(&forger.signed(&fewer), "vault/entry.json", "is not the entry of this export");
}

fn bundle_of(dir: &Path, asked: &BundleAsked<'_>) -> BundleReport {
    bundle(dir, asked).unwrap()
}

/// What proves less is said to prove less.
#[test]
fn nothing_is_left_out_unsaid() {
    let forger = Forger::new(&[]);
    let mut bundle = forger.begin();
    for file in &mut bundle.recordings[0].files {
        file.origin = None;
    }
    let report = forger.signed(&bundle);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.followed, report.words), (1, 1));
    assert!(report.summary().contains("1 by the archive's word alone"), "{}", report.summary());
    let mut bundle = forger.begin();
    bundle.recordings[1].proved = false;
    let report = forger.signed(&bundle);
    assert_eq!((report.proved, report.followed), (1, 1));
    let mut bundle = forger.begin();
    bundle.recordings[1].files[0].path = bundle.recordings[0].files[0].path.clone();
    assert_told(&forger.signed(&bundle), "bundle.json", "is named twice");
    let mut bundle = forger.begin();
    bundle.recordings.push(bundle.recordings[0].clone());
    assert_told(&forger.signed(&bundle), "bundle.json", "is named twice");
    let mut bundle = forger.begin();
    let left_out = bundle.recordings[0].files.remove(1);
    assert_told(&forger.signed(&bundle), "bundle.json", &format!("it leaves out {}", left_out.receipt_name));
}

#[test]
fn of_an_old_archive_it_is_said_that_it_is_its_word() {
    let made = MadeVault::old();
    let receiver = Bench::new();
    for (to, more) in [("plain", &[][..]), ("under-a-key", &["-r", &receiver.recipient])] {
        let to = made.bench.path(to);
        assert_success(&export(&made, &to, more));
        let report = check(&to, &made);
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!((report.proved, report.followed, report.words, report.locked), (2, 0, 2, 0));
        assert!(report.summary().contains("2 by the archive's word alone: it has not kept"));
        assert!(!files(&to).iter().any(|path| path.components().any(|part| part.as_os_str() == "sealed")));
    }
}

/// Under the receiver's key, the receiver alone follows it, and an archive cannot forge that either.
#[test]
fn the_receiver_follows_a_sealed_bundle_to_its_receipts() {
    let receiver = Bench::new();
    let forger = Forger::new(&["-r", &receiver.recipient]);
    let whole = forger.begin();
    let identities =
        |bench: &Bench| Identities::parse(&std::fs::read_to_string(bench.key()).unwrap()).unwrap();
    let (own, strangers) = (identities(&receiver), identities(&Bench::new()));
    let look = |keys| {
        let (vault, recorder) = (Some(&forger.made.vault_key[..]), Some(&forger.made.recorder[..]));
        bundle_of(&forger.dir, &BundleAsked { vault, recorder, identities: keys })
    };
    for (keys, followed, locked) in [(None, 0, 2), (Some(&strangers), 0, 2), (Some(&own), 2, 0)] {
        let report = look(keys);
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!((report.followed, report.locked, report.words), (followed, locked, 0));
    }
    assert!(look(None).summary().contains("2 to be checked with the receiver's key"));
    // The archive puts its own sound under the receiver's key, without the first header, or with another's.
    let file = whole.recordings[0].files[0].clone();
    let mut random = OsRandom::new().unwrap();
    let to = Recipients::parse([&receiver.recipient]).unwrap();
    let forged = seal_whole(b"OggS forged", &to, &mut random).unwrap();
    let length = Header::read(&mut &forged[..]).unwrap().to_bytes().len();
    let mut changed = forger.begin();
    forger.write(&file.path, &forged);
    changed.recordings[0].files[0].body_sha256 = Digest::of(&forged[length..]);
    changed.recordings[0].files[0].body_bytes = (forged.len() - length) as u64;
    let missing = "is not in it, and the bundle says that it is";
    assert_told(&forger.signed(&changed), &file.path, missing);
    assert_told(&look(Some(&own)), &file.path, missing);
    let key = sejf::archive::bundle::disclose(&mut &forged[..], &own).unwrap().file_key;
    let header = Header::read(&mut &forged[..]).unwrap();
    let kept = sejf::seal::origin::stanza(&header, &key).unwrap();
    let stanzas: Vec<_> = header.stanzas.into_iter().chain([kept]).collect();
    let with_its_own = [&sejf::seal::header::write(&stanzas, &key), &forged[length..]].concat();
    forger.write(&file.path, &with_its_own);
    assert!(forger.signed(&changed).faults.is_empty());
    assert_told(&look(Some(&own)), &file.path, "not the sealed file that the recorder's receipt names");
    // What is in the open, or has no header at all, encloses nothing, whoever looks.
    for (bytes, words) in [(&b"OggS in the open"[..], "not an age file"), (b"", "age")] {
        forger.begin();
        forger.write(&file.path, bytes);
        let mut open = whole.clone();
        open.recordings[0].files[0].body_sha256 = Digest::of(bytes);
        open.recordings[0].files[0].body_bytes = bytes.len() as u64;
        let report = forger.signed(&open);
        assert_told(&report, &file.path, words);
        assert_eq!(report.locked, 1, "{report:?}");
    }
}
