//! Nothing plain reaches a disk: no sound, no payload, no number, no SIP, in any file that a replay
//! writes or could have written on the way.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sejf::fixture::generate;
use sejf::fixture::generator::Generator;
use sejf::fixture::recipe::Recipe;
use sejf::fixture::scenarios::demo;
use sejf::fixture::truth::Truth;

use crate::support::{Bench, assert_success, text};

#[test]
fn nothing_plain_is_written_and_the_scan_would_see_it() {
    let recipe = demo();
    let fixture = generate(&recipe).expect("a sound recipe");
    let secrets = Secrets::of(&recipe, &fixture.truth);
    let bench = Bench::new();
    let capture = bench.path("demo.pcap");
    std::fs::write(&capture, &fixture.capture).expect("capture");
    assert!(secrets.found_in(&capture).len() > 1, "the scan sees nothing in the capture itself");

    let seen = bench.path("seen");
    let folder = |name: &str| seen.join(name);
    std::fs::create_dir_all(folder("tmp")).expect("temporary folder");
    for audio in ["opus", "wav", "pcap"] {
        let to = folder(audio);
        let replayed = Command::new(env!("CARGO_BIN_EXE_sejf"))
            .args(["replay", text(&capture), "--to", text(&to), "--recipient", &bench.recipient])
            .args(["--audio", audio, "--state", text(&folder("state")), "--quiet"])
            .env("TMPDIR", folder("tmp"))
            .current_dir(folder("tmp"))
            .output()
            .expect("the program runs");
        assert_success(&replayed);
        assert!(replayed.stdout.is_empty() && replayed.stderr.is_empty(), "--quiet says something");
    }
    let written = files_below(&seen);
    assert!(written.len() > 20, "only {} files", written.len());
    for path in &written {
        assert_eq!(secrets.found_in(path), Vec::<String>::new(), "{}", path.display());
    }

    let mut found = HashSet::new();
    for audio in ["opus", "wav", "pcap"] {
        for sealed in files_below(&folder(audio)).iter().filter(|path| text(path).ends_with(".age")) {
            let plain = bench.path("plain");
            let args = ["open", text(sealed), "-i", &bench.key(), "-o", text(&plain), "--force"];
            assert_success(&crate::support::sejf(&args));
            found.extend(secrets.found_in(&plain));
        }
    }
    for what in ["payload", "sound", "INVITE sip:", "OpusHead", "WAVEfmt ", &fixture.truth.calls[0].call_id] {
        assert!(found.contains(what), "the scan does not see {what} in the opened files: {found:?}");
    }
}

/// What must not be seen.
pub(crate) struct Secrets {
    payload: Windows,
    sound: Windows,
    words: Vec<String>,
}

impl Secrets {
    pub(crate) fn of(recipe: &Recipe, truth: &Truth) -> Self {
        let (mut payload, mut sound) = (Windows::new(), Windows::new());
        let mut generator = Generator::new(recipe).expect("a sound recipe");
        while let Some(frame) = generator.next_frame() {
            let Some((_, coded)) = rtp_payload(frame.bytes) else { continue };
            payload.add(coded);
            // As a decoder gives it: µ-law is what most of the demo's calls speak.
            let pcm: Vec<u8> = coded.iter().flat_map(|code| mu_law(*code).to_le_bytes()).collect();
            sound.add(&pcm);
        }
        for stream in truth.calls.iter().flat_map(|call| &call.streams) {
            let pcm: Vec<u8> =
                stream.reference(8_000).iter().flat_map(|sample| sample.to_le_bytes()).collect();
            sound.add(&pcm);
        }
        let named = truth.calls.iter().flat_map(|call| {
            let number = |number: &str| number.trim_start_matches('+').to_owned();
            [call.call_id.clone(), number(&call.from), number(&call.to)]
        });
        let always = ["INVITE sip:", "BYE sip:", "SIP/2.0", "Call-ID", "call_ids", "OpusHead", "WAVEfmt "];
        let words = named.chain(always.map(String::from)).collect();
        assert!(payload.known.len() > 50_000 && sound.known.len() > 100_000, "too little to look for");
        Self { payload, sound, words }
    }

    /// Names of what is in a file.
    pub(crate) fn found_in(&self, path: &Path) -> Vec<String> {
        let bytes = std::fs::read(path).expect("file");
        let mut found = Vec::new();
        if self.payload.are_in(&bytes) {
            found.push("payload".into());
        }
        // One after the other, or one channel of two.
        let channel = |from: usize| -> Vec<u8> {
            bytes[from.min(bytes.len())..].chunks_exact(4).flat_map(|both| [both[0], both[1]]).collect()
        };
        if self.sound.are_in(&bytes) || (0..4).any(|from| self.sound.are_in(&channel(from))) {
            found.push("sound".into());
        }
        let said = String::from_utf8_lossy(&bytes);
        let name = path.to_string_lossy();
        let has = |word: &&String| said.contains(word.as_str()) || name.contains(word.as_str());
        found.extend(self.words.iter().filter(has).cloned());
        found
    }
}

/// Windows of secret bytes, and which first three bytes any of them has: most places need no more.
struct Windows {
    known: HashSet<[u8; WINDOW]>,
    begins: Vec<bool>,
}

impl Windows {
    fn new() -> Self {
        Self { known: HashSet::new(), begins: vec![false; 1 << 24] }
    }

    fn add(&mut self, bytes: &[u8]) {
        for window in bytes.windows(WINDOW) {
            // Silence is everywhere and says nothing.
            let changes = window.windows(2).filter(|two| two[0] != two[1]).count();
            if changes > WINDOW / 2 {
                self.begins[begin(window)] = true;
                self.known.insert(window.try_into().expect("its length"));
            }
        }
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(WINDOW).any(|window| self.begins[begin(window)] && self.known.contains(window))
    }
}

fn begin(window: &[u8]) -> usize {
    usize::from(window[0]) << 16 | usize::from(window[1]) << 8 | usize::from(window[2])
}

/// Payload type and payload, by the offsets of plain Ethernet, IPv4 or IPv6, and UDP.
pub(crate) fn rtp_payload(frame: &[u8]) -> Option<(u8, &[u8])> {
    let ip_bytes = match frame.get(12..14)? {
        [0x08, 0x00] if frame[23] == 17 => 20,
        [0x86, 0xdd] if frame[20] == 17 => 40,
        _ => return None,
    };
    let datagram = frame.get(14 + ip_bytes + 8..)?;
    (datagram.len() > 12 && datagram[0] == 0x80).then(|| (datagram[1] & 0x7f, &datagram[12..]))
}

/// ITU-T G.711, table 2a.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Bytes in a row that are no chance: 4 ms of µ-law, 2 ms of samples.
const WINDOW: usize = 32;
