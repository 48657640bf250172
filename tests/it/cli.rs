//! What a user meets: errors of one line that say what and what to do, exit codes, output for programs,
//! and strangers' strings that cannot steer a terminal.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};

use crate::support::{Bench, SEED, assert_success, lines, own_captures, sejf, text};

#[test]
fn replay_says_what_is_wrong_with_its_input() {
    let bench = Bench::new();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(bench.path(name), bytes).expect("file");
        bench.path(name)
    };
    let notes = file("notes.txt", b"these are notes, and long enough for a header of a capture");
    let empty = file("empty.pcap", b"");
    let gzip_of_notes = file("notes.gz", &gzip(b"notes"));
    let missing = bench.path("missing.pcap");
    for (capture, words) in [
        (&missing, ["missing.pcap", "No such file"]),
        (&notes, ["notes.txt", "neither pcap nor pcapng"]),
        (&empty, ["empty.pcap", "empty"]),
        (&gzip_of_notes, ["notes.gz", "neither pcap nor pcapng"]),
        (&bench.path(""), ["Is a directory", ""]),
    ] {
        assert_refused(&bench.replay(capture, "out", &[]), &words);
        assert!(sealed(&bench.path("out")).is_empty());
    }
    let below = bench.path("notes.txt/out");
    for to in [&notes, &below] {
        let state = bench.path("state");
        let demo = demo();
        let args = ["replay", text(&demo), "--to", text(to), "--recipient", &bench.recipient];
        assert_refused(&sejf(&[&args[..], &["--state", text(&state)]].concat()), &["notes.txt", "choose"]);
    }
    assert_refused(&bench.replay(Path::new("-"), "out", &["-"]), &["standard input", "once"]);
    assert_refused(&bench.replay(&demo(), "out", &["--seed", "12"]), &["--seed", "64 hexadecimal digits"]);
}

#[test]
fn recipients_that_are_none_are_named_and_secrets_are_not_echoed() {
    let bench = Bench::new();
    let key = fs::read_to_string(bench.key()).expect("key");
    let secret = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).expect("an identity");
    let with = |recipients: &[&str]| {
        let (capture, out) = (demo(), bench.path("out"));
        let mut args = vec!["replay", text(&capture), "--to", text(&out)];
        recipients.iter().for_each(|recipient| args.extend(["--recipient", recipient]));
        sejf(&args)
    };
    let refused = with(&[secret]);
    assert_refused(&refused, &["private key", "age1"]);
    let said = String::from_utf8_lossy(&refused.stderr).to_uppercase();
    assert!(!said.contains(&secret[20..40]), "the secret is echoed: {said}");

    let mut misspelt = bench.recipient.clone();
    let last = misspelt.pop().expect("a letter");
    misspelt.push(if last == 'q' { 'p' } else { 'q' });
    assert_refused(&with(&[&misspelt]), &[&misspelt]);
    assert_refused(&with(&["nobody"]), &["nobody"]);
    let pq = sejf(&["keygen", "--pq", "-o", text(&bench.path("pq"))]);
    let words = String::from_utf8(pq.stdout).expect("text");
    let pq = words.split_whitespace().find(|word| word.starts_with("age1pq1")).expect("a recipient");
    assert_refused(&with(&[&bench.recipient, pq]), &["post-quantum"]);
    let file = bench.path("recipients");
    fs::write(&file, format!("# ours\n\n{misspelt}\n")).expect("file");
    let out = bench.path("out");
    let listed = sejf(&["replay", text(&demo()), "--to", text(&out), "-R", text(&file)]);
    assert_refused(&listed, &[&misspelt]);
    assert!(!bench.path("out").exists());
}

