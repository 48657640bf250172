//! What comes a second time, or has gone meanwhile: catalogs that were lost, logs that were put back.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sejf::archive::access::Action;
use sejf::archive::entry::{Entry, Outcome};
use sejf::archive::record::Phase;
use sejf::shell::receipts::ReceiptsError;
use sejf::shell::vault::home::VaultError;
use sejf::shell::vault::intake::{Intake, IntakeError, Report, Spool, Step};

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::{World, capture, copy_dir, essence, files_of, objects, wait};

impl World {
    /// Changes the vault's configuration.
    pub(super) fn configure(&self, from: &str, to: &str) {
        let path = self.bench.path("home/vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(&path, config.replace(from, to)).unwrap();
    }

    /// One copy is enough, and the folder `spool` is watched and freed.
    pub(super) fn free(&self, spool: &str) {
        let copies = "keep_min = \"5 years\"\ncopies = { total = 1, sites = 1, offline = 0 }";
        self.configure("keep_min = \"5 years\"", copies);
        let spool = self.bench.path(spool);
        self.configure("[[recorder]]\n", &format!("[[recorder]]\nspool = {spool:?}\nfree = true\n"));
    }

    fn lose_catalog(&self) {
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let _ = fs::remove_file(self.bench.path("home").join(name));
        }
    }

    pub(super) fn run(&self, words: &[&str]) {
        let (home, key) = (self.bench.path("home"), self.bench.path("ewa.key"));
        let home = [text(&home)];
        let key = if words.contains(&"rebuild") { vec!["-i", text(&key)] } else { Vec::new() };
        let args: Vec<_> = words.iter().chain(&home).chain(&key).copied().collect();
        assert_success(&sejf(&args));
    }

    /// The catalog, in the place of one that was made because there was none.
    fn make_anew(&self) {
        let (home, key) = (self.bench.path("home"), self.bench.path("ewa.key"));
        let done = sejf(&["vault", "catalog", "rebuild", "--replace", text(&home), "-i", text(&key)]);
        assert!(done.status.code().is_some_and(|code| code < 2), "{done:?}");
    }

    /// As a vault that runs does, once.
    fn take_in_all(&self) -> (Report, Option<String>) {
        self.with_intake(async |intake| intake.take_in_all().await)
    }

    /// Does something with an intake that has the keys.
    pub(super) fn with_intake<T>(&self, what: impl AsyncFnOnce(&Intake) -> T) -> T {
        let vault = self.vault();
        let ring = self.unlock(&vault);
        wait(async {
            let intake = Intake::open(vault).await.unwrap();
            intake.set_keys(Some(ring));
            let done = what(&intake).await;
            intake.catalog().close().await;
            done
        })
    }

    /// What the vault's log says that was not taken in.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let read = self.vault().log.each(0, |_, entry| {
            let entry = Entry::from_bytes(entry).unwrap();
            if let (Action::TakeIn, Outcome::Failed(why)) = (entry.action, entry.outcome) {
                told.push(why);
            }
            Ok::<_, ReceiptsError>(())
        });
        read.unwrap();
        told
    }
}

/// A catalog that is made anew reads recorders' logs from their beginning.
#[test]
fn what_is_archived_and_freed_is_not_waited_for_after_the_catalog_was_lost() {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let (before, plain) = (essence(&world.records()), world.opened());
    for path in files_of(&world.bench.path("spool")) {
        fs::remove_file(path).unwrap();
    }
    world.lose_catalog();
    world.run(&["vault", "catalog", "rebuild", "--replace"]);
    let report = world.take_in("spool", true).unwrap();
    assert_eq!((report.waiting, report.refused), (vec![], vec![]));
    assert_eq!((report.known as usize, report.missing), (before.len(), 0));
    assert!(world.take_in("spool", true).unwrap().is_idle());
    assert_eq!(essence(&world.records()), before);
    assert_eq!(world.opened(), plain);
}

