//! Bundles: made by the archive, checked by strangers.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sejf::archive::bundle::{Bundle, Origin};
use sejf::archive::entry::{Entry, Outcome};
use sejf::archive::export_request::{Approved, PARTLY};
use sejf::archive::record::RecordingId;
use sejf::archive::report::Language;
use sejf::seal::identity::Identities;
use sejf::shell::vault::export::{ExportError, Exporter, Handing, Order, PlainWriter, To};
use sejf::shell::vault::export_requests;
use sejf::shell::vault::home::Vault;
use sejf::shell::vault::wrapping::Sink;
use sejf::shell::verify::{BundleAsked, BundleFault, BundleReport, bundle};

use crate::support::{Bench, assert_success, sejf, text};
use crate::vault_made::MadeVault;

pub(crate) fn export(made: &MadeVault, to: &Path, more: &[&str]) -> Output {
    let (home, key) = (made.home.clone(), made.bench.key());
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    let mut args = vec!["export", text(&home)];
    args.extend(ids.iter().map(String::as_str));
    args.extend(["--to", text(to), "--for", "Sąd Rejonowy <Łódź>", "-i", &key]);
    args.extend(["--reason", "court-order", "--note", "II K 12/26"]);
    args.extend(more);
    sejf(&args)
}

pub(crate) fn check(dir: &Path, made: &MadeVault) -> BundleReport {
    let asked = BundleAsked {
        vault: Some(&made.vault_key),
        recorder: Some(&made.recorder),
        ..BundleAsked::default()
    };
    bundle(dir, &asked).unwrap()
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

pub(crate) fn name(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
}

pub(crate) fn named(report: &BundleReport) -> BTreeSet<String> {
    report.faults.iter().map(|fault| fault.file().to_owned()).collect()
}

#[test]
fn a_stranger_checks_a_bundle_without_home_network_or_key() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &["--language", "pl"]));
    // Nothing is known there: no home, no variable but what finds nothing, and no network where it can be taken away.
    let stranger = made.bench.path("stranger");
    std::fs::create_dir(&stranger).unwrap();
    let program = env!("CARGO_BIN_EXE_sejf");
    let verify = ["verify", "--bundle", text(&to), "--vault", &made.vault_key, "--recorder", &made.recorder];
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--net", program]);
    let can_unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut command = if can_unshare { alone } else { Command::new(program) };
    let checked =
        command.args(verify).env_clear().env("HOME", &stranger).current_dir(&stranger).output().unwrap();
    assert_success(&checked);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("nothing is changed") && said.contains("2 receipts proved"), "{said}");
    assert!(said.contains("2 recordings are what their recorder signed, to the last byte"), "{said}");
    assert_eq!(std::fs::read_dir(&stranger).unwrap().count(), 0);

    // What is in it is what was recorded, and players take it.
    let folder = to.join("recordings").join(made.ids[0].to_string());
    assert!(std::fs::read(folder.join(format!("{}.opus", made.ids[0]))).unwrap().starts_with(b"OggS"));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["id"], made.ids[0].to_string());
    let wav = to.join(format!("recordings/{0}/{0}.wav", made.ids[1]));
    let wav = std::fs::read(wav).unwrap();
    let length = u32::from_le_bytes(wav[4..8].try_into().unwrap());
    assert_eq!(u64::from(length) + 8, wav.len() as u64);
    let page = std::fs::read_to_string(to.join("report.html")).unwrap();
    assert!(page.contains("Sąd Rejonowy &lt;Łódź&gt;") && page.contains("Wydane nagrania"));
    assert!(page.contains(&made.ids[0].to_string()) && page.contains("II K 12/26"));
}