#[test]
fn reading_says_what_is_wrong_with_keys_and_names() {
    let bench = Bench::new();
    assert_success(&bench.replay(&demo(), "out", &["--quiet"]));
    let out = bench.path("out");
    let other = bench.path("other");
    assert_success(&sejf(&["keygen", "-o", text(&other)]));
    let recording =
        sealed(&out).into_iter().find(|path| text(path).ends_with(".opus.age")).expect("a recording");
    let plain = bench.path("plain");

    let open = |key: &str| sejf(&["open", text(&recording), "-i", key, "-o", text(&plain)]);
    assert_refused(&open(text(&other)), &[text(&recording), "key"]);
    assert!(!plain.exists() && !bench.path("plain.part").exists());
    assert_refused(&sejf(&["show", text(&recording), "-i", text(&other)]), &["key"]);
    // Each file that does not open is a line of its own.
    let listed = sejf(&["ls", text(&out), "-i", text(&other)]);
    assert_eq!(listed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&listed.stderr).lines().all(|line| line.starts_with("sejf: ")));

    fs::write(&plain, "mine").expect("file");
    assert_refused(&open(&bench.key()), &[text(&plain), "--force"]);
    assert_eq!(fs::read_to_string(&plain).expect("file"), "mine");
    assert_refused(&sejf(&["keygen", "-o", &bench.key()]), &["exists"]);
    let nothing = out.join("01930000-0000-7000-8000-000000000000");
    assert_refused(&sejf(&["show", text(&nothing), "-i", &bench.key()]), &[text(&nothing), "no recording"]);
    assert_refused(&sejf(&["ls", text(&out), "-i", text(&bench.path("nokey"))]), &["nokey", "No such file"]);
    assert_refused(&sejf(&["ls", text(&bench.path("nowhere")), "-i", &bench.key()]), &["nowhere"]);
    for command in ["verify", "log", "ls"] {
        let key = bench.key();
        let with_key: &[&str] = if command == "ls" { &["-i", &key] } else { &[] };
        let on = |path: &Path| sejf(&[&[command, text(path)], with_key].concat());
        assert_refused(&on(&bench.path("nowhere")), &["nowhere", "no directory", "--to"]);
        assert_refused(&on(&recording), &[text(&recording), "is no directory", "sejf show"]);
    }
    // What a run that was killed has left is removed with its next try.
    let left = bench.path("plain.4200000000.part");
    fs::write(&left, "plain").expect("file");
    let forced = ["open", text(&recording), "-i", &bench.key(), "-o", text(&plain), "--force"];
    assert_success(&sejf(&forced));
    assert!(!left.exists() && plain.exists());

    // A file that was changed or cut gives no plain file.
    let mut bytes = fs::read(&recording).expect("file");
    bytes.truncate(bytes.len() - 5);
    fs::write(&recording, &bytes).expect("cutting");
    fs::remove_file(&plain).expect("removing");
    assert_refused(&open(&bench.key()), &[text(&recording), "cut"]);
    assert!(!plain.exists() && !bench.path("plain.part").exists());
}

#[test]
fn names_are_never_taken_twice() {
    let bench = Bench::new();
    let more = ["--seed", SEED, "--quiet"];
    assert_success(&bench.replay(&demo(), "out", &more));
    let before = sealed(&bench.path("out"));
    let bytes: Vec<_> = before.iter().map(|path| fs::read(path).expect("file")).collect();
    assert_refused(&bench.replay(&demo(), "out", &more), &["exists already", "choose another"]);
    assert_eq!(sealed(&bench.path("out")), before);
    assert!(before.iter().zip(&bytes).all(|(path, bytes)| fs::read(path).expect("file") == *bytes));
    assert_success(&sejf(&["verify", text(&bench.path("out")), "-i", &bench.key()]));
}

#[test]
fn what_comes_before_damage_is_recorded() {
    let bench = Bench::new();
    let whole = fs::read(demo()).expect("the demo");
    let mut wrong_length = whole.clone();
    let record = record_after(&whole, whole.len() / 2);
    wrong_length[record + 8..record + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let packed = gzip(&whole);
    for (name, bytes) in [
        ("cut.pcap", whole[..record + 30].to_vec()),
        ("length.pcap", wrong_length),
        ("cut.pcap.gz", packed[..packed.len() / 2].to_vec()),
    ] {
        let capture = bench.path(name);
        fs::write(&capture, bytes).expect("capture");
        let replayed = bench.replay(&capture, name.split('.').next().expect("a word"), &["--quiet"]);
        let said = one_line(&replayed);
        assert_eq!(replayed.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains(name) && said.contains("after packet ") && said.contains("was recorded"),
            "{said}"
        );
        let dir = bench.path(name.split('.').next().expect("a word"));
        assert!(!sealed(&dir).is_empty(), "{name}: nothing recorded");
        assert_success(&sejf(&["verify", text(&dir), "-i", &bench.key()]));
        fs::remove_dir_all(dir).expect("removing");
    }
}

#[test]
fn several_captures_and_standard_input_give_the_same() {
    let bench = Bench::new();
    assert_success(&bench.replay(&demo(), "one", &["--seed", SEED, "--quiet"]));
    let whole = fs::read(demo()).expect("the demo");
    let record = record_after(&whole, whole.len() / 2);
    let (a, b) = (bench.path("a.pcap"), bench.path("b.pcap.gz"));
    fs::write(&a, &whole[..record]).expect("capture");
    fs::write(&b, gzip(&[&whole[..24], &whole[record..]].concat())).expect("capture");
    // In the wrong order: time decides.
    assert_success(&bench.replay(&b, "two", &[text(&a), "--seed", SEED, "--quiet"]));
    let piped = replay_stdin(&bench, &whole, "three");
    assert_success(&piped);
    let one = sealed(&bench.path("one"));
    for other in ["two", "three"] {
        let other = sealed(&bench.path(other));
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            assert!(fs::read(one).expect("file") == fs::read(other).expect("file"), "{}", other.display());
        }
    }
}

