//! Copies of a whole archive: made, scrubbed, mended, restored, whatever the places do.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use sejf::archive::copies::{Part, objects};
use sejf::archive::custody::Custody;
use sejf::archive::epoch::Epoch;
use sejf::archive::media::Medium;
use sejf::archive::record::{ArchivedFile, Phase, Record, RecordingId};
use sejf::archive::slip::Slip;
use sejf::base::counters::Counters;
use sejf::base::time::Stamp;
use sejf::codec::ogg::{Head, OggOpus, PACKET_SAMPLES};
use sejf::codec::opus_packet::{Frames, SILENCE};
use sejf::recording::manifest::Manifest;
use sejf::seal::header::Header;
use sejf::seal::identity::{Identities, generate_x25519};
use sejf::seal::random::{Randomness, Seeded};
use sejf::seal::receipt::{Receipt, ReceiptFile, ReceiptState, SCHEMA};
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::shell::keys::KeyKind;
use sejf::shell::vault::catalog::Catalog;
use sejf::shell::vault::catalog::copies::Standing;
use sejf::shell::vault::catalog::media::Move;
use sejf::shell::vault::catalog::recordings::NewRecord;
use sejf::shell::vault::copies::{Copier, Report};
use sejf::shell::vault::home::{NewVault, Vault};
use sejf::shell::vault::keyring::KeyRing;
use sejf::shell::vault::scrub::{Cursors, scrub};

use super::*;
use crate::places::store::Lie;
use crate::support::{assert_success, sejf, text};

mod restored;
mod scrub;

