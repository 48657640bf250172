//! A catalog made anew is the one that was lost.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::record;
use super::search::NamedKeys;
use crate::archive::access::Reason;
use crate::archive::copies::slips;
use crate::archive::media::Medium;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::{IndexKeys, Indexed};
use crate::archive::slip::Slip;
use crate::archive::version::{Change, History, Said, document_name};
use crate::base::counters::Counters;
use crate::base::time::Stamp;
use crate::recording::manifest::Manifest;
use crate::seal::header::Header;
use crate::seal::identity::{Identities, generate_x25519};
use crate::seal::random::Seeded;
use crate::seal::receipt::ReceiptState;
use crate::seal::recipient::Recipients;
use crate::seal::stream::seal_whole;
use crate::seal::tree::Hash;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::anew::take_over_logs;
use crate::shell::vault::catalog::awaited::NewEntries;
use crate::shell::vault::catalog::media::Move;
use crate::shell::vault::catalog::rebuild::{Sources, details_of, differences, rebuild};
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::catalog::recordings::{NewRecord, Taken};
use crate::shell::vault::catalog::versions::{Added, NewVersion};
use crate::shell::vault::place::{Content, Directory, Place};

/// An archive with all that can be in it.
struct Archive {
    keys: NamedKeys,
    place: Directory,
    random: Seeded,
    staged: Vec<NewRecord>,
    entries: BTreeMap<(String, u64), Vec<u8>>,
    lost: Vec<RecordingId>,
    said: BTreeMap<RecordingId, History>,
}

impl Archive {
    fn begin(dir: &Path) -> Self {
        Self {
            keys: NamedKeys::default(),
            place: Directory::open("first", "here", dir).unwrap(),
            random: Seeded::new(&[6; 32], "archive", 0),
            staged: Vec::new(),
            entries: BTreeMap::new(),
            lost: Vec::new(),
            said: BTreeMap::new(),
        }
    }

    fn manifest(record: &Record) -> Manifest {
        let number = record.receipt_index;
        serde_json::from_value(serde_json::json!({
            "schema": 1, "id": record.id, "state": "complete", "start": record.receipt.start,
            "end": record.receipt.end, "answered": null, "duration_s": 1.0, "trunk": "Orange PL", "rule": "all@1",
            "retention_class": "calls-5y",
            "call": {
                "call_ids": [format!("{number}@pbx")], "from": "sip:a@b", "to": "sip:c@d",
                "caller": format!("+4822{:07}", number % 5), "callee": "recepcja", "ended_by": "bye",
                "status": 200, "orphan": false,
            },
            "streams": [], "gaps": [], "files": [], "counters": Counters::default(), "ladder": [], "notes": [],
            "recorder": {"id": "r", "version": "0"},
        }))
        .unwrap()
    }

    /// Archives a recording, as intake does: objects and slip first, then the catalog.
    async fn add(&mut self, catalog: &Catalog, mut record: Record) {
        let epoch = record.epoch().unwrap();
        let envelope = self.keys.envelopes(&epoch, &record.id).unwrap().remove(0);
        let (identity, recipient) = generate_x25519(&mut self.random);
        let recipients = Recipients::parse([recipient]).unwrap();
        let manifest = Self::manifest(&record);
        for file in &mut record.files {
            let is_manifest = file.name.ends_with(".json.age");
            let plain = if is_manifest { serde_json::to_vec(&manifest).unwrap() } else { vec![7; 50] };
            let sealed = seal_whole(&plain, &recipients, &mut self.random).unwrap();
            let body = &sealed[Header::read(&mut &sealed[..]).unwrap().to_bytes().len()..];
            let identities = Identities::parse(&identity).unwrap();
            let header = envelope.rewrap(&mut &sealed[..], &identities, &mut self.random).unwrap();
            *file = ArchivedFile {
                name: file.name.clone(),
                header_sha256: Digest::of(&header),
                header_bytes: header.len() as u64,
                body_sha256: Digest::of(body),
                body_bytes: body.len() as u64,
            };
            let start = record.receipt.start;
            self.put(&file.header_object(&record.id, start), &header).await;
            self.put(&file.body_object(&record.id, start), body).await;
        }
        let details = details_of(&manifest);
        let indexed = Some(self.keys.indexed(&record, &details));
        self.add_slip(&record).await;
        let taken = catalog.take_in(&[NewRecord { record, indexed }]).await.unwrap();
        assert_eq!(taken, [Taken::New]);
    }