#[test]
fn output_is_for_programs_or_people_or_nobody() {
    let bench = Bench::new();
    let quiet = bench.replay(&demo(), "quiet", &["--quiet"]);
    assert_success(&quiet);
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
    let json = bench.replay(&demo(), "json", &["--json"]);
    assert_success(&json);
    assert!(json.stderr.is_empty());
    let mut values = lines(&json.stdout);
    let summary = values.pop().expect("a summary");
    let summary = &summary["summary"];
    let discarded: u64 =
        summary["discarded"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(summary["captured"].as_u64().unwrap(), summary["recorded"].as_u64().unwrap() + discarded);
    assert_eq!(values.len(), 4);
    let mut listed = bench.manifests("json");
    let mut told = values;
    listed.sort_by_key(|manifest| manifest["id"].to_string());
    told.sort_by_key(|manifest| manifest["id"].to_string());
    assert_eq!(listed, told, "ls and replay say the same");
    let people = bench.replay(&demo(), "people", &[]);
    assert_success(&people);
    assert!(String::from_utf8_lossy(&people.stdout).contains("sealed into"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let bench = Bench::new();
    assert_success(&bench.replay(&demo(), "out", &["--quiet"]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["ls", text(&bench.path("out")), "-i", &bench.key(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 1]).expect("a byte");
    drop(pipe);
    let ended = child.wait_with_output().expect("the program ends");
    assert_success(&ended);
    assert!(ended.stderr.is_empty());
}

#[test]
fn help_and_usage_are_where_they_belong() {
    for command in ["demo", "fixture", "keygen", "log", "ls", "open", "replay", "show", "verify"] {
        let helped = sejf(&[command, "--help"]);
        assert_success(&helped);
        assert!(helped.stdout.len() > 100 && helped.stderr.is_empty(), "{command}");
    }
    let unknown = sejf(&["recrod"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(unknown.stdout.is_empty());
}

/// Whoever sends packets writes these strings.
#[test]
fn strangers_strings_do_not_steer_the_terminal() {
    let bench = Bench::new();
    let name = "x".repeat(100_000);
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}evil\u{9b}31m";
    for (number, (from, reason, agent)) in [
        (format!("\"{hostile}\" <sip:{hostile}@192.0.2.10>;tag=1"), hostile.to_owned(), hostile.to_owned()),
        (
            "\"a\\\"b\r\n c\" <sip:%0aroot@192.0.2.10>;tag=1".into(),
            "OK\tand\u{0}more".into(),
            "\u{7f}".into(),
        ),
        (format!("\"{name}\" <sip:alice@192.0.2.10>;tag=1"), name[..1_000].into(), name[..1_000].into()),
        (format!("<sip:{}@192.0.2.10>;tag=1", &name[..50_000]), "OK".into(), "x".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let capture = bench.path(&format!("hostile-{number}.pcap"));
        fs::write(&capture, call_of(&from, &reason, &agent)).expect("capture");
        let to = format!("out-{number}");
        assert_success(&bench.replay(&capture, &to, &["--quiet"]));
        let manifests = bench.manifests(&to);
        assert_eq!(manifests.len(), 1, "{number}");
        let out = bench.path(&to);
        let id = manifests[0]["id"].as_str().expect("id");
        let listed = sejf(&["ls", text(&out), "-i", &bench.key()]);
        let shown = sejf(&["show", text(&out.join(id)), "-i", &bench.key()]);
        for said in [listed, shown] {
            assert_success(&said);
            let said = String::from_utf8(said.stdout).expect("UTF-8");
            let steers =
                said.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
            assert_eq!(steers, None, "{number}: {said:?}");
        }
        let caller = manifests[0]["call"]["from"].as_str().expect("from");
        match number {
            0 => assert!(caller.contains(hostile), "JSON has it as sent: {caller:?}"),
            3 => assert_eq!(caller.len(), 1_024, "of a name without end, so much is kept"),
            _ => {}
        }
        // A table row for each recording and no more.
        let rows = sejf(&["ls", text(&out), "-i", &bench.key()]).stdout;
        assert_eq!(rows.iter().filter(|byte| **byte == b'\n').count(), 2, "{number}");
    }
}

/// One line on standard error that begins as all do, and exit code 2.
fn assert_refused(output: &Output, words: &[&str]) {
    let said = one_line(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn one_line(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "not one line: {said}");
    assert!(said.starts_with("sejf: ") && said.ends_with('\n'), "{said}");
    said
}

fn demo() -> PathBuf {
    own_captures().into_iter().find(|path| text(path).ends_with("demo.pcap")).expect("the demo")
}

/// Files with a final name.
fn sealed(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> = entries.filter(|path| text(path).ends_with(".age")).collect();
    files.sort();
    files
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

/// The first record of a classic pcap that begins at or after `place`.
fn record_after(pcap: &[u8], place: usize) -> usize {
    let mut at = 24;
    while at < place {
        let length = u32::from_le_bytes(pcap[at + 8..at + 12].try_into().expect("four bytes"));
        at += 16 + length as usize;
    }
    at
}

fn replay_stdin(bench: &Bench, bytes: &[u8], to: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["replay", "-", "--to", text(&bench.path(to)), "--recipient", &bench.recipient])
        .args(["--seed", SEED, "--quiet", "--no-sync"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads all");
    child.wait_with_output().expect("the program ends")
}

/// A call whose INVITE and 200 say what they are told to say, then a generated call's media.
fn call_of(from: &str, reason: &str, agent: &str) -> Vec<u8> {
    let kind = CallRecipe { talk: std::time::Duration::from_millis(100), ..CallRecipe::default() };
    let media = generate(&Recipe { kinds: vec![kind], ..Recipe::default() }).expect("a sound recipe").capture;
    let mut capture = media[..24].to_vec();
    let start = &media[24..32];
    let common = format!(
        "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKx\r\nFrom: {from}\r\nTo: <sip:bob@198.51.100.10>\r\n\
         Call-ID: hostile\r\nCSeq: 1 INVITE\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
    );
    for (caller_sends, message) in [
        (true, format!("INVITE sip:bob@198.51.100.10 SIP/2.0\r\n{common}")),
        (false, format!("SIP/2.0 486 {reason}\r\n{common}")),
    ] {
        for packet in segments(message.as_bytes(), caller_sends) {
            capture.extend_from_slice(start);
            capture.extend_from_slice(&(packet.len() as u32).to_le_bytes());
            capture.extend_from_slice(&(packet.len() as u32).to_le_bytes());
            capture.extend_from_slice(&packet);
        }
    }
    capture
}

/// SIP over TCP, because a datagram ends at 64 KiB: one segment a packet, from sequence number 1.
fn segments(message: &[u8], caller_sends: bool) -> Vec<Vec<u8>> {
    let (caller, callee) = ([192, 0, 2, 10], [198, 51, 100, 10]);
    let (src, dst) = if caller_sends { (caller, callee) } else { (callee, caller) };
    let ports: [u16; 2] = if caller_sends { [40_000, 5_060] } else { [5_060, 40_000] };
    let mut packets = Vec::new();
    let mut sequence = 1_u32;
    for part in message.chunks(1_400) {
        let mut packet = vec![0, 0, 0x5e, 0, 0x53, 2, 0, 0, 0x5e, 0, 0x53, 1, 8, 0];
        packet.extend([0x45, 0]);
        packet.extend((40 + part.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(src);
        packet.extend(dst);
        packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(part);
        packets.push(packet);
        sequence += part.len() as u32;
    }
    packets
}
