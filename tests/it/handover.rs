//! A restart under load: sockets and calls go from one process to the next through a descriptor store, as the
//! service manager has one. Here the store is a socket that keeps what it is sent.

mod kill;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcap_parser::traits::PcapReaderIterator;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};
use sejf::base::frame::FrameBlock;
use sejf::base::time::Stamp;
use sejf::call::intake::{Intake, RareTask, Task};
use sejf::call::table::{self, Event};
use sejf::call::transcript::Kept;
use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe, TcpRecipe, Transport};
use sejf::fixture::scenarios::scenarios;
use sejf::shell::source::Captures;
use sejf::wire::sip::Message;
use serde_json::Value;

use crate::support::{Bench, assert_success, installed, lines, sejf, text};
use crate::wire::{cable, inside};

/// Every packet is in exactly one part of its call, whoever of the two had it.
#[test]
fn calls_go_on_in_the_next_process() {
    if !installed("bash") {
        return;
    }
    inside("handover::calls_go_on_in_the_next_process", || {
        cable();
        let bench = Bench::new();
        let frames = traffic();
        let store = Store::new(&bench);
        let config = config(&bench, "pcap");
        let first = Running::start(&bench, &store, &config);
        // Not more between the two than a ring has blocks, however long that takes.
        let half = frames.len() / 2;
        let sender = Sender::start(frames.clone(), [half, half + 200]);
        sender.wait_for(half);
        sender.go_on();
        first.stop();
        let (before, mut manifests) = first.end();
        sender.wait_for(half + 200);
        let second = Running::start(&bench, &store, &config);
        sender.go_on();
        sender.end();
        second.stop();
        let (after, more) = second.end();
        manifests.extend(more);

        for summary in [&before, &after] {
            assert_eq!(summary["balanced"], true, "{summary}");
            assert_eq!(summary["discarded"].get("capture-drop"), None, "{summary}");
        }
        let sum = before["captured"].as_u64().unwrap() + after["captured"].as_u64().unwrap();
        assert_eq!(sum, frames.len() as u64, "{before}\n{after}");
        assert_joined(&manifests, &bench);

        let mut sent: BTreeMap<Packet, u32> = BTreeMap::new();
        frames
            .iter()
            .filter_map(|frame| packet(frame))
            .for_each(|packet| *sent.entry(packet).or_default() += 1);
        let mut kept: BTreeMap<Packet, u32> = BTreeMap::new();
        let mut calls: BTreeMap<u32, String> = BTreeMap::new();
        for manifest in &manifests {
            for packet in frames_of(&bench, manifest).iter().filter_map(|frame| packet(frame)) {
                *kept.entry(packet).or_default() += 1;
                let call = call_id(manifest);
                assert_eq!(
                    *calls.entry(packet.0).or_insert_with(|| call.clone()),
                    call,
                    "one call, one voice"
                );
            }
        }
        let wrong: Vec<_> = sent.iter().filter(|(packet, count)| kept.get(packet) != Some(count)).collect();
        assert!(wrong.is_empty() && sent.len() == kept.len(), "{} of {}: {wrong:?}", wrong.len(), sent.len());
        assert_success(&sejf(&["verify", text(&bench.path("out")), "-i", &bench.key()]));
    });
}

