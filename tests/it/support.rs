//! What several tests need: the program, a key pair, captures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a key pair, gone at the end of the test.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    /// `age1…`.
    pub(crate) recipient: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let made = sejf(&["keygen", "-o", text(&dir.path().join("key"))]);
        let words = String::from_utf8(made.stdout).expect("text");
        let recipient = words.split_whitespace().find(|word| word.starts_with("age1")).expect("a recipient");
        Self { recipient: recipient.into(), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn key(&self) -> String {
        text(&self.path("key")).into()
    }

    /// Replays `capture` into the folder `to`, with a seed so that runs can be compared.
    pub(crate) fn replay(&self, capture: &Path, to: &str, more: &[&str]) -> Output {
        let out = self.path(to);
        let state = self.path("state");
        let mut args = vec!["replay", text(capture), "--to", text(&out), "--recipient", &self.recipient];
        args.extend(["--state", text(&state), "--no-sync"]);
        args.extend(more);
        sejf(&args)
    }

    /// Manifests of the folder, oldest first.
    pub(crate) fn manifests(&self, dir: &str) -> Vec<serde_json::Value> {
        let listed = sejf(&["ls", text(&self.path(dir)), "-i", &self.key(), "--json"]);
        assert_success(&listed);
        lines(&listed.stdout)
    }

    /// Opens the file of kind `kind` of a recording into memory.
    pub(crate) fn open(&self, dir: &str, manifest: &serde_json::Value, kind: &str) -> Option<Vec<u8>> {
        let files = manifest["files"].as_array()?;
        let name = files.iter().find(|file| file["kind"] == kind)?["name"].as_str()?;
        let plain = self.path(&format!("plain-{name}"));
        let sealed = self.path(dir).join(name);
        let opened = sejf(&["open", text(&sealed), "-i", &self.key(), "-o", text(&plain), "--force"]);
        assert_success(&opened);
        Some(std::fs::read(plain).expect("opened file"))
    }
}

/// A fixed seed: what it makes is not secret.
pub(crate) const SEED: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";

/// Runs the program.
pub(crate) fn sejf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sejf")).args(args).output().expect("the program runs")
}

/// Runs a test of this binary again, in a process of its own: for what changes a whole process.
pub(crate) fn again(test: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("SEJF_AGAIN", "1")
        .envs(environment.iter().copied())
        .output()
        .expect("the test binary runs")
}

/// Whether this process was started by [`again`].
pub(crate) fn is_again() -> bool {
    std::env::var_os("SEJF_AGAIN").is_some()
}

pub(crate) fn assert_success(output: &Output) {
    let [said, faults] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}: {said}{faults}", output.status);
}

/// JSON values, one a line.
pub(crate) fn lines(stdout: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}

/// The project's own captures.
pub(crate) fn own_captures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    captures_below(&dir)
}

/// A folder of captures kept beside the project; nothing where there is none.
pub(crate) fn shared_captures(folder: &str) -> Vec<PathBuf> {
    let dir = shared_dir().join(folder);
    if !dir.is_dir() {
        println!("skipped: no folder {} (captures beside the project)", dir.display());
        return Vec::new();
    }
    captures_below(&dir)
}

pub(crate) fn shared_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures")
}

fn captures_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("folder of captures");
    let mut captures: Vec<_> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| [".pcap", ".pcapng", ".pcap.gz"].iter().any(|end| text(path).ends_with(end)))
        .collect();
    captures.sort();
    captures
}

/// Whether a program is installed; says so where it is not.
pub(crate) fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        println!("skipped: `{program}` is not installed");
    }
    found
}

/// A pcap file without the frames that have `bytes` in them.
pub(crate) fn without(pcap: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut kept = pcap[..24].to_vec();
    let mut at = 24;
    while at < pcap.len() {
        let length = u32::from_le_bytes(pcap[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        let record = &pcap[at..at + 16 + length];
        if !record.windows(bytes.len()).any(|window| window == bytes) {
            kept.extend_from_slice(record);
        }
        at += record.len();
    }
    kept
}
