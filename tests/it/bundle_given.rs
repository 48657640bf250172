//! How bundles are given: as one file, by two people, and without what is of others.

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::time::Duration;

use sejf::archive::intake::Known;
use sejf::archive::tarball::{END, head, padding};
use sejf::base::limits::CHUNK_BYTES;
use sejf::recording::playable::Playable;
use sejf::seal::event::Entry;
use sejf::seal::identity::Identities;
use sejf::shell::vault::catalog::Catalog;
use sejf::shell::vault::catalog::awaited::NewEntries;
use sejf::shell::vault::catalog::recorders::Position;
use sejf::shell::vault::export_requests;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::rewrap::{self, Renewal};
use sejf::shell::verify::{BundleAsked, BundleFault, ReadLog, bundle};

use crate::bundle::{check, export, export_here, files, name, named};
use crate::support::{Bench, assert_success, installed, sejf, text};
use crate::vault_made::{MadeVault, wait};

fn export_to(made: &MadeVault, more: &[&str]) -> Output {
    let (home, key) = (made.home.clone(), made.bench.key());
    let mut args = vec!["export", text(&home)];
    args.extend(more);
    args.extend(["-i", &key]);
    sejf(&args)
}

fn tar_of(made: &MadeVault, file: &Path, more: &[&str]) -> Output {
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    let mut args: Vec<&str> = ids.iter().map(String::as_str).collect();
    args.extend(["--tar", text(file), "--for", "Sąd", "--reason", "court-order"]);
    args.extend(more);
    export_to(made, &args)
}

#[test]
fn one_file_holds_what_a_folder_holds() {
    let made = MadeVault::new();
    let file = made.bench.path("bundle.tar");
    assert_success(&tar_of(&made, &file, &[]));
    let report = check(&file, &made);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.proved, report.followed), (2, 2));
    // Nothing is unpacked, and what is there is not overwritten.
    let before = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    let vault = made.vault_key.clone();
    assert_success(&sejf(&["verify", "--bundle", text(&file), "--vault", &vault]));
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), before);
    let again = tar_of(&made, &file, &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));
    // Every other program makes the same folder of it.
    if installed("tar") {
        let dir = made.bench.path("unpacked");
        std::fs::create_dir(&dir).unwrap();
        let output = Command::new("tar").args(["-xf", text(&file), "-C", text(&dir)]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let unpacked = check(&dir, &made);
        assert!(unpacked.faults.is_empty(), "{:?}", unpacked.faults);
        assert_eq!((unpacked.files, unpacked.bytes), (report.files, report.bytes));
    }
}

/// The first place has a copy that is changed, which is seen only when all of it was written.
#[test]
fn one_file_has_the_whole_copy_alone() {
    let (made, receiver) = (MadeVault::new(), Bench::new());
    let (store, second) = (made.bench.path("store"), made.bench.path("second"));
    assert!(Command::new("cp").args(["-a", text(&store), text(&second)]).status().unwrap().success());
    // It says whose place it is.
    std::fs::remove_file(second.join(".sejf-place")).unwrap();
    let config = made.home.join("vault.toml");
    let place = format!(
        "\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {second:?}\n"
    );
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &place).unwrap();
    for path in files(&store).iter().filter(|path| text(path).ends_with(".body")) {
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let under_a_key = ["-r", &receiver.recipient];
    for (name, more, followed) in [("plain.tar", &[][..], 2), ("sealed.tar", &under_a_key, 0)] {
        let file = made.bench.path(name);
        assert_success(&tar_of(&made, &file, more));
        let report = check(&file, &made);
        assert!(report.faults.is_empty(), "{name}: {:?}", report.faults);
        assert_eq!((report.proved, report.followed), (2, followed), "{name}");
    }
}