/// A pause goes on, sound of both parts comes out as one, and a call is a line.
#[test]
fn a_paused_call_stays_paused_and_its_sound_is_joined() {
    if !installed("bash") {
        return;
    }
    inside("handover::a_paused_call_stays_paused_and_its_sound_is_joined", || {
        cable();
        let bench = Bench::new();
        let recipe = Recipe {
            kinds: vec![CallRecipe { talk: Duration::from_secs(4), ..CallRecipe::default() }],
            ..Recipe::default()
        };
        let frames = frames_in(&generate(&recipe).expect("a sound recipe").capture);
        let store = Store::new(&bench);
        let config = config(&bench, "wav");
        let first = Running::start(&bench, &store, &config);
        let later = frames.len() * 3 / 4;
        let sender = Sender::start(frames.clone(), [frames.len() / 2, later]);
        let id = first.wait_for_call(&bench, "talking");
        let control = bench.path("control");
        let tell = |args: &[&str]| assert_success(&sejf(&[args, &["--socket", text(&control)]].concat()));
        tell(&["call", "pause", &id, "--reason", "card", "--actor", "agent"]);
        first.stop();
        let (before, mut manifests) = first.end();
        let second = Running::start(&bench, &store, &config);
        let next = second.wait_for_call(&bench, "paused");
        assert_ne!(next, id);
        sender.go_on();
        sender.wait_for(later);
        tell(&["call", "resume", &next]);
        sender.go_on();
        sender.end();
        second.stop();
        let (after, more) = second.end();
        manifests.extend(more);

        assert_eq!([&before["balanced"], &after["balanced"]], [true, true]);
        let [one, two] = &manifests[..] else { panic!("{manifests:?}") };
        assert_eq!((one["id"].as_str(), two["id"].as_str()), (Some(&*id), Some(&*next)));
        let masked = &two["masked"][0];
        assert_eq!((masked["from_s"].as_f64(), masked["by"].as_str()), (Some(0.0), Some("control")));
        assert_eq!(masked["reason"], "card (agent)");
        let joined = bench.path("joined.wav");
        let named = bench.path("out").join(&next);
        let key = bench.key();
        assert_success(&sejf(&["open", text(&named), "-i", &key, "--parts", "-o", text(&joined)]));
        let whole = hound::WavReader::open(&joined).expect("WAV");
        let seconds = f64::from(whole.duration()) / f64::from(whole.spec().sample_rate);
        let at = two["part"]["at_s"].as_f64().unwrap();
        let end = at + two["duration_s"].as_f64().unwrap();
        // The second half is sent faster than it was spoken: its sound goes on past the last packet, by two seconds
        // at most.
        let is_whole = (end - 0.5..end + 2.5).contains(&seconds);
        assert!(at > 0.0 && is_whole, "{seconds} s of {end}");
        let listed = sejf(&["ls", text(&bench.path("out")), "-i", &key]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 2, "{listed}");
        assert!(listed.contains("complete (2 parts)") && listed.contains(&id), "{listed}");
    });
}

/// Parts of the same call say so, and nothing of a call is missing.
fn assert_joined(manifests: &[Value], bench: &Bench) {
    let mut calls: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for manifest in manifests {
        calls.entry(call_id(manifest)).or_default().push(manifest);
    }
    assert_eq!(calls.len(), CALLS as usize);
    let mut parted = 0;
    for parts in calls.values() {
        if let [whole] = parts[..] {
            assert_eq!((&whole["part"], &whole["state"]), (&Value::Null, &"complete".into()), "{whole}");
            continue;
        }
        let [one, two] = parts[..] else { panic!("{} parts", parts.len()) };
        parted += 1;
        assert_eq!((&one["state"], &one["call"]["ended_by"]), (&"interrupted".into(), &"handover".into()));
        assert_eq!((&two["state"], &two["call"]["ended_by"]), (&"complete".into(), &"bye".into()), "{two}");
        assert_eq!((&one["part"]["number"], &two["part"]["number"]), (&1.into(), &2.into()));
        assert_eq!([&one["part"]["first"], &two["part"]["first"]], [&one["id"], &one["id"]]);
        assert_eq!(one["end"], two["start"], "one ends where the other begins");
        let (length, at) = (one["duration_s"].as_f64().unwrap(), two["part"]["at_s"].as_f64().unwrap());
        assert!((length - at).abs() < 0.002, "{length} {at}");
        for same in ["trunk", "rule", "retention_class"] {
            assert_eq!(one[same], two[same]);
        }
        for same in ["from", "to", "caller", "callee"] {
            assert_eq!(one["call"][same], two["call"][same]);
        }
        if !one["answered"].is_null() {
            assert_eq!(one["answered"], two["answered"]);
        }
    }
    assert!(parted >= 3, "{parted} calls went on");
    let listed = bench.manifests("out");
    assert_eq!(listed.len(), manifests.len(), "each part is a recording of its own");
}