#[test]
fn from_a_folder_whose_log_is_refused_nothing_is_freed() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let (spool, older) = (world.bench.path("spool"), world.bench.path("older"));
    copy_dir(&spool.join("receipts"), &older);
    world.record(&["bye-from-callee.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    world.free("spool");
    world.run(&["copies", "run"]);
    let (newer, files) = (world.bench.path("newer"), files_of(&spool));
    fs::rename(spool.join("receipts"), &newer).unwrap();
    fs::rename(&older, spool.join("receipts")).unwrap();
    let (_, fault) = world.take_in_all();
    assert!(fault.is_some_and(|fault| fault.contains("was put back")));
    assert_eq!(files_of(&spool), files);
    fs::rename(spool.join("receipts"), &older).unwrap();
    fs::rename(&newer, spool.join("receipts")).unwrap();
    assert_eq!(world.take_in_all().1, None);
    assert_eq!(files_of(&spool), Vec::<PathBuf>::new());
}

/// Nobody shows a log a second time that is known.
#[test]
fn what_is_awaited_is_so_after_the_catalog_was_made_anew() {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
    let (path, away) = (files_of(&world.bench.path("spool"))[0].clone(), world.bench.path("away"));
    fs::rename(&path, &away).unwrap();
    assert_eq!(world.take_in("spool", true).unwrap().waiting.len(), 1);
    world.run(&["vault", "catalog", "rebuild", "--replace"]);
    let report = world.take_in("spool", true).unwrap();
    assert_eq!((report.waiting.len(), report.missing), (1, 0));
    fs::rename(&away, &path).unwrap();
    assert_eq!(world.take_in("spool", true).unwrap().archived, 1);
    assert_eq!(world.opened(), world.opened_there("spool"));
}

/// What was destroyed would be new to it.
#[test]
fn a_catalog_that_was_lost_takes_nothing_in_until_it_is_made_anew() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    world.lose_catalog();
    let refused = world.take_in("spool", true).unwrap_err();
    assert!(matches!(refused, IntakeError::Vault(VaultError::CatalogLost { .. })), "{refused}");
    // Nor does anybody else take it for one in which nothing is held and nothing was destroyed.
    let home = world.bench.path("home");
    for asked in [["hold", "list"], ["destroy", "list"], ["destroy", "plan"]] {
        let done = sejf(&[&asked[..], &[text(&home)]].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("catalog rebuild --replace"), "{asked:?}: {said}");
    }
    world.make_anew();
    world.take_in("spool", true).unwrap();
    // Where nothing but staged recordings was lost, there is nothing to make anew; they come again.
    let other = World::new();
    other.record(&["basic.pcap"], "spool");
    other.take_in("spool", false).unwrap();
    other.lose_catalog();
    assert!(other.take_in("spool", true).is_err());
    other.make_anew();
    assert!(other.take_in("spool", true).unwrap().archived > 0);
    assert_eq!(other.opened(), other.opened_there("spool"));
}