/// An archive with a folder here, one there, and a store far away.
struct Archive {
    dir: tempfile::TempDir,
    vault: Vault,
    ring: KeyRing,
    store: Store,
    random: Seeded,
    records: Vec<Record>,
    /// How recordings that are taken in are other than they should be, though they are sealed as they are.
    fault: Sealed,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Sealed {
    #[default]
    Well,
    /// Their manifests tell of more sound.
    Longer,
    /// A byte of their sound was spoilt before.
    Spoilt,
    /// Their sound lacks its end.
    Unended,
}

impl Archive {
    fn new(class: &str, store_options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Seeded::new(&[5; 32], "copies", 0);
        let (identity, recipient) = generate_x25519(&mut random);
        fs::write(dir.path().join("custodian"), format!("{}\n", *identity)).unwrap();
        let [home, first, second] = ["home", "first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        let custody = Custody { threshold: 1, custodians: vec![("ewa".parse().unwrap(), recipient)] };
        let new = NewVault {
            name: "v".into(),
            store: first.clone(),
            key_places: Vec::new(),
            kind: KeyKind::X25519,
            custody,
        };
        drop(Vault::create(&home, &new).unwrap());
        let store = Store::start();
        let credentials = dir.path().join("credentials");
        fs::write(&credentials, "access_key_id = 'AK'\nsecret_access_key = 'SK'\n").unwrap();
        let place = |name: &str, site: &str, path: &Path| {
            format!(
                "[[place]]\nname = '{name}'\nsite = '{site}'\nkind = 'directory'\npath = '{}'\n",
                path.display()
            )
        };
        let config = format!(
            "[vault]\nname = 'v'\n{}{}[[place]]\nname = 'store'\nsite = 'far'\nkind = 's3'\nendpoint = '{}'\n\
             bucket = 'bucket'\ncredentials = '{}'\nloopback_http = true\n{store_options}\n\
             [[class]]\nname = 'calls'\nkeep_min = '5 years'\n{class}\n",
            place("first", "here", &first),
            place("second", "there", &second),
            store.endpoint,
            credentials.display()
        );
        fs::write(home.join("vault.toml"), config).unwrap();
        let vault = Vault::open(&home).unwrap();
        let ring = vault.unlock(&[Identities::parse(&identity).unwrap()]).unwrap();
        Self { dir, vault, ring, store, random, records: Vec::new(), fault: Sealed::Well }
    }

    async fn catalog(&self) -> Catalog {
        Catalog::open_file(&self.vault.home.join("catalog.db")).await.unwrap()
    }

    /// Archives recordings as intake does.
    async fn take_in(&mut self, count: u64) {
        let start = now().before(Duration::from_secs(3_600));
        let epoch = Epoch::of("calls".parse().unwrap(), start);
        let keys = self.ring.epoch(&epoch).unwrap();
        let recipients = Recipients::parse([keys.recipient.clone()]).unwrap();
        let first = open(&self.vault.config.places[0]).unwrap();
        let mut new = Vec::new();
        for number in self.records.len() as u64..self.records.len() as u64 + count {
            let record = self.record(number, start);
            let envelopes = self.ring.envelopes_for(&epoch, &[record.id]).unwrap();
            let mut files = Vec::new();
            let (mut sound, seconds) = opus(number);
            let longer_s = if self.fault == Sealed::Longer { 0.25 } else { 0.0 };
            let manifest = manifest(&record, seconds + longer_s);
            match self.fault {
                Sealed::Spoilt => sound[200] ^= 1,
                Sealed::Unended => sound.truncate(sound.len() - 7),
                Sealed::Well | Sealed::Longer => {}
            }
            for (kind, plain) in [("opus", sound), ("json", manifest)] {
                let sealed = seal_whole(&plain, &recipients, &mut self.random).unwrap();
                let old = Header::read(&mut &sealed[..]).unwrap().to_bytes().len();
                let header =
                    envelopes[0].rewrap(&mut &sealed[..], &keys.identities, &mut self.random).unwrap();
                let file = archived(&record.id, kind, &header, &sealed[old..]);
                let body = Content::Bytes(sealed[old..].to_vec().into());
                first.put_new(&file.body_object(&record.id, start), body, true).await.unwrap();
                let header = Content::Bytes(header.into());
                first.put_new(&file.header_object(&record.id, start), header, true).await.unwrap();
                files.push(file);
            }
            let record = Record { files, ..record };
            let slip = Content::Bytes(Slip::of(&record).to_bytes().into());
            first.put_new(&record.slip_object(), slip, true).await.unwrap();
            new.push(record);
        }
        let rows: Vec<_> =
            new.iter().map(|record| NewRecord { record: record.clone(), indexed: None }).collect();
        let catalog = self.catalog().await;
        catalog.take_in(&rows).await.unwrap();
        catalog.close().await;
        self.records.extend(new);
    }

    fn record(&self, number: u64, start: Stamp) -> Record {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&((start.as_unix_millis() + number) << 16).to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        let id = RecordingId::from_bytes(id);
        Record {
            id,
            recorder: "recorder".into(),
            receipt_index: number,
            receipt: Receipt {
                schema: SCHEMA,
                id: id.to_string(),
                state: ReceiptState::Complete,
                start,
                end: start.after(Duration::from_secs(60)),
                files: vec![ReceiptFile { name: format!("{id}.opus.age"), bytes: 1, sha256: [0; 32] }],
                rule: "all@1".into(),
                counters: Counters::default(),
                recorder: "recorder".into(),
                version: "0.1.0".into(),
            },
            class: Some("calls".parse().unwrap()),
            phase: Phase::Archived,
            taken_in: now(),
            files: Vec::new(),
        }
    }

    /// A call that was not recorded: there is its slip alone.
    async fn take_in_excluded(&mut self) {
        let mut record = self.record(self.records.len() as u64, now().before(Duration::from_secs(3_600)));
        record.receipt.state = ReceiptState::ExcludedByRule;
        record.receipt.files.clear();
        record.class = None;
        let slip = Content::Bytes(Slip::of(&record).to_bytes().into());
        let first = open(&self.vault.config.places[0]).unwrap();
        first.put_new(&record.slip_object(), slip, false).await.unwrap();
        let catalog = self.catalog().await;
        catalog.take_in(&[NewRecord { record, indexed: None }]).await.unwrap();
        catalog.close().await;
    }

    /// Opens everything as a process does that was just started, and does something.
    async fn with<T>(&self, work: impl AsyncFnOnce(&Copier<'_>) -> T) -> T {
        let catalog = self.catalog().await;
        let copier = Copier::open_with(&self.vault, &catalog, patient()).await.unwrap();
        let done = work(&copier).await;
        drop(copier);
        catalog.close().await;
        done
    }

    async fn run(&self) -> Report {
        self.with(async |copier| copier.run(&|| false).await.unwrap()).await
    }

    async fn standing(&self) -> Vec<(Standing, u64)> {
        self.with(async |copier| copier.counts().await.unwrap().0.into_iter().collect()).await
    }

    /// Changes an object where it lies, as a disk does, or somebody who has reached it.
    fn damage(&self, place: &str, object: &str, how: u64) {
        let change = |content: &mut Vec<u8>| match how % 5 {
            0 => {
                let at = how as usize % content.len();
                content[at] ^= 1 << (how % 8);
            }
            1 => content.truncate(content.len() / 2),
            2 => content.push(0),
            3 => content.clear(),
            _ => content.reverse(),
        };
        // One in six is gone.
        match (place, how % 6 == 5) {
            ("store", true) => self.store.lose(object),
            ("store", false) => self.store.damage(object, change),
            (_, true) => fs::remove_file(self.dir.path().join(place).join(object)).unwrap(),
            (_, false) => {
                let path = self.dir.path().join(place).join(object);
                let mut content = fs::read(&path).unwrap();
                change(&mut content);
                fs::write(&path, content).unwrap();
            }
        }
    }

    /// All objects in all places, read by the test itself.
    async fn assert_whole(&self, places: &[&str]) {
        self.with(async |copier| {
            for place in places {
                let facts = copier.facts().await.unwrap();
                assert!(facts.iter().any(|facts| facts.name == *place));
            }
        })
        .await;
        let configs = &self.vault.config.places;
        for config in configs.iter().filter(|config| places.contains(&config.name.as_str())) {
            let place = open_with(config, patient()).unwrap();
            for object in self.records.iter().flat_map(objects) {
                let found = check(&*place, &object.name, object.bytes, object.sha256, Pace::default()).await;
                assert_eq!(found.unwrap(), Found::Good, "{} in {}", object.name, config.name);
            }
            let expected = self.records.iter().flat_map(objects).count();
            let listed = place.list("2", None, 10_000).await.unwrap().len();
            assert_eq!(listed, expected, "nothing else is in {}", config.name);
        }
    }
}

/// A second of silence and more, as a recorder writes it, and its length.
fn opus(number: u64) -> (Vec<u8>, f64) {
    let comments = [format!("NUMBER={number}")];
    let head = Head { pre_skip: 312, input_rate_hz: 8_000, vendor: "v", comments: &comments, serial: 7 };
    let (mut out, packets) = (Vec::new(), 51 + number);
    let mut file = OggOpus::new(&head, &mut out);
    for _ in 0..packets {
        let mut packet = Vec::new();
        Frames::parse(&SILENCE).unwrap().self_delimited(&mut packet);
        packet.extend(SILENCE);
        file.packet(packet, &mut out);
    }
    file.finish(packets * PACKET_SAMPLES, &mut out);
    (out, (packets * PACKET_SAMPLES - 312) as f64 / 48_000.0)
}

fn manifest(record: &Record, duration_s: f64) -> Vec<u8> {
    let sound = serde_json::json!({
        "name": format!("{}.opus.age", record.id), "kind": "audio", "bytes": 1, "sha256": "", "format": "opus",
        "channels": 2, "sample_rate_hz": 48_000,
    });
    let call = serde_json::json!({
        "call_ids": [], "from": "sip:a@b", "to": "sip:c@d", "caller": "a", "callee": "c", "ended_by": null,
        "status": 200, "orphan": false,
    });
    let manifest = serde_json::json!({
        "schema": 1, "id": record.id.to_string(), "state": "complete", "start": record.receipt.start,
        "end": record.receipt.end, "answered": null, "duration_s": duration_s, "trunk": "t", "rule": "all@1",
        "retention_class": "calls", "call": call, "streams": [], "gaps": [], "files": [sound],
        "counters": record.receipt.counters, "ladder": [], "notes": [],
        "recorder": { "id": "recorder", "version": "0.1.0" },
    });
    serde_json::from_value::<Manifest>(manifest.clone()).unwrap();
    serde_json::to_vec(&manifest).unwrap()
}

fn archived(id: &RecordingId, kind: &str, header: &[u8], body: &[u8]) -> ArchivedFile {
    ArchivedFile {
        name: format!("{id}.{kind}.age"),
        header_sha256: Digest::of(header),
        header_bytes: header.len() as u64,
        body_sha256: Digest::of(body),
        body_bytes: body.len() as u64,
    }
}

const THREE: &str = "copies = { total = 3, sites = 3, offline = 0 }";
const ALL: &[&str] = &["first", "second", "store"];

#[test]
fn copies_are_made_once_and_read_back() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(9).await;
        let planned = archive.with(async |copier| copier.planned(100).await.unwrap()).await;
        assert_eq!((planned.copies.len(), planned.short.len(), planned.lost.len()), (18, 0, 0));
        let report = archive.run().await;
        let expected = Report { recordings: 9, made: 18, met: 9, ..Report::default() };
        assert_eq!(report, expected);
        archive.assert_whole(ALL).await;
        assert_eq!(archive.standing().await, [(Standing::Met, 9)]);
        let before = archive.store.requests();
        assert_eq!(archive.run().await, Report::default());
        assert_eq!(archive.store.requests(), before, "nothing is due, so nothing is asked");
        // More come.
        archive.take_in(2).await;
        assert_eq!(archive.run().await, Report { recordings: 2, made: 4, met: 2, ..Report::default() });
        archive.assert_whole(ALL).await;
        archive.take_in_excluded().await;
        assert_eq!(archive.run().await, Report { recordings: 1, made: 1, met: 1, ..Report::default() });
    });
}

