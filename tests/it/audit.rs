//! The vault's log, checked, given away, forwarded and witnessed: by the program itself, against real receivers over TLS.

mod forward;
mod witness;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sejf::archive::access::{Action, Actor, Request};
use sejf::archive::custody::Custody;
use sejf::archive::entry::{Entry, Outcome, Resource};
use sejf::seal::note::Signer;
use sejf::shell::clock;
use sejf::shell::disk::RealDisk;
use sejf::shell::keys::KeyKind;
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::log::VaultLog;
use serde_json::{Value, json};

use crate::support::{Bench, assert_success, sejf, text};

/// A vault with nothing in it but its log.
struct Home {
    bench: Bench,
}

impl Home {
    fn new() -> Self {
        let bench = Bench::new();
        let store = bench.path("store");
        fs::create_dir(&store).unwrap();
        let custodians = vec![("ewa".parse().unwrap(), bench.recipient.clone())];
        let custody = Custody { threshold: 1, custodians };
        let name = "archive".to_owned();
        let new = NewVault { name, store, key_places: Vec::new(), kind: KeyKind::X25519, custody };
        Vault::create(&bench.path("home"), &new).unwrap();
        Self { bench }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn log(&self) -> PathBuf {
        self.path("home/log/receipts")
    }

    fn key(&self) -> String {
        fs::read_to_string(self.path("home/signer.pub")).unwrap().trim().to_owned()
    }

    fn configure(&self, more: &str) {
        let path = self.path("home/vault.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{config}\n{more}")).unwrap();
    }

    /// Has the log grow by so many entries, each with a number in it.
    fn grow(&self, count: u64) {
        let vault = Vault::open(&self.home()).unwrap();
        write(&vault.log, 0..count);
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        Vault::open(&self.home()).unwrap().log.read_from(0, 100_000).unwrap().0
    }

    fn checkpoint(&self, name: &str) -> PathBuf {
        let printed = sejf(&["audit", "checkpoint", text(&self.home())]);
        assert_success(&printed);
        fs::write(self.path(name), &printed.stdout).unwrap();
        self.path(name)
    }

    /// What `sejf audit verify` says in JSON, with its exit code.
    fn verify(&self, more: &[&str]) -> (i32, Value) {
        let (home, key) = (self.home(), self.key());
        let output = sejf(&[&["audit", "verify", text(&home), "--vault", &key, "--json"], more].concat());
        let code = output.status.code().unwrap();
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")))
    }

    fn kinds(&self, more: &[&str]) -> Vec<String> {
        let (code, report) = self.verify(more);
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(code, i32::from(!findings.is_empty()), "{report}");
        findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
    }