#[test]
fn what_is_done_to_an_archive_is_found_in_it() {
    let made = MadeVault::new();
    let (folder, file) = (made.bench.path("bundle"), made.bench.path("bundle.tar"));
    assert_success(&export(&made, &folder, &[]));
    let made_s = {
        let bundle: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("bundle.json")).unwrap()).unwrap();
        let made: sejf::base::time::Stamp = serde_json::from_value(bundle["made"].clone()).unwrap();
        sejf::archive::tarball::seconds(made)
    };
    let contents: Vec<(String, Vec<u8>)> =
        files(&folder).iter().map(|path| (name(&folder, path), std::fs::read(path).unwrap())).collect();
    let pack = |contents: &[(String, Vec<u8>)], made_s: u64| {
        let mut bytes = Vec::new();
        for (path, content) in contents {
            bytes.extend_from_slice(&head(path, content.len() as u64, made_s).unwrap());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len() + padding(content.len() as u64), 0);
        }
        bytes.extend_from_slice(&END);
        bytes
    };
    let look = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        check(&file, &made)
    };
    let whole = pack(&contents, made_s);
    assert!(look(&whole).faults.is_empty());
    for (at, (path, content)) in contents.iter().enumerate() {
        let mut changed = contents.clone();
        changed[at].1[content.len() / 2] ^= 1;
        assert!(named(&look(&pack(&changed, made_s))).contains(path), "{path}");
        let mut missing = contents.clone();
        missing.remove(at);
        let faults = look(&pack(&missing, made_s)).faults;
        assert!(
            faults.iter().any(|fault| matches!(fault, BundleFault::Missing { file } if file == path)),
            "{path}: {faults:?}"
        );
    }
    let more = [&contents[..], &[("more".into(), b"x".to_vec())]].concat();
    assert!(
        matches!(&look(&pack(&more, made_s)).faults[..], [BundleFault::Added { file }] if file == "more")
    );
    assert!(named(&look(&pack(&contents, made_s + 1))).contains("bundle.json"));
    let refused = |bytes: &[u8], words: &str| {
        let report = look(bytes);
        let [BundleFault::Refused { fault, .. }] = &report.faults[..] else { panic!("{:?}", report.faults) };
        assert!(fault.contains(words), "{fault}");
        assert!(report.followed == 0 && report.files == 0);
        let output = sejf(&["verify", "--bundle", text(&file)]);
        assert_eq!(output.status.code(), Some(1));
    };
    refused(&whole[..whole.len() / 2], "is cut after");
    refused(&whole[..whole.len() - 1], "is cut after");
    refused(&[&whole[..], &[0; 512]].concat(), "belong to no file");
    refused(&pack(&[&contents[..], &contents[..1]].concat(), made_s), "twice");
    refused(b"", "is cut after");
    refused(&vec![b'x'; 4_096], "is no header");
}

#[test]
fn more_than_one_gives_alone_takes_a_second_person() {
    let made = MadeVault::new();
    let config = made.home.join("vault.toml");
    let text_of = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text_of.replace("export_alone_max = 20", "export_alone_max = 1")).unwrap();
    let (home, jan, ewa) = (text(&made.home).to_owned(), made.jan.key(), made.bench.key());
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    let to = made.bench.path("bundle");
    let refused = |output: Output, words: &str| {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
        assert!(!to.exists());
    };
    refused(export(&made, &to, &[]), "nobody gives away more than 1 recordings in a day alone");
    // One by one is no way around it.
    let one = made.bench.path("one");
    let alone = |id: &str, to: &Path| {
        export_to(&made, &[id, "--to", text(to), "--for", "Sąd", "--reason", "court-order"])
    };
    assert_success(&alone(&ids[0], &one));
    refused(alone(&ids[1], &to), "nobody gives away more than 1 recordings in a day alone");
    let say = |what: &[&str], key: &str| sejf(&[what, &["--reason", "court-order", "-i", key]].concat());
    let ask = |receiver: &str| {
        let asked = say(&["export", "ask", &home, &ids[0], &ids[1], "--for", receiver], &ewa);
        assert_success(&asked);
        let said = String::from_utf8(asked.stdout).unwrap();
        said.split([' ', ':']).nth(1).unwrap().to_owned()
    };
    let number = ask("Sąd");
    let run =
        |number: &str, to: &Path| sejf(&["export", &home, "--request", number, "--to", text(to), "-i", &ewa]);
    refused(run(&number, &to), "nobody has agreed to request");
    let approve = |number: &str, key: &str| say(&["export", "approve", &home, "--request", number], key);
    refused(approve(&number, &ewa), "is of ewa: another person has to agree");
    refused(approve("99999", &jan), "there is no request 99999");
    assert_success(&approve(&number, &jan));
    refused(approve(&number, &jan), "jan has agreed to request");
    assert_success(&run(&number, &to));
    assert!(check(&to, &made).faults.is_empty());
    let bundle: serde_json::Value =
        serde_json::from_slice(&std::fs::read(to.join("bundle.json")).unwrap()).unwrap();
    assert_eq!(bundle["reason"]["text"], format!("request {number}"));
    std::fs::remove_dir_all(&to).unwrap();
    refused(run(&number, &to), "was made already");
    let taken_back = ask("another");
    assert_success(&approve(&taken_back, &jan));
    assert_success(&say(&["export", "withdraw", &home, "--request", &taken_back], &ewa));
    refused(run(&taken_back, &to), "was withdrawn");
    let listed = sejf(&["export", "list", &home]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("made") && listed.contains("withdrawn") && listed.contains("Sąd"), "{listed}");
    // The log has all of it, also that one was refused alone.
    let log = ReadLog::open(&made.home.join("log"), Some(&made.vault_key)).unwrap();
    let entries: Vec<_> = log.entries.iter().map(|(_, entry)| String::from_utf8_lossy(entry)).collect();
    for words in ["second-person", "export-asked", "export-agreed", "export-withdrawn"] {
        assert!(entries.iter().any(|entry| entry.contains(words)), "{words}");
    }
}