    /// Says something of a recording, as the shell does: objects and slip first, then the catalog.
    async fn say(&mut self, catalog: &Catalog, id: RecordingId, change: Change) {
        let mut record = catalog.get(&id).await.unwrap().unwrap();
        let begin = || History::begin(id, &record.receipt.to_entry(), details_of(&Self::manifest(&record)));
        let history = self.said.entry(id).or_insert_with(begin);
        let reason = Reason { code: "complaint".into(), text: String::new() };
        let said = Said { at: Stamp::ZERO, author: "local:ewa".into(), reason, change };
        let document = history.next(said, [5; 32]).unwrap().to_bytes();
        history.push(&document).unwrap();
        let (number, now) = (history.number(), history.now().clone());
        let envelope = self.keys.envelopes(&record.epoch().unwrap(), &id).unwrap().remove(0);
        let (identity, recipient) = generate_x25519(&mut self.random);
        let recipients = Recipients::parse([recipient]).unwrap();
        let sealed = seal_whole(&document, &recipients, &mut self.random).unwrap();
        let body = &sealed[Header::read(&mut &sealed[..]).unwrap().to_bytes().len()..];
        let identities = Identities::parse(&identity).unwrap();
        let header = envelope.rewrap(&mut &sealed[..], &identities, &mut self.random).unwrap();
        let file = ArchivedFile {
            name: document_name(&id, number),
            header_sha256: Digest::of(&header),
            header_bytes: header.len() as u64,
            body_sha256: Digest::of(body),
            body_bytes: body.len() as u64,
        };
        record.files.push(file.clone());
        self.put(&file.header_object(&id, record.receipt.start), &header).await;
        self.put(&file.body_object(&id, record.receipt.start), body).await;
        let (object, slip) = slips(&record).pop().unwrap();
        assert_eq!(object, record.version_slip_object(number));
        self.put(&object, &slip).await;
        let indexed = &self.keys.indexed(&record, &now);
        let new = NewVersion { id, number, files: &[file], indexed, behind: &[] };
        assert_eq!(catalog.add_version(&new).await.unwrap(), Added::Yes);
    }

    async fn add_slip(&mut self, record: &Record) {
        let place = (record.recorder.clone(), record.receipt_index);
        self.entries.insert(place, record.receipt.to_entry());
        self.put(&record.slip_object(), &Slip::of(record).to_bytes()).await;
    }

    async fn put(&self, object: &str, bytes: &[u8]) {
        let content = Content::Bytes(Bytes::copy_from_slice(bytes));
        self.place.put_new(object, content, true).await.unwrap();
    }

    async fn rebuild(&self, into: &Catalog) -> (u64, Vec<String>) {
        let entry = |recorder: &str, index| self.entries.get(&(recorder.to_owned(), index)).cloned();
        let sources = Sources {
            place: &self.place,
            keys: &self.keys,
            entry: &entry,
            is_destroyed: &|_, id| !self.lost.contains(id),
            staged: self.staged.clone(),
            positions: vec![("recorder-1".into(), position())],
        };
        let rebuilt = rebuild(into, &sources, &mut Seeded::new(&[8; 32], "again", 0)).await.unwrap();
        (rebuilt.recordings, rebuilt.faults.iter().map(ToString::to_string).collect())
    }
}

fn position() -> Position {
    Position { size: 7, root: Hash([1; 32]), checkpoint: "note".into() }
}

