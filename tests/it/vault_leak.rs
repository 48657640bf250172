//! A key has leaked: what it opens then, and what comes of it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sejf::archive::access::Action;
use sejf::archive::copies::CopyState;
use sejf::archive::details::Details;
use sejf::archive::entry::{Outcome, Resource};
use sejf::archive::envelope::Envelope;
use sejf::archive::epoch::Epoch;
use sejf::archive::media::Medium;
use sejf::archive::record::{Digest, Record, RecordingId};
use sejf::archive::search::{IndexKey, Indexed};
use sejf::seal::identity::Identities;
use sejf::seal::open::Opener;
use sejf::seal::random::Seeded;
use sejf::seal::recipient::Recipients;
use sejf::seal::stream::seal_whole;
use sejf::shell::vault::catalog::Catalog;
use sejf::shell::vault::catalog::copies::{Seen, Standing};
use sejf::shell::vault::catalog::media::Move;
use sejf::shell::vault::keyring::KeyRing;
use sejf::shell::vault::place::{Content, Place, PlaceError, Removal};
use sejf::shell::vault::rewrap::{self, RenewError, Renewal, Rewrapped};

use crate::support::assert_success;
use crate::vault_keys::{Archive, Bench, block_on, details, id, said, sound};

const COUNT: u32 = 1_000;

impl Archive {
    /// As the command does it: who unlocks now has shown their second factor now.
    fn rewrap(&self, bench: &Bench, renewal: Renewal) -> Rewrapped {
        let ring = self.vault.unlock(&bench.keys(&["ewa", "ola"])).expect("unlocked");
        let grant = rewrap::ask(&self.vault, &ring, &self.epoch, None).expect("granted");
        rewrap::epoch(&self.vault, &ring, &grant, &self.epoch, renewal).expect("re-wrapped")
    }

    /// All recordings open in all places, and are found by their callers; nothing opens with what leaked.
    fn assert_renewed(&self, bench: &Bench, leaked: &Identities, stolen: &[Envelope]) {
        let ring = self.vault.unlock(&bench.keys(&["jan", "ola"])).expect("unlocked");
        for (number, record) in (0..).zip(&self.records) {
            let keys = ring.opens(&self.epoch, &record.id).expect("keys").expect("an envelope");
            for place in &self.places {
                assert_eq!(self.open(place, record, &keys), Some(sound(number)));
                for stolen in stolen.iter().filter(|stolen| stolen.id() == record.id) {
                    assert_eq!(self.open(place, record, &stolen.identities()), None);
                }
            }
        }
        for record in self.records.iter().step_by(self.records.len().div_ceil(9)) {
            assert_eq!(self.find(&ring, record.receipt_index), [record.id]);
        }
        for group in groups(bench) {
            assert!(Opener::open(&group[..], leaked).is_err());
        }
    }

    fn catalog<T>(&self, work: impl AsyncFnOnce(&Catalog) -> T) -> T {
        block_on(async {
            let catalog = self.vault.catalog().await.expect("the catalog");
            let done = work(&catalog).await;
            catalog.close().await;
            done
        })
    }
}

/// Files of envelopes in all key places.
fn groups(bench: &Bench) -> Vec<Vec<u8>> {
    let mut groups = Vec::new();
    for place in [bench.home().join("keys"), bench.path("keys-2")] {
        for file in std::fs::read_dir(place.join("envelopes/calls-5y/2026-11")).expect("groups") {
            groups.push(std::fs::read(file.expect("entry").path()).expect("a group"));
        }
    }
    groups
}

/// Whether one of the callers is found by this index key in the catalog's files.
fn knows_terms(bench: &Bench, index_key: &[u8; 32], records: &[Record]) -> bool {
    let read = |name: &str| std::fs::read(bench.home().join(name)).unwrap_or_default();
    let catalog = [read("catalog.db"), read("catalog.db-wal")].concat();
    let key = IndexKey::new(index_key);
    let terms = |caller: String| key.terms(&Details { caller, ..Details::default() });
    // Of how numbers begin, many have the same.
    let shared = terms("+48 22 0000".into());
    let all = records.iter().flat_map(|record| terms(details(record.receipt_index).caller));
    let mut own = all.filter(|term| !shared.contains(term));
    own.any(|term| catalog.windows(8).any(|bytes| bytes == term.0.to_be_bytes()))
}

fn stolen(ring: &KeyRing, epoch: &Epoch, records: &[Record]) -> Vec<Envelope> {
    records.iter().flat_map(|record| ring.envelopes(epoch, &record.id).expect("keys")).collect()
}

fn everywhere(_: &RecordingId, _: &str) -> bool {
    true
}

