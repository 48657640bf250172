//! `sejf record` on a wire: what comes out is what a replay of the same capture makes, and it does as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Dtx, Ending, Recipe, StreamRecipe};
use sejf::fixture::truth::Truth;
use sejf::shell::status::snapshot::Snapshot;

use crate::sound::{Sound, best, ffmpeg, place_of};
use crate::support::{Bench, assert_success, installed, lines, sejf, text};
use crate::wire::{Frames, Live, all_in, cable, frames_of, inside, write_config};

#[test]
fn a_wire_gives_what_a_replay_gives() {
    inside("live::a_wire_gives_what_a_replay_gives", || {
        cable();
        let talk = Duration::from_secs(3);
        let plain = CallRecipe { talk, ..CallRecipe::default() };
        let lossy = StreamRecipe {
            loss_percent: 2.0,
            reorder_percent: 1.0,
            duplicate_percent: 1.0,
            ..StreamRecipe::default()
        };
        let kinds = vec![
            plain.clone(),
            CallRecipe {
                rtcp: Some(Duration::from_secs(1)),
                streams: [lossy.clone(), lossy],
                ..plain.clone()
            },
            CallRecipe { dtx: Dtx::ComfortNoise, ipv6: true, ..plain },
        ];
        let recipe = Recipe { calls: 6, spacing: Duration::from_millis(250), kinds, ..Recipe::default() };
        let (frames, truth) = Frames::of(&recipe);
        let capture = generate(&recipe).expect("a sound recipe").capture;
        for attempt in 1..=ATTEMPTS {
            let bench = Bench::new();
            std::fs::write(bench.path("capture"), &capture).expect("capture");
            let recorders = FORMATS.map(|format| (format, Live::start(&bench, format, &all_in(format))));
            let late = frames.send_all();
            for (format, live) in recorders {
                live.until("told of all calls", || live.told().len() as u64 == recipe.calls);
                let (mut told, books) = live.stop();
                assert_eq!(books["captured"], truth.frames, "{format}: {books}");
                let replayed = format!("{format}-replayed");
                assert_success(&bench.replay(&bench.path("capture"), &replayed, &["--audio", format]));
                let same = by_call(bench.manifests(&replayed));
                let spool = format!("{format}/spool");
                told.iter_mut().for_each(|manifest| assert_eq!(manifest["state"], "complete"));
                for (call, manifest) in by_call(bench.manifests(&spool)) {
                    let replayed_as = &same[&call];
                    assert_eq!(counts(&manifest), counts(replayed_as), "{format}: {call}");
                    if format == "pcap" {
                        let of = |dir: &str, manifest| {
                            frames_of(&bench.open(dir, manifest, "packets").expect("packets"))
                        };
                        assert!(of(&spool, &manifest) == of(&replayed, replayed_as), "{call}: other packets");
                    }
                }
                assert_success(&sejf(&["verify", text(&bench.path(&spool)), "-i", &bench.key()]));
                // A machine that was too busy to send in time has sent another sound.
                if format != "pcap" && late < SENT_LATE_MAX {
                    assert_sounds(&bench, &spool, format, &truth);
                }
            }
            if late < SENT_LATE_MAX {
                return;
            }
            println!("attempt {attempt}: sent up to {late:?} too late");
        }
        println!("skipped: this machine is too busy to send sound in time");
    });
}