/// Archived, destroyed with and without what was left of them, not recorded, staged.
async fn filled(dir: &Path, catalog: &Catalog) -> Archive {
    let mut archive = Archive::begin(dir);
    for number in 1..=30 {
        archive.add(catalog, record(number, number * 100_000)).await;
    }
    for number in [31, 32] {
        let mut record = Record { class: None, files: Vec::new(), ..record(number, number) };
        record.receipt.state = ReceiptState::ExcludedByRule;
        archive.add_slip(&record).await;
        catalog.take_in(&[NewRecord { record, indexed: None }]).await.unwrap();
    }
    // More than nine: names of objects are not in the order of their numbers.
    for number in [(7, 12), (8, 1), (3, 1), (4, 2)].iter().flat_map(|(number, count)| vec![*number; *count]) {
        let said = archive.said.values().map(|history| history.number()).sum::<u32>();
        let change = match said % 3 {
            0 => Change::Labels { add: vec![format!("label {said}")], remove: Vec::new() },
            1 => Change::Agents { add: vec![format!("agent {said}")], remove: Vec::new() },
            _ => Change::Note { text: "he called again".into() },
        };
        archive.say(catalog, record(number, number * 100_000).id, change).await;
    }
    let staged = Record { class: None, phase: Phase::Staged, files: Vec::new(), ..record(33, 5) };
    archive.staged.push(NewRecord { record: staged, indexed: None });
    catalog.take_in(&archive.staged).await.unwrap();
    for number in [3, 4] {
        let record = catalog.get(&record(number, number * 100_000).id).await.unwrap().unwrap();
        archive.keys.destroy(record.id);
        for file in record.files.iter().filter(|_| number == 4) {
            for object in [
                file.header_object(&record.id, record.receipt.start),
                file.body_object(&record.id, record.receipt.start),
            ] {
                archive.place.remove(&object).await.unwrap();
            }
        }
        catalog.set_destroyed(&[record.id]).await.unwrap();
    }
    assert!(catalog.set_recorder_position("recorder-1", &position()).await.unwrap());
    let on_it: Vec<RecordingId> = (1..=300).map(|number| record(number, number).id).collect();
    for (id, recordings) in [("m-1", &on_it[..]), ("m-2", &on_it[..1])] {
        let medium = Medium {
            schema: 1,
            id: id.into(),
            label: "safe 3".into(),
            vault: "vault+1+a".into(),
            written: Stamp::from_unix_nanos(7),
            recordings: recordings.to_vec(),
        };
        catalog.add_medium(&medium, &[], &moved("written", 1)).await.unwrap();
        assert!(catalog.move_medium(id, &moved("check-out", 2)).await.unwrap());
    }
    assert!(catalog.move_medium("m-2", &moved("destroyed", 3)).await.unwrap());
    archive
}

fn moved(what: &str, entry: u64) -> Move {
    let at = Stamp::from_unix_nanos(entry * 100);
    let [who, seal, place, reason] = ["local:root", "A 17", "bank", "audit"].map(str::to_owned);
    Move { at, what: what.into(), who, seal, place, reason, entry }
}

/// Three that are awaited, one of which was refused, and two entries that are no receipts.
async fn say_more(catalog: &Catalog) {
    let receipts = (101..104).map(|number| (number, record(number, number).receipt)).collect();
    let others = vec![(104, b"later".to_vec()), (105, b"{}".to_vec())];
    catalog.add_entries("recorder-1", &NewEntries { receipts, others }).await.unwrap();
    catalog.set_awaited_faults("recorder-1", &[(102, "changed".into())]).await.unwrap();
}