#[test]
fn after_a_leak_a_thousand_recordings_are_under_what_nobody_else_has() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, COUNT);
    let Archive { ring, epoch, places, records, .. } = &archive;
    // What leaked: the epoch's key, and with it every envelope.
    let leaked = ring.epoch(epoch).expect("an epoch");
    let stolen = stolen(ring, epoch, records);
    assert!(knows_terms(&bench, &leaked.index_key, &records[500..501]));

    // Interrupted where one place has new headers of some, and the other has not.
    let grant = archive.ask(Action::Rewrap);
    let left = ring.renew_epoch(&grant, epoch, Renewal::Anew).expect("renewed");
    assert_eq!(left.len(), COUNT as usize);
    let some = ring.replace_headers(&grant, epoch, &records[..50], &places[..1], &everywhere);
    let some = block_on(some).expect("replaced");
    assert_eq!((some.0.len(), some.1.len()), (50, 0));
    for (number, record) in (0..).zip(records).step_by(7) {
        let keys = ring.opens(epoch, &record.id).expect("keys").expect("an envelope");
        for place in places {
            assert_eq!(archive.open(place, record, &keys), Some(sound(number)));
        }
    }
    for number in [7, 700] {
        assert_eq!(archive.find(ring, number), [records[number as usize].id], "under either envelope");
    }

    let done = archive.rewrap(&bench, Renewal::GoOn);
    assert_eq!((done.renewed, done.unknown, done.faults), (COUNT.into(), 0, Vec::new()));
    archive.assert_renewed(&bench, &leaked.identities, &stolen);
    assert!(groups(&bench).len() >= 8);
    // Who has the leaked key tests no numbers against the catalog.
    assert!(!knows_terms(&bench, &leaked.index_key, &records[495..505]));
    let fresh = archive.vault.unlock(&bench.keys(&["jan", "ola"])).expect("unlocked");
    let new = fresh.epoch(epoch).expect("an epoch");
    assert_eq!(new.index_keys().count(), 1, "nothing is found by the one of before");
    assert!(knows_terms(&bench, &new.index_key, &records[500..501]));
    // The catalog has the hashes of the headers that are there.
    archive.catalog(async |catalog| {
        for record in records.iter().step_by(97) {
            let known = catalog.get(&record.id).await.expect("read").expect("it is known");
            let details_of = catalog.details(&archive.ask(Action::Search), &fresh, &record.id).await;
            let opened = details_of.expect("read").expect("they open");
            assert_eq!(opened.caller, details(record.receipt_index).caller);
            let object = known.files[0].header_object(&known.id, known.receipt.start);
            for place in places {
                let header = place.get(&object, None).await.expect("read").expect("it is there");
                assert_eq!(known.files[0].header_sha256, Digest::of(&header));
            }
        }
    });
    // What recorders seal to the old recipient until they have the new one is still taken in.
    assert_ne!(new.recipient, leaked.recipient);
    let mut random = Seeded::new(&[3; 32], "late", 0);
    let late =
        seal_whole(b"late", &Recipients::parse([&leaked.recipient]).expect("a recipient"), &mut random);
    assert!(Opener::open(&late.expect("sealed")[..], &new.identities).is_ok());
}

/// What lies in a safe has the header of before.
#[test]
fn media_that_were_written_before_are_no_copies_any_more() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, 3);
    let records = &archive.records;
    let medium = |id: &str, records: &[Record]| Medium {
        schema: 1,
        id: id.into(),
        label: format!("safe {id}"),
        vault: archive.vault.key.to_string(),
        written: records[0].taken_in,
        recordings: records.iter().map(|record| record.id).collect(),
    };
    let written = |entry| Move {
        at: records[0].taken_in,
        what: "written".into(),
        who: "local:ewa".into(),
        seal: String::new(),
        place: "safe".into(),
        reason: String::new(),
        entry,
    };
    let ids: Vec<_> = records.iter().map(|record| record.id).collect();
    let whole = || {
        archive.catalog(async |catalog| {
            let copies = catalog.offline_copies(&ids).await.expect("read");
            copies
                .into_iter()
                .filter(|(_, medium)| medium.is_whole)
                .map(|(_, medium)| medium.id)
                .collect::<Vec<_>>()
        })
    };
    archive.catalog(async |catalog| {
        catalog.add_medium(&medium("m-1", &records[..2]), records, &written(1)).await.expect("written");
        let changes = catalog.changes(&ids).await.expect("read");
        let met: Vec<_> = ids.iter().map(|id| (*id, Standing::Met, changes[id])).collect();
        catalog.set_standing(&met).await.expect("written");
    });
    assert_eq!(whole(), ["m-1", "m-1"]);
    let done = archive.rewrap(&bench, Renewal::Anew);
    assert_eq!(done.media.into_iter().collect::<Vec<_>>(), [("m-1".to_owned(), "safe m-1".to_owned())]);
    assert_eq!(whole(), [""; 0]);
    archive.catalog(async |catalog| {
        assert_eq!(catalog.copies_due(None, 9).await.expect("read").len(), 3);
        // Written again; one was being written from before.
        let now = catalog.get_all(&ids).await.expect("read");
        catalog.add_medium(&medium("m-2", &now), &now, &written(2)).await.expect("written");
        catalog.add_medium(&medium("m-3", records), records, &written(3)).await.expect("written");
    });
    assert_eq!(whole(), ["m-2"; 3]);
}

