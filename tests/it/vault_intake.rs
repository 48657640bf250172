//! Taking recordings in: from a recorder's folder to what the archive opens.

mod again;
mod broken;
mod kill;
mod send;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sejf::archive::custody::Custody;
use sejf::archive::epoch::Epoch;
use sejf::archive::record::{Digest, Phase, Record};
use sejf::base::time::Stamp;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::open::Opener;
use sejf::seal::random::Seeded;
use sejf::shell::keys::KeyKind;
use sejf::shell::vault::catalog::recordings::Filter;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::intake::{Intake, IntakeError, Report};
use sejf::shell::vault::keyring::KeyRing;

use crate::support::{Bench, assert_success, own_captures, sejf, text};

/// A vault, its custodian's key, and a recorder's folder.
pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) identity: String,
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn capture(name: &str) -> PathBuf {
    own_captures().into_iter().find(|path| path.ends_with(name)).expect("a capture of ours")
}

impl World {
    pub(crate) fn new() -> Self {
        let bench = Bench::new();
        let (identity, recipient) = generate_x25519(&mut Seeded::new(&[4; 32], "custodian", 0));
        fs::create_dir(bench.path("store")).unwrap();
        fs::write(bench.path("ewa.key"), identity.as_bytes()).unwrap();
        let new = NewVault {
            name: "test".into(),
            store: bench.path("store"),
            key_places: Vec::new(),
            kind: KeyKind::X25519,
            custody: Custody { threshold: 1, custodians: vec![("ewa".parse().unwrap(), recipient)] },
        };
        Vault::create(&bench.path("home"), &new).unwrap();
        Self { bench, identity: identity.to_string() }
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::new(Vault::open(&self.bench.path("home")).unwrap())
    }

    pub(crate) fn unlock(&self, vault: &Vault) -> Arc<KeyRing> {
        Arc::new(vault.unlock(&[Identities::parse(&self.identity).unwrap()]).unwrap())
    }

    /// Replays captures into the folder `spool`, sealed to the epoch that they are of.
    pub(crate) fn record(&self, captures: &[&str], to: &str) {
        let vault = self.vault();
        // That of our captures.
        let month = Epoch { class: "calls-5y".parse().unwrap(), month: "2026-05".parse().unwrap() };
        let recipient = self.unlock(&vault).epoch(&month).unwrap().recipient.clone();
        for capture_name in captures {
            let (spool, state, capture) =
                (self.bench.path(to), self.bench.path("state"), capture(capture_name));
            // The second recipient is for comparing: who has the plain key opens the same.
            let args =
                ["replay", text(&capture), "--to", text(&spool), "--recipient", &recipient, "--recipient"];
            let args = args.into_iter().chain([self.bench.recipient.as_str(), "--state", text(&state)]);
            let args: Vec<_> = args.chain(["--no-sync", "--quiet"]).collect();
            let done = sejf(&args);
            assert!(
                done.status.code().is_some_and(|code| code < 2),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        self.know(to);
    }

    /// Has the vault know whose folder this is.
    pub(crate) fn know(&self, spool: &str) {
        let key = fs::read_to_string(self.bench.path(spool).join("receipts/recorder.pub")).unwrap();
        let path = self.bench.path("home/vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        if !config.contains(key.trim()) {
            fs::write(&path, format!("{config}\n[[recorder]]\nkey = \"{}\"\n", key.trim())).unwrap();
        }
    }

    pub(crate) fn take_in(&self, spool: &str, unlocked: bool) -> Result<Report, IntakeError> {
        let vault = self.vault();
        let ring = unlocked.then(|| self.unlock(&vault));
        wait(async {
            let intake = Intake::open(vault).await?;
            intake.set_keys(ring);
            let mut report = intake.archive_staged().await?;
            report.add(intake.take_in_folder(&self.bench.path(spool)).await?);
            intake.catalog().close().await;
            Ok(report)
        })
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        wait(async {
            let intake = Intake::open(self.vault()).await.unwrap();
            let records = intake.catalog().page(None, 1_000, &Filter::default()).await.unwrap();
            intake.catalog().close().await;
            records
        })
    }

    /// All files of the archive, opened: by their names.
    pub(crate) fn opened(&self) -> BTreeMap<String, Vec<u8>> {
        let vault = self.vault();
        let ring = self.unlock(&vault);
        let mut plain = BTreeMap::new();
        for record in self.records().iter().filter(|record| record.phase == Phase::Archived) {
            for file in &record.files {
                let at = |object: String| fs::read(self.bench.path("store").join(object)).unwrap();
                let header = at(file.header_object(&record.id, record.receipt.start));
                let body = at(file.body_object(&record.id, record.receipt.start));
                assert_eq!(
                    (Digest::of(&header), header.len() as u64),
                    (file.header_sha256, file.header_bytes)
                );
                assert_eq!((Digest::of(&body), body.len() as u64), (file.body_sha256, file.body_bytes));
                let keys = ring.opens(&record.epoch().unwrap(), &record.id).unwrap().unwrap();
                let whole = [header, body].concat();
                let mut opener = Opener::open(&whole[..], &keys).unwrap();
                plain.insert(file.name.clone(), opener.read_whole().unwrap().to_vec());
            }
        }
        plain
    }

    /// All files of a recorder's folder, opened with the plain key.
    pub(crate) fn opened_there(&self, spool: &str) -> BTreeMap<String, Vec<u8>> {
        let key = Identities::parse(&fs::read_to_string(self.bench.key()).unwrap()).unwrap();
        let mut plain = BTreeMap::new();
        for path in files_of(&self.bench.path(spool)) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let sealed = fs::read(&path).unwrap();
            plain.insert(name, Opener::open(&sealed[..], &key).unwrap().read_whole().unwrap().to_vec());
        }
        plain
    }
}

pub(crate) fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "age")).collect()
}

