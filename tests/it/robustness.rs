//! Captures that have nothing to do with us, and malformed ones: no crash, no hang, nothing recorded
//! that is no call. They are kept beside the project; without them this test skips, saying so.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Bench, SEED, shared_captures, shared_dir, text};

#[test]
fn other_protocols_and_malformed_frames_are_no_calls() {
    let bench = Bench::new();
    let captures = shared_captures("robustness");
    let (mut wrong, count) = (Vec::new(), captures.len());
    for (number, capture) in captures.into_iter().enumerate() {
        let to = format!("out-{number}");
        let started = Instant::now();
        let replayed = bench.replay(&capture, &to, &["--seed", SEED, "--json"]);
        let slow = started.elapsed() > Duration::from_secs(20);
        let recordings = replayed.stdout.iter().filter(|byte| **byte == b'\n').count();
        let refused = replayed.status.code() == Some(2) && replayed.stderr.starts_with(b"sejf: `");
        // Only the summary line.
        if slow || !(refused || matches!(replayed.status.code(), Some(0 | 1)) && recordings == 1) {
            let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
            wrong.push(format!(
                "{}: {} recordings, {} {said}",
                capture.display(),
                recordings,
                replayed.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn malformed_messages_over_udp_do_not_end_the_run() {
    let capture = shared_dir().join("malformed/pcap/rfc4475-rfc5118-over-udp.pcap");
    if !capture.exists() {
        println!("skipped: no {} (captures beside the project)", capture.display());
        return;
    }
    let bench = Bench::new();
    let replayed = bench.replay(&capture, "out", &["--seed", SEED, "--json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    let verified =
        Command::new(env!("CARGO_BIN_EXE_sejf")).args(["verify", text(&bench.path("out"))]).output();
    assert!(verified.expect("verify runs").status.success());
}