/// What a rule leaves out is left out and receipted; what a new configuration says holds for new calls; what goes on
/// when it is told to stop is whole as far as it got.
#[test]
fn rules_reload_and_stop() {
    inside("live::rules_reload_and_stop", || {
        cable();
        let bench = Bench::new();
        let kind =
            CallRecipe { talk: Duration::from_secs(60), ending: Ending::NoBye, ..CallRecipe::default() };
        let recipe =
            Recipe { calls: 4, spacing: Duration::from_secs(1), kinds: vec![kind], ..Recipe::default() };
        let (frames, truth) = Frames::of(&recipe);
        let (before, rest) = frames.split(Duration::from_millis(1_900));
        let (after, _) = rest.split(Duration::from_millis(4_500));
        let number = |index: usize| truth.calls[index].from.clone();
        let rule = |name: &str, number: &str, action: &str, format: &str| {
            format!(
                "[[rule]]\nname = \"{name}\"\naction = \"{action}\"\n{format}[rule.match]\nfrom_user = \"{number}\"\n"
            )
        };
        let format = "format = \"pcap\"\n";
        let first = rule("left-out", &number(1), "exclude", "") + &all_in("pcap");
        let live = Live::start(&bench, "live", &first);
        before.send_all();
        let all_seen = |status: Snapshot| {
            status.packets.captured == before.0.len() as u64
                && status.queues.iter().all(|queue| queue.used == 0)
        };
        live.until("began two calls", || parts(&live) == 1 && live.status().is_some_and(all_seen));
        // From now on the third is metadata and the fourth nothing; the first goes on.
        let second = rule("kept", &number(0), "exclude", "") + &rule("facts", &number(2), "metadata", format);
        write_config(&bench, &live.root, &second);
        live.signal(Signal::HUP);
        let probes = probe_until(&live, |state| state == "excluded");
        after.send_all();
        let root = live.root.clone();
        let (told, books) = live.stop();
        let calls = told.len() as u64;

        // Of calls that a rule keeps out nobody is named.
        let (out, named): (Vec<Value>, Vec<Value>) =
            told.into_iter().partition(|manifest| manifest["state"] == "excluded");
        assert!(out.iter().all(|manifest| manifest["call"]["call_ids"] == serde_json::json!([])), "{out:?}");
        let by_rule =
            |name: &str| out.iter().filter(|out| out["rule"].as_str().unwrap().starts_with(name)).count();
        // The second, by the first rules; the fourth, and the probes that were not recorded, by the second.
        assert!(by_rule("left-out") == 1 && by_rule("default") >= 2, "{out:?}");
        let all = by_call(named);
        let state = |index: usize| all[&truth.calls[index].call_id]["state"].as_str().unwrap().to_owned();
        let rule = |index: usize| all[&truth.calls[index].call_id]["rule"].as_str().unwrap().to_owned();
        assert!(rule(0).starts_with("all") && rule(2).starts_with("facts"), "{all:?}");
        assert_eq!(state(0), "interrupted");
        assert!([1, 3].iter().all(|index| !all.contains_key(&truth.calls[*index].call_id)), "{all:?}");
        assert_eq!(books["captured"], (before.0.len() + after.0.len()) as u64 + probes, "{books}");
        assert!(books["discarded"]["excluded"].as_u64() > Some(0), "{books}");

        let kept = by_call(bench.manifests("live/spool"));
        let of_truth = truth.calls.iter().filter(|call| kept.contains_key(&call.call_id)).count();
        assert_eq!(of_truth, 2, "of two calls nothing is kept: {kept:?}");
        let call = &kept[&truth.calls[0].call_id];
        let recorded = frames_of(&bench.open("live/spool", call, "packets").expect("packets"));
        let of_call: Vec<Vec<u8>> = before
            .0
            .iter()
            .chain(&after.0)
            .map(|(_, frame)| frame.clone())
            .filter(|f| is_of(f, &truth, 0))
            .collect();
        assert!(recorded == of_call, "{} of {} packets", recorded.len(), of_call.len());
        let facts = &kept[&truth.calls[2].call_id];
        assert!(bench.open("live/spool", facts, "packets").is_none());
        let verified = sejf(&["verify", text(&root.join("spool")), "-i", &bench.key(), "--json"]);
        assert_success(&verified);
        assert_eq!(lines(&verified.stdout)[0]["receipts"], calls);
    });
}

