//! What `verify` must find: every changed byte, cut, swapped, missing or added file, by name, and
//! without a key.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Bench, SEED, assert_success, own_captures, sejf, text};

/// A folder of recordings that can be put back as it was.
struct Recorded {
    bench: Bench,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Recorded {
    fn new() -> Self {
        let bench = Bench::new();
        let capture =
            own_captures().into_iter().find(|path| text(path).ends_with("demo.pcap")).expect("the demo");
        assert_success(&bench.replay(&capture, "out", &["--seed", SEED, "--quiet"]));
        let files = files_below(&bench.path("out"));
        assert!(files.len() > 6, "only {} files", files.len());
        Self { bench, files }
    }

    /// What `verify` prints and whether it found something.
    fn verify(&self) -> (bool, String) {
        let verified = sejf(&["verify", text(&self.bench.path("out"))]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned()
            + &String::from_utf8_lossy(&verified.stderr);
        (!verified.status.success(), said)
    }

    fn restore(&self, path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).expect("restoring");
    }
}

#[test]
fn every_changed_byte_is_found_and_named() {
    let recorded = Recorded::new();
    assert!(!recorded.verify().0, "found something in untouched files: {}", recorded.verify().1);
    for (path, bytes) in &recorded.files {
        // All of a small file; of a large one the borders and a stride.
        let step = (bytes.len() / 40).max(1);
        for place in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            fs::write(path, &changed).expect("changing");
            assert_named(&recorded, path, &format!("byte {place} changed"));
        }
        recorded.restore(path, bytes);
    }
}

#[test]
fn cut_missing_added_and_swapped_files_are_found_and_named() {
    let recorded = Recorded::new();
    for (path, bytes) in &recorded.files {
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(path, &bytes[..length]).expect("cutting");
            assert_named(&recorded, path, &format!("cut to {length}"));
        }
        fs::write(path, [bytes.as_slice(), b"x"].concat()).expect("lengthening");
        assert_named(&recorded, path, "one byte longer");
        fs::remove_file(path).expect("removing");
        assert_named(&recorded, path, "removed");
        recorded.restore(path, bytes);
    }
    let added = recorded.bench.path("out").join("01930000-0000-7000-8000-000000000000.opus.age");
    fs::write(&added, &recorded.files[0].1).expect("adding");
    assert_named(&recorded, &added, "added");
    fs::remove_file(&added).expect("removing");
    let sealed: Vec<_> =
        recorded.files.iter().filter(|(path, _)| text(path).ends_with(".opus.age")).collect();
    let [(a, a_bytes), (b, b_bytes), ..] = sealed.as_slice() else { panic!("two recordings") };
    fs::write(a, b_bytes).and_then(|()| fs::write(b, a_bytes)).expect("swapping");
    assert_named(&recorded, a, "swapped");
    assert_named(&recorded, b, "swapped");
}

/// One damage hides no other: with a damaged log, recordings are checked by the receipts that are left.
#[test]
fn a_damaged_log_hides_no_damaged_recording() {
    let recorded = Recorded::new();
    let find = |end: &str| recorded.files.iter().find(|(path, _)| text(path).ends_with(end)).expect("a file");
    let (recording, sound) = find(".opus.age");
    let changed = [&sound[..sound.len() - 1], &[sound[sound.len() - 1] ^ 1]].concat();
    fs::write(recording, changed).expect("changing");
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let log = recorded.files.iter().filter(|(path, _)| text(path).contains("/receipts/"));
    let mut damaged = 0;
    for (path, bytes) in log {
        let entries = text(path).contains("/entries/");
        for how in ["changed", "removed"] {
            let mut other = bytes.clone();
            // Of the entries the last one's last byte: all others are still as they were signed.
            *other.last_mut().expect("a byte") ^= 1;
            match how {
                "changed" => fs::write(path, other).expect("changing"),
                _ => fs::remove_file(path).expect("removing"),
            }
            let (found, said) = recorded.verify();
            let what = format!("{} {how}: {said}", path.display());
            assert!(found && said.contains(&name(path)), "{what}");
            let nothing_left = how == "removed" && (entries || text(path).ends_with("checkpoint"));
            let about = format!("changed: {}", name(recording));
            assert_eq!(said.contains(&about), !nothing_left, "{what}");
            assert!(said.contains(&name(recording)), "{what}");
            fs::write(path, bytes).expect("restoring");
            damaged += 1;
        }
    }
    assert_eq!(damaged, 8, "checkpoint, key, entries, hashes");
}