/// An envelope of no recording is left behind, and is no reason to keep a key that has leaked as well.
#[test]
fn a_second_leak_is_answered_with_another_key() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, 3);
    let Archive { ring, epoch, places, records, .. } = &archive;
    let unknown = id(77, records[0].receipt.start);
    ring.envelopes_for(epoch, &[unknown]).expect("an envelope");
    let first = ring.epoch(epoch).expect("an epoch");
    let mut seen = stolen(ring, epoch, records);
    let done = archive.rewrap(&bench, Renewal::Anew);
    assert_eq!((done.renewed, done.unknown, done.faults.len()), (3, 1, 0));
    archive.assert_renewed(&bench, &first.identities, &seen);
    let second = ring.epoch(epoch).expect("an epoch");
    assert_ne!(second.recipient, first.recipient);
    // Gone on with, it stays the same.
    let done = archive.rewrap(&bench, Renewal::GoOn);
    assert_eq!((done.renewed, done.unknown), (0, 1));
    assert_eq!(ring.epoch(epoch).expect("an epoch").recipient, second.recipient);

    // The second leak: and before its renewal is at its end there is a third.
    seen.extend(stolen(ring, epoch, records));
    let grant = archive.ask(Action::Rewrap);
    ring.renew_epoch(&grant, epoch, Renewal::Anew).expect("renewed");
    let begun = ring.replace_headers(&grant, epoch, &records[..1], &places[..1], &everywhere);
    assert_eq!(block_on(begun).expect("replaced").0.len(), 1);
    let third = ring.epoch(epoch).expect("an epoch");
    seen.extend(stolen(ring, epoch, records));
    let done = archive.rewrap(&bench, Renewal::Anew);
    assert_eq!((done.renewed, done.unknown, done.faults.len()), (3, 1, 0));
    archive.assert_renewed(&bench, &third.identities, &seen);
    let fourth = ring.epoch(epoch).expect("an epoch");
    assert!(![&first, &second, &third].iter().any(|before| before.recipient == fourth.recipient));
    assert!(ring.envelope(epoch, &unknown).expect("keys").is_some());
    assert!(!knows_terms(&bench, &third.index_key, records));
}

/// What is begun after the second factor has grown old is not begun at all.
#[test]
fn of_several_epochs_each_is_asked_for_before_the_first_is_begun() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, 2);
    let december: Epoch = "calls-5y/2026-12".parse().expect("an epoch");
    archive.ring.epoch(&december).expect("an epoch");
    let (november, december) = (archive.epoch.to_string(), december.to_string());
    let words = ["keys", "leak", &november, &december, "--rewrap"];
    let renewed = bench.vault(&words, &["ewa", "ola"]);
    assert_success(&renewed);
    assert_eq!(
        said(&renewed).matches("Recorders must get its new recipient").count(),
        2,
        "{}",
        said(&renewed)
    );
    let again = bench.vault(&[&words[..], &["--go-on"]].concat(), &["ewa", "ola"]);
    assert_success(&again);
    assert!(!said(&again).contains("new recipient"), "{}", said(&again));
    let entries = bench.entries(&archive.vault);
    let rewraps = entries.iter().filter(|entry| entry.action == Action::Rewrap);
    let order: Vec<_> = rewraps
        .map(|entry| (entry.resource == Resource::Epoch(november.clone()), entry.outcome == Outcome::Granted))
        .collect();
    let once = [(true, true), (false, true), (true, false), (false, false)];
    assert_eq!(order, [once, once].concat());
}