/// Two who have read at once that it may be made.
#[test]
fn a_request_is_made_once_also_by_two_at_once() {
    let made = MadeVault::new();
    let (home, jan, ewa) = (text(&made.home).to_owned(), made.jan.key(), made.bench.key());
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    let say = |what: &[&str], key: &str| sejf(&[what, &["--reason", "court-order", "-i", key]].concat());
    let asked = say(&["export", "ask", &home, &ids[0], &ids[1], "--for", "Sąd"], &ewa);
    assert_success(&asked);
    let said = String::from_utf8(asked.stdout).unwrap();
    let number = said.split([' ', ':']).nth(1).unwrap().to_owned();
    assert_success(&say(&["export", "approve", &home, "--request", &number], &jan));
    let vault = Vault::open(&made.home).unwrap();
    let approved = || {
        let number = number.parse().unwrap();
        export_requests::read(&vault.log, number).unwrap().get(number).unwrap().approved().unwrap()
    };
    let (one, other) = (approved(), approved());
    let plain = |plain: &mut dyn Read, _, to: &mut dyn Write| std::io::copy(plain, to).map(drop);
    // Who takes it back waits for who makes it, and is told.
    let alone = export_requests::alone(&vault, export_requests::PATIENCE).unwrap();
    let args = ["export", "withdraw", &home, "--request", &number, "--reason", "court-order", "-i", &ewa];
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_sejf")).args(args).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting.try_wait().unwrap().is_none(), "withdrawn while it was being made");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    drop(alone);
    let (first, second) = (made.bench.path("first"), made.bench.path("second"));
    export_here(&made, &first, &plain, Some(&one)).unwrap();
    let refused = export_here(&made, &second, &plain, Some(&other)).unwrap_err().to_string();
    assert!(refused.contains("was made already") && !second.exists(), "{refused}");
}

/// As it was found: of the sound what is whole, and of the manifest nothing that opens.
#[test]
fn what_a_dead_recorder_left_is_given_and_followed_to_its_receipt() {
    let (made, receiver) = (MadeVault::recovered(), Bench::new());
    let (plain, sealed) = (made.bench.path("plain"), made.bench.path("sealed"));
    assert_success(&export(&made, &plain, &[]));
    let report = check(&plain, &made);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.proved, report.followed, report.words), (3, 3, 0));
    let left = made.ids[2];
    let folder = plain.join(format!("recordings/{left}"));
    let wav = std::fs::read(folder.join(format!("{left}.wav.interrupted"))).unwrap();
    // Whole chunks, as a file that players take.
    assert!(!wav.is_empty() && wav.len() % CHUNK_BYTES == 0, "{}", wav.len());
    assert_eq!(u32::from_le_bytes(wav[4..8].try_into().unwrap()) as usize + 8, wav.len());
    let whole = std::fs::read(plain.join(format!("recordings/{0}/{0}.wav", made.ids[1]))).unwrap();
    assert!(wav.len() < whole.len() && wav[44..] == whole[44..wav.len()]);
    let manifest = format!("{left}.json.interrupted.age");
    let spooled = std::fs::read(made.bench.path("spool").join(&manifest)).unwrap();
    assert_eq!(std::fs::read(folder.join(&manifest)).unwrap(), spooled);

    assert_success(&export(&made, &sealed, &["-r", &receiver.recipient]));
    let keys = Identities::parse(&std::fs::read_to_string(receiver.key()).unwrap()).unwrap();
    let (vault, recorder) = (Some(&made.vault_key[..]), Some(&made.recorder[..]));
    for (identities, followed, locked) in [(None, 0, 3), (Some(&keys), 3, 0)] {
        let report = bundle(&sealed, &BundleAsked { vault, recorder, identities }).unwrap();
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!((report.proved, report.followed, report.locked), (3, followed, locked));
    }
    // Restored, it opens as far as it goes.
    let (home, restored) = (text(&made.home), made.bench.path("restored"));
    assert_success(&sejf(&["copies", "run", home]));
    let output = sejf(&["restore-test", home, "--to", text(&restored), "-i", &made.bench.key()]);
    assert_success(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("6 opened, 2 of them sound"), "{said}");
}

