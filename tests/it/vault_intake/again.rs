//! What comes a second time, or has gone meanwhile: catalogs that were lost, logs that were put back.

use std::fs;

use sejf::shell::vault::intake::{Intake, Report};

use crate::support::{assert_success, sejf, text};
use crate::vault_intake::{World, copy_dir, essence, files_of, wait};

impl World {
    /// Changes the vault's configuration.
    fn configure(&self, from: &str, to: &str) {
        let path = self.bench.path("home/vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(&path, config.replace(from, to)).unwrap();
    }

    /// One copy is enough, and the folder `spool` is watched and freed.
    fn free(&self, spool: &str) {
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

    fn run(&self, words: &[&str]) {
        let (home, key) = (self.bench.path("home"), self.bench.path("ewa.key"));
        let home = [text(&home)];
        let key = if words.contains(&"rebuild") { vec!["-i", text(&key)] } else { Vec::new() };
        let args: Vec<_> = words.iter().chain(&home).chain(&key).copied().collect();
        assert_success(&sejf(&args));
    }

    /// As a vault that runs does, once.
    fn take_in_all(&self, unlocked: bool) -> (Report, Option<String>) {
        let vault = self.vault();
        let ring = unlocked.then(|| self.unlock(&vault));
        wait(async {
            let intake = Intake::open(vault).await.unwrap();
            intake.set_keys(ring);
            let done = intake.take_in_all().await;
            intake.catalog().close().await;
            done
        })
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
    let (_, fault) = world.take_in_all(true);
    assert!(fault.is_some_and(|fault| fault.contains("was put back")));
    assert_eq!(files_of(&spool), files);
    fs::rename(spool.join("receipts"), &older).unwrap();
    fs::rename(&newer, spool.join("receipts")).unwrap();
    assert_eq!(world.take_in_all(true).1, None);
    assert_eq!(files_of(&spool), Vec::<std::path::PathBuf>::new());
}
