//! A kill under load: the next process goes on with calls from the record that was kept current.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use sejf::base::time::Stamp;
use sejf::fixture::generate;
use sejf::fixture::recipe::{CallRecipe, Recipe};
use sejf::recording::parts::LeftCall;
use sejf::shell::clock::now;
use sejf::shell::control_client::Client;
use sejf::shell::handover::record::Found;
use sejf::shell::handover::{RECORD_NAME, find};
use sejf::wire::sip::Message;
use serde_json::Value;

use super::{Packet, Running, Sender, Store, call_id, config, frames_in, frames_of, packet, traffic, until};
use crate::support::{Bench, assert_success, installed, lines, sejf, text};
use crate::wire::{cable, inside};

/// Killed in the middle of calls: the next process goes on with them, and all that came after the kill is in
/// parts that know their calls.
#[test]
fn calls_go_on_after_a_kill() {
    if !installed("bash") {
        return;
    }
    inside("handover::kill::calls_go_on_after_a_kill", || {
        cable();
        let bench = Bench::new();
        let frames = traffic();
        let store = Store::new(&bench);
        let config = config(&bench, "pcap");
        let first = Running::start(&bench, &store, &config);
        let half = frames.len() / 2;
        let sender = Sender::start(frames.clone(), [half, half + 200]);
        sender.wait_for(half);
        let open = signalled(&frames[..half], &frames[half..]);
        assert!(open.len() >= 3, "{open:?}");
        // All is still: what the recorder has seen it has noted soon.
        until("all that was sent", || captured(&bench) == Some(half as u64));
        until("a record of all calls", || store.calls_in_record() == open);
        let seen = Instant::now();
        until("all of it in the journal", || journal_lag(&bench).is_some_and(|lag| lag < seen.elapsed()));
        let before = first.kill();
        let ended: BTreeSet<String> = before.iter().map(call_id).collect();
        sender.go_on();
        sender.wait_for(half + 200);
        let second = Running::start(&bench, &store, &config);
        sender.go_on();
        sender.end();
        until("all that is left", || captured(&bench) == Some((frames.len() - half) as u64));
        until("all calls are over", || second.told() >= open.len() && no_call(&bench));
        second.stop();
        let (after, manifests) = second.end();

        assert_eq!(after["balanced"], true, "{after}");
        for discarded in ["capture-drop", "media-unclaimed"] {
            assert_eq!(after["discarded"].get(discarded), None, "{after}");
        }
        let spool = bench.path("out");
        assert_success(&sejf(&["verify", text(&spool), "-i", &bench.key()]));
        let to = bench.path("salvaged");
        let salvage =
            ["salvage", text(&spool), "-i", &bench.key(), "--to", text(&to), "-r", &bench.recipient];
        assert_success(&sejf(&salvage));
        let cut = bench.manifests("salvaged");
        assert_eq!(assert_continued(&cut, &manifests), open);

        // Nothing that was sent since the kill is missing or there twice, and nothing at all is there twice
        // that the dead process did not take from the ring.
        let packets =
            |frames: &[Vec<u8>]| frames.iter().filter_map(|frame| packet(frame)).collect::<Vec<_>>();
        let mut kept: BTreeMap<Packet, u32> = BTreeMap::new();
        for manifest in &manifests {
            packets(&frames_of(&bench, manifest))
                .into_iter()
                .for_each(|packet| *kept.entry(packet).or_default() += 1);
        }
        let mut sent: BTreeMap<Packet, u32> = BTreeMap::new();
        packets(&frames[half..]).into_iter().for_each(|packet| *sent.entry(packet).or_default() += 1);
        let wrong: Vec<_> = sent.iter().filter(|(packet, count)| kept.get(packet) != Some(count)).collect();
        assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), sent.len());
        let strange = kept.keys().filter(|packet| !sent.contains_key(packet)).count();
        assert_eq!(strange, 0, "all before the kill was read before it");
        assert!(ended.is_disjoint(&open), "{ended:?}");
    });
}

/// A call whose BYE came when nobody could note it is not held for ever, and says that it was cut off. One
/// that began after the record was written begins anew; a third process finds what the second goes on with.
#[test]
fn what_the_record_did_not_know_is_as_without_it() {
    if !installed("bash") {
        return;
    }
    inside("handover::kill::what_the_record_did_not_know_is_as_without_it", || {
        cable();
        let bench = Bench::new();
        let recipe = Recipe {
            kinds: vec![CallRecipe { talk: Duration::from_secs(2), ..CallRecipe::default() }],
            ..Recipe::default()
        };
        let frames = frames_in(&generate(&recipe).expect("a sound recipe").capture);
        let store = Store::new(&bench);
        let config = config(&bench, "wav");
        let first = Running::start(&bench, &store, &config);
        let half = frames.len() / 2;
        let sender = Sender::start(frames, [half, usize::MAX]);
        let open = first.wait_for_call(&bench, "talking");
        until("a record of the call", || store.calls_in_record().len() == 1);
        let old = store.copy();
        sender.go_on();
        sender.end();
        until("no call", || first.told() == 1 && store.calls_in_record().is_empty());
        first.kill();
        // As if it had died before it could note the end of the call.
        store.put_back(old);
        let second = Running::start(&bench, &store, &config);
        let next = second.wait_for_call(&bench, "ringing");
        assert_ne!(next, open);
        let known = || store.found().calls.first().map(|call| call.continuation.number);
        until("a record of the second process", || store.records() == 2 && known() == Some(3));
        second.kill();
        let third = Running::start(&bench, &store, &config);
        third.wait_for_call(&bench, "ringing");
        third.stop();
        let (_, manifests) = third.end();
        let [part] = &manifests[..] else { panic!("{manifests:?}") };
        assert_eq!((&part["part"]["number"], &part["part"]["first"]), (&3.into(), &open.as_str().into()));
        let notes = part["notes"].to_string();
        assert!(notes.contains("the recorder broke off in the part before"), "{notes}");
    });
}