fn assert_named(recorded: &Recorded, path: &Path, what: &str) {
    let (found, said) = recorded.verify();
    assert!(found, "{}: {what}, and not found", path.display());
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(said.contains(name), "{}: {what}, found but not named: {said}", path.display());
}

fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).expect("file");
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// Links in a recording's place, and a folder that was emptied.
#[test]
fn links_and_emptied_folders_are_found() {
    let recorded = Recorded::new();
    let (path, bytes) =
        recorded.files.iter().find(|(path, _)| text(path).ends_with(".opus.age")).expect("a recording");
    let elsewhere = recorded.bench.path("elsewhere");
    fs::write(&elsewhere, bytes).expect("a copy");
    fs::remove_file(path).expect("removing");
    std::os::unix::fs::symlink(&elsewhere, path).expect("linking");
    assert_named(&recorded, path, "replaced by a link to the same bytes");
    for (path, _) in &recorded.files {
        fs::remove_file(path).expect("removing");
    }
    let (found, said) = recorded.verify();
    assert!(found && said.contains("no receipts"), "an emptied folder passes: {said}");
}

/// What an earlier checkpoint needed and a later one does not is looked at too; nothing stands behind a key.
#[test]
fn tiles_that_were_replaced_and_keys_with_more_are_compared() {
    let recorded = Recorded::new();
    let receipts = recorded.bench.path("out").join("receipts");
    let find = |part: &str| {
        recorded.files.iter().find(|(path, _)| text(path).contains(part)).expect("a file of the log").clone()
    };
    let ((tile, hashes), (key, line)) = (find("/tile/0/"), find("recorder.pub"));
    let replaced = tile.with_file_name("1");
    fs::write(&replaced, &hashes[..32]).expect("writing");
    assert!(!recorded.verify().0, "a beginning is no fault: {}", recorded.verify().1);
    let mut other = hashes[..32].to_vec();
    other[5] ^= 1;
    fs::write(&replaced, other).expect("changing");
    let (found, said) = recorded.verify();
    assert!(found && said.contains("tile/0/000.p/1"), "{said}");
    fs::remove_file(&replaced).expect("removing");
    for more in [&b"\n"[..], b" ", b"x"] {
        fs::write(&key, [line.as_slice(), more].concat()).expect("lengthening");
        assert_named(&recorded, &key, "longer");
    }
    fs::write(&key, &line).expect("restoring");
    // The log behind a link is not this directory's, and a pipe is not waited for.
    let checkpoint = receipts.join("checkpoint");
    let elsewhere = recorded.bench.path("elsewhere");
    fs::rename(&checkpoint, &elsewhere).expect("moving");
    std::os::unix::fs::symlink(&elsewhere, &checkpoint).expect("linking");
    let (found, said) = recorded.verify();
    assert!(found && said.contains("receipts/checkpoint is no regular file"), "{said}");
    fs::remove_file(&checkpoint).and_then(|()| fs::rename(&elsewhere, &checkpoint)).expect("moving back");
    fs::rename(&receipts, &elsewhere).expect("moving");
    std::os::unix::fs::symlink(&elsewhere, &receipts).expect("linking");
    let (found, said) = recorded.verify();
    assert!(found && said.contains("receipts is no folder of this directory"), "{said}");
}

/// A disk that does not give a file says so, and everything else is checked.
#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_checked() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let recorded = Recorded::new();
    let out = recorded.bench.path("out");
    let sealed: Vec<_> = recorded.files.iter().filter(|(path, _)| text(path).ends_with(".age")).collect();
    let [(closed, _), .., (changed, bytes)] = sealed.as_slice() else { panic!("two files") };
    fs::write(changed, [bytes.as_slice(), b"x"].concat()).expect("changing");
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    mode(closed, 0);
    let folder = out.join("closed");
    fs::create_dir(&folder).expect("a folder");
    mode(&folder, 0);
    mode(out.parent().expect("a folder"), 0o755);
    let mut verify = std::process::Command::new(env!("CARGO_BIN_EXE_sejf"));
    verify.args(["verify", text(&out)]);
    // No mode stops the superuser.
    if rustix::process::geteuid().is_root() {
        verify.uid(65_534).gid(65_534);
    }
    let Ok(verified) = verify.output() else {
        println!("skipped: another user cannot run the program where it was built");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&verified.stderr));
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    for words in [
        format!("not read: {}: Permission denied", name(closed)),
        "not read: closed: Permission denied".to_owned(),
        format!("longer: {}", name(changed)),
    ] {
        assert!(said.contains(&words), "`{words}` is not in: {said}");
    }
}
