//! Destruction where something is in the way: what cannot be removed, places that are away, words that came in between.

use super::*;

/// Adds a recorder whose spool is on this machine.
fn configure_spool(bench: &Bench) -> PathBuf {
    let (path, spool) = (bench.home().join("vault.toml"), bench.path("spool"));
    let config = std::fs::read_to_string(&path).expect("configuration");
    std::fs::write(path, format!("{config}\n[[recorder]]\nkey = \"recorder\"\nspool = {spool:?}\n")).expect("configuration");
    spool
}

#[test]
fn whatever_stays_is_certified_and_tried_again() {
    let bench = Bench::with_files(&[(OLD, 110)], 12);
    let spool = configure_spool(&bench);
    // A folder in a file's place: nobody unlinks that, whoever runs the test.
    let names = || bench.records.iter().flat_map(|record| &record.receipt.files).map(|file| spool.join(&file.name));
    names().for_each(|path| std::fs::create_dir_all(path).expect("folder"));
    let (vault, ring) = bench.unlock();
    bench.agree(&vault, &scope(&bench.ids(0..110)));
    let done = bench.destroy(&vault, &ring, &|_| true).expect("destroyed");
    assert_eq!(done, Done { recordings: 110, received: 110, ..Done::default() });
    let certificates = bench.certificates(&vault);
    assert_eq!(certificates.iter().map(|(_, one)| one.recordings().len()).sum::<usize>(), 110, "each once");
    for (_, one) in &certificates {
        let words = format!("{} files as they came could not be removed", one.recordings().len() * 12);
        assert!(one.remains.iter().any(|line| line.contains(&words)), "{:?}", one.remains);
    }
    drop((vault, ring));
    let run = bench.sejf(&["destroy", "run"], &["ewa", "jan"]);
    assert!(run.status.code() == Some(1) && said(&run).contains("110 have files as they came"), "{}", said(&run));
    names().for_each(|path| std::fs::remove_dir(&path).and_then(|()| std::fs::write(path, "x")).expect("a file"));
    assert_success(&bench.sejf(&["destroy", "run"], &["ewa", "jan"]));
    assert_eq!(files(&spool), Vec::<PathBuf>::new());
}

/// A reason stands in the log with all that is done because of it.
#[test]
fn a_note_that_the_log_has_no_room_for_is_refused() {
    let bench = Bench::new(&[(OLD, 1)]);
    let (id, note) = (bench.records[0].id.to_string(), "x".repeat(1_025));
    let ask = ["destroy", "ask", "--recording", &id, "--reason", "retention", "--note"];
    let refused = bench.sejf(&[&ask[..], &[&note]].concat(), &["ewa"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("1025 bytes"), "{}", said(&refused));
    assert_success(&bench.sejf(&[&ask[..], &[&note[1..]]].concat(), &["ewa"]));
}
