//! Media for a safe: written, damaged in every way, found, mended.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sejf::archive::record::Digest;
use sejf::archive::sums::Statement;
use sejf::base::time::Stamp;
use sejf::seal::note::Signer;
use sejf::shell::verify::{MediumFault, MediumReport, medium, repair};

use crate::support::{assert_success, sejf, text};
use crate::vault_made::MadeVault;

fn write(made: &MadeVault, name: &str) -> PathBuf {
    let dir = made.bench.path(name);
    std::fs::create_dir(&dir).unwrap();
    let args = ["media", "write", text(&made.home), text(&dir), "--label", "May 2026", "--seal", "A 17"];
    // Ours is hundreds of megabytes in a build for tests.
    let program = made.bench.path("program");
    std::fs::write(&program, "#!/bin/sh\n".repeat(900)).unwrap();
    let more = ["--place", "safe 2", "--reason", "retention", "--program", text(&program)];
    assert_success(&sejf(&[&args[..], &more].concat()));
    dir
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn check(dir: &Path, made: &MadeVault) -> MediumReport {
    medium(dir, Some(&made.vault_key)).unwrap()
}

fn names(report: &MediumReport) -> Vec<&str> {
    let name = |fault| match fault {
        &MediumFault::Added { ref file }
        | &MediumFault::Changed { ref file, .. }
        | &MediumFault::Missing { ref file } => file.as_str(),
        other => panic!("{other}"),
    };
    report.faults.iter().map(name).collect()
}

#[test]
fn damage_is_found_named_and_mended() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let whole = files(&dir);
    let report = check(&dir, &made);
    assert!(report.faults.is_empty() && report.recordings == 2, "{:?}", report.faults);
    let mut seen = 0;
    for (name, bytes) in &whole {
        // One byte of each file, and the file's loss; of the program once is enough.
        let path = dir.join(name);
        let mut changed = bytes.clone();
        let at = bytes.len() / 3;
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let report = check(&dir, &made);
        assert_eq!(names(&report), [name], "{:?}", report.faults);
        if let MediumFault::Changed { at: ranges, .. } = &report.faults[0]
            && !ranges.is_empty()
        {
            let is_there = |(from, to): &(u64, u64)| (*from..*to).contains(&(at as u64));
            assert!(ranges.len() == 1 && ranges.iter().all(is_there), "{name} {at}: {ranges:?}");
            seen += 1;
        }
        assert!(report.mendable, "{name}");
        let mended = repair(&dir, Some(&made.vault_key)).unwrap();
        assert!(mended.faults.is_empty(), "{name}: {:?}", mended.faults);
        assert!(std::fs::read(&path).unwrap() == *bytes, "{name} was not mended to what it was");
        if bytes.len() <= 4_096 {
            std::fs::remove_file(&path).unwrap();
            assert_eq!(names(&check(&dir, &made)), [name]);
            assert!(repair(&dir, Some(&made.vault_key)).unwrap().faults.is_empty(), "{name} lost");
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(repair(&dir, Some(&made.vault_key)).unwrap().faults.is_empty(), "{name} cut");
            std::fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
            assert_eq!(names(&check(&dir, &made)), [name]);
            assert!(repair(&dir, Some(&made.vault_key)).unwrap().faults.is_empty(), "{name} longer");
        }
    }
    assert!(seen > 8, "{seen} files had a place named");
    assert!(files(&dir) == whole);
    std::fs::write(dir.join("more"), "x").unwrap();
    assert_eq!(names(&check(&dir, &made)), ["more"]);
}

#[test]
fn beyond_the_parity_nothing_is_pretended() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let largest = files(&dir).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    std::fs::remove_file(dir.join(&largest.0)).unwrap();
    let report = check(&dir, &made);
    assert!(!report.mendable && names(&report) == [&largest.0], "{:?}", report.faults);
    assert!(report.summary().contains("beyond"));
    let after = repair(&dir, Some(&made.vault_key)).unwrap();
    assert!(!after.faults.is_empty() && !after.mendable);
    // Signed by another, or by nobody.
    let other = MadeVault::new();
    let report = medium(&dir, Some(&other.vault_key)).unwrap();
    assert!(matches!(&report.faults[..], [MediumFault::Unsigned { .. }]), "{:?}", report.faults);
}