    fn serve(&self) -> Running {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_sejf"));
        serve.args(["vault", "serve", text(&self.home())]);
        let log = fs::File::create(self.path("serve.txt")).unwrap();
        Running(serve.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// How receivers and witnesses stand.
    fn standing(&self, name: &str) -> Value {
        let output = sejf(&["vault", "status", text(&self.home()), "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let all = status["audit"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }
}

/// A program that runs until its end is asked for.
struct Running(Child);

impl Running {
    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(log: &VaultLog, numbers: std::ops::Range<u64>) {
    let actor = Actor::vault();
    let entries = numbers.map(|number| {
        let (action, resource, now) = (Action::TakeIn, Resource::Request(number), clock::now());
        let decision =
            log.decide_now(&Request { actor: &actor, action, resource, reason: None, now }).unwrap();
        Entry::of(&decision, Outcome::Done(json!({ "number": number })))
    });
    log.write(&entries.collect::<Vec<_>>()).unwrap();
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy_dir(from, to);
}

/// With a checkpoint and the public key alone; what was done by somebody with root is named.
#[test]
fn a_log_is_checked_with_nothing_but_a_checkpoint_and_its_key() {
    let home = Home::new();
    home.grow(300);
    copy_dir(&home.log(), &home.path("older"));
    home.grow(50);
    let kept = home.checkpoint("kept");
    let kept = ["--checkpoint", text(&kept)];
    home.grow(30);
    assert_eq!(home.kinds(&kept), [""; 0]);
    let (_, report) = home.verify(&kept);
    assert_eq!(
        (&report["kept"], &report["continued"], &report["pinned"]),
        (&json!(1), &json!(1), &json!(true))
    );
    // A copy of the log alone will do, and the checkpoint as somebody typed it.
    copy_dir(&home.log(), &home.path("copy"));
    let (copy, note) = (home.path("copy"), fs::read_to_string(kept[1]).unwrap().trim().replace('\n', "\r\n"));
    let typed = with_input(&["audit", "verify", text(&copy), "--checkpoint", "-"], &note);
    assert!(typed.status.success(), "{typed:?}");
    assert!(String::from_utf8_lossy(&typed.stdout).contains("goes on from 1 of 1"), "{typed:?}");
    // One entry, in place.
    let path = home.log().join("tile/entries/000");
    let bundle = fs::read(&path).unwrap();
    let at = bundle.windows(9).position(|part| part == b"\"number\":").unwrap() + 9;
    let mut changed = bundle.clone();
    changed[at] ^= 1;
    fs::write(&path, changed).unwrap();
    let (code, report) = home.verify(&kept);
    let finding = &report["findings"][0];
    assert_eq!((code, &finding["kind"]), (1, &json!("edited")), "{report}");
    let index = finding["index"].as_u64().unwrap();
    let neighbour =
        |side: &str| finding[side].as_str().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!((neighbour("before"), neighbour("after")), (index - 1, index + 1));
    fs::write(&path, bundle).unwrap();
    // A file of somebody's, and one of the log's that is gone.
    fs::write(home.log().join("tile/entries/notes"), "x").unwrap();
    assert_eq!(home.kinds(&kept), ["added"]);
    fs::remove_file(home.log().join("tile/entries/notes")).unwrap();
    fs::rename(home.log().join("tile/entries/001.p/"), home.path("away")).unwrap();
    assert!(home.kinds(&kept).contains(&"lost".to_owned()));
    fs::rename(home.path("away"), home.log().join("tile/entries/001.p/")).unwrap();
    assert_eq!(home.kinds(&kept), [""; 0]);
    // The whole as it was before the checkpoint.
    copy_dir(&home.log(), &home.path("now"));
    put_back(&home.path("older"), &home.log());
    assert_eq!(home.kinds(&kept), ["rolled-back"]);
    assert_eq!(home.kinds(&[]), [""; 0], "by itself it is whole: that is what checkpoints are for");
    put_back(&home.path("now"), &home.log());
    // Another log, signed with the stolen key.
    let entries = home.entries();
    fs::remove_dir_all(home.log()).unwrap();
    let text_of_key = fs::read_to_string(home.path("home/signer")).unwrap();
    let stolen = move || Signer::from_text(&text_of_key).unwrap();
    let forged = VaultLog::new(&home.path("home/log"), stolen, Box::new(RealDisk::new(false)));
    let mut entries: Vec<_> = entries.iter().map(|entry| Entry::from_bytes(entry).unwrap()).collect();
    entries[200].actor = "somebody else".into();
    forged.write(&entries).unwrap();
    assert_eq!(home.kinds(&[]), [""; 0]);
    assert_eq!(home.kinds(&kept), ["forked"]);
    // What cannot be checked is told as that.
    let none = sejf(&["audit", "verify", text(&home.path("store"))]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    fs::write(home.path("junk"), "junk\n").unwrap();
    let junk = sejf(&["audit", "verify", text(&home.home()), "--checkpoint", text(&home.path("junk"))]);
    assert_eq!(junk.status.code(), Some(2), "{junk:?}");
}

fn with_input(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A vault that writes meanwhile is no reason to cry.
#[test]
fn a_log_that_grows_meanwhile_is_not_accused() {
    let home = Home::new();
    home.grow(250);
    let kept = home.checkpoint("kept");
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| {
            let vault = Vault::open(&home.home()).unwrap();
            (0..400).for_each(|number| write(&vault.log, number..number + 1));
        });
        let mut checked = 0;
        while !writing.is_finished() {
            assert_eq!(home.kinds(&["--checkpoint", text(&kept)]), [""; 0]);
            checked += 1;
        }
        assert!(checked > 0);
    });
}

#[test]
fn the_log_is_searched_and_given_away_and_says_so() {
    let home = Home::new();
    home.grow(20);
    let (path, vault) = (home.home(), Vault::open(&home.home()).unwrap());
    let hostile = "=cmd|' /C calc'!A0\u{1b}[2J\r\nx";
    let entry = Entry { actor: hostile.into(), ..Entry::from_bytes(&home.entries()[5]).unwrap() };
    vault.log.write(&[entry]).unwrap();
    let found = sejf(&["audit", "search", text(&path), "--action", "take-in", "--outcome", "done", "--json"]);
    assert_success(&found);
    let lines = crate::support::lines(&found.stdout);
    assert!(lines.len() == 21 || lines.len() == 20, "{}", lines.len());
    assert!(lines.iter().all(|line| line["entry"]["action"] == "take-in"));
    let shown = sejf(&["audit", "search", text(&path), "--last", "3", "--actor", "vault"]);
    assert_success(&shown);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), 3);
    let (csv, jsonl) = (home.path("log.csv"), home.path("log.jsonl"));
    for (format, to) in [("csv", &csv), ("jsonl", &jsonl)] {
        let args = ["audit", "export", text(&path), "--format", format, "-o", text(to), "--reason", "audit"];
        assert_success(&sejf(&args));
        assert_eq!(sejf(&args).status.code(), Some(2), "nothing is overwritten");
    }
    let text_of_csv = fs::read_to_string(&csv).unwrap();
    assert!(!text_of_csv.contains('\u{1b}') && text_of_csv.contains("'=cmd|"));
    assert!(
        text_of_csv.lines().all(|line| line.starts_with("index,") || line.as_bytes()[0].is_ascii_digit())
    );
    let lines = crate::support::lines(&fs::read(&jsonl).unwrap());
    assert!(lines.iter().enumerate().all(|(number, line)| line["index"] == number as u64));
    assert!(lines.iter().any(|line| line["entry"]["actor"] == hostile));
    // The last entries say what was given away, and what it was.
    let entries = home.entries();
    let said = entries.iter().rev().find_map(|entry| match Entry::from_bytes(entry).unwrap() {
        Entry { action: Action::ReadLog, outcome: Outcome::Done(details), .. }
            if details["export"] == "jsonl" =>
        {
            Some(details)
        }
        _ => None,
    });
    let sha256 = sejf::archive::record::Digest::of(&fs::read(&jsonl).unwrap()).to_string();
    assert_eq!(said.unwrap(), json!({ "export": "jsonl", "entries": lines.len(), "sha256": sha256 }));
}

/// The device of the log is full: the log is not read to anybody, and nothing is written of it.
#[test]
fn where_the_log_cannot_be_written_it_is_not_given_away() {
    let home = Home::new();
    home.grow(3);
    let entries = home.entries().len();
    let in_the_way = home.log().join("checkpoint.new");
    fs::create_dir(&in_the_way).unwrap();
    let to = home.path("log.jsonl");
    for args in [
        vec!["audit", "search", text(&home.home())],
        vec!["audit", "export", text(&home.home())],
        vec!["audit", "export", text(&home.home()), "-o", text(&to)],
    ] {
        let output = sejf(&args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
    }
    assert!(!to.exists());
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(home.entries().len(), entries);
}