/// Wherever a run is cut in two, no packet goes to another call than without the cut, and those of calls that
/// signalling tells of go to theirs.
#[test]
fn a_call_table_that_is_taken_over_knows_the_same_media() {
    let mut checked = 0;
    for (name, recipe) in scenarios() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), generate(&recipe).expect("a sound recipe").capture).unwrap();
        let frames = blocks_of(file.path());
        let mut whole = Half::new();
        frames.iter().for_each(|frame| whole.take(frame));
        whole.intake.finish(&mut |_| {});
        for eighth in 1..8 {
            let (before, after) = frames.split_at(frames.len() * eighth / 8);
            let mut one = Half::new();
            before.iter().for_each(|frame| one.take(frame));
            let at = before.iter().map(|frame| frame.frames[0].stamp).max().unwrap_or_default();
            let left = one.leave(at);
            let mut two = Half::new();
            left.iter().for_each(|messages| two.resume(at, messages));
            after.iter().for_each(|frame| two.take(frame));
            two.intake.finish(&mut |_| {});
            for (number, call) in &whole.media {
                match one.media.get(number).or(two.media.get(number)) {
                    Some(found) => assert_eq!(found, call, "{name}: frame {number}, cut at {eighth}/8"),
                    None => one.missing.push(*number),
                }
            }
            checked += 1;
            let may_miss = CUT_APART.contains(&name);
            assert!(one.missing.is_empty() || may_miss, "{name}: cut at {eighth}/8: {:?}", one.missing);
        }
    }
    assert!(checked > 100, "{checked} cuts");
}

/// One of two processes, as far as it knows calls.
struct Half {
    intake: Intake,
    seen: Seen,
    media: BTreeMap<u64, String>,
    missing: Vec<u64>,
}

/// Call-ID of the call in each slot, and whose each packet is, by the number of its frame.
#[derive(Default)]
struct Seen {
    calls: BTreeMap<u32, String>,
    media: BTreeMap<u64, String>,
}

impl Half {
    fn new() -> Self {
        let mut intake = Intake::new(table::Config::default());
        intake.keep_transcripts();
        Self { intake, seen: Seen::default(), media: BTreeMap::new(), missing: Vec::new() }
    }

    fn take(&mut self, block: &FrameBlock) {
        let (seen, stamp, number) = (&mut self.seen, block.frames[0].stamp, block.frames[0].number);
        self.intake.handle_timeout(stamp, &mut |task| seen.task(number, task));
        self.intake.frame(block, 0, &mut |task| seen.task(number, task));
        self.media.append(&mut self.seen.media);
    }

    fn leave(&mut self, at: Stamp) -> Vec<Vec<Kept>> {
        let left = self.intake.leave(at, &mut |_| {});
        left.into_iter().map(|(_, messages)| messages).collect()
    }

    fn resume(&mut self, at: Stamp, messages: &[Kept]) {
        let seen = &mut self.seen;
        self.intake.resume(at, messages, &mut |task| seen.task(0, task));
    }
}

impl Seen {
    fn task(&mut self, number: u64, task: Task) {
        let slot = task.slot();
        match task {
            Task::Media(_) => drop(self.media.insert(number, self.calls[&slot].clone())),
            Task::Rare(rare) => match *rare {
                RareTask::Event(Event::Opened { first, .. }) => {
                    let message = first.message;
                    let call = Message::parse(&message)
                        .ok()
                        .and_then(|message| message.call_id().map(<[u8]>::to_vec));
                    self.calls.insert(slot, String::from_utf8(call.unwrap_or_default()).unwrap());
                }
                RareTask::Media { held, .. } => {
                    let call = self.calls[&slot].clone();
                    self.media.extend(held.frames.iter().map(|frame| (frame.meta.number, call.clone())));
                }
                _ => {}
            },
            Task::Aside(_) | Task::Done => {}
        }
    }
}

/// Each frame in a block of its own.
fn blocks_of(capture: &std::path::Path) -> Vec<FrameBlock> {
    let mut captures = Captures::open(&[capture.into()]).unwrap();
    let (mut block, mut all) = (FrameBlock::default(), Vec::new());
    while captures.fill(&mut block) {
        for frame in &block.frames {
            let mut one = FrameBlock::default();
            one.push(*frame, block.data(frame));
            all.push(one);
        }
    }
    all
}

/// What [`packet`] tells packets apart by: synchronisation source and sequence number.
type Packet = (u32, u16);

/// An RTP packet in UDP in IPv4 in Ethernet.
fn packet(frame: &[u8]) -> Option<Packet> {
    let is_udp = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 17;
    let (ports, payload) = (frame.get(34..38)?, frame.get(42..)?);
    let sip = 5_060_u16.to_be_bytes();
    let is_rtp = is_udp && ports[..2] != sip && ports[2..] != sip && payload.first()? >> 6 == 2;
    let ssrc = u32::from_be_bytes(*payload.get(8..)?.first_chunk()?);
    let sequence = u16::from_be_bytes(*payload.get(2..)?.first_chunk()?);
    is_rtp.then_some((ssrc, sequence))
}