#[test]
fn every_changed_byte_is_found_in_its_file() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &[]));
    assert!(check(&to, &made).faults.is_empty());
    for path in files(&to) {
        let whole = std::fs::read(&path).unwrap();
        let step = (whole.len() / 40).max(1);
        for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            std::fs::write(&path, &changed).unwrap();
            let report = check(&to, &made);
            assert!(named(&report).contains(&name(&to, &path)), "{} byte {at}: {report:?}", path.display());
            if !path.ends_with("SHA256SUMS") {
                assert_eq!(report.faults.len(), 1, "{} byte {at}: {:?}", path.display(), report.faults);
            }
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(named(&check(&to, &made)).contains(&name(&to, &path)), "cut {}", path.display());
        std::fs::remove_file(&path).unwrap();
        let missing = check(&to, &made).faults;
        let is_missing =
            |fault: &BundleFault| matches!(fault, BundleFault::Missing { file } if *file == name(&to, &path));
        assert!(missing.iter().any(is_missing), "{}: {missing:?}", path.display());
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::write(to.join("recordings/more.txt"), "x").unwrap();
    assert!(
        matches!(&check(&to, &made).faults[..], [BundleFault::Added { file }] if file == "recordings/more.txt")
    );
    std::fs::remove_file(to.join("recordings/more.txt")).unwrap();
    // Two that have changed places.
    let receipts = made.ids.iter().map(|id| to.join(format!("recordings/{id}/receipt.json")));
    let receipts: Vec<PathBuf> = receipts.collect();
    std::fs::rename(&receipts[0], to.join("aside")).unwrap();
    std::fs::rename(&receipts[1], &receipts[0]).unwrap();
    std::fs::rename(to.join("aside"), &receipts[1]).unwrap();
    let swapped: BTreeSet<String> = receipts.iter().map(|path| name(&to, path)).collect();
    assert_eq!(named(&check(&to, &made)), swapped);
}

#[test]
fn who_signs_it_anew_is_no_archive_that_is_known() {
    let (made, other) = (MadeVault::new(), MadeVault::new());
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &[]));
    let report =
        bundle(&to, &BundleAsked { vault: Some(&other.vault_key), ..BundleAsked::default() }).unwrap();
    assert!(report.faults.iter().any(|fault| fault.file() == "SHA256SUMS.sig"), "{:?}", report.faults);
    let report =
        bundle(&to, &BundleAsked { recorder: Some(&other.recorder), ..BundleAsked::default() }).unwrap();
    assert!(!report.pinned && report.proved == 0 && report.faults.len() == 2, "{:?}", report.faults);
    let report = bundle(&to, &BundleAsked::default()).unwrap();
    assert!(report.faults.is_empty() && report.summary().contains("what the bundle says of itself"));
}

#[test]
fn under_the_receivers_key_nothing_is_in_the_open() {
    let (made, receiver) = (MadeVault::new(), Bench::new());
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &["-r", &receiver.recipient]));
    assert!(check(&to, &made).faults.is_empty());
    let caller = {
        let sealed = to.join(format!("recordings/{0}/{0}.json.age", made.ids[0]));
        let plain = receiver.path("manifest.json");
        assert_success(&sejf(&["open", text(&sealed), "-i", &receiver.key(), "-o", text(&plain)]));
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(plain).unwrap()).unwrap();
        manifest["call"]["from"].as_str().unwrap().to_owned()
    };
    assert!(caller.len() > 5, "{caller}");
    for path in files(&to) {
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(caller.len()).any(|window| window == caller.as_bytes());
        assert!(!found && !bytes.starts_with(b"OggS"), "{}", path.display());
    }
}

/// What a program prints is kept in places where no key belongs.
#[test]
fn what_is_printed_has_no_file_key() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    let output = export(&made, &to, &["--json"]);
    assert_success(&output);
    let bundle: Bundle = serde_json::from_slice(&std::fs::read(to.join("bundle.json")).unwrap()).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut keys = 0;
    for file in bundle.recordings.iter().flat_map(|recording| &recording.files) {
        let Some(Origin::Disclosed { file_key, .. }) = &file.origin else { panic!("{file:?}") };
        assert!(!said.contains(file_key), "{said}");
        keys += 1;
    }
    assert_eq!(keys, 4);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["id"], &said["entry"]), (&bundle.id.into(), &bundle.entry.into()));
    let ids: Vec<RecordingId> = serde_json::from_value(said["recordings"].clone()).unwrap();
    assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from_iter(made.ids));
}

