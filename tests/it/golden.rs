//! Every capture in `captures/` replays to the manifests in its `.expect` file, and to the same bytes
//! whatever the number of shards.
//!
//! After a wanted change: `BLESS=1 cargo test golden`, and read the diff.

use std::path::{Path, PathBuf};

use crate::support::{Bench, SEED, assert_success, lines, own_captures, text};

#[test]
fn captures_replay_to_their_expected_manifests() {
    let captures = own_captures();
    assert!(captures.len() >= 20, "only {} captures", captures.len());
    let mut wrong = Vec::new();
    for capture in captures {
        let bench = Bench::new();
        let replayed = bench.replay(&capture, "out", &["--seed", SEED, "--json", "--orphans"]);
        assert_success(&replayed);
        let got: String =
            lines(&replayed.stdout).iter().map(|value| format!("{:#}\n", stable(value))).collect();
        let path = PathBuf::from(format!("{}.expect", text(&capture)));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &got).expect("writing what is expected");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{}:\n{}", path.display(), first_difference(&expected, &got)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_number_of_shards_changes_nothing() {
    for capture in own_captures() {
        for audio in ["opus", "wav", "pcap"] {
            let bench = Bench::new();
            for shards in ["1", "4"] {
                let more = ["--seed", SEED, "--audio", audio, "--shards", shards, "--quiet"];
                assert_success(&bench.replay(&capture, shards, &more));
            }
            let (one, four) = (contents(&bench.path("1")), contents(&bench.path("4")));
            let names =
                |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
            assert_eq!(names(&one), names(&four), "{} as {audio}", capture.display());
            for ((name, a), (_, b)) in one.iter().zip(&four) {
                assert!(a == b, "{} as {audio}: {} differs", capture.display(), name.display());
            }
        }
    }
}

/// What may differ between machines is left out: sizes and hashes follow the encoder's build.
fn stable(value: &serde_json::Value) -> serde_json::Value {
    let mut value = value.clone();
    if let Some(files) = value.get_mut("files").and_then(|files| files.as_array_mut()) {
        for file in files {
            if let Some(file) = file.as_object_mut() {
                file.remove("bytes");
                file.remove("sha256");
            }
        }
    }
    if let Some(recorder) = value.get_mut("recorder").and_then(|recorder| recorder.as_object_mut()) {
        recorder.remove("version");
    }
    value
}

fn first_difference(expected: &str, got: &str) -> String {
    let pairs = expected.lines().chain(std::iter::repeat("<end>")).zip(got.lines().chain(["<end>"]));
    let found = pairs.enumerate().find(|(_, (expected, got))| expected != got);
    found.map_or_else(
        || "the expected text is longer".into(),
        |(line, (expected, got))| format!("line {}: expected {expected}, got {got}", line + 1),
    )
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").to_path_buf();
                files.push((name, std::fs::read(&path).expect("file")));
            }
        }
    }
    files.sort();
    files
}
