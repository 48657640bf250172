//! The capture clock set back in the middle of a call: the same sound, at the same places.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is the result")]

use std::path::Path;

use crate::support::{Bench, assert_success};

/// The capture with the clock set by `seconds` half way: little-endian pcap.
fn set_half_way(capture: &Path, seconds: i32) -> Vec<u8> {
    let mut bytes = std::fs::read(capture).unwrap();
    let (half, mut at) = (bytes.len() / 2, 24);
    while at < bytes.len() {
        let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (second, length) = (field(at), field(at + 8) as usize);
        if at > half {
            bytes[at..at + 4].copy_from_slice(&second.strict_add_signed(seconds).to_le_bytes());
        }
        at += 16 + length;
    }
    bytes
}

#[test]
fn a_clock_set_back_during_a_call_leaves_its_recording_as_it_would_have_been() {
    let bench = Bench::new();
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/basic.pcap");
    let set = bench.path("set.pcap");
    std::fs::write(&set, set_half_way(&capture, -600)).unwrap();
    for (capture, to) in [(&capture, "plain"), (&set, "set")] {
        assert_success(&bench.replay(capture, to, &["--audio", "wav"]));
    }
    let [plain, set] = ["plain", "set"].map(|dir| {
        let manifest = bench.manifests(dir).remove(0);
        let sound = bench.open(dir, &manifest, "audio").expect("sound");
        (sound, manifest)
    });
    assert!(plain.0 == set.0, "the sound differs");
    for what in ["gaps", "state", "start"] {
        assert_eq!(plain.1[what], set.1[what], "{what}");
    }
    // How long it was between the frames before and after, no capture says.
    let seconds = |manifest: &serde_json::Value| manifest["duration_s"].as_f64().unwrap();
    assert!((seconds(&plain.1) - seconds(&set.1)).abs() < 0.05, "{} {}", plain.1, set.1);
    let notes = set.1["notes"].to_string();
    assert!(notes.contains("the capture clock was set during the call (1 times, by -599.9"), "{notes}");
}
