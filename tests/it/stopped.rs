//! A replay that is asked to stop finishes what it has read, and leaves nothing half done.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::shell::signals::{Requests, Stop};

use crate::support::{Bench, again, assert_success, is_again, sejf, text};

#[test]
fn a_stopped_replay_finishes_what_it_has() {
    let bench = Bench::new();
    let kind = CallRecipe { talk: Duration::from_secs(40), ..CallRecipe::default() };
    let recipe =
        Recipe { calls: 10, spacing: Duration::from_millis(100), kinds: vec![kind], ..Recipe::default() };
    let capture = generate(&recipe).expect("a sound recipe").capture;
    // More than one block, so that something is being recorded; no call ends; the last record is cut.
    assert!(capture.len() > 6 << 20, "{} bytes", capture.len());
    let cut = capture.len() * 9 / 10 + 1;
    let out = bench.path("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["replay", "-", "--to", text(&out), "--recipient", &bench.recipient])
        .args(["--state", text(&bench.path("state")), "--audio", "wav"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&capture[..cut]).expect("the program reads");
    while !has_part(&out) {
        assert!(child.try_wait().expect("the program can be asked").is_none(), "ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("not 0");
    kill_process(pid, Signal::TERM).expect("signal");
    // Standard input stays open: nothing but the signal ends it.
    let status = child.wait().expect("the program ends");
    drop(input);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("stopped before the captures ended") && !said.contains("damaged"), "{said}");
    assert!(!has_part(&out), "a part is left");
    let manifests = bench.manifests("out");
    assert_eq!(manifests.len() as u64, recipe.calls);
    assert!(manifests.iter().all(|manifest| manifest["state"] == "interrupted"), "{manifests:?}");
    assert_success(&sejf(&["verify", text(&out), "-i", &bench.key()]));
}

/// Whoever asks twice leaves nothing behind either: the folder has a key, and recordings.
#[test]
fn a_demo_that_is_asked_twice_to_stop_removes_its_folder() {
    for signals in [[Signal::INT, Signal::INT], [Signal::HUP, Signal::TERM]] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
            .args(["demo", "--web"])
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        while !line.starts_with("Later: ") {
            line.clear();
            assert!(said.read_line(&mut line).expect("text") > 0, "it ended before its page was there");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("not 0");
        for signal in signals {
            kill_process(pid, signal).expect("signal");
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = child.wait().expect("the program ends");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0, "{signals:?}");
        assert_eq!(status.code(), Some(0), "{signals:?}");
    }
}

#[test]
fn signals_ask_once_and_the_second_stop_does_not_wait() {
    let output = again("stopped::asked_by_signals", &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all was heard"), "{said}");
    assert_eq!(output.status.code(), Some(130), "{said}");
}

/// Not a test of its own: signals are the whole process's.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn asked_by_signals() {
    if !is_again() {
        return;
    }
    let stop = Stop::on_signals().expect("handlers");
    let requests = Requests::listen().expect("a thread");
    let this = rustix::process::getpid();
    let send = |signal| kill_process(this, signal).expect("signal");
    send(Signal::HUP);
    requests.reload.recv().expect("a reload");
    send(Signal::USR1);
    requests.status.recv().expect("asked for status");
    assert!(requests.reload.is_empty() && !stop.asked());
    send(Signal::TERM);
    while !stop.asked() {
        std::thread::yield_now();
    }
    println!("all was heard");
    send(Signal::INT);
    loop {
        std::thread::park();
    }
}

fn has_part(dir: &std::path::Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    names.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "part"))
}

#[test]
fn a_panic_tells_where_it_was_and_not_what_it_read() {
    let output = again("stopped::panicking", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("panicked at tests/it/stopped.rs:"), "{said}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("all was heard"), "{out}");
    assert!(!said.contains("600700800") && !out.contains("600700800"), "{said}{out}");
}

/// Not a test of its own: the hook is the whole process's.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn panicking() {
    if !is_again() {
        return;
    }
    sejf::shell::threads::tell_panics_by_place();
    let number = String::from("+48600700800");
    let caught = std::panic::catch_unwind(|| panic!("cannot read {number}"));
    assert!(caught.is_err());
    println!("all was heard");
}