fn call_id(manifest: &Value) -> String {
    manifest["call"]["call_ids"][0].as_str().expect("a Call-ID").into()
}

/// Calls in all states at any time: ringing, talking, over.
fn traffic() -> Vec<Vec<u8>> {
    let plain = CallRecipe { talk: Duration::from_secs(3), ..CallRecipe::default() };
    let kinds = vec![
        plain.clone(),
        CallRecipe { delayed_offer: true, ..plain.clone() },
        CallRecipe { nat: true, ..plain.clone() },
        CallRecipe { transport: Transport::Tcp(TcpRecipe::default()), ..plain },
    ];
    let recipe = Recipe { calls: CALLS, spacing: Duration::from_millis(700), kinds, ..Recipe::default() };
    frames_in(&generate(&recipe).expect("a sound recipe").capture)
}

fn frames_in(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = pcap_parser::LegacyPcapReader::new(1 << 20, capture).expect("a capture");
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let pcap_parser::PcapBlockOwned::Legacy(block) = block {
                    frames.push(block.data.to_vec());
                }
                reader.consume(offset);
            }
            Err(pcap_parser::PcapError::Eof) => return frames,
            Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().expect("memory"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The frames of the packets that a recording has kept.
fn frames_of(bench: &Bench, manifest: &Value) -> Vec<Vec<u8>> {
    let Some(bytes) = bench.open("out", manifest, "packets") else { return Vec::new() };
    let mut reader = pcap_parser::PcapNGReader::new(1 << 20, &bytes[..]).expect("pcapng");
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let pcap_parser::PcapBlockOwned::NG(pcap_parser::Block::EnhancedPacket(packet)) = block {
                    frames.push(packet.data[..packet.caplen as usize].to_vec());
                }
                reader.consume(offset);
            }
            Err(pcap_parser::PcapError::Eof) => return frames,
            Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().expect("memory"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn config(bench: &Bench, format: &str) -> String {
    let path = bench.path("sejf.toml");
    let at = |name: &str| bench.path(name).display().to_string();
    let toml = format!(
        r#"
[recorder]
to = "{}"
state = "{}"
allow_single_recipient = true
[[capture]]
interface = "va"
ring = "64MiB"
block_timeout = "40ms"
[recipients]
default = "{}"
[journal]
directory = "{}"
segment = "1MiB"
segments = 3
[metrics]
listen = "off"
[control]
socket = "{}"
[canary]
enabled = false
[sandbox]
waive = ["core-dumps", "memory-lock", "user", "capabilities", "no-new-privileges", "files", "system-calls"]
[[rule]]
name = "all"
action = "record"
format = "{format}"
"#,
        at("out"),
        at("state"),
        bench.recipient,
        at("journal"),
        at("control"),
    );
    std::fs::write(&path, toml).expect("configuration");
    text(&path).into()
}

/// Puts frames on the cable: up to the first halt at once, the rest slowly.
struct Sender {
    sent: Arc<AtomicUsize>,
    /// Halts that are over.
    passed: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(frames: Vec<Vec<u8>>, halts: [usize; 2]) -> Self {
        let (sent, passed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (count, over) = (sent.clone(), passed.clone());
        let thread = std::thread::spawn(move || {
            let mut cable = pcap::Capture::from_device("vb").unwrap().open().unwrap();
            for (number, frame) in frames.iter().enumerate() {
                let reached = halts.iter().filter(|halt| number >= **halt).count();
                while over.load(Ordering::Relaxed) < reached {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if reached > 0 {
                    std::thread::sleep(Duration::from_micros(500));
                }
                cable.sendpacket(&frame[..]).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { sent, passed, thread }
    }

    fn wait_for(&self, frames: usize) {
        until("frames", || self.sent.load(Ordering::Relaxed) >= frames);
    }

    fn go_on(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    fn end(self) {
        self.thread.join().unwrap();
    }
}

/// A service manager, as far as it keeps descriptors.
struct Store {
    path: std::path::PathBuf,
    kept: Arc<Mutex<Vec<(String, OwnedFd)>>>,
    ready: Arc<AtomicUsize>,
}

impl Store {
    fn new(bench: &Bench) -> Self {
        let path = bench.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (kept, ready) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
        let (into, count) = (kept.clone(), ready.clone());
        // Ends with the process: each test has one of its own.
        std::thread::spawn(move || {
            loop {
                let (said, descriptors) = receive(&socket);
                let value = |key: &str| said.lines().find_map(|line| line.strip_prefix(key));
                let name = value("FDNAME=").unwrap_or_default().to_owned();
                let mut kept = into.lock().unwrap();
                if value("FDSTOREREMOVE=") == Some("1") {
                    kept.retain(|(known, _)| *known != name);
                } else if value("FDSTORE=") == Some("1") {
                    kept.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
                }
                if value("READY=") == Some("1") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { path, kept, ready }
    }

    /// A command that begins with what is kept, as sd_listen_fds(3) says.
    fn command(&self, program: &str, args: &[&str]) -> (Command, Vec<OwnedFd>) {
        let kept = self.kept.lock().unwrap();
        let copies: Vec<_> = kept.iter().map(|(_, kept)| rustix::io::dup(kept).unwrap()).collect();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        let mut script = String::new();
        for (place, copy) in copies.iter().enumerate() {
            let number = copy.as_raw_fd();
            script.push_str(&format!("exec {}<&{number} {number}<&-; ", 200 + place));
        }
        for place in 0..copies.len() {
            script.push_str(&format!("exec {}<&{} {}<&-; ", 3 + place, 200 + place, 200 + place));
        }
        script.push_str("export LISTEN_PID=$$; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, program]).args(args).env("NOTIFY_SOCKET", &self.path);
        if !copies.is_empty() {
            command.env("LISTEN_FDS", copies.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        (command, copies)
    }
}

fn receive(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0; 4_096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    (String::from_utf8_lossy(&bytes[..got.bytes]).into_owned(), descriptors)
}

/// A recorder.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: JoinHandle<()>,
    log: std::path::PathBuf,
}

impl Running {
    fn start(bench: &Bench, store: &Store, config: &str) -> Self {
        let before = store.ready.load(Ordering::Relaxed);
        let args = ["record", "--json", "--config", config];
        let (mut command, copies) = store.command(env!("CARGO_BIN_EXE_sejf"), &args);
        let log = bench.path(&format!("log-{before}"));
        let errors = std::fs::File::create(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("bash runs");
        drop(copies);
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let (out, into) = (child.stdout.take().unwrap(), lines.clone());
        let reader = std::thread::spawn(move || read(out, &into));
        let mut running = Self { child, lines, reader, log };
        until("ready", || {
            let gone = running.child.try_wait().unwrap();
            assert!(gone.is_none(), "{gone:?}: {}", running.said());
            store.ready.load(Ordering::Relaxed) > before
        });
        running
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a call is in this state, and returns its id.
    fn wait_for_call(&self, bench: &Bench, state: &str) -> String {
        let socket = bench.path("control");
        let mut id = None;
        until(state, || {
            let calls = sejf(&["call", "ls", "--json", "--socket", text(&socket)]);
            let calls = lines(&calls.stdout);
            let found = calls.iter().find(|call| call["state"] == state);
            id = found.and_then(|call| call["id"].as_str()).map(String::from);
            id.is_some()
        });
        id.unwrap()
    }

    fn stop(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Books and manifests.
    fn end(mut self) -> (Value, Vec<Value>) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(status.success(), "{status}: {said}");
        if std::env::var_os("SEJF_SHOW").is_some() {
            println!("{said}");
        }
        let mut lines = std::mem::take(&mut *self.lines.lock().unwrap());
        let summary = lines.pop().expect("a summary");
        (summary["summary"].clone(), lines)
    }
}

fn read(out: ChildStdout, into: &Mutex<Vec<Value>>) {
    for line in BufReader::new(out).lines() {
        let line = serde_json::from_str(&line.unwrap()).expect("JSON");
        into.lock().unwrap().push(line);
    }
}

/// Waits for a state, for as long as a machine that is very busy may take.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const CALLS: u64 = 10;
/// Captures where some packets are of no call when the run is cut: the other fragments of one are in the other
/// half, or they come after the BYE.
const CUT_APART: &[&str] = &["concurrent", "fragmented-rtp", "late-media"];