/// An epoch is re-wrapped while a bundle is made: between two recordings, and what comes later is read as it is then.
#[test]
fn what_is_rewrapped_meanwhile_is_given_all_the_same() {
    let made = MadeVault::new();
    let (to, started) = (made.bench.path("bundle"), Cell::new(false));
    let (ended, has_ended) = channel();
    let rewrap = || {
        let vault = Vault::open(&made.home).unwrap();
        let key = std::fs::read_to_string(made.bench.key()).unwrap();
        let ring = vault.unlock(&[Identities::parse(&key).unwrap()]).unwrap();
        let epoch = "calls-5y/2026-05".parse().unwrap();
        let grant = rewrap::ask(&vault, &ring, &epoch, None).unwrap();
        rewrap::epoch(&vault, &ring, &grant, &epoch, Renewal::Anew).unwrap()
    };
    let renewed = std::thread::scope(|threads| {
        let (going, go) = channel();
        let waiting = threads.spawn(move || {
            go.recv().unwrap();
            let done = rewrap();
            // Nobody may be waiting any more.
            let _ = ended.send(());
            done.renewed
        });
        let plain = |plain: &mut dyn Read, bytes, to: &mut dyn Write| {
            if !started.replace(true) {
                going.send(()).unwrap();
                let early = has_ended.recv_timeout(Duration::from_secs(3));
                assert!(early.is_err(), "re-wrapped while it was being read");
            }
            std::io::copy(&mut Playable::new(plain, bytes)?, to).map(drop)
        };
        export_here(&made, &to, &plain, None).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(renewed, 2);
    let report = check(&to, &made);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

/// A recorder that sends: of its log the catalog has hashes, and no bundle has anything of others' entries.
#[test]
fn a_receipt_is_proved_without_the_entries_of_others() {
    let made = MadeVault::new();
    let spool = made.bench.path("spool");
    let log = ReadLog::open(&spool, Some(&made.recorder)).unwrap();
    let key = log.key.clone().unwrap();
    let checkpoint = std::fs::read_to_string(spool.join("receipts").join("checkpoint")).unwrap();
    let signed = key.open(&checkpoint).unwrap();
    let mut entries = NewEntries::default();
    for (index, entry) in &log.entries {
        match Entry::from_entry(entry) {
            Ok(Entry::Receipt(receipt)) => entries.receipts.push((*index, receipt)),
            _ => entries.others.push((*index, entry.clone())),
        }
    }
    let position = Position { size: signed.size, root: signed.root, checkpoint };
    wait(async {
        let catalog = Catalog::open_file(&made.home.join("catalog.db")).await.unwrap();
        let noted = catalog.note_log(&made.recorder, &Known::default(), &position, &entries).await.unwrap();
        assert!(noted);
        catalog.close().await;
    });
    std::fs::rename(&spool, made.bench.path("elsewhere")).unwrap();
    let (to, id) = (made.bench.path("bundle"), made.ids[1].to_string());
    let args = [&id, "--to", text(&to), "--for", "Sąd", "--reason", "court-order"];
    assert_success(&export_to(&made, &args));
    let report = check(&to, &made);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.recordings, report.proved, report.followed), (1, 1, 1));
    let other = made.ids[0].to_string();
    for path in files(&to) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(other.len()).any(|part| part == other.as_bytes()), "{}", path.display());
    }
}
