//! The whole pipeline over a generated capture. Budget: 1 µs of CPU a packet for `--audio pcap`, 1.4 µs for
//! `wav`, and 66 µs for each 20 ms of a two-way call for `opus`, on one core.
#![expect(missing_docs, reason = "criterion_group! makes an undocumented function")]

use std::path::Path;
use std::process::{Command, Stdio};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sejf::base::frame::FrameBlock;
use sejf::call::intake::Intake;
use sejf::call::table;
use sejf::shell::source::Captures;

/// Frames to tasks: link, IP, UDP, RTP, whose call. One thread.
fn dispatch(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let blocks = blocks(&capture(dir.path(), 100, 10));
    let packets: usize = blocks.iter().map(|block| block.frames.len()).sum();
    let mut group = c.benchmark_group("dispatch");
    group.sample_size(10).throughput(Throughput::Elements(packets as u64));
    group.bench_function("100 calls", |b| {
        b.iter_batched(
            || Intake::new(table::Config::default()),
            |mut intake| {
                let mut tasks = 0_u64;
                for block in &blocks {
                    for index in 0..block.frames.len() {
                        intake.frame(block, index as u32, &mut |_| tasks += 1);
                    }
                }
                tasks
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// The program itself, file to sealed files.
fn replay(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let recipient = recipient(dir.path());
    for calls in [100, 2_000] {
        let path = capture(dir.path(), calls, 2_000 / calls.min(1_000) + 1);
        let packets: usize = blocks(&path).iter().map(|block| block.frames.len()).sum();
        let mut group = c.benchmark_group(format!("replay {calls} calls"));
        group.sample_size(10).throughput(Throughput::Elements(packets as u64));
        for audio in ["pcap", "wav", "opus"] {
            group.bench_function(audio, |b| b.iter(|| run(dir.path(), &path, audio, &recipient)));
        }
        group.finish();
    }
}

fn run(dir: &Path, capture: &Path, audio: &str, recipient: &str) {
    let out = dir.join("out");
    let status = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .arg("replay")
        .arg(capture)
        .arg("--to")
        .arg(&out)
        .arg("--state")
        .arg(dir.join("state"))
        .args(["--recipient", recipient, "--audio", audio, "--no-sync", "--quiet"])
        .status()
        .expect("the program runs");
    assert!(status.success());
    std::fs::remove_dir_all(&out).expect("recordings were there");
}

fn recipient(dir: &Path) -> String {
    let key = dir.join("key");
    let made = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .arg("keygen")
        .arg("-o")
        .arg(&key)
        .stdout(Stdio::piped())
        .output()
        .expect("the program runs");
    let text = String::from_utf8(made.stdout).expect("text");
    text.split_whitespace().find(|word| word.starts_with("age1")).expect("a recipient").into()
}

fn capture(dir: &Path, calls: u32, seconds: u32) -> std::path::PathBuf {
    let path = dir.join(format!("{calls}.pcap"));
    let status = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["fixture", "--calls", &calls.to_string(), "--seconds", &seconds.to_string(), "-o"])
        .arg(&path)
        .status()
        .expect("the program runs");
    assert!(status.success());
    path
}

fn blocks(path: &Path) -> Vec<FrameBlock> {
    let mut captures = Captures::open(&[path.into()]).expect("the capture");
    let mut blocks = Vec::new();
    loop {
        let mut block = FrameBlock::default();
        if !captures.fill(&mut block) {
            return blocks;
        }
        blocks.push(block);
    }
}

criterion_group!(benches, dispatch, replay);
criterion_main!(benches);