/// Else those that come first and fail each time would be all that is ever tried.
#[test]
fn stopped_it_goes_on_behind_the_last_one() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(5).await;
        let asked = AtomicU64::new(0);
        let is_over = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
        let stopped = archive.with(async |copier| copier.run_from(None, 100, &is_over).await.unwrap());
        let (report, after) = stopped.await;
        let second = &archive.records[1];
        assert_eq!((report.recordings, after), (2, Some((second.receipt.start, second.id))));
        let rest = archive.with(async |copier| copier.run_from(after, 100, &|| false).await.unwrap());
        let (report, after) = rest.await;
        assert_eq!((report.recordings, report.met, after), (3, 3, None));
        archive.assert_whole(ALL).await;
    });
}

/// Else a copy with the header of before could be put beside the new one.
#[test]
fn nothing_is_copied_while_headers_are_being_replaced() {
    use rustix::fs::{FlockOperation, flock};
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(1).await;
        let rewrapping = fs::File::create(archive.vault.home.join("copying.turn")).unwrap();
        flock(&rewrapping, FlockOperation::LockExclusive).unwrap();
        let second = archive.dir.path().join("second");
        let objects = || {
            fs::read_dir(&second).unwrap().filter(|entry| {
                entry.as_ref().is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            })
        };
        let rewrapped = async {
            // Long enough for what would not wait.
            for _ in 0..50 {
                assert_eq!(objects().count(), 0);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            flock(&rewrapping, FlockOperation::Unlock).unwrap();
        };
        let (report, ()) = tokio::join!(archive.run(), rewrapped);
        assert_eq!((report.made, report.met), (2, 1));
        archive.assert_whole(ALL).await;
    });
}