#[test]
fn nothing_is_given_away_without_reason_key_and_log() {
    let (made, stranger) = (MadeVault::new(), Bench::new());
    let to = made.bench.path("bundle");
    let refused = |args: &[&str], words: &str| {
        let output = sejf(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{said}");
        assert!(!to.exists());
    };
    let (home, id, key) = (text(&made.home), made.ids[0].to_string(), made.bench.key());
    let to_text = text(&to);
    let args = ["export", home, &id, "--to", to_text, "--for", "x", "-i", &key];
    refused(&[&args[..], &["--reason", "curiosity"]].concat(), "is no code of a reason");
    let args =
        ["export", home, &id, "--to", to_text, "--for", "x", "--reason", "audit", "-i", &stranger.key()];
    refused(&args, "second factor");
    let other = "0193c4a5-0000-7000-8000-000000000001";
    let args = ["export", home, other, "--to", to_text, "--for", "x", "--reason", "audit", "-i", &key];
    refused(&args, "there is no recording");
    // A copy that was changed is not given away, and what was begun is removed.
    let body = files(&made.bench.path("store")).into_iter().find(|path| text(path).ends_with(".opus.body"));
    let body = body.unwrap();
    let mut bytes = std::fs::read(&body).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&body, bytes).unwrap();
    let args = ["export", home, &id, "--to", to_text, "--for", "x", "--reason", "audit", "-i", &key];
    refused(&args, "changed");
    // The log has all of it, also that it failed.
    let log = sejf::shell::verify::ReadLog::open(&made.home.join("log"), Some(&made.vault_key)).unwrap();
    let entries: Vec<_> = log.entries.iter().map(|(_, entry)| String::from_utf8_lossy(entry)).collect();
    let exports: Vec<_> = entries.iter().filter(|entry| entry.contains(r#""action":"export""#)).collect();
    assert_eq!(exports.len(), 2, "{exports:?}");
    assert!(exports[0].contains("granted") && exports[1].contains("failed"));
}

/// A disk that is not mounted holds up nothing that another has.
#[test]
fn a_place_that_is_away_is_left_out() {
    let made = MadeVault::new();
    let path = made.home.join("vault.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let away = made.bench.path("away");
    let place =
        format!("\n[[place]]\nname = \"second\"\nsite = \"there\"\nkind = \"directory\"\npath = {away:?}\n");
    std::fs::write(&path, config + &place).unwrap();
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &[]));
    assert!(check(&to, &made).faults.is_empty());
    let (dir, program) = (made.bench.path("medium"), made.bench.path("program"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&program, "x").unwrap();
    let args =
        ["media", "write", text(&made.home), text(&dir), "--label", "x", "--reason", "audit", "--program"];
    assert_success(&sejf(&[&args[..], &[text(&program)]].concat()));
    // Where no place has it, the first one's fault is told.
    let store = made.bench.path("store");
    std::fs::rename(&store, made.bench.path("unmounted")).unwrap();
    let refused = export(&made, &made.bench.path("none"), &[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the place is not there") && said.contains(text(&store)), "{said}");
}

/// Whatever stands where the list should be holds nobody up.
#[test]
fn a_list_that_is_no_file_is_told_and_not_read() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    assert_success(&export(&made, &to, &[]));
    let (list, elsewhere) = (to.join("SHA256SUMS"), made.bench.path("elsewhere"));
    std::fs::rename(&list, &elsewhere).unwrap();
    let link = |target: &Path| std::os::unix::fs::symlink(target, &list).unwrap();
    let pipe = || assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    let puts: [&dyn Fn(); 3] = [&|| link(&elsewhere), &|| link(Path::new("/dev/zero")), &pipe];
    for put in puts {
        put();
        let report = check(&to, &made);
        assert!(
            matches!(&report.faults[..], [BundleFault::NotAFile { file }] if file == "SHA256SUMS"),
            "{:?}",
            report.faults
        );
        std::fs::remove_file(&list).unwrap();
    }
    std::fs::rename(&elsewhere, &list).unwrap();
    assert!(check(&to, &made).faults.is_empty());
}

/// The log is damaged while the bundle is made, where only who writes it sees that.
#[test]
fn nothing_is_given_away_that_the_log_does_not_have() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    let damage = |plain: &mut dyn std::io::Read, _, to: &mut dyn std::io::Write| {
        std::fs::write(made.home.join("log/receipts/recorder.pub"), "somebody else's\n")?;
        std::io::copy(plain, to).map(drop)
    };
    let refused = export_here(&made, &to, &damage, None).unwrap_err();
    assert!(matches!(refused, ExportError::Log(_)), "{refused}");
    assert!(!to.exists(), "a bundle that nobody knows of");
}

/// Something is in the way of the signature, which comes last.
#[test]
fn the_log_has_a_bundle_before_it_is_whole() {
    let made = MadeVault::new();
    let to = made.bench.path("bundle");
    let in_the_way = |plain: &mut dyn std::io::Read, _, out: &mut dyn std::io::Write| {
        std::fs::write(to.join("SHA256SUMS.sig"), "in the way")?;
        std::io::copy(plain, out).map(drop)
    };
    let refused = export_here(&made, &to, &in_the_way, None).unwrap_err();
    assert!(matches!(refused, ExportError::Parcel(_)) && !to.exists(), "{refused}");
    let log = sejf::shell::verify::ReadLog::open(&made.home.join("log"), Some(&made.vault_key)).unwrap();
    let entries: Vec<_> = log.entries.iter().map(|(_, entry)| String::from_utf8_lossy(entry)).collect();
    let exports: Vec<_> = entries.iter().filter(|entry| entry.contains(r#""action":"export""#)).collect();
    assert_eq!(exports.len(), 3, "{exports:?}");
    assert!(exports[1].contains("sha256sums") && exports[2].contains("failed"), "{exports:?}");
}

/// Whoever breaks off has what came before: it counts as given, and the log has how it ended. Of what never left,
/// nothing counts.
#[test]
fn what_was_sent_in_part_counts_as_given() {
    let made = MadeVault::new();
    let plain =
        |plain: &mut dyn std::io::Read, _, to: &mut dyn std::io::Write| std::io::copy(plain, to).map(drop);
    let outcome_of = |breaks_off_at: usize| {
        let begun = Cell::new(false);
        let send = |bytes: &[u8]| {
            if bytes.len() >= breaks_off_at {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            begun.set(true);
            Ok(())
        };
        let sink = Sink { send: &send, begun: &begun };
        let broken = export_to(&made, To::Sent(sink), &plain, None).unwrap_err();
        assert!(broken.to_string().starts_with("sending `recordings/"), "{broken}");
        let vault = Vault::open(&made.home).unwrap();
        let (entries, _) = vault.log.read_from(0, 4_000).unwrap();
        let mut newest = entries.iter().rev().map(|bytes| Entry::from_bytes(bytes).unwrap());
        let last = newest.find(|entry| entry.action.name() == "export").unwrap();
        let given = export_requests::given_alone(&vault.log, &last.actor, last.at).unwrap();
        (last.outcome, given)
    };
    let (outcome, given) = outcome_of(0);
    assert!(matches!(&outcome, Outcome::Failed(why) if why.starts_with("sending")), "{outcome:?}");
    assert_eq!(given, 0);
    // In the middle of the first that is sound.
    let (outcome, given) = outcome_of(4_000);
    assert!(matches!(&outcome, Outcome::Failed(why) if why.starts_with(PARTLY)), "{outcome:?}");
    assert_eq!(given, made.ids.len() as u64);
}

/// Exports in this process.
pub(crate) fn export_here(
    made: &MadeVault,
    to: &Path,
    write: &PlainWriter<'_>,
    approved: Option<&Approved>,
) -> Result<Bundle, ExportError> {
    export_to(made, To::Folder(to), write, approved)
}

fn export_to(
    made: &MadeVault,
    to: To<'_>,
    write: &PlainWriter<'_>,
    approved: Option<&Approved>,
) -> Result<Bundle, ExportError> {
    let vault = Vault::open(&made.home).unwrap();
    let key = std::fs::read_to_string(made.bench.key()).unwrap();
    let ring = vault.unlock(&[Identities::parse(&key).unwrap()]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let catalog = runtime.block_on(vault.catalog()).unwrap();
    let (actor, places) = (vault.actor_of(&ring), vault.places().unwrap());
    let patience = export_requests::PATIENCE;
    let exporter =
        Exporter { vault: &vault, ring: &ring, catalog: &catalog, places, runtime: &runtime, patience };
    exporter.export(&Order {
        ids: &made.ids,
        to,
        receiver: approved.map_or("x", |approved| &approved.request().receiver),
        reason: vault.reason("audit", "").unwrap(),
        actor: &actor,
        language: Language::English,
        handing: Handing::Plain(write),
        approved,
        granted: None,
    })
}