/// Packets that the recorder has taken from the ring.
/// How far the journal is behind; nothing where there is none, or it is of no use.
fn journal_lag(bench: &Bench) -> Option<Duration> {
    let status = Client::connect(&bench.path("control")).and_then(|mut client| client.status()).ok()?;
    status
        .journal
        .filter(|journal| !journal.degraded)
        .map(|journal| Duration::from_secs_f64(journal.lag_ms * 1e-3))
}

fn captured(bench: &Bench) -> Option<u64> {
    let status = sejf(&["status", "--json", "--socket", text(&bench.path("control"))]);
    lines(&status.stdout).first()?["packets"]["captured"].as_u64()
}

fn no_call(bench: &Bench) -> bool {
    let calls = sejf(&["call", "ls", "--json", "--socket", text(&bench.path("control"))]);
    calls.status.success() && calls.stdout.is_empty()
}

/// Each salvaged recording of a call that went on is followed by its next part, and the call ends there.
/// Returns the Call-IDs.
fn assert_continued(cut: &[Value], manifests: &[Value]) -> BTreeSet<String> {
    let mut continued = BTreeSet::new();
    for part in manifests.iter().filter(|manifest| !manifest["part"].is_null()) {
        let call = call_id(part);
        let before: Vec<_> = cut.iter().filter(|cut| call_id(cut) == call).collect();
        let [before] = before[..] else { panic!("{call}: {before:?}") };
        assert_eq!((&part["part"]["number"], &part["part"]["first"]), (&2.into(), &before["id"]));
        assert_eq!(
            (&part["state"], &part["call"]["ended_by"]),
            (&"complete".into(), &"bye".into()),
            "{part}"
        );
        assert_eq!(before["state"], "interrupted");
        // On the timeline of the call, the part stands where it stands in time.
        let seconds = |manifest: &Value| {
            let at: Stamp = serde_json::from_value(manifest["start"].clone()).expect("a time");
            at.as_unix_nanos() as f64 / 1e9
        };
        let (apart, at) = (seconds(part) - seconds(before), part["part"]["at_s"].as_f64().unwrap());
        assert!((apart - at).abs() < 0.002 && before["duration_s"].as_f64().unwrap() <= at, "{apart} {at}");
        for same in ["trunk", "rule", "retention_class"] {
            assert_eq!(before[same], part[same]);
        }
        assert!(continued.insert(call));
    }
    continued
}

/// Call-IDs of calls that have begun in the first frames, and have packets in the second.
fn signalled(before: &[Vec<u8>], after: &[Vec<u8>]) -> BTreeSet<String> {
    let calls = |frames: &[Vec<u8>]| {
        let text = frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned());
        let id = |text: String| {
            let (_, id) = text.split_once("Call-ID: ")?;
            Some(id.split_once('\r')?.0.to_owned())
        };
        text.filter_map(id).collect::<BTreeSet<_>>()
    };
    calls(before).intersection(&calls(after)).cloned().collect()
}

impl Store {
    /// What the record of calls says now.
    fn found(&self) -> Found {
        let kept = self.kept.lock().unwrap();
        let records = kept.iter().filter(|(name, _)| name.starts_with(RECORD_NAME));
        let records: Vec<_> =
            records.map(|(_, record)| File::from(rustix::io::dup(record).unwrap())).collect();
        // It is written meanwhile.
        find(&records, now()).unwrap_or_default()
    }

    fn calls_in_record(&self) -> BTreeSet<String> {
        let calls = self.found().calls;
        let id = |call: LeftCall| {
            let message = Message::parse(&call.messages[0].bytes).unwrap();
            String::from_utf8_lossy(message.call_id().unwrap()).into_owned()
        };
        calls.into_iter().map(id).collect()
    }

    /// How many descriptors are of records.
    fn records(&self) -> usize {
        self.kept.lock().unwrap().iter().filter(|(name, _)| name.starts_with(RECORD_NAME)).count()
    }

    /// What is in the halves of the record.
    fn copy(&self) -> Vec<Vec<u8>> {
        let kept = self.kept.lock().unwrap();
        let records = kept.iter().filter(|(name, _)| name.starts_with(RECORD_NAME));
        let read = |record: &OwnedFd| {
            let file = File::from(rustix::io::dup(record).unwrap());
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        records.map(|(_, record)| read(record)).collect()
    }

    fn put_back(&self, halves: Vec<Vec<u8>>) {
        let kept = self.kept.lock().unwrap();
        let records = kept.iter().filter(|(name, _)| name.starts_with(RECORD_NAME));
        for ((_, record), bytes) in records.zip(halves) {
            let file = File::from(rustix::io::dup(record).unwrap());
            file.set_len(0).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
}

impl Running {
    /// How many recordings it has told of.
    fn told(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// Manifests of what had ended.
    fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}