#[test]
fn what_we_cannot_do_is_said_and_not_tried_for_ever() {
    let mut archive = Archive::new("copies = { total = 3, sites = 2, offline = 1 }", "");
    wait(async {
        archive.take_in(2).await;
        let report = archive.run().await;
        assert_eq!(report, Report { recordings: 2, made: 2, short: 2, ..Report::default() });
        archive.assert_whole(&["first", "second"]).await;
        assert_eq!(archive.standing().await, [(Standing::Short, 2)]);
        assert_eq!(archive.run().await, Report::default());
        // A medium goes into the safe.
        let medium = Medium {
            schema: 1,
            id: "SEJF-1".into(),
            label: "calls".into(),
            vault: archive.vault.key.to_string(),
            written: now(),
            recordings: archive.records.iter().map(|record| record.id).collect(),
        };
        let moved = |what: &str, entry| Move {
            at: now(),
            what: what.into(),
            who: "local:ewa".into(),
            seal: "17".into(),
            place: "safe".into(),
            reason: String::new(),
            entry,
        };
        let catalog = archive.catalog().await;
        catalog.add_medium(&medium, &archive.records, &moved("written", 7)).await.unwrap();
        assert_eq!(archive.run().await, Report { recordings: 2, met: 2, ..Report::default() });
        // It is found damaged there.
        catalog.move_medium("SEJF-1", &moved("damaged", 8)).await.unwrap();
        assert_eq!(archive.run().await, Report { recordings: 2, short: 2, ..Report::default() });
        catalog.close().await;
    });
}

