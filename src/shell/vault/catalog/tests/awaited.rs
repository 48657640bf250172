//! What recorders' logs say.

use std::collections::BTreeSet;

use crate::archive::intake::{Books, Known};
use crate::archive::record::{Phase, Record};
use crate::seal::tree::Hash;
use crate::shell::vault::catalog::Catalog;
use crate::shell::vault::catalog::awaited::NewEntries;
use crate::shell::vault::catalog::recorders::Position;
use crate::shell::vault::catalog::recordings::NewRecord;
use crate::shell::vault::catalog::tests::record;

fn position(size: u64) -> Position {
    Position { size, root: Hash::leaf(&size.to_be_bytes()), checkpoint: format!("note {size}") }
}

pub(super) async fn entries_are_in_one_book_until_they_arrive(address: String) {
    let catalog = Catalog::open(&address).await.unwrap();
    let records: Vec<_> = (0..300).map(|number| record(number * 2, number)).collect();
    let recorder = records[0].recorder.clone();
    let entries = NewEntries {
        receipts: records.iter().map(|record| (record.receipt_index, record.receipt.clone())).collect(),
        others: vec![(1, b"{\"event\":\"begun\"}".to_vec()), (3, b"later".to_vec())],
    };
    let known = |size: u64| Known { size, root: position(size).root };
    assert!(catalog.note_log(&recorder, &Known::default(), &position(302), &entries).await.unwrap());
    // Of those who had proved the same, or something else, to continue what was known, only the first is right.
    let other = NewEntries { others: vec![(302, b"forged".to_vec())], ..NewEntries::default() };
    for (known, to) in [(Known::default(), 302), (known(5), 303), (known(301), 303)] {
        assert!(!catalog.note_log(&recorder, &known, &position(to), &other).await.unwrap(), "{known:?}");
    }
    let forked = Known { root: position(9).root, ..known(302) };
    assert!(!catalog.note_log(&recorder, &forked, &position(303), &other).await.unwrap());
    assert_eq!(catalog.recorder_position(&recorder).await.unwrap(), Some(position(302)));
    let books = Books { size: 302, recordings: 0, awaited: 300, events: 2 };
    assert_eq!(catalog.books(&recorder).await.unwrap(), books);
    assert_eq!(catalog.recorder_events(&recorder, 2, 9).await.unwrap(), [(3, b"later".to_vec())]);
    let page = catalog.awaited(&recorder, 4, 2).await.unwrap();
    assert_eq!(page.iter().map(|one| one.index).collect::<Vec<_>>(), [4, 6]);
    let one = catalog.awaited_one(&recorder, &records[7].id).await.unwrap().unwrap();
    assert_eq!((one.index, &one.receipt), (14, &records[7].receipt));
    assert!(catalog.awaited_one("another", &records[7].id).await.unwrap().is_none());
    catalog.set_awaited_faults(&recorder, &[(14, "changed".into())]).await.unwrap();
    assert_eq!(catalog.awaited_one(&recorder, &records[7].id).await.unwrap().unwrap().fault, "changed");
    let new: Vec<_> =
        records.iter().map(|record| NewRecord { record: record.clone(), indexed: None }).collect();
    catalog.take_in(&new).await.unwrap();
    let indexes: Vec<_> = records.iter().map(|record| record.receipt_index).collect();
    catalog.set_arrived(&recorder, &indexes).await.unwrap();
    let books = catalog.books(&recorder).await.unwrap();
    assert_eq!((books.recordings, books.awaited, books.missing()), (300, 0, 0));
    assert!(catalog.awaited(&recorder, 0, 1).await.unwrap().is_empty());
    // One that is staged is awaited again, and one that is archived is not.
    let staged = Record { class: None, phase: Phase::Staged, ..record(700, 700) };
    catalog.take_in(&[NewRecord { record: staged.clone(), indexed: None }]).await.unwrap();
    let again = [&staged, &records[0]].map(|record| (record.clone(), "spoilt".to_owned()));
    for _ in 0..2 {
        catalog.await_again(&again).await.unwrap();
    }
    let ids = again.map(|(record, _)| record.id);
    assert_eq!(catalog.awaited_of(&recorder, &ids).await.unwrap(), BTreeSet::from([staged.id]));
    let known = catalog.get_all(&ids).await.unwrap();
    assert_eq!(known.iter().map(|record| record.id).collect::<Vec<_>>(), [records[0].id]);
    let one = catalog.awaited_one(&recorder, &staged.id).await.unwrap().unwrap();
    assert_eq!((one.index, &one.receipt, one.fault.as_str()), (700, &staged.receipt, "spoilt"));
    catalog.close().await;
}