#[test]
fn no_key_is_on_a_medium_and_none_can_be_put_there() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let key = std::fs::read_to_string(made.bench.key()).unwrap();
    let secret = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let signer = std::fs::read_to_string(made.home.join("signer")).unwrap();
    for (name, bytes) in files(&dir) {
        for wanted in [secret, signer.trim()] {
            assert!(!bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()), "{name}");
        }
        if name.ends_with(".age") {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
            let stanzas: Vec<_> = head.split("-> ").skip(1).collect();
            assert!(stanzas[0].starts_with("sejf-envelope "), "{name}: {head}");
            let is_ours = |stanza: &&str| stanza.starts_with("sejf-");
            assert!(stanzas.iter().all(is_ours), "{name}: {head}");
        }
        assert!(!["envelopes", "custody", "epochs"].iter().any(|part| name.contains(part)), "{name}");
    }
    let refused = |dir: &Path, label: &str, words: &str| {
        let program = made.bench.path("program");
        let args = ["media", "write", text(&made.home), text(dir), "--label", label, "--reason", "retention"];
        let output = sejf(&[&args[..], &["--program", text(&program)]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{said}");
    };
    refused(&dir, "again", "not empty");
    let within = made.home.join("medium");
    std::fs::create_dir(&within).unwrap();
    refused(&within, "x", "kept apart");
    // What somebody writes on it is on it too.
    let labelled = made.bench.path("labelled");
    std::fs::create_dir(&labelled).unwrap();
    refused(&labelled, secret, "private key");
    assert_eq!(std::fs::read_dir(&labelled).unwrap().count(), 0);
}

#[test]
fn the_register_knows_who_had_a_medium_and_what_is_due() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let id = check(&dir, &made).id;
    let home = text(&made.home);
    let run = |args: &[&str]| {
        let output = sejf(args);
        assert_success(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let why = ["--reason", "audit", "--note", "T-1"];
    run(&[&["media", "check-out", home, &id, "--place", "Jan"][..], &why].concat());
    assert!(run(&["media", "list", home]).contains("out: Jan"));
    run(&[&["media", "check-in", home, &id, "--place", "safe 3", "--seal", "A 18"][..], &why].concat());
    run(&["media", "verify", text(&dir), "--vault", &made.vault_key, "--register", home]);
    let moves = run(&["media", "list", home, &id]);
    for words in ["written", "check-out", "check-in", "verified", "A 17", "A 18", "safe 3", "audit T-1"] {
        assert!(moves.contains(words), "{words}: {moves}");
    }
    assert_eq!(run(&["media", "due", home]), "");
    assert!(run(&["media", "due", home, "--all"]).contains("check by"));
    let signature = dir.join("README.txt");
    std::fs::write(&signature, "x").unwrap();
    let checked = sejf(&["media", "verify", text(&dir), "--register", home]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(run(&["media", "due", home]).contains("found damaged"));
    let unknown = sejf(&[&["media", "check-out", home, "nothing", "--place", "x"][..], &why].concat());
    assert!(!unknown.status.success());
    let log = sejf::shell::verify::ReadLog::open(&made.home.join("log"), Some(&made.vault_key)).unwrap();
    let media =
        log.entries.iter().filter(|(_, entry)| String::from_utf8_lossy(entry).contains("\"media\"")).count();
    assert!(log.proved && media == 10, "{media}");
}

/// The catalog is made anew from objects, and those say nothing of media.
#[test]
fn the_register_outlives_its_catalog() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let (home, key, id) = (text(&made.home), made.bench.key(), check(&dir, &made).id);
    let run = |args: &[&str]| String::from_utf8(sejf(args).stdout).unwrap();
    let why = ["--reason", "audit", "--note", "T-1"];
    assert_success(&sejf(&[&["media", "check-out", home, &id, "--place", "Jan"][..], &why].concat()));
    let (listed, moves) = (run(&["media", "list", home]), run(&["media", "list", home, &id]));
    assert!(listed.contains(&id) && moves.contains("check-out"), "{listed}{moves}");
    let rebuild = ["vault", "catalog", "rebuild", home, "-i", &key, "--replace"];
    let said = run(&rebuild);
    assert!(said.contains("It is the vault's catalog now") && !said.contains(&id), "{said}");
    assert_eq!((run(&["media", "list", home]), run(&["media", "list", home, &id])), (listed, moves));

    // Lost with nothing to take over: the medium says what is on it, and the log who had it.
    std::fs::remove_file(made.home.join("catalog.db")).unwrap();
    assert!(!run(&["media", "list", home]).contains(&id));
    let other = MadeVault::new();
    let elsewhere = sejf(&["media", "verify", text(&dir), "--register", text(&other.home)]);
    assert!(!elsewhere.status.success());
    let register = ["media", "verify", text(&dir), "--register", home];
    assert!(run(&register).contains("did not know it"));
    assert!(!run(&register).contains("did not know it"), "once");
    let moves = run(&["media", "list", home, &id]);
    for words in ["written", "check-out", "verified", "A 17", "Jan", "audit T-1"] {
        assert!(moves.contains(words), "{words}: {moves}");
    }
    let listed = run(&["media", "list", home]);
    for words in ["May 2026", "out: Jan", "  2  "] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
}

/// A medium that somebody has put links on: what they lead to is nothing of it, and stays as it is.
#[test]
fn no_link_leads_a_repair_out_of_the_medium() {
    let made = MadeVault::new();
    let dir = write(&made, "medium");
    let (whole, outside) = (files(&dir), made.bench.path("outside"));
    std::fs::create_dir(&outside).unwrap();
    let victim = outside.join("victim");
    std::fs::write(&victim, "of somebody else").unwrap();
    for name in ["MANIFEST.copy", "README.txt", "parity/slices.copy"] {
        std::fs::remove_file(dir.join(name)).unwrap();
        symlink(&victim, dir.join(name)).unwrap();
        assert_eq!(names(&check(&dir, &made)), [name]);
        assert!(repair(&dir, Some(&made.vault_key)).unwrap().faults.is_empty(), "{name}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"of somebody else", "{name}");
    }
    // A folder elsewhere with the same names in it, of which one is changed.
    let folder = outside.join("receipts");
    std::fs::rename(dir.join("receipts"), &folder).unwrap();
    symlink(&folder, dir.join("receipts")).unwrap();
    let changed = files(&folder).into_keys().next().unwrap();
    std::fs::write(folder.join(&changed), "of somebody else").unwrap();
    let before = files(&folder);
    assert!(!check(&dir, &made).faults.is_empty());
    repair(&dir, Some(&made.vault_key)).unwrap();
    assert!(files(&folder) == before, "a file outside was written");
    assert!(std::fs::symlink_metadata(dir.join("receipts")).unwrap().is_dir());
    assert!(check(&dir, &made).faults.is_empty() && files(&dir) == whole);
}

/// Signed by anybody: lengths that no medium has are not gone through.
#[test]
fn lengths_that_cannot_be_are_refused() {
    let signer = Signer::from_seed("stranger", &[5; 32]).unwrap();
    let (hash, slices) = (Digest::of(b""), Digest::of(&[b'x'; 32]));
    for (lengths, is_signed) in [([1 << 59, 1], true), ([u64::MAX, 2], false), ([1 << 60, 1], false)] {
        let dir = tempfile::tempdir().unwrap();
        let list =
            format!("{hash}  {}  a\n{hash}  {}  b\n{slices}  32  parity/slices\n", lengths[0], lengths[1]);
        let statement = Statement {
            kind: "medium".into(),
            id: "1".into(),
            made: Stamp::from_unix_nanos(1),
            list: Digest::of(list.as_bytes()),
        };
        std::fs::create_dir_all(dir.path().join("parity")).unwrap();
        for (name, bytes) in [
            ("vault.pub", format!("{}\n", signer.verify_key())),
            ("MANIFEST", list),
            ("MANIFEST.sig", statement.sign(&signer).unwrap()),
            ("parity/slices", "x".repeat(32)),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        for look in [medium, repair] {
            let report = look(dir.path(), None).unwrap();
            assert!(!report.mendable && !report.faults.is_empty());
            assert_eq!(report.id == "1", is_signed, "{:?}", report.faults);
        }
    }
}

#[test]
fn a_copy_that_cannot_be_read_is_not_called_changed() {
    let made = MadeVault::new();
    let store = made.bench.path("store");
    let body = files(&store).into_keys().find(|name| name.ends_with(".opus.body")).unwrap();
    let body = store.join(body);
    std::fs::remove_file(&body).unwrap();
    std::fs::create_dir(&body).unwrap();
    let (dir, program) = (made.bench.path("medium"), made.bench.path("program"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&program, "x").unwrap();
    let args =
        ["media", "write", text(&made.home), text(&dir), "--label", "x", "--reason", "audit", "--program"];
    let write = || {
        let output = sejf(&[&args[..], &[text(&program)]].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = write();
    assert!(said.contains("Is a directory") && !said.contains("changed"), "{said}");
    std::fs::remove_dir(&body).unwrap();
    let said = write();
    assert!(said.contains("missing") && !said.contains("changed"), "{said}");
    std::fs::write(&body, "cut").unwrap();
    assert!(write().contains("changed"));
}