/// A medium that is found damaged while recordings are looked at is not overlooked.
#[test]
fn what_comes_while_somebody_looks_is_looked_at() {
    let mut archive = Archive::new("copies = { total = 2, sites = 1, offline = 1 }", "");
    wait(async {
        archive.take_in(2).await;
        let medium = Medium {
            schema: 1,
            id: "SEJF-1".into(),
            label: "calls".into(),
            vault: archive.vault.key.to_string(),
            written: now(),
            recordings: archive.records.iter().map(|record| record.id).collect(),
        };
        let moved = |what: &str, entry| Move {
            at: now(),
            what: what.into(),
            who: "local:ewa".into(),
            seal: "17".into(),
            place: "safe".into(),
            reason: String::new(),
            entry,
        };
        let catalog = archive.catalog().await;
        catalog.add_medium(&medium, &archive.records, &moved("written", 7)).await.unwrap();
        let looks = std::sync::atomic::AtomicU32::new(0);
        let is_over = || {
            // Between two recordings.
            if looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                let damaged = || {
                    wait(async {
                        let catalog = archive.catalog().await;
                        assert!(catalog.move_medium("SEJF-1", &moved("damaged", 8)).await.unwrap());
                        catalog.close().await;
                    });
                };
                std::thread::scope(|scope| scope.spawn(damaged).join().unwrap());
            }
            false
        };
        let report = archive.with(async |copier| copier.run(&is_over).await.unwrap()).await;
        assert_eq!(report.met, 2, "as it was when they were looked at");
        assert_eq!(archive.standing().await, [(Standing::Due, 2)]);
        assert_eq!(archive.run().await, Report { recordings: 2, short: 2, ..Report::default() });
        catalog.close().await;
    });
}

/// Polls something so many times, then drops it where it is: as a kill does between two steps.
struct Cut<F>(Pin<Box<F>>, u64);

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        self.0.as_mut().poll(context).map(Some)
    }
}

#[test]
fn stopped_at_any_step_nothing_is_lost_twice_or_half() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(6).await;
        let mut cuts = 0;
        for polls in 1.. {
            let catalog = archive.catalog().await;
            let copier = Copier::open_with(&archive.vault, &catalog, patient()).await.unwrap();
            let done = Cut(Box::pin(copier.run(&|| false)), polls).await;
            drop(copier);
            catalog.close().await;
            match done {
                None => cuts += 1,
                Some(report) => {
                    assert_eq!(report.unwrap().failed, 0);
                    break;
                }
            }
        }
        assert!(cuts > 10, "only {cuts} cuts");
        archive.assert_whole(ALL).await;
        assert_eq!(archive.standing().await, [(Standing::Met, 6)]);
    });
}