pub(super) async fn gives_the_same(at: String, other: String) {
    let dir = tempfile::tempdir().unwrap();
    let (live, anew) = (Catalog::open(&at).await.unwrap(), Catalog::open(&other).await.unwrap());
    let archive = filled(dir.path(), &live).await;
    say_more(&live).await;
    assert!(!differences(&live, &anew, &archive.keys, 99).await.unwrap().is_empty());
    assert_eq!(archive.rebuild(&anew).await, (33, vec![]));
    anew.copy_register(&live).await.unwrap();
    let seen = differences(&live, &anew, &archive.keys, 99).await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("awaited"), "{seen:?}");
    for _ in 0..2 {
        assert_eq!(archive.rebuild(&anew).await, (33, vec![]));
        anew.copy_register(&live).await.unwrap();
        take_over_logs(&live, &anew).await.unwrap();
        let awaited = anew.awaited("recorder-1", 0, 99).await.unwrap();
        let faults: Vec<_> = awaited.iter().map(|one| (one.index, one.fault.as_str())).collect();
        assert_eq!(faults, [(101, ""), (102, "changed"), (103, "")]);
        assert_eq!(anew.recorder_events("recorder-1", 0, 9).await.unwrap().len(), 2);
        assert_eq!(differences(&live, &anew, &archive.keys, 99).await.unwrap(), Vec::<String>::new());
    }
    let ids: Vec<RecordingId> = (1..=30).map(|number| record(number, number * 100_000).id).collect();
    assert_eq!(anew.sealed_details(&ids).await.unwrap().len(), 28);
    // A difference of each kind is seen.
    let changed = archive.keys.indexed(&record(5, 500_000), &details_of(&Archive::manifest(&record(6, 6))));
    anew.set_details(&ids[4], &changed).await.unwrap();
    let terms = anew.sealed_details(&[ids[5]]).await.unwrap().remove(0).terms;
    anew.set_details(&ids[5], &Indexed { details: vec![0; 99], terms }).await.unwrap();
    sqlx::query("UPDATE recordings SET receipt_index = 77 WHERE id = $1")
        .bind(ids[6].as_bytes().to_vec())
        .execute(anew.pool())
        .await
        .unwrap();
    anew.set_recorder_position("recorder-1", &Position { size: 8, ..position() }).await.unwrap();
    assert!(anew.move_medium("m-1", &moved("check-in", 9)).await.unwrap());
    let seen = differences(&live, &anew, &archive.keys, 99).await.unwrap();
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen[4].starts_with("medium m-1"), "{seen:?}");
    for (line, start) in seen.iter().zip([ids[6], ids[5], ids[4]]) {
        assert!(line.starts_with(&start.to_string()), "{line}");
    }
    assert!(seen[3].starts_with("recorder recorder-1"), "{seen:?}");
}

#[test]
fn what_is_wrong_with_objects_is_said_and_nothing_is_left_out_silently() {
    let dir = tempfile::tempdir().unwrap();
    super::wait(async {
        let live = Catalog::open_file(&dir.path().join("live.db")).await.unwrap();
        let anew = Catalog::open_file(&dir.path().join("anew.db")).await.unwrap();
        let place = dir.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let mut archive = filled(&place, &live).await;
        let get = async |number: u64| live.get(&record(number, number * 100_000).id).await.unwrap().unwrap();
        let (headless, cut, unread) = (get(10).await, get(11).await, get(12).await);
        let (changed, forged, moved) = (get(13).await, get(14).await, get(15).await);
        let object =
            |record: &Record, file: usize| record.files[file].body_object(&record.id, record.receipt.start);
        let header = headless.files[0].header_object(&headless.id, headless.receipt.start);
        archive.place.remove(&header).await.unwrap();
        archive.place.replace(&object(&cut, 0), Bytes::from_static(b"cut")).await.unwrap();
        let length = unread.files[1].body_bytes as usize;
        archive.place.replace(&object(&unread, 1), Bytes::from(vec![0; length])).await.unwrap();
        archive.place.replace(&changed.slip_object(), Bytes::from_static(b"{}")).await.unwrap();
        let mut other = Slip::of(&forged);
        other.receipt.rule = "none@1".into();
        archive.place.replace(&forged.slip_object(), Bytes::from(other.to_bytes())).await.unwrap();
        let bytes = Slip::of(&get(16).await).to_bytes();
        archive.place.replace(&moved.slip_object(), Bytes::from(bytes)).await.unwrap();
        archive.put("2026/12/01/not-an-id.receipt.json", b"{}").await;
        archive.entries.remove(&("recorder-0".to_owned(), 2));
        let lost = get(17).await;
        archive.keys.destroy(lost.id);
        archive.lost.push(lost.id);
        let (recordings, faults) = archive.rebuild(&anew).await;
        assert_eq!((recordings, faults.len()), (30, 8), "{faults:#?}");
        for (object, text) in [
            (header, "missing"),
            (object(&cut, 0), "3 bytes instead of"),
            (lost.slip_object(), "its envelope is in no key place"),
            (unread.slip_object(), "its manifest is damaged"),
            (changed.slip_object(), "not in the catalog: it is no slip"),
            (forged.slip_object(), "not in the catalog: its receipt is not the one"),
            (moved.slip_object(), "not in the catalog: it is the slip of another"),
            ("2026/12/01/not-an-id.receipt.json".into(), "its name has no id"),
        ] {
            let is_it = |fault: &&String| fault.contains(&format!("`{object}`")) && fault.contains(text);
            assert_eq!(faults.iter().filter(is_it).count(), 1, "{object} {text}: {faults:#?}");
        }
        anew.copy_register(&live).await.unwrap();
        let seen = differences(&live, &anew, &archive.keys, 99).await.unwrap();
        // A header, details, three that are not there; of the one that is lost, what is known and what it is found by.
        assert_eq!(seen.len(), 7, "{seen:#?}");
    });
}

