//! A flood of INVITEs: memory has a ceiling, and calls that were there before keep every packet.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use sejf::fixture::file::FileWriter;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::fixture::truth::Truth;

use crate::live::is_of;
use crate::support::{Bench, text};
use crate::wire::{Frames, Live, all_in, cable, frames_of, inside};

/// From a file nothing is ever dropped: what the flood does to memory and to other calls shows by itself.
#[test]
fn a_replayed_flood_has_a_ceiling_and_touches_no_other_call() {
    let bench = Bench::new();
    let (recipe, frames, truth, invites) = flood(100_000, 20_000);
    let (writer, mut capture) = (FileWriter::new(&recipe.file), Vec::new());
    writer.header(&mut capture);
    for (at, frame) in &frames.0 {
        writer.frame(&mut capture, recipe.start.after(*at), 0, frame);
    }
    std::fs::write(bench.path("capture"), capture).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sejf"))
        .args(["replay", text(&bench.path("capture")), "--to", text(&bench.path("out")), "--audio", "pcap"])
        .args([
            "--recipient",
            &bench.recipient,
            "--state",
            text(&bench.path("state")),
            "--no-sync",
            "--quiet",
        ])
        .stdin(Stdio::null())
        .spawn()
        .expect("the program runs");
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let id = child.id();
    let status = std::thread::scope(|scope| {
        scope.spawn(|| watch_memory(id, &over, &most));
        let status = child.wait().expect("it ends");
        over.store(true, Ordering::Release);
        status
    });
    assert!(status.success(), "{status}");
    let most = most.load(Ordering::Acquire);
    println!("measured: {invites} INVITEs replayed, {most} MiB at most");
    assert!(most > 0 && most < MEMORY_MIB, "{most} MiB");
    assert_untouched(&bench, "out", &frames, &truth);
}

#[test]
fn a_flood_on_the_wire_has_a_ceiling_and_touches_no_other_call() {
    inside("live_load::a_flood_on_the_wire_has_a_ceiling_and_touches_no_other_call", || {
        cable();
        let bench = Bench::new();
        let (_, frames, truth, invites) = flood(100_000, 10_000);
        let live = Live::start(
            &bench,
            "live",
            &format!("[limits]\nmemory = \"{MEMORY_MIB}MiB\"\n{}", all_in("pcap")),
        );
        frames.send_all();
        let ended = |live: &Live| {
            let told = live.told();
            let is_over = |id: &str| told.iter().any(|manifest| manifest["call"]["call_ids"][0] == id);
            truth.calls.iter().all(|call| is_over(&call.call_id))
        };
        live.until("told of the calls beside the flood", || ended(&live));
        let most = peak_mib(&live.child).expect("it runs");
        let (_, books) = live.stop();
        println!("measured: {invites} INVITEs on the wire, {most} MiB at most, {books}");
        assert!(most < MEMORY_MIB, "{most} MiB");
        assert_eq!(books["captured"], frames.0.len() as u64, "dropped ones too: {books}");
        let dropped = |reason: &str| books["discarded"][reason].as_u64().unwrap_or(0);
        if dropped("capture-drop") + dropped("queue-drop") > 0 {
            println!("skipped: this machine is too busy to tell what a flood does to other calls: {books}");
            return;
        }
        assert_untouched(&bench, "live/spool", &frames, &truth);
    });
}

/// Two calls, and while they go on INVITEs of calls that nobody answers, from many places.
fn flood(long: u32, short: u32) -> (Recipe, Frames, Truth, u32) {
    let invites = if std::env::var_os("SEJF_LONG_TESTS").is_some() { long } else { short };
    let talk = Duration::from_secs(u64::from(invites / 4_000).max(4));
    let kind = CallRecipe { talk, ..CallRecipe::default() };
    let recipe =
        Recipe { calls: 2, spacing: Duration::from_millis(100), kinds: vec![kind], ..Recipe::default() };
    let (mut frames, truth) = Frames::of(&recipe);
    let (from, gap) = (Duration::from_secs(2), (talk - Duration::from_secs(2)) / invites);
    frames.0.extend((0..invites).map(|number| (from + gap * number, invite(number))));
    frames.0.sort_by_key(|(at, _)| *at);
    (recipe, frames, truth, invites)
}

fn invite(number: u32) -> Vec<u8> {
    let [a, b, ..] = number.to_le_bytes();
    let source = format!("10.7.{a}.{b}");
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {source}\r\ns=-\r\nc=IN IP4 {source}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    );
    let sip = format!(
        "INVITE sip:x{number}@198.51.100.99 SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5060;branch=z9hG4bKflood{number}\r\n\
         From: <sip:f{number}@{source}>;tag=t{number}\r\nTo: <sip:x{number}@198.51.100.99>\r\n\
         Call-ID: flood-{number}@{source}\r\nCSeq: 1 INVITE\r\nContact: <sip:f@{source}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, a, b, 198, 51, 100, 99];
    ip[2..4].copy_from_slice(&(28 + sip.len() as u16).to_be_bytes());
    let mut udp = [0x13, 0xc4, 0x13, 0xc4, 0, 0, 0, 0];
    udp[4..6].copy_from_slice(&(8 + sip.len() as u16).to_be_bytes());
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    [&ethernet[..], &ip, &udp, sip.as_bytes()].concat()
}

/// Every packet of the calls beside the flood is in their recordings.
fn assert_untouched(bench: &Bench, dir: &str, frames: &Frames, truth: &Truth) {
    let manifests: Vec<Value> = bench.manifests(dir);
    for (index, call) in truth.calls.iter().enumerate() {
        let manifest =
            manifests.iter().find(|manifest| manifest["call"]["call_ids"][0] == call.call_id.as_str());
        let manifest = manifest.expect("a recording");
        assert_eq!(manifest["state"], "complete");
        let recorded = frames_of(&bench.open(dir, manifest, "packets").expect("packets"));
        let sent = frames.0.iter().map(|(_, frame)| frame).filter(|frame| is_of(frame, truth, index));
        assert!(recorded.iter().eq(sent), "{}: other packets than were sent", call.call_id);
    }
}

fn watch_memory(id: u32, over: &AtomicBool, most: &AtomicU64) {
    while !over.load(Ordering::Acquire) {
        most.fetch_max(peak_of(id).unwrap_or(0), Ordering::AcqRel);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn peak_mib(child: &Child) -> Option<u64> {
    peak_of(child.id())
}

fn peak_of(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? >> 10)
}

/// The smallest ceiling that a configuration may set is 128 MiB; the default is 2 GiB.
const MEMORY_MIB: u64 = 1_024;