#[test]
fn a_place_that_fails_or_lies_gets_its_copies_later() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        for lie in
            [Lie::Storm, Lie::PutStoresNothing, Lie::PutCutsBody, Lie::GetFlippedBit, Lie::PutIsLostLater]
        {
            archive.take_in(2).await;
            archive.store.tell(lie);
            let report = archive.run().await;
            // The copy in the other folder is made whatever the store does.
            assert_eq!((report.recordings, report.made, report.met, report.failed), (2, 2, 0, 2), "{lie:?}");
            assert!(report.lost.is_empty() && report.failures[0].contains("store"), "{lie:?}: {report:?}");
            assert!(archive.standing().await.contains(&(Standing::Due, 2)), "{lie:?}");
            archive.store.tell(Lie::None);
            let report = archive.run().await;
            assert_eq!((report.recordings, report.met, report.failed), (2, 2, 0), "{lie:?}: {report:?}");
        }
        archive.assert_whole(ALL).await;
        // A disk that is not mounted: nothing is put beneath, and nothing is taken for lost.
        let [second, away] = ["second", "away"].map(|name| archive.dir.path().join(name));
        fs::rename(&second, &away).unwrap();
        for is_mount_point in [false, true] {
            if is_mount_point {
                fs::create_dir(&second).unwrap();
            }
            archive.take_in(1).await;
            let report = archive.run().await;
            assert_eq!((report.made, report.short), (1, 1));
            let later = now().after(Duration::from_secs(9));
            let scrubbed = archive.with(async |copier| {
                scrub(copier, later, Pace::default(), &mut Cursors::new(), &|| false).await.unwrap()
            });
            let scrubbed = scrubbed.await;
            assert_eq!((scrubbed.wrong_count, scrubbed.unread_count), (0, 1), "{scrubbed:?}");
            assert_eq!(archive.vault.places_if_there().unwrap().len(), 3);
            let all = archive.vault.places();
            assert!(all.is_err(), "whoever changes all copies takes it for one that is there");
        }
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
        fs::remove_dir(&second).unwrap();
        fs::rename(&away, &second).unwrap();
        archive.with(async |copier| copier.look_at_all(false).await.unwrap()).await;
        assert_eq!(archive.run().await.made, 2);
        archive.assert_whole(ALL).await;
        // One that was lost, and its successor.
        fs::remove_dir_all(&second).unwrap();
        fs::create_dir(&second).unwrap();
        let home = text(&archive.vault.home).to_owned();
        assert_eq!(sejf(&["place", "list", &home]).status.code(), Some(1));
        assert_success(&sejf(&["place", "begin", &home, "second"]));
        assert_eq!(sejf(&["scrub", &home, "--days", "0"]).status.code(), Some(1), "all of it was missing");
        archive.assert_whole(ALL).await;
    });
}

#[test]
fn where_worm_is_asked_a_store_that_failed_its_test_gets_nothing() {
    let class = "worm = true\ncopies = { total = 1, sites = 1, offline = 0 }";
    let mut archive = Archive::new(class, "object_lock = true");
    wait(async {
        archive.take_in(3).await;
        assert_eq!(archive.run().await, Report { recordings: 3, short: 3, ..Report::default() });
        archive.store.tell(Lie::WormLetsShorten);
        let test =
            async || archive.with(async |copier| copier.test_worm(&["store".into()]).await.unwrap()).await;
        assert!(matches!(test().await[0].outcome, Ok(Worm::Failed(_))));
        archive.with(async |copier| copier.look_at_all(false).await.unwrap()).await;
        assert_eq!(archive.run().await, Report { recordings: 3, short: 3, ..Report::default() });
        archive.store.tell(Lie::None);
        assert!(matches!(test().await[0].outcome, Ok(Worm::Passed)));
        archive.with(async |copier| copier.look_at_all(false).await.unwrap()).await;
        assert_eq!(archive.run().await, Report { recordings: 3, made: 3, met: 3, ..Report::default() });
        let place = open_with(&archive.vault.config.places[2], patient()).unwrap();
        let years = Duration::from_secs(5 * 365 * 86_400);
        for object in archive.records.iter().flat_map(objects) {
            let until = place.stat(&object.name).await.unwrap().unwrap().locked_until;
            let is_locked =
                until.is_some_and(|until| until > now().after(years).before(Duration::from_secs(7_200)));
            assert_eq!(is_locked, object.part != Part::Header, "{}: {until:?}", object.name);
        }
    });
}

