//! `kill -9` at any moment leaves whole recordings with receipts, and the rest told for what it is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};

use crate::support::{Bench, assert_success, sejf, text};

#[test]
fn a_killed_replay_leaves_nothing_in_doubt() {
    let bench = Bench::new();
    let capture = bench.path("capture.pcap");
    // Calls that end one after the other, so that there is a commit to be killed in for most of the run.
    let kind = CallRecipe { talk: Duration::from_millis(1_500), ..CallRecipe::default() };
    let recipe =
        Recipe { calls: 60, spacing: Duration::from_millis(400), kinds: vec![kind], ..Recipe::default() };
    std::fs::write(&capture, generate(&recipe).expect("a sound recipe").capture).expect("capture");

    let rounds = if std::env::var_os("SEJF_LONG_TESTS").is_some() { 200 } else { 20 };
    let (mut receipts, mut unfinished) = (0, 0);
    for round in 0..rounds {
        let to = format!("killed-{round}");
        let dir = bench.path(&to);
        let mut child =
            replay(&bench, &capture, &to).stdout(Stdio::null()).spawn().expect("the program runs");
        // What to wait for is seen on the disk, not guessed by the clock; then a little further, each time
        // by another stretch.
        let seen: &dyn Fn() -> bool = match round % 4 {
            0 => &|| dir.exists(),
            1 => &|| has_part(&dir),
            _ => &|| dir.join("receipts/checkpoint").exists(),
        };
        while !seen() && child.try_wait().expect("the program can be asked").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(80).mul_f64((f64::from(round) * 0.618_034).fract()));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("the program ends");
        let report = verify(&bench, &dir);
        receipts += report["receipts"].as_u64().expect("receipts");
        unfinished += report["faults"].as_array().expect("faults").len();
        assert_only_leftovers(&report, &dir);

        let again = replay(&bench, &capture, &to).output().expect("the program runs");
        assert_success(&again);
        let after = verify(&bench, &dir);
        let made =
            after["receipts"].as_u64().expect("receipts") - report["receipts"].as_u64().expect("receipts");
        assert_eq!(made, recipe.calls, "round {round}");
        assert_only_leftovers(&after, &dir);
    }
    assert!(receipts > 0, "no run was killed late enough to have receipts");
    assert!(unfinished > 0, "no run was killed early enough to leave something");
}

fn has_part(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    names.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "part"))
}

/// Every receipted file is whole and opens: else there would be other faults than these.
fn assert_only_leftovers(report: &serde_json::Value, dir: &Path) {
    let signed = dir.join("receipts/checkpoint").exists();
    for fault in report["faults"].as_array().expect("faults") {
        let fault = fault.as_str().expect("text");
        let leftover = fault.starts_with("unfinished: ")
            || fault.starts_with("added: ") && fault.ends_with(" is in no receipt")
            || !signed && fault.starts_with("missing: receipts/checkpoint")
            // Killed in its very first commit.
            || !signed && fault.starts_with("receipts: ");
        assert!(leftover, "{fault}");
    }
}

fn verify(bench: &Bench, dir: &Path) -> serde_json::Value {
    let verified = sejf(&["verify", text(dir), "-i", &bench.key(), "--json"]);
    let said = String::from_utf8_lossy(&verified.stderr);
    serde_json::from_slice(&verified.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn replay(bench: &Bench, capture: &Path, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sejf"));
    command.args(["replay", text(capture), "--to", text(&bench.path(to)), "--recipient", &bench.recipient]);
    command.args(["--state", text(&bench.path("state")), "--audio", "wav", "--quiet"]);
    command
}
