//! A recorder with a journal, killed at any moment: the next start leaves nothing in doubt, and a key holder gets
//! whole recordings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};

use crate::support::{Bench, assert_success, lines, sejf, text};

#[test]
fn a_killed_recorder_leaves_what_can_be_made_whole() {
    let bench = Bench::new();
    let capture = capture(&bench, 6, 12);
    let rounds = if std::env::var_os("SEJF_LONG_TESTS").is_some() { 100 } else { 4 };
    let mut from_journal = 0;
    for (format, extension) in [("wav", "wav"), ("pcap", "pcapng"), ("opus", "opus")] {
        let truth = truth(&bench, &capture, format);
        for round in 0..rounds {
            let to = format!("{format}-{round}");
            let dir = bench.path(&to);
            kill_while_recording(&bench, &capture, &to, format, round);

            assert_sealed(&dir);
            assert_sealed(&dir.join("journal"));
            // The dead run's leftovers are looked after while another capture is recorded.
            let again = recorder(&bench, &captures_dir("basic.pcap"), &to, format).output().expect("runs");
            assert_success(&again);
            assert!(left(&dir, ".part").is_empty() && !dir.join("journal").exists(), "round {round}");
            let verified = sejf(&["verify", text(&dir), "-i", &bench.key()]);
            assert_success(&verified);
            let interrupted = left(&dir, &format!(".{extension}.interrupted.age"));
            let said = String::from_utf8(verified.stdout).expect("text");
            assert_eq!(said.contains("`sejf salvage`"), !interrupted.is_empty(), "round {round}: {said}");

            let out = format!("{to}-salvaged");
            let salvaged = salvage(&bench, &dir, &out, &bench.key());
            assert_success(&salvaged);
            for made in lines(&salvaged.stdout) {
                from_journal += made["from_journal"].as_u64().expect("bytes");
            }
            assert_true_to(&bench, &out, &truth, format);
            // What was kept of calls that had ended is as it was, too.
            assert_true_to(&bench, &to, &truth, format);
        }
    }
    assert!(from_journal > 0, "no run was killed with anything in its journal only");
}

#[test]
fn the_wrong_key_says_so_and_a_second_salvage_does_nothing() {
    let bench = Bench::new();
    let other = Bench::new();
    let capture = capture(&bench, 2, 30);
    kill_while_recording(&bench, &capture, "out", "wav", 3);
    let dir = bench.path("out");
    // Before any start, as on a disk that was pulled out.
    let refused = salvage(&bench, &dir, "salvaged", &other.key());
    let said = String::from_utf8(refused.stderr).expect("text");
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("none of the keys opens"), "{said}");

    let made = salvage(&bench, &dir, "salvaged", &bench.key());
    assert_success(&made);
    assert!(!lines(&made.stdout).is_empty());
    let again = salvage(&bench, &dir, "salvaged", &bench.key());
    assert_success(&again);
    assert!(again.stdout.is_empty());
    let same = salvage(&bench, &dir, "out", &bench.key());
    assert_eq!(same.status.code(), Some(2));
}

#[test]
fn two_recorders_do_not_share_a_journal_and_nobody_salvages_from_a_live_one() {
    let bench = Bench::new();
    let capture = capture(&bench, 2, 6);
    let mut first = recorder(&bench, &capture, "out", "wav");
    let mut child = first.args(["--pace", "0.05"]).stdout(Stdio::null()).spawn().expect("runs");
    wait_until(&mut child, || !left(&bench.path("out/journal"), ".segment").is_empty());
    let second = recorder(&bench, &capture, "out", "wav").output().expect("runs");
    let refused = salvage(&bench, &bench.path("out"), "salvaged", &bench.key());
    child.kill().expect("it runs slowly");
    child.wait().expect("it ends");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another run keeps its journal"), "{said}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a recorder is writing into"), "{said}");
}

fn capture(bench: &Bench, calls: u64, seconds: u64) -> PathBuf {
    let kind = CallRecipe { talk: Duration::from_secs(seconds), ..CallRecipe::default() };
    let spacing = Duration::from_millis(1_100);
    // Another day than that of the project's own captures, so that starts tell calls apart.
    let start = Recipe::default().start.after(Duration::from_secs(86_400));
    let recipe = Recipe { start, calls, spacing, kinds: vec![kind], ..Recipe::default() };
    let path = bench.path("capture.pcap");
    std::fs::write(&path, generate(&recipe).expect("a sound recipe").capture).expect("capture");
    path
}