/// A place that has not what it should have may come back with it; details that do not open are not kept under
/// terms of the old key.
#[test]
fn what_cannot_be_renewed_keeps_its_old_envelope_and_is_told() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, 3);
    let Archive { ring, epoch, places, records, .. } = &archive;
    let leaked = ring.epoch(epoch).expect("an epoch");
    let seen = |state| Seen { id: records[0].id, place: "second".into(), state, at: records[0].taken_in };
    archive.catalog(async |catalog| {
        catalog.set_place("second", "there", false).await.expect("written");
        catalog.set_copies(&[seen(CopyState::Good)]).await.expect("written");
        let terms = IndexKey::new(&leaked.index_key).terms(&details(1));
        catalog.set_details(&records[1].id, &Indexed { details: vec![0; 99], terms }).await.expect("written");
    });
    let object = records[0].files[0].header_object(&records[0].id, records[0].receipt.start);
    let header = bench.path("store-2").join(&object);
    let kept = std::fs::read(&header).expect("a header");
    std::fs::remove_file(&header).expect("removed");
    let done = archive.rewrap(&bench, Renewal::Anew);
    assert_eq!((done.renewed, done.faults.len()), (2, 2), "{:?}", done.faults);
    assert!(done.faults.iter().any(|fault| fault.contains("`second` should have")), "{:?}", done.faults);
    assert!(done.faults.iter().any(|fault| fault.contains("does not open")), "{:?}", done.faults);
    let search = archive.ask(Action::Search);
    let unknown = archive.catalog(async |catalog| catalog.details(&search, ring, &records[1].id).await);
    assert!(unknown.expect("read").is_none());
    assert!(!knows_terms(&bench, &leaked.index_key, &records[1..]));
    // It comes back as it was.
    std::fs::write(&header, kept).expect("written");
    let keys = ring.opens(epoch, &records[0].id).expect("keys").expect("an envelope");
    assert!(places.iter().all(|place| archive.open(place, &records[0], &keys) == Some(sound(0))));
    let done = archive.rewrap(&bench, Renewal::GoOn);
    assert_eq!((done.renewed, done.faults.len()), (1, 0), "{:?}", done.faults);
    let keys = ring.opens(epoch, &records[0].id).expect("keys").expect("an envelope");
    assert!(places.iter().all(|place| archive.open(place, &records[0], &keys) == Some(sound(0))));
    // Of one that is known to be lost, nothing is waited for.
    std::fs::remove_file(&header).expect("removed");
    archive.catalog(async |catalog| catalog.set_copies(&[seen(CopyState::Missing)]).await.expect("written"));
    let done = archive.rewrap(&bench, Renewal::Anew);
    assert_eq!((done.renewed, done.faults.len()), (3, 0), "{:?}", done.faults);
}

/// Says yes, and has what it had.
#[derive(Debug)]
struct Keeps(Arc<dyn Place>);

#[async_trait]
impl Place for Keeps {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn site(&self) -> &str {
        self.0.site()
    }
    async fn put_new(&self, object: &str, content: Content, lazily: bool) -> Result<(), PlaceError> {
        self.0.put_new(object, content, lazily).await
    }
    async fn replace(&self, _object: &str, _content: Bytes) -> Result<(), PlaceError> {
        Ok(())
    }
    async fn flush(&self) -> Result<(), PlaceError> {
        self.0.flush().await
    }
    async fn get(&self, object: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PlaceError> {
        self.0.get(object, range).await
    }
    async fn size(&self, object: &str) -> Result<Option<u64>, PlaceError> {
        self.0.size(object).await
    }
    async fn remove(&self, object: &str) -> Result<Removal, PlaceError> {
        self.0.remove(object).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, count: usize) -> Result<Vec<String>, PlaceError> {
        self.0.list(prefix, after, count).await
    }
}

#[test]
fn a_header_that_was_not_replaced_is_seen_before_the_old_envelope_goes() {
    let bench = Bench::new();
    let archive = Archive::new(&bench, 2);
    let Archive { ring, epoch, places, records, .. } = &archive;
    let grant = archive.ask(Action::Rewrap);
    ring.renew_epoch(&grant, epoch, Renewal::Anew).expect("renewed");
    let keeps: Vec<Arc<dyn Place>> = vec![Arc::clone(&places[0]), Arc::new(Keeps(Arc::clone(&places[1])))];
    let replaced =
        block_on(ring.replace_headers(&grant, epoch, records, &keeps, &everywhere)).expect("replaced");
    assert_eq!((replaced.0.len(), replaced.1.len()), (2, 0));
    for renewed in &replaced.0 {
        let confirmed = block_on(renewed.confirm(&keeps));
        assert!(
            matches!(&confirmed, Err(RenewError::Other { place, .. }) if place == "second"),
            "{confirmed:?}"
        );
        assert!(block_on(renewed.confirm(&keeps[..1])).is_ok());
    }
}