/// Sends short calls until what is told of one is as it should be. Returns how many frames that took.
fn probe_until(live: &Live, holds: impl Fn(&str) -> bool) -> u64 {
    let mut sent = 0;
    for seed in 2..1_000 {
        let short = Duration::from_millis(1);
        let kind = CallRecipe { ring: short, talk: short, ..CallRecipe::default() };
        // The sixth: none of the first has its number.
        let recipe =
            Recipe { seed, calls: 6, spacing: Duration::ZERO, kinds: vec![kind], ..Recipe::default() };
        let (mut frames, truth) = Frames::of(&recipe);
        let probe = &truth.calls[5].call_id;
        frames.0.retain(|(_, frame)| String::from_utf8_lossy(frame).contains(probe.as_str()));
        let before: BTreeSet<String> =
            live.told().iter().map(|manifest| manifest["id"].to_string()).collect();
        frames.send_all();
        sent += frames.0.len() as u64;
        // Of a call that a rule keeps out nobody is named.
        let is_probe = |manifest: &Value| {
            manifest["call"]["call_ids"][0] == probe.as_str() || manifest["state"] == "excluded"
        };
        let told = || {
            live.told()
                .into_iter()
                .find(|manifest| !before.contains(&manifest["id"].to_string()) && is_probe(manifest))
        };
        live.until("told of a short call", || told().is_some());
        if told().is_some_and(|manifest| holds(manifest["state"].as_str().unwrap())) {
            return sent;
        }
    }
    panic!("it never read its configuration again");
}

fn parts(live: &Live) -> usize {
    let names = std::fs::read_dir(live.spool()).unwrap().flatten();
    names.filter(|entry| entry.path().extension().is_some_and(|end| end == "part")).count()
}

/// Whether a frame is signalling or media of the call `index`.
pub(crate) fn is_of(frame: &[u8], truth: &Truth, index: usize) -> bool {
    let call = &truth.calls[index];
    let has = |what: &[u8]| frame.windows(what.len()).any(|window| window == what);
    has(call.call_id.as_bytes())
        || call.streams.iter().any(|stream| frame.get(50..54) == Some(&stream.ssrc.to_be_bytes()[..]))
}

fn by_call(manifests: Vec<Value>) -> BTreeMap<String, Value> {
    let id = |manifest: &Value| manifest["call"]["call_ids"][0].as_str().expect("a Call-ID").to_owned();
    manifests.into_iter().map(|manifest| (id(&manifest), manifest)).collect()
}

/// What must be the same however it was captured.
fn counts(manifest: &Value) -> Vec<String> {
    let mut counts = vec![format!("{} {}", manifest["state"], manifest["counters"])];
    for stream in manifest["streams"].as_array().unwrap() {
        let fields = ["ssrc", "party", "packets", "lost", "duplicate", "reordered", "src", "dst"];
        counts.push(fields.map(|field| stream[field].to_string()).join(" "));
    }
    counts.sort();
    counts
}

fn assert_sounds(bench: &Bench, spool: &str, format: &str, truth: &Truth) {
    if format == "opus" && !installed("ffmpeg") {
        return;
    }
    let manifests = by_call(bench.manifests(spool));
    // Without loss and pauses: those are told by the counts.
    for call in truth.calls.iter().filter(|call| call.index % 3 == 0) {
        let file = bench.open(spool, &manifests[&call.call_id], "audio").expect("a sound file");
        let path = bench.path("sound");
        std::fs::write(&path, file).expect("written");
        let sound = if format == "wav" {
            let mut wav = hound::WavReader::open(&path).expect("WAV");
            let rate = wav.spec().sample_rate;
            let samples: Vec<i16> = wav.samples().map(|sample| sample.expect("samples")).collect();
            Sound::new(&samples, rate)
        } else {
            Sound::new(&ffmpeg(&path, 16_000), 16_000)
        };
        for stream in &call.streams {
            let said = stream.reference(sound.rate);
            let place = place_of(stream, call, sound.rate);
            let slack = i64::from(sound.rate) / 10;
            let (likeness, lag) = best(&said, sound.of(stream.party), place, slack);
            assert!(likeness > 0.9, "{format}: {:?} of {}: {likeness} at {lag}", stream.party, call.index);
            let other = sound.of(stream.party.other());
            let (likeness, _) = best(&said, other, place, slack);
            assert!(likeness < 0.3, "{format}: {:?} of {} is on both sides", stream.party, call.index);
        }
    }
}

const FORMATS: [&str; 3] = ["pcap", "wav", "opus"];
const ATTEMPTS: u32 = 5;
/// Later, and the sound that was sent is another.
const SENT_LATE_MAX: Duration = Duration::from_millis(60);