/// A header under the epoch's key, in a place that keeps it, would open whatever is erased.
#[test]
fn a_header_that_is_not_under_its_envelope_goes_nowhere() {
    let mut archive = Archive::new(THREE, "");
    wait(async {
        archive.take_in(1).await;
        let mut record = archive.record(1, archive.records[0].receipt.start);
        let epoch = record.epoch().unwrap();
        let recipients = Recipients::parse([archive.ring.epoch(&epoch).unwrap().recipient.clone()]).unwrap();
        let sealed = seal_whole(&opus(1).0, &recipients, &mut archive.random).unwrap();
        let length = Header::read(&mut &sealed[..]).unwrap().to_bytes().len();
        let file = archived(&record.id, "opus", &sealed[..length], &sealed[length..]);
        let first = open(&archive.vault.config.places[0]).unwrap();
        for (name, part) in [
            (file.header_object(&record.id, record.receipt.start), &sealed[..length]),
            (file.body_object(&record.id, record.receipt.start), &sealed[length..]),
        ] {
            first.put_new(&name, Content::Bytes(part.to_vec().into()), true).await.unwrap();
        }
        let header = file.header_object(&record.id, record.receipt.start);
        record.files = vec![file];
        let slip = Content::Bytes(Slip::of(&record).to_bytes().into());
        first.put_new(&record.slip_object(), slip, true).await.unwrap();
        let catalog = archive.catalog().await;
        catalog.take_in(&[NewRecord { record, indexed: None }]).await.unwrap();
        catalog.close().await;
        let report = archive.run().await;
        assert_eq!((report.met, report.made, report.failed), (1, 2, 2));
        assert!(report.failures.iter().all(|failure| failure.contains("envelope")), "{report:?}");
        assert!(!archive.store.keys().contains(&header));
        assert!(!archive.dir.path().join("second").join(&header).exists());
    });
}

#[test]
fn from_the_command_line() {
    let mut archive = Archive::new(THREE, "");
    wait(archive.take_in(4));
    let home = text(&archive.vault.home).to_owned();
    let run = |args: &[&str]| {
        let output = sejf(args);
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        (output.status.code().unwrap(), said, output)
    };
    assert_eq!(run(&["copies", "status", &home]).0, 1);
    let (_, said, output) = run(&["copies", "run", &home, "--dry-run"]);
    assert_success(&output);
    assert_eq!(said.lines().count(), 8, "{said}");
    let (_, said, output) = run(&["copies", "run", &home]);
    assert_success(&output);
    assert!(said.contains("4 recordings looked at: 8 copies made"), "{said}");
    let (code, said, _) = run(&["copies", "status", &home, "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &status["met"]), (0, &serde_json::json!(4)));
    let (_, said, output) = run(&["place", "test", &home]);
    assert_success(&output);
    assert!(said.contains("store: WORM") && said.contains("first: not WORM"), "{said}");
    let (_, said, output) = run(&["place", "list", &home]);
    assert_success(&output);
    assert!(said.contains("far") && said.contains("WORM"), "{said}");
    assert_eq!(run(&["place", "test", &home, "--place", "nowhere"]).0, 2);
    archive.damage("second", &objects(&archive.records[0])[0].name, 0);
    let (code, said, _) = run(&["scrub", &home, "--days", "0"]);
    assert!(code == 1 && said.contains("12 copies read") && said.contains("1 mended"), "{code}: {said}");
    assert_success(&run(&["scrub", &home, "--days", "0"]).2);
    let (restored, key) = (archive.dir.path().join("restored"), archive.dir.path().join("custodian"));
    let (_, said, output) = run(&["restore-test", &home, "--to", text(&restored), "-i", text(&key)]);
    assert_success(&output);
    let decoded = "12 files verified, 8 opened, 4 of them sound that was decoded to its end";
    assert!(said.matches(decoded).count() == 3 && !said.contains("locked"), "{said}");
    let restored = archive.dir.path().join("locked");
    let (_, said, output) = run(&["restore-test", &home, "--to", text(&restored)]);
    assert_success(&output);
    assert!(said.contains("The vault is locked: files were verified, and not opened"), "{said}");
    wait(archive.assert_whole(ALL));
}