fn captures_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

/// What each call's file holds, by the call's start.
fn truth(bench: &Bench, capture: &Path, format: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for capture in [capture, &captures_dir("basic.pcap")] {
        let to = format!("truth-{format}-{}", all.len());
        assert_success(&bench.replay(capture, &to, &["--audio", format]));
        for manifest in bench.manifests(&to) {
            let start = manifest["start"].as_str().expect("a start").to_owned();
            all.insert(start, opened(bench, &to, &manifest).expect("a file"));
        }
    }
    all
}

/// The plain bytes of a recording. Of Ogg Opus only the packets: pages depend on how it was recorded.
fn opened(bench: &Bench, dir: &str, manifest: &serde_json::Value) -> Option<Vec<u8>> {
    let kind = manifest["files"].get(0)?["kind"].as_str()?;
    let plain = bench.open(dir, manifest, kind)?;
    let plain = match manifest["files"][0]["format"].as_str() {
        Some("opus") => opus_packets(plain),
        // The header says how long it is.
        Some("wav") => plain[44..].to_vec(),
        _ => plain,
    };
    Some(plain)
}

fn opus_packets(file: Vec<u8>) -> Vec<u8> {
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(file));
    let (mut packets, mut number) = (Vec::new(), 0);
    while let Some(packet) = reader.read_packet().expect("whole pages") {
        number += 1;
        // The first two are headers, and hold the id.
        if number > 2 {
            packets.extend(packet.data);
        }
    }
    packets
}

/// Neither sound nor packets nor names are to be found in any file.
fn assert_sealed(dir: &Path) {
    for path in std::fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry").path()) {
        let bytes = if path.is_file() { std::fs::read(&path).expect("file") } else { Vec::new() };
        for plain in ["WAVEfmt", "OpusTags", "SIP/2.0", "\"call_ids\"", "sip:"] {
            let found = bytes.windows(plain.len()).any(|window| window == plain.as_bytes());
            assert!(!found, "{} holds `{plain}`", path.display());
        }
    }
}

fn assert_true_to(bench: &Bench, dir: &str, truth: &BTreeMap<String, Vec<u8>>, format: &str) {
    if !bench.path(dir).exists() {
        return;
    }
    for manifest in bench.manifests(dir) {
        let Some(plain) = opened(bench, dir, &manifest) else { continue };
        let whole = &truth[manifest["start"].as_str().expect("a start")];
        assert!(whole.starts_with(&plain), "{format}: {} is not what was recorded", manifest["id"]);
        if manifest["state"] == "complete" {
            assert_eq!(whole.len(), plain.len(), "{format}: {}", manifest["id"]);
        }
    }
}

fn kill_while_recording(bench: &Bench, capture: &Path, to: &str, format: &str, round: u32) {
    let dir = bench.path(to);
    let mut child = recorder(bench, capture, to, format)
        .args(["--pace", "6"])
        .stdout(Stdio::null())
        .spawn()
        .expect("runs");
    wait_until(&mut child, || {
        !left(&dir.join("journal"), ".segment").is_empty() && !left(&dir, ".part").is_empty()
    });
    // A little further, each time by another stretch.
    std::thread::sleep(Duration::from_millis(2_500).mul_f64((f64::from(round) * 0.618_034).fract()));
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().expect("it ends");
}

fn wait_until(child: &mut std::process::Child, seen: impl Fn() -> bool) {
    while !seen() && child.try_wait().expect("the program can be asked").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn recorder(bench: &Bench, capture: &Path, to: &str, format: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sejf"));
    let dir = bench.path(to);
    command.args(["replay", text(capture), "--to", text(&dir), "--recipient", &bench.recipient]);
    command.args(["--state", text(&bench.path("state")), "--audio", format, "--quiet"]);
    command.args(["--journal", text(&dir.join("journal")), "--journal-segment", "1048576"]);
    command
}

fn salvage(bench: &Bench, dir: &Path, to: &str, key: &str) -> std::process::Output {
    let out = bench.path(to);
    sejf(&["salvage", text(dir), "-i", key, "--to", text(&out), "-r", &bench.recipient, "--json"])
}

/// Names in a folder that end so.
fn left(dir: &Path, end: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(end))
        .collect()
}