#[test]
fn what_is_wrong_with_versions_is_said_and_those_before_are_there() {
    let dir = tempfile::tempdir().unwrap();
    super::wait(async {
        let live = Catalog::open_file(&dir.path().join("live.db")).await.unwrap();
        let anew = Catalog::open_file(&dir.path().join("anew.db")).await.unwrap();
        let place = dir.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let mut archive = Archive::begin(&place);
        for number in 1..=5 {
            archive.add(&live, record(number, number)).await;
        }
        let get = async |number: u64| live.get(&record(number, number).id).await.unwrap().unwrap();
        let label = |name: &str| Change::Labels { add: vec![name.into()], remove: Vec::new() };
        for number in 1..=5 {
            for name in ["first", "second", "third"] {
                archive.say(&live, record(number, number).id, label(name)).await;
            }
        }
        let (gap, damaged, forged, exchanged) = (get(1).await, get(2).await, get(3).await, get(4).await);
        archive.place.remove(&gap.version_slip_object(2)).await.unwrap();
        let body = |record: &Record, number: usize| {
            record.files[1 + number].body_object(&record.id, record.receipt.start)
        };
        let zeros = Bytes::from(vec![0; damaged.files[3].body_bytes as usize]);
        archive.place.replace(&body(&damaged, 2), zeros).await.unwrap();
        archive.place.replace(&forged.version_slip_object(1), Bytes::from_static(b"{}")).await.unwrap();
        // The sealed document of another recording, as far as a slip can tell.
        archive.place.remove(&exchanged.slip_object()).await.unwrap();
        let (recordings, faults) = archive.rebuild(&anew).await;
        assert_eq!(recordings, 4, "{faults:#?}");
        for (object, text, count) in [
            (gap.version_slip_object(2), "it is missing", 1),
            (damaged.version_slip_object(2), "from then on: it is damaged", 1),
            (forged.version_slip_object(1), "it is no slip of a version", 1),
            (exchanged.version_slip_object(3), "has no slip", 1),
        ] {
            let is_it = |fault: &&String| fault.contains(&format!("`{object}`")) && fault.contains(text);
            assert_eq!(faults.iter().filter(is_it).count(), count, "{object} {text}: {faults:#?}");
        }
        assert_eq!(faults.len(), 6, "{faults:#?}");
        let tags =
            async |record: &Record| anew.open_details(&archive.keys, &record.id).await.unwrap().unwrap().tags;
        assert_eq!(tags(&gap).await, ["first"]);
        assert_eq!(tags(&damaged).await, ["first"]);
        assert!(tags(&forged).await.is_empty());
        assert_eq!(tags(&get(5).await).await, ["first", "second", "third"]);
        // Of the damaged one the files are known all the same: a scrub mends them.
        assert_eq!(anew.get(&damaged.id).await.unwrap(), Some(damaged));
    });
}
