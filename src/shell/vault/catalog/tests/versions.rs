//! Versions: one after another, each once.

use super::record;
use crate::archive::copies::CopyState;
use crate::archive::record::{ArchivedFile, Digest, Phase, Record, RecordingId};
use crate::archive::search::{Indexed, Term};
use crate::archive::version::document_name;
use crate::base::time::Stamp;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::copies::{Seen, Standing};
use crate::shell::vault::catalog::recordings::NewRecord;
use crate::shell::vault::catalog::versions::{Added, NewVersion};

fn document(id: &RecordingId, number: u32) -> ArchivedFile {
    ArchivedFile {
        name: document_name(id, number),
        header_sha256: Digest::of(b"header"),
        header_bytes: 7,
        body_sha256: Digest::of(&number.to_be_bytes()),
        body_bytes: 300,
    }
}

fn indexed(number: i64) -> Indexed {
    Indexed { details: vec![9; 5], terms: vec![Term(-number), Term(number)] }
}

async fn add(catalog: &Catalog, id: RecordingId, number: u32, behind: &[String]) -> Added {
    let files = [document(&id, number)];
    let indexed = indexed(number.into());
    let new = NewVersion { id, number, files: &files, indexed: &indexed, behind };
    catalog.add_version(&new).await.unwrap()
}

async fn terms(catalog: &Catalog, id: RecordingId) -> Vec<Term> {
    catalog.sealed_details(&[id]).await.unwrap().pop().map(|sealed| sealed.terms).unwrap_or_default()
}

pub(super) async fn follow_each_other(at: String) {
    let catalog = Catalog::open(&at).await.unwrap();
    let (record, staged) = (record(2, 2), Record { phase: Phase::Staged, ..record(4, 4) });
    let id = record.id;
    let new = |record: &Record| NewRecord { record: record.clone(), indexed: Some(indexed(77)) };
    catalog.take_in(&[new(&record), new(&staged)]).await.unwrap();
    catalog.set_place("first", "here", false).await.unwrap();
    catalog.set_place("second", "there", false).await.unwrap();
    let seen =
        |place: &str| Seen { id, place: place.into(), state: CopyState::Good, at: Stamp::from_unix_nanos(5) };
    catalog.set_copies(&[seen("first"), seen("second")]).await.unwrap();
    let changes = catalog.changes(&[id]).await.unwrap()[&id];
    catalog.set_standing(&[(id, Standing::Met, changes)]).await.unwrap();

    assert_eq!(add(&catalog, id, 2, &[]).await, Added::Taken);
    assert_eq!(add(&catalog, id, 0, &[]).await, Added::Taken);
    assert_eq!(catalog.get(&id).await.unwrap().unwrap(), record);
    assert_eq!(terms(&catalog, id).await, indexed(77).terms);
    assert_eq!(catalog.copies_met(&[id]).await.unwrap(), [id], "what is refused changes nothing");

    assert_eq!(add(&catalog, id, 1, &[]).await, Added::Yes);
    assert_eq!(catalog.copies_due(None, 9).await.unwrap().iter().filter(|due| due.1 == id).count(), 1);
    let states = async || -> Vec<CopyState> {
        catalog.copies_of(&[id]).await.unwrap()[&id].iter().map(|copy| copy.state).collect()
    };
    assert_eq!(states().await, [CopyState::Good, CopyState::Good]);
    assert_eq!(add(&catalog, id, 1, &[]).await, Added::Taken);
    assert_eq!(add(&catalog, id, 2, &["second".into()]).await, Added::Yes);
    assert_eq!(states().await, [CopyState::Good, CopyState::Missing]);
    let now = catalog.get(&id).await.unwrap().unwrap();
    assert_eq!(now.files[..2], record.files);
    assert_eq!(now.files[2..], [document(&id, 1), document(&id, 2)]);
    assert_eq!(now.originals().cloned().collect::<Vec<_>>(), record.files);
    assert_eq!(terms(&catalog, id).await, indexed(2).terms);

    assert_eq!(add(&catalog, staged.id, 1, &[]).await, Added::NotArchived);
    assert_eq!(add(&catalog, super::record(6, 6).id, 1, &[]).await, Added::NotArchived);
    catalog.set_destroyed(&[id]).await.unwrap();
    assert_eq!(add(&catalog, id, 3, &[]).await, Added::NotArchived);
    assert!(terms(&catalog, id).await.is_empty());
    // That there were versions stays, as their recording does.
    assert_eq!(catalog.get(&id).await.unwrap().unwrap().files.len(), 4);
}

pub(super) async fn of_two_at_once_one_is_added(at: String) {
    let (one, other) = (Catalog::open(&at).await.unwrap(), Catalog::open(&at).await.unwrap());
    let record = record(2, 2);
    one.take_in(&[NewRecord { record: record.clone(), indexed: Some(indexed(77)) }]).await.unwrap();
    for number in 1..=20 {
        let both = tokio::join!(add(&one, record.id, number, &[]), add(&other, record.id, number, &[]));
        assert!(matches!(both, (Added::Yes, Added::Taken) | (Added::Taken, Added::Yes)), "{both:?}");
    }
    let now = one.get(&record.id).await.unwrap().unwrap();
    let numbers: Vec<u32> = now.versions().into_keys().collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(terms(&one, record.id).await, indexed(20).terms);
}