#[test]
fn what_was_staged_and_spoilt_is_taken_in_from_its_recorder_again() {
    for is_gone in [false, true] {
        let world = World::new();
        world.record(&["basic.pcap", "bye-from-callee.pcap"], "spool");
        let staged = world.take_in("spool", false).unwrap().staged;
        let path = files_of(&world.bench.path("home/incoming/staged"))[0].clone();
        if is_gone {
            fs::remove_file(&path).unwrap();
        } else {
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        // At once where the recorder's folder is here, and otherwise when it sends again.
        let report = world.take_in("spool", true).unwrap();
        assert_eq!((report.archived, report.refused.len(), report.missing), (staged, 0, 0));
        assert_eq!(world.opened(), world.opened_there("spool"));
        assert!(world.records().iter().all(|record| record.phase == Phase::Archived));
        let told = world.told();
        assert!(told.len() == 1 && told[0].contains("is awaited again"), "{told:?}");
        assert!(world.take_in("spool", true).unwrap().is_idle());
        assert!(objects(&world.bench.path("home/incoming")).is_empty());
    }
}

/// The vault looks every five seconds.
#[test]
fn what_stays_wrong_is_told_once() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    // Sealed to no key of the vault.
    let (spool, state, capture) =
        (world.bench.path("spool"), world.bench.path("state"), capture("bye-from-callee.pcap"));
    let args = ["replay", text(&capture), "--to", text(&spool), "--recipient", &world.bench.recipient];
    let args = [&args[..], &["--state", text(&state), "--no-sync", "--quiet"]].concat();
    assert!(sejf(&args).status.code().is_some_and(|code| code < 2));
    world.free("spool");
    world.take_in("spool", false).unwrap();
    let refused = world.with_intake(async |intake| {
        for _ in 0..3 {
            let (report, fault) = intake.take_in_all().await;
            assert_eq!((report.refused.is_empty(), fault), (false, None));
        }
        intake.take_in_all().await.0.refused.len()
    });
    let told = world.told();
    assert_eq!(told.len(), refused, "{told:?}");
    assert!(told.iter().all(|why| why.contains("stays staged: it is sealed to none of this vault's keys")));
    // The same where it was never staged, in several processes.
    let other = World::new();
    copy_dir(&spool, &other.bench.path("spool"));
    other.know("spool");
    for _ in 0..3 {
        assert!(!other.take_in("spool", true).unwrap().refused.is_empty());
    }
    let told = other.told();
    assert!(!told.is_empty());
    let ids: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(told.len(), ids.len(), "{told:?}");
}

#[test]
fn a_log_that_is_refused_again_and_again_is_told_once() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let (spool, older) = (world.bench.path("spool"), world.bench.path("older"));
    copy_dir(&spool, &older);
    world.record(&["bye-from-callee.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    world.with_intake(async |intake| {
        for _ in 0..3 {
            let refused = intake.take_in_folder(&older).await.unwrap_err();
            assert!(matches!(refused, IntakeError::Refused { .. }), "{refused}");
        }
    });
    assert_eq!(world.told().len(), 1);
}

/// Another process was quicker, and the recorder went on meanwhile.
#[test]
fn a_log_that_grew_since_it_was_opened_was_not_put_back() {
    let world = World::new();
    world.record(&["basic.pcap"], "spool");
    let opened = Spool::open(&world.bench.path("spool")).unwrap();
    world.record(&["bye-from-callee.pcap"], "spool");
    world.take_in("spool", true).unwrap();
    let report = world.with_intake(async |intake| intake.note_spool(&opened).await.unwrap());
    assert_eq!(report.entries, 0);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn a_batch_ends_where_it_holds_enough_and_the_next_goes_on_there() {
    let world = World::new();
    world.record(&["basic.pcap", "bye-from-callee.pcap", "bye-lost.pcap"], "spool");
    let recordings = files_of(&world.bench.path("spool")).len() / 2;
    let vault = world.vault();
    let ring = world.unlock(&vault);
    let (batches, counted) = (Arc::new(AtomicUsize::new(0)), Step::Logged);
    let count = batches.clone();
    wait(async {
        let intake = Intake::open(vault).await.unwrap().holding(1).ending(move |step| {
            count.fetch_add(usize::from(step == counted), Ordering::Relaxed);
            true
        });
        intake.take_in_folder(&world.bench.path("spool")).await.unwrap();
        assert!(batches.swap(0, Ordering::Relaxed) >= recordings, "staged, each by itself");
        intake.set_keys(Some(ring));
        assert_eq!(intake.archive_staged().await.unwrap().archived as usize, recordings);
        assert_eq!(batches.load(Ordering::Relaxed), recordings, "and archived");
        intake.catalog().close().await;
    });
    assert_eq!(world.opened(), world.opened_there("spool"));
}