pub(crate) fn objects(dir: &Path) -> BTreeMap<PathBuf, Digest> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(next) = dirs.pop() {
        // A vault that runs may be replacing files just now.
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = fs::read(&path)
                // The mark of a place is no object.
                && !path.ends_with(".sejf-place")
            {
                found.insert(path, Digest::of(&bytes));
            }
        }
    }
    found
}

/// The catalog made anew from objects and keys is the one that intake wrote.
fn assert_rebuilt(world: &World) {
    let (home, key) = (world.bench.path("home"), world.bench.path("ewa.key"));
    let rebuilt = sejf(&["vault", "catalog", "rebuild", text(&home), "-i", text(&key)]);
    assert_success(&rebuilt);
    let said = String::from_utf8_lossy(&rebuilt.stdout);
    assert!(said.starts_with(&format!("{} recordings", world.records().len())), "{said}");
    assert!(said.contains("0 differences"), "{said}");
}

/// What is the same however often and with what interruptions it was taken in.
fn essence(records: &[Record]) -> Vec<Record> {
    records.iter().map(|record| Record { taken_in: Stamp::ZERO, ..record.clone() }).collect()
}

#[test]
fn what_a_recorder_wrote_is_taken_in_listed_and_opened() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let home = world.bench.path("home");
    let (spool, key) = (world.bench.path("spool"), world.bench.path("ewa.key"));
    let done = sejf(&["vault", "take-in", text(&home), text(&spool), "-i", text(&key), "--json"]);
    assert_success(&done);
    let plain = world.opened_there("spool");
    assert!(!plain.is_empty());
    assert_eq!(world.opened(), plain);
    let records = world.records();
    assert!(
        records.iter().all(|record| record.class.as_ref().is_some_and(|class| class.as_str() == "calls-5y"))
    );
    // A second time nothing happens, and more is taken in where there is more.
    let before = objects(&world.bench.path("store"));
    assert!(world.take_in("spool", true).unwrap().is_idle());
    assert_eq!(objects(&world.bench.path("store")), before);
    world.record(&["bye-from-callee.pcap"], "spool");
    let report = world.take_in("spool", true).unwrap();
    assert!(report.archived > 0 && report.refused.is_empty() && report.missing == 0, "{report:?}");
    assert_eq!(world.opened(), world.opened_there("spool"));
    assert_rebuilt(&world);
}

#[test]
fn a_locked_vault_takes_in_and_archives_once_it_is_unlocked() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let report = world.take_in("spool", false).unwrap();
    assert!(report.staged > 0 && report.archived == 0, "{report:?}");
    assert!(world.records().iter().all(|record| record.phase == Phase::Staged && record.class.is_none()));
    assert!(objects(&world.bench.path("store")).is_empty(), "a header under an epoch's key goes to no place");
    // The recorder's disk may be gone by then.
    let plain = world.opened_there("spool");
    for path in files_of(&world.bench.path("spool")) {
        fs::remove_file(path).unwrap();
    }
    assert!(world.take_in("spool", false).unwrap().is_idle());
    let report = world.take_in("spool", true).unwrap();
    assert_eq!(report.archived as usize, world.records().len());
    assert_eq!(world.opened(), plain);
    assert!(objects(&world.bench.path("home/incoming")).is_empty());
    assert_rebuilt(&world);
}

#[test]
fn files_that_are_late_or_changed_are_not_taken_in_and_not_forgotten() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let spool = world.bench.path("spool");
    let (path, away) = (files_of(&spool)[0].clone(), world.bench.path("away"));
    fs::rename(&path, &away).unwrap();
    let report = world.take_in("spool", true).unwrap();
    assert_eq!((report.waiting.len(), report.refused.len(), report.missing), (1, 0, 0));
    let mut changed = fs::read(&away).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, &changed).unwrap();
    let report = world.take_in("spool", true).unwrap();
    assert_eq!((report.waiting.len(), report.refused.len(), report.missing), (0, 1, 0));
    assert!(world.opened().is_empty(), "none of the recording is taken in");
    fs::rename(&away, &path).unwrap();
    let report = world.take_in("spool", true).unwrap();
    assert_eq!((report.waiting.len(), report.refused.len(), report.archived), (0, 0, 1));
    assert_eq!(world.opened(), world.opened_there("spool"));
}

#[test]
fn a_log_that_was_put_back_or_rewritten_or_is_nobodys_is_refused_and_told() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let older = world.bench.path("older");
    copy_dir(&world.bench.path("spool"), &older);
    world.record(&["bye-from-callee.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let count = world.records().len();
    let refused = world.take_in("older", true).unwrap_err();
    assert!(matches!(refused, IntakeError::Refused { .. }), "{refused}");
    // The same recorder's key in another folder: another log.
    world.record(&["bye-lost.pcap", "bye-from-callee.pcap", "basic.pcap"], "other");
    let refused = world.take_in("other", true).unwrap_err();
    assert!(matches!(refused, IntakeError::Refused { .. }), "{refused}");
    assert_eq!(world.records().len(), count);
    let log = fs::read_to_string(world.bench.path("home/log/receipts/checkpoint")).unwrap();
    assert!(!log.is_empty());
    let config = world.bench.path("home/vault.toml");
    let known = fs::read_to_string(&config).unwrap();
    fs::write(&config, known.split("[[recorder]]").next().unwrap()).unwrap();
    let refused = world.take_in("spool", true).unwrap_err();
    assert!(matches!(refused, IntakeError::Stranger { .. }), "{refused}");
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}
